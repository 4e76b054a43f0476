"""Writers that die: at named points of a commit, and at random moments. What was acknowledged stays; nothing is half there."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from stores import put, rows
from test_changes import change, table
from test_forks import wait_until
from torture.harness import COUNTS, PROCESSES, Acks, times

import tablevault_pd as tv
from tablevault_pd.store.embedded import EmbeddedStore
from tablevault_pd.store.embedded import fsio as io

if TYPE_CHECKING:
    from pathlib import Path

POINTS = [
    "created",
    "half-written",
    "synced",
    "folder-synced",
    "lock-taken",
    "rows-in",
    "before-commit",
    "after-commit",
]


def write(place: Path, acks: Path, size: int, point: str, action: str) -> None:
    """In a process of its own: three batches, the second of which meets the point."""
    vault = tv.connect(place)
    log = acks.open("a")

    def put(number: int) -> None:
        vault.append("a", pd.DataFrame({"number": number, "x": np.arange(size)}))
        log.write(f"{number}\n")
        log.flush()

    put(0)
    vault._run.end()  # so that nobody but this thread writes, and meets the point
    io._fault_name, io._fault_action = point, action
    try:
        put(1)
    except (tv.VaultError, OSError) as error:
        acks.with_name("raised").write_text(type(error).__name__)
    io._fault_name = ""
    put(2)


def check_vault(place: Path, acks: Path, size: int, extra: int) -> None:
    """Every acknowledged batch is there, whole, once, and at most `extra` more."""
    acked = [int(line) for line in acks.read_text().split()]
    with tv.connect(place) as vault:
        df = vault.read("a") if "a" in vault else pd.DataFrame({"number": [], "x": []})
        numbers = df["number"].drop_duplicates().tolist()
        assert set(acked) <= set(numbers)
        assert len(set(numbers) - set(acked)) <= extra
        assert (df.groupby("number").size() == size).all()
        problems = vault.check(fix=True)
        assert set(problems["severity"]) <= {"stray"}
        assert vault.check().empty
        vault.append("a", pd.DataFrame({"number": 99, "x": range(size)}))
        assert len(vault.read("a")) == len(df) + size


CASES = [(point, 60_000) for point in POINTS] + [
    (point, 5) for point in POINTS[4:]
]  # a small batch makes no file


@pytest.mark.ci
@pytest.mark.parametrize("action", ["exit", "ENOSPC", "EIO"])
@pytest.mark.parametrize(("point", "size"), CASES)
def test_a_crash_at_every_point(tmp_path, point, action, size):
    place, acks = tmp_path / "v", tmp_path / "acks"
    writer = PROCESSES.Process(target=write, args=(place, acks, size, point, action))
    writer.start()
    writer.join(60)
    assert writer.exitcode == (137 if action == "exit" else 0)
    if action == "ENOSPC" and point in POINTS[:4]:
        assert (tmp_path / "raised").read_text() == "StorageFull"
    check_vault(place, acks, size, extra=1)
    COUNTS.update({"processes ended at a failpoint" if action == "exit" else "failed writes": 1})


def write_on(place: Path, acks: Path, durability: str, number: int) -> None:
    """In a process of its own: batches until it is killed."""
    vault, log = tv.connect(place, durability=durability), Acks(acks)
    rng = np.random.default_rng(number)
    while True:
        size = 40_000 if rng.random() < 0.3 else 3
        vault.append("a", pd.DataFrame({"number": number, "size": size, "x": np.arange(size)}))
        log.add(number)
        number += 1


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["full", "fast"])
def test_kill_at_random_moments(tmp_path, durability):
    r = random.Random(durability)
    place, number = tmp_path / "v", 0
    acked: set[int] = set()
    for round_ in range(times(2)):
        acks = [tmp_path / f"acks{round_}.{w}" for w in range(2)]
        number += 1_000_000
        writers = [
            PROCESSES.Process(target=write_on, args=(place, acks[w], durability, number + w * 500_000))
            for w in range(2)
        ]
        for writer in writers:
            writer.start()
        wait_until(lambda acks=acks: all(each.exists() and each.stat().st_size for each in acks))
        time.sleep(r.uniform(0, 0.12))
        for writer in writers:
            writer.kill()
            writer.join()
            assert writer.exitcode == -signal.SIGKILL
        for each in acks:
            acked |= set(Acks(each).all())
        with tv.connect(place) as vault:
            df = vault.read("a", columns=["number", "size"])
            assert acked <= set(df["number"])
            assert len(set(df["number"]) - acked) <= 2 * (round_ + 1)
            sizes = df.groupby("number")["size"].agg(["size", "first"])
            assert (sizes["size"] == sizes["first"]).all()
            assert set(vault.check(fix=True)["severity"]) <= {"stray"}
            assert vault.check().empty
        COUNTS.update({"kills": len(writers)})
    COUNTS.update({"acknowledged writes": len(acked)})


def change_rows(place: Path, size: int, point: str) -> None:
    """In a process of its own, which ends at the point: replace two rows, leave out one, and add `size`."""
    store = EmbeddedStore(place)
    io._fault_name, io._fault_action = point, "exit"
    change(store, "a", [3, 1], [0], list(range(100, 102 + size)))


@pytest.mark.ci
@pytest.mark.parametrize(("point", "size"), CASES)
def test_a_crash_while_rows_are_replaced(tmp_path: Path, point: str, size: int) -> None:
    """The version before, or the one after, and nothing between."""
    place = tmp_path / "v"
    before = list(range(5))
    with tv.connect(place) as vault:
        put(vault.store, "a", table(before))
    process = PROCESSES.Process(target=change_rows, args=(place, size, point))
    process.start()
    process.join(60)
    assert process.exitcode == 137
    COUNTS["processes ended at a failpoint"] += 1
    after = [101, 2, 100, 4, *range(102, 102 + size)]
    with tv.connect(place) as vault:
        head = vault.store.head("a")
        assert head is not None
        committed = point == "after-commit"
        assert [row["n"] for row in rows(vault.store, head, ["n"])] == (after if committed else before)
        assert set(vault.check()["severity"]) <= {"stray"}
        change(vault.store, "a", [2], [], [7])
        assert vault.check(fix=True)["fixed"].all()
        assert vault.check().empty
