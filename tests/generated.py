"""Generated frames of every kind that may be saved, and what it means that one came back exactly."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import strategies as st

# ---------------------------------------------------------------- what is equal


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
        return list(a) == list(b) and all(same_cell(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_cell, a, b))
    if isinstance(a, np.ndarray):
        return (
            a.dtype == b.dtype
            and a.shape == b.shape
            and all(map(same_cell, a.ravel().tolist(), b.ravel().tolist()))
        )
    if isinstance(a, complex):
        return same_cell(a.real, b.real) and same_cell(a.imag, b.imag)
    if a is pd.NaT or (isinstance(a, np.datetime64) and np.isnat(a)):
        return a is b or bool(np.isnat(b))
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
    if isinstance(column.dtype, pd.ArrowDtype):  # nor every Arrow type
        ours, theirs = (each.array.__arrow_array__().to_pylist() for each in (back, column))
        assert all(map(same_cell, ours, theirs)), (ours, theirs)
        return
    pd.testing.assert_series_equal(
        back.reset_index(drop=True), column.reset_index(drop=True), check_exact=True, check_names=False
    )
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        assert np.array_equal(np.signbit(back), np.signbit(column))
    if isinstance(column.dtype, pd.CategoricalDtype):
        pd.testing.assert_index_equal(back.cat.categories, column.cat.categories, exact=True)
        assert getattr(back.cat.categories, "freq", None) == getattr(column.cat.categories, "freq", None)


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


# ---------------------------------------------------------------- what is rarer

MARKERS = [None, float("nan"), pd.NA, pd.NaT]
BIG = st.sampled_from([2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**60 + 1, 2**53])
SURROGATE = st.sampled_from(["\ud800", "a\udfff"])


def arrow_series(values: pa.Array | pa.ChunkedArray) -> pd.Series:
    """A pandas column of this Arrow array's type."""
    chunks = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
    return pd.Series(pd.ArrowDtype(chunks.type).__from_arrow__(chunks))


def several(kind: pa.DataType, cells: st.SearchStrategy) -> st.SearchStrategy[pa.Array]:
    return rows(st.none() | cells).map(lambda values: pa.array(values, kind))


def dictionaries(codes: pa.DataType, words: pa.Array, *, ordered: bool = False) -> st.SearchStrategy:
    return rows(st.none() | st.integers(0, len(words) - 1)).map(
        lambda values: pa.DictionaryArray.from_arrays(pa.array(values, codes), words, ordered=ordered)
    )


def runs(kind: pa.DataType, cells: st.SearchStrategy) -> st.SearchStrategy[pa.Array]:
    return several(kind, cells).map(pc.run_end_encode)


