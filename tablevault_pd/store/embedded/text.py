"""Searching text in the embedded store, with an index that is always completed before it is asked.

A small commit is indexed inside its own transaction. A large one would make saving slow: a thread indexes it afterwards,
and a search that comes earlier does the rest itself. Where nothing may be written (a vault open for reading, a full disk),
the rest is indexed in memory. ``text_upto`` says up to where each generation is in the index.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, pairwise
from sqlite3 import Connection
from typing import Any

import numpy as np
import pyarrow as pa

from tablevault_pd import frames, fts
from tablevault_pd.errors import StorageFull, VaultBusy, VaultError, VaultReadOnly
from tablevault_pd.store import Chunk, Description, Hits, Scope, Spans, Version
from tablevault_pd.store.embedded.catalog import Catalog
from tablevault_pd.store.embedded.segments import Part, unpack
from tablevault_pd.store.embedded.text_tables import DESCRIPTIONS_FROM, ITEM_TABLES
from tablevault_pd.store.query import Leaf, Node, Prefix, matching_ids

SMALL_BYTES = 32 << 10  # a commit of up to so many bytes is indexed inside its transaction
ROWS_AT_ONCE = 5000  # … a larger one so many rows a transaction, so that no other writer waits for long
BYTES_AT_ONCE = 4 << 20  # … or so many bytes of text
FIRST_LOOK = 64  # how many of the best matches are fetched first, times k
ROW_BITS = 40  # a scope and a position in one number: no list has so many rows
IDLE_S = 0.5  # the thread lets the program get on before it starts

UPTO = "SELECT list, generation, upto FROM text_upto"
UPTO_ONE = "SELECT upto FROM text_upto WHERE list = ? AND generation = ?"
SET_UPTO = "INSERT OR REPLACE INTO text_upto (list, generation, upto) VALUES (?, ?, ?)"
RUNS = "SELECT first, list, generation, start, rows, items FROM text_runs ORDER BY first"
LAST_RUN = "SELECT first, list, generation, start, rows, items FROM text_runs ORDER BY first DESC LIMIT 1"
INSERT_RUN = "INSERT INTO text_runs (first, list, generation, start, rows, items) VALUES (?, ?, ?, ?, ?, ?)"
EXTEND_RUN = "UPDATE text_runs SET rows = rows + ? WHERE first = ?"
RESTORES = "SELECT list, version, base_generation, base_total FROM batches WHERE base_generation IS NOT NULL"
INSERT_TEXT = (
    "INSERT INTO prose (rowid, text) VALUES (?, ?)",
    "INSERT INTO plain (rowid, text) VALUES (?, ?)",
)
RANKED = "SELECT rowid, rank FROM prose WHERE prose MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rank LIMIT ?"
MATCHING = {
    "prose": "SELECT rowid, 0.0 FROM prose WHERE prose MATCH ? AND rowid BETWEEN ? AND ?",
    "plain": "SELECT rowid, 0.0 FROM plain WHERE plain MATCH ? AND rowid BETWEEN ? AND ?",
    "prose rank": "SELECT rowid, rank FROM prose WHERE prose MATCH ? AND rowid BETWEEN ? AND ?",
    "plain rank": "SELECT rowid, rank FROM plain WHERE plain MATCH ? AND rowid BETWEEN ? AND ?",
}
ALL_ITEMS = "SELECT id, 0.0 FROM prose_docsize WHERE id BETWEEN ? AND ?"
CLEAR = (
    "INSERT INTO prose (prose) VALUES ('delete-all')",
    "INSERT INTO plain (plain) VALUES ('delete-all')",
    "DELETE FROM text_runs",
    "DELETE FROM text_upto",
)
CHECKS = (
    "INSERT INTO prose (prose) VALUES ('integrity-check')",
    "INSERT INTO plain (plain) VALUES ('integrity-check')",
    "INSERT INTO code_words (code_words) VALUES ('integrity-check')",
    "INSERT INTO code_triples (code_triples) VALUES ('integrity-check')",
)
CLEAR_CODE = (
    "INSERT INTO code_words (code_words) VALUES ('delete-all')",
    "INSERT INTO code_triples (code_triples) VALUES ('delete-all')",
    "DELETE FROM cell_sources",
    "DELETE FROM code_texts",
)
CELL_TEXTS = "SELECT session, cell, text FROM cells"
DESCRIPTION_TEXTS = "SELECT id, text FROM descriptions"
NEWEST_DESCRIPTIONS = """
SELECT max(id) FROM descriptions GROUP BY list, session_of, label
"""
INSERT_SOURCE = "INSERT OR IGNORE INTO code_texts (digest) VALUES (?)"
SOURCE = "SELECT id FROM code_texts WHERE digest = ?"
INSERT_CODE = (
    "INSERT INTO code_words (rowid, parts, wholes) VALUES (?, ?, ?)",
    "INSERT INTO code_triples (rowid, text) VALUES (?, ?)",
)
PUT_CELL_SOURCE = "INSERT OR REPLACE INTO cell_sources (session, cell, source) VALUES (?, ?, ?)"
CODE_WORDS = "SELECT rowid FROM code_words WHERE code_words MATCH ?"
CODE_TRIPLES = "SELECT rowid FROM code_triples WHERE code_triples MATCH ?"
ALL_SOURCES = "SELECT id FROM code_texts"
CELLS_OF_SOURCES = """
SELECT session, cell FROM cell_sources WHERE source IN (SELECT value FROM json_each(?)) ORDER BY session, cell
"""
ALL_CELLS_BUT = """
SELECT session, cell FROM cell_sources WHERE source NOT IN (SELECT value FROM json_each(?)) ORDER BY session, cell
"""
WRITTEN = """
SELECT generation, start, rows, coalesce(session, -1), coalesce(cell, -1), time FROM batches
WHERE list = ? AND rows > 0 ORDER BY generation, start
"""

Run = tuple[int, int, int]  #: (generation, first position, end)


# -- what is inserted, in an open transaction


def add_description(db: Connection, key: int, text: str) -> None:
    """Index a description just inserted."""
    _insert_texts(db, [(DESCRIPTIONS_FROM + key, fts.prose(text))])


def add_code(db: Connection, session_id: int, cell: int, text: str) -> None:
    """Index a cell just inserted. The same code is indexed once, however many sessions run it."""
    digest = sha256(text.encode(errors="replace")).digest()
    new = db.execute(INSERT_SOURCE, (digest,)).rowcount
    source = db.execute(SOURCE, (digest,)).fetchone()[0]
    if new:
        plain = text.encode(errors="replace").decode().replace("\0", " ")
        db.execute(INSERT_CODE[0], (source, fts.code_parts(plain), fts.code_wholes(plain)))
        db.execute(INSERT_CODE[1], (source, plain))
    db.execute(PUT_CELL_SOURCE, (session_id, cell, source))


def _insert_texts(db: Connection, items: Sequence[tuple[int, str]]) -> None:
    for statement in INSERT_TEXT:
        db.executemany(statement, items)


def _items(schema: pa.Schema) -> tuple[list[str], list[str | None]]:
    """The fields that are in the record, and the items a row has: None for the record, else a document's field."""
    columns = frames.text_columns(schema)
    fields = [column.field for column in columns if column.kind == "record"]
    alone = [column.field for column in columns if column.kind != "record"]
    return fields, [*([None] if fields else []), *alone]


