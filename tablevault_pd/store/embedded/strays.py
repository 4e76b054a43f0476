"""Files that no commit names: left by a crash, or superseded by compaction and vacuum.

A file is removed only while its lock is held, the catalogue does not name it, and no commit that was lost did. Before
that, all commits are moved from the write-ahead log into the database file, so that losing the log cannot bring back a
catalogue that needs what was removed.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tablevault_pd.errors import VaultFormatError
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.blobs import kept_strays
from tablevault_pd.store.embedded.copies import INDEXES, KEYS, is_index, is_left_over, size_of
from tablevault_pd.store.embedded.lockfile import HAS_LOCKS, LockFile
from tablevault_pd.store.embedded.segments import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.embedded.parts import VaultParts

SEGMENT_FILES = "SELECT file FROM segments WHERE file IS NOT NULL"
LISTS_WITH_ROWS = "SELECT DISTINCT list FROM segments"
PAUSES_S = (0.001, 0.01, 0.1, 0.4)  # between tries to move all commits into the database file
IS_SEGMENT = "SELECT 1 FROM segments WHERE file = ?"


@dataclass(frozen=True, slots=True)
class Stray:
    """A file of no commit."""

    path: Path
    size: int
    removed: bool

    @property
    def shown(self) -> str:
        """The path inside of the vault."""
        parts = self.path.parts
        return "/".join(parts[-2:] if parts[-2] in ("segments", KEYS, INDEXES) else parts[-3:])


def strays(vault: VaultParts, *, remove: bool) -> list[Stray]:
    """All strays, and whether each was removed. What a writer is about to commit is none."""
    copies = _keys(vault, remove=remove) + _indexes(vault, remove=remove)
    lost = vault.journal.lost(vault.catalog)
    remove = remove and _checkpointed(vault.catalog)
    segments = [] if lost.everything else _segments(vault, lost.files, remove=remove)
    files = (
        []
        if lost.everything
        else kept_strays(vault.folder, vault.files, vault.catalog, lost.files, remove=remove)
    )
    return segments + [Stray(*file) for file in files] + copies


def _checkpointed(catalog: SqliteCatalog) -> bool:
    """Whether no commit is in the log alone. A read that is under way elsewhere, as in a session's thread, is waited for a little."""
    for pause_s in PAUSES_S:
        if catalog.checkpoint():
            return True
        time.sleep(pause_s)
    return catalog.checkpoint()


def _keys(vault: VaultParts, *, remove: bool) -> list[Stray]:
    """Copies of keys of lists that are gone, and what is left of those that were being written."""
    paths = scan(vault.folder / KEYS)
    with vault.catalog.reading() as db:
        lists = {str(list_id) for (list_id,) in db.execute(LISTS_WITH_ROWS).fetchall()}
    left = [path for path in paths if path.name.partition("-")[0] not in lists or is_left_over(path)]
    return [Stray(path, size_of(path), remove and io.remove(path)) for path in left]


def _indexes(vault: VaultParts, *, remove: bool) -> list[Stray]:
    """Indexes of rows that are gone, or were erased since, and what is left of those that were being written."""
    paths = scan(vault.folder / INDEXES)
    with vault.catalog.reading() as db:
        left = [path for path in paths if not is_index(db, path.name) or is_left_over(path)]
    return [Stray(path, size_of(path), remove and io.remove(path)) for path in left]


def _segments(vault: VaultParts, lost: set[str], *, remove: bool) -> list[Stray]:
    files: list[Stray] = []
    paths = scan(vault.segments)
    with vault.catalog.reading() as db:
        named = {file for (file,) in db.execute(SEGMENT_FILES).fetchall()}
    for path in paths:
        if path.stem in named or path.stem in lost:
            continue
        with lock_of(path) as free:
            if free and not is_segment(vault.catalog, path.stem):
                try:
                    size = path.lstat().st_size
                except FileNotFoundError:
                    continue  # another process was faster
                files.append(Stray(path, size, remove and io.remove(path)))
    return files


def is_segment(catalog: SqliteCatalog, name: str) -> bool:
    """Return whether the catalogue names a segment."""
    with catalog.reading() as db:
        return db.execute(IS_SEGMENT, (name,)).fetchone() is not None


def scan(folder: Path) -> list[Path]:
    """What is in a folder that may be missing."""
    with io.naming(f"listing {folder}", reading=True):
        io.failpoint("list")
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            return []


def lock_of(path: Path) -> AbstractContextManager[object]:
    """Hold the lock of a segment, which its writer holds until it is committed. None if it was not free."""
    if not HAS_LOCKS or path.suffix != SUFFIX:
        return nullcontext(path)
    return _locked(path) or nullcontext()


def _locked(path: Path) -> LockFile | None:
    try:
        file = LockFile.opened(path)
    except (OSError, VaultFormatError):
        return None
    try:
        file.lock(exclusive=True, wait=False)
    except OSError:
        pass  # a file system without locks
    except BaseException:
        file.close()
        raise
    if file.held:
        return file
    file.close()
    return None


def unlink(vault: VaultParts, paths: Iterable[Path]) -> None:
    """Remove segments that the catalogue no longer names, as soon as losing its log could not bring them back."""
    vault.opened.close()  # what is open keeps its space on disk
    if vault.catalog.checkpoint():
        for path in paths:
            io.remove(path)


def hold(paths: Iterable[Path], held: list[LockFile]) -> None:
    """Lock segments that are about to go, so that no other call takes them for strays meanwhile. Those locked come into `held`."""
    if HAS_LOCKS:
        held.extend(filter(None, map(_locked, paths)))
