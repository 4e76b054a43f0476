"""Ctrl-C wherever Python looks for one in the runtime of sessions: nothing hangs, every session ends in the store."""

from __future__ import annotations

import gc
import sys
import threading
from contextlib import suppress

import pytest
from test_forks import wait_until

import tablevault_pd as tv
from tablevault_pd.session import Run, process
from tablevault_pd.session.heart import HEART

WATCHED = ("tablevault_pd.session", "tablevault_pd.threads", "tablevault_pd.shared")


class Interrupts:
    """Raises KeyboardInterrupt once, at the n-th point of this thread where Python looks for signals.

    It does so when a function of Python begins, and when one of C has returned; both are events of a profiler.
    """

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame, event, argument) -> None:
        while frame is not None and frame.f_globals.get("__name__") == "threading":
            frame = frame.f_back  # what the session calls there
        if (
            event in ("call", "c_return")
            and frame
            and frame.f_globals.get("__name__", "").startswith(WATCHED)
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


def interrupted(call, at: int) -> bool:
    """Whether `call` was interrupted at that point; False: it has fewer of them."""
    try:
        with Interrupts(at) as interrupts:
            call()
    except (KeyboardInterrupt, tv.SessionStopped):
        pass
    return interrupts.left < 0


def in_another_thread(call) -> None:
    """A lock that this thread was interrupted with is found by that: the call would never return."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def logs(s: Run):
    return lambda: s.log(loss=1.0)


def passes(s: Run):
    return s.checkpoint


def runs_a_cell(s: Run):
    return lambda: s.end_cell(s.begin_cell("1 / 0", 1), "error")


def is_paused(s: Run):
    s.store.ask([s.id], "pause")
    HEART.wake()
    wait_until(lambda: s._asked)

    over = threading.Event()

    def resume() -> None:
        wait_until(lambda: s._control.paused or over.is_set())
        s.store.ask([s.id], "resume")
        HEART.wake()

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
    s.store.ask([s.id], "stop")
    HEART.wake()
    wait_until(lambda: s._asked)
    return s.checkpoint


def ends(s: Run):
    return s.end


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
            if not s.ended:
                s.log(last=2.0)
            if work is not is_paused:
                with suppress(tv.SessionStopped):
                    s.checkpoint()
            s.end()

        in_another_thread(go_on)
        assert s.told.is_set() and s not in process._open
        at += 1 + at // 12
    assert at > (0 if work is passes else 1)
    in_another_thread(vault.close)
    with tv.connect(vault.place, mode="r") as reader:
        found = reader.sessions("train")
    assert set(found.state) <= {"finished", "stopped"} and (found["metrics.first"] == 1.0).all()
