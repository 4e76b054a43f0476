"""A backup is one moment of a vault, taken while others write, compact and vacuum, and is a vault itself."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from torture.harness import PROCESSES, times

import tablevault_pd as tv
from tablevault_pd.store.embedded import maintenance

if TYPE_CHECKING:
    from pathlib import Path

WIDE = 40_000  # rows of float64 that make a segment file of their own


def write_on(place: str, begun: Any, stop: Any) -> None:
    """Append to a list and then to another one; merge and remove their files again and again."""
    with tv.connect(place, session="writer", capture="none") as vault:
        for n in itertools.count():
            vault.append("first", pd.DataFrame({"n": np.full(WIDE, float(n))}))
            vault.append("second", pd.DataFrame({"n": [n]}))
            vault.save("again", pd.DataFrame({"n": np.full(WIDE, float(n))}))
            vault.compact()
            vault.vacuum(dry_run=False)
            begun.set()
            if stop.is_set():
                return


def test_a_backup_is_one_moment_of_a_vault_that_others_write_to(here: Path) -> None:
    begun, stop = PROCESSES.Event(), PROCESSES.Event()
    writer = PROCESSES.Process(target=write_on, args=(str(here / "v"), begun, stop))
    writer.start()
    try:
        assert begun.wait(60)
        with tv.connect(here / "v", session=False) as vault:
            least = []
            for number in range(times(10, ordinary=3)):
                least.append(len(vault["second"]))
                assert vault.backup(here / f"copy{number}").empty
    finally:
        stop.set()
        writer.join(60)
    assert writer.exitcode == 0
    for number, acknowledged in enumerate(least):
        with tv.connect(here / f"copy{number}", session=False) as vault:
            assert vault.check().empty
            assert len(vault["second"]) >= acknowledged
            first, second = vault.read("first")["n"], vault.read("second")["n"].tolist()
            assert second == list(range(len(second)))
            assert len(first) // WIDE - len(second) in (0, 1)
            assert first.tolist()[::WIDE] == [float(n) for n in range(len(first) // WIDE)]


def test_a_backup_of_which_a_vacuum_takes_files_is_begun_anew(
    folder_vault, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_vault.save("a", pd.DataFrame({"n": np.zeros(WIDE)}))
    copy_catalog = maintenance._copy_catalog

    def between(*arguments: Any) -> Any:
        monkeypatch.setattr(maintenance, "_copy_catalog", copy_catalog)
        copied = copy_catalog(*arguments)
        folder_vault.save("a", pd.DataFrame({"n": np.ones(WIDE)}))
        folder_vault.vacuum(keep=1, dry_run=False)
        return copied

    monkeypatch.setattr(maintenance, "_copy_catalog", between)
    assert folder_vault.backup(here / "copy").empty
    with tv.connect(here / "copy", mode="r") as copy:
        assert copy.check().empty
        assert copy.read("a")["n"].eq(1).all()


def test_a_backup_is_a_vault_of_its_own(folder_vault, here):
    (here / "notes.txt").write_text("hello")
    with folder_vault.session("train", params={"lr": 0.1}) as run:
        run.log(step=1, loss=0.5)
        folder_vault.save("notes", pd.DataFrame({"path": ["notes.txt"]}), files="path", copy=True)
        folder_vault.read("notes").assign(n=1).vault.save("counts", description="numbers")
    folder_vault.snapshot("paper")
    assert folder_vault.backup(here / "copy").empty
    folder_vault.save("later", {"n": 1})
    with tv.connect(here / "copy", mode="r") as copy:
        assert copy.lists()["name"].tolist() == ["counts", "notes"]
        pd.testing.assert_frame_equal(copy.lineage("counts"), folder_vault.lineage("counts"))
        pd.testing.assert_frame_equal(copy.sessions(), folder_vault.sessions().head(len(copy.sessions())))
        sha256 = copy.files("notes")["sha256"][0]
        assert copy.open_file(sha256).read() == b"hello"
    with tv.connect(here / "copy") as copy:
        copy.append("counts", {"n": 2})
        assert copy.check().empty
    assert len(folder_vault["counts"]) == 1


def test_damage_is_copied_as_it_is_and_told(folder_vault, here):
    folder_vault.save("a", pd.DataFrame({"x": np.arange(float(WIDE))}))
    folder_vault.save("b", pd.DataFrame({"x": np.arange(float(WIDE))}))
    gone, hurt = sorted(
        (here / "test.vault" / "segments").iterdir(), key=lambda path: path.stat().st_mtime_ns
    )
    content = {path: path.read_bytes() for path in (gone, hurt)}
    gone.unlink()
    hurt.write_bytes(content[hurt][:-4000] + bytes(4000))
    with pytest.warns(RuntimeWarning, match="2 problems"):
        problems = folder_vault.backup(here / "copy")
    assert problems["severity"].tolist() == ["damage"] * 2
    assert sorted(problems["list"]) == ["a", "b"]
    for path, data in content.items():
        path.write_bytes(data)


def test_a_backup_is_refused_where_it_would_do_harm(folder_vault, here):
    folder_vault.save("a", {"n": 1})
    (here / "full").mkdir()
    (here / "full" / "mine.txt").write_text("mine")
    with pytest.raises(tv.InvalidInput, match="not an empty folder"):
        folder_vault.backup(here / "full")
    with pytest.raises(tv.InvalidInput, match="inside of the vault"):
        folder_vault.backup(here / "test.vault" / "copy")
    folder_vault.snapshot("paper")
    with tv.connect(here / "test.vault", at="paper") as pinned, pytest.raises(tv.InvalidInput, match="at="):
        pinned.backup(here / "copy")
    assert sorted(path.name for path in here.iterdir()) == ["full", "test.vault"]
