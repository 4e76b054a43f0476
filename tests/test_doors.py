"""Whatever frame goes in, through whatever door: it comes out as it was, or is refused by name and nothing is written."""

from __future__ import annotations

import decimal
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from generated import BIG, any_frames, any_series, check, expected, uncommon_arrow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torture.harness import times

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = [
    pytest.mark.filterwarnings("ignore:assert_index_equal will check the 'freq'"),
    pytest.mark.filterwarnings("ignore:The rows saved to .* have no known parents"),
]
REFUSALS = (tv.UnsupportedColumn, tv.InvalidInput)
some = settings(max_examples=times(10), suppress_health_check=list(HealthCheck))


def head(vault: tv.Vault) -> int:
    """The version that the list shows; 0 before there is one."""
    return vault["a"].version if "a" in vault else 0


def saved(vault: tv.Vault, obj: Any) -> bool:
    """Whether `obj` was saved as the list; if not, the list must be what it was."""
    before = head(vault)
    try:
        vault.save("a", obj)
    except REFUSALS as error:
        assert head(vault) == before
        assert any(word in str(error) for word in ("olumn", "index", "label")), error
        return False
    return True


def check_levels(back: pd.Index, index: pd.Index) -> None:
    if isinstance(index, pd.MultiIndex):
        assert [level.dtype for level in back.levels] == [level.dtype for level in index.levels]


@some
@given(df=any_frames(), cut=st.integers(0, 6))
def test_a_frame_is_read_as_it_was_saved(vault, df, cut):
    if not saved(vault, df):
        return
    wanted = expected(df)
    back = vault.read("a")
    check(back, wanted)
    check_levels(back.index, df.index)
    check_levels(back.columns, df.columns)
    pieces = wanted[:cut], wanted[cut:]
    check(vault.read("a", start=0, stop=cut), pieces[0], freq=False)
    check(vault.read("a", start=cut), pieces[1], freq=False)
    assert vault.save("a", df).version == head(vault)
    assert vault.save("a", back).version == head(vault)


@some
@given(parts=st.lists(any_series, min_size=1, max_size=3), cut=st.integers(0, 6))
def test_columns_filters_and_batches_show_the_same_cells(vault, parts, cut):
    df = pd.DataFrame({f"c{at}": part for at, part in enumerate(parts)})
    df["n"] = np.arange(len(df))
    if not saved(vault, df):
        return
    wanted = expected(df)
    check(vault.read("a", columns=["c0"]), wanted[["c0"]])
    listed = wanted.set_axis(pd.Index(np.arange(len(df)), name="position"))
    for condition in ([("n", ">=", cut)], f"n >= {cut}"):
        check(vault.read("a", filters=condition), listed[cut:])
    check(vault.read("a", filters="n < 2", columns=["c0"]), listed[:2][["c0"]])
    for number, batch in enumerate(vault["a"].batches(2)):
        check(batch, wanted[2 * number : 2 * number + 2], freq=False)


def cells(values: Iterable[Any]) -> list[Any]:
    """Cells in a form that compares by value, whatever their dtype: 2**53 + 1 is not 2.0**53."""
    return [plain(value) for value in values]


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return cells(value.tolist()) if value.ndim else plain(value.item())
    if isinstance(value, (list, tuple)):
        return cells(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return str(value) if isinstance(value, decimal.Decimal) else value


@some
@given(first=st.lists(any_series, min_size=1, max_size=2), then=st.lists(any_series, min_size=1, max_size=3))
def test_rows_that_are_added_change_no_cell(vault, first, then):
    parts = [pd.DataFrame({f"c{at}": part for at, part in enumerate(each)}) for each in (first, then)]
    if not saved(vault, parts[0]):
        return
    before = head(vault)
    try:
        vault.append("a", parts[1])
    except (*REFUSALS, tv.SchemaMismatch):
        assert head(vault) == before
        check(vault.read("a"), expected(parts[0]))
        return
    back = vault.read("a")
    for name in parts[0].columns.union(parts[1].columns):
        wanted = [cell for part in parts for cell in (part[name] if name in part else [None] * len(part))]
        assert cells(back[name]) == cells(wanted)


@some
@given(array=uncommon_arrow)
def test_arrow_goes_in_and_out(vault, array):
    table = pa.table({"n": range(len(array)), "x": array})
    if not saved(vault, table):
        return
    assert cells(pa.table(vault["a"])["x"].to_pylist()) == cells(array.to_pylist())
    assert len(vault.read("a", filters="n >= 1")) == max(0, len(array) - 1)
    assert cells(vault.read("a")["x"]) == cells(array.to_pylist())


numbers = st.one_of(
    BIG,
    BIG.map(abs).map(np.uint64),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.sampled_from([None, pd.NA, np.float32(0.1)]),
)


@some
@given(
    rows=st.lists(st.dictionaries(st.sampled_from("ab"), numbers), min_size=1, max_size=4),
    one_by_one=st.booleans(),
)
def test_rows_of_plain_python_keep_every_number(vault, rows, one_by_one):
    if one_by_one:
        vault.save("a", [])
        rows = [row for row in rows if row and appended(vault, row)]
    elif not saved(vault, rows):
        return
    back = vault.read("a")
    for name in back.columns:
        assert cells(back[name]) == cells([row.get(name) for row in rows])


def appended(vault: tv.Vault, row: dict[str, Any]) -> bool:
    try:
        vault.append("a", row)
    except (*REFUSALS, tv.SchemaMismatch):
        return False
    return True
