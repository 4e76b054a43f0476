"""Putting two rankings together: reciprocal rank fusion, which needs no common scale of scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tablevault_pd.search.request import Weights
    from tablevault_pd.store import Hits

RANK_OFFSET = 60  # the usual one: how little the first place is worth more than the next
_ROW_BITS = 40

TEXT, NEAR, NONE = 0, 1, -1  #: by what a row was found


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows best first, with what each ranking says of them; NaN where it does not have them."""

    scope: np.ndarray
    position: np.ndarray
    score: np.ndarray
    text_score: np.ndarray
    near_score: np.ndarray
    by: np.ndarray  #: TEXT, NEAR or NONE: where the row's best item comes from
    item: np.ndarray  #: that item, as the store numbers it

    def cut(self, first: int, last: int | None, least: float | None) -> Ranking:
        """The rows from rank `first` to `last`, of those that score at least `least`."""
        if least is not None:
            enough = int(np.searchsorted(-self.score, -least, side="right"))
            last = enough if last is None else min(last, enough)
        return Ranking(*(getattr(self, name)[first:last] for name in self.__slots__))


def single(hits: Hits, by: int) -> Ranking:
    """One ranking alone."""
    nothing = np.full(len(hits), np.nan)
    text, near = (hits.score, nothing) if by == TEXT else (nothing, hits.score)
    return Ranking(hits.scope, hits.position, hits.score, text, near, np.full(len(hits), by), hits.item)


def fused(
    text: Hits, near: Hits, weights: Weights, ranks: tuple[np.ndarray, np.ndarray] | None = None
) -> Ranking:
    """Every row that one of the two has, by the sum of weight / (60 + rank); equal ones in order of scope and position.

    Equal scores share a rank, so that the order within a tie decides nothing. `ranks` are given where not all rows are.
    """
    places = ranks or (ranks_of(text.score), ranks_of(near.score))
    keys = [(hits.scope << _ROW_BITS) | hits.position for hits in (text, near)]
    rows = np.unique(np.concatenate(keys))
    score = np.zeros(len(rows))
    scores, worth = [], []
    for hits, key, weight, place in zip(
        (text, near), keys, (weights.text, weights.near), places, strict=True
    ):
        at = np.searchsorted(rows, key)
        gained = np.zeros(len(rows))
        gained[at] = weight / (RANK_OFFSET + place)
        own = np.full(len(rows), np.nan)
        own[at] = hits.score
        score += gained
        scores.append(own)
        worth.append(gained)
    items = []
    for hits, key in zip((text, near), keys, strict=True):
        item = np.zeros(len(rows), np.int64)
        item[np.searchsorted(rows, key)] = hits.item
        items.append(item)
    by = np.where(worth[TEXT] >= worth[NEAR], TEXT, NEAR)
    order = np.lexsort((rows, -score))
    return Ranking(
        (rows >> _ROW_BITS)[order],
        (rows & ((1 << _ROW_BITS) - 1))[order],
        score[order],
        scores[TEXT][order],
        scores[NEAR][order],
        by[order],
        np.where(by == TEXT, items[TEXT], items[NEAR])[order],
    )


def ranks_of(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1 of descending scores; equal ones share the first."""
    if not len(scores):
        return np.empty(0, np.int64)
    new = np.flatnonzero(np.diff(scores, prepend=np.inf) != 0)
    ranks = np.zeros(len(scores), np.int64)
    ranks[new] = new + 1
    return np.maximum.accumulate(ranks)


__all__ = ["NEAR", "NONE", "TEXT", "Ranking", "fused", "ranks_of", "single"]
