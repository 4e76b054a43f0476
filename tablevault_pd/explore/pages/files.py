"""A file that a cell names: what is kept about it, and its content if that is kept, too. Nothing else is read from the disk."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from tablevault_pd.explore import html
from tablevault_pd.explore.address import PageAddress, to
from tablevault_pd.explore.page import Explored, Page, call
from tablevault_pd.reading import reports
from tablevault_pd.reading.read import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 2_000_000  #: of a picture or a text that is shown; of a longer text this much
#: The first bytes of pictures that browsers draw and that hold no script.
PICTURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}


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
