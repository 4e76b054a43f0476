"""A filter that the store judges beforehand keeps the rows that pandas keeps of the whole list, and moves few others."""

from __future__ import annotations

import operator
import uuid
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import database_of, new_database
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.filters.predicate import Condition
from tablevault_pd.filters.pushdown import pushdown
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.filtering import filter_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EDGE = 2**53
INTS = st.sampled_from([0, 1, -1, 3, EDGE - 1, EDGE, EDGE + 1, -EDGE - 1, 2**63 - 1, -(2**63)])
FLOATS = st.sampled_from([0.0, -0.0, 0.1, 1.0, 3.0, -2.5, 1e300, np.nan, np.inf, -np.inf, float(EDGE)])
NARROW = st.sampled_from([0.0, -0.0, 0.1, 1.0, 16777216.0, np.nan, np.inf])
TEXTS = st.sampled_from(["", "a", "A", "ab", "é", "e\u0301", "ß", "ss", "日本", "a b", "NaN", "1"])
TIMES = st.sampled_from(["1969-12-31 23:59:59.5", "1970-01-01", "2020-01-01", "2020-01-01 00:00:00.000001"])
LATER = ["b", "c", "m", "n", "o", "s", "t", "z", "p", "i", "f", "g"]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes row groups of some rows, at first of two; all scans look at their zone maps."""

    def make(rows: int) -> None:
        monkeypatch.setattr("tablevault_pd.store.engine.zones.RANGE_ROWS", rows)
        monkeypatch.setattr("tablevault_pd.store.arango.payloads.GROUP_ROWS", rows)
        monkeypatch.setattr("tablevault_pd.store.arango.reader.FEW_BYTES", -1)

    monkeypatch.setattr("tablevault_pd.store.engine.zones.RANGE_ROWS", 2)
    monkeypatch.setattr("tablevault_pd.store.embedded.segments.INLINE_BYTES", -1)
    monkeypatch.setattr("tablevault_pd.reading.filtering.FEW_ROWS", 0)
    if find_spec("arango") is not None:
        make(2)
    return make


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.none()


def _times(values: list[Any], unit: str, zone: str | None) -> pd.Series:
    found = pd.Series(pd.to_datetime(values, format="ISO8601")).astype(f"datetime64[{unit}]")
    return found if zone is None else found.dt.tz_localize("UTC").dt.tz_convert(zone)


PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "lr": maybe(st.sampled_from([0.1, 1, 3.0, -2.5, float("nan"), 0])),
        "name": maybe(TEXTS),
        "on": st.booleans(),
        "deep": st.fixed_dictionaries({"x": st.integers(-2, 2)}) | st.none(),
        "odd": st.sampled_from([(1, 2), {"$": 1}, b"x"]),
    },
)
CELLS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "b": (st.booleans(), lambda v: pd.Series(v, dtype=bool)),
    "c": (maybe(TEXTS), lambda v: pd.Series(pd.Categorical(v))),
    "e": (maybe(INTS), lambda v: pd.Series(v, dtype=pd.ArrowDtype(pa.int64()))),
    "f": (FLOATS, lambda v: pd.Series(v, dtype="float64")),
    "g": (NARROW, lambda v: pd.Series(v, dtype="float32")),
    "i": (INTS, lambda v: pd.Series(v, dtype="int64")),
    "k": (maybe(INTS), lambda v: pd.Series(v, dtype=object)),
    "m": (maybe(st.booleans()), lambda v: pd.Series(v, dtype="boolean")),
    "n": (maybe(INTS), lambda v: pd.Series(v, dtype="Int64")),
    "o": (maybe(TEXTS), lambda v: pd.Series(v, dtype=object)),
    "p": (maybe(PARAMS), lambda v: pd.Series(v, dtype=object)),
    "s": (maybe(TEXTS), lambda v: pd.Series(v, dtype="string")),
    "t": (maybe(TIMES), lambda v: _times(v, "us", None)),
    "u": (st.sampled_from([0, 3, EDGE + 1, 2**63, 2**64 - 1]), lambda v: pd.Series(v, dtype="uint64")),
    "z": (maybe(TIMES), lambda v: _times(v, "ns", "Europe/Zurich")),
}
#: The same columns as they may be in rows that are appended.
OTHERS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "f": (st.integers(-3, 3), lambda v: pd.Series(v, dtype="int8")),
    "g": (st.integers(-3, 3), lambda v: pd.Series(v, dtype="float16")),
    "i": (st.integers(0, 3), lambda v: pd.Series(v, dtype="uint8")),
    "n": (st.integers(0, 2**63 - 1), lambda v: pd.Series(v, dtype="int64")),
    "s": (maybe(TEXTS), lambda v: pd.Series(pd.Categorical(v))),
    "o": (st.none(), lambda v: pd.Series(v, dtype=object)),
    "p": (st.none(), lambda v: pd.Series(v, dtype=object)),
    "t": (maybe(TIMES), lambda v: _times(v, "ns", None)),
}
COMPARED = ["==", "!=", "<", "<=", ">", ">="]
OPERATORS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}  # fmt: skip
MOMENT = TIMES.map(pd.Timestamp)
NUMBERS = st.sampled_from([0, 1, 3, -2, 0.1, -0.0, 2.5, 1e300])
ASKED: dict[str, tuple[list[str], st.SearchStrategy[Any]]] = {
    "b": (["==", "!="], st.booleans()),
    "c": (["==", "!="], TEXTS),
    "e": (COMPARED, INTS),
    "f": (COMPARED, NUMBERS | FLOATS.filter(np.isfinite)),
    "g": (COMPARED, NUMBERS),
    "i": (COMPARED, INTS | st.sampled_from([0.5, -2.0])),
    "k": (COMPARED, INTS),
    "m": (["==", "!="], st.booleans()),
    "n": (COMPARED, INTS),
    "o": (["==", "!="], TEXTS),
    "s": (COMPARED, TEXTS),
    "t": (COMPARED, MOMENT),
    "u": (COMPARED, st.sampled_from([0, 3, EDGE + 1, 2**63, 2**64 - 1])),
    "z": (COMPARED, MOMENT.map(lambda moment: moment.tz_localize("UTC"))),
    "p.lr": (COMPARED, st.sampled_from([0, 1, 0.1, 2.5])),
    "p.name": (["==", "!="], TEXTS),
    "p.on": (["==", "!="], st.booleans()),
    "p.deep.x": (COMPARED, st.integers(-2, 2)),
}


@st.composite
def frames_of(
    draw: st.DrawFn, cells: dict[str, tuple[st.SearchStrategy[Any], Any]], names: list[str]
) -> pd.DataFrame:
    count = draw(st.integers(1, 6))
    made = {name: cells[name][1](draw(st.lists(cells[name][0], min_size=count, max_size=count))) for name in names}  # fmt: skip
    return pd.DataFrame(made)


@st.composite
def histories(draw: st.DrawFn) -> list[pd.DataFrame]:
    """A list, and up to two appends with other columns, or the same ones as other dtypes."""
    names = sorted(
        {*draw(st.lists(st.sampled_from(sorted(CELLS)), unique=True, min_size=2, max_size=5)), "b"}
    )
    found = [draw(frames_of(CELLS, names))]
    for _ in range(draw(st.integers(0, 2))):
        later = draw(st.lists(st.sampled_from([*names, *LATER[:3]]), unique=True, min_size=1))
        found.append(draw(frames_of(CELLS | (OTHERS if draw(st.booleans()) else {}), later)))
    return found


@st.composite
def terms(draw: st.DrawFn) -> tuple[str, str, Any]:
    column = draw(st.sampled_from(sorted(ASKED)))
    operators, values = ASKED[column]
    more = ["is null", "is not null", "in", "not in"]
    more += ["between"] if operators is COMPARED and column != "s" else []
    more += ["contains"] * 2 if column in ("o", "s") else []
    asked = draw(st.sampled_from(operators * 2 + more))
    if asked in ("in", "not in"):
        return column, asked, draw(st.lists(values, min_size=1, max_size=3))
    if asked == "between":
        return column, asked, (draw(values), draw(values))
    if asked == "contains":
        return column, asked, draw(TEXTS)
    return column, asked, draw(values)


GROUPS = st.lists(st.lists(terms(), min_size=1, max_size=3), min_size=1, max_size=2)


def saved(vault: tv.Vault, history: list[pd.DataFrame]) -> tv.List:
    """The history as a list; appends that do not fit are left out."""
    found = vault.save(uuid.uuid4().hex, history[0], embeddings=False)
    for frame in history[1:]:
        try:
            found.append(frame, embeddings=False)
        except (tv.SchemaMismatch, tv.UnsupportedColumn):
            continue
    return vault[found.name]


def inside(cell: Any, keys: list[str]) -> Any:
    for key in keys:
        cell = cell.get(key) if isinstance(cell, dict) else None
    return cell


def opened(whole: pd.DataFrame) -> pd.DataFrame:
    """The frame with what is inside of dicts as columns."""
    whole = whole.copy(deep=False)
    for name in [name for name in ASKED if "." in name and "p" in whole]:
        values = [inside(cell, name.split(".")[1:]) for cell in whole["p"]]
        empty = all(value is None for value in values)
        whole[name] = pd.Series([np.nan] * len(values), dtype=object) if empty else pd.Series(values).infer_objects()  # fmt: skip
        whole[name].index = whole.index
    return whole


def kept(groups: list[list[Any]], whole: pd.DataFrame) -> list[bool]:
    """Tuples judged in Python, row by row."""

    def signed(cell: Any) -> bool:
        return bool(
            isinstance(cell, float) and np.signbit(cell)
        )  # "in" tells zeros apart, in read_parquet, too

    def fits(cell: Any, asked: str, value: Any) -> bool:
        missing = cell is None or cell is pd.NA or cell is pd.NaT or cell != cell
        if asked in ("is null", "is not null"):
            return missing == (asked == "is null")
        if missing:
            return asked == "not in"
        if asked in ("in", "not in"):
            return any(cell == each and signed(cell) == signed(each) for each in value) == (asked == "in")
        if asked == "between":
            return value[0] <= cell <= value[1]
        return value in cell if asked == "contains" else OPERATORS[asked](cell, value)

    cells = {name: whole[name].astype(object).tolist() for name in {t[0] for group in groups for t in group}}
    return [
        any(all(fits(cells[name][row], asked, value) for name, asked, value in group) for group in groups)
        for row in range(len(whole))
    ]


def same_or_refused(found: tv.List, asked: Any, expected: Any, columns: list[str] | None = None) -> None:
    """Reading with a filter gives the expected rows of the whole list, or fails where judging them all fails."""
    whole = found.read(columns=columns)
    try:
        mask = expected(opened(found.read()))
    except Exception:  # noqa: BLE001  # whatever pandas does not judge
        with pytest.raises(tv.InvalidFilter):
            found.read(filters=asked, columns=columns)
        return
    got = found.read(filters=asked, columns=columns)
    pd.testing.assert_frame_equal(got, whole[mask])


def there(groups: list[list[Any]], found: tv.List) -> list[list[Any]]:
    """The terms on columns that the list has."""
    groups = [[t for t in group if t[0].split(".")[0] in found.columns] for group in groups]
    return [group for group in groups if group] or [[("b", "==", True)]]


SETTINGS = settings(
    max_examples=times(12, ordinary=6), report_multiple_bugs=False
)  # fmt: skip


@given(histories(), GROUPS)
@SETTINGS
def test_tuples_keep_what_they_keep_of_the_whole_list(vault, history, groups):
    found = saved(vault, history)
    groups = there(groups, found)
    try:
        got = found.read(filters=groups)
    except (
        tv.InvalidFilter
    ) as refused:  # Arrow refuses more than Python does: then it does so for the whole list
        condition = filter_for(vault.store, reading.resolve(vault.store, found.name), groups)
        with pytest.raises(tv.InvalidFilter):
            condition.mask(found.read())
        assert "cannot be compared" in str(refused)
        return
    whole = found.read()
    pd.testing.assert_frame_equal(got, whole[kept(groups, opened(whole))])


def text_of(term: tuple[str, str, Any]) -> str:
    name, asked, value = term
    name = name if "." in name and asked in COMPARED else f"`{name}`"
    if asked in ("is null", "is not null"):
        return f"{name}.isna()" if asked == "is null" else f"{name}.notna()"
    if asked == "contains":
        return f"{name}.str.contains({value!r})"
    if asked == "between":
        return f"{value[0]!r} <= {name} <= {value[1]!r}"
    return f"({name} {asked} {value!r})"


def rows_of_query(whole: pd.DataFrame, text: str) -> Any:
    """Which rows ``query`` keeps. Where it refuses truth values with missing ones among them, a missing one keeps no row."""
    try:
        return whole.index.isin(whole.query(text, engine="python").index)
    except ValueError as error:
        if "non-boolean array containing NA" not in str(error):
            raise
        values = whole.eval(text, engine="python")
        assert {type(value) for value in values.dropna()} <= {bool}
        return values.fillna(False).astype(bool).to_numpy()


def test_a_missing_truth_value_keeps_no_row(vault):
    texts = pd.DataFrame({"o": pd.Series(["ab", "b", None], dtype=object)})
    found = vault.save("texts", texts)
    assert found.read(filters="o.str.contains('a')").index.tolist() == [0]
    assert found.read(filters="o.str.contains('')").index.tolist() == [0, 1]
    assert found.read(filters="o.str.contains('c')").empty
    with pytest.raises(ValueError, match="containing NA"):
        texts.query("o.str.contains('a')", engine="python")


@given(histories(), GROUPS, st.lists(st.booleans(), min_size=2, max_size=2))
@SETTINGS
def test_strings_keep_what_query_keeps_of_the_whole_list(vault, history, groups, inverted):
    found = saved(vault, history)
    groups = there(groups, found)
    for group in groups:
        group[:] = [
            (name, asked, str(value)) if isinstance(value, pd.Timestamp) else (name, asked, value)
            for name, asked, value in group
            if name not in ("t", "z") or asked in COMPARED
        ] or [("b", "==", True)]
    text = " or ".join(
        ("not " if no else "") + "(" + " & ".join(f"({text_of(term)})" for term in group) + ")"
        for group, no in zip(groups, inverted, strict=False)
    )
    names = [name for name in ASKED if "." in name]
    plain = text
    for name in names:
        plain = plain.replace(f"({name} ", f"(`{name}` ")
        if hasattr(pd.Series, name.partition(".")[2]):  # without backticks it is an attribute of the column
            text = text.replace(f"({name} ", f"(`{name}` ")
    same_or_refused(found, text, lambda whole: rows_of_query(whole, plain))


def expression_of(term: tuple[str, str, Any]) -> Any:
    name, asked, value = term
    column = pd.col(name)
    if asked in ("is null", "is not null"):
        return column.isna() if asked == "is null" else column.notna()
    if asked == "contains":
        return column.str.contains(value)
    if asked == "between":
        return column.between(*value)
    if asked in ("in", "not in"):
        return column.isin(value) if asked == "in" else ~column.isin(value)
    return OPERATORS[asked](column, value)


@pytest.mark.skipif(not hasattr(pd, "col"), reason="pd.col came with pandas 3")
@given(histories(), GROUPS, st.lists(st.booleans(), min_size=2, max_size=2))
@SETTINGS
def test_expressions_keep_what_pandas_keeps_of_the_whole_list(vault, history, groups, inverted):
    found = saved(vault, history)
    joined: Any = None
    for group, no in zip(there(groups, found), inverted, strict=False):
        every: Any = None
        for term in group:
            one = expression_of(term)
            every = one if every is None else every & one
        every = ~every if no else every
        joined = every if joined is None else joined | every

    def expected(whole: pd.DataFrame) -> Any:
        return whole.assign(_keep=joined)["_keep"].astype("boolean").fillna(False).to_numpy(bool)

    same_or_refused(found, joined, expected, columns=["b"])


# ---------------------------------------------------------------- versions and windows


def test_versions_and_windows_are_filtered_alike(vault):
    many = pd.DataFrame({"x": range(20), "word": [f"w{n % 3}" for n in range(20)]})
    vault.save("a", many)
    vault.append("a", many.assign(x=many.x + 20, more=0.5))
    vault.save("a", many[:2])
    vault.restore("a", version=2)
    vault.append("a", many[:7].drop(columns="x"))
    for window in (
        {},
        {"version": 1},
        {"version": 3},
        {"start": 5, "stop": 30},
        {"start": -9},
        {"start": 4, "stop": 4},
    ):
        whole = vault.read("a", **window)
        for asked in ("x > 17 and word == 'w1'", "more == 0.5 or x == 0", "not x < 38", "word == 'none'"):
            if "more" in asked and "more" not in whole:
                continue
            got = vault.read("a", filters=asked, **window)
            pd.testing.assert_frame_equal(got, whole.query(asked))
    times = vault.versions("a")["time"]
    got = vault.read("a", filters=[("x", ">=", 18)], as_of=times.iloc[0])
    assert got["x"].tolist() == [18, 19]


def test_rows_left_out_bring_their_categories(vault):
    vault.save("a", pd.DataFrame({"c": pd.Categorical(["x", "y"]), "n": [1, 2]}))
    vault.append("a", pd.DataFrame({"c": pd.Categorical(["z"]), "n": [3]}))
    got = vault.read("a", filters=[("n", "==", 1)])
    assert got["c"].cat.categories.tolist() == ["x", "y", "z"]
    assert vault.read("a", filters="n > 5")["c"].cat.categories.tolist() == ["x", "y", "z"]


def test_a_search_with_filters_and_vectors_finds_what_the_rows_say(vault):
    vault.save("a", pd.DataFrame({"x": range(9), "text": ["wind"] * 9, "vec": list(np.eye(9))}))
    found = vault.search("wind", filters=[("x", ">", 6)])
    assert sorted(found["position"]) == [7, 8]
    assert vault.search(near={"vec": list(np.eye(9))[2]}, filters="x < 3", k=1)["position"].tolist() == [2]


@pytest.mark.parametrize(
    "asked", ["g == 0.1", "g <= 0.1", "not g > 0.1", "g in [0.1, 5]", "h == 0.1", "0.1 >= h"]
)
def test_a_constant_is_rounded_as_the_column_is(vault, asked):
    vault.save(
        "a",
        pd.DataFrame({"g": [0.1, 7.0, 0.0], "h": [7.0, 0.1, 0.0]}).astype({"g": "float32", "h": "float16"}),
    )
    whole = vault.read("a")
    pd.testing.assert_frame_equal(vault.read("a", filters=asked), whole.query(asked, engine="python"))


def test_numbers_that_no_server_holds_are_judged_by_pandas(vault):
    vault.save("a", pd.DataFrame({"p": [{"n": 10**400}, {"n": 1}, {"n": -(10**400)}, {"n": 0.5}]}))
    assert vault.read("a", filters=[("p.n", "is not null", None)]).index.tolist() == [0, 1, 2, 3]
    assert vault.read("a", filters="p.n > 0.75").index.tolist() == [0, 1]


def test_a_filter_inside_of_dicts_passes_rows_that_lack_the_key(vault):
    vault.save("a", pd.DataFrame({"p": [{"lr": 0.5}, {}], "n": [1, 2]}))
    vault.append("a", pd.DataFrame({"p": [{"name": "x"}, None], "n": [3, 4]}))
    assert vault.read("a", filters="p.lr < 1")["n"].tolist() == [1]
    assert vault.read("a", filters="p.lr < 1 and n > 2").empty
    assert vault.read("a", filters=[[("p.name", "in", ["x"])], [("n", "==", 2)]])["n"].tolist() == [2, 3]


# ---------------------------------------------------------------- what is asked of the store

PLAIN = {
    "x": [1, 2],
    "y": [0.5, 1.5],
    "s": pd.array(["a", "b"], dtype="string"),
    "c": pd.Categorical(["a", "b"]),
}


def hint(vault: tv.Vault, asked: Any) -> Any:
    version = vault.store.head("a")
    condition = filter_for(vault.store, version, asked)
    return pushdown(condition.tree, vault.store.schema(version.schema_id))


JUDGED_TOGETHER = ["x > x.mean()", "x == 1 and y > y.mean()", "x == 1 and s.str.len() == s.str.len().max()",
                   "x == 1 and position > 0", "x != 1", "s < 'b'", "x == 1 or s < 'b'", "x * y > 2",
                   [("x", "!=", 1)], [[("x", "==", 1)], [("s", ">", "a")]], [("x", "not in", [1])]]  # fmt: skip


@pytest.mark.parametrize("asked", JUDGED_TOGETHER, ids=str)
def test_what_needs_all_rows_leaves_none_out(folder_vault, asked):
    folder_vault.save("a", pd.DataFrame(PLAIN))
    assert hint(folder_vault, asked) is None


@pytest.mark.parametrize(
    "asked",
    ["x == 1 and s < 'b'", "`x` == 1 & y * 2 > 1", "1 == x", [("x", "==", 1), ("s", "!=", "b")], [("x", "in", [1])]],
    ids=str,
)  # fmt: skip
def test_what_is_clear_is_asked_of_the_store(folder_vault, asked):
    folder_vault.save("a", pd.DataFrame(PLAIN))
    assert hint(folder_vault, asked) == ((Condition(("x",), "number", "in", (1,)),),)


# ---------------------------------------------------------------- on a server


@pytest.fixture
def server_vault(here: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[tv.Vault, str]]:
    """An empty vault on a server, and its address; it need not be sound when the test is done."""
    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        with tv.connect(url, create=True) as opened:
            yield opened, url


@pytest.fixture
def came(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the payloads that were fetched."""
    from tablevault_pd.store.arango import client, reader

    found: list[str] = []
    real = client.Client.query

    def query(self: Any, aql: str, /, **values: Any) -> list[Any]:
        answer = real(self, aql, **values)
        found.extend(one["key"] for one in answer if aql == reader.PAYLOADS_BY_KEY)
        return answer

    monkeypatch.setattr(client.Client, "query", query)
    return found


