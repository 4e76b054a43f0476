"""Checking, compacting and vacuuming a vault folder."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tablevault_pd.errors import VaultCorrupt, VaultError
from tablevault_pd.hashing import sha256_of_file
from tablevault_pd.store import Compacted, Freed, Problem, Progress, Version
from tablevault_pd.store.embedded import io, text
from tablevault_pd.store.embedded.edges import damaged_edges
from tablevault_pd.store.embedded.kept import kept_path
from tablevault_pd.store.embedded.segments import SUFFIX, Part, SegmentWriter, has_dictionary, unpack

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from tablevault_pd.store.embedded.store import EmbeddedStore

SMALL_BYTES = 8 << 20  # parts below this are merged
MERGED_BYTES = 64 << 20  # … into parts of about this size

ALL_SEGMENTS = """
SELECT s.id, l.name, s.generation, s.start, s.rows, s.schema, s.codec, s.file, s.size, s.checksum, s.data
FROM segments s JOIN lists l ON l.id = s.list ORDER BY s.list, s.generation, s.start, s.rows
"""
SEGMENTS_OF = """
SELECT id, start, rows, schema, codec, file, size, checksum FROM segments
WHERE list = ? AND generation = ? AND rows > 0 ORDER BY start
"""
SEGMENT_DATA = "SELECT data FROM segments WHERE id = ?"
SEGMENT_COUNT = "SELECT count(*) FROM segments"
GENERATIONS = "SELECT DISTINCT list, generation FROM segments ORDER BY list, generation"
IS_SEGMENT = "SELECT 1 FROM segments WHERE file = ?"
SEGMENT_FILES = "SELECT file FROM segments WHERE file IS NOT NULL"
KEPT_FILES = "SELECT sha256, size FROM files"
DELETE_SEGMENT = "DELETE FROM segments WHERE id = ?"
INSERT_MERGED = """
INSERT INTO segments (list, generation, start, rows, schema, codec, file, size, checksum, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
MARK_GONE = "UPDATE batches SET gone = 1 WHERE list = ? AND version = ?"
BASES = "SELECT version, base_generation, base_total FROM batches INDEXED BY restores WHERE list = ? AND base_generation IS NOT NULL"


# -- check


def check(store: EmbeddedStore, *, fix: bool, progress: Progress | None) -> list[Problem]:
    """Everything that is damaged or stray, in that order."""
    problems = list(_catalogue(store))
    problems += _segments(store, progress)
    problems += _coverage(store)
    problems += damaged_edges(store.catalog)
    problems += _kept(store)
    problems += _text_index(store, fix=fix)
    found = strays(store, lock=fix)
    problems += [_removed(path) for path in found if _take_away(store, path)] if fix else map(_stray, found)
    return sorted(problems, key=lambda problem: problem.severity)


def _catalogue(store: EmbeddedStore) -> Iterator[Problem]:
    with store.catalog.reading() as db:
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


def _segments(store: EmbeddedStore, progress: Progress | None) -> Iterator[Problem]:
    """Read every payload against its checksum, and decode it."""
    with store.catalog.reading() as db:
        rows = db.execute(ALL_SEGMENTS).fetchall()
    for _, name, generation, _, count, schema_id, codec, file, size, checksum, data in rows:
        where = f"{name}@{generation}"
        path = f"segments/{file}{SUFFIX}" if file else "catalog.db"
        try:
            part = Part(
                count, store.schema(schema_id), store.seed(schema_id), codec, size, checksum, data, file
            )
            table = unpack(part, store.segments, None, where, again=True)[0]
            table.validate(full=True)
            if table.num_rows != count:
                raise VaultCorrupt(f"{table.num_rows} rows where {count} were committed")
        except FileNotFoundError:
            yield Problem("damage", "missing segment", name, generation, path, f"{count} rows")
        except (VaultError, pa.ArrowException, OSError) as error:
            yield Problem("damage", "damaged segment", name, generation, path, str(error))
        if progress:
            progress(1)


def _coverage(store: EmbeddedStore) -> Iterator[Problem]:
    """Positions must follow each other without a gap, up to the newest version of each generation."""
    with store.catalog.reading() as db:
        spans = db.execute(
            "SELECT list, generation, start, rows FROM segments WHERE rows > 0 ORDER BY list, generation, start"
        )
        covered: dict[tuple[int, int], int] = {}
        gaps: set[tuple[int, int]] = set()
        for list_id, generation, start, rows in spans.fetchall():
            key = (list_id, generation)
            if key in covered and covered[key] != start:
                gaps.add(key)
            covered[key] = start + rows
    for version in store.versions():
        key = (version.list_id, version.generation)
        lacking = version.rows and covered.get(key, 0) < version.start + version.rows
        if not version.gone and (lacking or key in gaps):
            gaps.discard(key)
            yield Problem(
                "damage", "missing rows", version.list, version.version, detail=f"of {version.total} rows"
            )


def _kept(store: EmbeddedStore) -> Iterator[Problem]:
    with store.catalog.reading() as db:
        rows = db.execute(KEPT_FILES).fetchall()
    for sha256, size in rows:
        path = kept_path(store.files, sha256)
        shown = path.relative_to(store.folder).as_posix()
        try:
            if io.require_regular(path).st_size != size or sha256_of_file(path) != sha256:
                yield Problem("damage", "damaged kept file", path=shown)
        except FileNotFoundError:
            yield Problem("damage", "missing kept file", path=shown)


def _text_index(store: EmbeddedStore, *, fix: bool) -> Iterator[Problem]:
    """The index of texts, which can be made anew from the rows."""
    detail = store.check_text()
    if detail is not None:
        if fix:
            store.rebuild_text()
        yield Problem("damage", "text index", path="catalog.db", detail=detail, fixed=fix)


# -- strays


def strays(store: EmbeddedStore, *, lock: bool) -> list[Path]:
    """Files that no commit names, and that no writer is about to commit."""
    candidates = [path for path in _scan(store.segments) if not lock or _unlocked(path)]
    kept_candidates = [path for folder in _scan(store.files) if folder.is_dir() for path in _scan(folder)]
    # The catalogue is read after the locks were found free: what was committed meanwhile is in it.
    with store.catalog.reading() as db:
        named = {file + SUFFIX for (file,) in db.execute(SEGMENT_FILES).fetchall()}
        kept = {sha256 for (sha256, _) in db.execute(KEPT_FILES).fetchall()}
    stray = [path for path in candidates if path.name not in named]
    return stray + [path for path in kept_candidates if path.name not in kept]


def _scan(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _unlocked(path: Path) -> bool:
    if fcntl is None:
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _stray(path: Path) -> Problem:
    return Problem(
        "stray",
        "file of no commit",
        path=f"{path.parent.name}/{path.name}",
        detail="check(fix=True) removes it",
    )


def _take_away(store: EmbeddedStore, path: Path) -> bool:
    """Remove a stray, unless a writer has locked or even committed it since it was found to be one."""
    if path.suffix != SUFFIX or fcntl is None:
        path.unlink(missing_ok=True)
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(
            descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB
        )  # held while the catalogue is asked and the file removed
        with store.catalog.reading() as db:
            if db.execute(IS_SEGMENT, (path.stem,)).fetchone() is not None:
                return False
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def _removed(path: Path) -> Problem:
    return Problem("stray", "file of no commit", path=f"{path.parent.name}/{path.name}", fixed=True)


# -- compact


def compact(store: EmbeddedStore, name: str | None, *, progress: Progress | None) -> list[Compacted]:
    """Merge neighbouring small parts, and compress what no list shows any more."""
    heads = {state.head.list_id: state.head for state in store.lists() if name in (None, state.head.list)}
    with store.catalog.reading() as db:
        generations = [key for key in db.execute(GENERATIONS).fetchall() if key[0] in heads]
    done: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for list_id, generation in generations:
        cold = generation not in {run[0] for run in store.runs(heads[list_id])}
        before, after, size = _compact_run(store, list_id, heads[list_id].list, generation, cold=cold)
        done[list_id] = [old + new for old, new in zip(done[list_id], (before, after, size), strict=True)]
        if progress:
            progress(1)
    return [Compacted(heads[list_id].list, *numbers) for list_id, numbers in done.items()]


def _compact_run(
    store: EmbeddedStore, list_id: int, name: str, generation: int, *, cold: bool
) -> tuple[int, int, int]:
    with store.catalog.reading() as db:
        rows = db.execute(SEGMENTS_OF, (list_id, generation)).fetchall()
    for group in _groups(store, rows):
        if len(group) > 1 or (cold and group[0][4] == "file" and group[0][6] > SMALL_BYTES):
            _merge(store, list_id, name, generation, group, compression="zstd" if cold else None)
    with store.catalog.reading() as db:
        left = db.execute(SEGMENTS_OF, (list_id, generation)).fetchall()
    return len(rows), len(left), sum(row[6] for row in left)


def _groups(store: EmbeddedStore, rows: list[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    """Neighbours that may share one part: small, with the same columns, without a gap."""
    columns = {row[3]: store.schema(row[3]).remove_metadata().serialize().to_pybytes() for row in rows}
    groups: list[list[tuple[Any, ...]]] = []
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
    group: list[tuple[Any, ...]],
    *,
    compression: str | None,
) -> None:
    """Write the parts of `group` into one, or into as few as their dictionaries allow."""
    tables = []
    with store.catalog.reading() as db:
        for key, _, rows, schema_id, codec, file, size, checksum in group:
            found = db.execute(SEGMENT_DATA, (key,)).fetchone()
            if found is None:
                return  # another process was there first
            part = Part(
                rows, store.schema(schema_id), store.seed(schema_id), codec, size, checksum, found[0], file
            )
            tables.append(unpack(part, store.segments, None, f"{name}@{generation}")[0])
    for first, stop in _runs_of_equal_dictionaries(tables):
        if stop - first > 1 or compression is not None:
            _replace(store, list_id, generation, group[first:stop], tables[first:stop], compression)


def _runs_of_equal_dictionaries(tables: list[pa.Table]) -> list[tuple[int, int]]:
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
    group: list[tuple[Any, ...]],
    tables: list[pa.Table],
    compression: str | None,
) -> None:
    """Put one part in the place of those of `group`, unless another process was there first."""
    schema = tables[0].schema
    joined = pa.concat_tables([table.replace_schema_metadata(schema.metadata) for table in tables])
    writer = SegmentWriter(store.segments, schema, seed=store.seed(group[0][3]), compression=compression)
    try:
        writer.write(joined)
        part = writer.finish()
        io.sync_folder(store.segments)
        with store.catalog.writing() as db:
            if sum(db.execute(DELETE_SEGMENT, (row[0],)).rowcount for row in group) != len(group):
                raise _Overtaken
            db.execute(
                INSERT_MERGED,
                (list_id, generation, group[0][1], part.rows, group[0][3], part.codec, part.file, part.size, part.checksum, None),
            )  # fmt: skip
    except _Overtaken:
        writer.discard()
        return
    except BaseException:
        writer.discard()
        raise
    writer.release()
    _unlink(store, [row[5] for row in group])


class _Overtaken(Exception):
    """Another process compacted or vacuumed the same parts first."""


def _unlink(store: EmbeddedStore, files: list[str | None]) -> None:
    for file in files:
        if file is not None:
            (store.segments / (file + SUFFIX)).unlink(missing_ok=True)


# -- vacuum


def vacuum(store: EmbeddedStore, *, keep: int, dry_run: bool) -> list[Freed]:
    """Remove the rows that no kept version shows, then strays."""
    freed = []
    for state in store.lists():
        freed += _vacuum_list(store, state.head.list, state.head.list_id, keep=keep, dry_run=dry_run)
    for path in strays(store, lock=not dry_run):
        size = path.lstat().st_size
        if not dry_run and not _take_away(store, path):
            continue
        freed.append(Freed("stray", None, (), 0, size, f"{path.parent.name}/{path.name}"))
    return freed


def _vacuum_list(store: EmbeddedStore, name: str, list_id: int, *, keep: int, dry_run: bool) -> list[Freed]:
    if dry_run:
        return _plan(store, name, list_id, keep)[0]
    # Planned inside the transaction, so that no restore can bring back what is about to go.
    with store.catalog.writing() as db:
        freed, gone, doomed = _plan(store, name, list_id, keep)
        for version in gone:
            db.execute(MARK_GONE, (list_id, version.version))
        for row in doomed:
            db.execute(DELETE_SEGMENT, (row[0],))
        if doomed:
            text.clear(db)
    _unlink(store, [row[5] for row in doomed])
    return freed


def _plan(
    store: EmbeddedStore, name: str, list_id: int, keep: int
) -> tuple[list[Freed], list[Version], list[tuple[Any, ...]]]:
    """What to free, the versions that lose rows by it, and the parts that hold those rows."""
    versions = store.versions(name)
    needed: dict[int, int] = defaultdict(int)  # generation -> positions from 0 to here are still shown
    for version in versions[-keep:]:
        if not version.deleted and not version.gone:
            for generation, _, high in store.runs(version):
                needed[generation] = max(needed[generation], high)
    doomed = []
    lost: dict[int, int] = {}  # generation -> its first position that goes
    with store.catalog.reading() as db:
        for key, generation in db.execute(GENERATIONS).fetchall():
            rows = db.execute(SEGMENTS_OF, (list_id, generation)).fetchall() if key == list_id else ()
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
        return [], [], []
    numbers = tuple(version.version for version in gone)
    freed = Freed("rows", name, numbers, sum(row[2] for row in doomed), sum(row[6] for row in doomed))
    return [freed], gone, doomed
