"""Zone maps: the least and the largest value of each scalar column in a range of rows, by which a scan leaves the range out.

A zone is a list of plain JSON values: kind, least, largest, number of missing values, number of NaN. Times are whole seconds
since 1970, rounded down; a long text is cut, the largest so that it still is an upper bound.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd.filters.predicate import EXACT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tablevault_pd.filters.predicate import Condition, Where

Zone = list[Any]

RANGE_ROWS = 1 << 16
SAMPLE = 16  # texts of each range, by which it is told whether ranges differ
FEW_RANGES = 2  # whose texts are compared all the same
LARGE_CELL = 256  # bytes on average, from which on a column has no zone
TEXT_LENGTH = 32  # characters of a bound that are kept
_HIGHEST = chr(sys.maxunicode)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_LARGEST = sys.float_info.max
_t = pa.types


def ranges_of(table: pa.Table) -> list[list[Any]]:
    """The zone map of a table: for each range its rows, and the zone of each scalar column behind the column's number."""
    columns = [(field, column) for field, column in enumerate(table.columns) if _is_worthwhile(column)]
    return [
        _range_of(columns, at, min(RANGE_ROWS, table.num_rows - at))
        for at in range(0, table.num_rows, RANGE_ROWS)
    ]


def _range_of(columns: Sequence[tuple[int, pa.ChunkedArray]], at: int, rows: int) -> list[Any]:
    zones = [(field, zone_of(column.slice(at, rows))) for field, column in columns]
    return [rows, [[field, *zone] for field, zone in zones if zone is not None]]


def _is_worthwhile(column: pa.ChunkedArray) -> bool:
    """Whether the zones of a column are cheap, or may leave anything out: texts take long to compare."""
    if not (_t.is_string(column.type) or _t.is_large_string(column.type)):
        return True
    if column.nbytes > LARGE_CELL * len(column):
        return False
    starts = np.arange(0, len(column), RANGE_ROWS)
    rows = (starts[:, None] + np.linspace(0, RANGE_ROWS - 1, SAMPLE).astype(np.int64)).ravel()
    sample = column.take(pa.array(np.minimum(rows, len(column) - 1))).fill_null("").to_pylist()
    texts = np.array(sample, object).reshape(len(starts), SAMPLE)
    every = np.sort(texts.ravel())
    inside = [
        np.searchsorted(every, max(some), "right") - np.searchsorted(every, min(some), "left")
        for some in texts
    ]
    return len(starts) <= FEW_RANGES or sum(inside) < len(every) * len(starts) / 2


def add_range(ranges: list[list[Any]], added: list[Any]) -> None:
    """Add a range behind the others, to the last one while both are small."""
    if not ranges or ranges[-1][0] + added[0] > RANGE_ROWS:
        ranges.append(added)
        return
    rows, zones = ranges[-1]
    others = {field: zone for field, *zone in added[1]}
    both = [(field, _merged(zone, others[field])) for field, *zone in zones if field in others]
    ranges[-1] = [rows + added[0], [[field, *zone] for field, zone in both if zone is not None]]


def _merged(one: Zone, other: Zone) -> Zone | None:
    if one[0] is not None and other[0] is not None and one[0] != other[0]:
        return None
    low, high = ([zone[end] for zone in (one, other) if zone[end] is not None] for end in (1, 2))
    bounds = (min(low), max(high)) if low else (None, None)
    return [one[0] or other[0], *bounds, one[3] + other[3], one[4] + other[4]]


def is_true_of(ranges: Any, table: pa.Table) -> bool:
    """Whether a zone map may be of a table: none of its zones leaves out a value of its rows."""
    at = 0
    try:
        for rows, zones in ranges:
            if not all(_covers(zone, table.column(field).slice(at, rows)) for field, *zone in zones):
                return False
            at += rows
    except (ValueError, TypeError, LookupError):
        return False
    return bool(at == table.num_rows)


def _covers(zone: Zone, column: pa.ChunkedArray) -> bool:
    own = zone_of(column)
    if own is None:
        return True
    (kind, low, high, missing, nan), (own_kind, own_low, own_high, own_missing, own_nan) = zone, own
    bounded: bool = own_low is None or (low is not None and low <= own_low and own_high <= high)
    counted: bool = missing >= min(own_missing, 1) and nan >= min(own_nan, 1)
    return bounded and counted and own_kind in (None, kind)


def ranges_to_read(
    where: Where, ranges: Iterable[Any], fields: Sequence[str], low: int, stop: int
) -> list[tuple[int, int]]:
    """The rows from `low` to `stop`, without ranges that have none which may match; neighbours are one."""
    joined: list[tuple[int, int]] = []
    end = 0
    for rows, zones in ranges:
        first, end = max(end, low), end + rows
        last = min(end, stop)
        if first < last and may_match(where, {fields[field]: zone for field, *zone in zones}, fields):
            joins = bool(joined) and joined[-1][1] == first
            joined[-1:] = [(joined[-1][0], last)] if joins else [*joined[-1:], (first, last)]
    return joined


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
    if missing == 0 and (_t.is_integer(kind) or _t.is_float32(kind) or _t.is_float64(kind)):
        zone = _plain_zone(column)
        if zone is not None:
            return zone
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


def _plain_zone(column: pa.ChunkedArray) -> Zone | None:
    """The zone of numbers none of which is missing or NaN; None if one is NaN. NumPy is faster than Arrow here."""
    parts = [chunk.to_numpy() for chunk in column.chunks if len(chunk)]
    lows = [part.min().item() for part in parts]
    if any(low != low for low in lows):
        return None
    low, high = min(lows), max(part.max().item() for part in parts)
    return ["number", *_finite(low, high), 0, 0]


def _finite(*bounds: Any) -> list[Any]:
    """Bounds that JSON has: infinities are the largest floats."""
    return [one if isinstance(one, int) else max(-_LARGEST, min(_LARGEST, one)) for one in bounds]


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
    return ["number", *_finite(bounds["min"], bounds["max"]), missing, nan]


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
