"""Find sessions by name, state, tags, time, parameters, metrics, code and description.

Only the columns that the result shows, or that its filter names, are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import InvalidFilter, InvalidInput, did_you_mean, short_repr
from tablevault_pd.filters import Names, UnknownColumn, is_no_filter, parse_filter
from tablevault_pd.filters.tree import ColumnRef, Inside, Level, Node, walk
from tablevault_pd.reading import liveness, reports
from tablevault_pd.reading.integers import integer_metrics, whole, whole_numbers
from tablevault_pd.reading.nested import flat
from tablevault_pd.search.code import CodeIn, sessions_with_code
from tablevault_pd.search.description_vectors import described_near
from tablevault_pd.search.query import parse_text
from tablevault_pd.search.report_filters import mask_of_report, warn_of_unknown_tags
from tablevault_pd.search.request import as_queries, code_place
from tablevault_pd.session.enclosing import without_enclosing
from tablevault_pd.session.lookup import SessionFilter, resolve_sessions

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

    from tablevault_pd.store import Store

KINDS = ("params.", "metrics.")
LABELS = ("session", "name", "run")  #: columns that need no whole session


def sessions(
    store: Store,
    which: Any,
    session_filter: SessionFilter,
    *,
    filters: Any = None,
    code: Any = None,
    code_in: CodeIn = "slice",
    parent_code: Any = None,
    description: Any = None,
    near: Any = None,
    info: bool = False,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the sessions that `which` means, are as `session_filter`, ran such code and fit the filter. See :meth:`Vault.sessions`.

    The index is their ids.
    """
    scores = None if near is None else _scores_near(store, near)
    within = code_place(code if parent_code is None else parent_code, code_in)
    if parent_code is not None:
        parents = frozenset(
            sessions_with_code(store, parse_text(parent_code, "parent_code", code=True), within)
        )
        session_filter = session_filter.with_parents(parents)
    if isinstance(which, str):
        which = without_enclosing(store, resolve_sessions(store, which))
    ids, filters = _narrowed(store, which, filters=filters, code=code, code_in=within)
    if description is not None:
        ids = _both(ids, _described(store, description))
    if scores is not None:
        ids = _both(ids, scores)
    frame = None
    if filters is None and columns is not None and session_filter.is_empty:
        frame = _light(store, ids, columns)
    if frame is None:
        frame = _whole(store, ids, session_filter, filters, info, columns)
        frame = frame if columns is None else _only(store, frame, columns)
    return frame if scores is None else _nearest_first(frame, scores)


def choose(
    store: Store,
    which: Any,
    session_filter: SessionFilter,
    *,
    filters: Any = None,
    code: Any = None,
    description: Any = None,
) -> list[int] | None:
    """Return the ids of such sessions, oldest first; None where nothing is asked, and all are meant."""
    ids, filters = _narrowed(store, which, filters=filters, code=code, description=description)
    if filters is None and session_filter.is_empty:
        return ids
    return _whole(store, ids, session_filter, filters, False, ()).index.tolist()


def _narrowed(
    store: Store,
    which: Any,
    *,
    filters: Any = None,
    code: Any = None,
    code_in: CodeIn = "slice",
    description: Any = None,
) -> tuple[list[int] | None, Any]:
    """Return the ids (None: all) that are left by what needs no whole session, and the filter if that is still to be judged."""
    ids = None if which is None else [session.id for session in resolve_sessions(store, which)]
    if code is not None:
        ids = _both(ids, sessions_with_code(store, parse_text(code, "code", code=True), code_in))
    if description is not None:
        descriptions = store.search_descriptions(parse_text(description, "description"))
        owners = [match.session_of for match in descriptions if match.session_of is not None]
        ids = _both(ids, owners)
    return (ids, None) if is_no_filter(filters) else _by_values(store, ids, filters)


