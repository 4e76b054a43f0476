"""Evaluate a filter on a frame: strings as ``DataFrame.query`` does, tuples as Arrow does.

This includes what ``query`` does beyond plain comparisons: ``==`` with a text or list is ``isin``, a constant beside
times becomes a Timestamp, one beside float32 a float32.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from tablevault_pd.errors import InvalidFilter, short_repr
from tablevault_pd.filters.methods import FUNCTIONS
from tablevault_pd.filters.tree import (
    And,
    Arithmetic,
    ColumnRef,
    Compare,
    Constant,
    Function,
    Inside,
    Level,
    Member,
    Method,
    Node,
    Not,
    Or,
    Sign,
    Term,
)
from tablevault_pd.filters.tuples import evaluate_term

PANDAS_2 = pd.__version__.startswith("2.")
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
#: Nodes whose values ``query`` compares by ``isin``; a sum of numbers is none (see :func:`_is_plain`).
_PLAIN = (ColumnRef, Level, Inside, Constant, Method, Member)


def mask_of(node: Node, frame: pd.DataFrame) -> np.ndarray:
    """Return which rows of `frame` pass: bool, shape (rows,). Raises whatever pandas raises, and InvalidFilter."""
    return as_mask(evaluate(node, frame), len(frame))


def as_mask(values: Any, rows: int) -> np.ndarray:
    """Convert truth values to a NumPy array in which missing ones are False. Raises InvalidFilter for other values."""
    if types.is_scalar(values):
        values = np.full(rows, values)
    if isinstance(values, pd.DataFrame) or len(values) != rows:
        raise InvalidFilter("The filter gives no single value for each row.")
    if values.dtype == bool:
        return np.asarray(values)
    values = _as_bools(pd.Series(values))
    if not types.is_bool_dtype(values.dtype):
        raise InvalidFilter(f"The filter gives {values.dtype} values, and not True or False for each row.")
    return np.asarray(values.fillna(False), bool)


def _as_bools(values: pd.Series) -> pd.Series:
    """Convert objects that are all True, False or missing to nullable booleans."""
    if values.dtype == object and types.infer_dtype(values, skipna=True) in ("boolean", "empty"):
        return values.astype("boolean")
    return values


def evaluate(node: Node, frame: pd.DataFrame) -> Any:
    """Return the value of a part of a filter on `frame`."""

    def value(part: Node) -> Any:
        return evaluate(part, frame)

    match node:
        case Constant(constant):
            return constant
        case ColumnRef(label):
            return frame[label]
        case Level(number):
            return pd.Series(frame.index.get_level_values(number), index=frame.index)
        case Inside(column, keys):
            return inside(frame[column], keys)
        case Term(of, sign, constant, label):
            return evaluate_term(value(of), label, sign, constant)
        case Compare(left, sign, right):
            return _compared(node, sign, value(left), value(right))
        case Member(of, values):
            return _member(value(of), value(values))
        case And(parts):
            return reduce(_both, map(value, parts))
        case Or(parts):
            return reduce(_either, map(value, parts))
        case Not(of):
            return _opposite(value(of))
        case Arithmetic(left, sign, right):
            return _joined(node, sign, value(left), value(right))
        case Sign(sign, of):
            return operator.neg(value(of)) if sign == "-" else operator.pos(value(of))
        case Method(of, name, arguments, options, called):
            member = getattr(value(of), name)
            return (
                member(*map(value, arguments), **{key: value(option) for key, option in options})
                if called
                else member
            )
        case Function(name, arguments):
            return FUNCTIONS[name](*map(value, arguments))
    raise AssertionError(node)


# -- conditions


def _both(left: Any, right: Any) -> Any:
    _check_conditions(left, right)
    return left & right


def _either(left: Any, right: Any) -> Any:
    _check_conditions(left, right)
    return left | right


def _check_conditions(*values: Any) -> None:
    for condition in values:
        if types.is_scalar(condition) and not isinstance(condition, (bool, np.bool_)):
            raise InvalidFilter(f"The filter joins {short_repr(condition)} by and, or: that is no condition.")


def _opposite(values: Any) -> Any:
    if isinstance(values, (bool, np.bool_)):
        return not values
    return ~(_as_bools(values) if isinstance(values, pd.Series) else values)


def _compared(node: Compare, sign: str, left: Any, right: Any) -> Any:
    if sign in ("==", "!="):
        for one, other, of in ((left, right, node.left), (right, left, node.right)):
            if isinstance(other, str) and hasattr(one, "isin") and _is_plain(of, one):
                return _among(one, [other]) if sign == "==" else ~_among(one, [other])
    left, right = _converted(node.left, left, right), _converted(node.right, right, left)
    if sign not in ("==", "!="):  # times with and without a zone are never equal
        _check_zones(left, right)
    return COMPARE[sign](left, right)


def _check_zones(left: Any, right: Any) -> None:
    """Raise InvalidFilter where times with a zone are compared with one without, or the reverse."""
    for times, one in ((left, right), (right, left)):
        if not (isinstance(one, pd.Timestamp) and isinstance(times, pd.Series)):
            continue
        if not types.is_datetime64_any_dtype(times.dtype):
            continue
        zone = getattr(times.dtype, "tz", None)
        if zone is not None and one.tz is None:
            raise InvalidFilter(
                f"The filter compares the times of the column {times.name!r}, which have the time zone {zone}, with "
                f"{str(one)!r}, which has none. Write Timestamp({str(one)!r}, tz={str(zone)!r})."
            )
        if zone is None and one.tz is not None:
            raise InvalidFilter(
                f"The filter compares the times of the column {times.name!r}, which have no time zone, with "
                f"{str(one)!r}, which has one. Write Timestamp({str(one.tz_localize(None))!r})."
            )


def _is_plain(node: Node, values: Any) -> bool:
    """Return whether ``query`` looks at values by ``isin``: not at those of a sum of numbers."""
    return isinstance(node, _PLAIN) or types.is_object_dtype(values) or types.is_string_dtype(values)


def _converted(node: Node, value: Any, other: Any) -> Any:
    """Convert a constant to the type of the column that it is compared with: to a time or a float32."""
    if not types.is_scalar(value) or not hasattr(other, "dtype") or types.is_scalar(other):
        return value
    if types.is_datetime64_any_dtype(other.dtype):
        time = pd.Timestamp(str(value) if isinstance(value, (int, float)) else value)
        return time if time.tz is None else time.tz_convert("UTC")
    if (
        other.dtype == np.float32
        and isinstance(node, Constant)
        and isinstance(value, (int, float, np.number))
    ):
        with np.errstate(over="ignore"):
            return np.float32(value)
    return value


def _member(of: Any, values: Any) -> Any:
    if types.is_scalar(of):
        return bool(np.isin(of, list(values)).any()) if not isinstance(of, str) else of in list(values)
    return _among(of, values)


def _among(values: pd.Series, others: Any) -> Any:
    if not PANDAS_2:
        return values.isin(others)
    with warnings.catch_warnings():  # pandas 2 warns where texts are looked up among times
        warnings.simplefilter("ignore", FutureWarning)
        return values.isin(others)


def _joined(node: Arithmetic, sign: str, left: Any, right: Any) -> Any:
    if sign in ("*", "%", "**"):
        for side in (left, right):
            _check_factor(sign, side)
    return _ARITHMETIC[sign](_converted(node.left, left, right), _converted(node.right, right, left))


def _check_factor(sign: str, values: Any) -> None:
    """Raise InvalidFilter for results of any size: repeated texts, powers of Python's integers."""
    if isinstance(values, int) and sign == "**":
        fits = abs(values) < 2**63
    elif types.is_scalar(values):
        fits = not isinstance(values, (str, bytes))
    elif values.dtype == object:
        fits = sign != "**" and types.infer_dtype(values, skipna=True) in _NUMBERS
    else:
        fits = not types.is_string_dtype(values.dtype)
    if not fits:
        raise InvalidFilter(f"The filter joins texts, objects or too large numbers by {sign}.")


EXACT = 2**53  #: no float holds every integer beyond it
_NUMBERS = (
    "integer",
    "floating",
    "mixed-integer-float",
    "decimal",
    "complex",
    "boolean",
    "timedelta",
    "empty",
)


# -- values inside of dicts


def inside(cells: pd.Series, keys: Sequence[str]) -> pd.Series:
    """Return the values of nested keys in the dicts of a column; missing where a dict lacks one."""
    values = [_value(cell, keys) for cell in cells]
    if all(value is None for value in values):
        # Objects with NaN: pandas does not compare None with numbers, and floats have no .str.
        return pd.Series([np.nan] * len(values), index=cells.index, dtype=object)
    try:
        if any(type(value) is int and abs(value) > EXACT for value in values):
            # Beside missing values they would become floats.
            return pd.Series(values, index=cells.index, dtype="Int64")
        return pd.Series(values, index=cells.index).infer_objects()
    except (TypeError, ValueError, OverflowError):  # beside other values, or too large for 64 bits
        return pd.Series(values, index=cells.index, dtype=object)


def _value(cell: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if not isinstance(cell, Mapping) or key not in cell:
            return None
        cell = cell[key]
    return cell
