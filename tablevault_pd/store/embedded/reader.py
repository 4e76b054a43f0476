"""Rows of committed versions, read from segments in the catalogue and in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd.errors import VaultCorrupt, VaultError, VersionNotFound
from tablevault_pd.store import Chunk
from tablevault_pd.store.embedded.segments import Payload, has_dictionary, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store import ScanRequest, Version
    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.embedded.schemas import Schemas
    from tablevault_pd.store.embedded.versions import Versions
    from tablevault_pd.store.runs import Run

SMALL_ROWS = 4096  # chunks of fewer rows are joined with their neighbours, up to as many of them
SKIP_ROWS = 4096  # a scan reads on over so many rows that were not asked for; beyond, a new one begins

# From the segment that holds position :low on; many small ones are fetched a page at a time.
SEGMENTS = """
SELECT start, rows, schema, codec, file, size, checksum, data FROM segments
WHERE list = :list AND generation = :generation AND start < :high AND rows > 0
  AND start >= coalesce((SELECT max(start) FROM segments WHERE list = :list AND generation = :generation
                         AND start <= :low AND rows > 0), 0)
ORDER BY start LIMIT 256
"""
EMPTY_SEGMENT = """
SELECT start, rows, schema, codec, file, size, checksum, data FROM segments
WHERE list = ? AND generation = ? AND rows = 0 ORDER BY id LIMIT 1
"""


class Reader:
    """Reads rows of the versions of one vault folder."""

    def __init__(self, catalog: SqliteCatalog, schemas: Schemas, versions: Versions, segments: Path) -> None:
        self._catalog, self._schemas, self._versions = catalog, schemas, versions
        self._segments = segments

    def schema(self, schema_id: int) -> pa.Schema:
        """Return a schema as committed."""
        return self._schemas.schema(schema_id)

    def runs_of(self, versions: Sequence[Version]) -> list[tuple[Version, list[Run]]]:
        """Return which positions of each version lie in which generation."""
        return self._versions.runs_of(versions)

    def scan(
        self,
        version: Version,
        *,
        start: int = 0,
        stop: int | None = None,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
    ) -> Iterator[Chunk]:
        """Yield rows of a version in position order, whatever `where` says: mapped rows cost nothing until looked at."""
        if version.gone:
            raise VersionNotFound.vacuumed(version.list, version.version)
        stop = version.total if stop is None else min(stop, version.total)
        if version.total == 0:
            yield from self._empty(version, columns)
            return
        [(_, runs)] = self._versions.runs_of([version])
        for generation, low, high in runs:
            low, high = max(low, start), min(high, stop)
            if low < high:
                yield from self.rows_of_run(version, generation, low, high, columns)

    def scan_many(self, wanted: Sequence[ScanRequest]) -> Iterator[tuple[int, Chunk]]:
        """Yield rows of several versions, one after the other: a look-up more costs next to nothing here."""
        for number, rows in enumerate(wanted):
            chunks = (
                self.scan(rows.version, columns=rows.columns)
                if rows.positions is None
                else self._scan_at(rows, rows.positions)
            )
            for chunk in chunks:
                yield number, chunk

    def _scan_at(self, rows: ScanRequest, positions: np.ndarray) -> Iterator[Chunk]:
        done = 0
        while done < len(positions):
            first, stop = int(positions[done]), int(positions[-1]) + 1
            for chunk in self.scan(rows.version, start=first, stop=stop, columns=rows.columns):
                yield chunk
                last = int(chunk.positions[-1])
                done = int(np.searchsorted(positions, last, side="right"))
                if done == len(positions) or positions[done] - last > SKIP_ROWS:
                    break

    def rows_of_run(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[Chunk]:
        """Yield the rows of a generation, small neighbours as one chunk; `version` is the one that errors name."""
        return _joined_neighbours(self._segments_of_run(version, generation, low, high, columns))

    def _segments_of_run(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[tuple[int, Chunk]]:
        """Yield a chunk for each segment, with its schema id."""
        where = f"{version.list}@{version.version}"
        missing = None
        while low < high:
            window = {"list": version.list_id, "generation": generation, "low": low, "high": high}
            with self._catalog.reading() as db:
                rows = db.execute(SEGMENTS, window).fetchall()
            if not rows or rows[0][0] > low or rows[0][0] + rows[0][1] <= low:
                raise self._missing(
                    version,
                    f"Rows of {where} from position {low} on are missing. vault.check() lists all damage.",
                )
            for row in rows:
                if row[0] > low:
                    break  # a hole, or compaction moved on: ask the catalogue again
                try:
                    chunk = self._chunk(row, low, high, columns, where)
                except FileNotFoundError as error:
                    if missing == row[4]:
                        raise self._missing(
                            version,
                            f"The segment {row[4]} with rows of {where} is missing. Other lists and versions stay readable; "
                            "restore this vault from a backup.",
                        ) from error
                    missing = row[4]  # compaction may have replaced it since the catalogue was read
                    break
                yield row[2], chunk
                low = min(row[0] + row[1], high)

    def _empty(self, version: Version, columns: Sequence[str] | None) -> Iterator[Chunk]:
        """Yield what a version without rows has: its payload still says which categories a column has."""
        with self._catalog.reading() as db:
            row = db.execute(EMPTY_SEGMENT, (version.list_id, version.generation)).fetchone()
        if row is not None:
            yield self._chunk(row, 0, 0, columns, f"{version.list}@{version.version}")

    def _missing(self, version: Version, damage: str) -> VaultError:
        """Return the error for rows that are not there: a vacuum may have come since `version` was looked up."""
        now = self._versions.version(version.list, version.version)
        if now is not None and now.gone:
            return VersionNotFound.vacuumed(version.list, version.version)
        return VaultCorrupt(damage)

    def _chunk(
        self, row: tuple[Any, ...], low: int, high: int, columns: Sequence[str] | None, where: str
    ) -> Chunk:
        start, rows, schema_id, codec, file, size, checksum, data = row
        schema, seed = self._schemas.schema(schema_id), self._schemas.seed(schema_id)
        part = Payload(rows, schema, seed, codec, size, checksum, data, file)
        table, private = unpack(part, self._segments, columns, where)
        if table.num_rows != rows and (columns is None or table.num_columns):
            raise VaultCorrupt(
                f"A segment of {where} holds {table.num_rows} rows, where {rows} were committed."
            )
        stop = min(start + rows, high)
        first = max(start, low)
        if (first, stop) != (start, start + rows):
            table = table.slice(first - start, stop - first)
        return Chunk(range(first, stop), table, private)


def _joined_neighbours(chunks: Iterable[tuple[int, Chunk]]) -> Iterator[Chunk]:
    """Join small neighbours of one schema: what was appended row by row is decoded in one go."""
    waiting: list[Chunk] = []
    schema = None
    for schema_id, chunk in chunks:
        small = len(chunk.positions) < SMALL_ROWS
        if waiting and (not small or schema_id != schema or len(waiting) == SMALL_ROWS):
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
    return Chunk(
        range(chunks[0].positions[0], chunks[-1].positions[-1] + 1), table.combine_chunks(), private=True
    )
