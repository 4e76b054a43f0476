"""The frequency of dates and durations indexes as text, and back."""

from __future__ import annotations

import pandas as pd


def freq_text(index: pd.Index) -> str | None:
    """The frequency of a dates or durations index as text, if it can be told from its text."""
    freq = getattr(index, "freq", None)
    if freq is None or not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        return None
    try:
        return freq.freqstr if pd.tseries.frequencies.to_offset(freq.freqstr) == freq else None
    except ValueError:
        return None


def with_freq(index: pd.Index, freq: str | None) -> pd.Index:
    """`index` with its frequency, where the values (still) have it."""
    if freq is None or not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        return index
    try:
        index.freq = freq  # type: ignore[misc,assignment]  # pandas offers the setter, its stubs do not
    except ValueError:  # rows were appended that do not go on in step
        return index
    return index
