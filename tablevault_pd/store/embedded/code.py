"""Slices and confirmations in the catalogue, and searching the code of slices and of whole sessions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.store.embedded.attempts import check_attempt
from tablevault_pd.store.embedded.tables import ROWS_CONFIRMED
from tablevault_pd.store.engine.fts_index import add_source, integers, matching_sources, source_ids
from tablevault_pd.store.engine.slices import Statement, cells_of, code_of, stored_part
from tablevault_pd.store.session_types import Confirmation, Part, WrittenCode, runs_together
from tablevault_pd.store.text_query import matching_ids
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.text_query import Leaf, Node

INSERT_STATEMENT = """
INSERT INTO statements (digest, path, kind, names, text, tree, source) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
STATEMENT = "SELECT id, source FROM statements WHERE digest = ?"
STATEMENTS = """
SELECT id, path, kind, names, text, tree FROM statements WHERE id IN (SELECT value FROM json_each(?))
"""
COUNTS = """
SELECT c.session, c.cell, c.execution_count FROM json_each(?) j
JOIN cells c ON c.session = j.value ->> 0 AND c.cell = j.value ->> 1 WHERE c.execution_count IS NOT NULL
"""
SLICE = "SELECT id FROM slices WHERE digest = ?"
INSERT_SLICE = "INSERT INTO slices (digest, parts, unresolved) VALUES (?, ?, ?)"
INSERT_SLICE_SOURCE = "INSERT OR IGNORE INTO slice_sources (source, slice) VALUES (?, ?)"
PUT_WRITTEN = "INSERT OR REPLACE INTO written_code (session, cell, line, slice) VALUES (?, ?, ?, ?)"
WRITTEN = """
SELECT w.session, w.cell, w.line, s.parts, s.unresolved
FROM json_each(?) j
JOIN written_code w ON w.session = j.value ->> 0 AND w.cell = j.value ->> 1 AND w.line = j.value ->> 2
JOIN slices s ON s.id = w.slice
"""
SLICES_OF_SOURCES = """
SELECT json_group_array(DISTINCT slice) FROM slice_sources WHERE source IN (SELECT value FROM json_each(?))
"""
ALL_SLICES = "SELECT json_group_array(id) FROM slices"
PLACES = """
SELECT json_group_array(session), json_group_array(cell), json_group_array(line) FROM written_code
WHERE slice IN (SELECT value FROM json_each(?))
"""
OPEN_PLACES = """
SELECT w.session, w.cell, w.line FROM slices s JOIN written_code w ON w.slice = s.id WHERE s.unresolved != '[]'
"""
# What runs, or was lost, and so has no slice of all that it executed.
OPEN_SESSIONS = """
SELECT id, -1, 0 FROM sessions WHERE outcome IS NULL AND id NOT IN (SELECT session FROM written_code WHERE cell = -1)
"""
UNSLICED = "SELECT DISTINCT session, cell, 0 FROM batches WHERE cell IS NOT NULL AND line IS NULL"
CELLS_OF_SOURCES = """
SELECT json_group_array(session), json_group_array(cell) FROM (
    SELECT session, cell FROM cell_sources WHERE source IN (SELECT value FROM json_each(?)) ORDER BY session, cell
)
"""
SESSIONS_OF_SOURCES = """
SELECT json_group_array(session) FROM (
    SELECT session FROM cell_sources WHERE source IN (SELECT value FROM json_each(?1))
    UNION SELECT i.session FROM sources s JOIN session_sources i ON i.sha256 = s.sha256
    WHERE s.source IN (SELECT value FROM json_each(?1))
)
"""
ALL_SESSIONS = "SELECT json_group_array(id) FROM sessions"
FORGET_CONFIRMATION = """
DELETE FROM confirmations WHERE list = ? AND version = ? AND session IS ? AND cell IS ? AND line IS ?
"""
INSERT_CONFIRMATION = (
    "INSERT INTO confirmations (list, version, session, cell, line, time) VALUES (?, ?, ?, ?, ?, ?)"
)
CONFIRMATIONS = "SELECT list, version, session, cell, line, time FROM confirmations ORDER BY id"
CONFIRMATIONS_OF = """
SELECT list, version, session, cell, line, time FROM confirmations
WHERE list IN (SELECT value FROM json_each(?)) ORDER BY id
"""


