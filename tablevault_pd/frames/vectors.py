"""Vector columns: cells that are sequences of floats of one length, kept as one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from . import buffers
from .codecs import Codec, Encoded, Refused, Spec, register
from .objects import MARKERS, Survey

_SEQUENCES = frozenset({list, tuple, np.ndarray})
_FLOATS = frozenset({float, np.float64, np.float32, np.float16})
_INTS = frozenset({int, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64})
_EXACT = 2**53
Wish = bool | np.dtype | None  # None: find out; False: no; True or a dtype: it must be one


def may_be_vectors(survey: Survey) -> bool:
    """Whether the cells are sequences and missing markers only."""
    return bool(survey.kinds) and survey.kinds <= _SEQUENCES


def encode_vectors(survey: Survey, wish: Wish) -> Encoded | None:
    """The cells as one matrix; None when they are no vectors and nobody said they were. Raises Refused."""
    asked = wish is not None and wish is not False
    found = _matrix(survey, asked)
    if found is None:
        return None
    matrix, gone = found
    if len(survey.markers) > 1:
        rows = [int(np.flatnonzero(survey.missing())[0])]
        first = type(survey.values[rows[0]])
        rows += [row for row in np.flatnonzero(survey.missing()) if type(survey.values[row]) is not first][:1]
        raise Refused(
            f"rows {rows[0]} and {rows[1]} hold two kinds of missing marker ({' and '.join(sorted(survey.markers))}); use None for both"
        )
    if isinstance(wish, np.dtype):
        matrix = narrowed(matrix, wish, gone)
    return Encoded(
        from_matrix(matrix, gone),
        {
            "codec": "vector",
            "kind": "embedding",
            "dtype": matrix.dtype.name,
            "dim": matrix.shape[1],
            "missing": survey.marker,
        },
    )


def _matrix(survey: Survey, asked: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """The (n, dim) matrix (missing rows zero) and which rows are missing."""
    if not may_be_vectors(survey):
        if asked:
            raise _no_vector(survey)
        return None
    gone = survey.missing()
    present = survey.values[~gone] if gone.any() else survey.values
    first = present[0]
    dim = len(first) if type(first) is not np.ndarray or first.ndim else 0
    dtype = _common(present, dim, asked)
    if dtype is None:
        if asked:
            raise _first_misfit(survey, gone)
        return None
    flat = _flat(present, dtype, dim)
    if not gone.any():
        return flat, gone
    matrix = np.zeros((len(gone), dim), dtype)
    matrix[~gone] = flat
    return matrix, gone


def _common(cells: np.ndarray, dim: int, ints: bool) -> np.dtype | None:
    """The dtype that holds all cells exactly; None unless all are vectors of `dim` floats."""
    if dim < 1:
        return None
    dtypes: set[np.dtype] = set()
    listed = []
    for cell in cells:
        if type(cell) is np.ndarray:
            if cell.ndim != 1 or cell.shape[0] != dim:
                return None
            dtypes.add(cell.dtype)
        elif len(cell) != dim:
            return None
        else:
            listed.append(cell)
    arrays = _widest(dtypes, ints)
    lists = _widest_of_lists(listed, ints)
    found = [dtype for dtype, there in ((arrays, dtypes), (lists, listed)) if there]
    if any(
        dtype is None for dtype in found
    ):  # not `None in found`: np.dtype(None) is float64, and equal to it
        return None
    return np.result_type(*found)


def _widest(dtypes: set[np.dtype], ints: bool) -> np.dtype | None:
    if not dtypes or any(d.kind not in ("fiu" if ints else "f") or d.char in "gG" for d in dtypes):
        return None
    floats = [d.newbyteorder("=") for d in dtypes if d.kind == "f"]
    return np.result_type(*floats, *([np.dtype("f8")] if len(floats) < len(dtypes) else []))


def _widest_of_lists(listed: list[Sequence[Any]], ints: bool) -> np.dtype | None:
    if not listed:
        return None
    types = set(map(type, chain.from_iterable(listed)))
    if not types <= _FLOATS | _INTS or (not ints and not types & _FLOATS):
        return None
    if types & _INTS:
        if any(abs(int(v)) > _EXACT for v in chain.from_iterable(listed) if type(v) in _INTS):
            return None  # no float64 holds it
        return np.dtype("f8")
    return np.result_type(*(np.dtype(t) for t in types))


def _flat(cells: np.ndarray, dtype: np.dtype, dim: int) -> np.ndarray:
    base = _shared_matrix(cells, dtype, dim)
    if base is not None:
        return base
    if all(type(cell) is np.ndarray for cell in cells):
        return np.concatenate(cells).astype(dtype, copy=False).reshape(len(cells), dim)
    return np.array(cells.tolist(), dtype).reshape(len(cells), dim)


def _shared_matrix(cells: np.ndarray, dtype: np.dtype, dim: int) -> np.ndarray | None:
    """The matrix whose rows, all and in order, the cells are: what decode gives out."""
    base = getattr(cells[0], "base", None)
    if (
        not isinstance(base, np.ndarray)
        or base.shape != (len(cells), dim)
        or base.dtype != dtype
        or not base.flags.c_contiguous
    ):
        return None
    at, step = base.__array_interface__["data"][0], dim * dtype.itemsize
    for row, cell in enumerate(cells):
        if (
            cell.base is not base
            or cell.strides != (dtype.itemsize,)
            or cell.__array_interface__["data"][0] != at + row * step
        ):
            return None
    return base


def _no_vector(survey: Survey) -> Refused:
    for row, value in enumerate(survey.values):
        if type(value) not in _SEQUENCES and not survey.missing()[row]:
            return Refused(
                f"a vector was expected, this is a {type(value).__name__}; leave the column out of embeddings=",
                row,
            )
    return Refused("there is no vector in this column; leave it out of embeddings=")


def _first_misfit(survey: Survey, gone: np.ndarray) -> Refused:
    dim = None
    for row in np.flatnonzero(~gone):
        cell = survey.values[row]
        shape = np.shape(cell) if type(cell) is np.ndarray else (len(cell),)
        if len(shape) != 1 or shape[0] < 1:
            return Refused(f"a vector of at least one number was expected, the shape is {shape}", int(row))
        dim = dim or shape[0]
        if shape[0] != dim:
            return Refused(
                f"{shape[0]} numbers, the rows above have {dim}; all vectors of a column have one length",
                int(row),
            )
        ok = _widest({cell.dtype}, True) if type(cell) is np.ndarray else _widest_of_lists([cell], True)
        if ok is None:
            return Refused("the vector holds something that no float keeps exactly", int(row))
    return Refused("the cells are no vectors of one length")


def narrowed(matrix: np.ndarray, dtype: np.dtype, gone: np.ndarray) -> np.ndarray:
    """`matrix` as `dtype`, as was asked for. Raises Refused where a finite number would become infinite."""
    with np.errstate(over="ignore"):
        small = matrix.astype(dtype, copy=False)
    if dtype.itemsize < matrix.dtype.itemsize:
        burst = (np.isinf(small) & np.isfinite(matrix)).any(axis=1)
        if burst.any():
            raise Refused(f"a number is too large for {dtype.name}", int(np.flatnonzero(burst)[0]))
    return small


def from_matrix(matrix: np.ndarray, gone: np.ndarray) -> pa.Array:
    """A fixed-size list array over the memory of `matrix`."""
    kind = pa.list_(pa.from_numpy_dtype(matrix.dtype), matrix.shape[1])
    child = buffers.to_arrow(matrix.reshape(-1), kind.value_type)
    bitmap = pa.py_buffer(np.packbits(~gone, bitorder="little")) if gone.any() else None
    return pa.Array.from_buffers(kind, len(matrix), [bitmap], children=[child])


def arrow_dim(column: pa.ChunkedArray | pa.Array) -> int | None:
    """The width of an Arrow list column whose rows are all vectors of floats; None if it is none."""
    kind = column.type
    if not is_list(kind) or not pa.types.is_floating(kind.value_type):
        return None
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if any(chunk.flatten().null_count for chunk in chunks):
        return None
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size or None
    widths = {
        int(width)
        for chunk in chunks
        for width in np.unique(np.diff(_offsets(chunk))[buffers.valid_of(chunk)])
    }
    return widths.pop() or None if len(widths) == 1 else None


def is_list(kind: pa.DataType) -> bool:
    """Whether `kind` is one of the list types that may hold vectors."""
    return pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _offsets(array: pa.Array) -> np.ndarray:
    return np.asarray(array.offsets)


def rows_of(column: pa.ChunkedArray, dim: int, *, private: bool) -> tuple[np.ndarray, np.ndarray]:
    """The (n, dim) matrix of an embedding column, and which rows hold a vector; anything where they do not."""
    dtype = np.dtype(column.type.value_type.to_pandas_dtype())
    valid = buffers.column_valid(column)
    if column.num_chunks == 1:
        return _chunk_rows(column.chunk(0), dim, dtype, valid, private), valid
    out = np.empty((len(column), dim), dtype)
    at = 0
    for chunk in column.chunks:
        out[at : at + len(chunk)] = _chunk_rows(chunk, dim, dtype, valid[at : at + len(chunk)], True)
        at += len(chunk)
    return out, valid


def _chunk_rows(chunk: pa.Array, dim: int, dtype: np.dtype, valid: np.ndarray, private: bool) -> np.ndarray:
    if pa.types.is_fixed_size_list(chunk.type):
        child = chunk.values.slice(chunk.offset * dim, len(chunk) * dim)
        if len(child) < len(chunk) * dim:  # a slice of the child already
            child = chunk.values
        return buffers.values_of(child, dtype, writable_in_place=private).reshape(len(chunk), dim)
    flat = buffers.values_of(chunk.flatten(), dtype, writable_in_place=private).reshape(-1, dim)
    if valid.all():
        return flat
    out = np.zeros((len(chunk), dim), dtype)
    out[valid] = flat
    return out


def vectors_of(column: pa.ChunkedArray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of an embedding column, to be read only, and which rows have one. No copy of a single chunk."""
    return rows_of(column, dim, private=True)


