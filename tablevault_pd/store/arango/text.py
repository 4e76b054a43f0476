"""Searching text, code and descriptions of a vault on a server, through its view ``tv_search``.

The server finds what may match and counts the words in it. What matches, and how well, is decided here by the rules of
the embedded store, so that a vault answers alike wherever it lies: the scores of the server depend on how its index lies
on its disk.

A view lags behind its collections. ``waitForSync`` lets a search wait until it has caught up. It must not be used inside
of stream transactions, and is not: every statement here is one of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.store.arango.sessions import description_of
from tablevault_pd.store.arango.term_queries import CODE, PROSE, BindVars, in_code, in_prose
from tablevault_pd.store.arango.text_hits import Items
from tablevault_pd.store.engine.bm25 import Texts
from tablevault_pd.store.engine.fts_index import has_text, places_of
from tablevault_pd.store.text_query import Leaf, Node, matching_ids, needs_everything

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Description, Hits, Scope
    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.scan import Scanner

# All statements: 3.12; nothing in them is newer than 3.10. A search condition may refer to no variable of an outer loop,
# hence the fixed number of phrases. What is sought is counted by splitting, since other functions for texts compare by the
# rules of a language. It has a blank on each side, so that one blank can belong to two: where that may be, or where a
# phrase may begin within itself, the terms are sent and counted here. Items without a batch, or with a tombstone, are left out.
# The view may have been there before the vault, with links to other collections: these are not looked at.
FIND_TEXTS = """
LET corpus = FIRST(
  FOR b IN tv_batches
    FILTER b.text_items > 0
    COLLECT AGGREGATE items = SUM(b.text_items), words = SUM(b.text_words)
    RETURN [items, words]
)
LET told = (
  FOR d IN tv_descriptions
    FILTER d.batch == null OR LENGTH(FOR b IN tv_batches FILTER b._key == d.batch AND b.list > 0 RETURN 1) > 0
    RETURN d.length
)
LET found = (
  FOR d IN tv_search
    SEARCH ANALYZER(
      d.stems IN @stems
      OR PHRASE(d.stems, @phrase1) OR PHRASE(d.stems, @phrase2)
      OR PHRASE(d.stems, @phrase3) OR PHRASE(d.stems, @phrase4)
      OR d.words IN @words
      OR STARTS_WITH(d.words, @words_begin), "tv_words")
    OPTIONS {waitForSync: true, collections: ["tv_records", "tv_documents", "tv_files", "tv_descriptions"]}
    LET stems = CONCAT(". ", d.stems, " .")
    LET words = LENGTH(@words_needles) == 0 ? "" : CONCAT(". ", d.words, " .")
    LET counts = APPEND(
      (FOR needle IN @stems_needles RETURN LENGTH(SPLIT(stems, needle)) - 1),
      (FOR needle IN @words_needles RETURN LENGTH(SPLIT(words, needle)) - 1)
    )
    FILTER SUM(counts) > 0
    LET doubtful = @overlapping OR LENGTH(FOR twice IN @stems_twice FILTER CONTAINS(stems, twice) RETURN 1) > 0
    COLLECT batch = d.batch INTO items = [d.row, d.column, d.length, counts, doubtful ? [d.stems, d.words] : null]
    LET place = FIRST(
      FOR b IN tv_batches
        FILTER b._key == batch AND b.list > 0
        RETURN [b.list, b.generation, b.start, b.emptied]
    )
    FILTER batch == null OR place != null
    RETURN [batch, place, items]
)
RETURN {items: corpus[0] + LENGTH(told), words: corpus[1] + SUM(told), found}
"""
ALL_TEXTS = """
FOR b IN tv_batches
  FILTER b.list IN @lists AND b.text_items > 0
  RETURN [
    b._key,
    [b.list, b.generation, b.start, b.emptied],
    (FOR i IN tv_records FILTER i.batch == b._key AND i.stems != null RETURN [i.row, null]),
    (FOR i IN tv_documents FILTER i.batch == b._key AND i.stems != null RETURN [i.row, i.column]),
    (FOR i IN tv_files FILTER i.batch == b._key AND i.stems != null RETURN [i.row, i.column])
  ]
