"""Frames of arrays, by what pandas has for itself and by its public calls: equal, writable, and no Series made on the way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tablevault_pd import frames
from tablevault_pd.frames import codecs

MIXED = pd.DataFrame(
    {
        "n": [1, 2],
        "m": [3, 4],
        "x": [0.5, np.nan],
        "text": ["a", None],
        "any": pd.Series(["a", 1], dtype=object),
        "when": pd.to_datetime(["2026-01-01", None], utc=True),
        "day": pd.to_datetime(["2026-01-01", None]),
        "kind": pd.Categorical(["u", "v"]),
        "yes": [True, False],
        "maybe": pd.array([1, None], dtype="Int64"),
    }
)


@pytest.fixture(params=["of pandas itself", "public"])
def way(request, monkeypatch) -> str:
    if request.param == "public":
        monkeypatch.setattr(codecs, "_ITER", "no such method")
        monkeypatch.setattr(codecs, "_OF", "no such method")
    return request.param


@pytest.mark.parametrize("columns", [MIXED.columns, pd.MultiIndex.from_product([["t"], MIXED.columns])])
def test_a_frame_of_its_own_arrays_is_equal_and_may_be_written_to(way, columns):
    frame = MIXED.set_axis(columns, axis=1)
    arrays = frames.arrays_of(frame)
    assert [array.dtype for array in arrays] == frame.dtypes.to_list()
    assert all(
        isinstance(array, np.ndarray) == isinstance(array.dtype, np.dtype) or array.dtype.kind == "M"
        for array in arrays
    )
    again = frames.frame_of([array.copy() for array in arrays], columns, frame.index)
    pd.testing.assert_frame_equal(again, frame)
    for number in range(frame.shape[1]):
        again.iloc[0, number] = again.iloc[1, number]
    assert again.iloc[0].astype(str).tolist() == frame.iloc[1].astype(str).tolist()


def test_what_was_found_is_equal_and_may_be_written_to(way, folder_vault):
    vault = folder_vault
    rows = pd.DataFrame({"id": [1, 2], "text": ["Storm at sea", "Sunny"], "vec": [[1.0, 0.0], [0.0, 1.0]]})
    vault.save("rows", rows, documents=["text"])
    vault.save("child", vault.read("rows").iloc[[1]])
    found = vault.search("storm", near=[1.0, 0.1], columns=["id", "text"], lists="rows")
    assert found["value"].dtype == found["column"].dtype == object
    assert found["id"].tolist() == [1, 2]
    parents = vault.read("child").iloc[[0]].vault.parents()
    assert parents[["parent_list", "parent_position"]].to_numpy().tolist() == [["rows", 1]]
    for frame in (found, parents):
        frame.columns.name = "mine"
        for name in frame.columns:
            if name not in ("value", "ref", "kind"):
                frame.loc[frame.index[0], name] = frame[name].iloc[-1]
    assert vault.search("storm").columns.name is None
    assert vault.read("child").vault.parents().columns.name is None


def test_columns_of_answers_and_of_saved_frames_become_no_series(folder_vault, monkeypatch):
    vault = folder_vault
    if not hasattr(pd.DataFrame, codecs._ITER):
        pytest.skip("this pandas has no such method")
    rows = pd.DataFrame({f"c{number}": np.arange(3.0) for number in range(50)})
    vault.save("rows", rows)
    vault.save("child", vault.read("rows").iloc[[0, 2]])
    row = vault.read("child").iloc[[1]]
    made: list[object] = []
    init = pd.Series.__init__
    items = pd.DataFrame.items
    monkeypatch.setattr(pd.Series, "__init__", lambda self, *a, **k: made.append(a) or init(self, *a, **k))
    monkeypatch.setattr(pd.DataFrame, "items", lambda self: made.append(self) or items(self))
    assert row.vault.parents()["parent_position"].tolist() == [2]
    assert len(made) < 10
    made.clear()
    vault.save("other", rows, inputs=False)
    assert len(made) < 10
