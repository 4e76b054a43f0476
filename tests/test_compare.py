"""vault.compare, differences and gates: the rules R14 to R17, on each store."""

from __future__ import annotations

import pickle

import generated
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torture.harness import times
from warm import script

import tablevault_pd as tv
from tablevault_pd.analysis.code_changes import code_changes
from tablevault_pd.code import Piece, Slicer, code_diff


def preds(**columns):
    return pd.DataFrame(
        {"id": [1, 2, 3, 4], "gold": ["a", "b", "c", "d"], "pred": ["a", "b", "x", "x"]} | columns
    )


def save_two(vault, a, b, name="preds", **options):
    return vault.save(name, a, **options), vault.save(name, b, **options)


# ---------------------------------------------------------------- R14: alignment


def test_r14_rows_are_aligned_on_columns(vault):
    a, b = save_two(
        vault, preds(), preds(id=[4, 3, 9, 1], pred=["d", "x", "q", "a"], gold=["d", "c", "z", "a"])
    )
    found = vault.compare(a, b, on="id", measure="gold == pred")
    assert isinstance(found, tv.Comparison)
    assert found.index.tolist() == [1, 2, 3, 4, 9]
    assert found.index.name == "id"
    assert found["status"].tolist() == ["same", "removed", "same", "changed", "added"]
    flips = found["flip"].astype(object).where(found["flip"].notna(), None).tolist()
    assert flips == ["same_right", None, "same_wrong", "fixed", None]
    assert found.loc[4, ["pred_a", "pred_b"]].tolist() == ["x", "d"]
    assert list(found.columns[:4]) == ["status", "flip", "measure_a", "measure_b"]


def test_r14_integers_stay_integers_where_rows_are_missing(vault):
    big = 2**53 + 1
    a, b = save_two(vault, pd.DataFrame({"id": [1, 2], "n": [big, 5]}), pd.DataFrame({"id": [1], "n": [big]}))
    found = vault.compare(a, b, on="id")
    assert str(found["n_b"].dtype) == "Int64"
    assert found.loc[1, "n_b"] == big
    assert pd.isna(found.loc[2, "n_b"])
    assert vault.compare(a, a, on="id")["n_b"].dtype == np.int64


def test_r14_the_named_index_is_the_default(vault):
    a, b = save_two(vault, preds().set_index("id"), preds(pred=["a", "b", "c", "x"]).set_index("id"))
    found = vault.compare("preds@1", b)
    assert found.index.tolist() == [1, 2, 3, 4]
    assert found["status"].tolist() == ["same", "same", "changed", "same"]
    assert found.equals(vault.compare(a, b, on="id"))


def test_r14_without_an_index_rows_meet_at_their_ancestor(vault):
    vault.save("questions", preds()[["gold"]])
    order = [3, 0, 2, 1]
    a = vault.save("preds", vault.read("questions").assign(pred=["a", "b", "x", "x"]))
    b = vault.save("preds", vault.read("questions").iloc[order].assign(pred=["d", "a", "c", "x"]))
    found = vault.compare(a, b, measure="gold == pred")
    assert found.index.name == "ancestor"
    assert [str(each) for each in found.index] == [f"questions[{at}]" for at in range(4)]
    assert found["flip"].tolist() == ["same_right", "broken", "fixed", "fixed"]
    assert found.equals(vault.compare(a, b, on="lineage", measure="gold == pred"))


def test_r14_a_row_is_the_same_row_in_a_later_version_of_its_list(vault):
    vault.save("questions", pd.DataFrame({"gold": ["a", "b", "c"]}))
    a = vault.save("preds", vault.read("questions").assign(pred=["a", "b", "c"]))
    vault.save("questions", pd.DataFrame({"gold": ["new", "a", "c"]}))  # one came, one went, one moved
    b = vault.save("preds", vault.read("questions").assign(pred=["q", "x", "c"]))
    found = vault.compare(a, b, measure="gold == pred")
    assert sorted(found["status"]) == ["added", "changed", "removed", "same"]
    assert found.loc[found["status"] == "changed", "gold_a"].tolist() == ["a"]
    assert found.loc[found["status"] == "same", "gold_b"].tolist() == ["c"]


def test_r14_a_key_names_a_row_whose_content_changed(vault):
    questions = pd.DataFrame({"gold": ["a", "b"]}, index=pd.Index([10, 20], name="qid"))
    vault.save("questions", questions)
    a = vault.save(
        "preds",
        vault.read("questions").reset_index(drop=True).assign(pred=["a", "b"]),
        inputs=tv.rows(vault.read("questions")),
    )
    vault.save("questions", questions.assign(gold=["a", "z"]))
    b = vault.save(
        "preds",
        vault.read("questions").reset_index(drop=True).assign(pred=["a", "b"]),
        inputs=tv.rows(vault.read("questions")),
    )
    found = vault.compare(a, b, on="lineage")
    assert found["status"].tolist() == ["same", "changed"]
    assert found[["gold_a", "gold_b"]].iloc[1].tolist() == ["b", "z"]


def test_r14_the_key_of_a_list_names_its_rows(vault):
    rows = pd.DataFrame({"id": [1, 2, 3, 4], "right": [True, True, False, False]})
    saved = vault.save("preds", rows, inputs=False)  # from before the list had a key
    vault.upsert("preds", rows.iloc[[2]].assign(right=True), key="id", inputs=False)
    vault.delete_rows("preds", filters="id == 1")
    new = vault.upsert("preds", {"id": 9, "right": True}, inputs=False)
    compared = vault.compare(saved, new, measure="right")
    assert compared.index.tolist() == [1, 2, 3, 4, 9]
    assert compared["status"].tolist() == ["removed", "same", "changed", "same", "added"]
    assert compared["flip"].dropna().tolist() == ["same_right", "fixed", "same_wrong"]
    assert compared.equals(vault.compare(saved, new, on="id", measure="right"))
    assert vault.compare("preds@2", vault.read("preds").query("id > 2"), measure="right")["status"].tolist() == [
        "removed", "removed", "same", "same", "added"
    ]  # fmt: skip


def test_r15_a_row_that_an_upsert_changed_is_no_ancestor_of_itself(vault):
    vault.save("prices", pd.DataFrame({"k": [1, 2, 3], "x": [1.0, 2.0, 3.0]}), key="k")
    rows = vault.read("prices")
    vault.upsert("prices", rows.assign(x=[1.0, 5.0, 3.0]))
    vault.upsert("prices", rows.iloc[[2]].assign(x=9.0))
    for a, b in (("prices@1", "prices@2"), ("prices@2", "prices@3"), ("prices@3", "prices@2")):
        why = vault.compare(a, b, measure="x").why()
        assert len(why)
        assert not why["what"].isin(["row added", "row removed"]).any()
    # another row of the list that one was made from is one
    vault.upsert("prices", vault.read("prices").iloc[[0]].assign(k=2))
    why = vault.compare("prices@1", "prices@4", measure="x").why()
    assert why.query("what == 'row added'")["b"].tolist() == ["prices@3[0]"]


def test_r14_rows_meet_at_ancestors_that_a_key_names(vault):
    questions = pd.DataFrame({"qid": [10, 20], "gold": ["a", "b"]})
    vault.upsert("questions", questions, key="qid")
    a = vault.read("questions")[["gold"]].assign(pred=["a", "b"]).vault.save("preds")
    vault.save("questions", questions.iloc[::-1].assign(gold=["z", "a"]))
    b = vault.read("questions")[["gold"]].assign(pred=["b", "a"]).vault.save("preds")
    compared = vault.compare(a, b, measure="gold == pred")
    assert compared[["gold_a", "gold_b"]].to_numpy().tolist() == [["a", "a"], ["b", "z"]]
    assert compared.why().query("what == 'row changed'")[
        ["name", "a", "b", "row_a", "row_b"]
    ].to_numpy().tolist() == [["gold", "b", "z", "questions@1[1]", "questions@2[0]"]]


