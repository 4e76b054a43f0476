"""Logged values as one table, for every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from tablevault_pd.frames.buffers import repeated

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

MEASURES_SCHEMA = pa.schema(
    [
        ("session", pa.int64()),
        ("metric", pa.dictionary(pa.int32(), pa.string())),
        ("step", pa.int64()),
        ("time", pa.timestamp("us", "UTC")),
        ("value", pa.float64()),
        ("attempt", pa.int64()),
    ]
)


def measures_table(
    blocks: tuple[Sequence[int], Sequence[str], Sequence[int], Sequence[int]],
    step: pa.Array,
    time: np.ndarray,
    value: np.ndarray,
) -> pa.Table:
    """Blocks of values, in order, as a table: of each its session, metric, attempt and size; then the values of all."""
    sessions, metrics, attempts, sizes = blocks
    words = {name: code for code, name in enumerate(dict.fromkeys(metrics))}
    codes = repeated([words[name] for name in metrics], sizes, pa.int32())
    return pa.table(
        [
            repeated(sessions, sizes, pa.int64()),
            pa.DictionaryArray.from_arrays(codes, pa.array(list(words), pa.string())),
            step,
            pa.array(time, pa.timestamp("us", "UTC")),
            pa.array(value),
            repeated(attempts, sizes, pa.int64()),
        ],
        schema=MEASURES_SCHEMA,
    )
