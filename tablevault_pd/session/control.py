"""The stop, pause and resume requests of one session: what is asked, what its threads have obeyed, what it answers."""

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
from tablevault_pd.store.engine.threads import Bell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from tablevault_pd.store import ControlRequest

Want = Literal["run", "pause", "stop"]


@dataclass(frozen=True, slots=True)
class Orders:
    """What a session is to do at its next checkpoint, and which requests are settled when."""

    want: Want = "run"
    settled: tuple[
        int, ...
    ] = ()  #: acknowledged at once: they change nothing, or are overtaken by a later one
    waiting: tuple[int, ...] = ()  #: acknowledged when the session does what it is to do
    exit_code: int = 0


#: The stops, by what `ControlState.stop` was, that were raised in this context: each thread and each task is stopped once.
_raised: ContextVar[frozenset[SessionStopped]] = ContextVar("tablevault_stops", default=frozenset())


class ControlState:
    """The state of one session between running, paused and stopping. The background thread asks, checkpoints obey."""

    def __init__(self, callbacks: Sequence[Callable[[], Any]], clock: Callable[[], datetime]) -> None:
        self.stop: SessionStopped | None = (
            None  #: set once a checkpoint obeyed a stop: what is raised everywhere
        )
        self._callbacks = callbacks  #: called once, before the first thread is stopped
        self._called_back = 0  # so many of them
        self._lock = threading.RLock()  # of C: an interrupt does not leave it held
        self._orders = Orders()
        self._message = ""
        self._pausing: set[Bell] = set()  # one for each thread that waits in a checkpoint
        self._told_paused = False
        self._clock = clock  # of the store
        self._pauses: list[tuple[datetime, datetime | None]] = []  # all there were; the last one may go on
        self._told_pauses: tuple[tuple[datetime, datetime | None], ...] = ()
        self._answered: list[int] = []
        self._done: set[int] = set()

    @property
    def want(self) -> Want:
        """What the session is to do."""
        return self._orders.want

    @property
    def asked_to_stop(self) -> bool:
        """Whether a stop waits to be obeyed, or was."""
        return self.want == "stop" or self.stopping

    @property
    def paused(self) -> bool:
        """Whether a checkpoint obeys a pause."""
        return bool(self._pausing)

    @property
    def stopping(self) -> bool:
        """Whether a checkpoint obeyed a stop."""
        return self.stop is not None

    # -- the background thread

    def take(self, requests: Sequence[ControlRequest], message: Callable[[ControlRequest], str]) -> None:
        """These requests are not acknowledged yet, by what the store knows; `message` says who made one."""
        fresh = [request for request in requests if request.id not in self._done]
        stop = next((request for request in fresh if request.request == "stop"), None)
        if stop is not None and not self._message:
            self._message = message(stop)
        with self._lock:
            self._orders = reduce_requests(fresh, paused=self.paused, stopping=self.stopping)
            self._settle(self._orders.settled)
        self.notify()

    def pauses(self) -> tuple[tuple[datetime, datetime | None], ...] | None:
        """Return all times at which the session was paused, as (began, ended), if there are new ones. Said once."""
        with self._lock:
            self._end_pause()
            pauses = tuple(self._pauses)
            if pauses == self._told_pauses:
                return None
            self._told_pauses = pauses
            return pauses

    def _end_pause(self) -> None:
        """Note when the last thread went on. Without an interrupt in between that is done at once."""
        if not self._pausing and self._pauses and self._pauses[-1][1] is None:
            self._pauses[-1] = (self._pauses[-1][0], self._clock())

    def report(self) -> tuple[tuple[int, ...], bool | None]:
        """The requests to acknowledge, and whether the session is paused, if that is news. Said once."""
        with self._lock:
            answered, self._answered = tuple(self._answered), []
            paused = self.paused if self.paused != self._told_paused else None
            self._told_paused = self.paused
            return answered, paused

    @property
    def has_news(self) -> bool:
        """Whether there is something to report."""
        return bool(self._answered) or self.paused != self._told_paused

    def notify(self) -> None:
        """Something changed in a session around this one: whoever is paused here looks again."""
        for bell in tuple(self._pausing):
            bell.ring()

    def release(self) -> None:
        """Let everybody go on: nobody can ask for anything any more."""
        self._orders = Orders()
        self.notify()

    def _settle(self, requests: Sequence[int]) -> None:
        fresh = [request for request in requests if request not in self._done]
        self._answered += fresh
        self._done.update(fresh)

    # -- checkpoints

    def stop_due(self) -> SessionStopped | None:
        """The stop to raise here, if that was asked: once in each task of the main thread, so that what cleans up may pass.

        In other threads only what cleans up while it is on its way passes: one of a pool would go on with the next task.
        """
        with self._lock:
            if self._orders.want == "stop" and self.stop is None:
                kind = WorkerStopped if inheritance.is_worker() else SessionStopped
                self.stop = kind(self._orders.exit_code, self._message)
                self._settle(self._orders.waiting)
                self._orders = Orders()
                HEARTBEAT.wake()
        if self.stop is None or (self.stop in _raised.get() and (_in_main_thread() or _on_its_way())):
            return None
        _raised.set(_raised.get() | {self.stop})
        return _again(self.stop)

    def raise_again(self, *, over: bool) -> None:
        """Raises WorkerStopped in a stopped worker. Until its session is over, what cleans up while that is on its way passes."""
        if isinstance(self.stop, WorkerStopped) and (over or not _on_its_way()):
            raise _again(self.stop)

    def pause_if_asked(self, chain: Sequence[ControlState]) -> None:
        """Blocks until somebody resumes the session, or stops it or one around it: those are its `chain`."""
        if self.want != "pause":
            return
        bell = Bell()
        try:
            with self._lock:
                if self.want != "pause":
                    return
                if not self._pausing:
                    self._pauses.append((self._clock(), None))
                self._pausing.add(bell)
                self._settle(self._orders.waiting)
            HEARTBEAT.wake()
            while self.want == "pause" and not any(each.want == "stop" for each in chain):
                bell.wait(WATCH_S)
        finally:
            self._pausing.discard(bell)
            self._go_on()

    def _go_on(self) -> None:
        with self._lock:
            self._end_pause()
            if not self._pausing and self.want == "run":
                self._settle(self._orders.waiting)  # not before: whoever asked is to see it running
        HEARTBEAT.wake()

    def call_back(self, label: str) -> None:
        """Call the functions of ``on_stop``; those that were called for this stop are not called again."""
        with self._lock:
            functions = self._callbacks[self._called_back :]
            self._called_back += len(functions)
        for function in functions:
            try:
                function()
            except (Exception, SessionStopped):  # noqa: BLE001  # the others are to be called, and the session to be stopped, all the same
                say(f"on_stop failed, {label} stops all the same:\n{format_exc()}")

    def go_on_after_stop(self) -> None:
        """A stop ends the cell of a notebook, not its kernel: with the next cell the session can be stopped again."""
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
    """An equal exception, with a traceback of its own. A ThreadPool waits for ever for a task that raised no Exception."""
    kind = WorkerStopped if inheritance.is_pool_thread() else type(stop)
    return kind(stop.code if isinstance(stop.code, int) else 0, stop.message)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _on_its_way() -> bool:
    return isinstance(sys.exc_info()[1], SessionStopped)


def reduce_requests(requests: Sequence[ControlRequest], *, paused: bool, stopping: bool) -> Orders:
    """What `requests` (not acknowledged, oldest first) mean for a session that is paused, or on its way out.

    A stop outweighs everything before and after it; of the others the last one counts.
    """
    ids = tuple(request.id for request in requests)
    stop = next((request for request in requests if request.request == "stop"), None)
    if stopping:
        return Orders("run", settled=ids)
    if stop is not None:
        return Orders("stop", waiting=ids, exit_code=stop.exit_code)
    if not requests:
        return Orders("pause" if paused else "run")
    want: Want = "run" if requests[-1].request == "resume" else "pause"
    if paused == (want == "pause"):
        return Orders(want, settled=ids)
    return Orders(want, settled=ids[:-1], waiting=ids[-1:])
