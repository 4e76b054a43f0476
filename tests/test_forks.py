"""Forks of a process that has a vault open: every acknowledged row is there, and what is the parent's stays the parent's."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from stores import new_database
from torture.harness import Acks, check_rows, check_sound, run

import tablevault_pd as tv
from tablevault_pd.capture import environment, script
from tablevault_pd.session.environment import EnvironmentCapture
from tablevault_pd.store.engine import fork_guard as forks

if TYPE_CHECKING:
    import sqlite3

pytestmark = [
    pytest.mark.ci,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

FAMILY = """
import os, sys, warnings
import tablevault_pd as tv
from torture.harness import Acks
warnings.simplefilter("ignore")
place, acks, parent_first, child_end, reconnect = sys.argv[1], Acks(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5] == "True"
vault = tv.connect(place, session="family")
def append(number):
    vault.append("a", {"n": number})
    acks.add(number)
append(0)
go, done = os.pipe(), os.pipe()
if (pid := os.fork()) == 0:
    append(1)
    os.write(done[1], b"1")
    os.read(go[0], 1)
    if reconnect:
        vault = tv.connect(place)
    for number in range(2, 12):
        append(number)
    if child_end == "close":
        vault.close()
    elif child_end == "sys.exit":
        sys.exit(0)
    elif child_end == "raise":
        sys.stderr = open(os.devnull, "w")
        raise RuntimeError("as any program may")
    os._exit(0)
os.read(done[0], 1)
if parent_first == "closes":
    vault.close()
elif parent_first == "ends":
    os.write(go[1], b"1")
    os._exit(0)
elif parent_first == "writes":
    for number in range(100, 110):
        append(number)
os.write(go[1], b"1")
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert code == (1 if child_end == "raise" else 0), code
if reconnect or parent_first != "closes":
    vault = tv.connect(place)
    append(200)
