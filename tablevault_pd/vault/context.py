"""The state that all handles on one vault share in a process: the store, and the sessions opened in it."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.names import check_name
from tablevault_pd.session import Recorder, Settings
from tablevault_pd.session.heartbeat import HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tablevault_pd.capture.exits import ExitStatus
    from tablevault_pd.store import Store

#: Open contexts by place and mode, for handles on the same place.
open_contexts: dict[tuple[str, str], VaultContext] = {}


class VaultContext:
    """The state that all handles on one place share: the store, and the sessions opened in it."""

    def __init__(self, key: tuple[str, str], store: Store, options: dict[str, Any]) -> None:
        self.key = key
        self.store = store
        self.options = options  #: the options with which the store was opened
        self.closed = False
        self.runs: dict[str, Recorder] = {}  # sessions that connect() opened, by name
        self.named_sessions: weakref.WeakSet[Recorder] = weakref.WeakSet()  # sessions of Vault.session()
        self.handles: weakref.WeakSet[object] = weakref.WeakSet()

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise InvalidInput for options that differ from those of the open store; None is one that was left out."""
        _refuse_other(f"The vault {self.store.place} is open in this process", options, self.options)

    def run(self, name: str | None, settings: Settings, options: Mapping[str, Any]) -> Recorder:
        """Return the session of that name; the one opened last if none is named.

        A new one gets `settings`; one that is there must have those of them that were `options` (None: left out).
        """
        name = None if name is None else check_name(name, "session")
        if name is None and self.runs:
            name = next(reversed(self.runs))
        if name is None or name not in self.runs:
            run = Recorder(self.store, name, settings=settings)
            self.runs[run.row.name] = run
            return run
        run = self.runs[name]
        there = {"capture": run.settings.capture, "redact": run.settings.redact, "user": run.settings.user}
        _refuse_other(f"The session {name!r} of this process is recorded", options, there)
        return run

    def sessions(self) -> list[Recorder]:
        """Return every session of this process in the vault."""
        return [*self.named_sessions, *self.runs.values()]

    def release(self, vault: object, ending: ExitStatus) -> None:
        """Remove a closed handle; after the last one, end the sessions by `ending` and close the store.

        After an interrupt, the next call goes on.
        """
        self.handles.discard(vault)
        if not self.handles and not self.closed:
            self.forget()
            deadline = time.monotonic() + self.store.timeout_s  # for all of them together
            for run in self.sessions():
                left_s = max(deadline - time.monotonic(), 0.0)
                run.end(ending, timeout_s=left_s)  # abandon() tells
            HEARTBEAT.abandon(max(deadline - time.monotonic(), 0.0), self.store)
            self.store.close()
            self.closed = True

    def forget(self) -> None:
        """Have the next `connect` open the place again."""
        if open_contexts.get(self.key) is self:
            del open_contexts[self.key]


def _refuse_other(what: str, options: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    other = [name for name, value in options.items() if value is not None and value != present[name]]
    if other:
        raise InvalidInput(
            f"{what} with {', '.join(f'{name}={short_repr(present[name])}' for name in other)}. "
            f"Leave {', '.join(f'{name}=' for name in other)} out to share it, or close it first."
        )
