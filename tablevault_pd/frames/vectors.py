"""Vector columns: cells that are sequences of floats of one length, kept as one matrix."""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd.frames import buffers
from tablevault_pd.frames.codecs import CannotEncode, Codec, Encoded, Spec, register
from tablevault_pd.frames.objects import MARKERS, CellTypes, objects

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SEQUENCES = frozenset({list, tuple, np.ndarray})
_FLOATS = frozenset({float, np.float64, np.float32, np.float16})
_INTS: frozenset[type] = frozenset(
    {int, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64}
)
_EXACT = 2**53
EmbeddingOption = bool | np.dtype | None  # None: detect; False: no; True or a dtype: required


def may_be_vectors(cell_types: CellTypes) -> bool:
    """Return whether the cells are sequences and missing markers only."""
    return bool(cell_types.kinds) and cell_types.kinds <= _SEQUENCES


def encode_vectors(cell_types: CellTypes, option: EmbeddingOption) -> Encoded | None:
    """Return the cells as one matrix; None if they are no vectors, and `option` does not demand it. Raises CannotEncode."""
    is_demanded = option is not None and option is not False
    matrix_and_gaps = _matrix(cell_types, is_demanded)
    if matrix_and_gaps is None:
        return None
    matrix, gone = matrix_and_gaps
    if len(cell_types.markers) > 1:
        raise two_markers(cell_types)
    if isinstance(option, np.dtype):
        matrix = narrowed(matrix, option, gone)
    return Encoded(
        from_matrix(matrix, gone),
        {
            "codec": "vector",
            "kind": "embedding",
            "dtype": matrix.dtype.name,
            "dim": matrix.shape[1],
            "missing": cell_types.marker,
        },
    )


