"""Files that are opened to be locked. No lock goes through a fork or outlives an interrupt.

A file is opened anew for each holding, and closing it releases the lock. The kernel does so for a process that dies, and
a ``with`` statement does so without running any Python code, in which an interrupt could come.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING, Self

from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.engine import fork_guard as forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: an open file cannot be removed there anyway
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS = fcntl is not None
# Not a function of Python: an interrupt in one would lose the descriptor.
_PRIVATE = partial(os.open, mode=0o600)
# Closes several files by one call of C, in which no interrupt comes: close_all(map(LockFile.close, files)).
close_all: Callable[[Iterable[object]], object] = partial(deque, maxlen=0)


class LockFile(FileIO):
    """A file open to be locked, and closed in forked children."""

    held = False
    thread = 0  #: the one that opened it

    @classmethod
    def opened(cls, path: str | Path, mode: str = "r") -> Self:
        """Open a plain file: no link, pipe or device. Mode ``a`` makes it if need be. Raises OSError."""
        io.refuse_irregular(path)
        with forks.no_fork:
            file = cls(path, mode, opener=_PRIVATE)
            forks.close_in_child(file)
        file.thread = threading.get_ident()
        return file

    def lock(self, *, exclusive: bool, wait: bool) -> None:
        """Lock the whole file; `held` tells whether that succeeded."""
        self.held = fcntl is None or _flock(self, exclusive=exclusive, wait=wait)


def locked(path: Path, *, exclusive: bool, read_only: bool = False) -> LockFile:
    """Open and lock the lock file `path`, which is made if need be, but not where it is opened to read only.

    A shared lock is waited for, since exclusive ones are short; an exclusive one is not, and may be refused (`held`).
    """
    with io.naming(f"opening {path}", reading=read_only):
        file = LockFile.opened(path, "r" if read_only else "a")
    try:
        file.lock(exclusive=exclusive, wait=not exclusive)
        return file
    except BaseException:
        file.close()
        raise


def _flock(file: LockFile, *, exclusive: bool, wait: bool) -> bool:
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
