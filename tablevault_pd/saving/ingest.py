"""What may be saved: every accepted kind of object as a stream of encoded Arrow tables."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput, shown
from tablevault_pd.saving import ingest_arrow as arrowinputs
from tablevault_pd.saving.file_columns import file_column
from tablevault_pd.saving.ingest_rows import (
    as_mapping,
    check_label,
    frame_of_mappings,
    frame_of_texts,
    frame_of_tuples,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tablevault_pd.lineage.record import Trace

ROWS_PER_TABLE = 10_000  # single rows from an iterator are gathered into tables of this many
_NUMBERS = (int, float, np.integer, np.floating)

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
        _check_kind(kind, None, obj)
        yield _frame(obj, columns, ours=False)
    elif isinstance(obj, pd.Series):
        yield _series(obj, columns, kind)
    elif isinstance(obj, np.ndarray):
        _check_kind(kind, "embedding", obj)
        yield _matrix(obj, columns)
    elif arrowinputs.is_arrow(obj):
        if arrowinputs.is_column(obj):
            yield _series(arrowinputs.series(obj), columns, kind)
        else:
            _check_kind(kind, None, obj)
            for table in arrowinputs.tables(obj):
                yield _arrow_table(table, columns)
    elif (row := as_mapping(obj)) is not None:
        _check_kind(kind, None, obj)
        yield _row(row, columns)
    elif isinstance(obj, (str, bytes, bytearray)) or not isinstance(obj, Iterable):
        raise InvalidInput(
            f"Cannot save {shown(obj)} of type {type(obj).__name__}. A DataFrame, Series, dict (one row), list of dicts or of tuples "
            "(rows), 2-D array, list of texts, anything that exports Arrow, or an iterator of these can be saved."
        )
    else:
        yield from _iterable(obj, columns, kind)


def _check_kind(kind: str | None, made: str | None, obj: Any) -> None:
    """Refuse a ``kind=`` that would be passed over: `obj` becomes `made`, or columns whose options have names of their own."""
    if kind not in (None, made):
        raise InvalidInput(
            f"kind={kind!r} says what the values of a Series are, and {shown(obj)} is none. Save pd.Series(values) with it, "
            "or name the columns of a frame with documents=, embeddings= or files=."
        )


# -- one object


def _frame(frame: pd.DataFrame, columns: Columns, *, ours: bool = True) -> pa.Table:
    if columns.trace is not None:
        frame = columns.trace.frame(frame, ours=ours)
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
    check_label(name)
    frame = series.to_frame(name)
    frame.attrs = series.attrs
    if kind == "document":
        return _frame(frame, replace(columns, embeddings=False, documents=(name,), files=()), ours=False)
    if kind == "embedding":
        return _frame(frame, replace(columns, embeddings=[name], documents=(), files=()), ours=False)
    if kind == "file":
        return _frame(frame, replace(columns, embeddings=False, documents=(), files=(name,)), ours=False)
    return _frame(frame, replace(columns, embeddings=False, documents=(), files=()), ours=False)


def _kind_of(series: pd.Series) -> str:
    """What a column of such cells is, if nobody says: texts are documents, vectors embeddings."""
    try:
        present = series.dropna()
    except ArithmeticError:  # a signalling NaN among Decimals, which pandas cannot ask
        return "record"
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
        return _frame(frame_of_mappings([row]), columns)
    if columns.trace is not None:
        columns.trace.table(table)
    return table


def _matrix(matrix: np.ndarray, columns: Columns) -> pa.Table:
    if matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
        raise InvalidInput(
            f"An array is saved as one vector per row, so it has two dimensions and holds numbers; this one has the shape "
            f"{matrix.shape} and dtype {matrix.dtype}. Make a DataFrame of other arrays."
        )
    return _vectors(list(matrix), columns, ints=True)


def _vectors(rows: Sequence[Any], columns: Columns, *, ints: bool) -> pa.Table:
    """Sequences of numbers as one embedding column. Integers become floats, exactly, only where `ints` or the caller says so."""
    widths = sorted({len(row) for row in rows})
    if len(widths) > 1:
        raise InvalidInput(
            f"The vectors have different lengths: {widths[:5]}. A list of vectors is saved as one column of one width."
        )
    name = COLUMN_OF_KIND["embedding"]
    asked = columns.embeddings not in (None, True, False)
    if not (asked or ints or any(isinstance(number, (float, np.floating)) for row in rows for number in row)):
        raise InvalidInput(
            f"Lists of integers are no vectors of floats, unless embeddings=[{name!r}] says so. Save rows as tuples, or make a "
            "DataFrame of them: pd.DataFrame(rows)."
        )
    frame = pd.DataFrame({name: pd.Series(list(rows), dtype=object)})
    return frames.encode(frame, embeddings=columns.embeddings if asked else [name])


def _texts(texts: list[str], columns: Columns) -> pa.Table:
    name = COLUMN_OF_KIND["document"]
    frame = frame_of_texts(texts, name)
    return _frame(frame, replace(columns, embeddings=False, documents=(name,), files=()))


# -- Arrow


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
    gather: _Form | None = None  # of the items in the group
    for item in chain([first], iterator):
        form = _form(item)
        if gather is not None and (form is not gather or len(group) >= ROWS_PER_TABLE):
            yield gather(group, columns)
            group = []
        if form is None:
            yield from encoded(item, columns, kind=kind)
        elif form is not gather:
            _check_kind(kind, _KIND_OF_FORM.get(form), item)
            group.append(item)
        else:
            group.append(item)
        gather = form
    if gather is not None:
        yield gather(group, columns)


_Form = Callable[[list[Any], Columns], pa.Table]


def _form(item: Any) -> _Form | None:
    """What gathers items such as this one into a table; None for one that is a table by itself."""
    if isinstance(item, str):
        return _texts
    if isinstance(item, np.ndarray) or arrowinputs.is_arrow(item):
        return _listed_vectors if _is_vector(item) else None
    if as_mapping(item) is not None:
        return _mappings
    if isinstance(item, tuple):
        return _tuples
    if isinstance(item, list) and item and not _is_table(item[0]):
        return _listed_vectors
    return None


def _is_vector(item: Any) -> bool:
    return isinstance(item, np.ndarray) and item.ndim == 1


def _is_table(first: Any) -> bool:
    """Whether a list that begins so is rows or frames itself."""
    return (
        isinstance(first, (tuple, list, pd.DataFrame, pd.Series, np.ndarray)) or as_mapping(first) is not None
    )


def _mappings(group: list[Any], columns: Columns) -> pa.Table:
    return _frame(frame_of_mappings([as_mapping(item) or {} for item in group]), columns)


def _tuples(group: list[Any], columns: Columns) -> pa.Table:
    return _frame(frame_of_tuples(group), columns)


def _listed_vectors(group: list[Any], columns: Columns) -> pa.Table:
    for at, item in enumerate(group):
        wrong = [cell for cell in item if not isinstance(cell, _NUMBERS) or isinstance(cell, bool)]
        if wrong:
            raise InvalidInput(
                f"Item {at}, {shown(item)}, is neither a vector (it holds {shown(wrong[0])}) nor a row. Save rows as tuples or dicts, "
                "or make a DataFrame of them: pd.DataFrame(rows)."
            )
    return _vectors(group, columns, ints=False)


#: What the items that a form gathers become, where that is one column.
_KIND_OF_FORM: dict[_Form, str] = {_texts: "document", _listed_vectors: "embedding"}
