"""The columns of frames as arrays, and frames of such, by methods that pandas has for itself.

The public ways make a Series of each column, and look for a dtype of each array, which takes as long as a small read. They are
taken where a release of pandas has not these methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.frames.codecs import unwrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

_ITER, _OF = "_iter_column_arrays", "_from_arrays"


def arrays_of(df: pd.DataFrame) -> list[Any]:
    """Return the array of each column, in order, NumPy's as such. They are not copies, and not to be written to."""
    if hasattr(df, _ITER):
        return list(getattr(df, _ITER)())
    return [unwrapped(df.iloc[:, number].array) for number in range(df.shape[1])]


def frame_of(arrays: Sequence[Any], columns: pd.Index, index: pd.Index) -> pd.DataFrame:
    """Return a frame of arrays, of NumPy or pandas, as they are: texts among objects stay objects."""
    if hasattr(pd.DataFrame, _OF):
        frame: pd.DataFrame = getattr(pd.DataFrame, _OF)(arrays, columns, index, verify_integrity=False)
        return frame
    series = {number: pd.Series(array, index=index, dtype=array.dtype) for number, array in enumerate(arrays)}
    frame = pd.DataFrame(series, index=index, copy=False)
    frame.columns = columns
    return frame
