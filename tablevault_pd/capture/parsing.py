"""Parse code in one thread while other threads may parse, too.

In Python 3.11 all threads share one count of how deep the tree is that is being made. A garbage collection in the midst of that
runs finalizers, and in those another thread may go on. If that one parses, the count is wrong, and the first one, maybe a cell of
the user's, fails with "SystemError: AST constructor recursion depth mismatch". From Python 3.12 on no collection comes there.
"""

from __future__ import annotations

import ast
import gc
import os
import sys
import threading
import time
from typing import Any

_COUNTS_ARE_SHARED = sys.version_info < (3, 12)
_PAUSE_S, _PAUSES = 0.0005, 200  # then it parses all the same: this thread may itself be in a finalizer
_off: dict[object, None] = {}  #: the calls under way for which collections are off


def parse(text: str | bytes, filename: str = "<unknown>", mode: str = "exec") -> Any:
    """Return the tree, as :func:`ast.parse` does, and disturb no other thread that parses."""
    if not _COUNTS_ARE_SHARED:
        return ast.parse(text, filename, mode)
    if threading.current_thread() is threading.main_thread():
        _wait()  # collections stay on: an interrupt may come on any line
        return ast.parse(text, filename, mode)
    call = object()
    try:
        if _off or gc.isenabled():
            _off[call] = None
            gc.disable()  # no collection begins, here or in another thread that parses
        _wait()
        return ast.parse(text, filename, mode)
    finally:
        if call in _off:
            del _off[call]
            if not _off:
                gc.enable()


def _wait() -> None:
    """Wait until no thread is in the midst of a garbage collection."""
    for _ in range(_PAUSES):
        if _nobody_collects():
            return
        time.sleep(_PAUSE_S)


def _nobody_collects() -> bool:
    """Whether no thread is in the midst of a garbage collection: a second one is not begun then, and not counted."""
    before = gc.get_stats()[0]["collections"]
    gc.collect(0)
    return bool(gc.get_stats()[0]["collections"] > before)


def _in_child() -> None:
    if _off:  # the threads that would turn collections on again do not go on there
        _off.clear()
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
