"""Sessions, their cells, and descriptions, as rows of the catalogue."""

from __future__ import annotations

import json
from array import array
from dataclasses import replace
from datetime import UTC, datetime
from itertools import repeat
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import Conflict, SessionNotFound
from tablevault_pd.store import Cell, Description, Session, SessionLabel
from tablevault_pd.store.embedded.attempts import check_attempt
from tablevault_pd.store.embedded.catalog_texts import add_code, add_description
from tablevault_pd.store.engine.fts_index import DESCRIPTIONS_FROM, matching
from tablevault_pd.store.session_types import free_run, same_session
from tablevault_pd.store.times import from_time, to_time, to_times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.text_query import Node

# The last one is long and lies on pages of its own: it is read only on request.
COLUMNS = "id, name, run, user, host, pid, parent, started, ended, heartbeat, beat_s, paused, outcome, error, tags, params, attempt"
NO_INFO: Mapping[str, Any] = {}  #: of a session that is read without it
NEXT_RUN = "SELECT coalesce(max(run), 0) + 1 FROM sessions WHERE name = ?"
INSERT_SESSION = """
INSERT INTO sessions (name, run, user, host, pid, parent, started, heartbeat, beat_s, tags, params, info, timeline)
VALUES (?, ?, ?, ?, ?, (SELECT id FROM sessions WHERE id = ?), ?, ?, ?, ?, ?, ?, ?)
"""
REOPEN_SESSION = """
UPDATE sessions SET user = ?, host = ?, pid = ?, parent = (SELECT id FROM sessions WHERE id = ?), heartbeat = ?, beat_s = ?,
    tags = ?, params = ?, info = ?, ended = NULL, paused = 0, outcome = NULL, error = NULL, attempt = attempt + 1,
    timeline = json_patch(timeline, json_object(CAST(attempt + 1 AS TEXT),
        json_object('began', ?, 'previous_ended', coalesce(ended, heartbeat, started))))
WHERE id = ? AND heartbeat IS ?
"""
# What was asked of a process that is no more is not asked of the one that takes its place.
FORGET_REQUESTS = "UPDATE requests SET acknowledged = ? WHERE session = ? AND acknowledged IS NULL"
COPY_SESSION = """
INSERT INTO sessions (name, run, user, host, pid, started, beat_s) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
BRING_UP_TO_DATE = """
UPDATE sessions SET user = ?, host = ?, pid = ?, parent = ?, ended = ?, heartbeat = ?, beat_s = ?, paused = ?, outcome = ?,
    error = ?, tags = ?, params = ?, info = ?, attempt = ?, timeline = ?
WHERE id = ?
"""
UPDATE_SESSION = """
UPDATE sessions SET started = ?, ended = ?, heartbeat = ?, beat_s = ?, paused = ?, outcome = ?, error = ?, tags = ?, params = ?
WHERE id = ?
"""
# It may come after the end, when the next attempt has begun.
SET_INFO = "UPDATE sessions SET info = ? WHERE id = ? AND attempt = coalesce(?, attempt)"
ALL_SESSIONS = f"SELECT {COLUMNS} FROM sessions ORDER BY id"  # noqa: S608  # a constant
SESSIONS_NAMED = f"SELECT {COLUMNS} FROM sessions WHERE name = ? ORDER BY id"  # noqa: S608  # a constant
# A JSON array carries any number of ids in one bound value.
SESSIONS_BY_ID = f"SELECT {COLUMNS} FROM sessions WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"  # noqa: S608  # a constant
INFO_OF = "SELECT id, info FROM sessions WHERE id IN (SELECT value FROM json_each(?))"
TAGS_OF = "SELECT tags FROM sessions WHERE id = ?"
SET_TAGS = "UPDATE sessions SET tags = ? WHERE id = ?"
TAGS_OF_VERSION = "SELECT tags FROM batches WHERE list = ? AND version = ?"
SET_TAGS_OF_VERSION = "UPDATE batches SET tags = ? WHERE list = ? AND version = ?"
PUT_CELL = "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CELLS = """
SELECT session, cell, text, started, duration_s, outcome, error, traceback, execution_count, notebook, path, until, names
FROM cells
"""
ALL_CELLS = f"{_CELLS} ORDER BY session, cell"
CELLS_OF = f"{_CELLS} WHERE session IN (SELECT value FROM json_each(?)) ORDER BY session, cell"  # noqa: S608  # a constant
INSERT_DESCRIPTION = """
INSERT INTO descriptions (list, session_of, label, text, vector, session, time) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
DESCRIPTIONS = """
SELECT id, label, text, list, session_of, vector, session, time FROM descriptions
WHERE id IN (SELECT max(id) FROM descriptions GROUP BY list, session_of, label) ORDER BY id
"""
ALL_DESCRIPTIONS = (
    "SELECT id, label, text, list, session_of, vector, session, time FROM descriptions ORDER BY id"
)
# -- values one name at a time, so that filters need not read whole sessions

