"""Rows that were found, put in the order every store answers in."""

from __future__ import annotations

import numpy as np

from tablevault_pd.store import Hits

ROW_BITS = 40  # a scope and a position in one number: no list has so many rows


def ranked(scope: np.ndarray, position: np.ndarray, item: np.ndarray, score: np.ndarray) -> Hits:
    """Hits in order, the best item of each row only."""
    order = np.lexsort((item, position, scope, -score))
    rows = (scope << ROW_BITS | position)[order]
    order = order[np.sort(np.unique(rows, return_index=True)[1])]
    return Hits(scope[order], position[order], item[order], score[order])
