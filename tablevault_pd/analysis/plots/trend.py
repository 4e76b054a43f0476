"""Trends: a measure over the versions of a list, with its interval, and the versions that left the noise marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    need(frame, ["list", "version", "measure", "slice", "value"], "trend")
    per = _per(frame)
    ticks = _ticks(frame, per)
    placed = frame.assign(x=_x(frame, per, ticks))
    lines = list(_lines(placed))
    is_failed = placed["value"].isna() & placed["error"].notna() if "error" in placed else placed["x"].isna()
    failed = placed.loc[is_failed, "x"]
    for number, (name, line) in enumerate(lines):
        x, value = numbers(line["x"]), numbers(line["value"])
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
    _mark_changes(frame, drawn, per, ticks, sizes=len(lines) == 1)
    _label_x(drawn, per, ticks)
    drawn.set_ylabel(plain(about if len(about) <= 60 else f"{about[:59]}…"))
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


def _per(frame: pd.DataFrame) -> str:
    """What the trend has one point for: a version, a session or a day."""
    about = frame._about if isinstance(frame, Trend) else None
    return "version" if about is None or not {"session", "time"} <= set(frame.columns) else about.options.per


def _ticks(frame: pd.DataFrame, per: str) -> dict[str, int]:
    """Where the sessions or days stand on the axis of x, in order of time. Versions stand at their numbers."""
    if per == "version":
        return {}
    labels = _labels(frame.sort_values("time", kind="stable"), per)
    return {label: number for number, label in enumerate(dict.fromkeys(labels))}


def _labels(frame: pd.DataFrame, per: str) -> list[str]:
    """The session or day of each line; of what no session wrote, the version."""
    if per == "day":
        return [str(time.date()) for time in frame["time"]]
    versions = frame["list"].astype(str) + "@" + frame["version"].astype(str)
    return list(frame["session"].astype(object).where(frame["session"].notna(), versions.astype(object)))


def _x(frame: pd.DataFrame, per: str, ticks: dict[str, int]) -> Any:
    return frame["version"] if per == "version" else [ticks[label] for label in _labels(frame, per)]


def _label_x(ax: Axes, per: str, ticks: dict[str, int]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.set_xlabel(per)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if per != "version":
        named = dict(enumerate(map(plain, ticks)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda at, _: named.get(round(at), "")))


def _lines(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """What each line is called, by all that differs between lines, and its rows in order of x."""
    keys = [name for name in ("list", "measure", "slice") if frame[name].nunique(dropna=False) > 1]
    ordered = pd.DataFrame(frame).sort_values("x", kind="stable")
    # makers that nothing here tells apart
    ordered = ordered.drop_duplicates(["list", "x", "measure", "slice"])
    if not keys:
        yield "", ordered
        return
    for values, rows in ordered.groupby(keys, sort=False, dropna=False):
        places = ordered.loc[ordered["list"].isin(rows["list"]), "x"].unique()
        yield ", ".join(map(str, values)), rows.set_index("x").reindex(places).reset_index()


def _mark_changes(frame: pd.DataFrame, ax: Axes, per: str, ticks: dict[str, int], *, sizes: bool) -> None:
    """A ring around each version that left the noise, and by how much it did."""
    if not isinstance(frame, Trend) or frame._about is None:
        return  # what is left of a trend in another process
    changes = frame.changes()
    if changes.empty:
        return
    x, value = numbers(pd.Series(_x(changes, per, ticks))), numbers(changes["value"])
    ax.plot(x, value, "o", ms=11, mfc="none", mec=RED, mew=1.6, label="left the noise")
    if not sizes or len(changes) > NAMED_CHANGES:  # of several lines they would cover each other
        return
    for at, height, delta in zip(x, value, changes["delta"], strict=True):
        ax.annotate(
            f"{delta:+.3g}", (at, height), xytext=(0, 10 if delta > 0 else -10), textcoords="offset points", ha="center",
            va="bottom" if delta > 0 else "top", fontsize="small", color=RED,
        )  # fmt: skip
