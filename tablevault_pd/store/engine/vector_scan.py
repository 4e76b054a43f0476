"""Search vectors exactly, in every store alike; the embedded store maps them from its files.

The maps and norms of each payload are cached: payloads never change. Columns that were not searched lately are evicted.
Missing vectors, and those with NaN or infinity, are *missing*.
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
from tablevault_pd.store.engine.ranking import kth_best, ranked
from tablevault_pd.store.engine.vector_block import MAPPED_BYTES, Block
from tablevault_pd.store.engine.vector_scores import exact_scores, in_float32_range
from tablevault_pd.store.pieces import Pieces, expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KEPT_BYTES = 512 << 20  # … of which so many are kept at most
KEPT_MAPS = 128  # each map costs a file descriptor
GATHERED_ROWS = 1 << 16
MANY_BLOCKS = 32  # so many small blocks are searched as one
KEPT_JOINED = 4  # … of which so many are kept
SPARSE = 8  # where less than one row in so many is compared, these are gathered first


# -- columns


class VectorColumn:
    """The vectors of one embedding column in one generation, as far as they have been read."""

    def __init__(self, generation: int, file_of: Callable[[Metric], ann.IndexFile] | None = None) -> None:
        self.lock = threading.RLock()
        self._generation = generation
        self._file_of = file_of  #: where indexes are kept
        self._files = 0  # of which blocks are maps
        # replaced as one: an interrupt leaves the old or the new
        self._read: tuple[list[Block], int] = [], 0
        self.ann: dict[Metric, ann.Index] = {}

    @property
    def blocks(self) -> list[Block]:
        """The vectors, in order of address."""
        return self._read[0]

    @property
    def upto(self) -> int:
        """Up to which address the column has been read."""
        return self._read[1]

    @property
    def maps(self) -> int:
        """How many memory maps this holds open."""
        return self._files

    @property
    def size_bytes(self) -> int:
        """Memory that is not mapped."""
        indexes = sum(index.size_bytes for index in list(self.ann.values()))
        return indexes + sum(0 if block.mapped else block.rows.nbytes for block in self.blocks)

    def index(self, metric: Metric) -> ann.Index:
        """The approximate index for a metric."""
        file = None if self._file_of is None else self._file_of(metric)
        return self.ann.get(metric) or self.ann.setdefault(metric, ann.Index(metric, file))

    def close(self) -> None:
        """End work in the background."""
        for index in list(self.ann.values()):
            index.close()

    def add(self, chunks: Iterator[Chunk], schema: pa.Schema, upto: int) -> None:
        """Read on, up to the address `upto`."""
        field = schema.names[0]
        waiting: list[tuple[Pieces, np.ndarray, np.ndarray]] = []
        blocks = list(self.blocks)  # a list of its own: other threads may be looking at the one before
        if blocks and not blocks[-1].mapped and len(blocks[-1]) < GATHERED_ROWS:
            last = blocks.pop()
            waiting.append((last.places, last.rows, ~last.missing))
        for chunk in chunks:
            if field not in chunk.table.schema.names or not chunk.table.num_rows:
                continue
            column = frames.align(chunk.table.select([field]), schema).column(0)
            start, large = int(chunk.positions[0]), len(blocks)
            for batch in column.chunks:  # together they would be a copy in memory
                rows, valid = frames.vectors_of(pa.chunked_array([batch]), frames.columns(schema)[0].dim or 0)
                places = Pieces.of([(self._generation, start, start + len(rows))])
                start += len(rows)
                if rows.nbytes >= MAPPED_BYTES:
                    _merge_pending(waiting, blocks)
                    blocks.append(Block(places, rows, valid))
                    continue
                if waiting and waiting[-1][0].stop[-1] != places.first[0]:
                    _merge_pending(waiting, blocks)
                waiting.append((places, rows, valid))
                if start - waiting[0][0].first[0] >= GATHERED_ROWS:
                    _merge_pending(waiting, blocks)
            self._files += len(blocks) > large and blocks[-1].mapped
        _merge_pending(waiting, blocks)
        self._read = (blocks, max(self.upto, upto))


def _merge_pending(waiting: list[tuple[Pieces, np.ndarray, np.ndarray]], blocks: list[Block]) -> None:
    """Make one block of the rows that wait."""
    if waiting:
        places, rows, valid = zip(*waiting, strict=True)
        blocks.append(Block(_all_of(places), np.concatenate(rows), np.concatenate(valid)))
        waiting.clear()


def _all_of(places: Sequence[Pieces]) -> Pieces:
    names = ("generation", "first", "stop")
    return Pieces(*(np.concatenate([getattr(pieces, name) for pieces in places]) for name in names))


class ColumnPart(NamedTuple):
    """A column of a version, in one of the generations that it shows."""

    version: Version
    generation: int
    end: int  #: up to where the version shows that generation
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

    def pieces(self, versions: Sequence[Version]) -> list[Pieces]:
        """Return what each version shows."""

    def rows_of_generation(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[Chunk]:
        """Yield the rows of a generation by address, but for vacuumed ones that `version` does not show."""


class IndexFiles(Protocol):
    """Where approximate indexes are kept."""

    def column(
        self, list_id: int, generation: int, field: str, kind: str
    ) -> Callable[[Metric], ann.IndexFile]:
        """Return the files of a column of vectors, as it is now: those of rows that are erased later are not kept."""


class VectorScan:
    """Searches the vectors of one vault, and keeps those that it has read."""

    def __init__(self, rows: RowSource, files: IndexFiles | None = None) -> None:
        self._rows, self._files = rows, files
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self.columns: OrderedDict[tuple[int, int, str, str], VectorColumn] = OrderedDict()
        self._schemas: dict[tuple[int, str], pa.Schema] = {}
        self._joined: OrderedDict[tuple[int, ...], tuple[Sequence[Block], Block]] = OrderedDict()
        self._lock = threading.Lock()

    def _begin_in_child(self) -> None:
        """Begin anew in a forked child: another thread may have held the locks."""
        if self._pid != os.getpid():
            self._begin()

    def close(self) -> None:
        """Drop the vectors that were read."""
        self._begin_in_child()
        with self._lock:
            columns = list(self.columns.values())
            self.columns.clear()
            self._joined.clear()
        for column in columns:
            column.close()

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
        self._begin_in_child()
        hits_of: list[list[_Found]] = [[] for _ in range(len(near[0].queries) if near else 0)]
        versions = [scopes[query_column.scope].version for query_column in near]
        shown = self._rows.pieces(versions)
        column_parts = [
            [ColumnPart(version, generation, end, query_column.field) for generation, end in pieces.ends()]
            for query_column, version, pieces in zip(near, versions, shown, strict=True)
        ]
        columns = iter(self._columns_read([part for parts in column_parts for part in parts]))
        for number, (query_column, parts, pieces) in enumerate(zip(near, column_parts, shown, strict=True)):
            queries = np.asarray(query_column.queries, np.float64)
            rows = _Rows(pieces, scopes[query_column.scope].keep)
            blocks: list[Block] = []
            for part, column in zip(parts, columns, strict=False):
                hits = (
                    _approximately(column, queries, metric, k, rows, part)
                    if approx and k is not None
                    else None
                )
                for query, positions, scores in hits or ():
                    hits_of[query].append(_Found(query_column.scope, number, positions, scores))
                if hits is None:
                    blocks += column.blocks
            for query, positions, scores in _exactly(self._few(blocks), queries, metric, k, rows):
                hits_of[query].append(_Found(query_column.scope, number, positions, scores))
        self._evict()
        return [_joined(parts) for parts in hits_of]

    def _few(self, blocks: list[Block]) -> Sequence[Block]:
        """The same vectors in few blocks, where many commits changed a few rows each."""
        small = [block for block in blocks if len(block) < GATHERED_ROWS and not block.mapped]
        if len(small) < MANY_BLOCKS:
            return blocks
        key = tuple(map(id, small))
        with self._lock:
            joined = self._joined.pop(key, None)
            if joined is None:
                places = _all_of([block.places for block in small])
                rows, valid = (
                    np.concatenate(parts)
                    for parts in zip(*((b.rows, ~b.missing) for b in small), strict=True)
                )
                joined = small, Block(places, rows, valid)
            self._joined[key] = joined
            if len(self._joined) > KEPT_JOINED:
                self._joined.popitem(last=False)
        large = [block for block in blocks if block.mapped or len(block) >= GATHERED_ROWS]
        return [*large, joined[1]]

    def count_nearer(
        self, near: Sequence[VectorQuery], scopes: Sequence[Scope], scores: np.ndarray, *, metric: Metric
    ) -> np.ndarray | None:
        """Return None: all vectors are at hand."""
        return None

    def _columns_read(self, parts: Sequence[ColumnPart]) -> list[VectorColumn]:
        """The columns, each read as far as its version shows it."""
        return [self._column(*what) for what in parts]

    def _lookup(self, version: Version, generation: int, field: str) -> tuple[VectorColumn, pa.Schema]:
        """The column as far as it has been read, and its schema."""
        schema = self._schemas.get((version.schema_id, field))
        if schema is None:
            whole = self._rows.schema(version.schema_id)
            schema = pa.schema([whole.field(field)], metadata=whole.metadata)
            self._schemas[version.schema_id, field] = schema
        key = (version.list_id, generation, field, str(schema.field(0).type))
        column = self.columns.get(key)
        if column is None:
            column = VectorColumn(generation, None if self._files is None else self._files.column(*key))
        with self._lock:
            column = self.columns.setdefault(key, column)
            self.columns.move_to_end(key)
        return column, schema

    def _column(self, version: Version, generation: int, end: int, field: str) -> VectorColumn:
        column, schema = self._lookup(version, generation, field)
        with column.lock:
            if column.upto < end:
                rows = self._rows.rows_of_generation(version, generation, column.upto, end, [field])
                column.add(rows, schema, end)
        return column

    def _evict(self) -> None:
        """Keep the columns used last, as many as there is room for; the last one whatever its maps: it is read once."""
        with self._lock:
            maps = sum(column.maps for column in self.columns.values())
            size = sum(column.size_bytes for column in self.columns.values())
            while self.columns and (size > KEPT_BYTES or (maps > KEPT_MAPS and len(self.columns) > 1)):
                _, column = self.columns.popitem(last=False)
                maps, size = maps - column.maps, size - column.size_bytes


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that a search may find."""

    pieces: Pieces
    keep: np.ndarray | None

    def of(self, places: Pieces) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(numbers, positions) of the rows of `places` that may be found; no numbers for all, no positions for their numbers."""
        here, there, rows = places.overlaps(self.pieces)
        if len(here) == 1 and rows[0] == places.total and self.keep is None:
            return None, None if there[0] == 0 else there[0] + np.arange(places.total)
        which, number = expanded(here, rows)
        positions = number + (there - here)[which]
        if self.keep is None:
            return number, positions
        mask = self.keep[positions]
        return number[mask], positions[mask]


def _exactly(
    blocks: Sequence[Block], queries: np.ndarray, metric: Metric, k: int | None, shown: _Rows, first: int = 0
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(query, positions, scores) of the best rows of each block: at least `k`, all that tie with the k-th included.

    With `first`, only of rows from that address on.
    """
    tame = bool(in_float32_range(_rough_lengths(queries)).all())
    for block in blocks:
        picked, positions = _live(block, metric, shown, first)
        count = len(block) if picked is None else len(picked)
        if not count:
            continue
        estimates = None
        if k is not None and k < count and tame:
            few = picked is not None and count * SPARSE <= len(block)
            estimates = block.scores(queries, metric, picked if few else None)
            estimates = estimates if few or picked is None else estimates[picked]
        for number, query in enumerate(queries):
            if k is None or estimates is None:
                best = np.arange(count)
            else:
                scores = estimates[:, number]
                doubt = block.error_bound(scores, query, metric, slice(None) if picked is None else picked)
                best = _best(scores, doubt, k)
            at = best if picked is None else picked[best]
            rows = block.rows if len(at) == len(block) else block.rows[at]
            yield number, at if positions is None else positions[best], exact_scores(rows, query, metric)


