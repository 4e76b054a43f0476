"""Find lists by their descriptions, what their columns hold, their tags and what the report says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput
from tablevault_pd.filters import is_no_filter
from tablevault_pd.reading import reports
from tablevault_pd.search.description_vectors import described_near
from tablevault_pd.search.fusion import NEAR, TEXT, Ranking, from_hits, reciprocal_rank_fusion
from tablevault_pd.search.query import parse_text
from tablevault_pd.search.report_filters import mask_of_report, warn_of_unknown_tags
from tablevault_pd.search.request import KINDS, Weights, as_queries
from tablevault_pd.search.snippets import scores_of_texts
from tablevault_pd.store.engine.ranking import ranked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pandas as pd

    from tablevault_pd.store import Description, Hits, Store
    from tablevault_pd.store.text_query import Node


def lists(
    store: Store, text: Any, *, near: Any, tags: Any, kind: Any, filters: Any, deleted: bool
) -> pd.DataFrame:
    """Return the lists that fit, ranked where there is a text or a vector. See :meth:`Vault.lists`."""
    kinds = None if kind is None else set(validate.choices(kind, "kind", KINDS))
    all_tags = set(validate.tags(tags) or ())
    query = None if text is None else parse_text(text, match="all" if near is None else "any")
    vector = None if near is None else _vector(near)
    frame = reports.lists(store, deleted=deleted)
    passed = np.ones(len(frame), bool)
    if kinds is not None:
        passed &= np.fromiter((not kinds.isdisjoint(of_list) for of_list in frame["kinds"]), bool, len(frame))
    if all_tags:
        warn_of_unknown_tags("lists", sorted(all_tags), frame["tags"])
        passed &= np.fromiter((all_tags <= set(of_list) for of_list in frame["tags"]), bool, len(frame))
    if not is_no_filter(filters):
        passed &= mask_of_report("lists", frame, filters)
    frame = frame[passed].reset_index(drop=True)
    if query is None and vector is None:
        return frame
    ids = {state.head.list: state.head.list_id for state in store.lists()}
    number_of = {ids[name]: number for number, name in enumerate(frame["name"])}
    ranking = _ranking(
        None if query is None else _hits(number_of, _text_scores(store, query)),
        None if vector is None else _hits(number_of, described_near(store, vector)),
    )
    return frame.iloc[ranking.scope].assign(score=ranking.score).reset_index(drop=True)


def _vector(near: Any) -> np.ndarray:
    query, several = as_queries(near, "cosine")
    if several:
        raise InvalidInput(f"near= is one vector here, and this one has the shape {query.shape}.")
    return np.asarray(query[0])


def _text_scores(store: Store, query: Node) -> Iterator[tuple[Description, float]]:
    """The descriptions that match, each with its score among the descriptions of all lists."""
    matching = set(store.search_descriptions(query))
    every = [description for description in store.descriptions() if description.list_id is not None]
    scores = scores_of_texts(query, [description.text for description in every])
    return (pair for pair in zip(every, scores, strict=True) if pair[0] in matching)


def _hits(number_of: Mapping[int, int], scored: Iterable[tuple[Description, float]]) -> Hits:
    """The lists, by their numbers, each with the score of its best description."""
    scores = [
        (number_of[description.list_id], score)
        for description, score in scored
        if description.list_id is not None and description.list_id in number_of
    ]
    numbers = np.array([number for number, _ in scores], np.int64)
    nothing = np.zeros(len(scores), np.int64)
    return ranked(numbers, nothing, nothing, np.array([score for _, score in scores], np.float64))


def _ranking(text: Hits | None, near: Hits | None) -> Ranking:
    if text is not None and near is not None:
        return reciprocal_rank_fusion(text, near, Weights())
    hits = near if text is None else text
    assert hits is not None
    return from_hits(hits, NEAR if text is None else TEXT)
