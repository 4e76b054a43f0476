"""Tables of sessions for people: an aggregate in place of the last value of a metric, and no columns that never change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis.aggregates import PerCurve, aggregates
from tablevault_pd.analysis.curves import check_known, read_curves
from tablevault_pd.errors import InvalidType, short_repr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tablevault_pd.store import Store


def with_aggregates(store: Store, frame: pd.DataFrame, show: Mapping[str, Any]) -> pd.DataFrame:
    """Replace ``metrics.name`` by an aggregate of all values of that metric; the index of `frame` has the ids of sessions.

    A list of aggregates makes a column of each, ``metrics.name_min`` and so on.
    """
    aggregates_asked = aggregates(show, None)
    curves = read_curves(store, store.session_labels(frame.index.tolist()), list(show), x="step", last=True)
    per_curve = PerCurve(curves)
    ids = np.array([session.id for session in curves.points.sessions], dtype=np.int64)
    for number, metric in enumerate(curves.points.metrics):
        mine = per_curve.metric == number
        if not mine.any():
            check_known(store, [metric])
        columns = {
            f"metrics.{metric}{aggregate.suffix}": pd.Series(
                per_curve.of(aggregate.function, mine), index=ids[per_curve.session[mine]]
            )
            .reindex(frame.index)
            .astype("Int64" if aggregate.is_integer(metric in curves.points.integers) else "float64")
            for aggregate in aggregates_asked.of(metric)
        }
        frame = _in_place_of(frame, f"metrics.{metric}", pd.DataFrame(columns, index=frame.index))
    return frame


def _in_place_of(frame: pd.DataFrame, name: str, columns: pd.DataFrame) -> pd.DataFrame:
    """`frame` with `columns` where its column `name` is, or at its end."""
    place = frame.columns.get_loc(name) if name in frame.columns else len(frame.columns)
    before, after = frame.iloc[:, :place], frame.iloc[:, place:].drop(columns=name, errors="ignore")
    return pd.concat([before, columns, after], axis=1)


def show_of(given: Any) -> Mapping[str, Any] | None:
    """Check ``show=``."""
    if given is None:
        return None
    if isinstance(given, dict) and given and all(isinstance(name, str) for name in given):
        aggregates(given, None)
        return given
    raise InvalidType(
        f"show= is a dict of aggregates by metric, such as {{'loss': 'min'}}, not {short_repr(given)}."
    )


#: What differs between any two sessions, and says nothing that ``session`` does not.
_OWN = frozenset(["name", "run", "pid", "started", "ended", "heartbeat"])


def without_constants(frame: pd.DataFrame, chosen: Sequence[str] | None = None) -> pd.DataFrame:
    """`frame` without the columns in which all rows are alike, ``session`` excepted. A missing value is a value.

    What is each session's own is left out, too, unless it was `chosen`.
    """
    own = _OWN.difference(chosen or ())
    keep = [name == "session" or (name not in own and _varies(frame[name])) for name in frame.columns]
    return frame.loc[:, keep]


def _varies(column: pd.Series) -> bool:
    if column.dtype == object:
        return len({_key(value) for value in column}) > 1
    return column.nunique(dropna=False) > 1


def _key(value: Any) -> str:
    if not isinstance(value, (list, dict)) and pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    return f"{type(value).__name__} {json.dumps(value, sort_keys=True, default=str)}"