def _add_rows(db: Connection, list_id: int, generation: int, start: int, table: pa.Table) -> None:
    """Index the rows of `table`, which begin at position `start`."""
    fields, items = _items(table.schema)
    if not items or not table.num_rows:
        return
    first = _next_run(db, list_id, generation, start, table.num_rows, json.dumps(items))
    width = len(items)
    for number, field in enumerate(items):
        if field is None:
            texts: Iterable[str | None] = map(
                fts.record, zip(*(frames.texts(table, each) for each in fields), strict=True)
            )
        else:
            texts = (text and fts.prose(text) for text in frames.texts(table, field))
        _insert_texts(db, [(first + row * width + number, text) for row, text in enumerate(texts) if text])


def _next_run(db: Connection, list_id: int, generation: int, start: int, rows: int, items: str) -> int:
    """Number the items of these rows: on from the last run if they follow it, as appends to one list do."""
    last = db.execute(LAST_RUN).fetchone()
    first = 1 if last is None else last[0] + last[4] * len(json.loads(last[5]))
    if last is not None and (*last[1:3], last[3] + last[4], last[5]) == (list_id, generation, start, items):
        db.execute(EXTEND_RUN, (rows, last[0]))
    else:
        db.execute(INSERT_RUN, (first, list_id, generation, start, rows, items))
    return int(first)


