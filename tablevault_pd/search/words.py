"""Search words in rows, or in one column of them.

The stores search items of text: a document or a file name alone, the other texts of a row together as its record. Words that are
sought in a column of the record are found there first, and then looked for in the cells of that column.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd import frames
from tablevault_pd.reading.read import take_tables
from tablevault_pd.store.engine.bm25 import Texts
from tablevault_pd.store.engine.ranking import merge_hits, ranked, row_keys, take_hits
from tablevault_pd.store.engine.text_scan import Sought
from tablevault_pd.store.text_query import AllOf, AnyOf, Negated, Node, ranking_leaves

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tablevault_pd.search.candidates import Candidate
    from tablevault_pd.search.request import Request
    from tablevault_pd.store import Hits, Scope, Store

FIRST_CELLS = 1_000  #: that are read to look for words; then four times as many at each step


def search_words(
    store: Store, candidates: Sequence[Candidate], request: Request, *, k: int | None = None
) -> Hits:
    """At least the best `k` rows with the words, or all. The item of a record is ``-1 - n`` for the n-th entry of `request.text`."""
    hits = []
    for number, (label, query) in enumerate(request.text):
        if label is None:
            scopes = [candidate.scope(request.kinds) for candidate in candidates]
            hits.append(store.search_text(query, scopes, k=k))
        else:
            hits += _in_column(store, candidates, label, query, request.kinds, k, -1 - number)
    return merge_hits(hits)


def _in_column(
    store: Store,
    candidates: Sequence[Candidate],
    label: Hashable,
    query: Node,
    kinds: Sequence[str],
    k: int | None,
    item: int,
) -> list[Hits]:
    """The rows with the words in one column: those where it is a document, and those where it is in the record."""
    scopes = [candidate.scope(kinds, only=label) for candidate in candidates]
    alone = [replace(scope, record=False) for scope in scopes]
    documents = store.search_text(query, alone, k=k)
    number = [candidate.document_number(label) for candidate in candidates]
    documents = replace(documents, item=np.array(number, np.int64)[documents.scope])
    if "record" not in kinds:
        return [documents]
    records = _of_records(store, candidates, scopes, query)
    taken = row_keys(documents.scope, documents.position)
    rows = ~np.isin(row_keys(records.scope, records.position), taken) & (records.item < 0)
    records = take_hits(records, rows)
    records = replace(records, item=np.full(len(records), item))
    return [documents, _with_words(store, candidates, label, query, records, k)]


def _of_records(store: Store, candidates: Sequence[Candidate], scopes: Sequence[Scope], query: Node) -> Hits:
    """Rows whose record may have the words in one of its columns."""
    possible = _without_negations(query)
    if possible is not None:
        return store.search_text(possible, scopes)
    # Something must be lacking, and nothing be there: any row will do.
    places: list[np.ndarray] = [
        candidate.positions() if scope.record else np.empty(0, np.int64)
        for candidate, scope in zip(candidates, scopes, strict=True)
    ]
    scope = np.repeat(np.arange(len(places)), [len(rows) for rows in places])
    position = np.concatenate([np.empty(0, np.int64), *places])
    rows = ranked(scope, position, np.full(len(scope), -1), np.zeros(len(scope)))
    leaves = tuple(ranking_leaves(query))
    return merge_hits([rows, store.search_text(AnyOf(leaves), scopes)]) if leaves else rows


def _without_negations(query: Node) -> Node | None:
    """What is there where `query` matches; None: perhaps nothing."""
    if isinstance(query, Negated):
        return None
    if not isinstance(query, AllOf | AnyOf):
        return query
    parts = [_without_negations(part) for part in query.parts]
    there = tuple(part for part in parts if part is not None)
    if isinstance(query, AnyOf):
        return AnyOf(there) if len(there) == len(parts) else None
    return AllOf(there) if there else None


def _with_words(
    store: Store, candidates: Sequence[Candidate], label: Hashable, query: Node, hits: Hits, k: int | None
) -> Hits:
    """At least the best `k` of the hits whose cell in the column has the words, or all."""
    sought, masks, start, size = Sought(query), [np.empty(0, bool)], 0, FIRST_CELLS
    while start < len(hits) and (k is None or sum(mask.sum() for mask in masks) < k):
        masks.append(
            _match(store, candidates, label, query, sought, take_hits(hits, slice(start, start + size)))
        )
        start, size = start + size, 4 * size
    return take_hits(hits, np.flatnonzero(np.concatenate(masks)))


def _match(
    store: Store, candidates: Sequence[Candidate], label: Hashable, query: Node, sought: Sought, hits: Hits
) -> np.ndarray:
    """Which of the hits have the words in the column."""
    mask = np.zeros(len(hits), bool)
    lines = [np.flatnonzero(hits.scope == scope) for scope in np.unique(hits.scope)]
    searched = [candidates[int(hits.scope[rows[0]])] for rows in lines]
    selections = [
        (candidate.version, hits.position[rows], [label])
        for candidate, rows in zip(searched, lines, strict=True)
    ]
    for candidate, rows, table in zip(searched, lines, take_tables(store, selections), strict=True):
        schema = frames.with_language(table.schema, candidate.language)
        for cells in sought.count(table.cast(schema)):
            texts = Texts(cells.lengths, cells.counts, {}, 0, 0)
            there = np.zeros(len(rows), bool)
            there[texts.matching(query)] = True
            mask[rows] = there & cells.is_there
    return mask
