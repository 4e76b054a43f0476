"""Finding the parents of what is being saved, frame by frame, and making edges of them once all rows are known.

What decides, in this order: ``inputs=``; reference columns; the frame's origin and an index that still names rows;
the origin alone, which stands for the whole list; for a frame without an origin, what its session had read.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import InvalidInput
from tablevault_pd.lineage.declared import stated
from tablevault_pd.lineage.edges import Claim, edges_of, runs_of
from tablevault_pd.lineage.resolve_rows import (
    Named,
    from_columns,
    missing,
    origin_version,
    reference_columns,
    rows_named,
)
from tablevault_pd.reading.origin import origin_of, plain
from tablevault_pd.refs import is_refs
from tablevault_pd.store.edges import INFERRED, READ, STATED, Edge, EdgeTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from tablevault_pd.lineage.lost import Lost
    from tablevault_pd.store import Store, Version


class Trace:
    """The lineage of one save or append."""

    def __init__(self, store: Store, inputs: Any = None, lost: Lost | None = None) -> None:
        self._store = store
        self._lost = lost
        self._infer = inputs is None
        self._none = inputs is False
        self._given, self._columns = stated(store, inputs)
        self._claims: list[Claim] = []
        self._rows = 0
        self._frames: list[pd.DataFrame] = []  # the first two: what matters is whether there is one alone

    def counted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The tables as they are, counted: a frame seen next begins at the row that follows."""
        for table in tables:
            self._rows += table.num_rows
            yield table

    def frame(self, frame: pd.DataFrame, *, ours: bool = False) -> pd.DataFrame:
        """Note the parents of a frame about to be stored, and return it without references and marks.

        A frame of `ours` was made of rows or texts that were given, and not by the user.
        """
        if self._given:
            self._frames = [*self._frames, frame][:2]
        columns = reference_columns(frame)
        levels = [at for at in range(frame.index.nlevels) if is_refs(frame.index.get_level_values(at).dtype)]
        if self._infer:
            self._note(frame, columns, levels, ours=ours)
        for given in self._columns:
            if given.column not in frame.columns:
                raise InvalidInput(
                    f"inputs={{{given.version.list!r}: {given.column!r}}} names the column {given.column!r}, which the saved frame "
                    f"does not have. It has {', '.join(map(repr, frame.columns))}."
                )
            self._claims += given.claims(frame[given.column], self._rows)
        if columns:
            frame = frame.iloc[:, [at for at in range(frame.shape[1]) if at not in set(columns)]]
        if levels:
            alone = frame.index.nlevels == len(levels)
            frame = frame.reset_index(drop=True) if alone else frame.droplevel(list[Any](levels))
        return plain(frame)

    def table(self, table: pa.Table) -> None:
        """Note the parents that columns of an Arrow table state."""
        for given in self._columns:
            if given.column not in table.column_names:
                raise InvalidInput(
                    f"inputs={{{given.version.list!r}: {given.column!r}}} names a column that the saved table does not have. "
                    f"It has {', '.join(map(repr, table.column_names))}."
                )
            self._claims += given.claims(table.column(given.column), self._rows)

    # -- inferring

    def _note(self, frame: pd.DataFrame, columns: list[int], levels: list[int], *, ours: bool) -> None:
        if columns or levels:
            indexed = [pd.DataFrame({"index": frame.index.get_level_values(at).array}) for at in levels]
            named = from_columns(self._store, frame, columns)
            named += [each for part in indexed for each in from_columns(self._store, part, [0])]
            self._claims += [self._claim(each, len(frame), STATED) for each in named]
            return
        found = origin_version(self._store, frame)
        if found is None:
            if not ours and len(frame) and origin_of(frame) is None and self._lost is not None:
                read = self._lost.parents(frame)
                self._claims += [self._claim(Named(each), len(frame), READ) for each in read]
            return
        origin, version = found
        positions = rows_named(self._store, frame, origin, version)
        rows = None
        if positions is not None:
            present = np.flatnonzero(~_empty_rows(frame))
            if len(present) < len(frame):
                rows, positions = present, positions[present]
        self._claims.append(self._claim(Named(version, rows, positions), len(frame), INFERRED))

    def _claim(self, named: Named, rows: int, basis: int) -> Claim:
        children, parents = named.rows, named.positions
        if parents is not None and (parents < 0).any():
            present = np.flatnonzero(parents >= 0)
            children = present if children is None else children[present]
            parents = parents[present]
        return Claim(
            named.version.list_id, named.version.version, basis, self._rows, rows,
            whole=parents is None, children=children, parents=parents,
        )  # fmt: skip

    # -- the edges

    def warn(self) -> None:
        """Warn of lost parents, before the commit."""
        if self._lost is not None:
            self._lost.warn()

    def edges(self, rows: int) -> tuple[Edge, ...]:
        """The edges of a batch of that many rows. Raises InvalidInput if what was stated does not fit their number."""
        saved = self._frames[0] if len(self._frames) == 1 and len(self._frames[0]) == rows else None
        stated = (claim for given in self._given for claim in given(rows, saved))
        claims = list(_merged([*stated, *self._claims]))
        if not claims:
            return ()
        edges: list[Edge] = []
        parents = {(claim.parent_list, claim.parent_version) for claim in claims}
        facts = self._store.facts(sorted({list_id for list_id, _ in parents}), sorted(parents))
        for claim in claims:
            version = facts.versions[claim.parent_list, claim.parent_version]
            runs = runs_of(version.generation, version.total, facts.lists[version.list_id].bases)
            edges += edges_of(claim, runs, version.generation)
        return tuple(edges)

    def same(self, version: Version, edges: Sequence[Edge]) -> bool:
        """Whether saving the rows of `version` again, with these edges, would tell nothing new about their parents.

        Parents that are not known, or only from what was read, say nothing new; ``inputs=False`` does. A row that was read and
        saved as it was is not its own parent.
        """
        itself = (version.list_id, version.version)
        new = [
            edge for edge in edges if edge.basis != READ and (edge.parent_list, edge.parent_version) != itself
        ]
        if not new and not self._none:
            return True
        known = self._store.edges_of(version)
        return _same_edges(known if self._none else known.take(np.flatnonzero(known.basis != READ)), new)


