"""What a :class:`Vault` answers about sessions, and how it begins, stops, pauses and resumes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd import answers
from tablevault_pd.errors import InvalidInput, shown
from tablevault_pd.session import Run, current
from tablevault_pd.session.asking import ask
from tablevault_pd.session.choosing import Wanted, chosen_sessions
from tablevault_pd.session.which import targets
from tablevault_pd.store import Control, Store

if TYPE_CHECKING:
    from tablevault_pd.shared import Shared


class Sessions:
    """The part of a :class:`Vault` that is about sessions."""

    _shared: Shared
    _run: Run | None

    if TYPE_CHECKING:

        @property
        def store(self) -> Store:
            """The store below."""

        def _writable(self) -> None: ...

    def _current_run(self) -> Run | None:
        """The session that is meant here: the innermost ``with vault.session(…)``, else the quiet one."""
        return current.innermost(self._shared.store) or self._run

    def _tell(self) -> None:
        """Let the store know of the code that runs now, before it is asked for code."""
        run = self._current_run()
        if run is not None:
            run.told_cell()

    @property
    def _session_id(self) -> int | None:
        run = self._current_run()
        return None if run is None else run.id

    def session(
        self,
        name: str | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        tags: str | Sequence[str] | None = None,
        parent: str | int | Run | None = None,
        resume: bool = False,
    ) -> Run:
        """Begin a session of its own inside of this process. In a ``with``, all that is saved there names it.

        Parameters
        ----------
        name : str, optional
            What to call it; each run of a name gets its number: ``sweep-3#1``, ``sweep-3#2``. Default: the script's name.
        params : mapping, optional
            Its settings, columns ``params.…`` of :meth:`sessions`.
        tags : str or list of str, optional
            Its labels.
        parent : name, id or session, optional
            Default: the session that this one is inside of, or the one that started this process.
        resume : bool
            Continue the last run of that name if it crashed, failed or was stopped. If it came to its end, or there is
            none, a new run begins.

        Returns
        -------
        Run
            Leaving the ``with`` ends it, with the outcome that the exception, if any, says.

        Raises
        ------
        Conflict
            With ``resume=True``, if the last run is still running.

        Examples
        --------
        >>> with vault.session("sweep-3", params={"lr": 0.1}) as s:
        ...     for step in range(3):
        ...         s.log(step=step, loss=1 / (step + 1))
        ...         s.checkpoint()
        >>> vault.sessions("sweep-3")[["session", "state", "params.lr", "metrics.loss"]].round(2)
             session     state  params.lr  metrics.loss
        0  sweep-3#1  finished        0.1          0.33
        """
        self._writable()
        above = None if parent is None else targets(self.store, parent)[-1]
        around = self._current_run()
        settings = None if around is None else around.settings
        run = Run(
            self.store,
            name,
            params=params,
            tags=tags,
            parent=above,
            around=around,
            resume=resume,
            settings=settings,
        )
        self._shared.others.add(run)
        return run

    def sessions(
        self,
        name: str | None = None,
        *,
        state: str | Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: str | Sequence[str] | None = None,
        parent: str | int | Run | None = None,
        since: Any = None,
        until: Any = None,
        filters: Any = None,
        code: str | None = None,
    ) -> pd.DataFrame:
        """Sessions, oldest first: who ran what, when, how it ended, with parameters and last metrics as columns.

        Parameters
        ----------
        name : str, optional
            Only runs of this name, this one run (``"train#2"``), or those that fit a pattern (``"sweep-*"``).
        state : str or list of str, optional
            running, paused, finished, failed, stopped or lost: those whose heartbeat stopped.
        params : mapping, optional
            Only those with these values.
        tags : str or list of str, optional
            Only those with all of these.
        parent : name, id or session, optional
            Only the children of this one.
        since, until : time, optional
            Only those that started at or after, and before.
        filters : optional
            Only those that fit, as for :meth:`read`: ``[("params.lr", "<", 0.1), ("metrics.acc", ">", 0.9)]``.
        code : str, optional
            Only those with a cell that mentions it, as for :meth:`search`.

        Examples
        --------
        >>> with vault.session("sweep-1", params={"lr": 0.1}), vault.session("sweep-2", params={"lr": 0.2}):
        ...     running = vault.sessions("sweep-*", state="running")
        >>> running[["session", "params.lr"]]
             session  params.lr
        0  sweep-1#1        0.1
        1  sweep-2#1        0.2
        """
        above = None if parent is None else targets(self.store, parent)[-1]
        wanted = Wanted.of(
            name, state=state, params=params, tags=tags, parent=above, since=since, until=until
        )
        if filters is None and code is None:
            seen, chosen = chosen_sessions(self.store, wanted)
            return answers.sessions(self.store, chosen, seen=seen)
        from tablevault_pd.search.sessions import sessions

        found = sessions(self.store, filters=filters, code=code)
        if wanted.asks_nothing:
            return found
        labels = [each.label for each in chosen_sessions(self.store, wanted)[1]]
        return found[found["session"].isin(labels)].reset_index(drop=True)

    def cells(self, session: str | int | Run | pd.DataFrame | None = None) -> pd.DataFrame:
        """The code of a session (``"train"`` for its latest run, ``"train#2"``), of several, or of all.

        Examples
        --------
        >>> vault.cells().columns.tolist()[:5]
        ['session', 'cell', 'text', 'started', 'duration_s']
        """
        self._tell()
        if session is None:
            return answers.cells(self.store, None)
        return answers.cells(self.store, self.store.sessions(targets(self.store, session)))

    def sources(self, session: str | int | Run | pd.DataFrame) -> pd.DataFrame:
        """The project's modules that a session had imported, kept with ``connect(…, capture="all")``."""
        return answers.sources(self.store, self.store.sessions(targets(self.store, session)))

    def stop(self, which: Any, *, exit_code: int = 0, wait_s: float = 0.0) -> pd.DataFrame:
        """Ask sessions, on whatever machine, to stop at their next checkpoint.

        Parameters
        ----------
        which : str, int, session, DataFrame or a list of these
            A name (its latest run), ``"train#2"``, a pattern (``"sweep-*"``), an id, or a frame from :meth:`sessions`.
        exit_code : int
            What their process is to exit with.
        wait_s : float
            Wait up to so many seconds until all have acknowledged.

        Returns
        -------
        DataFrame
            session, request, state, requested, acknowledged. Of a session that has ended nothing is asked: its state says so.

        Raises
        ------
        SessionNotFound
            If a name or an id is not there. A pattern or a frame may match nobody.

        Examples
        --------
        >>> with vault.session("train"):
        ...     asked = vault.stop("train")
        >>> asked[["session", "request", "state"]]
           session request    state
        0  train#1    stop  running
        """
        if isinstance(exit_code, bool) or not isinstance(exit_code, int) or not 0 <= exit_code <= 255:
            raise InvalidInput(f"exit_code= is a number from 0 to 255, not {shown(exit_code)}.")
        return self._ask(which, "stop", exit_code=exit_code, wait_s=wait_s)

    def pause(self, which: Any, *, wait_s: float = 0.0) -> pd.DataFrame:
        """Ask sessions to wait at their next checkpoint until :meth:`resume` or :meth:`stop`. As for :meth:`stop`."""
        return self._ask(which, "pause", wait_s=wait_s)

    def resume(self, which: Any, *, wait_s: float = 0.0) -> pd.DataFrame:
        """Let paused sessions go on. As for :meth:`stop`."""
        return self._ask(which, "resume", wait_s=wait_s)

    def _ask(self, which: Any, request: Control, **options: Any) -> pd.DataFrame:
        self._writable()
        return ask(self.store, which, request, asked_by=self._session_id, **options)
