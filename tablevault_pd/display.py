"""HTML of vaults, lists, sessions and comparisons in a notebook: a line that says what it is, and a small table.

It has the colours of the notebook, light or dark. Every name and text of a user is escaped.
"""

from __future__ import annotations

from html import escape
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


ROWS = 20  #: of a table
TEXT = 200  #: characters of a cell


def counted(number: int, thing: str) -> str:
    """Return a number with a noun: ``1 row``, ``1,200 rows``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return `text` with escapes for characters that do not print."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def printable_lines(text: str) -> str:
    """Return `text` with its line ends, and escapes for what else does not print: names of others may command a terminal."""
    return "\n".join(map(printable, text.split("\n")))


def vault_html(
    place: str, said: str = "closed", lists: Sequence[tuple[str, int, int, list[str]]] = (), more: int = 0
) -> str:
    """Return the HTML of a vault: its place, and a table of some lists by name, version, rows and columns; `more` are not shown."""
    shown = [
        (name, version, rows, ", ".join(labels[:8]) + (" …" if len(labels) > 8 else ""))
        for name, version, rows, labels in lists
    ]
    head = ("list", "version", "rows", "columns")
    return card("Vault", place, said, table(head, shown, of=len(shown) + more, all_of="vault.lists()"))


def list_html(name: str, version: int, rows: int, columns: Sequence[tuple[object, ...]]) -> str:
    """Return the HTML of a list: name, version and length, and the columns as (label, dtype, kind)."""
    shown = table(("column", "dtype", "kind"), columns[:ROWS], of=len(columns), all_of=".columns")
    return card("List", name, f"version {version}, {counted(rows, 'row')}", shown)


def session_html(name: str, state: str, rows: Iterable[tuple[str, str]], values: Mapping[str, object]) -> str:
    """Return the HTML of a session: its name and state, and values by name."""
    every = [*rows, *((name, str(value)) for name, value in values.items())]
    return card("Session", name, state, table((), every[:ROWS], of=len(every), all_of=".params, .metrics"))


def comparison_html(names: Sequence[str], counts: Mapping[str, int], rows: str) -> str:
    """Return the HTML of a comparison: its sides, how often each flip or status is there, and `rows`, which is HTML."""
    said = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items())
    return card("Comparison", f"{', '.join(names[1:])} against {names[0]}", said, rows)


def card(kind: str, name: str, said: str, body: str = "") -> str:
    """Return a line that says what is shown, above `body`, which is HTML."""
    beside = f'<span style="opacity:.7">{escape(said)}</span>' if said else ""
    return f'<div style="margin:.2em 0 .4em">{escape(kind)} <b>{escape(name)}</b> &nbsp;{beside}</div>{body}'


def table(head: Iterable[object], rows: Iterable[Iterable[object]], *, of: int = 0, all_of: str = "") -> str:
    """Return an HTML table of texts, escaped. Where there are more rows, `of` in all, `all_of` has them."""
    shown = list(islice(rows, ROWS))
    if not shown:
        return ""
    left = ' style="text-align:left"'
    body = "".join(
        "<tr>" + "".join(f"<td{left}>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in shown
    )
    titles = "".join(f"<th{left}>{escape(str(title))}</th>" for title in head)
    above = f"<thead><tr>{titles}</tr></thead>" if titles else ""
    more = f"<div>… and {of - len(shown):,} more: <code>{all_of}</code></div>" if of > len(shown) else ""
    return f"<table>{above}<tbody>{body}</tbody></table>{more}"


def _cell(value: object) -> str:
    text = str(value)
    return escape(text if len(text) <= TEXT else f"{text[:TEXT]}…")
