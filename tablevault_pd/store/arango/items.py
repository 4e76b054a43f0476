"""Rows as item documents: which column goes to which collection, under which key, and back.

A row's plain columns share one document in ``tv_records``. Each cell of an embedding, document or file column has a
document of its own. The key of an item is that of its batch, its row in base 36, and its column's number.

A vector the server can measure lies under an attribute named for its width, as a vector index takes vectors of one width
only; every other cell lies under ``vector``. Beside it, ``norm`` is the vector's length, 0 for one of zeros, -1 where the
server cannot measure it, and absent where no search finds it: a missing vector, and one with NaN or infinity.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.store.arango import codec
from tablevault_pd.store.arango.layout import DOCUMENTS, EMBEDDINGS, FILES, RECORDS
from tablevault_pd.store.engine.vector_scores import in_float32_range, lengths

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyz", np.uint8)
_ROW_WIDTH = 7  # 36**7 rows in one batch
_COLLECTION = {"record": RECORDS, "embedding": EMBEDDINGS, "document": DOCUMENTS, "file": FILES}
_VALUE = {EMBEDDINGS: "vector", DOCUMENTS: "text", FILES: "file"}
_UNMEASURED = -1.0


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """One column of a schema, as it is stored."""

    name: str
    attribute: str
    field: int
    collection: str
    kind: pa.DataType
    dim: int | None = None  #: how many numbers each vector of an embedding column has

    @property
    def vectors(self) -> str:
        """The attribute of the vectors that the server can measure; `norm` says which these are."""
        return f"vector_{self.dim}"

    @property
    def path(self) -> str:
        """Where its dictionaries are filed."""
        return str(self.field)

    @property
    def is_vector(self) -> bool:
        """Whether its cells are arrays of floats of one length."""
        return bool(pa.types.is_fixed_size_list(self.kind) and pa.types.is_floating(self.kind.value_type))


def columns_of(schema: pa.Schema) -> list[StoredColumn]:
    """The columns of a schema, in order."""
    return [_column(field, number) for number, field in enumerate(schema)]


def _column(field: pa.Field, number: int) -> StoredColumn:
    """A column: what it holds is as its metadata says, else by its type."""
    vectors = pa.types.is_fixed_size_list(field.type) and pa.types.is_floating(field.type.value_type)
    told = (field.metadata or {}).get(b"tablevault")
    spec: dict[str, Any] = (
        {"kind": "embedding" if vectors else "record"} if told is None else json.loads(told)
    )
    kind = spec.get("kind")
    collection = _COLLECTION[kind if kind in _COLLECTION else "record"]
    dim = field.type.list_size if vectors else spec.get("dim")
    return StoredColumn(field.name, codec.attribute(field.name), number, collection, field.type, dim)


def base36(numbers: np.ndarray, width: int) -> list[str]:
    """Each number in base 36, at fixed width: keys then sort as the numbers do."""
    powers = 36 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    letters = _DIGITS[(numbers[:, None] // powers) % 36]
    return [text.decode("ascii") for text in np.ascontiguousarray(letters).view(f"S{width}").ravel().tolist()]


# ---------------------------------------------------------------- rows to documents


def documents(
    table: pa.Table, batch: str, first_row: int, dictionaries: codec.Dictionaries
) -> dict[str, list[Any]]:
    """The item documents of the rows of `table`, by collection. Raises UnsupportedColumn."""
    rows = range(first_row, first_row + table.num_rows)
    keys = _row_keys(batch, rows)
    made: dict[str, list[Any]] = {}
    plain = []
    for column in columns_of(table.schema):
        array = _whole(table.column(column.field))
        if column.collection == RECORDS:
            plain.append((column.attribute, codec.encode(array, column.path, dictionaries)))
        else:
            made.setdefault(column.collection, []).extend(_cells(column, array, batch, rows, dictionaries))
    if plain:
        names = [name for name, _ in plain]
        made[RECORDS] = [
            {"_key": key, "batch": batch, "row": row, "values": dict(zip(names, values, strict=True))}
            for key, row, values in zip(
                keys, rows, zip(*(cells for _, cells in plain), strict=True), strict=True
            )
        ]
    return made


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks == 0:
        return pa.array([], column.type)
    return pa.concat_arrays(column.chunks)


def _cells(
    column: StoredColumn,
    array: pa.Array,
    batch: str,
    rows: range,
    dictionaries: codec.Dictionaries,
) -> list[dict[str, Any]]:
    value = _VALUE[column.collection]
    keys = cell_keys(batch, rows, column.field)
    extra: dict[int, list[int]] = {}
    if column.is_vector and array.flatten().null_count == 0:
        cells, extra = _vectors(array)
    else:
        cells = codec.encode(array, column.path, dictionaries)
    made = [
        {
            "_key": key,
            "batch": batch,
            "row": row,
            "field": column.field,
            "column": column.name,
            value: cell,
        }
        for key, row, cell in zip(keys, rows, cells, strict=True)
    ]
    for at, places in extra.items():
        made[at]["signed_zeros"] = places
    if column.collection == EMBEDDINGS and column.dim:
        _measure(made, column, array)
    return made


def _measure(made: list[dict[str, Any]], column: StoredColumn, array: pa.Array) -> None:
    """Give the vectors that a search may find their norm, and those the server can measure their own attribute."""
    rows, valid = frames.vectors_of(pa.chunked_array([array]), column.dim or 0)
    found = np.flatnonzero(valid & np.isfinite(rows).all(axis=1))
    norms = lengths(rows[found])
    # Negative zeros are texts where the cells were not encoded as one matrix.
    plain = np.asarray(column.is_vector | ~codec.unusual(rows[found]).any(axis=1))
    tame = plain & in_float32_range(norms)
    shown = np.where(tame | (norms == 0), norms, _UNMEASURED)
    for at, norm, own in zip(found.tolist(), shown.tolist(), tame.tolist(), strict=True):
        made[at]["norm"] = norm
        if own:
            made[at][column.vectors] = made[at].pop("vector")


def _vectors(array: pa.Array) -> tuple[list[Any], dict[int, list[int]]]:
    """Vectors as arrays for orjson, and where they hold negative zeros, which are stored as plain ones.

    A vector with NaN or infinity holds texts in their places, so that no distance can be computed to it.
    """
    size = array.type.list_size
    gone = array.is_null().to_numpy(zero_copy_only=False)
    matrix = np.zeros((len(array), size), array.type.value_type.to_pandas_dtype())
    matrix[~gone] = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
    odd = codec.unusual(matrix)
    negative = np.isfinite(matrix) & odd
    matrix[negative] = 0
    shown = _exactly_shown(matrix)
    cells: list[Any] = [
        None if missing else vector for vector, missing in zip(shown, gone.tolist(), strict=True)
    ]
    for row in np.flatnonzero((odd & ~negative).any(axis=1)):
        cells[row] = [
            v if np.isfinite(v) else codec.float_text(v) for v in shown[row].astype(np.float64).tolist()
        ]
    return cells, {
        int(row): np.flatnonzero(negative[row]).tolist() for row in np.flatnonzero(negative.any(axis=1))
    }


def _exactly_shown(matrix: np.ndarray) -> np.ndarray:
    """`matrix` in the width whose shortest decimals come back exactly through a float64, as the server keeps them.

    The shortest decimal of a float32 is half as long as that of the same number in float64. Rounded to float64 and
    then to float32 it is the same float32 again, but for numbers so small or large that this must be tried.
    """
    if matrix.dtype == np.float64:
        return matrix
    narrow: np.ndarray = matrix.astype(np.float32)
    size = np.abs(narrow)
    doubtful = narrow[np.isfinite(narrow) & (narrow != 0) & ((size < 1e-4) | (size > 1e8))]
    if doubtful.size:
        again = np.array(orjson.loads(orjson.dumps(doubtful, option=orjson.OPT_SERIALIZE_NUMPY)), np.float64)
        if (again.astype(np.float32) != doubtful).any():
            return narrow.astype(np.float64)
    return narrow


def cell_keys(batch: str, rows: range, field: int) -> list[str]:
    """The keys of a column's cells, where these are documents of their own."""
    number = base36(np.array([field]), 3)[0]
    return [f"{key}.{number}" for key in _row_keys(batch, rows)]


