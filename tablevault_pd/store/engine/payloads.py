"""Rows as Arrow IPC messages: the encoding of both stores, with its checksum."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from tablevault_pd.errors import VaultFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}


def seed_of(schema: bytes) -> int:
    """The seed of the checksums of all payloads with this serialized schema.

    A payload that the catalogue pairs with another schema than it was written with does not match its checksum.
    """
    return xxhash.xxh3_64_intdigest(schema)


def checksum_of(data: Any, seed: int) -> int:
    """XXH3 of a payload, as the signed integer that SQLite can hold."""
    return signed(xxhash.xxh3_64_intdigest(data, seed))


def signed(number: int) -> int:
    """An unsigned integer of 64 bits as the signed one of the same bits."""
    return number - (1 << 64) if number >> 63 else number


@lru_cache(maxsize=1024)
def _has_dictionary(serialized: bytes) -> bool:
    return any(is_dictionary(field.type) for field in pa.ipc.read_schema(pa.py_buffer(serialized)))


def has_dictionary(schema: pa.Schema) -> bool:
    """Whether a column keeps its values in a dictionary, which a bare record batch message does not carry."""
    return _has_dictionary(schema.serialize().to_pybytes())


def is_dictionary(kind: pa.DataType) -> bool:
    """Whether a type, or one inside of it, keeps its values in a dictionary."""
    if pa.types.is_dictionary(kind):
        return True
    return any(is_dictionary(kind.field(i).type) for i in range(kind.num_fields))


def joined(tables: list[pa.Table]) -> list[pa.Table]:
    """Neighbours of one schema as one table, so that a stream of small pieces makes one part."""
    groups: list[list[pa.Table]] = []
    for table in tables:
        if groups and groups[-1][0].schema.equals(table.schema, check_metadata=True):
            groups[-1].append(table)
        else:
            groups.append([table])
    return [group[0] if len(group) == 1 else pa.concat_tables(group) for group in groups]


def one_batch(table: pa.Table, *, dictionary: bool | None = None) -> pa.RecordBatch:
    """The table as a single record batch: one contiguous run per column. `dictionary`: what :func:`has_dictionary` says."""
    if has_dictionary(table.schema) if dictionary is None else dictionary:
        table = table.unify_dictionaries()
    batches = table.combine_chunks().to_batches()
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return pa.RecordBatch.from_arrays(
            [column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in table.columns],
            schema=table.schema,
        )
    raise VaultFormatError("a column is too large for one Arrow array; save it in several appends")


def encode(table: pa.Table, schema: bytes | None = None) -> tuple[str, pa.Buffer]:
    """The rows of `table` as bytes, and how: ``batch`` is a message without its schema, ``stream`` has schema and dictionaries.

    `schema` is that of the table, serialized.
    """
    dictionary = has_dictionary(table.schema) if schema is None else _has_dictionary(schema)
    batch = one_batch(table, dictionary=dictionary)
    if not dictionary:
        return "batch", batch.serialize()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_batch(batch)
    return "stream", sink.getvalue()


def decode(codec: str, data: pa.Buffer, schema: pa.Schema) -> pa.Table:
    """The rows that :func:`encode` made bytes of, under the same schema."""
    batches = [pa.ipc.read_record_batch(data, schema)] if codec == "batch" else pa.ipc.open_stream(data)
    table = pa.Table.from_batches([as_large(batch, data.size) for batch in batches])
    require_schema(table.schema, schema)
    require_sound(table)
    return table


def require_schema(schema: pa.Schema, expected: pa.Schema) -> None:
    """Refuse rows with other columns than the catalogue says. Raises ValueError."""
    if not schema.equals(expected, check_metadata=True):
        raise ValueError("they have other columns than the catalogue says")


def require_sound(table: pa.Table, *, texts: bool = True) -> None:
    """Refuse lengths, offsets and codes that lead out of their buffers, which Arrow follows without a look. Raises ArrowInvalid.

    Without `texts` the bytes of texts are not looked at, which takes less time than their checksum did.
    """
    table.validate(full=texts)
    for column in () if texts else table.columns:
        for chunk in column.chunks:
            plain = _PLAIN.get(chunk.type)
            (chunk if plain is None else chunk.view(plain)).validate(full=True)


def as_large(batch: pa.RecordBatch, size: int) -> pa.RecordBatch:
    """Refuse rows that are larger than their bytes: no release compresses them, and somebody's may take all memory."""
    batch.validate()
    if batch.nbytes > 2 * size + 4096:
        raise ValueError("they are compressed")
    return batch


def decode_batches(messages: Sequence[bytes], schema: pa.Schema) -> pa.Table:
    """The rows of several payloads of the codec ``batch`` under one schema, one after the other, in memory of their own.

    They are read as one stream: by themselves, each would cost as much as thousands of rows.
    """
    table = _decode_alike(messages, schema)
    if table is None:
        stream = pa.py_buffer(b"".join([schema.serialize(), *messages]))
        table = pa.ipc.open_stream(stream).read_all()
    require_schema(table.schema, schema)
    require_sound(table)
    return table.combine_chunks()


def _decode_alike(messages: Sequence[bytes], schema: pa.Schema) -> pa.Table | None:
    """The same for messages that differ in values alone: each column is cut out of all of them at once. None for others.

    Such are rows appended a few at a time, with numbers in all columns and none of them missing.
    """
    size = len(messages[0])
    if any(len(message) != size for message in messages) or not all(map(_is_of_bytes, schema.types)):
        return None
    buffer = pa.py_buffer(messages[0])
    first = pa.ipc.read_record_batch(buffer, schema)
    first.validate()
    body = 8 + int.from_bytes(messages[0][4:8], "little")  # after the description, whose size stands there
    joined = np.frombuffer(b"".join(messages), np.uint8).reshape(len(messages), size)
    if (joined[:, :body] != joined[0, :body]).any() or any(column.null_count for column in first.columns):
        return None
    columns = []
    for column in first.columns:
        start = column.buffers()[1].address - buffer.address
        stop = start + len(column) * column.type.bit_width // 8
        if not body <= start <= stop <= size:  # compressed: its values are elsewhere
            return None
        values = pa.py_buffer(joined[:, start:stop].copy())
        columns.append(pa.Array.from_buffers(column.type, len(column) * len(messages), [None, values]))
    return pa.Table.from_arrays(columns, schema=schema)


def _is_of_bytes(kind: pa.DataType) -> bool:
    """Whether the cells of a type are as many bytes each, and nothing else."""
    return bool(pa.types.is_primitive(kind)) and kind.bit_width % 8 == 0
