"""Names of versions and lists on a server.

Each change is one statement that writes the documents of the lists concerned, and nothing where one of them was written since
it was looked at: of two changes at once, a vacuum of the list among them, the later one looks again. A name that was removed leaves
a document behind that a vacuum takes: a statement cannot both write and remove documents of one collection. The name of a list is
in its document alone.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import NameTaken, VersionNotFound, short_repr
from tablevault_pd.store import Rename, VersionName
from tablevault_pd.store.arango.batches import HEAD, NAMED, list_name, version_of
from tablevault_pd.store.arango.records import attributes_of, reads, record_of
from tablevault_pd.store.arango.server_errors import UNIQUE, ExpectedError
from tablevault_pd.store.arango.sessions import RESUMED, attempt_of, continued_by, digest_of
from tablevault_pd.store.engine.name_rules import check_rename, check_snapshot, check_tag, check_untag
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tablevault_pd.store import Version
    from tablevault_pd.store.arango.client import Client

# All statements: 3.12; nothing in them is newer than 3.8.
LIST_NAMES = "FOR l IN tv_lists FILTER l.id > 0 RETURN [l.id, l.name]"
_NAMED = """
  LET called = FIRST(FOR l IN tv_lists FILTER l.id == n.list RETURN l.name)
  RETURN MERGE(n, {called})
"""
NAMES = f"FOR n IN tv_version_names FILTER n.list > 0{_NAMED}"
ONE_NAME = f"FOR n IN tv_version_names FILTER n.digest == @digest{_NAMED}"
FIND_NAMED = """
FOR w IN @names
  LET list = FIRST(FOR l IN tv_lists FILTER l.digest == w[0] RETURN l.id)
  RETURN FIRST(FOR n IN tv_version_names FILTER n.digest == w[1] AND n.list == list RETURN n.version)
"""
NAMED_OF = "FOR n IN tv_version_names FILTER n.list == @list RETURN DISTINCT n.version"
# What a change of names looks at: the documents of the lists, the versions to be named, and what the names stand for.
STATE_OF_NAMES = f"""
LET versions = (
  FOR w IN @versions
    FOR b IN tv_batches
      FILTER b.list == w[0] AND b.version == w[1]
      RETURN {NAMED})
LET names = (FOR n IN tv_version_names FILTER n.digest IN @digests{_NAMED})
LET lists = (
  FOR l IN tv_lists
    FILTER l.id IN APPEND(@versions[*][0], names[* FILTER @snapshots AND CURRENT.snapshot].list)
    RETURN [l.id, l._rev, l.name])
RETURN {{lists, versions, names}}
"""
STATE_OF_ALL = f"""
LET lists = (FOR l IN tv_lists FILTER l.id > 0 AND l.id < "" RETURN [l.id, l._rev, l.name])
LET versions = (
  FOR list IN lists[*][0]
    LET head = {HEAD}
    FILTER head != null
    RETURN head)
LET names = (FOR n IN tv_version_names FILTER n.digest IN @digests{_NAMED})
RETURN {{lists, versions, names}}
"""
# Nothing where one of the lists was written since it was looked at, or another attempt of the session has begun.
PUT_NAMES = (
    RESUMED
    + """
LET now = DATE_NOW() * 1000
LET same = LENGTH(resumed) == 0
  AND LENGTH(FOR l IN tv_lists FILTER l.id IN @lists AND l._rev IN @revisions RETURN 1) == LENGTH(@lists)
LET touched = (FOR l IN tv_lists FILTER same AND l.id IN @lists UPDATE l WITH {touched: @token} IN tv_lists)
LET put = (
  FOR d IN @documents
    FILTER same
    INSERT MERGE(d, {time: now}) INTO tv_version_names OPTIONS {overwriteMode: "replace", waitForSync: true})
RETURN {time: same ? now : null, resumed}
"""
)
FORGET_REMOVED = (
    "FOR n IN tv_version_names FILTER n.list == null AND n.removed == true REMOVE n IN tv_version_names"
)
# A name that another list has by now is that list's; a document without batches is that of a list that is being made.
RENAMED = """
LET list = FIRST(FOR l IN tv_lists FILTER l.digest == @digest RETURN l.id)
LET there = LENGTH(FOR b IN tv_batches FILTER b.list == list LIMIT 1 RETURN 1)
FOR r IN tv_renames
  FILTER there == 0 AND r.digest == @digest
  SORT r.time DESC
  LIMIT 1
  RETURN FIRST(FOR l IN tv_lists FILTER l.id == r.list RETURN l.name)
"""
# A rename looks first, and then changes nothing where the list's document was written meanwhile: by a delete, say.
LOOK = f"""
LET known = FIRST(FOR l IN tv_lists FILTER l.digest == @old RETURN KEEP(l, "id", "_rev"))
LET other = FIRST(FOR l IN tv_lists FILTER l.digest == @new RETURN l.id)
LET heads = (FOR list IN [known.id, other] RETURN list == null ? null : {HEAD})
RETURN {{revision: known._rev, other, heads, done: LENGTH(FOR r IN tv_renames FILTER r._key == @key RETURN 1) > 0}}
"""
RENAME = (
    RESUMED
    + """
