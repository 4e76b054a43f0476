"""Walks: from rows to their parents or children, a whole level at a time.

Breadth first, so that the first time a relative is met is its shortest depth. Rows travel as arrays; what is fetched
from the store is a few requests per level (see :mod:`~tablevault_pd.lineage.edge_cache`). Past a step that names a
whole list, the walk continues from list to list: from a version to everything that any batch it shows has a parent in, or
from a batch to everything that was made of a version that shows its rows. Rows are named by generation and address; only the
report maps them to positions.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.lineage import edges
from tablevault_pd.lineage.edge_cache import Direction, EdgeCache, Place
from tablevault_pd.store.edges import INFERRED, READ, STATED, EdgeForm, EdgeQuery, EdgeTable, GenerationKey
from tablevault_pd.store.pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Store, Version


@dataclass(frozen=True, slots=True, eq=False)
class RelatedRows:
    """Rows of one generation, each with its root: the number of the row that it is a relative of."""

    root: np.ndarray
    position: np.ndarray  #: the address in the generation
    version: np.ndarray
    basis: np.ndarray  #: of the weakest step to here
    #: shape (n, 2): characters of the parent that the step names; -1: none; None: of no row
    chars: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> RelatedRows:
        """Some of the rows, by their numbers."""
        chars = None if self.chars is None else self.chars[rows]
        return RelatedRows(self.root[rows], self.position[rows], self.version[rows], self.basis[rows], chars)


@dataclass(frozen=True, slots=True, eq=False)
class WholeLists:
    """Whole versions of one list, each with its root."""

    root: np.ndarray
    version: np.ndarray
    basis: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Relatives:
    """Relatives of one depth in one list; `generation` is -1 where they are whole versions (of `position` -1)."""

    depth: int
    list: int
    generation: int
    rows: RelatedRows


Nodes = dict[int, Pieces]  #: whole versions of one list: number -> the rows that stand for it


class Walk:
    """One walk over one store."""

    def __init__(
        self,
        store: Store,
        direction: Direction,
        basis: int = INFERRED,
        *,
        single: bool = False,
        chars: bool = False,
        shared: list[np.ndarray] | None = None,
    ) -> None:
        self.cache = EdgeCache(store, direction)
        self._basis = basis  #: of the weakest edges to follow
        self._single = single  #: whether edges that give each row many parents are left out
        self._chars = chars  #: whether a relative comes once for each span of characters
        #: Where edges give many rows the same many parents, such as a training set, these are walked over once, under a root of
        #: their own, which counts on from those asked for; here stand the roots asked for that each of these is above of.
        self._shared = shared
        self._first_shared = 0  # set where the walk begins
        self._up = direction == "up"
        self._seen: dict[GenerationKey, list[RelatedRows]] = defaultdict(list)
        self._seen_wholes: dict[int, list[WholeLists]] = defaultdict(list)
        self._level = 0

    def steps(
        self,
        rows: dict[GenerationKey, RelatedRows],
        wholes: dict[int, WholeLists],
        *,
        depth: int | None = None,
        to: int | None = None,
    ) -> list[Relatives]:
        """Every relative once for each root, by growing depth. With `to`, only those in that list."""
        relatives: list[Relatives] = []
        for place, some in rows.items():
            self._seen[place].append(some)
        for list_id, whole in wholes.items():
            self._seen_wholes[list_id].append(whole)
        roots = [*(some.root for some in rows.values()), *(whole.root for whole in wholes.values())]
        self._first_shared = max((int(some.max()) + 1 for some in roots if len(some)), default=0)
        level = 0
        while (rows or wholes) and (depth is None or level < depth):
            self._level = level = level + 1
            rows, wholes = self._next(rows, wholes)
            for (list_id, generation), some in rows.items():
                if to is None or list_id == to:
                    relatives.append(Relatives(level, list_id, generation, some))
            for list_id, whole in wholes.items():
                if to is None or list_id == to:
                    nowhere = np.full(len(whole.root), -1, np.int64)
                    relatives.append(
                        Relatives(
                            level, list_id, -1, RelatedRows(whole.root, nowhere, whole.version, whole.basis)
                        )
                    )
        return relatives

    def _next(
        self, rows: dict[GenerationKey, RelatedRows], wholes: dict[int, WholeLists]
    ) -> tuple[dict[GenerationKey, RelatedRows], dict[int, WholeLists]]:
        next_rows: dict[GenerationKey, list[RelatedRows]] = defaultdict(list)
        next_wholes: dict[int, list[WholeLists]] = defaultdict(list)
        nodes = self._nodes(wholes)
        tables = self.cache.edges([*self._rows_wanted(rows), *self._lists_wanted(nodes)])
        for place, some in rows.items():
            self._from_rows(place, self._followed(tables[place]), some, next_rows, next_wholes)
        same = {} if self._up else self._same(rows)
        more = self.cache.edges(self._rows_wanted(same))
        for place, some in same.items():
            self._from_rows(place, self._followed(more[place]), some, next_rows, next_wholes)
        for list_id, whole in wholes.items():
            self._from_wholes(list_id, whole, nodes[list_id], tables, next_wholes)
        return self._fresh_rows(next_rows), self._fresh_wholes(next_wholes)

    def _same(self, rows: dict[GenerationKey, RelatedRows]) -> dict[GenerationKey, RelatedRows]:
        """Other stored rows that are the same as these: what was made from those was made from these."""
        self.cache.look_up_others(rows)
        parts: dict[GenerationKey, list[RelatedRows]] = defaultdict(list)
        for place, some in rows.items():
            for generation, numbers, addresses in self.cache.same_rows(place, some.position):
                same = RelatedRows(some.root[numbers], addresses, some.version[numbers], some.basis[numbers])
                parts[place[0], generation].append(same)
        return {key: _once(_joined(some)) for key, some in parts.items()}

    def _nodes(self, wholes: dict[int, WholeLists]) -> dict[int, Nodes]:
        """The rows that a node at list level stands for: what a version shows, or (going down) what a batch wrote."""
        numbers = {list_id: np.unique(whole.version).tolist() for list_id, whole in wholes.items()}
        self.cache.learn(wholes, {(list_id, number) for list_id in wholes for number in numbers[list_id]})
        keys = [(list_id, number) for list_id in wholes for number in numbers[list_id]]
        versions = [self.cache.version(*key) for key in keys]
        shown = self.cache.contents(versions) if self._up or self._level == 1 else map(_written, versions)
        nodes: dict[int, Nodes] = {list_id: {} for list_id in wholes}
        for (list_id, number), pieces in zip(keys, shown, strict=True):
            nodes[list_id][number] = pieces
        return nodes

    def _rows_wanted(self, rows: dict[GenerationKey, RelatedRows]) -> list[EdgeQuery]:
        return [EdgeQuery(*place, edges.spans_of(some.position)) for place, some in rows.items()]

    def _lists_wanted(self, nodes: dict[int, Nodes]) -> list[EdgeQuery]:
        """Up: the edges of all batches of a list; down: of all its readers. Which version each reads is checked afterwards."""
        return [EdgeQuery(list_id, None) for list_id in nodes]

    def _followed(self, table: EdgeTable) -> EdgeTable:
        """The edges that are sure enough, without those of batches that had no rows: nothing came from anything there."""
        follow = (table.rows > 0) & (table.basis >= self._basis)
        if self._single:
            follow &= ~(np.isin(table.form, (EdgeForm.SPAN, EdgeForm.EACH)) & (table.span > 1))
        return table if follow.all() else table.take(np.flatnonzero(follow))

    # -- one step

    def _from_rows(
        self,
        place: GenerationKey,
        table: EdgeTable,
        rows: RelatedRows,
        next_rows: dict[GenerationKey, list[RelatedRows]],
        next_wholes: dict[int, list[WholeLists]],
    ) -> None:
        if self._shared is not None:
            table = self._without_shared(table, rows, self._shared, next_rows)
        carry = edges.up if self._up else edges.down
        for step in carry(table, rows.position):
            if not len(step.version):
                continue
            root = rows.root if step.source is None else rows.root[step.source]
            basis = np.minimum(rows.basis if step.source is None else rows.basis[step.source], step.basis)
            if step.position is None:
                next_wholes[step.list].append(WholeLists(root, step.version, basis))
            else:
                next_rows[step.list, step.generation].append(
                    RelatedRows(root, step.position, step.version, basis, step.chars if self._chars else None)
                )
        if not self._up:
            self._to_readers(place, rows, next_wholes)

    def _without_shared(
        self,
        table: EdgeTable,
        rows: RelatedRows,
        shared: list[np.ndarray],
        next_rows: dict[GenerationKey, list[RelatedRows]],
    ) -> EdgeTable:
        """Carry rows up along the edges that give several rows the same several parents, once each; return the other edges."""
        is_shared = np.isin(table.form, (EdgeForm.SPAN, EdgeForm.EACH)) & (table.span > 1) & (table.rows > 1)
        for number in np.flatnonzero(is_shared):
            edge = table.take(np.array([number]))
            inside = (rows.position >= edge.start[0]) & (rows.position < edge.start[0] + edge.rows[0])
            children = rows.take(np.flatnonzero(inside))
            is_first = children.root < self._first_shared
            if is_first.any():
                root = np.where(is_first, self._first_shared + len(shared), children.root)
                shared.append(np.unique(children.root[is_first]))
                children = replace(children, root=root)
            children = children.take(np.unique(children.root, return_index=True)[1])
            for step in edges.up(edge, children.position):
                source = np.arange(len(children.root)) if step.source is None else step.source
                basis = np.minimum(children.basis[source], step.basis)
                assert step.position is not None
                next_rows[step.list, step.generation].append(
                    RelatedRows(children.root[source], step.position, step.version, basis)
                )
        return table.take(np.flatnonzero(~is_shared)) if is_shared.any() else table

    def _to_readers(
        self, place: GenerationKey, rows: RelatedRows, next_wholes: dict[int, list[WholeLists]]
    ) -> None:
        """Down to those that came from the whole list, of versions that show the rows."""
        list_id, generation = place
        table = self._followed(self.cache.whole_edges(list_id))
        layouts = self.cache.layouts(list_id, set(table.step.tolist()) - {0})
        own = np.flatnonzero(table.parent == generation)
        runs = [(own, np.zeros(len(own), np.int64), table.span[own])]
        for number, pieces in layouts.items():
            readers, (first, stop) = np.flatnonzero(table.step == number), pieces.intervals(generation)
            runs.append(
                (np.repeat(readers, len(first)), np.tile(first, len(readers)), np.tile(stop, len(readers)))
            )
        for edge, first, stop in runs:
            if not len(edge):
                continue
            run, source = edges.interval_join(first, stop, rows.position)
            hit = edge[run]
            for (child,), at in edges.groups(table.list[hit][:, None]):
                basis = np.minimum(rows.basis[source[at]], table.basis[hit[at]])
                next_wholes[child].append(WholeLists(rows.root[source[at]], table.version[hit[at]], basis))

    def _from_wholes(
        self,
        list_id: int,
        wholes: WholeLists,
        nodes: Nodes,
        tables: dict[Place, EdgeTable],
        next_wholes: dict[int, list[WholeLists]],
    ) -> None:
        """From whole versions to whole versions: up from a version that shows rows of the batch, down to those that read any.

        A root gets to a version by the surest of the nodes and edges that lead there.
        """
        table = self._followed(tables[list_id, None])
        if not len(table):
            return
        lists, versions = (
            (table.parent_list, table.parent_version) if self._up else (table.list, table.version)
        )
        meet = self._met_up if self._up else self._met_down
        met = meet(list_id, nodes, table)
        node = np.searchsorted(sorted(nodes), wholes.version)
        order = np.argsort(wholes.root, kind="stable")
        roots, first = np.unique(wholes.root[order], return_index=True)
        for (child, number), at in edges.groups(np.stack([lists, versions], axis=1)):
            basis = np.full(len(roots), -1, np.int8)
            for level in range(READ, STATED + 1):
                by_node = np.asarray(met[:, at[table.basis[at] >= level]].any(axis=1))
                hit = by_node[node[order]] & (wholes.basis[order] >= level)
                basis[np.logical_or.reduceat(hit, first)] = level
            there = np.flatnonzero(basis >= 0)
            if len(there):
                next_wholes[child].append(WholeLists(roots[there], np.full(len(there), number), basis[there]))

    def _met_up(self, list_id: int, nodes: Nodes, table: EdgeTable) -> np.ndarray:
        """Which nodes show rows of which edges' children; bool, shape (nodes, edges)."""
        runs = (table.generation, table.start, table.start + table.rows)
        return self._shown([self.cache.version(list_id, number) for number in sorted(nodes)], *runs)

    def _met_down(self, list_id: int, nodes: Nodes, table: EdgeTable) -> np.ndarray:
        """Which nodes have rows that are shown by the versions which edges read, whatever rows of these were read."""
        numbers, which = np.unique(table.parent_version, return_inverse=True)
        self.cache.learn(versions=[(list_id, number) for number in numbers.tolist()])
        versions = [self.cache.version(list_id, number) for number in numbers.tolist()]
        pieces = [nodes[number] for number in sorted(nodes)]
        runs = (
            np.concatenate([getattr(part, name) for part in pieces])
            for name in ("generation", "first", "stop")
        )
        sizes = np.array([len(part) for part in pieces])
        filled = np.flatnonzero(sizes)
        met = np.zeros((len(nodes), len(table)), bool)
        if len(filled):
            starts = (np.cumsum(sizes) - sizes)[filled]
            by_node = np.logical_or.reduceat(self._shown(versions, *runs), starts, axis=1)
            met[filled] = by_node.T[:, which.reshape(-1)]
        return met

    def _shown(
        self, versions: Sequence[Version], generation: np.ndarray, first: np.ndarray, stop: np.ndarray
    ) -> np.ndarray:
        """Whether each version shows any row of each run of addresses; bool, shape (versions, runs)."""
        own = np.array([version.generation for version in versions], np.int64)
        ends = np.array([version.start + version.rows for version in versions], np.int64)
        shown = np.asarray((own[:, None] == generation) & (first < ends[:, None]) & (first < stop))
        numbers = np.array([version.layout or 0 for version in versions], np.int64)
        for number, pieces in self.cache.layouts(versions[0].list_id, set(numbers.tolist()) - {0}).items():
            shown[numbers == number] |= pieces.shows_any(generation, first, stop)
        return shown

    # -- each relative once

    def _fresh_rows(
        self, next_rows: dict[GenerationKey, list[RelatedRows]]
    ) -> dict[GenerationKey, RelatedRows]:
        fresh = {}
        for place, parts in next_rows.items():
            rows = _best(_joined(parts), self._seen.get(place, []))
            if len(rows.root):
                fresh[place] = rows
                self._seen[place].append(rows)
        return fresh

    def _fresh_wholes(self, next_wholes: dict[int, list[WholeLists]]) -> dict[int, WholeLists]:
        fresh = {}
        for list_id, parts in next_wholes.items():
            joined = _joined(
                [RelatedRows(part.root, part.version, part.version, part.basis) for part in parts]
            )
            before = [
                RelatedRows(part.root, part.version, part.version, part.basis)
                for part in self._seen_wholes[list_id]
            ]
            rows = _best(joined, before)
            if len(rows.root):
                fresh[list_id] = WholeLists(rows.root, rows.version, rows.basis)
                self._seen_wholes[list_id].append(fresh[list_id])
        return fresh


