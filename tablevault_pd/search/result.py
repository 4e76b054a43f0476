"""The answer of a search: one line per row, the index its rank, with the item that was found and who wrote the row."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.errors import MissingDependency
from tablevault_pd.reading import read as reading
from tablevault_pd.reading import reports as answers
from tablevault_pd.refs import RefArray, Source
from tablevault_pd.search import fusion as fuse
from tablevault_pd.search.snippets import best_fields, snippets
from tablevault_pd.store import Spans, Store, Version

if TYPE_CHECKING:
    from tablevault_pd.search.candidates import Place
    from tablevault_pd.search.request import Request

Label = Hashable
SETTLED = (
    "ref",
    "list",
    "position",
    "version",
    "kind",
    "column",
    "score",
    "text_score",
    "near_score",
    "value",
    "session",
    "cell",
)
SCORES = ("score", "text_score", "near_score")  #: left out where nothing ranks the rows
EXTRA = ("query", "snippet")


@dataclass(slots=True)
class _Lines:
    """The lines of the answer: what was found where, for every query in turn."""

    query: np.ndarray
    rank: np.ndarray
    ranking: fuse.Ranking
    labels: tuple[Label, ...]


def frame(
    store: Store,
    what: Request,
    found: Sequence[Place],
    rankings: Sequence[tuple[fuse.Ranking, tuple[Label, ...]]],
) -> pd.DataFrame:
    """The answer to one query, or to several, one after the other."""
    lines = _lines(rankings, what.offset)
    items = _items(store, what, found, lines)
    scope, position = lines.ranking.scope, lines.ranking.position
    versions = [place.version for place in found]
    session, cell = _writers(store, versions, scope, position)
    columns: dict[Label, Any] = {
        "ref": refs_of(store, versions, scope, position),
        "list": answers.typed("list", [versions[number].list for number in scope]),
        "position": pd.array(position, dtype="Int64"),
        "version": pd.array(
            np.array([versions[number].version for number in scope], np.int64), dtype="Int64"
        ),
        "kind": answers.typed("kind", items["kind"]),
        "column": pd.Series(items["column"], dtype=object),
        "score": lines.ranking.score,
        "text_score": lines.ranking.text_score,
        "near_score": lines.ranking.near_score,
        "value": pd.Series(items["value"], dtype=object),
        "session": answers.typed("session", session),
        "cell": cell,
    }
    if not what.ranks:
        for name in SCORES:
            del columns[name]
    if what.batch:
        columns["query"] = lines.query
    if what.snippet:
        columns["snippet"] = answers.typed("snippet", _snippets(what, items))
    answer = pd.DataFrame({name: _plain(values) for name, values in columns.items()})
    for label in what.columns:
        answer[f"row.{label}" if label in (*SETTLED, *EXTRA) else label] = _plain(items["asked"][label])
    answer.index = (
        pd.Index(lines.rank) if what.batch else pd.RangeIndex(what.offset, what.offset + len(answer))
    )
    return answer


def _plain(values: Any) -> Any:
    # An object array would become a column of strings, or not, depending on what is in it.
    return values.reset_index(drop=True) if isinstance(values, pd.Series) else values


def refs_of(store: Store, versions: Sequence[Version], scope: np.ndarray, position: np.ndarray) -> Any:
    """The column `ref`: which row of which list each line is."""
    sources = [Source(store.vault_id, each.list_id, each.version, each.list) for each in versions]
    return RefArray.joined(sources, scope, position) if len(scope) else RefArray.empty(0)


def _lines(rankings: Sequence[tuple[fuse.Ranking, tuple[Label, ...]]], offset: int) -> _Lines:
    sizes = [len(ranking.scope) for ranking, _ in rankings]
    joined = fuse.Ranking(
        *(np.concatenate([getattr(each, name) for each, _ in rankings]) for name in fuse.Ranking.__slots__)
    )
    query = np.repeat(np.arange(len(rankings)), sizes)
    rank = np.concatenate([np.arange(offset, offset + size) for size in sizes])
    return _Lines(query, rank, joined, rankings[0][1])


# -- who wrote a row


def _writers(
    store: Store, versions: Sequence[Version], scope: np.ndarray, position: np.ndarray
) -> tuple[list[str | None], pd.Series]:
    """``name#run`` and the cell of each row's writer."""
    hit = np.unique(scope)
    spans = store.written([versions[number] for number in hit])
    ids, cells = np.full(len(scope), -1), np.full(len(scope), -1)
    numbers = np.searchsorted(hit, scope)
    for number in range(len(hit)):
        mine, here = _spans_of(spans, number), np.flatnonzero(numbers == number)
        if len(mine.start):
            at = np.searchsorted(mine.start, position[here], side="right") - 1
            ids[here], cells[here] = mine.session_id[at], mine.cell[at]
    names = answers.labels_of(store, [int(key) for key in np.unique(ids) if key >= 0])
    return [names.get(int(key)) for key in ids], pd.Series(cells, dtype="Int64").mask(cells < 0)


def _spans_of(spans: Spans, number: int) -> Spans:
    first, last = np.searchsorted(spans.scope, [number, number + 1])
    return Spans(*(getattr(spans, name)[first:last] for name in Spans.__slots__))


# -- what was found


