"""Every error tablevault_pd raises. Each is a :class:`VaultError` and the builtin a caller would guess.

Each takes its message alone, so that an error survives the trip from a worker process.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, ClassVar

from tablevault_pd.progress import say

#: What Python and its libraries raise on values that they did not expect, among them errors of ours.
NOT_OURS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError)

if TYPE_CHECKING:
    from collections.abc import Collection


def short_repr(value: object, limit: int = 80) -> str:
    """Return the repr of `value` for a message: control characters escaped, cut at `limit`."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def did_you_mean(name: str, names: Collection[str]) -> str:
    """Return a sentence with the `names` that are similar to `name`; empty if none is."""
    from difflib import get_close_matches

    close = get_close_matches(name, names, n=3) if len(name) <= 200 else []  # it takes quadratic time
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else ""


class VaultError(Exception):
    """Base of all errors of this package."""


class InvalidName(VaultError, ValueError):
    """A name that no list may have."""


class ListNotFound(VaultError, LookupError):
    """No list of that name is in the vault."""

    @classmethod
    def named(cls, name: str, names: Collection[str], where: str = "this vault") -> ListNotFound:
        """Return the error for `name`, with the names that come close."""
        hint = did_you_mean(name, names) or "vault.lists() shows what is there."
        return cls(f"No list named {short_repr(name)} in {where}. {hint}")


class ListDeleted(ListNotFound):
    """The list is hidden by a delete."""

    @classmethod
    def named(cls, name: str, names: Collection[str] = (), where: str = "") -> ListDeleted:
        """Return the error for the deleted list `name`, with the ways out."""
        return cls(
            f"The list {short_repr(name)} is deleted. vault.versions({short_repr(name)}) shows its history, "
            f"vault.restore({short_repr(name)}, version) brings a state back, save() starts new content."
        )


class ListRenamed(ListNotFound):
    """The list has another name by now; the message says which."""

    @classmethod
    def to(cls, name: str, new: str) -> ListRenamed:
        """The error for a list that was called `name` and is called `new`."""
        return cls(
            f"The list {short_repr(name)} was renamed: it is called {short_repr(new)} now, in all its versions. "
            f"To begin another list under the old name: vault.save({short_repr(name)}, …, expect=0)."
        )


class NameTaken(VaultError, ValueError):
    """A name stands for something else already."""


class VersionNotFound(VaultError, LookupError):
    """The list has no such version, or had none at that time."""

    @classmethod
    def vacuumed(cls, name: str, version: int) -> VersionNotFound:
        """Return the error for a version whose rows are gone."""
        return cls(
            f"The rows of {name}@{version} were removed by vacuum, or erased before they were copied. "
            f"vault.versions({short_repr(name)}) marks such versions as gone."
        )


class SessionNotFound(VaultError, LookupError):
    """No session of that name or id is in the vault."""


class UnsupportedColumn(VaultError, TypeError):
    """A column holds something that cannot be stored exactly."""


class SchemaMismatch(VaultError, ValueError):
    """Rows do not fit the list they are appended to."""


class DimensionMismatch(SchemaMismatch):
    """A vector is not as wide as the column it belongs to."""


class DuplicateKey(VaultError, ValueError):
    """Two rows of a list would have one key."""


class InvalidInput(VaultError, ValueError):
    """An argument that cannot be used as it is."""


class InvalidFilter(InvalidInput):
    """A filter that cannot be read, or names a column that is not there."""


class InvalidQuery(InvalidInput):
    """SQL that cannot be read, does something other than SELECT, or reaches for something outside of the vault."""


class QueryTimeout(VaultError, TimeoutError):
    """A query took longer than its ``timeout_s``."""


class InvalidType(InvalidInput, TypeError):
    """An argument of a type that the call does not take."""


class FileMissing(VaultError, FileNotFoundError):
    """A file named in a `files=` column is not there or cannot be read."""


class VaultNotFound(VaultError, FileNotFoundError):
    """There is no vault at that place."""


class VaultFormatError(VaultError, ValueError):
    """The place holds something else than a vault, or a vault of a newer format."""


class VaultCorrupt(VaultError, OSError):
    """Stored data is damaged: a payload is missing or does not match its checksum."""


