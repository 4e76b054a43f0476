"""Searching from a frame or a Series at hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import DimensionMismatch, InvalidInput
from tablevault_pd.search.request import as_queries
from tablevault_pd.store import Metric


def list_of(frame: pd.DataFrame) -> str:
    """The address of the list that `frame` was read from. The seam for lineage, which remembers it in ``attrs``."""
    raise InvalidInput(
        "This frame does not say which list it was read from. Search the list itself: vault['name'].search(…)."
    )


def near(series: pd.Series, query: Any, k: int | None, metric: Metric) -> pd.Series:
    """Scores of the vectors in `series`, nearest first."""
    queries, batch = as_queries(query, metric)
    if batch:
        raise InvalidInput("Series.vault.near takes one vector.")
    if k is not None and (isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1):
        raise InvalidInput(f"k= is a number of rows, at least 1, not {k!r}.")
    wide = np.array(
        [
            hasattr(cell, "__len__") and not isinstance(cell, (str, bytes)) and len(cell) == queries.shape[1]
            for cell in series
        ]
    )
    if not wide.any():
        widths = sorted(
            {len(cell) for cell in series if hasattr(cell, "__len__") and not isinstance(cell, (str, bytes))}
        )
        raise DimensionMismatch(
            f"The vector has {queries.shape[1]} numbers; the cells of this Series have {widths[:10]}."
        )
    rows = np.array([np.asarray(cell, np.float64) for cell, fits in zip(series, wide, strict=True) if fits])
    scores = _scores(rows, queries[0], metric)
    found = (
        pd.Series(scores, index=series.index[wide], name="score")
        .dropna()
        .sort_values(ascending=False, kind="stable")
    )
    return found if k is None else found.iloc[:k]


def _scores(rows: np.ndarray, query: np.ndarray, metric: Metric) -> np.ndarray:
    """NaN for vectors that cannot be compared."""
    finite = np.isfinite(rows).all(axis=1)
    with np.errstate(all="ignore"):
        if metric == "l2":
            scores = -np.linalg.norm(rows - query, axis=1)
        else:
            scores = rows @ query
        if metric == "cosine":
            scores = scores / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))
    return np.where(finite, scores, np.nan)
