"""What all handles on one place have in common, in one process: the store, and the sessions opened in it."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import InvalidInput, shown
from tablevault_pd.names import check_name
from tablevault_pd.session import Recorder, Settings
from tablevault_pd.session.heartbeat import HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tablevault_pd.capture.exits import ExitStatus
    from tablevault_pd.store import Store

#: By place and mode. Connecting again to the same place finds it here.
open_contexts: dict[tuple[str, str], Context] = {}


class Context:
    """What all handles on one place have in common: the store, and the sessions opened in it."""

    def __init__(self, key: tuple[str, str], store: Store, options: dict[str, Any]) -> None:
        self.key = key
        self.store = store
        self.options = options  #: what the store was opened with
        self.closed = False
        self.runs: dict[str, Recorder] = {}  # the quiet ones
        self.named_sessions: weakref.WeakSet[Recorder] = weakref.WeakSet()  # those of Vault.session()
        self.handles: weakref.WeakSet[object] = weakref.WeakSet()

    def check_options(self, given: Mapping[str, Any]) -> None:
        """Refuse options that differ from those of the open store; None stands for one that was left out."""
        _refuse_other(f"The vault {self.store.place} is open in this process", given, self.options)

    def run(self, name: str | None, settings: Settings, given: Mapping[str, Any]) -> Recorder:
        """Return the session of that name; the one opened last if none is named.

        A new one gets `settings`; one that is there must have those of them that were `given` (None: left out).
        """
        name = None if name is None else check_name(name, "session")
        if name is None and self.runs:
            name = next(reversed(self.runs))
        if name is None or name not in self.runs:
            run = Recorder(self.store, name, settings=settings)
            self.runs[run.row.name] = run
            return run
        run = self.runs[name]
        there = {"capture": run.settings.capture, "redact": run.settings.redact}
        _refuse_other(f"The session {name!r} of this process is recorded", given, there)
        return run

    def sessions(self) -> list[Recorder]:
        """Every session of this process that is opened here."""
        return [*self.named_sessions, *self.runs.values()]

    def release(self, vault: object, ending: ExitStatus) -> None:
        """A handle was closed; with the last one everything is, the sessions by `ending`.

        What an interrupt left out is done by the next call.
        """
        self.handles.discard(vault)
        if not self.handles and not self.closed:
            self.forget()
            deadline = time.monotonic() + self.store.timeout_s  # for all of them together
            for run in self.sessions():
                left_s = max(deadline - time.monotonic(), 0.0)
                run.end(ending, timeout_s=left_s, quietly=True)  # abandon() tells
            HEARTBEAT.abandon(self.store)
            self.store.close()
            self.closed = True

    def forget(self) -> None:
        """Have the next `connect` open the place anew."""
        if open_contexts.get(self.key) is self:
            del open_contexts[self.key]


def _refuse_other(what: str, given: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    other = [name for name, value in given.items() if value is not None and value != there[name]]
    if other:
        raise InvalidInput(
            f"{what} with {', '.join(f'{name}={shown(there[name])}' for name in other)}. "
            f"Leave {', '.join(f'{name}=' for name in other)} out to share it, or close it first."
        )
