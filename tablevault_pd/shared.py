"""What all handles on one place have in common, in one process: the store, and the sessions opened in it."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from tablevault_pd.names import check_name
from tablevault_pd.session import Run, Settings
from tablevault_pd.store import Store

if TYPE_CHECKING:
    from tablevault_pd.vault import Vault

#: By place and mode. Connecting again to the same place finds it here.
open_places: dict[tuple[str, str], Shared] = {}


class Shared:
    """What all handles on one place have in common: the store, and the sessions opened in it."""

    def __init__(self, key: tuple[str, str], store: Store) -> None:
        self.key = key
        self.store = store
        self.runs: dict[str, Run] = {}  # the quiet ones
        self.others: weakref.WeakSet[Run] = weakref.WeakSet()  # those of Vault.session()
        self.handles: weakref.WeakSet[Vault] = weakref.WeakSet()

    def run(self, name: str | None, settings: Settings) -> Run:
        """The session of that name; the one opened last if none is named."""
        name = None if name is None else check_name(name, "session")
        if name is None and self.runs:
            return next(reversed(self.runs.values()))
        if name is None or name not in self.runs:
            run = Run(self.store, name, settings=settings)
            self.runs[run.row.name] = run
            return run
        return self.runs[name]

    def sessions(self) -> list[Run]:
        """Every session of this process that is opened here."""
        return [*self.others, *self.runs.values()]

    def leave(self, vault: Vault) -> None:
        """A handle was closed; with the last one everything is."""
        self.handles.discard(vault)
        if not self.handles:
            open_places.pop(self.key, None)
            for run in self.sessions():
                run.end()
            self.store.close()
