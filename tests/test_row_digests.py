"""Which rows are equal, and which keys are: cell by cell as Python compares them, against what is computed from Arrow."""

from __future__ import annotations

from collections import defaultdict

import generated
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd import frames
from tablevault_pd.errors import DuplicateKey, InvalidInput
from tablevault_pd.keys.digests import distinct, doubled, key_digests, matches
from tablevault_pd.keys.key import checked_digests, find_key

WORDS = st.sampled_from(["", "a", "b", "ab", "é", "storm"])
TIMES = st.sampled_from([pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-01 00:00:00.000001")])
#: Of each kind of key column a dtype, and cells of which some are equal.
KINDS = {
    "int64": st.integers(-2, 2) | st.sampled_from([2**62, -(2**62)]),
    "int8": st.integers(-2, 2),
    "uint64": st.sampled_from([0, 1, 2**63, 2**64 - 1]),
    "Int64": st.integers(-2, 2),
    "float64": st.sampled_from([0.0, -0.0, 1.0, 1e-300, float("inf"), 2.0**53]),
    "float32": st.sampled_from([0.0, -0.0, 1.5]),
    "bool": st.booleans(),
    "str": WORDS,
    "category": WORDS,
    "object": st.integers(0, 2) | WORDS | st.booleans(),
    "datetime64[us]": TIMES,
    "datetime64[ns, UTC]": TIMES.map(lambda time: time.tz_localize("UTC")),
    "timedelta64[s]": st.sampled_from([pd.Timedelta(0), pd.Timedelta(seconds=1)]),
}


@settings(max_examples=times(40))
@given(generated.frames(), st.data())
def test_rows_are_equal_where_all_their_cells_are(frame, data):
    if not len(frame):
        return
    rows = st.lists(st.integers(0, len(frame) - 1), min_size=1, max_size=6)
    ours = np.array(data.draw(rows))
    theirs = np.array(data.draw(st.permutations(ours.tolist())))
    table = frames.encode(frame)
    columns = [frame.iloc[:, number] for number in range(frame.shape[1])]
    if frames.index_fields(table.schema):
        columns += [frame.index.get_level_values(level).to_series() for level in range(frame.index.nlevels)]
    cells = list(map(_cells, columns))
    expected = [
        all(generated.same_cell(column[a], column[b]) for column in cells)
        for a, b in zip(ours, theirs, strict=True)
    ]
    found = frames.equal_rows(table.take(pa.array(ours)), table.take(pa.array(theirs)))
    assert found.tolist() == expected


def _cells(column: pd.Series) -> list:
    if isinstance(column.dtype, pd.ArrowDtype):
        return column.array.__arrow_array__().to_pylist()
    return list(column)


@st.composite
def keys(draw: st.DrawFn) -> pd.DataFrame:
    """Columns of any kinds of keys, with many equal rows."""
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3))
    size = draw(st.integers(0, 12))
    return pd.DataFrame(
        {
            f"k{number}": pd.Series(
                draw(st.lists(KINDS[kind], min_size=size, max_size=size)),
                dtype=object if kind == "object" else kind,
            )
            for number, kind in enumerate(kinds)
        }
    )


def _identity(cell: object) -> tuple[str, object]:
    """What equal cells of one column share: True is not 1, in a column of objects."""
    return ("bool" if isinstance(cell, bool | np.bool_) else "", cell)


def _tuples(frame: pd.DataFrame) -> list[tuple]:
    return [tuple(map(_identity, row)) for row in frame.itertuples(index=False)]


@settings(max_examples=times(60))
@given(keys(), st.data())
def test_digests_are_equal_where_keys_are(frame, data):
    table = frames.encode(frame)
    digests = key_digests(table.columns)
    pairs = list(map(tuple, digests.T.tolist()))
    tuples = _tuples(frame)
    assert len(set(pairs)) == len(set(tuples)) == len(set(zip(pairs, tuples, strict=True)))
    assert distinct(digests).shape[1] == len(set(tuples))

    by_key = defaultdict(list)
    for row, key in enumerate(tuples):
        by_key[key].append(row)
    twice = doubled(digests).tolist()
    assert sorted(twice) == sorted(row for rows in by_key.values() if len(rows) > 1 for row in rows)

    wanted = np.array(
        data.draw(st.lists(st.integers(0, max(len(frame) - 1, 0)), max_size=5 if len(frame) else 0)), int
    )
    rows, numbers = matches(digests, digests[:, wanted])
    expected = [(row, number) for number, key in enumerate(wanted) for row in by_key[tuples[key]]]
    assert sorted(zip(rows.tolist(), numbers.tolist(), strict=True)) == sorted(expected)


