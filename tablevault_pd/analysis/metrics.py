"""``vault.metrics``: logged values as a frame, long or wide, or one aggregate of each curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.analysis import frame_columns as columns_of
from tablevault_pd.analysis.aggregates import Aggregates, PerCurve
from tablevault_pd.analysis.answers import mark
from tablevault_pd.analysis.axes import NOT_PAIRED
from tablevault_pd.analysis.curves import Curves, check_known, read_curves

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from tablevault_pd.analysis.frame_columns import Columns
    from tablevault_pd.analysis.points import Points
    from tablevault_pd.store import SessionLabel, Store


def metrics(
    store: Store,
    sessions: Sequence[SessionLabel] | None,
    names: Sequence[str] | None,
    *,
    x: str = "step",
    wide: bool = False,
    aggregates: Aggregates | None = None,
    last: bool = False,
    missing: bool = False,
    params: bool = False,
) -> pd.DataFrame:
    """Return logged values. See :meth:`Vault.metrics`."""
    curves = read_curves(store, sessions, names, x=x, last=last)
    lacking = [] if names is None else _without_values(curves)
    if curves.axis.lag is not None and not (curves.axis.lag != NOT_PAIRED).any():
        lacking.append(x)
    if lacking:
        check_known(store, lacking)
    if aggregates is not None:
        columns, rows = (_wide_aggregates if wide else _long_aggregates)(curves, aggregates)
    elif wide:
        columns, rows = _wide(curves, step=x == "step", missing=missing)
    else:
        columns, rows = _long(curves, step=x == "step")
    if params:
        columns |= columns_of.of_params(store, curves.points.sessions, rows)
    return mark(columns_of.frame(columns), "metrics" if aggregates is None else "aggregates", x)


def _without_values(curves: Curves) -> list[str]:
    if len(curves.points.metrics) == 1:
        return [] if len(curves.points) else list(curves.points.metrics)
    there = np.bincount(curves.points.metric, minlength=len(curves.points.metrics)) > 0
    return [name for name, logged in zip(curves.points.metrics, there, strict=True) if not logged]


def _long(curves: Curves, *, step: bool) -> tuple[Columns, np.ndarray]:
    points = curves.points
    columns = columns_of.of_sessions(points.sessions, points.session)
    columns |= {
        "attempt": columns_of.integers(points.attempt),
        "step": columns_of.integers(points.step, None if points.steps is points.step else ~points.has_step),
    }
    if not step:
        columns |= columns_of.of_axis(curves.axis)
    columns |= {
        "metric": columns_of.texts(points.metrics, points.metric),
        "value": columns_of.numbers(points.value, whole=_are_integers(points)),
    }
    return columns, points.session


def _are_integers(points: Points) -> bool:
    """Whether all metrics that have values were logged as integers alone."""
    return len(points) > 0 and len(points.integers) == len(np.unique(points.metric))


def _wide(curves: Curves, *, step: bool, missing: bool) -> tuple[Columns, np.ndarray]:
    points = curves.points
    row, first = _rows(curves)
    values = np.full((len(points.metrics), len(first)), np.nan)
    values[points.metric, row] = points.value
    columns = columns_of.of_sessions(points.sessions, points.session[first])
    columns |= {
        "attempt": columns_of.integers(points.attempt[first]),
        "step": columns_of.integers(points.step[first], ~points.has_step[first]),
    }
    if not step:
        columns |= columns_of.of_axis(curves.axis, lambda values: values[first])
    for name, of_metric in zip(points.metrics, values, strict=True):
        columns[_free(name, columns)] = columns_of.numbers(of_metric, whole=name in points.integers)
    if missing:
        there = np.zeros(values.shape, dtype=bool)
        there[points.metric, row] = True
        for name, of_metric in zip(points.metrics, there, strict=True):
            columns[_free(f"{name}_missing", columns)] = ~of_metric
    return columns, points.session[first]


def _rows(curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """The row of each value in the wide form, and a value of each row.

    What shares session, attempt, step and x is one row; what was logged without a step, also its time. Values of one metric
    that share all that are on rows of their own, in the order they were logged.
    """
    points, x = curves.points, curves.axis.x
    time = np.where(points.has_step, 0, points.time)
    step = np.where(points.has_step, points.step, np.iinfo(np.int64).max)
    keys = [points.session, x, step, points.attempt, time]
    again = _times_before([*keys, points.metric])
    order = np.lexsort([again, *reversed(keys)])
    new = np.zeros(len(points), dtype=bool)
    new[:1] = True
    for key in [*keys, again]:
        new[1:] |= ~_equal(key[order][1:], key[order][:-1])
    row = np.empty(len(points), dtype=np.int64)
    row[order] = np.cumsum(new) - 1
    return row, order[new]


def _times_before(keys: Sequence[np.ndarray]) -> np.ndarray:
    """For each value, how many before it have all keys in common with it."""
    size = len(keys[0])
    order = np.lexsort(list(reversed(keys)))
    same = np.zeros(size, dtype=bool)
    same[1:] = True
    for key in keys:
        same[1:] &= _equal(key[order][1:], key[order][:-1])
    place = np.arange(size)
    begin = np.maximum.accumulate(np.where(same, 0, place)) if size else place
    times_before = np.empty(size, dtype=np.int64)
    times_before[order] = place - begin
    return times_before


def _equal(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Whether keys are equal; NaN equals NaN."""
    same: np.ndarray = left == right
    return same if left.dtype.kind != "f" else same | (np.isnan(left) & np.isnan(right))


