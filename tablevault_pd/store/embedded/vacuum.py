"""Remove rows and files that no kept version shows."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.errors import StorageError, VaultBusy
from tablevault_pd.store import Freed, Version
from tablevault_pd.store.embedded.compact import Row, paths_of
from tablevault_pd.store.embedded.lockfile import LockFile, close_all
from tablevault_pd.store.embedded.names import NAMED_OF
from tablevault_pd.store.embedded.sizes import remove_parts
from tablevault_pd.store.embedded.strays import hold, strays, unlink
from tablevault_pd.store.engine.vacuuming import StoredParts, vacuum_plan
from tablevault_pd.store.pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from sqlite3 import Connection

    from tablevault_pd.store import Progress
    from tablevault_pd.store.embedded.parts import VaultParts

SEGMENTS_OF_LIST = """
SELECT id, start, rows, schema, codec, file, size, checksum, generation FROM segments
WHERE list = ? AND rows > 0 ORDER BY generation, start
"""
MARK_GONE = "UPDATE batches SET gone = 1 WHERE list = ? AND version = ?"
DELETE_USE = "DELETE FROM file_uses WHERE list = ? AND version = ?"
FILE_USES = (
    "SELECT f.sha256, f.size, u.list, u.version FROM files f LEFT JOIN file_uses u ON u.sha256 = f.sha256"
)
DELETE_UNUSED = "DELETE FROM files WHERE sha256 NOT IN (SELECT sha256 FROM file_uses)"


@dataclass(frozen=True, slots=True)
class _VacuumPlan:
    """What a vacuum takes from one list."""

    freed: list[Freed]
    gone: list[Version]  #: versions that lose rows
    emptied: list[Version]  #: versions whose own rows go
    doomed: list[Row]  #: the parts that hold those rows


def vacuum(
    vault: VaultParts, *, keep: int, deleted: bool, dry_run: bool, progress: Progress | None
) -> list[Freed]:
    """Remove the rows and the files that no kept version shows, then strays, and give free space back."""
    freed: list[Freed] = []
    emptied: set[tuple[int, int]] = set()
    doomed: list[Path] = []
    shrinks = False
    for state in vault.versions.lists():
        plan = _vacuum_list(vault, state.head, keep=keep, deleted=deleted, dry_run=dry_run)
        freed += plan.freed
        emptied |= {(version.list_id, version.version) for version in plan.emptied}
        doomed += paths_of(vault, plan.doomed)
        shrinks |= bool(plan.doomed)
        if progress:
            progress(1)
    freed += _unused_files(vault, emptied, dry_run=dry_run)
    if not dry_run:
        unlink_locked(vault, doomed)
        with suppress(VaultBusy, StorageError):
            if shrinks:
                vault.text.forget()  # the index takes no single rows out; what stays is indexed anew
    size = vault.catalog.free_bytes() if dry_run else vault.catalog.shrink()
    if size:
        freed.append(Freed("catalogue", None, (), 0, size, "catalog.db"))
    counted = {item.path for item in freed}
    for stray in strays(vault, remove=not dry_run):
        if (stray.removed or dry_run) and stray.shown not in counted:
            freed.append(Freed("stray", None, (), 0, stray.size, stray.shown))
    return freed


def unlink_locked(vault: VaultParts, paths: Sequence[Path]) -> None:
    """Remove segments under their locks, so that no other call takes them for strays meanwhile."""
    held: list[LockFile] = []
    try:
        hold(paths, held)
        unlink(vault, paths)
    finally:
        close_all(map(LockFile.close, held))


def _unused_files(vault: VaultParts, emptied: set[tuple[int, int]], *, dry_run: bool) -> list[Freed]:
    """Kept files that no version uses once `emptied` do not. The files go as strays do: no save may be keeping them."""
    with vault.catalog.reading() as db:
        uses = db.execute(FILE_USES).fetchall()
    sizes = {sha256: size for sha256, size, _, _ in uses}
    used = {sha256 for sha256, _, *use in uses if use[0] is not None and tuple(use) not in emptied}
    unused = sorted(sizes.keys() - used)
    if unused and not dry_run:
        vault.catalog.write(_delete_unused)
    return [
        Freed("kept file", None, (), 0, sizes[sha256], f"files/{sha256[:2]}/{sha256}") for sha256 in unused
    ]


def _delete_unused(db: Connection) -> None:
    db.execute(DELETE_UNUSED)


def _vacuum_list(vault: VaultParts, head: Version, *, keep: int, deleted: bool, dry_run: bool) -> _VacuumPlan:
    if dry_run:
        return _plan(vault, head, keep, deleted)
    # Planned inside the transaction, so that no restore can bring back what is about to go.
    return vault.catalog.write(_carry_out, vault, head, keep, deleted)


def _carry_out(db: Connection, vault: VaultParts, head: Version, keep: int, deleted: bool) -> _VacuumPlan:
    plan = _plan(vault, head, keep, deleted)
    for version in plan.gone:
        db.execute(MARK_GONE, (head.list_id, version.version))
    for version in plan.emptied:
        db.execute(DELETE_USE, (head.list_id, version.version))
    if plan.doomed:
        remove_parts(db, [row[0] for row in plan.doomed])
    return plan


def _plan(vault: VaultParts, head: Version, keep: int, deleted: bool) -> _VacuumPlan:
    versions = vault.versions.versions(head.list)
    with vault.catalog.reading() as db:
        rows = db.execute(SEGMENTS_OF_LIST, (head.list_id,)).fetchall()
        named = {number for (number,) in db.execute(NAMED_OF, (head.list_id,)).fetchall()}
    parts = StoredParts(*(np.array([row[at] for row in rows], np.int64) for at in (-1, 1, 2, 6)))
    plan = vacuum_plan(versions, named, parts, vault.versions.pieces, keep=keep, deleted=deleted)
    doomed = set(plan.doomed.tolist())
    if not doomed:
        return _VacuumPlan(plan.freed, [], [], [])
    left = Pieces.of((row[-1], row[1], row[1] + row[2]) for at, row in enumerate(rows) if at not in doomed)
    emptied = [version for version in versions if version.rows and not _is_stored(version, left)]
    return _VacuumPlan(plan.freed, plan.gone, emptied, [rows[at] for at in sorted(doomed)])


def _is_stored(version: Version, left: Pieces) -> bool:
    """Whether any of the rows is left that a version wrote itself."""
    own = Pieces.of([(version.generation, version.start, version.start + version.rows)])
    return len(own.overlaps(left)[0]) > 0
