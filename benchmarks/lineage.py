"""Lineage: walks over a million rows and over a hundred thousand batches, beside NetworkX and a recursive SQLite query.

The peers get the same edges, one by one, since neither knows of ranges; loading them is not counted. NetworkX walks from
a part of the rows, and its time is scaled up.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from timing import OURS, Contender, Line, race

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOPS = 5
KINDS: dict[str, Callable[[int], np.ndarray]] = {
    "range": np.arange,
    "permutation": lambda rows: np.random.default_rng(0).permutation(rows),
}
RECURSIVE = """
WITH RECURSIVE walk (asked, list, row, depth) AS (
    SELECT row, list - 1, parent, 1 FROM edges WHERE list = :last AND row < :rows
    UNION ALL SELECT w.asked, e.list - 1, e.parent, w.depth + 1 FROM walk w JOIN edges e ON e.list = w.list AND e.row = w.row)
SELECT * FROM walk WHERE list = 0
"""


def measure(folder: Path, scale: float) -> list[Line]:
    rows, batches = int(1_000_000 * scale), int(100_000 * scale)
    with tv.connect(folder / "lineage.vault", durability="fast") as vault:
        found: list[Line] = []
        for kind, mapping in KINDS.items():
            found += walks(vault, kind, mapping(rows))
        return found + loops(vault, batches)


def walks(vault: tv.Vault, kind: str, mapping: np.ndarray) -> list[Line]:
    """Six lists, each row of one made from one row of the one before."""
    rows, first, last = len(mapping), f"{kind}0", f"{kind}{HOPS}"
    vault.save(first, pd.DataFrame({"x": np.arange(rows)}), inputs=False)
    for hop in range(HOPS):
        vault.read(f"{kind}{hop}").iloc[mapping].vault.save(f"{kind}{hop + 1}")
    db, part = in_sqlite(mapping), max(rows // 100, 1)
    contenders = [
        Contender(OURS, lambda _: vault.lineage(last, to=first)),
        Contender(
            "SQLite, recursive",
            lambda _: db.execute(RECURSIVE, {"last": HOPS, "rows": rows}).fetchall(),
            rounds=1,
        ),
        *in_networkx(mapping, part),
    ]
    found = race(f"{rows:,} rows to the list {HOPS} hops up, {kind}", contenders, rounds=3)
    found += race(
        f"all {HOPS * rows:,} lines up, {kind}", [Contender(OURS, lambda _: vault.lineage(last))], rounds=3
    )
    down = Contender(OURS, lambda _: vault.lineage(first, direction="down", to=last))
    found += race(f"{rows:,} rows to the list {HOPS} hops down, {kind}", [down], rounds=3)
    one = [
        Contender(OURS, lambda _: vault.lineage(last, rows=rows // 2)),
        Contender("SQLite, recursive", lambda _: db.execute(RECURSIVE, {"last": HOPS, "rows": 1}).fetchall()),
    ]
    return found + race(f"one row, {HOPS} hops, {kind}", one)


def in_sqlite(mapping: np.ndarray) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE edges (list INT, row INT, parent INT, PRIMARY KEY (list, row)) WITHOUT ROWID")
    parents = mapping.tolist()
    for hop in range(1, HOPS + 1):
        db.executemany("INSERT INTO edges VALUES (?, ?, ?)", ((hop, row, p) for row, p in enumerate(parents)))
    return db


def in_networkx(mapping: np.ndarray, part: int) -> list[Contender]:
    """The graph of those edges that the walks from the first `part` rows need."""
    try:
        import networkx
    except ImportError:
        return []
    graph, reached = networkx.DiGraph(), np.arange(part)
    for hop in range(HOPS, 0, -1):
        above = mapping[reached]
        graph.add_edges_from(
            ((hop, row), (hop - 1, parent))
            for row, parent in zip(reached.tolist(), above.tolist(), strict=True)
        )
        reached = above
    work = lambda _: [networkx.descendants(graph, (HOPS, row)) for row in range(part)]  # noqa: E731  # one line of it
    return [Contender("NetworkX descendants", work, rounds=1, times=len(mapping) / part)]


def loops(vault: tv.Vault, batches: int) -> list[Line]:
    """Lists filled a row at a time, each row from a row of the list before."""
    rows = max(batches // HOPS, 2)
    parents = np.random.default_rng(1).permutation(rows).tolist()
    vault.save("loop0", pd.DataFrame({"x": np.arange(rows)}), inputs=False)
    for hop in range(HOPS):
        for row, parent in enumerate(parents):
            vault.append(f"loop{hop + 1}", {"x": row}, inputs={f"loop{hop}": parent})
    works = {
        "one row, 5 hops up": lambda _: vault.lineage(f"loop{HOPS}", rows=rows // 2),
        "one row, 5 hops down": lambda _: vault.lineage("loop0", rows=rows // 2, direction="down"),
        f"all {rows:,} rows, 5 hops up": lambda _: vault.lineage(f"loop{HOPS}"),
    }
    return [
        line
        for what, work in works.items()
        for line in race(f"{what}, in {batches:,} batches", [Contender(OURS, work)], rounds=7)
    ]
