"""Search an index of texts together with rows that it does not have yet: hits, order and scores are as if it had them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store.engine import fts
from tablevault_pd.store.engine import fts_index as index
from tablevault_pd.store.engine.bm25 import Texts, counts_of, weight_of
from tablevault_pd.store.engine.text_scan import Counted, Sought
from tablevault_pd.store.text_query import Leaf, Node, Prefix, all_leaves, needs_everything

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from sqlite3 import Connection

    from tablevault_pd.store import Hits, Scope, Version
    from tablevault_pd.store.pieces import Pieces

ROWS_AT_ONCE = 100_000  #: that are counted in

# FTS5 keeps the number of texts and of their words, and the number of words of each text, as integers of variable length.
TOTALS = {
    "prose": "SELECT block FROM prose_data WHERE id = 1",
    "plain": "SELECT block FROM plain_data WHERE id = 1",
}
HOLDING = {
    "prose": "SELECT count(*) FROM prose WHERE prose MATCH ?",
    "plain": "SELECT count(*) FROM plain WHERE plain MATCH ?",
}
COUNTED = {
    "prose": """
SELECT prose.rowid, prose.rank, d.sz FROM prose CROSS JOIN prose_docsize d ON d.id = prose.rowid
WHERE prose MATCH ? AND prose.rowid BETWEEN ? AND ?
""",
    "plain": """
