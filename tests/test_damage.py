"""Broken, foreign and hostile folders: damage is found, named, and never returned as data."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import xxhash
from pandas.testing import assert_frame_equal

import tablevault_pd as tv

if TYPE_CHECKING:
    from pathlib import Path

BIG = pd.DataFrame({"x": np.arange(100_000.0), "t": [f"text {i}" for i in range(100_000)]})
SMALL = pd.DataFrame({"x": [1.5, 2.5], "t": ["a", "b"]})


@pytest.fixture
def folder(tmp_path):
    """A vault with a large and a small list, closed."""
    with tv.connect(tmp_path / "v") as vault:
        vault.save("big", BIG)
        vault.save("small", SMALL)
    return tmp_path / "v"


def catalogue(folder: Path, statement: str, *values: object) -> list[tuple]:
    """Change the catalogue behind the library's back."""
    db = sqlite3.connect(folder / "catalog.db")
    try:
        with db:
            return db.execute(statement, values).fetchall()
    finally:
        db.close()


def segment(folder: Path) -> Path:
    return next((folder / "segments").iterdir())


def test_a_broken_segment_is_named_and_the_rest_stays_readable(folder):
    path = segment(folder)
    flip(path)
    with tv.connect(folder) as vault:
        with pytest.raises(tv.VaultCorrupt, match=r"big@1.*segment [0-9a-f]{32}"):
            vault.read("big")
        assert vault.read("small")["x"].tolist() == [1.5, 2.5]
        problems = vault.check()
        assert problems[["severity", "list", "path"]].to_numpy().tolist() == [
            ["damage", "big", f"segments/{path.name}"]
        ]


