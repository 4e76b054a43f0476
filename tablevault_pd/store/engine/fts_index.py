"""The text index of the embedded store in SQLite's FTS5.

Items of text are numbered in runs: item `i` of the row at ``start + n`` has the row id ``first + n * len(items) + i`` in
``prose`` and ``plain``, so that nothing is stored per row. Descriptions have row ids from DESCRIPTIONS_FROM on. The index
does not hold the texts. Another store has an index of its own, of the same items, and finds the same rows in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd import frames
from tablevault_pd.store import Chunk, Hits, Scope, Version
from tablevault_pd.store.engine import fts
from tablevault_pd.store.engine.fts import CODE, PLAIN, STEMMED
from tablevault_pd.store.engine.ranking import ranked, take_hits
from tablevault_pd.store.text_query import Leaf, Node, Prefix, matching_ids

if TYPE_CHECKING:
    from sqlite3 import Connection

    import pyarrow as pa

    from tablevault_pd.store.pieces import Pieces

DESCRIPTIONS_FROM = 1 << 61

# plain: the same texts without stemming, for prefixes. A stem is not what the word begins with.
WORD_TABLES = f"""
CREATE VIRTUAL TABLE prose USING fts5(text, content='', tokenize='{STEMMED}');
CREATE VIRTUAL TABLE plain USING fts5(text, content='', tokenize='{PLAIN}');
"""

# text_upto: up to where each generation is in the index, and the commit that wrote the row before.
RUN_TABLES = """
CREATE TABLE text_runs (
    first INTEGER PRIMARY KEY,
    list INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    start INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    items TEXT NOT NULL
);
CREATE TABLE text_upto (list INTEGER NOT NULL, generation INTEGER NOT NULL, upto INTEGER NOT NULL, token TEXT NOT NULL,
    PRIMARY KEY (list, generation)) WITHOUT ROWID;
"""

# Parts of the index are merged by the thread that fills it, in steps, rather than within a commit; by that where there are many.
ITEM_SETTINGS = """
INSERT INTO prose (prose, rank) VALUES ('automerge', 0);
INSERT INTO plain (plain, rank) VALUES ('automerge', 0);
"""

# The same code is indexed once, however many cells run it.
CODE_TABLES = f"""
CREATE TABLE code_texts (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);
CREATE VIRTUAL TABLE code_words USING fts5(parts, wholes, content='', tokenize='{CODE}');
CREATE VIRTUAL TABLE code_triples USING fts5(text, content='', tokenize='trigram');
"""

ROWS_BESIDE = 512  # so many in one transaction, some hundredths of a second
BYTES_AT_ONCE = 4 << 20  # of text
MERGE = (
    "INSERT INTO prose (prose, rank) VALUES ('merge', ?)",
    "INSERT INTO plain (plain, rank) VALUES ('merge', ?)",
)
MERGED_PAGES = 16  # … of one step: a few milliseconds
FIRST_LOOK = 64  # how many of the best matches are fetched first, times k
UPTO = "SELECT list, generation, upto FROM text_upto"
UPTO_ONE = "SELECT upto FROM text_upto WHERE list = ? AND generation = ?"
SET_UPTO = "INSERT OR REPLACE INTO text_upto (list, generation, upto, token) VALUES (?, ?, ?, ?)"
RUNS = "SELECT first, list, generation, start, rows, items FROM text_runs ORDER BY first"
LAST_RUN = """
SELECT first, list, generation, start, rows, items FROM text_runs WHERE first = (SELECT max(first) FROM text_runs)
"""
INSERT_RUN = "INSERT INTO text_runs (first, list, generation, start, rows, items) VALUES (?, ?, ?, ?, ?, ?)"
EXTEND_RUN = "UPDATE text_runs SET rows = rows + ? WHERE first = ?"
INSERT_TEXT = (
    "INSERT INTO prose (rowid, text) VALUES (?, ?)",
    "INSERT INTO plain (rowid, text) VALUES (?, ?)",
)
# By SQLite, which keeps no more than the limit: FTS5 itself would sort all matches, and in no order among equal ones.
RANKED = (
    "SELECT rowid, rank FROM prose WHERE prose MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rank, rowid LIMIT ?"
)
MATCHING = {
    "prose": "SELECT rowid, 0.0 FROM prose WHERE prose MATCH ? AND rowid BETWEEN ? AND ?",
    "plain": "SELECT rowid, 0.0 FROM plain WHERE plain MATCH ? AND rowid BETWEEN ? AND ?",
    "prose rank": "SELECT rowid, rank FROM prose WHERE prose MATCH ? AND rowid BETWEEN ? AND ?",
    "plain rank": "SELECT rowid, rank FROM plain WHERE plain MATCH ? AND rowid BETWEEN ? AND ?",
}
CLEAR = (
    "INSERT INTO prose (prose) VALUES ('delete-all')",
    "INSERT INTO plain (plain) VALUES ('delete-all')",
)
CHECKS = (
    "INSERT INTO prose (prose) VALUES ('integrity-check')",
    "INSERT INTO plain (plain) VALUES ('integrity-check')",
)
ALL_ITEMS = "SELECT id, 0.0 FROM prose_docsize WHERE id BETWEEN ? AND ?"
INSERT_SOURCE = "INSERT OR IGNORE INTO code_texts (digest) VALUES (?)"
SOURCE = "SELECT id FROM code_texts WHERE digest = ?"
INSERT_CODE = (
    "INSERT INTO code_words (rowid, parts, wholes) VALUES (?, ?, ?)",
    "INSERT INTO code_triples (rowid, text) VALUES (?, ?)",
)
CODE_WORDS = "SELECT json_group_array(rowid) FROM code_words WHERE code_words MATCH ?"
CODE_TRIPLES = "SELECT json_group_array(rowid) FROM code_triples WHERE code_triples MATCH ?"
ALL_SOURCES = "SELECT json_group_array(id) FROM code_texts"


# -- what is inserted


def insert_texts(db: Connection, items: Sequence[tuple[int, fts.IndexedText]]) -> None:
    """Index items given as (row id, text)."""
    for number, statement in enumerate(INSERT_TEXT):
        db.executemany(statement, [(key, text[number]) for key, text in items])


def merge_step(db: Connection) -> bool:
    """Merge a little of the parts that the index is in. Return whether there may be more to merge."""
    more = False
    for statement in MERGE:
        before = db.total_changes
        db.execute(statement, (MERGED_PAGES,))
        more |= db.total_changes - before > 1
    return more


def items_of(schema: pa.Schema) -> tuple[list[str], list[str | None]]:
    """The fields that are in the record, and the items a row has: None for the record, else a document's field."""
    columns = frames.text_columns(schema)
    fields = [column.field for column in columns if column.kind == "record"]
    alone = [column.field for column in columns if column.kind != "record"]
    return fields, [*([None] if fields else []), *alone]


