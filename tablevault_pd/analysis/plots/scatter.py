"""A value of each session against a parameter, with a lane for the sessions that lack it."""

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
    one_of,
    plain,
)
from tablevault_pd.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LANE = 0.12  #: of the width, for what is not given


def draw_scatter(frame: pd.DataFrame, about: str, x: str | None, y: str | None, ax: Axes | None) -> Axes:
    """Draw one point for each row."""
    need(frame, ["session"], "scatter")
    y_name = value_column(frame, y)
    params = varying_params(frame)
    x_name = (
        one_of(x, [str(name) for name in frame.columns], "x") if x is not None else (params or ["session"])[0]
    )
    drawn: Axes = new_axes() if ax is None else ax
    values = numbers(frame[y_name])
    given = frame[x_name].notna().to_numpy()
    places = _place(drawn, frame[x_name], given)
    drawn.scatter(places[given], values[given], s=26, alpha=0.8, zorder=3)
    if not given.all():
        lane = float(places[~given][0])
        drawn.axvline(lane, color="0.88", lw=16, zorder=0)
        drawn.scatter(places[~given], values[~given], s=26, alpha=0.8, color="0.4", zorder=3, label=NOT_GIVEN)
    best = _best(values, about)
    if best is not None:
        text = str(frame["session"].iloc[best])
        drawn.scatter(
            places[[best]],
            values[[best]],
            s=150,
            marker="*",
            color="tab:orange",
            zorder=4,
            label=plain(f"best: {text}"),
        )
        drawn.legend(fontsize="small", frameon=False)
    drawn.set_xlabel(plain(x_name.removeprefix("params.")))
    drawn.set_ylabel(value_label(y_name, about))
    return drawn


def _place(ax: Axes, column: pd.Series, given: np.ndarray) -> np.ndarray:
    """Where each row stands on the x axis, which gets its scale and ticks; what is not given stands left of all."""
    if is_number(column):
        places = numbers(column)
        given_places = places[given]
        if is_wide_range(given_places):
            ax.set_xscale("log")
            left = (
                given_places.min() / (given_places.max() / given_places.min()) ** LANE if given.any() else 0.1
            )
        else:
            span = (given_places.max() - given_places.min() or 1.0) if given.any() else 1.0
            left = given_places.min() - LANE * span if given.any() else 0.0
        return np.where(given, places, left)
    names = category_names(column)
    if not given.all():
        names = [NOT_GIVEN, *names]
    ax.set_xticks(
        range(len(names)),
        [plain(name) for name in names],
        rotation=30 if len(names) > 6 else 0,
        ha="right" if len(names) > 6 else "center",
    )
    rank = {name: place for place, name in enumerate(names)}
    return np.array(
        [rank[str(value)] if there else 0 for value, there in zip(column, given, strict=True)], dtype=float
    )


def _best(values: np.ndarray, about: str) -> int | None:
    """The place of the best value, where the answer says what is good."""
    mode = about.partition(":")[0]
    if mode not in ("min", "max") or not np.isfinite(values).any():
        return None
    finite = np.where(np.isfinite(values), values, np.nan)
    return int(np.nanargmin(finite) if mode == "min" else np.nanargmax(finite))


def varying_params(frame: pd.DataFrame) -> list[str]:
    """The columns of parameters that are not alike in all rows."""
    names = [str(name) for name in frame.columns if str(name).startswith("params.")]
    return [name for name in names if frame[name].astype(str).nunique(dropna=False) > 1]


def value_column(frame: pd.DataFrame, given: str | None) -> str:
    """The column whose values are drawn. Raises InvalidInput where it must be said."""
    if given is not None:
        return one_of(given, [str(name) for name in frame.columns], "y")
    candidates = [name for name in ("best_value", "value") if name in frame.columns]
    candidates = candidates or [
        str(name) for name in frame.columns if str(name).startswith(("metrics.", "value_"))
    ]
    if len(candidates) != 1:
        raise InvalidInput(
            f"Say what to draw: y=, one of {', '.join(candidates or map(str, frame.columns))}."
        )
    return candidates[0]


def value_label(name: str, about: str) -> str:
    """What the values are, for people."""
    mode, _, metric = about.partition(":")
    if name == "best_value" and metric:
        return plain(f"{'lowest' if mode == 'min' else 'highest'} {metric}")
    return plain(name.removeprefix("metrics."))
