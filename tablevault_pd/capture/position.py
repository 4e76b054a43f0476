"""Places in a text, and the one where the main script or notebook cell is now.

A place is one number: its line, and `COLUMN` times its column, so that two statements on one line have two places. Columns
count bytes in UTF-8, as the syntax tree does. A statement that has its lines to itself begins at column 0; where it ends,
column 0 stands for the end of the line.
"""

from __future__ import annotations

import inspect
import linecache
import os
import sys
import threading
from functools import lru_cache
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from tablevault_pd.capture import script
from tablevault_pd.capture.entry import entry_of
from tablevault_pd.capture.modules import is_own_file
from tablevault_pd.capture.script import main_source
from tablevault_pd.capture.stacks import innermost_frames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

COLUMN = 1 << 24
#: Some place on a line: Python was told to keep no columns (``-X no_debug_ranges``).
ANYWHERE = COLUMN - 1

#: Above a place: the number of the way to what was called there, see :class:`StackLevel`. With it, 53 bits hold both.
WAY = 1 << 48
LAST_WAY = 31
_LONGEST_WAY = 16
_SUSPENDED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

_PROMPTS = ("<stdin>", "<python-input")
_KEPT_CODES = 16
_columns: dict[
    int, tuple[CodeType, list[int]]
] = {}  # by id of the code, which is held so that no other gets it
_KEPT_LEVELS = 1024
_levels: dict[tuple[int, int, int, int], tuple[CodeType, CodeType, StackLevel]] = {}


class StackLevel(NamedTuple):
    """A function of the project that was under way, called by a statement of the script, or of the level above."""

    module: str | None  #: that has it; None: the script
    name: str
    first: int  #: the line of its ``def``
    call: tuple[int, int]  #: (line, column) where the call ends
    place: int  #: where the function had come to
    text: str | None = None  #: of a notebook: what ran of the cell that the function stands in
    code: CodeType | None = None  #: of a function of a module in a notebook

    @property
    def caller(self) -> int:
        """The place where the call ends."""
        line, column = self.call
        return line + COLUMN * column


def place_of(line: int | None) -> int | None:
    """Return the place of what the store has as the line of a commit: without the number of the way from there."""
    return None if line is None else line % WAY


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
    return _place(frames_of_main(sys._getframe(1)))


def way_of_main() -> tuple[int | None, tuple[StackLevel, ...]]:
    """Return :func:`place_of_main`, and the functions that were called from there; none in another thread."""
    frames = frames_of_main(sys._getframe(1))
    return _place(frames), tuple(levels_of(frames))


def _place(frames: list[FrameType]) -> int | None:
    if not frames and threading.current_thread() is not threading.main_thread():
        frames = frames_of_main(innermost_frames().get(threading.main_thread().ident or 0))
    return place_in(frames[0].f_code, frames[0].f_lineno, frames[0].f_lasti) if frames else None


def frames_of_main(frame: FrameType | None) -> list[FrameType]:
    """Return the frames from the outermost one at the top level of ``__main__`` inwards, or from the function that it runs."""
    main: Any = getattr(sys.modules.get("__main__"), "__dict__", None)
    frames: list[FrameType] = []
    count = 0
    while frame is not None:
        frames.append(frame)
        if is_of_top_level(frame, main):
            count = len(frames)
        frame = frame.f_back
    inwards = frames[:count][::-1]
    if not inwards or inwards[0].f_code.co_filename.startswith(_PROMPTS):
        return []
    if len(inwards) > 1 and inwards[1].f_globals is main and _is_entry(inwards[1], inwards[0]):
        del inwards[0]
    return inwards


def is_of_top_level(frame: FrameType, main: Any) -> bool:
    """Whether a frame is one of the top level of the module with these variables."""
    return frame.f_globals is main and frame.f_code.co_name.startswith(("<module>", "<cell line"))


def levels_of(frames: list[FrameType]) -> Iterator[StackLevel]:
    """Return the functions of the project that the first frame called, inwards."""
    for caller, called in islice(pairwise(frames), _LONGEST_WAY):
        outer, inner = caller.f_code, called.f_code
        key = (id(outer), caller.f_lasti, id(inner), called.f_lasti)
        entry = _levels.get(key)
        if entry is None:
            level = _level(caller, called, frames[0])
            if level is None:
                return
            if len(_levels) >= _KEPT_LEVELS:
                _levels.clear()
            entry = _levels[key] = outer, inner, level
        yield entry[2]


def _level(caller: FrameType, called: FrameType, top: FrameType) -> StackLevel | None:
    """Return a frame as a level; None if it is no function of the project, or was not called there."""
    code, in_main = called.f_code, called.f_globals is top.f_globals
    if code.co_flags & _SUSPENDED or not code.co_qualname.isidentifier():
        return None
    if not in_main and not is_own_file(code.co_filename):
        return None
    text = None
    if in_main and script.is_notebook():
        text = text_of_cell(code.co_filename)
        if text is None:
            return None
    elif in_main and code.co_filename != top.f_code.co_filename:
        return None
    positions = caller.f_code.co_positions()
    _, line, _, column = next(islice(positions, caller.f_lasti // 2, None))
    if line is None or column is None:
        return None
    module = None if in_main else called.f_globals.get("__name__")
    place = place_in(code, called.f_lineno, called.f_lasti)
    compiled = code if script.is_notebook() and not in_main else None  # a module may be loaded anew, in part
    return StackLevel(module, code.co_name, code.co_firstlineno, (line, column), place, text, compiled)


def text_of_cell(file: str) -> str | None:
    """Return what a notebook has run under this name; None if it is the name of a file, or of nothing."""
    lines = linecache.getlines(file)
    return None if not lines or os.path.exists(file) else "".join(lines).rstrip()


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
