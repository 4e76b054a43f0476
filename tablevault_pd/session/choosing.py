"""Which sessions ``vault.sessions(…)`` shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from tablevault_pd.errors import InvalidInput, shown
from tablevault_pd.session.params import checked_tags
from tablevault_pd.session.which import find_or_none, is_pattern, matching
from tablevault_pd.store import Overview, Session, Store

STATES = ("running", "paused", "finished", "failed", "stopped", "lost")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a session must be like. None asks for nothing."""

    name: str | None
    states: tuple[str, ...] | None
    params: Mapping[str, Any]
    tags: tuple[str, ...]
    parent: int | None
    since: datetime | None
    until: datetime | None

    @classmethod
    def of(
        cls, name: Any, *, state: Any, params: Any, tags: Any, parent: int | None, since: Any, until: Any
    ) -> Wanted:
        """Arguments as people give them, checked."""
        if name is not None and not isinstance(name, str):
            raise InvalidInput(
                f"A session's name is a text, such as 'train', 'train#2' or 'sweep-*', not {shown(name)}."
            )
        states = None if state is None else (state,) if isinstance(state, str) else tuple(state)
        for each in states or ():
            if each not in STATES:
                raise InvalidInput(f"state= is one of {', '.join(STATES)}, not {shown(each)}.")
        return cls(
            name,
            states,
            dict(params or {}),
            checked_tags(tags),
            parent,
            _time(since, "since"),
            _time(until, "until"),
        )

    @property
    def asks_nothing(self) -> bool:
        """Whether every session is wanted."""
        return self == Wanted(None, None, {}, (), None, None, None)

    def fits(self, session: Session, now: datetime) -> bool:
        """Whether a session is like that; its name is not looked at."""
        return (
            (self.states is None or session.state(now) in self.states)
            and all(
                name in session.params and session.params[name] == value
                for name, value in self.params.items()
            )
            and set(self.tags) <= set(session.tags)
            and (self.parent is None or session.parent == self.parent)
            and (self.since is None or session.started >= self.since)
            and (self.until is None or session.started < self.until)
        )


def chosen_sessions(store: Store, wanted: Wanted) -> tuple[Overview, list[Session]]:
    """Sessions that are as wanted, oldest first, and the overview they are from."""
    if wanted.name is None:
        seen = store.overview()
        named = seen.sessions
    else:
        seen = store.overview(name=wanted.name)
        named = seen.sessions
        if not named:
            one = find_or_none(store, wanted.name)
            if one is not None:
                seen = store.overview([one.id])
                named = seen.sessions
            elif is_pattern(wanted.name):
                seen = store.overview()
                named = matching(seen, wanted.name)
    return seen, [session for session in named if wanted.fits(session, seen.time)]


def _time(value: Any, what: str) -> datetime | None:
    if value is None:
        return None
    try:
        time = pd.Timestamp(value)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{what}= is a time, not {shown(value)}.") from error
    time = time.tz_localize("UTC") if time.tzinfo is None else time.tz_convert("UTC")
    return time.to_pydatetime()
