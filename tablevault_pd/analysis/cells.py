"""Whether the cells of two columns are equal, whatever their dtypes: by value, and not by how it is stored.

A dtype that changed is no change of the rows: 1 and 1.0 are equal, and so are 1 and "1", as a CSV file may give them.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api import types

Column = Any  # pd.Series: its type parameter says nothing here


def equal_cells(a: Column, b: Column, *, rtol: float = 0.0, atol: float = 0.0) -> np.ndarray:
    """Which cells of two columns of the same length are equal: bool. What is missing equals what is missing."""
    a, b = _plain(a), _plain(b)
    missing_a, missing_b = a.isna().to_numpy(), b.isna().to_numpy()
    equal: np.ndarray = missing_a & missing_b
    both = ~(missing_a | missing_b)
    if both.all():
        return _equal(a, b, rtol, atol)
    equal[both] = _equal(a[both], b[both], rtol, atol)
    return equal


def _plain(column: Column) -> Column:
    """Categories as what they are."""
    column = column.reset_index(drop=True)
    if isinstance(column.dtype, pd.CategoricalDtype):
        kind = column.cat.categories.dtype
        # NumPy's integers and truth values have no missing one.
        holds_missing = not isinstance(kind, np.dtype) or kind.kind not in "iub"
        return column.astype(kind if holds_missing or not column.isna().any() else object)
    return column


def _equal(a: Column, b: Column, rtol: float, atol: float) -> np.ndarray:
    """Of cells that are not missing."""
    if types.is_numeric_dtype(a.dtype) and types.is_numeric_dtype(b.dtype):
        return equal_numbers(_numbers(a), _numbers(b), rtol=rtol, atol=atol)
    if object not in (a.dtype, b.dtype) and not (_is_nested(a) or _is_nested(b)):
        if a.dtype == b.dtype or (_is_text(a) and _is_text(b)):
            return _truth(a.array == b.array)
        if types.is_datetime64_any_dtype(a.dtype) and types.is_datetime64_any_dtype(b.dtype):
            return _equal_times(a, b)
    pairs = zip(_objects(a), _objects(b), strict=True)
    equal = (_same(one, other, rtol, atol) for one, other in pairs)
    return np.fromiter(equal, bool, len(a))


def _truth(values: Any) -> np.ndarray:
    if hasattr(values, "to_numpy"):
        return np.asarray(values.to_numpy(dtype=bool, na_value=False))
    return np.asarray(values, bool)


def _is_nested(column: Column) -> bool:
    """Whether the cells are lists, structs or maps of Arrow, which it cannot compare."""
    return isinstance(column.dtype, pd.ArrowDtype) and pa.types.is_nested(column.dtype.pyarrow_dtype)


def _is_text(column: Column) -> bool:
    return bool(types.is_string_dtype(column.dtype)) and column.dtype != object


def _objects(column: Column) -> list[Any]:
    return list(column.astype(object))


def _numbers(column: Column) -> np.ndarray:
    if isinstance(column.dtype, np.dtype):
        return np.asarray(column.to_numpy())
    if types.is_float_dtype(column.dtype):
        return np.asarray(column.to_numpy(dtype=np.float64))
    if types.is_bool_dtype(column.dtype):
        return np.asarray(column.to_numpy(dtype=bool))
    unsigned = types.is_unsigned_integer_dtype(column.dtype)
    if types.is_integer_dtype(column.dtype):
        return np.asarray(column.to_numpy(dtype=np.uint64 if unsigned else np.int64))
    return np.asarray(column.to_numpy(dtype=object))  # decimals


def equal_numbers(a: np.ndarray, b: np.ndarray, *, rtol: float = 0.0, atol: float = 0.0) -> np.ndarray:
    """Which numbers are equal, within a tolerance that is the same from both sides; infinities equal themselves."""
    if not rtol and not atol:
        return _exactly_equal(a, b)
    x, y = a.astype(np.float64), b.astype(np.float64)
    size = np.maximum(np.abs(x), np.abs(y))
    with np.errstate(invalid="ignore", over="ignore"):
        tolerance = np.maximum(rtol * size, atol)
        near = np.abs(x - y) <= tolerance
        rounded = (size >= 2.0**53) & (np.abs(np.abs(x - y) - tolerance) <= 2 * np.spacing(size))
    for row in np.flatnonzero(rounded) if {a.dtype.kind, b.dtype.kind} & {"i", "u"} else ():
        one, other = Fraction(a[row].item()), Fraction(b[row].item())
        near[row] = abs(one - other) <= max(Fraction(rtol) * max(abs(one), abs(other)), Fraction(atol))
    return np.asarray(np.where(np.isfinite(x) & np.isfinite(y), near, x == y))


def _exactly_equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    kinds = {a.dtype.kind, b.dtype.kind}
    if kinds in ({"i", "f"}, {"u", "f"}):  # no float holds every integer beyond 2 ** 53
        whole, real = (a, b) if b.dtype.kind == "f" else (b, a)
        rounded = real == whole
        large = np.flatnonzero(rounded & (np.abs(real) >= 2.0**53))
        for row in large:
            rounded[row] = int(real[row]) == int(whole[row])
        return np.asarray(rounded)
    if kinds == {"i", "u"}:
        return np.asarray((a == b) & (a >= 0) & (b >= 0) & (a.astype(np.uint64) == b.astype(np.uint64)))
    return np.asarray(a == b, dtype=bool)


def _equal_times(a: Column, b: Column) -> np.ndarray:
    zones = [getattr(column.dtype, "tz", None) for column in (a, b)]
    if None in zones and zones != [None, None]:
        return np.zeros(len(a), bool)  # one is a moment, the other is not
    plain = [
        column if zone is None else column.dt.tz_convert("UTC")
        for column, zone in zip((a, b), zones, strict=True)
    ]
    return np.asarray(plain[0].array == plain[1].array, bool)


# -- cells that are Python objects


def _same(a: Any, b: Any, rtol: float, atol: float) -> bool:
    if isinstance(a, str) != isinstance(b, str):
        return _as_text(a) == _as_text(b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key], rtol, atol) for key in a)
    if _is_sequence(a) and _is_sequence(b):
        return len(a) == len(b) and all(_same(x, y, rtol, atol) for x, y in zip(a, b, strict=True))
    if _is_missing(a) or _is_missing(b):
        return _is_missing(a) and _is_missing(b)
    if (rtol or atol) and _is_real(a) and _is_real(b):
        return bool(equal_numbers(np.array([a]), np.array([b]), rtol=rtol, atol=atol)[0])
    try:
        return bool(a == b)
    except (TypeError, ValueError):
        return False


def _as_text(cell: Any) -> str:
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
        return str(int(cell))
    return str(cell)


def _is_sequence(cell: Any) -> bool:
    return isinstance(cell, (list, tuple)) or (isinstance(cell, np.ndarray) and cell.ndim > 0)


def _is_missing(cell: Any) -> bool:
    return bool(types.is_scalar(cell) and pd.isna(cell))


def _is_real(cell: Any) -> bool:
    return isinstance(cell, (int, float, np.integer, np.floating)) and not isinstance(cell, bool)


# -- vectors


def equal_vectors(a: Column, b: Column, *, atol: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(equal, cosine distance) of the vectors of two columns. NaN: one is missing, without length, or of another width.

    Vectors are equal within a distance of `atol`; if that is 0, number by number.
    """
    missing_a, missing_b = a.isna().to_numpy(), b.isna().to_numpy()
    equal, distance = np.asarray(missing_a & missing_b), np.full(len(a), np.nan)
    rows = np.flatnonzero(~(missing_a | missing_b))
    if not len(rows):
        return equal, distance
    x, y = (np.stack(list(column.array[rows])).astype(np.float64) for column in (a, b))
    if x.shape != y.shape:
        return equal, distance
    same = ((x == y) | (np.isnan(x) & np.isnan(y))).all(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.einsum("ij,ij->i", x, y) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    distance[rows] = np.where(same, 0.0, np.clip(1 - cosine, 0.0, 2.0))
    equal[rows] = distance[rows] <= atol if atol else same
    return equal, distance