def test_r14_rows_meet_at_ancestors_that_were_erased(vault):
    vault.save("questions", pd.DataFrame({"q": ["p", "r", "s"], "gold": [0, 1, 1]}))
    for answers in ([0, 0, 1], [0, 1, 1]):
        vault.read("questions")[["gold"]].assign(pred=answers).vault.save("preds")
    vault.erase("questions", rows=[1])
    found = vault.compare("preds@1", "preds@2", measure="gold == pred")
    assert [str(ref) for ref in found.index] == ["questions[0]", "questions[1]", "questions[2]"]
    assert found["flip"].tolist() == ["same_right", "fixed", "same_right"]
    assert "row changed" not in found.why()["what"].tolist()


def test_r14_what_all_rows_came_from_tells_none_apart(vault):
    vault.save("items", pd.DataFrame({"x": [5, 6, 7, 8]}), inputs=False)
    items = vault.read("items")
    train = items.iloc[:2]
    made = [
        vault.save(
            "preds",
            pd.DataFrame({"pred": pred}),
            inputs=[tv.rows(items.iloc[rows]), train],
        )
        for rows, pred in (([2, 3], ["a", "b"]), ([3, 2], ["b", "z"]))
    ]
    found = vault.compare(*made)
    assert found[["pred_a", "pred_b"]].to_numpy().tolist() == [["a", "z"], ["b", "b"]]
    trend = vault.trend("preds", "pred == 'b'", baseline="previous")
    assert trend["n_pairs"].tolist() == [0, 2]


def test_r14_predictions_for_the_training_set_too_have_their_own_rows(vault):
    vault.save("items", pd.DataFrame({"x": [5, 6, 7]}), inputs=False)
    items = vault.read("items")
    inputs = [tv.rows(items), items.iloc[:2]]
    made = save_two(
        vault, pd.DataFrame({"pred": [1, 2, 2]}), pd.DataFrame({"pred": [2, 2, 2]}), inputs=inputs
    )
    assert vault.compare(*made)[["pred_a", "pred_b"]].to_numpy().tolist() == [[1, 2], [2, 2], [2, 2]]


def test_r14_folds_that_share_their_training_sets_are_neither_refused_nor_walked_pair_by_pair(
    vault, monkeypatch
):
    from tablevault_pd.analysis import ancestors

    size, folds = 600, 5
    vault.save("items", pd.DataFrame({"x": range(size)}), inputs=False)
    items = vault.read("items")
    made = []
    for name in ("one", "two"):
        for fold in range(folds):
            test = np.arange(size) % folds == fold
            rows = pd.DataFrame({"pred": np.flatnonzero(test) % (7 if name == "one" else 5)})
            vault.append(name, rows, inputs=[tv.rows(items[test]), items[~test]])
        made.append(vault[name])
    walked = []
    lines = ancestors.lines
    monkeypatch.setattr(
        ancestors, "lines", lambda *args, **options: walked.append(lines(*args, **options)) or walked[-1]
    )
    found = vault.compare(*made)
    assert len(found) == size
    number = np.concatenate([np.flatnonzero(np.arange(size) % folds == fold) for fold in range(folds)])
    assert found["pred_a"].tolist() == (number % 7).tolist()
    assert found["pred_b"].tolist() == (number % 5).tolist()
    assert max(map(len, walked)) == size


def test_r14_by_position(vault):
    a, b = save_two(vault, pd.DataFrame({"x": [1, 2]}), pd.DataFrame({"x": [1, 3, 4]}))
    found = vault.compare(a, b, on="position")
    assert found["status"].tolist() == ["same", "changed", "added"]
    assert found.index.name == "position"


def test_r14_a_column_called_position_is_named_in_a_list(vault):
    a, b = save_two(
        vault,
        pd.DataFrame({"position": [7, 8], "x": [1, 2]}),
        pd.DataFrame({"position": [8, 7], "x": [2, 3]}),
    )
    assert vault.compare(a, b, on=["position"])["status"].tolist() == ["changed", "same"]


def test_r14_nothing_says_how_is_an_error_that_says_so(vault):
    a, b = save_two(vault, pd.DataFrame({"word": ["x"]}), pd.DataFrame({"word": ["y"]}), inputs=False)
    with pytest.raises(tv.InvalidInput, match=r"no named index in common.*on='word'.*on='position'"):
        vault.compare(a, b)


def test_r14_rows_of_equal_content_are_no_pairs(vault):
    """Only what did not change would meet, and every gate would pass."""
    a, b = save_two(
        vault,
        pd.DataFrame({"right": [True] * 9}),
        pd.DataFrame({"right": [True] * 5 + [False] * 4}),
        inputs=False,
    )
    with pytest.raises(tv.InvalidInput, match="on='position'"):
        vault.compare(a, b, measure="right")


def test_r14_a_version_made_from_the_other_one(vault):
    a = vault.save("marks", pd.DataFrame({"right": [True, False, True]}))
    b = vault.save("marks", vault.read("marks").iloc[[2, 1]].assign(right=[False, False]))
    found = vault.compare(a, b, measure="right")
    assert found["status"].tolist() == ["removed", "same", "changed"]
    assert found["flip"].tolist()[1:] == ["same_wrong", "broken"]


def test_r14_duplicate_keys_are_named(vault):
    a, b = save_two(vault, preds(id=[1, 7, 7, 4]), preds())
    with pytest.raises(tv.InvalidInput, match=r"preds@1 has keys more than once in 'id': 7 \(rows 1, 2\)"):
        vault.compare(a, b, on="id")
    assert len(vault.compare(a, b, on=["id", "gold"])) == 6


def test_r14_rows_with_one_ancestor_are_named(vault):
    vault.save("questions", pd.DataFrame({"words": [["a", "b"], ["c"]]}))
    exploded = vault.read("questions").explode("words")
    a = vault.save("words", exploded.assign(n=[1, 2, 3]))
    b = vault.save("words", exploded.assign(n=[4, 5, 6]))
    with pytest.raises(
        tv.InvalidInput,
        match=r"words@1 come from the same row of 'questions': questions@1\[0\] \(rows 0, 1\)",
    ):
        vault.compare(a, b, on="lineage")


def test_r14_keys_of_other_kinds_never_match(vault):
    a, b = save_two(vault, preds(), preds(id=["1", "2", "3", "4"]))
    with pytest.raises(
        tv.InvalidInput, match=r"The key 'id' is int64 in preds@1 and (str|object) in preds@2"
    ):
        vault.compare(a, b, on="id")


@pytest.mark.parametrize("cells", [[{"a": 1}, {"a": 2}], [[1.0, 2.0], [3.0, 4.0]]], ids=["dict", "vector"])
def test_r14_cells_that_are_no_keys_are_refused(vault, cells):
    a, b = save_two(vault, *(pd.DataFrame({"id": [1, 2], "x": cells, "v": v}) for v in ([1, 2], [1, 3])))
    with pytest.raises(tv.InvalidInput, match="on= names 'x'"):
        vault.compare(a, b, on="x")
    with pytest.raises(tv.InvalidInput, match="by= names 'x'"):
        _ = vault.compare(a, b, on="id", measure="v", by="x").summary


def test_r14_nan_equals_nan_and_keys_may_be_missing(vault):
    rows = pd.DataFrame(
        {"id": [1.0, np.nan], "x": [np.nan, 2.0], "y": pd.array([None, 3], "Int64"), "z": [None, "q"]}
    )
    a, b = save_two(vault, rows, rows.iloc[::-1])
    assert vault.compare(a, b, on="id")["status"].tolist() == ["same", "same"]


