"""How a batch becomes visible: segment files first, then one transaction of the catalogue.

The files get names never used before and are synced with their folder; the transaction inserts the row of the batch.
That row is the commit. A crash in between leaves a stray file.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from tablevault_pd.errors import StorageFull, VaultError, VaultReadOnly
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.attempts import check_attempt
from tablevault_pd.store.embedded.blobs import insert_files
from tablevault_pd.store.embedded.claims import finish_claims
from tablevault_pd.store.embedded.code import confirm
from tablevault_pd.store.embedded.edges import insert_edges, insert_reads
from tablevault_pd.store.embedded.names import renamed_to
from tablevault_pd.store.embedded.segments import Payload, Stage
from tablevault_pd.store.embedded.sessions import insert_description
from tablevault_pd.store.embedded.versions import (
    ONE_VERSION,
    TOKEN,
    content_of,
    erased_rows,
    tags_text,
    version_of,
)
from tablevault_pd.store.engine.commit_rules import AlreadyNewest, check_commit, placed_version
from tablevault_pd.store.engine.int_codec import pack_pieces
from tablevault_pd.store.engine.name_rules import check_not_renamed
from tablevault_pd.store.times import from_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from sqlite3 import Connection

    from tablevault_pd.store import Batch, Staging, Version
    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.embedded.journal import Journal
    from tablevault_pd.store.embedded.schemas import Schemas
    from tablevault_pd.store.embedded.versions import Versions

INSERT_LIST = "INSERT INTO lists (name) VALUES (?)"
INSERT_BATCH = """
INSERT INTO batches (list, version, token, operation, generation, layout, first, start, rows, total, changed, removed, schema,
                     session, cell, step, time, tags, message, line, gone)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
