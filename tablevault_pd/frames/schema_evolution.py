"""Schema evolution: the schema of a list that gets frames of other dtypes, and old rows under the new schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.errors import DimensionMismatch, SchemaMismatch, short_repr
from tablevault_pd.frames import buffers, cells, labels, schemas
from tablevault_pd.frames.codecs import decode_column
from tablevault_pd.frames.convert import LossyConversion, convert, missing_column
from tablevault_pd.frames.encode import encode
from tablevault_pd.frames.promotion import (
    NoCommonType,
    common,
    is_floats,
    is_number,
    may_be_missing,
    storage_spec,
    with_missing,
    without_values,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from tablevault_pd.frames.codecs import Spec

_SEQUENCES = (list, tuple, np.ndarray)


@dataclass(frozen=True)
class ValueCheck:
    """A widening that holds for most values only: look at the column `field` of the `side` ("old", "new") before it is done."""

    side: str
    field: str
    source: pa.Field
    target: pa.Field


@dataclass(frozen=True)
class Merge:
    """What a list's schema becomes with the rows of another, and which values must be checked first."""

    schema: pa.Schema
    checks: tuple[ValueCheck, ...]


def merge(
    old: pa.Schema,
    new: pa.Schema,
    *,
    mode: str = "evolve",
    rows: pa.Table | None = None,
    fill: Collection[str] | None = None,
) -> Merge:
    """Return the list's schema `old`, widened so that it holds rows of `new`.

    Floats that are all NaN count as missing values, which any dtype takes: pandas makes them of a column without a value.

    Parameters
    ----------
    mode : {"evolve", "strict"}
        Strict: the same columns, in any order, with the same dtypes.
    rows : Table, optional
        The rows of `new`, so that a message can name the first that does not fit; otherwise they are not read.
    fill : collection of str, optional
        Fields of `old` whose floats may be taken for missing values. Default: any; they are checked by whoever merges, as
        :attr:`Merge.checks` says.

    Raises
    ------
    SchemaMismatch
        If no schema holds both; every difference that stands in the way is listed.
    DimensionMismatch
        If only the widths of vectors differ.

    Examples
    --------
    >>> from tablevault_pd.frames import columns, encode, merge
    >>> old, new = (encode(pd.DataFrame({"a": [value]})).schema for value in (1, 1.5))
    >>> [c.dtype for c in columns(merge(old, new).schema)]
    ['float64']
    """
    if _same_schema(old, new):
        return Merge(old, ())
    index, levels = _merge_index(old, new)
    ours = {schemas.key_of(f, s): f for f, s in schemas.data_fields(old)}
    theirs = {schemas.key_of(f, s): f for f, s in schemas.data_fields(new)}
    if mode == "strict":
        _check_strict(ours, theirs)
    problems = _Problems(rows, fill)
    fields = [_join(field, theirs.get(key), problems) for key, field in ours.items()]
    taken = {*old.names}
    for key, field in theirs.items():
        if key not in ours:
            fields.append(_renamed(with_missing(field), taken))
    if problems.lines:
        raise (DimensionMismatch if all(problems.widths) else SchemaMismatch)(_message(problems.lines))
    fields_beside = {field.name: field for schema in (old, new) for field in schemas.fields_beside(schema)}
    merged = schemas.with_meta(
        [*fields, *levels, *fields_beside.values()] or [schemas.hidden_field()],
        _merge_columns(old, new, len(fields) > len(ours)),
        index,
    )
    merged = schemas.with_language(
        schemas.with_key(merged, schemas.key_fields(old)), schemas.language_of(old)
    )
    if merged.equals(old, check_metadata=True):
        merged = old
    return Merge(merged, (*_checks("old", old, merged), *_checks("new", new, merged)))


