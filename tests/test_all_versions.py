"""read(versions="all"): every version, one below the other, with a number for each row that it keeps through versions."""

from __future__ import annotations

import itertools
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Iterator


def _all(vault: tv.Vault, name: str, **options: object) -> list[list[object]]:
    frame = vault.read(name, versions="all", **options)
    assert frame.columns.tolist()[:2] == ["version", "row"]
    assert frame[["version", "row"]].dtypes.tolist() == [np.int64, np.int64]
    return frame.to_numpy().tolist()


def test_versions_one_below_the_other(vault):
    vault.save("prompts", pd.DataFrame({"text": ["be brief", "be kind"]}))
    vault.save("prompts", pd.DataFrame({"text": ["be kind", "be exact"]}))
    vault.append("prompts", {"text": "be brief"})
    vault.delete("prompts")
    vault.restore("prompts", 1)
    expected = [
        [1, 0, "be brief"], [1, 1, "be kind"],
        [2, 1, "be kind"], [2, 2, "be exact"],
        [3, 1, "be kind"], [3, 2, "be exact"], [3, 0, "be brief"],
        [5, 0, "be brief"], [5, 1, "be kind"],
    ]  # fmt: skip
    assert _all(vault, "prompts") == expected
    frame = tv.read("prompts", versions="all")
    assert frame.index.name == "position"
    assert frame.index.tolist() == [0, 1, 0, 1, 0, 1, 2, 0, 1]
    assert frame["text"].dtype == tv.read("prompts")["text"].dtype
    assert vault["prompts"].read(versions="all").equals(frame)
    kind = [[version, 1, "be kind"] for version in (1, 2, 3, 5)]
    assert _all(vault, "prompts", filters="text == 'be kind'") == kind
    assert _all(vault, "prompts", columns=[], filters="text == 'be exact'") == [[2, 2], [3, 2]]
    assert _all(vault, "prompts", start=-1) == [
        [1, 1, "be kind"],
        [2, 2, "be exact"],
        [3, 0, "be brief"],
        [5, 1, "be kind"],
    ]
    assert set(vault.sessions()["reads"][0]) == {f"prompts@{n}" for n in (1, 2, 3, 5)}


def test_equal_rows_are_matched_in_order(folder_vault):
    for values in ([7, 7, 1], [1, 7, 7, 7], [7]):
        folder_vault.save("a", pd.DataFrame({"x": values}))
    assert _all(folder_vault, "a") == [
        [1, 0, 7], [1, 1, 7], [1, 2, 1],
        [2, 2, 1], [2, 0, 7], [2, 1, 7], [2, 3, 7],
        [3, 0, 7],
    ]  # fmt: skip


def test_columns_that_come_and_go(vault):
    vault.save("a", pd.DataFrame({"x": [1, 2], "old": ["p", "q"]}))
    vault.append("a", pd.DataFrame({"x": [3.5], "new": [True]}))
    vault.save("a", pd.DataFrame({"new": [True, False], "x": [3.5, 1.0]}))
    frame = vault.read("a", versions="all")
    newest = vault.read("a")
    assert frame.columns.tolist() == ["version", "row", "new", "x", "old"]
    assert frame["x"].dtype == newest["x"].dtype == np.float64
    assert frame["row"].tolist() == [0, 1, 0, 1, 2, 3, 4]  # a column that was removed changes every row
    assert frame["x"].tolist() == [1.0, 2.0, 1.0, 2.0, 3.5, 3.5, 1.0]
    assert frame["new"].isna().tolist() == [True] * 4 + [False] * 3
    assert frame["old"].isna().tolist() == [False] * 4 + [True] * 3
    assert vault.read("a", versions="all", filters="old == 'q'", columns=["x"])["row"].tolist() == [1, 1]
    with pytest.raises(tv.InvalidInput, match="newer"):
        vault.read("a", versions="all", columns=["newer"])


def test_types_that_do_not_fit_together_are_named(vault):
    vault.save("a", pd.DataFrame({"x": [1], "y": [1]}))
    vault.save("a", pd.DataFrame({"x": ["one"], "y": [2]}))
    with pytest.raises(
        tv.SchemaMismatch, match=r"(?s)The versions of 'a' do not fit into one frame: .*'x'"
    ) as raised:
        vault.read("a", versions="all")
    assert "columns=" in str(raised.value)
    assert vault.read("a", versions="all", columns=["y"])["y"].tolist() == [1, 2]
    assert vault.read("a", versions="all", columns=["y"], filters="y > 1")["row"].tolist() == [1]


def test_values_that_a_wider_type_would_change_are_refused(folder_vault):
    folder_vault.save("a", pd.DataFrame({"x": [2**53 + 1]}))
    folder_vault.save("a", pd.DataFrame({"x": [0.5]}))
    with pytest.raises(tv.SchemaMismatch, match="x"):
        folder_vault.read("a", versions="all")