#: Filters, and in how many groups of ten rows they may match.
FEW: list[tuple[Any, int]] = [
    ("x == 7", 1), ("x > 197", 1), ("~(x < 197.5)", 1), ("2 < x <= 4 and word == 'w0'", 1), ("word == 'w1'", 20),
    ("word == 'x'", 0), ("cat == 'w2' and x < 10", 1), ("flag", 1), ("flag and x > 100", 0), ("p.lr < 0.02", 20),
    ("day < '2020-01-03'", 1), ("gap == 1", 0), ("gap.notna()", 0), ([("x", "between", (3, 15))], 2),
    ([("day", "in", [pd.Timestamp("2020-01-02")])], 1), ([[("x", "==", 1)], [("word", "==", "w90")]], 1),
    ([("none", "is not null", None)], 1), ("nan < 2", 1), ("~(nan < 2)", 20), ("nan.notna()", 20),
]  # fmt: skip


@pytest.mark.arango
def test_only_groups_of_rows_that_may_fit_travel(server_vault, small_groups, came):
    small_groups(10)
    vault, _ = server_vault
    n = 200
    frame = pd.DataFrame(
        {
            "x": range(n),
            "word": [f"w{row % 10}" for row in range(n)],
            "cat": pd.Categorical([f"w{row % 10}" for row in range(n)]),
            "flag": [row == 50 for row in range(n)],
            "p": [{"lr": row / n, "name": f"n{row % 10}"} for row in range(n)],
            "day": pd.date_range("2020-01-01", periods=n),
            "none": [1.5 if row < 4 else None for row in range(n)],
            "nan": [1.5 if row < 4 else np.nan for row in range(n)],
            "gap": pd.array([None] * n, "Int64"),
            "doc": [f"text {row}" for row in range(n)],
        }
    ).astype({"none": "Float64"})
    vault.save("a", frame, documents=["doc"])
    whole = vault.read("a")
    wrong = {}
    for asked, groups in FEW:
        came.clear()
        got = vault.read("a", filters=asked, columns=["x"])
        if isinstance(asked, str) and not asked.startswith("p."):
            assert got["x"].tolist() == whole.query(asked)["x"].tolist()
        scalars = {key for key in came if "." not in key}
        if len(scalars) != groups:
            wrong[str(asked)] = len(scalars)
    assert wrong == {}


