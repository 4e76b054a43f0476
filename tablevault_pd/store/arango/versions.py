"""Lists and versions, as the server tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.store import ListState, Version, VersionLookup
from tablevault_pd.store.arango.people import digest_of
from tablevault_pd.store.arango.placing import version_of
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tablevault_pd.store.arango.client import Client

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
FOR w IN @wanted
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
        asked = [
            [digest_of(each.name), each.version, None if each.time is None else from_time(each.time)]
            for each in lookups
        ]
        rows = self._client.query(FIND_VERSIONS, wanted=asked) if asked else []
        return [
            None if row is None else version_of({**row, "name": each.name})
            for row, each in zip(rows, lookups, strict=True)
        ]

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions of one list, or of all."""
        if name is not None:
            rows = self._client.query(VERSIONS_OF, digest=digest_of(name))
            return [version_of({**row, "name": name}) for row in rows]
        found = [version_of(row) for row in self._client.query(ALL_VERSIONS)]
        return sorted(found, key=lambda version: (version.time, version.list, version.version))

    def lists(self) -> list[ListState]:
        """Every list."""
        states = [
            ListState(version_of(row["head"]), to_time(row["created"]), int(row["bytes"] or 0))
            for row in self._client.query(HEADS)
        ]
        return sorted(states, key=lambda state: state.head.list)  # the server would sort as a language does

    def names(self, prefix: str = "") -> list[str]:
        """Names of lists."""
        return sorted(name for name in self._client.query(NAMES) if name.startswith(prefix))