def test_indexes_categories_and_references(vault):
    index = pd.Index(["u", "v"], name="user")
    vault.save("a", pd.DataFrame({"c": pd.Categorical(["p", "q"])}, index=index))
    vault.save("a", pd.DataFrame({"c": pd.Categorical(["q", "r"])}, index=index))
    frame = vault.read("a", versions="all", refs="origin")
    assert frame.index.equals(index.append(index))
    assert frame["c"].tolist() == ["p", "q", "q", "r"]
    assert (
        frame["origin"].astype(str).tolist() == ["a@1[0]", "a@1[1]", "a[0]", "a[1]"]
        or frame["origin"].notna().all()
    )
    vault.save("derived", frame.query("row == 1 and version == 1"))
    assert vault.lineage("derived")[["parent_version", "parent_position"]].to_numpy().tolist() == [[1, 1]]


def test_vacuumed_versions_are_left_out_with_a_warning(vault):
    for number in range(3):
        vault.save("a", {"x": number})
    vault.vacuum(keep=2, dry_run=False)
    with pytest.warns(RuntimeWarning, match="versions 1 of 'a' were removed by vacuum"):
        assert _all(vault, "a") == [[2, 0, 1], [3, 1, 2]]


def test_what_excludes_all_versions_is_refused(folder_vault):
    folder_vault.save("a", {"x": 1})
    folder_vault.save("b", {"version": 1, "x": 2})
    folder_vault.tag("a@1", "best")
    for name, options in [
        ("a", {"version": 1}), ("a", {"as_of": "2026-01-01"}), ("a@1", {}), ("a@best", {}), ("a", {"refs": 5}), ("a", {"refs": "x"}),
    ]:  # fmt: skip
        with pytest.raises(tv.InvalidInput):
            folder_vault.read(name, versions="all", **options)
    for wrong in ("every", 1, [1], True):
        with pytest.raises(tv.InvalidInput, match="versions="):
            folder_vault.read("a", versions=wrong)
    with pytest.raises(tv.InvalidInput, match="has a column 'version'"):
        folder_vault.read("b", versions="all")
    assert _all(folder_vault, "b", columns=["x"]) == [[1, 0, 2]]
    with pytest.raises(tv.ListNotFound):
        folder_vault.read("none", versions="all")
    folder_vault.delete("a")
    with pytest.raises(tv.ListDeleted):
        folder_vault.read("a", versions="all")


def test_a_named_index_says_which_row_is_which(vault):
    """As for compare; where it has a label twice, and where it has no name, the content does."""
    for version, cells in enumerate(([1, 2], [1, 3], [5, 3]), 1):
        vault.save("marks", pd.DataFrame({"x": cells}, index=pd.Index(["a", "b"], name="item")))
        vault.save("plain", pd.DataFrame({"x": cells}, index=["a", "b"]), inputs=False)
        frame = vault.read("marks", versions="all")
        assert frame["row"].tolist() == [0, 1] * version
    vault.append("marks", pd.DataFrame({"x": [7]}, index=pd.Index(["c"], name="item")))
    assert vault.read("marks", versions="all")["row"].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 2]
    changed = vault.read("marks", versions="all").groupby("row")["x"].nunique() > 1
    assert changed.tolist() == [True, True, False]
    compared = vault.compare("marks@1", "marks")
    assert compared["status"].tolist() == ["changed", "changed", "added"]
    assert vault.read("plain", versions="all")["row"].tolist() == [0, 1, 0, 2, 3, 2]
    vault.append("marks", pd.DataFrame({"x": [9]}, index=pd.Index(["a"], name="item")), inputs=False)
    assert vault.read("marks", versions="all")["row"].tolist()[9:] == [0, 1, 2, 3]
    vault.save("marks", pd.DataFrame({"x": [7, 6]}, index=pd.Index(["c", "a"], name="item")), key="item")
    assert vault.read("marks", versions="all")["row"].tolist()[13:] == [2, 0]


CELLS = st.lists(st.integers(0, 3), max_size=5)


@settings(max_examples=times(25))
@given(st.lists(st.tuples(st.sampled_from(["save", "append"]), CELLS), min_size=1, max_size=6))
def test_numbers_are_those_of_a_plain_count(steps):
    """The n-th row of equal content has the same number in every version."""
    numbers: dict[tuple[int, int], int] = {}
    expected, content, version = [], None, 0
    with _new_vault() as vault:
        for operation, values in steps:
            after = values if operation == "save" or content is None else content + values
            made = (
                vault.save("a", _frame(values)) if operation == "save" else vault.append("a", _frame(values))
            )
            content = after
            if made.version == version:
                continue
            version = made.version
            seen: dict[int, itertools.count] = {}
            for value in content:
                key = value, next(seen.setdefault(value, itertools.count()))
                expected.append([version, numbers.setdefault(key, len(numbers)), value])
        assert vault.read("a", versions="all").to_numpy().tolist() == expected


@contextmanager
def _new_vault() -> Iterator[tv.Vault]:
    with (
        tempfile.TemporaryDirectory() as folder,
        tv.connect(Path(folder) / "v", session=False, durability="fast") as vault,
    ):
        yield vault


def _frame(values: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"x": np.array(values, np.int64)})
