"""The plain data that crosses the Store protocol. No I/O, and nothing of pandas.

A commit to a list is a *batch* and makes a *version*, which shows pieces of stored rows (:mod:`tablevault_pd.store.pieces`):
those of its `layout`, then the *tail*, the rows of its own generation from `first` on. ``append`` lengthens the tail,
``delete`` keeps all out of sight, every other operation starts a generation: ``save`` without a layout, ``restore`` with the
pieces of the version restored, ``upsert`` and ``delete_rows`` with those that :attr:`Batch.pieces` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from tablevault_pd.store.pieces import Pieces

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    import pyarrow as pa

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store.edges import Edge, ListHistory
    from tablevault_pd.store.work import Finish

Operation = Literal["save", "append", "delete", "restore", "upsert", "delete_rows"]
ControlKind = Literal["stop", "pause", "resume"]
Severity = Literal[
    "damage", "stray", "unchecked"
]  #: unchecked: it could not be looked at, for a reason that is no damage

BEAT_S = 5.0  #: seconds between two heartbeats of a session
LOST_AFTER_BEATS = 6  #: so many missed, and a session is lost
NO_STEP = -(2**63)  #: stands for the step of a value logged without one

#: Called with the number of steps just done; the vault turns it into a progress bar.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one list: the commit that made it and the content it shows."""

    list_id: int
    list: str
    version: int
    operation: Operation
    generation: int
    start: int  #: where in its generation the rows of this commit begin
    rows: int  #: rows of this commit: added, or in the place of others
    total: int  #: rows visible at this version
    schema_id: int
    session_id: int | None
    cell: int | None
    time: datetime  #: UTC; never earlier than the version before
    tags: tuple[str, ...] = ()
    message: str | None = None  #: what was said about this commit
    gone: bool = False  #: its rows were vacuumed
    step: int | None = None  #: the step its session was at
    #: of a script: where the statement begins that committed it; 0: a cell; None: there is no slice
    line: int | None = None
    layout: int | None = None  #: the version whose pieces are shown before the tail; None: there are none
    first: int = 0  #: where in its generation the tail begins
    changed: int = 0  #: how many of its rows are in the place of others
    removed: int = 0  #: rows that it left out, of those that the version before showed

    @property
    def added(self) -> int:
        """How many rows it added."""
        return self.rows - self.changed

    @property
    def tail(self) -> Pieces:
        """The rows of its own generation that it shows at the end."""
        return Pieces.of([(self.generation, self.first, self.start + self.rows)])

    @property
    def deleted(self) -> bool:
        """Whether the list is hidden at this version."""
        return self.operation == "delete"


@dataclass(frozen=True, slots=True)
class VersionLookup:
    """A version that is looked up: by its number, or as of a time, else the newest one."""

    name: str
    version: int | None = None
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """Rows of a version, to be read together with those of others."""

    version: Version
    columns: tuple[str, ...]
    positions: np.ndarray | None = None  #: ascending, each once; None: all
    where: Where | None = None  #: rows of which it is surely false may be left out


