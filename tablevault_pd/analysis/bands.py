"""``vault.bands``: the middle of several runs at each x, and how far they lie around it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis import frame_columns as columns_of
from tablevault_pd.analysis.answers import mark
from tablevault_pd.analysis.by_params import by_params
from tablevault_pd.analysis.curves import check_known, read_curves
from tablevault_pd.analysis.groups import Groups
from tablevault_pd.analysis.intervals import interval
from tablevault_pd.analysis.points import LAST
from tablevault_pd.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.analysis.curves import Curves
    from tablevault_pd.store import SessionLabel, Store


@dataclass(frozen=True, slots=True)
class Runs:
    """Values of several runs, one for each x of a run, in order of group, run and x."""

    group: np.ndarray  #: int64
    run: np.ndarray  #: int64
    x: np.ndarray
    value: np.ndarray  #: float64
    made: np.ndarray | None = None  #: bool: interpolated
    held: np.ndarray | None = None  #: bool: the run had ended, this is its last value

    def take(self, which: np.ndarray) -> Runs:
        """Return those where a mask is true."""
        made = None if self.made is None else self.made[which]
        held = None if self.held is None else self.held[which]
        return Runs(self.group[which], self.run[which], self.x[which], self.value[which], made, held)


def bands(
    store: Store,
    sessions: Sequence[SessionLabel] | None,
    metric: str,
    *,
    over: Sequence[str],
    by: Sequence[str] | None,
    x: str,
    center: str,
    band: str,
    level: float,
    grid: np.ndarray | str | None,
    ragged: str,
) -> pd.DataFrame:
    """Return the middle and the spread of groups of runs. See :meth:`Vault.bands`."""
    curves = read_curves(store, sessions, [metric], x=x, last=True)
    if not len(curves.points):
        check_known(store, [metric])
    logged = np.unique(curves.points.session)
    runs_of = store.sessions([curves.points.sessions[place].id for place in logged.tolist()])
    groups, columns = by_params(store, runs_of, over, by)
    runs = _runs(curves, groups[np.searchsorted(logged, curves.points.session)], x)
    if grid is not None:
        runs = _on_grid(runs, grid)
    if ragged == "common":
        runs = runs.take(runs.x <= _shortest(runs))
    if ragged == "hold":
        runs = _held(runs)
    whole = curves.axis.integers and not isinstance(grid, np.ndarray)
    frame = _frame(runs, columns, center, band, level, whole=whole)
    return mark(frame, "bands", f"{x}|{metric}")


def _runs(curves: Curves, group: np.ndarray, x: str) -> Runs:
    """One value for each x of a run: the last of those that share it. What has no x is left out, with a warning."""
    points, axis = curves.points, curves.axis.x
    there = (
        axis != LAST
        if axis.dtype.kind == "i"
        else ~np.isnan(axis)
        if axis.dtype.kind == "f"
        else axis == axis
    )
    lost = int((~there).sum())
    if lost and lost == len(points):
        raise InvalidInput(
            f"No value of {points.metrics[0]!r} has a {x}. x='elapsed' plots values by the time they were logged."
        )
    if lost:
        warnings.warn(f"{lost} values of {points.metrics[0]!r} have no {x}: no band has them.", stacklevel=5)
    run, axis = points.session[there], axis[there]
    order = np.lexsort([axis, run, group[there]])
    last = np.append((run[order][1:] != run[order][:-1]) | (axis[order][1:] != axis[order][:-1]), True)[
        : len(order)
    ]
    order = order[last]
    return Runs(group[there][order], run[order], axis[order], points.value[there][order])


def _starts(runs: Runs) -> np.ndarray:
    """Where each run begins, and the end of the last."""
    if not len(runs.x):
        return np.zeros(1, dtype=np.int64)
    new = np.append(True, runs.run[1:] != runs.run[:-1])
    return np.append(np.flatnonzero(new), len(runs.x))


def _on_grid(runs: Runs, grid: np.ndarray | str) -> Runs:
    """The values at the x of a grid, interpolated inside of each run's own range where it has none there."""
    if runs.x.dtype.kind == "M":
        raise InvalidInput("grid= needs x that are numbers: x='elapsed' in place of x='time'.")
    starts, parts = _starts(runs), []
    of_group = _x_of_groups(runs) if isinstance(grid, str) else {}
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        x, value, group = runs.x[start:stop], runs.value[start:stop], int(runs.group[start])
        if isinstance(grid, str):
            in_range = of_group[group]
        else:
            in_range = grid
        in_range = in_range[(in_range >= x[0]) & (in_range <= x[-1])]
        parts.append(
            (
                np.full(len(in_range), group),
                np.full(len(in_range), runs.run[start]),
                in_range,
                *_between(x, value, in_range),
            )
        )
    if not parts:
        return Runs(runs.group, runs.run, runs.x, runs.value, np.zeros(0, dtype=bool))
    group_, run, x, value, made = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Runs(group_, run, x, value, made)


