"""Rows of versions of a vault on a server, and who wrote them."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store import Chunk, Spans
from tablevault_pd.store.arango.placing import schema_key
from tablevault_pd.store.arango.reading import removed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store import ScanRequest, Version
    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.reading import Reader
    from tablevault_pd.store.runs import Run

CLOSE_ROWS, FAR_ROWS = 8, 4096  # rows that nobody wants between two that are read together
MOST_RANGES = 1000  # rows that are looked up by themselves; with more, what is between them is read along

# All statements: 3.12; nothing in them is newer than 3.8. @wanted: [number, list, generation, total] each.
RUNS_OF = """
FOR w IN @wanted
  LET root = FIRST(FOR r IN tv_batches FILTER r.list == w[1] AND r.version == w[2] RETURN r)
  RETURN [w[0], root.base == null ? [] : root.base]
"""
WRITTEN = """
FOR w IN @wanted
  LET root = FIRST(FOR r IN tv_batches FILTER r.list == w[1] AND r.version == w[2] RETURN r)
  LET base = root.base == null ? [] : root.base
  LET first = LENGTH(base) == 0 ? 0 : LAST(base)[2]
  FOR run IN PUSH(base, [w[2], first, w[3]])
    FILTER run[1] < run[2]
    LET lowest = FIRST(
      FOR f IN tv_batches
        FILTER f.list == w[1] AND f.generation == run[0] AND f.start <= run[1] AND f.rows > 0
        SORT f.start DESC LIMIT 1 RETURN f.start)
    FOR b IN tv_batches
      FILTER b.list == w[1] AND b.generation == run[0] AND b.start >= lowest AND b.start < run[2] AND b.rows > 0
      SORT w[0], b.start
      RETURN [w[0], MAX([run[1], b.start]), MIN([run[2], b.start + b.rows]),
              b.session == null ? -1 : b.session, b.cell == null ? -1 : b.cell, b.time,
              b.line == null ? 0 : b.line]
"""


class Scanner:
    """Reads rows of the versions of a vault on a server."""

    def __init__(self, client: Client, reader: Reader) -> None:
        self._client, self._reader = client, reader

    def schema(self, schema_id: int) -> pa.Schema:
        """Return a schema as committed."""
        return self._reader.schema(schema_key(schema_id))

    def schemas(self, ids: Iterable[int]) -> dict[int, pa.Schema]:
        """Return schemas by id. One request for all that are not known yet."""
        keys = {schema_id: schema_key(schema_id) for schema_id in ids}
        self._reader.learn(keys.values())
        return {schema_id: self._reader.schema(key) for schema_id, key in keys.items()}

    def scan(
        self,
        version: Version,
        *,
        start: int = 0,
        stop: int | None = None,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
    ) -> Iterator[Chunk]:
        """Yield rows of a version in position order. The server evaluates `where` on plain columns."""
        if version.gone:
            raise removed(version)
        stop = version.total if stop is None else min(stop, version.total)
        if version.total == 0:
            empty = self._reader.empty(version, columns)
            if empty is not None:
                yield empty
        if start < stop:
            yield from self._reader.scan(version, start, stop, columns, where)

    def runs_of(self, versions: Sequence[Version]) -> list[tuple[Version, list[Run]]]:
        """Which positions of each version lie in which generation. One request."""
        if not versions:
            return []
        bases = dict(self._client.query(RUNS_OF, wanted=_wanted(versions)))
        found = []
        for number, version in enumerate(versions):
            base: list[Run] = [(run[0], run[1], run[2]) for run in bases[number]]
            own = (version.generation, base[-1][2] if base else 0, version.total)
            found.append((version, [run for run in (*base, own) if run[1] < run[2]]))
        return found

    def rows_of_run(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[Chunk]:
        """Yield the rows of a generation, also where `version` has them from another one."""
        for _, chunk in self._reader.scan_runs(
            [(version, generation, low, high)], lambda schema: schema.names if columns is None else columns
        ):
            yield chunk

    def scan_many(self, wanted: Sequence[ScanRequest]) -> Iterator[tuple[int, Chunk]]:
        """Rows of several versions, read together; those with the same `where` one after the other."""
        runs = self.runs_of([rows.version for rows in wanted])
        for where, group in groupby(enumerate(wanted), key=lambda each: each[1].where):
            numbers: list[int] = []
            windows: list[tuple[Version, int, int, int]] = []
            names: set[str] = set()
            for number, rows in group:
                names |= {*rows.columns}
                for generation, low, high in runs[number][1]:
                    for first, last in _ranges(rows.positions, low, high):
                        numbers.append(number)
                        windows.append((rows.version, generation, first, last))
            chunks = self._reader.scan_runs(windows, partial(_named, sorted(names)), where)
            for at, chunk in chunks:
                mine = [name for name in wanted[numbers[at]].columns if name in chunk.table.schema.names]
                yield numbers[at], Chunk(chunk.positions, chunk.table.select(mine), private=False)

    def spans_written(self, versions: Sequence[Version]) -> Spans:
        """Who wrote which rows."""
        rows = self._client.query(WRITTEN, wanted=_wanted(versions)) if versions else []
        scope, start, stop, session_id, cell, time_us, line = np.array(rows, np.int64).reshape(-1, 7).T.copy()
        return Spans(scope, start, stop, session_id, cell, time_us.view("datetime64[us]"), line)


def _named(names: Sequence[str], schema: pa.Schema) -> list[str]:
    return [name for name in names if name in schema.names]


def _ranges(positions: np.ndarray | None, low: int, high: int) -> list[tuple[int, int]]:
    """The positions from `low` to `high` as ranges, (first, end); not too many, and with few others between."""
    if positions is None:
        return [(low, high)]
    here = positions[np.searchsorted(positions, low) : np.searchsorted(positions, high)]
    if not len(here):
        return []
    gap = CLOSE_ROWS if len(here) <= MOST_RANGES else FAR_ROWS
    ends = np.flatnonzero(np.diff(here) > gap)
    firsts, lasts = here[np.append(0, ends + 1)], here[np.append(ends, len(here) - 1)] + 1
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _wanted(versions: Sequence[Version]) -> list[list[int]]:
    return [
        [number, version.list_id, version.generation, version.total]
        for number, version in enumerate(versions)
    ]