def _same_schema(old: pa.Schema, new: pa.Schema) -> bool:
    """Return whether both say the same, but for what an index says of one frame only. So it is for most appends."""
    if old.equals(new, check_metadata=True):
        return True
    if len(old) != len(new) or any(
        not a.equals(b, check_metadata=True) for a, b in zip(old, new, strict=True)
    ):
        return False
    return _without_index_state(schemas.meta_of(old)) == _without_index_state(schemas.meta_of(new))


def _without_index_state(meta: Spec) -> Spec:
    """Without what is said of one frame only, and without the key, which is the list's."""
    index = meta.get("index", {})
    state = {"index": {key: value for key, value in index.items() if key not in ("range", "freq")}}
    return {key: value for key, value in meta.items() if key != "key"} | state


def _renamed(field: pa.Field, taken: set[str]) -> pa.Field:
    """Return the field under a name that the list does not use yet; its label stays."""
    name = labels.unique_name(field.name, taken)
    if name == field.name:
        return field
    return schemas.with_spec(name, field.type, {"label": field.name} | schemas.spec_of(field))


def _message(problems: list[str]) -> str:
    ways = "Convert the frame, or start new content with save()."
    return "The rows do not fit the list:\n" + "\n".join(f"- {line}" for line in problems) + f"\n{ways}"


class _Problems:
    """What stands in the way of a merge, line by line."""

    def __init__(self, rows: pa.Table | None, fill: Collection[str] | None) -> None:
        self.rows, self.fill = rows, fill
        self.lines: list[str] = []
        self.widths: list[bool] = []  #: whether the line is about the width of vectors

    def note(self, old: pa.Field, new: pa.Field, error: DimensionMismatch | NoCommonType) -> None:
        """Add a line on the column `old`, which `new` does not fit."""
        spec = schemas.spec_of(old)
        label = short_repr(schemas.label_of(old, spec))
        if self.rows is not None and "dim" in spec:
            try:
                check_vectors(self.rows, new, spec["dim"])
            except DimensionMismatch as found:
                error = found
        about_width = isinstance(error, DimensionMismatch)
        types = (
            "" if about_width else f"the list has {_describe_type(old)}, the frame {_describe_type(new)}: "
        )
        self.lines.append(f"column {label}: {types}{error}")
        self.widths.append(about_width)


def _join(old: pa.Field, new: pa.Field | None, problems: _Problems) -> pa.Field:
    if new is None:
        return with_missing(old)
    try:
        return common(old, new)
    except (DimensionMismatch, NoCommonType) as error:
        if isinstance(error, NoCommonType) and may_be_missing(new, problems.rows):
            return common(old, without_values(new))
        fills = problems.fill is None or old.name in problems.fill
        if isinstance(error, NoCommonType) and fills and is_floats(old):
            return common(without_values(old), new)
        problems.note(old, new, error)
    return old


def _describe_type(field: pa.Field) -> str:
    """Return what a message says of a field's dtype."""
    spec = schemas.spec_of(field)
    if "dim" in spec:
        return f"vectors of {spec['dim']} {spec.get('dtype', field.type)}"
    text = schemas.dtype_text(field, spec)
    if text != "object":
        return text
    return {"objects": f"object ({spec.get('of')})", "null": "object (all missing)"}.get(
        spec["codec"], "object (mixed)"
    )


def _check_strict(ours: dict[str, pa.Field], theirs: dict[str, pa.Field]) -> None:
    problems = []
    for key, field in ours.items():
        other = theirs.get(key)
        label = short_repr(schemas.label_of(field, schemas.spec_of(field)))
        if other is None:
            problems.append(f"column {label}: missing in the frame")
        elif not _same_dtype(field, other):
            problems.append(
                f"column {label}: the list has {_describe_type(field)}, the frame {_describe_type(other)}"
            )
    for key, field in theirs.items():
        if key not in ours:
            problems.append(
                f"column {short_repr(schemas.label_of(field, schemas.spec_of(field)))}: not in the list"
            )
    if problems:
        raise SchemaMismatch(
            _message(problems).replace("fit the list", "fit the list exactly (schema='strict')")
        )


