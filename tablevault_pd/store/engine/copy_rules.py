"""How sessions of another vault are told apart, for every store. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Session


def same_session(session: Session, named: Sequence[Session]) -> Session | None:
    """Return which of these sessions of its name a session of another vault is; None if none is.

    A session that was resumed has another host and pid than before, but began when it did.
    """
    same_start = [other for other in named if other.started == session.started]
    same_process = [other for other in same_start if (other.host, other.pid) == (session.host, session.pid)]
    return next(iter(same_process or (same_start if len(same_start) == 1 else ())), None)


def free_run(session: Session, named: Sequence[Session]) -> int:
    """Return the run of a session of another vault: its own, or the next one if it has none, or another session has it here."""
    taken = {other.run for other in named}
    return session.run if session.run and session.run not in taken else max(taken, default=0) + 1
