"""Sort the rows that a search found, in the order that every store returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store import Hits

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUPS, GROUP_SCORES = 256, 8  # scores are looked at in so many groups at least, of so many at least
ROW_BITS = 40  # a scope and a position in one number: no list has so many rows


def row_keys(scope: np.ndarray, position: np.ndarray) -> np.ndarray:
    """One int64 for each row of each scope, in order of scope and position."""
    return np.asarray((scope << ROW_BITS) | position)


def ranked(scope: np.ndarray, position: np.ndarray, item: np.ndarray, score: np.ndarray) -> Hits:
    """Hits in order, the best item of each row only."""
    order = np.lexsort((item, position, scope, -score))
    rows = row_keys(scope, position)[order]
    order = order[np.sort(np.unique(rows, return_index=True)[1])]
    return Hits(scope[order], position[order], item[order], score[order])


def take_hits(hits: Hits, rows: np.ndarray | slice) -> Hits:
    """Some of the hits: by their numbers, as a mask or as a slice."""
    return Hits(hits.scope[rows], hits.position[rows], hits.item[rows], hits.score[rows])


def merge_hits(parts: Sequence[Hits]) -> Hits:
    """All hits of several answers in order, the best item of each row only."""
    if len(parts) == 1:
        return parts[0]
    columns = [(hits.scope, hits.position, hits.item, hits.score) for hits in parts]
    return ranked(*map(np.concatenate, zip(*columns, strict=True)))


def kth_best(scores: np.ndarray, k: int) -> np.floating:
    """The `k`-th largest of scores that are no NaN. Of many only those are sorted that reach the `k`-th best of their groups."""
    groups = max(GROUPS, GROUP_SCORES * k)
    depth = len(scores) // groups
    if depth >= GROUP_SCORES:
        largest = scores[: groups * depth].reshape(depth, groups).max(axis=0)
        scores = scores[scores >= np.partition(largest, groups - k)[groups - k]]
    at = len(scores) - k
    kth: np.floating = np.partition(scores, at)[at]
    return kth
