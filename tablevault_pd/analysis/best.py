"""``vault.best``: the step of each session at which a metric was best, and what else was so at that step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tablevault_pd.analysis import axes
from tablevault_pd.analysis import frame_columns as columns_of
from tablevault_pd.analysis.aggregates import PerCurve
from tablevault_pd.analysis.answers import mark
from tablevault_pd.analysis.committed import versions_at
from tablevault_pd.analysis.curves import Curves, check_known, read_curves
from tablevault_pd.analysis.groups import Groups
from tablevault_pd.analysis.points import keep_last, read_points
from tablevault_pd.store import NO_STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.analysis.frame_columns import Columns
    from tablevault_pd.analysis.points import Points
    from tablevault_pd.store import SessionLabel, Store

_LATER = ("last_value", "steps_since_best", "n", "n_nan", "attempt", "rows")  # columns after those of at=


def best(
    store: Store,
    sessions: Sequence[SessionLabel] | None,
    metric: str,
    mode: str,
    *,
    at: Sequence[str] = (),
    after: int | None = None,
    smooth: int | None = None,
    rows: str | None = None,
) -> pd.DataFrame:
    """Return the best place of each session that logged the metric. See :meth:`Vault.best`."""
    curves = read_curves(store, sessions, [metric], x="step", last=True)
    points = curves.points
    per_session = PerCurve(curves)  # one curve a session
    candidates = points if after is None else points.take(points.has_step & (points.step > after))
    counted = _counts(candidates, len(points.sessions))
    place = _best_places(candidates, mode, smooth)[per_session.session]
    chosen = candidates.take(place.clip(0)) if len(candidates) else points.take(np.zeros(len(place), int))
    has_best = (place >= 0) & bool(len(candidates))
    every = np.ones(len(per_session.session), dtype=bool)
    columns: Columns = columns_of.of_sessions(points.sessions, per_session.session, started=False)
    has_step = has_best & chosen.has_step
    whole = points.are_integers(0)
    columns |= {
        "metric": columns_of.texts([metric], np.zeros(len(has_best), dtype=np.int64)),
        "best_step": columns_of.integers(chosen.step, ~has_step),
        "best_value": columns_of.numbers(np.where(has_best, chosen.value, np.nan), whole=whole),
    }
    for name in at:
        for label, column in _at(store, curves, chosen, has_best, name).items():
            columns[f"metrics.{label}" if label in columns or label in _LATER else label] = column
    columns |= {
        "last_value": columns_of.numbers(per_session.of("last", every), whole=whole),
        "steps_since_best": columns_of.integers(
            np.where(has_step, _last_steps(points)[chosen.session] - chosen.step, 0), ~has_step
        ),
        "n": columns_of.integers(counted[0][per_session.session]),
        "n_nan": columns_of.integers(counted[1][per_session.session]),
        "attempt": columns_of.integers(chosen.attempt, ~has_best),
    }
    if rows is not None:
        columns["rows"] = versions_at(store, rows, chosen, has_best, _are_last(chosen, points))
    columns |= columns_of.of_params(store, points.sessions, per_session.session)
    if not len(points):
        check_known(store, [metric])
    frame = pd.DataFrame(columns).sort_values(
        "best_value", ascending=mode == "min", kind="stable", ignore_index=True
    )
    return mark(frame, "best", f"{mode}:{metric}")


def _counts(points: Points, sessions: int) -> tuple[np.ndarray, np.ndarray]:
    """How many values of each session are no NaN, and are."""
    is_nan = np.isnan(points.value)
    return (
        np.bincount(points.session[~is_nan], minlength=sessions),
        np.bincount(points.session[is_nan], minlength=sessions),
    )


def _last_steps(points: Points) -> np.ndarray:
    """The highest step of each session; NO_STEP where none was logged with one."""
    highest = np.full(len(points.sessions), NO_STEP, dtype=np.int64)
    np.maximum.at(highest, points.session, points.step)
    return highest


def _are_last(chosen: Points, points: Points) -> np.ndarray:
    """Whether its session logged nothing of the metric after a value."""
    latest = np.zeros(len(points.sessions), dtype=np.int64)
    np.maximum.at(latest, points.session, points.time)
    last_step = _last_steps(points)[chosen.session]
    return (chosen.step == last_step) & (chosen.time == latest[chosen.session])  # type: ignore[no-any-return]


def _best_places(points: Points, mode: str, smooth: int | None) -> np.ndarray:
    """For each session the place of its best value, the earliest of equal ones; -1 where every value is NaN."""
    judged = points.value if smooth is None else smoothed(points, smooth)
    places = np.flatnonzero(~np.isnan(points.value) & ~np.isnan(judged))
    session = points.session[places]
    groups = Groups(session, judged[places], len(points.sessions))
    best = groups.min if mode == "min" else groups.max
    places = places[judged[places] == best[session]]  # ascending: of equal ones the earliest comes first
    best_places = np.full(len(points.sessions), -1, dtype=np.int64)
    best_places[points.session[places[::-1]]] = places[::-1]
    return best_places


def smoothed(points: Points, k: int) -> np.ndarray:
    """The centred rolling mean of `k` points of each session, shorter at its ends; NaN are left out of it."""
    longest = int(np.bincount(points.session).max()) if len(points) else 0
    k = min(k, 2 * longest + 1)  # from there on each window is the whole run
    total, count = np.zeros(len(points)), np.zeros(len(points))
    places = np.arange(len(points))
    for offset in range(-(k // 2), (k - 1) // 2 + 1):
        beside = (places + offset).clip(0, max(len(points) - 1, 0))
        counts = (beside == places + offset) & (points.session[beside] == points.session)
        counts &= ~np.isnan(points.value[beside])
        total[counts] += points.value[beside][counts]
        count += counts
    with np.errstate(invalid="ignore"):
        means: np.ndarray = total / count
    return means


def _at(store: Store, curves: Curves, chosen: Points, has_best: np.ndarray, name: str) -> Columns:
    """The value of another metric at the chosen steps, and how many steps before it was logged."""
    other = keep_last(read_points(store, curves.points.sessions, [name]), curves.attempts)
    if not len(other):
        check_known(store, [name])
    axis = axes.metric(chosen, other, curves.attempts)
    value = columns_of.numbers(np.where(has_best, axis.x, np.nan), whole=axis.integers)
    assert axis.lag is not None
    return {name: value, f"{name}_lag": columns_of.lags(np.where(has_best, axis.lag, axes.NOT_PAIRED))}
