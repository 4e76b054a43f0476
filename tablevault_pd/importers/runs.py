"""A run of another tracker as a session: kept once, however often it is imported, and brought up to date."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.session.metrics_buffer import are_integers
from tablevault_pd.store import NO_STEP, Session
from tablevault_pd.store.times import from_time
from tablevault_pd.transfer.session_copy import add_metric, logged_counts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tablevault_pd.store import Store

#: What an import tells of each run.
COLUMNS = ("source", "session", "params", "values", "rows", "left_out")


@dataclass(slots=True)
class ImportedRun:
    """What another tracker knows about a run."""

    name: str
    started: datetime
    user: str = ""
    host: str = ""
    parent: int | None = None
    ended: datetime | None = None
    outcome: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    #: by name: (step or None, time in microseconds since 1970, value: an int if it was one) of each value, in order
    metrics: Mapping[str, Sequence[tuple[int | None, int, float]]] = field(default_factory=dict)


def put_run(store: Store, run: ImportedRun) -> tuple[Session, int]:
    """Keep a run as a session, and the values that it did not have. Return the session, and how many values these are.

    It is known by its name, its start and its host.
    """
    heartbeat = run.ended or run.started
    integers = [name for name, points in run.metrics.items() if are_integers([value for *_, value in points])]
    timeline = {"began": from_time(run.started)} | ({"integers": integers} if integers else {})
    session = store.put_session(
        Session(
            run.name, run.user, run.host, 0, run.started, parent=run.parent, ended=run.ended, heartbeat=heartbeat,
            outcome=run.outcome, params=run.params, info=run.info, tags=tuple(run.tags),
        ),
        {"0": timeline},
    )  # fmt: skip
    counts = logged_counts(store, [session.id])
    added = 0
    for name, points in run.metrics.items():
        steps = np.array([NO_STEP if step is None else step for step, _, _ in points], np.int64)
        times = np.array([time for _, time, _ in points], np.int64)
        values = np.array([value for *_, value in points], np.float64)
        first = counts.get((session.id, name, 0), 0)
        add_metric(store, (session.id, name, 0), first, steps, times, values)
        added += max(len(values) - first, 0)
    return session, added


def list_name(session: Session, name: str) -> str:
    """Return what a list of a run is called: below its name, and its number too where others have that name."""
    return f"{session.name if session.run == 1 else session.label}/{name}"


def value_of(text: str) -> Any:
    """A parameter that a tracker keeps as text: a number, a truth value, a list or a dict if it is written as one."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if _is_plain(value) and not isinstance(value, str) else text


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return isinstance(value, (bool, int, float, str)) or value is None


def time_of(seconds: float) -> datetime:
    """A time from seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
