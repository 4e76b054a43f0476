"""Names of versions and lists in the catalogue. Each change is one transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tablevault_pd.errors import VersionNotFound
from tablevault_pd.store import Rename, VersionName
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.attempts import check_attempt
from tablevault_pd.store.embedded.versions import BY_NUMBER, HEAD, HEADS, version_of
from tablevault_pd.store.engine.name_rules import check_rename, check_snapshot, check_tag, check_untag
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from tablevault_pd.store import Version
    from tablevault_pd.store.embedded.catalog import SqliteCatalog

_NAMES = """
SELECT n.name, n.list, l.name, n.version, n.snapshot, n.session, n.time
FROM version_names n JOIN lists l ON l.id = n.list
"""
ALL_NAMES = _NAMES + "ORDER BY n.time, n.name, l.name"
ONE_NAME = _NAMES + "WHERE n.name = ? ORDER BY n.time, l.name"
FIND_NAMED = """
SELECT n.version FROM version_names n JOIN lists l ON l.id = n.list WHERE l.name = ? AND n.name = ?
"""
NAMED_OF = "SELECT DISTINCT version FROM version_names WHERE list = ?"
PUT_NAME = "INSERT OR REPLACE INTO version_names (name, list, version, snapshot, session, time) VALUES (?, ?, ?, ?, ?, ?)"
DROP_TAG = "DELETE FROM version_names WHERE name = ? AND list = ? AND version = ?"
DROP_NAME = "DELETE FROM version_names WHERE name = ?"
# A name that another list has by now is that list's.
RENAMED = """
SELECT l.name FROM renames r JOIN lists l ON l.id = r.list
WHERE r.old = ?1 AND NOT EXISTS (SELECT 1 FROM lists WHERE name = ?1) ORDER BY r.id DESC LIMIT 1
"""
NOTE_RENAME = "INSERT INTO renames (old, list, session, time) VALUES (?, ?, ?, ?)"
ALL_RENAMES = "SELECT old, list, session, time FROM renames ORDER BY id"
COPY_NAME = "INSERT OR IGNORE INTO version_names (name, list, version, snapshot, session, time) VALUES (?, ?, ?, ?, ?, ?)"
COPY_RENAME = """
INSERT INTO renames (old, list, session, time)
SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM renames WHERE old = ?1 AND list = ?2 AND time = ?4)
"""
RENAME = "UPDATE lists SET name = ? WHERE id = ?"
RENAME_LOST = "UPDATE OR IGNORE lost SET list = ? WHERE list = ?"


def renamed_to(db: Connection, name: str) -> str | None:
    """What a list that was called `name` is called now."""
    row = db.execute(RENAMED, (name,)).fetchone()
    return str(row[0]) if row else None


def names_of(db: Connection, name: str | None = None) -> list[VersionName]:
    """What one name stands for, or all names."""
    rows = db.execute(ALL_NAMES) if name is None else db.execute(ONE_NAME, (name,))
    return [
        VersionName(name, list_id, label, version, bool(snapshot), session_id, to_time(time))
        for name, list_id, label, version, snapshot, session_id, time in rows.fetchall()
    ]


class NameCatalog:
    """Names of versions and lists."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog

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
        self._catalog.write(_tag_versions, versions, add, remove, replace, session_id, attempt)

    def snapshot(
        self,
        name: str,
        *,
        replace: bool = False,
        session_id: int | None = None,
        attempt: int | None = None,
    ) -> list[VersionName]:
        return self._catalog.write(_snapshot, name, replace, session_id, attempt)

    def drop_snapshot(self, name: str) -> list[VersionName]:
        return self._catalog.write(_drop_snapshot, name)

    def version_names(self, name: str | None = None) -> list[VersionName]:
        with self._catalog.reading() as db:
            return names_of(db, name)

    def find_named(self, names: Sequence[tuple[str, str]]) -> list[int | None]:
        with self._catalog.reading() as db:
            rows = [db.execute(FIND_NAMED, pair).fetchone() for pair in names]
            return [row[0] if row else None for row in rows]

    def rename_list(
        self,
        old: str,
        new: str,
        *,
        expect: int | None = None,
        session_id: int | None = None,
        attempt: int | None = None,
    ) -> Version:
        return self._catalog.write(_rename, old, new, expect, session_id, attempt)

    def renames(self) -> list[Rename]:
        with self._catalog.reading() as db:
            rows = db.execute(ALL_RENAMES).fetchall()
        return [Rename(old, list_id, session_id, to_time(time)) for old, list_id, session_id, time in rows]

    def put_names(self, names: Sequence[VersionName], renames: Sequence[Rename]) -> None:
        self._catalog.write(_put_names, names, renames)

    def renamed(self, name: str) -> str | None:
        with self._catalog.reading() as db:
            return renamed_to(db, name)


def _tag_versions(
    db: Connection,
    versions: Sequence[tuple[int, int]],
    add: Sequence[str],
    remove: Sequence[str],
    replace: bool,
    session_id: int | None,
    attempt: int | None,
) -> None:
    check_attempt(db, session_id, attempt)
    now = from_time(datetime.now(UTC))
    for key in versions:
        version = _version(db, key)
        for name in add:
            if check_tag(name, version, names_of(db, name), replace=replace):
                db.execute(PUT_NAME, (name, *key, False, session_id, now))
        for name in remove:
            check_untag(name, version, names_of(db, name))
            db.execute(DROP_TAG, (name, *key))


def _version(db: Connection, key: tuple[int, int]) -> Version:
    row = db.execute(BY_NUMBER, key).fetchone()
    if row is None:
        raise VersionNotFound(f"The list has no version {key[1]} to be named.")
    return version_of(row)


def _snapshot(
    db: Connection, name: str, replace: bool, session_id: int | None, attempt: int | None
) -> list[VersionName]:
    check_attempt(db, session_id, attempt)
    heads = [version_of(row) for row in db.execute(HEADS).fetchall()]
    heads = [head for head in heads if not head.deleted]
    check_snapshot(name, heads, names_of(db, name), replace=replace)
    db.execute(DROP_NAME, (name,))
    now = from_time(datetime.now(UTC))
    db.executemany(PUT_NAME, [(name, head.list_id, head.version, True, session_id, now) for head in heads])
    io.failpoint("names-in")
    return names_of(db, name)


def _drop_snapshot(db: Connection, name: str) -> list[VersionName]:
    there = [tag for tag in names_of(db, name) if tag.snapshot]
    if there:
        db.execute(DROP_NAME, (name,))
    return there


def _rename(
    db: Connection, old: str, new: str, expect: int | None, session_id: int | None, attempt: int | None
) -> Version:
    check_attempt(db, session_id, attempt)
    head, taken = (db.execute(HEAD, (name,)).fetchone() for name in (old, new))
    version = version_of(head) if head else None
    check_rename(old, new, version, version_of(taken) if taken else None, renamed_to(db, old), expect)
    assert version is not None
    db.execute(RENAME, (new, version.list_id))
    db.execute(NOTE_RENAME, (old, version.list_id, session_id, from_time(datetime.now(UTC))))
    db.execute(RENAME_LOST, (new, old))
    io.failpoint("names-in")
    return version_of(db.execute(HEAD, (new,)).fetchone())


def _put_names(db: Connection, names: Sequence[VersionName], renames: Sequence[Rename]) -> None:
    for name in names:
        place = (name.name, name.list_id, name.version, name.snapshot, name.session_id)
        db.execute(COPY_NAME, (*place, from_time(name.time)))
    for rename in renames:
        db.execute(COPY_RENAME, (rename.old, rename.list_id, rename.session_id, from_time(rename.time)))
