"""Rankings, and two of them as one: reciprocal rank fusion, which needs no common scale of scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store.engine.ranking import ROW_BITS, row_keys

if TYPE_CHECKING:
    from tablevault_pd.search.request import Weights
    from tablevault_pd.store import Hits

RANK_OFFSET = 60  # the usual one: how little the first place is worth more than the next

TEXT, NEAR, NONE = 0, 1, -1  #: what a row was found by


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
