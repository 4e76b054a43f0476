"""Values of another type than their column's: SQLite keeps any value in any column, so somebody may have put them there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING

from tablevault_pd.store.embedded.tables import LAYOUT, SHADOW_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES = {"INTEGER": "'integer'", "REAL": "'real', 'integer'", "TEXT": "'text'", "BLOB": "'blob'"}
#: Beyond it lies no number of a row, a version or a microsecond.
_LARGEST = 1 << 60
_ANY_INTEGER = {"checksum", "step", "token"}
_ANY_INTEGER_OF = {("claims", "generation"), ("claims", "row")}  # of work by key: made from a digest
_STORED = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"


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
