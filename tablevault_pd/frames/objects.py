"""Object columns: native Arrow types if every cell is of one plain type, else one JSON text per cell; structs for files."""

from __future__ import annotations

import datetime as dt
import decimal
import pathlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.frames import buffers, cells
from tablevault_pd.frames.categories import dtype_of, full_spec
from tablevault_pd.frames.codecs import CannotEncode, Codec, Encoded, Spec, encodes_kind, register, surrogate

if TYPE_CHECKING:
    from collections.abc import Callable

#: Name in the spec -> the missing marker itself.
MARKERS: dict[str, Any] = {"None": None, "nan": float("nan"), "NA": pd.NA, "NaT": pd.NaT}
_MARKER_TYPES: dict[type, str] = {type(None): "None", type(pd.NA): "NA", type(pd.NaT): "NaT"}


def objects(values: list[Any]) -> np.ndarray:
    """Return a 1-D object array of these cells."""
    return np.fromiter(values, dtype=object, count=len(values))


class CellTypes:
    """The types of the cells of an object column, and its markers of missing values."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.types = set(map(type, values))
        self.markers = {_MARKER_TYPES[kind] for kind in self.types if kind in _MARKER_TYPES}
        self.kinds = self.types - _MARKER_TYPES.keys()
        self.nan = False
        if (float in self.kinds and len(self.kinds) > 1) or self.kinds == {float}:
            self._judge_nan()

    def _judge_nan(self) -> None:
        """Take NaN for a marker where all floats are NaN; among other floats it is a value."""
        if all(value != value for value in self.values if type(value) is float):
            self.kinds.discard(float)
            self.markers.add("nan")
            self.nan = True

    @property
    def marker(self) -> str:
        """The name of the one marker; None when no cell is missing."""
        return next(iter(self.markers), "None")

    def missing(self) -> np.ndarray:
        """Return which cells are markers, as a new array of bools."""
        if not self.markers:
            return np.zeros(len(self.values), bool)
        gone = {kind for kind, name in _MARKER_TYPES.items() if name in self.markers}
        if self.nan:
            return np.fromiter(
                (type(v) in gone or (type(v) is float and v != v) for v in self.values),
                bool,
                len(self.values),
            )
        return np.fromiter((type(v) in gone for v in self.values), bool, len(self.values))


@encodes_kind("O")
def encode_objects(values: np.ndarray) -> Encoded:
    """Encode the cells of an object column. Raises CannotEncode."""
    return encode_cells(CellTypes(values))


def encode_cells(cell_types: CellTypes) -> Encoded:
    """Encode cells of these types. Raises CannotEncode."""
    if len(cell_types.markers) <= 1:
        if not cell_types.kinds:
            return Encoded(pa.nulls(len(cell_types.values)), {"codec": "null", "missing": cell_types.marker})
        native = _NATIVE.get(next(iter(cell_types.kinds))) if len(cell_types.kinds) == 1 else None
        encoded = native(cell_types) if native else None
        if encoded is not None:
            return encoded
    return encode_json(cell_types)


# ---------------------------------------------------------------- native types


def _plain(
    name: str, kind: pa.DataType, fits: Callable[[list[Any]], bool] | None = None
) -> Callable[[CellTypes], Encoded | None]:
    """Return an encoder of cells of one type into one Arrow type; None when some cell does not fit."""

    def encode(cell_types: CellTypes) -> Encoded | None:
        listed = _listed(cell_types)
        if fits is not None and not fits(listed):
            return None
        try:
            array = pa.array(listed, kind, from_pandas=False)
        except UnicodeEncodeError:
            raise surrogate(cell_types.values) from None
        except (pa.ArrowInvalid, OverflowError):
            return None  # beyond the Arrow type: the JSON codec takes it
        return Encoded(array, {"codec": "objects", "of": name, "missing": cell_types.marker})

    return encode


def _listed(cell_types: CellTypes) -> list[Any]:
    listed: list[Any] = cell_types.values.tolist()
    if cell_types.markers <= {"None"}:
        return listed
    return [None if gone else value for value, gone in zip(listed, cell_types.missing(), strict=True)]


def _decimals(cell_types: CellTypes) -> Encoded | None:
    listed = _listed(cell_types)
    exponents, digits = set(), 1
    for value in listed:
        if value is not None:
            sign, number, exponent = value.as_tuple()
            exponents.add(exponent)
            if sign and not any(number):
                return None  # minus zero
            digits = max(digits, len(number))
    exponent = exponents.pop()
    if exponents or not isinstance(exponent, int) or exponent > 0:
        return None
    digits = max(digits, -exponent)
    if digits > 76:
        return None
    kind = pa.decimal128(38, -exponent) if digits <= 38 else pa.decimal256(76, -exponent)
    spec = {"codec": "objects", "of": "decimal", "missing": cell_types.marker}
    return Encoded(pa.array(listed, kind), spec | {"exponent": exponent, "wide": digits > 38})


def _clock(listed: list[Any]) -> bool:
    return all(value is None or (value.tzinfo is None and not value.fold) for value in listed)


_NATIVE: dict[type, Callable[[CellTypes], Encoded | None]] = {
    str: _plain("str", pa.large_string()),
    bytes: _plain("bytes", pa.large_binary()),
    bool: _plain("bool", pa.bool_()),
    int: _plain("int", pa.int64()),
    float: _plain("float", pa.float64()),
    dt.date: _plain("date", pa.date32()),
    dt.time: _plain("time", pa.time64("us"), _clock),
    decimal.Decimal: _decimals,
}
_OBJECT_TYPES: dict[str, pa.DataType] = {
    "str": pa.large_string(),
    "bytes": pa.large_binary(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
}


class _ObjectCodec(Codec):
    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return np.dtype(object)


@register
class _NativeObjects(_ObjectCodec):
    """Cells of one Python type with one kind of missing marker."""

    name = "objects"

    def storage(self, spec: Spec) -> pa.DataType:
        if spec["of"] == "decimal":
            return (
                pa.decimal256(76, -spec["exponent"]) if spec["wide"] else pa.decimal128(38, -spec["exponent"])
            )
        return _OBJECT_TYPES[spec["of"]]

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> np.ndarray:
        return with_markers(objects(column.to_pylist()), column, spec)


@register
class _NullObjects(_ObjectCodec):
    """Missing cells only."""

    name = "null"

    def storage(self, spec: Spec) -> pa.DataType:
        return pa.null()

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> np.ndarray:
        return np.full(len(column), MARKERS[spec["missing"]], dtype=object)


def with_markers(values: np.ndarray, column: pa.ChunkedArray, spec: Spec) -> np.ndarray:
    """Return `values` with the column's marker at its nulls."""
    if spec["missing"] != "None" and column.null_count:
        values[~buffers.column_valid(column)] = MARKERS[spec["missing"]]
    return values


