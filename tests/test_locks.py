"""The lock, transactions and connections of a vault folder: whatever is raised wherever, the vault goes on."""

from __future__ import annotations

import errno
import gc
import hashlib
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from stores import keep, put, rows, table_of
from test_forks import in_child, needs_proc, open_files, wait_until

import tablevault_pd as tv
from tablevault_pd.errors import (
    StorageError,
    StorageFull,
    VaultBusy,
    VaultClosed,
    VaultNotFound,
    VaultReadOnly,
)
from tablevault_pd.store import Beat, Description, Measures, Session
from tablevault_pd.store.embedded import EmbeddedStore, catalog, connection_pool, vacuum, write_lock
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.connection import SqliteConnection
from tablevault_pd.store.embedded.lockfile import locked
from tablevault_pd.store.embedded.write_lock import WriteLock
from tablevault_pd.store.text_query import Word

pytestmark = pytest.mark.ci

# -- interrupts


class Interrupts:
    """Raises KeyboardInterrupt at the n-th point in the store's code where Python looks for signals.

    It does so when a function of Python begins, and when one of C has returned; both are events of a profiler.
    """

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame, event, argument) -> None:
        while frame is not None and frame.f_globals.get("__name__") == "contextlib":
            frame = frame.f_back  # what the store calls there
        if (
            event in ("call", "c_return")
            and frame
            and frame.f_globals.get("__name__", "").startswith("tablevault_pd.store")
        ):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    def __enter__(self) -> Interrupts:
        gc.disable()  # Python swallows what is raised in a finalizer
        sys.setprofile(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()


@pytest.fixture
def store(tmp_path):
    with_closing = EmbeddedStore(tmp_path / "v", durability="fast", timeout_s=5)
    yield with_closing
    with_closing.close()
    assert (
        open_files(str(tmp_path / "v" / "catalog.db")) == open_files(str(tmp_path / "v" / "write.lock")) == []
    )


def commits(store, table):
    put(store, "a", table, operation="append")


def saves_a_file(store, table):
    put(store, "large", pa.table({"n": np.arange(40_000) + table["n"][0].as_py()}))


@needs_proc
@pytest.mark.parametrize("work", [commits, saves_a_file], ids=lambda work: work.__name__)
def test_an_interrupt_wherever_python_looks_for_one(store, work):
    """Also where somebody keeps the traceback, as every notebook does."""
    other = sqlite3.connect(store.catalog.path, timeout=0, isolation_level=None)
    tables = iter(pa.table({"n": [number], "text": ["ridge"]}) for number in range(100_000))
    work(store, next(tables))
    kept, at, done = [], 0, False
    while not done:
        number = next(tables)
        try:
            with Interrupts(at):
                work(store, number)
                done = True
        except KeyboardInterrupt as error:
            kept.append(error)
        other.execute("BEGIN IMMEDIATE")  # no transaction was left open,
        other.execute("ROLLBACK")
        WriteLock(store.folder).take(0).close()  # no lock is held,
        at += 1 if at < 40 else 3
    assert at > 100
    other.close()
    work(store, next(tables))  # and it goes on
    name = "a" if work is commits else "large"
    found = [row["n"] for row in rows(store, store.head(name))]
    if work is commits:
        assert len(set(found)) == len(found)
        assert found[0] == 0
        assert len(found) > 2
    else:
        assert found == list(range(found[0], found[0] + 40_000))
    kept.clear()  # with the files that they hold
    gc.collect()
    assert {problem.severity for problem in store.check(fix=True)} <= {"stray"}
    assert store.check() == []


def sessions(store, number, folder):
    """One begins, logs, is tagged and ends."""
    opened = store.open_session(Session("s", "u", "h", 1, datetime.now(UTC)))
    one = np.array([number], np.int64)
    store.beat([Beat(opened.id, 1, measures=(Measures(opened.id, "loss", one, one, one.astype(float)),))])
    store.change_tags(sessions=[opened.id], add=["a", "b"], remove=["b"])
    store.beat([Beat(opened.id, 2, outcome="finished")])
    (seen,) = store.sessions([opened.id])
    assert (seen.tags, seen.outcome) == (("a",), "finished")
    assert store.measures([opened.id])["value"].to_pylist() == [number]


def descriptions(store, number, folder):
    store.describe(Description("main", f"wind {number}"))
    assert [told.text for told in store.search_descriptions(Word(str(number)))] == [f"wind {number}"]


def compacts(store, number, folder):
    for _ in range(2):
        put(store, f"a{number}", pa.table({"n": [number]}), operation="append")
    assert [merged.parts_after for merged in store.compact(f"a{number}")] == [1]


def vacuums(store, number, folder):
    put(store, "a", pa.table({"n": [number]}))
    put(store, "a", pa.table({"n": [number]}))
    assert store.vacuum(dry_run=False)
    assert rows(store, store.head("a")) == [{"n": number}]


def mends(store, number, folder):
    (store.segments / f"{uuid.uuid4().hex}.arrow").write_bytes(b"of no commit")
    assert any(problem.fixed for problem in store.check(fix=True))


def keeps_a_file(store, number, folder):
    path = folder / str(number)
    path.write_text(str(number))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    keep(store, path, sha256)
    with store.open_file(sha256) as file:
        assert file.read() == path.read_bytes()


@needs_proc
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "work",
    [sessions, descriptions, compacts, vacuums, mends, keeps_a_file],
    ids=lambda work: work.__name__,
)
def test_an_interrupt_of_what_looks_after_a_vault(store, tmp_path, work):
    """Every transaction is whole or undone, and no lock stays behind."""
    other = sqlite3.connect(store.catalog.path, timeout=0, isolation_level=None)
    for number in range(2):
        work(store, number, tmp_path)
    kept, at = [], 0
    while True:
        try:
            with Interrupts(at) as interrupts:
                work(store, 100_000 + at, tmp_path)
            if interrupts.left >= 0:  # it went through to its end
                break
        except KeyboardInterrupt as error:
            kept.append(error)
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
        WriteLock(store.folder).take(0).close()
        with locked(store.folder / "files.lock", exclusive=True) as lock:
            assert lock.held
        at += 1 + at // 16  # what was left undone makes the next call longer
    assert at > 60
    other.close()
    kept.clear()
    gc.collect()
    work(store, 99, tmp_path)
    store.check(fix=True)
    assert store.check() == []


