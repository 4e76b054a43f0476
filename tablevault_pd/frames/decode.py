"""Decode our Arrow tables: to frames, exactly as they were encoded; to plain tables for other tools; to texts for an index."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from tablevault_pd.errors import InvalidInput, MissingDependency, VaultCorrupt, VaultError, short_repr
from tablevault_pd.frames import labels, schemas, vectors
from tablevault_pd.frames.categories import unpack, value_type
from tablevault_pd.frames.codecs import Spec, decode_column
from tablevault_pd.frames.encode import is_text
from tablevault_pd.frames.timezones import UnknownZone

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy as np

#: What is raised on cells that no release has written.
UNDECODABLE = (UnicodeDecodeError, json.JSONDecodeError, RecursionError, pa.ArrowException)


def decode(
    tables: Sequence[pa.Table], schema: pa.Schema, *, positions: np.ndarray | range, private: bool = False
) -> pd.DataFrame:
    """Decode tables to one frame, which is writable.

    Parameters
    ----------
    tables : sequence of Table
        The rows in order, aligned to `schema` (see :func:`align`); other fields are ignored.
    schema : Schema
        As :func:`encode` made it, or a :func:`select` of it.
    positions : range or integer array, one per row
        The index ``position`` of the frame when the list has no index of its own.
    private : bool
        Whether nothing else uses the memory of the tables: then NumPy columns of a single chunk are views of it.

    Raises
    ------
    MissingDependency
        If this machine lacks the time zone of a column, a label or the index.
    VaultCorrupt
        If cells are not what was encoded.

    Examples
    --------
    >>> from tablevault_pd.frames import decode, encode
    >>> table = encode(pd.DataFrame({"a": [1, 2]}))
    >>> decode([table], table.schema, positions=range(2)).a.tolist()
    [1, 2]
    """
    meta = schemas.meta_of(schema)
    levels = (
        [(gather(tables, f), spec) for f, spec in schemas.level_fields(schema)] if meta.get("index") else []
    )
    pairs = schemas.data_fields(schema)
    series = {}
    what = "The index"
    try:
        if levels:
            index = labels.build_index(levels, meta["index"], private=private)
        else:
            index = labels.positions_index(positions)
        for number, (field, spec) in enumerate(pairs):
            what = f"Column {field.name!r}"
            series[number] = _series(decode_column(gather(tables, field), spec, private=private), index)
        frame = pd.DataFrame(series, index=index, copy=False)
        what = "The column labels"
        frame.columns = _columns_index(schema).copy()  # with a name of its own
    except UnknownZone as error:
        raise MissingDependency(
            f"{what} cannot be read on this machine, which lacks the time zone {short_repr(str(error))}. "
            "Install the time zones with: pip install tzdata"
        ) from None
    except VaultError:
        raise
    except UNDECODABLE as error:
        raise VaultCorrupt(
            f"{what} has cells that cannot be decoded: {error}. Read the other columns with columns=; restore a backup."
        ) from error
    return frame


@schemas.once_for_each_schema
def _columns_index(schema: pa.Schema) -> pd.Index:
    own_labels = [schemas.exact_label(field, spec) for field, spec in schemas.data_fields(schema)]
    return labels.columns_index(own_labels, schemas.meta_of(schema)["columns"])


def empty(schema: pa.Schema) -> pd.DataFrame:
    """Return a frame of no rows with the columns of `schema`; of dtype object where this machine lacks a column's time zone."""
    table = schema.empty_table()
    try:
        return decode([table], schema, positions=range(0))
    except MissingDependency:
        return pd.DataFrame(
            {column.label: _empty(table, schema, column.label) for column in schemas.columns(schema)}
        )


def _empty(table: pa.Table, schema: pa.Schema, label: Hashable) -> Any:
    try:
        return decode([table], schemas.select(schema, [label]), positions=range(0)).iloc[:, 0]
    except MissingDependency:
        return pd.Series([], dtype=object)


def _series(values: Any, index: pd.Index) -> Any:
    # pandas would make text of an object array; a Series of dtype object stays one.
    if values.dtype == object:
        return pd.Series(values, index=index, dtype=object, copy=False)
    return values


