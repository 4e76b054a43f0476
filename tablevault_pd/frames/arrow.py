"""Arrow columns: those of other tools (polars, DuckDB), those of pandas' Arrow dtypes, and the types that both are stored in.

Every kernel and reader knows the stored types: views become plain texts and lists, run-end encoding is decoded, dictionaries
get codes of at least 32 bits. A pandas column is read with its own type.
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.frames import buffers, labels
from tablevault_pd.frames.categories import codes_of
from tablevault_pd.frames.codecs import (
    CannotEncode,
    Codec,
    Encoded,
    Spec,
    encode_array,
    encodes_dtype,
    nullable,
    register,
)
from tablevault_pd.frames.encode import (
    arrow_vectors,
    as_document,
    build,
    document_labels,
    embedding_options,
    is_text,
)
from tablevault_pd.frames.vectors import EmbeddingOption, from_matrix, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

_t = pa.types
LIMIT = 2**31  #: the limit of 32-bit offsets and lengths


def stored_type(kind: pa.DataType) -> pa.DataType:
    """Return the type in which values of `kind` are stored; `kind` itself for most. Raises CannotEncode."""
    if isinstance(kind, pa.BaseExtensionType) or _t.is_union(kind):
        raise CannotEncode(f"the Arrow type {kind} cannot be stored; cast it to its storage type first")
    for test, make in _STORED:
        if _is(test, kind):
            return make(kind)
    return kind


def _is(test: str, kind: pa.DataType) -> bool:
    """Apply a type test; False where this release of pyarrow lacks the type."""
    test_type = getattr(_t, f"is_{test}", None)
    return test_type is not None and bool(test_type(kind))


def _item(kind: pa.DataType) -> pa.Field:
    return _field(kind.value_field)


def _field(field: pa.Field) -> pa.Field:
    return field.with_type(stored_type(field.type))


def _same_or(kind: pa.DataType, made: pa.DataType) -> pa.DataType:
    return kind if made == kind else made


def _struct(kind: pa.DataType) -> pa.DataType:
    return _same_or(kind, pa.struct([_field(kind.field(number)) for number in range(kind.num_fields)]))


def _map(kind: pa.DataType) -> pa.DataType:
    key, item = _field(kind.key_field), _field(kind.item_field)
    return _same_or(kind, pa.map_(key, item, keys_sorted=kind.keys_sorted))


def _dictionary(kind: pa.DataType) -> pa.DataType:
    codes = kind.index_type if kind.index_type == pa.int64() else pa.int32()
    # Older pandas and pyarrow cannot join dictionaries of large texts.
    short = {"string_view": pa.string(), "binary_view": pa.binary()}
    words = next((made for test, made in short.items() if _is(test, kind.value_type)), None)
    return _same_or(kind, pa.dictionary(codes, words or stored_type(kind.value_type), kind.ordered))


_STORED: list[tuple[str, Callable[[pa.DataType], pa.DataType]]] = [
    ("string_view", lambda kind: pa.large_string()),
    ("binary_view", lambda kind: pa.large_binary()),
    ("list_view", lambda kind: pa.list_(_item(kind))),
    ("large_list_view", lambda kind: pa.large_list(_item(kind))),
    ("run_end_encoded", lambda kind: stored_type(kind.value_type)),
    ("list", lambda kind: _same_or(kind, pa.list_(_item(kind)))),
    ("large_list", lambda kind: _same_or(kind, pa.large_list(_item(kind)))),
    ("fixed_size_list", lambda kind: _same_or(kind, pa.list_(_item(kind), kind.list_size))),
    ("struct", _struct),
    ("map", _map),
    ("dictionary", _dictionary),
]


# ---------------------------------------------------------------- values


def stored(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values of `column` in the type in which they are stored. Raises CannotEncode."""
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    kind = stored_type(column.type)
    _check_size(column)
    if kind == column.type:
        return column
    try:
        return pa.chunked_array([_stored(chunk) for chunk in column.chunks], kind)
    except pa.ArrowException:
        raise _no_way(column.type) from None


def _no_way(kind: pa.DataType) -> CannotEncode:
    return CannotEncode(f"the Arrow type {kind} cannot be stored; cast it to one without views and runs")


