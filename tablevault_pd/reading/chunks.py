"""Chunks of rows as a store yields them: brought to the schema that is read, without erased rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.store import Chunk


def aligned(chunk: Chunk, schema: pa.Schema) -> pa.Table:
    """Align the rows of a chunk to the schema of the version that is read. What was erased has no cells in any schema."""
    if chunk.erased is not None and len(chunk.erased):
        gone = np.zeros(len(chunk.positions), bool)
        gone[chunk.erased] = True
        return aligned(living(chunk), schema).take(pa.array(np.cumsum(~gone) - 1, mask=gone))
    table = chunk.table
    if not table.num_columns and table.num_rows != len(chunk.positions):
        # Written before any of these columns was added: an Arrow table without columns has no number of rows.
        table = frames.encode(pd.DataFrame(index=pd.RangeIndex(len(chunk.positions))))
    return frames.align(table, schema)


def living(chunk: Chunk) -> Chunk:
    """The chunk without rows that were erased."""
    if chunk.erased is None or not len(chunk.erased):
        return chunk
    rows = np.delete(np.arange(len(chunk.positions)), chunk.erased)
    return Chunk(as_array(chunk.positions)[rows], chunk.table.take(pa.array(rows)), private=True)


def as_array(positions: range | np.ndarray) -> np.ndarray:
    """Return positions as an array."""
    # np.asarray is slow: it takes the numbers of a range one by one.
    return np.arange(positions.start, positions.stop) if isinstance(positions, range) else positions