# ---------------------------------------------------------------- JSON


def encode_json(cell_types: CellTypes) -> Encoded:
    """Encode each cell as a JSON text; a single kind of marker becomes null. Raises CannotEncode."""
    one = len(cell_types.markers) == 1
    marker = cell_types.marker if one or "None" in cell_types.markers else "None"
    if not one and cell_types.markers:
        marker = "None"
    gone = (
        cell_types.missing()
        if one
        else np.fromiter((value is None for value in cell_types.values), bool, len(cell_types.values))
    )
    texts: list[str | None] = []
    for row, (value, missing) in enumerate(zip(cell_types.values, gone, strict=True)):
        try:
            texts.append(None if missing else cells.dumps(value))
        except cells.CannotSerialize as error:
            raise CannotEncode(str(error), row) from None
        except RecursionError:
            raise CannotEncode("the value is nested too deeply or holds itself", row) from None
    try:
        array = pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        raise surrogate(texts) from None
    tags = any(text is not None and '"$":' in text for text in texts)
    return Encoded(array, {"codec": "json", "missing": marker, "tags": tags})


@register
class _JsonObjects(_ObjectCodec):
    """Any other cells, each as a JSON text."""

    name = "json"

    def storage(self, spec: Spec) -> pa.DataType:
        return pa.large_string()

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> np.ndarray:
        texts = (text or "null" for text in column.to_pylist())
        return with_markers(objects(cells.loads_all(texts, tags=spec["tags"])), column, spec)


# ---------------------------------------------------------------- paths of files

FILE_TYPE = pa.struct(
    [
        ("path", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified", pa.timestamp("us", "UTC")),
        ("sha256", pa.string()),
        ("stored", pa.bool_()),
        ("folder", pa.string()),  # the folder of a relative path; of a file by address its tag
    ]
)
_ADDRESS = re.compile(r"(?:[a-z0-9]+::)*[A-Za-z][A-Za-z0-9+.-]*://")


def is_address(cell: object) -> bool:
    """Return whether a cell names a file by an address such as ``s3://bucket/key``, and not by a path of this machine."""
    return isinstance(cell, str) and _ADDRESS.match(cell) is not None


def encode_files(array: pa.Array, values: Any) -> Encoded:
    """Encode a prepared file column; `values` are the cells it was made from. Raises CannotEncode."""
    if len(array) != len(values):
        raise CannotEncode(f"{len(array)} files were prepared for {len(values)} rows")
    array = array.cast(FILE_TYPE)
    if values.dtype != object:
        return Encoded(
            array, {"codec": "file", "kind": "file", "cells": "text", "text": full_spec(values[:0])}
        )
    cell_types = CellTypes(np.asarray(values))
    is_path = bool(cell_types.kinds) and all(issubclass(kind, pathlib.PurePath) for kind in cell_types.kinds)
    cells = "path" if is_path else "str"
    return Encoded(array, {"codec": "file", "kind": "file", "cells": cells, "missing": cell_types.marker})


@register
class _FileCodec(Codec):
    """Paths of files, which keep their type: str, pathlib.Path, or a string dtype."""

    name = "file"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return dtype_of(spec["text"]) if "text" in spec else np.dtype(object)

    def storage(self, spec: Spec) -> pa.DataType:
        return FILE_TYPE

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        paths = [row and row["path"] for row in column.to_pylist()]
        if "text" in spec:
            return pd.array(paths, dtype=self.dtype(spec, column.type))
        make = pathlib.Path if spec["cells"] == "path" else str
        cells = objects([path if path is None else make(path) for path in paths])
        cells[~buffers.column_valid(column)] = MARKERS[spec["missing"]]
        return cells
