"""Leave rows out of a list: those of a filter, of positions or of a frame are not shown by the new version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.lineage.resolve_rows import resolve_rows
from tablevault_pd.lineage.same import same_rows
from tablevault_pd.reading.filtering import filter_for, masks_of_versions
from tablevault_pd.reading.read import rows_at
from tablevault_pd.saving.commit import WriteRequest, batch_of, head_of, retrying

if TYPE_CHECKING:
    from tablevault_pd.store import Store, Version

#: Which positions of a version are to go.
Selection = Callable[["Version"], np.ndarray]


def delete_rows(store: Store, request: WriteRequest, *, rows: Any, filters: Any) -> Version:
    """Leave rows out of a list, and return the version without them: the newest one, if none was to go."""
    first = head_of(store, request)
    assert first is not None
    selection = _of_filter(store, first, filters) if rows is None else _of_rows(store, first, rows)

    def attempt(head: Version | None) -> Version:
        assert head is not None
        positions = selection(head)
        if not len(positions):
            return head
        content = store.pieces([head])[0].remove(positions)
        batch = replace(batch_of(request), expect=head.version, pieces=content, removed=len(positions))
        if content.total:
            return store.commit(batch)
        with store.stage() as staging:  # no rows, which say what categories the columns have
            staging.write(rows_at(store, head, store.schema(head.schema_id), positions[:1]).slice(0, 0))
            return store.commit(batch, staging)

    return retrying(store, request, attempt, first)


def _of_filter(store: Store, head: Version, filters: Any) -> Selection:
    condition = filter_for(store, head, filters)
    if condition is None:
        raise InvalidInput("filters= is empty: say which rows are to go.")
    return lambda version: np.flatnonzero(masks_of_versions(store, [(version, condition)])[0])


def _of_rows(store: Store, head: Version, rows: Any) -> Selection:
    """Rows that were named at one version, wherever they are by now."""
    named = rows_named(store, head, rows)

    def present(version: Version) -> np.ndarray:
        parts = [
            positions if read.version == version.version else same_rows(store, read, version, positions)
            for read, positions in named
        ]
        positions = np.unique(np.concatenate(parts))
        return positions[positions >= 0]

    return present


def rows_named(store: Store, head: Version, rows: Any) -> list[tuple[Version, np.ndarray]]:
    """The rows that positions in `head`, or a frame that was read from the list, stand for, by version."""
    if isinstance(rows, (pd.DataFrame, pd.Series)):
        return _named_by(store, head, rows)
    return [(head, _positions(rows, head))]


def _named_by(
    store: Store, head: Version, frame: pd.DataFrame | pd.Series
) -> list[tuple[Version, np.ndarray]]:
    named: list[tuple[Version, np.ndarray]] = []
    for selection in resolve_rows(store, frame):
        positions = selection.positions
        if selection.version.list_id != head.list_id or positions is None:
            named = []
            break
        named.append((selection.version, np.unique(positions[positions >= 0])))
    if not named:
        raise InvalidInput(
            f"It cannot be told which rows of the list {head.list!r} those of the frame are. Give a frame that was read from "
            "it and still has its index, positions, or filters=."
        )
    return named


def _positions(rows: Any, head: Version) -> np.ndarray:
    given = validate.items(rows)
    positions = [validate.whole(row, "rows", least=0) for row in given]
    beyond = [row for row in positions if row >= head.total]
    if beyond:
        raise InvalidInput(
            f"rows= names the position {short_repr(beyond[0])}, and {head.label} has {head.total} rows."
        )
    return np.unique(np.array(positions, np.int64))
