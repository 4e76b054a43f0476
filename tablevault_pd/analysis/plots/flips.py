"""Flips: how many rows were right, or high, in the reference and are so in the other version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd  # noqa: TC002  # CategoricalDtype, at run time

from tablevault_pd.analysis.plots.draw import new_axes, plain
from tablevault_pd.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from tablevault_pd.analysis.summary import Layout

GREEN, RED, BLUE, ORANGE, PALE = "#2e8b57", "#c0392b", "#2b6cb0", "#d9822b", "#9aa5b1"
_TRUTH = (("right", "wrong"), ("right", "wrong"))  #: rows: the reference; columns: the other version
_CELLS = {(0, 0): "same_right", (0, 1): "broken", (1, 0): "fixed", (1, 1): "same_wrong"}
_ORDER = ("down", "same", "up", "changed", "added", "removed")
_COLORS = {
    "same_right": PALE, "same_wrong": PALE, "same": PALE, "fixed": GREEN, "broken": RED, "up": BLUE, "down": ORANGE,
    "changed": ORANGE, "added": BLUE, "removed": PALE,
}  # fmt: skip


def draw_flips(frame: pd.DataFrame, ax: Axes | None) -> Any:
    """Draw what ``vault.compare`` answered: a matrix for each measure and other version."""
    context = getattr(frame, "_context", None)  # of a Comparison
    if context is None:
        raise InvalidInput(
            ".plot.flips draws the answer of vault.compare(…), and this frame is none any more."
        )
    layout: Layout = context.layout
    columns = _columns(frame, layout)
    if ax is not None and len(columns) > 1:
        raise InvalidInput(
            f"One Axes is given for {len(columns)} pictures. Leave ax= out, or keep the columns of one flip."
        )
    if ax is not None:
        axes: Any = [ax]
    elif len(columns) == 1:
        axes = [new_axes()]
    else:
        axes = list(new_axes(len(columns), height=2.9 * len(columns), sharex=False))
    for axis, (name, title, other) in zip(axes, columns, strict=True):
        _draw(axis, frame[name], title, layout.names[0], other)
    return axes[0] if len(columns) == 1 else np.array(axes)


def _columns(frame: pd.DataFrame, layout: Layout) -> list[tuple[str, str, str]]:
    """(column, measure, other version) of each picture: of the flips, or where nothing was measured of the states."""
    panels = []
    for side in range(1, len(layout.names)):
        suffix = layout.suffix(side)
        for measured in layout.measured:
            name = f"flip{suffix}" if len(layout.measured) == 1 else f"flip_{measured.prefix}{suffix}"
            if name in frame.columns:
                panels.append((name, measured.measure.name, layout.names[side]))
    if panels:
        return panels
    states = [
        (f"status{layout.suffix(side)}", "", layout.names[side]) for side in range(1, len(layout.names))
    ]
    return [state for state in states if state[0] in frame.columns] or _none()


def _none() -> list[tuple[str, str, str]]:
    raise InvalidInput(".plot.flips needs a column flip or status, which this comparison has not: keep it.")


def _draw(ax: Axes, values: pd.Series[Any], title: str, reference: str, other: str) -> None:
    values = values.astype("category")  # a column that pandas made plain
    counts = values.astype(object).value_counts()
    without = int(values.isna().sum())
    if set(counts.index) <= set(_CELLS.values()) and len(counts):
        cells = [[_CELLS[row, column] for column in (0, 1)] for row in (0, 1)]
        _matrix(ax, cells, counts)
        ax.set_xticks([0, 1], _TRUTH[1])
        ax.set_yticks([0, 1], _TRUTH[0])
        ax.set_ylabel(plain(reference))
        ax.set_xlabel(plain(other))
    else:
        order = [name for name in _ORDER if name in set(values.cat.categories)]
        _matrix(ax, [order], counts)
        ax.set_xticks(range(len(order)), order)
        ax.set_yticks([])
        ax.set_xlabel(plain(f"{other} against {reference}"))
    more = f"; {without:,} rows without a pair or a value" if without else ""
    ax.set_title(
        plain(f"{_short(title)}{': ' if title else ''}{len(values) - without:,} rows{more}"),
        fontsize="medium",
    )


def _matrix(ax: Axes, cells: Sequence[Sequence[str]], counts: pd.Series[Any]) -> None:
    """Squares that are the darker the more rows they stand for, with the number in each."""
    from matplotlib.colors import to_rgb

    total = max(int(counts.sum()), 1)
    image = np.ones((len(cells), len(cells[0]), 3))
    for row, names in enumerate(cells):
        for column, name in enumerate(names):
            count = int(counts.get(name, 0))
            strength = 0.0 if not count else 0.15 + 0.75 * np.sqrt(count / total)
            image[row, column] = 1 - strength * (1 - np.array(to_rgb(_COLORS[name])))
            text = f"{name.replace('_', ' ')}\n{count:,}\n{100 * count / total:.3g} %"
            dark = image[row, column] @ [0.3, 0.6, 0.1] < 0.55
            ax.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    ax.imshow(image, aspect="auto", interpolation="nearest")
    ax.set_xticks(np.arange(len(cells[0]) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(cells) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", lw=3)
    ax.tick_params(which="both", length=0)
    for side in ax.spines.values():
        side.set_visible(False)


def _short(text: str) -> str:
    return text if len(text) <= 50 else f"{text[:49]}…"
