"""The SQLite catalogue: its tables, its connections, and transactions that commit or leave no trace.

Every process and thread has a connection of its own. A connection that came through a fork is set aside and never
touched again, not even closed: SQLite loses data otherwise. The file is never opened by other means in a process
that has it open, because closing any descriptor of it would drop SQLite's locks.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tablevault_pd.errors import (
    StorageFull,
    VaultBusy,
    VaultClosed,
    VaultCorrupt,
    VaultError,
    VaultFormatError,
    VaultNotFound,
    VaultReadOnly,
)
from tablevault_pd.store import forks
from tablevault_pd.store.embedded import gate, io
from tablevault_pd.store.embedded.edge_tables import EDGE_TABLES
from tablevault_pd.store.embedded.text_tables import SHADOW_TABLES, TEXT_TABLES

FORMAT = 1
APPLICATION_ID = 0x74766C74  # "tvlt"
BUSY_TIMEOUT_S = 30.0

# Times are integer microseconds since 1970 in UTC. A batch is a version; a segment is a run of stored rows.
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE lists (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE schemas (id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, data BLOB NOT NULL);
CREATE TABLE batches (
    list INTEGER NOT NULL REFERENCES lists(id),
    version INTEGER NOT NULL CHECK (version > 0),
    token TEXT NOT NULL,
    operation TEXT NOT NULL CHECK (operation IN ('save', 'append', 'delete', 'restore')),
    generation INTEGER NOT NULL,
    base_generation INTEGER,
    base_total INTEGER,
    start INTEGER NOT NULL CHECK (start >= 0),
    rows INTEGER NOT NULL CHECK (rows >= 0),
    total INTEGER NOT NULL CHECK (total >= 0),
    schema INTEGER NOT NULL REFERENCES schemas(id),
    session INTEGER REFERENCES sessions(id),
    cell INTEGER,
    time INTEGER NOT NULL,
    tags TEXT NOT NULL DEFAULT '[]',
    gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (list, version)
) WITHOUT ROWID;
CREATE INDEX restores ON batches (list, version) WHERE base_generation IS NOT NULL;
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list INTEGER NOT NULL REFERENCES lists(id),
    generation INTEGER NOT NULL,
    start INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    schema INTEGER NOT NULL REFERENCES schemas(id),
    codec TEXT NOT NULL CHECK (codec IN ('batch', 'stream', 'file', 'zstd')),
    file TEXT CHECK (file IS NULL OR (length(file) = 32 AND file NOT GLOB '*[^0-9a-f]*')),
    size INTEGER NOT NULL CHECK (size >= 0),
    checksum INTEGER NOT NULL,
    data BLOB,
    UNIQUE (list, generation, start, rows)
);
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    run INTEGER NOT NULL,
    user TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    parent INTEGER REFERENCES sessions(id),
    started INTEGER NOT NULL,
    ended INTEGER,
    heartbeat INTEGER,
    beat_s REAL NOT NULL DEFAULT 5,
    paused INTEGER NOT NULL DEFAULT 0,
    outcome TEXT,
    error TEXT,
    tags TEXT NOT NULL DEFAULT '[]',
    params TEXT NOT NULL DEFAULT '{}',
    info TEXT NOT NULL DEFAULT '{}',
    UNIQUE (name, run)
);
CREATE TABLE cells (
    session INTEGER NOT NULL REFERENCES sessions(id),
    cell INTEGER NOT NULL,
    text TEXT NOT NULL,
    started INTEGER NOT NULL,
    duration_s REAL,
    outcome TEXT NOT NULL,
    error TEXT,
    traceback TEXT,
    execution_count INTEGER,
    PRIMARY KEY (session, cell)
) WITHOUT ROWID;
CREATE TABLE descriptions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list INTEGER REFERENCES lists(id),
    session_of INTEGER REFERENCES sessions(id),
    label TEXT NOT NULL,
    text TEXT NOT NULL,
    vector BLOB,
    session INTEGER REFERENCES sessions(id),
    time INTEGER NOT NULL
);
CREATE TABLE files (sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),
    size INTEGER NOT NULL) WITHOUT ROWID;
"""
TABLES += TEXT_TABLES
TABLES += EDGE_TABLES

