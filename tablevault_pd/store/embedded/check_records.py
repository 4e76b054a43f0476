"""Check what a vault folder holds beside rows: numbers of versions, records that can be read, copies of what can be made anew."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import cache
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import VaultFormatError
from tablevault_pd.store import Problem
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded import journal
from tablevault_pd.store.embedded.code import HAS_ROWS_CONFIRMED
from tablevault_pd.store.embedded.control import POINT
from tablevault_pd.store.embedded.copies import INDEXES, KEYS
from tablevault_pd.store.embedded.strays import scan
from tablevault_pd.store.embedded.tables import LAYOUT, SHADOW_TABLES
from tablevault_pd.store.engine import cell_files, key_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from sqlite3 import Connection

    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.embedded.parts import VaultParts

WRONG_TYPE = "wrong type"
LISTS = "SELECT id, name FROM lists"
# The versions before a gap: the next one that is there is not the next number.
GAPS = """
SELECT name, before + 1, version - 1 FROM (
    SELECT l.name, b.version, coalesce(lag(b.version) OVER (PARTITION BY b.list ORDER BY b.version), 0) AS before
    FROM batches b JOIN lists l ON l.id = b.list
) WHERE version > before + 1 ORDER BY name, version
"""
UNREADABLE = """
SELECT 'logged values', s.name || '#' || s.run || ', ' || m.metric
FROM measures m LEFT JOIN sessions s ON s.id = m.session WHERE length(m.points) % ? <> 0 OR length(m.points) = 0
UNION ALL SELECT 'name of a segment', substr(file, 1, 80) FROM segments
WHERE file IS NOT NULL AND (length(file) <> 32 OR file GLOB '*[^0-9a-f]*')
UNION ALL SELECT 'hash of a file', substr(sha256, 1, 80) FROM files WHERE length(sha256) <> 64 OR sha256 GLOB '*[^0-9a-f]*'
"""
# What is kept as JSON, and whether it is a list. SQLite's own JSON has no NaN and no infinity, which parameters may be; and a
# function of Python that SQLite calls would turn Ctrl-C into an error.
JSON_FIELDS = """
SELECT 'session', name || '#' || run, 1, tags FROM sessions WHERE tags IS NOT '[]'
UNION ALL SELECT 'session', name || '#' || run, 0, params FROM sessions WHERE params IS NOT '{}'
UNION ALL SELECT 'session', name || '#' || run, 0, timeline FROM sessions WHERE timeline IS NOT '{}'
UNION ALL SELECT 'session', name || '#' || run, 0, info FROM sessions WHERE info IS NOT '{}'
UNION ALL SELECT 'version', l.name || '@' || b.version, 1, b.tags FROM batches b JOIN lists l ON l.id = b.list WHERE b.tags IS NOT '[]'
UNION ALL SELECT 'lost commit', list || '@' || version, 1, files FROM lost
UNION ALL SELECT 'statement', coalesce(path, 'of a session') || ', ' || id, 1, names FROM statements WHERE names IS NOT '[]'
UNION ALL SELECT 'slice', id, 1, parts FROM slices
UNION ALL SELECT 'slice', id, 1, unresolved FROM slices WHERE unresolved IS NOT '[]'
"""
JSON_OF_CONFIRMATIONS = """
SELECT 'confirmation', l.name || '@' || c.version, 1, c.rows FROM rows_confirmed c JOIN lists l ON l.id = c.list WHERE c.rows IS NOT NULL
UNION ALL SELECT 'confirmation', l.name || '@' || c.version, 1, c.made_from FROM rows_confirmed c JOIN lists l ON l.id = c.list
"""
# Versions of more rows than are stored: reported by what they lack, unless a call fails on the number.
LARGER = """
SELECT l.name, b.version, b.total FROM batches b JOIN lists l ON l.id = b.list
WHERE NOT b.gone AND b.total > (SELECT coalesce(sum(rows), 0) FROM segments WHERE list = b.list)
"""
_TYPES = {"INTEGER": "'integer'", "REAL": "'real', 'integer'", "TEXT": "'text'", "BLOB": "'blob'"}
#: Beyond it lies no number of a row, a version or a microsecond.
_LARGEST = 1 << 60
_ANY_INTEGER = {"checksum", "step", "token"}
_ANY_INTEGER_OF = {("claims", "generation"), ("claims", "row")}  # of work by key: made from a digest
_STORED = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"


def _is_json(text: Any, kind: type) -> bool:
    """Whether a field can be decoded, and is a list, or an object."""
    try:
        return isinstance(json.loads(text), kind)
    except (ValueError, TypeError, RecursionError):
        return False


def missing_versions(vault: VaultParts, *, fix: bool) -> Iterator[Problem]:
    """Versions whose numbers were given, and that neither the catalogue nor its account of lost commits has.

    With `fix` that account has them from then on: they are told for the last time, and no file is taken away that may be theirs.
    """
    with vault.catalog.reading() as db:
        gaps = db.execute(GAPS).fetchall()
    if not gaps:
        return
    lost = {(entry.list, entry.version) for entry in vault.journal.lost(vault.catalog).entries}
    numbered = ((name, number) for name, first, last in gaps for number in range(first, last + 1))
    missing = [version for version in islice(numbered, journal.MOST_MISSING) if version not in lost]
    if fix and missing:
        vault.catalog.write(_settle, missing)
    for name, numbers in groupby(missing, key=itemgetter(0)):
        versions = [number for _, number in numbers]
        detail = f"{len(versions)} versions, from {versions[0]} to {versions[-1]}, are not in the catalogue"
        yield Problem("damage", "missing versions", name, versions[0], "catalog.db", detail, fix)


def _settle(db: Connection, missing: list[tuple[str, int]]) -> None:
    db.executemany(journal.INSERT_LOST, [(name, number, "", 0, "[]", True) for name, number in missing])


def unreadable_records(vault: VaultParts) -> Iterator[Problem]:
    """Sessions, logged values and versions with a field that cannot be decoded."""
    with vault.catalog.reading() as db:
        records = _unread(db)
    for what, detail in records:
        yield Problem("damage", what, path="catalog.db", detail=detail)


def records_unread(catalog: SqliteCatalog) -> list[str]:
    """What no release has written, if it is there: values of other types than their columns', fields that cannot be decoded."""
    with catalog.reading() as db:
        larger = [
            f"{name}@{version} is said to have {total} rows" for name, version, total in db.execute(LARGER)
        ]
        rules = [line for (line,) in db.execute("PRAGMA quick_check(5)").fetchall() if line != "ok"]
        gone = [
            f"{table} names what is not in {parent}"
            for table, _, parent, _ in db.execute("PRAGMA foreign_key_check").fetchall()
        ]
        return [*(detail for _, detail in _unread(db)), *larger, *rules, *gone]


