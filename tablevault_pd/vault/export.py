"""The export: a vault as a folder of files that other programs read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.errors import InvalidInput
from tablevault_pd.lineage.graph import graph
from tablevault_pd.lineage.of_rows import asked_rows
from tablevault_pd.lineage.report import lines
from tablevault_pd.progress import Bar
from tablevault_pd.reading import read as reading
from tablevault_pd.reading import reports
from tablevault_pd.reading.machine_output import write_json, write_json_lines
from tablevault_pd.search.sessions import sessions as all_sessions
from tablevault_pd.session.lookup import SessionFilter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    import pyarrow.parquet as pq

    from tablevault_pd.store import Store, Version

EXPORT_ROWS = 100_000  # rows of a list that are written at a time
SESSIONS_AT_ONCE = 100  # sessions whose metrics are read at a time

METRICS = pa.schema(
    {
        "session": pa.string(),
        "metric": pa.string(),
        "step": pa.int64(),
        "time": pa.timestamp("us", "UTC"),
        "value": pa.float64(),
    }
)
LINEAGE = pa.schema(
    {
        "list": pa.string(),
        "version": pa.int64(),
        "position": pa.int64(),
        "parent_list": pa.string(),
        "parent_version": pa.int64(),
        "parent_position": pa.int64(),
        "basis": pa.string(),
    }
)


def export(store: Store, folder: Path, kind: str) -> pd.DataFrame:
    """Write every list, and the frames about them, into `folder`. Return which list is in which file."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} is not an empty folder. Choose a new one; nothing was written.")
    folder.mkdir(parents=True, exist_ok=True)
    heads = [state.head for state in store.lists() if not state.head.deleted]
    rows = []
    with Bar("exporting", total=sum(head.total for head in heads), unit="rows") as bar:
        for number, head in enumerate(heads):
            name = f"{number:03d}-{_plain(head.list)}.{kind}"
            _export_list(store, head, folder / name, kind)
            bar(head.total)
            rows.append((head.list, head.version, head.total, name))
    _export_reports(store, folder)
    _write(folder / f"metrics.{kind}", kind, METRICS, _metrics(store))
    _write(folder / f"lineage.{kind}", kind, LINEAGE, _lineage(store, heads))
    index = reports.answer(("list", "version", "rows", "file"), rows)
    index.to_csv(folder / "index.csv", index=False)
    return index


def _plain(name: str) -> str:
    """Return a file name with the name of the list, made unique by a number."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:60].strip("_") or "list"


def _export_reports(store: Store, folder: Path) -> None:
    sessions = store.sessions()
    frames = {
        "lists": reports.lists(store, deleted=False),
        "versions": reports.versions(store, None),
        "sessions": all_sessions(store, None, SessionFilter(), info=True).reset_index(drop=True),
        "cells": reports.cells(store, None),
        "sources": reports.sources(store, sessions),
        "descriptions": reports.descriptions(store, history=False),
        "graph": pd.DataFrame(graph(store, None)),
    }
    for name, frame in frames.items():
        with (folder / f"{name}.json").open("w", encoding="utf-8", errors="backslashreplace") as file:
            write_json([frame], file)


def _metrics(store: Store) -> Iterator[pd.DataFrame]:
    """Yield all logged values, some sessions at a time."""
    sessions = store.sessions()
    for first in range(0, len(sessions), SESSIONS_AT_ONCE):
        yield reports.curves(store, sessions[first : first + SESSIONS_AT_ONCE])


def _lineage(store: Store, heads: list[Version]) -> Iterator[pd.DataFrame]:
    """Yield the direct parents of every row that is exported."""
    for head in heads:
        for first in range(0, head.total, EXPORT_ROWS):
            positions = np.arange(first, min(first + EXPORT_ROWS, head.total))
            edges = lines(store, asked_rows(head, positions), direction="up", depth=1)
            yield edges.assign(version=head.version)


def _write(path: Path, kind: str, schema: pa.Schema, frames: Iterator[pd.DataFrame]) -> None:
    """Write frames one after the other into one file, with the columns of `schema`."""
    with _Writer(path, kind, schema) as writer:
        for frame in frames:
            writer.write(frame[schema.names])


class _Writer:
    """Writes rows to a file in one of the formats. Without rows it still has columns, if the format can hold them."""

    def __init__(self, path: Path, kind: str, schema: pa.Schema) -> None:
        self._path, self._kind, self._schema = path, kind, schema
        self._parquet: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        if self._kind == "parquet":
            import pyarrow.parquet as pq

            self._parquet = pq.ParquetWriter(self._path, self._schema)
        elif self._kind == "csv":
            pd.DataFrame(columns=self._schema.names).to_csv(self._path, index=False)
        else:
            self._path.touch()
        return self

    def write(self, frame: pd.DataFrame) -> None:
        """Write more rows."""
        if self._parquet is not None:
            self._parquet.write_table(pa.Table.from_pandas(frame, self._schema, preserve_index=False))
        elif self._kind == "csv":
            frame.to_csv(self._path, mode="a", header=False, index=False)
        else:
            _append_lines(self._path, frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._parquet is not None:
            self._parquet.close()


def _export_list(store: Store, version: Version, path: Path, kind: str) -> None:
    if kind == "parquet":
        _export_parquet(store, version, path)
        return
    for first in range(0, max(version.total, 1), EXPORT_ROWS):
        frame = reading.read(store, version, start=first, stop=first + EXPORT_ROWS)
        if kind == "csv":
            frame.to_csv(path, mode="a", header=first == 0)
        else:
            _append_lines(path, frame, index=list(frame.index.names) != ["position"])


def _append_lines(path: Path, frame: pd.DataFrame, *, index: bool = False) -> None:
    with path.open("a", encoding="utf-8") as file:
        write_json_lines([frame], file, index=index)


def _export_parquet(store: Store, version: Version, path: Path) -> None:
    import pyarrow.parquet as pq

    reader = reading.arrow_batches(store, version)
    with pq.ParquetWriter(path, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
