"""Heartbeats, requests to sessions, and what sessions measured, as rows of the catalogue."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd.errors import SessionNotFound
from tablevault_pd.store import NO_STEP, Beat, Measures, Overview, Pulse, Request, Source
from tablevault_pd.store.embedded.sessions import change_session, insert_cell, session_rows, to_session
from tablevault_pd.store.embedded.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd import store as plain
    from tablevault_pd.store.embedded.catalog import Catalog

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
IS_THERE = "SELECT 1 FROM sessions WHERE id = ?"
ALIVE = "UPDATE sessions SET heartbeat = ? WHERE id = ?"
PAUSED = "UPDATE sessions SET paused = ? WHERE id = ?"
END = "UPDATE sessions SET ended = ?, heartbeat = ?, paused = 0, outcome = ?, error = ? WHERE id = ?"
# A beat that is sent again, because it seemed to fail, is known by its number; another process that took the session over
# counts anew, and is told apart by the values.
INSERT_MEASURES = """
INSERT INTO measures (session, metric, number, steps, times, points)
SELECT :session, :metric, :number, :steps, :times, :points
WHERE NOT EXISTS (
  SELECT 1 FROM measures
  WHERE session = :session AND metric = :metric AND number = :number AND times = :times AND points = :points)
"""
# SQLite has no NaN: it is NULL here, and stays NaN in the packed values.
PUT_LATEST = "INSERT OR REPLACE INTO latest (session, metric, step, time, value) VALUES (?, ?, ?, ?, ?)"
INSERT_SOURCE = "INSERT OR IGNORE INTO sources (sha256, text) VALUES (?, ?)"
INSERT_SESSION_SOURCE = "INSERT OR IGNORE INTO session_sources (session, path, sha256) VALUES (?, ?, ?)"
ALL_LATEST = "SELECT session, metric, value FROM latest"
LATEST_OF = "SELECT session, metric, value FROM latest WHERE session IN (SELECT value FROM json_each(?))"
# A null for :sessions or :metrics asks for all.
MEASURES = """
SELECT session, metric, steps, times, points FROM measures
WHERE (:sessions IS NULL OR session IN (SELECT value FROM json_each(:sessions)))
  AND (:metrics IS NULL OR metric IN (SELECT value FROM json_each(:metrics)))