class VaultBusy(VaultError, TimeoutError):
    """Another process kept the vault locked for too long."""


class VaultClosed(VaultError, ValueError):
    """The vault was closed."""


class VaultReadOnly(VaultError, PermissionError):
    """The vault is open for reading, or its place cannot be written to."""


class StorageError(VaultError, OSError):
    """The system could not read or write, for a reason that says nothing about the data: its ``errno`` tells which."""


class StorageFull(StorageError):
    """The disk is full; nothing of the batch was kept."""


class StoreUnavailable(VaultError, ConnectionError):
    """The server cannot be reached, or refused the connection."""


class StoreError(VaultError, RuntimeError):
    """The server refused a request; the message has its own words."""


class Conflict(VaultError, RuntimeError):
    """Another writer was faster: the list is not at the version given as ``expect=``.

    Without ``expect=`` the library tries again by itself, and the error is seen only when that keeps failing.
    """


class SessionContinued(VaultError, RuntimeError):
    """Another process goes on with the session of this one, which was taken for dead. Nothing was written.

    It resumed the session while this one was suspended, or could not reach the vault, for half a minute or longer.
    """

    @classmethod
    def by(cls, label: str, pid: int, host: str) -> SessionContinued:
        """The error that names the session and the process that has it now."""
        return cls(
            f"The session {label} was resumed meanwhile by process {pid} on {host}: it is recorded there, and "
            "not here any more. Nothing was written. Stop this process, or begin another session."
        )


class ClaimLost(VaultError, RuntimeError):
    """Rows that were claimed are not the caller's any more: their session was taken for dead, or they were released.

    Nothing was written. Whoever holds them now does them.
    """

    @classmethod
    def at(cls, name: str, positions: Collection[int]) -> ClaimLost:
        """The error for rows of a list, by their positions."""
        some = ", ".join(map(str, list(positions)[:10])) + (" …" if len(positions) > 10 else "")
        rows = (
            f"Row {some} of {short_repr(name)} is"
            if len(positions) == 1
            else f"Rows {some} of {short_repr(name)} are"
        )
        return cls(
            f"{rows} not held by this claim: never claimed, finished, released, or taken over because its session was not heard of. "
            f"Nothing was written. vault.claims({short_repr(name)}) shows who holds what."
        )


class GateFailed(VaultError, AssertionError):
    """A comparison did not pass its gate, or it cannot be told whether it does."""


class MissingDependency(VaultError, ImportError):
    """An optional package is needed for this call."""

    @classmethod
    def for_extra(cls, package: str, extra: str, what: str) -> MissingDependency:
        """Return the error that names the package and the extra that brings it."""
        return cls(f"{what} needs {package}. Install it with: pip install 'tablevault-pd[{extra}]'")


class SessionStopped(SystemExit):
    """Raised by ``checkpoint()`` when the session was asked to stop.

    A SystemExit and no VaultError: it ends the program, after ``finally``, ``with`` and ``atexit``, and ``except Exception``
    does not catch it. Its ``code`` is the exit code, 0 unless the request named another; its text says who asked, and when.
    Where it ends the process, that text is printed to ``sys.stderr``.
    """

    ended_by: ClassVar[SessionStopped | None] = None  #: the one that left the script: the process ends by it

    def __init__(self, code: int = 0, message: str = "The session was asked to stop.") -> None:
        super().__init__(code)
        self.message = message

    @property
    def code(self) -> int:
        """The exit code."""
        # Python reads it, from no frame of Python's, when this exception has left the script of the main thread.
        alone = sys._getframe().f_back is None and threading.current_thread() is threading.main_thread()
        if alone and SessionStopped.ended_by is None:
            SessionStopped.ended_by = self
            say(str(self))
        return int(self.args[0])

    @code.setter
    def code(self, code: int) -> None:
        self.args = (code,)

    def __str__(self) -> str:
        return self.message


class WorkerStopped(SessionStopped, Exception):
    """SessionStopped in a worker of a pool: also an Exception, so that the pool hands it to whoever waits for the result.

    Every later call on a vault in that session raises it again: the worker does none of the tasks that still wait.
    """


class NotRecorded(RuntimeWarning):
    """Something that a session logged is not recorded."""
