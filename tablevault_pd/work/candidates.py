"""Which rows of a list fit a filter, found a window at a time from the first one that may be open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.reading import read as reading
from tablevault_pd.reading.filtering import filter_for, masks_of_versions

if TYPE_CHECKING:
    from tablevault_pd.filters import Filter
    from tablevault_pd.store import Store, Version

_NONE = np.empty(0, np.int64)
FIRST_WINDOW = 1024  # rows that a filter judges at a time; more and more of them while few fit


class Candidates:
    """Positions of rows that may be open, in versions of one generation. It only ever goes forward."""

    def __init__(self, store: Store, filters: Any, start: int) -> None:
        self._store, self._filters = store, filters
        self.start = start  #: every row before it that fits is held, done or given back
        self._found = _NONE  # those that fit, from `start` to `_judged`
        self._judged = start
        self._window = FIRST_WINDOW

    @property
    def frontier(self) -> int:
        """No row before this position is as it was at first; 0 where only those that fit are known."""
        return self.start if self._filters is None else 0

    def is_rowwise(self, version: Version) -> bool:
        """Whether a row that fits still does when others are added."""
        condition = filter_for(self._store, version, self._filters)
        return condition is None or condition.rowwise

    def next(self, version: Version, size: int) -> np.ndarray:
        """The next `size` positions, or fewer if there are no more in this version."""
        if self._filters is None:
            return np.arange(self.start, max(min(self.start + size, version.total), self.start))
        condition = filter_for(self._store, version, self._filters)
        assert condition is not None
        if not condition.rowwise:
            return self._at_once(version, condition)[:size]
        while len(self._found) < size and self._judged < version.total:
            stop = min(self._judged + self._window, version.total)
            self._found = np.append(
                self._found, fitting(self._store, version, self._filters, self._judged, stop)
            )
            self._judged = stop
            self._window *= 2
        return self._found[:size]

    def _at_once(self, version: Version, condition: Filter) -> np.ndarray:
        """Of a filter that looks at all rows together, and may judge each otherwise when rows were added."""
        [mask] = masks_of_versions(self._store, [(version, condition)])
        return np.flatnonzero(mask)

    def of(self, version: Version, positions: np.ndarray) -> np.ndarray:
        """Those of these positions, ascending, whose rows fit."""
        if self._filters is None or not len(positions):
            return positions
        breaks = np.flatnonzero(np.diff(positions) > FIRST_WINDOW) + 1
        parts = [
            fitting(self._store, version, self._filters, int(part[0]), int(part[-1]) + 1)
            for part in np.split(positions, breaks)
        ]
        return np.intersect1d(positions, np.concatenate(parts))

    def advance(self, start: int) -> None:
        """Rows before `start` need no further look."""
        if start > self.start:
            self.start = start
            self._found = self._found[np.searchsorted(self._found, start) :]
            self._judged = max(self._judged, start)


def fitting(store: Store, version: Version, filters: Any, start: int, stop: int) -> np.ndarray:
    """Positions from `start` to `stop` of the rows that fit."""
    frame = reading.read(store, version, columns=[], filters=filters, start=start, stop=stop, refs="ref")
    return np.asarray(frame["ref"].array.positions, np.int64)
