"""Parallel coordinates: a line for each session through its parameters to its value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.analysis.plots.draw import (
    NOT_GIVEN,
    category_names,
    is_number,
    is_wide_range,
    need,
    new_axes,
    numbers,
    plain,
)
from tablevault_pd.analysis.plots.scatter import value_column, value_label, varying_params
from tablevault_pd.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LANE = -0.14  #: where "not given" lies, below the axes from 0 to 1
TICKS = 5


def draw_parallel(frame: pd.DataFrame, about: str, y: str | None, ax: Axes | None) -> Axes:
    """Draw one line for each row."""
    need(frame, ["session"], "parallel")
    value = value_column(frame, y)
    params = varying_params(frame)
    if not params:
        raise InvalidInput(
            ".plot.parallel needs parameters that vary, and this frame has none: take .plot.scatter."
        )
    from matplotlib.collections import LineCollection

    drawn: Axes = new_axes() if ax is None else ax
    axes = [*params, value]
    heights = np.column_stack([_axis(drawn, place, frame[name]) for place, name in enumerate(axes)])
    values = numbers(frame[value])
    order = np.argsort(
        np.where(np.isnan(values), -np.inf, values if not about.startswith("min:") else -values)
    )
    x = np.arange(len(axes), dtype=float)
    segments = [np.column_stack([x, heights[row]]) for row in order.tolist()]
    lines = LineCollection(
        segments, cmap="viridis_r" if about.startswith("min:") else "viridis", alpha=0.75, linewidths=1.3
    )
    # the best ones are drawn last, on top
    lines.set_array(np.where(np.isfinite(values), values, np.nan)[order])
    drawn.add_collection(lines)
    drawn.set_xlim(-0.25, len(axes) - 0.5)
    lane = bool((heights == LANE).any())
    drawn.set_ylim((LANE if lane else 0.0) - 0.06, 1.06)
    drawn.set_yticks([])
    drawn.set_xticks(
        x, [plain(name.removeprefix("params.")) for name in params] + [value_label(value, about)]
    )
    drawn.tick_params(axis="x", length=0)
    for side in ("left", "right", "top", "bottom"):
        drawn.spines[side].set_visible(False)
    if lane:
        drawn.axhline(LANE, color="0.8", lw=1, ls="--", zorder=0)
        drawn.text(-0.23, LANE + 0.015, NOT_GIVEN, fontsize="small", color="0.4", va="bottom", ha="left")
    drawn.figure.colorbar(lines, ax=drawn, pad=0.02, label=value_label(value, about))
    return drawn


def _axis(ax: Axes, place: int, column: pd.Series) -> np.ndarray:
    """Draw one vertical axis with its ticks. Return the height of each row on it; LANE where it is not given."""
    given = column.notna().to_numpy()
    ax.plot([place, place], [0, 1], color="0.3", lw=1, zorder=1)
    if is_number(column):
        heights, ticks = _scaled(numbers(column), given)
    else:
        names = category_names(column)
        top = max(len(names) - 1, 1)
        rank = {name: number / top for number, name in enumerate(names)}
        heights = np.array([rank.get(str(value), LANE) for value in column])
        ticks = [(rank[name], plain(name)) for name in names[:20]]
    for height, text in ticks:
        ax.text(
            place + 0.02, height, text, fontsize="small", va="center", ha="left", zorder=4,
            bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.6},
        )  # fmt: skip
    return np.where(given, heights, LANE)


def _scaled(values: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Heights from 0 to 1, on a logarithmic scale where that is better, and the ticks. Infinities are at the ends."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.where(given, np.where(values > 0, 1.0, 0.0), LANE), []
    log = is_wide_range(finite)
    scale = np.log10 if log else (lambda numbers: numbers)
    low, high = float(scale(finite.min())), float(scale(finite.max()))
    with np.errstate(invalid="ignore", divide="ignore"):
        heights = np.clip((scale(values) - low) / ((high - low) or 1.0), 0, 1)
    distinct = np.unique(finite)
    marks = distinct if len(distinct) <= TICKS else np.linspace(low, high, TICKS)
    at = scale(marks) if len(distinct) <= TICKS else marks
    texts = marks if len(distinct) <= TICKS or not log else 10**marks
    ticks = [
        ((float(one) - low) / ((high - low) or 1.0), f"{text:.3g}")
        for one, text in zip(at, texts, strict=True)
    ]
    return heights, ticks
