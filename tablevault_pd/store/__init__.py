"""The Store protocol: what the library asks of a place to keep lists, batches and sessions in.

Arrow tables and frozen dataclasses (:mod:`tablevault_pd.store.types`) go in and come out; SQL rows, cursors and documents
stay inside a store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, Self

from tablevault_pd.store.types import (
    BEAT_S,
    LOST_AFTER_BEATS,
    NO_STEP,
    Attempt,
    Batch,
    Beat,
    Cell,
    Chunk,
    Compacted,
    Confirmation,
    Control,
    Description,
    Facts,
    Freed,
    Hits,
    ListState,
    Lookup,
    Measures,
    Metric,
    Near,
    Operation,
    Overview,
    Part,
    Pause,
    Problem,
    Progress,
    Pulse,
    Request,
    Rows,
    Scope,
    Session,
    Severity,
    Source,
    Spans,
    Timelines,
    Version,
    WrittenCode,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    import pyarrow as pa

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store.edges import EdgeSummary, EdgeTable, Found, Place, Wanted, Writers
    from tablevault_pd.store.text_query import Node


class Staging(Protocol):
    """Rows on their way into a commit: durable, invisible, and gone again unless committed."""

    rows: int

    def write(self, table: pa.Table) -> None:
        """Add the rows of `table`. Its schema may differ from that of the tables before. Raises StorageFull."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget what was not committed."""


class Keeping(Protocol):
    """Keeps the content of files for the rows of one save."""

    def __call__(self, path: Path, sha256: str) -> None:
        """Keep the content of a file under its hash, once, however often it comes; anew if it is damaged or lost."""

    @property
    def files(self) -> tuple[tuple[str, int], ...]:
        """(SHA-256, size) of all that it kept, for :attr:`Batch.files`."""


