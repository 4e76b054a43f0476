"""Rows as Arrow payloads: documents of ``tv_payloads``, fetched by key.

The rows of a part are cut into row groups: those of the scalar columns together, and those of each vector, document, file or
large column by itself, so that a few rows do not bring large cells that nobody asked for. The key of a payload is that of its
batch, the number of its first row in base 36, and that of its column. The payload of scalar columns has their zone map.

Categories are kept once under the hash of their content, in ``tv_dictionaries``; the payloads hold their codes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store.arango.columns import StoredColumn, cell_keys, columns_of, row_keys
from tablevault_pd.store.arango.layout import FILES, RECORDS
from tablevault_pd.store.arango.records import to_text
from tablevault_pd.store.engine.payloads import checksum_of, decode, encode, is_dictionary, seed_of
from tablevault_pd.store.engine.zones import LARGE_CELL, zone_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALARS = -1  # in the place of a column's number: all scalar columns together
GROUP_ROWS = 1 << 16
# of a row group, so that ten rows from anywhere stay below 1 MB
SCALAR_BYTES, CELL_BYTES = 128 << 10, 48 << 10
LARGE_COLUMN = 1024  # bytes from which on a column of large cells is stored by itself
_CODEC = pa.Codec("zstd")

Groups = Mapping[int, int]  #: rows in each payload, by column


def groups_of(table: pa.Table) -> Groups:
    """How the rows of one part of a batch are cut into payloads."""
    sizes: dict[int, int] = {}
    for column in columns_of(table.schema):
        size = _nbytes(table.column(column.field))
        place = column.field if _is_alone(column, size, table.num_rows) else SCALARS
        sizes[place] = sizes.get(place, 0) + size
    return {place: _group_rows(place, size, table.num_rows) for place, size in sizes.items()}


def place_of(column: StoredColumn, groups: Groups) -> int:
    """Which payloads hold a column."""
    return column.field if column.field in groups else SCALARS


def _nbytes(column: pa.ChunkedArray) -> int:
    """Bytes of the rows; those of categories are stored elsewhere."""
    if pa.types.is_dictionary(column.type):
        return sum(chunk.indices.nbytes for chunk in column.chunks)
    return int(column.nbytes)


def _is_alone(column: StoredColumn, size: int, rows: int) -> bool:
    if column.collection == FILES:
        return True
    heavy = column.collection != RECORDS or pa.types.is_nested(column.kind) or size > LARGE_CELL * rows
    return heavy and size >= LARGE_COLUMN


def _group_rows(place: int, size: int, rows: int) -> int:
    most = SCALAR_BYTES if place == SCALARS else CELL_BYTES
    return min(GROUP_ROWS, max(1, rows * most // max(1, size)))


# ---------------------------------------------------------------- rows to documents


def documents(
    table: pa.Table, groups: Groups, batch: str, first_row: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The payloads of the rows of a part that begins with the row `first_row` of a batch, each with its column."""
    seed = seed_of(table.schema.serialize())
    columns = columns_of(table.schema)
    for place, group_rows in groups.items():
        names = [column for column in columns if place_of(column, groups) == place]
        some = coded(table.select([column.field for column in names]))
        rows = range(first_row, first_row + table.num_rows, group_rows)
        keys = keys_of(batch, rows, place)
        for at, key in zip(range(0, table.num_rows, group_rows), keys, strict=True):
            piece = some.slice(at, group_rows)
            document = {"_key": key, "batch": batch, "row": first_row + at, "column": place}
            yield (
                place,
                document | _encoded(piece, seed, place) | _told(table.slice(at, group_rows), names, place),
            )


def keys_of(batch: str, rows: range, place: int) -> list[str]:
    """The keys of the payloads of a column that begin with these rows."""
    return row_keys(batch, rows) if place == SCALARS else cell_keys(batch, rows, place)


def coded(table: pa.Table) -> pa.Table:
    """The table with the codes of its categories in their place."""
    for number, field in enumerate(table.schema):
        if is_shared(field.type):
            codes = pa.chunked_array(
                [chunk.indices for chunk in table.column(number).chunks], field.type.index_type
            )
            table = table.set_column(number, field.with_type(field.type.index_type), codes)
    return table


