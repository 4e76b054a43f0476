"""Logged values as frames: the rules of ``metrics``, ``best``, ``bands`` and ``sessions``, one test or more for each."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from logged import record

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAN, INF = math.nan, math.inf


@pytest.fixture
def vault(sessionless_vault: tv.Vault) -> tv.Vault:
    """An empty vault in each store, in which this process has no session of its own."""
    return sessionless_vault


@pytest.fixture
def folder(here: Path) -> Iterator[tv.Vault]:
    """The same in a folder alone, for what is computed above the stores."""
    with tv.connect(here / "test.vault", session=False, capture="none") as opened:
        yield opened


def curve(*values: float, start: int = 0) -> list[tuple[int, float]]:
    return list(enumerate(values, start=start))


def rows(frame: pd.DataFrame, *columns: str) -> list[list[Any]]:
    """The rows as plain lists, missing values as None, NaN as the text "nan"."""
    return [
        [
            None if cell is pd.NA else "nan" if isinstance(cell, float) and math.isnan(cell) else cell
            for cell in row
        ]
        for row in zip(*(frame[name] for name in columns), strict=True)
    ]


# -- R1, R2


def test_r1_every_value_comes_back_however_many(vault):
    values = np.random.default_rng(0).normal(size=30_000)
    record(vault.store, {"loss": curve(*values)})
    found = vault.metrics("loss")
    assert found["value"].to_numpy().tolist() == values.tolist()
    assert found["step"].tolist() == list(range(30_000))


class Spy:
    """What was asked of a store."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.calls: list[tuple[str, Any]] = []
        for name in names:
            monkeypatch.setattr(store, name, self._wrapped(name, getattr(store, name)))

    def _wrapped(self, name: str, real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, options.get("metrics")))
            return real(*arguments, **options)

        return call


def test_r2_only_the_metrics_that_are_asked_for_are_read(vault, monkeypatch):
    record(vault.store, {f"m{number}": curve(1.0, 2.0) for number in range(5)} | {"rare": curve(7.5)})
    spy = Spy(vault.store, monkeypatch, "measures", "overview", "timelines")
    assert vault.metrics("rare")["value"].tolist() == [7.5]
    assert spy.calls == [("measures", ["rare"])]


def test_r2_a_table_of_two_columns_reads_no_session(vault, monkeypatch):
    record(vault.store, {"loss": curve(1.0, 2.0), "acc": curve(3.0)}, params={"lr": 0.1, "opt": {"beta": 1}})
    spy = Spy(vault.store, monkeypatch, "measures", "overview", "sessions")
    found = vault.sessions(columns=["session", "params.lr", "metrics.loss"])
    assert rows(found, "session", "params.lr", "metrics.loss") == [["train#1", 0.1, 2.0]]
    assert spy.calls == []
    found = vault.sessions(columns=["state", "metrics.acc", "params.opt.beta"])
    assert rows(found, "state", "metrics.acc", "params.opt.beta") == [["finished", 3.0, 1]]
    assert ("overview", ["acc"]) in spy.calls


# -- R3: axes


def test_r3_a_value_without_a_step_has_none_and_never_zero(vault):
    with vault.session("train") as s:
        s.log(loss=0.5)
        s.log(step=0, loss=0.4)
    found = vault.metrics("loss")
    assert str(found["step"].dtype) == "Int64"
    assert rows(found, "step", "value") == [[0, 0.4], [None, 0.5]]


def test_r3_another_metric_is_paired_at_the_same_step_else_at_the_last_before(vault):
    record(vault.store, {"loss": curve(5.0, 4.0, 3.0, 2.0, 1.0), "epoch": [(1, 1.0), (3, 2.0)]})
    record(vault.store, {"loss": curve(9.0)})  # no epoch of another session is taken
    found = vault.metrics("loss", x="epoch")
    assert rows(found, "session", "step", "x", "x_lag", "value") == [
        ["train#1", 1, 1.0, 0, 4.0],
        ["train#1", 2, 1.0, 1, 3.0],
        ["train#1", 3, 2.0, 0, 2.0],
        ["train#1", 4, 2.0, 1, 1.0],
        ["train#1", 0, "nan", None, 5.0],
        ["train#2", 0, "nan", None, 9.0],
    ]
    assert str(found["x_lag"].dtype) == "Int64"


def test_r3_an_attempt_is_paired_with_what_had_been_logged_by_then(vault):
    first = {"loss": curve(3.0, 2.0), "epoch": curve(1.0, 2.0)}
    record(vault.store, [first, {"loss": curve(2.5, start=1), "epoch": curve(1.5, start=1)}])
    found = vault.metrics("loss", x="epoch")
    assert rows(found, "attempt", "step", "x") == [[0, 0, 1.0], [1, 1, 1.5], [0, 1, 2.0]]


