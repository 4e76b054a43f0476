"""Forks only happen while no thread is inside SQLite.

A fork copies SQLite's own mutexes as they are. One that another thread holds at that moment is never released in the
child, which then waits for it for ever. So a fork waits until all threads have left, and they wait while it happens.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

PATIENCE_S = 10.0  # a fork does not wait longer than this for a thread that does not come out


class _Inside:
    """A context in which no fork happens. May be nested."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._depths: dict[int, int] = {}  # by thread
        self._forking = False

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._changed:
            while self._forking and me not in self._depths:
                self._changed.wait(PATIENCE_S)
            self._depths[me] = self._depths.get(me, 0) + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        me = threading.get_ident()
        with self._changed:
            left = self._depths.get(me, 0) - 1
            if left > 0:
                self._depths[me] = left
                return
            self._depths.pop(me, None)
            if self._forking:
                self._changed.notify_all()

    def _before(self) -> None:
        me = threading.get_ident()
        with self._changed:
            self._forking = True
            self._changed.wait_for(lambda: set(self._depths) <= {me}, PATIENCE_S)
        self._changed.acquire()  # so that the copy in the child is not in use either

    def _after_in_parent(self) -> None:
        self._forking = False
        self._changed.notify_all()
        self._changed.release()


inside = _Inside()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: inside._before(),
        after_in_parent=lambda: inside._after_in_parent(),
        after_in_child=lambda: inside._reset(),
    )
