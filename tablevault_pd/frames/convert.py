"""Convert a column from one spec to another. Raises LossyConversion where a value would be lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.frames import buffers, schemas, vectors
from tablevault_pd.frames.categories import categories_of, codes_of, from_codes
from tablevault_pd.frames.codecs import Spec, codec_of, decode_column
from tablevault_pd.frames.objects import CellTypes, encode_json, objects
from tablevault_pd.frames.promotion import is_floats, is_number, storage_spec

#: Takes the column, its spec, the target spec and the target field.
Converter = Callable[[pa.ChunkedArray, Spec, Spec, pa.Field], Any]


class LossyConversion(Exception):
    """The target cannot hold a value; the message says which."""


def missing_column(field: pa.Field, n_rows: int) -> pa.ChunkedArray:
    """Return `n_rows` missing values under the spec of `field`."""
    spec = schemas.spec_of(field)
    if spec["codec"] == "numpy" and np.dtype(spec["dtype"]).kind == "f":
        dtype = np.dtype(spec["dtype"]).newbyteorder("=")
        return pa.chunked_array([buffers.to_arrow(np.full(n_rows, np.nan, dtype), field.type)])
    if spec["codec"] == "numpy":
        if n_rows:
            raise LossyConversion(f"{spec['dtype']} holds no missing values")
        return pa.chunked_array([], field.type)
    if spec["codec"] == "category":
        return pa.chunked_array([from_codes(np.full(n_rows, -1, "i4"), spec)], field.type)
    return pa.chunked_array([pa.nulls(n_rows, field.type)])


def convert(column: pa.ChunkedArray, source: pa.Field, target: pa.Field) -> pa.ChunkedArray:
    """Convert `column` from the field `source` to the field `target`. Raises LossyConversion."""
    old, new = schemas.spec_of(source), schemas.spec_of(target)
    if storage_spec(old) == storage_spec(new) and source.type == target.type:
        return column
    if old["codec"] == "null":
        return missing_column(target, len(column))
    if is_floats(source) and not is_number(target):
        return _only_missing(column, target)
    converter: Converter = _CONVERTERS.get(new["codec"], _refuse)
    converted = converter(column, old, new, target)
    return converted if isinstance(converted, pa.ChunkedArray) else pa.chunked_array([converted], target.type)


def _only_missing(column: pa.ChunkedArray, target: pa.Field) -> pa.ChunkedArray:
    """Missing values for floats that are all NaN."""
    values = column.filter(pa.compute.invert(pa.compute.is_null(column, nan_is_null=True)))
    if len(values):
        dtype = schemas.dtype_text(target, schemas.spec_of(target))
        raise LossyConversion(f"the number {values[0].as_py()} does not become {dtype}")
    return missing_column(target, len(column))


def _refuse(column: pa.ChunkedArray, old: Spec, new: Spec, target: pa.Field) -> Any:
    raise LossyConversion(f"values of {old['codec']} do not become {new['codec']}")


def _only(*names: str) -> Callable[[Converter], Converter]:
    """Restrict a converter to columns of these codecs."""

    def wrap(converter: Converter) -> Converter:
        def checked(column: pa.ChunkedArray, old: Spec, new: Spec, target: pa.Field) -> Any:
            return (converter if old["codec"] in names else _refuse)(column, old, new, target)

        return checked

    return wrap


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except pa.ArrowInvalid as error:
        raise LossyConversion(str(error).split("\n")[0]) from None


@_only("numpy", "masked")
def _number(column: pa.ChunkedArray, old: Spec, new: Spec, target: pa.Field) -> pa.ChunkedArray:
    converted = _cast(column, target.type)
    if pa.types.is_floating(target.type) and pa.types.is_integer(column.type):
        _check_ints(column, converted)
    if new["codec"] == "numpy" and converted.null_count:
        if np.dtype(new["dtype"]).kind != "f":
            raise LossyConversion(f"{new['dtype']} holds no missing values")
        raise LossyConversion("a float column cannot tell NA from NaN")
    return converted


def _check_ints(column: pa.ChunkedArray, floats: pa.ChunkedArray) -> None:
    limit = {16: 2**11, 32: 2**24, 64: 2**53}[floats.type.bit_width]
    bounds = pa.compute.min_max(column).as_py()
    for value in bounds.values():
        if value is not None and abs(value) > limit:
            raise LossyConversion(
                f"the integer {value} is beyond 2**{limit.bit_length() - 1}, {floats.type} does not hold it exactly"
            )


@_only("string", "objects", "arrow", "category")
def _text(column: pa.ChunkedArray, old: Spec, new: Spec, target: pa.Field) -> pa.ChunkedArray:
    if column.null_count == len(column):  # also categories that are none, of whatever dtype
        return missing_column(target, len(column))
    return _cast(column, target.type)


@_only("datetime", "timedelta")
def _time(column: pa.ChunkedArray, old: Spec, new: Spec, target: pa.Field) -> pa.ChunkedArray:
    if old.get("tz") != new.get("tz") or old["codec"] != new["codec"]:
        raise LossyConversion("the time zones differ")
    try:
        times = column.cast(target.type)
    except pa.ArrowInvalid:
        raise LossyConversion(
            f"a time is out of the range of the unit {new['unit']}; convert the frame to {old['unit']}"
        ) from None
    parts = [buffers.to_arrow(*_with_nat(chunk)) for chunk in times.chunks]
    return pa.chunked_array(parts, target.type)


def _with_nat(chunk: pa.Array) -> tuple[np.ndarray, pa.DataType, np.ndarray | None]:
    values = buffers.values_of(chunk, np.dtype("i8"), writable_in_place=False)
    valid = buffers.valid_of(chunk)
    values[~valid] = buffers.NAT
    return values, chunk.type, None if valid.all() else valid


@_only("category")
def _category(column: pa.ChunkedArray, old: Spec, new: Spec, target: pa.Field) -> Any:
    if "categories" in new:
        return _recoded(column, old, new)
    if "categories" in old:  # there are none: any that stand in a spec stay there
        return missing_column(target, len(column))
    kinds = column.type.value_type, target.type.value_type
    source, target_values = (
        schemas.with_spec("values", kind, spec["values"])
        for kind, spec in zip(kinds, (old, new), strict=True)
    )
    chunks = []
    for chunk in column.chunks:
        words = buffers.single(convert(pa.chunked_array([chunk.dictionary]), source, target_values))
        chunks.append(pa.DictionaryArray.from_arrays(chunk.indices, words, safe=False))
    return pa.chunked_array(chunks, target.type)


def _recoded(column: pa.ChunkedArray, old: Spec, new: Spec) -> pa.Array:
    old_categories, new_categories = categories_of(old), categories_of(new)
    places = new_categories.get_indexer(
        old_categories.astype(new_categories.dtype) if len(old_categories) else old_categories
    )
    codes = codes_of(column)
    moved = np.append(places, -1)[codes].astype("i4")
    lost = (moved < 0) & (codes >= 0)
    if lost.any():
        raise LossyConversion(f"the category {old_categories[codes[lost][0]]!r} is none of the list's")
    return from_codes(moved, new)


@_only("interval")
def _interval(column: pa.ChunkedArray, old: Spec, new: Spec, target: pa.Field) -> pa.Array:
    array = buffers.single(column)
    made = []
    for number, end in enumerate(array.flatten()):
        made.append(_end(pa.chunked_array([end]), old["ends"], new["ends"], target.type.field(number).type))
    valid = buffers.valid_of(array)
    return pa.StructArray.from_arrays(
        made, names=["left", "right"], mask=pa.array(~valid) if array.null_count else None
    )


def _end(end: pa.ChunkedArray, old: Spec, new: Spec, kind: pa.DataType) -> pa.Array:
    fields = [schemas.with_spec("end", end.type, old), schemas.with_spec("end", kind, new)]
    if new["codec"] == "numpy":  # nulls of the struct show in its children
        end = pa.chunked_array([end.chunk(0).fill_null(0)])
    return buffers.single(convert(end, *fields))


@_only("vector")
def _vector(column: pa.ChunkedArray, old: Spec, new: Spec, target: pa.Field) -> pa.Array:
    if old["dim"] != new["dim"]:
        raise LossyConversion(f"{old['dim']} numbers, the list has {new['dim']}")
    dtype = np.dtype(new["dtype"])
    if np.promote_types(old["dtype"], dtype) != dtype:
        raise LossyConversion(f"{old['dtype']} does not fit {dtype}")
    rows, valid = vectors.rows_of(column, old["dim"], private=True)
    return vectors.from_matrix(rows.astype(dtype), ~valid)


def _json(column: pa.ChunkedArray, old: Spec, new: Spec, target: pa.Field) -> pa.ChunkedArray:
    if old["codec"] == "json":
        return column
    values = decode_column(column, old)
    cells = objects(list(pd.Series(values, dtype=getattr(values, "dtype", None))))
    if not isinstance(codec_of(old).dtype(old, column.type), np.dtype) or old["codec"] == "objects":
        cells[~buffers.column_valid(column)] = None
    array = encode_json(CellTypes(cells)).array
    return pa.chunked_array([array])


def _objects(column: pa.ChunkedArray, old: Spec, new: Spec, target: pa.Field) -> pa.ChunkedArray:
    if new["of"] == "str":
        return _text(column, old, new, target)
    if old["codec"] != "objects" or old["of"] != new["of"]:
        return _refuse(column, old, new, target)
    return _cast(column, target.type)


def _same_type(column: pa.ChunkedArray, old: Spec, new: Spec, target: pa.Field) -> pa.ChunkedArray:
    if old["codec"] == new["codec"] and column.type == target.type:
        return column
    return (
        _text(column, old, new, target)
        if not pa.types.is_nested(target.type)
        else _refuse(column, old, new, target)
    )


_CONVERTERS: dict[str, Converter] = {
    "numpy": _number,
    "masked": _number,
    "string": _text,
    "datetime": _time,
    "timedelta": _time,
    "category": _category,
    "interval": _interval,
    "vector": _vector,
    "json": _json,
    "objects": _objects,
    "arrow": _same_type,
    "file": _same_type,
}