def coded_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of what :func:`coded` returns."""
    for number, field in enumerate(schema):
        if is_shared(field.type):
            schema = schema.set(number, field.with_type(field.type.index_type))
    return schema


def is_shared(kind: pa.DataType) -> bool:
    """Whether the values of a categorical column are stored apart from its codes."""
    return bool(pa.types.is_dictionary(kind)) and not is_dictionary(kind.value_type)


def _encoded(table: pa.Table, seed: int, place: int) -> dict[str, Any]:
    codec, message = encode(table)
    data = _CODEC.compress(message, asbytes=True)
    return {
        "rows": table.num_rows,
        "codec": codec,
        "bytes": message.size,
        "checksum": str(checksum_of(data, seed ^ (place + 1))),
        "data": to_text(data),
    }


def _told(table: pa.Table, columns: list[StoredColumn], place: int) -> dict[str, Any]:
    """What the server is told of the rows: zones of scalar columns, and the kept files that a file column names."""
    if place == SCALARS:
        zones = [(column.field, zone_of(table.column(column.field))) for column in columns]
        return {"zones": [[field, *zone] for field, zone in zones if zone is not None]}
    [column] = columns
    files = kept_files(table.column(place)) if column.collection == FILES else []
    return {"files": files, "named": True} if files else {}


def kept_files(column: pa.ChunkedArray) -> list[str]:
    """The SHA-256 of each file of a file column whose content is kept in the vault."""
    if not pa.types.is_struct(column.type) or column.type.get_field_index("stored") < 0:
        return []
    stored = pc.struct_field(column, "stored")
    digests: list[str] = pc.struct_field(column, "sha256").filter(stored).unique().drop_null().to_pylist()
    return digests


# ---------------------------------------------------------------- documents to rows


def decoded(document: Mapping[str, Any], schema: pa.Schema, seed: int, place: int) -> pa.Table:
    """The rows of a payload. Raises ValueError (also as pa.ArrowException) if it is not what was written."""
    data = base64.b64decode(document["data"], validate=True)
    if str(checksum_of(data, seed ^ (place + 1))) != document["checksum"]:
        raise ValueError(f"tv_payloads/{document['key']} does not match its checksum")
    message = _CODEC.decompress(data, decompressed_size=document["bytes"])
    return decode(document["codec"], message, schema)


# ---------------------------------------------------------------- categories


def dictionary_documents(values: pa.Array, chunk_bytes: int) -> tuple[str, list[dict[str, Any]]]:
    """The digest of the values of a categorical column, and the documents that hold them."""
    table = pa.table({"values": values})
    digest = sha256(encode(table)[1].to_pybytes() + table.schema.serialize().to_pybytes()).hexdigest()[:32]
    per_chunk = max(1, len(values) * chunk_bytes // max(1, values.nbytes))
    chunks = [table.slice(at, per_chunk) for at in range(0, len(values), per_chunk)] or [table]
    seed = seed_of(table.schema.serialize())
    return digest, [
        {"_key": f"{digest}-{n}", "digest": digest, "n": n} | _encoded(chunk, seed, SCALARS)
        for n, chunk in enumerate(chunks)
    ]


def dictionary_of(documents: list[Mapping[str, Any]], kind: pa.DataType, size: int, where: str) -> pa.Array:
    """The values of a categorical column. Raises VaultCorrupt."""
    schema = pa.schema([("values", kind)])
    seed = seed_of(schema.serialize())
    try:
        parts = [decoded(document, schema, seed, SCALARS) for document in documents]
    except (ValueError, pa.ArrowException) as error:
        raise VaultCorrupt(
            f"The categories of {where} are damaged: {error}. Restore the database from a backup."
        ) from error
    values = pa.concat_tables([schema.empty_table(), *parts]).column(0).combine_chunks()
    if len(values) != size:
        raise VaultCorrupt(
            f"{where} lacks categories in tv_dictionaries. Restore the database from a backup."
        )
    return values
