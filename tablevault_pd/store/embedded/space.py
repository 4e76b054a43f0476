"""Using less space: merging small parts, and removing what no kept version shows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store import Compacted, Freed, Progress, Version
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded import text
from tablevault_pd.store.embedded.lockfile import LockFile, close_all
from tablevault_pd.store.embedded.segments import SUFFIX, Part, SegmentWriter, has_dictionary, unpack
from tablevault_pd.store.embedded.strays import hold, strays, unlink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from sqlite3 import Connection

    from tablevault_pd.store.embedded.store import EmbeddedStore

SMALL_BYTES = 8 << 20  # parts below this are merged
MERGED_BYTES = 64 << 20  # … into parts of about this size

SEGMENTS_OF = """
SELECT id, start, rows, schema, codec, file, size, checksum FROM segments
WHERE list = ? AND generation = ? AND rows > 0 ORDER BY start
"""
SEGMENT_DATA = "SELECT data FROM segments WHERE id = ?"
GENERATIONS = "SELECT DISTINCT list, generation FROM segments ORDER BY list, generation"
DELETE_SEGMENT = "DELETE FROM segments WHERE id = ?"
INSERT_MERGED = """
INSERT INTO segments (list, generation, start, rows, schema, codec, file, size, checksum, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
MARK_GONE = "UPDATE batches SET gone = 1 WHERE list = ? AND version = ?"
DELETE_USE = "DELETE FROM file_uses WHERE list = ? AND version = ?"
FILE_USES = (
    "SELECT f.sha256, f.size, u.list, u.version FROM files f LEFT JOIN file_uses u ON u.sha256 = f.sha256"
)
DELETE_UNUSED = "DELETE FROM files WHERE sha256 NOT IN (SELECT sha256 FROM file_uses)"

Row = tuple[Any, ...]  #: of SEGMENTS_OF


# -- compact


def compact(store: EmbeddedStore, name: str | None, *, progress: Progress | None) -> list[Compacted]:
    """Merge neighbouring small parts, and compress what no list shows any more. What is damaged stays as it is."""
    heads = {state.head.list_id: state.head for state in store.lists() if name in (None, state.head.list)}
    with store.catalog.reading() as db:
        generations = [key for key in db.execute(GENERATIONS).fetchall() if key[0] in heads]
    done: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for list_id, generation in generations:
        cold = generation not in {run[0] for run in store.runs(heads[list_id])}
        numbers = _compact_run(store, list_id, heads[list_id].list, generation, cold=cold)
        done[list_id] = [old + new for old, new in zip(done[list_id], numbers, strict=True)]
        if progress:
            progress(1)
    return [Compacted(heads[list_id].list, *numbers) for list_id, numbers in done.items()]


def _compact_run(
    store: EmbeddedStore, list_id: int, name: str, generation: int, *, cold: bool
) -> tuple[int, int, int, int]:
    with store.catalog.reading() as db:
        rows = db.execute(SEGMENTS_OF, (list_id, generation)).fetchall()
    damaged = 0
    for group in _groups(store, rows):
        if len(group) > 1 or (cold and group[0][4] == "file" and group[0][6] > SMALL_BYTES):
            damaged += _merge(store, list_id, name, generation, group, compression="zstd" if cold else None)
    with store.catalog.reading() as db:
        left = db.execute(SEGMENTS_OF, (list_id, generation)).fetchall()
    return len(rows), len(left), sum(row[6] for row in left), damaged


def _groups(store: EmbeddedStore, rows: list[Row]) -> list[list[Row]]:
    """Neighbours that may share one part: small, with the same columns, without a gap."""
    columns = {row[3]: store.schema(row[3]).remove_metadata().serialize().to_pybytes() for row in rows}
    groups: list[list[Row]] = []
    size = 0
    for row in rows:
        last = groups[-1][-1] if groups else None
        fits = (
            last is not None
            and columns[row[3]] == columns[last[3]]
            and row[1] == last[1] + last[2]
            and size + row[6] <= MERGED_BYTES
        )
        if fits and row[6] < SMALL_BYTES and last is not None and last[6] < SMALL_BYTES:
            groups[-1].append(row)
            size += row[6]
        else:
            groups.append([row])
            size = row[6]
    return groups


def _merge(
    store: EmbeddedStore,
    list_id: int,
    name: str,
    generation: int,
    group: list[Row],
    *,
    compression: str | None,
) -> int:
    """Write the parts of `group` into one, or into as few as their dictionaries allow. How many are damaged."""
    tables: list[pa.Table | None] = []
    for row in group:
        try:
            table = _verified(store, row, f"{name}@{generation}")
        except VaultCorrupt:
            tables.append(None)
            continue
        if table is None:
            return 0  # another process was there first
        tables.append(table)
    whole = list(zip(group, tables, strict=True))
    for is_damaged, neighbours in groupby(whole, key=lambda pair: pair[1] is None):
        if is_damaged:
            continue
        rows, found = zip(*neighbours, strict=True)
        for first, stop in _runs_of_equal_dictionaries(found):
            if stop - first > 1 or compression is not None:
                with io.naming(f"compacting {name!r}"):
                    _replace(store, list_id, generation, rows[first:stop], found[first:stop], compression)
    return tables.count(None)


def _verified(store: EmbeddedStore, row: Row, where: str) -> pa.Table | None:
    """The rows of a part, checked anew before they get another checksum; None if the catalogue names it no more."""
    key, _, rows, schema_id, codec, file, size, checksum = row
    for _ in range(2):
        with store.catalog.reading() as db:
            data = db.execute(SEGMENT_DATA, (key,)).fetchone()
        if data is None:
            return None
        part = Part(
            rows, store.schema(schema_id), store.seed(schema_id), codec, size, checksum, data[0], file
        )
        try:
            return unpack(part, store.segments, None, where, again=True)[0]
        except FileNotFoundError:
            continue  # perhaps it was superseded just now
    raise VaultCorrupt(f"The segment {file} with rows of {where} is missing.")


def _runs_of_equal_dictionaries(tables: Sequence[pa.Table]) -> list[tuple[int, int]]:
    """Which neighbours may be joined: with other categories, an old version would come to show those of a newer one."""
    if not has_dictionary(tables[0].schema):
        return [(0, len(tables))]
    starts = [0] + [i for i in range(1, len(tables)) if not _same_dictionaries(tables[i - 1], tables[i])]
    return list(zip(starts, [*starts[1:], len(tables)], strict=True))


def _same_dictionaries(a: pa.Table, b: pa.Table) -> bool:
    """Whether all dictionaries are equal; those inside of nested columns are taken to differ."""
    for ours, theirs in zip(a.columns, b.columns, strict=True):
        if not pa.types.is_dictionary(ours.type):
            if has_dictionary(pa.schema([("", ours.type)])):
                return False
            continue
        chunks = ours.chunks + theirs.chunks
        if not all(chunk.dictionary.equals(chunks[0].dictionary) for chunk in chunks):
            return False
    return True


def _replace(
    store: EmbeddedStore,
    list_id: int,
    generation: int,
    group: Sequence[Row],
    tables: Sequence[pa.Table],
    compression: str | None,
) -> None:
    """Put one part in the place of those of `group`, unless another process was there first."""
    schema = tables[0].schema
    joined = pa.concat_tables([table.replace_schema_metadata(schema.metadata) for table in tables])
    held: list[LockFile] = []
    writer = SegmentWriter(store.segments, schema, seed=store.seed(group[0][3]), compression=compression)
    try:
        writer.write(joined)
        part = writer.finish()
        io.sync_folder(store.segments)
        old = _paths(store, group)
        hold(old, held)
        store.catalog.write(_put_in_place, list_id, generation, group, part)
        writer.release()
        unlink(store, old)
    except _Overtaken:
        writer.discard()
    except BaseException:
        if not store.is_segment(writer.name):  # else the commit stands, although something failed after it
            writer.discard()
        raise
    finally:
        close_all(map(LockFile.close, held))
        writer.release()


def _put_in_place(db: Connection, list_id: int, generation: int, group: Sequence[Row], part: Part) -> None:
    if sum(db.execute(DELETE_SEGMENT, (row[0],)).rowcount for row in group) != len(group):
        raise _Overtaken
    _, start, _, schema_id, *_ = group[0]
    merged = (part.rows, schema_id, part.codec, part.file, part.size, part.checksum, None)
    db.execute(INSERT_MERGED, (list_id, generation, start, *merged))


class _Overtaken(Exception):
    """Another process compacted or vacuumed the same parts first."""


def _paths(store: EmbeddedStore, rows: Sequence[Row]) -> list[Path]:
    return [store.segments / (row[5] + SUFFIX) for row in rows if row[5] is not None]


# -- vacuum


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a vacuum takes from one list."""

    freed: list[Freed]
    gone: list[Version]  #: versions that lose rows
    emptied: list[Version]  #: versions whose own rows go
    doomed: list[Row]  #: the parts that hold those rows


def vacuum(store: EmbeddedStore, *, keep: int, deleted: bool, dry_run: bool) -> list[Freed]:
    """Remove the rows and the files that no kept version shows, then strays, and give free space back."""
    freed: list[Freed] = []
    emptied: set[tuple[int, int]] = set()
    doomed: list[Path] = []
    for state in store.lists():
        plan = _vacuum_list(store, state.head, keep=keep, deleted=deleted, dry_run=dry_run)
        freed += plan.freed
        emptied |= {(version.list_id, version.version) for version in plan.emptied}
        doomed += _paths(store, plan.doomed)
    freed += _unused_files(store, emptied, dry_run=dry_run)
    if not dry_run:
        unlink_locked(store, doomed)
    size = store.catalog.free_bytes() if dry_run else store.catalog.shrink()
    if size:
        freed.append(Freed("catalogue", None, (), 0, size, "catalog.db"))
    counted = {each.path for each in freed}
    for stray in strays(store, remove=not dry_run):
        if (stray.removed or dry_run) and stray.shown not in counted:
            freed.append(Freed("stray", None, (), 0, stray.size, stray.shown))
    return freed


def unlink_locked(store: EmbeddedStore, paths: Sequence[Path]) -> None:
    """Remove segments under their locks, so that nobody takes them for strays meanwhile."""
    held: list[LockFile] = []
    try:
        hold(paths, held)
        unlink(store, paths)
    finally:
        close_all(map(LockFile.close, held))


def _unused_files(store: EmbeddedStore, emptied: set[tuple[int, int]], *, dry_run: bool) -> list[Freed]:
    """Kept files that no version uses once `emptied` do not. The files go as strays do: no save may be keeping them."""
    with store.catalog.reading() as db:
        uses = db.execute(FILE_USES).fetchall()
    sizes = {sha256: size for sha256, size, _, _ in uses}
    used = {sha256 for sha256, _, *use in uses if use[0] is not None and tuple(use) not in emptied}
    unused = sorted(sizes.keys() - used)
    if unused and not dry_run:
        store.catalog.write(_delete_unused)
    return [
        Freed("kept file", None, (), 0, sizes[sha256], f"files/{sha256[:2]}/{sha256}") for sha256 in unused
    ]


def _delete_unused(db: Connection) -> None:
    db.execute(DELETE_UNUSED)


def _vacuum_list(store: EmbeddedStore, head: Version, *, keep: int, deleted: bool, dry_run: bool) -> _Plan:
    if dry_run:
        return _plan(store, head, keep, deleted)
    # Planned inside the transaction, so that no restore can bring back what is about to go.
    return store.catalog.write(_carry_out, store, head, keep, deleted)


def _carry_out(db: Connection, store: EmbeddedStore, head: Version, keep: int, deleted: bool) -> _Plan:
    plan = _plan(store, head, keep, deleted)
    for version in plan.gone:
        db.execute(MARK_GONE, (head.list_id, version.version))
    for version in plan.emptied:
        db.execute(DELETE_USE, (head.list_id, version.version))
    for row in plan.doomed:
        db.execute(DELETE_SEGMENT, (row[0],))
    if plan.doomed:
        text.clear(db)
    return plan


def _plan(store: EmbeddedStore, head: Version, keep: int, deleted: bool) -> _Plan:
    versions = store.versions(head.list)
    whole = deleted and versions[-1].deleted
    kept = [] if whole else [version for version in versions if not version.deleted][-keep:]
    needed: dict[int, int] = defaultdict(int)  # generation -> positions from 0 to here are still shown
    for version in kept:
        if not version.gone:
            for generation, _, high in store.runs(version):
                needed[generation] = max(needed[generation], high)
    doomed: list[Row] = []
    lost: dict[int, int] = {}  # generation -> its first position that goes
    with store.catalog.reading() as db:
        for key, generation in db.execute(GENERATIONS).fetchall():
            rows = (
                db.execute(SEGMENTS_OF, (head.list_id, generation)).fetchall() if key == head.list_id else ()
            )
            going = [row for row in rows if row[1] >= needed[generation]]
            if going:
                doomed += going
                lost[generation] = going[0][1]
    gone = [
        version
        for version in versions
        if not version.gone
        and any(high > lost.get(generation, high) for generation, _, high in store.runs(version))
    ]
    if not doomed:
        return _Plan([], [], [], [])
    emptied = [one for one in versions if one.rows and one.start >= lost.get(one.generation, one.total)]
    numbers = tuple(version.version for version in gone)
    rows, size = sum(row[2] for row in doomed), sum(row[6] for row in doomed)
    freed = Freed("deleted list" if whole else "rows", head.list, numbers, rows, size)
    return _Plan([freed], gone, emptied, doomed)