@dataclass(frozen=True, slots=True)
class ListState:
    """A list as ``lists()`` shows it: its newest version and what it costs."""

    head: Version
    created: datetime
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ListInfo:
    """What lineage needs to know of some lists, by id, and of some versions, by list id and number."""

    lists: Mapping[int, ListHistory] = field(default_factory=dict)
    versions: Mapping[tuple[int, int], Version] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Description:
    """A labelled text, and optionally a vector, about a list or a session."""

    label: str
    text: str
    list_id: int | None = None
    session_of: int | None = None  #: the session described
    vector: tuple[float, ...] | None = None
    session_id: int | None = None  #: the session that wrote it
    time: datetime | None = None  #: given by the store


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit is to do. Its rows wait in a :class:`Staging`."""

    token: str  #: made by the client; the same token is never committed twice
    list: str
    operation: Operation
    schema: pa.Schema | None = None  #: of the list from this version on; None keeps the present one
    base: int | None = None  #: append: the schema id that `schema` was merged with (None: the list is new)
    expect: int | None = None  #: the version the list must still be at (0: it must not exist)
    target: int | None = None  #: restore: the version to bring back
    #: upsert, delete_rows: all that the new version is to show, :data:`~tablevault_pd.store.pieces.OWN` for rows of the batch,
    #: worked out from the version `expect`
    pieces: Pieces | None = None
    changed: int = 0  #: upsert: how many of its rows are in the place of others
    removed: int = 0  #: upsert, delete_rows: how many rows are left out
    session_id: int | None = None
    cell: int | None = None
    line: int | None = None  #: as :attr:`Version.line`
    tags: tuple[str, ...] | None = None  #: None keeps those of the version before
    message: str | None = None  #: about this version
    step: int | None = None  #: the step its session is at
    descriptions: tuple[Description, ...] = ()  #: about the list; committed with its rows
    files: tuple[tuple[str, int], ...] = ()  #: (SHA-256, size) of what was kept for its rows; named with them
    edges: tuple[Edge, ...] = ()  #: which rows its rows came from; committed with them
    reads: tuple[
        tuple[int, int], ...
    ] = ()  #: (list id, version) that the session read before; committed with them
    finishes: tuple[Finish, ...] = ()  #: claims that it finishes; ClaimLost if one is lost


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a list in position order, in the schema they were written with."""

    positions: range | np.ndarray
    table: pa.Table
    private: bool = False  #: the memory belongs to this read alone and may be written to


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a script, a notebook kernel or a worker."""

    name: str
    user: str
    host: str
    pid: int
    started: datetime
    id: int = 0  #: given by the store
    run: int = 0  #: given by the store: 1, 2, 3 … of that name
    parent: int | None = None
    ended: datetime | None = None  #: with no outcome: when a worker of a pool was done with its last task
    heartbeat: datetime | None = None
    outcome: str | None = None  #: finished, failed or stopped, once it ended
    error: str | None = None
    tags: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, Any] = field(
        default_factory=dict
    )  #: argv, versions, git commit … plain JSON; only if asked for
    beat_s: float = BEAT_S  #: how often it promises to beat, in seconds
    paused: bool = False
    gone: bool = False  #: its process is known to be gone; found out by whoever looks, and not stored
    attempt: int = 0  #: number of its newest attempt; resuming begins the next

    @property
    def label(self) -> str:
        """``name#run``, as every answer shows it."""
        return f"{self.name}#{self.run}"

    def state(self, time: datetime) -> str:
        """running, paused, finished, failed, stopped or lost, as seen at `time` by the store's clock."""
        if self.outcome is not None:
            return self.outcome
        last_sign = self.heartbeat or self.started
        if self.gone or (time - last_sign).total_seconds() > LOST_AFTER_BEATS * self.beat_s:
            return "lost"
        return "paused" if self.paused else "running"


@dataclass(frozen=True, slots=True)
class SessionLabel:
    """What tells a session from others: thousands of these are read where their parameters are not needed."""

    id: int
    name: str
    run: int
    started: int  #: microseconds since 1970, UTC
    attempt: int  #: number of its newest attempt

    @property
    def label(self) -> str:
        """``name#run``, as every answer shows it."""
        return f"{self.name}#{self.run}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One piece of executed code of a session."""

    session_id: int
    cell: int
    text: str
    started: datetime
    duration_s: float | None = None
    outcome: str = "running"  #: ok, error, interrupted or running
    error: str | None = None
    traceback: str | None = None
    execution_count: int | None = None  #: the number a notebook shows beside it
    notebook: str | None = None  #: the id that the front end knows the cell by
    path: str | None = None  #: of a script; a cell of a notebook has none
    until: int | None = None  #: the last line that was begun, where an error ended it early
    names: str | None = None  #: its statements with the names they define and use, as JSON


