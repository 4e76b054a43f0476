"""What values are plotted against: their step, a time, or another metric of the same session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tablevault_pd.analysis.points import LAST, Points, keep_last

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tablevault_pd.store import Attempt, Timelines

TIMES = ("time", "elapsed", "active")
NOT_PAIRED = -1  #: the lag of a value that is paired with none


@dataclass(frozen=True, slots=True)
class Axis:
    """The x of each value."""

    x: np.ndarray  #: int64 for steps (LAST: none), datetime64[us] for times, else float64 (NaN: none)
    lag: np.ndarray | None = None  #: int64: steps between a value and the x it is paired with
    integers: bool = False  #: whether x is a metric that was logged as integers


def steps(points: Points) -> Axis:
    """The logged steps."""
    return Axis(points.steps)


def times(points: Points, kind: str, timelines: Timelines | None) -> Axis:
    """The time of each value: in UTC, or in seconds since its session began, perhaps without its pauses."""
    if kind == "time":
        return Axis(points.time.view("datetime64[us]"))
    began = np.array([session.started for session in points.sessions], dtype=np.int64)
    elapsed = points.time - began[points.session] if len(points) else points.time
    if kind == "active":
        assert timelines is not None
        elapsed = elapsed - _idle(points, timelines)
    return Axis(elapsed / 1e6)


def _idle(points: Points, timelines: Timelines) -> np.ndarray:
    """How many microseconds each value's session had been paused, or between two attempts, until then."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for pause in timelines.pauses:
        end = LAST if pause.ended is None else _microseconds(pause.ended)
        spans.setdefault(pause.session_id, []).append((_microseconds(pause.began), end))
    for before, after in zip(timelines.attempts, timelines.attempts[1:], strict=False):
        if before.session_id == after.session_id and before.ended is not None:
            span = (_microseconds(before.ended), _microseconds(after.began))
            spans.setdefault(before.session_id, []).append(span)
    idle = np.zeros(len(points), dtype=np.int64)
    first = np.searchsorted(points.session, np.arange(len(points.sessions) + 1))
    for number, session in enumerate(points.sessions):
        if session.id in spans:
            window = slice(first[number], first[number + 1])
            idle[window] = idle_until(points.time[window], spans[session.id])
    return idle


def idle_until(moments: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """How much of the union of `spans` lies before each moment, all in microseconds."""
    idle = np.zeros(len(moments), dtype=np.int64)
    end = -LAST
    for start, stop in sorted(spans):
        start, stop = max(start, end), max(stop, end)
        idle += np.clip(moments, start, stop) - start
        end = stop
    return idle


def metric(points: Points, x: Points, attempts: Sequence[Attempt]) -> Axis:
    """Pair each value with the value of the metric `x`, of the same session, at its step, else at the last step before it.

    One without a step is paired with what the same call logged.
    An attempt is paired with what had been logged by then: what a later attempt logged again counts for that one alone.
    """
    partner = pair(points, x, attempts)
    is_paired = partner >= 0
    if not len(x):
        return Axis(np.full(len(points), np.nan), np.full(len(points), NOT_PAIRED))
    return Axis(
        np.where(is_paired, x.value[partner], np.nan),
        np.where(is_paired, points.step - x.step[partner], NOT_PAIRED),
        x.are_integers(0),
    )


def pair(points: Points, x: Points, attempts: Sequence[Attempt]) -> np.ndarray:
    """For each value the place in `x`, a single metric, of its partner; -1 where it has none. See :func:`metric`."""
    partner = np.full(len(points), -1, dtype=np.int64)
    every, numbers = x, np.arange(len(x))[x.has_step]
    x = x.take(x.has_step)
    for attempt in np.unique(points.attempt).tolist():
        mine = np.flatnonzero((points.attempt == attempt) & points.has_step)
        by_then = np.flatnonzero(x.attempt <= attempt)
        history = _last_places(x, by_then, [other for other in attempts if other.attempt <= attempt])
        if len(history) and len(mine):
            places = _last_before(
                points.session[mine], points.step[mine], x.session[history], x.step[history]
            )
            partner[mine] = np.where(places >= 0, numbers[history[places]], -1)
    without = np.flatnonzero(~points.has_step)
    partner[without] = _of_same_call(points.take(without), every)
    return partner


def _of_same_call(points: Points, x: Points) -> np.ndarray:
    """For each value, none of which has a step, the place in `x` of what the same call logged; -1 where it logged none."""
    places = np.flatnonzero(~x.has_step)
    logged = {
        name: np.concatenate([getattr(points, name), getattr(x, name)[places]])
        for name in ("session", "attempt", "time")
    }
    call = pd.DataFrame(logged).groupby(list(logged), sort=False).ngroup().to_numpy()
    partner = np.full(len(call), -1, dtype=np.int64)
    partner[call[len(points) :]] = places
    return partner[call[: len(points)]]


def _last_places(x: Points, places: np.ndarray, attempts: Sequence[Attempt]) -> np.ndarray:
    """Those of some places in `x` that count; see :func:`keep_last`."""
    marked = x.take(places)
    # The times of the values are not needed any more: they carry the places through.
    last_values = keep_last(
        Points(
            marked.sessions, marked.metrics, marked.session, marked.metric, marked.step, places, marked.value,
            marked.attempt,
        ),
        attempts,
    )  # fmt: skip
    return last_values.time


def _last_before(
    session: np.ndarray, step: np.ndarray, x_session: np.ndarray, x_step: np.ndarray
) -> np.ndarray:
    """For each (session, step) the place of the last one at or before it among the sorted x; -1 where there is none."""
    # Steps of one session become ranks, so that session and step fit into one number.
    ranks = np.unique(np.concatenate([step, x_step]), return_inverse=True)[1]
    width = len(ranks) + 1
    keys, x_keys = session * width + ranks[: len(step)], x_session * width + ranks[len(step) :]
    places = np.searchsorted(x_keys, keys, side="right") - 1
    same = (places >= 0) & (x_session[places] == session)
    return np.where(same, places, -1)


def _microseconds(moment: datetime) -> int:
    return int(np.datetime64(moment.replace(tzinfo=None), "us").astype(np.int64))
