"""All files of a vault go through one module, whose failpoints tests switch on; a sync that failed is never tried again."""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.store.embedded import fsio as io

STORE = Path(io.__file__).parents[1]
ROOM = "embedded/fsio.py"
CHANGES = {
    "open", "fdopen", "rename", "renames", "replace", "fsync", "fdatasync", "unlink", "remove", "removedirs", "rmdir", "mkdir",
    "makedirs", "truncate", "ftruncate", "link", "symlink", "write", "pwrite", "writev", "chmod", "fchmod", "mkfifo", "mknod",
}  # fmt: skip
PATH_METHODS = {
    "open", "unlink", "rename", "mkdir", "rmdir", "touch", "write_bytes", "write_text", "read_bytes", "read_text", "chmod",
    "hardlink_to", "symlink_to",
}  # fmt: skip
#: Calls that stay outside, and why.
EXCEPTIONS = {
    ("embedded/lockfile.py", "os.open"),  # lock files: opened anew for each holding, never renamed
    ("embedded/lockfile.py", "FileIO"),
    ("embedded/write_lock.py", "os.pwrite"),  # who holds the lock: for the message of those who wait
    ("embedded/write_lock.py", "FileIO"),  # only asks the system who has locked SQLite's index
    ("engine/fork_guard.py", "os.open"),  # the null device
    ("engine/hashing.py", ".open"),  # reads files of the user, and kept ones to compare them
    ("arango/blobs.py", ".open"),  # reads a file of the user
    ("embedded/blobs.py", ".open"),  # the same: it may be a link
    ("arango/blobs.py", "tempfile.SpooledTemporaryFile"),  # what was read from the server, without a name
}


def calls(path: Path) -> set[tuple[str, str]]:
    """What a module calls that makes, changes, opens or removes a file."""
    where = path.relative_to(STORE).as_posix()
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            name = node.value.id if isinstance(node.value, ast.Name) else ""
            if name == "os" and node.attr in CHANGES:
                found.add((where, f"os.{node.attr}"))
            elif name in ("shutil", "tempfile"):
                found.add((where, f"{name}.{node.attr}"))
        if isinstance(node, ast.Name) and node.id == "open":
            found.add((where, "open"))
        of = (
            [node.func]
            if isinstance(node, ast.Call)
            else node.bases
            if isinstance(node, ast.ClassDef)
            else []
        )
        found |= {(where, "FileIO") for each in of if isinstance(each, ast.Name) and each.id == "FileIO"}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_path = not (isinstance(node.func.value, ast.Name) and node.func.value.id in ("io", "os"))
            one = len(node.args) == 1 and not node.keywords  # a text and a moment are replaced by two
            if of_path and (node.func.attr in PATH_METHODS or (node.func.attr == "replace" and one)):
                found.add((where, f".{node.func.attr}"))
    return found


def test_every_file_of_a_store_is_handled_in_one_module() -> None:
    found = set[tuple[str, str]]().union(*map(calls, sorted(STORE.rglob("*.py"))))
    outside = {call for call in found if call[0] != ROOM}
    assert outside - EXCEPTIONS == set()
    assert EXCEPTIONS - outside == set()  # none that is not needed any more


def test_every_commit_is_made_in_one_module() -> None:
    """Of the catalogue, that is: the engine has an index in memory with transactions of its own."""
    words = {"BEGIN IMMEDIATE", "COMMIT"}
    places = {
        (path.relative_to(STORE).as_posix(), node.value)
        for path in (STORE / "embedded").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.strip() in words
    }
    assert places == {("embedded/connection.py", word) for word in words}


@pytest.mark.parametrize(
    ("action", "error"), [("EIO", OSError), ("ENOSPC", OSError), ("interrupt", KeyboardInterrupt)]
)
def test_a_failpoint_fails_where_it_is_named_and_nowhere_else(monkeypatch, action, error) -> None:
    monkeypatch.setattr(io, "_fault_name", "here")
    monkeypatch.setattr(io, "_fault_action", action)
    io.failpoint("there")
    with pytest.raises(error):
        io.failpoint("here")


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="the system does not tell which file is synced"
)
@pytest.mark.parametrize("what", ["rows", "a kept file"])
def test_a_sync_that_failed_is_final_for_its_file(folder_vault, tmp_path, monkeypatch, what) -> None:
    """The system may report success the second time, although the data is lost: whoever tries again makes another file."""
    vault, note = folder_vault, tmp_path / "note.txt"
    note.write_text("note")
    synced: list[str] = []  # names, each as often as it was synced
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if len(synced) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    def save() -> tv.List:
        if what == "rows":
            return vault.save("a", pd.DataFrame({"x": np.arange(40_000)}))
        return vault.save("a", pd.DataFrame({"path": [str(note)]}), files="path", copy=True)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(tv.StorageError, match="EIO"):
        save()
    assert "a" not in vault
    assert not Path(synced[0]).exists()
    save()
    assert synced.count(synced[0]) == 1
    assert len(vault.read("a")) == (40_000 if what == "rows" else 1)


def test_sqlite_calls_no_function_of_python():
    """It would turn Ctrl-C in such a function into an error of the database, and the program would go on."""
    calling = ("create_function", "create_aggregate", "create_window_function", "create_collation")
    sources = {path: path.read_text(encoding="utf-8") for path in STORE.parent.rglob("*.py")}
    assert not [(path.name, call) for path, text in sources.items() for call in calling if call in text]