class Store(Protocol):
    """Where lists, batches and sessions are kept. Every store passes tests/test_store.py.

    Safe to use from several threads. After a fork the child may go on using it.
    """

    @property
    def place(self) -> str:
        """The vault's address for people: without a password."""

    @property
    def vault_id(self) -> str:
        """32 hex digits that name this vault for ever."""

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
    def judges(self) -> bool:
        """Whether a scan leaves out rows by its `where`. If not, there is no need to think of one."""

    def is_current(self) -> bool:
        """Whether the vault that was opened still lies in its place."""

    def close(self) -> None:
        """Give back connections and files. A closed store raises VaultClosed."""

    # -- lists and rows
    def commit(self, batch: Batch, rows: Staging | None = None) -> Version:
        """Make the batch's rows visible at the end of its list, or none, and return the new version.

        A list that does not exist is made by save and append. A batch whose token is already in the list is
        recognised: its version is returned and nothing is written. Raises ListNotFound, ListDeleted,
        VersionNotFound, VaultBusy, StorageFull; Conflict if `expect` or `base` no longer hold.
        """

    def stage(self) -> Staging:
        """A place to put rows before :meth:`commit`."""

    def head(self, name: str) -> Version | None:
        """The newest version of a list, deleted or not; None if it never existed."""

    def version(self, name: str, version: int) -> Version | None:
        """One version of a list, or None."""

    def version_at(self, name: str, time: datetime) -> Version | None:
        """The newest version committed at or before `time`, or None."""

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions of one list (oldest first) or of every list (in order of time)."""

    def lists(self) -> list[ListState]:
        """Every list, deleted ones included, in order of name."""

    def names(self, prefix: str = "") -> list[str]:
        """Names of all lists, deleted ones included, that begin with `prefix`, sorted."""

    def find_versions(self, wanted: Sequence[Lookup]) -> list[Version | None]:
        """What :meth:`head`, :meth:`version` or :meth:`version_at` says of each. One request."""

    def schema(self, schema_id: int) -> pa.Schema:
        """A schema as committed."""

    def schemas(self, ids: Iterable[int]) -> dict[int, pa.Schema]:
        """Schemas by id. One request."""

    def scan(
        self,
        version: Version,
        *,
        start: int = 0,
        stop: int | None = None,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
    ) -> Iterator[Chunk]:
        """Rows `start` to `stop` (`stop` excluded) of a version, in position order, as committed.

        Chunks keep the schema they were written with; a column that a chunk was written without is left out of it.
        With `where`, rows of which it is surely false may be left out, or not: that is the store's choice, and the caller
        applies the filter. Positions are then those of the rows that came. What was written together still comes as a
        chunk, be it without rows, as it may bring categories; and rows that are missing are noticed all the same.
        Each payload is verified the first time this process reads it. Raises VaultCorrupt naming list and version,
        VersionNotFound if the rows were vacuumed.
        """

    def scan_many(self, wanted: Sequence[Rows]) -> Iterator[tuple[int, Chunk]]:
        """Rows of several versions in the order asked for, each chunk with the number of what it belongs to.

        Rows beside those at the positions may come. The number of requests does not grow with what is wanted, apart from
        pages. Errors as those of :meth:`scan`.
        """

    # -- descriptions, files kept in the vault
    def describe(self, description: Description) -> None:
        """Keep a description. One of the same target and label is superseded, not lost."""

    def descriptions(self, *, history: bool = False) -> list[Description]:
        """The newest description of each target and label; with `history` all that ever were, oldest first."""

    def keeping(self) -> AbstractContextManager[Keeping]:
        """Keep the files of one save. Nothing that it keeps is swept until it is left, which comes after the commit.

        Left by an exception, it removes what it kept anew and nobody else needs.
        """

    def open_file(self, sha256: str) -> BinaryIO:
        """The kept content. Raises FileMissing if it is not kept here, VaultCorrupt if it is damaged."""

    # -- sessions
    def open_session(self, session: Session) -> Session:
        """Keep a new session; what comes back has its id, its run, and the time it started by the store's clock."""

    def reopen_session(self, session: Session, *, seen: datetime | None) -> Session:
        """Let the run of `session` go on in another process: its next attempt begins.

        Its pid, host, parent, params, tags and info are replaced.

        Raises Conflict if its heartbeat is no longer the one that was `seen`: somebody else took it, or it lives.
        """

    def update_session(self, session_id: int, /, **changes: Any) -> None:
        """Set fields of a session: started, ended, heartbeat, outcome, error, tags, params, info."""

    def sessions(
        self, ids: Sequence[int] | None = None, *, name: str | None = None, info: bool = False
    ) -> list[Session]:
        """Sessions by id, by name, or all, oldest first. Their `info` is left empty unless asked for."""

    def change_tags(
        self,
        *,
        sessions: Sequence[int] = (),
        versions: Sequence[tuple[int, int]] = (),
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
    ) -> None:
        """Add tags, at the end and each once, and remove some, of sessions and of versions by (list id, number).

        What others add or remove at the same moment is not lost. One request.
        """

    def put_cell(self, cell: Cell) -> None:
        """Keep a cell, replacing the one of the same number."""

    def cells(self, session_ids: Sequence[int] | None = None) -> list[Cell]:
        """Cells of these sessions, or of all, in order."""

    # -- control and measures
    def beat(self, beats: Sequence[Beat]) -> Pulse:
        """Write what these sessions have to tell, all or nothing, and return what is asked of them. One request.

        Where every beat is silent nothing is written. Times (heartbeat, end, acknowledgement) are the store's.
        """

    def ask(
        self, session_ids: Sequence[int], request: Control, *, exit_code: int = 0, asked_by: int | None = None
    ) -> list[Request]:
        """Ask something of sessions; those that ended are passed over.

        If the same thing was the last one asked of a session and is not acknowledged yet, that request comes back.
        """

    def requests(self, ids: Sequence[int]) -> list[Request]:
        """Requests by id."""

    def overview(
        self,
        ids: Sequence[int] | None = None,
        *,
        name: str | None = None,
        metrics: Sequence[str] | None = None,
    ) -> Overview:
        """Sessions by id, by name, or all, with their last metrics, in as few requests as rows allow.

        With `metrics` only those are read.
        """

    def measures(
        self, session_ids: Sequence[int] | None = None, *, metrics: Sequence[str] | None = None
    ) -> pa.Table:
        """Every logged value.

        Columns: session (int64), metric (dictionary of string), step (int64), time, value (float64), attempt (int64).
        In order of session, metric and attempt, then as logged. Of other metrics nothing is read. One request, or one
        for each page of a server.
        """

    def metric_names(self, session_ids: Sequence[int] | None = None) -> list[str]:
        """The names of all metrics that these sessions, or all, have logged, sorted."""

    def timelines(self, session_ids: Sequence[int] | None = None) -> Timelines:
        """Attempts and pauses of these sessions, or of all. One request."""

    def sources(self, session_ids: Sequence[int]) -> list[Source]:
        """The project modules that these sessions had imported."""

    # -- the code that made rows
    def written_code(self, places: Sequence[tuple[int, int, int]]) -> list[WrittenCode]:
        """The slices kept of these (session id, cell, line); those without one are left out."""

    def put_code(self, code: Sequence[WrittenCode]) -> None:
        """Keep slices, each replacing that of the same place. Equal slices and equal statements are kept once."""

    def find_slices(self, query: Node) -> np.ndarray:
        """(session id, cell, line) of all places whose slice matches; int64, shape (n, 3), ascending.

        Where a slice has unresolved names, the place is found by the code of its whole session; a session that has not
        ended, and so has no slice of its own (cell -1), too. What was committed without a slice is found by its cell.
        """

    def find_code_of_sessions(self, query: Node) -> np.ndarray:
        """Ids of the sessions whose cells and captured modules, taken together, match; int64, ascending."""

    def confirm(self, confirmation: Confirmation) -> None:
        """Keep that rows were made again and came out equal to a version."""

    def confirmations(self, lists: Sequence[int] | None = None) -> list[Confirmation]:
        """Confirmations of versions of these lists, or of all, oldest first."""

    # -- search
    def find_text(self, query: Node, scopes: Sequence[Scope], *, k: int | None = None) -> Hits:
        """The rows with a text that matches, ranked by BM25: at least the best `k`, or all.

        Text is found as words: stemmed, case- and accent-blind. What a scope shows is found, indexed or not.
        """

    def find_near(
        self,
        near: Sequence[Near],
        scopes: Sequence[Scope],
        *,
        metric: Metric,
        k: int | None = None,
        approx: bool = False,
    ) -> list[Hits]:
        """For each query the rows whose vectors are nearest: at least the best `k`, or all rows with a vector.

        Scores: cosine, dot product, or minus the Euclidean distance. A missing vector, one with NaN or infinity and, for
        cosine, one without length are never found. `approx` may miss near rows, but never for being new or filtered.
        Raises MissingDependency if that needs a package that is not there.
        """

    def count_nearer(
        self, near: Sequence[Near], scopes: Sequence[Scope], scores: np.ndarray, *, metric: Metric
    ) -> np.ndarray | None:
        """How many items score above each of these, for the one query; None where reading the vectors is better.

        Only a store that :attr:`judges` is asked.
        """

    def find_code(self, query: Node) -> np.ndarray:
        """(session id, cell) of all cells whose code matches; int64, shape (n, 2), ascending."""

    def find_descriptions(self, query: Node) -> list[Description]:
        """The descriptions that match, among the newest of each target and label."""

    def session_ids(self) -> list[int]:
        """All sessions, oldest first."""

    def session_labels(self) -> dict[int, tuple[str, int]]:
        """Name and run of all sessions, by id, oldest first."""

    def session_values(self, column: str) -> dict[int, Any]:
        """The values of ``params.name``, or the last ones of ``metrics.name``, by session.

        A nested value is some object that is no str or number.
        """

    def written(self, versions: Sequence[Version]) -> Spans:
        """Which commit wrote which rows of these versions."""

    # -- lineage
    def edges(self, wanted: Sequence[Wanted], *, side: Literal["child", "parent"], ahead: int = 0) -> Found:
        """Every edge whose children (or parents) touch what is wanted; no place is wanted twice. One request.

        More edges than those may come, and the caller looks closer. A store to which a request is dear may answer
        questions that a walk will put next, up to `ahead` steps further, and then says which it answered.
        """

    def edges_of(self, version: Version) -> EdgeTable:
        """The edges that one commit brought."""

    def edge_summaries(self) -> list[EdgeSummary]:
        """Which batch has something from which version, over the whole vault, in order of time."""

    def writers(self, places: Sequence[tuple[int, int, int, int]]) -> list[Writers]:
        """For each (list id, generation, first, end) the commits that wrote those positions. One request."""

    def facts(self, lists: Sequence[int] = (), versions: Sequence[tuple[int, int]] = ()) -> Facts:
        """Facts about lists, and versions by (list id, number). What does not exist is left out. One request."""

    def parent_generations(self, lists: Sequence[int]) -> tuple[Mapping[int, Sequence[int]], bool]:
        """The generations of these lists that edges name as parents, by list; lists without any are left out. One request.

        A store to which a request is dear may tell of all lists, and then says so.
        """

    def newest(self, places: Sequence[Place]) -> list[Version]:
        """Of each generation the newest version that added rows to it. One without rows is left out. One request."""

    def note_reads(self, session_id: int, reads: Sequence[tuple[int, int]]) -> None:
        """Keep that a session read these (list id, version); what is known already is passed over."""

    def reads(self, session_ids: Sequence[int] | None = None) -> list[tuple[int, str, int]]:
        """(session id, list, version) that these sessions read, or all did, in the order of first reading."""

    # -- care
    def check(self, *, fix: bool = False, progress: Progress | None = None) -> list[Problem]:
        """Read and verify everything; `fix` removes strays. Damage is reported, never repaired by guessing."""

    def compact(self, name: str | None = None, *, progress: Progress | None = None) -> list[Compacted]:
        """Merge small parts. Positions, versions and who wrote what stay as they are."""

    def vacuum(self, *, keep: int = 1, deleted: bool = False, dry_run: bool = True) -> list[Freed]:
        """Remove rows that none of the newest `keep` versions of their list shows, and strays.

        A delete makes a version that shows no rows, and does not count. With `deleted`, deleted lists keep no version.
        """


__all__ = [
    "BEAT_S",
    "LOST_AFTER_BEATS",
    "NO_STEP",
    "Attempt",
    "Batch",
    "Beat",
    "Cell",
    "Chunk",
    "Compacted",
    "Confirmation",
    "Control",
    "Description",
    "Freed",
    "Hits",
    "Keeping",
    "ListState",
    "Lookup",
    "Measures",
    "Metric",
    "Near",
    "Operation",
    "Overview",
    "Part",
    "Pause",
    "Problem",
    "Progress",
    "Pulse",
    "Request",
    "Rows",
    "Scope",
    "Session",
    "Severity",
    "Source",
    "Spans",
    "Staging",
    "Store",
    "Timelines",
    "Version",
    "WrittenCode",
]
