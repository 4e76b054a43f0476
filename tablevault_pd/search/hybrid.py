"""Search by text and vectors on a server without reading all vectors: the best few rows, proven to be the best.

All rows that match the text are known, with their ranks; of the vectors only the nearest. A row that is not among these gains
at most as much as the last of them. So only rows with a high rank in the text can still enter the result, and the server
counts how many vectors are nearer than theirs. If another row could still reach the k-th best, more of the nearest are
fetched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.search.fusion import RANK_OFFSET, Ranking, ranks_of, reciprocal_rank_fusion
from tablevault_pd.store import Hits, Metric, Scope, Store, VectorQuery
from tablevault_pd.store.engine.ranking import row_keys, take_hits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.search.request import Weights

FIRST = 100  # nearest rows that are fetched at first, beside k
GROWTH = 8
MOST_COUNTED = 1000  # rows whose rank among the vectors is counted
ROUNDING = 1e-12  # of sums of two fractions


class TooMany(Exception):
    """So many rows may be among the best that the vectors are better read."""


@dataclass(frozen=True, slots=True)
class Hybrid:
    """One search by text and vectors."""

    store: Store
    near: Sequence[VectorQuery]
    scopes: Sequence[Scope]
    text: Hits
    metric: Metric
    weights: Weights

    def best(self, k: int) -> list[Ranking] | None:
        """The best `k` rows for each query; None if all vectors must be read for that."""
        if len({column.scope for column in self.near}) < len(self.near):
            return None  # rows have several vectors, and the server counts vectors
        total = sum(self.scopes[column.scope].version.total for column in self.near)
        count = k + FIRST
        while count < total:
            nearest = self.store.search_vectors(self.near, self.scopes, metric=self.metric, k=count)
            try:
                rankings = [self._best(hits, query, k, count) for query, hits in enumerate(nearest)]
            except TooMany:
                return None
            proven = [ranking for ranking in rankings if ranking is not None]
            if len(proven) == len(rankings):
                return proven
            count *= GROWTH
        return None

    def _best(self, nearest: Hits, query: int, k: int, count: int) -> Ranking | None:
        """The best `k` rows, given the `count` nearest; None if there may be others. Raises TooMany."""
        if len(nearest) < count:  # these are all that have a vector
            return reciprocal_rank_fusion(self.text, nearest, self.weights).cut(0, k, None)
        text_ranks, near_ranks = ranks_of(self.text.score), ranks_of(nearest.score)
        most_beyond = self.weights.near / (RANK_OFFSET + int(near_ranks[-1]))
        outside = ~np.isin(_keys(self.text), _keys(nearest))
        inside = np.flatnonzero(~outside)
        fused = reciprocal_rank_fusion(
            take_hits(self.text, inside), nearest, self.weights, (text_ranks[inside], near_ranks)
        )
        gain = self.weights.text / (RANK_OFFSET + text_ranks)
        possible = np.flatnonzero(outside & (gain + most_beyond >= fused.score[k - 1] - ROUNDING))
        if len(possible) > MOST_COUNTED:
            raise TooMany
        counted, counted_ranks = self._counted(take_hits(self.text, possible), query)
        in_question = np.sort(np.concatenate([inside, possible]))
        ranking = reciprocal_rank_fusion(
            take_hits(self.text, in_question),
            _concatenated(nearest, counted),
            self.weights,
            (text_ranks[in_question], np.concatenate([near_ranks, counted_ranks])),
        )
        return ranking.cut(0, k, None) if ranking.score[k - 1] > most_beyond + ROUNDING else None

    def _counted(self, rows: Hits, query: int) -> tuple[Hits, np.ndarray]:
        """Those of the rows that have a vector, and their ranks among all that have one. Raises TooMany."""
        if not len(rows):
            return rows, np.empty(0, np.int64)
        near = [replace(column, queries=column.queries[query : query + 1]) for column in self.near]
        scopes = [
            replace(scope, keep=np.isin(np.arange(scope.version.total), rows.position[rows.scope == number]))
            for number, scope in enumerate(self.scopes)
        ]
        [hits] = self.store.search_vectors(near, scopes, metric=self.metric, k=len(rows))
        above = self.store.count_nearer(near, self.scopes, hits.score, metric=self.metric)
        if above is None:
            raise TooMany
        return hits, above + 1


def _keys(hits: Hits) -> np.ndarray:
    return row_keys(hits.scope, hits.position)


def _concatenated(a: Hits, b: Hits) -> Hits:
    names = ("scope", "position", "item", "score")
    return Hits(*(np.concatenate([getattr(a, name), getattr(b, name)]) for name in names))
