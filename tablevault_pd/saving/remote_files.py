"""Files by address, such as ``s3://bucket/key``: what their storage says of them, through fsspec, without their content."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.capture.redact import masked_url
from tablevault_pd.errors import FileMissing, MissingDependency, UnsupportedColumn, short_repr
from tablevault_pd.imports import for_own_use
from tablevault_pd.store.engine.hashing import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

#: What storages call a text that another content of the file does not have.
_TAGS = ("ETag", "etag", "content_md5", "md5Hash", "crc32c", "checksum")
COPY_BYTES = 1 << 20


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
