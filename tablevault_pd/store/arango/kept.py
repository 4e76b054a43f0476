"""Files whose content is kept in the vault, each once, under its SHA-256, in chunks.

The chunks of an upload come first, then the document that names them. Chunks of an upload that nobody named are
strays, like the items of a batch that never came.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tablevault_pd.errors import FileMissing, VaultCorrupt
from tablevault_pd.store.arango.client import Client
from tablevault_pd.store.arango.layout import BLOBS, Clock
from tablevault_pd.store.arango.stage import new_batch_key

CHUNK_BYTES = 3 << 20  # 4 MB as base64
IN_MEMORY_BYTES = 64 << 20

# 3.12; works on every version
KNOWN = "FOR b IN tv_blobs FILTER b._key == @key RETURN b"
CHUNKS = "FOR b IN tv_blobs FILTER b.upload == @upload AND b.n >= 0 SORT b.n RETURN b.data"


class KeptFiles:
    """Content-addressed storage in ``tv_blobs``."""

    client: Client
    clock: Clock

    def keep_file(self, path: Path, sha256: str) -> None:
        """Keep the content of a file under its hash."""
        self.client.writable()
        if self.client.query(KNOWN, key=sha256):
            return
        upload = new_batch_key(self.clock)
        digest, size, chunks = hashlib.sha256(), 0, 0
        for chunks, data in enumerate(_read(path), start=1):
            digest.update(data)
            size += len(data)
            text = base64.b64encode(data).decode("ascii")
            document = {"_key": f"{upload}-{chunks - 1}", "upload": upload, "n": chunks - 1, "data": text}
            self.client.insert(BLOBS, document, mode="ignore")
        if digest.hexdigest() != sha256:
            raise FileMissing(
                f"{path} changed while it was being saved. Save again when nobody writes to it."
            )
        whole = {"_key": sha256, "upload": upload, "n": -1, "chunks": chunks, "size_bytes": size}
        self.client.insert(BLOBS, whole, mode="ignore")

    def open_file(self, sha256: str) -> BinaryIO:
        """The kept content of a file, verified."""
        found = self.client.query(KNOWN, key=sha256)
        if not found:
            raise FileMissing(
                f"No file with the SHA-256 {sha256} is kept in this vault. vault.files() shows which are (stored)."
            )
        return _fetched(self.client, found[0])


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            yield data


def _fetched(client: Client, whole: dict[str, Any]) -> BinaryIO:
    sha256 = whole["_key"]
    digest = hashlib.sha256()
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  # handed to the caller
    try:
        for text in client.query(CHUNKS, upload=whole["upload"], batch_rows=4, stream=True):
            data = base64.b64decode(text, validate=True)
            digest.update(data)
            file.write(data)
    except (ValueError, TypeError) as error:
        raise VaultCorrupt(f"The kept file {sha256} is damaged: {error}.") from error
    if digest.hexdigest() != sha256:
        raise VaultCorrupt(f"The kept file {sha256} is damaged: its content does not match its hash.")
    file.seek(0)
    return file  # type: ignore[return-value]  # a binary file in all but its declared type