def test_r14_numbers_beyond_two_to_the_53_are_compared_exactly(folder_vault):
    big = 2**53
    a, b = save_two(
        folder_vault,
        pd.DataFrame({"id": [big + 1, big], "x": [big + 1, big + 2]}),
        pd.DataFrame({"id": [big + 1, big], "x": [big, big + 2]}),
    )
    assert folder_vault.compare(a, b, on="id", atol=0.5)["status"].tolist() == ["changed", "same"]
    assert folder_vault.compare(a, b, on="id", atol=1)["status"].tolist() == ["same", "same"]
    assert folder_vault.compare(a, b, on="id", measure="x")["flip"].tolist() == ["down", "same"]
    floats = folder_vault.save("floats", pd.DataFrame({"id": [float(big), np.nan], "x": [big, 7]}))
    found = folder_vault.compare(a, floats, on="id")
    assert found["status"].tolist() == ["removed", "changed", "added"]
    assert found.index[:2].tolist() == [big + 1, big]
    assert found["x_a"].tolist()[:2] == [big + 1, big + 2]
    both = folder_vault.save("both", pd.DataFrame({"id": [float(big)], "x": [big + 2]}))
    assert folder_vault.compare(a, both, on=["id", "x"])["status"].tolist() == ["removed", "same"]


def test_r14_tolerances(vault):
    a, b = save_two(
        vault,
        pd.DataFrame({"id": [1, 2, 3], "x": [1.0, 100.0, np.inf]}),
        pd.DataFrame({"id": [1, 2, 3], "x": [1.01, 101.0, np.inf]}),
    )
    states = {
        tolerance: vault.compare(a, b, on="id", **dict([tolerance]))["status"].tolist()
        for tolerance in [("rtol", 0.0), ("atol", 0.02), ("rtol", 0.02)]
    }
    assert states["rtol", 0.0] == ["changed", "changed", "same"]
    assert states["atol", 0.02] == ["same", "changed", "same"]
    assert states["rtol", 0.02] == ["same", "same", "same"]
    assert vault.compare(a, b, on="id", measure="x", rtol=0.02)["flip"].tolist() == ["same"] * 3


def test_r14_vectors_by_cosine_distance(vault):
    a, b = save_two(
        vault,
        pd.DataFrame({"id": [1, 2, 3, 4], "vec": [[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]}),
        pd.DataFrame({"id": [1, 2, 3, 4], "vec": [[1.0, 0.0], [2.0, 0.0], [0.0, -1.0], [1.0, 1.1]]}),
    )
    exact, near = vault.compare(a, b, on="id"), vault.compare(a, b, on="id", atol=0.01)
    assert exact["vec_distance"].tolist() == pytest.approx([0.0, 0.0, 2.0, 0.00113], abs=1e-4)
    assert exact["status"].tolist() == ["same", "changed", "changed", "changed"]  # 0: bit for bit
    assert near["status"].tolist() == ["same", "same", "changed", "same"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (pd.Series([1, 2]), pd.Series([1.0, 2.0])),
        (pd.Series([1, 2]), pd.Series(["1", "2"])),
        (pd.Series([1, 2]), pd.array([1, 2], "Int64")),
        (pd.Series(["x", "y"]), pd.Categorical(["x", "y"])),
        (pd.Series(["x", "y"], dtype=object), pd.array(["x", "y"], "string")),
        (pd.Series([True, False]), pd.array([True, False], "boolean")),
        (
            pd.to_datetime(pd.Series(["2026-01-01", "2026-01-02"])).astype("datetime64[ns]"),
            pd.to_datetime(pd.Series(["2026-01-01", "2026-01-02"])).astype("datetime64[s]"),
        ),
    ],
    ids=lambda each: str(each.dtype),
)
def test_r14_a_change_of_dtype_is_one_line_and_no_changed_rows(folder_vault, before, after):
    a, b = save_two(
        folder_vault, pd.DataFrame({"id": [1, 2], "x": before}), pd.DataFrame({"id": [1, 2], "x": after})
    )
    found = folder_vault.compare(a, b, on="id")
    assert found["status"].tolist() == ["same", "same"]
    diff = found.schema_diff
    assert diff[["column", "what"]].to_numpy().tolist() == [["x", "dtype"]]
    assert diff.loc[0, "a"] != diff.loc[0, "b"]


def test_r14_a_column_that_came_or_went_is_one_line(vault):
    a, b = save_two(vault, preds(old=1), preds(new=2))
    found = vault.compare(a, b, on="id")
    assert set(found["status"]) == {"same"}
    assert found.schema_diff[["column", "what"]].to_numpy().tolist() == [["old", "removed"], ["new", "added"]]
    assert {"old_a", "new_b"} <= set(found.columns)
    assert not {"old_b", "new_a"} & set(found.columns)


def test_r14_ignored_columns_do_not_count(vault):
    a, b = save_two(vault, preds(ms=[1, 2, 3, 4]), preds(ms=[9, 9, 9, 9]))
    assert set(vault.compare(a, b, on="id", ignore="ms")["status"]) == {"same"}
    with pytest.raises(tv.InvalidInput, match="ignore= names 'sm'"):
        vault.compare(a, b, on="id", ignore=["sm"])


def test_r14_the_first_of_several_is_the_reference(vault):
    versions = [vault.save("preds", preds(pred=each)) for each in (list("abxx"), list("abcx"), list("xbcd"))]
    found = vault.compare(*versions, on="id", measure="gold == pred")
    assert [each for each in found.columns if each.startswith(("status", "flip"))] == [
        "status_b",
        "flip_b",
        "status_c",
        "flip_c",
    ]
    assert found["flip_b"].tolist() == ["same_right", "same_right", "fixed", "same_wrong"]
    assert found["flip_c"].tolist() == ["broken", "same_right", "fixed", "fixed"]
    assert found.summary[["reference", "other", "fixed", "broken"]].to_numpy().tolist() == [
        ["preds@1", "preds@2", 1, 0],
        ["preds@1", "preds@3", 2, 1],
    ]


def test_r14_handles_frames_and_sessions_are_versions(vault):
    with vault.session("train"):
        a = vault.save("preds", preds())
        assert vault.save("other", {"x": 1}).version == 1
    with vault.session("train"):
        b = vault.save("preds", preds(pred=list("abcd")))
    expected = vault.compare("preds@1", "preds@2", on="id")
    assert vault.compare(a, "preds", on="id").equals(expected)
    assert vault.compare(vault.read("preds@1"), vault.read("preds"), on="id").equals(expected)
    assert vault.compare("train#1", "train#2", on="id").equals(expected)
    assert vault.compare("preds@1", vault.run("train#2"), on="id").equals(expected)
    half = vault.read("preds@1").query("id < 3")
    assert vault.compare(half, b, on="id")["status"].tolist() == ["same", "same", "added", "added"]
    with vault.session("idle"):
        vault.save("third", {"x": 1})
    with vault.session("train"):
        vault.save("preds", preds(pred=list("abcd")))  # as in train#2
    assert vault.compare("train#1", "train#3", on="id").equals(expected)
    with pytest.raises(tv.InvalidInput, match=r"train#1, idle#1 wrote no list in common"):
        vault.compare("train#1", "idle#1", on="id")
    with pytest.raises(tv.ListNotFound):
        vault.compare("preds@1", "nobody", on="id")


def test_r14_sessions_with_several_lists_in_common_are_compared_by_one_of_them(vault):
    """The third run changes no prediction, and so makes no version: it stands for the second one all the same."""
    for rate, pred in ((1, "abxx"), (2, "abcd"), (3, "abcd")):
        with vault.session("fit", params={"rate": rate}):
            vault.save("preds", preds(pred=list(pred)))
            vault.save("summary", pd.DataFrame({"rate": [rate]}, index=pd.Index(["all"], name="run")))
    with pytest.raises(tv.InvalidInput, match=r"2 lists in common: 'preds', 'summary'.*lists='preds'"):
        vault.compare("fit#1", "fit#3")
    compared = vault.compare("fit#1", "fit#3", lists="preds", on="id")
    assert compared.equals(vault.compare("preds@1", "preds@2", on="id"))
    assert compared.params_diff[["name", "a", "b"]].to_numpy().tolist() == [["rate", 1, 3]]
    summaries = vault.compare("fit#1", "fit#2", "fit#3", lists="summary")
    assert summaries[["rate_a", "rate_b", "rate_c"]].to_numpy().tolist() == [[1, 2, 3]]
    assert vault.compare("preds@1", "fit#3", lists="summary", on="position")["status"].size == 4
    with pytest.raises(tv.InvalidInput, match=r"fit#1, fit#2 wrote no rows of 'logs', or not each"):
        vault.compare("fit#1", "fit#2", lists="logs")
    with pytest.raises(tv.InvalidInput, match=r"lists='preds' says .*no session is compared"):
        vault.compare("preds@1", "preds@2", lists="preds")