@pytest.mark.arango
def test_large_cells_travel_for_rows_that_passed_alone(server_vault, small_groups, came):
    small_groups(10)
    vault, _ = server_vault
    frame = pd.DataFrame(
        {
            "x": range(200),
            "vec": list(np.arange(600.0).reshape(200, 3)),
            "doc": [f"text {row}" for row in range(200)],
        }
    )
    vault.save("a", frame, documents=["doc"])
    whole = vault.read("a")
    for asked, groups in (("x % 100 == 7", 2), ("x < 0", 0), ("doc == 'text 55' and x > 0", 1)):
        for columns in (None, ["vec"], ["doc", "x"]):
            came.clear()
            got = vault.read("a", filters=asked, columns=columns)
            expected = whole.query(asked)
            pd.testing.assert_frame_equal(got, expected if columns is None else expected[columns])
            places = [key.partition(".")[2] for key in came]
            assert places.count("001") == (groups if columns in (None, ["vec"]) else 0)
    assert len(vault.read("a", filters="x < 50", columns=["vec"])) == 50


@pytest.mark.arango
def test_texts_beside_the_records_are_not_judged_on_the_server(server_vault):
    vault, _ = server_vault
    vault.save("a", pd.DataFrame({"doc": ["one", "two"], "n": [1, 2]}), documents=["doc"])
    assert vault.read("a", filters=[("doc", "==", "two")])["n"].tolist() == [2]
    assert vault.read("a", filters="doc.str.contains('one') and n < 2")["n"].tolist() == [1]
    vault.save("b", pd.DataFrame({"doc": ["one", "two"]}), documents=["doc"])
    vault.append("b", pd.DataFrame({"doc": ["three"], "n": [3]}))
    assert vault.read("b", filters=[("n", "==", 3)])["doc"].tolist() == ["three"]
    assert vault.read("b", filters=[("n", "is null", None)])["doc"].tolist() == ["one", "two"]


