"""The Store protocol: what the library asks of a place to keep lists, batches and sessions in.

Arrow tables and frozen dataclasses (:mod:`types`, :mod:`session_types`, :mod:`edges`, :mod:`work`, :mod:`pieces`,
:mod:`text_query`) go in and come out; SQL rows, cursors and documents stay inside a store. The protocol is split by what it
keeps: :mod:`lists`, :mod:`names`, :mod:`sessions`, :mod:`code`, :mod:`claims`, :mod:`search`, :mod:`lineage` and
:mod:`maintenance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tablevault_pd.store.claims import ClaimStore
from tablevault_pd.store.code import CodeStore
from tablevault_pd.store.lineage import LineageStore
from tablevault_pd.store.lists import FileKeeper, KeyIndexStore, ListStore, Staging
from tablevault_pd.store.maintenance import MaintenanceStore
from tablevault_pd.store.names import NameStore, Rename, VersionName
from tablevault_pd.store.search import SearchStore
from tablevault_pd.store.session_types import (
    BEAT_S,
    LOST_AFTER_BEATS,
    NO_STEP,
    Attempt,
    Beat,
    BeatResponse,
    Cell,
    Confirmation,
    ControlKind,
    ControlRequest,
    Measures,
    ModuleSource,
    Overview,
    Part,
    Pause,
    Session,
    SessionLabel,
    Timelines,
    WrittenCode,
)
from tablevault_pd.store.sessions import SessionStore
from tablevault_pd.store.types import (
    Batch,
    Chunk,
    Compacted,
    Description,
    Erasure,
    Freed,
    Hits,
    IndexInfo,
    ListInfo,
    ListState,
    ListSummary,
    Metric,
    Operation,
    Problem,
    Progress,
    ScanRequest,
    Scope,
    Severity,
    Spans,
    VectorQuery,
    Version,
    VersionLookup,
)

if TYPE_CHECKING:
    from pathlib import Path


class Store(
    ListStore,
    NameStore,
    KeyIndexStore,
    SessionStore,
    CodeStore,
    ClaimStore,
    SearchStore,
    LineageStore,
    MaintenanceStore,
    Protocol,
):
    """Where one vault is kept. Every store passes tests/test_store.py, and the state machine of tests/test_machine.py.

    What holds for every method, unless it says otherwise:

    **Atomicity.** A method that writes does all it says in one step, or raises and has done nothing; so it is, too, if the
    process dies or an interrupt (KeyboardInterrupt) comes on any line. What it wrote is seen by every call that begins after
    it returned, in every process and on every machine. A method that reads sees one moment of each list and session.

    **Order.** A list comes back in the order its method names, the same each time. Names and texts compare by code point.

    **Threads and processes.** Every method may be called by several threads and processes at once, without a lock of the
    caller's. An iterator, a :class:`Staging` and a :class:`FileKeeper` belong to one thread at a time. After a fork the
    child may use the same object; nothing open at the fork is used by both.

    **Ownership.** Arrow tables, arrays and dataclasses that go in are not changed by the store, nor afterwards by the caller.
    What comes out belongs to the caller, and the store keeps no reference it would write through; memory that is mapped or
    shared is not to be written to, unless :attr:`Chunk.private`.

    **Retries.** A store tries again by itself, up to `timeout_s`, what failed for a reason that passes (a lock, a lost
    connection, a failover), and never does a write twice by it. A caller may call again whatever raised VaultBusy.

    **Requests.** "One request" bounds the trips to a server, pages of a large answer apart: no method asks once per row,
    version or session.

    **Times** are aware datetimes in UTC, in whole microseconds, by the store's clock.

    **Errors.** All are :class:`~tablevault_pd.errors.VaultError`: VaultClosed after :meth:`close`; VaultReadOnly for a write to a
    store that is `read_only`, or by a user without rights; VaultBusy or ConnectionLost once `timeout_s` is over; StorageFull,
    StorageError for the disk; VaultCorrupt for what was committed and cannot be read back as it was; VaultNotFound if the vault
    was removed while it was open; InvalidInput for texts and numbers that no store holds (lone surrogates, more than 64
    bits). They are raised before anything is written, name what is concerned, and show no password.
    """

    @property
    def place(self) -> str:
        """The vault's address for people: without a password."""

    @property
    def vault_id(self) -> str:
        """32 hex digits that identify this vault, also in copies of it."""

    @property
    def read_only(self) -> bool:
        """Whether nothing may be written."""

    @property
    def timeout_s(self) -> float:
        """How long a call waits, in seconds, for another writer or for the server."""

    @property
    def scratch(self) -> Path | None:
        """A folder for files without a name; None: the system's temporary one."""

    @property
    def pinned_to(self) -> str | None:
        """The snapshot or time whose state it shows, for people; None: it shows what is newest."""

    def is_current(self) -> bool:
        """Whether the vault that was opened still lies in its place."""

    def close(self) -> None:
        """Give back connections, threads and files. It waits for calls under way, and may be called again."""
