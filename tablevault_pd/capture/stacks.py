"""The stacks of all threads."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def innermost_frames() -> dict[int, FrameType]:
    """Return the frame that each thread is in, by the thread's id: what ``sys._current_frames()`` returns.

    Python 3.11 holds a lock of the interpreter there while it makes the frames. A garbage collection that begins then, and frees
    a ``threading.local``, waits for that lock for ever, and so does the whole process.
    """
    collects = gc.isenabled()
    try:
        gc.disable()
        return sys._current_frames()
    finally:
        if collects:
            gc.enable()