def test_r14_a_session_stands_for_what_its_workers_wrote(vault):
    for pred in (list("abxx"), list("abcd")):
        with vault.session("pool"), vault.session("worker"), vault.session("inner"):
            vault.save("preds", preds(pred=pred))
    expected = vault.compare("preds@1", "preds@2", on="id")
    assert vault.compare("pool#1", "pool#2", on="id").equals(expected)
    assert vault.compare("preds@1", "pool#2", on="id").equals(expected)
    assert vault.differences("preds@1", "pool#2").equals(vault.differences("preds@1", "preds@2"))


def test_r14_what_the_comparison_holds_is_its_own(folder_vault):
    frame = pd.DataFrame({"id": [1, 2], "x": [1.0, 2.0]})
    found = folder_vault.compare(frame, frame.copy(), on="id")
    found.loc[1, "x_a"] = 99.0
    assert frame.loc[0, "x"] == 1.0


CELL = st.one_of(st.integers(-3, 3), st.none())
ROWS = st.dictionaries(st.integers(0, 9), st.tuples(CELL, st.booleans(), st.sampled_from("xyz")), max_size=8)


def frame_of(rows):
    keys = list(rows)
    frame = pd.DataFrame({"id": np.array(keys, np.int64)})
    for at, (name, dtype) in enumerate([("n", "Int64"), ("right", "bool"), ("word", object)]):
        frame[name] = pd.Series([rows[key][at] for key in keys], dtype=dtype)
    return frame


@given(ROWS, ROWS)
@settings(
    max_examples=times(25, ordinary=12),
)
def test_r14_compare_is_a_plain_merge_and_symmetric(folder_vault, one, two):
    a, b = frame_of(one), frame_of(two)
    found = folder_vault.compare(a, b, on="id", measure="right")
    merged = a.merge(b, on="id", how="outer", suffixes=("_a", "_b"), indicator=True).set_index("id")
    assert set(found.index) == set(merged.index)
    for key, row in merged.iterrows():
        mine = found.loc[key]
        for name in ("n_a", "n_b", "word_a", "word_b"):
            assert (pd.isna(mine[name]) and pd.isna(row[name])) or mine[name] == row[name]
        expected = {"left_only": "removed", "right_only": "added"}.get(row["_merge"]) or (
            "same" if one[key] == two[key] else "changed"
        )
        assert mine["status"] == expected
    back = folder_vault.compare(b, a, on="id", measure="right")
    mirror = {"same": "same", "changed": "changed", "added": "removed", "removed": "added"}
    assert (
        found["status"].astype(object).map(mirror).sort_index().tolist()
        == back["status"].astype(object).sort_index().tolist()
    )
    there, again = found.summary.iloc[0], back.summary.iloc[0]
    assert (there["n_only_a"], there["fixed"]) == (again["n_only_b"], again["broken"])
    assert there["p"] == again["p"] or (pd.isna(there["p"]) and pd.isna(again["p"]))
    assert there["delta"] == pytest.approx(-again["delta"], nan_ok=True)


@given(ROWS)
@settings(
    max_examples=times(15, ordinary=8),
)
def test_r14_identical_versions_have_no_change(folder_vault, rows):
    frame = frame_of(rows)
    found = folder_vault.compare(frame, frame.copy(), on="id", measure={"right": "right", "n": "n"})
    assert set(found["status"]) <= {"same"}
    assert set(found["flip_right"].dropna()) <= {"same_right", "same_wrong"}
    summary = found.summary
    assert summary["n_only_a"].tolist() == summary["n_only_b"].tolist() == [0, 0]
    assert summary["churn"].dropna().tolist() == [0.0] * summary["churn"].notna().sum()
    assert set(summary["delta"].dropna()) <= {0.0}
    assert set(summary["p"].dropna()) <= {1.0}


@given(ROWS, ROWS, st.sets(st.integers(0, 9)))
@settings(
    max_examples=times(15, ordinary=8),
)
def test_r14_a_filtered_comparison_sums_up_the_rows_left(folder_vault, one, two, keep):
    whole = folder_vault.compare(
        frame_of(one), frame_of(two), on="id", measure={"right": "right", "n": "n"}, by="word"
    )
    left = whole[whole.index.isin(keep)]
    few = folder_vault.compare(
        frame_of({key: row for key, row in one.items() if key in keep}),
        frame_of({key: row for key, row in two.items() if key in keep}),
        on="id", measure={"right": "right", "n": "n"}, by="word",
    )  # fmt: skip
    assert isinstance(left, tv.Comparison)
    pd.testing.assert_frame_equal(left.summary, few.summary)


# ---------------------------------------------------------------- R15: statistics


def test_r15_unpaired_rows_are_counted(vault):
    a, b = save_two(vault, preds(score=[1, 2, 3, None]), preds(id=[1, 2, 9, 4], score=[2, 2, 5, 5]))
    (line,) = vault.compare(a, b, on="id", measure="score").summary.to_dict("records")
    assert (line["n_pairs"], line["n_missing"], line["n_only_a"], line["n_only_b"]) == (2, 1, 1, 1)
    assert (line["a"], line["b"], line["delta"]) == (1.5, 2.0, 0.5)
    assert line["churn"] == 0.5
    assert line["test"].startswith("sign flips")
    assert pd.isna(line["fixed"])


def test_r15_truth_values_are_tested_by_mcnemar(vault):
    a, b = save_two(vault, preds(), preds(pred=list("xbcd")))
    (line,) = vault.compare(a, b, on="id", measure="gold == pred").summary.to_dict("records")
    assert (line["fixed"], line["broken"], line["delta"], line["churn"]) == (2, 1, 0.25, 0.75)
    assert line["test"] == "mcnemar exact"
    assert line["p"] == 1.0  # 1 of 3 flips


def test_r15_truth_values_among_objects_are_truth_values(vault):
    a, b = (
        preds(right=pd.Series(cells, dtype=object))
        for cells in ([True, False, True, None], [False, True, True, True])
    )
    found = vault.compare(*save_two(vault, a, b), on="id", measure="right")
    assert found["flip"].tolist()[:3] == ["broken", "fixed", "same_right"]
    line = found.summary.iloc[0]
    assert (line["fixed"], line["broken"], line["n_pairs"], line["test"]) == (1, 1, 3, "mcnemar exact")


def test_r15_a_function_that_returns_nothing_measures_nothing(vault):
    a, b = save_two(vault, preds(), preds(pred=list("abcd")))
    with pytest.raises(tv.InvalidInput, match=r"gives None, which is no number"):
        vault.compare(a, b, on="id", measure=lambda frame: None)


def test_r15_slices_and_holm(vault):
    rows = pd.DataFrame({"id": range(40), "topic": ["s", "t"] * 20, "right": [False] * 40})
    better = rows.assign(right=(rows["topic"] == "s") | (rows["id"] == 1))
    a, b = save_two(vault, rows, better)
    summary = vault.compare(a, b, on="id", measure="right", by="topic").summary
    assert summary["slice"].tolist() == ["all", "topic=s", "topic=t"]
    assert summary["n_pairs"].tolist() == [40, 20, 20]
    assert summary["fixed"].tolist() == [21, 20, 1]
    p = summary["p"].to_numpy()
    assert summary["p_holm"].to_numpy() == pytest.approx([p[0] * 3, p[1] * 2, p[2]])


