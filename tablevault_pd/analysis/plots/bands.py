"""Bands: the middle of each group of runs as a line, its interval as an area."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis.plots.curves import UNITS
from tablevault_pd.analysis.plots.draw import need, new_axes, numbers, plain, time_axis, whole_axis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

NAMED_GROUPS = 12  #: so many have a line in the legend
NAMES = {
    "ci": "t interval",
    "bootstrap": "bootstrap interval",
    "minmax": "least and greatest",
    "iqr": "quartiles",
}


def draw_bands(frame: pd.DataFrame, about: str, ax: Axes | None) -> Axes:
    """Draw what ``vault.bands`` answered."""
    need(frame, ["x", "n", "mid", "lo", "hi", "band"], "bands")
    drawn: Axes = new_axes() if ax is None else ax
    if frame["x"].dtype.kind == "M":
        time_axis(drawn)
    else:
        whole_axis(drawn, numbers(frame["x"]))
    groups = list(_groups(frame))
    for number, (name, group) in enumerate(groups):
        x, middle = numbers(group["x"]), numbers(group["mid"])
        held = group["held"].to_numpy() > 0 if "held" in group else np.zeros(len(group), dtype=bool)
        runs = f"n {_span(group['n'])}" + (f", {int(group['held'].max())} held" if held.any() else "")
        label = plain(f"{name}: {runs}" if name else runs)
        (line,) = drawn.plot(
            x, np.where(held, np.nan, middle), lw=1.8, label=label if number < NAMED_GROUPS else None,
            marker="." if len(x) == 1 else None,
        )  # fmt: skip
        if held.any():
            dashed = held | np.append(held[1:], False)  # from the last point that is not held
            drawn.plot(x, np.where(dashed, middle, np.nan), lw=1.8, ls="--", color=line.get_color())
        drawn.fill_between(
            x, numbers(group["lo"]), numbers(group["hi"]), color=line.get_color(), alpha=0.22, lw=0
        )
    band = str(frame["band"].iloc[0]) if len(frame) else ""
    x_name, _, metric = about.rpartition("|")
    drawn.set_xlabel(UNITS.get(x_name, plain(x_name or "x")))
    drawn.set_ylabel(plain(metric))
    drawn.margins(x=0.02)
    if groups:
        title = NAMES.get(band, band) + ("" if len(groups) <= NAMED_GROUPS else f" ({len(groups)} groups)")
        drawn.legend(title=f"area: {title}", fontsize="small", title_fontsize="small", frameon=False)
    return drawn


def _span(n: pd.Series) -> str:
    """How many runs there are, from where they start to where they end."""
    least, most = int(n.min()), int(n.max())
    return str(most) if least == most else f"{most} to {least}"


def _groups(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each group with what tells it from the others."""
    names = [str(name) for name in frame.columns if str(name).startswith("params.")]
    if not names:
        yield "", frame
        return
    keys = [frame[name].map(repr) for name in names]  # lists and dicts are parameters, too
    for _, group in frame.groupby(keys, sort=False):
        texts = [f"{name.removeprefix('params.')}={_text(group[name].iloc[0])}" for name in names]
        yield ", ".join(texts), group


def _text(value: Any) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "not given"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
