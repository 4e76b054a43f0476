"""Sessions with logged values at chosen times, written straight to the store: no thread, no clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.store import NO_STEP, Beat, Measures, Session, Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value = (
    tuple[int | None, float] | tuple[int | None, float, float]
)  #: step, value, seconds since the session began


def record(
    store: Store,
    values: Mapping[str, Sequence[Value]] | Sequence[Mapping[str, Sequence[Value]]],
    *,
    name: str = "train",
    params: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    pauses: Sequence[tuple[float, float]] = (),
) -> Session:
    """One finished session that logged `values` by metric; several mappings are its attempts."""
    attempts = [values] if isinstance(values, dict) else list(values)
    given = Session(name, "ann", "node", 1, datetime.now(UTC), params=dict(params or {}), tags=tuple(tags))
    session = store.open_session(given)
    for number, by_metric in enumerate(attempts):
        if number:
            (stopped,) = store.sessions([session.id])
            store.reopen_session(replace(stopped, info={}), last_beat=stopped.heartbeat)
        store.beat([_beat(session, number, by_metric, () if number else pauses)])
    (found,) = store.sessions([session.id])
    return found


def _beat(
    session: Session,
    attempt: int,
    by_metric: Mapping[str, Sequence[Value]],
    pauses: Sequence[tuple[float, float]],
) -> Beat:
    timeline: dict[str, Any] = {}
    steps = [value[0] for values in by_metric.values() for value in values if value[0] is not None]
    if steps:
        timeline["first_step"] = min(steps)
    if pauses:
        timeline["pauses"] = [[_at(session, start), _at(session, stop)] for start, stop in pauses]
    measures = tuple(
        _measures(session, metric, values, attempt) for metric, values in by_metric.items() if values
    )
    return Beat(
        session.id, attempt + 1, measures=measures, attempt=attempt, timeline=timeline, outcome="finished"
    )


def _measures(session: Session, metric: str, values: Sequence[Value], attempt: int) -> Measures:
    steps = [NO_STEP if value[0] is None else value[0] for value in values]
    times = [_at(session, value[2] if len(value) == 3 else number) for number, value in enumerate(values)]
    return Measures(
        session.id,
        metric,
        np.array(steps, dtype=np.int64),
        np.array(times, dtype=np.int64),
        np.array([value[1] for value in values], dtype=np.float64),
        attempt,
        0,
    )


def _at(session: Session, seconds: float) -> int:
    return (session.started + timedelta(seconds=seconds) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )
