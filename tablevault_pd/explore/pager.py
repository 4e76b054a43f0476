"""Long answers a page at a time, sorted by a column that is clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tablevault_pd.explore import html

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from tablevault_pd.explore.html import Cell
    from tablevault_pd.explore.page import PageAddress

ROWS = 100


def links(address: PageAddress, total: int, size: int = ROWS) -> Markup:
    """Return which rows are shown, of how many, with links to those before and after; nothing if all are shown."""
    start = first_row(address, total, size)
    if total <= size:
        return Markup("")
    last = (total - 1) // size * size
    places = {"first": 0, "previous": start - size, "next": start + size, "last": last}
    there = [
        html.link(address.with_(start=place or None), name)
        if 0 <= place <= last and place != start
        else html.tag("span", name, class_="off")
        for name, place in places.items()
    ]
    shown = f"{start:,} – {min(start + size, total) - 1:,} of {total:,}"
    return html.tag("p", html.join([shown, *there], " "), class_="pager")


def first_row(address: PageAddress, total: int, size: int = ROWS) -> int:
    """Return the first row of the page that an address asks for, within those that are there."""
    return min(address.number("start"), max(total - 1, 0)) // size * size


def table(
    frame: pd.DataFrame,
    address: PageAddress,
    cells: Mapping[Any, Callable[[Any, int], Cell]] | None = None,
    *,
    size: int = ROWS,
    unsorted: tuple[str, ...] = (),
) -> Markup:
    """Return a frame as a table, a page at a time, sorted by the column that the address names."""
    frame = _sorted(frame, address)
    start = first_row(address, len(frame), size)
    page = frame.iloc[start : start + size]
    head = {label: _sort_link(address, label) for label in frame.columns if label not in unsorted}
    pages = links(address, len(frame), size)
    return html.join([pages, html.table(page, cells, head=head), pages])


def _sorted(frame: pd.DataFrame, address: PageAddress) -> pd.DataFrame:
    name = address.get("sort")
    labels = [label for label in frame.columns if html.label_text(label) == name.removeprefix("-")]
    if not labels:
        return frame
    ascending = not name.startswith("-")
    try:
        return frame.sort_values(labels[0], ascending=ascending, kind="stable")
    except TypeError:  # values of several types, or lists
        return frame.sort_values(
            labels[0], ascending=ascending, kind="stable", key=lambda column: column.map(str)
        )


def _sort_link(address: PageAddress, label: Any) -> Cell:
    name, now = html.label_text(label), address.get("sort")
    mark = {name: " ↑", f"-{name}": " ↓"}.get(now, "")
    return html.link(address.with_(sort=f"-{name}" if now == name else name, start=None), name, mark)
