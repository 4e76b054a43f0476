"""The file of the index of rows' texts: ``text.db``. It is made of what the vault holds, and may be removed at any time.

It has a lock and a write-ahead log of its own, so that no commit waits while it is written. How far it goes is written with its
entries, and with the commit that this is the end of: an index that was kept while the catalogue lost commits is not believed.
One that is damaged or not believed is not used, and made anew by the next writer.
"""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from tablevault_pd.errors import (
    StorageError,
    VaultBusy,
    VaultCorrupt,
    VaultError,
    VaultFormatError,
    VaultNotFound,
    VaultReadOnly,
)
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded import tables
from tablevault_pd.store.embedded import write_lock as gate
from tablevault_pd.store.embedded.connection import is_empty, transaction
from tablevault_pd.store.embedded.connection_pool import VAULT_ID
from tablevault_pd.store.embedded.sqlite_file import SqliteFile
from tablevault_pd.store.engine.fts_index import CHECKS, CLEAR, ITEM_SETTINGS, RUN_TABLES, WORD_TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from sqlite3 import Connection

    from tablevault_pd.store.embedded.catalog import SqliteCatalog

P = ParamSpec("P")
T = TypeVar("T")
FORMAT = 1
APPLICATION_ID = 0x74767478  # "tvtx"
NAME, LOCK = "text.db", "text.lock"
FILES = (NAME, f"{NAME}-wal", f"{NAME}-shm", f"{NAME}-journal")
LAYOUT = (
    WORD_TABLES
    + RUN_TABLES
    + "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;\n"
)
ENDS = "SELECT list, generation, upto, token FROM text_upto"
# The commit that wrote the row before an address, if any did. `j` is a list of (list, generation, address).
TOKENS = """
SELECT (SELECT iif(b.start + b.rows >= j.value ->> 2, b.token, NULL) FROM batches b
        WHERE b.list = j.value ->> 0 AND b.generation = j.value ->> 1 AND b.start < j.value ->> 2 AND b.rows > 0
        ORDER BY b.start DESC LIMIT 1)
FROM json_each(?) j ORDER BY j.key
"""
PUT_VAULT = "INSERT INTO meta VALUES ('vault', ?)"


