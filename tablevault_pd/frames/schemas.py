"""Our metadata in an Arrow schema: columns and their kinds, the index, sub-schemas."""

from __future__ import annotations

import json
import weakref
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from tablevault_pd.errors import InvalidInput, VaultFormatError, short_repr
from tablevault_pd.frames import cells, labels, schemas
from tablevault_pd.frames.codecs import Spec, codec_of
from tablevault_pd.frames.timezones import UnknownZone

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    import numpy as np

T = TypeVar("T")
KEY = b"tablevault"
FORMAT = 1
HIDDEN = "rows"
OBJECTS = 256  # so many schemas are known by object

# what a spec says of the place of a field, and not of its values
_PLACE = ("label", "index", "level", "hidden")


@dataclass(frozen=True)
class Column:
    """One column of a list, as pandas users see it."""

    field: str
    label: Hashable
    kind: str
    dtype: str
    dim: int | None


def once_for_each_schema(function: Callable[[pa.Schema], T]) -> Callable[[pa.Schema], T]:
    """Have a function of a schema work once for each schema. Its answer must not be changed."""

    @lru_cache(maxsize=1024)
    def answer(serialized: bytes) -> T:
        return function(pa.ipc.read_schema(pa.py_buffer(serialized)))

    # By object, for one that comes again; not by value: schemas that differ in metadata alone are equal.
    by_object: dict[int, tuple[weakref.ref[pa.Schema], T]] = {}

    @wraps(function)
    def of(schema: pa.Schema) -> T:
        entry = by_object.get(id(schema))
        if entry is not None and entry[0]() is schema:
            return entry[1]
        if len(by_object) >= OBJECTS:
            by_object.clear()
        result = answer(schema.serialize().to_pybytes())
        by_object[id(schema)] = weakref.ref(schema), result
        return result

    return of


_as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _dump(spec: Spec) -> bytes:
    return _as_json(spec).encode()


@lru_cache(maxsize=1024)
def _load(data: bytes) -> Spec:
    spec: Spec = json.loads(data)
    return spec


def with_spec(name: str, kind: pa.DataType, spec: Spec) -> pa.Field:
    """Return the Arrow field of an encoded column."""
    if "label" in spec:  # 1, 1.0 and True are three labels, but one key of a cache
        return _field(name, kind, spec)
    try:
        return _known_field(name, kind, tuple(spec.items()))
    except TypeError:  # a spec that holds another
        return _field(name, kind, spec)


def _field(name: str, kind: pa.DataType, spec: Spec) -> pa.Field:
    return pa.field(name, kind, metadata={KEY: _dump(spec)})


@lru_cache(maxsize=4096)
def _known_field(name: str, kind: pa.DataType, spec: tuple[tuple[str, Any], ...]) -> pa.Field:
    return _field(name, kind, dict(spec))


def spec_of(field: pa.Field) -> Spec:
    """Return our spec of a field, which must not be changed. Raises VaultFormatError."""
    try:
        return _load(field.metadata[KEY])
    except (KeyError, TypeError):
        raise VaultFormatError(
            f"The field {short_repr(field.name)} carries no tablevault metadata."
        ) from None


def with_meta(fields: Sequence[pa.Field], columns: Spec, index: Spec | None) -> pa.Schema:
    """Return the schema of these fields with our metadata."""
    meta: Spec = {"format": FORMAT, "columns": columns}
    return pa.schema(fields, {KEY: _dump(meta | ({"index": index} if index else {}))})


def meta_of(schema: pa.Schema) -> Spec:
    """Return our metadata of a schema, which must not be changed. Raises VaultFormatError."""
    try:
        meta = _load(schema.metadata[KEY])
    except (KeyError, TypeError):
        raise VaultFormatError(
            "The Arrow schema carries no tablevault metadata; encode() makes tables that do."
        ) from None
    if meta["format"] > FORMAT:
        raise VaultFormatError(
            f"The rows were written in format {meta['format']}; this version reads up to {FORMAT}."
        )
    return meta


def hidden_field() -> pa.Field:
    """Return a field that carries the number of rows of a frame with neither columns nor an index."""
    return with_spec(HIDDEN, pa.null(), {"codec": "null", "missing": "None", "hidden": True})


