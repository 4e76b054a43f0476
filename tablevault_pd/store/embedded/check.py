"""Check a vault folder: what is damaged, lost or stray.

Others may commit, compact and vacuum meanwhile. So what seems damaged is looked up again before it is reported: it may have
been replaced.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tablevault_pd.errors import StorageError, VaultCorrupt, VaultError
from tablevault_pd.store import Problem, Progress, Version
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.blobs import kept_path, lock_of_saves
from tablevault_pd.store.embedded.check_records import (
    WRONG_TYPE,
    damaged_copies,
    missing_versions,
    unreadable_records,
)
from tablevault_pd.store.embedded.claims import check_claims
from tablevault_pd.store.embedded.edges import damaged_edges
from tablevault_pd.store.embedded.segments import SUFFIX, Payload, segment_path, unpack
from tablevault_pd.store.embedded.strays import strays
from tablevault_pd.store.embedded.versions import ALL_VERSIONS, VERSIONS_OF, erased_rows, version_of
from tablevault_pd.store.engine import int_codec
from tablevault_pd.store.engine.content_rules import wrong_erased, wrong_numbers, wrong_total
from tablevault_pd.store.engine.hashing import sha256_of_file
from tablevault_pd.store.engine.zones import is_true_of
from tablevault_pd.store.pieces import EMPTY, Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection

    from tablevault_pd.store.embedded.parts import VaultParts

SEGMENT_IDS = "SELECT id FROM segments ORDER BY list, generation, start, rows"
# With the version that wrote its first row.
ONE_SEGMENT = """
SELECT l.name, coalesce((SELECT b.version FROM batches b WHERE b.list = s.list AND b.generation = s.generation
                         AND b.start <= s.start AND b.rows > 0 ORDER BY b.start DESC LIMIT 1), s.generation),
    s.rows, s.schema, s.codec, s.file, s.size, s.checksum, s.data, s.zones
