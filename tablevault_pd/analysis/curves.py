"""The values that are asked for, each step as often as asked, with what they are plotted against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.analysis import axes
from tablevault_pd.analysis.points import Points, keep_last, read_points
from tablevault_pd.errors import InvalidInput, did_you_mean, short_repr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.analysis.axes import Axis
    from tablevault_pd.store import Attempt, SessionLabel, Store

SHOWN_NAMES = 20


@dataclass(frozen=True, slots=True)
class Curves:
    """Values with their x, in order of session, metric, x, step, attempt, and as logged."""

    points: Points
    axis: Axis
    attempts: Sequence[Attempt]  #: of the sessions that were resumed


def read_curves(
    store: Store, sessions: Sequence[SessionLabel] | None, names: Sequence[str] | None, *, x: str, last: bool
) -> Curves:
    """Read metrics of sessions (None: all), each step once or as often as it was logged."""
    points = read_points(store, sessions, names)
    timelines = None
    if x == "active" or any(session.attempt for session in points.sessions):
        timelines = store.timelines([session.id for session in points.sessions])
    attempts = [] if timelines is None else timelines.attempts
    if last:
        points = keep_last(points, attempts)
    if x == "step":
        axis = axes.steps(points)
    elif x in axes.TIMES:
        axis = axes.times(points, x, timelines)
    else:
        axis = axes.metric(points, read_points(store, points.sessions, [x]), attempts)
    order = None if x == "step" else _order(points, axis)  # they are in the order of steps
    if order is not None:
        lag = None if axis.lag is None else axis.lag[order]
        points, axis = points.take(order), replace(axis, x=axis.x[order], lag=lag)
    return Curves(points, axis, attempts)


def _order(points: Points, axis: Axis) -> np.ndarray | None:
    """The order of x, those without one last, inside of each curve; None where values are in it already."""
    curve, x = points.curve, axis.x
    if ((x[1:] >= x[:-1]) | (curve[1:] != curve[:-1])).all():
        return None
    return np.lexsort((x, curve))  # NaN is last


def metric_names(store: Store, names: Any) -> list[str] | None:
    """Return the metrics that a caller names, by names or patterns; None for all. Raises InvalidInput for unknown ones."""
    if names is None:
        return None
    given = [names] if isinstance(names, str) else list(names)
    logged = store.metric_names() if any(set("*?[") & set(name) for name in given) else []
    chosen: list[str] = []
    for name in given:
        fits = [name] if name in logged or not set("*?[") & set(name) else []
        chosen += fits or [metric for metric in logged if fnmatchcase(metric, name)]
    return list(dict.fromkeys(chosen))


def check_known(store: Store, names: Sequence[str]) -> None:
    """Raise InvalidInput for a metric that no session of the vault has logged. Asked where nothing was found."""
    metric_names = store.metric_names()
    for name in names:
        if name not in metric_names:
            raise unknown("metric", name, metric_names)


def unknown(kind: str, name: str, there: Sequence[str]) -> InvalidInput:
    """The error for a metric or parameter that no session of the vault has."""
    some = ", ".join(map(short_repr, there[:SHOWN_NAMES])) + (", …" if len(there) > SHOWN_NAMES else "")
    hint = did_you_mean(name, there) or (f"There are {some}." if there else f"There is no {kind} in it.")
    return InvalidInput(f"No session of this vault has the {kind} {short_repr(name)}. {hint}")