def beside(table: pa.Table, columns: Mapping[str, np.ndarray]) -> pa.Table:
    """The table with further columns of whole numbers beside those of the frame: stored with each row, and not read with it."""
    for name, values in columns.items():
        spec = {"codec": "numpy", "dtype": "int64", "hidden": True}
        table = table.append_column(with_spec(name, pa.int64(), spec), pa.array(values, pa.int64()))
    return table


def fields_beside(schema: pa.Schema) -> list[pa.Field]:
    """Return the fields of :func:`beside`."""
    return list(_fields_beside(schema))


@once_for_each_schema
def _fields_beside(schema: pa.Schema) -> list[pa.Field]:
    return [field for field in schema if field.name != HIDDEN and "hidden" in spec_of(field)]


def data_fields(schema: pa.Schema) -> list[tuple[pa.Field, Spec]]:
    """Return the fields of the columns, with their specs."""
    return list(_data_fields(schema))


@once_for_each_schema
def _data_fields(schema: pa.Schema) -> list[tuple[pa.Field, Spec]]:
    pairs = [(field, spec_of(field)) for field in schema]
    return [(field, spec) for field, spec in pairs if "index" not in spec and "hidden" not in spec]


def level_fields(schema: pa.Schema) -> list[tuple[pa.Field, Spec]]:
    """Return the fields of the index levels in order, with their specs."""
    return list(_level_fields(schema))


@once_for_each_schema
def _level_fields(schema: pa.Schema) -> list[tuple[pa.Field, Spec]]:
    pairs = [(field, spec_of(field)) for field in schema]
    return sorted((pair for pair in pairs if "index" in pair[1]), key=lambda pair: pair[1]["index"])


def label_of(field: pa.Field, spec: Spec) -> Hashable:
    """Return the column label of a field; its text, if the label is a time in a zone that this machine lacks."""
    try:
        return exact_label(field, spec)
    except UnknownZone:
        return str(field.name)


def exact_label(field: pa.Field, spec: Spec) -> Hashable:
    """Return the column label of a field. Raises UnknownZone."""
    label: Hashable = cells.from_plain(spec["label"]) if "label" in spec else field.name
    return label


def key_of(field: pa.Field, spec: Spec) -> str:
    """Return a text that identifies a label and its type."""
    return labels.label_key(spec.get("label", field.name))


def dtype_text(field: pa.Field, spec: Spec) -> str:
    """Return the dtype as pandas shows it."""
    return codec_of(spec).text(spec, field.type)


def columns(schema: pa.Schema) -> list[Column]:
    """Return the columns of a list, in order, without index fields.

    Examples
    --------
    >>> from tablevault_pd.frames import columns, encode
    >>> table = encode(pd.DataFrame({"a": [1], "vec": [[0.5, 1.5]]}))
    >>> [(c.label, c.kind, c.dtype, c.dim) for c in columns(table.schema)]
    [('a', 'record', 'int64', None), ('vec', 'embedding', 'object', 2)]
    """
    return list(_columns(schema))


@once_for_each_schema
def _columns(schema: pa.Schema) -> tuple[Column, ...]:
    return tuple(
        Column(
            field.name,
            label_of(field, spec),
            spec.get("kind", "record"),
            dtype_text(field, spec),
            spec.get("dim"),
        )
        for field, spec in data_fields(schema)
    )


def index_fields(schema: pa.Schema) -> list[str]:
    """Return the names of the fields of the index; none if the list has no index."""
    return [field.name for field, _ in level_fields(schema)]


def index_names(schema: pa.Schema) -> tuple[Hashable, ...]:
    """Return the names of the index levels of a frame that is read."""
    index = meta_of(schema).get("index")
    return tuple(map(cells.from_plain, index["names"])) if index else (labels.POSITION,)


def contents(schema: pa.Schema) -> dict[str, str]:
    """Return the fields of a row by their label or index level, which is the same in every schema of the list."""
    columns = {f"column {key_of(field, spec)}": field.name for field, spec in data_fields(schema)}
    return columns | {f"level {spec['index']}": field.name for field, spec in level_fields(schema)}


