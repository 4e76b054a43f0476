"""The interval around the middle of each group of values, of several kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.errors import MissingDependency
from tablevault_pd.imports import for_own_use

if TYPE_CHECKING:
    from tablevault_pd.analysis.groups import Groups

KINDS = ("ci", "bootstrap", "sem", "std", "minmax", "iqr")
OF_MEANS = ("ci", "sem")  #: these say something about a mean alone
DRAWS = 2000  #: of each bootstrap
SEED = 0
AT_ONCE = 4_000_000  #: numbers drawn at a time


def interval(groups: Groups, kind: str, center: str, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and the upper end for each group; NaN for groups of fewer than two values."""
    middle = groups.mean if center == "mean" else groups.median
    if kind == "minmax":
        low, high = groups.min, groups.max
    elif kind == "iqr":
        low, high = groups.quantile(0.25), groups.quantile(0.75)
    elif kind == "bootstrap":
        low, high = bootstrap(groups, center, level)
    else:
        half = {"std": groups.std, "sem": groups.sem}.get(kind)
        half = t_half_width(groups, level) if half is None else half
        low, high = middle - half, middle + half
    alone = groups.n < 2
    return np.where(alone, np.nan, low), np.where(alone, np.nan, high)


def t_half_width(groups: Groups, level: float) -> np.ndarray:
    """Half of the t interval of each mean: standard error times the quantile of Student's t with n - 1 degrees of freedom."""
    try:
        with for_own_use():
            from scipy.special import stdtrit
    except ImportError as error:
        raise MissingDependency.for_extra("scipy", "stats", "A t interval (band='ci')") from error
    # A group of one has no degree of freedom, and no interval.
    quantiles = stdtrit((groups.n - 1).clip(1), (1 + level) / 2)
    half: np.ndarray = groups.sem * quantiles
    return half


def bootstrap(groups: Groups, center: str, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of the mean or median of `DRAWS` seeded resamples of each group.

    Groups of one size are resampled alike, whatever other groups there are.
    """
    low, high = np.full(len(groups.n), np.nan), np.full(len(groups.n), np.nan)
    for size in np.unique(groups.n[groups.n > 0]).tolist():
        places = np.flatnonzero(groups.n == size)
        drawn = np.random.default_rng(SEED).integers(0, size, (DRAWS, size))
        for some in np.array_split(places, -(-len(places) * size * DRAWS // AT_ONCE)):
            values = groups.ranked[groups.start[some][:, None] + np.arange(size)]
            low[some], high[some] = _percentiles(values, drawn, center, level)
    return low, high


def _percentiles(
    values: np.ndarray, drawn: np.ndarray, center: str, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of values of shape (groups, size), resampled by `drawn` of shape (draws, size)."""
    base = values[:, :1]  # the mean of equal values is exactly that value
    with np.errstate(invalid="ignore"):
        resampled = (values - base)[:, drawn]
        middles = resampled.mean(axis=2) if center == "mean" else np.median(resampled, axis=2)
        ends = np.quantile(middles, [(1 - level) / 2, (1 + level) / 2], axis=1)
        return base[:, 0] + ends[0], base[:, 0] + ends[1]
