"""The columns of a schema as a vault on a server stores them, and the keys of its documents. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tablevault_pd.store.arango.layout import DOCUMENTS, EMBEDDINGS, FILES, RECORDS

_DIGITS = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyz", np.uint8)
ROW_WIDTH = 7  # 36**7 rows in one batch
_COLLECTION = {"record": RECORDS, "embedding": EMBEDDINGS, "document": DOCUMENTS, "file": FILES}


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """One column of a schema, as it is stored."""

    name: str
    attribute: str
    field: int
    collection: str  #: of the mirror
    kind: pa.DataType
    dim: int | None = None  #: how many numbers each vector of an embedding column has

    @property
    def vectors(self) -> str:
        """The attribute of the vectors that the server can measure; `norm` says which these are."""
        return f"vector_{self.dim}"


def columns_of(schema: pa.Schema) -> list[StoredColumn]:
    """The columns of a schema, in order."""
    return [_column(field, number) for number, field in enumerate(schema)]


def _column(field: pa.Field, number: int) -> StoredColumn:
    """A column: what it holds is as its metadata says, else by its type."""
    vectors = pa.types.is_fixed_size_list(field.type) and pa.types.is_floating(field.type.value_type)
    metadata = (field.metadata or {}).get(b"tablevault")
    spec: dict[str, Any] = (
        {"kind": "embedding" if vectors else "record"} if metadata is None else json.loads(metadata)
    )
    kind = spec.get("kind")
    collection = _COLLECTION[kind if kind in _COLLECTION else "record"]
    dim = field.type.list_size if vectors else spec.get("dim")
    return StoredColumn(field.name, attribute(field.name), number, collection, field.type, dim)


def attribute(name: str) -> str:
    """The attribute of the mirror that shows the column `name`. Empty and leading `_` are the server's own."""
    return "%" + name if not name or name[0] in "_%" else name


def base36(numbers: np.ndarray, width: int) -> list[str]:
    """Each number in base 36, at fixed width: keys then sort as the numbers do."""
    powers = 36 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    letters = _DIGITS[(numbers[:, None] // powers) % 36]
    return [text.decode("ascii") for text in np.ascontiguousarray(letters).view(f"S{width}").ravel().tolist()]


def row_keys(batch: str, rows: range) -> list[str]:
    """The keys of documents that begin with these rows of a batch."""
    numbers = np.arange(rows.start, rows.stop, rows.step, dtype=np.int64)
    return [batch + row for row in base36(numbers, ROW_WIDTH)]


def cell_keys(batch: str, rows: range, field: int) -> list[str]:
    """The same for documents of one column."""
    number = base36(np.array([field]), 3)[0]
    return [f"{key}.{number}" for key in row_keys(batch, rows)]
