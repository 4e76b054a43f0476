"""Walks: from rows to their parents or children, a whole level at a time.

Breadth first, so that the first time a relative is met is its shortest depth. Rows travel as arrays; what is fetched
from the store is at most a request or two per level (see :mod:`~tablevault_pd.lineage.edge_cache`). Past a step that names a
whole list, the walk goes on from list to list: from a version to everything that any batch it shows has a parent in, or
from a batch to everything that was made of its list from then on.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.lineage import edges
from tablevault_pd.lineage.edge_cache import Direction, EdgeCache, RowsOfGeneration
from tablevault_pd.store.edges import INFERRED, READ, STATED, EdgeForm, EdgeTable, GenerationKey, Span
from tablevault_pd.store.runs import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Store

FAR = 1 << 40  # no list has so many rows


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of one generation: for each the number of the row asked for that it is a relative of."""

    asked: np.ndarray
    position: np.ndarray
    version: np.ndarray
    basis: np.ndarray  #: of the weakest step to here


@dataclass(frozen=True, slots=True, eq=False)
class WholeLists:
    """Whole versions of one list, likewise."""

    asked: np.ndarray
    version: np.ndarray
    basis: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Relatives:
    """Relatives of one depth in one list; `generation` is -1 where they are whole versions (of `position` -1)."""

    depth: int
    list: int
    generation: int
    rows: Rows


Nodes = dict[int, list[Run]]  #: whole versions of one list: number -> its rows by generation


