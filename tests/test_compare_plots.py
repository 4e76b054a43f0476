"""The pictures of comparisons and trends: what is drawn is what the answer says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402  # after the backend is chosen
from matplotlib.collections import PolyCollection  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def vault(folder_vault):
    rng = np.random.default_rng(3)
    for number, rate in enumerate((0.7, 0.7, None, 0.97)):
        rows = pd.DataFrame({"topic": ["s", "t"] * 100, "ms": rng.normal(size=200)})
        if rate is not None:
            rows["right"] = rng.random(200) < rate
        folder_vault.save("marks", rows.rename_axis("id"), tags=[str(number)])
    return folder_vault


def texts(ax):
    return [each.get_text() for each in ax.texts]


def test_r13_the_trend_has_its_interval_and_marked_changes(vault):
    trend = vault.trend("marks", "right", band="bootstrap")
    ax = trend.vault.plot()
    line = ax.lines[0]
    assert line.get_xdata().tolist() == [1, 2, 3, 4]
    assert line.get_ydata() == pytest.approx(trend["value"], nan_ok=True)
    (area,) = [each for each in ax.collections if isinstance(each, PolyCollection)]
    reach = np.concatenate([path.vertices for path in area.get_paths()])[:, 1]
    assert (reach.min(), reach.max()) == pytest.approx((trend["lo"].min(), trend["hi"].max()))
    crosses = [each for each in ax.lines if each.get_marker() == "x"]
    assert [each.get_xdata().tolist() for each in crosses] == [[3]]  # the version that has no such column
    (rings,) = [each for each in ax.lines if each.get_label() == "left the noise"]
    assert rings.get_xdata().tolist() == trend.changes()["version"].tolist() == [4]
    assert texts(ax) == [f"{trend.changes()['delta'][0]:+.3g}"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("version", "right")


def test_r13_sessions_are_drawn_where_there_is_a_point_for_each(folder_vault):
    """Three runs make two versions, and the second one confirms the first; the last one takes the first back."""
    same, other = np.arange(200) < 100, np.arange(200) < 190
    for right in (same, same, other, same):
        with folder_vault.session("fit"):
            folder_vault.save("marks", pd.DataFrame({"right": right}).rename_axis("id"))
    trend = folder_vault.trend("marks", "right", per="session", band="bootstrap")
    ax = trend.vault.plot()
    assert ax.lines[0].get_xdata().tolist() == [0, 1, 2, 3]
    assert ax.lines[0].get_ydata().tolist() == trend["value"].tolist() == [0.5, 0.5, 0.95, 0.5]
    ticks = [ax.xaxis.get_major_formatter()(at, None) for at in (0, 1, 2, 3, 4)]
    assert ticks == ["fit#1", "fit#2", "fit#3", "fit#4", ""]
    (rings,) = [line for line in ax.lines if line.get_label() == "left the noise"]
    assert rings.get_xdata().tolist() == [2, 3]
    assert ax.get_xlabel() == "session"
    day = folder_vault.trend("marks", "right", per="day").vault.plot()
    assert (day.get_xlabel(), day.lines[0].get_xdata().tolist()[0]) == ("day", 0)


def test_r13_slices_are_lines_that_break_where_a_version_failed(vault):
    ax = vault.trend("marks", "right", by="topic").vault.plot.trend()
    named = {each.get_label(): each for each in ax.lines if not each.get_label().startswith("_")}
    assert list(named) == ["all", "topic=s", "topic=t", "left the noise"]
    assert np.isnan(named["topic=s"].get_ydata()).tolist() == [False, False, True, False]


def test_no_two_of_many_slices_look_the_same(folder_vault):
    for hit in (True, False):
        folder_vault.save("many", pd.DataFrame({"digit": range(12), "right": hit}))
    ax = folder_vault.trend("many", "right", by="digit").vault.plot.trend()
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines if len(line.get_xdata()) == 2}
    assert len(looks) == 13  # and all together


def test_flips_are_a_matrix(vault):
    found = vault.compare("marks@1", "marks@4", measure="right")
    ax = found.plot()
    drawn = {each.split("\n")[0]: int(each.split("\n")[1]) for each in texts(ax)}
    assert drawn == found["flip"].astype(object).str.replace("_", " ").value_counts().to_dict()
    assert drawn["fixed"] == found.summary.loc[0, "fixed"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("marks@1", "marks@4")
    assert "fixed" in " ".join(texts(found[found["flip"] == "fixed"].vault.plot()))


def test_flips_of_several(vault):
    found = vault.compare("marks@1", "marks@2", "marks@4", measure={"right": "right", "ms": "ms"})
    axes = found.plot.flips()
    assert [ax.get_title().split(":")[0] for ax in axes] == ["right", "ms", "right", "ms"]
    assert [each.split("\n")[0] for each in texts(axes[1])] == ["down", "same", "up"]
    states = vault.compare("marks@1", vault.read("marks@4").iloc[5:]).plot()
    assert texts(states)[-1].split("\n")[:2] == ["removed", "5"]


def test_pictures_are_of_the_answer_that_they_draw(vault):
    found = vault.compare("marks@1", "marks@2")
    with pytest.raises(tv.InvalidInput, match=r"\.plot\.trend draws trend"):
        found.plot.trend()
    with pytest.raises(tv.InvalidInput, match="keep it"):
        found[["ms_a"]].plot()
    with pytest.raises(tv.InvalidInput, match="none any more"):
        pd.DataFrame(found.reset_index()).assign(z=1).pipe(lambda df: tv.Comparison(df)).plot()


def test_a_hostile_name_is_no_formula(folder_vault):
    name = r"$\frac{1}{$"
    for value in (True, False):
        folder_vault.save(name, pd.DataFrame({name: [value] * 3}).rename_axis("id"))
    folder_vault.compare(f"{name}@1", f"{name}@2", measure={name: f"`{name}`"}).plot().figure.canvas.draw()
    folder_vault.trend(name, {name: f"`{name}`"}, by=name).vault.plot().figure.canvas.draw()
