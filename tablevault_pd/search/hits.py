"""What the store finds for a search, by text and by vectors: one ranking of the candidates' rows for each query.

The store is asked once for the text, and once for all vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.search.candidates import Candidate, filter_by_values, masks_of_values
from tablevault_pd.search.description_vectors import near_descriptions
from tablevault_pd.search.fusion import (
    NEAR,
    TEXT,
    Hybrid,
    Ranking,
    from_hits,
    reciprocal_rank_fusion,
    unranked,
)
from tablevault_pd.search.request import DESCRIPTION, Request
from tablevault_pd.search.words import search_words
from tablevault_pd.store import Hits, Scope, Store, VectorQuery
from tablevault_pd.store.engine.ranking import merge_hits, take_hits

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tablevault_pd.search.writers import WriterSpans

APPROX_NEAR = 1000  # so many near rows at least are fused with the text, where near ones may be approximate


@dataclass(frozen=True, slots=True)
class RankedRows:
    """The rows found: a ranking for each query, whose scopes number the candidates."""

    candidates: Sequence[Candidate]
    rankings: Sequence[Ranking]
    labels: Sequence[Hashable] = ()  #: the column of each item that was found by a vector


def find_rows(
    store: Store, candidates: Sequence[Candidate], request: Request, spans: WriterSpans
) -> RankedRows:
    """Rank the candidates' rows, cut to the page that is asked for."""
    if request.near:
        candidates = filter_by_values(store, candidates, request.filters)
        ranked = _find_near(store, candidates, request, spans)
    elif request.text:
        ranked = RankedRows(candidates, [from_hits(_find_text(store, candidates, request), TEXT)])
    else:
        candidates = filter_by_values(store, candidates, request.filters)
        ranked = RankedRows(candidates, [_all_rows(candidates, request)])
    page = [ranking.cut(request.offset, request.last, request.min_score) for ranking in ranked.rankings]
    return RankedRows(ranked.candidates, page, ranked.labels)


# -- text


def _find_text(store: Store, candidates: Sequence[Candidate], request: Request) -> Hits:
    """By text alone: the filters look only into lists that have a hit."""
    if request.filters is None:
        return search_words(store, candidates, request, k=request.last)
    hits = search_words(store, candidates, request)
    numbers = np.unique(hits.scope)
    versions = [candidates[number].version for number in numbers]
    masks = masks_of_values(store, versions, request.filters)
    starts = np.cumsum([0, *(version.total for version in versions)])
    rows = starts[np.searchsorted(numbers, hits.scope)] + hits.position
    return take_hits(hits, np.concatenate([np.empty(0, bool), *masks])[rows])


# -- vectors, perhaps with a text


def _find_near(
    store: Store, candidates: Sequence[Candidate], request: Request, spans: WriterSpans
) -> RankedRows:
    scopes = [candidate.scope(request.kinds) for candidate in candidates]
    near, labels = _columns_to_compare(candidates, request)
    text = search_words(store, candidates, request) if request.text else None
    if text is not None and near and _may_count(store, request):
        assert request.last is not None
        rankings = Hybrid(store, near, scopes, text, request.metric, request.weights).best(request.last)
        if rankings is not None:
            return RankedRows(candidates, rankings, labels)
    nearest = _nearest(store, near, scopes, request)
    for label, queries in request.near:
        if label == DESCRIPTION:
            described = near_descriptions(
                store, candidates, spans, queries, request.metric, first_item=len(labels)
            )
            nearest = [merge_hits(pair) for pair in zip(nearest, described, strict=True)]
    if text is None:
        return RankedRows(candidates, [from_hits(hits, NEAR) for hits in nearest], labels)
    return RankedRows(
        candidates, [reciprocal_rank_fusion(text, hits, request.weights) for hits in nearest], labels
    )


def _columns_to_compare(
    candidates: Sequence[Candidate], request: Request
) -> tuple[list[VectorQuery], list[Hashable]]:
    """The columns to be compared with, and their labels."""
    near: list[VectorQuery] = []
    labels: list[Hashable] = []
    if "embedding" not in request.kinds:
        return near, labels
    for number, candidate in enumerate(candidates):
        for label, queries in request.near:
            for column in candidate.embeddings(label, queries.shape[1]):
                near.append(VectorQuery(number, column.field, queries))
                labels.append(column.label)
    return near, labels


def _may_count(store: Store, request: Request) -> bool:
    """Whether the store may count what is nearer, so that vectors need not travel."""
    described = any(label == DESCRIPTION for label, _ in request.near)
    return store.supports_pushdown and request.last is not None and not request.approx and not described


def _nearest(
    store: Store, near: Sequence[VectorQuery], scopes: Sequence[Scope], request: Request
) -> list[Hits]:
    """The hits of each query: those that the page needs, or all where they are fused with a text."""
    if not near:
        empty = np.empty(0, np.int64)
        return [Hits(empty, empty, empty, np.empty(0))] * len(request.near[0][1])
    k = request.last
    if request.text:
        k = max(APPROX_NEAR, k) if request.approx and k is not None else None
    return store.search_vectors(near, scopes, metric=request.metric, k=k, approx=request.approx)


# -- neither


def _all_rows(candidates: Sequence[Candidate], request: Request) -> Ranking:
    """The rows that are left, in order, up to the last one that the page needs."""
    numbers, positions = [], []
    room = request.last
    for number, candidate in enumerate(candidates):
        if room == 0:
            break
        if any(column.kind in request.kinds for column in candidate.columns):
            rows = candidate.positions()[:room]
            numbers.append(np.full(len(rows), number))
            positions.append(rows)
            room = None if room is None else room - len(rows)
    empty = np.empty(0, np.int64)
    return unranked(np.concatenate([empty, *numbers]), np.concatenate([empty, *positions]))