def _same_dtype(old: pa.Field, new: pa.Field) -> bool:
    a, b = schemas.spec_of(old), schemas.spec_of(new)
    if schemas.dtype_text(old, a) == schemas.dtype_text(new, b) == "object":
        if "dim" in a and "dim" in b:
            return bool(storage_spec(a) | {"missing": 0} == storage_spec(b) | {"missing": 0})
        return True  # object is object; which of our codecs holds the cells is not the user's business
    return bool(old.type == new.type and storage_spec(a) == storage_spec(b))


def _merge_columns(old: pa.Schema, new: pa.Schema, grown: bool) -> Spec:
    ours, theirs = (schemas.meta_of(schema)["columns"] for schema in (old, new))
    if not grown or ours == theirs:
        return dict(ours)
    if not schemas.data_fields(old):
        return dict(theirs)
    if "levels" in ours and "levels" in theirs and len(ours["levels"]) == len(theirs["levels"]):
        levels = [
            a if a == b else {"dtype": None} for a, b in zip(ours["levels"], theirs["levels"], strict=True)
        ]
        return {"names": ours["names"], "levels": levels}
    if "levels" in ours or "levels" in theirs:
        raise SchemaMismatch(
            "The rows do not fit the list: one has a column MultiIndex, the other has not (or has other levels). "
            "Give both the same number of column levels, e.g. df.columns = df.columns.to_flat_index()."
        )
    same = ours.get("dtype") == theirs.get("dtype")
    return {"names": ours["names"], "dtype": ours["dtype"] if same else None}


# ---------------------------------------------------------------- index


def _merge_index(old: pa.Schema, new: pa.Schema) -> tuple[Spec | None, list[pa.Field]]:
    ours, theirs = (schemas.meta_of(schema).get("index") for schema in (old, new))
    levels = [field for field, _ in schemas.level_fields(old)]
    if ours is None:
        if theirs is not None:
            raise SchemaMismatch(
                f"The list has no index of its own (rows are known by position), the frame has {_index_told(theirs)}. "
                "Keep it as columns with df.reset_index(), or drop it with df.reset_index(drop=True)."
            )
        return None, []
    if theirs is None:
        raise SchemaMismatch(
            f"The list has {_index_told(ours)}, the frame has none of its own. "
            f"Give it one with df.set_index({short_repr(_names(ours) if ours.get('multi') else _names(ours)[0])})."
        )
    if ours["names"] != theirs["names"]:
        raise SchemaMismatch(
            f"The list has {_index_told(ours)}, the frame has {_index_told(theirs)}. "
            "Rename it with df.rename_axis(...), or move it to columns with df.reset_index()."
        )
    return dict(ours), _merge_levels(levels, [field for field, _ in schemas.level_fields(new)])


def _merge_levels(ours: list[pa.Field], theirs: list[pa.Field]) -> list[pa.Field]:
    try:
        return [_merge_level(a, b) for a, b in zip(ours, theirs, strict=True)]
    except NoCommonType as error:
        types = [", ".join(map(_describe_type, fields)) for fields in (ours, theirs)]
        raise SchemaMismatch(
            f"The index of the list is {types[0]}, the frame's is {types[1]}: {error}."
        ) from None


def _merge_level(a: pa.Field, b: pa.Field) -> pa.Field:
    """Return the field of both, with the level's own dtype if that is one and the values cannot have it."""
    joined = common(a, b)
    spec = schemas.spec_of(joined)
    dtypes = {_level_dtype(field) for field in (a, b)} - {schemas.dtype_text(joined, spec)}
    own = dtypes.pop() if len(dtypes) == 1 and _level_dtype(a) == _level_dtype(b) else None
    if own == spec.get("level"):
        return joined
    rest = {key: value for key, value in spec.items() if key != "level"}
    return schemas.with_spec(joined.name, joined.type, rest | ({"level": own} if own else {}))


