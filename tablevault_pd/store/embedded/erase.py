"""Erasing rows: payloads are written anew without their cells, and what holds them else is rewritten or removed.

One transaction makes the version and puts the new payloads in the place of the old ones: that is the commit. The old files,
kept files that nothing names any more, digests of keys, indexes of vectors and the free pages of the catalogue and its log go
afterwards; until they are gone, the catalogue says so, and whoever opens the vault next goes on.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import StorageError, VaultBusy, VaultError
from tablevault_pd.store import Erasure
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.blobs import kept_path
from tablevault_pd.store.embedded.compact import INSERT_MERGED, Overtaken, Row, verified
from tablevault_pd.store.embedded.copies import INDEXES, KEYS
from tablevault_pd.store.embedded.names import renamed_to
from tablevault_pd.store.embedded.segments import Payload, SegmentWriter, pack, segment_path
from tablevault_pd.store.embedded.sizes import remove_parts
from tablevault_pd.store.embedded.strays import is_segment, scan, strays
from tablevault_pd.store.embedded.versions import VERSIONS_OF, content_of, erased_rows, version_of
from tablevault_pd.store.engine import erasing, int_codec
from tablevault_pd.store.engine.commit_rules import check_commit
from tablevault_pd.store.engine.name_rules import check_not_renamed
from tablevault_pd.store.pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from sqlite3 import Connection

    from tablevault_pd.store import Batch, Version
    from tablevault_pd.store.embedded.commit import Committer
    from tablevault_pd.store.embedded.parts import VaultParts
    from tablevault_pd.store.engine.vector_scan import VectorScan

SEGMENTS_OF_LIST = """
SELECT id, start, rows, schema, codec, file, size, checksum, erased, generation FROM segments
WHERE list = ? ORDER BY generation, start, id
"""
PUT_ERASED = "INSERT OR REPLACE INTO erased (list, pieces) VALUES (?, ?)"
SET_ERASED = "UPDATE batches SET erased = ? WHERE list = ? AND version = ?"
DELETE_USES = """
DELETE FROM file_uses WHERE list = ? AND version < ? AND sha256 IN (SELECT value FROM json_each(?))
"""
UNUSED = """
SELECT sha256, size FROM files
WHERE sha256 IN (SELECT value FROM json_each(?)) AND sha256 NOT IN (SELECT sha256 FROM file_uses)
"""
DELETE_FILE = "DELETE FROM files WHERE sha256 = ?"
# What is still to be overwritten: {"segments": [...], "files": [...], "lists": [...]}.
PENDING = "SELECT value FROM meta WHERE key = 'erasing'"
PUT_PENDING = "INSERT OR REPLACE INTO meta (key, value) VALUES ('erasing', ?)"
DELETE_PENDING = "DELETE FROM meta WHERE key = 'erasing' AND value = ?"


@dataclass(frozen=True, slots=True)
class _Rewrite:
    """A segment, and the payload that takes its place."""

    row: Row
    part: Payload
    erased: np.ndarray  #: numbers of erased rows in it, older ones included


class Eraser:
    """Erases rows of one vault folder."""

    def __init__(self, vault: VaultParts, committer: Committer, vectors: VectorScan) -> None:
        self._vault, self._committer, self._vectors = vault, committer, vectors

    def erase(self, batch: Batch) -> Erasure:
        while True:
            head = self._vault.versions.head(batch.list)
            if head is None:
                with self._vault.catalog.reading() as db:
                    check_not_renamed(batch, renamed_to(db, batch.list))
            check_commit(batch, head)
            assert head is not None
            assert batch.erases is not None
            try:
                version, files = self._commit(batch, head, batch.erases.by_address())
            except Overtaken:
                continue  # compaction or a vacuum put other segments in their place
            io.failpoint("erased")
            self._vectors.close()
            self._vault.opened.close()
            try:
                remains = self._finish()
            except (VaultError, OSError) as error:  # it is done all the same
                remains = str(error)
            return Erasure(version, files, remains)

    def _commit(
        self, batch: Batch, head: Version, erased: Pieces
    ) -> tuple[Version, tuple[tuple[str, int], ...]]:
        """Write new payloads, and put them in place with the version."""
        writers: list[SegmentWriter] = []
        committed: list[tuple[str, int]] = []
        try:
            rewrites, hashes = self._rewrites(head, erased, writers)
            if writers:
                io.sync_folder(self._vault.segments)

            def also(db: Connection, version: Version) -> None:
                committed[:] = self._put(db, version, erased, rewrites, hashes)

            version = self._committer.commit_also(batch, also=also)
            return version, tuple(committed)
        finally:
            for writer in writers:
                if is_segment(self._vault.catalog, writer.name):
                    writer.release()
                else:
                    writer.discard()

    # -- new payloads

    def _rewrites(
        self, head: Version, erased: Pieces, writers: list[SegmentWriter]
    ) -> tuple[list[_Rewrite], list[str]]:
        """The segments that hold erased rows, or categories that only they had, and the hashes of files that only they name."""
        with self._vault.catalog.reading() as db:
            rows = db.execute(SEGMENTS_OF_LIST, (head.list_id,)).fetchall()
        new = [_numbers_in(row, erased) for row in rows]
        both = [np.union1d(numbers, _numbers_of(row)) for row, numbers in zip(rows, new, strict=True)]
        used = erasing.categories_in_use(self._living(head, rows, both))
        named = self._files_named(head, rows, new, both)
        rewrites = []
        for row, numbers, every in zip(rows, new, both, strict=True):
            has_categories = bool(erasing.category_fields(self._vault.schemas.schema(row[3])))
            if not len(numbers) and not has_categories:
                continue
            table = self._table(head, row)
            if not len(numbers) and not erasing.has_unused(table, used):
                continue
            table = erasing.pruned(erasing.blanked(table, numbers), used)
            rewrites.append(_Rewrite(row, self._written(row, table, writers), every))
        return rewrites, named

    def _living(self, head: Version, rows: Sequence[Row], gone: Sequence[np.ndarray]) -> Iterator[pa.Table]:
        """The columns with categories of all rows that stay."""
        for row, numbers in zip(rows, gone, strict=True):
            fields = erasing.category_fields(self._vault.schemas.schema(row[3]))
            if fields and row[2]:
                yield _without(self._table(head, row).select(fields), numbers)

    def _files_named(
        self, head: Version, rows: Sequence[Row], new: Sequence[np.ndarray], gone: Sequence[np.ndarray]
    ) -> list[str]:
        """The hashes of files that erased rows name, and no other row of the list."""
        lost: set[str] = set()
        remaining: set[str] = set()
        for row, numbers, every in zip(rows, new, gone, strict=True):
            schema = self._vault.schemas.schema(row[3])
            fields = [column.field for column in frames.columns(schema) if column.kind == "file"]
            if fields and row[2]:
                table = self._table(head, row).select(fields)
                lost |= _hashes(table.take(pa.array(numbers)))
                remaining |= _hashes(_without(table, every))
        return sorted(lost - remaining)

    def _table(self, head: Version, row: Row) -> pa.Table:
        table = verified(self._vault, row, f"{head.list}@{row[-1]}")
        if table is None:
            raise Overtaken
        return table

    def _written(self, row: Row, table: pa.Table, writers: list[SegmentWriter]) -> Payload:
        seed = self._vault.schemas.seed(row[3])
        if row[5] is None:
            return pack(table, seed)
        compression = "zstd" if row[4] == "zstd" else None
        with io.naming("writing rows"):
            writer = SegmentWriter(self._vault.segments, table.schema, seed=seed, compression=compression)
            writers.append(writer)
            for batch in table.unify_dictionaries().to_batches():
                writer.write(pa.Table.from_batches([batch]))
            return writer.finish()

    # -- the transaction

    def _put(
        self,
        db: Connection,
        version: Version,
        erased: Pieces,
        rewrites: Sequence[_Rewrite],
        hashes: Sequence[str],
    ) -> list[tuple[str, int]]:
        """Put the new payloads in place, and note what is to be overwritten. Kept files that nothing names any more."""
        list_id = version.list_id
        for rewrite in rewrites:
            part, numbers = rewrite.part, int_codec.pack(rewrite.erased) if len(rewrite.erased) else None
            if remove_parts(db, [rewrite.row[0]]) != 1:
                raise Overtaken
            payload = (part.codec, part.file, part.size, part.checksum, part.data, part.zones, numbers)
            place = (list_id, rewrite.row[-1], rewrite.row[1], rewrite.row[2], rewrite.row[3])
            db.execute(INSERT_MERGED, (*place, *payload))
        forgotten = erased_rows(db, list_id)
        every = (forgotten + erased.without(forgotten)).by_address()
        db.execute(PUT_ERASED, (list_id, int_codec.pack_pieces(every)))
        *before, own = map(version_of, db.execute(VERSIONS_OF, (version.list,)).fetchall())
        contents = [*self._vault.versions.pieces(before), content_of(db, own)]
        counts = [int(content.overlaps(every)[2].sum()) for content in contents]
        marks = [(count, list_id, other.version) for other, count in zip([*before, own], counts, strict=True)]
        db.executemany(SET_ERASED, marks)
        digests = json.dumps(list(hashes))
        db.execute(DELETE_USES, (list_id, version.version, digests))
        files = db.execute(UNUSED, (digests,)).fetchall()
        db.executemany(DELETE_FILE, [(sha256,) for sha256, _ in files])
        segments = [rewrite.row[5] for rewrite in rewrites if rewrite.row[5] is not None]
        _note_pending(db, segments, [sha256 for sha256, _ in files], list_id)
        return files

    # -- what is left

    def finish_interrupted(self) -> None:
        """Go on with what an interrupted call has left to be overwritten. Nobody waits for it: what fails is tried again."""
        with suppress(VaultError, OSError):
            self._finish()

    def _finish(self) -> str | None:
        """Overwrite what is left of erased rows. What is in the way, if anything is."""
        vault = self._vault
        with vault.catalog.reading() as db:
            row = db.execute(PENDING).fetchone()
        if row is None:
            return None
        pending = json.loads(row[0])
        paths = [segment_path(vault.segments, name) for name in pending["segments"]]
        paths += [kept_path(vault.files, sha256) for sha256 in pending["files"]]
        lists = {str(list_id) for list_id in pending["lists"]}
        for path in (*scan(vault.folder / KEYS), *scan(vault.folder / INDEXES)):
            if path.name.partition("-")[0] in lists:
                io.remove(path)
        try:
            strays(vault, remove=True)
            left = [path for path in paths if path.exists() and not self._is_named(path)]
            rewritten = vault.text.forget() & vault.catalog.rewrite()
        except (VaultBusy, StorageError) as error:
            return f"the catalogue and its log could not be rewritten: {error}"
        if left:
            return f"{len(left)} files could not be removed, for somebody is saving files or commits were lost: {left[0].name}"
        if not rewritten:
            return "the log of the catalogue, or of the index of texts, is in use by a reader"
        vault.catalog.write(_forget_pending, row[0])
        return None

    def _is_named(self, path: Any) -> bool:
        """Whether the catalogue names a file again: the same content was kept anew."""
        with self._vault.catalog.reading() as db:
            return db.execute("SELECT 1 FROM files WHERE sha256 = ?", (path.name,)).fetchone() is not None


def _numbers_in(row: Row, erased: Pieces) -> np.ndarray:
    """The numbers of the rows of a segment that are erased."""
    own = Pieces.of([(row[-1], row[1], row[1] + row[2])])
    return own.positions_of(erased)


def _numbers_of(row: Row) -> np.ndarray:
    """The numbers of the rows of a segment that were erased before."""
    return np.empty(0, np.int64) if row[8] is None else int_codec.unpack(row[8], "A list of erased rows")


def _without(table: pa.Table, numbers: np.ndarray) -> pa.Table:
    return table.take(pa.array(np.delete(np.arange(table.num_rows), numbers))) if len(numbers) else table


def _hashes(table: pa.Table) -> set[str]:
    return {
        state["sha256"]
        for column in table.columns
        for state in column.to_pylist()
        if state is not None and state["stored"]
    }


def _note_pending(db: Connection, segments: list[str], files: list[str], list_id: int) -> None:
    row = db.execute(PENDING).fetchone()
    pending = {"segments": [], "files": [], "lists": []} if row is None else json.loads(row[0])
    pending = {
        "segments": [*pending["segments"], *segments],
        "files": [*pending["files"], *files],
        "lists": sorted({*pending["lists"], list_id}),
    }
    db.execute(PUT_PENDING, (json.dumps(pending),))


def _forget_pending(db: Connection, value: str) -> None:
    db.execute(DELETE_PENDING, (value,))
