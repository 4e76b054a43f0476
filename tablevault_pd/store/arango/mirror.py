"""The mirror: rows as plain JSON documents, for other tools to query and for the server to search. Nothing reads values from it.

A row's plain columns share one document in ``tv_records``. Each cell of an embedding, document or file column has a
document of its own. A vector lies under an attribute named for its width, as a vector index takes vectors of one width only;
beside it, ``norm`` is its length: 0 for one of zeros, -1 where the server cannot measure it (then, as with zeros, the vector
lies under ``vector``), and absent where no search finds it: a missing vector, and one with NaN or infinity.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd import frames
from tablevault_pd.store.arango.columns import StoredColumn, cell_keys, columns_of, row_keys
from tablevault_pd.store.arango.layout import DOCUMENTS, EMBEDDINGS, FILES, RECORDS
from tablevault_pd.store.arango.records import to_text
from tablevault_pd.store.arango.terms import add_words
from tablevault_pd.store.engine.vector_scores import in_float32_range, lengths

if TYPE_CHECKING:
    from collections.abc import Sequence

MIRRORS = ("all", "search")
_VALUE = {DOCUMENTS: "text", FILES: "file"}
_UNMEASURED = -1.0
_t = pa.types


def documents(
    table: pa.Table, batch: str, first_row: int, *, mirror: str
) -> tuple[dict[str, list[Any]], int, int]:
    """The documents of the rows of `table`, by collection; how many of them have words, and how many words these are.

    With `mirror` "search" they are those that have words or a vector, without other values.
    """
    rows = range(first_row, first_row + table.num_rows)
    made: dict[str, list[Any]] = {}
    plain = []
    for column in columns_of(table.schema):
        array = table.column(column.field).combine_chunks()
        if column.collection == RECORDS:
            plain.append((column.attribute, array))
        elif column.collection == EMBEDDINGS:
            made.setdefault(EMBEDDINGS, []).extend(_vectors(column, array, batch, rows))
        else:
            value = _VALUE[column.collection]
            cells = shown(array) if mirror == "all" or column.collection == DOCUMENTS else [None] * len(array)
            documents = [
                cell | {value: shown_cell}
                for cell, shown_cell in zip(_cells(column, batch, rows), cells, strict=True)
            ]
            made.setdefault(column.collection, []).extend(documents)
    if plain:
        made[RECORDS] = _records(plain, batch, rows, mirror)
    items, words = add_words(table, batch, made)
    if mirror == "search":
        made = {name: [one for one in some if _is_searched(name, one)] for name, some in made.items()}
    return {name: some for name, some in made.items() if some}, items, words


def _is_searched(collection: str, document: dict[str, Any]) -> bool:
    return collection == EMBEDDINGS or "stems" in document


def _records(
    plain: Sequence[tuple[str, pa.Array]], batch: str, rows: range, mirror: str
) -> list[dict[str, Any]]:
    heads = [
        {"_key": key, "batch": batch, "row": row}
        for key, row in zip(row_keys(batch, rows), rows, strict=True)
    ]
    columns = [(name, array) for name, array in plain if mirror == "all" or _is_text(array.type)]
    names = [name for name, _ in columns]
    lines = zip(*(shown(array) for _, array in columns), strict=True) if columns else [()] * len(rows)
    return [
        head | {"values": dict(zip(names, line, strict=True))}
        for head, line in zip(heads, lines, strict=True)
    ]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if _t.is_dictionary(kind) else kind
    return bool(_t.is_string(kind) or _t.is_large_string(kind))


def _cells(column: StoredColumn, batch: str, rows: range) -> list[dict[str, Any]]:
    return [
        {"_key": key, "batch": batch, "row": row, "field": column.field, "column": column.name}
        for key, row in zip(cell_keys(batch, rows, column.field), rows, strict=True)
    ]


def _vectors(column: StoredColumn, array: pa.Array, batch: str, rows: range) -> list[dict[str, Any]]:
    """The vectors with their norms: those that the server can measure under the attribute of their width."""
    made = _cells(column, batch, rows)
    if not column.dim:
        return made
    vectors, valid = frames.vectors_of(pa.chunked_array([array]), column.dim)
    searchable = np.flatnonzero(valid & np.isfinite(vectors).all(axis=1))
    norms = lengths(vectors[searchable])
    tame = in_float32_range(norms)
    measured = np.where(tame | (norms == 0), norms, _UNMEASURED)
    # orjson writes the shortest decimals: nine digits for a float32
    numbers = vectors[searchable] if vectors.dtype == np.float64 else vectors[searchable].astype(np.float32)
    for at, norm, is_tame, vector in zip(
        searchable.tolist(), measured.tolist(), tame.tolist(), numbers, strict=True
    ):
        made[at]["norm"] = norm
        made[at][column.vectors if is_tame else "vector"] = vector
    return made


# ---------------------------------------------------------------- values


def shown(array: pa.Array) -> list[Any]:
    """The values of a column as JSON data: what JSON does not have is text, NaN is null, as a missing value is."""
    try:
        return _shown(array)
    except (ValueError, OverflowError, pa.ArrowException):  # a date beyond the year 9999, inside of a list
        return [None] * len(array)


def _shown(array: pa.Array) -> list[Any]:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return shown(array.storage)
    if _t.is_dictionary(kind):
        return shown(array.dictionary_decode())
    if _t.is_floating(kind):
        return _shown_floats(array)
    if _t.is_timestamp(kind):
        utc = array if kind.tz is None else array.cast(pa.timestamp(kind.unit, "UTC"))
        texts: list[Any] = pc.replace_substring(
            utc.cast(pa.string()), " ", "T", max_replacements=1
        ).to_pylist()
        return texts
    if _t.is_date(kind) or _t.is_time(kind) or _t.is_decimal(kind):
        return list(array.cast(pa.string()).to_pylist())
    if _t.is_duration(kind):
        return list(array.cast(pa.int64()).to_pylist())
    values: list[Any] = array.to_pylist()
    return values if _is_json(kind) else [_plain(value) for value in values]


def _is_json(kind: pa.DataType) -> bool:
    return bool(_t.is_integer(kind) or _t.is_boolean(kind) or _t.is_string(kind) or _t.is_large_string(kind))


def _shown_floats(array: pa.Array) -> list[Any]:
    """Floats in their shortest decimals; infinities as texts."""
    numbers = array.to_numpy(zero_copy_only=False)
    numbers = np.asarray(numbers, np.float64 if numbers.dtype not in (np.float16, np.float32) else np.float32)
    values: list[Any] = orjson.loads(orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY))
    for row in np.flatnonzero(np.isinf(numbers)).tolist():
        values[row] = "Infinity" if numbers[row] > 0 else "-Infinity"
    return values


def _plain(value: Any) -> Any:
    """A value inside of a list or struct as JSON data."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, bytes):
        return to_text(value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