LET renamed = (
  FOR l IN tv_lists
    FILTER l.id == @list AND l._rev == @revision AND LENGTH(resumed) == 0
    UPDATE l WITH {name: @name, digest: @digest} IN tv_lists
    INSERT MERGE(@rename, {time: DATE_NOW() * 1000}) INTO tv_renames OPTIONS {waitForSync: true}
    RETURN true
)
RETURN {made: LENGTH(renamed) > 0, resumed}
"""
)
RENAMES_MADE = "FOR r IN tv_renames FILTER r.list > 0 SORT r.time, r._key RETURN r"
COPY_NAMES = """
LET named = (
  FOR n IN @names
    FILTER DOCUMENT("tv_version_names", n._key).digest == null
    INSERT n INTO tv_version_names OPTIONS {overwriteMode: "replace", waitForSync: true})
FOR r IN @renames INSERT r INTO tv_renames OPTIONS {overwriteMode: "ignore", waitForSync: true}
"""
_WHAT = "the names of versions"  # is what an error calls them


class NameCatalog:
    """Names of versions and lists."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def tag_versions(
        self,
        versions: Sequence[tuple[int, int]],
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        replace: bool = False,
        session_id: int | None = None,
        attempt: int | None = None,
    ) -> None:
        """Add tags to versions, and remove some."""
        self._client.writable()
        by = attempt_of(session_id, attempt)
        digests = [digest_of(name) for name in (*add, *remove)]
        pairs = [list(key) for key in versions]

        def once() -> int | None:
            [state] = self._client.query(STATE_OF_NAMES, versions=pairs, digests=digests, snapshots=False)
            there = _sorted(state["names"])
            named = {
                (version.list_id, version.version): version for version in map(version_of, state["versions"])
            }
            documents: dict[str, dict[str, Any]] = {}
            now = datetime.now(UTC)
            for key in versions:
                if key not in named:
                    raise VersionNotFound(f"The list has no version {key[1]} to be named.")
                for name in add:
                    if check_tag(name, named[key], _of(name, there), replace=replace):
                        document = _document(name, *key, snapshot=False, session_id=session_id)
                        documents[document["_key"]] = document
                        there = [tag for tag in there if (tag.name, tag.list_id) != (name, key[0])]
                        there.append(
                            VersionName(name, key[0], named[key].list, key[1], False, session_id, now)
                        )
                for name in remove:
                    check_untag(name, named[key], _of(name, there))
                    removed = [tag for tag in there if (tag.name, tag.list_id, tag.version) == (name, *key)]
                    documents |= {one["_key"]: one for one in map(_removed, removed)}
                    there = [tag for tag in there if tag not in removed]
            return self._put(state["lists"], documents.values(), by) if documents else 0

        self._client.until_made(once, _WHAT)

    def snapshot(
        self,
        name: str,
        *,
        replace: bool = False,
        session_id: int | None = None,
        attempt: int | None = None,
    ) -> list[VersionName]:
        """Name the newest version of every list."""
        self._client.writable()
        token = uuid.uuid4().hex
        by = attempt_of(session_id, attempt)

        def once() -> list[VersionName] | None:
            [state] = self._client.query(STATE_OF_ALL, digests=[digest_of(name)])
            there = _sorted(state["names"])
            if any(row["token"] == token for row in state["names"] if "token" in row):  # an answer was lost
                return there
            lists = {list_id: called for list_id, _, called in state["lists"]}
            heads = [version_of({**row, "name": lists[row["list"]]}) for row in state["versions"]]
            heads = [head for head in heads if not head.deleted]
            check_snapshot(name, heads, there, replace=replace)
            documents = {one["_key"]: one for one in map(_removed, there)}
            for head in heads:
                key = head.list_id, head.version
                document = _document(name, *key, snapshot=True, session_id=session_id) | {"token": token}
                documents[document["_key"]] = document
            time = self._put(state["lists"], documents.values(), by)
            if time is None:
                return None
            return [
                VersionName(name, head.list_id, head.list, head.version, True, session_id, to_time(time))
                for head in sorted(heads, key=lambda head: head.list)
            ]

        return self._client.until_made(once, _WHAT)

    def drop_snapshot(self, name: str) -> list[VersionName]:
        """Remove a snapshot."""
        self._client.writable()
        removed: list[VersionName] = []

        def once() -> list[VersionName] | None:
            [state] = self._client.query(
                STATE_OF_NAMES, versions=[], digests=[digest_of(name)], snapshots=True
            )
            there = [version_name for version_name in _sorted(state["names"]) if version_name.snapshot]
            if not there:
                return removed  # removed by this call, if an answer was lost
            removed[:] = there
            return None if self._put(state["lists"], map(_removed, there)) is None else there

        return self._client.until_made(once, _WHAT)

    def _put(
        self,
        lists: Sequence[Sequence[Any]],
        documents: Iterable[dict[str, Any]],
        by: Mapping[str, Any] | None = None,
    ) -> int | None:
        """Write names of lists that nobody wrote since they were looked at, and return the time; None if somebody did."""
        [answer] = self._client.query(
            PUT_NAMES,
            lists=[list_id for list_id, _, _ in lists],
            revisions=[revision for _, revision, _ in lists],
            documents=list(documents),
            token=uuid.uuid4().hex,
            what=_WHAT,
            binds=by or attempt_of(None, None),
        )
        for resumed in answer["resumed"]:
            raise continued_by(resumed)
        return None if answer["time"] is None else int(answer["time"])

    def version_names(self, name: str | None = None) -> list[VersionName]:
        """What one name stands for, or all names."""
        rows = (
            self._client.query(NAMES)
            if name is None
            else self._client.query(ONE_NAME, digest=digest_of(name))
        )
        return _sorted(rows)

    def find_named(self, names: Sequence[tuple[str, str]]) -> list[int | None]:
        """The version that each (list, name) means."""
        pairs = [[digest_of(name), digest_of(version)] for name, version in names]
        return self._client.query(FIND_NAMED, names=pairs) if pairs else []

    def rename_list(
        self,
        old: str,
        new: str,
        *,
        expect: int | None = None,
        session_id: int | None = None,
        attempt: int | None = None,
    ) -> Version:
        """Call a list otherwise."""
        self._client.writable()
        key = uuid.uuid4().hex

        def once() -> Version | None:
            [state] = self._client.query(LOOK, old=digest_of(old), new=digest_of(new), key=key)
            head, taken = (
                None if row is None else version_of(row | {"name": name})
                for row, name in zip(state["heads"], (old, new), strict=True)
            )
            if state["done"]:  # an answer was lost
                return taken
            check_rename(old, new, head, taken, self.renamed(old) if head is None else None, expect)
            assert head is not None
            if state["other"] is not None:
                raise NameTaken(
                    f"A list {short_repr(new)} is being made. Nothing was renamed; take another name."
                )
            rename = {
                "_key": key,
                "old": old,
                "digest": digest_of(old),
                "list": head.list_id,
                "session": session_id,
            }
            try:
                [answer] = self._client.query(
                    RENAME,
                    list=head.list_id,
                    revision=state["revision"],
                    name=new,
                    digest=digest_of(new),
                    rename=rename,
                    binds=attempt_of(session_id, attempt),
                    expect=(UNIQUE,),
                    what=f"the list {old!r}",
                )
            except ExpectedError:  # somebody took the name in this moment, and the rules say so now
                return None
            for resumed in answer["resumed"]:
                raise continued_by(resumed)
            return head if answer["made"] else None

        return replace(self._client.until_made(once, f"the list {old!r}"), list=new)

    def renames(self) -> list[Rename]:
        """All renames."""
        return list(map(rename_of, self._client.query(RENAMES_MADE)))

    def put_names(self, names: Sequence[VersionName], renames: Sequence[Rename]) -> None:
        """Keep names and renames of another vault."""
        named = [
            _document(
                name.name, name.list_id, name.version, snapshot=name.snapshot, session_id=name.session_id
            )
            | {"time": from_time(name.time)}
            for name in names
        ]
        renamed = [
            {
                **attributes_of(rename),
                "_key": f"{digest_of(rename.old)}-{rename.list_id}-{from_time(rename.time)}",
                "digest": digest_of(rename.old),
            }
            for rename in renames
        ]
        self._client.write(COPY_NAMES, names=named, renames=renamed)

    def renamed(self, name: str) -> str | None:
        """What a list that was called `name` is called now."""
        rows = self._client.query(RENAMED, digest=digest_of(name))
        return str(rows[0]) if rows and rows[0] is not None else None


