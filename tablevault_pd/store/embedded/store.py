"""The embedded store: how a batch becomes visible, and how its rows are read back.

The order of a commit: segment files first, under names never used before, synced with their folder; then one
catalogue transaction that inserts the batch row. That row is the commit. A crash in between leaves a stray file.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tablevault_pd.errors import (
    StorageFull,
    VaultCorrupt,
    VaultError,
    VaultReadOnly,
    VersionNotFound,
)
from tablevault_pd.store import (
    Batch,
    Chunk,
    Compacted,
    Freed,
    Problem,
    Progress,
    Staging,
    Version,
)
from tablevault_pd.store.embedded import folders, journal, space
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded import maintenance as care
from tablevault_pd.store.embedded.blobs import KeptFiles, insert_files
from tablevault_pd.store.embedded.catalog import BUSY_TIMEOUT_S, Catalog
from tablevault_pd.store.embedded.control import Control
from tablevault_pd.store.embedded.edges import Edges, insert_edges, insert_reads
from tablevault_pd.store.embedded.segments import Part, Stage, has_dictionary, seed_of, unpack
from tablevault_pd.store.embedded.sessions import People, insert_description
from tablevault_pd.store.embedded.text import TextSearch, add_small
from tablevault_pd.store.embedded.values import SessionValues
from tablevault_pd.store.embedded.versions import HEAD, ONE_VERSION, TOKEN, Versions, version_of
from tablevault_pd.store.engine.commit_rules import check_place, check_target, placed
from tablevault_pd.store.engine.vector_scan import VectorSearch
from tablevault_pd.store.singly import Singly
from tablevault_pd.store.times import from_time

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence
    from sqlite3 import Connection

    from tablevault_pd.filters.predicate import Where

SMALL_ROWS = 4096  # chunks of fewer rows are joined with their neighbours, up to as many of them

BASE = "SELECT base_generation, base_total FROM batches WHERE list = ? AND version = ?"
INSERT_LIST = "INSERT INTO lists (name) VALUES (?)"
INSERT_BATCH = """
INSERT INTO batches (list, version, token, operation, generation, base_generation, base_total, start, rows, total, schema,
                     session, cell, step, time, tags, message)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
INSERT_SEGMENT = """
INSERT INTO segments (list, generation, start, rows, schema, codec, file, size, checksum, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
IS_SEGMENT = "SELECT 1 FROM segments WHERE file = ?"
SCHEMA_ID = "SELECT id FROM schemas WHERE digest = ?"
SCHEMA = "SELECT data, digest FROM schemas WHERE id = ?"
INSERT_SCHEMA = "INSERT INTO schemas (digest, data) VALUES (?, ?)"
# From the segment that holds position :low on; many small ones are fetched a page at a time.
SEGMENTS = """
SELECT start, rows, schema, codec, file, size, checksum, data FROM segments
WHERE list = :list AND generation = :generation AND start < :high AND rows > 0
  AND start >= coalesce((SELECT max(start) FROM segments WHERE list = :list AND generation = :generation
                         AND start <= :low AND rows > 0), 0)
