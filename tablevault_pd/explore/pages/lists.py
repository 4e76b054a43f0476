"""The lists of a vault, the rows and versions of one, and the files that its cells name, whose content is shown if it is kept."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from tablevault_pd import frames
from tablevault_pd.display import counted
from tablevault_pd.errors import VaultError
from tablevault_pd.explore import charts, html, pager
from tablevault_pd.explore.page import Explored, Page, PageAddress, call, list_link, session_link, to
from tablevault_pd.reading import reports
from tablevault_pd.reading.read import read, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tablevault_pd.store import Version

MAX_COLUMNS = 60  #: of a list, on one page
RELATED = object()  #: the label of the column of links, which no list has
MAX_BYTES = 2_000_000  #: of a picture or a text that is shown; of a longer text this much
#: The first bytes of pictures that browsers draw and that hold no script.
PICTURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}


def lists(vault: Explored, address: PageAddress) -> Page:
    """All lists."""
    frame = vault.lists()
    text = address.get("q")
    if text:
        frame = frame[frame["name"].str.contains(text, case=False, regex=False)]
    cells = {
        "name": list_link,
        "session": session_link,
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
        "session": session_link,
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

    table = html.table(pd.DataFrame(frame), {"version": compared, "session": session_link})
    return Page(title, python, [*top, form, picture, table])


def _bytes(size: Any) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def file_page(vault: Explored, address: PageAddress) -> Page:
    """The files of one row of a list."""
    name, row = address.get("name"), address.number("row")
    version = resolve(vault.store, name)
    frame = reports.files(
        vault.store, [version], positions=np.array([row] if row < version.total else [], dtype="int64")
    )
    back = html.link(to("list", name=name, start=row), f"{version.list}, version {version.version}")
    blocks = [html.heading("Files", html.join([f"row {row} of ", back]))]
    for cell in frame.to_dict("records"):
        blocks += _file(vault, cell)
    if not len(frame):
        blocks.append(html.note("This row names no file."))
    return Page(f"Files of {name}[{row}]", f"{call('vault.files', name)}.query('position == {row}')", blocks)


def _file(vault: Explored, cell: Mapping[Any, Any]) -> Iterator[Markup]:
    names = ["path", "folder", "size_bytes", "modified", "sha256"]
    table = pd.DataFrame({cell["column"]: names, "value": [html.value_text(cell[name]) for name in names]})
    yield html.table(table)
    if not cell["stored"]:
        yield html.note("Its content was not kept: it was saved without copy=True.")
        return
    with vault.open_file(cell["sha256"]) as file:
        yield content(file.read(MAX_BYTES), cell["size_bytes"])


def content(data: bytes, size: int) -> Markup:
    """Return a picture, a text, or how to read what is neither."""
    kinds = [kind for start, kind in PICTURES.items() if data.startswith(start)]
    if kinds and size <= len(data):
        source = f"data:image/{kinds[0]};base64,{base64.b64encode(data).decode()}"
        return Markup('<img class="picture" alt="" src="{}">').format(source)
    text = data.decode("utf-8", errors="replace")
    if "\ufffd" in text[:-1] or "\0" in text:
        return html.note("Neither a picture nor a text: vault.open_file(sha256) reads it.")
    cut = [html.note(f"The first {len(data):,} of {size:,} bytes.")] if size > len(data) else []
    return html.join([html.code(text), *cut])
