"""Searching vectors of a vault on a server.

The server finds the nearest vectors itself (see near.py). Where all are to be ranked they are read, and kept: rows never
change once they are committed, so a later search reads on from where the last one stopped, and what was committed a moment
ago is found at once, by whomever.
"""

from __future__ import annotations

import threading
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from tablevault_pd.store.arango.near import Nearest
from tablevault_pd.store.engine.vector_scan import VectorScan

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pyarrow as pa

    from tablevault_pd.store import Hits, Metric, Scope, VectorQuery
    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.reading import Reader
    from tablevault_pd.store.arango.scan import Scanner
    from tablevault_pd.store.engine.vector_scan import ColumnRun, VectorColumn


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
            runs = self._rows.runs_of([scopes[each.scope].version for each in near])
            found = self._nearest.find(near, scopes, runs, metric=metric, k=k, approx=approx)
            if found is not None:
                return found
        return super().search_vectors(near, scopes, metric=metric, k=k)

    def count_nearer(
        self, near: Sequence[VectorQuery], scopes: Sequence[Scope], scores: np.ndarray, *, metric: Metric
    ) -> np.ndarray | None:
        """How many items score above each of these: counted by the server."""
        self._begin_in_child()
        runs = self._rows.runs_of([scopes[each.scope].version for each in near])
        return self._nearest.count(near, scopes, runs, scores, metric=metric)

    def _columns_read(self, wanted: Sequence[ColumnRun]) -> list[VectorColumn]:
        """The columns; what is lacking of all of them is read together."""
        with self._reading:
            known = [self._lookup(*what) for what in wanted]
            lacking: dict[
                tuple[int, int, int], dict[int, int]
            ] = {}  # columns that lack the same rows: id -> number
            for number, (what, (column, _)) in enumerate(zip(wanted, known, strict=True)):
                generation, _, high = what.run
                if column.upto < high:
                    rows = lacking.setdefault((what.version.list_id, generation, column.upto), {})
                    if id(column) not in rows or wanted[rows[id(column)]].run[2] < high:
                        rows[id(column)] = number
            self._read_on([list(rows.values()) for rows in lacking.values()], wanted, known)
        return [column for column, _ in known]

    def _read_on(
        self,
        groups: Sequence[Sequence[int]],
        wanted: Sequence[ColumnRun],
        known: Sequence[tuple[VectorColumn, pa.Schema]],
    ) -> None:
        """Read the rows that each group of columns lacks."""
        if not groups:
            return
        runs = []
        for group in groups:
            furthest = max((wanted[number] for number in group), key=lambda what: what.run[2])
            generation, _, high = furthest.run
            runs.append((furthest.version, generation, known[group[0]][0].upto, high))
        fields = {wanted[number].field for group in groups for number in group}
        chunks = self._reader.scan_runs(runs, lambda schema: sorted(fields & set(schema.names)))
        read = {number: [chunk for _, chunk in some] for number, some in groupby(chunks, key=itemgetter(0))}
        for at, (group, (_, _, _, high)) in enumerate(zip(groups, runs, strict=True)):
            for number in group:
                column, schema = known[number]
                column.add(iter(read.get(at, ())), schema, high)
