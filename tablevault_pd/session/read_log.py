"""Which lists a session reads: noted in memory, kept with its next commit, or when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tablevault_pd.store import Store, Version


class Reads:
    """The reads of one session, and which of them are not kept yet. A read costs no write of its own."""

    def __init__(self, store: Store, around: Reads | None = None) -> None:
        self._store = store
        self._around = around  # of the session around, or of the one that forked this process
        self.session_id = 0  #: until the session has begun
        self._new: dict[tuple[int, int], None] = {}
        self._known: set[tuple[int, int]] = set()
        self._last: dict[int, Version] = {}
        self.warned: set[tuple[int | None, str]] = (
            set()
        )  #: (cell, list saved to) whose lost parents were warned about

    def note(self, version: Version) -> None:
        """The session read this version."""
        key = (version.list_id, version.version)
        self._last[version.list_id] = version
        if key not in self._known:
            self._new[key] = None

    def last(self) -> tuple[Version, ...]:
        """The version of each list that was read last, here or in the sessions around."""
        return tuple(self._latest().values())

    def _latest(self) -> dict[int, Version]:
        return self._last if self._around is None else {**self._around._latest(), **self._last}

    def take(self) -> tuple[tuple[int, int], ...]:
        """What is to be kept with the commit that comes now."""
        # Should that commit fail, a later one keeps them: only what flush() wrote is known to be kept.
        return tuple(self._new)

    def kept(self, reads: tuple[tuple[int, int], ...]) -> None:
        """These are kept."""
        self._known.update(reads)
        for read in reads:
            self._new.pop(read, None)

    def flush(self) -> None:
        """Keep what is left."""
        reads = self.take()
        if reads:
            self._store.note_reads(self.session_id, reads)
            self.kept(reads)
