"""Scores of vectors in float64, each vector by itself: the same numbers in every store and at every position.

A matrix product is fast, but its last digits depend on the position of a row in the matrix. So matrix products, and functions
of a server, only preselect rows; the scores that rank and are shown are computed here. Magnitudes whose squares leave the
range of float64 are scaled by powers of two, which changes no digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tablevault_pd.store import Metric

_NUMBERS_AT_ONCE = 1 << 16  # their copies stay in the processor's cache
_LEAST, _MOST = 1e-200, 1e200  # squares of lengths that are certain to have kept their digits
_LARGEST = float(np.finfo(np.float64).max)


def exact_scores(rows: np.ndarray, query: np.ndarray, metric: Metric) -> np.ndarray:
    """The score of each of `rows` (finite; for cosine none without length), shape (n,). `query`: float64, shape (dim,)."""
    out = np.empty(len(rows))
    some = max(1, _NUMBERS_AT_ONCE // rows.shape[1])
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        for at in range(0, len(rows), some):
            piece = rows[at : at + some].astype(np.float64, order="C")  # always a copy
            out[at : at + len(piece)] = _MEASURE[metric](piece, query)
    return out


def lengths(rows: np.ndarray) -> np.ndarray:
    """The length of each of `rows` (finite), at most the largest float64."""
    return -exact_scores(rows, np.zeros(rows.shape[1]), "l2")


def in_float32_range(sizes: np.ndarray) -> np.ndarray:
    """Whether the squares of vectors of these lengths, and their products, stay within float32, in which others estimate."""
    return np.asarray((sizes > 1e-15) & (sizes < 1e15))


def _dots(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("ij,j->i", rows, query))


def _squares(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _scaled(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose largest number is from 0.5 to 1, and the powers of two that were taken out."""
    _, powers = np.frexp(np.abs(rows).max(axis=-1))
    return np.ldexp(rows, -powers[..., None]), powers


def _out_of_range(squares: np.ndarray) -> np.ndarray:
    return np.flatnonzero(~((squares > _LEAST) & (squares < _MOST)))


def _cosine(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    query, _ = _scaled(query)
    query = query / np.sqrt(query @ query)
    squares = _squares(rows)
    outside = _out_of_range(squares)
    if len(outside):
        rows[outside], _ = _scaled(rows[outside])
        squares[outside] = _squares(rows[outside])
    return np.asarray(_dots(rows, query) / np.sqrt(squares))


def _dot(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    products = _dots(rows, query)
    outside = np.flatnonzero(~np.isfinite(products))
    if len(outside):
        near, power = _scaled(query)
        some, powers = _scaled(rows[outside])
        products[outside] = np.clip(np.ldexp(_dots(some, near), powers + power), -_LARGEST, _LARGEST)
    return products


def _distance(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Minus the distances, from the differences: |a|² + |b|² - 2ab would lose the small ones."""
    apart = rows - query
    squares = _squares(apart)
    distances = np.asarray(np.sqrt(squares))
    outside = _out_of_range(squares)
    if len(outside):
        apart = apart[outside]
        too_large = ~np.isfinite(apart).all(axis=1)
        apart[too_large] = rows[outside[too_large]] / 2 - query / 2  # halves would lose the smallest numbers
        apart, powers = _scaled(apart)
        distances[outside] = np.minimum(np.ldexp(np.sqrt(_squares(apart)), powers + too_large), _LARGEST)
    return np.asarray(-distances)


_MEASURE = {"cosine": _cosine, "dot": _dot, "l2": _distance}


def scores_or_nan(rows: np.ndarray, query: np.ndarray, metric: Metric) -> np.ndarray:
    """The score of each of `rows`; NaN for one that is never found: with NaN or infinity or, for cosine, without length."""
    usable = np.isfinite(rows).all(axis=1)
    if metric == "cosine":
        usable &= rows.any(axis=1)
    scores = np.full(len(rows), np.nan)
    scores[usable] = exact_scores(rows[usable], query, metric)
    return scores
