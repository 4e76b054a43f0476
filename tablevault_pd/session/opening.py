"""The beginning of a session: its name, its parent, its row, and the run that it continues."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tablevault_pd import progress
from tablevault_pd.capture import environment, script
from tablevault_pd.errors import Conflict, InvalidInput, InvalidName, VaultError, short_repr
from tablevault_pd.names import check_name, encodable
from tablevault_pd.reading import liveness
from tablevault_pd.session import active, inheritance
from tablevault_pd.session.lookup import resolve_session
from tablevault_pd.store import BEAT_S, Beat, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tablevault_pd.capture.redact import NullRedactor, Redactor
    from tablevault_pd.session.params import Params
    from tablevault_pd.store import Store

BEAT_VARIABLE = "TABLEVAULT_BEAT_S"
USER_VARIABLE = "TABLEVAULT_USER"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a session needs in order to begin."""

    parent: int | None
    resume: Session | None  #: the run to continue, as it was looked up


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
            f"{short_repr(name)} cannot name a session: name#2 is how the second run of one is called."
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
    overview = liveness.overview(store, [key])
    (last,) = store.sessions([key], info=True)
    if overview.sessions[0].state(overview.time) in ("running", "paused"):
        raise Conflict(
            f"The session {last.label} is still running: process {last.pid} on {last.host}, last heard of at "
            f"{last.heartbeat:%H:%M:%S} UTC. Stop it, or try again when it is lost; without resume= a new run begins."
        )
    return last


def process_info(redactor: Redactor | NullRedactor, token: str) -> dict[str, Any]:
    """Return the info of a new session: argv, machine and more. `token` identifies this attempt to begin."""
    info = environment.process_info() | {"machine": liveness.machine(), "opening": token}
    info |= liveness.start_of_process()
    info["argv"] = redactor.arguments(info["argv"])
    return info


def new_row(
    name: str,
    parent: int | None,
    tags: tuple[str, ...],
    params: Mapping[str, Any],
    info: Mapping[str, Any],
    user: str | None = None,
) -> Session:
    """Return the row of a session that begins in this process, without an id and a run."""
    return Session(
        name,
        encodable(user or _user_name()),
        environment.host_name(),
        os.getpid(),
        datetime.now(UTC),
        parent=parent,
        beat_s=beat_s(),
        tags=encodable(tags),
        params=encodable(params),
        info=encodable(info),
    )


def _user_name() -> str:
    """Return the user of this process: as its parent was told, the environment variable says, or the system."""
    parent = active.parent()
    inherited = "" if parent is None else parent.user
    return inherited or os.environ.get(USER_VARIABLE, "").strip() or environment.user_name()


def continued(last: Session, new: Session, params: Params) -> Session:
    """Return the row with which the run `last` continues in this process, and give `params` what that run had."""
    for name, value in last.params.items():
        params.setdefault(name, value)
    tags = new.tags or last.tags
    parent = new.parent if new.parent is not None else last.parent
    return replace(new, id=last.id, run=last.run, params=params.take(), tags=tags, parent=parent)


def pass_on_stop(store: Store, row: Session) -> None:
    """Ask a session to stop if its parent, in another process, is asked to."""
    if row.parent is None:
        return
    for request in store.beat([Beat(row.parent)]).requests:
        if request.request == "stop":
            store.ask([row.id], "stop", exit_code=request.exit_code, asked_by=request.asked_by)


def find_opened(store: Store, name: str, token: str) -> Session | None:
    """Return the row of an attempt to begin whose call was interrupted, if the store has opened it."""
    with suppress(VaultError):
        rows = store.sessions(name=name)
        open_ids = [row.id for row in rows if row.outcome is None and row.pid == os.getpid()]
        for row in store.sessions(open_ids, info=True) if open_ids else ():
            if row.info.get("opening") == token:
                return row
    return None


def warn_of_other_params(last: Session, params: Mapping[str, Any]) -> None:
    """Warn if the run that ``resume=True`` continues has other values of parameters: it may be another one of a sweep."""
    other = [
        f"{name} was {short_repr(last.params[name])} and is {short_repr(value)}"
        for name, value in encodable(dict(params)).items()
        if name in last.params and last.params[name] != value and value == value  # NaN is no change
    ]
    if other:
        progress.warn(
            f"resume=True continues {last.label} with other parameters: {', '.join(other)}. If that run is of another "
            f"configuration, give each a name of its own; resume={last.label!r} says that it is meant."
        )


def beat_s() -> float:
    """Return the time between two heartbeats of a session of this process, in seconds."""
    try:
        return min(max(float(os.environ.get(BEAT_VARIABLE, BEAT_S)), 0.1), 3600.0)
    except ValueError:
        return BEAT_S
