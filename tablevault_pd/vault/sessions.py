"""The part of a :class:`Vault` about sessions: open and find them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from tablevault_pd import validate
from tablevault_pd.reading import reports
from tablevault_pd.session import Recorder, Run
from tablevault_pd.session.info import RunInfo
from tablevault_pd.session.lookup import SessionFilter, resolve_session, resolve_sessions
from tablevault_pd.session.opening import run_to_resume, warn_of_other_params
from tablevault_pd.session.tagging import tag
from tablevault_pd.vault.base import VaultPart
from tablevault_pd.vault.logged import LoggedLists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from tablevault_pd.vault.vault import Vault


class Sessions(VaultPart):
    """The part of a :class:`Vault` that is about sessions."""

    def session(
        self,
        name: str | None = None,
        *,
        params: Any = None,
        tags: str | Sequence[str] | None = None,
        parent: Any = None,
        resume: Any = False,
    ) -> Run:
        """Prepare a session of its own inside of this process. In its ``with``, all that is saved names it.

        It begins when the ``with`` is entered, or when it is first used: a session that is not used is not recorded.
        :meth:`run` and :meth:`sessions` look up those that are there.

        Parameters
        ----------
        name : str, optional
            What to call it; each run of a name gets its number: ``sweep-3#1``, ``sweep-3#2``. Default: the script's name.
        params : mapping, dataclass or argparse.Namespace, optional
            Its settings, columns ``params.…`` of :meth:`sessions`.
        tags : str or list of str, optional
            Its labels.
        parent : name, id or session, optional
            Of a bare name the latest run. Default: the session that this one is inside of, or the one that started this
            process.
        resume : bool, or name, id or session
            With ``True``, continue the last run of that name if it crashed, failed or was stopped; if it came to its end,
            or there is none, a new run begins. A warning says where `params` has other values than that run: it may be of
            another configuration. ``resume="train#3"`` continues that run, however it ended.

        Returns
        -------
        Run
            Leaving the ``with`` ends it, with the outcome that the exception, if any, says.

        Raises
        ------
        Conflict
            With ``resume=``, if that run is still running.
        SessionNotFound
            If `parent` or `resume` is not there.
        InvalidName
            If no session can have that name.
        InvalidInput
            If an argument cannot be used as it is.
        VaultReadOnly
            If the vault is open for reading.

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
        self._check_writable()
        around, last = self._current_run(), run_to_resume(self.store, name, resume)
        recorder = Recorder(
            self.store,
            name,
            params=params,
            tags=tags,
            parent=None if parent is None else resolve_session(self.store, parent).id,
            around=around,
            resume=last,
            settings=self._settings if around is None else around.settings,
            begin=False,
        )
        if resume is True and last is not None:
            warn_of_other_params(last, recorder.params)
        self._context.named_sessions.add(recorder)
        return Run(recorder, LoggedLists(cast("Vault", self)))

    def sessions(
        self,
        name: Any = None,
        *,
        state: str | Sequence[str] | None = None,
        params: Any = None,
        tags: str | Sequence[str] | None = None,
        parent: Any = None,
        since: Any = None,
        until: Any = None,
        filters: Any = None,
        code: str | None = None,
        code_in: Literal["slice", "cell", "session"] = "slice",
        parent_code: str | None = None,
        description: str | None = None,
        near: Any = None,
        info: bool = False,
        columns: Sequence[str] | None = None,
        show: Mapping[str, Any] | None = None,
        only_changed: bool = False,
    ) -> pd.DataFrame:
        """Return sessions, oldest first: who ran what, when, how it ended, with parameters and last metrics as columns.

        Parameters
        ----------
        name : str, int, session, DataFrame or a list of these, optional
            Only these: every run of a name (``"train"``), one run (``"train#2"``), those that fit a pattern
            (``"sweep-*"``), an id, or those of a frame with a column ``session``. By name or pattern a session that only stands
            around runs of its own name, as that of ``train.py`` around ``vault.session("train")``, is left out: one without
            parameters, tags, metrics, rows, or an end of its own.
        state : str or list of str, optional
            running, paused, finished, failed, stopped or lost: those whose heartbeat stopped.
        params : mapping, dataclass or argparse.Namespace, optional
            Only those with these values.
        tags : str or list of str, optional
            Only those with all of these. A tag that no session of the vault has is warned of.
        parent : name, pattern, id, session, frame or list of these, optional
            Only the children of these: ``parent="sweep-*"``.
        since, until : time, optional
            Only those that started at or after `since`, and before `until` (UTC unless it says otherwise).
        filters : optional
            Only those that fit, as for :meth:`read`: ``"metrics.acc > 0.9 and params.lr < 0.1"``, or
            ``[("params.lr", "<", 0.1), ("metrics.acc", ">", 0.9)]``.
        code : str, optional
            Only those with code that mentions it, as for :meth:`search`.
        code_in : {"slice", "cell", "session"}
            Where: in what they executed, with what that needs of the project's modules; in their cells alone; or also
            anywhere in the modules they imported.
        parent_code : str, optional
            Only the children of sessions with code that mentions it, in the place that `code_in` says.
        description : str, optional
            Only those with a description of such words, of the session or of a list that it wrote.
        near : vector, optional
            Only those with a description that has a vector of this length, of the session or of a list that it wrote: the
            nearest first, by cosine similarity.
        info : bool
            Add what they ran in: argv, cwd, python, packages, git_commit, git_branch, git_dirty and git_recorded: False where
            they ran in a repository and git has not answered, missing outside of one.
        columns : list of str, optional
            Only these columns, in this order. Nothing else is read: ``["session", "params.lr", "metrics.loss"]``.
        show : dict, optional
            Metrics of which an aggregate of all values stands in place of the last one: ``{"val_loss": "min"}``, with the
            aggregates that :meth:`metrics` takes. Several, ``{"acc": ["max", "last"]}``, are columns ``metrics.acc_max`` and
            ``metrics.acc_last``. Filters judge last values all the same.
        only_changed : bool
            Leave out the columns in which all these sessions are alike, and what is each one's own (name, run, pid, started,
            ended, heartbeat) unless `columns` asks for it. ``session`` stays.

        Returns
        -------
        DataFrame
            session (str, ``train#2``), name (str), run (Int64), state (str), user (str), host (str), pid (Int64), parent (str),
            started, ended and heartbeat (datetime64[us, UTC]), outcome (str), error (str), attempts (Int64: 1, and
            one more for each time it was resumed), tags (list of str), reads (list of str: ``news@3``), then ``params.*`` (those
            inside of a nested parameter with their path: ``params.opt.lr``) and
            ``metrics.*`` (float64, or Int64 where nothing but integers was logged). Whole numbers of `params` are Int64, truth
            values boolean, whichever session lacks them;
            values of several types are objects. An empty answer has the columns that the sessions looked at have. With `near`,
            ``score`` (float64) is the last column.

        Raises
        ------
        SessionNotFound
            If a name, a run or an id is not there. A pattern or a frame may match no session.
        InvalidFilter
            If `filters` or `params` names a parameter or metric that no session of the vault has, or `filters` compares ``tags`` or
            ``reads``, which hold several values.
        InvalidInput
            If another argument cannot be used as it is, or `columns` or `show` names what no session has.

        Examples
        --------
        >>> with vault.session("sweep-1", params={"lr": 0.1}), vault.session("sweep-2", params={"lr": 0.2}):
        ...     running = vault.sessions("sweep-*", state="running", filters="params.lr > 0.1")
        >>> running[["session", "params.lr"]]
             session  params.lr
        0  sweep-2#1        0.2
        """
        self._flush(info=validate.flag(info, "info"))
        from tablevault_pd.analysis.answers import mark
        from tablevault_pd.analysis.tables import show_of, with_aggregates, without_constants
        from tablevault_pd.search.sessions import sessions

        show = show_of(show)
        only_changed = validate.flag(only_changed, "only_changed")
        names = (
            None
            if columns is None
            else [validate.text(column, "columns=") for column in validate.labels(columns) or ()]
        )
        session_filter = SessionFilter.of(
            self.store, state=state, params=params, tags=tags, parent=parent, since=since, until=until
        )
        frame = sessions(
            self.store,
            name,
            session_filter,
            filters=filters,
            code=code,
            code_in=code_in,
            parent_code=parent_code,
            description=description,
            near=near,
            info=info,
            columns=names,
        )
        if show is not None:
            frame = with_aggregates(self.store, frame, show)
        if only_changed:
            frame = without_constants(frame, names)
        return mark(frame.reset_index(drop=True), "sessions")

    def run(self, which: Any) -> RunInfo:
        """Return one session, finished or running: its parameters, metrics, code, environment, and what it wrote.

        Parameters
        ----------
        which : str, int, session, or a row or frame of :meth:`sessions`
            ``"train#3"``, or ``"train"`` for its latest run.

        Returns
        -------
        RunInfo
            As the session is now; ask again to see a running one go on.

        Raises
        ------
        SessionNotFound
            If it is not there.
        InvalidInput
            If several sessions are meant.

        Examples
        --------
        >>> with vault.session("train", params={"lr": 0.1}, tags="demo") as s:
        ...     for step in range(3):
        ...         s.log(step=step, loss=1 / (step + 1))
        ...     losses = vault.save("losses", {"loss": 0.5})
        >>> train = vault.run("train")
        >>> train.state, train.params, train.tags, round(train.metrics["loss"], 2)
        ('finished', {'lr': 0.1}, ('demo',), 0.33)
        >>> train.curve("loss")[["step", "value"]].round(2)
           step  value
        0     0   1.00
        1     1   0.50
        2     2   0.33
        >>> train.written()[["list", "version", "operation"]]
             list  version operation
        0  losses        1      save
        """
        self._flush()
        return RunInfo(self.store, resolve_session(self.store, which))

    def tag(
        self, which: Any, *tags: str, remove: str | Sequence[str] | None = None, replace: bool = False
    ) -> pd.DataFrame:
        """Add labels to sessions, or names to a version of a list, or remove some; also long after they ended.

        Many sessions may have the same label. The name of a version is its own within its list: after
        ``vault.tag("preds@3", "best")`` that version can be read as ``"preds@best"``, and a vacuum keeps it.

        Parameters
        ----------
        which : str, int, session, DataFrame, List, or a list of these
            Sessions as for :meth:`sessions`, of a bare name the latest run; or a version of a list, ``"preds@3"``. A
            handle, ``vault["preds"]``, is the version it shows.
        *tags : str
            Labels, or names, to add. Those that are there already stay where they are.
        remove : str or list of str, optional
            Labels to remove, those that a version was saved with among them. Those that are not there are passed over.
        replace : bool
            Move a name that another version of the list has. Left out, that is an error.

        Returns
        -------
        DataFrame
            As they are now: name (str, ``"train#3"`` or ``"preds@3"``), tags (list of str; of a version those it was saved
            with, then its names).

        Raises
        ------
        SessionNotFound, ListNotFound, VersionNotFound
            If what is named is not there.
        NameTaken
            If a name is that of another version of the list, or of a snapshot.
        InvalidName
            If no list, session or version can have that name.
        InvalidInput
            If `which` names nothing that has tags, a tag is no text, or `replace` is not True or False.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> with vault.session("train", tags="draft"):
        ...     preds = vault.save("preds", {"pred": 1})
        >>> vault.tag("train", "paper", "best", remove="draft")
              name           tags
        0  train#1  [paper, best]
        >>> vault.tag("preds@1", "gold")
              name    tags
        0  preds@1  [gold]
        >>> vault.read("preds@gold")["pred"].item()
        1
        """
        replace = validate.flag(replace, "replace")
        self._check_writable()
        running = self._context.sessions
        return tag(self.store, which, tags, remove, running, replace=replace, **self._by())

    def cells(self, session: Any = None) -> pd.DataFrame:
        """Return the code of sessions, in order: of all, of every run of a name, of one run.

        What this process has executed so far is among it.

        Parameters
        ----------
        session : str, int, session, DataFrame or a list of these, optional
            As for :meth:`sessions`.

        Returns
        -------
        DataFrame
            session (str), cell (Int64), text (str), started (datetime64[us, UTC]), duration_s (float64), outcome (str: ok,
            error, interrupted or running), error (str), traceback (str), execution_count (Int64).

        Raises
        ------
        SessionNotFound
            If a name, a run or an id is not there.
        InvalidInput
            If `session` names no sessions.

        Examples
        --------
        >>> vault.cells().columns.tolist()[:5]
        ['session', 'cell', 'text', 'started', 'duration_s']
        """
        self._flush()
        return reports.cells(self.store, None if session is None else resolve_sessions(self.store, session))

    def sources(self, session: Any) -> pd.DataFrame:
        """Return the modules of the project that sessions had imported, each content once.

        Parameters
        ----------
        session : str, int, session, DataFrame or a list of these
            As for :meth:`sessions`.

        Returns
        -------
        DataFrame
            session (str), path (str), sha256 (str), text (str).

        Raises
        ------
        SessionNotFound
            If a name, a run or an id is not there.
        InvalidInput
            If `session` names no sessions.

        Examples
        --------
        >>> vault.sources("*").columns.tolist()
        ['session', 'path', 'sha256', 'text']
        """
        self._flush()
        return reports.sources(self.store, resolve_sessions(self.store, session))
