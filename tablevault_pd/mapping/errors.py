"""Errors of a mapped function that were kept, by the rows that they are of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tablevault_pd.errors import InvalidInput
from tablevault_pd.mapping.inputs import contents
from tablevault_pd.mapping.kept import (
    CONTENT,
    ERROR,
    FUNCTION,
    call_of,
    check_mapped,
    notes,
    notes_name,
    result_rows,
)
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.reports import typed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store import Store


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


def error_texts(store: Store) -> Iterator[tuple[str, str]]:
    """What is kept of errors, with the list of notes that has it: messages may quote the rows that they are of."""
    suffix = notes_name("")
    for name in store.names():
        if name.endswith(suffix):
            for text in (
                notes(store, name.removesuffix(suffix)).get("traceback", pd.Series(dtype="str")).dropna()
            ):
                yield name, text
