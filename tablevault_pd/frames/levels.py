"""Levels of an index as columns, and columns as levels, so that versions with and without an index fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from tablevault_pd.frames import labels, schemas

if TYPE_CHECKING:
    from collections.abc import Hashable

    from tablevault_pd.frames.codecs import Spec

# what a spec says of the place of a field, and not of its values
_PLACE = ("label", "index", "level", "hidden")


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
