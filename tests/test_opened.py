"""Files of rows that stay open between searches: what is found is what the files hold, and nobody's changes."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.reading import read as reading
from tablevault_pd.store.embedded import fsio
from tablevault_pd.store.embedded.segments import KEPT_FILES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 40_000  # a file of its own, which is mapped


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[tv.Vault]:
    with tv.connect(tmp_path / "vault", session=False, durability="fast") as vault:
        yield vault


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened."""
    names: list[str] = []
    real = fsio.load_private
    monkeypatch.setattr(fsio, "load_private", lambda path, size: names.append(path.name) or real(path, size))
    return names


def save(vault: tv.Vault, name: str = "x") -> tv.List:
    numbers = np.arange(ROWS)
    vectors = np.zeros((ROWS, 4), np.float32)
    vectors[:, 0] = numbers
    frame = pd.DataFrame({"n": numbers, "half": numbers / 2, "vec": list(vectors)})
    return vault.save(name, frame, inputs=False)


def found(vault: tv.Vault, name: str = "x") -> pd.DataFrame:
    """The rows 8, 7 and 9: neighbours, which could be handed out as a view."""
    return vault.search(near=[8.0, 0, 0, 0], metric="l2", k=3, lists=name, columns=["n", "half"])


def segment(vault: tv.Vault) -> Path:
    (path,) = vault.store.segments.iterdir()
    return path


def test_a_file_is_opened_once_for_the_hits_of_many_searches(vault: tv.Vault, read: list[str]) -> None:
    save(vault)
    found(vault)
    assert len(read) == 2  # for the vectors, and for the hits
    found(vault)
    assert len(read) == 2


def test_changes_of_an_answer_change_no_other_answer(vault: tv.Vault) -> None:
    save(vault)
    version = vault.store.head("x")
    [rows] = reading.take(vault.store, [(version, np.array([7, 8, 9]), ["half"])])
    memory = rows["half"].to_numpy(copy=False)
    memory.setflags(write=True)
    memory[:] = -1.0
    assert found(vault)["half"].to_list() == [4.0, 3.5, 4.5]


@pytest.mark.parametrize("size", [0, 1])
def test_a_file_that_was_damaged_since_is_told(vault: tv.Vault, size: int) -> None:
    save(vault)
    found(vault)
    path = segment(vault)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[: len(content) - size])
    with pytest.raises(tv.VaultCorrupt):
        found(vault)
    path.unlink()
    with pytest.raises(tv.VaultCorrupt):
        found(vault)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("end", ["vacuum", "erase", "compact", "close"])
def test_no_file_stays_open_whose_rows_are_gone(vault: tv.Vault, end: str) -> None:
    save(vault)
    rows = pd.DataFrame({"n": [1], "half": [0.5], "vec": [np.zeros(4, np.float32)]})
    found(vault)
    assert open_segments()
    if end == "vacuum":
        vault.save("x", rows)
        vault.vacuum(keep=1, dry_run=False)
    elif end == "erase":
        vault.erase("x", [7])
    elif end == "compact":
        vault.append("x", rows)
        vault.compact()
    else:
        vault.close()
    assert not open_segments()


def open_segments() -> list[str]:
    gc.collect()
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return [line for line in maps if ".arrow" in line]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_few_files_stay_open(vault: tv.Vault) -> None:
    names = [f"x{number}" for number in range(KEPT_FILES + 2)]
    for name in names:
        save(vault, name)
    for name in names:
        assert found(vault, name)["n"].to_list() == [8, 7, 9]
    assert 0 < len({line.split()[-1] for line in open_segments()}) <= KEPT_FILES


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of open files")
def test_frames_of_more_large_files_than_a_process_may_open_are_read(here):
    import resource

    with tv.connect(here / "v", session=False) as vault:
        for number in range(40):
            vault.save(f"list {number}", pd.DataFrame({"x": np.arange(140_000) + number}))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with tv.connect(here / "v", mode="r") as vault:
        taken = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 30, limits[1]))
        try:
            held = [vault.read(f"list {number}") for number in range(40)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for number, frame in enumerate(held):
        assert frame["x"].iloc[[0, -1]].tolist() == [number, 139_999 + number]
        frame.loc[0, "x"] = -1  # each is the reader's own
