"""Frames come back exactly: generated frames through encode, an Arrow file, and decode; the oracle is the frame itself."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import pathlib
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


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


def expected(df: pd.DataFrame) -> pd.DataFrame:
    index = df.index
    plain = isinstance(index, pd.RangeIndex) and index.name is None and index.start == 0 and index.step == 1
    named = (
        not isinstance(index, pd.MultiIndex)
        and index.name == "position"
        and index.dtype.kind in "iu"
        and isinstance(index.dtype, np.dtype)
    )
    return df.set_axis(pd.RangeIndex(len(df), name="position")) if plain or named else df


def same_cell(a: object, b: object) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same_cell(a[k], b[k]) for k in a)  # type: ignore[index]
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_cell, a, b))  # type: ignore[arg-type]
    if isinstance(a, np.ndarray):
        return (
            a.dtype == b.dtype
            and a.shape == b.shape
            and all(map(same_cell, a.ravel().tolist(), b.ravel().tolist()))
        )
    if isinstance(a, complex):
        return same_cell(a.real, b.real) and same_cell(a.imag, b.imag)  # type: ignore[attr-defined]
    if a is pd.NaT or (isinstance(a, np.datetime64) and np.isnat(a)):
        return a is b or bool(np.isnat(b))  # type: ignore[call-overload]
    if isinstance(a, float | np.floating):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, decimal.Decimal):
        return a.as_tuple() == b.as_tuple()
    if isinstance(a, dt.datetime | dt.time):
        return a == b and str(a.tzinfo) == str(b.tzinfo) and a.fold == b.fold
    return a is b or bool(a == b)


def check(back: pd.DataFrame, df: pd.DataFrame, *, freq: bool = True) -> None:
    pd.testing.assert_index_equal(back.columns, df.columns, exact=True)
    assert type(back.columns) is type(df.columns)
    assert all(type(a) is type(b) for a, b in zip(back.columns, df.columns, strict=True))
    pd.testing.assert_index_equal(back.index, df.index, exact=True)
    if freq:
        assert getattr(back.index, "freq", None) == getattr(df.index, "freq", None)
    assert back.dtypes.tolist() == df.dtypes.tolist()
    for at in range(df.shape[1]):
        check_column(back.iloc[:, at], df.iloc[:, at])


def check_column(back: pd.Series, column: pd.Series) -> None:
    if column.dtype == np.dtype("O"):  # pandas cannot compare every cell
        for a, b in zip(back, column, strict=True):
            if isinstance(a, np.ndarray) and isinstance(b, list | tuple):  # a vector column
                b = np.asarray(b, a.dtype)
            assert same_cell(a, b), (a, b)
        return
    pd.testing.assert_series_equal(
        back.reset_index(drop=True), column.reset_index(drop=True), check_exact=True, check_names=False
    )
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        assert np.array_equal(np.signbit(back), np.signbit(column))
    if isinstance(column.dtype, pd.CategoricalDtype):
        pd.testing.assert_index_equal(back.cat.categories, column.cat.categories, exact=True)
        assert getattr(back.cat.categories, "freq", None) == getattr(column.cat.categories, "freq", None)


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


# ---------------------------------------------------------------- strategies

texts = st.text(st.characters(codec="utf-8"), max_size=5)
N = st.shared(st.integers(0, 6), key="rows")


def rows(cells: st.SearchStrategy) -> st.SearchStrategy[list]:
    return N.flatmap(lambda n: st.lists(cells, min_size=n, max_size=n))


def arrays(dtype: object, cells: st.SearchStrategy) -> st.SearchStrategy:
    return rows(cells).map(lambda values: pd.Series(pd.array(values, dtype=dtype)))


def numpy_arrays(dtype: str) -> st.SearchStrategy:
    size = np.dtype(dtype).itemsize
    return N.flatmap(lambda n: st.binary(min_size=n * size, max_size=n * size)).map(
        lambda raw: pd.Series(np.frombuffer(raw, dtype=dtype).copy())
    )


def masked(name: str, cells: st.SearchStrategy) -> st.SearchStrategy:
    return arrays(name, st.none() | cells)


moments = st.integers(-(2**40), 2**40) | st.none()
ZONES = [
    "UTC",
    dt.UTC,
    zoneinfo.ZoneInfo("Europe/Berlin"),
    dt.timezone(dt.timedelta(hours=-5, minutes=-30)),
    dt.timezone(dt.timedelta(seconds=61), "odd"),
    "dateutil/America/New_York",
]


def times(kind: str, unit: str) -> st.SearchStrategy:
    return rows(moments).map(
        lambda v: pd.Series(
            np.array([np.iinfo("i8").min if x is None else x for x in v], "i8").view(f"{kind}[{unit}]")
        )
    )


zoned = st.sampled_from(["s", "ms", "us", "ns"]).flatmap(
    lambda unit: st.tuples(times("M8", unit), st.sampled_from(ZONES)).map(
        lambda p: p[0].dt.tz_localize("UTC").dt.tz_convert(p[1])
    )
)
categoricals = st.tuples(
    st.sampled_from(
        [
            pd.Index(["a", "b", "ü"]),
            pd.Index([3, 1, 2]),
            pd.Index([0.5, -0.5, 1.0]),
            pd.interval_range(0, 3),
            pd.date_range("2020", periods=3, tz="UTC"),
            pd.Index([1, "a", (2, 3)], dtype=object, tupleize_cols=False),
            pd.Index(["x", "y", "z"], dtype=object),
            pd.period_range("2020", periods=3, freq="D"),
        ]
    ),
    st.booleans(),
    rows(st.integers(-1, 2)),
).map(lambda t: pd.Series(pd.Categorical.from_codes(t[2], categories=t[0], ordered=t[1])))
intervals = st.sampled_from(
    [
        np.arange(7),
        np.arange(7) / 2,
        pd.date_range("2020", periods=7).as_unit("ns"),
        pd.date_range("2020", periods=7, tz="Asia/Tokyo"),
    ]
).flatmap(
    lambda ends: st.tuples(
        rows(st.integers(0, 5)), st.sampled_from(["left", "right", "both", "neither"])
    ).map(
        lambda t: pd.Series(
            pd.arrays.IntervalArray.from_arrays(ends[t[0]], ends[np.array(t[0], int) + 1], closed=t[1])
        )
    )
)
arrow_types = [
    (pa.int32(), st.integers(-5, 5)),
    (pa.string(), texts),
    (pa.binary(), st.binary(max_size=3)),
    (pa.list_(pa.int16()), st.lists(st.integers(-5, 5), max_size=3)),
    (
        pa.struct([("a", pa.float64()), ("b", pa.string())]),
        st.fixed_dictionaries({"a": st.floats(), "b": texts}),
    ),
    (pa.decimal128(10, 2), st.integers(-999, 999).map(lambda i: decimal.Decimal(i).scaleb(-2))),
    (pa.timestamp("ms", "UTC"), st.integers(0, 10**12)),
    (pa.list_(pa.float32(), 2), st.lists(st.floats(width=32), min_size=2, max_size=2)),
]
arrowed = st.sampled_from(arrow_types).flatmap(
    lambda p: rows(st.none() | p[1]).map(
        lambda v: pd.Series(pd.ArrowDtype(p[0]).__from_arrow__(pa.chunked_array([pa.array(v, p[0])])))
    )
)

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary(max_size=4)
    | st.decimals()
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.datetimes(timezones=st.sampled_from([zoneinfo.ZoneInfo("Europe/Paris"), dt.UTC]))
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers()
    | st.sampled_from(
        [
            pd.NA,
            pd.NaT,
            np.float32(1.5),
            np.int64(3),
            np.bool_(True),
            np.datetime64("2020-01-01T00", "h"),
            np.str_("a"),
            pd.Timestamp("2020-01-01 00:00:00.123456789", tz="Asia/Tokyo"),
            pd.Timestamp("0001-01-01").as_unit("s"),
            pd.Timedelta("1ns"),
            pd.Period("2020-02", "M"),
            pd.Interval(0, 1.5, closed="both"),
            frozenset({1, 2}),
        ]
    )
)
keys = (
    texts
    | st.sampled_from(["$", "$x", "v"])
    | st.integers()
    | st.booleans()
    | st.none()
    | st.tuples(texts, st.integers())
)
json_cells = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=3)
        | st.sampled_from(
            [
                np.arange(3),
                np.zeros((2, 0)),
                np.array(["a", "bc"]),
                np.array([1, None, "x"], object),
                np.array(1.5),
            ]
        )
    ),
    max_leaves=6,
)


def object_series(values: list) -> pd.Series:
    return pd.Series(np.fromiter(values, dtype=object, count=len(values)), dtype=object)


def of_one_type(cells: st.SearchStrategy) -> st.SearchStrategy:
    missing = st.sampled_from([None, float("nan"), pd.NA, pd.NaT])
    return missing.flatmap(lambda gone: rows(cells | st.just(gone)).map(object_series))


homogeneous = st.sampled_from(
    [
        texts,
        st.binary(max_size=4),
        st.booleans(),
        st.integers(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.dates(),
        st.times(),
        st.decimals(places=2, allow_nan=False, allow_infinity=False),
        st.uuids(),
    ]
).flatmap(of_one_type)
vectors = st.sampled_from(["f2", "f4", "f8"]).flatmap(
    lambda code: of_one_type(
        st.binary(min_size=3 * int(code[1]), max_size=3 * int(code[1])).map(
            lambda raw: np.frombuffer(raw, code).copy()
        )
    )
)
plain = [
    numpy_arrays(code)
    for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">i4", ">f8")
]
plain += [
    arrays("bool", st.booleans()),
    *(times(k, u) for k in ("M8", "m8") for u in ("s", "ms", "us", "ns")),
    zoned,
]
plain += [
    masked(n, st.integers(0, 127))
    for n in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
]
plain += [
    masked("Float32", st.floats(width=32, allow_nan=False)),
    masked("Float64", st.floats(allow_nan=False)),
]
plain += [masked("boolean", st.booleans())]
PANDAS_3 = pd.__version__ >= "3"
string_dtypes = [pd.StringDtype("python"), pd.StringDtype("pyarrow")]
if PANDAS_3:
    string_dtypes += [pd.StringDtype(storage, na_value=np.nan) for storage in ("python", "pyarrow")]
else:
    string_dtypes += [pd.StringDtype("pyarrow_numpy")]
plain += [arrays(dtype, st.none() | texts) for dtype in string_dtypes]
plain += [categoricals, intervals, arrowed]
plain += [arrays("period[M]", st.none() | st.just("2020-01")), arrays("period[W-SUN]", st.just("2020-01-06"))]
series = st.sampled_from([*plain, homogeneous, vectors, rows(json_cells).map(object_series)]).flatmap(
    lambda s: s
)

labels = (
    texts
    | st.integers(-5, 5)
    | st.floats(allow_nan=True)
    | st.tuples(texts, st.integers(0, 3))
    | st.none()
    | st.binary(max_size=2)
    | st.sampled_from([pd.Timestamp("2020"), dt.date(2020, 1, 1), True, "position", "index", "rows", "1"])
)
index_names = st.none() | texts | st.integers(0, 3) | st.just("position")


@st.composite
def indexes(draw: st.DrawFn) -> pd.Index:
    n = draw(N)
    name = draw(index_names)
    kind = draw(st.sampled_from(["default", "range", "date", "delta", "series", "multi"]))
    if kind == "default":
        return pd.RangeIndex(n)
    if kind == "range":
        start, step = draw(st.integers(-9, 9)), draw(st.sampled_from([-2, 1, 3]))
        return pd.RangeIndex(start, start + n * step, step, name=name)
    if kind == "date":
        freq = draw(st.sampled_from(["D", "h", "ME", "2W-MON", "B"]))
        return pd.date_range(
            "2020", periods=n, freq=freq, tz=draw(st.sampled_from([None, "Europe/Berlin"])), name=name
        )
    if kind == "delta":
        return pd.timedelta_range("1h", periods=n, freq="3min", name=name)
    if kind == "series":
        return one_level(draw(index_values), name)
    return pd.MultiIndex.from_arrays(
        [one_level(draw(index_values), None), draw(index_values)], names=[name, draw(index_names)]
    )


def one_level(values: pd.Series, name: object) -> pd.Index:
    return pd.Index(values.array, dtype=values.dtype, name=name, tupleize_cols=False)


index_values = (
    st.sampled_from(
        [p for p in plain[3:8] if p is not plain[8]]
        + plain[13:]
        + [of_one_type(texts), of_one_type(st.dates())]
    )
    .flatmap(lambda s: s)
    .filter(lambda s: s.dtype != np.float16 and not isinstance(s.dtype, pd.ArrowDtype))
)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    n = draw(N)
    parts = draw(st.lists(series, max_size=4))
    width = len(parts)
    kind = draw(st.sampled_from(["str", "any", "range", "multi", "date"]))
    if kind == "range":
        names = pd.RangeIndex(3, 3 + 2 * width, 2, name=draw(index_names))
    elif kind == "date":
        names = pd.date_range("2020", periods=width, name=draw(index_names))
    elif kind == "multi" and width:
        tuples = draw(
            st.lists(st.tuples(texts, st.integers(0, 9)), min_size=width, max_size=width, unique=True)
        )
        names = pd.MultiIndex.from_tuples(tuples, names=[draw(index_names), draw(index_names)])
    else:
        cells = draw(st.lists(texts if kind == "str" else labels, min_size=width, max_size=width))
        names = pd.Index(
            cells, dtype=object if kind == "any" else None, tupleize_cols=False, name=draw(index_names)
        )
        if not names.is_unique:
            names = pd.RangeIndex(width)
    df = pd.DataFrame(dict(enumerate(parts)), index=pd.RangeIndex(n))
    df.columns = names
    df.index = draw(indexes())
    return df


# ---------------------------------------------------------------- tests


@quick
@given(frames(), st.integers(0, 6))
def test_frames_come_back_exactly(df: pd.DataFrame, cut: int) -> None:
    round_trip(df, cut)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(series, st.integers(0, 6))
def test_columns_come_back_exactly(values: pd.Series, cut: int) -> None:
    round_trip(values.to_frame("x"), cut)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
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
        assert table.schema.equals(expected.schema, check_metadata=True) and same(table, expected)


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
        else {"path": p, "size_bytes": 1, "modified": now, "sha256": "0" * 64, "stored": True}
        for p in paths
    ]
    fields = {
        "path": pa.string(),
        "size_bytes": pa.int64(),
        "modified": pa.timestamp("us", "UTC"),
        "sha256": pa.string(),
        "stored": pa.bool_(),
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
    assert pd.isna(back["t"][1]) and pd.isna(back["z"][1]) and pd.isna(back["d"][1])
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
