"""Approximate indexes that are kept beside a list: they answer in other processes, and are never the truth."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from stores import index_texts

import tablevault_pd as tv
from tablevault_pd.keys import key_index
from tablevault_pd.store.embedded.copies import WRITTEN_WITHIN_S
from tablevault_pd.store.engine import ann_index as ann
from tablevault_pd.store.engine import cell_files, cells

DIM, ROWS = 8, 600
TOPICS = np.random.default_rng(1).standard_normal((40, DIM)) * 3


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(ann, "SMALLEST", 400)
    monkeypatch.setattr(cells, "CELL_BYTES", 0)


def vectors(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"vec": list(TOPICS[rng.integers(0, len(TOPICS), rows)] + rng.standard_normal((rows, DIM)))}
    )


@contextmanager
def opened(folder, **options):
    with tv.connect(folder, capture="none", **options) as vault:
        yield vault


def index_of(vault, metric="cosine"):
    [column] = vault.store.vectors.columns.values()
    return column.ann[metric]


def ask(vault, frame, row, k=5, **options):
    return vault.search(near=frame["vec"][row], lists="x", k=k, approx=True, **options)["position"].tolist()


def built(folder, frame, metric="cosine"):
    """Have the index of the list built and kept."""
    with opened(folder) as vault:
        vault.save("x", frame)
        ask(vault, frame, 0, metric=metric)
        index_of(vault, metric).wait()
    [path] = (folder / "indexes").iterdir()
    return path


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_another_process_finds_by_an_index_that_was_kept(tmp_path, metric, monkeypatch):
    frame = vectors(ROWS)
    built(tmp_path / "v", frame, metric)
    monkeypatch.setattr(ann, "build", None)  # it would be an error to build another one
    truth = np.stack(frame["vec"].to_list())
    with opened(tmp_path / "v", mode="r") as vault:
        right = 0
        for row in range(0, ROWS, 60):
            found = ask(vault, frame, row, k=10, metric=metric)
            assert index_of(vault, metric).built.size == ROWS
            near = {
                "dot": truth @ truth[row],
                "l2": -((truth - truth[row]) ** 2).sum(axis=1),
                "cosine": truth @ truth[row] / np.linalg.norm(truth, axis=1),
            }[metric]
            right += len({*found} & {*np.argsort(-near)[:10]})
        index_of(vault, metric).wait()
    assert right >= 90


def test_an_index_is_extended_by_its_tail(tmp_path):
    frame, more = vectors(ROWS), vectors(ROWS // 4, seed=2)
    path = built(tmp_path / "v", frame)
    with opened(tmp_path / "v") as vault:
        vault.append("x", more)
        assert ask(vault, more, 3, k=1) == [ROWS + 3]  # compared exactly
        index_of(vault).wait()
        assert ask(vault, more, 3, k=1) == [ROWS + 3]
    assert cell_files.decode(path.read_bytes()).upto == ROWS + len(more)
    with opened(tmp_path / "v") as vault:
        assert vault.search(near=more["vec"][3], lists="x@1", k=5, approx=True)["position"].max() < ROWS
        assert ask(vault, more, 3, k=1) == [ROWS + 3]


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "other", "foreign"])
def test_a_damaged_or_foreign_index_is_built_anew(tmp_path, damage):
    frame = vectors(ROWS)
    path = built(tmp_path / "v", frame)
    whole = path.read_bytes()
    found = cell_files.decode(whole)
    shuffled = cells.VectorCells(
        found.centers, found.bounds, found.addresses[::-1], found.upto, 1, found.trained
    )
    path.write_bytes(
        {
            "flipped": whole[:300] + bytes([whole[300] ^ 1]) + whole[301:],
            "short": whole[:-20],
            "empty": b"",
            "other": b"nothing of the kind",
            "foreign": b"".join(cell_files.encode(shuffled)),
        }[damage]
    )
    with opened(tmp_path / "v") as vault:
        if damage != "foreign":
            assert vault.indexes().set_index("kind").loc["vector", "state"] == "damaged"
        assert ask(vault, frame, 7, k=1) == [7]
        index_of(vault).wait()
        assert vault.indexes().set_index("kind").loc["vector", ["state", "rows"]].to_list() == [
            "complete",
            ROWS,
        ]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("what", ["folder", "folder with a file"])
def test_what_is_in_the_place_of_an_index_is_told_and_removed(tmp_path, what):
    frame = vectors(ROWS)
    path = built(tmp_path / "v", frame)
    path.unlink()
    path.mkdir()
    if what == "folder with a file":
        (path / "mine.txt").write_text("not ours")
    with opened(tmp_path / "v", session=False) as vault:
        assert ask(vault, frame, 7, k=1) == [7]
        index_of(vault).wait()
        [problem] = vault.check().itertuples()
        assert (problem.what, problem.list, problem.path) == (
            "approximate index",
            "x",
            f"indexes/{path.name}",
        )
        [problem] = vault.check(fix=True).itertuples()
        assert problem.fixed == (what != "folder with a file")
        if not problem.fixed:
            assert "a folder in the place of a file" in problem.detail
            assert (path / "mine.txt").read_text() == "not ours"
            return
        assert vault.check().empty
    with opened(tmp_path / "v") as vault:
        ask(vault, frame, 7)
        index_of(vault).wait()
    assert path.is_file()


def test_an_index_never_brings_back_rows_that_are_gone(tmp_path):
    frame = vectors(ROWS).assign(key=range(ROWS))
    built(tmp_path / "v", frame)
    with opened(tmp_path / "v") as vault:
        vault.delete_rows("x", filters=[("key", "in", [7, 8])])
        keys = vault.read("x")["key"]
        assert 7 not in keys.iloc[ask(vault, frame, 7, k=20)].to_list()
        changed = pd.DataFrame({"vec": [frame["vec"][7]], "key": [100]})
        vault.upsert("x", changed, key="key")
        assert vault.read("x")["key"].iloc[ask(vault, frame, 7, k=1)].to_list() == [100]


def test_erasing_removes_an_index_for_good(tmp_path):
    frame = vectors(ROWS)
    path = built(tmp_path / "v", frame)
    with opened(tmp_path / "v") as vault, opened(tmp_path / "v") as other:
        ask(other, frame, 0)
        stale = index_of(other)
        vault.erase("x", filters="index == 7")
        assert not path.exists()
        stale._file.keep([b"made of vectors that were erased meanwhile"])
        assert not list((tmp_path / "v" / "indexes").iterdir())
        assert 7 not in ask(other, frame, 7, k=20)
        assert 7 not in ask(vault, frame, 7, k=20)
        index_of(vault).wait()
        assert 7 not in ask(vault, frame, 7, k=20)
        assert vault.check().empty
        path.write_bytes(b"left by a process that was killed")
        assert vault.vacuum(dry_run=False)["path"].to_list() == [f"indexes/{path.name}"]


def test_vacuum_removes_indexes_of_rows_that_are_gone(tmp_path):
    frame = vectors(ROWS)
    path = built(tmp_path / "v", frame)
    killed = path.with_suffix(".0123.new")
    killed.write_bytes(b"half of it")
    with opened(tmp_path / "v") as vault:
        assert vault.vacuum(dry_run=False).empty
        old = killed.stat().st_mtime - 2 * WRITTEN_WITHIN_S
        os.utime(killed, (old, old))
        assert vault.vacuum(dry_run=False)["path"].to_list() == [f"indexes/{killed.name}"]
        vault.delete("x")
        assert path.exists()
        freed = vault.vacuum(deleted=True, dry_run=False)
        assert f"indexes/{path.name}" in freed["path"].to_list()
        assert not path.exists()


def test_where_nothing_can_be_written_the_index_stays_in_memory(tmp_path, monkeypatch):
    frame = vectors(ROWS)
    with opened(tmp_path / "v") as vault:
        vault.save("x", frame)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for options in ({"mode": "r"}, {}):
        with opened(tmp_path / "v", **options) as vault, monkeypatch.context() as patched:
            patched.setattr(os, "replace", full)
            ask(vault, frame, 0)
            index_of(vault).wait()
            assert index_of(vault).built.size == ROWS
            assert ask(vault, frame, 7, k=1) == [7]
    assert not list((tmp_path / "v").glob("indexes/*"))


def test_a_child_forked_while_an_index_is_built_builds_its_own(tmp_path, monkeypatch):
    frame, work = vectors(ROWS), ann.Index._cells
    begun, go_on = threading.Event(), threading.Event()

    def held_up(*arguments):
        begun.set()
        go_on.wait(60)
        return work(*arguments)

    with opened(tmp_path / "v", session=False) as vault, monkeypatch.context() as patched:
        vault.save("x", frame)
        patched.setattr(ann.Index, "_cells", held_up)
        ask(vault, frame, 7)
        assert begun.wait(60)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                ann.Index._cells = work
                ask(vault, frame, 7)
                index_of(vault).wait()
                code = 0 if index_of(vault).built is not None and ask(vault, frame, 7, k=1) == [7] else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        go_on.set()
        index_of(vault).wait()
        assert index_of(vault).built is not None


BUILD = """
import sys, numpy as np, tablevault_pd as tv
from tablevault_pd.store.engine import ann_index, cells
ann_index.SMALLEST, cells.CELL_BYTES = 400, 0
with tv.connect(sys.argv[1], capture="none") as vault:
    vector = vault.read("x")["vec"].iloc[7]
    vault.search(near=vector, k=1, approx=True)
    [column] = vault.store.vectors.columns.values()
    column.ann["cosine"].wait()
    print(vault.search(near=vector, k=1, approx=True)["position"].to_list())
