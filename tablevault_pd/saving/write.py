"""Make a version of a list from chunks: fit them to its columns, stage them, commit them.

Nothing is written before the rows are known to fit: neither rows nor the contents of files. Of a stream this holds chunk by
chunk: what was staged before a chunk that does not fit is invisible, and removed.
"""

from __future__ import annotations

import random
import time
import uuid
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import Conflict, ListDeleted
from tablevault_pd.progress import Bar
from tablevault_pd.reading.read import aligned
from tablevault_pd.saving.addresses import check_addresses
from tablevault_pd.saving.fit import Fitter
from tablevault_pd.store import (
    Batch,
    Confirmation,
    Description,
    FileKeeper,
    Operation,
    Staging,
    Store,
    Version,
)
from tablevault_pd.store.engine.commit_rules import check_expected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tablevault_pd.lineage.edges import ParentClaim
    from tablevault_pd.lineage.record import LineageRecorder
    from tablevault_pd.saving.ingest import IngestedChunk
    from tablevault_pd.store.edges import Edge
    from tablevault_pd.store.work import Finish

RETRY_FOR_S = 30.0


@dataclass(frozen=True, slots=True)
class Write:
    """The arguments of one save or append."""

    list: str
    operation: Operation
    schema_mode: str = "evolve"
    copy: bool = False  #: whether the contents of files are kept
    session_id: int | None = None
    cell: int | None = None
    tags: tuple[str, ...] | None = None
    descriptions: tuple[Description, ...] = ()
    reads: tuple[tuple[int, int], ...] = ()
    expect: int | None = None  #: the version the list must be at (0: it never was)
    message: str | None = None
    step: int | None = None
    line: int | None = None  #: as :attr:`Version.line`
    finishes: tuple[Finish, ...] = ()  #: claims that it finishes

    @property
    def is_append(self) -> bool:
        """Whether the rows are appended to those of the list."""
        return self.operation == "append"


def write(store: Store, what: Write, lineage: LineageRecorder, chunks: Iterable[IngestedChunk]) -> Version:
    """Commit the rows of `chunks` as one batch, and return the version that shows them.

    Saving what the newest version holds, with the same tags and parents, makes no version: the newest one is returned.
    """
    stream = iter(chunks)
    first = next(stream)
    head = _head(store, what)
    present = None if head is None else store.schema(head.schema_id)
    fitter = _fitter(what, head, present)
    fitted = map(fitter.fit, chain([first], stream))
    first = next(fitted)
    check_addresses(store, what.list, first.table.schema, present)
    second = next(fitted, None)
    edges = _edges_of_one(lineage, first) if second is None else None
    with store.keeping() if what.copy else nullcontext() as keeping:
        if head is not None and edges is not None and _is_unchanged(store, what, lineage, head, first, edges):
            if what.finishes:
                store.finish(what.finishes)
            _keep(keeping, first)
            _describe(store, head, what.descriptions)
            store.confirm(Confirmation(head.list_id, head.version, what.session_id, what.cell, what.line))
            return head
        with store.stage() as staging:
            all_chunks = chain([first], [] if second is None else [second], fitted)
            claims, stand_ins = _stage(what, staging, keeping, all_chunks)
            if edges is None:
                edges = lineage.edges(staging.rows, claims)
            lineage.warn(stand_ins)
            batch = replace(_batch(what), edges=edges, files=() if keeping is None else keeping.files)
            return _commit(store, batch, fitter, staging, head)


def _head(store: Store, what: Write) -> Version | None:
    """Return the newest version of the list. Raises Conflict, ListDeleted."""
    head = store.head(what.list)
    check_expected(what.list, what.expect, head)
    if what.is_append and head is not None and head.deleted:
        raise ListDeleted.named(what.list)
    return head


def _fitter(what: Write, head: Version | None, present: pa.Schema | None) -> Fitter:
    """Return the fitter of a save: for an append, or a save in the mode "strict", with the columns of the list."""
    if what.is_append and head is not None:
        return Fitter(what.list, what.schema_mode, present, head.total)
    return Fitter(what.list, what.schema_mode, present if what.schema_mode == "strict" else None)


def _edges_of_one(lineage: LineageRecorder, chunk: IngestedChunk) -> tuple[Edge, ...]:
    return lineage.edges(chunk.table.num_rows, chunk.parents.claims, chunk.parents.frame)


# -- a save that changes nothing


