"""Search the rows of a frame, or the vectors of a Series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from tablevault_pd import validate
from tablevault_pd.errors import DimensionMismatch, InvalidInput
from tablevault_pd.lineage.of_rows import known_rows
from tablevault_pd.search import search
from tablevault_pd.search.request import as_queries, request
from tablevault_pd.store import Metric, Store
from tablevault_pd.store.engine.vector_scores import scores_or_nan

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping


def search_frame(
    store: Store, frame: pd.DataFrame, text: str | Mapping[Hashable, str] | None, options: Mapping[str, Any]
) -> pd.DataFrame:
    """The rows of `frame`, which was read from a list, best first."""
    selections = known_rows(store, frame)
    if len(selections) != 1:
        raise InvalidInput("The rows of this frame are from several lists. Search with lists= instead.")
    version, positions = selections[0].version, selections[0].positions
    address = version.label
    return search(store, request(text, lists=[address], rows=positions, **options))


def near(series: pd.Series, query: Any, k: int | None, metric: Metric) -> pd.Series:
    """Scores of the vectors in `series`, nearest first."""
    validate.choice(metric, "metric", get_args(Metric))
    k = None if k is None else validate.whole(k, "k", least=1)
    queries, batch = as_queries(query, metric)
    if batch:
        raise InvalidInput("Series.vault.near takes one vector.")
    lengths = np.array([_length(cell) for cell in series], np.int64)
    fits = lengths == queries.shape[1]
    if not fits.any():
        raise DimensionMismatch(
            f"The vector has {queries.shape[1]} numbers; the cells of this Series have "
            f"{np.unique(lengths[lengths >= 0])[:10].tolist()}."
        )
    vectors = np.array([np.asarray(cell, np.float64) for cell in series[fits]])
    scores = pd.Series(scores_or_nan(vectors, queries[0], metric), index=series.index[fits], name="score")
    return scores.dropna().sort_values(ascending=False, kind="stable").iloc[:k]


def _length(cell: Any) -> int:
    """How many numbers a cell holds; -1 for one that is no vector."""
    return len(cell) if hasattr(cell, "__len__") and not isinstance(cell, (str, bytes)) else -1
