"""Items of text that may match, and where in a search's scopes they are. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tablevault_pd.store.engine.ranking import ranked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tablevault_pd.store import Hits, Scope
    from tablevault_pd.store.engine.fts_index import Places


class TextBatch(NamedTuple):
    """A batch with texts."""

    key: str
    list_id: int
    generation: int
    start: int  #: address of its first row
    items: int
    words: int
    changed: int  #: when its texts were committed, or some of them erased: milliseconds of the server


class Items:
    """Items of text, with how often each thing that is sought is in them."""

    def __init__(self) -> None:
        self.lengths: list[int] = []  #: terms in each
        self.counts: list[Sequence[int]] = []  #: of each thing sought
        self._batches: list[TextBatch] = []
        self._rows: list[int] = []
        self._columns: list[str | None] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, batch: TextBatch, row: int, column: str | None, length: int, counts: Sequence[int]) -> None:
        """Add one item."""
        self._batches.append(batch)
        self._rows.append(row)
        self._columns.append(column)
        self.lengths.append(length)
        self.counts.append(counts)

    def extend(self, others: Items) -> None:
        """Add other items."""
        self._batches += others._batches
        self._rows += others._rows
        self._columns += others._columns
        self.lengths += others.lengths
        self.counts += others.counts

    def keys(self) -> set[tuple[str, int, str | None]]:
        """Batch, row and column of each."""
        return {
            (batch.key, row, column)
            for batch, row, column in zip(self._batches, self._rows, self._columns, strict=True)
        }

    def located(self, ids: np.ndarray, scores: np.ndarray, places: Places, scopes: Sequence[Scope]) -> Hits:
        """The rows of the scopes that the items `ids` belong to, best first."""
        names = {name: code for code, name in enumerate(dict.fromkeys([None, *self._columns]))}
        column = np.array([names[name] for name in self._columns], np.int64)[ids]
        address = np.array(
            [batch.start + row for batch, row in zip(self._batches, self._rows, strict=True)], np.int64
        )[ids]
        runs = {key: code for code, key in enumerate(places)}
        run = np.array(
            [runs.get((batch.list_id, batch.generation), -1) for batch in self._batches], np.int64
        )[ids]
        parts: list[tuple[np.ndarray, ...]] = [_NONE]
        for key, code in runs.items():
            here = np.flatnonzero(run == code)
            for place in places[key] if len(here) else ():
                scope = scopes[place.scope]
                item = _codes(names, scope)[column[here]]
                position = place.pieces.positions(key[1], address[here])
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
