"""Tests and intervals for differences between paired values, in NumPy alone; the tests compare them with SciPy.

Whatever is drawn at random is drawn from one fixed seed: the same values give the same answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DRAWS = 2000
FRAME_DRAWS = 200  #: in trends, of numbers of whole frames: each draw measures frames again
LEVEL = 0.95
EQUIVALENCE = 0.90  #: two one-sided tests at 5 % are this interval within the margin
FEW = 10  #: up to so many pairs every assignment of signs is tried
MANY = 4096  #: up to so many values are drawn one by one
_SEED = 20_260_101
_BLOCK = 1 << 21  # numbers drawn at a time
_Z = {LEVEL: 1.959963984540054, EQUIVALENCE: 1.6448536269514722}  # quantiles of the normal distribution


@dataclass(frozen=True, slots=True)
class Effect:
    """A mean difference b - a: its interval at 95 %, the p-value of "no difference", and what was used."""

    delta: float
    lo: float
    hi: float
    p: float
    test: str
    equivalent: bool | None = None  #: None: no margin was given, or nothing to tell it by


NOTHING = Effect(math.nan, math.nan, math.nan, math.nan, "")


def effect_of(
    differences: np.ndarray, *, truth: bool, margin: float | None = None, draws: int = DRAWS
) -> Effect:
    """The mean of the differences b - a of pairs, float64, none of them missing; `truth`: they are of truth values."""
    if not len(differences):
        return NOTHING
    if not np.isfinite(differences).all():
        return _untested(differences)
    if truth:
        fixed, broken = int((differences > 0).sum()), int((differences < 0).sum())
        intervals = {level: flips_interval(fixed, broken, len(differences), level) for level in _Z}
        p, test = mcnemar(fixed, broken), "mcnemar exact"
    else:
        means = bootstrap_means(differences)
        intervals = {level: _percentiles(means, level) for level in _Z}
        p, test = sign_flip(differences, draws=draws)
    lo, hi = intervals[LEVEL]
    return Effect(
        float(differences.mean()), lo, hi, p, test, _within(intervals[EQUIVALENCE], margin, len(differences))
    )


def resampled_effect(
    rows: int,
    value: Callable[[np.ndarray | None], tuple[float, float]],
    *,
    margin: float | None = None,
    draws: int = DRAWS,
) -> Effect:
    """The difference of a number of whole frames. `value` returns (a, b) of the pairs with these numbers; None: of all.

    Fewer draws than 2000 tell the standard error, and no percentiles: the interval is that of the normal distribution.
    """
    a, b = value(None)
    if not rows or math.isnan(b - a):
        return NOTHING
    generator = np.random.default_rng(_SEED)
    pairs = [value(generator.integers(0, rows, rows)) for _ in range(draws)]
    means = np.array([two - one for one, two in pairs], np.float64)
    means = means[~np.isnan(means)]
    if not len(means):
        return Effect(b - a, math.nan, math.nan, math.nan, "")
    if draws < DRAWS:
        return _normal_effect(b - a, means, f"paired bootstrap, {draws} draws, normal")
    lo, hi = _percentiles(means, LEVEL)
    equivalent = _within(_percentiles(means, EQUIVALENCE), margin, rows)
    return Effect(b - a, lo, hi, _p_of(means), f"paired bootstrap, {DRAWS} draws", equivalent)


def _normal_effect(delta: float, means: np.ndarray, test: str) -> Effect:
    error = float(means.std())
    if not error:  # every draw gave the same difference
        return Effect(delta, delta, delta, _p_of(means), test)
    half = _Z[LEVEL] * error
    return Effect(delta, delta - half, delta + half, math.erfc(abs(delta) / error / math.sqrt(2)), test)


def independent_effect(a: np.ndarray, b: np.ndarray) -> Effect:
    """The difference of two means of values that are not paired."""
    if not len(a) or not len(b):
        return NOTHING
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        with np.errstate(invalid="ignore"):
            return _untested(b.mean(keepdims=True) - a.mean(keepdims=True))
    means = bootstrap_means(b.astype(np.float64), seed=1) - bootstrap_means(a.astype(np.float64))
    lo, hi = _percentiles(means, LEVEL)
    return Effect(float(b.mean() - a.mean()), lo, hi, _p_of(means), f"bootstrap, {DRAWS} draws")


def _untested(differences: np.ndarray) -> Effect:
    """Differences with infinities among them have a mean at most: no interval and no test."""
    with np.errstate(invalid="ignore"):
        return Effect(float(differences.mean()), math.nan, math.nan, math.nan, "")


def _within(interval: tuple[float, float], margin: float | None, pairs: int) -> bool | None:
    """One pair has no spread, and shows nothing."""
    return None if margin is None or pairs < 2 else -margin < interval[0] and interval[1] < margin


def _p_of(means: np.ndarray) -> float:
    """Two-sided: how often the difference came out on the other side of zero."""
    below, above = (int(side.sum()) for side in (means <= 0, means >= 0))
    return min(1.0, 2 * (min(below, above) + 1) / (len(means) + 1))


def _percentiles(means: np.ndarray, level: float) -> tuple[float, float]:
    lo, hi = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(lo), float(hi)


# -- truth values


def mcnemar(fixed: int, broken: int) -> float:
    """McNemar's exact test: the two-sided binomial p-value of so many flips up and down.

    Examples
    --------
    >>> round(mcnemar(1, 8), 4)
    0.0391
    """
    flips, fewer = fixed + broken, min(fixed, broken)
    if fixed == broken:
        return 1.0
    # The probability of `fewer` of n flips, and how much rarer each smaller number is than the next.
    most = math.lgamma(flips + 1) - math.lgamma(fewer + 1) - math.lgamma(flips - fewer + 1)
    below = np.arange(fewer, 0, -1, dtype=np.float64)
    tail = 1.0 + float(np.cumprod(below / (flips - below + 1)).sum())
    return min(1.0, 2 * math.exp(most - flips * math.log(2)) * tail)


def flips_interval(fixed: int, broken: int, pairs: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of Agresti and Min for the difference of two paired proportions.

    Half a flip is added to each of the four cells, so that three pairs without a flip do not look certain.
    """
    n = pairs + 2
    up, down = fixed + 0.5, broken + 0.5
    middle = (up - down) / n
    error = math.sqrt(max(up + down - (up - down) ** 2 / n, 0.0)) / n
    return max(middle - _Z[level] * error, -1.0), min(middle + _Z[level] * error, 1.0)


