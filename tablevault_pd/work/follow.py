"""New rows of a list as they are committed, by whatever process."""

from __future__ import annotations

import time
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.errors import VersionNotFound
from tablevault_pd.lineage.same import unchanged_rows
from tablevault_pd.reading.read import list_not_found
from tablevault_pd.store import VersionLookup
from tablevault_pd.work.order import pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import pandas as pd

    from tablevault_pd.store import Store, Version

FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 1.0  # between two looks that cost a request
MOST_ASLEEP_S = 0.05  # between two checkpoints, and two looks that cost microseconds
PAGE = 256  # versions that are looked up at a time
MOST_ROWS = 50_000  # in one frame
_NONE = np.empty(0, np.int64)
Pieces = list[tuple[int, int, int]]


class NewRows:
    """The rows of a list that were stored after one of its versions, each once.

    The versions are gone through one by one, so no row is missed that was there for a moment only. New in a version are the
    rows that are not the same as rows of the version before, and that no earlier version stored.
    """

    def __init__(self, store: Store, head: Version, after: Version | None) -> None:
        self._store, self._name, self._list_id = store, head.list, head.list_id
        self._last = after
        self._first = 0 if after is None else after.generation  # all rows of earlier generations are old
        self._next = 1 if after is None else after.version + 1
        self._met: dict[int, int] = {}  # generation -> how many rows of it were met
        if after is not None:
            self._meet(after, pieces_of(store, after))

    def available(self) -> Iterator[tuple[Version, np.ndarray]]:
        """The new rows that there are, as positions of versions. What was taken from here is not found again.

        Raises VersionNotFound for rows that were vacuumed before they were met.
        """
        while True:
            head = self._head()
            if head.version < self._next:
                return
            for version in self._versions(head):
                pieces = pieces_of(self._store, version)
                positions = self._new(version, pieces)
                self._meet(version, pieces)
                for start in range(0, len(positions), MOST_ROWS):
                    yield version, positions[start : start + MOST_ROWS]

    def _head(self) -> Version:
        """The newest version of the list, whatever it is called by now."""
        head = self._store.head(self._name)
        if head is None or head.list_id != self._list_id:
            history = self._store.describe_lists([self._list_id]).lists.get(self._list_id)
            head = None if history is None else self._store.head(history.name)
            if head is None:
                raise list_not_found(self._store, self._name)
            self._name = head.list
        return head

    def _versions(self, head: Version) -> Iterator[Version]:
        """The versions from the next one up to `head`; of some that only append the last, which shows all of their rows."""
        last = self._last
        if last is not None and head.generation == last.generation and not head.deleted:
            self._next = head.version + 1
            yield head
            return
        stop = min(self._next + PAGE, head.version + 1)
        versions = self._store.find_versions(
            [VersionLookup(self._name, number) for number in range(self._next, stop)]
        )
        self._next = stop
        for _, several in groupby(filter(None, versions), key=lambda version: version.generation):
            group = list(several)
            shown = [version for version in group if not version.deleted]
            there = [version for version in shown if not version.gone]
            if there:
                yield there[-1]
            elif shown and (self._first or self._met):
                raise VersionNotFound.vacuumed(self._name, shown[-1].version)
            if group[-1].deleted:
                self._last = None  # what is saved after that is new

    def _new(self, version: Version, pieces: Pieces) -> np.ndarray:
        position = 0
        parts = [_NONE]
        for generation, first, stop in pieces:
            before = stop if generation < self._first else self._met.get(generation, 0)
            met = min(max(before, first), stop)
            parts.append(np.arange(position + met - first, position + stop - first))
            position += stop - first
        positions = np.concatenate(parts)
        if version.erased:
            positions = np.setdiff1d(positions, self._store.erased([version])[0])
        if self._last is None or self._last.generation == version.generation or not len(positions):
            return positions
        last = self._store.version(self._name, self._last.version)
        if last is None or last.gone:
            raise VersionNotFound.vacuumed(self._name, self._last.version)
        return positions[unchanged_rows(self._store, version, last, positions) < 0]

    def _meet(self, version: Version, pieces: Pieces) -> None:
        self._last = version
        for generation, _, stop in pieces:
            self._met[generation] = max(self._met.get(generation, 0), stop)


class Followed:
    """The frames of :meth:`Vault.follow`, as they come."""

    def __init__(self, frames: Generator[pd.DataFrame]) -> None:
        self._frames = frames

    def __iter__(self) -> Followed:
        return self

    def __next__(self) -> pd.DataFrame:
        return next(self._frames)

    def close(self) -> None:
        """End it."""
        self._frames.close()


def follow(
    store: Store,
    rows: NewRows,
    checkpoint: Callable[[], object],
    stopped: Callable[[], bool],
    timeout_s: float | None,
) -> Iterator[tuple[Version, np.ndarray]]:
    """The rows that there are and those that come. Ends once `stopped`, or if none came for `timeout_s` seconds."""
    pause = FIRST_PAUSE_S
    last = time.monotonic()
    while True:
        # first: what comes while the rows are looked for is seen by the next look
        state = store.data_version()
        for version, positions in rows.available():
            checkpoint()
            if stopped():
                return
            yield version, positions
            last, pause = time.monotonic(), FIRST_PAUSE_S
        look_at = time.monotonic() + (pause if state is None else LONGEST_PAUSE_S)
        while time.monotonic() < look_at and store.data_version() == state:
            checkpoint()
            if stopped() or (timeout_s is not None and time.monotonic() >= last + timeout_s):
                return
            time.sleep(min(pause, MOST_ASLEEP_S))
            pause = min(2 * pause, LONGEST_PAUSE_S)
