"""Add to a Conflict which version the caller expected and who wrote the newer one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tablevault_pd.errors import Conflict, ListRenamed, short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store import Session, Store, Version

SHOWN = 3


@contextmanager
def telling_who(store: Store, name: str, expect: int | None) -> Iterator[None]:
    """Add to a Conflict which versions came after the one expected, when, and from which sessions."""
    try:
        yield
    except Conflict as error:
        if expect is None:
            raise
        newer = [version for version in store.versions(name) if version.version > expect]
        if not newer:
            raise (renamed(store, name) or error) from None
        sessions = {
            session.id: session
            for session in store.sessions([one.session_id for one in newer if one.session_id])
        }
        lines = [_told(version, sessions) for version in newer[:SHOWN]]
        more = f" and {len(newer) - SHOWN} more" if len(newer) > SHOWN else ""
        raise Conflict(f"{error} Since then: {', '.join(lines)}{more}.") from error


def renamed(store: Store, name: str) -> ListRenamed | None:
    """The error for a list that was renamed, and no other one has its old name; None if that is not so."""
    now = store.renamed(name)
    return None if now is None else ListRenamed.to(name, now)


def _told(version: Version, sessions: dict[int, Session]) -> str:
    session = sessions.get(version.session_id or 0)
    who = f" by {short_repr(session.label)} ({session.user}@{session.host})" if session is not None else ""
    return f"version {version.version} ({version.operation}){who} at {version.time:%Y-%m-%d %H:%M:%S} UTC"
