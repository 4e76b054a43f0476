"""Which rows of two versions of a list were added, removed or changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd import frames
from tablevault_pd.analysis.ancestors import same_rows_by_key
from tablevault_pd.analysis.sides import Side
from tablevault_pd.errors import short_repr
from tablevault_pd.frames import index_names
from tablevault_pd.keys.key import key_labels
from tablevault_pd.lineage.same import unchanged_rows
from tablevault_pd.reading.read import positions_shown, take

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tablevault_pd.store import Store, Version


SHOWN_ROWS = 10


@dataclass(frozen=True, slots=True, eq=False)
class RowChanges:
    """Positions in the one and the other version. `changed_a` and `changed_b` belong together, one by one."""

    removed: np.ndarray
    added: np.ndarray
    changed_a: np.ndarray
    changed_b: np.ndarray


def row_changes(store: Store, one: Version, other: Version) -> RowChanges:
    """Compare two versions of a list row by row.

    Rows with equal content are the same, matched in order. Of the others those changed that are in both by their key, a named
    index without duplicates; without one, those in the same place.
    """
    at = positions_shown(store, one)
    same = unchanged_rows(store, one, other, at)
    free = np.zeros(other.total, bool)
    free[positions_shown(store, other)] = True
    free[same[same >= 0]] = False
    lost = at[same < 0]
    now = same_rows_by_key(store, one, other, lost)
    if not (now >= 0).any():
        now = np.where((lost < other.total) & np.isin(lost, np.flatnonzero(free)), lost, -1)
    now = np.where((now >= 0) & free[np.maximum(now, 0)], now, -1) if len(free) else np.full(len(lost), -1)
    is_there = now >= 0
    free[now[is_there]] = False
    return RowChanges(lost[~is_there], np.flatnonzero(free), lost[is_there], now[is_there])


def row_labels(store: Store, version: Version, positions: np.ndarray) -> Sequence[Any]:
    """What rows are called: by the key of the list, else by its index, which counts them where it has none of its own.

    The key of a mapped list says nothing to a reader: nobody sees what map keeps beside its results.
    """
    schema = store.schema(version.schema_id)
    key = [] if frames.fields_beside(schema) else key_labels(schema)
    columns = [label for label in key if label not in index_names(schema)]
    [frame] = take(store, [(version, positions, columns)])
    return list(Side(version.label, version, positions, frame).key(key) if key else frame.index)


def named_rows(store: Store, version: Version, positions: np.ndarray | None) -> str | None:
    """How many rows these are, and what the first of them are called: ``2: 'a', 'b'``; None for None."""
    if positions is None:
        return None
    labels = row_labels(store, version, positions[:SHOWN_ROWS])
    more = ", …" if len(positions) > SHOWN_ROWS else ""
    return f"{len(positions)}: {', '.join(map(label_text, labels))}{more}"


def label_text(label: Any) -> str:
    """A label as it stands in a list of them."""
    if isinstance(label, tuple):
        return f"({', '.join(map(label_text, label))})"
    return short_repr(label, 40) if isinstance(label, str) else str(label)