# json_each takes any key as a bound value, which a JSON path would not. Parameters with NaN or infinity are JSON for Python but
# not for SQLite: they are left to reading the session.
PARAM = """
SELECT s.id, j.value, j.type
FROM sessions s, json_each(CASE WHEN json_valid(s.params) THEN s.params ELSE '{}' END) j WHERE j.key = ?
UNION ALL SELECT id, NULL, 'object' FROM sessions WHERE NOT json_valid(params)
"""
METRIC = "SELECT session, value FROM latest WHERE metric = ?"
SESSION_IDS = "SELECT id FROM sessions ORDER BY id"
SESSION_LABELS = "SELECT id, name, run, started, attempt FROM sessions ORDER BY id"
SESSION_LABELS_OF = """
SELECT id, name, run, started, attempt FROM sessions WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id
"""
NESTED = object()  #: stands for a list, a dict, or an integer that SQLite does not hold


class Descriptions:
    """What was said about the lists and sessions of one vault folder."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog

    def describe(self, description: Description, *, attempt: int | None = None) -> None:
        self._catalog.write(_describe_by, description, attempt)

    def descriptions(self, *, history: bool = False) -> list[Description]:
        with self._catalog.reading() as db:
            rows = db.execute(ALL_DESCRIPTIONS if history else DESCRIPTIONS).fetchall()
            return [to_description(row) for _, *row in rows]

    def search_descriptions(self, query: Node) -> list[Description]:
        return self._catalog.snapshot(_find_descriptions, query)


class SessionRecords:
    """The sessions of one vault folder, and the code they ran."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog

    def open_session(self, session: Session) -> Session:
        return self._catalog.write(_insert_session, session)

    def reopen_session(self, session: Session, *, last_beat: datetime | None) -> Session:
        return self._catalog.write(_reopen_session, session, last_beat)

    def put_session(self, session: Session, timeline: Mapping[str, Any]) -> Session:
        return self._catalog.write(_put_session, session, timeline)

    def update_session(self, session_id: int, /, **changes: Any) -> None:
        self._catalog.write(change_session, session_id, changes)

    def change_tags(
        self,
        *,
        sessions: Sequence[int] = (),
        versions: Sequence[tuple[int, int]] = (),
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
    ) -> None:
        targets: list[tuple[str, str, tuple[int, ...]]] = [
            (TAGS_OF, SET_TAGS, (int(key),)) for key in sessions
        ]
        targets += [(TAGS_OF_VERSION, SET_TAGS_OF_VERSION, pair) for pair in versions]
        self._catalog.write(_change_tags, targets, add, remove)

    def sessions(
        self, ids: Sequence[int] | None = None, *, name: str | None = None, info: bool = False
    ) -> list[Session]:
        with self._catalog.reading() as db:
            sessions = to_sessions(session_rows(db, ids, name))
            if not info:
                return sessions
            infos = dict(db.execute(INFO_OF, (json.dumps([session.id for session in sessions]),)).fetchall())
        return [replace(session, info=json.loads(infos[session.id])) for session in sessions]

    def session_values(self, column: str) -> dict[int, Any]:
        """The value of one parameter or metric, by session; nested values are left to reading the session."""
        kind, _, name = column.partition(".")
        with self._catalog.reading() as db:
            if kind == "metrics":
                return dict(db.execute(METRIC, (name,)).fetchall())
            rows = db.execute(PARAM, (name,)).fetchall()
        return {key: _plain_value(value, kind) for key, value, kind in rows}

    def session_labels(self, ids: Sequence[int] | None = None) -> list[SessionLabel]:
        with self._catalog.reading() as db:
            if ids is None:
                rows = db.execute(SESSION_LABELS)
            else:
                rows = db.execute(SESSION_LABELS_OF, (json.dumps([int(key) for key in ids]),))
            return [SessionLabel(*row) for row in rows]

    def session_ids(self) -> list[int]:
        with self._catalog.reading() as db:
            return [key for (key,) in db.execute(SESSION_IDS).fetchall()]

    def put_cell(self, cell: Cell) -> None:
        self._catalog.write(insert_cell, cell)

    def cells(self, session_ids: Sequence[int] | None = None) -> list[Cell]:
        with self._catalog.reading() as db:
            if session_ids is None:
                rows = db.execute(ALL_CELLS).fetchall()
            else:
                rows = db.execute(CELLS_OF, (json.dumps([int(key) for key in session_ids]),)).fetchall()
            return [_cell(*row) for row in rows]


