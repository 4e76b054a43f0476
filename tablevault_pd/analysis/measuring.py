"""Measures of many versions, read column by column, and how they changed from one version to another."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.analysis import statistics
from tablevault_pd.analysis.alignment import align
from tablevault_pd.analysis.measures import (
    Measure,
    MissingColumn,
    UnreadableMeasure,
    as_floats,
    differences,
    is_truth,
)
from tablevault_pd.analysis.result_cache import remembered
from tablevault_pd.analysis.sides import Side
from tablevault_pd.analysis.slices import rows_by_cells
from tablevault_pd.analysis.statistics import DRAWS, FRAME_DRAWS, NOTHING, Effect
from tablevault_pd.analysis.summary import ALL
from tablevault_pd.analysis.version_columns import VersionColumns, columns_by_version
from tablevault_pd.code import function_key
from tablevault_pd.errors import (
    InvalidInput,
    SessionStopped,
    StoreUnavailable,
    VaultBusy,
    VaultClosed,
    VersionNotFound,
)
from tablevault_pd.keys.key import key_labels
from tablevault_pd.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    import pandas as pd

    from tablevault_pd.analysis.makings import Making
    from tablevault_pd.store import Store, Version

_NOT_OF_A_VERSION = (SessionStopped, VaultClosed, VaultBusy, StoreUnavailable)


PER = ("version", "session", "day")  #: what a trend may have one point for


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of :meth:`Vault.trend`, checked."""

    measures: tuple[Measure, ...]
    by: tuple[Hashable, ...]
    per: str
    baseline: str | int | None
    band: str | None


