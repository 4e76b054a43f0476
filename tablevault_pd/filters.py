"""Filters: DNF tuples, query strings and ``pd.col`` expressions, read once and judged exactly as pandas judges them.

DNF tuples follow ``pandas.read_parquet``: a missing value fits no comparison, but is "not in" a list without None. Query
strings and expressions follow pandas itself, where ``!=`` is true of a missing value in a NumPy column. A name such as
``params.lr``, where ``params`` is a column of dicts and no column has the whole name, is the value inside the dicts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd.errors import InvalidFilter, shown
from tablevault_pd.store.where import Where

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
OPERATORS = (*_COMPARE, "in", "not in", "between", "contains", "is null", "is not null")


class UnknownColumn(InvalidFilter):
    """A filter that names a column which is not there. In a search such a list just does not match."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on rows."""

    columns: frozenset[Hashable] | None  #: the columns it looks at; None if only running it can tell
    mask: Callable[[pd.DataFrame], np.ndarray]  #: bool, shape (rows,)
    where: Callable[[], Where | None] = lambda: None  #: what a store may leave out beforehand


def parse_filter(
    filters: Any, known: Collection[Hashable], empty: Callable[[], pd.DataFrame] | None = None
) -> Filter | None:
    """Read `filters`, in any of the three forms, for a list with the columns `known`. Raises InvalidFilter.

    `empty` makes a frame of no rows with the list's columns: trying a filter on it tells which columns it looks at.
    """
    if filters is None:
        return None
    if isinstance(filters, str):
        found = _query(filters, known, empty)
    elif is_expression(filters):
        found = _expression(filters, known, empty)
    else:
        found = _dnf(filters, known)
    return _opened(found, known)


# -- values inside of dicts


def inside_of(name: Hashable, known: Collection[Hashable]) -> tuple[str, list[str]] | None:
    """The column and the keys that ``params.lr`` means, if it is no column itself."""
    if not isinstance(name, str) or name in known:
        return None
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        if ".".join(parts[:count]) in known:
            return ".".join(parts[:count]), parts[count:]
    return None


def _opened(found: Filter, known: Collection[Hashable]) -> Filter:
    """The filter on frames that do not have the names inside of dicts as columns yet."""
    if found.columns is None:
        return found
    names = {name: inside for name in found.columns if (inside := inside_of(name, known)) is not None}
    if not names:
        return found
    columns = frozenset(names[name][0] if name in names else name for name in found.columns)
    return replace(found, columns=columns, mask=lambda frame: found.mask(_with(frame, names)))


def _with(frame: pd.DataFrame, names: Mapping[Hashable, tuple[str, list[str]]]) -> pd.DataFrame:
    frame = frame.copy(deep=False)
    for name, (column, keys) in names.items():
        values = [_value(cell, keys) for cell in frame[column]]
        if any(value is not None for value in values):
            frame[name] = _inferred(values, frame.index)
        else:  # neither None, which pandas compares with no number, nor floats, which have no .str
            frame[name] = pd.Series([np.nan] * len(values), index=frame.index, dtype=object)
    return frame


def _inferred(values: list[Any], index: pd.Index) -> pd.Series:
    try:
        return pd.Series(values, index=index).infer_objects()
    except OverflowError:  # of pandas 2, for integers that no float holds
        return pd.Series(values, index=index, dtype=object)


def _value(cell: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if not isinstance(cell, Mapping) or key not in cell:
            return None
        cell = cell[key]
    return cell


# -- DNF tuples


def _dnf(filters: Any, known: Collection[Hashable]) -> Filter:
    groups = groups_of(filters)
    terms = [term for group in groups for term in group]
    _check_columns([column for column, _, _ in terms], known)
    return Filter(frozenset(column for column, _, _ in terms), lambda frame: _any(groups, frame))


def groups_of(filters: Any) -> list[list[Term]]:
    """Tuples as any of several groups of which all must fit. Raises InvalidFilter."""
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
    if operator == "between" and (
        isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2
    ):
        raise InvalidFilter(
            f"The filter {shown(term)} needs two bounds after 'between': (low, high). Both are included."
        )
    if operator == "contains" and not isinstance(value, str):
        raise InvalidFilter(f"The filter {shown(term)} needs a text after 'contains'.")
    return column, operator, value


def _unreadable(filters: Any) -> InvalidFilter:
    return InvalidFilter(
        f"Cannot read the filter {shown(filters)}. It is a list of (column, operator, value) tuples, a list of such lists, "
        "a DataFrame.query string, or an expression of pd.col."
    )


def _check_columns(columns: Sequence[Hashable], known: Collection[Hashable]) -> None:
    for column in columns:
        if column not in known and inside_of(column, known) is None:
            close = get_close_matches(str(column), [str(name) for name in known], n=3)
            hint = (
                f"Did you mean {' or '.join(map(repr, close))}?"
                if close
                else f"There are {', '.join(map(repr, known)) or 'none'}."
            )
            raise UnknownColumn(
                f"The filter names the column {column!r}, which the list does not have. {hint}"
            )


def _any(groups: list[list[Term]], frame: pd.DataFrame) -> np.ndarray:
    keep = np.zeros(len(frame), bool)
    for group in groups:
        kept = np.ones(len(frame), bool)
        for term in group:
            kept &= judge(frame, term)
        keep |= kept
    return keep


def judge(frame: pd.DataFrame, term: Term) -> np.ndarray:
    """Which rows fit one comparison, as Arrow judges them once missing values are null."""
    column, operator, value = term
    try:
        if operator in ("is null", "is not null"):
            return np.asarray(frame[column].isna() if operator == "is null" else frame[column].notna(), bool)
        cells = pa.array(frame[column], from_pandas=True)
        if isinstance(cells, pa.ChunkedArray):
            cells = cells.combine_chunks()
        if pa.types.is_null(cells.type) and operator not in ("in", "not in"):
            return np.zeros(len(frame), bool)
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
        raise InvalidFilter(
            f"Column {column!r} of dtype {frame[column].dtype} cannot be compared as {operator} {shown(value)}: {error}"
        ) from error
    return np.asarray(pc.fill_null(verdict, False).to_numpy(zero_copy_only=False), bool)


def _member(cells: pa.Array, values: list[Any]) -> pa.Array:
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(kind)
    if pa.types.is_null(kind):
        return pa.array([any(map(is_missing, values))] * len(cells), pa.bool_())
    wanted = pa.array([None if is_missing(value) else _python(value) for value in values])
    return pc.is_in(cells, wanted.cast(kind))  # None among the values matches a missing cell


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    if is_missing(value):
        return pa.scalar(None, kind.value_type if pa.types.is_dictionary(kind) else kind)
    return pa.scalar(_python(value))


def _python(value: Any) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)):
        return value.item()
    return value


