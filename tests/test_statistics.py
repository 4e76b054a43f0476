"""R15: the statistics of comparisons, against SciPy, and against every possible outcome where there are few."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd.analysis import statistics

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(
    ("fixed", "broken"),
    [(0, 0), (1, 0), (0, 5), (5, 5), (1, 8), (30, 2), (1000, 1200), (50_000, 50_400), (300, 0), (0, 2000)],
)
def test_r15_mcnemar_is_the_exact_binomial_test(fixed, broken):
    expected = stats.binomtest(fixed, fixed + broken, 0.5).pvalue if fixed + broken else 1.0
    assert statistics.mcnemar(fixed, broken) == pytest.approx(expected, rel=1e-6, abs=1e-300)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
@settings(max_examples=times(60))
def test_r15_few_pairs_are_tried_with_every_assignment_of_signs(differences):
    values = np.array(differences, np.float64)
    sums = [abs(np.dot(values, signs)) for signs in itertools.product((-1, 1), repeat=len(values))]
    expected = np.mean([each >= abs(values.sum()) - 1e-9 for each in sums])
    assert statistics.sign_flip(values)[0] == pytest.approx(expected)


def test_r15_many_pairs_agree_with_scipy():
    values = np.random.default_rng(3).normal(0.12, 1.0, 300)
    expected = stats.permutation_test(
        (values,),
        lambda each, axis: each.mean(axis=axis),
        permutation_type="samples",
        n_resamples=4000,
        rng=np.random.default_rng(1),
    )
    assert statistics.sign_flip(values)[0] == pytest.approx(expected.pvalue, abs=0.02)


@pytest.mark.parametrize("size", [40, 500, 30_000])
def test_r15_the_bootstrap_agrees_with_scipy(size):
    values = np.random.default_rng(5).exponential(2.0, size)
    spread = values.std() / math.sqrt(size)
    if size <= 500:
        found = stats.bootstrap(
            (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
        )
        expected = found.confidence_interval.low, found.confidence_interval.high
    else:  # so many values that their mean is normal
        expected = tuple(stats.norm.interval(0.95, values.mean(), spread))
    assert statistics.bootstrap_interval(values) == pytest.approx(expected, abs=0.2 * spread)


def test_r15_many_values_with_outliers_are_drawn_as_they_are():
    values = np.random.default_rng(7).normal(0, 1, 20_000)
    values[:3] = 1e6  # whether one of them is drawn decides everything: poisson
    means = statistics.bootstrap_means(values) * len(values) / 1e6
    counts = np.bincount(np.rint(means).astype(int), minlength=8)[:8] / len(means)
    assert counts == pytest.approx(stats.poisson.pmf(range(8), 3), abs=0.04)


def test_infinite_differences_are_neither_tested_nor_certain():
    two, one = np.array([math.inf, 2.0]), np.array([math.inf, 1.0])
    with np.errstate(invalid="ignore"):
        differences = two - one
    paired = statistics.effect_of(differences, truth=False)
    for found in (paired, statistics.independent_effect(one, two)):
        assert [math.isnan(each) for each in (found.delta, found.lo, found.hi, found.p)] == [True] * 4
    up = statistics.effect_of(two - [0.0, 1.0], truth=False)
    assert up.delta == math.inf
    assert math.isnan(up.p)
    assert all(map(math.isnan, statistics.bootstrap_interval(two)))


def test_r15_the_same_values_give_the_same_answer():
    differences = np.random.default_rng(1).normal(size=200)
    one, other = (statistics.effect_of(differences, truth=False) for _ in range(2))
    assert one == other


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=times(60))
def test_r15_holm_corrects_for_several_tests(values):
    ordered, expected, worst = sorted(values), {}, 0.0
    for rank, value in enumerate(ordered):
        worst = max(worst, min(1.0, value * (len(values) - rank)))
        expected.setdefault(value, worst)
    found = statistics.holm([*values, math.nan])
    assert math.isnan(found[-1])
    assert all(got >= value - 1e-12 for got, value in zip(found, values, strict=False))
    assert max(found[:-1]) == pytest.approx(worst)
    assert min(found[:-1]) == pytest.approx(min(expected.values()))


def test_r15_the_interval_of_flips_covers_what_it_says():
    generator = np.random.default_rng(11)
    truth = 0.08 - 0.05
    covered = 0
    for _ in range(600):
        same, fixed, broken = generator.multinomial(120, [0.87, 0.08, 0.05])
        lo, hi = statistics.flips_interval(fixed, broken, same + fixed + broken)
        covered += lo <= truth <= hi
    assert covered / 600 == pytest.approx(0.95, abs=0.025)


def test_r15_not_significant_is_not_equal():
    def equivalent(rows, margin=None):
        return statistics.effect_of(np.zeros(rows), truth=True, margin=margin).equivalent

    assert equivalent(4, 0.02) is False
    assert equivalent(2000, 0.02) is True
    assert equivalent(1, 0.02) is None
    assert equivalent(4) is None
