"""Sessions, their cells, and descriptions, as documents."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from tablevault_pd.errors import Conflict, SessionContinued, SessionNotFound, VaultBusy
from tablevault_pd.store import Cell, Description, Session, SessionLabel
from tablevault_pd.store.arango.records import attributes_of, reads, record_of
from tablevault_pd.store.arango.server_errors import NOT_FOUND, UNIQUE, ExpectedError
from tablevault_pd.store.arango.terms import code_words, prose_words
from tablevault_pd.store.session_types import free_run, same_session
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tablevault_pd.store.arango.client import Client

# All statements: 3.12 now; nothing in them is newer than 3.8 (overwriteMode: 3.7), and nothing is removed in 4.0.
# A statement reads a collection before it writes it, and writes it at one place: more the server does not allow.
#
# `opening` is made by the client: what a request did whose answer was lost is recognised when it comes again.
OPEN_SESSION = """
LET now = DATE_NOW() * 1000
LET mine = FIRST(FOR s IN tv_sessions FILTER s.opening == @opening RETURN s)
LET run = FIRST(FOR s IN tv_sessions FILTER s.digest == @digest SORT s.run DESC LIMIT 1 RETURN s.run)
LET parent = FIRST(FOR s IN tv_sessions FILTER s.id == @parent RETURN s.id)
LET made = (
  FOR m IN tv_meta
    FILTER m._key == "sessions" AND mine == null
    UPDATE m WITH {value: m.value + 1} IN tv_meta
    LET key = TO_STRING(NEW.value)
    LET session = MERGE(@session, {_key: key, id: NEW.value, run: (run == null ? 0 : run) + 1, parent: parent,
      digest: @digest, opening: @opening, openings: 1, started: now, heartbeat: now, timeline: {"0": {began: now}}})
    INSERT session INTO tv_sessions OPTIONS {waitForSync: true}
    INSERT MERGE(@info, {_key: key}) INTO tv_infos OPTIONS {waitForSync: true}
    RETURN session
)
RETURN mine == null ? made[0] : mine
"""
# What was asked of a process that is no more is not asked of the one that takes its place.
REOPEN_SESSION = """
LET now = DATE_NOW() * 1000
LET parent = FIRST(FOR s IN tv_sessions FILTER s.id == @parent RETURN s.id)
LET open = (FOR s IN tv_sessions FILTER s.id == @id AND (s.heartbeat == @seen OR s.opening == @opening) RETURN s)
LET reopened = (
  FOR s IN open
    LET again = s.opening == @opening
    LET attempt = {began: now, previous_ended: NOT_NULL(s.ended, s.heartbeat, s.started)}
    UPDATE s WITH MERGE(@session, {parent: parent, heartbeat: now, opening: @opening,
      openings: s.openings + (again ? 0 : 1), ended: null, paused: false, outcome: null, error: null,
      timeline: again ? s.timeline : MERGE(s.timeline, {[TO_STRING(s.openings)]: attempt})})
      IN tv_sessions OPTIONS {keepNull: true, mergeObjects: false, ignoreRevs: false, waitForSync: true}
    RETURN NEW
)
LET told = (
  FOR s IN open INSERT MERGE(@info, {_key: s._key}) INTO tv_infos OPTIONS {overwriteMode: "replace", waitForSync: true}
)
LET forgotten = (
  FOR r IN tv_requests
    FILTER LENGTH(open) > 0 AND r.session == @id AND r.acknowledged == null
    UPDATE r WITH {acknowledged: now} IN tv_requests OPTIONS {waitForSync: true}
)
FOR s IN reopened RETURN s
"""
# An unknown key fails the statement as a whole.
PUT_SESSION = """
LET made = (
  FOR m IN tv_meta
    FILTER m._key == "sessions"
    UPDATE m WITH {value: m.value + 1} IN tv_meta
    LET key = TO_STRING(NEW.value)
    INSERT MERGE(@session, {_key: key, id: NEW.value}) INTO tv_sessions OPTIONS {waitForSync: true}
    RETURN key
)
LET told = (INSERT MERGE(@info, {_key: made[0]}) INTO tv_infos OPTIONS {overwriteMode: "replace", waitForSync: true})
RETURN TO_NUMBER(made[0])
"""
UPDATE_SESSION = """
LET changed = (
  UPDATE {_key: @key} WITH @changes IN tv_sessions OPTIONS {keepNull: true, mergeObjects: false, waitForSync: true}
)
FOR i IN @infos INSERT i INTO tv_infos OPTIONS {overwriteMode: "replace", waitForSync: true}
"""
# What is there already stays where it is, so that a request that comes again changes nothing more.
CHANGE_TAGS = """
LET sessions = (
  FOR s IN tv_sessions
    FILTER s.id IN @sessions
    UPDATE s WITH {tags: REMOVE_VALUES(APPEND(s.tags, @add, true), @remove)} IN tv_sessions OPTIONS {waitForSync: true}
)
FOR v IN @versions
  FOR b IN tv_batches
    FILTER b.list == v[0] AND b.version == v[1]
    UPDATE b WITH {tags: REMOVE_VALUES(APPEND(b.tags, @add, true), @remove)} IN tv_batches OPTIONS {waitForSync: true}
