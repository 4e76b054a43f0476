"""Where a cell of a notebook is now, in its text as it was typed.

IPython runs another text where a cell has magics, or empty lines at its beginning. Line by line it is the typed one in nearly all
cells; in others, places in it are not known. What stands below ``%%time`` is run by that magic.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from tablevault_pd.capture.position import (
    frames_of_main,
    is_of_top_level,
    levels_of,
    place_in,
    text_of_cell,
)
from tablevault_pd.capture.redact import MASK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, FrameType, TracebackType

    from tablevault_pd.capture.position import StackLevel

_TIMED = ("<timed exec>", "<timed eval>")  # what ``%%time`` runs: the lines below it
_MAGIC = re.compile(r"\s*%%time\b")
_BY_IPYTHON = "get_ipython()"


def place_in_cell(text: str) -> int | None:
    """Return the place that a cell has come to; None if it is not known, as in another thread."""
    return _place(*_frames_of_cell(text, frames_of_main(sys._getframe(1))))


def way_of_cell(text: str) -> tuple[int | None, tuple[StackLevel, ...]]:
    """Return :func:`place_in_cell`, and the functions that were called from there."""
    frames, shift = _frames_of_cell(text, frames_of_main(sys._getframe(1)))
    levels = tuple(levels_of(frames))
    if levels and shift:
        line, column = levels[0].call
        levels = (levels[0]._replace(call=(line + shift, column)), *levels[1:])
    return _place(frames, shift), levels


def place_of_error(text: str, trace: TracebackType) -> int:
    """Return the place where an error left a cell. `trace` begins with what ran of the cell."""
    place = place_in(trace.tb_frame.f_code, trace.tb_lineno, trace.tb_lasti)
    variables = trace.tb_frame.f_globals
    entry: TracebackType | None = trace
    while entry is not None:
        shift = _shift(text, entry.tb_frame.f_code) if is_of_top_level(entry.tb_frame, variables) else None
        if shift is not None:
            place = place_in(entry.tb_frame.f_code, entry.tb_lineno, entry.tb_lasti) + shift
        entry = entry.tb_next
    return place


def _place(frames: list[FrameType], shift: int) -> int | None:
    return place_in(frames[0].f_code, frames[0].f_lineno, frames[0].f_lasti) + shift if frames else None


def _frames_of_cell(text: str, frames: list[FrameType]) -> tuple[list[FrameType], int]:
    """Return the frames from that of a cell inwards, and how many lines of the cell as typed stand before what runs."""
    for number in reversed(
        range(len(frames))
    ):  # a cell may run others: by ``%%capture``, or another notebook
        if is_of_top_level(frames[number], frames[0].f_globals):
            shift = _shift(text, frames[number].f_code)
            if shift is not None:
                return frames[number:], shift
    return [], 0


def _shift(text: str, code: CodeType) -> int | None:
    """Return how many lines of a cell as typed stand before what runs; None if that has other lines."""
    if code.co_filename in _TIMED:
        lines = text.split("\n")
        first = _empty(lines)
        is_timed = first < len(lines) and _MAGIC.match(lines[first])
        return first + 1 + _empty(lines[first + 1 :]) if is_timed else None
    ran = text_of_cell(code.co_filename)
    return None if ran is None else lines_before(text, ran)


@lru_cache(maxsize=256)
def lines_before(typed: str, ran: str) -> int | None:
    """Return how many empty lines a text as typed has before the first one of what ran; None if they differ otherwise."""
    ours, theirs = typed.rstrip().split("\n"), ran.rstrip().split("\n")
    before = len(ours) - len(theirs)
    if before < 0 or _empty(ours) < before:
        return None
    pairs = zip(ours[before:], theirs, strict=True)
    return before if all(_are_alike(one, other) for one, other in pairs) else None


def _are_alike(typed: str, ran: str) -> bool:
    return typed.strip() == ran.strip() or _BY_IPYTHON in ran or MASK in typed


def _empty(lines: Sequence[str]) -> int:
    return next((number for number, line in enumerate(lines) if line.strip()), len(lines))
