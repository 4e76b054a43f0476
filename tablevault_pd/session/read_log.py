"""Records which lists a session reads: in memory, then stored with its next commit, or when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.capture.position import is_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Store, Version

#: Where a read happened: (number of the notebook's cell in this process or -1 for a script, place in it; None: unknown).
ReadPlace = tuple[int, int | None]
#: One statement: (number of the cell or -1, the place where it begins, that where it ends).
Lines = tuple[int, int, int]


class Reads:
    """The reads of one session, stored ones and new ones. A read costs no write of its own."""

    def __init__(self, store: Store, around: Reads | None = None) -> None:
        self._store = store
        self._around = around  # reads of the session around, or of the session of a forked parent process
        self.session_id = 0  #: set when the session begins, as is the attempt
        self.attempt = 0
        self._new: dict[tuple[int, int], None] = {}
        self._stored: set[tuple[int, int]] = set()
        self._last: dict[tuple[int, ReadPlace], Version] = {}  # by list and place, the latest last
        #: (cell, list saved to), and (file, line) of the call, whose lost parents were warned about
        self.warned: set[tuple[int | None, str] | tuple[str, int]] = set()

    def begin(self, session_id: int, attempt: int) -> None:
        """Note whose reads these are: the session has begun."""
        self.session_id, self.attempt = session_id, attempt

    def note(self, version: Version, place: ReadPlace) -> None:
        """Record that the session read this version."""
        key = (version.list_id, version.version)
        self._last.pop((version.list_id, place), None)
        self._last[version.list_id, place] = version
        if key not in self._stored:
            self._new[key] = None

    def last(self, code: Sequence[Lines] | None = None) -> tuple[Version, ...]:
        """Return the version of each list that was read last, here or in the sessions around; with `code` only by these statements.

        A read whose place is unknown always counts.
        """
        return tuple(self._latest(code).values())

    def _latest(self, code: Sequence[Lines] | None) -> dict[int, Version]:
        latest = {} if self._around is None else self._around._latest(code)
        for (list_id, place), version in list(self._last.items()):
            if code is None or _is_inside(place, code):
                latest[list_id] = version
        return latest

    def take(self) -> tuple[tuple[int, int], ...]:
        """Return the reads to store with the next commit."""
        # If that commit fails, the next one stores them: mark_stored() was not called.
        return tuple(self._new)

    def mark_stored(self, reads: tuple[tuple[int, int], ...]) -> None:
        """Note that the store has these reads."""
        self._stored.update(reads)
        for read in reads:
            self._new.pop(read, None)

    def flush(self) -> None:
        """Store the reads that are left."""
        reads = self.take()
        if reads:
            self._store.note_reads(self.session_id, reads, attempt=self.attempt)
            self.mark_stored(reads)


def _is_inside(place: ReadPlace, code: Sequence[Lines]) -> bool:
    cell, at = place
    return at is None or any(cell == number and is_between(at, first, last) for number, first, last in code)
