"""Search text in the embedded store: by an index, and in the rows that it does not have yet.

A small commit is indexed in its own transaction. A large one would make saving slow: a thread indexes it afterwards, and a
search scans what is not indexed yet. ``text_upto`` says up to where each generation is in the index.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tablevault_pd.errors import StorageError, VaultCorrupt, VaultError
from tablevault_pd.store.embedded.code import CELLS_OF_SOURCES, reindex_code
from tablevault_pd.store.engine import fts, text_tail
from tablevault_pd.store.engine.fts_index import (
    DESCRIPTIONS_FROM,
    ROWS_BESIDE,
    SET_UPTO,
    UPTO,
    UPTO_ONE,
    Gap,
    add_rows,
    add_source,
    gaps,
    has_text,
    insert_texts,
    integers,
    items_of,
    matching_sources,
    merge_step,
    places_of,
    portions,
)
from tablevault_pd.store.engine.text_tail import Tail
from tablevault_pd.store.engine.threads import Background

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from sqlite3 import Connection

    import numpy as np
    import pyarrow as pa

    from tablevault_pd.store import Chunk, Hits, Scope, Version
    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.embedded.reader import Reader
    from tablevault_pd.store.embedded.segments import Payload
    from tablevault_pd.store.engine.threads import Flag
    from tablevault_pd.store.pieces import Pieces
    from tablevault_pd.store.text_query import Node

SMALL_BYTES = 32 << 10  # a commit of up to so many bytes is indexed inside its transaction
ROWS_A_STEP = 16  # after so many rows in the background, a writer that waits gets its turn
PAUSE_S = 0.005  # between two portions another process gets its turn
QUIET_S = 0.1  # this process has not written for so long …
PATIENCE_S = 1.0  # … or a portion is added all the same
IDLE_S = 0.5  # the thread lets the program get on before it starts

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
PUT_CELL_SOURCE = "INSERT OR REPLACE INTO cell_sources (session, cell, source) VALUES (?, ?, ?)"


# -- what is inserted, in an open transaction


def add_description(db: Connection, key: int, text: str) -> None:
    """Index a description just inserted."""
    insert_texts(db, [(DESCRIPTIONS_FROM + key, fts.indexed(fts.prose(text), None))])


def add_code(db: Connection, session_id: int, cell: int, text: str) -> None:
    """Index a cell just inserted. The same code is indexed once, however many sessions run it."""
    db.execute(PUT_CELL_SOURCE, (session_id, cell, add_source(db, text)))


def add_small(db: Connection, version: Version, parts: Sequence[Payload]) -> bool:
    """Index a commit inside its transaction, if it is small and all before it is indexed. Whether nothing is left to do."""
    if not any(items_of(part.schema)[1] for part in parts if part.rows):
        return True
    if any(part.file is not None for part in parts) or sum(part.size for part in parts) > SMALL_BYTES:
        return False
    if version.start:
        row = db.execute(UPTO_ONE, (version.list_id, version.generation)).fetchone()
        if (row[0] if row else None) != version.start:
            return False
    start = version.start
    for part in parts:
        assert part.table is not None  # it was packed for this commit
        add_rows(db, version.list_id, version.generation, start, part.table)
        start += part.rows
    db.execute(SET_UPTO, (version.list_id, version.generation, start))
    return True


def _add_until(
    db: Connection,
    is_waited_for: Callable[[], bool],
    key: tuple[int, int],
    start: int,
    tables: Sequence[pa.Table],
) -> int:
    """Index the rows from `start` on until another writer begins to wait. Up to where they are indexed now."""
    row = db.execute(UPTO_ONE, key).fetchone()
    indexed = int(row[0]) if row else 0
    if indexed != start:  # another process does the same, or has emptied the index
        return indexed
    for step in (
        table.slice(at, ROWS_A_STEP) for table in tables for at in range(0, table.num_rows, ROWS_A_STEP)
    ):
        add_rows(db, *key, start, step)
        start += step.num_rows
        if is_waited_for():
            break
    db.execute(SET_UPTO, (*key, start))
    return start


def _merge_until(db: Connection, is_waited_for: Callable[[], bool]) -> bool:
    """Merge a step. Whether to go on."""
    return merge_step(db) and not is_waited_for()


def _check(db: Connection) -> None:
    for statement in CHECKS:
        db.execute(statement)


def _rebuild(db: Connection) -> None:
    clear(db)
    for statement in CLEAR_CODE:
        db.execute(statement)
    for session_id, cell, text in db.execute(CELL_TEXTS).fetchall():
        add_code(db, session_id, cell, text)
    reindex_code(db)


def clear(db: Connection) -> None:
    """Forget the whole index of rows, so that it is made anew: vacuum cannot take single rows out of it."""
    for statement in CLEAR:
        db.execute(statement)
    for key, text in db.execute(DESCRIPTION_TEXTS).fetchall():
        add_description(db, key, text)


# -- what is searched


class TextSearch:
    """Text, code and descriptions of one vault folder."""

    def __init__(self, catalog: SqliteCatalog, rows: Reader) -> None:
        self._catalog, self._rows = catalog, rows
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._waiting: list[Version] = []
        self._indexing = Background(self._index_waiting, "text")

    def _begin_in_child(self) -> None:
        """Begin anew in a forked child: it has no thread, and another thread may have held the lock."""
        if self._pid != os.getpid():
            self._begin()

    def close(self) -> None:
        """Stop the thread."""
        self._begin_in_child()
        self._indexing.stop.set()
        self._indexing.join()

    # -- completing the index

    def index_later(self, version: Version) -> None:
        """Have a thread index a version."""
        self._begin_in_child()
        self._waiting.append(version)
        self._indexing.ask()

    def _index_waiting(self) -> None:
        while self._waiting and not self._indexing.stop.wait(IDLE_S):
            version = self._waiting.pop()
            try:
                self._complete(self._shown([version]), stop=self._indexing.stop)
            except (VaultError, OSError):
                continue  # no call waits for this, and a search scans what is lacking

    def _shown(self, versions: Sequence[Version]) -> list[tuple[Version, Pieces]]:
        return list(zip(versions, self._rows.pieces(versions), strict=True))

    def _complete(self, contents: Sequence[tuple[Version, Pieces]], stop: Flag) -> None:
        """Index all that these versions show."""
        with self._catalog.reading() as db:
            lacking = gaps(contents, {row[:2]: row[2] for row in db.execute(UPTO).fetchall()})
        for gap in lacking:
            self._index(gap, stop)

    def _index(self, gap: Gap, stop: Flag) -> None:
        key, low = gap.key, gap.low
        while low < gap.high:
            for start, tables in portions(self._rows_of(replace(gap, low=low)), ROWS_BESIDE):
                if self._yields(stop):
                    return
                low = self._catalog.write_beside(_add_until, key, start, tables)
                self._merge(stop)
                if low != start + sum(table.num_rows for table in tables):
                    break  # another writer waits, or does the same work: continue where it is

    def _rows_of(self, gap: Gap) -> Iterator[Chunk]:
        return self._rows.rows_of_generation(gap.version, gap.generation, gap.low, gap.high, None)

    def _merge(self, stop: Flag) -> None:
        """Merge what portions have left, until another writer comes."""
        while self._catalog.write_beside(_merge_until) and not self._yields(stop):
            pass

    def _yields(self, stop: Flag) -> bool:
        """Wait while this process writes, for as long as it is patient. Whether the thread is to end."""
        deadline = time.monotonic() + PATIENCE_S
        while not stop.wait(PAUSE_S):
            quiet = time.monotonic() - self._catalog.written > QUIET_S
            if quiet or time.monotonic() > deadline:
                return False
        return True

    # -- rows

    def search_text(self, query: Node, scopes: Sequence[Scope], *, k: int | None = None) -> Hits:
        """Rows with a text that matches."""
        self._begin_in_child()
        with_text = [
            number
            for number, scope in enumerate(scopes)
            if has_text(scope, self._rows.schema(scope.version.schema_id))
        ]
        contents = self._shown([scopes[number].version for number in with_text])
        places = places_of(with_text, contents)
        tail = Tail([], [])
        while True:  # until nobody empties the index meanwhile
            answer = self._catalog.snapshot(text_tail.search, contents, tail, query, places, scopes, k)
            if not isinstance(answer, list):
                return answer
            tail = Tail.counted(query, answer, self._rows_of)

    # -- code and descriptions

    def search_code(self, query: Node) -> np.ndarray:
        """Cells whose code matches."""
        with self._catalog.reading() as db:
            sources = matching_sources(db, query)
            return integers(db, CELLS_OF_SOURCES, json.dumps(sources.tolist())).T

    def problem(self) -> str | None:
        """What is wrong with the index of texts, if anything."""
        if self._catalog.read_only:
            return None
        try:
            self._catalog.write(_check)
        except VaultCorrupt as error:
            return str(error)
        except StorageError as error:
            if not isinstance(error.__cause__, MemoryError):
                raise
            return str(error)  # SQLite asks for as much memory as a damaged index says
        return None

    def rebuild(self) -> None:
        """Make the index of texts anew: code and descriptions now, rows when they are searched next."""
        self._catalog.write(_rebuild)
