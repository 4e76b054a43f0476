"""Encode Arrow tables of other tools (polars, DuckDB), and return rows as plain Arrow tables or texts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.frames import buffers, labels, schemas
from tablevault_pd.frames.categories import codes_of, unpack, value_type
from tablevault_pd.frames.codecs import CannotEncode, Encoded, Spec, encode_array, nullable
from tablevault_pd.frames.encode import (
    _as_document,
    arrow_vectors,
    build,
    document_labels,
    embedding_options,
    is_text,
)
from tablevault_pd.frames.storable import pandas_arrow, stored
from tablevault_pd.frames.vectors import EmbeddingOption, from_matrix, rows_of


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
            return _as_document(_encode(column, False))
        return _encode(column, options.get(label, default))

    index = pd.Index(names, dtype=pd.Index(["a"]).dtype)
    return build(list(names), encode_one, labels.columns_spec(index), None, [], table.num_rows)


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


def to_arrow(table: pa.Table) -> pa.Table:
    """Return the rows for other Arrow tools: index levels as columns, labels as text, none of our metadata.

    Examples
    --------
    >>> from tablevault_pd.frames import encode, to_arrow
    >>> to_arrow(encode(pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="k")))).column_names
    ['k', 'a']
    """
    levels = schemas.level_fields(table.schema)
    pairs = [*levels, *schemas.data_fields(table.schema)]
    taken: set[str] = set()
    names = [labels.unique_name(_shown_name(field, spec, taken), taken) for field, spec in pairs]
    columns = [_open(table.column(field.name), spec) for field, spec in pairs]
    return pa.table(columns, names=names)


def _shown_name(field: pa.Field, spec: Spec, taken: set[str]) -> str:
    return field.name if "index" in spec else labels.text_of(schemas.label_of(field, spec))


def _open(column: pa.ChunkedArray, spec: Spec) -> pa.ChunkedArray:
    if spec["codec"] != "category" or pa.types.is_dictionary(column.type):
        return column
    values = unpack(spec["categories"])
    return pa.chunked_array(
        [pa.DictionaryArray.from_arrays(chunk, values) for chunk in column.chunks],
        pa.dictionary(pa.int32(), values.type),
    )


# ---------------------------------------------------------------- texts, for a search index


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column whose cells are texts, or may be."""

    field: str
    kind: str  #: record, document or file


def text_columns(schema: pa.Schema) -> list[TextColumn]:
    """Return the columns that a text search looks in: texts, categories of texts, paths of files, objects with texts among them.

    Columns without our metadata are left out.
    """
    columns = []
    ours = pa.schema([field for field in schema if schemas.KEY in (field.metadata or {})])
    for field, spec in schemas.data_fields(ours):
        kind = spec.get("kind", "record")
        if kind == "embedding":
            continue
        if kind == "file" or spec.get("codec") == "json" or is_text(_cells(field, spec)):
            columns.append(TextColumn(field.name, kind))
    return columns


def _cells(field: pa.Field, spec: Spec) -> pa.DataType:
    return value_type(spec) if spec.get("codec") == "category" else field.type


def texts(table: pa.Table, field: str) -> list[str | None]:
    """Return the text of each cell of a column; None where it has none."""
    number = table.schema.get_field_index(field)
    (_, spec), *_ = schemas.data_fields(pa.schema([table.schema.field(number)]))
    column = table.column(number)
    if pa.types.is_struct(column.type):  # a file column
        return (
            pa.compute.struct_field(column, "path").to_pylist()
            if spec.get("kind") == "file"
            else [None] * len(column)
        )
    codec = spec.get("codec")
    if codec == "json":
        return _quoted(column)
    if codec == "category":
        column = _open(column, spec)
    if pa.types.is_dictionary(column.type):
        if not is_text(column.type):
            return [None] * len(column)
        column = column.cast(column.type.value_type)
    return column.to_pylist() if is_text(column.type) else [None] * len(column)


def _quoted(column: pa.ChunkedArray) -> list[str | None]:
    """Return the cells of a JSON column that are texts."""
    quoted = pa.compute.fill_null(pa.compute.starts_with(column, '"'), False)
    if not pa.compute.any(quoted).as_py():
        return [None] * len(column)
    cells = pa.compute.if_else(quoted, column, None).to_pylist()
    return [None if cell is None else json.loads(cell) for cell in cells]
