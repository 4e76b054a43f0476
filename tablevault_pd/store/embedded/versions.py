"""Lists and versions in the catalogue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store import ListState, ListSummary, Spans, Version
from tablevault_pd.store.embedded.sizes import ListSizes
from tablevault_pd.store.engine.content_rules import spans_of
from tablevault_pd.store.engine.erasing import erased_positions
from tablevault_pd.store.engine.int_codec import unpack_pieces
from tablevault_pd.store.engine.kept_layouts import KeptLayouts, LayoutKey
from tablevault_pd.store.pieces import EMPTY, Pieces
from tablevault_pd.store.times import from_time, to_time, to_times
from tablevault_pd.store.types import SHOWN_OF_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from sqlite3 import Connection

    from tablevault_pd.store import VersionLookup
    from tablevault_pd.store.embedded.catalog import SqliteCatalog

_VERSION = """
SELECT b.list, l.name, b.version, b.operation, b.generation, b.start, b.rows, b.total, b.schema, b.session, b.cell,
       b.time, b.tags, b.message, b.gone, b.step, b.line, b.layout, b.first, b.changed, b.removed, b.erased
FROM batches b JOIN lists l ON l.id = b.list
"""
HEAD = _VERSION + "WHERE l.name = ? ORDER BY b.version DESC LIMIT 1"
#: Which version is the newest, and what may change of a version; and the highest number of the list that was lost.
NEWEST = """
SELECT b.list, b.version, b.token, b.gone, b.erased, b.tags, (SELECT max(version) FROM lost WHERE list = ?1)
FROM batches b JOIN lists l ON l.id = b.list WHERE l.name = ?1 ORDER BY b.version DESC LIMIT 1
"""
LAST_LOST = "SELECT max(version) FROM lost WHERE list = ?"
ONE_VERSION = _VERSION + "WHERE l.name = ? AND b.version = ?"
VERSION_AT = _VERSION + "WHERE l.name = ? AND b.time <= ? ORDER BY b.version DESC LIMIT 1"
VERSIONS_OF = _VERSION + "WHERE l.name = ? ORDER BY b.version"
ALL_VERSIONS = _VERSION + "ORDER BY b.time, l.name, b.version"
_SHOWN_COLUMNS = """
SELECT b.list, l.name, b.version, b.operation, b.rows, b.rows - b.changed, b.changed, b.removed, b.total - b.erased, b.session,
       b.cell, b.step, b.time, b.message, b.gone, b.tags
