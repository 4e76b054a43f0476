"""Files beside the catalogue with copies of what can be computed again: digests of keys, approximate indexes."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from tablevault_pd.errors import VaultFormatError
from tablevault_pd.store.embedded import fsio as io

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

KEYS = "keys"  #: digests of keys
INDEXES = "indexes"  #: approximate indexes of vectors
WRITTEN_WITHIN_S = 3600.0


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