def flip(path: Path, at: int = -1) -> None:
    """Change one bit, in the middle unless said otherwise."""
    data = bytearray(path.read_bytes())
    data[at if at >= 0 else len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damage_after_the_index_has_read_the_rows_is_found(folder):
    """The thread that indexes texts may have verified a segment before it was damaged, in this very process."""
    with tv.connect(folder) as vault:
        assert len(vault.search("99999", lists="big")) == 1  # indexed, and so verified, for certain
    flip(segment(folder))
    with tv.connect(folder) as vault, pytest.raises(tv.VaultCorrupt, match="segment"):
        vault.read("big")


def test_damage_in_a_copy_of_a_vault_is_found(folder, tmp_path):
    """The segments of a copy have the same names."""
    shutil.copytree(folder, tmp_path / "copy")
    with tv.connect(folder) as vault:
        vault.read("big")
    flip(segment(tmp_path / "copy"))
    with tv.connect(tmp_path / "copy") as vault, pytest.raises(tv.VaultCorrupt, match="segment"):
        vault.read("big")


@pytest.mark.parametrize("rows", [2, 60_000], ids=["inline", "file"])
def test_rows_are_never_decoded_with_the_schema_of_another_list(tmp_path, rows):
    """Both are eight bytes wide: with the other's schema, whole numbers would read as tiny floats."""
    place = tmp_path / "v"
    with tv.connect(place) as vault:
        vault.save("whole", pd.DataFrame({"x": np.arange(rows)}))
        vault.save("real", pd.DataFrame({"x": np.arange(rows) / 2}))
    (ours, other) = (
        catalogue(place, "SELECT schema FROM segments JOIN lists l ON l.id = list WHERE name = ?", name)[0][0]
        for name in ("whole", "real")
    )
    for table in ("segments", "batches"):
        catalogue(place, f"UPDATE {table} SET schema = ? WHERE schema = ?", other, ours)
    with tv.connect(place) as vault:
        with pytest.raises(tv.VaultCorrupt, match="whole@1"):
            vault.read("whole")
        assert vault.read("real")["x"].tolist() == (np.arange(rows) / 2).tolist()
        assert vault.check()[["what", "list"]].to_numpy().tolist() == [["damaged segment", "whole"]]


@pytest.mark.parametrize("cut", [0, 1, 1000, -1])
def test_a_cut_segment_is_damage(folder, cut):
    path = segment(folder)
    os.truncate(path, cut if cut >= 0 else path.stat().st_size - 1)
    with tv.connect(folder) as vault, pytest.raises(tv.VaultCorrupt):
        vault.read("big")


def test_a_missing_segment_is_damage(folder):
    path = segment(folder)
    path.unlink()
    with tv.connect(folder) as vault:
        with pytest.raises(tv.VaultCorrupt, match="missing"):
            vault.read("big")
        assert vault.check()["what"].tolist() == ["missing segment"]


def test_damage_after_the_first_read_is_found_by_check(folder):
    with tv.connect(folder) as vault:
        vault.read("big")
        path = segment(folder)
        data = bytearray(path.read_bytes())
        data[5000] ^= 255
        path.write_bytes(data)
        assert vault.check()["severity"].tolist() == ["damage"]


def test_a_schema_that_is_damaged(folder):
    catalogue(folder, "UPDATE schemas SET data = ?", b"nonsense")
    with tv.connect(folder) as vault, pytest.raises(tv.VaultCorrupt, match="schema"):
        vault.read("small")


def test_a_gap_in_the_positions_is_damage(folder):
    with tv.connect(folder) as vault:
        vault.append("small", SMALL)
        vault.append("small", SMALL)
    catalogue(folder, "DELETE FROM segments WHERE start = 2")
    with tv.connect(folder) as vault:
        with pytest.raises(tv.VaultCorrupt, match="position 2"):
            vault.read("small")
        assert vault.read("small", stop=2)["x"].tolist() == [1.5, 2.5]
        assert "missing rows" in vault.check()["what"].tolist()


def test_strays_are_named_and_removed(folder):
    stray = folder / "segments" / ("0" * 32 + ".arrow")
    stray.write_bytes(b"left by a crash")
    with tv.connect(folder) as vault:
        assert vault.check()[["severity", "fixed"]].to_numpy().tolist() == [["stray", False]]
        assert vault.check(fix=True)[["severity", "fixed"]].to_numpy().tolist() == [["stray", True]]
        assert not stray.exists()
        assert vault.check().empty


# -- what is not a vault


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(tv.VaultFormatError, match="other files"):
        tv.connect(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_vault(tmp_path):
    path = tmp_path / "x"
    path.write_text("x")
    with pytest.raises(tv.VaultFormatError, match="is a file"):
        tv.connect(path)


@pytest.mark.parametrize("content", [b"", b"no database" * 100, bytes(4096)])
def test_a_catalogue_of_other_content(tmp_path, content):
    folder = tmp_path / "v"
    folder.mkdir()
    (folder / "catalog.db").write_bytes(content)
    if content:
        with pytest.raises(tv.VaultFormatError):
            tv.connect(folder)
        assert (folder / "catalog.db").read_bytes() == content
    else:  # as a process killed while it made the vault leaves it
        tv.connect(folder).close()


def test_another_sqlite_database(tmp_path):
    folder = tmp_path / "v"
    folder.mkdir()
    catalogue(folder, "CREATE TABLE users (name)")
    with pytest.raises(tv.VaultFormatError, match="not the catalogue"):
        tv.connect(folder)
    assert catalogue(folder, "SELECT name FROM sqlite_master") == [("users",)]


def test_a_newer_format_is_refused_and_untouched(folder):
    catalogue(folder, "PRAGMA user_version = 99")
    before = (folder / "catalog.db").read_bytes()
    for mode in ("rw", "r"):
        with pytest.raises(tv.VaultFormatError, match=r"format 99.*up to format.*pip install -U"):
            tv.connect(folder, mode=mode)
    assert (folder / "catalog.db").read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW heads AS SELECT * FROM batches",
        "CREATE TRIGGER t AFTER INSERT ON batches BEGIN DELETE FROM segments; END",
        "DROP TABLE cells",
        "ALTER TABLE lists ADD COLUMN more",
    ],
)
def test_a_catalogue_with_other_tables_is_refused(folder, statement):
    catalogue(folder, statement)
    with pytest.raises(tv.VaultFormatError, match="tables"):
        tv.connect(folder)


def test_paths_in_the_catalogue_cannot_leave_the_vault(folder):
    with pytest.raises(sqlite3.IntegrityError):
        catalogue(folder, "UPDATE segments SET file = '../../etc/passwd' WHERE file IS NOT NULL")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_catalogue_that_is_no_plain_file(folder, tmp_path, kind):
    path = folder / "catalog.db"
    path.rename(tmp_path / "real.db")
    if kind == "link":
        path.symlink_to(tmp_path / "real.db")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(tv.VaultFormatError, match="plain file"):
        tv.connect(folder)


def test_a_segment_that_is_a_link_is_not_followed(folder, tmp_path):
    path = segment(folder)
    path.rename(tmp_path / "real.arrow")
    path.symlink_to(tmp_path / "real.arrow")
    with tv.connect(folder) as vault, pytest.raises(tv.VaultError):
        vault.read("big")


def test_a_vault_removed_while_open(tmp_path):
    vault = tv.connect(tmp_path / "v")
    vault.save("a", SMALL)
    shutil.rmtree(tmp_path / "v")
    with pytest.raises(tv.VaultNotFound, match="removed"):
        vault.save("a", SMALL.tail(1))
    with pytest.warns(RuntimeWarning, match="Lost: the end of"):
        vault.close()
    assert not (tmp_path / "v").exists()


def test_reading_makes_nothing(tmp_path):
    with pytest.raises(tv.VaultNotFound):
        tv.connect(tmp_path / "v", mode="r")
    assert not (tmp_path / "v").exists()


