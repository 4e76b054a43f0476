"""Lineage: walks over a million rows and over a hundred thousand batches, beside NetworkX and a recursive SQLite query.

Run ``python benchmarks/lineage.py``; ``--quick`` for a tenth of the rows. Times are the best of three, in seconds. The
peers get the same edges, one by one, since neither knows of ranges; the time they take to be loaded is not counted.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pandas as pd

import tablevault_pd as tv

HOPS = 5


def best(work: Callable[[], Any], times: int = 3) -> float:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def chain(vault: tv.Vault, rows: int, kind: str) -> tuple[str, list[np.ndarray]]:
    """Six lists, each row of one made from one row of the one before. Returns the last and the mappings."""
    generator = np.random.default_rng(0)
    mappings = []
    vault.save(f"{kind}0", pd.DataFrame({"x": np.arange(rows)}))
    for hop in range(1, HOPS + 1):
        before = vault.read(f"{kind}{hop - 1}")
        if kind == "range":
            mapping = np.arange(rows)
        elif kind == "reverse":
            mapping = np.arange(rows)[::-1]
        else:
            mapping = generator.permutation(rows)
        start = time.perf_counter()
        before.iloc[mapping].vault.save(f"{kind}{hop}")
        print(f"  save {kind}{hop}: {time.perf_counter() - start:.3f} s", flush=True)
        mappings.append(mapping)
    return f"{kind}{HOPS}", mappings


def in_sqlite(mappings: list[np.ndarray]) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE edges (list INT, row INT, parent INT, PRIMARY KEY (list, row)) WITHOUT ROWID")
    for hop, mapping in enumerate(mappings, start=1):
        db.executemany("INSERT INTO edges VALUES (?, ?, ?)", ((hop, row, parent) for row, parent in enumerate(mapping.tolist())))
    return db


RECURSIVE = """
WITH RECURSIVE walk (asked, list, row, depth) AS (
    SELECT row, list - 1, parent, 1 FROM edges WHERE list = :last
    UNION ALL SELECT w.asked, e.list - 1, e.parent, w.depth + 1 FROM walk w JOIN edges e ON e.list = w.list AND e.row = w.row)
SELECT * FROM walk WHERE :all OR list = 0
"""


def many_batches(vault: tv.Vault, batches: int) -> None:
    """Lists filled a row at a time, each row from a row of the list before."""
    each = batches // (HOPS + 1)
    generator = np.random.default_rng(1)
    vault.save("loop0", pd.DataFrame({"x": np.arange(each)}))
    for hop in range(1, HOPS + 1):
        parents = generator.permutation(each).tolist()
        for row, parent in enumerate(parents):
            vault.append(f"loop{hop}", {"x": row}, inputs={f"loop{hop - 1}": parent})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows = 100_000 if options.quick else 1_000_000
    batches = 6_000 if options.quick else 100_000
    table = []
    with tempfile.TemporaryDirectory() as folder, tv.connect(Path(folder) / "v", durability="fast") as vault:
        for kind in ("range", "reverse", "permutation"):
            name, mappings = chain(vault, rows, kind)
            table.append((f"{rows:,} rows to the list 5 hops up, {kind}", best(lambda: vault.lineage(name, to=f"{kind}0"))))
            table.append((f"all {HOPS * rows:,} lines, {kind}", best(lambda: vault.lineage(name))))
            table.append((f"down, {rows:,} rows to the list 5 hops on, {kind}", best(
                lambda: vault.lineage(f"{kind}0", direction="down", to=name))))  # fmt: skip
            table.append((f"one row, 5 hops, {kind}", best(lambda: vault.lineage(name, rows=rows // 2))))
        db = in_sqlite(mappings)
        table.append(("SQLite recursive, to the list 5 hops up", best(
            lambda: db.execute(RECURSIVE, {"last": HOPS, "all": 0}).fetchall(), 1)))  # fmt: skip
        graph = networkx.DiGraph()
        for hop, mapping in enumerate(mappings, start=1):
            graph.add_edges_from(((hop, row), (hop - 1, parent)) for row, parent in enumerate(mapping.tolist()))
        some = min(rows, 10_000)
        seconds = best(lambda: [networkx.descendants(graph, (HOPS, row)) for row in range(some)], 1)
        table.append((f"NetworkX descendants, to the list 5 hops up (from {some:,} rows)", seconds * rows / some))
        del graph
        start = time.perf_counter()
        many_batches(vault, batches)
        table.append((f"append {batches:,} rows one by one", time.perf_counter() - start))
        last, each = f"loop{HOPS}", len(vault[f"loop{HOPS}"])
        table.append((f"one row, 5 hops, in {batches:,} batches", best(lambda: vault.lineage(last, rows=each // 2), 20)))
        table.append((f"one row, 5 hops down, in {batches:,} batches", best(
            lambda: vault.lineage("loop0", rows=each // 2, direction="down"), 20)))  # fmt: skip
        table.append((f"all {each:,} rows, 5 hops, in {batches:,} batches", best(lambda: vault.lineage(last))))
    width = max(len(what) for what, _ in table)
    for what, seconds in table:
        print(f"{what:<{width}}  {seconds:>9.4f} s")


if __name__ == "__main__":
    main()
