"""One codec per family of pandas dtypes: pandas array -> Arrow array + spec, and back.

A *spec* is a small JSON object with at least ``codec``; together with the Arrow type it says exactly which pandas array to
build. Codecs register themselves by name (for reading) and their encoders by dtype (for writing).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from . import buffers, zones
from .freqs import freq_text, with_freq

Spec = dict[str, Any]


class Encoded(NamedTuple):
    """An Arrow array, and what is needed to turn it back."""

    array: pa.Array | pa.ChunkedArray
    spec: Spec


class Refused(Exception):
    """Values that no codec takes; `row` is the first bad one, if there is one."""

    def __init__(self, reason: str, row: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row


class Codec:
    """How one family of dtypes is read."""

    name: ClassVar[str]

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        """The pandas dtype that comes back."""
        raise NotImplementedError

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        """The pandas array (or NumPy array) of the column."""
        raise NotImplementedError

    def storage(self, spec: Spec) -> pa.DataType:
        """The Arrow type of a column with this spec."""
        raise NotImplementedError


CODECS: dict[str, Codec] = {}
_BY_KIND: dict[str, Callable[[np.ndarray], Encoded]] = {}
_BY_DTYPE: dict[type, Callable[[Any], Encoded]] = {}


def register(codec: type[Codec]) -> type[Codec]:
    """Class decorator: make the codec known by its name."""
    CODECS[codec.name] = codec()
    return codec


def encodes_kind(kinds: str) -> Callable[[Callable[..., Encoded]], Callable[..., Encoded]]:
    """Decorator: the encoder of the NumPy dtypes of these kinds."""

    def note(encoder: Callable[..., Encoded]) -> Callable[..., Encoded]:
        _BY_KIND.update(dict.fromkeys(kinds, encoder))
        return encoder

    return note


def encodes_dtype(*dtypes: type) -> Callable[[Callable[..., Encoded]], Callable[..., Encoded]]:
    """Decorator: the encoder of these extension dtypes."""

    def note(encoder: Callable[..., Encoded]) -> Callable[..., Encoded]:
        _BY_DTYPE.update(dict.fromkeys(dtypes, encoder))
        return encoder

    return note


def encode_array(values: Any) -> Encoded:
    """Encode a NumPy array, pandas extension array or what ``Series.array`` gives. Raises Refused."""
    values = unwrapped(values)
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        by_kind = _BY_KIND.get(dtype.kind)
        if by_kind is not None:
            return by_kind(np.asarray(values))
        raise Refused(_no_dtype(dtype))
    encoder = _BY_DTYPE.get(type(dtype))
    if encoder is None:
        encoder = next(
            (
                found
                for known, found in _BY_DTYPE.items()
                if known in _TO_SUBCLASS and isinstance(dtype, known)
            ),
            None,
        )
    if encoder is None:
        raise Refused(_no_dtype(dtype))
    return encoder(values)


def unwrapped(values: Any) -> Any:
    """What ``Series.array`` gives for NumPy columns as the NumPy array itself."""
    # not isinstance: the text array of Python strings is a subclass
    return values.to_numpy() if type(values) is pd.arrays.NumpyExtensionArray else values


def _no_dtype(dtype: Any) -> str:
    advice = {"c": "store real and imaginary part as two columns"}.get(getattr(dtype, "kind", ""), "")
    if isinstance(dtype, pd.SparseDtype):
        advice = "make it dense with .sparse.to_dense()"
    return f"the dtype {dtype} cannot be stored; {advice or 'convert it with .astype(...) first'}"


def codec_of(spec: Spec) -> Codec:
    """The codec that reads columns with this spec."""
    return CODECS[spec["codec"]]


def decode_column(column: pa.ChunkedArray, spec: Spec, *, private: bool = False) -> Any:
    """The pandas (or NumPy) array of an encoded column."""
    return codec_of(spec).decode(column, spec, private=private)


# ---------------------------------------------------------------- NumPy numbers and bools


@register
class NumpyCodec(Codec):
    """NumPy ints, floats and bools; NaN is a value, nothing is null."""

    name = "numpy"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return np.dtype(spec["dtype"])

    def storage(self, spec: Spec) -> pa.DataType:
        return pa.from_numpy_dtype(self.dtype(spec, None).newbyteorder("="))

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> np.ndarray:
        dtype = np.dtype(spec["dtype"])
        if dtype.kind == "b":
            return buffers.column_bools(column)
        values = buffers.column_values(column, dtype.newbyteorder("="), private=private)
        if dtype.kind == "f" and column.null_count:
            values[~buffers.column_valid(column)] = np.nan
        return values.astype(dtype, copy=False)


@encodes_kind("iuf")
def _encode_numbers(values: np.ndarray) -> Encoded:
    dtype = values.dtype
    if dtype.char in "gG":
        raise Refused(
            f"the dtype {dtype} differs between machines and cannot be stored; convert it to float64"
        )
    native = values.astype(dtype.newbyteorder("="), copy=False)
    name = dtype.name if dtype.isnative else dtype.str
    return Encoded(
        buffers.to_arrow(native, _ARROW_TYPES[native.dtype.name]), {"codec": "numpy", "dtype": name}
    )


_ARROW_TYPES = {
    np.dtype(code).name: pa.from_numpy_dtype(np.dtype(code))
    for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}


@encodes_kind("b")
def _encode_bools(values: np.ndarray) -> Encoded:
    return Encoded(buffers.bools_to_arrow(values), {"codec": "numpy", "dtype": "bool"})


# ---------------------------------------------------------------- dates and durations


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
    if count != 1 or unit not in ("s", "ms", "us", "ns"):
        raise Refused(f"the dtype {dtype} cannot be stored; convert it to a unit of s, ms, us or ns")
    return unit


@register
class DatetimeCodec(Codec):
    """datetime64, naive or with a zone. The value buffer keeps NaT under the nulls, so that it can be viewed as it is."""

    name = "datetime"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        unit = spec["unit"]
        return (
            pd.DatetimeTZDtype(unit, zones.from_json(spec["tz"])) if "tz" in spec else np.dtype(f"M8[{unit}]")
        )

    def storage(self, spec: Spec) -> pa.DataType:
        return pa.timestamp(
            spec["unit"], zones.arrow_name(zones.from_json(spec["tz"])) if "tz" in spec else None
        )

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        values = _fill_nat(buffers.column_values(column, np.dtype("i8"), private=private), column)
        times = values.view(f"M8[{spec['unit']}]")
        if "tz" not in spec:
            return times
        return (
            pd.DatetimeIndex(times, copy=False)
            .tz_localize("UTC")
            .tz_convert(zones.from_json(spec["tz"]))
            .array
        )


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
        zone, name = zones.to_json(tz), zones.arrow_name(tz)
    except ValueError as error:
        raise Refused(str(error)) from None
    instants = np.asarray(values.tz_convert(None), dtype=f"M8[{values.dtype.unit}]")
    array = buffers.to_arrow(instants, pa.timestamp(values.dtype.unit, name), _valid_times(instants))
    return Encoded(array, {"codec": "datetime", "unit": values.dtype.unit, "tz": zone})


@register
class TimedeltaCodec(Codec):
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
class PeriodCodec(Codec):
    """Periods as their ordinals."""

    name = "period"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return pd.PeriodDtype(spec["freq"])

    def storage(self, spec: Spec) -> pa.DataType:
        return pa.int64()

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        values = _fill_nat(buffers.column_values(column, np.dtype("i8"), private=private), column)
        return pd.PeriodIndex.from_ordinals(values, freq=spec["freq"]).array


@encodes_dtype(pd.PeriodDtype)
def _encode_periods(values: Any) -> Encoded:
    freq = values.dtype.name.removeprefix("period[").removesuffix("]")  # not freqstr: "ME" names no period
    if pd.PeriodDtype(freq) != values.dtype:
        raise Refused(f"the dtype {values.dtype} cannot be stored; convert it with .dt.to_timestamp()")
    ordinals = np.asarray(pd.PeriodIndex(values).asi8)
    return Encoded(
        buffers.to_arrow(ordinals, pa.int64(), _valid_times(ordinals)), {"codec": "period", "freq": freq}
    )


# ---------------------------------------------------------------- nullable numbers and bools


@register
class MaskedCodec(Codec):
    """Int*, UInt*, Float* and boolean: NA is a null, NaN a value."""

    name = "masked"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return pd.api.types.pandas_dtype(spec["dtype"])

    def storage(self, spec: Spec) -> pa.DataType:
        return pa.from_numpy_dtype(self.dtype(spec, None).numpy_dtype)

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        dtype = self.dtype(spec, None)
        mask = ~buffers.column_valid(column)
        if spec["dtype"] == "boolean":
            return pd.arrays.BooleanArray(buffers.column_bools(column), mask)
        values = buffers.column_values(column, dtype.numpy_dtype, private=private)
        return dtype.construct_array_type()(values, mask)


_MASKED = tuple(
    getattr(pd, f"{kind}{width}Dtype")
    for kind, widths in (("Int", (8, 16, 32, 64)), ("UInt", (8, 16, 32, 64)), ("Float", (32, 64)))
    for width in widths
)


@encodes_dtype(pd.BooleanDtype, *_MASKED)
def _encode_masked(values: Any) -> Encoded:
    return Encoded(values.__arrow_array__(), {"codec": "masked", "dtype": values.dtype.name})


# ---------------------------------------------------------------- text


@register
class StringCodec(Codec):
    """The string dtypes; those on Arrow keep their Arrow memory."""

    name = "string"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return _string_dtype(spec["storage"], spec["na"])

    def storage(self, spec: Spec) -> pa.DataType:
        return pa.large_string()

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        return self.dtype(spec, None).__from_arrow__(column)


def _string_dtype(storage: str, na: str) -> Any:
    missing = pd.NA if na == "NA" else np.nan
    try:
        return pd.StringDtype(storage, na_value=missing)
    except TypeError:  # pandas 2.2: the NaN variant had a storage name of its own
        return pd.StringDtype(storage if na == "NA" else "pyarrow_numpy")


@encodes_dtype(pd.StringDtype)
def _encode_strings(values: Any) -> Encoded:
    dtype = values.dtype
    try:
        array = values.__arrow_array__(type=pa.large_string())
    except UnicodeEncodeError:
        raise surrogate(values) from None
    if array.type != pa.large_string():
        array = array.cast(pa.large_string())
    storage = "python" if dtype.storage == "python" else "pyarrow"
    na = "NA" if getattr(dtype, "na_value", pd.NA) is pd.NA else "nan"
    return Encoded(array, {"codec": "string", "storage": storage, "na": na})


def surrogate(values: Any) -> Refused:
    """The error for text that is no valid Unicode, with its row."""
    for row, value in enumerate(values):
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                return Refused(
                    "the text holds a lone surrogate, which no UTF-8 text can; repair it with .str.encode('utf-8', 'replace')",
                    row,
                )
    return Refused("a text holds a lone surrogate")


# ---------------------------------------------------------------- categories


@register
class CategoryCodec(Codec):
    """Categoricals: the categories stand in the spec, so that they are kept without rows and can be merged."""

    name = "category"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return pd.CategoricalDtype(categories_of(spec), ordered=spec["ordered"])

    def storage(self, spec: Spec) -> pa.DataType:
        values = unpack(spec["categories"])
        return pa.dictionary(pa.int32(), values.type, spec["ordered"]) if _flat(values.type) else pa.int32()

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        return pd.Categorical.from_codes(codes_of(column), dtype=self.dtype(spec, None), validate=False)


@encodes_dtype(pd.CategoricalDtype)
def _encode_categories(values: Any) -> Encoded:
    categories, spec = encode_array(values.categories.array)
    freq = freq_text(values.categories)
    array = (
        buffers.single(pa.chunked_array([categories]))
        if isinstance(categories, pa.Array)
        else buffers.single(categories)
    )
    full = {
        "codec": "category",
        "ordered": bool(values.ordered),
        "categories": {"spec": spec, "data": pack(array)} | ({"freq": freq} if freq else {}),
    }
    return Encoded(from_codes(np.asarray(values.codes), full), full)


def from_codes(codes: np.ndarray, spec: Spec) -> pa.Array:
    """The Arrow array of these codes (-1: missing) under a category spec."""
    missing = codes < 0
    indices = buffers.to_arrow(
        codes.astype("i4", copy=False), pa.int32(), ~missing if missing.any() else None
    )
    values = unpack(spec["categories"])
    if not _flat(values.type):
        return indices
    return pa.DictionaryArray.from_arrays(indices, values, ordered=spec["ordered"], safe=False)


def codes_of(column: pa.ChunkedArray) -> np.ndarray:
    """The codes of an encoded categorical, -1 where missing."""
    if pa.types.is_dictionary(column.type):
        chunks = [chunk.indices for chunk in column.chunks]
        column = pa.chunked_array(chunks, column.type.index_type)
    codes = buffers.column_values(column, np.dtype(column.type.to_pandas_dtype()), private=False)
    if column.null_count:
        codes[~buffers.column_valid(column)] = -1
    return codes


def categories_of(spec: Spec) -> pd.Index:
    """The categories of a category spec."""
    packed = spec["categories"]
    values = decode_column(pa.chunked_array([unpack(packed)]), packed["spec"])
    return with_freq(pd.Index(values, dtype=values.dtype, copy=False), packed.get("freq"))


def _flat(kind: pa.DataType) -> bool:
    """Whether `kind` may be the value type of an Arrow dictionary that other tools read."""
    return not (pa.types.is_nested(kind) or pa.types.is_null(kind))


def pack(array: pa.Array) -> str:
    """An Arrow array as text: an IPC stream in base64."""
    batch = pa.record_batch([array], names=["values"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return base64.b64encode(sink.getvalue()).decode("ascii")


def unpack(packed: Spec) -> pa.Array:
    """The array of a packed column."""
    with pa.ipc.open_stream(base64.b64decode(packed["data"])) as reader:
        return buffers.single(reader.read_all().column(0))


# ---------------------------------------------------------------- intervals


@register
class IntervalCodec(Codec):
    """Intervals as a struct of their ends."""

    name = "interval"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return pd.IntervalDtype(codec_of(spec["ends"]).dtype(spec["ends"], None), spec["closed"])

    def storage(self, spec: Spec) -> pa.DataType:
        end = codec_of(spec["ends"]).storage(spec["ends"])
        return pa.struct([("left", end), ("right", end)])

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        array = buffers.single(column)
        ends = [decode_column(pa.chunked_array([end]), spec["ends"]) for end in array.flatten()]
        return pd.arrays.IntervalArray.from_arrays(*ends, closed=spec["closed"], dtype=self.dtype(spec, None))


@encodes_dtype(pd.IntervalDtype)
def _encode_intervals(values: Any) -> Encoded:
    left, right = (encode_array(end.array) for end in (values.left, values.right))
    missing = np.asarray(values.isna())
    mask = pa.array(missing) if missing.any() else None
    array = pa.StructArray.from_arrays([left.array, right.array], names=["left", "right"], mask=mask)
    return Encoded(array, {"codec": "interval", "closed": values.closed, "ends": left.spec})


# ---------------------------------------------------------------- pandas' Arrow dtypes


@register
class ArrowCodec(Codec):
    """``pd.ArrowDtype``: the Arrow array as it is."""

    name = "arrow"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return pd.ArrowDtype(kind)

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        return pd.ArrowDtype(column.type).__from_arrow__(column)


@encodes_dtype(pd.ArrowDtype)
def _encode_arrow(values: Any) -> Encoded:
    kind = values.dtype.pyarrow_dtype
    if isinstance(kind, pa.BaseExtensionType) or pa.types.is_union(kind):
        raise Refused(f"the Arrow type {kind} cannot be stored; convert it to its storage type first")
    return Encoded(values.__arrow_array__(), {"codec": "arrow"})


_TO_SUBCLASS = frozenset({pd.StringDtype})
