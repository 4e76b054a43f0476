"""Logged values as arrays: which session, metric, step and attempt each belongs to, in one settled order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tablevault_pd.frames.buffers import own_numbers, repeated
from tablevault_pd.reading.integers import integers_among, whole
from tablevault_pd.store import NO_STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Attempt, SessionLabel, Store

LAST = np.iinfo(np.int64).max  #: where values without a step are sorted


@dataclass(frozen=True, slots=True)
class Points:
    """Logged values, in order of session, metric, step (those without one last), attempt, and as logged."""

    sessions: Sequence[SessionLabel]  #: oldest first
    metrics: Sequence[str]
    session: np.ndarray  #: int64: number in `sessions`
    metric: np.ndarray  #: int64: number in `metrics`
    step: np.ndarray  #: int64; NO_STEP where none was given
    time: np.ndarray  #: int64: microseconds since 1970, UTC
    value: np.ndarray  #: float64
    attempt: np.ndarray  #: int64
    integers: frozenset[str] = frozenset()  #: metrics of which nothing but integers was logged

    def are_integers(self, metric: int) -> bool:
        """Whether a metric, by its number, was logged as integers alone."""
        return self.metrics[metric] in self.integers

    def __len__(self) -> int:
        return len(self.value)

    def take(self, which: np.ndarray) -> Points:
        """Return those at some places, or where a mask is true, in that order."""
        return replace(
            self,
            session=self.session[which],
            metric=self.metric[which],
            step=self.step[which],
            time=self.time[which],
            value=self.value[which],
            attempt=self.attempt[which],
        )

    @property
    def curve(self) -> np.ndarray:
        """For each value the number of its curve: session and metric in one, ascending."""
        if len(self.metrics) == 1:
            return self.session
        return np.asarray(self.session * len(self.metrics) + self.metric)

    @property
    def steps(self) -> np.ndarray:
        """The step of each value; LAST where it has none."""
        if not len(self) or self.step.min() != NO_STEP:
            return self.step
        return np.where(self.has_step, self.step, LAST)

    @property
    def has_step(self) -> np.ndarray:
        """Whether each value was logged with a step."""
        return np.asarray(self.step != NO_STEP)


def read_points(
    store: Store, sessions: Sequence[SessionLabel] | None, metrics: Sequence[str] | None = None
) -> Points:
    """Read the values of some metrics (None: all) that some sessions (None: all) logged, each as often as it was."""
    table = store.measures(None if sessions is None else [label.id for label in sessions], metrics=metrics)
    ids = table.column("session").to_numpy()  # ascending
    starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])) if len(ids) else np.zeros(0, np.int64)
    labels = store.session_labels(ids[starts].tolist()) if sessions is None else sessions
    labels = sorted(labels, key=lambda session: session.id)
    places = np.searchsorted(np.array([session.id for session in labels], dtype=np.int64), ids[starts])
    coded: pa.DictionaryArray = table.column("metric").combine_chunks()
    if isinstance(coded, pa.ChunkedArray):  # one without chunks
        coded = pa.array([], coded.type)
    words = coded.dictionary.to_pylist()
    names = sorted(words) if metrics is None else list(dict.fromkeys(metrics))
    place = {name: number for number, name in enumerate(names)}
    numbers = np.array([place[word] for word in words], dtype=np.int64)
    step = table.column("step")
    points = Points(
        labels,
        names,
        own_numbers(repeated(places, np.diff(starts, append=len(ids)), pa.int64())),
        _metrics(coded, numbers),
        _numbers(step if not step.null_count else step.fill_null(NO_STEP)),
        _numbers(table.column("time").cast(pa.int64())),
        _numbers(table.column("value")),
        _numbers(table.column("attempt")),
    )
    return _sorted(replace(points, integers=_integers(store, points)))


def _integers(store: Store, points: Points) -> frozenset[str]:
    """The metrics that were logged as integers alone. Only where all values are whole is the store asked for it."""
    first = np.flatnonzero(np.append(True, np.diff(points.curve) != 0)) if len(points) else np.zeros(0, int)
    metric = points.metric[first]
    candidates = np.zeros(len(points.metrics), bool)
    candidates[np.setdiff1d(metric, metric[~whole(points.value[first])])] = True
    if candidates.any():
        candidates[points.metric[~whole(points.value)]] = False
    first = first[candidates[metric]]
    session_ids = np.array([session.id for session in points.sessions], np.int64)[points.session[first]]
    return frozenset(
        integers_among(store, points.metrics, points.metric[first], session_ids, points.value[first])
    )


def _metrics(coded: pa.DictionaryArray, numbers: np.ndarray) -> np.ndarray:
    """The number of the metric of each value."""
    if len(numbers) == 1:
        return np.broadcast_to(numbers[0], len(coded))
    if not len(numbers):
        return np.zeros(0, np.int64)
    return np.asarray(numbers[coded.indices.to_numpy(zero_copy_only=False)])


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column without missing values as an array that may be written to: a store's answer is ours, and is not copied again."""
    return own_numbers(column.chunk(0)) if column.num_chunks == 1 else np.asarray(column.to_numpy())


def keep_last(points: Points, attempts: Sequence[Attempt]) -> Points:
    """Count each step once: what a later attempt logged again, or resumed before, is dropped; then the later value counts.

    An attempt begins at its first step, of whatever metric. Values without a step are all kept.
    """
    if len(points) and any(attempt.attempt for attempt in attempts):
        points = points.take(~points.has_step | (points.step < _resumed_at(points, attempts)))
    step, curve = points.step, points.curve
    again = (step[1:] == step[:-1]) & (curve[1:] == curve[:-1]) & (step[1:] != NO_STEP)
    return points.take(np.append(~again, True)) if again.any() else points


def _resumed_at(points: Points, attempts: Sequence[Attempt]) -> np.ndarray:
    """For each value the lowest step at which a later attempt of its session began."""
    width = max(int(points.attempt.max()), max(attempt.attempt for attempt in attempts)) + 2
    place = {session.id: number for number, session in enumerate(points.sessions)}
    began = np.full((len(points.sessions), width), LAST, dtype=np.int64)
    for attempt in attempts:
        if attempt.session_id in place and attempt.first_step is not None:
            began[place[attempt.session_id], attempt.attempt] = attempt.first_step
    # The minimum over the attempts after each.
    resumed = np.minimum.accumulate(began[:, ::-1], axis=1)[:, ::-1]
    resumed_at: np.ndarray = resumed[points.session, points.attempt + 1]
    return resumed_at


def _sorted(points: Points) -> Points:
    """Sort as :class:`Points` says. Most curves come in order: that is found out at a tenth of the cost."""
    keys = (points.attempt, points.steps, points.curve)
    return points if _ascending(keys) else points.take(np.lexsort(keys))


def _ascending(keys: Sequence[np.ndarray]) -> bool:
    """Tell whether rows are sorted by the last key, then the one before it, and so on."""
    broken, tied = False, None
    for key in reversed(keys):
        falls, same = key[1:] < key[:-1], key[1:] == key[:-1]
        broken = bool(falls.any() if tied is None else (falls & tied).any())
        if broken:
            return False
        tied = same if tied is None else same & tied
        if not tied.any():
            return True  # nothing is left to be told apart
    return True
