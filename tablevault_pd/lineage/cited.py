"""Parents that are spans of characters of a document: the rows that have these characters, and which they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.keywords import public_call
from tablevault_pd.lineage.edges import expand
from tablevault_pd.lineage.parent_links import ParentLink
from tablevault_pd.reading import documents
from tablevault_pd.reading.documents import CharSpan
from tablevault_pd.reading.filtering import filter_for
from tablevault_pd.store.edges import STATED

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from tablevault_pd.store import Store, Version

_NUMBERS = (int, np.integer)


@dataclass(frozen=True, slots=True, eq=False)
class Chars:
    """Spans of characters that rows came from. Made by :func:`chars`."""

    row: np.ndarray | None  #: which row saved came from each span; None: every row came from the one span
    rows: int  #: how many rows are spoken of; 0 where `row` is None
    spans: np.ndarray  #: int64, shape (n, 2)
    column: Hashable | None
    filters: Any

    def __repr__(self) -> str:
        return f"<{len(self.spans):,} spans of characters>"


@public_call("tablevault_pd.chars")
def chars(start: Any, stop: Any = None, *, column: Hashable | None = None, filters: Any = None) -> Chars:
    """State parents by characters of a document: ``inputs={"novel": tv.chars([(100, 250), (30, 42)])}``.

    Each row saved has the rows as parents that have some of its characters, and walks tell which characters these are.
    ``[(100, 250)]`` without ``tv.chars`` are positions of rows.

    Parameters
    ----------
    start : int, sequence of int, or sequence of spans
        The first character, for each row saved or for all; or, without `stop`, a cell for each row saved: ``(start, stop)``, a
        list of several, or None for none.
    stop : int or sequence of int, optional
        The character after the last one.
    column : hashable, optional
        The column of documents; may be left out if there is just one.
    filters : optional
        Which rows of the list are the document, as in :meth:`Vault.read`, where it has several: the offsets count in each.

    Returns
    -------
    Chars
        To be given as a value of ``inputs=``.

    Raises
    ------
    InvalidInput
        If these are no spans. Saving raises it if their number is not that of the rows, if one ends beyond the document, and
        if the rows that have the characters of one have different texts there, as those of two documents do.

    Examples
    --------
    >>> novel = vault.save("novel", ["It was late. ", "She left."])
    >>> answers = [{"answer": "late"}, {"answer": "she did"}]
    >>> saved = vault.save("answers", answers, inputs={"novel": tv.chars([(7, 11), (11, 22)])})
    >>> vault.lineage("answers")[["position", "parent_position", "parent_start", "parent_stop"]]
       position  parent_position  parent_start  parent_stop
    0         0                0             7           11
    1         1                0            11           22
    2         1                1            11           22
    """
    if column is not None:
        column = validate.label(column, "column")
    if isinstance(start, _NUMBERS) and isinstance(stop, _NUMBERS):
        return Chars(None, 0, _checked(np.array([0]), [(start, stop)]), column, filters)
    cells = _cells(start, stop)
    rows, spans = [], []
    for row, cell in enumerate(cells):
        for span in _spans(cell, row):
            rows.append(row)
            spans.append(span)
    numbers = np.array(rows, np.int64)
    return Chars(numbers, len(cells), _checked(numbers, spans), column, filters)


def _cells(start: Any, stop: Any) -> list[Any]:
    """What each row came from."""
    given = f"tv.chars({short_repr(start)}{'' if stop is None else f', {short_repr(stop)}'})"
    sides = [start] if stop is None else [start, stop]
    if not all(map(_is_list, sides)):
        raise InvalidInput(
            f"{given}: give start and stop, as two numbers or two columns, or a list of (start, stop), one for each row."
        )
    columns = [list(side) for side in sides]
    if stop is None and len(columns[0]) == 2 and all(isinstance(bound, _NUMBERS) for bound in columns[0]):
        raise InvalidInput(
            f"{given}: a list has a cell for each row. One span is [({columns[0][0]}, {columns[0][1]})] for one row, or "
            f"tv.chars({columns[0][0]}, {columns[0][1]}) for every row."
        )
    if stop is None:
        return columns[0]
    if len(columns[0]) != len(columns[1]):
        raise InvalidInput(f"{given}: {len(columns[0])} starts and {len(columns[1])} stops.")
    both = zip(*columns, strict=True)
    return [None if all(map(validate.is_missing, span)) else span for span in both]


def _is_list(value: Any) -> bool:
    columns = (list, tuple, pd.Series, pd.Index, pd.api.extensions.ExtensionArray)
    return isinstance(value, columns) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _spans(cell: Any, row: int) -> list[Any]:
    """The spans in one cell."""
    if validate.is_missing(cell):
        return []
    cells = list(cell) if _is_list(cell) else []
    if len(cells) == 2 and all(isinstance(bound, _NUMBERS) for bound in cells):
        return [cells]
    if _is_list(cell) and all(_is_list(span) and len(span) == 2 for span in cells):
        return cells
    raise InvalidInput(
        f"tv.chars(…), row {row}: {short_repr(cell)} is no span. A span is (start, stop), two whole numbers."
    )


def _checked(rows: np.ndarray, spans: Sequence[Any]) -> np.ndarray:
    """The spans as an array. Raises InvalidInput where one has no character."""
    for row, (start, stop) in zip(rows.tolist(), spans, strict=True):
        whole = all(isinstance(bound, _NUMBERS) and not isinstance(bound, bool) for bound in (start, stop))
        if not whole or not 0 <= start < stop <= documents.FURTHEST:
            raise InvalidInput(
                f"tv.chars(…), row {row}: ({start}, {stop}) is no span of characters. They count from 0, and the stop is excluded."
            )
    return np.array(spans, np.int64).reshape(-1, 2)


# -- resolved to rows


def parents_of_chars(
    store: Store, version: Version, chars: Chars
) -> Callable[[int, pd.DataFrame | None], Iterator[ParentLink]]:
    """What rows came from the rows that have these characters. Raises InvalidInput."""
    what = f"inputs={{{version.list!r}: tv.chars(…)}}"
    span, position = _resolved(store, version, chars, what)

    def links(rows: int, _: pd.DataFrame | None) -> Iterator[ParentLink]:
        cited = chars.spans[span]
        if chars.row is None:
            children, parents = np.repeat(np.arange(rows), len(position)), np.tile(position, rows)
            cited = np.tile(cited, (rows, 1))
        elif chars.rows != rows:
            raise InvalidInput(
                f"{what} has {chars.rows} cells for {rows} saved rows. It takes one for each row, in row order: (start, stop), a list "
                "of several, or None."
            )
        else:
            children, parents = chars.row[span], position
        if len(parents):
            yield ParentLink(
                version.list_id,
                version.version,
                STATED,
                0,
                rows,
                children=children,
                parents=parents,
                chars=cited,
            )

    return links


def _resolved(store: Store, version: Version, chars: Chars, what: str) -> tuple[np.ndarray, np.ndarray]:
    """(span, position): every row that has some characters of a span."""
    if not len(chars.spans):
        return np.empty(0, np.intp), np.empty(0, np.int64)
    field = documents.document_field(store, version, chars.column)
    all_of_them = CharSpan(int(chars.spans[:, 0].min()), int(chars.spans[:, 1].max()))
    condition = filter_for(store, version, chars.filters)
    places = documents.overlapping(store, version, field, all_of_them, condition)
    places = places.take(np.argsort(places.start, kind="stable"))
    longest = int((places.stop - places.start).max(initial=0))
    low = np.searchsorted(places.start, chars.spans[:, 0] - longest, side="right")
    high = np.searchsorted(places.start, chars.spans[:, 1], side="left")
    span, row = expand(low, np.maximum(high - low, 0))
    inside = places.stop[row] > chars.spans[span, 0]
    span, row = span[inside], row[inside]
    bare = np.setdiff1d(np.arange(len(chars.spans)), span)
    if len(bare):
        first, stop = chars.spans[bare[0]].tolist()
        raise InvalidInput(
            f"{what}: no row of {version.label} has a character from {first} to {stop}. "
            "Its offsets leave them out."
        )
    cited = places.take(np.unique(row))
    documents.check_one_document(
        version,
        cited,
        documents.texts(store, version, field, cited.positions),
        what,
        "tv.chars(…, filters=\"doc == 'a'\")",
    )
    return span, places.positions[row]
