"""Links: which parents the rows of one frame have, and the edges of a batch that are made of them.

Nothing here knows a store or pandas. Positions become ranges or packed arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.lineage.edges import CHUNK, consecutive, groups
from tablevault_pd.store.edges import CHARS_STEP, WHOLE_LIST, Edge, EdgeForm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store import Version
    from tablevault_pd.store.pieces import Pieces

FEW = 8  # a mapping that is at most so many ranges is kept as those


@dataclass(frozen=True, slots=True, eq=False)
class ParentLink:
    """What the rows `child` to ``child + rows`` of a batch came from."""

    parent_list: int
    parent_version: int
    basis: int  #: READ, INFERRED or STATED
    child: int
    rows: int
    whole: bool = False  #: each from the whole list
    span: tuple[int, int] | None = None  #: each from all of these positions
    all_parents: bool = False  #: each from each of `parents`
    #: offsets from `child`, one for each of `parents`; None: row i has parent i
    children: np.ndarray | None = None
    parents: np.ndarray | None = None
    chars: np.ndarray | None = None  #: shape (n, 2): of each of `parents`, which characters of the document

    def taken(self, rows: np.ndarray, total: int) -> Iterator[ParentLink]:
        """What it says of some rows of a batch of `total`, which make a batch of their own in this order."""
        if self.parents is not None and not self.all_parents:
            numbers = np.full(total, -1, np.int64)
            numbers[rows] = np.arange(len(rows))
            offsets = np.arange(self.rows) if self.children is None else self.children
            children = numbers[self.child + offsets]
            there = children >= 0
            if there.any():
                chars = None if self.chars is None else self.chars[there]
                yield replace(
                    self,
                    child=0,
                    rows=len(rows),
                    children=children[there],
                    parents=self.parents[there],
                    chars=chars,
                )
            return
        mine = np.flatnonzero((rows >= self.child) & (rows < self.child + self.rows))
        for run in np.split(mine, np.flatnonzero(np.diff(mine) > 1) + 1) if len(mine) else ():
            yield replace(self, child=int(run[0]), rows=len(run))


def edges_of(link: ParentLink, version: Version, pieces: Pieces) -> Iterator[Edge]:
    """The edges that a link means, its positions resolved to the stored rows that `version` shows."""
    if link.whole:
        yield _edge(
            link, WHOLE_LIST, EdgeForm.WHOLE, link.child, link.rows, version.generation,
            version.start + version.rows, version.layout or 0,
        )  # fmt: skip
    elif link.span is not None:
        part = pieces.clip(*link.span)
        for generation, _, addresses in _by_generation(part, np.arange(part.total)):
            yield from _every(link, generation, addresses)
    elif link.parents is not None and link.all_parents:
        for generation, _, addresses in _by_generation(pieces, np.unique(link.parents)):
            yield from _every(link, generation, addresses)
    elif link.parents is not None:
        for generation, numbers, addresses in _by_generation(pieces, link.parents):
            children = link.children
            if numbers is not None:
                children = numbers if children is None else children[numbers]
            if link.chars is not None:
                chars = link.chars if numbers is None else link.chars[numbers]
                yield from _cited(link, generation, children, addresses, chars)
            else:
                yield from _paired(link, generation, children, addresses)


def _by_generation(
    pieces: Pieces, positions: np.ndarray
) -> Iterator[tuple[int, np.ndarray | None, np.ndarray]]:
    """(generation, numbers, addresses) of the rows at these positions; no numbers where one generation has all."""
    if not len(positions):
        return
    generation, address = pieces.addresses(positions)
    for (number,), rows in groups(generation[:, None]):
        whole = len(rows) == len(positions)
        yield number, None if whole else rows, address if whole else address[rows]


def _edge(
    link: ParentLink,
    generation: int,
    form: EdgeForm,
    child: int,
    rows: int,
    parent: int,
    span: int,
    step: int = 0,
) -> Edge:
    return Edge(
        link.parent_list, link.parent_version, generation, link.basis, form, child, rows, parent, span, step
    )  # fmt: skip


def _paired(
    link: ParentLink, generation: int, children: np.ndarray | None, parents: np.ndarray
) -> Iterator[Edge]:
    if not len(parents):
        return
    if children is not None:
        children, parents = _distinct(children, parents)
        if consecutive(children):
            first = int(children[0])
            yield from _rowwise(link, generation, first, parents)
            return
        if children[0] == children[-1] and (len(parents) <= FEW or consecutive(parents)):
            yield from _of_one_child(link, generation, int(children[0]), parents)
            return
        for first in range(0, len(parents), CHUNK):
            part = slice(first, first + CHUNK)
            yield _arrays(link, generation, children[part], parents[part])
        return
    yield from _rowwise(link, generation, 0, parents)


def _cited(
    link: ParentLink, generation: int, children: np.ndarray | None, parents: np.ndarray, chars: np.ndarray
) -> Iterator[Edge]:
    """Each child with the parents that have the characters it came from; each line once, in order."""
    children = np.arange(len(parents)) if children is None else children
    lines = np.unique(np.column_stack([children, parents, chars]), axis=0)
    for first in range(0, len(lines), CHUNK):
        children, parents, begin, end = lines[first : first + CHUNK].T
        edge = _arrays(link, generation, children, parents)
        assert edge.parents is not None
        yield replace(
            edge, form=EdgeForm.CHARS, step=CHARS_STEP, parents=np.concatenate([edge.parents, begin, end])
        )


def _every(link: ParentLink, generation: int, parents: np.ndarray) -> Iterator[Edge]:
    if not link.rows:
        return
    parents = np.sort(parents)
    breaks = np.flatnonzero(np.diff(parents) != 1) + 1
    if len(breaks) < FEW:
        for part in np.split(parents, breaks):
            yield _edge(link, generation, EdgeForm.SPAN, link.child, link.rows, int(part[0]), len(part))
        return
    for first in range(0, len(parents), CHUNK):
        part = parents[first : first + CHUNK]
        lowest = int(part[0])
        yield Edge(
            link.parent_list, link.parent_version, generation, link.basis, EdgeForm.EACH, link.child, link.rows, lowest,
            int(part[-1]) - lowest + 1, 0, None, part - lowest,
        )  # fmt: skip


def _distinct(children: np.ndarray, parents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In order of child, then parent, each pair once."""
    order = np.lexsort((parents, children))
    children, parents = children[order], parents[order]
    fresh = np.ones(len(children), bool)
    fresh[1:] = (np.diff(children) != 0) | (np.diff(parents) != 0)
    return children[fresh], parents[fresh]


