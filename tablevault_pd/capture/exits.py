"""Watch how the process ends.

``atexit`` is told nothing about it, so the ways out are watched, from the first session on until the last one is closed:

- an exception: ``sys.excepthook``, which goes on to whatever hook was there before;
- ``sys.exit(n)``, ``exit(n)``: wrapped, and remembered where it was called;
- a stop: :class:`SessionStopped` notices that Python asks it for the exit code;
- ``raise SystemExit(n)``: no hook of Python's is told about it. That it left the script is seen by the last instruction of
  the script; its code is known where it stands there as a number, a text, or a call that was running when the first
  session began and whose frame tells what it returned. It is said to be unknown elsewhere;
- SIGTERM, SIGHUP: a handler, where nobody else had one; it lets the sessions end and then dies of the same signal.
  Processes that multiprocessing started keep the default handlers: a handler of Python's is not run while the main thread
  waits in a semaphore, and a pool that ends its workers by SIGTERM would wait for them for ever.
"""

from __future__ import annotations

import ast
import atexit
import builtins
import dis
import os
import signal
import sys
import threading
import time
from _thread import start_new_thread
from dataclasses import dataclass, replace
from traceback import format_exception
from typing import TYPE_CHECKING, Any, NoReturn

from tablevault_pd.capture import script
from tablevault_pd.capture.position import place_in, place_of_main
from tablevault_pd.capture.returned import (
    Called,
    called_function,
    returned_value,
    running_calls,
    statement_at,
)
from tablevault_pd.capture.stacks import innermost_frames
from tablevault_pd.errors import SessionStopped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType, TracebackType

SIGNALS = tuple(
    number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
)
PATIENCE_S = 0.5  # how long the handler of a signal waits in the main thread
DEATH_S = 10.0  # how long the end of the interpreter waits for that; sessions end within five seconds
UNKNOWN_CODE = "SystemExit: exit code unknown"
_MISSING = object()


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a session ended: its outcome, the error in one line, and the traceback."""

    outcome: str = "finished"
    error: str | None = None
    traceback: str | None = None
    place: int | None = None  #: in the script, where it was left before its end


def ending_of(error: BaseException | None) -> ExitStatus:
    """Return the exit status of a session that `error`, or none, ended."""
    if error is None or isinstance(error, GeneratorExit):
        return ExitStatus()
    place = place_of_main()
    if isinstance(error, SessionStopped):
        return ExitStatus("stopped", place=place)
    if isinstance(error, SystemExit):
        text = None if error.code in (None, 0) else f"SystemExit: {error.code}"
        return ExitStatus("finished" if text is None else "failed", text, place=place)
    return ExitStatus("failed", one_line(error), "".join(format_exception(error)), place)


def one_line(error: BaseException) -> str:
    """Return the last line of the traceback of an exception."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # a __str__ of the user may raise anything
        text = "(its message could not be made)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Wrapped:
    """Replaces an attribute of a module, class or object, from :meth:`put` to :meth:`put_back`; `make` gets the old value."""

    def __init__(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        self._owner, self._name = owner, name
        self._raw = vars(owner).get(name, _MISSING)
        self._now = make(getattr(owner, name))

    def put(self) -> None:
        """Replace the attribute, unless it is replaced already, or was replaced by others since."""
        if vars(self._owner).get(self._name, _MISSING) is self._raw:
            setattr(
                self._owner,
                self._name,
                staticmethod(self._now) if isinstance(self._owner, type) else self._now,
            )

    def put_back(self) -> None:
        """Restore the attribute. If others have replaced it since, theirs stays, and calls ours."""
        if getattr(self._owner, self._name, None) is not self._now:
            return
        if self._raw is _MISSING:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._raw)