def _change_tags(
    db: Any, targets: Sequence[tuple[str, str, tuple[int, ...]]], add: Sequence[str], remove: Sequence[str]
) -> None:
    for read, write, key in targets:
        for (text,) in db.execute(read, key).fetchall():
            tags = [tag for tag in dict.fromkeys([*json.loads(text), *add]) if tag not in remove]
            db.execute(write, (json.dumps(tags), *key))


def _find_descriptions(db: Any, query: Node) -> list[Description]:
    matches = matching(db, query, (DESCRIPTIONS_FROM, (1 << 63) - 1))
    ids = set((matches - DESCRIPTIONS_FROM).tolist())
    return [to_description(row) for key, *row in db.execute(DESCRIPTIONS).fetchall() if key in ids]


def _insert_session(db: Any, session: Session) -> Session:
    run = db.execute(NEXT_RUN, (session.name,)).fetchone()[0]
    now = datetime.now(UTC)
    key = db.execute(
        INSERT_SESSION,
        (session.name, run, session.user, session.host, session.pid, session.parent, from_time(now), from_time(now),
         session.beat_s, json.dumps(session.tags), json.dumps(dict(session.params)), json.dumps(dict(session.info)),
         json.dumps({0: {"began": from_time(now)}})),
    ).lastrowid  # fmt: skip
    return replace(session, id=key, run=run, started=now, heartbeat=now)


def _put_session(db: Any, session: Session, timeline: Mapping[str, Any]) -> Session:
    named = to_sessions(session_rows(db, None, session.name))
    present = same_session(session, named)
    if present is None:
        run = free_run(session, named)
        row = (
            session.name,
            run,
            session.user,
            session.host,
            session.pid,
            from_time(session.started),
            session.beat_s,
        )
        key = db.execute(COPY_SESSION, row).lastrowid
    else:
        key, run = present.id, present.run
    tags = session.tags if present is None else tuple(dict.fromkeys([*session.tags, *present.tags]))
    db.execute(
        BRING_UP_TO_DATE,
        (session.user, session.host, session.pid, session.parent, _maybe(session.ended), _maybe(session.heartbeat),
         session.beat_s, session.paused, session.outcome, session.error, json.dumps(tags), json.dumps(dict(session.params)),
         json.dumps(dict(session.info)), session.attempt, json.dumps(dict(timeline)), key),
    )  # fmt: skip
    return replace(session, id=key, run=run, tags=tags)


def _reopen_session(db: Any, session: Session, last_beat: datetime | None) -> Session:
    now = from_time(datetime.now(UTC))
    changed = db.execute(
        REOPEN_SESSION,
        (session.user, session.host, session.pid, session.parent, now, session.beat_s, json.dumps(session.tags),
         json.dumps(dict(session.params)), json.dumps(dict(session.info)), now, session.id, _maybe(last_beat)),
    ).rowcount  # fmt: skip
    if not changed:
        raise Conflict(
            f"The session {session.label} cannot be continued: it beats again, or another process took it."
        )
    db.execute(FORGET_REQUESTS, (now, session.id))
    return to_session(db.execute(SESSIONS_BY_ID, (json.dumps([session.id]),)).fetchone())


