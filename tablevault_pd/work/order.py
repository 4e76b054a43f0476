"""The rows of a version in order of position, each named by its oldest address.

A row is the same row through versions as :func:`tablevault_pd.lineage.same.same_rows` says. The rows of a generation are
compared once, with those of the version before it; what comes out is kept in the vault.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.lineage.same import same_rows
from tablevault_pd.store import VersionLookup
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
            shown = [generation for generation, _, _ in pieces_of(store, head)]
            same = dict.fromkeys((head.generation, *shown), _NOTHING)
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
    """As :attr:`Work.same` has it: which rows of the generations since :attr:`Work.generation` are older ones.

    Each is compared, as it began, with the version before it, whether or not rows were claimed of that. So the answer does not
    depend on when somebody claims, and a row that was gone in between is a new one.
    """
    numbers = range(work.generation, head.generation + 1)
    versions = store.find_versions([VersionLookup(head.list, number) for number in numbers])
    same = dict(work.same)
    for before, began in pairwise(versions):
        if began is not None and began.generation == began.version and not began.deleted:
            same |= _same_as_before(store, began, before, same)
    return {generation: runs for generation, runs in same.items() if generation not in work.same}


def _same_as_before(
    store: Store, began: Version, before: Version | None, same: Mapping[int, np.ndarray]
) -> dict[int, np.ndarray]:
    """For each new generation that `began` shows: which of its rows are rows of the version before it."""
    shown = store.pieces([began])[0]
    bounds = np.append(0, np.cumsum([stop - first for _, first, stop in shown]))
    older_of = {
        began.generation: _NOTHING
    }  # also where it begins without any row: those that it gets are new ones
    new = [number for number, (generation, _, _) in enumerate(shown) if generation not in same]
    if not new:
        return older_of
    positions = np.concatenate([np.arange(bounds[number], bounds[number + 1]) for number in new])
    generation, row = shown.addresses(positions)
    older_of |= {int(number): _NOTHING for number in np.unique(generation)}
    if before is None or before.deleted:
        return older_of
    there = same_rows(store, began, before, positions)
    for number in older_of:
        at = np.flatnonzero((generation == number) & (there >= 0))
        at = at[np.argsort(row[at])]
        if len(at):
            older = _oldest_addresses(Addresses(*store.pieces([before])[0].addresses(there[at])), same)
            older_of[number] = _runs(row[at], older)
    return older_of


def _oldest_addresses(rows: Addresses, same: Mapping[int, np.ndarray]) -> Addresses:
    generation, row = rows.generation.copy(), rows.row.copy()
    for number in np.unique(rows.generation).tolist():
        runs = same.get(number, _NOTHING)
        if len(runs):
            at = np.flatnonzero(rows.generation == number)
            run = runs[np.maximum(np.searchsorted(runs[:, 0], row[at], side="right") - 1, 0)]
            inside = (row[at] >= run[:, 0]) & (row[at] < run[:, 1])
            at, run = at[inside], run[inside]
            generation[at], row[at] = run[:, 2], run[:, 3] + row[at] - run[:, 0]
    return Addresses(generation, row)


def _runs(rows: np.ndarray, older: Addresses) -> np.ndarray:
    """Runs (first row, end, generation, first row there) of rows, which ascend, and the older ones that they are."""
    broken = (np.diff(rows) != 1) | (np.diff(older.row) != 1) | (np.diff(older.generation) != 0)
    starts = np.flatnonzero(np.append(True, broken))
    ends = rows[np.append(starts[1:] - 1, len(rows) - 1)] + 1
    return np.stack([rows[starts], ends, older.generation[starts], older.row[starts]], axis=1)