def in_pool_worker() -> bool:
    """Return whether this process is a worker of a ``multiprocessing.Pool``, which kills it as soon as it has all results."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and "PoolWorker" in process.current_process().name


class ExitWatcher:
    """Calls `end` once with the exit status of the process. One for each process."""

    def __init__(self, end: Callable[[ExitStatus], None]) -> None:
        self._end = end
        self._wrapped: list[Wrapped] = []
        self._registered = False  # with atexit
        self.forked()

    def forked(self) -> None:
        """Restore the default handlers of signals in a forked child, until it opens a session."""
        for number in SIGNALS:
            if signal.getsignal(number) == self._see_signal:
                signal.signal(number, signal.SIG_DFL)
        self._ending = ExitStatus()
        # the last sys.exit(): the instruction of the script that called it, and its status
        self._exit: tuple[int, ExitStatus] | None = None
        self._script: FrameType | None = None
        self._called: list[Called] = []
        self._watching = self._worker = self._dying = self._told = False

    def install(self, *, signals: bool = True) -> None:
        """Start watching. Signals can be watched from the main thread only: perhaps with a later session.

        Each step can be taken again: the next call does what an interrupt left out of this one.
        """
        if signals:
            self._watch_signals()
        if self._script is None:
            frame = _main_frame()
            called = [] if frame is None else running_calls(_main_stack(frame))
            self._script, self._called = frame, called
        if not self._wrapped:
            self._wrapped = self._to_wrap()
        for wrapped in self._wrapped:
            wrapped.put()
        if not self._registered:
            atexit.unregister(self._at_exit)
            atexit.register(self._at_exit)
            self._registered = True

    def _to_wrap(self) -> list[Wrapped]:
        names = set() if script.at_prompt() else {"exit", "quit"} & set(vars(builtins))
        return [
            Wrapped(sys, "excepthook", self._hook),
            Wrapped(sys, "exit", self._exiting),
            Wrapped(threading, "excepthook", _quietly),
            *(Wrapped(builtins, name, self._exiting) for name in names),
        ]

    def remove(self) -> None:
        """Stop watching. Outside of the main thread handlers of signals stay, and do what the default does."""
        for wrapped in reversed(self._wrapped):
            wrapped.put_back()
        self._wrapped = []
        self._registered = False
        atexit.unregister(self._at_exit)
        self._script = self._exit = None
        self._called = []
        self._worker = False
        if threading.current_thread() is threading.main_thread():
            self._watching = False
            for number in SIGNALS:
                if signal.getsignal(number) == self._see_signal:
                    signal.signal(number, signal.SIG_DFL)

    def _watch_signals(self) -> None:
        if self._watching or threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:  # other handlers stay
                signal.signal(number, self._see_signal)
        self._watching = True  # only once: later changes of handlers are left alone

    def watch_worker(self, hand_over: Callable[[], None]) -> None:
        """Learn how a worker of multiprocessing ends, and call `hand_over` before one of a Pool sends a result.

        A worker skips atexit when it was forked; it runs its own finalizers. One of a Pool does not even do that: the pool
        kills it, as soon as it has all results.
        """
        process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
        if process is None or util is None or self._worker:
            return
        if in_pool_worker():
            self._hand_over_before_results(hand_over)
        util.Finalize(None, self._at_worker_exit, exitpriority=0)
        self._worker = True

    def _hand_over_before_results(self, hand_over: Callable[[], None]) -> None:
        def handing_over(dumps: Callable[..., Any]) -> Callable[..., Any]:
            def dumps_handing_over(obj: Any, protocol: int | None = None) -> Any:
                if threading.current_thread() is threading.main_thread():
                    hand_over()
                return dumps(obj, protocol)

            return dumps_handing_over

        pickler = sys.modules["multiprocessing.reduction"].ForkingPickler
        wrapped = Wrapped(pickler, "dumps", handing_over)
        self._wrapped.append(wrapped)
        wrapped.put()

    def note_exit(self, error: SystemExit) -> None:
        """Record an exception that propagates: if it leaves the script, it ends the process."""
        if self._script is not None and threading.current_thread() is threading.main_thread():
            self._exit = self._script.f_lasti, ending_of(error)

    def _hook(self, before: Callable[..., Any]) -> Callable[..., Any]:
        def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            self._die_of_signal()
            if not script.at_prompt():
                text = "".join(format_exception(kind, error, trace))
                self._ending = ExitStatus("failed", one_line(error), text)
            before(kind, error, trace)

        return hook

    def _exiting(self, before: Callable[..., Any]) -> Callable[..., NoReturn]:
        def exit(status: object = None, /) -> NoReturn:
            """Exit the interpreter by raising SystemExit(status)."""
            try:
                before(status)
            except SystemExit as error:
                self.note_exit(error)
                raise
            raise AssertionError("exit() returned")

        return exit

    def _at_worker_exit(self) -> None:
        self._end(ending_of(sys.exc_info()[1]))

    def _at_exit(self) -> None:
        self._die_of_signal()
        self._end(replace(self._how(), place=self._place_left()))

    def _place_left(self) -> int | None:
        """The place in the script that it was left at, by an exception or exit, or where it is now."""
        frame = self._script
        if frame is None or script.at_prompt() or _returned(frame):
            return None
        return place_in(frame.f_code, frame.f_lineno, frame.f_lasti)

    def _how(self) -> ExitStatus:
        if SessionStopped.ended_by is not None:
            return ExitStatus("stopped")
        frame = self._script
        if self._ending.outcome != "finished" or frame is None or script.at_prompt() or _returned(frame):
            return self._ending
        if self._exit is not None and self._exit[0] == frame.f_lasti:
            return self._exit[1]
        return _stated_exit(frame, self._called) or ExitStatus("failed", UNKNOWN_CODE)

    def _see_signal(self, number: int, frame: FrameType | None) -> None:
        """End the sessions in a thread, then die of the signal, as without a handler.

        The main thread may have been interrupted while it held the store's lock: so it does not wait for long here, and that
        thread sends it the signal once more.
        """
        if not self._told and not self._dying:
            self._dying = True
            place = self._place_left()
            ending = ExitStatus("failed", f"killed by {signal.Signals(number).name}", place=place)
            # threading.Thread needs a lock to start, which the main thread may hold
            start_new_thread(self._end_for_signal, (number, ending))
            deadline = time.monotonic() + PATIENCE_S
            while not self._told and time.monotonic() < deadline:
                time.sleep(0.005)
        if self._told:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)  # so that the parent process sees the signal

    def _die_of_signal(self) -> None:
        """Wait for the end of the process if a signal ends the sessions: what the main thread did meanwhile is not how it ends."""
        deadline = time.monotonic() + DEATH_S
        while self._dying and time.monotonic() < deadline:
            if threading.current_thread() is not threading.main_thread():
                return
            time.sleep(0.005)

    def _end_for_signal(self, number: int, ending: ExitStatus) -> None:
        try:
            self._end(ending)
        finally:
            self._told = True
            # Sent to the main thread alone, as a signal that another thread takes does not interrupt what the main thread
            # waits for; and repeated, as one that comes just before the main thread begins to wait does not, either.
            while signal.getsignal(number) == self._see_signal:
                _signal_main_thread(number)
                time.sleep(0.02)


def _signal_main_thread(number: int) -> None:
    if sys.platform == "win32":
        os.kill(os.getpid(), number)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def _quietly(before: Callable[..., Any]) -> Callable[..., Any]:
    def hook(arguments: threading.ExceptHookArgs, /) -> Any:
        """Print no traceback of a thread that a stop ended, as for SystemExit."""
        return None if isinstance(arguments.exc_value, SessionStopped) else before(arguments)

    return hook


class _QuietHandler:
    """Return a handler of exceptions in tasks that are not awaited, which passes all but a stop to the handler `before`."""

    def __init__(self, before: Callable[..., Any] | None) -> None:
        self._before = before

    def __call__(self, loop: Any, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), SessionStopped):
            return
        if self._before is None:
            loop.default_exception_handler(context)
        else:
            self._before(loop, context)


def quiet_loop() -> None:
    """Have the running event loop print nothing about tasks that a stop ended."""
    asyncio = sys.modules.get("asyncio")
    loop = None if asyncio is None else asyncio._get_running_loop()
    before = None if loop is None else loop.get_exception_handler()
    if loop is not None and not isinstance(before, _QuietHandler):
        loop.set_exception_handler(_QuietHandler(before))


def _main_frame() -> FrameType | None:
    """Return the frame of the script that the main thread runs."""
    for frame in _main_stack():
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            return frame
    return None


def _main_stack(script: FrameType | None = None) -> list[FrameType]:
    """Return the frames of the main thread, from the `script` inwards."""
    frame = innermost_frames().get(threading.main_thread().ident or 0)
    stack: list[FrameType] = []
    while frame is not None:
        stack.insert(0, frame)
        frame = None if frame is script else frame.f_back
    return stack


def _returned(frame: FrameType) -> bool:
    """Return whether a finished frame returned, and did not raise."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN")


def _stated_exit(frame: FrameType, called: Sequence[Called]) -> ExitStatus | None:
    """Return the status of a ``raise SystemExit(4)``, or with the value of a call, as the last statement of the script."""
    statement = statement_at(frame, frame.f_lasti)
    raised = statement.exc if isinstance(statement, ast.Raise) else None
    name, arguments = (raised.func, raised.args) if isinstance(raised, ast.Call) else (raised, [])
    if not isinstance(name, ast.Name) or name.id != "SystemExit":
        return None
    try:
        if len(arguments) == 1 and isinstance(arguments[0], ast.Call):
            return ending_of(SystemExit(returned_value(called, called_function(frame, arguments[0]))))
        return ending_of(SystemExit(*(ast.literal_eval(argument) for argument in arguments)))
    except (ValueError, TypeError):
        return None