def matrix_of(column: pa.ChunkedArray, dim: int) -> np.ndarray:
    """The (n, dim) matrix of an embedding column, to be read only; missing rows are NaN."""
    rows, valid = rows_of(column, dim, private=True)
    if not valid.all():
        rows = rows.copy()
        rows[~valid] = np.nan
    return rows


@register
class VectorCodec(Codec):
    """An object column of arrays, the rows of one matrix."""

    name = "vector"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return np.dtype(object)

    def storage(self, spec: Spec) -> pa.DataType:
        return pa.list_(pa.from_numpy_dtype(np.dtype(spec["dtype"])), spec["dim"])

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> np.ndarray:
        rows, valid = rows_of(column, spec["dim"], private=private)
        out = np.fromiter(rows, dtype=object, count=len(rows))
        if not valid.all():
            out[~valid] = MARKERS[spec["missing"]]
        return out


def arrow_floats(array: pa.Array | pa.ChunkedArray, wish: Wish) -> pa.Array | pa.ChunkedArray:
    """An Arrow list column with its numbers as floats of the width asked for. Raises Refused."""
    kind = array.type
    value = kind.value_type
    wanted = pa.from_numpy_dtype(wish) if isinstance(wish, np.dtype) else value
    if pa.types.is_integer(value) and not isinstance(wish, np.dtype):
        wanted = pa.float64()
    if wanted == value or not (pa.types.is_integer(value) or pa.types.is_floating(value)):
        return array
    fixed = pa.types.is_fixed_size_list(kind)
    make = pa.large_list if pa.types.is_large_list(kind) else pa.list_
    field = kind.value_field.with_type(wanted)
    try:
        return array.cast(pa.list_(field, kind.list_size) if fixed else make(field))
    except pa.ArrowInvalid as error:
        raise Refused(f"the numbers do not fit {wanted}: {error}") from None
