"""Random runs, resumed or not, against plain pandas: every form of ``metrics``, ``best`` and ``bands``."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logged import record
from torture.harness import times

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METRICS = ("acc", "loss")
values = st.sampled_from([math.nan, 0.1, 0.2, 0.30000000000000004, -1.5, 1e300, 7.0])
steps = st.one_of(st.integers(0, 6), st.integers(0, 6), st.none())
logged = st.lists(st.tuples(steps, values), max_size=8)
attempts = st.lists(st.fixed_dictionaries(dict.fromkeys(METRICS, logged)), min_size=1, max_size=3)
runs = st.lists(attempts, min_size=1, max_size=4)
names = (f"world-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tv.Vault]:
    place: Path = tmp_path_factory.mktemp("oracle") / "v"
    with tv.connect(place, session=False, capture="none") as opened:
        record(opened.store, {metric: [(0, 0.0)] for metric in METRICS}, name="known")
        yield opened


def written(vault: tv.Vault, world: list[Any]) -> tuple[str, pd.DataFrame]:
    """Record a world under a new name, and return that with all that was logged, in order, as one frame."""
    name, lines = next(names), []
    for number, run in enumerate(world):
        session = record(vault.store, run, name=name, params={"seed": number, "group": number % 2})
        for attempt, by_metric in enumerate(run):
            for metric, points in by_metric.items():
                lines += [
                    (session.label, session.run, attempt, metric, step, value) for step, value in points
                ]
    frame = pd.DataFrame(lines, columns=["session", "run", "attempt", "metric", "step", "value"])
    return name, frame.astype({"step": "Int64", "value": "float64"})


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(
        ["run", "metric", "step", "attempt"], kind="stable", na_position="last"
    ).reset_index(drop=True)


def counted_once(frame: pd.DataFrame) -> pd.DataFrame:
    """What ``repeats="last"`` keeps, found out row by row."""
    began = frame.dropna(subset="step").groupby(["session", "attempt"])["step"].min()
    kept: dict[Any, Any] = {}
    for number, row in enumerate(frame.itertuples()):
        if pd.isna(row.step):
            kept[number] = row.Index
            continue
        later = [began[key] for key in began.index if key[0] == row.session and key[1] > row.attempt]
        if not any(row.step >= begin for begin in later):
            key = (row.session, row.metric, row.step)
            if key not in kept or frame["attempt"][kept[key]] <= row.attempt:
                kept[key] = row.Index
    return in_order(frame.loc[sorted(kept.values())])


def same(found: pd.DataFrame, expected: pd.DataFrame, columns: list[str]) -> None:
    pd.testing.assert_frame_equal(
        found[columns].reset_index(drop=True),
        expected[columns].reset_index(drop=True),
        check_dtype=False,
        rtol=1e-12,
    )


@settings(max_examples=times(25, ordinary=12))
@given(world=runs, mode=st.sampled_from(["min", "max"]), after=st.sampled_from([None, 0, 3]))
def test_every_form_is_what_plain_pandas_says(vault, world, mode, after):
    name, every = written(vault, world)
    check_the_long_form_is_what_was_logged(vault, name, every)
    check_the_wide_form_is_the_pivot_of_the_long_one(vault, name)
    check_aggregates_are_those_of_pandas(vault, name, every)
    check_best_is_the_first_of_the_best_and_the_best_session_first(vault, name, every, mode, after)
    check_bands_are_those_of_each_x(vault, name, every)


def check_the_long_form_is_what_was_logged(vault, name, every):
    columns = ["session", "run", "attempt", "metric", "step", "value"]
    same(vault.metrics(list(METRICS), sessions=name), in_order(every), columns)
    same(vault.metrics(list(METRICS), sessions=name, repeats="last"), counted_once(every), columns)


def check_the_wide_form_is_the_pivot_of_the_long_one(vault, name):
    long = vault.metrics(list(METRICS), sessions=name, repeats="last")
    wide = vault.metrics(list(METRICS), sessions=name, form="wide", missing=True)
    stepped = long.dropna(subset="step")
    for metric in METRICS:
        mine = stepped[stepped["metric"] == metric].set_index(["session", "step"])["value"]
        there = wide[wide["step"].notna() & ~wide[f"{metric}_missing"]].set_index(["session", "step"])[metric]
        pd.testing.assert_series_equal(there, mine, check_names=False)
        free = wide[wide["step"].isna() & ~wide[f"{metric}_missing"]][metric]
        mine = long[long["step"].isna() & (long["metric"] == metric)]["value"]
        assert sorted(map(str, free)) == sorted(map(str, mine))
    assert not wide[wide["step"].notna()].duplicated(["session", "step"]).any()
    assert not wide[[f"{metric}_missing" for metric in METRICS]].all(axis=1).any()


def check_aggregates_are_those_of_pandas(vault, name, every):
    asked = ["first", "last", "min", "max", "mean", "median", "std", "count"]
    found = vault.metrics(list(METRICS), sessions=name, agg=asked)
    groups = counted_once(every).groupby(["run", "session", "metric"])["value"]
    expected = groups.agg(["min", "max", "mean", "median", "std", "count"]).add_prefix("value_")
    expected["value_first"] = groups.agg(lambda values: values.iloc[0])
    expected["value_last"] = groups.agg(lambda values: values.iloc[-1])
    expected["n"], expected["n_nan"] = groups.count(), groups.size() - groups.count()
    same(
        found,
        expected.reset_index(),
        ["session", "metric", *(f"value_{each}" for each in asked), "n", "n_nan"],
    )


def check_best_is_the_first_of_the_best_and_the_best_session_first(vault, name, every, mode, after):
    once = counted_once(every)
    expected = []
    for session, curve in once[once["metric"] == "loss"].groupby("session", sort=False):
        judged = curve if after is None else curve[curve["step"].fillna(-1) > after]
        judged = judged.dropna(subset="value")
        if judged.empty:
            expected.append((session, pd.NA, math.nan, 0))
            continue
        best = judged["value"].min() if mode == "min" else judged["value"].max()
        first = judged[judged["value"] == best].iloc[0]
        expected.append((session, first["step"], first["value"], len(judged)))
    found = vault.best("loss", mode, sessions=name, after=after)
    columns = ["session", "best_step", "best_value", "n"]
    ranked = sorted(expected, key=lambda row: (math.isnan(row[2]), row[2] if mode == "min" else -row[2]))
    same(found, pd.DataFrame(ranked, columns=columns).astype({"best_step": "Int64"}), columns)


def check_bands_are_those_of_each_x(vault, name, every):
    once = counted_once(every)
    once = once[(once["metric"] == "acc") & once["step"].notna()]
    if once.empty:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values without a step
        found = vault.bands("acc", sessions=name, by="params.group", band="std")
    once = once.assign(group=(once["run"] - 1) % 2)
    groups = once.groupby(["group", "step"])["value"]
    expected = groups.agg(["count", "mean", "std"]).reset_index()
    expected = expected.set_axis(["params.group", "x", "n", "mid", "std"], axis=1)
    same(found, expected, ["params.group", "x", "n", "mid"])
    spread = (found["hi"] - found["mid"]).to_numpy(float, na_value=np.nan)
    np.testing.assert_allclose(spread, expected["std"], rtol=1e-6, atol=1e-9)
