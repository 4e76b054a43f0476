"""The export: a vault as a folder of files that other programs read."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from tablevault_pd.errors import InvalidInput
from tablevault_pd.lineage.graph import graph
from tablevault_pd.lineage.of_rows import rows_to_trace
from tablevault_pd.lineage.report import lines
from tablevault_pd.new_files import naming
from tablevault_pd.reading import reports
from tablevault_pd.reading.machine_output import write_csv, write_json, write_json_lines
from tablevault_pd.reading.read import positions_shown
from tablevault_pd.search.sessions import sessions as all_sessions
from tablevault_pd.session.lookup import SessionFilter
from tablevault_pd.transfer.formats import arrow_writer
from tablevault_pd.transfer.list_file import ROW_GROUP, export_list
from tablevault_pd.transfer.manifest import write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tablevault_pd.store import Store, Version

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
    heads = [state.head for state in store.lists() if not state.head.deleted]
    rows = []
    with naming(f"exporting to {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        for number, head in enumerate(heads):
            name = f"{number:03d}-{_plain(head.list)}.{kind}"
            export_list(store, head, folder / name, kind)
            rows.append((head.list, head.version, head.shown, name))
        _export_reports(store, folder)
        _write(folder / f"metrics.{kind}", kind, METRICS, _metrics(store))
        _write(folder / f"lineage.{kind}", kind, LINEAGE, _lineage(store, heads))
        index = reports.answer(("list", "version", "rows", "file"), rows)
        index.to_csv(folder / "index.csv", index=False)
        write_manifest(store, folder, {name: head for (*_, name), head in zip(rows, heads, strict=True)})
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
        shown = positions_shown(store, head)
        for first in range(0, head.total, ROW_GROUP):
            positions = shown[(shown >= first) & (shown < first + ROW_GROUP)]
            edges = lines(store, rows_to_trace(head, positions), direction="up", depth=1)
            yield edges.assign(version=head.version)


def _write(path: Path, kind: str, schema: pa.Schema, frames: Iterator[pd.DataFrame]) -> None:
    """Write frames one after the other into one file, with the columns of `schema`, which it has without rows, too."""
    if kind in ("parquet", "arrow"):
        with arrow_writer(path, kind, schema) as writer:
            for frame in frames:
                writer.write_table(pa.Table.from_pandas(frame[schema.names], schema, preserve_index=False))
        return
    parts = (frame[schema.names] for frame in frames)
    with path.open("w", encoding="utf-8", newline="") as file:
        if kind == "jsonl":
            write_json_lines(parts, file)
        else:
            write_csv(itertools.chain([pd.DataFrame(columns=schema.names)], parts), file)
