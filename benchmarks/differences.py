"""What it costs to compare: a million rows on an integer key beside a merge, and a measure over many appended versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from timing import OURS, Contender, Line, compare, race

import tablevault_pd as tv

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = "the design's limit"
ROWS = 1_000_000
VERSIONS, APPENDED = 200, 5000


def measure(folder: Path, scale: float) -> list[Line]:
    with tv.connect(folder / "differences", session=False, capture="none") as vault:
        return rows(vault, max(int(ROWS * scale), 100)) + trends(vault, max(int(VERSIONS * scale), 5))


def rows(vault: tv.Vault, count: int) -> list[Line]:
    """Two versions whose rows are in another order, one in ten changed."""
    rng = np.random.default_rng(0)
    old = pd.DataFrame(
        {"id": rng.permutation(count), "x": rng.random(count), "right": rng.random(count) < 0.8}
    )
    new = old.sample(frac=1, random_state=1).reset_index(drop=True)
    new.loc[::10, "x"] += 1
    new["right"] ^= rng.random(count) < 0.05
    vault.save("old", old)
    vault.save("new", new)
    contenders = [
        Contender(OURS, lambda _: vault.compare("old", "new", on="id")),
        Contender(
            "DataFrame.merge, outer", lambda _: old.merge(new, on="id", how="outer", suffixes=("_a", "_b"))
        ),
        Contender("DataFrame.merge, inner", lambda _: old.merge(new, on="id", suffixes=("_a", "_b"))),
    ]
    targets = {"DataFrame.merge, outer": 3.0, "DataFrame.merge, inner": 3.0}
    lines = race(f"compare {count:,} rows on an integer key", contenders, rounds=5, targets=targets)
    found = vault.compare("old", "new", on="id", measure={"right": "right", "x": "x"})
    summary = [
        Contender(
            OURS,
            lambda _: vault.compare("old", "new", on="id", measure="right").summary,
            note="and the comparison",
        ),
        Contender("of two measures", lambda _: found.summary, rounds=2, note="2000 draws of the numbers"),
    ]
    return lines + race(f"summary of {count:,} pairs", summary, rounds=3)


def trends(vault: tv.Vault, versions: int) -> list[Line]:
    """A list that grew; each version is measured, though each payload is read once."""
    rng = np.random.default_rng(1)
    for _ in range(versions):
        gold = rng.integers(0, 5, APPENDED)
        pred = np.where(rng.random(APPENDED) < 0.2, 9, gold)
        vault.append("log", pd.DataFrame({"gold": gold, "pred": pred, "text": ["some text"] * APPENDED}))
    limit = 0
    everything = vault.read("log", columns=["gold", "pred"])

    def anew(_: int) -> object:
        nonlocal limit
        limit += 1  # another measure: nothing is remembered of it
        return vault.trend("log", f"gold == pred or gold > {limit + 100}")

    def once(_: int) -> object:
        frame = vault.read("log", columns=["gold", "pred"])
        return (frame["gold"] == frame["pred"]).mean()

    vault.trend("log", "gold == pred")
    work = f"trend over {versions:,} appended versions, {len(everything):,} rows"
    contenders = [Contender(OURS, anew), Contender("read and measure the newest", once)]
    lines = race(work, contenders, rounds=5)
    again = race(f"{work}, again", [Contender(OURS, lambda _: vault.trend("log", "gold == pred"))])
    return [*lines, *again, compare(f"{work}, again", {OURS: again[0].seconds, LIMIT: 0.05}, {LIMIT: 1.0})[1]]
