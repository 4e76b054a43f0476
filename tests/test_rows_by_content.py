"""Rows whose labels may be numbers of groups are told by their content, of whatever type: the rows read, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from tablevault_pd.errors import InvalidInput
from tablevault_pd.frames import encode, select

if TYPE_CHECKING:
    import tablevault_pd as tv

WORDS = ["sun", "rain", None, "fog"]
CELLS = {
    "integers": np.array([3, 1, 2, 5]),
    "floats": np.array([0.5, np.nan, -0.0, np.inf]),
    "nullable": pd.array([1, None, 3, 4], dtype="Int64"),
    "bools": np.array([True, False, True, True]),
    "texts": pd.array(WORDS, dtype="str"),
    "categories": pd.Categorical(WORDS, categories=["rain", "sun", "fog", "snow"]),
    "times": pd.to_datetime(["2026-01-01", None, "2026-01-03", "2026-01-04"], utc=True),
    "spans": pd.to_timedelta([1, None, 3, 4], unit="h"),
    "objects": np.array(["a", 1, None, (1, 2)], object),
    "vectors": [np.array([1.0, number]) for number in range(4)],
}


def positions(frame: pd.DataFrame) -> list[int | None]:
    """Which rows of the list these are."""
    return [None if pd.isna(ref) else ref.position for ref in frame.vault.refs]


@pytest.mark.parametrize("name", CELLS)
def test_rows_are_told_by_their_cells(folder_vault: tv.Vault, name: str) -> None:
    folder_vault.save("given", pd.DataFrame({"cell": CELLS[name], "number": np.arange(4)}))
    given = folder_vault.read("given")
    for rows in ([1], [0, 2], [1, 2, 3]):
        some = given.iloc[rows]
        assert positions(some) == rows
        # As the sums of groups would be, whose numbers are in the place of positions.
        assert positions(some.assign(cell="other", number=some["number"] + 10)) == [None] * len(rows)
        assert positions(some[["number"]]) == rows


def test_a_part_of_a_schema_is_made_once_and_its_labels_keep_their_type() -> None:
    table = encode(pd.DataFrame([[1, 2, 3]], columns=pd.Index([1, "1", "a"], dtype=object)))
    assert select(table.schema, ["a", "1"]) is select(table.schema, ["a", "1"])
    assert select(table.schema, ["1", "a"]).names == select(table.schema, ["a", "1"]).names[::-1]
    assert select(table.schema, [1]).names != select(table.schema, ["1"]).names
    for _ in range(2):
        with pytest.raises(InvalidInput, match="'b'"):
            select(table.schema, ["b"])
