"""Stop and pause, as one session takes them: what is asked of it, what its threads have obeyed, and what it answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from traceback import format_exc
from typing import Any

from tablevault_pd.errors import SessionStopped
from tablevault_pd.progress import say
from tablevault_pd.session.heart import HEART
from tablevault_pd.session.orders import Orders, Want, orders
from tablevault_pd.store import Request


class Obedience:
    """The state of one session between running, paused and stopping. The background thread asks, checkpoints obey."""

    def __init__(self, callbacks: Sequence[Callable[[], Any]]) -> None:
        self.paused = False
        self.stopping = False
        self._callbacks = callbacks  #: called once, before the first thread is stopped
        self._condition = threading.Condition()
        self._orders = Orders()
        self._stopped: set[int] = set()  # threads that were told so
        self._pausing = 0  # threads that wait in a checkpoint
        self._told_paused = False
        self._answered: list[int] = []
        self._done: set[int] = set()
        self._exit_code = 0

    @property
    def want(self) -> Want:
        """What the session is to do."""
        return self._orders.want

    # -- the background thread

    def take(self, requests: Sequence[Request]) -> None:
        """These requests are not acknowledged yet, by what the store knows."""
        with self._condition:
            fresh = [request for request in requests if request.id not in self._done]
            self._orders = orders(fresh, paused=self.paused, stopping=self.stopping)
            self._settle(self._orders.settled)
            self._condition.notify_all()

    def report(self) -> tuple[tuple[int, ...], bool | None]:
        """The requests to acknowledge, and whether the session is paused, if that is news. Said once."""
        with self._condition:
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
        with self._condition:
            self._condition.notify_all()

    def release(self) -> None:
        """Let everybody go on: nobody can ask for anything any more."""
        with self._condition:
            self._orders = Orders()
            self._condition.notify_all()

    def _settle(self, requests: Sequence[int]) -> None:
        fresh = [request for request in requests if request not in self._done]
        self._answered += fresh
        self._done.update(fresh)

    # -- checkpoints

    def stop_if_asked(self, label: str) -> None:
        """Raises SessionStopped once in each thread, if that was asked."""
        with self._condition:
            first = self._orders.want == "stop" and not self.stopping
            if first:
                self.stopping = True
                self._settle(self._orders.waiting)
                self._exit_code = self._orders.exit_code
                self._orders = Orders()
                HEART.wake()
            if not self.stopping or threading.get_ident() in self._stopped:
                return
            self._stopped.add(threading.get_ident())
        if first:
            self._call_back(label)
        raise SessionStopped(self._exit_code)

    def pause_if_asked(self, chain: Sequence[Obedience]) -> None:
        """Blocks until somebody resumes the session, or stops it or one around it: those are its `chain`."""
        with self._condition:
            if self.want != "pause":
                return
            self._settle(self._orders.waiting)
            self._pausing += 1
            self.paused = True
            HEART.wake()
            try:
                while self.want == "pause" and not any(each.want == "stop" for each in chain):
                    self._condition.wait()
            finally:
                self._pausing -= 1
                if not self._pausing:
                    self._go_on()

    def _go_on(self) -> None:
        self.paused = False
        if self.want == "run":
            self._settle(self._orders.waiting)  # not before: whoever asked is to see it running
        HEART.wake()

    def _call_back(self, label: str) -> None:
        for function in self._callbacks:
            try:
                function()
            except Exception:  # noqa: BLE001  # the others are to be called, and the session to be stopped, all the same
                say(f"on_stop failed, {label} stops all the same:\n{format_exc()}")

    def go_on_after_stop(self) -> None:
        """A stop ends the cell of a notebook, not its kernel: with the next cell the session can be stopped again."""
        with self._condition:
            self.stopping = False
            self._stopped.clear()