def _written(version: Version) -> Pieces:
    """The rows that a version's batch wrote."""
    return Pieces.of([(version.generation, version.start, version.start + version.rows)])


def _once(rows: RelatedRows) -> RelatedRows:
    """Each (root, row) once."""
    _, first = np.unique((rows.root << 40) | rows.position, return_index=True)
    return rows.take(first)


def _joined(parts: Sequence[RelatedRows]) -> RelatedRows:
    if len(parts) == 1:
        return parts[0]
    names = ("root", "position", "version", "basis")
    joined = RelatedRows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    if all(part.chars is None for part in parts):
        return joined
    return replace(joined, chars=np.concatenate([spans_of_chars(part) for part in parts]))


def spans_of_chars(rows: RelatedRows) -> np.ndarray:
    """Which characters of its parent each row came from: int64, shape (n, 2); -1 where no edge says."""
    return np.full((len(rows.root), 2), -1, np.int64) if rows.chars is None else rows.chars


def _best(rows: RelatedRows, before: Sequence[RelatedRows]) -> RelatedRows:
    """Each (root, position) once and none of those `before`: the surest, and of those the one of the newest version.

    With characters each once for every span of them.
    """
    if not before and _increasing(rows.root):
        return rows
    bits = max(
        int(earlier.position.max()) for earlier in (rows, *before) if len(earlier.position)
    ).bit_length()
    keys = (rows.root << bits) | rows.position
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    if len(ordered) > 1 and (ordered[1:] == ordered[:-1]).any():
        chars = () if rows.chars is None else (rows.chars[:, 1], rows.chars[:, 0])
        order = np.lexsort((-rows.version, -rows.basis, *chars, keys))
        ordered = keys[order]
        first = np.r_[True, ordered[1:] != ordered[:-1]]
        for column in chars:
            first[1:] |= column[order][1:] != column[order][:-1]
        order, ordered = order[first], ordered[first]
    for earlier in before:
        old_keys = (earlier.root << bits) | earlier.position
        fresh = ~np.isin(ordered, old_keys)
        order, ordered = order[fresh], ordered[fresh]
    return rows.take(order)


def _increasing(values: np.ndarray) -> bool:
    return len(values) < 2 or bool((values[1:] > values[:-1]).all())
