"""Lists that grow: what two frames become in one list, compared with plain Python values and dtypes written by hand."""

from __future__ import annotations

import decimal
import itertools
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd.errors import DimensionMismatch, SchemaMismatch
from tablevault_pd.frames import align, columns, decode, encode, index_fields, merge, run_check

TEXT = str(pd.Series(["a"]).dtype)


def together(*frames: pd.DataFrame, mode: str = "evolve") -> pd.DataFrame:
    """Append the frames one by one to a list, as a store would, and read all of it through a file."""
    tables = [encode(df) for df in frames]
    schema = tables[0].schema
    for at, table in enumerate(tables[1:], 1):
        merged = merge(schema, table.schema, mode=mode)
        for check in merged.checks:
            sources = [table] if check.side == "new" else [align(t, schema) for t in tables[:at]]
            for source in sources:
                run_check(check, source.column(check.field))
        schema = merged.schema
    parts = [stored(align(table, schema)) for table in tables]
    assert all(align(part, schema) is part for part in parts)
    assert merge(schema, schema).schema is schema
    return decode(parts, schema, positions=range(sum(part.num_rows for part in parts)))


def stored(table: pa.Table) -> pa.Table:
    """What a store gives back of one part."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_file(sink.getvalue()).read_all()


def obj(*cells: Any) -> pd.Series:
    return pd.Series(np.fromiter(cells, dtype=object, count=len(cells)), dtype=object)


def ser(dtype: Any, *cells: Any) -> pd.Series:
    return pd.Series(cells, dtype=dtype)


def both(a: Any, b: Any) -> pd.Series:
    return together(pd.DataFrame({"x": a}), pd.DataFrame({"x": b}))["x"]


def plain(values: pd.Series) -> list[Any]:
    """The cells, every kind of missing marker as None."""
    return [None if pd.api.types.is_scalar(v) and pd.isna(v) else v for v in values]


D = decimal.Decimal
JOINS = [
    (ser("int8", 1), ser("int64", 2**40), "int64", [1, 2**40]),
    (ser("uint8", 1), ser("int8", -1), "int16", [1, -1]),
    (ser("int32", 1), ser("float32", 1.5), "float64", [1.0, 1.5]),
    (ser("Int64", 1, None), ser("int8", 3), "Int64", [1, None, 3]),
    (ser("int8", 3), ser("Int64", 1, None), "Int64", [3, 1, None]),
    (ser("bool", True), ser("boolean", None), "boolean", [True, None]),
    (ser("float16", 1.5), ser("float32", 0.1), "float32", [1.5, float(np.float32(0.1))]),
    (pd.Categorical(["b", "a"]), pd.Categorical(["c", None]), "category", ["b", "a", "c", None]),
    (pd.Categorical(["b", None]), ser(TEXT, "q", None), TEXT, ["b", None, "q", None]),
    (ser(TEXT, "q", None), pd.Categorical(["b", None]), TEXT, ["q", None, "b", None]),
    (ser(TEXT, "q", None), obj("a", None), TEXT, ["q", None, "a", None]),
    (obj("a", pd.NA), ser(TEXT, "q", None), "object", ["a", None, "q", None]),
    (ser("string", "q", None), ser(TEXT, "a", None), "string", ["q", None, "a", None]),
    (obj(None), ser("int8", 1), "Int8", [None, 1]),
    (ser("uint16", 1), obj(None), "UInt16", [1, None]),
    (obj(None), pd.Categorical(["a"]), "category", [None, "a"]),
    (pd.Categorical([None]), pd.Categorical([7]), "category", [None, 7]),
    (pd.Categorical([7]), pd.Categorical([None]), "category", [7, None]),
    (pd.Categorical([None], categories=pd.Index([], dtype="int64")), ser(TEXT, "a"), TEXT, [None, "a"]),
    (ser(TEXT, "a"), pd.Categorical([None]), TEXT, ["a", None]),
    (pd.Categorical(pd.interval_range(0, 1)), pd.Categorical(pd.interval_range(1, 2)), "category",
     [pd.Interval(0, 1), pd.Interval(1, 2)]),
    (pd.Categorical(obj(1, "b")), pd.Categorical(obj("b", "c")), "category", [1, "b", "b", "c"]),
    (obj({1: 2}, None), ser("int64", 5), "object", [{1: 2}, None, 5]),
    (ser("int64", 5), obj({1: 2}, None), "object", [5, {1: 2}, None]),
    (obj({"a": 1}), obj((1,), "x"), "object", [{"a": 1}, (1,), "x"]),
    (obj("a", None), obj(7), "object", ["a", None, 7]),
    (obj(D("1.2")), obj(D("1.20")), "object", [D("1.2"), D("1.20")]),
    (obj(D("1.2")), obj(D("1" * 40 + ".2")), "object", [D("1.2"), D("1" * 40 + ".2")]),
    (ser("datetime64[s]", "2020", None), ser("datetime64[ns]", "2021"), "datetime64[ns]",
     [pd.Timestamp("2020"), None, pd.Timestamp("2021")]),
    (ser("timedelta64[ms]", pd.Timedelta("1s")), ser("timedelta64[s]", None), "timedelta64[ms]", [pd.Timedelta("1s"), None]),
    (pd.interval_range(0, 1), pd.interval_range(0.5, 1.5), "interval[float64, right]",
     [pd.Interval(0.0, 1.0), pd.Interval(0.5, 1.5)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b", "dtype", "cells"), JOINS, ids=lambda v: str(getattr(v, "dtype", "")) or None
)
def test_two_dtypes_become_one(a: Any, b: Any, dtype: str, cells: list[Any]) -> None:
    found = both(a, b)
    assert str(found.dtype) == dtype
    assert plain(found) == cells
    if dtype == "object":
        assert [type(v) for v in plain(found)] == [type(v) for v in cells]


REFUSED = [
    (ser("int64", 1), ser(TEXT, "a")),
    (ser(TEXT, "a"), ser("float64", 1.0)),
    (ser("bool", True), ser("int64", 1)),
    (ser("int64", 2**53 + 1), ser("float64", 0.5)),
    (ser("float64", 0.5), ser("int64", -(2**53) - 1)),
    (ser("float64", 0.5), ser("Int64", 2**62, None)),
    (ser("datetime64[ns]", "2020"), pd.Series(np.array(["5000"], "M8[s]"))),
    (pd.Series(np.array(["5000"], "M8[s]")), ser("datetime64[ns]", "2020")),
    (ser("datetime64[ns]", "2020"), ser("datetime64[ns, UTC]", "2020")),
    (ser("datetime64[ns, Asia/Tokyo]", "2020"), ser("datetime64[ns, UTC]", "2020")),
    (pd.Categorical(["a", "b"], ordered=True), pd.Categorical(["a", "c"], ordered=True)),
    (pd.Categorical(["a"], ordered=True), pd.Categorical(["a"])),
    (pd.Categorical([1]), pd.Categorical(["a"])),
    (pd.interval_range(0, 1), pd.interval_range(0, 1, closed="left")),
    (ser("period[D]", "2020"), ser("period[M]", "2020")),
    (ser(pd.ArrowDtype(pa.list_(pa.int8())), [1]), ser(pd.ArrowDtype(pa.list_(pa.int16())), [1])),
    (obj([1.0, 2.0]), obj([1.0], [2.0, 3.0])),
]


@pytest.mark.parametrize(("a", "b"), REFUSED, ids=lambda v: str(v.dtype))
def test_what_no_dtype_holds_is_refused_by_name(a: Any, b: Any) -> None:
    with pytest.raises(SchemaMismatch, match="'x'"):
        both(a, b)


def test_ordered_categories_grow_at_the_end() -> None:
    found = both(
        pd.Categorical(["a", "b"], ordered=True),
        pd.Categorical(["c"], categories=["a", "b", "c"], ordered=True),
    )
    assert found.cat.categories.tolist() == ["a", "b", "c"]
    assert found.cat.ordered
    assert found.tolist() == ["a", "b", "c"]


def test_vectors_widen_but_keep_their_length() -> None:
    found = both(obj(np.ones(2, "f4"), None), obj([0.1, 0.2]))
    assert found[0].dtype == np.float64
    assert found[1] is None
    assert found[2].tolist() == [0.1, 0.2]


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ([None, np.ones(5)], "'x': row 1: 5 numbers, the list has 4"),
        ([np.ones(4), None, np.ones(3), np.ones(2)], "'x': row 2: 3 numbers, the list has 4"),
        ([[1.0] * 4, [1.0] * 5], "'x': row 1: 5 numbers, the list has 4"),
        ([[1.0] * 4, []], "'x': row 1: 0 numbers, the list has 4"),
        ([np.ones((2, 2)), (0.5,)], "'x': row 1: 1 numbers, the list has 4"),
    ],
)
def test_the_first_vector_that_does_not_fit_is_named(cells: list[Any], told: str) -> None:
    old, new = encode(pd.DataFrame({"x": obj(np.ones(4))})), encode(pd.DataFrame({"x": obj(*cells)}))
    with pytest.raises(DimensionMismatch, match=told):
        merge(old.schema, new.schema, rows=new)
    with pytest.raises(SchemaMismatch, match="'x'"):
        merge(old.schema, new.schema)


def test_other_things_among_vectors_are_no_matter_of_length() -> None:
    old, new = (
        encode(pd.DataFrame({"x": obj(np.ones(4))})),
        encode(pd.DataFrame({"x": obj("text", [1, 2, 3, 4])})),
    )
    with pytest.raises(SchemaMismatch, match="vectors of 4 float64") as caught:
        merge(old.schema, new.schema, rows=new)
    assert caught.type is SchemaMismatch


def test_categories_come_in_the_order_of_the_rows() -> None:
    frames = [
        pd.Categorical([1, 2, None], categories=[3, 2, 1]),
        pd.Categorical([9, 1]),
        pd.Categorical([None]),
    ]
    found = together(*(pd.DataFrame({"x": values}) for values in frames))["x"]
    assert found.cat.categories.tolist() == [3, 2, 1, 9]
    assert plain(found) == [1, 2, None, 9, 1, None]
    schemas = [encode(pd.DataFrame({"x": values})).schema for values in frames[:2]]
    assert merge(*schemas).schema is schemas[0]
    assert merge(*schemas, mode="strict").schema is schemas[0]


FULL = pd.DataFrame(
    {
        "i": [1],
        "u": ser("uint8", 1),
        "b": [True],
        "f": [0.5],
        "t": pd.to_datetime(["2020"]).as_unit("ns"),
        "c": pd.Categorical(["a"]),
        "s": ser(TEXT, "x"),
        "o": obj("x"),
        "v": obj([1.0, 2.0]),
        "iv": pd.interval_range(0, 1),
        "p": ser("period[D]", "2020-01-01"),
        "ar": ser(pd.ArrowDtype(pa.list_(pa.int8())), [1]),
    }
)
LOOSE = ["Int64", "UInt8", "boolean", "float64", "datetime64[ns]", "category", TEXT, "object", "object",
         "interval[float64, right]", "period[D]", "list<item: int8>[pyarrow]"]  # fmt: skip


@pytest.mark.parametrize("first", [True, False])
def test_columns_on_one_side_only_are_missing_on_the_other(first: bool) -> None:
    other = pd.DataFrame({"n": [1, 2]})
    found = together(FULL, other) if first else together(other, FULL)
    assert list(found.columns) == [*FULL.columns, "n"] if first else ["n", *FULL.columns]
    assert [str(found[c].dtype) for c in FULL.columns] == LOOSE
    there = 0 if first else 2
    for name in FULL.columns:
        cells = plain(found[name])
        assert (
            np.array_equal(cells[there], FULL[name][0])
            if name in ("v", "ar")
            else cells[there] == FULL[name][0]
        )
        assert [c for at, c in enumerate(cells) if at != there] == [None, None]


def test_labels_of_different_types_stay_two_columns() -> None:
    found = together(pd.DataFrame({0: [1]}), pd.DataFrame({"0": [2]}))
    assert list(found.columns) == [0, "0"]
    assert plain(found[0]) == [1, None]
    assert plain(found["0"]) == [None, 2]


def test_text_becomes_document() -> None:
    old, new = pd.DataFrame({"t": ["a"]}), pd.DataFrame({"t": ["b"]})
    merged = merge(encode(old).schema, encode(new, documents="t").schema).schema
    assert [c.kind for c in columns(merged)] == ["document"]


def test_strict_lists_every_difference() -> None:
    old = pd.DataFrame({"a": [1], "b": ["x"], "c": [1]})
    assert together(old, old[["c", "a", "b"]], mode="strict").columns.tolist() == ["a", "b", "c"]
    with pytest.raises(SchemaMismatch) as caught:
        together(old, pd.DataFrame({"a": [2.5], "b": ["y"], "z": [1]}), mode="strict")
    for part in ("'a'", "int64", "float64", "'c': missing", "'z': not in the list"):
        assert part in str(caught.value)
    assert "'b'" not in str(caught.value)


# ---------------------------------------------------------------- index

ROWS = pd.DataFrame({"a": [1, 2]})


def at(index: Any) -> pd.DataFrame:
    return ROWS.set_axis(index)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pd.Index(["a", "b"], name="k"), pd.Index(["c", "a"], name="k")),
        (pd.RangeIndex(2, 4), pd.RangeIndex(4, 6)),
        (pd.RangeIndex(2, 4), pd.RangeIndex(9, 7, -1)),
        (pd.date_range("2020", periods=2), pd.date_range("2020-01-03", periods=2)),
        (pd.date_range("2020", periods=2), pd.date_range("2021", periods=2)),
        (pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]), pd.MultiIndex.from_tuples([("a", 3), ("b", 2)])),
    ],
)
def test_indexes_go_on(first: pd.Index, second: pd.Index) -> None:
    found = together(at(first), at(second)).index
    assert found.tolist() == [*first, *second]
    assert found.names == first.names


def test_integer_positions_go_on() -> None:
    found = together(at(pd.Index([7, 3], name="position")), ROWS)
    pd.testing.assert_index_equal(found.index, pd.RangeIndex(4, name="position"))


@pytest.mark.parametrize(
    ("first", "second", "way_out"),
    [
        (pd.RangeIndex(2), pd.Index(["a", "b"]), "reset_index"),
        (pd.RangeIndex(2), pd.RangeIndex(5, 7), "reset_index\\(drop=True\\)"),
        (pd.Index(["a", "b"], name="k"), pd.RangeIndex(2), "set_index"),
        (pd.Index(["a", "b"], name="k"), pd.Index(["a", "b"], name="q"), "rename_axis"),
        (pd.Index([5, 6], name="k"), pd.Index(["a", "b"], name="k"), "no dtype holds both"),
    ],
)
def test_indexes_that_do_not_fit_name_the_way_out(first: pd.Index, second: pd.Index, way_out: str) -> None:
    with pytest.raises(SchemaMismatch, match=way_out):
        together(at(first), at(second))


def test_ranges_that_go_on_leave_the_schema_as_it_is() -> None:
    schemas = [encode(at(pd.RangeIndex(first, first + 2))).schema for first in (2, 4)]
    assert not schemas[0].equals(schemas[1], check_metadata=True)
    assert merge(*schemas).schema is schemas[0]
    days = [encode(at(pd.date_range("2020", periods=2, freq=freq))).schema for freq in ("D", "h")]
    assert merge(*days).schema is days[0]


# ---------------------------------------------------------------- generated lists

EXACT = st.integers(-(2**53), 2**53)
WORDS = st.none() | st.text(st.characters(codec="utf-8"), max_size=3)
SECONDS = st.none() | st.integers(-(2**32), 2**32)
PAIRS = st.none() | st.tuples(st.floats(width=16), st.floats(width=16))


def vectors(dtype: str) -> Any:
    return lambda cells: obj(*(None if cell is None else np.array(cell, dtype) for cell in cells))


def moments(code: str) -> Any:
    def make(cells: list[int | None]) -> pd.Series:
        unit = np.datetime_data(code)[0]
        return pd.Series(
            np.array([np.datetime64("NaT") if c is None else c for c in cells], f"{code[0]}8[s]").astype(
                f"{code[0]}8[{unit}]"
            )
        )

    return make


def words(cells: list[Any]) -> pd.Series:
    return pd.Series(pd.Categorical(cells, categories=sorted({c for c in cells if c is not None})))


def typed(dtype: str) -> Any:
    return lambda cells: pd.Series(cells, dtype=dtype)


#: Name of a column -> the ways in which a frame may hold it, each as (cells, how they become a column).
FAMILIES: dict[str, list[tuple[st.SearchStrategy, Any]]] = {
    "number": [
        (st.integers(-128, 127), typed("int8")),
        (EXACT, typed("int64")),
        (st.integers(0, 2**32 - 1), typed("uint32")),
        (st.floats(allow_nan=False), typed("float64")),
        (st.floats(allow_nan=False, width=32), typed("float32")),
        (st.none() | EXACT, typed("Int64")),
        (st.none() | st.floats(allow_nan=False), typed("Float64")),
    ],
    "truth": [(st.booleans(), typed("bool")), (st.none() | st.booleans(), typed("boolean"))],
    "text": [
        (WORDS, typed(TEXT)),
        (WORDS, typed("string")),
        (WORDS, lambda cells: obj(*cells)),
        (WORDS, words),
    ],
    "category": [(WORDS, words)],
    "moment": [(SECONDS, moments(f"M8[{unit}]")) for unit in ("s", "ms", "us", "ns")],
    "span": [(SECONDS, moments(f"m8[{unit}]")) for unit in ("s", "ms", "us", "ns")],
    "vector": [(PAIRS, vectors(kind)) for kind in ("f2", "f4", "f8")] + [(PAIRS, lambda cells: obj(*cells))],
    "anything": [
        (WORDS, lambda cells: obj(*cells)),
        (st.none() | EXACT, lambda cells: obj(*cells)),
        (
            st.none() | st.tuples(EXACT, WORDS) | st.dictionaries(EXACT, WORDS, max_size=2),
            lambda cells: obj(*cells),
        ),
    ],
}


@st.composite
def growing(draw: st.DrawFn) -> tuple[list[pd.DataFrame], dict[str, list[Any]]]:
    """Frames for one list, and the cells that it then holds, by column."""
    frames: list[pd.DataFrame] = []
    held: dict[str, list[Any]] = {}
    total = 0
    for _ in range(draw(st.integers(1, 4))):
        n = draw(st.integers(0, 3))
        columns = {}
        for name in draw(st.lists(st.sampled_from(sorted(FAMILIES)), unique=True, max_size=4)):
            cells, make = draw(st.sampled_from(FAMILIES[name]))
            drawn = draw(st.lists(cells, min_size=n, max_size=n))
            columns[name] = make(drawn).set_axis(range(n))
            held.setdefault(name, [None] * total).extend(drawn)
        total += n
        for cells in held.values():
            cells.extend([None] * (total - len(cells)))
        frames.append(pd.DataFrame(columns, index=pd.RangeIndex(n)))
    return frames, held


def cell_of(name: str, cell: Any) -> Any:
    """A cell that was read, as it was drawn."""
    if name == "vector":
        return tuple(cell.tolist())
    if name == "moment":
        return int(cell.timestamp())
    return int(cell.total_seconds()) if name == "span" else cell


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    return a == b or (a != a and b != b)


@settings(max_examples=times(80), suppress_health_check=list(HealthCheck))
@given(growing())
def test_cells_survive_any_growth(grown: tuple[list[pd.DataFrame], dict[str, list[Any]]]) -> None:
    frames, held = grown
    found = together(*frames)
    assert list(found.columns) == list(held)
    for name, cells in held.items():
        back = [None if cell is None else cell_of(name, cell) for cell in plain(found[name])]
        assert all(map(alike, back, cells)), (name, back, cells)
        assert len(back) == len(cells)


def test_schema_of_positions_has_no_index_fields() -> None:
    assert index_fields(merge(encode(ROWS).schema, encode(ROWS).schema).schema) == []


# ---------------------------------------------------------------- columns without a value


@pytest.mark.parametrize(
    ("values", "write"),
    [
        (pd.Series(["a", None], dtype="str"), "append"),
        (pd.Series([True, False]), "upsert"),
        (pd.Series(pd.to_datetime(["2024-01-02", None])), "append"),
        (pd.Series(["a", "b"], dtype="category"), "upsert"),
        (pd.Series([np.array([1.0, 2.0], "float32"), np.array([3.0, 4.0], "float32")]), "append"),
    ],
    ids=["str", "bool", "time", "category", "vectors"],
)
def test_floats_without_a_value_take_the_dtype_of_the_first_others(vault, values, write):
    """pandas makes floats of a column in which all is missing."""
    missing = pd.DataFrame({"id": [1, 2], "x": [np.nan, np.nan]})
    filled = pd.DataFrame({"id": [3, 4], "x": values})
    more = missing.assign(id=[5, 6])
    vault.upsert("rows", missing, key="id")
    for rows in (filled, more):
        getattr(vault, write)("rows", rows)
    read = vault.read("rows")
    assert read["x"].isna().tolist()[:2] + read["x"].isna().tolist()[4:] == [True] * 4
    assert [str(cell) for cell in read["x"].iloc[2:4]] == [str(cell) for cell in values]
    assert vault.read("rows@1")["x"].dtype == "float64"  # as it was saved
    assert len(vault.read("rows", versions="all")) == 2 + 4 + 6
    assert vault.history("rows", key=1)["version"].tolist() == [1]
    assert vault.history("rows", key=3)["x"].notna().tolist() == [True]


@pytest.mark.parametrize("write", ["save", "append", "upsert"])
def test_chunks_of_floats_without_a_value_take_the_dtype_of_those_that_come_after(vault, write):
    """Whatever stands between them, and whether or not the column is in all of them."""
    nan, none, words = [np.nan, np.nan], [None], ["a", "b"]
    cells = [nan, none, nan, words, nan]
    columns = [{"x": pd.Series(part, dtype=object) if part is none else part} for part in cells]
    columns = [columns[0], {"y": [1.5]}, *columns[1:]]
    ids = itertools.count()
    chunks = [pd.DataFrame({"id": [next(ids) for _ in next(iter(part.values()))]} | part) for part in columns]
    getattr(vault, write)("rows", iter(chunks), key="id")
    read = vault.read("rows")
    assert read["x"].dropna().tolist() == words
    assert read["x"].isna().tolist() == [True] * 6 + [False] * 2 + [True] * 2
    assert read["y"].dropna().tolist() == [1.5]
    with pytest.raises(SchemaMismatch, match="'x'"):  # a chunk of floats among those of NaN
        vault.save("others", [pd.DataFrame({"x": part}) for part in (nan, [np.nan, 0.5], nan, words)])
    assert "others" not in vault


def test_floats_with_a_value_do_not(vault):
    vault.save("rows", pd.DataFrame({"x": [np.nan, 0.5]}))
    with pytest.raises(SchemaMismatch, match=r"'x' would become str, .* the number 0.5"):
        vault.append("rows", {"x": "a"})
    vault.save("texts", pd.DataFrame({"x": ["a"], "y": [True]}))
    with pytest.raises(SchemaMismatch, match=r"(?s)'x': the list has str.*'y'.*truth values"):
        vault.append("texts", pd.DataFrame({"x": [np.nan, 1.5], "y": [0.5, 2.0]}))
    assert (vault["rows"].version, vault["texts"].version) == (1, 1)
    with pytest.raises(SchemaMismatch, match="exactly"):
        vault.append("texts", pd.DataFrame({"x": [np.nan], "y": [True]}), schema="strict")
    chunks = iter([pd.DataFrame({"x": ["a"]}), pd.DataFrame({"x": [np.nan]})])
    assert vault.save("chunks", chunks).read()["x"].isna().tolist() == [False, True]
    with pytest.raises(SchemaMismatch):  # what a chunk holds is not looked at twice
        vault.save("chunks", iter([pd.DataFrame({"x": [1.5]}), pd.DataFrame({"x": ["a"]})]))