def _empty_rows(frame: pd.DataFrame) -> np.ndarray:
    """Rows without any value. ``reindex`` and arithmetic add such rows, under labels that name rows of the parent."""
    empty = np.ones(len(frame), bool) if frame.shape[1] else np.zeros(len(frame), bool)
    for at in range(frame.shape[1]):
        if not empty.any():
            break
        empty &= _missing_cells(frame.iloc[:, at])
    return empty


def _missing_cells(column: pd.Series) -> np.ndarray:
    try:
        return column.isna().to_numpy(bool)
    except ArithmeticError:  # a signalling NaN among Decimals, which pandas cannot ask
        return np.fromiter(map(missing, column.array), bool, len(column))


def _merged(claims: list[Claim]) -> Iterator[Claim]:
    """Neighbouring claims of the chunks of one stream as one, so that the edges do not grow with their number."""
    for (_, _, _, whole, simple), group in groupby(claims, key=_kind):
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


def _kind(claim: Claim) -> tuple[int, int, int, bool, bool]:
    simple = claim.span is None and not claim.each
    return claim.parent_list, claim.parent_version, claim.basis, claim.whole, simple


def _adjoin(parts: list[Claim]) -> bool:
    return all(after.child == before.child + before.rows for before, after in pairwise(parts))


def _over(parts: list[Claim], **what: Any) -> Claim:
    first = parts[0]
    rows = sum(part.rows for part in parts)
    return Claim(first.parent_list, first.parent_version, first.basis, first.child, rows, **what)


def _same_edges(known: EdgeTable, new: Sequence[Edge]) -> bool:
    if len(known) != len(new):
        return False
    old = sorted(
        (int(known.parent_list[at]), int(known.parent_version[at]), int(known.basis[at]), int(known.form[at]), int(known.start[at]),
         int(known.rows[at]), int(known.parent[at]), int(known.span[at]), int(known.step[at]), _bytes(known.parents[at]),
         _bytes(known.children[at]))
        for at in range(len(known))
    )  # fmt: skip
    return old == sorted(
        (edge.parent_list, edge.parent_version, edge.basis, edge.form, edge.child, edge.rows, edge.parent, edge.span, edge.step,
         _bytes(edge.parents), _bytes(edge.children))
        for edge in new
    )  # fmt: skip


def _bytes(values: np.ndarray | None) -> bytes:
    return b"" if values is None else np.asarray(values, np.int64).tobytes()