def session_rows(db: Any, ids: Sequence[int] | None, name: str | None) -> list[tuple[Any, ...]]:
    """Rows for :func:`to_sessions`: by id, by name, or all."""
    if ids is not None:
        rows = db.execute(SESSIONS_BY_ID, (json.dumps([int(key) for key in ids]),))
    elif name is not None:
        rows = db.execute(SESSIONS_NAMED, (name,))
    else:
        rows = db.execute(ALL_SESSIONS)
    return rows.fetchall()  # type: ignore[no-any-return]  # sqlite3 types rows as Any


def change_session(
    db: Any, session_id: int, changes: Mapping[str, Any], *, attempt: int | None = None
) -> None:
    """Set fields of a session inside an open transaction; its info only while `attempt`, if one is given, is the newest."""
    others = dict(changes)
    info = others.pop("info", None)
    if info is not None:
        db.execute(SET_INFO, (json.dumps(dict(info)), session_id, attempt))
    if not others and attempt is not None:
        return  # of a beat, whose session is there
    row = db.execute(SESSIONS_BY_ID, (json.dumps([session_id]),)).fetchone()
    if row is None:
        raise SessionNotFound(f"No session with the id {session_id} is in this vault.")
    new = replace(to_session(row), **others)
    db.execute(
        UPDATE_SESSION,
        (from_time(new.started), _maybe(new.ended), _maybe(new.heartbeat), new.beat_s, new.paused, new.outcome, new.error,
         json.dumps(new.tags), json.dumps(dict(new.params)), session_id),
    )  # fmt: skip


def insert_cell(db: Any, cell: Cell) -> None:
    """Keep a cell inside an open transaction."""
    db.execute(
        PUT_CELL,
        (cell.session_id, cell.cell, cell.text, from_time(cell.started), cell.duration_s, cell.outcome, cell.error,
         cell.traceback, cell.execution_count, cell.notebook, cell.path, cell.until, cell.names),
    )  # fmt: skip
    add_code(db, cell.session_id, cell.cell, cell.text)


def _describe_by(db: Any, description: Description, attempt: int | None) -> None:
    """Keep what this attempt of a session says."""
    check_attempt(db, description.session_id, attempt)
    insert_description(db, description)


def insert_description(db: Any, description: Description) -> None:
    """Insert a description inside an open transaction."""
    vector = None if description.vector is None else array("d", description.vector).tobytes()
    time = from_time(description.time or datetime.now(UTC))
    key = db.execute(
        INSERT_DESCRIPTION,
        (
            description.list_id,
            description.session_of,
            description.label,
            description.text,
            vector,
            description.session_id,
            time,
        ),
    ).lastrowid
    add_description(db, key, description.text)


def _cell(session_id: int, number: int, text: str, started: int, *ending: Any) -> Cell:
    return Cell(session_id, number, text, to_time(started), *ending)


def _maybe(time: datetime | None) -> int | None:
    return None if time is None else from_time(time)


def to_session(row: tuple[Any, ...]) -> Session:
    """A row of :data:`COLUMNS` as a Session."""
    return to_sessions([row])[0]


def to_sessions(rows: Sequence[tuple[Any, ...]]) -> list[Session]:
    """Rows of :data:`COLUMNS` as Sessions, without their info: the times and the parameters of all are read in one go."""
    if not rows:
        return []
    (keys, names, runs, users, hosts, pids, parents, started, ended, heartbeats, beats_s, paused, outcomes, errors, tags, params,
     attempts) = zip(*rows, strict=True)  # fmt: skip
    tags_of = {text: tuple(json.loads(text)) for text in set(tags)}
    all_params = json.loads(f"[{','.join(params)}]")
    return list(
        map(
            Session, names, users, hosts, pids, to_times(started), keys, runs, parents, to_times(ended), to_times(heartbeats),
            outcomes, errors, map(tags_of.__getitem__, tags), all_params, repeat(NO_INFO), beats_s, map(bool, paused),
            repeat(False), attempts,
        )
    )  # fmt: skip


def to_description(row: Sequence[Any]) -> Description:
    """A row of :data:`DESCRIPTIONS` without its id as a Description."""
    label, text, list_id, session_of, vector, session_id, time = row
    numbers = None if vector is None else tuple(array("d", vector))
    return Description(label, text, list_id, session_of, numbers, session_id, to_time(time))


def _plain_value(value: Any, kind: str) -> Any:
    if kind in ("true", "false"):
        return kind == "true"
    if kind in ("object", "array") or (kind == "integer" and isinstance(value, float)):
        return NESTED
    return value
