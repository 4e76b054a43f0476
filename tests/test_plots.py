"""Pictures of answers, seen through what they draw: the data of their artists, their labels and legends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from logged import record

import tablevault_pd as tv

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402  # after the backend is chosen
from matplotlib.collections import LineCollection, PathCollection  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes

NAN = math.nan


@pytest.fixture
def vault(here: Path) -> Iterator[tv.Vault]:
    with tv.connect(here / "test.vault", session=False, capture="none") as opened:
        yield opened
    plt.close("all")


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line(ax: Axes, label: str) -> np.ndarray:
    (found,) = [each for each in ax.lines if each.get_label() == label]
    return np.array(found.get_xydata())


def points(ax: Axes, label: str) -> list[list[float]]:
    (found,) = [
        each for each in ax.collections if isinstance(each, PathCollection) and each.get_label() == label
    ]
    return np.asarray(found.get_offsets()).tolist()


def draws(ax: Any) -> None:
    """The picture can be made."""
    np.atleast_1d(ax)[0].figure.canvas.draw()


def test_curves_of_few_runs_are_named_and_whole(vault):
    record(vault.store, {"loss": [(0, 3.0), (2, 1.0), (1, 2.0)]})
    record(vault.store, {"loss": [(0, 5.0)]})
    ax = vault.metrics("loss").vault.plot()
    assert line(ax, "train#1").tolist() == [[0, 3], [1, 2], [2, 1]]
    assert legend(ax) == ["train#1", "train#2"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")
    draws(ax)


def test_the_curve_of_one_run_is_drawn_as_it_is(vault):
    record(vault.store, {"loss": [(0, 3.0), (1, 2.0)], "acc": [(0, 0.5), (1, 0.6)]})
    ax = vault.run("train").curve("loss").vault.plot()
    assert ax.lines[0].get_xydata().tolist() == [[0, 3], [1, 2]]
    assert (ax.get_xlabel(), ax.get_legend()) == ("step", None)
    both = vault.run("train").curve().vault.plot()
    assert [one.get_ylabel() for one in both] == ["acc", "loss"]
    draws(ax)


def test_steps_are_whole_numbers_on_the_axis_too(vault):
    for seed in range(2):
        record(vault.store, {"loss": [(0, 3.0), (1, 2.0), (2, 1.0 + seed)]}, params={"seed": seed})
    for answer in (vault.metrics("loss"), vault.bands("loss", over="params.seed")):
        assert all(float(place).is_integer() for place in answer.vault.plot().get_xticks())


def test_curves_of_many_runs_are_faint_under_their_median(vault):
    values = np.random.default_rng(0).normal(size=(11, 20))
    for run in values:
        record(vault.store, {"loss": list(enumerate(run.tolist()))})
    ax = vault.metrics("loss").vault.plot.curves()
    (runs,) = [each for each in ax.collections if isinstance(each, LineCollection)]
    assert [segment[:, 1].tolist() for segment in runs.get_segments()] == values.tolist()
    assert runs.get_alpha() < 0.5
    np.testing.assert_allclose(line(ax, "median and quartiles")[:, 1], np.median(values, axis=0))
    assert legend(ax) == ["11 runs", "median and quartiles"]
    draws(ax)


def test_nan_and_infinities_are_marked(vault):
    record(vault.store, {"loss": [(0, 3.0), (1, NAN), (2, math.inf), (3, 1.0), (4, -math.inf)]})
    ax = vault.metrics("loss").vault.plot()
    assert points(ax, "NaN") == [[1, 3]]  # as high as the last number before
    assert [x for x, _ in points(ax, "infinite")] == [2]
    assert [x for x, _ in points(ax, "minus infinite")] == [4]
    drawn = line(ax, "train#1")
    assert np.isnan(drawn[[1, 2, 4], 1]).all()  # the line breaks there
    draws(ax)


def test_r1_a_picture_keeps_the_extremes_of_every_column_of_pixels(vault):
    rng = np.random.default_rng(1)
    values = rng.normal(size=50_000)
    values[[123, 33_333]] = [99.0, -99.0]
    values[40_000] = NAN
    record(vault.store, {"loss": list(enumerate(values.tolist()))})
    ax = vault.metrics("loss").vault.plot()
    drawn = line(ax, "train#1")
    width = ax.get_window_extent().width
    assert len(drawn) <= 6 * width
    assert {(123, 99), (33_333, -99), (0, values[0]), (49_999, values[-1])} <= set(map(tuple, drawn))
    assert points(ax, "NaN") == [[40_000, values[39_999]]]
    assert np.isnan(drawn[:, 1]).sum() == 1
    column = (np.arange(50_000) * (int(width) / 49_999)).astype(int)
    kept = pd.Series(drawn[:, 1]).groupby((drawn[:, 0] * (int(width) / 49_999)).astype(int))
    every = pd.Series(values).groupby(column)
    assert kept.min().tolist() == every.min().tolist()
    assert kept.max().tolist() == every.max().tolist()


def test_several_metrics_have_axes_each_and_the_wide_form_draws_the_same(vault):
    record(vault.store, {"loss": [(0, 3.0), (1, NAN)], "acc": [(1, 0.5)]})
    long = vault.metrics(["loss", "acc"]).vault.plot()
    wide = vault.metrics(["loss", "acc"], form="wide", missing=True, params=True).vault.plot()
    for axes in (long, wide):
        assert [ax.get_ylabel() for ax in axes] == ["loss", "acc"]
        assert line(axes[1], "train#1").tolist() == [[1, 0.5]]
        assert points(axes[0], "NaN") == [[1, 3]]
    one = vault.metrics(["loss", "acc"]).vault.plot.curves("acc")
    assert one.get_ylabel() == "acc"
    with pytest.raises(tv.InvalidInput, match="Did you mean 'acc'"):
        vault.metrics(["loss", "acc"]).vault.plot.curves("ac")
    with pytest.raises(tv.InvalidInput, match="the frame has 2"):
        vault.metrics(["loss", "acc"]).vault.plot(ax=one)


def test_axes_are_named_after_x(vault):
    record(vault.store, {"loss": [(0, 3.0), (1, 2.0)], "epoch": [(0, 1.0)]})
    for x, label in {"elapsed": "elapsed [s]", "time": "time (UTC)", "epoch": "epoch"}.items():
        ax = vault.metrics("loss", x=x).vault.plot()
        assert ax.get_xlabel() == label
        assert len(line(ax, "train#1")) == 2
        draws(ax)


def test_bands_of_parameters_that_are_lists(vault):
    for layers in ([8], [8, 8], None):
        with vault.session("train", params={"layers": layers, "seed": 1}) as run:
            run.log(step=0, acc=0.5)
            run.log(step=1, acc=0.7)
    drawn = vault.bands("acc", band="minmax").vault.plot()
    names = {each.partition(": ")[0] for each in legend(drawn)}
    assert names == {"layers=[8]", "layers=[8, 8]", "layers=not given"}


def test_bands_draw_their_middle_and_say_how_many_runs_there_are(vault):
    for lr in (0.1, None):
        for seed in range(3):
            params = {"seed": seed} | ({} if lr is None else {"lr": lr})
            record(
                vault.store, {"acc": [(step, seed + step) for step in range(4 if seed else 2)]}, params=params
            )
    frame = vault.bands("acc", band="minmax")
    ax = frame.vault.plot()
    assert legend(ax) == ["lr=0.1: n 3 to 2", "lr=not given: n 3 to 2"]
    assert line(ax, "lr=0.1: n 3 to 2").tolist() == [[0, 1], [1, 2], [2, 3.5], [3, 4.5]]
    assert ax.get_legend().get_title().get_text() == "area: least and greatest"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "acc")
    heights = ax.collections[0].get_paths()[0].vertices
    assert (heights[:, 1].min(), heights[:, 1].max()) == (0, 5)
    held = vault.bands("acc", band="minmax", ragged="hold").vault.plot()
    assert legend(held)[0] == "lr=0.1: n 3, 1 held"
    assert [each.get_linestyle() for each in held.lines[:2]] == ["-", "--"]
    draws(held)


def test_the_best_stands_against_the_parameter_that_varies(vault):
    for lr, loss in ((0.001, 0.3), (0.1, 0.2), (None, 0.9)):
        record(vault.store, {"loss": [(0, loss)]}, params={} if lr is None else {"lr": lr})
    ax = vault.best("loss", "min").vault.plot()
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lr", "lowest loss")
    assert points(ax, "best: train#2") == [[0.1, 0.2]]
    ((x, y),) = points(ax, "not given")
    assert x < 0.001
    assert y == 0.9
    assert sorted(points(ax, ax.collections[0].get_label())) == [[0.001, 0.3], [0.1, 0.2]]
    draws(ax)


def test_a_text_parameter_and_no_parameter_at_all_can_be_drawn(vault):
    for opt in ("sgd", "adam", None):
        record(vault.store, {"loss": [(0, 1.0)]}, params={} if opt is None else {"opt": opt})
    ax = vault.best("loss", "max").vault.plot()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["not given", "adam", "sgd"]
    ax = vault.sessions(columns=["session", "metrics.loss"]).vault.plot.scatter()
    assert ax.get_xlabel() == "session"
    assert vault.metrics("loss", agg="min").vault.plot().get_ylabel() == "value"


def test_parallel_coordinates_have_a_lane_for_what_is_not_given(vault):
    for lr, opt, loss in ((0.001, "sgd", 0.3), (0.1, "adam", 0.2), (None, "sgd", 0.9)):
        record(vault.store, {"loss": [(0, loss)]}, params={"opt": opt} | ({} if lr is None else {"lr": lr}))
    ax = vault.best("loss", "min").vault.plot()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["opt", "lr", "lowest loss"]
    (lines,) = [each for each in ax.collections if isinstance(each, LineCollection)]
    assert lines.get_array().tolist() == [0.9, 0.3, 0.2]  # the best is on top
    heights = {
        value: segment[:, 1].round(3).tolist()
        for value, segment in zip(lines.get_array(), lines.get_segments(), strict=True)
    }
    assert heights == {0.9: [1, -0.14, 1], 0.3: [1, 0, pytest.approx(0.143, abs=1e-3)], 0.2: [0, 1, 0]}
    assert "not given" in [text.get_text() for text in ax.texts]
    draws(ax)
    with pytest.raises(tv.InvalidInput, match=r"take .plot.scatter"):
        vault.best("loss", "min", sessions="train#1").vault.plot.parallel()


def test_the_timeline_shows_attempts_and_pauses(vault):
    record(vault.store, {"loss": [(0, 1.0)]}, pauses=[(0.0, 0.001)])
    record(vault.store, [{"loss": [(0, 1.0)]}, {"loss": [(1, 1.0)]}])
    ax = vault.sessions().vault.plot()
    bars = {container.get_label(): container for container in ax.containers}
    assert [round(bar.get_y() + bar.get_height() / 2) for bar in bars["finished"]] == [0, 1, 1]
    (pause,) = bars["pause"]
    assert pause.get_width() * 86_400 == pytest.approx(0.001, rel=0.1)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["train#1", "train#2"]
    assert ax.yaxis_inverted()
    draws(ax)


def test_a_frame_that_is_no_answer_is_refused_and_says_what_is(vault):
    record(vault.store, {"loss": [(0, 1.0)]})
    with pytest.raises(tv.InvalidInput, match=r"draws answers of a vault.*draw it with df.plot"):
        pd.DataFrame({"a": [1]}).vault.plot()
    with pytest.raises(
        tv.InvalidInput, match=r"\.plot\.bands draws bands.*an answer of metrics: take \.plot\.curves"
    ):
        vault.metrics("loss").vault.plot.bands()
    with pytest.raises(tv.InvalidInput, match="needs the columns started, ended"):
        vault.sessions(columns=["session", "state", "heartbeat"]).vault.plot()


def test_an_answer_stays_one_when_it_is_filtered_or_its_mark_is_lost(vault):
    for _ in range(2):
        record(vault.store, {"loss": [(0, 1.0), (1, 2.0)]})
    frame = vault.metrics("loss")
    assert legend(frame[frame["session"] == "train#2"].vault.plot()) == ["train#2"]
    bare = pd.DataFrame(frame.to_dict("list"))
    assert bare.attrs == {}
    assert len(legend(bare.vault.plot())) == 2
    assert len(frame.attrs) == 1
    assert all(isinstance(value, str) and len(value) < 100 for value in frame.attrs.values())


def test_names_are_shown_as_they_are(vault):
    record(vault.store, {"a$x$b": [(0, 1.0), (1, 2.0)]}, name="_quiet $\\frac", params={"$": "$\\int"})
    record(vault.store, {"a$x$b": [(0, 1.0), (1, 2.0)]}, name="other", params={"$": "$"})
    ax = vault.metrics().vault.plot()
    assert legend(ax) == [" _quiet \\$\\frac#1", "other#1"]
    draws(ax)
    draws(vault.best("a$x$b", "max").vault.plot())
    draws(vault.best("a$x$b", "max").vault.plot.parallel())
    draws(vault.bands("a$x$b", band="std").vault.plot())
    draws(vault.sessions().vault.plot())


def test_values_that_cannot_be_placed_are_not_left_out_without_a_word(vault):
    record(vault.store, {"some": [(0, 1.0), (None, 2.0)], "none": [(None, 1.0)]})
    with pytest.warns(UserWarning, match="1 values of 'some' have no step"):
        vault.metrics("some").vault.plot()
    with pytest.raises(tv.InvalidInput, match="No value of 'none' has a step"):
        vault.metrics("none").vault.plot()


def test_without_matplotlib_the_error_names_the_extra(vault, monkeypatch):
    record(vault.store, {"loss": [(0, 1.0)]})
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(tv.MissingDependency, match=r"tablevault-pd\[plot\]"):
        vault.metrics("loss").vault.plot()
