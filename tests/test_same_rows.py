"""Rows through versions: a row is the same row where its content is unchanged, matched in order."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd.lineage.digests import digests, row_digests
from tablevault_pd.lineage.same import same_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import tablevault_pd as tv


def docs(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"source": [text[0] for text in texts], "text": list(texts)})


def chunked(vault: tv.Vault, **options: Any) -> pd.DataFrame:
    read = vault.read("docs", **options)
    return read.assign(w=read["text"].str.split()).explode("w")[["w"]]


def found(vault: tv.Vault, **options: Any) -> list[str]:
    """What a search by lineage finds in chunks, or of docs."""
    column = "w" if "children_of" in options else "text"
    lists = "chunks" if column == "w" else "docs"
    return sorted(vault.search(lists=lists, columns=[column], **options)[column].tolist())


def children(vault: tv.Vault, filters: str | None = None) -> list[tuple[str, int]]:
    lines = vault.read("docs", filters=filters).vault.children(columns=["w"])
    return sorted(zip(lines["w"], lines["child_version"], strict=True))


def test_children_are_found_after_the_parents_were_saved_again(vault: tv.Vault) -> None:
    vault.save("docs", docs("x a", "y b"))
    vault.save("chunks", chunked(vault))
    x, every = [("a", 1), ("x", 1)], [("a", 1), ("b", 1), ("x", 1), ("y", 1)]
    changes: dict[str, Callable[[], Any]] = {
        "appended": lambda: vault.append("docs", docs("z c")),
        "in another order, with others": lambda: vault.save("docs", docs("n e", "y b", "x a")),
        "with another column": lambda: vault.save("docs", docs("y b", "x a").assign(extra=[1.5, None])),
        "columns in another order": lambda: vault.save("docs", docs("y b", "x a").assign(extra=0)[["extra", "text", "source"]]),
        "restored": lambda: vault.restore("docs", 1),
        "appended to what was restored": lambda: vault.append("docs", docs("q f")),
    }  # fmt: skip
    for what, change in changes.items():
        change()
        assert children(vault, "source == 'x'") == x, what
        assert children(vault) == every, what
        assert found(vault, children_of="docs") == ["a", "b", "x", "y"], what
        assert found(vault, children_of=vault.read("docs", filters="source == 'x'")) == ["a", "x"], what
        assert found(vault, parents_of="chunks") == ["x a", "y b"], what
        assert vault.stale("chunks").empty, what


def test_changed_and_removed_rows_are_others(vault: tv.Vault) -> None:
    vault.save("docs", docs("x a", "y b"))
    vault.save("chunks", chunked(vault))
    vault.save("docs", docs("x changed", "y b"))
    assert children(vault, "source == 'x'") == []
    assert found(vault, children_of="docs") == ["b", "y"]
    assert found(vault, parents_of="chunks") == ["y b"]
    assert found(vault, children_of="docs@1") == ["a", "b", "x", "y"]
    assert vault.stale("chunks")[["position", "reason"]].to_numpy().tolist() == [
        [0, "parent"],
        [1, "parent"],
    ]
    vault.save("docs", docs("y b")[["text"]])  # without a column: no row is as it was
    assert children(vault) == []
    assert found(vault, children_of="docs") == []


def test_children_that_were_saved_again_are_shown_where_they_are_now(vault: tv.Vault) -> None:
    vault.save("docs", docs("x a", "y b"))
    vault.save("chunks", chunked(vault))
    rows = vault.read("chunks").iloc[::-1].assign(vec=range(4)).reset_index(drop=True)
    vault.save("chunks", pd.DataFrame(rows.to_dict("list")), inputs=False)
    hits = vault.search(
        children_of=vault.read("docs", filters="source == 'x'"), lists="chunks", columns=["w"]
    )
    assert sorted(zip(hits["w"], hits["position"], strict=True)) == [("a", 2), ("x", 3)]
    walked = vault.lineage("docs", rows=0, direction="down")
    assert walked[["child_position", "child_version"]].to_numpy().tolist() == [[0, 1], [1, 1]]  # as recorded


def test_walks_go_on_from_rows_that_were_saved_again(vault: tv.Vault) -> None:
    """Three lists, the one in the middle saved again with a new first row before the third was made of it."""
    vault.save("docs", docs("x a", "y b"))
    vault.save("chunks", chunked(vault))
    more = pd.concat([pd.DataFrame({"w": ["new"]}), pd.DataFrame({"w": vault.read("chunks")["w"].tolist()})])
    vault.save("chunks", more.reset_index(drop=True), inputs=False)
    vault.read("chunks").assign(n=1).vault.save("scores")
    down = vault.lineage("docs", rows=1, direction="down", to="scores", columns=["w"])
    assert down[["depth", "w"]].to_numpy().tolist() == [[2, "y"], [2, "b"]]


def test_equal_rows_are_matched_in_order(vault: tv.Vault) -> None:
    first = vault.save("a", pd.DataFrame({"x": [1, 1, 2, 1]}))._committed
    second = vault.save("a", pd.DataFrame({"x": [3, 1, 1, 2]}))._committed
    third = vault.append("a", pd.DataFrame({"x": [1, 1]}))._committed
    assert first
    assert second
    assert third
    rows = np.arange(4)
    assert same_rows(vault.store, first, second, rows).tolist() == [1, 2, 3, -1]
    assert same_rows(vault.store, second, first, rows).tolist() == [-1, 0, 1, 2]
    assert same_rows(vault.store, first, third, rows).tolist() == [1, 2, 3, 4]
    assert same_rows(vault.store, second, third, rows).tolist() == [0, 1, 2, 3]
    assert same_rows(vault.store, third, first, np.array([5, 4])).tolist() == [-1, 3]


def test_rows_that_versions_share_are_not_read(vault: tv.Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.save("docs", docs("x a", "y b"))
    vault.save("chunks", chunked(vault))
    vault.append("docs", docs("z c"))
    vault.restore("docs", 1)
    first, *_, last = vault.store.versions("docs")
    with monkeypatch.context() as patch:
        patch.setattr(vault.store, "scan", None)
        assert same_rows(vault.store, first, last, np.arange(2)).tolist() == [0, 1]
        assert len(vault.lineage("docs", direction="down")) == 4


def test_labels_of_an_index_are_content(vault: tv.Vault) -> None:
    def keyed(labels: str, values: list[int]) -> pd.DataFrame:
        return pd.DataFrame({"x": values}, index=pd.Index(list(labels), name="doc"))

    vault.save("a", keyed("pqr", [1, 1, 2]))
    vault.read("a").vault.save("out")
    vault.save("a", keyed("rqs", [2, 1, 1]))
    first, second = vault.store.versions("a")
    assert same_rows(vault.store, first, second, np.arange(3)).tolist() == [-1, 1, 0]
    assert vault.stale("out")[["position", "reason"]].to_numpy().tolist() == [[0, "parent"]]


def test_rows_without_columns_are_matched_in_order(vault: tv.Vault) -> None:
    vault.save("a", pd.DataFrame(index=range(2)))
    vault.save("a", pd.DataFrame(index=range(3)))
    one, other = vault.store.versions("a")
    assert same_rows(vault.store, one, other, np.arange(2)).tolist() == [0, 1]
    assert same_rows(vault.store, other, one, np.arange(3)).tolist() == [0, 1, -1]


def test_vacuumed_rows_are_compared_with_nothing(vault: tv.Vault) -> None:
    vault.save("docs", docs("x a", "y b"))
    vault.save("chunks", chunked(vault))
    vault.save("docs", docs("y b"))
    assert children(vault) == [("b", 1), ("y", 1)]
    vault.vacuum(dry_run=False)
    assert len(vault.lineage("docs@1", direction="down")) == 4  # what is recorded stays
    assert children(vault) == []


# -- digests, against plain Python


def plain(cell: Any) -> Any:
    """A cell as something that Python compares as digests are to compare."""
    if isinstance(cell, dict):
        return ("struct", *((key, plain(value)) for key, value in sorted(cell.items())))
    if isinstance(cell, (list, tuple)):
        return ("list", *map(plain, cell))
    if isinstance(cell, float):
        return ("float", "nan" if cell != cell else cell.hex())
    return (type(cell).__name__, cell)


NUMBERS = st.integers(-3, 3)
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 1.5, float("nan"), float("inf")])
TEXTS = st.sampled_from(["", "a", "b", "ab", "é", "日本"])
MAYBE = {
    pa.int64(): NUMBERS,
    pa.int8(): NUMBERS,
    pa.uint64(): st.sampled_from([0, 1, 2**64 - 1]),
    pa.float64(): FLOATS,
    pa.float32(): FLOATS,
    pa.bool_(): st.booleans(),
    pa.string(): TEXTS,
    pa.large_string(): TEXTS,
    pa.binary(): st.sampled_from([b"", b"a", b"\x00"]),
    pa.date32(): st.sampled_from([date(2020, 1, 1), date(2021, 1, 1)]),
    pa.timestamp("us", "UTC"): st.sampled_from([datetime(2020, 1, 1), datetime(2021, 1, 1)]),
    pa.duration("ns"): st.sampled_from([timedelta(0), timedelta(1)]),
    pa.decimal128(5, 2): st.sampled_from([Decimal("1.00"), Decimal("1.50")]),
    pa.null(): st.none(),
    pa.list_(pa.string()): st.lists(st.none() | TEXTS, max_size=3),
    pa.large_list(pa.list_(pa.int64())): st.lists(st.none() | st.lists(NUMBERS, max_size=2), max_size=2),
    pa.list_(pa.float32(), 2): st.lists(FLOATS, min_size=2, max_size=2),
    pa.struct([("a", pa.int64()), ("b", pa.string())]): st.fixed_dictionaries(
        {"a": st.none() | NUMBERS, "b": TEXTS}
    ),
    pa.map_(pa.string(), pa.int64()): st.lists(st.tuples(TEXTS, NUMBERS), max_size=2),
    pa.dictionary(pa.int8(), pa.string()): TEXTS,
}


@pytest.mark.parametrize("kind", MAYBE, ids=str)
@settings(max_examples=times(10))
@given(data=st.data())
def test_cells_are_equal_as_their_digests_are(kind: pa.DataType, data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.none() | MAYBE[kind], max_size=12))
    start = data.draw(st.integers(0, len(cells)))
    array = pa.array(cells, kind)
    hashed = digests(array.slice(start)).tolist()
    shown = [plain(cell) for cell in cells[start:]]
    pairs = Counter(zip(map(repr, shown), hashed, strict=True))
    assert len(pairs) == len(set(hashed)) == len(set(map(repr, shown)))
    assert digests(pa.concat_arrays([array, array])).tolist() == digests(array).tolist() * 2


def test_rows_differ_by_column_and_not_by_their_order() -> None:
    table = pa.table({"a": [1, 2, None], "b": [2, 1, None], "c": ["1", "2", None]})
    names = {each: each for each in "abc"}
    found = row_digests(table, names)
    assert len(set(found.tolist())) == 3
    assert (row_digests(table.select(["c", "b", "a"]), dict(reversed(names.items()))) == found).all()
    swapped = row_digests(table, {"a": "b", "b": "a", "c": "c"})
    assert not (swapped[:2] == found[:2]).any()
    narrow = table.cast(pa.schema([("a", pa.int16()), ("b", pa.int64()), ("c", pa.string())]))
    assert (row_digests(narrow, names) == found).all()
    assert row_digests(table.slice(0, 0), names).shape == (0,)


def test_a_row_of_a_list_with_a_key_is_the_same_whatever_its_content(vault: tv.Vault) -> None:
    """Walks and searches follow a row that was changed; that it was changed is told by stale()."""
    vault.upsert("docs", docs("x a", "y b").assign(id=[1, 2]), key="id")
    vault.save("chunks", chunked(vault))
    vault.upsert("docs", {"id": 1, "source": "x", "text": "x changed"})
    assert children(vault, "source == 'x'") == [("a", 1), ("x", 1)]
    assert found(vault, children_of="docs") == ["a", "b", "x", "y"]
    assert found(vault, parents_of="chunks") == ["x changed", "y b"]
    assert vault.stale("chunks")[["position", "reason", "of"]].to_numpy().tolist() == [
        [0, "parent", "docs@1[0]"],
        [1, "parent", "docs@1[0]"],
    ]
    vault.save("docs", docs("y b", "z a", "x once more").assign(id=[2, 3, 1]))
    assert found(vault, parents_of="chunks") == ["x once more", "y b"]
    assert children(vault, "source == 'z'") == []
    vault.upsert("docs", {"id": 1, "source": "x", "text": "x a"})  # as it was once
    assert vault.stale("chunks").empty


def test_where_the_older_version_lacks_the_key_content_tells(vault: tv.Vault) -> None:
    vault.save("docs", docs("x a", "y b"))
    vault.save("chunks", chunked(vault))
    vault.save("docs", docs("y b", "x changed").assign(id=[1, 2]), key="id")
    assert found(vault, parents_of="chunks") == ["y b"]
    vault.upsert("docs", {"id": 1, "source": "y", "text": "y other"})
    assert found(vault, parents_of="chunks") == []
    one, two, three = vault.store.versions("docs")
    assert same_rows(vault.store, one, two, np.array([0, 1])).tolist() == [-1, 0]
    assert same_rows(vault.store, three, two, np.array([0, 1])).tolist() == [0, 1]
    assert same_rows(vault.store, two, three, np.array([1, 0])).tolist() == [1, 0]


def test_another_key_of_a_wider_dtype_is_read_of_versions_that_had_another(vault: tv.Vault) -> None:
    vault.save("towns", [{"town": "Ulm", "size": 1}, {"town": "Bonn", "size": 2}], key="town")
    vault.save("notes", [{"note": "small"}], inputs={"towns@1": [0]})
    vault.upsert("towns", [{"town": "Neu-Ulm", "size": 1.0}, {"town": "Rome", "size": 2.5}], key="size")
    walk = vault.read("towns", filters="size == 1").vault.children()
    assert walk[["child_list", "child_position"]].to_numpy().tolist() == [["notes", 0]]
    vault.erase("towns", filters="size == 1")
    assert vault.read("towns@1")["town"].tolist() == ["Bonn"]
    assert vault.read("towns")["town"].tolist() == ["Bonn", "Rome"]
