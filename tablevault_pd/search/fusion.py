"""Rankings, and two of them as one: reciprocal rank fusion, which needs no common scale of scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store import Hits, Metric, Scope, Store, VectorQuery
from tablevault_pd.store.engine.ranking import ROW_BITS, row_keys, take_hits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.search.request import Weights

RANK_OFFSET = 60  # the usual one: how little the first place is worth more than the next

TEXT, NEAR, NONE = 0, 1, -1  #: what a row was found by
FIRST = 100  # nearest rows that are fetched at first, beside k
GROWTH = 8
MOST_COUNTED = 1000  # rows whose rank among the vectors is counted
ROUNDING = 1e-12  # of sums of two fractions


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows best first, with their score in each of the two rankings; NaN where a row is not in it."""

    scope: np.ndarray
    position: np.ndarray
    score: np.ndarray
    text_score: np.ndarray
    near_score: np.ndarray
    source: np.ndarray  #: TEXT, NEAR or NONE: which ranking the row's best item comes from
    item: np.ndarray  #: that item, as the store numbers it

    def cut(self, first: int, last: int | None, min_score: float | None) -> Ranking:
        """The rows from rank `first` to `last`, of those that score at least `min_score`."""
        if min_score is not None:
            enough = int(np.searchsorted(-self.score, -min_score, side="right"))
            last = enough if last is None else min(last, enough)
        return Ranking(*(getattr(self, name)[first:last] for name in self.__slots__))


def from_hits(hits: Hits, source: int) -> Ranking:
    """One ranking alone: TEXT or NEAR."""
    missing = np.full(len(hits), np.nan)
    text, near = (hits.score, missing) if source == TEXT else (missing, hits.score)
    return Ranking(hits.scope, hits.position, hits.score, text, near, np.full(len(hits), source), hits.item)


def unranked(scope: np.ndarray, position: np.ndarray) -> Ranking:
    """Rows in the order given, which nothing ranks."""
    missing = np.full(len(scope), np.nan)
    none = np.full(len(scope), NONE)
    return Ranking(scope, position, missing, missing, missing, none, none)


def reciprocal_rank_fusion(
    text: Hits, near: Hits, weights: Weights, ranks: tuple[np.ndarray, np.ndarray] | None = None
) -> Ranking:
    """Every row that one of the two has, by the sum of weight / (60 + rank); equal ones in order of scope and position.

    Equal scores share a rank, so that the order within a tie decides nothing. `ranks` are given where `text` and `near` are
    only parts of the rankings.
    """
    text_ranks, near_ranks = ranks or (ranks_of(text.score), ranks_of(near.score))
    text_keys, near_keys = row_keys(text.scope, text.position), row_keys(near.scope, near.position)
    rows = np.unique(np.concatenate([text_keys, near_keys]))
    in_text, in_near = np.searchsorted(rows, text_keys), np.searchsorted(rows, near_keys)
    gain_of_text = _spread(in_text, weights.text / (RANK_OFFSET + text_ranks), len(rows), 0.0)
    gain_of_near = _spread(in_near, weights.near / (RANK_OFFSET + near_ranks), len(rows), 0.0)
    source = np.where(gain_of_text >= gain_of_near, TEXT, NEAR)
    text_items = _spread(in_text, text.item, len(rows), 0)
    near_items = _spread(in_near, near.item, len(rows), 0)
    score = gain_of_text + gain_of_near
    columns = (
        rows >> ROW_BITS,
        rows & ((1 << ROW_BITS) - 1),
        score,
        _spread(in_text, text.score, len(rows), np.nan),
        _spread(in_near, near.score, len(rows), np.nan),
        source,
        np.where(source == TEXT, text_items, near_items),
    )
    order = np.lexsort((rows, -score))
    return Ranking(*(column[order] for column in columns))


def _spread(at: np.ndarray, values: np.ndarray, size: int, missing: float) -> np.ndarray:
    """An array of `size` with `values` at these places, and `missing` elsewhere."""
    spread = np.full(size, missing, np.asarray(values).dtype)
    spread[at] = values
    return spread


def ranks_of(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1 of descending scores; equal ones share the first."""
    if not len(scores):
        return np.empty(0, np.int64)
    first_of_tie = np.flatnonzero(np.diff(scores, prepend=np.inf) != 0)
    ranks = np.zeros(len(scores), np.int64)
    ranks[first_of_tie] = first_of_tie + 1
    return np.maximum.accumulate(ranks)


__all__ = [
    "NEAR", "NONE", "TEXT", "Ranking", "from_hits", "ranks_of", "reciprocal_rank_fusion", "unranked",
]  # fmt: skip


# -- on a server, without reading all vectors


class TooMany(Exception):
    """So many rows may be among the best that the vectors are better read."""


@dataclass(frozen=True, slots=True)
class Hybrid:
    """One search by text and vectors that does not read all vectors: the best few rows, proven to be the best.

    All rows that match the text are known, with their ranks; of the vectors only the nearest. A row that is not among these gains
    at most as much as the last of them. So only rows with a high rank in the text can still enter the result, and the server
    counts how many vectors are nearer than theirs. If another row could still reach the k-th best, more of the nearest are
    fetched.
    """

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
