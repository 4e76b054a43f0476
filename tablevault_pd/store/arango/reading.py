"""Rows back from the server: which items make up a version, fetched in windows and decoded by column.

The number of requests depends on how much is read, never on how many batches it came in: one statement finds the
batches, and each window of rows takes one statement per collection. No cursor is open while the caller works.
"""

from __future__ import annotations

import base64
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from tablevault_pd.errors import UnsupportedColumn, VaultCorrupt, VersionNotFound
from tablevault_pd.store import Chunk, Version
from tablevault_pd.store.arango import codec
from tablevault_pd.store.arango.filtering import MATCHING_OF, bound, judged
from tablevault_pd.store.arango.items import StoredColumn, cell_keys, columns_of, decode_cells, decode_records
from tablevault_pd.store.arango.layout import DOCUMENTS, EMBEDDINGS, FILES, RECORDS
from tablevault_pd.store.arango.spans import Span, batch_rows, runs_of, spans_of, together, windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.pieces import Pieces

T = TypeVar("T")

SCATTERED_ROWS = 8  # runs that are shorter on average are fetched cell by cell
INCOMPLETE_PAUSES_S = (0.1, 0.4, 1.0)  # a cluster may show a batch a moment before all of its items

# 3.12; works on every version. What holds some runs of rows: [number, list, generation, first, end] each. One statement,
# however long the history.
SPANS = """
FOR run IN @runs
  LET lowest = FIRST(
    FOR f IN tv_batches
      FILTER f.list == run[1] AND f.generation == run[2] AND f.start <= run[3] AND f.rows > 0
      SORT f.start DESC LIMIT 1 RETURN f.start)
  FOR b IN tv_batches
    FILTER b.list == run[1] AND b.generation == run[2] AND b.start >= lowest AND b.start < run[4] AND b.rows > 0
      AND b.emptied == false
    SORT run[0], b.start
    RETURN {number: run[0], key: b._key, low: run[3], high: run[4], start: b.start, rows: b.rows, parts: b.parts,
            sizes: b.item_bytes}
"""
EMPTY_PART = """
FOR b IN tv_batches
  FILTER b.list == @list AND b.generation == @generation AND b.rows == 0 AND LENGTH(b.parts) > 0
  SORT b.version LIMIT 1 RETURN b.parts[0]
"""
# The inner query sorts the rows of one span, in index order; the outer one keeps the order of the bound array. An item of
# a span is [number, batch, first row, end, field, attribute of measured vectors].
RECORDS_OF = """
FOR s IN @spans
  FOR x IN (
    FOR i IN tv_records FILTER i.batch == s[1] AND i.row >= s[2] AND i.row < s[3]
      SORT i.row RETURN [s[0], i.row, @attributes == null ? i.values : KEEP(i.values, @attributes)])
    RETURN x
"""
EMBEDDINGS_OF = """
FOR s IN @spans
  FOR x IN (
    FOR i IN tv_embeddings FILTER i.batch == s[1] AND i.field == s[4] AND i.row >= s[2] AND i.row < s[3]
      SORT i.row RETURN [s[0], i.row, i.norm > 0 ? i[s[5]] : i.vector, i.signed_zeros])
    RETURN x
"""
DOCUMENTS_OF = """
FOR s IN @spans
  FOR x IN (
    FOR i IN tv_documents FILTER i.batch == s[1] AND i.field == s[4] AND i.row >= s[2] AND i.row < s[3]
      SORT i.row RETURN [s[0], i.row, i.text, null])
    RETURN x
"""
FILES_OF = """
FOR s IN @spans
  FOR x IN (
    FOR i IN tv_files FILTER i.batch == s[1] AND i.field == s[4] AND i.row >= s[2] AND i.row < s[3]
      SORT i.row RETURN [s[0], i.row, i.file, null])
    RETURN x
"""
# Cells of rows here and there: [number, key, attribute of measured vectors] each, in order.
EMBEDDINGS_BY_KEY = """
FOR c IN @cells
  FOR i IN tv_embeddings FILTER i._key == c[1]
    RETURN [c[0], i.row, i.norm > 0 ? i[c[2]] : i.vector, i.signed_zeros]
"""
DOCUMENTS_BY_KEY = """
FOR c IN @cells
  FOR i IN tv_documents FILTER i._key == c[1] RETURN [c[0], i.row, i.text, null]
"""
FILES_BY_KEY = """
FOR c IN @cells
  FOR i IN tv_files FILTER i._key == c[1] RETURN [c[0], i.row, i.file, null]
"""
_CELLS_BY_KEY = {EMBEDDINGS: EMBEDDINGS_BY_KEY, DOCUMENTS: DOCUMENTS_BY_KEY, FILES: FILES_BY_KEY}
_CELLS_OF = {EMBEDDINGS: EMBEDDINGS_OF, DOCUMENTS: DOCUMENTS_OF, FILES: FILES_OF}
DICTIONARY_CHUNKS = """
FOR d IN tv_dictionaries FILTER d.digest IN @digests SORT d.digest, d.n RETURN [d.digest, d.values]
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

    def __init__(self, problem: str, wanted: int) -> None:
        super().__init__(problem)
        self.wanted = wanted  #: of what is read together, which one lacks them


class Reader:
    """Reads what was committed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._schemas: dict[str, pa.Schema] = {}
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
            for key, data, digest in self._client.query(SCHEMAS, keys=unknown):
                self._schemas[key] = _read_schema(data, digest, key)

    def _wanted(self, key: str, columns: Sequence[str] | None) -> list[StoredColumn]:
        """The columns of a schema that are asked for."""
        every = self._columns.get(key)
        if every is None:
            every = self._columns[key] = columns_of(self.schema(key))
        return every if columns is None else [one for one in every if one.name in columns]

    def column(self, key: str, name: str) -> StoredColumn | None:
        """One column of a schema, as it is stored."""
        return next(iter(self._wanted(key, [name])), None)

    # -- spans

    def spans(self, runs: Sequence[RowRun]) -> list[Span]:
        """What holds these runs, one after the other. One request."""
        bound = [
            [number, run.version.list_id, run.generation, run.first, run.stop]
            for number, run in enumerate(runs)
        ]
        found: list[list[Span]] = [[] for _ in runs]
        for row in self._client.query(SPANS, runs=bound) if runs else ():
            run = runs[row["number"]]
            found[row["number"]] += spans_of(row, row["number"], run.position - run.first)
        self.learn(span.schema for spans in found for span in spans)
        for spans, run in zip(found, runs, strict=True):
            self._require_whole(spans, run)
        return [span for spans in found for span in spans]

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
        span = Span("", parts[0]["schema"], parts[0]["dictionaries"], 0, 0, 0, {})
        return self._chunk([span], {}, columns, self._dictionaries([span]), version)

    # -- rows

    def scan(
        self, runs: Sequence[RowRun], columns: Sequence[str] | None, where: Where | None = None
    ) -> Iterator[Chunk]:
        """The rows of these runs of one version in order, without some of which `where` is surely false."""
        version = runs[0].version
        spans = [replace(span, wanted=0) for span in self.spans(runs)]
        where = judged(where, self._elsewhere(spans))
        if where is not None:
            for _, chunk in self._scan_where([version], spans, columns, bound(where)):
                yield chunk
            return
        for window in windows([(span, self._row_bytes(span, columns)) for span in spans]):
            for _, chunk in self._window(window, columns, [version]):
                yield chunk

    def _elsewhere(self, spans: Sequence[Span]) -> set[str]:
        """Fields that some of the spans hold in another collection than the records."""
        schemas = {span.schema for span in spans}
        return {one.name for key in schemas for one in self._wanted(key, None) if one.collection != RECORDS}

    def _scan_where(
        self,
        versions: Sequence[Version],
        spans: list[Span],
        columns: Sequence[str] | None,
        where: dict[str, Any],
    ) -> Iterator[tuple[int, Chunk]]:
        """The server judges the records; cells in other collections are fetched for the rows that passed."""
        weights = [(span, span.sizes.get(RECORDS, 0.0)) for span in spans]
        for window in windows(weights):
            passed = self._patiently(partial(self._matching, window, columns, where), versions)
            dictionaries = self._dictionaries(window)
            matched = iter(passed)
            for some in together(window):
                found = [(span, next(matched)) for span in some]
                runs = [run for span, rows in found for run in runs_of(span, rows)]
                number = some[0].wanted
                version = versions[number]
                if not runs:  # it may bring categories
                    none = np.empty(0, np.int64)
                    yield number, self._chunk(some[:1], {}, columns, dictionaries, version, none)
                records = iter([row for _, rows in found for row in rows])
                for part in windows([(run, self._row_bytes(run, columns)) for run in runs]):
                    here = {None: list(islice(records, sum(run.rows for run in part)))}
                    cells = self._patiently(partial(self._cells, part, columns), versions)
                    positions = np.concatenate([np.arange(r.position, r.position + r.rows) for r in part])
                    yield number, self._chunk(part, here | cells, columns, dictionaries, version, positions)

    def _matching(
        self, spans: list[Span], columns: Sequence[str] | None, where: dict[str, Any]
    ) -> list[list[Any]]:
        """The rows of each span that the server did not leave out, as records."""
        held = [any(one.collection == RECORDS for one in self._wanted(span.schema, None)) for span in spans]
        asked = [
            [number, span.batch, span.low, span.high]
            for number, (span, there) in enumerate(zip(spans, held, strict=True))
            if there
        ]
        found: list[list[Any]] = [[] for _ in spans]
        items = {number: -1 for number, *_ in asked}
        for row in self._client.query(
            MATCHING_OF,
            spans=asked,
            attributes=self._attributes(spans, columns),
            batch_rows=batch_rows(spans, RECORDS),
            stream=True,
            **where,
        ):
            if row[1] is None:
                items[row[0]] = row[2]
            else:
                found[row[0]].append(row)
        for number, (span, there) in enumerate(zip(spans, held, strict=True)):
            if not there:  # rows without a record have nothing to judge
                found[number] = [[number, row, {}] for row in range(span.low, span.high)]
            elif items[number] != span.rows:
                raise Incomplete(f"batch {span.batch}: {items[number]} of {span.rows} items", span.wanted)
        return found

    def scan_runs(
        self,
        runs: Sequence[RowRun],
        columns: Callable[[pa.Schema], Sequence[str]],
        where: Where | None = None,
    ) -> Iterator[tuple[int, Chunk]]:
        """The rows of several runs, each chunk with the number of its run; `columns` says which are wanted of a schema.

        A window is filled from as many runs as fit, so that many small lists cost no more requests than a large one.
        """
        spans = self.spans(runs)
        names = {name for key in {span.schema for span in spans} for name in columns(self.schema(key))}
        wanted = sorted(names)
        versions = [run.version for run in runs]
        where = judged(where, self._elsewhere(spans))
        if where is not None:
            yield from self._scan_where(versions, spans, wanted, bound(where))
            return
        for window in windows([(span, self._row_bytes(span, wanted)) for span in spans]):
            yield from self._window(window, wanted, versions)

    def _row_bytes(self, span: Span, columns: Sequence[str] | None) -> float:
        """What a row of a span weighs on the wire, in the collections that hold a wanted column."""
        wanted = {one.collection for one in self._wanted(span.schema, columns)}
        return sum(size for collection, size in span.sizes.items() if collection in wanted)

    def _window(
        self, spans: list[Span], columns: Sequence[str] | None, versions: Sequence[Version]
    ) -> Iterator[tuple[int, Chunk]]:
        found = self._patiently(partial(self._fetch, spans, columns), versions)
        dictionaries = self._dictionaries(spans)
        at = 0
        for some in together(spans):
            rows = sum(span.rows for span in some)
            cut = {key: values[at : at + rows] for key, values in found.items()}
            at += rows
            number = some[0].wanted
            yield number, self._chunk(some, cut, columns, dictionaries, versions[number])

    def _patiently(self, fetch: Callable[[], T], versions: Sequence[Version]) -> T:
        for pause in (*INCOMPLETE_PAUSES_S, None):
            try:
                return fetch()
            except Incomplete as error:
                problem, version = str(error), versions[error.wanted]
            if pause is not None:
                time.sleep(pause)
        raise self._missing(version, problem)

    def _missing(self, version: Version, what: str) -> Exception:
        gone = self._client.query(GONE, list=version.list_id, version=version.version)
        if gone == [True]:
            return removed(version)
        return VaultCorrupt(
            f"Incomplete batch: rows of {version.list}@{version.version} are missing ({what}). Other lists and versions "
            "stay readable; vault.check() lists all damage."
        )

    def _fetch(self, spans: list[Span], columns: Sequence[str] | None) -> dict[Any, list[Any]]:
        """Values of all rows of the spans: of the records under ``None``, of others as :meth:`_cells` has them."""
        wanted = [self._wanted(span.schema, columns) for span in spans]
        found: dict[Any, list[Any]] = {}
        if any(one.collection == RECORDS for of_span in wanted for one in of_span):
            first = [next((one for one in of if one.collection == RECORDS), None) for of in wanted]
            attributes = self._attributes(spans, columns)
            found[None] = self._rows(RECORDS, RECORDS_OF, spans, first, attributes=attributes)
        return found | self._cells(spans, columns)

    def _attributes(self, spans: list[Span], columns: Sequence[str] | None) -> list[str] | None:
        """The attributes of records that are wanted; None for all."""
        if columns is None:
            return None
        wanted = (one for span in spans for one in self._wanted(span.schema, columns))
        return sorted({one.attribute for one in wanted if one.collection == RECORDS})

    def _cells(self, spans: list[Span], columns: Sequence[str] | None) -> dict[Any, list[Any]]:
        """Values of the columns that are not in the records, under their collection and their number in it."""
        wanted = [self._wanted(span.schema, columns) for span in spans]
        found: dict[Any, list[Any]] = {}
        scattered = sum(span.rows for span in spans) < SCATTERED_ROWS * len(spans)
        for collection, statement in (_CELLS_BY_KEY if scattered else _CELLS_OF).items():
            held = [[one for one in of if one.collection == collection] for of in wanted]
            for number in range(max(map(len, held))):
                cells = [of[number] if number < len(of) else None for of in held]
                found[collection, number] = self._rows(collection, statement, spans, cells)
        return found

    def _rows(
        self,
        collection: str,
        statement: str,
        spans: list[Span],
        columns: list[StoredColumn | None],
        **more: Any,
    ) -> list[Any]:
        """One statement's answer, each row where it belongs. A span without a column has no such one."""
        held = [
            (number, span, of)
            for number, (span, of) in enumerate(zip(spans, columns, strict=True))
            if of is not None
        ]
        if statement in _CELLS_BY_KEY.values():
            more["cells"] = [
                [number, key, of.vectors]
                for number, span, of in held
                for key in cell_keys(span.batch, range(span.low, span.high), of.field)
            ]
        else:
            more["spans"] = [
                [number, span.batch, span.low, span.high, of.field, of.vectors] for number, span, of in held
            ]
        size = batch_rows(spans, collection)
        answer = iter(self._client.query(statement, batch_rows=size, stream=True, **more))
        rows: list[Any] = []
        for number, (span, of) in enumerate(zip(spans, columns, strict=True)):
            if of is None:
                rows.extend([None] * span.rows)
                continue
            for expected in range(span.low, span.high):
                row = next(answer, None)
                if row is None or row[0] != number or row[1] != expected:
                    raise Incomplete(f"row {expected} of batch {span.batch}", span.wanted)
                rows.append(row)
        if next(answer, None) is not None:
            raise Incomplete("more rows than were committed", spans[-1].wanted)
        return rows

    def _dictionaries(self, spans: list[Span]) -> dict[str, list[Any]]:
        sizes = {ref["digest"]: ref["values"] for span in spans for ref in span.dictionaries.values()}
        if not sizes:
            return {}
        found: dict[str, list[Any]] = {digest: [] for digest in sizes}
        for digest, values in self._client.query(DICTIONARY_CHUNKS, digests=sorted(sizes), batch_rows=10):
            found[digest].extend(values)
        for digest, size in sizes.items():
            if len(found[digest]) != size:
                raise VaultCorrupt(
                    f"{self._client.address} lacks categories ({digest} in tv_dictionaries). Restore it from a backup."
                )
        return found

    def _chunk(
        self,
        spans: list[Span],
        found: dict[Any, list[Any]],
        columns: Sequence[str] | None,
        words: dict[str, list[Any]],
        version: Version,
        positions: np.ndarray | None = None,
    ) -> Chunk:
        schema = self.schema(spans[0].schema)
        wanted = self._wanted(spans[0].schema, columns)
        references = spans[0].dictionaries
        dictionaries = codec.Dictionaries(
            {path: (words[ref["digest"]], ref["coded"]) for path, ref in references.items()}
        )
        try:
            arrays = _arrays(wanted, found, dictionaries)
            table = pa.Table.from_arrays(
                [arrays[one.name] for one in wanted],
                schema=pa.schema([schema.field(one.field) for one in wanted], schema.metadata),
            )
        except (
            ValueError,
            TypeError,
            LookupError,
            ArithmeticError,
            UnsupportedColumn,
            pa.ArrowException,
        ) as error:
            raise VaultCorrupt(
                f"The rows of {version.list}@{version.version} are damaged and cannot be decoded: {error}. "
                "vault.check() lists all damage."
            ) from error
        if columns is not None:
            table = table.select([name for name in columns if name in table.schema.names])
        if positions is not None:
            return Chunk(positions, table, private=False)
        last = spans[-1]
        return Chunk(range(spans[0].position, last.position + last.rows), table, private=False)