"""


@pytest.mark.parametrize(
    ("parent", "child", "reconnect"),
    [
        ("closes", "os._exit", False),
        ("closes", "sys.exit", True),
        ("closes", "raise", False),
        ("ends", "close", False),
        ("writes", "close", True),
        ("writes", "raise", False),
    ],
)
def test_what_was_acknowledged_is_there_whoever_ends_first(tmp_path, parent, child, reconnect):
    place, acks = tmp_path / "v", tmp_path / "acks"
    run(FAMILY, place, acks, parent, child, reconnect)
    wait_until(lambda: len(Acks(acks).all()) >= 12)  # the child may outlive its parent
    with tv.connect(place) as vault:
        check_rows(vault, "a", Acks(acks).all())
        check_sound(vault)


@pytest.mark.arango
@pytest.mark.parametrize(
    ("parent", "child", "reconnect"), [("closes", "raise", False), ("writes", "sys.exit", True)]
)
def test_what_was_acknowledged_is_on_the_server_whoever_ends_first(
    server_vault, tmp_path, parent, child, reconnect
):
    run(FAMILY, server_vault.place, tmp_path / "acks", parent, child, reconnect)
    assert len(Acks(tmp_path / "acks").all()) >= 12
    check_rows(server_vault, "a", Acks(tmp_path / "acks").all())
    ended = server_vault.sessions("family/worker").state.tolist()
    assert ended == ["failed" if child == "raise" else "finished"]


@pytest.fixture
def server_vault(here, monkeypatch):
    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        with tv.connect(url, create=True, session="main") as vault:
            yield vault
            assert vault.check().empty


@pytest.fixture
def used(monkeypatch):
    """(process, inode) of every connection that was written to or read from."""
    found: set[tuple[int, int]] = set()

    def noted(real):
        def call(self, *rest):
            found.add((os.getpid(), os.fstat(self.fileno()).st_ino))
            return real(self, *rest)

        return call

    for name in ("sendall", "recv_into"):
        monkeypatch.setattr(socket.socket, name, noted(getattr(socket.socket, name)))
    return found


@pytest.mark.arango
def test_a_connection_to_a_server_is_not_used_in_a_child(server_vault, used):
    def work() -> tuple[object, ...]:
        found = server_vault.append("a", {"n": 2, "text": "solar"}).version, len(server_vault.search("solar"))
        mine = {inode for process, inode in used if process == os.getpid()}
        return *found, bool(mine), mine & {inode for process, inode in used if process != os.getpid()}

    server_vault.append("a", {"n": 1, "text": "solar"})
    assert in_child(work) == "(2, 2, True, set())"
    assert server_vault.append("a", {"n": 3, "text": "solar"}).version == 3


@pytest.mark.arango
@pytest.mark.parametrize("request_number", range(4))
def test_a_fork_in_the_middle_of_a_request_leaves_the_answer_to_the_parent(
    server_vault, monkeypatch, request_number
):
    """As a signal handler that forks, and returns in the child."""
    server_vault.append("a", {"n": 1})
    parent, main, number = os.getpid(), threading.get_ident(), [0]
    answer = http.client.HTTPConnection.getresponse
    read, write = os.pipe()

    def forking(self):
        if threading.get_ident() == main:
            number[0] += 1
            if number[0] == request_number + 1:
                os.fork()
        return answer(self)

    monkeypatch.setattr(http.client.HTTPConnection, "getresponse", forking)
    told = "nothing"
    try:
        server_vault.save("b", {"n": 2})
    except BaseException as error:
        if os.getpid() == parent:
            raise
        told = f"{type(error).__name__}: {error}"
    finally:
        if os.getpid() != parent:
            os.write(write, told.encode())
            os._exit(0)
    os.wait()
    assert os.read(read, 1000).decode().startswith("VaultClosed: This call was begun by process")
    os.close(read)
    os.close(write)
    assert server_vault.read("b").n.tolist() == [2]


def wait_until(done) -> None:
    for _ in range(3000):
        if done():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came")


def in_child(work) -> str:
    """What `work` returns in a forked child."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, str(work()).encode())
        except BaseException as error:  # noqa: BLE001  # whatever it is, the parent is to hear of it
            os.write(write, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(pid, 0)
    return told


def open_files(part: str) -> list[str]:
    """Files that this process has open and whose path has that part in it."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return [link for link in links if part in link]


def test_a_fork_waits_until_git_has_started(tmp_path, monkeypatch):
    """A child that was forked while pipes to it are open would keep them open, and its answers would never end."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script, "main_file", lambda: None)
    starting, order, start = threading.Event(), [], subprocess.Popen

    def slow_start(*arguments, **options):
        process = start(*arguments, **options)
        starting.set()
        wait_until(lambda: forks.no_fork._forking is not None)
        order.append("git started")
        return process

    monkeypatch.setattr(environment.subprocess, "Popen", slow_start)
    capture = EnvironmentCapture()
    capture.begin()
    assert starting.wait(60)
    child = os.fork()
    if not child:
        os._exit(0)
    order.append("forked")
    os.waitpid(child, 0)
    assert order == ["git started", "git started", "forked"]


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


@needs_proc
def test_no_connection_and_no_lock_goes_through_a_fork(folder_vault):
    folder_vault.append("a", {"n": 1})
    assert open_files("catalog.db")
    assert in_child(lambda: open_files("test.vault")) == "[]"

    def stream():
        yield pd.DataFrame({"n": np.arange(50_000)})
        yield pd.DataFrame({"n": np.arange(50_000)})  # then the first one is written
        yield pd.DataFrame({"n": np.arange(50_000)})
        assert open_files(".arrow")
        assert in_child(lambda: open_files("test.vault")) == "[]"
        yield pd.DataFrame({"n": np.arange(50_000)})

    folder_vault.save("large", stream())
    assert len(folder_vault.read("large")) == 200_000


SLOW = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ?) SELECT max(x) FROM c"


def busy(vault: tv.Vault, count: int) -> tuple[threading.Thread, list[int]]:
    """A thread that is inside one long statement."""
    inside, found = threading.Event(), []

    def work(db: sqlite3.Connection) -> None:
        db.create_function("entered", 0, inside.set)
        db.execute("SELECT entered()").fetchone()
        found.append(db.execute(SLOW, (count,)).fetchone()[0])

    thread = threading.Thread(target=vault.store.catalog.write, args=(work,))
    thread.start()
    assert inside.wait(60)
    return thread, found


def test_a_fork_waits_for_a_statement_of_another_thread(folder_vault):
    folder_vault.append("a", {"n": 1})
    thread, found = busy(folder_vault, 600_000)
    assert in_child(lambda: folder_vault.append("a", {"n": 2}).version) == "2"
    thread.join()
    assert found == [600_000]
    assert len(folder_vault.read("a")) == 2