def _level_dtype(field: pa.Field) -> str:
    spec = schemas.spec_of(field)
    return str(spec.get("level") or schemas.dtype_text(field, spec))


def _names(index: Spec) -> list[object]:
    return [cells.from_plain(name) for name in index["names"]]


def _index_told(index: Spec) -> str:
    named = [short_repr(name) for name in _names(index)]
    if index["names"] == [None]:
        return "an unnamed index of its own"
    return f"the index {', '.join(named)}"


# ---------------------------------------------------------------- values


def _checks(side: str, schema: pa.Schema, merged: pa.Schema) -> list[ValueCheck]:
    pairs = _pairs(schema, merged)
    return [ValueCheck(side, a.name, a, b) for a, b in pairs if a is not None and _may_lose(a, b)]


def _may_lose(source: pa.Field, target: pa.Field) -> bool:
    a, b = schemas.spec_of(source), schemas.spec_of(target)
    if "ends" in a and "ends" in b:
        return bool(a["ends"] != b["ends"])
    if is_floats(source) and not is_number(target):
        return True
    if pa.types.is_integer(source.type) and pa.types.is_floating(target.type):
        return bool(source.type.bit_width > 32)
    return bool("unit" in a and "unit" in b and a["unit"] != b["unit"])


def run_check(check: ValueCheck, column: pa.ChunkedArray) -> None:
    """Raise SchemaMismatch if some value of `column` does not survive the widening."""
    try:
        convert(column, check.source, check.target)
    except LossyConversion as error:
        label = short_repr(schemas.label_of(check.source, schemas.spec_of(check.source)))
        where = "the list" if check.side == "old" else "the frame"
        raise SchemaMismatch(
            f"Column {label} would become {_describe_type(check.target)}, but {where} holds a value that would be lost: {error}."
        ) from None


def _pairs(schema: pa.Schema, target: pa.Schema) -> list[tuple[pa.Field | None, pa.Field]]:
    """Every field of `target` with the field of `schema` that holds the same column or index level."""
    source = {_identity(field): field for field in schema}
    return [(source.get(_identity(field)), field) for field in target]


def _identity(field: pa.Field) -> tuple[str, object]:
    spec = schemas.spec_of(field)
    if "index" in spec:
        return "index", spec["index"]
    return ("hidden", field.name) if "hidden" in spec else ("column", schemas.key_of(field, spec))


