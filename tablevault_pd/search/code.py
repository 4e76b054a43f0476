"""Find the commits whose code matches: in the slice of the rows, in the cell that wrote them, or in all of the session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from tablevault_pd.store import Spans, Store
    from tablevault_pd.store.text_query import Node

CodeIn = Literal["slice", "cell", "session"]
CODE_IN: tuple[CodeIn, ...] = ("slice", "cell", "session")
_BITS = 20  # of a cell's number and of the number of a place; a session's has the rest


@dataclass(frozen=True, slots=True, eq=False)
class CodeWriters:
    """Those whose code matches: (session), (session, cell) or (session, cell, line), as columns."""

    writers: np.ndarray

    @classmethod
    def find(cls, store: Store, query: Node, within: CodeIn) -> CodeWriters:
        """Look them up in the store."""
        if within == "session":
            return cls(store.search_code_of_sessions(query).reshape(-1, 1))
        return cls(store.search_code(query) if within == "cell" else store.search_slices(query))

    def wrote(self, spans: Spans) -> np.ndarray:
        """Which spans one of them wrote."""
        placed = self.writers[(self.writers >= 0).all(axis=1)].T
        columns = [spans.session_id, spans.cell, spans.line][: len(placed)]
        if len(placed) > 2:
            columns[2], placed[2] = _numbered(spans.line, placed[2])
        written: np.ndarray = np.isin(_keys(columns), _keys(placed))
        return written & (spans.cell >= 0)


def sessions_with_code(store: Store, query: Node, within: CodeIn) -> list[int]:
    """Ids of the sessions that ran such code; of a slice: that wrote rows with it, or executed it."""
    ids = CodeWriters.find(store, query, within).writers[:, 0]
    if within == "slice":
        ids = np.concatenate([ids, store.search_code(query)[:, 0]])
    distinct: list[int] = np.unique(ids).tolist()
    return distinct


def _numbered(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of both as numbers from 0 on, equal where these are: a place has more bits than a key has room for."""
    _, numbers = np.unique(np.concatenate([one, two]), return_inverse=True)
    return numbers[: len(one)], numbers[len(one) :]


def _keys(columns: np.ndarray | list[np.ndarray]) -> np.ndarray:
    keys = np.zeros(len(columns[0]) if len(columns) else 0, np.int64)
    for column in columns:
        keys = (keys << _BITS) | column
    return keys
