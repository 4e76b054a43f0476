"""Metrics of which nothing but integers was logged: the stores keep every value as a float."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tablevault_pd.store import Store


def integer_metrics(store: Store, sessions_of: Mapping[str, Collection[int]]) -> set[str]:
    """Return those of some metrics of which each of these sessions, by id, logged integers alone, in all of its attempts."""
    if not sessions_of:
        return set()
    timelines = store.timelines(sorted(set().union(*sessions_of.values())))
    # What the newest attempt says holds for those before it, too.
    integers = {
        attempt.session_id: frozenset(attempt.integers)
        for attempt in timelines.attempts
        if attempt.integers is not None
    }
    return {
        metric
        for metric, sessions in sessions_of.items()
        if sessions and all(metric in integers.get(session, ()) for session in sessions)
    }


def integers_among(
    store: Store, names: Sequence[str], metric: np.ndarray, session: np.ndarray, value: np.ndarray
) -> set[str]:
    """Return the metrics of integers; of each value its metric, by its number in `names`, and its session are given.

    The store is asked only where all values are whole.
    """
    is_whole = np.isin(metric, metric[~whole(value)], invert=True)
    sessions_of: dict[str, list[int]] = {}
    for number, session_id in zip(metric[is_whole].tolist(), session[is_whole].tolist(), strict=True):
        sessions_of.setdefault(names[number], []).append(session_id)
    return integer_metrics(store, sessions_of)


def whole(values: np.ndarray) -> np.ndarray:
    """Which floats are whole numbers of 64 bits."""
    return np.asarray(values == np.floor(values)) & (values >= -(2.0**63)) & (values < 2.0**63)


def whole_numbers(values: np.ndarray) -> pd.arrays.IntegerArray:
    """Return whole numbers that are floats as a column Int64, missing where NaN."""
    missing = np.isnan(values)
    return pd.arrays.IntegerArray(np.where(missing, 1, values).astype(np.int64), missing)
