"""Where the rows of one version of a list are in another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd import frames
from tablevault_pd.errors import SchemaMismatch
from tablevault_pd.keys.key_index import key_index
from tablevault_pd.lineage.same import same_rows

if TYPE_CHECKING:
    from tablevault_pd.store import Store, Version


def follow_rows(store: Store, one: Version, other: Version, positions: np.ndarray) -> np.ndarray:
    """For these rows of `one` the positions in `other`, -1 where there is none: by the key that `other` has, else by content."""
    schema = store.schema(other.schema_id)
    fields = frames.key_fields(schema)
    if not fields or one.gone:
        return same_rows(store, one, other, positions)
    shown, theirs = store.pieces([one, other])
    generation, address = shown.addresses(positions)
    try:
        index = key_index(store, one, shown, schema, fields)
    except SchemaMismatch:  # the key had another type then
        return same_rows(store, one, other, positions)
    rows = index.content.positions(generation, address)
    alive = np.flatnonzero(rows >= 0)  # the others were erased
    numbers, there = key_index(store, other, theirs, schema, fields).find(
        theirs, index.digests[:, rows[alive]]
    )
    followed = theirs.positions(generation, address)
    followed[alive[numbers]] = there
    return followed
