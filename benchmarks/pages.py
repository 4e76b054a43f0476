"""How long the pages of ``vault.explore()`` take: 10,000 sessions and 1,000 lists, and 100 rows of a list of 10 million.

Each page is made in a fresh process that opens the vault for reading, as ``tablevault-pd ui`` does: the time is that of
``connect()`` and of the page as HTML, once Panel is imported. The design's limits stand in the table as peers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sessions import insert_sessions
from timing import Contender, Line, child, compare, race

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = "the design's limit"
SESSIONS, LISTS, ROWS = 10_000, 1_000, 10_000_000
CHUNK = 1_000_000
OPEN_S, PAGE_S = 2.0, 0.3
CODE = """
import sys
from time import perf_counter
import tablevault_pd as tv
from tablevault_pd.explore.page import PageAddress
from tablevault_pd.explore.explorer import page
place, connected, address = sys.argv[1], sys.argv[2] == "open", sys.argv[3]
if not connected:
    vault = tv.connect(place, mode="r")
    page(vault, PageAddress.parse("?view=lists"))
start = perf_counter()
if connected:
    vault = tv.connect(place, mode="r")
made = page(vault, PageAddress.parse(address))
took = perf_counter() - start
assert made.title != "Error", made.blocks
print(took)
"""


def measure(folder: Path, scale: float) -> list[Line]:
    """Fill a vault, then open its pages."""
    place = folder / "vault"
    with tv.connect(place, session=False) as vault:
        fill(vault, scale)
    rows = int(ROWS * scale)
    lines: list[Line] = []
    opened = {
        "lists": "?view=lists",
        "sessions": "?view=sessions",
        "sorted by a metric": "?view=sessions&sort=metrics.m1",
    }
    for name, address in opened.items():
        work = f"open {SESSIONS * scale:,.0f} sessions, {LISTS * scale:,.0f} lists: {name}"
        lines += timed(work, str(place), "open", address, OPEN_S)
    for name, start in {"the first 100": 0, "in the middle": rows // 2, "the last 100": rows - 1}.items():
        address = f"?view=list&name=big&start={start}"
        lines += timed(f"rows of {rows:,}: {name}", str(place), "page", address, PAGE_S)
    return lines


def fill(vault: tv.Vault, scale: float) -> None:
    """Make the sessions, the small lists and the big one, whose rows are numbers, texts and short vectors."""
    vault.store.catalog.write(insert_sessions, int(SESSIONS * scale))
    for number in range(int(LISTS * scale)):
        vault.save(f"small/{number}", pd.DataFrame({"x": [number], "text": [f"list {number}"]}))
    vault.save("big", chunks(int(ROWS * scale)))


def chunks(rows: int) -> Iterator[pd.DataFrame]:
    """Yield the big list's rows."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        names = np.char.add("row ", np.arange(start, start + count).astype(str))
        vectors: Any = list(rng.random((count, 4), dtype="float32"))
        yield pd.DataFrame(
            {"n": np.arange(start, start + count), "value": rng.random(count), "name": names, "vec": vectors}
        )


def timed(work: str, place: str, how: str, address: str, limit_s: float) -> list[Line]:
    """Return the line of one page, and that of its limit."""
    lines = race(work, [Contender("tablevault_pd", lambda _: child(CODE, place, how, address))], rounds=3)
    return compare(work, {"tablevault_pd": lines[0].seconds or 0.0, LIMIT: limit_s}, {LIMIT: 1.0})