"""
_RECORD = 'SORT s.id RETURN UNSET(s, "params", "timeline")'
ALL_SESSIONS = f"FOR s IN tv_sessions FILTER s.id > 0 {_RECORD}"
SESSIONS_NAMED = f"FOR s IN tv_sessions FILTER s.digest == @digest {_RECORD}"
SESSIONS_BY_ID = f"FOR s IN tv_sessions FILTER s.id IN @ids {_RECORD}"
INFOS_OF = "FOR i IN tv_infos FILTER i._key IN @keys RETURN [i._key, i.exact_info]"
SESSION_IDS = "FOR s IN tv_sessions FILTER s.id > 0 SORT s.id RETURN s.id"
_LABEL = "SORT s.id RETURN [s.id, s.name, s.run, s.started, s.openings - 1]"
SESSION_LABELS = f"FOR s IN tv_sessions FILTER s.id > 0 {_LABEL}"
SESSION_LABELS_OF = f"FOR s IN tv_sessions FILTER s.id IN @ids {_LABEL}"
# Who resumed a session, if another attempt of it has begun than that which writes.
RESUMED = """
LET resumed = (FOR s IN tv_sessions FILTER @openings != null AND s._key == @session AND s.openings != @openings
  RETURN [s.name, s.run, s.pid, s.host])
"""
PUT_CELL = """
INSERT MERGE(@cell, {saved: DATE_NOW() * 1000}) INTO tv_cells OPTIONS {overwriteMode: "replace", waitForSync: true}
"""
_CELL = 'SORT c.session, c.cell RETURN UNSET(c, "parts", "wholes")'
ALL_CELLS = f"FOR c IN tv_cells FILTER c.session > 0 {_CELL}"
CELLS_OF = f"FOR c IN tv_cells FILTER c.session IN @ids {_CELL}"
PARAM = "FOR s IN tv_sessions FILTER s.id > 0 AND HAS(s.params, @name) RETURN [s.id, s.params[@name]]"
METRIC = "FOR l IN tv_latest FILTER l.digest == @digest AND l.session > 0 RETURN [l.session, l.value]"
# A key made by the client and "ignore" let it be repeated; the number orders descriptions of one moment.
ADD_DESCRIPTIONS = """
FOR m IN tv_meta
  FILTER m._key == "descriptions"
  UPDATE m WITH {value: m.value + @count} IN tv_meta
  LET first = NEW.value - @count
  FOR d IN @documents
    INSERT MERGE(d, {seq: first + d.number, time: d.time == null ? DATE_NOW() * 1000 : d.time}) INTO tv_descriptions
      OPTIONS {overwriteMode: "ignore", waitForSync: true}