def locked_files(part: str) -> list[str]:
    """Files with that part in their path that this process holds a lock of."""
    import fcntl

    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            path = os.readlink(f"/proc/self/fd/{number}")
            if part in path:
                with open(f"/proc/self/fd/{number}", "rb") as again:
                    try:
                        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        found.append(path)
    return found


@needs_proc
def test_an_interrupt_while_segments_are_removed_leaves_none_locked(store):
    kept, at, done = [], 0, False
    while not done:
        paths = [store.segments / f"{uuid.uuid4().hex}.arrow" for _ in range(3)]
        for path in paths:
            path.write_bytes(b"of no commit")
        try:
            with Interrupts(at):
                vacuum.unlink_locked(store._maintenance._vault, paths)
                done = True
        except KeyboardInterrupt as error:
            kept.append(error)
        assert not locked_files(str(store.segments)), at
        at += 1
    assert at > 60
    assert not any(path.exists() for path in paths)
    kept.clear()
    gc.collect()


def test_a_handler_that_saves_in_the_middle_of_a_save_is_refused_at_once(folder_vault):
    """Not after `timeout_s`, which is 30 s, and with another reason."""
    folder_vault.append("a", {"n": 1})
    told = []

    def handler(*_: object) -> None:
        told.append(folder_vault.read("a").n.tolist())
        with pytest.raises(VaultBusy, match="signal handler") as refused:
            folder_vault.append("a", {"n": 2})
        told.append(str(refused.value))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        folder_vault.store.catalog.write(lambda db: signal.raise_signal(signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told[0] == [1]
    assert "locked by another writer" not in told[1]
    folder_vault.append("a", {"n": 3})
    assert folder_vault.read("a").n.tolist() == [1, 3]


def test_a_handler_that_saves_while_its_thread_waits_is_served(folder_vault):
    folder_vault.append("a", {"n": 1})
    held = WriteLock(folder_vault.store.folder).take(5)
    held.thread = 0  # another thread's, or another process's

    def handler(*_: object) -> None:
        held.close()
        folder_vault.append("a", {"n": 2})

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        folder_vault.append("a", {"n": 3})
    finally:
        signal.signal(signal.SIGALRM, before)
    assert folder_vault.read("a").n.tolist() == [1, 2, 3]


def test_whoever_waited_in_vain_leaves_the_lock_to_its_holder(tmp_path):
    gate = WriteLock(tmp_path)
    held = gate.take(1)
    told = []

    def wait() -> None:
        try:
            gate.take(0.01)
        except VaultBusy as error:
            told.append(str(error))

    for _ in range(3):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert len(told) == 3
    assert f"Process {os.getpid()} on " in told[0]
    held.close()
    gate.take(0).close()


TURNS = """
import sys
from pathlib import Path
from tablevault_pd.store.embedded.write_lock import WriteLock
gate = WriteLock(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    with gate.take(30):
        print("had it", flush=True)
"""


def test_a_writer_that_waits_comes_before_one_that_had_it(tmp_path):
    """One that takes the lock again and again does not keep the others out."""
    waiter = subprocess.Popen(
        [sys.executable, "-c", TURNS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert waiter.stdin is not None
    assert waiter.stdout is not None
    try:
        assert waiter.stdout.readline() == "ready\n"
        gate, told = WriteLock(tmp_path), []
        thread = threading.Thread(target=lambda: told.append(waiter.stdout.readline()))
        thread.start()
        waiter.stdin.write("go\n")
        waiter.stdin.flush()
        while not told:  # without a moment in between
            gate.take(30).close()
        assert told == ["had it\n"]
        thread.join()
    finally:
        waiter.stdin.close()
        assert waiter.wait(60) == 0


# -- what is learnt in a transaction


def test_nothing_learnt_in_a_transaction_outlives_its_rollback(store, monkeypatch):
    """Of two payloads with the same schema, the second one finds what the first one has just inserted."""
    floats, ints = pa.table({"x": [0.5] * 9}), pa.table({"n": [1] * 9})
    categories = [
        pa.table({"c": pa.array(words).dictionary_encode(), "n": [1, 2]})
        for words in (["a", "b"], ["c", "d"])
    ]
    for several in ([ints, ints], categories):
        monkeypatch.setattr(io, "_fault_name", "rows-in")
        monkeypatch.setattr(io, "_fault_action", "ENOSPC")
        with pytest.raises(StorageFull):
            put(store, "first", *several)
        monkeypatch.setattr(io, "_fault_name", "")
        put(store, "second", floats)
        version = put(store, "first", *several)
        assert table_of(store, store.head("second")).equals(floats)
        assert rows(store, version) == [row for table in several for row in table.to_pylist()]
        assert store.check() == []


# -- statements

KINDS = {
    "append": lambda vault, n: vault.append("a", {"n": n, "text": "some words"}),
    "append a frame": lambda vault, n: vault.append("frames", pd.DataFrame({"n": [n] * 10})),
    "first save": lambda vault, n: vault.save(f"new {n}", {"n": n}),
    "new column": lambda vault, n: vault.append("grows", {f"c{n}": n}),
    "log": lambda vault, n: tv.log(value=n),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_statement_on_the_way_of_a_save_looks_through_a_table(folder_vault, kind):
    vault, work = folder_vault, KINDS[kind]
    for number in range(2):
        work(vault, number)
    statements: set[str] = set()
    with vault.store.catalog.reading() as db:
        db.set_trace_callback(statements.add)
    work(vault, 2)
    db.set_trace_callback(None)
    assert kind == "log" or any(
        statement.startswith("INSERT INTO batches") for statement in map(str.strip, statements)
    )
    for statement in statements:
        if statement.split()[0] in ("SELECT", "UPDATE", "INSERT", "WITH", "DELETE"):
            for *_, plan in db.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall():
                assert "SCAN" not in plan or "json_each" in plan or "CONSTANT" in plan, f"{plan}: {statement}"


# -- answers


@contextmanager
def between_statements(store, work):
    """Have another process's work done before each statement of this thread that reads."""

    def meanwhile(statement: str) -> None:
        if statement.lstrip().startswith("SELECT"):
            work()

    with store.catalog.reading() as db:
        db.set_trace_callback(meanwhile)
    yield
    db.set_trace_callback(None)


def test_what_an_answer_takes_from_several_statements_is_of_one_moment(store):
    other, numbers = EmbeddedStore(store.folder), itertools.count()

    def work() -> None:
        number = next(numbers)
        other.describe(Description(f"label {number}", "wind"))
        key = other.open_session(Session("s", "u", "h", 1, datetime.now(UTC))).id
        one = np.array([number], np.int64)
        other.beat([Beat(key, 1, measures=(Measures(key, "loss", one, one, one.astype(float)),))])

    work()
    with between_statements(store, work):
        found = store.search_descriptions(Word("wind"))
        seen = store.overview()
    assert next(numbers) > 4
    assert [told.label for told in found] == [f"label {at}" for at in range(len(found))]
    assert found
    assert seen.latest["session"].to_pylist() == [session.id for session in seen.sessions]
    other.close()


# -- connections


@needs_proc
def test_a_thread_that_ends_leaves_no_connection_open(folder_vault):
    vault = folder_vault
    vault.append("a", {"n": 1})
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        vault.append("a", {"n": number})
        assert len(vault.read("a")) > 1

    mine = (
        f"{vault.store.catalog.path}-wal"  # SQLite keeps descriptors of the file itself, and uses them again
    )
    before = len(open_files(mine))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(open_files(mine)) <= before + 1  # the background thread of the session may have begun


def in_threads(*works):
    """Run these side by side; what they raised."""
    raised: list[BaseException] = []

    def run(work) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # the test is to see it
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    return threads, raised


def test_a_log_that_a_closing_connection_clears_away_was_not_removed(store, monkeypatch):
    """As when a thread ends, whose connection is the last one, while another thread opens one."""
    put(store, "a", pa.table({"n": [0]}), operation="append")
    store.catalog.close_idle(threading.get_ident())
    cleared, done = threading.Event(), threading.Event()

    class Slow(SqliteConnection):
        def close(self) -> None:
            super().close()
            if not cleared.is_set():
                cleared.set()
                done.wait(0.3)  # the other thread may be done before, where it does not wait for this one

    monkeypatch.setattr(connection_pool, "SqliteConnection", Slow)
    monkeypatch.setattr(connection_pool, "REMOVAL_S", 0.05)

    def first() -> None:
        put(store, "a", pa.table({"n": [1]}), operation="append")
        store.catalog.close_idle(threading.get_ident())

    def second() -> None:
        assert cleared.wait(60)
        try:
            put(store, "a", pa.table({"n": [2]}), operation="append")
        finally:
            done.set()

    threads, raised = in_threads(first, second)
    for thread in threads:
        thread.join()
    assert raised == []
    assert [row["n"] for row in rows(store, store.head("a"))] == [0, 1, 2]


def test_no_connection_is_opened_while_another_thread_looks_for_a_removed_log(store, monkeypatch):
    """Closing the file that it looks into would drop the locks of that connection."""
    put(store, "a", pa.table({"n": [0]}))
    store.catalog.close_idle(threading.get_ident())
    looking, go_on, real = threading.Event(), threading.Event(), write_lock.removed_under

    def slow(database: str) -> int | None:
        if not looking.is_set():
            looking.set()
            assert go_on.wait(60)
        return real(database)

    monkeypatch.setattr(write_lock, "removed_under", slow)
    (first,), raised = in_threads(lambda: store.head("a"))
    assert looking.wait(60)
    opened = threading.Event()
    (second,), others = in_threads(lambda: (store.head("a"), opened.set()))
    assert not opened.wait(0.2)
    go_on.set()
    first.join()
    second.join()
    assert raised == others == []


def test_closing_waits_for_the_calls_under_way(tmp_path):
    vault = tv.connect(tmp_path / "v", session=False)  # closing waits for what a session has to write, too
    inside, go_on, told = threading.Event(), threading.Event(), []

    def work(db: sqlite3.Connection) -> None:
        inside.set()
        go_on.wait(60)
        told.append(db.execute("SELECT count(*) FROM lists").fetchone())

    store = vault.store
    thread = threading.Thread(target=store.catalog.write, args=(work,))
    thread.start()
    assert inside.wait(60)
    closing = threading.Thread(target=vault.close)
    closing.start()
    wait_until(lambda: store.catalog._closed)
    go_on.set()
    thread.join(30)
    closing.join(30)
    assert told == [(0,)]
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == [
        "catalog.db",
        "files",
        "segments",
        "write.lock",
    ]
    with pytest.raises(VaultClosed):
        vault.read("a")


# -- other users, other vaults


def read_as_another_user(place: Path, between=lambda: None) -> str:
    """What a user without rights to what this one owns reads, before and after `between`."""
    with tv.connect(
        place, mode="r"
    ) as vault:  # so that all is imported that lies where that user may not look
        vault.read("x")
    vaults = []

    def read() -> list[int]:
        if not vaults:
            os.setgid(65534)
            os.setuid(65534)
            vaults.append(tv.connect(place, mode="r", timeout_s=1))
        return vaults[0].read("x").n.tolist()

    return in_child(lambda: [read(), between(), read()])


WRITE_AND_DIE = """
import os, sys
import tablevault_pd as tv
tv.connect(sys.argv[1], session="s").save("x", {"n": int(sys.argv[2])})
os._exit(0)
"""


def show(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


only_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"
)


@only_root
def test_a_reader_without_rights_to_the_folder_sees_what_is_committed(shown):
    place = shown / "v"
    with tv.connect(place, session="s") as vault:
        vault.save("x", {"n": 1})
    show(place)
    assert not (place / "catalog.db-wal").exists()
    assert read_as_another_user(place) == "[[1], None, [1]]"
    for number in (2, 3):
        subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(place), str(number)], check=True)
        show(place)
        assert (place / "catalog.db-wal").stat().st_size
        assert read_as_another_user(place) == f"[[{number}], None, [{number}]]"
    with tv.connect(place, session="s") as vault:
        vault.save("x", {"n": 4})
        show(place)
        assert read_as_another_user(place) == "[[4], None, [4]]"


@only_root
@pytest.mark.parametrize("shut", ["nothing", "files.lock", "files", "both"])
def test_a_reader_without_rights_checks_what_may_be_read(shown, shut):
    """What may not be read is reported as that, and nothing advises what the user has done already."""
    place, note = shown / "v", shown / "note"
    note.write_text("kept")
    with tv.connect(place, session=False) as vault:
        vault.save("x", pd.DataFrame({"path": [str(note)]}), files="path", copy=True)
    (place / "files" / "00").mkdir()
    (place / "files" / "00" / "stray").write_text("of no commit")
    show(place)
    if shut in ("files.lock", "both"):
        (place / "files.lock").chmod(0o600)
    if shut in ("files", "both"):
        for path in (place / "files").glob("*/*"):
            path.chmod(0o600)
    before = sorted(place.rglob("*"))

    def check() -> object:
        os.setgid(65534)
        os.setuid(65534)
        with tv.connect(place, mode="r") as vault:
            return sorted(vault.check()[["severity", "what"]].values.tolist())

    expected = [["unchecked", "kept file not read"]] if shut in ("files", "both") else []
    lock_may_be_read = shut in ("nothing", "files")
    strays = ["stray", "file of no commit"] if lock_may_be_read else ["unchecked", "files of no commit"]
    assert in_child(check) == str(sorted([strays, *expected]))
    assert sorted(place.rglob("*")) == before


def test_no_code_runs_when_what_belongs_to_threads_is_dropped_in_the_main_one(tmp_path):
    """An interrupt that came in it would be printed and lost. The connection of a thread that ends is closed all the same."""
    tv.connect(tmp_path / "v", session=False).close()
    options = {"read_only": False, "timeout_s": 60, "durability": "full"}
    catalogues = [catalog.SqliteCatalog(tmp_path / "v", **options)]
    used, go_on = threading.Event(), threading.Event()

    def use() -> None:
        with catalogues[0].reading() as db:
            db.execute("SELECT 1")

    def stay() -> None:
        use()
        used.set()
        go_on.wait(60)

    use()
    (staying,), _ = in_threads(stay)
    assert used.wait(60)
    in_threads(use)[0][0].join()
    assert set(catalogues[0]._idle) == {threading.get_ident(), staying.ident}
    ran: list[str] = []

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename == connection_pool.__file__:
            ran.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        catalogues.clear()
        gc.collect()
    finally:
        sys.setprofile(None)
        go_on.set()
        staying.join()
    assert ran == []


@only_root
def test_a_reader_without_rights_says_so_where_the_log_cannot_be_read(shown):
    place = shown / "v"
    with tv.connect(place, session="s") as vault:
        vault.save("x", {"n": 1})
    subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(place), "2"], check=True)
    copy = shown / "copy"
    shutil.copytree(place, copy)
    (copy / "catalog.db-shm").unlink()
    show(copy)

    def read() -> object:
        os.setgid(65534)
        os.setuid(65534)
        return tv.connect(copy, mode="r", timeout_s=1).read("x")

    with tv.connect(place, mode="r") as vault:
        vault.read("x")
    assert in_child(read).startswith("VaultReadOnly: The newest commits of the vault")


@only_root
def test_a_reader_without_rights_sees_what_comes_later(shown):
    """It read without any lock, as nobody was writing; then a writer comes and goes."""
    place = shown / "v"
    with tv.connect(place, session="s") as vault:
        vault.save("x", {"n": 1})
    show(place)
    ready, go = os.pipe(), os.pipe()

    def write() -> None:
        os.read(ready[0], 1)
        subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(place), "2"], check=True)
        show(place)
        os.write(go[1], b"x")

    def between() -> None:
        os.write(ready[1], b"x")
        os.read(go[0], 1)

    thread = threading.Thread(target=write)
    thread.start()
    assert read_as_another_user(place, between) == "[[1], None, [2]]"
    thread.join()