def _stored(array: pa.Array) -> pa.Array:
    kind, target = array.type, stored_type(array.type)
    if target == kind:
        return array
    if _is("run_end_encoded", kind):
        return _stored(pc.run_end_decode(array))
    if _is("struct", kind):
        children = [_stored(array.field(number)) for number in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(target), mask=array.is_null())
    if _is("fixed_size_list", kind):
        items = array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size)
        return pa.FixedSizeListArray.from_arrays(_stored(items), type=target, mask=array.is_null())
    # Arrow's own cast of list views makes lists that are not sound.
    if _is("list", target) or _is("large_list", target):
        ends = np.cumsum([0, *pc.fill_null(pc.list_value_length(array), 0).to_numpy()])
        make, width = (pa.ListArray, "i4") if _is("list", target) else (pa.LargeListArray, "i8")
        items = _stored(array.flatten())
        return make.from_arrays(pa.array(ends.astype(width)), items, type=target, mask=array.is_null())
    if _is("dictionary", kind):
        return _coded(array.indices, _stored(array.dictionary).cast(target.value_type), target)
    return array.cast(target)


def _coded(codes: pa.Array, words: pa.Array, kind: pa.DataType) -> pa.Array:
    return pa.DictionaryArray.from_arrays(codes.cast(kind.index_type), words, ordered=kind.ordered)