def test_r3_active_time_leaves_out_pauses(vault):
    values = [(0, 1.0, 2.0), (1, 1.0, 5.0), (2, 1.0, 20.0)]
    started = record(vault.store, {"loss": values}, pauses=[(4.0, 8.0), (10.0, 15.0)]).started
    assert vault.metrics("loss", x="elapsed")["x"].tolist() == [2.0, 5.0, 20.0]
    assert vault.metrics("loss", x="active")["x"].tolist() == [2.0, 4.0, 11.0]
    times = vault.metrics("loss", x="time")["x"]
    assert str(times.dtype) == "datetime64[us, UTC]"
    assert (times - pd.Timestamp(started)).dt.total_seconds().tolist() == [2.0, 5.0, 20.0]


def test_r3_idle_spans_may_overlap():
    from tablevault_pd.analysis.axes import idle_until

    found = idle_until(np.array([0, 5, 10, 15, 40]), [(3, 12), (4, 6), (10, 14), (20, 2**62)])
    assert found.tolist() == [0, 2, 7, 11, 31]


# -- R4, R5: repeats, and the order of logging


def test_r4_a_resumed_run_counts_each_step_once(vault):
    record(
        vault.store,
        [
            {"loss": curve(9.0, 8.0, 7.0, 6.0, 5.0), "acc": [(4, 0.1)]},
            {"loss": [(2, 1.0), (3, 2.0), (3, 3.0)]},
        ],
    )
    every = vault.metrics("loss")
    assert rows(every, "attempt", "step", "value") == [
        [0, 0, 9.0], [0, 1, 8.0], [0, 2, 7.0], [1, 2, 1.0], [0, 3, 6.0], [1, 3, 2.0], [1, 3, 3.0], [0, 4, 5.0],
    ]  # fmt: skip
    last = vault.metrics("loss", repeats="last")
    assert rows(last, "attempt", "step", "value") == [[0, 0, 9.0], [0, 1, 8.0], [1, 2, 1.0], [1, 3, 3.0]]
    # The point of resumption is one for all metrics of the session.
    assert vault.metrics("acc", repeats="last").empty
    assert vault.metrics("acc", repeats="all")["value"].tolist() == [0.1]


def test_r4_each_form_has_its_default(vault):
    record(vault.store, [{"loss": curve(9.0, 8.0)}, {"loss": [(1, 1.0)]}])
    assert len(vault.metrics("loss")) == 3
    assert len(vault.metrics("loss", form="wide")) == 2
    assert vault.metrics("loss", agg="max")["value"].tolist() == [9.0]
    assert vault.metrics("loss", agg="mean")["value"].tolist() == [5.0]
    assert vault.metrics("loss", agg="mean", repeats="all")["value"].tolist() == [6.0]
    assert vault.best("loss", "max", after=0)["best_value"].tolist() == [1.0]


def test_r4_a_session_that_is_really_resumed_has_attempts(vault):
    with pytest.raises(ZeroDivisionError), vault.session("train") as s:
        for step in range(4):
            s.log(step=step, loss=float(step))
        raise ZeroDivisionError
    with vault.session("train", resume=True) as s:
        for step in range(2, 5):
            s.log(step=step, loss=10.0 + step)
    assert rows(vault.metrics("loss", repeats="last"), "session", "attempt", "step", "value") == [
        ["train#1", 0, 0, 0.0], ["train#1", 0, 1, 1.0], ["train#1", 1, 2, 12.0], ["train#1", 1, 3, 13.0], ["train#1", 1, 4, 14.0],
    ]  # fmt: skip


def test_r5_the_order_of_logging_does_not_matter(vault):
    values = curve(*np.random.default_rng(1).normal(size=50))
    shuffled = [values[at] for at in np.random.default_rng(2).permutation(50)]
    record(vault.store, {"loss": values}, name="a")
    record(vault.store, {"loss": shuffled}, name="b")
    for options in ({}, {"agg": ["last", "mean", "std", "median"]}, {"form": "wide"}):
        first, second = (vault.metrics("loss", sessions=name, **options) for name in "ab")
        same = [name for name in first.columns if name not in ("session", "name", "started")]
        pd.testing.assert_frame_equal(first[same], second[same])


# -- R6: NaN


def test_r6_a_logged_nan_is_a_row_and_an_unlogged_step_is_none(vault):
    record(vault.store, {"loss": [(0, NAN), (1, 0.5)], "acc": [(1, NAN), (2, 0.9)]})
    assert rows(vault.metrics("loss"), "step", "value") == [[0, "nan"], [1, 0.5]]
    wide = vault.metrics(form="wide", missing=True)
    assert rows(wide, "step", "acc", "acc_missing", "loss", "loss_missing") == [
        [0, "nan", True, "nan", False],
        [1, "nan", False, 0.5, False],
        [2, 0.9, False, "nan", True],
    ]


def test_r6_nan_never_wins_and_is_counted(vault):
    record(vault.store, {"loss": curve(NAN, 0.5, 0.25, NAN)})
    record(vault.store, {"loss": curve(NAN, NAN)})
    found = vault.metrics("loss", agg=["min", "max", "mean", "median", "first", "last", "count"])
    columns = [
        "value_min",
        "value_max",
        "value_mean",
        "value_median",
        "value_first",
        "value_last",
        "value_count",
        "n",
        "n_nan",
    ]
    assert rows(found, *columns) == [
        [0.25, 0.5, 0.375, 0.375, "nan", "nan", 2, 2, 2],
        ["nan", "nan", "nan", "nan", "nan", "nan", 0, 0, 2],
    ]
    assert str(found["value_count"].dtype) == "Int64"
    best = vault.best("loss", "min")
    assert rows(best, "best_step", "best_value", "last_value", "n", "n_nan") == [
        [2, 0.25, "nan", 2, 2],
        [None, "nan", "nan", 0, 2],
    ]