def gather(tables: Sequence[pa.Table], field: pa.Field) -> pa.ChunkedArray:
    """Return one column of all tables, without empty chunks."""
    keep = pa.types.is_dictionary(field.type)  # an empty chunk still has categories
    chunks = [chunk for table in tables for chunk in table.column(field.name).chunks if keep or len(chunk)]
    return pa.chunked_array(chunks, field.type)


def cells_of(table: pa.Table, field: str) -> Any:
    """The pandas (or NumPy) array of one encoded column or index level."""
    kind = table.schema.field(field)
    return decode_column(gather([table], kind), schemas.spec_of(kind))


def matrix(tables: Sequence[pa.Table], field: str) -> np.ndarray:
    """Return the vectors of an embedding column as one (n, dim) matrix, to be read only; a view for one chunk without gaps.

    Examples
    --------
    >>> from tablevault_pd.frames import encode, matrix
    >>> matrix([encode(pd.DataFrame({"vec": [[0.5, 1.0], None]}))], "vec")
    array([[0.5, 1. ],
           [nan, nan]])
    """
    if not tables:
        raise InvalidInput("matrix() needs at least one table")
    kind = tables[0].schema.field(field)
    return vectors.matrix_of(gather(tables, kind), schemas.spec_of(kind)["dim"])


# -- plain Arrow tables, for other tools


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
    names = [labels.unique_name(_plain_name(field, spec), taken) for field, spec in pairs]
    columns = [_open(table.column(field.name), spec) for field, spec in pairs]
    return pa.table(columns, names=names)


def _plain_name(field: pa.Field, spec: Spec) -> str:
    return field.name if "index" in spec else labels.text_of(schemas.label_of(field, spec))


def _open(column: pa.ChunkedArray, spec: Spec) -> pa.ChunkedArray:
    if spec["codec"] != "category" or pa.types.is_dictionary(column.type):
        return column
    values = unpack(spec["categories"])
    return pa.chunked_array(
        [pa.DictionaryArray.from_arrays(chunk, values) for chunk in column.chunks],
        pa.dictionary(pa.int32(), values.type),
    )


# -- texts, for a search index


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column whose cells are texts, or may be."""

    field: str
    kind: str  #: record, document or file


@schemas.once_for_each_schema
def text_columns(schema: pa.Schema) -> Sequence[TextColumn]:
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
    return tuple(columns)


def _cells(field: pa.Field, spec: Spec) -> pa.DataType:
    return value_type(spec) if spec.get("codec") == "category" else field.type


def texts(table: pa.Table, field: str) -> list[str | None]:
    """Return the text of each cell of a column; None where it has none."""
    cells: list[str | None] = text_column(table, field).to_pylist()
    return cells


def text_column(table: pa.Table, field: str) -> pa.ChunkedArray:
    """Return the text of each cell of a column as an Arrow string; null where it has none."""
    number = table.schema.get_field_index(field)
    (_, spec), *_ = schemas.data_fields(pa.schema([table.schema.field(number)]))
    column, codec = table.column(number), spec.get("codec")
    if pa.types.is_struct(column.type):
        column = pa.compute.struct_field(column, "path") if spec.get("kind") == "file" else None
    elif codec == "json":
        return _quoted(column)
    elif codec == "category":
        column = _open(column, spec)
    if column is None or not is_text(column.type):
        return pa.chunked_array([pa.nulls(table.num_rows, pa.large_string())])
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.large_string())


def _quoted(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the cells of a JSON column that are texts."""
    quoted = pa.compute.fill_null(pa.compute.starts_with(column, '"'), False)
    if not pa.compute.any(quoted).as_py():
        return pa.chunked_array([pa.nulls(len(column), pa.large_string())])
    cells = pa.compute.if_else(quoted, column, None).to_pylist()
    texts = [None if cell is None else json.loads(cell).encode(errors="replace").decode() for cell in cells]
    return pa.chunked_array([pa.array(texts, pa.large_string())])