def test_r15_a_measure_of_a_whole_frame_is_drawn_again(vault):
    a, b = save_two(vault, preds(score=[1.0, 2.0, 3.0, 4.0]), preds(score=[2.0, 3.0, 4.0, 5.0]))
    calls = []

    def spread(frame):
        calls.append(len(frame))
        return float(frame["score"].max())

    found = vault.compare(a, b, on="id", measure={"top": spread})
    assert "flip" not in found.columns
    (line,) = found[found.index < 4].summary.to_dict("records")
    assert (line["a"], line["b"], line["delta"], line["lo"], line["hi"]) == (3.0, 4.0, 1.0, 1.0, 1.0)
    assert line["test"] == "paired bootstrap, 2000 draws"
    assert set(calls) == {4, 3}


def test_r15_equivalence_needs_a_margin(vault):
    rows = pd.DataFrame({"id": range(2000), "right": [True, False] * 1000})
    a, b = save_two(vault, rows, rows.assign(right=~rows["right"].where(rows["id"] < 2, ~rows["right"])))
    assert vault.compare(a, b, on="id", measure="right", margin=0.01).summary["equivalent"].tolist() == [True]
    assert pd.isna(vault.compare(a, b, on="id", measure="right").summary.loc[0, "equivalent"])


def test_r15_a_measure_is_parsed_and_never_run(vault):
    a, b = save_two(vault, preds(), preds())
    for text in ("__import__('os').getcwd()", "gold.__class__", "(lambda: 1)()", "exec('1')"):
        with pytest.raises(tv.InvalidInput, match="measure="):
            vault.compare(a, b, on="id", measure=text)
    with pytest.raises(tv.InvalidInput, match="Did you mean 'gold'"):
        vault.compare(a, b, on="id", measure="golt == pred")
    with pytest.raises(tv.InvalidInput, match="must give numbers or truth values"):
        vault.compare(a, b, on="id", measure="gold")


# ---------------------------------------------------------------- R16: gates


def gated(vault, broken, rows=40):
    frame = pd.DataFrame({"id": range(rows), "right": [True] * rows})
    a, b = save_two(vault, frame, frame.assign(right=frame["id"] >= broken))
    return vault.compare(a, b, on="id", measure="right")


def test_r16_a_gate_passes_fails_or_cannot_tell(vault):
    found = gated(vault, broken=4)
    failed = found.gate("delta", min=-0.005)
    assert (failed.outcome, bool(failed)) == ("fail", False)
    assert "delta is -0.1, not at least -0.005, from 40 pairs" in failed.reason
    passed = found.gate("delta", min=-0.2)
    assert (passed.outcome, bool(passed)) == ("pass", True)
    assert found.gate("delta", min=-0.15, bound="lo").outcome == "fail"  # the estimate alone would pass
    assert found.gate("broken", max=4)
    assert not found.gate("broken", max=3)
    few = found[found.index < 19].gate("delta", min=-1)
    assert (few.outcome, bool(few)) == ("cannot tell", False)
    assert "19 pairs, and 20 are needed" in few.reason
    assert found[found.index < 19].gate("delta", min=-1, min_pairs=5)


def test_r16_one_of_several_measures_is_judged(vault):
    frame = pd.DataFrame({"id": range(40), "right": [True] * 40, "ms": [5] * 40})
    a, b = save_two(vault, frame, frame.assign(ms=7))
    compared = vault.compare(a, b, on="id", measure={"accuracy": "right", "latency": "ms"})
    assert not compared.gate("delta", max=0)
    assert compared.gate("delta", measure="accuracy", max=0)
    assert "latency of preds@2" in compared.gate("delta", measure="latency", max=0).reason
    with pytest.raises(
        tv.InvalidInput, match=r"'latensy' is no measure.*'latency'.*There are 'accuracy', 'latency'"
    ):
        compared.gate("delta", measure="latensy", max=0)


def test_r16_a_gate_that_nothing_passes_is_an_error(vault):
    with pytest.raises(tv.InvalidInput, match="min=1 is more than max=0"):
        gated(vault, broken=4).gate("delta", min=1, max=0)


def test_r16_raises(vault):
    with pytest.raises(tv.GateFailed, match=r"delta is -0\.1"):
        gated(vault, broken=4).gate("delta", min=-0.005, raises=True)
    assert issubclass(tv.GateFailed, AssertionError)


def test_r16_nothing_measured_cannot_be_told(vault):
    a, b = save_two(vault, preds(), preds(pred=list("abcd")))
    gate = vault.compare(a, b, on="id").gate("delta", min=0, min_pairs=1)
    assert gate.outcome == "cannot tell"
    assert "nothing was measured" in gate.reason
    assert vault.compare(a, b, on="id").gate("churn", max=0.5, min_pairs=1)


def test_r16_a_version_without_the_column_cannot_be_told(vault):
    a, b = save_two(vault, preds(), preds().drop(columns="pred"))
    with pytest.warns(UserWarning, match="missing there"):
        found = vault.compare(a, b, on="id", measure="gold == pred")
    assert found.gate("delta", min=-1, min_pairs=0).outcome == "cannot tell"
    assert found.summary.loc[0, "n_missing"] == 4


def test_r16_nan_never_passes(vault):
    nothing = preds(score=[np.nan] * 4)
    a, b = save_two(vault, nothing, nothing.assign(word="w"))
    assert (
        vault.compare(a, b, on="id", measure="score").gate("delta", min=-9, min_pairs=0).outcome
        == "cannot tell"
    )


def test_r16_slices_must_pass_where_asked(vault):
    frame = pd.DataFrame({"id": range(60), "topic": ["s"] * 30 + ["t"] * 30, "right": [True] * 60})
    a, b = save_two(vault, frame, frame.assign(right=frame["id"] != 0))
    found = vault.compare(a, b, on="id", measure="right", by="topic")
    assert found.gate("delta", min=-0.02)
    assert found.gate("delta", min=-0.02, slices=True).outcome == "fail"


# ---------------------------------------------------------------- R17: why


@pytest.fixture
def chain(vault):
    """articles -> features -> preds, made twice: with another text, another parameter, one row more and one less."""
    articles = pd.DataFrame(
        {"text": ["good", "bad", "ugly", "nice"]}, index=pd.Index([1, 2, 3, 4], name="id")
    )

    def run(rate, wrong):
        with vault.session("train", params={"lr": rate, "opt": {"name": "sgd"}}):
            vault.save("features", vault.read("articles").assign(n=lambda df: df["text"].str.len()))
            features = vault.read("features")
            return vault.save("preds", features.assign(right=[key not in wrong for key in features.index]))

    vault.save("articles", articles)
    first = run(0.1, [3])
    articles.loc[2, "text"] = "sadly"
    articles = articles.drop(4)
    articles.loc[5] = ["new"]
    vault.save("articles", articles)
    return first, run(0.2, [2])


def lines_of(frame, *columns):
    return [
        tuple(None if pd.isna(each) else each for each in row)
        for row in frame[list(columns)].itertuples(index=False)
    ]


@pytest.mark.parametrize(
    "dtype", ["int64", "uint64", "Int64", "int64[pyarrow]", pd.ArrowDtype(pa.decimal128(38, 2))], ids=str
)
def test_r15_differences_of_large_whole_numbers_and_decimals_are_exact(vault, dtype):
    big = 2**60
    a = pd.Series([big, big, big, 5], dtype=dtype)
    b = pd.Series([big + 1, big + 1, big - 1, 5], dtype=dtype)
    index = pd.Index(range(4), name="id")
    one = vault.save("sizes", pd.DataFrame({"n": a.set_axis(index)}))
    two = vault.save("sizes", pd.DataFrame({"n": b.set_axis(index)}))
    found = vault.compare(one, two, measure="n")
    assert found["flip"].tolist() == ["up", "up", "down", "same"]
    [line] = found.summary.to_dict("records")
    assert (line["delta"], line["churn"]) == (0.25, 0.75)
    assert vault.trend("sizes", "n", baseline="first")["delta"].tolist()[1:] == [0.25]