@pytest.mark.arango
def test_a_payload_that_is_missing_is_noticed_though_no_row_of_it_would_fit(
    server_vault, small_groups, monkeypatch
):
    from tablevault_pd.store.arango import reader

    small_groups(2)
    monkeypatch.setattr(reader, "INCOMPLETE_PAUSES_S", (0.01,))
    vault, url = server_vault
    vault.save("a", pd.DataFrame({"x": range(10), "t": list("abcdefghij")}))
    database_of(url).aql.execute("FOR p IN tv_payloads FILTER p.row == 4 REMOVE p IN tv_payloads")
    for asked in ("x > 7", "x == 100", [("x", "==", 1)]):
        with pytest.raises(tv.VaultCorrupt, match="Incomplete batch"):
            vault.read("a", filters=asked)
    assert vault.read("a", filters="x > 7", start=6)["x"].tolist() == [8, 9]


@pytest.mark.arango
def test_a_scan_leaves_out_groups_in_windows_too(server_vault, small_groups, monkeypatch):
    from tablevault_pd.store.arango import windows

    small_groups(4)
    monkeypatch.setattr(windows, "WINDOW_ROWS", 7)
    vault, _ = server_vault
    vault.save("a", pd.DataFrame({"x": range(30), "vec": list(np.arange(60.0).reshape(30, 2))}))
    vault.append("a", pd.DataFrame({"x": [100, 3], "vec": [[1.0, 2.0], [3.0, 4.0]]}))
    whole = vault.read("a")
    for asked in ("x % 5 == 0", "x > 3 and x < 19", "x == 3", "x >= 0"):
        pd.testing.assert_frame_equal(vault.read("a", filters=asked), whole.query(asked))
    version = vault.store.head("a")
    where = ((Condition(("x",), "number", "in", (3, 20)),),)
    found = [int(at) for chunk in vault.store.scan(version, where=where) for at in chunk.positions]
    assert found == [*range(4), *range(20, 24), 30, 31]


