"""What is wrapped and hooked to see how a process or a cell ends: whole, or put back, whatever is interrupted."""

from __future__ import annotations

import builtins
import signal
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from test_session_interrupts import interrupted

from tablevault_pd.capture import exits, notebook
from tablevault_pd.capture.exits import SIGNALS, ExitWatcher

WATCHED = ("tablevault_pd.capture", __name__)  # what it calls here stands for what it calls elsewhere


def wrapped_things() -> list[Any]:
    """All that a watch replaces."""
    handlers = [signal.getsignal(number) for number in SIGNALS]
    exits = [getattr(builtins, name, None) for name in ("exit", "quit")]
    return [sys.excepthook, sys.exit, threading.excepthook, *exits, *handlers]


@pytest.mark.parametrize("step", ["install", "remove"])
def test_an_interrupt_wherever_python_looks_for_one_leaves_a_watch_that_can_begin_and_end(monkeypatch, step):
    at_exit: list[Any] = []
    unregister = lambda function: function in at_exit and at_exit.remove(function)  # noqa: E731
    monkeypatch.setattr(exits, "atexit", SimpleNamespace(register=at_exit.append, unregister=unregister))
    before, at, went_on = wrapped_things(), 0, True
    ended: list[object] = []
    while went_on:
        watch = ExitWatcher(ended.append)
        if step == "remove":
            watch.install()
        went_on = interrupted(getattr(watch, step), at, WATCHED)
        watch.install()
        now = wrapped_things()
        assert all(ours is not theirs for ours, theirs in zip(now[:3], before[:3], strict=True)), at
        for ours, theirs in zip(now[5:], before[5:], strict=True):
            assert ours == (watch._see_signal if theirs is signal.SIG_DFL else theirs), at
        assert at_exit == [watch._at_exit], at
        with pytest.raises(SystemExit):
            sys.exit(3)
        assert watch._exit is not None, at
        watch.remove()
        assert (wrapped_things(), at_exit) == (before, []), at
        at += 1
    assert at > 10
    assert ended == []


def test_what_somebody_else_has_replaced_since_stays(monkeypatch):
    watch = ExitWatcher(lambda ending: None)
    watch.install()
    ours = sys.excepthook

    def theirs(*arguments: Any) -> None:
        ours(*arguments)

    monkeypatch.setattr(sys, "excepthook", theirs)
    watch.install()
    assert sys.excepthook is theirs
    watch.remove()
    assert sys.excepthook is theirs


class Shell:
    """As much of IPython's shell as the hooks use, with its rule that a function is called once for each event."""

    def __init__(self) -> None:
        self.events = self
        self.callbacks: dict[str, list[Any]] = {"pre_run_cell": [], "post_run_cell": []}

    def register(self, event: str, function: Any) -> None:
        if function not in self.callbacks[event]:
            self.callbacks[event].append(function)

    def unregister(self, event: str, function: Any) -> None:
        self.callbacks[event].remove(function)

    def showtraceback(self) -> str:
        return "shown"


@pytest.mark.parametrize("step", ["install", "remove"])
@pytest.mark.parametrize("kind", ["hooks", "quiet stop"])
def test_an_interrupt_leaves_a_notebook_that_can_be_hooked(monkeypatch, kind, step):
    at, went_on = 0, True
    while went_on:
        shell = Shell()
        monkeypatch.setattr(notebook, "_shell", lambda shell=shell: shell)
        hooks: Any = (
            notebook.QuietStop()
            if kind == "quiet stop"
            else notebook.NotebookHooks(lambda *_: None, lambda _: None, lambda _: None)
        )
        if step == "remove":
            hooks.install()
        went_on = interrupted(getattr(hooks, step), at, WATCHED)
        hooks.install()
        if kind == "hooks":
            assert [len(each) for each in shell.callbacks.values()] == [1, 1], at
        else:
            assert "showtraceback" in vars(shell), at
        hooks.remove()
        assert [len(each) for each in shell.callbacks.values()] == [0, 0], at
        assert "showtraceback" not in vars(shell), at
        at += 1
    assert at > 3
