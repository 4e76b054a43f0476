"""The maintenance part of the embedded store: check, compact, vacuum, backup, and which indexes there are."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput, VaultFormatError
from tablevault_pd.store import IndexInfo, Metric
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.blobs import NAMED, kept_path
from tablevault_pd.store.embedded.check import check
from tablevault_pd.store.embedded.check_records import records_unread
from tablevault_pd.store.embedded.compact import compact
from tablevault_pd.store.embedded.copies import INDEXES, KEYS, index_name, rows_named, size_of
from tablevault_pd.store.embedded.segments import SUFFIX
from tablevault_pd.store.embedded.strays import SEGMENT_FILES, scan
from tablevault_pd.store.embedded.vacuum import vacuum
from tablevault_pd.store.engine import cell_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tablevault_pd.store import Compacted, Freed, Problem, Progress, Version
    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.embedded.parts import VaultParts
    from tablevault_pd.store.pieces import Pieces


class MaintenanceTasks:
    """Looks after one vault folder."""

    def __init__(self, vault: VaultParts, check_folder: Callable[[Path], list[Problem]]) -> None:
        self._vault, self._check_folder = vault, check_folder

    def check(self, *, fix: bool = False, progress: Progress | None = None) -> list[Problem]:
        return check(self._vault, fix=fix, progress=progress)

    def records_unread(self) -> list[str]:
        return records_unread(self._vault.catalog)

    def compact(self, name: str | None = None, *, progress: Progress | None = None) -> list[Compacted]:
        return compact(self._vault, name, progress=progress)

    def vacuum(
        self, *, keep: int = 1, deleted: bool = False, dry_run: bool = True, progress: Progress | None = None
    ) -> list[Freed]:
        return vacuum(self._vault, keep=keep, deleted=deleted, dry_run=dry_run, progress=progress)

    def indexes(self) -> list[IndexInfo]:
        return indexes(self._vault)

    def back_up(self, folder: Path) -> list[Problem]:
        """Copy the vault to an empty folder, and check the copy."""
        back_up(self._vault, folder)
        return self._check_folder(folder)


# -- the backup


def back_up(vault: VaultParts, folder: Path) -> None:
    """Copy a vault to an empty folder. What the vault itself has lost is left out, and found by a check of the copy."""
    if folder.resolve().is_relative_to(vault.folder.resolve()):
        raise InvalidInput(f"{folder} lies inside of the vault. Choose a folder outside of it.")
    with io.naming(f"backing up to {folder}"):
        missing = _copy_state(vault, folder)
        while missing:
            before, missing = missing, _copy_state(vault, folder)
            if missing <= before:  # a later catalogue names them still, so no compaction took them
                break
        for place in (*folder.rglob("*"), folder):
            if place.is_dir():
                io.sync_folder(place)


def _copy_state(vault: VaultParts, folder: Path) -> set[Path]:
    """Copy the catalogue, then what it names, and return what of that is not there. What is copied already is left as it is."""
    named = _copy_catalog(vault.catalog, folder / "catalog.db")
    for path in (*folder.glob("segments/*"), *folder.glob("files/*/*")):
        if path.relative_to(folder) not in named:
            io.remove(path)  # the catalogue copied before named it
    return {path for path in named if not _copy_file(vault.folder / path, folder / path)}


def _copy_catalog(catalog: SqliteCatalog, target: Path) -> set[Path]:
    """Copy the catalogue, and return the files that it names, by their paths in a vault."""
    with catalog.reading() as db, closing(sqlite3.connect(target, isolation_level=None)) as copy:
        db.backup(copy)
        segments = [Path("segments", f"{name}{SUFFIX}") for (name,) in copy.execute(SEGMENT_FILES)]
        return {*segments, *(kept_path(Path("files"), sha256) for (sha256,) in copy.execute(NAMED))}


def _copy_file(source: Path, target: Path) -> bool:
    """Copy one file durably. Return whether it was there."""
    if target.exists():
        return True
    io.make_folder(target.parent, parents=True)
    try:
        io.require_regular(source)
        io.copy(source, target)
    except FileNotFoundError:
        return False
    return True


# -- what indexes there are


def indexes(vault: VaultParts) -> list[IndexInfo]:
    """Return every index of the newest versions of a vault folder, by list."""
    heads = [state.head for state in vault.versions.lists()]
    heads = [head for head in heads if not head.deleted and not head.gone]
    upto = vault.text.upto()
    report: list[IndexInfo] = []
    files = {path.name: path for path in scan(vault.folder / INDEXES)}
    keys = scan(vault.folder / KEYS)
    for head, pieces in zip(heads, vault.versions.pieces(heads), strict=True):
        schema = vault.schemas.schema(head.schema_id)
        if frames.text_columns(schema):
            ends = {generation: upto.get((head.list_id, generation), 0) for generation, _ in pieces.ends()}
            report.append(_info("text", head, None, None, _covered(pieces, ends), None, "text.db"))
        report += _vectors(vault, head, pieces, files)
        report += [_of_keys(head, path) for path in keys if path.name.startswith(f"{head.list_id}-")]
    return report


def _vectors(
    vault: VaultParts, head: Version, pieces: Pieces, files: Mapping[str, Path]
) -> Iterator[IndexInfo]:
    schema = vault.schemas.schema(head.schema_id)
    generations = [generation for generation, _ in pieces.ends()]
    with vault.catalog.reading() as db:
        rows = [rows_named(db, head.list_id, generation) for generation in generations]
    for column in frames.columns(schema):
        if column.kind != "embedding":
            continue
        kind = str(schema.field(column.field).type)
        for metric in get_args(Metric):
            names = [f"{head.list_id}-{index_name(of, column.field, kind, metric)}" for of in rows]
            there = {of: files[name] for of, name in zip(generations, names, strict=True) if name in files}
            if there:
                yield _of_vectors(head, pieces, str(column.label), metric, there)


def _of_vectors(
    head: Version, pieces: Pieces, column: str, metric: Metric, files: Mapping[int, Path]
) -> IndexInfo:
    """One index, of which each generation has a file."""
    upto, size, damaged = {}, 0, False
    for generation, path in files.items():
        try:
            with io.open_to_read(path) as file:
                data = file.read()
        except (OSError, VaultFormatError):
            data = b""  # removed meanwhile, or no file
        cells = cell_files.decode(data)
        size += len(data)
        damaged |= cells is None
        upto[generation] = 0 if cells is None else cells.upto
    covered = _covered(pieces, upto)
    return _info("vector", head, column, metric, covered, size, INDEXES, damaged=damaged)


def _of_keys(head: Version, path: Path) -> IndexInfo:
    return IndexInfo("keys", head.list, None, None, None, head.total, size_of(path), "kept", KEYS)


def _info(
    kind: str, head: Version, column: str | None, metric: str | None, covered: int, size: int | None, where: str,
    *, damaged: bool = False,
) -> IndexInfo:  # fmt: skip
    state = "damaged" if damaged else "complete" if covered == head.total else "behind"
    return IndexInfo(kind, head.list, column, metric, covered, head.total, size, state, where)


def _covered(pieces: Pieces, upto: Mapping[int, int]) -> int:
    """How many of the rows lie before these addresses of their generations."""
    ends = np.array([upto.get(generation, 0) for generation in pieces.generation.tolist()], np.int64)
    return int(np.maximum(np.minimum(pieces.stop, ends) - pieces.first, 0).sum())