def add_small(db: Connection, version: Version, parts: Sequence[Part], folder: Any) -> bool:
    """Index a commit inside its transaction, if it is small and all before it is indexed. Whether nothing is left to do."""
    if not any(_items(part.schema)[1] for part in parts if part.rows):
        return True
    if any(part.file is not None for part in parts) or sum(part.size for part in parts) > SMALL_BYTES:
        return False
    if version.operation == "append":
        row = db.execute(UPTO_ONE, (version.list_id, version.generation)).fetchone()
        if (row[0] if row else None) != version.start and version.start:
            return False
    start = version.start
    for part in parts:
        table, _ = unpack(part, folder, None, version.list)
        _add_rows(db, version.list_id, version.generation, start, table)
        start += part.rows
    db.execute(SET_UPTO, (version.list_id, version.generation, start))
    return True


def clear(db: Connection) -> None:
    """Forget the whole index of rows, so that it is made anew: vacuum cannot take single rows out of it."""
    for statement in CLEAR:
        db.execute(statement)
    for key, text in db.execute(DESCRIPTION_TEXTS).fetchall():
        add_description(db, key, text)


# -- what is searched


@dataclass(frozen=True, slots=True)
class _Place:
    """Where rows of a scope lie."""

    scope: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class _Runs:
    """The runs of items that some scope can see."""

    first: np.ndarray
    start: np.ndarray
    items: list[list[str | None]]
    places: list[list[_Place]]
    last: int  #: the highest row id