def test_r15_differences_that_overflow_are_exact(vault):
    index = pd.Index([1, 2], name="id")
    limits = np.iinfo(np.int64)
    one = vault.save("sizes", pd.DataFrame({"n": [limits.min, 0]}, index=index))
    two = vault.save("sizes", pd.DataFrame({"n": [limits.max, 0]}, index=index))
    assert vault.compare(one, two, measure="n").summary["delta"].tolist() == [float(2**64 - 1) / 2]


def test_r17_differences_walk_up_from_two_versions(vault, chain):
    found = vault.differences(*chain)
    assert found.columns.tolist() == ["what", "name", "a", "b", "depth", "list", "ruled_out", "evidence"]
    assert not found["ruled_out"].any()
    found = found[~found["what"].isin(["code"])]
    assert lines_of(found, *found.columns[:-2]) == [
        ("parameter", "lr", 0.1, 0.2, 0, "preds"),
        ("input", "features", "features@1", "features@2", 1, "features"),
        ("rows changed", "features", "1: 2", "1: 2", 1, "features"),
        ("rows added", "features", None, "1: 5", 1, "features"),
        ("rows removed", "features", "1: 4", None, 1, "features"),
        ("input", "articles", "articles@1", "articles@2", 2, "articles"),
        ("rows changed", "articles", "1: 2", "1: 2", 2, "articles"),
        ("rows added", "articles", None, "1: 5", 2, "articles"),
        ("rows removed", "articles", "1: 4", None, 2, "articles"),
    ]


def test_r17_differences_of_two_sessions(vault, chain):
    found = vault.differences("train#1", "train#2")
    assert ("parameter", "lr", 0.1, 0.2, 0) in lines_of(found, "what", "name", "a", "b", "depth")
    assert ("input", "articles", "articles@1", "articles@2", 1) in lines_of(
        found, "what", "name", "a", "b", "depth"
    )
    assert vault.differences("train#1", "preds@2").equals(vault.differences(*chain))


def test_r17_both_answers_show_values_as_they_were_given(vault):
    for words in (["good"], None):
        with vault.session("evaluate", params={"words": words} | ({} if words else {"more": True})):
            rows = pd.DataFrame({"right": [words is None]}, index=pd.Index([1], name="id"))
            vault.save("preds", rows)
    upstream = vault.differences("preds@1", "preds@2").query("what == 'parameter'")
    why = vault.compare("preds@1", "preds@2", measure="right").why().query("what == 'parameter'")
    expected = [["words", ["good"], None], ["more", None, True]]
    assert upstream[["name", "a", "b"]].to_numpy().tolist() == expected
    assert sorted(why[["name", "a", "b"]].to_numpy().tolist()) == sorted(expected, key=lambda row: row[0])


def test_r17_what_another_run_made_the_same_rows_with_is_no_cause(vault):
    """Run 2 changes lr and comes out equal; run 3 changes depth, too, and does not."""
    gold = pd.DataFrame({"id": [1, 2], "gold": [1, 0]})
    for lr, depth, pred in ((0.1, 1, [1, 0]), (0.2, 1, [1, 0]), (0.2, 2, [0, 0])):
        with vault.session("fit", params={"lr": lr, "depth": depth}):
            vault.save("preds", gold.assign(pred=pred).set_index("id"))
    assert len(vault.versions("preds")) == 2
    why = vault.compare("preds@1", "preds@2", measure="gold == pred").why().query("what == 'parameter'")
    assert why[["name", "a", "b"]].to_numpy().tolist() == [["depth", 1, 2]]
    back = vault.compare("preds@2", "preds@1", measure="gold == pred").why().query("what == 'parameter'")
    assert back[["name", "a", "b"]].to_numpy().tolist() == [["depth", 2, 1]]


def test_r17_the_same_has_no_differences(vault, chain):
    assert vault.differences(chain[0], "preds@1").empty
    assert vault.differences("train#1", "train#1").empty


def test_r17_why_joins_flipped_rows_with_their_own_parents(vault, chain):
    found = vault.compare(*chain, measure="right").why()
    rows = found[found["what"] == "row changed"]
    assert lines_of(rows.reset_index(), "id", "flip", "name", "a", "b", "depth", "row_a", "row_b") == [
        (2, "broken", "text", "bad", "sadly", 1, "features@1[1]", "features@2[1]"),
        (2, "broken", "n", 3, 5, 1, "features@1[1]", "features@2[1]"),
        (2, "broken", "text", "bad", "sadly", 2, "articles@1[1]", "articles@2[1]"),
    ]
    parameters = found[found["what"] == "parameter"].reset_index()
    assert lines_of(parameters, "id", "flip", "name", "a", "b", "depth") == [
        (2, "broken", "lr", 0.1, 0.2, 0),
        (3, "fixed", "lr", 0.1, 0.2, 0),
    ]


def test_r17_why_of_a_filtered_comparison_and_without_a_measure(vault, chain):
    found = vault.compare(*chain)
    assert set(found.why().index) == {2, 3}
    assert set(found[found.index == 3].why().index) == {3}


def test_r17_flips_that_nothing_explains_are_told(vault):
    with vault.session("chance"):
        a = vault.save("preds", preds(pred=list("abcd")))
        b = vault.save("preds", preds(pred=list("abcx")))
    found = vault.compare(a, b, on="id", measure="gold == pred").why()
    assert set(found[found["what"] != "code"]["what"]) <= {"nothing recorded"}
    assert set(found["flip"]) == {"broken"}


def test_r17_flips_that_nothing_explains_are_counted(vault):
    cut = {"file": 1}  # stands for a file that the code reads
    for cut["file"] in (1, 2):
        with vault.session("fit"):
            vault.save("preds", pd.DataFrame({"id": [1, 2, 3], "pred": [n > cut["file"] for n in range(3)]}))
    why = vault.compare("preds@1", "preds@2", on="id", measure="pred").why()
    assert why.value_counts(["what", "name"]).sum() == len(why) == 1


def test_r17_a_list_that_was_read_but_is_linked_to_no_row_is_told(vault):
    """A training table: the predictions have the rows of the test table alone as their parents."""
    vault.save("test", pd.DataFrame({"x": [0, 1], "gold": [True, True]}))
    for label in (True, False):
        vault.save("train", pd.DataFrame({"x": [0, 1], "y": [label, True]}), inputs=False)
        with vault.session("fit"):
            train, test = vault.read("train"), vault.read("test")
            vault.save("preds", test.assign(pred=train["y"].to_numpy()))
            vault.read("preds")  # what it wrote itself is no input
    why = vault.compare("preds@1", "preds@2", measure="gold == pred").why().query("what != 'code'")
    expected = [("broken", "read", "train", "train@1", "train@2", 0)]
    assert lines_of(why, "flip", "what", "name", "a", "b", "depth") == expected
    upstream = vault.differences("preds@1", "preds@2").query("what != 'code'")
    assert lines_of(upstream, "what", "name", "a", "b", "depth") == [
        ("read", "train", "train@1", "train@2", 1),
        ("rows changed", "train", "1: 0", "1: 0", 1),
    ]


def test_r17_parents_that_came_and_went(vault):
    vault.save("docs", pd.DataFrame({"text": ["one", "two", "three"]}))
    answers = pd.DataFrame({"id": [1, 2], "right": [True, True]})
    a = vault.save("answers", answers, inputs={"docs": [[0, 1], [2]]})
    b = vault.save("answers", answers.assign(right=[False, False]), inputs={"docs": [[0], [2, 1]]})
    found = vault.compare(a, b, on="id", measure="right").why()
    rows = found[found["what"].str.startswith("row")].reset_index()
    assert lines_of(rows, "id", "what", "a", "b") == [
        (1, "row removed", "docs@1[1]", None),
        (2, "row added", None, "docs@1[1]"),
    ]


