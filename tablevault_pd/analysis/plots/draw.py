"""What the pictures share: where to draw, which columns are there, and fewer points without another look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.errors import InvalidInput, MissingDependency, did_you_mean, short_repr
from tablevault_pd.imports import for_own_use

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

FAINT = 0.25
GREY = "0.45"
RED = "tab:red"
NOT_GIVEN = "not given"
PER_COLUMN = 4  #: points of a curve that a column of pixels may keep: first, lowest, highest, last


def new_axes(rows: int = 1, height: float | None = None, *, sharex: bool = True) -> Any:
    """Return the Axes of a new figure, or an array of several below each other. Raises MissingDependency."""
    try:
        with for_own_use():
            from matplotlib import pyplot
    except ImportError as error:
        raise MissingDependency.for_extra("matplotlib", "plot", "A picture") from error
    size = (6.4, (4.0 if rows == 1 else 2.6 * rows) if height is None else height)
    return pyplot.subplots(rows, sharex=sharex, figsize=size, layout="constrained")[1]


def need(frame: pd.DataFrame, columns: Sequence[str], picture: str) -> None:
    """Raise InvalidInput for columns that `frame` lacks."""
    lacking = [name for name in columns if name not in frame.columns]
    if lacking:
        raise InvalidInput(
            f".plot.{picture} needs the columns {', '.join(lacking)}, which this frame has not: keep them."
        )


def one_of(name: str, there: Sequence[str], what: str) -> str:
    """Return `name` if it is there. Raises InvalidInput."""
    if isinstance(name, str) and name in there:
        return name
    hint = did_you_mean(name, there) if isinstance(name, str) else ""
    raise InvalidInput(
        f"{what}= names {short_repr(name)}, which this frame has not. {hint or 'There are ' + ', '.join(there)}."
    )


def numbers(column: pd.Series) -> np.ndarray:
    """A column as floats; missing values are NaN."""
    if column.dtype.kind == "M":
        return days(column.dt.tz_localize(None).to_numpy())
    floats: np.ndarray = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return floats


def plain(text: object) -> str:
    """A text as a label shows it: no formula, and not left out of the legend for its first letter."""
    escaped = str(text).replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def days(times: Any) -> np.ndarray:
    """Times in UTC as Matplotlib has them; NaT is NaN."""
    from matplotlib.dates import date2num

    return np.asarray(date2num(times), dtype=np.float64)  # type: ignore[no-untyped-call]  # has no types


def time_axis(ax: Axes) -> None:
    """Have the x axis show times, as short as they can be told."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]  # has no types
    ax.xaxis_date()
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # has no types


def whole_axis(ax: Axes, x: np.ndarray) -> None:
    """Have the x axis show whole numbers alone where `x` has no others, as steps."""
    from matplotlib.ticker import MaxNLocator

    locator = ax.xaxis.get_major_locator()
    finite = x[np.isfinite(x)]
    if isinstance(locator, MaxNLocator) and (finite == np.floor(finite)).all():
        locator.set_params(integer=True)


def width_px(ax: Axes) -> int:
    """How many columns of pixels the Axes have."""
    return max(int(ax.get_window_extent().width), 100)


def thinned(x: np.ndarray, y: np.ndarray, low: float, high: float, columns: int) -> np.ndarray:
    """Return the places of the points that are enough to draw a curve, ascending: all of a short one.

    Of each of the `columns` of pixels between `low` and `high` the first, last, lowest and highest point are kept, and one
    NaN, which breaks the line. They are looked for among all points.
    """
    if len(x) <= PER_COLUMN * columns or not high > low:
        return np.arange(len(x))
    column = np.clip((x - low) * (columns / (high - low)), 0, columns - 1)
    column = np.where(np.isnan(column), columns, column).astype(np.int64)
    keep = np.zeros(len(x), dtype=bool)
    for key in (np.arange(len(x)), y, np.where(np.isnan(y), 0.0, 1.0)):
        order = np.lexsort((key, column))  # NaN is last
        edge = np.append(True, column[order][1:] != column[order][:-1])
        keep[order[edge]] = True
        keep[order[np.append(edge[1:], True)]] = True
    is_nan = np.isnan(y)
    order = np.flatnonzero(~is_nan)
    order = order[np.lexsort((-y[order], column[order]))]
    edge = np.append(True, column[order][1:] != column[order][:-1])[: len(order)]
    keep[order[edge]] = True
    return np.flatnonzero(keep)


def is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers that are no truth values."""
    return column.dtype.kind in "iuf"


def is_wide_range(values: np.ndarray) -> bool:
    """Whether numbers are better seen on a logarithmic axis: all positive, over two decades or more."""
    finite = values[np.isfinite(values)]
    return len(finite) > 0 and bool(finite.min() > 0) and bool(finite.max() / finite.min() >= 100)


def category_names(column: pd.Series) -> list[str]:
    """The distinct values of a column as texts, in order; missing ones left out."""
    return sorted({str(value) for value in column[column.notna()]})
