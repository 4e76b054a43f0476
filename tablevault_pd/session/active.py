"""The sessions that are open in this process, and which of them is current.

The innermost ``with`` of a context (:mod:`contextvars`) is current; threads and asyncio tasks have contexts of their own.
Where a context has entered no session, the session that ``connect()`` opened is current.

A generator has no context of its own. While it is suspended, and its caller goes on, its ``with`` does not count. Where the
caller has returned, as ``contextlib.contextmanager`` and fixtures of pytest do, it counts.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tablevault_pd.capture import marimo
from tablevault_pd.capture.exits import ExitStatus, ExitWatcher, in_pool_worker
from tablevault_pd.capture.marimo import MarimoHooks
from tablevault_pd.capture.notebook import CellOutcome, NotebookHooks, QuietStop, Typed, typed_before
from tablevault_pd.errors import SessionStopped, WorkerStopped
from tablevault_pd.session import inheritance
from tablevault_pd.session.executed import CELLS, Ran, files_run_by
from tablevault_pd.session.heartbeat import EXIT_S, HEARTBEAT, Recording, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from tablevault_pd.session.cells import Cells
    from tablevault_pd.session.settings import Settings
    from tablevault_pd.store import Store

_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class ActiveSession(Recording, Protocol):
    """What this module needs of the sessions of this process."""

    settings: Settings

    @property
    def around(self) -> ActiveSession | None:
        """The session that this one is inside of."""

    @property
    def is_orphan(self) -> bool:
        """Whether it was begun by the parent of this forked process, and not yet replaced by a session of this one."""

    @property
    def ended(self) -> bool:
        """Whether it has ended."""

    @property
    def stopped(self) -> SessionStopped | None:
        """The stop that it obeyed, if any."""

    def chain(self) -> Sequence[ActiveSession]:
        """Return this session and those around it."""

    def raise_if_stopped(self) -> None:
        """Raise WorkerStopped in a stopped worker."""

    @property
    def vault_id(self) -> str:
        """The id of the vault it belongs to."""

    @property
    def cells(self) -> Cells:
        """The pieces of code that it runs."""

    def go_on_after_stop(self) -> None:
        """Let the session be stopped again."""

    def hand_over(self) -> None:
        """Send buffered data before a pool gets the result of a task."""


# -- the current session


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """One ``with``: its session, and the frames of the generator that entered it, if any, and of its caller."""

    session: ActiveSession
    generator: FrameType | None = None
    caller: FrameType | None = None

    def counts(self) -> bool:
        """Return whether the code that runs now is inside of it."""
        if self.session.ended:
            return False
        if self.generator is None:
            return True
        frames = set(_stack(sys._getframe(1)))
        return self.generator in frames or self.caller not in frames


_entered: ContextVar[tuple[_Entry, ...]] = ContextVar("tablevault_sessions", default=())
_of_main: list[ActiveSession] = []  # entered by the main thread, whatever the task


def enter(session: ActiveSession, frame: FrameType | None) -> None:
    """Make `session` current. `frame` has its ``with``."""
    _entered.set((*_entered.get(), _entry(session, frame)))
    if threading.current_thread() is threading.main_thread():
        _of_main.append(session)
    announce()


def leave(session: ActiveSession) -> None:
    """Make `session` current no longer, in whatever order sessions are left."""
    _entered.set(tuple(entry for entry in _entered.get() if entry.session is not session))
    _of_main[:] = [other for other in _of_main if other is not session]
    announce()


def call_inside(session: ActiveSession, function: Callable[[], None]) -> None:
    """Call `function` with `session` current. The context of the caller stays as it is, whatever happens inside."""

    def inside() -> None:
        _entered.set((*_entered.get(), _Entry(session)))
        function()

    copy_context().run(inside)


def innermost(store: Store | None = None) -> ActiveSession | None:
    """Return the innermost session entered in this context, of any vault or of that of `store`."""
    for entry in reversed(_entered.get()):
        if (store is None or entry.session.store is store) and entry.counts():
            return entry.session
    return None


def _of_the_process() -> ActiveSession | None:
    """Return the parent session for processes that the main thread starts.

    Where tasks have entered sessions side by side, return the innermost session around all of these.
    """
    entered = [session for session in _of_main if not session.ended]
    for session in entered[-1].chain() if entered else ():
        around = session.chain()
        if all(other in around or session in other.chain() for other in entered):
            return session
    return None


def _entry(session: ActiveSession, frame: FrameType | None) -> _Entry:
    if frame is None or not frame.f_code.co_flags & _GENERATOR:
        return _Entry(session)
    caller = next((other for other in _stack(frame) if not other.f_code.co_flags & _GENERATOR), None)
    return _Entry(session, frame, caller)


def _stack(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


# -- open sessions: their code, and the end of the process

_open: list[ActiveSession] = []
_stopped: dict[str, ActiveSession] = {}  # in a worker of a pool: its stopped session, by vault
#: The cells that run now, with their numbers by session. %run nests cells.
_running_cells: list[tuple[Ran, dict[ActiveSession, int]]] = []


def opened(session: ActiveSession) -> None:
    """Register a session that began: watch for the end of the process, and announce it to child processes."""
    _forget_written()
    if session not in _open:  # a forked child registers one again
        _open.append(session)
    WATCH.install(signals=not inheritance.is_worker())
    _quiet_stop.install()
    if session.settings.capture != "none":
        for ran, numbers in _running_cells:  # a session that was opened inside of a cell runs that cell
            numbers[session] = _begin_cell(ran, session)
        if not any(hooks.installed for hooks in _hooks):
            _note_earlier_cells()
        for hooks in _hooks:
            hooks.install()
    if inheritance.is_worker():
        watch_worker()
    announce()


def closed(session: ActiveSession) -> None:
    """Remove a session that ended; after the last one, stop watching the process."""
    if session in _open:
        _open.remove(session)
    _forget_written()
    if session.around is None and isinstance(session.stopped, WorkerStopped):
        _stopped[session.store.vault_id] = session
    if not _open:
        WATCH.remove()
        _quiet_stop.remove()
    if not any(other.settings.capture != "none" for other in _open):
        for hooks in _hooks:
            hooks.remove()
        _running_cells.clear()
    announce()
    if not _open and in_pool_worker():  # of which the result is not watched any more
        HEARTBEAT.settle(EXIT_S)


def _forget_written() -> None:
    """Remove sessions whose end was not waited for, as after an interrupt, and is written now."""
    for session in list(_open):
        if session.ended and session.flushed.is_set():
            with suppress(ValueError):  # another thread was faster
                _open.remove(session)


def raise_if_stopped(store: Store) -> None:
    """Raise WorkerStopped in a worker whose session was stopped: it begins no other session."""
    session = _stopped.get(store.vault_id)
    if session is not None:
        session.raise_if_stopped()


def forked() -> None:
    """Reset in a forked child: what was announced is its parent."""
    _announced.clear()
    _before.clear()
    _running_cells.clear()
    _stopped.clear()


def watch_worker() -> None:
    """Watch how a worker of multiprocessing ends, and when a worker of a pool has done a task."""
    WATCH.watch_worker(_hand_over)


def _hand_over() -> None:
    for session in _open:
        session.hand_over()
    HEARTBEAT.settle(EXIT_S)  # sessions that ended in the task


def _end_all(ending: ExitStatus) -> None:
    deadline = time.monotonic() + EXIT_S  # for all of them together
    interrupt: KeyboardInterrupt | None = None
    for session in reversed(list(_open)):  # the inner ones first
        try:
            session.end(ending, timeout_s=max(deadline - time.monotonic(), 0.1))
        except KeyboardInterrupt as error:  # a second Ctrl-C: all end, but are not waited for any more
            interrupt, deadline = error, time.monotonic()
            session.end(ending, timeout_s=0.1)
    HEARTBEAT.abandon(max(deadline - time.monotonic(), 0.1))
    if interrupt is not None:
        raise interrupt


def _note_earlier_cells() -> None:
    """Note cells that ran while no session was open: later cells use what they defined."""
    noted_counts = {ran.typed.execution_count for ran in CELLS}
    CELLS.extend(Ran(typed) for typed in typed_before() if typed.execution_count not in noted_counts)
    noted_ids = {ran.typed.id for ran in CELLS}
    CELLS.extend(Ran(typed) for typed in marimo.typed_before() if typed.id not in noted_ids)


def _begin_cell(ran: Ran, session: ActiveSession) -> int:
    number = session.cells.begin(ran.typed.text, ran.typed.execution_count, notebook=ran.typed.id)
    ran.numbers[session.vault_id, session.row.id] = number
    return number


def _cell_started(typed: Typed) -> None:
    recording = [
        session
        for session in _open
        if session.settings.capture != "none" and not (session.is_orphan or session.ended)
    ]
    for session in recording:
        if not _running_cells:
            session.go_on_after_stop()
    ran = Ran(typed, files=files_run_by(typed.text))
    CELLS.append(ran)
    _running_cells.append((ran, {session: _begin_cell(ran, session) for session in recording}))


def _cell_ended(how: CellOutcome) -> None:
    if not _running_cells:
        return
    ran, numbers = _running_cells.pop()
    ran.until = how.until
    for session, key in numbers.items():
        session.cells.end(key, how.outcome, how.error, how.traceback, until=how.until)


# -- the parent of processes that are started from now on

_announced: list[int] = []  # id of the announced session of this process, if any
_before: list[inheritance.Parent] = []  # the parent that was announced to this process, if any


def parent() -> inheritance.Parent | None:
    """Return the session that this process was started from."""
    if _announced:
        return _before[0] if _before else None
    return inheritance.inherited()


def announce() -> None:
    """Make the innermost session of the main thread the parent of processes started from now on."""
    quiet = [
        session for session in _open if session.around is None and not (session.is_orphan or session.ended)
    ]
    session = _of_the_process() or (quiet[-1] if quiet else None)
    if session is None or not session.row.id:
        inherited = inheritance.inherited()
        if inherited is not None and _announced and inherited.session == _announced[-1]:
            inheritance.announce(_before[0] if _before else None)
            _announced.clear()
        return
    if not _announced:
        inherited = inheritance.inherited()
        _before[:] = [] if inherited is None else [inherited]
    _announced[:] = [session.row.id]
    row = session.row
    inheritance.announce(
        inheritance.Parent(
            session.store.vault_id, session.store.place, row.id, row.name, session.settings.user or ""
        )
    )


WATCH = ExitWatcher(_end_all)
_hooks = tuple(
    kind(_cell_started, _cell_ended, lambda error: warn(f"tablevault_pd cannot record this cell: {error}"))
    for kind in (NotebookHooks, MarimoHooks)
)
_quiet_stop = QuietStop()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WATCH.forked)
