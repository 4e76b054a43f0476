"""The background thread of a process: it sends the heartbeats and buffered data of every open session, and fetches requests.

It runs twice a second, so that the user's threads wait for neither disk nor server. Data that it cannot send is kept
and sent later; a warning says so once, and again if the trouble comes back after a success.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Protocol

from tablevault_pd import progress
from tablevault_pd.capture.stacks import innermost_frames
from tablevault_pd.errors import (
    NotRecorded,
    SessionContinued,
    SessionNotFound,
    VaultClosed,
    VaultError,
    VaultNotFound,
)
from tablevault_pd.progress import say
from tablevault_pd.store.engine.threads import Wakeup, at_end, start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from tablevault_pd.capture.exits import ExitStatus
    from tablevault_pd.store import Beat, BeatResponse, ControlRequest, Session, Store
    from tablevault_pd.store.engine.threads import Flag

WATCH_S = 0.5  # how often it writes buffers; kill -9 loses no more than that
FIRST_S = 0.01  # how long it waits for what a session begins with: one that ends at once is told in one beat
QUIET_AFTER_S = 120.0  # without anything to send and without requests
QUIET_WATCH_S = 5.0  # how often it fetches requests after that
RETRY_S = 1.0  # pause after a failure; doubled after each further one
LONGEST_RETRY_S = 4.0  # a request is seen within five seconds once the store answers again
FLUSH_S = 2.0  # how long a call that reads sessions waits for unwritten data of this process
EXIT_S = 5.0  # how long the end of the interpreter waits until buffers are written
FINAL = (VaultNotFound, VaultClosed)  # errors after which no retry helps


class Recording(Protocol):
    """What the background thread needs of a session."""

    store: Store
    row: Session
    flushed: Flag  #: its end is written, or never will be
    attempted: Wakeup  #: a beat was sent, successfully or not
    failures: int  #: how many beats could not be sent, and not because the store was busy

    @property
    def is_done(self) -> bool:
        """Whether all of it is written, what comes after its end included, or never will be."""

    @property
    def awaits_environment(self) -> bool:
        """Whether nothing is to be sent before its environment is read: it has ended."""

    def next_beat(self) -> Beat:
        """Return all unsent data; the same beat again until it was sent."""

    def on_sent(self, now: datetime, requests: Sequence[ControlRequest]) -> bool:
        """Take the store's answer to the last beat. Return whether there is more to send at once."""

    def on_failed(self, error: Exception) -> None:
        """Keep the last beat, which the store did not take."""

    def stop_recording(self, error: Exception) -> str:
        """Keep nothing any more. Return a text that says what is lost."""

    def abandon(self) -> None:
        """Discard unsent data, and let those who wait go on."""

    def update_flag(self) -> None:
        """Set whether checkpoint() has a request to obey."""

    def waits_for(self, *, info: bool = False) -> int:
        """Return the number of the beat after which all present data is sent; 0 if it is."""

    def wait_for_environment(self, timeout_s: float) -> bool:
        """Wait until the environment is read, and can be sent. Return whether it is."""

    def has_sent(self, number: int) -> bool:
        """Return whether that beat was sent, or never will be."""

    def end(self, ending: ExitStatus | None = None, *, timeout_s: float | None = None) -> None:
        """End the session."""

    def reset_after_fork(self) -> None:
        """Reset in a forked child: the session belongs to the parent process."""