# ---------------------------------------------------------------- the contract of a scan

STORED = pd.DataFrame(
    {
        "f": [0.0, -0.0, np.nan, np.inf, 1.5, 2.0**60, None],
        "n": pd.array([0, 1, -(2**53) - 1, None, 2**63 - 1, 7, 8], dtype="Int64"),
        "s": pd.array(["a", None, "A", "", "é", "1", "ab"], dtype="string"),
        "m": pd.array([True, False, None, True, False, True, None], dtype="boolean"),
        "t": pd.to_datetime(["1969-12-31 23:59:58.5", None, "1970-01-01 00:00:00.9", *["2020-01-01"] * 4], format="ISO8601"),
        "p": [{"a": 1}, {"a": "x"}, {"a": (1,)}, {}, None, {"a": {"b": 2}}, {"a": 3}],
    }
).astype({"f": "float64", "t": "datetime64[ms]"})  # fmt: skip
#: A condition, and the rows of which a zone map does not tell that it is surely false.
SURELY: list[tuple[Condition, list[int]]] = [
    (Condition(("f",), "number", "in", (1.5,)), [3, 4, 5]),
    (Condition(("f",), "number", ">", 0), [3, 4, 5]),
    (Condition(("f",), "number", "null"), [2, 3, 5, 6]),
    (Condition(("f",), "number", "<", 0, missing=True), [2, 3, 5, 6]),
    (Condition(("n",), "number", "<", 1), [0, 2, 4]),
    (Condition(("n",), "number", "<=", 1, missing=True), [0, 1, 2, 3, 4]),
    (Condition(("n",), "number", ">=", 7), [2, 4, 5, 6]),
    (Condition(("n",), "number", "not null"), [0, 1, 2, 4, 5, 6]),
    (Condition(("n",), "number", "null", missing=True), [2, 3, 4]),
    (Condition(("s",), "text", "in", ("a", "é")), [0, 4]),
    (Condition(("s",), "text", "contains", "a"), [0, 2, 3, 4, 5, 6]),
    (Condition(("s",), "number", "in", (1,)), [0, 2, 3, 4, 5, 6]),
    (Condition(("s",), "text", "null", missing=True), [1]),
    (Condition(("m",), "bool", "in", (True,)), [0, 3, 5]),
    (Condition(("m",), "bool", "in", (False,), missing=True), [1, 2, 4, 6]),
    (Condition(("t",), "time", "<=", -2), [0]),
    (Condition(("t",), "time", ">=", 0), [2, 3, 4, 5, 6]),
    (Condition(("p", "a"), "number", ">=", 2), [0, 1, 2, 3, 5, 6]),
    (Condition(("none",), "number", "in", (2,)), []),
]


