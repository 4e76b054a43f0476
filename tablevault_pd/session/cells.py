"""The cells that one session runs: recorded when they begin and end, sent to the store in the background."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from tablevault_pd.capture import script
from tablevault_pd.capture.position import ANYWHERE, COLUMN
from tablevault_pd.code import names_of
from tablevault_pd.store import Cell

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


class Cells:
    """Running cells and unsent ones. `clock` returns the time of the store, `mask` hides secrets in a text."""

    def __init__(self, clock: Callable[[], datetime], mask: Callable[[str], str]) -> None:
        self.session_id = 0  #: until the store has opened the session
        self.current_cell: int | None = None  #: number of the cell that runs now, or ran last
        self.next = 0  #: the number the next one gets
        self.prompt = script.Prompt() if script.is_typed() else None
        self._clock, self._mask = clock, mask
        self._lock = threading.RLock()  # a signal handler may take it again
        self._unsent: dict[int, Cell] = {}
        self._running: dict[int, Cell] = {}
        self._stored: set[int] = set()  # numbers of cells that the store has

    def begin(
        self,
        text: str,
        execution_count: int | None = None,
        *,
        notebook: str | None = None,
        path: str | None = None,
    ) -> int:
        """Record that a cell begins to run. Return its number."""
        with self._lock:
            key = self.next
            self.next += 1
            cell = Cell(
                self.session_id,
                key,
                self._mask(text),
                self._clock(),
                execution_count=execution_count,
                notebook=notebook,
                path=path,
            )
            self._running[key] = self._unsent[key] = cell
            self.current_cell = key
        return key

    def unstored(self) -> tuple[Cell, ...]:
        """Return the current cell if the store lacks it. Call :meth:`mark_stored` once it is stored."""
        cell = None if self.current_cell in self._stored else self._unsent.get(self.current_cell or 0)
        return () if cell is None else (_with_names(cell),)

    def is_stored(self, key: int) -> bool:
        """Whether that cell is the current one, and the store has it."""
        return key == self.current_cell and key in self._stored

    def mark_stored(self, key: int) -> None:
        """Note that the store has that cell."""
        self._stored.add(key)

    def running(self, key: int) -> Cell | None:
        """Return that cell, if it still runs."""
        return self._running.get(key)

    def reach(self, key: int, place: int | None) -> None:
        """Record the place that a running cell has come to."""
        with self._lock:
            cell = self._running.get(key)
            if cell is not None and place is not None and cell.until != place:
                self._running[key] = self._unsent[key] = replace(cell, until=place)

    def end(
        self,
        key: int,
        outcome: str,
        error: str | None = None,
        traceback: str | None = None,
        *,
        until: int | None = None,
    ) -> None:
        """Record that a cell has ended."""
        with self._lock:
            cell = self._running.pop(key, None)
            if cell is None:
                return
            self._unsent[key] = replace(
                cell,
                duration_s=max((self._clock() - cell.started).total_seconds(), 0.0),
                outcome=outcome,
                error=None if error is None else self._mask(error),
                traceback=None if traceback is None else self._mask(traceback),
                until=until,
            )

    def end_all(self, outcome: str, error: str | None, traceback: str | None, place: int | None) -> None:
        """End all running cells, at the end of the session. A script was left at `place`, if before its end."""
        self.read_prompt()
        for key, cell in list(self._running.items()):
            until = place if cell.path is not None and place is not None else _last_line(cell, traceback)
            self.end(key, outcome, error, traceback, until=until)

    @property
    def has_news(self) -> bool:
        """Whether there are unsent cells."""
        with self._lock:
            self.read_prompt()
            return bool(self._unsent)

    def collect(self) -> tuple[Cell, ...]:
        """Return the unsent cells. Each change is returned once."""
        with self._lock:
            self.read_prompt()
            cells, self._unsent = tuple(self._unsent.values()), {}
        return tuple(_with_names(cell) for cell in cells)

    def clear(self) -> None:
        """Drop unsent cells."""
        with self._lock:
            self._unsent.clear()

    def read_prompt(self) -> None:
        """Update the running cell with what was typed at the interpreter's prompt so far."""
        if self.prompt is None or not self._running:
            return
        text = self._mask(self.prompt.text())
        key, cell = next(iter(self._running.items()))
        if cell.text != text:
            self._running[key] = self._unsent[key] = replace(cell, text=text)


def _with_names(cell: Cell) -> Cell:
    """Add the names that the statements of a cell define and use."""
    return (
        cell
        if cell.names is not None
        else replace(cell, names=names_of(cell.text, script=cell.path is not None))
    )


def _last_line(cell: Cell, traceback: str | None) -> int | None:
    """Return the place where an exception left a script, if the traceback has its line."""
    if cell.path is None or traceback is None:
        return None
    name = re.escape(cell.path.rpartition("/")[2])
    lines = re.findall(rf'File "[^"\n]*{name}", line (\d+), in <module>', traceback)
    return int(lines[0]) + COLUMN * ANYWHERE if lines else None