def _document(
    name: str, list_id: int, version: int, *, snapshot: bool, session_id: int | None
) -> dict[str, Any]:
    digest = digest_of(name)
    return {
        "_key": f"{digest}-{list_id}", "name": name, "digest": digest, "list": list_id, "version": version,
        "snapshot": snapshot, "session": session_id,
    }  # fmt: skip


def _removed(name: VersionName) -> dict[str, Any]:
    """The document in the place of a name that stands for nothing any more."""
    return {"_key": f"{digest_of(name.name)}-{name.list_id}", "removed": True}


def _of(name: str, names: Sequence[VersionName]) -> list[VersionName]:
    return [one for one in names if one.name == name]


def _sorted(rows: Sequence[dict[str, Any]]) -> list[VersionName]:
    return sorted(map(name_of, rows), key=lambda name: (name.time, name.name, name.list))


@reads("tv_version_names")
def name_of(row: dict[str, Any]) -> VersionName:
    """The name that a document stands for."""
    return VersionName(
        row["name"], row["list"], list_name(row["called"], row["list"]), row["version"], row["snapshot"],
        row["session"], to_time(row["time"]),
    )  # fmt: skip


@reads("tv_renames")
def rename_of(row: dict[str, Any]) -> Rename:
    """The rename that a document stands for."""
    return record_of(Rename, row)
