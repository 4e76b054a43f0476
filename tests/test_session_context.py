"""Which session is current, in threads, tasks and generators, and how a stop reaches what a session started."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import contextvars
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tablevault_pd as tv
from tablevault_pd.reading import liveness
from tablevault_pd.session import active
from tablevault_pd.session import inheritance as family
from tablevault_pd.session.control import ControlState
from tablevault_pd.session.heartbeat import HEARTBEAT
from tablevault_pd.session.outbox import Outbox
from tablevault_pd.session.params import Params
from tablevault_pd.session.settings import Settings
from tablevault_pd.store import Beat, Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tablevault_pd.store import Measures


def writers(vault: tv.Vault, name: str) -> dict[str, str]:
    """Who wrote each row of a list of rows ``{"by": …}``."""
    return dict(zip(vault.read(name)["by"], vault.versions(name)["session"], strict=True))


# -- the current session


def test_a_task_or_thread_without_a_session_uses_that_of_connect(vault):
    quiet = vault._run.label
    entered, done = asyncio.Event(), asyncio.Event()

    async def inside() -> None:
        with vault.session("inside"):
            entered.set()
            await done.wait()
            vault.append("rows", {"by": "inside"})

    async def beside() -> None:
        await entered.wait()
        vault.append("rows", {"by": "beside"})
        tv.log(beside=1)
        with vault.session("sibling"):
            vault.append("rows", {"by": "sibling"})
        await asyncio.to_thread(vault.append, "rows", {"by": "thread of beside"})
        done.set()

    async def both() -> None:
        await asyncio.gather(inside(), beside())

    asyncio.run(both())
    with vault.session("main"), ThreadPoolExecutor(1) as pool:
        pool.submit(vault.append, "rows", {"by": "thread"}).result()
        context = contextvars.copy_context()
        pool.submit(context.run, vault.append, "rows", {"by": "thread in this context"}).result()
    assert writers(vault, "rows") == {
        "inside": "inside#1", "beside": quiet, "sibling": "sibling#1", "thread of beside": quiet, "thread": quiet,
        "thread in this context": "main#1",
    }  # fmt: skip
    frame = vault.sessions().set_index("session")
    assert frame.loc[["inside#1", "sibling#1", "main#1"], "parent"].tolist() == [quiet] * 3
    assert frame["metrics.beside"].dropna().to_dict() == {quiet: 1.0}


def test_sessions_left_in_another_order_than_entered(vault):
    quiet = vault._run
    first, second, third = (vault.session(name) for name in ("first", "second", "third"))
    for each in (first, second, third):
        each.__enter__()
    second.__exit__(None, None, None)
    assert vault._current_run() is third._recorder
    third.__exit__(None, None, None)
    assert vault._current_run() is first._recorder
    first.__exit__(None, None, None)
    assert vault._current_run() is quiet
    assert active._of_main == []
    assert active._entered.get() == ()


def test_the_with_of_a_suspended_generator_does_not_count(vault):
    quiet = vault._run.label

    def label() -> str:
        return vault._current_run().label

    def inner() -> Iterator[str]:
        with vault.session("inner"):
            yield label()
            yield label()

    def outer() -> Iterator[str]:
        yield from inner()

    for found in outer():
        assert (found, label()) == ("inner#1", quiet)

    async def numbers() -> AsyncIterator[str]:
        with vault.session("numbers"):
            yield label()
            await asyncio.sleep(0)
            yield label()

    async def consume() -> None:
        async for found in numbers():
            assert (found, label()) == ("numbers#1", quiet)

    asyncio.run(consume())

    @contextlib.contextmanager
    def tracked() -> Iterator[None]:
        with vault.session("tracked"):
            yield

    with tracked():
        assert label() == "tracked#1"
        for found in inner():
            assert (found, label()) == ("inner#2", "tracked#1")
    assert label() == quiet
    left = inner()
    next(left)
    del left  # never resumed: closing it leaves the with
    assert label() == quiet
    assert vault.sessions("inner").state.tolist() == ["finished"] * 3


def test_what_is_started_beside_entered_tasks_belongs_to_what_is_around_all_of_them(vault):
    """The environment is one for all tasks: it names no sibling as the parent."""
    found: dict[str, int] = {}
    barrier = asyncio.Barrier(2)

    def announced() -> int:
        return family.inherited().session

    async def task(name: str) -> None:
        with vault.session(name):
            await barrier.wait()
            found[name] = announced()
            await barrier.wait()

    async def both() -> None:
        await asyncio.gather(task("a"), task("b"))

    with vault.session("around") as around:
        asyncio.run(both())
        assert found == {"a": around.id, "b": around.id}
        with vault.session("alone") as alone:
            assert announced() == alone.id
        assert announced() == around.id
    assert announced() == vault._run.id


# -- stopping


def test_a_stop_ends_the_task_of_that_session_alone_and_says_who_asked(vault):
    async def work(name: str, started: asyncio.Event, go: asyncio.Event) -> str:
        try:
            with vault.session(name) as s:
                started.set()
                await go.wait()
                while name == "a" and not s._recorder.has_request:
                    await asyncio.sleep(0.01)
                s.checkpoint()
        except tv.SessionStopped as stop:
            return str(stop)
        return "ran"

    async def both() -> tuple[str, ...]:
        go, events = asyncio.Event(), [asyncio.Event() for _ in "ab"]
        tasks = [asyncio.create_task(work(name, event, go)) for name, event in zip("ab", events, strict=True)]
        for event in events:
            await event.wait()
        vault.stop("a")
        go.set()
        return tuple(await asyncio.gather(*tasks))

    a, b = asyncio.run(both())
    assert b == "ran"
    assert vault.sessions(["a", "b"]).state.tolist() == ["stopped", "finished"]
    me = vault.sessions(vault._run).iloc[0]
    assert a.startswith(f"a#1 was asked to stop by {me.session} ({me.user} on {me.host}) at 20")
    assert a.endswith(" UTC.")


def test_stopping_what_is_around_stops_every_task_inside_once(vault):
    async def work(name: str) -> list[str]:
        seen = []
        with contextlib.suppress(tv.SessionStopped), vault.session(name) as s:
            try:
                while not s._recorder.has_request:
                    await asyncio.sleep(0.01)
                s.checkpoint()
            except tv.SessionStopped as stop:
                seen.append(str(stop)[:5])
                s.checkpoint()  # what cleans up may pass
                vault.append("saved", {"by": name})
                raise
        return seen

    async def both() -> list[list[str]]:
        tasks = [asyncio.create_task(work(name)) for name in "ab"]
        while len(vault.sessions(["a", "b"]) if "b" in {run.name for run in active._open} else []) < 2:
            await asyncio.sleep(0.01)
        vault.stop("outer")
        return await asyncio.gather(*tasks)

    with contextlib.suppress(tv.SessionStopped), vault.session("outer") as outer:
        assert asyncio.run(both()) == [["outer"], ["outer"]]
        outer.checkpoint()
        raise AssertionError("outer itself was not stopped")
    assert vault.sessions(["a", "b", "outer"]).state.tolist() == ["stopped"] * 3
    assert set(writers(vault, "saved").values()) == {"a#1", "b#1"}


def test_on_stop_reaches_the_sessions_inside_of_the_stopped_one_once(vault):
    called: list[str] = []

    def marked(s: tv.Run, name: str) -> tv.Run:
        s.on_stop(lambda: (called.append(name), s.checkpoint()))
        return s

    def until_stopped(s: tv.Run) -> None:
        while True:
            s.checkpoint()
            time.sleep(0.005)

    def beside(inner: tv.Run) -> None:
        with contextlib.suppress(tv.SessionStopped):
            until_stopped(inner)

    with (
        marked(vault.session("around"), "around"),
        contextlib.suppress(tv.SessionStopped),
        marked(vault.session("outer"), "outer"),
        marked(vault.session("inner"), "inner") as inner,
    ):
        threads = [threading.Thread(target=beside, args=(inner,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        vault.stop("outer")
        try:
            until_stopped(inner)
        finally:
            for thread in threads:
                thread.join(30)
    assert called == ["inner", "outer"]
    with contextlib.suppress(tv.WorkerStopped), marked(vault.session("boss"), "boss"):
        raise tv.WorkerStopped  # as a pool hands it over: no checkpoint of this process raised it
    assert called == ["inner", "outer", "boss"]
    found = vault.sessions(["around", "outer", "inner", "boss"]).state
    assert found.tolist() == ["finished", "stopped", "stopped", "stopped"]


@pytest.mark.parametrize(("asked", "worker", "state"), [
    (True, "stopped", "stopped"), (True, "finished", "finished"), (False, "stopped", "finished"), (True, "failed", "finished"),
])  # fmt: skip
def test_who_catches_the_stop_of_a_worker_is_stopped_if_it_was_asked(
    sessionless_vault: tv.Vault, asked: bool, worker: str, state: str
) -> None:
    vault, store = sessionless_vault, sessionless_vault.store
    with vault.session("boss") as s:
        row = store.sessions([s.id])[0]
        child = store.open_session(replace(row, name="boss/worker", pid=7, parent=row.id))
        below = store.open_session(replace(row, name="boss/worker", pid=8, parent=child.id))
        vault.stop("boss" if asked else "boss/worker")
        store.beat([Beat(child.id, outcome="finished"), Beat(below.id, outcome=worker)])
    assert (
        vault.run("boss").state == state
    )  # no checkpoint obeyed: it caught WorkerStopped, or never heard of it
    store.update_session(below.id, ended=row.started - timedelta(minutes=1))
    with vault.session("boss", resume="boss#1"):
        vault.stop("boss")
    assert vault.run("boss").state == "finished"  # it was the attempt before whose worker was stopped


@pytest.mark.parametrize("group", [True, False])
def test_a_stop_that_leaves_the_event_loop_stops_the_tasks_beside_quietly(vault, capfd, group):
    others: list[dict[str, Any]] = []

    async def work(name: str) -> None:
        with vault.session(name) as s:
            while True:
                await asyncio.sleep(0.005)
                if name != "never":
                    s.checkpoint()

    async def both() -> None:
        names = ("a", "b", "never")
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: others.append(context))
        if not group:
            await asyncio.gather(*map(work, names))
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(work(name))

    with pytest.raises(tv.SessionStopped), vault.session("outer"):
        vault.stop("outer")
        asyncio.run(both())
    gc.collect()
    found = vault.sessions(["outer", "a", "b", "never"])
    assert found.state.tolist() == ["stopped"] * 4
    assert found.error.isna().all()
    assert others == []
    assert capfd.readouterr().err == ""

    async def cancelled() -> None:
        with vault.session("cancelled"):
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert vault.sessions("cancelled").error.tolist() == ["CancelledError"], "nobody asked it to stop"


def test_what_is_asked_of_a_session_is_asked_of_what_other_processes_run_for_it(vault):
    def opened(name: str, parent: int | None, pid: int) -> int:
        return vault.store.open_session(
            Session(name, "u", "elsewhere", pid, datetime.now(UTC), parent=parent)
        ).id

    boss = opened("boss", None, 1)
    inside = opened("inside", boss, 1)  # the same process: it obeys with its parent
    worker = opened("worker", inside, 2)
    deeper = opened("deeper", worker, 3)
    ended, other = opened("ended", boss, 4), opened("other", None, 5)
    vault.store.beat([Beat(ended, 1, outcome="finished")])
    for ask in (vault.stop, vault.pause, vault.resume):
        assert ask("boss").session.tolist() == ["boss#1"]
    waiting = vault.store.beat([Beat(key) for key in (boss, inside, worker, deeper, ended, other)]).requests
    asked = {
        key: [each.request for each in waiting if each.session_id == key] for key in (boss, worker, deeper)
    }
    assert asked == {key: ["stop", "pause", "resume"] for key in (boss, worker, deeper)}
    assert {each.session_id for each in waiting} == {boss, worker, deeper}


def test_a_stop_ends_a_pool_of_threads_and_a_thread_quietly(vault, capfd):
    """The pool would wait for ever for a task that raised a SystemExit."""
    begun: list[int] = []

    def work(s: tv.Run, number: int) -> None:
        begun.append(number)
        try:
            while True:
                s.checkpoint()
                time.sleep(0.005)
        finally:
            s.checkpoint()
            vault.append("cleaned", {"number": number})

    for kind in (ThreadPool, ThreadPoolExecutor):
        begun.clear()
        with pytest.raises(tv.SessionStopped), vault.session("threads") as s, kind(2) as pool:
            submit = (
                pool.apply_async if kind is ThreadPool else lambda do, more, to=pool: to.submit(do, *more)
            )
            tasks = [submit(work, (s, number)) for number in range(6)]
            while len(begun) < 2:
                time.sleep(0.005)
            vault.stop("threads")
            errors = []
            for task in tasks:
                try:
                    task.get(30) if kind is ThreadPool else task.result(30)
                except tv.SessionStopped as error:
                    errors.append(error)
            assert len(errors) == 6
            raise errors[0]
        assert vault.sessions("threads").state.iloc[-1] == "stopped"
    assert len(vault.read("cleaned")) == 12, "each task came to its first checkpoint and no further"

    with vault.session("one") as s:
        thread = threading.Thread(target=work, args=(s, 0))
        thread.start()
        vault.stop("one")
        thread.join(30)
        assert not thread.is_alive()
    assert "Traceback" not in capfd.readouterr().err


def test_the_exceptions_of_a_stop():
    for kind in (tv.SessionStopped, tv.WorkerStopped):
        error = pickle.loads(pickle.dumps(kind(3, "train#1 was asked to stop.")))
        assert type(error) is kind
        assert error.code == 3
        assert str(error) == "train#1 was asked to stop."
        assert isinstance(error, tv.SessionStopped)
        assert isinstance(error, SystemExit)
    assert issubclass(tv.WorkerStopped, Exception)
    assert not issubclass(tv.SessionStopped, Exception)


POOLS = """
import multiprocessing, os, signal, sys, threading, time
from concurrent.futures import ProcessPoolExecutor
import tablevault_pd as tv

