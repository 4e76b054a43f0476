"""``near={"description": v}``: rows ranked by how near the description of their list, or of their session, is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.search.writers import WriterSpans, mask_of_spans
from tablevault_pd.store import Description, Hits, Metric, Store
from tablevault_pd.store.engine.ranking import merge_hits, ranked
from tablevault_pd.store.engine.vector_scores import scores_or_nan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.search.candidates import Candidate


def described_near(store: Store, query: np.ndarray) -> list[tuple[Description, float]]:
    """The newest descriptions with a vector of that width, each with its cosine."""
    described = _with_width(store, len(query))
    vectors = np.array([description.vector for description in described], np.float64).reshape(-1, len(query))
    scores = scores_or_nan(vectors, query, "cosine").tolist()
    return [pair for pair in zip(described, scores, strict=True) if not np.isnan(pair[1])]


def _with_width(store: Store, dim: int) -> list[Description]:
    return [
        description
        for description in store.descriptions()
        if description.vector is not None and len(description.vector) == dim
    ]


def near_descriptions(
    store: Store,
    candidates: Sequence[Candidate],
    spans: WriterSpans,
    queries: np.ndarray,
    metric: Metric,
    *,
    first_item: int,
) -> list[Hits]:
    """For each query every row that a description with a vector of that width is about, with the best of their scores."""
    described = _with_width(store, queries.shape[1])
    vectors = np.array([description.vector for description in described], np.float64)
    if not described:
        vectors = vectors.reshape(0, queries.shape[1])
    if any(description.session_of is not None for description in described):
        spans.load(candidate.version for candidate in candidates)
    answers = []
    for query in queries:
        scores = scores_or_nan(vectors, query, metric).tolist()
        parts = [
            _hits_in(candidate, number, described, scores, spans, first_item)
            for number, candidate in enumerate(candidates)
        ]
        empty = np.empty(0, np.int64)
        answers.append(merge_hits([Hits(empty, empty, empty, np.empty(0)), *parts]))
    return answers


def _hits_in(
    candidate: Candidate,
    number: int,
    described: Sequence[Description],
    scores: Sequence[float],
    spans: WriterSpans,
    item: int,
) -> Hits:
    """The rows of one candidate that some description is about."""
    version = candidate.version
    best = np.full(version.total, -np.inf)
    for description, score in zip(described, scores, strict=True):
        if np.isnan(score):
            continue
        if description.list_id == version.list_id:
            best = np.maximum(best, score)
        elif description.session_of is not None:
            written = spans.of(version)
            mask = mask_of_spans(written, written.session_id == description.session_of, version.total)
            best[mask] = np.maximum(best[mask], score)
    if candidate.mask is not None:
        best[~candidate.mask] = -np.inf
    rows = np.flatnonzero(best > -np.inf)
    return ranked(np.full(len(rows), number), rows, np.full(len(rows), item), best[rows])
