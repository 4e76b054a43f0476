"""Searching code of a vault on a server: cells, statements and modules, through the view ``tv_search``.

What was stored lately is looked up by its time instead: nobody waits for the view. Each link of the view shows what was
stored in the order in which it was; one that shows too few documents lags behind, and then all are looked through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store.arango.term_queries import CODE, BindVars, in_code
from tablevault_pd.store.arango.text_index import LAG_MS
from tablevault_pd.store.text_query import matching_ids, needs_everything

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.text_query import Leaf, Node

# 3.12; nothing in it is newer than 3.10. As the statements of text.py. A text without words is found by what it is.
FIND_CODE = """
LET since = @lag == null ? 0 : DATE_NOW() * 1000 - @lag
LET cells = (FOR c IN tv_cells FILTER c.saved >= since RETURN KEEP(c, "_id", "parts", "wholes"))
LET statements = (FOR c IN tv_statements FILTER c.saved >= since RETURN KEEP(c, "_id", "parts", "wholes"))
LET sources = (FOR c IN tv_sources FILTER c.saved >= since RETURN KEEP(c, "_id", "parts", "wholes"))
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
    RETURN KEEP(c, "_id", "parts", "wholes")
)
LET lengths = [LENGTH(tv_cells) - LENGTH(cells), LENGTH(tv_statements) - LENGTH(statements),
  LENGTH(tv_sources) - LENGTH(sources)]
LET shown = [
  FIRST(FOR c IN tv_search SEARCH c.saved > 0 OPTIONS {collections: ["tv_cells"]} COLLECT WITH COUNT INTO n RETURN n),
  FIRST(FOR c IN tv_search SEARCH c.saved > 0 OPTIONS {collections: ["tv_statements"]} COLLECT WITH COUNT INTO n RETURN n),
  FIRST(FOR c IN tv_search SEARCH c.saved > 0 OPTIONS {collections: ["tv_sources"]} COLLECT WITH COUNT INTO n RETURN n)
]
LET found = (
  FOR c IN UNION(cells, statements, sources, indexed)
    LET parts = CONCAT(" ", SUBSTITUTE(c.parts, " ", "  "), " ")
    LET wholes = CONCAT(" ", SUBSTITUTE(c.wholes, " ", "  "), " ")
    LET counts = APPEND(
      (FOR pattern IN @parts_patterns RETURN LENGTH(SPLIT(parts, pattern)) - 1),
      (FOR pattern IN @wholes_patterns RETURN LENGTH(SPLIT(wholes, pattern)) - 1)
    )
    FILTER SUM(counts) > 0
    RETURN [c._id, counts]
)
LET in_cells = (
  FOR c IN tv_cells
    FILTER LENGTH(@literals) > 0
    LET text = LOWER(c.text)
    LET held = (FOR one IN @literals RETURN CONTAINS(text, LOWER(one)) ? 1 : 0)
    FILTER SUM(held) > 0
    RETURN [c._id, held]
)
LET in_statements = (
  FOR c IN tv_statements
    FILTER LENGTH(@literals) > 0 AND !@cells_only
    LET text = LOWER(c.text)
    LET held = (FOR one IN @literals RETURN CONTAINS(text, LOWER(one)) ? 1 : 0)
    FILTER SUM(held) > 0
    RETURN [c._id, held]
)
LET in_sources = (
  FOR c IN tv_sources
    FILTER LENGTH(@literals) > 0 AND !@cells_only
    LET text = LOWER(c.text)
    LET held = (FOR one IN @literals RETURN CONTAINS(text, LOWER(one)) ? 1 : 0)
    FILTER SUM(held) > 0
    RETURN [c._id, held]
)
RETURN {
  whole: shown[0] >= lengths[0] AND shown[1] >= lengths[1] AND shown[2] >= lengths[2],
  found,
  literal: UNION(in_cells, in_statements, in_sources),
  cells: (FOR c IN tv_cells FILTER @everything RETURN c._key)
}
"""


class CodeSearch:
    """The code of one vault on a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def search_code(self, query: Node) -> np.ndarray:
        """Cells whose code matches. One request, unless the view lags."""
        ids, cells = self._ids(query, cells_only=True)
        keys = sorted({*cells, *(key for some in ids.values() for key in keys_of(some, "tv_cells"))})
        numbers = {key: number for number, key in enumerate(keys)}

        def leaf(one: Leaf) -> np.ndarray:
            return np.array([numbers[key] for key in keys_of(ids[one], "tv_cells")], np.int64)

        matching = matching_ids(query, leaf, lambda: np.arange(len(keys)))
        places = np.array([list(map(int, keys[number].split("-"))) for number in matching], np.int64)
        return np.unique(places.reshape(-1, 2), axis=0)

    def ids(self, query: Node) -> dict[Leaf, set[str]]:
        """The ids of the documents of cells, statements and modules that each leaf is in."""
        return self._ids(query, cells_only=False)[0]

    def _ids(self, query: Node, *, cells_only: bool) -> tuple[dict[Leaf, set[str]], list[str]]:
        leaves = in_code(query)
        bound = BindVars(CODE, (one for leaf in leaves.values() for one in leaf.terms))
        literals = list(dict.fromkeys(leaf.literal for leaf in leaves.values() if leaf.literal is not None))
        for lag in (LAG_MS * 1000, None):
            [answer] = self._client.query(
                FIND_CODE,
                binds=bound.values,
                literals=literals,
                lag=lag,
                cells_only=cells_only,
                everything=cells_only and needs_everything(query),
            )
            if answer["whole"]:
                break
        worded = np.array([row[0] for row in answer["found"]], object)
        table = bound.table([row[1] for row in answer["found"]])
        ids: dict[Leaf, set[str]] = {}
        for leaf, sought in leaves.items():
            ids[leaf] = {key for one in sought.terms for key in worded[bound.column(table, one) > 0].tolist()}
            if sought.literal is not None:
                at = literals.index(sought.literal)
                ids[leaf] |= {key for key, held in answer["literal"] if held[at]}
        return ids, answer["cells"]


def keys_of(ids: Iterable[str], collection: str) -> set[str]:
    """The keys of those of these documents that are in a collection."""
    return {key for name, _, key in (document_id.partition("/") for document_id in ids) if name == collection}
