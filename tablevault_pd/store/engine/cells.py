"""The vectors of a column by cells: each belongs to the centre that is nearest to it. Only addresses are kept, no vectors.

A search compares the vectors of the cells whose centres are nearest to the query. Long work is done in pieces, and ends
between two of them when it is told to.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store.engine.fork_guard import no_fork
from tablevault_pd.store.engine.ranking import kth_best
from tablevault_pd.store.engine.vector_block import row_by_row
from tablevault_pd.store.engine.vector_scores import exact_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tablevault_pd.store import Metric
    from tablevault_pd.store.engine.vector_block import Block

RECALL = 0.98  # of the ten nearest of some vectors of the column; it decides how many cells are visited
SAMPLE = 200  # … of so many of them
MOST_COMPARED = 200_000  # … among at most so many
NEAREST = 10
PER_CELL = 40  # vectors by which a centre is found
MOST_CELLS = 4096
ROUNDS = 8
MANY_CELLS = 2048  # of more, a vector is compared with some alone:
NEAR_CELLS = 1 / 4  # … with so many, those nearest to the middle of its group
GROUPS = 128  # … of so many groups
GROUPED_ROWS = 1 << 15  # rows of a piece of that work
CELL_BYTES = 400_000  # to visit a cell takes as long as to read so many bytes of vectors on the way
NUMBERS_AT_ONCE = 1 << 30  # products of one piece of work: some hundredths of a second
ROWS_AT_ONCE = 1 << 13
# for so few products BLAS wakes no other threads, which on a busy machine takes a hundred times as long
ONE_THREAD = 1 << 18


class Vectors:
    """The vectors of a column by address, as float32; for cosine of length 1. Only those that may be estimated so."""

    def __init__(self, blocks: Sequence[Block], metric: Metric) -> None:
        self._blocks, self._metric = blocks, metric
        self._starts = np.array([block.start for block in blocks], np.int64)

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return int(self._blocks[0].rows.shape[1])

    def addresses(self, first: int = 0) -> np.ndarray:
        """Of the vectors from that address on."""
        parts = []
        for block in self._blocks:
            if block.stop > first:
                usable = ~block.unusable(self._metric)
                usable[block.odd] = False
                usable[: max(0, first - block.start)] = False
                parts.append(block.start + np.flatnonzero(usable))
        return np.concatenate([np.empty(0, np.int64), *parts])

    def odd(self, end: int) -> np.ndarray:
        """The addresses before `end` of vectors whose squares leave the range of their type."""
        parts = [block.start + block.odd for block in self._blocks if len(block.odd)]
        every = np.concatenate([np.empty(0, np.int64), *parts])
        return every[every < end]

    def take(self, addresses: np.ndarray) -> np.ndarray:
        """The vectors at these addresses."""
        rows = self._gather(addresses, lambda block, at: block.rows[at]).astype(np.float32, copy=False)
        if self._metric == "cosine":
            inverse = self._gather(addresses, lambda block, at: block.inverse[at])
            rows *= inverse.astype(np.float32, copy=False)[:, None]  # a copy of the column's by now
        return rows

    def exact(self, addresses: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Their scores, as an exact search computes them."""
        return exact_scores(self._gather(addresses, lambda block, at: block.rows[at]), query, self._metric)

    def _gather(self, addresses: np.ndarray, of: Callable[[Block, np.ndarray], np.ndarray]) -> np.ndarray:
        if len(self._blocks) == 1:
            return of(self._blocks[0], addresses - self._starts[0])
        number = np.searchsorted(self._starts, addresses, side="right") - 1
        there = np.unique(number).tolist()
        if len(there) == 1:
            return of(self._blocks[there[0]], addresses - self._starts[there[0]])
        example = of(self._blocks[0], np.empty(0, np.int64))
        out = np.empty((len(addresses), *example.shape[1:]), example.dtype)
        for block_number in there:
            here = number == block_number
            out[here] = of(self._blocks[block_number], addresses[here] - self._starts[block_number])
        return out


