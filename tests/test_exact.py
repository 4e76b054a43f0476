"""What goes in comes back, value for value and dtype for dtype, or is refused by name before anything is written."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import io
import os
import pathlib
import sqlite3
import struct
import subprocess
import sys
import zoneinfo
from collections import namedtuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pandas.testing import assert_frame_equal

import tablevault_pd as tv

pytestmark = pytest.mark.filterwarnings("ignore:The rows saved to .* have no known parents")
B = 2**53 + 1  #: no float64 is this integer


def positions(df: pd.DataFrame) -> pd.DataFrame:
    """The frame as it is read from a list that keeps no index of its own."""
    return df.set_axis(pd.RangeIndex(len(df), name="position"))


def refused(vault: tv.Vault, obj: object, *words: str, **options: object) -> None:
    """Assert that `obj` is refused with these words, and that nothing is written."""
    with pytest.raises((tv.InvalidInput, tv.UnsupportedColumn)) as caught:
        vault.save("refused", obj, **options)
    for word in words:
        assert word in str(caught.value)
    assert "refused" not in vault


# ---------------------------------------------------------------- integers that no float holds


@pytest.mark.parametrize("missing", [[None], [float("nan")], [pd.NA, None], []], ids=str)
@pytest.mark.parametrize("kind", [int, np.int64, np.uint64])
def test_integers_of_rows_stay_exact_beside_missing_ones(folder_vault, kind, missing):
    big = 2**63 + 1 if kind is np.uint64 else B
    rows = [{"id": kind(big), "n": 1}, *({"id": cell, "n": 2} for cell in missing), {"n": 3}]
    folder_vault.save("a", rows)
    got = folder_vault.read("a")
    assert int(got["id"].iloc[0]) == big
    assert got["id"].isna().tolist() == [False] + [True] * (len(missing) + 1)
    assert got["n"].dtype == np.int64
    if not any(cell is pd.NA for cell in missing):  # of which pandas itself makes objects
        assert str(got["id"].dtype) == ("UInt64" if kind is np.uint64 else "Int64")


def test_integers_that_floats_hold_are_what_pandas_makes_of_them(folder_vault):
    rows = [{"id": 2**60, "x": 0.5}, {"x": 2**53}, {"id": 7, "x": 1}]
    folder_vault.save("a", rows)
    assert_frame_equal(folder_vault.read("a"), positions(pd.DataFrame(rows)))


def test_rows_one_by_one_and_in_one_go_read_alike(vault):
    rows = [{"id": B}, {"id": None}, {"id": 5}]
    vault.save("whole", rows)
    for row in rows:
        vault.append("single", row)
    assert_frame_equal(vault.read("whole"), vault.read("single"))
    assert vault.read("whole", filters=[("id", "==", B)]).index.tolist() == [0]


def test_an_integer_among_floats_is_refused_by_row(folder_vault):
    refused(folder_vault, [{"x": 0.5}, {"x": B}], "'x', row 1", str(B))
    refused(folder_vault, [(0.5, 1), (B, 2)], "column 0, row 1", str(B))
    folder_vault.save("a", [{"x": B}])
    with pytest.raises(tv.SchemaMismatch, match=f"'x'.*{B}"):
        folder_vault.append("a", [{"x": 0.5}])
    assert folder_vault.read("a")["x"].tolist() == [B]


def missing_levels() -> pd.MultiIndex:
    levels = [
        ["x", "y"],
        [B, B + 2],
        np.array([3, 2**64 - 1], "u8"),
        [False, True],
        pd.interval_range(0, 2),
        np.array([5, 6], "i1"),
    ]
    return pd.MultiIndex(
        levels, [[0, 1, 1], [0, -1, 1], [1, 0, -1], [-1, 0, 1], [0, -1, 1], [0, 1, 0]], names=list("abcdef")
    )


def same_levels(got: pd.Index, wanted: pd.MultiIndex) -> None:
    pd.testing.assert_index_equal(got, wanted, exact=True)
    for ours, theirs, codes in zip(got.levels, wanted.levels, wanted.codes, strict=True):
        used = theirs[np.unique(codes[codes >= 0])]
        pd.testing.assert_index_equal(ours, used.sort_values(), exact=True, check_names=False)


def test_levels_with_missing_entries_keep_their_dtype(vault):
    df = pd.DataFrame({"n": [1, 2, 3]}, index=missing_levels())
    vault.save("rows", df)
    same_levels(vault.read("rows").index, df.index)
    same_levels(vault.read("rows", filters="n != 1").index, df.index[1:])
    vault.append("rows", df[:1])
    same_levels(vault.read("rows").index, df.index.append(df.index[:1]))
    vault.save("full first", df[["n"]].iloc[:0])
    vault.append("full first", df)
    same_levels(vault.read("full first").index, df.index)
    vault.save("columns", df.T.reset_index(drop=True))
    same_levels(vault.read("columns").columns, df.index)


def test_interval_levels_whose_integers_no_float_holds_are_refused(folder_vault):
    level = pd.IntervalIndex.from_arrays([B, B + 2], [B + 2, B + 4])
    index = pd.MultiIndex([level, [1, 2]], [[0, -1], [0, 1]])
    refused(folder_vault, pd.DataFrame({"n": [1, 2]}, index=index), "index", "level 0")
    refused(folder_vault, pd.DataFrame([[1, 2]], columns=index), "column labels", "level 0")


@pytest.mark.parametrize("width", ["i8", "u8"])
def test_integers_become_vectors_only_exactly(folder_vault, width):
    for obj, options in [
        (pd.DataFrame({"v": [np.array([1, 2], width), np.array([B, 1], width)]}), {"embeddings": ["v"]}),
        (pd.DataFrame({"v": [np.array([1, 2], width), [B, 1]]}), {"embeddings": ["v"]}),
        (np.array([[1, 2], [B, 1]], width), {}),
        ([[1.5, 2], [B, 3]], {}),
        ([[1, 2], [B, 3]], {"embeddings": ["embedding"]}),
        (pa.table({"v": pa.array([[1, 2], [B, 3]])}), {"embeddings": ["v"]}),
    ]:
        refused(
            folder_vault, obj, "'v'" if not isinstance(obj, (list, np.ndarray)) else "'embedding'", **options
        )
    folder_vault.save("a", np.array([[1, 2], [B - 1, 3]], width))
    assert [cell.tolist() for cell in folder_vault.read("a")["embedding"]] == [
        [1.0, 2.0],
        [float(B - 1), 3.0],
    ]


# ---------------------------------------------------------------- rows of plain Python

Point = namedtuple("Point", ["x", "label"])


@dataclasses.dataclass
class Run:
    x: int
    label: str


def database_rows(factory: object) -> list:
    with sqlite3.connect(":memory:") as db:
        db.row_factory = factory
        found = db.execute("SELECT 1 AS x, 'a' AS label UNION SELECT 2, 'b'").fetchall()
    db.close()
    return found


NAMED = pd.DataFrame({"x": [1, 2], "label": ["a", "b"]})
ROWS = {
    "fetchall": (lambda: database_rows(None), NAMED.set_axis([0, 1], axis=1)),
    "sqlite3.Row": (lambda: database_rows(sqlite3.Row), NAMED),
    "namedtuples": (lambda: [Point(1, "a"), Point(2, "b")], NAMED),
    "dataclasses": (lambda: [Run(1, "a"), Run(2, "b")], NAMED),
    "itertuples": (lambda: NAMED.itertuples(index=False), NAMED),
    "texts in tuples": (lambda: [("a", "b"), ("c", "d")], pd.DataFrame([("a", "b"), ("c", "d")])),
    "integers in tuples": (lambda: ((1, 2), (3, 4)), pd.DataFrame([(1, 2), (3, 4)])),
    "an iterator of tuples": (
        lambda: zip("ab", [B, None], strict=True),
        pd.DataFrame({0: ["a", "b"], 1: pd.array([B, None], "Int64")}),
    ),
    "one namedtuple": (lambda: Point(1, "a"), NAMED[:1]),
    "one dataclass": (lambda: Run(1, "a"), NAMED[:1]),
    "chunks of rows": (lambda: iter([[Point(1, "a")], [{"x": 2, "label": "b"}]]), NAMED),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_plain_python_are_rows(folder_vault, name):
    make, wanted = ROWS[name]
    saved = folder_vault.save("a", make())
    assert_frame_equal(saved.read(), positions(wanted), check_column_type=False)
    assert set(saved.kinds.values()) == {"record"}


def test_arrays_without_dimension_are_cells(vault):
    vault.save("a", [{"loss": np.array(0.5), "step": 1}, {"loss": np.array(np.float32(0.25)), "step": 2}])
    cells = vault.read("a", filters="step > 0")["loss"].tolist()
    assert [(cell.dtype, cell.shape, float(cell)) for cell in cells] == [
        (np.float64, (), 0.5),
        (np.float32, (), 0.25),
    ]
    assert len(vault.search(filters="step == 2")) == 1


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        ([[1, 2], [3, 4]], ["integers", "embeddings=", "DataFrame"]),
        ([np.array([1, 2]), np.array([3, 4])], ["integers"]),
        ([["a", "b"], ["c", "d"]], ["Item 0", "'a'", "tuples"]),
        ([[1.0, None], [2.0, 3.0]], ["Item 0", "None"]),
        ([[True, 1.0]], ["Item 0", "True"]),
        ([(1, 2), (3,)], ["row 1", "1 values"]),
        ([1, 2], ["int"]),
        ([np.float64(0.5)], ["float64"]),
        ([np.array(0.5)], ["()"]),
        (np.array([1, 2]), ["(2,)"]),
    ],
    ids=str,
)
def test_what_is_neither_rows_nor_vectors_is_refused(folder_vault, obj, words):
    refused(folder_vault, obj, *words)


# ---------------------------------------------------------------- Arrow types


def arrow_series(array: pa.Array) -> pd.Series:
    return pd.Series(pd.ArrowDtype(array.type).__from_arrow__(pa.chunked_array([array])))


def several(kind: pa.DataType, *cells: object) -> pa.Array:
    return pa.array([*cells, None], kind)


def codes(kind: pa.DataType, words: pa.DataType, *, ordered: bool = False) -> pa.DataType:
    return pa.dictionary(kind, words, ordered=ordered)


def dictionary(kind: pa.DataType, words: list, of: pa.DataType, *, ordered: bool = False) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([1, 0, None], kind), pa.array(words, of), ordered=ordered)


UNCOMMON = [
    several(pa.string_view(), "storm", "a text too long to stand in a view"),
    several(pa.binary_view(), b"x", b"bytes too long to stand in a view"),
    several(pa.list_view(pa.int64()), [B], [], [2, None]),
    several(pa.large_list_view(pa.string_view()), ["storm"], [None, "b"]),
    several(pa.list_(pa.string_view()), ["storm"], []),
    several(pa.list_(pa.string_view(), 1), ["storm"], ["b"]),
    several(
        pa.struct([("a", pa.string_view()), ("b", pa.list_(pa.binary_view()))]), {"a": "storm", "b": [b"y"]}
    ),
    several(pa.map_(pa.string_view(), pa.string_view()), [("k", "storm")], []),
    pc.run_end_encode(pa.array(["storm", "storm", None, "b"])),
    pc.run_end_encode(pa.array([B, B, None]), run_end_type=pa.int16()),
    pc.run_end_encode(pa.array([0.5, 0.5, None])),
    *(
        dictionary(kind, ["a", "storm"], of)
        for kind in (pa.int8(), pa.uint8(), pa.uint32(), pa.int64(), pa.uint64())
        for of in (pa.string(), pa.string_view())
    ),
    dictionary(pa.uint16(), [B, 7], pa.int64()),
    dictionary(pa.int32(), [b"x", b"y"], pa.binary_view(), ordered=True),
    pa.ListArray.from_arrays(pa.array([0, 2, 3]), dictionary(pa.uint8(), ["a", "storm"], pa.string())),
]


@pytest.mark.parametrize("array", UNCOMMON, ids=lambda array: str(array.type))
def test_arrow_types_without_kernels_come_back_and_are_read_like_others(folder_vault, array):
    df = pd.DataFrame({"n": range(len(array)), "x": arrow_series(array)})
    folder_vault.save("a", df)
    folder_vault.append("a", df[:1])
    for got, cells in [
        (folder_vault.read("a"), [*array.to_pylist(), array[0].as_py()]),
        (folder_vault.read("a", filters="n > 0"), array.to_pylist()[1:]),
        (folder_vault.read("a", filters=[("n", "==", 0)], columns=["x"]), [array[0].as_py()] * 2),
        (next(folder_vault["a"].batches(1)), [array[0].as_py()]),
    ]:
        assert got["x"].dtype == df["x"].dtype
        assert got["x"].array.__arrow_array__().to_pylist() == cells
    assert pl.DataFrame(folder_vault["a"]).shape == (len(array) + 1, 2)
    folder_vault.save("other", pd.DataFrame({"t": ["storm"]}))
    assert "other" in folder_vault.search("storm", columns=["x"])["list"].tolist()
    assert len(folder_vault.search(filters="n >= 0", columns=["x"])) == len(array) + 1
    folder_vault.compact()
    assert folder_vault.read("a", columns=["x"])["x"].dtype == df["x"].dtype
    stream = folder_vault.save("stream", pa.table({"n": pa.array(range(len(array))), "x": array}))
    assert len(stream.read(filters="n > 0")) == len(array) - 1


def test_arrow_types_without_kernels_on_a_server(vault):
    for number, array in enumerate(UNCOMMON[::2]):
        df = pd.DataFrame({"x": arrow_series(array)})
        vault.save(f"a{number}", df)
        got = vault.read(f"a{number}")["x"]
        assert (got.dtype, got.array.__arrow_array__().to_pylist()) == (df["x"].dtype, array.to_pylist())


def test_many_categories_outgrow_narrow_codes(folder_vault):
    kind = pa.dictionary(pa.int8(), pa.string())
    parts = [pa.array([f"{part}{at}" for at in range(100)]).cast(kind) for part in "abc"]
    for part in parts:
        folder_vault.append("a", pd.DataFrame({"x": arrow_series(part)}))
    folder_vault.save("stream", pa.table({"x": pa.chunked_array(parts)}))
    words = [word for part in parts for word in part.to_pylist()]
    folder_vault.compact()
    assert folder_vault.read("a")["x"].dtype == pd.ArrowDtype(kind)
    assert folder_vault.read("a")["x"].array.__arrow_array__().to_pylist() == words
    assert folder_vault.read("stream")["x"].tolist() == words


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()], ids=str)
def test_dictionaries_of_other_tools_are_categories(folder_vault, kind, ordered):
    array = dictionary(kind, ["a", "b"], pa.string_view(), ordered=ordered)
    folder_vault.save("a", pa.table({"c": array}))
    wanted = pd.Categorical.from_codes([1, 0, -1], ["a", "b"], ordered=ordered)
    assert_frame_equal(folder_vault.read("a"), positions(pd.DataFrame({"c": wanted})))


def test_polars_comes_in_and_goes_out(vault):
    df = pl.DataFrame(
        {
            "c": ["x", None],
            "e": ["b", None],
            "l": [["storm"], None],
            "s": [{"a": "x", "b": [1]}, None],
            "b": [b"x", None],
            "n": [1, 2],
            "a": [["p", "q"], None],
            "i": [B, None],
        },
        schema_overrides={"c": pl.Categorical, "e": pl.Enum(["a", "b"]), "a": pl.Array(pl.String, 2)},
    )
    vault.save("p", df)
    got = vault.read("p")
    assert [str(got[name].dtype) for name in "cei"] == ["category", "category", "Int64"]
    assert got["e"].cat.categories.tolist() == ["a", "b"]
    assert vault.read("p", filters=[("n", "==", 2)])["c"].isna().tolist() == [True]
    back = pl.DataFrame(vault["p"])
    assert (
        back.cast({"c": pl.String, "e": pl.String}).rows() == df.cast({"c": pl.String, "e": pl.String}).rows()
    )
    assert len(vault.search("storm")) == 0  # texts inside of lists are no texts of a row, but in nobody's way


# ---------------------------------------------------------------- columns and tables of Arrow


class Exported:
    """An object of another library: it exports Arrow, and that is all there is to know."""

    def __init__(self, obj: object) -> None:
        self._obj = obj

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._obj.__arrow_c_stream__(requested_schema)


COLUMNS = {
    "polars texts": (lambda: pl.Series("q", ["a", None]), "q", "document", ["a", None]),
    "polars integers": (lambda: pl.Series("q", [B, None]), "q", "record", [B, pd.NA]),
    "polars without a name": (lambda: pl.Series([1, 2]), "value", "record", [1, 2]),
    "polars vectors": (lambda: pl.Series("v", [[0.5, 1.0], [2.0, 3.0]]), "v", "embedding", None),
    "array": (lambda: pa.array([B, 2]), "value", "record", [B, 2]),
    "texts": (lambda: pa.array(["a", "b"], pa.string_view()), "document", "document", ["a", "b"]),
    "chunks": (lambda: pa.chunked_array([[1], [2]]), "value", "record", [1, 2]),
    "no rows": (lambda: pa.chunked_array([], pa.int64()), "value", "record", []),
    "dictionary": (lambda: pa.array(["a", "b"]).dictionary_encode(), "document", "document", ["a", "b"]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_arrow_is_a_series(folder_vault, name):
    make, label, kind, cells = COLUMNS[name]
    saved = folder_vault.save("a", make())
    assert saved.kinds == {label: kind}
    if cells is not None:
        assert (
            saved.read()[label].tolist() == [np.nan if cell is None else cell for cell in cells]
            or label == "q"
        )
        assert saved.read()[label].isna().tolist() == [pd.isna(cell) for cell in cells]


def test_tables_of_arrow_are_tables(folder_vault):
    batch = pa.record_batch({"a": [1, 2]})
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
    for number, obj in enumerate([batch, pa.table(batch), Exported(pa.table(batch)), reader]):
        assert_frame_equal(
            folder_vault.save(f"a{number}", obj).read(), positions(pd.DataFrame({"a": [1, 2]}))
        )


def test_polars_objects_are_refused_by_column(folder_vault):
    things = pl.Series("p", [pathlib.Path("a")], dtype=pl.Object)
    refused(folder_vault, pl.DataFrame({"n": [1], "p": things}), "'p'", "Object")
    refused(folder_vault, things, "'p'", "Object")
    refused(folder_vault, pl.DataFrame({"n": [1], "a": [1]}, schema={"n": pl.Int64, "a": pl.Int128}), "'a'")
    refused(folder_vault, pl.Series("a", [1], dtype=pl.Int128), "'a'")
    refused(folder_vault, pa.scalar(1), "Int64Scalar")
    refused(folder_vault, {"a": pa.scalar(1)}, "'a', row 0", "Int64Scalar")


class Metres(pa.ExtensionType):
    def __init__(self) -> None:
        super().__init__(pa.float64(), "tests.metres")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Metres:
        return cls()


metres = pa.ExtensionArray.from_storage(Metres(), pa.array([1.0]))
union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
UNSTORABLE = [
    metres,
    pa.StructArray.from_arrays([metres], ["u"]),
    pa.ListArray.from_arrays(pa.array([0, 1]), metres),
    union,
    pa.StructArray.from_arrays([union], ["u"]),
]
UNRESTORABLE = [
    pa.array([[[1]]], pa.list_(pa.list_view(pa.int64()))),
    pa.ListArray.from_arrays(pa.array([0, 2]), pc.run_end_encode(pa.array([1, 1]))),
]


@pytest.mark.parametrize("array", UNSTORABLE, ids=lambda array: str(array.type))
def test_arrow_types_that_cannot_be_stored_are_refused_by_column(folder_vault, array):
    refused(
        folder_vault,
        pa.table({"n": [1], "x": array}),
        "'x'",
        "union" if "union" in str(array.type) else "metres",
    )


@pytest.mark.parametrize("array", UNRESTORABLE, ids=lambda array: str(array.type))
def test_arrow_types_that_cannot_be_given_back_are_refused_by_column(folder_vault, array):
    refused(folder_vault, pd.DataFrame({"n": [1], "x": arrow_series(array)}), "'x'", str(array.type))


def test_more_than_32_bits_count_is_refused_by_column(folder_vault):
    piece = pa.array(["x" * (1 << 22)])
    column = pa.chunked_array([piece] * 512)  # 2 GB of text, 4 MB of memory
    series = pd.Series(pd.ArrowDtype(pa.string()).__from_arrow__(column))
    refused(folder_vault, pd.DataFrame({"x": series}), "'x'", "32 bits", "large_string")
    inside = pa.chunked_array([pa.StructArray.from_arrays([piece], ["a"])] * 512)
    refused(folder_vault, pa.table({"x": inside}), "'x'", "32 bits")


# ---------------------------------------------------------------- categories


WORDS = [
    pd.Index(["b", "a"]),
    pd.Index([2, 1]),
    pd.interval_range(0, 2),
    pd.date_range("2020", periods=2, tz="UTC"),
    pd.Index([], dtype=object),
]


@pytest.mark.parametrize("ordered", [False, True])
def test_categories_keep_their_name(vault, ordered):
    for number, (words, name) in enumerate(zip(WORDS, ["k", ("a", 1), 3, None, "n"], strict=True)):
        codes = [0, 1, -1] if len(words) else [-1] * 3
        cells = pd.Categorical.from_codes(codes, words.rename(name), ordered=ordered)
        df = pd.DataFrame({"k": cells, "n": [1, 2, 3]}, index=pd.CategoricalIndex(cells, name="i"))
        vault.save(f"a{number}", df)
        vault.append(f"a{number}", df[:1])
        for got in (vault.read(f"a{number}"), vault.read(f"a{number}", filters="n > 1")):
            for found in (got["k"].cat.categories, got.index.categories):
                pd.testing.assert_index_equal(found, words.rename(name), exact=True)
                assert found.name == name


def test_a_name_of_categories_is_content(folder_vault):
    def frame(name: str | None) -> pd.DataFrame:
        return pd.DataFrame({"k": pd.Categorical.from_codes([0], pd.Index(["a"], name=name))})

    assert [folder_vault.save("a", frame(name)).version for name in ("x", "x", "y", None)] == [1, 1, 2, 3]
    folder_vault.append("a", frame("z"))
    assert folder_vault.read("a")["k"].cat.categories.name is None
    refused(folder_vault, frame(object()), "'k'", "name of the categories")


# ---------------------------------------------------------------- time zones

READS = """
import sys; sys.modules["tzdata"] = None
import zoneinfo; zoneinfo.reset_tzpath([])  # a machine without time zones, as a slim container
import pandas as pd, pyarrow as pa, tablevault_pd as tv
vault = tv.connect(sys.argv[1], mode="r")
assert vault.lists()["list" if "list" in vault.lists() else "name"].tolist()
assert vault["t"].dtypes["t"] == "datetime64[ns, America/New_York]", vault["t"].dtypes
assert vault["t"].dtypes["i"] == "interval[datetime64[ns, America/New_York], right]"
repr(vault["t"]), vault["t"].kinds, repr(vault["labels"])
assert vault.check().empty
assert vault.search("storm")["list"].tolist() == ["other", "t"] or len(vault.search("storm")) == 2
assert len(vault.search("storm", filters="a > 0")) == 1
assert vault.read("t", columns=["a"]).a.tolist() == [1, 2]
for condition in ("a > 1", [("a", ">", 1)], *([pd.col("a") > 1] if hasattr(pd, "col") else [])):
    assert vault.read("t", columns=["a"], filters=condition).a.tolist() == [2]
