"""Asking sessions to stop, pause or resume, and saying what became of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tablevault_pd.reading import liveness
from tablevault_pd.reading import reports as answers
from tablevault_pd.session.lookup import resolve_sessions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from tablevault_pd.store import ControlKind, ControlRequest, Session, Store

LOOK_AGAIN_S = 0.05
CONTROL = ("session", "request", "state", "requested", "acknowledged")


def ask(
    store: Store,
    which: Any,
    request: ControlKind,
    *,
    exit_code: int = 0,
    wait_s: float = 0.0,
    asked_by: int | None = None,
) -> pd.DataFrame:
    """Ask, wait up to `wait_s` seconds for all to acknowledge, and answer with one line per session."""
    ids = [session.id for session in resolve_sessions(store, which, runs="live")]
    asked = []
    if ids:
        everyone = store.ask([*ids, *started_by(store, ids)], request, exit_code=exit_code, asked_by=asked_by)
        asked = [each for each in everyone if each.session_id in ids]
    deadline = time.monotonic() + wait_s
    while asked and wait_s > 0 and time.monotonic() < deadline:
        asked = store.requests([each.id for each in asked])
        if not _waiting(store, asked):
            asked = store.requests(
                [each.id for each in asked]
            )  # one may have acknowledged, and ended, in between
            break
        time.sleep(LOOK_AGAIN_S)
    return _answer(store, ids, request, asked)


def describe_request(store: Store, row: Session, request: ControlRequest) -> str:
    """Return what was asked of a session, by whom, and when."""
    when = f"{request.requested:%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"{row.label} was asked to {request.request} by {_describe_asker(store, request.asked_by)} at {when}."
    )


def _describe_asker(store: Store, session_id: int | None) -> str:
    if session_id is None:
        return "a process without a session"
    try:
        (asker,) = store.sessions([session_id])
    except Exception:  # noqa: BLE001  # the stop is worth more than who asked for it
        return f"the session {session_id}"
    return f"{asker.label} ({asker.user} on {asker.host})"


def started_by(store: Store, ids: Sequence[int]) -> list[int]:
    """Sessions of other processes that these, or those they started, have started: what is asked of these is asked of them."""
    sessions = {session.id: session for session in store.sessions()}
    found: dict[int, None] = {}
    inside = set(ids)
    for session in sessions.values():  # oldest first: parents before their children
        parent = sessions.get(session.parent or 0)
        if parent is not None and parent.id in inside and session.id not in inside:
            inside.add(session.id)
            if session.outcome is None and (session.pid, session.host) != (parent.pid, parent.host):
                found[session.id] = None
    return list(found)


def _waiting(store: Store, asked: Sequence[ControlRequest]) -> list[int]:
    """Sessions that may still acknowledge: those that have ended meanwhile will not."""
    open_ids = [each.session_id for each in asked if each.acknowledged is None]
    if not open_ids:
        return []
    seen = liveness.overview(store, open_ids)
    return [session.id for session in seen.sessions if session.state(seen.time) in ("running", "paused")]


def _answer(
    store: Store, ids: Sequence[int], request: ControlKind, asked: Sequence[ControlRequest]
) -> pd.DataFrame:
    by_session = {each.session_id: each for each in asked}
    seen = liveness.overview(store, ids)
    rows = []
    for session in seen.sessions:
        found = by_session.get(session.id)
        requested, acknowledged = (None, None) if found is None else (found.requested, found.acknowledged)
        rows.append((session.label, request, session.state(seen.time), requested, acknowledged))
    return answers.answer(CONTROL, rows)
