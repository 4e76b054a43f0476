"""Which cited passages still stand in the newest version of their document, wherever they are in it now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.reading import documents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Store, Version

GAP = "\0"  # in the text of a document: characters that no row has, however many
SENTENCES = re.compile(rf"[^.!?\n{GAP}]+[.!?\s{GAP}]*|[.!?\s{GAP}]+")
WORDS = re.compile(r"\S+\s*|\s+")
MOST_UNITS = 10_000  # sentences or words that are compared; a longer part that differs counts as changed
KEY_COLUMNS = 4  # a key of more columns tells rows apart, not documents

#: (where in the one text, where in the other, how many characters) of each part that both have.
Blocks = list[tuple[int, int, int]]


def rows_of_passages(
    store: Store, old: Version, head: Version, positions: np.ndarray, spans: np.ndarray
) -> list[np.ndarray]:
    """For the span of each of these rows of `old` the positions in `head` of the rows that have it now; none where it does not stand."""
    shelves = _shelves(store, old, head)
    if shelves is None or not len(shelves[0].positions):
        return [np.empty(0, np.int64)] * len(positions)
    before, now = shelves
    of_rows = before.documents_of(positions).tolist()
    blocks: dict[int, tuple[_Document, _Document, Blocks]] = {}
    rows = []
    for document, (start, stop) in zip(of_rows, spans.tolist(), strict=True):
        if document < 0:
            rows.append(np.empty(0, np.int64))
            continue
        if document not in blocks:
            one, other = before.document(document), now.document(document)
            blocks[document] = one, other, shared_blocks(one.text, other.text)
        one, other, shared = blocks[document]
        first, last = one.index(start), one.index(stop - 1)
        moved = next(
            (there - here for here, there, size in shared if here <= first and last < here + size), None
        )
        rows.append(np.empty(0, np.int64) if moved is None else other.rows_with(first + moved, last + moved))
    return rows


# -- documents of a list


@dataclass(frozen=True, slots=True, eq=False)
class _Document:
    """One document: its text, and where the rows of it begin and end."""

    text: str
    positions: np.ndarray
    start: np.ndarray  #: int64: offset of the text of each row in the document, in order
    first: np.ndarray  #: int64: where it stands in `text`
    last: np.ndarray  #: int64: the end there

    def index(self, offset: int) -> int:
        """Where a character of the document stands in the text."""
        row = max(int(np.searchsorted(self.start, offset, side="right")) - 1, 0)
        return int(min(self.first[row] + offset - self.start[row], len(self.text) - 1))

    def rows_with(self, first: int, last: int) -> np.ndarray:
        """The positions of rows that have some of these characters of the text."""
        return self.positions[(self.first <= last) & (self.last > first)]


def _document(positions: np.ndarray, starts: np.ndarray, texts: Sequence[str]) -> _Document:
    """Put the texts of rows, in order of their starts, together."""
    parts, length, end = [], 0, 0
    first, last = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
    for row, (start, text) in enumerate(zip(starts.tolist(), texts, strict=True)):
        if start > end:
            parts.append(GAP)
            length, end = length + 1, start
        first[row] = length - (end - start)
        last[row] = first[row] + len(text)
        if start + len(text) > end:
            parts.append(text[end - start :])
            length, end = int(last[row]), start + len(text)
    return _Document("".join(parts), positions, starts, first, last)


@dataclass(frozen=True, slots=True, eq=False)
class _Shelf:
    """The rows of a version by document."""

    store: Store
    version: Version
    field: str
    positions: np.ndarray
    start: np.ndarray
    number: np.ndarray  #: of the document of each row

    def documents_of(self, positions: np.ndarray) -> np.ndarray:
        """The number of the document of each of these rows; -1 for one that was erased."""
        rows = pd.Index(self.positions).get_indexer(positions)
        return np.where(rows < 0, -1, self.number[rows])

    def document(self, number: int) -> _Document:
        rows = np.flatnonzero(self.number == number)
        rows = rows[np.argsort(self.start[rows], kind="stable")]
        cells = documents.texts(self.store, self.version, self.field, self.positions[rows])
        return _document(self.positions[rows], self.start[rows], cells)


def _shelves(store: Store, old: Version, head: Version) -> tuple[_Shelf, _Shelf] | None:
    """Both versions with their rows by document; None if it cannot be told which rows are of one document."""
    schemas = [store.schema(version.schema_id) for version in (old, head)]
    labels = [[text for text in frames.columns(schema) if text.kind == "document"] for schema in schemas]
    if [len(texts) for texts in labels] != [1, 1] or labels[0][0].label != labels[1][0].label:
        return None
    fields = [texts[0].field for texts in labels]
    if any(frames.start_field(schema, field) is None for schema, field in zip(schemas, fields, strict=True)):
        if old.erased or head.erased:  # it is forgotten how long their texts were
            return None
        places = [
            documents.extents(store, version, field)
            for version, field in zip((old, head), fields, strict=True)
        ]
        starts = [pd.DataFrame({"start": place.start}, index=place.positions) for place in places]
    else:
        starts = [_starts(store, version, field) for version, field in zip((old, head), fields, strict=True)]
    by = _columns_of_documents(starts)
    if by is None:
        return None
    both = pd.concat(starts, ignore_index=True)
    numbers = both.groupby(by, dropna=False).ngroup().to_numpy() if by else np.zeros(len(both), np.int64)
    parts = np.split(numbers, [len(starts[0])])
    one, other = (
        _Shelf(store, version, field, table.index.to_numpy(), table["start"].to_numpy(), number)
        for version, field, table, number in zip((old, head), fields, starts, parts, strict=True)
    )
    return one, other


def _starts(store: Store, version: Version, field: str) -> pd.DataFrame:
    """The offset of each row that is not erased, by position, and the cells of its key."""
    schema = store.schema(version.schema_id)
    start = frames.start_field(schema, field)
    assert start is not None
    names = {column: name for name, column in frames.contents(schema).items()}
    key = [name for name in frames.key_fields(schema) if name != start][:KEY_COLUMNS]
    positions, table = documents.columns_of(store, version, [start, *key])
    starts = pd.DataFrame({"start": frames.offsets_of(table.column(start))}, index=positions)
    return starts.assign(**{f"key {names[name]}": table.column(name).to_pylist() for name in key})


def _columns_of_documents(starts: Sequence[pd.DataFrame]) -> list[Any] | None:
    """The fewest columns of the key by which no document has two rows that begin at one place; None if there are none such.

    With `doc` and `n` as key it is `doc`. Where it may be either of some, it is all of these.
    """
    shared = [column for column in starts[0] if column != "start" and column in starts[1]]
    for size in range(len(shared) + 1):
        telling = [
            columns
            for columns in combinations(shared, size)
            if not any(table.duplicated([*columns, "start"]).any() for table in starts)
        ]
        if telling:
            return [column for column in shared if any(column in columns for columns in telling)]
    return None


# -- what two texts share


def shared_blocks(one: str, other: str) -> Blocks:
    """The parts that stand in both texts, in one order."""
    blocks = _blocks(one, other, (0, len(one)), (0, len(other)), [SENTENCES, WORDS])
    return _joined([block for block in blocks if block[2]])


def _blocks(
    one: str, other: str, here: tuple[int, int], there: tuple[int, int], units: Sequence[re.Pattern[str]]
) -> Blocks:
    """What these ranges of both texts share: their beginning and end, and between these units; of those that differ smaller ones."""
    ours, theirs = one[slice(*here)], other[slice(*there)]
    head = _shared_start(ours, theirs)
    tail = _shared_start(ours[head:][::-1], theirs[head:][::-1])
    blocks = [(here[0], there[0], head)]
    if units:
        between = (here[0] + head, here[1] - tail), (there[0] + head, there[1] - tail)
        blocks += _blocks_of_units(one, other, *between, units)
    return [*blocks, (here[1] - tail, there[1] - tail, tail)]


def _shared_start(one: str, other: str) -> int:
    """How many characters both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _blocks_of_units(
    one: str, other: str, here: tuple[int, int], there: tuple[int, int], units: Sequence[re.Pattern[str]]
) -> Blocks:
    ours, theirs = units[0].findall(one, *here), units[0].findall(other, *there)
    if max(len(ours), len(theirs)) > MOST_UNITS:
        return []
    at, to = (
        np.cumsum([start, *map(len, parts)]).tolist()
        for start, parts in ((here[0], ours), (there[0], theirs))
    )
    blocks: Blocks = []
    for kind, first, last, begin, end in SequenceMatcher(None, ours, theirs).get_opcodes():
        if kind == "equal":
            blocks.append((at[first], to[begin], at[last] - at[first]))
        elif kind == "replace":
            blocks += _blocks(one, other, (at[first], at[last]), (to[begin], to[end]), units[1:])
    return blocks


def _joined(blocks: Blocks) -> Blocks:
    """Blocks that continue each other as one."""
    joined: Blocks = []
    for here, there, size in blocks:
        if joined and joined[-1][0] + joined[-1][2] == here and joined[-1][1] + joined[-1][2] == there:
            joined[-1] = (*joined[-1][:2], joined[-1][2] + size)
        else:
            joined.append((here, there, size))
    return joined
