"""Searching code of a vault on a server: cells, statements and modules, through the view ``tv_search``.

What was stored lately is looked up by its time instead: nobody waits for the view. A view that was made anew shows what is
there in any order; once it has shown all, each of its links shows what was stored in the order in which it was. So a process counts
all code once, and then the last of it: where the view lacks some, all code is looked through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.store.arango.layout import ANALYZER, TRIPLES
from tablevault_pd.store.arango.term_queries import CODE, BindVars, in_code
from tablevault_pd.store.arango.text_index import LAG_MS
from tablevault_pd.store.text_query import matching_ids, needs_everything

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.text_query import Leaf, Node

# 3.12; nothing in it is newer than 3.10. As the statements of text.py. What may hold a literal is found by its triples of
# characters, and all that is found is looked at again. Of each collection all documents that the view should hold have to be in it,
# or the last ones if it held all of them once: those before them then are, too.
FIND_CODE = """
LET since = @lag == null ? 0 : DATE_NOW() * 1000 - @lag
LET cells = (FOR c IN tv_cells FILTER c.saved >= since RETURN KEEP(c, @attributes))
LET statements = (FOR c IN tv_statements FILTER c.saved >= since RETURN KEEP(c, @attributes))
LET sources = (FOR c IN tv_sources FILTER c.saved >= since RETURN KEEP(c, @attributes))
LET indexed = (
  FOR c IN tv_search
    SEARCH ANALYZER(
      c.parts IN @parts
      OR PHRASE(c.parts, @phrase1) OR PHRASE(c.parts, @phrase2)
      OR PHRASE(c.parts, @phrase3) OR PHRASE(c.parts, @phrase4)
      OR STARTS_WITH(c.parts, @parts_begin)
      OR c.wholes IN @wholes
      OR STARTS_WITH(c.wholes, @wholes_begin), "tv_words")
    OPTIONS {collections: ["tv_cells", "tv_statements", "tv_sources"]}
    RETURN KEEP(c, @attributes)
)
LET by_triples = (
  FOR narrowing IN @narrowing
    LET triples = TOKENS(narrowing, @triples)
    FOR c IN tv_search
      SEARCH LENGTH(triples) == 0 OR ANALYZER(triples ALL IN c.text, @triples)
      OPTIONS {collections: ["tv_cells", "tv_statements", "tv_sources"]}
      RETURN KEEP(c, @attributes)
)
LET view = DOCUMENT("tv_meta/views").value
LET known = view == @whole_view
LET after = [
  NOT_NULL(FIRST(FOR c IN tv_cells FILTER known AND c.saved > 0 AND c.saved < since
    SORT c.saved DESC LIMIT @last, 1 RETURN c.saved), 0),
  NOT_NULL(FIRST(FOR c IN tv_statements FILTER known AND c.saved > 0 AND c.saved < since
    SORT c.saved DESC LIMIT @last, 1 RETURN c.saved), 0),
  NOT_NULL(FIRST(FOR c IN tv_sources FILTER known AND c.saved > 0 AND c.saved < since
    SORT c.saved DESC LIMIT @last, 1 RETURN c.saved), 0)
]
LET due = [
  COUNT(FOR c IN tv_cells FILTER c.saved >= after[0] AND c.saved < since RETURN 1),
  COUNT(FOR c IN tv_statements FILTER c.saved >= after[1] AND c.saved < since RETURN 1),
  COUNT(FOR c IN tv_sources FILTER c.saved >= after[2] AND c.saved < since RETURN 1)
]
LET shown = [
  COUNT(FOR c IN tv_search SEARCH c.saved >= after[0] AND c.saved < since
    OPTIONS {collections: ["tv_cells"]} RETURN 1),
  COUNT(FOR c IN tv_search SEARCH c.saved >= after[1] AND c.saved < since
    OPTIONS {collections: ["tv_statements"]} RETURN 1),
  COUNT(FOR c IN tv_search SEARCH c.saved >= after[2] AND c.saved < since
    OPTIONS {collections: ["tv_sources"]} RETURN 1)
]
LET found = (
  FOR c IN UNION(cells, statements, sources, indexed, by_triples)
    LET parts = CONCAT(" ", SUBSTITUTE(c.parts, " ", "  "), " ")
    LET wholes = CONCAT(" ", SUBSTITUTE(c.wholes, " ", "  "), " ")
    LET text = LOWER(c.text)
    LET counts = APPEND(
      APPEND(
        (FOR pattern IN @parts_patterns RETURN LENGTH(SPLIT(parts, pattern)) - 1),
        (FOR pattern IN @wholes_patterns RETURN LENGTH(SPLIT(wholes, pattern)) - 1)
      ),
      (FOR literal IN @literals RETURN CONTAINS(text, LOWER(literal)) ? 1 : 0)
    )
    FILTER SUM(counts) > 0
    RETURN [c._id, counts]
)
RETURN {
  view,
  whole: shown[0] >= due[0] AND shown[1] >= due[1] AND shown[2] >= due[2],
  found,
  cells: (FOR c IN tv_cells FILTER @everything RETURN c._key)
}
"""
LAST = 100  # how many of the last documents have to be in a view that once held all


class CodeSearch:
    """The code of one vault on a server.

    In a vault that was laid out by another release, the view has no triples: then all code is looked through for a literal.
    """

    def __init__(self, client: Client, *, has_triples: bool) -> None:
        self._client, self._has_triples = client, has_triples
        self._whole_view: int | None = -1  # which view was seen to hold all code, of those that were made

    def search_code(self, query: Node) -> np.ndarray:
        """Cells whose code matches. One request, unless the view lags."""
        ids, cells = self._ids(query, everything=needs_everything(query))
        keys = sorted({*cells, *(key for some in ids.values() for key in keys_of(some, "tv_cells"))})
        numbers = {key: number for number, key in enumerate(keys)}

        def leaf(one: Leaf) -> np.ndarray:
            return np.array([numbers[key] for key in keys_of(ids[one], "tv_cells")], np.int64)

        matching = matching_ids(query, leaf, lambda: np.arange(len(keys)))
        places = np.array([list(map(int, keys[number].split("-"))) for number in matching], np.int64)
        return np.unique(places.reshape(-1, 2), axis=0)

    def ids(self, query: Node) -> dict[Leaf, set[str]]:
        """The ids of the documents of cells, statements and modules that each leaf is in."""
        return self._ids(query, everything=False)[0]

    def _ids(self, query: Node, *, everything: bool) -> tuple[dict[Leaf, set[str]], list[str]]:
        leaves = in_code(query)
        bound = BindVars(CODE, (one for leaf in leaves.values() for one in leaf.terms))
        literals = list(dict.fromkeys(leaf.literal for leaf in leaves.values() if leaf.literal is not None))
        answer = self._answer(bound, literals, everything)
        documents = np.array([row[0] for row in answer["found"]], object)
        counts = np.array([row[1] for row in answer["found"]], np.int64)
        counts = counts.reshape(len(documents), len(bound.terms) + len(literals))
        table, held = counts[:, : len(bound.terms)], counts[:, len(bound.terms) :]
        ids: dict[Leaf, set[str]] = {}
        for leaf, sought in leaves.items():
            matches = np.zeros(len(documents), bool)
            for one in sought.terms:
                matches |= bound.column(table, one) > 0
            if sought.literal is not None:
                matches |= held[:, literals.index(sought.literal)] > 0
            ids[leaf] = set(documents[matches].tolist())
        return ids, answer["cells"]

    def _answer(self, bound: BindVars, literals: list[str], everything: bool) -> dict[str, Any]:
        by_index = self._has_triples or not literals
        for lag in (LAG_MS * 1000, None) if by_index else (None,):
            [answer] = self._client.query(
                FIND_CODE,
                binds=bound.values,
                attributes=["_id", "parts", "wholes", *(["text"] if literals else [])],
                literals=literals,
                narrowing=[_surely_in_index(literal) for literal in literals],
                triples=TRIPLES if self._has_triples else ANALYZER,
                last=LAST,
                whole_view=self._whole_view,
                lag=lag,
                everything=everything,
            )
            if answer["whole"]:
                self._whole_view = answer["view"] if lag is not None else self._whole_view
                break
        return dict(answer)


def _surely_in_index(literal: str) -> str:
    """The part of a literal whose triples are in the index of each text that holds it: an accent may follow its end there."""
    return literal[:-1] if len(literal) > 3 else literal


def keys_of(ids: Iterable[str], collection: str) -> set[str]:
    """The keys of those of these documents that are in a collection."""
    return {key for name, _, key in (document_id.partition("/") for document_id in ids) if name == collection}
