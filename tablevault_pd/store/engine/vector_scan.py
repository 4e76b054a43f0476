"""Searching vectors, in every store alike: every vector of a column, in the embedded store straight from the memory map.

What is found out once per payload is kept: the map itself, and the length of each vector. Payloads never change, so it
only ever grows; columns not asked for lately are let go again. Missing vectors, and those with NaN or infinity, are *dead*.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.store import Chunk, Hits, Metric, Near, Scope, Version
from tablevault_pd.store.engine import ann_index as ann
from tablevault_pd.store.engine.ranking import ranked
from tablevault_pd.store.engine.vector_scores import is_tame, lengths, measured

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tablevault_pd.store.engine.fts_index import Run

MAPPED_FROM = (
    8 << 20
)  # a payload with so many bytes of vectors stays a map; smaller ones are gathered in memory
KEPT_BYTES = 512 << 20  # … of which so many are kept at most
KEPT_MAPS = 128  # each map costs a file descriptor
GATHERED_ROWS = 1 << 16
SPARSE = 8  # where less than one row in so many is looked at, these are gathered first
ROWS_AT_ONCE = 1 << 14  # for work that needs a copy of the vectors


class Block:
    """Some vectors of a column: rows at consecutive positions."""

    def __init__(self, start: int, rows: np.ndarray, valid: np.ndarray) -> None:
        self.start = start
        self.rows = rows
        squares = _squares(rows)
        odd = ~np.isfinite(squares) | (
            squares < np.finfo(squares.dtype).tiny * rows.shape[1] / np.finfo(squares.dtype).eps
        )
        odd &= valid
        finite = np.isfinite(rows[odd]).all(axis=1)
        self.dead = ~valid
        self.dead[np.flatnonzero(odd)[~finite]] = True
        #: Vectors whose squares leave the range of their type: no estimate is made of their scores.
        self.odd = np.flatnonzero(odd)[finite]
        self.odd = self.odd[rows[self.odd].any(axis=1)]
        with np.errstate(divide="ignore", invalid="ignore"):
            self.inverse = 1 / np.sqrt(squares)  # of each length; infinity: a vector of length 0
        self.lengthless = self.dead | (np.isinf(self.inverse) & ~_at(self.odd, len(rows)))
        self._usable = len(rows) - int(self.dead.sum()), len(rows) - int(self.lengthless.sum())

    def __len__(self) -> int:
        return len(self.rows)

    def unusable(self, metric: Metric) -> np.ndarray:
        """bool: the rows that no search by `metric` finds."""
        return self.lengthless if metric == "cosine" else self.dead

    def usable(self, metric: Metric) -> int:
        """How many rows a search by `metric` may find."""
        return self._usable[metric == "cosine"]

    @property
    def mapped(self) -> bool:
        """Whether the vectors still lie in the file."""
        return self.rows.base is not None and self.rows.nbytes >= MAPPED_FROM

    def scores(self, queries: np.ndarray, metric: Metric, picked: np.ndarray | None = None) -> np.ndarray:
        """Scores, shape (rows, m), of all rows or those `picked`. `queries`: float64.

        These are good for choosing among live rows; :func:`measured` says what the chosen ones are worth.
        """
        rows = self.rows if picked is None else self.rows[picked]
        out = _SCORES[metric](rows, queries)
        if metric == "cosine":
            with np.errstate(invalid="ignore"):  # no length, no score
                out *= (self.inverse if picked is None else self.inverse[picked])[:, None]
        return out

    def doubt(self, scores: np.ndarray, query: np.ndarray, metric: Metric, picked: np.ndarray) -> np.ndarray:
        """By how much the `scores` of the rows `picked` may be wrong at most; infinity where nothing is certain.

        Shape (n,), or () where it is the same for all.
        """
        width = scores.dtype.type
        size = float(np.linalg.norm(query))
        share = (2 * len(query) + 16) * float(np.finfo(width).eps)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if metric == "cosine":
                doubt = np.asarray(share)
            elif metric == "dot":
                doubt = share * size / self.inverse[picked].astype(np.float64)
            else:
                least = (
                    2 * (len(query) * float(np.finfo(width).tiny)) ** 0.5
                )  # of differences whose squares vanish
                doubt = share * (np.abs(scores, dtype=np.float64) + size) + least
        uncertain = ~np.isfinite(scores)
        if len(self.odd):
            uncertain |= _at(self.odd, len(self.rows))[picked]
        return np.where(uncertain, np.inf, doubt) if uncertain.any() else doubt


def _at(places: np.ndarray, size: int) -> np.ndarray:
    found = np.zeros(size, bool)
    found[places] = True
    return found


def _squares(rows: np.ndarray) -> np.ndarray:
    """The square of each vector's length, in the vectors' own precision (float32 for narrower ones)."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if rows.dtype != np.float16:
            return np.asarray(np.einsum("ij,ij->i", rows, rows))
        return _in_pieces(rows, lambda piece: np.einsum("ij,ij->i", piece, piece))