# Logged values are kept a flush at a time, as packed arrays: a statement for every value would have the background
# thread ask for the interpreter's lock once a row, and a busy program hands it over only every 5 ms.
CONTROL_TABLES = """
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES sessions(id),
    request TEXT NOT NULL CHECK (request IN ('stop', 'pause', 'resume')),
    requested INTEGER NOT NULL,
    acknowledged INTEGER,
    exit_code INTEGER NOT NULL DEFAULT 0,
    asked_by INTEGER REFERENCES sessions(id)
);
CREATE INDEX requests_waiting ON requests (session) WHERE acknowledged IS NULL;
CREATE TABLE measures (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES sessions(id),
    metric TEXT NOT NULL,
    number INTEGER NOT NULL,
    steps BLOB NOT NULL,
    times BLOB NOT NULL,
    points BLOB NOT NULL
);
CREATE INDEX measures_of ON measures (session, metric, number);
CREATE TABLE latest (
    session INTEGER NOT NULL REFERENCES sessions(id),
    metric TEXT NOT NULL,
    step INTEGER,
    time INTEGER NOT NULL,
    value REAL,
    PRIMARY KEY (session, metric)
) WITHOUT ROWID;
CREATE INDEX latest_by_value ON latest (metric, value);
CREATE TABLE sources (
    sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64),
    text TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE session_sources (
    session INTEGER NOT NULL REFERENCES sessions(id),
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL REFERENCES sources(sha256),
    PRIMARY KEY (session, path, sha256)
) WITHOUT ROWID;
"""
LAYOUT = TABLES + CONTROL_TABLES

_SETTINGS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA temp_store = MEMORY",
)


class Catalog:
    """The catalogue of one vault folder."""

    def __init__(self, folder: Path, *, read_only: bool, timeout_s: float, durability: str) -> None:
        self.path = folder / "catalog.db"
        self.read_only = read_only
        self._timeout_s = timeout_s
        self._synchronous = "NORMAL" if durability == "fast" else "FULL"
        self._reset()
        self._inode = self._check_file()
        self._gate: gate.Gate | None = None
        if not read_only:
            self._gate = gate.gate_of(folder / "write.lock")
            self._gate_pid = os.getpid()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._connections: dict[int, sqlite3.Connection] = {}
        self._closed = False

    def _check_file(self) -> int | None:
        try:
            return io.require_regular(self.path).st_ino
        except FileNotFoundError:
            return None

    # -- connections

    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        if self._pid != os.getpid():
            self._after_fork()
        if self._closed:
            raise VaultClosed("This vault was closed. Connect to it again with tablevault_pd.connect(…).")
        found = self._connections.get(threading.get_ident())
        if found is not None:
            return found
        opened = self._open()
        with self._lock:
            self._connections[threading.get_ident()] = opened
        return opened

    def _after_fork(self) -> None:
        _abandoned.append(self._connections)
        closed = self._closed
        self._reset()
        self._closed = closed
        if self._gate is not None:
            self._gate = gate.gate_of(self.path.parent / "write.lock")

    def _open(self) -> sqlite3.Connection:
        if not self.read_only:
            mode = "rwc"
        elif os.access(self.path.parent, os.W_OK):
            mode = "ro"
        else:  # on read-only media SQLite cannot make its shared memory file, and nobody can be writing
            mode = "ro&immutable=1"
        address = f"file:{quote(str(self.path))}?mode={mode}"
        try:
            connection = sqlite3.connect(
                address,
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=self._timeout_s,
                cached_statements=256,
            )
            for setting in _SETTINGS:
                connection.execute(setting)
            if not self.read_only:
                connection.execute("PRAGMA journal_size_limit = 67108864")
                connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        return connection

    # -- transactions

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection whose errors become ours. Each SELECT is a snapshot; fetch and decode all rows before leaving."""
        try:
            with forks.inside:
                yield self.connection()
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        except VaultError:
            raise
        except (ValueError, TypeError, OverflowError) as error:  # a damaged page can hold anything
            raise VaultCorrupt(
                f"A row of the catalogue {self.path} cannot be decoded: {error}. Restore it from a backup."
            ) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One write transaction behind the gate: committed on leaving, rolled back on any error."""
        with forks.inside:
            connection = self.connection()
        if self._gate is None:
            raise VaultReadOnly("This vault is open for reading. Connect with mode='rw' to write.")
        self._still_there()
        with self._gate.hold(self._timeout_s), forks.inside:
            io.point("gate-taken")
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    io.point("before-commit")
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise translated(error, self.path) from error
            io.point("after-commit")

    def _still_there(self) -> None:
        """Refuse to write into a catalogue that was removed or replaced while it was open."""
        try:
            inode = os.stat(self.path).st_ino
        except FileNotFoundError:
            inode = None
        if inode != self._inode:
            raise VaultNotFound(
                f"The vault {self.path.parent} was removed or replaced while it was open. Nothing was written; "
                "connect again to use what is there now."
            )

    # -- opening and closing

    def create(self) -> None:
        """Lay out an empty catalogue; one that has tables already is left as it is."""
        assert self._gate is not None
        try:
            with forks.inside:
                connection = self.connection()
                self._inode = self._check_file()
                if not _is_empty(connection):
                    return
            with self._gate.hold(self._timeout_s), forks.inside:
                if not _is_empty(connection):
                    return  # another process was faster
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("BEGIN IMMEDIATE")
                for statement in LAYOUT.split(";\n"):
                    connection.execute(statement)
                connection.execute("INSERT INTO meta VALUES ('vault', ?)", (uuid.uuid4().hex,))
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    def verify(self) -> str:
        """Check that this is a vault of a format we know, and return its id."""
        with self.reading() as db:
            application = db.execute("PRAGMA application_id").fetchone()[0]
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if application != APPLICATION_ID:
                raise VaultFormatError(
                    f"{self.path} is an SQLite database, but not the catalogue of a vault."
                )
            if found > FORMAT:
                raise VaultFormatError(
                    f"The vault {self.path.parent} has format {found}; this tablevault_pd reads up to format {FORMAT}. "
                    "Install a newer release: pip install -U tablevault-pd"
                )
            actual = db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
            if _layout(actual) != _expected_layout():
                raise VaultFormatError(f"{self.path} does not have the tables of a vault of format {found}.")
            return str(db.execute("SELECT value FROM meta WHERE key = 'vault'").fetchone()[0])

    def close(self) -> None:
        """Close this process's connections; those of a parent are left alone."""
        if self._closed:
            return
        if self._pid != os.getpid():
            self._after_fork()
        self._closed = True
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections.clear()
        if self._gate is not None:
            gate.leave(self._gate)
            self._gate = None


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_time(microseconds: int) -> datetime:
    """A stored time."""
    return _EPOCH + timedelta(microseconds=microseconds)


