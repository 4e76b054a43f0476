"""Files with the digests of keys, beside the catalogue: copies of what can be computed again."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER = "keys"
WRITTEN_WITHIN_S = 3600.0


def is_left_over(path: Path) -> bool:
    """Return whether a file is of a writer that died."""
    return path.suffix == ".new" and time.time() - path.stat().st_mtime > WRITTEN_WITHIN_S


class KeyIndexFiles:
    """Keeps one file for each list and name. They are not synced: each is verified when it is read."""

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self._folder = folder / FOLDER
        self._read_only = read_only

    def load_key_index(self, list_id: int, name: str) -> bytes | None:
        """Return what was kept of a list under a name."""
        try:
            return self._path(list_id, name).read_bytes()
        except OSError:
            return None

    def keep_key_index(self, list_id: int, name: str, parts: Sequence[bytes]) -> None:
        """Keep these bytes in place of those of that name."""
        if self._read_only:
            return
        path = self._path(list_id, name)
        fresh = path.with_suffix(f".{uuid.uuid4().hex}.new")
        try:
            self._folder.mkdir(exist_ok=True)
            with fresh.open("xb") as file:
                file.writelines(parts)
            os.replace(fresh, path)
        except OSError:  # a full disk, or no rights: the digests are computed again
            pass
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink()

    def _path(self, list_id: int, name: str) -> Path:
        return self._folder / f"{list_id}-{name}"
