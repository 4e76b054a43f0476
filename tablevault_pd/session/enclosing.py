"""Sessions that only stand around a run of the same name: that of a script ``train.py`` around its ``vault.session("train")``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.reading import liveness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Session, Store


def without_enclosing(store: Store, sessions: Sequence[Session]) -> list[Session]:
    """Leave out those with a run of the same name inside of them, in the same process, that have nothing of their own.

    Their own are parameters, tags, metrics, rows that they wrote or confirmed, and an end that no run inside of them had.
    """
    inside: dict[tuple[object, ...], list[object]] = {}  # how those ended that ran inside of another
    for session in sessions:
        around = (session.parent, session.name, session.pid, session.host)
        inside.setdefault(around, []).append(session.outcome)
    enclosing = [
        session
        for session in sessions
        if _says_nothing(session, inside.get((session.id, session.name, session.pid, session.host), ()))
    ]
    if not enclosing:
        return list(sessions)
    ids = [session.id for session in enclosing]
    busy = set(liveness.overview(store, ids).latest.column("session").to_pylist())
    busy.update(store.version_columns()["session_id"])
    busy.update(confirmation.session_id for confirmation in store.confirmations())
    left_out = set(ids) - busy
    return [session for session in sessions if session.id not in left_out]


def _says_nothing(session: Session, inside: Sequence[object]) -> bool:
    """Whether a session has runs inside, which ended so, and neither parameters, tags nor an end of its own."""
    has_own = bool(session.params or session.tags)
    return not has_own and bool(inside) and session.outcome in (*inside, "finished")