"""


def test_two_processes_build_at_once(tmp_path):
    frame = vectors(ROWS)
    with opened(tmp_path / "v") as vault:
        vault.save("x", frame)
        command = [sys.executable, "-c", BUILD, str(tmp_path / "v")]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        ask(vault, frame, 7)
        assert other.communicate()[0].strip() == "[7]"
        index_of(vault).wait()
        assert ask(vault, frame, 7, k=1) == [7]
    [path] = (tmp_path / "v" / "indexes").iterdir()
    assert cell_files.decode(path.read_bytes()).size == ROWS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_searches_by_itself(tmp_path):
    frame = vectors(ROWS)
    built(tmp_path / "v", frame)
    with opened(tmp_path / "v") as vault:
        ask(vault, frame, 0)
        child = os.fork()
        if not child:
            os._exit(0 if ask(vault, frame, 7, k=1) == [7] and index_of(vault).built is not None else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_indexes_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(key_index, "_LACKING_ROWS", 0)
    frame = vectors(ROWS).assign(title="Storm at sea", key=range(ROWS))
    with opened(tmp_path / "v") as vault:
        assert vault.indexes().empty
        vault.save("x", frame)
        vault.search("storm")
        ask(vault, frame, 0)
        index_of(vault).wait()
        vault.upsert("x", frame.iloc[:1].assign(title="Calm"), key="key")
        found = vault.indexes().set_index("kind")
        assert found.loc["vector", ["list", "column", "metric", "total"]].to_list() == [
            "x",
            "vec",
            "cosine",
            ROWS,
        ]
        assert found.loc["vector", "rows"] == ROWS - 1
        assert found.loc["vector", "state"] == "behind"
        assert found.loc["keys", "bytes"] > 0
        index_texts(vault.store)
        assert vault.indexes().set_index("kind").loc["text", ["rows", "state"]].to_list() == [
            ROWS,
            "complete",
        ]
        vault.backup(tmp_path / "copy")
        assert not (tmp_path / "copy" / "indexes").exists()


def test_every_store_lists_its_indexes(vault):
    vault.save("x", {"title": "Storm at sea"})
    assert vault.indexes()["kind"].to_list() == ["text"]
