"""The columns that answers about sessions share, one value a row, made from one value a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.analysis.axes import NOT_PAIRED
from tablevault_pd.frames.buffers import own_numbers, repeated
from tablevault_pd.reading.integers import whole_numbers
from tablevault_pd.reading.nested import flat
from tablevault_pd.reading.reports import column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tablevault_pd.analysis.axes import Axis
    from tablevault_pd.store import SessionLabel, Store

Columns = dict[str, Any]
Runs = tuple[np.ndarray, np.ndarray]
_UTC = pd.DatetimeTZDtype("us", "UTC")
ROWS_OF_A_RUN = 8  #: where equal texts follow each other so often, they are written a run at a time

_STR = pd.StringDtype("pyarrow", na_value=np.nan) if int(pd.__version__.partition(".")[0]) >= 3 else None


def of_sessions(sessions: Sequence[SessionLabel], rows: np.ndarray, *, started: bool = True) -> Columns:
    """session, name, run and perhaps started; `rows` has the number of the session of each row."""
    runs = _runs(rows)
    numbers = np.array([session.run for session in sessions], dtype=np.int64)
    columns: Columns = {
        "session": texts([session.label for session in sessions], rows, runs),
        "name": texts([session.name for session in sessions], rows, runs),
        "run": integers(_spread(numbers, rows, runs)),
    }
    if started:
        moments = np.array([session.started for session in sessions], dtype=np.int64)
        columns["started"] = times(_spread(moments, rows, runs).view("datetime64[us]"))
    return columns


def of_params(store: Store, sessions: Sequence[SessionLabel], rows: np.ndarray) -> Columns:
    """One column ``params.name`` for each parameter, those inside of nested ones with their path; of all where there is no session."""
    params = [
        flat(session.params) for session in store.sessions([session.id for session in sessions] or None)
    ]
    names = dict.fromkeys(name for params_of_session in params for name in params_of_session)
    return {
        f"params.{name}": column([params_of_session.get(name) for params_of_session in params]).array[rows]
        for name in names
    }


def _runs(rows: np.ndarray) -> Runs | None:
    """Equal numbers that follow each other: each one, and how often; None where they are not many."""
    if not len(rows):
        return None
    starts = np.append(0, np.flatnonzero(rows[1:] != rows[:-1]) + 1)
    if len(starts) * ROWS_OF_A_RUN > len(rows):
        return None
    return rows[starts], np.diff(starts, append=len(rows))


def _spread(values: np.ndarray, rows: np.ndarray, runs: Runs | None) -> np.ndarray:
    """The value of each row, by its number."""
    return values[rows] if runs is None else own_numbers(repeated(values[runs[0]], runs[1], pa.int64()))


def texts(words: Sequence[str], rows: np.ndarray, runs: Runs | None = None) -> Any:
    """A column of texts, each row by the number of its word; `runs` of `rows`, where they are known."""
    if _STR is None:
        return np.array([*words, None], dtype=object)[:-1][rows]
    runs, array = runs or _runs(rows), pa.array(words, pa.large_string())
    if runs is None:
        array = array.take(pa.array(rows))
    else:
        array = repeated(array.take(pa.array(runs[0])), runs[1], array.type)
    return _STR.__from_arrow__(array)  # type: ignore[attr-defined]  # the stubs have it not


def integers(values: np.ndarray, missing: np.ndarray | None = None) -> pd.arrays.IntegerArray:
    """A column Int64."""
    mask = np.zeros(len(values), dtype=bool) if missing is None else missing
    return pd.arrays.IntegerArray(own(values.astype(np.int64, copy=False)), mask)


def own(values: np.ndarray) -> np.ndarray:
    """Values in memory that may be written to: what Arrow lent is copied."""
    return values if values.flags.writeable else values.copy()


def frame(columns: Columns) -> pd.DataFrame:
    """A frame of columns that nobody else has, which are not copied."""
    return pd.DataFrame(columns, copy=False)


def numbers(values: np.ndarray, *, whole: bool) -> Any:
    """A column of floats; Int64 where they are integers by what was logged, or counts. Missing where NaN."""
    return whole_numbers(values) if whole else own(values)


def lags(values: np.ndarray) -> pd.arrays.IntegerArray:
    """A column Int64 of lags, missing where a value is paired with none."""
    missing = values == NOT_PAIRED
    return integers(np.where(missing, 1, values), missing)


def of_axis(axis: Axis, take: Callable[[np.ndarray], np.ndarray] = lambda values: values) -> Columns:
    """Columns ``x`` and, beside another metric, ``x_lag``; `take` picks the rows."""
    x = take(axis.x)
    columns: Columns = {"x": times(x) if x.dtype.kind == "M" else numbers(x, whole=axis.integers)}
    if axis.lag is not None:
        columns["x_lag"] = lags(take(axis.lag))
    return columns


def times(values: np.ndarray) -> Any:
    """A column of times in UTC."""
    return pd.array(values.view(np.int64), dtype=_UTC, copy=False)
