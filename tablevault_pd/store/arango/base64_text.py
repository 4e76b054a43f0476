"""Bytes in documents: JSON has texts alone."""

from __future__ import annotations

import base64

from tablevault_pd.errors import VaultCorrupt


def to_text(data: bytes) -> str:
    """Bytes as a document holds them."""
    return base64.b64encode(data).decode("ascii")


def to_bytes(text: str | None, where: str) -> bytes:
    """The bytes that a document holds. Raises VaultCorrupt: `where` is what is damaged."""
    try:
        return base64.b64decode(text or "", validate=True)
    except (ValueError, TypeError) as error:
        raise VaultCorrupt(f"{where} is damaged: {error}. Restore the database from a backup.") from error