class _TextFile(SqliteFile):
    """The file, once it is open."""

    name, lock_name = NAME, LOCK

    def __init__(self, catalog: SqliteCatalog, vault_id: str, timeout_s: float) -> None:
        super().__init__(
            catalog.path.parent, read_only=catalog.read_only, timeout_s=timeout_s, durability="fast"
        )
        self._vault_id = vault_id

    def lay_out(self, db: Connection) -> None:
        """Make the tables, in an open transaction."""
        for statement in (LAYOUT + ITEM_SETTINGS).split(";\n"):
            db.execute(statement)
        db.execute(PUT_VAULT, (self._vault_id,))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {FORMAT}")

    def write_at_once(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As :meth:`write`. Raises VaultBusy where another writer is at work."""
        lock = self._gate.take(0.0)
        try:
            with self.reading() as db:
                self._require_log_of(db)
                return transaction(db, work, *args, **kwargs)
        finally:
            lock.close()

    def verify(self) -> str:
        """Check that this is an index as this release makes it, and return the id of its vault. Raises VaultNotFound for an empty one."""
        self._vault = self.snapshot(self._verified)
        if self._vault != self._vault_id:
            raise VaultFormatError(f"{self.path} is the index of another vault.")
        return self._vault

    def _verified(self, db: Connection) -> str:
        if is_empty(db):
            raise VaultNotFound(f"{self.path} is empty: who was making it did not come to the end yet.")
        application = db.execute("PRAGMA application_id").fetchone()[0]
        number = db.execute("PRAGMA user_version").fetchone()[0]
        if application == APPLICATION_ID and number > FORMAT:
            raise VaultReadOnly(f"{self.path} is an index of a newer release.")
        if (application, number) != (APPLICATION_ID, FORMAT) or not tables.has_layout(db, LAYOUT):
            raise VaultFormatError(f"{self.path} is no index of texts that this release has made.")
        return str(db.execute(VAULT_ID).fetchone()[0])


class TextFile:
    """The index of the texts of rows of one vault folder."""

    def __init__(self, catalog: SqliteCatalog, vault_id: str, timeout_s: float) -> None:
        self._catalog, self._vault_id, self._timeout_s = catalog, vault_id, timeout_s
        self._folder = catalog.path.parent
        self._file: _TextFile | None = None
        self._damaged: tuple[int, ...] = ()  #: the state of a file of which what is read makes no sense
        self.begin()

    def begin(self) -> None:
        """Begin anew, as in a forked child: another thread may have held the lock."""
        self._pid, self._lock = os.getpid(), threading.RLock()

    def _turn(self) -> threading.RLock:
        if self._pid != os.getpid():
            self.begin()
        return self._lock

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def snapshot(
        self, work: Callable[Concatenate[Connection | None, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return ``work(connection, …)`` as of one moment; ``work(None, …)`` where there is no index that can be used."""
        try:
            file = None if self._is_damaged() else self._open()
            if file is not None:
                answer = file.snapshot(work, *args, **kwargs)
                if file.is_current():
                    return answer
                self.close()
        except (VaultError, OSError, LookupError, ArithmeticError) as error:
            self.close()
            if not isinstance(error, VaultError | OSError) or _is_damage(error):
                self._damaged = self._state()
        return work(None, *args, **kwargs)

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``work(connection, …)``, committed. A file that is missing, damaged or not believed is made anew."""
        if self._is_damaged():
            self.remove()
        try:
            return self._open_or_make().write(work, *args, **kwargs)
        except VaultError as error:
            self.close()
            if _is_damage(error):
                self.remove()
            elif not isinstance(error, VaultNotFound):
                raise
            return self._open_or_make().write(work, *args, **kwargs)

    def write_at_once(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Return ``work(connection, …)``, committed; None where there is no index that can be used, or another writer."""
        try:
            file = None if self._is_damaged() else self._open()
            return None if file is None else file.write_at_once(work, *args, **kwargs)
        except (VaultError, OSError):  # which the reading or the writing after it meets as well
            return None

    def problem(self) -> str | None:
        """What is wrong with the file, if it is there."""
        try:
            file = self._open()
            if file is not None:
                file.write(_check)
        except (VaultReadOnly, VaultNotFound):  # of a newer release, for which it is right, or made just now
            self.close()
        except VaultError as error:
            self.close()
            if not _is_damage(error):
                raise
            return f"{NAME} is damaged, and not used: {error.__cause__ or error}"
        return None

    def forget(self) -> bool:
        """Empty the index, and leave nothing of it on disk. Whether nothing is in the way. Raises VaultBusy, StorageError."""
        if not self._exists():  # its log may be there still
            return self._is_gone() or self.remove()
        try:
            self.write(_clear)
            return self._open_or_make().rewrite()
        except (VaultBusy, StorageError):
            raise
        except VaultError:  # nothing that this release can empty
            return self.remove()

    def remove(self) -> bool:
        """Remove the file. Those who have it open see that it is not the current one. Whether nothing is left."""
        self.close()
        with gate.WriteLock(self._folder, LOCK).take(self._timeout_s), io.naming(f"removing {NAME}"):
            for name in FILES:
                io.remove(self._folder / name)
        return self._is_gone()

    # -- opening

    def _state(self) -> tuple[int, ...]:
        try:
            status = os.lstat(self._folder / NAME)
        except OSError:
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _is_damaged(self) -> bool:
        return self._damaged != () and self._damaged == self._state()

    def _exists(self) -> bool:
        return os.path.lexists(self._folder / NAME)

    def _is_gone(self) -> bool:
        return not any(os.path.lexists(self._folder / name) for name in FILES)

    def _open(self) -> _TextFile | None:
        """The file; None if there is none. Raises VaultCorrupt, VaultFormatError."""
        with self._turn():
            if self._file is None and self._exists():
                self._file = self._opened(make=False)
            return self._file

    def _open_or_make(self) -> _TextFile:
        with self._turn():
            if self._file is None:
                self._file = self._opened(make=True)
            return self._file

    def _opened(self, *, make: bool) -> _TextFile:
        file = _TextFile(self._catalog, self._vault_id, self._timeout_s)
        try:
            if make:
                file.create()
            file.verify()
            self._require_tokens(file)
        except BaseException:
            file.close()
            raise
        return file

    def _require_tokens(self, file: _TextFile) -> None:
        """Refuse an index of commits that the catalogue has lost: others may have come in their place."""
        with file.reading() as db:
            ends = db.execute(ENDS).fetchall()
        if self._tokens([row[:3] for row in ends]) != [row[3] for row in ends]:
            raise VaultCorrupt(f"{file.path} has rows of commits that the vault does not have.")

    def token(self, place: tuple[int, int, int]) -> str:
        """What tells the commit that wrote the row before an address (list, generation, row)."""
        return self._tokens([place])[0] or ""

    def _tokens(self, places: Sequence[tuple[int, int, int]]) -> list[str | None]:
        with self._catalog.reading() as db:
            return [token for (token,) in db.execute(TOKENS, (json.dumps(places),)).fetchall()]


def _is_damage(error: Exception) -> bool:
    """Whether an error says that the file cannot be used as it is. Of a damaged table FTS5 says nothing but that it fails."""
    is_said = isinstance(error, VaultCorrupt | VaultFormatError) or type(error) is VaultError
    return is_said or isinstance(error.__cause__, MemoryError)  # a damaged one may ask for any amount


def _check(db: Connection) -> None:
    for statement in CHECKS:
        db.execute(statement)


def _clear(db: Connection) -> None:
    for statement in (*CLEAR, "DELETE FROM text_runs", "DELETE FROM text_upto"):
        db.execute(statement)
