"""Type promotion: rules over specs that give the dtype which holds the values of two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd.errors import DimensionMismatch, SchemaMismatch, short_repr
from tablevault_pd.frames import schemas
from tablevault_pd.frames.categories import categories_of, category_spec, has_none, value_dtype
from tablevault_pd.frames.codecs import Spec, codec_of, nullable
from tablevault_pd.frames.encode import is_text
from tablevault_pd.frames.times import UNITS

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

#: Codecs of object cells that JSON can hold, too.
_OBJECTS = ("objects", "json")
_NO_CODEC = ("label", "kind", "index", "level", "start", "reach")
#: Codecs whose values may stand as cells of a JSON column.
_JSONABLE = {
    "numpy",
    "masked",
    "string",
    "objects",
    "datetime",
    "timedelta",
    "category",
    "json",
    "null",
    "period",
    "interval",
}


class NoCommonType(Exception):
    """No dtype holds the values of two exactly; the message says why."""


def storage_spec(spec: Spec) -> Spec:
    """Return the part of a spec that determines how values are stored."""
    return {key: value for key, value in spec.items() if key not in _NO_CODEC}


def storage(spec: Spec, *fields: pa.Field) -> pa.DataType:
    """Return the Arrow type of a spec; `fields` have it where the spec does not."""
    return fields[0].type if spec["codec"] == "arrow" else codec_of(spec).storage(spec)


def with_missing(field: pa.Field) -> pa.Field:
    """Return the field with a dtype that holds missing values: ints and bools become nullable."""
    spec = schemas.spec_of(field)
    loose = _loosened(spec)
    return field if loose is spec else schemas.with_spec(field.name, storage(loose, field), loose)


def _loosened(spec: Spec) -> Spec:
    if spec["codec"] == "numpy" and np.dtype(spec["dtype"]).kind in "iub":
        return {**spec, "codec": "masked", "dtype": nullable(np.dtype(spec["dtype"]))}
    if (
        spec["codec"] == "interval"
        and spec["ends"]["codec"] == "numpy"
        and np.dtype(spec["ends"]["dtype"]).kind in "iu"
    ):
        return {**spec, "ends": {"codec": "numpy", "dtype": "float64"}}
    return spec


def is_floats(field: pa.Field) -> bool:
    """Whether this is a column of NumPy floats, which pandas makes of any column without a value: its NaN may stand for missing."""
    spec = schemas.spec_of(field)
    return bool(spec["codec"] == "numpy" and np.dtype(spec["dtype"]).kind == "f")


def may_be_missing(field: pa.Field, rows: pa.Table | None) -> bool:
    """Whether a column is of floats that are all NaN, as far as is known."""
    return is_floats(field) and (
        rows is None or bool(pa.compute.all(pa.compute.is_nan(rows.column(field.name)), min_count=0).as_py())
    )


def fields_with_values(table: pa.Table) -> set[str]:
    """The fields, by what :func:`contents` calls them, that hold more than missing cells: all but those of NaN or None alone."""
    fields = schemas.contents(table.schema)
    return {name for name, field in fields.items() if not _holds_nothing(table, table.schema.field(field))}


def _holds_nothing(table: pa.Table, field: pa.Field) -> bool:
    if pa.types.is_floating(field.type):
        return may_be_missing(field, table)
    return bool(pa.types.is_null(field.type))


def is_number(field: pa.Field) -> bool:
    """Whether the dtype holds numbers, to which floats are converted as such."""
    spec = schemas.spec_of(field)
    return spec["codec"] in ("numpy", "masked", "json") and not pa.types.is_boolean(field.type)


def without_values(field: pa.Field) -> pa.Field:
    """The field of a column that has missing values alone, and takes the dtype of the first others."""
    spec = schemas.spec_of(field)
    return schemas.with_spec(
        field.name, pa.null(), {key: spec[key] for key in _NO_CODEC if key in spec} | {"codec": "null"}
    )


def common(old: pa.Field, new: pa.Field) -> pa.Field:
    """Return `old`, widened so that it holds the values of `new` too. Raises NoCommonType, DimensionMismatch."""
    a, b = schemas.spec_of(old), schemas.spec_of(new)
    place = _place(a, b)
    spec = _common(a, b, old, new)
    if spec is a and place.items() <= a.items():
        return old
    metadata = {key: a[key] for key in _NO_CODEC if key in a}
    spec = metadata | storage_spec(spec)
    kind = _kind(a, b, spec)
    if kind == "document":
        spec |= place
    if kind != "record":
        spec["kind"] = kind
    else:
        spec.pop("kind", None)
    return schemas.with_spec(
        old.name, storage(spec, *((new, old) if a["codec"] == "null" else (old, new))), spec
    )


def _place(a: Spec, b: Spec) -> Spec:
    """Return what the spec of documents says of the column of their offsets (see :mod:`documents`). Raises NoCommonType."""
    starts = {spec.get("start") for spec in (a, b) if spec["codec"] != "null" or "start" in spec}
    if not starts - {None}:
        return {}
    if len(starts) > 1:
        raise NoCommonType(
            "the offsets of its documents are in another column, or in none; save(…, documents=) says where for new content"
        )
    return {"start": starts.pop(), "reach": max(a.get("reach", 1), b.get("reach", 1))}


def _kind(a: Spec, b: Spec, spec: Spec) -> str:
    kinds = {x.get("kind", "record") for x in (a, b) if x["codec"] != "null" or "kind" in x}
    for special in ("embedding", "file", "document"):
        if special in kinds and (special != "document" or spec["codec"] != "json"):
            return special
    return "record"


def _common(a: Spec, b: Spec, old: pa.Field, new: pa.Field) -> Spec:
    if storage_spec(a) == storage_spec(b) and old.type == new.type:
        return a if a.get("kind") == b.get("kind") or b.get("kind") is None else dict(a)
    if b["codec"] == "null":
        return _loosened(a)
    if a["codec"] == "null":
        return _loosened(b)
    for applies, rule in _RULES:
        if applies(a, b, old, new):
            joined: Spec = rule(a, b)
            return joined
    raise NoCommonType("no dtype holds both exactly")


def _is(*names: str) -> Callable[..., bool]:
    return lambda a, b, old, new: a["codec"] in names and b["codec"] in names


# ---------------------------------------------------------------- numbers


def _number(spec: Spec) -> tuple[np.dtype, bool]:
    dtype = codec_of(spec).dtype(spec, None)
    return (dtype, False) if isinstance(dtype, np.dtype) else (dtype.numpy_dtype, True)


def _numbers(a: Spec, b: Spec) -> Spec:
    (x, x_nullable), (y, y_nullable) = _number(a), _number(b)
    if (x.kind == "b") != (y.kind == "b"):
        raise NoCommonType("truth values and numbers do not mix; convert one with .astype(...)")
    native = [d.newbyteorder("=") for d in (x, y)]
    wide = np.dtype("f8") if {x.kind, y.kind} & set("f") and x.kind != y.kind else np.promote_types(*native)
    if not (x_nullable or y_nullable):
        return {"codec": "numpy", "dtype": a["dtype"] if wide == native[0] else wide.name}
    if wide == np.dtype("f2"):
        wide = np.dtype("f4")  # pandas has no Float16
    return {"codec": "masked", "dtype": nullable(wide)}


# ---------------------------------------------------------------- text and categories


def _textual(spec: Spec, field: pa.Field) -> bool:
    if spec["codec"] == "category":
        return _category_text(spec)
    return (
        spec["codec"] == "string"
        or (spec["codec"] == "objects" and spec["of"] == "str")
        or (spec["codec"] == "arrow" and is_text(field.type) and not pa.types.is_dictionary(field.type))
    )


def _category_text(spec: Spec) -> bool:
    """Return whether the categories are texts, or there are none."""
    inner = spec["values"]
    texts = inner["codec"] == "string" or (inner["codec"] == "objects" and inner["of"] == "str")
    return bool(texts or has_none(spec))


def _texts(a: Spec, b: Spec) -> Spec:
    return b if a["codec"] == "category" else a


def _both_text(a: Spec, b: Spec, old: pa.Field, new: pa.Field) -> bool:
    return not (a["codec"] == b["codec"] == "category") and _textual(a, old) and _textual(b, new)


def _categories(a: Spec, b: Spec) -> Spec:
    if a["ordered"] != b["ordered"]:
        raise NoCommonType("one has ordered categories, the other has not")
    if has_none(a) or has_none(b):
        return b if has_none(a) else a
    if "categories" in a and "categories" in b:
        return _in_spec(a, b, categories_of(a), categories_of(b))
    values = _joined_values(a, b)
    return a if values is a["values"] else {**a, "values": values}


def _joined_values(a: Spec, b: Spec) -> Spec:
    """Return the joined spec of categories that are stored with the rows."""
    x: Spec = a["values"]
    y: Spec = b["values"]
    if x == y or (_category_text(a) and _category_text(b)):
        return x
    if x["codec"] in _OBJECTS and y["codec"] in _OBJECTS:
        return _objects(x, y)
    raise _other_categories(value_dtype(a), value_dtype(b))


def _other_categories(x: Any, y: Any) -> NoCommonType:
    return NoCommonType(f"the categories are of dtype {x} and {y}")


def _in_spec(a: Spec, b: Spec, x: pd.Index, y: pd.Index) -> Spec:
    """Return the joined spec of categories that the specs hold."""
    if x.dtype != y.dtype and not (_category_text(a) and _category_text(b)):
        raise _other_categories(x.dtype, y.dtype)
    if a["ordered"]:
        return _prefix(a, b, x, y)
    extra = y[~y.isin(x)]
    return (
        a if not len(extra) else category_spec(x.append(extra.astype(x.dtype)).rename(x.name), ordered=False)
    )


def _prefix(a: Spec, b: Spec, x: pd.Index, y: pd.Index) -> Spec:
    short = min(len(x), len(y))
    if list(x[:short]) != list(y[:short]):
        texts = [short_repr(list(index), 200) for index in (x, y)]
        raise NoCommonType(f"the ordered categories {texts[0]} and {texts[1]} do not extend one another")
    return a if len(x) >= len(y) else category_spec(y.astype(x.dtype).rename(x.name), ordered=True)


# ---------------------------------------------------------------- times, intervals, vectors, objects


def _finer(a: Spec, b: Spec) -> Spec:
    if a.get("tz") != b.get("tz"):
        names = ["no time zone" if "tz" not in spec else f"the time zone {spec['tz'][-1]}" for spec in (a, b)]
        raise NoCommonType(
            f"the list has {names[0]}, the frame {names[1]}; convert it with .dt.tz_localize or .dt.tz_convert"
        )
    return a if UNITS.index(a["unit"]) >= UNITS.index(b["unit"]) else {**a, "unit": b["unit"]}


def _intervals(a: Spec, b: Spec) -> Spec:
    if a["closed"] != b["closed"]:
        raise NoCommonType(f"the intervals are closed {a['closed']} and {b['closed']}")
    ends = [spec["ends"] for spec in (a, b)]
    if {end["codec"] for end in ends} == {"numpy"}:
        joined = _numbers(*ends)
    elif ends[0]["codec"] == ends[1]["codec"] in ("datetime", "timedelta"):
        joined = _finer(*ends)
    else:
        raise NoCommonType("the ends of the intervals are of different kinds")
    return {**a, "ends": joined}


def _vectors(a: Spec, b: Spec) -> Spec:
    if a["dim"] != b["dim"]:
        raise DimensionMismatch(f"vectors of {b['dim']} numbers, the list has {a['dim']}")
    if "arrow" in (a["codec"], b["codec"]):
        raise NoCommonType("one holds Arrow lists, the other NumPy vectors")
    wide = np.promote_types(a["dtype"], b["dtype"]).name
    return a if wide == a["dtype"] else {**a, "dtype": wide}


def _is_vectors(a: Spec, b: Spec, old: pa.Field, new: pa.Field) -> bool:
    return "dim" in a and "dim" in b


def _objects(a: Spec, b: Spec) -> Spec:
    if a["codec"] == b["codec"] == "objects" and a["of"] == b["of"]:
        if a["of"] != "decimal" or (a["exponent"], a["wide"]) == (b["exponent"], b["wide"]):
            return a
        if a["exponent"] == b["exponent"]:
            return {**a, "wide": True}
    tags = not (a["codec"] == b["codec"] == "json") or a["tags"] or b["tags"]
    return {"codec": "json", "missing": a.get("missing", "None"), "tags": tags}


def _to_json(a: Spec, b: Spec, old: pa.Field, new: pa.Field) -> bool:
    return "json" in (a["codec"], b["codec"]) and {a["codec"], b["codec"]} <= _JSONABLE


_RULES: list[tuple[Callable[..., bool], Callable[[Spec, Spec], Any]]] = [
    (_is("numpy", "masked"), _numbers),
    (_both_text, _texts),
    (_is("category"), _categories),
    (_is("datetime"), _finer),
    (_is("timedelta"), _finer),
    (_is("interval"), _intervals),
    (_is_vectors, _vectors),
    (_is("file"), lambda a, b: a),
    (_is("objects"), _objects),
    (_to_json, _objects),
]

__all__ = ["NoCommonType", "SchemaMismatch", "common", "storage", "storage_spec", "with_missing"]