# -- disks


def test_a_full_disk_is_clean(tmp_path):
    """With a limit on the size of files, as a full disk behaves: every failure says so, and nothing acknowledged is lost."""
    code = """
import resource, signal, sys
import numpy as np, pandas as pd, tablevault_pd as tv
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
vault = tv.connect(sys.argv[1]); acked = failed = 0
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
for i in range(60):
    size = 2_500 if i % 3 else 200_000
    try:
        vault.append("a", pd.DataFrame({"x": np.random.default_rng(i).random(size), "i": i})); acked += size
    except tv.StorageFull: failed += 1
assert failed, "no failure"
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
vault.append("a", pd.DataFrame({"x": [1.0], "i": [99]}))
assert len(vault["a"]) == acked + 1, (len(vault["a"]), acked)
assert vault.check().empty, vault.check()
print("done", failed > 0)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "v")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (run.returncode, run.stdout) == (0, "done True\n"), run.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_for_a_user(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(tv.VaultReadOnly, match="mode='r'"):
        tv.connect(tmp_path / "v")


def test_a_read_only_folder(folder, shown):
    """Root may write anywhere, so what the kernel would answer is asked for by name."""
    code = """
import os, sys
import tablevault_pd as tv, tablevault_pd.api, tablevault_pd.store.embedded  # which that user may not
os.setgid(65534); os.setuid(65534)
try:
    tv.connect(sys.argv[1])
except tv.VaultReadOnly as error:
    print("refused", "mode='r'" in str(error))
print(len(tv.connect(sys.argv[1], mode="r").read("big")))
"""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    place = shown / "v"
    shutil.copytree(folder, place)
    for path in [place, *place.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o444)
    run = subprocess.run(
        [sys.executable, "-c", code, str(place)], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.stdout == "refused True\n100000\n", run.stderr


def test_a_folder_that_may_not_be_looked_into(tmp_path):
    code = """
import os, sys
import tablevault_pd as tv, tablevault_pd.api, tablevault_pd.store.embedded
os.setgid(65534); os.setuid(65534)
try:
    tv.connect(sys.argv[1])
except tv.VaultReadOnly as error:
    print("refused", sys.argv[1] in str(error))
"""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    run = subprocess.run(
        [sys.executable, "-c", code, str(locked)], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.stdout == "refused True\n", run.stderr


# -- exactness under damage of the layout


def test_random_bytes_in_the_catalogue_never_give_wrong_rows(folder):
    path = folder / "catalog.db"
    good = path.read_bytes()
    right = {"big": BIG, "small": SMALL}
    for seed in range(40):
        r = random.Random(seed)
        data = bytearray(good)
        for _ in range(r.randrange(1, 20)):
            data[r.randrange(100, len(data))] = r.randrange(256)
        path.write_bytes(data)
        try:
            with tv.connect(folder, mode="r") as vault:
                for name, df in right.items():
                    try:
                        got = vault.read(name)
                    except tv.VaultError:
                        continue
                    assert_frame_equal(got.reset_index(drop=True), df)
        except tv.VaultError:
            continue
        finally:
            path.write_bytes(good)


def test_session_info_is_plain_json(folder):
    (info,) = catalogue(folder, "SELECT info FROM sessions")[0]
    assert {"argv", "python", "platform", "cwd"} <= set(json.loads(info))


@pytest.mark.parametrize(
    "body", ["5", "[]", '["a", "1", "t", 1, []]', '["a", 9, "t", 1, [5]]', '{"a": 1}', "[1, 2", "null"]
)
def test_lines_of_the_commit_log_that_nobody_wrote_are_passed_over(tmp_path, body):
    with tv.connect(tmp_path / "v") as vault:
        vault.save("a", {"n": 1})
    mark = xxhash.xxh3_64_hexdigest(body.encode())
    with (tmp_path / "v" / "commits.log").open("a") as file:
        file.write(f"\n{mark} {body}\n")
    with tv.connect(tmp_path / "v") as vault:
        assert vault.check().empty
        assert vault.append("a", {"n": 2}).read()["n"].tolist() == [1, 2]


@pytest.mark.parametrize("cut", [0, -1])
def test_logged_values_that_are_cut_are_told_with_their_session_and_metric(tmp_path, cut):
    with tv.connect(tmp_path / "v", session="train"):
        tv.log({"loss": 0.5}, step=1)
    catalogue(
        tmp_path / "v",
        "UPDATE measures SET points = substr(points, 1, length(points) * ? + ?)",
        cut != 0,
        cut,
    )
    with tv.connect(tmp_path / "v", session=False) as vault:
        with pytest.raises(tv.VaultCorrupt, match="logged values train#1, loss"):
            vault.metrics()
        assert vault.check()["detail"].tolist() == ["logged values train#1, loss"]