def test_r17_parameters_and_environment(vault, chain):
    found = vault.compare(*chain)
    assert lines_of(found.params_diff, "name", "a", "b") == [("lr", 0.1, 0.2)]
    assert found.environment_diff.columns.tolist() == ["what", "name", "a", "b", "ruled_out"]
    assert "package" not in set(found.environment_diff["what"])


# ---------------------------------------------------------------- what else it must stand


def test_a_comparison_survives_pandas(vault, chain):
    found = vault.compare(*chain, measure="right")
    for each in (
        found.query("status == 'changed'"),
        found.sort_values("text_a"),
        found.head(2),
        found.copy(),
        found[["status", "flip", "right_a", "right_b"]],
    ):
        assert isinstance(each, tv.Comparison)
        assert len(each.summary) == 1
    with pytest.raises(tv.InvalidInput, match="lost its column 'right_b'"):
        _ = found.drop(columns="right_b").summary
    with pytest.raises(tv.InvalidInput, match="made of a comparison"):
        _ = tv.Comparison({"x": [1]}).summary


def test_a_comparison_leaves_the_process(vault, chain):
    found = pickle.loads(pickle.dumps(vault.compare(*chain, measure="right")))
    assert found.summary.loc[0, "n_pairs"] == 3
    with pytest.raises(tv.InvalidInput, match="another process"):
        found.why()


def test_hostile_names_and_texts_are_escaped(folder_vault):
    evil = "<script>alert(1)</script>"
    a, b = save_two(
        folder_vault,
        pd.DataFrame({"id": [1], evil: [evil]}),
        pd.DataFrame({"id": [1], evil: ["x"]}),
        name="preds",
    )
    found = folder_vault.compare(a, b, on="id", by=evil)
    for frame in (found, found.summary, found.schema_diff, found.why()):
        assert "<script>" not in frame._repr_html_()


def test_columns_that_would_clash_are_refused(folder_vault):
    rows = pd.DataFrame({"id": [1], "status": ["x"]})
    versions = [folder_vault.save("rows", rows.assign(n=n)) for n in range(3)]
    assert folder_vault.compare(*versions[:2], on="id")["status_a"].tolist() == ["x"]
    with pytest.raises(tv.InvalidInput, match="status_b"):
        folder_vault.compare(*versions, on="id")


SCRIPT = """
import pandas as pd
import tablevault_pd as tv

LIMIT = {limit}

def clean(text):
    {body}

def unused(text):
    return {unused}

vault = tv.connect(r"{place}")
rows = vault.read("articles")
rows = rows.assign(right=rows["text"].map(clean).str.len() < LIMIT)
vault.save("preds", rows)
"""


def test_r17_code_is_told_by_the_definition_that_changed(folder_vault, tmp_path):
    articles = pd.DataFrame({"text": ["good", "bad"]}, index=pd.Index([1, 2], name="id"))
    folder_vault.save("articles", articles)
    runs = [(5, "return text"), (4, "return text  # as it is"), (4, "return text + '!!'")]
    for number, (limit, body) in enumerate(runs):
        code = SCRIPT.format(limit=limit, body=body, unused=number, place=folder_vault.place)
        script(tmp_path, code)
    for old, new, name in [("preds@1", "preds@2", "LIMIT"), ("preds@2", "preds@3", "clean")]:
        found = folder_vault.compare(old, new, measure="right")
        code = folder_vault.differences(old, new).query("what == 'code'")
        assert code["name"].tolist() == [f"train.py: {name}"]
        lines = found.code_diff.splitlines()[2:]  # without the names of the versions
        assert [len([line for line in lines if line.startswith(sign)]) for sign in "-+"] == [1, 1]
        why = found.why()
        assert set(zip(why["what"], why["name"], strict=True)) == {("code", f"train.py: {name}")}
        assert set(why.index) == set(found.index[found["flip"] == "broken"]) != set()


