"""Heartbeats, requests to sessions, and what sessions measured, as rows of the catalogue."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd.errors import SessionNotFound
from tablevault_pd.frames.buffers import empty
from tablevault_pd.store import (
    NO_STEP,
    Beat,
    BeatResponse,
    ControlRequest,
    Measures,
    ModuleSource,
    Overview,
    Timelines,
)
from tablevault_pd.store.embedded.attempts import check_attempt
from tablevault_pd.store.embedded.code import insert_code
from tablevault_pd.store.embedded.sessions import (
    change_session,
    insert_cell,
    session_rows,
    to_sessions,
)
from tablevault_pd.store.engine.fts_index import add_source
from tablevault_pd.store.engine.measures import MEASURES_SCHEMA, measures_table
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tablevault_pd.store import ControlKind
    from tablevault_pd.store.embedded.catalog import SqliteCatalog

WAITING = """
SELECT id, session, request, requested, acknowledged, exit_code, asked_by FROM requests
WHERE acknowledged IS NULL AND session IN (SELECT value FROM json_each(?)) ORDER BY id
"""
REQUESTS_BY_ID = """
SELECT id, session, request, requested, acknowledged, exit_code, asked_by FROM requests
WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id
"""
LAST_REQUEST = """
SELECT id, session, request, requested, acknowledged, exit_code, asked_by FROM requests
WHERE session = ? AND acknowledged IS NULL ORDER BY id DESC LIMIT 1
"""
STILL_OPEN = (
    "SELECT id FROM sessions WHERE outcome IS NULL AND id IN (SELECT value FROM json_each(?)) ORDER BY id"
)
INSERT_REQUEST = (
    "INSERT INTO requests (session, request, requested, exit_code, asked_by) VALUES (?, ?, ?, ?, ?)"
)
ACKNOWLEDGE = """
UPDATE requests SET acknowledged = ? WHERE acknowledged IS NULL AND id IN (SELECT value FROM json_each(?))
"""
ALIVE = "UPDATE sessions SET heartbeat = ? WHERE id = ?"
PAUSED = "UPDATE sessions SET paused = ? WHERE id = ?"
END = "UPDATE sessions SET ended = ?, heartbeat = ?, paused = 0, outcome = ?, error = ? WHERE id = ?"
# A beat that is sent again, because it seemed to fail, is known by its number.
INSERT_MEASURES = """
INSERT INTO measures (metric, session, attempt, block, number, points) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (metric, session, attempt, block) DO UPDATE
  SET points = CAST(points || excluded.points AS BLOB), number = excluded.number WHERE excluded.number > number
