"""The part of a store that finds rows, code and descriptions by their words, and rows by their vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tablevault_pd.store.text_query import Node
    from tablevault_pd.store.types import Description, Hits, IndexInfo, Metric, Scope, VectorQuery


class SearchStore(Protocol):
    """Finds what is committed, whether an index has it yet or not: an answer never misses a row for being new.

    Every store finds the same, with the same scores up to rounding, in the same order: best first, equal scores in order of
    scope and position. Queries are plain data: no text of a user is evaluated, nor reaches the store's own query language.
    """

    def describe(self, description: Description, *, attempt: int | None = None) -> None:
        """Keep a description. One of the same target and label is superseded, not lost.

        Raises SessionContinued if another attempt of the session that wrote it than this one, if one is given, is the newest.
        """

    def descriptions(self, *, history: bool = False) -> list[Description]:
        """Return the newest description of each target and label; with `history` all that ever were. Oldest first."""

    def search_text(self, query: Node, scopes: Sequence[Scope], *, k: int | None = None) -> Hits:
        """Return the rows with a text that matches, ranked by BM25: at least the best `k`, or all.

        Text is matched by words: stemmed, without regard to case and accents; prefixes are not stemmed. A row stands once,
        with its best item. Scores are those of SQLite's FTS5 over all texts of the vault.
        """

    def search_vectors(
        self,
        near: Sequence[VectorQuery],
        scopes: Sequence[Scope],
        *,
        metric: Metric,
        k: int | None = None,
        approx: bool = False,
    ) -> list[Hits]:
        """Return for each query vector the nearest rows: at least the best `k`, or all rows with a vector.

        All of `near` have the same number of vectors, and there is one answer for each number. Scores are cosine
        similarity, dot product, or minus the Euclidean distance (``l2``), in float64. A missing vector, one with NaN or
        infinity and, for cosine, one of length 0 is never found. `approx` may miss near rows, but never for being new or
        filtered.
        """

    def count_nearer(
        self, near: Sequence[VectorQuery], scopes: Sequence[Scope], scores: np.ndarray, *, metric: Metric
    ) -> np.ndarray | None:
        """Return how many items score above each of `scores`, for one query; None where reading the vectors is better.

        Only a store with :attr:`~tablevault_pd.store.lists.ListStore.supports_pushdown` is asked.
        """

    def search_code(self, query: Node) -> np.ndarray:
        """Return (session id, cell) of all cells whose code matches; int64, shape (n, 2), ascending.

        Words match whole identifiers and their parts (``fit`` in ``model.fitAll``); what holds punctuation, and phrases, match
        as they stand, anywhere.
        """

    def search_descriptions(self, query: Node) -> list[Description]:
        """Return the descriptions that match, among the newest of each target and label, oldest first."""

    def indexes(self) -> list[IndexInfo]:
        """Return the indexes of the newest versions of all lists, by list, and those that lists share."""