ORDER BY start LIMIT 256
"""
EMPTY_SEGMENT = """
SELECT start, rows, schema, codec, file, size, checksum, data FROM segments
WHERE list = ? AND generation = ? AND rows = 0 ORDER BY id LIMIT 1
"""


class EmbeddedStore(
    Versions, People, Control, KeptFiles, Edges, TextSearch, VectorSearch, SessionValues, Singly
):
    """A vault in the folder `folder`. See :class:`tablevault_pd.store.Store` for the contract of each method."""

    judges = False  # a row that is mapped from a file costs nothing until it is looked at

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        read_only: bool = False,
        timeout_s: float = BUSY_TIMEOUT_S,
        durability: str = "full",
    ) -> None:
        self.folder = Path(folder).absolute()
        self.read_only = read_only
        self.timeout_s = timeout_s
        self.scratch = self.folder
        folders.prepare(self.folder, read_only=read_only, timeout_s=timeout_s)
        self.catalog = Catalog(self.folder, read_only=read_only, timeout_s=timeout_s, durability=durability)
        try:
            if not read_only:
                self.catalog.create()
            self.vault_id = self.catalog.verify()
        except BaseException:
            self.catalog.close()
            raise
        self.segments = self.folder / "segments"
        self.files = self.folder / "files"
        self._schemas: dict[int, pa.Schema] = {}
        self._seeds: dict[int, int] = {}
        self._schema_ids: dict[bytes, int] = {}
        self.journal = journal.Journal(self.folder)
        self.journal.notice(self.catalog)
        self._open_text()
        self._open_vectors()

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.folder)

    def is_current(self) -> bool:
        """Whether the catalogue that was opened still lies in the folder."""
        return self.catalog.is_current()

    def close(self) -> None:
        """Close the catalogue."""
        self._close_text()
        self._close_vectors()
        self.catalog.close()

    # -- committing

    def stage(self) -> Stage:
        """A place to put rows before :meth:`commit`."""
        if self.read_only:
            raise VaultReadOnly("This vault is open for reading. Connect with mode='rw' to write.")
        return Stage(self.segments)

    def commit(self, batch: Batch, rows: Staging | None = None) -> Version:
        """Make the batch visible, or nothing of it."""
        assert rows is None or isinstance(rows, Stage)
        parts = rows.finish() if rows is not None else ()
        learnt: dict[bytes, int] = {}  # ids of schemas, which count when they are committed
        try:
            version, indexed = self.catalog.write(self._commit, batch, parts, learnt, rows)
        except StorageFull:
            if rows is not None:
                rows.keep(False)
            raise
        except Exception:
            # The commit may stand although it seems to have failed. A reader knows.
            settled = self._settled(batch)
            if settled is None:
                raise
            version, indexed = settled, True  # indexed with it, or the next search does it
        self._schema_ids.update(learnt)
        self.journal.note(self.catalog, version, batch.token, _files_of(parts, batch))
        if not indexed:
            self._index_later(version)
        return version

    def _settled(self, batch: Batch) -> Version | None:
        """The version that the batch made, if it was committed."""
        head = self.head(batch.list)
        return None if head is None else self._one(TOKEN, head.list_id, batch.token)

    def _commit(
        self,
        db: Connection,
        batch: Batch,
        parts: Sequence[Part],
        learnt: dict[bytes, int],
        rows: Stage | None,
    ) -> tuple[Version, bool]:
        """The new version, and whether its texts are in the index."""
        row = db.execute(HEAD, (batch.list,)).fetchone()
        head = version_of(row) if row else None
        if head is not None:
            known = db.execute(TOKEN, (head.list_id, batch.token)).fetchone()
            if known:
                return version_of(known), True
        check_place(batch, head)
        if head is None:
            list_id = db.execute(INSERT_LIST, (batch.list,)).lastrowid
            assert list_id is not None
        else:
            list_id = head.list_id
        target = self._target(db, batch) if batch.operation == "restore" else None
        version = placed(
            batch,
            head,
            list_id=list_id,
            rows=sum(part.rows for part in parts),
            schema_id=None if batch.schema is None else self._schema_id(db, batch.schema, learnt),
            now=datetime.now(UTC),
            target=target,
            after=db.execute(journal.LAST_LOST, (batch.list,)).fetchone()[0] or 0,
        )
        base = (None, None) if target is None else self._base(db, target)
        db.execute(
            INSERT_BATCH,
            (list_id, version.version, batch.token, batch.operation, version.generation, *base, version.start, version.rows,
             version.total, version.schema_id, version.session_id, version.cell, version.step,
             from_time(version.time), json.dumps(version.tags), version.message),
        )  # fmt: skip
        start = version.start
        for part in parts:
            if part.rows == 0 and version.generation != version.version:
                continue  # an empty part only says which types new content has
            schema_id = self._schema_id(db, part.schema, learnt)
            db.execute(
                INSERT_SEGMENT,
                (
                    list_id,
                    version.generation,
                    start,
                    part.rows,
                    schema_id,
                    part.codec,
                    part.file,
                    part.size,
                    part.checksum,
                    part.data,
                ),
            )
            start += part.rows
        insert_files(db, version, batch.files)
        insert_edges(db, version, batch.edges)
        if batch.session_id is not None:
            insert_reads(db, batch.session_id, batch.reads)
        for description in batch.descriptions:
            insert_description(db, replace(description, list_id=list_id))
        indexed = add_small(db, version, parts)
        io.point("rows-in")
        if rows is not None:
            rows.keep()
        return version, indexed

    def _target(self, db: Connection, batch: Batch) -> Version:
        row = db.execute(ONE_VERSION, (batch.list, batch.target)).fetchone()
        return check_target(batch, version_of(row) if row else None)

    def _base(self, db: Connection, target: Version) -> tuple[int, int]:
        """The generation and length a restore starts from: the oldest generation that holds all those rows."""
        generation = target.generation
        while True:
            base, base_total = db.execute(BASE, (target.list_id, generation)).fetchone()
            if base is None or target.total > base_total:
                return generation, target.total
            generation = base

    def _schema_id(self, db: Connection, schema: pa.Schema, learnt: dict[bytes, int]) -> int:
        """The schema's id; one that is not known yet is added to `learnt`, for its transaction may be rolled back."""
        data = schema.serialize().to_pybytes()
        known = self._schema_ids.get(data, learnt.get(data))
        if known is None:
            digest = sha256_of(data).digest()
            row = db.execute(SCHEMA_ID, (digest,)).fetchone()
            if row is None:
                row = (db.execute(INSERT_SCHEMA, (digest, data)).lastrowid,)
            known = learnt[data] = int(row[0])
        return known

    # -- schemas

    def schema(self, schema_id: int) -> pa.Schema:
        """A schema as committed."""
        if schema_id not in self._schemas:
            with self.catalog.reading() as db:
                row = db.execute(SCHEMA, (schema_id,)).fetchone()
            if row is None:
                raise VaultCorrupt(
                    f"The catalogue of {self.folder} lacks the schema {schema_id}. Restore it from a backup."
                )
            if sha256_of(row[0]).digest() != row[1]:
                raise VaultCorrupt(
                    f"The schema {schema_id} in {self.folder} is damaged. Restore it from a backup."
                )
            self._seeds[schema_id] = seed_of(row[0])
            self._schemas[schema_id] = pa.ipc.read_schema(pa.py_buffer(row[0]))
        return self._schemas[schema_id]

    def seed(self, schema_id: int) -> int:
        """The seed of the checksums of payloads with that schema."""
        self.schema(schema_id)
        return self._seeds[schema_id]

    # -- reading

    def scan(
        self,
        version: Version,
        *,
        start: int = 0,
        stop: int | None = None,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
    ) -> Iterator[Chunk]:
        """Rows of a version in position order. All of them: mapped from files, they cost nothing until looked at."""
        if version.gone:
            raise VersionNotFound.vacuumed(version.list, version.version)
        stop = version.total if stop is None else min(stop, version.total)
        if version.total == 0:
            yield from self._empty(version, columns)
        for generation, low, high in self.runs(version):
            low, high = max(low, start), min(high, stop)
            if low < high:
                yield from _gathered(self._scan_run(version, generation, low, high, columns))

    def _empty(self, version: Version, columns: Sequence[str] | None) -> Iterator[Chunk]:
        """A version without rows: its payload still says which categories a column has."""
        with self.catalog.reading() as db:
            row = db.execute(EMPTY_SEGMENT, (version.list_id, version.generation)).fetchone()
        if row is not None:
            yield self._chunk(row, 0, 0, columns, f"{version.list}@{version.version}")

    def runs(self, version: Version) -> list[tuple[int, int, int]]:
        """(generation, first, end): which positions of a version lie in which generation, in order."""
        runs = []
        generation, high = version.generation, version.total
        with self.catalog.reading() as db:
            while True:
                base, base_total = db.execute(BASE, (version.list_id, generation)).fetchone()
                runs.append((generation, base_total or 0, high))
                if base is None:
                    return runs[::-1]
                generation, high = base, base_total

    def _rows_of_run(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[Chunk]:
        """The rows of a generation, also where the version has them from another one."""
        yield from _gathered(self._scan_run(version, generation, low, high, columns))

    def _scan_run(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[tuple[int, Chunk]]:
        """Chunks with their schema ids."""
        where = f"{version.list}@{version.version}"
        missing = None
        while low < high:
            wanted = {"list": version.list_id, "generation": generation, "low": low, "high": high}
            with self.catalog.reading() as db:
                rows = db.execute(SEGMENTS, wanted).fetchall()
            if not rows or rows[0][0] > low or rows[0][0] + rows[0][1] <= low:
                raise self._lacking(
                    version,
                    f"Rows of {where} from position {low} on are missing. vault.check() lists all damage.",
                )
            for row in rows:
                if row[0] > low:
                    break  # a hole, or compaction moved on: ask the catalogue again
                try:
                    chunk = self._chunk(row, low, high, columns, where)
                except FileNotFoundError as error:
                    if missing == row[4]:
                        raise self._lacking(
                            version,
                            f"The segment {row[4]} with rows of {where} is missing. Other lists and versions stay readable; "
                            "restore this vault from a backup.",
                        ) from error
                    missing = row[4]  # compaction may have replaced it since the catalogue was read
                    break
                yield row[2], chunk
                low = min(row[0] + row[1], high)

    def _lacking(self, version: Version, damage: str) -> VaultError:
        """The error for rows that are not there: a vacuum may have come since `version` was looked up."""
        now = self.version(version.list, version.version)
        if now is not None and now.gone:
            return VersionNotFound.vacuumed(version.list, version.version)
        return VaultCorrupt(damage)

    def _chunk(
        self, row: tuple[Any, ...], low: int, high: int, columns: Sequence[str] | None, where: str
    ) -> Chunk:
        start, rows, schema_id, codec, file, size, checksum, data = row
        part = Part(rows, self.schema(schema_id), self.seed(schema_id), codec, size, checksum, data, file)
        table, private = unpack(part, self.segments, columns, where)
        if table.num_rows != rows and (columns is None or table.num_columns):
            raise VaultCorrupt(
                f"A segment of {where} holds {table.num_rows} rows, where {rows} were committed."
            )
        stop = min(start + rows, high)
        first = max(start, low)
        if (first, stop) != (start, start + rows):
            table = table.slice(first - start, stop - first)
        return Chunk(range(first, stop), table, private)

    # -- care

    def is_segment(self, name: str) -> bool:
        """Whether the catalogue names a segment."""
        with self.catalog.reading() as db:
            return db.execute(IS_SEGMENT, (name,)).fetchone() is not None

    def check(self, *, fix: bool = False, progress: Progress | None = None) -> list[Problem]:
        """Verify everything."""
        return care.check(self, fix=fix, progress=progress)

    def compact(self, name: str | None = None, *, progress: Progress | None = None) -> list[Compacted]:
        """Merge small parts."""
        return space.compact(self, name, progress=progress)

    def vacuum(self, *, keep: int = 1, deleted: bool = False, dry_run: bool = True) -> list[Freed]:
        """Remove what no kept version shows."""
        return space.vacuum(self, keep=keep, deleted=deleted, dry_run=dry_run)


def _files_of(parts: Sequence[Part], batch: Batch) -> list[str]:
    """What holds the content of a commit outside of the catalogue."""
    return [part.file for part in parts if part.file is not None] + [sha256 for sha256, _ in batch.files]


def _gathered(chunks: Iterable[tuple[int, Chunk]]) -> Iterator[Chunk]:
    """Small neighbours of one schema as one chunk: what was appended row by row is decoded in one go."""
    waiting: list[Chunk] = []
    schema = None
    for schema_id, chunk in chunks:
        small = len(chunk.positions) < SMALL_ROWS
        if waiting and (not small or schema_id != schema or len(waiting) == SMALL_ROWS):
            yield _joined(waiting)
            waiting = []
        if small:
            waiting.append(chunk)
            schema = schema_id
        else:
            yield chunk
    if waiting:
        yield _joined(waiting)


def _joined(chunks: list[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    table = pa.concat_tables([chunk.table for chunk in chunks])
    if has_dictionary(table.schema):
        table = table.unify_dictionaries()
    return Chunk(
        range(chunks[0].positions[0], chunks[-1].positions[-1] + 1), table.combine_chunks(), private=True
    )
