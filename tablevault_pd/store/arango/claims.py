"""Claims as documents: one for each row that was ever claimed, and one for each list that is worked on.

Every statement that changes claims of a list writes the list's document too, so that of two at once one fails with a
conflict, and is tried again as a whole.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.store import LOST_AFTER_BEATS, Problem
from tablevault_pd.store.arango.records import reads
from tablevault_pd.store.arango.server_errors import UNIQUE, ExpectedError
from tablevault_pd.store.arango.sessions import RESUMED, attempt_of, continued_by, digest_of
from tablevault_pd.store.times import to_time
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
    from collections.abc import Iterable, Mapping, Sequence

    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.work import ClaimRequest, Finish

# All statements: 3.12; nothing in them is newer than 3.8. A statement reads a collection before it writes it, and writes it at
# one place. States: 0 given back and open again, 1 held, 2 done.
WORK_OF = """
FOR w IN tv_work
  FILTER w._key == @key
  RETURN {_id: w._id, list: w.list, generation: w.generation, frontier: w.frontier,
    same: (FOR s IN tv_work_same_rows FILTER s.list == @list RETURN [s.generation, s.runs])}
"""
WORKED_LISTS = 'FOR w IN tv_work FILTER w.list > 0 AND w.list < "" RETURN w.list'
# Who was faster has made or changed the document: then the statement fails, or changes nothing.
FIRST_WORK = """
LET same = (FOR s IN @same INSERT s INTO tv_work_same_rows OPTIONS {overwriteMode: "ignore"})
INSERT {_key: @key, list: @list, generation: @generation, frontier: 0, holders: [], changes: 0} INTO tv_work
RETURN true
"""
NEXT_WORK = """
LET there = (FOR w IN tv_work FILTER w._key == @key AND w.generation == @after RETURN 1)
LET same = (
  FOR s IN @same
    FILTER LENGTH(there) > 0
    INSERT s INTO tv_work_same_rows OPTIONS {overwriteMode: "ignore"}
)
FOR w IN tv_work
  FILTER w._key == @key AND w.generation == @after
  UPDATE w WITH {generation: @generation, frontier: 0, changes: w.changes + 1} IN tv_work OPTIONS {ignoreRevs: false}
  RETURN true
"""
_HOLDERS = """
LET now = DATE_NOW() * 1000
LET work = DOCUMENT("tv_work", @key)
LET holders = (
  FOR h IN NOT_NULL(work.holders, [])
    LET s = DOCUMENT("tv_sessions", TO_STRING(h[0]))
    RETURN {session: h[0], attempt: h[1], host: s.host, pid: s.pid, started: s.started,
      lost: s == null OR s.outcome != null OR s.openings - 1 != h[1]
        OR now - NOT_NULL(s.heartbeat, s.started) > @beats * s.beat_s * 1000000}
)
"""
HOLDERS = _HOLDERS + "RETURN holders"
CLAIM = (
    _HOLDERS
    + """
LET resumed = (FOR s IN tv_sessions FILTER s._key == TO_STRING(@session) AND s.openings - 1 != @attempt
  RETURN [s.name, s.run, s.pid, s.host])
LET list = FIRST(FOR l IN tv_lists FILTER l.digest == @digest RETURN l.id)
LET newest = FIRST(
  FOR b IN tv_batches FILTER b.list == @list SORT b.version DESC LIMIT 1 RETURN KEEP(b, "version", "generation", "operation")
)
LET current = @generation == null OR (list == @list AND newest.operation != "delete" AND newest.generation == @generation
  AND work.generation == @generation AND (@version == null OR newest.version == @version))