def test_a_fork_that_cannot_wait_gives_a_child_that_says_so(folder_vault, monkeypatch):
    folder_vault.append("a", {"n": 1})
    monkeypatch.setattr(forks, "PATIENCE_S", 0.01)
    thread, found = busy(folder_vault, 1_500_000)
    told = in_child(lambda: folder_vault.append("a", {"n": 2}))
    assert told.startswith("VaultClosed: This process was forked")
    assert "another thread" in told
    assert "spawn" in told
    thread.join()
    assert found == [1_500_000]
    folder_vault.append("a", {"n": 3})
    assert folder_vault.read("a").n.tolist() == [1, 3]


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Python tells of the hook left
def test_an_interrupt_while_a_fork_waits_gives_a_child_that_says_so(folder_vault, monkeypatch):
    folder_vault.append("a", {"n": 1})
    assert in_child(lambda: folder_vault.append("a", {"n": 2}).version) == "2"
    thread, found = busy(folder_vault, 1_500_000)
    main = threading.get_ident()

    def interrupt() -> None:
        wait_until(lambda: forks.no_fork._forking == main)
        signal.pthread_kill(main, signal.SIGUSR1)

    monkeypatch.setattr(forks, "POLL_S", 0.02)
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    other = threading.Thread(target=interrupt)
    try:
        other.start()
        told = in_child(lambda: folder_vault.append("a", {"n": 3}))
        other.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told.startswith("VaultClosed: This process was forked"), told
    thread.join()
    assert found == [1_500_000]
    assert forks.no_fork._forking is None
    assert in_child(lambda: folder_vault.append("a", {"n": 4}).version) == "3"
    assert folder_vault.read("a").n.tolist() == [1, 2, 4]


def test_a_fork_in_the_middle_of_a_transaction_leaves_it_to_the_parent(folder_vault):
    folder_vault.append("a", {"n": 1})
    catalog = folder_vault.store.catalog
    told = []

    def work(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO lists (name) VALUES ('parent')")

        def handler(*_: object) -> None:  # as a signal handler that forks
            told.append(in_child(lambda: db.execute("INSERT INTO lists (name) VALUES ('child')")))
            told.append(in_child(lambda: folder_vault.append("a", {"n": 2})))
            told.append(in_child(lambda: db.rollback()))

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)
        db.execute("INSERT INTO lists (name) VALUES ('parent goes on')")

    catalog.write(work)
    assert told[0] == "DatabaseError: not authorized"
    assert told[1].startswith("VaultClosed: This process was forked")
    assert "in the middle of a call" in told[1]
    assert told[2] == "DatabaseError: not authorized"
    with catalog.reading() as db:
        assert db.execute("SELECT name FROM lists ORDER BY id").fetchall() == [
            ("a",),
            ("parent",),
            ("parent goes on",),
        ]

    def clean(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM lists WHERE name LIKE 'parent%'")

    catalog.write(clean)


@pytest.mark.parametrize("end", ["raise", "goes on", "returns"])
def test_a_child_forked_in_a_streamed_save_leaves_the_parents_rows(vault, end):
    """The generator that makes the rows forks, and the child comes back out of it."""
    read, write = os.pipe()
    parent = os.getpid()

    piece = pd.DataFrame({"n": range(1500), "text": "x" * 3000})  # more than either store keeps in memory

    def rows():
        yield piece
        yield piece  # then the first one is written
        yield piece
        if os.fork() == 0:
            if end == "raise":
                raise RuntimeError("in the child")
            if end == "returns":
                return
        yield piece

    try:
        vault.save("large", rows())
    except BaseException as error:  # in the child
        if os.getpid() == parent:
            raise
        os.write(write, f"{type(error).__name__}: {error}".encode())
    finally:
        if os.getpid() != parent:
            os._exit(0)
    os.wait()
    told = os.read(read, 1000).decode()
    assert told.startswith(
        "RuntimeError: in the child" if end == "raise" else "VaultClosed: This save was begun by process"
    )
    assert vault.read("large").n.tolist() == [*range(1500)] * 4


BUILDING = """
import os, threading
import numpy as np
from tablevault_pd.store.engine import cells

centers = np.random.default_rng(0).random((512, 64), np.float32)
rows = np.random.default_rng(1).random((4096, 64), np.float32)
ended = threading.Event()

def build():
    while not ended.is_set():
        cells._closeness(centers, rows)

thread = threading.Thread(target=build)
thread.start()
for _ in range(25):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
ended.set()
thread.join()
"""


def test_a_fork_waits_for_no_product_of_an_index_that_is_being_built():
    """OpenBLAS ends its threads before a fork, and waits for a product of another thread, which waits for them."""
    run(BUILDING, timeout_s=60, OPENBLAS_NUM_THREADS="2")
