"""Lists and versions, as the catalogue tells of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.store import ListState, Spans, Version
from tablevault_pd.store.runs import runs_of
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tablevault_pd.store import VersionLookup
    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.runs import Run

_VERSION = """
SELECT b.list, l.name, b.version, b.operation, b.generation, b.start, b.rows, b.total, b.schema, b.session, b.cell,
       b.time, b.tags, b.message, b.gone, b.step, b.line
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
# Restored generations: of one list, or of all, which many versions are looked up in at once.
BASES_OF = """
SELECT list, version, base_generation, base_total FROM batches INDEXED BY restores
WHERE list = ? AND base_generation IS NOT NULL
"""
ALL_BASES = """
SELECT list, version, base_generation, base_total FROM batches INDEXED BY restores WHERE base_generation IS NOT NULL
"""
WRITTEN = """
SELECT generation, start, rows, coalesce(session, -1), coalesce(cell, -1), time, coalesce(line, 0) FROM batches
WHERE list = ? AND rows > 0 ORDER BY generation, start
"""
CREATED = "SELECT list, min(time) FROM batches GROUP BY list"
SIZES = "SELECT list, sum(size) FROM segments GROUP BY list"
NAMES = "SELECT name FROM lists ORDER BY name"
# The byte FF comes after every character of UTF-8.
NAMES_FROM = "SELECT name FROM lists WHERE name BETWEEN ?1 AND ?1 || CAST(x'FF' AS TEXT) ORDER BY name"


def version_of(row: tuple[Any, ...]) -> Version:
    """A row of the statements above as a version."""
    *plain, time, tags, message, gone, step, line = row
    return Version(*plain, to_time(time), tuple(json.loads(tags)), message, bool(gone), step, line)  # type: ignore[call-arg]  # one row, one Version


class Versions:
    """What lists there are, and which versions of them."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog

    def one(self, statement: str, *values: Any) -> Version | None:
        """Return the version that a statement selects, or None."""
        with self._catalog.reading() as db:
            row = db.execute(statement, values).fetchone()
            return version_of(row) if row else None

    def head(self, name: str) -> Version | None:
        """The newest version of a list."""
        return self.one(HEAD, name)

    def version(self, name: str, version: int) -> Version | None:
        """One version of a list."""
        return self.one(ONE_VERSION, name, version)

    def version_at(self, name: str, time: datetime) -> Version | None:
        """The newest version at `time`."""
        return self.one(VERSION_AT, name, from_time(time))

    def find_versions(self, lookups: Sequence[VersionLookup]) -> list[Version | None]:
        """Return the version of each look-up: a look-up more costs next to nothing here."""
        return [self._find(lookup) for lookup in lookups]

    def _find(self, lookup: VersionLookup) -> Version | None:
        if lookup.version is not None:
            return self.version(lookup.name, lookup.version)
        return self.head(lookup.name) if lookup.time is None else self.version_at(lookup.name, lookup.time)

    def runs_of(self, versions: Sequence[Version]) -> list[tuple[Version, list[Run]]]:
        """Return which positions of each version lie in which generation."""
        lists = {version.list_id for version in versions}
        with self._catalog.reading() as db:
            rows = db.execute(ALL_BASES) if len(lists) > 1 else db.execute(BASES_OF, tuple(lists) or (0,))
            bases: dict[int, dict[int, tuple[int, int]]] = {}
            for list_id, generation, base, base_total in rows.fetchall():
                bases.setdefault(list_id, {})[generation] = base, base_total
        return [
            (version, runs_of(version.generation, version.total, bases.get(version.list_id, {})))
            for version in versions
        ]

    def spans_written(self, versions: Sequence[Version]) -> Spans:
        """Who wrote which rows."""
        columns: list[list[Any]] = [[], [], [], [], [], [], []]
        with self._catalog.reading() as db:
            for number, (version, runs) in enumerate(self.runs_of(versions)):
                by_generation: dict[int, list[tuple[Any, ...]]] = {}
                for generation, *rest in db.execute(WRITTEN, (version.list_id,)).fetchall():
                    by_generation.setdefault(generation, []).append(tuple(rest))
                for generation, low, high in runs:
                    for start, rows, *writer in by_generation.get(generation, ()):
                        if start + rows > low and start < high:
                            span = (number, max(start, low), min(start + rows, high), *writer)
                            for column, value in zip(columns, span, strict=True):
                                column.append(value)
        scope, start, stop, session_id, cell, time_us, line = (
            np.array(column, np.int64) for column in columns
        )
        return Spans(scope, start, stop, session_id, cell, time_us.view("datetime64[us]"), line)

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions of one list, or of all."""
        with self._catalog.reading() as db:
            rows = db.execute(VERSIONS_OF, (name,)) if name is not None else db.execute(ALL_VERSIONS)
            return [version_of(row) for row in rows.fetchall()]

    def lists(self) -> list[ListState]:
        """Every list."""
        with self._catalog.reading() as db:
            heads = [version_of(row) for row in db.execute(HEADS).fetchall()]
            created = dict(db.execute(CREATED).fetchall())
            sizes = dict(db.execute(SIZES).fetchall())
            return [
                ListState(head, to_time(created[head.list_id]), sizes.get(head.list_id, 0)) for head in heads
            ]

    def names(self, prefix: str = "") -> list[str]:
        """Names of lists."""
        with self._catalog.reading() as db:
            rows = db.execute(NAMES_FROM, (prefix,)) if prefix else db.execute(NAMES)
            return [name for (name,) in rows.fetchall()]