def test_r6_infinities_are_values(vault):
    record(vault.store, {"loss": curve(INF, 1.0, -INF)})
    found = vault.metrics("loss", agg=["min", "max", "count"])
    assert rows(found, "value_min", "value_max", "value_count", "n_nan") == [[-INF, INF, 3, 0]]
    assert rows(vault.best("loss", "max"), "best_step", "best_value") == [[0, INF]]
    assert rows(vault.bands("loss", band="minmax"), "x", "n", "mid") == [
        [0, 1, INF],
        [1, 1, 1.0],
        [2, 1, -INF],
    ]


def test_r6_filters_judge_nan_as_pandas_does(vault):
    for value in (0.5, NAN, 2.0):
        record(vault.store, {"loss": curve(value)})
    assert vault.metrics("loss", filters="metrics.loss < 1")["session"].tolist() == ["train#1"]
    assert vault.metrics("loss", filters="not metrics.loss < 1")["session"].tolist() == ["train#2", "train#3"]


# -- R7 to R10: bands


def seeds(vault: tv.Vault, *curves: list[tuple[int, float]], **params: Any) -> None:
    for seed, values in enumerate(curves):
        record(vault.store, {"acc": values}, params={"seed": seed} | params)


def test_r7_values_are_put_together_only_where_they_share_x(folder):
    seeds(folder, [(0, 1.0), (2, 3.0)], [(0, 2.0), (1, 9.0), (2, 5.0)])
    found = folder.bands("acc", band="std")
    assert rows(found, "x", "n", "mid") == [[0, 2, 1.5], [1, 1, 9.0], [2, 2, 4.0]]
    assert str(found["x"].dtype) == "Int64"
    assert "interpolated" not in found


def test_r7_a_grid_interpolates_inside_of_each_runs_own_range_and_says_so(folder):
    seeds(folder, [(0, 0.0), (4, 4.0)], [(1, 11.0), (3, 13.0)])
    found = folder.bands("acc", band="minmax", grid="union")
    assert rows(found, "x", "n", "mid", "interpolated") == [
        [0, 1, 0.0, False], [1, 2, 6.0, True], [3, 2, 8.0, True], [4, 1, 4.0, False],
    ]  # fmt: skip
    found = folder.bands("acc", band="minmax", grid=[0, 2.5, 5])
    assert rows(found, "x", "n", "mid", "interpolated") == [[0.0, 1, 0.0, False], [2.5, 2, 7.5, True]]


def test_r7_nan_is_not_interpolated_over(folder):
    seeds(folder, [(0, 0.0), (2, NAN), (4, 4.0)])
    found = folder.bands("acc", band="minmax", grid=[0, 1, 2, 3, 4])
    assert rows(found, "x", "n", "mid", "n_nan") == [
        [0, 1, 0.0, 0],
        [1, 0, "nan", 1],
        [2, 0, "nan", 1],
        [3, 0, "nan", 1],
        [4, 1, 4.0, 0],
    ]


@pytest.mark.parametrize("band", ["ci", "bootstrap", "sem", "std", "minmax", "iqr"])
def test_r7_identical_runs_are_that_run_with_a_spread_of_zero(folder, band):
    values = curve(0.1, 1 / 3, 1e300, -7.7, 2.5e-310)
    seeds(folder, *[values] * 7)
    found = folder.bands("acc", band=band)
    assert (
        found["mid"].tolist()
        == found["lo"].tolist()
        == found["hi"].tolist()
        == [value for _, value in values]
    )


def test_r7_a_group_depends_on_nothing_but_its_own_runs(folder):
    rng = np.random.default_rng(3)
    for lr in (0.1, 0.2):
        seeds(folder, *(curve(*rng.normal(size=12)) for _ in range(5)), lr=lr)
    for band in ("ci", "bootstrap", "iqr"):
        for options in ({}, {"grid": "union"}, {"ragged": "hold"}):
            both = folder.bands("acc", band=band, **options)
            alone = folder.bands("acc", band=band, filters="params.lr == 0.2", **options)
            mine = both[both["params.lr"] == 0.2].drop(columns="params.lr").reset_index(drop=True)
            pd.testing.assert_frame_equal(mine, alone)


