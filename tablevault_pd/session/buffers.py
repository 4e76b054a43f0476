"""What a session has to tell and has not told yet. Filled by the user's threads, emptied by the background thread."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from tablevault_pd.errors import InvalidInput, shown
from tablevault_pd.store import NO_STEP, Measures

MAX_ROWS = 1_000_000  # so many logged rows may wait; some 300 MB

#: (step, seconds since 1970, values by metric)
Row = tuple[int | None, float, dict[str, float]]


def number(metric: str, value: Any) -> float:
    """A logged value as a float: numbers, and arrays and tensors of one. Raises InvalidInput naming the metric."""
    try:
        if not isinstance(value, (str, bytes)):
            return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidInput(
        f"log() keeps numbers, and {metric}={shown(value)} is none. Texts and settings belong in params or tags."
    )


def whole(step: Any) -> int:
    """A step as an int. Raises InvalidInput."""
    try:
        found = int(step)
        if found == step and NO_STEP < found < -NO_STEP:
            return found
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidInput(f"step= is a whole number, not {shown(step)}.")


def drained(rows: deque[Row]) -> list[Row]:
    """All rows that are there now, taken out. A deque needs no lock for that, whoever adds to it meanwhile."""
    return [rows.popleft() for _ in range(len(rows))]


def packed(session_id: int, rows: list[Row], offset_s: float) -> tuple[Measures, ...]:
    """Rows as one array per metric, their times moved by `offset_s` to the store's clock."""
    by_metric: dict[str, tuple[list[int], list[float], list[float]]] = {}
    for step, time, values in rows:
        for metric, value in values.items():
            found = by_metric.get(metric)
            if found is None:
                found = by_metric[metric] = ([], [], [])
            found[0].append(NO_STEP if step is None else step)
            found[1].append(time)
            found[2].append(value)
    return tuple(
        Measures(
            session_id,
            metric,
            np.array(steps, dtype=np.int64),
            ((np.array(times) + offset_s) * 1e6).astype(np.int64),
            np.array(values, dtype=np.float64),
        )
        for metric, (steps, times, values) in by_metric.items()
    )
