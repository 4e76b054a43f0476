"""Searching vectors, in every store alike: every vector of a column, in the embedded store straight from the memory map.

What is found out once per payload is kept: the map itself, and the length of each vector. Payloads never change, so it
only ever grows; columns not asked for lately are let go again. Missing vectors, and those with NaN or infinity, are *missing*.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.store import Chunk, Hits, Metric, Scope, VectorQuery, Version
from tablevault_pd.store.engine import ann_index as ann
from tablevault_pd.store.engine.ranking import ranked
from tablevault_pd.store.engine.vector_block import MAPPED_BYTES, Block
from tablevault_pd.store.engine.vector_scores import exact_scores, in_float32_range, lengths

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tablevault_pd.store.runs import Run

KEPT_BYTES = 512 << 20  # … of which so many are kept at most
KEPT_MAPS = 128  # each map costs a file descriptor
GATHERED_ROWS = 1 << 16
SPARSE = 8  # where less than one row in so many is looked at, these are gathered first


# -- columns


class VectorColumn:
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
            waiting.append((last.start, last.rows, ~last.missing))
        for chunk in chunks:
            if field not in chunk.table.schema.names or not chunk.table.num_rows:
                continue
            column = frames.align(chunk.table.select([field]), schema).column(0)
            rows, valid = frames.vectors_of(column, frames.columns(schema)[0].dim or 0)
            start = int(chunk.positions[0])
            if rows.nbytes >= MAPPED_BYTES:
                _merge_pending(waiting, blocks)
                blocks.append(Block(start, rows, valid))
                continue
            if waiting and waiting[-1][0] + len(waiting[-1][1]) != start:
                _merge_pending(waiting, blocks)
            waiting.append((start, rows, valid))
            if sum(len(each[1]) for each in waiting[-1:]) + waiting[-1][0] - waiting[0][0] >= GATHERED_ROWS:
                _merge_pending(waiting, blocks)
        _merge_pending(waiting, blocks)
        self._read = (blocks, max(self.upto, upto))


def _merge_pending(waiting: list[tuple[int, np.ndarray, np.ndarray]], blocks: list[Block]) -> None:
    """Make one block of the rows that wait."""
    if waiting:
        starts, rows, valid = zip(*waiting, strict=True)
        blocks.append(Block(starts[0], np.concatenate(rows), np.concatenate(valid)))
        waiting.clear()


class ColumnRun(NamedTuple):
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


class RowSource(Protocol):
    """Where the rows come from that a search looks at."""

    def schema(self, schema_id: int) -> pa.Schema:
        """Return a schema as committed."""

    def runs_of(self, versions: Sequence[Version]) -> list[tuple[Version, list[Run]]]:
        """Return which positions of each version lie in which generation."""

    def rows_of_run(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[Chunk]:
        """Yield the rows of a generation, also where `version` has them from another one."""


class VectorScan:
    """Searches the vectors of one vault, and keeps those that it has read."""

    def __init__(self, rows: RowSource) -> None:
        self._rows = rows
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self.columns: OrderedDict[tuple[int, int, str, str], VectorColumn] = OrderedDict()
        self._lock = threading.Lock()

    def _begin_in_child(self) -> None:
        """Begin anew in a forked child: another thread may have held the locks."""
        if self._pid != os.getpid():
            self._begin()

    def close(self) -> None:
        """Drop the vectors that were read."""
        self._begin_in_child()
        with self._lock:
            self.columns.clear()

    def search_vectors(
        self,
        near: Sequence[VectorQuery],
        scopes: Sequence[Scope],
        *,
        metric: Metric,
        k: int | None = None,
        approx: bool = False,
    ) -> list[Hits]:
        """The rows whose vectors are nearest."""
        if approx:
            ann.require()
        self._begin_in_child()
        found: list[list[_Found]] = [[] for _ in range(len(near[0].queries) if near else 0)]
        versions = self._rows.runs_of([scopes[each.scope].version for each in near])
        wanted = [
            (number, ColumnRun(version, run, each.field))
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
        self._evict()
        return [_joined(parts) for parts in found]

    def count_nearer(
        self, near: Sequence[VectorQuery], scopes: Sequence[Scope], scores: np.ndarray, *, metric: Metric
    ) -> np.ndarray | None:
        """Return None: all vectors are at hand."""
        return None

    def _columns_read(self, wanted: Sequence[ColumnRun]) -> list[VectorColumn]:
        """The columns, each read as far as its run goes."""
        return [self._column(*what) for what in wanted]

    def _lookup(self, version: Version, run: Run, field: str) -> tuple[VectorColumn, pa.Schema]:
        """The column as far as it has been read, and its schema."""
        whole = self._rows.schema(version.schema_id)
        schema = pa.schema([whole.field(field)], metadata=whole.metadata)
        key = (version.list_id, run[0], field, str(schema.field(0).type))
        with self._lock:
            column = self.columns.setdefault(key, VectorColumn(run[1]))
            self.columns.move_to_end(key)
        return column, schema

    def _column(self, version: Version, run: Run, field: str) -> VectorColumn:
        generation, _, high = run
        column, schema = self._lookup(version, run, field)
        with column.lock:
            if column.upto < high:
                column.add(
                    self._rows.rows_of_run(version, generation, column.upto, high, [field]), schema, high
                )
        return column

    def _evict(self) -> None:
        """Keep the columns used last, as many as there is room for."""
        with self._lock:
            maps = sum(column.maps for column in self.columns.values())
            size = sum(column.size_bytes for column in self.columns.values())
            while self.columns and (maps > KEPT_MAPS or size > KEPT_BYTES):
                _, column = self.columns.popitem(last=False)
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
    tame = bool(in_float32_range(lengths(queries)).all())
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
                best = best[_best(scores, block.error_bound(scores, query, metric, best), k)]
            rows = block.rows if len(best) == len(block) else block.rows[best]
            yield number, block.start + best, exact_scores(rows, query, metric)


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
    column: VectorColumn, queries: np.ndarray, metric: Metric, k: int, keep: np.ndarray | None, run: Run
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