def _free(name: str, columns: Columns) -> str:
    """The name of a metric's column: ``metrics.name`` where the answer has another column of that name."""
    return f"metrics.{name}" if name in columns else name


def _long_aggregates(curves: Curves, aggregates: Aggregates) -> tuple[Columns, np.ndarray]:
    per_curve, points = PerCurve(curves), curves.points
    columns = columns_of.of_sessions(points.sessions, per_curve.session)
    columns["metric"] = columns_of.texts(points.metrics, per_curve.metric)
    for number, metric in enumerate(points.metrics):
        mine = per_curve.metric == number
        for aggregate in aggregates.of(metric):
            column = columns.setdefault(f"value{aggregate.suffix}", np.full(len(mine), np.nan))
            column[mine] = per_curve.of(aggregate.function, mine)
    if not points.metrics:
        columns |= {f"value{aggregate.suffix}": np.zeros(0) for aggregate in aggregates.of_each}
    for name in aggregates.of_integers(points.metrics, points.integers):
        columns[name] = columns_of.numbers(columns[name], whole=True)
    columns |= {"n": columns_of.integers(per_curve.n), "n_nan": columns_of.integers(per_curve.n_nan)}
    return columns, per_curve.session


def _wide_aggregates(curves: Curves, aggregates: Aggregates) -> tuple[Columns, np.ndarray]:
    per_curve, points = PerCurve(curves), curves.points
    there, row = np.unique(per_curve.session, return_inverse=True)
    columns = columns_of.of_sessions(points.sessions, there)
    for number, metric in enumerate(points.metrics):
        mine = per_curve.metric == number
        for aggregate in aggregates.of(metric):
            name = _free(f"{metric}{aggregate.suffix}", columns)
            values = np.full(len(there), np.nan)
            values[row[mine]] = per_curve.of(aggregate.function, mine)
            columns[name] = columns_of.numbers(values, whole=aggregate.is_integer(metric in points.integers))
        for suffix, counts in (("n", per_curve.n), ("n_nan", per_curve.n_nan)):
            of_rows = np.zeros(len(there), dtype=np.int64)
            of_rows[row[mine]] = counts[mine]
            columns[_free(f"{metric}_{suffix}", columns)] = columns_of.integers(of_rows)
    return columns, there
