"""Write frames of the same columns as JSON or CSV for other programs, with every digit."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence


def write_json(parts: Iterable[pd.DataFrame], to: TextIO, *, index: bool = False) -> None:
    """Write a JSON array with an object for each row, one a line. Missing is null; other values become text."""
    before = "[\n"
    for names, rows in _records(parts, index):
        for row in rows:
            to.write(
                before + json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False)
            )
            before = ",\n"
    to.write("[]\n" if before == "[\n" else "\n]\n")


def write_json_lines(parts: Iterable[pd.DataFrame], to: TextIO, *, index: bool = False) -> None:
    """Write a JSON object for each row, one a line."""
    for names, rows in _records(parts, index):
        for row in rows:
            text = json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False)
            to.write(text + "\n")


def write_csv(parts: Iterable[pd.DataFrame], to: TextIO, *, index: bool = False, header: bool = True) -> None:
    """Write CSV. Missing is empty; lists and dicts are JSON."""
    writer = csv.writer(to, lineterminator="\n")
    for number, (names, rows) in enumerate(_records(parts, index)):
        if number == 0 and header:
            writer.writerow(names)
        writer.writerows([_csv_cell(value) for value in row] for row in rows)


def _csv_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict, bool)) else value


def _records(parts: Iterable[pd.DataFrame], index: bool) -> Iterator[tuple[list[str], Iterator[list[Any]]]]:
    """Return the names of the columns and the rows of each frame, as plain values that JSON can hold."""
    return (_plain_frame(frame, index) for frame in parts)


def _plain_frame(frame: pd.DataFrame, index: bool) -> tuple[list[str], Iterator[list[Any]]]:
    names, columns = with_index(frame, index)
    rows = zip(*columns, strict=True) if columns else iter([])
    return names, ([plain(value) for value in row] for row in rows)


def with_index(frame: pd.DataFrame, index: bool) -> tuple[list[str], list[pd.Series[Any]]]:
    """Return names and values of the columns, those of the index first. Names are unique, as JSON needs."""
    named = [(_label(label), type(label).__name__) for label in frame.columns]
    columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
    if index:
        levels = [frame.index.get_level_values(i) for i in range(frame.index.nlevels)]
        labels = [f"index_{i}" if level.name is None else level.name for i, level in enumerate(levels)]
        named = [(_label(label), "index") for label in labels] + named
        columns = [pd.Series(level) for level in levels] + columns
    return _unique(named), columns


def _unique(named: Sequence[tuple[str, str]]) -> list[str]:
    """Make names for (text, kind) unique: of equal ones, the label that is a str keeps it, others get their kind appended.

    ``1`` and ``"1"`` are ``1 (int)`` and ``1``; an index named like the column ``a`` is ``a (index)``.
    """
    times = Counter(text for text, _ in named)
    taken = {text for text, kind in named if times[text] == 1 or kind == "str"}
    names = []
    for text, kind in named:
        name, number = text, 1
        if times[text] > 1 and kind != "str":
            name = f"{text} ({kind})"
            while name in taken:
                number += 1
                name = f"{text} ({kind} {number})"
            taken.add(name)
        names.append(name)
    return names


def _label(label: Hashable) -> str:
    return ".".join(str(part) for part in label) if isinstance(label, tuple) else str(label)


def plain(value: Any) -> Any:
    """Convert `value` to JSON data: numbers, text, lists, dicts; null for missing, text for the rest."""
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, (np.ndarray, list, tuple, set, frozenset)):
        return [plain(member) for member in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, dict):
        names = _unique([(str(key), type(key).__name__) for key in value])
        return dict(zip(names, map(plain, value.values()), strict=True))
    if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)):
        return plain(value.item())
    if pd.isna(value):
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    return str(value)
