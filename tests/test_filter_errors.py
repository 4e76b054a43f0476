"""What a filter that cannot work says, and what is no condition at all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.filters import Names, parse_filter

TIMES = pd.to_datetime(["2026-02-01", "2026-04-01"])
FRAME = pd.DataFrame(
    {
        "s": ["a", "b"],
        "i": [1, 2],
        "u": np.array([1, 2**63], np.uint64),
        "t": TIMES.tz_localize("UTC"),
        "n": TIMES,
    }
)


SINCE, WANTED = pd.Timestamp("2026-03-01", tz="UTC"), "all"


def kept(filters, frame=FRAME):
    return parse_filter(filters, Names.of(frame)).mask(frame).tolist()


@pytest.mark.parametrize(
    "text",
    [
        "t > Timestamp('2026-03-01', tz='UTC')",
        "t > Timestamp('2026-03-01', tz='Asia/Tokyo')",
        "t > Timestamp(year=2026, month=3, day=1, tz='UTC')",
        "n > datetime(2026, 3, day=1)",
        "t > @SINCE",
    ],
)
def test_times_have_their_options(text):
    assert kept(text) == [False, True]


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ("t > Timestamp('2026-03-01', zone='UTC')", "the option 'zone'; it takes tz"),
        ("t > Timestamp('2026-03-01', tz='Nowhere')", "no time in Timestamp.*Nowhere"),
        ("t > Timestamp(i)", "otherwise than with literals"),
        ("sqrt(i, 2) > 1", "otherwise than with one column"),
        ("t > '2026-03-01'", "'t', which have the time zone UTC.*Write Timestamp.*tz='UTC'"),
        ("Timestamp('2026-03-01') < t", "'t', which have the time zone UTC"),
        ("n > Timestamp('2026-03-01', tz='UTC')", "'n', which have no time zone"),
        ("\"s\" == 'a'", "compares constants.*write s, without quotes"),
        ("i > 0 and 'x' == 'a'", "compares constants.*without quotes"),
        ("'s' in ['s']", "compares constants"),
        ("i in 1", "in a number: write == or a list"),
        ("i not in 1.5", "in a number: write == or a list"),
        ([("i", ">", "x")], "column 'i' of dtype int64 .* 'x' is of type str"),
        ([("i", "between", (1, "x"))], "column 'i' of dtype int64 .* 'x' is of type str"),
        ([("i", "in", [1, "x"])], "column 'i' of dtype int64 .* 'x' is of type str"),
        ([("i", "==", 10**30)], "column 'i' of dtype int64 .* larger than any 64-bit integer"),
        ([("i", "in", [1, 10**30])], "column 'i' of dtype int64 .* larger than any 64-bit integer"),
        ([("i", "contains", "x")], "column 'i' of dtype int64 .* holds no texts"),
        ([("s", "<", 1)], "column 's' .* 1 is of type int"),
        ([("t", ">", "2026-03-01")], "column 't' .* with a zone: Timestamp"),
        ([("t", ">", pd.Timestamp("2026-03-01"))], "column 't' .* with a zone: Timestamp"),
        ([("n", ">", pd.Timestamp("2026-03-01", tz="UTC"))], "column 'n' .* without a zone"),
    ],
)
def test_an_error_names_column_dtype_and_value_and_the_way_out(filters, said):
    with pytest.raises(tv.InvalidFilter, match=said) as caught:
        kept(filters)
    for foreign in ("kernel", "C long", "array[", "Arrow"):
        assert foreign not in str(caught.value)


def test_variables_may_be_compared_with_constants():
    assert kept("@WANTED == 'all' or s == @WANTED") == [True, True]
    assert kept("1 == 1 and i > 1") == [False, True]


def test_a_column_whose_name_is_a_number_is_told_from_its_text():
    matrix = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]])
    for filters in ("`0` == 1", ("0", "==", 1.0)):
        with pytest.raises(
            tv.InvalidFilter, match=r"'0', a text, and the list has 0, of type int.*\(0, '==', value\)"
        ):
            kept(filters, matrix)
    assert kept((0, "==", 1.0), matrix) == [True, False]


def test_no_conditions_keep_every_row(vault):
    vault.save("a", FRAME)
    for none in ([], ()):
        assert len(vault.read("a", filters=none)) == 2
        assert len(vault.search(lists="a", filters=none, kind="record")) == 2
        assert len(vault.sessions(filters=none)) == len(vault.sessions())
    with pytest.raises(tv.InvalidFilter):
        vault.read("a", filters=[[]])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (r"s.str.contains('\d')", [1]),
        (r"s.str.contains(r'\d')", [1]),
        (r"s == 'a\\d'", [2]),
        (r"s == 'a\d'", [2]),
        ("n == 1e0", [0]),
    ],
)
def test_backslashes_and_numbers_are_read_without_a_warning(text, kept):
    frame = pd.DataFrame({"s": ["a", "b1", "a\\d"], "n": [1, 2, 3]})
    assert parse_filter(text, Names.of(frame)).mask(frame).nonzero()[0].tolist() == kept


@pytest.mark.parametrize("text", ["f > 'a'", "f.str.len() > 1", "n > 99 and f.str.len() > 1"])
@pytest.mark.parametrize("count", [0, 3])
def test_a_filter_that_does_not_fit_is_told_whatever_rows_there_are(sessionless_vault, text, count):
    """Also where there are none, or a store leaves all of them out: the same in each store, and for each call."""
    sessionless_vault.save(
        "x", pd.DataFrame({"n": range(count), "f": [0.5] * count}).astype({"n": int, "f": float})
    )
    for call in (
        lambda: sessionless_vault.read("x", filters=text),
        lambda: sessionless_vault.delete_rows("x", filters=text),
    ):
        with pytest.raises(tv.InvalidFilter, match="cannot be evaluated"):
            call()
    assert len(sessionless_vault.versions("x")) == 1