def _unread(db: Connection) -> list[tuple[str, str]]:
    statements = [JSON_FIELDS]
    if db.execute(HAS_ROWS_CONFIRMED).fetchone() is not None:
        statements.append(JSON_OF_CONFIRMATIONS)
    broken: dict[tuple[str, str], None] = {}
    for statement in statements:
        with closing(db.execute(statement)) as fields:
            broken |= dict.fromkeys(
                (what, name)
                for what, name, is_list, text in fields
                if not _is_json(text, list if is_list else dict)
            )
    rows = [*broken, *db.execute(UNREADABLE, (POINT.itemsize,)).fetchall()]
    return [(WRONG_TYPE, column) for column in wrong_types(db)] + [
        ("unreadable record", f"{what} {name}") for what, name in rows
    ]


def damaged_copies(vault: VaultParts, *, fix: bool) -> Iterator[Problem]:
    """Digests of keys and approximate indexes that are not what was written. With `fix` they go, and are made anew when needed."""
    with vault.catalog.reading() as db:
        names = {str(list_id): name for list_id, name in db.execute(LISTS).fetchall()}
    for folder, what in ((KEYS, "digests of keys"), (INDEXES, "approximate index")):
        for path in scan(vault.folder / folder):
            if path.suffix == ".new" or _is_whole(path, folder):
                continue
            fixed = fix and io.remove(path)
            if fixed:
                detail = "removed"
            elif path.is_dir():
                detail = "a folder in the place of a file: check(fix=True) removes it where it is empty; move what it holds elsewhere"
            else:
                detail = "it is a copy, and not used; check(fix=True) removes it"
            shown = f"{folder}/{path.name}"
            yield Problem("damage", what, names.get(path.name.partition("-")[0]), None, shown, detail, fixed)


def _is_whole(path: Path, folder: str) -> bool:
    try:
        with io.open_to_read(path) as file:
            data = file.read()
    except VaultFormatError:
        return False
    except OSError:
        return True  # removed meanwhile, or not to be read: then nobody uses it
    decode = key_files.unpack_index if folder == KEYS else cell_files.decode
    return decode(data) is not None


# -- values of another type than their column's: SQLite keeps any value in any column


def wrong_types(db: sqlite3.Connection) -> Iterator[str]:
    """Say of each column how many values no release has written there."""
    for table, (columns, statement) in _statements().items():
        counts = db.execute(statement).fetchone()
        for column, count in zip(columns, counts, strict=True):
            if count:
                yield f"{count} values of {table}.{column} are of a type or size that is never written there"


@cache
def _statements() -> dict[str, tuple[list[str], str]]:
    """For each table its columns, and a statement that counts their wrong values in one pass. Made of the layout alone."""
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.executescript(LAYOUT)
        tables = {name for (name,) in memory.execute(_STORED)} - SHADOW_TABLES - {"sqlite_sequence"}
        statements = {}
        for table in sorted(tables):
            columns = {
                row[1]: _wrong(table, row[1], row[2], required=bool(row[3]))
                for row in memory.execute(f"PRAGMA table_info({table})")
            }
            statements[table] = list(columns), f"SELECT {', '.join(columns.values())} FROM {table}"  # noqa: S608  # constants
        return statements


def _wrong(table: str, column: str, declared: str, *, required: bool) -> str:
    allowed = _TYPES[declared] + ("" if required else ", 'null'")
    condition = f"typeof({column}) NOT IN ({allowed})"
    small = column not in _ANY_INTEGER and (table, column) not in _ANY_INTEGER_OF
    if declared == "INTEGER" and small:
        condition += f" OR {column} NOT BETWEEN -{_LARGEST} AND {_LARGEST}"
    return f"coalesce(sum({condition}), 0)"
