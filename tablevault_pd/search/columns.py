"""Check the columns that a search names: each must be in at least one of the lists that are searched."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from tablevault_pd import frames
from tablevault_pd.errors import DimensionMismatch, InvalidFilter, InvalidInput, short_repr
from tablevault_pd.filters import UnknownColumn
from tablevault_pd.progress import warn
from tablevault_pd.reading.filtering import filter_for
from tablevault_pd.search.request import DESCRIPTION, Request
from tablevault_pd.search.result import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tablevault_pd.search.candidates import Candidate
    from tablevault_pd.store import Store

MOST_NAMES = 10  # names that a message lists


def check_columns(store: Store, candidates: Sequence[Candidate], request: Request) -> None:
    """Raises InvalidInput, InvalidFilter or DimensionMismatch for a column that no list searched has."""
    if candidates:
        _check_added(candidates, request.columns)
        _check_words(store, candidates, request)
        _check_filters(store, candidates, request)
    _check_widths(store, candidates, request)


def _check_added(candidates: Sequence[Candidate], columns: Sequence[Hashable]) -> None:
    labels = dict.fromkeys(column.label for candidate in candidates for column in candidate.columns)
    wrong = [label for label in columns if label not in labels and label not in COLUMNS]
    if wrong:
        raise InvalidInput(
            f"columns= names {', '.join(map(short_repr, wrong))}, which no list searched has. {_hint(wrong, list(labels))}"
        )


def _check_words(store: Store, candidates: Sequence[Candidate], request: Request) -> None:
    named = [label for label, _ in request.text if label is not None]
    if not named:
        return
    labels: dict[Hashable, None] = {}
    texts: dict[Hashable, None] = {}  # the others are objects, which have texts among them or not
    for candidate in candidates:
        schema = store.schema(candidate.version.schema_id)
        fields = {text.field for text in frames.text_columns(schema)}
        for column in candidate.columns:
            if column.field in fields:
                labels[column.label] = None
                if frames.spec_of(schema.field(column.field))["codec"] != "json":
                    texts[column.label] = None
    wrong = [label for label in named if label not in labels]
    if wrong:
        raise InvalidInput(
            f"No list searched has a column of texts {', '.join(map(short_repr, wrong))}. {_hint(wrong, list(texts or labels))}"
        )


def _hint(wrong: Sequence[Hashable], labels: Sequence[Hashable]) -> str:
    texts = [label for label in labels if isinstance(label, str)]
    close = [name for label in wrong for name in get_close_matches(str(label), texts, n=3)]
    if close:
        return f"Did you mean {' or '.join(map(repr, dict.fromkeys(close)))}?"
    more = f" and {len(labels) - MOST_NAMES} more" if len(labels) > MOST_NAMES else ""
    return f"There are: {', '.join(map(short_repr, labels[:MOST_NAMES])) or 'none at all'}{more}."


def _check_filters(store: Store, candidates: Sequence[Candidate], request: Request) -> None:
    """A list that lacks a column has no row that fits; but some list must have it."""
    if request.filters is None:
        return
    schemas = {candidate.version.schema_id: candidate.version for candidate in candidates}
    unknown: UnknownColumn | None = None
    for version in schemas.values():
        try:
            filter_for(store, version, request.filters)
        except UnknownColumn as error:
            unknown = unknown or error
            continue
        except InvalidFilter:
            return  # raised where the rows are looked at
        return
    if unknown is not None:
        message = f"No list searched has every column of filters=. {unknown}"
        if request.lists is not None:
            raise UnknownColumn(message)
        warn(message)


def _check_widths(store: Store, candidates: Sequence[Candidate], request: Request) -> None:
    """Raises DimensionMismatch for a vector that fits no column of the lists that are searched."""
    for label, queries in request.near:
        dim = queries.shape[1]
        if any(candidate.embeddings(label, dim) for candidate in candidates):
            continue
        if label is None:
            if not candidates:
                continue
            raise DimensionMismatch(_no_such_width(dim, candidates))
        widths: dict[int, list[str]] = {}
        for candidate in candidates:
            for column in candidate.columns:
                if column.kind == "embedding" and column.label == label:
                    widths.setdefault(column.dim or 0, []).append(candidate.version.list)
        if label == DESCRIPTION:
            lengths = {
                len(description.vector)
                for description in store.descriptions()
                if description.vector is not None
            }
            if dim in lengths:
                continue
            widths |= {length: ["descriptions"] for length in lengths}
        raise DimensionMismatch(_no_such_column(label, dim, widths, candidates))


def _no_such_width(dim: int, candidates: Sequence[Candidate]) -> str:
    widths = sorted(
        {
            column.dim or 0
            for candidate in candidates
            for column in candidate.columns
            if column.kind == "embedding"
        }
    )
    there = ", ".join(map(str, widths[:MOST_NAMES])) or "none at all"
    return f"The vector near= has {dim} numbers, and no list searched has an embedding column so wide. Widths that are there: {there}."


def _no_such_column(
    label: Hashable, dim: int, widths: dict[int, list[str]], candidates: Sequence[Candidate]
) -> str:
    if widths:
        there = "; ".join(
            f"{width} in {', '.join(map(repr, lists[:5]))}" for width, lists in sorted(widths.items())
        )
        return f"The vector near={{{label!r}: …}} has {dim} numbers, and no column {label!r} is so wide. There are: {there}."
    embeddings = {
        str(column.label): column.dim or 0
        for candidate in candidates
        for column in candidate.columns
        if column.kind == "embedding"
    }
    close = get_close_matches(str(label), embeddings, n=3)
    names = close or sorted(embeddings)[:MOST_NAMES]
    there = ", ".join(f"{name!r} of width {embeddings[name]}" for name in names) or "none at all"
    hint = "Did you mean" if close else "There are:"
    return (
        f"No list searched has an embedding column {label!r} (the vector has {dim} numbers). {hint} {there}"
        f"{'?' if close else '.'}"
    )
