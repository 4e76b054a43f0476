"""State machine for the stop, pause and resume requests of one session."""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from traceback import format_exc
from typing import TYPE_CHECKING, Any, Literal

from tablevault_pd.capture.exits import quiet_loop
from tablevault_pd.errors import SessionStopped, WorkerStopped
from tablevault_pd.progress import say
from tablevault_pd.session import inheritance
from tablevault_pd.session.heartbeat import HEARTBEAT, WATCH_S
from tablevault_pd.store.engine.threads import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from tablevault_pd.store import ControlRequest

Want = Literal["run", "pause", "stop"]


@dataclass(frozen=True, slots=True)
class Instruction:
    """What a session has to do at its next checkpoint, and when to acknowledge which requests."""

    want: Want = "run"
    #: Requests to acknowledge at once: they change nothing, or a later one replaces them.
    settled: tuple[int, ...] = ()
    #: Requests to acknowledge once a checkpoint obeys them.
    waiting: tuple[int, ...] = ()
    exit_code: int = 0


#: The stops (values of `ControlState.stop`) that were raised in this context: each thread and each task is stopped once.
_raised: ContextVar[frozenset[SessionStopped]] = ContextVar("tablevault_stops", default=frozenset())


class ControlState:
    """The state of one session between running, paused and stopping. The background thread asks, checkpoints obey."""

    def __init__(self, callbacks: Sequence[Callable[[], Any]], clock: Callable[[], datetime]) -> None:
        #: The exception to raise at every checkpoint; set by the first one that obeys a stop.
        self.stop: SessionStopped | None = None
        self._callbacks = callbacks  # called once, before the first thread is stopped
        self._called_back = 0  # how many of them were called
        self._lock = threading.RLock()  # implemented in C: an interrupt does not leave it held
        self._instruction = Instruction()
        self._message = ""
        self._pausing: set[Wakeup] = set()  # one for each thread that waits in a checkpoint
        self._reported_paused = False
        self._clock = clock  # returns the time of the store
        self._pauses: list[tuple[datetime, datetime | None]] = []  # the last one may still go on
        self._reported_pauses: tuple[tuple[datetime, datetime | None], ...] = ()
        self._answered: list[int] = []
        self._done: set[int] = set()

    @property
    def want(self) -> Want:
        """What the session has to do."""
        return self._instruction.want

    @property
    def asked_to_stop(self) -> bool:
        """Whether a stop was requested, obeyed or not."""
        return self.want == "stop" or self.stopping

    @property
    def paused(self) -> bool:
        """Whether a thread is paused in a checkpoint."""
        return bool(self._pausing)

    @property
    def stopping(self) -> bool:
        """Whether a checkpoint obeyed a stop."""
        return self.stop is not None

    # -- the background thread

    def take(self, requests: Sequence[ControlRequest], message: Callable[[ControlRequest], str]) -> None:
        """Take the requests that the store holds unacknowledged. `message` describes one of them."""
        fresh = [request for request in requests if request.id not in self._done]
        stop = next((request for request in fresh if request.request == "stop"), None)
        if stop is not None and not self._message:
            self._message = message(stop)
        with self._lock:
            self._instruction = reduce_requests(fresh, paused=self.paused, stopping=self.stopping)
            self._settle(self._instruction.settled)
        self.notify()

    def pauses(self) -> tuple[tuple[datetime, datetime | None], ...] | None:
        """Return all pauses so far as (began, ended); None if nothing changed since the last call."""
        with self._lock:
            self._end_pause()
            pauses = tuple(self._pauses)
            if pauses == self._reported_pauses:
                return None
            self._reported_pauses = pauses
            return pauses

    def _end_pause(self) -> None:
        """Note when the last thread went on, if an interrupt kept it from being noted."""
        if not self._pausing and self._pauses and self._pauses[-1][1] is None:
            self._pauses[-1] = (self._pauses[-1][0], self._clock())

    def report(self) -> tuple[tuple[int, ...], bool | None]:
        """Return the requests to acknowledge, and whether the session is paused; each None or empty if already reported."""
        with self._lock:
            answered, self._answered = tuple(self._answered), []
            paused = self.paused if self.paused != self._reported_paused else None
            self._reported_paused = self.paused
            return answered, paused

    @property
    def has_news(self) -> bool:
        """Whether report() has something new."""
        return bool(self._answered) or self.paused != self._reported_paused

    def notify(self) -> None:
        """Wake the threads that are paused here: a session around this one changed."""
        for wakeup in tuple(self._pausing):
            wakeup.wake()

    def release(self) -> None:
        """Release paused threads; no request can arrive any more."""
        self._instruction = Instruction()
        self.notify()

    def _settle(self, requests: Sequence[int]) -> None:
        fresh = [request for request in requests if request not in self._done]
        self._answered += fresh
        self._done.update(fresh)

    # -- checkpoints

    def stop_due(self) -> SessionStopped | None:
        """Return the stop to raise here, if any.

        It is raised once in each task of the main thread, so that cleanup code may pass further checkpoints. In other
        threads only cleanup code passes that runs while the stop propagates: a thread of a pool would go on with its next task.
        """
        with self._lock:
            if self._instruction.want == "stop" and self.stop is None:
                kind = WorkerStopped if inheritance.is_worker() else SessionStopped
                self.stop = kind(self._instruction.exit_code, self._message)
                self._settle(self._instruction.waiting)
                self._instruction = Instruction()
                HEARTBEAT.wake()
        if self.stop is None or (self.stop in _raised.get() and (_in_main_thread() or _propagates())):
            return None
        _raised.set(_raised.get() | {self.stop})
        return _again(self.stop)

    def raise_again(self, *, over: bool) -> None:
        """Raise WorkerStopped in a stopped worker; until its session has ended, cleanup code passes while the stop propagates."""
        if isinstance(self.stop, WorkerStopped) and (over or not _propagates()):
            raise _again(self.stop)

    def pause_if_asked(self, chain: Sequence[ControlState]) -> None:
        """Block until the session is resumed, or it or one around it is stopped. `chain` has the states of these."""
        if self.want != "pause":
            return
        wakeup = Wakeup()
        try:
            with self._lock:
                if self.want != "pause":
                    return
                if not self._pausing:
                    self._pauses.append((self._clock(), None))
                self._pausing.add(wakeup)
                self._settle(self._instruction.waiting)
            HEARTBEAT.wake()
            while self.want == "pause" and not any(control.want == "stop" for control in chain):
                wakeup.wait(WATCH_S)
        finally:
            self._pausing.discard(wakeup)
            self._go_on()

    def _go_on(self) -> None:
        with self._lock:
            self._end_pause()
            if not self._pausing and self.want == "run":
                # Only now: a session whose resume is acknowledged runs.
                self._settle(self._instruction.waiting)
        HEARTBEAT.wake()

    def call_back(self, label: str) -> None:
        """Call the functions of ``on_stop``, each once for a stop."""
        with self._lock:
            functions = self._callbacks[self._called_back :]
            self._called_back += len(functions)
        for function in functions:
            try:
                function()
            except (Exception, SessionStopped):  # noqa: BLE001  # the other functions are called all the same
                say(f"on_stop failed, {label} stops all the same:\n{format_exc()}")

    def go_on_after_stop(self) -> None:
        """Let the session be stopped again: a stop ends one cell of a notebook, not its kernel."""
        with self._lock:
            self.stop, self._message, self._called_back = None, "", 0


