"""Many processes and threads on one vault: nothing lost, nothing doubled, positions contiguous, reads consistent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from torture.harness import PROCESSES

import tablevault_pd as tv
from tablevault_pd import frames
from tablevault_pd.store import Batch, Store
from tablevault_pd.store.embedded import fsio as io

if TYPE_CHECKING:
    import pyarrow as pa


@pytest.fixture
def vault(folder_vault: tv.Vault) -> tv.Vault:
    """Locks, forks and files are the embedded store's own matter."""
    return folder_vault


def rows(worker: int, number: int, size: int = 1) -> pd.DataFrame:
    return pd.DataFrame({"worker": [worker] * size, "number": [number] * size, "part": range(size)})


def append_many(place: str, name: str, worker: int, count: int, large_every: int = 0) -> int:
    """In a process of its own: `count` appends, some of them above the size kept inside the catalogue."""
    with tv.connect(place, session=f"worker {worker}", durability="fast") as vault:
        for number in range(count):
            large = large_every and number % large_every == 0
            vault.append(name, rows(worker, number, 15_000 if large else 1))
    return worker


def check_appends(df: pd.DataFrame, workers: int, count: int) -> None:
    """Each worker's batches are whole, in its own order, and all there."""
    assert len(df.drop_duplicates(["worker", "number"])) == workers * count
    for worker, mine in df.groupby("worker"):
        numbers = mine["number"].to_numpy()
        assert np.all(np.diff(numbers) >= 0), worker
    whole = df.groupby(["worker", "number"])
    assert (whole["part"].max() + 1 == whole.size()).all()
    runs = (df[["worker", "number"]].diff() != 0).any(axis=1).sum()
    assert runs == workers * count, "a batch was split"


def test_eight_processes_append_to_one_list(vault):
    count = 60
    with ProcessPoolExecutor(8, mp_context=PROCESSES) as pool:
        done = [pool.submit(append_many, vault.place, "shared", worker, count, 20) for worker in range(8)]
        seen = []
        while not all(future.done() for future in done):
            if "shared" in vault:
                df = vault.read("shared")
                assert df.index.tolist() == list(range(len(df)))
                seen.append(df)
        assert sorted(future.result() for future in done) == list(range(8))
    final = vault.read("shared")
    check_appends(final, 8, count)
    for earlier in seen[-20:]:  # every read was a prefix of what came later, in whole batches
        pd.testing.assert_frame_equal(final.head(len(earlier)), earlier, check_index_type=False)
    versions = vault.versions("shared")
    assert versions["version"].tolist() == list(range(1, 8 * count + 1))
    assert (versions["total"] == versions["rows"].cumsum()).all()
    assert versions["time"].is_monotonic_increasing
    assert versions["session"].nunique() == 8


@pytest.mark.ci
def test_eight_processes_append_to_lists_of_their_own(vault):
    with ProcessPoolExecutor(8, mp_context=PROCESSES) as pool:
        list(pool.map(append_many, [vault.place] * 8, [f"list {i}" for i in range(8)], range(8), [30] * 8))
    for worker in range(8):
        check_appends(vault.read(f"list {worker}"), 1, 30)


def save_new(place: str, worker: int) -> list[int]:
    with tv.connect(place) as vault:
        return [vault.save("one", rows(worker, number))._committed.version for number in range(20)]


def test_saves_under_one_name_count_on(vault):
    with ProcessPoolExecutor(4, mp_context=PROCESSES) as pool:
        versions = [version for found in pool.map(save_new, [vault.place] * 4, range(4)) for version in found]
    assert sorted(versions) == list(range(1, 81))


def evolve(place: str, worker: int) -> None:
    with tv.connect(place) as vault:
        for number in range(10):
            vault.append("grow", pd.DataFrame({"n": [number], f"own {worker}": [0.5]}))


def test_columns_that_grow_at_the_same_time(vault):
    with ProcessPoolExecutor(4, mp_context=PROCESSES) as pool:
        list(pool.map(evolve, [vault.place] * 4, range(4)))
    df = vault.read("grow")
    assert len(df) == 40
    assert {f"own {i}": int(df[f"own {i}"].notna().sum()) for i in range(4)} == {
        f"own {i}": 10 for i in range(4)
    }