@dataclass(frozen=True, slots=True)
class VectorCells:
    """The addresses of vectors by cell."""

    centers: np.ndarray  #: float32, shape (cells, dim)
    bounds: np.ndarray  #: int64: where each cell begins in `addresses`, and the end of the last one
    addresses: np.ndarray  #: int64: by cell
    upto: int  #: every vector before this address is in it, but for those that are compared one by one, and no other
    probes: int  #: how many cells a search visits
    trained: int  #: how many vectors there were when the centres were found
    half_squares: np.ndarray = field(init=False)  #: half the square of the length of each centre

    def __post_init__(self) -> None:
        object.__setattr__(self, "half_squares", _half_squares(self.centers))

    @property
    def size(self) -> int:
        """How many vectors are in it."""
        return len(self.addresses)

    @property
    def pays(self) -> bool:
        """Whether one query is answered faster by cells than by all vectors, which are read in one pass."""
        count, dim = self.centers.shape
        spared = self.size * dim * self.centers.itemsize * (1 - self.probes / count)
        return bool(spared > self.probes * CELL_BYTES)

    def clipped(self, upto: int) -> VectorCells:
        """The same without the addresses from `upto` on."""
        if upto >= self.upto:
            return self
        keep = self.addresses < upto
        before = np.concatenate([[0], np.cumsum(keep)])
        return replace(self, bounds=before[self.bounds], addresses=self.addresses[keep], upto=upto)

    def extended(self, vectors: Vectors, upto: int, pause: Callable[[], None]) -> VectorCells:
        """The same with the vectors that lie between."""
        new = vectors.addresses(self.upto)
        new = new[new < upto]
        cell = _cells_of(self.centers, vectors, new, pause)
        own = np.repeat(np.arange(len(self.centers)), np.diff(self.bounds))
        every = np.concatenate([own, cell])
        order = np.argsort(every, kind="stable")
        bounds = np.searchsorted(every[order], np.arange(len(self.centers) + 1))
        addresses = np.concatenate([self.addresses, new])[order]
        return replace(self, bounds=bounds, addresses=addresses, upto=upto)

    def holds(self, addresses: np.ndarray) -> bool:
        """Whether these are the addresses that are in it, but for those from `upto` on."""
        own, given = np.zeros(self.upto, bool), np.zeros(self.upto, bool)
        own[self.addresses] = given[addresses[addresses < self.upto]] = True
        return self.size == int(own.sum()) and np.array_equal(own, given)

    def fits(self, vectors: Vectors) -> bool:
        """Whether some of the vectors belong to their cells; others do not where the cells are of other vectors."""
        numbers = np.unique(np.linspace(0, self.size - 1, 64).astype(np.int64))
        claimed = np.searchsorted(self.bounds, numbers, side="right") - 1
        close = _closeness(self.centers, vectors.take(self.addresses[numbers]))
        there = np.take_along_axis(close, claimed[:, None], axis=1)
        nearer = (close > there + 1e-3 * (1 + np.abs(close.max(axis=1, keepdims=True)))).sum(axis=1)
        return bool(
            (nearer <= len(self.centers) // 64).mean() >= 0.9
        )  # of many cells not all get the nearest

    def copied(self, vectors: Vectors, pause: Callable[[], None]) -> np.ndarray:
        """The vectors themselves by cell, so that those of a cell lie together."""
        rows = np.empty((self.size, vectors.dim), np.float32)
        for at in _pieces(self.size, ROWS_AT_ONCE, pause):
            rows[at] = vectors.take(self.addresses[at])
        return rows

    def nearest(
        self, queries: np.ndarray, metric: Metric, count: int, rows_of: Callable[[int, int], np.ndarray],
        mask: np.ndarray | None,
    ) -> list[np.ndarray] | None:  # fmt: skip
        """For each query (float32) the addresses of some `count` near vectors; None if the cells hold too few.

        `rows_of` returns the vectors of a range of `addresses`; `mask` says which addresses may be found.
        """
        probes = min(self.probes, len(self.centers))
        close = _closeness(self.centers, queries, metric, self.half_squares)
        cells = np.sort(np.argpartition(-close, probes - 1, axis=1)[:, :probes], axis=1)
        compare = self._compare_one if len(queries) == 1 else self._compare_many
        near = []
        for score, of_query in zip(compare(queries, cells, metric, rows_of), cells, strict=True):
            there = self.addresses[_numbers(self.bounds[of_query], self.bounds[of_query + 1])]
            if mask is not None:
                there, score = there[mask[there]], score[mask[there]]
            if len(there) < count:
                return None
            near.append(there[_best(score, count)])
        return near

    def _compare_one(
        self, queries: np.ndarray, cells: np.ndarray, metric: Metric, rows_of: Callable[[int, int], np.ndarray]
    ) -> list[np.ndarray]:  # fmt: skip
        """How near the vectors of its cells are to the only query: each cell is read in one pass, in order of memory."""
        first, stop = self.bounds[cells[0]], self.bounds[cells[0] + 1]
        scores = np.empty(int((stop - first).sum()), np.float32)
        end = 0
        for low, high in zip(first.tolist(), stop.tolist(), strict=True):
            begin, end = end, end + high - low
            scores[begin:end] = _similarity_to_one(rows_of(low, high), queries[0], metric)
        return [scores]

    def _compare_many(
        self, queries: np.ndarray, cells: np.ndarray, metric: Metric, rows_of: Callable[[int, int], np.ndarray]
    ) -> list[np.ndarray]:  # fmt: skip
        """The same for several queries; each cell is read once for all that visit it."""
        by_cell = np.argsort(cells.ravel(), kind="stable")
        who = np.repeat(np.arange(len(queries)), cells.shape[1])[by_cell]
        edges = np.flatnonzero(np.diff(cells.ravel()[by_cell], prepend=-1)).tolist()
        bounds = self.bounds.tolist()
        scores: list[list[np.ndarray]] = [[] for _ in queries]
        for cell, first, end in zip(
            cells.ravel()[by_cell[edges]].tolist(), edges, [*edges[1:], len(who)], strict=True
        ):
            rows = rows_of(bounds[cell], bounds[cell + 1])
            of_cell = _similarity(rows, queries[who[first:end]], metric)
            for query, column in zip(who[first:end].tolist(), of_cell, strict=True):
                scores[query].append(column)
        return [np.concatenate(parts) for parts in scores]


def build(vectors: Vectors, upto: int, metric: Metric, pause: Callable[[], None]) -> VectorCells:
    """Find centres, and the cell of every vector before `upto`."""
    addresses = vectors.addresses()
    addresses = addresses[addresses < upto]
    count = max(1, min(int(2 * len(addresses) ** 0.5), len(addresses) // PER_CELL, MOST_CELLS))
    shuffled = np.random.default_rng(0).permutation(len(addresses))
    centers = _centers(vectors.take(addresses[np.sort(shuffled[: PER_CELL * count])]), count, pause)
    cell = _cells_of(centers, vectors, addresses, pause)
    compared = np.sort(shuffled[:MOST_COMPARED])
    queries = vectors.take(addresses[shuffled[:SAMPLE]])
    probes = _probes(centers, vectors, addresses[compared], cell[compared], queries, metric, pause)
    order = np.argsort(cell, kind="stable")
    bounds = np.searchsorted(cell[order], np.arange(count + 1))
    return VectorCells(centers, bounds, addresses[order], upto, probes, len(addresses))


def _pieces(rows: int, some: int, pause: Callable[[], None]) -> Iterator[slice]:
    for at in range(0, rows, some):
        pause()
        yield slice(at, at + some)


def _numbers(first: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """The numbers of several ranges, one after the other."""
    sizes = stop - first
    return np.repeat(stop - np.cumsum(sizes), sizes) + np.arange(int(sizes.sum()))


def _half_squares(centers: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("ij,ij->i", centers, centers) / 2)


def _closeness(
    centers: np.ndarray, rows: np.ndarray, metric: Metric = "l2", half_squares: np.ndarray | None = None
) -> np.ndarray:
    """How close each of `rows` is to each centre, shape (rows, centres): more is closer."""
    if len(rows) == 1:
        close = row_by_row(centers, rows[0])[None]
    else:
        with no_fork:  # before a fork OpenBLAS ends the threads that compute a product, and then waits for it
            close = rows @ centers.T
    if metric != "dot":
        close -= _half_squares(centers) if half_squares is None else half_squares
    return np.asarray(close)


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """The numbers of the best `count`, and of what ties with the last of these."""
    if np.isnan(scores.max()):  # of products beyond float32; argpartition puts it last
        return np.argpartition(-scores, count - 1)[:count]
    return np.flatnonzero(scores >= kth_best(scores, count))


def _similarity_to_one(rows: np.ndarray, query: np.ndarray, metric: Metric) -> np.ndarray:
    """Of one query to each of `rows`: more is nearer."""
    if metric != "l2":
        return np.asarray(row_by_row(rows, query))
    apart = rows - query
    return np.asarray(-np.einsum("ij,ij->i", apart, apart))


def _similarity(rows: np.ndarray, queries: np.ndarray, metric: Metric) -> np.ndarray:
    """Of each query to each of `rows`, shape (queries, rows): more is nearer."""
    out = np.empty((len(queries), len(rows)), np.float32)
    if metric != "l2":
        for at in range(0, len(rows), some := max(1, ONE_THREAD // queries.size)):
            out[:, at : at + some] = queries @ rows[at : at + some].T
        return out
    for number, query in enumerate(queries):
        apart = rows - query
        out[number] = -np.einsum("ij,ij->i", apart, apart)
    return out


def _cells_of(
    centers: np.ndarray, vectors: Vectors, addresses: np.ndarray, pause: Callable[[], None]
) -> np.ndarray:
    """The cell of each vector."""
    if len(centers) > MANY_CELLS:
        return _cells_by_group(centers, vectors, addresses, pause)
    cell = np.empty(len(addresses), np.int64)
    for at in _pieces(len(addresses), _rows_at_once(centers), pause):
        cell[at] = _closeness(centers, vectors.take(addresses[at])).argmax(axis=1)
    return cell


def _cells_by_group(
    centers: np.ndarray, vectors: Vectors, addresses: np.ndarray, pause: Callable[[], None]
) -> np.ndarray:
    """The cell of each vector, by a part of the work: most get the nearest one, and the others one that is near, too."""
    cell = np.empty(len(addresses), np.int64)
    heads = _centers(centers, GROUPS, pause)
    count = int(len(centers) * NEAR_CELLS)
    near = np.argpartition(-_closeness(centers, heads), count - 1, axis=1)[:, :count]
    for at in _pieces(len(addresses), GROUPED_ROWS, pause):
        rows = vectors.take(addresses[at])
        group = _closeness(heads, rows).argmax(axis=1)
        order = np.argsort(group, kind="stable")
        bounds = np.searchsorted(group[order], np.arange(GROUPS + 1))
        for number in np.unique(group).tolist():
            pause()
            some = order[bounds[number] : bounds[number + 1]]
            best = _closeness(centers[near[number]], rows[some]).argmax(axis=1)
            cell[at][some] = near[number][best]
    return cell


def _rows_at_once(centers: np.ndarray) -> int:
    return max(64, min(ROWS_AT_ONCE, NUMBERS_AT_ONCE // centers.size))


def _centers(sample: np.ndarray, count: int, pause: Callable[[], None]) -> np.ndarray:
    """Centres of that many cells of the vectors, by Lloyd's algorithm."""
    rng = np.random.default_rng(0)
    centers = sample[rng.permutation(len(sample))[:count]].copy()
    for _ in range(ROUNDS):
        sums, sizes = np.zeros(centers.shape, np.float64), np.zeros(count, np.int64)
        for at in _pieces(len(sample), _rows_at_once(centers), pause):
            rows = sample[at]
            cell = _closeness(centers, rows).argmax(axis=1)
            order = np.argsort(cell, kind="stable")
            firsts = np.flatnonzero(np.diff(cell[order], prepend=-1))
            sums[cell[order[firsts]]] += np.add.reduceat(rows[order], firsts, axis=0)
            sizes += np.bincount(cell, minlength=count)
        empty = np.flatnonzero(sizes == 0)
        centers = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
        centers[empty] = sample[rng.integers(0, len(sample), len(empty))]
    return centers


def _probes(
    centers: np.ndarray, vectors: Vectors, addresses: np.ndarray, cell: np.ndarray, queries: np.ndarray,
    metric: Metric, pause: Callable[[], None],
) -> int:  # fmt: skip
    """How many cells a search visits so that RECALL of the nearest lie in them. `queries` are vectors of the column."""
    count = min(NEAREST + 1, len(addresses))
    best = np.full((len(queries), count), -np.inf, np.float32)
    where = np.zeros((len(queries), count), np.int64)
    for at in _pieces(len(addresses), _rows_at_once(queries), pause):
        close = _closeness(vectors.take(addresses[at]), queries, metric)
        both = np.concatenate([best, close], axis=1)
        numbers = np.broadcast_to(np.arange(len(addresses))[at], close.shape)
        top = np.argpartition(-both, count - 1, axis=1)[:, :count]
        best = np.take_along_axis(both, top, axis=1)
        where = np.take_along_axis(np.concatenate([where, numbers], axis=1), top, axis=1)
    where = np.take_along_axis(where, np.argsort(-best, axis=1), axis=1)
    order = np.argsort(-_closeness(centers, queries, metric), axis=1)
    rank = np.argsort(order, axis=1)
    visited = np.take_along_axis(rank, cell[where[:, 1:]], axis=1)  # the nearest is the vector itself
    return int(np.quantile(visited, RECALL, method="higher")) + 1 if visited.size else len(centers)