# -- numbers


def sign_flip(differences: np.ndarray, *, draws: int = DRAWS) -> tuple[float, str]:
    """(p, name) of the permutation test that the differences are symmetric around 0.

    Up to ten pairs every assignment of signs is tried; from there on `draws` of them, and the one that was seen.
    """
    moved = differences[differences != 0]  # a sign changes nothing about zero
    if not len(moved):
        return 1.0, "sign flips"
    total = abs(moved.sum())
    least = total - 1e-9 * np.abs(moved).sum()  # sums of the same numbers in another order count as equal
    if len(moved) <= FEW:
        bits = np.arange(1 << len(moved))[:, None] >> np.arange(len(moved)) & 1
        sums = (1.0 - 2.0 * bits) @ moved
        return float((np.abs(sums) >= least).mean()), "sign flips, exact"
    sums = _signed_sums(moved, draws)
    return float(((np.abs(sums) >= least).sum() + 1) / (draws + 1)), f"sign flips, {draws} draws"


def _signed_sums(values: np.ndarray, draws: int) -> np.ndarray:
    """Sums under random signs. Of very many values the small ones are added up as the normal distribution that they make."""
    generator = np.random.default_rng(_SEED)
    values = values[np.argsort(-np.abs(values), kind="stable")]
    single, rest = values[:MANY], values[MANY:]
    rows = max(_BLOCK // len(single), 1)
    parts = [
        (1.0 - 2.0 * generator.integers(0, 2, (min(rows, draws - first), len(single)), dtype=np.int8))
        @ single
        for first in range(0, draws, rows)
    ]
    sums = np.concatenate(parts)
    return sums + generator.normal(0.0, math.sqrt((rest**2).sum()), draws) if len(rest) else sums


def bootstrap_means(values: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The means of 2000 samples, drawn with replacement, as many as there are values."""
    generator = np.random.default_rng(_SEED + seed)
    size = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= min(MANY, max(size // 2, 1)):  # how often each value is drawn is enough
        return np.asarray(generator.multinomial(size, counts / size, DRAWS) @ distinct / size)
    if size > 4 * MANY:
        counts, means, variances = _bins(values)
        drawn = generator.multinomial(size, counts / size, DRAWS)
        noise = generator.normal(size=DRAWS) * np.sqrt(drawn @ variances)
        return np.asarray((drawn @ means + noise) / size)
    rows = max(_BLOCK // size, 1)
    parts = [
        values[generator.integers(0, size, (min(rows, DRAWS - first), size), dtype=np.uint32)].mean(axis=1)
        for first in range(0, DRAWS, rows)
    ]
    return np.concatenate(parts)


def _bins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(count, mean, variance) of very many values: the outermost stand alone, the others in bins of neighbours.

    How often each bin is drawn is drawn; what its values add up to has the bin's own mean and variance.
    """
    outermost = np.argsort(-np.abs(values - np.median(values)), kind="stable")
    inner = np.sort(values[outermost[MANY // 2 :]])
    starts = np.linspace(0, len(inner), MANY // 2, endpoint=False).astype(np.intp)
    counts = np.diff(np.r_[starts, len(inner)])
    means = np.add.reduceat(inner, starts) / counts
    variances = np.add.reduceat((inner - np.repeat(means, counts)) ** 2, starts) / counts
    alone = np.ones(MANY // 2, np.intp)
    return (
        np.r_[alone, counts],
        np.r_[values[outermost[: MANY // 2]], means],
        np.r_[np.zeros(MANY // 2), variances],
    )


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """The interval of a mean at 95 %; missing where there is one value or none, which has no spread, or an infinite one."""
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan, math.nan
    return _percentiles(bootstrap_means(values.astype(np.float64)), LEVEL)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's correction for several tests; NaN stays NaN and is none of them.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    corrected = np.array(p_values, np.float64)
    tests = np.flatnonzero(~np.isnan(corrected))
    order = tests[np.argsort(corrected[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(corrected[order] * factors), 1.0)
    return corrected
