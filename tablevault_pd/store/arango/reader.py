"""Rows back from the server: which payloads make up a version, fetched by key in windows, verified and decoded.

The number of requests depends on how much is read, never on how many batches it came in: one statement finds the
batches, and each window of rows takes one more. No cursor is open while the caller works.
"""

from __future__ import annotations

import base64
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from tablevault_pd.errors import VaultCorrupt, VersionNotFound
from tablevault_pd.store import Chunk, Version
from tablevault_pd.store.arango import payloads
from tablevault_pd.store.arango.batches import BATCHES_OF_RANGES, version_of
from tablevault_pd.store.arango.columns import StoredColumn, columns_of
from tablevault_pd.store.arango.payloads import SCALARS, place_of
from tablevault_pd.store.arango.windows import (
    ANSWER_BYTES,
    Span,
    erased_in,
    spans_of,
    together,
    unpack_numbers,
    windows,
)
from tablevault_pd.store.engine.payloads import seed_of
from tablevault_pd.store.engine.zones import may_match

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.pieces import Pieces

T = TypeVar("T")
Payloads = dict[str, dict[str, Any]]  # documents by key

FEW_BYTES = 64 << 10  # rows that take no more are read without a look at their zone maps
JOINED_ROWS = 4096  # payloads of fewer rows on average are joined in memory
KEPT_DICTIONARIES = 64
INCOMPLETE_PAUSES_S = (0.1, 0.4, 1.0)  # a cluster may show a batch a moment before all of its items

# 3.12; works on every version. One statement, however long the history.
SPANS = f"""{BATCHES_OF_RANGES} AND b.emptied == false
    SORT w[0], b.start
    RETURN {{number: w[0], key: b._key, low: w[3], high: w[4], start: b.start, rows: b.rows,
            erased: b.holds_erased ? DOCUMENT("tv_details", b._key).erased_rows : null,
            parts: b.parts == null ? DOCUMENT("tv_details", b._key).parts : b.parts}}
"""
EMPTY_PART = """
FOR b IN tv_batches
  FILTER b.list == @list AND b.generation == @generation AND b.rows == 0
  LET parts = b.parts == null ? DOCUMENT("tv_details", b._key).parts : b.parts
  FILTER LENGTH(parts) > 0
  SORT b.version LIMIT 1 RETURN parts[0]
"""
PAYLOADS_BY_KEY = """
FOR key IN @keys
  FOR p IN tv_payloads FILTER p._key == key
    RETURN {key: p._key, rows: p.rows, codec: p.codec, bytes: p.bytes, checksum: p.checksum, data: p.data,
      erased: p.erased}
"""
ZONES = """
FOR batch IN @batches
  FOR p IN tv_payloads FILTER p.batch == batch AND p.column == -1
    RETURN [p.batch, p.row, p.rows, p.zones]
"""
DICTIONARY_CHUNKS = """
FOR d IN tv_dictionaries FILTER d.digest IN @digests SORT d.digest, d.n
  RETURN {key: d._key, digest: d.digest, codec: d.codec, bytes: d.bytes, checksum: d.checksum, data: d.data}
"""
SCHEMAS = "FOR s IN tv_schemas FILTER s._key IN @keys RETURN [s._key, s.arrow, s.digest]"
GONE = "FOR b IN tv_batches FILTER b.list == @list AND b.version == @version RETURN b.gone"


class RowRun(NamedTuple):
    """Rows of one generation that a version shows, from `position` on; with `shown`, other rows may be among them.

    Of these, vacuumed ones are left out.
    """

    version: Version
    generation: int
    first: int
    stop: int
    position: int
    shown: Pieces | None = None


class Incomplete(Exception):
    """Items that a batch document promises were not there."""

    def __init__(self, problem: str, number: int) -> None:
        super().__init__(problem)
        self.run = number  #: of what is read together, which one lacks them


