"""Claims as rows of the catalogue.

Claiming is not synced to the disk: after a power failure the holder of the rows is gone, too. Finishing is synced.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store import LOST_AFTER_BEATS, Problem
from tablevault_pd.store.embedded.attempts import check_attempt
from tablevault_pd.store.engine import int_codec
from tablevault_pd.store.times import from_time, to_time
from tablevault_pd.store.work import (
    Addresses,
    ClaimAnswer,
    ClaimRecords,
    ClaimState,
    Holder,
    HolderState,
    Work,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from sqlite3 import Connection

    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.work import ClaimRequest, Finish

WORK = "SELECT generation, frontier FROM work WHERE list = ?"
WORKED_LISTS = "SELECT list FROM work ORDER BY list"
SAME_ROWS = "SELECT generation, runs FROM work_same_rows WHERE list = ?"
INSERT_WORK = "INSERT INTO work (list, generation, frontier) VALUES (?, ?, 0)"
NEXT_GENERATION = "UPDATE work SET generation = ?, frontier = 0 WHERE list = ?"
INSERT_SAME = "INSERT OR IGNORE INTO work_same_rows (list, generation, runs) VALUES (?, ?, ?)"
MOVE_FRONTIER = "UPDATE work SET frontier = ? WHERE list = ?"
NEWEST = """
SELECT b.list, b.version, b.generation, b.operation FROM lists l JOIN batches b ON b.list = l.id
WHERE l.name = ? ORDER BY b.version DESC LIMIT 1
"""
HOLDERS = """
SELECT h.session, h.attempt, s.host, s.pid, s.started, s.outcome IS NOT NULL OR s.attempt <> h.attempt
         OR ? - coalesce(s.heartbeat, s.started) > ? * s.beat_s * 1000000
FROM work_holders h JOIN sessions s ON s.id = h.session WHERE h.list = ?
"""
INSERT_HOLDER = "INSERT OR IGNORE INTO work_holders (list, session, attempt) VALUES (?, ?, ?)"
DELETE_HOLDER = "DELETE FROM work_holders WHERE list = ? AND session = ? AND attempt = ?"
# The planner would go through all claims of the list: it takes the states for evenly spread.
GIVEN_BACK = """
SELECT generation, row FROM claims INDEXED BY claims_given_back
WHERE list = ? AND state = 0 ORDER BY generation, row LIMIT ?
"""
# `runs`: [generation, first row, end] of each.
_OF_RUNS = """
SELECT c.generation, c.row FROM json_each(?) r CROSS JOIN claims c ON c.list = ? AND c.generation = json_extract(r.value, '$[0]')
  AND c.row >= json_extract(r.value, '$[1]') AND c.row < json_extract(r.value, '$[2]')
