"""What every store holds to. The same tests run on each; where one differs, it is wrong or the contract is."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from stores import Place, act, edges_at, keep, put, rows, table_of

from tablevault_pd.errors import (
    Conflict,
    FileMissing,
    ListDeleted,
    ListNotFound,
    SessionNotFound,
    VaultClosed,
    VaultNotFound,
    VaultReadOnly,
    VersionNotFound,
)
from tablevault_pd.store import (
    NO_STEP,
    Batch,
    Beat,
    Cell,
    Description,
    Measures,
    ModuleSource,
    Overview,
    Session,
    Store,
)
from tablevault_pd.store.edges import INFERRED, READ, STATED, WHOLE_LIST, Edge, EdgeForm, EdgeQuery
from tablevault_pd.store.embedded import EmbeddedStore, versions
from tablevault_pd.store.session_types import Attempt, Pause, Timelines
from tablevault_pd.store.types import SHOWN_OF_VERSION, ListInfo

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)


def numbers(*values: Any, name: str = "x") -> pa.Table:
    return pa.table({name: pa.array(values, pa.int64())})


# ---------------------------------------------------------------- rows


def test_rows_come_back_as_saved(store: Store) -> None:
    saved = pa.table({"step": [1, 2], "loss": [0.5, None], "name": ["a", None]})
    version = put(store, "runs", saved)
    assert table_of(store, version).equals(saved)
    assert (version.version, version.start, version.rows, version.total) == (1, 0, 2, 2)
    assert store.head("runs") == version
    assert store.schema(version.schema_id).equals(saved.schema, check_metadata=True)


def test_schema_metadata_is_kept(store: Store) -> None:
    field = pa.field(
        "x", pa.int64(), metadata={"tablevault": '{"codec": "plain", "kind": "record"}', "other": "\0é"}
    )
    schema = pa.schema([field], metadata={"tablevault": '{"format": 1}'})
    version = put(store, "runs", pa.table([[1]], schema=schema))
    assert store.schema(version.schema_id).equals(schema, check_metadata=True)
    assert table_of(store, version).schema.equals(schema, check_metadata=True)


def test_kinds_of_columns_come_back(store: Store) -> None:
    def spec(kind: str) -> dict[str, str]:
        return {"tablevault": f'{{"kind": "{kind}"}}'}

    file_type = pa.struct([("path", pa.string()), ("size_bytes", pa.int64())])
    schema = pa.schema(
        [
            pa.field("id", pa.int64()),
            pa.field("text", pa.large_string(), metadata=spec("document")),
            pa.field("vec", pa.list_(pa.float32(), 2), metadata=spec("embedding")),
            pa.field("codes", pa.list_(pa.int8(), 2), metadata=spec("embedding")),
            pa.field("file", file_type, metadata=spec("file")),
        ]
    )
    data = [
        [1, 2, 3],
        ["long text", None, ""],
        [[0.1, -0.0], None, [math.inf, 1e-40]],
        [[1, 2], None, [3, 4]],
        [{"path": "a", "size_bytes": 2**60}, None, {"path": None, "size_bytes": None}],
    ]
    saved = pa.table(
        [pa.array(values, field.type) for values, field in zip(data, schema, strict=True)], schema=schema
    )
    version = put(store, "mixed", saved)
    assert table_of(store, version).equals(saved)
    assert (
        rows(store, version, ["vec", "id"], start=1, stop=3)
        == saved.slice(1).select(["vec", "id"]).to_pylist()
    )


def test_only_embeddings(store: Store) -> None:
    saved = pa.table({"vec": pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2))})
    first = put(store, "vectors", saved)
    second = put(store, "vectors", numbers(7), operation="append")
    assert table_of(store, first).equals(saved)
    assert rows(store, second) == [*saved.to_pylist(), {"x": 7}]
    assert rows(store, second, ["vec"])[:2] == saved.to_pylist()


def test_windows_of_rows_and_columns(store: Store) -> None:
    put(store, "runs", pa.table({"x": range(10), "y": range(10, 20)}))
    version = put(store, "runs", pa.table({"x": range(10, 15), "y": range(5)}), operation="append")
    every = rows(store, version)
    assert [row["x"] for row in every] == list(range(15))
    for start, stop in [(0, 15), (3, 4), (9, 11), (10, 15), (14, 99), (15, 20), (5, 5)]:
        assert rows(store, version, start=start, stop=stop) == every[start:stop]
    assert rows(store, version, ["y", "x"], start=8, stop=12) == [
        {"y": r["y"], "x": r["x"]} for r in every[8:12]
    ]
    [*chunks] = store.scan(version, columns=["none of these"])
    assert sum(len(chunk.positions) for chunk in chunks) == 15
    assert all(chunk.table.num_columns == 0 for chunk in chunks)


def test_parts_of_several_schemas_in_one_commit(store: Store) -> None:
    tables = [numbers(1, 2), pa.table({"x": ["a"], "y": [1.5]}), numbers(3)]
    version = put(store, "mixed", *tables)
    assert version.total == 4
    assert rows(store, version) == [row for table in tables for row in table.to_pylist()]
    assert rows(store, version, ["y"], start=1, stop=3) == [{}, {"y": 1.5}] or rows(
        store, version, ["y"], start=2, stop=3
    ) == [{"y": 1.5}]


def test_many_small_commits_read_as_one(store: Store) -> None:
    for number in range(30):
        version = put(store, "log", numbers(number), operation="append")
    assert [row["x"] for row in rows(store, version)] == list(range(30))
    assert [row["x"] for row in rows(store, version, start=7, stop=21)] == list(range(7, 21))
    old = store.version("log", 12)
    assert [row["x"] for row in rows(store, old)] == list(range(12))


def test_a_large_commit(store: Store) -> None:
    text = "x" * 1000
    saved = pa.table({"n": range(9_000), "text": [text + str(n) for n in range(9_000)]})
    version = put(store, "large", *[saved.slice(at, 2000) for at in range(0, 9_000, 2_000)])
    assert table_of(store, version).equals(saved)
    assert rows(store, version, ["n"], start=7_345, stop=7_347) == [{"n": 7_345}, {"n": 7_346}]


def test_no_rows_keep_their_categories(store: Store) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), pa.array(["b", "a"]), ordered=True)
    version = put(store, "empty", pa.table({"c": words}))
    [chunk] = store.scan(version)
    assert chunk.table.num_rows == 0
    assert chunk.table.schema.field("c").type == words.type
    assert chunk.table.column("c").chunk(0).dictionary.to_pylist() == ["b", "a"]


def test_unused_categories_are_kept(store: Store) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([2, None, 0], pa.int32()), pa.array(["c", "unused", "a"]))
    version = put(store, "words", pa.table({"c": words}))
    column = table_of(store, version).column("c")
    assert column.to_pylist() == ["a", None, "c"]
    assert column.chunk(0).dictionary.to_pylist() == ["c", "unused", "a"]


def halves(*values: float | None) -> pa.Array:
    """A float16 array; older releases of pyarrow make it of NumPy's floats only."""
    gone = np.array([value is None for value in values])
    return pa.array(np.array([0.0 if value is None else value for value in values], np.float16), mask=gone)


