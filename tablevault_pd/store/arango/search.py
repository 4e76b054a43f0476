"""Searching vectors of a vault on a server, and who wrote which rows.

The server finds the nearest vectors itself (see near.py). Where all are to be ranked they are read, and kept: rows never
change once they are committed, so a later search reads on from where the last one stopped, and what was committed a moment
ago is found at once, by whomever.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store import Chunk, Hits, Metric, Near, Rows, Scope, Spans, Version
from tablevault_pd.store.arango.near import Nearest
from tablevault_pd.store.engine.vector_scan import Column, VectorSearch, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.reading import Reader
    from tablevault_pd.store.engine.fts_index import Run

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
              b.session == null ? -1 : b.session, b.cell == null ? -1 : b.cell, b.time]
"""


class Search(VectorSearch):
    """Vectors of one vault on a server, where its rows lie, and who wrote them."""

    client: Client
    reader: Reader

    def schema(self, schema_id: int) -> pa.Schema:
        """A schema as committed."""
        raise NotImplementedError

    def _open_search(self) -> None:
        self._search_pid = os.getpid()
        self._open_vectors()
        self._reading_vectors = threading.Lock()
        self._nearest = Nearest(self.client, self.reader)

    def _search_after_fork(self) -> None:
        """A forked child does not have its parent's locks."""
        if self._search_pid != os.getpid():
            self._open_search()

    def _close_search(self) -> None:
        self._search_after_fork()
        self._close_vectors()

    # -- rows

    def _runs_of(self, versions: Sequence[Version]) -> list[tuple[Version, list[Run]]]:
        """Which positions of each version lie in which generation. One request."""
        if not versions:
            return []
        bases = dict(self.client.query(RUNS_OF, wanted=_wanted(versions)))
        found = []
        for number, version in enumerate(versions):
            base: list[Run] = [(run[0], run[1], run[2]) for run in bases[number]]
            own = (version.generation, base[-1][2] if base else 0, version.total)
            found.append((version, [run for run in (*base, own) if run[1] < run[2]]))
        return found

    def _rows_of_run(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[Chunk]:
        for _, chunk in self.reader.scan_runs(
            [(version, generation, low, high)], lambda schema: schema.names if columns is None else columns
        ):
            yield chunk

    def scan_many(self, wanted: Sequence[Rows]) -> Iterator[tuple[int, Chunk]]:
        """Rows of several versions, read together; those with the same `where` one after the other."""
        runs_of = self._runs_of([rows.version for rows in wanted])
        for where, group in groupby(enumerate(wanted), key=lambda each: each[1].where):
            numbers: list[int] = []
            runs: list[tuple[Version, int, int, int]] = []
            names: set[str] = set()
            for number, rows in group:
                names |= {*rows.columns}
                for generation, low, high in runs_of[number][1]:
                    for first, last in _ranges(rows.positions, low, high):
                        numbers.append(number)
                        runs.append((rows.version, generation, first, last))
            chunks = self.reader.scan_runs(runs, partial(_named, sorted(names)), where)
            for at, chunk in chunks:
                mine = [name for name in wanted[numbers[at]].columns if name in chunk.table.schema.names]
                yield numbers[at], Chunk(chunk.positions, chunk.table.select(mine), private=False)

    def find_near(
        self,
        near: Sequence[Near],
        scopes: Sequence[Scope],
        *,
        metric: Metric,
        k: int | None = None,
        approx: bool = False,
    ) -> list[Hits]:
        """The rows whose vectors are nearest: found by the server, unless all are to be ranked."""
        self._search_after_fork()
        if near and k is not None:
            runs = self._runs_of([scopes[each.scope].version for each in near])
            found = self._nearest.find(near, scopes, runs, metric=metric, k=k, approx=approx)
            if found is not None:
                return found
        return super().find_near(near, scopes, metric=metric, k=k)

    def count_nearer(
        self, near: Sequence[Near], scopes: Sequence[Scope], scores: np.ndarray, *, metric: Metric
    ) -> np.ndarray | None:
        """How many items score above each of these: counted by the server."""
        self._search_after_fork()
        runs = self._runs_of([scopes[each.scope].version for each in near])
        return self._nearest.count(near, scopes, runs, scores, metric=metric)

    def _columns_read(self, wanted: Sequence[Wanted]) -> list[Column]:
        """The columns; what is lacking of all of them is read together."""
        with self._reading_vectors:
            known = [self._known(*what) for what in wanted]
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
        wanted: Sequence[Wanted],
        known: Sequence[tuple[Column, pa.Schema]],
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
        chunks = self.reader.scan_runs(runs, lambda schema: sorted(fields & set(schema.names)))
        read = {number: [chunk for _, chunk in some] for number, some in groupby(chunks, key=itemgetter(0))}
        for at, (group, (_, _, _, high)) in enumerate(zip(groups, runs, strict=True)):
            for number in group:
                column, schema = known[number]
                column.add(iter(read.get(at, ())), schema, high)

    # -- who wrote a row

    def written(self, versions: Sequence[Version]) -> Spans:
        """Who wrote which rows."""
        rows = self.client.query(WRITTEN, wanted=_wanted(versions)) if versions else []
        scope, start, stop, session_id, cell, time_us = np.array(rows, np.int64).reshape(-1, 6).T.copy()
        return Spans(scope, start, stop, session_id, cell, time_us.view("datetime64[us]"))


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
