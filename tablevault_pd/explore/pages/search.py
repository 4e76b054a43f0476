"""Search: text, rows near a row, code, values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.display import counted
from tablevault_pd.errors import InvalidInput
from tablevault_pd.explore import html
from tablevault_pd.explore.page import Explored, Page, PageAddress, call, list_link, session_link, to
from tablevault_pd.reading.read import read, resolve
from tablevault_pd.search import request
from tablevault_pd.search import search as search_rows
from tablevault_pd.session.heartbeat import HEARTBEAT

if TYPE_CHECKING:
    from markupsafe import Markup

HITS = 50


OPTIONS = ("text", "filters", "code", "lists", "description")


def search_form(address: PageAddress) -> Markup:
    """The fields to ask with."""
    near = address.get("near")
    fields = [
        html.field("text", address.get("text"), label="Text", hint='words, "a phrase", -not', size=32),
        html.field("lists", address.get("lists"), label="in", hint="all lists", size=14),
        html.field("filters", address.get("filters"), label="Filter", hint="year > 2020", size=20),
        html.field("code", address.get("code"), label="Code", hint="a function", size=14),
        html.field("description", address.get("description"), label="Description", size=14),
    ]
    page = to("search", near=near, row=address.number("row") if near else None)
    return html.form(page, *fields, submit="Search")


def search(vault: Explored, address: PageAddress) -> Page:
    """Fields to ask with, and the best rows."""
    options = {name: address.get(name) for name in OPTIONS}
    near, row = address.get("near"), address.number("row")
    top = [html.heading("Search"), search_form(address)]
    given: dict[str, Any] = {name: value for name, value in options.items() if value}
    if near:
        top.append(
            html.note(f"Near to row {row} of {near}. ", html.link(to("search", **given), "not near it"))
        )
    if not given and not near:
        return Page("Search", "vault.search('words')", top)
    text = given.pop("text", None)
    vector: dict[str, Any] = {}
    if near:
        label, values = _vector(vault, near, row)
        vector = {"near": {label: values}}
    if "code" in given:
        HEARTBEAT.flush(vault.store)  # what this process has executed
    query = request(text, **vector, **given, k=HITS, snippet=bool(text))
    frame = search_rows(vault.store, query)  # not vault.search, which notes a read
    python = call("vault.search", *([text] if text else []), **given, k=HITS)
    if near:
        column = next(iter(vector["near"]))
        python = (
            python[:-1]
            + f", near={{{column!r}: vault.read({near!r}, start={row}, stop={row + 1})[{column!r}].iloc[0]}})"
        )
    lists = frame["list"].tolist()
    versions = frame["version"].tolist()
    cells = {
        "list": list_link,
        "position": lambda value, number: html.link(
            to("list", name=f"{lists[number]}@{versions[number]}", start=value or None), value
        ),
        "session": session_link,
    }
    shown = frame.drop(columns=["ref", "kind"], errors="ignore")
    said = f"the best {HITS}" if len(frame) == HITS else counted(len(frame), "row")
    return Page("Search", python, [*top, html.note(said), html.table(shown, cells)])


def _vector(vault: Explored, name: str, row: int) -> tuple[Any, np.ndarray]:
    """Return the first vector of a row, and the name of its column."""
    version = resolve(vault.store, name)
    frame = read(vault.store, version, start=row, stop=row + 1)
    for label in frame.columns:
        value = frame[label].iloc[0] if len(frame) else None
        if isinstance(value, np.ndarray | list) and len(value) > 1 and np.asarray(value).dtype.kind in "fiu":
            return label, np.asarray(value, dtype="float64")
    raise InvalidInput(f"Row {row} of {name} has no vector to search near to.")
