"""Names of versions and lists on a server.

Each change writes the documents of the lists concerned first, in its transaction: of two at once, a vacuum of the list
among them, one fails and starts again. The name of a list is that of its document. Batches have a copy of it; that of a
commit which looked the list up before a rename, and came after it, is the old one until the next commit or rename mends it.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from tablevault_pd.errors import NameTaken, VersionNotFound, short_repr
from tablevault_pd.store import Rename, VersionName
from tablevault_pd.store.arango.batches import version_of
from tablevault_pd.store.arango.layout import BATCHES, LISTS, VERSION_NAMES
from tablevault_pd.store.arango.records import attributes_of, record_of
from tablevault_pd.store.arango.server_errors import UNIQUE, ExpectedError
from tablevault_pd.store.arango.sessions import digest_of
from tablevault_pd.store.engine.name_rules import check_rename, check_snapshot, check_tag, check_untag
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tablevault_pd.store import Version
    from tablevault_pd.store.arango.client import Client, Transaction

T = TypeVar("T")

# All statements: 3.12; nothing in them is newer than 3.8.
TOUCH_LISTS = "FOR l IN tv_lists FILTER l.id IN @lists UPDATE l WITH {touched: @token} IN tv_lists"
TOUCH_ALL = "FOR l IN tv_lists UPDATE l WITH {touched: @token} IN tv_lists"
LIST_NAMES = "FOR l IN tv_lists FILTER l.id > 0 RETURN [l.id, l.name]"
HEADS = """
FOR list IN @lists
  LET head = FIRST(
    FOR b IN tv_batches FILTER b.list == list SORT b.version DESC LIMIT 1 RETURN UNSET(b, "pieces", "reads"))
  FILTER head != null
  RETURN head
"""
BY_NUMBER = """
FOR b IN tv_batches FILTER b.list == @list AND b.version == @version RETURN UNSET(b, "pieces", "reads")
"""
_NAMED = """
  LET called = FIRST(FOR l IN tv_lists FILTER l.id == n.list RETURN l.name)
  RETURN MERGE(UNSET(n, "_id", "_rev"), {called})
"""
NAMES = f"FOR n IN tv_version_names{_NAMED}"
ONE_NAME = f"FOR n IN tv_version_names FILTER n.digest == @digest{_NAMED}"
FIND_NAMED = """
FOR w IN @names
  LET list = FIRST(FOR l IN tv_lists FILTER l.digest == w[0] RETURN l.id)
  RETURN FIRST(FOR n IN tv_version_names FILTER n.digest == w[1] AND n.list == list RETURN n.version)
"""
NAMED_OF = "FOR n IN tv_version_names FILTER n.list == @list RETURN DISTINCT n.version"
PUT_NAMES = """
FOR d IN @documents
  INSERT MERGE(d, {time: DATE_NOW() * 1000}) INTO tv_version_names OPTIONS {overwriteMode: "replace"}
"""
DROP_TAG = """
FOR n IN tv_version_names
  FILTER n.digest == @digest AND n.list == @list AND n.version == @version
  REMOVE n IN tv_version_names
"""
DROP_NAME = "FOR n IN tv_version_names FILTER n.digest == @digest REMOVE n IN tv_version_names"
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
LOOK = """
LET list = FIRST(FOR l IN tv_lists FILTER l.digest == @old RETURN KEEP(l, "id", "_rev"))
LET other = FIRST(FOR l IN tv_lists FILTER l.digest == @new RETURN l.id)
LET heads = (
  FOR id IN [list.id, other]
    RETURN FIRST(
      FOR b IN tv_batches FILTER id != null AND b.list == id SORT b.version DESC LIMIT 1 RETURN UNSET(b, "pieces", "reads")))
RETURN {revision: list._rev, other, heads, done: LENGTH(FOR r IN tv_renames FILTER r._key == @key RETURN 1) > 0}
"""
RENAME = """
FOR l IN tv_lists
  FILTER l.id == @list AND l._rev == @revision
  UPDATE l WITH {name: @name, digest: @digest} IN tv_lists
  INSERT MERGE(@rename, {time: DATE_NOW() * 1000}) INTO tv_renames OPTIONS {waitForSync: true}
  RETURN true
