"""The frequency of a dates or durations index as JSON, and back to one that is equal."""

from __future__ import annotations

from typing import Any

import pandas as pd
from pandas.tseries.frequencies import to_offset

from tablevault_pd.frames import cells
from tablevault_pd.frames.codecs import CannotEncode, Spec

#: Offsets whose text leaves out their arguments. A stored frequency may name these classes and no others.
_CLASSES: dict[str, Any] = {
    name: getattr(pd.offsets, name)
    for name in (
        "DateOffset",
        "BusinessDay",
        "BusinessHour",
        "CustomBusinessDay",
        "CustomBusinessHour",
        "CustomBusinessMonthBegin",
        "CustomBusinessMonthEnd",
        "Easter",
        "MonthBegin",
        "MonthEnd",
        "Week",
    )
}


def freq_spec(index: pd.Index) -> Spec:
    """``{"freq": …}`` for an index that has a frequency, else ``{}``. Raises CannotEncode if it could not be rebuilt exactly."""
    freq = getattr(index, "freq", None)
    if freq is None or not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        return {}
    for told in (_as_text, _as_arguments):
        found = told(freq)
        if found is not None and _rebuilt(found) == freq and (_plain(found) or _settable(index, found)):
            return {"freq": found}
    raise CannotEncode(
        f"the frequency {freq!r} of the index cannot be stored; drop it with df.index.freq = None, or use a plainer one"
    )


def _plain(freq: str | Spec) -> bool:
    return isinstance(freq, str) and "+" not in freq


def _settable(index: Any, freq: str | Spec) -> bool:
    """Whether pandas takes the frequency for these values; for a few business offsets it does not."""
    bare = index.copy(deep=True)
    bare.freq = None
    return getattr(with_freq(bare, freq), "freq", None) is not None


def _as_text(freq: Any) -> str:
    return str(freq.freqstr)


def _as_arguments(freq: Any) -> Spec | None:
    if type(freq) is not _CLASSES.get(type(freq).__name__):
        return None
    # A business calendar is an object of NumPy; it follows from the holidays and the weekmask.
    kwds = {name: value for name, value in freq.kwds.items() if name != "calendar"}
    try:
        plain = cells.to_plain(kwds)
    except cells.CannotSerialize:
        return None
    return {"class": type(freq).__name__, "n": freq.n, "normalize": freq.normalize, "arguments": plain}


def _rebuilt(freq: str | Spec) -> Any:
    """The offset that was stored; None for one that this pandas does not know."""
    try:
        if isinstance(freq, str):
            return to_offset(freq)
        arguments = cells.from_plain(freq["arguments"])
        return _CLASSES[freq["class"]](freq["n"], normalize=freq["normalize"], **arguments)
    except (ValueError, TypeError, KeyError):
        return None


def with_freq(index: pd.Index, freq: str | Spec | None) -> pd.Index:
    """`index` with its frequency, where the values (still) have it."""
    if freq is None or not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        return index
    try:
        index.freq = _rebuilt(freq)  # type: ignore[misc]  # pandas offers the setter, its stubs do not
    except ValueError:  # rows were appended that do not go on in step
        return index
    return index
