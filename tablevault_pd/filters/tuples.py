"""Parse DNF tuples, as for ``pandas.read_parquet``, to the tree, and evaluate them as Arrow does.

A missing value fits no comparison, but is "not in" a list without None.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd.errors import InvalidFilter, short_repr
from tablevault_pd.filters.tree import And, Node, Or, Term
from tablevault_pd.validate import is_missing

if TYPE_CHECKING:
    from tablevault_pd.filters.names import Names

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
OPERATORS = (*_COMPARE, "in", "not in", "between", "contains", "is null", "is not null")


def parse_tuples(filters: Any, names: Names) -> Node:
    """Return the tree of tuples: any of several groups, all tuples of a group. Raises InvalidFilter and UnknownColumn."""
    if isinstance(filters, tuple) and len(filters) == 3 and isinstance(filters[1], str):
        filters = [filters]
    if not isinstance(filters, (list, tuple)) or not filters:
        raise _unreadable(filters)
    groups = [filters] if all(isinstance(term, tuple) for term in filters) else filters
    if not all(isinstance(group, (list, tuple)) and group for group in groups):
        raise _unreadable(filters)
    return Or(tuple(And(tuple(_term(term, names) for term in group)) for group in groups))


def _term(term: Any, names: Names) -> Term:
    if not isinstance(term, (tuple, list)) or len(term) != 3:
        raise _unreadable(term)
    column, operator, value = term
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise InvalidFilter(
            f"The filter {short_repr(term)} has no operator known here. Use one of {', '.join(OPERATORS)}."
        )
    if operator in ("in", "not in"):
        if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
            raise InvalidFilter(
                f"The filter {short_repr(term)} needs a list, tuple or set after {operator!r}."
            )
        value = list(value)
    if operator == "between" and (
        isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2
    ):
        raise InvalidFilter(
            f"The filter {short_repr(term)} needs two bounds after 'between': (low, high). Both are included."
        )
    if operator == "contains" and not isinstance(value, str):
        raise InvalidFilter(f"The filter {short_repr(term)} needs a text after 'contains'.")
    try:
        of = names.find(column)
    except TypeError:  # not hashable
        raise _unreadable(term) from None
    if of is None:
        raise names.unknown(column)
    return Term(of, operator, value, column)


def _unreadable(filters: Any) -> InvalidFilter:
    if isinstance(filters, (pd.Series, np.ndarray)):
        return InvalidFilter(
            "filters= is a condition on the rows that are stored, not a mask. Select rows of a frame after reading it: df[mask]."
        )
    if isinstance(filters, dict):
        equal = [(column, "==", value) for column, value in filters.items()]
        return InvalidFilter(f"filters= is no dict. Rows with these values: {short_repr(equal)}.")
    return InvalidFilter(
        f"Cannot read the filter {short_repr(filters)}. It is a list of (column, operator, value) tuples, a list of such lists, "
        "a DataFrame.query string, or an expression of pd.col."
    )


def evaluate_term(values: pd.Series, label: Hashable, operator: str, value: Any) -> np.ndarray:
    """Return which values fulfil one comparison, as Arrow decides with nulls for missing values. Raises InvalidFilter."""
    try:
        if operator in ("is null", "is not null"):
            return np.asarray(values.isna() if operator == "is null" else values.notna(), bool)
        cells = pa.array(values, from_pandas=True)
        if isinstance(cells, pa.ChunkedArray):
            cells = cells.combine_chunks()
        if pa.types.is_null(cells.type) and operator not in ("in", "not in"):
            return np.zeros(len(values), bool)
        if operator in _COMPARE:
            verdict = _COMPARE[operator](cells, _scalar(value, cells.type))
        elif operator == "between":
            low, high = (_scalar(bound, cells.type) for bound in value)
            verdict = pc.and_kleene(pc.greater_equal(cells, low), pc.less_equal(cells, high))
        elif operator == "contains":
            texts = cells.cast(cells.type.value_type) if pa.types.is_dictionary(cells.type) else cells
            verdict = pc.match_substring(texts, value)
        else:
            verdict = _member(cells, value)
            verdict = verdict if operator == "in" else pc.invert(verdict)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError) as error:
        raise InvalidFilter(_why(values, label, operator, value)) from error
    return np.asarray(pc.fill_null(verdict, False).to_numpy(zero_copy_only=False), bool)


def _why(values: pd.Series, label: Hashable, operator: str, value: Any) -> str:
    """Return a message that says which value cannot be compared."""
    what = (
        f"The column {label!r} of dtype {values.dtype} cannot be compared as {operator} {short_repr(value)}"
    )
    if operator == "contains":
        return f"{what}: it holds no texts."
    zone = getattr(values.dtype, "tz", None)
    operands = value if operator in ("in", "not in", "between") else [value]
    misfits = (operand for operand in operands if not _fits(operand, values))
    wrong = next(misfits, operands[0] if len(operands) else value)
    problem = f"{what}: {short_repr(wrong)} is of type {type(wrong).__name__}."
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return f"{problem} Give a pandas.Timestamp with a zone: Timestamp({str(wrong)[:40]!r}, tz={str(zone)!r})."
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return f"{problem} Give a pandas.Timestamp without a zone."
    if isinstance(wrong, int) and not -(2**63) <= wrong < 2**64:
        return f"{problem} It is larger than any 64-bit integer."
    return problem


def _fits(value: Any, values: pd.Series) -> bool:
    """Return whether one value by itself can be compared with the column."""
    try:
        cells = pa.array(values, from_pandas=True)
        cells = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
        pc.equal(cells[:1], _scalar(value, cells.type))
    except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError):
        return False
    return True


def _member(cells: pa.Array, values: list[Any]) -> pa.Array:
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(kind)
    if pa.types.is_null(kind):
        return pa.array([any(map(is_missing, values))] * len(cells), pa.bool_())
    candidates = pa.array([None if is_missing(value) else _python(value) for value in values])
    return pc.is_in(cells, candidates.cast(kind))  # None among the values matches a missing cell


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    if value is None or value is pd.NA or value is pd.NaT:
        return pa.scalar(None, kind.value_type if pa.types.is_dictionary(kind) else kind)
    if pa.types.is_unsigned_integer(kind) and isinstance(value, int) and value >= 0:
        return pa.scalar(value, kind)  # else Arrow casts both sides to signed integers
    return pa.scalar(_python(value))  # NaN stays a number: all numbers but missing ones are unequal to it


def _python(value: Any) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)):
        return value.item()
    return value