HARD: dict[str, pa.Array] = {
    "null": pa.nulls(3),
    "bool": pa.array([True, None, False]),
    "int64": pa.array([2**63 - 1, -(2**63), None]),
    "beyond_2_53": pa.array([2**53 + 1, -(2**53) - 1, None]),
    "uint64": pa.array([2**64 - 1, 2**63, None], pa.uint64()),
    "uint8": pa.array([255, 0, None], pa.uint8()),
    "float64": pa.array([0.1, -0.0, None]),
    "floats_special": pa.array([math.nan, math.inf, -math.inf]),
    "floats_extreme": pa.array([5e-324, 1.7976931348623157e308, 2.0**70]),
    "whole_floats": pa.array([1.0, 2.0**62, -1e18]),
    "float32": pa.array([0.1, math.nan, -0.0], pa.float32()),
    "float16": halves(0.1, None, math.inf),
    "decimal": pa.array([Decimal("1.10"), Decimal("-99999999999999999999.99"), None], pa.decimal128(38, 2)),
    "decimal256": pa.array([Decimal(10) ** 70, None, Decimal(-1)], pa.decimal256(76, 0)),
    "text": pa.array(["", "\0 é \U0001f600 \u2028 \"'\\", None]),
    "large_text": pa.array(["NaN", "-0.0", None], pa.large_string()),
    "bytes": pa.array([b"\xff\x00", b"", None]),
    "fixed_bytes": pa.array([b"ab", None, b"\0\0"], pa.binary(2)),
    "date": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
    "date_far": pa.array([-800_000, 5_000_000, None], pa.int32()).view(pa.date32()),
    "ns": pa.array([1, -(2**63) + 1, 2**63 - 1]).view(pa.timestamp("ns")),
    "ns_zoned": pa.array([1_700_000_000_123_456_789, None, -1]).view(pa.timestamp("ns", "Europe/Rome")),
    "us": pa.array([NOW, None, dt.datetime(1, 1, 1, tzinfo=dt.UTC)], pa.timestamp("us", "UTC")),
    "s_far": pa.array([2**60, -(2**60), None]).view(pa.timestamp("s")),
    "ms": pa.array([0, -1, None]).view(pa.timestamp("ms", "+02:00")),
    "duration": pa.array([2**62, -1, None]).view(pa.duration("ns")),
    "time_us": pa.array([0, 86_399_999_999, None]).cast(pa.time64("us")),
    "time_s": pa.array([0, 86_399, None], pa.int32()).cast(pa.time32("s")),
    "list": pa.array([[1, None], [], None]),
    "large_list": pa.array([[1.5, math.nan], [], None], pa.large_list(pa.float64())),
    "nested": pa.array([[{"a": [b"\1"], "b": None}], None, []]),
    "struct": pa.array([{"": 1, "_id": "x", "a.b": None}, None, {"": None, "_id": None, "a.b": 1.0}]),
    "same_names": pa.StructArray.from_arrays(
        [pa.array([1, 2, 3]), pa.array(["a", None, "c"])], names=["f", "f"]
    ),
    "fixed_list": pa.array([[1, None], None, [3, 4]], pa.list_(pa.int64(), 2)),
    "holes": pa.array([[1.0, None], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
    "vector": pa.array([[0.1, -0.0], None, [math.nan, 1e-45]], pa.list_(pa.float32(), 2)),
    "vector64": pa.array([[0.1, -0.0], [math.inf, 5e-324], None], pa.list_(pa.float64(), 2)),
    "vector16": pa.FixedSizeListArray.from_arrays(halves(0.1, -0.0, math.inf, 6e-8, 1.0, 2.0), 2),
    "map": pa.array([[("a", 1), ("b", None)], None, []], pa.map_(pa.string(), pa.int64())),
    "months": pa.array([pa.MonthDayNano([1, -2, 3]), None, pa.MonthDayNano([0, 0, 0])]),
    "words": pa.array(["a", None, "b"]).dictionary_encode(),
    "coded": pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array([1.5, math.nan])),
    "words_inside": pa.array([["a"], None, ["b", "a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
    "period": pa.array([{"left": 1, "right": 2}, None, {"left": -1, "right": 0}]),
}


def same(found: pa.Array, saved: pa.Array) -> bool:
    """Equal, NaN and the sign of zero included."""
    if found.type != saved.type:
        return False
    try:
        return repr(found.to_pylist()) == repr(saved.to_pylist())
    except (
        OverflowError,
        ValueError,
    ):  # far times and doubled names, which Python cannot show, come without floats
        return bool(found.equals(saved))


def test_every_type_comes_back_exactly(store: Store) -> None:
    names = ["", "_key", "%", "a.b", "`", *list(HARD)[5:]]
    saved = pa.table(list(HARD.values()), names=names)
    version = put(store, "types", saved)
    whole = table_of(store, version)
    tail = pa.concat_tables([chunk.table for chunk in store.scan(version, start=1)])
    for name, values in zip(names, HARD.values(), strict=True):
        assert same(whole.column(name).combine_chunks(), values), name
        assert same(tail.column(name).combine_chunks(), values[1:]), name
    sliced = put(store, "slices", saved.slice(1, 2))
    for name, values in zip(names, HARD.values(), strict=True):
        assert same(table_of(store, sliced).column(name).combine_chunks(), values[1:]), name


# ---------------------------------------------------------------- versions


def test_versions_tell_what_happened(store: Store) -> None:
    session = store.open_session(Session("s", "u", "h", 1, NOW))
    put(store, "a", numbers(1, 2), tags=("x",), session_id=session.id, cell=3)
    put(store, "a", numbers(3), operation="append")
    act(store, "a", "delete")
    act(store, "a", "restore", target=1)
    put(store, "a", numbers(9), operation="append", tags=())
    put(store, "a", numbers())
    found = store.versions("a")
    told = [(v.version, v.operation, v.generation, v.start, v.rows, v.total, v.deleted) for v in found]
    assert told == [
        (1, "save", 1, 0, 2, 2, False),
        (2, "append", 1, 2, 1, 3, False),
        (3, "delete", 1, 3, 0, 3, True),
        (4, "restore", 4, 0, 0, 2, False),
        (5, "append", 4, 0, 1, 3, False),
        (6, "save", 6, 0, 0, 0, False),
    ]
    assert [v.tags for v in found] == [("x",), ("x",), ("x",), ("x",), (), ()]
    assert (found[0].session_id, found[0].cell, found[1].session_id) == (session.id, 3, None)
    assert [v.time for v in found] == sorted({v.time for v in found})
    assert store.versions() == found
    contents = {v.version: [row["x"] for row in rows(store, v)] for v in found if not v.deleted}
    assert contents == {1: [1, 2], 2: [1, 2, 3], 4: [1, 2], 5: [1, 2, 9], 6: []}
    assert store.version("a", 2) == found[1]
    assert store.version("a", 7) is None
    assert store.version("b", 1) is None
    put(store, "b", numbers(5), step=4, message="another")
    for name in ("a", "b", "nothing", None):
        by_column = store.version_columns(name)
        every = store.versions(name)
        assert list(by_column["time"]) == [v.time for v in every]
        assert list(by_column["tags"]) == [v.tags for v in every]
        assert {len(values) for values in by_column.values()} == {len(every)}
        for number, version in enumerate(every):
            assert {key: values[number] for key, values in by_column.items()} == {
                key: getattr(version, key) for key in SHOWN_OF_VERSION
            }


def test_the_columns_of_more_versions_than_are_fetched_at_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(versions, "ROWS_AT_ONCE", 2)
    store = EmbeddedStore(tmp_path / "v")
    for number in range(5):
        put(store, "a", numbers(number), operation="append")
    assert store.version_columns("a")["version"] == [1, 2, 3, 4, 5]
    assert store.version_columns()["shown"] == [1, 2, 3, 4, 5]
    store.close()


def test_the_version_at_a_time(store: Store) -> None:
    for value in range(4):
        put(store, "a", numbers(value))
    for version in store.versions("a"):
        assert store.version_at("a", version.time) == version
        earlier = store.version_at("a", version.time - dt.timedelta(microseconds=1))
        assert (earlier.version if earlier else 0) == version.version - 1
    assert store.version_at("a", NOW.replace(year=2200)) == store.head("a")
    assert store.version_at("b", NOW) is None


def test_a_second_restore_of_the_same_makes_no_version(store: Store) -> None:
    """Whoever looked before the first one came: of two that restore at once, one makes a version."""
    put(store, "a", numbers(0, 1))
    put(store, "a", numbers(2))
    first = act(store, "a", "restore", target=1)
    assert act(store, "a", "restore", target=1) == first == store.head("a")
    assert act(store, "a", "restore", target=1, message="why").version == 4
    act(store, "a", "delete")
    assert act(store, "a", "restore", target=1).version == 6


def test_restoring_what_was_restored(store: Store) -> None:
    put(store, "a", numbers(0, 1))
    put(store, "a", numbers(2), operation="append")
    act(store, "a", "restore", target=1)
    put(store, "a", numbers(3), operation="append")
    put(store, "a", numbers(9))
    act(store, "a", "restore", target=4)
    put(store, "a", numbers(4), operation="append")
    act(store, "a", "restore", target=6)
    version = put(store, "a", numbers(5), operation="append")
    assert [row["x"] for row in rows(store, version)] == [0, 1, 3, 5]
    assert [row["x"] for row in rows(store, version, start=1, stop=3)] == [1, 3]
    assert [row["x"] for row in rows(store, store.version("a", 7))] == [0, 1, 3, 4]


def test_the_same_token_is_committed_once(store: Store) -> None:
    first = put(store, "a", numbers(1), token="t")
    again = put(store, "a", numbers(1), token="t")
    assert again == first
    assert act(store, "a", "delete", token="d") == act(store, "a", "delete", token="d")
    assert len(store.versions("a")) == 2
    assert put(store, "b", numbers(2), token="t").version == 1  # tokens are those of a list


def test_batches_that_do_not_fit_are_refused(store: Store) -> None:
    with pytest.raises(ListNotFound):
        act(store, "none", "delete")
    with pytest.raises(ListNotFound):
        act(store, "none", "restore", target=1)
    first = put(store, "a", numbers(1), expect=0)
    with pytest.raises(Conflict):
        put(store, "a", numbers(1), expect=0)
    with pytest.raises(Conflict):
        put(store, "a", numbers(1), operation="append", base=None)
    with pytest.raises(Conflict):
        put(store, "a", numbers(1), operation="append", base=first.schema_id + 1)
    with pytest.raises(VersionNotFound):
        act(store, "a", "restore", target=9)
    act(store, "a", "delete", expect=1)
    for operation in ("append", "delete"):
        with pytest.raises(ListDeleted):
            put(store, "a", numbers(1), operation=operation)
    assert len(store.versions("a")) == 2
    assert put(store, "a", numbers(2)).version == 3  # saving goes on counting


def test_what_was_not_committed_leaves_nothing(store: Store) -> None:
    put(store, "a", numbers(1))
    with pytest.raises(ZeroDivisionError), store.stage() as stage:
        stage.write(numbers(*range(5_000)).append_column("t", pa.array(["x" * 1000] * 5_000)))
        raise ZeroDivisionError
    with pytest.raises(Conflict), store.stage() as stage:
        stage.write(numbers(*range(5_000)).append_column("t", pa.array(["x" * 1000] * 5_000)))
        described = (Description("BASE", "never"),)
        store.commit(Batch("t", "a", "save", numbers().schema, expect=7, descriptions=described), stage)
    with store.stage() as stage:
        stage.write(numbers(2))
    assert rows(store, store.head("a")) == [{"x": 1}]
    assert store.descriptions() == []


# ---------------------------------------------------------------- lists


def test_lists_and_names(store: Store) -> None:
    names = ["b", "B", "é", "z", "a/b", "a b", 'x"; DROP', "@@c", "%s", "ß", "ss", "\U0001f600", "a" * 200]
    for name in names:
        put(store, name, pa.table({"n": [name]}))
    act(store, "z", "delete")
    assert store.names() == sorted(names)
    assert store.names("a") == sorted(name for name in names if name.startswith("a"))
    assert store.names("\U0001f600") == ["\U0001f600"]
    states = store.lists()
    assert [state.head.list for state in states] == sorted(names)
    assert all(state.size_bytes > 0 and state.created <= state.head.time for state in states)
    for name in names:
        assert rows(store, store.head(name)) == [{"n": name}]
    assert store.head("A") is None
    assert store.versions("nothing") == []


def test_two_handles_see_each_other(place: Place, store: Store) -> None:
    other = place.open()
    put(store, "a", numbers(1))
    assert other.vault_id == store.vault_id
    assert rows(other, other.head("a")) == [{"x": 1}]
    put(other, "a", numbers(2), operation="append")
    assert rows(store, store.head("a")) == [{"x": 1}, {"x": 2}]
    other.close()


# ---------------------------------------------------------------- people


def test_sessions(store: Store) -> None:
    first = store.open_session(
        Session("train", "u", "h", 1, NOW, params={"lr": 1.0, "big": 2**70, "d": {"_k": None}})
    )
    second = store.open_session(Session("train", "u", "h", 2, NOW, parent=first.id, tags=("a", "b")))
    third = store.open_session(Session("Train", "u", "h", 3, NOW, heartbeat=NOW))
    assert [s.label for s in (first, second, third)] == ["train#1", "train#2", "Train#1"]
    assert store.sessions() == [first, second, third]
    assert store.sessions(name="train") == [first, second]
    assert store.sessions([third.id, first.id, 999]) == [first, third]
    assert isinstance(store.sessions()[0].params["lr"], float)
    later = NOW + dt.timedelta(seconds=1)
    store.update_session(first.id, ended=later, outcome="failed", error="x", params={"n": math.inf})
    [found] = store.sessions([first.id])
    assert (found.ended, found.outcome, found.error, found.params) == (later, "failed", "x", {"n": math.inf})
    assert found.started == first.started
    store.update_session(first.id, started=NOW)  # as somebody does who brings sessions over from elsewhere
    assert store.sessions([first.id])[0].started == NOW
    with pytest.raises(SessionNotFound):
        store.update_session(999, outcome="finished")


def test_sessions_that_are_read_together_keep_what_is_their_own(store: Store) -> None:
    params = [{"text": '],["\n'}, {}, {"n": [math.inf, 2**70], "opt": {"lr": None}}]
    tags = [("a", "],["), (), ("a", "],[")]
    ids = [
        store.open_session(Session("s", "u", "h", 1, NOW, params=of_one, tags=labels)).id
        for of_one, labels in zip(params, tags, strict=True)
    ]
    ended = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)
    store.update_session(ids[1], ended=ended, heartbeat=dt.datetime(1, 1, 1, tzinfo=dt.UTC))
    found = store.sessions()
    assert [session.params for session in found] == params
    assert [session.tags for session in found] == tags
    assert [session.ended for session in found] == [None, ended, None]
    assert found[1].heartbeat == dt.datetime(1, 1, 1, tzinfo=dt.UTC)
    assert store.overview().sessions == found


def test_info_is_read_where_it_is_asked_for(store: Store) -> None:
    opened = store.open_session(Session("s", "u", "h", 1, NOW, info={"argv": ["x"]}, params={"lr": 0.5}))
    assert opened.info == {"argv": ["x"]}
    assert store.sessions()[0].info == {}
    assert store.sessions(info=True)[0].info == {"argv": ["x"]}
    store.update_session(opened.id, info={"big": 2**70, "x": math.inf})
    assert store.sessions([opened.id], info=True)[0].info == {"big": 2**70, "x": math.inf}
    assert store.sessions([opened.id])[0].params == {"lr": 0.5}
    store.beat([Beat(opened.id, 1, changes={"info": {}, "tags": ("t",)})])
    [found] = store.sessions(name="s", info=True)
    assert (found.info, found.tags, found.params) == ({}, ("t",), {"lr": 0.5})


def test_times_of_a_session_are_the_stores(store: Store) -> None:
    opened = store.open_session(Session("s", "u", "h", 1, NOW, heartbeat=NOW, beat_s=0.5, parent=999))
    assert opened.started == opened.heartbeat != NOW
    [found] = store.sessions()
    assert (found.started, found.parent, found.beat_s) == (opened.started, None, 0.5)
    pulse = store.beat([Beat(opened.id, 1, alive=True)])
    assert store.sessions()[0].heartbeat == pulse.time >= opened.started
    pulse = store.beat([Beat(opened.id, 2, paused=True)])
    assert store.sessions()[0].paused
    assert store.sessions()[0].heartbeat != pulse.time
    pulse = store.beat([Beat(opened.id, 3, outcome="failed", error="x")])
    [found] = store.sessions()
    assert (found.ended, found.outcome, found.error, found.paused) == (pulse.time, "failed", "x", False)


def test_a_run_goes_on_elsewhere(store: Store) -> None:
    first = store.open_session(Session("s", "u", "h", 1, NOW, params={"a": 1}, info={"pid": 1}))
    store.ask([first.id], "stop")
    store.beat([Beat(first.id, 1, outcome="failed", error="x")])
    [seen] = store.sessions()
    again = Session("s", "v", "i", 2, NOW, first.id, 1, tags=("t",), params={"b": 2}, info={"pid": 2})
    with pytest.raises(Conflict):
        store.reopen_session(again, last_beat=NOW)
    assert store.sessions() == [seen]
    opened = store.reopen_session(again, last_beat=seen.heartbeat)
    assert store.sessions() == [opened]
    assert store.sessions(info=True)[0].info == {"pid": 2}
    assert (opened.user, opened.host, opened.pid, opened.started) == ("v", "i", 2, first.started)
    assert (opened.ended, opened.outcome, opened.error, opened.tags) == (None, None, None, ("t",))
    assert dict(opened.params) == {"b": 2}
    assert store.beat([Beat(first.id)]).requests == ()  # what was asked of the other process


def measured(session_id: int, metric: str, *values: float, at: int = 0) -> Measures:
    steps = np.arange(at, at + len(values))
    return Measures(session_id, metric, steps, 10 * steps, np.array(values, dtype=float))


def test_measures_come_back_as_logged(store: Store) -> None:
    one, two = (store.open_session(Session("s", "u", "h", 1, NOW)).id for _ in range(2))
    odd = np.array([0.1, math.nan, math.inf, -math.inf, 1.0, 5e-324, 1e308])
    steps = np.array([NO_STEP, -1, 2**63 - 1, 0, 2**53 + 1, NO_STEP, 7])
    times = np.arange(1_700_000_000_000_000, 1_700_000_000_000_007)
    store.beat([Beat(two, 1, measures=(measured(two, "b", 1, 2), measured(two, "a", 3)))])
    for number in range(1, 12):  # 10 comes after 9
        store.beat([Beat(one, number, measures=(measured(one, "z", number, at=number),))])
    store.beat([Beat(one, 12, measures=(Measures(one, "é.x", steps, times, odd),))])
    table = store.measures()
    assert table["session"].to_pylist() == [one] * 18 + [two] * 3
    assert table["metric"].to_pylist() == ["z"] * 11 + ["é.x"] * 7 + ["a", "b", "b"]
    assert table["value"].to_pylist()[:11] == list(range(1, 12))
    found = store.measures([one], metrics=["é.x"])
    assert np.array_equal(found["value"].to_numpy(), odd, equal_nan=True)
    assert found["value"].null_count == 0
    assert found["step"].to_pylist() == [None if step == NO_STEP else step for step in steps.tolist()]
    assert found["time"].cast(pa.int64()).to_pylist() == times.tolist()
    assert store.measures([two], metrics=["a", "z"])["value"].to_pylist() == [3]
    assert store.measures(metrics=["b", "B"])["session"].to_pylist() == [two, two]
    assert store.measures(metrics=[]).num_rows == store.measures([]).num_rows == 0
    many = np.random.default_rng(1).normal(size=25_000)
    store.beat([Beat(two, 3, measures=(measured(two, "many", *many),))])
    assert np.array_equal(store.measures([two], metrics=["many"])["value"].to_numpy(), many)


def test_a_beat_sent_again_counts_once(store: Store) -> None:
    """The caller gave up on a beat that was written, and sends it again; another process numbers from 1 again."""
    row = store.open_session(Session("s", "u", "h", 1, NOW))
    old, new = (Beat(row.id, number, measures=(measured(row.id, "m", number),)) for number in (1, 2))
    for beat in (old, old, new, old):
        store.beat([beat])
    assert store.measures()["value"].to_pylist() == [1, 2]
    [seen] = store.sessions()
    store.reopen_session(seen, last_beat=seen.heartbeat)
    other = Beat(row.id, 1, measures=(replace(measured(row.id, "m", 7), attempt=1),), attempt=1)
    for _ in range(2):
        store.beat([other])
    assert store.measures()["value"].to_pylist() == [1, 2, 7]


@pytest.mark.parametrize("size", [1, 50, 300])
def test_values_of_many_beats_come_back_in_order(store: Store, size: int) -> None:
    """They share blocks, which grow; each beat comes twice."""
    row = store.open_session(Session("s", "u", "h", 1, NOW))
    for number in range(1, 8):
        measures = tuple(
            replace(measured(row.id, metric, *range(size), at=number * size), block=number // 3)
            for metric in ("a", "b")
        )
        for _ in range(2):
            store.beat([Beat(row.id, number, measures=measures)])
    found = store.measures(metrics=["b"])
    assert found["step"].to_pylist() == list(range(size, 8 * size))
    assert found["time"].cast(pa.int64()).to_pylist() == list(range(10 * size, 80 * size, 10))
    assert found["value"].to_pylist() == list(range(size)) * 7
    assert store.measures([row.id]).num_rows == 14 * size


def test_metric_names(store: Store) -> None:
    one, two = (store.open_session(Session("s", "u", "h", 1, NOW)).id for _ in range(2))
    assert store.metric_names() == store.metric_names([one]) == []
    store.beat([Beat(one, 1, measures=(measured(one, "é", 1), measured(one, "E", 1), measured(one, "e", 1)))])
    store.beat([Beat(two, 1, measures=(measured(two, "val/acc", 1), measured(two, "e", 1)))])
    assert store.metric_names() == ["E", "e", "val/acc", "é"]
    assert store.metric_names([two]) == ["e", "val/acc"]
    assert store.metric_names([]) == []


def test_timelines(store: Store) -> None:
    """Each process tells of its own attempt."""
    one, two = (store.open_session(Session("s", "u", "h", 1, NOW)) for _ in range(2))
    (first, second), pauses = store.timelines().attempts, store.timelines().pauses
    assert (first, second) == (Attempt(one.id, 0, one.started), Attempt(two.id, 0, two.started))
    assert pauses == []
    began, ended = NOW, NOW + dt.timedelta(seconds=2.000001)
    early = Beat(
        one.id, 1, timeline={"first_step": 3, "pauses": [[_us(began), _us(ended)], [_us(ended), None]]}
    )
    for _ in range(2):
        store.beat([early])
    store.beat([Beat(one.id, 2, timeline={"pauses": [[_us(began), _us(ended)]]}, attempt=0)])
    [seen] = store.sessions([one.id])
    again = store.reopen_session(replace(seen, pid=2), last_beat=seen.heartbeat)
    assert again.attempt == store.sessions([one.id])[0].attempt == 1
    assert store.sessions([two.id])[0].attempt == 0
    store.beat([Beat(one.id, 1, timeline={"first_step": -(2**60)}, attempt=1)])
    found = store.timelines([one.id])
    assert found.attempts == [
        Attempt(one.id, 0, one.started, seen.heartbeat, 3),
        Attempt(one.id, 1, again.heartbeat, None, -(2**60)),
    ]
    assert found.pauses == [Pause(one.id, began, ended)]
    assert store.timelines([]) == Timelines([], [])


def _us(time: dt.datetime) -> int:
    return round(time.timestamp() * 1_000_000)


def test_a_version_knows_its_step(store: Store) -> None:
    key = store.open_session(Session("s", "u", "h", 1, NOW)).id
    table = pa.table({"a": [1]})
    assert put(store, "x", table, session_id=key, step=7).step == 7
    assert put(store, "x", table, operation="append", session_id=key).step is None
    store.commit(Batch("t", "x", "delete", session_id=key, step=-(2**62)))
    assert store.head("x").step == -(2**62)
    assert [version.step for version in store.versions("x")] == [7, None, -(2**62)]


def test_the_last_values_are_in_the_overview(store: Store) -> None:
    one, two = (store.open_session(Session(name, "u", "h", 1, NOW, info={"x": 1})).id for name in ("a", "b"))
    beat = Beat(one, 1, measures=(measured(one, "loss", 3, 2.5), measured(one, "n", math.inf)))
    store.beat([beat, Beat(two, 1, measures=(measured(two, "loss", math.nan),))])
    pulse = store.beat([Beat(one, 2, alive=True, measures=(measured(one, "loss", 1),))])

    def latest(seen: Overview) -> dict[tuple[int, str], str]:
        rows = seen.latest.to_pylist()
        assert len({(row["session"], row["metric"]) for row in rows}) == len(rows)
        return {(row["session"], row["metric"]): str(row["value"]) for row in rows}

    everything = store.overview()
    assert everything.time >= pulse.time
    assert everything.sessions == store.sessions()
    first, second = {(one, "loss"): "1.0", (one, "n"): "inf"}, {(two, "loss"): "nan"}
    assert latest(everything) == first | second
    assert latest(store.overview([two, 999])) == latest(store.overview(name="b")) == second
    assert store.overview(name="a").sessions == store.sessions([one])
    assert store.overview([]).sessions == []
    assert latest(store.overview(name="nobody")) == {}
    names = {name for _, name in latest(everything)}
    for name in names:
        some = {key: value for key, value in latest(everything).items() if key[1] == name}
        assert latest(store.overview(metrics=[name])) == some
        assert latest(store.overview([two], metrics=[name])) == {
            key: some[key] for key in some if key[0] == two
        }
        assert latest(store.overview(name="b", metrics=[name])) == latest(
            store.overview([two], metrics=[name])
        )
    assert latest(store.overview(metrics=[])) == {}
    assert store.overview(metrics=[]).sessions == everything.sessions
    labels = [(each.id, each.name, each.run, each.attempt, each.label) for each in everything.sessions]
    found = store.session_labels()
    assert [(each.id, each.name, each.run, each.attempt, each.label) for each in found] == labels
    assert [dt.datetime.fromtimestamp(each.started / 1e6, dt.UTC) for each in found] == [
        each.started for each in everything.sessions
    ]
    assert store.session_labels([two, 999]) == found[1:]


def test_requests(store: Store) -> None:
    one, two, done = (store.open_session(Session("s", "u", "h", 1, NOW)).id for _ in range(3))
    store.beat([Beat(done, 1, outcome="finished")])
    first = store.ask([two, one, done, 999], "pause", exit_code=3, asked_by=two)
    assert [(r.session_id, r.request, r.exit_code, r.asked_by) for r in first] == [
        (one, "pause", 3, two),
        (two, "pause", 3, two),
    ]
    assert store.ask([one], "pause") == first[:1]  # not acknowledged yet: the same one
    [resume] = store.ask([one], "resume")
    [again] = store.ask([one], "pause")
    assert first[0].id < resume.id < again.id
    pulse = store.beat([Beat(one), Beat(done)])
    assert pulse.requests == (first[0], resume, again)
    pulse = store.beat([Beat(one, 1, answered=(first[0].id, resume.id)), Beat(two)])
    assert pulse.requests == (first[1], again)
    found = store.requests([resume.id, first[0].id, first[1].id, 999])
    assert [r.acknowledged for r in found] == [pulse.time, None, pulse.time]  # in order of id
    store.beat([Beat(one, 2, answered=(first[0].id, again.id))])
    assert store.requests([first[0].id])[0].acknowledged == pulse.time  # acknowledged once
    [fresh] = store.ask([one], "pause")
    assert fresh.id > again.id
    assert store.ask([], "stop") == store.ask([done], "stop") == []


def test_a_beat_of_nobody_writes_nothing(store: Store) -> None:
    row = store.open_session(Session("s", "u", "h", 1, NOW))
    [asked] = store.ask([row.id], "stop")
    good = Beat(
        row.id, 1, True, True, (asked.id,), (Cell(row.id, 0, "code", NOW),), (measured(row.id, "m", 1),),
        (ModuleSource(row.id, "a.py", "0" * 64, "text"),), {"info": {"a": 1}}, "finished",
    )  # fmt: skip
    with pytest.raises(SessionNotFound):
        store.beat([good, Beat(999, 1, changes={"tags": ()})])
    assert store.sessions(info=True) == [row]
    assert store.overview().latest.num_rows == 0
    assert store.cells() == store.sources([row.id]) == []
    assert store.measures().num_rows == 0
    assert store.requests([asked.id]) == [asked]
    store.beat([good])
    assert store.cells() == list(good.cells)
    assert store.sources([row.id]) == list(good.sources)


def test_sources_are_kept_once(store: Store) -> None:
    one, two = (store.open_session(Session("s", "u", "h", 1, NOW)).id for _ in range(2))
    kept = [
        ModuleSource(one, "a.py", "a" * 64, "first"), ModuleSource(one, "a.py", "b" * 64, "changed"),
        ModuleSource(one, "sub/b.py", "a" * 64, "first"), ModuleSource(two, "a.py", "a" * 64, "first"),
    ]  # fmt: skip
    for number in (1, 1, 2):
        store.beat([Beat(one, number, sources=tuple(kept[:3])), Beat(two, number, sources=(kept[3],))])
    found = store.sources([two, one, 999])
    assert sorted(found, key=lambda s: (s.session_id, s.path, s.sha256)) == kept
    assert [(s.session_id, s.path) for s in found] == [(s.session_id, s.path) for s in kept]
    assert store.sources([]) == []


def test_values_of_sessions(store: Store) -> None:
    given: list[dict[str, Any]] = [
        {"lr": 0.1},
        {"lr": "x", "on": True},
        {"lr": 3},
        {"lr": {"a": 1}},
        {"lr": [1]},
        {},
    ]
    ids = [store.open_session(Session("s", "u", "h", 1, NOW, params=params)).id for params in given]
    assert store.session_ids() == ids == sorted(ids)
    found = store.session_values("params.lr")
    assert sorted(found) == ids[:5]
    assert [found[key] for key in ids[:3]] == [0.1, "x", 3]
    assert not any(isinstance(found[key], (str, int, float)) for key in ids[3:5])
    assert store.session_values("params.on") == {ids[1]: True}
    store.beat([Beat(ids[2], 1, measures=(measured(ids[2], "acc", 1, 2),))])
    assert store.session_values("metrics.acc") == {ids[2]: 2.0}
    assert store.session_values("metrics.lr") == store.session_values("params.acc") == {}


def test_cells(store: Store) -> None:
    one, two = (store.open_session(Session("s", "u", "h", 1, NOW)) for _ in range(2))
    store.put_cell(Cell(two.id, 1, "b", NOW, 1.0, "ok"))
    store.put_cell(Cell(one.id, 10, "later", NOW))
    store.put_cell(Cell(one.id, 2, "a = 1\n", NOW))
    store.put_cell(Cell(one.id, 2, "a = 1\n", NOW, 0.25, "error", "E", "trace", 7))
    assert [(c.session_id, c.cell) for c in store.cells()] == [(one.id, 2), (one.id, 10), (two.id, 1)]
    assert store.cells([one.id])[0] == Cell(one.id, 2, "a = 1\n", NOW, 0.25, "error", "E", "trace", 7)
    assert isinstance(store.cells([two.id])[0].duration_s, float)


def test_descriptions(store: Store) -> None:
    session = store.open_session(Session("s", "u", "h", 1, NOW))
    version = put(
        store, "a", numbers(1), descriptions=(Description("BASE", "old"), Description("OTHER", "o"))
    )
    store.describe(Description("BASE", "of session", session_of=session.id))
    store.describe(
        Description("BASE", "new", list_id=version.list_id, vector=(1.0, 0.1), session_id=session.id)
    )
    found = store.descriptions()
    assert [(d.label, d.text, d.list_id, d.session_of) for d in found] == [
        ("OTHER", "o", version.list_id, None),
        ("BASE", "of session", None, session.id),
        ("BASE", "new", version.list_id, None),
    ]
    assert found[2].vector == (1.0, 0.1)
    assert found[2].session_id == session.id
    assert all(d.time is not None for d in found)


def test_kept_files(store: Store, tmp_path: Path) -> None:
    content = os.urandom(4_000_000)
    path = tmp_path / "content"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    for _ in range(2):
        keep(store, path, digest)
    with store.open_file(digest) as file:
        assert file.read() == content
    empty = hashlib.sha256(b"").hexdigest()
    path.write_bytes(b"")
    keep(store, path, empty)
    with store.open_file(empty) as file:
        assert file.read() == b""
    with pytest.raises(FileMissing):
        store.open_file("0" * 64)


def test_a_file_that_changes_is_not_kept(place: Place, tmp_path: Path) -> None:
    store = place.open()
    path = tmp_path / "content"
    path.write_bytes(b"new")
    digest = hashlib.sha256(b"old").hexdigest()
    with pytest.raises(FileMissing):
        keep(store, path, digest)
    with pytest.raises(FileMissing):
        store.open_file(digest)
    assert {problem.severity for problem in store.check()} <= {"stray"}
    store.close()


# ---------------------------------------------------------------- care


def test_vacuum_frees_what_no_kept_version_shows(store: Store) -> None:
    put(store, "a", numbers(0, 1))
    put(store, "a", numbers(2), operation="append")
    put(store, "a", numbers(7, 8, 9))
    act(store, "a", "restore", target=1)
    put(store, "b", numbers(5))
    act(store, "b", "delete")
    steps: list[int] = []
    planned = store.vacuum(keep=1, deleted=True, progress=steps.append)
    assert steps == [1, 1]  # a step for each list
    assert [(f.what, f.list, f.versions, f.rows) for f in planned] == [
        ("rows", "a", (2, 3), 4),
        ("deleted list", "b", (1, 2), 1),
    ]
    assert [v.gone for v in store.versions("a")] == [False] * 4
    assert [(f.list, f.rows) for f in store.vacuum(keep=1, deleted=True, dry_run=False)] == [
        ("a", 4),
        ("b", 1),
    ]
    assert [v.gone for v in store.versions("a")] == [False, True, True, False]
    assert rows(store, store.head("a")) == [{"x": 0}, {"x": 1}]
    assert rows(store, store.version("a", 1)) == [{"x": 0}, {"x": 1}]
    with pytest.raises(VersionNotFound, match="vacuum"):
        rows(store, store.version("a", 2))
    with pytest.raises(VersionNotFound, match="vacuum"):
        act(store, "a", "restore", target=3)
    assert store.vacuum(keep=1, dry_run=False) == []
    assert put(store, "a", numbers(3), operation="append").total == 3
    assert put(store, "b", numbers(6)).version == 3


def test_vacuum_keeps_the_last_content_of_a_deleted_list(store: Store) -> None:
    put(store, "a", numbers(1))
    put(store, "a", numbers(2, 3))
    act(store, "a", "delete")
    put(store, "b", numbers(5))
    act(store, "b", "delete")
    put(store, "b", numbers(6))
    act(store, "b", "delete")
    assert [(f.what, f.list, f.rows) for f in store.vacuum(keep=2)] == []
    assert [(f.what, f.list, f.versions) for f in store.vacuum(keep=1, dry_run=False)] == [
        ("rows", "a", (1,)),
        ("rows", "b", (1, 2)),
    ]
    assert store.vacuum(keep=1) == []
    act(store, "a", "restore", target=2)
    act(store, "b", "restore", target=3)
    assert rows(store, store.head("a")) == [{"x": 2}, {"x": 3}]
    assert rows(store, store.head("b")) == [{"x": 6}]
    act(store, "b", "delete")
    assert [(f.what, f.list, f.rows) for f in store.vacuum(deleted=True, dry_run=False)] == [
        ("deleted list", "b", 1)
    ]
    with pytest.raises(VersionNotFound, match="vacuum"):
        act(store, "b", "restore", target=3)
    assert rows(store, store.head("a")) == [{"x": 2}, {"x": 3}]


def test_vacuum_keeps_as_many_versions_as_asked(store: Store) -> None:
    for value in range(5):
        put(store, "a", numbers(value))
    store.vacuum(keep=3, dry_run=False)
    assert [v.gone for v in store.versions("a")] == [True, True, False, False, False]


def test_compact_changes_nothing_that_is_seen(store: Store) -> None:
    for value in range(5):
        put(store, "a", numbers(value), operation="append")
    act(store, "a", "restore", target=3)
    before = [(v, rows(store, v)) for v in store.versions("a")]
    store.compact()
    store.compact("a")
    assert [(v, rows(store, v)) for v in store.versions("a")] == before


# ---------------------------------------------------------------- lineage


def edge(parent: Any, form: int, child: int, rows: int, low: int, span: int, **more: Any) -> Edge:
    basis = more.pop("basis", STATED)
    generation = WHOLE_LIST if form == EdgeForm.WHOLE else parent.generation
    return Edge(parent.list_id, parent.version, generation, basis, form, child, rows, low, span, **more)


def said(table: Any) -> list[tuple[Any, ...]]:
    """Edges in plain words, in order of their children: list, version, first child, rows, parent, form, arrays."""
    found = []
    for i in range(len(table)):
        arrays = [None if a[i] is None else a[i].tolist() for a in (table.children, table.parents)]
        found.append(
            (int(table.list[i]), int(table.version[i]), int(table.generation[i]), int(table.start[i]), int(table.rows[i]),
             int(table.parent_list[i]), int(table.parent_version[i]), int(table.parent_generation[i]), int(table.parent[i]),
             int(table.span[i]), int(table.basis[i]), int(table.form[i]), int(table.step[i]), *arrays)
        )  # fmt: skip
    return sorted(found, key=str)


def test_edges_come_with_their_batch_and_are_found_from_both_ends(store: Store) -> None:
    source = put(store, "source", numbers(*range(100)))
    shuffled = np.random.default_rng(0).permutation(40)
    forms = (
        edge(source, EdgeForm.WHOLE, 0, 40, 1, 100),
        edge(source, EdgeForm.SPAN, 0, 40, 20, 3, basis=INFERRED),
        edge(source, EdgeForm.AFFINE, 0, 40, 60, 40, step=-1),
        edge(source, EdgeForm.PAIRS, 0, 40, 10, 40, basis=READ, parents=shuffled),
        edge(
            source, EdgeForm.PAIRS, 5, 9, 50, 30, children=np.array([0, 0, 8]), parents=np.array([29, 0, 7])
        ),
        edge(source, EdgeForm.EACH, 3, 2, 1, 8, parents=np.array([0, 7])),
    )
    first = put(store, "made", numbers(*range(40)), edges=forms)
    one = edge(source, EdgeForm.AFFINE, 1, 2, 97, 2, step=1)
    second = put(store, "made", numbers(7, 8, 9), operation="append", edges=(one,))
    lists = (first.list_id, source.list_id)

    def meant(version: Any, each: Edge) -> tuple[Any, ...]:
        arrays = [None if a is None else a.tolist() for a in (each.children, each.parents)]
        return (
            lists[0], version.version, 1, version.start + each.child, each.rows, lists[1], 1, each.parent_generation,
            each.parent, each.span,
            each.basis, int(each.form), each.step, *arrays,
        )  # fmt: skip

    assert said(store.edges_of_batch(first)) == sorted([meant(first, each) for each in forms], key=str)
    assert said(store.edges_of_batch(second)) == [meant(second, one)]
    assert len(store.edges_of_batch(source)) == 0
    every = [(first, each) for each in forms] + [(second, one)]
    for spans in (
        [(0, 1)],
        [(41, 43)],
        [(4, 5), (39, 42)],
        [(0, 1 << 40)],
        [(i, i + 1) for i in range(0, 43, 2)],
    ):
        found = said(edges_at(store, lists[0], 1, spans, side="child"))
        assert len(found) == len(set(map(str, found)))
        needed = {
            str(meant(version, each))
            for version, each in every
            for low, high in spans
            if version.start + each.child < high and version.start + each.child + each.rows > low
        }
        assert needed <= set(map(str, found)) <= {str(meant(*each)) for each in every}
    for spans in (
        [(0, 1)],
        [(97, 98)],
        [(21, 22), (50, 60)],
        [(0, 1 << 40)],
        [(i, i + 1) for i in range(0, 99, 2)],
    ):
        found = said(edges_at(store, lists[1], 1, spans, side="parent"))
        assert len(found) == len(set(map(str, found)))
        needed = {
            str(meant(version, each))
            for version, each in every
            for low, high in spans
            if each.form != EdgeForm.WHOLE and each.parent < high and each.parent + each.span > low
        }
        assert needed <= set(map(str, found)) <= {str(meant(*each)) for each in every}
    whole = edges_at(store, lists[1], WHOLE_LIST, [(0, 1 << 40)], side="parent")
    assert said(whole) == [meant(first, forms[0])]
    everything = sorted([meant(*each) for each in every], key=str)
    for list_id, side in zip(lists, ("child", "parent"), strict=True):
        assert said(store.edges([EdgeQuery(list_id, None)], side=side)) == everything
    assert len(edges_at(store, lists[1], 1, [(0, 9)], side="child")) == 0
    assert len(edges_at(store, lists[0], 2, [(0, 9)], side="child")) == 0
    assert len(edges_at(store, lists[0], 1, [], side="parent")) == 0


def test_more_runs_of_positions_than_one_by_one(store: Store) -> None:
    source = put(store, "source", numbers(*range(2000)))
    for at in (0, 900, 1800):
        put(
            store, "made", numbers(1), operation="append", edges=(edge(source, EdgeForm.AFFINE, 0, 1, at, 1),)
        )
    spans = [(at, at + 1) for at in range(0, 2000, 2)]
    assert sorted(edges_at(store, source.list_id, 1, spans, side="parent").parent.tolist()) == [0, 900, 1800]


def test_edges_of_a_commit_that_failed_are_nowhere(store: Store) -> None:
    source = put(store, "source", numbers(1, 2))
    with pytest.raises(Conflict):
        put(store, "source", numbers(3), expect=7, edges=(edge(source, EdgeForm.AFFINE, 0, 1, 0, 1),))
    token = "t" * 8
    for _ in range(2):
        version = put(
            store, "made", numbers(3), token=token, edges=(edge(source, EdgeForm.AFFINE, 0, 1, 1, 1),)
        )
    assert version.version == 1
    assert edges_at(store, source.list_id, 1, [(0, 2)], side="parent").parent.tolist() == [1]
    assert store.check() == []


def test_edges_outlive_the_rows(store: Store) -> None:
    source = put(store, "source", numbers(1, 2))
    put(store, "made", numbers(3), edges=(edge(source, EdgeForm.AFFINE, 0, 1, 1, 1),))
    assert store.describe_lists([source.list_id]).lists[source.list_id].stored is None
    put(store, "source", numbers(4, 5, 6))
    made = put(store, "made", numbers(5))
    store.vacuum(dry_run=False)
    found = edges_at(store, made.list_id, 1, [(0, 1)], side="child")
    assert (found.parent_generation.tolist(), found.parent.tolist()) == ([1], [1])
    assert len(edges_at(store, source.list_id, 1, [(1, 2)], side="parent")) == 1
    kept = store.describe_lists([source.list_id]).lists[source.list_id].stored
    assert kept is not None
    assert list(kept) == [(2, 0, 3)]
    assert store.check(fix=True) == []
    assert store.vacuum(dry_run=False) == []
    assert len(edges_at(store, source.list_id, 1, [(1, 2)], side="parent")) == 1


def test_kept_rows_of_a_generation_cut_short(store: Store) -> None:
    put(store, "a", numbers(1, 2))
    put(store, "a", numbers(3), operation="append")
    put(store, "a", numbers(9))
    last = act(store, "a", "restore", target=1)
    store.vacuum(dry_run=False)
    assert list(store.describe_lists([last.list_id]).lists[last.list_id].stored or ()) == [(1, 0, 2)]


def test_summaries_say_what_came_from_which_version(store: Store) -> None:
    first = put(store, "source", numbers(1, 2))
    second = put(store, "source", numbers(3), operation="append")
    session = store.open_session(Session("s", "u", "h", 1, NOW))
    edges = (
        edge(second, EdgeForm.AFFINE, 0, 1, 2, 1),
        edge(second, EdgeForm.AFFINE, 1, 1, 0, 1, basis=INFERRED),
        edge(second, EdgeForm.AFFINE, 1, 1, 1, 1, basis=READ),
        edge(first, EdgeForm.WHOLE, 0, 2, 1, 2),
    )
    made = put(store, "made", numbers(1, 2), edges=edges, session_id=session.id, cell=4)
    later = put(store, "later", numbers(1), edges=(edge(made, EdgeForm.WHOLE, 0, 1, 1, 2, basis=READ),))
    found = [
        (s.parent_list, s.parent_version, s.list, s.version, s.rows, s.basis, s.session_id, s.cell, s.time)
        for s in store.edge_summaries()
    ]
    assert found == [
        (first.list_id, 1, made.list_id, 1, 2, STATED, session.id, 4, made.time.isoformat()),
        (first.list_id, 2, made.list_id, 1, 2, INFERRED, session.id, 4, made.time.isoformat()),
        (made.list_id, 1, later.list_id, 1, 1, READ, None, None, later.time.isoformat()),
    ]


def test_writers_of_positions(store: Store) -> None:
    session = store.open_session(Session("s", "u", "h", 1, NOW))
    head = put(store, "a", numbers(1, 2, 3))
    put(store, "a", numbers(4), operation="append", session_id=session.id, cell=2)
    put(store, "a", numbers(), operation="append")
    put(store, "a", numbers(5, 6), operation="append", session_id=session.id)

    def plain(low: int, high: int) -> list[tuple[int, ...]]:
        (w,) = store.writers([(head.list_id, 1, low, high)])
        return list(
            zip(*(x.tolist() for x in (w.start, w.rows, w.version, w.session_id, w.cell)), strict=True)
        )

    every = [(0, 3, 1, -1, -1), (3, 1, 2, session.id, 2), (4, 2, 4, session.id, -1)]
    assert plain(0, 6) == every
    assert (plain(2, 4), plain(3, 4), plain(5, 6)) == (every[:2], every[1:2], every[2:])
    assert plain(1, 2) == every[:1]
    assert store.writers([]) == []
    nobody, somebody = store.writers([(head.list_id, 9, 0, 5), (head.list_id, 1, 4, 5)])
    assert (len(nobody.start), somebody.version.tolist()) == (0, [4])


def test_what_versions_show(store: Store) -> None:
    put(store, "a", numbers(1, 2))
    put(store, "a", numbers(3), operation="append")
    put(store, "a", numbers(4))
    act(store, "a", "restore", target=1)
    put(store, "a", numbers(5), operation="append")
    act(store, "a", "restore", target=4)
    act(store, "a", "restore", target=5)
    head = act(store, "a", "restore", target=2)
    assert [list(pieces) for pieces in store.pieces(store.versions("a"))] == [
        [(1, 0, 2)],
        [(1, 0, 3)],
        [(3, 0, 1)],
        [(1, 0, 2)],
        [(1, 0, 2), (4, 0, 1)],
        [(1, 0, 2)],
        [(1, 0, 2), (4, 0, 1)],
        [(1, 0, 3)],
    ]
    assert not store.describe_lists([head.list_id]).lists[head.list_id].in_place
    numbered = [(head.list_id, 5), (head.list_id, 1), (head.list_id, 99), (10**6, 1)]
    assert store.describe_lists(versions=numbered) == ListInfo(
        {}, {(head.list_id, 1): store.version("a", 1), (head.list_id, 5): store.version("a", 5)}
    )
    other = put(store, "été", numbers(1))
    assert store.describe_lists([other.list_id]).lists[other.list_id].in_place
    found = store.describe_lists([head.list_id, other.list_id, 10**6], [(other.list_id, 1)])
    assert {list_id: each.name for list_id, each in found.lists.items()} == {
        head.list_id: "a",
        other.list_id: "été",
    }
    assert found.versions == {(other.list_id, 1): other}


def test_what_sessions_read(store: Store) -> None:
    a, b = put(store, "a", numbers(1)), put(store, "b", numbers(1))
    one, two = (store.open_session(Session(name, "u", "h", 1, NOW)) for name in ("one", "two"))
    store.note_reads(two.id, [(b.list_id, 1), (a.list_id, 1)])
    put(store, "c", numbers(1), session_id=two.id, reads=((b.list_id, 1), (b.list_id, 2)))
    put(store, "d", numbers(1), session_id=one.id, reads=((b.list_id, 1),))
    store.note_reads(one.id, [(a.list_id, 3), (b.list_id, 1)])
    store.note_reads(one.id, [])
    store.update_session(one.id, tags=("x",))
    of_one = [(one.id, "b", 1), (one.id, "a", 3)]
    of_two = [(two.id, "b", 1), (two.id, "a", 1), (two.id, "b", 2)]
    assert store.reads() == of_one + of_two
    assert store.reads([two.id]) == of_two
    assert store.reads([]) == []
    with pytest.raises(Conflict):
        put(store, "c", numbers(1), expect=9, session_id=one.id, reads=((a.list_id, 1),))
    assert store.reads([one.id]) == of_one


# ---------------------------------------------------------------- handles


def test_reading_only(place: Place, store: Store, tmp_path: Path) -> None:
    version = put(store, "a", numbers(1))
    session = store.open_session(Session("s", "u", "h", 1, NOW))
    reader = place.open(read_only=True)
    assert reader.read_only
    assert rows(reader, reader.head("a")) == [{"x": 1}]
    attempts = [
        lambda: put(reader, "a", numbers(2)),
        lambda: act(reader, "a", "delete"),
        lambda: reader.describe(Description("BASE", "t", list_id=version.list_id)),
        lambda: reader.open_session(Session("s", "u", "h", 1, NOW)),
        lambda: reader.update_session(session.id, outcome="finished"),
        lambda: reader.put_cell(Cell(session.id, 1, "t", NOW)),
        lambda: reader.beat([Beat(session.id, 1, alive=True)]),
        lambda: reader.ask([session.id], "stop"),
        lambda: reader.reopen_session(session, last_beat=session.heartbeat),
        lambda: reader.vacuum(dry_run=False),
    ]
    for attempt in attempts:
        with pytest.raises(VaultReadOnly):
            attempt()
    assert reader.check() == []
    reader.close()


def test_nothing_is_made_by_reading(tmp_path: Path, place: Place) -> None:
    missing = Place(place.opener, place.address + "x")
    with pytest.raises(VaultNotFound):
        missing.open(read_only=True)


def test_a_closed_store_says_so(place: Place) -> None:
    store = place.open()
    put(store, "a", numbers(1))
    store.close()
    store.close()
    with pytest.raises(VaultClosed):
        store.head("a")
    with pytest.raises(VaultClosed):
        put(store, "a", numbers(1))


def test_the_object_of_a_schema_that_two_threads_read_at_once_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id of one that is dropped passes to other schemas, which would be taken for it."""
    folder = str(tmp_path / "vault")
    with closing(EmbeddedStore(folder)) as writer:
        schema_id = put(writer, "a", numbers(1)).schema_id
    with closing(EmbeddedStore(folder)) as store:
        schemas = store._schemas
        read = schemas._data
        by_another: list[pa.Schema] = []

        def read_as_another_does(schema_id: int) -> bytes:
            monkeypatch.undo()
            by_another.append(schemas.schema(schema_id))
            return read(schema_id)

        monkeypatch.setattr(schemas, "_data", read_as_another_does)
        assert schemas.schema(schema_id) is by_another[0]
        assert schemas._ids_of_objects == {id(by_another[0]): schema_id}


def test_threads_share_a_store(store: Store) -> None:
    put(store, "a", numbers())

    def work(number: int) -> None:
        for i in range(5):
            put(store, "a", numbers(number * 100 + i), operation="append")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    found = [row["x"] for row in rows(store, store.head("a"))]
    assert sorted(found) == sorted(number * 100 + i for number in range(4) for i in range(5))
    assert all([x for x in found if x // 100 == n] == [n * 100 + i for i in range(5)] for n in range(4))
    assert [v.version for v in store.versions("a")] == list(range(1, 22))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_goes_on_using_the_store(store: Store) -> None:
    put(store, "a", numbers(0))
    children = []
    for number in range(1, 3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for i in range(3):
                    put(store, "a", numbers(number * 10 + i), operation="append")
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    for i in range(3):
        put(store, "a", numbers(i), operation="append")
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0]
    assert sorted(r["x"] for r in rows(store, store.head("a"))) == [0, 0, 1, 2, 10, 11, 12, 20, 21, 22]