def test_r8_everything_but_the_seed_makes_groups_and_no_run_is_dropped(vault):
    given = [
        {"seed": 0, "lr": 0.1}, {"seed": 1, "lr": 0.1}, {"seed": 0, "lr": 0.2}, {"seed": 0}, {"lr": 0.2, "fixed": True}, {"opt": {"m": 1}},
        {"opt": {"m": 1.0}},
    ]  # fmt: skip
    for value, params in enumerate(given):
        record(vault.store, {"acc": curve(float(value))}, params=params)
    found = vault.bands("acc", band="minmax")
    assert rows(found, "params.lr", "params.fixed", "params.opt.m", "n", "lo", "mid") == [
        [0.1, None, None, 2, 0.0, 0.5],
        [0.2, True, None, 1, None, 4.0],
        [0.2, None, None, 1, None, 2.0],
        ["nan", None, 1, 2, 5.0, 5.5],
        ["nan", None, None, 1, None, 3.0],
    ]
    assert found["n"].sum() == len(given)
    assert vault.bands("acc", over=["params.seed", "params.lr"], band="minmax")["n"].sum() == len(given)
    assert rows(vault.bands("acc", by="params.seed", band="std"), "params.seed", "n") == [
        [0, 3],
        [1, 1],
        [None, 3],
    ]
    assert rows(vault.bands("acc", by=[], band="std"), "x", "n") == [[0, 7]]


def test_r8_an_unknown_parameter_is_an_error_that_names_close_ones(vault):
    seeds(vault, curve(1.0), learning_rate=0.1)
    with pytest.raises(
        tv.InvalidInput, match=r"No .*params.lerning_rate.*Did you mean 'params.learning_rate'"
    ):
        vault.bands("acc", over="params.lerning_rate")
    with pytest.raises(tv.InvalidInput, match=r"'params.seed', one or a list, not 'seed'"):
        vault.bands("acc", by="seed")


def test_r9_bands_are_what_scipy_and_numpy_say(folder):
    stats = pytest.importorskip("scipy.stats")
    runs = np.random.default_rng(4).normal(size=(6, 3))
    seeds(folder, *(curve(*run) for run in runs))
    mean, std, sem = runs.mean(axis=0), runs.std(axis=0, ddof=1), stats.sem(runs, axis=0)
    expected = {
        "ci": stats.t.interval(0.9, df=5, loc=mean, scale=sem),
        "sem": (mean - sem, mean + sem),
        "std": (mean - std, mean + std),
        "minmax": (runs.min(axis=0), runs.max(axis=0)),
        "iqr": tuple(np.quantile(runs, [0.25, 0.75], axis=0)),
    }
    for band, (low, high) in expected.items():
        found = folder.bands("acc", band=band, level=0.9)
        assert found.columns.tolist() == ["x", "n", "mid", "lo", "hi", "band", "n_nan"]
        assert found["band"].tolist() == [band] * 3
        np.testing.assert_allclose(found["mid"], mean)
        np.testing.assert_allclose(found["lo"].astype(float), low)
        np.testing.assert_allclose(found["hi"].astype(float), high)


def test_r9_the_bootstrap_is_seeded_and_near_to_scipys(folder):
    stats = pytest.importorskip("scipy.stats")
    runs = np.random.default_rng(5).normal(size=20)
    seeds(folder, *(curve(run) for run in runs))
    for center, statistic in (("mean", np.mean), ("median", np.median)):
        found = folder.bands("acc", band="bootstrap", center=center)
        theirs = stats.bootstrap(
            (runs,), statistic, method="percentile", n_resamples=20_000, rng=np.random.default_rng(6)
        )
        assert found["mid"].tolist() == pytest.approx([statistic(runs)])
        assert [found["lo"][0], found["hi"][0]] == pytest.approx(list(theirs.confidence_interval), abs=0.1)
        assert folder.bands("acc", band="bootstrap", center=center).equals(found)


def test_r9_one_run_has_no_interval(folder):
    seeds(folder, curve(1.0, 2.0), curve(3.0))
    found = folder.bands("acc", band="std")
    assert rows(found, "n", "lo", "hi") == [
        [2, pytest.approx(2 - 2**0.5), pytest.approx(2 + 2**0.5)],
        [1, None, None],
    ]
    assert str(found["lo"].dtype) == "Float64"


def test_r9_without_scipy_only_the_t_interval_is_refused(folder, monkeypatch):
    seeds(folder, curve(1.0), curve(2.0))
    monkeypatch.setitem(__import__("sys").modules, "scipy.special", None)
    with pytest.raises(tv.MissingDependency, match=r"pip install 'tablevault-pd\[stats\]'"):
        folder.bands("acc")
    for band in ("bootstrap", "sem", "std", "minmax", "iqr"):
        assert len(folder.bands("acc", band=band)) == 1


def test_r9_an_interval_of_means_around_a_median_is_refused(folder):
    seeds(folder, curve(1.0), curve(2.0))
    with pytest.raises(tv.InvalidInput, match="Around a median take"):
        folder.bands("acc", center="median")


def test_r10_runs_that_stop_early(folder):
    seeds(folder, curve(1.0, 2.0, 3.0, 4.0), curve(3.0, 4.0), curve(5.0, 6.0, 7.0))
    shrink = folder.bands("acc", band="minmax")
    assert rows(shrink, "x", "n", "mid") == [[0, 3, 3.0], [1, 3, 4.0], [2, 2, 5.0], [3, 1, 4.0]]
    common = folder.bands("acc", band="minmax", ragged="common")
    assert rows(common, "x", "n", "mid") == [[0, 3, 3.0], [1, 3, 4.0]]
    hold = folder.bands("acc", band="minmax", ragged="hold")
    assert rows(hold, "x", "n", "mid", "held") == [
        [0, 3, 3.0, 0],
        [1, 3, 4.0, 0],
        [2, 3, pytest.approx(14 / 3), 1],
        [3, 3, 5.0, 2],
    ]


