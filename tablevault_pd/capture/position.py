"""Places in a text, and the one where the main script or notebook cell is now.

A place is one number: its line, and `COLUMN` times its column, so that two statements on one line have two places. Columns
count bytes in UTF-8, as the syntax tree does. A statement that has its lines to itself begins at column 0; where it ends,
column 0 stands for the end of the line.
"""

from __future__ import annotations

import linecache
import sys
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture.entry import entry_of
from tablevault_pd.capture.script import main_source
from tablevault_pd.capture.stacks import innermost_frames

if TYPE_CHECKING:
    from types import CodeType, FrameType

COLUMN = 1 << 24
#: Some place on a line: Python was told to keep no columns (``-X no_debug_ranges``).
ANYWHERE = COLUMN - 1

_PROMPTS = ("<stdin>", "<python-input")
_KEPT_CODES = 16
_columns: dict[
    int, tuple[CodeType, list[int]]
] = {}  # by id of the code, which is held so that no other gets it


def line_of(place: int) -> int:
    """Return the line of a place."""
    return place % COLUMN


def in_order(place: int) -> tuple[int, int]:
    """Return the line and column of a place: of two places the smaller is the earlier one."""
    return place % COLUMN, place // COLUMN


def is_between(place: int, first: int, last: int) -> bool:
    """Whether a place lies in a statement that begins at `first` and ends at `last`; one without a column, whether its line does."""
    if place // COLUMN == ANYWHERE:
        return line_of(first) <= line_of(place) <= line_of(last)
    return in_order(first) <= in_order(place) and not ends_before(last, place)


def ends_before(last: int, place: int) -> bool:
    """Whether what ends at `last` ends before a place."""
    return (line_of(last), last // COLUMN or ANYWHERE) < in_order(place)


def place_of_main() -> int | None:
    """Return the place in ``__main__`` that made the current call; in another thread, that of the main thread.

    In the function that a script runs (see :mod:`~tablevault_pd.capture.entry`), it is the place there.
    """
    place = _outermost(sys._getframe(1))
    if place is None and threading.current_thread() is not threading.main_thread():
        frame = innermost_frames().get(threading.main_thread().ident or 0)
        return None if frame is None else _outermost(frame)
    return place


def _outermost(frame: FrameType | None) -> int | None:
    """Return the place of the outermost frame at the top level of ``__main__``, or of the function that it runs."""
    main: Any = getattr(sys.modules.get("__main__"), "__dict__", None)
    top, called, inner = None, None, None
    while frame is not None:
        if frame.f_globals is main and frame.f_code.co_name.startswith(("<module>", "<cell line")):
            top, called = frame, inner
        inner, frame = frame, frame.f_back
    if top is None or top.f_code.co_filename.startswith(_PROMPTS):
        return None
    if called is not None and called.f_globals is main and _is_entry(called, top):
        top = called
    return place_in(top.f_code, top.f_lineno, top.f_lasti)


def _is_entry(called: FrameType, top: FrameType) -> bool:
    """Whether a frame is that of the function that a script runs."""
    code = called.f_code
    if code.co_filename != top.f_code.co_filename or code.co_qualname != code.co_name:
        return False
    text = _source(code.co_filename)
    entry = None if text is None else entry_of(text)
    return entry is not None and (entry.name, entry.first) == (code.co_name, code.co_firstlineno)


@lru_cache(maxsize=4)
def _source(_: str) -> str | None:
    """The text of the script: as it was first read, for it may be edited while it runs."""
    return main_source()


def place_in(code: CodeType, line: int, instruction: int) -> int:
    """Return the place of an instruction that is on a line: that of a frame, or of an entry of a traceback."""
    text = linecache.getline(code.co_filename, line)
    if text and ";" not in text:
        return line  # no statement begins in the middle of it, and columns of a long script take milliseconds
    entry = _columns.get(id(code))
    if entry is None:
        if len(_columns) >= _KEPT_CODES:
            _columns.clear()
        columns = [ANYWHERE if column is None else column for _, _, column, _ in code.co_positions()]
        entry = _columns[id(code)] = code, columns
    return line + COLUMN * min(entry[1][instruction // 2], ANYWHERE)
