"""Convert single Python values to JSON text, and back with exactly the same type.

Plain JSON is not changed, so that other tools can read it. Other values (tuples, bytes, NaN, dates, NumPy values, ...) are
wrapped as ``{"$": type, "v": ...}``, and so is a dict that could be mistaken for a wrapper.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import math
import os
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import short_repr
from tablevault_pd.frames import timezones as zones

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: Python does not parse longer decimal texts as ints; such ints are written in hexadecimal.
_PLAIN_INT_LIMIT = 10**4000
_DEPTH_LIMIT = 100
_ARRAY_KINDS = "biufcmMUS"


class CannotSerialize(Exception):
    """A value cannot be stored exactly; the message says why."""


def refuse(value: object) -> CannotSerialize:
    """Return the error for a value of a type that is not stored."""
    kind = type(value)
    files = (
        "a column of paths is named by files=['its name'], else " if isinstance(value, os.PathLike) else ""
    )
    return CannotSerialize(
        f"a value of type {kind.__module__}.{kind.__qualname__} cannot be stored exactly; "
        f"{files}convert it to text, numbers, lists or dicts, or drop the column"
    )


# ---------------------------------------------------------------- to plain JSON


def to_plain(value: Any, depth: int = 0) -> Any:
    """Return `value` as JSON data with wrappers where needed. Raises CannotSerialize."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if -_PLAIN_INT_LIMIT < value < _PLAIN_INT_LIMIT else wrapped("int", hex(value))
    if kind is float:
        return value if math.isfinite(value) else wrapped("float", repr(value))
    if depth > _DEPTH_LIMIT:
        raise CannotSerialize(
            f"the value is nested more than {_DEPTH_LIMIT} levels deep, or contains itself; flatten it first"
        )
    writer = _WRITERS.get(kind)
    if writer is not None:
        return writer(value, depth + 1)
    if isinstance(value, np.generic):
        return _numpy_scalar(value)
    if isinstance(value, pd.tseries.offsets.BaseOffset):
        raise refuse(value)
    raise refuse(value)


def name_plain(name: Any) -> Any:
    """Return a label, or the name of an index, as JSON data in valid Unicode. Raises CannotSerialize."""
    plain = to_plain(name)
    try:
        _encode(plain).encode()
    except UnicodeEncodeError:
        raise CannotSerialize(
            f"{short_repr(name)} holds a lone surrogate, which no UTF-8 text can; rename it"
        ) from None
    return plain


def wrapped(tag: str, content: Any) -> dict[str, Any]:
    """Return the wrapper of one value that JSON cannot hold."""
    return {"$": tag, "v": content}


def _dict(value: dict[Any, Any], depth: int) -> Any:
    if all(type(key) is str and not key.startswith("$") for key in value):
        return {key: to_plain(item, depth) for key, item in value.items()}
    return wrapped("dict", [[to_plain(key, depth), to_plain(item, depth)] for key, item in value.items()])


def _list(value: list[Any], depth: int) -> list[Any]:
    return [to_plain(item, depth) for item in value]


def _listed(tag: str) -> Callable[[Any, int], Any]:
    return lambda value, depth: wrapped(tag, [to_plain(item, depth) for item in value])


def _unordered(tag: str) -> Callable[[Any, int], Any]:
    # Sorted by their JSON text, so that equal sets give equal bytes.
    def write(value: Any, depth: int) -> Any:
        return wrapped(tag, sorted((to_plain(item, depth) for item in value), key=json.dumps))

    return write


def _array(value: np.ndarray, depth: int) -> Any:
    if value.dtype.kind == "O":
        flat = [to_plain(item, depth) for item in value.ravel().tolist()]
        return wrapped("ndarray", ["O", list(value.shape), flat])
    _check_dtype(value.dtype, value)
    return wrapped("ndarray", [value.dtype.str, list(value.shape), _base64(value.tobytes())])


def _numpy_scalar(value: np.generic) -> Any:
    array = np.asarray(value)
    _check_dtype(array.dtype, value)
    plain = wrapped("numpy", [array.dtype.str, _base64(array.tobytes())])
    if array.dtype.kind in "US" and _read_numpy(plain["v"]) != value:
        raise CannotSerialize(
            "a NumPy text that ends in NUL cannot be stored exactly; convert it to str or bytes"
        )
    return plain


def _check_dtype(dtype: np.dtype, value: object) -> None:
    if dtype.kind not in _ARRAY_KINDS or dtype.char in "gG":
        raise refuse(value)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _datetime(value: dt.datetime, depth: int) -> Any:
    zone = None if value.tzinfo is None else _zone(value.tzinfo)
    return wrapped("datetime", [value.replace(tzinfo=None, fold=0).isoformat(), zone, value.fold])


def _time(value: dt.time, depth: int) -> Any:
    zone = None if value.tzinfo is None else _zone(value.tzinfo)
    return wrapped("time", [value.replace(tzinfo=None, fold=0).isoformat(), zone, value.fold])


def _zone(tz: dt.tzinfo) -> Any:
    try:
        return zones.to_json(tz)
    except ValueError as error:
        raise CannotSerialize(str(error)) from None