@pytest.mark.parametrize("one", sorted(KINDS))
@settings(max_examples=times(10))
@given(data=st.data())
def test_the_same_key_in_chunks_has_the_same_digest(one, data):
    cells = data.draw(st.lists(KINDS[one], min_size=1, max_size=8))
    table = frames.encode(pd.DataFrame({"k": pd.Series(cells, dtype=one)}))
    cut = data.draw(st.integers(0, len(cells)))
    chunks = pa.chunked_array(
        [*table.column(0).slice(0, cut).chunks, *table.column(0).slice(cut).chunks], table.column(0).type
    )
    assert (key_digests([chunks]) == key_digests(table.columns)).all()


def test_halves_that_collide_are_no_match():
    digests = np.array([[7, 7, 7, 5], [1, 2, 1, 1]], np.uint64)
    assert doubled(digests).tolist() == [0, 2]
    assert distinct(digests).shape[1] == 3
    rows, numbers = matches(digests, digests[:, [1, 0]])
    assert sorted(zip(rows.tolist(), numbers.tolist(), strict=True)) == [(0, 1), (1, 0), (2, 1)]


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        ([1, None], "Int64"),
        ([1.0, np.nan], "float64"),
        (["a", None], "str"),
        (["a", pd.NA], "string"),
        ([pd.Timestamp("2026"), pd.NaT], None),
        (["a", None], "category"),
        ([1.0, None], "category"),
        ([1, "a", np.nan, None, pd.NA][::-1], object),
        ([1, float("nan")], object),
        ([None, None], object),
    ],
)
def test_a_missing_key_is_refused_by_list_column_and_row(cells, dtype):
    table = frames.encode(pd.DataFrame({"id": pd.Series(cells, dtype=dtype)}))
    with pytest.raises(
        InvalidInput, match=r"'runs'.*'id', which is missing in \d of the rows; the first is row [01]"
    ):
        checked_digests(table, find_key(table.schema, ["id"], "runs"), "runs")


def test_a_doubled_key_is_refused_with_its_rows():
    frame = pd.DataFrame({"doc": [*"abcabdd"], "n": [0, 0, 0, 0, 1, 2, 2]})
    table = frames.encode(frame)
    with pytest.raises(
        DuplicateKey, match=r"'chunks'.*doc='a', n=0 \(rows 0, 3\); doc='d', n=2 \(rows 5, 6\)\. Nothing"
    ):
        checked_digests(table, find_key(table.schema, ["doc", "n"], "chunks"), "chunks")
    checked_digests(table.slice(0, 3), ["doc", "n"], "chunks")


@pytest.mark.parametrize(
    "column",
    [
        [[0.5, 1.0]],
        [{"a": 1, "b": 2}],
        pd.arrays.IntervalArray.from_tuples([(0, 1)]),
        pd.Categorical.from_codes([0], categories=pd.IntervalIndex.from_tuples([(0, 1)])),
        pd.Series([[1, 2]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    ],
    ids=["vectors", "dicts", "intervals", "categories of intervals", "lists"],
)
def test_what_has_no_order_by_value_is_no_key(column):
    schema = frames.encode(pd.DataFrame({"k": column})).schema
    if frames.spec_of(schema.field("k"))["codec"] == "json":
        assert find_key(schema, ["k"], "runs") == ["k"]  # compared as the text that it is stored as
    else:
        with pytest.raises(InvalidInput, match="'k' cannot be a key of the list 'runs'"):
            find_key(schema, ["k"], "runs")


def test_a_key_is_named_by_columns_or_levels_of_the_index():
    frame = pd.DataFrame({"a": [1], "b": [2]}).set_index("a")
    schema = frames.encode(frame).schema
    assert find_key(schema, ["b", "a"], "runs") == ["b", "a"]
    assert find_key(schema, None, "runs") == ["a"]
    with pytest.raises(InvalidInput, match=r"'runs'.*No column 'c'"):
        find_key(schema, ["c"], "runs")
    with pytest.raises(InvalidInput, match="'runs' has no key yet"):
        find_key(frames.encode(frame.reset_index()).schema, None, "runs")


def test_the_key_stays_with_the_schema():
    old = frames.with_key(frames.encode(pd.DataFrame({"id": [1], "x": [1]})).schema, ["id"])
    new = frames.encode(pd.DataFrame({"id": [1.5], "y": ["a"]})).schema
    assert frames.key_fields(frames.merge(old, new).schema) == ["id"]
    assert frames.key_fields(frames.merge(old, old).schema) == ["id"]
    assert frames.key_fields(frames.with_key(old, [])) == []
