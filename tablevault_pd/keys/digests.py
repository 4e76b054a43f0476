"""A number of 128 bits for each key, made from the key columns as they are stored.

The two halves are the rows of an array of uint64, shape (2, n_rows). Keys of the same columns and types are equal exactly where
their numbers are: two different keys share one with a probability of 2 ** -128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import xxhash

from tablevault_pd.lineage.digests import mixed
from tablevault_pd.lineage.edges import expand

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_DIGESTS = np.empty((2, 0), np.uint64)
_HALVES = mixed(np.array([[1], [2]], np.uint64))
_MISSING = mixed(np.array([[3], [4]], np.uint64))


def can_be_key(kind: pa.DataType) -> bool:
    """Whether cells of an Arrow type can be compared one by one: numbers, texts, bytes, times, and categories of these."""
    if pa.types.is_dictionary(kind):
        return can_be_key(kind.value_type)
    return kind.num_fields == 0 and not isinstance(kind, pa.BaseExtensionType)


def key_digests(columns: Sequence[pa.ChunkedArray]) -> np.ndarray:
    """The numbers of the keys in these columns. A missing cell is equal to nothing but another one."""
    total = np.zeros((2, len(columns[0])), np.uint64)
    for number, column in enumerate(columns):
        place = mixed(np.array([number], np.uint64))
        parts = [_digests(chunk) for chunk in column.chunks]
        total += mixed(np.concatenate([NO_DIGESTS, *parts], axis=1) ^ place)
    return total


def _digests(array: pa.Array) -> np.ndarray:
    digests = _of_values(array)
    return np.where(np.asarray(array.is_null()), _MISSING, digests) if array.null_count else digests


def _of_values(array: pa.Array) -> np.ndarray:
    """Of cells that are not missing; the others get some number."""
    kind = array.type
    if pa.types.is_null(kind):
        return np.zeros((2, len(array)), np.uint64)
    if pa.types.is_dictionary(kind):
        return _taken(_digests(array.dictionary), array.indices)
    if pa.types.is_floating(kind):
        numbers = array.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False) + 0.0  # -0.0 is 0.0
        return mixed(numbers.view(np.uint64) ^ _HALVES)
    if pa.types.is_boolean(kind):
        array = array.cast(pa.uint8())
    elif pa.types.is_temporal(kind) and kind.bit_width in (32, 64):
        array = array.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    if pa.types.is_integer(array.type):
        numbers = array.fill_null(0).to_numpy(zero_copy_only=False)
        return mixed(numbers.astype(np.uint64) ^ _HALVES)
    return _of_texts(array)


def _of_texts(array: pa.Array) -> np.ndarray:
    if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        array = array.cast(pa.large_string()).cast(pa.large_binary())
    words = array.dictionary_encode()
    hashed = b"".join(map(xxhash.xxh3_128_digest, words.dictionary.fill_null(b"").to_pylist()))
    return _taken(np.frombuffer(hashed, "<u8").reshape(-1, 2).T, words.indices)


def _taken(digests: np.ndarray, indices: pa.Array) -> np.ndarray:
    numbers = indices.fill_null(0).to_numpy(zero_copy_only=False)
    return digests[:, numbers] if digests.shape[1] else np.zeros((2, len(numbers)), np.uint64)


def distinct(digests: np.ndarray) -> np.ndarray:
    """Each number once."""
    ordered = digests[:, np.lexsort(digests)]
    new = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    return ordered[:, np.append(True, new)[: ordered.shape[1]]]


def doubled(digests: np.ndarray) -> np.ndarray:
    """The rows whose key is there more than once, equal ones together, each group in order."""
    rows = np.flatnonzero(pd.Series(digests[0]).duplicated(keep=False))
    rows = rows[np.lexsort((rows, digests[1, rows], digests[0, rows]))]
    same = (digests[:, rows[1:]] == digests[:, rows[:-1]]).all(axis=0)
    return rows[np.r_[same, False] | np.r_[False, same]] if len(rows) else rows


def matches(digests: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, number): every pair of a row and a wanted key that are equal. The rows may be many more than the keys."""
    mask = np.uint64((16 << max(keys.shape[1], 1 << 12).bit_length()) - 1)
    # most rows are none of those wanted, as a few bits of their digests tell
    some = np.zeros(int(mask) + 1, bool)
    some[keys[0] & mask] = True
    rows = np.flatnonzero(some[digests[0] & mask])
    order = np.argsort(keys[0], kind="stable")
    halves = keys[0, order]
    first, end = (np.searchsorted(halves, digests[0, rows], side=side) for side in ("left", "right"))
    pair, number = expand(first, end - first)
    rows, number = rows[pair], order[number]
    equal = digests[1, rows] == keys[1, number]
    return rows[equal], number[equal]