def _is_unchanged(
    store: Store,
    what: Write,
    lineage: LineageRecorder,
    head: Version,
    only: IngestedChunk,
    edges: Sequence[Edge],
) -> bool:
    """Return whether saving the one chunk would make a version equal to the newest one."""
    if not _is_same_version(what, head, only.table.num_rows) or not _has_rows(store, head, only.table):
        return False
    return lineage.says_nothing_new(head, edges)


def _is_same_version(what: Write, head: Version, rows: int) -> bool:
    if what.is_append or head.deleted or head.gone or head.total != rows:
        return False
    return what.tags in (None, head.tags) and what.message in (None, head.message)


def _has_rows(store: Store, head: Version, table: pa.Table) -> bool:
    schema = store.schema(head.schema_id)
    if not schema.equals(table.schema, check_metadata=True):
        return False
    rows = 0
    for chunk in store.scan(head):
        part = aligned(chunk, schema)
        if not frames.same(part, table.slice(rows, part.num_rows)):
            return False
        rows += part.num_rows
    return rows == int(table.num_rows)


def _describe(store: Store, head: Version, descriptions: Sequence[Description]) -> None:
    """Store new descriptions where there is no version to commit."""
    present = {(old.list_id, old.label, old.text) for old in store.descriptions()} if descriptions else ()
    for description in descriptions:
        if (head.list_id, description.label, description.text) not in present:
            store.describe(replace(description, list_id=head.list_id))


# -- staging


def _stage(
    what: Write, staging: Staging, keeping: FileKeeper | None, chunks: Iterable[IngestedChunk]
) -> tuple[list[ParentClaim], tuple[Version, ...]]:
    """Stage fitted chunks. Return the parents of all rows, and the stand-ins that a warning names."""
    claims: list[ParentClaim] = []
    stand_ins: tuple[Version, ...] = ()
    with Bar(f"saving {what.list}", unit="rows") as bar:
        for chunk in chunks:
            claims += chunk.parents.moved(staging.rows)
            stand_ins = stand_ins or chunk.parents.stand_ins
            _keep(keeping, chunk)
            staging.write(chunk.table)
            bar(chunk.table.num_rows)
    return claims, stand_ins


def _keep(keeping: FileKeeper | None, chunk: IngestedChunk) -> None:
    """Keep the contents of the files that a chunk names."""
    if keeping is not None:
        for file in chunk.files:
            keeping(Path(file.path), file.sha256)


# -- the commit


def _batch(what: Write) -> Batch:
    return Batch(
        uuid.uuid4().hex,
        what.list,
        what.operation,
        session_id=what.session_id,
        cell=what.cell,
        step=what.step,
        line=what.line,
        tags=what.tags,
        message=what.message,
        descriptions=what.descriptions,
        reads=what.reads,
        expect=what.expect,
        finishes=what.finishes,
    )


def _commit(store: Store, batch: Batch, fitter: Fitter, staging: Staging, head: Version | None) -> Version:
    """Commit; after each Conflict, fit the chunks to the changed list and try again."""
    deadline = time.monotonic() + RETRY_FOR_S
    while True:
        try:
            return store.commit(_fitted(store, batch, fitter, head), staging)
        except Conflict:
            if batch.expect is not None or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0, 0.02))  # noqa: S311  # jitter, not a secret
            head = store.head(batch.list)


def _fitted(store: Store, batch: Batch, fitter: Fitter, head: Version | None) -> Batch:
    """Return the batch with the new schema of its list."""
    if head is None or batch.operation != "append":
        return replace(batch, schema=fitter.schema)
    if head.deleted:
        raise ListDeleted.named(batch.list)
    merged = fitter.merge_into(store.schema(head.schema_id))
    of_present = [check for check in merged.checks if check.side == "old"]
    for check in of_present:
        for column in _column_of(store, head, check.field):
            frames.run_check(check, column)
    # Stored rows must survive a promotion, too, and no rows may be added after this check.
    expect = head.version if of_present else batch.expect
    return replace(batch, schema=merged.schema, base=head.schema_id, expect=expect)


def _column_of(store: Store, version: Version, field: str) -> Iterator[pa.ChunkedArray]:
    """Yield one column of a version, chunk by chunk, in the schema of that version."""
    schema = store.schema(version.schema_id)
    if field not in schema.names:
        return
    part = pa.schema([schema.field(field)], metadata=schema.metadata)
    for chunk in store.scan(version, columns=[field]):
        yield aligned(chunk, part).column(0)
