"""What a comparison is about: the versions, how their rows were aligned, and the vault to ask more of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.analysis.alignment import told_apart
from tablevault_pd.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from tablevault_pd.analysis.alignment import Alignment
    from tablevault_pd.analysis.sides import Side
    from tablevault_pd.analysis.summary import Layout
    from tablevault_pd.store import Store


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What a comparison is about. It holds no cells."""

    store: Store | None  #: None: it came out of a pickle
    sides: tuple[Side, ...]  #: with empty frames
    keys: pd.Index  #: of all rows that were aligned
    rows: tuple[np.ndarray, ...]  #: for each side the number of its row with that key; -1 where it has none
    layout: Layout
    flush: Callable[[], None] | None

    @classmethod
    def of(
        cls,
        store: Store,
        sides: Sequence[Side],
        aligned: Alignment,
        layout: Layout,
        flush: Callable[[], None],
    ) -> Context:
        """The context of a comparison that was just made."""
        bare = tuple(replace(side, frame=side.frame.iloc[:0]) for side in sides)
        return cls(store, bare, aligned.keys, aligned.rows, layout, flush)

    def vault(self) -> Store:
        """The store, with all that the sessions of this process have done. Raises InvalidInput after a pickle."""
        if self.store is None or self.flush is None:
            raise InvalidInput(
                "This comparison came from another process, and knows its vault no more. Compare again there."
            )
        self.flush()
        return self.store

    def positions(self, keys: pd.Index, side: int) -> np.ndarray:
        """The positions in the version of a side of the rows with these keys; -1 where it has none."""
        at = told_apart(self.keys).get_indexer(told_apart(keys))
        rows = np.where(at >= 0, self.rows[side][at], -1)
        there = self.sides[side].positions
        return rows if there is None else np.where(rows >= 0, there[rows], -1)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in self.__slots__}
        return state | {"store": None, "flush": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
