"""Files whose content is kept in the vault, each once, under its SHA-256."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from sqlite3 import Connection
from typing import BinaryIO

from tablevault_pd.errors import FileMissing, VaultCorrupt
from tablevault_pd.hashing import sha256_of_file
from tablevault_pd.store.embedded import io
from tablevault_pd.store.embedded.catalog import Catalog

KNOWN = "SELECT size FROM files WHERE sha256 = ?"
INSERT = "INSERT OR IGNORE INTO files VALUES (?, ?)"


class KeptFiles:
    """Content-addressed storage below ``files/``."""

    catalog: Catalog
    files: Path

    def keep_file(self, path: Path, sha256: str) -> None:
        """Keep the content of a file under its hash."""
        with self.catalog.reading() as db:
            if db.execute(KNOWN, (sha256,)).fetchone() is not None:
                return
        target = kept_path(self.files, sha256)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = target.with_name(f"{uuid.uuid4().hex}.tmp")
        try:
            size = _copy(path, fresh, sha256)
            os.replace(fresh, target)
            io.sync_folder(target.parent)
        except OSError as error:
            raise io.disk_error(error, f"keeping {path} in the vault") from error
        finally:
            fresh.unlink(missing_ok=True)
        io.sync_folder(self.files)
        self.catalog.write(_insert, sha256, size)

    def open_file(self, sha256: str) -> BinaryIO:
        """The kept content of a file."""
        with self.catalog.reading() as db:
            row = db.execute(KNOWN, (sha256,)).fetchone()
        if row is None:
            raise FileMissing(
                f"No file with the SHA-256 {sha256} is kept in this vault. vault.files() shows which are (stored)."
            )
        path = kept_path(self.files, sha256)
        try:
            if io.require_regular(path).st_size != row[0]:
                raise VaultCorrupt(f"The kept file {sha256} is damaged: it is not {row[0]} bytes long.")
            return path.open("rb")
        except FileNotFoundError as error:
            raise VaultCorrupt(f"The kept file {sha256} is missing from the vault.") from error


def _insert(db: Connection, sha256: str, size: int) -> None:
    db.execute(INSERT, (sha256, size))


def kept_path(files: Path, sha256: str) -> Path:
    """Where content of that hash lies."""
    return files / sha256[:2] / sha256


def _copy(source: Path, target: Path, sha256: str) -> int:
    """Copy durably, and make sure that it is still the content that was hashed."""
    with source.open("rb") as read, target.open("xb") as write:
        os.chmod(target, 0o600)
        shutil.copyfileobj(read, write, 1 << 20)
        write.flush()
        os.fsync(write.fileno())
        size = write.tell()
    if sha256_of_file(target) != sha256:
        raise FileMissing(f"{source} changed while it was being saved. Save again when nobody writes to it.")
    return size