class TextSearch:
    """Text, code and descriptions of one vault folder."""

    catalog: Catalog
    read_only: bool

    def schema(self, schema_id: int) -> pa.Schema:
        """A schema as committed."""
        raise NotImplementedError

    def _rows_of_run(
        self, version: Version, generation: int, low: int, high: int, columns: Sequence[str] | None
    ) -> Iterator[Chunk]:
        raise NotImplementedError

    def _open_text(self) -> None:
        self._text_pid = os.getpid()
        self._text_lock = threading.RLock()
        self._memory: Connection | None = None  # the index of what may not be written
        self._waiting: list[Version] = []
        self._stop_indexing = threading.Event()
        self._indexer: threading.Thread | None = None

    def _text_after_fork(self) -> None:
        """A forked child has neither the thread nor the locks that another thread may have held."""
        if self._text_pid != os.getpid():
            self._open_text()

    def _close_text(self) -> None:
        self._text_after_fork()
        self._stop_indexing.set()
        if self._indexer is not None and self._indexer is not threading.current_thread():
            self._indexer.join()
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    # -- completing the index

    def _index_later(self, version: Version) -> None:
        self._text_after_fork()
        with self._text_lock:
            self._waiting.append(version)
            if (
                self._indexer is None or not self._indexer.is_alive()
            ):  # it does not live on in a forked child either
                self._indexer = threading.Thread(
                    target=self._index_waiting, name="tablevault-text", daemon=True
                )
                self._indexer.start()

    def _index_waiting(self) -> None:
        while not self._stop_indexing.wait(IDLE_S):
            with self._text_lock:
                if not self._waiting:
                    self._indexer = None
                    return
                version = self._waiting.pop()
            try:
                self._complete(self._runs_of([version]), stop=self._stop_indexing)
            except (VaultError, OSError):
                continue  # nobody waits for this; a search does it again, and says what is wrong

    def _runs_of(self, versions: Sequence[Version]) -> list[tuple[Version, list[Run]]]:
        """Which positions of each version lie in which generation."""
        with self.catalog.reading() as db:
            restores = {row[:2]: row[2:] for row in db.execute(RESTORES).fetchall()}
        found = []
        for version in versions:
            runs: list[Run] = []
            generation, high = version.generation, version.total
            while (version.list_id, generation) in restores:
                base, base_total = restores[version.list_id, generation]
                runs.append((generation, base_total, high))
                generation, high = base, base_total
            found.append((version, [*runs, (generation, 0, high)][::-1]))
        return found

    def _complete(
        self, wanted: Sequence[tuple[Version, list[Run]]], stop: threading.Event | None = None
    ) -> Connection | None:
        """Index all that these runs show. What may not be written goes into memory, whose connection is returned."""
        with self.catalog.reading() as db:
            upto = {row[:2]: row[2] for row in db.execute(UPTO).fetchall()}
        lacking = [
            (version, generation, max(low, upto.get((version.list_id, generation), low)), high)
            for version, runs in wanted
            for generation, low, high in runs
            if max(low, upto.get((version.list_id, generation), low)) < high
        ]
        if not lacking:
            return None
        if not self.read_only:
            try:
                for version, generation, low, high in lacking:
                    self._index(version, generation, low, high, stop)
                return None
            except (VaultBusy, StorageFull, VaultReadOnly):
                if stop is not None:
                    raise
        return self._index_in_memory(lacking)

    def _index(
        self, version: Version, generation: int, low: int, high: int, stop: threading.Event | None
    ) -> None:
        key = (version.list_id, generation)
        while low < high:
            for start, tables in _portions(self._rows_of_run(version, generation, low, high, None)):
                if stop is not None and stop.is_set():
                    return
                with self.catalog.writing() as db:
                    row = db.execute(UPTO_ONE, key).fetchone()
                    low = max(low, row[0]) if row else low
                    if low != start:
                        break  # somebody else does the same work: go on where they are
                    for table in tables:
                        _add_rows(db, *key, low, table)
                        low += table.num_rows
                    db.execute(SET_UPTO, (*key, low))

    def _index_in_memory(self, lacking: Sequence[tuple[Version, int, int, int]]) -> Connection:
        if self._memory is None:
            self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._memory.executescript(ITEM_TABLES)
        db = self._memory
        for version, generation, low, high in lacking:
            row = db.execute(UPTO_ONE, (version.list_id, generation)).fetchone()
            low = max(low, row[0]) if row else low
            if low < high:
                for start, tables in _portions(self._rows_of_run(version, generation, low, high, None)):
                    for table in tables:
                        _add_rows(db, version.list_id, generation, start, table)
                        start += table.num_rows
                db.execute(SET_UPTO, (version.list_id, generation, high))
        return db

    # -- rows

    def find_text(self, query: Node, scopes: Sequence[Scope], *, k: int | None = None) -> Hits:
        """Rows with a text that matches."""
        self._text_after_fork()
        seen = [number for number, scope in enumerate(scopes) if self._has_text(scope)]
        wanted = self._runs_of([scopes[number].version for number in seen])
        places: dict[tuple[int, int], list[_Place]] = {}
        for number, (version, runs) in zip(seen, wanted, strict=True):
            for generation, low, high in runs:
                places.setdefault((version.list_id, generation), []).append(_Place(number, low, high))
        with self._text_lock:  # the index in memory is one connection for all threads
            memory = self._complete(wanted)
            found = [] if memory is None else [_search(memory, query, places, scopes, k)]
        with self.catalog.reading() as db:
            db.execute("BEGIN")  # the runs and the index as of one moment
            try:
                found.append(_search(db, query, places, scopes, k))
            finally:
                db.execute("COMMIT")
        return (
            found[0]
            if len(found) == 1
            else ranked(*map(np.concatenate, zip(*map(_arrays, found), strict=True)))
        )

    def _has_text(self, scope: Scope) -> bool:
        columns = frames.text_columns(self.schema(scope.version.schema_id))
        return any(
            scope.record if column.kind == "record" else column.field in scope.documents for column in columns
        )

    # -- code and descriptions

    def find_code(self, query: Node) -> np.ndarray:
        """Cells whose code matches."""
        with self.catalog.reading() as db:
            found = matching_ids(
                query, lambda leaf: _sources(db, leaf), lambda: _ids(db.execute(ALL_SOURCES))
            )
            rows = db.execute(CELLS_OF_SOURCES, (json.dumps(found.tolist()),)).fetchall()
        return np.array(rows, np.int64).reshape(-1, 2)

    def find_descriptions(self, query: Node) -> list[Description]:
        """Descriptions that match."""
        span = (DESCRIPTIONS_FROM, (1 << 63) - 1)
        with self.catalog.reading() as db:
            found = _matching(db, query, span)
            newest = db.execute(NEWEST_DESCRIPTIONS).fetchall()
        wanted = set((found - DESCRIPTIONS_FROM).tolist())
        return [
            description
            for (key,), description in zip(sorted(newest), self.descriptions(), strict=True)
            if key in wanted
        ]

    def descriptions(self) -> list[Description]:
        """The newest description of each target and label."""
        raise NotImplementedError

    def written(self, versions: Sequence[Version]) -> Spans:
        """Who wrote which rows."""
        columns: list[list[Any]] = [[], [], [], [], [], []]
        with self.catalog.reading() as db:
            for number, (version, runs) in enumerate(self._runs_of(versions)):
                by_generation: dict[int, list[tuple[Any, ...]]] = {}
                for generation, *rest in db.execute(WRITTEN, (version.list_id,)).fetchall():
                    by_generation.setdefault(generation, []).append(tuple(rest))
                for generation, low, high in runs:
                    for start, rows, session_id, cell, time in by_generation.get(generation, ()):
                        if start + rows > low and start < high:
                            line = (number, max(start, low), min(start + rows, high), session_id, cell, time)
                            for column, value in zip(columns, line, strict=True):
                                column.append(value)
        scope, start, stop, session_id, cell, time_us = (np.array(column, np.int64) for column in columns)
        return Spans(scope, start, stop, session_id, cell, time_us.view("datetime64[us]"))

    def check_text(self) -> str | None:
        """What is wrong with the index of texts, if anything."""
        if self.read_only:
            return None
        try:
            with self.catalog.writing() as db:
                for statement in CHECKS:
                    db.execute(statement)
        except VaultError as error:
            return str(error)
        return None

    def rebuild_text(self) -> None:
        """Make the index of texts anew: code and descriptions now, rows when they are searched next."""
        with self.catalog.writing() as db:
            clear(db)
            for statement in CLEAR_CODE:
                db.execute(statement)
            for session_id, cell, text in db.execute(CELL_TEXTS).fetchall():
                add_code(db, session_id, cell, text)