def _rowwise(link: ParentLink, generation: int, first: int, parents: np.ndarray) -> Iterator[Edge]:
    """Row ``first + i`` has the parent ``parents[i]``."""
    steps = np.diff(parents)
    if not len(steps) or (steps == steps[0]).all():
        yield _affine(link, generation, first, parents)
        return
    breaks = np.flatnonzero(steps != 1) + 1
    if len(breaks) < FEW:
        for low, high in zip([0, *breaks.tolist()], [*breaks.tolist(), len(parents)], strict=True):
            yield _affine(link, generation, first + low, parents[low:high])
        return
    for low in range(0, len(parents), CHUNK):
        part = parents[low : low + CHUNK]
        lowest = int(part.min())
        yield Edge(
            link.parent_list, link.parent_version, generation, link.basis, EdgeForm.PAIRS, link.child + first + low, len(part),
            lowest, int(part.max()) - lowest + 1, 0, None, part - lowest,
        )  # fmt: skip


def _affine(link: ParentLink, generation: int, first: int, parents: np.ndarray) -> Edge:
    step = int(parents[1] - parents[0]) if len(parents) > 1 else 0
    lowest = int(min(parents[0], parents[-1]))
    span = abs(int(parents[-1] - parents[0])) + 1
    return _edge(link, generation, EdgeForm.AFFINE, link.child + first, len(parents), lowest, span, step)


def _of_one_child(link: ParentLink, generation: int, child: int, parents: np.ndarray) -> Iterator[Edge]:
    if consecutive(parents):
        yield _edge(link, generation, EdgeForm.SPAN, link.child + child, 1, int(parents[0]), len(parents))
        return
    for parent in parents.tolist():
        yield _edge(link, generation, EdgeForm.AFFINE, link.child + child, 1, parent, 1)


def _arrays(link: ParentLink, generation: int, children: np.ndarray, parents: np.ndarray) -> Edge:
    first, lowest = int(children[0]), int(parents.min())
    return Edge(
        link.parent_list, link.parent_version, generation, link.basis, EdgeForm.PAIRS, link.child + first,
        int(children[-1]) - first + 1, lowest, int(parents.max()) - lowest + 1, 0, children - first, parents - lowest,
    )  # fmt: skip
