"""Sessions, their cells, and descriptions, as documents."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from tablevault_pd.errors import SessionNotFound, VaultBusy
from tablevault_pd.store import Cell, Description, Session
from tablevault_pd.store.arango.client import NOT_FOUND, UNIQUE, Client, Said
from tablevault_pd.store.arango.layout import CELLS, SESSIONS
from tablevault_pd.store.arango.placing import from_time, to_time

# All statements: 3.12; nothing in them is newer than 3.8.
NEW_SESSION_ID = """
LET run = FIRST(FOR s IN tv_sessions FILTER s.digest == @digest SORT s.run DESC LIMIT 1 RETURN s.run)
FOR m IN tv_meta
  FILTER m._key == "sessions"
  UPDATE m WITH {value: m.value + 1} IN tv_meta
  RETURN {id: NEW.value, run: (run == null ? 0 : run) + 1}
"""
LAST_RUN = "FOR s IN tv_sessions FILTER s.digest == @digest SORT s.run DESC LIMIT 1 RETURN s.run"
SESSION_KEYED = "FOR s IN tv_sessions FILTER s._key == @key RETURN s"
ALL_SESSIONS = "FOR s IN tv_sessions SORT s.id RETURN s"
SESSIONS_NAMED = "FOR s IN tv_sessions FILTER s.digest == @digest SORT s.id RETURN s"
SESSIONS_BY_ID = "FOR s IN tv_sessions FILTER s.id IN @ids SORT s.id RETURN s"
ALL_CELLS = "FOR c IN tv_cells SORT c.session, c.cell RETURN c"
CELLS_OF = "FOR c IN tv_cells FILTER c.session IN @ids SORT c.session, c.cell RETURN c"
# A key made by the client and "ignore" let it be repeated; the number orders descriptions of one moment.
ADD_DESCRIPTIONS = """
FOR m IN tv_meta
  FILTER m._key == "descriptions"
  UPDATE m WITH {value: m.value + @count} IN tv_meta
  LET first = NEW.value - @count
  FOR d IN @documents
    INSERT MERGE(d, {seq: first + d.number, time: DATE_NOW() * 1000}) INTO tv_descriptions
      OPTIONS {overwriteMode: "ignore", waitForSync: true}
"""
DESCRIPTIONS = """
FOR d IN tv_descriptions
  FILTER d.batch == null OR LENGTH(FOR b IN tv_batches FILTER b._key == d.batch AND b.list > 0 RETURN 1) > 0
  SORT d.seq
  RETURN d
