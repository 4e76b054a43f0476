"""Files and folders that are written for other programs: whole under their name, or not there."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import InvalidInput, StorageError, StorageFull, VaultError, short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def new_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary file beside `path`, which gets that name at the end and is removed after an error.

    Raises InvalidInput if `path` exists and may not be overwritten, or is a folder; StorageError for errors of the system.
    """
    if path.is_dir() or (path.exists() and not overwrite):
        hint = "" if path.is_dir() else " overwrite=True replaces it."
        raise InvalidInput(f"{path} exists already, and nothing was written.{hint}")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with naming(f"writing {path}"):
            if not path.parent.is_dir():
                raise FileNotFoundError(errno.ENOENT, "There is no such folder", str(path.parent))
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`, which gets that name at the end and is removed after an error.

    Raises InvalidInput if `path` exists and is no empty folder; StorageError for errors of the system.
    """
    if path.name in ("", "..") or (path.exists() and (not path.is_dir() or any(path.iterdir()))):
        raise InvalidInput(
            f"{path} is not an empty folder with a name. Choose a new one; nothing was written."
        )
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with naming(f"writing {path}"):
            temporary.mkdir(mode=0o700, parents=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def below(path: Any) -> str:
    """Return a path that the vault has if it stays below the folder that it starts from, else raise InvalidInput."""
    parts = PurePosixPath(path).parts if isinstance(path, str) else ()
    unsafe = not parts or "\0" in path or any(part == ".." or set(part) & set("/\\:") for part in parts)
    if unsafe or not _is_encodable(path):
        raise InvalidInput(f"The path {short_repr(path)} leads out of the folder; nothing was written.")
    return str(PurePosixPath(*parts))


def _is_encodable(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def naming(doing: str) -> Iterator[None]:
    """Raise an OSError as StorageError or StorageFull, with what was being done."""
    try:
        yield
    except OSError as error:
        if isinstance(error, VaultError):
            raise
        renamed: StorageError
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            renamed = StorageFull(
                f"The disk is full while {doing}; nothing of it was kept. Free some space and try again."
            )
        else:
            renamed = StorageError(f"The system failed while {doing}: {error}")
        renamed.errno = error.errno
        raise renamed from error