def test_threads_share_a_vault(vault):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda worker: [vault.append("t", rows(worker, n)) for n in range(25)], range(8)))
    check_appends(vault.read("t"), 8, 25)


def test_a_thread_sees_nothing_of_what_another_one_has_not_committed(tmp_path, monkeypatch):
    """Each has a connection of its own while it is inside."""
    seen, real = [], io.failpoint

    def at(name):
        if name == "before-commit" and threading.current_thread() is not threading.main_thread():
            monkeypatch.setattr(io, "failpoint", real)
            before_commit.set()
            assert looked.wait(60)

    before_commit, looked = threading.Event(), threading.Event()
    with tv.connect(tmp_path / "v", session=False) as vault:
        vault.append("a", {"n": 0})
        monkeypatch.setattr(io, "failpoint", at)
        writer = threading.Thread(target=lambda: vault.append("a", {"n": 1}))
        writer.start()
        assert before_commit.wait(60)
        seen.append(vault.read("a")["n"].tolist())
        looked.set()
        writer.join()
        seen.append(vault.read("a")["n"].tolist())
    assert seen == [[0], [0, 1]]


@pytest.mark.ci
def test_processes_may_make_the_vault_together(tmp_path):
    place = str(tmp_path / "fresh")
    with ProcessPoolExecutor(6, mp_context=PROCESSES) as pool:
        list(pool.map(append_many, [place] * 6, ["x"] * 6, range(6), [2] * 6))
    with tv.connect(place) as vault:
        check_appends(vault.read("x"), 6, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_writes_too(vault):
    vault.append("f", rows(0, 0))
    children = []
    for worker in range(1, 4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for number in range(20):
                    vault.append("f", rows(worker, number))
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    for number in range(1, 20):
        vault.append("f", rows(0, number))
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    check_appends(vault.read("f"), 4, 20)


@pytest.mark.ci
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_outlives_the_parents_vault(tmp_path):
    vault = tv.connect(tmp_path / "v")
    vault.append("f", rows(0, 0))
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.read(reading, 1)
            for number in range(30):
                vault.append("f", rows(1, number))
            code = 0
        finally:
            os._exit(code)
    vault.close()
    os.write(writing, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with tv.connect(tmp_path / "v") as again:
        assert len(again.read("f")) == 31
        assert again.check().empty


@pytest.mark.ci
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_in_the_middle_of_another_threads_commit(vault):
    """At the store, with tables made before: pyarrow has a lock of its own in which pandas hangs after such a fork."""
    tables = {name: frames.encode(rows(0, 0)) for name in ("parent", "child")}
    for name in tables:
        commit(vault.store, name, tables[name])
    stop = threading.Event()
    count = [1]

    def write() -> None:
        while not stop.is_set():
            commit(vault.store, "parent", tables["parent"])
            count[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    commit(vault.store, "child", tables["child"])
                    code = 0
                finally:
                    os._exit(code)
            assert wait_for(pid, 30) == 0, "the child hangs"
    finally:
        stop.set()
        thread.join()
    assert len(vault.read("child")) == 11
    assert len(vault.read("parent")) == count[0]


def commit(store: Store, name: str, table: pa.Table) -> None:
    head = store.head(name)
    batch = Batch(
        uuid.uuid4().hex, name, "append", schema=table.schema, base=head.schema_id if head else None
    )
    with store.stage() as stage:
        stage.write(table)
        store.commit(batch, stage)


def wait_for(pid: int, timeout_s: float) -> int | None:
    """The child's exit code; None, and the child is killed, if it takes too long."""
    deadline = time.monotonic() + timeout_s
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.005)


HOLD = """
import sys, time
import tablevault_pd as tv
vault = tv.connect(sys.argv[1])
def hold(_):
    print("held", flush=True)
    time.sleep(60)
vault.store.catalog.write(hold)
"""


@pytest.mark.ci
def test_a_writer_waits_then_says_who_holds_the_lock(vault):
    vault.append("a", rows(0, 0))
    holder = subprocess.Popen([sys.executable, "-c", HOLD, vault.place], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        code = "import sys, tablevault_pd as tv\ntv.connect(sys.argv[1], timeout_s=0.5)"
        waiter = subprocess.run(
            [sys.executable, "-c", code, vault.place], capture_output=True, text=True, check=False
        )
        assert "VaultBusy" in waiter.stderr
        assert f"Process {holder.pid} on " in waiter.stderr
        assert len(vault.read("a")) == 1  # reading goes on
    finally:
        holder.kill()
        holder.wait()
    vault.append("a", rows(0, 1))
    assert len(vault.read("a")) == 2


@pytest.mark.ci
def test_cleaning_never_takes_what_a_slow_writer_commits(vault):
    stop = threading.Event()

    def clean() -> None:
        while not stop.is_set():
            vault.check(fix=True)
            vault.vacuum(keep=1000, dry_run=False)
            vault.compact()

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        with ProcessPoolExecutor(3, mp_context=PROCESSES) as pool:
            list(pool.map(append_many, [vault.place] * 3, ["x"] * 3, range(3), [20] * 3, [2] * 3))
    finally:
        stop.set()
        cleaner.join()
    check_appends(vault.read("x"), 3, 20)
    assert vault.check(fix=True)["severity"].isin(["stray"]).all()


def test_a_spawned_worker_finds_the_vault_by_its_place(vault):
    vault.save("a", rows(0, 0))
    with ProcessPoolExecutor(1, mp_context=PROCESSES) as pool:
        assert pool.submit(_length, vault.place).result() == 1


def _length(place: str) -> int:
    with tv.connect(place, mode="r") as vault:
        return len(vault["a"])


def test_a_vault_that_goes_to_a_spawned_worker_keeps_its_options(vault):
    vault.save("a", rows(0, 0))
    vault.snapshot("then")
    vault.append("a", rows(0, 1))
    with (
        ProcessPoolExecutor(1, mp_context=PROCESSES) as pool,
        tv.connect(vault.place, mode="r") as reader,
        tv.connect(vault.place, at="then") as then,
    ):
        told = [pool.submit(_length_and_rights, sent).result() for sent in (vault, reader, then)]
    assert told == [(2, False), (2, True), (1, True)]


def _length_and_rights(vault: tv.Vault) -> tuple[int, bool]:
    return len(vault["a"]), vault.store.read_only


def test_places_are_folders(vault):
    assert Path(vault.place).is_dir()


def test_cleaning_between_the_making_and_the_locking_of_a_file_takes_nothing(folder_vault, monkeypatch):
    from tablevault_pd.store.embedded import lockfile, strays

    store, real, taken = folder_vault.store, lockfile.fcntl.flock, []

    def slow(descriptor: int, how: int) -> None:
        if not taken:  # somebody else cleans up just before the new file is locked
            taken.append(True)
            found = strays.strays(store, remove=True)
            assert [stray.removed for stray in found] == [True]
        real(descriptor, how)

    monkeypatch.setattr(lockfile.fcntl, "flock", slow)
    folder_vault.save("large", rows(0, 0, 50_000))
    assert taken
    assert len(folder_vault.read("large")) == 50_000
    assert strays.strays(store, remove=True) == []  # it is committed


@pytest.mark.ci
def test_an_interpreter_that_starts_no_more_threads_still_saves(tmp_path, monkeypatch):
    """As one that is ending does from Python 3.12 on, while functions of atexit may still save."""
    code = """
import fcntl, sys, time
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(1)
"""
    with tv.connect(tmp_path / "v") as vault:
        vault.save("small", {"a": 1})

        def refuse(thread):
            raise RuntimeError("can't create new thread at interpreter shutdown")

        holder = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "v" / "write.lock")], stdout=subprocess.PIPE
        )
        assert holder.stdout.readline() == b"held\n"
        monkeypatch.setattr(threading.Thread, "start", refuse)
        texts = [f"solar {number}" for number in range(100_000)]
        vault.save(
            "large", pd.DataFrame({"text": texts})
        )  # behind the lock, to a file, its text to be indexed later
        monkeypatch.undo()
        assert holder.wait(60) == 0
        assert len(vault.read("large")) == 100_000
        assert len(vault.search("solar", lists="large", k=5)) == 5
        assert vault.check().empty
