"""Whether two encoded tables are exactly equal."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tablevault_pd.frames import buffers, schemas


def same(a: pa.Table, b: pa.Table) -> bool:
    """Whether both hold the same frame: schema, index and values bit for bit (NaN equals NaN, -0.0 is not 0.0).

    Examples
    --------
    >>> from tablevault_pd.frames import encode, same
    >>> same(encode(pd.DataFrame({"a": [0.0]})), encode(pd.DataFrame({"a": [-0.0]})))
    False
    """
    if a.num_rows != b.num_rows or not _same_schema(a.schema, b.schema):
        return False
    return all(_same_column(x, y) for x, y in zip(a.columns, b.columns, strict=True))


def _same_schema(a: pa.Schema, b: pa.Schema) -> bool:
    if a.names != b.names or a.types != b.types or schemas.meta_of(a) != schemas.meta_of(b):
        return False
    return all(schemas.spec_of(x) == schemas.spec_of(y) for x, y in zip(a, b, strict=True))


def _same_column(a: pa.ChunkedArray, b: pa.ChunkedArray) -> bool:
    return _same(buffers.single(a), buffers.single(b))


def _same(a: pa.Array, b: pa.Array) -> bool:
    if len(a) != len(b) or a.null_count != b.null_count:
        return False
    if pa.types.is_dictionary(a.type):
        return _same(a.dictionary, b.dictionary) and bool(a.indices.equals(b.indices))
    if not _has_floats(a.type):
        return bool(a.equals(b))
    valid = buffers.valid_of(a)
    if a.null_count:
        if not np.array_equal(valid, buffers.valid_of(b)):
            return False
        keep = pa.array(valid)
        a, b = a.filter(keep), b.filter(keep)
    if pa.types.is_floating(a.type):
        return _same_floats(a, b)
    return _same_nested(a, b)


def _has_floats(kind: pa.DataType) -> bool:
    if pa.types.is_floating(kind):
        return True
    if pa.types.is_dictionary(kind):
        return _has_floats(kind.value_type)
    return any(_has_floats(kind.field(i).type) for i in range(kind.num_fields))


def _same_floats(a: pa.Array, b: pa.Array) -> bool:
    dtype = np.dtype(a.type.to_pandas_dtype())
    x, y = (buffers.values_of(array, dtype, writable_in_place=True) for array in (a, b))
    bits = np.dtype(f"u{dtype.itemsize}")
    differ = np.flatnonzero(x.view(bits) != y.view(bits))
    return bool(np.isnan(x[differ]).all() and np.isnan(y[differ]).all())


def _same_nested(a: pa.Array, b: pa.Array) -> bool:
    """Arrays without nulls of their own."""
    kind = a.type
    if pa.types.is_struct(kind):
        return all(_same(x, y) for x, y in zip(a.flatten(), b.flatten(), strict=True))
    if pa.types.is_fixed_size_list(kind):
        return _same(a.flatten(), b.flatten())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        if (
            not a.value_lengths().equals(b.value_lengths())
            if not pa.types.is_map(kind)
            else not _same_offsets(a, b)
        ):
            return False
        return _same(_items(a), _items(b))
    return bool(a.to_pylist() == b.to_pylist())


def _same_offsets(a: pa.Array, b: pa.Array) -> bool:
    return bool(np.array_equal(np.diff(np.asarray(a.offsets)), np.diff(np.asarray(b.offsets))))


def _items(array: pa.Array) -> pa.Array:
    if not pa.types.is_map(array.type):
        return array.flatten()
    offsets = np.asarray(array.offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    names = ["key", "value"]
    parts = [array.keys.slice(first, last - first), array.items.slice(first, last - first)]
    return pa.StructArray.from_arrays(parts, names=names)
