"""Passes the parent session to child processes, in an environment variable.

Processes that are started by ``subprocess``, ``multiprocessing``, ``concurrent.futures`` or joblib inherit it. A forked
worker has the recorder of the parent in memory, which begins a child session.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict, dataclass
from functools import lru_cache

from tablevault_pd.names import MAX_BYTES

VARIABLE = "TABLEVAULT_PARENT"
WORKER = "/worker"


@dataclass(frozen=True, slots=True)
class Parent:
    """The session that a process was started from, and where its vault is."""

    vault: str
    place: str
    session: int
    name: str
    user: str = ""  #: as it was named, if it was


def announce(parent: Parent | None) -> None:
    """Set the parent session of processes that are started from now on."""
    if parent is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = _text_of(parent)
    if (passed := _passed_on()) is not None:
        passed[VARIABLE] = os.environ.get(VARIABLE)


@lru_cache(maxsize=16)
def _text_of(parent: Parent) -> str:
    return json.dumps(asdict(parent))


def _passed_on() -> dict[str, str | None] | None:
    """Return what multiprocessing passes to its workers: a fork server keeps the environment it was started with."""
    processes = sys.modules.get("multiprocessing.process")
    return None if processes is None else getattr(processes.current_process(), "_config", None)


def inherited() -> Parent | None:
    """Return the session that this process was started from, if any."""
    text = os.environ.get(VARIABLE)
    if is_worker():
        text = (_passed_on() or {}).get(VARIABLE, text)
    if not text:
        return None
    try:
        values = json.loads(text)
        return Parent(
            str(values["vault"]),
            str(values["place"]),
            int(values["session"]),
            str(values["name"]),
            str(values.get("user", "")),
        )
    except (ValueError, TypeError, KeyError):  # the variable is not ours
        return None


def is_worker() -> bool:
    """Return whether this process is a worker of multiprocessing, concurrent.futures or joblib."""
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and processes.parent_process() is not None


def is_pool_thread() -> bool:
    """Return whether this thread belongs to a ``multiprocessing.pool.ThreadPool``, which joblib uses, too."""
    dummy = sys.modules.get("multiprocessing.dummy")
    return dummy is not None and isinstance(threading.current_thread(), dummy.DummyProcess)


def worker_name(parent: str) -> str:
    """Return the name of a worker after its parent: ``train/worker``, also for workers of workers."""
    if parent.endswith(WORKER):
        return parent
    room = MAX_BYTES - len(WORKER)
    return parent.encode()[:room].decode(errors="ignore").rstrip() + WORKER
