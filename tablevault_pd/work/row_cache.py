"""Rows of a list as frames, read some at a time: who claims one row after the other reads each segment once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from tablevault_pd.reading import read as reading

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy as np

    from tablevault_pd.store import Store, Version

MOST_ROWS = 1024  # read ahead
MOST_BYTES = 1 << 20
COPIES_ON_WRITE = int(pd.__version__.partition(".")[0]) >= 3
_KINDS = "iufbmM"


class RowCache:
    """Some rows of one version, which are likely to be asked for next."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # of which version and columns; its first position
        self._block: tuple[object, int, pd.DataFrame] | None = None
        self._checked: object = None
        self._ahead = 16  # how many more rows to read than are wanted

    def check(self, version: Version, *, columns: Sequence[Hashable] | None, refs: bool | str) -> None:
        """Raise InvalidInput where :meth:`read` would."""
        arguments = (version.schema_id, None if columns is None else tuple(columns), refs)
        if not isinstance(refs, (bool, str)) or arguments != self._checked:
            reading.read(self._store, version, columns=columns, stop=0, refs=refs)
            self._checked = arguments

    def read(
        self, version: Version, positions: np.ndarray, columns: Sequence[Hashable] | None, refs: bool | str
    ) -> pd.DataFrame:
        """The rows at these positions, ascending, as :func:`reading.read` returns them."""
        if not len(positions) or positions[-1] - positions[0] >= len(positions):
            labels = None if columns is None else list(columns)
            [frame] = reading.take(self._store, [(version, positions, labels)])
            return reading.with_refs(frame, self._store, version, positions, refs)
        first, stop = int(positions[0]), int(positions[-1]) + 1
        if refs is not False:
            return reading.read(self._store, version, columns=columns, start=first, stop=stop, refs=refs)
        return self._contiguous(version, first, stop, columns)

    def _contiguous(
        self, version: Version, first: int, stop: int, columns: Sequence[Hashable] | None
    ) -> pd.DataFrame:
        key = (version.generation, version.schema_id, None if columns is None else tuple(columns))
        block = self._block
        if block is None or block[0] != key or not _covers(block, first, stop):
            end = min(stop + self._ahead, version.total)
            frame = reading.read(self._store, version, columns=columns, start=first, stop=end)
            if not _is_plain(frame):
                return frame.iloc[: stop - first].copy()
            row_bytes = max(int(frame.memory_usage().sum()) // len(frame), 1)
            self._ahead = min(2 * self._ahead, MOST_ROWS, MOST_BYTES // row_bytes)
            self._block = block = key, first, frame
        _, start, frame = block
        rows = frame.iloc[first - start : stop - start]
        return rows if COPIES_ON_WRITE else rows.copy()


def _covers(block: tuple[object, int, pd.DataFrame], first: int, stop: int) -> bool:
    _, start, frame = block
    return start <= first and stop <= start + len(frame)


def _is_plain(frame: pd.DataFrame) -> bool:
    """Whether rows of the frame can be handed out one by one: they share no objects, and have no labels of their own."""
    plain = all(isinstance(dtype, pd.StringDtype) or dtype.kind in _KINDS for dtype in frame.dtypes)
    return plain and isinstance(frame.index, pd.RangeIndex)