"""
FIND_DESCRIPTIONS = """
LET found = (
  FOR d IN tv_search
    SEARCH ANALYZER(
      d.stems IN @stems
      OR PHRASE(d.stems, @phrase1) OR PHRASE(d.stems, @phrase2)
      OR PHRASE(d.stems, @phrase3) OR PHRASE(d.stems, @phrase4)
      OR d.words IN @words
      OR STARTS_WITH(d.words, @words_begin), "tv_words")
    OPTIONS {waitForSync: true, collections: ["tv_descriptions"]}
    LET stems = CONCAT(". ", d.stems, " .")
    LET words = CONCAT(". ", d.words, " .")
    RETURN [
      UNSET(d, "stems", "words"),
      APPEND(
        (FOR needle IN @stems_needles RETURN LENGTH(SPLIT(stems, needle)) - 1),
        (FOR needle IN @words_needles RETURN LENGTH(SPLIT(words, needle)) - 1)
      )
    ]
)
LET told = (
  FOR d IN tv_descriptions
    FILTER d.batch == null OR LENGTH(FOR b IN tv_batches FILTER b._key == d.batch AND b.list > 0 RETURN 1) > 0
    SORT d.seq
    RETURN @everything ? UNSET(d, "stems", "words") : KEEP(d, "_key", "list", "session_of", "label")
)
RETURN {found, told}
"""
FIND_CODE = """
LET found = (
  FOR c IN tv_search
    SEARCH ANALYZER(
      c.parts IN @parts
      OR PHRASE(c.parts, @phrase1) OR PHRASE(c.parts, @phrase2)
      OR PHRASE(c.parts, @phrase3) OR PHRASE(c.parts, @phrase4)
      OR STARTS_WITH(c.parts, @parts_begin)
      OR c.wholes IN @wholes
      OR STARTS_WITH(c.wholes, @wholes_begin), "tv_words")
    OPTIONS {waitForSync: true, collections: ["tv_cells"]}
    LET parts = CONCAT(". ", c.parts, " .")
    LET wholes = CONCAT(". ", c.wholes, " .")
    RETURN [
      c.session,
      c.cell,
      APPEND(
        (FOR needle IN @parts_needles RETURN LENGTH(SPLIT(parts, needle)) - 1),
        (FOR needle IN @wholes_needles RETURN LENGTH(SPLIT(wholes, needle)) - 1)
      )
    ]
)
LET literal = (
  FOR c IN tv_cells
    FILTER LENGTH(@literals) > 0
    LET text = LOWER(c.text)
    LET held = (FOR one IN @literals RETURN CONTAINS(text, LOWER(one)) ? 1 : 0)
    FILTER SUM(held) > 0
    RETURN [c.session, c.cell, held]
)
LET everything = (FOR c IN tv_cells FILTER @everything RETURN [c.session, c.cell])
RETURN {found, literal, everything}
"""


class TextSearch:
    """Text, code and descriptions of one vault on a server."""

    def __init__(self, client: Client, rows: Scanner) -> None:
        self._client, self._rows = client, rows

    def search_text(self, query: Node, scopes: Sequence[Scope], *, k: int | None = None) -> Hits:
        """Rows with a text that matches: always all. Two requests; three where nothing must match, but something not."""
        with_text = [
            number
            for number, scope in enumerate(scopes)
            if has_text(scope, self._rows.schema(scope.version.schema_id))
        ]
        versions = [scopes[number].version for number in with_text]
        places = places_of(with_text, list(zip(versions, self._rows.pieces(versions), strict=True)))
        leaves = in_prose(query)
        bound = BindVars(PROSE, [one for one in leaves.values() if one is not None])
        items = Items()
        [answer] = self._client.query(FIND_TEXTS, binds=bound.values | bound.doubts) if places else [{}]
        items.add(answer.get("found", ()))
        if places and needs_everything(query):
            lists = sorted({list_id for list_id, _ in places})
            items.add_rest(self._client.query(ALL_TEXTS, lists=lists), len(bound))
        table = bound.exact_table(items.counts, items.terms)
        counts = {leaf: bound.column(table, one) for leaf, one in leaves.items()}
        lengths = np.array(items.lengths, np.int64)
        texts = Texts(lengths, counts, answer.get("items") or 0, answer.get("words") or 0)
        return items.located(texts.matching(query), texts.scores(query), places, scopes)

    def search_descriptions(self, query: Node) -> list[Description]:
        """Descriptions that match. One request."""
        leaves = in_prose(query)
        bound = BindVars(PROSE, [one for one in leaves.values() if one is not None])
        everything = needs_everything(query)
        [answer] = self._client.query(FIND_DESCRIPTIONS, binds=bound.values, everything=everything)
        rows = answer["told"]
        numbers = {row["_key"]: number for number, row in enumerate(rows)}
        worded = [(row, counts) for row, counts in answer["found"] if row["_key"] in numbers]
        if not everything:
            for row, _ in worded:
                rows[numbers[row["_key"]]] = row
        at = np.array([numbers[row["_key"]] for row, _ in worded], np.int64)
        table = bound.table([counts for _, counts in worded])
        ids = {leaf: at[bound.column(table, one) > 0] for leaf, one in leaves.items()}
        matching = set(matching_ids(query, ids.__getitem__, lambda: np.arange(len(rows))).tolist())
        newest: dict[tuple[Any, ...], int] = {}
        for number, row in enumerate(rows):
            key = (row["list"], row["session_of"], row["label"])
            newest.pop(key, None)  # the newest one takes its place in the order, too
            newest[key] = number
        return [description_of(rows[number]) for number in newest.values() if number in matching]

    def search_code(self, query: Node) -> np.ndarray:
        """Cells whose code matches. One request."""
        leaves = in_code(query)
        bound = BindVars(CODE, [one for leaf in leaves.values() for one in leaf.sought])
        literals = list(dict.fromkeys(leaf.literal for leaf in leaves.values() if leaf.literal is not None))
        [answer] = self._client.query(
            FIND_CODE, binds=bound.values, literals=literals, everything=needs_everything(query)
        )
        rows = [row[:2] for name in ("found", "literal", "everything") for row in answer[name]]
        cells = np.unique(np.array(rows, np.int64).reshape(-1, 2), axis=0)
        numbers = {(session, cell): number for number, (session, cell) in enumerate(cells.tolist())}
        worded, literally = (
            np.array([numbers[session, cell] for session, cell, _ in answer[name]], np.int64)
            for name in ("found", "literal")
        )
        table = bound.table([row[2] for row in answer["found"]])
        held = np.array([row[2] for row in answer["literal"]], bool).reshape(len(literally), len(literals))

        def ids(leaf: Leaf) -> np.ndarray:
            some = [worded[bound.column(table, one) > 0] for one in leaves[leaf].sought]
            literal = leaves[leaf].literal
            if literal is not None:
                some.append(literally[held[:, literals.index(literal)]])
            return np.concatenate([np.empty(0, np.int64), *some])

        matching: np.ndarray = cells[matching_ids(query, ids, lambda: np.arange(len(cells)))]
        return matching
