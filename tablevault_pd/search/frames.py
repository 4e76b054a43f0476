"""Searching from a frame or a Series at hand."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pandas as pd

from tablevault_pd import validate
from tablevault_pd.errors import DimensionMismatch, InvalidInput
from tablevault_pd.lineage.of_rows import known_rows
from tablevault_pd.search import search
from tablevault_pd.search.request import as_queries, request
from tablevault_pd.store import Metric, Store


def search_frame(
    store: Store, frame: pd.DataFrame, text: str | None, options: dict[str, Any]
) -> pd.DataFrame:
    """The rows of `frame`, which was read from a list, best first."""
    unfit = options.keys() & {"lists", "as_of"}
    if unfit:
        raise InvalidInput(
            f"{min(unfit)}= is for vault.search(): df.vault.search() looks at the rows of the frame."
        )
    named = known_rows(store, frame)
    if len(named) != 1:
        raise InvalidInput("The rows of this frame are from several lists. Search with lists= instead.")
    version, positions = named[0].version, named[0].positions
    rows = None if positions is None else positions
    address = f"{version.list}@{version.version}"
    return search(store, request(text, lists=[address], rows=rows, **options))


def near(series: pd.Series, query: Any, k: int | None, metric: Metric) -> pd.Series:
    """Scores of the vectors in `series`, nearest first."""
    validate.choice(metric, "metric", get_args(Metric))
    k = None if k is None else validate.whole(k, "k", least=1)
    queries, batch = as_queries(query, metric)
    if batch:
        raise InvalidInput("Series.vault.near takes one vector.")
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
