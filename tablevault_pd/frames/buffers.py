"""Convert Arrow buffers to NumPy arrays and back, without a copy where possible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NAT = np.iinfo(np.int64).min


class _Exposed:
    """Exposes the memory of an Arrow buffer to NumPy as *writable*. The array keeps this object, and so the memory, alive."""

    def __init__(self, buffer: pa.Buffer, address: int, length: int, dtype: np.dtype) -> None:
        self._buffer = buffer
        self.__array_interface__ = {
            "version": 3,
            "shape": (length,),
            "typestr": dtype.str,
            "data": (address, False),
        }


def to_arrow(values: np.ndarray, kind: pa.DataType, valid: np.ndarray | None = None) -> pa.Array:
    """Return an Arrow array of `kind` over the memory of `values` (one item per row, native byte order)."""
    data = np.ascontiguousarray(values)
    if data.dtype.kind in "mM":
        data = data.view("i8")
    bitmap = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(data), [bitmap, pa.py_buffer(data)])


def bools_to_arrow(values: np.ndarray) -> pa.Array:
    """Return a bit-packed Arrow array of `values`."""
    bits = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


def single(column: pa.ChunkedArray) -> pa.Array:
    """Return the column as one array; a copy only when it has several chunks."""
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks == 0:
        return (
            pa.array([], column.type)
            if not pa.types.is_dictionary(column.type)
            else _empty_dictionary(column.type)
        )
    return pa.concat_arrays(column.chunks)


def _empty_dictionary(kind: pa.DataType) -> pa.Array:
    empty = pa.array([], kind.index_type)
    return pa.DictionaryArray.from_arrays(empty, pa.array([], kind.value_type), ordered=kind.ordered)


def values_of(array: pa.Array, dtype: np.dtype, *, writable_in_place: bool) -> np.ndarray:
    """Return the items of a fixed-width `array`, as a writable NumPy array; values under nulls are arbitrary."""
    length = len(array)
    buffer = array.buffers()[1]
    if length == 0 or buffer is None:
        return np.zeros(length, dtype)
    if writable_in_place:
        address = buffer.address + array.offset * dtype.itemsize
        if address % dtype.alignment == 0:
            return np.asarray(_Exposed(buffer, address, length, dtype))
    raw = np.frombuffer(buffer, dtype=np.uint8)
    start = array.offset * dtype.itemsize
    return raw[start : start + length * dtype.itemsize].copy().view(dtype)


def own_numbers(array: pa.Array) -> np.ndarray:
    """Return numbers without missing ones, writable: a copy only where somebody else may see their memory."""
    buffer = array.buffers()[1]
    dtype = np.dtype(array.type.to_pandas_dtype())
    return values_of(array, dtype, writable_in_place=buffer is not None and buffer.is_mutable)


def empty(size: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Return an array to be filled, in memory of Arrow's pool: what large arrays need is kept there for the next ones."""
    return np.frombuffer(pa.allocate_buffer(size * dtype.itemsize), dtype=dtype)


def repeated(values: Any, counts: Any, kind: pa.DataType) -> pa.Array:
    """Return each value as often as its count, above 0, says: one run of equal values after the other."""
    ends = np.cumsum(np.asarray(counts, dtype=np.int64))
    return pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(pa.array(ends), pa.array(values, kind)))


def column_values(column: pa.ChunkedArray, dtype: np.dtype, *, private: bool) -> np.ndarray:
    """Like :func:`values_of` for a whole column; a single private chunk is not copied."""
    if column.num_chunks == 1:
        return values_of(column.chunk(0), dtype, writable_in_place=private)
    out = np.empty(len(column), dtype)
    start = 0
    for chunk in column.chunks:
        out[start : start + len(chunk)] = values_of(chunk, dtype, writable_in_place=True)
        start += len(chunk)
    return out


def column_bools(column: pa.ChunkedArray) -> np.ndarray:
    """Return the items of a bool column as a new NumPy array; values under nulls are arbitrary."""
    parts = [_bits(chunk.buffers()[1], chunk.offset, len(chunk)) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, bool), *parts])


def column_valid(column: pa.ChunkedArray) -> np.ndarray:
    """Return which rows hold a value, as a new array of bools."""
    parts = [valid_of(chunk) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, bool), *parts])


def valid_of(array: pa.Array) -> np.ndarray:
    """Return which rows of `array` hold a value, as a new array of bools."""
    bitmap = array.buffers()[0] if array.type.num_buffers else None
    if array.null_count == 0:
        return np.ones(len(array), bool)
    if bitmap is None:  # null type, or an encoding without a bitmap
        return np.asarray(array.is_valid())
    return _bits(bitmap, array.offset, len(array))


def _bits(buffer: pa.Buffer | None, offset: int, length: int) -> np.ndarray:
    if buffer is None or length == 0:
        return np.zeros(length, bool)
    first, last = offset // 8, (offset + length + 7) // 8
    raw: Any = np.frombuffer(buffer, dtype=np.uint8)[first:last]
    bits = np.unpackbits(raw, bitorder="little").view(bool)
    start = offset - first * 8
    return bits[start : start + length] if start or len(bits) != length else bits