def _whole(
    store: Store,
    ids: list[int] | None,
    session_filter: SessionFilter,
    filters: Any,
    info: bool,
    columns: Sequence[str] | None,
) -> pd.DataFrame:
    """Read sessions with all parameters, and all metrics or those among `columns` and in the filter."""
    info = info or any(name in reports.INFO for name in columns or ())
    metrics = None if columns is None or filters is not None else _metrics(columns)
    overview = liveness.overview(store, ids, metrics=metrics)
    fitting = overview.sessions
    if not session_filter.is_empty:
        fitting = [session for session in fitting if session_filter.fits(session, overview.time)]
    if not fitting:
        _check_params(store, session_filter)
        if session_filter.tags:
            tags_there = (session.tags for session in store.sessions())
            warn_of_unknown_tags("sessions", session_filter.tags, tags_there)
    frame = reports.sessions(store, fitting, overview=overview, info=info).set_axis(
        [session.id for session in fitting]
    )
    if filters is not None:
        frame = _filtered(store, frame, filters)
    return frame if len(frame) else _with_columns_of(store, ids, frame, info=info)


def _described(store: Store, description: Any) -> set[int]:
    """Ids of sessions that such a description is about, or a list that they wrote."""
    matches = store.search_descriptions(parse_text(description, "description"))
    lists = {match.list_id for match in matches if match.list_id is not None}
    about = {match.session_of for match in matches if match.session_of is not None}
    return about.union(*_writers(store, lists).values())


def _writers(store: Store, lists: Collection[int | None]) -> dict[int, set[int]]:
    """The sessions that wrote versions of these lists, by list."""
    writers: dict[int, set[int]] = {}
    for version in store.versions() if lists else ():
        if version.list_id in lists and version.session_id is not None:
            writers.setdefault(version.list_id, set()).add(version.session_id)
    return writers


def _scores_near(store: Store, near: Any) -> dict[int, float]:
    """How near each session is whose description, or that of a list that it wrote, has a vector of this length."""
    query, several = as_queries(near, "cosine")
    if several:
        raise InvalidInput(f"near= is one vector here, and this one has the shape {query.shape}.")
    scored = described_near(store, query[0])
    writers = _writers(store, {described.list_id for described, _ in scored} - {None})
    scores: dict[int, float] = {}
    for described, score in scored:
        about = () if described.list_id is None else writers.get(described.list_id, ())
        for session in about if described.session_of is None else (described.session_of,):
            scores[session] = max(score, scores.get(session, -np.inf))
    return scores


def _nearest_first(frame: pd.DataFrame, scores: Mapping[int, float]) -> pd.DataFrame:
    frame = frame.assign(score=np.array([scores[key] for key in frame.index], np.float64))
    return frame.sort_values("score", ascending=False, kind="stable")


def _both(ids: list[int] | None, others: Iterable[int]) -> list[int]:
    return sorted(set(others) if ids is None else set(ids) & set(others))


def _metrics(columns: Iterable[str]) -> list[str]:
    return [name.removeprefix("metrics.") for name in columns if name.startswith("metrics.")]


# -- the filter


def _filtered(store: Store, frame: pd.DataFrame, filters: Any) -> pd.DataFrame:
    try:
        mask = mask_of_report("sessions", frame.reset_index(drop=True), filters)
    except UnknownColumn:
        frame = _with_columns_of(store, None, frame)  # another session may have what none of these has
        mask = mask_of_report("sessions", frame.reset_index(drop=True), filters)
    return frame[mask]


def _by_values(store: Store, ids: list[int] | None, filters: Any) -> tuple[list[int] | None, Any]:
    """Return those that pass, and None, if a filter is about plain values alone; else all given, and the filter."""
    names = _names_in(filters)
    if not names or any(_may_be_nested(name) for name in names):
        return ids, filters
    candidates = store.session_ids() if ids is None else ids
    columns = {}
    for name in names:
        values = store.session_values(name)
        column = [values.get(key) for key in candidates]
        if not values or not _are_plain(column):
            return ids, filters
        is_metric = name.startswith("metrics.")
        columns[name] = _last_values(store, candidates, name, values) if is_metric else reports.column(column)
    mask = mask_of_report("sessions", pd.DataFrame(columns), filters)
    return [key for key, fits in zip(candidates, mask, strict=True) if fits], None


