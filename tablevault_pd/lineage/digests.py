"""A number of 64 bits for each row of an Arrow table: equal rows have equal numbers, whatever the columns hold.

Numbers are hashed by value and not by width (1 as int8 and as int64 is one number, as float64 another), texts by their
bytes, categories by their labels; every NaN is one value, and so is everything that is missing. Two different rows have the
same number with a probability of 2 ** -64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import xxhash

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK = 1 << 20  # cells of vectors that are hashed at a time
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MISSING = np.uint64(0xD6E8FEB86659FD93)


def row_digests(table: pa.Table, names: Mapping[str, str]) -> np.ndarray:
    """uint64, shape (n_rows,). `names` are the fields to look at, by what stands for them in the hash."""
    digest = np.zeros(table.num_rows, np.uint64)
    for key, field in names.items():
        column = table.column(field)
        parts = [digests(chunk) for chunk in column.chunks] or [np.empty(0, np.uint64)]
        digest += mixed(np.concatenate(parts) ^ _of_text(key))  # a sum: the order of columns does not matter
    return mixed(digest)


def mixed(values: np.ndarray) -> np.ndarray:
    """Spread every bit over all bits (the finalizer of SplitMix64)."""
    values = values + _STEP
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def digests(array: pa.Array) -> np.ndarray:
    """uint64, one for each cell."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    hashes = _present(array)
    if array.null_count:
        hashes = np.where(np.asarray(array.is_null()), _MISSING, hashes)
    return hashes


def _present(array: pa.Array) -> np.ndarray:
    """Of cells that are not missing; the others get some number."""
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), _MISSING)
    if pa.types.is_dictionary(kind):
        return _of_dictionary(array)
    if pa.types.is_fixed_size_list(kind):
        return _of_vectors(array)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _of_lists(array.flatten(), np.asarray(array.value_lengths().fill_null(0)))
    if pa.types.is_struct(kind):
        return _of_struct(array)
    if pa.types.is_boolean(kind):
        return _of_integers(array.cast(pa.uint8()), "boolean")
    if pa.types.is_integer(kind):
        return _of_integers(array if kind == pa.uint64() else array.cast(pa.int64()), "integer")
    if pa.types.is_floating(kind):
        return _of_floats(array)
    if pa.types.is_temporal(kind) and kind.bit_width in (32, 64):
        return _of_integers(array.cast(pa.int32() if kind.bit_width == 32 else pa.int64()), str(kind))
    return _of_texts(array)


def _of_integers(array: pa.Array, kind: str) -> np.ndarray:
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    values = values if values.dtype == np.uint64 else values.astype(np.int64).view(np.uint64)
    return mixed(values ^ _of_text(kind))


def _of_floats(array: pa.Array) -> np.ndarray:
    values = array.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
    missing = np.isnan(values)
    if missing.any():
        values = np.where(missing, np.nan, values)  # NaN of one kind of bits
    return mixed(values.view(np.uint64) ^ _of_text("float"))


def _of_texts(array: pa.Array) -> np.ndarray:
    """Texts, bytes, and what is rarer, as Python shows it."""
    kind = array.type
    words = array.dictionary_encode() if _is_bytes(kind) else array
    if isinstance(words, pa.DictionaryArray):
        distinct = words.dictionary.cast(pa.large_binary()).to_pylist()
        hashes = [xxhash.xxh3_64_intdigest(word) for word in distinct]
        return _taken(np.asarray(hashes, np.uint64), words.indices)
    shown = [xxhash.xxh3_64_intdigest(repr(cell).encode()) for cell in array.to_pylist()]
    return mixed(np.asarray(shown, np.uint64) ^ _of_text(str(kind)))


def _is_bytes(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )


def _of_dictionary(array: pa.DictionaryArray) -> np.ndarray:
    return _taken(digests(array.dictionary), array.indices)


def _taken(hashes: np.ndarray, indices: pa.Array) -> np.ndarray:
    numbers = indices.fill_null(0).to_numpy(zero_copy_only=False)
    return hashes[numbers] if len(hashes) else np.full(len(numbers), _MISSING)


def _of_vectors(array: pa.FixedSizeListArray) -> np.ndarray:
    size = array.type.list_size
    if not size:
        return np.full(len(array), _of_text("vector"))
    cells = array.values.slice(array.offset * size, len(array) * size)
    weights = mixed(np.arange(size, dtype=np.uint64)) | np.uint64(1)
    rows = max(BLOCK // size, 1)
    hashes = np.empty(len(array), np.uint64)
    for first in range(0, len(array), rows):
        part = digests(cells.slice(first * size, rows * size)).reshape(-1, size)
        part *= weights
        hashes[first : first + rows] = part.sum(axis=1, dtype=np.uint64)
    return mixed(hashes ^ _of_text("vector"))


def _of_lists(cells: pa.Array, lengths: np.ndarray) -> np.ndarray:
    """Of lists of these lengths, whose cells follow each other."""
    lengths = lengths.astype(np.int64)
    ends = np.cumsum(lengths)
    number = np.arange(len(cells)) - np.repeat(ends - lengths, lengths)
    summed = np.r_[
        np.uint64(0), np.cumsum(mixed(digests(cells) + number.astype(np.uint64) * _STEP), dtype=np.uint64)
    ]
    return mixed((summed[ends] - summed[ends - lengths]) ^ mixed(lengths.view(np.uint64)))


def _of_struct(array: pa.StructArray) -> np.ndarray:
    hashes = np.full(len(array), _of_text("struct"))
    for number, cells in enumerate(array.flatten()):
        hashes += mixed(digests(cells) ^ _of_text(array.type.field(number).name))
    return mixed(hashes)


def _of_text(text: str) -> np.uint64:
    return np.uint64(xxhash.xxh3_64_intdigest(text.encode()))