def _timestamp(value: pd.Timestamp, depth: int) -> Any:
    zone = None if value.tzinfo is None else _zone(value.tzinfo)
    return wrapped("Timestamp", [int(value.asm8.view("i8")), value.unit, zone])


def _timedelta(value: pd.Timedelta, depth: int) -> Any:
    return wrapped("Timedelta", [int(value.asm8.view("i8")), value.unit])


def _interval(value: pd.Interval, depth: int) -> Any:
    return wrapped("Interval", [to_plain(value.left, depth), to_plain(value.right, depth), value.closed])


_WRITERS: dict[type, Callable[[Any, int], Any]] = {
    dict: _dict,
    list: _list,
    tuple: _listed("tuple"),
    set: _unordered("set"),
    frozenset: _unordered("frozenset"),
    bytes: lambda value, _: wrapped("bytes", _base64(value)),
    bytearray: lambda value, _: wrapped("bytearray", _base64(bytes(value))),
    complex: lambda value, _: wrapped("complex", [repr(value.real), repr(value.imag)]),
    decimal.Decimal: lambda value, _: wrapped("Decimal", str(value)),
    uuid.UUID: lambda value, _: wrapped("UUID", value.hex),
    dt.date: lambda value, _: wrapped("date", value.isoformat()),
    dt.time: _time,
    dt.datetime: _datetime,
    dt.timedelta: lambda value, _: wrapped("timedelta", [value.days, value.seconds, value.microseconds]),
    np.ndarray: _array,
    pd.Timestamp: _timestamp,
    pd.Timedelta: _timedelta,
    pd.Period: lambda value, _: wrapped("Period", [value.ordinal, value.freqstr]),
    pd.Interval: _interval,
    type(pd.NA): lambda value, _: wrapped("NA", None),
    type(pd.NaT): lambda value, _: wrapped("NaT", None),
}


# ---------------------------------------------------------------- and back


def _read_array(content: Sequence[Any]) -> np.ndarray:
    dtype, shape, data = content
    if dtype == "O":
        return np.fromiter(data, dtype=object, count=len(data)).reshape(shape)
    return np.frombuffer(base64.b64decode(data), dtype=_safe_dtype(dtype)).reshape(shape).copy()


def _read_numpy(content: Sequence[Any]) -> Any:
    return (
        np.frombuffer(base64.b64decode(content[1]), dtype=_safe_dtype(content[0]))[0]
        if content[1]
        else np.zeros(1, _safe_dtype(content[0]))[0]
    )


def _safe_dtype(text: str) -> np.dtype:
    dtype = np.dtype(text)
    if dtype.kind not in _ARRAY_KINDS:
        raise ValueError(f"a stored cell names the dtype {text!r}")
    return dtype


def _read_datetime(content: Sequence[Any]) -> dt.datetime:
    value = dt.datetime.fromisoformat(content[0]).replace(fold=content[2])
    return value if content[1] is None else value.replace(tzinfo=zones.from_json(content[1]))


def _read_time(content: Sequence[Any]) -> dt.time:
    value = dt.time.fromisoformat(content[0]).replace(fold=content[2])
    return value if content[1] is None else value.replace(tzinfo=zones.from_json(content[1]))


def _read_timestamp(content: Sequence[Any]) -> pd.Timestamp:
    value = pd.Timestamp(np.datetime64(content[0], content[1]))
    return value if content[2] is None else value.tz_localize("UTC").tz_convert(zones.from_json(content[2]))


_READERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda v: int(v, 16),
    "float": float,
    "dict": dict,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "bytes": base64.b64decode,
    "bytearray": lambda v: bytearray(base64.b64decode(v)),
    "complex": lambda v: complex(float(v[0]), float(v[1])),
    "Decimal": decimal.Decimal,
    "UUID": lambda v: uuid.UUID(hex=v),
    "date": dt.date.fromisoformat,
    "time": _read_time,
    "datetime": _read_datetime,
    "timedelta": lambda v: dt.timedelta(*v),
    "ndarray": _read_array,
    "numpy": _read_numpy,
    "Timestamp": _read_timestamp,
    "Timedelta": lambda v: pd.Timedelta(np.timedelta64(v[0], v[1])),
    "Period": lambda v: pd.Period(ordinal=v[0], freq=v[1]),
    "Interval": lambda v: pd.Interval(v[0], v[1], closed=v[2]),
    "NA": lambda v: pd.NA,
    "NaT": lambda v: pd.NaT,
}


def _unwrap(item: dict[str, Any]) -> Any:
    tag = item.get("$")
    return item if tag is None else _READERS[tag](item["v"])


def from_plain(value: Any) -> Any:
    """Return the value that :func:`to_plain` turned into `value`."""
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if isinstance(value, dict):
        return _unwrap({key: from_plain(item) for key, item in value.items()})
    return value


_encode = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
).encode


def dumps(value: Any) -> str:
    """Return `value` as JSON text. Raises CannotSerialize."""
    return _encode(to_plain(value))


def loads_all(texts: Iterable[str], *, tags: bool) -> list[Any]:
    """Return the values of many JSON texts, parsed in one go; `tags` says whether wrappers may occur."""
    values: list[Any] = json.loads("[" + ",".join(texts) + "]", object_hook=_unwrap if tags else None)
    return values