LET lost = (
  FOR h IN holders
    FILTER (h.session != @session OR h.attempt != @attempt) AND (h.lost OR h.session IN @gone)
    RETURN 1
)
LET given_back = (
  FOR c IN tv_claims
    FILTER c.list == @list AND c.state == 0
    SORT c.generation, c.row
    LIMIT @most_given_back
    RETURN [c._key, c.generation, c.row]
)
LET considered = ZIP(@considered, @considered)
LET unknown = (FOR c IN given_back FILTER !HAS(considered, c[0]) LIMIT 1 RETURN 1)
LET may = current AND LENGTH(lost) == 0 AND LENGTH(unknown) == 0 AND LENGTH(resumed) == 0
LET before = (
  FOR c IN tv_claims
    FILTER c.list == @list AND c.state == 1 AND c.session == @session AND c.token == @token
    RETURN c._key
)
LET own = ZIP(before, before)
LET taken = (FOR c IN tv_claims FILTER c._key IN @keys AND c.state >= 1 AND c.state <= @blocking RETURN c._key)
LET theirs = ZIP(taken, taken)
LET free = (
  FOR n IN (may AND LENGTH(@keys) > 0 ? RANGE(0, LENGTH(@keys) - 1) : [])
    FILTER !HAS(theirs, @keys[n]) OR HAS(own, @keys[n])
    LIMIT @count
    RETURN n
)
LET holder = [@session, @attempt]
LET changed = (
  FOR w IN tv_work
    FILTER w._key == @key AND LENGTH(free) > 0
    UPDATE w WITH {
      changes: w.changes + 1,
      frontier: MAX([w.frontier, @frontier]),
      holders: holder IN w.holders ? w.holders : PUSH(w.holders, holder)
    } IN tv_work
)
LET made = (
  FOR n IN free
    INSERT {_key: @keys[n], list: @list, generation: @rows[n][0], row: @rows[n][1], state: 1, session: @session,
      attempt: @attempt, token: @token, since: now} INTO tv_claims OPTIONS {overwriteMode: "replace"}
)
RETURN {version: newest.version, current, frontier: work.frontier, taken: free, holders, given_back, resumed}
"""
)
_TOUCH = """
LET changed = (
  FOR w IN tv_work
    FILTER w._key == @key
    UPDATE w WITH {changes: w.changes + 1} IN tv_work
)
"""
_OPENED = """
  UPDATE c WITH {state: 0, session: null, attempt: null, token: null, since: DATE_NOW() * 1000} IN tv_claims
  RETURN 1
"""
GIVE_BACK = (
    """
LET changed = (
  FOR w IN tv_work
    FILTER w._key == @key
    UPDATE w WITH {changes: w.changes + 1, holders: w.holders[* FILTER CURRENT NOT IN @holders]} IN tv_work
)
FOR c IN tv_claims
  FILTER c.list == @list AND c.state == 1 AND c.session IN @sessions AND [c.session, c.attempt] IN @holders
"""
    + _OPENED
)
UNDO = (
    _TOUCH
    + """
FOR c IN tv_claims
  FILTER c.list == @list AND c.state == 1 AND c.session == @session AND c.attempt == @attempt AND c.token == @token
"""
    + _OPENED
)
RELEASE = (
    _TOUCH
    + """
FOR c IN tv_claims
  FILTER c._key IN @keys AND c.state == 1 AND c.session == @session AND c.attempt == @attempt
"""
    + _OPENED
)
# Also before the batch of a commit. `rows`: [key, session, attempt].
FINISHED = (
    RESUMED
    + """
LET held = (
  FOR r IN @rows
    LET c = DOCUMENT("tv_claims", r[0])
    FILTER c.session == r[1] AND c.attempt == r[2] AND c.state >= 1 AND c.state <= @most
    RETURN c
)
LET may = LENGTH(held) == LENGTH(@rows) AND LENGTH(resumed) == 0
LET changed = (
  FOR w IN tv_work
    FILTER may AND w._key IN @works
    UPDATE w WITH {changes: w.changes + 1} IN tv_work
)
LET finished = (
  FOR c IN held
    FILTER may AND c.state == 1
    UPDATE c._key WITH {state: 2, since: DATE_NOW() * 1000} IN tv_claims OPTIONS {waitForSync: true}
)
"""
)
FINISH = FINISHED + "RETURN {held: held[*]._key, resumed}"
# Held by who is no holder: nobody would give them back.
_WITHOUT_HOLDER = """
FOR c IN tv_claims
  FILTER c.state == 1
  LET work = DOCUMENT("tv_work", TO_STRING(c.list))
  FILTER [c.session, c.attempt] NOT IN NOT_NULL(work.holders, [])
