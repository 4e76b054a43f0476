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
from typing import TYPE_CHECKING, Protocol

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
    from datetime import datetime

    from tablevault_pd.capture.exits import Ending
    from tablevault_pd.store import Beat, BeatResponse, ControlRequest, Session, Store
    from tablevault_pd.store.engine.threads import Flag

WATCH_S = 0.5  # how often requests are looked for, and buffers written; what kill -9 loses at most
RETRY_S = 1.0  # after a failure; twice as long after each further one
LONGEST_RETRY_S = 4.0  # a request is seen within five seconds once the store answers again
FLUSH_S = 2.0  # how long a call that reads sessions waits for what this process has not written yet
EXIT_S = 5.0  # how long the end of the interpreter waits for what is buffered
FINAL = (VaultNotFound, VaultClosed)  # trying again is no use


class Recording(Protocol):
    """What the background thread asks of a session."""

    store: Store
    row: Session
    flushed: Flag  #: its end is written, or never will be
    attempted: Bell  #: a beat was sent, successfully or not
    failing: bool  #: the last beat could not be sent, and not because the store was busy

    def next_beat(self) -> Beat:
        """Return all there is to send; the same again until it was sent."""

    def on_sent(self, now: datetime, requests: Sequence[ControlRequest]) -> bool:
        """The store took the last beat. Return whether there is more to send at once."""

    def on_failed(self, error: Exception) -> None:
        """The store did not take the last beat."""

    def abandon(self, error: Exception) -> str:
        """Record nothing any more. Return what is lost by that."""

    def update_flag(self) -> None:
        """Tell checkpoint() whether there is something to obey."""

    def waits_for(self, *, info: bool = False) -> int:
        """Return the number of the beat that will have sent what there is to send now; 0 if all was sent."""

    def has_sent(self, number: int) -> bool:
        """Return whether the beat of that number was sent, or never will be."""

    def end(
        self, ending: Ending | None = None, *, timeout_s: float | None = None, quietly: bool = False
    ) -> None:
        """End the session."""

    def reset_after_fork(self) -> None:
        """This process was forked from the one whose session it is."""