@dataclass(frozen=True, slots=True)
class Part:
    """One statement of a slice."""

    path: str | None  #: of the script or module; None: a cell of a notebook
    session_id: int | None  #: whose cell it is of; None: no session has it
    cell: int | None
    line: int
    end: int
    kind: str  #: def, class, import, assign, run, magic or other
    names: tuple[str, ...]  #: it defines or changes
    text: str
    tree: str  #: digest: equal where the syntax trees are
    notebook: str | None = None


@dataclass(frozen=True, slots=True)
class WrittenCode:
    """The slice of what one cell, or one statement of a script, commits; of cell -1: of all that a session executed."""

    session_id: int
    cell: int
    line: int  #: of a script: where the statement begins; else 0
    parts: tuple[Part, ...]
    unresolved: tuple[str, ...] = ()  #: names that no captured code defines


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Rows that were made again and came out equal to a version that was there."""

    list_id: int
    version: int
    session_id: int | None
    cell: int | None
    line: int | None
    time: datetime | None = None  #: given by the store


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """The text of a project module that a session had imported."""

    session_id: int
    path: str  #: relative to the project's folder
    sha256: str
    text: str
    module: str = ""  #: what it was imported as
    cell: int = 0  #: of the session: from which on it is this text


@dataclass(frozen=True, slots=True)
class Measures:
    """Values of one metric that one session logged, in order: at most one such object for a metric in a beat.

    Values are stored in blocks of one metric. The client numbers the blocks: these values are added at the end of
    `block`, which is made if it is not there.
    """

    session_id: int
    metric: str
    steps: np.ndarray  #: int64; NO_STEP where none was given
    times: np.ndarray  #: int64: microseconds since 1970, UTC
    values: np.ndarray  #: float64
    attempt: int = 0
    block: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one process did of a session. Resuming the session begins the next attempt."""

    session_id: int
    attempt: int  #: 0, 1, …
    began: datetime
    ended: datetime | None = None  #: if another one followed: when this one ended, or was last heard of
    first_step: int | None = None  #: the first step that it logged, of whatever metric


@dataclass(frozen=True, slots=True)
class Pause:
    """A time at which a session waited in a checkpoint."""

    session_id: int
    began: datetime
    ended: datetime | None = None  #: None: it waits now, or ended while it waited


@dataclass(frozen=True, slots=True)
class Timelines:
    """Attempts and pauses of sessions, in order of session and time."""

    attempts: list[Attempt]
    pauses: list[Pause]

    @classmethod
    def of(
        cls, rows: Iterable[tuple[int, Mapping[str, Mapping[str, Any]]]], to_time: Callable[[int], datetime]
    ) -> Timelines:
        """Timelines from what both stores keep of a session, by number of the attempt; see :attr:`Beat.timeline`."""

        def time_of(value: int | None) -> datetime | None:
            return None if value is None else to_time(value)

        attempts, pauses = [], []
        for session_id, timeline in rows:
            numbers = sorted(int(number) for number in timeline)
            for number in numbers:
                entry = timeline[str(number)]
                following = timeline.get(str(number + 1), {})
                ended = time_of(following.get("previous_ended"))
                began = to_time(entry["began"])
                attempts.append(Attempt(session_id, number, began, ended, entry.get("first_step")))
                pauses += [
                    Pause(session_id, to_time(start), time_of(end) or ended)
                    for start, end in entry.get("pauses", ())
                ]
        return cls(attempts, pauses)


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """What somebody asked of a session: stop, pause or resume."""

    id: int  #: rises with time
    session_id: int
    request: ControlKind
    requested: datetime
    acknowledged: datetime | None = None
    exit_code: int = 0
    asked_by: int | None = None  #: the session that asked


