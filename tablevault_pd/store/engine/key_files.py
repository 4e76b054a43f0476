"""The digests of the keys of a list as bytes, and back: a copy that a store may keep, verified when it is read."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store.engine.int_codec import pack_pieces, unpack_pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store.pieces import Pieces

FORMAT = 1
_LENGTH = struct.Struct("<Q")


def pack_index(content: Pieces, digests: np.ndarray, version: int, time: str) -> list[bytes]:
    """The parts of the copy: a header, both halves of the digests, and the addresses of their rows."""
    parts = [np.ascontiguousarray(half, "<u8").tobytes() for half in digests] + [pack_pieces(content)]
    header = {
        "format": FORMAT,
        "version": version,
        "time": time,
        "rows": content.total,
        "checksum": _checksum(parts),
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [_LENGTH.pack(len(text)), text, *parts]


def unpack_index(data: bytes) -> tuple[Pieces, np.ndarray, int, str] | None:
    """(content, digests, version, time); None if the bytes are not what was packed."""
    try:
        start = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        header = json.loads(data[_LENGTH.size : start])
        rows, view = header["rows"], memoryview(data)
        ends = [start, start + 8 * rows, start + 16 * rows, len(data)]
        parts = [view[low:high] for low, high in pairwise(ends)]
        if header["format"] != FORMAT or header["checksum"] != _checksum(parts):
            return None
        content = unpack_pieces(bytes(parts[2]), "an index of keys")
        digests = np.stack([np.frombuffer(part, "<u8") for part in parts[:2]])
        whole = content.total == rows == digests.shape[1]
        typed = type(header["version"]) is int and isinstance(header["time"], str)
        return (content, digests, header["version"], header["time"]) if whole and typed else None
    except (ValueError, TypeError, KeyError, RecursionError, struct.error, VaultCorrupt):
        return None


def _checksum(parts: Sequence[bytes | memoryview]) -> int:
    total = xxhash.xxh3_64()
    for part in parts:
        total.update(part)
    return total.intdigest()
