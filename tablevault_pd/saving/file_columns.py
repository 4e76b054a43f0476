"""Columns of files: the state of each file that a cell names, and later changes of it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from tablevault_pd.capture.redact import masked_url
from tablevault_pd.display import counted
from tablevault_pd.errors import FileMissing, MissingDependency, UnsupportedColumn, VaultError, short_repr
from tablevault_pd.frames.objects import FILE_TYPE, is_address
from tablevault_pd.imports import for_own_use
from tablevault_pd.progress import Bar
from tablevault_pd.store.engine.hashing import sha256_of, sha256_of_file
from tablevault_pd.store.times import to_time
from tablevault_pd.validate import is_missing

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping
    from typing import BinaryIO

#: What storages call a text that another content of the file does not have.
_TAGS = ("ETag", "etag", "content_md5", "md5Hash", "crc32c", "checksum")
COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileState:
    """The state of a file."""

    path: str
    size_bytes: int | None
    modified: datetime | None
    sha256: str | None  #: None: of a file by address whose content was not read
    stored: bool = False
    folder: str | None = None  #: the folder of a relative path; of a file by address its tag
    content: BinaryIO | None = None  #: of a file by address that is to be kept: a copy, until it is closed

    @property
    def local(self) -> Path:
        """Where its content can be read."""
        return Path(self.path if self.content is None else self.content.name)


def file_column(cells: pd.Series, label: Hashable, *, stored: bool) -> tuple[pa.StructArray, list[FileState]]:
    """Stat and hash every file that a column names. Return the column as it is stored, and the states of the files.

    `stored` is whether their contents are kept in the vault, which the caller does.

    Raises UnsupportedColumn for cells that are no paths, FileMissing for files that cannot be read, each with all rows
    at fault.
    """
    paths = [None if is_missing(cell) else cell for cell in cells]
    for row, cell in enumerate(paths):
        if cell is not None and (problem := _problem(cell)):
            raise UnsupportedColumn(
                f"Column {label!r} is to hold files, but row {row} holds {short_repr(cell)}, {problem}."
            )
    gone = [
        (row, path)
        for row, path in enumerate(paths)
        if path is not None and not is_address(path) and not Path(path).is_file()
    ]
    if gone:
        names = ", ".join(
            f"row {row}: {short_repr(os.fspath(path))}{', a folder' if Path(path).is_dir() else ''}"
            for row, path in gone[:5]
        )
        raise FileMissing(
            f"Column {label!r} names {counted(len(gone), 'path')} without a file there ({names}). Nothing was saved."
        )
    states: list[FileState | None] = []
    with Bar("hashing files", total=len(paths), unit="files") as bar:
        for path in paths:
            states.append(None if path is None else look(path, stored=stored))
            bar()
    rows = [
        None if state is None else {field.name: getattr(state, field.name) for field in FILE_TYPE}
        for state in states
    ]
    return pa.array(rows, FILE_TYPE), [state for state in states if state is not None]


def _problem(cell: object) -> str | None:
    """Return why a cell is no path that can be stored; None if it is one."""
    path = os.fspath(cell) if isinstance(cell, (str, os.PathLike)) else None
    if not isinstance(path, str):
        return "and a file is a str or a Path"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "a name that is no UTF-8 text; rename the file"
    return None


def look(path: str | os.PathLike[str], *, stored: bool = False) -> FileState:
    """Return the present state of a file. Raises FileMissing."""
    if isinstance(path, str) and is_address(path):
        return _look_remotely(path, stored=stored)
    try:
        status = os.stat(path)
        digest = sha256_of_file(Path(path))
    except OSError as error:
        raise FileMissing(
            f"The file {short_repr(os.fspath(path))} cannot be read: {error.strerror}. Nothing was saved."
        ) from error
    folder = None if os.path.isabs(path) else os.getcwd()
    return FileState(os.fspath(path), status.st_size, _modified(status), digest, stored, folder)


def _look_remotely(address: str, *, stored: bool) -> FileState:
    file = RemoteFile(address)
    content, sha256 = file.fetched() if stored else (None, None)
    return FileState(file.shown, file.size_bytes, file.modified, sha256, stored, file.tag, content)


def changes(cells: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, str, str, bool]]:
    """Return which files, not kept in the vault, have changed since: (position, path, what is different, whether that is certain).

    `cells` gives what was kept about each, by position. A relative path starts from the folder that it was saved in. What
    cannot be examined from here is reported as uncertain.
    """
    for position, saved in cells:
        if saved["stored"]:
            continue
        if is_address(saved["path"]):
            yield from _remote_change(position, saved)
            continue
        folder = saved["folder"] or ""
        try:
            difference = _difference(os.path.join(folder, saved["path"]), saved)
        except FileNotFoundError:
            certain = not folder or os.path.isdir(folder)
            missing = (
                "is not there" if certain else f"cannot be checked from here: there is no folder {folder}"
            )
            yield position, saved["path"], missing, certain
        except OSError as error:
            yield position, saved["path"], f"cannot be read: {error.strerror}", False
        else:
            if difference is not None:
                yield position, saved["path"], difference, True


def _remote_change(position: int, saved: dict[str, Any]) -> Iterator[tuple[int, str, str, bool]]:
    try:
        detail, certain = difference(saved), True
    except FileMissing as error:
        certain = isinstance(error.__cause__, FileNotFoundError)
        detail = "is not there" if certain else f"cannot be checked from here: {error.__cause__}"
    except VaultError as error:
        detail, certain = f"cannot be checked from here: {error}", False
    if detail is not None:
        yield position, saved["path"], detail, certain


def _difference(path: str, saved: dict[str, Any]) -> str | None:
    status = os.stat(path)
    if status.st_size != saved["size_bytes"]:
        return f"has {status.st_size} bytes, had {saved['size_bytes']}"
    touched = _modified(status) != saved["modified"]
    if touched and sha256_of_file(Path(path)) != saved["sha256"]:
        return "has other content of the same size"
    return None


def _modified(status: os.stat_result) -> datetime:
    return to_time(status.st_mtime_ns // 1000)


# -- files by address, such as ``s3://bucket/key``: what their storage says of them, through fsspec, without their content


class RemoteFile:
    """One file in a storage. Raises FileMissing where it cannot be looked at, MissingDependency, UnsupportedColumn."""

    def __init__(self, address: str) -> None:
        self.shown = masked_url(address)
        try:
            with for_own_use():
                from fsspec.core import url_to_fs
        except ImportError as error:
            raise MissingDependency.for_extra("fsspec", "fsspec", "A file by address") from error
        try:
            self._storage, self._path = url_to_fs(address)
        except ImportError as error:
            raise MissingDependency(f"{short_repr(self.shown)}: {error}") from error
        except ValueError as error:
            raise UnsupportedColumn(
                f"{short_repr(self.shown)} is no address that fsspec knows: {error}."
            ) from error
        self._info: Mapping[str, Any] = self._asked("info")
        if self._info.get("type") == "directory":
            raise FileMissing(f"{short_repr(self.shown)} is a folder, and no file. Nothing was saved.")

    def _asked(self, call: str, *arguments: Any) -> Any:
        """What the storage answers. Its errors are of any type."""
        try:
            return getattr(self._storage, call)(self._path, *arguments)
        except FileNotFoundError as error:
            raise FileMissing(
                f"The file {short_repr(self.shown)} is not there. Nothing was saved."
            ) from error
        except Exception as error:  # of the library of that storage
            reason = masked_url(f"{type(error).__name__}: {error}")
            raise FileMissing(
                f"The file {short_repr(self.shown)} cannot be read: {reason}. Nothing was saved."
            ) from error

    @property
    def size_bytes(self) -> int | None:
        """Its size; None where the storage does not tell."""
        size = self._info.get("size")
        return None if size is None else int(size)

    @property
    def tag(self) -> str | None:
        """What another content of the file would not have, as the storage calls it; None where it has no such."""
        tags = (self._info.get(name) for name in _TAGS)
        return next((str(tag).strip('"') for tag in tags if tag), None)

    @property
    def modified(self) -> datetime | None:
        """When it was last changed; None where the storage does not tell."""
        try:
            moment = pd.Timestamp(self._storage.modified(self._path))
        except Exception:  # noqa: BLE001  # not every storage can tell, and each says so in its own way
            return None
        if pd.isna(moment):
            return None
        utc: datetime = (
            moment.tz_localize(UTC) if moment.tz is None else moment.tz_convert(UTC)
        ).to_pydatetime(warn=False)
        return utc

    def fetched(self) -> tuple[BinaryIO, str]:
        """Its content in a temporary file, which is gone when that is closed, and the SHA-256 of it."""
        file: Any = tempfile.NamedTemporaryFile(prefix="tablevault-")  # noqa: SIM115  # open until it was kept
        with self._asked("open", "rb") as source:
            while data := source.read(COPY_BYTES):
                file.write(data)
        file.flush()
        file.seek(0)
        return file, sha256_of(file)


def difference(saved: Mapping[str, Any]) -> str | None:
    """What is different now of a file whose size, time and tag were kept; None if nothing is. Raises as RemoteFile does."""
    now = RemoteFile(saved["path"])
    if None not in (saved["size_bytes"], now.size_bytes) and now.size_bytes != saved["size_bytes"]:
        return f"has {now.size_bytes} bytes, had {saved['size_bytes']}"
    if None not in (saved["folder"], now.tag):
        return None if now.tag == saved["folder"] else f"has the tag {now.tag}, had {saved['folder']}"
    if None not in (saved["modified"], now.modified) and now.modified != saved["modified"]:
        return f"was changed at {now.modified:%Y-%m-%d %H:%M:%S} UTC, and has the same size"
    return None
