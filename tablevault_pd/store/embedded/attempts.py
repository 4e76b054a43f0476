"""Which attempt of a session may write: the newest one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.errors import SessionContinued

if TYPE_CHECKING:
    from sqlite3 import Connection

ATTEMPT_OF = "SELECT attempt, name, run, pid, host FROM sessions WHERE id = ?"


def check_attempt(db: Connection, session_id: int | None, attempt: int | None) -> bool:
    """Return whether the session is there. Raises SessionContinued if another attempt than this one, if one is given, is the newest."""
    session = db.execute(ATTEMPT_OF, (session_id,)).fetchone()
    if session is None:
        return False
    newest, name, run, pid, host = session
    if attempt is not None and newest != attempt:
        raise SessionContinued.by(f"{name}#{run}", pid, host)
    return True