@given(generated.frames())
@settings(
    max_examples=times(40, ordinary=20),
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_r14_every_kind_of_frame_equals_itself(folder_vault, frame):
    names = [str(label) for label in frame.columns]
    assume(len(set(names)) == len(names) and not {"status_a", "status_b"} & set(names))
    assume(not any(getattr(dtype, "byteorder", "=") == ">" for dtype in [*frame.dtypes, frame.index.dtype]))
    found = folder_vault.compare(frame, frame.copy(), on="position")
    assert found["status"].tolist() == ["same"] * len(frame)
    shorter = folder_vault.compare(frame, frame.iloc[:-1], on="position")
    assert shorter["status"].tolist() == ["same"] * (len(frame) - 1) + ["removed"] * bool(len(frame))


def test_r14_cells_that_are_lists(folder_vault):
    nested = pd.Series([[1], [], None], dtype=pd.ArrowDtype(pa.list_(pa.int16())))
    texts = [np.array(["a", "b"]), np.array([]), np.array(["c"])]
    frame = pd.DataFrame({"arrow": nested, "texts": texts, "empty": [np.array([])] * 3})
    assert folder_vault.compare(frame, frame.copy(), on="position")["status"].tolist() == ["same"] * 3
    numbers = pd.DataFrame({"n": pd.Categorical([1, None, 2])})
    assert folder_vault.compare(numbers, numbers.copy(), on="position")["status"].tolist() == ["same"] * 3
    other = frame.assign(arrow=pd.Series([[2], [], None], dtype=nested.dtype))
    assert folder_vault.compare(frame, other, on="position")["status"].tolist() == ["changed", "same", "same"]


def test_r17_an_input_that_was_corrected_from_itself(vault):
    """The corrected version has the rows of the one before as parents: these are no rows of their own."""
    vault.save("questions", preds().set_index("id")[["gold"]])
    a = vault.save("preds", vault.read("questions").assign(pred=["a", "b", "x", "x"]))
    corrected = vault.read("questions")
    corrected.loc[1, "gold"] = "z"
    vault.save("questions", corrected)
    b = vault.save("preds", vault.read("questions").assign(pred=["a", "b", "c", "x"]))
    why = vault.compare(a, b, measure="gold == pred").why()
    rows = why[why["what"].str.startswith("row")]
    assert rows.index.tolist() == [1], "the row that changed, and no other"
    assert rows[["what", "name", "a", "b"]].values.tolist() == [["row changed", "gold", "a", "z"]]
    found = vault.differences(a, b)
    assert found.loc[found["what"] == "input", ["a", "b"]].values.tolist() == [["questions@1", "questions@2"]]


def changed_lines(a, b):
    return [change.line for change in code_changes(a, b)]


def test_r17_each_of_several_statements_that_bind_one_name_is_told():
    text = "df = load({a})\ndf = df.dropna()\nif x:\n    k = {b}\nif y:\n    k = 2\nlog(df)\nlog({c})\nsave(df, k)"
    one, two = (
        Slicer([Piece(text.format(a=number, b=number, c=number), "t.py", 1, 0)]).of_everything()
        for number in (1, 5)
    )
    assert changed_lines(one, one) == []
    assert changed_lines(one, two) == [
        ("t.py: df", "df = load(1)", "df = load(5)"),
        ("t.py: k", "k = 1", "k = 5"),
        ("t.py", "log(1)", "log(5)"),
    ]


def slice_of_cells(*cells):
    pieces = [Piece(text, None, 1, number) for number, text in enumerate(cells)]
    return Slicer(pieces).of_place(1)


PRED, SAVE = "df['pred'] = (df['x'] > LIMIT).astype(int)", "save(df)"
READ = ("import tablevault_pd as tv", "df = tv.read('src')", "df = df.dropna()")
FIRST = ("LIMIT = 2", *READ, PRED)


@pytest.mark.parametrize(
    ("again", "lines"),
    [
        (["LIMIT = 3", PRED], [("cell 5: LIMIT", "LIMIT = 2", "LIMIT = 3")]),
        ([PRED, PRED], []),
        (["LIMIT = 3", PRED, "LIMIT = 4", PRED], [("cell 7: LIMIT", "LIMIT = 2", "LIMIT = 4")]),
        (["df['y'] = df['x'] + 1", "LIMIT = 3", PRED], [("LIMIT", "LIMIT = 2", "LIMIT = 3"), ("df", None, "df['y'] = df['x'] + 1")]),
        # what is back at its first value was another one in between
        (["LIMIT = 3", PRED, "LIMIT = 2", PRED], [("LIMIT", None, "LIMIT = 3"), ("LIMIT", None, "LIMIT = 2")]),
    ],
)  # fmt: skip
def test_a_cell_that_ran_again_and_overwrites_what_it_stored_is_no_edit(again, lines):
    one, two = slice_of_cells(*FIRST, SAVE), slice_of_cells(*FIRST, *again, SAVE)
    assert one != two, "a slice has all that ran"
    found = changed_lines(one, two)
    assert sorted((name.rpartition(": ")[2], a, b) for name, a, b in found) == sorted(
        (name.rpartition(": ")[2], a, b) for name, a, b in lines
    )
    diff = [line for line in code_diff(one, two, "a", "b").splitlines()[2:] if line[0] in "+-"]
    assert PRED not in "".join(diff)
    assert bool(diff) == bool(lines)


@pytest.mark.parametrize(
    "between",
    [
        "total = df['pred'].sum()\ndf['y'] = total",
        "df['y'] = df['pred']",
        "df = df.head(2)",
        "df['y'] = count(df)",
        "df.loc[0] = 1",
        "f = lambda: df['pred'].sum()\ndf['y'] = f()",
        "def f():\n    return df['pred'].sum()\ndf['y'] = f()",
        "del df['pred']",
        "for column in df:\n    df['y'] = 1",
        "df['y'] = eval(text)",
    ],
)
def test_a_statement_that_ran_again_is_told_where_something_may_have_read_what_it_stored(between):
    one = slice_of_cells(*FIRST, between, SAVE)
    two = slice_of_cells(*FIRST, between, "LIMIT = 3", PRED, SAVE)
    assert ("cell 7: df", None, PRED) in changed_lines(one, two)
    assert f"+{PRED}" in code_diff(one, two, "a", "b")


@pytest.mark.parametrize(
    "statement",
    [
        "df['x'] = df['x'] + 1",
        "df['y'] = df['x'] + rng.normal()",
        "df['y'] = df['x'].sample(frac=1)",
        "df['y'] = df['x'].map(step)",
        "df['y'] = f(df['x'])",
        "df['y'] = rows",
        "df['y'] = df['x'] = df['z']",
        "df['y'] += df['x']",
        "df['y'] = [i for i in df['x']]",
        "df['y'] = df['x'].fillna(0, inplace=True)",
        "df[key] = df['x'] + 1",
    ],
)
def test_a_statement_that_may_do_more_than_overwrite_is_told_each_time(statement):
    setting = (*READ, "step, f, rows, key, rng = tv.read('g')")
    one, two = (slice_of_cells(*setting, *[statement] * times, SAVE) for times in (1, 2))
    assert [change[1:] for change in changed_lines(one, two)] == [(None, statement)]


def test_the_statements_that_write_stand_beside_each_other():
    one, two = (
        Slicer([Piece(text, "t.py", 1, 0)]).of_everything()
        for text in ("k = 1\nshow(1)\nshow(2)\nsave(k)", "k = 1\nkeep(k)")
    )
    assert changed_lines(one, two) == [
        ("t.py", "show(1)", None),
        ("t.py", "show(2)", None),
        ("t.py", "save(k)", "keep(k)"),
    ]


def test_r17_of_a_class_the_method_that_changed_is_told():
    text = """
@final{mark}
class Scorer(Base):
    '''A docstring of {note}.'''
    rate = {rate}
    @cached
    def fit(self, x):
        return x  # {note}
    def predict(self, x):
        return x + {add}
class Small: size = {rate}
save(Scorer(), Small)
"""

    def slice_of(mark="", note="a", rate=1, add=1):
        made = text.format(mark=mark, note=note, rate=rate, add=add)
        return Slicer([Piece(made, "t.py", 1, 0)]).of_everything()

    assert changed_lines(slice_of(), slice_of(note="b")) == []
    predict = "def predict(self, x):\n    return x + {}"
    assert changed_lines(slice_of(), slice_of(note="b", add=2)) == [
        ("t.py: Scorer.predict", predict.format(1), predict.format(2))
    ]
    assert changed_lines(slice_of(), slice_of(rate=2)) == [
        ("t.py: Scorer.rate", "rate = 1", "rate = 2"),
        ("t.py: Small", "class Small: size = 1", "class Small: size = 2"),
    ]
    [(name, a, b)] = changed_lines(slice_of(), slice_of(mark="(1)"))
    assert (name, a, b) == (
        "t.py: Scorer (head)", "@final\nclass Scorer(Base):", "@final(1)\nclass Scorer(Base):",
    )  # fmt: skip


def test_r17_other_code_altogether_is_one_line(folder_vault, tmp_path):
    """Where two programs share no definition, each of their lines would be a difference."""
    programs = [
        "import pandas as pd\nrows = {'n': [1]}\nmore = rows\npd.DataFrame(more).vault.save('x', inputs=False)\n",
        "import pandas as pd\nother = {'n': [2]}\npd.DataFrame(other).vault.save('x', inputs=False)\n",
    ]
    for number, program in enumerate(programs):
        text = f"import tablevault_pd as tv\ntv.connect({folder_vault.place!r})\n{program}"
        script(tmp_path, text, name=f"program{number}.py")
    found = folder_vault.differences("x@1", "x@2")
    code = found[found["what"] == "code"]
    assert len(code) == 1
    assert code["a"].item() == "pd.DataFrame(more).vault.save('x', inputs=False)"


def test_true_is_another_key_than_1(vault):
    """As in a list: for pandas they are equal."""
    for rows in (
        {"id": [1, 2], "x": [0, 0]},
        {"id": [True], "x": [1]},
        {"id": pd.Series([2, True, 1, "a"], dtype=object), "x": [0, 1, 5, 0]},
        {"id": pd.Series(["a", 1, True], dtype=object), "x": [0, 6, 1]},
    ):
        vault.save("mixed", pd.DataFrame(rows), key="id")

    def found(a, b):
        compared = vault.compare(f"mixed@{a}", f"mixed@{b}")
        assert set(compared.why().index) <= set(compared.index)
        return dict(
            zip([(type(key).__name__, key) for key in compared.index], compared["status"], strict=True)
        )

    assert found(1, 2) == {("int", 1): "removed", ("int", 2): "removed", ("bool", True): "added"}
    assert found(2, 3) == {
        ("bool", True): "same",
        ("int", 2): "added",
        ("int", 1): "added",
        ("str", "a"): "added",
    }
    assert found(3, 4) == {
        ("int", 2): "removed",
        ("bool", True): "same",
        ("int", 1): "changed",
        ("str", "a"): "same",
    }


def test_r15_a_gate_says_how_many_rows_have_no_pair_and_a_measure_is_parsed_first(folder_vault):
    for ids in ([1, 2, 3], [2, 3, 4, 5]):
        folder_vault.save("preds", pd.DataFrame({"id": ids, "x": ids}), inputs=False)
    reason = (
        folder_vault.compare("preds@1", "preds@2", on="id", measure="x")
        .gate("delta", min=0, min_pairs=2)
        .reason
    )
    assert reason.endswith("from 2 pairs (1 are only in preds@1, 2 only in preds@2)")
    with pytest.raises(
        tv.InvalidInput, match="it is no expression"
    ):  # before nothing says how rows are aligned
        folder_vault.compare("preds@1", "preds@2", measure="x ===")
