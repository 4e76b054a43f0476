"""Searching vectors of a vault on a server.

The server finds the nearest vectors itself (see nearest.py). Where all are to be ranked they are read, and kept: rows never
change once they are committed, so a later search reads on from where the last one stopped, and what was committed a moment
ago is found at once, by whomever.
"""

from __future__ import annotations

import threading
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from tablevault_pd.store.arango.nearest import Nearest
from tablevault_pd.store.arango.reader import RowRun
from tablevault_pd.store.arango.scan import runs_of
from tablevault_pd.store.engine.vector_scan import VectorScan

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pyarrow as pa

    from tablevault_pd.store import Hits, IndexInfo, Metric, Scope, VectorQuery
    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.reader import Reader
    from tablevault_pd.store.arango.scan import Scanner
    from tablevault_pd.store.engine.vector_scan import ColumnPart, VectorColumn


class VectorSearch(VectorScan):
    """Vectors of one vault on a server: measured there, or read and kept."""

    def __init__(self, client: Client, reader: Reader, rows: Scanner) -> None:
        self._client, self._reader = client, reader
        super().__init__(rows)

    def _begin(self) -> None:
        super()._begin()
        self._reading = threading.Lock()
        self._nearest = Nearest(self._client, self._reader)

    def search_vectors(
        self,
        near: Sequence[VectorQuery],
        scopes: Sequence[Scope],
        *,
        metric: Metric,
        k: int | None = None,
        approx: bool = False,
    ) -> list[Hits]:
        """The rows whose vectors are nearest: found by the server, unless all are to be ranked."""
        self._begin_in_child()
        if near and k is not None:
            hits = self._nearest.find(
                near, scopes, self._runs(near, scopes), metric=metric, k=k, approx=approx
            )
            if hits is not None:
                return hits
        return super().search_vectors(near, scopes, metric=metric, k=k)

    def count_nearer(
        self, near: Sequence[VectorQuery], scopes: Sequence[Scope], scores: np.ndarray, *, metric: Metric
    ) -> np.ndarray | None:
        """How many items score above each of these: counted by the server."""
        self._begin_in_child()
        return self._nearest.count(near, scopes, self._runs(near, scopes), scores, metric=metric)

    def indexes(self) -> list[IndexInfo]:
        """The indexes of the server."""
        self._begin_in_child()
        return self._nearest.indexes.indexes()

    def _runs(self, near: Sequence[VectorQuery], scopes: Sequence[Scope]) -> list[list[RowRun]]:
        """The rows that each is to be searched in."""
        versions = [scopes[query.scope].version for query in near]
        return [runs_of(*shown) for shown in zip(versions, self._rows.pieces(versions), strict=True)]

    def _columns_read(self, parts: Sequence[ColumnPart]) -> list[VectorColumn]:
        """The columns; what is lacking of all of them is read together."""
        with self._reading:
            columns = [self._lookup(part.version, part.generation, part.field) for part in parts]
            lacking: dict[
                tuple[int, int, int], dict[int, int]
            ] = {}  # columns that lack the same rows: id -> number
            for number, (part, (column, _)) in enumerate(zip(parts, columns, strict=True)):
                if column.upto < part.end:
                    rows = lacking.setdefault((part.version.list_id, part.generation, column.upto), {})
                    if id(column) not in rows or parts[rows[id(column)]].end < part.end:
                        rows[id(column)] = number
            self._read_on([list(rows.values()) for rows in lacking.values()], parts, columns)
        return [column for column, _ in columns]

    def _read_on(
        self,
        groups: Sequence[Sequence[int]],
        parts: Sequence[ColumnPart],
        columns: Sequence[tuple[VectorColumn, pa.Schema]],
    ) -> None:
        """Read the rows that each group of columns lacks."""
        if not groups:
            return
        furthest = [max((parts[number] for number in group), key=lambda part: part.end) for group in groups]
        shown = self._rows.pieces([part.version for part in furthest])
        runs = []
        for group, part, pieces in zip(groups, furthest, shown, strict=True):
            first = columns[group[0]][0].upto
            runs.append(RowRun(part.version, part.generation, first, part.end, first, pieces))
        fields = {parts[number].field for group in groups for number in group}
        chunks = self._reader.scan_runs(runs, sorted(fields))
        read = {number: [chunk for _, chunk in some] for number, some in groupby(chunks, key=itemgetter(0))}
        for at, (group, run) in enumerate(zip(groups, runs, strict=True)):
            for number in group:
                column, schema = columns[number]
                column.add(iter(read.get(at, ())), schema, run.stop)