def item_texts(table: pa.Table) -> Iterator[tuple[str | None, Iterable[fts.IndexedText | None]]]:
    """Each item of :func:`items_of` with its text in every row, as it is indexed; nothing where it has none."""
    fields, items = items_of(table.schema)
    language = frames.language_of(table.schema)
    for field in items:
        if field is None:
            records = map(fts.record, zip(*(frames.texts(table, name) for name in fields), strict=True))
            yield field, (None if text is None else fts.indexed(text, language) for text in records)
        else:
            texts = frames.texts(table, field)
            yield field, (fts.indexed(fts.prose(text), language) if text else None for text in texts)


def add_rows(db: Connection, list_id: int, generation: int, start: int, table: pa.Table) -> None:
    """Index the rows of `table`, which begin at position `start`."""
    _, items = items_of(table.schema)
    if not items or not table.num_rows:
        return
    first = _next_run(db, list_id, generation, start, table.num_rows, json.dumps(items))
    width = len(items)
    for number, (_, texts) in enumerate(item_texts(table)):
        insert_texts(db, [(first + row * width + number, text) for row, text in enumerate(texts) if text])


def _next_run(db: Connection, list_id: int, generation: int, start: int, rows: int, items: str) -> int:
    """Number the items of these rows: on from the last run if they follow it, as appends to one list do."""
    last = db.execute(LAST_RUN).fetchone()
    first = 1 if last is None else last[0] + last[4] * len(json.loads(last[5]))
    if last is not None and (*last[1:3], last[3] + last[4], last[5]) == (list_id, generation, start, items):
        db.execute(EXTEND_RUN, (rows, last[0]))
    else:
        db.execute(INSERT_RUN, (first, list_id, generation, start, rows, items))
    return int(first)


def add_source(db: Connection, text: str) -> int:
    """Index a piece of code unless it is there already; its id."""
    digest = sha256(text.encode(errors="replace")).digest()
    new = db.execute(INSERT_SOURCE, (digest,)).rowcount
    source = int(db.execute(SOURCE, (digest,)).fetchone()[0])
    if new:
        plain = fts.code_text(text)
        db.execute(INSERT_CODE[0], (source, fts.code_parts(plain), fts.code_wholes(plain)))
        db.execute(INSERT_CODE[1], (source, plain))
    return source


def matching_sources(db: Connection, query: Node) -> np.ndarray:
    """The ids of the pieces of code that match."""
    return matching_ids(query, lambda leaf: source_ids(db, leaf), lambda: integers(db, ALL_SOURCES)[0])


