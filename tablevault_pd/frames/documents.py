"""Documents that name the column of their offsets: where each text begins in the document that it is a part of.

The spec of such a text has ``start``, the key of the column of offsets, and ``reach``, a power of two that no text of the list is
longer than, in characters. So a scan for some characters of the document need not look at rows that begin further away.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd.errors import InvalidInput, SchemaMismatch, short_repr
from tablevault_pd.frames import buffers, schemas
from tablevault_pd.frames.encode import is_text

FURTHEST = 2**62  # offsets and their sums with lengths fit int64

#: Columns of documents, each with that of its offsets, or None where texts follow one another.
Documents = Mapping[Hashable, Hashable | None]


def with_offsets(table: pa.Table, documents: Documents) -> pa.Table:
    """Return the table whose documents begin where the columns named for them say. Raises InvalidInput."""
    for label, start in documents.items():
        if start is not None:
            fields = [schemas.field_for(table.schema, column) for column in (label, start)]
            table = _located(table, *fields)
    return table


def with_documents(table: pa.Table, present: pa.Schema) -> pa.Table:
    """Return the table with those of its texts as documents that are documents in the list that it is added to.

    Raises SchemaMismatch where their offsets are missing, InvalidInput where these are none.
    """
    documents = {
        schemas.key_of(field, spec): spec.get("start")
        for field, spec in schemas.data_fields(present)
        if spec.get("kind") == "document"
    }
    if not documents:
        return table
    fields = {schemas.key_of(field, spec): (field, spec) for field, spec in schemas.data_fields(table.schema)}
    for key, start in documents.items():
        field, spec = fields.get(key, (None, {}))
        if field is None or not is_text(field.type) or spec["codec"] == "json":
            continue
        if "kind" not in spec:
            table = _with_spec(table, field.name, spec | {"kind": "document"})
        if start is not None and "start" not in spec:
            if start not in fields:
                raise SchemaMismatch(
                    f"The list has the offsets of its documents in {short_repr(schemas.label_of(field, spec))} in another "
                    f"column, {short_repr(_label_of_key(present, start))}, which the rows do not have. Nothing was written."
                )
            table = _located(table, field.name, fields[start][0].name)
    return table


def start_field(schema: pa.Schema, field: str) -> str | None:
    """The field of the offsets of a column of documents; None where its texts follow one another."""
    start = schemas.spec_of(schema.field(field)).get("start")
    by_key = {schemas.key_of(column, spec): column.name for column, spec in schemas.data_fields(schema)}
    return None if start is None else by_key[start]


def reach_of(schema: pa.Schema, field: str) -> int:
    """How many characters no text of a document with offsets is longer than."""
    reach: int = schemas.spec_of(schema.field(field))["reach"]
    return reach


def same_but_reach(a: pa.Schema, b: pa.Schema) -> bool:
    """Whether both are equal, but for how long texts of documents may be: a list may have had longer ones."""
    if a.equals(b, check_metadata=True):
        return True
    return a.metadata == b.metadata and len(a) == len(b) and all(map(_same_field, a, b))


def _same_field(a: pa.Field, b: pa.Field) -> bool:
    specs = [
        {key: value for key, value in schemas.spec_of(field).items() if key != "reach"} for field in (a, b)
    ]
    return bool(a.name == b.name and a.type == b.type and specs[0] == specs[1])


def lengths_of(column: pa.ChunkedArray) -> np.ndarray:
    """The length of each text in characters; of a missing one 0: int64."""
    if pa.types.is_null(column.type):
        return np.zeros(len(column), np.int64)
    if pa.types.is_dictionary(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    return _numbers(pc.utf8_length(column))


def offsets_of(column: pa.ChunkedArray) -> np.ndarray:
    """The offset of each row; where it is missing 0: int64."""
    return np.zeros(len(column), np.int64) if pa.types.is_null(column.type) else _numbers(column)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.fill_null(column, 0).cast(pa.int64()).to_numpy(), np.int64)


def _located(table: pa.Table, field: str, start: str) -> pa.Table:
    """The table whose documents in `field` begin where `start` says."""
    spec, offsets = schemas.spec_of(table.schema.field(field)), table.schema.field(start)
    lengths = lengths_of(table.column(field))
    _check(table.column(start), _label(offsets), buffers.column_valid(table.column(field)))
    longest = int(lengths.max(initial=1))
    place = {
        "start": schemas.key_of(offsets, schemas.spec_of(offsets)),
        "reach": 1 << (longest - 1).bit_length(),
    }
    return _with_spec(table, field, spec | {"kind": "document"} | place)


def _check(offsets: pa.ChunkedArray, label: str, has_text: np.ndarray) -> None:
    if not (pa.types.is_integer(offsets.type) or pa.types.is_null(offsets.type)):
        raise InvalidInput(
            f"Nothing was stored. The column {label} holds {offsets.type} values; the offsets of documents are whole numbers: "
            f"df[{label}].astype('int64')."
        )
    missing = np.flatnonzero(has_text & ~buffers.column_valid(offsets))
    if len(missing):
        raise InvalidInput(
            f"Nothing was stored. In column {label}, row {missing[0]}: the offset of the document is missing."
        )
    if pa.types.is_null(offsets.type):
        return
    limit = pa.scalar(FURTHEST, pa.uint64()) if pa.types.is_unsigned_integer(offsets.type) else FURTHEST
    wide = offsets.cast(pa.uint64() if pa.types.is_unsigned_integer(offsets.type) else pa.int64())
    beyond = pc.fill_null(pc.or_(pc.less(wide, pa.scalar(0, wide.type)), pc.greater(wide, limit)), False)
    wrong = np.flatnonzero(np.asarray(beyond.to_numpy(), bool))
    if len(wrong):
        raise InvalidInput(
            f"Nothing was stored. In column {label}, row {wrong[0]}: {offsets[int(wrong[0])]} is no offset of a document. "
            "Offsets count characters from 0."
        )


def _label(field: pa.Field) -> str:
    return short_repr(schemas.label_of(field, schemas.spec_of(field)))


def _label_of_key(schema: pa.Schema, key: str) -> Hashable:
    return next(
        (
            schemas.label_of(field, spec)
            for field, spec in schemas.data_fields(schema)
            if schemas.key_of(field, spec) == key
        ),
        key,
    )


def _with_spec(table: pa.Table, field: str, spec: dict[str, Any]) -> pa.Table:
    number = table.schema.get_field_index(field)
    new = schemas.with_spec(field, table.schema.field(field).type, spec)
    return pa.Table.from_arrays(table.columns, schema=table.schema.set(number, new))