def _row_keys(batch: str, rows: range) -> list[str]:
    return [batch + row for row in base36(np.arange(rows.start, rows.stop, dtype=np.int64), _ROW_WIDTH)]


# ---------------------------------------------------------------- documents to rows


def decode_records(
    columns: Sequence[StoredColumn], values: list[dict[str, Any]], dictionaries: codec.Dictionaries
) -> list[pa.Array]:
    """The arrays of the record columns."""
    return [
        codec.decode([row[column.attribute] for row in values], column.kind, column.path, dictionaries)
        for column in columns
    ]


def decode_cells(
    column: StoredColumn, values: list[Any], zeros: list[list[int] | None], dictionaries: codec.Dictionaries
) -> pa.Array:
    """The array of an embedding, document or file column."""
    if column.is_vector:
        found = _matrix(column, values)
        if found is not None:
            matrix, gone = found
            for row, places in enumerate(zeros):
                if places:
                    matrix[row, places] = -0.0
            mask = pa.array(gone) if gone.any() else None
            return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), type=column.kind, mask=mask)
    return codec.decode(values, column.kind, column.path, dictionaries)


def _matrix(column: StoredColumn, values: list[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """The cells as one matrix, and which are missing; None when a vector lacks elements."""
    size = column.kind.list_size
    gone = np.fromiter((value is None for value in values), bool, len(values))
    gap = [0.0] * size
    try:
        # NumPy reads "NaN" and "Infinity" as the numbers they stand for.
        matrix = np.array([gap if value is None else value for value in values], np.float64).reshape(
            len(values), size
        )
    except TypeError:
        return None
    if any(None in values[row] for row in np.flatnonzero(np.isnan(matrix).any(axis=1))):
        return None  # NumPy makes NaN of null, too
    with np.errstate(over="ignore"):
        return matrix.astype(column.kind.value_type.to_pandas_dtype()), gone