def field_labels(schema: pa.Schema) -> dict[str, Hashable]:
    """What each field is called: the label of its column, or the name of its index level."""
    by_field = {field.name: label_of(field, spec) for field, spec in data_fields(schema)}
    by_field |= {field.name: field.name for field in fields_beside(schema)}
    return by_field | dict(zip(index_fields(schema), index_names(schema), strict=False))


def key_fields(schema: pa.Schema) -> list[str]:
    """Names of the fields of the key that identifies rows; empty if the list has none."""
    names = meta_of(schema).get("key", ())
    there = _by_name(schema) if names else {}
    return [there[name] for name in names]


def with_key(schema: pa.Schema, fields: Sequence[str]) -> pa.Schema:
    """The schema with these fields as the key of its rows; without one, if there are none."""
    names = {field: name for name, field in _by_name(schema).items()}
    meta = {name: value for name, value in meta_of(schema).items() if name != "key"}
    return schema.with_metadata({KEY: _dump(meta | ({"key": [names[f] for f in fields]} if fields else {}))})


def language_of(schema: pa.Schema) -> str | None:
    """The language of the texts; None for English, and for a schema without our metadata."""
    if KEY not in (schema.metadata or {}):
        return None
    language: str | None = meta_of(schema).get("language")
    return language


def with_language(schema: pa.Schema, language: str | None) -> pa.Schema:
    """The schema with this language of its texts."""
    if language_of(schema) == language:
        return schema
    meta = {name: value for name, value in meta_of(schema).items() if name != "language"}
    return schema.with_metadata({KEY: _dump(meta | ({} if language is None else {"language": language}))})


def _by_name(schema: pa.Schema) -> dict[str, str]:
    """The contents, and the fields beside them."""
    return contents(schema) | {f"beside {field.name}": field.name for field in fields_beside(schema)}


def nested_columns(schema: pa.Schema) -> set[Hashable]:
    """Return the labels of columns whose cells may be dicts."""
    return {
        label_of(field, spec)
        for field, spec in data_fields(schema)
        if spec["codec"] in ("json", "null") or pa.types.is_struct(field.type)
    }


def field_for(schema: pa.Schema, label: Hashable) -> str:
    """Return the Arrow field name of the column `label`. Raises InvalidInput."""
    return str(_find(schema, [label])[0].name)


def select(schema: pa.Schema, labels: Sequence[Hashable]) -> pa.Schema:
    """Return the sub-schema with these columns, in this order, and the index fields. Raises InvalidInput for unknown labels."""
    if any(type(label) is not str for label in labels):  # 1 and True are equal, and may be two columns
        return _select(schema, labels)
    parts, key = _parts(schema), tuple(labels)
    if key not in parts and len(parts) >= OBJECTS:
        parts.clear()
    return parts.get(key) or parts.setdefault(key, _select(schema, labels))


@once_for_each_schema
def _parts(_: pa.Schema) -> dict[tuple[Hashable, ...], pa.Schema]:
    """The parts of a schema that were selected: one object for each, so that what is known of it is found again."""
    return {}


def _select(schema: pa.Schema, labels: Sequence[Hashable]) -> pa.Schema:
    meta = meta_of(schema)
    fields = [*_find(schema, labels), *(field for field, _ in level_fields(schema))]
    return with_meta(fields or [hidden_field()], meta["columns"], meta.get("index"))


def part_of(schema: pa.Schema, fields: Sequence[str]) -> pa.Schema:
    """Some fields of a schema, which are not the whole of a frame."""
    return pa.schema([schema.field(field) for field in fields], schema.metadata)


