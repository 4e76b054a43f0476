"""Two versions or sessions beside each other: summary, flips and why, rows, code, parameters and all that differs upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.display import counted
from tablevault_pd.explore import charts, html, pager
from tablevault_pd.explore.page import Explored, Page, PageAddress, call, to

if TYPE_CHECKING:
    from collections.abc import Callable

    from markupsafe import Markup

TABS = ("rows", "flips", "why", "code", "parameters", "differences")


def compare_form(address: PageAddress) -> Markup:
    """The fields that name two sides."""
    a, b = _sides(address)
    fields = [
        html.field("a", a, label="Compare", hint="preds@1 or train#1"),
        html.field("b", b, label="with", hint="preds@2 or train#2"),
        html.field("on", address.get("on"), label="aligned by", hint="a column", size=12),
        html.field("measure", address.get("measure"), label="measured by", hint="gold == pred", size=18),
    ]
    return html.form(to("compare"), *fields, submit="Compare")


def compare(vault: Explored, address: PageAddress) -> Page:
    """Two sides, or the fields to name them."""
    a, b = _sides(address)
    on, measure = address.get("on"), address.get("measure")
    top = [html.heading("Compare"), compare_form(address)]
    if not a or not b:
        said = html.note("Name two versions of a list, or two sessions.")
        return Page("Compare", "vault.compare(a, b)", [*top, said])
    given = {"on": _names(on), "measure": measure or None}
    comparison = vault.compare(a, b, **given)
    python = call("vault.compare", a, b, **given)
    here = to("compare", a=a, b=b, on=on, measure=measure)
    tab = address.get("tab", "rows")
    tabs = html.tabs(tab, {name: here.with_(tab=name) for name in TABS})
    made: dict[str, Callable[[], tuple[list[Any], str]]] = {
        "rows": lambda: (_rows(comparison, address), python),
        "flips": lambda: (_flips(comparison, measure), f"{python}.vault.plot.flips()"),
        "why": lambda: (_why(comparison, address), f"{python}.why()"),
        "code": lambda: (_code(vault, a, b), call("vault.code_diff", a, b)),
        "parameters": lambda: (
            [_frame(comparison.params_diff, "The parameters are equal.")],
            f"{python}.params_diff",
        ),
        "differences": lambda: (
            [_frame(vault.differences(a, b), "Nothing upstream differs.")],
            call("vault.differences", a, b),
        ),
    }
    blocks, line = made.get(tab, made["rows"])()
    return Page(f"{a} and {b}", line, [*top, *_summary(comparison, measure), tabs, *blocks])


def _sides(address: PageAddress) -> tuple[str, str]:
    picked = address.all("pick")
    first = address.get("a") or (picked[0] if picked else "")
    return first, address.get("b") or (picked[1] if len(picked) > 1 else "")


def _names(text: str) -> Any:
    names = [name.strip() for name in text.split(",") if name.strip()]
    return (names[0] if len(names) == 1 else names) if names else None


def _summary(comparison: Any, measure: str) -> list[Markup]:
    counts = comparison["status"].value_counts() if "status" in comparison else {}
    said = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    blocks = [html.note(f"{counted(len(comparison), 'row')}: {said}")]
    if measure:
        blocks.append(html.table(comparison.summary))
    return blocks


def _rows(comparison: Any, address: PageAddress) -> list[Markup]:
    frame = comparison
    if not address.get("all"):
        frame = frame[frame["status"] != "same"] if "status" in frame else frame
    start = pager.first_row(address, len(frame))
    links = pager.links(address, len(frame))
    all_rows = bool(address.get("all"))
    change = html.link(
        address.with_(all=None if all_rows else "1", start=None),
        "only rows that differ" if all_rows else "all rows",
    )
    table = html.table(_plain(frame.iloc[start : start + pager.ROWS]), index=True)
    return [html.note(change), links, table, links]


def _flips(comparison: Any, measure: str) -> list[Any]:
    if not measure:
        return [
            html.note(
                "A flip is a change of a measure that is true or false: name one, such as gold == pred."
            )
        ]
    return [charts.picture(comparison.plot.flips)]


def _why(comparison: Any, address: PageAddress) -> list[Markup]:
    """How many rows stand behind each reason, then each row that flipped (without a measure, that changed) with its reasons."""
    reasons = comparison.why()
    if reasons.empty:
        return [html.note("No row flipped." if "flip" in comparison else "No row changed.")]
    counts = reasons.value_counts(["what", "name"], dropna=False).rename("rows").reset_index()
    start, links = pager.first_row(address, len(reasons)), pager.links(address, len(reasons))
    rows = html.table(_plain(reasons.iloc[start : start + pager.ROWS]), index=True)
    return [html.table(counts), links, rows, links]


def _code(vault: Explored, a: str, b: str) -> list[Any]:
    diff = vault.code_diff(a, b)
    return [html.trusted(diff._repr_html_())] if diff else [html.note("The code is the same.")]


def _frame(frame: Any, otherwise: str) -> Any:
    return html.table(_plain(frame)) if len(frame) else html.note(otherwise)


def _plain(frame: Any) -> pd.DataFrame:
    return pd.DataFrame(frame)