def _in_pieces(rows: np.ndarray, work: object) -> np.ndarray:
    """`work` on float32 copies of float16 rows, which BLAS does not know."""
    assert callable(work)
    pieces = [
        work(rows[at : at + ROWS_AT_ONCE].astype(np.float32)) for at in range(0, len(rows), ROWS_AT_ONCE)
    ]
    return np.concatenate(pieces) if pieces else np.asarray(work(rows.astype(np.float32)))


def _dots(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if rows.dtype == np.float16:
            return _in_pieces(rows, lambda piece: _dots(piece, queries))
        if len(queries) == 1:
            return np.asarray(rows @ queries[0].astype(rows.dtype))[:, None]
        return np.asarray(rows @ queries.T.astype(rows.dtype))


def _cosines(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return _dots(rows, np.asarray(queries / np.linalg.norm(queries, axis=1, keepdims=True)))


def _distances(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Minus the distances, from the differences: |a|² + |b|² - 2ab would lose the small ones."""
    out = np.empty((len(rows), len(queries)), np.float32 if rows.dtype == np.float16 else rows.dtype)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for at in range(0, len(rows), ROWS_AT_ONCE):
            piece = rows[at : at + ROWS_AT_ONCE].astype(out.dtype, copy=False)
            for number, query in enumerate(queries):
                apart = piece - query.astype(out.dtype)
                out[at : at + len(piece), number] = -np.sqrt(np.einsum("ij,ij->i", apart, apart))
    return out


_SCORES = {"cosine": _cosines, "dot": _dots, "l2": _distances}


# -- columns


class Column:
    """The vectors of one embedding column in one generation, as far as they have been read."""

    def __init__(self, start: int) -> None:
        self.lock = threading.RLock()
        self._read: tuple[list[Block], int] = (
            [],
            start,
        )  # replaced as one: an interrupt leaves the old or the new
        self.ann: dict[Metric, ann.Index] = {}

    @property
    def blocks(self) -> list[Block]:
        """The vectors, in order of position."""
        return self._read[0]

    @property
    def upto(self) -> int:
        """Up to which position the column has been read."""
        return self._read[1]

    @property
    def maps(self) -> int:
        """How many memory maps this holds open."""
        return sum(block.mapped for block in self.blocks)

    @property
    def size_bytes(self) -> int:
        """Memory that is not mapped."""
        return sum(0 if block.mapped else block.rows.nbytes for block in self.blocks)

    def add(self, chunks: Iterator[Chunk], schema: pa.Schema, upto: int) -> None:
        """Read on, up to the position `upto`."""
        field = schema.names[0]
        waiting: list[tuple[int, np.ndarray, np.ndarray]] = []
        blocks = list(self.blocks)  # a list of its own: other threads may be looking at the one before
        if blocks and not blocks[-1].mapped and len(blocks[-1]) < GATHERED_ROWS:
            last = blocks.pop()
            waiting.append((last.start, last.rows, ~last.dead))
        for chunk in chunks:
            if field not in chunk.table.schema.names or not chunk.table.num_rows:
                continue
            column = frames.align(chunk.table.select([field]), schema).column(0)
            rows, valid = frames.vectors_of(column, frames.columns(schema)[0].dim or 0)
            start = int(chunk.positions[0])
            if rows.nbytes >= MAPPED_FROM:
                _gather(waiting, blocks)
                blocks.append(Block(start, rows, valid))
                continue
            if waiting and waiting[-1][0] + len(waiting[-1][1]) != start:
                _gather(waiting, blocks)
            waiting.append((start, rows, valid))
            if sum(len(each[1]) for each in waiting[-1:]) + waiting[-1][0] - waiting[0][0] >= GATHERED_ROWS:
                _gather(waiting, blocks)
        _gather(waiting, blocks)
        self._read = (blocks, max(self.upto, upto))


def _gather(waiting: list[tuple[int, np.ndarray, np.ndarray]], blocks: list[Block]) -> None:
    """Make one block of the rows that wait."""
    if waiting:
        starts, rows, valid = zip(*waiting, strict=True)
        blocks.append(Block(starts[0], np.concatenate(rows), np.concatenate(valid)))
        waiting.clear()


class Wanted(NamedTuple):
    """A column of a version, in one of its runs."""

    version: Version
    run: Run
    field: str


@dataclass(frozen=True, slots=True)
class _Found:
    """What one block holds for one query."""

    scope: int
    near: int
    positions: np.ndarray
    scores: np.ndarray


class VectorSearch:
    """The vectors of one vault, as far as they have been read."""

    def schema(self, schema_id: int) -> pa.Schema:
        """A schema as committed."""
        raise NotImplementedError

    def _rows_of_run(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[Chunk]:
        raise NotImplementedError

    def _runs_of(self, versions: Sequence[Version]) -> list[tuple[Version, list[Run]]]:
        raise NotImplementedError

    def _open_vectors(self) -> None:
        self._vectors_pid = os.getpid()
        self._columns: OrderedDict[tuple[int, int, str, str], Column] = OrderedDict()
        self._columns_lock = threading.Lock()

    def _close_vectors(self) -> None:
        with self._columns_lock:
            self._columns.clear()

    def find_near(
        self,
        near: Sequence[Near],
        scopes: Sequence[Scope],
        *,
        metric: Metric,
        k: int | None = None,
        approx: bool = False,
    ) -> list[Hits]:
        """The rows whose vectors are nearest."""
        if approx:
            ann.require()
        if (
            self._vectors_pid != os.getpid()
        ):  # another thread may have held the locks when this process was forked
            self._open_vectors()
        found: list[list[_Found]] = [[] for _ in range(len(near[0].queries) if near else 0)]
        versions = self._runs_of([scopes[each.scope].version for each in near])
        wanted = [
            (number, Wanted(version, run, each.field))
            for number, (each, (version, runs)) in enumerate(zip(near, versions, strict=True))
            for run in runs
        ]
        columns = self._columns_read([what for _, what in wanted])
        for (number, (_, run, _)), column in zip(wanted, columns, strict=True):
            each = near[number]
            queries = np.asarray(each.queries, np.float64)
            keep = scopes[each.scope].keep
            parts = (
                _approximately(column, queries, metric, k, keep, run) if approx and k is not None else None
            )
            for query, positions, scores in parts or _exactly(column.blocks, queries, metric, k, keep, run):
                found[query].append(_Found(each.scope, number, positions, scores))
        self._let_go()
        return [_joined(parts) for parts in found]

    def _columns_read(self, wanted: Sequence[Wanted]) -> list[Column]:
        """The columns, each read as far as its run goes."""
        return [self._column(*what) for what in wanted]

    def _known(self, version: Version, run: Run, field: str) -> tuple[Column, pa.Schema]:
        """The column as far as it has been read, and its schema."""
        whole = self.schema(version.schema_id)
        schema = pa.schema([whole.field(field)], metadata=whole.metadata)
        key = (version.list_id, run[0], field, str(schema.field(0).type))
        with self._columns_lock:
            column = self._columns.setdefault(key, Column(run[1]))
            self._columns.move_to_end(key)
        return column, schema

    def _column(self, version: Version, run: Run, field: str) -> Column:
        generation, _, high = run
        column, schema = self._known(version, run, field)
        with column.lock:
            if column.upto < high:
                column.add(self._rows_of_run(version, generation, column.upto, high, [field]), schema, high)
        return column

    def _let_go(self) -> None:
        """Keep the columns used last, as many as there is room for."""
        with self._columns_lock:
            maps = sum(column.maps for column in self._columns.values())
            size = sum(column.size_bytes for column in self._columns.values())
            while self._columns and (maps > KEPT_MAPS or size > KEPT_BYTES):
                _, column = self._columns.popitem(last=False)
                maps, size = maps - column.maps, size - column.size_bytes


def _exactly(
    blocks: Sequence[Block],
    queries: np.ndarray,
    metric: Metric,
    k: int | None,
    keep: np.ndarray | None,
    run: Run,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(query, positions, scores) of the best rows of each block: at least `k`, all that tie with the k-th included."""
    _, low, high = run
    tame = bool(is_tame(lengths(queries)).all())
    for block in blocks:
        first, last = max(low - block.start, 0), min(high - block.start, len(block))
        if first >= last:
            continue
        picked = _live(block, first, last, metric, keep)
        count = len(block) if picked is None else len(picked)
        if not count:
            continue
        estimates = None
        if k is not None and k < count and tame:
            few = picked is not None and count * SPARSE <= len(block)
            estimates = block.scores(queries, metric, picked if few else None)
            estimates = estimates if few or picked is None else estimates[picked]
        for number, query in enumerate(queries):
            best = np.arange(len(block)) if picked is None else picked
            if k is not None and estimates is not None:
                scores = estimates[:, number]
                best = best[_best(scores, block.doubt(scores, query, metric, best), k)]
            rows = block.rows if len(best) == len(block) else block.rows[best]
            yield number, block.start + best, measured(rows, query, metric)


def _live(block: Block, first: int, last: int, metric: Metric, keep: np.ndarray | None) -> np.ndarray | None:
    """The rows from `first` to `last` that may be found; None for every row of the block."""
    if keep is None and (first, last) == (0, len(block)) and block.usable(metric) == len(block):
        return None
    live = ~block.unusable(metric)[first:last]
    if keep is not None:
        live &= keep[block.start + first : block.start + last]
    return first + np.flatnonzero(live)


def _best(scores: np.ndarray, doubt: np.ndarray, k: int) -> np.ndarray:
    """Where the best `k` scores may be, given by how much each may be wrong."""
    at = len(scores) - k
    if doubt.ndim == 0:
        return np.flatnonzero(scores >= np.partition(scores, at)[at] - 2 * float(doubt))
    with np.errstate(invalid="ignore"):
        certain = np.isfinite(doubt)
        least = np.where(certain, scores - doubt, -np.inf)
        most = np.where(certain, scores + doubt, np.inf)
    return np.flatnonzero(most >= np.partition(least, at)[at])


def _approximately(
    column: Column, queries: np.ndarray, metric: Metric, k: int, keep: np.ndarray | None, run: Run
) -> list[tuple[int, np.ndarray, np.ndarray]] | None:
    """As :func:`_exactly`, with an index for the rows it has; None where it would not pay, or cannot fill `k`."""
    _, low, high = run
    index = column.ann.get(metric)
    if index is None:
        index = column.ann[metric] = ann.Index(metric)
    index.follow(column.blocks)
    found = index.search(queries, k, low, high, keep)
    if found is None:
        return None
    upto, near = found
    parts = [(query, positions, scores) for query, (positions, scores) in enumerate(near)]
    if upto >= high:
        return parts
    return [*parts, *_exactly(column.blocks, queries, metric, k, keep, (run[0], max(low, upto), high))]


def _joined(parts: Sequence[_Found]) -> Hits:
    if len(parts) == 1:  # one column in one piece
        (part,) = parts
        order = np.lexsort((part.positions, -part.scores))
        scope, near = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
        scope[:], near[:] = part.scope, part.near
        return Hits(scope, part.positions[order], near, part.scores[order].astype(np.float64))
    sizes = [len(part.positions) for part in parts]
    empty = np.empty(0, np.int64)
    return ranked(
        np.repeat(np.array([part.scope for part in parts], np.int64), sizes),
        np.concatenate([empty, *(part.positions for part in parts)]),
        np.repeat(np.array([part.near for part in parts], np.int64), sizes),
        np.concatenate([np.empty(0, np.float64), *(part.scores for part in parts)]),
    )
