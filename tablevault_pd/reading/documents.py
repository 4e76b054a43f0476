"""Where documents lie, in characters: of each row of a version, and which rows have some characters of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import frames, validate
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.reading.chunks import aligned, as_array, living

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tablevault_pd.store import Store, Version


def offsets(store: Store, version: Version, column: Hashable | None) -> pd.DataFrame:
    """Return start and stop of the text in each row, by position. Raises InvalidInput."""
    field = document_field(store, version, column)
    positions, start, stop = extents(store, version, field)
    index: pd.Index = pd.Index(positions, name="position")
    if len(positions) == version.total:
        index = pd.RangeIndex(version.total, name="position")
    return pd.DataFrame({"start": start, "stop": stop}, index=index)


def document_field(store: Store, version: Version, column: Hashable | None) -> str:
    """Return the field of the column of documents; if none is named, of the only one. Raises InvalidInput."""
    schema = store.schema(version.schema_id)
    by_label = {each.label: each.field for each in frames.columns(schema) if each.kind == "document"}
    if column is None and len(by_label) != 1:
        raise InvalidInput(
            f"The list {version.list!r} has {len(by_label)} columns of documents: {list(by_label)}. Name one of them."
        )
    label = next(iter(by_label)) if column is None else validate.label(column, "column")
    if label not in by_label:
        raise InvalidInput(
            f"The column {short_repr(label)} of {version.list!r} holds no documents. documents={list(by_label)}"
        )
    return by_label[label]


def extents(store: Store, version: Version, field: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(position, start, stop) of the text in every row that is not erased."""
    schema = store.schema(version.schema_id)
    start_field = frames.start_field(schema, field)
    positions, columns = _columns(store, version, [field] if start_field is None else [field, start_field])
    lengths = frames.lengths_of(columns[field])
    if start_field is None:
        stop = np.cumsum(lengths)
        return positions, stop - lengths, stop
    start = frames.offsets_of(columns[start_field])
    return positions, start, start + lengths


def _columns(
    store: Store, version: Version, fields: Sequence[str]
) -> tuple[np.ndarray, dict[str, pa.ChunkedArray]]:
    """The positions of all rows that are not erased, and these columns of them."""
    part = frames.part_of(store.schema(version.schema_id), fields)
    chunks = [living(chunk) for chunk in store.scan(version, columns=fields)]
    table = pa.concat_tables([part.empty_table(), *(aligned(chunk, part) for chunk in chunks)])
    positions = [np.empty(0, np.int64), *(as_array(chunk.positions) for chunk in chunks)]
    return np.concatenate(positions), {field: table.column(field) for field in fields}