def test_a_vault_in_the_making_is_waited_for(tmp_path):
    place = tmp_path / "v"
    for part in (place, place / "segments"):
        part.mkdir()
    told: list[object] = []

    def read() -> None:
        with tv.connect(place, mode="r") as vault:
            told.append(vault.lists().empty)

    for made in ([], ["catalog.db"]):  # before there is a catalogue, and while it is empty
        for name in made:
            (place / name).touch()
        with pytest.raises(VaultNotFound):
            tv.connect(place, mode="r", timeout_s=0.05)
        thread = threading.Thread(target=read)
        thread.start()
        if made:
            tv.connect(place, session="s").close()
        else:
            shutil.copy(_empty_vault(tmp_path), place / "catalog.tmp")
            os.replace(place / "catalog.tmp", place / "catalog.db")
        thread.join(60)
        assert told == [True]
        told.clear()
        (place / "catalog.db").unlink()


def _empty_vault(folder: Path) -> Path:
    tv.connect(folder / "other", session="s").close()
    return folder / "other" / "catalog.db"


@pytest.mark.filterwarnings("ignore:tablevault_pd cannot record:RuntimeWarning")
@pytest.mark.parametrize("replaced", [True, False])
def test_a_vault_that_is_replaced_or_removed_while_open_is_noticed(tmp_path, replaced):
    place = tmp_path / "v"
    old = tv.connect(place, session="s")
    old.save("x", {"n": 1})
    reader = tv.connect(place, mode="r")
    assert reader.read("x").n.tolist() == [1]
    if replaced:
        with tv.connect(tmp_path / "new", session="s") as vault:
            vault.save("x", {"n": 2})
    place.rename(tmp_path / "away")
    if replaced:
        (tmp_path / "new").rename(place)
    for work in (
        lambda: old.read("x"),
        lambda: reader.read("x"),
        lambda: old.lists(),
        lambda: old.append("x", {"n": 3}),
    ):
        with pytest.raises(VaultNotFound, match=r"removed or replaced while it was open.*connect again"):
            work()
    with tv.connect(place, session="s") as now:
        assert now.lists().name.tolist() == (["x"] if replaced else [])
        now.save("x", {"n": 4})
        old.close()
        reader.close()
        assert now.read("x").n.tolist() == [4]  # the old handles have taken nothing of it away
        assert tv.connect(place, session="s").read("x").n.tolist() == [4]
    with tv.connect(tmp_path / "away", mode="r") as away:
        assert away.read("x").n.tolist() == [1]


