"""The formats that rows are exported in: how each is written, and what it makes of a column."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.reading.machine_output import write_csv, write_json_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

    import numpy as np

FORMATS = ("parquet", "arrow", "csv", "jsonl")
SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".csv": "csv",
             ".jsonl": "jsonl", ".ndjson": "jsonl"}  # fmt: skip
MEDIA_TYPES = {"parquet": "application/vnd.apache.parquet", "arrow": "application/vnd.apache.arrow.file", "csv": "text/csv",
               "jsonl": "application/jsonl", "json": "application/json"}  # fmt: skip
#: Codecs whose columns lose something in Parquet and Arrow, and in JSON Lines and CSV.
_NOT_IN_ARROW = frozenset(["period", "interval", "json"])
_IN_JSON = frozenset(["numpy", "masked", "string"])


def format_of(path: Path) -> str:
    """Return the format that the end of a file's name stands for. Raises InvalidInput."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        suffixes = ", ".join(SUFFIXES)
        raise InvalidInput(
            f"{short_repr(path.name)} does not say in which format to write. It may end in {suffixes}."
        )
    return kind


class RowWriter(Protocol):
    """Writes rows of a list to a file that is open."""

    def __call__(self, table: pa.Table, positions: range | np.ndarray) -> None:
        """Write encoded rows, which have these positions in the list."""


@contextmanager
def row_writer(path: Path, kind: str, schema: pa.Schema) -> Iterator[RowWriter]:
    """Open a file for rows of a list that are encoded as `schema` says."""
    if kind in ("csv", "jsonl"):
        with path.open("w", encoding="utf-8", newline="") as file:
            yield _text_writer(file, kind, schema)
        return
    plain = _file_schema(schema, kind)
    with arrow_writer(path, kind, plain) as writer:

        def write(table: pa.Table, positions: range | np.ndarray) -> None:
            rows = frames.to_arrow(table)
            writer.write_table(rows if rows.schema.equals(plain) else rows.cast(plain))

        yield write


def _file_schema(schema: pa.Schema, kind: str) -> pa.Schema:
    """Return the schema of a Parquet or Arrow file for rows that are encoded as `schema` says.

    An Arrow file has one dictionary for each column. Only a categorical column has the same one in all rows.
    """
    plain = frames.to_arrow(schema.empty_table()).schema
    if kind == "parquet":
        return plain
    stored = [*frames.index_fields(schema), *(column.field for column in frames.columns(schema))]
    varies = [frames.spec_of(schema.field(name))["codec"] != "category" for name in stored]
    return pa.schema(
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) and may_vary else field
        for field, may_vary in zip(plain, varies, strict=True)
    )


@contextmanager
def arrow_writer(path: Path, kind: str, schema: pa.Schema) -> Iterator[Any]:
    """Open a Parquet or Arrow file. Raises InvalidInput, with all columns that Parquet cannot hold."""
    if kind == "arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            yield writer
        return
    import pyarrow.parquet as pq

    refused = [field for field in schema if not _fits_parquet(field)]
    if refused:
        named = ", ".join(f"{short_repr(field.name)} ({field.type})" for field in refused)
        raise InvalidInput(
            f"Parquet cannot hold the columns {named}. Write an .arrow file, or leave them out with columns=."
        )
    with pq.ParquetWriter(path, schema) as writer:
        yield writer


def _fits_parquet(field: pa.Field) -> bool:
    import pyarrow.parquet as pq

    try:
        pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return False
    return True


def _text_writer(file: TextIO, kind: str, schema: pa.Schema) -> RowWriter:
    """Write frames of the rows: CSV with a header, JSON Lines with an object for each row; with an index if one was saved."""
    index = bool(frames.index_fields(schema))

    def write(table: pa.Table, positions: range | np.ndarray) -> None:
        frame = frames.decode([table], schema, positions=positions)
        if kind == "jsonl":
            write_json_lines([frame], file, index=index)
        else:
            write_csv([frame], file, index=index, header=False)

    if kind == "csv":
        write_csv([frames.decode([schema.empty_table()], schema, positions=range(0))], file, index=index)
    return write


def written(schema: pa.Schema, kind: str) -> list[tuple[Any, str, str, bool]]:
    """Return of each index level and column its label, dtype, what stands for it in the file, and whether that says it all."""
    plain = _file_schema(schema, kind)
    levels = [
        (field.name, name, frames.dtype_text(field, spec))
        for (field, spec), name in zip(frames.level_fields(schema), frames.index_names(schema), strict=False)
    ]
    columns = [(column.field, column.label, column.dtype) for column in frames.columns(schema)]
    rows = []
    for (field, label, dtype), name in zip([*levels, *columns], plain.names, strict=True):
        codec = frames.spec_of(schema.field(field))["codec"]
        if kind in ("parquet", "arrow"):
            rows.append((label, dtype, str(plain.field(name).type), codec not in _NOT_IN_ARROW))
        elif kind == "jsonl":
            rows.append((label, dtype, "json", codec in _IN_JSON))
        else:
            rows.append((label, dtype, "text", codec == "numpy"))
    return rows
