"""Sessions by name, state, tags and time, by what they were run with, and by the code they ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.errors import InvalidFilter, did_you_mean
from tablevault_pd.filters import Names, UnknownColumn, is_no_filter, parse_filter
from tablevault_pd.reading import liveness
from tablevault_pd.reading import reports as answers
from tablevault_pd.reading.nested import flat
from tablevault_pd.search.query import parse_text
from tablevault_pd.session.lookup import SessionFilter, resolve_sessions

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from tablevault_pd.store import Store

KINDS = ("params.", "metrics.")


def sessions(
    store: Store,
    which: Any,
    session_filter: SessionFilter,
    *,
    filters: Any = None,
    code: Any = None,
    info: bool = False,
) -> pd.DataFrame:
    """Return the sessions that `which` means, are as `session_filter`, ran such code and fit the filter. See :meth:`Vault.sessions`.

    Names, code, parameters and metrics are asked of the store first: only the sessions they leave are read.
    """
    ids = None if which is None else [session.id for session in resolve_sessions(store, which)]
    if code is not None:
        cells = store.find_code(parse_text(code, "code", code=True))
        ids = _both(ids, cells[:, 0].tolist())
    if is_no_filter(filters):
        filters = None
    overview = liveness.overview(store, _by_values(store, ids, filters))
    fitting = [session for session in overview.sessions if session_filter.fits(session, overview.time)]
    if not fitting:
        _check_params(store, session_filter)
    frame = answers.sessions(store, fitting, seen=overview, info=info)
    if filters is not None:
        frame = _filtered(store, frame, filters)
    return frame if len(frame) else _with_columns_of(store, ids, frame, info=info)


def _both(ids: list[int] | None, others: Iterable[int]) -> list[int]:
    return sorted(set(others) if ids is None else set(ids) & set(others))


def _filtered(store: Store, frame: pd.DataFrame, filters: Any) -> pd.DataFrame:
    try:
        mask = _mask(frame, filters)
    except UnknownColumn:
        frame = _with_columns_of(store, None, frame)  # another session may have what none of these has
        mask = _mask(frame, filters)
    return frame[mask].reset_index(drop=True)


def _mask(frame: pd.DataFrame, filters: Any) -> np.ndarray:
    try:
        condition = parse_filter(filters, Names.of(frame))
        assert condition is not None
        return condition.mask(frame)
    except InvalidFilter as error:
        raise type(error)(f"In the frame of sessions: {error}") from error


def _with_columns_of(
    store: Store, ids: list[int] | None, frame: pd.DataFrame, *, info: bool = False
) -> pd.DataFrame:
    """Return `frame` with the columns that these sessions (all, if there are none) have and it lacks, missing there."""
    overview = liveness.overview(store, ids or None)
    wide = answers.sessions(store, overview.sessions, seen=overview, info=info).iloc[:0]
    new_columns = [name for name in wide.columns if name not in frame.columns]
    if not new_columns:
        return frame
    columns = {name: wide[name].reindex(frame.index) for name in new_columns}
    return pd.concat([frame, pd.DataFrame(columns, index=frame.index)], axis=1)


def _check_params(store: Store, session_filter: SessionFilter) -> None:
    """Raise UnknownColumn if ``params=`` names a parameter that no session has."""
    if not session_filter.params:
        return
    names: set[str] = set()
    for session in store.sessions():
        names |= {*session.params, *flat(session.params)}
    for name in session_filter.params:
        if name not in names:
            raise UnknownColumn(
                f"params= names {name!r}, and no session of this vault has such a parameter. "
                f"{did_you_mean(name, names)}".rstrip()
            )


def _by_values(store: Store, ids: list[int] | None, filters: Any) -> list[int] | None:
    """Return those that pass, if a filter of tuples is about plain values of parameters and metrics alone; else all given."""
    names = _names_in(filters)
    if not names or any(_may_be_nested(name) for name in names):
        return ids
    candidates = store.session_ids() if ids is None else ids
    columns = {}
    for name in names:
        values = store.session_values(name)
        column = [values.get(key) for key in candidates]
        if not values or not all(value is None or isinstance(value, (str, int, float)) for value in column):
            return ids
        columns[name] = answers.column(column)
    frame = pd.DataFrame(columns)
    mask = _mask(frame, filters)
    return [key for key, fits in zip(candidates, mask, strict=True) if fits]


def _may_be_nested(name: str) -> bool:
    """Tell whether a column may be the value inside of a nested parameter, which the store does not look up."""
    kind, _, rest = name.partition(".")
    return kind == "params" and "." in rest


def _names_in(filters: Any) -> list[str]:
    """Return the columns that a filter of tuples names, if all are parameters and metrics; else none."""
    if not isinstance(filters, list) or not filters:
        return []
    groups = [filters] if all(isinstance(each, tuple) for each in filters) else filters
    terms = [term for group in groups if isinstance(group, (list, tuple)) for term in group]
    names = {term[0] if isinstance(term, tuple) and len(term) == 3 else None for term in terms}
    columns = [name for name in names if isinstance(name, str) and name.startswith(KINDS)]
    return sorted(columns) if len(columns) == len(names) else []