"""
WITHOUT_HOLDER = _WITHOUT_HOLDER + "RETURN FIRST(FOR l IN tv_lists FILTER l.id == c.list RETURN l.name)"
OPEN_WITHOUT_HOLDER = _WITHOUT_HOLDER + _OPENED
# Of work by key nothing is kept that is not held. A statement of its own: one statement writes a collection at one place.
FORGET = """
FOR c IN tv_claims
  FILTER c.list == @list AND c.state IN [0, 2] AND c.generation < 0
  REMOVE c IN tv_claims
"""
# `rows`: [key, generation, row, session, attempt, since].
PUT_DONE = (
    """
LET open = (FOR r IN @rows LET c = DOCUMENT("tv_claims", r[0]) FILTER c == null OR c.state == 0 RETURN r)
"""
    + _TOUCH
    + """
FOR r IN open
  INSERT {_key: r[0], list: @list, generation: r[1], row: r[2], state: 2, session: r[3], attempt: r[4], token: null, since: r[5]}
    INTO tv_claims OPTIONS {overwriteMode: "replace", waitForSync: true}
"""
)
RECORDS = """
FOR c IN tv_claims
  FILTER c.list == @list
  SORT c.generation, c.row
  RETURN [c.generation, c.row, c.state, NOT_NULL(c.session, -1), NOT_NULL(c.attempt, 0), c.since]
"""


class ClaimBook:
    """The claims of one vault on a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def work(self, list_id: int) -> Work | None:
        """What is kept of the work on a list."""
        rows = self._client.query(WORK_OF, key=str(list_id), list=list_id)
        return work_of(rows[0]) if rows else None

    def worked_lists(self) -> list[int]:
        """Lists that are worked on."""
        return sorted(self._client.query(WORKED_LISTS))

    def align_work(
        self, list_id: int, *, after: int | None, generation: int, same: Mapping[int, np.ndarray]
    ) -> bool:
        """Go on to another generation."""
        self._client.writable()
        documents = [
            {
                "_key": f"{list_id}-{earlier}",
                "list": list_id,
                "generation": earlier,
                "runs": runs.ravel().tolist(),
            }
            for earlier, runs in same.items()
        ]
        bound: dict[str, Any] = {"key": str(list_id), "generation": generation, "same": documents}
        try:
            if after is None:
                return bool(self._client.query(FIRST_WORK, binds=bound, list=list_id, expect=(UNIQUE,)))
            return bool(self._client.query(NEXT_WORK, binds=bound, after=after))
        except ExpectedError:
            return False

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        """Take rows that are open."""
        self._client.writable()
        rows = request.rows.pairs()
        [answer] = self._client.query(
            CLAIM,
            key=str(request.list_id),
            digest=digest_of(request.list),
            list=request.list_id,
            generation=request.generation,
            version=request.version,
            rows=rows,
            keys=_keys(request.list_id, rows),
            considered=_keys(request.list_id, request.considered.pairs()),
            count=request.count,
            token=request.token,
            frontier=request.frontier,
            gone=sorted(request.gone),
            most_given_back=request.most_given_back,
            blocking=int(request.blocking),
            beats=LOST_AFTER_BEATS,
            binds=_bound(request.holder),
        )
        for resumed in answer["resumed"]:
            raise continued_by(resumed)
        given_back = Addresses.of([(generation, row) for _, generation, row in answer["given_back"]])
        return ClaimAnswer(
            answer["version"] or 0,
            answer["current"],
            answer["frontier"] or 0,
            answer["taken"],
            tuple(map(_state, answer["holders"])),
            given_back,
        )

    def give_back(self, list_id: int, holders: Sequence[Holder]) -> int:
        """Open what these hold."""
        self._client.writable()
        pairs = [[holder.session_id, holder.attempt] for holder in holders]
        sessions = sorted({holder.session_id for holder in holders})
        opened = self._client.query(
            GIVE_BACK, key=str(list_id), list=list_id, holders=pairs, sessions=sessions
        )
        self._client.query(FORGET, list=list_id)
        return len(opened)

    def undo_claim(self, list_id: int, holder: Holder, token: int) -> None:
        """Open what one call took."""
        self._client.writable()
        self._client.query(UNDO, key=str(list_id), list=list_id, token=token, binds=_bound(holder))
        self._client.query(FORGET, list=list_id)

    def release(self, list_id: int, rows: Addresses, holder: Holder) -> int:
        """Open some of what the holder holds."""
        self._client.writable()
        keys = _keys(list_id, rows.pairs())
        return len(self._client.query(RELEASE, key=str(list_id), keys=keys, binds=_bound(holder)))

    def finish(
        self, finishes: Sequence[Finish], *, session_id: int | None = None, attempt: int | None = None
    ) -> None:
        """Mark rows as done."""
        self._client.writable()
        if finishes:
            by = attempt_of(session_id, attempt)
            [answer] = self._client.query(FINISH, binds=finishing(finishes, again=True) | by)
            raise_if_lost(finishes, answer["held"])
            for resumed in answer["resumed"]:
                raise continued_by(resumed)

    def put_done(self, list_id: int, records: ClaimRecords) -> None:
        """Mark rows of a copied list as done."""
        self._client.writable()
        keys = _keys(list_id, records.rows.pairs())
        rows = [[key, *line] for key, line in zip(keys, records.lines(), strict=True)]
        self._client.query(PUT_DONE, key=str(list_id), list=list_id, rows=rows)

    def claim_records(self, list_id: int) -> ClaimRecords:
        """All rows that were ever claimed."""
        return _claim_records(self._client.query(RECORDS, list=list_id))

    def holders(self, list_id: int) -> list[HolderState]:
        """Who may hold rows."""
        [holders] = self._client.query(HOLDERS, key=str(list_id), beats=LOST_AFTER_BEATS)
        return list(map(_state, holders))

    def data_version(self) -> object:
        """None: a server tells only when it is asked."""
        return None


