"""BM25 as SQLite's FTS5 computes it, over counts of words. No I/O.

The numbers and the order of operations are those of FTS5, so that a store that keeps its own index ranks the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store.engine import fts
from tablevault_pd.store.text_query import AllOf, Leaf, Negated, Node, Prefix, matching_ids, ranking_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

K1 = 1.2
B = 0.75
LEAST = 1e-6  #: the weight of what is in more than half of all texts


@dataclass(frozen=True, slots=True)
class Texts:
    """Some texts of a corpus."""

    lengths: np.ndarray  #: words in each
    counts: Mapping[Leaf, np.ndarray]  #: how often each leaf of the query is in each
    holding: Mapping[Leaf, int]  #: how many texts of the corpus each leaf is in
    items: int  #: texts in the corpus
    words: int  #: words in the corpus

    def matching(self, query: Node) -> np.ndarray:
        """The numbers of the texts that match, ascending."""
        return matching_ids(
            query, lambda leaf: np.flatnonzero(self.counts[leaf]), lambda: np.arange(len(self.lengths))
        )

    def scores(self, query: Node) -> np.ndarray:
        """The score of each text, were it to match; higher is better."""
        total = np.zeros(len(self.lengths))
        if fts.match(query) is not None:  # FTS5 has one expression for it
            for leaf, counted in self._counted(query, np.ones(len(total), bool)):
                total += self._part(leaf, counted)
            return total
        for prefixes in (False, True):
            one = np.zeros(len(total))
            for leaf in ranking_leaves(query):
                if isinstance(leaf, Prefix) == prefixes:
                    one += self._part(leaf, self.counts[leaf])
            total += one
        return total

    def _counted(self, node: Node, open_: np.ndarray) -> Iterator[tuple[Leaf, np.ndarray]]:
        """How often each wanted leaf counts: not where something else is lacking that must be there with it."""
        if isinstance(node, Negated):
            return
        if isinstance(node, AllOf):
            here = np.zeros(len(open_), bool)
            here[self.matching(node)] = True
            open_ = open_ & here
        if isinstance(node, Leaf):
            yield node, np.where(open_, self.counts[node], 0)
            return
        for part in node.parts:
            yield from self._counted(part, open_)

    def weights(self, query: Node) -> Iterator[tuple[Leaf, float]]:
        """What each leaf that is ranked by weighs, as often as it is in the query."""
        for leaf in ranking_leaves(query):
            yield leaf, self._weight(leaf)

    def _weight(self, leaf: Leaf) -> float:
        return weight_of(self.holding[leaf], self.items)

    def _part(self, leaf: Leaf, counted: np.ndarray) -> np.ndarray:
        """What a leaf adds to the scores."""
        if not self.items or not self.words:
            return np.zeros(len(counted))
        weight = self._weight(leaf)
        average = self.words / self.items
        saturated: np.ndarray = counted * (K1 + 1.0) / (counted + _size(self.lengths, average))
        return weight * saturated


def weight_of(holding: int, items: int) -> float:
    """What a leaf weighs that so many of all items have."""
    weight = math.log((items - holding + 0.5) / (holding + 0.5)) if items > holding else 0.0
    return weight if weight > 0.0 else LEAST


def _size(lengths: np.ndarray, average: float) -> np.ndarray:
    sizes: np.ndarray = K1 * (1 - B + B * lengths / average)
    return sizes


def counts_of(scores: np.ndarray, lengths: np.ndarray, weight: float, average: float) -> np.ndarray:
    """How often a leaf of this weight is in texts that have these scores for it alone."""
    share = scores / weight
    counts: np.ndarray = np.rint(share * _size(lengths, average) / (K1 + 1.0 - share)).astype(np.int64)
    return counts
