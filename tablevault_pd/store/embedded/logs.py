"""Detect that another process still uses a write-ahead log that was removed.

SQLite shares the index of the log between processes (``catalog.db-shm``). Whoever opens the database while another process
still has the removed log would begin a new log under the index of the old one, and the database would be damaged.
"""

from __future__ import annotations

import os
from io import FileIO

from tablevault_pd.store.embedded import write_lock as gate

_CONNECTED = (128, 1)  # the byte that SQLite has locked in the index while it is open


def removed_under(database: str) -> int | None:
    """The process that has the database open without its log; None if none has.

    Not for a process that has the database open: closing the index here would drop SQLite's locks.
    """
    index, log = f"{database}-shm", f"{database}-wal"
    if os.path.exists(log) or not os.path.exists(index):
        return None
    with FileIO(index) as file:
        holder = gate.holder_of(file, _CONNECTED)
    return None if os.path.exists(log) else holder
