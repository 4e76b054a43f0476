"""Lists and versions, as the catalogue tells of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tablevault_pd.store import ListState, Version
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from datetime import datetime

    from tablevault_pd.store.embedded.catalog import Catalog

_VERSION = """
SELECT b.list, l.name, b.version, b.operation, b.generation, b.start, b.rows, b.total, b.schema, b.session, b.cell,
       b.time, b.tags, b.message, b.gone, b.step
FROM batches b JOIN lists l ON l.id = b.list
"""
HEAD = _VERSION + "WHERE l.name = ? ORDER BY b.version DESC LIMIT 1"
ONE_VERSION = _VERSION + "WHERE l.name = ? AND b.version = ?"
VERSION_AT = _VERSION + "WHERE l.name = ? AND b.time <= ? ORDER BY b.version DESC LIMIT 1"
VERSIONS_OF = _VERSION + "WHERE l.name = ? ORDER BY b.version"
ALL_VERSIONS = _VERSION + "ORDER BY b.time, l.name, b.version"
HEADS = _VERSION + "WHERE b.version = (SELECT max(version) FROM batches WHERE list = l.id) ORDER BY l.name"  # noqa: S608  # a constant
BY_NUMBER = _VERSION + "WHERE b.list = ? AND b.version = ?"
NEWEST_OF_GENERATION = (
    _VERSION + "WHERE b.list = ? AND b.generation = ? AND b.rows > 0 ORDER BY b.start DESC LIMIT 1"
)
TOKEN = _VERSION + "WHERE b.list = ? AND b.token = ?"
CREATED = "SELECT list, min(time) FROM batches GROUP BY list"
SIZES = "SELECT list, sum(size) FROM segments GROUP BY list"
NAMES = "SELECT name FROM lists ORDER BY name"
# The byte FF comes after every character of UTF-8.
NAMES_FROM = "SELECT name FROM lists WHERE name BETWEEN ?1 AND ?1 || CAST(x'FF' AS TEXT) ORDER BY name"


def version_of(row: tuple[Any, ...]) -> Version:
    """A row of the statements above as a version."""
    *plain, time, tags, message, gone, step = row
    return Version(*plain, to_time(time), tuple(json.loads(tags)), message, bool(gone), step)  # type: ignore[call-arg]  # one row, one Version


class Versions:
    """What lists there are, and which versions of them."""

    catalog: Catalog

    def _one(self, statement: str, *values: Any) -> Version | None:
        with self.catalog.reading() as db:
            row = db.execute(statement, values).fetchone()
            return version_of(row) if row else None

    def head(self, name: str) -> Version | None:
        """The newest version of a list."""
        return self._one(HEAD, name)

    def version(self, name: str, version: int) -> Version | None:
        """One version of a list."""
        return self._one(ONE_VERSION, name, version)

    def version_at(self, name: str, time: datetime) -> Version | None:
        """The newest version at `time`."""
        return self._one(VERSION_AT, name, from_time(time))

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions of one list, or of all."""
        with self.catalog.reading() as db:
            rows = db.execute(VERSIONS_OF, (name,)) if name is not None else db.execute(ALL_VERSIONS)
            return [version_of(row) for row in rows.fetchall()]

    def lists(self) -> list[ListState]:
        """Every list."""
        with self.catalog.reading() as db:
            heads = [version_of(row) for row in db.execute(HEADS).fetchall()]
            created = dict(db.execute(CREATED).fetchall())
            sizes = dict(db.execute(SIZES).fetchall())
            return [
                ListState(head, to_time(created[head.list_id]), sizes.get(head.list_id, 0)) for head in heads
            ]

    def names(self, prefix: str = "") -> list[str]:
        """Names of lists."""
        with self.catalog.reading() as db:
            rows = db.execute(NAMES_FROM, (prefix,)) if prefix else db.execute(NAMES)
            return [name for (name,) in rows.fetchall()]