INSERT_LAYOUT = "INSERT INTO layouts (list, version, pieces) VALUES (?, ?, ?)"
INSERT_SEGMENT = """
INSERT INTO segments (list, generation, start, rows, schema, codec, file, size, checksum, data, zones)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


@dataclass(frozen=True, slots=True)
class _Work:
    """One batch on its way: what its transaction needs, and the ids of schemas that it found."""

    batch: Batch
    stage: Stage | None
    parts: Sequence[Payload]
    schema_ids: dict[bytes, int] = field(default_factory=dict)
    also: Callable[[Connection, Version], None] | None = None  #: done in the same transaction


class Committer:
    """Commits batches to the lists of one vault folder."""

    def __init__(
        self,
        catalog: SqliteCatalog,
        schemas: Schemas,
        versions: Versions,
        commits: Journal,
        segments: Path,
        index_later: Callable[[Version], None],
    ) -> None:
        self._catalog, self._schemas, self._versions = catalog, schemas, versions
        self._journal, self._segments, self._index_later = commits, segments, index_later

    def stage(self) -> Stage:
        if self._catalog.read_only:
            raise VaultReadOnly("This vault is open for reading. Connect with mode='rw' to write.")
        return Stage(self._segments)

    def commit(self, batch: Batch, rows: Staging | None = None) -> Version:
        return self.commit_also(batch, rows)

    def commit_also(
        self,
        batch: Batch,
        rows: Staging | None = None,
        also: Callable[[Connection, Version], None] | None = None,
    ) -> Version:
        """Make the batch visible, and do `also` in the same transaction."""
        assert rows is None or isinstance(rows, Stage)
        work = _Work(batch, rows, rows.finish() if rows is not None else (), also=also)
        try:
            version = self._catalog.write_then(partial(self._mark, work), self._commit, work)
        except AlreadyNewest as same:
            return same.head
        except StorageFull:
            if rows is not None:
                rows.keep(False)
            raise
        except Exception:
            # The commit may stand although it seems to have failed. A reader knows.
            committed = self._committed(batch)
            if committed is None:
                raise
            version = committed
            with suppress(VaultError), self._catalog.lock():  # what stands must not seem to fail
                self._mark(work, version)
        if work.schema_ids:
            self._schemas.remember(work.schema_ids)
        self._index_later(version)
        io.failpoint("before-return")
        return version

    def _mark(self, work: _Work, version: Version) -> None:
        self._journal.note(self._catalog, version, work.batch.token, _files_of(work))

    def _committed(self, batch: Batch) -> Version | None:
        """Return the version that the batch made, if it was committed."""
        head = self._versions.head(batch.list)
        return None if head is None else self._versions.one(TOKEN, head.list_id, batch.token)

    def _commit(self, db: Connection, work: _Work) -> Version:
        batch = work.batch
        head, lost = self._versions.heads.of(db, batch.list)
        if head is None:
            check_not_renamed(batch, renamed_to(db, batch.list))
        check_commit(batch, head)
        if batch.finishes:
            finish_claims(db, batch.finishes)
        if batch.session_id is not None and batch.attempt is not None:
            check_attempt(db, batch.session_id, batch.attempt)
        version = self._insert_batch(db, work, head, lost)
        self._insert_segments(db, work, version)
        if batch.files:
            insert_files(db, version, batch.files)
        if batch.edges:
            insert_edges(db, version, batch.edges)
        if batch.reads and batch.session_id is not None:
            insert_reads(db, batch.session_id, batch.reads)
        for description in batch.descriptions:
            insert_description(db, replace(description, list_id=version.list_id))
        if batch.confirms is not None:
            confirm(db, replace(batch.confirms, list_id=version.list_id, version=version.version))
        if work.also is not None:
            work.also(db, version)
        io.failpoint("rows-in")
        if work.stage is not None:
            work.stage.keep()
        return version

    def _insert_batch(self, db: Connection, work: _Work, head: Version | None, lost: int) -> Version:
        batch = work.batch
        list_id = head.list_id if head is not None else db.execute(INSERT_LIST, (batch.list,)).lastrowid
        assert list_id is not None
        rows = 0 if work.stage is None else work.stage.rows
        schema_id = None if batch.schema is None else self._schemas.insert(db, batch.schema, work.schema_ids)
        target = db.execute(ONE_VERSION, (batch.list, batch.target)).fetchone() if batch.target else None
        version, layout = placed_version(
            batch,
            head,
            version_of(target) if target else None,
            list_id=list_id,
            rows=rows,
            schema_id=schema_id,
            now=datetime.now(UTC),
            content_of=partial(content_of, db),
            erased=partial(erased_rows, db, list_id),
            after=lost,
        )
        db.execute(
            INSERT_BATCH,
            (list_id, version.version, batch.token, batch.operation, version.generation, version.layout, version.first,
             version.start, version.rows, version.total, version.changed, version.removed, version.schema_id,
             version.session_id, version.cell, version.step, from_time(version.time),
             tags_text(version.tags), version.message, version.line, version.gone),
        )  # fmt: skip
        if layout is not None:
            db.execute(INSERT_LAYOUT, (list_id, version.version, pack_pieces(layout)))
        self._versions.heads.note(version, batch.token)
        return version

    def _insert_segments(self, db: Connection, work: _Work, version: Version) -> None:
        start = version.start
        for part in work.parts:
            if part.rows == 0 and version.generation != version.version:
                continue  # an empty part only says which types new content has
            schema_id = self._schema_of(db, part, work, version)
            payload = (part.codec, part.file, part.size, part.checksum, part.data, part.zones)
            place = (version.list_id, version.generation, start, part.rows, schema_id)
            db.execute(INSERT_SEGMENT, (*place, *payload))
            start += part.rows

    def _schema_of(self, db: Connection, part: Payload, work: _Work, version: Version) -> int:
        """The id of the schema of a part: mostly that of its version, whose id is known."""
        schema = work.batch.schema
        if schema is not None and part.schema.equals(schema, check_metadata=True):
            return version.schema_id
        return self._schemas.insert(db, part.schema, work.schema_ids)


def _files_of(work: _Work) -> list[str]:
    """Return what holds the content of a commit outside of the catalogue."""
    files = [part.file for part in work.parts if part.file is not None]
    return files + [sha256 for sha256, _ in work.batch.files]
