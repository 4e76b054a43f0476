"""Edges in the catalogue: written with their batch, found by either end through bins of positions.

A plain index cannot find intervals. Each edge is filed under the smallest bin (of 1, 16, 256 … positions) that holds all its
children, and under one for its parents; a query asks for the dozen bins that hold a position.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from tablevault_pd.store import Problem, Version
from tablevault_pd.store.edges import (
    Edge,
    EdgeQuery,
    EdgeSummary,
    EdgeTable,
    GenerationKey,
    ListHistory,
    Writers,
    bin_of,
    few_spans,
    stored_form,
)
from tablevault_pd.store.embedded.attempts import check_attempt
from tablevault_pd.store.embedded.versions import BY_NUMBER, NEWEST_OF_GENERATION, erased_rows, version_of
from tablevault_pd.store.engine.int_codec import MISPLACED, edge_table_of, pack, unreadable
from tablevault_pd.store.pieces import Pieces
from tablevault_pd.store.times import to_time
from tablevault_pd.store.types import ListInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from sqlite3 import Connection

    from tablevault_pd.store.embedded.catalog import SqliteCatalog

INSERT_EDGE = """
INSERT INTO edges (list, version, generation, start, rows, level, bin, parent_list, parent_version, parent_generation,
                   parent, span, parent_level, parent_bin, basis, form, step, children, parents)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_EDGE = """
SELECT e.list, e.version, e.generation, e.start, e.rows, e.parent_list, e.parent_version, e.parent_generation, e.parent,
       e.span, e.basis, e.form, e.step, e.children, e.parents
FROM edges e
"""
# The spans come as JSON, so that one statement serves one row and thousands. The last level has one bin. A bin may hold edges of
# other rows, too, whose positions take long to unpack: those beyond all spans are left out.
_WANTED = """
WITH spans AS MATERIALIZED (
    SELECT json_extract(value, '$[0]') AS low, json_extract(value, '$[1]') - 1 AS last FROM json_each(:spans)),
levels (level, bits) AS (VALUES (0, 0), (1, 4), (2, 8), (3, 12), (4, 16), (5, 20), (6, 24), (7, 28), (8, 32), (9, 36), (10, 40),
                                (11, 63)),
wanted AS MATERIALIZED (
    SELECT DISTINCT level, low >> bits AS low, max(low, last) >> bits AS high FROM spans, levels)
"""
EDGES_BY_CHILD = f"""
{_WANTED} {_EDGE}
WHERE e.id IN (SELECT f.id FROM wanted w CROSS JOIN edges f ON f.list = :list AND f.generation = :generation
               AND f.level = w.level AND f.bin BETWEEN w.low AND w.high
               WHERE f.start <= :last AND f.start + max(f.rows, 1) > :low)
ORDER BY e.start, e.id
"""  # noqa: S608  # constants
EDGES_BY_PARENT = f"""
{_WANTED} {_EDGE}
WHERE e.id IN (SELECT f.id FROM wanted w CROSS JOIN edges f ON f.parent_list = :list AND f.parent_generation = :generation
               AND f.parent_level = w.level AND f.parent_bin BETWEEN w.low AND w.high
               WHERE f.parent <= :last AND f.parent + max(f.span, 1) > :low)
ORDER BY e.id
"""  # noqa: S608  # constants
ALL_BY_CHILD = _EDGE + "WHERE e.list = :list ORDER BY e.generation, e.start, e.id"
ALL_BY_PARENT = _EDGE + "WHERE e.parent_list = :list ORDER BY e.id"
EDGES_OF_BATCH = _EDGE + "WHERE e.list = ? AND e.generation = ? AND e.version = ? ORDER BY e.start, e.id"
# From the batch that wrote the row :low on.
WRITERS = """
SELECT start, rows, version, coalesce(session, -1), coalesce(cell, -1) FROM batches
WHERE list = :list AND generation = :generation AND rows > 0 AND start < :high
  AND start >= coalesce((SELECT max(start) FROM batches WHERE list = :list AND generation = :generation
                         AND rows > 0 AND start <= :low), 0)
ORDER BY start
"""
SUMMARIES = """
SELECT e.parent_list, e.parent_version, e.list, e.version, b.rows, coalesce(min(nullif(e.basis, 0)), 0), b.session, b.cell, b.time
FROM edges e JOIN batches b ON b.list = e.list AND b.version = e.version
GROUP BY e.parent_list, e.parent_version, e.list, e.version ORDER BY b.time, e.list, e.version, e.parent_list, e.parent_version
"""
# Edges are read a page at a time; those that reach beyond the rows of either end come with the reason.
CHECK_EDGES = """
SELECT e.id, l.name, e.version, e.form, e.step, e.rows, e.children, e.parents,
       e.start, e.level, e.bin, e.parent, e.parent + e.span, e.parent_level, e.parent_bin, e.generation <> b.generation OR
       e.start < b.start OR e.start + e.rows > b.start + b.rows OR e.form > 0 AND e.parent + e.span > (
           SELECT coalesce(max(p.start + p.rows), 0) FROM batches p
           WHERE p.list = e.parent_list AND p.generation = e.parent_generation AND p.version <= e.parent_version)
FROM edges e JOIN lists l ON l.id = e.list JOIN batches b ON b.list = e.list AND b.version = e.version
WHERE e.id > ? ORDER BY e.id LIMIT 1000
"""
# Named, as the planner would look through all batches of the list for one without its rows.
LIST_FACTS = """
SELECT l.name, NOT EXISTS (SELECT 1 FROM layouts y WHERE y.list = l.id),
       EXISTS (SELECT 1 FROM batches b INDEXED BY batches_gone WHERE b.list = l.id AND b.gone = 1)
       OR EXISTS (SELECT 1 FROM erased e WHERE e.list = l.id)
FROM lists l WHERE l.id = ?
"""
KEPT = "SELECT generation, start, start + rows FROM segments WHERE list = ? AND rows > 0 ORDER BY generation, start"
# One seek for each generation, however many edges there are.
PARENT_GENERATIONS = """
WITH RECURSIVE found (generation) AS (
    SELECT min(parent_generation) FROM edges WHERE parent_list = :list
    UNION ALL
    SELECT (SELECT min(e.parent_generation) FROM edges e WHERE e.parent_list = :list AND e.parent_generation > found.generation)
    FROM found WHERE generation IS NOT NULL)
SELECT generation FROM found WHERE generation IS NOT NULL
"""
NOTE_READ = "INSERT OR IGNORE INTO reads (session, list, version) VALUES (?, ?, ?)"
READS = """
SELECT r.session, l.name, r.version FROM reads r JOIN lists l ON l.id = r.list
WHERE :sessions IS NULL OR r.session IN (SELECT value FROM json_each(:sessions)) ORDER BY r.session, r.rowid
"""
_MAX_SPANS = 512
_BY_SIDE = {"child": (EDGES_BY_CHILD, ALL_BY_CHILD), "parent": (EDGES_BY_PARENT, ALL_BY_PARENT)}


