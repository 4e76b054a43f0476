"""Ctrl-C wherever Python looks for one in the runtime of sessions: nothing hangs, every session ends in the store."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
from test_forks import wait_until
from test_session_exits import environment

import tablevault_pd as tv
from tablevault_pd.capture import environment as environment_of
from tablevault_pd.capture.exits import ExitStatus
from tablevault_pd.session import Run, active
from tablevault_pd.session.environment import EnvironmentCapture
from tablevault_pd.session.heartbeat import HEARTBEAT

pytestmark = pytest.mark.ci

WATCHED = ("tablevault_pd.session", "tablevault_pd.store.engine.threads", "tablevault_pd.vault.context")


class Interrupts:
    """Raises KeyboardInterrupt once, at the n-th point of this thread where Python looks for signals.

    It does so when a function of Python begins, and when one of C has returned; both are events of a profiler.
    """

    def __init__(self, at: int, watched: tuple[str, ...] = WATCHED) -> None:
        self.left, self.watched = at, watched

    def __call__(self, frame, event, argument) -> None:
        while frame is not None and frame.f_globals.get("__name__") == "threading":
            frame = frame.f_back  # what the session calls there
        if (
            event in ("call", "c_return")
            and frame
            and frame.f_globals.get("__name__", "").startswith(self.watched)
        ):
            self.left -= 1
            if self.left < 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    def __enter__(self) -> Interrupts:
        gc.disable()  # Python swallows what is raised in a finalizer
        sys.setprofile(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()


def interrupted(call, at: int, watched: tuple[str, ...] = WATCHED) -> bool:
    """Whether `call` was interrupted at that point; False: it has fewer of them."""
    try:
        with Interrupts(at, watched) as interrupts:
            call()
    except (KeyboardInterrupt, tv.SessionStopped):
        pass
    return interrupts.left < 0


def in_another_thread(call) -> None:
    """A lock that this thread was interrupted with is found by that: the call would never return."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def logs(s: Run):
    return lambda: s.log(loss=1.0)


def passes(s: Run):
    return s.checkpoint


def runs_a_cell(s: Run):
    return lambda: s._recorder.cells.end(s._recorder.cells.begin("1 / 0", 1), "error")


def is_paused(s: Run):
    s._recorder.store.ask([s.id], "pause")
    HEARTBEAT.wake()
    wait_until(lambda: s._recorder.has_request)

    over = threading.Event()

    def resume() -> None:
        wait_until(lambda: s._recorder.control.paused or over.is_set())
        s._recorder.store.ask([s.id], "resume")
        HEARTBEAT.wake()

    resuming = threading.Thread(target=resume)
    resuming.start()

    def call() -> None:
        try:
            s.checkpoint()
        finally:
            over.set()

    return call


def is_stopped(s: Run):
    s.on_stop(lambda: None)
    s._recorder.store.ask([s.id], "stop")
    HEARTBEAT.wake()
    wait_until(lambda: s._recorder.has_request)
    return s.checkpoint


def ends(s: Run):
    return s._recorder.end


@pytest.mark.parametrize(
    "work", [logs, passes, runs_a_cell, is_paused, is_stopped, ends], ids=lambda work: work.__name__
)
def test_an_interrupt_wherever_python_looks_for_one(tmp_path, work):
    """Another thread logs and passes then, what is logged arrives, and the session ends."""
    vault, at, went_on = tv.connect(tmp_path / "v", durability="fast", capture="none"), 0, True
    while went_on:
        s = vault.session("train")
        s.log(first=1.0)
        went_on = interrupted(work(s), at)

        def go_on(s: Run = s) -> None:
            if not s._recorder.ended:
                s.log(last=2.0)
            if work is not is_paused:
                with suppress(tv.SessionStopped):
                    s.checkpoint()
            s._recorder.end()

        in_another_thread(go_on)
        assert s._recorder.flushed.is_set()
        assert s._recorder not in active._open
        at += 1 + at // 12
    assert at > (0 if work is passes else 1)
    in_another_thread(vault.close)
    with tv.connect(vault.place, mode="r") as reader:
        found = reader.sessions("train")
    assert set(found.state) <= {"finished", "stopped"}
    assert (found["metrics.first"] == 1.0).all()


def test_a_start_that_is_interrupted_ends_in_the_store(tmp_path):
    """Also where the store has opened the session already, and the call did not return; beside other open sessions."""
    other = tv.connect(tmp_path / "other", durability="fast", capture="none")
    beside = [other.session("beside") for _ in range(9)]
    for each in beside:
        each.log(loss=1.0)
    vault, at, went_on = tv.connect(tmp_path / "v", durability="fast", capture="none"), 0, True
    while went_on:
        s = vault.session("train")
        went_on = interrupted(s.__enter__, at, (*WATCHED, "tablevault_pd.store"))
        assert not went_on or s._recorder not in active._open
        at += 1
    s.__exit__(None, None, None)
    again = vault.session("again")
    assert interrupted(lambda: again.log(loss=1.0), 20)
    again.log(loss=2.0)  # it begins once more
    again._recorder.end()
    found = vault.sessions(["train", "again"])
    vault.close()
    assert not any(each._recorder.ended for each in beside)
    other.close()
    assert set(found.error.dropna()) == {"KeyboardInterrupt"}
    assert set(found.state) == {"failed", "finished"}
    assert found.state.tolist().count("finished") == 2
    assert len(found) > 3


