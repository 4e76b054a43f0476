"""Lists and versions on a server, and versions as batch documents and back."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store import ListState, ListSummary, Version, VersionLookup
from tablevault_pd.store.arango.sessions import digest_of
from tablevault_pd.store.engine.int_codec import pack_pieces, unpack_pieces
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.pieces import Pieces

# All statements: 3.12; nothing in them is newer than 3.8. Names are looked up by their hash, because the server compares
# texts by the rules of a language.
HEAD = """
LET list = FIRST(FOR l IN tv_lists FILTER l.digest == @digest RETURN l.id)
FOR b IN tv_batches FILTER b.list == list SORT b.version DESC LIMIT 1 RETURN UNSET(b, "pieces", "edges", "reads")
"""
ONE_VERSION = """
LET list = FIRST(FOR l IN tv_lists FILTER l.digest == @digest RETURN l.id)
FOR b IN tv_batches FILTER b.list == list AND b.version == @version RETURN UNSET(b, "pieces", "edges", "reads")
"""
VERSION_AT = """
LET list = FIRST(FOR l IN tv_lists FILTER l.digest == @digest RETURN l.id)
FOR b IN tv_batches FILTER b.list == list AND b.time <= @time SORT b.version DESC LIMIT 1 RETURN UNSET(b, "pieces", "edges", "reads")
"""
FIND_VERSIONS = """
FOR w IN @lookups
  LET list = FIRST(FOR l IN tv_lists FILTER l.digest == w[0] RETURN l.id)
  RETURN w[1] != null
    ? FIRST(FOR b IN tv_batches FILTER b.list == list AND b.version == w[1] RETURN UNSET(b, "pieces", "edges", "reads"))
    : w[2] != null
    ? FIRST(FOR b IN tv_batches FILTER b.list == list AND b.time <= w[2] SORT b.version DESC LIMIT 1
        RETURN UNSET(b, "pieces", "edges", "reads"))
    : FIRST(FOR b IN tv_batches FILTER b.list == list SORT b.version DESC LIMIT 1 RETURN UNSET(b, "pieces", "edges", "reads"))
"""
VERSIONS_OF = """
LET list = FIRST(FOR l IN tv_lists FILTER l.digest == @digest RETURN l.id)
FOR b IN tv_batches FILTER b.list == list SORT b.version RETURN UNSET(b, "parts", "pieces", "edges", "reads")
"""
# The copy of the name in a batch may be an old one: see names.py.
ALL_VERSIONS = """
FOR b IN tv_batches
  FILTER b.list > 0
  SORT b.list, b.version
  LET name = FIRST(FOR l IN tv_lists FILTER l.id == b.list RETURN l.name)
  RETURN MERGE(UNSET(b, "parts", "pieces", "edges", "reads"), {name})
"""
HEADS = """
FOR b IN tv_batches
  FILTER b.list > 0
  COLLECT list = b.list
    AGGREGATE version = MAX(b.version), created = MIN(b.time), bytes = SUM(b.emptied ? 0 : b.bytes)
  LET head = FIRST(FOR h IN tv_batches FILTER h.list == list AND h.version == version RETURN h)
  LET name = FIRST(FOR l IN tv_lists FILTER l.id == list RETURN l.name)
  RETURN {head: MERGE(UNSET(head, "parts", "pieces", "edges", "reads"), {name}), created, bytes}
"""
NAMES = """
FOR l IN tv_lists
  FILTER LENGTH(FOR b IN tv_batches FILTER b.list == l.id LIMIT 1 RETURN 1) > 0
  RETURN l.name
