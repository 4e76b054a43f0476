"""Appending one row while the texts of a large save are indexed in the background, against the same appends before it.

The rows are appended one after the other, and with pauses, in which the indexing goes on.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from timing import Line

import tablevault_pd as tv

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 1_000_000
WORDS = 12
APPENDS = 300
PACES = {"in a row": 0.0, "one in 20 ms": 0.02}
LONGEST_S = 600  # then it ends, however much is indexed


def measure(folder: Path, scale: float) -> list[Line]:
    with tv.connect(folder / "vault") as vault:
        appended(vault, 0.0)  # the first ones open what they need
        quiet = {pace: appended(vault, pause_s) for pace, pause_s in PACES.items()}
        beside: dict[str, list[float]] = {pace: [] for pace in PACES}
        vault.save("texts", texts(int(ROWS * scale)))
        deadline = perf_counter() + LONGEST_S
        while not is_indexed(vault) and perf_counter() < deadline:
            for pace, pause_s in PACES.items():
                beside[pace] += appended(vault, pause_s)
            sleep(1.0)  # else the indexing would yield to appends most of the time
    lines = []
    for pace in PACES:
        work = f"append one row, {pace}, beside the indexing of {int(ROWS * scale):,} texts"
        ratio = median(beside[pace]) / median(quiet[pace])
        lines.append(Line(work, "beside it", median(beside[pace]), note=described(beside[pace])))
        lines.append(
            Line(work, "before it", median(quiet[pace]), ratio, target=2.0, note=described(quiet[pace]))
        )
    return lines


def texts(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    vocabulary = np.array([f"w{number}" for number in range(20_000)])
    chance = 1 / np.arange(1, len(vocabulary) + 1)
    words = rng.choice(vocabulary, (rows, WORDS), p=chance / chance.sum())
    return pd.DataFrame({"text": [" ".join(line) for line in words]})


def appended(vault: tv.Vault, pause_s: float) -> list[float]:
    """The time of each of some appends."""
    times = []
    for step in range(APPENDS):
        start = perf_counter()
        vault.append("metrics", {"step": step, "loss": 1 / (step + 1)})
        times.append(perf_counter() - start)
        sleep(pause_s)
    return times


def is_indexed(vault: tv.Vault) -> bool:
    return vault.indexes().query("kind == 'text' and state != 'complete'").empty


def described(times: list[float]) -> str:
    p99, longest = np.quantile(times, 0.99) * 1e3, max(times) * 1e3
    return f"p99 {p99:.1f} ms, longest {longest:.1f} ms, of {len(times):,}"
