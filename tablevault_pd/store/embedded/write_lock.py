"""The write lock: one writer at a time per vault, served in turn; a process that dies releases it.

An open-file-description lock on ``write.lock`` is held over each write transaction. The file is opened anew for each holding,
so closing it releases the lock, and the kernel closes it for a process that dies. Threads of one process wait for each other
in the same way. SQLite's own waiting lets one busy writer starve the others for seconds; here a waiting writer holds the byte
``TURN``, which a writer needs before it may ask for the byte ``WRITE``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from contextlib import suppress
from functools import cache
from io import FileIO
from typing import TYPE_CHECKING

from tablevault_pd.errors import VaultBusy, VaultError
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.lockfile import LockFile
from tablevault_pd.store.engine import fork_guard as forks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: SQLite's own write lock still serialises writers, only less fairly
    fcntl = None  # type: ignore[assignment]

NEXT_POLL_S = 0.0001  # of the one whose turn comes next; doubled up to …
LAST_POLL_S = 0.002
_WRITE, _TURN, _BOTH = (0, 1), (1, 1), (0, 2)  # (first byte, bytes)
_WIDE = 120  # bytes of what the file says of its holder
_CONNECTED = (128, 1)  # the byte that SQLite has locked in the index while it is open


class WriteLockFile(LockFile):
    """The lock of one writer."""

    next = False  #: its turn comes next


class WriteLock:
    """The lock of one vault."""

    def __init__(self, folder: Path, name: str = "write.lock") -> None:
        self._path = str(folder / name)

    def has_file(self) -> bool:
        """Whether the lock file is there."""
        return os.path.exists(self._path)

    def take(self, timeout_s: float, before_making: Callable[[], object] = bool) -> WriteLockFile:
        """Wait at most `timeout_s` seconds to be the only writer, until the lock is closed. Raises VaultBusy.

        `before_making` is called before a lock file that is missing is made.
        """
        try:
            lock = self._open(before_making)
        except VaultError:
            raise
        except OSError as error:
            raise io.disk_error(error, f"opening {self._path}") from error
        try:
            if not _lock(lock, _BOTH):
                self._wait(lock, timeout_s)
            lock.held = True
            _unlock(lock, _TURN)
            _tell_holder(lock)
            return lock
        except BaseException:
            lock.close()
            raise

    def _open(self, before_making: Callable[[], object]) -> WriteLockFile:
        while True:
            try:
                return WriteLockFile.opened(self._path, "r+")
            except FileNotFoundError:
                before_making()
            with suppress(FileExistsError):
                return WriteLockFile.opened(self._path, "x+")

    def _wait(self, lock: WriteLockFile, timeout_s: float) -> None:
        mine = [other for other in _open_locks(lock) if other.thread == lock.thread]
        if any(other.held for other in mine):
            raise VaultBusy(
                "This thread is in the middle of writing to the vault: a signal handler or a finalizer that interrupts a "
                "call cannot write before it is done. Nothing was written; set a flag there, and save afterwards."
            )
        deadline = time.monotonic() + timeout_s
        if not any(other.next for other in mine):  # else this thread's turn comes next already
            self._poll(lock, _TURN, deadline, timeout_s)
            lock.next = True
        self._poll(lock, _WRITE, deadline, timeout_s)

    def _poll(self, lock: WriteLockFile, what: tuple[int, int], deadline: float, timeout_s: float) -> None:
        pause = NEXT_POLL_S
        while not _lock(lock, what):
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._busy(lock, timeout_s)
            time.sleep(min(pause, left))
            pause = min(2 * pause, LAST_POLL_S)

    def _busy(self, lock: WriteLockFile, timeout_s: float) -> VaultBusy:
        try:
            pid, host, since = os.pread(lock.fileno(), _WIDE, 0).decode().split()
            holder = f"Process {pid} on {host} has held it for {time.time() - float(since):.1f} s. "
        except (OSError, ValueError):
            holder = ""
        return VaultBusy(
            f"The vault was locked by another writer for {timeout_s:g} s. {holder}"
            "Nothing was written; try again, or connect with a longer timeout_s."
        )


def _open_locks(lock: WriteLockFile) -> list[WriteLockFile]:
    """The other locks of this process on the same file."""
    return [
        other
        for other in forks.files()
        if isinstance(other, WriteLockFile)
        and other is not lock
        and other.name == lock.name
        and not other.closed
    ]


_host = cache(socket.gethostname)


def _tell_holder(lock: WriteLockFile) -> None:
    holder = f"{os.getpid()} {_host()} {time.time():.3f}\n".ljust(_WIDE)
    try:
        os.pwrite(lock.fileno(), holder.encode(), 0)
    except OSError:
        return  # on a full disk the lock holds all the same


# -- the system's locks

_FLOCK = "hhqqi4x"
_HAS_OFD = hasattr(fcntl, "F_OFD_SETLK")


def _lock(lock: WriteLockFile, what: tuple[int, int]) -> bool:
    """Lock some bytes; False if another description of the file has locked one of them."""
    if fcntl is None:
        return True
    try:
        if _HAS_OFD:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLK, _record(fcntl.F_WRLCK, what))
        elif what is not _TURN:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise


def _unlock(lock: WriteLockFile, what: tuple[int, int]) -> None:
    if _HAS_OFD:
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, _record(fcntl.F_UNLCK, what))


def holder_of(file: FileIO, what: tuple[int, int]) -> int | None:
    """The process that has locked some bytes of a file for itself; None if there is none, or the system does not tell."""
    if not _HAS_OFD:
        return None
    record = fcntl.fcntl(file, fcntl.F_GETLK, _record(fcntl.F_WRLCK, what))
    kind, *_, pid = struct.unpack(_FLOCK, record)
    return None if kind == fcntl.F_UNLCK else int(pid)


@cache
def _record(kind: int, what: tuple[int, int]) -> bytes:
    """A ``struct flock`` of C: type, whence, start, length, and a pid of 0."""
    return struct.pack(_FLOCK, kind, os.SEEK_SET, *what, 0)


# -- a log that was removed


def removed_under(database: str) -> int | None:
    """The process that still uses a write-ahead log of the database that was removed; None if none does.

    SQLite shares the index of the log between processes (``catalog.db-shm``). Whoever opens the database while another process still
    has the removed log would begin a new log under the index of the old one, and the database would be damaged.

    Not for a process that has the database open: closing the index here would drop SQLite's locks.
    """
    index, log = f"{database}-shm", f"{database}-wal"
    if os.path.exists(log) or not os.path.exists(index):
        return None
    with FileIO(index) as file:
        holder = holder_of(file, _CONNECTED)
    return None if os.path.exists(log) else holder
