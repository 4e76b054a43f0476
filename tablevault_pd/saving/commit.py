"""What every way of writing to a list shares: what the caller asked for, the batch, and the schema that the list gets by it."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tablevault_pd import frames
from tablevault_pd.errors import Conflict, ListDeleted
from tablevault_pd.reading.chunks import aligned
from tablevault_pd.reading.read import list_not_found
from tablevault_pd.store import Batch, Confirmation, Description, FileKeeper, Operation, Store, Version
from tablevault_pd.store.engine.commit_rules import check_expected

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    import pyarrow as pa

    from tablevault_pd.saving.fit import Fitter
    from tablevault_pd.saving.ingest import IngestedChunk
    from tablevault_pd.store.work import Finish


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """The arguments of one save, append, upsert or delete_rows."""

    list: str
    operation: Operation
    schema_mode: str = "evolve"
    copy: bool = False  #: whether the contents of files are kept
    session_id: int | None = None
    attempt: int | None = None  #: of the session
    cell: int | None = None
    tags: tuple[str, ...] | None = None
    descriptions: tuple[Description, ...] = ()
    reads: tuple[tuple[int, int], ...] = ()
    expect: int | None = None  #: the version the list must be at (0: it never was)
    message: str | None = None
    step: int | None = None
    line: int | None = None  #: as :attr:`Version.line`
    finishes: tuple[Finish, ...] = ()  #: claims that it finishes
    #: the columns that name a row; None: those that the list has already
    key: tuple[Hashable, ...] | None = None
    drop_missing: bool | tuple[Hashable, ...] = False  #: of an upsert: which rows go that are not given
    language: str | None = None  #: of the texts; None: that of the list

    @property
    def is_append(self) -> bool:
        """Whether the rows join those of the list."""
        return self.operation != "save"


def head_of(store: Store, request: WriteRequest) -> Version | None:
    """Return the newest version of the list. Raises Conflict, ListDeleted; for rows to delete ListNotFound."""
    head = store.head(request.list)
    check_expected(request.list, request.expect, head)
    if head is None and request.operation in ("delete_rows", "erase"):
        raise list_not_found(store, request.list)
    if request.is_append and head is not None and head.deleted:
        raise ListDeleted.named(request.list)
    return head


def keep_files(keeping: FileKeeper | None, chunk: IngestedChunk) -> None:
    """Keep the contents of the files that a chunk names."""
    if keeping is not None:
        for file in chunk.files:
            assert file.sha256 is not None  # the content was read
            keeping(file.local, file.sha256)


def confirm(
    store: Store, request: WriteRequest, head: Version, made_again: Confirmation | None = None
) -> Version:
    """Finish claims, store new descriptions, and record that rows of `head` were made again: those of `made_again`, or all."""
    if request.finishes:
        store.finish(request.finishes, session_id=request.session_id, attempt=request.attempt)
    # What was finished is done: the rest goes with it.
    attempt = None if request.finishes else request.attempt
    if made_again is None:
        made_again = confirmation_of(request)
    if made_again.rows != ():  # before the descriptions: refused where the session was resumed elsewhere
        again = replace(made_again, list_id=head.list_id, version=head.version)
        store.confirm(again, attempt=attempt)
    present = (
        {(old.list_id, old.label, old.text) for old in store.descriptions()} if request.descriptions else ()
    )
    for description in request.descriptions:
        if (head.list_id, description.label, description.text) not in present:
            store.describe(replace(description, list_id=head.list_id), attempt=attempt)
    return head


def confirmation_of(
    request: WriteRequest,
    rows: tuple[tuple[int, int], ...] | None = None,
    made_from: tuple[tuple[int, int], ...] = (),
) -> Confirmation:
    """What is kept of rows that a write found as it would have written them; all rows if `rows` is None."""
    return Confirmation(0, 0, request.session_id, request.cell, request.line, None, rows, made_from)


def batch_of(request: WriteRequest, **more: Any) -> Batch:
    """The batch of a write, with what depends on its rows and on the list."""
    more.setdefault("expect", request.expect)
    return Batch(
        new_token(),
        request.list,
        request.operation,
        session_id=request.session_id,
        attempt=request.attempt,
        cell=request.cell,
        step=request.step,
        line=request.line,
        tags=request.tags,
        message=request.message,
        descriptions=request.descriptions,
        reads=request.reads,
        finishes=request.finishes,
        **more,
    )


def new_token() -> str:
    """Return the name of one commit. Those of a list are in the order of time, so that an index of them grows at its end."""
    return f"{time.time_ns():016x}{os.urandom(8).hex()}"


def fitted(store: Store, request: WriteRequest, fitter: Fitter, head: Version | None, **more: Any) -> Batch:
    """Return the batch of a write with the new schema of its list. Raises SchemaMismatch, ListDeleted."""
    if head is None or request.operation == "save":
        # A save without a key must not take the place of rows that got one meanwhile.
        without_key = request.operation == "save" and not frames.key_fields(fitter.schema)
        base = None if not without_key else 0 if head is None else head.schema_id
        return batch_of(request, schema=fitter.schema, base=base, **more)
    if head.deleted:
        raise ListDeleted.named(request.list)
    merged = fitter.merge_into(store.schema(head.schema_id))
    of_present = [check for check in merged.checks if check.side == "old"]
    for check in of_present:
        for column in _column_of(store, head, check.field):
            frames.run_check(check, column)
    # Stored rows must survive a promotion, too, and no rows may be added after this check.
    expect = head.version if of_present else request.expect
    return batch_of(request, schema=merged.schema, base=head.schema_id, expect=expect, **more)


def _column_of(store: Store, version: Version, field: str) -> Iterator[pa.ChunkedArray]:
    """Yield one column of a version, chunk by chunk, in the schema of that version."""
    schema = store.schema(version.schema_id)
    if field not in schema.names:
        return
    part = frames.part_of(schema, [field])
    for chunk in store.scan(version, columns=[field]):
        yield aligned(chunk, part).column(0)


def retrying(
    store: Store, request: WriteRequest, attempt: Callable[[Version | None], Version], head: Version | None
) -> Version:
    """Change the newest version; and again for as long as other writers were faster, within the vault's timeout."""
    deadline = time.monotonic() + store.timeout_s
    while True:
        try:
            return attempt(head)
        except Conflict:
            if request.expect is not None or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0, 0.02))  # noqa: S311  # jitter, not a secret
        head = head_of(store, request)
