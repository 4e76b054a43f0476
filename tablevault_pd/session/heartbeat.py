"""The background thread of a process: it beats for every open session, fetches requests, and writes what is buffered.

It sleeps on a queue and looks twice a second, so that the user's threads wait for no disk and no server. What it cannot
write it keeps and tries again; the trouble is told once, as a warning, and anew if it comes back.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from itertools import count
from typing import TYPE_CHECKING

from tablevault_pd import progress
from tablevault_pd.errors import (
    NotRecorded,
    SessionNotFound,
    VaultClosed,
    VaultError,
    VaultNotFound,
)
from tablevault_pd.progress import say
from tablevault_pd.store.engine.threads import Bell, start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tablevault_pd.session.run import Run
    from tablevault_pd.store import BeatResponse, Store

WATCH_S = 0.5  # how often requests are looked for, and buffers written; what kill -9 loses at most
RETRY_S = 1.0  # after a failure; twice as long after each further one
LONGEST_RETRY_S = 4.0  # a request is seen within five seconds once the store answers again
FLUSH_S = 2.0  # how long a call that reads sessions waits for what this process has not written yet
EXIT_S = 5.0  # how long the end of the interpreter waits for what is buffered
FINAL = (VaultNotFound, VaultClosed)  # trying again is no use


class Heart:
    """The background thread, running while there is a session to beat for."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        # Locks of C: an interrupt leaves none of them held. A signal handler may come in between.
        self._lock = threading.RLock()  # over _runs and _thread
        self._rounds = threading.RLock()  # one round at a time
        self._bell = Bell()
        self._thread: threading.Thread | None = None
        self._troubled: weakref.WeakSet[Store] = weakref.WeakSet()  # whose trouble was told
        self._retry_s: weakref.WeakKeyDictionary[Store, float] = weakref.WeakKeyDictionary()
        self._retry_at: weakref.WeakKeyDictionary[Store, float] = weakref.WeakKeyDictionary()

    def add(self, run: Run) -> None:
        """Beat for a session from now on; adding it again does nothing."""
        with self._lock:
            if run not in self._runs:
                self._runs.append(run)
        self.wake()

    def wake(self) -> None:
        """Have the thread look at once. Without one, as while Python ends, wait_for() writes by itself."""
        if self._thread is None and self._runs:
            start(self._work, "heart")
        self._bell.ring()

    def flush(self, store: Store, *, info: bool = False) -> None:
        """Wait until the vault of `store` has all that the sessions of this process have to tell now; free if it has.

        A slow store keeps nobody from reading: after `FLUSH_S` seconds a warning says what may be missing.
        """
        if threading.current_thread() is self._thread:
            return
        runs = [run for run in list(self._runs) if run.store.vault_id == store.vault_id]
        waiting = {run: number for run in runs if (number := run.waits_for(info=info))}
        deadline = time.monotonic() + FLUSH_S
        for tries in count():
            if not waiting or time.monotonic() >= deadline:
                break
            if self._thread is None:
                self._round()
            elif tries % 10 == 0:
                self._bell.ring()  # again, for what was logged while a beat was under way
            time.sleep(0.001)
            waiting = {run: number for run, number in waiting.items() if not run.has_told(number)}
        if waiting:
            labels = ", ".join(run.row.label for run in waiting)
            progress.warn(
                f"The store did not take within {FLUSH_S:g} s what {labels} told it last; the answer may lack it.",
                RuntimeWarning,
            )

    def wait_for(self, run: Run, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `done`; at most `timeout_s` seconds, and not beyond an attempt that failed for want of more than time."""
        deadline = time.monotonic() + timeout_s
        self._retry_at.pop(run.store, None)  # do not sit out a pause between two attempts
        while not done():
            run.attempted.clear()
            if done():  # in between
                return True
            if self._thread is None or threading.current_thread() is self._thread:
                self._round()  # Python starts no thread any more
            else:
                self.wake()
                run.attempted.wait(
                    min(max(deadline - time.monotonic(), 0.0), WATCH_S)
                )  # another waiter may clear it
            if not done() and (run.failing or time.monotonic() >= deadline):
                return False
        return True

    def abandon(self, store: Store | None = None) -> None:
        """Give up what `store`, or any, did not take until now, and say what is lost: the vault or the process ends."""
        runs = [run for run in self._runs if store is None or run.store is store]
        self._give_up(runs, VaultClosed("It was closed before everything was written."), NotRecorded)

    def _work(self) -> None:
        with self._lock:
            if self._thread is not None:
                return  # another one was faster
            self._thread = threading.current_thread()
        while True:
            self._bell.wait(WATCH_S)
            if _abandoned():
                for run in reversed(list(self._runs)):
                    run.end(timeout_s=EXIT_S, quietly=True)
                self.abandon()
            self._round()
            with self._lock:
                if not self._runs:
                    self._thread = None
                    return

    def _round(self) -> None:
        with self._rounds:
            by_store: dict[int, list[Run]] = {}
            for run in list(self._runs):
                by_store.setdefault(id(run.store), []).append(run)
            for runs in by_store.values():
                if time.monotonic() >= self._retry_at.get(runs[0].store, 0.0):
                    self._beat(runs)

    def _beat(self, runs: Sequence[Run]) -> None:
        store = runs[0].store
        try:
            pulse = store.beat([run.collect() for run in runs])
        except Exception as error:  # noqa: BLE001  # whatever it is, the user's code goes on
            self._failed(runs, error)
        else:
            self._delivered(runs, pulse)

    def _delivered(self, runs: Sequence[Run], pulse: BeatResponse) -> None:
        store = runs[0].store
        self._troubled.discard(store)
        self._retry_s.pop(store, None)
        self._retry_at.pop(store, None)
        again = False
        for run in runs:
            mine = [request for request in pulse.requests if request.session_id == run.row.id]
            again |= run.delivered(pulse.time, mine)
        for run in runs:
            run.refresh()
        self._forget([run for run in runs if run.told.is_set()])
        if again:
            self._bell.ring()

    def _failed(self, runs: Sequence[Run], error: Exception) -> None:
        if isinstance(error, FINAL):
            store = runs[0].store
            self._give_up([run for run in self._runs if run.store is store], error)
        elif isinstance(error, SessionNotFound) or not isinstance(error, (VaultError, OSError, MemoryError)):
            self._isolate(runs, error)
        else:
            self._try_later(runs, error)

    def _isolate(self, runs: Sequence[Run], error: Exception) -> None:
        """What one session tells is the trouble: the others beat by themselves, and of that one the rest is recorded."""
        if len(runs) > 1:
            for run in runs:
                self._beat([run])
        elif isinstance(error, SessionNotFound):
            self._give_up(runs, error)
        elif (pulse := self._piecewise(runs[0])) is not None:
            self._delivered(runs, pulse)
        else:
            self._try_later(runs, error)

    def _piecewise(self, run: Run) -> BeatResponse | None:
        """Beat in pieces, without those that the store does not take; None if it takes none."""
        pulse = None
        refused: dict[str, Exception] = {}
        try:
            for what, piece in run.collect().pieces():
                try:
                    pulse = run.store.beat([piece])
                except (ValueError, TypeError, LookupError, ArithmeticError) as error:
                    refused[what] = error
        except Exception:  # noqa: BLE001  # the store has other troubles, or the beat cannot be made
            return None
        if pulse is not None:
            for what, why in refused.items():
                warn(f"{what} of {run.row.label} cannot be recorded and was left out: {why}", NotRecorded)
        return pulse

    def _give_up(
        self, runs: Sequence[Run], error: Exception, category: type[RuntimeWarning] = RuntimeWarning
    ) -> None:
        lost = [run.give_up(error) for run in runs if not run.told.is_set()]
        if lost:
            warn(f"tablevault_pd cannot record any more. {error} Lost: {', '.join(lost)}.", category)
        self._forget(runs)

    def _try_later(self, runs: Sequence[Run], error: Exception) -> None:
        store = runs[0].store
        if store not in self._troubled and not all(
            run.told.is_set() for run in runs
        ):  # some were given up meanwhile
            self._troubled.add(store)
            warn(f"tablevault_pd cannot record this session now, and goes on trying: {error}")
        self._retry_s[store] = min(self._retry_s.get(store, RETRY_S / 2) * 2, LONGEST_RETRY_S)
        self._retry_at[store] = time.monotonic() + self._retry_s[store]
        for run in runs:
            run.undelivered(error)

    def _forget(self, runs: Sequence[Run]) -> None:
        with self._lock:
            self._runs = [run for run in self._runs if run not in runs]

    def in_child(self) -> list[Run]:
        """Begin anew, without a thread; the sessions that were the parent's come back."""
        runs = self._runs
        self.__init__()  # type: ignore[misc]  # every lock may have been held by a thread that is no more
        return runs


def _abandoned() -> bool:
    """Whether nobody is left in this process: a thread forked it, and has ended.

    Python does not shut down such a process: it lives as long as any thread does, be it a daemon.
    """
    main = threading.main_thread()
    forked_by_a_thread = type(main).__name__ != "_MainThread"
    return (
        forked_by_a_thread and not main.is_alive() and set(sys._current_frames()) == {threading.get_ident()}
    )


def warn(text: str, category: type[RuntimeWarning] = RuntimeWarning) -> None:
    """Say what keeps the tracker from working. Never raises, whatever the warning filters are."""
    try:
        progress.warn(text, category)
    except (RuntimeWarning, OSError, ValueError):  # a filter made it an error, or sys.stderr is closed
        say(text)


HEART = Heart()


def _in_child() -> None:
    for run in HEART.in_child():
        run.orphan()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
