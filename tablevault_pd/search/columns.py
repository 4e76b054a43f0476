"""Columns that a search names: each must be in some list that is searched, else the name is a mistake."""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from typing import TYPE_CHECKING

from tablevault_pd.errors import DimensionMismatch, InvalidFilter, InvalidInput, shown
from tablevault_pd.filters import UnknownColumn
from tablevault_pd.reading import read as reading
from tablevault_pd.search.candidates import Place, near_columns
from tablevault_pd.search.request import DESCRIPTION, Request
from tablevault_pd.search.result import SETTLED

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tablevault_pd.store import Store

MANY = 10  # names that a message lists


def check_columns(store: Store, found: Sequence[Place], what: Request) -> None:
    """Raises InvalidInput, InvalidFilter or DimensionMismatch for a column that no list searched has."""
    if found:
        _check_asked(found, what.columns)
        _check_filters(store, found, what)
    _check_widths(store, found, what)


def _check_asked(found: Sequence[Place], columns: Sequence[Hashable]) -> None:
    known = dict.fromkeys(column.label for place in found for column in place.columns)
    wrong = [label for label in columns if label not in known and label not in SETTLED]
    if wrong:
        raise InvalidInput(
            f"columns= names {', '.join(map(shown, wrong))}, which no list searched has. {_hint(wrong, list(known))}"
        )


def _hint(wrong: Sequence[Hashable], known: Sequence[Hashable]) -> str:
    texts = [label for label in known if isinstance(label, str)]
    close = [name for each in wrong for name in get_close_matches(str(each), texts, n=3)]
    if close:
        return f"Did you mean {' or '.join(map(repr, dict.fromkeys(close)))}?"
    more = f" and {len(known) - MANY} more" if len(known) > MANY else ""
    return f"There are: {', '.join(map(shown, known[:MANY])) or 'none at all'}{more}."


def _check_filters(store: Store, found: Sequence[Place], what: Request) -> None:
    """A list that lacks a column has no row that fits; but some list must have it."""
    if what.filters is None:
        return
    schemas = {place.version.schema_id: place.version for place in found}
    unknown: UnknownColumn | None = None
    for version in schemas.values():
        try:
            reading.filter_for(store, version, what.filters)
        except UnknownColumn as error:
            unknown = unknown or error
            continue
        except InvalidFilter:
            return  # told where the rows are looked at
        return
    if unknown is not None:
        message = f"No list searched has every column of filters=. {unknown}"
        if what.lists is not None:
            raise UnknownColumn(message)
        warnings.warn(message, stacklevel=5)


def _check_widths(store: Store, found: Sequence[Place], what: Request) -> None:
    """Raises DimensionMismatch for a named column that the vector fits in no list."""
    for label, queries in what.near:
        dim = queries.shape[1]
        if label is None or any(near_columns(place, label, dim) for place in found):
            continue
        widths: dict[int, list[str]] = {}
        for place in found:
            for column in place.columns:
                if column.kind == "embedding" and column.label == label:
                    widths.setdefault(column.dim or 0, []).append(place.version.list)
        if label == DESCRIPTION:
            lengths = {len(each.vector) for each in store.descriptions() if each.vector is not None}
            if dim in lengths:
                continue
            widths |= {length: ["descriptions"] for length in lengths}
        raise DimensionMismatch(_misfit(label, dim, widths, found))


def _misfit(label: Hashable, dim: int, widths: dict[int, list[str]], found: Sequence[Place]) -> str:
    if widths:
        there = "; ".join(
            f"{width} in {', '.join(map(repr, lists[:5]))}" for width, lists in sorted(widths.items())
        )
        return f"The vector near={{{label!r}: …}} has {dim} numbers, and no column {label!r} is so wide. There are: {there}."
    embeddings = {
        str(each.label): each.dim or 0
        for place in found
        for each in place.columns
        if each.kind == "embedding"
    }
    close = get_close_matches(str(label), embeddings, n=3)
    names = close or sorted(embeddings)[:MANY]
    there = ", ".join(f"{name!r} of width {embeddings[name]}" for name in names) or "none at all"
    hint = "Did you mean" if close else "There are:"
    return (
        f"No list searched has an embedding column {label!r} (the vector has {dim} numbers). {hint} {there}"
        f"{'?' if close else '.'}"
    )
