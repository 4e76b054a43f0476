"""Disks that fill up, flip bits and lose logs, and cleaning beside readers: nothing wrong is read, no loss goes unnoticed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import threading
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.store.embedded import segments
from torture.harness import COUNTS, Acks, check_rows, check_sound, run, times

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = 40_000  # rows that make a segment


def frame(number: int, rows: int) -> pd.DataFrame:
    return pd.DataFrame({"n": number, "x": np.arange(rows) * 1.5 + number})


# -- full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command to make a small file system with")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


FILLER = """
import os, random, sys, warnings
import numpy as np, pandas as pd
import tablevault_pd as tv
from torture.harness import Acks
place, acks, rounds = sys.argv[1], Acks(sys.argv[2]), int(sys.argv[3])
warnings.simplefilter("ignore")
vault = tv.connect(place + "/v", capture="none", session="filler")
r = random.Random(7)
full = number = 0
ballast = place + "/ballast"
for round_ in range(rounds):
    free = os.statvfs(place).f_bavail * 4096
    with open(ballast, "wb") as file:
        file.write(bytes(max(0, free - r.randrange(0, 200_000))))
    for step in range(6):
        number += 1
        rows = r.choice([1, 40, 4_000, 40_000])
        columns = r.choice(["ab", "ac", "abc"])  # other columns, other schemas
        try:
            vault.append(f"list{step % 2}", pd.DataFrame({"n": [number] + [-1] * (rows - 1), **{c: np.arange(rows) for c in columns}}))
        except (tv.StorageFull, tv.VaultBusy):
            full += 1
        else:
            acks.add(number)
    os.unlink(ballast)
    vault.append("after", {"n": number})  # there is space again
    for name in ("list0", "list1"):
        if name in vault and r.random() < 0.5:
            vault.compact(name)
    vault.vacuum(dry_run=False, keep=10**6)
    if os.statvfs(place).f_bavail * 4096 < 2_000_000:
        break
print(full)
vault.close()
"""


def test_a_small_disk_that_fills_up_again_and_again(small_disk, tmp_path):
    acks = Acks(tmp_path / "acks")
    full = int(run(FILLER, small_disk, tmp_path / "acks", times(3, ordinary=2)))
    COUNTS.update({"full disks": full, "acknowledged writes": len(acks.all())})
    assert full > 0, "the disk was never full"
    with tv.connect(small_disk / "v", mode="r") as vault:
        found = pd.concat([vault.read(name, columns=["n"]) for name in vault if name.startswith("list")])["n"]
        rows = found[found >= 0].tolist()
        assert len(rows) == len(set(rows))
        assert set(acks.all()) <= set(rows)
        assert not (vault.check()["severity"] == "damage").any()


WRITING_FILES = {
    "append": lambda vault, place: vault.append("a", {"n": 2}),
    "save of a segment": lambda vault, place: vault.save("b", frame(3, LARGE)),
    "export": lambda vault, place: vault["a"].export(place / "a.parquet"),
    "copy": lambda vault, place: tv.copy(vault, place / "copy", lists="a"),
    "backup": lambda vault, place: vault.backup(place / "backup"),
}


def test_each_call_says_that_the_disk_is_full_and_works_once_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with tv.connect(small_disk / "v", session=False) as vault:
        vault.save("hidden", frame(1, LARGE))
        vault.delete("hidden")
        ballast.write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096 - 100_000))
        acknowledged = 0
        with pytest.raises(tv.StorageFull):
            while True:
                vault.append("a", {"n": acknowledged})
                acknowledged += 1
        with contextlib.suppress(OSError):
            (small_disk / "rest").write_bytes(bytes(200_000))  # not a page is left
        for name, call in WRITING_FILES.items():
            with pytest.raises(tv.StorageFull, match=r"disk is full while .* Free some space"):
                call(vault, small_disk)
                pytest.fail(name)
        assert vault.read("a")["n"].tolist() == list(range(acknowledged))
        assert vault.check().empty
        ballast.unlink()
        for call in WRITING_FILES.values():
            call(vault, small_disk)
        assert sorted(os.listdir(small_disk)) == ["a.parquet", "backup", "copy", "rest", "v"]
        assert vault.check().empty


# -- logs that are cut, damaged or removed


WRITER = """
import os, sys
import numpy as np, pandas as pd
import tablevault_pd as tv
vault = tv.connect(sys.argv[1], capture="none", durability="fast", session="writer")
vault.save("a", pd.DataFrame({"n": 0, "x": np.arange(40_000) * 1.5}))
vault.save("b", {"n": 0})
vault.store.catalog.checkpoint()
for number in range(1, 9):
    rows = 40_000 if number % 3 == 0 else 2
    vault.append("a" if number % 2 else f"new{number}", pd.DataFrame({"n": number, "x": np.arange(rows) * 1.5 + number}))