class Walk:
    """One walk over one store."""

    def __init__(
        self, store: Store, direction: Direction, basis: int = INFERRED, *, single: bool = False
    ) -> None:
        self.cache = EdgeCache(store, direction)
        self._basis = basis  #: of the weakest edges to follow
        self._single = single  #: whether edges that give each row many parents are left out
        self._up = direction == "up"
        self._seen: dict[GenerationKey, list[Rows]] = defaultdict(list)
        self._seen_wholes: dict[int, list[WholeLists]] = defaultdict(list)
        self._level = 0

    def steps(
        self,
        rows: dict[GenerationKey, Rows],
        wholes: dict[int, WholeLists],
        *,
        depth: int | None = None,
        to: int | None = None,
    ) -> list[Relatives]:
        """Every relative once for each row asked, by growing depth. With `to`, only those in that list."""
        found: list[Relatives] = []
        for place, each in rows.items():
            self._seen[place].append(each)
        for list_id, whole in wholes.items():
            self._seen_wholes[list_id].append(whole)
        level = 0
        while (rows or wholes) and (depth is None or level < depth):
            self._level = level = level + 1
            rows, wholes = self._next(rows, wholes, FAR if depth is None else depth - level)
            for (list_id, generation), each in rows.items():
                if to is None or list_id == to:
                    found.append(Relatives(level, list_id, generation, each))
            for list_id, whole in wholes.items():
                if to is None or list_id == to:
                    nowhere = np.full(len(whole.asked), -1, np.int64)
                    found.append(
                        Relatives(level, list_id, -1, Rows(whole.asked, nowhere, whole.version, whole.basis))
                    )
        return found

    def _next(
        self, rows: dict[GenerationKey, Rows], wholes: dict[int, WholeLists], further: int
    ) -> tuple[dict[GenerationKey, Rows], dict[int, WholeLists]]:
        rows = rows if self._up else self._with_same(rows)
        next_rows: dict[GenerationKey, list[Rows]] = defaultdict(list)
        next_wholes: dict[int, list[WholeLists]] = defaultdict(list)
        nodes = self._nodes(wholes)
        tables = self._tables(rows, nodes, further)
        for place, each in rows.items():
            self._from_rows(tables[place], each, next_rows, next_wholes)
        if not self._up and wholes:
            read = {
                (list_id, number)
                for (list_id, _), table in tables.items()
                if list_id in wholes
                for number in np.unique(table.parent_version).tolist()
            }
            self.cache.learn(versions=read)
        for list_id, whole in wholes.items():
            self._from_wholes(list_id, whole, nodes[list_id], tables, next_wholes)
        return self._fresh_rows(next_rows), self._fresh_wholes(next_wholes)

    def _with_same(self, rows: dict[GenerationKey, Rows]) -> dict[GenerationKey, Rows]:
        """These rows, and the same rows of their lists in other generations: what was made from those was made from them."""
        parts: dict[GenerationKey, list[Rows]] = {key: [some] for key, some in rows.items()}
        for (list_id, generation), some in rows.items():
            for other, position in self.cache.same_rows((list_id, generation), some.position):
                numbers = np.flatnonzero(position >= 0)
                if len(numbers):
                    same = Rows(
                        some.asked[numbers], position[numbers], some.version[numbers], some.basis[numbers]
                    )
                    parts.setdefault((list_id, other), []).append(same)
        return {key: _joined(some_parts) for key, some_parts in parts.items()}

    def _nodes(self, wholes: dict[int, WholeLists]) -> dict[int, Nodes]:
        numbers = {list_id: np.unique(whole.version).tolist() for list_id, whole in wholes.items()}
        self.cache.learn(wholes, {(list_id, each) for list_id in wholes for each in numbers[list_id]})
        return {
            list_id: {number: self._runs(list_id, number) for number in numbers[list_id]}
            for list_id in wholes
        }

    def _tables(
        self, rows: dict[GenerationKey, Rows], nodes: dict[int, Nodes], further: int
    ) -> dict[GenerationKey, EdgeTable]:
        """The edges of all that this level starts from."""
        reach: dict[GenerationKey, int] = {}
        for list_id, runs_of_list in nodes.items():
            for generation, _, high in (run for runs in runs_of_list.values() for run in runs):
                place = (list_id, generation)
                reach[place] = max(reach.get(place, 0), high if self._up else FAR)
        asked = []
        for place, each in rows.items():
            if place in reach:
                reach[place] = max(reach[place], int(each.position.max()) + 1)
            else:
                spans: list[Span] = edges.spans_of(each.position)
                asked.append(RowsOfGeneration(place, spans, each.position))
        asked += [RowsOfGeneration(place, [(0, high)], None, whole=True) for place, high in reach.items()]
        found = self.cache.edges(asked, ahead=further)
        return {each.place: self._followed(table) for each, table in zip(asked, found, strict=True)}

    def _followed(self, table: EdgeTable) -> EdgeTable:
        """The edges that are sure enough, without those of batches that had no rows: nothing came from anything there."""
        follow = (table.rows > 0) & (table.basis >= self._basis)
        if self._single:
            follow &= ~(np.isin(table.form, (EdgeForm.SPAN, EdgeForm.EACH)) & (table.span > 1))
        return table if follow.all() else table.take(np.flatnonzero(follow))

    # -- one step

    def _from_rows(
        self,
        table: EdgeTable,
        rows: Rows,
        found: dict[GenerationKey, list[Rows]],
        wholes: dict[int, list[WholeLists]],
    ) -> None:
        carry = edges.up if self._up else edges.down
        for step in carry(table, rows.position):
            if not len(step.version):
                continue
            asked = rows.asked if step.source is None else rows.asked[step.source]
            basis = np.minimum(rows.basis if step.source is None else rows.basis[step.source], step.basis)
            if step.position is None:
                wholes[step.list].append(WholeLists(asked, step.version, basis))
            else:
                found[step.list, step.generation].append(Rows(asked, step.position, step.version, basis))

    def _from_wholes(
        self,
        list_id: int,
        wholes: WholeLists,
        nodes: Nodes,
        tables: dict[GenerationKey, EdgeTable],
        found: dict[int, list[WholeLists]],
    ) -> None:
        """List level. What matters of a row's nodes in one generation is how far they reach, see :meth:`_reached`."""
        numbers = sorted(nodes)
        for generation in sorted({run[0] for runs in nodes.values() for run in runs}):
            table = tables[list_id, generation]
            if len(table):
                reach = [self._reach(nodes[number], generation) for number in numbers]
                needed = (
                    table.start + 1
                    if self._up
                    else 1 - self._shown(list_id, generation, table.parent_version)
                )
                at = np.searchsorted(numbers, wholes.version)
                self._reached(table, needed, wholes, np.asarray(reach)[at], found)

    def _reach(self, runs: Sequence[Run], generation: int) -> int:
        """Up: the end of the node's rows of that generation. Down: their start, negative."""
        for place, low, high in runs:
            if place == generation:
                return high if self._up else -low
        return -FAR

    def _shown(self, list_id: int, generation: int, numbers: np.ndarray) -> np.ndarray:
        """How many rows of a generation each of these versions shows."""
        distinct, which = np.unique(numbers, return_inverse=True)
        runs = [self.cache.runs(self.cache.version(list_id, number)) for number in distinct.tolist()]
        highs = [
            max((high for place, _, high in runs_of_version if place == generation), default=0)
            for runs_of_version in runs
        ]
        return np.asarray(highs, np.int64)[which.reshape(-1)]

    def _reached(
        self,
        table: EdgeTable,
        needed: np.ndarray,
        wholes: WholeLists,
        reach: np.ndarray,
        found: dict[int, list[WholeLists]],
    ) -> None:
        """From whole versions to whole versions: an edge is met by every node that reaches far enough for it.

        Up, a node meets the edges of the batches it shows. Down, it meets those that read a version showing its rows.
        """
        lists, versions = (
            (table.parent_list, table.parent_version) if self._up else (table.list, table.version)
        )
        asked, which = np.unique(wholes.asked, return_inverse=True)
        which = which.reshape(-1)
        keys, key = np.unique(np.stack([lists, versions]), axis=1, return_inverse=True)
        key = key.reshape(-1)
        # By basis: how far the nodes of each row asked reach that are at least as sure, and the nearest such edge.
        sure = range(READ, STATED + 1)
        furthest = [
            _highest(np.where(wholes.basis >= basis, reach, -FAR), which, len(asked)) for basis in sure
        ]
        nearest = [
            -_highest(np.where(table.basis >= basis, -needed, -2 * FAR), key, keys.shape[1]) for basis in sure
        ]
        for number in range(keys.shape[1]):
            hits = [furthest[basis] >= nearest[basis][number] for basis in sure]
            hit = np.flatnonzero(hits[READ])
            if len(hit):
                basis = np.max([np.where(hits[basis][hit], basis, READ) for basis in sure], axis=0)
                version = np.full(len(hit), keys[1, number])
                found[int(keys[0, number])].append(WholeLists(asked[hit], version, basis))

    # -- each relative once

    def _fresh_rows(self, found: dict[GenerationKey, list[Rows]]) -> dict[GenerationKey, Rows]:
        fresh = {}
        for place, parts in found.items():
            rows = _best(_joined(parts), self._seen.get(place, []))
            if len(rows.asked):
                fresh[place] = rows
                self._seen[place].append(rows)
        return fresh

    def _fresh_wholes(self, found: dict[int, list[WholeLists]]) -> dict[int, WholeLists]:
        fresh = {}
        for list_id, parts in found.items():
            joined = _joined([Rows(each.asked, each.version, each.version, each.basis) for each in parts])
            before = [
                Rows(each.asked, each.version, each.version, each.basis)
                for each in self._seen_wholes[list_id]
            ]
            rows = _best(joined, before)
            if len(rows.asked):
                fresh[list_id] = WholeLists(rows.asked, rows.version, rows.basis)
                self._seen_wholes[list_id].append(fresh[list_id])
        return fresh

    def _runs(self, list_id: int, number: int) -> list[Run]:
        """The rows that a node at list level stands for: what a version shows, or (going down) what a batch wrote."""
        version = self.cache.version(list_id, number)
        if self._up or self._level == 1:
            return self.cache.runs(version)
        return [(version.generation, version.start, version.start + version.rows)]


