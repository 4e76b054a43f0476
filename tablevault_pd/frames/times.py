"""Dates, durations and periods as 64-bit integers in Arrow, as pandas has them; and the frequency of an index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.tseries.frequencies import to_offset

from tablevault_pd.frames import buffers, cells
from tablevault_pd.frames import timezones as zones
from tablevault_pd.frames.codecs import (
    CannotEncode,
    Codec,
    Encoded,
    Spec,
    encodes_dtype,
    encodes_kind,
    register,
)

#: From the coarsest to the finest.
UNITS = ("s", "ms", "us", "ns")


def _fill_nat(values: np.ndarray, column: pa.ChunkedArray) -> np.ndarray:
    """Write NaT at the nulls, except where it is already: so mapped pages stay clean."""
    if column.null_count:
        wrong = ~buffers.column_valid(column) & (values != buffers.NAT)
        if wrong.any():
            values[wrong] = buffers.NAT
    return values


def _valid_times(values: np.ndarray) -> np.ndarray | None:
    valid = values.view("i8") != buffers.NAT
    return None if valid.all() else valid


def _unit(dtype: np.dtype) -> str:
    unit, count = np.datetime_data(dtype)
    if count != 1 or unit not in UNITS:
        raise CannotEncode(f"the dtype {dtype} cannot be stored; convert it to a unit of s, ms, us or ns")
    return unit


@register
class _DatetimeCodec(Codec):
    """datetime64, naive or with a zone. The buffer has NaT under the nulls, so that it can be viewed without a copy."""

    name = "datetime"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        unit = spec["unit"]
        return (
            pd.DatetimeTZDtype(unit, zones.from_json(spec["tz"])) if "tz" in spec else np.dtype(f"M8[{unit}]")
        )

    def storage(self, spec: Spec) -> pa.DataType:
        return pa.timestamp(spec["unit"], zones.arrow_name(spec["tz"]) if "tz" in spec else None)

    def text(self, spec: Spec, kind: pa.DataType) -> str:
        try:
            return super().text(spec, kind)
        except zones.UnknownZone as error:
            return f"datetime64[{spec['unit']}, {error}]"

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        values = _fill_nat(buffers.column_values(column, np.dtype("i8"), private=private), column)
        if "tz" not in spec:
            return values.view(f"M8[{spec['unit']}]")
        # Integers are instants in UTC. Not by way of an Index: tz_localize copies, and its arrays are read-only.
        return pd.array(values, dtype=self.dtype(spec, None), copy=False)


@encodes_kind("M")
def _encode_datetimes(values: np.ndarray) -> Encoded:
    unit = _unit(values.dtype)
    array = buffers.to_arrow(_native(values), pa.timestamp(unit), _valid_times(_native(values)))
    return Encoded(array, {"codec": "datetime", "unit": unit})


def _native(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))


@encodes_dtype(pd.DatetimeTZDtype)
def _encode_zoned(values: Any) -> Encoded:
    tz = values.dtype.tz
    try:
        zone = zones.to_json(tz)
    except ValueError as error:
        raise CannotEncode(str(error)) from None
    instants = np.asarray(values.tz_convert(None), dtype=f"M8[{values.dtype.unit}]")
    array = buffers.to_arrow(
        instants, pa.timestamp(values.dtype.unit, zones.arrow_name(zone)), _valid_times(instants)
    )
    return Encoded(array, {"codec": "datetime", "unit": values.dtype.unit, "tz": zone})


@register
class _TimedeltaCodec(Codec):
    """timedelta64."""

    name = "timedelta"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return np.dtype(f"m8[{spec['unit']}]")

    def storage(self, spec: Spec) -> pa.DataType:
        return pa.duration(spec["unit"])

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        values = _fill_nat(buffers.column_values(column, np.dtype("i8"), private=private), column)
        return values.view(f"m8[{spec['unit']}]")


@encodes_kind("m")
def _encode_timedeltas(values: np.ndarray) -> Encoded:
    unit = _unit(values.dtype)
    array = buffers.to_arrow(_native(values), pa.duration(unit), _valid_times(_native(values)))
    return Encoded(array, {"codec": "timedelta", "unit": unit})


@register
class _PeriodCodec(Codec):
    """Periods as their ordinals."""

    name = "period"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return pd.PeriodDtype(spec["freq"])

    def storage(self, spec: Spec) -> pa.DataType:
        return pa.int64()

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        values = _fill_nat(buffers.column_values(column, np.dtype("i8"), private=private), column)
        make: Any = pd.PeriodIndex  # its stubs lack from_ordinals
        return make.from_ordinals(values, freq=spec["freq"]).array


@encodes_dtype(pd.PeriodDtype)
def _encode_periods(values: Any) -> Encoded:
    freq = values.dtype.name.removeprefix("period[").removesuffix("]")  # not freqstr: "ME" names no period
    if pd.PeriodDtype(freq) != values.dtype:
        raise CannotEncode(f"the dtype {values.dtype} cannot be stored; convert it with .dt.to_timestamp()")
    ordinals = np.asarray(pd.PeriodIndex(values).asi8)
    return Encoded(
        buffers.to_arrow(ordinals, pa.int64(), _valid_times(ordinals)), {"codec": "period", "freq": freq}
    )


# ---------------------------------------------------------------- the frequency of an index

#: Offsets whose text lacks their arguments. A stored frequency may name only these classes.
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
    """Return ``{"freq": …}`` for an index that has a frequency, else ``{}``. Raises CannotEncode if it cannot be rebuilt exactly."""
    freq = getattr(index, "freq", None)
    if freq is None or not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        return {}
    for describe in (_as_text, _as_arguments):
        text = describe(freq)
        if text is not None and _rebuilt(text) == freq and (_plain(text) or _settable(index, text)):
            return {"freq": text}
    raise CannotEncode(
        f"the frequency {freq!r} of the index cannot be stored; drop it with df.index.freq = None, or use a plainer one"
    )


def _plain(freq: str | Spec) -> bool:
    return isinstance(freq, str) and "+" not in freq


def _settable(index: Any, freq: str | Spec) -> bool:
    """Return whether pandas takes the frequency for these values; for a few business offsets it does not."""
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
    """Return a stored offset; None if this pandas does not know it."""
    try:
        if isinstance(freq, str):
            return to_offset(freq)
        arguments = cells.from_plain(freq["arguments"])
        return _CLASSES[freq["class"]](freq["n"], normalize=freq["normalize"], **arguments)
    except (ValueError, TypeError, KeyError):
        return None


def with_freq(index: pd.Index, freq: str | Spec | None) -> pd.Index:
    """Return `index` with a frequency, if its values have it."""
    if freq is None or not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        return index
    try:
        index.freq = _rebuilt(freq)  # type: ignore[misc]  # pandas offers the setter, its stubs do not
    except ValueError:  # appended rows do not have it
        return index
    return index