@dataclass(frozen=True, slots=True)
class Beat:
    """All that a session has to tell the store at one moment. One without anything to tell only asks for requests."""

    session_id: int
    number: int = (
        0  #: rises with every beat of a process; one that is sent again, for want of an answer, keeps it
    )
    alive: bool = False  #: note the time as its heartbeat
    paused: bool | None = None
    answered: tuple[int, ...] = ()  #: requests it acknowledges
    cells: tuple[Cell, ...] = ()
    measures: tuple[Measures, ...] = ()
    sources: tuple[ModuleSource, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)  #: tags, params, info
    outcome: str | None = None  #: it ends now, so
    error: str | None = None
    attempt: int = 0  #: of the session, that this process makes
    #: What is new of the attempt, for the store to merge: ``first_step``, and ``pauses``, all of them as [began, ended] in
    #: microseconds since 1970.
    timeline: Mapping[str, Any] = field(default_factory=dict)
    code: tuple[WrittenCode, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.alive or self.has_news)

    @property
    def has_news(self) -> bool:
        """Whether there is more to write than that the session lives."""
        news = (
            self.answered,
            self.cells,
            self.measures,
            self.sources,
            self.code,
            self.changes,
            self.outcome,
            self.timeline,
        )
        return self.paused is not None or any(news)

    def pieces(self) -> Iterator[tuple[str, Beat]]:
        """The same in beats that each tell one thing, with its name; the end comes last."""
        bare = Beat(self.session_id, self.number, attempt=self.attempt)
        for cell in self.cells:
            yield f"The code of cell {cell.cell}", replace(bare, cells=(cell,))
        for measure in self.measures:
            yield f"The metric {measure.metric!r}", replace(bare, measures=(measure,))
        for source in self.sources:
            yield f"The module {source.path!r}", replace(bare, sources=(source,))
        for code in self.code:
            yield f"The slice of cell {code.cell}", replace(bare, code=(code,))
        for name, value in self.changes.items():
            yield f"A change of its {name}", replace(bare, changes={name: value})
        yield "The rest", replace(self, cells=(), measures=(), sources=(), code=(), changes={})


@dataclass(frozen=True, slots=True)
class BeatResponse:
    """The store's answer to beats."""

    time: datetime  #: by the store's clock
    requests: tuple[ControlRequest, ...]  #: not acknowledged yet, oldest first


@dataclass(frozen=True, slots=True)
class Overview:
    """Sessions as they stood at one moment."""

    time: datetime  #: by the store's clock
    sessions: list[Session]  #: oldest first, without their info
    latest: pa.Table  #: session (int64), metric (string), value (float64): the last value of each metric


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of ``check()``."""

    severity: Severity
    what: str
    list: str | None = None
    version: int | None = None
    path: str | None = None
    detail: str | None = None
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Freed:
    """One thing that ``vacuum`` removes, or would remove."""

    #: rows, deleted list (all that is left of it), kept file, catalogue or stray; or versions that stay: kept by name
    what: str
    list: str | None
    versions: tuple[int, ...]
    rows: int
    size_bytes: int
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Compacted:
    """What ``compact`` did to one list."""

    list: str
    parts_before: int
    parts_after: int
    size_bytes: int
    damaged: int = 0  #: parts that were left as they are, because they do not match their checksum


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows of one version that a search may find."""

    version: Version
    documents: tuple[str, ...] = ()  #: fields whose every cell is an item of its own
    record: bool = True  #: whether the other text fields, together one item a row, are looked at
    keep: np.ndarray | None = None  #: bool, shape (version.total,): only these rows; None: all


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """One embedding column to be searched, and the vectors to be near to."""

    scope: int  #: number of the scope
    field: str
    queries: np.ndarray  #: float, shape (m, dim)


@dataclass(frozen=True, slots=True)
class Hits:
    """Rows found, best first, one line per row, with its best item; equal scores in order of scope and position."""

    scope: np.ndarray  #: int64: number of the scope
    position: np.ndarray  #: int64
    item: (
        np.ndarray
    )  #: int64: text: number in Scope.documents, or -1 for the record; vectors: number of the Near
    score: np.ndarray  #: float64, higher is better

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True)
class Spans:
    """Who wrote which rows, as runs of positions in ascending order of scope and start; -1 where nobody is known."""

    scope: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    session_id: np.ndarray
    cell: np.ndarray
    time: np.ndarray  #: datetime64[us], UTC
    line: np.ndarray  #: of a script: where the statement begins that wrote them; else 0


Metric = Literal["cosine", "dot", "l2"]
