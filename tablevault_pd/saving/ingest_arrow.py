"""Convert objects that export Arrow (polars, DuckDB, pyarrow) to Arrow tables or one column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import UnsupportedColumn, short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

BYTES_PER_TABLE = 64 << 20  # record batches of a stream are gathered into tables of about this size


def is_arrow(obj: Any) -> bool:
    """Return whether an object exports Arrow data; its class, such as pd.DataFrame, exports none."""
    exports = hasattr(obj, "__arrow_c_stream__") or hasattr(obj, "__arrow_c_array__")
    return exports and not isinstance(obj, type)


def is_column(obj: Any) -> bool:
    """Return whether such an object is a column, and no table: an Arrow array, a Series of polars."""
    has_columns = any(hasattr(obj, name) for name in ("schema", "columns", "column_names"))
    return not has_columns and (hasattr(obj, "dtype") or hasattr(obj, "type"))


def series(obj: Any) -> pd.Series:
    """Convert an Arrow column to a Series."""
    _check_objects({obj.name: obj.dtype} if _is_polars(obj) else {})
    name = getattr(obj, "name", None) or None
    table = frames.encode_arrow(pa.table([_array(obj, name)], names=["cells"]), embeddings=False)
    column = frames.decode([table], table.schema, positions=range(table.num_rows))["cells"]
    return column.reset_index(drop=True).rename(name)


def _array(obj: Any, name: Any) -> pa.ChunkedArray:
    try:
        if isinstance(obj, pa.Array) or not hasattr(obj, "__arrow_c_stream__"):
            return pa.chunked_array([pa.array(obj)])
        return pa.chunked_array(obj)
    except pa.ArrowException as error:
        raise _unreadable([name or "of the Series"], error) from error


def tables(obj: Any) -> Iterator[pa.Table]:
    """Yield a table as it is, or a stream in pieces that fit in memory. Raises UnsupportedColumn."""
    if isinstance(obj, pa.Table) or not hasattr(obj, "read_next_batch"):
        yield obj if isinstance(obj, pa.Table) else _table(obj)
        return
    reader = pa.RecordBatchReader.from_stream(obj)
    waiting: list[pa.RecordBatch] = []
    empty = True
    for batch in reader:
        waiting.append(batch)
        if sum(piece.nbytes for piece in waiting) >= BYTES_PER_TABLE:
            yield pa.Table.from_batches(waiting, reader.schema)
            waiting, empty = [], False
    if waiting or empty:
        yield pa.Table.from_batches(waiting, reader.schema)


def _table(obj: Any) -> pa.Table:
    if _is_polars(obj):
        _check_objects(dict(obj.schema))
    try:
        return pa.table(obj)
    except pa.ArrowException as error:
        raise _unreadable(
            [name for name in getattr(obj, "columns", []) if not _is_readable(obj, name)], error
        ) from error


def _is_readable(obj: Any, name: Any) -> bool:
    try:
        pa.chunked_array(obj[name])
    except pa.ArrowException:
        return False
    except Exception:  # noqa: BLE001  # its columns cannot be read one by one
        return True
    return True


def _unreadable(names: list[Any], error: Exception) -> UnsupportedColumn:
    what = f"column {', '.join(map(short_repr, names))}" if names else "a column"
    return UnsupportedColumn(
        f"Nothing was stored. In {what}: a type that pyarrow cannot read ({str(error).splitlines()[0]}); cast it to another."
    )


def _is_polars(obj: Any) -> bool:
    return type(obj).__module__.partition(".")[0] == "polars"


def _check_objects(dtypes: dict[Any, Any]) -> None:
    """Refuse columns of Python objects, which polars exports as their addresses in memory."""
    bad = [name for name, dtype in dtypes.items() if _has_objects(dtype)]
    if bad:
        raise UnsupportedColumn(
            f"Nothing was stored. In column {', '.join(map(short_repr, bad))}: the polars dtype Object exports addresses in memory, "
            "and no values; cast it to text, or save a pandas DataFrame."
        )


def _has_objects(dtype: Any) -> bool:
    inner = [field.dtype for field in getattr(dtype, "fields", ())] + [getattr(dtype, "inner", None)]
    return str(dtype) == "Object" or any(
        _has_objects(dtype_inside) for dtype_inside in inner if dtype_inside is not None
    )
