"""Maps in processes that are killed at random and started again: each row has its results once, with its parents."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from stores import new_place
from test_forks import wait_until

import tablevault_pd as tv
from torture.harness import COUNTS, PROCESSES, SEED, times

ROWS = 40
EVERY = 4  # inputs that are committed at a time


def lines(n: int) -> list[dict[str, int]]:
    """None, one or two results of an input; 7 is an error."""
    if n == 7:
        raise ValueError("seven")
    return [{"n": n, "part": part} for part in range(n % 3)]


def take_part(place: str, log: str, batch: bool) -> None:
    """Map, and write down each call."""

    def note(numbers: Any) -> None:
        with Path(log).open("a") as file:
            file.writelines(f"{n} {os.getpid()}\n" for n in numbers)
        time.sleep(0.002)

    def of_row(row: Any) -> Any:
        note([row.n])
        return lines(row.n) or None

    def of_batch(frame: pd.DataFrame) -> pd.DataFrame:
        note(frame["n"])
        several = frame.loc[frame.index.repeat(frame["n"] % 3)]
        return several.assign(part=several.groupby(level=0).cumcount())

    options: dict[str, Any] = {"batch": EVERY} if batch else {"commit_every": EVERY, "on_error": "keep"}
    with tv.connect(place, capture="none", durability="fast", timeout_s=60) as vault:
        vault.map("lines", of_batch if batch else of_row, "numbers", version="1", **options)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of a POSIX system")
@pytest.mark.parametrize(
    ("kind", "batch"),
    [("embedded", False), ("embedded", True), pytest.param("arango", False, marks=pytest.mark.arango)],
)
def test_killed_maps_are_resumed_by_others(kind: str, batch: bool, tmp_path: Path) -> None:
    draw = random.Random(SEED)
    numbers = [draw.randrange(40) for _ in range(ROWS)]
    if batch:
        numbers = [n for n in numbers if n != 7]
    log, killed = tmp_path / "calls", set()
    with new_place(kind, tmp_path) as place, tv.connect(place.address, session=False) as vault:
        vault.save("numbers", pd.DataFrame({"n": numbers}))

        def started() -> Any:
            process = PROCESSES.Process(target=take_part, args=(place.address, str(log), batch), daemon=True)
            process.start()
            return process

        def done() -> int:
            return len(log.read_text().splitlines()) if log.exists() else 0

        workers = [started(), started()]
        for _ in range(times(3, ordinary=1)):
            some = done() + draw.randrange(1, 8)
            wait_until(lambda some=some: done() >= some or not any(each.is_alive() for each in workers))
            victim = workers.pop(draw.randrange(2))
            victim.kill()
            victim.join()
            killed |= {victim.pid} if victim.exitcode else set()  # on a busy machine it may be done already
            workers.append(started())
        for worker in workers:
            worker.join(120)
            assert worker.exitcode == 0
        expected = Counter((n, part) for n in numbers if n != 7 for part in range(n % 3))
        results = vault.read("lines")
        assert Counter(zip(results["n"], results["part"], strict=True)) == expected
        parents = vault.lineage("lines")
        assert [numbers[position] for position in parents["parent_position"]] == results["n"].tolist()
        assert parents["parent_position"].nunique() == sum(n % 3 > 0 and n != 7 for n in numbers)
        calls = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
        for n, several in Counter(n for n, _ in calls).items():
            assert several == 1 or any(pid in killed for number, pid in calls if number == n)
        assert len(vault.store.claim_records(vault.store.head("lines/map").list_id).rows) == 0
        vault.check(fix=True)
        assert vault.check().empty
    COUNTS.update({"kills": len(killed), "inputs mapped by killed processes": len(calls)})
