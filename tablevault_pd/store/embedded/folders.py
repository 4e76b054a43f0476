"""The folder of a vault: made where there is none, refused where it holds something else."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tablevault_pd.errors import VaultFormatError, VaultNotFound, VaultReadOnly
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded import journal
from tablevault_pd.store.embedded.blobs import LOCK_NAME
from tablevault_pd.store.embedded.connection_pool import POLL_S
from tablevault_pd.store.embedded.copies import INDEXES, KEYS

if TYPE_CHECKING:
    from pathlib import Path

_FILES = {
    "catalog.db",
    "catalog.db-wal",
    "catalog.db-shm",
    "catalog.db-journal",
    "write.lock",
    "text.db",
    "text.db-wal",
    "text.db-shm",
    "text.db-journal",
    "text.lock",
    LOCK_NAME,
    journal.NAME,
    "commits.new",
}
_FOLDERS = {"segments", "files", KEYS, INDEXES}
_OURS = _FILES | _FOLDERS


def prepare(folder: Path, *, read_only: bool, timeout_s: float) -> None:
    """Make the folder if it is to be made; refuse one that holds something else."""
    entries = _entries(folder, read_only=read_only)
    content = {entry.name for entry in entries}
    if "catalog.db" in content:
        _require_plain(entries)
        if not read_only and not {"segments", "files"} <= content:
            with io.naming(f"making the folders of {folder} anew"):
                io.make_folder(folder / "segments")
                io.make_folder(folder / "files")
    elif read_only:
        _await_catalog(folder, content, timeout_s)
    else:
        _make(folder, content)


def _entries(folder: Path, *, read_only: bool) -> list[os.DirEntry[str]]:
    """What is in the folder; nothing, if it is to be made."""
    try:
        return list(os.scandir(folder))
    except FileNotFoundError:
        if read_only:
            raise VaultNotFound(f"There is no vault at {folder}. mode='rw' makes one.") from None
        return []
    except PermissionError as error:
        raise VaultReadOnly(
            f"The folder {folder} may not be looked into by this user. Ask for rights to it, or choose another one."
        ) from error
    except NotADirectoryError:
        raise VaultFormatError(f"{folder} is a file, and a vault is a folder. Choose another name.") from None


def _await_catalog(folder: Path, content: set[str], timeout_s: float) -> None:
    """Wait for the catalogue of a vault that another process is making. Raises VaultNotFound."""
    if content and content <= _OURS:
        _require_unused(folder, content)
        deadline = time.monotonic() + timeout_s
        while not (is_there := (folder / "catalog.db").exists()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if is_there:
            return
    raise VaultNotFound(
        f"There is no vault in {folder}: it has no catalog.db. mode='rw' makes one in an empty folder."
    )


def _make(folder: Path, content: set[str]) -> None:
    """Make the folders of a vault. Raises VaultFormatError where there is something else, or a vault around it."""
    if not content <= _OURS:
        raise VaultFormatError(
            f"{folder} holds other files, and no vault. Choose an empty or a new folder; nothing was changed in this one."
        )
    for parent in folder.parents:
        if (parent / "catalog.db").is_file() and (parent / "segments").is_dir():
            raise VaultFormatError(
                f"{folder} lies inside of the vault {parent}. Choose a place outside of it."
            )
    try:
        for part in (folder, folder / "segments", folder / "files"):
            io.make_folder(part, parents=True)
    except OSError as error:
        raise io.disk_error(error, f"making a vault at {folder}") from error


def _require_unused(folder: Path, content: set[str]) -> None:
    """Refuse a vault that has lost its catalogue. One in the making has no commits yet."""
    left = [name for name in (journal.NAME, "text.db", KEYS, INDEXES) if name in content]
    if "segments" in content and any((folder / "segments").iterdir()):
        left.append("segments")
    if left:
        raise VaultNotFound(
            f"The vault {folder} has lost its catalogue: there is {' and '.join(left)}, and no catalog.db. Put that back from a backup. "
            "mode='rw' makes an empty one, and vault.check() lists what is left of the old."
        )


def _require_plain(entries: list[os.DirEntry[str]]) -> None:
    """Refuse a link, which may lead out of the vault, a pipe, or a folder in the place of a file. No system call is needed."""
    for entry in entries:
        if (entry.name in _FILES and not entry.is_file(follow_symlinks=False)) or (
            entry.name in _FOLDERS and not entry.is_dir(follow_symlinks=False)
        ):
            what = "file" if entry.name in _FILES else "folder"
            raise VaultFormatError(
                f"{entry.path} is not a plain {what}. A vault holds no links, pipes or folders in its place."
            )
