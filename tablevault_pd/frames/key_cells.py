"""Cells of a key as they are compared: values of mixed objects that are equal and of one kind are one key.

Such a cell is stored as a JSON text that keeps its type, so that ``np.int64(1)`` and ``1`` are two texts. 1, 1.0, True and "1"
stay four keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tablevault_pd.frames import cells, schemas

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMPY = cells.dumps(np.int64(1)).partition(",")[0]  # how the text of a NumPy scalar begins
_MINUS_ZERO = cells.dumps(-0.0)
_KINDS = "biufcSU"  # of scalars that are equal to a Python value


def key_columns(table: pa.Table, fields: Sequence[str]) -> list[pa.ChunkedArray]:
    """The columns of a key, with one text for equal cells of mixed objects."""
    return [key_column(table.column(field), table.schema.field(field)) for field in fields]


def key_column(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """One of the columns of a key."""
    if schemas.spec_of(field)["codec"] != "json":
        return column
    typed = pa.compute.or_(
        pa.compute.starts_with(column, _NUMPY), pa.compute.equal(column, _MINUS_ZERO)
    ).fill_null(False)
    if not pa.compute.any(typed, min_count=0).as_py():
        return column
    plain = [_plain(text) for text in column.filter(typed).to_pylist()]
    return pa.chunked_array(
        [
            pa.compute.replace_with_mask(
                column.combine_chunks(), typed.combine_chunks(), pa.array(plain, column.type)
            )
        ]
    )


def _plain(text: str) -> str:
    [value] = cells.loads_all([text], tags=True)
    if isinstance(value, np.generic):
        if value.dtype.kind not in _KINDS:
            return text
        value = value.item()
    return cells.dumps(0.0 if isinstance(value, float) and value == 0 else value)