def align(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows written under another schema of the same list, as `schema` wants them: missing columns added, the rest widened.

    Raises
    ------
    SchemaMismatch
        If a value would be lost.

    Examples
    --------
    >>> from tablevault_pd.frames import align, encode, merge
    >>> table = encode(pd.DataFrame({"a": [1]}))
    >>> align(table, merge(table.schema, encode(pd.DataFrame({"b": ["x"]})).schema).schema).to_pylist()
    [{'a': 1, 'b': None}]
    """
    if table.schema.equals(schema, check_metadata=True):
        return table
    columns = []
    for source, target in _pairs(table.schema, schema):
        columns.append(_column(table, source, target))
    return pa.Table.from_arrays(columns, schema=schema)


def _column(table: pa.Table, source: pa.Field | None, target: pa.Field) -> pa.ChunkedArray:
    try:
        if source is not None:
            return convert(table.column(source.name), source, target)
        return missing_column(target, table.num_rows)
    except LossyConversion as error:
        label = short_repr(schemas.label_of(target, schemas.spec_of(target)))
        raise SchemaMismatch(f"Column {label} cannot be read as {_describe_type(target)}: {error}.") from None


def loosened(schema: pa.Schema) -> pa.Schema:
    """The schema with every column as it must be for rows without a value."""
    return pa.schema(list(map(with_missing, schema)), schema.metadata)


def encode_cell(cell: Any, field: pa.Field) -> tuple[pa.Field, pa.ChunkedArray]:
    """The field, widened so that it holds `cell` too, and a column of that one cell. Raises SchemaMismatch."""
    table = encode(pd.DataFrame({"cell": pd.Series([cell])}), embeddings=False)
    (source, _), *_ = schemas.data_fields(table.schema)
    try:
        target = common(field, source)
        return target, convert(table.column(source.name), source, target)
    except (NoCommonType, LossyConversion) as error:
        raise SchemaMismatch(
            f"{short_repr(cell)} does not go with {_describe_type(field)}: {error}."
        ) from None


# -- vectors of another width, for messages


def check_vectors(rows: pa.Table, field: pa.Field, dim: int) -> None:
    """Raise DimensionMismatch with the first row of the column `field` that is a sequence of another length than `dim`."""
    column, spec = rows.column(field.name), schemas.spec_of(field)
    valid = np.flatnonzero(buffers.column_valid(column))
    if "dim" in spec:
        if spec["dim"] != dim and len(valid):
            raise _other(int(valid[0]), spec["dim"], dim)
        return
    if spec["codec"] != "json":
        return
    cells = decode_column(column, spec)
    for row in valid:
        if isinstance(cells[row], _SEQUENCES) and np.ndim(cells[row][:0]) == 1 and len(cells[row]) != dim:
            raise _other(int(row), len(cells[row]), dim)


def _other(row: int, width: int, dim: int) -> DimensionMismatch:
    return DimensionMismatch(f"row {row}: {width} numbers, the list has {dim}")


# -- indexes of rows that are added


def fit_index(table: pa.Table, present: pa.Schema, start: int) -> pa.Table:
    """Return the table with its index as a list with the schema `present` wants it, if that changes no label.

    Parameters
    ----------
    table : Table
        An encoded frame, whole: the default index counts its rows from 0.
    present : Schema
        Of the list it is added to.
    start : int
        The position its first row will have. The chunks of ``pandas.read_csv(chunksize=…)`` are labelled so.
    """
    ours = schemas.meta_of(present).get("index")
    theirs = schemas.meta_of(table.schema).get("index")
    if (
        ours is None
        and theirs is not None
        and theirs.get("range") == [start, 1]
        and theirs["names"] == [None]
    ):
        return _without_index(table)
    if ours is not None and theirs is None and takes_counting(present):
        return _with_counting(table, present)
    return table


def without_numbers(table: pa.Table) -> pa.Table:
    """The table without its index, if that is one level of whole numbers without a name, as filtering leaves it behind."""
    return _without_index(table) if takes_counting(table.schema) else table


def takes_counting(schema: pa.Schema) -> bool:
    """Return whether the index is one unnamed level of integers, to which a default index adds its 0..n-1."""
    meta = schemas.meta_of(schema).get("index")
    levels = schemas.level_fields(schema)
    return bool(meta and meta["names"] == [None] and pa.types.is_integer(levels[0][0].type))


def _without_index(table: pa.Table) -> pa.Table:
    names = [field.name for field, _ in schemas.data_fields(table.schema)]
    names += [field.name for field in schemas.fields_beside(table.schema)]
    meta = schemas.meta_of(table.schema)
    if not names:
        schema = schemas.with_meta([schemas.hidden_field()], meta["columns"], None)
        return pa.Table.from_arrays([pa.nulls(table.num_rows)], schema=schema)
    slim = table.select(names)
    return slim.cast(schemas.with_meta(list(slim.schema), meta["columns"], None))


def _with_counting(table: pa.Table, present: pa.Schema) -> pa.Table:
    (field, _), *_ = schemas.level_fields(present)
    meta = schemas.meta_of(table.schema)
    names = [column.name for column, _ in schemas.data_fields(table.schema)]
    columns = [table.column(name) for name in names] + [pa.array(np.arange(table.num_rows)).cast(field.type)]
    fields = [table.schema.field(name) for name in names] + [field]
    index = dict(schemas.meta_of(present)["index"]) | {"range": [0, 1]}
    return pa.Table.from_arrays(columns, schema=schemas.with_meta(fields, meta["columns"], index))
