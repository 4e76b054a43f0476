"""What was logged as integers comes back as integers, in every answer; other metrics stay floats."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.importers.runs import ImportedRun, put_run
from tablevault_pd.reading.integers import integer_metrics
from tablevault_pd.session import metrics_buffer as buffers
from tablevault_pd.store import Beat, Measures

HUGE = 2**62  # a float holds it


@pytest.fixture
def vault(sessionless_vault: tv.Vault) -> tv.Vault:
    """An empty vault in each store, in which this process has no session of its own."""
    return sessionless_vault


def train(vault: tv.Vault) -> None:
    with vault.session("train") as s:
        for step in range(3):
            s.log(epoch=step, loss=step / 2, size=np.int64(HUGE), best=step == 1, acc=1.0, step=step)
            s.log({"ratio": 1 if step else 0.5}, step=step)
    with vault.session("train") as s:
        s.log(epoch=24, loss=1)


def test_integers_are_integers_in_every_answer(vault):
    train(vault)
    logged = {
        "epoch": "Int64",
        "size": "Int64",
        "best": "Int64",
        "loss": "float64",
        "acc": "float64",
        "ratio": "float64",
    }
    for metric, dtype in logged.items():
        assert vault.metrics(metric)["value"].dtype == dtype, metric
        assert vault.best(metric, "max")[["best_value", "last_value"]].dtypes.tolist() == [dtype] * 2, metric
        of_sessions = vault.sessions("train", columns=["session", f"metrics.{metric}"])
        assert of_sessions[f"metrics.{metric}"].dtype == dtype, metric
        assert vault.run("train#1").curve(metric)["value"].dtype == dtype, metric
    assert vault.sessions("train")["metrics.epoch"].tolist() == [2, 24]
    assert vault.sessions("train")["metrics.size"].tolist() == [HUGE, pd.NA]
    assert vault.metrics("size")["value"].tolist() == [HUGE] * 3
    assert vault.metrics("best")["value"].tolist() == [0, 1, 0]
    assert vault.metrics(["epoch", "size"])["value"].dtype == "Int64"
    assert vault.metrics(["epoch", "loss"])["value"].dtype == "float64"
    assert vault.run("train#1").curve("epoch", "loss")["value"].dtype == "float64"
    last = vault.run("train#1").metrics
    assert {name: type(value) for name, value in last.items()} == {
        name: int if dtype == "Int64" else float for name, dtype in logged.items()
    }
    assert "epoch=2," in repr(vault.run("train#1"))
    with vault.session("svm", params={"C": 1.0, "k": 1, "tiny": 1e-9, "huge": 1e20}) as s:
        s.log(loss=2.0, best=math.inf)
    assert repr(vault.run("svm")).splitlines()[1:] == [
        "  params: C=1.0, k=1, tiny=1e-09, huge=1e+20",
        "  metrics: best=inf, loss=2.0",
    ]


def test_wide_forms_axes_and_aggregates_have_them_too(vault):
    train(vault)
    wide = vault.metrics(["epoch", "loss", "size"], form="wide")
    assert wide[["epoch", "loss", "size"]].dtypes.tolist() == ["Int64", "float64", "Int64"]
    assert wide["size"].tolist() == [HUGE, HUGE, HUGE, pd.NA]
    assert vault.metrics("loss", x="epoch")["x"].tolist() == [0, 1, 2, 24]
    assert vault.metrics("loss", x="epoch")["x"].dtype == "Int64"
    assert vault.bands("loss", x="epoch")["x"].dtype == "Int64"
    assert vault.bands("loss", x="epoch", grid=[0.5, 1.5])["x"].dtype == "float64"
    assert vault.best("loss", "max", at=["epoch"])["epoch"].tolist() == [2, 24]
    assert vault.best("loss", "max", at=["epoch"])["epoch"].dtype == "Int64"
    chosen = vault.metrics("epoch", agg=["last", "first", "min", "max", "count"])
    assert chosen.filter(like="value").dtypes.tolist() == ["Int64"] * 5
    assert chosen["value_max"].tolist() == [2, 24]
    others = vault.metrics("epoch", agg=["mean", "median", "std", np.ptp])
    assert others.filter(like="value").dtypes.tolist() == ["float64"] * 4
    mixed = vault.metrics(["epoch", "loss"], agg="max")
    assert mixed["value"].dtype == "float64"
    of_each = vault.metrics(["epoch", "loss"], agg="max", form="wide")
    assert of_each[["epoch", "loss"]].dtypes.tolist() == ["Int64", "float64"]
    shown = vault.sessions("train", columns=["session", "metrics.epoch"], show={"epoch": ["max", "mean"]})
    assert shown.dtypes.tolist()[1:] == ["Int64", "float64"]


def test_pictures_of_integers_are_drawn(vault):
    train(vault)
    assert vault.metrics("epoch").vault.plot().lines[0].get_ydata().tolist() == [0, 1, 2]
    vault.metrics("loss", x="epoch").vault.plot()
    vault.bands("epoch", x="step").vault.plot()
    vault.best("epoch", "max").vault.plot.scatter("session")


def test_filters_judge_them_as_the_frame_that_is_shown(vault):
    with vault.session("train") as s:
        s.log(epoch=24)
    with vault.session("train") as s:
        s.log(loss=0.5)
    everything = vault.sessions("train")
    for text in ("`metrics.epoch` == 24", "`metrics.epoch` != 24", "`metrics.epoch` < 30"):
        kept = everything.query(text)["session"].tolist()
        assert vault.sessions("train", filters=text)["session"].tolist() == kept, text
        assert vault.sessions(filters=text, columns=["session"])["session"].tolist() == kept, text


def test_one_value_that_is_no_integer_makes_floats_also_in_another_attempt(vault):
    with vault.session("train") as s:
        s.log(a=1, b=1, c=1)
        vault.sessions()  # what was logged so far is written
        s.log(a=2, b=0.5, c=1)
    with vault.session(resume="train#1") as s:
        s.log(a=3, b=2, c=2.0)
    assert vault.sessions("train").filter(like="metrics.").dtypes.tolist() == ["Int64", "float64", "float64"]
    assert [vault.metrics(name)["value"].dtype for name in "abc"] == ["Int64", "float64", "float64"]
    with vault.session(resume="train#1") as s:
        s.log(a=4, c=3)
    assert vault.metrics("a")["value"].tolist() == [1, 2, 3, 4]
    assert vault.metrics("c")["value"].dtype == "float64"
    with vault.session("train") as s:
        s.log(a=0.0)
    assert vault.metrics("a", sessions="train#1")["value"].dtype == "Int64"
    assert vault.metrics("a")["value"].dtype == "float64"
    with vault.session("train") as s:
        s.log(a=float("nan"))
    assert vault.metrics("a", sessions="train#3")["value"].dtype == "float64"


def test_what_went_through_the_file_of_the_buffer_keeps_its_kind(here, monkeypatch):
    monkeypatch.setattr(buffers, "MAX_ROWS", 20)
    monkeypatch.setattr(buffers, "BATCH_VALUES", 8)
    monkeypatch.setattr(buffers, "STEP_ROWS", 2)
    backlog = buffers.Backlog(lambda: 0.0, here)
    for number in range(60):
        backlog.rows.append(
            (number, 0.0, {"epoch": number, "loss": 0.5, "mixed": number if number < 50 else 0.5})
        )
    assert backlog.spill()
    kinds: dict[str, set[bool]] = {}
    while batch := backlog.next_batch():
        for measures in batch:
            kinds.setdefault(measures.metric, set()).add(measures.integers)
        backlog.batch = None
    assert kinds == {"epoch": {True}, "loss": {False}, "mixed": {True, False}}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.int8(3), 3), (np.uint64(7), 7), (np.bool_(True), 1), (True, 1), (np.array([5]), 5), (np.array(5), 5),
        (pd.Series([4]).iloc[0], 4), (-(2**63), -(2**63)), (2**53, 2**53),
        (3.0, 3.0), (np.float32(3), 3.0), (Decimal(3), 3.0), (2**63, 2.0**63), (2**70, 2.0**70),
    ],
    ids=repr,
)  # fmt: skip
def test_numbers_of_other_libraries_are_what_they_say(here, value, kept):
    with tv.connect(here / "test.vault", session=False, capture="none") as vault:
        with vault.session("train") as s:
            s.log(n=value)
        got = vault.metrics("n")["value"].tolist()
        assert got == [kept]
        assert type(got[0]) is type(kept)
        assert type(vault.run("train").metrics["n"]) is type(kept)


@pytest.mark.parametrize(
    "value",
    [2**53 + 1, -(2**53) - 1, np.int64(2**62 + 1), 10**400, np.timedelta64(5, "ns"), np.datetime64(5, "ns"), 1j, pd.NA, pd.Timedelta(5)],
    ids=repr,
)  # fmt: skip
def test_what_a_float_does_not_hold_is_refused_before_anything_is_kept(here, value):
    with tv.connect(here / "test.vault", session=False, capture="none") as vault:
        with vault.session("train") as s, pytest.raises(tv.InvalidInput, match="n="):
            s.log({"a": 1, "n": value})
        assert vault.run("train").metrics == {}


def test_values_of_a_vault_that_says_nothing_of_integers_are_floats(vault):
    with vault.session("train") as s:
        key = s.id
    numbers = [np.array([1, 2]), np.array([1, 2]), np.array([1.0, 2.0])]
    vault.store.beat([Beat(key, number=99, measures=(Measures(key, "epoch", *numbers),))])
    assert vault.metrics("epoch")["value"].dtype == "float64"
    assert vault.sessions()["metrics.epoch"].dtype == "float64"


def test_a_statement_that_the_values_contradict_counts_for_nothing(vault):
    with vault.session("train") as s:
        key = s.id
    numbers: list[Any] = [np.array([1]), np.array([1]), np.array([0.5])]
    beat = Beat(
        key, number=99, measures=(Measures(key, "epoch", *numbers),), timeline={"integers": ["epoch"]}
    )
    vault.store.beat([beat])
    assert vault.metrics("epoch")["value"].tolist() == [0.5]
    assert vault.run("train").metrics == {"epoch": 0.5}
    assert vault.run("train").curve("epoch")["value"].tolist() == [0.5]
    assert vault.sessions(columns=["metrics.epoch"])["metrics.epoch"].tolist() == [0.5]


def test_copies_keep_them(vault, here):
    train(vault)
    with vault.session("train") as s:
        s.log(ratio=1, acc=1.0)
    tv.copy(vault, here / "copied.vault")
    with tv.connect(here / "copied.vault", mode="r") as copied:
        expected, there = vault.sessions("train"), copied.sessions("train")
        pd.testing.assert_frame_equal(there.filter(like="metrics."), expected.filter(like="metrics."))
        pd.testing.assert_series_equal(copied.metrics("epoch")["value"], vault.metrics("epoch")["value"])
    vault.session(resume="train#1").__enter__().__exit__(None, None, None)
    with vault.session(resume="train#1") as s:
        s.log(epoch=0.5)
    tv.copy(vault, here / "copied.vault")
    with tv.connect(here / "copied.vault", mode="r") as copied:
        assert copied.sessions("train")["metrics.epoch"].dtype == "float64"


def test_of_many_metrics_each_is_looked_up_once(vault):
    """Not among all the others of its session."""
    compared = [0]

    class Name(str):
        __slots__ = ()

        def __eq__(self, other):
            compared[0] += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    names = [f"m{number}" for number in range(300)]
    with vault.session("train") as s:
        s.log({name: 1 if number % 3 else 0.5 for number, name in enumerate(names)})
    found = integer_metrics(vault.store, {Name(name): [s.id] for name in names})
    assert {str(name) for name in found} == {name for number, name in enumerate(names) if number % 3}
    assert compared[0] <= 2 * len(names)
    everything = vault.metrics(names, form="wide")[names].dtypes
    assert [dtype == "Int64" for dtype in everything] == [number % 3 > 0 for number in range(300)]
    of_sessions = vault.sessions("train")[[f"metrics.{name}" for name in names]].dtypes
    assert of_sessions.tolist() == everything.tolist()


def test_imported_runs_keep_them(vault):
    now = datetime.now(UTC)
    run = ImportedRun(
        "imported", now, metrics={"epoch": [(0, 1, 1), (1, 2, 2)], "loss": [(0, 1, 1), (1, 2, 0.5)]}
    )
    put_run(vault.store, run)
    assert vault.metrics("epoch")["value"].tolist() == [1, 2]
    assert vault.metrics("epoch")["value"].dtype == "Int64"
    assert vault.metrics("loss")["value"].dtype == "float64"
    put_run(
        vault.store, replace(run, metrics={"epoch": [(0, 1, 1), (1, 2, 2), (2, 3, 2.5)]})
    )  # the run went on
    assert vault.metrics("epoch")["value"].tolist() == [1, 2, 2.5]
