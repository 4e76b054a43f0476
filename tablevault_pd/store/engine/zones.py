"""Zone maps: the least and the largest value of each scalar column in a range of rows, by which a scan leaves the range out.

A zone is a list of plain JSON values: kind, least, largest, number of missing values, number of NaN. Times are whole seconds
since 1970, rounded down; a long text is cut, the largest so that it still is an upper bound.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd.filters.predicate import EXACT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tablevault_pd.filters.predicate import Condition, Where

Zone = list[Any]

TEXT_LENGTH = 32  # characters of a bound that are kept
_HIGHEST = chr(sys.maxunicode)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_LARGEST = sys.float_info.max
_t = pa.types


def zone_of(column: pa.ChunkedArray) -> Zone | None:
    """The zone of a column; None if its type has none."""
    missing = column.null_count
    if missing == len(column):
        return [None, None, None, missing, 0]
    if _t.is_dictionary(column.type):
        column = _used_values(column)
        missing = max(missing, column.null_count)  # a category can be missing, too
        if column.null_count == len(column):
            return None
    kind = column.type
    if _t.is_boolean(kind):
        return _zone("bool", pc.min_max(column).as_py(), missing)
    if _t.is_integer(kind):
        return _zone("number", pc.min_max(column).as_py(), missing)
    if _t.is_floating(kind):
        return _float_zone(column, missing)
    if _t.is_timestamp(kind):
        bounds = pc.min_max(column.cast(pa.int64())).as_py()
        per_second = _PER_SECOND[kind.unit]
        return _zone("time", {end: value // per_second for end, value in bounds.items()}, missing)
    if _t.is_string(kind) or _t.is_large_string(kind):
        bounds = pc.min_max(column).as_py()
        return ["text", bounds["min"][:TEXT_LENGTH], _upper(bounds["max"]), missing, 0]
    return None


def _zone(kind: str, bounds: dict[str, Any], missing: int) -> Zone:
    return [kind, bounds["min"], bounds["max"], missing, 0]


def _used_values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a categorical column that are in use, missing ones among them."""
    parts = [chunk.dictionary.take(pc.unique(chunk.indices)) for chunk in column.chunks]
    return pa.chunked_array(parts, column.type.value_type)


def _float_zone(column: pa.ChunkedArray, missing: int) -> Zone:
    if _t.is_float16(column.type):
        column = column.cast(pa.float32())
    nan = pc.sum(pc.is_nan(column)).as_py() or 0
    if nan + missing == len(column):
        return ["number", None, None, missing, nan]
    bounds = pc.min_max(column).as_py()  # does not look at NaN
    low, high = (max(-_LARGEST, min(_LARGEST, bounds[end])) for end in ("min", "max"))
    return ["number", low, high, missing, nan]


def _upper(text: str) -> str:
    end = TEXT_LENGTH
    while text[end : end + 1] == _HIGHEST:  # nothing is above it: the bound would be below the text
        end += 1
    return text if len(text) <= end else text[:end] + _HIGHEST


def may_match(where: Where, zones: Mapping[str, Zone | None], fields: Iterable[str]) -> bool:
    """Whether any row of a range may match; `zones` by field, `fields` are those that its rows have."""
    there = set(fields)
    return any(all(_may_pass(condition, zones, there) for condition in group) for group in where)


def _may_pass(condition: Condition, zones: Mapping[str, Zone | None], there: set[str]) -> bool:
    """Whether a value of the range may pass. A condition is surely false as :mod:`~tablevault_pd.filters.predicate` says."""
    name = condition.path[0]
    if name not in there:
        return condition.missing
    zone = zones.get(name)
    if zone is None:
        return True
    kind, low, high, missing, nan = zone
    if missing and condition.missing:
        return True
    if kind is None:
        return False
    if len(condition.path) > 1 or kind != condition.kind:
        return True
    if nan and (condition.missing or condition.test in ("null", "not null")):
        return True  # what NaN is depends on the dtype: a missing value, or a number that is none
    if low is None:
        return False
    if kind == "number" and not -EXACT <= low <= high <= EXACT:
        return True
    return _TESTS[condition.test](low, high, condition.value)


_TESTS: dict[str, Callable[[Any, Any, Any], bool]] = {
    "in": lambda low, high, values: any(low <= value <= high for value in values),
    "<": lambda low, high, value: low < value,
    "<=": lambda low, high, value: low <= value,
    ">": lambda low, high, value: high > value,
    ">=": lambda low, high, value: high >= value,
    "contains": lambda low, high, value: True,
    "null": lambda low, high, value: False,
    "not null": lambda low, high, value: True,
}
