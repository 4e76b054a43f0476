"""One codec per family of pandas dtypes: pandas array -> Arrow array + spec, and back.

A *spec* is a small JSON object with at least ``codec``; together with the Arrow type it says exactly which pandas array to
build. Codecs register themselves by name (for reading) and their encoders by dtype (for writing).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.frames import buffers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Spec = dict[str, Any]
_ITER, _OF = "_iter_column_arrays", "_from_arrays"


class Encoded(NamedTuple):
    """An Arrow array, and what is needed to turn it back."""

    array: pa.Array | pa.ChunkedArray
    spec: Spec


class CannotEncode(Exception):
    """Values that no codec takes; `row` is the first bad one, if there is one."""

    def __init__(self, reason: str, row: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row


class Codec:
    """How one family of dtypes is read."""

    name: ClassVar[str]

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        """Return the pandas dtype that comes back."""
        raise NotImplementedError

    def text(self, spec: Spec, kind: pa.DataType) -> str:
        """Return the dtype as pandas shows it, also where this machine lacks its time zone."""
        return str(self.dtype(spec, kind))

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        """Return the pandas array (or NumPy array) of the column."""
        raise NotImplementedError

    def storage(self, spec: Spec) -> pa.DataType:
        """Return the Arrow type of a column with this spec."""
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
    """Encode a NumPy array, pandas extension array or what ``Series.array`` gives. Raises CannotEncode."""
    values = unwrapped(values)
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        by_kind = _BY_KIND.get(dtype.kind)
        if by_kind is not None:
            return by_kind(np.asarray(values))
        raise CannotEncode(_no_dtype(dtype))
    encoder = _BY_DTYPE.get(type(dtype))
    if encoder is None:
        encoder = next(
            (
                encoder
                for dtype_class, encoder in _BY_DTYPE.items()
                if dtype_class in _TO_SUBCLASS and isinstance(dtype, dtype_class)
            ),
            None,
        )
    if encoder is None:
        raise CannotEncode(_no_dtype(dtype))
    return encoder(values)


def unwrapped(values: Any) -> Any:
    """Return the NumPy array inside of a ``NumpyExtensionArray``; other arrays as they are."""
    # not isinstance: the text array of Python strings is a subclass
    return np.asarray(values) if type(values) is pd.arrays.NumpyExtensionArray else values


def _no_dtype(dtype: Any) -> str:
    advice = {"c": "store real and imaginary part as two columns"}.get(getattr(dtype, "kind", ""), "")
    if isinstance(dtype, pd.SparseDtype):
        advice = "make it dense with .sparse.to_dense()"
    return f"the dtype {dtype} cannot be stored; {advice or 'convert it with .astype(...) first'}"


def codec_of(spec: Spec) -> Codec:
    """Return the codec that reads columns with this spec."""
    return CODECS[spec["codec"]]


def decode_column(column: pa.ChunkedArray, spec: Spec, *, private: bool = False) -> Any:
    """Return the pandas (or NumPy) array of an encoded column."""
    return codec_of(spec).decode(column, spec, private=private)


# ---------------------------------------------------------------- NumPy numbers and bools


@register
class _NumpyCodec(Codec):
    """NumPy ints, floats and bools; NaN is a value, nothing is null."""

    name = "numpy"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return np.dtype(spec["dtype"])

    def text(self, spec: Spec, kind: pa.DataType) -> str:
        return _numpy_name(spec["dtype"])

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
    native, kind, name = _number(values.dtype)
    array = buffers.to_arrow(values.astype(native, copy=False), kind)
    return Encoded(array, {"codec": "numpy", "dtype": name})


@lru_cache(maxsize=256)
def _numpy_name(dtype: str) -> str:
    return str(np.dtype(dtype))  # NumPy takes ten times as long as a look-up


@lru_cache(maxsize=64)
def _number(dtype: np.dtype) -> tuple[np.dtype, pa.DataType, str]:
    """Return the dtype in native byte order, its Arrow type, and its name in specs."""
    if dtype.char in "gG":
        raise CannotEncode(
            f"the dtype {dtype} differs between machines and cannot be stored; convert it to float64"
        )
    native = dtype.newbyteorder("=")
    return native, pa.from_numpy_dtype(native), dtype.name if dtype.isnative else dtype.str


@encodes_kind("b")
def _encode_bools(values: np.ndarray) -> Encoded:
    return Encoded(buffers.bools_to_arrow(values), {"codec": "numpy", "dtype": "bool"})


# ---------------------------------------------------------------- nullable numbers and bools


@register
class _MaskedCodec(Codec):
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


def nullable(dtype: np.dtype) -> str:
    """Return the name of pandas' nullable dtype for a NumPy one."""
    if dtype.kind == "b":
        return "boolean"
    return {"i": "Int", "u": "UInt", "f": "Float"}[dtype.kind] + str(dtype.itemsize * 8)


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
class _StringCodec(Codec):
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


def surrogate(values: Any) -> CannotEncode:
    """Return the error for text that is no valid Unicode, with its row."""
    for row, value in enumerate(values):
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                return CannotEncode(
                    "the text holds a lone surrogate, which no UTF-8 text can; repair it with .str.encode('utf-8', 'replace')",
                    row,
                )
    return CannotEncode("a text holds a lone surrogate")


# ---------------------------------------------------------------- intervals


@register
class _IntervalCodec(Codec):
    """Intervals as a struct of their ends."""

    name = "interval"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return pd.IntervalDtype(codec_of(spec["ends"]).dtype(spec["ends"], None), spec["closed"])

    def text(self, spec: Spec, kind: pa.DataType) -> str:
        return f"interval[{codec_of(spec['ends']).text(spec['ends'], None)}, {spec['closed']}]"

    def storage(self, spec: Spec) -> pa.DataType:
        end = codec_of(spec["ends"]).storage(spec["ends"])
        return pa.struct([("left", end), ("right", end)])

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        array = buffers.single(column)
        own = private or column.num_chunks > 1
        left, right = (
            decode_column(pa.chunked_array([end]), spec["ends"], private=own) for end in array.flatten()
        )
        return pd.arrays.IntervalArray.from_arrays(left, right, spec["closed"], dtype=self.dtype(spec, None))


@encodes_dtype(pd.IntervalDtype)
def _encode_intervals(values: Any) -> Encoded:
    left, right = (encode_array(end.array) for end in (values.left, values.right))
    missing = np.asarray(values.isna())
    mask = pa.array(missing) if missing.any() else None
    array = pa.StructArray.from_arrays([left.array, right.array], names=["left", "right"], mask=mask)
    return Encoded(array, {"codec": "interval", "closed": values.closed, "ends": left.spec})


_TO_SUBCLASS = frozenset({pd.StringDtype})


# -- the columns of frames as arrays, and frames of such, by methods that pandas has for itself: the public ways, taken where a
#    release has none of these, make a Series of each column and look for the dtype of each array, as long as a small read takes


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