FROM batches b JOIN lists l ON l.id = b.list
"""
COLUMNS_OF = _SHOWN_COLUMNS + "WHERE l.name = ? ORDER BY b.version"
ALL_COLUMNS = _SHOWN_COLUMNS + "ORDER BY b.time, l.name, b.version"
HEADS = _VERSION + "WHERE b.version = (SELECT max(version) FROM batches WHERE list = l.id) ORDER BY l.name"  # noqa: S608  # a constant
BY_NUMBER = _VERSION + "WHERE b.list = ? AND b.version = ?"
NEWEST_OF_GENERATION = (
    _VERSION + "WHERE b.list = ? AND b.generation = ? ORDER BY b.start DESC, b.version DESC LIMIT 1"
)
TOKEN = _VERSION + "WHERE b.list = ? AND b.token = ?"
LAYOUT = "SELECT pieces FROM layouts WHERE list = ? AND version = ?"
WRITTEN_SINCE = """
SELECT version, generation, start, start + rows, coalesce(session, -1), coalesce(cell, -1), time, coalesce(line, 0) FROM batches
WHERE list = ? AND version > ? AND rows > 0 ORDER BY version
"""
ERASED = "SELECT pieces FROM erased WHERE list = ?"
# Times grow with the versions of a list. CROSS: the planner would go through all batches, and look their lists up.
CREATED = """
SELECT b.list, b.time FROM lists l CROSS JOIN batches b ON b.list = l.id
WHERE b.version = (SELECT min(version) FROM batches WHERE list = l.id)
"""
_SHOWN = "WHERE b.version = (SELECT max(version) FROM batches WHERE list = l.id) AND b.operation <> 'delete'"
SUMMARY = f"SELECT count(*), coalesce(sum(b.total - b.erased), 0) FROM lists l CROSS JOIN batches b ON b.list = l.id {_SHOWN}"  # noqa: S608  # a constant
FIRST_HEADS = f"{_VERSION} {_SHOWN} ORDER BY l.name LIMIT ?"
NAMES = "SELECT name FROM lists ORDER BY name"
# The byte FF comes after every character of UTF-8.
NAMES_FROM = "SELECT name FROM lists WHERE name BETWEEN ?1 AND ?1 || CAST(x'FF' AS TEXT) ORDER BY name"
KEPT_HEADS = 1024
KEPT_LISTS = 64  # whose commits are kept in memory …
KEPT_COMMITS = 500_000  # … but for lists with more of them
ROWS_AT_ONCE = 1000


def version_of(row: tuple[Any, ...]) -> Version:
    """A row of the statements above as a version."""
    plain, (time, tags, message, gone), more = row[:11], row[11:15], row[15:]
    return Version(*plain, to_time(time), _tags(tags), message, bool(gone), *more)  # type: ignore[call-arg]  # one row, one Version


def _tags(text: str) -> tuple[str, ...]:
    return () if text == "[]" else tuple(json.loads(text))


def tags_text(tags: Sequence[str]) -> str:
    """Tags as they are stored."""
    return json.dumps(tags) if tags else "[]"


def read_layout(db: Connection, list_id: int, number: int) -> Pieces:
    """The pieces that a layout of a list consists of."""
    row = db.execute(LAYOUT, (list_id, number)).fetchone()
    where = f"The content of version {number} of the list {list_id}"
    if row is None:
        raise VaultCorrupt(f"{where} is not in the catalogue. Restore the vault from a backup.")
    return unpack_pieces(row[0], where)


def erased_rows(db: Connection, list_id: int) -> Pieces:
    """The stored rows of a list that were erased, in order of address."""
    row = db.execute(ERASED, (list_id,)).fetchone()
    return EMPTY if row is None else unpack_pieces(row[0], f"What was erased of the list {list_id}")


def content_of(db: Connection, version: Version) -> Pieces:
    """What a version shows, as the transaction of `db` sees it."""
    if version.layout is None:
        return version.tail
    return read_layout(db, version.list_id, version.layout) + version.tail


class _Written:
    """What each commit of a list has written, for the lists that were last asked for: commits only ever come to them."""

    def __init__(self) -> None:
        self._of_lists: dict[int, tuple[int, np.ndarray]] = {}  # with the newest version that is in it

    def kept(self, version: Version) -> np.ndarray | None:
        """Return what :meth:`of` returns of its list; None if that does not go up to `version` yet, or was not kept."""
        entry = self._of_lists.pop(version.list_id, None)
        if entry is None:
            return None
        self._of_lists[version.list_id] = entry  # the last one used
        return entry[1] if entry[0] >= version.version else None

    def of(self, db: Connection, list_id: int) -> np.ndarray:
        """Generation, start, end, session, cell, time and line of each commit with rows, in order of address."""
        last, written = self._of_lists.pop(list_id, (0, np.empty((7, 0), np.int64)))
        rows = db.execute(WRITTEN_SINCE, (list_id, last)).fetchall()
        if rows:
            last, new = rows[-1][0], np.array(rows, np.int64).T[1:]
            written = np.concatenate([written, new], axis=1)
            written = written[:, np.lexsort((written[1], written[0]))]
        if len(written.T) <= KEPT_COMMITS:
            self._of_lists[list_id] = last, written
        if len(self._of_lists) > KEPT_LISTS:
            self._of_lists.pop(next(iter(self._of_lists)), None)
        return written


class Heads:
    """The newest versions of lists, as they were last read: a look at what tells one from another says whether it is the newest."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[tuple[Any, ...], Version]] = {}

    def of(self, db: Connection, name: str) -> tuple[Version | None, int]:
        """Return the newest version of a list, and the highest number that it has lost."""
        row = db.execute(NEWEST, (name,)).fetchone()
        if row is None:
            return None, db.execute(LAST_LOST, (name,)).fetchone()[0] or 0
        mark, lost = row[:-1], row[-1] or 0
        earlier = self._read.get(name)
        if earlier is not None and earlier[0] == mark:
            return earlier[1], lost
        list_id, number, token = mark[:3]
        head = version_of(db.execute(BY_NUMBER, (list_id, number)).fetchone())
        self.note(head, token)
        return head, lost

    def note(self, version: Version, token: str) -> None:
        """Note a version, which may be about to be committed: if it is not, nothing has its token."""
        if len(self._read) >= KEPT_HEADS:
            self._read.clear()
        tags = tags_text(version.tags)
        mark = (version.list_id, version.version, token, version.gone, version.erased, tags)
        self._read[version.list] = mark, version


