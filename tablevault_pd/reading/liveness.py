"""Find sessions whose process on this machine has ended, before their heartbeat is overdue."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tablevault_pd.capture.environment import host_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Overview, Session, Store

START = "process_start"  #: of a session's info: when its process began
SLACK_S = 60.0  # how far the clocks of a machine and a server may differ


def overview(
    store: Store,
    ids: Sequence[int] | None = None,
    *,
    name: str | None = None,
    metrics: Sequence[str] | None = None,
) -> Overview:
    """Return :meth:`Store.overview` with `gone` set for ended processes; idle workers of a pool that is gone are finished."""
    stored = store.overview(ids, name=name, metrics=metrics)
    gone = _gone(store, stored)
    return replace(
        stored, sessions=[_seen(session, stored, session.id in gone) for session in stored.sessions]
    )


def _gone(store: Store, stored: Overview) -> set[int]:
    this_host = host_name()
    running = [
        session
        for session in stored.sessions
        if session.host == this_host and session.state(stored.time) in ("running", "paused")
    ]
    looks = [session.id for session in running if looks_dead(session)]
    if not looks:
        return set()
    return {session.id for session in store.sessions(looks, info=True) if surely_dead(session)}


def _seen(session: Session, stored: Overview, gone: bool) -> Session:
    if session.outcome is not None or (not gone and session.ended is None):
        return session
    session = replace(session, gone=gone)
    if session.ended is not None and session.state(stored.time) == "lost":
        return replace(session, outcome="finished")  # an idle worker of a pool
    return replace(session, ended=None)


@cache
def machine() -> str:
    """Return an id of this machine or container, within which process numbers are unique; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def surely_dead(session: Session) -> bool:
    """Return whether the process of `session`, read with its info, has surely ended; False if that is unknown."""
    where = str(session.info.get("machine", ""))
    return bool(where) and where == machine() and looks_dead(session)


def looks_dead(session: Session) -> bool:
    """Return whether no such process runs here, for a session of this machine."""
    if session.pid == os.getpid():
        return False
    try:
        os.kill(session.pid, 0)  # signal 0 only tests
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    try:
        state, ticks = _process(session.pid)
        if state in "ZX":
            return True
        if START in session.info:  # which no clock that is set can change
            return bool(ticks != session.info[START])
        born = _booted() + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return False
    return born > session.started.timestamp() + SLACK_S


def start_of_process() -> dict[str, int]:
    """Return when this process began, as an entry of a session's info; none where the system does not tell."""
    return _start_of(os.getpid())


@cache
def _start_of(pid: int) -> dict[str, int]:
    try:
        return {START: _process(pid)[1]}
    except (OSError, ValueError, IndexError):
        return {}


if hasattr(os, "register_at_fork"):
    for function in (machine, _start_of):
        os.register_at_fork(after_in_child=function.cache_clear)


def _process(pid: int) -> tuple[str, int]:
    """The state of a process, and when it began, in ticks since the machine was started."""
    # Behind the name in parentheses, which may hold anything: the state, and as 20th field the start.
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _booted() -> float:
    """Return when this machine was started, in seconds since 1970."""
    with open("/proc/uptime", encoding="ascii") as file:
        return time.time() - float(file.read().split()[0])
