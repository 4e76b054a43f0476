"""Encode integer arrays, for edges and pieces, as few bytes: narrow, shuffled and deflated, with a checksum.

Most mappings between rows are sorted or nearly so; their differences fit one or two bytes. A random permutation does
not deflate, and is stored as plain narrow integers.
"""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store.edges import EdgeTable, edge_table, lacks_positions
from tablevault_pd.store.pieces import BITS, Pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER = struct.Struct("<BBqqQ")  # form, width in bytes, number of values, offset, XXH3 of what follows
_SIZES = struct.Struct("<III")  # in bytes, of the three arrays of pieces
_DELTA, _DEFLATED = 1, 2
_WIDTHS = (1, 2, 4, 8)
_WORTH_IT = 0.9  # deflating must save a tenth


def pack(values: np.ndarray) -> bytes:
    """Whole numbers as bytes. :func:`unpack` gives them back as int64."""
    values = np.asarray(values, dtype=np.int64)
    form, stored = 0, values
    if len(values) > 1:
        steps = np.diff(values, prepend=values[:1])
        if _reach(steps) < _reach(values):
            form, stored = _DELTA, steps
    base = int(stored.min()) if len(stored) else 0
    if form == _DELTA:
        base = int(values[0]) if len(values) else 0
        stored = (stored << 1) ^ (stored >> 63)  # zigzag: small of either sign stays small
    else:
        stored = stored - base
    narrow = stored.astype(_narrowest(int(stored.max()) if len(stored) else 0))
    width = narrow.dtype.itemsize
    body = np.ascontiguousarray(narrow.view(np.uint8).reshape(-1, width).T).tobytes()
    small = zlib.compress(body, 1)
    if len(small) < _WORTH_IT * len(body):
        form, body = form | _DEFLATED, small
    return _HEADER.pack(form, width, len(values), base, xxhash.xxh3_64_intdigest(body)) + body


def unpack(data: bytes, where: str) -> np.ndarray:
    """The numbers that :func:`pack` packed, int64. Raises VaultCorrupt: `where` is what is damaged."""
    try:
        form, width, count, base, checksum = _HEADER.unpack_from(data)
        body = bytes(data[_HEADER.size :])
        if xxhash.xxh3_64_intdigest(body) != checksum:
            raise ValueError("its checksum does not match")
        if width not in _WIDTHS or count < 0:
            raise ValueError(f"it is said to have {count} numbers of {width} bytes")
        if form & _DEFLATED:
            body = zlib.decompress(body)
        columns = np.frombuffer(body, np.uint8).reshape(width, count)
        narrow = np.ascontiguousarray(columns.T).view(f"<u{width}").reshape(count)
    except (struct.error, ValueError, zlib.error) as error:
        raise VaultCorrupt(f"{where} is damaged: {error}. Restore the vault from a backup.") from error
    values: np.ndarray = narrow.astype(np.int64)
    if form & _DELTA:
        steps = (values >> 1) ^ -(values & 1)
        values = np.cumsum(steps)
    values += base
    return values


def pack_pieces(pieces: Pieces) -> bytes:
    """Pieces as bytes: generations as they come, then by generation how many rows each leaves out before it, and has."""
    order = np.argsort(pieces.generation, kind="stable")
    generation, first, stop = (column[order] for column in (pieces.generation, pieces.first, pieces.stop))
    left_out = (
        first - np.where(np.diff(generation, prepend=-1) == 0, np.append(0, stop[:-1]), 0)[: len(first)]
    )
    parts = [pack(values) for values in (pieces.generation, left_out, stop - first)]
    return _SIZES.pack(*(len(part) for part in parts)) + b"".join(parts)


def unpack_pieces(data: bytes, where: str) -> Pieces:
    """The pieces that :func:`pack_pieces` packed. Raises VaultCorrupt: `where` is what is damaged."""
    if len(data) < _SIZES.size:
        raise VaultCorrupt(f"{where} is damaged: it is cut off. Restore the vault from a backup.")
    ends = np.cumsum([_SIZES.size, *_SIZES.unpack_from(data)]).tolist()
    generation, left_out, rows = (unpack(data[low:high], where) for low, high in pairwise(ends))
    if not len(generation) == len(left_out) == len(rows):
        raise _no_pieces(where)
    order = np.argsort(generation, kind="stable")
    passed = np.cumsum(left_out + rows)
    new = np.diff(generation[order], prepend=-1) != 0
    before = np.append(0, passed[:-1])[: len(passed)]
    stop = passed - np.maximum.accumulate(np.where(new, before, 0)) if len(passed) else passed
    first, last = np.empty_like(stop), np.empty_like(stop)
    first[order], last[order] = stop - rows, stop
    if ((generation < 0) | (rows < 0) | (first < 0) | (last >= 1 << BITS)).any():
        raise _no_pieces(where)
    return Pieces(generation, first, last)


def _no_pieces(where: str) -> VaultCorrupt:
    return VaultCorrupt(f"{where} is damaged: it has no ranges of rows. Restore the vault from a backup.")


def _reach(values: np.ndarray) -> int:
    return int(values.max()) - int(values.min())


def _narrowest(highest: int) -> str:
    return next(f"<u{width}" for width in _WIDTHS if highest < 1 << (8 * width))


def edge_table_of(rows: Sequence[Sequence[Any]]) -> EdgeTable:
    """Edges as columns, from rows of these columns with the packed positions of children and parents at the end."""
    *plain, children, parents = zip(*rows, strict=True) if rows else [()] * 15
    return edge_table(plain, _positions_of(children, rows), _positions_of(parents, rows))


def _positions_of(packed: Sequence[bytes | None], edges: Sequence[Sequence[Any]]) -> list[np.ndarray | None]:
    """The positions of edges that begin with list and version. Raises VaultCorrupt."""
    return [
        None if data is None else unpack(data, f"The lineage of version {edge[1]} of the list {edge[0]}")
        for data, edge in zip(packed, edges, strict=True)
    ]


MISPLACED = "it is filed under other rows than it names, where nobody looks for it"


def unreadable(form: int, step: int, rows: int, children: bytes | None, parents: bytes | None) -> str | None:
    """What is wrong with the positions of a stored edge; None if nothing is."""
    try:
        unpacked = [
            None if data is None else unpack(data, "The lineage of it") for data in (children, parents)
        ]
    except VaultCorrupt as error:
        return str(error)
    return lacks_positions(form, step, rows, *unpacked)