def is_missing(value: Any) -> bool:
    """Whether a constant stands for a missing value."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


# -- query strings and expressions

_DOTTED = re.compile(r"`[^`]*`|\"[^\"]*\"|'[^']*'|@?[^\W\d]\w*(?:\.[^\W\d]\w*)+")


def _query(text: str, known: Collection[Hashable], empty: Callable[[], pd.DataFrame] | None) -> Filter:
    if not text.strip():
        raise InvalidFilter("The filter is an empty string. Leave it out to keep every row.")
    inside: list[str] = []
    asked = with_inside(text, known, inside)
    # A query can only mean a column whose name stands in it somewhere: never too few are read.
    columns = frozenset([*(name for name in known if isinstance(name, str) and name in asked), *inside])
    if empty is not None:
        frame = empty()
        names: dict[Hashable, tuple[str, list[str]]] = {
            name: found for name in inside if (found := inside_of(name, known)) is not None
        }
        try:
            _with(frame, names).eval(asked, engine="python")
        except pd.errors.UndefinedVariableError as error:
            hint = f"There are {', '.join(map(repr, known)) or 'none'}."
            raise UnknownColumn(
                f"The filter {shown(text)} names a column that the list does not have: {error}. {hint}"
            ) from error
        except Exception:  # noqa: BLE001, S110  # whatever else is wrong shows, with its rows, when it is run on them
            pass
    return Filter(columns, lambda frame: _query_mask(frame, asked))


def with_inside(text: str, known: Collection[Hashable], inside: list[str]) -> str:
    """A query with the names that mean values inside of dicts in backticks; they are added to `inside`."""
    return _DOTTED.sub(lambda found: _quoted_inside(found[0], known, inside), text)


def _quoted_inside(name: str, known: Collection[Hashable], inside: list[str]) -> str:
    """``params.lr`` in backticks, if it is a value inside of dicts and no method of a column; other text as it is."""
    bare = name[1:-1] if name.startswith("`") else name
    if bare in known and name[0] not in "\"'@`":
        return f"`{name}`"  # a column with dots in its name
    if name[0] in "\"'@" or (found := inside_of(bare, known)) is None:
        return name
    if name[0] != "`" and (hasattr(pd.Series, found[1][0]) or found[1][0] in ("str", "dt", "cat")):
        return name
    inside.append(bare)
    return f"`{bare}`"


def _query_mask(frame: pd.DataFrame, text: str) -> np.ndarray:
    return _as_mask(_run(lambda: frame.eval(text, engine="python"), text), frame)


def is_expression(filters: Any) -> bool:
    """Whether it is an expression of ``pd.col``."""
    expression = getattr(getattr(pd.api, "typing", None), "Expression", None)
    return expression is not None and isinstance(filters, expression)


class _Recorder:
    """Stands in for a frame while an expression is evaluated, and remembers which columns it was asked for."""

    def __init__(self, frame: pd.DataFrame, known: Collection[Hashable]) -> None:
        self._frame = frame
        self._known = known
        self.asked: set[Hashable] = set()
        self.columns = Everything()

    def __getitem__(self, name: Hashable) -> Any:
        inside = inside_of(name, self._known)
        if inside is None:
            _check_columns([name], self._known)
        self.asked.add(name)
        return self._frame[name] if inside is None else pd.Series([], dtype=float)


class Everything:
    """Columns that contain every name: the recorder itself says which are not there."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterable[Hashable]:
        return iter(())


def _expression(
    expression: Any, known: Collection[Hashable], empty: Callable[[], pd.DataFrame] | None
) -> Filter:
    columns: frozenset[Hashable] | None = None
    if empty is not None:
        recorder = _Recorder(empty(), known)
        try:
            evaluate(expression, recorder)
            columns = frozenset(recorder.asked) or None
        except UnknownColumn:
            raise
        except Exception:  # noqa: BLE001  # it may look at more than the stand-in has: then every column is read
            columns = None
    return Filter(
        columns, lambda frame: _as_mask(_run(lambda: evaluate(expression, frame), expression), frame)
    )


def evaluate(expression: Any, frame: Any) -> Any:
    """The expression's value on a frame, or on what stands in for one."""
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
        and values.map(lambda cell: isinstance(cell, (bool, np.bool_)) or is_missing(cell)).all()
    ):
        values = values.astype("boolean")
    if not pd.api.types.is_bool_dtype(values.dtype) or len(values) != len(frame):
        raise InvalidFilter(f"The filter gives {values.dtype} values, and not True or False for each row.")
    return values.fillna(False).to_numpy(bool)
