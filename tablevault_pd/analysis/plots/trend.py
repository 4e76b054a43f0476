"""Trends: a measure over the versions of a list, with its interval, and the versions that left the noise marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tablevault_pd.analysis.plots.draw import GREY, RED, need, new_axes, numbers, plain
from tablevault_pd.analysis.summary import ALL
from tablevault_pd.analysis.trend import Trend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

NAMED_LINES = 12  #: so many have a line in the legend
STYLES = ("-", "--", ":", "-.")  #: for lines that have the same color, as each tenth has
NAMED_CHANGES = 8  #: so many have their size beside them


def draw_trend(frame: pd.DataFrame, about: str, ax: Axes | None) -> Axes:
    """Draw what ``vault.trend`` answered."""
    drawn: Axes = new_axes() if ax is None else ax  # says so where Matplotlib is not there
    from matplotlib.ticker import MaxNLocator

    need(frame, ["list", "version", "measure", "slice", "value"], "trend")
    lines = list(_lines(frame))
    failed = (
        frame.loc[frame["value"].isna() & frame["error"].notna(), "version"]
        if "error" in frame
        else frame["version"][:0]
    )
    for number, (name, line) in enumerate(lines):
        x, value = numbers(line["version"]), numbers(line["value"])
        label = plain(name) if number < NAMED_LINES and len(lines) > 1 else None
        # Of several lines that of all rows is the thickest.
        width = 1.8 if name.endswith(ALL) or len(lines) == 1 else 1.1
        style = STYLES[number // 10 % len(STYLES)]
        (curve,) = drawn.plot(x, value, marker="o", ms=4, lw=width, ls=style, label=label)
        if {"lo", "hi"} <= set(line.columns):
            drawn.fill_between(
                x, numbers(line["lo"]), numbers(line["hi"]), color=curve.get_color(), alpha=0.18, lw=0
            )
    if len(failed):
        height = np.full(len(failed), 0.02)
        drawn.plot(
            numbers(failed), height, "x", color=GREY, transform=drawn.get_xaxis_transform(), clip_on=False
        )
    _mark_changes(frame, drawn, sizes=len(lines) == 1)
    drawn.set_xlabel("version")
    drawn.set_ylabel(plain(about if len(about) <= 60 else f"{about[:59]}…"))
    drawn.xaxis.set_major_locator(MaxNLocator(integer=True))
    drawn.margins(x=0.06, y=0.12)
    handles, labels = drawn.get_legend_handles_labels()
    title = "area: 95 % interval" if "lo" in frame.columns else None
    if handles or title:
        drawn.legend(
            handles,
            labels,
            title=title,
            fontsize="small",
            title_fontsize="small",
            frameon=False,
        )
    return drawn


def _lines(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """What each line is called, by all that differs between lines, and its rows in order of version."""
    keys = [name for name in ("list", "measure", "slice") if frame[name].nunique(dropna=False) > 1]
    plain = pd.DataFrame(frame).sort_values("version", kind="stable")
    plain = plain.drop_duplicates(["list", "version", "measure", "slice"])  # sessions that made equal rows
    if not keys:
        yield "", plain
        return
    for values, rows in plain.groupby(keys, sort=False, dropna=False):
        versions = plain.loc[plain["list"].isin(rows["list"]), "version"].unique()
        yield ", ".join(map(str, values)), rows.set_index("version").reindex(versions).reset_index()


def _mark_changes(frame: pd.DataFrame, ax: Axes, *, sizes: bool) -> None:
    """A ring around each version that left the noise, and by how much it did."""
    if not isinstance(frame, Trend) or frame._about is None:
        return  # what is left of a trend in another process
    changes = frame.changes()
    if changes.empty:
        return
    x, value = numbers(changes["version"]), numbers(changes["value"])
    ax.plot(x, value, "o", ms=11, mfc="none", mec=RED, mew=1.6, label="left the noise")
    if not sizes or len(changes) > NAMED_CHANGES:  # of several lines they would cover each other
        return
    for at, height, delta in zip(x, value, changes["delta"], strict=True):
        ax.annotate(
            f"{delta:+.3g}", (at, height), xytext=(0, 10 if delta > 0 else -10), textcoords="offset points", ha="center",
            va="bottom" if delta > 0 else "top", fontsize="small", color=RED,
        )  # fmt: skip
