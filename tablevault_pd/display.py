"""HTML and texts of vaults, lists and sessions in a notebook. Every name and text of a user is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

ROWS = 20


def counted(number: int, thing: str) -> str:
    """Return a number with a noun: ``1 row``, ``1,200 rows``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def vault_html(place: str, frame: pd.DataFrame | None) -> str:
    """Return the HTML of a vault: its place, and a table of its lists; `frame` is None if it is closed."""
    if frame is None:
        return f"<b>Vault</b> {escape(place)} (closed)"
    columns = [list(labels) for labels in frame["columns"].head(ROWS)]
    texts = [", ".join(map(str, labels[:8])) + (" …" if len(labels) > 8 else "") for labels in columns]
    plain = frame[["name", "version", "rows"]].head(ROWS).itertuples(index=False, name=None)
    shown = [(*row, text) for row, text in zip(plain, texts, strict=True)]
    more = (
        f"<div>… and {len(frame) - ROWS} more: <code>vault.lists()</code></div>" if len(frame) > ROWS else ""
    )
    head = f"<b>Vault</b> {escape(place)}: {counted(len(frame), 'list')}, {counted(int(frame['rows'].sum()), 'row')}"
    return f"<div>{head}</div>{table(('list', 'version', 'rows', 'columns'), shown)}{more}"


def list_html(name: str, version: int, rows: int, columns: Iterable[tuple[object, ...]]) -> str:
    """Return the HTML of a list: name, version and length, and the columns as (label, dtype, kind)."""
    head = f"<b>{escape(name)}</b>, version {version}: {counted(rows, 'row')}"
    return f"<div>{head}</div>{table(('column', 'dtype', 'kind'), columns)}"


def session_html(title: str, rows: Iterable[tuple[str, str]], values: Mapping[str, object]) -> str:
    """Return the HTML of a session: a title, and values by name."""
    return f"<div><b>{escape(title)}</b></div>{pairs(rows, values)}"


def pairs(rows: Iterable[tuple[str, str]], values: Mapping[str, object]) -> str:
    """Return an HTML table of names and values."""
    return table(("", ""), [*rows, *((name, str(value)) for name, value in values.items())])


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return an HTML table of texts, escaped."""
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    if not body:
        return ""
    titles = "".join(f"<th>{escape(str(title))}</th>" for title in head)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
