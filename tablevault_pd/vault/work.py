"""Work that is shared by many processes: :meth:`claim`, :meth:`finish`, :meth:`release`, :meth:`claims` and :meth:`follow`."""

from __future__ import annotations

import secrets
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, InvalidType, VaultError, short_repr
from tablevault_pd.filters import is_no_filter
from tablevault_pd.keys.mapped import is_notes
from tablevault_pd.keywords import note_done, taken_back_by
from tablevault_pd.names import check_name
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.origin import tag
from tablevault_pd.session.lookup import resolve_sessions
from tablevault_pd.store.work import Holder
from tablevault_pd.vault.base import VaultPart
from tablevault_pd.work import report
from tablevault_pd.work.board import ClaimCall, board_of
from tablevault_pd.work.candidates import Candidates
from tablevault_pd.work.claimed import rows_in_hand
from tablevault_pd.work.follow import Followed, NewRows, follow
from tablevault_pd.work.row_cache import RowCache

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Sequence

    import pandas as pd

    from tablevault_pd.store import Store, Version


def _undo(calls: list[tuple[Store, ClaimCall]]) -> None:
    """Give back what claims took whose caller does not get it."""
    for store, call in calls:
        if call.list_id:
            # the error that brought us here is told; the rows fall back with the session
            with suppress(VaultError):
                store.undo_claim(call.list_id, call.holder, call.token)


