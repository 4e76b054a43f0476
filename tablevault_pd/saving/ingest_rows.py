"""Convert plain Python rows (dicts, tuples, dataclasses, rows of a database cursor) to frames, with every integer exact."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import InvalidInput, UnsupportedColumn, short_repr

_EXACT = 2**53


def as_mapping(item: Any) -> Mapping[Any, Any] | None:
    """Convert a row with named fields to a mapping; None for anything else."""
    if isinstance(item, Mapping):
        return item
    if isinstance(item, (pd.DataFrame, pd.Series, type)):
        return None
    if is_dataclass(item):
        return {field.name: getattr(item, field.name) for field in fields(item)}
    if hasattr(item, "_asdict"):  # namedtuples, rows of SQLAlchemy
        mapping: Mapping[Any, Any] = item._asdict()
        return mapping
    if callable(getattr(item, "keys", None)) and hasattr(item, "__getitem__"):  # rows of sqlite3 and asyncpg
        return {key: item[key] for key in item.keys()}  # noqa: SIM118  # iterating gives the values
    return dict(item) if hasattr(type(item), "model_fields") else None  # models of pydantic


def cannot_save(obj: Any) -> InvalidInput:
    """The error for what holds no rows, with what to write instead."""
    if hasattr(obj, "agg"):
        hint = (
            "It holds no rows before they are aggregated: .mean(), .size() and the like make a frame of it."
        )
    elif hasattr(obj, "collect"):  # lazy frames of polars
        hint = "It holds no rows before .collect()."
    elif obj is None:
        hint = "A call of pandas with inplace=True returns None."
    elif isinstance(obj, os.PathLike):
        hint = "The rows of a file are read first, as in pd.read_csv(path)."
    elif type(obj).__name__ == "Styler":
        hint = "Its frame is .data."
    elif isinstance(obj, (int, float, complex, np.generic)):
        hint = "Values without names are a column: pd.Series(values, name='x')."
    else:
        hint = ""
    return InvalidInput(
        f"Cannot save {short_repr(obj)} of type {type(obj).__name__}. A DataFrame, Series, dict (one row), "
        "list of dicts or of tuples (rows), 2-D array, list of texts, "
        f"anything that exports Arrow, or an iterator of these can be saved. {hint}".rstrip()
    )


def refuse_row(
    series: pd.Series[Any], name: str, labels: Collection[Hashable], key: Collection[Hashable]
) -> None:
    """Refuse a Series that is a row of a list with these columns, or of one that is to have this key. Raises InvalidInput."""
    if series.name in labels or not len(series):
        return
    if set(series.index) <= set(labels) or (key and set(key) <= set(series.index)):
        raise InvalidInput(
            f"A Series is a column of values, and the labels of this one are columns of the list {name!r}. A row of a frame is "
            "df.iloc[[0]], with two brackets, or row.to_dict()."
        )


def frame_of_mappings(rows: Sequence[Mapping[Any, Any]]) -> pd.DataFrame:
    """Make a frame with a row per mapping; the keys are the columns. Raises UnsupportedColumn."""
    frame = _made(
        [dict(row) for row in rows], lambda: ((row.items(), number) for number, row in enumerate(rows))
    )
    return _exact(frame, lambda label: [row.get(label) for row in rows])


def frame_of_tuples(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Make a frame with a row per tuple; the columns are 0, 1, 2 and so on. Raises InvalidInput, UnsupportedColumn."""
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise InvalidInput(
                f"Rows have one length: row {number} has {len(row)} values, the first {len(rows[0])}. Save dicts where values may lack."
            )
    frame = _made(rows, lambda: ((enumerate(row), number) for number, row in enumerate(rows)))
    return _exact(frame, lambda label: [row[label] for row in rows])


def frame_of_texts(texts: list[str], name: str) -> pd.DataFrame:
    """Make a frame with a row per text. Raises UnsupportedColumn."""
    return _made({name: texts}, lambda: (([(name, text)], number) for number, text in enumerate(texts)))


def check_label(label: Hashable) -> None:
    """Refuse the name of a Series that pandas could not make a column label. Raises UnsupportedColumn."""
    if not _is_unicode(label):
        raise UnsupportedColumn(
            f"Nothing was stored. The name {short_repr(label)} holds a lone surrogate, which no UTF-8 text can; rename the Series."
        )


def _made(
    rows: Any, cells: Callable[[], Iterable[tuple[Iterable[tuple[Hashable, Any]], int]]]
) -> pd.DataFrame:
    try:
        return pd.DataFrame(rows)
    except UnicodeEncodeError as error:  # the message of pandas names no row
        for row, number in cells():
            for label, value in row:
                if not (_is_unicode(label) and _is_unicode(value)):
                    raise UnsupportedColumn(
                        f"Nothing was stored. In column {short_repr(label)}, row {number}: a lone surrogate, which no UTF-8 text can hold; "
                        "decode the text with errors='replace'."
                    ) from error
        raise


def _is_unicode(value: Any) -> bool:
    return not isinstance(value, str) or not any("\ud800" <= character <= "\udfff" for character in value)


# ---------------------------------------------------------------- integers


def _exact(frame: pd.DataFrame, cells: Callable[[Any], list[Any]]) -> pd.DataFrame:
    """Return `frame` with the integers that pandas rounded, because some were missing, as Int64."""
    for number, label in enumerate(frame.columns):
        column = frame.iloc[:, number]
        if column.dtype == np.float64 and (column.abs() >= _EXACT).any():
            integers = _integers(label, cells(label))
            if integers is not None:
                frame.isetitem(number, integers)
    return frame


def _integers(label: Hashable, cells: list[Any]) -> pd.api.extensions.ExtensionArray | None:
    """Return the cells as nullable integers; None if floats hold all of them. Raises UnsupportedColumn for floats among them."""
    lost = next(
        (row for row, cell in enumerate(cells) if _is_integer(cell) and int(float(cell)) != cell), None
    )
    if lost is None:
        return None
    if not all(_is_integer(cell) or pd.isna(cell) for cell in cells):
        raise UnsupportedColumn(
            f"Nothing was stored. In column {short_repr(label)}, row {lost}: the integer {cells[lost]} stands among floats, and no "
            "float holds it exactly; make the column integers only, or text."
        )
    whole = [int(cell) if _is_integer(cell) else pd.NA for cell in cells]
    largest = max(cell for cell in whole if cell is not pd.NA)
    return pd.array(whole, dtype="Int64" if largest < 2**63 else "UInt64")


def _is_integer(cell: Any) -> bool:
    return isinstance(cell, (int, np.integer)) and not isinstance(cell, bool)
