"""Filters: DNF tuples, query strings and ``pd.col`` expressions, read once and judged exactly as pandas judges them.

DNF tuples follow ``pandas.read_parquet``: a missing value fits no comparison, but is "not in" a list
without None. Query strings and expressions follow pandas itself, where ``!=`` is true of a missing value in a NumPy column.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd.errors import InvalidFilter, shown

Term = tuple[Hashable, str, Any]

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
OPERATORS = (*_COMPARE, "in", "not in")


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on rows."""

    columns: frozenset[Hashable] | None  #: the columns it looks at; None if only running it can tell
    mask: Callable[[pd.DataFrame], np.ndarray]  #: bool, shape (rows,)


def parse_filter(filters: Any, known: Collection[Hashable]) -> Filter | None:
    """Read `filters`, in any of the three forms, for a list with the columns `known`. Raises InvalidFilter."""
    if filters is None:
        return None
    if isinstance(filters, str):
        return _query(filters)
    if _is_expression(filters):
        return Filter(None, lambda frame: _as_mask(_run(lambda: _evaluate(filters, frame), filters), frame))
    return _dnf(filters, known)


# -- DNF tuples


def _dnf(filters: Any, known: Collection[Hashable]) -> Filter:
    groups = _groups(filters)
    terms = [term for group in groups for term in group]
    _check_columns([column for column, _, _ in terms], known)
    return Filter(frozenset(column for column, _, _ in terms), lambda frame: _any(groups, frame))


def _groups(filters: Any) -> list[list[Term]]:
    if isinstance(filters, tuple) and len(filters) == 3 and isinstance(filters[1], str):
        filters = [filters]
    if not isinstance(filters, (list, tuple)) or not filters:
        raise _unreadable(filters)
    if all(isinstance(term, tuple) for term in filters):
        filters = [filters]
    groups = [
        [_term(term) for term in group] if isinstance(group, (list, tuple)) else [] for group in filters
    ]
    if not all(groups):
        raise _unreadable(filters)
    return groups


def _term(term: Any) -> Term:
    if not isinstance(term, (tuple, list)) or len(term) != 3:
        raise _unreadable(term)
    column, operator, value = term
    if operator not in OPERATORS:
        raise InvalidFilter(
            f"The filter {shown(term)} has no operator known here. Use one of {', '.join(OPERATORS)}."
        )
    if operator in ("in", "not in"):
        if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
            raise InvalidFilter(f"The filter {shown(term)} needs a list, tuple or set after {operator!r}.")
        value = list(value)
    return column, operator, value


def _unreadable(filters: Any) -> InvalidFilter:
    return InvalidFilter(
        f"Cannot read the filter {shown(filters)}. It is a list of (column, operator, value) tuples, a list of such lists, "
        "a DataFrame.query string, or an expression of pd.col."
    )


def _check_columns(columns: Sequence[Hashable], known: Collection[Hashable]) -> None:
    for column in columns:
        if column not in known:
            close = get_close_matches(str(column), [str(name) for name in known], n=3)
            hint = (
                f"Did you mean {' or '.join(map(repr, close))}?"
                if close
                else f"There are {', '.join(map(repr, known)) or 'none'}."
            )
            raise InvalidFilter(
                f"The filter names the column {column!r}, which the list does not have. {hint}"
            )


def _any(groups: list[list[Term]], frame: pd.DataFrame) -> np.ndarray:
    keep = np.zeros(len(frame), bool)
    for group in groups:
        kept = np.ones(len(frame), bool)
        for term in group:
            kept &= _judge(frame, term)
        keep |= kept
    return keep


def _judge(frame: pd.DataFrame, term: Term) -> np.ndarray:
    """Which rows fit one comparison, as Arrow judges them once missing values are null."""
    column, operator, value = term
    try:
        cells = pa.array(frame[column], from_pandas=True)
        if operator in _COMPARE:
            verdict = _COMPARE[operator](cells, _scalar(value, cells.type))
        else:
            verdict = _member(cells, value)
            verdict = verdict if operator == "in" else pc.invert(verdict)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError) as error:
        raise InvalidFilter(
            f"Column {column!r} of dtype {frame[column].dtype} cannot be compared as {operator} {shown(value)}: {error}"
        ) from error
    return np.asarray(pc.fill_null(verdict, False).to_numpy(zero_copy_only=False), bool)


def _member(cells: pa.Array, values: list[Any]) -> pa.Array:
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(kind)
    wanted = pa.array([None if _is_missing(value) else _python(value) for value in values])
    return pc.is_in(cells, wanted.cast(kind))  # None among the values matches a missing cell


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    if _is_missing(value):
        return pa.scalar(None, kind.value_type if pa.types.is_dictionary(kind) else kind)
    return pa.scalar(_python(value))


def _python(value: Any) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)):
        return value.item()
    return value


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


# -- query strings and expressions


def _query(text: str) -> Filter:
    if not text.strip():
        raise InvalidFilter("The filter is an empty string. Leave it out to keep every row.")
    return Filter(None, lambda frame: _query_mask(frame, text))


def _query_mask(frame: pd.DataFrame, text: str) -> np.ndarray:
    return _as_mask(_run(lambda: frame.eval(text, engine="python"), text), frame)


def _is_expression(filters: Any) -> bool:
    expression = getattr(getattr(pd.api, "typing", None), "Expression", None)
    return expression is not None and isinstance(filters, expression)


def _evaluate(expression: Any, frame: pd.DataFrame) -> Any:
    return expression._eval_expression(frame)  # what assign() and loc[] call; a test watches that it stays so


def _run(evaluate: Callable[[], Any], shown_as: Any) -> Any:
    try:
        return evaluate()
    except Exception as error:  # pandas raises whatever the user's own expression raises
        raise InvalidFilter(
            f"The filter {shown(shown_as)} cannot be evaluated: {type(error).__name__}: {error}"
        ) from error


def _as_mask(mask: Any, frame: pd.DataFrame) -> np.ndarray:
    mask = np.full(len(frame), mask) if np.isscalar(mask) else mask
    values = pd.Series(mask)
    if (
        values.dtype == object
        and values.map(lambda cell: isinstance(cell, (bool, np.bool_)) or _is_missing(cell)).all()
    ):
        values = values.astype("boolean")
    if not pd.api.types.is_bool_dtype(values.dtype) or len(values) != len(frame):
        raise InvalidFilter(f"The filter gives {values.dtype} values, and not True or False for each row.")
    return values.fillna(False).to_numpy(bool)
