"""The one background thread of a process: it beats for every open session, fetches requests, and writes what is buffered.

It sleeps on an event and looks twice a second. Everything the tracker writes once a session is open, it writes, so that
the user's threads wait for no disk and no server. What it cannot write it keeps and tries again; what went wrong is said
once, as a warning.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from itertools import count
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from tablevault_pd.errors import VaultClosed, VaultCorrupt, VaultFormatError, VaultNotFound, VaultReadOnly
from tablevault_pd.progress import say
from tablevault_pd.store import Pulse, Store
from tablevault_pd.threads import started

if TYPE_CHECKING:
    from tablevault_pd.session.run import Run

WATCH_S = 0.5  # how often requests are looked for, and buffers written; what kill -9 loses at most
RETRY_S = 1.0  # after a failure
FLUSH_S = 2.0  # how long a call that reads sessions waits for what this process has not written yet
EXIT_S = 5.0  # how long the end of the interpreter waits for what is buffered
FINAL = (VaultNotFound, VaultCorrupt, VaultReadOnly, VaultClosed, VaultFormatError)  # trying again is no use


class Bell:
    """What the thread sleeps on. An Event would do, but may not be set by a signal handler while it is being set."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake the thread."""
        self._rings.put(None)

    def wait(self, timeout_s: float) -> None:
        """Sleep until it rings, or for so many seconds; what rang meanwhile has been heard."""
        try:
            self._rings.get(timeout=timeout_s)
            while True:
                self._rings.get_nowait()
        except Empty:
            return


class Heart:
    """The background thread, running while there is a session to beat for."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._lock = threading.RLock()  # over _runs and _thread; a signal handler may come in between
        self._bell = Bell()
        self._thread: threading.Thread | None = None
        self._warned: weakref.WeakSet[Store] = weakref.WeakSet()  # whose trouble was told
        self._retry_at: weakref.WeakKeyDictionary[Store, float] = weakref.WeakKeyDictionary()

    def add(self, run: Run) -> None:
        """Beat for a session from now on."""
        with self._lock:
            self._runs.append(run)
            if self._thread is None:
                self._thread = started(self._work, "heart")
                if self._thread is None:
                    return  # end() will write by itself
        self._bell.ring()

    def wake(self) -> None:
        """Have the thread look at once."""
        self._bell.ring()

    def flush(self, store: Store, timeout_s: float = FLUSH_S) -> None:
        """Wait until the vault of `store` has all that the sessions of this process have to tell now; free if it has.

        A slow store keeps nobody from reading: after `timeout_s` seconds a warning says what may be missing.
        """
        if threading.current_thread() is self._thread:
            return
        runs = [run for run in list(self._runs) if run.store.vault_id == store.vault_id]
        waiting = {run: number for run in runs if (number := run.waits_for())}
        if waiting and self._thread is None:
            self._round()
        deadline = time.monotonic() + timeout_s
        for tries in count():
            if not waiting or time.monotonic() >= deadline:
                break
            if tries % 10 == 0:
                self._bell.ring()  # again, for what was logged while a beat was under way
            time.sleep(0.001)
            waiting = {run: number for run, number in waiting.items() if not run.has_told(number)}
        if waiting:
            labels = ", ".join(run.row.label for run in waiting)
            warnings.warn(
                f"The store did not take within {timeout_s:g} s what {labels} logged last; the answer may lack it.",
                RuntimeWarning,
                stacklevel=4,
            )

    def finish(self, run: Run, timeout_s: float) -> None:
        """Wait until the end of `run`, and all that it has buffered, is written; at most `timeout_s` seconds."""
        self._retry_at.clear()  # the last chance: do not sit out a pause between two tries
        if self._thread is None or threading.current_thread() is self._thread:
            for _ in range(2):  # the first may still carry what could not be written before
                self._round()
            self._forget([run])
            return
        self._bell.ring()
        if not run.told.wait(timeout_s):
            self._warn(run.store, TimeoutError(f"{run.row.label} could not be closed within {timeout_s:g} s"))
        self._forget([run])

    def _work(self) -> None:
        while True:
            self._bell.wait(WATCH_S)
            self._round()
            with self._lock:
                if not self._runs:
                    self._thread = None
                    return

    def _round(self) -> None:
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
            return
        self._retry_at.pop(store, None)
        self._delivered(runs, pulse)

    def _delivered(self, runs: Sequence[Run], pulse: Pulse) -> None:
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
        store = runs[0].store
        self._warn(store, error)
        if isinstance(error, FINAL):
            for run in runs:
                run.give_up()
            self._forget(runs)
            return
        self._retry_at[store] = time.monotonic() + RETRY_S
        for run in runs:
            run.undelivered(error)
        self._forget([run for run in runs if run.told.is_set()])

    def _forget(self, runs: Sequence[Run]) -> None:
        with self._lock:
            self._runs = [run for run in self._runs if run not in runs]

    def _warn(self, store: Store, error: Exception) -> None:
        if store not in self._warned:
            self._warned.add(store)
            warn(error)

    def in_child(self) -> list[Run]:
        """Begin anew, without a thread; the sessions that were the parent's come back."""
        runs = self._runs
        self.__init__()  # type: ignore[misc]  # every lock may have been held by a thread that is no more
        return runs


def warn(error: Exception) -> None:
    """Say what keeps the tracker from working. Never raises, whatever the warning filters are."""
    text = f"tablevault_pd cannot record this session: {error}"
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    except (RuntimeWarning, OSError, ValueError):  # a filter made it an error, or sys.stderr is closed
        say(text)


HEART = Heart()


def _in_child() -> None:
    for run in HEART.in_child():
        run.orphan()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
