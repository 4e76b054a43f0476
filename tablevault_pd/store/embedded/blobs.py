"""Files whose content is kept in the vault, each once, under its SHA-256.

A save holds a shared lock on ``files.lock`` from the first file it keeps, or finds to be kept already, until its commit has
named them. Content that the catalogue does not name is removed under the same lock held exclusively, so that nothing in
the making is ever taken away.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, BinaryIO

from tablevault_pd.errors import (
    FileMissing,
    StorageError,
    VaultCorrupt,
    VaultError,
    VaultReadOnly,
    short_repr,
)
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.lockfile import locked
from tablevault_pd.store.engine.hashing import sha256_of, sha256_of_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from sqlite3 import Connection

    from tablevault_pd.store import Version
    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.embedded.lockfile import LockFile

LOCK_NAME = "files.lock"
KNOWN = "SELECT size FROM files WHERE sha256 = ?"
NAMED = "SELECT sha256 FROM files"
INSERT = "INSERT OR IGNORE INTO files VALUES (?, ?)"
INSERT_USE = "INSERT OR IGNORE INTO file_uses VALUES (?, ?, ?)"


class BlobWriter:
    """Keeps the files of one save, and remembers them for its commit."""

    def __init__(self, files: Path) -> None:
        self._files = files
        self._sizes: dict[str, int] = {}
        self._copied: dict[str, Path] = {}
        self._pid = os.getpid()

    def __call__(self, path: Path, sha256: str) -> None:
        """Keep the content of a file under its hash; content that is there already, and whole, is not copied again."""
        if sha256 in self._sizes:
            return
        target = kept_path(self._files, sha256)
        with io.naming(f"reading the kept file {sha256}", reading=True):
            size = _size_if_whole(target, sha256)
        self._sizes[sha256] = self._copy(path, target, sha256) if size is None else size

    def _copy(self, path: Path, target: Path, sha256: str) -> int:
        doing = f"keeping {path} in the vault"
        fresh = target.with_name(f"{uuid.uuid4().hex}.tmp")
        self._copied[sha256] = target
        with _opened(path) as source, io.naming(doing):
            for folder in (self._files, target.parent):
                io.make_folder(folder)
            try:
                size = _write(source, path, fresh, sha256)
                io.rename(fresh, target)
            finally:
                io.remove(fresh)
            for folder in (target.parent, self._files):
                io.sync_folder(folder)
        return size

    @property
    def files(self) -> tuple[tuple[str, int], ...]:
        """(SHA-256, size in bytes) of all that was kept."""
        return tuple(self._sizes.items())

    @property
    def copied(self) -> dict[str, Path]:
        """What was copied into the vault, and not there before; nothing in a forked child, where it is the parent's."""
        return self._copied if self._pid == os.getpid() else {}


class BlobStore:
    """Content-addressed storage below ``files/``."""

    def __init__(self, catalog: SqliteCatalog, folder: Path) -> None:
        self._catalog, self._folder = catalog, folder
        self.files = folder / "files"

    @contextmanager
    def keeping(self) -> Iterator[BlobWriter]:
        """Keep the files of one save; leave this only after its commit. Left by an exception, it removes what it copied."""
        if self._catalog.read_only:
            raise VaultReadOnly("This vault is open for reading. Connect with mode='rw' to write.")
        keeping = BlobWriter(self.files)
        try:
            with locked(self._folder / LOCK_NAME, exclusive=False):
                yield keeping
        except BaseException:
            self._discard(keeping.copied)
            raise

    def _discard(self, copied: dict[str, Path]) -> None:
        """Remove files that no commit names. While another save is keeping files they stay, as strays for a vacuum."""
        if not copied:
            return
        with suppress(VaultError, OSError), locked(self._folder / LOCK_NAME, exclusive=True) as lock:
            if lock.held:
                with self._catalog.reading() as db:
                    named = {sha256 for (sha256,) in db.execute(NAMED).fetchall()}
                for path in [path for sha256, path in copied.items() if sha256 not in named]:
                    io.remove(path)

    def open_file(self, sha256: str) -> BinaryIO:
        """The kept content of a file, all of it verified before it is handed out."""
        for _ in range(2):  # a vacuum may come between the catalogue and the file
            with self._catalog.reading() as db:
                row = db.execute(KNOWN, (sha256,)).fetchone()
            if row is None:
                raise FileMissing(
                    f"No file with the SHA-256 {sha256} is kept in this vault. vault.files() shows which are (stored)."
                )
            try:
                with io.naming(f"reading the kept file {sha256}", reading=True):
                    return _verified(kept_path(self.files, sha256), sha256)
            except StorageError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
        raise VaultCorrupt(
            f"The kept file {sha256} is missing from the vault. Save the same file again to keep it."
        )


