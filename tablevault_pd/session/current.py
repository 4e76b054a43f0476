"""Which session is meant where none is named: the innermost ``with`` of this thread or task.

A thread that entered none, such as a worker of a thread pool, is inside of what the main thread entered.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tablevault_pd.session.run import Run
    from tablevault_pd.store import Store

_entered: ContextVar[tuple[Run, ...]] = ContextVar("tablevault_sessions", default=())
_of_main: list[Run] = []


def enter(run: Run) -> None:
    """`run` is meant from now on."""
    _entered.set((*_entered.get(), run))
    if threading.current_thread() is threading.main_thread():
        _of_main.append(run)
    _announce()


def leave(run: Run) -> None:
    """`run` is meant no longer."""
    _entered.set(tuple(each for each in _entered.get() if each is not run))
    _of_main[:] = [each for each in _of_main if each is not run]
    _announce()


def innermost(store: Store | None = None) -> Run | None:
    """The innermost session entered here, of any vault or of that of `store`."""
    for run in reversed(_entered.get() or _of_main):
        if not run.ended and (store is None or run.store is store):
            return run
    return None


def of_the_process() -> Run | None:
    """The innermost session that the main thread entered."""
    return next((run for run in reversed(_of_main) if not run.ended), None)


def _announce() -> None:
    from tablevault_pd.session.process import announce

    announce()
