"""Searching texts and descriptions of a vault on a server.

The server finds through its view ``tv_search`` what may match, counts the words in it, and sends what may be best, a page
at a time. What matches, and how well, is decided here by the rules of the embedded store, so that a vault answers alike
wherever it lies: the scores of the server depend on how its index lies on its disk. No search waits for the view: what it
may lack is matched here (see text_index.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.errors import short_repr
from tablevault_pd.store.arango.records import reads
from tablevault_pd.store.arango.sessions import description_of, newest_of
from tablevault_pd.store.arango.term_queries import PROSE, BindVars, in_prose
from tablevault_pd.store.arango.text_hits import Items
from tablevault_pd.store.arango.text_index import TextIndex
from tablevault_pd.store.engine.bm25 import K1, B, Texts
from tablevault_pd.store.engine.fts_index import has_text, places_of
from tablevault_pd.store.engine.ranking import take_hits
from tablevault_pd.store.text_query import Node, matching_ids, needs_everything

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Description, Hits, Scope
    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.reader import Reader
    from tablevault_pd.store.arango.scan import Scanner
    from tablevault_pd.store.engine.fts_index import Places

MARGIN = 64  # matches beyond the k-th that are asked for at first
GROWTH = 16  # … and so many times as many when these do not prove which are the best
# whose texts are searched by name; with more, whatever lies between the first and the last
MOST_BATCHES = 2_000
NO_TEXT = "￿"  # above every key
_EXACT = 1e-12  # the server adds in another order

# All statements: 3.12; nothing in them is newer than 3.10. A search condition may refer to no variable of an outer loop,
# hence the fixed number of phrases. What is sought is counted by splitting, since other functions for texts compare by the
# rules of a language. It has a blank on each side, so there are two between the words. The view may have been there
# before the vault, with links to other collections: these are not looked at. What is asked of an item is stored in the view
# itself (see layout.py), so no document is loaded, however many items match.
_MATCHES = """ANALYZER(
      d.stems IN @stems
      OR PHRASE(d.stems, @phrase1) OR PHRASE(d.stems, @phrase2)
      OR PHRASE(d.stems, @phrase3) OR PHRASE(d.stems, @phrase4)
      OR d.words IN @words
      OR STARTS_WITH(d.words, @words_begin), "tv_words")"""
_COUNTS = """
    LET stems = CONCAT(" ", SUBSTITUTE(d.stems, " ", "  "), " ")
    LET words = LENGTH(@words_patterns) == 0 ? "" : CONCAT(" ", SUBSTITUTE(d.words, " ", "  "), " ")
    LET counts = APPEND(
      (FOR pattern IN @stems_patterns RETURN LENGTH(SPLIT(stems, pattern)) - 1),
      (FOR pattern IN @words_patterns RETURN LENGTH(SPLIT(words, pattern)) - 1)
    )"""
_DESCRIBED = """FOR d IN tv_descriptions
    FILTER d.seq >= 0
    FILTER d.batch == null OR LENGTH(FOR b IN tv_batches FILTER b._key == d.batch AND b.list > 0 RETURN 1) > 0"""
# How many texts of rows hold each thing sought, but for batches of which the view has other than all
# texts. Of those that are @unverified it is counted: [key, texts] each.
COUNT_TEXTS = f"""
LET indexed = (
  FOR d IN tv_search
    SEARCH d.text_of IN @unverified[*][0]
    OPTIONS {{collections: ["tv_records", "tv_documents", "tv_files"]}}
    COLLECT batch = d.text_of WITH COUNT INTO items
    RETURN CONCAT(batch, " ", items)
)
LET lacking = (FOR one IN @unverified FILTER CONCAT(one[0], " ", one[1]) NOT IN indexed RETURN one[0])
LET elsewhere = APPEND(@elsewhere, lacking)
LET holding = (
  FOR d IN tv_search
    SEARCH {_MATCHES}
    OPTIONS {{collections: ["tv_records", "tv_documents", "tv_files"]}}
    FILTER d.text_of NOT IN elsewhere{_COUNTS}
    FOR number IN RANGE(0, LENGTH(counts) - 1)
      FILTER counts[number] > 0
      COLLECT batch = d.text_of, column = number WITH COUNT INTO items
      FOR b IN tv_batches
        FILTER b._key == batch AND b.list > 0 AND b.emptied == false
        COLLECT sought = column AGGREGATE total = SUM(items)
        RETURN [sought, total]
)
RETURN {{lacking, holding}}
"""
# The most that the score of an item may be comes last but one: what it adds for something sought may not count in the end.
RANK_TEXTS = f"""
FOR d IN tv_search
    SEARCH {_MATCHES}
      AND (d.text_of IN @batches OR (d.text_of >= @low AND d.text_of <= @high))
    OPTIONS {{collections: ["tv_records", "tv_documents", "tv_files"]}}
    FILTER d.text_of NOT IN @elsewhere{_COUNTS}
    FILTER LENGTH(FOR group IN @required FILTER SUM(FOR n IN group RETURN counts[n]) == 0 RETURN 1) == 0
    LET most = SUM(
      FOR n IN RANGE(0, LENGTH(@weights) - 1)
        RETURN @weights[n] * counts[n] * (@k1 + 1) / (counts[n] + @k1 * (1 - @b + @b * d.length / @average)))
    SORT most DESC, d.text_of, d.row, d.column
    LIMIT @count
    RETURN [d.text_of, d.row, d.column, d.length, counts, most, @exactly ? [d.stems, d.words] : null]
