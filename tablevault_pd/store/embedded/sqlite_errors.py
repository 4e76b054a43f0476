"""Translate SQLite errors to errors of this package. SQLite tells the kind of a failure, but not the system's errno."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from tablevault_pd.errors import (
    InvalidInput,
    StorageError,
    VaultBusy,
    VaultCorrupt,
    VaultError,
    VaultFormatError,
    VaultReadOnly,
)
from tablevault_pd.store.embedded import fsio as io

if TYPE_CHECKING:
    from pathlib import Path

_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
_FULL = {sqlite3.SQLITE_FULL}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR_SHORT_READ}
PROBE_BYTES = 1 << 16


def translated(error: sqlite3.Error, path: Path) -> VaultError:
    """The error of ours for an error of SQLite with the catalogue at `path`."""
    extended = getattr(error, "sqlite_errorcode", None) or 0
    code = extended & 0xFF
    folder = path.parent
    if code == sqlite3.SQLITE_BUSY:
        return VaultBusy(
            f"The catalogue of {folder} was locked for too long. Nothing was written; try again."
        )
    if code in _FULL:
        return io.full(f"writing to {folder}")
    if code in _READ_ONLY:
        return VaultReadOnly(f"The vault {folder} cannot be written to. Open it with mode='r' to read only.")
    if code == sqlite3.SQLITE_NOTADB:
        return VaultFormatError(f"{path} is not the catalogue of a vault.")
    if code in _DAMAGE or extended in _DAMAGE:
        return VaultCorrupt(f"The catalogue {path} is damaged: {error}. Restore it from a backup.")
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM):
        return _of_the_system(error, extended, path)
    return VaultError(f"The catalogue {path} could not be used: {error}. Nothing was written.")


def not_of_sqlite(error: BaseException, path: Path) -> VaultError | None:
    """The error of ours for one that came while rows of the catalogue were written, read or decoded; None for any other."""
    if isinstance(error, OSError):
        return io.disk_error(error, f"using {path}")
    if isinstance(error, MemoryError):
        return StorageError(
            f"There is not enough memory for what the catalogue {path} says: a record of it is damaged, or this process "
            "is at its limit. vault.check() tells which records are damaged."
        )
    if not isinstance(error, ValueError | TypeError | OverflowError | RecursionError):
        return None
    # what was asked for, no answer
    if isinstance(error, UnicodeEncodeError) or "SQLite INTEGER" in str(error):
        return InvalidInput(f"No vault holds such a text or number: {error}.")
    # A damaged page can hold anything.
    return VaultCorrupt(
        f"A row of the catalogue {path} cannot be decoded: {error}. Restore it from a backup."
    )


def _of_the_system(error: sqlite3.Error, extended: int, path: Path) -> VaultError:
    """Look for the errno behind a failed read, write or open by trying the like."""
    reading = extended == sqlite3.SQLITE_IOERR_READ
    try:
        io.require_listable(path.parent)
        if not reading:
            io.probe(path.with_name(f"{path.name}-probe{os.getpid()}"), PROBE_BYTES)
        if extended == sqlite3.SQLITE_IOERR_WRITE:
            io.require_no_size_limit()
    except OSError as cause:
        return io.disk_error(cause, f"using {path}", reading=reading)
    return StorageError(
        f"The system failed while using {path}: {error}. Nothing was written. Look at the state of the disk, then try again."
    )