def test_r10_several_values_of_a_run_at_one_x_are_one_the_last(folder):
    seeds(folder, curve(1.0, 2.0))
    record(folder.store, {"acc": curve(1.0, 3.0, 5.0), "epoch": [(0, 0.0), (2, 1.0)]}, name="epochs")
    found = folder.bands("acc", sessions="epochs", x="epoch", band="std")
    assert rows(found, "x", "n", "mid") == [[0.0, 1, 3.0], [1.0, 1, 5.0]]


def test_values_without_x_are_left_out_of_bands_with_a_warning(folder):
    record(folder.store, {"acc": [(0, 1.0), (None, 2.0)]})
    with pytest.warns(UserWarning, match="1 values of 'acc' have no step"):
        assert len(folder.bands("acc", band="std")) == 1
    record(folder.store, {"free": [(None, 2.0)]})
    with pytest.raises(tv.InvalidInput, match="No value of 'free' has a step"):
        folder.bands("free", band="std")


# -- R11: best


def test_r11_best_is_one_place(vault):
    losses = curve(0.9, 0.4, 0.6, 0.4)
    record(
        vault.store,
        {"loss": losses, "acc": [(0, 0.1), (1, 0.5), (3, 0.9)], "epoch": [(0, 1.0)], "late": [(3, 7.0)]},
        params={"lr": 0.1},
    )
    found = vault.best("loss", mode="min", at=["acc", "epoch", "late"])
    assert found.columns.tolist() == [
        "session", "name", "run", "metric", "best_step", "best_value", "acc", "acc_lag", "epoch", "epoch_lag", "late", "late_lag",
        "last_value", "steps_since_best", "n", "n_nan", "attempt", "params.lr",
    ]  # fmt: skip
    assert rows(found, *found.columns[3:]) == [
        ["loss", 1, 0.4, 0.5, 0, 1.0, 1, "nan", None, 0.4, 2, 4, 0, 0, 0.1],
    ]
    assert rows(vault.best("loss", "max"), "best_step", "best_value") == [[0, 0.9]]


def test_r11_values_without_a_step_go_with_their_call_of_log(vault):
    for number in range(2):
        with vault.session("fit") as run:
            run.log(acc=0.5, size=1 + 10 * number)
            run.log(acc=0.9, size=2 + 10 * number)
            run.log(size=3)
            run.log(acc=0.7)
            run.log(step=4, size=5)
    best = vault.best("acc", "max", at=["size"])
    assert rows(best, "best_step", "best_value", "size", "size_lag") == [
        [None, 0.9, 2, 0],
        [None, 0.9, 12, 0],
    ]
    curve = vault.metrics("acc", sessions="fit#1", x="size")
    assert rows(curve, "value", "x") == [[0.5, 1], [0.9, 2], [0.7, None]]


def test_r11_after_skips_a_warm_up_and_no_run_is_lost_by_it(vault):
    record(vault.store, {"loss": curve(0.0, 3.0, 2.0)})
    record(vault.store, {"loss": curve(1.0)})
    found = vault.best("loss", "min", after=0)
    assert rows(found, "best_step", "best_value", "n", "last_value") == [
        [2, 2.0, 2, 2.0],
        [None, "nan", 0, 1.0],
    ]


def test_r11_smooth_chooses_on_the_rolling_mean_and_reports_raw_values(vault):
    values = [5.0, 0.0, 5.0, 2.0, 1.0, 2.0, NAN, 3.0]
    record(vault.store, {"loss": curve(*values)})
    record(vault.store, {"loss": curve(-100.0, -100.0)})  # a neighbour in memory, not in the mean
    smooth = pd.Series(values).rolling(3, center=True, min_periods=1).mean().where(pd.Series(values).notna())
    assert rows(vault.best("loss", "min", smooth=10**30), "best_step") == [
        [0],
        [0],
    ]  # one mean for all: the earliest
    found = vault.best("loss", "min", smooth=3)
    assert rows(found, "session", "best_step", "best_value") == [  # the best value first
        ["train#2", 0, -100.0],
        ["train#1", int(smooth.idxmin()), values[int(smooth.idxmin())]],
    ]


def test_r11_the_version_of_rows_is_of_that_step_or_the_last_before(vault):
    with vault.session("train") as s:
        for step, loss in enumerate([0.9, 0.1, 0.5]):
            with s.step(step):
                s.log(loss=loss)
                if step != 1:
                    vault.save("preds", pd.DataFrame({"pred": [step]}))
    vault.save("preds", pd.DataFrame({"pred": [99]}))  # by another session
    assert vault.best("loss", "min", rows="preds")["rows"].tolist() == ["preds@1"]
    assert vault.best("loss", "min", after=1, rows="preds")["rows"].tolist() == ["preds@2"]


