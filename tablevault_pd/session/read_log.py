"""Records which lists a session reads: in memory, then stored with its next commit, or when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tablevault_pd.store import Store, Version


class Reads:
    """The reads of one session, stored ones and new ones. A read costs no write of its own."""

    def __init__(self, store: Store, around: Reads | None = None) -> None:
        self._store = store
        self._around = around  # reads of the session around, or of the session of a forked parent process
        self.session_id = 0  #: set when the session begins
        self._new: dict[tuple[int, int], None] = {}
        self._stored: set[tuple[int, int]] = set()
        self._last: dict[int, Version] = {}
        #: (cell, list saved to) whose lost parents were warned about
        self.warned: set[tuple[int | None, str]] = set()

    def note(self, version: Version) -> None:
        """Record that the session read this version."""
        key = (version.list_id, version.version)
        self._last[version.list_id] = version
        if key not in self._stored:
            self._new[key] = None

    def last(self) -> tuple[Version, ...]:
        """Return the version of each list that was read last, by this session or those around it."""
        return tuple(self._latest().values())

    def _latest(self) -> dict[int, Version]:
        return self._last if self._around is None else {**self._around._latest(), **self._last}

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
            self._store.note_reads(self.session_id, reads)
            self.mark_stored(reads)
