"""Filters keep exactly the rows that pandas keeps: DNF as read_parquet, strings as query, expressions as df[...]."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.filters import Names, parse_filter

COLUMNS = {
    "f": st.lists(st.sampled_from([0.0, -0.0, 1.5, -2.0, np.nan, np.inf]), min_size=5, max_size=5).map(
        lambda v: pd.Series(v, dtype="float64")),
    "i": st.lists(st.integers(-3, 3), min_size=5, max_size=5).map(lambda v: pd.Series(v, dtype="int64")),
    "n": st.lists(st.integers(-3, 3) | st.none(), min_size=5, max_size=5).map(lambda v: pd.Series(v, dtype="Int64")),
    "s": st.lists(st.sampled_from(["a", "b", "", "é"]) | st.none(), min_size=5, max_size=5).map(lambda v: pd.Series(v, dtype="string")),
    "o": st.lists(st.sampled_from(["a", "b"]) | st.none(), min_size=5, max_size=5).map(lambda v: pd.Series(v, dtype=object)),
    "c": st.lists(st.sampled_from(["a", "b"]) | st.none(), min_size=5, max_size=5).map(
        lambda v: pd.Series(pd.Categorical(v, categories=["a", "b", "é"]))),
    "b": st.lists(st.booleans(), min_size=5, max_size=5).map(lambda v: pd.Series(v, dtype="bool")),
    "m b": st.lists(st.booleans() | st.none(), min_size=5, max_size=5).map(lambda v: pd.Series(v, dtype="boolean")),
    "t": st.lists(st.sampled_from(["2020-01-01", "2021-06-01"]) | st.none(), min_size=5, max_size=5).map(
        lambda v: pd.Series(pd.to_datetime(v)).astype("datetime64[us]")),
}  # fmt: skip
VALUES = {
    "f": st.sampled_from([0.0, 1.5, -2.0, 7.0]), "i": st.integers(-3, 3), "n": st.integers(-3, 3),
    "s": st.sampled_from(["a", "b", "", "é", "z"]), "o": st.sampled_from(["a", "z"]), "c": st.sampled_from(["a", "b", "é"]),
    "b": st.booleans(), "m b": st.booleans(), "t": st.sampled_from([pd.Timestamp("2020-01-01"), pd.Timestamp("2020-06-01")]),
}  # fmt: skip
FRAMES = st.fixed_dictionaries(COLUMNS).map(pd.DataFrame)


@st.composite
def term(draw: st.DrawFn) -> tuple[str, str, object]:
    column = draw(st.sampled_from(sorted(COLUMNS)))
    operators = ["==", "=", "!=", "in", "not in"]
    if column not in ("b", "m b", "c"):
        operators += ["<", "<=", ">", ">="]
    operator = draw(st.sampled_from(operators))
    if operator in ("in", "not in"):
        return column, operator, draw(st.lists(VALUES[column], min_size=1, max_size=3))
    return column, operator, draw(VALUES[column])


DNF = st.lists(term(), min_size=1, max_size=3) | st.lists(
    st.lists(term(), min_size=1, max_size=2), min_size=1, max_size=3
)


@given(FRAMES, DNF)
@settings(max_examples=times(60))
def test_tuples_keep_what_read_parquet_keeps(df, dnf):
    file = io.BytesIO()
    df.assign(row=range(len(df))).to_parquet(file)
    try:
        expected = pd.read_parquet(file, filters=dnf)["row"].tolist()
    except (
        pa.ArrowTypeError
    ):  # Arrow does not look for texts in a column that is missing throughout: there are none
        assume(False)
    condition = parse_filter(dnf, Names.of(df))
    assert np.flatnonzero(condition.mask(df)).tolist() == expected


def comparisons(column: str) -> st.SearchStrategy[str]:
    operators = ["==", "!="] if column in ("b", "m b", "c") else ["==", "!=", "<", "<=", ">", ">="]
    return st.tuples(st.just(column), st.sampled_from(operators), VALUES[column])


QUERIES = st.lists(
    st.sampled_from(["f", "i", "n", "s", "o", "c", "b", "m b", "t"]).flatmap(comparisons),
    min_size=1,
    max_size=3,
)


@given(FRAMES, QUERIES, st.sampled_from([" and ", " or "]))
@settings(max_examples=times(50))
def test_strings_keep_what_query_keeps(df, parts, join):
    text = join.join(f"(`{column}` {operator} {str(value) if isinstance(value, pd.Timestamp) else value!r})"
                     .replace(str(value), f"'{value}'" if isinstance(value, pd.Timestamp) else str(value), 1)
                     for column, operator, value in parts)  # fmt: skip
    try:
        expected = df.query(text, engine="python").index.tolist()
    except Exception:  # noqa: BLE001  # what pandas itself cannot judge is refused in our words
        with pytest.raises(tv.InvalidFilter):
            parse_filter(text, Names.of(df)).mask(df)
        return
    assert np.flatnonzero(parse_filter(text, Names.of(df)).mask(df)).tolist() == expected


@pytest.mark.skipif(not hasattr(pd, "col"), reason="pd.col came with pandas 3")
@given(FRAMES, QUERIES, st.booleans(), st.booleans())
@settings(max_examples=times(50))
def test_expressions_keep_what_pandas_keeps(df, parts, either, invert):
    import operator as op

    operators = {"==": op.eq, "!=": op.ne, "<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge}
    expression = None
    for column, operator, value in parts:
        part = operators[operator](pd.col(column), value)
        expression = part if expression is None else (expression | part if either else expression & part)
    expression = ~expression if invert else expression
    try:
        expected = df[df.assign(_keep=expression)["_keep"].fillna(False).astype(bool)].index.tolist()
    except TypeError:  # NA against a plain object: pandas cannot judge it, and we say so in our words
        with pytest.raises(tv.InvalidFilter):
            parse_filter(expression, Names.of(df)).mask(df)
        return
    assert np.flatnonzero(parse_filter(expression, Names.of(df)).mask(df)).tolist() == expected


@pytest.mark.skipif(not hasattr(pd, "col"), reason="pd.col came with pandas 3")
def test_pandas_still_evaluates_expressions_as_we_do():
    df = pd.DataFrame({"x": [1, 2, 3]})
    expression = (pd.col("x") * 2 > 3) & pd.col("x").isin([2, 5])
    assert (
        expression._eval_expression(df).tolist()
        == df.assign(y=expression)["y"].tolist()
        == [False, True, False]
    )


def test_messages_name_the_column():
    with pytest.raises(tv.InvalidFilter, match=r"'los'.*Did you mean 'loss'"):
        parse_filter([("los", "<", 1)], Names(["loss", "acc"]))
    with pytest.raises(tv.InvalidFilter, match=r"'x' of dtype int64 cannot be compared as < 'a'"):
        parse_filter([("x", "<", "a")], Names(["x"])).mask(pd.DataFrame({"x": [1]}))
    with pytest.raises(tv.InvalidFilter, match="list, tuple or set"):
        parse_filter([("x", "in", "abc")], Names(["x"]))
