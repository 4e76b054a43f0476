"""Frames come back exactly: generated frames through encode, an Arrow file, and decode; the oracle is the frame itself."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import pathlib
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from generated import (
    check,
    expected,
    frames,
    json_cells,
    object_series,
    same_cell,
    series,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd.errors import InvalidInput, UnsupportedColumn
from tablevault_pd.frames import (
    align,
    columns,
    decode,
    encode,
    encode_arrow,
    encode_row,
    field_for,
    index_fields,
    matrix,
    merge,
    same,
    select,
    to_arrow,
)

quick = settings(max_examples=times(40), suppress_health_check=list(HealthCheck))


# ---------------------------------------------------------------- helpers


def through_file(table: pa.Table) -> pa.Table:
    """What a store gives back: one record batch, also of a table without rows, read from an Arrow file."""
    batches = table.unify_dictionaries().combine_chunks().to_batches()
    if not batches:
        columns = [c.chunk(0) if c.num_chunks else pa.array([], c.type) for c in table.columns]
        batches = [pa.RecordBatch.from_arrays(columns, schema=table.schema)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_batch(batches[0])
    return pa.ipc.open_file(sink.getvalue()).read_all()


def round_trip(df: pd.DataFrame, cut: int = 1) -> pa.Table:
    before = df.copy(deep=True)
    table = encode(df)
    stored = through_file(table)
    assert same(stored, table)
    whole = decode([stored], table.schema, positions=range(len(df)))
    check(whole, expected(df))
    cut = min(cut, len(df))
    pieces = [stored.slice(0, cut), stored.slice(cut)]
    check(decode(pieces, table.schema, positions=range(len(df)), private=True), expected(df), freq=False)
    assert same(encode(whole.set_axis(df.index)), table)
    assert same(encode(before), table)
    return table


# ---------------------------------------------------------------- tests


@quick
@given(frames(), st.integers(0, 6))
def test_frames_come_back_exactly(df: pd.DataFrame, cut: int) -> None:
    round_trip(df, cut)


@settings(max_examples=times(80), suppress_health_check=list(HealthCheck))
@given(series, st.integers(0, 6))
def test_columns_come_back_exactly(values: pd.Series, cut: int) -> None:
    round_trip(values.to_frame("x"), cut)


@settings(max_examples=times(60), suppress_health_check=list(HealthCheck))
@given(json_cells)
def test_any_cell_comes_back_with_its_type(cell: object) -> None:
    round_trip(pd.DataFrame({"x": object_series([cell, "other", 1])}))


simple_values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=True),
    st.text(),
    st.just("\ud800"),
    st.just(2**63),
)
other_values = st.one_of(
    st.none(), st.just(np.float64(0.5)), st.just(pd.NA), st.just([0.5, 1.0]), st.just(b"x")
)


@given(
    st.dictionaries(
        st.one_of(st.text(max_size=4), st.integers(0, 3)), simple_values | other_values, max_size=4
    )
)
def test_a_row_is_encoded_as_the_frame_of_it(row: dict) -> None:
    table = encode_row(row)
    try:
        expected = encode(pd.DataFrame([row]))
    except (UnsupportedColumn, UnicodeEncodeError):  # the latter is pandas', which takes no lone surrogates
        assert table is None
        return
    if table is None:
        plain = all(type(value) in (bool, int, float, str) for value in row.values())
        assert not row or not plain or 2**63 in row.values() or not all(type(label) is str for label in row)
    else:
        assert table.equals(expected, check_metadata=True) or any(value != value for value in row.values())
        assert table.schema.equals(expected.schema, check_metadata=True)
        assert same(table, expected)


def test_a_row_of_plain_values_needs_no_frame() -> None:
    assert encode_row({"step": 1, "loss": 0.5, "best": True, "note": "slow"}) is not None


def test_nan_and_na_stay_apart() -> None:
    values = pd.arrays.FloatingArray(np.array([np.nan, 1.0, 2.0]), np.array([False, True, False]))
    table = encode(pd.DataFrame({"x": values}))
    assert table["x"].null_count == 1
    assert math.isnan(table["x"][0].as_py())


def test_rows_without_columns_are_counted() -> None:
    table = round_trip(pd.DataFrame(index=range(5)))
    assert (table.num_rows, columns(table.schema)) == (5, [])


WRITABLE = [
    np.arange(3),
    np.ones(3, "f4"),
    np.array([True, False, True]),
    pd.to_datetime(["2020", "2021", None]),
    pd.to_timedelta([1, 2, None]),
    pd.to_datetime(["2020", "2021", None]).tz_localize("UTC"),
    pd.array([1, 2, None], dtype="Int64"),
    pd.array([0.5, 2, None], dtype="Float32"),
    pd.array([True, False, None], dtype="boolean"),
    pd.Series([1, "a", None], dtype=object),
    pd.Series([b"x", b"y", None], dtype=object),
    pd.Series(["a", "b", None]),
    pd.array(["a", "b", None], dtype="string[python]"),
    pd.Categorical(["a", "b", None]),
    pd.Categorical(["a", "b", None], ordered=True),
    pd.Categorical(pd.interval_range(0, 3)),
    pd.array(["2020", "2021", None], dtype="period[Y]"),
    pd.interval_range(0, 3),
    pd.arrays.IntervalArray.from_tuples([(0.5, 1.5), (1.5, 2.0), None]),
    pd.interval_range(pd.Timestamp("2020", tz="UTC"), periods=3),
    pd.array([1, 2, None], dtype=pd.ArrowDtype(pa.int16())),
    pd.array(["a", "b", None], dtype=pd.ArrowDtype(pa.string())),
]


@pytest.mark.parametrize("values", WRITABLE, ids=lambda v: str(v.dtype))
@pytest.mark.parametrize("private", [False, True])
def test_decoded_frames_are_writable_and_apart(values: object, private: bool) -> None:
    df = pd.DataFrame({"x": values, "y": values})
    table = encode(df)
    data = through_file(table)
    first, second = (
        decode([through_file(table) if private else data], table.schema, positions=range(3), private=private)
        for _ in "ab"
    )
    wanted = second.copy(deep=True)
    first.iloc[0, 0] = first.iloc[1, 0]
    first.loc[2, "y"] = first.loc[0, "y"]
    assert first.iloc[0, 0] == wanted.iloc[1, 0]
    assert first.iloc[2, 1] == wanted.iloc[0, 1]
    pd.testing.assert_frame_equal(second, wanted)
    assert same(data, table)


@pytest.mark.parametrize("private", [False, True])
def test_decoded_vectors_are_writable_and_apart(private: bool) -> None:
    table = encode(pd.DataFrame({"v": object_series([np.ones(2), np.zeros(2), None])}))
    data = through_file(table)
    back = decode([data if private else table], table.schema, positions=range(3), private=private)["v"]
    back[0][:] = 7
    assert back[1].tolist() == [0, 0]
    assert table["v"].to_pylist() == [[1, 1], [0, 0], None]
    back[1] = back[0]
    assert back[1].tolist() == [7, 7]


# ---------------------------------------------------------------- memory


def address(values: object) -> int:
    return np.asarray(values).__array_interface__["data"][0]


def stored_at(table: pa.Table, column: str = "x") -> int:
    array = table[column].chunk(0)
    return (array.values if pa.types.is_fixed_size_list(array.type) else array).buffers()[-1].address


MOMENTS = np.arange(100).astype("M8[us]")
SHARED = [
    np.arange(100),
    np.arange(100) / 3,
    MOMENTS,
    MOMENTS.view("m8[us]"),
    pd.DatetimeIndex(MOMENTS).tz_localize("Europe/Berlin"),
]


@pytest.mark.parametrize("values", SHARED, ids=lambda v: str(v.dtype))
def test_numbers_and_times_are_shared_both_ways(values: object) -> None:
    column = pd.Series(values)
    table = encode(column.to_frame("x"))
    assert stored_at(table) == address(bare(column))
    data = through_file(table)
    back = decode([data], table.schema, positions=range(100), private=True)["x"]
    assert address(bare(back)) == stored_at(data)
    back = decode([data], table.schema, positions=range(100))["x"]
    assert address(bare(back)) != stored_at(data)


def bare(column: pd.Series) -> np.ndarray:
    return np.asarray(column.array.tz_convert(None)) if hasattr(column.dtype, "tz") else column.to_numpy()


def test_text_is_shared_both_ways() -> None:
    column = pd.Series(["a", "bc", None] * 9, dtype=pd.StringDtype("pyarrow"))
    memory = column.array.__arrow_array__()
    memory = memory.chunk(0) if isinstance(memory, pa.ChunkedArray) else memory
    table = encode(column.to_frame("x"))
    assert stored_at(table) == memory.buffers()[-1].address
    data = through_file(table)
    back = decode([data], table.schema, positions=range(27))["x"].array.__arrow_array__()
    back = back.chunk(0) if isinstance(back, pa.ChunkedArray) else back
    assert back.buffers()[-1].address == stored_at(data)


def test_vectors_of_one_matrix_are_shared_both_ways() -> None:
    rows = np.arange(300, dtype="f4").reshape(100, 3)
    df = pd.DataFrame({"x": object_series(list(rows))})
    table = encode(df)
    assert stored_at(table) == address(rows)
    assert stored_at(encode(df.iloc[10:20])) == address(rows[10])
    data = through_file(table)
    back = decode([data], table.schema, positions=range(100), private=True)
    assert address(back["x"][7]) == stored_at(data) + 7 * 12
    assert stored_at(encode(back)) == stored_at(data)
    assert address(matrix([data], "x")) == stored_at(data)


BLOCK = np.arange(24.0).reshape(6, 4)
MISLEADING = {
    "other order": [BLOCK[2], BLOCK[1], BLOCK[3]],
    "twice": [BLOCK[0], BLOCK[0], BLOCK[2]],
    "swapped inside": [BLOCK[0], BLOCK[2], BLOCK[1], BLOCK[3]],
    "backwards": [row[::-1] for row in BLOCK],
    "columns": list(BLOCK.T),
    "overlapping": [BLOCK.reshape(-1)[at : at + 2] for at in range(5)],
    "a stranger between": [BLOCK[0], np.full(4, -1.0), BLOCK[2]],
    "another base": [BLOCK[0], BLOCK.copy()[1], BLOCK[2]],
    "shorter rows": [row[:3] for row in BLOCK],
    "another dtype": [BLOCK[0], BLOCK.view("f4").reshape(12, 4)[2], BLOCK[1]],
    "one": [BLOCK[5]],
    "a gap": [BLOCK[0], None, BLOCK[2]],
    "read only": list(np.broadcast_to(BLOCK[1], (3, 4))),
    "part of a row": [BLOCK.reshape(3, 8)[0, 2:6], BLOCK.reshape(3, 8)[1, 2:6]],
    "swapped bytes": list(BLOCK.astype(">f8")),
    "from bytes": list(np.frombuffer(BLOCK.tobytes()).reshape(6, 4)),
}


@pytest.mark.parametrize("name", MISLEADING)
def test_vectors_keep_their_numbers_wherever_they_lie(name: str) -> None:
    cells = MISLEADING[name]
    wanted = [None if cell is None else cell.tolist() for cell in cells]
    table = encode(pd.DataFrame({"x": object_series(cells)}))
    assert table["x"].to_pylist() == wanted
    assert columns(table.schema)[0].kind == "embedding"


def test_memory_outlives_the_table() -> None:
    table = through_file(encode(pd.DataFrame({"x": np.arange(10_000)})))
    frame = decode([table], table.schema, positions=range(10_000), private=True)
    del table
    assert frame["x"].sum() == 49_995_000


class Colour(enum.StrEnum):
    RED = "red"


def test_all_bad_columns_are_named_with_row_and_type() -> None:
    df = pd.DataFrame(
        {
            "fine": [1, 2],
            "things": object_series(["a", object()]),
            "enum": object_series([Colour.RED, "a"]),
            "z": [1j, 2j],
            "sparse": pd.arrays.SparseArray([1, 0]),
            "half": object_series(["a", "\ud800"]),
            "lists": object_series([[1], [{2: object()}]]),
        }
    )
    with pytest.raises(UnsupportedColumn) as caught:
        encode(df)
    message = str(caught.value)
    for part in (
        "'things', row 1",
        "builtins.object",
        "'enum', row 0",
        "Colour",
        "complex128",
        "Sparse",
        "'half', row 1",
        "'lists', row 1",
    ):
        assert part in message
    assert "'fine'" not in message


def test_duplicate_labels_are_all_named() -> None:
    with pytest.raises(InvalidInput, match=r"'a', 7"):
        encode(pd.DataFrame([[1] * 5], columns=["a", "a", 7, 7, "b"]))


def test_self_containing_cell_is_refused() -> None:
    loop: list = []
    loop.append(loop)
    with pytest.raises(UnsupportedColumn, match="row 0"):
        encode(pd.DataFrame({"x": object_series([loop])}))


# ---------------------------------------------------------------- categories

CATEGORIES = [
    pd.Index(["b", "a", "c"]),
    pd.Index([3, 1, 2], dtype="int16"),
    pd.Index([0.5, -0.0, math.inf]),
    pd.Index([True, False]),
    pd.date_range("2020", periods=3, freq="D"),
    pd.date_range("2020", periods=3, tz="Asia/Tokyo").as_unit("ms"),
    pd.timedelta_range("1h", periods=3),
    pd.period_range("2020", periods=3, freq="M"),
    pd.interval_range(0, 3),
    pd.interval_range(pd.Timestamp("2020"), periods=3),
    pd.Index([decimal.Decimal("1.5"), decimal.Decimal("2.5")], dtype=object),
    pd.Index([b"x", b"y"], dtype=object),
    pd.Index([("a", 1), ("b", 2)], dtype=object, tupleize_cols=False),
    pd.Index([1, "a", 2.5], dtype=object),
    pd.Index([1, 2], dtype="Int64"),
    pd.Index(["x", "y"], dtype=pd.ArrowDtype(pa.string())),
    pd.Index([], dtype=object),
    pd.Index([], dtype="int64"),
]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("categories", CATEGORIES, ids=lambda c: f"{c.dtype}-{len(c)}")
def test_categories_of_any_dtype_come_back_in_every_slice(categories: pd.Index, ordered: bool) -> None:
    codes = [-1, 0, -1, 1] if len(categories) else [-1] * 4
    df = pd.DataFrame({"x": pd.Categorical.from_codes(codes, categories=categories, ordered=ordered)})
    table = encode(df)
    stored = through_file(table)
    for first, last in [(0, 4), (0, 0), (2, 4), (2, 3), (4, 4)]:
        part = decode([stored.slice(first, last - first)], table.schema, positions=range(first, last))
        pd.testing.assert_index_equal(part["x"].cat.categories, categories, exact=True)
        check(part.set_axis(range(last - first)), df[first:last].set_axis(range(last - first)))
    nothing = through_file(encode(df[:0]))
    check(decode([nothing], table.schema, positions=range(0)), expected(df[:0]))
    assert same(nothing, encode(df[:0]))
    chosen = stored.take(pa.array([], pa.int64()))
    pd.testing.assert_index_equal(
        decode([chosen], table.schema, positions=range(0))["x"].cat.categories, categories, exact=True
    )


def test_categories_do_not_weigh_on_the_schema() -> None:
    many = encode(pd.DataFrame({"x": pd.Categorical([f"word {i}" for i in range(10_000)])}))
    few = encode(pd.DataFrame({"x": pd.Categorical(["b", "a"])}))
    assert many.schema.equals(few.schema, check_metadata=True)
    assert many.schema.serialize().size < 1000


def test_same_sees_categories() -> None:
    def table(*categories: str) -> pa.Table:
        return encode(pd.DataFrame({"x": pd.Categorical(["a"], categories=categories)}))

    assert same(table("a", "b"), table("a", "b"))
    assert not same(table("a", "b"), table("a"))
    assert not same(table("a", "b"), table("b", "a"))


@pytest.mark.parametrize(("a", "b", "dtype"), [(0.0, -0.0, float), (1, True, object), (2, 2.0, object)])
def test_categories_that_pandas_takes_for_one_are_one(a: object, b: object, dtype: type) -> None:
    frames = [
        pd.DataFrame({"x": pd.Categorical.from_codes([0, 1, -1], pd.Index(pair, dtype=dtype))})
        for pair in ((a, "x" if dtype is object else 5), ((7, "y") if dtype is object else 7, b))
    ]
    tables = list(map(encode, frames))
    schema = merge(tables[0].schema, tables[1].schema).schema
    back = decode([align(table, schema) for table in tables], schema, positions=range(6))["x"]
    assert back.cat.codes.tolist() == [0, 1, -1, 2, 0, -1]
    cells = back.cat.categories.tolist()
    assert same_cell(cells[0], a)
    assert cells[2] == frames[1]["x"].cat.categories[0]


def test_categorical_labels_and_paths_keep_their_categories() -> None:
    names = pd.CategoricalIndex(["b", "a"], categories=["c", "b", "a"], name="n")
    round_trip(pd.DataFrame([[1, 2]], columns=names))
    paths = pd.Series(pd.Categorical(["b/x", None], categories=["z", "b/x"]))
    table = encode(pd.DataFrame({"f": paths}), prepared={"f": file_rows(["b/x", None])})
    check(decode([table], table.schema, positions=range(2)), expected(paths.to_frame("f")))


# ---------------------------------------------------------------- frequencies

FREQS = [
    "D",
    "15min",
    "2W-WED",
    "ME",
    "QS-FEB",
    "YE-MAR",
    pd.DateOffset(months=1),
    pd.DateOffset(n=2, days=1, hours=3),
    pd.offsets.BusinessHour(start="10:00", end="15:30"),
    pd.offsets.CustomBusinessHour(start="10:00"),
    pd.offsets.CDay(holidays=["2020-01-02", "2020-01-06"], weekmask="Mon Wed Fri"),
    pd.offsets.CBMonthEnd(holidays=["2020-01-31"]),
    pd.offsets.Easter(),
    pd.offsets.MonthEnd(normalize=True),
    pd.offsets.Week(weekday=None),
    pd.offsets.FY5253(weekday=1, startingMonth=3),
]


@pytest.mark.parametrize("freq", FREQS, ids=str)
def test_frequencies_come_back_also_in_pieces(freq: object) -> None:
    index = pd.date_range("2020-01-01", periods=6, freq=freq)
    df = pd.DataFrame({"a": range(len(index))}, index=index)
    stored = through_file(encode(df))
    pieces = [stored.slice(0, 1), stored.slice(1, 2), stored.slice(3)]
    for tables in ([stored], pieces):
        back = decode(tables, stored.schema, positions=range(len(df)), private=True)
        assert type(back.index.freq) is type(index.freq)
        check(back, df)
    check(decode(pieces[1:2], stored.schema, positions=range(1, 3)), df[1:3])
    broken = decode([pieces[0], pieces[2]], stored.schema, positions=range(len(df) - 2))
    assert broken.index.freq is None
    assert broken.index.tolist() == [*index[:1], *index[3:]]


class Odd(pd.offsets.BDay):
    pass


@pytest.mark.parametrize(
    "freq", [Odd(3), pd.offsets.BDay(2, offset=dt.timedelta(hours=1))], ids=["own", "shifted"]
)
def test_a_frequency_that_cannot_be_rebuilt_is_refused(freq: pd.offsets.BaseOffset) -> None:
    index = pd.date_range("2020-01-01", periods=6, freq=freq)
    with pytest.raises(UnsupportedColumn, match=r"index.*frequency.*freq = None"):
        encode(pd.DataFrame({"a": range(len(index))}, index=index))


@pytest.mark.parametrize("axis", ["columns", "index"])
def test_a_name_that_cannot_be_stored_is_refused(axis: str) -> None:
    df = pd.DataFrame({"a": [1]})
    setattr(df, axis, getattr(df, axis).rename(object()))
    with pytest.raises(UnsupportedColumn, match=r"(column labels|index).*builtins\.object"):
        encode(df)


# ---------------------------------------------------------------- vectors


def kinds(df: pd.DataFrame, **options: object) -> list[tuple]:
    return [(c.label, c.kind, c.dim) for c in columns(encode(df, **options).schema)]


def test_vectors_are_found_and_kept() -> None:
    df = pd.DataFrame({"v": object_series([[0.5, 1], None, (2.0, math.nan)])})
    table = through_file(encode(df))
    assert table.schema.field("v").type == pa.list_(pa.float64(), 2)
    back = decode([table], table.schema, positions=range(3))["v"]
    assert back[1] is None
    np.testing.assert_array_equal(back[0], [0.5, 1.0])
    np.testing.assert_array_equal(back[2], [2.0, math.nan])
    np.testing.assert_array_equal(
        matrix([table.slice(1), table.slice(0, 1)], "v"), [[math.nan] * 2, [2, math.nan], [0.5, 1]]
    )


@pytest.mark.parametrize(
    "cells",
    [
        [[1, 2], [3, 4]],
        [[1.0, True], [2.0, 3.0]],
        [[1.0], [1.0, 2.0]],
        [[], []],
        [[1.0, None], [1.0, 2.0]],
        [[0.5, 2**60 + 1], [1.0, 2]],
    ],
)
def test_what_is_no_vector_stays_as_it_is(cells: list) -> None:
    df = pd.DataFrame({"v": object_series(cells)})
    assert kinds(df) == [("v", "record", None)]
    round_trip(df)


def test_wishes_for_embeddings() -> None:
    df = pd.DataFrame({"i": object_series([[1, 2], [3, 4]]), "f": object_series([np.ones(3), np.ones(3)])})
    assert kinds(df) == [("i", "record", None), ("f", "embedding", 3)]
    assert kinds(df, embeddings="i") == [("i", "embedding", 2), ("f", "embedding", 3)]
    assert kinds(df, embeddings=False) == [("i", "record", None), ("f", "record", None)]
    assert kinds(df, embeddings={"f": False}) == [("i", "record", None), ("f", "record", None)]
    assert encode(df, embeddings={"f": "float32"}).schema.field("f").type == pa.list_(pa.float32(), 3)
    with pytest.raises(InvalidInput, match="'nope'"):
        encode(df, embeddings="nope")
    with pytest.raises(InvalidInput, match="float16"):
        encode(df, embeddings={"f": "int8"})


@pytest.mark.parametrize(
    ("cells", "row"),
    [([[1.0], [1.0, 2.0]], 1), ([[1.0], "text"], 1), ([[1.0], ["a"]], 1), ([[], [1.0]], 0), ([1, 2], 0)],
)
def test_named_column_without_vectors_is_refused_by_row(cells: list, row: int) -> None:
    with pytest.raises(UnsupportedColumn, match=f"'v', row {row}"):
        encode(pd.DataFrame({"v": object_series(cells)}), embeddings="v")


def test_two_missing_markers_in_vectors_are_refused() -> None:
    with pytest.raises(UnsupportedColumn, match="rows 1 and 2"):
        encode(pd.DataFrame({"v": object_series([[1.0], None, math.nan])}))


def test_too_large_for_the_width_asked() -> None:
    with pytest.raises(UnsupportedColumn, match="row 1"):
        encode(pd.DataFrame({"v": object_series([[1.0], [1e300]])}), embeddings={"v": "float32"})


def test_arrow_vectors_keep_their_dtype() -> None:
    for kind in (pa.list_(pa.float32(), 2), pa.list_(pa.float64()), pa.large_list(pa.float64())):
        array = pa.array([[1, 2], None, [3, math.nan]], kind)
        df = pd.DataFrame({"v": pd.ArrowDtype(kind).__from_arrow__(pa.chunked_array([array]))})
        table = round_trip(df)
        assert [(c.kind, c.dim) for c in columns(table.schema)] == [("embedding", 2)]
        np.testing.assert_array_equal(matrix([table], "v"), [[1, 2], [math.nan] * 2, [3, math.nan]])


# ---------------------------------------------------------------- documents and files


def test_documents() -> None:
    df = pd.DataFrame(
        {"t": ["a", None], "o": object_series(["x", None]), "n": [1, 2], "c": pd.Categorical(["a", "b"])}
    )
    assert kinds(df, documents=["t", "o", "c"])[:2] == [("t", "document", None), ("o", "document", None)]
    with pytest.raises(UnsupportedColumn, match="'n'"):
        encode(df, documents="n")
    with pytest.raises(InvalidInput, match="'q'"):
        encode(df, documents="q")


def file_rows(paths: list[str | None]) -> pa.Array:
    now = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    cells = [
        None
        if p is None
        else {"path": p, "size_bytes": 1, "modified": now, "sha256": "0" * 64, "stored": True, "folder": None}
        for p in paths
    ]
    fields = {
        "path": pa.string(),
        "size_bytes": pa.int64(),
        "modified": pa.timestamp("us", "UTC"),
        "sha256": pa.string(),
        "stored": pa.bool_(),
        "folder": pa.string(),
    }
    return pa.array(cells, pa.struct(list(fields.items())))


@pytest.mark.parametrize(
    "cells",
    [object_series(["a/b", None]), pd.Series(["a/b", None]), object_series([pathlib.Path("a/b"), None])],
)
def test_files_give_the_paths_back(cells: pd.Series) -> None:
    table = through_file(encode(pd.DataFrame({"f": cells}), prepared={"f": file_rows(["a/b", None])}))
    assert [c.kind for c in columns(table.schema)] == ["file"]
    check(decode([table], table.schema, positions=range(2)), expected(cells.to_frame("f")))


# ---------------------------------------------------------------- schemas


def test_select_keeps_the_index_and_the_order_asked_for() -> None:
    df = pd.DataFrame({"a": [1], "b": [2], "c": [3]}, index=pd.Index(["k"], name="key"))
    table = encode(df)
    part = select(table.schema, ["c", "a"])
    assert index_fields(part) == ["key"]
    pd.testing.assert_frame_equal(decode([table], part, positions=range(1)), df[["c", "a"]])
    with pytest.raises(InvalidInput, match="'a'"):
        select(table.schema, ["aa"])


def test_select_of_nothing_keeps_the_rows() -> None:
    table = encode(pd.DataFrame({"a": [1, 2]}))
    assert decode([], select(table.schema, []), positions=range(2)).shape == (2, 0)


def test_labels_of_any_type_are_found() -> None:
    df = pd.DataFrame([[1, 2, 3]], columns=pd.Index([1, "1", ("a", 2)], dtype=object, tupleize_cols=False))
    table = encode(df)
    assert [table[field_for(table.schema, label)][0].as_py() for label in df.columns] == [1, 2, 3]
    assert table.schema.names == ["1_2", "1", "('a', 2)"]


def test_positions_of_chosen_rows() -> None:
    table = encode(pd.DataFrame({"a": [1, 2]}))
    back = decode([table], table.schema, positions=np.array([7, 3]))
    pd.testing.assert_index_equal(back.index, pd.Index([7, 3], name="position"))


def test_missing_times_hold_nat_under_their_nulls() -> None:
    table = encode(pd.DataFrame({"t": pd.to_datetime(["2020", None])}))
    assert table["t"].null_count == 1
    raw = np.frombuffer(table["t"].chunk(0).buffers()[1], "i8")
    assert raw[1] == np.iinfo("i8").min
    other = table.filter(pa.array([True, True])).take(pa.array([1, 0]))
    assert pd.isna(decode([other], table.schema, positions=range(2)).iloc[0, 0])


# ---------------------------------------------------------------- same


def test_same_is_bit_for_bit() -> None:
    def table(value: object, **options: object) -> pa.Table:
        return encode(pd.DataFrame({"x": value}, **options))

    assert same(table([math.nan]), table([math.nan]))
    assert not same(table([0.0]), table([-0.0]))
    assert not same(table([1]), table([1.0]))
    assert not same(table([1]), table([1], index=["a"]))
    assert not same(table([1, 2]), table([1, 3]))
    vectors = [table(object_series([np.array([math.nan, zero])])) for zero in (0.0, 0.0, -0.0)]
    assert same(vectors[0], vectors[1])
    assert not same(vectors[0], vectors[2])
    whole = table([1.0, math.nan, 3.0])
    assert same(pa.concat_tables([whole.slice(0, 1), whole.slice(1)]), whole)


# ---------------------------------------------------------------- Arrow


def test_arrow_data_gets_pandas_dtypes() -> None:
    now = dt.datetime(2024, 1, 1)
    table = pa.table(
        {
            "i": pa.array([1, 2], pa.int32()),
            "n": pa.array([2**60 + 1, None]),
            "u": pa.array([1, None], pa.uint8()),
            "f": pa.array([1.5, None]),
            "b": pa.array([True, None]),
            "s": pa.array(["a", None]),
            "view": pa.array(["a", None], pa.string_view()),
            "t": pa.array([now, None], pa.timestamp("ms")),
            "z": pa.array([now, None], pa.timestamp("us", "Europe/Berlin")),
            "d": pa.array([dt.timedelta(1), None], pa.duration("s")),
            "c": pa.array(["x", None]).dictionary_encode(),
            "v": pa.array([[1.0, 2.0], None]),
            "l": pa.array([[1], None]),
        }
    )
    encoded = through_file(encode_arrow(table))
    back = decode([encoded], encoded.schema, positions=range(2))
    text = str(pd.Series(["a"]).dtype)
    assert list(map(str, back.dtypes)) == [
        "int32", "Int64", "UInt8", "Float64", "boolean", text, text, "datetime64[ms]", "datetime64[us, Europe/Berlin]",
        "timedelta64[s]", "category", "object", "list<item: int64>[pyarrow]",
    ]  # fmt: skip
    assert back["n"].tolist() == [2**60 + 1, pd.NA]
    assert back["c"].tolist()[0] == "x"
    assert back["v"].tolist()[1] is None
    assert pd.isna(back["t"][1])
    assert pd.isna(back["z"][1])
    assert pd.isna(back["d"][1])
    assert [c.kind for c in columns(encoded.schema)][-2:] == ["embedding", "record"]


def test_to_arrow_is_plain() -> None:
    df = pd.DataFrame({"a": [1], 2: [uuid.UUID(int=1)]}, index=pd.Index(["k"], name="a"))
    out = to_arrow(encode(df))
    assert out.column_names == ["a_2", "a", "2"]
    assert out.schema.metadata is None
    assert all(field.metadata is None for field in out.schema)


def test_integer_names_do_not_hide_the_levels() -> None:
    names = [1, 0]
    rows = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=names)
    round_trip(pd.DataFrame([[1, 2], [3, 4]], index=rows, columns=rows))


def test_arrow_labels_keep_their_dtype() -> None:
    names = pd.Index([5, 7], dtype="int64[pyarrow]")
    table = encode(pd.DataFrame([[1, 2]], columns=names))
    pd.testing.assert_index_equal(decode([table], table.schema, positions=range(1)).columns, names)
