"""Lists and versions on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.store import ListState, ListSummary, Version, VersionLookup
from tablevault_pd.store.arango.batches import HEAD, SHAPE, Document, list_name, version_of
from tablevault_pd.store.arango.records import reads
from tablevault_pd.store.arango.sessions import digest_of
from tablevault_pd.store.times import from_time, to_time
from tablevault_pd.store.types import version_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.reader import Reader

# All statements: 3.12; nothing in them is newer than 3.10. Names are looked up by their hash, because the server compares
# texts by the rules of a language. COLLECT makes the id of a list a plain variable: behind an attribute the server would read and
# sort all versions of the list to find the newest. Schemas come along for who does not know the lists.
FIND_VERSIONS = f"""
FOR l IN tv_lists
  FILTER l.digest IN @digests
  COLLECT digest = l.digest, list = l.id
  LET numbered = (
    FOR number IN NOT_NULL(@numbers[digest], [])
      FOR b IN tv_batches
        FILTER b.list == list AND b.version == number
        RETURN [number, null, {SHAPE}])
  LET dated = (
    FOR time IN NOT_NULL(@times[digest], [])
      RETURN [null, time, FIRST(
        FOR b IN tv_batches
          FILTER b.list == list AND b.time <= time
          SORT b.version DESC LIMIT 1
          RETURN {SHAPE})])
  LET versions = APPEND(numbered, dated[* FILTER CURRENT[2] != null])
  LET schemas = (
    FOR s IN tv_schemas
      FILTER s._key IN (digest IN @unknown ? versions[*][2].schema : [])
      RETURN [s._key, s.arrow, s.digest])
  RETURN [digest, versions, schemas]
"""
VERSIONS_OF = f"""
FOR list IN (FOR l IN tv_lists FILTER l.digest == @digest RETURN l.id)
  FOR b IN tv_batches
    FILTER b.list == list
    SORT b.version
    RETURN {SHAPE}
"""
ALL_VERSIONS = f"""
FOR b IN tv_batches
  FILTER b.list > 0 AND b.list < ""
  SORT b.list, b.version
  LET name = FIRST(FOR l IN tv_lists FILTER l.id == b.list RETURN l.name)
  RETURN MERGE({SHAPE}, {{name}})
"""
# The last row are the schemas. The size of a list is what its newest version says of all versions, less what a vacuum has
# removed since: see :func:`so_far`.
HEADS = f"""
LET lists = (
  FOR l IN tv_lists
    FILTER l.id > 0
    COLLECT list = l.id, name = l.name, lost = l.lost
    LET head = {HEAD}
    FILTER head != null
    LET created = FIRST(FOR b IN tv_batches FILTER b.list == list SORT b.version LIMIT 1 RETURN b.time)
    RETURN {{head: MERGE(head, {{name}}), created, bytes: head.so_far[0] - lost[0]}})
LET schemas = (
  FOR s IN tv_schemas
    FILTER s._key IN SLICE(UNIQUE(lists[*].head.schema), 0, @schemas)
    RETURN [s._key, s.arrow, s.digest])
FOR one IN PUSH(lists, schemas)
  RETURN one
"""
NAMES = """
FOR l IN tv_lists
  FILTER l.id > 0 AND LENGTH(FOR b IN tv_batches FILTER b.list == l.id LIMIT 1 RETURN 1) > 0
  RETURN [l.name, l.id]
"""
NEWEST = 1 << 53  # later than any time of a version
SCHEMAS_AT_ONCE = 64  # that come with the lists to a process that knows none


class Versions:
    """What lists there are, and which versions of them."""

    def __init__(self, client: Client, reader: Reader) -> None:
        self._client, self._reader = client, reader
        self._known: set[str] = set()  # lists that were looked up, by the digest of the name

    def head(self, name: str) -> Version | None:
        """The newest version of a list."""
        return self.find_versions([VersionLookup(name)])[0]

    def version(self, name: str, version: int) -> Version | None:
        """One version of a list."""
        return self.find_versions([VersionLookup(name, version)])[0]

    def version_at(self, name: str, time: datetime) -> Version | None:
        """The newest version at `time`."""
        return self.find_versions([VersionLookup(name, time=time)])[0]

    def find_versions(self, lookups: Sequence[VersionLookup]) -> list[Version | None]:
        """Versions by number or time, or the newest ones. One request."""
        places = [_place(lookup) for lookup in lookups]
        numbers: dict[str, list[int]] = {}
        times: dict[str, list[int]] = {}
        for digest, number, time in places:
            if number is not None:
                numbers.setdefault(digest, []).append(number)
            elif time is not None:
                times.setdefault(digest, []).append(time)
        digests = numbers.keys() | times.keys()
        binds = {"digests": list(digests), "unknown": list(digests - self._known)}
        rows = self._client.query(FIND_VERSIONS, numbers=numbers, times=times, binds=binds) if places else []
        batches: dict[tuple[str, int | None, int | None], Document] = {}
        for digest, versions, schemas in rows:
            self._known.add(digest)
            self._reader.keep_schemas(schemas)
            batches |= {(digest, number, time): batch for number, time, batch in versions}
        return [
            None if place not in batches else version_of({**batches[place], "name": lookup.name})
            for place, lookup in zip(places, lookups, strict=True)
        ]

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions of one list, or of all."""
        if name is not None:
            rows = self._client.query(VERSIONS_OF, digest=digest_of(name))
            return [version_of({**row, "name": name}) for row in rows]
        versions = [version_of(row) for row in self._client.query(ALL_VERSIONS)]
        return sorted(versions, key=lambda version: (version.time, version.list, version.version))

    def version_columns(self, name: str | None = None) -> dict[str, Sequence[Any]]:
        """The same, by column."""
        return version_columns(self.versions(name))

    def lists(self) -> list[ListState]:
        """Every list."""
        *rows, schemas = self._client.query(HEADS, schemas=0 if self._known else SCHEMAS_AT_ONCE)
        self._reader.keep_schemas(schemas)
        states = list(map(_list_state, rows))
        self._known |= {digest_of(state.head.list) for state in states}
        return sorted(states, key=lambda state: state.head.list)  # the server would sort as a language does

    def list_summary(self, shown: int) -> ListSummary:
        """The summary of all lists."""
        return ListSummary.of([state.head for state in self.lists()], shown)

    def names(self, prefix: str = "") -> list[str]:
        """Names of lists."""
        names = (list_name(name, list_id) for name, list_id in self._client.query(NAMES))
        return sorted(name for name in names if name.startswith(prefix))


@reads("tv_lists")
def _list_state(row: dict[str, Any]) -> ListState:
    return ListState(version_of(row["head"]), to_time(row["created"]), int(row["bytes"] or 0))


def _place(lookup: VersionLookup) -> tuple[str, int | None, int | None]:
    """The list of a look-up by its digest, and the number or the time of the version."""
    if lookup.version is not None:
        return digest_of(lookup.name), lookup.version, None
    return digest_of(lookup.name), None, NEWEST if lookup.time is None else from_time(lookup.time)