assert vault.read("labels", columns=["storm"]).storm.tolist() == [2]
assert pa.table(vault["t"]).num_rows == 2
for name, word in [("t", "'t'"), ("c", "'c'"), ("o", "'o'"), ("i", "'i'"), ("j", "'j'")]:
    try:
        vault.read("t", columns=[name])
    except tv.VaultError as error:
        assert word in str(error) and "America/New_York" in str(error) and "tzdata" in str(error), error
    else:
        raise AssertionError(name)
for name, word in [("index", "index"), ("labels", "labels")]:
    try:
        vault.read(name)
    except tv.VaultError as error:
        assert word in str(error) and "America/New_York" in str(error), error
    else:
        raise AssertionError(name)
"""


def test_only_what_needs_a_time_zone_fails_without_it(folder_vault):
    times = pd.DatetimeIndex(["2020", "2021"], dtype="M8[ns]").tz_localize(
        zoneinfo.ZoneInfo("America/New_York")
    )
    df = pd.DataFrame(
        {
            "a": [1, 2],
            "t": times,
            "c": pd.Categorical(times),
            "o": pd.Categorical(times, ordered=True),
            "i": pd.arrays.IntervalArray.from_arrays(times, times + pd.Timedelta(1, "h")),
            "j": pd.Series([times[0].to_pydatetime(), "storm"], dtype=object),
        }
    )
    folder_vault.save("t", df)
    folder_vault.save("index", df[["a"]].set_index(times))
    folder_vault.save("labels", pd.DataFrame([[1, 2]], columns=pd.Index([times[0], "storm"], dtype=object)))
    folder_vault.save("other", pd.DataFrame({"t": ["storm"]}))
    program = [sys.executable, "-c", READS, folder_vault.place]
    done = subprocess.run(program, cwd=folder_vault.place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_zones_that_only_this_process_has_are_refused(folder_vault):
    # The smallest file there is: one offset, nine hours, called JST.
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    data = b"TZif" + bytes(16) + counts + struct.pack(">lBB", 9 * 3600, 0, 0) + b"JST\0"
    for key in (None, "Europe/Berlin", "My/Zone"):
        zone = zoneinfo.ZoneInfo.from_file(io.BytesIO(data), key=key)
        moment = dt.datetime(2020, 1, 1, tzinfo=zone)
        refused(
            folder_vault, pd.DataFrame({"t": pd.DatetimeIndex(["2020"]).tz_localize(zone)}), "'t'", "zone"
        )
        refused(
            folder_vault, pd.DataFrame({"t": pd.Series([moment, "x"], dtype=object)}), "'t', row 0", "zone"
        )
    refused(
        folder_vault,
        pa.table({"n": [1], "t": pa.array([1], pa.timestamp("us", "Mars/Olympus"))}),
        "'t'",
        "Mars/Olympus",
    )


@pytest.mark.parametrize("zone", ["+05:30", "-02:00", "+0530", "UTC", "Asia/Tokyo"])
def test_zones_of_arrow_keep_instant_and_offset(folder_vault, zone):
    folder_vault.save("a", pa.table({"t": pa.array([0], pa.timestamp("us", zone))}))
    got = folder_vault.read("a")["t"].iloc[0]
    assert got.value == 0
    hours = {"+05:30": 5.5, "-02:00": -2, "+0530": 5.5, "UTC": 0, "Asia/Tokyo": 9}[zone]
    assert got.utcoffset() == dt.timedelta(hours=hours)


# ---------------------------------------------------------------- text that UTF-8 cannot hold

HALF = "a\ud800"


def one_object(*cells: object) -> pd.Series:
    return pd.Series(np.fromiter(cells, dtype=object, count=len(cells)), dtype=object)


HALVES = {
    "category": (
        lambda: pd.DataFrame({"c": pd.Categorical.from_codes([0], pd.Index([HALF], dtype=object))}),
        ["'c'"],
    ),
    "ordered": (
        lambda: pd.DataFrame(
            {"c": pd.Categorical.from_codes([0], pd.Index([HALF], dtype=object), ordered=True)}
        ),
        ["'c'"],
    ),
    "name of categories": (
        lambda: pd.DataFrame({"c": pd.Categorical.from_codes([0], pd.Index([1], name=HALF))}),
        ["'c'", "name"],
    ),
    "index": (lambda: pd.DataFrame({"c": [1]}, index=pd.Index([HALF], dtype=object)), ["index", "row 0"]),
    "name of the index": (lambda: pd.DataFrame({"c": [1]}, index=pd.Index([1], name=HALF)), ["index"]),
    "label": (lambda: pd.DataFrame([[1]], columns=pd.Index([HALF], dtype=object)), ["olumn", "rename"]),
    "level": (
        lambda: pd.DataFrame([[1]], columns=pd.MultiIndex.from_arrays([pd.Index([HALF], dtype=object), [1]])),
        ["olumn", "rename"],
    ),
    "name of the columns": (lambda: pd.DataFrame([[1]], columns=pd.Index([1], name=HALF)), ["column labels"]),
    "key": (lambda: {"a": {HALF: 1}}, ["'a', row 0"]),
    "key of a row": (lambda: {HALF: 1}, ["olumn"]),
    "value of a row": (lambda: [{"a": "x"}, {"a": HALF}], ["'a', row 1"]),
    "tuple": (lambda: [("x", HALF)], ["column 1, row 0"]),
    "texts": (lambda: ["x", HALF], ["'document', row 1"]),
    "Series": (lambda: one_object("x", HALF), ["'document', row 1"]),
    "name of a Series": (lambda: pd.Series([1], name=HALF), ["name"]),
}


@pytest.mark.parametrize("name", HALVES)
def test_half_a_surrogate_pair_is_refused_where_it_stands(folder_vault, name):
    make, words = HALVES[name]
    refused(folder_vault, make(), "surrogate", *words)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
@pytest.mark.parametrize("make", [str, pathlib.Path])
def test_a_file_whose_name_is_no_text_is_refused(folder_vault, make):
    name = os.fsdecode(b"f\x80")
    pathlib.Path(name).write_text("x")
    df = pd.DataFrame({"f": one_object(make("good"), make(name))})
    pathlib.Path("good").write_text("x")
    refused(folder_vault, df, "'f'", "row 1", "UTF-8", files=["f"], copy=True)
    assert folder_vault.vacuum().empty


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["a", None, float("nan")], ["rows 1 and 2", "None and nan"]),
        ([None, pd.NA], ["rows 0 and 1"]),
        (["a", 1], ["row 1", "int"]),
    ],
    ids=str,
)
def test_documents_that_are_not_texts_alone_are_refused_by_row(folder_vault, cells, words):
    refused(folder_vault, pd.DataFrame({"t": one_object(*cells)}), "'t'", *words, documents=["t"])


def test_a_signalling_nan_is_a_decimal_like_others(folder_vault):
    cells = one_object(decimal.Decimal("sNaN"), decimal.Decimal("1.50"), None)
    folder_vault.save("a", cells.to_frame("x"))
    folder_vault.save("b", cells.rename("x"))
    folder_vault.read("a").vault.save("c")  # pandas cannot ask whether the cell is missing
    for name in "abc":
        assert [str(cell) for cell in folder_vault.read(name)["x"]] == ["sNaN", "1.50", "None"]
