"""Sessions as they are seen from this machine: a process that is known to be gone is not waited for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tablevault_pd.capture.environment import host_name
from tablevault_pd.session import inheritance as family
from tablevault_pd.store import Overview, Session, Store


def overview(store: Store, ids: Sequence[int] | None = None, *, name: str | None = None) -> Overview:
    """As :meth:`Store.overview`; `gone` is set where a process is, and a worker that had handed over its last task finished."""
    seen = store.overview(ids, name=name)
    gone = _gone(store, seen)
    return replace(seen, sessions=[_seen(each, seen, each.id in gone) for each in seen.sessions])


def _gone(store: Store, seen: Overview) -> set[int]:
    here = host_name()
    running = [
        each for each in seen.sessions if each.host == here and each.state(seen.time) in ("running", "paused")
    ]
    looks = [each.id for each in running if family.looks_dead(each)]
    if not looks:
        return set()
    return {each.id for each in store.sessions(looks, info=True) if family.surely_dead(each)}


def _seen(session: Session, seen: Overview, gone: bool) -> Session:
    if session.outcome is not None or (not gone and session.ended is None):
        return session
    session = replace(session, gone=gone)
    if session.ended is not None and session.state(seen.time) == "lost":
        return replace(session, outcome="finished")  # its pool was done with it
    return replace(session, ended=None)
