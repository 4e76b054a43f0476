"""Some vectors of a column, with their norms and ranges. These are computed once, because payloads never change."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store.engine.fork_guard import no_fork

if TYPE_CHECKING:
    from collections.abc import Callable

    from tablevault_pd.store import Metric
    from tablevault_pd.store.pieces import Pieces

# a payload with so many bytes of vectors stays a map; smaller ones are merged in memory
MAPPED_BYTES = 8 << 20
ROWS_AT_ONCE = 1 << 14  # for work that needs a copy of the vectors
#: Up to so many bytes, one pass in order is as fast as the threads of BLAS, which wait for each other, and for a busy core.
#: With two cores they gain nothing at any size.
ONE_PASS_BYTES = 32 << 20 if (os.cpu_count() or 1) > 2 else sys.maxsize
#: Dot products row by row, in order of memory: of vectors that left the processor's cache, a matrix product reads half as fast.
row_by_row = getattr(np, "vecdot", np.matmul)  # NumPy 1 has none


class Block:
    """Some vectors of a column: one for each row of some pieces."""

    def __init__(self, places: Pieces, rows: np.ndarray, valid: np.ndarray) -> None:
        self.places = places
        self.rows = rows
        squares = _squares(rows)
        odd = ~np.isfinite(squares) | (
            squares < np.finfo(squares.dtype).tiny * rows.shape[1] / np.finfo(squares.dtype).eps
        )
        odd &= valid
        finite = np.isfinite(rows[odd]).all(axis=1)
        self.missing = ~valid
        self.missing[np.flatnonzero(odd)[~finite]] = True
        #: Vectors whose squares leave the range of their type: no estimate is made of their scores.
        self.odd = np.flatnonzero(odd)[finite]
        self.odd = self.odd[rows[self.odd].any(axis=1)]
        with np.errstate(divide="ignore", invalid="ignore"):
            self.inverse = 1 / np.sqrt(squares)  # of each length; infinity: a vector of length 0
        self.zero_norm = self.missing | (np.isinf(self.inverse) & ~_mask(self.odd, len(rows)))
        self._usable = len(rows) - int(self.missing.sum()), len(rows) - int(self.zero_norm.sum())

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def start(self) -> int:
        """The address of the first row, in a block of one piece."""
        return int(self.places.first[0])

    @property
    def stop(self) -> int:
        """The address after the last row, in a block of one piece."""
        return int(self.places.stop[-1])

    def unusable(self, metric: Metric) -> np.ndarray:
        """bool: the rows that no search by `metric` finds."""
        return self.zero_norm if metric == "cosine" else self.missing

    def usable(self, metric: Metric) -> int:
        """How many rows a search by `metric` may find."""
        return self._usable[metric == "cosine"]

    @property
    def mapped(self) -> bool:
        """Whether the vectors still lie in the file."""
        return self.rows.base is not None and self.rows.nbytes >= MAPPED_BYTES

    def scores(self, queries: np.ndarray, metric: Metric, picked: np.ndarray | None = None) -> np.ndarray:
        """Scores, shape (rows, m), of all rows or those `picked`. `queries`: float64.

        They are good enough to choose among rows; the scores of the chosen ones are then computed exactly.
        """
        rows = self.rows if picked is None else self.rows[picked]
        out = _SCORES[metric](rows, queries)
        if metric == "cosine":
            with np.errstate(invalid="ignore"):  # no length, no score
                out *= (self.inverse if picked is None else self.inverse[picked])[:, None]
        return out

    def error_bound(
        self, scores: np.ndarray, query: np.ndarray, metric: Metric, picked: np.ndarray | slice
    ) -> np.ndarray:
        """By how much the `scores` of the rows `picked` may be wrong at most; infinity where nothing is certain.

        Shape (n,), or () where it is the same for all.
        """
        width = scores.dtype.type
        size = float(np.linalg.norm(query))
        share = (2 * len(query) + 16) * float(np.finfo(width).eps)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if metric == "cosine":
                bound = np.asarray(share)
            elif metric == "dot":
                bound = share * size / self.inverse[picked].astype(np.float64)
            else:
                # of differences whose squares vanish
                least = 2 * (len(query) * float(np.finfo(width).tiny)) ** 0.5
                bound = share * (np.abs(scores, dtype=np.float64) + size) + least
        uncertain = ~np.isfinite(scores)
        if len(self.odd):
            uncertain |= _mask(self.odd, len(self.rows))[picked]
        return np.where(uncertain, np.inf, bound) if uncertain.any() else bound


def _mask(rows: np.ndarray, size: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[rows] = True
    return mask


def _squares(rows: np.ndarray) -> np.ndarray:
    """The square of each vector's length, in the vectors' own precision (float32 for narrower ones)."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if rows.dtype != np.float16:
            return np.asarray(np.einsum("ij,ij->i", rows, rows))
        return _in_pieces(rows, lambda piece: np.einsum("ij,ij->i", piece, piece))


def _in_pieces(rows: np.ndarray, work: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Do `work` on float32 copies of float16 rows, which BLAS does not know."""
    pieces = [
        work(rows[at : at + ROWS_AT_ONCE].astype(np.float32)) for at in range(0, len(rows), ROWS_AT_ONCE)
    ]
    return np.concatenate(pieces) if pieces else work(rows.astype(np.float32))


def _dots(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    if rows.dtype == np.float16:
        return _in_pieces(rows, lambda piece: _dots(piece, queries))
    with no_fork, np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if len(queries) == 1:
            product = row_by_row if rows.nbytes <= ONE_PASS_BYTES else np.matmul
            return np.asarray(product(rows, queries[0].astype(rows.dtype)))[:, None]
        return np.asarray(rows @ queries.T.astype(rows.dtype))


def _cosines(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return _dots(rows, np.asarray(queries / np.linalg.norm(queries, axis=1, keepdims=True)))


def _distances(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Minus the distances, from the differences: |a|² + |b|² - 2ab would lose the small ones."""
    out = np.empty((len(rows), len(queries)), np.float32 if rows.dtype == np.float16 else rows.dtype)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for at in range(0, len(rows), ROWS_AT_ONCE):
            piece = rows[at : at + ROWS_AT_ONCE].astype(out.dtype, copy=False)
            for number, query in enumerate(queries):
                apart = piece - query.astype(out.dtype)
                out[at : at + len(piece), number] = -np.sqrt(np.einsum("ij,ij->i", apart, apart))
    return out


_SCORES = {"cosine": _cosines, "dot": _dots, "l2": _distances}
