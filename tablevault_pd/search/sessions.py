"""Sessions by what they were run with, and by the code they ran."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tablevault_pd import answers
from tablevault_pd.filters import Filter, UnknownColumn, parse_filter
from tablevault_pd.search.query import parse_text
from tablevault_pd.store import Store

KINDS = ("params.", "metrics.")


def sessions(store: Store, *, filters: Any = None, code: Any = None) -> pd.DataFrame:
    """The sessions with a cell that mentions `code`, as ``sessions()`` shows them, of which those that `filters` keeps.

    Code, parameters and metrics are asked of the store first: only the sessions they leave are read.
    """
    ids = None
    if code is not None:
        ids = np.unique(store.find_code(parse_text(code, "code", code=True))[:, 0])
    ids = _by_values(store, ids, filters)
    frame = answers.sessions(store, None if ids is None else store.sessions(ids.tolist()))
    if filters is None or not len(frame):
        return frame
    try:
        condition = parse_filter(filters, list(frame.columns), lambda: frame.iloc[:0])
    except UnknownColumn:
        if ids is None:
            raise
        return frame.iloc[:0]
    assert condition is not None
    return frame[condition.mask(frame)].reset_index(drop=True)


def _by_values(store: Store, ids: np.ndarray | None, filters: Any) -> np.ndarray | None:
    """The sessions that pass, if the filter is about parameters and metrics alone, and these are plain values; else all given."""
    names = _values_in(filters)
    if not names:
        return ids
    everyone = np.array(store.session_ids(), np.int64) if ids is None else ids
    columns = {}
    for name in names:
        values = store.session_values(name)
        columns[name] = pd.Series([values.get(key) for key in everyone.tolist()])
        if columns[name].dtype == object and not columns[name].map(_is_plain).all():
            return ids
    frame = pd.DataFrame({name: values.infer_objects() for name, values in columns.items()})
    condition = parse_filter(filters, names, lambda: frame.iloc[:0])
    return everyone if condition is None else everyone[condition.mask(frame)]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _values_in(filters: Any) -> list[str]:
    """The parameters and metrics that a filter looks at; none if it looks at anything else too, or is a text."""
    asked = _Names()
    try:
        found: Filter | None = None if isinstance(filters, str) else parse_filter(filters, asked, _Blank)
    except (TypeError, ValueError, LookupError):
        return []
    names = [] if found is None or found.columns is None else sorted(map(str, found.columns))
    return names if all(name.startswith(KINDS) for name in names) else []


class _Names(list[Any]):
    """Columns of which any name is one: what a filter asks for is found out by letting it ask."""

    def __contains__(self, name: object) -> bool:
        return True


class _Blank(pd.DataFrame):
    """A frame without rows that has every column."""

    def __getitem__(self, name: Any) -> Any:
        return pd.Series([], dtype=float)
