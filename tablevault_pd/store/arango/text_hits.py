"""Items of text that the server found, and where in a search's scopes they are. No I/O."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.store.engine.ranking import ranked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tablevault_pd.store import Hits, Scope
    from tablevault_pd.store.engine.fts_index import Places

_NOWHERE = (0, 0, 0, False)  # descriptions that belong to no batch


class Items:
    """Items, and descriptions, whose row is -1: they count, and are never a hit."""

    def __init__(self) -> None:
        self.lengths: list[int] = []  #: terms in each
        self.counts: list[list[int]] = []  #: of each thing sought
        self.terms: list[list[str] | None] = []  #: the terms themselves, where they were asked for
        self._keys: list[str | None] = []  #: of each batch
        self._places: list[Sequence[Any]] = []  #: of each batch: list, generation, first address
        self._batches: list[int] = []
        self._rows: list[int] = []
        self._columns: list[str | None] = []

    def add(self, batches: Sequence[Any]) -> None:
        """What :data:`~tablevault_pd.store.arango.text.FIND_TEXTS` found: batch, place, items each."""
        for key, place, some in batches:
            # Those of a batch that a vacuum is emptying are as good as gone.
            items = [item for item in some if item[0] is None or not place[3]]
            self._batches += [len(self._keys)] * len(items)
            self._keys.append(key)
            self._places.append(place or _NOWHERE)
            self._rows += [-1 if item[0] is None else item[0] for item in items]
            self._columns += [item[1] for item in items]
            self.lengths += [item[2] for item in items]
            self.counts += [item[3] for item in items]
            self.terms += [item[4] for item in items]

    def add_rest(self, batches: Sequence[Any], sought: int) -> None:
        """Of all items, those that were not found: nothing that is sought is in them."""
        keys = map(self._keys.__getitem__, self._batches)
        present = set(zip(keys, self._rows, self._columns, strict=True))
        nothing = [0] * sought
        for key, place, *some in batches:
            items = [(row, column) for row, column in chain(*some) if (key, row, column) not in present]
            self.add([(key, place, [[row, column, 0, nothing, None] for row, column in items])])

    def located(
        self,
        ids: np.ndarray,
        scores: np.ndarray,
        places: Places,
        scopes: Sequence[Scope],
    ) -> Hits:
        """The rows of the scopes that the items `ids` belong to, best first."""
        names = {name: code for code, name in enumerate(dict.fromkeys([None, *self._columns]))}
        column = np.array([names[name] for name in self._columns], np.int64)[ids]
        row = np.array(self._rows, np.int64)[ids]
        batch = np.array(self._batches, np.int64)[ids]
        starts = np.array([place[2] for place in self._places], np.int64)
        runs = {key: code for code, key in enumerate(places)}
        run_of = np.array([runs.get((place[0], place[1]), -1) for place in self._places], np.int64)
        run = np.where(row < 0, -1, run_of[batch]) if len(ids) else np.empty(0, np.int64)
        order = np.argsort(run, kind="stable")
        edges = np.searchsorted(run[order], np.arange(len(runs) + 1))
        parts: list[tuple[np.ndarray, ...]] = [_NONE]
        for key, code in runs.items():
            here = order[edges[code] : edges[code + 1]]
            address = starts[batch[here]] + row[here]
            for place in places[key]:
                scope = scopes[place.scope]
                item = _codes(names, scope)[column[here]]
                position = place.pieces.positions(key[1], address)
                inside = (position >= 0) & (item > -2)
                if scope.keep is not None:
                    inside[inside] = scope.keep[position[inside]]
                number = np.full(int(inside.sum()), place.scope, np.int64)
                parts.append((number, position[inside], item[inside], scores[ids[here]][inside]))
        return ranked(*map(np.concatenate, zip(*parts, strict=True)))


_NONE = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def _codes(names: Mapping[str | None, int], scope: Scope) -> np.ndarray:
    """The number in the scope of each column; -2: the scope does not look at it."""
    numbers = {field: number for number, field in enumerate(scope.documents)}
    return np.array(
        [(-1 if scope.record else -2) if name is None else numbers.get(name, -2) for name in names], np.int64
    )