def insert_files(db: Connection, version: Version, files: Iterable[tuple[str, int]]) -> None:
    """Name kept files, and the version that uses them, in the transaction that commits it."""
    for sha256, size in files:
        db.execute(INSERT, (sha256, size))
        db.execute(INSERT_USE, (sha256, version.list_id, version.version))


def kept_path(files: Path, sha256: str) -> Path:
    """Where content of that hash lies. Raises VaultCorrupt for what is none: it could lead out of the vault."""
    if not (len(sha256) == 64 and sha256.isalnum()):
        raise VaultCorrupt(
            f"{short_repr(sha256)} in the catalogue of {files.parent} is no SHA-256. Restore a backup."
        )
    return files / sha256[:2] / sha256


def lock_of_saves(folder: Path, *, exclusive: bool, read_only: bool) -> LockFile | None:
    """Lock what a save holds that keeps files. None where a reader finds that no save ever did."""
    path = folder / LOCK_NAME
    return None if read_only and not path.exists() else locked(path, exclusive=exclusive, read_only=read_only)


def kept_strays(
    folder: Path, files: Path, catalog: SqliteCatalog, lost: set[str], *, remove: bool
) -> list[tuple[Path, int, bool]]:
    """Files below `files` that neither the catalogue nor a lost commit names: path, size in bytes, whether it was removed.

    None while a save is keeping files: what it has not committed yet looks like a stray.
    """
    lock = lock_of_saves(folder, exclusive=True, read_only=catalog.read_only)
    with lock or nullcontext():
        if lock is not None and not lock.held:
            return []
        with catalog.reading() as db:
            named = {sha256 for (sha256,) in db.execute(NAMED).fetchall()}
        unnamed = []
        for path in files.glob("*/*"):
            if path.name not in named and path.name not in lost:
                size = path.lstat().st_size
                unnamed.append((path, size, remove and io.remove(path)))
        return sorted(unnamed)


def _size_if_whole(path: Path, sha256: str) -> int | None:
    try:
        size = io.require_regular(path).st_size
        return size if sha256_of_file(path) == sha256 else None
    except FileNotFoundError:
        return None


def _verified(path: Path, sha256: str) -> BinaryIO:
    """The file, open at its beginning. What is read is what was verified: nobody writes to a kept file."""
    io.require_regular(path)
    file = io.open_to_read(path)
    try:
        if sha256_of(file) != sha256:
            raise VaultCorrupt(
                f"The kept file {sha256} is damaged: its content does not match its hash. Save the same file again to keep it."
            )
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _opened(path: Path) -> BinaryIO:
    with io.naming(f"reading {path}", reading=True):
        io.failpoint("read")
        return path.open("rb")  # the user's own file, which may be a link


def _write(source: BinaryIO, path: Path, target: Path, sha256: str) -> int:
    """Copy durably, and make sure that it is still the content that was hashed."""
    digest = hashlib.sha256()
    with io.create(target) as copy:
        while data := source.read(io.COPY_BYTES):
            digest.update(data)
            io.write(copy, data)
        copy.flush()
        io.sync(copy)
        size = copy.tell()
    if digest.hexdigest() != sha256:
        raise FileMissing(f"{path} changed while it was being saved. Save again when nobody writes to it.")
    return size