def from_time(time: datetime) -> int:
    """A time as it is stored: whole microseconds since 1970, UTC."""
    return (time.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


_abandoned: list[Any] = []  # connections inherited through fork: kept so that nothing ever finalises them


def _layout(rows: list[Any]) -> set[tuple[str, str, str]]:
    return {
        (kind, name, re.sub(r"\s+", " ", sql))
        for kind, name, sql in rows
        if not name.startswith("sqlite_") and (kind != "table" or name not in SHADOW_TABLES)
    }


@cache
def _expected_layout() -> set[tuple[str, str, str]]:
    memory = sqlite3.connect(":memory:")
    try:
        memory.executescript(LAYOUT)
        return _layout(
            memory.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        )
    finally:
        memory.close()


_ERRORS_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
_ERRORS_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_ERRORS_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def translated(error: sqlite3.Error, path: Path) -> Exception:
    """The error of ours for an SQLite error."""
    extended = getattr(error, "sqlite_errorcode", None) or 0
    code = extended & 0xFF
    folder = path.parent
    if extended in _ERRORS_FULL or code in _ERRORS_FULL:
        return StorageFull(
            f"The disk that holds {folder} is full; nothing of this call was kept. Free some space and try again."
        )
    if code == sqlite3.SQLITE_BUSY:
        return VaultBusy(
            f"The catalogue of {folder} was locked for too long. Nothing was written; try again."
        )
    if code in _ERRORS_READ_ONLY:
        return VaultReadOnly(f"The vault {folder} cannot be written to. Open it with mode='r' to read only.")
    if code == sqlite3.SQLITE_NOTADB:
        return VaultFormatError(f"{path} is not the catalogue of a vault.")
    if code in _ERRORS_DAMAGE:
        return VaultCorrupt(f"The catalogue {path} is damaged: {error}. Restore it from a backup.")
    return VaultCorrupt(f"The catalogue {path} cannot be used: {error}.")