@pytest.mark.parametrize(("condition", "expected"), SURELY, ids=str)
def test_a_scan_leaves_out_no_more_than_what_is_surely_false(
    vault, condition, expected, small_groups, monkeypatch
):
    if vault.store.supports_pushdown:
        small_groups(1)
    else:
        monkeypatch.setattr("tablevault_pd.store.engine.zones.RANGE_ROWS", 1)
    vault.save("a", STORED)
    version = vault.store.head("a")
    came = []
    for chunk in vault.store.scan(version, where=((condition,),)):
        assert len(chunk.positions) == chunk.table.num_rows
        came += [
            (int(at), row["s"]) for at, row in zip(chunk.positions, chunk.table.to_pylist(), strict=True)
        ]
    texts = [None if text is pd.NA else text for text in STORED["s"]]
    assert came == [(at, texts[at]) for at in expected]


def test_a_small_list_does_not_stop_a_large_one_of_its_schema_from_leaving_rows_out(
    folder_vault: tv.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tablevault_pd.reading.filtering.FEW_ROWS", 5)
    for name, rows in (("a", 2), ("b", 50), ("c", 3)):
        folder_vault.save(name, pd.DataFrame({"x": range(rows)}))
    asked: dict[str, Any] = {}
    scan_many = folder_vault.store.scan_many

    def noting(requests: Any) -> Any:
        asked.update({request.version.list: request.where for request in requests})
        return scan_many(requests)

    monkeypatch.setattr(folder_vault.store, "scan_many", noting)
    assert folder_vault.search(filters="x == 1", k=None)["list"].tolist() == ["a", "b", "c"]
    assert {name: where is not None for name, where in asked.items()} == {"a": False, "b": True, "c": False}
