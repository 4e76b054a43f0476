"""Where documents lie, in characters: of each row of a version, and which rows have some characters of it."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import frames, validate
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.filters.predicate import Condition
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.chunks import aligned, as_array, living
from tablevault_pd.reading.filtering import filter_for, filter_schema, masks_of_versions

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tablevault_pd.filters import Filter
    from tablevault_pd.store import Store, Version
    from tablevault_pd.store.pieces import Pieces

FURTHEST = 2**62
KEPT_LISTS = 16  # lists whose documents follow one another, of which the places are kept in memory
ADDED = ("char_start", "char_stop", "char_text")


@dataclass(frozen=True, slots=True, eq=False)
class Extents:
    """Rows, each with the place of its text: start and stop in characters."""

    positions: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    def take(self, rows: np.ndarray) -> Extents:
        """Some of the rows, by a mask or their numbers."""
        return Extents(self.positions[rows], self.start[rows], self.stop[rows])

    @property
    def length(self) -> int:
        """How many characters the document has."""
        return int(self.stop.max(initial=0))


@dataclass(frozen=True, slots=True)
class CharSpan:
    """Some characters of the documents in one column: from `first` to `stop`, excluded."""

    first: int
    stop: int | None = None  #: None: to the end
    column: Hashable | None = None  #: None: the only column of documents

    @classmethod
    def of(cls, chars: Any) -> CharSpan:
        """Read ``chars=``. Raises InvalidInput."""
        column = None
        if isinstance(chars, Mapping) and len(chars) == 1:
            [(column, chars)] = chars.items()
            column = validate.label(column, "chars")
        if not isinstance(chars, (tuple, list)) or len(chars) != 2:
            raise InvalidInput(
                f"chars= is (start, stop), counted in characters, or {{column: (start, stop)}}, not {short_repr(chars)}."
            )
        first = 0 if chars[0] is None else validate.whole(chars[0], "chars", least=0, most=FURTHEST)
        stop = None if chars[1] is None else validate.whole(chars[1], "chars", least=0, most=FURTHEST)
        if stop is not None and stop <= first:
            raise InvalidInput(f"chars=({first}, {stop}) has no character: the stop is excluded.")
        return cls(first, stop, column)


def offsets(store: Store, version: Version, column: Hashable | None) -> pd.DataFrame:
    """Return start and stop of the text in each row, by position. Raises InvalidInput."""
    places = extents(store, version, document_field(store, version, column))
    index: pd.Index = pd.Index(places.positions, name="position")
    if len(places.positions) == version.total:
        index = pd.RangeIndex(version.total, name="position")
    return pd.DataFrame({"start": places.start, "stop": places.stop}, index=index)


def read_chars(
    store: Store,
    version: Version,
    *,
    span: CharSpan,
    columns: Sequence[Hashable] | None = None,
    filters: Any = None,
    start: int | None = None,
    stop: int | None = None,
    refs: bool | str = False,
) -> pd.DataFrame:
    """Read the rows that have some of these characters, with what they have of them, as :func:`reading.read` does."""
    schema = reading.wanted_schema(store, version, columns)
    there = [name for name in ADDED if name in {column.label for column in frames.columns(schema)}]
    if there:
        raise InvalidInput(
            f"{version.list!r} has the columns {there}, which chars= adds. Leave them out: columns=[…]."
        )
    field = document_field(store, version, span.column)
    places = overlapping(store, version, field, span, filter_for(store, version, filters))
    first, last = reading.bounds(start, stop, version.total)
    places = places.take((places.positions >= first) & (places.positions < last))
    cells = texts(store, version, field, places.positions)
    given = f"chars=({span.first}, {span.stop})"
    check_one_document(version, places, cells, given, "filters=\"doc == 'a'\"")
    frame = frames.decode(
        [reading.rows_at(store, version, schema, places.positions)],
        schema,
        positions=places.positions,
        private=True,
    )
    begin = np.maximum(places.start, span.first)
    end = places.stop if span.stop is None else np.minimum(places.stop, span.stop)
    parts = zip(
        cells,
        (begin - places.start).tolist(),
        (end - places.start).tolist(),
        strict=True,
    )
    frame["char_start"], frame["char_stop"] = begin, end
    frame["char_text"] = pd.Series([text[a:b] for text, a, b in parts], frame.index, dtype="str")
    return reading.finished(frame, store, version, places.positions, columns, refs, tagged=True)


def texts(store: Store, version: Version, field: str, positions: np.ndarray) -> list[str]:
    """The texts in these rows, each there once, none of which is missing."""
    part = frames.part_of(store.schema(version.schema_id), [field])
    in_order = np.argsort(positions)
    cells: list[str] = reading.rows_at(store, version, part, positions[in_order]).column(field).to_pylist()
    return [cells[number] for number in np.argsort(in_order).tolist()]


def check_one_document(
    version: Version, places: Extents, cells: Sequence[str], what: str, remedy: str
) -> None:
    """Refuse rows that overlap and differ there: they are of different documents, and it cannot be told which one is meant."""
    furthest: tuple[int, int, str] | None = None  # the row, its start and its text
    order = np.argsort(places.start, kind="stable").tolist()
    starts, positions = places.start.tolist(), places.positions.tolist()
    for number in order:
        position, start, text = positions[number], starts[number], cells[number]
        if furthest is not None:
            other, other_start, other_text = furthest
            there = other_text[start - other_start :]
            if there[: len(text)] != text[: len(there)]:
                raise InvalidInput(
                    f"{what}: the rows {other} and {position} of {version.label} have different texts for the "
                    f"characters {start} to {start + min(len(there), len(text))}, as those of different documents do. "
                    f"Say which is meant: {remedy}."
                )
        if furthest is None or start + len(text) > furthest[1] + len(furthest[2]):
            furthest = (position, start, text)


def document_field(store: Store, version: Version, column: Hashable | None) -> str:
    """Return the field of the column of documents; if none is named, of the only one. Raises InvalidInput."""
    schema = store.schema(version.schema_id)
    by_label = {text.label: text.field for text in frames.columns(schema) if text.kind == "document"}
    if column is None and not by_label:
        raise InvalidInput(
            f"The list {version.list!r} has no column of documents, in which characters count. save(…, documents='text') makes one."
        )
    if column is None and len(by_label) != 1:
        raise InvalidInput(
            f"The list {version.list!r} has {len(by_label)} columns of documents: {list(by_label)}. Name one of them."
        )
    label = next(iter(by_label)) if column is None else validate.label(column, "column")
    if label not in by_label:
        raise InvalidInput(
            f"The column {short_repr(label)} of {version.list!r} holds no documents. documents={list(by_label)}"
        )
    return by_label[label]


def overlapping(
    store: Store, version: Version, field: str, span: CharSpan, condition: Filter | None = None
) -> Extents:
    """The rows that have some characters of the span, and pass the filter. Raises InvalidInput beyond the end of the document."""
    if frames.start_field(store.schema(version.schema_id), field) is None:
        places = extents(store, version, field)
        rows = slice(
            np.searchsorted(places.stop, span.first, side="right"),
            None if span.stop is None else np.searchsorted(places.start, span.stop, side="left"),
        )
        places = Extents(places.positions[rows], places.start[rows], places.stop[rows])
    else:
        places = _beginning_near(store, version, field, span)
    places = places.take(places.start < places.stop)
    if condition is not None:
        places = places.take(_passing(store, version, condition, places.positions))
    if places.length < (span.stop or 1):
        _check_end(store, version, field, span, condition)
    return places


def _beginning_near(store: Store, version: Version, field: str, span: CharSpan) -> Extents:
    """The rows that have characters of the span, by the column of offsets; of others no text is read."""
    schema = store.schema(version.schema_id)
    column = frames.start_field(schema, field)
    assert column is not None
    lowest = span.first - frames.reach_of(schema, field)
    conditions = [Condition((column,), "number", ">", lowest)]
    if span.stop is not None:
        conditions.append(Condition((column,), "number", "<", span.stop))
    where = (tuple(conditions),)
    positions, start = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    part = frames.part_of(schema, [column])
    for chunk in map(living, store.scan(version, columns=[column], where=where)):
        begins = frames.offsets_of(aligned(chunk, part).column(column))
        near = (begins > lowest) & (True if span.stop is None else begins < span.stop)
        positions.append(as_array(chunk.positions)[near])
        start.append(begins[near])
    begins, rows = np.concatenate(start), np.concatenate(positions)
    text = reading.rows_at(store, version, frames.part_of(schema, [field]), rows)
    ends = begins + frames.lengths_of(text.column(field))
    return Extents(rows, begins, ends).take(ends > span.first)


def _passing(store: Store, version: Version, condition: Filter, positions: np.ndarray) -> np.ndarray:
    """Which of these rows pass a filter."""
    if not condition.rowwise:
        return np.asarray(masks_of_versions(store, [(version, condition)])[0][positions])
    schema = filter_schema(store.schema(version.schema_id), condition)
    rows = reading.rows_at(store, version, schema, positions)
    return condition.mask(frames.decode([rows], schema, positions=positions))


def _check_end(store: Store, version: Version, field: str, span: CharSpan, condition: Filter | None) -> None:
    """Refuse a span beyond the end of the document, which is measured as a whole here only."""
    places = extents(store, version, field)
    if condition is not None:
        places = places.take(masks_of_versions(store, [(version, condition)])[0][places.positions])
    beyond = span.first > places.length if span.stop is None else span.stop > places.length
    if beyond:
        given = f"chars=({span.first}, {span.stop})"
        raise InvalidInput(
            f"{given} is beyond the end: the document in {version.label} has {places.length:,} characters."
        )


# -- the places of all rows


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """The places of the texts that one version shows, which follow one another."""

    pieces: Pieces
    erased: int
    places: Extents


#: For each vault that is open: the places in the version of a list that was asked for last. What a version shows never changes.
_measured: weakref.WeakKeyDictionary[Store, dict[tuple[int, str], _Measured]] = weakref.WeakKeyDictionary()


def extents(store: Store, version: Version, field: str) -> Extents:
    """The place of the text in every row that is not erased."""
    schema = store.schema(version.schema_id)
    start_field = frames.start_field(schema, field)
    if start_field is not None:
        positions, table = columns_of(store, version, [field, start_field])
        start = frames.offsets_of(table.column(start_field))
        return Extents(positions, start, start + frames.lengths_of(table.column(field)))
    return _following(store, version, field)


def _following(store: Store, version: Version, field: str) -> Extents:
    """The places of texts that follow one another: measured once, and after an append only the rows that were added."""
    [pieces] = store.pieces([version])
    measured = _measured.get(store, {})
    before = measured.get((version.list_id, field))
    if (
        before is None
        or before.erased
        or version.erased
        or before.pieces != pieces.clip(0, before.pieces.total)
    ):
        before = None
    if before is not None and before.pieces.total == pieces.total:
        return before.places
    measured_rows = 0 if before is None else before.pieces.total
    positions, table = columns_of(store, version, [field], measured_rows)
    lengths = frames.lengths_of(table.column(field))
    stop = np.cumsum(lengths) + (0 if before is None else before.places.length)
    places = Extents(positions, stop - lengths, stop)
    if before is not None:
        parts = zip(
            *((part.positions, part.start, part.stop) for part in (before.places, places)), strict=True
        )
        places = Extents(*map(np.concatenate, parts))
    to_keep = {**measured, (version.list_id, field): _Measured(pieces, version.erased, places)}
    while len(to_keep) > KEPT_LISTS:
        del to_keep[next(iter(to_keep))]
    _measured[store] = to_keep
    return places


def columns_of(
    store: Store, version: Version, fields: Sequence[str], start: int = 0
) -> tuple[np.ndarray, pa.Table]:
    """The positions of all rows from `start` on that are not erased, and these columns of them."""
    part = frames.part_of(store.schema(version.schema_id), fields)
    chunks = [living(chunk) for chunk in store.scan(version, start=start, columns=fields)]
    table = pa.concat_tables([part.empty_table(), *(aligned(chunk, part) for chunk in chunks)])
    positions = [np.empty(0, np.int64), *(as_array(chunk.positions) for chunk in chunks)]
    return np.concatenate(positions), table
