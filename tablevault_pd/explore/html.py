"""Pieces of HTML. Everything that is not made here is escaped by markupsafe: names and texts are data of users."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tablevault_pd.explore.page import PageAddress

MAX_TEXT = 160  #: characters of a text in a cell of a table
MAX_POINTS = 64  #: of a vector in a sparkline
_SPARK_WIDTH, _SPARK_HEIGHT = 96, 18

_CHECKED = Markup(" checked")

Cell = Markup | str


def join(pieces: Iterable[Any], between: str = "") -> Markup:
    """Return pieces one after the other, those that are no HTML escaped."""
    return escape(between).join(pieces)


def tag(name: str, /, *content: Any, **attributes: object) -> Markup:
    """Return an element. ``class_`` stands for ``class``, ``data_go`` for ``data-go``; None is no attribute."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{join(content)}</{name}>")  # noqa: S704  # names are ours; join() and escape() do the rest


def link(address: PageAddress, *text: Any, **attributes: object) -> Markup:
    """Return a link to another page: it can be copied, and is followed without loading the page anew."""
    return tag("a", *text, href=address.query, data_go=address.query, **attributes)


def heading(text: Any, *after: Any) -> Markup:
    """Return a heading, with more beside it."""
    return tag("h2", text, *(tag("span", beside, class_="beside") for beside in after))


def is_heading(block: Any) -> bool:
    """Whether a block of a page is a heading."""
    return isinstance(block, Markup) and block.startswith("<h2>")


def note(*content: Any) -> Markup:
    """Return a sentence about what is shown."""
    return tag("p", *content, class_="note")


def error(problem: Exception) -> Markup:
    """Return what went wrong."""
    return tag("pre", str(problem), class_="error")


def code(text: str) -> Markup:
    """Return code as it stands."""
    return tag("pre", text)


def tabs(current: str, choices: Mapping[str, PageAddress]) -> Markup:
    """Return links beside each other, of which one is where we are."""
    return tag(
        "nav",
        *(
            link(address, name, class_="here" if name == current else None)
            for name, address in choices.items()
        ),
        class_="tabs",
    )


def form(page: PageAddress, *fields: Markup, submit: str = "Show") -> Markup:
    """Return fields that lead to `page` with what was typed into them; its own arguments go along."""
    own = [hidden(name, value) for name, value in [("view", page.page), *page.arguments]]
    return tag("form", *own, *fields, tag("button", submit), method="get", action="", data_form="go")


def hidden(name: str, value: str) -> Markup:
    """Return an argument that a form adds to its address."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(name, value)


def trusted(text: str) -> Markup:
    """Return HTML that another module of this package made, and escaped."""
    return Markup(text)  # noqa: S704


def field(name: str, value: str = "", *, label: str, size: int = 24, hint: str = "") -> Markup:
    """Return a field for a line of text."""
    box = Markup('<input name="{}" value="{}" size="{}" placeholder="{}">').format(name, value, size, hint)
    return tag("label", label, " ", box)


def choice(name: str, value: str, options: Sequence[str], *, label: str) -> Markup:
    """Return a field in which one of some texts is chosen."""
    items = [
        tag("option", option, value=option, selected="selected" if option == value else None)
        for option in options
    ]
    return tag("label", label, " ", tag("select", *items, name=name))


def flag(name: str, checked: bool, *, label: str) -> Markup:
    """Return a box to tick."""
    box = Markup('<input type="checkbox" name="{}" value="1"{}>').format(name, _CHECKED if checked else "")
    return tag("label", box, " ", label)


def pick(name: str, value: str, checked: bool) -> Markup:
    """Return a box at the beginning of a line of a table, which belongs to the form around it."""
    return Markup('<input type="checkbox" name="{}" value="{}" aria-label="{}"{}>').format(
        name, value, value, _CHECKED if checked else ""
    )


def table(
    frame: pd.DataFrame,
    cells: Mapping[Any, Callable[[Any, int], Cell]] | None = None,
    *,
    head: Mapping[Any, Cell] | None = None,
    index: bool = False,
) -> Markup:
    """Return a frame as a table. `cells` makes what stands in some columns, of the value and the number of the row."""
    cells, head = cells or {}, head or {}
    titles = [head.get(label, label_text(label)) for label in frame.columns]
    columns = [_column(frame.iloc[:, place], cells.get(label)) for place, label in enumerate(frame.columns)]
    if index:
        names = frame.index.names
        titles = [" / ".join("" if name is None else str(name) for name in names), *titles]
        columns = [[tag("th", value_text(value)) for value in frame.index], *columns]
    rows = [tag("tr", *row) for row in zip(*columns, strict=True)]
    return tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", *(tag("th", title) for title in titles))),
            tag("tbody", *rows),
        ),
        class_="table",
    )


def _column(series: pd.Series[Any], make: Callable[[Any, int], Cell] | None) -> list[Markup]:
    kind = "number" if series.dtype.kind in "iufc" else None
    if kind is None and series.dtype != object:
        series = series.astype(object).where(series.notna(), None)
    return [
        tag("td", value_html(value) if make is None else make(value, row), class_=kind)
        for row, value in enumerate(series)
    ]


def label_text(label: Any) -> str:
    """Return the label of a column; one of several levels with dots."""
    return ".".join(str(part) for part in label) if isinstance(label, tuple) else str(label)


def value_html(value: Any) -> Cell:
    """Return a value as it stands in a cell: a vector as a small curve, a long text cut."""
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiu" and len(value) > 3:
        return sparkline(value)
    if isinstance(value, list) and len(value) > 3 and all(isinstance(item, int | float) for item in value):
        return sparkline(np.asarray(value, dtype="float64"))
    text = value_text(value)
    if len(text) > MAX_TEXT:
        return tag("span", text[:MAX_TEXT], "…", title=text[:2000])
    return text


def value_text(value: Any) -> str:
    """Return a value in a few characters; a missing one is empty."""
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float | np.floating):
        return "NaN" if math.isnan(value) else f"{value:.6g}"
    if isinstance(value, datetime):
        return str(value.strftime("%Y-%m-%d %H:%M:%S"))
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return str(value)


def sparkline(values: np.ndarray) -> Markup:
    """Return numbers as a small curve; a long vector is thinned out by the means of its pieces."""
    shape = " × ".join(f"{size:,}" for size in values.shape)
    finite = values[np.isfinite(values)].astype("float64")
    if not len(finite):
        return tag("span", f"[{shape}]")
    pieces = np.array_split(finite, min(len(finite), MAX_POINTS))
    points = np.array([piece.mean() for piece in pieces])
    low, high = points.min(), points.max()
    heights = (points - low) / (high - low) if high > low else np.full(len(points), 0.5)
    across = np.linspace(1, _SPARK_WIDTH - 1, len(points))
    down = _SPARK_HEIGHT - 1 - heights * (_SPARK_HEIGHT - 2)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    picture = Markup(
        '<svg class="spark" width="{0}" height="{1}" viewBox="0 0 {0} {1}"><polyline points="{2}"/></svg>'
    ).format(_SPARK_WIDTH, _SPARK_HEIGHT, line)
    return tag("span", picture, " ", tag("small", shape), title=f"{shape} numbers, {low:.4g} to {high:.4g}")