def test_r11_rows_saved_after_the_last_value_are_of_that_value(vault):
    for losses in [[0.9, 0.1], [0.1, 0.9], [0.5]]:
        with vault.session("train") as s:
            for step, loss in enumerate(losses):
                s.log(step=step, loss=loss)
            for pred in range(2):
                vault.save("preds", pd.DataFrame({"pred": [pred, len(losses)]}))
    answers = vault.best("loss", "min", rows="preds")["rows"]
    assert answers.fillna("none").tolist() == ["preds@1", "none", "preds@5"]


def test_r11_without_steps_the_earliest_counts(vault):
    record(vault.store, {"loss": [(None, 2.0), (None, 1.0), (None, 1.0)]})
    assert rows(vault.best("loss", "min"), "best_step", "best_value", "steps_since_best", "n") == [
        [None, 1.0, None, 3]
    ]


# -- R12: tables


def test_r12_tables_for_people(vault):
    record(
        vault.store,
        {"loss": curve(0.1, 0.5), "acc": curve(1.0)},
        params={"opt": {"lr": 0.1}, "layers": 2, "same": "x"},
    )
    record(vault.store, {"loss": curve(0.4, 0.2)}, params={"opt": {"lr": 0.2}, "same": "x"})
    found = vault.sessions(only_changed=True, show={"loss": "min", "acc": ["max", "count"]})
    assert found.columns.tolist()[:1] == ["session"]
    assert set(found.columns) == {
        "session",
        "params.opt.lr",
        "params.layers",
        "metrics.loss",
        "metrics.acc_max",
        "metrics.acc_count",
    }
    assert rows(found, "params.opt.lr", "params.layers", "metrics.loss", "metrics.acc_max") == [
        [0.1, 2, 0.1, 1.0],
        [0.2, None, 0.2, "nan"],
    ]
    assert str(found["params.layers"].dtype) == "Int64"
    asked = vault.sessions(only_changed=True, columns=["started", "state", "params.opt.lr"])
    assert asked.columns.tolist() == ["started", "params.opt.lr"]


@pytest.mark.parametrize("columns", [["metrics.los"], ["params.lrr"], ["sate"], ["session", "metrics.los"]])
def test_r12_an_unknown_column_is_an_error_that_names_close_ones(vault, columns):
    record(vault.store, {"loss": curve(0.1)}, params={"lr": 0.1})
    with pytest.raises(tv.InvalidInput, match="Did you mean"):
        vault.sessions(columns=columns)


def test_r12_an_unknown_metric_is_an_error_that_names_close_ones(vault):
    record(vault.store, {"loss": curve(0.1)})
    for call in (
        lambda: vault.metrics("los"),
        lambda: vault.metrics(["loss", "los"]),
        lambda: vault.metrics("loss", x="los"),
        lambda: vault.metrics("los", agg="min"),
        lambda: vault.best("los", "min"),
        lambda: vault.best("loss", "min", at="los"),
        lambda: vault.bands("los", band="std"),
        lambda: vault.sessions(show={"los": "min"}),
    ):
        with pytest.raises(tv.InvalidInput, match=r"has the metric 'los'. Did you mean 'loss'"):
            call()


def test_r12_an_empty_answer_has_the_columns_it_would_have_had(vault):
    record(vault.store, {"loss": curve(0.1), "acc": curve(1.0)}, params={"lr": 0.1})
    calls = {
        "metrics": lambda name: vault.metrics("loss", sessions=name, x="elapsed", params=True),
        "wide": lambda name: vault.metrics(["loss", "acc"], sessions=name, form="wide", missing=True),
        "agg": lambda name: vault.metrics("loss", sessions=name, agg=["min", "count"]),
        "agg wide": lambda name: vault.metrics("loss", sessions=name, agg=["min", "count"], form="wide"),
        "bands": lambda name: vault.bands("loss", sessions=name, band="std", by="params.lr"),
        "sessions": lambda name: vault.sessions(name, columns=["session", "params.lr", "metrics.loss"]),
        "all sessions": lambda name: vault.sessions(name, show={"loss": "min"}),
    }
    for what, call in calls.items():
        full, empty = call("train"), call("nobody-*")
        assert len(empty) == 0, what
        assert empty.columns.tolist() == full.columns.tolist(), what
        assert empty.dtypes.astype(str).tolist() == full.dtypes.astype(str).tolist(), what
    empty = vault.best("loss", "min", sessions="nobody-*", at="acc")
    assert empty.columns.tolist() == vault.best("loss", "min", at="acc").columns.tolist()


def test_r12_integers_stay_integers_whatever_else_lacks_them(vault):
    big = 2**53 + 1
    record(vault.store, {"loss": curve(0.1)}, params={"n": big})
    record(vault.store, {"loss": curve(0.2)})
    for frame in (
        vault.metrics("loss", params=True),
        vault.best("loss", "min"),
        vault.sessions(columns=["params.n"]),
    ):
        assert frame["params.n"].tolist() == [big, pd.NA]
        assert str(frame["params.n"].dtype) == "Int64"


# -- which sessions, and the forms