ORDER BY session, metric, id
"""
SOURCES = """
SELECT m.session, m.path, m.sha256, s.text FROM session_sources m JOIN sources s ON s.sha256 = m.sha256
WHERE m.session IN (SELECT value FROM json_each(?)) ORDER BY m.session, m.path
"""
MEASURES_SCHEMA = pa.schema(
    [
        ("session", pa.int64()),
        ("metric", pa.dictionary(pa.int32(), pa.string())),
        ("step", pa.int64()),
        ("time", pa.timestamp("us", "UTC")),
        ("value", pa.float64()),
    ]
)


class Control:
    """What keeps sessions alive, and what they are told."""

    catalog: Catalog

    def beat(self, beats: Sequence[Beat]) -> Pulse:
        """Write what sessions have to tell and return what is asked of them."""
        spoken = [beat for beat in beats if not beat.silent]
        ids = json.dumps([beat.session_id for beat in beats])
        if spoken:
            return self.catalog.write(_beat, spoken, ids)
        with self.catalog.reading() as db:
            return _beat(db, (), ids)

    def ask(
        self,
        session_ids: Sequence[int],
        request: plain.Control,
        *,
        exit_code: int = 0,
        asked_by: int | None = None,
    ) -> list[Request]:
        """Ask something of sessions."""
        return self.catalog.write(_ask, session_ids, request, exit_code, asked_by)

    def requests(self, ids: Sequence[int]) -> list[Request]:
        """Requests by id."""
        with self.catalog.reading() as db:
            rows = db.execute(REQUESTS_BY_ID, (json.dumps([int(key) for key in ids]),)).fetchall()
        return [_request(row) for row in rows]

    def overview(self, ids: Sequence[int] | None = None, *, name: str | None = None) -> Overview:
        """Sessions with their last metrics."""
        rows, latest = self.catalog.snapshot(_overview, ids, name)
        keys, metrics, values = zip(*latest, strict=True) if latest else ((), (), ())
        numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        table = pa.table(
            {
                "session": pa.array(keys, pa.int64()),
                "metric": pa.array(metrics, pa.string()),
                "value": pa.array(numbers),
            }
        )
        return Overview(datetime.now(UTC), [to_session(row) for row in rows], table)

    def measures(
        self, session_ids: Sequence[int] | None = None, *, metrics: Sequence[str] | None = None
    ) -> pa.Table:
        """Every logged value."""
        wanted = {
            "sessions": None if session_ids is None else json.dumps([int(key) for key in session_ids]),
            "metrics": None if metrics is None else json.dumps(list(metrics)),
        }
        with self.catalog.reading() as db:
            rows = db.execute(MEASURES, wanted).fetchall()
        if not rows:
            return MEASURES_SCHEMA.empty_table()
        sessions, names, steps, times, values = zip(*rows, strict=True)
        sizes = [len(packed) // 8 for packed in values]
        words = {name: code for code, name in enumerate(dict.fromkeys(names))}
        codes = np.repeat(np.array([words[name] for name in names], dtype=np.int32), sizes)
        step = np.frombuffer(b"".join(steps), dtype="<i8")
        return pa.table(
            [
                pa.array(np.repeat(np.array(sessions, dtype=np.int64), sizes)),
                pa.DictionaryArray.from_arrays(codes, pa.array(list(words), pa.string())),
                pa.array(step, mask=step == NO_STEP),
                pa.array(np.frombuffer(b"".join(times), dtype="<i8"), pa.timestamp("us", "UTC")),
                pa.array(np.frombuffer(b"".join(values), dtype="<f8")),
            ],
            schema=MEASURES_SCHEMA,
        )

    def sources(self, session_ids: Sequence[int]) -> list[Source]:
        """Imported project modules."""
        with self.catalog.reading() as db:
            rows = db.execute(SOURCES, (json.dumps([int(key) for key in session_ids]),)).fetchall()
        return [Source(*row) for row in rows]


def _overview(db: Any, ids: Sequence[int] | None, name: str | None) -> tuple[list[Any], list[Any]]:
    rows = session_rows(db, ids, name)
    if ids is None and name is None:
        return rows, db.execute(ALL_LATEST).fetchall()
    return rows, db.execute(LATEST_OF, (json.dumps([row[0] for row in rows]),)).fetchall()


def _beat(db: Any, beats: Sequence[Beat], ids: str) -> Pulse:
    now = datetime.now(UTC)
    for beat in beats:
        _write(db, beat, from_time(now))
    return Pulse(now, tuple(_request(row) for row in db.execute(WAITING, (ids,)).fetchall()))


def _ask(
    db: Any, session_ids: Sequence[int], request: plain.Control, exit_code: int, asked_by: int | None
) -> list[Request]:
    found = []
    now = from_time(datetime.now(UTC))
    for (key,) in db.execute(STILL_OPEN, (json.dumps([int(key) for key in session_ids]),)).fetchall():
        last = db.execute(LAST_REQUEST, (key,)).fetchone()
        if last is not None and last[2] == request:
            found.append(_request(last))
            continue
        number = db.execute(INSERT_REQUEST, (key, request, now, exit_code, asked_by)).lastrowid
        found.append(Request(number, key, request, to_time(now), None, exit_code, asked_by))
    return found


def _write(db: Any, beat: Beat, now: int) -> None:
    key = beat.session_id
    if db.execute(IS_THERE, (key,)).fetchone() is None:
        raise SessionNotFound(f"No session with the id {key} is in this vault.")
    for cell in beat.cells:
        insert_cell(db, cell)
    for measures in beat.measures:
        _insert_measures(db, measures, beat.number)
    for source in beat.sources:
        db.execute(INSERT_SOURCE, (source.sha256, source.text))
        db.execute(INSERT_SESSION_SOURCE, (key, source.path, source.sha256))
    if beat.changes:
        change_session(db, key, beat.changes)
    if beat.answered:
        db.execute(ACKNOWLEDGE, (now, json.dumps(beat.answered)))
    if beat.paused is not None:
        db.execute(PAUSED, (beat.paused, key))
    if beat.outcome is not None:
        db.execute(END, (now, now, beat.outcome, beat.error, key))
    elif beat.alive:
        db.execute(ALIVE, (now, key))


def _insert_measures(db: Any, measures: Measures, number: int) -> None:
    new = db.execute(
        INSERT_MEASURES,
        {
            "session": measures.session_id,
            "metric": measures.metric,
            "number": number,
            "steps": measures.steps.astype("<i8").tobytes(),
            "times": measures.times.astype("<i8").tobytes(),
            "points": measures.values.astype("<f8").tobytes(),
        },
    ).rowcount
    if not new:
        return
    step, time, value = int(measures.steps[-1]), int(measures.times[-1]), float(measures.values[-1])
    db.execute(
        PUT_LATEST, (measures.session_id, measures.metric, None if step == NO_STEP else step, time, value)
    )


def _request(row: tuple[Any, ...]) -> Request:
    key, session_id, request, requested, acknowledged, exit_code, asked_by = row
    answered = None if acknowledged is None else to_time(acknowledged)
    return Request(key, session_id, request, to_time(requested), answered, exit_code, asked_by)
