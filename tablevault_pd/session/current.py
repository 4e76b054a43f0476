"""Which session is current: the innermost ``with`` of this context.

A context (:mod:`contextvars`) belongs to a thread or to an asyncio task. One that entered no session has none here; what
``connect()`` opened is current there.

A generator has no context of its own. While it is suspended, and whoever drives it goes on, its ``with`` does not count.
Where the driver has returned, as ``contextlib.contextmanager`` and fixtures of pytest do, it counts.
"""

from __future__ import annotations

import inspect
import sys
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from tablevault_pd.session.run import Run
    from tablevault_pd.store import Store

_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """One ``with``: its session, and if a generator entered it, that generator's frame and its driver's."""

    run: Run
    generator: FrameType | None = None
    driver: FrameType | None = None

    def counts(self) -> bool:
        """Whether the code that runs now is inside of it."""
        if self.run.ended:
            return False
        if self.generator is None:
            return True
        frames = set(_stack(sys._getframe(1)))
        return self.generator in frames or self.driver not in frames


_entered: ContextVar[tuple[_Entry, ...]] = ContextVar("tablevault_sessions", default=())
_of_main: list[Run] = []  # entered by the main thread, whatever the task


def enter(run: Run) -> None:
    """Make `run` current. Called by its ``__enter__``."""
    _entered.set((*_entered.get(), _entry(run, sys._getframe(2))))
    if threading.current_thread() is threading.main_thread():
        _of_main.append(run)
    _announce()


def leave(run: Run) -> None:
    """`run` is current no longer, in whatever order sessions are left."""
    _entered.set(tuple(each for each in _entered.get() if each.run is not run))
    _of_main[:] = [each for each in _of_main if each is not run]
    _announce()


def innermost(store: Store | None = None) -> Run | None:
    """The innermost session entered in this context, of any vault or of that of `store`."""
    for entry in reversed(_entered.get()):
        if (store is None or entry.run.store is store) and entry.counts():
            return entry.run
    return None


def of_the_process() -> Run | None:
    """The session that a process started by the main thread belongs to.

    Where tasks have entered sessions side by side it is the innermost one that all of these are inside of.
    """
    entered = [run for run in _of_main if not run.ended]
    for run in entered[-1].chain() if entered else ():
        around = run.chain()
        if all(other in around or run in other.chain() for other in entered):
            return run
    return None


def _entry(run: Run, frame: FrameType | None) -> _Entry:
    if frame is None or not frame.f_code.co_flags & _GENERATOR:
        return _Entry(run)
    driver = next((each for each in _stack(frame) if not each.f_code.co_flags & _GENERATOR), None)
    return _Entry(run, frame, driver)


def _stack(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _announce() -> None:
    from tablevault_pd.session.process import announce

    announce()
