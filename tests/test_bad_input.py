"""Every kind of bad input has an error of ours, or is kept as it is: which test shows it, and the cases that had none.

names (empty, long, controls, surrogates, NFD, marks of direction, SQL, no str): test_names.py · columns and cells (duplicates, labels,
objects, complex, vectors, documents): test_exact.py, test_frames.py, and below · filters and search texts: test_filter_texts.py,
test_fuzz.py · arguments of every call: test_arguments.py · places, links, pipes, damage: test_damage.py, test_hostile_vaults.py ·
codes, parameters, addresses with passwords: test_redact.py, test_canary.py · forks, threads, closed vaults: test_forks.py, test_locks.py
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv

DOUBLE = pd.DataFrame([[1, 2]], columns=["a", "a"])
DEEP: list = []
for _ in range(2000):
    DEEP = [DEEP]
ITSELF: dict = {}
ITSELF["me"] = ITSELF
REFUSED = {
    "columns of one name": DOUBLE,
    "mixed objects": pd.DataFrame({"a": [1, "x", object()]}),
    "functions": pd.DataFrame({"a": [len]}),
    "complex": pd.DataFrame({"a": [1j]}),
    "frames in cells": pd.DataFrame({"a": [DOUBLE]}),
    "surrogate in a text": pd.DataFrame({"a": pd.Series(["\ud800"], dtype=object)}),
    "surrogate in a label": pd.DataFrame([[1]], columns=pd.Index(["\ud800"], dtype=object)),
    "nested too deeply": pd.DataFrame({"a": [DEEP]}),
    "a cell that contains itself": pd.DataFrame({"a": [ITSELF]}),
}
KEPT = {
    "labels that are no texts": pd.DataFrame([[1, 2, 3]], columns=[0, ("a", 1), None]),
    "labels of databases": pd.DataFrame([[1, 2, 3, 4]], columns=["_key", "_id", "_tv_row", ""]),
    "labels that are code": pd.DataFrame(
        [[1, 2, 3]], columns=['x"; DROP TABLE lists; --', "a`b.c@d", "%s ${x}"]
    ),
    "integers of any size": pd.DataFrame({"a": pd.Series([2**70, -(2**200)], dtype=object)}),
    "NUL in a text": pd.DataFrame({"a": ["a\0b", "\0"]}),
    "infinities": pd.DataFrame({"a": [np.inf, -np.inf, np.nan]}),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype=object)}),
    "only missing": pd.DataFrame({"a": pd.Series([None, None], dtype=object)}),
    "years far away": pd.DataFrame({"a": np.array(["0001-01-01", "9999-12-31"], "M8[s]")}),
    "times of mixed zones": pd.DataFrame(
        {"a": pd.Series([pd.Timestamp("2020", tz="UTC"), pd.Timestamp("2021")], dtype=object)}
    ),
    "dates": pd.DataFrame({"a": [dt.date(1, 1, 1), dt.date(9999, 12, 31)]}),
    "decimals": pd.DataFrame({"a": [Decimal("1.10"), Decimal("-0")]}),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_kept_is_refused_by_name(folder_vault, kind):
    with pytest.raises(tv.VaultError) as raised:
        folder_vault.save("a", REFUSED[kind])
    assert 20 < len(str(raised.value)) < 700
    assert folder_vault.lists().empty


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_odd_comes_back_as_it_was(folder_vault, kind):
    folder_vault.save("a", KEPT[kind])
    found = folder_vault.read("a")
    assert found.columns.tolist() == KEPT[kind].columns.tolist()
    for at in range(KEPT[kind].shape[1]):
        before, after = KEPT[kind].iloc[:, at].tolist(), found.iloc[:, at].tolist()
        assert [str(each) for each in after if not pd.isna(each)] == [
            str(each) for each in before if not pd.isna(each)
        ]
        assert [pd.isna(each) for each in after] == [pd.isna(each) for each in before]


SOUGHT = [
    '"abc',
    "a AND",
    "foo-bar",
    "col:x",
    "*",
    "NEAR(",
    "a\0b",
    "(" * 5000,
    "x" * 100_000,
    "'; --",
    "\ud800",
]


@pytest.mark.parametrize("text", SOUGHT, ids=range(len(SOUGHT)))
def test_any_text_is_searched_for(folder_vault, text):
    folder_vault.save("a", [{"text": "foo bar"}, {"text": "a and b"}])
    assert set(folder_vault.search(text)["position"]) <= {0, 1}


def test_numbers_that_are_none_are_refused_or_kept(folder_vault):
    with folder_vault.session(
        "train", params={"lr": float("nan"), "big": float("inf"), "text": "a\0b", "n": np.int64(7)}
    ):
        tv.log(loss=float("nan"))
    params = folder_vault.run("train").params
    assert np.isnan(params["lr"])
    assert (params["big"], params["text"], params["n"]) == (np.inf, "a\0b", 7)
    assert folder_vault.check().empty


def test_a_filter_of_a_million_values(folder_vault):
    folder_vault.save("a", pd.DataFrame({"n": range(100)}))
    assert len(folder_vault.read("a", filters=[("n", "in", list(range(50, 1_000_000)))])) == 50


def test_a_closed_vault_says_so(here):
    vault = tv.connect(here / "v")
    handle = vault.save("a", {"n": 1})
    vault.close()
    for call in (
        vault.lists,
        handle.read,
        lambda: vault.save("a", {"n": 2}),
        lambda: vault.search("x"),
        vault.check,
    ):
        with pytest.raises(tv.VaultClosed, match="closed"):
            call()


def test_a_file_to_keep_may_be_a_link(folder_vault, here):
    (here / "note.txt").write_text("content")
    (here / "link.txt").symlink_to(here / "note.txt")
    folder_vault.save("kept", pd.DataFrame({"path": [str(here / "link.txt")]}), files="path", copy=True)
    (sha256,) = folder_vault.files("kept")["sha256"]
    assert folder_vault.open_file(sha256).read() == b"content"