"""

Document = Mapping[str, Any]


class Versions:
    """What lists there are, and which versions of them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _one(self, statement: str, name: str, **values: Any) -> Version | None:
        rows = self._client.query(statement, digest=digest_of(name), **values)
        return version_of({**rows[0], "name": name}) if rows else None

    def head(self, name: str) -> Version | None:
        """The newest version of a list."""
        return self._one(HEAD, name)

    def version(self, name: str, version: int) -> Version | None:
        """One version of a list."""
        return self._one(ONE_VERSION, name, version=version)

    def version_at(self, name: str, time: datetime) -> Version | None:
        """The newest version at `time`."""
        return self._one(VERSION_AT, name, time=from_time(time))

    def find_versions(self, lookups: Sequence[VersionLookup]) -> list[Version | None]:
        """Versions by number or time, or the newest ones. One request."""
        if len(lookups) == 1:  # the statements for one are read from an index alone
            name, version, time = lookups[0].name, lookups[0].version, lookups[0].time
            if version is not None:
                return [self.version(name, version)]
            return [self.head(name) if time is None else self.version_at(name, time)]
        places = [
            [digest_of(lookup.name), lookup.version, None if lookup.time is None else from_time(lookup.time)]
            for lookup in lookups
        ]
        rows = self._client.query(FIND_VERSIONS, lookups=places) if places else []
        return [
            None if row is None else version_of({**row, "name": lookup.name})
            for row, lookup in zip(rows, lookups, strict=True)
        ]

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions of one list, or of all."""
        if name is not None:
            rows = self._client.query(VERSIONS_OF, digest=digest_of(name))
            return [version_of({**row, "name": name}) for row in rows]
        versions = [version_of(row) for row in self._client.query(ALL_VERSIONS)]
        return sorted(versions, key=lambda version: (version.time, version.list, version.version))

    def lists(self) -> list[ListState]:
        """Every list."""
        states = [
            ListState(version_of(row["head"]), to_time(row["created"]), int(row["bytes"] or 0))
            for row in self._client.query(HEADS)
        ]
        return sorted(states, key=lambda state: state.head.list)  # the server would sort as a language does

    def list_summary(self, shown: int) -> ListSummary:
        """The summary of all lists."""
        return ListSummary.of([state.head for state in self.lists()], shown)

    def names(self, prefix: str = "") -> list[str]:
        """Names of lists."""
        return sorted(name for name in self._client.query(NAMES) if name.startswith(prefix))


def version_of(document: Document) -> Version:
    """The version that a batch document stands for."""
    return Version(
        document["list"], document["name"], document["version"], document["operation"], document["generation"],
        document["start"], document["rows"], document["total"], int(document["schema"], 16), document["session"],
        document["cell"], to_time(document["time"]), tuple(document["tags"]), document.get("message"),
        document["gone"], document.get("step"), document.get("line"), document["layout"], document["first"],
        document["changed"], document["removed"], document.get("erased", 0),
    )  # fmt: skip


def document_of(version: Version, token: str, layout: Pieces | None) -> dict[str, Any]:
    """What a batch document says of its version; `layout` are the pieces that it, and those that lengthen it, begin with."""
    time = from_time(version.time)
    return {
        "list": version.list_id,
        "name": version.list,
        "version": version.version,
        "operation": version.operation,
        "generation": version.generation,
        "layout": version.layout,
        "pieces": None if layout is None else base64.b64encode(pack_pieces(layout)).decode("ascii"),
        "first": version.first,
        "start": version.start,
        "rows": version.rows,
        "total": version.total,
        "changed": version.changed,
        "removed": version.removed,
        "schema": schema_key(version.schema_id),
        "session": version.session_id,
        "cell": version.cell,
        "step": version.step,
        "line": version.line,
        "time": time,
        "committed": to_time(time).isoformat(),
        "tags": list(version.tags),
        "message": version.message,
        "token": token,
        "gone": version.gone,
        "emptied": False,
    }


def schema_key(schema_id: int) -> str:
    """The key of a schema's document."""
    return f"{schema_id:015x}"


def layout_of(pieces: str | None, where: str) -> Pieces:
    """The layout that a batch document holds. Raises VaultCorrupt: `where` is what is damaged."""
    try:
        return unpack_pieces(base64.b64decode(pieces or "", validate=True), where)
    except ValueError as error:
        raise VaultCorrupt(f"{where} is damaged: {error}. Restore the database from a backup.") from error