"""
# SQLite has no NaN: it is NULL here, and stays NaN in the packed values.
PUT_LATEST = "INSERT OR REPLACE INTO latest (session, metric, step, time, value) VALUES (?, ?, ?, ?, ?)"
INSERT_SOURCE = "INSERT OR IGNORE INTO sources (sha256, text, source) VALUES (?, ?, ?)"
INSERT_SESSION_SOURCE = (
    "INSERT OR IGNORE INTO session_sources (session, path, sha256, module, cell) VALUES (?, ?, ?, ?, ?)"
)
ALL_LATEST = "SELECT session, metric, value FROM latest"
LATEST_OF = "SELECT session, metric, value FROM latest WHERE session IN (SELECT value FROM json_each(?))"
LATEST_NAMED = "SELECT session, metric, value FROM latest WHERE metric IN (SELECT value FROM json_each(?))"
_BLOCKS = "SELECT m.session, m.metric, m.attempt, m.block, m.points FROM measures m"
ALL_MEASURES = _BLOCKS
MEASURES_NAMED = f"{_BLOCKS} WHERE m.metric IN (SELECT value FROM json_each(:metrics))"  # noqa: S608  # a constant
MEASURES_OF_NAMED = f"{MEASURES_NAMED} AND m.session IN (SELECT value FROM json_each(:sessions))"  # noqa: S608  # a constant
# The index of blocks begins with the metric; which ones a session has is known by the table of last values.
MEASURES_OF = """
SELECT m.session, m.metric, m.attempt, m.block, m.points
FROM latest l CROSS JOIN measures m ON m.metric = l.metric AND m.session = l.session
WHERE l.session IN (SELECT value FROM json_each(:sessions))
"""
# Goes from one name to the next, past the other entries of the index.
METRIC_NAMES = """
WITH RECURSIVE names (name) AS (
  SELECT min(metric) FROM latest
  UNION ALL
  SELECT (SELECT min(metric) FROM latest WHERE metric > name) FROM names WHERE name IS NOT NULL
)
SELECT name FROM names WHERE name IS NOT NULL
"""
METRIC_NAMES_OF = "SELECT DISTINCT metric FROM latest WHERE session IN (SELECT value FROM json_each(?))"
ALL_TIMELINES = "SELECT id, timeline FROM sessions ORDER BY id"
TIMELINES_OF = "SELECT id, timeline FROM sessions WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
ADD_TO_TIMELINE = "UPDATE sessions SET timeline = json_patch(timeline, ?) WHERE id = ?"
SOURCES = """
SELECT m.session, m.path, m.sha256, s.text, m.module, m.cell FROM session_sources m JOIN sources s ON s.sha256 = m.sha256
WHERE m.session IN (SELECT value FROM json_each(?)) ORDER BY m.session, m.path, m.cell
"""
ROWS_AT_A_TIME = 500
POINTS_AT_A_TIME = 1 << 16  #: to be unpacked
POINT = np.dtype([("step", "<i8"), ("time", "<i8"), ("value", "<f8")])


class SessionControl:
    """Heartbeats and metrics of the sessions of one vault folder, and requests to them."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog

    def beat(self, beats: Sequence[Beat]) -> BeatResponse:
        spoken = [beat for beat in beats if not beat.is_empty]
        ids = json.dumps([beat.session_id for beat in beats])
        if spoken:
            return self._catalog.write(_beat, spoken, ids)
        with self._catalog.reading() as db:
            return _beat(db, (), ids)

    def ask(
        self,
        session_ids: Sequence[int],
        request: ControlKind,
        *,
        exit_code: int = 0,
        asked_by: int | None = None,
        attempt: int | None = None,
    ) -> list[ControlRequest]:
        return self._catalog.write(_ask, session_ids, request, exit_code, asked_by, attempt)

    def requests(self, ids: Sequence[int]) -> list[ControlRequest]:
        with self._catalog.reading() as db:
            rows = db.execute(REQUESTS_BY_ID, (json.dumps([int(key) for key in ids]),)).fetchall()
        return [_request(row) for row in rows]

    def overview(
        self,
        ids: Sequence[int] | None = None,
        *,
        name: str | None = None,
        metrics: Sequence[str] | None = None,
    ) -> Overview:
        rows, (keys, metrics, values) = self._catalog.snapshot(_overview, ids, name, metrics)
        numbers = np.array(values, dtype=np.float64)  # None is NaN
        table = pa.table(
            {
                "session": pa.array(keys, pa.int64()),
                "metric": pa.array(metrics, pa.string()),
                "value": pa.array(numbers),
            }
        )
        return Overview(datetime.now(UTC), to_sessions(rows), table)

    def measures(
        self, session_ids: Sequence[int] | None = None, *, metrics: Sequence[str] | None = None
    ) -> pa.Table:
        given = {
            "sessions": json.dumps([int(key) for key in session_ids or ()]),
            "metrics": json.dumps(list(metrics or ())),
        }
        statement = {
            (True, True): ALL_MEASURES,
            (True, False): MEASURES_NAMED,
            (False, True): MEASURES_OF,
            (False, False): MEASURES_OF_NAMED,
        }[session_ids is None, metrics is None]
        with self._catalog.reading() as db:
            blocks = db.execute(statement, given).fetchall()
        return _table(sorted(blocks, key=itemgetter(0, 1, 2, 3)))

    def metric_names(self, session_ids: Sequence[int] | None = None) -> list[str]:
        with self._catalog.reading() as db:
            if session_ids is None:
                rows = db.execute(METRIC_NAMES)
            else:
                rows = db.execute(METRIC_NAMES_OF, (json.dumps([int(key) for key in session_ids]),))
            return sorted(name for (name,) in rows.fetchall())

    def timelines(self, session_ids: Sequence[int] | None = None) -> Timelines:
        with self._catalog.reading() as db:
            if session_ids is None:
                rows = db.execute(ALL_TIMELINES).fetchall()
            else:
                rows = db.execute(TIMELINES_OF, (json.dumps([int(key) for key in session_ids]),)).fetchall()
        return Timelines.of(((key, json.loads(timeline)) for key, timeline in rows))

    def sources(self, session_ids: Sequence[int]) -> list[ModuleSource]:
        with self._catalog.reading() as db:
            rows = db.execute(SOURCES, (json.dumps([int(key) for key in session_ids]),)).fetchall()
        return [ModuleSource(*row) for row in rows]


def _overview(
    db: Any, ids: Sequence[int] | None, name: str | None, metrics: Sequence[str] | None
) -> tuple[list[Any], tuple[list[Any], ...]]:
    rows = session_rows(db, ids, name)
    if metrics is not None:
        there = {row[0] for row in rows}
        named = db.execute(LATEST_NAMED, (json.dumps(list(metrics)),))
        return rows, _columns(row for row in named if row[0] in there)
    if ids is None and name is None:
        return rows, _columns(db.execute(ALL_LATEST))
    return rows, _columns(db.execute(LATEST_OF, (json.dumps([row[0] for row in rows]),)))