def as_stored(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the stored Arrow types of columns that are read with another type."""
    pairs = [(field, spec_of(field)) for field in schema]
    if not any("own" in spec for _, spec in pairs):
        return schema
    plain = [{key: value for key, value in spec.items() if key != "own"} for _, spec in pairs]
    fields = [with_spec(field.name, field.type, spec) for (field, _), spec in zip(pairs, plain, strict=True)]
    return pa.schema(fields, schema.metadata)


def _find(schema: pa.Schema, labels: Sequence[Hashable]) -> list[pa.Field]:
    pairs = data_fields(schema)
    by_key = {key_of(field, spec): field for field, spec in pairs}
    by_label: dict[Any, pa.Field] = {}
    for field, spec in pairs:
        by_label.setdefault(label_of(field, spec), field)
    fields = [_one(label, by_key, by_label) for label in labels]
    unknown = [label for label, field in zip(labels, fields, strict=True) if field is None]
    if unknown:
        levels = [label for label in unknown if label in index_names(schema)]
        hint = (
            f" {', '.join(map(short_repr, levels))} belongs to the index, which is read with any columns."
            if levels
            else ""
        )
        raise InvalidInput(_unknown(unknown, list(by_label)) + hint)
    return [field for field in fields if field is not None]


def _one(label: Hashable, by_key: dict[str, pa.Field], by_label: dict[Any, pa.Field]) -> pa.Field | None:
    """Look a label up by type and value, else as pandas compares (1 finds 1.0)."""
    try:
        exact = by_key.get(labels.label_key(cells.to_plain(label)))
    except cells.CannotSerialize:
        exact = None
    return exact if exact is not None else by_label.get(label)


def _unknown(unknown: Sequence[Hashable], labels: Sequence[Hashable]) -> str:
    texts = {str(label): label for label in labels}
    close = [texts[text] for label in unknown for text in get_close_matches(str(label), list(texts), n=3)]
    there = ", ".join(map(short_repr, labels[:20])) + (", …" if len(labels) > 20 else "")
    hint = (
        f"Did you mean {' or '.join(map(short_repr, dict.fromkeys(close)))}?"
        if close
        else f"There are: {there or 'none'}."
    )
    return f"No column {', '.join(map(short_repr, unknown))}. {hint}"


# -- levels of an index as columns, and columns as levels


def reset_index(table: pa.Table) -> pa.Table:
    """Return encoded rows with the levels of their index as the first columns; without an index, as they are.

    Examples
    --------
    >>> from tablevault_pd.frames import columns, encode
    >>> table = encode(pd.DataFrame({"n": [1]}, index=pd.Index(["a"], name="id")))
    >>> [column.label for column in columns(reset_index(table).schema)]
    ['id', 'n']
    """
    levels = schemas.level_fields(table.schema)
    if not levels:
        return table
    pairs = schemas.data_fields(table.schema)
    columns = schemas.meta_of(table.schema)["columns"]
    depth = len(columns.get("levels", ()))
    names = _column_labels(table.schema, depth)
    fields = [
        schemas.with_spec(field.name, field.type, _values(spec) | {"label": labels.label_json(name)})
        for (field, spec), name in zip(levels, names, strict=True)
    ]
    fields += [field for field, _ in pairs]
    any_label: Spec = {"levels": [{"dtype": None}] * depth} if depth else {"dtype": None}
    schema = schemas.with_meta(fields, {"names": columns["names"]} | any_label, None)
    return pa.Table.from_arrays([table.column(field.name) for field in fields], schema=schema)


def placed(field: pa.Field, place: pa.Field) -> pa.Field:
    """Return `field` as the column or level of an index that `place` is."""
    spec = {key: value for key, value in schemas.spec_of(place).items() if key in _PLACE}
    return schemas.with_spec(place.name, field.type, _values(schemas.spec_of(field)) | spec)


def _values(spec: Spec) -> Spec:
    return {key: value for key, value in spec.items() if key not in _PLACE}


def _column_labels(schema: pa.Schema, depth: int) -> list[Hashable]:
    """What the levels are called as columns: as pandas does, but a name that a column has already is marked."""
    names = schemas.index_names(schema)
    taken = {schemas.label_of(field, spec) for field, spec in schemas.data_fields(schema)}
    column_labels: list[Hashable] = []
    for number, name in enumerate(names):
        unnamed = "index" if len(names) == 1 else f"level_{number}"
        label = _padded(unnamed if name is None else name, depth)
        while label in taken:
            first = label[0] if depth and isinstance(label, tuple) else label
            label = _padded(f"{first} (index)", depth)
        taken.add(label)
        column_labels.append(label)
    return column_labels


def _padded(label: Hashable, depth: int) -> Hashable:
    if not depth:
        return label
    parts = label if isinstance(label, tuple) else (label,)
    return (*parts, *[""] * (depth - len(parts)))
