"""Files that are copies of what is in the rows: digests of keys, approximate indexes. They may be lost, damaged or out of date."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xxhash

from tablevault_pd.errors import VaultError, VaultFormatError
from tablevault_pd.store.embedded import fsio as io

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from sqlite3 import Connection

    from tablevault_pd.store import Metric
    from tablevault_pd.store.embedded.catalog import SqliteCatalog

KEYS = "keys"  #: digests of keys
INDEXES = "indexes"  #: approximate indexes of vectors
WRITTEN_WITHIN_S = 3600.0
ERASED = "SELECT pieces FROM erased WHERE list = ?"
HAS_ROWS = "SELECT 1 FROM segments WHERE list = ? AND generation = ? LIMIT 1"


def is_left_over(path: Path) -> bool:
    """Return whether a file is of a writer that died."""
    status = _status(path) if path.suffix == ".new" else None
    return status is not None and time.time() - status.st_mtime > WRITTEN_WITHIN_S


def size_of(path: Path) -> int:
    """Return the size of a file, or of what is in its place; 0 once it was removed."""
    status = _status(path)
    return 0 if status is None else status.st_size


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


class CopyFiles:
    """Keeps, in one folder, one file for each list and name. They are not synced: each is verified when it is read."""

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self._folder = folder
        self._read_only = read_only

    def load(self, list_id: int, name: str) -> bytes | None:
        """Return what was kept of a list under a name."""
        try:
            with io.open_to_read(self.path(list_id, name)) as file:
                return file.read()
        except (OSError, VaultFormatError):  # a folder or pipe in its place
            return None

    def keep(self, list_id: int, name: str, parts: Sequence[bytes]) -> None:
        """Keep these bytes in place of those of that name."""
        if self._read_only:
            return
        path = self.path(list_id, name)
        fresh = path.with_suffix(f".{uuid.uuid4().hex}.new")
        try:
            io.make_folder(self._folder)
            with io.create(fresh) as file:
                for part in parts:
                    io.write(file, part)
            io.rename(fresh, path)
        except OSError:  # a full disk, or no rights: it is computed again
            pass
        finally:
            io.remove(fresh)

    def path(self, list_id: int, name: str) -> Path:
        """Return where that is kept."""
        return self._folder / f"{list_id}-{name}"


def rows_named(db: Connection, list_id: int, generation: int) -> str:
    """How the name of an index says which rows it is of: generation, and a digest of what was erased of the list when they were read.

    So an index that erased vectors have gone into is not found again, and it is not left behind either.
    """
    row = db.execute(ERASED, (list_id,)).fetchone()
    return f"{generation}-{'0' if row is None else xxhash.xxh3_64_hexdigest(row[0])}"


def is_index(db: Connection, name: str) -> bool:
    """Whether a file of that name is of rows that are there."""
    list_id, generation, *_ = [*name.split("-"), "", ""]
    if not (list_id.isdecimal() and generation.isdecimal()) or len(list_id + generation) > 36:
        return False
    numbers = int(list_id), int(generation)
    is_there = db.execute(HAS_ROWS, numbers).fetchone() is not None
    return is_there and name.startswith(f"{list_id}-{rows_named(db, *numbers)}-")


def index_name(rows: str, field: str, kind: str, metric: Metric) -> str:
    """The name of an index of these rows, behind the number of the list."""
    return f"{rows}-{xxhash.xxh3_64_hexdigest(chr(0).join((field, kind, metric)).encode())}"


class VectorIndexFiles:
    """The approximate indexes of vectors of one vault folder."""

    def __init__(self, catalog: SqliteCatalog, folder: Path, *, read_only: bool) -> None:
        self.catalog = catalog
        self.files = CopyFiles(folder / INDEXES, read_only=read_only)

    def column(
        self, list_id: int, generation: int, field: str, kind: str
    ) -> Callable[[Metric], ColumnIndexFile]:
        """Return the files of a column; what is erased from now on is in none of them."""
        with self.catalog.reading() as db:
            rows = rows_named(db, list_id, generation)

        def of(metric: Metric) -> ColumnIndexFile:
            name = index_name(rows, field, kind, metric)
            return ColumnIndexFile(self, list_id, generation, rows, name)

        return of


@dataclass(frozen=True, slots=True)
class ColumnIndexFile:
    """The index of one column for one metric."""

    owner: VectorIndexFiles
    list_id: int
    generation: int
    rows: str  #: as :func:`rows_named` them when the column was first read
    name: str

    def load(self) -> bytes | None:
        """Return what was kept, unless rows were erased meanwhile."""
        return self.owner.files.load(self.list_id, self.name) if self._is_current() else None

    def keep(self, parts: Sequence[bytes]) -> None:
        """Keep an index, unless rows were erased since its vectors were read."""
        if self._is_current():
            self.owner.files.keep(self.list_id, self.name, parts)
            if not self._is_current():  # an erase that came in between may have looked for files before
                io.remove(self.owner.files.path(self.list_id, self.name))

    def _is_current(self) -> bool:
        try:
            with self.owner.catalog.reading() as db:
                return rows_named(db, self.list_id, self.generation) == self.rows
        except (VaultError, OSError):
            return False  # nobody waits for this
