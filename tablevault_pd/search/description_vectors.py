"""``near={"description": v}``: rows ranked by how near the description of their list, or of their session, is."""

from __future__ import annotations

import numpy as np

from tablevault_pd.search.candidates import Place, covered
from tablevault_pd.store import Hits, Metric, Store


def near_descriptions(
    store: Store, found: list[Place], query: np.ndarray, metric: Metric, *, first_item: int
) -> Hits:
    """Every row of the places that some description with a vector of this width is about, and the best score."""
    told = [
        each for each in store.descriptions() if each.vector is not None and len(each.vector) == len(query)
    ]
    scores = [_score(np.asarray(each.vector, np.float64), query, metric) for each in told]
    spans = (
        store.written([place.version for place in found])
        if any(each.session_of is not None for each in told)
        else None
    )
    columns: list[tuple[np.ndarray, ...]] = []
    for number, place in enumerate(found):
        best = np.full(place.version.total, -np.inf)
        for each, worth in zip(told, scores, strict=True):
            if each.list_id == place.version.list_id:
                best = np.maximum(best, worth)
            elif each.session_of is not None and spans is not None:
                mine = covered(spans, spans.session_id == each.session_of, number, len(best))
                best = np.where(mine, np.maximum(best, worth), best)
        if place.keep is not None:
            best[~place.keep] = -np.inf
        at = np.flatnonzero(best > -np.inf)
        columns.append((np.full(len(at), number), at, np.full(len(at), first_item), best[at]))
    empty = (np.empty(0, np.int64),) * 3
    scope, position, item, score = map(np.concatenate, zip((*empty, np.empty(0)), *columns, strict=True))
    order = np.lexsort((position, scope, -score))
    return Hits(scope[order], position[order], item[order], score[order])


def _score(vector: np.ndarray, query: np.ndarray, metric: Metric) -> float:
    if not np.isfinite(vector).all():
        return -np.inf
    if metric == "dot":
        return float(vector @ query)
    if metric == "l2":
        return -float(np.linalg.norm(vector - query))
    length = np.linalg.norm(vector)
    return float(vector @ query / (length * np.linalg.norm(query))) if length else -np.inf
