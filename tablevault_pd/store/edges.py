"""Edges as they cross the store's boundary: which rows of a batch came from which rows of another list.

An edge maps a run of child rows to a run of parent rows, in one of six forms. Whatever the form, `child` and `rows`
bound the children and `parent` and `span` the parents, so that a store can find edges without knowing what is in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store.pieces import Pieces


class EdgeForm(IntEnum):
    """How an edge maps child rows to parent rows; see :class:`Edge`. The numbers are those in the vault (see :func:`stored_form`)."""

    WHOLE = 0
    SPAN = 1
    AFFINE = 2
    PAIRS = 3
    EACH = 4
    CHARS = 5


_PAIRS, _CHARS = int(EdgeForm.PAIRS), int(EdgeForm.CHARS)  # NumPy takes long to look at the member of an enum
CHARS_STEP = 2  #: the `step` of CHARS: so many more numbers for each pair


#: How sure an edge is, the weakest first: its session had read the parent before, pandas code kept the rows, the user said so.
READ, INFERRED, STATED = range(3)
BASES = ("read", "inferred", "stated")

#: Positions are filed in bins of 16 ** level, in the smallest that holds the whole run (see :func:`bin_of`).
LEVELS = 11
_BITS = 4

GenerationKey = tuple[int, int]  #: (list, generation)
WHOLE_LIST = 0  #: stands for the generation of the parents of an edge from a whole list
Span = tuple[int, int]  #: (first, end)


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """One mapping of a batch, in one of six forms.

    ======  ==================================================================
    form    what it says
    ======  ==================================================================
    WHOLE   each child came from the whole list, as that version showed it
    SPAN    each child came from every parent of the run
    AFFINE  child i came from one parent; neighbours are `step` apart
    PAIRS   child ``children[i]`` came from ``parents[i]``
    EACH    each child came from each of ``parents``
    CHARS   child ``children[i]`` came from some characters of a parent
    ======  ==================================================================

    Rows are named by generation and address, which no later version changes; `parent_version` is the version that was read.
    `parents` of CHARS has three parts of one length: the parents, as of PAIRS, then the first character of each and the one after
    the last, counted in the document that the parent is a part of.

    For a whole list `parent_generation` is :data:`WHOLE_LIST`, and `parent`, `span` and `step` are what that version shows:
    the first `span` rows of the generation `parent`, and the layout `step` (0: none).
    """

    parent_list: int
    parent_version: int
    parent_generation: int
    basis: int  #: READ, INFERRED or STATED
    form: EdgeForm
    child: int  #: offset of the first child within the batch
    rows: int  #: how many child rows the run is long
    parent: int  #: lowest address of a parent
    span: int  #: how many rows the run of parents is long
    step: int = 0  #: of AFFINE; negative: the first child has the highest parent; of CHARS CHARS_STEP
    #: of PAIRS and CHARS: offsets from `child`; None: child i has parent i
    children: np.ndarray | None = None
    parents: np.ndarray | None = None  #: of PAIRS, EACH and CHARS: offsets from `parent`


@dataclass(frozen=True, slots=True, eq=False)
class EdgeTable:
    """Many edges as columns of equal length. `start` counts in the child's generation, not in its batch."""

    list: np.ndarray
    version: np.ndarray
    generation: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    parent_list: np.ndarray
    parent_version: np.ndarray
    parent_generation: np.ndarray
    parent: np.ndarray
    span: np.ndarray
    basis: np.ndarray
    form: np.ndarray
    step: np.ndarray
    children: Sequence[np.ndarray | None]
    parents: Sequence[np.ndarray | None]

    def __len__(self) -> int:
        return len(self.list)

    def take(self, rows: np.ndarray) -> EdgeTable:
        """Some of the edges, by their row numbers."""
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        listed = rows.tolist()
        children, parents = [self.children[i] for i in listed], [self.parents[i] for i in listed]
        return EdgeTable(**columns, children=children, parents=parents)


