"""The write gate: one writer at a time per vault, served fairly, and never locked by the dead.

A POSIX record lock on ``write.lock`` is held over each write transaction. The kernel wakes waiters in turn and
drops the lock of a process that dies; SQLite's own waiting sleeps and polls, which starves writers for seconds.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tablevault_pd.errors import VaultBusy
from tablevault_pd.store.embedded import io
from tablevault_pd.threads import started

try:
    import fcntl
except ImportError:  # Windows: SQLite's own write lock still serialises writers, only less fairly
    fcntl = None  # type: ignore[assignment]

POLL_S = 0.005
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)

# Closing any descriptor of a file drops all of this process's record locks on it, so every store of one vault in
# one process shares one gate, and with it one descriptor.
_gates: dict[tuple[int, str], Gate] = {}
_gates_lock = threading.Lock()


class Gate:
    """The lock of one vault in this process. Use :func:`gate_of`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread_lock = threading.Lock()
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        except OSError as error:
            raise io.disk_error(error, f"opening {path}") from error
        self.users = 0

    @contextmanager
    def hold(self, timeout_s: float) -> Iterator[None]:
        """Wait at most `timeout_s` seconds, then be the only writer. Raises VaultBusy naming the holder."""
        deadline = time.monotonic() + timeout_s
        if not self._thread_lock.acquire(timeout=timeout_s):
            raise self._busy(timeout_s)
        try:
            if not self._lock(deadline):
                raise self._busy(timeout_s)
            try:
                yield
            finally:
                self._unlock()
        finally:
            self._thread_lock.release()

    def _lock(self, deadline: float) -> bool:
        if fcntl is None:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not self._wait(deadline):
                return False
        os.pwrite(
            self._descriptor,
            f"{os.getpid()} {socket.gethostname()} {time.time():.3f}\n".ljust(120).encode(),
            0,
        )
        return True

    def _wait(self, deadline: float) -> bool:
        """Block in a helper thread, which the kernel wakes at once, so that the caller keeps its time limit."""
        settled = threading.Lock()
        given_up = False
        got = threading.Event()

        def wait() -> None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            with settled:
                if given_up:
                    fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
                else:
                    got.set()

        if started(wait, "gate") is None:
            return self._poll(deadline)
        got.wait(max(0.0, deadline - time.monotonic()))
        with settled:
            given_up = not got.is_set()
            return not given_up

    def _poll(self, deadline: float) -> bool:
        """The same where no thread can be started."""
        while time.monotonic() < deadline:
            time.sleep(POLL_S)
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            return True
        return False

    def _unlock(self) -> None:
        if fcntl is not None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _busy(self, timeout_s: float) -> VaultBusy:
        try:
            pid, host, since = os.pread(self._descriptor, 120, 0).decode().split()
            holder = f"Process {pid} on {host} has held it for {time.time() - float(since):.1f} s. "
        except (OSError, ValueError):
            holder = ""
        return VaultBusy(
            f"The vault was locked by another writer for {timeout_s:g} s. {holder}"
            "Nothing was written; try again, or connect with a longer timeout_s."
        )

    def close(self) -> None:
        """Give back the descriptor."""
        os.close(self._descriptor)


def gate_of(path: Path) -> Gate:
    """This process's gate for the lock file `path`; every call needs a :func:`leave`."""
    with _gates_lock:
        key = (os.getpid(), str(path.resolve()))
        gate = _gates.get(key) or _gates.setdefault(key, Gate(path))
        gate.users += 1
        return gate


def leave(gate: Gate) -> None:
    """Give back what :func:`gate_of` returned."""
    with _gates_lock:
        gate.users -= 1
        if gate.users == 0:
            for key in [key for key, known in _gates.items() if known is gate]:
                del _gates[key]
            gate.close()


def _after_fork() -> None:
    global _gates_lock
    _gates_lock = threading.Lock()  # another thread of the parent may have held it
    _gates.clear()  # the child makes its own: the parent's locks are not the child's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