class LineageEdges:
    """Edges between rows in one vault folder, and what a walk along them needs to know."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog

    def edges(self, queries: Sequence[EdgeQuery], *, side: Literal["child", "parent"]) -> EdgeTable:
        some, every = _BY_SIDE[side]
        rows: list[tuple[Any, ...]] = []
        with self._catalog.reading() as db:
            for query in queries:
                if query.generation is None:
                    rows += db.execute(every, {"list": query.list}).fetchall()
                    continue
                spans = few_spans(query.spans, _MAX_SPANS)
                place = {"list": query.list, "generation": query.generation, "spans": json.dumps(spans)}
                lows, stops = zip(*spans, strict=True) if spans else ([0], [0])
                rows += db.execute(some, place | {"low": min(lows), "last": max(stops) - 1}).fetchall()
            return edge_table_of(rows)

    def edges_of_batch(self, version: Version) -> EdgeTable:
        with self._catalog.reading() as db:
            cursor = db.execute(EDGES_OF_BATCH, (version.list_id, version.generation, version.version))
            return edge_table_of(cursor.fetchall())

    def edge_summaries(self) -> list[EdgeSummary]:
        with self._catalog.reading() as db:
            rows = db.execute(SUMMARIES).fetchall()
        return [
            EdgeSummary(a, m, b, n, count, basis, session, cell, to_time(time).isoformat())
            for a, m, b, n, count, basis, session, cell, time in rows
        ]

    def writers(self, places: Sequence[tuple[int, int, int, int]]) -> list[Writers]:
        writers = []
        with self._catalog.reading() as db:
            for place in places:
                binds = dict(zip(("list", "generation", "low", "high"), map(int, place), strict=True))
                writers.append(Writers.of(db.execute(WRITERS, binds).fetchall()))
        return writers

    def describe_lists(self, lists: Sequence[int] = (), versions: Sequence[tuple[int, int]] = ()) -> ListInfo:
        if len(lists) + len(versions) == 1:  # one statement sees one moment
            with self._catalog.reading() as db:
                info = _facts(db, lists, versions)
            if all(history.stored is None for history in info.lists.values()):
                return info
        return self._catalog.snapshot(_facts, lists, versions)

    def parent_generations(self, lists: Sequence[int]) -> tuple[Mapping[int, Sequence[int]], bool]:
        with self._catalog.reading() as db:
            rows = {
                list_id: db.execute(PARENT_GENERATIONS, {"list": int(list_id)}).fetchall()
                for list_id in lists
            }
            return {
                list_id: [row[0] for row in generations]
                for list_id, generations in rows.items()
                if generations
            }, False

    def newest_of_generations(self, generations: Sequence[GenerationKey]) -> list[Version]:
        with self._catalog.reading() as db:
            rows = [db.execute(NEWEST_OF_GENERATION, key).fetchone() for key in generations]
            return [version_of(row) for row in rows if row is not None]

    def note_reads(
        self, session_id: int, reads: Sequence[tuple[int, int]], *, attempt: int | None = None
    ) -> None:
        self._catalog.write(_insert_reads_by, session_id, reads, attempt)

    def reads(self, session_ids: Sequence[int] | None = None) -> list[tuple[int, str, int]]:
        ids = None if session_ids is None else json.dumps([int(session_id) for session_id in session_ids])
        with self._catalog.reading() as db:
            return db.execute(READS, {"sessions": ids}).fetchall()


def _facts(db: Connection, lists: Sequence[int], versions: Sequence[tuple[int, int]]) -> ListInfo:
    histories, versions_by_number = {}, {}
    for list_id in map(int, lists):
        for name, in_place, any_gone in db.execute(LIST_FACTS, (list_id,)).fetchall():
            stored = Pieces.of(db.execute(KEPT, (list_id,)).fetchall()) if any_gone else None
            stored = stored.without(erased_rows(db, list_id)) if stored is not None else None
            histories[list_id] = ListHistory(name, bool(in_place), stored)
    for list_id, number in versions:
        for row in db.execute(BY_NUMBER, (int(list_id), int(number))).fetchall():
            versions_by_number[int(list_id), int(number)] = version_of(row)
    return ListInfo(histories, versions_by_number)


def damaged_edges(catalog: SqliteCatalog) -> Iterator[Problem]:
    """Edges that cannot be read, or that name rows which never were."""
    last = 0
    while True:
        with catalog.reading() as db:
            rows = db.execute(CHECK_EDGES, (last,)).fetchall()
        if not rows:
            return
        last = rows[-1][0]
        for _, name, version, form, step, count, children, parents, *places, beyond in rows:
            detail = (
                "it names rows that were never there"
                if beyond
                else unreadable(form, step, count, children, parents) or _misplaced(count, *places)
            )
            if detail:
                yield Problem("damage", "damaged edge", name, version, "catalog.db", detail)


def _misplaced(
    rows: int, start: int, level: int, bin_: int, low: int, high: int, parent_level: int, parent_bin: int
) -> str | None:
    """Whether an edge is filed where nobody looks for its rows."""
    right = (*bin_of(start, start + rows), *bin_of(low, high))
    return None if (level, bin_, parent_level, parent_bin) == right else MISPLACED


def insert_edges(db: Connection, version: Version, edges: Sequence[Edge]) -> None:
    """Write the edges of a batch, within its transaction."""
    db.executemany(INSERT_EDGE, [_row(version, edge) for edge in edges])


def _insert_reads_by(
    db: Connection, session_id: int, reads: Sequence[tuple[int, int]], attempt: int | None
) -> None:
    """Keep what this attempt of a session read."""
    check_attempt(db, session_id, attempt)
    insert_reads(db, session_id, reads)


def insert_reads(db: Connection, session_id: int, reads: Sequence[tuple[int, int]]) -> None:
    """Keep what a session read, within a transaction."""
    db.executemany(NOTE_READ, [(session_id, *read) for read in reads])


def _row(version: Version, edge: Edge) -> tuple[Any, ...]:
    start = version.start + edge.child
    packed = [None if values is None else pack(values) for values in (edge.children, edge.parents)]
    return (
        version.list_id, version.version, version.generation, start, edge.rows, *bin_of(start, start + edge.rows),
        edge.parent_list, edge.parent_version, edge.parent_generation, edge.parent, edge.span,
        *bin_of(edge.parent, edge.parent + edge.span), int(edge.basis), stored_form(edge.form), edge.step, *packed,
    )  # fmt: skip
