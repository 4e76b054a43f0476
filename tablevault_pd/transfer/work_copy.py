"""Which rows are done, in a copy: claims that are held belong to sessions of the old place, and stay there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store.work import ClaimState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tablevault_pd.store import Store
    from tablevault_pd.store.work import ClaimRecords

ROWS_AT_ONCE = 10_000


def done_rows(store: Store, lists: Collection[int]) -> dict[int, ClaimRecords]:
    """Return the rows that are done, by list."""
    done = {}
    for list_id in store.worked_lists():
        if list_id in lists:
            records = store.claim_records(list_id)
            done[list_id] = records[
                np.flatnonzero((records.state == ClaimState.DONE) & (records.rows.generation >= 0))
            ]
    return {list_id: records for list_id, records in done.items() if len(records.rows)}


def copy_work(
    source: Store,
    target: Store,
    done: Mapping[int, ClaimRecords],
    lists: Mapping[int, int],
    sessions: Mapping[int, int],
) -> None:
    """Mark the rows as done that are so in the source, unless somebody holds them in the target. Addresses of rows are the same."""
    present = done_rows(target, lists.values())
    for list_id, records in done.items():
        own = lists[list_id]
        _align(source, target, list_id, own)
        before = set(present[own].rows.pairs()) if own in present else set()
        new = records[np.array([pair not in before for pair in records.rows.pairs()], bool)]
        ids = np.array([sessions.get(session, -1) for session in new.session_id.tolist()], np.int64)
        new = replace(new, session_id=ids)
        for first in range(0, len(new.rows), ROWS_AT_ONCE):
            target.put_done(own, new[first : first + ROWS_AT_ONCE])


def _align(source: Store, target: Store, list_id: int, own: int) -> None:
    """Let the work on a list of the target be at the generation that it is at in the source, unless it is at a later one."""
    there, here = source.work(list_id), target.work(own)
    if there is not None and (here is None or here.generation < there.generation):
        target.align_work(
            own, after=None if here is None else here.generation, generation=there.generation, same=there.same
        )
