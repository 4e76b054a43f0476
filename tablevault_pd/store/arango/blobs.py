"""Files whose content is kept in the vault, each once, under its SHA-256, in chunks.

The chunks of an upload come first, then the document that names them. Chunks of an upload that nobody named are
strays, like the items of a batch that never came.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from tablevault_pd.errors import FileMissing, VaultCorrupt, VaultError
from tablevault_pd.store.arango.layout import BLOBS, Clock
from tablevault_pd.store.arango.records import to_text
from tablevault_pd.store.arango.stage import new_batch_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tablevault_pd.store.arango.client import Client

CHUNK_BYTES = 3 << 20  # 4 MB as base64
IN_MEMORY_BYTES = 64 << 20
# in one answer: a large file must not outlast the time limit of one request
PAGE_CHUNKS, PAGE_DIGESTS = 4, 64

# All statements: 3.12; nothing in them is newer than 3.8.
KNOWN = "FOR b IN tv_blobs FILTER b._key == @key RETURN b"
# A vacuum leaves alone what was touched lately: the commit of whoever touched it may still be on its way.
TOUCH = """
FOR b IN tv_blobs FILTER b._key == @key
  UPDATE b WITH {touched: DATE_NOW()} IN tv_blobs OPTIONS {waitForSync: true}
  RETURN NEW
"""
CHUNKS = (
    "FOR b IN tv_blobs FILTER b.upload == @upload AND b.n >= @first AND b.n < @stop SORT b.n RETURN b.data"
)
DIGESTS = """
FOR b IN tv_blobs
  FILTER b.upload == @upload AND b.n >= @first AND b.n < @stop
  SORT b.n
  RETURN SHA256(b.data)
"""
# What this upload brought, unless somebody else found it to be kept, uploaded it at the same time, or names it.
DISCARD = """
LET used = (FOR p IN tv_payloads FILTER p.named == true FOR f IN p.files FILTER f IN @keys RETURN DISTINCT f)
FOR b IN tv_blobs
  FILTER b._key IN @keys AND b.upload IN @uploads AND b._key NOT IN used AND b.touched == null
    AND LENGTH(b.uploads) == 1
  REMOVE b IN tv_blobs
"""
LEFT = "FOR b IN tv_blobs FILTER b.upload IN @uploads AND b.n == -1 RETURN b.upload"
DISCARD_CHUNKS = "FOR b IN tv_blobs FILTER b.upload IN @uploads AND b.n >= 0 REMOVE b IN tv_blobs"


class BlobWriter:
    """Keeps the files of one save."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._sizes: dict[str, int] = {}
        self._uploads: dict[str, str] = {}

    def __call__(self, path: Path, sha256: str) -> None:
        """Keep the content of a file under its hash, unless it is there already, and whole."""
        if sha256 in self._sizes:
            return
        stored = self._client.query(TOUCH, key=sha256)
        size = (
            stored[0]["size_bytes"]
            if stored and self._is_whole(stored[0], path)
            else self._upload(path, sha256)
        )
        self._sizes[sha256] = size

    def _is_whole(self, whole: dict[str, Any], path: Path) -> bool:
        """Whether the chunks on the server are those of the file."""
        there = _pages(self._client, DIGESTS, whole, PAGE_DIGESTS)
        return list(there) == [hashlib.sha256(text.encode()).hexdigest() for text, _ in _encoded(path)]

    def _upload(self, path: Path, sha256: str) -> int:
        upload = self._uploads[sha256] = new_batch_key(self._clock)
        digest, size, chunks = hashlib.sha256(), 0, 0
        for chunks, (text, data) in enumerate(_encoded(path), start=1):
            digest.update(data)
            size += len(data)
            document = {"_key": f"{upload}-{chunks - 1}", "upload": upload, "n": chunks - 1, "data": text}
            self._client.insert(BLOBS, document, mode="ignore")
        if digest.hexdigest() != sha256:
            raise FileMissing(
                f"{path} changed while it was being saved. Save again when nobody writes to it."
            )
        whole = {"_key": sha256, "upload": upload, "n": -1, "chunks": chunks, "size_bytes": size}
        # All who uploaded it since it was not there: of two who do so at once, one that fails must leave it to the other.
        self._client.insert(BLOBS, whole | {"uploads": {upload: True}}, mode="update")
        return size

    @property
    def files(self) -> tuple[tuple[str, int], ...]:
        """(SHA-256, size in bytes) of all that was kept."""
        return tuple(self._sizes.items())

    def discard(self) -> None:
        """Remove what was uploaded for rows that are not committed. What fails leaves strays, for a vacuum."""
        if self._uploads:
            with suppress(VaultError):
                keys, uploads = list(self._uploads), list(self._uploads.values())
                self._client.query(DISCARD, keys=keys, uploads=uploads)
                left = self._client.query(LEFT, uploads=uploads)
                self._client.query(
                    DISCARD_CHUNKS, uploads=[upload for upload in uploads if upload not in left]
                )


class BlobStore:
    """Content-addressed storage in ``tv_blobs``."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock

    @contextmanager
    def keeping(self) -> Iterator[BlobWriter]:
        """Keep the files of one save."""
        self._client.writable()
        keeping = BlobWriter(self._client, self._clock)
        try:
            yield keeping
        except BaseException:
            keeping.discard()
            raise

    def open_file(self, sha256: str) -> BinaryIO:
        """The kept content of a file, verified."""
        documents = self._client.query(KNOWN, key=sha256)
        if not documents:
            raise FileMissing(
                f"No file with the SHA-256 {sha256} is kept in this vault. vault.files() shows which are (stored)."
            )
        return _fetched(self._client, documents[0])


def _encoded(path: Path) -> Iterator[tuple[str, bytes]]:
    """The chunks of a file: as they are sent, and as they are."""
    try:
        with path.open("rb") as file:
            while data := file.read(CHUNK_BYTES):
                yield to_text(data), data
    except OSError as error:
        raise FileMissing(f"{path} cannot be read: {error.strerror}. Nothing was saved.") from error


def _pages(client: Client, statement: str, whole: dict[str, Any], size: int) -> Iterator[str]:
    """What a statement tells of each chunk of a kept file. Each page is tried again by itself."""
    for first in range(0, whole["chunks"], size):
        yield from client.query(statement, upload=whole["upload"], first=first, stop=first + size)


def _fetched(client: Client, whole: dict[str, Any]) -> BinaryIO:
    sha256 = whole["_key"]
    digest = hashlib.sha256()
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  # handed to the caller
    try:
        for text in _pages(client, CHUNKS, whole, PAGE_CHUNKS):
            data = base64.b64decode(text, validate=True)
            digest.update(data)
            file.write(data)
    except (ValueError, TypeError) as error:
        raise VaultCorrupt(f"The kept file {sha256} is damaged: {error}.") from error
    if digest.hexdigest() != sha256:
        raise VaultCorrupt(
            f"The kept file {sha256} is damaged: its content does not match its hash. Save the same file again to keep it."
        )
    file.seek(0)
    return file  # type: ignore[return-value]  # a binary file in all but its declared type