def _shows(pieces: Pieces, generation: int, first: int, stop: int) -> bool:
    """Whether any of these rows is shown."""
    return bool(pieces.shows_any(np.array([generation]), np.array([first]), np.array([stop]))[0])


def removed(version: Version) -> VersionNotFound:
    """The error for a version whose rows are gone."""
    return VersionNotFound.vacuumed(version.list, version.version)


def _read_schema(data: str, digest: str, key: str) -> pa.Schema:
    try:
        raw = base64.b64decode(data, validate=True)
        if sha256(raw).hexdigest() != digest or digest[:15] != key:
            raise VaultCorrupt(f"The schema {key} in tv_schemas is damaged: it does not match its hash.")
        return pa.ipc.read_schema(pa.py_buffer(raw))
    except (ValueError, pa.ArrowException, OSError) as error:
        if isinstance(error, VaultCorrupt):
            raise
        raise VaultCorrupt(f"The schema {key} in tv_schemas is damaged: {error}") from error


def _arrays(
    wanted: list[StoredColumn], found: dict[Any, list[Any]], dictionaries: codec.Dictionaries
) -> dict[str, pa.Array]:
    records = [one for one in wanted if one.collection == RECORDS]
    plain = [row[2] for row in found.get(None, ())] if records else []
    decoded = decode_records(records, plain, dictionaries)
    arrays = {one.name: array for one, array in zip(records, decoded, strict=True)}
    numbers: Counter[str] = Counter()
    for one in wanted:
        if one.collection != RECORDS:
            rows = found.get((one.collection, numbers[one.collection]), [])
            numbers[one.collection] += 1
            arrays[one.name] = decode_cells(
                one, [row[2] for row in rows], [row[3] for row in rows], dictionaries
            )
    return arrays
