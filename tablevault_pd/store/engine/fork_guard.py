"""Keep connections and locks from being used in a forked child.

SQLite keeps its locks per process. A connection that was carried through a fork takes the parent's locks for its own, and
commits are lost. A fork also copies SQLite's mutexes as they are: one that another thread holds is never released in the
child. So a fork waits until all other threads have left SQLite, closes the connections, and closes in the child the files
that hold locks. Parent and child open new connections when they need them.

Nothing here takes a lock, because an interrupt may come on any line. A mark is an entry of a dict that only its own thread
changes; a mark that an interrupt left behind is recognised by the stack of the thread.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from functools import partial
from typing import IO, TYPE_CHECKING, Generic, Protocol, TypeVar

from tablevault_pd.capture.stacks import innermost_frames
from tablevault_pd.errors import VaultClosed

if TYPE_CHECKING:
    import socket
    from types import FrameType, TracebackType

PATIENCE_S = 10.0  # how long a fork waits for threads inside SQLite, and they for it
POLL_S = 0.0005
_PACKAGE = "tablevault_pd.store."  # whose modules use SQLite
T = TypeVar("T")


class Forkable(Protocol):
    """Holds connections."""

    def before_fork(self, *, alone: bool) -> bool:
        """Close every connection if no thread is inside (`alone`). Whether none is open."""

    def in_child(self) -> None:
        """Begin anew; what is still open belongs to the parent and may not be touched."""


class _NoFork:
    """A context in which no other thread forks. May be nested."""

    def __init__(self) -> None:
        self._depths: dict[int, int] = {}  # by thread
        self._forking: int | None = None  # the thread that forks now

    def __enter__(self) -> None:
        me = threading.get_ident()
        self._depths[me] = self._depths.get(me, 0) + 1
        if self._forking is not None and self._depths[me] == 1:
            self._let_fork(me)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        me = threading.get_ident()
        left = self._depths.get(me, 0) - 1
        if left > 0:
            self._depths[me] = left
        else:
            self._depths.pop(me, None)

    def _let_fork(self, me: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self._forking not in (None, me) and time.monotonic() < deadline:
            self._depths.pop(me, None)
            time.sleep(POLL_S)
            self._depths[me] = 1

    def threads(self) -> set[int]:
        """The threads inside. A mark without a frame of this package on the stack is what an interrupt left behind."""
        frames = innermost_frames()
        for thread in list(self._depths):
            if not _in_package(frames.get(thread)):
                self._depths.pop(thread, None)
        return set(self._depths)


def _in_package(frame: FrameType | None) -> bool:
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith(_PACKAGE) and name != __name__:
            return True
        frame = frame.f_back
    return False


class WeakList(Generic[T]):
    """A set of weak references, to be listed while threads add to it.

    A WeakSet calls a function of Python when an object goes, and an interrupt in there is swallowed.
    """

    def __init__(self) -> None:
        self._found: dict[int, weakref.ref[T]] = {}  # a new object often has the id of one that is gone

    def add(self, one: T) -> None:
        """Refer to `one` as long as it is there."""
        if len(self._found) > 64:
            for key, reference in list(self._found.items()):
                if reference() is None:
                    self._found.pop(key, None)
        self._found[id(one)] = weakref.ref(one)

    def living(self) -> list[T]:
        """What is still there."""
        return [one for reference in list(self._found.values()) if (one := reference()) is not None]


no_fork = _NoFork()
_holders: WeakList[Forkable] = WeakList()
_files: WeakList[IO[bytes]] = WeakList()
_sockets: WeakList[socket.socket] = WeakList()
_carried: list[str] = []  # why this process may not use SQLite


def register(holder: Forkable) -> None:
    """Have the connections of `holder` closed before a fork."""
    _holders.add(holder)


def holders() -> list[Forkable]:
    """What holds connections in this process."""
    return _holders.living()


def close_in_child(file: IO[bytes]) -> None:
    """Have a file that holds a lock closed in a forked child: the lock is the parent's."""
    _files.add(file)


def files() -> list[IO[bytes]]:
    """The files that hold locks, or held some."""
    return _files.living()


def detach_in_child(connected: socket.socket) -> None:
    """Have a connection closed in a forked child, without a word to the server: it is the parent's."""
    _sockets.add(connected)


def require_whole() -> None:
    """Raise VaultClosed in a child that cannot use SQLite."""
    if _carried:
        raise VaultClosed(
            f"This process was forked from process {os.getppid()} {_carried[0]}, and SQLite cannot be used in it. Nothing "
            "was written. Fork while no thread uses the vault, or start workers with multiprocessing's spawn method."
        )


def require_process(pid: int, what: str) -> None:
    """Raise VaultClosed in a child that was forked in the middle of something."""
    if pid != os.getpid():
        raise VaultClosed(
            f"This {what} was begun by process {pid}, from which this process was forked meanwhile. Nothing of it is done here: "
            f"begin another {what} in this process, or end it with os._exit()."
        )


def carried(why: str) -> None:
    """Remember that connections were carried into this process."""
    _carried.append(why)


def leak(obj: object) -> None:
    """Never free an object, not even at the end of the interpreter."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(obj))


def _before() -> None:
    me = threading.get_ident()
    no_fork._forking = me
    deadline = time.monotonic() + PATIENCE_S
    while (inside := no_fork.threads()) - {me} and time.monotonic() < deadline:
        time.sleep(POLL_S)
    clean = [holder.before_fork(alone=not inside) for holder in _holders.living()]
    why = (
        "while another thread was inside of a vault"
        if inside - {me}
        else "in the middle of a call on a vault"
    )
    _open_ones[:] = [] if all(clean) else [why]


_open_ones: list[str] = []  # why connections are open during the fork under way


def _detach(connections: list[socket.socket]) -> None:
    """Put the null device in their place: a call that is inside of one fails then, and does not wait."""
    null = os.open(os.devnull, os.O_RDWR)
    for connected in connections:
        if connected.fileno() >= 0:
            os.dup2(null, connected.fileno(), inheritable=False)
    os.close(null)


def _after_in_child() -> None:
    me = threading.get_ident()
    depth = no_fork._depths.get(me)
    no_fork._depths.clear()
    if depth:
        no_fork._depths[me] = depth
    no_fork._forking = None
    for file in files():
        file.close()
    _detach(_sockets.living())
    _carried.extend(_open_ones)
    for holder in _holders.living():
        holder.in_child()


if hasattr(os, "register_at_fork"):
    # An interrupt can skip a function of Python, and the fork continues. A function of C is always called.
    os.register_at_fork(
        before=_before,
        after_in_parent=partial(setattr, no_fork, "_forking", None),
        after_in_child=_after_in_child,
    )
    # Before a fork the last one registered comes first.
    os.register_at_fork(before=partial(_open_ones.append, "before its connections could be closed"))
