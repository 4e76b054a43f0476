"""How the process ends.

``atexit`` is told nothing about it, so the ways out are watched:

- an exception: ``sys.excepthook``, which goes on to whatever hook was there before;
- ``sys.exit(n)``, ``raise SystemExit(n)``: the interpreter reads the exception's ``code`` when nobody caught it;
- SIGTERM, SIGHUP: a handler, where nobody else had one; it lets the sessions end and then dies of the same signal.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import signal
import sys
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable
from dataclasses import dataclass
from traceback import format_exception
from types import FrameType, TracebackType
from typing import Any, NoReturn

from tablevault_pd.capture import script
from tablevault_pd.errors import SessionStopped

SIGNALS = tuple(
    number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
)
PATIENCE_S = 0.5  # how long the main thread stands still in the handler of a signal
_IDLE_MODULES = ("multiprocessing.", "concurrent.futures.", "joblib.", "threading", "selectors")
_IDLE_FUNCTIONS = {"worker", "_process_worker"}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended: its outcome, the error in one line, and the traceback."""

    outcome: str = "finished"
    error: str | None = None
    traceback: str | None = None


def ending_of(error: BaseException | None) -> Ending:
    """How a session ends that is left by `error`, or by none."""
    if error is None or isinstance(error, GeneratorExit):
        return Ending()
    if isinstance(error, SessionStopped):
        return Ending("stopped")
    if isinstance(error, SystemExit):
        return Ending() if error.code in (None, 0) else Ending("failed", f"SystemExit: {error.code}")
    return Ending("failed", one_line(error), "".join(format_exception(error)))


def one_line(error: BaseException) -> str:
    """An exception as the last line of its traceback shows it."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # the exception is the user's: its __str__ may do anything
        text = "(its message could not be made)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Watch:
    """Learns how the process ends, and calls `end` with it, once. One for each process."""

    def __init__(self, end: Callable[[Ending], None]) -> None:
        self._end = end
        self._ending = Ending()
        self._excepthook: Any = None
        self._watching = self._dying = self._told = False
        self.installed = False

    def install(self) -> None:
        """Start watching. Signals can be watched from the main thread only: perhaps with a later session."""
        self._watch_signals()
        if self.installed:
            return
        self.installed = True
        self._excepthook, sys.excepthook = sys.excepthook, self._see_exception
        _watch_system_exit(self._see_exit)
        atexit.register(self._at_exit)

    def _watch_signals(self) -> None:
        if self._watching or threading.current_thread() is not threading.main_thread():
            return
        self._watching = True  # once: who sets a signal back to its default after us means it
        for number in SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:  # somebody who handles it is not disturbed
                signal.signal(number, self._see_signal)

    def watch_worker(self) -> None:
        """A worker of multiprocessing skips atexit when it was forked; it runs its own finalizers."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.Finalize(None, self._at_worker_exit, exitpriority=0)

    def _at_worker_exit(self) -> None:
        self._end(ending_of(sys.exc_info()[1]))

    def _see_exception(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not script.at_prompt():
            self._ending = Ending("failed", one_line(error), "".join(format_exception(kind, error, trace)))
        self._excepthook(kind, error, trace)

    def _see_exit(self, error: SystemExit, code: object) -> None:
        if isinstance(error, SessionStopped):
            self._ending = Ending("stopped")
        elif code not in (None, 0):
            self._ending = Ending("failed", f"SystemExit: {code}")

    def _at_exit(self) -> None:
        self._end(self._ending)

    def _see_signal(self, number: int, frame: FrameType | None) -> None:
        """Let a thread end the sessions and send the signal once more; then die of it, as if nobody had handled it.

        The main thread may have been interrupted while it held the store's lock: so it does not wait for long here.
        """
        if self._told:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)  # whoever waits for the process sees what it died of
        elif not self._dying:
            self._dying = True
            ending = Ending("failed", f"killed by {signal.Signals(number).name}")
            # threading.Thread takes a lock to start, which the main thread may hold
            start_new_thread(self._die, (number, Ending() if between_tasks(frame) else ending))
            deadline = time.monotonic() + PATIENCE_S
            while not self._told and time.monotonic() < deadline:
                time.sleep(0.005)

    def _die(self, number: int, ending: Ending) -> None:
        try:
            self._end(ending)
        finally:
            self._told = True
            os.kill(os.getpid(), number)


def between_tasks(frame: FrameType | None) -> bool:
    """Whether this is a worker of a pool that waits for work: a pool that is done kills its workers."""
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_IDLE_MODULES):
        if frame.f_code.co_name in _IDLE_FUNCTIONS:
            return True
        frame = frame.f_back
    return False


def _exit(status: object = None, /) -> NoReturn:
    """Exit the interpreter by raising SystemExit(status), as sys.exit does."""
    raise SystemExit(status)


def _watch_system_exit(see: Callable[[SystemExit, object], None]) -> None:
    """Call `see` when the interpreter, and not some code, reads the ``code`` of a SystemExit: then it ends the process.

    No hook of Python's is told about a SystemExit: neither ``sys.excepthook`` nor ``atexit``, and wrapping ``sys.exit``
    misses ``raise SystemExit(main())``. So the attribute is replaced by a property that behaves the same. A call without
    a Python frame around it comes from the interpreter.
    """
    if sys.implementation.name != "cpython":
        return  # elsewhere an exit with a code is taken for an end like any other
    attributes = gc.get_referents(SystemExit.__dict__)[0]
    member = attributes["code"]
    if isinstance(member, property):
        return

    def read(self: SystemExit) -> object:
        code = member.__get__(self, type(self))
        try:
            sys._getframe(1)
        except ValueError:
            see(self, code)
        return code

    if sys.version_info < (3, 12):
        sys.exit = (
            _exit  # the built-in one raises there without making the exception, which then has no attributes
        )
    attributes["code"] = property(read, member.__set__, member.__delete__, "exception code")
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(SystemExit))
