"""How rows get into a list: compared with what is there, fitted to its columns, staged, committed."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import Conflict, InvalidName, ListDeleted, SchemaMismatch
from tablevault_pd.progress import Bar
from tablevault_pd.reading.read import aligned
from tablevault_pd.store import Batch, Description, Keeping, Operation, Staging, Store, Version
from tablevault_pd.store.engine.commit_rules import check_expected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tablevault_pd.lineage.record import Trace
    from tablevault_pd.store.edges import Edge

RETRY_FOR_S = 30.0


@dataclass(frozen=True, slots=True)
class Write:
    """One save or append, as the caller asked for it."""

    list: str
    operation: Operation
    trace: Trace  #: knows the parents once all rows went through it
    schema_mode: str = "evolve"
    session_id: int | None = None
    cell: int | None = None
    tags: tuple[str, ...] | None = None
    descriptions: tuple[Description, ...] = ()
    reads: tuple[tuple[int, int], ...] = ()
    expect: int | None = None  #: the version the list must be at (0: it never was)
    message: str | None = None


def write(store: Store, what: Write, tables: Iterable[pa.Table], kept: Keeping | None = None) -> Version:
    """Commit the rows of `tables` as one batch, and return the version that shows them.

    `kept` knows the files that were kept for the rows once all of these were encoded.

    Everything is checked against the list as it stands before the first row is staged, and again if another writer
    changes the list meanwhile.
    """
    stream = iter(tables)
    first = next(stream)
    head = store.head(what.list)
    check_expected(what.list, what.expect, head)
    append = what.operation == "append"
    if append and head is not None and head.deleted:
        raise ListDeleted.named(what.list)
    present = store.schema(head.schema_id) if head is not None else None
    if append and present is not None and head is not None:
        first = frames.fit_index(first, present, head.total)
    _check_addresses(store, what.list, first.schema, present)
    fitter = _Fitter(what, present if append or what.schema_mode == "strict" else None)
    fitter.add(first)
    second = next(stream, None)
    edges: tuple[Edge, ...] | None = None
    if second is None:
        edges = what.trace.edges(first.num_rows)
        if (
            not append
            and head is not None
            and _unchanged(store, head, first, what)
            and what.trace.same(head, edges)
        ):
            _describe(store, head, what.descriptions)
            return head
    with store.stage() as rows, Bar(f"saving {what.list}", unit="rows") as bar:
        rows.write(first)
        bar(first.num_rows)
        for table in chain([second] if second is not None else [], stream):
            table = frames.fit_index(table, fitter.schema, rows.rows)
            fitter.add(table)
            rows.write(table)
            bar(table.num_rows)
        edges = what.trace.edges(rows.rows) if edges is None else edges
        what.trace.warn()
        return _commit(store, what, fitter, rows, head, edges, () if kept is None else kept.files)


def _describe(store: Store, head: Version, told: Sequence[Description]) -> None:
    """Keep new descriptions although there is no version to commit them with."""
    known = {(each.list_id, each.label, each.text) for each in store.descriptions()} if told else ()
    for description in told:
        if (head.list_id, description.label, description.text) not in known:
            store.describe(replace(description, list_id=head.list_id))


class _Fitter:
    """The schema that the rows seen so far have together, each table checked against the list it is to join."""

    def __init__(self, what: Write, present: pa.Schema | None) -> None:
        self._what = what
        self._present = present
        self._seen: set[str] = set()  # widenings that the values were found to survive
        self.schema: pa.Schema = None

    def add(self, table: pa.Table) -> None:
        """Raises SchemaMismatch if the rows do not fit, or a value would not survive."""
        if self._present is not None:
            self._check(
                frames.merge(self._present, table.schema, mode=self._what.schema_mode, rows=table), table
            )
        if self.schema is None:
            self.schema = table.schema
        else:
            merged = frames.merge(self.schema, table.schema, mode=self._what.schema_mode, rows=table)
            self._check(merged, table)
            self.schema = merged.schema

    def _check(self, merged: frames.Merge, table: pa.Table) -> None:
        for check in merged.checks:
            if check.side == "new":
                frames.run_check(check, table.column(check.field))
                self._seen.add(_told(check))

    def merge(self, present: pa.Schema) -> frames.Merge:
        """What the list's schema becomes. Raises Conflict if it changed so that values would have to be looked at again."""
        merged = frames.merge(present, self.schema, mode=self._what.schema_mode)
        if any(check.side == "new" and _told(check) not in self._seen for check in merged.checks):
            raise SchemaMismatch(
                f"The columns of {self._what.list!r} changed while rows were being added. Add them again."
            )
        return merged