def _highest(values: np.ndarray, which: np.ndarray, count: int) -> np.ndarray:
    highest = np.full(count, -3 * FAR, np.int64)
    np.maximum.at(highest, which, values)
    return highest


def _joined(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    names = ("asked", "position", "version", "basis")
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _best(rows: Rows, before: Sequence[Rows]) -> Rows:
    """Each (asked, position) once and none of those `before`: the surest, and of those the one of the newest version."""
    if not before and _increasing(rows.asked):
        return rows
    bits = max(
        int(earlier.position.max()) for earlier in (rows, *before) if len(earlier.position)
    ).bit_length()
    keys = (rows.asked << bits) | rows.position
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    if len(ordered) > 1 and (ordered[1:] == ordered[:-1]).any():
        order = np.lexsort((-rows.version, -rows.basis, keys))
        ordered = keys[order]
        first = np.r_[True, ordered[1:] != ordered[:-1]]
        order, ordered = order[first], ordered[first]
    for earlier in before:
        old_keys = (earlier.asked << bits) | earlier.position
        fresh = ~np.isin(ordered, old_keys)
        order, ordered = order[fresh], ordered[fresh]
    return Rows(rows.asked[order], rows.position[order], rows.version[order], rows.basis[order])


def _increasing(values: np.ndarray) -> bool:
    return len(values) < 2 or bool((values[1:] > values[:-1]).all())