"""
ALL_TEXTS = """
FOR d IN tv_search
  SEARCH d.text_of IN @batches
  OPTIONS {collections: ["tv_records", "tv_documents", "tv_files"]}
  RETURN [d.text_of, d.row, d.column]
"""
FIND_DESCRIPTIONS = f"""
{_DESCRIBED}{_COUNTS}
    SORT d.seq
    RETURN [@everything OR SUM(counts) > 0 ? UNSET(d, "stems", "words") : KEEP(d, "list", "session_of", "label"), counts]
"""


class TextSearch:
    """Texts and descriptions of one vault on a server."""

    def __init__(self, client: Client, rows: Scanner, reader: Reader) -> None:
        self._client, self._rows = client, rows
        self._index = TextIndex(client, reader)

    def search_text(self, query: Node, scopes: Sequence[Scope], *, k: int | None = None) -> Hits:
        """Rows with a text that matches: with `k`, the best of them, and perhaps more."""
        with_text = [
            number
            for number, scope in enumerate(scopes)
            if has_text(scope, self._rows.schema(scope.version.schema_id))
        ]
        versions = [scopes[number].version for number in with_text]
        places = places_of(with_text, list(zip(versions, self._rows.pieces(versions), strict=True)))
        if not places:
            return Items().located(np.empty(0, np.int64), np.empty(0), places, scopes)
        search = _Search(self._client, self._index, query, scopes, places)
        if k is None or search.is_whole:
            return search.all_hits()
        return search.best_hits(k)

    def search_descriptions(self, query: Node) -> list[Description]:
        """Descriptions that match. One request."""
        leaves = in_prose(query)
        bound = BindVars(PROSE, leaves.values())
        everything = needs_everything(query)
        rows = self._client.query(FIND_DESCRIPTIONS, binds=bound.patterns, everything=everything)
        table = bound.table([counts for _, counts in rows])
        ids = {leaf: np.flatnonzero(bound.column(table, one)) for leaf, one in leaves.items()}
        matching = set(matching_ids(query, ids.__getitem__, lambda: np.arange(len(rows))).tolist())
        newest = newest_of([{**row, "number": number} for number, (row, _) in enumerate(rows)])
        return [description_of(row) for row in newest if row["number"] in matching]


class _Search:
    """One search of texts: what is counted once for all of its pages."""

    def __init__(
        self, client: Client, index: TextIndex, query: Node, scopes: Sequence[Scope], places: Places
    ) -> None:
        self._client, self._query, self._scopes, self._places = client, query, scopes, places
        self._leaves = in_prose(query)
        self._bound = BindVars(PROSE, self._leaves.values())
        self._corpus = index.corpus()
        self._shown = {
            key: batch
            for key, batch in self._corpus.batches.items()
            if (batch.list_id, batch.generation) in places
        }
        self._count(index)

    @property
    def is_whole(self) -> bool:
        """Whether all matches are needed: items without any word sought match, or the server counts too few."""
        return needs_everything(self._query) or any(one.overlaps for one in self._bound.terms)

    def _count(self, index: TextIndex) -> None:
        """Count what holds each thing sought, in the view and beside it."""
        young, unverified = self._corpus.young, self._corpus.unverified
        [answer] = self._client.query(
            COUNT_TEXTS,
            binds=self._bound.values,
            elsewhere=[batch.key for batch in young],
            unverified=[[batch.key, batch.items] for batch in unverified],
        )
        self._elsewhere = [*young, *index.verify(unverified, answer["lacking"])]
        beside = index.items(self._elsewhere, self._corpus.documents, self._shown)
        self._beside = Items()
        for batch, items in beside.items():
            for item in items:
                counts = self._bound.counts(item.stems, item.words)
                self._beside.add(batch, item.row, item.column, item.length, counts)
        in_view = np.zeros(len(self._bound.terms), np.int64)
        for column, holding in answer["holding"]:
            in_view[column] += holding
        table = self._bound.table(self._beside.counts)
        self._in_view, self._holding = in_view, in_view + np.count_nonzero(table, axis=0)
        _, self._items, self._words = self._corpus.totals

    def all_hits(self) -> Hits:
        """All matches."""
        count = 1 + int(self._in_view.sum())
        items, bound = self._matches(count)
        while bound is not None:  # what was never committed took places of what was
            count *= GROWTH
            items, bound = self._matches(count)
        if needs_everything(self._query):
            present, nothing = items.keys(), [0] * len(self._bound.terms)
            for key, row, column in _found(self._client.query(ALL_TEXTS, batches=self._indexed())):
                if (key, row, column) not in present:
                    items.add(self._shown[key], row, column, 0, nothing)
        return self._hits(items)

    def best_hits(self, k: int) -> Hits:
        """The best `k` matches, and perhaps more: pages of them, until no other one can be better."""
        count = self._at_first(k)
        while True:
            items, bound = self._matches(count)
            hits = self._hits(items)
            if bound is None:
                return hits
            sure = int(np.count_nonzero(hits.score >= bound - _EXACT * abs(bound)))
            if sure >= k:
                return take_hits(hits, slice(sure))
            count *= GROWTH

    def _at_first(self, k: int) -> int:
        """How many matches hold the best `k`, if what filters refuse and other lists are spread evenly."""
        rows = sum(scope.version.total for scope in self._scopes)
        left = sum(
            scope.version.total if scope.keep is None else int(np.count_nonzero(scope.keep))
            for scope in self._scopes
        )
        others = 1
        if len(self._shown) > MOST_BATCHES:
            others = 1 + self._items // max(1, sum(batch.items for batch in self._shown.values()))
        return (k + MARGIN) * others * (1 + rows) // (1 + left)

    def _matches(self, count: int) -> tuple[Items, float | None]:
        """The best `count` items of the view and those beside it; how good others may be, None if there are none."""
        items = Items()
        rows = self._ranked(count)
        for key, row, column, length, counts, _, words in rows:
            batch = self._shown.get(key)
            if batch is not None:
                items.add(batch, row, column, length, counts if words is None else self._bound.counts(*words))
        items.extend(self._beside)
        return items, rows[-1][5] if rows and len(rows) >= count else None

    def _ranked(self, count: int) -> list[list[Any]]:
        keys = self._indexed()
        if not keys or not self._in_view.any():
            return []
        texts = self._texts(Items())
        weights = np.zeros(len(self._bound.terms))
        for leaf, weight in texts.weights(self._query):
            one = self._leaves[leaf]
            if one is not None:
                weights[self._bound.columns[one]] += weight
        few = len(keys) <= MOST_BATCHES
        rows = self._client.query(
            RANK_TEXTS,
            binds=self._bound.values,
            batches=keys if few else [],
            low=NO_TEXT if few else min(keys),
            high="" if few else max(keys),
            elsewhere=[batch.key for batch in self._elsewhere],
            required=self._bound.required(self._query, self._leaves),
            weights=weights.tolist(),
            k1=K1,
            b=B,
            average=max(1, self._words) / max(1, self._items),
            count=count,
            exactly=any(one.overlaps for one in self._bound.terms),
        )
        return _found(rows)

    def _indexed(self) -> list[str]:
        """The batches that are searched, and that the view holds all texts of."""
        elsewhere = {batch.key for batch in self._elsewhere}
        return [key for key in self._shown if key not in elsewhere]

    def _texts(self, items: Items) -> Texts:
        table = self._bound.table(items.counts)
        counts = {leaf: self._bound.column(table, one) for leaf, one in self._leaves.items()}
        holding = {
            leaf: 0 if one is None else int(self._holding[self._bound.columns[one]])
            for leaf, one in self._leaves.items()
        }
        return Texts(np.array(items.lengths, np.int64), counts, holding, self._items, self._words)

    def _hits(self, items: Items) -> Hits:
        texts = self._texts(items)
        return items.located(
            texts.matching(self._query), texts.scores(self._query), self._places, self._scopes
        )


@reads("tv_search")
def _found(rows: list[list[Any]]) -> list[list[Any]]:
    """What the view shows of items: batch, row, column and more."""
    for _, row, column, *_ in rows:
        if int(row) != row or not isinstance(column, str | None):
            raise TypeError(f"an item is of the row {short_repr(row)} and the column {short_repr(column)}")
    return rows