os._exit(0)  # nobody closes, so the log stays
"""


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault whose last versions are in its log alone."""
    place = tmp_path_factory.mktemp("logged") / "v"
    run(WRITER, place)
    assert (place / "catalog.db-wal").stat().st_size > 0
    return place


def expected(name: str) -> list[pd.DataFrame]:
    """What each version of a list added, as the writer wrote it."""
    numbers = [0, 1, 3, 5, 7] if name == "a" else [int(name[3:])]
    return [frame(number, LARGE if number % 3 == 0 else 2) for number in numbers]


def mutate(log: Path, r: random.Random) -> None:
    kind = r.randrange(4)
    size = log.stat().st_size
    if kind == 0:
        log.unlink()
    elif kind == 1:
        os.truncate(log, r.randrange(size))
    else:
        with log.open("r+b") as file:
            for _ in range(r.randrange(1, 4)):
                file.seek(r.randrange(size))
                file.write(bytes([r.randrange(256)] * r.choice([1, 1, 40])))
    log.with_name("catalog.db-shm").unlink(missing_ok=True)


@pytest.mark.parametrize("seed", range(times(6, ordinary=4)))
def test_no_loss_of_commits_goes_unnoticed(logged, tmp_path, seed):
    place = tmp_path / "v"
    shutil.copytree(logged, place)
    files = {path.name for path in (place / "segments").iterdir()}
    mutate(place / "catalog.db-wal", random.Random(seed))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        vault = tv.connect(place, capture="none", session="after")
    with vault:
        names = ["a", "new2", "new4", "new6", "new8"]
        versions = {
            name: int(vault.versions(name)["version"].max()) if name in vault else 0 for name in names
        }
        lost = {name: set(range(versions[name] + 1, len(expected(name)) + 1)) for name in names}
        lost = {name: numbers for name, numbers in lost.items() if numbers}
        problems = vault.check()
        COUNTS.update({"damaged logs": 1, "lists that lost commits by them, all told": len(lost)})
        reported = problems[problems["what"] == "commits lost"]
        assert {name: min(numbers) for name, numbers in lost.items()} == dict(
            zip(reported["list"], reported["version"], strict=True)
        )
        assert bool(lost) == any("lost" in str(warning.message) for warning in told)
        vault.vacuum(dry_run=False, keep=10**6)
        assert {path.name for path in (place / "segments").iterdir()} == files
        for name in names:
            if versions[name]:
                rows = pd.concat(expected(name)[: versions[name]])
                assert vault.read(name)[["n", "x"]].to_numpy().tolist() == rows.to_numpy().tolist()
            assert vault.append(name, {"n": -1, "x": 0.5}).version == len(expected(name)) + 1
        told_last = vault.check(fix=True)  # told until somebody has settled it
        assert (told_last["what"] == "commits lost").sum() == len(lost)
        assert told_last["fixed"].all()
        assert vault.check().empty
        vault.vacuum(dry_run=False, keep=10**6)
        assert {path.name for path in (place / "segments").iterdir()} == files  # still
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # what was noticed once is not news
        tv.connect(place, mode="r").close()


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_no_append_is_acknowledged_into_a_log_that_was_removed(tmp_path, how):
    place = tmp_path / "v"
    acked = [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the session could not be ended
        vault = tv.connect(place, capture="none", session="victim")
        vault.append("a", {"n": 0})
        vault.append("a", {"n": 1})
        log = place / "catalog.db-wal"
        log.unlink()
        if how == "replaced":
            log.write_bytes(b"")
        for _ in range(2):
            with pytest.raises(tv.VaultCorrupt, match="log"):
                vault.append("a", {"n": 2})
        others: list[Exception] = []

        def append() -> None:
            with contextlib.suppress(tv.VaultCorrupt):
                vault.append("a", {"n": 3})
                others.append(AssertionError("acknowledged"))

        thread = threading.Thread(target=append)
        thread.start()
        thread.join()
        assert not others
        vault.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        vault = tv.connect(place, capture="none", session="after")
    with vault:
        there = vault.read("a")["n"].tolist() if "a" in vault else []
        lost = vault.check()
        assert there == acked[: len(there)]
        assert (len(there) < len(acked)) == (lost["what"] == "commits lost").any()
        vault.append("a", {"n": 9})
        assert vault.read("a")["n"].tolist() == [*there, 9]


def test_an_older_catalogue_put_back_takes_no_content_away(tmp_path):
    """Also when the journal was rewritten meanwhile, and knows the lost versions by number only."""
    place = tmp_path / "v"
    with tv.connect(place, capture="none") as vault:
        vault.save("a", frame(0, LARGE))
        assert vault.store.catalog.checkpoint()
        shutil.copy(place / "catalog.db", tmp_path / "old.db")
    with tv.connect(place, capture="none") as vault:
        for number in range(1, 4):
            vault.append("a", frame(number, LARGE))
        assert vault.store.catalog.checkpoint()
        vault.store.journal._rewrite()
    files = {path.name for path in (place / "segments").iterdir()}
    for old in place.glob("catalog.db*"):
        old.unlink()
    shutil.copy(tmp_path / "old.db", place / "catalog.db")
    with pytest.warns(RuntimeWarning, match="'a' versions 2 to 4"):
        vault = tv.connect(place, capture="none")
    with vault:
        lost = vault.check(fix=True)
        assert lost["what"].tolist().count("commits lost") == 1
        vault.vacuum(dry_run=False)
        assert {path.name for path in (place / "segments").iterdir()} == files
        assert vault.append("a", frame(9, 2)).version == 5
        assert vault.read("a")["n"].tolist() == [0] * LARGE + [9] * 2


def test_a_mark_that_was_cut_hides_no_other(tmp_path):
    place = tmp_path / "v"
    with tv.connect(place, capture="none") as vault:
        vault.append("a", {"n": 0})
        with (place / "commits.log").open("r+b") as file:
            file.truncate(file.seek(0, os.SEEK_END) - 7)
        vault.append("a", {"n": 1})
        assert [entry.version for entry in vault.store.journal.entries()] == [2]
        assert vault.check().empty


# -- bits that flip


def test_bytes_that_flip_before_compaction_never_become_rows(tmp_path):
    r = random.Random(3)
    place = tmp_path / "v"
    for _ in range(times(2, ordinary=1)):
        shutil.rmtree(place, ignore_errors=True)
        with tv.connect(place, capture="none", durability="fast") as vault:
            for number in range(5):
                vault.append("a", frame(number, LARGE))
            vault.read("a")
            path = r.choice(sorted((place / "segments").iterdir()))
            data = bytearray(path.read_bytes())
            data[r.randrange(len(data))] ^= 1 << r.randrange(8)
            path.write_bytes(data)
            assert vault.compact()["damaged"].tolist() == [1]
            segments._verified.clear()
            damaged = 0
            for number in range(5):
                try:
                    rows = vault.read("a", start=number * LARGE, stop=(number + 1) * LARGE)
                except tv.VaultCorrupt:
                    damaged += 1
                else:
                    assert rows.reset_index(drop=True).equals(frame(number, LARGE))
            assert damaged == 1


# -- cleaning beside readers


CLEANER = """
import sys
import tablevault_pd as tv
with tv.connect(sys.argv[1], capture="none", durability="fast", session="cleaner") as vault:
    print("ready", flush=True)
    for line in sys.stdin:  # until the pipe is closed
        vault.compact()
        vault.vacuum(dry_run=False)
        problems = vault.check(fix=True)
        assert not (problems["severity"] == "damage").any(), problems.to_string()
        print("done", flush=True)
"""


def test_readers_beside_one_that_compacts_and_vacuums(tmp_path):
    """The newest version is always readable, older ones or told to be gone, and never damaged."""
    place = tmp_path / "v"
    acks = Acks(tmp_path / "acks")
    with tv.connect(place, capture="none", durability="fast", session="reader") as vault:
        vault.append("log", {"n": 0})
        acks.add(0)
        cleaner = subprocess.Popen(
            [os.sys.executable, "-c", CLEANER, str(place)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(os.sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert cleaner.stdin is not None
        assert cleaner.stdout is not None
        assert cleaner.stdout.readline() == "ready\n"
        for number in range(1, times(8, ordinary=5)):
            cleaner.stdin.write("again\n")
            cleaner.stdin.flush()
            written = vault.save("x", frame(number, LARGE if number % 2 else 3))
            vault.append("log", {"n": number})
            acks.add(number)
            assert (vault.read("x")["n"] == number).all()
            for version in range(max(1, written.version - 3), written.version + 1):
                try:
                    assert (vault.read("x", version=version)["n"] == version).all()
                except tv.VersionNotFound:
                    assert version < written.version
            assert cleaner.stdout.readline() == "done\n"
        cleaner.stdin.close()
        assert cleaner.wait(60) == 0
        check_rows(vault, "log", acks.all())
        check_sound(vault)