def _told(check: frames.ValueCheck) -> str:
    """What a check is about, as text: Arrow fields compare equal although their metadata differ."""
    return f"{check.source!r} {check.source.metadata} {check.target!r} {check.target.metadata}"


def _commit(
    store: Store,
    what: Write,
    fitter: _Fitter,
    rows: Staging,
    head: Version | None,
    edges: tuple[Edge, ...],
    files: tuple[tuple[str, int], ...],
) -> Version:
    """Commit, fitting the list's columns anew each time another writer was faster."""
    token = uuid.uuid4().hex
    deadline = time.monotonic() + RETRY_FOR_S
    while True:
        try:
            batch = _batch(store, what, fitter, token, head)
            return store.commit(replace(batch, edges=edges, files=files), rows)
        except Conflict:
            if what.expect is not None or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0, 0.02))  # noqa: S311  # jitter, not a secret
            head = store.head(what.list)


def _batch(store: Store, what: Write, fitter: _Fitter, token: str, head: Version | None) -> Batch:
    batch = Batch(
        token,
        what.list,
        what.operation,
        schema=fitter.schema,
        session_id=what.session_id,
        cell=what.cell,
        tags=what.tags,
        message=what.message,
        descriptions=what.descriptions,
        reads=what.reads,
        expect=what.expect,
    )
    if head is None or what.operation != "append":
        return batch
    if head.deleted:
        raise ListDeleted.named(what.list)
    merged = fitter.merge(store.schema(head.schema_id))
    old = [check for check in merged.checks if check.side == "old"]
    for (
        check
    ) in old:  # what is there must survive a widening too, and no other value may slip in after the look
        for table in aligned_columns(store, head, check.field):
            frames.run_check(check, table)
    expect = head.version if old else what.expect
    return replace(batch, schema=merged.schema, base=head.schema_id, expect=expect)


def aligned_columns(store: Store, version: Version, field: str) -> Iterator[pa.ChunkedArray]:
    """One column of a version, chunk by chunk, in the schema of that version."""
    schema = store.schema(version.schema_id)
    if field not in schema.names:
        return
    part = pa.schema([schema.field(field)], metadata=schema.metadata)
    for chunk in store.scan(version, columns=[field]):
        yield aligned(chunk, part).column(0)


def _unchanged(store: Store, head: Version, table: pa.Table, what: Write) -> bool:
    """Whether saving `table` would make a version just like the newest one."""
    if (
        head.deleted
        or head.gone
        or head.total != table.num_rows
        or (what.tags is not None and what.tags != head.tags)
        or what.message not in (None, head.message)
    ):
        return False
    schema = store.schema(head.schema_id)
    if not schema.equals(table.schema, check_metadata=True):
        return False
    done = 0
    for chunk in store.scan(head):
        part = aligned(chunk, schema)
        if not frames.same(part, table.slice(done, part.num_rows)):
            return False
        done += part.num_rows
    return done == int(table.num_rows)


def _check_addresses(store: Store, name: str, schema: pa.Schema, present: pa.Schema | None) -> None:
    """Refuse a name that would hide a column's address (``papers.vec``), and a column that a name already hides."""
    if present is None:
        for dot in (place for place, character in enumerate(name) if character == "."):
            other = store.head(name[:dot])
            if other is None:
                continue
            labels = {str(column.label) for column in frames.columns(store.schema(other.schema_id))}
            if name[dot + 1 :] in labels:
                raise InvalidName(
                    f"{name!r} cannot name a list: it is the address of the column {name[dot + 1 :]!r} of the list {name[:dot]!r}."
                )
    if present is not None and present.equals(schema):
        return
    known = set() if present is None else {str(column.label) for column in frames.columns(present)}
    new = {
        f"{name}.{column.label}": column.label
        for column in frames.columns(schema)
        if str(column.label) not in known
    }
    if not new:
        return
    hidden = set(store.names(f"{name}.")) & set(new)
    if hidden:
        address = min(hidden)
        raise InvalidName(
            f"The list {address!r} exists, so the column {new[address]!r} of {name!r} could not be addressed. Rename one of them."
        )
