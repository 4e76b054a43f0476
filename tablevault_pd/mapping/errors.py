"""Errors of a mapped function that were kept, by the rows that they are of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput
from tablevault_pd.keys.mapped import (
    CONTENT,
    ERROR,
    FUNCTION,
    call_of,
    check_mapped,
    notes,
    notes_name,
    result_rows,
)
from tablevault_pd.mapping.inputs import contents
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.reports import typed

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from tablevault_pd.store import Store, Version


def errors(store: Store, name: str) -> pd.DataFrame:
    """The errors of the function that made a list last, one line for each input. Raises InvalidInput for a list of another kind."""
    call = call_of(store, name)
    if call is None:
        raise InvalidInput(f"The list {name!r} was not made by map, so it has no errors.")
    errors_kept = notes(store, name)
    errors_kept = errors_kept[(errors_kept["outcome"] == ERROR) & (errors_kept[FUNCTION] == call["number"])]
    rows = result_rows(store, check_mapped(store, name))
    errors_kept = errors_kept[~errors_kept[CONTENT].isin(rows.loc[rows[FUNCTION] == call["number"], CONTENT])]
    head = store.head(call["list"])
    if call["options"] is not None and head is not None and not head.deleted:
        now = contents(reading.read(store, head, columns=json.loads(call["options"])["columns"]))
        present = pd.DataFrame({CONTENT: now, "position": np.arange(len(now))})
        errors_kept = errors_kept.drop(columns="position").merge(present, on=CONTENT)
    errors_kept = errors_kept.sort_values("position")
    return pd.DataFrame(
        {
            "list": typed("list", [call["list"]] * len(errors_kept)),
            "position": pd.array(errors_kept["position"].tolist(), dtype="Int64"),
            "error": typed("error", errors_kept["error"].tolist()),
            "traceback": typed("traceback", errors_kept["traceback"].tolist()),
            "attempts": pd.array(errors_kept["attempts"].tolist(), dtype="Int64"),
        }
    )


def notes_on_rows(
    store: Store, name: str, selections: Sequence[tuple[Version, np.ndarray]]
) -> Iterator[tuple[Version, np.ndarray]]:
    """What is kept of rows of a list that a function was mapped over, and of rows equal to them: notes, by their positions."""
    for mapped in _mapped_lists(store):
        call = call_of(store, mapped)
        notes_head = store.head(notes_name(mapped))
        if call is None or call["list"] != name or notes_head is None or notes_head.deleted:
            continue
        note_contents = notes(store, mapped)[CONTENT].to_numpy(np.int64)
        columns = None if call["options"] is None else json.loads(call["options"])["columns"]
        gone = [_contents_at(store, version, positions, columns) for version, positions in selections]
        positions = np.flatnonzero(np.isin(note_contents, np.concatenate(gone)))
        if len(positions):
            yield notes_head, positions


def _contents_at(
    store: Store, version: Version, positions: np.ndarray, columns: list[Hashable] | None
) -> np.ndarray:
    """The contents of some rows, as a function of these columns got them; none if the version lacks one of them."""
    present = set(frames.field_labels(store.schema(version.schema_id)).values())
    if columns is not None and not present.issuperset(columns):
        return np.empty(0, np.int64)
    [frame] = reading.take(store, [(version, positions, columns)])
    return contents(frame)


def _mapped_lists(store: Store) -> list[str]:
    suffix = notes_name("")
    return [name.removesuffix(suffix) for name in store.names() if name.endswith(suffix)]


def error_texts(store: Store) -> Iterator[tuple[str, str]]:
    """What is kept of errors, with the list of notes that has it: messages may quote the rows that they are of."""
    for mapped in _mapped_lists(store):
        for text in notes(store, mapped).get("traceback", pd.Series(dtype="str")).dropna():
            yield notes_name(mapped), text
