"""Rows of committed versions, read from segments in the catalogue and in files."""

from __future__ import annotations

import json
from bisect import bisect_right
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd.errors import VaultCorrupt, VaultError, VersionNotFound
from tablevault_pd.store import Chunk
from tablevault_pd.store.embedded.segments import Payload, decode_inline, project, unpack, unpack_batches
from tablevault_pd.store.embedded.small_lists import LISTS_AT_ONCE, read_small_lists
from tablevault_pd.store.engine.int_codec import unpack as unpack_numbers
from tablevault_pd.store.engine.payloads import decode, has_dictionary
from tablevault_pd.store.engine.zones import ranges_to_read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store import ScanRequest, Version
    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.embedded.schemas import Schemas
    from tablevault_pd.store.embedded.segments import OpenedFiles
    from tablevault_pd.store.embedded.versions import Versions
    from tablevault_pd.store.pieces import Pieces

SMALL_ROWS = 4096  # chunks of fewer rows are joined with their neighbours, up to as many of them
AT_ONCE_BYTES = 4 << 20  # of small segments that are read at once
DECODED, DECODED_BYTES = 256, 1 << 12  # so many segments of at most so many bytes stay decoded
FEW_ROWS = 1024  # so many are copied out of files that stay open
OPEN_SEGMENTS = 4  # of those that a scan has read from, in case the next piece is of one of them

# From the segment that holds the row :low on, or the one after; many small ones are fetched a page at a time.
SEGMENTS = """
SELECT start, rows, schema, codec, file, size, checksum, data, erased, zones FROM segments
WHERE list = :list AND generation = :generation AND start < :high AND rows > 0
  AND start >= coalesce((SELECT max(start) FROM segments WHERE list = :list AND generation = :generation
                         AND start <= :low AND rows > 0), 0)
ORDER BY start LIMIT 256
"""
EMPTY_SEGMENT = """
SELECT start, rows, schema, codec, file, size, checksum, data, erased, zones FROM segments
WHERE list = ? AND generation = ? AND rows = 0 ORDER BY id LIMIT 1
"""


