"""Search words in rows, or in one column of them.

The stores search items of text: a document or a file name alone, the other texts of a row together as its record. Words that are
sought in a column of the record are found there first, and then looked for in the cells of that column.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
            column = _WordsOfColumn(store, candidates, label, query)
            hits += column.search(request.kinds, k, -1 - number)
    return merge_hits(hits)


@dataclass(frozen=True, slots=True)
class _WordsOfColumn:
    """The words of one query, which are looked for in one column."""

    store: Store
    candidates: Sequence[Candidate]
    label: Hashable
    query: Node

    def search(self, kinds: Sequence[str], k: int | None, item: int) -> list[Hits]:
        """The rows where the column is a document with the words, and those where it is in the record."""
        scopes = [candidate.scope(kinds, only=self.label) for candidate in self.candidates]
        alone = [replace(scope, record=False) for scope in scopes]
        documents = self.store.search_text(self.query, alone, k=k)
        number = [candidate.document_number(self.label) for candidate in self.candidates]
        documents = replace(documents, item=np.array(number, np.int64)[documents.scope])
        if "record" not in kinds:
            return [documents]
        records = self._of_records(scopes)
        taken = row_keys(documents.scope, documents.position)
        rows = ~np.isin(row_keys(records.scope, records.position), taken) & (records.item < 0)
        records = take_hits(records, rows)
        records = replace(records, item=np.full(len(records), item))
        return [documents, self._with_words(records, k)]

    def _of_records(self, scopes: Sequence[Scope]) -> Hits:
        """Rows whose record may have the words in one of its columns."""
        possible = _without_negations(self.query)
        if possible is not None:
            return self.store.search_text(possible, scopes)
        # Something must be lacking, and nothing be there: any row will do.
        places: list[np.ndarray] = [
            candidate.positions() if scope.record else np.empty(0, np.int64)
            for candidate, scope in zip(self.candidates, scopes, strict=True)
        ]
        scope = np.repeat(np.arange(len(places)), [len(rows) for rows in places])
        position = np.concatenate([np.empty(0, np.int64), *places])
        rows = ranked(scope, position, np.full(len(scope), -1), np.zeros(len(scope)))
        leaves = tuple(ranking_leaves(self.query))
        return merge_hits([rows, self.store.search_text(AnyOf(leaves), scopes)]) if leaves else rows

    def _with_words(self, hits: Hits, k: int | None) -> Hits:
        """At least the best `k` of the hits whose cell in the column has the words, or all."""
        sought, masks, start, size = Sought(self.query), [np.empty(0, bool)], 0, FIRST_CELLS
        while start < len(hits) and (k is None or sum(mask.sum() for mask in masks) < k):
            masks.append(self._match(sought, take_hits(hits, slice(start, start + size))))
            start, size = start + size, 4 * size
        return take_hits(hits, np.flatnonzero(np.concatenate(masks)))

    def _match(self, sought: Sought, hits: Hits) -> np.ndarray:
        """Which of the hits have the words in the column."""
        mask = np.zeros(len(hits), bool)
        lines = [np.flatnonzero(hits.scope == scope) for scope in np.unique(hits.scope)]
        searched = [self.candidates[int(hits.scope[rows[0]])] for rows in lines]
        selections = [
            (candidate.version, hits.position[rows], [self.label])
            for candidate, rows in zip(searched, lines, strict=True)
        ]
        tables = take_tables(self.store, selections)
        for candidate, rows, table in zip(searched, lines, tables, strict=True):
            schema = frames.with_language(table.schema, candidate.language)
            for cells in sought.count(table.cast(schema)):
                texts = Texts(cells.lengths, cells.counts, {}, 0, 0)
                there = np.zeros(len(rows), bool)
                there[texts.matching(self.query)] = True
                mask[rows] = there & cells.is_there
        return mask


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
