"""Curves of many runs: every run faintly, their median and quartiles on top, NaN and infinities marked."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis.answers import COLUMNS
from tablevault_pd.analysis.groups import Groups
from tablevault_pd.analysis.plots.draw import (
    FAINT,
    GREY,
    RED,
    need,
    new_axes,
    numbers,
    one_of,
    plain,
    thinned,
    time_axis,
    whole_axis,
    width_px,
)
from tablevault_pd.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

NAMED_RUNS = 8  #: so many runs have a colour and a line in the legend each
OF_RUNS = 3  #: so many runs make a band
UNITS = {"elapsed": "elapsed [s]", "active": "active time [s]", "time": "time (UTC)"}
OTHERS = ("session", "name", "run", "started", "attempt", "step", "x", "x_lag")


def draw_curves(frame: pd.DataFrame, about: str, metric: str | None, ax: Axes | None) -> Any:
    """Draw one metric on one Axes, or each on its own."""
    if "session" not in frame and COLUMNS["curve"] <= set(
        frame.columns
    ):  # of one session, which it does not name
        frame = frame.assign(session="", **({} if "metric" in frame else {"metric": "value"}))
    need(frame, ["session"], "curves")
    if not {"step", "x"} & set(frame.columns):
        raise InvalidInput(".plot.curves needs the column step or x, which this frame has not: keep it.")
    curves = _by_metric(frame)
    if metric is not None:
        curves = {metric: curves[one_of(metric, list(curves), "metric")]}
    if not curves:
        raise InvalidInput("There is nothing to draw: the frame has no values.")
    if ax is not None and len(curves) > 1:
        raise InvalidInput(
            f"ax= takes one metric, and the frame has {len(curves)}: say metric=, one of {', '.join(curves)}."
        )
    several: Any = ax if ax is not None else new_axes(len(curves))
    for one, (name, values) in zip(np.atleast_1d(several), curves.items(), strict=True):
        _draw(one, values, name)
    np.atleast_1d(several)[-1].set_xlabel(UNITS.get(about, plain(about or "step")))
    return several


def _by_metric(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A frame session, x, value for each metric, of the long or the wide form."""
    x = frame["x" if "x" in frame else "step"]
    if {"metric", "value"} <= set(frame.columns):
        plain = pd.DataFrame({"session": frame["session"], "x": x, "value": frame["value"]})
        return {str(name): plain[frame["metric"] == name] for name in frame["metric"].unique()}
    names = [
        name for name in map(str, frame.columns)
        if name not in OTHERS and not name.startswith("params.") and not name.endswith("_missing")
    ]  # fmt: skip
    columns_of_pixels = {}
    for name in names:
        absent = frame.get(f"{name}_missing", frame[name].isna())
        columns_of_pixels[name] = pd.DataFrame({"session": frame["session"], "x": x, "value": frame[name]})[
            ~absent
        ]
    return columns_of_pixels


def _draw(ax: Axes, values: pd.DataFrame, metric: str) -> None:
    x, y = numbers(values["x"]), numbers(values["value"])
    lost = int(np.isnan(x).sum())
    if lost and lost == len(x):
        raise InvalidInput(f"No value of {metric!r} has a step, or an x: take vault.metrics(…, x='elapsed').")
    if lost:
        warnings.warn(f"{lost} values of {metric!r} have no step, or no x: they are not drawn.", stacklevel=5)
    if values["x"].dtype.kind == "M":
        time_axis(ax)
    else:
        whole_axis(ax, x)
    runs = list(_runs(values["session"]))
    low, high = (np.nanmin(x), np.nanmax(x)) if np.isfinite(x).any() else (0.0, 1.0)
    columns = width_px(ax)
    lines = []
    for name, places in runs:
        places = places[np.argsort(x[places], kind="stable")]
        places = places[thinned(x[places], y[places], low, high, columns)]
        lines.append((name, x[places], y[places]))
    _draw_lines(ax, lines)
    _draw_middle(ax, x, y, len(runs))
    _mark(ax, x, y, runs)
    ax.set_ylabel(plain(metric))
    ax.margins(x=0.02)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small", frameon=False)


def _runs(sessions: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """The places of the values of each session."""
    codes, names = pd.factorize(sessions)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    for number, name in enumerate(names):
        yield str(name), order[bounds[number] : bounds[number + 1]]


def _draw_lines(ax: Axes, lines: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    if len(lines) <= NAMED_RUNS:
        faint = FAINT * 2 if len(lines) >= OF_RUNS else 1.0
        for name, x, y in lines:
            marker = "." if len(x) == 1 else None
            ax.plot(
                x, np.where(np.isfinite(y), y, np.nan), lw=1, alpha=faint, label=plain(name), marker=marker
            )
        return
    from matplotlib.collections import LineCollection

    segments = [np.column_stack([x, np.where(np.isfinite(y), y, np.nan)]) for _, x, y in lines]
    shade = max(FAINT, 1 / len(lines) ** 0.5) if len(lines) < 100 else 0.15
    ax.add_collection(
        LineCollection(segments, colors=GREY, linewidths=0.7, alpha=shade, label=f"{len(lines)} runs")
    )
    ax.autoscale_view()


def _draw_middle(ax: Axes, x: np.ndarray, y: np.ndarray, runs: int) -> None:
    """The median and quartiles where runs share x, if there are enough of them."""
    if runs < OF_RUNS:
        return
    order = np.argsort(x, kind="stable")[: int((~np.isnan(x)).sum())]  # NaN is last
    places, codes = np.unique(x[order], return_inverse=True)
    groups = Groups(codes, y[order], len(places))
    shared = groups.n >= OF_RUNS
    if shared.sum() < 2:
        return
    middle = np.where(shared, groups.median, np.nan)
    low, high = (
        np.where(shared, groups.quantile(0.25), np.nan),
        np.where(shared, groups.quantile(0.75), np.nan),
    )
    keep = thinned(places, middle, places[0], places[-1], width_px(ax))
    ax.fill_between(places[keep], low[keep], high[keep], color="tab:blue", alpha=0.25, lw=0, zorder=3)
    label = "median and quartiles"
    ax.plot(places[keep], middle[keep], color="tab:blue", lw=2, zorder=4, label=label)


def _mark(ax: Axes, x: np.ndarray, y: np.ndarray, runs: list[tuple[str, np.ndarray]]) -> None:
    """A cross where a run logged NaN, as high as its last number before; arrows at the edge for infinities."""
    if np.isnan(y).any():
        height = np.full(len(y), np.nan)
        for _, places in runs:
            ordered = places[np.argsort(x[places], kind="stable")]
            finite = pd.Series(np.where(np.isfinite(y[ordered]), y[ordered], np.nan))
            height[ordered] = finite.ffill().bfill()
        crosses = np.isnan(y) & ~np.isnan(x)
        floor = np.nanmin(height) if np.isfinite(height).any() else 0.0
        ax.scatter(
            x[crosses],
            np.where(np.isnan(height), floor, height)[crosses],
            marker="x",
            c=RED,
            s=22,
            zorder=5,
            label="NaN",
        )
    for sign, marker, edge in ((1, "^", 0.99), (-1, "v", 0.01)):
        places = y == sign * np.inf
        if places.any():
            label = "infinite" if sign > 0 else "minus infinite"
            ax.scatter(
                x[places], np.full(int(places.sum()), edge), marker=marker, c=RED, s=22, zorder=5, label=label,
                transform=ax.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip
