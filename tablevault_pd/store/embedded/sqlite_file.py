"""One SQLite file of a vault folder: transactions that commit or leave no trace, one writer at a time, and its size."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from tablevault_pd.errors import StorageError, VaultBusy, VaultReadOnly
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.connection import is_empty, transaction
from tablevault_pd.store.embedded.connection_pool import ConnectionPool

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from tablevault_pd.store.embedded.connection import SqliteConnection
    from tablevault_pd.store.embedded.write_lock import WriteLockFile

P = ParamSpec("P")
T = TypeVar("T")


class SqliteFile(ConnectionPool):
    """An SQLite file in WAL mode, and its write lock."""

    def create(self) -> None:
        """Lay out an empty file; one that has tables already is left as it is."""
        with self.reading() as db:
            self._inode = self._check_file()
            if self._gate.has_file() and not is_empty(db):
                return
        lock = self._gate.take(self._timeout_s)
        try:
            with self.reading() as db:
                if is_empty(db):  # no other process was faster
                    db.execute("PRAGMA journal_mode = WAL")
                    transaction(db, self.lay_out)
        finally:
            lock.close()

    def lay_out(self, db: sqlite3.Connection) -> None:
        """Make the tables, in an open transaction."""
        raise NotImplementedError

    # -- transactions

    def write(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return ``work(connection, …)``, done in one write transaction: committed, or rolled back on any error.

        An interrupt may come on any line. What undoes a line is a function of C in a ``finally``, which no signal handler
        gets in front of; the exit of a context manager written in Python could be left out.
        """
        self.written = time.monotonic()
        return self._write(lambda db: transaction(db, work, *args, **kwargs))

    def write_then(
        self,
        then: Callable[[T], object],
        work: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As :meth:`write`, and call `then` with the answer once it is committed, before another process may write."""
        self.written = time.monotonic()
        return self._write(lambda db: transaction(db, work, *args, **kwargs), then)

    def write_unsynced(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As :meth:`write`, for what a power failure may take back: whatever is written after it goes first."""

        def unsynced(db: SqliteConnection) -> T:
            try:
                db.execute("PRAGMA synchronous = NORMAL")
                return transaction(db, work, *args, **kwargs)
            finally:
                db.execute(f"PRAGMA synchronous = {self._synchronous}")

        return self._write(unsynced)

    def _write(
        self, transact: Callable[[SqliteConnection], T], then: Callable[[T], object] | None = None
    ) -> T:
        """Do one transaction, and what follows it, while no other process may write."""
        lock = self.lock()
        try:
            io.failpoint("lock-taken")
            with self.reading() as db:
                self._require_log_of(db)
                answer = transact(db)
            io.failpoint("after-commit")
            if then is not None:
                then(answer)
            return answer
        finally:
            lock.close()

    def data_version(self) -> object:
        """Return what differs from the last answer if another connection has committed anything since."""
        with self.reading() as db:
            return db.number, db.execute("PRAGMA data_version").fetchone()[0]

    def snapshot(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return ``work(connection, …)``, all statements of which see the same moment."""
        with self.reading() as db:
            try:
                db.execute("BEGIN")
                return work(db, *args, **kwargs)
            finally:
                db.rollback()

    # -- the write lock

    def lock(self) -> WriteLockFile:
        """Keep others from writing until the lock is closed. Raises VaultBusy, VaultReadOnly, StorageError."""
        if self.read_only:
            raise VaultReadOnly("This vault is open for reading. Connect with mode='rw' to write.")
        self._require_open()
        try:
            return self._gate.take(self._timeout_s, self._before_making_lock_file)
        except StorageError:
            if not self._is_whole():
                self._wait_for_removal()
            raise

    def _before_making_lock_file(self) -> None:
        self._wait_for_removal(unless=self._gate.has_file)

    # -- size

    def checkpoint(self) -> bool:
        """Move what is in the write-ahead log into the database file. Whether all of it is there now."""
        io.failpoint("checkpointing")
        with self.reading() as db:
            busy, logged, moved = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return not busy and logged == moved

    def free_bytes(self) -> int:
        """Bytes of the database file that hold nothing; 0 where so little is free that it is not worth a rewrite."""
        with self.reading() as db:
            return db.free_bytes()

    def shrink(self) -> int:
        """Rewrite the database file without its free pages. Bytes given back; 0 where others are in the way.

        It takes as long as copying what is left. Readers go on meanwhile; writers wait for their turn, as for any commit.
        """
        free = self.free_bytes()
        if not free:
            return 0
        try:
            self.rewrite()
        except (VaultBusy, StorageError):
            return 0
        return free

    def rewrite(self) -> bool:
        """Rewrite the database file without what was deleted, and empty its log. Whether that is empty: a reader may use it.

        Raises VaultBusy, StorageError.
        """
        with self.lock(), self.reading() as db:
            self._require_log_of(db)
            io.failpoint("rewriting")
            db.vacuum()
            io.failpoint("rewritten")
            [(busy, *_)] = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return not busy