def restored(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Values in the type in which they are stored, as `kind`. Raises ArrowException for a few nested types."""
    if _is("list_view", kind) or _is("large_list_view", kind):
        return pa.chunked_array([_view(chunk, kind) for chunk in column.chunks], kind)
    if _is("run_end_encoded", kind):
        dense = restored(column, kind.value_type)
        runs = [pc.run_end_encode(chunk, run_end_type=kind.run_end_type) for chunk in dense.chunks]
        return pa.chunked_array(runs, kind)
    if _is("dictionary", kind):
        return pa.chunked_array([piece for chunk in column.chunks for piece in _codes(chunk, kind)], kind)
    return column.cast(kind)


def check_restorable(kind: pa.DataType) -> None:
    """Raise CannotEncode for a type that the stored values could not be given back in."""
    try:
        restored(pa.schema([("empty", stored_type(kind))]).empty_table().column(0), kind)
    except pa.ArrowException:
        raise _no_way(kind) from None
    while _is("list_view", kind) or _is("large_list_view", kind):
        kind = kind.value_type
    if any(map(_no_cast, _inner(kind))):
        raise _no_way(kind)


def _no_cast(kind: pa.DataType) -> bool:
    odd = any(_is(test, kind) for test in ("list_view", "large_list_view", "run_end_encoded"))
    return odd or any(map(_no_cast, _inner(kind)))


def _inner(kind: pa.DataType) -> list[pa.DataType]:
    return [kind.field(number).type for number in range(kind.num_fields)]


def _view(chunk: pa.Array, kind: pa.DataType) -> pa.Array:
    large = _is("large_list_view", kind)
    width = pa.int64() if large else pa.int32()
    sizes = pc.fill_null(pc.list_value_length(chunk), 0).cast(width)
    starts = pa.array(np.asarray(chunk.offsets)[:-1].copy(), width)  # a slice begins at an offset of its own
    values = restored(pa.chunked_array([chunk.values]), kind.value_type).combine_chunks()
    make = pa.LargeListViewArray if large else pa.ListViewArray
    return make.from_arrays(starts, sizes, values, type=kind, mask=chunk.is_null())


def _codes(chunk: pa.Array, kind: pa.DataType) -> list[pa.Array]:
    """Return dictionary arrays with the codes of `kind`: several if one would have too many values for these codes."""
    try:
        return [_coded(chunk.indices, chunk.dictionary.cast(kind.value_type), kind)]
    except pa.ArrowInvalid:
        rows = int(np.iinfo(kind.index_type.to_pandas_dtype()).max)
    dense = chunk.cast(chunk.type.value_type)
    parts = [dense[start : start + rows].dictionary_encode() for start in range(0, len(dense), rows)]
    return [_coded(part.indices, part.dictionary.cast(kind.value_type), kind) for part in parts]


def _check_size(column: pa.ChunkedArray) -> None:
    """Refuse what 32-bit offsets cannot count once the chunks are one array."""
    if column.num_chunks > 1 and _widest(column.chunks) >= LIMIT:
        raise CannotEncode(
            f"the type {column.type} counts with offsets of 32 bits, and the column holds more than that; "
            "cast it to large_string, large_binary or large_list, or save it in parts"
        )


def _widest(chunks: list[pa.Array]) -> int:
    """Return the most bytes or items under 32-bit offsets that one level of these chunks holds."""
    kind = chunks[0].type
    if _t.is_struct(kind):
        return max(
            (_widest([c.field(number) for c in chunks]) for number in range(kind.num_fields)), default=0
        )
    if not any(_is(test, kind) for test in ("string", "binary", "list", "map")):
        return 0
    inner = 0 if not kind.num_fields else _widest([chunk.values for chunk in chunks])
    return max(inner, sum(map(_extent, chunks)))


def _extent(chunk: pa.Array) -> int:
    """Return how many bytes or items the cells of a chunk have."""
    if not len(chunk):
        return 0
    ends = np.frombuffer(chunk.buffers()[1], "i4")
    return int(ends[chunk.offset + len(chunk)]) - int(ends[chunk.offset])


# ---------------------------------------------------------------- types in a spec


def type_text(kind: pa.DataType) -> str:
    """Return an Arrow type as text."""
    return base64.b64encode(pa.schema([pa.field("values", kind)]).serialize()).decode("ascii")


@lru_cache(maxsize=256)
def type_of(text: str) -> pa.DataType:
    """Return the type of a :func:`type_text`."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))).field(0).type


# ---------------------------------------------------------------- pandas columns


@register
class _ArrowCodec(Codec):
    """``pd.ArrowDtype``: the Arrow array, in its own type or in the one it is stored in."""

    name = "arrow"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return pd.ArrowDtype(type_of(spec["own"]) if "own" in spec else kind)

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        return pandas_arrow(restored(column, type_of(spec["own"])) if "own" in spec else column)


def pandas_arrow(column: pa.ChunkedArray) -> Any:
    """Return an Arrow column as a pandas array of ``pd.ArrowDtype``."""
    dtype: Any = pd.ArrowDtype(column.type)
    return dtype.__from_arrow__(column)


@encodes_dtype(pd.ArrowDtype)
def _encode_arrow(values: Any) -> Encoded:
    kind = values.dtype.pyarrow_dtype
    column = stored(values.__arrow_array__())
    if column.type == kind:
        return Encoded(column, {"codec": "arrow"})
    check_restorable(kind)
    return Encoded(column, {"codec": "arrow", "own": type_text(kind)})


# -- tables of other tools


def encode_arrow(table: pa.Table, *, embeddings: Any = None, documents: Any = ()) -> pa.Table:
    """Return an Arrow table as :func:`encode` would make it, with the pandas dtypes that lose nothing.

    Numbers and bools without nulls become NumPy dtypes, with nulls nullable ones; text, times, durations and dictionaries of
    text their own pandas dtypes; lists of floats of one length embeddings; anything else ``pd.ArrowDtype``.

    Examples
    --------
    >>> from tablevault_pd.frames import columns, encode_arrow
    >>> [c.dtype for c in columns(encode_arrow(pa.table({"a": [1, None], "b": [True, False]})).schema)]
    ['Int64', 'bool']
    """
    names = list(table.column_names)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidInput(
            f"Column names must be unique; these occur more than once: {', '.join(map(short_repr, twice))}."
        )
    options, default = embedding_options(embeddings, names)
    texts = document_labels(documents, names)

    def encode_one(number: int, label: Any) -> Encoded:
        column = table.column(number)
        if label in texts:
            return as_document(_encode(column, False))
        return _encode(column, options.get(label, default))

    index = pd.Index(names, dtype=pd.Index(["a"]).dtype)
    return build(
        list(names),
        labels.field_names(names),
        encode_one,
        labels.columns_spec(index),
        None,
        [],
        table.num_rows,
    )


def _encode(column: pa.ChunkedArray, option: EmbeddingOption) -> Encoded:
    column = stored(column)
    kind = column.type
    for test, encoder in _ENCODERS:
        if test(kind):
            encoded = encoder(column)
            break
    else:
        encoded = _as_is(column)
    if option is not False and encoded.spec["codec"] == "arrow":
        return _vectors(encoded, option)
    if option is not None and option is not False:
        raise CannotEncode(
            f"embeddings= names it, but its type is {kind}; cells must be lists of numbers of one length"
        )
    return encoded


def _vectors(encoded: Encoded, option: EmbeddingOption) -> Encoded:
    """Vectors as fixed-size lists, which become NumPy rows in pandas."""
    marked = arrow_vectors(encoded, option)
    if "dim" not in marked.spec:
        return marked
    column = marked.array if isinstance(marked.array, pa.ChunkedArray) else pa.chunked_array([marked.array])
    dim = marked.spec["dim"]
    rows, valid = rows_of(column, dim, private=True)
    if not valid.all():
        rows = np.where(valid[:, None], rows, rows.dtype.type(0))
    spec = {"codec": "vector", "kind": "embedding", "dtype": rows.dtype.name, "dim": dim, "missing": "None"}
    return Encoded(from_matrix(rows, ~valid), spec)


def _as_is(column: pa.ChunkedArray) -> Encoded:
    return encode_array(pandas_arrow(column))


def _numbers(column: pa.ChunkedArray) -> Encoded:
    dtype = np.dtype(column.type.to_pandas_dtype())
    if not column.null_count:
        return Encoded(column, {"codec": "numpy", "dtype": dtype.name})
    if dtype == np.float16:  # pandas has no Float16
        return _as_is(column)
    return Encoded(column, {"codec": "masked", "dtype": nullable(dtype)})


def _text(column: pa.ChunkedArray) -> Encoded:
    column = column.cast(pa.large_string())
    dtype = pd.Series(["a"]).dtype
    if not isinstance(dtype, pd.StringDtype):  # pandas 2.2 has no text dtype by default
        return Encoded(column, {"codec": "objects", "of": "str", "missing": "None"})
    return Encoded(column, encode_array(pd.array([], dtype=dtype)).spec)


def _times(column: pa.ChunkedArray) -> Encoded:
    kind = column.type
    bad = (
        column.null_count == 0
        and (buffers.column_values(column, np.dtype("i8"), private=True) == buffers.NAT).any()
    )
    if bad:
        return _as_is(column)
    spec: Spec = {"codec": "timedelta" if pa.types.is_duration(kind) else "datetime", "unit": kind.unit}
    if getattr(kind, "tz", None):
        zoned = encode_array(pd.array([], dtype=_zoned(kind)))
        return Encoded(column.cast(zoned.array.type), zoned.spec)
    return Encoded(column, spec)


def _zoned(kind: pa.DataType) -> Any:
    zone = re.sub(r"([+-]\d\d)(\d\d)", r"\1:\2", kind.tz)  # pandas takes +0530 for +05:00
    try:
        return pd.DatetimeTZDtype(kind.unit, zone)
    except Exception as error:  # its type depends on the library that pandas uses
        raise CannotEncode(
            f"this machine lacks the time zone {short_repr(kind.tz)}; install tzdata, or cast the column to {kind.unit} in UTC"
        ) from error


def _categories(column: pa.ChunkedArray) -> Encoded:
    column = column.unify_dictionaries()
    values = column.chunk(0).dictionary if column.num_chunks else pa.array([], column.type.value_type)
    if values.null_count or len(values.unique()) != len(values):
        return _text(column.cast(column.type.value_type))
    codes = codes_of(column)
    categories = pd.Index(_text(pa.chunked_array([values])).array.to_pandas(), dtype=pd.Index(["a"]).dtype)
    return encode_array(pd.Categorical.from_codes(codes, categories=categories, ordered=column.type.ordered))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


_ENCODERS = [
    (_is_number, _numbers),
    (lambda kind: pa.types.is_dictionary(kind) and is_text(kind), _categories),
    (is_text, _text),
    (lambda kind: pa.types.is_timestamp(kind) or pa.types.is_duration(kind), _times),
]