SELECT plain.rowid, plain.rank, d.sz FROM plain CROSS JOIN plain_docsize d ON d.id = plain.rowid
WHERE plain MATCH ? AND plain.rowid BETWEEN ? AND ?
""",
}


@dataclass(frozen=True, slots=True)
class _LeafCounts:
    """Items of text with what they have of a query, and what all items of their corpus have."""

    ids: np.ndarray
    lengths: np.ndarray
    counts: dict[Leaf, np.ndarray]
    holding: dict[Leaf, int]
    items: int
    words: int


@dataclass(frozen=True, slots=True)
class _CountedRows:
    """Neighbouring rows of a generation."""

    list_id: int
    generation: int
    start: int
    rows: int
    names: list[str | None]  #: of the items of a row
    counted: list[Counted]

    def behind(self, row: int) -> _CountedRows:
        """The rows from that one on."""
        skipped = min(max(row - self.start, 0), self.rows)
        counted = [item.behind(skipped) for item in self.counted]
        return replace(self, start=self.start + skipped, rows=self.rows - skipped, counted=counted)


class Tail:
    """What the rows of some gaps have of a query."""

    def __init__(self, gaps: Sequence[index.Gap], parts: list[_CountedRows]) -> None:
        self._gaps = {gap.key: gap for gap in gaps}
        self._parts = parts

    @classmethod
    def counted(cls, query: Node, gaps: Sequence[index.Gap], rows_of: index.RowsOf) -> Tail:
        """Count in the rows of these gaps."""
        sought, parts = Sought(query), []
        for gap in gaps:
            for start, tables in index.portions(rows_of(gap), ROWS_AT_ONCE):
                for table in tables:
                    names, counted = index.items_of(table.schema)[1], list(sought.count(table))
                    parts.append(_CountedRows(*gap.key, start, table.num_rows, names, counted))
                    start += table.num_rows
        return cls(gaps, parts)

    @property
    def has_rows(self) -> bool:
        """Whether anything was counted."""
        return bool(self._parts)

    def behind(self, lacking: Sequence[index.Gap], indexed: Mapping[tuple[int, int], int]) -> Tail | None:
        """What is behind these rows, which an index has now; None if it lacks rows that were not counted."""
        counted = self._gaps
        if any(indexed.get(key, 0) < gap.low for key, gap in counted.items()):
            return None
        if any(gap.key not in counted or not counted[gap.key].holds(gap) for gap in lacking):
            return None
        parts = [part.behind(indexed.get((part.list_id, part.generation), 0)) for part in self._parts]
        return Tail([], parts)

    def runs(self, first: int) -> list[index.Run]:
        """The runs that the items make, numbered from `first` on."""
        runs = []
        for part in self._parts:
            place = (part.list_id, part.generation, part.start, part.rows)
            runs.append((first, *place, json.dumps(part.names)))
            first += part.rows * len(part.names)
        return runs

    def items(self, first: int, query: Node) -> _LeafCounts:
        """The items that have anything of a query, numbered so."""
        everything = needs_everything(query)
        ids: list[np.ndarray] = []
        lengths: list[np.ndarray] = []
        counts: dict[Leaf, list[np.ndarray]] = {leaf: [] for leaf in all_leaves(query)}
        for part in self._parts:
            for number, item in enumerate(part.counted):
                mask = item.is_there if everything else np.logical_or.reduce([*item.counts.values()])
                rows = np.flatnonzero(mask)
                ids.append(first + rows * len(part.names) + number)
                lengths.append(item.lengths[rows])
                for leaf, some in item.counts.items():
                    counts[leaf].append(some[rows])
            first += part.rows * len(part.names)
        joined = {leaf: _joined(some) for leaf, some in counts.items()}
        holding = {leaf: int(np.count_nonzero(some)) for leaf, some in joined.items()}
        items = [item for part in self._parts for item in part.counted]
        total = sum(int(np.count_nonzero(item.is_there)) for item in items)
        return _LeafCounts(
            _joined(ids),
            _joined(lengths),
            joined,
            holding,
            total,
            sum(int(item.lengths.sum()) for item in items),
        )


def search(
    db: Connection | None,
    contents: Sequence[tuple[Version, Pieces]],
    tail: Tail,
    query: Node,
    places: index.Places,
    scopes: Sequence[Scope],
    k: int | None,
) -> Hits | list[index.Gap]:
    """The rows that match, best first: of an index, if there is one, and of the tail. Else what both of them lack."""
    indexed = {} if db is None else {row[:2]: row[2] for row in db.execute(index.UPTO).fetchall()}
    lacking = index.gaps(contents, indexed)
    if not lacking and db is not None and not tail.has_rows:
        return index.search(db, query, places, scopes, k)
    more = tail.behind(lacking, indexed)
    return lacking if more is None else _search_both(db, more, query, places, scopes)


def _search_both(
    db: Connection | None, tail: Tail, query: Node, places: index.Places, scopes: Sequence[Scope]
) -> Hits:
    stored: list[index.Run] = [] if db is None else db.execute(index.RUNS).fetchall()
    first = 1 + index.last_id(stored)
    runs = index.visible_runs([*stored, *tail.runs(first)], places)
    if runs is None:
        return index.no_hits()
    span = (int(runs.first[0]), first - 1)
    indexed = _nothing(query) if db is None or span[1] < span[0] else _indexed(db, query, span)
    more = tail.items(first, query)
    both = (indexed, more)
    texts = Texts(
        np.concatenate([some.lengths for some in both]),
        {leaf: np.concatenate([some.counts[leaf] for some in both]) for leaf in indexed.counts},
        {leaf: sum(some.holding[leaf] for some in both) for leaf in indexed.counts},
        sum(some.items for some in both),
        sum(some.words for some in both),
    )
    matches = texts.matching(query)
    ids = np.concatenate([some.ids for some in both])
    return index.located(ids[matches], texts.scores(query)[matches], runs, scopes)


def _nothing(query: Node) -> _LeafCounts:
    none = np.empty(0, np.int64)
    return _LeafCounts(
        none, none, dict.fromkeys(all_leaves(query), none), dict.fromkeys(all_leaves(query), 0), 0, 0
    )


def _indexed(db: Connection, query: Node, span: tuple[int, int]) -> _LeafCounts:
    """The items of an index in `span` that have anything of a query."""
    totals = {table: _totals(db, table) for table in TOTALS}
    ids, lengths, counts, holding = {}, {}, {}, {}
    for leaf in all_leaves(query):
        table, term = "plain" if isinstance(leaf, Prefix) else "prose", fts.prose_term(leaf)
        items, words = totals[table]
        holding[leaf] = db.execute(HOLDING[table], (term,)).fetchone()[0]
        rows = db.execute(COUNTED[table], (term, *span)).fetchall()
        ids[leaf] = np.array([row[0] for row in rows], np.int64)
        lengths[leaf] = _integers(b"".join([row[2] for row in rows]))
        scores = -np.array([row[1] for row in rows], np.float64)
        counts[leaf] = counts_of(
            scores, lengths[leaf], weight_of(holding[leaf], items), words / max(1, items)
        )
    every = [*ids.values()]
    if needs_everything(query):
        every.append(np.array([row[0] for row in db.execute(index.ALL_ITEMS, span).fetchall()], np.int64))
    every_id = np.unique(_joined(every))
    return _LeafCounts(
        every_id,
        _spread(every_id, ids, lengths),
        {leaf: _spread(every_id, {leaf: ids[leaf]}, counts) for leaf in ids},
        holding,
        *totals["prose"],
    )


def _spread(all_ids: np.ndarray, ids: dict[Leaf, np.ndarray], values: dict[Leaf, np.ndarray]) -> np.ndarray:
    """The values of these ids; 0 where there is none."""
    spread = np.zeros(len(all_ids), np.int64)
    for leaf, some in ids.items():
        spread[np.searchsorted(all_ids, some)] = values[leaf]
    return spread


def _totals(db: Connection, table: str) -> tuple[int, int]:
    """How many texts there are, and how many words."""
    row = db.execute(TOTALS[table]).fetchone()
    numbers = _integers(row[0] if row else b"").tolist()
    return (numbers[0], numbers[1]) if len(numbers) > 1 else (0, 0)


def _integers(data: bytes) -> np.ndarray:
    """Integers of SQLite's variable length: seven bits a byte, the highest first, marked in all bytes but the last."""
    parts = np.frombuffer(data, np.uint8).astype(np.int64)
    last = np.flatnonzero(parts < 0x80)
    if not len(last):
        return last
    first = np.append(0, last[:-1] + 1)
    after = np.repeat(last, last - first + 1) - np.arange(len(parts))
    numbers: np.ndarray = np.add.reduceat((parts & 0x7F) << (7 * after), first)
    return numbers


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *arrays])
