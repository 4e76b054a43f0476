"""The plain data of lists, versions, searches and maintenance that crosses the Store protocol. No I/O, and nothing of pandas.

A commit to a list is a *batch* and makes a *version*, which shows pieces of stored rows (:mod:`tablevault_pd.store.pieces`):
those of its `layout`, then the *tail*, the rows of its own generation from `first` on. ``append`` lengthens the tail,
``delete`` keeps all out of sight, every other operation starts a generation: ``save`` without a layout, ``restore`` with the
pieces of the version restored, ``upsert``, ``delete_rows`` and ``erase`` with those that :attr:`Batch.pieces` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from tablevault_pd.display import counted
from tablevault_pd.store.pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    import numpy as np
    import pyarrow as pa

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store.edges import Edge, ListHistory
    from tablevault_pd.store.session_types import Confirmation
    from tablevault_pd.store.work import Finish

Operation = Literal["save", "append", "delete", "restore", "upsert", "delete_rows", "erase"]
Severity = Literal[
    "damage", "stray", "unchecked"
]  #: unchecked: it could not be examined, for a reason that is no damage

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
    #: of the rows that are counted in `total`, how many were erased since: their positions stay empty
    erased: int = 0

    @property
    def label(self) -> str:
        """Its address, such as ``runs@3``."""
        return f"{self.list}@{self.version}"

    @property
    def shown(self) -> int:
        """How many rows a read returns."""
        return self.total - self.erased

    @property
    def added(self) -> int:
        """How many rows it added."""
        return self.rows - self.changed

    @property
    def tail(self) -> Pieces:
        """The rows of its own generation that it shows at the end."""
        return Pieces.one(self.generation, self.first, self.start + self.rows)

    @property
    def deleted(self) -> bool:
        """Whether the list is hidden at this version."""
        return self.operation == "delete"


#: What reports show of a version: attributes of :class:`Version`.
SHOWN_OF_VERSION = (
    "list_id", "list", "version", "operation", "rows", "added", "changed", "removed", "shown", "session_id", "cell", "step", "time",
    "message", "gone", "tags",
)  # fmt: skip


def version_columns(versions: Sequence[Version]) -> dict[str, Sequence[Any]]:
    """Return what reports show of these versions, by attribute."""
    return {name: list(map(attrgetter(name), versions)) for name in SHOWN_OF_VERSION}


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
class ListSummary:
    """What the lists of a vault are together, without those that were deleted."""

    lists: int
    rows: int  #: that their newest versions show
    first: Sequence[Version]  #: the newest versions of the first lists by name

    @classmethod
    def of(cls, heads: Iterable[Version], shown: int) -> ListSummary:
        """The summary of lists with these newest versions, in order of name."""
        left = [head for head in heads if not head.deleted]
        return cls(len(left), sum(head.shown for head in left), left[:shown])


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
    time: datetime | None = None  #: given by the store, except for a copy of one from another vault


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit is to do. Its rows wait in a :class:`Staging`."""

    token: str  #: made by the client; the same token is never committed twice
    list: str
    operation: Operation
    schema: pa.Schema | None = None  #: of the list from this version on; None keeps the present one
    #: append: the schema id that `schema` was merged with (None: the list is new); of a save: the schema id that the list had
    #: when its key was looked up (0: the list is new), or None for any
    base: int | None = None
    expect: int | None = None  #: the version the list must still be at (0: it must not exist)
    target: int | None = None  #: restore: the version to bring back
    #: upsert, delete_rows, erase: all that the new version is to show, :data:`~tablevault_pd.store.pieces.OWN` for rows of the batch,
    #: worked out from the version `expect`
    pieces: Pieces | None = None
    changed: int = 0  #: upsert: how many of its rows are in the place of others
    removed: int = 0  #: upsert, delete_rows, erase: how many rows are left out
    erases: Pieces | None = None  #: erase: the stored rows that are forgotten, in every version
    session_id: int | None = None
    attempt: int | None = (
        None  #: of that session, that this process makes; SessionContinued if another one has begun
    )
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
    #: rows of the new version that were made again; its list and version are filled in
    confirms: Confirmation | None = None
    #: a copy: the version as it is in the vault that it comes from. All but its list, schema, session, cell and tags is kept;
    #: `pieces` is the layout that it makes, and its rows are staged with fillers for those that a vacuum removed
    original: Version | None = None


@dataclass(frozen=True, slots=True)
class Erasure:
    """What came of an erase."""

    version: Version
    files: tuple[tuple[str, int], ...] = ()  #: (SHA-256, size in bytes) of kept files that went with the rows
    remains: str | None = None  #: what could not be overwritten yet, and why; None: nothing is left
    categories: bool = False  #: whether categories stay that only these rows had


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a list in position order, in the schema they were written with."""

    positions: range | np.ndarray
    table: pa.Table
    private: bool = False  #: the memory belongs to this read alone and may be written to
    #: numbers of those of its rows that were erased: nothing is left of their cells
    erased: np.ndarray | None = None


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

    @classmethod
    def without_holder(cls, name: str, rows: int, *, fixed: bool) -> Problem:
        """Rows of a list whose claims would never fall back."""
        detail = (
            f"{counted(rows, 'claim')} of a session that is not known to hold any: nobody gives them back"
        )
        return cls("damage", "claims", name, detail=detail, fixed=fixed)


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index: a copy of what is in the rows, which a search makes anew where it is lost."""

    kind: str  #: text, vector or keys
    list: str | None  #: None: all lists share it
    column: str | None  #: None: all columns of that kind
    metric: str | None
    covered: int | None  #: rows that are in it
    total: int | None  #: … of so many
    size_bytes: int | None
    state: str  #: complete; behind: a search reads the other rows as well; damaged; kept; or as a server states it
    where: str


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
    record: bool = True  #: whether the other text fields, together one item a row, are searched
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
    #: int64: text: number in Scope.documents, or -1 for the record; vectors: number of the Near
    item: np.ndarray
    score: np.ndarray  #: float64, higher is better

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True)
class Spans:
    """Who wrote which rows, as runs of positions in ascending order of scope and start; -1 where the writer is unknown."""

    scope: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    session_id: np.ndarray
    cell: np.ndarray
    time: np.ndarray  #: datetime64[us], UTC
    line: np.ndarray  #: of a script: where the statement begins that wrote them; else 0


Metric = Literal["cosine", "dot", "l2"]
