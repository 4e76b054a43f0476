"""The pieces of code that one session runs: noted when they begin and end, told to the store in the background."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from tablevault_pd.capture import script
from tablevault_pd.store import Cell, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


class Cells:
    """Those that run, and those that the store has not heard of yet. `clock` is the store's, `mask` hides secrets."""

    def __init__(self, clock: Callable[[], datetime], mask: Callable[[str], str]) -> None:
        self.current: int | None = None  #: the one that runs now, or ran last
        self.next = 0  #: the number the next one gets
        self.prompt = script.Prompt() if script.at_prompt() and not script.in_ipython() else None
        self._clock, self._mask = clock, mask
        self._lock = threading.RLock()  # a signal handler may come in between
        self._untold: dict[int, Cell] = {}
        self._running: dict[int, Cell] = {}
        self._put: set[int] = set()  # those that the store has heard of

    def begin(self, session_id: int, text: str, execution_count: int | None = None) -> int:
        """A piece of code begins to run; the number it gets."""
        with self._lock:
            key = self.next
            self.next += 1
            cell = Cell(session_id, key, self._mask(text), self._clock(), execution_count=execution_count)
            self._running[key] = self._untold[key] = cell
            self.current = key
        return key

    def put(self, store: Store) -> int | None:
        """The current one, known to the store: what it writes is found by its code from the first commit on."""
        key = self.current
        if key is not None and key not in self._put:
            cell = self._untold.get(key)
            if cell is not None:
                store.put_cell(cell)
            self._put.add(key)
        return key

    def end(self, key: int, outcome: str, error: str | None = None, traceback: str | None = None) -> None:
        """A piece of code is done."""
        with self._lock:
            cell = self._running.pop(key, None)
            if cell is None:
                return
            self._untold[key] = replace(
                cell,
                duration_s=max((self._clock() - cell.started).total_seconds(), 0.0),
                outcome=outcome,
                error=None if error is None else self._mask(error),
                traceback=None if traceback is None else self._mask(traceback),
            )

    def end_all(self, outcome: str, error: str | None, traceback: str | None) -> None:
        """The session ends, and with it whatever still runs."""
        self.read_prompt()
        for key in list(self._running):
            self.end(key, outcome, error, traceback)

    @property
    def has_news(self) -> bool:
        """Whether there is something that the store has not heard of."""
        with self._lock:
            self.read_prompt()
            return bool(self._untold)

    def collect(self) -> tuple[Cell, ...]:
        """What the store has not heard of. Said once."""
        with self._lock:
            self.read_prompt()
            cells, self._untold = tuple(self._untold.values()), {}
            return cells

    def forget(self) -> None:
        """Nobody will ever hear of them."""
        with self._lock:
            self._untold.clear()

    def read_prompt(self) -> None:
        """What was typed at the interpreter's prompt until now is the text of the one cell there is."""
        if self.prompt is None or not self._running:
            return
        text = self._mask(self.prompt.text())
        key, cell = next(iter(self._running.items()))
        if cell.text != text:
            self._running[key] = self._untold[key] = replace(cell, text=text)
