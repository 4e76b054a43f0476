"""Search text in the embedded store: by an index, and in the rows that it does not have yet.

The index of rows is a file of its own, which a thread fills after commits: see :mod:`text_file`. A search adds a few rows that
are not indexed yet, and scans more. Code and descriptions are indexed in the catalogue: see :mod:`catalog_texts`.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from tablevault_pd import frames
from tablevault_pd.errors import StorageError, VaultCorrupt, VaultError, VersionNotFound
from tablevault_pd.store.embedded import tables
from tablevault_pd.store.embedded.catalog_texts import check_texts, drop_former, rebuild_texts
from tablevault_pd.store.embedded.code import CELLS_OF_SOURCES
from tablevault_pd.store.embedded.sizes import GenerationEnds
from tablevault_pd.store.embedded.text_file import NAME, TextFile
from tablevault_pd.store.embedded.versions import NEWEST_OF_GENERATION, version_of
from tablevault_pd.store.engine import fts_index, text_tail
from tablevault_pd.store.engine.fts_index import (
    ROWS_BESIDE,
    SET_UPTO,
    UPTO,
    UPTO_ONE,
    Gap,
    add_rows,
    has_text,
    integers,
    matching_sources,
    merge_step,
    places_of,
    portions,
)
from tablevault_pd.store.engine.text_tail import Tail
from tablevault_pd.store.engine.threads import Background

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from sqlite3 import Connection

    import numpy as np
    import pyarrow as pa

    from tablevault_pd.store import Chunk, Hits, Scope, Version
    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.embedded.reader import Reader
    from tablevault_pd.store.pieces import Pieces
    from tablevault_pd.store.text_query import Node

ROWS_FILLED = 256  # so many rows that the index lacks are added by the search that needs them
ROWS_A_STEP = 16  # after so many rows in the background, a commit of this process gets its turn
PAUSE_S = 0.005  # between two portions others get theirs
QUIET_S = 0.1  # this process has not written for so long …
PATIENCE_S = 1.0  # … or a portion is added all the same
LISTS_BESIDE = 1_000  # that are not searched: so many at most, …
ROWS_BESIDE_SEARCHED = 100_000  # … with so many rows, are scanned with those that are; …
SHARE_BESIDE = 100  # … where one in so many rows waits: fewer change no weight by a hundredth
IDLE_S = 0.5  # the thread lets the program get on before it starts

ERASED = "SELECT pieces FROM erased WHERE list = ?"


# -- what the thread adds


@dataclass(frozen=True, slots=True)
class _Portion:
    """Neighbouring rows of a generation, read when the index went up to `upto`."""

    key: tuple[int, int]
    upto: int
    start: int
    tables: Sequence[pa.Table]

    @property
    def end(self) -> int:
        """The address behind them."""
        return self.start + int(sum(table.num_rows for table in self.tables))

    def add(
        self,
        db: Connection,
        must_end: Callable[[], bool],
        is_current: Callable[[], bool],
        token_of: Callable[[tuple[int, int, int]], str],
    ) -> int:
        """Index the rows until the work must end. Up to where they are indexed now."""
        row = db.execute(UPTO_ONE, self.key).fetchone()
        indexed = int(row[0]) if row else 0
        # Else another process does the same, or rows were erased: whoever does that empties the index afterwards.
        if indexed != self.upto or not is_current():
            return indexed
        end: int = self.start
        steps = (
            table.slice(at, ROWS_A_STEP)
            for table in self.tables
            for at in range(0, table.num_rows, ROWS_A_STEP)
        )
        for step in steps:
            add_rows(db, *self.key, end, step)
            end += step.num_rows
            if must_end():
                break
        db.execute(SET_UPTO, (*self.key, end, token_of((*self.key, end))))
        return end


# -- what is searched


class TextSearch:
    """Text, code and descriptions of one vault folder."""

    def __init__(self, catalog: SqliteCatalog, rows: Reader, file: TextFile) -> None:
        self._catalog, self._rows, self._file = catalog, rows, file
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._settled: object = None  #: what the catalogue's data version was when nothing was left to index
        self._ends = GenerationEnds()
        self._indexing = Background(self._index_waiting, "text")

    def _begin_in_child(self) -> None:
        """Begin anew in a forked child: it has no thread, and another thread may have held a lock."""
        if self._pid != os.getpid():
            self._begin()

    def close(self) -> None:
        """Stop the thread and close the index."""
        self._begin_in_child()
        self._indexing.stop.set()
        self._indexing.join()
        self._file.close()

    # -- filling the index

    def index_later(self, version: Version) -> None:
        """Have a thread index a version."""
        if self._catalog.read_only or not frames.text_columns(self._rows.schema(version.schema_id)):
            return
        self._begin_in_child()
        self._settled = None
        self._indexing.ask()

    def _index_waiting(self) -> None:
        if not self._indexing.stop.wait(IDLE_S):
            with suppress(VaultError, OSError):  # no call waits for this, and a search scans what is lacking
                self._complete()

    def _shown(self, versions: Sequence[Version]) -> list[tuple[Version, Pieces]]:
        return list(zip(versions, self._rows.pieces(versions), strict=True))

    def _complete(self) -> None:
        """Index all that the vault holds."""
        self._drop_former()
        for gap in self._lacking(self._file.write(_upto)):
            with suppress(VaultCorrupt, VersionNotFound):  # others can be indexed
                self._index(gap)
        self._merge()

    def _drop_former(self) -> None:
        with self._catalog.reading() as db:
            has_former = db.execute(tables.HAS_FORMER).fetchone() is not None
        if has_former:
            self._catalog.write(drop_former)

    def _lacking(self, indexed: Mapping[tuple[int, int], int]) -> list[Gap]:
        """What an index lacks that goes so far."""
        ends = self._ends_behind(indexed)
        with self._catalog.reading() as db:
            rows = [db.execute(NEWEST_OF_GENERATION, key).fetchone() for key in ends]
        return [
            Gap(version_of(row), key[1], indexed.get(key, 0), end)
            for row, (key, end) in zip(rows, ends.items(), strict=True)
            if row is not None
        ]

    def _ends_behind(self, indexed: Mapping[tuple[int, int], int]) -> dict[tuple[int, int], int]:
        """Up to where the generations go that an index lacks rows of."""
        ends: dict[tuple[int, int], int] = {}
        has_text: dict[int, bool] = {}
        for (list_id, generation, schema_id), end in self._catalog.snapshot(self._ends.read).items():
            if end > indexed.get((list_id, generation), 0):
                if schema_id not in has_text:
                    has_text[schema_id] = bool(frames.text_columns(self._rows.schema(schema_id)))
                if has_text[schema_id]:
                    ends[list_id, generation] = max(end, ends.get((list_id, generation), 0))
        return ends

    def _index(self, gap: Gap) -> None:
        low, before = gap.low, -1
        while before != low < gap.high:  # lower than before, where the index was emptied
            before, erased = low, self._erased(gap)
            for start, some in portions(self._rows_of(replace(gap, low=low)), ROWS_BESIDE):
                if self._yields():
                    return
                portion = _Portion(gap.key, low, start, some)
                is_current = partial(self._has_erased, gap, erased)
                low = self._file.write(portion.add, self._must_end(), is_current, self._file.token)
                self._merge()
                if low != portion.end:
                    break  # this process has written, or another one does the same work: continue where it is

    def _fill(self, gaps: Sequence[Gap]) -> bool:
        """Index a few rows here and now, if nobody is writing to the index. Whether all of them are indexed."""
        if sum(gap.high - gap.low for gap in gaps) > ROWS_FILLED or self._catalog.read_only:
            return False
        self._indexing.ask()  # to merge what this leaves
        for gap in gaps:
            low, erased = gap.low, self._erased(gap)
            for start, some in portions(self._rows_of(gap), ROWS_BESIDE):
                portion = _Portion(gap.key, low, start, some)
                is_current = partial(self._has_erased, gap, erased)
                if self._file.write_at_once(portion.add, bool, is_current, self._file.token) != portion.end:
                    return False
                low = portion.end
        return True

    def _rows_of(self, gap: Gap) -> Iterator[Chunk]:
        return self._rows.rows_of_generation(gap.version, gap.generation, gap.low, gap.high, None)

    def _erased(self, gap: Gap) -> bytes | None:
        """What tells whether rows of the list were erased since."""
        with self._catalog.reading() as db:
            row = db.execute(ERASED, (gap.version.list_id,)).fetchone()
        return None if row is None else row[0]

    def _has_erased(self, gap: Gap, erased: bytes | None) -> bool:
        """Whether no rows were erased but those."""
        return self._erased(gap) == erased

    def _merge(self) -> None:
        """Merge what portions have left, until this process writes."""
        while self._file.write(merge_step) and not self._yields():
            pass

    def _must_end(self) -> Callable[[], bool]:
        """What tells whether this process has begun to write, since now."""
        written = self._catalog.written
        return lambda: self._catalog.written != written

    def _yields(self) -> bool:
        """Wait while this process writes, for as long as it is patient. Whether the thread is to end."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._indexing.stop.wait(PAUSE_S):
            quiet = time.monotonic() - self._catalog.written > QUIET_S
            if quiet or time.monotonic() > deadline:
                return False
        return True

    def upto(self) -> dict[tuple[int, int], int]:
        """Up to where each generation of a list is indexed."""
        return self._file.snapshot(_upto)

    # -- rows

    def search_text(self, query: Node, scopes: Sequence[Scope], *, k: int | None = None) -> Hits:
        self._begin_in_child()
        with_text = [
            number
            for number, scope in enumerate(scopes)
            if has_text(scope, self._rows.schema(scope.version.schema_id))
        ]
        contents = self._shown([scopes[number].version for number in with_text])
        places = places_of(with_text, contents)
        tail = self._tail_beside(query, contents)
        while True:  # until nobody empties the index meanwhile
            answer = self._file.snapshot(text_tail.search, contents, tail, query, places, scopes, k)
            if not isinstance(answer, list):
                return answer
            if self._fill(answer):
                tail = self._tail_beside(query, contents)
            else:
                tail = self._counted(query, answer, self._lacking(self.upto()))

    def _tail_beside(self, query: Node, contents: Sequence[tuple[Version, Pieces]]) -> Tail:
        """Count in what the index lacks, if that is so much that words would weigh otherwise with it; else nothing.

        A few rows of the lists that are searched are indexed here, so that only other lists are left.
        """
        state = self._catalog.data_version()
        if state == self._settled:
            return Tail([], [])
        indexed = self.upto()
        ends = self._ends_behind(indexed)
        if ends and not self._catalog.read_only:
            self._indexing.ask()
        if sum(end - indexed.get(key, 0) for key, end in ends.items()) * SHARE_BESIDE <= sum(
            indexed.values()
        ):
            self._settled = state
            return Tail([], [])
        gaps = fts_index.gaps(contents, indexed)
        if gaps and not self._fill(gaps):
            return self._counted(query, gaps, self._lacking(indexed))
        return self._counted(query, [], self._lacking(self.upto() if gaps else indexed))

    def _counted(self, query: Node, gaps: Sequence[Gap], others: Sequence[Gap]) -> Tail:
        """Count in the rows of these gaps; and in what else the index lacks, if that is little, as scores are by all texts."""
        for gap in gaps:
            self.index_later(gap.version)
        lacking = {gap.key: gap for gap in others}
        beside = [lacking[key] for key in lacking.keys() - {gap.key for gap in gaps}]
        if len(beside) > LISTS_BESIDE or sum(gap.high - gap.low for gap in beside) > ROWS_BESIDE_SEARCHED:
            beside = []

        def rows_of(gap: Gap) -> Iterator[Chunk]:
            # of damaged ones only scores suffer
            with suppress(VaultError) if gap in beside else nullcontext():
                yield from self._rows_of(gap)

        wider = [replace(gap, high=max(gap.high, lacking.get(gap.key, gap).high)) for gap in gaps]
        counted = [*wider, *beside]
        return Tail.counted(query, counted, rows_of) if counted else Tail([], [])

    # -- code and descriptions

    def search_code(self, query: Node) -> np.ndarray:
        with self._catalog.reading() as db:
            sources = matching_sources(db, query)
            return integers(db, CELLS_OF_SOURCES, json.dumps(sources.tolist())).T

    def problems(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """What is wrong with the indexes of texts, by file, each with what makes it anew. That of rows is filled in the background."""
        if self._catalog.read_only:
            return
        try:
            self._catalog.write(check_texts)
        except VaultCorrupt as error:
            yield "catalog.db", str(error), self.rebuild
        except StorageError as error:
            if not isinstance(error.__cause__, MemoryError):
                raise
            # SQLite asks for as much memory as a damaged index says
            yield "catalog.db", str(error), self.rebuild
        problem = self._file.problem()
        if problem is not None:
            yield NAME, problem, self._file.remove

    def rebuild(self) -> None:
        """Make the index of code and descriptions anew."""
        self._catalog.write(rebuild_texts)

    def forget(self) -> bool:
        """Empty the index of rows, which rows were taken out of. Whether nothing of it is left on disk.

        Of one that was in the catalogue, the rewrite of that leaves nothing.
        """
        self._drop_former()
        return self._file.forget()


def _upto(db: Connection | None) -> dict[tuple[int, int], int]:
    return {} if db is None else {row[:2]: row[2] for row in db.execute(UPTO).fetchall()}