def _rough_lengths(queries: np.ndarray) -> np.ndarray:
    """Their lengths, but infinity or 0 for those whose squares leave the range of float64."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", queries, queries)))


def _live(
    block: Block, metric: Metric, shown: _Rows, first: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """As :meth:`_Rows.of`, without the rows that no search finds, or that lie before the address `first`."""
    picked, positions = shown.of(block.places)
    if block.usable(metric) == len(block) and not first:
        return picked, positions
    at = np.arange(len(block)) if picked is None else picked
    live = ~block.unusable(metric)[at]
    if first:
        live &= at >= first - block.start
    return at[live], at[live] if positions is None else positions[live]


def _best(scores: np.ndarray, doubt: np.ndarray, k: int) -> np.ndarray:
    """Where the best `k` scores may be, given by how much each may be wrong."""
    if doubt.ndim == 0:
        return np.flatnonzero(scores >= kth_best(scores, k) - 2 * float(doubt))
    with np.errstate(invalid="ignore"):
        certain = np.isfinite(doubt)
        least = np.where(certain, scores - doubt, -np.inf)
        most = np.where(certain, scores + doubt, np.inf)
    return np.flatnonzero(most >= kth_best(least, k))


def _approximately(
    column: VectorColumn, queries: np.ndarray, metric: Metric, k: int, shown: _Rows, part: ColumnPart
) -> list[tuple[int, np.ndarray, np.ndarray]] | None:
    """As :func:`_exactly`, with an index for the rows it has; None where it would not pay, or cannot fill `k`."""
    index, blocks = column.index(metric), column.blocks
    index.follow(blocks)
    if index.built is None:
        return None
    numbers, _ = shown.of(Pieces.of([(part.generation, 0, part.end)]))
    result = index.search(blocks, queries, k, part.end, numbers)
    if result is None:
        return None
    upto, near = result
    parts = [
        (query, shown.pieces.positions(part.generation, addresses), scores)
        for query, (addresses, scores) in enumerate(near)
    ]
    return parts if upto >= part.end else [*parts, *_exactly(blocks, queries, metric, k, shown, upto)]


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
