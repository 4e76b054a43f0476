"""The lists of a vault, and the rows and versions of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.display import counted
from tablevault_pd.errors import VaultError
from tablevault_pd.explore import charts, html, pager
from tablevault_pd.explore.address import PageAddress, to
from tablevault_pd.explore.page import Explored, Page, call
from tablevault_pd.reading.read import read, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from markupsafe import Markup

    from tablevault_pd.store import Version

MAX_COLUMNS = 60  #: of a list, on one page
RELATED = object()  #: the label of the column of links, which no list has


def lists(vault: Explored, address: PageAddress) -> Page:
    """All lists."""
    frame = vault.lists()
    text = address.get("q")
    if text:
        frame = frame[frame["name"].str.contains(text, case=False, regex=False)]
    cells = {
        "name": lambda name, _: html.link(to("list", name=name), name),
        "session": _session,
        "columns": lambda columns, _: html.value_html(", ".join(html.label_text(label) for label in columns)),
        "bytes": lambda size, _: _bytes(size),
    }
    said = html.note(counted(len(frame), "list"), f", {counted(int(frame['rows'].sum()), 'row')}")
    form = html.form(to("lists"), html.field("q", text, label="Name"), submit="Filter")
    shown = frame[[name for name in frame.columns if name != "deleted"]]
    return Page(
        "Lists", "vault.lists()", [form, said, pager.table(shown, address, cells, unsorted=("columns",))]
    )


def list_page(vault: Explored, address: PageAddress) -> Page:
    """The rows of a version of a list, and its versions."""
    name = address.get("name")
    version = resolve(vault.store, name)
    tab = address.get("tab", "rows")
    choices = {tab_name: to("list", name=name, tab=tab_name) for tab_name in ("rows", "versions", "trend")}
    choices["lineage"] = to("lineage", name=name)
    choices["stale"] = to("stale", name=name)
    title = f"{version.list}, version {version.version}"
    top = [html.heading(version.list, f"version {version.version}", counted(version.shown, "row"))]
    described = vault.store.descriptions()
    top += [
        html.note(description.text) for description in described if description.list_id == version.list_id
    ]
    top.append(html.tabs(tab, choices))
    if tab == "versions":
        return Page(title, call("vault.versions", version.list), [*top, _versions(vault, version, address)])
    if tab == "trend":
        return _trend(vault, version, address, title, top)
    start = pager.first_row(address, version.total)
    stop = min(start + pager.ROWS, version.total)
    python = call("vault.read", name, start=start or None, stop=stop if stop < version.total else None)
    return Page(title, python, [*top, *_rows(vault, version, address, start, stop)])


def _rows(vault: Explored, version: Version, address: PageAddress, start: int, stop: int) -> list[Markup]:
    frame = read(vault.store, version, start=start, stop=stop)
    columns = frame.columns[:MAX_COLUMNS]
    left_out = len(frame.columns) - len(columns)
    frame = frame[columns] if frame.columns.is_unique else frame.iloc[:, : len(columns)]
    links = pager.links(address, version.total)
    address_of = version.label
    described = frames.columns(vault.store.schema(version.schema_id))
    has_vectors = any(column.kind == "embedding" for column in described)

    [erased] = vault.store.erased([version])
    positions = np.setdiff1d(np.arange(start, stop), erased).tolist()

    def related(_: Any, row: int) -> Markup:
        links = [html.link(to("lineage", name=address_of, row=positions[row]), "from")]
        if has_vectors:
            links.append(html.link(to("search", near=address_of, row=positions[row]), "near"))
        return html.join(links, " ")

    def file(path: Any, row: int) -> Any:
        text = html.value_text(path)
        return html.link(to("file", name=address_of, row=positions[row]), text) if text else ""

    frame = frame.copy(deep=False)
    frame.insert(len(columns), RELATED, "", allow_duplicates=True)
    cells = {column.label: file for column in described if column.kind == "file"} | {RELATED: related}
    table = html.table(frame, cells, head={RELATED: ""}, index=True)
    more = [html.note(f"{left_out:,} more columns are not shown.")] if left_out else []
    return [links, table, links, *more]


def _versions(vault: Explored, version: Version, address: PageAddress) -> Markup:
    frame = vault.versions(version.list).iloc[::-1].drop(columns="list")
    name = version.list
    newest = version.version
    cells: dict[str, Callable[[Any, int], Any]] = {
        "version": lambda number, _: html.link(to("list", name=f"{name}@{number}"), number),
        "session": _session,
    }
    table = pager.table(frame, address, cells)
    sides = [
        html.field("a", f"{name}@{max(newest - 1, 1)}", label="Compare"),
        html.field("b", f"{name}@{newest}", label="with"),
    ]
    return html.join([html.form(to("compare"), *sides, submit="Compare"), table])


def _trend(
    vault: Explored, version: Version, address: PageAddress, title: str, top: Sequence[Markup]
) -> Page:
    """How a measure moved over the versions, each with what it differs in from the one before."""
    name, measure = version.list, address.get("measure")
    field = html.field("measure", measure, label="Measure", hint="gold == pred", size=30)
    form = html.form(to("list", name=name, tab="trend"), field)
    if not measure:
        said = html.note(
            "What to measure in every version: an expression of columns, such as gold == pred or loss."
        )
        return Page(title, call("vault.trend", name, "gold == pred"), [*top, form, said])
    python = call("vault.trend", name, measure, baseline="previous")
    try:
        frame = vault.trend(name, measure, baseline="previous")
    except VaultError as problem:
        return Page(title, python, [*top, form, html.error(problem)], problem=str(problem))
    picture = charts.picture(frame.vault.plot.trend)
    numbers = frame["version"].tolist()

    def compared(number: Any, row: int) -> Any:
        if row == 0:
            return html.link(to("list", name=f"{name}@{number}"), number)
        before, here = f"{name}@{numbers[row - 1]}", f"{name}@{number}"
        return html.link(to("compare", a=before, b=here, measure=measure), f"{number}: what changed")

    table = html.table(pd.DataFrame(frame), {"version": compared, "session": _session})
    return Page(title, python, [*top, form, picture, table])


def _session(label: Any, _: int) -> Any:
    return html.link(to("run", which=label), label) if isinstance(label, str) and label else ""


def _bytes(size: Any) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
