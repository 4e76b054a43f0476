"""Make the result of a search: one line for each row, with its rank as index, the item that matched, and who wrote the row."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.reading import read as reading
from tablevault_pd.reading import reports
from tablevault_pd.refs import RefArray, Source
from tablevault_pd.search.fusion import NEAR, TEXT, Ranking
from tablevault_pd.search.snippets import best_fields, snippets

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tablevault_pd.search.candidates import Candidate
    from tablevault_pd.search.hits import RankedRows
    from tablevault_pd.search.request import Request
    from tablevault_pd.search.writers import WriterSpans
    from tablevault_pd.store import Store, Version

COLUMNS = (
    "ref", "list", "position", "version", "kind", "column", "score", "text_score", "near_score", "value", "session", "cell",
)  # fmt: skip
SCORES = ("score", "text_score", "near_score")  #: left out where nothing ranks the rows
EXTRA_COLUMNS = ("query", "snippet")
_STRINGS: Any = pd.Series([], dtype=reports.TEXT).dtype


@dataclass(frozen=True, slots=True)
class _AnswerLines:
    """The lines of the answer, for every query in turn."""

    query: np.ndarray
    rank: np.ndarray
    ranking: Ranking

    @classmethod
    def of(cls, rankings: Sequence[Ranking], offset: int) -> _AnswerLines:
        sizes = [len(ranking.scope) for ranking in rankings]
        columns = [[getattr(ranking, name) for ranking in rankings] for name in Ranking.__slots__]
        return cls(
            np.repeat(np.arange(len(rankings)), sizes),
            np.concatenate([np.arange(offset, offset + size) for size in sizes]),
            Ranking(*map(np.concatenate, columns)),
        )


@dataclass(frozen=True, slots=True)
class _Items:
    """What is shown of each line: its item, and the columns of its row that were asked for."""

    kind: np.ndarray
    column: np.ndarray
    value: np.ndarray
    added: dict[Hashable, pd.Series | None]  #: None: no list has such a column


def result_frame(store: Store, request: Request, ranked: RankedRows, spans: WriterSpans) -> pd.DataFrame:
    """The answer to one query, or to several, one after the other."""
    lines = _AnswerLines.of(ranked.rankings, request.offset)
    ranking = lines.ranking
    versions = [candidate.version for candidate in ranked.candidates]
    items = _items(store, request, ranked, lines)
    session, cell = _writers(store, spans, versions, ranking)
    numbers = np.array([version.version for version in versions] or [0], np.int64)
    size = len(lines.rank)
    index = pd.Index(lines.rank) if request.batch else pd.RangeIndex(request.offset, request.offset + size)
    columns: dict[Hashable, Any] = {
        "ref": _refs(store, versions, ranking),
        "list": _texts([versions[scope].list for scope in ranking.scope.tolist()]),
        "position": _int64(ranking.position),
        "version": _int64(numbers[ranking.scope]),
        "kind": _texts(items.kind.tolist()),
        "column": items.column,
        "score": ranking.score,
        "text_score": ranking.text_score,
        "near_score": ranking.near_score,
        "value": items.value,
        "session": _texts(session),
        "cell": _int64(cell, missing=cell < 0),
    }
    if not request.ranks:
        columns = {name: column for name, column in columns.items() if name not in SCORES}
    if request.batch:
        columns["query"] = lines.query
    if request.snippet:
        columns["snippet"] = _texts(_snippets(request, ranked, ranking, items))
    for label, cells in items.added.items():
        name = f"row.{label}" if label in (*COLUMNS, *EXTRA_COLUMNS) else label
        columns[name] = (
            np.full(size, None, object) if cells is None else frames.arrays_of(cells.to_frame())[0]
        )
    names = pd.Index(list(columns)) if items.added else _standard_names(tuple(columns))[:]
    return frames.frame_of(list(columns.values()), names, index)


@lru_cache
def _standard_names(names: tuple[str, ...]) -> pd.Index:
    """The index of columns that are not a list's own: pandas takes as long to make one as to make a column."""
    return pd.Index(names)


def _texts(values: Sequence[str | None]) -> Any:
    """A column of strings: made by Arrow, unless pandas keeps them as objects. A Series would take five times as long."""
    if isinstance(_STRINGS, np.dtype):
        return pd.array(values, dtype=_STRINGS)
    return _STRINGS.__from_arrow__(pa.array(values, pa.large_string()))


def _int64(values: np.ndarray, missing: np.ndarray | None = None) -> pd.arrays.IntegerArray:
    return pd.arrays.IntegerArray(
        values.astype(np.int64, copy=True), np.zeros(len(values), bool) if missing is None else missing
    )


