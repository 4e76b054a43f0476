"""Folders that are no vault or no longer the one that was opened, and what others do to its files meanwhile."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import threading
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from torture.harness import PROCESSES
from warm import script

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGE = 40_000  # rows that make a file
connect = partial(tv.connect, capture="none", session=False, timeout_s=20)


def large(number: int) -> pd.DataFrame:
    return pd.DataFrame({"n": number, "x": np.arange(LARGE)})


@pytest.mark.parametrize("below", ["sub", "segments/sub", "files/ab/sub", "sub/of/sub"])
def test_no_vault_is_made_inside_of_another_one(tmp_path: Path, below: str) -> None:
    """Its files would be strays of the one around it."""
    with connect(tmp_path / "v") as vault:
        vault.save("a", {"n": 1})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(tv.VaultFormatError, match=f"inside of the vault {tmp_path / 'v'}. Choose a place"):
        connect(tmp_path / "v" / below)
    assert sorted(tmp_path.rglob("*")) == before


def in_place(kind: str, path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, 0o020600, os.makedev(1, 5))
    else:
        path.mkdir()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without such files")
@pytest.mark.parametrize("kind", ["socket", "pipe", "device", "folder"])
def test_what_is_no_plain_file_is_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "device" and os.geteuid() != 0:
        pytest.skip("only root can make a device")
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    with connect(tmp_path / "v") as vault:
        vault.save("a", {"n": 1})
    files = ["catalog.db", "catalog.db-wal", "catalog.db-shm", "commits.log", "write.lock", "files.lock"]
    files += ["text.db", "text.db-wal", "text.lock"]
    folders = [] if kind == "folder" else ["segments", "files", "keys", "indexes"]
    for name in [*files, *folders]:
        copy = tmp_path / "c"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tmp_path / "v", copy)
        in_place(kind, copy / name)
        with pytest.raises(tv.VaultFormatError, match=f"{name} is not a plain f"):
            connect(copy)


def append(place: Path, number: int) -> None:
    with connect(place) as vault:
        vault.append("a", {"n": number})


def test_reading_the_catalogue_of_an_open_vault_loses_nothing_in_silence(tmp_path: Path) -> None:
    """Closing any other descriptor of the file drops the locks of this process, as a second SQLite library in it would."""
    place = tmp_path / "v"
    vault = connect(place)
    vault.append("a", {"n": 0})
    acknowledged, refused = [0], 0
    for number in (1, 3, 5):
        for path in place.glob("*.db*"):
            path.read_bytes()
        other = PROCESSES.Process(target=append, args=(place, number))
        other.start()
        other.join()
        assert other.exitcode == 0  # its last connection has cleared away the log that this process has open
        acknowledged.append(number)
        try:
            vault.append("a", {"n": number + 1})
        except tv.VaultCorrupt as error:
            assert "connect again" in str(error)
            refused += 1
        else:
            acknowledged.append(number + 1)
    vault.close()
    assert refused
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with connect(place) as vault:
            assert vault.read("a")["n"].tolist() == acknowledged
            assert vault.check().empty


REMOVED: dict[
    str, tuple[type[Exception] | None, type[Exception] | None]
] = {  #: what a read says, and an append
    "segments": (tv.VaultCorrupt, None),
    "files": (None, None),
    "keys": (None, None),
    "commits.log": (None, None),
    "write.lock": (None, None),
    "text.db": (None, None),
    "catalog.db": (tv.VaultNotFound, tv.VaultNotFound),
    ".": (tv.VaultNotFound, tv.VaultNotFound),
}


@pytest.mark.parametrize("name", REMOVED)
def test_what_is_removed_under_an_open_vault_is_made_anew_or_told(tmp_path: Path, name: str) -> None:
    """Nothing is acknowledged into files without a name."""
    place = tmp_path / "v"
    with connect(place, timeout_s=1) as vault:
        vault.save("big", large(0))
        vault.save("text", pd.DataFrame({"text": ["a zebra and so on"]}))
        path = place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        acknowledged = []
        calls: dict[str, Callable[[], object]] = {
            "read": lambda: vault.read("big"),
            "small": lambda: vault.append("small", {"n": 1}),
            "other": lambda: vault.append("other", large(1)),
        }
        for what, call in calls.items():
            error = REMOVED[name][what != "read"]
            if error is None:
                call()
                acknowledged.append(what)
            else:
                with pytest.raises(
                    error, match="missing" if error is tv.VaultCorrupt else "removed or replaced"
                ):
                    call()
        if not REMOVED[name][1]:
            assert vault.search("zebra", lists="text")["position"].tolist() == [0]
    if name in ("catalog.db", "."):
        with pytest.raises(tv.VaultNotFound, match=r"no vault|lost its catalogue"):
            connect(place, mode="r", timeout_s=0.2)
        return
    with connect(place, mode="r") as vault:
        assert vault.read("small")["n"].tolist() == [1]
        assert len(vault.read("other")) == LARGE
        assert vault.check()["what"].tolist() == (["missing segment"] if name == "segments" else [])


@pytest.mark.parametrize("what", ["catalogue", "catalogue and segments", "everything"])
def test_two_copies_of_a_vault_that_a_service_has_mixed_are_told(tmp_path: Path, what: str) -> None:
    """Each went its own way: what one of them had is lost, and told, or its rows stay as they were. No row is of both."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    with connect(mine) as vault:
        vault.append("small", {"n": 0})
        vault.append("large", large(0))
    shutil.copytree(mine, theirs)
    for place, number in ((mine, 1), (theirs, 2)):
        with connect(place, timeout_s=1) as vault:
            vault.append("small", {"n": number})
            vault.append("large", large(number))
    with connect(theirs) as vault:
        vault.append("small", {"n": 3})
    segments = {path.name for path in (mine / "segments").iterdir()}
    shutil.copy(theirs / "catalog.db", mine / "catalog.db")
    if what != "catalogue":
        shutil.copytree(theirs / "segments", mine / "segments", dirs_exist_ok=True)
    if what == "everything":
        shutil.copytree(theirs, mine, dirs_exist_ok=True)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        vault = connect(mine)
    with vault:
        assert any("are lost" in str(warning.message) for warning in warned) == (what != "everything")
        assert vault.read("small")["n"].tolist() == [0, 2, 3]
        if what == "catalogue":
            with pytest.raises(tv.VaultCorrupt, match="is missing"):
                vault.read("large")
        else:
            assert vault.read("large")["n"].unique().tolist() == [0, 2]
        assert ("commits lost" in set(vault.check(fix=True)["what"])) == (what != "everything")
        if what != "everything":  # the rows that only the lost commit had are still there
            assert segments <= {path.name for path in (mine / "segments").iterdir()}