WHERE c.state BETWEEN 1 AND ?
"""
TAKEN = _OF_RUNS
IN_HAND = f"{_OF_RUNS} AND c.session = ? AND c.attempt = ?"  # a constant
TAKE = """
INSERT OR REPLACE INTO claims (list, generation, row, state, session, attempt, token, since)
VALUES (?, ?, ?, 1, ?, ?, ?, ?)
"""
_OPENED = (
    "SET state = 0, session = NULL, attempt = NULL, token = NULL, since = ? WHERE list = ? AND state = 1 "
)
GIVE_BACK = f"UPDATE claims INDEXED BY claims_held {_OPENED} AND session = ? AND attempt = ?"  # a constant
UNDO = f"{GIVE_BACK} AND token = ?"
RELEASE = f"UPDATE claims {_OPENED} AND generation = ? AND row >= ? AND row < ? AND session = ? AND attempt = ?"  # a constant
FINISH = """
UPDATE claims SET state = 2, since = ?
WHERE list = ? AND state = 1 AND generation = ? AND row >= ? AND row < ? AND session = ? AND attempt = ?
"""
# Of work by key nothing is kept that is not held.
FORGET = "DELETE FROM claims WHERE list = ? AND generation < 0 AND state <> 1"
# Held by who is no holder: nobody would give them back.
WITHOUT_HOLDER = """
SELECT c.list, l.name, count(*) FROM claims c JOIN lists l ON l.id = c.list
LEFT JOIN work_holders h ON h.list = c.list AND h.session = c.session AND h.attempt = c.attempt
WHERE c.state = 1 AND h.list IS NULL GROUP BY c.list ORDER BY l.name
"""
_HAS_HOLDER = "SELECT 1 FROM work_holders h WHERE h.list = claims.list AND h.session = claims.session AND h.attempt = claims.attempt"
OPEN_WITHOUT_HOLDER = f"UPDATE claims {_OPENED} AND NOT EXISTS ({_HAS_HOLDER})"  # a constant
PUT_DONE = """
INSERT INTO claims (list, generation, row, state, session, attempt, since) VALUES (?, ?, ?, 2, ?, ?, ?)
ON CONFLICT (list, generation, row) DO UPDATE
SET state = 2, session = excluded.session, attempt = excluded.attempt, since = excluded.since WHERE state = 0
"""
RECORDS = """
SELECT generation, row, state, coalesce(session, -1), coalesce(attempt, 0), since FROM claims WHERE list = ?
ORDER BY generation, row
"""


class ClaimBook:
    """The claims of one vault folder."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog

    def work(self, list_id: int) -> Work | None:
        return self._catalog.snapshot(_work, list_id)

    def worked_lists(self) -> list[int]:
        with self._catalog.reading() as db:
            return [list_id for (list_id,) in db.execute(WORKED_LISTS).fetchall()]

    def align_work(
        self, list_id: int, *, after: int | None, generation: int, same: Mapping[int, np.ndarray]
    ) -> bool:
        return self._catalog.write_unsynced(_align, list_id, after, generation, same)

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        return self._catalog.write_unsynced(_claim, request)

    def give_back(self, list_id: int, holders: Sequence[Holder]) -> int:
        return self._catalog.write_unsynced(_give_back, list_id, holders)

    def undo_claim(self, list_id: int, holder: Holder, token: int) -> None:
        self._catalog.write_unsynced(_undo, list_id, holder, token)

    def release(self, list_id: int, rows: Addresses, holder: Holder) -> int:
        return self._catalog.write_unsynced(_release, list_id, rows, holder)

    def finish(
        self, finishes: Sequence[Finish], *, session_id: int | None = None, attempt: int | None = None
    ) -> None:
        self._catalog.write(_finish_by, finishes, session_id, attempt)

    def put_done(self, list_id: int, records: ClaimRecords) -> None:
        lines = [(list_id, *line) for line in records.lines()]
        self._catalog.write(lambda db: db.executemany(PUT_DONE, lines))

    def claim_records(self, list_id: int) -> ClaimRecords:
        with self._catalog.reading() as db:
            records = np.array(db.execute(RECORDS, (list_id,)).fetchall(), np.int64).reshape(-1, 6)
        generation, row, state, session_id, attempt, since = records.T
        return ClaimRecords(
            Addresses(generation, row),
            state.astype(np.int8),
            session_id,
            attempt,
            since.view("datetime64[us]"),
        )

    def holders(self, list_id: int) -> list[HolderState]:
        with self._catalog.reading() as db:
            return _holders(db, list_id, _now())

    def data_version(self) -> object:
        """What SQLite says about commits of others."""
        return self._catalog.data_version()


def check_claims(catalog: SqliteCatalog, *, fix: bool) -> list[Problem]:
    """Claims that would never fall back; with `fix` their rows are open again."""
    with catalog.reading() as db:
        lost_claims = db.execute(WITHOUT_HOLDER).fetchall()
    for list_id, _, _ in lost_claims if fix else ():
        catalog.write_unsynced(_open_without_holder, list_id)
    return [Problem.without_holder(name, rows, fixed=fix) for _, name, rows in lost_claims]


def _open_without_holder(db: Connection, list_id: int) -> None:
    db.execute(OPEN_WITHOUT_HOLDER, (_now(), list_id))
    db.execute(FORGET, (list_id,))


def _work(db: Connection, list_id: int) -> Work | None:
    row = db.execute(WORK, (list_id,)).fetchone()
    if row is None:
        return None
    same = {
        other: int_codec.unpack(runs, "claims").reshape(-1, 4)
        for other, runs in db.execute(SAME_ROWS, (list_id,)).fetchall()
    }
    generation, frontier = row
    return Work(list_id, generation, frontier, same)


def _align(
    db: Connection, list_id: int, after: int | None, generation: int, same: Mapping[int, np.ndarray]
) -> bool:
    row = db.execute(WORK, (list_id,)).fetchone()
    if (None if row is None else row[0]) != after:
        return False
    if row is None:
        db.execute(INSERT_WORK, (list_id, generation))
    else:
        db.execute(NEXT_GENERATION, (generation, list_id))
    packed = ((list_id, other, int_codec.pack(runs.ravel())) for other, runs in same.items())
    db.executemany(INSERT_SAME, packed)
    return True