@dataclass(frozen=True, slots=True)
class Point:
    """A measure of one slice of one version."""

    value: float
    n: int | None
    lo: float = math.nan
    hi: float = math.nan
    error: str | None = None

    @property
    def against_itself(self) -> tuple[Effect, int]:
        """How it changed from its own version, of which all rows are pairs."""
        if math.isnan(self.value):
            return NOTHING, 0
        return Effect(0.0, 0.0, 0.0, 1.0, "equal rows"), self.n or 0


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line of the answer, with what it is about."""

    version: Version
    measure: Measure
    slice: str
    point: Point
    making: Making | None = None  #: who made the version, where it is not its writer


@dataclass(frozen=True, slots=True, eq=False)
class About:
    """What a trend is about; it leaves the process without its vault."""

    store: Store
    flush: Callable[[], None]
    options: Asked

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()


def _nothing() -> None:
    """What is left of it in another process."""


class Measuring:
    """Measures of many versions, read column by column."""

    def __init__(self, store: Store, versions: Sequence[Version], options: Asked) -> None:
        self.store = store
        self.asked = options
        self.versions = list(versions)
        self.wrong: InvalidInput | None = None  # what is the matter with a measure, and not with one version
        readable = [version for version in versions if not version.gone]
        self._columns = columns_by_version(store, readable)
        self._count: Callable[[int], object] = _count_nothing  # draws that measured a frame again
        self._drawn = 0

    def lines(self) -> Iterator[Line]:
        """Each version, measure and slice."""
        with Bar("measuring", total=len(self.versions), unit="versions") as bar:
            for version in self.versions:
                for measure in self.asked.measures:
                    for name, point in self._tried(version, measure):
                        yield Line(version, measure, name, point)
                bar()

    @contextmanager
    def drawing(self, what: str, effects: int) -> Iterator[None]:
        """Show how far so many calls of :meth:`effect` have come."""
        with Bar(what, total=effects * FRAME_DRAWS, unit="draws") as bar:
            self._count = bar
            try:
                yield
            finally:
                self._count = _count_nothing

    def _tried(self, version: Version, measure: Measure) -> list[tuple[str, Point]]:
        try:
            key = self.key(version, measure)
            points: list[tuple[str, Point]] = remembered(
                self.store, key, lambda: self._points(version, measure)
            )
            return points
        except _NOT_OF_A_VERSION:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a measure raises is that version's error
            if isinstance(error, (MissingColumn, UnreadableMeasure)):
                self.wrong = error
            return [(ALL, Point(math.nan, None, error=f"{type(error).__name__}: {error}"))]

    def _points(self, version: Version, measure: Measure) -> list[tuple[str, Point]]:
        return [(name, self._point(version, measure, rows)) for name, rows in self.slices(version)]

    def key(self, version: Version, measure: Measure, *more: Hashable) -> Hashable | None:
        """The content of a version and the code of a measure."""
        code = f"text {measure.given}" if measure.is_text else function_key(measure.given)
        if code is None or version.gone or (measure.is_text and "@" in measure.given):
            return None
        content = (version.list_id, version.generation, version.total, version.erased, version.schema_id)
        return (*content, code, self.asked.by, self.asked.band, *more)

    def columns(self, version: Version) -> VersionColumns:
        """The columns that a version shows the first rows of."""
        if version.gone:
            raise VersionNotFound.vacuumed(version.list, version.version)
        return self._columns[version.list_id, version.version]

    def values(self, version: Version, measure: Measure) -> Any:
        """The measure's values for each row of a version, or one number."""
        columns = self.columns(version)
        if measure.is_rowwise(columns.names):
            whole = columns.kept(
                ("values", measure.given), lambda: self._values(columns, measure, columns.longest.shown)
            )
            return whole if isinstance(whole, float) else whole.iloc[: version.shown]
        return self._values(columns, measure, version.shown)

    def _values(self, columns: VersionColumns, measure: Measure, rows: int) -> Any:
        labels = measure.columns(columns.names)
        frame = (
            columns.frame(rows) if labels is None else columns.read(_in_order(columns.labels, labels), rows)
        )
        return measure.values(frame)

    def slices(self, version: Version) -> list[tuple[str, np.ndarray | None]]:
        """All rows of a version (None), and those of each value of `by`."""
        labels = list(self.asked.by)
        if not labels:
            return [(ALL, None)]
        columns = self.columns(version)
        lacking = [label for label in labels if label not in columns.labels]
        if lacking:
            message = str(columns.names.unknown(lacking[0])).replace("The filter names", "by= names", 1)
            points = f" For one point of each {lacking[0]}: per={lacking[0]!r}." if lacking[0] in PER else ""
            raise MissingColumn(message + points)
        keys = columns.read(labels, version.shown).reset_index(drop=True)
        groups = rows_by_cells(keys, labels, "by=")
        named_slices: list[tuple[str, np.ndarray | None]] = [(ALL, None)]
        for values, rows in groups.items():
            cells = values if isinstance(values, tuple) else (values,)
            named_slices.append(
                (
                    ", ".join(f"{label}={cell}" for label, cell in zip(labels, cells, strict=True)),
                    np.asarray(rows),
                )
            )
        return named_slices

    def _point(self, version: Version, measure: Measure, rows: np.ndarray | None) -> Point:
        values = self.values(version, measure)
        band = self.asked.band is not None
        if isinstance(values, float):
            return self._point_of_frame(version, measure, rows, values)
        known_values = _known(values if rows is None else values.iloc[rows])
        lo, hi = statistics.bootstrap_interval(known_values) if band else (math.nan, math.nan)
        return Point(float(known_values.mean()) if len(known_values) else math.nan, len(known_values), lo, hi)

    def _point_of_frame(
        self, version: Version, measure: Measure, rows: np.ndarray | None, value: float
    ) -> Point:
        frame: pd.DataFrame = self.columns(version).frame(version.shown)
        if rows is not None:
            frame = frame.iloc[rows]
            value = _one(measure.values(frame))
        size = len(frame)
        if self.asked.band is None or size < 2:
            return Point(value, size)
        generator = np.random.default_rng(0)
        drawn = [
            _one(measure.values(frame.iloc[generator.integers(0, size, size)])) for _ in range(FRAME_DRAWS)
        ]
        lo, hi = np.nanquantile(drawn, [0.025, 0.975])
        return Point(value, size, float(lo), float(hi))

    # -- differences

    def effect(
        self, old: Version, new: Version, measure: Measure, slice_name: str, *, draws: int = DRAWS
    ) -> tuple[Effect, int]:
        """(how a measure changed from one version to another, the number of pairs that tell it)."""
        old_key, new_key = (self.key(version, measure) for version in (old, new))
        key = None if old_key is None or new_key is None else ("effect", old_key, new_key, slice_name, draws)
        self._drawn = 0
        effect: tuple[Effect, int] = remembered(
            self.store, key, lambda: self._effect(old, new, measure, slice_name, draws)
        )
        self._count(FRAME_DRAWS - self._drawn)
        return effect

    def _effect(
        self, old: Version, new: Version, measure: Measure, name: str, draws: int
    ) -> tuple[Effect, int]:
        a, b = self.values(old, measure), self.values(new, measure)
        rows_a, rows_b = (
            dict(self.slices(version)).get(name, np.empty(0, np.intp)) for version in (old, new)
        )
        if isinstance(a, float) or isinstance(b, float):
            return self._effect_of_frames(old, new, measure, (rows_a, rows_b))
        if old.generation == new.generation and old.total <= new.total:
            return _appended(
                a if rows_a is None else a.iloc[rows_a], b if rows_b is None else b.iloc[rows_b]
            ), 0
        pairs = self._pairs(old, new)
        if pairs is None:
            return statistics.independent_effect(_known(a, rows_a), _known(b, rows_b)), 0
        at_a, at_b = _within(pairs, rows_a)
        one, two = a.iloc[at_a], b.iloc[at_b]
        both = (one.notna().to_numpy()) & (two.notna().to_numpy())
        moved = differences(one[both], two[both])
        truth = is_truth(one) and is_truth(two)
        return statistics.effect_of(moved, truth=truth, draws=draws), len(moved)

    def _effect_of_frames(
        self, old: Version, new: Version, measure: Measure, rows: tuple[np.ndarray | None, np.ndarray | None]
    ) -> tuple[Effect, int]:
        pairs = self._pairs(old, new)
        frames = [self.columns(version).frame(version.shown) for version in (old, new)]
        if pairs is None:
            a, b = (
                _one(measure.values(frame if at is None else frame.iloc[at]))
                for frame, at in zip(frames, rows, strict=True)
            )
            return Effect(b - a, math.nan, math.nan, math.nan, ""), 0
        at_a, at_b = _within(pairs, rows[0])
        sides = [frames[0].iloc[at_a], frames[1].iloc[at_b]]

        def value(drawn: np.ndarray | None) -> tuple[float, float]:
            a, b = (_one(measure.values(side if drawn is None else side.iloc[drawn])) for side in sides)
            if drawn is not None:
                self._drawn += 1
                self._count(1)
            return a, b

        return statistics.resampled_effect(len(at_a), value, draws=FRAME_DRAWS), len(at_a)

    def _pairs(self, old: Version, new: Version) -> tuple[np.ndarray, np.ndarray] | None:
        """The rows of both that are the same; None where nothing says which."""
        try:
            sides = [self._side(version) for version in (old, new)]
            aligned = align(self.store, sides, None)
        except InvalidInput:
            return None
        both = (aligned.rows[0] >= 0) & (aligned.rows[1] >= 0)
        return aligned.rows[0][both], aligned.rows[1][both]

    def _side(self, version: Version) -> Side:
        return Side.of_version(self.store, version, columns=self._key_columns(version))

    def _key_columns(self, version: Version) -> list[Hashable]:
        """The columns by which rows of this list are told apart: those of the key that it has now."""
        head = self.store.head(version.list) or version
        key = set(key_labels(self.store.schema(head.schema_id)))
        return [label for label in self.columns(version).labels if label in key]


