"""The part of a store that keeps the code that made rows: the slice of each commit, and confirmations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tablevault_pd.store.session_types import Confirmation, WrittenCode
    from tablevault_pd.store.text_query import Node


class CodeStore(Protocol):
    """Keeps slices: the statements that a commit followed from. Equal slices and equal statements are kept once.

    A place is (session id, cell, line): a cell of a notebook has line 0, a statement of a script the line where it begins.
    Cell -1 stands for all that a session executed.
    """

    def written_code(self, places: Sequence[tuple[int, int, int]]) -> list[WrittenCode]:
        """Return the slices kept of these places; those without one are left out. One request, or two."""

    def put_code(self, code: Sequence[WrittenCode]) -> None:
        """Keep slices, each replacing that of the same place."""

    def search_slices(self, query: Node) -> np.ndarray:
        """Return (session id, cell, line) of all places whose slice matches; int64, shape (n, 3), ascending.

        Where a slice has unresolved names, the place is found by the code of its whole session; a session that has not
        ended, and so has no slice of its own (cell -1), too. What was committed without a slice is found by its cell.
        """

    def search_code_of_sessions(self, query: Node) -> np.ndarray:
        """Return the ids of the sessions whose cells and captured modules, taken together, match; int64, ascending."""

    def confirm(self, confirmation: Confirmation, *, attempt: int | None = None) -> None:
        """Keep that rows were made again and came out equal to a version; of one place only the newest time.

        Raises SessionContinued if another attempt of the session than this one, if one is given, is the newest.
        """

    def confirmations(self, lists: Sequence[int] | None = None) -> list[Confirmation]:
        """Return confirmations of versions of these lists, or of all, oldest first."""
