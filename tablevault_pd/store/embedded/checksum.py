"""CRC-32 on several processors: the first read of a large payload waits for nothing else.

A cyclic redundancy check is the remainder of a polynomial over GF(2). That of two pieces, one after the other, follows
from those of the pieces: the first is multiplied by x to the number of bits that come after it.
W. W. Peterson and D. T. Brown, "Cyclic Codes for Error Detection", Proceedings of the IRE 49, 1961.
"""

from __future__ import annotations

import os
import zlib
from functools import partial
from typing import Any

from tablevault_pd.threads import started

PIECE_BYTES = 4 << 20  # smaller pieces are not worth a thread
MOST_PIECES = 4  # memory is no faster for more
_POLYNOMIAL = 0xEDB88320  # of zlib: the highest bit of 32 stands for 1, the lowest for x to the 31
_ONE, _X_TO_8 = 1 << 31, 1 << 23


def crc32(data: Any) -> int:
    """As :func:`zlib.crc32`."""
    view = memoryview(data)
    pieces = min(MOST_PIECES, os.cpu_count() or 1, len(view) // PIECE_BYTES)
    if pieces < 2:
        return zlib.crc32(view)
    edges = [len(view) * number // pieces for number in range(pieces + 1)]
    found = [0] * pieces
    threads = [
        started(partial(_note, found, number, view[edges[number] : edges[number + 1]]), "checksum")
        for number in range(1, pieces)
    ]
    found[0] = zlib.crc32(view[: edges[1]])
    for number, thread in enumerate(threads, 1):
        if thread is None:
            _note(found, number, view[edges[number] : edges[number + 1]])
        else:
            thread.join()
    whole = found[0]
    for number in range(1, pieces):
        whole = combined(whole, found[number], edges[number + 1] - edges[number])
    return whole


def _note(found: list[int], number: int, piece: memoryview) -> None:
    found[number] = zlib.crc32(piece)


def combined(first: int, second: int, second_bytes: int) -> int:
    """The checksum of two pieces together, from that of each."""
    return _product(_power(_X_TO_8, second_bytes), first) ^ second


def _product(one: int, other: int) -> int:
    found = 0
    while other:
        if other & _ONE:
            found ^= one
        one = (one >> 1) ^ (_POLYNOMIAL if one & 1 else 0)  # times x
        other = (other << 1) & 0xFFFFFFFF
    return found


def _power(base: int, exponent: int) -> int:
    found = _ONE
    while exponent:
        if exponent & 1:
            found = _product(found, base)
        base = _product(base, base)
        exponent >>= 1
    return found