def _claim(db: Connection, request: ClaimRequest) -> ClaimAnswer:
    check_attempt(db, request.holder.session_id, request.holder.attempt)
    now, list_id = _now(), request.list_id
    place = (list_id, request.generation)
    newest, version, generation, operation = db.execute(NEWEST, (request.list,)).fetchone() or (
        0,
        0,
        0,
        "delete",
    )
    aligned, frontier = db.execute(WORK, (list_id,)).fetchone() or (None, 0)
    current = operation != "delete" and (newest, generation) == place == (list_id, aligned)
    current = request.generation is None or (current and request.version in (None, version))
    given_back = Addresses.of(db.execute(GIVEN_BACK, (list_id, request.most_given_back)).fetchall())
    holders = tuple(_holders(db, list_id, now))
    answer = ClaimAnswer(version, current, frontier, [], holders, given_back)
    if answer.may_take(request):
        answer.taken.extend(_take(db, request, now))
        if request.frontier > frontier:
            db.execute(MOVE_FRONTIER, (request.frontier, list_id))
    return answer


def _take(db: Connection, request: ClaimRequest, now: int) -> list[int]:
    rows = request.rows.pairs()
    taken = set(db.execute(TAKEN, (_runs_text(request.rows), request.list_id, request.blocking)).fetchall())
    free = [number for number, row in enumerate(rows) if row not in taken][: request.count]
    holder = (request.holder.session_id, request.holder.attempt)
    db.executemany(TAKE, [(request.list_id, *rows[number], *holder, request.token, now) for number in free])
    if free:
        db.execute(INSERT_HOLDER, (request.list_id, *holder))
    return free


def _holders(db: Connection, list_id: int, now: int) -> list[HolderState]:
    rows = db.execute(HOLDERS, (now, LOST_AFTER_BEATS, list_id)).fetchall()
    return [
        HolderState(Holder(session_id, attempt), host, pid, to_time(started), bool(lost))
        for session_id, attempt, host, pid, started, lost in rows
    ]


def _give_back(db: Connection, list_id: int, holders: Sequence[Holder]) -> int:
    opened = 0
    for holder in holders:
        key = (list_id, holder.session_id, holder.attempt)
        opened += db.execute(GIVE_BACK, (_now(), *key)).rowcount
        db.execute(DELETE_HOLDER, key)
    db.execute(FORGET, (list_id,))
    return opened


def _undo(db: Connection, list_id: int, holder: Holder, token: int) -> None:
    db.execute(UNDO, (_now(), list_id, holder.session_id, holder.attempt, token))
    db.execute(FORGET, (list_id,))


def _release(db: Connection, list_id: int, rows: Addresses, holder: Holder) -> int:
    changes = [(_now(), list_id, *run, holder.session_id, holder.attempt) for run in _runs(rows)]
    opened = db.executemany(RELEASE, changes).rowcount
    db.execute(FORGET, (list_id,))
    return opened


def _finish_by(
    db: Connection, finishes: Sequence[Finish], session_id: int | None, attempt: int | None
) -> None:
    finish_claims(db, finishes, again=True)
    check_attempt(db, session_id, attempt)


def finish_claims(db: Connection, finishes: Sequence[Finish], *, again: bool = False) -> None:
    """Mark rows as done, in an open transaction. With `again`, those that the holder has finished already stay so.

    Raises ClaimLost.
    """
    most = ClaimState.DONE if again else ClaimState.HELD
    for finish in finishes:
        list_id, holder = finish.list_id, (finish.holder.session_id, finish.holder.attempt)
        held = set(db.execute(IN_HAND, (_runs_text(finish.rows), list_id, most, *holder)).fetchall())
        lost = [number for number, row in enumerate(finish.rows.pairs()) if row not in held]
        if lost:
            raise finish.lost(lost)
        db.executemany(FINISH, [(_now(), list_id, *run, *holder) for run in _runs(finish.rows)])
        db.execute(FORGET, (list_id,))


def _runs(rows: Addresses) -> list[tuple[int, int, int]]:
    """(generation, first row, end) of each run of rows that follow each other."""
    order = np.lexsort((rows.row, rows.generation))
    generation, row = rows.generation[order], rows.row[order]
    starts = np.flatnonzero(np.append(True, (np.diff(generation) != 0) | (np.diff(row) != 1))[: len(row)])
    ends = np.append(starts[1:], len(row))[: len(starts)]
    columns = (generation[starts], row[starts], row[ends - 1] + 1)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _runs_text(rows: Addresses) -> str:
    return json.dumps(_runs(rows))


def _now() -> int:
    return from_time(datetime.now(UTC))
