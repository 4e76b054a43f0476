"""What erasing does to the rows of a table, in every store alike. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tablevault_pd.store import Version
    from tablevault_pd.store.pieces import Pieces

#: By field: the categories that rows have which stay.
Categories = dict[str, pa.Array]


def erased_positions(
    versions: Sequence[Version],
    pieces_of: Callable[[Sequence[Version]], Sequence[Pieces]],
    erased_of: Callable[[Sequence[int]], Mapping[int, Pieces]],
) -> list[np.ndarray]:
    """The positions of erased rows in versions, by what these show and what was erased of their lists."""
    positions = [np.empty(0, np.int64)] * len(versions)
    concerned = [number for number, version in enumerate(versions) if version.erased]
    if concerned:
        erased = erased_of(sorted({versions[number].list_id for number in concerned}))
        shown = pieces_of([versions[number] for number in concerned])
        for number, pieces in zip(concerned, shown, strict=True):
            positions[number] = pieces.positions_of(erased[versions[number].list_id])
    return positions


def blanked(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """The table with nothing left of the cells of these rows: they are missing, in new memory."""
    numbers = np.arange(table.num_rows)
    indices = pa.array(numbers, mask=np.isin(numbers, rows))
    columns = [_taken(column.combine_chunks(), indices) for column in table.columns]
    return pa.table(columns, schema=table.schema) if columns else table


def _taken(column: pa.ChunkedArray | pa.Array, indices: pa.Array) -> pa.ChunkedArray | pa.Array:
    """Rows of a column, of types too that Arrow takes no rows of."""
    kind = column.type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        plain = pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary()
        return column.cast(plain).take(indices).cast(kind)
    if pa.types.is_run_end_encoded(kind):
        return pc.run_end_encode(pc.run_end_decode(column).take(indices), kind.run_end_type)
    return column.take(indices)


def category_fields(schema: pa.Schema) -> list[str]:
    """The fields whose categories are those that rows have: ordered ones belong to the column, whatever its rows are."""
    return [field.name for field in schema if pa.types.is_dictionary(field.type) and not field.type.ordered]


def categories_in_use(tables: Iterable[pa.Table]) -> Categories:
    """The categories that the rows of these tables have."""
    parts_of: dict[str, list[pa.Array]] = {}
    for table in tables:
        for field in category_fields(table.schema):
            column = table.column(field)
            parts_of.setdefault(field, []).extend(
                chunk.dictionary.take(chunk.indices.unique().drop_null()) for chunk in column.chunks
            )
    return {field: _joined(parts) for field, parts in parts_of.items() if parts}


def _joined(parts: list[pa.Array]) -> pa.Array:
    kind = parts[0].type
    return pa.concat_arrays([part.cast(kind) for part in parts]).unique()


def pruned(table: pa.Table, used: Mapping[str, pa.Array]) -> pa.Table:
    """The table with only those categories that are in use."""
    for field in category_fields(table.schema):
        number = table.schema.get_field_index(field)
        chunks = [_pruned(chunk, used.get(field)) for chunk in table.column(number).chunks]
        column = pa.chunked_array(chunks, table.schema.field(number).type)
        table = table.set_column(number, table.schema.field(number), column)
    return table


def has_unused(table: pa.Table, used: Mapping[str, pa.Array]) -> bool:
    """Whether any column has a category that is not in use."""
    return any(
        not _in_use(chunk, used.get(field)).all()
        for field in category_fields(table.schema)
        for chunk in table.column(field).chunks
    )


def _in_use(chunk: pa.DictionaryArray, used: pa.Array | None) -> np.ndarray:
    if used is None:
        return np.zeros(len(chunk.dictionary), bool)
    return np.asarray(pc.is_in(chunk.dictionary, value_set=used.cast(chunk.dictionary.type)), bool)


def _pruned(chunk: pa.DictionaryArray, used: pa.Array | None) -> pa.DictionaryArray:
    stays = _in_use(chunk, used)
    if stays.all():
        return chunk
    code = np.cumsum(stays) - 1
    old = chunk.indices
    indices = pa.array(
        code[np.asarray(old.fill_null(0))] if len(stays) else np.zeros(len(old), np.int64),
        type=old.type,
        mask=np.asarray(old.is_null()),
    )
    return pa.DictionaryArray.from_arrays(
        indices, chunk.dictionary.filter(pa.array(stays)), ordered=chunk.type.ordered
    )
