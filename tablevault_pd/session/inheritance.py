"""Who started whom: a worker process finds its parent session, and the vault, in an environment variable.

What a process starts by ``subprocess``, ``multiprocessing``, ``concurrent.futures`` or joblib inherits its environment,
so nothing has to be passed along. A forked worker has the parent's objects in memory; `run` makes a child of those.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict, dataclass

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


def announce(parent: Parent | None) -> None:
    """Let processes started from now on know their parent."""
    if parent is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = json.dumps(asdict(parent))
    if (passed := _passed_on()) is not None:
        passed[VARIABLE] = os.environ.get(VARIABLE)


def _passed_on() -> dict[str, str | None] | None:
    """What multiprocessing hands to its workers. A fork server keeps the environment it was started with."""
    processes = sys.modules.get("multiprocessing.process")
    return None if processes is None else getattr(processes.current_process(), "_config", None)


def inherited() -> Parent | None:
    """The parent of this process, if it was started from a session."""
    text = os.environ.get(VARIABLE)
    if is_worker():
        text = (_passed_on() or {}).get(VARIABLE, text)
    if not text:
        return None
    try:
        found = json.loads(text)
        return Parent(str(found["vault"]), str(found["place"]), int(found["session"]), str(found["name"]))
    except (ValueError, TypeError, KeyError):  # somebody else's variable: no reason to fail
        return None


def is_worker() -> bool:
    """Whether this process is a worker of multiprocessing, concurrent.futures or joblib."""
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and processes.parent_process() is not None


def is_pool_thread() -> bool:
    """Whether this thread is one of ``multiprocessing.pool.ThreadPool``, which joblib uses, too."""
    dummy = sys.modules.get("multiprocessing.dummy")
    return dummy is not None and isinstance(threading.current_thread(), dummy.DummyProcess)


def worker_name(parent: str) -> str:
    """What a worker is called after its parent: ``train/worker``; workers of workers are not called otherwise."""
    if parent.endswith(WORKER):
        return parent
    room = MAX_BYTES - len(WORKER)
    return parent.encode()[:room].decode(errors="ignore").rstrip() + WORKER