class Claiming(VaultPart):
    """The part of a :class:`Vault` that hands out rows to be worked on."""

    @taken_back_by(_undo)
    def claim(
        self,
        name: str,
        k: int = 1,
        *,
        filters: Any = None,
        columns: Sequence[Hashable] | None = None,
        refs: bool | str = False,
    ) -> pd.DataFrame:
        """Take rows of a list to work on: rows that nobody holds and nobody has finished.

        However many processes and machines ask, each row is held by one of them. A claim lives as long as the session that
        holds it: there is no time limit. It falls back once the session ends, its process is gone, or it was not heard of
        for as long as a session needs to count as lost. A paused session keeps its claims. Whoever comes back late may finish
        its rows as long as nobody has claimed of the list meanwhile. The call is a checkpoint: before it takes rows, a stop or pause
        of the current session takes effect.

        Parameters
        ----------
        name : str
            The list. It may be appended to and saved anew meanwhile: a row that is the same row as before, by key or content, stays
            held or done.
        k : int
            How many rows at most.
        filters : optional
            Only rows that fit, as for :meth:`read`.
        columns : list, optional
            Only these columns.
        refs : bool or str
            Add a column of references to the rows, as for :meth:`read`.

        Returns
        -------
        DataFrame, shape (up to k, n_columns)
            In order of position, the first rows that are open; as :meth:`read` returns them, so that it can be given as
            ``inputs=``. Empty if no row is open now, though others may fall back later.

        Raises
        ------
        ListNotFound, ListDeleted
            If there is no such list, or it is hidden by a delete.
        InvalidFilter
            If the filter cannot be parsed, or names a column that is not there.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If another argument cannot be used, or the vault was connected without a session.
        VaultReadOnly
            If the vault is open for reading.
        SessionStopped
            If the session, or one around it, was asked to stop.
        SessionContinued
            If the session was resumed by another process meanwhile.

        Examples
        --------
        >>> jobs = vault.save("jobs", pd.DataFrame({"word": ["a", "bb", "ccc"]}))
        >>> while len(mine := vault.claim("jobs", k=2)):
        ...     done = vault.append("lengths", mine.assign(length=mine["word"].str.len()), inputs=tv.rows(mine), finish=True)
        >>> vault.claims("jobs")["state"].tolist()
        ['done', 'done', 'done']
        """
        name = check_name(name)
        count = validate.whole(k, "k", least=1)
        labels = validate.labels(columns)
        if is_no_filter(filters):
            filters = None
        self._check_writable()
        self._checkpoint()
        store = self.store
        call = ClaimCall(self._holder(), secrets.randbits(62))
        note_done((store, call))
        board = board_of(store, name)
        check = partial(board.rows.check, columns=labels, refs=refs)
        version, positions = board.claim(call, count, filters, check)
        frame = board.rows.read(version, positions, labels, refs)
        self._note_read(version)
        holder = (call.holder.session_id, call.holder.attempt)
        return tag(frame, store.vault_id, version, positions, labels, holder)

    def finish(self, rows: pd.DataFrame | pd.Series) -> None:
        """Mark claimed rows as done, for good. Nobody gets them again.

        ``append`` and ``save`` do it in the same commit as the results, with ``inputs=rows, finish=True``: then either both are
        there or neither is.

        Parameters
        ----------
        rows : DataFrame or Series
            What :meth:`claim` returned, or some of its rows, in any process.

        Raises
        ------
        ClaimLost
            If some of the rows are not held by that claim any more; then none is marked. Those that it has finished before do
            not count.
        InvalidInput
            If it cannot be told which rows of a list these are.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> jobs = vault.save("jobs", pd.DataFrame({"n": range(5)}))
        >>> mine = vault.claim("jobs", k=3)
        >>> vault.finish(mine.query("n < 2"))
        >>> vault.claims("jobs")["state"].tolist()
        ['done', 'done', 'held', 'open', 'open']
        """
        self._check_writable()
        self.store.finish(rows_in_hand(self.store, rows, self._any_holder()), **self._by())

    def release(self, rows: pd.DataFrame | pd.Series | str, *, session: Any = None) -> int:
        """Give claimed rows back undone, so that others get them.

        Parameters
        ----------
        rows : DataFrame, Series or str
            What :meth:`claim` returned, or some of its rows; or the name of a list, for all of its rows that are held.
        session : optional
            With the name of a list: whose rows, as :meth:`sessions` takes it. Default: those of the current session.

        Returns
        -------
        int
            How many rows were held, and are open again.

        Raises
        ------
        ListNotFound
            If there is no such list.
        SessionNotFound
            If there is no such session.
        InvalidName, InvalidInput
            If it cannot be told which rows are meant.
        ClaimLost
            If nothing was ever claimed of the list that the rows are of.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> jobs = vault.save("jobs", pd.DataFrame({"n": range(5)}))
        >>> mine = vault.claim("jobs", k=3)
        >>> vault.release(mine.iloc[1:]), vault.release("jobs")
        (2, 1)
        """
        self._check_writable()
        if isinstance(rows, str):
            return self._release_list(check_name(rows), session)
        if session is not None:
            raise InvalidInput(
                "session= goes with the name of a list; a frame of claimed rows says itself who holds them."
            )
        held = rows_in_hand(self.store, rows, self._any_holder())
        return sum(self.store.release(part.list_id, part.rows, part.holder) for part in held)

    def _release_list(self, name: str, session: Any) -> int:
        if session is None:
            ids = {self._holder().session_id}
        else:
            ids = {chosen.id for chosen in resolve_sessions(self.store, session)}
        list_id = reading.resolve(self.store, name).list_id
        holders = [state.holder for state in self.store.holders(list_id) if state.holder.session_id in ids]
        return self.store.give_back(list_id, holders) if holders else 0

    def claims(self, name: str | None = None, *, state: str | Sequence[str] | None = None) -> pd.DataFrame:
        """Who holds and who has done which rows.

        Parameters
        ----------
        name : str, optional
            A list, at its newest version. Default: every list that rows were claimed of, but for the notes of :meth:`map`.
        state : {"open", "held", "done"} or list of these, optional
            Only rows in this state.

        Returns
        -------
        DataFrame
            list (str), position (Int64), key (object: of the row, a tuple where it has several columns; without a key its label in an
            index of the list's own, else missing), state (str: open, held or done), session (str: who holds it or has done
            it), since (datetime, UTC).

        Raises
        ------
        ListNotFound
            If there is no such list.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If there is no such state.

        Examples
        --------
        >>> jobs = vault.save("jobs", pd.DataFrame({"n": [1, 2]}))
        >>> mine = vault.claim("jobs")
        >>> vault.claims("jobs")[["list", "position", "state"]]
           list  position state
        0  jobs         0  held
        1  jobs         1  open
        """
        states = report.STATES if state is None else validate.choices(state, "state", report.STATES)
        if name is not None:
            heads = [reading.resolve(self.store, check_name(name))]
        else:
            worked = set(self.store.worked_lists())
            newest = [state_of_list.head for state_of_list in self.store.lists()] if worked else []
            heads = [
                head
                for head in newest
                if head.list_id in worked and not head.deleted and not is_notes(self.store, head)
            ]
        frame = report.claims(self.store, heads)
        return frame if state is None else frame[frame["state"].isin(states)].reset_index(drop=True)

    # -- following

    def follow(
        self,
        name: str,
        *,
        since: Any = "now",
        filters: Any = None,
        columns: Sequence[Hashable] | None = None,
        refs: bool | str = False,
        timeout_s: float | None = None,
        stop: Any = None,
    ) -> Followed:
        """Yield the new rows of a list as they are committed, by whatever process, as frames.

        What comes is what a commit stores: rows that are appended, rows that an upsert adds or changes, and of a save those that the
        version before does not have as they are. So a row comes once, and again with its new content when it has changed. To
        remove, erase, restore or rename brings no row. The list is followed under its new name; one that is deleted brings
        nothing until it is saved anew. The loop is a checkpoint: a stop or pause takes effect in it.

        Parameters
        ----------
        name : str
            The list.
        since : {"now", "start"}, int or time
            What counts as new: what is committed after this call, everything, what came after this version, or after this time.
        filters, columns, refs : optional
            As for :meth:`read`.
        timeout_s : float, optional
            End when no row came for so many seconds; 0: with what is there. Default: never.
        stop : threading.Event or function, optional
            End once it is set, or returns true. It is looked at before each frame, and while waiting.

        Returns
        -------
        iterator of DataFrame
            Each frame has rows of one version, in order of position, as :meth:`read` returns them; ``close()`` ends it.

        Raises
        ------
        ListNotFound, ListDeleted
            If there is no such list, or it is hidden by a delete.
        VersionNotFound
            If there is no such version; while it runs, if rows were vacuumed that had not come yet, or that those of a save are
            compared with.
        InvalidFilter
            If the filter cannot be parsed, or names a column that is not there.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If another argument cannot be used.

        Examples
        --------
        >>> events = vault.save("events", pd.DataFrame({"n": [1, 2]}))
        >>> new = vault.follow("events", since="now", timeout_s=0)
        >>> events = vault.append("events", {"n": 3})
        >>> for frame in new:
        ...     print(frame)
                  n
        position
        2         3
        """
        name = check_name(name)
        labels = validate.labels(columns)
        wait_s = None if timeout_s is None else validate.seconds(timeout_s, "timeout_s")
        stopped = _condition(stop)
        store = self.store
        head = reading.resolve(store, name)
        reading.read(store, head, columns=labels, filters=filters, stop=0, refs=refs)
        new = NewRows(store, head, self._after(name, head, since))
        return Followed(self._followed(new, filters, labels, refs, wait_s, stopped))

    def _after(self, name: str, head: Version, since: Any) -> Version | None:
        """The version whose rows are not new any more."""
        if isinstance(since, str) and since in ("now", "start"):
            return head if since == "now" else None
        if isinstance(since, (str, bytes)) or not hasattr(since, "__index__"):
            return self.store.version_at(name, validate.time(since, "since"))
        return reading.resolve(self.store, name, version=validate.whole(since, "since", least=1))

    def _followed(
        self,
        new: NewRows,
        filters: Any,
        columns: list[Hashable] | None,
        refs: bool | str,
        timeout_s: float | None,
        stopped: Callable[[], bool],
    ) -> Generator[pd.DataFrame]:
        store = self.store
        for version, positions in follow(store, new, self._checkpoint, stopped, timeout_s):
            fitting = Candidates(store, filters, 0).of(version, positions)
            if len(fitting):
                frame = RowCache(store).read(version, fitting, columns, refs)
                self._note_read(version)
                yield tag(frame, store.vault_id, version, fitting, columns)

    def _checkpoint(self) -> None:
        store = self.store  # raises once the vault is closed
        run = self._current_run()
        if run is not None and run.store is store and run.has_request:
            run.obey()

    # -- who asks

    def _any_holder(self) -> Holder | None:
        """The current session as one that may hold rows."""
        run = self._current_run()
        return None if run is None else Holder(run.id, run.row.attempt)

    def _holder(self) -> Holder:
        holder = self._any_holder()
        if holder is None:
            raise InvalidInput(
                "A claim lives as long as the session that holds it, and this vault was connected with session=False. Connect "
                "with a session, or claim inside of `with vault.session(name):`."
            )
        return holder


def _condition(stop: Any) -> Callable[[], bool]:
    """What tells whether to end."""
    if stop is None:
        return lambda: False
    if callable(getattr(stop, "is_set", None)):
        return lambda: bool(stop.is_set())
    if callable(stop) and not isinstance(stop, type):
        return lambda: bool(stop())
    raise InvalidType(f"stop= is a threading.Event or a function without arguments, not {short_repr(stop)}.")
