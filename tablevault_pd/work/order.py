"""The rows of a version in order of position, each named by its oldest address.

A row is the same row through versions as :func:`tablevault_pd.lineage.same.same_rows` says. The rows of a generation are
compared once, with those of the generation that was worked on before; what comes out is kept in the vault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.lineage.same import same_rows
from tablevault_pd.store.work import Addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tablevault_pd.store import Store, Version
    from tablevault_pd.store.work import Work

_BITS = 40  # no generation has so many rows
_NOTHING = np.empty((0, 4), np.int64)


class Order:
    """The rows of one version. It never changes."""

    def __init__(self, version: Version, pieces: Iterable[tuple[int, int, int]]) -> None:
        self.version = version
        generation, first, stop = np.array(list(pieces), np.int64).reshape(-1, 3).T
        self._generation, self._first = generation, first
        self._bounds = np.append(0, np.cumsum(stop - first))
        self._keys = (generation << _BITS) | first
        self._sorted = np.argsort(self._keys)

    def addresses(self, positions: np.ndarray) -> Addresses:
        """The addresses of the rows at these positions."""
        if len(self._first) == 1:
            return Addresses(np.full(len(positions), self._generation[0]), positions + self._first[0])
        number = np.searchsorted(self._bounds, positions, side="right") - 1
        return Addresses(self._generation[number], positions - self._bounds[number] + self._first[number])

    def positions(self, rows: Addresses) -> np.ndarray:
        """Where these rows are shown; -1 where one is not."""
        if not len(self._first):
            return np.full(len(rows), -1, np.int64)
        keys = (rows.generation << _BITS) | rows.row
        place = np.searchsorted(self._keys, keys, side="right", sorter=self._sorted) - 1
        number = self._sorted[np.maximum(place, 0)]
        offset = keys - self._keys[number]
        size = self._bounds[number + 1] - self._bounds[number]
        return np.where((offset >= 0) & (offset < size), self._bounds[number] + offset, -1)


def order_of(store: Store, version: Version, work: Work) -> Order:
    """The order of a version whose generations were all compared."""
    return Order(version, _oldest(pieces_of(store, version), work.same))


def shown_order(store: Store, head: Version, work: Work | None) -> Order:
    """The order of the newest version, whether or not it was compared: nothing is written."""
    if work is None or work.generation == head.generation:
        return Order(head, _oldest(pieces_of(store, head), {} if work is None else work.same))
    return Order(head, _oldest(pieces_of(store, head), {**_compared(store, head, work), **work.same}))


def aligned(store: Store, head: Version) -> tuple[Order, Work] | None:
    """The order of the newest version of a list, once the vault knows which of its rows are older ones.

    None if there is a newer version by now.
    """
    while True:
        work = store.work(head.list_id)
        if work is not None and work.generation == head.generation:
            return order_of(store, head, work), work
        if work is not None and work.generation > head.generation:
            return None
        if work is None:
            same = {generation: _NOTHING for generation, _, _ in pieces_of(store, head)}
        else:
            same = _compared(store, head, work)
        after = None if work is None else work.generation
        store.align_work(head.list_id, after=after, generation=head.generation, same=same)


def align_all(store: Store) -> None:
    """Compare the rows of every list that is worked on, before the versions that they are compared with are removed."""
    worked = set(store.worked_lists())
    for state in store.lists() if worked else ():
        if state.head.list_id in worked and not state.head.deleted:
            aligned(store, state.head)


def pieces_of(store: Store, version: Version) -> list[tuple[int, int, int]]:
    """(generation, first row, end) of what a version shows, in order of position."""
    return list(store.pieces([version])[0])


def _oldest(
    pieces: Iterable[tuple[int, int, int]], same: Mapping[int, np.ndarray]
) -> Iterable[tuple[int, int, int]]:
    """The pieces, with rows that are older ones named by their oldest addresses."""
    for generation, first, stop in pieces:
        runs = same.get(generation, _NOTHING)
        for start, end, older, there in runs[(runs[:, 1] > first) & (runs[:, 0] < stop)].tolist():
            if start > first:
                yield generation, first, start
            first = max(first, start)
            yield older, there + first - start, there + min(end, stop) - start
            first = min(end, stop)
        if first < stop:
            yield generation, first, stop


def _compared(store: Store, head: Version, work: Work) -> dict[int, np.ndarray]:
    """For each new generation that `head` shows: which of its rows are older ones, as :attr:`Work.same` has it."""
    grown = store.newest_of_generations(
        [(head.list_id, work.generation)]
    )  # not one that a restore began, and nothing else
    before = grown[0] if grown else store.version(head.list, work.generation)
    same: dict[int, np.ndarray] = {}
    position = 0
    for generation, first, stop in pieces_of(store, head):
        positions = np.arange(position, position + stop - first)
        position += stop - first
        if generation in work.same:
            continue
        there = np.full(len(positions), -1) if before is None else same_rows(store, head, before, positions)
        same_at = np.flatnonzero(there >= 0)
        runs = _NOTHING
        if before is not None and len(same_at):
            runs = _runs(first + same_at, order_of(store, before, work).addresses(there[same_at]))
        same[generation] = np.concatenate([same.get(generation, _NOTHING), runs])
    return {generation: runs[np.argsort(runs[:, 0])] for generation, runs in same.items()}


def _runs(rows: np.ndarray, older: Addresses) -> np.ndarray:
    """Runs (first row, end, generation, first row there) of rows, which ascend, and the older ones that they are."""
    broken = (np.diff(rows) != 1) | (np.diff(older.row) != 1) | (np.diff(older.generation) != 0)
    starts = np.flatnonzero(np.append(True, broken))
    ends = rows[np.append(starts[1:] - 1, len(rows) - 1)] + 1
    return np.stack([rows[starts], ends, older.generation[starts], older.row[starts]], axis=1)
