"""The part of a store that keeps claims: which rows of a list are held by which session, and which are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from tablevault_pd.store.work import (
        Addresses,
        ClaimAnswer,
        ClaimRecords,
        ClaimRequest,
        Finish,
        Holder,
        HolderState,
        Work,
    )


class ClaimStore(Protocol):
    """Keeps claims. A row is open, held by one :class:`Holder`, or done for good; nothing else is known of it.

    Work by key, whose first number is below 0, is held or not: the store forgets what nobody holds, with the next
    :meth:`give_back` or :meth:`undo_claim` at the latest.

    Calls that change the claims of one list come one after the other, whole. What they change survives the end of the
    process; what :meth:`finish` and a commit change survives a power failure too, as a commit does.
    """

    def work(self, list_id: int) -> Work | None:
        """Return what is kept of the work on a list; None if none of its rows was ever claimed."""

    def worked_lists(self) -> list[int]:
        """Return the ids of the lists that are worked on, in order."""

    def align_work(
        self, list_id: int, *, after: int | None, generation: int, same: Mapping[int, np.ndarray]
    ) -> bool:
        """Go on to `generation`, whose rows were compared with those of the generation `after` (None: the first one).

        `same` is kept as :attr:`Work.same`, and what is kept already stays. Return whether it was done: not if the work is
        at another generation than `after`, because another writer was faster.
        """

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        """Take the first `count` of the rows that are open, or fewer; none unless :meth:`ClaimAnswer.may_take`.

        Sent again with the same token, because its answer was lost, it takes the same rows. One request. Raises SessionContinued
        if another attempt of the session than the holder is the newest.
        """

    def give_back(self, list_id: int, holders: Sequence[Holder]) -> int:
        """Open what these hold, and forget the holders. Return how many rows that were."""

    def undo_claim(self, list_id: int, holder: Holder, token: int) -> None:
        """Open what the call with this token took and still holds."""

    def release(self, list_id: int, rows: Addresses, holder: Holder) -> int:
        """Open those of the rows that the holder holds. Return how many that were."""

    def finish(
        self, finishes: Sequence[Finish], *, session_id: int | None = None, attempt: int | None = None
    ) -> None:
        """Mark rows as done, as :attr:`Batch.finishes` does; those that the holder has finished before stay done.

        Raises ClaimLost, and SessionContinued if another attempt of the session that marks them than this one, if one is given, is
        the newest; then none is marked.
        """

    def put_done(self, list_id: int, records: ClaimRecords) -> None:
        """Mark rows of a copied list as done, as they are in the vault that it comes from. What is held here stays held."""

    def claim_records(self, list_id: int) -> ClaimRecords:
        """Return all rows of a list that were ever claimed."""

    def holders(self, list_id: int) -> list[HolderState]:
        """Return who may hold rows of a list."""

    def data_version(self) -> object:
        """Return an object that differs from the last one if another thread or process has committed anything since.

        None where the store cannot tell without looking. It costs a few microseconds.
        """