FROM segments s JOIN lists l ON l.id = s.list WHERE s.id = ?
"""
SPANS = "SELECT list, generation, start, start + rows FROM segments WHERE rows > 0 ORDER BY list, generation, start"
FORGET_ZONES = "UPDATE segments SET zones = NULL WHERE id = ?"
# Each file with one list and version that use it, if any does.
KEPT_FILES = """
SELECT f.sha256, f.size, (SELECT l.name FROM lists l WHERE l.id = u.list), u.version
FROM files f LEFT JOIN file_uses u ON u.sha256 = f.sha256 GROUP BY f.sha256
"""
KEPT_FILE = """
SELECT f.sha256, f.size, (SELECT l.name FROM lists l WHERE l.id = u.list), u.version
FROM files f LEFT JOIN file_uses u ON u.sha256 = f.sha256 WHERE f.sha256 = ? LIMIT 1
"""
LISTS = """
SELECT id, name FROM lists WHERE id IN (
    SELECT list FROM erased UNION SELECT list FROM segments WHERE erased IS NOT NULL
    UNION SELECT list FROM batches WHERE erased > 0
) ORDER BY name
"""
SEGMENTS = "SELECT generation, start, start + rows, erased FROM segments WHERE list = ? AND rows > 0"


def check(vault: VaultParts, *, fix: bool, progress: Progress | None) -> list[Problem]:
    """Everything that is damaged, stray or could not be examined, in that order."""
    vault.versions.forget_layouts()  # what is checked is what is stored
    problems = list(_catalogue(vault))
    problems += unreadable_records(vault)
    if not any(problem.what == WRONG_TYPE for problem in problems):  # which nothing could be compared with
        problems += _all_else(vault, progress, fix=fix)
    return sorted(problems, key=lambda problem: problem.severity)


def _all_else(vault: VaultParts, progress: Progress | None, *, fix: bool) -> Iterator[Problem]:
    yield from _lost(vault, fix=fix)
    yield from _segments(vault, progress, fix=fix)
    yield from _coverage(vault)
    yield from damaged_erasures(vault)
    yield from missing_versions(vault, fix=fix)
    yield from damaged_edges(vault.catalog)
    yield from _kept(vault)
    yield from check_claims(vault.catalog, fix=fix)
    yield from _text_index(vault, fix=fix)
    yield from damaged_copies(vault, fix=fix)
    yield from _strays(vault, fix=fix)


def _catalogue(vault: VaultParts) -> Iterator[Problem]:
    with vault.catalog.reading() as db:
        try:
            for (line,) in db.execute("PRAGMA integrity_check").fetchall():
                if line != "ok":
                    yield Problem("damage", "catalogue", path="catalog.db", detail=str(line))
            for table, row, parent, _ in db.execute("PRAGMA foreign_key_check").fetchall():
                yield Problem(
                    "damage",
                    "catalogue",
                    path="catalog.db",
                    detail=f"{table} row {row} points at a missing {parent}",
                )
        except sqlite3.DatabaseError as error:
            yield Problem("damage", "catalogue", path="catalog.db", detail=str(error))


def _lost(vault: VaultParts, *, fix: bool) -> Iterator[Problem]:
    """Commits that left a mark outside of the catalogue and its log, and are in neither. With `fix`, for the last time."""
    lost = vault.journal.lost(vault.catalog).not_settled()
    if fix:
        vault.journal.settle(vault.catalog, lost)
    for name, first, last, rows in lost.runs():
        versions = f"version {first}" if first == last else f"versions {first} to {last}"
        yield Problem(
            "damage", "commits lost", name, first, "catalog.db-wal",
            f"{versions}, {rows} rows: the write-ahead log was cut, damaged or removed, or an older catalogue put back",
            fix,
        )  # fmt: skip
    for entry in lost.entries:
        for file in entry.files:
            path = kept_path(vault.files, file) if len(file) == 64 else segment_path(vault.segments, file)
            if path.exists():
                detail = "it stays where it is; pyarrow.ipc.open_file reads the rows of a segment"
                shown = path.relative_to(vault.folder).as_posix()
                yield Problem(
                    "damage", "content of a lost commit", entry.list, entry.version, shown, detail, fix
                )


def _segments(vault: VaultParts, progress: Progress | None, *, fix: bool) -> Iterator[Problem]:
    """Read every payload against its checksum, and decode it. Those that compaction makes meanwhile come last."""
    checked: set[int] = set()
    while True:
        with vault.catalog.reading() as db:
            keys = [key for (key,) in db.execute(SEGMENT_IDS).fetchall() if key not in checked]
        if not keys:
            return
        for key in keys:
            checked.add(key)
            row = _segment(vault, key)
            problem = None if row is None else _damage(vault, row)
            if problem is not None and _segment(vault, key) is not None:
                if fix and problem.what == "zone map":  # rows are read without it as well
                    vault.catalog.write(_forget_zones, key)
                    problem = replace(problem, fixed=True)
                yield problem
            if progress:
                progress(1)


def _forget_zones(db: sqlite3.Connection, key: int) -> None:
    db.execute(FORGET_ZONES, (key,))


def _segment(vault: VaultParts, key: int) -> tuple[Any, ...] | None:
    with vault.catalog.reading() as db:
        row: tuple[Any, ...] | None = db.execute(ONE_SEGMENT, (key,)).fetchone()
        return row


def _damage(vault: VaultParts, row: tuple[Any, ...]) -> Problem | None:
    """What is wrong with a segment, a row of the statement above."""
    name, version, count, schema_id, codec, file, size, checksum, data, zones = row
    where = f"{name}@{version}"
    path = f"segments/{file}{SUFFIX}" if file else "catalog.db"
    try:
        schema, seed = vault.schemas.schema(schema_id), vault.schemas.seed(schema_id)
        part = Payload(count, schema, seed, codec, size, checksum, data, file)
        table = unpack(part, vault.segments, None, where, again=True)[0]
        if table.num_rows != count:
            raise VaultCorrupt(f"{table.num_rows} rows where {count} were committed")
    except FileNotFoundError:
        return Problem("damage", "missing segment", name, version, path, f"{count} rows")
    except StorageError as error:
        return Problem("unchecked", "segment not read", name, version, path, str(error))
    except (VaultError, pa.ArrowException) as error:
        return Problem("damage", "damaged segment", name, version, path, str(error))
    if zones is None or _is_zone_map(zones, table):
        return None
    detail = "filters would leave rows out by it; check(fix=True) removes it, and rows are read without"
    return Problem("damage", "zone map", name, version, "catalog.db", detail)


def _is_zone_map(zones: str, table: pa.Table) -> bool:
    try:
        return is_true_of(json.loads(zones), table)
    except ValueError:
        return False


def _segments_and_versions(db: sqlite3.Connection) -> tuple[list[Any], list[Version]]:
    versions = [version_of(row) for row in db.execute(ALL_VERSIONS).fetchall()]
    return db.execute(SPANS).fetchall(), versions


def _coverage(vault: VaultParts) -> Iterator[Problem]:
    """All that a version shows must be there. What is missing is reported for the first version that shows it."""
    segments, versions = vault.catalog.snapshot(_segments_and_versions)
    stored = {
        list_id: Pieces.of(row[1:] for row in rows) for list_id, rows in groupby(segments, key=itemgetter(0))
    }
    totals: dict[tuple[int, int | None], int] = {}  # rows before the tail, by layout
    for version in versions:
        if version.gone:
            continue
        shown, layout = version.tail, (version.list_id, version.layout)
        try:
            if layout not in totals:
                [shown] = vault.versions.pieces([version])
                totals[layout] = shown.total - version.tail.total
        except VaultCorrupt as error:
            yield Problem(
                "damage", "damaged content", version.list, version.version, "catalog.db", str(error)
            )
        rows = totals.setdefault(layout, version.total - version.tail.total) + version.tail.total
        detail = wrong_total(version, rows)
        if detail:
            yield Problem("damage", "damaged version", version.list, version.version, "catalog.db", detail)
        there = stored.get(version.list_id, EMPTY)
        lacking = shown.take(*shown.lacking(there))
        if len(lacking):
            yield Problem(
                "damage",
                "missing rows",
                version.list,
                version.version,
                detail=f"{lacking.total} of {version.total} rows",
            )
            stored[version.list_id] = there + lacking


def _kept(vault: VaultParts) -> Iterator[Problem]:
    with vault.catalog.reading() as db:
        rows = db.execute(KEPT_FILES).fetchall()
    for sha256, *row in rows:
        if _kept_problem(vault, sha256, *row) is None:
            continue
        # Others may have removed it, and kept it anew. While a save may be keeping files, what the catalogue names stays.
        with _keeping_files(vault), vault.catalog.reading() as db:
            named = db.execute(KEPT_FILE, (sha256,)).fetchone()
            problem = None if named is None else _kept_problem(vault, *named)
        if problem is not None:
            yield problem


def _keeping_files(vault: VaultParts) -> AbstractContextManager[object]:
    """Hold the lock of a save that keeps files, where there ever was one, and this user may open it."""
    try:
        return lock_of_saves(vault.folder, exclusive=False, read_only=True) or nullcontext()
    except StorageError:
        return nullcontext()


def _kept_problem(
    vault: VaultParts, sha256: str, size: int, name: str | None, version: int | None
) -> Problem | None:
    path = kept_path(vault.files, sha256)
    shown = path.relative_to(vault.folder).as_posix()
    try:
        with io.naming(f"reading {path}", reading=True):
            whole = io.require_regular(path).st_size == size and sha256_of_file(path) == sha256
        return None if whole else Problem("damage", "damaged kept file", name, version, shown)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return Problem("damage", "missing kept file", name, version, shown)
        return Problem("unchecked", "kept file not read", name, version, shown, str(error))
    except VaultError as error:
        return Problem("damage", "damaged kept file", name, version, shown, str(error))


def _text_index(vault: VaultParts, *, fix: bool) -> Iterator[Problem]:
    """The indexes of texts, which can be made anew from what the vault holds."""
    for path, detail, make_anew in vault.text.problems():
        fixed = fix
        try:
            if fix:
                make_anew()
        except (VaultCorrupt, StorageError) as error:
            fixed, detail = False, f"{detail} It cannot be made anew: {error}"
        yield Problem("damage", "text index", path=path, detail=detail, fixed=fixed)


def _strays(vault: VaultParts, *, fix: bool) -> Iterator[Problem]:
    try:
        for stray in strays(vault, remove=fix):
            detail = None if stray.removed else "check(fix=True) removes it"
            yield Problem("stray", "file of no commit", path=stray.shown, detail=detail, fixed=stray.removed)
    except StorageError as error:
        if not vault.catalog.read_only:
            raise
        yield Problem("unchecked", "files of no commit", detail=str(error))


# -- erased rows: lists, segments and versions must agree on them


def damaged_erasures(vault: VaultParts) -> Iterator[Problem]:
    """Erased rows that would be shown, others that would not, and versions that count them wrongly."""
    with vault.catalog.reading() as db:
        lists = db.execute(LISTS).fetchall()
    for list_id, name in lists:
        try:
            yield from _of_list(vault, list_id, name)
        except VaultCorrupt as error:
            yield Problem("damage", "damaged content", name, path="catalog.db", detail=str(error))


def _of_list(vault: VaultParts, list_id: int, name: str) -> Iterator[Problem]:
    erased, segments, versions = vault.catalog.snapshot(_read, list_id, name)
    for generation, start, stop, packed in segments:
        numbers = None if packed is None else int_codec.unpack(packed, "A list of erased rows")
        detail = wrong_numbers((generation, start, stop), numbers, erased)
        if detail:
            yield Problem("damage", "erased rows", name, generation, "catalog.db", detail)
    for version, content in zip(versions, vault.versions.pieces(versions), strict=True):
        detail = wrong_erased(version, content, erased)
        if detail:
            yield Problem("damage", "damaged version", name, version.version, "catalog.db", detail)


def _read(db: Connection, list_id: int, name: str) -> tuple[Pieces, list[Any], list[Version]]:
    versions = [version_of(row) for row in db.execute(VERSIONS_OF, (name,)).fetchall()]
    present = [version for version in versions if not version.gone]
    return erased_rows(db, list_id), db.execute(SEGMENTS, (list_id,)).fetchall(), present
