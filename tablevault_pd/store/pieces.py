"""The content of a version: pieces of stored rows. No I/O.

A commit stores its rows in a *generation*, a run of rows that only ever grows at its end. An *address* (generation, row in
it) permanently names a stored row of a list. A version shows an ordered list of *pieces*, each a range of addresses; the
*position* of a row in a version is its number over the pieces. Rows that a change keeps keep their address.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OWN = 0  #: in the pieces of a batch: the generation that its commit starts. Others are numbered from 1 on.
BITS = 40  # no generation has so many rows that its addresses need more


class Pieces:
    """Which stored rows a version shows, in order of position. It never changes; no row is shown twice.

    Pieces that continue each other are one piece, so equal content has equal pieces.

    Examples
    --------
    >>> before = Pieces.of([(1, 0, 100)])
    >>> after = before.replace(np.array([3]), OWN) + Pieces.of([(OWN, 1, 3)])
    >>> list(after)
    [(1, 0, 3), (0, 0, 1), (1, 4, 100), (0, 1, 3)]
    >>> after.total
    102
    """

    __slots__ = ("_index", "bounds", "first", "generation", "stop")

    generation: np.ndarray  #: int64, shape (n,): of each piece
    first: np.ndarray  #: int64: first row in the generation
    stop: np.ndarray  #: int64: end, excluded
    bounds: np.ndarray  #: int64, shape (n + 1,): position of the first row of each piece, and the total

    def __init__(self, generation: np.ndarray, first: np.ndarray, stop: np.ndarray) -> None:
        if len(generation) > 1 or (len(generation) and first[0] >= stop[0]):
            generation, first, stop = _merged(generation, first, stop)
        self.generation, self.first, self.stop = generation, first, stop
        self.bounds = np.zeros(len(first) + 1, np.int64)
        np.cumsum(stop - first, out=self.bounds[1:])
        self._index: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of(cls, pieces: Iterable[tuple[int, int, int]]) -> Pieces:
        """From (generation, first, stop) of each piece."""
        generation, first, stop = np.array(list(pieces), np.int64).reshape(-1, 3).T
        return cls(generation, first, stop)

    @classmethod
    @lru_cache(maxsize=1024)
    def one(cls, generation: int, first: int, stop: int) -> Pieces:
        """A single piece."""
        return cls.of([(generation, first, stop)])

    @property
    def total(self) -> int:
        """How many rows are shown."""
        return int(self.bounds[-1])

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return zip(self.generation.tolist(), self.first.tolist(), self.stop.tolist(), strict=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pieces):
            return NotImplemented
        names = ("generation", "first", "stop")
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    def __hash__(self) -> int:
        return hash((self.generation.tobytes(), self.first.tobytes(), self.stop.tobytes()))

    def __repr__(self) -> str:
        return f"Pieces.of({list(self)})"

    def __add__(self, other: Pieces) -> Pieces:
        if not len(self) or not len(other):
            return self if len(self) else other
        return Pieces(
            np.concatenate([self.generation, other.generation]),
            np.concatenate([self.first, other.first]),
            np.concatenate([self.stop, other.stop]),
        )

    @property
    def are_distinct(self) -> bool:
        """Whether no row is shown twice: of any other content, what this one says does not hold."""
        keys, order = self._by_address()
        return bool((keys[1:] >= (keys + (self.stop - self.first)[order])[:-1]).all())

    # -- positions and addresses

    def addresses(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(generation, row in it) of the rows at these positions."""
        if len(self) == 1:
            return np.full(len(positions), self.generation[0]), positions + self.first[0]
        number = np.searchsorted(self.bounds, positions, side="right") - 1
        return self.generation[number], positions - self.bounds[number] + self.first[number]

    def positions(self, generation: np.ndarray | int, address: np.ndarray) -> np.ndarray:
        """Where the rows of these addresses are shown; -1 where one is not."""
        if not len(self):
            return np.full(len(address), -1, np.int64)
        if len(self) == 1:
            shown = (address >= self.first[0]) & (address < self.stop[0]) & (generation == self.generation[0])
            return np.where(shown, address - self.first[0], -1)
        keys, order = self._by_address()
        target = _key(generation, address)
        number = order[np.maximum(np.searchsorted(keys, target, side="right") - 1, 0)]
        rows = target - _key(self.generation[number], self.first[number])
        shown = (rows >= 0) & (rows < self.stop[number] - self.first[number])
        return np.where(shown, self.bounds[number] + rows, -1)

    def _by_address(self) -> tuple[np.ndarray, np.ndarray]:
        """The first address of each piece in one number, ascending, and which piece each is of."""
        if self._index is None:
            keys = _key(self.generation, self.first)
            order = np.argsort(keys)
            self._index = keys[order], order
        return self._index

    def positions_of(self, other: Pieces) -> np.ndarray:
        """Where rows are shown that `other` shows, too, ascending."""
        start, _, rows = self.overlaps(other)
        return expanded(start, rows)[1]

    def overlaps(self, other: Pieces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(position here, position there, rows) of each run of rows that both show, in order of position here."""
        if len(self) == len(other) == 1:
            _, start, stop = self.runs(other.generation, other.first, other.stop)
            return start, start + (self.first - other.first), stop - start
        _, order = other._by_address()
        _, start, stop = self.runs(other.generation[order], other.first[order], other.stop[order])
        return start, other.positions(*self.addresses(start)), stop - start

    def runs(
        self, generation: np.ndarray, first: np.ndarray, stop: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(number, start, stop): where the rows of these runs of addresses are shown, in order of position.

        The runs are in order of address, and apart.
        """
        if len(self) == 1:
            low, high = np.maximum(first, self.first), np.minimum(stop, self.stop)
            run = ((low < high) & (generation == self.generation)).nonzero()[0]
            return run, low[run] - self.first, high[run] - self.first
        starts = _key(self.generation, self.first)
        keys = _key(generation, first)
        ends = keys + (stop - first)
        low = np.searchsorted(ends, starts, side="right")
        high = np.searchsorted(keys, starts + (self.stop - self.first), side="left")
        piece, run = expanded(low, np.maximum(high - low, 0))
        offset = self.bounds[piece] - starts[piece]
        return (
            run,
            np.maximum(starts[piece], keys[run]) + offset,
            np.minimum(starts[piece] + (self.stop - self.first)[piece], ends[run]) + offset,
        )

    def shows_any(self, generation: np.ndarray, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Whether any row is shown of each of these runs of addresses, which may overlap; bool."""
        if not len(self):
            return np.zeros(len(first), bool)
        keys, order = self._by_address()
        last = np.searchsorted(keys, _key(generation, stop), side="left") - 1
        number = order[np.maximum(last, 0)]
        end = _key(self.generation[number], self.stop[number])
        return np.asarray((last >= 0) & (first < stop) & (end > _key(generation, first)))

    def lacking(self, other: Pieces) -> tuple[np.ndarray, np.ndarray]:
        """(start, stop): the positions here of the rows that `other` does not show, as runs in order."""
        here, _, rows = self.overlaps(other)
        starts, stops = np.append(0, here + rows), np.append(here, self.total)
        left = starts < stops
        return starts[left], stops[left]

    def intervals(self, generation: int) -> tuple[np.ndarray, np.ndarray]:
        """(first, stop): the rows of one generation that are shown."""
        here = self.generation == generation
        return self.first[here], self.stop[here]

    def ends(self) -> list[tuple[int, int]]:
        """(generation, end): up to where each generation is shown."""
        if len(self) == 1:
            return [(int(self.generation[0]), int(self.stop[0]))]
        _, order = self._by_address()
        last = order[np.flatnonzero(np.diff(self.generation[order], append=-1))]
        return list(zip(self.generation[last].tolist(), self.stop[last].tolist(), strict=True))

    # -- other content

    def clip(self, start: int, stop: int) -> Pieces:
        """Only the positions from `start` to `stop`, `stop` excluded."""
        if start <= 0 and stop >= self.total:
            return self
        return Pieces(*self._cut(np.array([max(start, 0)]), np.array([min(stop, self.total)]))[1:])

    def take(self, starts: np.ndarray, stops: np.ndarray) -> Pieces:
        """Only these runs of positions, which are in order and apart."""
        return Pieces(*self._cut(starts, stops)[1:])

    def without(self, other: Pieces) -> Pieces:
        """Without the rows that `other` shows."""
        return self.take(*self.lacking(other))

    def at(self, positions: np.ndarray) -> Pieces:
        """Only the rows at these positions, which are in order, each once."""
        return self.take(positions, positions + 1)

    def remove(self, positions: np.ndarray) -> Pieces:
        """Without the rows at these positions."""
        return self.take(*self._around(np.unique(positions)))

    def by_address(self) -> Pieces:
        """The same rows in order of address."""
        _, order = self._by_address()
        return Pieces(self.generation[order], self.first[order], self.stop[order])

    def replace(self, positions: np.ndarray, generation: int, first: int = 0) -> Pieces:
        """With the row ``first + i`` of `generation` in the place of the one at ``positions[i]``. Each position is there once."""
        order = np.argsort(positions)
        ordered = np.asarray(positions, np.int64)[order]
        at, *rest = self._cut(*self._around(ordered))
        new = (np.full(len(order), generation), first + order, first + order + 1)
        sequence = np.argsort(np.concatenate([at, ordered]), kind="stable")
        return Pieces(*(np.concatenate(both)[sequence] for both in zip(rest, new, strict=True)))

    def _around(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The runs between these positions, which are in order."""
        starts, stops = np.append(0, positions + 1), np.append(positions, self.total)
        filled = starts < stops
        return starts[filled], stops[filled]

    def _cut(self, starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, ...]:
        """(position, generation, first, stop) of the parts of pieces in these runs of positions."""
        low = np.searchsorted(self.bounds, starts, side="right") - 1
        high = np.searchsorted(self.bounds, stops, side="left")
        run, piece = expanded(low, np.where(starts < stops, high - low, 0))
        start = np.maximum(starts[run], self.bounds[piece])
        stop = np.minimum(stops[run], self.bounds[piece + 1])
        offset = self.first[piece] - self.bounds[piece]
        return start, self.generation[piece], start + offset, stop + offset


EMPTY = Pieces.of([])


def _key(generation: np.ndarray | int, address: np.ndarray) -> np.ndarray:
    """Addresses in one number each."""
    return np.asarray(address + (np.asarray(generation, np.int64) << BITS))


def _merged(generation: np.ndarray, first: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, ...]:
    """Without empty pieces; those that continue each other as one."""
    filled = stop > first
    if not filled.all():
        generation, first, stop = generation[filled], first[filled], stop[filled]
    new = np.append(True, (generation[1:] != generation[:-1]) | (first[1:] != stop[:-1]))[: len(first)]
    if new.all():
        return generation, first, stop
    starts = np.flatnonzero(new)
    return generation[starts], first[starts], stop[np.append(starts[1:], len(stop)) - 1]


def expanded(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(i, ``starts[i] + 0 … counts[i] - 1``) for every i."""
    which = np.repeat(np.arange(len(starts)), counts)
    before = np.cumsum(counts) - counts
    return which, np.arange(len(which)) - np.repeat(before - starts, counts)
