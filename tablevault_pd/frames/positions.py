"""Default indexes between the frames of one list.

0..n-1 is spelled out where the list keeps labels, and dropped where a frame merely goes on counting where the list ends.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tablevault_pd.frames import schemas


def fit_index(table: pa.Table, present: pa.Schema, start: int) -> pa.Table:
    """The table with its index as a list with the schema `present` wants it, if that changes no label.

    Parameters
    ----------
    table : Table
        An encoded frame, whole: the default index counts its rows from 0.
    present : Schema
        Of the list it is added to.
    start : int
        The position its first row will have. The chunks of ``pandas.read_csv(chunksize=…)`` are labelled so.
    """
    ours = schemas.meta_of(present).get("index")
    theirs = schemas.meta_of(table.schema).get("index")
    if (
        ours is None
        and theirs is not None
        and theirs.get("range") == [start, 1]
        and theirs["names"] == [None]
    ):
        return _without_index(table)
    if ours is not None and theirs is None and takes_counting(present):
        return _with_counting(table, present)
    return table


def takes_counting(schema: pa.Schema) -> bool:
    """Whether the index is one unnamed level of integers, to which a default index adds its 0..n-1."""
    meta = schemas.meta_of(schema).get("index")
    levels = schemas.level_fields(schema)
    return bool(meta and meta["names"] == [None] and pa.types.is_integer(levels[0][0].type))


def _without_index(table: pa.Table) -> pa.Table:
    kept = [field.name for field, _ in schemas.data_fields(table.schema)]
    meta = schemas.meta_of(table.schema)
    if not kept:
        schema = schemas.with_meta([schemas.hidden_field()], meta["columns"], None)
        return pa.Table.from_arrays([pa.nulls(table.num_rows)], schema=schema)
    slim = table.select(kept)
    return slim.cast(schemas.with_meta(list(slim.schema), meta["columns"], None))


def _with_counting(table: pa.Table, present: pa.Schema) -> pa.Table:
    (field, _), *_ = schemas.level_fields(present)
    meta = schemas.meta_of(table.schema)
    kept = [column.name for column, _ in schemas.data_fields(table.schema)]
    columns = [table.column(name) for name in kept] + [pa.array(np.arange(table.num_rows)).cast(field.type)]
    fields = [table.schema.field(name) for name in kept] + [field]
    index = dict(schemas.meta_of(present)["index"]) | {"range": [0, 1]}
    return pa.Table.from_arrays(columns, schema=schemas.with_meta(fields, meta["columns"], index))
