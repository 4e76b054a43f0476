"""A copy of a vault folder at one moment, taken while others write.

SQLite copies the catalogue in one step of its online backup, which sees a single state of it. What the copied catalogue names
is then copied, too: such files never change. One that a compaction or a vacuum removed meanwhile shows that the catalogue
has gone on, and that is then copied anew.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tablevault_pd.errors import InvalidInput
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.blobs import NAMED, kept_path
from tablevault_pd.store.embedded.segments import SUFFIX
from tablevault_pd.store.embedded.strays import SEGMENT_FILES

if TYPE_CHECKING:
    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.embedded.parts import VaultParts


def back_up(vault: VaultParts, folder: Path) -> None:
    """Copy a vault to an empty folder. What the vault itself has lost is left out, and found by a check of the copy."""
    if folder.resolve().is_relative_to(vault.folder.resolve()):
        raise InvalidInput(f"{folder} lies inside of the vault. Choose a folder outside of it.")
    with io.naming(f"backing up to {folder}"):
        missing = _copy_state(vault, folder)
        while missing:
            before, missing = missing, _copy_state(vault, folder)
            if missing <= before:  # a later catalogue names them still, so no compaction took them
                break
        for place in (*folder.rglob("*"), folder):
            if place.is_dir():
                io.sync_folder(place)


def _copy_state(vault: VaultParts, folder: Path) -> set[Path]:
    """Copy the catalogue, then what it names, and return what of that is not there. What is copied already is left as it is."""
    named = _copy_catalog(vault.catalog, folder / "catalog.db")
    for path in (*folder.glob("segments/*"), *folder.glob("files/*/*")):
        if path.relative_to(folder) not in named:
            io.remove(path)  # the catalogue copied before named it
    return {path for path in named if not _copy_file(vault.folder / path, folder / path)}


def _copy_catalog(catalog: SqliteCatalog, target: Path) -> set[Path]:
    """Copy the catalogue, and return the files that it names, by their paths in a vault."""
    with catalog.reading() as db, closing(sqlite3.connect(target, isolation_level=None)) as copy:
        db.backup(copy)
        segments = [Path("segments", f"{name}{SUFFIX}") for (name,) in copy.execute(SEGMENT_FILES)]
        return {*segments, *(kept_path(Path("files"), sha256) for (sha256,) in copy.execute(NAMED))}


def _copy_file(source: Path, target: Path) -> bool:
    """Copy one file durably. Return whether it was there."""
    if target.exists():
        return True
    io.make_folder(target.parent, parents=True)
    try:
        io.require_regular(source)
        io.copy(source, target)
    except FileNotFoundError:
        return False
    return True
