"""One connection to the SQLite catalogue: whose it is, what shows that it needs no locks, and one transaction on it."""

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

from tablevault_pd.store.embedded import fsio as io

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

P = ParamSpec("P")
T = TypeVar("T")
YOUNG_S = 0.05  # file times are no finer than a few milliseconds
SHRINK_BYTES = 1 << 20  # less is left to be used again
_SIZES = ("freelist_count", "page_count", "page_size")
_numbers = itertools.count()

_SETTINGS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA temp_store = MEMORY",
)


class SqliteConnection(sqlite3.Connection):
    """A connection, and whose it is."""

    pid = thread = 0
    closed = False
    proof: Proof | None = None  #: what shows that it needs no locks
    log: tuple[int, ...] = ()  #: which write-ahead log it has open, once that is known
    number = 0  #: tells it from the others of this process

    @classmethod
    def opened(cls, file: str, mode: str, timeout_s: float) -> SqliteConnection:
        """Open `file`, for the current thread."""
        connection = sqlite3.connect(
            f"file:{quote(file)}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=timeout_s,
            cached_statements=256,
            factory=cls,
        )
        connection.number = next(_numbers)
        connection.thread = threading.get_ident()
        return connection

    def set_up(self, synchronous: str | None) -> None:
        """Make the settings of a catalogue; `synchronous` is None for one that only reads."""
        for setting in _SETTINGS:
            self.execute(setting)
        if synchronous is not None:
            self.execute("PRAGMA journal_size_limit = 67108864")
            self.execute(f"PRAGMA synchronous = {synchronous}")

    def free_bytes(self) -> int:
        """Bytes of the database file that hold nothing; 0 where so little is free that it is not worth a rewrite."""
        free, pages, size = (self.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZES)
        worth_it = free * size >= SHRINK_BYTES and free * 4 >= pages
        return int(free * size) if worth_it else 0

    def vacuum(self) -> None:
        """Rewrite the database file without what was deleted."""
        self.execute("PRAGMA temp_store = FILE")  # what is left may not fit into memory
        try:
            self.execute("VACUUM")
        finally:
            self.execute("PRAGMA temp_store = MEMORY")


@dataclass(frozen=True, slots=True)
class Proof:
    """The state of two files. Equal before and after a read, it shows that nothing was written meanwhile."""

    database: tuple[int, ...]
    folder: tuple[int, ...]

    @classmethod
    def of(cls, file: Path) -> Proof | None:
        """The state of `file` and its folder; None where there is a log to read, or this user may write to the folder.

        A user without rights to the folder cannot make the file by which SQLite's readers and writers know of each
        other. Where nobody has a log, none is needed, and SQLite is told that the file does not change.
        """
        if os.access(file.parent, os.W_OK) or size_of(f"{file}-wal"):
            return None
        return cls(_state(str(file)), _state(str(file.parent)))

    def is_young(self) -> bool:
        """Whether another change could leave it as it is, because it comes within the same tick of the clock."""
        # Also of a moment that is yet to come, by a clock that was set back: files of then are told apart by that.
        return abs(time.time() - max(self.database[-1], self.folder[-1]) / 1e9) < YOUNG_S


def _state(path: str) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def file_of(path: str) -> tuple[int, ...]:
    """Which file has that name; () if none has."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ()
    return status.st_dev, status.st_ino


def size_of(path: str) -> int:
    """Bytes of a file; 0 if there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def refuse(*_: Any) -> int:
    """Refuse every statement, as an authorizer."""
    return sqlite3.SQLITE_DENY


def transaction(
    db: sqlite3.Connection,
    work: Callable[Concatenate[sqlite3.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Return ``work(db, …)``, committed; rolled back on any error."""
    try:
        db.execute("BEGIN IMMEDIATE")
        io.failpoint("begun")
        answer = work(db, *args, **kwargs)
        io.failpoint("before-commit")
        db.execute("COMMIT")
        return answer
    finally:
        db.rollback()  # nothing, once committed


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether the database has no table."""
    return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
