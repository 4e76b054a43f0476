"""Locks on files of the vault that several holders may share. Like the write gate's, none goes through a fork."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from tablevault_pd.store import forks
from tablevault_pd.store.embedded import io

try:
    import fcntl
except ImportError:  # Windows: an open file cannot be removed there anyway
    fcntl = None  # type: ignore[assignment]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[bool]:
    """Hold the lock file `path`, which is made if need be. Whether it is held.

    A shared lock is waited for, since exclusive ones are short; an exclusive one is not, and may be refused. A lock ends
    with its process.
    """
    with io.naming(f"opening {path}"):
        file = _opened(path)
    with file:
        yield _lock(file, exclusive=exclusive, wait=not exclusive)


@contextmanager
def appending(path: Path, *, exclusive: bool) -> Iterator[FileIO]:
    """A file open for appending, locked, and still the one of that name: it may be replaced under an exclusive lock."""
    while True:
        with _opened(path) as file:
            _lock(file, exclusive=exclusive, wait=True)
            if os.fstat(file.fileno()).st_nlink:
                yield file
                return


def _opened(path: Path) -> FileIO:
    with forks.inside:
        file = FileIO(path, "a", opener=lambda name, _: os.open(name, _FLAGS, 0o600))
        forks.close_in_child(file)
    return file


def _lock(file: FileIO, *, exclusive: bool, wait: bool) -> bool:
    if fcntl is None:
        return True
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
