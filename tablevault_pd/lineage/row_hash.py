"""Compare rows of two frames by content, whatever type their cells have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.validate import is_missing

if TYPE_CHECKING:
    from collections.abc import Hashable


def row_codes(before: pd.DataFrame, after: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """A number for each row of two frames with the same columns: equal for equal rows."""
    codes = np.zeros(len(before) + len(after), np.int64)
    for label in before.columns:
        column = _codes(_column(before, label), _column(after, label))
        both = codes * (int(column.max(initial=0)) + 2) + column + 1
        codes = pd.factorize(both)[0].astype(np.int64)
    return codes[: len(before)], codes[len(before) :]


def _column(frame: pd.DataFrame, label: Hashable) -> pd.Series:
    return pd.Series(frame[label])


def _codes(before: pd.Series, after: pd.Series) -> np.ndarray:
    if before.dtype == after.dtype and before.dtype != object:
        return np.asarray(pd.factorize(pd.concat([before, after], ignore_index=True))[0])
    cells = [_hashable(cell) for cell in (*before.tolist(), *after.tolist())]
    return np.asarray(pd.factorize(np.array([*cells, None], dtype=object)[:-1])[0])


def _hashable(cell: Any) -> Any:
    if isinstance(cell, np.ndarray):
        return f"{cell.dtype}{cell.shape}{cell.tobytes().hex()}"
    if isinstance(cell, (str, bytes)):
        return cell
    return None if is_missing(cell) else repr(cell)
