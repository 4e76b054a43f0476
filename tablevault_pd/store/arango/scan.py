"""Rows of versions of a vault on a server, and who wrote them."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store.arango.batches import layout_of, schema_key
from tablevault_pd.store.arango.reader import RowRun, removed
from tablevault_pd.store.arango.records import reads
from tablevault_pd.store.engine.content_rules import spans_of
from tablevault_pd.store.engine.kept_layouts import KeptLayouts, LayoutKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store import Chunk, ScanRequest, Spans, Version
    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.reader import Reader
    from tablevault_pd.store.pieces import Pieces

CLOSE_ROWS, FAR_ROWS = 8, 4096  # rows that nobody wants between two that are read together
MOST_RANGES = 1000  # rows that are looked up by themselves; with more, what is between them is read along

# All statements: 3.12; nothing in them is newer than 3.8. @layouts: [list, version] each.
LAYOUTS = """
FOR w IN @layouts FOR b IN tv_batches FILTER b.list == w[0] AND b.version == w[1]
  RETURN [w[0], w[1], b.pieces == null ? DOCUMENT("tv_details", b._key).pieces : b.pieces]
"""
# @ends: [number, list, generation, end] each. All is told by an index alone.
WRITTEN = """
FOR w IN @ends
  FOR b IN tv_batches OPTIONS {maxProjections: 9}
    FILTER b.list == w[1] AND b.generation == w[2] AND b.start < w[3] AND b.rows > 0
    SORT w[0], w[2], b.start
    RETURN [w[0], w[2], b.start, b.start + b.rows, b.session == null ? -1 : b.session, b.cell == null ? -1 : b.cell, b.time,
            b.line == null ? 0 : b.line]
"""


class Scanner:
    """Reads rows of the versions of a vault on a server."""

    def __init__(self, client: Client, reader: Reader) -> None:
        self._client, self._reader = client, reader
        self._layouts = KeptLayouts()

    def forget_layouts(self) -> None:
        """Read layouts anew from now on."""
        self._layouts = KeptLayouts()

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
        """Yield rows of a version in position order. Row groups in which `where` is surely false stay away."""
        if version.gone:
            raise removed(version)
        stop = version.total if stop is None else min(stop, version.total)
        if version.total == 0:
            empty = self._reader.empty(version, columns)
            if empty is not None:
                yield empty
        if start < stop:
            [pieces] = self.pieces([version])
            yield from self._reader.scan(
                runs_of(version, pieces.clip(start, stop), max(start, 0)), columns, where
            )

    def pieces(self, versions: Sequence[Version]) -> list[Pieces]:
        """What each version shows. One request for the layouts that are not known yet."""
        return self._layouts.pieces(versions, self._read_layouts)

    def _read_layouts(self, keys: Sequence[LayoutKey]) -> dict[LayoutKey, Pieces]:
        layouts = {
            (list_id, number): layout_of(pieces, f"The content of version {number} of the list {list_id}")
            for list_id, number, pieces in self._client.query(LAYOUTS, layouts=[list(key) for key in keys])
        }
        lacking = sorted({*keys} - layouts.keys())
        if lacking:
            raise VaultCorrupt(
                f"{self._client.address} lacks the content of some versions: (list, version) {lacking}. "
                "Restore the database from a backup."
            )
        return layouts

    def rows_of_generation(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[Chunk]:
        """Yield the rows of a generation by address, but for vacuumed ones that `version` does not show."""
        run = RowRun(version, generation, low, high, low, self.pieces([version])[0])
        for _, chunk in self._reader.scan_runs([run], columns):
            yield chunk

    def rows_by_address(
        self, ranges: Sequence[tuple[Version, int, int]]
    ) -> Iterator[tuple[int, Iterator[Chunk]]]:
        """Yield rows of the generations of versions, (version, low, high) each, with the number of their range; read together."""
        shown = self.pieces([version for version, _, _ in ranges])
        runs = [
            RowRun(version, version.generation, low, high, low, pieces)
            for (version, low, high), pieces in zip(ranges, shown, strict=True)
        ]
        for number, chunks in groupby(self._reader.scan_runs(runs, None), itemgetter(0)):
            yield number, (chunk for _, chunk in chunks)

    def scan_many(self, requests: Sequence[ScanRequest]) -> Iterator[tuple[int, Chunk]]:
        """Rows of several versions, read together; those with the same `where` one after the other."""
        shown = self.pieces([rows.version for rows in requests])
        for where, group in groupby(enumerate(requests), key=lambda numbered: numbered[1].where):
            numbers: list[int] = []
            windows: list[RowRun] = []
            names: set[str] = set()
            for number, rows in group:
                names |= {*rows.columns}
                for run in runs_of(rows.version, shown[number]):
                    for first, last in _ranges(
                        rows.positions, run.position, run.position + run.stop - run.first
                    ):
                        shift = run.first - run.position
                        numbers.append(number)
                        windows.append(run._replace(first=first + shift, stop=last + shift, position=first))
            chunks = self._reader.scan_runs(windows, sorted(names), where)
            for at, chunk in chunks:
                mine = [name for name in requests[numbers[at]].columns if name in chunk.table.schema.names]
                yield numbers[at], replace(chunk, table=chunk.table.select(mine))

    def spans_written(self, versions: Sequence[Version]) -> Spans:
        """Who wrote which rows."""
        shown = self.pieces(versions)
        ends = [
            [number, version.list_id, generation, end]
            for number, (version, pieces) in enumerate(zip(versions, shown, strict=True))
            for generation, end in pieces.ends()
        ]
        rows = self._client.query(WRITTEN, ends=ends) if ends else []
        columns = _columns_written(rows)
        bounds = np.searchsorted(columns[0], np.arange(1, len(versions)))
        return spans_of(zip(shown, np.split(columns[1:], bounds, axis=1), strict=False))  # of none, one part


@reads("tv_batches")
def _columns_written(rows: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, 8).T


def runs_of(version: Version, pieces: Pieces, position: int = 0) -> list[RowRun]:
    """Pieces of a version, the first of which begins at `position`."""
    starts = (position + pieces.bounds).tolist()
    return [RowRun(version, *piece, start) for piece, start in zip(pieces, starts, strict=False)]


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
