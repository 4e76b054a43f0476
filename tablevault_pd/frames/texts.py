"""The text in a table's columns, for a search index: which columns have any, and their cells as plain strings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd.frames.arrow import _open
from tablevault_pd.frames.categories import value_type
from tablevault_pd.frames.encode import is_text
from tablevault_pd.frames.schemas import KEY, data_fields

if TYPE_CHECKING:
    from tablevault_pd.frames.codecs import Spec


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column whose cells are texts, or may be."""

    field: str
    kind: str  #: record, document or file


def text_columns(schema: pa.Schema) -> list[TextColumn]:
    """The columns that text is searched in: texts, categories of texts, paths of files, texts among other objects.

    Columns of a table that was not made here, but given to a store as it is, have none.
    """
    found = []
    ours = pa.schema([field for field in schema if KEY in (field.metadata or {})])
    for field, spec in data_fields(ours):
        kind = spec.get("kind", "record")
        if kind == "embedding":
            continue
        if kind == "file" or spec.get("codec") == "json" or is_text(_cells(field, spec)):
            found.append(TextColumn(field.name, kind))
    return found


def _cells(field: pa.Field, spec: Spec) -> pa.DataType:
    return value_type(spec) if spec.get("codec") == "category" else field.type


def texts(table: pa.Table, field: str) -> list[str | None]:
    """The text of each cell of a column; None where it holds something else, or nothing."""
    at = table.schema.get_field_index(field)
    (_, spec), *_ = data_fields(pa.schema([table.schema.field(at)]))
    column = table.column(at)
    if pa.types.is_struct(column.type):  # what is kept about a file
        return (
            pc.struct_field(column, "path").to_pylist()
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
    """The cells of a JSON column that are texts."""
    quoted = pc.fill_null(pc.starts_with(column, '"'), False)
    if not pc.any(quoted).as_py():
        return [None] * len(column)
    cells = pc.if_else(quoted, column, None).to_pylist()
    return [None if cell is None else json.loads(cell) for cell in cells]
