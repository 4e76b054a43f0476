"""Dates, durations and periods: 64-bit integers in Arrow as in pandas, NaT kept under the nulls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.frames import buffers
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
    """NaT at the nulls: written only where it does not stand already, so that mapped pages stay clean."""
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
    """datetime64, naive or with a zone. The value buffer keeps NaT under the nulls, so that it can be viewed as it is."""

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