#: The plain integer columns of an EdgeTable, in order.
COLUMNS = (
    "list", "version", "generation", "start", "rows", "parent_list", "parent_version", "parent_generation", "parent",
    "span", "basis", "form", "step",
)  # fmt: skip


def edge_table(
    columns: Sequence[Sequence[int]],
    children: Sequence[np.ndarray | None],
    parents: Sequence[np.ndarray | None],
) -> EdgeTable:
    """A table from its columns, in the order of :data:`COLUMNS`."""
    arrays = np.array(columns, np.int64) if len(columns) else np.empty((len(COLUMNS), 0), np.int64)
    named = dict(zip(COLUMNS, arrays, strict=True))
    named["form"][(named["form"] == _PAIRS) & (named["step"] == CHARS_STEP)] = _CHARS
    named["basis"] = named["basis"].astype(np.int8)  # carried along with millions of lines
    return EdgeTable(**named, children=children, parents=parents)


@dataclass(frozen=True, slots=True)
class EdgeQuery:
    """Rows of one generation whose edges are asked for, as runs of addresses in order that do not overlap."""

    list: int
    generation: int | None  #: None: all rows of the list
    spans: Sequence[Span] = ()


@dataclass(frozen=True, slots=True)
class ListHistory:
    """What lineage needs to know of a list."""

    name: str
    in_place: bool = True  #: whether the address of each row is its position in every version that shows it
    stored: Pieces | None = None  #: the rows that are stored still; None if a vacuum never removed any


@dataclass(frozen=True, slots=True, eq=False)
class Writers:
    """Which commits wrote the rows of one generation, in order of position."""

    start: np.ndarray
    rows: np.ndarray
    version: np.ndarray
    session_id: np.ndarray  #: -1 for none
    cell: np.ndarray  #: -1 for none

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Writers:
        """Those that rows of these values tell."""
        return cls(*np.array(rows, np.int64).reshape(-1, 5).T)


def lacks_positions(
    form: int, step: int, rows: int, children: np.ndarray | None, parents: np.ndarray | None
) -> str | None:
    """What is wrong with the positions of an edge as it is stored, once they were decoded; None if nothing is."""
    if (parents is not None) != (form in (EdgeForm.PAIRS, EdgeForm.EACH)):
        return "its positions are missing"
    if parents is None or form == EdgeForm.EACH:
        return None
    pairs = rows if children is None else len(children)
    return "it has lost positions" if len(parents) != pairs * (1 + step) else None


def stored_form(form: int) -> int:
    """The form by which an edge is stored: CHARS are PAIRS with a `step` of their own, so that vaults of before take them, too."""
    return EdgeForm.PAIRS if form == EdgeForm.CHARS else form


def few_spans(spans: Sequence[Span], most: int) -> Sequence[Span]:
    """At most so many runs that cover all of these: those with the narrowest gaps between them become one."""
    if len(spans) <= most:
        return spans
    ordered = np.asarray(spans, np.int64)
    gaps = ordered[1:, 0] - ordered[:-1, 1]
    breaks = np.sort(np.argsort(gaps, kind="stable")[len(gaps) - most + 1 :])
    starts, ends = ordered[np.r_[0, breaks + 1], 0], ordered[np.r_[breaks, len(ordered) - 1], 1]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class EdgeSummary:
    """What one batch has from one version of a list."""

    parent_list: int
    parent_version: int
    list: int
    version: int
    rows: int  #: of the batch
    basis: int  #: of the weakest of its edges; READ only if all are
    session_id: int | None
    cell: int | None
    time: str  #: of the batch, ISO 8601, UTC


def bin_of(low: int, high: int) -> tuple[int, int]:
    """(level, bin) of the smallest bin that holds the positions from `low` to `high`, `high` excluded."""
    last = max(low, high - 1)
    for level in range(LEVELS):
        if low >> (_BITS * level) == last >> (_BITS * level):
            return level, low >> (_BITS * level)
    return LEVELS, 0
