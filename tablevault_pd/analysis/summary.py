"""What a comparison comes to: one line per measure, slice and other side, with interval, test and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis import statistics
from tablevault_pd.analysis.measures import Measure, as_floats, differences, is_truth, unboxed
from tablevault_pd.analysis.slices import rows_by_cells
from tablevault_pd.analysis.statistics import DRAWS, NOTHING, Effect, holm
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.reading.reports import typed

if TYPE_CHECKING:
    from collections.abc import Hashable

ALL = "all"
_COUNTS = ("n_pairs", "n_missing", "n_only_a", "n_only_b")
_FLOATS = ("a", "b", "delta", "lo", "hi", "p", "p_holm")


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure of a comparison, and what the columns of its values are called before ``_a``."""

    measure: Measure
    prefix: str
    whole: bool = False  #: one number for a frame, which has no columns


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns of a comparison are."""

    names: tuple[str, ...]  #: of the sides, the reference first
    keys: tuple[Hashable, ...]  #: the columns that became the index
    data: dict[str, Hashable]  #: each column of the sides under its name before ``_a``
    measured: tuple[Measured, ...]
    by: tuple[Hashable, ...]
    margin: float | None

    def letter(self, side: int) -> str:
        """How the columns of a side end."""
        return chr(ord("a") + side)

    def suffix(self, side: int) -> str:
        """How ``status`` and ``flip`` of a side end: with two sides there is one of each."""
        return "" if len(self.names) == 2 else f"_{self.letter(side)}"


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """The rows of a comparison that one side and the reference have, and one slice of them."""

    frame: pd.DataFrame
    layout: Layout
    side: int

    def column(self, name: str) -> pd.Series[Any]:
        if name not in self.frame.columns:
            raise InvalidInput(
                f"This comparison has lost its column {short_repr(name)}. Ask for the summary before columns are dropped or renamed."
            )
        return self.frame[name]

    @property
    def status(self) -> np.ndarray:
        return np.asarray(self.column(f"status{self.layout.suffix(self.side)}").astype(object))

    def take(self, rows: np.ndarray) -> _Lines:
        return _Lines(self.frame[rows], self.layout, self.side)


def summary(frame: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Sum up the rows that a comparison has now."""
    slices = _slices(frame, layout)
    sides = range(1, len(layout.names))
    measured = layout.measured or (None,)
    tests = max(len(slices) * len(sides) * len(measured), 1)
    lines = [
        _line(_Lines(frame, layout, side).take(rows), one_measured, name, draws=max(DRAWS, 40 * tests))
        for one_measured in measured
        for side in sides
        for name, rows in slices
    ]
    table = pd.DataFrame(lines)
    table["p_holm"] = holm(table["p"].to_numpy(np.float64))
    return _typed(table)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name in (
        "measure", "slice", "reference", "other", *_COUNTS, "a", "b", "delta", "lo", "hi", "p", "p_holm", "test",
        "fixed", "broken", "churn", "equivalent",
    ):  # fmt: skip
        values = table[name].tolist()
        if name in _COUNTS or name in ("fixed", "broken"):
            columns[name] = pd.array(values, dtype="Int64")
        elif name == "equivalent":
            columns[name] = pd.array(values, dtype="boolean")
        elif name in _FLOATS or name == "churn":
            columns[name] = np.array(values, np.float64)
        else:
            columns[name] = typed(name, values)
    return pd.DataFrame(columns)


def _slices(frame: pd.DataFrame, layout: Layout) -> list[tuple[str, np.ndarray]]:
    """All rows, then those of each value of the columns in `by`, under a text such as ``topic=sport``."""
    slices = [(ALL, np.ones(len(frame), bool))]
    if not layout.by:
        return slices
    keys = pd.DataFrame({number: by_values(frame, layout, label) for number, label in enumerate(layout.by)})
    for values, rows in rows_by_cells(keys, layout.by, "by=").items():
        cells = values if isinstance(values, tuple) else (values,)
        name = ", ".join(f"{label}={cell}" for label, cell in zip(layout.by, cells, strict=True))
        mask = np.zeros(len(frame), bool)
        mask[rows] = True
        slices.append((name, mask))
    return slices


