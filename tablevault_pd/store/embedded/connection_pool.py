"""The connections to one SQLite file: who has which, and whether the file and its log are those that were opened.

A call takes a connection for itself and gives it back; a call within a call takes another one, so it sees what is
committed. No connection goes through a fork: SQLite loses data otherwise. The file is never opened by other means in a
process that has it open, because closing any descriptor of it would drop SQLite's locks.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
import threading
import time
import traceback
import weakref
from typing import TYPE_CHECKING

from tablevault_pd.errors import (
    VaultBusy,
    VaultClosed,
    VaultCorrupt,
    VaultError,
    VaultNotFound,
    VaultReadOnly,
)
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded import write_lock
from tablevault_pd.store.embedded.connection import (
    YOUNG_S,
    Proof,
    SqliteConnection,
    file_of,
    refuse,
    size_of,
)
from tablevault_pd.store.embedded.sqlite_errors import not_of_sqlite, translated
from tablevault_pd.store.engine import fork_guard as forks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

VAULT_ID = "SELECT value FROM meta WHERE key = 'vault'"
POLL_S = 0.001
REMOVAL_S = 0.5  # a vault that has lost its lock file, and has its catalogue still, is not being removed


class ConnectionPool:
    """The connections of this process to one SQLite file of a vault folder."""

    name: str  #: of the file
    lock_name: str  #: of the lock file of its writers
    #: One thread of the process opens or closes a connection at a time, whatever file it belongs to.
    _opening = threading.RLock()

    def __init__(self, folder: Path, *, read_only: bool, timeout_s: float, durability: str) -> None:
        self.path = folder / self.name
        self.read_only = read_only
        self._timeout_s = timeout_s
        self._synchronous = "NORMAL" if durability == "fast" else "FULL"
        self._gate = write_lock.WriteLock(folder, self.lock_name)
        self._file, self._log_file = str(self.path), f"{self.path}-wal"
        self._inode = self._check_file()
        self._vault: str | None = None
        self._closed = False
        self.written = 0.0  #: when a caller last wrote, or began to, by the monotonic clock
        self._begin()
        forks.register(self)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._idle: dict[int, SqliteConnection] = {}  # by thread; the caller that takes one out owns it
        self._open_ones: forks.WeakList[SqliteConnection] = forks.WeakList()  # and perhaps closed ones
        # Before `_local`: they are gone when that drops what belongs to threads that live on.
        self._ends: dict[int, weakref.ref[_OfThread]] = {}
        self._local = threading.local()  # tells when a thread ends

    def _check_file(self) -> int | None:
        try:
            return io.require_regular(self.path).st_ino
        except FileNotFoundError:
            return None

    # -- connections

    def _require_usable(self) -> None:
        self._require_open()
        if self._inode is not None and not self.is_current():
            raise self._replaced()

    def _require_open(self) -> None:
        if self._closed:
            raise VaultClosed("This vault was closed. Connect to it again with tablevault_pd.connect(…).")
        if self._pid != os.getpid():  # forked by a library that does not run Python's hooks
            forks.carried("without Python being told")
            self.in_child()
        forks.require_whole()

    def reading(self) -> TakenConnection:
        """A connection whose errors become ours. Each SELECT is a snapshot; fetch and decode all rows before leaving."""
        return TakenConnection(self)

    def take(self) -> SqliteConnection:
        """A connection for the current thread alone."""
        self._require_usable()
        connection = self._idle.pop(threading.get_ident(), None)
        if connection is not None and connection.proof is not None and connection.proof != self._proof():
            self._close(connection)
            connection = None
        return connection or self._open()

    def give_back(self, connection: SqliteConnection) -> None:
        """Keep a connection that is at rest for the thread's next call."""
        forks.require_whole()
        if connection.proof is not None and connection.proof != self._proof():
            self._close(connection)
            raise VaultBusy(
                f"The vault {self.path.parent} was written to during this call, which could not wait for the writer because "
                "this user may not write to its folder. Try again."
            )
        me = threading.get_ident()
        if self._idle.setdefault(me, connection) is not connection:
            self._close(connection)  # of a call inside of another one
        if self._closed:
            self.close_idle(me)

    def after_error(self, connection: SqliteConnection, error: BaseException) -> None:
        """Close a connection that may have a statement under way: it would go on showing the state of that moment."""
        if connection.pid != self._pid:
            return  # the parent's
        traceback.clear_frames(error.__traceback__)  # cursors in there would keep it open
        if isinstance(error, VaultError):
            self.give_back(connection)
        else:
            self._close(connection)

    def _open_here(self) -> list[SqliteConnection]:
        """The connections of this process to the same database, those of other stores included."""
        catalogs = (holder for holder in forks.holders() if isinstance(holder, ConnectionPool))
        same = [other for other in catalogs if (other._file, other._inode) == (self._file, self._inode)]
        return [connection for catalog in same for connection in catalog._own()]

    def _own(self) -> list[SqliteConnection]:
        """The open connections of this catalogue."""
        return [connection for connection in self._open_ones.living() if not connection.closed]

    def _require_no_removed_log(self) -> None:
        """Refuse to open the database where a process has it open with a log that was removed."""
        if self._open_here():
            self._require_log()
            return
        holder = write_lock.removed_under(self._file)
        if holder is not None:
            self._wait_for_removal()
            raise VaultCorrupt(
                f"The write-ahead log {self._file}-wal was removed while process {holder} has the vault open. Nothing was read "
                "or written. Close the vault there, which moves what the log held into the catalogue, and connect again."
            )

    def _open(self) -> SqliteConnection:
        proof = self._proof()
        while proof is not None and proof.is_young():
            time.sleep(YOUNG_S)
            proof = self._proof()
        with ConnectionPool._opening:  # until the others see it: see write_lock.removed_under
            self._require_no_removed_log()
            connection = self._connect(proof)
        try:
            self._set_up(connection)
        except BaseException:
            self._close(connection)  # left open, it would keep others from mending what it met
            raise
        if not hasattr(self._local, "end") and threading.current_thread() is not threading.main_thread():
            self._close_at_end_of_thread()
        return connection

    def _close_at_end_of_thread(self) -> None:
        """Close the idle connection of this thread when the thread ends, and with it what belongs to the thread.

        Not in the main thread, in which an interrupt could come and be lost while something is dropped.
        """
        this, thread = weakref.ref(self), threading.get_ident()

        def end(reference: object) -> None:
            catalog = this()
            # When Python ends it stops other threads wherever they are: a lock that one of them holds is never released.
            if catalog is not None and not sys.is_finalizing():
                catalog.close_idle(thread)
                if catalog._ends.get(thread) is reference:  # not that of a new thread with the same number
                    del catalog._ends[thread]

        self._local.end = _OfThread()
        self._ends[thread] = weakref.ref(self._local.end, end)

    def _connect(self, proof: Proof | None) -> SqliteConnection:
        writable = "rwc" if self._inode is None else "rw"  # one that was removed is not made anew
        mode = writable if not self.read_only else "ro" if proof is None else "ro&immutable=1"
        connection = SqliteConnection.opened(self._file, mode, self._timeout_s)
        connection.proof = proof
        connection.pid = self._pid
        self._open_ones.add(connection)
        return connection

    def _set_up(self, connection: SqliteConnection) -> None:
        connection.set_up(None if self.read_only else self._synchronous)
        if self._vault is not None and connection.execute(VAULT_ID).fetchone() != (self._vault,):
            raise self._replaced()

    def _proof(self) -> Proof | None:
        """What shows that no log has to be read; None where this user may write, and SQLite can find out by itself."""
        return Proof.of(self.path) if self.read_only else None

    def is_current(self) -> bool:
        """Whether the file that was opened still lies in its place."""
        try:
            return os.stat(self._file).st_ino == self._inode
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _replaced(self) -> VaultNotFound:
        return VaultNotFound(
            f"The vault {self.path.parent} was removed or replaced while it was open. Nothing was read or written; "
            "connect again to use what is there now."
        )

    def _close(self, connection: SqliteConnection) -> None:
        # One at a time: of two at once, neither would be the last, which clears the log away.
        with forks.no_fork, ConnectionPool._opening:
            connection.close()
            connection.closed = True

    def close_idle(self, thread: int) -> None:
        """Close the connection that a thread has left."""
        connection = self._idle.pop(thread, None)
        if connection is not None and connection.pid == os.getpid():
            self._close(connection)

    def close(self) -> None:
        """Close all connections, once the calls under way in other threads are done; after `timeout_s` they close their own."""
        self._closed = True
        deadline = time.monotonic() + self._timeout_s
        while True:
            for thread in list(self._idle):
                self.close_idle(thread)
            inside = forks.no_fork.threads() | {threading.get_ident()}
            for connection in self._open_ones.living():
                if connection.thread not in inside and connection.pid == os.getpid():
                    self._close(connection)
            left = {connection.thread for connection in self._own()}
            if left <= {threading.get_ident()} or time.monotonic() > deadline:
                return
            time.sleep(POLL_S)

    # -- forks

    def before_fork(self, *, alone: bool) -> bool:
        """Close every connection if no thread is inside. Whether none is open."""
        open_ones = self._own()
        if alone:
            for connection in open_ones:
                self._close(connection)
            self._idle.clear()
        return alone or not open_ones

    def in_child(self) -> None:
        """Begin anew. What came through the fork is never touched, not even closed."""
        for connection in self._own():
            if connection.thread == threading.get_ident():  # its caller goes on in the child
                connection.set_authorizer(refuse)
            forks.leak(connection)
        ConnectionPool._opening = threading.RLock()
        self._begin()

    # -- whether the files are those that were opened

    def _wait_for_removal(self, unless: Callable[[], bool] = lambda: False) -> None:
        """Raise VaultNotFound if the folder is being removed: its catalogue may go a moment after its lock file and its log."""
        deadline = time.monotonic() + REMOVAL_S
        while not unless() and time.monotonic() < deadline:
            self._require_usable()
            time.sleep(POLL_S)

    def _is_whole(self) -> bool:
        """Whether nothing is missing of what only a removal of the folder takes away."""
        return self._gate.has_file() and self.is_current() and not self._log()[1]

    def _log(self) -> tuple[tuple[int, ...], bool]:
        """Which log there is; and whether a connection of this process has one open that does not lie in its place any more."""
        with ConnectionPool._opening:  # the last connection to close takes the log away itself
            open_logs = {connection.log for connection in self._open_here() if connection.log}
            present = file_of(self._log_file)
        return present, bool(open_logs) and open_logs != {present}

    def _require_log(self) -> tuple[int, ...]:
        """Which log there is. Refuse to go on with one that was removed: what is committed to it vanishes with it."""
        present, is_lost = self._log()
        if is_lost:
            self._wait_for_removal()
            raise VaultCorrupt(
                f"The write-ahead log {self._file}-wal was removed or replaced while the vault was open. Nothing was written. "
                "Close the vault in every process and connect again; vault.check() tells whether commits are lost."
            )
        return present

    def _require_log_of(self, db: SqliteConnection) -> None:
        """The same, for a connection that is about to write; note which log it has open."""
        if not db.log or db.log != file_of(self._log_file):
            db.log = self._require_log()

    # -- errors

    def raise_ours(self, error: BaseException) -> None:
        """Raise the error of ours for one that came while the catalogue was used; return for any other."""
        if isinstance(error, VaultError):
            return
        missing = isinstance(error, OSError) and error.errno == errno.ENOENT
        if missing or (isinstance(error, sqlite3.Error | OSError) and not self._is_whole()):
            self._wait_for_removal()
        ours = self._refused(error) if isinstance(error, sqlite3.Error) else not_of_sqlite(error, self.path)
        if ours is not None:
            raise ours from error

    def _refused(self, error: sqlite3.Error) -> Exception:
        """The error of ours for an SQLite error."""
        forks.require_whole()
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        unreadable = code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
        if self.read_only and unreadable and size_of(self._file + "-wal"):
            return VaultReadOnly(
                f"The newest commits of the vault {self.path.parent} are in its log, which this user has no rights to read. "
                "Open the vault once as a user who may write to the folder: closing it clears the log away."
            )
        return translated(error, self.path)


class TakenConnection:
    """A connection for one call, whose errors become ours. Written out, as a generator costs as much as a small SELECT."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def __enter__(self) -> SqliteConnection:
        forks.no_fork.__enter__()
        try:
            self._connection = self._pool.take()
            return self._connection
        except BaseException as error:
            self._leave(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._pool.give_back(self._connection)
            else:
                self._pool.after_error(self._connection, error)
        except BaseException as other:
            self._leave(other)
            raise
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        forks.no_fork.__exit__(None, None, None)
        if error is not None:
            self._pool.raise_ours(error)


class _OfThread:
    """Belongs to a thread, and is dropped when that ends."""
