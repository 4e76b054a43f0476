"""Zone maps against a plain look at every value."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd.filters.predicate import EXACT, Condition
from tablevault_pd.store.engine.zones import may_match, zone_of

NUMBERS = st.sampled_from([0, 1, -1, 5, EXACT, EXACT + 1, -EXACT - 1])
FLOATS = st.sampled_from([0.0, -0.0, 1.5, -2.5, 1e300, float("nan"), float("inf"), float("-inf")])
TEXTS = st.sampled_from(["", "a", "b", "é", "a" * 40, "a" * 40 + "b", "\U0010ffff" * 40])
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any], Any]] = {
    "number": (pa.int64(), NUMBERS, NUMBERS),
    "float": (pa.float64(), FLOATS, st.sampled_from([0, 1.5, -2.5, 7])),
    "text": (pa.string(), TEXTS, TEXTS),
    "category": (pa.dictionary(pa.int8(), pa.string()), TEXTS, TEXTS),
    "bool": (pa.bool_(), st.booleans(), st.booleans()),
    "time": (
        pa.timestamp("ms"),
        st.sampled_from([dt.datetime(1969, 12, 31, 23, 59, 58, 500_000), dt.datetime(2020, 1, 1)]),
        st.sampled_from([-2, -1, 0, 1_577_836_800]),
    ),
}


def seconds(value: Any) -> Any:
    return (
        (value - dt.datetime(1970, 1, 1)) // dt.timedelta(seconds=1)
        if isinstance(value, dt.datetime)
        else value
    )


def is_surely_false(value: Any, condition: Condition) -> bool:
    """As the rules of a condition are written."""
    if value is None:
        return not condition.missing
    if value != value:
        return not condition.missing and condition.test not in ("null", "not null")
    found = seconds(value)
    if condition.kind == "number" and abs(found) > EXACT:
        return False
    tests = {
        "in": lambda: found not in condition.value, "null": lambda: True, "not null": lambda: False,
        "<": lambda: not found < condition.value, "<=": lambda: not found <= condition.value,
        ">": lambda: not found > condition.value, ">=": lambda: not found >= condition.value,
    }  # fmt: skip
    return tests[condition.test]()


@given(st.data())
@settings(max_examples=times(600, ordinary=200))
def test_no_range_is_left_out_that_has_a_row_which_may_match(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(KINDS)))
    kind, cells, constants = KINDS[name]
    values = data.draw(st.lists(st.none() | cells, min_size=1, max_size=4))
    plain = pa.array(values, pa.string() if name == "category" else kind)
    column = pa.chunked_array([plain.dictionary_encode() if name == "category" else plain])
    zone = zone_of(column)
    assert zone is not None
    zone = json.loads(json.dumps(zone, allow_nan=False))
    test = data.draw(
        st.sampled_from(
            [
                "in",
                "null",
                "not null",
                *(() if name in ("text", "category", "bool") else ("<", "<=", ">", ">=")),
            ]
        )
    )
    value = None if "null" in test else data.draw(constants)
    condition_kind: Any = {"float": "number", "category": "text"}.get(name, name)
    condition = Condition(
        ("x",), condition_kind, test, (value,) if test == "in" else value, data.draw(st.booleans())
    )
    surely = all(is_surely_false(cell, condition) for cell in values)
    assert may_match(((condition,),), {"x": zone}, ["x"]) >= (not surely)
    if len(values) == 1 and not (isinstance(values[0], str) and len(values[0]) > 32):
        assert may_match(((condition,),), {"x": zone}, ["x"]) == (not surely)


@pytest.mark.parametrize(("missing", "expected"), [(False, False), (True, True)])
def test_a_column_that_rows_lack_is_missing_in_all_of_them(missing: bool, expected: bool) -> None:
    condition = Condition(("y",), "number", "in", (1,), missing)
    assert may_match(((condition,),), {}, ["x"]) is expected


def test_columns_without_a_zone_are_never_left_out() -> None:
    assert zone_of(pa.chunked_array([[[1]], [[2]]])) is None
    condition = Condition(("x",), "number", "in", (1,))
    assert may_match(((condition,),), {"x": None}, ["x"])
