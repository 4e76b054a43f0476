"""Make a version of a list from chunks: fit them to its columns, stage them, commit them.

Nothing is written before the rows are known to fit: neither rows nor the contents of files. Of a stream this holds chunk by
chunk: what was staged before a chunk that does not fit is invisible, and removed.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from tablevault_pd import frames
from tablevault_pd.errors import SchemaMismatch
from tablevault_pd.progress import Bar
from tablevault_pd.reading.chunks import aligned
from tablevault_pd.saving.addresses import check_addresses
from tablevault_pd.saving.commit import Write, confirm, fitted, head_of, keep_files, retrying
from tablevault_pd.saving.fit import Fitter
from tablevault_pd.saving.keyed import KeyOfSave, key_of, write_keyed
from tablevault_pd.store.engine.languages import ENGLISH

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    import pyarrow as pa

    from tablevault_pd.lineage.claims import ParentClaim
    from tablevault_pd.lineage.record import LineageRecorder
    from tablevault_pd.saving.ingest import IngestedChunk
    from tablevault_pd.store import FileKeeper, Staging, Store, Version
    from tablevault_pd.store.edges import Edge

NO_FILES: nullcontext[None] = nullcontext()


def write(store: Store, what: Write, lineage: LineageRecorder, chunks: Iterable[IngestedChunk]) -> Version:
    """Commit the rows of `chunks` as one batch, and return the version that shows them.

    Saving what the newest version holds, with the same tags and parents, makes no version: the newest one is returned. Rows
    that join a list with a key are compared with those that it has.
    """
    stream = iter(chunks)
    first = next(stream)
    head = head_of(store, what)
    present = None if head is None else store.schema(head.schema_id)
    shown = None if head is None or head.deleted else present
    key, language = key_of(what, shown), _language(what, shown)
    by_key = what.is_append and key is not None
    joined = present if what.is_append or what.schema_mode == "strict" else None
    total = head.total if head is not None and what.is_append else None
    fitter = Fitter(what.list, what.schema_mode, joined, total, by_key=by_key)
    fitting = map(fitter.fit, (_in_language(chunk, language) for chunk in chain([first], stream)))
    first = next(fitting)
    check_addresses(store, what.list, first.table.schema, present)
    rows = chain([first], fitting)
    if by_key:
        return write_keyed(store, what, lineage, rows, fitter, head)
    return _write(store, what, lineage, rows, fitter, head, key)


def _language(what: Write, present: pa.Schema | None) -> str | None:
    """Return the language of the rows: as it is said, else that of the list. Raises SchemaMismatch for an append in another one."""
    there = None if present is None else frames.language_of(present)
    if what.language is None:
        return there
    said = None if what.language == ENGLISH else what.language
    if what.is_append and present is not None and said != there:
        raise SchemaMismatch(
            f"The texts of the list {what.list!r} are in {there or ENGLISH}, and language={what.language!r} is another one. "
            f"To index all of them anew: vault.save({what.list!r}, …, language={what.language!r})."
        )
    return said


def _in_language(chunk: IngestedChunk, language: str | None) -> IngestedChunk:
    if language is None:
        return chunk
    schema = frames.with_language(chunk.table.schema, language)
    return replace(chunk, table=chunk.table.replace_schema_metadata(schema.metadata))


def _write(
    store: Store,
    what: Write,
    lineage: LineageRecorder,
    rows: Iterable[IngestedChunk],
    fitter: Fitter,
    head: Version | None,
    key: Sequence[Hashable] | None,
) -> Version:
    """Save, or append to a list without a key. The `key` of what is saved is checked, and kept with the list."""
    keys = KeyOfSave(what, key)
    stream = iter(map(keys.note, rows))
    first, second = next(stream), next(stream, None)
    edges = _edges_of_one(lineage, first) if second is None else None
    if second is None:
        keys.check(fitter)
    with store.keeping() if what.copy else NO_FILES as keeping:
        if head is not None and edges is not None and _is_unchanged(store, what, lineage, head, first, edges):
            keep_files(keeping, first)
            return confirm(store, what, head)
        with store.stage() as staging:
            all_chunks = chain([first], [] if second is None else [second], stream)
            claims, stand_ins = _stage(what, staging, keeping, all_chunks)
            if edges is None:
                edges = lineage.edges(staging.rows, claims)
                keys.check(fitter)
            lineage.warn(stand_ins)
            files = () if keeping is None else keeping.files
            version = _commit(store, what, fitter, staging, head, edges=edges, files=files)
            keys.remember(store, version)
            return version


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


# -- staging and the commit


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
            keep_files(keeping, chunk)
            staging.write(chunk.table)
            bar(chunk.table.num_rows)
    return claims, stand_ins


def _commit(
    store: Store, what: Write, fitter: Fitter, staging: Staging, head: Version | None, **more: Any
) -> Version:
    """Commit the staged chunks, fitted to the list as it is by then."""

    def attempt(newest: Version | None) -> Version:
        if newest is not head:
            _check_without_key(store, what, fitter, newest)
        return store.commit(fitted(store, what, fitter, newest, **more), staging)

    return retrying(store, what, attempt, head)


def _check_without_key(store: Store, what: Write, fitter: Fitter, head: Version | None) -> None:
    """Refuse rows whose keys were not looked at in a list that got a key meanwhile."""
    if frames.key_fields(fitter.schema) or head is None or head.deleted:
        return
    if frames.key_fields(store.schema(head.schema_id)):
        raise SchemaMismatch(f"The list {what.list!r} got a key while rows were being added. Add them again.")