"""
RENAME_BATCHES = (
    "FOR b IN tv_batches FILTER b.list == @list AND b.name != @name UPDATE b WITH {name: @name} IN tv_batches"
)
RENAMES_MADE = "FOR r IN tv_renames SORT r.time, r._key RETURN r"
COPY_NAMES = """
LET named = (FOR n IN @names INSERT n INTO tv_version_names OPTIONS {overwriteMode: "ignore", waitForSync: true})
FOR r IN @renames INSERT r INTO tv_renames OPTIONS {overwriteMode: "ignore", waitForSync: true}
"""


class NameCatalog:
    """Names of versions and lists."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _change(self, work: Callable[[Transaction], T]) -> T:
        return self._client.transact((LISTS, BATCHES, VERSION_NAMES), work, what="the names of versions")

    def tag_versions(
        self,
        versions: Sequence[tuple[int, int]],
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        replace: bool = False,
        session_id: int | None = None,
    ) -> None:
        """Add tags to versions, and remove some."""

        def work(handle: Transaction) -> None:
            handle.query(TOUCH_LISTS, lists=[key[0] for key in versions], token=uuid.uuid4().hex)
            for key in versions:
                version = _version(handle, key)
                for name in add:
                    if check_tag(name, version, _names_of(handle, name), replace=replace):
                        documents = [_document(name, *key, snapshot=False, session_id=session_id)]
                        handle.query(PUT_NAMES, documents=documents)
                for name in remove:
                    check_untag(name, version, _names_of(handle, name))
                    handle.query(DROP_TAG, digest=digest_of(name), list=key[0], version=key[1])

        self._change(work)

    def snapshot(
        self, name: str, *, replace: bool = False, session_id: int | None = None
    ) -> list[VersionName]:
        """Name the newest version of every list."""

        def work(handle: Transaction) -> list[VersionName]:
            handle.query(TOUCH_ALL, token=uuid.uuid4().hex)
            lists = dict(handle.query(LIST_NAMES))
            rows = handle.query(HEADS, lists=list(lists))
            heads = [version_of({**row, "name": lists[row["list"]]}) for row in rows]
            heads = [head for head in heads if not head.deleted]
            check_snapshot(name, heads, _names_of(handle, name), replace=replace)
            handle.query(DROP_NAME, digest=digest_of(name))
            documents = [
                _document(name, head.list_id, head.version, snapshot=True, session_id=session_id)
                for head in heads
            ]
            handle.query(PUT_NAMES, documents=documents)
            return _names_of(handle, name)

        return self._change(work)

    def drop_snapshot(self, name: str) -> list[VersionName]:
        """Remove a snapshot."""

        def work(handle: Transaction) -> list[VersionName]:
            there = [version_name for version_name in _names_of(handle, name) if version_name.snapshot]
            if there:
                handle.query(DROP_NAME, digest=digest_of(name))
            return there

        return self._change(work)

    def version_names(self, name: str | None = None) -> list[VersionName]:
        """What one name stands for, or all names."""
        return _names_of(self._client, name) if name is not None else _sorted(self._client.query(NAMES))

    def find_named(self, names: Sequence[tuple[str, str]]) -> list[int | None]:
        """The version that each (list, name) means."""
        pairs = [[digest_of(name), digest_of(version)] for name, version in names]
        return self._client.query(FIND_NAMED, names=pairs) if pairs else []

    def rename_list(
        self, old: str, new: str, *, expect: int | None = None, session_id: int | None = None
    ) -> Version:
        """Call a list otherwise."""
        self._client.writable()
        key = uuid.uuid4().hex

        def attempt() -> Version | None:
            [state] = self._client.query(LOOK, old=digest_of(old), new=digest_of(new), key=key)
            head, taken = (None if row is None else version_of(row) for row in state["heads"])
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
                renamed = self._client.query(
                    RENAME,
                    list=head.list_id,
                    revision=state["revision"],
                    name=new,
                    digest=digest_of(new),
                    rename=rename,
                    expect=(UNIQUE,),
                    what=f"the list {old!r}",
                )
            except ExpectedError:  # somebody took the name in this moment, and the rules say so now
                return None
            return head if renamed else None

        version = replace(self._client.until_made(attempt, f"the list {old!r}"), list=new)
        self._client.query(RENAME_BATCHES, list=version.list_id, name=new)
        return version

    def renames(self) -> list[Rename]:
        """All renames."""
        return [record_of(Rename, row) for row in self._client.query(RENAMES_MADE)]

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
        return str(rows[0]) if rows else None


def _document(
    name: str, list_id: int, version: int, *, snapshot: bool, session_id: int | None
) -> dict[str, Any]:
    digest = digest_of(name)
    return {
        "_key": f"{digest}-{list_id}", "name": name, "digest": digest, "list": list_id, "version": version,
        "snapshot": snapshot, "session": session_id,
    }  # fmt: skip


def _names_of(handle: Client | Transaction, name: str) -> list[VersionName]:
    return _sorted(handle.query(ONE_NAME, digest=digest_of(name)))


def _sorted(rows: Sequence[dict[str, Any]]) -> list[VersionName]:
    names = [
        VersionName(
            row["name"], row["list"], row["called"], row["version"], row["snapshot"], row["session"], to_time(row["time"])
        )
        for row in rows
    ]  # fmt: skip
    return sorted(names, key=lambda name: (name.time, name.name, name.list))


def _version(handle: Transaction, key: tuple[int, int]) -> Version:
    rows = handle.query(BY_NUMBER, list=key[0], version=key[1])
    if not rows:
        raise VersionNotFound(f"The list has no version {key[1]} to be named.")
    return version_of(rows[0])
