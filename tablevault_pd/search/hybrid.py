"""Words and vectors together on a server, without reading the vectors: the best few, and proof that no other row is better.

All rows with the words are known, with their ranks; of the vectors only the nearest. A row that is not among these gains at
most what the last of them gains. So only rows that the words rank high can still come in, and the server counts how many
vectors are nearer than theirs. If another row could still reach the k-th best, more of the nearest are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.search import fusion as fuse
from tablevault_pd.store import Hits, Metric, Near, Scope, Store
from tablevault_pd.store.engine.ranking import ROW_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.search.request import Weights

FIRST = 100  # nearest rows asked for at first, beside k
GROWTH = 8
MOST_PLACED = 1000  # rows whose place among the vectors is counted
ROUNDING = 1e-12  # of sums of two fractions


class TooMany(Exception):
    """So many rows come into question that the vectors are better read."""


@dataclass(frozen=True, slots=True)
class Hybrid:
    """One search by words and vectors."""

    store: Store
    near: Sequence[Near]
    scopes: Sequence[Scope]
    text: Hits
    metric: Metric
    weights: Weights

    def best(self, k: int) -> list[fuse.Ranking] | None:
        """The best `k` rows for each query; None if all vectors must be read for that."""
        if len({each.scope for each in self.near}) < len(self.near):
            return None  # rows have several vectors, and the server counts vectors
        total = sum(self.scopes[each.scope].version.total for each in self.near)
        count = k + FIRST
        while count < total:
            nearest = self.store.find_near(self.near, self.scopes, metric=self.metric, k=count)
            try:
                found = [self._best(hits, query, k, count) for query, hits in enumerate(nearest)]
            except TooMany:
                return None
            sure = [ranking for ranking in found if ranking is not None]
            if len(sure) == len(found):
                return sure
            count *= GROWTH
        return None

    def _best(self, nearest: Hits, query: int, k: int, count: int) -> fuse.Ranking | None:
        """The best `k` rows, given the `count` nearest; None if there may be others. Raises TooMany."""
        if len(nearest) < count:  # these are all that have a vector
            return fuse.fused(self.text, nearest, self.weights).cut(0, k, None)
        text_ranks, near_ranks = fuse.ranks_of(self.text.score), fuse.ranks_of(nearest.score)
        beyond = self.weights.near / (fuse.RANK_OFFSET + int(near_ranks[-1]))
        outside = ~np.isin(_keys(self.text), _keys(nearest))
        inside = np.flatnonzero(~outside)
        known = fuse.fused(_some(self.text, inside), nearest, self.weights, (text_ranks[inside], near_ranks))
        gained = self.weights.text / (fuse.RANK_OFFSET + text_ranks)
        doubtful = np.flatnonzero(outside & (gained + beyond >= known.score[k - 1] - ROUNDING))
        if len(doubtful) > MOST_PLACED:
            raise TooMany
        more, more_ranks = self._placed(_some(self.text, doubtful), query)
        looked_at = np.sort(np.concatenate([inside, doubtful]))
        ranking = fuse.fused(
            _some(self.text, looked_at),
            _joined(nearest, more),
            self.weights,
            (text_ranks[looked_at], np.concatenate([near_ranks, more_ranks])),
        )
        return ranking.cut(0, k, None) if ranking.score[k - 1] > beyond + ROUNDING else None

    def _placed(self, rows: Hits, query: int) -> tuple[Hits, np.ndarray]:
        """Those of the rows that have a vector, and their ranks among all that have one. Raises TooMany."""
        if not len(rows):
            return rows, np.empty(0, np.int64)
        near = [replace(each, queries=each.queries[query : query + 1]) for each in self.near]
        only = [
            replace(scope, keep=np.isin(np.arange(scope.version.total), rows.position[rows.scope == number]))
            for number, scope in enumerate(self.scopes)
        ]
        [hits] = self.store.find_near(near, only, metric=self.metric, k=len(rows))
        above = self.store.count_nearer(near, self.scopes, hits.score, metric=self.metric)
        if above is None:
            raise TooMany
        return hits, above + 1


def _keys(hits: Hits) -> np.ndarray:
    return np.asarray((hits.scope << ROW_BITS) | hits.position)


def _some(hits: Hits, at: np.ndarray) -> Hits:
    return Hits(hits.scope[at], hits.position[at], hits.item[at], hits.score[at])


def _joined(a: Hits, b: Hits) -> Hits:
    names = ("scope", "position", "item", "score")
    return Hits(*(np.concatenate([getattr(a, name), getattr(b, name)]) for name in names))