def _matrix(cell_types: CellTypes, is_demanded: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the (n, dim) matrix (missing rows zero) and which rows are missing."""
    if not may_be_vectors(cell_types):
        if is_demanded:
            raise _no_vector(cell_types)
        return None
    gone = cell_types.missing()
    present = cell_types.values[~gone] if cell_types.markers else cell_types.values
    first = present[0]
    dim = len(first) if type(first) is not np.ndarray or first.ndim else 0
    dtype = _common(present, cell_types.kinds, dim, is_demanded)
    if dtype is None:
        if is_demanded:
            raise _first_misfit(cell_types, gone)
        return None
    if not cell_types.markers:
        return _flat(present, cell_types.kinds, dtype, dim), gone
    filled = cell_types.values.copy()
    filled[gone] = objects([np.zeros(dim, dtype) if np.ndarray in cell_types.kinds else [0.0] * dim])
    return _flat(filled, cell_types.kinds, dtype, dim), gone


def _common(cells: np.ndarray, kinds: set[type], dim: int, ints: bool) -> np.dtype | None:
    """Return the dtype that holds all cells exactly; None unless all are vectors of `dim` floats."""
    if dim < 1:
        return None
    if kinds == {np.ndarray}:
        arrays, lists = cells, cells[:0]
    else:
        is_array = np.fromiter((type(cell) is np.ndarray for cell in cells), bool, len(cells))
        arrays, lists = cells[is_array], cells[~is_array]
    if set(map(attrgetter("ndim"), arrays)) - {1} or set(map(len, cells)) != {dim}:
        return None
    widest = [_widest_of_arrays(arrays, ints)] if len(arrays) else []
    if len(lists):
        widest.append(_widest_of_lists(lists, ints))
    dtypes = [dtype for dtype in widest if dtype is not None]
    return np.result_type(*dtypes) if len(dtypes) == len(widest) else None


def _widest_of_arrays(arrays: np.ndarray | list[np.ndarray], ints: bool) -> np.dtype | None:
    dtypes = set(map(attrgetter("dtype"), arrays))
    if not dtypes or any(d.kind not in ("fiu" if ints else "f") or d.char in "gG" for d in dtypes):
        return None
    if any(d.kind != "f" and d.itemsize == 8 for d in dtypes) and not all(map(_is_exact, arrays)):
        return None
    floats = [d.newbyteorder("=") for d in dtypes if d.kind == "f"]
    return np.result_type(*floats, *([np.dtype("f8")] if len(floats) < len(dtypes) else []))


def _is_exact(array: np.ndarray) -> bool:
    """Return whether float64 holds the numbers."""
    return array.dtype.kind == "f" or not len(array) or -_EXACT <= array.min() <= array.max() <= _EXACT


def _widest_of_lists(listed: Iterable[Sequence[Any]], ints: bool) -> np.dtype | None:
    types = set(map(type, chain.from_iterable(listed)))
    if not types <= _FLOATS | _INTS or (not ints and not types & _FLOATS):
        return None
    if types & _INTS:
        if any(abs(int(v)) > _EXACT for v in chain.from_iterable(listed) if type(v) in _INTS):
            return None  # no float64 holds it
        return np.dtype("f8")
    return np.result_type(*(np.dtype(t) for t in types)) if types else None


def _flat(cells: np.ndarray, kinds: set[type], dtype: np.dtype, dim: int) -> np.ndarray:
    if kinds == {np.ndarray}:
        shared = _shared_matrix(cells, dtype, dim)
        if shared is not None:
            return shared
        return np.concatenate(cells.tolist()).astype(dtype, copy=False).reshape(len(cells), dim)
    if np.ndarray not in kinds:
        return np.fromiter(chain.from_iterable(cells), dtype, len(cells) * dim).reshape(len(cells), dim)
    return np.array(cells.tolist(), dtype).reshape(len(cells), dim)


def _shared_matrix(cells: np.ndarray, dtype: np.dtype, dim: int) -> np.ndarray | None:
    """Return the memory of the cells as a matrix, without a copy, if they are rows of one that follow each other.

    So are the cells that decode gives out, and those of ``list(matrix)``.
    """
    first, last = cells[0], cells[-1]
    base, step = first.base, dim * dtype.itemsize
    if base is None or first.dtype != dtype or last.base is not base:
        return None
    try:
        start = pa.py_buffer(first).address
        if pa.py_buffer(last).address - start != (len(cells) - 1) * step:
            return None  # the usual answer for others, before every cell is looked at
        places = np.fromiter(map(attrgetter("address"), map(pa.py_buffer, cells)), "i8", len(cells))
    except ValueError:  # a cell that does not lie in one piece
        return None
    in_a_row = bool((np.diff(places) == step).all())
    # One base owns all of the memory: rows of several arrays may follow each other by chance only.
    if not in_a_row or any(cell.base is not base or cell.dtype != dtype for cell in cells):
        return None
    return np.lib.stride_tricks.as_strided(first, (len(cells), dim), (step, dtype.itemsize), writeable=False)


def two_markers(cell_types: CellTypes) -> CannotEncode:
    """Return the error for a column that must have one kind of missing marker, and has two."""
    gone = np.flatnonzero(cell_types.missing())
    first = type(cell_types.values[gone[0]])
    other = next(row for row in gone if type(cell_types.values[row]) is not first)
    kinds = " and ".join(sorted(cell_types.markers))
    return CannotEncode(
        f"rows {gone[0]} and {other} hold two kinds of missing marker ({kinds}); use None for both"
    )


def _no_vector(cell_types: CellTypes) -> CannotEncode:
    for row, value in enumerate(cell_types.values):
        if type(value) not in _SEQUENCES and not cell_types.missing()[row]:
            return CannotEncode(
                f"a vector was expected, this is a {type(value).__name__}; leave the column out of embeddings=",
                row,
            )
    return CannotEncode("there is no vector in this column; leave it out of embeddings=")


def _first_misfit(cell_types: CellTypes, gone: np.ndarray) -> CannotEncode:
    dim = None
    for row in np.flatnonzero(~gone):
        cell = cell_types.values[row]
        shape = np.shape(cell) if type(cell) is np.ndarray else (len(cell),)
        if len(shape) != 1 or shape[0] < 1:
            return CannotEncode(
                f"a vector of at least one number was expected, the shape is {shape}", int(row)
            )
        dim = dim or shape[0]
        if shape[0] != dim:
            return CannotEncode(
                f"{shape[0]} numbers, the rows above have {dim}; all vectors of a column have one length",
                int(row),
            )
        ok = _widest_of_arrays([cell], True) if type(cell) is np.ndarray else _widest_of_lists([cell], True)
        if ok is None:
            return CannotEncode("the vector holds something that no float keeps exactly", int(row))
    return CannotEncode("the cells are no vectors of one length")


def narrowed(matrix: np.ndarray, dtype: np.dtype, gone: np.ndarray) -> np.ndarray:
    """Return `matrix` as `dtype`, as `option` demands. Raises CannotEncode where a finite number would become infinite."""
    with np.errstate(over="ignore"):
        small = matrix.astype(dtype, copy=False)
    if dtype.itemsize < matrix.dtype.itemsize:
        burst = (np.isinf(small) & np.isfinite(matrix)).any(axis=1)
        if burst.any():
            raise CannotEncode(f"a number is too large for {dtype.name}", int(np.flatnonzero(burst)[0]))
    return small


def from_matrix(matrix: np.ndarray, gone: np.ndarray) -> pa.Array:
    """Return a fixed-size list array over the memory of `matrix`."""
    kind = pa.list_(pa.from_numpy_dtype(matrix.dtype), matrix.shape[1])
    child = buffers.to_arrow(matrix.reshape(-1), kind.value_type)
    bitmap = pa.py_buffer(np.packbits(~gone, bitorder="little")) if gone.any() else None
    return pa.Array.from_buffers(kind, len(matrix), [bitmap], children=[child])


def arrow_dim(column: pa.ChunkedArray | pa.Array) -> int | None:
    """Return the width of an Arrow list column whose rows are all vectors of floats; None if it is none."""
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
    """Return whether `kind` is one of the list types that may hold vectors."""
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _offsets(array: pa.Array) -> np.ndarray:
    return np.asarray(array.offsets)


def rows_of(column: pa.ChunkedArray, dim: int, *, private: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, dim) matrix of an embedding column, and which rows hold a vector; anything where they do not."""
    dtype = np.dtype(column.type.value_type.to_pandas_dtype())
    valid = buffers.column_valid(column)
    if column.num_chunks == 1:
        return _chunk_rows(column.chunk(0), dim, dtype, valid, private), valid
    out = np.empty((len(column), dim), dtype)
    number = 0
    for chunk in column.chunks:
        out[number : number + len(chunk)] = _chunk_rows(
            chunk, dim, dtype, valid[number : number + len(chunk)], True
        )
        number += len(chunk)
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
    """Return the vectors of an embedding column, to be read only, and which rows have one. No copy of a single chunk."""
    return rows_of(column, dim, private=True)


def matrix_of(column: pa.ChunkedArray, dim: int) -> np.ndarray:
    """Return the (n, dim) matrix of an embedding column, to be read only; missing rows are NaN."""
    rows, valid = rows_of(column, dim, private=True)
    if not valid.all():
        rows = rows.copy()
        rows[~valid] = np.nan
    return rows


@register
class _VectorCodec(Codec):
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


def arrow_floats(array: pa.Array | pa.ChunkedArray, option: EmbeddingOption) -> pa.Array | pa.ChunkedArray:
    """Return an Arrow list column with its numbers as floats of the width asked for. Raises CannotEncode."""
    kind = array.type
    value = kind.value_type
    target = pa.from_numpy_dtype(option) if isinstance(option, np.dtype) else value
    if pa.types.is_integer(value) and not isinstance(option, np.dtype):
        target = pa.float64()
    if target == value or not (pa.types.is_integer(value) or pa.types.is_floating(value)):
        return array
    fixed = pa.types.is_fixed_size_list(kind)
    make = pa.large_list if pa.types.is_large_list(kind) else pa.list_
    field = kind.value_field.with_type(target)
    try:
        return array.cast(pa.list_(field, kind.list_size) if fixed else make(field))
    except pa.ArrowInvalid as error:
        raise CannotEncode(f"the numbers do not fit {target}: {error}") from None