def _x_of_groups(runs: Runs) -> dict[int, np.ndarray]:
    """All x that the runs of each group have, ascending."""
    numbers, first = np.unique(runs.group, return_index=True)
    bounds = np.append(first, len(runs.group)).tolist()
    return {
        number: np.unique(runs.x[start:stop])
        for number, start, stop in zip(numbers.tolist(), bounds[:-1], bounds[1:], strict=True)
    }


def _between(x: np.ndarray, value: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values at `wanted`, which lies inside of the range of x, and whether each was interpolated. NaN beside makes NaN."""
    after = np.searchsorted(x, points)
    made = x[after] != points
    before = np.where(made, after - 1, after)
    share = np.where(made, (points - x[before]) / np.where(made, x[after] - x[before], 1), 0.0)
    with np.errstate(invalid="ignore"):
        between = value[before] + (value[after] - value[before]) * share
    return np.where(value[before] == value[after], value[before], np.where(made, between, value[after])), made


def _ends(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    """The place where each run ends, and its group."""
    last = _starts(runs)[1:] - 1
    return last, runs.group[last]


def _shortest(runs: Runs) -> np.ndarray:
    """For each value the x at which the shortest run of its group ends."""
    last, group = _ends(runs)
    order = np.lexsort([runs.x[last], group])
    first = order[np.append(True, group[order][1:] != group[order][:-1])[: len(order)]]
    return np.asarray(runs.x[last][first][np.searchsorted(group[first], runs.group)])


def _held(runs: Runs) -> Runs:
    """Carry the last value of each run on to all later x of its group."""
    last, group = _ends(runs)
    parts = [
        (
            runs.group,
            runs.run,
            runs.x,
            runs.value,
            _no(runs.made, len(runs.x)),
            np.zeros(len(runs.x), dtype=bool),
        )
    ]
    x_of = _x_of_groups(runs)
    for place, at in zip(last.tolist(), group.tolist(), strict=True):
        later = x_of[at][x_of[at] > runs.x[place]]
        size = len(later)
        parts.append(
            (np.full(size, at), np.full(size, runs.run[place]), later, np.full(size, runs.value[place]),
             np.zeros(size, dtype=bool), np.ones(size, dtype=bool))
        )  # fmt: skip
    group_, run, x, value, made, held = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Runs(group_, run, x, value, None if runs.made is None else made, held)


def _no(mask: np.ndarray | None, size: int) -> np.ndarray:
    return np.zeros(size, dtype=bool) if mask is None else mask


def _frame(
    runs: Runs, columns: dict[str, Any], center: str, band: str, level: float, *, whole: bool
) -> pd.DataFrame:
    order = np.lexsort([runs.x, runs.group])
    group, x = runs.group[order], runs.x[order]
    new = np.append(True, (group[1:] != group[:-1]) | (x[1:] != x[:-1]))[: len(x)]
    code = np.cumsum(new) - 1
    groups = Groups(code, runs.value[order], int(new.sum()))
    low, high = interval(groups, band, center, level)
    frame = {name: values[group[new]] for name, values in columns.items()}
    frame |= {
        "x": columns_of.numbers(x[new], whole=True) if whole else _x(x[new]),
        "n": columns_of.integers(groups.n),
        "mid": groups.mean if center == "mean" else groups.median,
        "lo": _ends_of(low, groups.n),
        "hi": _ends_of(high, groups.n),
        "band": columns_of.texts([band], np.zeros(int(new.sum()), dtype=np.int64)),
        "n_nan": columns_of.integers(groups.n_nan),
    }
    if runs.made is not None:
        frame["interpolated"] = np.bincount(code, runs.made[order], minlength=len(groups.n)) > 0
    if runs.held is not None:
        frame["held"] = columns_of.integers(np.bincount(code[runs.held[order]], minlength=len(groups.n)))
    return pd.DataFrame(frame)


def _x(values: np.ndarray) -> Any:
    """The column of x: Int64 for steps, times in UTC, else float64."""
    if values.dtype.kind == "M":
        return columns_of.times(values)
    return columns_of.integers(values) if values.dtype.kind == "i" else values


def _ends_of(values: np.ndarray, n: np.ndarray) -> pd.arrays.FloatingArray:
    """A column Float64, missing where a group has fewer than two values."""
    return pd.arrays.FloatingArray(values, n < 2)