def test_sessions_are_chosen_as_everywhere(vault):
    record(vault.store, {"loss": curve(1.0)}, name="a", tags=["x"], params={"lr": 0.1})
    second = record(
        vault.store, {"loss": curve(2.0)}, name="b", tags=["x", "y"], params={"lr": 0.2, "opt": {"m": 1}}
    )
    with vault.session("c") as s:
        s.log(step=0, loss=3.0)
        vault.describe("c", "a run with a warm start")

    def chosen(**options: Any) -> list[str]:
        return vault.metrics("loss", **options)["session"].tolist()

    assert chosen() == ["a#1", "b#1", "c#1"]
    assert chosen(sessions="b") == chosen(tags="y") == chosen(filters="params.lr > 0.1") == ["b#1"]
    assert (
        chosen(sessions=["a#1", second.id])
        == chosen(tags=["x"])
        == chosen(sessions=vault.sessions(tags="x"))
        == ["a#1", "b#1"]
    )
    assert chosen(filters=[("params.lr", "<", 0.2)]) == chosen(filters="params.lr < 0.2") == ["a#1"]
    assert (
        chosen(filters="params.opt.m == 1")
        == chosen(filters="metrics.loss == 2.0 and name == 'b'")
        == ["b#1"]
    )
    assert chosen(description="warm") == ["c#1"]
    assert chosen(since=second.started) == ["b#1", "c#1"]
    assert chosen(until=second.started, filters="metrics.loss > 0") == ["a#1"]
    with pytest.raises(tv.SessionNotFound):
        chosen(sessions="nobody")
    with pytest.raises(tv.InvalidFilter, match=r"params.rl"):
        chosen(filters="params.rl > 0")


def test_names_may_be_patterns(vault):
    record(
        vault.store, {"val_loss": curve(1.0), "val_acc": curve(2.0), "loss": curve(3.0), "odd[1]": curve(4.0)}
    )
    assert vault.metrics("val_*")["metric"].tolist() == ["val_acc", "val_loss"]
    assert vault.metrics(["loss", "val_*", "odd[1]"])["metric"].tolist() == [
        "loss",
        "val_acc",
        "val_loss",
        "odd[1]",
    ]
    assert vault.metrics("other_*").empty


def test_the_long_form_has_its_columns(vault):
    record(vault.store, {"loss": curve(1.0)}, params={"lr": 0.1})
    found = vault.metrics("loss", x="elapsed", params=True)
    text = "str" if pd.__version__ >= "3" else "object"
    assert found.dtypes.astype(str).to_dict() == {
        "session": text, "name": text, "run": "Int64", "started": "datetime64[us, UTC]", "attempt": "Int64", "step": "Int64",
        "x": "float64", "metric": text, "value": "float64", "params.lr": "float64",
    }  # fmt: skip


def test_long_curves_of_runs_with_any_names_may_be_written_to_and_are_read_anew(vault):
    names = ["é", "a longer name", "x"]  # curves long enough to be written a run at a time
    for number, name in enumerate(names):
        record(vault.store, {"loss": curve(*range(number, number + 20))}, name=name)
    found = vault.metrics("loss")
    assert found["name"].tolist() == np.repeat(names, 20).tolist()
    assert found["session"].tolist() == np.repeat([f"{name}#1" for name in names], 20).tolist()
    assert found["value"].tolist() == [float(number + step) for number in range(3) for step in range(20)]
    again = vault.metrics("loss")
    for name in ("run", "attempt", "step", "value"):
        found.loc[:, name] = 77
        found[name].array[0] = 78
    assert found["step"].tolist() == [78] + [77] * 59
    pd.testing.assert_frame_equal(vault.metrics("loss"), again)


def test_a_metric_with_the_name_of_a_column_keeps_both(vault):
    record(vault.store, {"step": curve(5.0), "run": curve(6.0)})
    wide = vault.metrics(form="wide")
    assert rows(wide, "run", "step", "metrics.run", "metrics.step") == [[1, 0, 6.0, 5.0]]
    assert rows(vault.metrics(form="wide", agg="max"), "run", "metrics.run") == [[1, 6.0]]


def test_values_without_a_step_share_a_row_of_the_wide_form_where_they_were_logged_together(vault):
    with vault.session("train") as s:
        s.log(loss=1.0, acc=2.0)
        s.log(loss=3.0)
    assert sorted(rows(vault.metrics(form="wide"), "acc", "loss"), key=str) == [["nan", 3.0], [2.0, 1.0]]


def test_aggregates_may_be_functions_and_differ_by_metric(vault):
    record(vault.store, {"loss": curve(1.0, 2.0, 6.0), "acc": curve(4.0, 8.0)})

    def span(values: pd.Series[Any]) -> float:
        return float(values.index[-1] - values.index[0] + values.iloc[0])

    assert vault.metrics("loss", agg=span)["value"].tolist() == [3.0]
    found = vault.metrics(agg={"loss": [span, "max"], "acc": "min"}, form="wide")
    assert rows(found, "loss_span", "loss_max", "acc", "acc_n") == [[3.0, 6.0, 4.0, 2]]
    found = vault.metrics(agg={"loss": [span, "max"], "acc": "min"})
    assert rows(found, "metric", "value_span", "value_max", "value") == [
        ["loss", 3.0, 6.0, "nan"],
        ["acc", "nan", "nan", 4.0],
    ]
    with pytest.raises(tv.InvalidInput, match="says nothing about 'acc'"):
        vault.metrics(["loss", "acc"], agg={"loss": "min"})
    with pytest.raises(tv.InvalidInput, match="returned 'x'"):
        vault.metrics("loss", agg=lambda values: "x")