def obey(chain: Sequence[tuple[str, ControlState]]) -> None:
    """Pause or stop a session if that was asked of it or of one around it: `chain` has their labels and states."""
    controls = [control for _, control in chain]
    _stop_if_asked(chain)
    for control in controls:
        control.pause_if_asked(controls)
    _stop_if_asked(chain)  # while it was paused


def _stop_if_asked(chain: Sequence[tuple[str, ControlState]]) -> None:
    """Raise SessionStopped if a session of `chain` was asked to stop; it and those inside of it call their on_stop functions."""
    for depth, (_, control) in enumerate(chain, 1):
        stop = control.stop_due()
        if stop is not None:
            quiet_loop()
            for label, inner in chain[:depth]:
                inner.call_back(label)
            raise stop


def _again(stop: SessionStopped) -> SessionStopped:
    """Return a copy of the stop, without its traceback. A ThreadPool would wait for ever for a task that raised no Exception."""
    kind = WorkerStopped if inheritance.is_pool_thread() else type(stop)
    return kind(stop.code if isinstance(stop.code, int) else 0, stop.message)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _propagates() -> bool:
    return isinstance(sys.exc_info()[1], SessionStopped)


def reduce_requests(requests: Sequence[ControlRequest], *, paused: bool, stopping: bool) -> Instruction:
    """Return what unacknowledged `requests`, oldest first, mean for a session that is paused or stopping.

    A stop outweighs all others; without one, the last request counts.
    """
    ids = tuple(request.id for request in requests)
    stop = next((request for request in requests if request.request == "stop"), None)
    if stopping:
        return Instruction("run", settled=ids)
    if stop is not None:
        return Instruction("stop", waiting=ids, exit_code=stop.exit_code)
    if not requests:
        return Instruction("pause" if paused else "run")
    want: Want = "run" if requests[-1].request == "resume" else "pause"
    if paused == (want == "pause"):
        return Instruction(want, settled=ids)
    return Instruction(want, settled=ids[:-1], waiting=ids[-1:])
