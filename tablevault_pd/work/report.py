"""Who holds and who has done which rows, as a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.keys.key import key_labels
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.reports import typed
from tablevault_pd.store.work import ClaimState
from tablevault_pd.work.gone import gone_sessions
from tablevault_pd.work.order import shown_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Store, Version
    from tablevault_pd.store.work import ClaimRecords

STATES = ("open", "held", "done")
COLUMNS = ("list", "position", "key", "state", "session", "since")


def claims(store: Store, heads: Sequence[Version]) -> pd.DataFrame:
    """One row for each row of these versions, the newest ones of their lists."""
    parts = [_claims_of(store, head) for head in heads]
    empty = pd.DataFrame({name: typed(name, []) for name in COLUMNS})
    empty["since"] = empty["since"].astype("datetime64[us, UTC]")
    return pd.concat(parts, ignore_index=True) if parts else empty


def _claims_of(store: Store, head: Version) -> pd.DataFrame:
    work = store.work(head.list_id)
    records = store.claim_records(head.list_id)
    positions = shown_order(store, head, work).positions(records.rows)
    in_force = (records.rows.generation >= 0) & (positions >= 0) & _in_force(store, head.list_id, records)
    state = np.full(head.total, ClaimState.OPEN, np.int8)
    session = np.full(head.total, -1)
    since = np.full(head.total, np.datetime64("NaT", "us"))
    for column, values in ((state, records.state), (session, records.session_id), (since, records.since)):
        column[positions[in_force]] = values[in_force]
    return pd.DataFrame(
        {
            "list": typed("list", [head.list] * head.total),
            "position": pd.array(np.arange(head.total), dtype="Int64"),
            "key": _keys(store, head),
            "state": typed("state", np.array(STATES, object)[state].tolist()),
            "session": typed("session", _labels(store, session)),
            "since": pd.Series(since).dt.tz_localize("UTC"),
        }
    )


def _in_force(store: Store, list_id: int, records: ClaimRecords) -> np.ndarray:
    """Which rows are done, or held by somebody who lives."""
    holders = store.holders(list_id)
    gone = gone_sessions(store, holders, {})
    living = {
        (state.holder.session_id, state.holder.attempt)
        for state in holders
        if not state.lost and state.holder.session_id not in gone
    }
    held = zip(records.session_id.tolist(), records.attempt.tolist(), strict=True)
    lives = np.fromiter((holder in living for holder in held), bool, len(records.state))
    in_force: np.ndarray = (records.state == ClaimState.DONE) | ((records.state == ClaimState.HELD) & lives)
    return in_force


def _labels(store: Store, session: np.ndarray) -> list[str | None]:
    """``name#run`` of each session id; None for -1."""
    ids, number = np.unique(session, return_inverse=True)
    names = {
        session.id: session.label for session in store.session_labels([int(key) for key in ids if key >= 0])
    }
    labels = [names.get(int(key)) for key in ids]
    return [labels[index] for index in number.tolist()]


def _keys(store: Store, head: Version) -> pd.Series[Any]:
    """What names each row: its key, else its label in an index of the list's own; missing where it is known by its position."""
    schema = store.schema(head.schema_id)
    key = key_labels(schema)
    if not head.total or not (key or frames.index_fields(schema)):
        return pd.Series([None] * head.total, dtype=object)
    columns = [column.label for column in frames.columns(schema) if column.label in key]
    frame = reading.read(store, head, columns=columns)
    if not key:
        return pd.Series(list(frame.index), dtype=object)
    # Nobody reads the list that map keeps beside its results.
    if not {*key} <= {*columns, *frame.index.names}:
        return pd.Series([None] * head.total, dtype=object)
    parts = [
        frame[label] if label in columns else frame.index.get_level_values(frame.index.names.index(label))
        for label in key
    ]
    return pd.Series(list(parts[0]) if len(parts) == 1 else list(zip(*parts, strict=True)), dtype=object)