def _count_nothing(steps: int) -> None:
    """Count draws that nobody looks at."""


def _in_order(labels: list[Hashable], chosen: frozenset[Hashable]) -> list[Hashable]:
    return [label for label in labels if label in chosen]


def _known(values: pd.Series[Any], rows: np.ndarray | None = None) -> np.ndarray:
    """The values that are not missing."""
    floats = as_floats(values if rows is None else values.iloc[rows])
    return np.asarray(floats[~np.isnan(floats)])


def _one(value: Any) -> float:
    return value if isinstance(value, float) else math.nan


def _within(pairs: tuple[np.ndarray, np.ndarray], rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    keep = slice(None) if rows is None else np.isin(pairs[0], rows)
    return pairs[0][keep], pairs[1][keep]


def _appended(old: pd.Series[Any], new: pd.Series[Any]) -> Effect:
    """What rows that were added did to the mean: they are compared with those before them."""
    before, after = _known(old), _known(new)
    added = after[len(before) :]
    if not len(before) or not len(added):
        return NOTHING if not len(before) else Effect(0.0, 0.0, 0.0, 1.0, "no rows added")
    share = len(added) / len(after)
    effect = statistics.independent_effect(before, added)
    return Effect(effect.delta * share, effect.lo * share, effect.hi * share, effect.p, effect.test)