def portions(chunks: Iterable[Chunk], most_rows: int) -> Iterator[tuple[int, list[pa.Table]]]:
    """Neighbouring rows, as many as are worked on at once, with the address of the first; only their text."""
    start, rows, size = -1, 0, 0
    waiting: list[pa.Table] = []
    for chunk in chunks:
        if waiting and chunk.positions[0] != start + rows:
            yield start, waiting
            waiting, rows, size = [], 0, 0
        table = chunk.table.select([column.field for column in frames.text_columns(chunk.table.schema)])
        whole = chunk.table if table.num_columns == 0 else table
        step = max(1, min(most_rows, whole.num_rows * BYTES_AT_ONCE // max(1, table.nbytes)))
        for at in range(0, whole.num_rows, step):
            piece = whole.slice(at, step)
            if not waiting:
                start = chunk.positions[0] + at
            waiting.append(piece)
            rows, size = rows + piece.num_rows, size + (piece.nbytes if table.num_columns else 0)
            if rows >= most_rows or size >= BYTES_AT_ONCE:
                yield start, waiting
                waiting, rows, size = [], 0, 0
    if waiting:
        yield start, waiting


# -- what is searched


Run = tuple[int, int, int, int, int, str]  #: as RUNS has it


@dataclass(frozen=True, slots=True)
class Shown:
    """The rows of one scope."""

    scope: int
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class _Runs:
    """The runs of items that some scope can see."""

    first: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    generation: np.ndarray
    items: list[list[str | None]]
    places: list[list[Shown]]
    last: int  #: the highest row id

    @property
    def in_order(self) -> bool:
        """Whether rows that come after others have higher row ids: all are of one piece of one version."""
        shown = self.places[0]
        return len(shown) == 1 and len(shown[0].pieces) == 1 and all(some is shown for some in self.places)


def _pairs(rows: Iterable[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    flat = np.fromiter(chain.from_iterable(rows), np.float64).reshape(-1, 2)
    return flat[:, 0].astype(np.int64), flat[:, 1]


def _ids(rows: Iterable[tuple[Any, ...]]) -> np.ndarray:
    return np.fromiter((row[0] for row in rows), np.int64)


def matching(db: Connection, query: Node, span: tuple[int, int]) -> np.ndarray:
    """The row ids in `span`, both ends included, of the items that match."""

    def leaf(what: Leaf) -> np.ndarray:
        statement = MATCHING["plain" if isinstance(what, Prefix) else "prose"]
        return _ids(db.execute(statement, (fts.prose_term(what), *span)))

    whole = fts.match(query)
    if whole is not None:
        return np.unique(_ids(db.execute(MATCHING["prose"], (whole, *span))))
    return matching_ids(query, leaf, lambda: _ids(db.execute(ALL_ITEMS, span)))


def source_ids(db: Connection, leaf: Leaf) -> np.ndarray:
    """The ids of the pieces of code that a leaf is in."""
    words, triples = fts.code_terms(leaf)
    parts = [*integers(db, CODE_WORDS, words)] if words else []
    parts += [*integers(db, CODE_TRIPLES, triples)] if triples else []
    return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def integers(db: Connection, statement: str, *values: Any) -> np.ndarray:
    """The columns of a statement that puts each into a JSON array: several times as fast as a tuple for each row."""
    [columns] = db.execute(statement, values)
    return np.array([json.loads(column) for column in columns], np.int64)


def search(
    db: Connection,
    query: Node,
    places: Places,
    scopes: Sequence[Scope],
    k: int | None,
) -> Hits:
    """The rows that match, best first. With `k`, the best matches are checked first, and more only if needed."""
    runs = visible_runs(db.execute(RUNS).fetchall(), places)
    if runs is None:
        return no_hits()
    span = (int(runs.first[0]), runs.last)
    whole = fts.match(query)
    if whole is None:
        ids = matching(db, query, span)
        return located(ids, _scores(db, query, ids, span), runs, scopes)
    limit = -1 if k is None or any(scope.keep is not None for scope in scopes) else k + FIRST_LOOK
    while True:
        ids, ranks = _pairs(db.execute(RANKED, (whole, *span, limit)))
        hits = located(ids, -ranks, runs, scopes)
        if limit < 0 or len(ids) < limit:
            return hits
        # Those that come before all that was not fetched: where ids and positions differ in order, only better ones.
        sure = len(hits) if runs.in_order else int(np.searchsorted(-hits.score, ranks[-1], side="left"))
        if k is not None and sure >= k:
            return take_hits(hits, slice(sure))
        limit = limit * 16 if limit < 16 * (FIRST_LOOK + (k or 0)) else -1


def _scores(db: Connection, query: Node, ids: np.ndarray, span: tuple[int, int]) -> np.ndarray:
    """BM25 of the items `ids` (ascending) over all leaves that are not negated."""
    scores = np.zeros(len(ids))
    for table, prefixes in (("prose rank", False), ("plain rank", True)):
        term = fts.any_leaf(query, prefixes=prefixes)
        if term is not None and len(ids):
            matches, ranks = _pairs(db.execute(MATCHING[table], (term, *span)))
            at = np.searchsorted(ids, matches)
            here = (at < len(ids)) & (ids[np.minimum(at, len(ids) - 1)] == matches)
            scores[at[here]] -= ranks[here]
    return scores


def no_hits() -> Hits:
    """No rows at all."""
    return ranked(*(np.empty(0, kind) for kind in (np.int64, np.int64, np.int64, np.float64)))


def last_id(runs: Sequence[Run]) -> int:
    """The highest row id of an item."""
    return max((run[0] + run[4] * len(json.loads(run[5])) - 1 for run in runs[-1:]), default=0)


def visible_runs(runs: Iterable[Run], places: Places) -> _Runs | None:
    """Those of the runs, ascending, that some scope can see; None if there are none."""
    rows = [row for row in runs if (row[1], row[2]) in places]
    if not rows:
        return None
    return _Runs(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.int64),
        np.array([row[4] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int64),
        [json.loads(row[5]) for row in rows],
        [places[row[1], row[2]] for row in rows],
        last_id(rows),
    )


def located(ids: np.ndarray, scores: np.ndarray, runs: _Runs, scopes: Sequence[Scope]) -> Hits:
    """The rows of the scopes that the items `ids` belong to."""
    run = np.searchsorted(runs.first, ids, side="right") - 1
    order = np.argsort(run, kind="stable")
    edges = np.flatnonzero(np.diff(run[order], prepend=-2))
    parts: list[tuple[np.ndarray, ...]] = []
    for at, end in pairwise([*edges, len(order)]):
        here = order[at:end]
        number = run[here[0]]
        items = runs.items[number]
        row, item = np.divmod(ids[here] - runs.first[number], len(items))
        address = runs.start[number] + row
        for place in runs.places[number]:
            scope = scopes[place.scope]
            codes = _codes(items, scope)[item]
            # Between two runs that are seen there may be one that is not, and whose items come after this one's.
            position = place.pieces.positions(int(runs.generation[number]), address)
            mask = (row < runs.rows[number]) & (position >= 0) & (codes > -2)
            if scope.keep is not None:
                mask[mask] = scope.keep[position[mask]]
            numbers = np.full(int(mask.sum()), place.scope, np.int64)
            parts.append((numbers, position[mask], codes[mask], scores[here][mask]))
    empty = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    return ranked(*map(np.concatenate, zip(empty, *parts, strict=True)))


def _codes(items: Sequence[str | None], scope: Scope) -> np.ndarray:
    """The number in the scope of each item of a run; -2: the scope does not look at it."""
    numbers = {field: number for number, field in enumerate(scope.documents)}
    return np.array(
        [(-1 if scope.record else -2) if field is None else numbers.get(field, -2) for field in items]
    )


def has_text(scope: Scope, schema: pa.Schema) -> bool:
    """Whether a scope whose rows have this schema looks at any text."""
    return any(
        scope.record if column.kind == "record" else column.field in scope.documents
        for column in frames.text_columns(schema)
    )


# -- what an index lacks


@dataclass(frozen=True, slots=True)
class Gap:
    """Rows that an index lacks: those from `low` to `high` of a generation, of which `version` shows the last."""

    version: Version
    generation: int
    low: int
    high: int

    @property
    def key(self) -> tuple[int, int]:
        """Whose rows these are."""
        return self.version.list_id, self.generation

    def holds(self, other: Gap) -> bool:
        """Whether the rows of another gap of that generation are among these."""
        return self.low <= other.low and other.high <= self.high


def gaps(contents: Iterable[tuple[Version, Pieces]], upto: dict[tuple[int, int], int]) -> list[Gap]:
    """What is wanted and lies behind `upto`. A generation is indexed from its first row on, whoever shows those between."""
    lacking: dict[tuple[int, int], Gap] = {}
    for version, pieces in contents:
        for generation, end in pieces.ends():
            key = (version.list_id, generation)
            first = upto.get(key, 0)
            if first < end and (key not in lacking or lacking[key].high < end):
                lacking[key] = Gap(version, generation, first, end)
    return list(lacking.values())


RowsOf = Callable[[Gap], Iterable[Chunk]]
Places = dict[tuple[int, int], list[Shown]]  #: by list and generation: which scopes show rows of it


def places_of(numbers: Sequence[int], contents: Sequence[tuple[Version, Pieces]]) -> Places:
    """Where the rows of each scope lie."""
    places: Places = {}
    for number, (version, pieces) in zip(numbers, contents, strict=True):
        shown = Shown(number, pieces)
        for generation, _ in pieces.ends():
            places.setdefault((version.list_id, generation), []).append(shown)
    return places