def _are_plain(values: Iterable[Any]) -> bool:
    return all(value is None or isinstance(value, (str, int, float)) for value in values)


def _may_be_nested(name: str) -> bool:
    """Tell whether a column may be the value inside of a nested parameter, which the store does not look up."""
    kind, _, rest = name.partition(".")
    return kind == "params" and "." in rest


class _Anything(Names):
    """Names that take every parameter and metric to be there."""

    def find(self, name: Hashable, *, index: bool = True) -> Node | None:
        if isinstance(name, str) and name.startswith(KINDS):
            return ColumnRef(name)
        return super().find(name, index=index)


def _names_in(filters: Any) -> list[str]:
    """Return the columns that a filter names, if all are parameters and metrics, and each row is judged by itself; else none."""
    try:
        condition = parse_filter(filters, _Anything(reports.SESSIONS))
    except InvalidFilter:
        return []  # the frame of sessions tells best what is wrong
    if condition is None or condition.tree is None or not condition.rowwise:
        return []
    if any(isinstance(part, (Inside, Level)) for part in walk(condition.tree)):
        return []
    names = sorted(str(name) for name in condition.columns or ())
    return names if all(name.startswith(KINDS) for name in names) else []


# -- the columns


def _light(store: Store, ids: list[int] | None, columns: Sequence[str]) -> pd.DataFrame | None:
    """Return labels, plain parameters and last metrics alone; None where that is not enough."""
    if not all(name in LABELS or name.startswith(KINDS) for name in columns):
        return None
    candidates = store.session_ids() if ids is None else ids
    labels = {}
    if not set(LABELS).isdisjoint(columns):
        labels = {session.id: session for session in store.session_labels(ids)}
    series: dict[str, Any] = {}
    for name in columns:
        column: pd.Series | None
        if name in LABELS:
            attribute = "label" if name == "session" else name
            column = reports.typed(name, [getattr(labels[key], attribute) for key in candidates])
        else:
            column = _values(store, candidates, name)
        if column is None:
            return None
        series[name] = column
    return pd.DataFrame(series, index=range(len(candidates))).set_axis(candidates)


def _values(store: Store, ids: Sequence[int], name: str) -> pd.Series | None:
    """One parameter or metric; None if no session has it as a plain value."""
    values = {} if _may_be_nested(name) else store.session_values(name)
    if not values:
        return None
    if name.startswith("metrics."):
        return pd.Series(_last_values(store, ids, name, values))
    if not _are_plain(values.values()):
        return None
    column = reports.column([values.get(key) for key in ids])
    if column.isna().all():
        column = reports.column(list(values.values())).iloc[:0].reindex(range(len(ids)))
    return column


def _last_values(store: Store, ids: Sequence[int], name: str, values: Mapping[int, Any]) -> Any:
    """The column of a metric, from its last value by session."""
    # SQLite has no NaN: a value that is there and None is one.
    column = np.array([values.get(key) for key in ids], dtype=np.float64)
    logged_it = [key for key in ids if key in values]
    if logged_it and whole(column[[key in values for key in ids]]).all():
        metric = name.removeprefix("metrics.")
        if integer_metrics(store, {metric: logged_it}):
            return whole_numbers(column)
    return column


def _only(store: Store, frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return some columns of `frame`. Raises InvalidInput for one that no session of the vault has."""
    if not set(columns) <= set(frame.columns):
        frame = _with_columns_of(store, None, frame)
    for name in columns:
        if name not in frame.columns:
            names = [str(label) for label in frame.columns]
            hint = did_you_mean(name, names) or "vault.sessions().columns shows what there is."
            raise InvalidInput(
                f"columns= names {short_repr(name)}, which no session of this vault has. {hint}"
            )
    return frame[list(columns)]


def _with_columns_of(
    store: Store, ids: list[int] | None, frame: pd.DataFrame, *, info: bool = False
) -> pd.DataFrame:
    """Return `frame` with the columns that these sessions (all, if there are none) have and it lacks, missing there."""
    overview = liveness.overview(store, ids or None)
    wide = reports.sessions(store, overview.sessions, overview=overview, info=info).iloc[:0]
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