def _columns(rows: Iterable[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    """Session, metric and value of rows as lists: the garbage collector walks over rows that are kept again and again."""
    columns: tuple[list[Any], ...] = ([], [], [])
    unread = iter(rows)
    while some := list(islice(unread, ROWS_AT_A_TIME)):
        for column, values in zip(columns, zip(*some, strict=True), strict=True):
            column.extend(values)
    return columns


def _beat(db: Any, beats: Sequence[Beat], ids: str) -> BeatResponse:
    now = datetime.now(UTC)
    for beat in beats:
        _write(db, beat, from_time(now))
    return BeatResponse(now, tuple(_request(row) for row in db.execute(WAITING, (ids,)).fetchall()))


def _ask(
    db: Any,
    session_ids: Sequence[int],
    request: ControlKind,
    exit_code: int,
    asked_by: int | None,
    attempt: int | None,
) -> list[ControlRequest]:
    check_attempt(db, asked_by, attempt)
    requests = []
    now = from_time(datetime.now(UTC))
    for (key,) in db.execute(STILL_OPEN, (json.dumps([int(key) for key in session_ids]),)).fetchall():
        last = db.execute(LAST_REQUEST, (key,)).fetchone()
        if last is not None and last[2] == request:
            requests.append(_request(last))
            continue
        number = db.execute(INSERT_REQUEST, (key, request, now, exit_code, asked_by)).lastrowid
        requests.append(ControlRequest(number, key, request, to_time(now), None, exit_code, asked_by))
    return requests


def _write(db: Any, beat: Beat, now: int) -> None:
    key = beat.session_id
    if not check_attempt(db, key, None if beat.tells_only_info else beat.attempt):
        raise SessionNotFound(f"No session with the id {key} is in this vault.")
    for cell in beat.cells:
        insert_cell(db, cell)
    for measures in beat.measures:
        _insert_measures(db, measures, beat.number)
    for source in beat.sources:
        db.execute(INSERT_SOURCE, (source.sha256, source.text, add_source(db, source.text)))
        db.execute(INSERT_SESSION_SOURCE, (key, source.path, source.sha256, source.module, source.cell))
    for code in beat.code:
        insert_code(db, code)
    if beat.changes:
        change_session(db, key, beat.changes, attempt=beat.attempt)
    if beat.timeline:
        db.execute(ADD_TO_TIMELINE, (json.dumps({beat.attempt or 0: dict(beat.timeline)}), key))
    if beat.answered:
        db.execute(ACKNOWLEDGE, (now, json.dumps(beat.answered)))
    if beat.paused is not None:
        db.execute(PAUSED, (beat.paused, key))
    if beat.outcome is not None:
        db.execute(END, (now, now, beat.outcome, beat.error, key))
    elif beat.alive:
        db.execute(ALIVE, (now, key))


def _insert_measures(db: Any, measures: Measures, number: int) -> None:
    points = np.empty(len(measures.values), dtype=POINT)
    points["step"], points["time"], points["value"] = measures.steps, measures.times, measures.values
    key = (measures.metric, measures.session_id, measures.attempt, measures.block)
    if not db.execute(INSERT_MEASURES, (*key, number, points.tobytes())).rowcount:
        return
    step, time, value = points[-1].tolist()
    db.execute(
        PUT_LATEST, (measures.session_id, measures.metric, None if step == NO_STEP else step, time, value)
    )


def _table(blocks: Sequence[tuple[int, str, int, int, bytes]]) -> pa.Table:
    """Blocks, in order, as a table of :data:`MEASURES_SCHEMA`."""
    if not blocks:
        return MEASURES_SCHEMA.empty_table()
    sessions, metrics, attempts, _, packed = zip(*blocks, strict=True)
    sizes = [len(points) // POINT.itemsize for points in packed]
    step, time, value = _unpacked(packed, sizes)  # first: it refuses blocks that are damaged
    missing = step == NO_STEP
    steps = pa.array(step, mask=missing if missing.any() else None)
    return measures_table((sessions, metrics, attempts, sizes), steps, time, value)


def _unpacked(packed: Sequence[bytes], sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, times and values of blocks: many at a time, but no more than the processor keeps at hand."""
    step, time, value = (empty(sum(sizes), POINT[name]) for name in POINT.names or ())
    ends = np.cumsum(sizes)
    first = done = 0
    while first < len(packed):
        last = max(int(np.searchsorted(ends, done + POINTS_AT_A_TIME, side="right")), first + 1)
        points = np.frombuffer(b"".join(packed[first:last]), dtype=POINT)
        stop = done + len(points)
        step[done:stop], time[done:stop], value[done:stop] = points["step"], points["time"], points["value"]
        first, done = last, stop
    return step, time, value


def _request(row: tuple[Any, ...]) -> ControlRequest:
    key, session_id, request, requested, acknowledged, exit_code, asked_by = row
    answered = None if acknowledged is None else to_time(acknowledged)
    return ControlRequest(key, session_id, request, to_time(requested), answered, exit_code, asked_by)