def quick(number):
    tv.log(number=number)
    return signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

def endless(number):
    try:
        while True:
            tv.log(beat=number)
            tv.checkpoint()
            time.sleep(0.01)
    finally:
        tv.current_vault().append("cleaned", {"number": number})  # may still write

def in_its_own_vault(place):
    with tv.connect(place) as vault:
        vault.append("forbidden", {"a": 1})

def stop_when(vault, ready, which):
    def wait():
        while not ready():
            time.sleep(0.02)
        vault.stop(which)
    threading.Thread(target=wait, daemon=True).start()

def expect_stop(call):
    try:
        call()
    except tv.WorkerStopped as stop:
        print(stop, flush=True)
    else:
        print("not stopped", flush=True)

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    vault = tv.connect("v", session="boss", durability="fast")
    for _ in range(12):
        with context.Pool(4) as pool:
            assert all(pool.map(quick, range(8), chunksize=1))
    print(vault.sessions("boss/worker").state.unique().tolist(), len(vault.store.measures()), flush=True)

    live = lambda: len(vault.sessions("boss/worker*", state="running")) == 2
    with vault.session("sweep"):
        stop_when(vault, lambda: len(vault.sessions("sweep/worker*", state="running")) == 2, "sweep")
        with context.Pool(2) as pool:
            expect_stop(lambda: pool.map(endless, range(6), chunksize=1))
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        futures = [executor.submit(endless, number) for number in range(6)]
        stop_when(vault, live, "boss/worker*")
        for future in futures:
            expect_stop(future.result)
        expect_stop(executor.submit(in_its_own_vault, vault.place).result)
    print(vault.sessions(["sweep/worker", "sweep"]).state.tolist(), "forbidden" in vault)
    print(sorted(vault.read("cleaned")["number"]), vault.sessions("boss/worker").state.tolist()[-2:])
