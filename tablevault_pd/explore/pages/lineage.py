"""Which lists were made from which, as a picture to click on; what one row was made from; and what is to be made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.display import counted
from tablevault_pd.explore import charts, html, pager
from tablevault_pd.explore.page import Explored, Page, PageAddress, call, list_link, session_link, to

if TYPE_CHECKING:
    from markupsafe import Markup


def lineage(vault: Explored, address: PageAddress) -> Page:
    """The graph of lists, of all or around one; with a row, its relatives."""
    name = address.get("name")
    if name and address.get("row"):
        return _row(vault, address, name, address.number("row"))
    frame = vault.graph(name) if name else vault.graph()
    top = [html.heading("Lineage", *([name] if name else []))]
    if not len(frame):
        said = html.note("Nothing is known to be made from something else.")
        return Page("Lineage", call("vault.graph", *([name] if name else [])), [*top, said])
    cells = {"parent_list": list_link, "child_list": list_link, "session": session_link}
    blocks = [charts.graph(frame), pager.table(frame, address, cells)]
    return Page("Lineage", call("vault.graph", *([name] if name else [])), [*top, *blocks])


def _row(vault: Explored, address: PageAddress, name: str, row: int) -> Page:
    direction = "down" if address.get("direction") == "down" else "up"
    frame = vault.lineage(name, rows=[row], direction=direction, read=True)
    python = call(
        "vault.lineage", name, rows=[row], direction=None if direction == "up" else direction, read=True
    )
    side = "parent" if direction == "up" else "child"
    other = to("lineage", name=name, row=row, direction="down" if direction == "up" else None)
    said = "made of it" if direction == "up" else "what it was made from"
    top: list[Markup] = [
        html.heading(f"{name}, row {row}", counted(len(frame), "relative")),
        html.note(html.link(other, said), " · ", html.link(to("list", name=name), "the list")),
    ]
    if not len(frame):
        nothing = (
            "Nothing is known that it was made from."
            if direction == "up"
            else "Nothing is known that was made of it."
        )
        return Page(f"Row {row}", python, [*top, html.note(nothing)])
    places = frame[f"{side}_list"].astype(str), frame[f"{side}_position"], frame[f"{side}_version"]

    def position(value: Any, number: int) -> Any:
        if pd.isna(value):  # the whole list
            return "all"
        where = f"{places[0].iloc[number]}@{places[2].iloc[number]}"
        return html.link(to("lineage", name=where, row=value), value)

    cells = {
        "list": list_link,
        f"{side}_list": list_link,
        f"{side}_position": position,
        "session": session_link,
    }
    shown = frame.drop(columns=["ref"], errors="ignore")
    start = pager.first_row(address, len(shown))
    return Page(
        f"Row {row} of {name}",
        python,
        [*top, pager.links(address, len(shown)), html.table(shown.iloc[start : start + pager.ROWS], cells)],
    )


def stale(vault: Explored, address: PageAddress) -> Page:
    """Rows whose code or inputs have changed since, by list and reason, then one by one."""
    name = address.get("name")
    frame = vault.stale(name) if name else vault.stale()
    python = call("vault.stale", *([name] if name else []))
    top = [html.heading("Stale", *([name] if name else []), counted(len(frame), "finding"))]
    if not len(frame):
        return Page("Stale", python, [*top, html.note("Everything is as new as its code and its inputs.")])
    by = frame.groupby(["list", "reason", "of"], sort=False, dropna=False)
    counts = by["position"].nunique(dropna=False).rename("rows").reset_index()
    cells = {"list": list_link, "session": session_link}
    tables = [html.table(counts.head(pager.ROWS), cells), pager.table(frame, address, cells)]
    return Page("Stale", python, [*top, *tables])
