"""Searching a vault on a server: the server says what there is, this process keeps an index of what it has read.

Rows never change once they are committed, so texts (and vectors, where all are to be ranked; else see near.py) are read
once, and a later search reads on from where the last one stopped: what was committed a moment ago is found at once, by
whomever. Stems, ranks and scores are those
of the embedded store, made by the same code, so that a vault answers alike wherever it lies. A search view of the
server has rules of its own for both, and shows a row only some time after its commit.

The index of texts lies in a temporary file of SQLite's, which is gone with the process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from sqlite3 import Connection
from typing import Any

import numpy as np
import pyarrow as pa

from tablevault_pd import frames, fts
from tablevault_pd.store import Chunk, Description, Hits, Metric, Near, Scope, Spans, Version
from tablevault_pd.store.arango.client import Client
from tablevault_pd.store.arango.near import Nearest
from tablevault_pd.store.arango.people import DESCRIPTIONS, description_of
from tablevault_pd.store.arango.reading import Reader
from tablevault_pd.store.query import Node
from tablevault_pd.store.textindex import (
    DESCRIPTIONS_FROM,
    UPTO,
    Gap,
    Run,
    add_source,
    complete,
    gaps,
    has_text,
    insert_texts,
    matching,
    matching_sources,
    places_of,
    private_index,
    search,
)
from tablevault_pd.store.vectors import Column, VectorSearch, Wanted

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
# The same code is fetched once, however many cells ran it.
CELL_DIGESTS = "FOR c IN tv_cells SORT c.session, c.cell RETURN [c.session, c.cell, SHA1(c.text)]"
CELL_TEXTS = """
FOR w IN @cells
  FOR c IN tv_cells FILTER c.session == w[0] AND c.cell == w[1] RETURN [SHA1(c.text), c.text]
"""


class Search(VectorSearch):
    """Text, vectors, code and descriptions of one vault on a server."""

    client: Client
    reader: Reader

    def schema(self, schema_id: int) -> pa.Schema:
        """A schema as committed."""
        raise NotImplementedError

    def _open_search(self) -> None:
        self._text_pid = os.getpid()
        self._text_lock = threading.RLock()  # the index is one connection for all threads
        self._index: Connection | None = None
        self._described: dict[str, int] = {}  # by the key of its document: its number in the index
        self._sources: dict[str, int] = {}  # by the server's digest of a text: its number in the index
        self._open_vectors()
        self._reading_vectors = threading.Lock()
        self._nearest = Nearest(self.client, self.reader)

    def _search_after_fork(self) -> None:
        """A forked child has neither its parent's locks nor, since SQLite forbids it, its index."""
        if self._text_pid != os.getpid():
            self._open_search()

    def _close_search(self) -> None:
        self._search_after_fork()
        with self._text_lock:
            if self._index is not None:
                self._index.close()
                self._index = None
                self._described, self._sources = {}, {}
        self._close_vectors()

    def _opened_index(self) -> Connection:
        if self._index is None:
            self._index = private_index("")
        return self._index

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

    def _texts_of(self, lacking: Sequence[Gap]) -> Iterator[tuple[int, Chunk]]:
        runs = [(gap.version, gap.generation, gap.low, gap.high) for gap in lacking]
        return self.reader.scan_runs(runs, _text_fields)

    def find_text(self, query: Node, scopes: Sequence[Scope], *, k: int | None = None) -> Hits:
        """Rows with a text that matches."""
        self._search_after_fork()
        seen = [
            number
            for number, scope in enumerate(scopes)
            if has_text(scope, self.schema(scope.version.schema_id))
        ]
        wanted = self._runs_of([scopes[number].version for number in seen])
        with self._text_lock:
            db = self._opened_index()
            self._index_descriptions(db)  # they count for the ranks, as in the embedded store
            upto = {row[:2]: row[2] for row in db.execute(UPTO).fetchall()}
            complete(db, gaps(wanted, upto), self._texts_of)
            return search(db, query, places_of(seen, wanted), scopes, k)

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

    # -- code and descriptions

    def find_code(self, query: Node) -> np.ndarray:
        """Cells whose code matches."""
        self._search_after_fork()
        with self._text_lock:
            db = self._opened_index()
            cells = self._index_code(db)
            found = matching_sources(db, query)
        return cells[np.isin(cells[:, 2], found), :2]

    def _index_code(self, db: Connection) -> np.ndarray:
        """Every cell with the number of its text: int64, shape (n, 3). One request, two where there is new code."""
        while True:
            cells = self.client.query(CELL_DIGESTS)
            fresh = {
                digest: [session, cell] for session, cell, digest in cells if digest not in self._sources
            }
            for digest, text in self.client.query(CELL_TEXTS, cells=list(fresh.values())) if fresh else ():
                self._sources[digest] = add_source(db, text)
            if fresh.keys() <= self._sources.keys():  # else a cell was replaced between the two requests
                break
        numbered = [(session, cell, self._sources[digest]) for session, cell, digest in cells]
        return np.array(numbered, np.int64).reshape(-1, 3)

    def find_descriptions(self, query: Node) -> list[Description]:
        """Descriptions that match."""
        self._search_after_fork()
        with self._text_lock:
            db = self._opened_index()
            rows = self._index_descriptions(db)
            found = matching(db, query, (DESCRIPTIONS_FROM, (1 << 63) - 1))
            numbers = [self._described[row["_key"]] for row in rows]
        wanted = set((found - DESCRIPTIONS_FROM).tolist())
        newest: dict[tuple[Any, ...], tuple[Any, int]] = {}
        for row, number in zip(rows, numbers, strict=True):
            key = (row["list"], row["session_of"], row["label"])
            newest.pop(key, None)  # the newest one takes its place in the order, too
            newest[key] = (row, number)
        return [description_of(row) for row, number in newest.values() if number in wanted]

    def _index_descriptions(self, db: Connection) -> list[dict[str, Any]]:
        """Every description as stored, the superseded ones too, oldest first; all of them are in the index now."""
        rows = self.client.query(DESCRIPTIONS)
        for row in rows:
            if row["_key"] not in self._described:
                number = len(self._described)
                insert_texts(db, [(DESCRIPTIONS_FROM + number, fts.prose(row["text"]))])
                self._described[row["_key"]] = number
        return rows

    # -- who wrote a row

    def written(self, versions: Sequence[Version]) -> Spans:
        """Who wrote which rows."""
        rows = self.client.query(WRITTEN, wanted=_wanted(versions)) if versions else []
        scope, start, stop, session_id, cell, time_us = np.array(rows, np.int64).reshape(-1, 6).T.copy()
        return Spans(scope, start, stop, session_id, cell, time_us.view("datetime64[us]"))


def _wanted(versions: Sequence[Version]) -> list[list[int]]:
    return [
        [number, version.list_id, version.generation, version.total]
        for number, version in enumerate(versions)
    ]


def _text_fields(schema: pa.Schema) -> list[str]:
    return [column.field for column in frames.text_columns(schema)]