"""
DESCRIBE = f"""
{RESUMED}
LET added = (FOR may IN [LENGTH(resumed) == 0] FILTER may {ADD_DESCRIPTIONS})
FOR by IN resumed RETURN by
"""
DESCRIPTIONS = """
FOR d IN tv_descriptions
  FILTER d.seq >= 0
  FILTER d.batch == null OR LENGTH(FOR b IN tv_batches FILTER b._key == d.batch AND b.list > 0 RETURN 1) > 0
  SORT d.seq
  RETURN UNSET(d, "stems", "words")
"""
_Row = TypeVar("_Row", bound="Mapping[str, Any]")
_EXACT = ("params", "info")
_OPENED = ("name", "user", "host", "pid", "beat_s", "tags", "params")
_COPIED = (
    "user", "host", "pid", "parent", "ended", "heartbeat", "beat_s", "paused", "outcome", "error", "tags", "params",
)  # fmt: skip


class Descriptions:
    """What was said about the lists and sessions of a vault on a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def describe(self, description: Description, *, attempt: int | None = None) -> None:
        """Keep a description."""
        document = description_document(description, 0, None)
        by = attempt_of(description.session_id, attempt)
        for resumed in self._client.write(DESCRIBE, documents=[document], count=1, binds=by):
            raise continued_by(resumed)

    def descriptions(self, *, history: bool = False) -> list[Description]:
        """The newest description of each target and label, or all that ever were, oldest first."""
        rows = self._client.query(DESCRIPTIONS)
        return [description_of(row) for row in (rows if history else newest_of(rows))]


