"""A call that is made again and again leaves nothing behind in memory, and no file open."""

from __future__ import annotations

import gc
import os
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tablevault_pd as tv
from tablevault_pd.store.engine import kept_layouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.ci

WARM, CALLS, ROUNDS = 40, 30, 8
LEFT = 2000  #: bytes that a call may leave: what is known of the versions of a list is kept
FILES = 12  #: more files that may be open: connections of the threads that work in the background
TEXTS = ["a cat and a dog", "a bird", "no cat"] * 10


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have Python note what is allocated, and a cache be full soon."""
    monkeypatch.setattr(kept_layouts, "MOST_LAYOUTS", 16)
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held() -> int:
    """How many bytes Python's objects, arrays of NumPy and buffers of Arrow take."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0


def growth(vault: tv.Vault, call: Callable[[], Any]) -> tuple[float, int]:
    """Bytes that each call leaves, in the round that leaves the fewest: a cache grows now and then, a leak always. And open files."""
    for _ in range(WARM):
        call()
    vault._flush(info=True)  # what is read of the environment in the background is let go then
    left, files = float("inf"), open_files()
    for _ in range(ROUNDS):
        before = held()
        for _ in range(CALLS):
            call()
        vault._flush()
        left = min(left, (held() - before) / CALLS)
        if left < LEFT:
            break
    return left, open_files() - files


class Calls:
    """Calls of all kinds on one vault, each with other values every time where it writes."""

    def __init__(self, vault: tv.Vault) -> None:
        self.vault, self.number = vault, 0
        rows = {"id": range(30), "text": TEXTS, "vec": list(np.eye(30, 4, dtype=np.float32) + 0.5)}
        vault.save("docs", pd.DataFrame(rows), key="id")
        vault.save("jobs", pd.DataFrame({"n": range(500)}))

    def next(self) -> int:
        self.number += 1
        return self.number

    def read(self) -> None:
        self.vault.read("docs")
        self.vault.read("docs", filters="id < 5", columns=["text"])

    def search(self) -> None:
        self.vault.search("cat", lists="docs")
        self.vault.search(near={"vec": [1.0, 2.0, 3.0, 4.0]}, lists="docs")

    def report(self) -> None:
        self.vault.lists()
        self.vault.versions("docs")
        self.vault.sessions()

    def save(self) -> None:
        self.vault.save("own", pd.DataFrame({"a": [self.next()]}))

    def append(self) -> None:
        self.vault.append("log", {"a": self.next(), "text": "said"})

    def derive(self) -> None:
        self.vault.save("derived", self.vault.read("docs").query("id < 9").assign(x=self.next()))

    def upsert(self) -> None:
        self.vault.upsert("docs", {"id": 1, "text": f"{self.next()} cats", "vec": np.ones(4, np.float32)})

    def describe(self) -> None:
        self.vault.describe("docs", f"text {self.next()}")

    def log(self) -> None:
        tv.log(loss=float(self.next()))
        tv.checkpoint()
        self.vault._flush()

    def session(self) -> None:
        with self.vault.session("inner") as s:
            s.log(step=1, loss=1.0)

    def claim(self) -> None:
        mine = self.vault.claim("jobs", 1)
        self.vault.append("results", {"done": self.next()}, inputs=tv.rows(mine), finish=True)

    def check(self) -> None:
        assert self.vault.check().empty


@pytest.mark.parametrize("name", [name for name in vars(Calls) if name != "next" and name[0] != "_"])
def test_a_call_made_again_and_again_leaves_nothing(folder_vault: tv.Vault, traced: None, name: str) -> None:
    left, files = growth(folder_vault, getattr(Calls(folder_vault), name))
    assert left < LEFT, f"{left:.0f} bytes a call"
    assert files < FILES


def test_a_vault_that_is_opened_and_closed_leaves_nothing(folder_vault: tv.Vault, traced: None) -> None:
    folder_vault.save("x", {"a": 1})

    def open_and_close() -> None:
        with tv.connect(folder_vault.place, mode="r", session=False) as again:
            again.read("x")

    left, files = growth(folder_vault, open_and_close)
    assert left < LEFT, f"{left:.0f} bytes a call"
    assert files < FILES


def test_what_a_call_leaves_is_noticed(folder_vault: tv.Vault, traced: None, monkeypatch) -> None:
    """That these tests notice a leak of eight kilobytes a call."""
    kept: list[Any] = []
    calls = Calls(folder_vault)
    real = folder_vault.append

    def append(*arguments: Any, **more: Any) -> Any:
        kept.append(bytes(8000))
        return real(*arguments, **more)

    monkeypatch.setattr(folder_vault, "append", append)
    left, _ = growth(folder_vault, calls.append)
    assert left > LEFT