def _portions(chunks: Iterable[Chunk]) -> Iterator[tuple[int, list[pa.Table]]]:
    """Neighbouring rows, as many as one transaction is to index, with the position of the first; only their text."""
    start, rows, size = -1, 0, 0
    waiting: list[pa.Table] = []
    for chunk in chunks:
        table = chunk.table.select([column.field for column in frames.text_columns(chunk.table.schema)])
        whole = chunk.table if table.num_columns == 0 else table
        step = max(1, min(ROWS_AT_ONCE, whole.num_rows * BYTES_AT_ONCE // max(1, table.nbytes)))
        for at in range(0, whole.num_rows, step):
            piece = whole.slice(at, step)
            if not waiting:
                start = chunk.positions[0] + at
            waiting.append(piece)
            rows, size = rows + piece.num_rows, size + (piece.nbytes if table.num_columns else 0)
            if rows >= ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
                yield start, waiting
                waiting, rows, size = [], 0, 0
    if waiting:
        yield start, waiting


# -- FTS5


def _pairs(rows: Iterable[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    flat = np.fromiter(chain.from_iterable(rows), np.float64).reshape(-1, 2)
    return flat[:, 0].astype(np.int64), flat[:, 1]


def _ids(rows: Iterable[tuple[Any, ...]]) -> np.ndarray:
    return np.fromiter((row[0] for row in rows), np.int64)


def _matching(db: Connection, query: Node, span: tuple[int, int]) -> np.ndarray:
    def leaf(what: Leaf) -> np.ndarray:
        statement = MATCHING["plain" if isinstance(what, Prefix) else "prose"]
        return _ids(db.execute(statement, (fts.prose_term(what), *span)))

    whole = fts.match(query)
    if whole is not None:
        return np.unique(_ids(db.execute(MATCHING["prose"], (whole, *span))))
    return matching_ids(query, leaf, lambda: _ids(db.execute(ALL_ITEMS, span)))


def _sources(db: Connection, leaf: Leaf) -> np.ndarray:
    words, triples = fts.code_terms(leaf)
    found = [_ids(db.execute(CODE_WORDS, (words,)))] if words else []
    found += [_ids(db.execute(CODE_TRIPLES, (triples,)))] if triples else []
    return np.concatenate([np.empty(0, np.int64), *found])


def _search(
    db: Connection,
    query: Node,
    places: dict[tuple[int, int], list[_Place]],
    scopes: Sequence[Scope],
    k: int | None,
) -> Hits:
    """The rows that match, best first. With `k`, the best matches are looked at first, and more only if need be."""
    runs = _visible_runs(db, places)
    if runs is None:
        return ranked(*(np.empty(0, kind) for kind in (np.int64, np.int64, np.int64, np.float64)))
    span = (int(runs.first[0]), runs.last)
    whole = fts.match(query)
    if whole is None:
        ids = _matching(db, query, span)
        return _located(ids, _scores(db, query, ids, span), runs, scopes)
    limit = -1 if k is None or any(scope.keep is not None for scope in scopes) else k + FIRST_LOOK
    while True:
        ids, ranks = _pairs(db.execute(RANKED, (whole, *span, limit)))
        hits = _located(ids, -ranks, runs, scopes)
        if limit < 0 or len(ids) < limit:
            return hits
        sure = int(
            np.searchsorted(-hits.score, ranks[-1], side="left")
        )  # rows better than any that was not fetched
        if k is not None and sure >= k:
            return Hits(hits.scope[:sure], hits.position[:sure], hits.item[:sure], hits.score[:sure])
        limit = limit * 16 if limit < 16 * (FIRST_LOOK + (k or 0)) else -1


def _scores(db: Connection, query: Node, ids: np.ndarray, span: tuple[int, int]) -> np.ndarray:
    """BM25 of the items `ids` (ascending) over all leaves that are not negated."""
    scores = np.zeros(len(ids))
    for table, prefixes in (("prose rank", False), ("plain rank", True)):
        term = fts.any_leaf(query, prefixes=prefixes)
        if term is not None and len(ids):
            found, ranks = _pairs(db.execute(MATCHING[table], (term, *span)))
            at = np.searchsorted(ids, found)
            here = (at < len(ids)) & (ids[np.minimum(at, len(ids) - 1)] == found)
            scores[at[here]] -= ranks[here]
    return scores


def _visible_runs(db: Connection, places: dict[tuple[int, int], list[_Place]]) -> _Runs | None:
    rows = [row for row in db.execute(RUNS).fetchall() if (row[1], row[2]) in places]
    if not rows:
        return None
    items = [json.loads(row[5]) for row in rows]
    return _Runs(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.int64),
        items,
        [places[row[1], row[2]] for row in rows],
        rows[-1][0] + rows[-1][4] * len(items[-1]) - 1,
    )


def _located(ids: np.ndarray, scores: np.ndarray, runs: _Runs, scopes: Sequence[Scope]) -> Hits:
    """The rows of the scopes that the items `ids` belong to."""
    run = np.searchsorted(runs.first, ids, side="right") - 1
    order = np.argsort(run, kind="stable")
    edges = np.flatnonzero(np.diff(run[order], prepend=-2))
    found: list[tuple[np.ndarray, ...]] = []
    for at, end in pairwise([*edges, len(order)]):
        here = order[at:end]
        number = run[here[0]]
        items = runs.items[number]
        row, item = np.divmod(ids[here] - runs.first[number], len(items))
        position = runs.start[number] + row
        for place in runs.places[number]:
            scope = scopes[place.scope]
            codes = _codes(items, scope)[item]
            kept = (position >= place.low) & (position < place.high) & (codes > -2)
            if scope.keep is not None:
                kept[kept] = scope.keep[position[kept]]
            numbers = np.full(int(kept.sum()), place.scope, np.int64)
            found.append((numbers, position[kept], codes[kept], scores[here][kept]))
    empty = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    return ranked(*map(np.concatenate, zip(empty, *found, strict=True)))


def _codes(items: Sequence[str | None], scope: Scope) -> np.ndarray:
    """The number in the scope of each item of a run; -2: the scope does not look at it."""
    numbers = {field: number for number, field in enumerate(scope.documents)}
    return np.array(
        [(-1 if scope.record else -2) if field is None else numbers.get(field, -2) for field in items]
    )


def _arrays(hits: Hits) -> tuple[np.ndarray, ...]:
    return hits.scope, hits.position, hits.item, hits.score


def ranked(scope: np.ndarray, position: np.ndarray, item: np.ndarray, score: np.ndarray) -> Hits:
    """Hits in order, the best item of each row only."""
    order = np.lexsort((item, position, scope, -score))
    rows = (scope << ROW_BITS | position)[order]
    order = order[np.sort(np.unique(rows, return_index=True)[1])]
    return Hits(scope[order], position[order], item[order], score[order])
