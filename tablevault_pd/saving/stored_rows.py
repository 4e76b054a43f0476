"""The stored rows of a list, each by one number: which versions show them, and what is in them, for all versions at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tablevault_pd.reading.chunks import aligned, as_array, living
from tablevault_pd.store import ScanRequest
from tablevault_pd.store.pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tablevault_pd.store import Store, Version


NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where some stored rows are read: in one version, at ascending positions."""

    which: int  #: number of the version, the oldest one is 0
    version: Version
    positions: np.ndarray
    numbers: np.ndarray  #: of the rows


class StoredRows:
    """The rows that the versions of a list show, oldest version first, numbered in order of address."""

    def __init__(self, store: Store, versions: Sequence[Version]) -> None:
        self.store, self.versions = store, versions
        self.contents = store.pieces(versions)
        columns = (
            np.concatenate([NO_ROWS, *(getattr(content, name) for content in self.contents)])
            for name in ("generation", "first", "stop")
        )
        generation, first, stop = columns
        self._owner = np.repeat(np.arange(len(versions)), [len(content) for content in self.contents])
        self._generations, at = np.unique(generation, return_inverse=True)
        ends = np.zeros(len(self._generations), np.int64)
        np.maximum.at(ends, at, stop)
        self._starts = np.append(0, np.cumsum(ends))
        self._first, self._stop = self._starts[at] + first, self._starts[at] + stop

    @property
    def total(self) -> int:
        """How many numbers there are; versions need not show each."""
        return int(self._starts[-1])

    # -- numbers, addresses, positions

    def numbers_at(self, which: int, positions: np.ndarray) -> np.ndarray:
        """The numbers of the rows at these positions of a version."""
        generation, address = self.contents[which].addresses(positions)
        return np.asarray(self._starts[np.searchsorted(self._generations, generation)] + address)

    def numbers_of(self, content: Pieces, positions: np.ndarray) -> np.ndarray:
        """The numbers of rows that another version shows at these positions, if any of the versions shows them, too."""
        if not self.total:
            return NO_ROWS
        generation, address = content.addresses(positions)
        at = np.minimum(np.searchsorted(self._generations, generation), len(self._generations) - 1)
        there = (self._generations[at] == generation) & (self._starts[at] + address < self._starts[at + 1])
        numbers = (self._starts[at] + address)[there]
        return np.asarray(numbers[self.newest_of_all[numbers] >= 0])

    def positions_in(self, which: int, numbers: np.ndarray) -> np.ndarray:
        """Where a version shows these rows; -1 where it does not."""
        return self.contents[which].positions(*self._addresses(numbers))

    def pieces_of(self, numbers: np.ndarray) -> Pieces:
        """These rows, in order of address."""
        generation, address = self._addresses(np.unique(numbers))
        return Pieces(generation, address, address + 1)

    def _addresses(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = np.searchsorted(self._starts, numbers, side="right") - 1
        return self._generations[at], numbers - self._starts[at]

    # -- which versions show which rows

    def newest(self, which: np.ndarray | None = None) -> np.ndarray:
        """For each number the newest of these versions that shows the row, -1 where none does."""
        newest = np.full(self.total, -1, np.int32)
        pieces = range(len(self._owner)) if which is None else np.flatnonzero(which[self._owner]).tolist()
        owner, first, stop = self._owner.tolist(), self._first.tolist(), self._stop.tolist()
        for piece in pieces:
            newest[first[piece] : stop[piece]] = owner[piece]
        return newest

    def showing(self, rows: np.ndarray) -> np.ndarray:
        """Which versions show any of the rows that are marked: bool, one for each."""
        before = np.append(0, np.cumsum(rows))
        counts = before[self._stop] - before[self._first]
        return np.bincount(self._owner, counts, len(self.versions)) > 0

    def shown(self, which: int) -> np.ndarray:
        """Marks of the rows that a version shows."""
        marks = np.zeros(self.total, bool)
        low, high = np.searchsorted(self._owner, [which, which + 1])
        for first, stop in zip(self._first[low:high].tolist(), self._stop[low:high].tolist(), strict=True):
            marks[first:stop] = True
        return marks

    def marked(self, numbers: np.ndarray) -> np.ndarray:
        """A mark for each of these rows: bool, one for each number."""
        marks = np.zeros(self.total, bool)
        marks[numbers] = True
        return marks

    @cached_property
    def erased(self) -> np.ndarray:
        """Marks of the rows that were erased before."""
        positions = self.store.erased(self.versions)
        numbers = [self.numbers_at(which, rows) for which, rows in enumerate(positions) if len(rows)]
        return self.marked(np.concatenate([NO_ROWS, *numbers]))

    @cached_property
    def newest_of_all(self) -> np.ndarray:
        """For each number the newest version that shows the row, -1 where none does."""
        return self.newest()

    def places(self, numbers: np.ndarray, newest: np.ndarray | None = None) -> Iterator[Place]:
        """Each of these rows once, in the newest version that shows it, the newest version first."""
        of_versions = (self.newest_of_all if newest is None else newest)[numbers]
        order = np.argsort(-of_versions, kind="stable")
        bounds = np.flatnonzero(np.diff(of_versions[order])) + 1
        for group in np.split(order, bounds) if len(order) else ():
            which = int(of_versions[group[0]])
            positions = self.positions_in(which, numbers[group])
            in_order = np.argsort(positions)
            yield Place(which, self.versions[which], positions[in_order], numbers[group][in_order])

    # -- what is in them

    def tables(
        self, places: Sequence[Place], parts: Sequence[tuple[Sequence[str], pa.Schema]]
    ) -> Iterator[tuple[np.ndarray, pa.Table]]:
        """(numbers, rows) of each part that is read: these fields of each place, as a schema has them. Erased rows are left out."""
        requests = [
            ScanRequest(place.version, tuple(fields), place.positions)
            for place, (fields, _) in zip(places, parts, strict=True)
        ]
        for number, chunk in self.store.scan_many(requests):
            chunk, place = living(chunk), places[number]
            positions = as_array(chunk.positions)
            at = np.minimum(np.searchsorted(place.positions, positions), len(place.positions) - 1)
            rows = np.flatnonzero(place.positions[at] == positions)
            table = aligned(chunk, parts[number][1])
            yield (
                place.numbers[at[rows]],
                table if len(rows) == len(positions) else table.take(pa.array(rows)),
            )
