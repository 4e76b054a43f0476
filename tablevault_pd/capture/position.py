"""Find the running line of the main script or notebook cell."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

_PROMPTS = ("<stdin>", "<python-input")


def line_of_main() -> int | None:
    """Return the line of ``__main__`` that made the current call; in another thread, the line of the main thread."""
    line = _line(sys._getframe(1))
    if line is None and threading.current_thread() is not threading.main_thread():
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        return None if frame is None else _line(frame)
    return line


def _line(frame: FrameType | None) -> int | None:
    """Return the line of the outermost frame at the top level of ``__main__``."""
    main: Any = getattr(sys.modules.get("__main__"), "__dict__", None)
    line = None
    while frame is not None:
        code = frame.f_code
        if frame.f_globals is main and code.co_name.startswith(("<module>", "<cell line")):
            line = None if code.co_filename.startswith(_PROMPTS) else frame.f_lineno
        frame = frame.f_back
    return line