@reads("tv_claims")
def _claim_records(rows: Sequence[Sequence[int]]) -> ClaimRecords:
    generation, row, state, session_id, attempt, since = np.array(rows, np.int64).reshape(-1, 6).T
    times = np.ascontiguousarray(since).view("datetime64[us]")
    return ClaimRecords(Addresses(generation, row), state.astype(np.int8), session_id, attempt, times)


@reads("tv_work")
def work_of(row: Mapping[str, Any]) -> Work:
    """The work that a document stands for."""
    same = {generation: np.array(runs, np.int64).reshape(-1, 4) for generation, runs in row["same"]}
    return Work(row["list"], row["generation"], row["frontier"], same)


def check_claims(client: Client, *, fix: bool) -> list[Problem]:
    """Claims that would never fall back; with `fix` their rows are open again."""
    names = Counter(client.query(WITHOUT_HOLDER))
    if fix and names:
        client.query(OPEN_WITHOUT_HOLDER)
    return [Problem.without_holder(name, names[name], fixed=fix) for name in sorted(names)]


def finishing(finishes: Sequence[Finish], *, again: bool = False) -> dict[str, Any]:
    """The values of :data:`FINISHED`. With `again`, rows that the holder has finished already stay so."""
    rows = [
        [key, finish.holder.session_id, finish.holder.attempt]
        for finish in finishes
        for key in _keys(finish.list_id, finish.rows.pairs())
    ]
    works = sorted({str(finish.list_id) for finish in finishes})
    return {"rows": rows, "works": works, "most": int(ClaimState.DONE if again else ClaimState.HELD)}


def raise_if_lost(finishes: Sequence[Finish], held: Iterable[str]) -> None:
    """Raise ClaimLost unless the rows with the keys `held` are all of them."""
    held_keys = set(held)
    for finish in finishes:
        keys = _keys(finish.list_id, finish.rows.pairs())
        lost = [number for number, key in enumerate(keys) if key not in held_keys]
        if lost:
            raise finish.lost(lost)


def _keys(list_id: int, rows: Iterable[tuple[int, int]]) -> list[str]:
    return [f"{list_id}-{generation}-{row}" for generation, row in rows]


def _bound(holder: Holder) -> dict[str, int]:
    return {"session": holder.session_id, "attempt": holder.attempt}


def _state(row: Mapping[str, Any]) -> HolderState:
    holder = Holder(row["session"], row["attempt"])
    return HolderState(
        holder, row["host"] or "", row["pid"] or 0, to_time(row["started"] or 0), bool(row["lost"])
    )
