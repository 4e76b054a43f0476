"""An approximate index as bytes, and back. They are a copy: what cannot be read is None, and made anew.

A line with the version of the format; a line of JSON with the numbers ``cells``, ``dim``, ``rows``, ``upto``, ``probes`` and
``trained``; centres as float32, bounds and addresses as int64, little-endian; XXH3 of 64 bits over all before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from tablevault_pd.store.engine.cells import VectorCells

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b"tablevault cells 1\n"
NUMBERS = ("cells", "dim", "rows", "upto", "probes", "trained")
CHECKSUM_BYTES = 8


def encode(cells: VectorCells) -> Sequence[bytes]:
    """The bytes of an index, in parts."""
    count, dim = cells.centers.shape
    numbers = dict(
        zip(NUMBERS, (count, dim, cells.size, cells.upto, cells.probes, cells.trained), strict=True)
    )
    parts = [
        MAGIC,
        json.dumps(numbers).encode() + b"\n",
        cells.centers.astype("<f4").tobytes(),
        cells.bounds.astype("<i8").tobytes(),
        cells.addresses.astype("<i8").tobytes(),
    ]
    checksum = xxhash.xxh3_64()
    for part in parts:
        checksum.update(part)
    return [*parts, checksum.digest()]


def decode(data: bytes) -> VectorCells | None:
    """The index; None where the bytes are none."""
    numbers = header(data)
    if (
        numbers is None
        or xxhash.xxh3_64(memoryview(data)[:-CHECKSUM_BYTES]).digest() != data[-CHECKSUM_BYTES:]
    ):
        return None
    count, dim, rows, upto, probes, trained = (numbers[name] for name in NUMBERS)
    at = data.index(b"\n", len(MAGIC)) + 1
    if len(data) != at + 4 * count * dim + 8 * (count + 1) + 8 * rows + CHECKSUM_BYTES:
        return None
    centers = np.frombuffer(data, "<f4", count * dim, at).reshape(count, dim).astype(np.float32)
    at += centers.nbytes
    bounds = np.frombuffer(data, "<i8", count + 1, at).astype(np.int64)
    addresses = np.frombuffer(data, "<i8", rows, at + bounds.nbytes).astype(np.int64)
    sound = (
        bounds[0] == 0
        and bounds[-1] == rows
        and (np.diff(bounds) >= 0).all()
        and ((addresses >= 0) & (addresses < upto)).all()
        and np.isfinite(centers).all()
    )
    return VectorCells(centers, bounds, addresses, upto, probes, trained) if sound else None


def header(data: bytes) -> dict[str, int] | None:
    """The numbers of an index; None where these bytes are of none."""
    end = data.find(b"\n", len(MAGIC), len(MAGIC) + 1000)
    if not data.startswith(MAGIC) or end < 0:
        return None
    try:
        numbers = json.loads(data[len(MAGIC) : end])
        whole = all(type(numbers[name]) is int and 0 <= numbers[name] < 1 << 48 for name in NUMBERS)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return numbers if whole and numbers["cells"] and numbers["probes"] else None