CONNECT = """
import sys
import tablevault_pd as tv
try:
    tv.connect(sys.argv[1], mode=sys.argv[2], timeout_s=1)
except tv.VaultError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell who holds a lock")
@pytest.mark.filterwarnings("ignore:tablevault_pd cannot record")
@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.ci
def test_a_log_that_was_removed_under_another_process_loses_nothing(tmp_path, moved):
    """Whoever comes is refused: it would begin another log under the index of the old one, and damage the catalogue."""
    place = tmp_path / "v"
    vault = tv.connect(place, session="s")
    vault.append("x", {"n": 1})
    if moved:
        assert vault.store.catalog.checkpoint()
    (place / "catalog.db-wal").unlink()
    for mode in ("r", "rw"):
        told = subprocess.run(
            [sys.executable, "-c", CONNECT, str(place), mode], capture_output=True, text=True, check=True
        )
        assert told.stdout.startswith("VaultCorrupt The write-ahead log"), told
        assert f"process {os.getpid()} has the vault open" in told.stdout
        assert not (place / "catalog.db-wal").exists()
    vault.close()
    with tv.connect(place, session="s") as vault:
        vault.append("x", {"n": 2})
        assert vault.read("x").n.tolist() == [1, 2]
        assert vault.check().empty


def test_waits_obey_the_time_limit(tmp_path):
    """Under the lock of another program, be it that of the vault or SQLite's own."""
    with tv.connect(tmp_path / "v", session="s") as vault:
        vault.save("x", {"n": 1})
        vault._run.end()
        store = EmbeddedStore(tmp_path / "v", timeout_s=0.05)
        held = WriteLock(store.folder).take(1)
        held.thread = 0
        with pytest.raises(VaultBusy, match=r"for 0\.05 s"):
            put(store, "x", pa.table({"n": [2]}))
        held.close()
        other = sqlite3.connect(store.catalog.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(VaultBusy):
            put(store, "x", pa.table({"n": [2]}))
        store.close()
        other.close()


def test_nothing_is_made_in_a_folder_that_is_being_removed(tmp_path):
    """Its lock file goes first here, and its catalogue while somebody waits to write."""
    store = EmbeddedStore(tmp_path / "v")
    put(store, "x", pa.table({"n": [1]}))
    told: list[str] = []

    def write() -> None:
        try:
            store.describe(Description("main", "wind"))
        except VaultNotFound as error:
            told.append(str(error))

    (store.folder / "write.lock").unlink()
    waits = threading.Event()
    store.catalog._gate.has_file = lambda: waits.set()
    thread = threading.Thread(target=write)
    thread.start()
    assert waits.wait(60)
    shutil.rmtree(store.folder)
    thread.join()
    assert "removed or replaced" in told[0]
    assert not store.folder.exists()
    store.close()


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("disk I/O error"),
        OSError(errno.EIO, "broken"),
        FileNotFoundError(errno.ENOENT, "gone"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_comes_from_the_removal_of_the_folder_is_told_as_that(tmp_path, monkeypatch, error):
    """The lock file has gone already, and the catalogue goes a moment later."""
    store = EmbeddedStore(tmp_path / "v")
    put(store, "x", pa.table({"n": [1]}))
    (store.folder / "write.lock").unlink()
    removing = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: shutil.rmtree(store.folder))
    with pytest.raises(VaultNotFound, match="removed or replaced"), store.catalog.reading():
        monkeypatch.setattr(connection_pool, "time", removing)
        raise error
    assert not store.folder.exists()
    monkeypatch.undo()
    store.close()


def test_an_error_of_a_whole_folder_is_told_at_once(store, monkeypatch):
    put(store, "x", pa.table({"n": [1]}))
    monkeypatch.setattr(connection_pool, "time", SimpleNamespace(monotonic=time.monotonic))  # nobody sleeps
    with pytest.raises(StorageError, match="disk I/O"), store.catalog.reading():
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error
    monkeypatch.undo()


def test_a_lock_file_that_somebody_took_away_is_made_anew(store):
    (store.folder / "write.lock").unlink()
    store.describe(Description("main", "wind"))
    assert (store.folder / "write.lock").exists()


# -- shrinking


def freed(store) -> None:
    """Leave much of the catalogue free."""
    put(store, "x", pa.table({"n": [1]}))

    def fill(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE filling (data BLOB)")
        db.execute("INSERT INTO filling VALUES (zeroblob(4000000))")

    store.catalog.write(fill)
    store.catalog.write(lambda db: db.execute("DROP TABLE filling") and None)
    assert store.catalog.free_bytes()


def test_writers_wait_in_turn_while_the_catalogue_shrinks(store):
    freed(store)
    threads, refused = [], []

    def meanwhile(statement: str) -> None:
        if statement == "VACUUM":
            threads.append(
                threading.Thread(target=lambda: put(store, "x", pa.table({"n": [2]}), operation="append"))
            )
            threads[0].start()
            with pytest.raises(VaultBusy):
                WriteLock(store.folder).take(0)
            refused.append(statement)

    with store.catalog.reading() as db:
        db.set_trace_callback(meanwhile)
    before = store.catalog.path.stat().st_size
    assert store.catalog.shrink()
    db.set_trace_callback(None)
    assert refused == ["VACUUM"]
    threads[0].join()
    assert rows(store, store.head("x")) == [{"n": 1}, {"n": 2}]
    assert store.catalog.path.stat().st_size < before / 2


def test_the_catalogue_does_not_shrink_while_another_one_writes(tmp_path):
    store = EmbeddedStore(tmp_path / "v", timeout_s=0.05)
    freed(store)
    held = WriteLock(store.folder).take(1)
    held.thread = 0
    assert store.catalog.shrink() == 0
    held.close()
    assert store.catalog.shrink() > 0
    store.close()


def test_a_full_disk_leaves_no_file(store, monkeypatch):
    monkeypatch.setattr(io, "_fault_name", "synced")
    monkeypatch.setattr(io, "_fault_action", "ENOSPC")
    with pytest.raises(StorageFull):
        put(store, "large", pa.table({"n": np.arange(100_000)}))
    monkeypatch.setattr(io, "_fault_name", "")
    assert list(store.segments.iterdir()) == []
    with EmbeddedReader(store.folder) as reader, pytest.raises(VaultReadOnly):
        put(reader, "x", pa.table({"n": [1]}))


class EmbeddedReader(EmbeddedStore):
    """The same folder, to read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, read_only=True)

    def __enter__(self) -> EmbeddedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_a_reader_that_stays_in_the_middle_of_a_list_lets_the_log_stay_small(folder_vault):
    """No statement is open between its chunks, which would keep the log from being begun anew."""
    vault, log = folder_vault, Path(folder_vault.place) / "catalog.db-wal"
    vault.save("read", pd.DataFrame({"n": range(1000)}))
    chunks = vault["read"].batches(10)
    next(chunks)
    sizes = []
    for number in range(300):
        vault.append("log", {"n": number})
        sizes.append(log.stat().st_size)
    assert max(sizes) < 8 << 20, "1,000 pages, after which it is begun anew, are 4 MB"
    assert sum(len(chunk) for chunk in chunks) == 990


def test_a_thread_that_python_stopped_with_a_lock_does_not_hold_up_the_end_of_the_process(
    folder_vault, monkeypatch
):
    """Python ends daemon threads where they are, and drops what belongs to others afterwards."""
    ends, connected, leave = folder_vault.store.catalog._ends, threading.Event(), threading.Event()
    callbacks: list[Any] = []

    def connect() -> None:
        folder_vault.lists()
        callbacks.append(ends[threading.get_ident()].__callback__)
        connected.set()
        leave.wait(60)

    with_connection = threading.Thread(target=connect)
    with_connection.start()
    assert connected.wait(60)
    number = with_connection.ident
    monkeypatch.setattr(connection_pool.sys, "is_finalizing", lambda: True)
    stopped, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with connection_pool.ConnectionPool._opening:
            stopped.set()
            go_on.wait(60)

    holder = threading.Thread(target=hold)
    ender = threading.Thread(target=callbacks[0], args=(None,), daemon=True)
    holder.start()
    try:
        assert stopped.wait(60)
        ender.start()
        ender.join(20)
        assert not ender.is_alive()
    finally:
        go_on.set()
        holder.join()
        monkeypatch.undo()  # the vault is closed and checked yet
        leave.set()
        with_connection.join()
    assert number not in ends, "nothing is kept of threads that have ended"