def _refs(store: Store, versions: Sequence[Version], ranking: Ranking) -> RefArray:
    if not len(ranking.scope):
        return RefArray.empty(0)
    sources = [Source(store.vault_id, version.list_id, version.version, version.list) for version in versions]
    return RefArray.joined(sources, ranking.scope, ranking.position)


def _writers(
    store: Store, spans: WriterSpans, versions: Sequence[Version], ranking: Ranking
) -> tuple[list[str | None], np.ndarray]:
    """``name#run`` and the cell of each row's writer; -1 where the cell is not known."""
    groups = _lines_by_scope(ranking.scope)
    scopes = [int(ranking.scope[lines[0]]) for lines in groups]
    spans.load(versions[scope] for scope in scopes)
    ids, cells = np.full(len(ranking.scope), -1), np.full(len(ranking.scope), -1)
    for scope, lines in zip(scopes, groups, strict=True):
        written = spans.of(versions[scope])
        if len(written.start):
            number = np.searchsorted(written.start, ranking.position[lines], side="right") - 1
            ids[lines], cells[lines] = written.session_id[number], written.cell[number]
    labels = reports.labels_of(store, {key for key in ids.tolist() if key >= 0})
    return [labels.get(key) for key in ids.tolist()], cells


def _lines_by_scope(scope: np.ndarray) -> list[np.ndarray]:
    """The numbers of the lines of each scope that has any, in order of scope."""
    if not len(scope):
        return []
    if (scope == scope[0]).all():
        return [np.arange(len(scope))]
    order = np.argsort(scope, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(scope[order])) + 1)


# -- what was found


@dataclass(slots=True)
class _VersionLines:
    """The lines of one version, and what is read of it for them."""

    candidate: Candidate
    lines: np.ndarray  #: their numbers
    labels: list[Hashable | None]  #: of each line, the column of the item found; None: the record, or none
    is_record: np.ndarray
    record: list[Hashable]  #: the columns whose texts together are the record
    columns: list[Hashable]  #: the columns to read
    cells: dict[Hashable, np.ndarray] = field(default_factory=dict)  #: of those that were looked at


def _items(store: Store, request: Request, ranked: RankedRows, lines: _AnswerLines) -> _Items:
    """The item of each line, and the columns of its row that were asked for."""
    size = len(lines.rank)
    kind, column, value = (np.full(size, None, object) for _ in range(3))
    groups = _lines_by_scope(lines.ranking.scope)
    parts = [_version_lines(store, request, ranked, lines.ranking, numbers) for numbers in groups]
    tables = _tables(store, lines.ranking, parts)
    for part, table in zip(parts, tables, strict=True):
        _choose_record_fields(request, part, table)
        kind[part.lines] = _kinds(request, part, lines.ranking)
        column[part.lines] = part.labels
        value[part.lines] = _values(part, table)
    return _Items(kind, column, value, _added(request, parts, tables))


def _version_lines(
    store: Store, request: Request, ranked: RankedRows, ranking: Ranking, lines: np.ndarray
) -> _VersionLines:
    """The lines of one version, and what is needed of it for them."""
    candidate = ranked.candidates[int(ranking.scope[lines[0]])]
    label_of = {column.field: column.label for column in candidate.columns}
    record = _record_labels(store, candidate)
    items, sources = ranking.item[lines].tolist(), ranking.source[lines].tolist()
    text_labels = [label for label, _ in request.text]
    in_record = (ranking.source[lines] == TEXT) & (ranking.item[lines] < 0)
    is_record = in_record & (text_labels[:1] == [None])
    labels: list[Hashable | None] = [None] * len(lines)
    for at, (source, item) in enumerate(zip(sources, items, strict=True)):
        if source == TEXT and item >= 0:
            labels[at] = label_of[candidate.documents[item]]
        elif source == TEXT:
            labels[at] = text_labels[-1 - item]
        elif source == NEAR and item < len(ranked.labels):
            labels[at] = ranked.labels[item]
    needed = {*labels, *request.columns, *(record if is_record.any() else ())}
    columns = [column.label for column in candidate.columns if column.label in needed]
    return _VersionLines(candidate, lines, labels, is_record, record, columns)


def _record_labels(store: Store, candidate: Candidate) -> list[Hashable]:
    """The columns whose texts together are the record; all texts, where each was named as a document since rows were written."""
    texts = frames.text_columns(store.schema(candidate.version.schema_id))
    fields = {text.field for text in texts if text.kind == "record"} or {text.field for text in texts}
    return [column.label for column in candidate.columns if column.field in fields]


