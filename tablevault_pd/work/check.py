"""Whether what is kept of the work on lists follows from the claims of their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.display import counted
from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store import Problem
from tablevault_pd.work.order import order_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store import Store, Version


def wrong_frontiers(store: Store, *, fix: bool) -> Iterator[Problem]:
    """Yield lists of which rows would never be claimed, as they lie before the frontier; with `fix` it begins anew."""
    worked = set(store.worked_lists())
    heads = [state.head for state in store.lists() if state.head.list_id in worked]
    for head in heads:
        try:
            open_rows = 0 if head.deleted else _open_before_frontier(store, head)
            detail = f"{counted(open_rows, 'row')} that nobody has claimed would never be: they lie before the first open one"
        except VaultCorrupt as error:
            open_rows, detail = head.total, str(error)
        if open_rows:
            generation = head.generation
            fixed = fix and store.align_work(head.list_id, after=generation, generation=generation, same={})
            yield Problem("damage", "claims", head.list, head.version, detail=detail, fixed=fixed)


def _open_before_frontier(store: Store, head: Version) -> int:
    """How many rows before the frontier no claim was ever made of, in the newest version of a list."""
    work = store.work(head.list_id)
    if work is None or not work.frontier or work.generation != head.generation:
        return 0  # it is begun anew with the next claim
    claimed = order_of(store, head, work).positions(store.claim_records(head.list_id).rows)
    frontier = min(work.frontier, head.total)
    return frontier - len(np.unique(claimed[(claimed >= 0) & (claimed < frontier)]))
