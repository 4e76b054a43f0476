"""The hash of a file's content."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex, without reading it into memory at once."""
    with path.open("rb") as file:
        return sha256_of(file)


def sha256_of(file: BufferedReader) -> str:
    """SHA-256 of what is left to read of an open file, in hex."""
    return hashlib.file_digest(file, "sha256").hexdigest()
