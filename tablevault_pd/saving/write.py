"""Make a version of a list from chunks: fit them to its columns, stage them, commit them.

Nothing is written before the rows are known to fit: neither rows nor the contents of files. Of a stream this holds chunk by
chunk: what was staged before a chunk that does not fit is invisible, and removed.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from tablevault_pd import frames
from tablevault_pd.errors import SchemaMismatch
from tablevault_pd.progress import Bar
from tablevault_pd.reading.chunks import aligned
from tablevault_pd.saving.commit import WriteRequest, confirm, fitted, head_of, keep_files, retrying
from tablevault_pd.saving.conflicts import check_addresses
from tablevault_pd.saving.fit import Fitter
from tablevault_pd.saving.keyed import KeyOfSave, key_of, write_keyed
from tablevault_pd.store.engine.languages import ENGLISH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from tablevault_pd.lineage.parent_links import ParentLink
    from tablevault_pd.lineage.record import LineageRecorder
    from tablevault_pd.saving.ingest import IngestedChunk
    from tablevault_pd.store import FileKeeper, Staging, Store, Version
    from tablevault_pd.store.edges import Edge

NO_FILES: nullcontext[None] = nullcontext()


def write(
    store: Store, request: WriteRequest, lineage: LineageRecorder, chunks: Iterable[IngestedChunk]
) -> Version:
    """Commit the rows of `chunks` as one batch, and return the version that shows them.

    Saving what the newest version holds, with the same tags and parents, makes no version: the newest one is returned. Rows
    that join a list with a key are compared with those that it has.
    """
    stream = iter(chunks)
    first = next(stream)
    head = head_of(store, request)
    present = None if head is None else store.schema(head.schema_id)
    shown = None if head is None or head.deleted else present
    key, language = key_of(request, shown), _language(request, shown)
    by_key = request.is_append and key is not None
    joined = present if request.is_append or request.schema_mode == "strict" else None
    total = head.total if head is not None and request.is_append else None
    fitter = Fitter(request.list, request.schema_mode, joined, total, by_key=by_key)
    fitting = map(fitter.fit, (_in_language(chunk, language) for chunk in chain([first], stream)))
    first = next(fitting)
    check_addresses(store, request.list, first.table.schema, present)
    rows = chain([first], fitting)
    if by_key:
        return write_keyed(store, request, lineage, fitter, rows, head)
    return _Writer(store, request, lineage, fitter, KeyOfSave(request, key)).write(rows, head)


def _language(request: WriteRequest, present: pa.Schema | None) -> str | None:
    """Return the language of the rows: as it is said, else that of the list. Raises SchemaMismatch for an append in another one."""
    there = None if present is None else frames.language_of(present)
    if request.language is None:
        return there
    said = None if request.language == ENGLISH else request.language
    if request.is_append and present is not None and said != there:
        raise SchemaMismatch(
            f"The texts of the list {request.list!r} are in {there or ENGLISH}, and language={request.language!r} is another one. "
            f"To index all of them anew: vault.save({request.list!r}, …, language={request.language!r})."
        )
    return said


def _in_language(chunk: IngestedChunk, language: str | None) -> IngestedChunk:
    if language is None:
        return chunk
    schema = frames.with_language(chunk.table.schema, language)
    return replace(chunk, table=chunk.table.replace_schema_metadata(schema.metadata))


@dataclass(frozen=True, slots=True)
class _Writer:
    """One save, or one append to a list without a key."""

    store: Store
    request: WriteRequest
    lineage: LineageRecorder
    fitter: Fitter
    keys: KeyOfSave  #: the key of what is saved, which is checked, and kept with the list

    def write(self, rows: Iterable[IngestedChunk], head: Version | None) -> Version:
        """Stage and commit fitted chunks, unless they are all that `head` shows."""
        stream = iter(map(self.keys.note, rows))
        first, second = next(stream), next(stream, None)
        edges: tuple[Edge, ...] | None = None
        if second is None:
            edges = self.lineage.edges(first.table.num_rows, first.parents.links, first.parents.frame)
            self.keys.check(self.fitter)
        with self.store.keeping() if self.request.copy else NO_FILES as keeping:
            if head is not None and edges is not None and self._is_unchanged(head, first, edges):
                keep_files(keeping, first)
                return confirm(self.store, self.request, head)
            with self.store.stage() as staging:
                chunks = chain([first], [] if second is None else [second], stream)
                links, stand_ins = self._stage(staging, keeping, chunks)
                if edges is None:
                    edges = self.lineage.edges(staging.rows, links)
                    self.keys.check(self.fitter)
                self.lineage.warn(stand_ins)
                files = () if keeping is None else keeping.files
                version = self._commit(staging, head, edges, files)
                self.keys.remember(self.store, version)
                return version

    def _is_unchanged(self, head: Version, only: IngestedChunk, edges: Sequence[Edge]) -> bool:
        """Return whether saving the one chunk would make a version equal to the newest one."""
        request, rows = self.request, only.table.num_rows
        if request.is_append or head.deleted or head.gone or head.total != rows:
            return False
        if request.tags not in (None, head.tags) or request.message not in (None, head.message):
            return False
        return _has_rows(self.store, head, only.table) and self.lineage.says_nothing_new(head, edges)

    def _stage(
        self, staging: Staging, keeping: FileKeeper | None, chunks: Iterable[IngestedChunk]
    ) -> tuple[list[ParentLink], tuple[Version, ...]]:
        """Stage fitted chunks. Return the parents of all rows, and the stand-ins that a warning names."""
        links: list[ParentLink] = []
        stand_ins: tuple[Version, ...] = ()
        with Bar(f"saving {self.request.list}", unit="rows") as bar:
            for chunk in chunks:
                links += chunk.parents.moved(staging.rows)
                stand_ins = stand_ins or chunk.parents.stand_ins
                keep_files(keeping, chunk)
                staging.write(chunk.table)
                bar(chunk.table.num_rows)
        return links, stand_ins

    def _commit(
        self,
        staging: Staging,
        head: Version | None,
        edges: tuple[Edge, ...],
        files: tuple[tuple[str, int], ...],
    ) -> Version:
        """Commit the staged chunks, fitted to the list as it is by then."""

        def attempt(newest: Version | None) -> Version:
            if newest is not head:
                self._check_without_key(newest)
            batch = fitted(self.store, self.request, self.fitter, newest, edges=edges, files=files)
            return self.store.commit(batch, staging)

        return retrying(self.store, self.request, attempt, head)

    def _check_without_key(self, head: Version | None) -> None:
        """Refuse rows whose keys were not looked at in a list that got a key meanwhile."""
        if frames.key_fields(self.fitter.schema) or head is None or head.deleted:
            return
        if frames.key_fields(self.store.schema(head.schema_id)):
            raise SchemaMismatch(
                f"The list {self.request.list!r} got a key while rows were being added. Add them again."
            )


def _has_rows(store: Store, head: Version, table: pa.Table) -> bool:
    """Return whether a version shows the rows of a table, and nothing else is different."""
    schema = store.schema(head.schema_id)
    if not frames.same_but_reach(schema, table.schema):
        return False
    table = table.from_arrays(table.columns, schema=schema)
    rows = 0
    for chunk in store.scan(head):
        part = aligned(chunk, schema)
        if not frames.same(part, table.slice(rows, part.num_rows)):
            return False
        rows += part.num_rows
    return rows == int(table.num_rows)
