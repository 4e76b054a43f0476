"""What is to be made again."""

from __future__ import annotations

from tablevault_pd.display import counted
from tablevault_pd.explore import html, pager
from tablevault_pd.explore.address import PageAddress, to
from tablevault_pd.explore.page import Explored, Page, call


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
    cells = {"list": lambda name, _: html.link(to("list", name=name), name)}
    lines = {
        **cells,
        "session": lambda label, _: (
            html.link(to("run", which=label), label) if isinstance(label, str) else ""
        ),
    }
    return Page(
        "Stale",
        python,
        [*top, html.table(counts.head(pager.ROWS), cells), pager.table(frame, address, lines)],
    )