class SessionRecords:
    """The sessions of a vault on a server, and the code they ran."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def open_session(self, session: Session) -> Session:
        """Keep a new session."""
        values = _opening(session) | {"digest": digest_of(session.name)}
        for _ in range(100):
            try:
                [row] = self._client.write(OPEN_SESSION, expect=(UNIQUE,), binds=values)
            except ExpectedError:  # another one took this run
                continue
            return replace(to_session(row), info=session.info)
        raise VaultBusy(
            f"Others kept opening sessions named {session.name!r}. Try again, or choose another name."
        )

    def reopen_session(self, session: Session, *, last_beat: datetime | None) -> Session:
        """Let a run go on in another process."""
        seen_at = None if last_beat is None else from_time(last_beat)
        rows = self._client.write(REOPEN_SESSION, id=session.id, seen=seen_at, binds=_opening(session))
        if not rows:
            raise Conflict(
                f"The session {session.label} cannot be continued: it beats again, or another process took it."
            )
        return to_session(rows[0])

    def put_session(self, session: Session, timeline: Mapping[str, Any]) -> Session:
        """Keep a session of another vault as it was there."""
        for _ in range(100):
            named = self.sessions(name=session.name)
            present = same_session(session, named)
            if present is not None:
                return self._bring_up_to_date(session, present, timeline)
            run = free_run(session, named)
            values = _opening(session)
            document = {
                **values["session"],
                **_copied_fields(session, timeline),
                "run": run,
                "digest": digest_of(session.name),
                "started": from_time(session.started),
                "opening": values["opening"],
            }
            try:
                [key] = self._client.write(
                    PUT_SESSION, session=document, info=values["info"], expect=(UNIQUE,)
                )
            except ExpectedError:  # another one took this run; or this one, and its answer was lost
                continue
            return replace(session, id=int(key), run=run)
        raise VaultBusy(f"Others kept opening sessions named {session.name!r}. Try again.")

    def _bring_up_to_date(self, session: Session, present: Session, timeline: Mapping[str, Any]) -> Session:
        tags = tuple(dict.fromkeys([*session.tags, *present.tags]))
        fields = _copied_fields(replace(session, tags=tags), timeline)
        infos = [{"_key": str(present.id), **_fields({"info": session.info})}]
        self._client.write(UPDATE_SESSION, key=str(present.id), changes=fields, infos=infos)
        return replace(session, id=present.id, run=present.run, tags=tags)

    def update_session(self, session_id: int, /, **changes: Any) -> None:
        """Set fields of a session."""
        fields, infos = changed(session_id, changes)
        try:
            self._client.write(
                UPDATE_SESSION, key=str(int(session_id)), changes=fields, infos=infos, expect=(NOT_FOUND,)
            )
        except ExpectedError:
            raise SessionNotFound(f"No session with the id {session_id} is in this vault.") from None

    def change_tags(
        self,
        *,
        sessions: Sequence[int] = (),
        versions: Sequence[tuple[int, int]] = (),
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
    ) -> None:
        """Add and remove tags of sessions and versions."""
        self._client.write(
            CHANGE_TAGS,
            sessions=[int(key) for key in sessions],
            versions=[list(pair) for pair in versions],
            add=list(add),
            remove=list(remove),
        )

    def sessions(
        self, ids: Sequence[int] | None = None, *, name: str | None = None, info: bool = False
    ) -> list[Session]:
        """Sessions, oldest first."""
        if ids is None and name is not None:
            rows = self._client.query(SESSIONS_NAMED, digest=digest_of(name))
        else:
            rows = self._client.query_of(ids, ALL_SESSIONS, SESSIONS_BY_ID)
        if not info:
            return [to_session(row) for row in rows]
        infos = dict(self._client.query(INFOS_OF, keys=[row["_key"] for row in rows]))
        return [
            replace(to_session(row), info=_info_of([row["_key"], infos.get(row["_key"])])) for row in rows
        ]

    def session_ids(self) -> list[int]:
        """All sessions, oldest first."""
        return self._client.query(SESSION_IDS)

    def session_labels(self, ids: Sequence[int] | None = None) -> list[SessionLabel]:
        """Names and times of sessions, oldest first."""
        return list(map(_label, self._client.query_of(ids, SESSION_LABELS, SESSION_LABELS_OF)))

    def session_values(self, column: str) -> dict[int, Any]:
        """The value of one parameter or metric, by session; what only the session itself knows exactly is `NESTED`."""
        kind, _, name = column.partition(".")
        if kind == "metrics":
            return dict(map(_last_value, self._client.query(METRIC, digest=digest_of(name))))
        return {key: _plain(value) for key, value in self._client.query(PARAM, name=name)}

    def put_cell(self, cell: Cell) -> None:
        """Keep a cell."""
        self._client.write(PUT_CELL, cell=cell_document(cell))

    def cells(self, session_ids: Sequence[int] | None = None) -> list[Cell]:
        """Cells in order."""
        return [cell_of(row) for row in self._client.query_of(session_ids, ALL_CELLS, CELLS_OF)]


@reads("tv_sessions")
def attempt_of(session_id: int | None, attempt: int | None) -> dict[str, Any]:
    """The attempt of a session that writes, as :data:`RESUMED` is told of it."""
    openings = None if session_id is None or attempt is None else attempt + 1
    return {"session": str(session_id), "openings": openings}


def continued_by(resumed: Sequence[Any]) -> SessionContinued:
    """The error that tells of a row of :data:`RESUMED`."""
    name, run, pid, host = resumed
    return SessionContinued.by(f"{name}#{run}", pid, host)


def _label(row: Sequence[Any]) -> SessionLabel:
    key, name, run, started, attempt = row
    return SessionLabel(key, name, run, int(started), int(attempt))


@reads("tv_infos")
def _info_of(row: Sequence[Any]) -> dict[str, Any]:
    return dict(json.loads(row[1]))


@reads("tv_latest")
def _last_value(row: Sequence[Any]) -> tuple[int, float]:
    return int(row[0]), float(row[1])


@reads("tv_cells")
def cell_of(row: Mapping[str, Any]) -> Cell:
    """The cell that a document stands for."""
    duration_s = row["duration_s"]
    return record_of(Cell, {**row, "duration_s": None if duration_s is None else float(duration_s)})


def cell_document(cell: Cell) -> dict[str, Any]:
    """A cell as it is stored."""
    return {"_key": f"{cell.session_id}-{cell.cell}", **attributes_of(cell), **code_words(cell.text)}


def description_document(description: Description, number: int, batch: str | None) -> dict[str, Any]:
    """A description as it is stored; `batch` makes it count only when that batch is there."""
    vector = description.vector
    return {
        **attributes_of(description),
        "_key": uuid.uuid4().hex if batch is None else f"{batch}-{number}",
        "number": number,
        "batch": batch,
        "vector": None if vector is None else [float(value) for value in vector],
        "exact_vector": None if vector is None else json.dumps(vector),
        **prose_words(description.text),
    }


@reads("tv_descriptions")
def description_of(row: Mapping[str, Any]) -> Description:
    """The description that a document stands for."""
    exact = row["exact_vector"]
    vector = None if exact is None else tuple(float(value) for value in json.loads(exact))
    return record_of(Description, {**row, "vector": vector})


def newest_of(rows: Sequence[_Row]) -> list[_Row]:
    """The newest description of each target and label, from all in order: it takes its place in the order, too."""
    newest: dict[tuple[Any, ...], _Row] = {}
    for row in rows:
        key = _target(row)
        newest.pop(key, None)
        newest[key] = row
    return list(newest.values())


@reads("tv_descriptions")
def _target(row: Mapping[str, Any]) -> tuple[Any, ...]:
    target = (row["list"], row["session_of"], row["label"])
    hash(target)
    return target


def _opening(session: Session) -> dict[str, Any]:
    """What :data:`OPEN_SESSION` and :data:`REOPEN_SESSION` are told of a session."""
    begins = {"paused": False, "ended": None, "outcome": None, "error": None}
    return {
        "session": _fields({name: getattr(session, name) for name in _OPENED}) | begins,
        "info": _fields({"info": session.info}),
        "parent": session.parent,
        "opening": uuid.uuid4().hex,
    }


def _copied_fields(session: Session, timeline: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a session of another vault that may change there."""
    fields = _fields({name: getattr(session, name) for name in _COPIED})
    return fields | {"openings": session.attempt + 1, "timeline": dict(timeline)}