WORDS = pa.array(["a", "storm", "ü"])
uncommon_arrow = st.one_of(
    several(pa.string_view(), texts | st.just("a text too long to stand in a view")),
    several(pa.binary_view(), st.binary(max_size=20)),
    several(pa.list_view(pa.int64()), st.lists(BIG | st.none(), max_size=2)),
    several(pa.large_list_view(pa.string_view()), st.lists(texts | st.none(), max_size=2)),
    several(pa.list_(pa.string_view(), 2), st.lists(texts, min_size=2, max_size=2)),
    several(
        pa.struct([("a", pa.string_view()), ("b", pa.list_(pa.int64()))]),
        st.fixed_dictionaries({"a": st.none() | texts, "b": st.none() | st.lists(BIG, max_size=2)}),
    ),
    several(pa.map_(pa.string_view(), pa.int64()), st.lists(st.tuples(texts, BIG), max_size=2)),
    runs(pa.string(), texts),
    runs(pa.int64(), BIG),
    *(dictionaries(kind, WORDS) for kind in (pa.int8(), pa.uint8(), pa.uint32(), pa.int64(), pa.uint64())),
    dictionaries(pa.uint16(), pa.array([2**53 + 1, 7])),
    dictionaries(pa.int32(), pa.array(WORDS.to_pylist(), pa.string_view()), ordered=True),
    several(pa.uint64(), BIG.map(abs)),
    several(pa.decimal256(50, 3), st.integers(-(10**9), 10**9).map(lambda i: decimal.Decimal(i).scaleb(-3))),
    several(pa.date32(), st.dates()),
    several(pa.date64(), st.dates()),
    several(pa.time32("ms"), st.integers(0, 86_399_999)),
    several(pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
    several(pa.duration("s"), st.integers(-(2**40), 2**40)),
    several(pa.timestamp("s"), st.integers(-(2**36), 2**36)),
    several(pa.timestamp("ns", "Asia/Tokyo"), st.integers(-(2**62), 2**62)),
    several(pa.month_day_nano_interval(), st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))),
    several(pa.binary(2), st.binary(min_size=2, max_size=2)),
    several(pa.large_string(), texts),
    several(pa.bool_(), st.booleans()),
    several(pa.float16(), st.floats(width=16).map(np.float16)),
    several(pa.float32(), st.floats(width=32)),
    several(pa.null(), st.none()),
    several(pa.list_(pa.float64()), st.lists(st.floats(), min_size=2, max_size=2)),
    several(
        pa.list_(pa.struct([("t", pa.timestamp("us"))])), st.lists(st.fixed_dictionaries({"t": moments}))
    ),
)
mixed_markers = st.sampled_from(
    [texts, BIG, st.booleans(), st.dates(), st.decimals(), st.floats(), st.just([0.5, 1.0])]
).flatmap(lambda cells: rows(cells | st.sampled_from(MARKERS)).map(object_series))
folded = rows(
    st.datetimes().map(lambda moment: moment.replace(fold=1))
    | st.times().map(lambda moment: moment.replace(fold=1))
    | st.none()
).map(object_series)
named_categories = st.tuples(categoricals, st.sampled_from(["k", ("k", 1), 3, True])).map(
    lambda p: p[0].cat.rename_categories(p[0].cat.categories.rename(p[1]))
)
gapped = st.tuples(intervals, st.sets(st.integers(0, 5))).map(
    lambda p: p[0].where([at not in p[1] for at in range(len(p[0]))])
)
exotic = st.one_of(
    uncommon_arrow.map(arrow_series),
    mixed_markers,
    folded,
    named_categories,
    gapped,
    rows(BIG | st.floats()).map(object_series),
    rows(BIG).map(pd.Series),
    rows(st.integers(-3, 2**64 - 1)).map(object_series),
    rows(st.decimals(allow_nan=True)).map(object_series),
    arrays("period[2D]", st.none() | st.just("2020-01-01")),
)
unstorable = st.one_of(
    rows(st.complex_numbers()).map(lambda cells: pd.Series(np.array(cells, complex))),
    rows(st.integers(0, 1)).map(lambda cells: pd.Series(pd.arrays.SparseArray(cells, dtype="int64"))),
    rows(SURROGATE | texts).map(object_series),
    rows(SURROGATE | st.integers()).map(object_series),
    rows(st.dictionaries(SURROGATE, st.just(1), max_size=1)).map(object_series),
    rows(st.just(object())).map(object_series),
)
any_series = st.one_of(series, exotic, exotic, unstorable)


@st.composite
def gap_levels(draw: st.DrawFn) -> pd.MultiIndex:
    """A MultiIndex with levels of dtypes that hold no missing values, and entries missing in them."""
    levels = [
        draw(st.sampled_from([[2**53 + 1, 2**53 + 3], [1, 2], [True, False], np.array([1, 2**63], "u8"), pd.interval_range(0, 2)])),
        draw(st.sampled_from([["a", "b"], [5, 6], np.array([5, 6], "i1"), pd.date_range("2020", periods=2)])),
    ]  # fmt: skip
    codes = [draw(rows(st.integers(-1, 1))) for _ in levels]
    return pd.MultiIndex(levels, codes, names=[draw(index_names), draw(index_names)])


@st.composite
def any_frames(draw: st.DrawFn) -> pd.DataFrame:
    """Any frame: of what is common, of what is rare, and some that cannot be stored."""
    df = draw(frames())
    for at in range(df.shape[1]):
        if draw(st.booleans()):
            df.isetitem(at, draw(any_series).set_axis(df.index))
    strange = draw(st.integers(0, 9))
    if strange < 3:
        df.index = draw(gap_levels())
    if strange == 3:
        df.index.names = [draw(SURROGATE), *df.index.names[1:]]
    if strange == 4:
        df.columns.names = [draw(SURROGATE), *df.columns.names[1:]]
    return df