def test_an_interrupted_start_is_told_from_another_one_of_its_name(vault, monkeypatch):
    """Both are in the store, and neither call has returned."""
    opened, go_on = threading.Event(), threading.Event()
    open_session = vault.store.open_session

    def open_(session):
        row = open_session(session)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        opened.set()
        assert go_on.wait(60)
        return row

    monkeypatch.setattr(vault.store, "open_session", open_)
    other, mine = vault.session("train"), vault.session("train")
    thread = threading.Thread(target=lambda: other.log(loss=1.0))
    thread.start()
    assert opened.wait(60)
    with pytest.raises(KeyboardInterrupt):
        mine.log(loss=1.0)
    go_on.set()
    thread.join(60)
    found = vault.sessions("train")
    assert found["state"].tolist() == ["running", "failed"]
    assert found["error"].tolist()[1] == "KeyboardInterrupt"
    other._recorder.end()


def test_connect_and_close_are_taken_up_again(tmp_path):
    at, went_on = 0, True
    while went_on:
        opened: list[tv.Vault] = []

        def connect(opened: list[tv.Vault] = opened) -> None:
            opened.append(tv.connect(tmp_path / "v", session="train", durability="fast", capture="none"))

        went_on = interrupted(connect, at)
        if not opened:
            connect()
        went_on |= interrupted(opened[0].close, at)
        in_another_thread(opened[0].close)
        at += 2 + at // 8
    assert not [run for run in active._open if run.store.place == opened[0].place]
    with tv.connect(tmp_path / "v", mode="r") as reader:
        found = reader.sessions()
    assert set(found.state) == {"failed", "finished"}
    assert set(found.error.dropna()) == {"KeyboardInterrupt"}


INTERRUPTED_TO_THE_END = """
import sys, tablevault_pd as tv
from test_session_interrupts import interrupted
vault = tv.connect(sys.argv[1], session="main", durability="fast", capture="none")
at = 0
while at < 2 or interrupted(s._recorder.end, at):
    s = vault.session("train")
    s.log(first=1.0)
    at += 1 + at // 8
at = 0
while at < 2 or interrupted(s.__enter__, at):
    s = vault.session("start")
    at += 1 + at // 8
s.__exit__(None, None, None)
"""


def test_the_end_of_the_interpreter_writes_what_interrupts_left(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_TO_THE_END, str(tmp_path / "v")],
        cwd=Path(__file__).parent, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "NotRecorded" not in done.stderr, done.stderr
    with tv.connect(tmp_path / "v", mode="r") as reader:
        found = reader.sessions()
    assert set(found[found.name != "start"].state) == {"finished"}
    assert set(found[found.name == "start"].state) == {"failed", "finished"}


@pytest.mark.parametrize("at", [1, 2])
def test_a_second_interrupt_at_the_end_of_the_process_ends_all_sessions_and_waits_no_more(
    folder_vault: tv.Vault, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Whichever session is waited for when it comes."""
    entered = [folder_vault.session(name) for name in ("outer", "inner")]
    for s in entered:
        s.__enter__()
        s.log(loss=1.0)
    waits: list[float] = []
    real = HEARTBEAT.wait_for

    def wait_for(session, done, timeout_s):
        waits.append(timeout_s)
        if len(waits) == at:
            raise KeyboardInterrupt
        return real(session, done, timeout_s)

    monkeypatch.setattr(HEARTBEAT, "wait_for", wait_for)
    with pytest.raises(KeyboardInterrupt), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the packages may not be read yet
        active._end_all(ExitStatus("failed", "KeyboardInterrupt"))
    assert max(waits[at:]) <= 0.1
    monkeypatch.undo()
    assert all(s._recorder.ended for s in entered)
    wait_until(lambda: not set(active._open) & {s._recorder for s in entered} or active._forget_written())
    with tv.connect(folder_vault.place, mode="r") as read:
        found = read.sessions(["outer", "inner"], columns=["name", "state", "error", "metrics.loss"])
    assert found["state"].tolist() == ["failed"] * 2
    assert found["error"].tolist() == ["KeyboardInterrupt"] * 2
    assert found["metrics.loss"].tolist() == [1.0] * 2


def test_an_interrupt_while_the_last_of_a_session_is_written_tells_what_is_lost(
    folder_vault: tv.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Event()
    monkeypatch.setattr(EnvironmentCapture, "_read_packages", lambda self: waiting.wait(60))
    monkeypatch.setattr(environment_of, "known_versions", lambda: None)
    with folder_vault.session("short"):
        pass

    def interrupted_wait(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(HEARTBEAT, "settle", interrupted_wait)
    with pytest.warns(tv.NotRecorded, match="the packages of short#1"), pytest.raises(KeyboardInterrupt):
        HEARTBEAT.abandon(5.0)
    monkeypatch.undo()  # closing the vault waits, too
    waiting.set()