ATTRS: dict[str, Any] = {
    "a connection": lambda key, text: {"c": sqlite3.connect(":memory:")},
    "a lock": lambda key, text: {1: threading.Lock(), key: text},
    "many": lambda key, text: {"x": list(range(100_000)), None: 3},
    "a lock for the mark": lambda key, text: {key: threading.Lock()},
    "a long mark": lambda key, text: {key: "x" * 1_000_000},
    "bytes for the mark": lambda key, text: {key: b"\xff"},
    "half a pair for the mark": lambda key, text: {key: "\ud800"},
    "another mark": lambda key, text: {key: text[:-3] + "zzz"},
    "a version that no store holds": lambda key, text: {
        key: ":".join([text.split(":")[0], "9" * 30, "1", "1"])
    },
    "a number without end": lambda key, text: {key: ":".join([*text.split(":")[:2], "9" * 5000, "1"])},
}


@pytest.mark.parametrize("kind", ATTRS)
def test_attrs_hold_up_no_save_and_name_no_wrong_parents(vault: tv.Vault, kind: str) -> None:
    """What others put into the attrs of a frame is neither copied nor believed."""
    vault.save("source", pd.DataFrame({"n": [1, 2], "t": ["a", "b"]}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = vault.read("source")
        [(key, text)] = frame.attrs.items()
        frame.attrs = ATTRS[kind](key, text)
        assert len(vault.save("saved", frame)) == 2
        assert set(vault.lineage("saved").iloc[:, 3].dropna()) <= {"source"}
        vault.append("saved", frame)
        assert vault.read("saved")["n"].tolist() == [1, 2, 1, 2]
        assert vault.sql("SELECT sum(n) AS n FROM given", given=frame)["n"].tolist() == [3]


NOWHERE = """
import os, shutil, sys
import pandas as pd
import tablevault_pd as tv

def error_of(call):
    try:
        call()
    except tv.VaultError as error:
        return error

gone, place = sys.argv[1:]
os.mkdir(gone)
os.chdir(gone)
sys.path.insert(0, "")
os.rmdir(gone)
for call in (lambda: tv.connect("v"), lambda: tv.connect("v", mode="r"), lambda: tv.read("a")):
    error = error_of(call)
    assert isinstance(error, tv.VaultNotFound) and "working directory of this process was removed" in str(error), error
vault = tv.connect(place, session="train")
with vault.session("inner", params={"lr": 0.1}) as s:
    s.log(loss=0.5)
    vault.save("a", pd.DataFrame({"n": [1, 2]}))
missing = pd.DataFrame({"path": ["near.txt"]})
assert isinstance(error_of(lambda: vault.save("f", missing, files="path")), tv.FileMissing)
assert "DuckDB cannot start" in str(error_of(lambda: vault.sql("SELECT n FROM a")))
for call in (lambda: tv.merge([place], "v2"), lambda: vault.backup("out"), lambda: vault.export("out"), lambda: s.log_model("m", "near")):
    assert error_of(call) is not None
os.chdir(os.path.dirname(place))
assert tv.connect("v").place == vault.place
"""


def test_sessions_begin_and_rows_are_saved_where_the_working_directory_was_removed(tmp_path: Path) -> None:
    script(tmp_path, NOWHERE, str(tmp_path / "gone"), str(tmp_path / "v"))
    with connect(tmp_path / "v", mode="r") as vault:
        sessions = vault.sessions(info=True, columns=["session", "state", "cwd", "params.lr", "metrics.loss"])
        assert sessions["session"].tolist() == ["train#1", "inner#1"]
        assert sessions["state"].tolist() == ["finished"] * 2
        assert sessions["cwd"].isna().all()
        assert sessions["metrics.loss"].tolist()[1] == 0.5
        assert vault.read("a")["n"].tolist() == [1, 2]
        assert "vault.save" in vault.read("a").vault.code()["text"].iloc[0]