class Reader:
    """Reads what was committed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._schemas: dict[str, pa.Schema] = {}
        self._seeds: dict[str, int] = {}
        self._dictionaries: dict[tuple[str, str], pa.Array] = {}
        self._columns: dict[str, list[StoredColumn]] = {}

    # -- schemas

    def schema(self, key: str) -> pa.Schema:
        """A schema as committed."""
        if key not in self._schemas:
            self.learn([key])
        if key not in self._schemas:
            raise VaultCorrupt(
                f"{self._client.address} lacks the schema {key}. Restore the database from a backup."
            )
        return self._schemas[key]

    def learn(self, keys: Iterable[str]) -> None:
        """Fetch the schemas that are not known yet. One request."""
        unknown = sorted(set(keys) - self._schemas.keys())
        if unknown:
            for row in self._client.query(SCHEMAS, keys=unknown):
                self._keep_schema(*row)

    def keep_schemas(self, rows: Iterable[Sequence[str]]) -> None:
        """Remember schemas that came along. Who needs a damaged one is told when asking for it."""
        for row in rows:
            with suppress(VaultCorrupt):
                self._keep_schema(*row)

    def _keep_schema(self, key: str, data: str, digest: str) -> None:
        self._schemas[key], self._seeds[key] = _read_schema(data, digest, key)

    def _stored_columns(self, key: str, columns: Sequence[str] | None) -> list[StoredColumn]:
        """The columns of a schema that are asked for."""
        every = self._columns.get(key)
        if every is None:
            every = self._columns[key] = columns_of(self.schema(key))
        return every if columns is None else [one for one in every if one.name in columns]

    def column(self, key: str, name: str) -> StoredColumn | None:
        """One column of a schema, as it is stored."""
        return next(iter(self._stored_columns(key, [name])), None)

    # -- spans

    def spans(self, runs: Sequence[RowRun]) -> list[Span]:
        """What holds these runs, one after the other. One request."""
        bound = [
            [number, run.version.list_id, run.generation, run.first, run.stop]
            for number, run in enumerate(runs)
        ]
        by_run: list[list[Span]] = [[] for _ in runs]
        for row in self._client.query(SPANS, ranges=bound) if runs else ():
            run = runs[row["number"]]
            by_run[row["number"]] += spans_of(row, row["number"], run.position - run.first)
        self.learn(span.schema for spans in by_run for span in spans)
        for spans, run in zip(by_run, runs, strict=True):
            self._require_whole(spans, run)
        return [span for spans in by_run for span in spans]

    def _require_whole(self, spans: Sequence[Span], run: RowRun) -> None:
        """Raises VaultCorrupt if the spans do not cover the rows of a run that must be there."""
        at, shift = run.first, run.first - run.position
        for start, stop in [
            *((span.position + shift, span.position + shift + span.rows) for span in spans),
            (run.stop, 0),
        ]:
            if at < start and (run.shown is None or _shows(run.shown, run.generation, at, start)):
                raise self._missing(run.version, f"from position {at - shift} on")
            at = stop

    def empty(self, version: Version, columns: Sequence[str] | None) -> Chunk | None:
        """A version without rows: what was saved still says which categories a column has."""
        parts = self._client.query(EMPTY_PART, list=version.list_id, generation=version.generation)
        if not parts:
            return None
        schema_key, references = parts[0]["schema"], parts[0]["dictionaries"]
        schema = self.schema(schema_key)
        categories = self._learn_dictionaries([(schema_key, references)], columns)
        table = payloads.coded(schema.empty_table())
        table = self._categorical(table, schema, references, categories)
        return Chunk(range(0), _selected(table, columns), private=False)

    # -- rows

    def scan(
        self, runs: Sequence[RowRun], columns: Sequence[str] | None, where: Where | None = None
    ) -> Iterator[Chunk]:
        """The rows of these runs of one version in order, without row groups in which `where` is surely false."""
        version = runs[0].version
        spans = [replace(span, run=0) for span in self.spans(runs)]
        for _, chunk in self._chunks(spans, columns, [version], where):
            yield chunk

    def scan_runs(
        self,
        runs: Sequence[RowRun],
        columns: Sequence[str] | None,
        where: Where | None = None,
    ) -> Iterator[tuple[int, Chunk]]:
        """The rows of several runs, each chunk with the number of its run, and those of the columns that its schema has.

        A window is filled from as many runs as fit, so that many small lists cost no more requests than a large one.
        """
        yield from self._chunks(self.spans(runs), columns, [run.version for run in runs], where)

    def scan_batches(
        self, documents: Sequence[Mapping[str, Any]], columns: Callable[[pa.Schema], Sequence[str]]
    ) -> Iterator[tuple[int, Chunk]]:
        """The rows of some batches, given by their documents: each chunk with the number of its batch; positions are those in it."""
        spans = [
            span
            for number, document in enumerate(documents)
            for span in spans_of(_whole_batch(document), number, -document["start"])
        ]
        self.learn(span.schema for span in spans)
        names = {name for key in {span.schema for span in spans} for name in columns(self.schema(key))}
        versions = [version_of(document) for document in documents]
        yield from self._chunks(spans, sorted(names), versions, None)

    def _chunks(
        self,
        spans: list[Span],
        columns: Sequence[str] | None,
        versions: Sequence[Version],
        where: Where | None,
    ) -> Iterator[tuple[int, Chunk]]:
        weights = [(span, self._row_bytes(span, columns)) for span in spans]
        if where is not None and sum(size * span.rows for span, size in weights) > FEW_BYTES:
            some = self._patiently(partial(self._not_skipped, spans, where), versions)
            weights = [(span, self._row_bytes(span, columns)) for span in some]
        for window in windows(weights):
            yield from self._window(window, columns, versions)

    def _not_skipped(self, spans: list[Span], where: Where) -> list[Span]:
        """The parts of the spans that zone maps do not rule out; of a span with categories at least none of its rows."""
        batches = list({span.batch: None for span in spans if SCALARS in span.groups})
        payload_zones = {
            (batch, row): (rows, zones)
            for batch, row, rows, zones in self._client.query(ZONES, batches=batches)
        }
        remaining: list[Span] = []
        for span in spans:
            if SCALARS not in span.groups:
                remaining.append(span)
                continue
            columns = self._stored_columns(span.schema, None)
            fields = [one.name for one in columns]
            for row in span.payloads(SCALARS):
                if (span.batch, row) not in payload_zones:
                    raise Incomplete(f"payload of row {row} of batch {span.batch}", span.run)
                rows, zones = payload_zones[span.batch, row]
                by_name = {columns[field].name: zone for field, *zone in zones}
                if may_match(where, by_name, fields):
                    _add_span(remaining, span.between(row, row + rows))
            if span.dictionaries and not (remaining and _is_part(remaining[-1], span)):
                remaining.append(replace(span, high=span.low))
        return remaining

    def _row_bytes(self, span: Span, columns: Sequence[str] | None) -> float:
        """What a row of a span weighs on the wire, in the payloads that hold a wanted column."""
        return sum(span.sizes[place] for place in self._places(span, columns))

    def _places(self, span: Span, columns: Sequence[str] | None) -> dict[int, list[StoredColumn]]:
        """Which payloads hold the wanted columns of a span."""
        places: dict[int, list[StoredColumn]] = {}
        for one in self._stored_columns(span.schema, columns):
            places.setdefault(place_of(one, span.groups), []).append(one)
        return places

    def _window(
        self, spans: list[Span], columns: Sequence[str] | None, versions: Sequence[Version]
    ) -> Iterator[tuple[int, Chunk]]:
        documents = self._patiently(partial(self._fetch, spans, columns), versions)
        categories = self._learn_dictionaries([(span.schema, span.dictionaries) for span in spans], columns)
        for some in together(spans):
            number = some[0].run
            yield number, self._chunk(some, documents, columns, categories, versions[number])

    def _fetch(self, spans: list[Span], columns: Sequence[str] | None) -> Payloads:
        """The payloads of the spans that hold wanted columns, by key. Raises Incomplete."""
        span_of: dict[str, Span] = {}
        size = 0.0
        for span in spans:
            for place in self._places(span, columns):
                rows = span.payloads(place)
                span_of |= dict.fromkeys(payloads.keys_of(span.batch, rows, place), span)
                size = max(size, span.sizes[place] * min(span.groups[place], len(span.part)))
        if not span_of:
            return {}
        batch_rows = int(min(10_000, max(1, ANSWER_BYTES / max(1.0, size))))
        documents = self._client.query(
            PAYLOADS_BY_KEY, keys=list(span_of), batch_rows=batch_rows, stream=True
        )
        by_key = {document["key"]: document for document in documents}
        for key, span in span_of.items():
            if key not in by_key:
                raise Incomplete(f"tv_payloads/{key}", span.run)
        return by_key

    def _patiently(self, fetch: Callable[[], T], versions: Sequence[Version]) -> T:
        for pause in (*INCOMPLETE_PAUSES_S, None):
            try:
                return fetch()
            except Incomplete as error:
                problem, version = str(error), versions[error.run]
            if pause is not None:
                time.sleep(pause)
        raise self._missing(version, problem)

    def _missing(self, version: Version, what: str) -> Exception:
        gone = self._client.query(GONE, list=version.list_id, version=version.version)
        if gone == [True]:
            return removed(version)
        return VaultCorrupt(
            f"Incomplete batch: rows of {version.label} are missing ({what}). Other lists and versions "
            "stay readable; vault.check() lists all damage."
        )

    def _learn_dictionaries(
        self,
        parts: Iterable[tuple[str, Mapping[str, Mapping[str, Any]]]],
        columns: Sequence[str] | None,
    ) -> dict[tuple[str, str], pa.Array]:
        """Categories by digest and type. One request for those that are not known yet."""
        sizes: dict[tuple[str, str], tuple[pa.DataType, int]] = {}
        for key, references in parts:
            for column in self._stored_columns(key, columns) if references else ():
                reference = references.get(str(column.field))
                if reference is not None:
                    kind = column.kind.value_type
                    sizes[reference["digest"], str(kind)] = (kind, reference["values"])
        dictionaries = {key: self._dictionaries[key] for key in sizes.keys() & self._dictionaries.keys()}
        digests = sorted({digest for digest, _ in sizes.keys() - dictionaries.keys()})
        chunks: dict[str, list[Mapping[str, Any]]] = {digest: [] for digest in digests}
        for row in self._client.query(DICTIONARY_CHUNKS, digests=digests, batch_rows=10) if digests else ():
            chunks[row["digest"]].append(row)
        where = f"the vault in {self._client.address}"
        for lacking in sizes.keys() - dictionaries.keys():
            dictionaries[lacking] = payloads.dictionary_of(chunks[lacking[0]], *sizes[lacking], where)
        cached = {**self._dictionaries, **dictionaries}
        self._dictionaries = dict(list(cached.items())[-KEPT_DICTIONARIES:])
        return dictionaries

    def _chunk(
        self,
        spans: list[Span],
        documents: Payloads,
        columns: Sequence[str] | None,
        categories: Mapping[tuple[str, str], pa.Array],
        version: Version,
    ) -> Chunk:
        schema = self.schema(spans[0].schema)
        spans = [self._marked(span, documents, columns) for span in spans]
        try:
            tables = [self._decoded(span, documents, columns) for span in spans]
            table = pa.concat_tables(tables)
            if table.num_rows < JOINED_ROWS * len(tables):
                table = table.combine_chunks()
            table = self._categorical(table, schema, spans[0].dictionaries, categories)
        except (ValueError, TypeError, LookupError, OSError, pa.ArrowException) as error:
            raise VaultCorrupt(
                f"The rows of {version.label} are damaged and cannot be decoded: {error}. "
                "vault.check() lists all damage."
            ) from error
        last = spans[-1]
        positions = range(spans[0].position, last.position + last.rows)
        return Chunk(positions, _selected(table, columns), private=False, erased=erased_in(spans))

    def _marked(self, span: Span, documents: Payloads, columns: Sequence[str] | None) -> Span:
        """The span with all erased rows that its payloads tell of: they may be overwritten after the batch was looked up."""
        marks = [span.erased]
        for place in self._places(span, columns):
            keys = payloads.keys_of(span.batch, span.payloads(place), place)
            marks += [documents[key].get("erased") for key in keys]
        packed = [mark for mark in marks if mark is not None]
        return replace(span, erased=max(packed, key=lambda mark: len(unpack_numbers(mark)), default=None))

    def _decoded(self, span: Span, documents: Payloads, columns: Sequence[str] | None) -> pa.Table:
        """The wanted columns of a span, with codes in the place of categories."""
        schema, every = self.schema(span.schema), self._stored_columns(span.schema, None)
        arrays: dict[int, pa.ChunkedArray] = {}
        for place, selected in self._places(span, columns).items():
            rows = span.payloads(place)
            held = [one for one in every if place_of(one, span.groups) == place]
            part = payloads.coded_schema(
                pa.schema([schema.field(one.field) for one in held], schema.metadata)
            )
            parts = []
            for key, first in zip(payloads.keys_of(span.batch, rows, place), rows, strict=True):
                table = payloads.decoded(documents[key], part, self._seeds[span.schema], place)
                if table.num_rows != min(span.groups[place], span.part.stop - first):
                    raise ValueError(f"tv_payloads/{key} holds {table.num_rows} rows")
                parts.append(table)
            whole = (
                pa.concat_tables(parts).slice(span.low - rows.start, span.rows)
                if parts
                else part.empty_table()
            )
            for one in selected:
                arrays[one.field] = whole.column(held.index(one))
        fields = sorted(arrays)
        if not fields:
            return pa.table({"": pa.nulls(span.rows)}).select([])
        coded = payloads.coded_schema(pa.schema([schema.field(field) for field in fields], schema.metadata))
        return pa.Table.from_arrays([arrays[field] for field in fields], schema=coded)

    def _categorical(
        self,
        table: pa.Table,
        schema: pa.Schema,
        references: Mapping[str, Mapping[str, Any]],
        categories: Mapping[tuple[str, str], pa.Array],
    ) -> pa.Table:
        """The table with categories in the place of their codes, and the fields of its schema."""
        for at, name in enumerate(table.schema.names):
            field = schema.field(name)
            if payloads.is_shared(field.type):
                reference = references[str(schema.get_field_index(name))]
                values = categories.get((reference["digest"], str(field.type.value_type)))
                if values is None:  # a column that nobody asked for
                    values = pa.array([], field.type.value_type)
                codes = table.column(at).combine_chunks()
                cells = pa.DictionaryArray.from_arrays(codes, values, ordered=field.type.ordered)
                table = table.set_column(at, field, cells)
        return table


def _whole_batch(document: Mapping[str, Any]) -> dict[str, Any]:
    """A batch document as :data:`SPANS` tells of a batch all of whose rows are asked for."""
    start = document["start"]
    return {
        "key": document["_key"], "low": start, "high": start + document["rows"], "start": start,
        "rows": document["rows"], "parts": document["parts"], "erased": document.get("erased_rows"),
    }  # fmt: skip


def _selected(table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    if columns is None:
        return table
    return table.select([name for name in columns if name in table.schema.names])


def _add_span(spans: list[Span], span: Span) -> None:
    """Add rows, to the last span where they follow it."""
    if spans and _is_part(spans[-1], span) and spans[-1].high == span.low:
        spans[-1] = replace(spans[-1], high=span.high)
    else:
        spans.append(span)


def _is_part(one: Span, other: Span) -> bool:
    """Whether both are rows of the same part of a batch, wanted together."""
    return (one.batch, one.part, one.run) == (other.batch, other.part, other.run)


def _shows(pieces: Pieces, generation: int, first: int, stop: int) -> bool:
    """Whether any of these rows is shown."""
    return bool(pieces.shows_any(np.array([generation]), np.array([first]), np.array([stop]))[0])


def removed(version: Version) -> VersionNotFound:
    """The error for a version whose rows are gone."""
    return VersionNotFound.vacuumed(version.list, version.version)


def _read_schema(data: str, digest: str, key: str) -> tuple[pa.Schema, int]:
    """A schema, and the seed of the checksums of its rows."""
    try:
        raw = base64.b64decode(data, validate=True)
        if sha256(raw).hexdigest() != digest or digest[:15] != key:
            raise VaultCorrupt(f"The schema {key} in tv_schemas is damaged: it does not match its hash.")
        return pa.ipc.read_schema(pa.py_buffer(raw)), seed_of(raw)
    except (ValueError, TypeError, pa.ArrowException, OSError) as error:
        if isinstance(error, VaultCorrupt):
            raise
        raise VaultCorrupt(f"The schema {key} in tv_schemas is damaged: {error}") from error
