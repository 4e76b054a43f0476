"""Looking after a vault: the check that also looks at files outside of it, and the export for other programs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pandas as pd

from tablevault_pd import answers, filecells, frames, reading
from tablevault_pd.errors import InvalidInput, VaultCorrupt, VaultError, shown
from tablevault_pd.progress import Bar
from tablevault_pd.store import Problem, Severity, Store, Version

if TYPE_CHECKING:
    from tablevault_pd.vault import Vault

EXPORT_ROWS = 100_000  # a list is exported in pieces of so many rows


def check(store: Store, *, fix: bool) -> pd.DataFrame:
    """What is damaged or stray in the vault, then which files outside of it have changed since they were saved."""
    with Bar("checking", unit="parts") as bar:
        problems = store.check(fix=fix, progress=bar)
        for state in store.lists():
            if not state.head.deleted and not state.head.gone:
                problems += _changed_files(store, state.head)
    return answers.checked(problems)


def _changed_files(store: Store, version: Version) -> list[Problem]:
    found = []
    for column in frames.columns(store.schema(version.schema_id)):
        if column.kind != "file":
            continue
        try:
            cells = [(position, kept) for _, position, kept in answers.file_cells(store, [(version, column)])]
        except VaultError:
            continue  # its rows are damaged, which the store has reported
        for position, path, detail, certain in filecells.changes(cells):
            what = f"file {'changed' if certain else 'not checked'} (row {position}, column {column.label!r})"
            severity: Severity = "damage" if certain else "unchecked"
            found.append(Problem(severity, what, version.list, version.version, path, detail))
    return found


def open_file(store: Store, sha256: str) -> BinaryIO:
    """The content of a kept file. What is damaged is told by the rows it belongs to."""
    try:
        return store.open_file(sha256)
    except VaultCorrupt as error:
        rows = _rows_with_file(store, sha256)
        if not rows:
            raise
        raise VaultCorrupt(f"{error} It belongs to {', '.join(rows[:5])}.") from error


def _rows_with_file(store: Store, sha256: str) -> list[str]:
    heads = [state.head for state in store.lists() if not state.head.deleted and not state.head.gone]
    files = answers.files(store, heads)
    files = files[files["sha256"] == sha256]
    named = files[["list", "position", "path"]].itertuples(index=False)
    return [f"{name}[{position}] ({shown(path)})" for name, position, path in named]


def export(vault: Vault, folder: Path, kind: str) -> pd.DataFrame:
    """Write every list into `folder`, with an index of which list is in which file."""
    if kind not in ("parquet", "csv", "jsonl"):
        raise InvalidInput(f"format= is 'parquet', 'csv' or 'jsonl', not {shown(kind)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} is not an empty folder. Choose a new one; nothing was written.")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    heads = [state.head for state in vault.store.lists() if not state.head.deleted]
    with Bar("exporting", total=sum(head.total for head in heads), unit="rows") as bar:
        for number, head in enumerate(heads):
            name = f"{number:03d}-{_plain(head.list)}.{kind}"
            _export_list(vault.store, head, folder / name, kind)
            bar(head.total)
            rows.append((head.list, head.version, head.total, name))
    reports = {
        "lists": vault.lists(),
        "versions": vault.versions(),
        "sessions": vault.sessions(),
        "descriptions": vault.descriptions(),
    }
    for name, frame in reports.items():
        frame.to_json(folder / f"{name}.json", orient="records", date_format="iso", indent=1)
    index = answers.answer(("list", "version", "rows", "file"), rows)
    index.to_csv(folder / "index.csv", index=False)
    return index


def _plain(name: str) -> str:
    """A file name that hints at the list; the number before it is what tells lists apart."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:60].strip("_") or "list"


def _export_list(store: Store, version: Version, path: Path, kind: str) -> None:
    if kind == "parquet":
        _export_parquet(store, version, path)
        return
    for first in range(0, max(version.total, 1), EXPORT_ROWS):
        frame = reading.read(store, version, start=first, stop=first + EXPORT_ROWS)
        if kind == "csv":
            frame.to_csv(path, mode="a", header=first == 0)
        else:
            _unindexed(frame).to_json(path, orient="records", lines=True, date_format="iso", mode="a")


def _unindexed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.reset_index(drop=frame.index.name == "position")


def _export_parquet(store: Store, version: Version, path: Path) -> None:
    import pyarrow.parquet as pq

    reader = reading.arrow_batches(store, version)
    with pq.ParquetWriter(path, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
