"""Arrow columns as lists of JSON values, and back without loss.

JSON stands for itself wherever it can, so that other tools read the documents: numbers, texts, ISO times, arrays,
objects. What JSON or the server would change is written as text, and read back by the column's Arrow type: integers
above 2**63 - 1, NaN, infinities and negative zero, decimals, bytes (base64). A whole column is converted at a time.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate, chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd.errors import UnsupportedColumn

_INT64_MAX = 2**63 - 1
_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_t = pa.types


@dataclass(slots=True)
class Dictionaries:
    """The dictionaries of a part's categorical columns, by the path of the type in the schema."""

    found: dict[str, tuple[pa.Array, bool]] = field(
        default_factory=dict
    )  #: values, and whether cells hold codes


def attribute(name: str) -> str:
    """The attribute that holds the column or struct field `name`. Empty and leading `_` are the server's own."""
    return "%" + name if not name or name[0] in "_%" else name


# ---------------------------------------------------------------- to JSON


def encode(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    """The values of `array` as JSON data; dictionaries met on the way are noted. Raises UnsupportedColumn."""
    kind = array.type
    if _t.is_floating(kind):
        return _encode_floats(array)
    for matches, writer in _WRITERS:
        if matches(kind):
            return writer(array, path, dictionaries)
    raise UnsupportedColumn(
        f"columns of the Arrow type {kind} cannot be stored on a server; cast it to a plain type"
    )


def _encode_plain(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _encode_uint64(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    values = array.to_pylist()
    largest = pc.max(array).as_py()
    if largest is None or largest <= _INT64_MAX:
        return list(values)
    return [str(value) if value is not None and value > _INT64_MAX else value for value in values]


def doubles(array: pa.Array) -> np.ndarray:
    """The floats of an array as float64, exactly; what lies under a null means nothing."""
    wide = array.to_numpy(zero_copy_only=False)
    return np.asarray(wide, dtype=np.float64)


def unusual(numbers: np.ndarray) -> np.ndarray:
    """Where JSON or the server would not keep a float: NaN, infinities, negative zero."""
    odd: np.ndarray = ~np.isfinite(numbers) | ((numbers == 0) & np.signbit(numbers))
    return odd


def _encode_floats(array: pa.Array) -> list[Any]:
    numbers = doubles(array)
    values: list[Any] = numbers.tolist()
    for row in np.flatnonzero(unusual(numbers)):
        values[row] = float_text(values[row])
    if array.null_count:
        for row in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)):
            values[row] = None
    return values


def float_text(value: float) -> str:
    """NaN, Infinity, -Infinity or -0.0."""
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(repr(value), repr(value))


def _encode_decimals(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    return [None if value is None else str(value) for value in array.to_pylist()]


def _encode_bytes(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    return [None if value is None else base64.b64encode(value).decode("ascii") for value in array.to_pylist()]


def _integers(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The integers behind temporal values (0 under a null), and where there are nulls."""
    width = pa.int32() if array.type.bit_width == 32 else pa.int64()
    plain = array.view(width)
    gone = plain.is_null().to_numpy(zero_copy_only=False)
    return plain.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64), gone


def _encode_times(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    """ISO 8601 texts; integers where the year has not four digits."""
    kind = array.type
    unit = "D" if _t.is_date32(kind) else "ms" if _t.is_date64(kind) else kind.unit
    numbers, gone = _integers(array)
    low, high = _readable(unit)
    readable = (numbers >= low) & (numbers < high)
    texts = np.datetime_as_string(np.where(readable, numbers, 0).view(f"datetime64[{unit}]"))
    if _t.is_timestamp(kind) and kind.tz is not None:
        texts = np.char.add(texts, "Z")
    return _texts_or_integers(texts.tolist(), numbers, readable, gone)


def _encode_clock(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    unit = array.type.unit
    numbers, gone = _integers(array)
    readable = (numbers >= 0) & (numbers < _DAY[unit])
    texts = np.datetime_as_string(np.where(readable, numbers, 0).view(f"datetime64[{unit}]"))
    return _texts_or_integers([text[11:] for text in texts.tolist()], numbers, readable, gone)


def _readable(unit: str) -> tuple[int, int]:
    # Nanoseconds reach from 1677 to 2262; Arrow does not parse the outermost of them.
    first, end = ("1678-01-01", "2262-01-01") if unit == "ns" else ("0001-01-01", "10000-01-01")
    low, high = np.array([first, end], dtype=f"datetime64[{unit}]").view(np.int64).tolist()
    return low, high


def _texts_or_integers(
    texts: list[Any], numbers: np.ndarray, readable: np.ndarray, gone: np.ndarray
) -> list[Any]:
    for row in np.flatnonzero(~readable):
        texts[row] = int(numbers[row])
    for row in np.flatnonzero(gone):
        texts[row] = None
    return texts


def _encode_durations(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    values: list[Any] = array.view(pa.int64()).to_pylist()
    return values


def _encode_intervals(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    return [None if value is None else list(value) for value in array.to_pylist()]


def _encode_dictionary(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    values, codes = array.dictionary, array.indices.to_pylist()
    coded = not _distinct(values)
    dictionaries.found[path] = (values, coded)
    if coded:
        return list(codes)
    shown = encode(values, path + ".", dictionaries)
    return [None if code is None else shown[code] for code in codes]


def _distinct(values: pa.Array) -> bool:
    """Whether a value can be found again in this dictionary: no nulls, no doubles, nothing odd about equality."""
    kind = values.type
    plain = _t.is_integer(kind) or _t.is_boolean(kind) or _t.is_temporal(kind) or _t.is_decimal(kind)
    text = _t.is_string(kind) or _t.is_large_string(kind) or _t.is_binary(kind) or _t.is_large_binary(kind)
    floating = _t.is_float64(kind) and not unusual(doubles(values)).any()
    if values.null_count or not (plain or text or floating):
        return False
    return bool(pc.count_distinct(values).as_py() == len(values))


def _encode_struct(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    kind = array.type
    children = [encode(child, f"{path}.{i}", dictionaries) for i, child in enumerate(array.flatten())]
    rows = zip(*children, strict=True) if children else iter([()] * len(array))
    names = _attributes(kind)
    cells = (
        (list(row) for row in rows) if names is None else (dict(zip(names, row, strict=True)) for row in rows)
    )
    if not array.null_count:
        return list(cells)
    gone = array.is_null().to_pylist()
    return [None if missing else cell for cell, missing in zip(cells, gone, strict=True)]


def _attributes(kind: pa.StructType) -> list[str] | None:
    """A struct's attribute names; None if two fields have the same name, and arrays have to do."""
    names = [attribute(kind.field(i).name) for i in range(kind.num_fields)]
    return names if len(set(names)) == len(names) else None


def _encode_lists(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    flat = encode(array.flatten(), path + ".0", dictionaries)
    return _cut(flat, pc.list_value_length(array).to_pylist())


def _cut(flat: list[Any], lengths: list[int | None]) -> list[Any]:
    cells: list[Any] = []
    at = 0
    for length in lengths:
        if length is None:
            cells.append(None)
        else:
            cells.append(flat[at : at + length])
            at += length
    return cells


def _encode_maps(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    array = array.take(pa.array(np.arange(len(array))))  # keys and items of a slice are not cut to the slice
    offsets = array.offsets.to_pylist()
    gone = array.is_null().to_pylist()
    lengths = [None if gone[i] else offsets[i + 1] - offsets[i] for i in range(len(array))]
    keys = encode(array.keys, path + ".0", dictionaries)
    items = encode(array.items, path + ".1", dictionaries)
    return _cut([[key, item] for key, item in zip(keys, items, strict=True)], lengths)


def _encode_view(array: pa.Array, path: str, dictionaries: Dictionaries) -> list[Any]:
    return encode(array.cast(_unviewed(array.type)), path, dictionaries)


def _unviewed(kind: pa.DataType) -> pa.DataType:
    """The type without views that holds the same values."""
    if _is("is_string_view", kind):
        return pa.large_string()
    if _is("is_binary_view", kind):
        return pa.large_binary()
    return pa.list_(kind.value_field) if _is("is_list_view", kind) else pa.large_list(kind.value_field)


def _is(test: str, kind: pa.DataType) -> bool:
    """A type test that older releases of pyarrow lack, as they lack the type."""
    found = getattr(_t, test, None)
    return found is not None and bool(found(kind))


def _is_view(kind: pa.DataType) -> bool:
    return any(_is(f"is_{name}_view", kind) for name in ("string", "binary", "list", "large_list"))


def _is_list(kind: pa.DataType) -> bool:
    return bool(_t.is_list(kind) or _t.is_large_list(kind) or _t.is_fixed_size_list(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(_t.is_binary(kind) or _t.is_large_binary(kind) or _t.is_fixed_size_binary(kind))


def _is_plain(kind: pa.DataType) -> bool:
    if _t.is_null(kind) or _t.is_boolean(kind) or _t.is_string(kind) or _t.is_large_string(kind):
        return True
    return _t.is_integer(kind) and not _t.is_uint64(kind)


def _is_time(kind: pa.DataType) -> bool:
    return bool(_t.is_timestamp(kind) or _t.is_date(kind))


def _is_interval(kind: pa.DataType) -> bool:
    return bool(kind == pa.month_day_nano_interval())


_Writer = Callable[[pa.Array, str, Dictionaries], list[Any]]
_WRITERS: tuple[tuple[Callable[[pa.DataType], bool], _Writer], ...] = (
    (_is_plain, _encode_plain),
    (_t.is_uint64, _encode_uint64),
    (_t.is_decimal, _encode_decimals),
    (_is_bytes, _encode_bytes),
    (_is_time, _encode_times),
    (_t.is_time, _encode_clock),
    (_t.is_duration, _encode_durations),
    (_is_interval, _encode_intervals),
    (_t.is_dictionary, _encode_dictionary),
    (_t.is_struct, _encode_struct),
    (_is_list, _encode_lists),
    (_t.is_map, _encode_maps),
    (_is_view, _encode_view),
    (lambda kind: isinstance(kind, pa.BaseExtensionType), lambda a, p, d: encode(a.storage, p, d)),
)


# ---------------------------------------------------------------- from JSON


def decode(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    """The array of type `kind` that :func:`encode` made `values` of. Raises ValueError, TypeError or ArrowException."""
    for matches, reader in _READERS:
        if matches(kind):
            return reader(values, kind, path, dictionaries)
    raise UnsupportedColumn(f"columns of the Arrow type {kind} cannot be read from a server")


def _decode_plain(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    return pa.array(values, kind)


def _decode_uint64(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    return pa.array([int(value) if isinstance(value, str) else value for value in values], kind)


def _decode_floats(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    gone = np.fromiter((value is None for value in values), bool, len(values))
    # float() reads the texts of NaN, Infinity and -0.0, and the integers the server makes of whole floats.
    numbers = np.fromiter(
        (0.0 if value is None else float(value) for value in values), np.float64, len(values)
    )
    return pa.array(numbers.astype(kind.to_pandas_dtype()), kind, mask=gone if gone.any() else None)


def _decode_decimals(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    return pa.array([None if value is None else Decimal(value) for value in values], kind)


def _decode_bytes(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    return pa.array(
        [None if value is None else base64.b64decode(value, validate=True) for value in values], kind
    )


def _decode_times(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    unit = "D" if _t.is_date32(kind) else "ms" if _t.is_date64(kind) else kind.unit
    return _from_texts(values, kind, unit, "")


def _decode_clock(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    return _from_texts(values, kind, kind.unit, "1970-01-01T")


def _from_texts(values: list[Any], kind: pa.DataType, unit: str, before: str) -> pa.Array:
    gone = np.fromiter((value is None for value in values), bool, len(values))
    texts = [before + value.rstrip("Z") if isinstance(value, str) else "1970-01-01" for value in values]
    numbers = np.array(texts, dtype=f"datetime64[{unit}]").view(np.int64)
    for row, value in enumerate(values):
        if isinstance(value, int):
            numbers[row] = value
    narrow = numbers.astype(np.int32) if kind.bit_width == 32 else numbers
    return pa.array(narrow, mask=gone if gone.any() else None).view(kind)


def _decode_durations(
    values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries
) -> pa.Array:
    return pa.array(values, pa.int64()).view(kind)


def _decode_intervals(
    values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries
) -> pa.Array:
    return pa.array([None if value is None else tuple(value) for value in values], kind)


def _decode_dictionary(
    values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries
) -> pa.Array:
    words, coded = dictionaries.found[path]
    if isinstance(words, list):
        words = decode(words, kind.value_type, path + ".", dictionaries)
        dictionaries.found[path] = (words, coded)
    if coded:
        codes = pa.array(values, kind.index_type)
    else:
        codes = pc.index_in(decode(values, kind.value_type, path + ".", dictionaries), value_set=words)
        if codes.null_count != sum(value is None for value in values):
            raise ValueError("a value is not among the categories of its column")
        codes = codes.cast(kind.index_type)
    return pa.DictionaryArray.from_arrays(codes, words, ordered=kind.ordered)


def _decode_struct(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    names: list[Any] = list(_attributes(kind) or range(kind.num_fields))
    fields = [kind.field(i) for i in range(kind.num_fields)]
    children = [
        decode(
            [None if value is None else value[name] for value in values],
            fields[i].type,
            f"{path}.{i}",
            dictionaries,
        )
        for i, name in enumerate(names)
    ]
    gone = pa.array([value is None for value in values], pa.bool_())
    if not fields:
        return pa.array([None if value is None else {} for value in values], kind)
    return pa.StructArray.from_arrays(children, fields=fields, mask=gone)


def _offsets(values: list[Any], width: pa.DataType) -> pa.Array:
    """Where each cell begins; null for a cell that is null, which Arrow reads as such."""
    ends = [0, *accumulate(0 if value is None else len(value) for value in values)]
    starts: list[Any] = [None if value is None else at for value, at in zip(values, ends, strict=False)]
    return pa.array([*starts, ends[-1]], width)


def _decode_lists(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    present = (value for value in values if value is not None)
    flat = decode(list(chain.from_iterable(present)), kind.value_type, path + ".0", dictionaries)
    if _t.is_large_list(kind):
        return pa.LargeListArray.from_arrays(_offsets(values, pa.int64()), flat, type=kind)
    return pa.ListArray.from_arrays(_offsets(values, pa.int32()), flat, type=kind)


def _decode_fixed(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    size = kind.list_size
    if any(value is not None and len(value) != size for value in values):
        raise ValueError(f"a cell has not the {size} elements of its column")
    gap = [None] * size
    flat = chain.from_iterable(gap if value is None else value for value in values)
    child = decode(list(flat), kind.value_type, path + ".0", dictionaries)
    gone = pa.array([value is None for value in values], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(child, type=kind, mask=gone)


def _decode_maps(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    pairs = list(chain.from_iterable(value for value in values if value is not None))
    keys = decode([key for key, _ in pairs], kind.key_type, path + ".0", dictionaries)
    items = decode([item for _, item in pairs], kind.item_type, path + ".1", dictionaries)
    return pa.MapArray.from_arrays(_offsets(values, pa.int32()), keys, items, type=kind)


def _decode_view(values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries) -> pa.Array:
    return decode(values, _unviewed(kind), path, dictionaries).cast(kind)


def _decode_extension(
    values: list[Any], kind: pa.DataType, path: str, dictionaries: Dictionaries
) -> pa.Array:
    return kind.wrap_array(decode(values, kind.storage_type, path, dictionaries))


_Reader = Callable[[list[Any], pa.DataType, str, Dictionaries], pa.Array]
_READERS: tuple[tuple[Callable[[pa.DataType], bool], _Reader], ...] = (
    (_is_plain, _decode_plain),
    (_t.is_floating, _decode_floats),
    (_t.is_uint64, _decode_uint64),
    (_t.is_decimal, _decode_decimals),
    (_is_bytes, _decode_bytes),
    (_is_time, _decode_times),
    (_t.is_time, _decode_clock),
    (_t.is_duration, _decode_durations),
    (_is_interval, _decode_intervals),
    (_t.is_dictionary, _decode_dictionary),
    (_t.is_struct, _decode_struct),
    (_t.is_fixed_size_list, _decode_fixed),
    (_is_list, _decode_lists),
    (_t.is_map, _decode_maps),
    (_is_view, _decode_view),
    (lambda kind: isinstance(kind, pa.BaseExtensionType), _decode_extension),
)
