"""The arguments of a search, read and checked once, before the store is asked anything."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import pandas as pd

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.filters import is_no_filter
from tablevault_pd.search.code import CODE_IN, CodeIn
from tablevault_pd.search.query import Match, parse_text
from tablevault_pd.store import Metric

if TYPE_CHECKING:
    from datetime import datetime

    from tablevault_pd.store.text_query import Node

KINDS = ("record", "document", "embedding", "file")
MOST_ROWS = 1 << 60  #: more than any list has
DESCRIPTION = "description"  #: in near=: the vectors of descriptions


@dataclass(frozen=True, slots=True)
class Weights:
    """What a rank in each of the two rankings counts when they are fused."""

    text: float = 1.0
    near: float = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """A search."""

    text: tuple[tuple[Hashable | None, Node], ...] = ()  #: (column or None for all texts, words)
    near: tuple[tuple[Hashable | None, np.ndarray], ...] = ()  #: (column or None for any that fits, (m, dim))
    #: whether several vectors were given, so that the answer has the column ``query``
    batch: bool = False
    filters: Any = None
    kinds: tuple[str, ...] = KINDS
    lists: Any = None
    code: Node | None = None
    code_in: CodeIn = "slice"
    description: Node | None = None
    session: Any = None
    parents_of: Any = None
    children_of: Any = None
    since: datetime | None = None
    until: datetime | None = None
    as_of: Any = None
    rows: np.ndarray | None = None  #: only these positions, of the one list that is searched
    columns: tuple[Hashable, ...] = ()
    k: int | None = None
    offset: int = 0
    min_score: float | None = None
    weights: Weights = Weights()
    approx: bool = False
    metric: Metric = "cosine"
    snippet: bool = False

    @property
    def last(self) -> int | None:
        """How many of the best rows the answer is cut from; None: all."""
        return None if self.k is None else self.offset + self.k

    @property
    def ranks(self) -> bool:
        """Whether anything orders the rows."""
        return bool(self.text or self.near)


def request(
    text: Any = None,
    *,
    near: Any = None,
    filters: Any = None,
    kind: Any = None,
    lists: Any = None,
    code: Any = None,
    code_in: Any = "slice",
    description: Any = None,
    session: Any = None,
    parents_of: Any = None,
    children_of: Any = None,
    since: Any = None,
    until: Any = None,
    as_of: Any = None,
    rows: np.ndarray | None = None,
    columns: Sequence[Hashable] | None = None,
    k: Any = None,
    offset: Any = 0,
    match: Any = None,
    min_score: Any = None,
    weights: Any = None,
    approx: bool = False,
    metric: Any = "cosine",
    snippet: bool = False,
) -> Request:
    """The arguments of :meth:`Vault.search`, checked. Raises InvalidInput, TypeError."""
    conditions = (
        text, near, filters, kind, lists, code, description, session, parents_of, children_of, since, until,
    )  # fmt: skip
    if all(condition is None for condition in conditions):
        raise InvalidInput("Say what to search for: a text, near=, filters=, code= or another filter.")
    validate.choice(metric, "metric", get_args(Metric))
    vectors, batch = _vectors(near, metric)
    word_match = _match(match, text, near)
    if weights is not None and (text is None or near is None):
        raise InvalidInput("weights= is for a text together with near=, whose two rankings it weighs.")
    if min_score is not None and text is None and near is None:
        raise InvalidInput("min_score= needs scores: give a text or near=, or leave it out.")
    place = code_place(code, code_in)
    return Request(
        text=_words(text, word_match),
        near=vectors,
        batch=batch,
        filters=None if is_no_filter(filters) else filters,
        kinds=KINDS if kind is None else validate.choices(kind, "kind", KINDS),
        lists=lists,
        code=None if code is None else parse_text(code, "code", code=True),
        code_in=place,
        description=None if description is None else parse_text(description, "description"),
        session=session,
        parents_of=parents_of,
        children_of=children_of,
        since=validate.optional_time(since, "since"),
        until=validate.optional_time(until, "until"),
        as_of=as_of,
        rows=rows,
        columns=tuple(dict.fromkeys(validate.labels(columns) or ())),
        k=None if k is None else validate.whole(k, "k", least=1, most=MOST_ROWS),
        offset=validate.whole(offset, "offset", least=0, most=MOST_ROWS),
        min_score=None if min_score is None else validate.number(min_score, "min_score"),
        weights=Weights() if weights is None else _weights(weights),
        approx=validate.flag(approx, "approx"),
        metric=metric,
        snippet=validate.flag(snippet, "snippet"),
    )


def _words(text: Any, match: Match) -> tuple[tuple[Hashable | None, Node], ...]:
    """The words of all texts, or those of each column. Raises InvalidInput."""
    if text is None:
        return ()
    if not isinstance(text, Mapping):
        return ((None, parse_text(text, match=match)),)
    if not text:
        raise InvalidInput("text= is an empty dict. Name a column, or leave it out.")
    return tuple(
        (label, parse_text(words, f"text[{short_repr(label)}]", match=match)) for label, words in text.items()
    )


def _match(match: Any, text: Any, near: Any) -> Match:
    """How the words of the text count; beside a vector one of them is enough unless `match` says otherwise."""
    if match is None:
        return "all" if near is None else "any"
    if text is None:
        raise InvalidInput("match= says how the words of a text count: give a text, or leave match= out.")
    return cast("Match", validate.choice(match, "match", get_args(Match)))


def _weights(weights: Any) -> Weights:
    names = Weights.__slots__
    if not isinstance(weights, Mapping) or not weights or any(name not in names for name in weights):
        raise InvalidInput(
            f"weights= is a dict of 'text' and 'near', such as {{'text': 1.0, 'near': 2.0}}, not {short_repr(weights)}."
        )
    numbers = {name: validate.number(value, f"weights[{name!r}]") for name, value in weights.items()}
    for name, value in numbers.items():
        if value <= 0:
            raise InvalidInput(
                f"weights[{name!r}]= is above 0, not {value!r}. To leave a ranking out, search without "
                f"{'the text' if name == 'text' else 'near='}."
            )
    return Weights(**numbers)


def code_place(code: Any, code_in: Any) -> CodeIn:
    """Where `code` is looked for. Raises InvalidInput where no code is."""
    place = cast("CodeIn", validate.choice(code_in, "code_in", CODE_IN))
    if code is None and place != "slice":
        raise InvalidInput(f"code_in={place!r} says where code= is looked for. Give code=, or leave it out.")
    return place


def _vectors(near: Any, metric: Metric) -> tuple[tuple[tuple[Hashable | None, np.ndarray], ...], bool]:
    if near is None:
        return (), False
    pairs: list[tuple[Hashable | None, Any]] = (
        list(near.items()) if isinstance(near, Mapping) else [(None, near)]
    )
    if not pairs:
        raise InvalidInput("near= is an empty dict. Name a column, or leave it out.")
    near_of = [(column, *as_queries(value, metric)) for column, value in pairs]
    if len({len(queries) for _, queries, _ in near_of}) > 1:
        counts = {str(column): len(queries) for column, queries, _ in near_of}
        raise InvalidInput(
            f"near= has different numbers of vectors for its columns: {counts}. Give each the same number."
        )
    return tuple((column, queries) for column, queries, _ in near_of), any(batch for _, _, batch in near_of)


def as_queries(value: Any, metric: Metric) -> tuple[np.ndarray, bool]:
    """The query vectors as float64, shape (m, dim), and whether there may be several. Raises InvalidInput."""
    if isinstance(value, pd.Series) and value.dtype == object:
        value = value.to_list()
    try:
        queries = validate.floats(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"near= is a vector of numbers, or several of one length, not {short_repr(value)}."
        ) from error
    if queries.ndim not in (1, 2) or 0 in queries.shape:
        raise InvalidInput(
            f"near= is a vector, or several as an array of shape (m, dim); this one has the shape {queries.shape}."
        )
    batch = queries.ndim == 2
    queries = np.atleast_2d(queries)
    bad = ~np.isfinite(queries).all(axis=1)
    if metric == "cosine":
        bad |= ~queries.any(axis=1)
    if bad.any():
        reason = (
            "holds NaN or infinity"
            if not np.isfinite(queries[bad][0]).all()
            else "has no direction: it is all zeros"
        )
        which = f"Vector {int(np.flatnonzero(bad)[0])} of near=" if batch else "The vector near="
        raise InvalidInput(f"{which} {reason}.")
    return queries, batch