def changed(session_id: int, changes: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What changes in the session's document, and the document of its info, if that changes."""
    fields = _fields({name: value for name, value in changes.items() if name != "info"})
    if "info" not in changes:
        return fields, []
    return fields, [{"_key": str(int(session_id)), **_fields({"info": changes["info"]})}]


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a session as they are stored."""
    stored: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, datetime):
            stored[name] = from_time(value)
        elif name == "tags":
            stored[name] = list(value)
        elif name in _EXACT:
            # Twice: for queries as an object, in which the server makes 1.0 a 1 and NaN a null, and exactly as text.
            exact = json.dumps(dict(value))
            stored[f"exact_{name}"] = exact
            stored[name] = json.loads(exact, parse_int=_number, parse_constant=lambda constant: None)
        else:
            stored[name] = value
    return stored


@reads("tv_sessions")
def to_session(row: Mapping[str, Any]) -> Session:
    """A stored session, without its info."""
    ended, heartbeat = (None if row[name] is None else to_time(row[name]) for name in ("ended", "heartbeat"))
    return Session(
        row["name"], row["user"], row["host"], row["pid"], to_time(row["started"]), row["id"], row["run"], row["parent"],
        ended, heartbeat, row["outcome"], row["error"], tuple(row["tags"]), json.loads(row["exact_params"]), {},
        float(row["beat_s"]), row["paused"], attempt=row["openings"] - 1,
    )  # fmt: skip


def _number(text: str) -> int | str:
    """An integer if the server can hold it."""
    number = int(text)
    return number if -(2**63) <= number < 2**63 else text


def _plain(value: Any) -> Any:
    """A stored parameter, if that says all: a null may have been an infinity, a text of many digits a number."""
    if value is None or isinstance(value, (list, dict)) or (isinstance(value, str) and _HUGE.match(value)):
        return NESTED
    return value


def digest_of(name: str) -> str:
    """What a name is looked up by."""
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


NESTED = object()  #: stands for a value that is not kept by itself
_HUGE = re.compile(r"-?[0-9]{19,}$")