"""


@pytest.mark.ci
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_pools_never_hang_lose_nothing_and_stop(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(POOLS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TABLEVAULT_")}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(lines) == 11, done.stdout + done.stderr
    assert lines[0] == "['finished'] 96"
    assert lines[1].startswith("sweep/worker#")
    assert " was asked to stop by boss#1 (" in lines[1]
    assert all(line.startswith("boss/worker#") and "stop by boss#1" in line for line in lines[2:9])
    assert lines[9] == "['stopped', 'stopped', 'stopped'] False"
    assert lines[10] == "[0, 0, 1, 1] ['stopped', 'stopped']"
    warnings = [line for line in done.stderr.splitlines() if "Warning" in line]
    slow = "The store did not take within 2 s"  # it says so on a busy machine, while sessions are listed
    assert all(slow in line for line in warnings), done.stderr


def test_a_task_that_ends_while_a_beat_is_made_is_handed_over_with_the_next_one():
    """Not with that one, which lacks what the task logged last; the next one must not take that for a new task."""
    outbox = Outbox(Settings(), None)
    row = Session("worker", "u", "h", 1, datetime.now(UTC), id=7)
    outbox.begin(row, timedelta())

    def beat() -> Beat:
        return outbox.next_beat(
            row, Params(redact=None, check=lambda: None), ControlState([], outbox.now), None
        )

    take = outbox.backlog.next_batch

    def take_and_end_task() -> tuple[Measures, ...]:
        taken = take()
        outbox.backlog.rows.append((None, time.time(), {"loss": 1.0}))
        outbox.tasks_done += 1
        return taken

    outbox.backlog.next_batch = take_and_end_task
    first = beat()
    assert (first.measures, "ended" in first.changes) == ((), False)
    outbox.on_sent(datetime.now(UTC))
    assert outbox.tasks_stored == 0
    outbox.backlog.next_batch = take
    second = beat()
    assert len(second.measures) == 1
    assert second.changes["ended"] is not None
    assert outbox.tasks_stored == 0, "it was not sent yet"
    outbox.on_sent(datetime.now(UTC))
    assert outbox.tasks_stored == 1
    assert "ended" not in beat().changes
    outbox.on_sent(datetime.now(UTC))
    outbox.backlog.rows.append((None, time.time(), {"loss": 2.0}))
    assert beat().changes["ended"] is None, "the next task has begun"


FORK_SERVER = """
import multiprocessing, os, sys
import tablevault_pd as tv