def by_values(frame: pd.DataFrame, layout: Layout, label: Hashable) -> np.ndarray:
    """The value of a column for each row: that of the reference, where it has the row, else that of another side."""
    if label in frame.index.names:
        return np.asarray(level_of(frame.index, label).astype(object))
    prefix = next(name for name, data_label in layout.data.items() if data_label == label)
    cells = np.full(len(frame), None, dtype=object)
    for side in range(len(layout.names)):
        name = f"{prefix}_{layout.letter(side)}"
        if name in frame.columns:
            values = frame[name]
            fresh = pd.isna(cells) & values.notna().to_numpy()
            cells[fresh] = values.astype(object).to_numpy()[fresh]
    return cells


def level_of(index: pd.Index, label: Hashable) -> pd.Index:
    """The level of an index that is called so."""
    return index.get_level_values(index.names.index(label))


def _line(lines: _Lines, measured: Measured | None, name: str, *, draws: int) -> dict[str, Any]:
    layout, status = lines.layout, lines.status
    pairs = np.isin(status, ("same", "changed"))
    line = {
        "measure": None if measured is None else measured.measure.name,
        "slice": name,
        "reference": layout.names[0],
        "other": layout.names[lines.side],
        "n_pairs": int(pairs.sum()),
        "n_missing": 0,
        "n_only_a": int((status == "removed").sum()),
        "n_only_b": int((status == "added").sum()),
        "a": np.nan,
        "b": np.nan,
        "fixed": None,
        "broken": None,
    }
    if measured is None:
        changed = float((status[pairs] == "changed").mean()) if pairs.any() else np.nan
        return line | {"churn": changed} | _effect(NOTHING)
    if measured.whole:
        return line | _of_frames(lines.take(pairs), measured.measure)
    return line | _of_rows(lines.take(pairs), measured, draws=draws)


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "delta": effect.delta,
        "lo": effect.lo,
        "hi": effect.hi,
        "p": effect.p,
        "test": effect.test or None,
        "equivalent": effect.equivalent,
    }


def _of_rows(lines: _Lines, measured: Measured, *, draws: int) -> dict[str, Any]:
    a, b = (
        unboxed(lines.column(f"{measured.prefix}_{lines.layout.letter(side)}")) for side in (0, lines.side)
    )
    is_known = (a.notna() & b.notna()).to_numpy()
    truth = is_truth(a) and is_truth(b)
    a, b = a[is_known], b[is_known]
    x, y, moved = as_floats(a), as_floats(b), differences(a, b)
    effect = statistics.effect_of(moved, truth=truth, margin=lines.layout.margin, draws=draws)
    size = len(x)
    return {
        "n_pairs": size,
        "n_missing": len(is_known) - size,
        "a": float(x.mean()) if size else np.nan,
        "b": float(y.mean()) if size else np.nan,
        "fixed": int((moved > 0).sum()) if truth else None,
        "broken": int((moved < 0).sum()) if truth else None,
        "churn": float(((moved != 0) & ~np.isnan(moved)).mean()) if size else np.nan,
    } | _effect(effect)


def _of_frames(lines: _Lines, measure: Measure) -> dict[str, Any]:
    """A number for a whole frame: the frames of the pairs are put together again, and drawn from."""
    sides = [side_frame(lines.frame, lines.layout, side) for side in (0, lines.side)]

    def value(rows: np.ndarray | None) -> tuple[float, float]:
        numbers = [measure.values(side if rows is None else side.iloc[rows]) for side in sides]
        return tuple(number if isinstance(number, float) else np.nan for number in numbers)  # type: ignore[return-value]

    if not len(sides[0]):
        return {"churn": np.nan} | _effect(NOTHING)
    a, b = value(None)
    effect = statistics.resampled_effect(len(sides[0]), value, margin=lines.layout.margin)
    return {"a": a, "b": b, "churn": np.nan} | _effect(effect)


def side_frame(frame: pd.DataFrame, layout: Layout, side: int) -> pd.DataFrame:
    """One side's own columns of the rows of a comparison, under their own names, keys included."""
    letter = layout.letter(side)
    columns: dict[Hashable, Any] = {label: level_of(frame.index, label) for label in layout.keys}
    for prefix, label in layout.data.items():
        if f"{prefix}_{letter}" in frame.columns:
            columns[label] = frame[f"{prefix}_{letter}"]
    return pd.DataFrame(columns, index=frame.index)