HAS_ROWS_CONFIRMED = "SELECT 1 FROM sqlite_master WHERE name = 'rows_confirmed'"
SAME_ROWS_CONFIRMED = """
SELECT id, rows FROM rows_confirmed
WHERE list = ? AND version = ? AND session IS ? AND cell IS ? AND line IS ? AND made_from = ?
"""
FORGET_ROWS_CONFIRMED = "DELETE FROM rows_confirmed WHERE id = ?"
INSERT_ROWS_CONFIRMED = """
INSERT INTO rows_confirmed (after, list, version, session, cell, line, made_from, rows, time)
VALUES ((SELECT coalesce(max(id), 0) FROM confirmations), ?, ?, ?, ?, ?, ?, ?, ?)
"""
EVERY_CONFIRMATION = """
SELECT list, version, session, cell, line, time, NULL, '[]', id AS place, 0 AS number FROM confirmations
UNION ALL SELECT list, version, session, cell, line, time, rows, made_from, after, id FROM rows_confirmed
ORDER BY place, number
"""


class SliceStore:
    """Which code made what, in one vault folder."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog

    def written_code(self, places: Sequence[tuple[int, int, int]]) -> list[WrittenCode]:
        return self._catalog.snapshot(_written_code, json.dumps([list(map(int, place)) for place in places]))

    def put_code(self, code: Sequence[WrittenCode]) -> None:
        self._catalog.write(_put_code, code)

    def search_slices(self, query: Node) -> np.ndarray:
        """The (session, cell, line) whose slice matches, or has to be judged by its whole session and does."""
        return self._catalog.snapshot(_find_slices, query)

    def search_code_of_sessions(self, query: Node) -> np.ndarray:
        return self._catalog.snapshot(_find_sessions, query)

    def confirm(self, confirmation: Confirmation, *, attempt: int | None = None) -> None:
        self._catalog.write(_confirm_by, confirmation, attempt)

    def confirmations(self, lists: Sequence[int] | None = None) -> list[Confirmation]:
        with self._catalog.reading() as db:
            if db.execute(HAS_ROWS_CONFIRMED).fetchone() is not None:
                every = [_confirmation(*row[:8]) for row in db.execute(EVERY_CONFIRMATION).fetchall()]
                return [row for row in every if lists is None or row.list_id in lists]
            rows = (
                db.execute(CONFIRMATIONS)
                if lists is None
                else db.execute(CONFIRMATIONS_OF, (json.dumps([int(key) for key in lists]),))
            )
            return [_confirmation(*row) for row in rows.fetchall()]


def insert_code(db: Connection, code: WrittenCode) -> None:
    """Keep one slice in an open transaction."""
    parts = []
    sources = []
    for part in code.parts:
        statement, source = _statement(db, part)
        parts.append(stored_part(code, part, statement))
        sources.append(source)
    body, unresolved = json.dumps(parts), json.dumps(code.unresolved)
    digest = sha256(f"{body}\0{unresolved}".encode()).digest()
    row = db.execute(SLICE, (digest,)).fetchone()
    if row is None:
        row = (db.execute(INSERT_SLICE, (digest, body, unresolved)).lastrowid,)
        db.executemany(INSERT_SLICE_SOURCE, [(source, row[0]) for source in sources])
    db.execute(PUT_WRITTEN, (code.session_id, code.cell, code.line, row[0]))


def _statement(db: Connection, part: Part) -> tuple[int, int]:
    """The id of a statement, and that of its text in the index."""
    names = json.dumps(part.names)
    key = "\0".join([part.path or "", part.kind, names, part.text, part.tree])
    digest = sha256(key.encode(errors="replace")).digest()
    row = db.execute(STATEMENT, (digest,)).fetchone()
    if row is not None:
        return int(row[0]), int(row[1])
    source = add_source(db, part.text)
    values = (digest, part.path, part.kind, names, part.text, part.tree, source)
    return int(db.execute(INSERT_STATEMENT, values).lastrowid or 0), source


def reindex_code(db: Connection) -> None:
    """Index the code of slices and modules again, after the index was cleared."""
    for key, text in db.execute("SELECT id, text FROM statements").fetchall():
        db.execute("UPDATE statements SET source = ? WHERE id = ?", (add_source(db, text), key))
    for key, text in db.execute("SELECT sha256, text FROM sources").fetchall():
        db.execute("UPDATE sources SET source = ? WHERE sha256 = ?", (add_source(db, text), key))
    source_of = dict(db.execute("SELECT id, source FROM statements").fetchall())
    db.execute("DELETE FROM slice_sources")
    for key, parts in db.execute("SELECT id, parts FROM slices").fetchall():
        db.executemany(INSERT_SLICE_SOURCE, [(source_of[part[0]], key) for part in json.loads(parts)])


def _put_code(db: Connection, code: Sequence[WrittenCode]) -> None:
    for written in code:
        insert_code(db, written)


def _written_code(db: Connection, places: str) -> list[WrittenCode]:
    rows = [
        (*row[:3], json.loads(row[3]), json.loads(row[4]))
        for row in db.execute(WRITTEN, (places,)).fetchall()
    ]
    ids = sorted({part[0] for *_, parts, _ in rows for part in parts})
    statements: dict[int, Statement] = {
        key: (path, kind, json.loads(names), text, tree)
        for key, path, kind, names, text, tree in db.execute(STATEMENTS, (json.dumps(ids),)).fetchall()
    }
    cells: set[tuple[int, int]] = set().union(*(cells_of(row[0], row[3]) for row in rows))
    counts = {
        (session, cell): count
        for session, cell, count in db.execute(COUNTS, (json.dumps(sorted(cells)),)).fetchall()
    }
    return [
        code_of((session, cell, line), parts, unresolved, statements, counts)
        for session, cell, line, parts, unresolved in rows
    ]


def _find_slices(db: Connection, query: Node) -> np.ndarray:
    def leaf(what: Leaf) -> np.ndarray:
        return _of(db, SLICES_OF_SOURCES, source_ids(db, what)).ravel()

    slices = matching_ids(query, leaf, lambda: integers(db, ALL_SLICES)[0])
    places = [_of(db, PLACES, slices).T]
    by_session = np.array(db.execute(OPEN_PLACES).fetchall() + db.execute(OPEN_SESSIONS).fetchall(), np.int64)
    if len(by_session):
        places.append(by_session[np.isin(by_session[:, 0], _find_sessions(db, query))])
    unsliced = db.execute(UNSLICED).fetchall()
    if unsliced:
        cells = set(map(tuple, _of(db, CELLS_OF_SOURCES, matching_sources(db, query)).T.tolist()))
        places.append(np.array([place for place in unsliced if place[:2] in cells], np.int64).reshape(-1, 3))
    several = np.concatenate(places)
    ordered = several[np.lexsort(several.T[::-1])]
    is_new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))[: len(ordered)]
    distinct: np.ndarray = ordered[is_new]
    return distinct


def _find_sessions(db: Connection, query: Node) -> np.ndarray:
    def leaf(what: Leaf) -> np.ndarray:
        return _of(db, SESSIONS_OF_SOURCES, source_ids(db, what)).ravel()

    return matching_ids(query, leaf, lambda: integers(db, ALL_SESSIONS)[0])


def _of(db: Connection, statement: str, keys: np.ndarray) -> np.ndarray:
    return integers(db, statement, json.dumps(keys.tolist()))


def _confirm_by(db: Connection, confirmation: Confirmation, attempt: int | None) -> None:
    """Keep that this attempt of a session made rows again."""
    check_attempt(db, confirmation.session_id, attempt)
    confirm(db, confirmation)


def confirm(db: Connection, confirmation: Confirmation) -> None:
    """Keep that rows were made again, in an open transaction."""
    place = (
        confirmation.list_id,
        confirmation.version,
        confirmation.session_id,
        confirmation.cell,
        confirmation.line,
    )
    time = from_time(confirmation.time or datetime.now(UTC))
    if confirmation.rows is not None or confirmation.made_from:
        _confirm_rows(db, confirmation, place, time)
        return
    db.execute(FORGET_CONFIRMATION, place)  # of a place only the newest one counts
    db.execute(INSERT_CONFIRMATION, (*place, time))


def _confirm_rows(db: Connection, confirmation: Confirmation, place: tuple[Any, ...], time: int) -> None:
    """Of a place and what rows were made from, all rows count as made again when the last ones were."""
    if db.execute(HAS_ROWS_CONFIRMED).fetchone() is None:
        db.execute(ROWS_CONFIRMED)
    made_from, rows = json.dumps(confirmation.made_from), confirmation.rows
    for key, before in db.execute(SAME_ROWS_CONFIRMED, (*place, made_from)).fetchall():
        rows = None if before is None or rows is None else runs_together(json.loads(before), rows)
        db.execute(FORGET_ROWS_CONFIRMED, (key,))
    stored = None if rows is None else json.dumps(rows)
    db.execute(INSERT_ROWS_CONFIRMED, (*place, made_from, stored, time))


def _confirmation(
    list_id: int,
    version: int,
    session: int | None,
    cell: int | None,
    line: int | None,
    time: int,
    rows: str | None = None,
    made_from: str = "[]",
) -> Confirmation:
    runs = None if rows is None else runs_together(json.loads(rows))
    sources = tuple((list_id, number) for list_id, number in json.loads(made_from))
    return Confirmation(list_id, version, session, cell, line, to_time(time), runs, sources)