def work(place):
    tv.connect(place).append("a", {"n": 1})

if __name__ == "__main__":
    vault = tv.connect("v", session="boss", durability="fast")
    def in_pool():
        with multiprocessing.get_context("forkserver").Pool(1) as pool:
            pool.map(work, [vault.place])
    for name in ("first", "second"):
        with vault.session(name):
            in_pool()
    in_pool()
    print(vault.sessions("*/worker", info=True).parent.tolist())
"""


@pytest.mark.ci
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_worker_of_a_fork_server_is_the_child_of_the_session_that_made_its_pool(tmp_path):
    """The server keeps the environment of the first pool."""
    script = tmp_path / "script.py"
    script.write_text(FORK_SERVER)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TABLEVAULT_")}
    told = subprocess.check_output(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, text=True, timeout=60
    )
    assert told == "['first#1', 'second#1', 'boss#1']\n"


def test_a_worker_that_starts_while_its_parent_is_asked_to_stop_is_asked_too(vault, monkeypatch):
    boss = vault.store.open_session(Session("boss", "u", "elsewhere", 1, datetime.now(UTC)))
    vault.stop("boss", exit_code=3)
    monkeypatch.setattr(
        active, "parent", lambda: family.Parent(vault.store.vault_id, vault.place, boss.id, "boss")
    )
    monkeypatch.setattr(type(vault), "_current_run", lambda self: None)
    late = vault.session("late")
    late.id  # noqa: B018  # begins it
    (request,) = vault.store.beat([Beat(late.id)]).requests
    assert (request.request, request.exit_code) == ("stop", 3)
    late._recorder.end()


# -- the way out


def state() -> tuple[Any, ...]:
    return (
        sys.exit,
        builtins.exit,
        sys.excepthook,
        threading.excepthook,
        *(signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)),
    )


def in_a_process_of_its_own(function: str, folder: Path) -> None:
    code = f"import sys, test_session_context as here; here.{function}(sys.argv[1])"
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, folder],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.ci
def test_closing_the_last_vault_puts_everything_back(tmp_path):
    """In a process of its own: here other tests may have left a vault open."""
    in_a_process_of_its_own("close_the_last_vault", tmp_path)


def close_the_last_vault(folder: str) -> None:
    tmp_path = Path(folder)
    before = state()
    with tv.connect(tmp_path / "a") as a, a.session("x"):
        during = state()
        with tv.connect(tmp_path / "b"):
            assert state() == during
        assert state() == during
    assert state() == before
    assert all(
        mine is not there for mine, there in zip(during, before, strict=True) if there != signal.SIG_IGN
    )
    assert "code" in vars(SystemExit)
    assert type(vars(SystemExit)["code"]).__name__ == "member_descriptor"


def test_what_somebody_else_put_around_ours_stays_and_works(tmp_path, monkeypatch):
    before = sys.exit
    calls = []
    monkeypatch.setattr(sys, "exit", before)  # so that it is put back, whatever happens here
    for _ in range(2):
        with tv.connect(tmp_path / "v"):
            ours = sys.exit

            def theirs(status: object = None, ours: Any = ours) -> None:
                calls.append(status)
                ours(status)

            sys.exit = theirs
        assert sys.exit is theirs
        with pytest.raises(SystemExit) as raised:
            sys.exit(3)
        assert raised.value.code == 3
    assert calls == [3, 3, 3]
    with pytest.raises(SystemExit) as raised:
        before("text")
    assert raised.value.code == "text"


@pytest.mark.ci
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_keeps_the_default_handlers_until_it_has_a_session(tmp_path):
    """In a process of its own: here others (nbclient is one) set a handler and then the default one."""
    in_a_process_of_its_own("fork_a_child", tmp_path)


def fork_a_child(folder: str) -> None:
    with tv.connect(Path(folder) / "v") as vault:
        assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                first = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
                tv.log(loss=1.0)
                then = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
                os.write(writing, f"{first} {then}".encode())
                vault._current_run().end()
            finally:
                os._exit(0)
        assert os.read(reading, 100) == b"True False"
        os.waitpid(pid, 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_background_thread_takes_no_signal_from_the_main_thread(folder_vault):
    """Python's handler runs in the main thread: one that waits is not interrupted by a signal that another thread took."""
    folder_vault.sessions()
    thread = HEARTBEAT._thread
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    (blocked,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk")]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert blocked & 1 << number - 1
    assert not blocked & 1 << signal.SIGPROF - 1


# -- closing, and processes that are gone

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_closing_under_a_foreign_lock_keeps_to_its_time_and_says_what_is_lost(tmp_path):
    vault = tv.connect(tmp_path / "v", timeout_s=0.3)
    vault.save("a", {"x": 1})
    sessions = [vault.session(f"s{number}") for number in range(4)]
    for each in sessions:
        each.id  # noqa: B018  # begins it
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "v" / "write.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        vault.read("a")  # what it read would be written, too
        for each in sessions:
            each.log(loss=1.0)
        with pytest.warns(RuntimeWarning) as told:
            thread = threading.Thread(target=vault.close)
            thread.start()
            thread.join(30)
            assert not thread.is_alive(), "it once took 30 s for each of the four sessions"
        lost = next(str(each.message) for each in told if "Lost:" in str(each.message))
        assert all(f"1 logged values of s{number}#1" in lost for number in range(4))
    finally:
        holder.communicate()
    with tv.connect(tmp_path / "v") as again:
        assert again.check().empty


def test_a_session_whose_process_is_gone_is_lost_at_once_on_this_machine(vault):
    def opened(name: str, pid: int, machine: str, **more: Any) -> None:
        info = {"machine": machine}
        vault.store.open_session(
            Session(name, "u", vault.sessions().host[0], pid, datetime.now(UTC), info=info, **more)
        )

    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and nobody has asked how it ended
    opened("zombie", child.pid, liveness.machine())
    opened("elsewhere", child.pid, "another boot:1")
    opened("alive", os.getppid(), liveness.machine())
    assert vault.sessions(["zombie", "elsewhere", "alive"]).state.tolist() == ["lost", "running", "running"]
    child.wait()
    assert vault.sessions("zombie").state.tolist() == ["lost"]
    assert vault.sessions(state="lost").session.tolist() == ["zombie#1"]
    assert vault.run("zombie").state == "lost"
    assert vault.stop("zombie").state.tolist() == ["lost"]
    with vault.session("zombie", resume=True) as s:
        assert s._recorder.label == "zombie#1"


def test_a_process_number_that_was_given_to_another_process_is_gone():
    here = Session(
        "x", "u", "h", os.getppid(), datetime(2001, 1, 1, tzinfo=UTC), info={"machine": liveness.machine()}
    )
    assert liveness.surely_dead(here), "its process would be older than this machine"
    assert not liveness.surely_dead(Session("x", "u", "h", os.getppid(), datetime.now(UTC), info=here.info))
    assert multiprocessing.parent_process() is None


# -- interrupts


def interrupted(call: Any, at: int, files: tuple[str, ...]) -> bool:
    """Whether the call was interrupted: a trace function raises at one of the lines of these files that it reaches."""
    lines, raised = 0, False

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines, raised
        if not frame.f_code.co_filename.endswith(files):
            return None if frame.f_code is not call.__code__ else trace
        if event == "line" and not raised:
            lines += 1
            if lines == at:
                raised = True
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return raised


@pytest.mark.parametrize("name", ["log", "end"])
def test_an_interrupt_in_log_or_end_leaves_a_session_that_can_be_ended(folder_vault, name):
    files = ("/session/run.py", "/session/state.py", "/session/recorder.py")
    at, raised = 0, True
    while raised:
        at += 1
        s = folder_vault.session("train")
        s.log(first=1.0)
        raised = interrupted(lambda s=s: s.log(loss=1) if name == "log" else s._recorder.end(), at, files)
        if name == "log":
            s.log(loss=2)
        s._recorder.end()
        assert s._recorder.flushed.is_set()
        assert s._recorder not in active._open
    frame = folder_vault.sessions("train")
    assert len(frame) == at > 5
    assert (frame.state == "finished").all()
    assert (frame["metrics.first"] == 1.0).all()


def test_a_session_whose_with_is_left_ends_whichever_line_of_that_is_interrupted(folder_vault):
    files = ("/session/active.py", "/session/ending.py", "/session/state.py", "/session/recorder.py")
    open_before, entered_before = list(active._open), active._entered.get()
    at, raised = 0, True
    while raised:
        at += 1
        s = folder_vault.session("train").__enter__()
        raised = interrupted(lambda s=s: s.__exit__(None, None, None), at, files)
        assert s._recorder.ended, at
        assert s._recorder not in active._of_main
        assert active._entered.get() == entered_before
        assert s._recorder.flushed.wait(60)
        assert len(active._open) <= len(open_before) + 1, "the next session forgets those before it"
    assert active._open == open_before
    frame = folder_vault.sessions("train")
    assert len(frame) == at > 50
    assert (frame.state == "finished").all()
