"""Pools of processes, one after the other: none hangs, and nothing that a task logged or appended is lost."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import tablevault_pd as tv

from .harness import COUNTS, Acks, check_rows, run, times

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """
import multiprocessing
import tablevault_pd as tv
from torture.harness import Acks

def work(number):
    tv.log(step=number, number=number)
    tv.current_vault().append("rows", {"n": number})
    return number

def main(place, acks, method, pools):
    context, acked = multiprocessing.get_context(method), Acks(acks)
    with tv.connect(place, session="boss", durability="fast"):
        for first in range(0, 4 * pools, 4):
            with context.Pool(2) as pool:
                for number in pool.imap_unordered(work, range(first, first + 4)):
                    acked.add(number)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("method", "pools"), [("fork", 6), ("forkserver", 3), ("spawn", 1)])
def test_pools_end_and_lose_nothing(tmp_path: Path, method: str, pools: int) -> None:
    (tmp_path / "pooled.py").write_text(MODULE, encoding="utf-8")
    place, acks, count = tmp_path / "v", tmp_path / "acks", times(pools, ordinary=max(1, pools // 3))
    code = "import sys; sys.path.insert(0, sys.argv[1]); import pooled; pooled.main(*sys.argv[2:5], int(sys.argv[5]))"
    run(code, tmp_path, place, acks, method, count)
    with tv.connect(place, mode="r") as vault:
        check_rows(vault, "rows", Acks(acks).all())
        assert sorted(vault.read("rows")["n"]) == list(range(4 * count))
        assert sorted(vault.store.measures()["step"].to_pylist()) == list(range(4 * count))
        workers = vault.sessions("boss/worker")
        assert set(workers.state) == {"finished"}, workers[["session", "state", "error"]].to_string()
    COUNTS.update({f"pools ({method})": count})
