"""Look up the sessions that a caller names, and test which of them fit a filter.

Every public call that takes a session takes the same forms: a name (``"train"``), one run of it
(``"train#3"``), a pattern (``"sweep-*"``), an id, a session, a frame or a column from ``vault.sessions()``, or several of
these. A bare name means all its runs where sessions are read, its live runs where they are stopped, paused or resumed,
and its latest run where one is read or tagged.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, InvalidType, SessionNotFound, did_you_mean, short_repr
from tablevault_pd.reading import liveness
from tablevault_pd.reading.nested import flat
from tablevault_pd.session.params import as_mapping, plain
from tablevault_pd.store import Session, Store

if TYPE_CHECKING:
    from datetime import datetime

STATES = ("running", "paused", "finished", "failed", "stopped", "lost")
LIVE = ("running", "paused")

#: The runs that a name means: all, the live ones (the latest if none lives), or the latest.
Runs = Literal["all", "live", "latest"]

_WILD = frozenset("*?[")
_FEW = 3  # up to so many names are looked up one by one; for more, all sessions are read once


def resolve_sessions(store: Store, which: Any, *, runs: Runs = "all") -> list[Session]:
    """Return the sessions that `which` means, oldest first, each once.

    Raises SessionNotFound for an unknown name, run or id, with similar names; a pattern, an empty list or an empty
    frame may mean none. Raises InvalidInput for anything that cannot mean a session.
    """
    by_id = {session.id: session for session in _Lookup(store, runs).find(which)}
    return [by_id[key] for key in sorted(by_id)]


def resolve_session(store: Store, which: Any) -> Session:
    """Return the one session that `which` means; a bare name means its latest run."""
    sessions = resolve_sessions(store, which, runs="latest")
    if not sessions:
        raise SessionNotFound(f"No session fits {short_repr(which)}. vault.sessions() shows what is there.")
    if len(sessions) > 1:
        labels = ", ".join(session.label for session in sessions[:5]) + (" …" if len(sessions) > 5 else "")
        raise InvalidInput(
            f"One session is meant here, and {short_repr(which)} means {len(sessions)}: {labels}."
        )
    return sessions[0]


def is_pattern(name: str) -> bool:
    """Return whether a name has wildcards of the shell."""
    return not _WILD.isdisjoint(name)


class _Lookup:
    """Looks sessions up: few names one by one, many in one list of all sessions."""

    def __init__(self, store: Store, runs: Runs) -> None:
        self._store = store
        self._runs = runs
        self._many = False

    def find(self, which: Any) -> list[Session]:
        which = getattr(which, "_recorder", which)  # of a Run
        if isinstance(which, str):
            return self._called(which)
        if isinstance(which, Session):
            return [which]
        if isinstance(which, pd.DataFrame):
            return self.find(_labels(which))
        if isinstance(which, pd.Series) and "session" in which.index:
            return self._called(str(which["session"]))  # a row of vault.sessions()
        if hasattr(type(which), "vault_id"):  # a Run, or what vault.run() returned
            return [self._of_this_vault(which)]
        if isinstance(which, (bool, np.bool_, bytes, Mapping)):
            raise _no_session(which)
        if hasattr(which, "__index__") and not isinstance(which, np.ndarray):
            return [self._with_id(operator.index(which))]
        if isinstance(which, Iterable) and getattr(which, "ndim", 1) == 1:
            several = list(which.dropna() if isinstance(which, (pd.Series, pd.Index)) else which)
            self._many = self._many or len(several) > _FEW
            return [session for part in several for session in self.find(part)]
        raise _no_session(which)

    @cached_property
    def _everyone(self) -> list[Session]:
        return self._store.sessions()

    @cached_property
    def _by_name(self) -> dict[str, list[Session]]:
        by_name: dict[str, list[Session]] = {}
        for session in self._everyone:
            by_name.setdefault(session.name, []).append(session)
        return by_name

    @cached_property
    def _by_id(self) -> dict[int, Session]:
        return {session.id: session for session in self._everyone}

    def _named(self, name: str) -> Sequence[Session]:
        if any("\ud800" <= character <= "\udfff" for character in name):
            return ()  # a lone surrogate: no name has one, and no store takes it
        return self._by_name.get(name, ()) if self._many else self._store.sessions(name=name)

    def _with_id(self, key: int) -> Session:
        session = self._by_id.get(key) if self._many else next(iter(self._store.sessions([key])), None)
        if session is None:
            raise SessionNotFound(
                f"No session of this vault has the id {key}. vault.sessions() shows what is there."
            )
        return session

    def _of_this_vault(self, which: Any) -> Session:
        if which.vault_id != self._store.vault_id:
            raise InvalidInput(f"{which!r} is a session of another vault.")
        return self._with_id(which.id)

    def _called(self, which: str) -> list[Session]:
        named = self._named(which)
        if named:
            return self._chosen(named)
        name, hash_sign, run = which.rpartition("#")
        if hash_sign and run.isdecimal():
            runs = [session for session in self._named(name) if session.run == int(run)]
            if runs:
                return runs
        if not is_pattern(which):
            raise self._unknown(which)
        return self._matching(which)

    def _matching(self, pattern: str) -> list[Session]:
        by_name: dict[str, list[Session]] = {}
        for session in self._everyone:
            if fnmatchcase(session.name, pattern) or fnmatchcase(session.label, pattern):
                by_name.setdefault(session.name, []).append(session)
        return [session for named in by_name.values() for session in self._chosen(named)]

    def _chosen(self, named: Sequence[Session]) -> list[Session]:
        """Return the runs of one name that `self._runs` means."""
        if self._runs == "all":
            return list(named)
        live = self._live(named) if self._runs == "live" else []
        return live or [named[-1]]

    def _live(self, named: Sequence[Session]) -> list[Session]:
        still_open = [session.id for session in named if session.outcome is None]
        if not still_open:
            return []
        # The clock of the store decides which sessions are lost.
        overview = liveness.overview(self._store, still_open)
        return [session for session in overview.sessions if session.state(overview.time) in LIVE]

    def _unknown(self, which: str) -> SessionNotFound:
        name, hash_sign, run = which.rpartition("#")
        runs = self._by_name.get(name) if hash_sign else None
        if runs:
            return SessionNotFound(
                f"The session {name!r} has no run {run}: its runs are {runs[0].run} to {runs[-1].run}."
            )
        name_or_label = name if hash_sign and run.isdecimal() else which
        hint = did_you_mean(name_or_label, self._by_name) or "vault.sessions() shows what is there."
        return SessionNotFound(f"No session {short_repr(which)} in this vault. {hint}")


def _labels(frame: pd.DataFrame) -> list[str]:
    """Return the labels of sessions in the column, or the level of the index, named ``session``."""
    if "session" in frame.columns:
        return [str(label) for label in frame["session"].dropna()]
    if "session" in frame.index.names:
        return [str(label) for label in frame.index.get_level_values("session").dropna()]
    raise InvalidInput(
        "A frame that says which sessions are meant has a column 'session', as vault.sessions() has."
    )


def _no_session(which: Any) -> InvalidType:
    return InvalidType(
        "Say which session is meant: a name, 'train#2', a pattern, an id, a session, a frame from vault.sessions(), "
        f"or a list of these, not {short_repr(which)}."
    )


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Conditions on sessions. None, or an empty value, is no condition."""

    states: tuple[str, ...] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    parents: frozenset[int] | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(
        cls, store: Store, *, state: Any, params: Any, tags: Any, parent: Any, since: Any, until: Any
    ) -> SessionFilter:
        """Check the arguments of :meth:`Vault.sessions`."""
        parents = None if parent is None else {session.id for session in resolve_sessions(store, parent)}
        return cls(
            None if state is None else validate.choices(state, "state", STATES),
            {
                validate.text(name, "The name of a parameter"): plain(value)
                for name, value in as_mapping(params).items()
            },
            validate.tags(tags) or (),
            None if parents is None else frozenset(parents),
            validate.optional_time(since, "since"),
            validate.optional_time(until, "until"),
        )

    def with_parents(self, ids: frozenset[int]) -> SessionFilter:
        """The same, for the children of these sessions only."""
        return replace(self, parents=ids if self.parents is None else self.parents & ids)

    @property
    def is_empty(self) -> bool:
        """Whether there is no condition."""
        conditions = (self.states, self.parents, self.since, self.until)
        return not self.params and not self.tags and all(condition is None for condition in conditions)

    def fits(self, session: Session, now: datetime) -> bool:
        """Return whether a session fulfils all conditions, at `now` by the clock of the store."""
        return (
            (self.states is None or session.state(now) in self.states)
            and (not self.params or self._has_params(session))
            and set(self.tags) <= set(session.tags)
            and (self.parents is None or session.parent in self.parents)
            and (self.since is None or session.started >= self.since)
            and (self.until is None or session.started < self.until)
        )

    def _has_params(self, session: Session) -> bool:
        params = {**flat(session.params), **session.params}
        return all(name in params and params[name] == value for name, value in self.params.items())
