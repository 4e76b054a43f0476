"""How a session begins: what it is called, who its parent is, and which run it continues."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tablevault_pd import progress
from tablevault_pd.capture import script
from tablevault_pd.errors import Conflict, InvalidInput, InvalidName, shown
from tablevault_pd.names import check_name, encodable
from tablevault_pd.reading import liveness
from tablevault_pd.session import active, inheritance
from tablevault_pd.session.lookup import resolve_session
from tablevault_pd.store import BEAT_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tablevault_pd.store import Session, Store

BEAT_VARIABLE = "TABLEVAULT_BEAT_S"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session that has not begun needs to begin."""

    parent: int | None
    resume: Session | None  #: the run to continue, as it was when it was looked up


def session_name(store: Store, name: str | None) -> tuple[str, int | None]:
    """Return the name of a session, and its parent if this process was started from a session of the same vault."""
    parent = active.parent()
    if parent is not None and parent.vault != store.vault_id:
        parent = None
    inherited = None if parent is None else parent.session
    if name is None:
        if parent is not None and inheritance.is_worker():
            return inheritance.worker_name(parent.name), inherited
        name = script.default_name().replace("@", "_").strip() or "python"
        name = name.rstrip("0123456789").rstrip("#") if _hides_a_run(name) else name
    name = check_name(name, "session")
    if _hides_a_run(name):
        raise InvalidName(
            f"{shown(name)} cannot name a session: name#2 is how the second run of one is called."
        )
    return name, inherited


def _hides_a_run(name: str) -> bool:
    before, hash_sign, run = name.rpartition("#")
    return bool(before and hash_sign and run.isdecimal())


def run_to_resume(store: Store, name: str | None, resume: Any) -> Session | None:
    """Return the run that ``resume=`` means, or None if a new one is to begin. Raises Conflict if it is still running."""
    if resume is False:
        return None
    if resume is True:
        runs = store.sessions(name=session_name(store, name)[0])
        if not runs or runs[-1].outcome == "finished":
            return None
        key = runs[-1].id
    else:
        session = resolve_session(store, resume)
        if name is not None and name != session.name:
            raise InvalidInput(
                f"resume= means a run of {session.name!r}, and the session is to be called {name!r}."
            )
        key = session.id
    seen = liveness.overview(store, [key])
    (last,) = store.sessions([key], info=True)
    if seen.sessions[0].state(seen.time) in ("running", "paused"):
        raise Conflict(
            f"The session {last.label} is still running: process {last.pid} on {last.host}, last heard of at "
            f"{last.heartbeat:%H:%M:%S} UTC. Stop it, or try again when it is lost; without resume= a new run begins."
        )
    return last


def warn_of_other_params(last: Session, params: Mapping[str, Any]) -> None:
    """Warn if the run that ``resume=True`` continues has other values of parameters: it may be another one of a sweep."""
    other = [
        f"{name} was {shown(last.params[name])} and is {shown(value)}"
        for name, value in encodable(dict(params)).items()
        if name in last.params and last.params[name] != value and value == value  # NaN is no change
    ]
    if other:
        progress.warn(
            f"resume=True continues {last.label} with other parameters: {', '.join(other)}. If that run is of another "
            f"configuration, give each a name of its own; resume={last.label!r} says that it is meant."
        )


def beat_s() -> float:
    """Return how often sessions of this process beat, in seconds."""
    try:
        return min(max(float(os.environ.get(BEAT_VARIABLE, BEAT_S)), 0.1), 3600.0)
    except ValueError:
        return BEAT_S
