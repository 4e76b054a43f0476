"""Compare encoded tables exactly, as a whole or row by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd.frames import buffers, schemas


def same(a: pa.Table, b: pa.Table) -> bool:
    """Return whether both hold the same frame: schema, index and values bit for bit (NaN equals NaN, -0.0 is not 0.0).

    Examples
    --------
    >>> from tablevault_pd.frames import encode, same
    >>> same(encode(pd.DataFrame({"a": [0.0]})), encode(pd.DataFrame({"a": [-0.0]})))
    False
    """
    if a.num_rows != b.num_rows or not _same_schema(a.schema, b.schema):
        return False
    return all(_same_column(x, y) for x, y in zip(a.columns, b.columns, strict=True))


def equal_rows(a: pa.Table, b: pa.Table) -> np.ndarray:
    """Which rows of two tables of one schema and length are equal, as :func:`same` compares values: bool, shape (n_rows,).

    Categories are compared by their labels, in whatever order each table lists them.

    Examples
    --------
    >>> from tablevault_pd.frames import encode, equal_rows
    >>> old, new = (encode(pd.DataFrame({"a": [1.5, float("nan")], "b": ["x", b]})) for b in "yz")
    >>> equal_rows(old, new).tolist()
    [True, False]
    """
    equal = np.ones(a.num_rows, bool)
    for x, y in zip(a.columns, b.columns, strict=True):
        equal &= _equal(buffers.single(x), buffers.single(y))
    return equal


def _same_schema(a: pa.Schema, b: pa.Schema) -> bool:
    if a.names != b.names or a.types != b.types or schemas.meta_of(a) != schemas.meta_of(b):
        return False
    return all(schemas.spec_of(x) == schemas.spec_of(y) for x, y in zip(a, b, strict=True))


def _same_column(a: pa.ChunkedArray, b: pa.ChunkedArray) -> bool:
    x, y = buffers.single(a), buffers.single(b)
    if len(x) != len(y) or x.null_count != y.null_count:
        return False
    if pa.types.is_dictionary(x.type):
        labels = x.dictionary, y.dictionary
        same_labels = len(labels[0]) == len(labels[1]) and bool(_equal(*labels).all())
        return same_labels and bool(x.indices.equals(y.indices))
    if not _has_floats(x.type):
        return bool(x.equals(y))
    return bool(_equal(x, y).all())


def _has_floats(kind: pa.DataType) -> bool:
    if pa.types.is_floating(kind):
        return True
    if pa.types.is_dictionary(kind):
        return _has_floats(kind.value_type)
    return any(_has_floats(kind.field(i).type) for i in range(kind.num_fields))


# -- cell by cell, for two arrays of one type and length


def _equal(a: pa.Array, b: pa.Array) -> np.ndarray:
    """Which cells are equal; missing ones are equal to each other."""
    valid_a, valid_b = buffers.valid_of(a), buffers.valid_of(b)
    both = valid_a & valid_b
    if both.all():
        return _equal_values(a, b)
    equal = np.asarray(valid_a == valid_b)
    rows = pa.array(np.flatnonzero(both))
    equal[both] = _equal_values(a.take(rows), b.take(rows))
    return equal


def _equal_values(a: pa.Array, b: pa.Array) -> np.ndarray:
    kind = a.type
    if isinstance(a, pa.ExtensionArray):
        return _equal_values(a.storage, b.storage)
    if pa.types.is_dictionary(kind):
        return _equal(_labels(a), _labels(b))
    if pa.types.is_floating(kind):
        return _equal_floats(a, b)
    if pa.types.is_struct(kind):
        fields = [_equal(x, y) for x, y in zip(a.flatten(), b.flatten(), strict=True)]
        return np.asarray(np.array([np.ones(len(a), bool), *fields]).all(axis=0))
    if pa.types.is_fixed_size_list(kind):
        cells = _equal(a.flatten(), b.flatten()).reshape(len(a), kind.list_size)
        return np.asarray(cells.all(axis=1))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _equal_lists(a, b)
    try:
        return np.asarray(pc.equal(a, b))
    except pa.ArrowNotImplementedError:  # views, runs and what else Arrow stores without comparing it
        return np.fromiter((x == y for x, y in zip(a.to_pylist(), b.to_pylist(), strict=True)), bool, len(a))


def _labels(array: pa.DictionaryArray) -> pa.Array:
    return array.dictionary.take(array.indices)


def _equal_floats(a: pa.Array, b: pa.Array) -> np.ndarray:
    dtype = np.dtype(a.type.to_pandas_dtype())
    x, y = (buffers.values_of(array, dtype, writable_in_place=True) for array in (a, b))
    bits = np.dtype(f"u{dtype.itemsize}")
    equal = np.asarray(x.view(bits) == y.view(bits))
    differ = np.flatnonzero(~equal)
    equal[differ] = np.isnan(x[differ]) & np.isnan(y[differ])
    return equal


def _equal_lists(a: pa.Array, b: pa.Array) -> np.ndarray:
    lengths = _lengths(a)
    equal = np.asarray(lengths == _lengths(b))
    if not equal.all():
        rows = pa.array(np.flatnonzero(equal))
        equal[equal] = _equal_lists(a.take(rows), b.take(rows))
        return equal
    differ = np.r_[0, np.cumsum(~_equal(_items(a), _items(b)))]
    ends = np.cumsum(lengths)
    return np.asarray(differ[ends] == differ[ends - lengths])


def _lengths(array: pa.Array) -> np.ndarray:
    return np.asarray(np.diff(np.asarray(array.offsets)), np.int64)


def _items(array: pa.Array) -> pa.Array:
    offsets = np.asarray(array.offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    if not pa.types.is_map(array.type):
        return array.values.slice(first, last - first)
    parts = [array.keys.slice(first, last - first), array.items.slice(first, last - first)]
    return pa.StructArray.from_arrays(parts, names=["key", "value"])