@pytest.mark.arango
def test_a_server_is_asked_a_few_times_whatever_the_number_of_sessions(vault, sent):
    if not vault.place.startswith("arangodb"):
        pytest.skip("requests to a server")
    for seed in range(30):
        record(vault.store, {"acc": curve(1.0, 2.0), "loss": curve(1.0)}, params={"seed": seed})
    for call in (
        lambda: vault.metrics("acc"),
        lambda: vault.metrics("acc", x="loss", sessions="train", filters="params.seed < 20"),
        lambda: vault.best("acc", "max", at="loss"),
        lambda: vault.bands("acc", band="std"),
        lambda: vault.sessions(columns=["session", "metrics.acc"], show={"loss": "min"}),
    ):
        sent.clear()
        assert len(call()) > 0
        assert len(sent) <= 10


# -- the command line


def test_the_command_line_prints_metrics_and_the_best(folder, here, monkeypatch, capsys):
    from tablevault_pd.cli.commands import main

    for lr in (0.1, 0.2):
        record(
            folder.store,
            {"loss": [(step, lr / (step + 1)) for step in range(25)], "acc": curve(lr)},
            params={"lr": lr},
        )
    monkeypatch.setenv("TABLEVAULT_URL", str(here / "test.vault"))

    def printed(*arguments: str) -> tuple[int, str]:
        code = main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    def objects(*arguments: str) -> list[dict[str, Any]]:
        code, out = printed(*arguments, "--json")
        assert code == 0, out
        return json.loads(out)

    code, out = printed("metrics", "loss")
    assert code == 0
    assert "20 of 50 lines; -n shows more." in out
    assert len(objects("metrics", "loss")) == 50
    assert len(objects("metrics", "loss", "--sessions", "train#1", "-n", "-3")) == 3
    rows = objects("metrics", "loss", "acc", "--agg", "min,max", "--params", "--filters", "params.lr > 0.1")
    assert [(row["metric"], row["value_max"], row["params.lr"]) for row in rows] == [
        ("loss", 0.2, 0.2),
        ("acc", 0.2, 0.2),
    ]
    assert objects("metrics", "--wide", "--x", "loss")[0]["acc"] in (None, 0.1)
    best = objects("best", "loss", "max", "--at", "acc", "--after", "3")
    assert [(row["session"], row["best_step"], row["acc_lag"]) for row in best] == [
        ("train#2", 4, 4),
        ("train#1", 4, 4),
    ]
    rows = objects(
        "sessions", "--columns", "session", "metrics.loss", "--show", "loss=first", "--only-changed"
    )
    assert rows == [{"session": "train#1", "metrics.loss": 0.1}, {"session": "train#2", "metrics.loss": 0.2}]
    code, out = printed("metrics", "los")
    assert code == 2
    assert "Did you mean 'loss'" in out
    assert printed("sessions", "--show", "loss")[0] == 2
    assert printed("metrics", "loss", "--sessions", "nobody-*") == (0, "Nothing was logged.\n")


def test_best_keeps_its_columns_apart_from_metrics_of_their_names(folder_vault):
    with folder_vault.session("train") as s:
        s.log({"loss": 1.0, "session": 7, "n": 8, "x": 5, "x_lag": 9}, step=1)
    found = folder_vault.best("loss", "min", at=["session", "n", "x", "x_lag"])
    assert found["session"].tolist() == ["train#1"]
    labels = ["metrics.session", "metrics.n", "n", "x", "x_lag", "metrics.x_lag"]
    assert found[labels].iloc[0].tolist() == [7, 8, 1, 5, 0, 9]


def test_shown_counts_are_integers(folder_vault):
    with folder_vault.session("train") as s:
        s.log(loss=1.0)
    with folder_vault.session("train"):
        pass
    counts = folder_vault.sessions("train", show={"loss": "count"})["metrics.loss"]
    assert counts.dtype == "Int64"
    assert counts.fillna(0).tolist() == [1, 0]


def test_calls_of_log_have_times_of_their_own(folder_vault, monkeypatch):
    """What one call logged goes together; calls within one microsecond are no one call, and a clock that is set back is followed."""
    clock = iter([100.0, 100.0, 100.0000001, 50.0, 50.0])
    with folder_vault.session("fit") as run:
        run.log(begin=0.0)
        now = SimpleNamespace(time=lambda: next(clock))
        monkeypatch.setattr("tablevault_pd.session.recorder.time", now)
        for number in range(5):
            run.log(acc=float(number))
        monkeypatch.undo()
    times = folder_vault.metrics("acc", sessions="fit", x="time")["x"]
    assert times.is_unique
    assert (times.dt.round("s") == pd.to_datetime([50, 50, 100, 100, 100], unit="s", utc=True)).all()
