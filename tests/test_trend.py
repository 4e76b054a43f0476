"""R13: vault.trend, on each store."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.analysis import measuring
from tablevault_pd.analysis.lazy_frame import LazyFrame
from tablevault_pd.code import function_key


def preds(right, **columns):
    rows = pd.DataFrame({"gold": ["a"] * len(right), "pred": np.where(right, "a", "x")} | columns)
    return rows.rename_axis("id")


def versions(vault, *rights, **columns):
    return [vault.save("preds", preds(np.array(right, bool), **columns)) for right in rights]


@pytest.fixture
def scans(monkeypatch, vault):
    """The (list, columns, rows) of every scan of the store."""
    found = []
    real = vault.store.scan

    def scan(version, **options):
        columns = options.get("columns")
        names = None if columns is None else tuple(columns)
        for chunk in real(version, **options):
            found.append((version.list, names, range(chunk.positions[0], chunk.positions[-1] + 1)))
            yield chunk

    monkeypatch.setattr(vault.store, "scan", scan)
    return found


@pytest.mark.parametrize("text", ["gold = pred", "gold ==", "open('x')", "gold if pred else 1"])
def test_r13_a_text_that_is_no_measure_of_any_version_is_an_error(vault, text):
    versions(vault, [1, 0], [1, 1])
    with pytest.raises(tv.InvalidInput, match=r"^measure=.*: it (?!')"):
        vault.trend("preds", text)


def test_r13_a_missing_category_is_a_slice(vault):
    versions(vault, [1, 0, 0], topic=pd.Categorical(["a", None, "a"], categories=["a", "unused"]))
    found = vault.trend("preds", "gold == pred", by="topic")
    assert found[["slice", "n"]].to_numpy().tolist() == [["all", 3], ["topic=a", 2], ["topic=nan", 1]]


def test_r13_each_version_is_a_row(vault):
    versions(vault, [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0])  # the third is no version
    found = vault.trend("preds", "gold == pred")
    assert isinstance(found, pd.DataFrame)
    assert found.columns.tolist() == [
        "list",
        "version",
        "time",
        "session",
        "made",
        "measure",
        "slice",
        "value",
        "n",
        "error",
    ]
    assert found[["version", "value", "n"]].to_numpy().tolist() == [[1, 0.5, 4], [2, 0.75, 4]]
    assert found["error"].isna().all()


def test_r13_a_measure_may_be_a_function_or_a_dict(vault):
    versions(vault, [1, 0], [1, 1])
    given = {
        "accuracy": lambda df: (df["gold"] == df["pred"]).mean(),
        "rows": len,
        "each": lambda df: df.gold == df.pred,
    }
    found = vault.trend("preds", given).pivot(index="version", columns="measure", values="value")
    assert found.to_dict() == {
        "accuracy": {1: 0.5, 2: 1.0},
        "rows": {1: 2.0, 2: 2.0},
        "each": {1: 0.5, 2: 1.0},
    }


def test_r13_a_failing_version_is_a_row_with_its_error(vault):
    versions(vault, [1, 0])
    vault.save("preds", pd.DataFrame({"gold": ["a"]}))
    versions(vault, [1, 1])
    for measure in ("gold == pred", lambda df: (df["gold"] == df["pred"]).mean()):
        found = vault.trend("preds", measure)
        assert found["value"].tolist()[::2] == [0.5, 1.0]
        assert np.isnan(found["value"][1])
        assert "pred" in found["error"][1]
        assert found["error"].isna().tolist() == [True, False, True]


def test_r13_what_no_version_has_is_an_error(vault):
    versions(vault, [1, 0])
    with pytest.raises(tv.InvalidInput, match="Did you mean 'pred'"):
        vault.trend("preds", "gold == prde")
    with pytest.raises(tv.InvalidInput, match=r"by= names the column 'session'.*per='session'"):
        vault.trend("preds", "gold == pred", by="session")
    with pytest.raises(tv.ListNotFound, match="Did you mean 'preds'"):
        vault.trend("perds", "gold == pred")


def test_no_list_and_a_deleted_one_are_errors_as_elsewhere(folder_vault):
    with pytest.raises(tv.InvalidInput, match="names no list"):
        folder_vault.trend([], "n")
    with pytest.raises(tv.InvalidInput, match="one or more numbers"):
        folder_vault.bands("acc", grid=[])
    for number in range(2):
        folder_vault.save("gone", pd.DataFrame({"n": [number]}, index=pd.Index([1], name="id")))
    folder_vault.delete("gone")
    for call in (
        lambda: folder_vault.trend("gone", "n"),
        lambda: folder_vault.trend(["gone"], "n"),
        lambda: folder_vault.compare("gone", "gone@1", measure="n"),
        lambda: folder_vault.stale("gone"),
    ):
        with pytest.raises(tv.ListDeleted):
            call()
    assert folder_vault.trend("gone@2", "n")["value"].tolist() == [0, 1]
    assert len(folder_vault.compare("gone@1", "gone@2", measure="n")) == 1


def test_r13_vacuumed_versions_say_so(vault):
    versions(vault, [1, 0], [1, 1])
    vault.vacuum(keep=1, dry_run=False)
    found = vault.trend("preds", "gold == pred")
    assert "vacuum" in found["error"][0]
    assert found["value"][1] == 1.0


@pytest.mark.parametrize(
    "measure", ["gold == pred", lambda df: (df["gold"] == df["pred"]).mean()], ids=["text", "function"]
)
def test_r13_only_the_columns_that_it_touches_are_read_and_each_payload_once(vault, scans, measure):
    for step in range(12):
        vault.append("log", {"gold": "a", "pred": "a" if step % 3 else "x", "big": "x" * 100})
    scans.clear()
    found = vault.trend("log", measure)
    rights = [step % 3 > 0 for step in range(12)]
    assert found["value"].to_numpy() == pytest.approx([np.mean(rights[: at + 1]) for at in range(12)])
    assert scans
    assert all(names is not None and not any("big" in name for name in names) for _, names, _ in scans)
    read = [(name, position) for _, names, rows in scans for name in names for position in rows]
    assert len(read) == len(set(read))  # no cell was read twice


def test_r13_asking_again_reads_nothing(vault, scans):
    versions(vault, [1, 0], [1, 1])

    def accuracy(df):
        return (df["gold"] == df["pred"]).mean()

    for measure, band in (("gold == pred", "bootstrap"), (accuracy, None)):
        first = vault.trend("preds", measure, band=band)
        scans.clear()
        pd.testing.assert_frame_equal(vault.trend("preds", measure, band=band), first)
        assert not scans


def test_r13_another_measure_is_measured_anew(vault):
    versions(vault, [1, 0])
    limit = 1

    def least(df):
        return float(limit)

    assert vault.trend("preds", least)["value"].tolist() == [1.0]
    limit = 2
    assert vault.trend("preds", least)["value"].tolist() == [2.0]
    assert vault.trend("preds", lambda df: 3.0)["value"].tolist() == [3.0]
    assert vault.trend("preds", lambda df: 4.0)["value"].tolist() == [4.0]
    for wanted in ("a", "x"):  # noqa: B007  # the text names it
        assert vault.trend("preds", "pred == @wanted")["value"].tolist() == [0.5]
    wanted = "nothing"  # noqa: F841
    assert vault.trend("preds", "pred == @wanted")["value"].tolist() == [0.0]


FACTOR = 1.0
STATE: dict[str, float] = {"x": 1.0}


def _inner(df):
    return FACTOR * len(df)


def test_r13_what_a_function_uses_is_part_of_its_code(monkeypatch):
    def outer(df):
        return _inner(df)

    def nested(df):
        return sum(_inner(df) for _ in range(2))

    before = function_key(outer), function_key(nested)
    assert None not in before
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    after = function_key(outer), function_key(nested)
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert function_key(lambda df: STATE["x"]) is None  # a dict may change without a sign
    assert function_key(lambda df: np.mean(df["x"])) is not None


def test_r13_by_session_and_day(vault):
    for right in ([1, 0], [1, 1]):
        with vault.session("eval"):
            vault.save("preds", preds(np.array([False, False])))
            vault.save("preds", preds(np.array(right, bool)))
    found = vault.trend("preds", "gold == pred", per="session")
    assert found[["session", "version", "value"]].to_numpy().tolist() == [
        ["eval#1", 2, 0.5],
        ["eval#2", 4, 1.0],
    ]
    days = vault.versions("preds")["time"].dt.date.nunique()
    assert vault.trend("preds", "gold == pred", per="day")["version"].tolist()[-1] == 4
    assert len(vault.trend("preds", "gold == pred", per="day")) == days


def test_r13_several_lists_and_versions_up_to_one(vault):
    for name in ("preds-a", "preds-b", "other"):
        vault.save(name, {"x": 1})
        vault.save(name, {"x": 2})
    assert vault.trend("preds-*", "x")["list"].tolist() == ["preds-a"] * 2 + ["preds-b"] * 2
    some = vault.trend(["preds-a@1", vault["other"]], "x")
    assert some[["list", "version"]].to_numpy().tolist() == [["other", 1], ["other", 2], ["preds-a", 1]]
    vault.delete("other")
    assert set(vault.trend("*", "x")["list"]) == {"preds-a", "preds-b"}


def test_r13_slices(vault):
    versions(vault, [1, 0, 1, 1], topic=["s", "s", "t", "t"])
    found = vault.trend("preds", "gold == pred", by="topic")
    assert found[["slice", "value", "n"]].to_numpy().tolist() == [
        ["all", 0.75, 4],
        ["topic=s", 0.5, 2],
        ["topic=t", 1.0, 2],
    ]
    frame = vault.trend("preds", {"share": lambda df: float((df["gold"] == df["pred"]).mean())}, by=["topic"])
    assert frame["value"].tolist() == found["value"].tolist()


def test_r13_a_band_is_the_bootstrap_of_its_rows(vault):
    right = np.random.default_rng(4).random(300) < 0.8
    versions(vault, right, right[:1])
    found = vault.trend("preds", "gold == pred", band="bootstrap")
    spread = right.std() / np.sqrt(300)
    assert found[["lo", "hi"]].iloc[0].tolist() == pytest.approx(
        [right.mean() - 1.96 * spread, right.mean() + 1.96 * spread], abs=0.3 * spread
    )
    assert found[["lo", "hi"]].iloc[1].isna().all()  # one row has no spread
    again = vault.trend("preds", "pred == gold", band="bootstrap")  # another code, the same values
    assert again["lo"].equals(found["lo"])


def test_r13_baselines_are_paired_where_keys_align(vault):
    first, second, third = np.zeros((3, 100), bool)
    first[:50] = second[:60] = third[:40] = True
    versions(vault, first, second, third)
    values = {}
    for baseline in ("first", "previous", 2):
        found = vault.trend("preds", "gold == pred", baseline=baseline)
        values[baseline] = found["delta"].round(6).tolist()
        line = found.iloc[2]
        assert line["delta_lo"] < line["delta"] < line["delta_hi"]
        assert line["n_pairs"] == 100
        assert found["n_pairs"].tolist() == [
            0 if baseline == "previous" else 100,
            100,
            100,
        ]  # against itself, too
    assert values["first"] == [0.0, 0.1, -0.1]
    assert np.isnan(values["previous"][0])
    assert values["previous"][1:] == [0.1, -0.2]
    assert values[2] == [-0.1, 0.0, -0.2]
    paired = vault.trend("preds", "gold == pred", baseline="first").iloc[1]
    for each in (first, second):
        vault.save("loose", pd.DataFrame({"right": each}), inputs=False)
    loose = vault.trend("loose", "right", baseline="first").iloc[1]
    assert (loose["n_pairs"], round(loose["delta"], 6)) == (0, 0.1)  # rows of equal content are no pairs
    assert paired["delta_hi"] - paired["delta_lo"] < 0.15


def test_a_baseline_that_is_not_there_is_an_error(folder_vault):
    folder_vault.save("marks", [{"right": True}, {"right": False}])
    with pytest.raises(tv.InvalidInput, match=r"baseline=7 is none of the versions that are measured: \[1\]"):
        folder_vault.trend("marks", "right", baseline=7)


def test_r13_a_baseline_may_be_called_by_a_name(vault):
    versions(vault, [1, 0, 0], [1, 1, 0], [1, 1, 1])
    vault.save("other", {"gold": "a", "pred": "a"}, inputs=False)
    vault.tag("preds@2", "best")
    vault.snapshot("paper")
    trend = vault.trend(["preds", "other"], "gold == pred", baseline="best")
    assert trend["delta"].round(2).tolist()[-3:] == [-0.33, 0.0, 0.33]
    assert np.isnan(trend["delta"][0])  # no version of this list has the name
    assert vault.trend("preds", "gold == pred", baseline="paper")["delta"].round(2).tolist() == [
        -0.67,
        -0.33,
        0.0,
    ]
    with pytest.raises(tv.VersionNotFound, match="bets"):
        vault.trend("preds", "gold == pred", baseline="bets")
    with pytest.raises(tv.InvalidInput, match=r"baseline='paper' is none of the versions .*: \[1, 2\]"):
        vault.trend("preds@2", "gold == pred", baseline="paper")


def test_r13_rows_that_change_by_their_key_are_pairs(vault):
    """Beside plain pandas, over every way to make a version."""
    rows = pd.DataFrame({"id": range(40), "x": np.arange(40) % 7})
    shown = [rows]
    vault.save("marks", rows, inputs=False)
    vault.upsert("marks", rows.iloc[:5].assign(x=50), key="id", inputs=False)
    shown.append(rows.assign(x=rows["x"].mask(rows["id"] < 5, 50)))
    vault.delete_rows("marks", filters="id >= 30")
    shown.append(shown[1].query("id < 30"))
    vault.append("marks", {"id": 99, "x": 3}, inputs=False)
    shown.append(pd.concat([shown[2], pd.DataFrame({"id": [99], "x": [3]})]))
    vault.restore("marks", 2)
    shown.append(shown[1])
    trend = vault.trend("marks", "x", baseline="first")
    assert trend["value"].tolist() == pytest.approx([each["x"].mean() for each in shown])
    both = [rows.merge(each, on="id") for each in shown]
    assert trend["n_pairs"].tolist()[1:] == [len(each) for each in both[1:]]
    assert trend["delta"].tolist() == pytest.approx([(each["x_y"] - each["x_x"]).mean() for each in both])


def test_r13_a_number_of_whole_frames_is_drawn_two_hundred_times(folder_vault, monkeypatch):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"id": range(100), "x": rng.normal(0, 1, 100)})
    folder_vault.upsert("runs", frame, key="id")
    noise = rng.normal(1, 0.5, 100)
    folder_vault.save("runs", frame.assign(x=frame["x"] + noise))
    calls, counted = [], []

    def mean(rows):
        calls.append(len(rows))
        return rows["x"].mean()

    real = measuring.Bar.__call__
    monkeypatch.setattr(
        measuring.Bar, "__call__", lambda bar, steps=1: counted.append(steps) or real(bar, steps)
    )
    trend = folder_vault.trend("runs", mean, baseline="previous")
    line = trend.iloc[1]
    assert 400 <= len(calls) <= 410
    assert counted.count(1) == 2 + 200  # versions, and draws
    plain = folder_vault.trend("runs", "x", baseline="previous").iloc[1]
    assert line["n_pairs"] == 100
    assert line["delta"] == pytest.approx(plain["delta"])
    assert (line["delta_hi"] - line["delta_lo"]) == pytest.approx(2 * 1.96 * noise.std() / 10, rel=0.25)


def test_r13_changes_are_the_versions_that_leave_the_noise(vault):
    rng = np.random.default_rng(8)
    rates = [0.7, 0.72, 0.95, 0.95, 0.6]
    versions(vault, *(rng.random(300) < rate for rate in rates))
    found = vault.trend("preds", "gold == pred")
    changes = found.changes()
    assert changes[["previous", "version"]].to_numpy().tolist() == [[2, 3], [4, 5]]
    assert (changes["p_holm"] < 0.05).all()
    assert ((changes["lo"] > 0) | (changes["hi"] < 0)).all()
    assert all(isinstance(each, str) for each in changes["code_diff"])
    assert found[found["version"].isin([1, 3])].changes()[["previous", "version"]].to_numpy().tolist() == [
        [1, 3]
    ]
    assert vault.trend("preds", "gold == pred", by="gold").changes()["slice"].tolist() == [
        "all",
        "all",
        "gold=a",
        "gold=a",
    ]
    vault.rename("preds", "answers")  # as another process may between the two calls
    with pytest.raises(tv.ListRenamed, match="it is called 'answers' now"):
        found.changes()


def test_r13_appended_rows_are_compared_with_those_before(vault):
    rng = np.random.default_rng(2)
    for step in range(12):
        vault.append("log", pd.DataFrame({"x": rng.normal(5 if step == 8 else 0, 1, 60)}))
    found = vault.trend("log", "x", baseline="previous")
    assert found.changes()["version"].tolist()[0] == 9
    assert found[found["version"] < 9].changes().empty
    assert found["delta"].iloc[1:].to_numpy() == pytest.approx(np.diff(found["value"]))


def test_r13_a_hundred_steps_of_noise_are_no_changes(folder_vault):
    rng = np.random.default_rng(6)
    for _ in range(60):
        folder_vault.save("noise", pd.DataFrame({"x": rng.normal(size=40)}).rename_axis("id"))
    assert folder_vault.trend("noise", "x").changes().empty


def test_a_trend_leaves_the_process(folder_vault):
    versions(folder_vault, [1, 0], [1, 1])
    found = pickle.loads(pickle.dumps(folder_vault.trend("preds", "gold == pred")))
    assert found["value"].tolist() == [0.5, 1.0]
    with pytest.raises(tv.InvalidInput, match="none any more"):
        found.changes()


def test_a_lazy_frame_is_a_frame():
    whole = pd.DataFrame({"x": [1, 2, 3], "y": [1.0, 2.0, 4.0], "gold": list("aba")})
    loads: list[list[object]] = []

    def lazy():
        loads.clear()
        return LazyFrame.of(lambda labels: loads.append(labels) or whole[labels], list(whole.columns), 3)

    frame = lazy()
    assert (frame.x + frame["y"]).tolist() == [2.0, 4.0, 7.0]
    assert loads == [["x"], ["y"]]
    assert (len(frame), list(frame), "x" in frame, isinstance(frame, pd.DataFrame)) == (
        3,
        ["x", "y", "gold"],
        True,
        True,
    )
    with pytest.raises(
        AttributeError, match="The list has no column 'z', and a DataFrame nothing of that name"
    ):
        _ = frame.z
    assert lazy()[["y", "x"]].columns.tolist() == ["y", "x"]
    assert loads == [["y", "x"]]
    for act in (
        lambda df: df.groupby("gold")["x"].sum(),
        lambda df: df[df["x"] > 1],
        lambda df: df.query("x > 1"),
        lambda df: pd.concat([df, df]),
        lambda df: df.assign(z=1),
        lambda df: df.T,
        lambda df: df.loc[df["x"] > 1, "y"],
        lambda df: df.iloc[:2].describe(),
        lambda df: df.merge(whole, on="x"),
        lambda df: df.dtypes,
    ):
        expected, got = act(whole), act(lazy())
        assert got.equals(expected)
    frame = lazy()
    frame["z"] = frame["x"] * 2
    assert frame["z"].tolist() == [2, 4, 6]
    assert frame.shape == (3, 4)
    with pytest.raises(KeyError):
        lazy()["nope"]
    with pytest.raises(AttributeError):
        _ = lazy().nope