def _choose_record_fields(request: Request, part: _VersionLines, table: pa.Table | None) -> None:
    """Set, for the lines whose record was found, the column of it that fits best."""
    if not part.is_record.any():
        return
    [(_, query)] = request.text
    numbers = np.flatnonzero(part.is_record)
    if len(part.record) == 1:
        for number in numbers.tolist():
            part.labels[number] = part.record[0]
        return
    texts = [
        [cell if isinstance(cell, str) else None for cell in _cells(part, table, label)[numbers]]
        for label in part.record
    ]
    for number, best in zip(
        numbers.tolist(), best_fields(query, texts, part.candidate.language), strict=True
    ):
        part.labels[number] = part.record[best]


def _kinds(request: Request, part: _VersionLines, ranking: Ranking) -> np.ndarray:
    kind_of = {column.label: column.kind for column in part.candidate.columns}
    present = set(kind_of.values())
    default = next((kind for kind in request.kinds if kind in present), request.kinds[0])
    kinds = np.full(len(part.lines), default, object)
    kinds[ranking.source[part.lines] == NEAR] = "description"  # unless the line has a column
    for number, label in enumerate(part.labels):
        if label is not None:
            kinds[number] = kind_of[label]
    return kinds


def _values(part: _VersionLines, table: pa.Table | None) -> np.ndarray:
    values = np.full(len(part.lines), None, object)
    cells = {label: _cells(part, table, label) for label in set(part.labels) if label is not None}
    for number, label in enumerate(part.labels):
        if label is not None:
            values[number] = cells[label][number]
    return values


def _added(
    request: Request, parts: Sequence[_VersionLines], tables: Sequence[pa.Table | None]
) -> dict[Hashable, pd.Series | None]:
    """The columns that were asked for, line by line; missing in lists that lack them."""
    if not request.columns or not parts:
        return dict.fromkeys(request.columns)
    of_parts = [_added_of(request, part, table) for part, table in zip(parts, tables, strict=True)]
    if len(parts) > 1:
        for label in request.columns:
            _keep_values(of_parts, label)
    together = of_parts[0] if len(parts) == 1 else pd.concat(of_parts).sort_index()
    return {label: together.get(label) for label in request.columns}


def _keep_values(of_parts: Sequence[pd.DataFrame], label: Hashable) -> None:
    """Give one column of several lists a dtype that holds all of its values, where `pandas.concat` would make floats of integers."""
    having = [part for part in of_parts if label in part.columns]
    kinds = {part[label].dtype.kind for part in having if isinstance(part[label].dtype, np.dtype)}
    if len(kinds & set("iuf")) > 1:
        dtype: Any = "object"
    elif len(having) < len(of_parts):
        dtype = {"i": "Int64", "u": "UInt64", "b": "boolean"}.get("".join(kinds))
    else:
        dtype = None
    for part in having if dtype else ():
        part[label] = part[label].astype(dtype)


def _added_of(request: Request, part: _VersionLines, table: pa.Table | None) -> pd.DataFrame:
    labels = [label for label in request.columns if label in part.columns]
    if table is None or not labels:
        return pd.DataFrame(index=part.lines)
    schema = frames.select(table.schema, labels)
    rows = frames.decode([table.select(schema.names)], schema, positions=part.lines, private=True)
    return rows.set_axis(part.lines, axis=0)


# -- the rows


def _tables(store: Store, ranking: Ranking, parts: Sequence[_VersionLines]) -> list[pa.Table | None]:
    """The row of each line, encoded, with the columns that are read of its version; None where none are."""
    selections = [
        (part.candidate.version, ranking.position[part.lines], part.columns) for part in parts if part.columns
    ]
    tables = iter(reading.take_tables(store, selections))
    return [next(tables) if part.columns else None for part in parts]


def _cells(part: _VersionLines, table: pa.Table | None, label: Hashable) -> np.ndarray:
    """The cells of one column that was read, as objects."""
    if label not in part.cells:
        assert table is not None
        name = next(column.field for column in part.candidate.columns if column.label == label)
        cells = frames.cells_of(table, name)
        if isinstance(cells, np.ndarray):  # of objects pandas would make strings, of times objects of its own
            is_object = cells.dtype == object
            part.cells[label] = cells if is_object else pd.Series(cells, copy=False).to_numpy(dtype=object)
        else:
            part.cells[label] = cells.to_numpy(dtype=object)
    return part.cells[label]


def _snippets(request: Request, ranked: RankedRows, ranking: Ranking, items: _Items) -> list[str | None]:
    texts = [value if isinstance(value, str) else None for value in items.value]
    languages = [ranked.candidates[scope].language for scope in ranking.scope.tolist()]
    parts: list[str | None] = [None] * len(texts)
    for label, query in request.text:
        lines = [at for at, column in enumerate(items.column) if label is None or column == label]
        of_column = snippets(query, [texts[at] for at in lines], [languages[at] for at in lines])
        for at, part in zip(lines, of_column, strict=True):
            parts[at] = part
    return parts
