"""Decode Arrow tables to frames, exactly as they were encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from tablevault_pd.errors import InvalidInput, MissingDependency, short_repr
from tablevault_pd.frames import labels, schemas, vectors
from tablevault_pd.frames.codecs import decode_column
from tablevault_pd.frames.timezones import UnknownZone

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy as np


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
        frame.columns = labels.columns_index([schemas.exact_label(*pair) for pair in pairs], meta["columns"])
    except UnknownZone as error:
        raise MissingDependency(
            f"{what} cannot be read on this machine, which lacks the time zone {short_repr(str(error))}. "
            "Install the time zones with: pip install tzdata"
        ) from None
    return frame


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
