"""How a vault, a list and a session look in a notebook. Every name and text in them is somebody's data, and escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tablevault_pd.session import Run
    from tablevault_pd.session.info import RunInfo
    from tablevault_pd.vault.lists import List
    from tablevault_pd.vault.vault import Vault

ROWS = 20


def vault_html(vault: Vault) -> str:
    """The place, and a table of its lists."""
    if vault.closed:
        return f"<b>Vault</b> {escape(vault.place)} (closed)"
    frame = vault.lists()
    columns = [list(labels) for labels in frame["columns"].head(ROWS)]
    texts = [", ".join(map(str, labels[:8])) + (" …" if len(labels) > 8 else "") for labels in columns]
    plain = frame[["name", "version", "rows"]].head(ROWS).itertuples(index=False, name=None)
    shown = [(*row, text) for row, text in zip(plain, texts, strict=True)]
    more = (
        f"<div>… and {len(frame) - ROWS} more: <code>vault.lists()</code></div>" if len(frame) > ROWS else ""
    )
    head = f"<b>Vault</b> {escape(vault.place)}: {len(frame)} lists, {int(frame['rows'].sum()):,} rows"
    return f"<div>{head}</div>{table(('list', 'version', 'rows', 'columns'), shown)}{more}"


def list_html(found: List) -> str:
    """Name, version and length, and its columns with what each holds."""
    columns = [(column.label, column.dtype, column.kind) for column in found._columns()]
    head = f"<b>{escape(found.name)}</b>, version {found.version}: {len(found):,} rows"
    return f"<div>{head}</div>{table(('column', 'dtype', 'kind'), columns)}"


def session_html(run: Run) -> str:
    """Name, state, and what it was told."""
    rows = [("tags", ", ".join(run.tags))] if run.tags else []
    return f"<div><b>{escape(repr(run).strip('<>'))}</b></div>{pairs(rows, run.params)}"


def info_html(info: RunInfo) -> str:
    """Name, state, when and where, then parameters and last metrics."""
    rows = [("started", f"{info.started:%Y-%m-%d %H:%M:%S} UTC"), ("by", f"{info.user}@{info.host}")]
    rows += [("error", info.error)] if info.error else []
    rows += [("tags", ", ".join(info.tags))] if info.tags else []
    told = {f"params.{name}": value for name, value in info.params.items()}
    told |= {f"metrics.{name}": f"{value:.6g}" for name, value in info.metrics.items()}
    return f"<div><b>Session {escape(repr(info.label))}: {escape(info.state)}</b></div>{pairs(rows, told)}"


def pairs(rows: Iterable[tuple[str, str]], values: Mapping[str, object]) -> str:
    """A table of names and values."""
    return table(("", ""), [*rows, *((name, str(value)) for name, value in values.items())])


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """An HTML table of texts, escaped."""
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    if not body:
        return ""
    titles = "".join(f"<th>{escape(str(title))}</th>" for title in head)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