class Reader:
    """Reads rows of the versions of one vault folder."""

    def __init__(
        self,
        catalog: SqliteCatalog,
        schemas: Schemas,
        versions: Versions,
        opened: OpenedFiles,
        segments: Path,
    ) -> None:
        self._catalog, self._schemas, self._versions = catalog, schemas, versions
        self._opened, self._segments = opened, segments
        # By content: what is cached is what these bytes say, whatever was committed or rolled back since.
        self._decoded = lru_cache(maxsize=DECODED)(self._decode)

    def schema(self, schema_id: int) -> pa.Schema:
        return self._schemas.schema(schema_id)

    def pieces(self, versions: Sequence[Version]) -> list[Pieces]:
        """Return what each version shows. Raises VaultCorrupt where that is not as many rows as it is said to have."""
        contents = self._versions.pieces(versions)
        for version, shown in zip(versions, contents, strict=True):
            if shown.total != version.total and not version.gone:
                raise self._not_as_said(version, shown)
        return contents

    def scan(
        self,
        version: Version,
        *,
        start: int = 0,
        stop: int | None = None,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
    ) -> Iterator[Chunk]:
        """Yield rows of a version in position order, without ranges for which `where` is surely false by their zone map."""
        if version.gone:
            raise VersionNotFound.vacuumed(version.list, version.version)
        stop = version.total if stop is None else min(stop, version.total)
        if version.total == 0:
            yield from self._empty(version, columns)
            return
        [shown] = self.pieces([version])
        yield from _joined_neighbours(
            self._chunks_of(version, shown.clip(start, stop), max(start, 0), columns, where)
        )

    def _chunks_of(
        self,
        version: Version,
        pieces: Pieces,
        position: int,
        columns: Sequence[str] | None,
        where: Where | None,
    ) -> Iterator[tuple[int, Chunk]]:
        """Yield the rows of these pieces, the first at `position`; each chunk with its schema id."""
        read = _Read(self, version, columns, dict(pieces.ends()), where=where)
        for generation, first, stop in pieces:
            shift = position - first
            for schema_id, chunk in read.rows(generation, first, stop):
                yield schema_id, chunk if not shift else _moved(chunk, shift)
            position += stop - first

    def scan_many(self, requests: Sequence[ScanRequest]) -> Iterator[tuple[int, Chunk]]:
        for first in range(0, len(requests), LISTS_AT_ONCE):
            some = requests[first : first + LISTS_AT_ONCE]
            small = read_small_lists(self._catalog, self.unpack_batches, some)
            for number, rows in enumerate(some):
                chunks: Iterable[Chunk] = (
                    [small.pop(number)]
                    if number in small
                    else self.scan(rows.version, columns=rows.columns, where=rows.where)
                    if rows.positions is None
                    else self._scan_at(rows, rows.positions)
                )
                for chunk in chunks:
                    yield first + number, chunk

    def _scan_at(self, rows: ScanRequest, positions: np.ndarray) -> Iterator[Chunk]:
        """Yield the rows at these positions and no others, in the order in which they are stored."""
        version = rows.version
        if version.gone:
            raise VersionNotFound.vacuumed(version.list, version.version)
        [shown] = self.pieces([version])
        few = len(positions) <= FEW_ROWS
        read = _Read(self, version, rows.columns, dict(shown.ends()), shared=few)
        yield from _joined_neighbours(read.rows_at(positions, *shown.addresses(positions)))

    def rows_of_generation(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[Chunk]:
        """Yield the rows of a generation by address, small neighbours as one chunk; `version` is the one that errors name.

        Rows that were vacuumed are left out, unless `version` shows them.
        """
        read = _Read(self, version, columns, {generation: high}, needed=self.pieces([version])[0])
        return _joined_neighbours(read.rows(generation, low, high))

    def segments_of(self, version: Version, generation: int, low: int, high: int) -> list[tuple[Any, ...]]:
        """Return the segments of a generation from the row `low` on, as many as one page holds."""
        window = {"list": version.list_id, "generation": generation, "low": low, "high": high}
        with self._catalog.reading() as db:
            return db.execute(SEGMENTS, window).fetchall()

    def _empty(self, version: Version, columns: Sequence[str] | None) -> Iterator[Chunk]:
        """Yield what a version without rows has: its payload still says which categories a column has."""
        with self._catalog.reading() as db:
            row = db.execute(EMPTY_SEGMENT, (version.list_id, version.generation)).fetchone()
        if row is not None:
            table, private = self.unpack(row, columns, version.label)
            yield Chunk(range(0), table, private)

    def missing(self, version: Version, damage: str) -> VaultError:
        """Return the error for rows that are not there: a vacuum may have come since `version` was looked up."""
        now = self._versions.version(version.list, version.version)
        if now is not None and now.gone:
            return VersionNotFound.vacuumed(version.list, version.version)
        return VaultCorrupt(damage)

    def _not_as_said(self, version: Version, shown: Pieces) -> VaultCorrupt:
        return VaultCorrupt(
            f"The catalogue says that {version.label} has {version.total} rows, and its content has {shown.total}. "
            "Other lists and versions stay readable; restore this vault from a backup."
        )

    def unpack(
        self, row: tuple[Any, ...], columns: Sequence[str] | None, where: str, *, shared: bool = False
    ) -> tuple[pa.Table, bool]:
        """Return the rows of a segment, and whether their memory may be written to. A `shared` file stays open."""
        schema_id, codec, _, size = row[2:6]
        part = self._payload(row)
        if shared and codec == "file":
            table, private = project(self._opened.table(part, where), columns), False
        else:
            decoded = (
                decode_inline
                if size > DECODED_BYTES
                else lambda _, data: self._decoded(schema_id, codec, data)
            )
            table, private = unpack(part, self._segments, columns, where, decoded=decoded)
        _check_count(table, row[1], columns, where)
        return table, private

    def _decode(self, schema_id: int, codec: str, data: bytes) -> pa.Table:
        return decode(codec, pa.py_buffer(data), self._schemas.schema(schema_id))

    def unpack_batches(
        self, rows: Sequence[tuple[Any, ...]], columns: Sequence[str] | None, names: Sequence[str]
    ) -> pa.Table:
        """Return the rows of several small segments of one schema; errors name the version that a segment is of."""
        schema_id = rows[0][2]
        segments = ((*row[5:8], name) for row, name in zip(rows, names, strict=True))
        table = unpack_batches(
            self._schemas.schema(schema_id), self._schemas.seed(schema_id), segments, columns
        )
        _check_count(table, sum(row[1] for row in rows), columns, names[0])
        return table

    def _payload(self, row: tuple[Any, ...]) -> Payload:
        _, rows, schema_id, codec, file, size, checksum, data = row[:8]
        schema, seed = self._schemas.schema(schema_id), self._schemas.seed(schema_id)
        return Payload(rows, schema, seed, codec, size, checksum, data, file)


def _check_count(table: pa.Table, rows: int, columns: Sequence[str] | None, where: str) -> None:
    if table.num_rows != rows and (columns is None or table.num_columns):
        raise VaultCorrupt(f"A segment of {where} holds {table.num_rows} rows, where {rows} were committed.")


class _Read:
    """Reads pieces of a version one after the other; segments that hold several of them are looked up and opened once."""

    def __init__(
        self,
        reader: Reader,
        version: Version,
        columns: Sequence[str] | None,
        ends: Mapping[int, int],
        needed: Pieces | None = None,
        where: Where | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self._reader, self._version, self._columns = reader, version, columns
        self._shared = shared  #: files stay open, and what is read of them is copied
        self._ends = ends  #: up to where each generation will be asked for
        self._needed = needed  #: only these rows must be there; None: all
        self._filter = where
        self._where = version.label
        self._pages: dict[int, list[tuple[Any, ...]]] = {}  #: segments by generation, the page looked up last
        self._opened: dict[
            tuple[Any, ...], tuple[pa.Table, bool]
        ] = {}  #: segments, the one used last at the end

    def rows(self, generation: int, low: int, high: int) -> Iterator[tuple[int, Chunk]]:
        """Yield a chunk for each range of a segment to be read, with its schema id. Its positions are addresses."""
        while low < high:
            small = self._small_ones(generation, low, high)
            if len(small) > 1:
                stop = small[-1][0] + small[-1][1]
                table = self._reader.unpack_batches(small, self._columns, [self._where] * len(small))
                yield small[0][2], Chunk(range(low, stop), table, private=True)
                low = stop
                continue
            opened = self._open(generation, low, high)
            if opened is None:
                return
            row, table, private = opened
            low = max(low, row[0])
            stop = min(row[0] + row[1], high)
            for first, end in self._ranges(row, low, stop):
                whole = (first, end) == (row[0], row[0] + row[1])
                part = table if whole else table.slice(first - row[0], end - first)
                yield row[2], Chunk(range(first, end), part, private, _erased_between(row, first, end))
            low = stop

    def _small_ones(self, generation: int, low: int, high: int) -> list[tuple[Any, ...]]:
        """Segments in the catalogue, one after the other from the row `low` on, that are read as a whole and at once."""
        first = self._segment(generation, low)
        page, segments, left = self._pages[generation], [], AT_ONCE_BYTES
        for row in islice(page, max(bisect_right(page, low, key=_start) - 1, 0), None):
            start, rows, schema_id, codec, file, size, *_, erased, zones = row
            left -= size
            if start != low or start + rows > high or schema_id != first[2] or rows >= SMALL_ROWS or left < 0:
                break
            if codec != "batch" or file is not None or erased is not None or zones is not None:
                break
            segments.append(row)
            low = start + rows
        return segments

    def _ranges(self, row: tuple[Any, ...], low: int, stop: int) -> list[tuple[int, int]]:
        """Which of these rows of a segment are to be read; of one with categories at least none of them."""
        if self._filter is None or row[9] is None:
            return [(low, stop)]
        schema = self._reader.schema(row[2])
        ranges = ranges_to_read(self._filter, json.loads(row[9]), schema.names, low - row[0], stop - row[0])
        if not ranges and has_dictionary(schema):
            return [(low, low)]
        return [(first + row[0], last + row[0]) for first, last in ranges]

    def rows_at(
        self, positions: np.ndarray, generation: np.ndarray, address: np.ndarray
    ) -> Iterator[tuple[int, Chunk]]:
        """Yield the rows of these addresses, which are shown at `positions`: a chunk for each segment, with its schema id."""
        if len(address) > 1:
            order = np.lexsort((address, generation))
            positions, generation, address = positions[order], generation[order], address[order]
        done = 0
        while done < len(address):
            low, of = int(address[done]), int(generation[done])
            opened = self._open(of, low, low + 1)
            assert opened is not None  # a row that a version shows is in a segment, or missing
            row, table, private = opened
            end = done + int(generation[done:].searchsorted(of, side="right"))
            end = done + int(address[done:end].searchsorted(row[0] + row[1]))
            rows = address[done:end] - row[0]
            # all that lie between: a view
            if (private or row[4] is None) and rows[-1] - rows[0] + 1 == len(rows):
                table = table.slice(int(rows[0]), len(rows))
            else:
                table, private = _taken(table, rows), True
            erased = None if row[8] is None else np.flatnonzero(np.isin(rows, _erased(row)))
            yield row[2], Chunk(positions[done:end], table, private, erased)
            done = end

    def _open(self, generation: int, low: int, high: int) -> tuple[tuple[Any, ...], pa.Table, bool] | None:
        """The segment that holds a row, or where that need not be there the next one; None if it begins at `high` or later."""
        missing = None
        while True:
            row = self._segment(generation, low)
            if row[0] >= high:
                return None
            try:
                return row, *self._table((generation, row[0], row[4]), row)
            except FileNotFoundError as error:
                if missing == row[4]:
                    raise self._reader.missing(
                        self._version,
                        f"The segment {row[4]} with rows of {self._where} is missing. Other lists and versions stay readable; "
                        "restore this vault from a backup.",
                    ) from error
                missing = row[4]  # compaction may have replaced it since the catalogue was read
                self._pages.pop(generation)

    def _segment(self, generation: int, low: int) -> tuple[Any, ...]:
        """The segment that holds a row, or where it need not be there the next one."""
        page = self._pages.get(generation, ())
        at = bisect_right(page, low, key=_start) - 1
        if at >= 0 and low < page[at][0] + page[at][1]:
            return page[at]
        end = self._ends[generation]
        page = self._reader.segments_of(self._version, generation, low, end)
        self._pages[generation] = page
        at = bisect_right(page, low, key=_start) - 1
        if at >= 0 and low < page[at][0] + page[at][1]:
            return page[at]
        following = page[at + 1] if at + 1 < len(page) else None
        stop = end if following is None else following[0]
        if self._needed is None or self._position(self._needed, generation, low, stop) is not None:
            [shown] = self._reader.pieces([self._version])
            position = self._position(shown, generation, low, stop)
            raise self._reader.missing(
                self._version,
                f"Rows of {self._where} from position {position} on are missing. vault.check() lists all damage.",
            )
        return following or (end, 0)

    @staticmethod
    def _position(shown: Pieces, generation: int, low: int, stop: int) -> int | None:
        """Where the first of these rows is shown; None if none is."""
        starts = shown.runs(*(np.array([value]) for value in (generation, low, stop)))[1]
        return int(starts.min()) if len(starts) else None

    def _table(self, key: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[pa.Table, bool]:
        table = self._opened.pop(key, None) or self._reader.unpack(
            row, self._columns, self._where, shared=self._shared
        )
        self._opened[key] = table
        if len(self._opened) > OPEN_SEGMENTS:
            del self._opened[next(iter(self._opened))]
        return table


def _taken(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Rows of a table, ascending. Arrow would join all batches of it first, in memory."""
    batches = table.to_batches()
    if len(batches) < 2:
        return table.take(pa.array(rows))
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    bounds = np.searchsorted(rows, starts)
    return pa.Table.from_batches(
        [
            batch.take(pa.array(rows[low:high] - start))
            for batch, start, low, high in zip(batches, starts, bounds, bounds[1:], strict=False)
            if high > low
        ],
        table.schema,
    )


def _start(row: tuple[Any, ...]) -> int:
    return int(row[0])


def _moved(chunk: Chunk, shift: int) -> Chunk:
    """A chunk at other positions."""
    assert isinstance(chunk.positions, range)
    first = chunk.positions.start + shift
    return Chunk(range(first, first + len(chunk.positions)), chunk.table, chunk.private, chunk.erased)


def _erased(row: tuple[Any, ...]) -> np.ndarray:
    """The numbers of the erased rows of a segment."""
    return unpack_numbers(row[8], "A list of erased rows")


def _erased_between(row: tuple[Any, ...], low: int, stop: int) -> np.ndarray | None:
    """The same of those of these addresses, counted from the first of them."""
    if row[8] is None:
        return None
    numbers: np.ndarray = _erased(row) + (row[0] - low)
    return numbers[(numbers >= 0) & (numbers < stop - low)]


def _joined_neighbours(chunks: Iterable[tuple[int, Chunk]]) -> Iterator[Chunk]:
    """Join small neighbours of one schema: what was appended row by row is decoded in one go."""
    waiting: list[Chunk] = []
    schema = None
    for schema_id, chunk in chunks:
        small = 0 < len(chunk.positions) < SMALL_ROWS
        follows = waiting and small and _follows(waiting[-1].positions, chunk.positions)
        if waiting and (not follows or schema_id != schema or len(waiting) == SMALL_ROWS):
            yield _joined(waiting)
            waiting = []
        if small:
            waiting.append(chunk)
            schema = schema_id
        else:
            yield chunk
    if waiting:
        yield _joined(waiting)


def _joined(chunks: list[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    table = pa.concat_tables([chunk.table for chunk in chunks])
    if has_dictionary(table.schema):
        table = table.unify_dictionaries()
    positions = _together([chunk.positions for chunk in chunks])
    return Chunk(positions, table.combine_chunks(), private=True, erased=_erased_of(chunks))


def _erased_of(chunks: Sequence[Chunk]) -> np.ndarray | None:
    """The numbers of erased rows in all of these chunks together; None if there are none."""
    if all(chunk.erased is None for chunk in chunks):
        return None
    starts = np.cumsum([0, *(len(chunk.positions) for chunk in chunks)])
    return np.concatenate(
        [
            chunk.erased + start
            for chunk, start in zip(chunks, starts, strict=False)
            if chunk.erased is not None
        ]
    )


def _follows(before: range | np.ndarray, after: range | np.ndarray) -> bool:
    """Whether chunks can be joined: of arrays any, of ranges those that make one range."""
    return not isinstance(after, range) or before[-1] + 1 == after[0]


def _together(positions: Sequence[range | np.ndarray]) -> range | np.ndarray:
    if isinstance(positions[0], range):
        return range(positions[0][0], positions[-1][-1] + 1)
    return np.concatenate(positions)
