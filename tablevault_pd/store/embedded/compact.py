"""Merge small parts of a list into larger ones. Addresses, versions and writers of rows stay the same."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store import Compacted, Progress
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.lockfile import LockFile, close_all
from tablevault_pd.store.embedded.segments import Payload, SegmentWriter, segment_path, unpack
from tablevault_pd.store.embedded.sizes import remove_parts
from tablevault_pd.store.embedded.strays import hold, is_segment, unlink
from tablevault_pd.store.engine import int_codec
from tablevault_pd.store.engine.payloads import has_dictionary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from sqlite3 import Connection

    from tablevault_pd.store.embedded.parts import VaultParts

SMALL_BYTES = 8 << 20  # parts below this are merged
MERGED_BYTES = 64 << 20  # … into parts of about this size

SEGMENTS_OF = """
SELECT id, start, rows, schema, codec, file, size, checksum, erased FROM segments
WHERE list = ? AND generation = ? AND rows > 0 ORDER BY start
"""
SEGMENT_DATA = "SELECT data FROM segments WHERE id = ?"
GENERATIONS = "SELECT DISTINCT list, generation FROM segments ORDER BY list, generation"
INSERT_MERGED = """
INSERT INTO segments (list, generation, start, rows, schema, codec, file, size, checksum, data, zones, erased)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

Row = tuple[Any, ...]  #: of SEGMENTS_OF


def compact(vault: VaultParts, name: str | None, *, progress: Progress | None) -> list[Compacted]:
    """Merge neighbouring small parts, and compress what no list shows any more. What is damaged stays as it is."""
    heads = {
        state.head.list_id: state.head for state in vault.versions.lists() if name in (None, state.head.list)
    }
    with vault.catalog.reading() as db:
        generations = [key for key in db.execute(GENERATIONS).fetchall() if key[0] in heads]
    done: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for list_id, generation in generations:
        [shown] = vault.versions.pieces([heads[list_id]])
        cold = generation not in shown.generation
        numbers = _compact_run(vault, list_id, heads[list_id].list, generation, cold=cold)
        done[list_id] = [old + new for old, new in zip(done[list_id], numbers, strict=True)]
        if progress:
            progress(1)
    return [Compacted(heads[list_id].list, *numbers) for list_id, numbers in done.items()]


def _compact_run(
    vault: VaultParts, list_id: int, name: str, generation: int, *, cold: bool
) -> tuple[int, int, int, int]:
    with vault.catalog.reading() as db:
        rows = db.execute(SEGMENTS_OF, (list_id, generation)).fetchall()
    damaged = 0
    for group in _groups(vault, rows):
        if len(group) > 1 or (cold and group[0][4] == "file" and group[0][6] > SMALL_BYTES):
            damaged += _merge(vault, list_id, name, generation, group, compression="zstd" if cold else None)
    with vault.catalog.reading() as db:
        left = db.execute(SEGMENTS_OF, (list_id, generation)).fetchall()
    return len(rows), len(left), sum(row[6] for row in left), damaged


def _groups(vault: VaultParts, rows: list[Row]) -> list[list[Row]]:
    """Neighbours that may share one part: small, with the same columns, without a gap."""
    columns = {
        row[3]: vault.schemas.schema(row[3]).remove_metadata().serialize().to_pybytes() for row in rows
    }
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
    vault: VaultParts,
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
            table = verified(vault, row, f"{name}@{generation}")
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
        rows, sound = zip(*neighbours, strict=True)
        for first, stop in _runs_of_equal_dictionaries(sound):
            if stop - first > 1 or compression is not None:
                with io.naming(f"compacting {name!r}"):
                    _replace(vault, list_id, generation, rows[first:stop], sound[first:stop], compression)
    return tables.count(None)


def verified(vault: VaultParts, row: Row, where: str) -> pa.Table | None:
    """The rows of a part, checked anew before they get another checksum; None if the catalogue names it no more."""
    key, _, rows, schema_id, codec, file, size, checksum, *_ = row
    for _ in range(2):
        with vault.catalog.reading() as db:
            data = db.execute(SEGMENT_DATA, (key,)).fetchone()
        if data is None:
            return None
        part = Payload(
            rows,
            vault.schemas.schema(schema_id),
            vault.schemas.seed(schema_id),
            codec,
            size,
            checksum,
            data[0],
            file,
        )
        try:
            return unpack(part, vault.segments, None, where, again=True)[0]
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
    vault: VaultParts,
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
    writer = SegmentWriter(
        vault.segments, schema, seed=vault.schemas.seed(group[0][3]), compression=compression
    )
    try:
        writer.write(joined)
        part = writer.finish()
        io.sync_folder(vault.segments)
        old = paths_of(vault, group)
        hold(old, held)
        vault.catalog.write(_put_in_place, list_id, generation, group, part)
        writer.release()
        unlink(vault, old)
    except Overtaken:
        writer.discard()
    except BaseException:
        # Where the catalogue names it, the commit stands, although something failed after it.
        if not is_segment(vault.catalog, writer.name):
            writer.discard()
        raise
    finally:
        close_all(map(LockFile.close, held))
        writer.release()


def _put_in_place(db: Connection, list_id: int, generation: int, group: Sequence[Row], part: Payload) -> None:
    if remove_parts(db, [row[0] for row in group]) != len(group):
        raise Overtaken
    _, start, _, schema_id, *_ = group[0]
    merged = (
        part.rows,
        schema_id,
        part.codec,
        part.file,
        part.size,
        part.checksum,
        None,
        part.zones,
        _erased(group),
    )
    db.execute(INSERT_MERGED, (list_id, generation, start, *merged))


def _erased(group: Sequence[Row]) -> bytes | None:
    """The numbers of erased rows in all of these parts together."""
    numbers = [
        int_codec.unpack(row[8], "A list of erased rows") + row[1] for row in group if row[8] is not None
    ]
    return int_codec.pack(np.concatenate(numbers) - group[0][1]) if numbers else None


class Overtaken(Exception):
    """Another process compacted or vacuumed the same parts first."""


def paths_of(vault: VaultParts, rows: Sequence[Row]) -> list[Path]:
    """Return the files of these parts."""
    return [segment_path(vault.segments, row[5]) for row in rows if row[5] is not None]
