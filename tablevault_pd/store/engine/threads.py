"""Background threads, and what happens to their work while the interpreter ends.

When the interpreter ends, it ends each daemon thread that asks for its lock. A thread that comes back from C++ (Arrow,
for one) is then unwound through frames that do not allow it, and the process aborts. So the last function of ``atexit``
asks such work to stop between two pieces, waits for the piece, and lets none begin.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from _thread import start_new_thread
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

# pyarrow imports this when it first meets pandas. Python refuses that while it ends, and then the first save could not be
# made by a function of atexit.
import concurrent.futures.thread  # noqa: F401  # isort: skip
from typing import TYPE_CHECKING

from tablevault_pd.store.engine.fork_guard import WeakList

if TYPE_CHECKING:
    from collections.abc import Callable

END_S = 3.0  # how long the end of the interpreter waits for pieces of work under way

if sys.platform == "win32":
    _SENT_BY_PEOPLE: tuple[signal.Signals, ...] = ()
    _block_signals = _set_signals = lambda signals: signals
else:
    _SENT_BY_PEOPLE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    _block_signals = partial(signal.pthread_sigmask, signal.SIG_BLOCK)
    _set_signals = partial(signal.pthread_sigmask, signal.SIG_SETMASK)


def start(
    work: Callable[[], object], name: str, refused: Callable[[RuntimeError], object] = lambda error: None
) -> None:
    """Start a daemon thread that does `work`; `refused` is called where the system gives none, or the interpreter ends.

    `Thread.start` waits for the new thread, which an interrupt there would block for ever: so another thread does that.
    """
    thread = threading.Thread(target=work, name=f"tablevault-{name}", daemon=True)

    def start_thread() -> None:
        try:
            thread.start()
        except RuntimeError as error:
            refused(error)

    # The system hands a signal to any thread that does not block it. Python then only notes it and runs its handler in the
    # main thread: if that waits for something, when it is done waiting, as nothing has interrupted it. A thread blocks from
    # its beginning what the one that starts it blocks.
    before = _block_signals(())
    try:
        _block_signals(_SENT_BY_PEOPLE)
        start_new_thread(start_thread, ())
    except RuntimeError as error:
        refused(error)
    finally:
        _set_signals(before)


class Flag:
    """As :class:`threading.Event`, for one thread that waits; an interrupt on any line of `set` does not leave it locked."""

    def __init__(self) -> None:
        self._set = False
        self._wakeups: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Raise the flag, and wake the thread that waits for it."""
        self._set = True
        self._wakeups.put(None)

    def is_set(self) -> bool:
        """Whether it is up."""
        return self._set

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is up, at most so many seconds. Whether it is."""
        try:
            self._wakeups.get(timeout=timeout_s)
        except Empty:
            return self._set
        return True


class Background:
    """Work that one thread at a time does, started where there is some. An interrupt on any line leaves it able to start.

    The thread says itself that it runs: a handle returned to the caller could be lost to an interrupt. Work of more than
    some hundredths of a second looks at :attr:`stop` between its pieces.
    """

    def __init__(self, work: Callable[[], object], name: str) -> None:
        self._work, self._name = work, name
        self._pid = os.getpid()
        self._turn = threading.RLock()  # held by the thread at work
        self._asked = self._busy = False
        self.refused = False  #: no thread could be started, as while Python ends: complete() does the work
        self.stop = Flag()  #: the work is to end
        _backgrounds.add(self)

    def ask(self) -> None:
        """Have the work done, and once more if it is under way."""
        self._asked = True
        if not self._busy:
            start(self._run, self._name, self._refuse)

    def _refuse(self, error: RuntimeError) -> None:
        self.refused = True

    def join(self) -> None:
        """Wait while a thread is at work."""
        with self._turn:
            pass

    def complete(self) -> None:
        """Have what was asked for done when this returns: by the thread at work, or else here."""
        with self._turn:
            if self._asked:
                try:
                    self._busy, self._asked = True, False
                    self._work()
                finally:
                    self._busy = False
        if self._asked and not self.stop.is_set():  # meanwhile
            self.ask()

    @property
    def is_done(self) -> bool:
        """Whether all that was asked for is done."""
        return not self._asked and not self._busy

    def prevent(self, deadline: float) -> None:
        """Let no work begin from now on, and wait for a piece under way until `deadline`."""
        if self._pid == os.getpid():  # in a forked child there is no thread that would let go
            self.stop.set()
            self._turn.acquire(timeout=max(deadline - time.monotonic(), 0.0))  # for good

    def _run(self) -> None:
        if self._asked and self._turn.acquire(blocking=False):
            try:
                self._busy, self._asked = True, False
                self._work()
            finally:
                self._busy = False
                self._turn.release()
                if self._asked and not self.stop.is_set():  # meanwhile
                    start(self._run, self._name)


_backgrounds: WeakList[Background] = WeakList()
#: Called as the last functions of ``atexit``, with the time until which they may wait.
at_end: list[Callable[[float], object]] = []


def _end_all() -> None:
    deadline = time.monotonic() + END_S
    for background in _backgrounds.living():
        background.stop.set()
    for prevent in (*at_end, *(background.prevent for background in _backgrounds.living())):
        prevent(deadline)


# functions that are registered later, as those that end sessions, are called before
atexit.register(_end_all)


class Wakeup:
    """Wakes sleeping threads. A signal handler may do so, and an interrupt on any line leaves nothing locked."""

    def __init__(self) -> None:
        self._wakeups: SimpleQueue[None] = SimpleQueue()

    def wake(self) -> None:
        """Wake a thread that sleeps, else the next one that waits."""
        if self._wakeups.empty():
            self._wakeups.put(None)

    def clear(self) -> None:
        """Drop wake-ups that no thread has taken."""
        with suppress(Empty):
            while True:
                self._wakeups.get_nowait()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until woken, at most so many seconds. Return whether it was woken; this takes all wake-ups so far."""
        try:
            self._wakeups.get(timeout=timeout_s)
        except Empty:
            return False
        self.clear()
        return True
