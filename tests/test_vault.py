"""The public calls on a vault: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

import tablevault_pd as tv
from tablevault_pd.session import Recorder


def frame(n: int = 3, start: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"n": range(start, start + n), "text": [f"row {i}" for i in range(start, start + n)]})


def positions(df: pd.DataFrame) -> pd.DataFrame:
    """The frame as it is read from a list that keeps no index of its own."""
    return df.set_axis(pd.RangeIndex(len(df), name="position"))


# -- save and read


def test_a_frame_comes_back(vault):
    df = frame()
    df.vault.save("a")
    assert_frame_equal(tv.read("a"), positions(df))


def test_the_accessor_connects_by_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TABLEVAULT_URL", str(tmp_path / "auto"))
    frame().vault.save("a")
    assert (tmp_path / "auto" / "catalog.db").is_file()
    tv.current_vault().close()


def test_changing_the_frame_after_save_changes_nothing_saved(vault):
    df = pd.DataFrame({"x": np.arange(5_000.0), "vec": list(np.ones((5_000, 2)))})
    vault.save("a", df)
    df.loc[0, "x"] = -1.0
    df["vec"].iloc[0][:] = 9
    assert tv.read("a")["x"].iloc[0] == 0.0
    assert tv.read("a")["vec"].iloc[0].tolist() == [1.0, 1.0]


def test_a_frame_read_is_the_readers_own(vault):
    check_own(vault, 3)


def test_a_large_frame_read_is_the_readers_own(folder_vault):
    check_own(folder_vault, 400_000)  # large enough to be mapped, not read


def check_own(vault: tv.Vault, n: int) -> None:
    vault.save("a", pd.DataFrame({"x": np.arange(float(n)), "vec": list(np.zeros((n, 3), "float32"))}))
    first, second = tv.read("a"), tv.read("a")
    first.iloc[0, 0] = 99.0
    first["vec"].iloc[1][:] = 7
    assert second["x"].iloc[0] == 0.0
    assert second["vec"].iloc[1].tolist() == [0.0, 0.0, 0.0]
    assert tv.read("a")["x"].iloc[0] == 0.0


OBJECTS = {
    "series of text": (pd.Series(["a", "b"], name="t"), {"t": "document"}, 2),
    "unnamed series": (pd.Series(["a", None]), {"document": "document"}, 2),
    "series of vectors": (pd.Series([[0.5, 1.0], [1.0, 2.0]]), {"embedding": "embedding"}, 2),
    "series of numbers": (pd.Series([1, 2, 3]), {"value": "record"}, 3),
    "dict": ({"a": 1, "b": "x"}, {"a": "record", "b": "record"}, 1),
    "dict with a list": ({"a": [1, 2, 3], "b": "x"}, {"a": "record", "b": "record"}, 1),
    "list of dicts": ([{"a": 1}, {"a": 2, "b": 0.5}], {"a": "record", "b": "record"}, 2),
    "matrix": (np.eye(3), {"embedding": "embedding"}, 3),
    "matrix of ints": (np.arange(6).reshape(2, 3), {"embedding": "embedding"}, 2),
    "list of texts": (["a", "b"], {"document": "document"}, 2),
    "list of vectors": ([[1.0, 2.0], [3.0, 4.0]], {"embedding": "embedding"}, 2),
    "arrow table": (pa.table({"a": [1, 2]}), {"a": "record"}, 2),
    "record batch": (pa.record_batch({"a": [1, 2]}), {"a": "record"}, 2),
    "polars": (pl.DataFrame({"a": [1, 2], "v": pl.Series([[1.0, 2.0], [3.0, 4.0]], dtype=pl.Array(pl.Float32, 2))}),
               {"a": "record", "v": "embedding"}, 2),
    "frames": ([frame(2), frame(3, 2)], {"n": "record", "text": "record"}, 5),
    "generator of dicts": (lambda: ({"a": i} for i in range(12_000)), {"a": "record"}, 12_000),
    "empty list": ([], {}, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_type_can_be_saved(vault, name):
    obj, kinds, rows = OBJECTS[name]
    saved = vault.save("a", obj() if callable(obj) else obj)
    assert saved.kinds == kinds
    assert (len(saved), saved.version, len(saved.read())) == (rows, 1, rows)


@pytest.mark.parametrize(
    "obj", ["a text", b"bytes", 3, None, object(), np.zeros(3), np.zeros((2, 2, 2)), [[1.0], [1.0, 2.0]]]
)
def test_other_objects_are_refused(vault, obj):
    with pytest.raises(tv.VaultError):
        vault.save("a", obj)
    assert "a" not in vault


@pytest.mark.parametrize(
    ("obj", "kind"),
    [
        (pd.DataFrame({"a": ["x"]}), "document"),
        ({"a": "x"}, "document"),
        ([{"a": "x"}], "record"),
        ([("x", 1)], "record"),
        (["x"], "record"),
        (["x"], "file"),
        ([[0.5, 1.5]], "document"),
        (np.eye(2), "record"),
        (pa.table({"a": ["x"]}), "document"),
        (lambda: iter([pd.DataFrame({"a": ["x"]})]), "document"),
        (lambda: iter([pd.Series(["x"]), {"a": "x"}]), "document"),
    ],
)
def test_a_kind_that_would_be_passed_over_is_refused(vault, obj, kind):
    with pytest.raises(tv.InvalidInput, match=r"kind='.*' says what the values of a Series are"):
        vault.save("a", obj() if callable(obj) else obj, kind=kind)
    assert "a" not in vault


def test_a_kind_that_agrees_with_what_rows_become_is_taken(vault):
    assert vault.save("texts", ["x"], kind="document").kinds == {"document": "document"}
    assert vault.save("vectors", [[0.5, 1.5]], kind="embedding").kinds == {"embedding": "embedding"}
    assert vault.save("series", iter([pd.Series(["x"])]), kind="record").kinds == {"value": "record"}


def test_a_stream_is_one_commit(vault):
    saved = vault.save("a", (frame(1000, i * 1000) for i in range(5)))
    assert (saved.version, len(saved)) == (1, 5_000)
    assert_frame_equal(saved.read(), positions(frame(5_000)))


def test_a_stream_that_breaks_leaves_nothing(vault):
    def broken():
        yield pd.DataFrame({"x": np.zeros(40_000)})
        raise RuntimeError("source went away")

    with pytest.raises(RuntimeError, match="source went away"):
        vault.save("a", broken())
    assert "a" not in vault
    assert vault.check().empty
    assert vault.vacuum().empty


def test_a_stream_may_evolve(vault):
    vault.save("a", iter([pd.DataFrame({"x": [1, 2]}), pd.DataFrame({"x": [0.5], "y": ["new"]})]))
    got = vault.read("a")
    assert got["x"].tolist() == [1.0, 2.0, 0.5]
    assert got["y"].isna().tolist() == [True, True, False]


def test_chunks_of_a_csv_go_on_counting(vault, tmp_path):
    frame(10).to_csv(tmp_path / "x.csv", index=False)
    vault.save("a", pd.read_csv(tmp_path / "x.csv", chunksize=4))
    assert_frame_equal(vault.read("a"), positions(pd.read_csv(tmp_path / "x.csv")))
    vault.append("b", frame(2))
    vault.append("b", frame(2, 2).set_axis(pd.RangeIndex(2, 4)))
    assert vault.read("b")["n"].tolist() == [0, 1, 2, 3]


def test_an_unnamed_integer_index_is_kept_over_appends(folder_vault):
    folder_vault.append("a", frame(4).loc[[1, 3]])
    folder_vault.append("a", frame(2))  # a default index counts 0, 1 as pandas.concat would
    folder_vault.append("a", frame(3))
    assert folder_vault.read("a").index.tolist() == [1, 3, 0, 1, 0, 1, 2]
    assert folder_vault.read("a", start=3, stop=6).index.tolist() == [1, 0, 1]
    assert folder_vault.compact().loc[0, "parts_after"] == 1
    assert folder_vault.read("a", start=3, stop=6).index.tolist() == [1, 0, 1]


def test_an_index_that_the_list_does_not_have_is_refused(vault):
    vault.save("a", frame(4))
    with pytest.raises(tv.SchemaMismatch, match="reset_index"):
        vault.append("a", frame(4).loc[[1, 3]])


# -- reading


def test_columns_and_positions(vault):
    vault.save("a", frame(10))
    got = vault.read("a", columns=["text"], start=-3)
    assert got.columns.tolist() == ["text"]
    assert got.index.tolist() == [7, 8, 9]
    assert vault.read("a", start=4, stop=2).empty
    assert vault.read("a", columns=[]).shape == (10, 0)
    with pytest.raises(tv.InvalidInput, match="Did you mean 'text'"):
        vault.read("a", columns=["txet"])
    with pytest.raises(tv.InvalidInput, match=r"columns=.*list"):
        vault.read("a", columns="text")


def test_filters_keep_the_rows_that_pandas_keeps(vault):
    df = pd.DataFrame({"n": [1.0, np.nan, 3.0, 4.0], "a b": ["x", None, "z", "x"]})
    vault.save("a", df)
    assert vault.read("a", filters="n > 1").index.tolist() == [2, 3]
    assert vault.read("a", filters="n != 1 and `a b` == 'x'").index.tolist() == [3]
    assert vault.read("a", filters=[("n", "!=", 1)]).index.tolist() == [2, 3]
    assert vault.read("a", filters=[[("n", "==", 1)], [("a b", "in", ["z"])]]).index.tolist() == [0, 2]
    if hasattr(pd, "col"):
        assert vault.read("a", filters=pd.col("n") != 1).index.tolist() == df.index[df["n"] != 1].tolist()
    assert vault.read("a", filters="n > 1", columns=["a b"], start=3).to_dict("list") == {"a b": ["x"]}
    for wrong in ("nonsense ==", [("m", "==", 1)], [("n", "~", 1)], 5, [[]], [("n", "==")], "n + 1", ""):
        with pytest.raises(tv.InvalidFilter):
            vault.read("a", filters=wrong)


def test_names_at_versions_and_times(vault):
    vault.save("a", frame(1))
    vault.save("a", frame(2))
    time = vault.versions("a")["time"]
    assert len(tv.read("a@1")) == len(tv.read("a", version=1)) == len(vault["a@1"].read()) == 1
    assert len(tv.read("a", as_of=time[0])) == 1
    assert len(tv.read("a", as_of=datetime.now(UTC))) == 2
    with pytest.raises(tv.VersionNotFound, match="newest is 2"):
        tv.read("a@3")
    with pytest.raises(tv.VersionNotFound):
        tv.read("a", as_of="2001-01-01")
    with pytest.raises(tv.InvalidInput):
        tv.read("a@1", version=2)
    with pytest.raises(tv.InvalidInput):
        tv.read("a", as_of="no time")
    with pytest.raises(tv.ListNotFound, match="Did you mean 'a'"):
        vault["aa"]


# -- versions


def test_saving_the_same_rows_again_is_no_version(vault):
    df = pd.DataFrame({"x": [0.0, np.nan], "vec": [[1.0, np.inf], None], "d": [{"a": 1}, None]})
    assert vault.save("a", df).version == 1
    assert vault.save("a", df.copy()).version == 1
    assert vault.save("a", df.assign(x=[-0.0, np.nan])).version == 2
    assert vault.save("a", df.astype({"x": "float32"})).version == 3
    assert vault.save("a", df.rename_axis("i")).version == 4
    assert vault.save("a", df.rename_axis("i"), tags="t").version == 5


def test_appends_then_the_whole_is_the_same_content(vault):
    for i in range(5):
        vault.append("a", frame(2, 2 * i))
    assert vault.save("a", frame(10)).version == 5


def test_delete_restore_and_append(vault):
    for i in range(3):
        vault.append("a", frame(1, i))
    vault.delete("a")
    assert vault.lists().empty
    assert vault.lists(deleted=True)["name"].tolist() == ["a"]
    with pytest.raises(tv.ListDeleted, match="restore"):
        vault.append("a", frame(1))
    with pytest.raises(tv.ListDeleted):
        vault.read("a")
    with pytest.raises(tv.ListDeleted):
        vault.delete("a")
    assert len(vault.read("a", version=2)) == 2
    assert vault.restore("a", 2).version == 5
    assert vault.restore("a", 5).version == 5  # the current one: nothing to do
    vault.append("a", frame(1, 7))
    assert vault.read("a")["n"].tolist() == [0, 1, 7]
    assert vault.read("a", version=3)["n"].tolist() == [0, 1, 2]
    vault.delete("a")
    assert vault.save("a", frame(1, 9)).version == 8
    assert vault.versions("a")["operation"].tolist() == [
        "append", "append", "append", "delete", "restore", "append", "delete", "save",
    ]  # fmt: skip
    with pytest.raises(tv.VersionNotFound):
        vault.restore("a", 4)
    with pytest.raises(tv.VersionNotFound):
        vault.restore("a", 40)
    with pytest.raises(tv.ListNotFound):
        vault.restore("b", 1)


def test_a_restore_looks_the_newest_version_up_once(vault, monkeypatch):
    for i in range(2):
        vault.save("a", frame(1, i))
    looked_up, find_versions = [], vault.store.find_versions
    monkeypatch.setattr(vault.store, "head", lambda name: pytest.fail(f"{name} is looked up again"))
    monkeypatch.setattr(
        vault.store, "find_versions", lambda lookups: looked_up.append(lookups) or find_versions(lookups)
    )
    assert vault.restore("a", 1).version == 3
    assert len(looked_up) == 1


def test_strict_refuses_what_evolve_takes(vault):
    vault.save("a", frame())
    with pytest.raises(tv.SchemaMismatch, match="extra"):
        vault.append("a", frame().assign(extra=1), schema="strict")
    with pytest.raises(tv.SchemaMismatch):
        vault.save("a", frame().astype({"n": float}), schema="strict")
    with pytest.raises(tv.SchemaMismatch):
        vault.append("a", pd.DataFrame({"n": ["text"], "text": ["x"]}))
    assert len(vault.versions("a")) == 1
    vault.append("a", frame(1)[["text", "n"]], schema="strict")
    vault.append("a", frame(1).assign(extra=1))
    assert vault.read("a")["extra"].isna().tolist() == [True] * 4 + [False]


def test_widening_never_loses_a_value(vault):
    vault.save("a", pd.DataFrame({"x": [2**53 + 1]}))
    with pytest.raises(tv.SchemaMismatch, match="lost"):
        vault.append("a", pd.DataFrame({"x": [0.5]}))
    vault.save("b", pd.DataFrame({"x": [0.5]}))
    with pytest.raises(tv.SchemaMismatch, match="lost"):
        vault.append("b", pd.DataFrame({"x": [2**53 + 1]}))
    vault.append("b", pd.DataFrame({"x": [2**53]}))
    assert vault.read("b")["x"].tolist() == [0.5, 2.0**53]


def test_a_vector_of_another_width_is_refused_by_row(vault):
    vault.save("a", pd.DataFrame({"vec": [[1.0, 2.0]]}))
    with pytest.raises(tv.DimensionMismatch, match="vec"):
        vault.append("a", pd.DataFrame({"vec": [[1.0, 2.0, 3.0]]}))


def test_the_matrix_of_a_column_is_no_copy(folder_vault):
    vectors = np.random.default_rng(0).random((50_000, 8)).astype("float32")
    folder_vault.save("a", pd.DataFrame({"v": list(vectors)}))
    matrix = folder_vault["a"].matrix("v")
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, vectors)
    cells = folder_vault.read("a")["v"]
    assert cells.iloc[0].base is not None
    assert cells.iloc[0].base is cells.iloc[-1].base
    with pytest.raises(tv.InvalidInput):
        folder_vault.save("b", frame()).matrix("n")


# -- answers


def test_lists_and_versions(vault):
    vault.save(
        "a",
        pd.DataFrame({"t": ["x"], "v": [[1.0, 2.0]]}),
        documents="t",
        description="first",
        tags=["x", "y"],
    )
    vault.append("a", pd.DataFrame({"t": ["y"], "v": [[1.0, 2.0]]}))
    row = vault.lists().loc[0]
    assert row[["name", "version", "rows", "description"]].tolist() == ["a", 2, 2, "first"]
    assert (row["kinds"], row["columns"], row["tags"]) == (["document", "embedding"], ["t", "v"], ["x", "y"])
    assert row["bytes"] > 0
    assert row["updated"] > row["created"]
    versions = vault.versions("a")
    assert versions.columns.tolist() == [
        "list",
        "version",
        "operation",
        "rows",
        "added",
        "changed",
        "removed",
        "total",
        "session",
        "cell",
        "step",
        "time",
        "confirmed",
        "message",
        "gone",
        "tags",
        "snapshots",
    ]
    assert versions["total"].tolist() == [1, 2]
    assert str(versions["time"].dtype) == "datetime64[us, UTC]"
    assert str(versions["version"].dtype) == "Int64"
    assert versions["session"].iloc[0].endswith("#1")
    with pytest.raises(tv.ListNotFound):
        vault.versions("b")


def test_answers_have_their_columns_when_there_is_nothing(vault):
    assert vault.lists().columns.tolist() == [
        "name", "version", "kinds", "rows", "columns", "bytes", "created", "updated", "session", "deleted", "description", "tags",
    ]  # fmt: skip
    assert vault.files().columns.tolist()[:7] == [
        "list",
        "position",
        "path",
        "size_bytes",
        "modified",
        "sha256",
        "stored",
    ]
    assert vault.descriptions().columns.tolist()[:5] == ["list", "label", "text", "session", "time"]
    assert vault.check().columns.tolist() == [
        "severity",
        "what",
        "list",
        "version",
        "path",
        "detail",
        "fixed",
    ]
    assert str(vault.lists()["rows"].dtype) == "Int64"


def test_descriptions(vault):
    vault.save("a", frame(), description="one")
    vault.describe("a", "two")
    vault.describe("a", "other", label="NOTE")
    session = vault.sessions()["session"].iloc[0]
    vault.describe(session, "a run", vector=[1.0, 2.0])
    got = vault.descriptions()
    assert set(zip(got["label"], got["text"], strict=True)) == {
        ("BASE", "two"),
        ("NOTE", "other"),
        ("BASE", "a run"),
    }
    with pytest.raises(tv.ListNotFound):
        vault.describe("b", "x")
    with pytest.raises(tv.InvalidInput):
        vault.describe("a", " ")


def test_documents_know_their_place(vault):
    texts = pd.DataFrame({"t": ["späte Stunde", None, "", "Ende 🌍"], "n": range(4)})
    vault.save("a", texts, documents=["t"])
    offsets = vault["a"].offsets()
    joined = "".join(texts["t"].fillna(""))
    assert [joined[a:b] for a, b in zip(offsets["start"], offsets["stop"], strict=True)] == [
        "späte Stunde",
        "",
        "",
        "Ende 🌍",
    ]
    with pytest.raises(tv.InvalidInput):
        vault["a"].offsets("n")


def test_files_are_kept_and_watched(vault, tmp_path):
    one, two = tmp_path / "one.bin", tmp_path / "two.bin"
    one.write_bytes(b"1" * 1000)
    two.write_bytes(b"2" * 10)
    vault.save("kept", pd.DataFrame({"p": [str(one), None]}), files="p", copy=True)
    vault.save("seen", pd.DataFrame({"p": [two]}), files=["p"])
    files = vault.files()
    assert files["size_bytes"].tolist() == [1000, 10]
    assert files["sha256"].tolist() == [hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, two)]
    assert files["stored"].tolist() == [True, False]
    assert vault.read("seen")["p"].iloc[0] == two
    assert vault.read("kept")["p"].iloc[0] == str(one)
    one.unlink()
    with vault.open_file(files["sha256"][0]) as file:
        assert file.read() == b"1" * 1000
    assert vault.check().empty
    two.write_bytes(b"3" * 10)
    os.utime(two, (1, 1))
    problems = vault.check()
    assert problems[["severity", "list", "path"]].to_numpy().tolist() == [["damage", "seen", str(two)]]
    two.unlink()
    assert "is not there" in vault.check()["detail"].iloc[0]
    with pytest.raises(tv.FileMissing, match="row 0"):
        vault.save("x", pd.DataFrame({"p": ["nowhere.txt"]}), files="p")
    with pytest.raises(tv.FileMissing):
        vault.open_file("0" * 64)
    vault.delete("seen")


def test_files_of_rows_with_an_index_of_numbers_are_listed(vault, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    paths = pd.DataFrame({"path": [str(tmp_path / "a.txt")]}, index=pd.Index([7], name="item"))
    vault.save("held", paths, files="path")
    assert vault.files("held")["sha256"].notna().tolist() == [True]


def test_a_changed_file_is_named_in_each_list(vault, tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("x")
    vault.save("a", pd.DataFrame({"p": [str(path)]}), files="p")
    path.write_text("longer")
    assert "bytes" in vault.check()["detail"].iloc[0]
    path.unlink()
    vault.delete("a")


def test_polars_takes_a_list_without_losing_types(vault):
    df = pd.DataFrame(
        {
            "n": [1, 2],
            "t": ["a", None],
            "v": list(np.eye(2, dtype="float32")),
            "when": pd.date_range("2020", periods=2, unit="us"),
        }
    )
    vault.save("a", df)
    got = pl.DataFrame(vault["a"])
    assert got.schema == {
        "n": pl.Int64,
        "t": pl.String,
        "v": pl.Array(pl.Float32, 2),
        "when": pl.Datetime("us"),
    }
    vault.save("b", got)
    assert pl.DataFrame(vault["b"]).equals(got)
    assert vault["b"].kinds["v"] == "embedding"


def test_batches_and_copies_of_lists(vault):
    vault.save("a", frame(10))
    parts = list(vault["a"].batches(4))
    assert [len(part) for part in parts] == [4, 4, 2]
    assert_frame_equal(pd.concat(parts), positions(frame(10)))
    vault.save("b", vault["a"])
    assert_frame_equal(vault.read("b"), vault.read("a"))
    with pytest.raises(tv.InvalidInput):
        list(vault["a"].batches(0))


def test_compact_changes_no_answer(folder_vault):
    for i in range(40):
        folder_vault.append("a", frame(1, i))
    before, versions = folder_vault.read("a"), folder_vault.versions("a")
    done = folder_vault.compact("a")
    assert done[["parts_before", "parts_after"]].to_numpy().tolist() == [[40, 1]]
    assert_frame_equal(folder_vault.read("a"), before)
    assert_frame_equal(folder_vault.versions("a"), versions)
    assert folder_vault.read("a", version=13)["n"].tolist() == list(range(13))
    with pytest.raises(tv.ListNotFound):
        folder_vault.compact("b")


def test_vacuum_says_first_and_then_does(vault):
    vault.save("a", pd.DataFrame({"x": np.zeros(3_000)}))
    vault.save("a", frame(2))
    plan = vault.vacuum()
    assert plan["rows"].tolist() == [3_000]
    assert not plan["removed"].any()
    assert len(vault.read("a", version=1)) == 3_000
    assert vault.vacuum(keep=2).empty
    assert vault.vacuum(dry_run=False)["removed"].all()
    assert len(vault.read("a")) == 2
    with pytest.raises(tv.VersionNotFound, match="vacuum"):
        vault.read("a", version=1)
    with pytest.raises(tv.VersionNotFound, match="vacuum"):
        vault.restore("a", 1)
    with pytest.raises(tv.InvalidInput):
        vault.vacuum(keep=0)


def test_vacuum_removes_the_files(folder_vault):
    folder_vault.save("a", pd.DataFrame({"x": np.zeros(100_000)}))
    folder_vault.save("a", frame(2))
    segments = Path(folder_vault.place) / "segments"
    assert len(list(segments.iterdir())) == 1
    folder_vault.vacuum(dry_run=False)
    assert not list(segments.iterdir())


def test_export_is_read_by_others(vault, tmp_path):
    vault.save("a/b", frame())
    vault.save("a b", pd.DataFrame({"v": [[1.0, 2.0]]}, index=pd.Index(["k"], name="key")))
    index = vault.export(tmp_path / "out")
    assert index["list"].tolist() == ["a b", "a/b"]
    assert pq.read_table(tmp_path / "out" / index["file"][1]).to_pydict() == frame().to_dict("list")
    assert pq.read_table(tmp_path / "out" / index["file"][0]).to_pydict() == {"v": [[1.0, 2.0]], "key": ["k"]}
    with pytest.raises(tv.InvalidInput, match="empty"):
        vault.export(tmp_path / "out")
    vault.export(tmp_path / "csv", format="csv")
    vault.export(tmp_path / "jsonl", format="jsonl")
    assert pd.read_json(tmp_path / "jsonl" / "001-a_b.jsonl", lines=True)["n"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_export_has_what_is_known_about_the_lists(vault, tmp_path, kind):
    third, big = 0.1 + 0.2, 2**53 + 1
    vault.save("a", pd.DataFrame({"x": [third, 2.0], "n": [big, 1]}))
    with vault.session("train", params={"seed": big}, tags="t") as s:
        s.log(step=1, loss=third)
        s.log(loss=float("nan"))
        vault.read("a").query("x > 1").vault.save("b", description="the larger ones")
    vault.export(tmp_path / "out", format=kind)
    read = {
        "parquet": pd.read_parquet,
        "csv": pd.read_csv,
        "jsonl": lambda path: pd.read_json(path, lines=True),
    }
    load = lambda name: read[kind](tmp_path / "out" / f"{name}.{kind}")  # noqa: E731
    report = lambda name: json.loads((tmp_path / "out" / f"{name}.json").read_text())  # noqa: E731
    if kind != "jsonl":  # whose reader, not its file, rounds
        assert load("000-a").x.tolist() == [third, 2.0]
        assert load("000-a").n.tolist() == [big, 1]
    else:
        lines = (tmp_path / "out" / "000-a.jsonl").read_text().splitlines()
        assert json.loads(lines[0]) == {"x": third, "n": big}
    metrics = load("metrics")
    assert metrics.session.tolist() == ["train#1"] * 2
    assert metrics.step.fillna(-1).tolist() == [1, -1]
    assert metrics.value.round(9).fillna(-1).tolist() == [0.3, -1]
    edge = load("lineage").iloc[0]
    assert (edge.list, edge.position, edge.parent_list, edge.parent_position) == ("b", 0, "a", 1)
    [train] = [row for row in report("sessions") if row["name"] == "train"]
    assert (train["params.seed"], train["tags"], train["metrics.loss"]) == (big, ["t"], None)
    assert train["python"] == platform.python_version()
    assert train["cwd"] == os.getcwd()
    assert "argv" in train
    assert [row["text"] for row in report("descriptions")] == ["the larger ones"]
    assert [(row["parent_list"], row["child_list"]) for row in report("graph")] == [("a", "b")]
    assert len(report("versions")) == 2
    assert {"cells", "sources", "lists"} <= {path.stem for path in (tmp_path / "out").iterdir()}


# -- connecting


def test_connecting_again_shares_the_session(vault):
    again = tv.connect(vault.place)
    again.save("a", frame())
    assert len(vault.sessions()) == 1
    other = tv.connect(vault.place, session="other")
    assert len(other.sessions()) == 2
    other.close()
    again.close()
    vault.save("b", frame())


def test_close_is_taken_up_again_after_an_interrupt(tmp_path, monkeypatch):
    vault = tv.connect(tmp_path / "v", session="s")
    vault.save("a", {"n": 1})
    end, calls = Recorder.end, []

    def interrupted(run, *args, **kwargs):
        calls.append(run)
        if len(calls) == 1:
            raise KeyboardInterrupt
        end(run, *args, **kwargs)

    monkeypatch.setattr(Recorder, "end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        vault.close()
    with pytest.raises(tv.VaultClosed):
        vault.read("a")
    vault.close()
    vault.close()
    assert len(calls) == 2
    with tv.connect(tmp_path / "v", mode="r") as reader:
        assert reader.sessions().state.tolist() == ["finished"]


def test_a_closed_vault_says_so(tmp_path):
    closed = tv.connect(tmp_path / "v")
    closed.close()
    closed.close()
    with pytest.raises(tv.VaultClosed):
        closed.read("a")
    assert "closed" in repr(closed)


def test_read_only(vault):
    vault.save("a", frame())
    reader = tv.connect(vault.place, mode="r")
    assert len(reader.read("a")) == 3
    for write in (
        lambda: reader.save("b", frame()),
        lambda: reader.delete("a"),
        lambda: reader.describe("a", "x"),
        lambda: reader.compact(),
        lambda: reader.vacuum(dry_run=False),
    ):
        with pytest.raises(tv.VaultReadOnly):
            write()
    assert len(reader.sessions()) == 1
    reader.close()


def test_a_vault_can_be_moved(tmp_path):
    df = pd.DataFrame({"x": np.arange(100_000)})
    with tv.connect(tmp_path / "here") as vault:
        vault.save("a", df)
    moved = (tmp_path / "here").rename(tmp_path / "elsewhere")
    with tv.connect(moved, mode="r") as found:
        assert_frame_equal(found.read("a"), positions(df))


def test_wrong_options(tmp_path):
    for options in ({"mode": "w"}, {"durability": "none"}):
        with pytest.raises(tv.InvalidInput):
            tv.connect(tmp_path / "v", **options)
    assert not (tmp_path / "v").exists()


def test_handles_read_well(vault):
    saved = vault.save("news", pd.DataFrame({"title": ["x"], "vec": [[1.0, 2.0]]}))
    assert (
        repr(saved)
        == f"<List 'news', version 1: 1 row>\n  title  {pd.Series(['x']).dtype}\n  vec    object, embedding of width 2"
    )
    assert "news  version 1, 1 row," in repr(vault)
    assert saved._committed.version == 1
    assert list(vault) == ["news"]
    assert "news" in vault
    assert "nows" not in vault
    assert 3 not in vault
    assert vault._ipython_key_completions_() == ["news"]


def test_compacting_gives_an_old_version_no_later_categories(folder_vault):
    for categories in (["b", "a"], ["b", "a"], ["q"]):
        folder_vault.append("a", pd.DataFrame({"c": pd.Categorical(categories[:1], categories=categories)}))
    before = [folder_vault.read("a", version=version) for version in (1, 2, 3)]
    assert folder_vault.compact("a")[["parts_before", "parts_after"]].to_numpy().tolist() == [[3, 2]]
    for version, frame_before in enumerate(before, start=1):
        assert_frame_equal(folder_vault.read("a", version=version), frame_before)
    assert before[0]["c"].cat.categories.tolist() == ["b", "a"]
    assert before[2]["c"].cat.categories.tolist() == ["b", "a", "q"]


def test_a_row_of_another_width_is_named(vault):
    vault.save("a", pd.DataFrame({"v": [[1.0, 2.0]]}))
    with pytest.raises(tv.DimensionMismatch, match="row 1: 3 numbers, the list has 2"):
        vault.append("a", pd.DataFrame({"v": [[1.0, 2.0], [1.0, 2.0, 3.0]]}))


def test_a_column_that_came_later_is_missing_in_the_rows_before(vault):
    vault.save("a", frame(2))
    vault.append("a", frame(3, 2).assign(late=[0.5, 1.5, 2.5]))
    got = vault.read("a", columns=["late"])
    assert got["late"].isna().tolist() == [True, True, False, False, False]
    assert vault.read("a", columns=["late"], filters=[("late", ">", 1)]).index.tolist() == [3, 4]
    assert vault.read("a", columns=["late"], start=1, stop=3)["late"].isna().tolist() == [True, False]


@pytest.mark.parametrize("rows", [{"ok": "x", "note": "\ud800"}, [{"note": "x"}, {"note": "\ud800"}]])
def test_a_lone_surrogate_in_a_row_is_refused_by_place(folder_vault, rows):
    with pytest.raises(tv.UnsupportedColumn, match=r"'note', row [01]: .*surrogate"):
        folder_vault.append("notes", rows)
    assert folder_vault.lists().empty


def test_some_columns_of_a_large_list_are_read_without_a_copy(folder_vault):
    rows = 400_000
    folder_vault.save("big", pd.DataFrame({"a": np.arange(rows), "b": np.ones(rows), "c": np.zeros(rows)}))
    before = pa.total_allocated_bytes()
    kept = list(folder_vault.store.scan(folder_vault.store.head("big"), columns=["c", "a"]))
    assert sum(chunk.table.nbytes for chunk in kept) == 2 * 8 * rows
    assert pa.total_allocated_bytes() - before < rows  # what is read lies in the map of the file
    assert_frame_equal(folder_vault.read("big", columns=["c", "a"]), folder_vault.read("big")[["c", "a"]])


def test_restoring_what_is_there_already_makes_no_version(vault):
    vault.save("a", [{"n": 1}, {"n": 2}])
    vault.append("a", {"n": 3})
    assert vault.restore("a", 1).version == 3
    assert vault.restore("a", 1).version == 3
    assert vault.restore("a", 2).version == 4
    assert vault.restore("a", 2).version == 4
    vault.delete("a")
    assert vault.restore("a", 2).version == 6
    assert vault.restore("a", 4).version == 6
    assert vault.read("a")["n"].tolist() == [1, 2, 3]
