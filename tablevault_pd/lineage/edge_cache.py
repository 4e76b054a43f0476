"""Edges, versions and pieces that a walk has fetched from the store: each once, for all lists of a level together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.lineage.edges import groups
from tablevault_pd.lineage.same import same_rows
from tablevault_pd.store.edges import WHOLE_LIST, EdgeQuery, EdgeTable, GenerationKey, edge_table
from tablevault_pd.store.types import ListInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tablevault_pd.store import Store, Version
    from tablevault_pd.store.pieces import Pieces

Direction = Literal["up", "down"]
VersionKey = tuple[int, int]  #: (list id, number)
Place = tuple[int, int | None]  #: (list, generation); None: all rows of the list

FAR = 1 << 40  # no generation has so many rows
NO_EDGES = edge_table([], [], [])


class EdgeCache:
    """The edges, lists and versions that one walk has asked for."""

    def __init__(self, store: Store, direction: Direction) -> None:
        self._store = store
        self._up = direction == "up"
        self._facts = ListInfo({}, {})
        self._whole: dict[int, EdgeTable] = {}  # edges from whole lists, by list
        self._parents: dict[int, Sequence[int]] = {}  # generations that rows were read of, by list
        self._all_parents = False  # whether those of all lists are known
        self._others: dict[int, list[int]] = {}  # … or a whole list
        self._newest: dict[GenerationKey, Version] = {}  # version of each generation

    # -- edges

    def edges(self, queries: Sequence[EdgeQuery]) -> dict[Place, EdgeTable]:
        """For each that is asked the edges that touch it, and perhaps others of that generation. Places differ."""
        every = {query.list for query in queries if query.generation is None}
        requests = [query for query in queries if query.generation is None or query.list not in every]
        new = set() if self._up else {query.list for query in queries} - self._whole.keys()
        requests += [EdgeQuery(list_id, WHOLE_LIST, [(0, FAR)]) for list_id in sorted(new - every)]
        if not requests:
            return {}
        table = self._store.edges(requests, side="child" if self._up else "parent")
        lists, generations = (
            (table.list, table.generation) if self._up else (table.parent_list, table.parent_generation)
        )
        tables: dict[Place, EdgeTable] = {(query.list, query.generation): NO_EDGES for query in queries}
        if len(requests) == len(queries) == 1 and not every:
            return {(queries[0].list, queries[0].generation): table}
        for (list_id, generation), rows in groups(np.stack([lists, generations], axis=1)):
            tables[list_id, generation] = table if len(rows) == len(table) else table.take(rows)
        for list_id in every:
            tables[list_id, None] = table.take(np.flatnonzero(lists == list_id))
        self._whole |= {list_id: tables.get((list_id, WHOLE_LIST), NO_EDGES) for list_id in new}
        return tables

    def whole_edges(self, list_id: int) -> EdgeTable:
        """Down: the edges to those that came from the whole of a list, of which other edges were asked for."""
        return self._whole[list_id]

    # -- the same rows

    def look_up_others(self, places: Iterable[GenerationKey]) -> None:
        """Find out, for the lists of all these places together, what :meth:`same_rows` needs to know of each."""
        new = sorted({list_id for list_id, _ in places} - self._others.keys())
        if set(new) - self._parents.keys() and not self._all_parents:
            parents, self._all_parents = self._store.parent_generations(new)
            self._parents |= parents
        for list_id in new:
            generations = {*self._parents.get(list_id, ()), *np.unique(self._whole[list_id].parent).tolist()}
            self._others[list_id] = sorted(generations - {WHOLE_LIST})
        keys = {
            key
            for list_id, generation in places
            if self._others_of((list_id, generation))
            for key in [
                (list_id, generation),
                *((list_id, generation) for generation in self._others[list_id]),
            ]
        }
        unknown = sorted(keys - self._newest.keys())
        if unknown:
            newest = self._store.newest_of_generations(unknown)
            self._newest |= {(version.list_id, version.generation): version for version in newest}
            for list_id, generation in unknown:
                if (list_id, generation) not in self._newest:
                    raise VaultCorrupt(
                        f"Versions that show generation {generation} of the list {list_id} are lost, and lineage names its rows. "
                        "vault.check() lists all damage. Restore the vault from a backup."
                    )
            self.contents(newest)  # together: one by one, each would be a request

    def _others_of(self, place: GenerationKey) -> list[int]:
        return [generation for generation in self._others[place[0]] if generation != place[1]]

    def same_rows(
        self, place: GenerationKey, addresses: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(generation, numbers, addresses there): which of these rows are the same as other stored rows of the list.

        These are looked for in the newest version of each generation that rows, or the whole list, were read of.
        """
        list_id, generation = place
        others = self._others_of(place)
        if not others:
            return
        own = self._newest[place]
        positions = self.contents([own])[0].positions(generation, addresses)
        for other in (self._newest[list_id, generation] for generation in others):
            there = same_rows(self._store, own, other, positions)
            numbers = np.flatnonzero(there >= 0)
            generations, rows = self.contents([other])[0].addresses(there[numbers])
            for (target,), at in groups(generations[:, None]):
                moved = at[rows[at] != addresses[numbers[at]]] if target == generation else at
                if len(moved):
                    yield target, numbers[moved], rows[moved]

    # -- lists and versions

    def know(self, versions: Iterable[Version]) -> None:
        """Versions that were looked up before."""
        added = {(version.list_id, version.version): version for version in versions}
        self._facts = ListInfo(self._facts.lists, {**self._facts.versions, **added})

    def learn(self, lists: Iterable[int] = (), versions: Iterable[VersionKey] = ()) -> None:
        """Look up these versions, their lists and these lists, as far as they are not known yet, with one request."""
        more = set(versions) - self._facts.versions.keys()
        more_lists = {*lists, *(list_id for list_id, _ in more)} - self._facts.lists.keys()
        if more_lists or more:
            facts = self._store.describe_lists(sorted(more_lists), sorted(more))
            self._facts = ListInfo(
                {**self._facts.lists, **facts.lists}, {**self._facts.versions, **facts.versions}
            )

    @property
    def facts(self) -> ListInfo:
        """What was learned."""
        return self._facts

    def version(self, list_id: int, number: int) -> Version:
        """A version that was learned."""
        return self._facts.versions[list_id, number]

    def contents(self, versions: Sequence[Version]) -> list[Pieces]:
        """What these versions show."""
        return self._store.pieces(versions)

    def layouts(self, list_id: int, numbers: Iterable[int]) -> dict[int, Pieces]:
        """The pieces of these layouts."""
        ordered = sorted(set(numbers))
        self.learn(versions=[(list_id, number) for number in ordered])
        versions = [self.version(list_id, number) for number in ordered]
        return {
            version.version: pieces.clip(0, pieces.total - version.tail.total)
            for version, pieces in zip(versions, self.contents(versions), strict=True)
        }

    def positions(
        self, list_id: int, generation: int, addresses: np.ndarray, numbers: np.ndarray
    ) -> np.ndarray:
        """Where rows are shown in the versions `numbers`, one for each row.

        The list was learned and, unless it is `in_place`, these versions.
        """
        if self._facts.lists[list_id].in_place:
            return addresses
        positions = np.empty(len(addresses), np.int64)
        parts = list(groups(numbers[:, None]))
        contents = self.contents([self.version(list_id, number) for (number,), _ in parts])
        for (_, rows), pieces in zip(parts, contents, strict=True):
            positions[rows] = pieces.positions(generation, addresses[rows])
        return positions
