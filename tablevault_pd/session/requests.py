"""Ask sessions to stop, pause or resume, and report their answers."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import VaultError
from tablevault_pd.reading import liveness
from tablevault_pd.reading import reports as answers
from tablevault_pd.session.lookup import resolve_sessions
from tablevault_pd.store import Beat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from tablevault_pd.store import ControlKind, ControlRequest, Session, Store

POLL_S = 0.05
CLOCKS = timedelta(seconds=1)  # how far a process may be from the time of the store
CONTROL = ("session", "request", "state", "requested", "acknowledged")


def ask(
    store: Store,
    which: Any,
    request: ControlKind,
    *,
    exit_code: int = 0,
    wait_s: float = 0.0,
    session_id: int | None = None,
    attempt: int | None = None,
) -> pd.DataFrame:
    """Ask, wait up to `wait_s` seconds until all have acknowledged, and return a frame with one row per session."""
    ids = [session.id for session in resolve_sessions(store, which, runs="live")]
    requests = []
    if ids:
        everyone = store.ask(
            [*ids, *started_by(store, ids)],
            request,
            exit_code=exit_code,
            asked_by=session_id,
            attempt=attempt,
        )
        requests = [entry for entry in everyone if entry.session_id in ids]
    deadline = time.monotonic() + wait_s
    while requests and wait_s > 0 and time.monotonic() < deadline:
        requests = store.requests([entry.id for entry in requests])
        if not _waiting(store, requests):
            # One may have acknowledged, and ended, in between.
            requests = store.requests([entry.id for entry in requests])
            break
        time.sleep(POLL_S)
    return _answer(store, ids, request, requests)


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
    except Exception:  # noqa: BLE001  # the stop matters more than who requested it
        return f"the session {session_id}"
    return f"{asker.label} ({asker.user} on {asker.host})"


def started_by(store: Store, ids: Sequence[int]) -> list[int]:
    """Return the sessions of other processes below these that go on: a request to a session holds for all that it started."""
    return [session.id for session in _started_by(store, ids) if session.outcome is None]


def stop_with_workers(store: Store, row: Session, stop: ControlRequest) -> None:
    """Let a session that has just finished be stopped if a worker has obeyed the stop that was asked of it: it caught that one's stop."""
    since = stop.requested - CLOCKS
    with suppress(VaultError):  # it has ended all the same
        workers = _started_by(store, [row.id])
        if any(one.outcome == "stopped" and one.ended is not None and one.ended >= since for one in workers):
            store.beat([Beat(row.id, outcome="stopped", attempt=row.attempt)])


def _started_by(store: Store, ids: Sequence[int]) -> Iterator[Session]:
    sessions = {session.id: session for session in store.sessions()}
    inside = set(ids)
    for session in sessions.values():  # oldest first: parents before their children
        parent = sessions.get(session.parent or 0)
        if parent is not None and parent.id in inside and session.id not in inside:
            inside.add(session.id)
            if (session.pid, session.host) != (parent.pid, parent.host):
                yield session


def _waiting(store: Store, requests: Sequence[ControlRequest]) -> list[int]:
    """Return the sessions that may still acknowledge: those that have not ended."""
    open_ids = [request.session_id for request in requests if request.acknowledged is None]
    if not open_ids:
        return []
    overview = liveness.overview(store, open_ids)
    return [
        session.id for session in overview.sessions if session.state(overview.time) in ("running", "paused")
    ]


def _answer(
    store: Store, ids: Sequence[int], request: ControlKind, requests: Sequence[ControlRequest]
) -> pd.DataFrame:
    by_session = {entry.session_id: entry for entry in requests}
    overview = liveness.overview(store, ids)
    rows = []
    for session in overview.sessions:
        answer = by_session.get(session.id)
        requested, acknowledged = (None, None) if answer is None else (answer.requested, answer.acknowledged)
        rows.append((session.label, request, session.state(overview.time), requested, acknowledged))
    return answers.answer(CONTROL, rows)