class Versions:
    """What lists there are, and which versions of them."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog, self._sizes, self._layouts = catalog, ListSizes(), KeptLayouts()
        self._written, self.heads = _Written(), Heads()

    def one(self, statement: str, *values: Any) -> Version | None:
        """Return the version that a statement selects, or None."""
        with self._catalog.reading() as db:
            row = db.execute(statement, values).fetchone()
            return version_of(row) if row else None

    def head(self, name: str) -> Version | None:
        with self._catalog.reading() as db:
            return self.heads.of(db, name)[0]

    def version(self, name: str, version: int) -> Version | None:
        return self.one(ONE_VERSION, name, version)

    def version_at(self, name: str, time: datetime) -> Version | None:
        return self.one(VERSION_AT, name, from_time(time))

    def find_versions(self, lookups: Sequence[VersionLookup]) -> list[Version | None]:
        """Return the version of each look-up: a look-up more costs next to nothing here."""
        return [self._find(lookup) for lookup in lookups]

    def _find(self, lookup: VersionLookup) -> Version | None:
        if lookup.version is not None:
            return self.version(lookup.name, lookup.version)
        return self.head(lookup.name) if lookup.time is None else self.version_at(lookup.name, lookup.time)

    def forget_layouts(self) -> None:
        """Read layouts anew from now on."""
        self._layouts = KeptLayouts()

    def pieces(self, versions: Sequence[Version]) -> list[Pieces]:
        return self._layouts.pieces(versions, self._read_layouts)

    def _read_layouts(self, keys: Sequence[LayoutKey]) -> dict[LayoutKey, Pieces]:
        with self._catalog.reading() as db:
            return {key: read_layout(db, *key) for key in keys}

    def erased(self, versions: Sequence[Version]) -> list[np.ndarray]:
        return erased_positions(versions, self.pieces, self._read_erased)

    def _read_erased(self, lists: Sequence[int]) -> dict[int, Pieces]:
        with self._catalog.reading() as db:
            return {list_id: erased_rows(db, list_id) for list_id in lists}

    def spans_written(self, versions: Sequence[Version]) -> Spans:
        shown = self.pieces(versions)
        commits = [written for version in versions if (written := self._written.kept(version)) is not None]
        if len(commits) == len(versions):
            return spans_of(zip(shown, commits, strict=True))
        with self._catalog.reading() as db:
            return spans_of(
                (pieces, self._written.of(db, version.list_id))
                for version, pieces in zip(versions, shown, strict=True)
            )

    def versions(self, name: str | None = None) -> list[Version]:
        with self._catalog.reading() as db:
            rows = db.execute(VERSIONS_OF, (name,)) if name is not None else db.execute(ALL_VERSIONS)
            return [version_of(row) for row in rows.fetchall()]

    def version_columns(self, name: str | None = None) -> dict[str, Sequence[Any]]:
        with self._catalog.reading() as db:
            cursor = db.execute(COLUMNS_OF, (name,)) if name is not None else db.execute(ALL_COLUMNS)
            shown: dict[str, Any] = {name: [] for name in SHOWN_OF_VERSION}
            # many tuples at a time keep the garbage collector busy
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                for column, values in zip(shown.values(), zip(*rows, strict=True), strict=True):
                    column.extend(values)
            shown["time"] = to_times(shown["time"])
            shown["gone"] = list(map(bool, shown["gone"]))
            shown["tags"] = list(map(_tags, shown["tags"]))
            return shown

    def lists(self) -> list[ListState]:
        return self._catalog.snapshot(self._lists)

    def _lists(self, db: Connection) -> list[ListState]:
        heads = [version_of(row) for row in db.execute(HEADS).fetchall()]
        created = dict(db.execute(CREATED).fetchall())
        sizes = self._sizes.read(db)
        return [ListState(head, to_time(created[head.list_id]), sizes.get(head.list_id, 0)) for head in heads]

    def list_summary(self, shown: int) -> ListSummary:
        return self._catalog.snapshot(_summary, shown)

    def names(self, prefix: str = "") -> list[str]:
        with self._catalog.reading() as db:
            rows = db.execute(NAMES_FROM, (prefix,)) if prefix else db.execute(NAMES)
            return [name for (name,) in rows.fetchall()]


def _summary(db: Connection, shown: int) -> ListSummary:
    lists, rows = db.execute(SUMMARY).fetchone()
    heads = db.execute(FIRST_HEADS, (shown,)).fetchall()
    return ListSummary(lists, rows, [version_of(row) for row in heads])
