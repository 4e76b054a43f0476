"""Threads that work beside the user's, and what becomes of that work while the interpreter ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

# pyarrow imports this when it first meets pandas. Python refuses that while it ends, and then the first save could not be
# made by a function of atexit.
import concurrent.futures.thread  # noqa: F401  # isort: skip


def started(work: Callable[[], object], name: str) -> threading.Thread | None:
    """A daemon thread that does `work`; None while the interpreter ends, when Python starts no threads any more (3.12)."""
    thread = threading.Thread(target=work, name=f"tablevault-{name}", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