@dataclass(slots=True)
class _Part:
    """The lines of one version, and what is read of it for them."""

    place: Place
    here: np.ndarray  #: numbers of the lines
    needed: list[
        Label | None
    ]  #: of each line, the column of the item that was found; None: the record, or none
    is_record: np.ndarray
    record: list[Label]  #: the columns whose texts together are the record
    wanted: list[Label]  #: the columns to read


def _items(store: Store, what: Request, found: Sequence[Place], lines: _Lines) -> dict[str, Any]:
    """For each line the kind, column and value of its item, and the asked columns of its row."""
    size = len(lines.rank)
    items: dict[str, Any] = {name: np.full(size, None, object) for name in ("kind", "column", "value")}
    parts = [
        _part(store, what, found[number], lines, np.flatnonzero(lines.ranking.scope == number))
        for number in np.unique(lines.ranking.scope).tolist()
    ]
    read = [part for part in parts if part.wanted]
    taken = iter(_taken(store, what, lines, read))
    asked = []
    for part in parts:
        rows = next(taken) if part.wanted else pd.DataFrame(index=lines.ranking.position[part.here])
        _fill(what, lines, part, rows, items)
        labels = [label for label in what.columns if label in part.wanted]
        asked.append(rows[labels].set_axis(part.here, axis=0))
    together = pd.concat(asked).sort_index() if asked else pd.DataFrame()
    items["asked"] = {
        label: together[label] if label in together else _missing(size) for label in what.columns
    }
    return items


def _missing(size: int) -> pd.Series:
    return pd.Series(np.full(size, None, object))


def _part(store: Store, what: Request, place: Place, lines: _Lines, here: np.ndarray) -> _Part:
    """What is needed of one version."""
    ranking = lines.ranking
    by_field = {column.field: column for column in place.columns}
    record = _record_labels(store, place)
    is_record = (ranking.by[here] == fuse.TEXT) & (ranking.item[here] < 0)
    needed: list[Label | None] = [None] * len(here)
    for line, at in enumerate(here):
        if ranking.by[at] == fuse.TEXT and ranking.item[at] >= 0:
            needed[line] = by_field[place.documents[ranking.item[at]]].label
        elif ranking.by[at] == fuse.NEAR and ranking.item[at] < len(lines.labels):
            needed[line] = lines.labels[ranking.item[at]]
    wanted = {*needed, *what.columns, *(record if is_record.any() else ())}
    labels = [column.label for column in place.columns if column.label in wanted]
    return _Part(place, here, needed, is_record, record, labels)


def _fill(what: Request, lines: _Lines, part: _Part, rows: pd.DataFrame, items: dict[str, Any]) -> None:
    """Fill in the items of one version's lines, of which `rows` are the rows."""
    ranking, needed = lines.ranking, part.needed
    if part.is_record.any():
        assert what.text is not None
        lines_of_records = np.flatnonzero(part.is_record)
        texts = [
            [cell if isinstance(cell, str) else None for cell in rows[label].iloc[lines_of_records]]
            for label in part.record
        ]
        for line, field in zip(lines_of_records.tolist(), best_fields(what.text, texts), strict=True):
            needed[line] = part.record[field]
    kinds = {column.label: column.kind for column in part.place.columns}
    default = next((kind for kind in what.kinds if kind in kinds.values()), what.kinds[0])
    cells = {label: rows[label].to_numpy(dtype=object) for label in set(needed) if label is not None}
    for line, at in enumerate(part.here):
        label = needed[line]
        told = ranking.by[at] == fuse.NEAR and label is None
        items["kind"][at] = "description" if told else default if label is None else kinds[label]
        items["column"][at] = label
        items["value"][at] = None if label is None else cells[label][line]


def _taken(store: Store, what: Request, lines: _Lines, parts: Sequence[_Part]) -> list[pd.DataFrame]:
    """The rows of each part, with the columns that are read of it."""
    wanted = [(part.place.version, lines.ranking.position[part.here], part.wanted) for part in parts]
    try:
        return reading.take(store, wanted)
    except MissingDependency:
        return [
            _readable(store, *each, {*part.record} - {*what.columns})
            for each, part in zip(wanted, parts, strict=True)
        ]


def _readable(
    store: Store, version: Version, positions: np.ndarray, wanted: list[Label], spare: set[Label]
) -> pd.DataFrame:
    """The `wanted` columns of these rows; those in `spare` without values, if this machine lacks their time zones."""
    readable = {}
    for label in wanted:
        try:
            [rows] = reading.take(store, [(version, positions, [label])])
            readable[label] = rows.iloc[:, 0]
        except MissingDependency:
            if label not in spare:
                raise
            readable[label] = pd.Series(None, index=positions, dtype=object)
    return pd.DataFrame(readable)


def _record_labels(store: Store, place: Place) -> list[Label]:
    """The columns whose texts together are the record."""
    fields = {
        each.field
        for each in frames.text_columns(store.schema(place.version.schema_id))
        if each.kind == "record"
    }
    return [column.label for column in place.columns if column.field in fields]


def _snippets(what: Request, items: dict[str, Any]) -> list[str | None]:
    texts = [value if isinstance(value, str) else None for value in items["value"]]
    return [None] * len(texts) if what.text is None else snippets(what.text, texts)
