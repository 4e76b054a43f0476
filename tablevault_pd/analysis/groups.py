"""Statistics of values in groups, all groups at once. The numbers of a group depend on nothing but its own values."""

from __future__ import annotations

from functools import cached_property

import numpy as np


class Groups:
    """Values in groups. NaN are counted and left out; infinities are values.

    Parameters
    ----------
    codes : ndarray of int
        The group of each value, from 0, ascending. Inside of a group the values are in an order that is settled, so that
        sums are, too.
    values : ndarray of float
    count : int
        How many groups there are; some may be empty.
    """

    def __init__(self, codes: np.ndarray, values: np.ndarray, count: int) -> None:
        is_nan = np.isnan(values)
        self.n_nan = np.bincount(codes[is_nan], minlength=count)
        if is_nan.any():
            codes, values = codes[~is_nan], values[~is_nan]
        self.n = np.bincount(codes, minlength=count)
        self.codes, self.values = codes, values
        self.start = np.concatenate([[0], np.cumsum(self.n)[:-1]]).astype(np.int64)
        self.filled = np.flatnonzero(self.n)

    @cached_property
    def ranked(self) -> np.ndarray:
        """The values, ascending inside of each group."""
        return self.values[np.lexsort((self.values, self.codes))]

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """Numbers of the groups that are not empty, as one for each group; NaN for the empty ones."""
        every: np.ndarray = np.full(len(self.n), np.nan)
        every[self.filled] = values
        return every

    def _reduced(self, function: np.ufunc, values: np.ndarray) -> np.ndarray:
        """What `function` makes of each group, such as its sum; NaN for the empty ones."""
        if not len(values):
            return np.full(len(self.n), np.nan)
        return self._spread(function.reduceat(values, self.start[self.filled]))

    @cached_property
    def min(self) -> np.ndarray:
        """The smallest value."""
        return self._reduced(np.minimum, self.values)

    @cached_property
    def max(self) -> np.ndarray:
        """The largest value."""
        return self._reduced(np.maximum, self.values)

    @cached_property
    def _finite(self) -> np.ndarray:
        return np.asarray(np.isfinite(self.min) & np.isfinite(self.max))

    @cached_property
    def mean(self) -> np.ndarray:
        """The mean; that of equal values is exactly that value."""
        with np.errstate(invalid="ignore", over="ignore"):
            above = self.min + self._reduced(np.add, self.values - self.min[self.codes]) / self.n.clip(1)
            plain = self._reduced(np.add, self.values) / self.n.clip(1)
        return np.asarray(np.where(self._finite, above, plain))

    @cached_property
    def median(self) -> np.ndarray:
        """The middle value, or the mean of the two in the middle."""
        return self.quantile(0.5)

    def quantile(self, part: float) -> np.ndarray:
        """The value below which `part` of the values lie, between two neighbours linearly, as NumPy has it."""
        start, n = self.start[self.filled], self.n[self.filled]
        place = (n - 1) * part
        low = np.floor(place).astype(np.int64)
        below, above = self.ranked[start + low], self.ranked[start + np.minimum(low + 1, n - 1)]
        share = place - low
        with np.errstate(invalid="ignore"):
            between = below + (above - below) * share
        return self._spread(np.where((share == 0) | (below == above), below, between))

    @cached_property
    def std(self) -> np.ndarray:
        """The standard deviation with ddof 1; NaN for fewer than two values, and among infinities."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            squares = self._reduced(np.add, (self.values - self.mean[self.codes]) ** 2)
            spread: np.ndarray = np.sqrt(squares / np.where(self.n > 1, self.n - 1, np.nan))
        return spread

    @cached_property
    def sem(self) -> np.ndarray:
        """The standard error of the mean."""
        errors: np.ndarray = self.std / np.sqrt(self.n.clip(1))
        return errors
