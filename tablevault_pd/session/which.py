"""Sessions by what people call them: ``train``, ``train#2``, ``sweep-*``, an id, or a frame from ``vault.sessions()``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from tablevault_pd.errors import InvalidInput, SessionNotFound, shown
from tablevault_pd.store import Overview, Session, Store

_WILD = frozenset("*?[")


def find_or_none(store: Store, which: str | int) -> Session | None:
    """The session of that id or ``name#run``; of a bare name the latest run."""
    if isinstance(which, int):
        return next(iter(store.sessions([which])), None)
    named = store.sessions(name=which)
    if named:
        return named[-1]
    name, hash_sign, run = which.rpartition("#")
    if not hash_sign or not run.isdecimal():
        return None
    return next((session for session in store.sessions(name=name) if session.run == int(run)), None)


def find(store: Store, which: str | int) -> Session:
    """As :func:`find_or_none`, but raises SessionNotFound, with the names that come close."""
    found = find_or_none(store, which)
    if found is None:
        close = get_close_matches(str(which), {session.name for session in store.sessions()}, n=3)
        hint = (
            f"Did you mean {' or '.join(map(repr, close))}?"
            if close
            else "vault.sessions() shows what is there."
        )
        raise SessionNotFound(f"No session {shown(which)} in this vault. {hint}")
    return found


def is_pattern(name: str) -> bool:
    """Whether a name is a pattern, as the shell has them."""
    return not _WILD.isdisjoint(name)


def matching(overview: Overview, pattern: str) -> list[Session]:
    """Sessions whose name, or ``name#run``, fits a pattern."""
    return [
        session
        for session in overview.sessions
        if fnmatchcase(session.name, pattern) or fnmatchcase(session.label, pattern)
    ]


def targets(store: Store, which: Any) -> list[int]:
    """Ids of the sessions that a request is meant for, oldest first.

    A pattern means every run that has not ended, and the latest run of each name. Raises SessionNotFound for a name or
    an id that is not there; a pattern or a frame may match nobody.
    """
    if isinstance(which, pd.DataFrame):
        if "session" not in which.columns:
            raise InvalidInput(
                "A frame that says which sessions are meant has a column 'session', as vault.sessions() has."
            )
        return _labelled(store, which["session"].dropna().tolist())
    if isinstance(which, Session):
        return [which.id]
    if isinstance(getattr(which, "id", None), int):
        return [int(which.id)]  # a session of this process
    if isinstance(which, bool) or which is None:
        raise InvalidInput(
            f"Say which session is meant: its name, its id, or a frame from vault.sessions(), not {shown(which)}."
        )
    if isinstance(which, str):
        return _named(store, which)
    if hasattr(which, "__index__"):
        return [find(store, which.__index__()).id]
    if isinstance(which, Iterable):
        return sorted({key for each in which for key in targets(store, each)})
    raise InvalidInput(
        f"Say which session is meant: its name, its id, or a frame from vault.sessions(), not {shown(which)}."
    )


def _named(store: Store, which: str) -> list[int]:
    exact = find_or_none(store, which)
    if exact is not None:
        return [exact.id]
    if not is_pattern(which):
        return [find(store, which).id]  # which raises, with a hint
    found = matching(store.overview(), which)
    latest = {session.name: session.id for session in found}
    return [session.id for session in found if session.outcome is None or latest[session.name] == session.id]


def _labelled(store: Store, labels: Sequence[str]) -> list[int]:
    wanted = set(labels)
    return [session.id for session in store.overview().sessions if session.label in wanted] if wanted else []
