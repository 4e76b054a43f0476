"""Write rows to a list with a key: compare them with those it has, and write only those that differ.

The comparison is valid for the version that the commit follows: if another writer was faster, it is repeated.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import DuplicateKey, InvalidInput, SchemaMismatch
from tablevault_pd.keys.difference import Difference, Present, difference, taken
from tablevault_pd.keys.key import checked_digests, find_key, key_labels, shown_key
from tablevault_pd.keys.key_index import note_rows
from tablevault_pd.saving.commit import WriteRequest, confirm, confirmation_of, fitted, keep_files, retrying
from tablevault_pd.saving.conflicts import renamed
from tablevault_pd.store.pieces import EMPTY, OWN, Pieces

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    import pandas as pd

    from tablevault_pd.lineage.parent_links import ParentLink
    from tablevault_pd.lineage.record import LineageRecorder
    from tablevault_pd.saving.fit import Fitter
    from tablevault_pd.saving.ingest import IngestedChunk
    from tablevault_pd.store import Batch, Confirmation, FileKeeper, Store, Version
    from tablevault_pd.store.edges import Edge

SHOWN_ROWS = 3
MOST_RUNS = 4096  #: of rows that were made again; where they are more scattered nothing is kept of them


def key_of(request: WriteRequest, present: pa.Schema | None) -> Sequence[Hashable] | None:
    """The key under which rows are written: the one that was given, else the list's; None if there is none.

    An upsert always has one; an empty one stands for the names of the index. Raises InvalidInput for rows that are not those of
    the function which makes the list.
    """
    labels, numbers = ((), frozenset()) if present is None else _key_and_numbers(present)
    if numbers and not (request.key and numbers.issuperset(request.key)):
        raise InvalidInput(
            f"The list {request.list!r} was made by map, which keeps with each row the input that it belongs to: only map writes to it. "
            "Save these rows under another name."
        )
    if request.key is not None:
        return request.key
    return labels or (() if request.operation == "upsert" else None)


@frames.once_for_each_schema
def _key_and_numbers(schema: pa.Schema) -> tuple[Sequence[Hashable], frozenset[Hashable]]:
    """The key of a list, and the fields beside its columns."""
    return tuple(key_labels(schema)), frozenset(field.name for field in frames.fields_beside(schema))


class KeyOfSave:
    """The key of rows that are saved: their key columns are kept until all are there, and then checked."""

    def __init__(self, request: WriteRequest, key: Sequence[Hashable] | None) -> None:
        self._what, self._key = request, key
        self._tables: list[pa.Table] = []
        self._digests: np.ndarray | None = None

    def note(self, chunk: IngestedChunk) -> IngestedChunk:
        """The chunk as it is stored. Raises InvalidInput where it lacks a column of the key."""
        if self._key is None:
            return chunk
        schema = chunk.table.schema
        fields = find_key(schema, self._key, self._what.list)
        self._tables.append(chunk.table.select(fields))
        keyed = frames.with_key(schema, fields)
        return replace(chunk, table=chunk.table.replace_schema_metadata(keyed.metadata))

    def check(self, fitter: Fitter) -> None:
        """Raise InvalidInput for a key that is missing, DuplicateKey for one that is there twice."""
        if self._key is None:
            return
        fields = find_key(fitter.schema, self._key, self._what.list)
        fitter.schema = frames.with_key(fitter.schema, fields)
        part = frames.part_of(fitter.schema, fields)
        table = pa.concat_tables([frames.align(table, part) for table in self._tables])
        self._digests = checked_digests(table, fields, self._what.list)

    def remember(self, store: Store, version: Version) -> None:
        """Spare the next upsert to read the keys that were saved as `version`."""
        if self._digests is not None:
            schema = store.schema(version.schema_id)
            note_rows(store, version, schema, frames.key_fields(schema), self._digests)


def write_keyed(
    store: Store,
    request: WriteRequest,
    lineage: LineageRecorder,
    fitter: Fitter,
    chunks: Iterable[IngestedChunk],
    head: Version | None,
) -> Version:
    """Append or upsert rows, and return the version that shows them: `head`, if the list has them all already."""
    with store.keeping() if request.copy else nullcontext() as keeping:
        writer = _KeyedWriter(store, request, lineage, fitter, list(chunks), keeping)
        return retrying(store, request, writer.write, head)


@dataclass(frozen=True, slots=True)
class _KeyedWriter:
    """One append or upsert, whose rows are held in memory to be compared with one version after the other."""

    store: Store
    request: WriteRequest
    lineage: LineageRecorder
    fitter: Fitter
    chunks: Sequence[IngestedChunk]
    keeping: FileKeeper | None

    def write(self, head: Version | None) -> Version:
        """Commit what differs from `head`. Raises Conflict if that is not the newest version any more."""
        if head is None and self.request.expect is None and (error := renamed(self.store, self.request.list)):
            raise error
        old = None if head is None else self.store.schema(head.schema_id)
        key = key_of(self.request, old)
        if key is None:
            raise SchemaMismatch(
                f"The list {self.request.list!r} lost its key while rows were being added. Add them again."
            )
        batch = fitted(self.store, self.request, self.fitter, head)
        assert batch.schema is not None
        fields = find_key(batch.schema, key or None, self.request.list)
        schema = frames.with_key(batch.schema, fields)
        table = pa.concat_tables([frames.align(chunk.table, schema) for chunk in self.chunks])
        digests = checked_digests(table, fields, self.request.list)
        if head is None:
            change, pieces = Difference(added=np.arange(table.num_rows)), EMPTY
        else:
            pieces = self.store.pieces([head])[0]
            present = Present(self.store, head, pieces, schema, fields)
            change = self._difference(present, table, digests)
        for chunk in self.chunks:
            keep_files(self.keeping, chunk)
        if head is not None and old is not None and change.is_empty and frames.key_fields(old) == fields:
            return confirm(self.store, self.request, head, self._made_again(table, change, head))
        batch = replace(batch, schema=schema, expect=0 if head is None else head.version)
        version = self._commit(batch, pieces, change, table)
        note_rows(self.store, version, schema, fields, digests[:, change.rows])
        return version

    def _difference(self, present: Present, table: pa.Table, digests: np.ndarray) -> Difference:
        name, schema = present.version.list, self.store.schema(present.version.schema_id)
        if frames.key_fields(schema) != present.fields:
            present.check_key()
        named = self.request.drop_missing
        scope = named if isinstance(named, bool) else find_key(table.schema, named, name)
        change = difference(present, table, digests, scope)
        if self.request.operation == "append" and len(change.changed):
            raise DuplicateKey(_told(name, present, table, change))
        return change

    def _commit(self, batch: Batch, pieces: Pieces, change: Difference, table: pa.Table) -> Version:
        rows = change.rows
        with self.store.stage() as staging:
            staging.write(taken(table, rows))
            edges = self._edges(table.num_rows, rows)
            batch = replace(batch, edges=edges, files=() if self.keeping is None else self.keeping.files)
            if batch.operation == "upsert":
                batch = replace(
                    batch,
                    pieces=_content(pieces, change),
                    changed=len(change.changed),
                    removed=len(change.removed),
                )
            again = self._made_again(table, change)
            if again.rows != ():
                batch = replace(batch, confirms=again)
            return self.store.commit(batch, staging)

    def _made_again(self, table: pa.Table, change: Difference, head: Version | None = None) -> Confirmation:
        """What is kept of the given rows that are there already; all rows of `head` if they are all that it shows."""
        if not len(change.equal) or (self.request.session_id is None and head is None):
            return confirmation_of(self.request, ())
        sources = self.lineage.sources(table.num_rows, *self._links(), rows=change.equal)
        if head is not None and table.num_rows == head.shown:
            return confirmation_of(self.request, None, sources)
        return confirmation_of(self.request, _runs(change.equal_at, change.removed), sources)

    def _links(self) -> tuple[list[ParentLink], pd.DataFrame | None]:
        """What is known of the parents of the given rows, and the frame that they came in, if in one."""
        links: list[ParentLink] = []
        first = 0
        for chunk in self.chunks:
            links += chunk.parents.moved(first)
            first += chunk.table.num_rows
        return links, self.chunks[0].parents.frame if len(self.chunks) == 1 else None

    def _edges(self, total: int, rows: np.ndarray) -> tuple[Edge, ...]:
        links, frame = self._links()
        self.lineage.warn(
            next((chunk.parents.stand_ins for chunk in self.chunks if chunk.parents.stand_ins), ())
        )
        return self.lineage.edges(total, links, frame, rows=rows)


def _content(pieces: Pieces, change: Difference) -> Pieces:
    """What the list shows after the change: changed rows in their places, new ones at the end."""
    changed, written = len(change.changed), len(change.rows)
    content = pieces.replace(change.at, OWN) + Pieces.of([(OWN, changed, written)])
    return content.remove(change.removed)


def _runs(positions: np.ndarray, removed: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Positions, which ascend, as runs once others are removed; none if there are too many runs to be worth their space."""
    now = positions - np.searchsorted(removed, positions)
    breaks = np.flatnonzero(np.diff(now) != 1) + 1
    if len(breaks) >= MOST_RUNS:
        return ()
    first, last = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(now)]]) - 1
    return tuple(zip(now[first].tolist(), (now[last] + 1).tolist(), strict=True))


def _told(name: str, present: Present, table: pa.Table, change: Difference) -> str:
    rows = [
        f"{shown_key(table, present.fields, row)} (row {row}, position {position})"
        for row, position in zip(
            change.changed[:SHOWN_ROWS].tolist(), change.at[:SHOWN_ROWS].tolist(), strict=True
        )
    ]
    more = f"; and {len(change.changed) - SHOWN_ROWS} more" if len(change.changed) > SHOWN_ROWS else ""
    return (
        f"The list {name!r} has other rows under these keys: {'; '.join(rows)}{more}. Nothing was appended. "
        f"vault.upsert({name!r}, …) replaces them."
    )
