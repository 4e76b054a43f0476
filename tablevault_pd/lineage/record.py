"""Find the parents of what is saved, frame by frame, and make edges of them once the number of rows is known.

The parents are, in this order: those in ``inputs=``; the rows in reference columns; the rows that the index names, if the frame
has an origin; the whole list that is the origin; for a frame without an origin, the lists that its session had read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.lineage.declared import declared_parents
from tablevault_pd.lineage.parent_links import ParentLink, edges_of
from tablevault_pd.lineage.resolve_rows import (
    RowSelection,
    missing,
    origin_version,
    positions_of_index,
    reference_columns,
    selections_of_columns,
)
from tablevault_pd.reading.origin import origin_of, plain
from tablevault_pd.refs import is_refs
from tablevault_pd.store.edges import INFERRED, READ, STATED, Edge, EdgeTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from tablevault_pd.lineage.stand_ins import StandInParents
    from tablevault_pd.store import Store, Version


@dataclass(frozen=True, slots=True)
class Parents:
    """What some rows came from. A link counts its children from the first of these rows."""

    links: tuple[ParentLink, ...] = ()
    stand_ins: tuple[Version, ...] = ()  #: that a warning is to name: see :class:`StandInParents`
    frame: pd.DataFrame | None = None  #: the frame as it was given, where ``inputs=`` may be compared with it

    def moved(self, rows: int) -> tuple[ParentLink, ...]:
        """The links, of rows that begin so many rows later."""
        return tuple(replace(link, child=link.child + rows) for link in self.links) if rows else self.links


NO_PARENTS = Parents()


class LineageRecorder:
    """Finds the parents of the rows of one save or append. It remembers no rows."""

    def __init__(self, store: Store, inputs: Any = None, stand_ins: StandInParents | None = None) -> None:
        self._store = store
        self._stand_ins = stand_ins
        self._infers = inputs is None
        self._denies = inputs is False
        self._declared = declared_parents(store, inputs)

    # -- frame by frame

    def of_frame(
        self, frame: pd.DataFrame, *, made_here: bool = False, arrays: Sequence[Any] | None = None
    ) -> tuple[pd.DataFrame, Parents]:
        """The frame without references and origin labels, ready to be stored, and what its rows came from.

        `arrays` are those of its columns, if they are known.
        A frame that was `made_here`, of rows or texts that were given, has no origin that could have been lost.
        """
        columns, index = reference_columns(frame, arrays), frame.index
        levels = (
            []
            if isinstance(index, pd.RangeIndex)
            else [number for number in range(index.nlevels) if is_refs(index.get_level_values(number).dtype)]
        )
        links, stand_ins = self._inferred(frame, columns, levels, made_here) if self._infers else ([], ())
        for column in self._declared.columns:
            links += column.links(frame)
        parents = Parents(tuple(links), stand_ins, frame if self._declared.of_batch else None)
        return plain(_without_references(frame, columns, levels)), parents

    def of_table(self, table: pa.Table) -> Parents:
        """What the rows of an Arrow table came from: only ``inputs=`` says."""
        columns = self._declared.columns
        return (
            Parents(tuple(link for column in columns for link in column.links(table)))
            if columns
            else NO_PARENTS
        )

    def _inferred(
        self, frame: pd.DataFrame, columns: list[int], levels: list[int], made_here: bool
    ) -> tuple[list[ParentLink], tuple[Version, ...]]:
        if columns or levels:
            selections = selections_of_columns(self._store, frame, columns)
            for number in levels:
                level = pd.DataFrame({"index": frame.index.get_level_values(number).array})
                selections += selections_of_columns(self._store, level, [0])
            return [_link(selection, len(frame), STATED) for selection in selections], ()
        origin = origin_version(self._store, frame)
        if origin is not None:
            selection = self._selection(frame, *origin)
            return [_link(selection, len(frame), INFERRED)], ()
        if made_here or self._stand_ins is None or not len(frame) or origin_of(frame) is not None:
            return [], ()
        versions, doubtful = self._stand_ins.of_frame(frame)
        links = [_link(RowSelection(version), len(frame), READ) for version in versions]
        return links, versions if doubtful else ()

    def _selection(self, frame: pd.DataFrame, origin: Any, version: Version) -> RowSelection:
        """The rows that the index names, but for rows without any value."""
        positions = positions_of_index(self._store, frame, origin, version)
        if positions is None:
            return RowSelection(version)
        filled = np.flatnonzero(~_empty_rows(frame))
        if len(filled) < len(frame):
            return RowSelection(version, filled, positions[filled])
        return RowSelection(version, None, positions)

    # -- the edges of the batch

    def edges(
        self,
        total: int,
        links: Sequence[ParentLink],
        frame: pd.DataFrame | None = None,
        *,
        rows: np.ndarray | None = None,
    ) -> tuple[Edge, ...]:
        """The edges of a batch of `total` rows, with the links of all its rows; `frame` is the one they came in, if alone.

        With `rows` the batch has only these of them, in this order. Raises InvalidInput if what ``inputs=`` says does not fit
        their number.
        """
        merged = self._merged(total, links, frame, rows)
        if not merged:
            return ()
        keys = {(link.parent_list, link.parent_version) for link in merged}
        facts = self._store.describe_lists(versions=sorted(keys))
        edges: list[Edge] = []
        read = dict(zip(facts.versions, self._store.pieces(list(facts.versions.values())), strict=True))
        for link in merged:
            key = (link.parent_list, link.parent_version)
            edges += edges_of(link, facts.versions[key], read[key])
        return tuple(edges)

    def warn(self, stand_ins: tuple[Version, ...]) -> None:
        """Warn that these versions stand in for parents that are not known."""
        if self._stand_ins is not None and stand_ins:
            self._stand_ins.warn(stand_ins)

    def sources(
        self,
        total: int,
        links: Sequence[ParentLink],
        frame: pd.DataFrame | None,
        *,
        rows: np.ndarray,
    ) -> tuple[tuple[int, int], ...]:
        """The (list, version) that these rows of a batch came from, as far as their parents are known and not only read."""
        merged = self._merged(total, links, frame, rows)
        places = {(link.parent_list, link.parent_version) for link in merged if link.basis != READ}
        return tuple(sorted(places))

    def _merged(
        self,
        total: int,
        links: Sequence[ParentLink],
        frame: pd.DataFrame | None,
        rows: np.ndarray | None,
    ) -> list[ParentLink]:
        """The links of a batch, or of some of its rows, with those that ``inputs=`` makes."""
        if frame is not None and len(frame) != total:
            frame = None
        if not links and not self._declared.of_batch:
            return []
        declared = [link for parents in self._declared.of_batch for link in parents(total, frame)]
        merged = list(_merged([*declared, *links]))
        if rows is None:
            return merged
        return [part for link in merged for part in link.taken(rows, total)]

    def says_nothing_new(self, version: Version, edges: Sequence[Edge]) -> bool:
        """Whether saving the rows of `version` again, with these edges, would tell nothing new about their parents.

        Parents that are not known, or only from what was read, say nothing new; ``inputs=False`` does. A row that was read and
        saved as it was is not its own parent.
        """
        itself = (version.list_id, version.version)
        new = [
            edge for edge in edges if edge.basis != READ and (edge.parent_list, edge.parent_version) != itself
        ]
        if not new and not self._denies:
            return True
        old = self._store.edges_of_batch(version)
        return _same_edges(old if self._denies else old.take(np.flatnonzero(old.basis != READ)), new)


def _link(selection: RowSelection, rows: int, basis: int) -> ParentLink:
    children, parents = selection.rows, selection.positions
    if parents is not None and (parents < 0).any():
        present = np.flatnonzero(parents >= 0)
        children = present if children is None else children[present]
        parents = parents[present]
    return ParentLink(
        selection.version.list_id, selection.version.version, basis, 0, rows,
        whole=parents is None, children=children, parents=parents,
    )  # fmt: skip


def _without_references(frame: pd.DataFrame, columns: list[int], levels: list[int]) -> pd.DataFrame:
    if columns:
        frame = frame.iloc[:, [number for number in range(frame.shape[1]) if number not in set(columns)]]
    if levels:
        alone = frame.index.nlevels == len(levels)
        frame = frame.reset_index(drop=True) if alone else frame.droplevel(list[Any](levels))
    return frame


def _empty_rows(frame: pd.DataFrame) -> np.ndarray:
    """Rows without any value. ``reindex`` and arithmetic add such rows, under labels that name rows of the parent."""
    empty = np.ones(len(frame), bool) if frame.shape[1] else np.zeros(len(frame), bool)
    for number in range(frame.shape[1]):
        if not empty.any():
            break
        empty &= _missing_cells(frame.iloc[:, number])
    return empty


def _missing_cells(column: pd.Series) -> np.ndarray:
    try:
        return column.isna().to_numpy(bool)
    except ArithmeticError:  # a signalling NaN among Decimals, which pandas cannot test
        return np.fromiter(map(missing, column.array), bool, len(column))


# -- links of one stream


def _merged(links: Sequence[ParentLink]) -> Iterator[ParentLink]:
    """Neighbouring links of the chunks of one stream as one, so that the edges do not grow with their number."""
    for (_, _, _, whole, simple), group in groupby(links, key=_kind):
        parts = list(group)
        if not simple or len(parts) == 1 or not _adjoin(parts):
            yield from parts
        elif whole:
            yield _over(parts, whole=True)
        else:
            children = [
                (np.arange(part.rows) if part.children is None else part.children)
                + (part.child - parts[0].child)
                for part in parts
            ]
            parents = np.concatenate([part.parents for part in parts if part.parents is not None])
            dense = all(part.children is None for part in parts)
            yield _over(parts, children=None if dense else np.concatenate(children), parents=parents)


def _kind(link: ParentLink) -> tuple[int, int, int, bool, bool]:
    simple = link.span is None and not link.all_parents and link.chars is None
    return link.parent_list, link.parent_version, link.basis, link.whole, simple


def _adjoin(parts: list[ParentLink]) -> bool:
    return all(after.child == before.child + before.rows for before, after in pairwise(parts))


def _over(parts: list[ParentLink], **parents: Any) -> ParentLink:
    first = parts[0]
    rows = sum(part.rows for part in parts)
    return ParentLink(first.parent_list, first.parent_version, first.basis, first.child, rows, **parents)


# -- edges compared


def _same_edges(old: EdgeTable, new: Sequence[Edge]) -> bool:
    if len(old) != len(new):
        return False
    listed = sorted(
        (int(old.parent_list[i]), int(old.parent_version[i]), int(old.basis[i]), int(old.form[i]), int(old.start[i]),
         int(old.rows[i]), int(old.parent[i]), int(old.span[i]), int(old.step[i]), _bytes(old.parents[i]),
         _bytes(old.children[i]))
        for i in range(len(old))
    )  # fmt: skip
    return listed == sorted(
        (edge.parent_list, edge.parent_version, edge.basis, edge.form, edge.child, edge.rows, edge.parent, edge.span, edge.step,
         _bytes(edge.parents), _bytes(edge.children))
        for edge in new
    )  # fmt: skip


def _bytes(values: np.ndarray | None) -> bytes:
    return b"" if values is None else np.asarray(values, np.int64).tobytes()