class HeartbeatThread:
    """The background thread, running while there is a session to beat for."""

    def __init__(self) -> None:
        self._sessions: list[Recording] = []
        # RLocks are implemented in C, so that an interrupt leaves none of them held; a signal handler may take them again.
        self._lock = threading.RLock()  # guards _sessions and _thread
        self._rounds = threading.RLock()  # held during a round
        self._wakeup = Wakeup()
        self._hurried = False  # by wake(): somebody waits for the next round
        self._thread: threading.Thread | None = None
        self._refused = False  # no thread could be started, as while Python ends
        self._troubled: weakref.WeakSet[Store] = weakref.WeakSet()  # stores whose failure was warned about
        self._retry_s: weakref.WeakKeyDictionary[Store, float] = weakref.WeakKeyDictionary()
        self._retry_at: weakref.WeakKeyDictionary[Store, float] = weakref.WeakKeyDictionary()
        self._looked_at: weakref.WeakKeyDictionary[Store, float] = weakref.WeakKeyDictionary()
        self._active_at: weakref.WeakKeyDictionary[Store, float] = weakref.WeakKeyDictionary()

    def add(self, session: Recording) -> None:
        """Send for a session from now on; adding it again does nothing."""
        with self._lock:
            if session not in self._sessions:
                self._sessions.append(session)
        self._start()
        self._wakeup.wake()  # its code is stored soon, should the process be killed

    def wake(self) -> None:
        """Start a round at once. Where no thread can start, as while Python ends, wait_for() sends itself."""
        self._start()
        self._hurried = True
        self._wakeup.wake()

    def _start(self) -> None:
        if self._thread is None and self._sessions:
            start(self._work, "heartbeat", self._refuse)

    def _refuse(self, error: RuntimeError) -> None:
        self._refused = True

    def _sends_here(self) -> bool:
        """Return whether no other thread than this one sends. Where one does, no interrupt loses what a beat has taken."""
        return threading.current_thread() is self._thread or (self._thread is None and self._refused)

    def flush(self, store: Store, *, info: bool = False) -> None:
        """Wait until the vault of `store` has all present data of the sessions of this process; free if it has.

        After `FLUSH_S` seconds a warning says which data may be missing, and the caller goes on.
        """
        if threading.current_thread() is self._thread:
            return
        sessions = [session for session in list(self._sessions) if session.store.vault_id == store.vault_id]
        deadline = time.monotonic() + FLUSH_S
        unread = [
            session
            for session in sessions
            if info and not session.wait_for_environment(max(deadline - time.monotonic(), 0.0))
        ]
        waiting = {session: number for session in sessions if (number := session.waits_for(info=info))}
        for session in waiting:
            self._retry_at.pop(session.store, None)  # what failed is tried again at once
        for tries in count():
            if not waiting or time.monotonic() >= deadline:
                break
            if self._sends_here():
                self._round()
            elif tries % 10 == 0:
                self.wake()  # again, for what was logged while a beat was under way
            time.sleep(0.001)
            waiting = {session: number for session, number in waiting.items() if not session.has_sent(number)}
        if waiting or unread:
            labels = ", ".join(dict.fromkeys(session.row.label for session in (*waiting, *unread)))
            progress.warn(
                f"The store did not take within {FLUSH_S:g} s what {labels} told it last; the answer may lack it.",
                RuntimeWarning,
            )

    def wait_for(self, session: Recording, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `done`, at most `timeout_s` seconds, and not after an attempt that failed while the store was not busy."""
        deadline, failures = time.monotonic() + timeout_s, session.failures
        self._retry_at.pop(session.store, None)  # the next attempt is made at once
        while not done():
            session.attempted.clear()
            if done():  # in between
                return True
            if self._sends_here():
                self._round()
            else:
                self.wake()
                # Not longer than WATCH_S: another waiter may take the wake-up.
                session.attempted.wait(min(max(deadline - time.monotonic(), 0.0), WATCH_S))
            if not done() and (session.failures > failures or time.monotonic() >= deadline):
                return False
        return True

    def settle(self, timeout_s: float, store: Store | None = None) -> None:
        """Wait until what comes after the end of sessions is written, to `store` or to any, at most `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        ended = [session for session in self._of(store) if session.flushed.is_set()]
        for session in ended:
            session.wait_for_environment(max(deadline - time.monotonic(), 0.0))
        for session in ended:
            self.wait_for(session, partial(_is_sent, session), max(deadline - time.monotonic(), 0.0))

    def abandon(self, timeout_s: float, store: Store | None = None) -> None:
        """Settle, then drop all data that `store`, or any, has not taken, and warn of what is lost: the vault or the process ends."""
        try:
            self.settle(timeout_s, store)
        finally:  # also after an interrupt: what is lost is told
            self._give_up(
                self._of(store), VaultClosed("It was closed before everything was written."), NotRecorded
            )

    def _of(self, store: Store | None) -> list[Recording]:
        return [session for session in list(self._sessions) if store is None or session.store is store]

    def prevent_rounds(self, deadline: float) -> None:
        """Let the thread begin no round from now on, and wait for one under way until `deadline`: the interpreter ends."""
        # For good; this thread may still make one.
        self._rounds.acquire(timeout=max(deadline - time.monotonic(), 0.0))
        self._refused = True

    def _work(self) -> None:
        with self._lock:
            if self._thread is not None:
                return  # another thread was faster
            self._thread, self._refused = threading.current_thread(), False
        while True:
            woken = self._wakeup.wait(WATCH_S)
            if woken and not self._hurried:  # a session has begun
                self._wakeup.wait(FIRST_S)
            self._hurried = False
            if _abandoned():
                for session in reversed(list(self._sessions)):
                    session.end(timeout_s=EXIT_S)
                self.abandon(EXIT_S)
            self._round(woken=woken)
            with self._lock:
                if not self._sessions:
                    self._thread = None
                    return

    def _round(self, *, woken: bool = True) -> None:
        with self._rounds:
            by_store: dict[int, list[Recording]] = {}
            for session in list(self._sessions):
                if not session.awaits_environment:
                    by_store.setdefault(id(session.store), []).append(session)
            for sessions in by_store.values():
                may_beat = time.monotonic() >= self._retry_at.get(sessions[0].store, 0.0)
                if may_beat and self._is_due(sessions, woken=woken):
                    self._beat(sessions)

    def _is_due(self, sessions: Sequence[Recording], *, woken: bool) -> bool:
        """Whether there is something to tell, or requests are to be looked for again."""
        store, now = sessions[0].store, time.monotonic()
        if woken or any(session.waits_for(info=True) for session in sessions):
            self._active_at[store] = now
            return True
        is_quiet = now - self._active_at.setdefault(store, now) >= QUIET_AFTER_S
        wait_s = max(store.watch_s, QUIET_WATCH_S) if is_quiet else store.watch_s
        return now - self._looked_at.get(store, float("-inf")) >= wait_s

    def _beat(self, sessions: Sequence[Recording]) -> None:
        store = sessions[0].store
        self._looked_at[store] = time.monotonic()
        try:
            response = store.beat([session.next_beat() for session in sessions])
        except Exception as error:  # noqa: BLE001  # the user's code goes on
            self._on_failed(sessions, error)
        else:
            self._on_sent(sessions, response)

    def _on_sent(self, sessions: Sequence[Recording], response: BeatResponse) -> None:
        store = sessions[0].store
        self._troubled.discard(store)
        if response.requests:
            self._active_at[store] = time.monotonic()
        self._retry_s.pop(store, None)
        self._retry_at.pop(store, None)
        again = False
        for session in sessions:
            own_requests = [request for request in response.requests if request.session_id == session.row.id]
            again |= session.on_sent(response.time, own_requests)
        for session in sessions:
            session.update_flag()
        self._forget([session for session in sessions if session.is_done])
        if again:
            self.wake()

    def _on_failed(self, sessions: Sequence[Recording], error: Exception) -> None:
        if isinstance(error, FINAL):
            store = sessions[0].store
            self._give_up([session for session in self._sessions if session.store is store], error)
        elif isinstance(error, (SessionNotFound, SessionContinued)) or not isinstance(
            error, (VaultError, OSError, MemoryError)
        ):
            self._isolate(sessions, error)
        else:
            self._try_later(sessions, error)

    def _isolate(self, sessions: Sequence[Recording], error: Exception) -> None:
        """Send for each session by itself, and leave out the part of a beat that the store refuses."""
        if len(sessions) > 1:
            for session in sessions:
                self._beat([session])
        elif isinstance(error, (SessionNotFound, SessionContinued)):
            self._give_up(sessions, error, NotRecorded)
        elif (response := self._piecewise(sessions[0])) is not None:
            self._on_sent(sessions, response)
        else:
            self._try_later(sessions, error)

    def _piecewise(self, session: Recording) -> BeatResponse | None:
        """Send the parts of a beat one by one, and warn of those that the store refuses; None if it takes none."""
        response = None
        refused: dict[str, Exception] = {}
        try:
            for what, piece in session.next_beat().pieces():
                try:
                    response = session.store.beat([piece])
                except (ValueError, TypeError, LookupError, ArithmeticError) as error:
                    refused[what] = error
        except Exception:  # noqa: BLE001  # the store fails otherwise, or the beat cannot be made
            return None
        if response is not None:
            for what, why in refused.items():
                warn(f"{what} of {session.row.label} cannot be recorded and was left out: {why}", NotRecorded)
        return response

    def _give_up(
        self, sessions: Sequence[Recording], error: Exception, category: type[RuntimeWarning] = RuntimeWarning
    ) -> None:
        unfinished = [session for session in sessions if not session.is_done]
        lost = [session.stop_recording(error) for session in unfinished]
        try:
            if lost:
                warn(f"tablevault_pd cannot record any more. {error} Lost: {', '.join(lost)}.", category)
        finally:  # who waits for these sessions goes on once that is told
            for session in unfinished:
                session.abandon()
            self._forget(sessions)

    def _try_later(self, sessions: Sequence[Recording], error: Exception) -> None:
        store = sessions[0].store
        unfinished = [session for session in sessions if not session.is_done]
        if store not in self._troubled and unfinished:
            self._troubled.add(store)
            warn(f"tablevault_pd cannot record this session now, and goes on trying: {error}")
        self._retry_s[store] = min(self._retry_s.get(store, RETRY_S / 2) * 2, LONGEST_RETRY_S)
        self._retry_at[store] = time.monotonic() + self._retry_s[store]
        for session in sessions:
            session.on_failed(error)

    def _forget(self, sessions: Sequence[Recording]) -> None:
        with self._lock:
            self._sessions = [session for session in self._sessions if session not in sessions]

    def in_child(self) -> list[Recording]:
        """Reset without a thread, in a forked child. Return the sessions of the parent process."""
        sessions = self._sessions
        self.__init__()  # type: ignore[misc]  # a thread of the parent may hold any lock
        return sessions


def _abandoned() -> bool:
    """Return whether only this thread is left in the process: a thread forked it, and has ended.

    Python does not shut down such a process while a thread lives, even a daemon thread.
    """
    main = threading.main_thread()
    forked_by_a_thread = type(main).__name__ != "_MainThread"
    return forked_by_a_thread and not main.is_alive() and set(innermost_frames()) == {threading.get_ident()}


def _is_sent(session: Recording) -> bool:
    """Return whether nothing of a session that has ended is left to be sent now."""
    return session.is_done or session.awaits_environment


def warn(text: str, category: type[RuntimeWarning] = RuntimeWarning) -> None:
    """Warn of what is not recorded. Never raises, whatever the warning filters are."""
    try:
        progress.warn(text, category)
    except (RuntimeWarning, OSError, ValueError):  # a filter made it an error, or sys.stderr is closed
        say(text)


HEARTBEAT = HeartbeatThread()
atexit.register(partial(HEARTBEAT.abandon, EXIT_S))  # for sessions that had ended before the process does
at_end.append(HEARTBEAT.prevent_rounds)


def _in_child() -> None:
    for session in HEARTBEAT.in_child():
        session.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