class HeartbeatThread:
    """The background thread, running while there is a session to beat for."""

    def __init__(self) -> None:
        self._sessions: list[Recording] = []
        # Locks of C: an interrupt leaves none of them held. A signal handler may come in between.
        self._lock = threading.RLock()  # over _runs and _thread
        self._rounds = threading.RLock()  # one round at a time
        self._bell = Bell()
        self._thread: threading.Thread | None = None
        self._troubled: weakref.WeakSet[Store] = weakref.WeakSet()  # whose trouble was told
        self._retry_s: weakref.WeakKeyDictionary[Store, float] = weakref.WeakKeyDictionary()
        self._retry_at: weakref.WeakKeyDictionary[Store, float] = weakref.WeakKeyDictionary()

    def add(self, session: Recording) -> None:
        """Beat for a session from now on; adding it again does nothing."""
        with self._lock:
            if session not in self._sessions:
                self._sessions.append(session)
        self.wake()

    def wake(self) -> None:
        """Have the thread look at once. Without one, as while Python ends, wait_for() writes by itself."""
        if self._thread is None and self._sessions:
            start(self._work, "heartbeat")
        self._bell.ring()

    def flush(self, store: Store, *, info: bool = False) -> None:
        """Wait until the vault of `store` has all that the sessions of this process have to tell now; free if it has.

        A slow store keeps nobody from reading: after `FLUSH_S` seconds a warning says what may be missing.
        """
        if threading.current_thread() is self._thread:
            return
        sessions = [session for session in list(self._sessions) if session.store.vault_id == store.vault_id]
        waiting = {session: number for session in sessions if (number := session.waits_for(info=info))}
        deadline = time.monotonic() + FLUSH_S
        for tries in count():
            if not waiting or time.monotonic() >= deadline:
                break
            if self._thread is None:
                self._round()
            elif tries % 10 == 0:
                self._bell.ring()  # again, for what was logged while a beat was under way
            time.sleep(0.001)
            waiting = {session: number for session, number in waiting.items() if not session.has_sent(number)}
        if waiting:
            labels = ", ".join(session.row.label for session in waiting)
            progress.warn(
                f"The store did not take within {FLUSH_S:g} s what {labels} told it last; the answer may lack it.",
                RuntimeWarning,
            )

    def wait_for(self, session: Recording, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `done`; at most `timeout_s` seconds, and not beyond an attempt that failed for want of more than time."""
        deadline = time.monotonic() + timeout_s
        self._retry_at.pop(session.store, None)  # do not sit out a pause between two attempts
        while not done():
            session.attempted.clear()
            if done():  # in between
                return True
            if self._thread is None or threading.current_thread() is self._thread:
                self._round()  # Python starts no thread any more
            else:
                self.wake()
                session.attempted.wait(
                    min(max(deadline - time.monotonic(), 0.0), WATCH_S)
                )  # another waiter may clear it
            if not done() and (session.failing or time.monotonic() >= deadline):
                return False
        return True

    def abandon(self, store: Store | None = None) -> None:
        """Give up what `store`, or any, did not take until now, and say what is lost: the vault or the process ends."""
        sessions = [session for session in self._sessions if store is None or session.store is store]
        self._give_up(sessions, VaultClosed("It was closed before everything was written."), NotRecorded)

    def _work(self) -> None:
        with self._lock:
            if self._thread is not None:
                return  # another one was faster
            self._thread = threading.current_thread()
        while True:
            self._bell.wait(WATCH_S)
            if _abandoned():
                for session in reversed(list(self._sessions)):
                    session.end(timeout_s=EXIT_S, quietly=True)
                self.abandon()
            self._round()
            with self._lock:
                if not self._sessions:
                    self._thread = None
                    return

    def _round(self) -> None:
        with self._rounds:
            by_store: dict[int, list[Recording]] = {}
            for session in list(self._sessions):
                by_store.setdefault(id(session.store), []).append(session)
            for sessions in by_store.values():
                if time.monotonic() >= self._retry_at.get(sessions[0].store, 0.0):
                    self._beat(sessions)

    def _beat(self, sessions: Sequence[Recording]) -> None:
        store = sessions[0].store
        try:
            response = store.beat([session.next_beat() for session in sessions])
        except Exception as error:  # noqa: BLE001  # whatever it is, the user's code goes on
            self._failed(sessions, error)
        else:
            self._delivered(sessions, response)

    def _delivered(self, sessions: Sequence[Recording], response: BeatResponse) -> None:
        store = sessions[0].store
        self._troubled.discard(store)
        self._retry_s.pop(store, None)
        self._retry_at.pop(store, None)
        again = False
        for session in sessions:
            mine = [request for request in response.requests if request.session_id == session.row.id]
            again |= session.on_sent(response.time, mine)
        for session in sessions:
            session.update_flag()
        self._forget([session for session in sessions if session.flushed.is_set()])
        if again:
            self._bell.ring()

    def _failed(self, sessions: Sequence[Recording], error: Exception) -> None:
        if isinstance(error, FINAL):
            store = sessions[0].store
            self._give_up([session for session in self._sessions if session.store is store], error)
        elif isinstance(error, SessionNotFound) or not isinstance(error, (VaultError, OSError, MemoryError)):
            self._isolate(sessions, error)
        else:
            self._try_later(sessions, error)

    def _isolate(self, sessions: Sequence[Recording], error: Exception) -> None:
        """What one session tells is the trouble: the others beat by themselves, and of that one the rest is recorded."""
        if len(sessions) > 1:
            for session in sessions:
                self._beat([session])
        elif isinstance(error, SessionNotFound):
            self._give_up(sessions, error)
        elif (response := self._piecewise(sessions[0])) is not None:
            self._delivered(sessions, response)
        else:
            self._try_later(sessions, error)

    def _piecewise(self, session: Recording) -> BeatResponse | None:
        """Beat in pieces, without those that the store does not take; None if it takes none."""
        response = None
        refused: dict[str, Exception] = {}
        try:
            for what, piece in session.next_beat().pieces():
                try:
                    response = session.store.beat([piece])
                except (ValueError, TypeError, LookupError, ArithmeticError) as error:
                    refused[what] = error
        except Exception:  # noqa: BLE001  # the store has other troubles, or the beat cannot be made
            return None
        if response is not None:
            for what, why in refused.items():
                warn(f"{what} of {session.row.label} cannot be recorded and was left out: {why}", NotRecorded)
        return response

    def _give_up(
        self, sessions: Sequence[Recording], error: Exception, category: type[RuntimeWarning] = RuntimeWarning
    ) -> None:
        lost = [session.abandon(error) for session in sessions if not session.flushed.is_set()]
        if lost:
            warn(f"tablevault_pd cannot record any more. {error} Lost: {', '.join(lost)}.", category)
        self._forget(sessions)

    def _try_later(self, sessions: Sequence[Recording], error: Exception) -> None:
        store = sessions[0].store
        if store not in self._troubled and not all(
            session.flushed.is_set() for session in sessions
        ):  # some were given up meanwhile
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
        """Begin anew, without a thread; the sessions that were the parent's come back."""
        sessions = self._sessions
        self.__init__()  # type: ignore[misc]  # every lock may have been held by a thread that is no more
        return sessions


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


HEARTBEAT = HeartbeatThread()


def _in_child() -> None:
    for session in HEARTBEAT.in_child():
        session.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
