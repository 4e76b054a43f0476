"""Which row of a frame is no vector as the list has them: for messages, once it is known that the schemas do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.errors import DimensionMismatch
from tablevault_pd.frames import buffers, schemas
from tablevault_pd.frames.codecs import decode_column

if TYPE_CHECKING:
    import pyarrow as pa

_SEQUENCES = (list, tuple, np.ndarray)


def check_vectors(rows: pa.Table, field: pa.Field, dim: int) -> None:
    """Raise DimensionMismatch with the first row of the column `field` that is a sequence of another length than `dim`."""
    column, spec = rows.column(field.name), schemas.spec_of(field)
    valid = np.flatnonzero(buffers.column_valid(column))
    if "dim" in spec:
        if spec["dim"] != dim and len(valid):
            raise _other(int(valid[0]), spec["dim"], dim)
        return
    if spec["codec"] != "json":
        return
    cells = decode_column(column, spec)
    for row in valid:
        if isinstance(cells[row], _SEQUENCES) and np.ndim(cells[row][:0]) == 1 and len(cells[row]) != dim:
            raise _other(int(row), len(cells[row]), dim)


def _other(row: int, found: int, dim: int) -> DimensionMismatch:
    return DimensionMismatch(f"row {row}: {found} numbers, the list has {dim}")
