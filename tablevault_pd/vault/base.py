"""The base of every part of a :class:`Vault`: the store, the current session, and whether writing is allowed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from tablevault_pd.errors import InvalidType, VaultClosed, VaultCorrupt, VaultReadOnly, short_repr
from tablevault_pd.session import Recorder, Settings
from tablevault_pd.session.executed import place_in_code
from tablevault_pd.session.heartbeat import HEARTBEAT
from tablevault_pd.session.recorder import current_recorder
from tablevault_pd.vault.context import VaultContext

if TYPE_CHECKING:
    from typing import Any, Literal, Unpack

    from tablevault_pd.store import Store, Version
    from tablevault_pd.store.pinned import PinnedStore
    from tablevault_pd.vault.lists import List
    from tablevault_pd.vault.options import UpsertOptions


class VaultPart:
    """The state of a :class:`Vault`. Each theme of its calls is a subclass; `Vault` inherits from all of them."""

    if TYPE_CHECKING:  # of Vault itself

        def _list_at(self, version: Version) -> List: ...

        def _write(
            self,
            operation: Literal["save", "append", "upsert"],
            name: str,
            obj: Any,
            **options: Unpack[UpsertOptions],
        ) -> List: ...

    def __init__(
        self,
        context: VaultContext,
        run: Recorder | None = None,
        settings: Settings | None = None,
        view: PinnedStore | None = None,
    ) -> None:
        if not isinstance(context, VaultContext):
            raise InvalidType(f"A vault is opened by tv.connect({short_repr(context)}).")
        self._context = context
        self._run = run
        self._settings = settings or Settings()
        self._view = view  #: the store as it was, for a vault that was connected with at=
        self.closed = False
        context.handles.add(self)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name != "store"]  # what completion offers is for users

    @property
    def store(self) -> Store:
        """The store of the vault. Not public."""
        if self.closed:
            raise VaultClosed(
                f"The vault {self._context.store.place} was closed. Connect to it again with tablevault_pd.connect(…)."
            )
        if sys.is_finalizing():  # threads were ended wherever they were, perhaps with a lock in hand
            raise VaultClosed(
                "Python is ending, and vaults with it. Save before that: in a with statement, or by atexit."
            )
        run = self._current_run()
        if run is not None:
            run.raise_if_stopped()
        return self._context.store if self._view is None else cast("Store", self._view)

    @property
    def place(self) -> str:
        """Where the vault is."""
        return self._context.store.place

    def _damage_behind(self) -> VaultCorrupt | None:
        """Return the error for records that no release has written, if there are any."""
        unread = [] if self.closed else self._context.store.records_unread()
        more = f", and {len(unread) - 1} more" if len(unread) > 1 else ""
        return (
            VaultCorrupt(
                f"The catalogue of {self.place} is damaged: {unread[0]}{more}. vault.check() lists all damage. Restore it from a backup."
            )
            if unread
            else None
        )

    def _current_run(self) -> Recorder | None:
        """Return the innermost ``with vault.session(…)``, else the session that ``connect()`` opened."""
        return current_recorder(self._context.store) or self._run

    def _by(self) -> dict[str, Any]:
        """Return the session that something is recorded as made by, and which attempt of it this process makes."""
        run = self._current_run()
        return {"session_id": run and run.id, "attempt": run and run.row.attempt}

    def _writer(self) -> dict[str, Any]:
        """What a commit says of the current session, if there is one. The store has the code of the cell from then on."""
        run = self._current_run()
        if run is None:
            return {}
        cell, line = run.stored_place()
        place = {"cell": cell, "line": line, "step": run.current_step}
        return {**self._by(), **place}

    def _flush(self, *, info: bool = False) -> None:
        """Send recorded data of the sessions of this process to the store, before sessions or code are read.

        With `info` that includes their environment, which the background thread reads a moment after they began.
        """
        HEARTBEAT.flush(self.store, info=info)
        for run in self._context.sessions():
            run.keep_reads()

    def _check_writable(self) -> Store:
        """Return the store, if it may be written to."""
        store = self.store
        if self._view is not None:
            raise VaultReadOnly(
                f"This vault shows {self._view.pinned_to}, which is not written to. Connect without at= to write."
            )
        if store.read_only:
            raise VaultReadOnly(
                f"The vault {store.place} is open for reading. Connect with mode='rw' to write."
            )
        return store

    def _note_read(self, version: Version) -> None:
        """Record that the current session has read `version`."""
        run = self._current_run()
        if run is not None:
            run.reads.note(version, place_in_code())