"""
_TIMES = ("started", "ended", "heartbeat")
_EXACT = ("params", "info")


class People:
    """Who made what, and what was said about it."""

    client: Client

    def describe(self, description: Description) -> None:
        """Keep a description."""
        self.client.writable()
        document = description_document(description, 0, None)
        self.client.query(ADD_DESCRIPTIONS, documents=[document], count=1)

    def descriptions(self) -> list[Description]:
        """The newest description of each target and label."""
        newest: dict[tuple[Any, ...], Description] = {}
        for row in self.client.query(DESCRIPTIONS):
            key = (row["list"], row["session_of"], row["label"])
            newest.pop(key, None)  # the newest one takes its place in the order, too
            newest[key] = description_of(row)
        return list(newest.values())

    def open_session(self, session: Session) -> Session:
        """Keep a new session."""
        self.client.writable()
        digest = _digest(session.name)
        [claimed] = self.client.query(NEW_SESSION_ID, digest=digest)
        opening = (
            uuid.uuid4().hex
        )  # tells our own document, stored by a request we heard nothing of, from another's
        run = claimed["run"]
        for _ in range(1000):
            opened = replace(session, id=claimed["id"], run=run)
            try:
                self.client.insert(
                    SESSIONS, {**_document(opened), "digest": digest, "opening": opening}, expect=(UNIQUE,)
                )
                return opened
            except Said:
                mine = self.client.query(SESSION_KEYED, key=str(claimed["id"]))
                if mine and mine[0]["opening"] == opening:
                    return replace(opened, run=mine[0]["run"])
            run = self.client.query(LAST_RUN, digest=digest)[0] + 1
        raise VaultBusy(
            f"Others kept opening sessions named {session.name!r}. Try again, or choose another name."
        )

    def update_session(self, session_id: int, **changes: Any) -> None:
        """Set fields of a session."""
        self.client.writable()
        document = {"_key": str(int(session_id)), **_fields(changes)}
        try:
            self.client.run(
                lambda db: db.collection(SESSIONS).update(
                    document, check_rev=False, merge=False, keep_none=True, silent=True, sync=self.client.sync
                ),
                expect=(NOT_FOUND,),
            )
        except Said:
            raise SessionNotFound(f"No session with the id {session_id} is in this vault.") from None

    def sessions(self, ids: Sequence[int] | None = None, *, name: str | None = None) -> list[Session]:
        """Sessions, oldest first."""
        if ids is not None:
            rows = self.client.query(SESSIONS_BY_ID, ids=[int(key) for key in ids])
        elif name is not None:
            rows = self.client.query(SESSIONS_NAMED, digest=_digest(name))
        else:
            rows = self.client.query(ALL_SESSIONS)
        return [_session(row) for row in rows]

    def put_cell(self, cell: Cell) -> None:
        """Keep a cell."""
        self.client.writable()
        document = {
            "_key": f"{cell.session_id}-{cell.cell}",
            "session": cell.session_id,
            "cell": cell.cell,
            "text": cell.text,
            "started": from_time(cell.started),
            "duration_s": cell.duration_s,
            "outcome": cell.outcome,
            "error": cell.error,
            "traceback": cell.traceback,
        }
        self.client.insert(CELLS, document, mode="replace")

    def cells(self, session_ids: Sequence[int] | None = None) -> list[Cell]:
        """Cells in order."""
        if session_ids is None:
            rows = self.client.query(ALL_CELLS)
        else:
            rows = self.client.query(CELLS_OF, ids=[int(key) for key in session_ids])
        return [
            Cell(
                row["session"], row["cell"], row["text"], to_time(row["started"]), _float(row["duration_s"]),
                row["outcome"], row["error"], row["traceback"],
            )
            for row in rows
        ]  # fmt: skip


def description_document(description: Description, number: int, batch: str | None) -> dict[str, Any]:
    """A description as it is stored; `batch` makes it count only when that batch is there."""
    vector = description.vector
    return {
        "_key": uuid.uuid4().hex if batch is None else f"{batch}-{number}",
        "number": number,
        "batch": batch,
        "list": description.list_id,
        "session_of": description.session_of,
        "label": description.label,
        "text": description.text,
        "vector": None if vector is None else [float(value) for value in vector],
        "exact_vector": None if vector is None else json.dumps(vector),
        "session": description.session_id,
    }


def description_of(row: Mapping[str, Any]) -> Description:
    """The description that a document stands for."""
    exact = row["exact_vector"]
    vector = None if exact is None else tuple(float(value) for value in json.loads(exact))
    return Description(
        row["label"],
        row["text"],
        row["list"],
        row["session_of"],
        vector,
        row["session"],
        to_time(row["time"]),
    )


def _document(session: Session) -> dict[str, Any]:
    return {
        "_key": str(session.id),
        "id": session.id,
        "name": session.name,
        "run": session.run,
        "user": session.user,
        "host": session.host,
        "pid": session.pid,
        "parent": session.parent,
        **_fields(
            {
                "started": session.started,
                "ended": session.ended,
                "heartbeat": session.heartbeat,
                "outcome": session.outcome,
                "error": session.error,
                "tags": session.tags,
                "params": session.params,
                "info": session.info,
            }
        ),
    }


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a session as they are stored."""
    stored: dict[str, Any] = {}
    for name, value in values.items():
        if name in _TIMES:
            stored[name] = None if value is None else from_time(value)
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


def _session(row: Mapping[str, Any]) -> Session:
    times = {name: None if row[name] is None else to_time(row[name]) for name in _TIMES}
    started: datetime | None = times["started"]
    assert started is not None
    return Session(
        row["name"], row["user"], row["host"], row["pid"], started, row["id"], row["run"], row["parent"],
        times["ended"], times["heartbeat"], row["outcome"], row["error"], tuple(row["tags"]),
        json.loads(row["exact_params"]), json.loads(row["exact_info"]),
    )  # fmt: skip


def _number(text: str) -> int | str:
    """An integer if the server can hold it."""
    number = int(text)
    return number if -(2**63) <= number < 2**63 else text


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _digest(name: str) -> str:
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
