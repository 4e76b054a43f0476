"""What may be saved: every accepted kind of object as a stream of encoded Arrow tables."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput, UnsupportedColumn, shown
from tablevault_pd.filecells import file_column
from tablevault_pd.lineage.trace import Trace

ROWS_PER_TABLE = 10_000  # single rows from an iterator are gathered into tables of this many
BYTES_PER_TABLE = 64 << 20  # … and Arrow record batches into tables of about this size

#: The column that a Series without a name, a list of texts or a matrix becomes.
COLUMN_OF_KIND = {"document": "document", "embedding": "embedding", "file": "file", "record": "value"}


@dataclass(frozen=True, slots=True)
class Columns:
    """What the caller said about columns."""

    embeddings: Any = None
    documents: tuple[Hashable, ...] = ()
    files: tuple[Hashable, ...] = ()
    keep: Callable[[Path, str], None] | None = None  #: copies a file's content into the vault
    trace: Trace | None = None  #: notes the parents of each frame, and takes off what is not data


def column_names(value: Any, option: str) -> tuple[Hashable, ...]:
    """One name or several, as a tuple."""
    if value is None or value is False:
        return ()
    if isinstance(value, (list, set, frozenset)):
        return tuple(value)
    if isinstance(value, (str, int, tuple)) and value is not True:
        return (value,)
    raise InvalidInput(f"{option}= names a column or a list of columns, not {shown(value)}.")


def encoded(obj: Any, columns: Columns, *, kind: str | None = None) -> Iterator[pa.Table]:
    """The rows of `obj` as Arrow tables ready to be stored, one or many. Raises InvalidInput, UnsupportedColumn."""
    if isinstance(obj, pd.DataFrame):
        yield _frame(obj, columns)
    elif isinstance(obj, pd.Series):
        yield _series(obj, columns, kind)
    elif isinstance(obj, Mapping):
        yield _row(obj, columns)
    elif isinstance(obj, np.ndarray):
        yield _matrix(obj, columns)
    elif hasattr(obj, "__arrow_c_stream__"):
        for table in _arrow(obj):
            yield _arrow_table(table, columns)
    elif isinstance(obj, (str, bytes, bytearray)) or not isinstance(obj, Iterable):
        raise InvalidInput(
            f"Cannot save {shown(obj)} of type {type(obj).__name__}. A DataFrame, Series, dict (one row), list of dicts, 2-D array, "
            "list of texts, anything with __arrow_c_stream__, or an iterator of these can be saved."
        )
    else:
        yield from _iterable(obj, columns, kind)


# -- one object


def _frame(frame: pd.DataFrame, columns: Columns) -> pa.Table:
    if columns.trace is not None:
        frame = columns.trace.frame(frame)
    absent = [name for name in (*columns.documents, *columns.files) if name not in frame.columns]
    if absent:
        raise InvalidInput(f"documents= or files= names {absent}, and the frame has no such column.")
    prepared = {name: file_column(frame[name], name, columns.keep) for name in columns.files}
    return frames.encode(frame, embeddings=columns.embeddings, documents=columns.documents, prepared=prepared)


def _series(series: pd.Series, columns: Columns, kind: str | None) -> pa.Table:
    kind = kind or _kind_of(series)
    if kind not in COLUMN_OF_KIND:
        raise InvalidInput(f"kind= is one of {', '.join(COLUMN_OF_KIND)}, not {shown(kind)}.")
    name = COLUMN_OF_KIND[kind] if series.name is None else series.name
    frame = series.to_frame(name)
    frame.attrs = series.attrs
    if kind == "document":
        return _frame(frame, replace(columns, embeddings=False, documents=(name,), files=()))
    if kind == "embedding":
        return _frame(frame, replace(columns, embeddings=[name], documents=(), files=()))
    if kind == "file":
        return _frame(frame, replace(columns, embeddings=False, documents=(), files=(name,)))
    return _frame(frame, replace(columns, embeddings=False, documents=(), files=()))


def _kind_of(series: pd.Series) -> str:
    """What a column of such cells is, if nobody says: texts are documents, vectors embeddings."""
    present = series.dropna()
    if isinstance(series.dtype, pd.StringDtype) or (
        len(present) and all(type(cell) is str for cell in present)
    ):
        return "document"
    table = frames.encode(pd.DataFrame({"cells": series.array}))
    return "embedding" if frames.columns(table.schema)[0].kind == "embedding" else "record"


def _row(row: Mapping[Any, Any], columns: Columns) -> pa.Table:
    """A single row, without the detour by a frame where that makes no difference."""
    options = (
        not (columns.embeddings is None or columns.embeddings is False) or columns.documents or columns.files
    )
    table = None if options else frames.encode_row(row)
    if table is None:
        return _frame(_rows([row]), columns)
    if columns.trace is not None:
        columns.trace.table(table)
    return table


def _rows(rows: list[Mapping[Any, Any]]) -> pd.DataFrame:
    try:
        return pd.DataFrame([dict(row) for row in rows])
    except UnicodeEncodeError as error:  # of pandas, which says neither where nor what to do
        for at, row in enumerate(rows):
            for label, value in row.items():
                if not (_is_unicode(label) and _is_unicode(value)):
                    raise UnsupportedColumn(
                        f"Nothing was stored. In column {shown(label)}, row {at}: a lone surrogate, which no UTF-8 text can hold; "
                        "decode the text with errors='replace'."
                    ) from error
        raise


def _is_unicode(value: Any) -> bool:
    return not isinstance(value, str) or not any("\ud800" <= character <= "\udfff" for character in value)


def _matrix(matrix: np.ndarray, columns: Columns) -> pa.Table:
    if matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
        raise InvalidInput(
            f"An array is saved as one vector per row, so it has two dimensions and holds numbers; this one has the shape "
            f"{matrix.shape} and dtype {matrix.dtype}. Make a DataFrame of other arrays."
        )
    if matrix.dtype.kind != "f":
        matrix = matrix.astype(np.float64)
    name = COLUMN_OF_KIND["embedding"]
    wanted = columns.embeddings if columns.embeddings is not None else [name]
    return frames.encode(pd.DataFrame({name: pd.Series(list(matrix), dtype=object)}), embeddings=wanted)


def _texts(texts: list[str], columns: Columns) -> pa.Table:
    name = COLUMN_OF_KIND["document"]
    return _frame(
        pd.DataFrame({name: texts}), replace(columns, embeddings=False, documents=(name,), files=())
    )


# -- Arrow


def _arrow(obj: Any) -> Iterator[pa.Table]:
    """A table as it is; a stream in pieces that fit in memory."""
    if isinstance(obj, pa.Table) or not hasattr(obj, "read_next_batch"):
        yield obj if isinstance(obj, pa.Table) else pa.table(obj)
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


def _arrow_table(table: pa.Table, columns: Columns) -> pa.Table:
    if columns.trace is not None and not columns.files:
        columns.trace.table(table)
    if columns.files:
        plain = frames.encode_arrow(table, embeddings=False)
        return _frame(frames.decode([plain], plain.schema, positions=range(plain.num_rows)), columns)
    return frames.encode_arrow(table, embeddings=columns.embeddings, documents=columns.documents)


# -- iterables


def _iterable(items: Iterable[Any], columns: Columns, kind: str | None) -> Iterator[pa.Table]:
    """Rows, texts and vectors are gathered into tables; everything else stands for itself."""
    iterator = iter(items)
    try:
        first = next(iterator)
    except StopIteration:
        yield _frame(pd.DataFrame(), columns)
        return
    group: list[Any] = []
    for item in chain([first], iterator):
        if group and (type(item) is not type(group[0]) or len(group) >= ROWS_PER_TABLE):
            yield _gathered(group, columns)
            group = []
        if _is_row(item):
            group.append(item)
        else:
            yield from encoded(item, columns, kind=kind)
    if group:
        yield _gathered(group, columns)


def _is_row(item: Any) -> bool:
    return isinstance(item, (Mapping, str)) or _is_vector(item)


def _is_vector(item: Any) -> bool:
    if isinstance(item, np.ndarray):
        return item.ndim == 1
    return (
        isinstance(item, (list, tuple))
        and len(item) > 0
        and all(type(number) in (int, float) for number in item)
    )


def _gathered(group: list[Any], columns: Columns) -> pa.Table:
    if isinstance(group[0], Mapping):
        return _frame(_rows(group), columns)
    if isinstance(group[0], str):
        return _texts(group, columns)
    if len({len(vector) for vector in group}) > 1:
        widths = sorted({len(vector) for vector in group})
        raise InvalidInput(
            f"The vectors have different lengths: {widths[:5]}. A list of vectors is saved as one column of one width."
        )
    return _matrix(np.asarray(group), columns)
