"""The key of a list: the columns, or the levels of the index, by which its rows are told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import DuplicateKey, InvalidInput, short_repr
from tablevault_pd.keys.digests import can_be_key, doubled, key_digests
from tablevault_pd.validate import is_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

SHOWN_KEYS = 3


def key_labels(schema: pa.Schema) -> list[Hashable]:
    """The key of a list, as its columns or the levels of its index are called; empty if it has none."""
    fields = frames.key_fields(schema)
    labels = frames.field_labels(schema) if fields else {}
    return [labels[field] for field in fields]


def find_key(schema: pa.Schema, key: Sequence[Hashable] | None, name: str) -> list[str]:
    """The fields of the columns or index levels that `key` names; without it of the index, if it has names.

    Raises InvalidInput if there is no such column, or its cells cannot be told apart by value.
    """
    fields = _index_key(schema, name) if key is None else [_field(schema, label, name) for label in key]
    for field in fields:
        _check_type(schema, field, name)
    return fields


def _index_key(schema: pa.Schema, name: str) -> list[str]:
    fields = frames.index_fields(schema)
    if not fields or None in frames.index_names(schema):
        raise InvalidInput(
            f"The list {name!r} has no key yet, and the rows have no named index. Say which columns name a row: "
            "key='id' or key=['doc', 'n']."
        )
    return fields


def _field(schema: pa.Schema, label: Hashable, name: str) -> str:
    levels = dict(zip(frames.index_names(schema), frames.index_fields(schema), strict=False))
    try:
        return frames.field_for(schema, label)
    except InvalidInput as error:
        if label in levels:
            return levels[label]
        if label in [field.name for field in frames.fields_beside(schema)]:
            return str(label)
        raise InvalidInput(f"The key of the list {name!r}: {error}") from None


def _check_type(schema: pa.Schema, field: str, name: str) -> None:
    column = schema.field(field)
    spec = frames.spec_of(column)
    stored_as_codes = spec["codec"] == "category" and not pa.types.is_dictionary(column.type)
    if stored_as_codes and spec["values"]["codec"] == "null":
        return  # no categories at all, as of no rows
    if spec["codec"] == "file":
        raise InvalidInput(
            f"Column {short_repr(frames.field_labels(schema)[field])} cannot be a key of the list {name!r}: it is a column of files, whose "
            "size, time and digest change. Keep the path in another column, too, and make that one the key."
        )
    if stored_as_codes or not can_be_key(column.type):
        raise InvalidInput(
            f"Column {short_repr(frames.field_labels(schema)[field])} cannot be a key of the list {name!r}: it holds "
            f"{column.type}. A key is made of numbers, texts, bytes, times, or categories of these."
        )


def checked_digests(table: pa.Table, fields: Sequence[str], name: str) -> np.ndarray:
    """The digests of the keys of a table's rows.

    Raises InvalidInput for a missing cell, DuplicateKey for a key that is there twice.
    """
    check_present(table, fields, name)
    digests = key_digests(frames.key_columns(table, fields))
    check_unique(digests, name, "The rows", lambda row: shown_key(table, fields, row))
    return digests


def check_present(
    table: pa.Table, fields: Sequence[str], name: str, *, what: str = "the key has the column"
) -> None:
    """Raise InvalidInput for the first row with a missing cell in these fields."""
    for field in fields:
        missing = np.flatnonzero(_missing(table, field))
        if len(missing):
            label = frames.field_labels(table.schema)[field]
            raise InvalidInput(
                f"Nothing was written to the list {name!r}: {what} {short_repr(label)}, which is missing in "
                f"{len(missing)} of the rows; the first is row {missing[0]}. Fill it, or drop these rows."
            )


def check_unique(
    digests: np.ndarray, name: str, what: str, key_of: Callable[[int], str], unit: str = "rows"
) -> None:
    """Raise DuplicateKey if two rows have one key; `key_of` says what the key of a row is."""
    rows = doubled(digests)
    if not len(rows):
        return
    starts = np.flatnonzero(np.r_[True, (digests[:, rows[1:]] != digests[:, rows[:-1]]).any(axis=0)])
    groups = np.split(rows, starts[1:])
    groups.sort(key=lambda group: int(group[0]))
    twice = "; ".join(
        f"{key_of(int(group[0]))} ({unit} {', '.join(map(str, group[:4].tolist()))})"
        for group in groups[:SHOWN_KEYS]
    )
    more = f"; and {len(groups) - SHOWN_KEYS} more" if len(groups) > SHOWN_KEYS else ""
    raise DuplicateKey(
        f"{what} of the list {name!r} have keys more than once: {twice}{more}. Nothing was written. Drop the "
        "duplicates, or name further columns in key= that tell these rows apart."
    )


def shown_key(table: pa.Table, fields: Sequence[str], row: int) -> str:
    """The key of one row as messages show it: ``doc='a', n=1``."""
    labels = frames.field_labels(table.schema)
    cells = [frames.cells_of(table.slice(row, 1), field)[0] for field in fields]
    return ", ".join(f"{labels[field]}={_text(cell)}" for field, cell in zip(fields, cells, strict=True))


def _text(cell: Any) -> str:
    if isinstance(cell, (np.datetime64, np.timedelta64)):  # whose items are numbers
        return str(cell)
    return short_repr(cell.item() if isinstance(cell, np.generic) else cell)


def _missing(table: pa.Table, field: str) -> np.ndarray:
    column = table.column(field)
    if frames.spec_of(table.schema.field(field))["codec"] == "json":
        return np.fromiter(map(is_missing, frames.cells_of(table, field)), bool, len(column))
    missing = np.asarray(column.is_null(nan_is_null=pa.types.is_floating(column.type)))
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array(
            [chunk.dictionary.take(chunk.indices) for chunk in column.chunks], column.type.value_type
        )
        missing = np.asarray(column.is_null(nan_is_null=pa.types.is_floating(column.type)))
    return missing
