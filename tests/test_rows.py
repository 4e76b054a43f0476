"""Rows by key: upsert, append to a list with a key, delete_rows and history, as users call them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.store.embedded import EmbeddedStore
from tablevault_pd.vault.context import VaultContext

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNKS = pd.DataFrame({"doc": [*"aabb"], "n": [0, 1, 0, 1], "text": ["Storm", "Wind", "Sun", "Rain"]})


def _shown(vault: tv.Vault, name: str) -> list[list[Any]]:
    return vault.read(name).to_numpy().tolist()


def _last(vault: tv.Vault, name: str) -> dict[str, Any]:
    columns = ["operation", "added", "changed", "removed", "total"]
    return vault.versions(name)[columns].iloc[-1].to_dict()


# -- upsert


def test_one_document_of_several_is_chunked_anew(vault):
    vault.upsert("chunks", CHUNKS, key=["doc", "n"])
    new = pd.DataFrame({"doc": ["a", "c"], "n": [0, 0], "text": ["Gale", "Fog"]})
    made = vault.upsert("chunks", new, drop_missing="doc", message="a is shorter now")
    later = vault.upsert("chunks", {"doc": "c", "n": 0, "text": "Mist"})
    assert made.read().to_numpy().tolist() == [
        ["a", 0, "Gale"],
        ["b", 0, "Sun"],
        ["b", 1, "Rain"],
        ["c", 0, "Fog"],
    ]
    assert (made.version, len(made), later.version) == (2, 4, 3)
    assert vault.versions("chunks")["operation"].tolist() == ["upsert"] * 3
    assert vault.versions("chunks")["added"].tolist() == [4, 1, 0]
    assert vault.versions("chunks")["changed"].tolist() == [0, 1, 1]
    assert vault.versions("chunks")["removed"].tolist() == [0, 1, 0]
    assert vault.versions("chunks")["message"].tolist()[1] == "a is shorter now"
    assert vault.read("chunks@1").to_numpy().tolist() == CHUNKS.to_numpy().tolist()


def test_equal_rows_make_no_version(vault):
    first = vault.save("chunks", CHUNKS, key=["doc", "n"])
    assert vault.upsert("chunks", CHUNKS.iloc[[2, 0]]).version == first.version
    assert vault.upsert("chunks", CHUNKS, drop_missing=True).version == first.version
    assert vault.append("chunks", CHUNKS.tail(1)).version == first.version
    assert vault.save("chunks", CHUNKS).version == first.version
    assert vault.delete_rows("chunks", []).version == first.version


def test_everything_that_is_not_given_goes_if_asked(vault):
    vault.save("chunks", CHUNKS, key=["doc", "n"])
    vault.upsert("chunks", CHUNKS.tail(1), drop_missing=True)
    assert _shown(vault, "chunks") == [["b", 1, "Rain"]]
    assert _last(vault, "chunks") == {
        "operation": "upsert",
        "added": 0,
        "changed": 0,
        "removed": 3,
        "total": 1,
    }


def test_the_scope_need_not_be_part_of_the_key(vault):
    rows = pd.DataFrame({"id": [1, 2, 3], "doc": ["a", "a", None]})
    vault.save("chunks", rows, key="id")
    vault.upsert("chunks", {"id": 9, "doc": "a"}, drop_missing="doc")
    assert vault.read("chunks")["id"].tolist() == [3, 9]
    with pytest.raises(
        tv.InvalidInput, match=r"'chunks'.*drop_missing= names the column 'doc', which is missing in 1"
    ):
        vault.upsert("chunks", pd.DataFrame({"id": [3], "doc": [None]}), drop_missing="doc")


def test_a_frame_upserts_itself_and_the_key_is_needed_once(vault):
    CHUNKS.vault.upsert("chunks", key=["doc", "n"])
    CHUNKS.assign(text="x").head(1).vault.upsert("chunks")
    vault["chunks"].upsert(CHUNKS.assign(text="y").tail(1))
    assert vault.read("chunks")["text"].tolist() == ["x", "Wind", "Sun", "y"]


def test_a_named_index_is_the_key(vault):
    rows = pd.DataFrame({"v": [1, 2]}, index=pd.Index(["a", "b"], name="id"))
    vault.upsert("rows", rows)
    vault.upsert("rows", pd.DataFrame({"v": [3, 4]}, index=pd.Index(["b", "c"], name="id")))
    assert vault.read("rows")["v"].to_dict() == {"a": 1, "b": 3, "c": 4}
    assert vault.history("rows", key="b")[["version", "id", "v"]].to_numpy().tolist() == [
        [1, "b", 2],
        [2, "b", 3],
    ]
    levels = rows.assign(part=[0, 1]).set_index("part", append=True)
    vault.upsert("levels", levels, inputs=False)
    vault.upsert("levels", levels.tail(1) * 10, inputs=False)
    assert vault.read("levels")["v"].to_dict() == {("a", 0): 1, ("b", 1): 20}


def test_without_a_key_nothing_is_upserted(vault):
    with pytest.raises(tv.InvalidInput, match=r"'chunks' has no key yet.*key='id'"):
        vault.upsert("chunks", CHUNKS)
    assert "chunks" not in vault


def test_a_list_that_has_rows_gets_a_key_if_it_tells_them_apart(vault):
    vault.save("chunks", pd.concat([CHUNKS, CHUNKS.tail(1)], ignore_index=True))
    with pytest.raises(
        tv.DuplicateKey, match=r"'chunks' have keys more than once: doc='b', n=1 \(positions 3, 4\)"
    ):
        vault.upsert("chunks", CHUNKS.head(1), key=["doc", "n"])
    assert vault["chunks"].version == 1
    vault.save("chunks", CHUNKS)
    assert vault.upsert("chunks", CHUNKS.head(1), key=["doc", "n"]).version == 3  # the key is new
    with pytest.raises(tv.DuplicateKey):
        vault.append("chunks", CHUNKS.head(1).assign(text="other"))
    with pytest.raises(tv.DuplicateKey, match="positions 0, 1"):
        vault.upsert("chunks", CHUNKS.head(1), key="doc")
    vault.upsert("chunks", CHUNKS.head(1).assign(n=7), key="text")  # another key, and a good one
    assert _shown(vault, "chunks")[0] == ["a", 7, "Storm"]


@pytest.mark.parametrize("call", ["save", "append", "upsert"])
def test_a_key_that_is_doubled_or_missing_is_refused_before_anything_is_written(vault, call):
    vault.save("runs", pd.DataFrame({"id": [1.0, 2.0], "x": [1, 2]}), key="id")
    write: Callable[..., Any] = getattr(vault, call)
    with pytest.raises(tv.DuplicateKey, match=r"'runs'.*id=5\.0 \(rows 1, 2\)"):
        write("runs", pd.DataFrame({"id": [4.0, 5.0, 5.0], "x": 0}))
    with pytest.raises(tv.InvalidInput, match=r"'runs'.*'id', which is missing in 1 .* row 1"):
        write("runs", pd.DataFrame({"id": [4.0, np.nan], "x": 0}))
    with pytest.raises(tv.InvalidInput, match=r"'runs'.*'id'"):
        write("runs", {"x": 0})
    assert vault["runs"].version == 1


def test_a_time_that_is_a_key_twice_is_named_as_a_time(folder_vault):
    times = pd.DataFrame({"t": pd.to_datetime(["2024-01-02 03:04:05"] * 2).as_unit("ns")})
    with pytest.raises(tv.DuplicateKey, match=r"t=2024-01-02T03:04:05"):
        folder_vault.upsert("times", times, key="t")


def test_a_stream_is_checked_as_a_whole(vault):
    parts = [pd.DataFrame({"id": range(start, start + 3)}) for start in (0, 3, 2)]
    with pytest.raises(tv.DuplicateKey, match=r"id=2 \(rows 2, 6\)"):
        vault.save("numbers", iter(parts), key="id")
    assert "numbers" not in vault
    vault.save("numbers", iter(parts[:2]), key="id")
    vault.append("numbers", iter([pd.DataFrame({"id": [5, 6]}), pd.DataFrame({"id": [7]})]))
    assert vault.read("numbers")["id"].tolist() == list(range(8))


# -- append


def test_an_append_can_be_repeated(vault):
    for _ in range(2):
        results = vault.append("results", {"task": 7, "answer": "yes"}, key="task")
    assert (len(results), results.version) == (1, 1)
    vault.append("results", [{"task": 7, "answer": "yes"}, {"task": 8, "answer": "no"}])
    with pytest.raises(
        tv.DuplicateKey, match=r"'results'.*task=8 \(row 0, position 1\).*vault\.upsert\('results'"
    ):
        vault.append("results", {"task": 8, "answer": "yes"})
    assert _shown(vault, "results") == [[7, "yes"], [8, "no"]]


# -- columns of all kinds


def test_new_columns_and_wider_types_come_as_with_append(vault):
    vault.save("runs", pd.DataFrame({"id": [1, 2], "x": [1, 2]}), key="id")
    vault.upsert("runs", pd.DataFrame({"id": [2, 3], "x": [2.5, 3], "y": ["a", "b"]}))
    assert vault.read("runs").astype(object).where(vault.read("runs").notna(), None).to_numpy().tolist() == [
        [1, 1.0, None],
        [2, 2.5, "a"],
        [3, 3.0, "b"],
    ]
    vault.upsert("runs", {"id": 1, "y": "c"})  # a row is replaced whole
    assert vault.read("runs").iloc[0].isna().tolist() == [False, True, False]
    with pytest.raises(tv.SchemaMismatch):
        vault.upsert("runs", {"id": "one"})
    with pytest.raises(tv.SchemaMismatch):
        vault.upsert("runs", {"id": 1, "z": 1}, schema="strict")


@pytest.mark.parametrize(
    ("present", "given"),
    [
        (pd.Series([1, 2], dtype="int64"), pd.Series([2, 3], dtype="int8")),
        (pd.Series([1, 2], dtype="int64"), pd.Series([2, 3], dtype="Int64")),
        (pd.Series([1, 2], dtype="int32"), pd.Series([2, 3], dtype="int64")),
        (pd.Series([1, 2], dtype="int64"), pd.Series([2.0, 3.0])),
        (pd.Series(["a", "b"], dtype="category"), pd.Series(["b", "c"], dtype="category")),
        (pd.Series(["a", "b"], dtype="category"), pd.Series(["b", "c"], dtype="str")),
        (pd.Series(["a", "b"], dtype=object), pd.Series(["b", "c"], dtype="str")),
        (pd.Series([1, "b"], dtype=object), pd.Series(["b", 2.5], dtype=object)),
        (
            pd.to_datetime(pd.Series(["2026-01-01 00:00", "2026-01-01 01:00"])).dt.tz_localize("UTC"),
            pd.to_datetime(pd.Series(["2026-01-01 02:00", "2026-01-01 03:00"]))
            .dt.tz_localize("Europe/Berlin")
            .dt.tz_convert("UTC"),
        ),
        (
            pd.Series(pd.to_datetime(["2026-01-01", "2026-01-02"])).astype("datetime64[s]"),
            pd.Series(pd.to_datetime(["2026-01-02", "2026-01-03"])).astype("datetime64[ns]"),
        ),
        (pd.Series([0.5, 0.0]), pd.Series([-0.0, 1.5])),
    ],
    ids=lambda column: str(column.dtype),
)
def test_a_key_is_the_same_by_value_whatever_its_dtype(vault, present, given):
    vault.save("rows", pd.DataFrame({"id": present, "v": [1, 2]}), key="id")
    vault.upsert("rows", pd.DataFrame({"id": given, "v": [20, 30]}))
    assert vault.read("rows")["v"].tolist() == [1, 20, 30]


def test_numbers_beyond_floats_are_told_apart(vault):
    vault.save("rows", pd.DataFrame({"id": [2**53, 2**53 + 1], "v": [1, 2]}), key="id")
    vault.upsert("rows", pd.DataFrame({"id": [2**53 + 1], "v": [3]}))
    assert vault.read("rows")["v"].tolist() == [1, 3]


def test_vectors_documents_and_files_follow_their_rows(vault, tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(f"content {number}")
    rows = pd.DataFrame(
        {
            "id": [0, 1, 2],
            "body": ["a storm at sea", "a calm day", "a storm again"],
            "vec": [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]],
            "path": [str(tmp_path / f"{number}.txt") for number in range(3)],
        }
    )
    vault.save("news", rows, key="id", documents="body", files="path", copy=True)
    changed = rows.iloc[[0]].assign(body="a calm storm", vec=[[0.0, -1.0]], path=str(tmp_path / "3.txt"))
    vault.upsert("news", changed, documents="body", files="path", copy=True)
    assert sorted(vault.search("storm", lists=["news"])["position"]) == [0, 2]
    assert vault.search("calm", lists=["news"])["position"].sort_values().tolist() == [0, 1]
    assert vault.search("sea", lists=["news"]).empty
    assert vault["news"].search(near=[0.0, -1.0], k=1)["position"].tolist() == [0]
    assert vault["news"].search(near=[1.0, 0.0], k=1)["position"].tolist() == [2]
    assert np.asarray(vault["news"].matrix("vec")).tolist() == [[0.0, -1.0], [0.0, 1.0], [0.6, 0.8]]
    assert vault.upsert("news", rows.tail(2), documents="body", files="path", copy=True).version == 2


def test_a_column_of_files_is_no_key_and_the_error_says_what_is(folder_vault, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    rows = pd.DataFrame({"path": [str(tmp_path / "a.txt")]})
    with pytest.raises(
        tv.InvalidInput, match=r"'path' cannot be a key .* Keep the path in another column, too"
    ):
        folder_vault.upsert("news", rows, key="path", files="path")


# -- provenance


def test_kept_rows_keep_their_parents_and_their_session(vault):
    vault.save("sources", pd.DataFrame({"s": range(5)}))
    with vault.session("first"):
        vault.save("rows", pd.DataFrame({"id": [1, 2, 3], "v": 0}), key="id", inputs={"sources": [0, 1, 2]})
    with vault.session("second"):
        given = pd.DataFrame({"id": [4, 3, 2], "v": [1, 0, 1]})
        vault.upsert("rows", given, inputs={"sources": [3, 4, 4]})
    parents = vault.lineage("rows", depth=1)
    assert parents[["position", "parent_position"]].to_numpy().tolist() == [[0, 0], [1, 4], [2, 2], [3, 3]]
    assert vault.search(session="first", lists=["rows"])["position"].tolist() == [0, 2]
    assert vault.search(session="second", lists=["rows"])["position"].tolist() == [1, 3]


def test_rows_that_were_read_and_changed_come_from_what_they_were(vault):
    vault.save("labels", pd.DataFrame({"id": [1, 2, 3], "label": ["cat", "dog", "owl"]}), key="id")
    fixed = vault.read("labels").query("id > 1").assign(label=["fox", "owl"])
    vault.upsert("labels", fixed)
    found = vault.lineage("labels", depth=1)
    assert found[["position", "parent_list", "parent_position"]].to_numpy().tolist() == [[1, "labels", 1]]


# -- two writers


def test_a_decision_holds_for_the_state_that_is_committed_on(vault, monkeypatch):
    vault.save("counts", pd.DataFrame({"id": [1, 2], "v": [1, 2]}), key="id")
    store = vault.store
    commit = store.commit

    def late(batch: Any, rows: Any = None) -> Any:
        monkeypatch.setattr(store, "commit", commit)
        vault.upsert("counts", pd.DataFrame({"id": [0, 3], "v": [0, 30]}), drop_missing=True)
        return commit(batch, rows)

    monkeypatch.setattr(store, "commit", late)
    made = vault.upsert("counts", pd.DataFrame({"id": [2, 3], "v": [20, 30]}))
    assert made.version == 3
    assert _shown(vault, "counts") == [[0, 0], [3, 30], [2, 20]]
    assert _last(vault, "counts")["added"] == 1


def test_what_was_expected_and_is_not_so_is_a_conflict(vault):
    vault.save("counts", pd.DataFrame({"id": [1], "v": [1]}), key="id")
    vault.upsert("counts", {"id": 1, "v": 2}, expect=1)
    for call in (
        lambda: vault.upsert("counts", {"id": 1, "v": 3}, expect=1),
        lambda: vault.append("counts", {"id": 2, "v": 3}, expect=1),
        lambda: vault.delete_rows("counts", [0], expect=1),
    ):
        with pytest.raises(tv.Conflict):
            call()
    assert vault["counts"].version == 2


def test_a_plain_append_does_not_slip_past_a_key_that_comes_meanwhile(vault, monkeypatch):
    vault.save("counts", pd.DataFrame({"id": [1], "v": [1]}))
    store = vault.store
    commit = store.commit

    def late(batch: Any, rows: Any = None) -> Any:
        monkeypatch.setattr(store, "commit", commit)
        vault.upsert("counts", {"id": 2, "v": 2}, key="id")
        return commit(batch, rows)

    monkeypatch.setattr(store, "commit", late)
    with pytest.raises(tv.SchemaMismatch, match="got a key"):
        vault.append("counts", {"id": 2, "v": 3})
    assert _shown(vault, "counts") == [[1, 1], [2, 2]]


# -- delete_rows


def test_rows_are_left_out_by_filter_position_or_frame(vault):
    vault.save("people", pd.DataFrame({"name": [*"abcdef"], "consent": [True, False] * 3}))
    made = vault.delete_rows("people", filters="consent == False and name != 'f'", reason="asked to")
    assert made.read()["name"].tolist() == [*"acef"]
    assert vault.versions("people")[["operation", "removed", "message"]].iloc[-1].tolist() == [
        "delete_rows",
        2,
        "asked to",
    ]
    old = vault.read("people", version=1)
    vault.delete_rows("people", 0)
    vault["people"].delete_rows(old.query("name in ['a', 'b', 'e']"))  # a and b are gone already
    assert vault.read("people")["name"].tolist() == [*"cf"]
    vault.delete_rows("people", np.array([0, 1]))
    assert vault.read("people").empty
    assert vault.read("people", version=1)["name"].tolist() == [*"abcdef"]


def test_a_list_without_rows_still_has_its_categories(vault):
    rows = pd.DataFrame({"kind": pd.Categorical(["a", "b"], categories=["b", "a", "c"]), "n": [1, 2]})
    vault.save("kinds", rows)
    vault.delete_rows("kinds", filters="n > 0")
    empty = vault.read("kinds")
    assert (len(empty), sorted(empty["kind"].cat.categories)) == (0, [*"abc"])
    vault.append("kinds", rows)
    assert vault.read("kinds")["kind"].tolist() == ["a", "b"]


def test_a_row_that_was_changed_since_it_was_read_is_left_out_by_its_key(vault):
    vault.save("people", pd.DataFrame({"id": [1, 2, 3], "name": [*"abc"]}))
    old = vault.read("people")
    vault.upsert("people", pd.DataFrame({"id": [2, 4], "name": [*"xy"]}), key="id")
    vault.delete_rows("people", old[old["id"] < 3])
    assert vault.read("people")["id"].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({}, tv.InvalidInput, "Say which rows"),
        ({"rows": [0], "filters": "x > 0"}, tv.InvalidInput, "Say which rows"),
        ({"rows": [0, 7]}, tv.InvalidInput, "position 7, and runs@1 has 2 rows"),
        ({"rows": [-1]}, tv.InvalidInput, "at least 0"),
        ({"rows": pd.DataFrame({"x": [1]})}, tv.InvalidInput, "'runs'"),
        ({"filters": "y > 0"}, tv.InvalidFilter, "y"),
        ({"filters": []}, tv.InvalidInput, "empty"),
        ({"rows": [0], "reason": " "}, tv.InvalidInput, "blank"),
    ],
)
def test_what_does_not_say_which_rows_is_refused(vault, arguments, error, said):
    vault.save("runs", pd.DataFrame({"x": [1, 2]}))
    with pytest.raises(error, match=said):
        vault.delete_rows("runs", **arguments)
    assert vault["runs"].version == 1


def test_rows_of_another_list_or_of_none_are_not_left_out(vault):
    vault.save("runs", pd.DataFrame({"x": [1, 2]}))
    vault.save("others", pd.DataFrame({"x": [1, 2]}))
    with pytest.raises(tv.InvalidInput, match="read from it"):
        vault.delete_rows("runs", vault.read("others"))
    with pytest.raises(tv.InvalidInput, match="read from it"):
        vault.delete_rows("runs", vault.read("runs").reset_index(drop=True).sample(frac=1, random_state=1))
    with pytest.raises(tv.ListNotFound):
        vault.delete_rows("nothing", [0])
    vault.delete("runs")
    with pytest.raises(tv.ListDeleted):
        vault.delete_rows("runs", [0])


# -- history


def test_every_state_of_a_row_with_who_made_it(vault):
    with vault.session("first"):
        vault.upsert("prompts", {"id": 17, "text": "Say it."}, key="id")
    vault.upsert("prompts", {"id": 18, "text": "Not this one."})
    with vault.session("second"):
        vault.upsert("prompts", {"id": 17, "text": "Say it again.", "n": 1})
    vault.delete_rows("prompts", filters="id == 17")
    vault.restore("prompts", 2)
    found = vault.history("prompts", key=17)
    assert found["version"].tolist() == [1, 3, 4, 5]
    assert found["operation"].tolist() == ["upsert", "upsert", "delete_rows", "restore"]
    assert found["session"].tolist()[:2] == ["first#1", "second#1"]
    assert found["id"].dtype == found["n"].dtype == "Int64"
    assert found["text"].astype(object).where(found["text"].notna(), None).tolist() == [
        "Say it.", "Say it again.", None, "Say it.",
    ]  # fmt: skip
    assert found["n"].tolist() == [pd.NA, 1, pd.NA, pd.NA]
    assert vault["prompts"].history(key={"id": 18})["version"].tolist() == [2]


def test_a_list_that_was_deleted_still_has_its_history(vault):
    vault.save("prompts", {"id": 1, "text": "a"}, key="id")
    vault.delete("prompts")
    assert vault.history("prompts", key=1)["operation"].tolist() == ["save", "delete"]


def test_the_history_begins_before_the_key_was_named(vault):
    vault.save("prompts", pd.DataFrame({"id": [1, 2], "text": ["a", "b"]}))
    vault.upsert("prompts", {"id": 2, "text": "c"}, key="id")
    assert vault.history("prompts", key=2)["version"].tolist() == [1, 2]


def test_the_history_of_a_row_through_versions_with_and_without_an_index(vault):
    """Levels of an index are columns; a name that a column has already is marked."""
    rows = pd.DataFrame({"id": ["a", "b"], "v": [1, 2]})
    forms = [
        rows,
        rows.assign(v=3).set_axis(pd.Index(["x", "y"], name="lab")),
        rows.assign(v=4).set_index("id"),
        rows.assign(v=5).set_axis(pd.MultiIndex.from_arrays([[7, 8], [0, 1]], names=["v", None])),
    ]
    for form in forms:
        vault.save("rows", form, key="id")
    vault.delete_rows("rows", filters="id == 'b'")
    found = vault.history("rows", key="b")
    assert found["version"].tolist() == [1, 2, 3, 4, 5]
    assert list(found.columns[5:]) == ["id", "v", "lab", "v (index)", "level_1"]
    assert found["v"].tolist() == [2, 3, 4, 5, pd.NA]
    assert found["v (index)"].tolist() == [pd.NA, pd.NA, pd.NA, 8, pd.NA]
    assert found["lab"].dropna().tolist() == ["y"]
    assert found[["v", "v (index)", "level_1"]].dtypes.eq("Int64").all()


def test_states_that_fit_into_no_frame_are_an_error_that_names_list_and_column(vault):
    vault.save("rows", pd.DataFrame({"id": [1], "v": [1]}), key="id")
    vault.save("rows", pd.DataFrame({"id": [1], "v": ["one"]}), key="id")
    with pytest.raises(tv.SchemaMismatch, match=r"(?s)'rows' do not fit.*column 'v'.*one by one"):
        vault.history("rows", key=1)


@pytest.mark.parametrize("key", [5, 1.5, "a", None, (1, 2), {"other": 1}, [], pd.NA, object()])
def test_a_key_that_never_was_is_an_error(vault, key):
    vault.save("prompts", pd.DataFrame({"id": [1, 2]}), key="id")
    with pytest.raises(tv.VaultError, match="prompts"):
        vault.history("prompts", key=key)


def test_without_a_key_there_is_no_history(vault):
    vault.save("prompts", pd.DataFrame({"id": [1, 2]}))
    with pytest.raises(tv.InvalidInput, match="no key"):
        vault.history("prompts", key=1)
    with pytest.raises(tv.ListNotFound):
        vault.history("nothing", key=1)


# -- the copy of the keys beside a list


MANY = 30_000


@pytest.fixture
def many(folder_vault):
    """A list whose keys are kept in a file, as another process sees it."""
    folder_vault.save("many", pd.DataFrame({"id": [f"row {n}" for n in range(MANY)], "v": 0}), key="id")
    (file,) = Path(folder_vault.place, "keys").iterdir()
    store = EmbeddedStore(folder_vault.place)
    with tv.Vault(VaultContext((folder_vault.place, "another"), store, {}), None) as vault:
        yield vault, file


def test_another_process_does_not_read_the_keys_again(many, monkeypatch):
    vault, _ = many
    read = []
    scan_many = vault.store.scan_many

    def counted(wanted: Any) -> Any:
        read.extend(len(each.positions) for each in wanted)
        return scan_many(wanted)

    monkeypatch.setattr(vault.store, "scan_many", counted)
    vault.upsert("many", {"id": "row 7", "v": 1})
    assert read == [1]
    assert vault.read("many", start=7, stop=8)["v"].tolist() == [1]


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:-500] + bytes([data[-500] ^ 1]) + data[-499:],
        lambda data: data.replace(b'"version": 1', b'"version": 9'),
        lambda data: data.replace(b'"time": "2', b'"time": "1'),
    ],
)
def test_a_copy_that_is_lost_damaged_or_of_another_past_is_made_again(many, harm):
    vault, file = many
    file.write_bytes(harm(file.read_bytes()))
    vault.upsert("many", {"id": "row 7", "v": 1})
    vault.append("many", pd.DataFrame({"id": ["row 8", "row x"], "v": 0}))
    assert (len(vault["many"]), vault.read("many")["id"].is_unique) == (MANY + 1, True)
    with tv.connect(vault.place, session=False) as again:
        again.upsert("many", {"id": "row 9", "v": 1})
        assert again.read("many", filters="v == 1")["id"].tolist() == ["row 7", "row 9"]


def test_copies_of_lists_that_are_gone_are_swept(many):
    vault, file = many
    vault.delete("many")
    vault.vacuum(deleted=True, dry_run=False)
    vault.check(fix=True)
    assert not file.exists()
    assert vault.check().empty


def test_a_save_does_not_take_a_key_away_that_the_list_got_meanwhile(vault):
    """Another writer names the key while rows are on their way that were not looked at by it."""
    vault.save("people", pd.DataFrame({"id": [1, 2], "age": [3, 4]}))

    def named_meanwhile():
        yield pd.DataFrame({"id": [1], "age": [3]})
        vault.upsert("people", {"id": 1, "age": 5}, key="id")
        yield pd.DataFrame({"id": [1], "age": [4]})

    with pytest.raises(tv.SchemaMismatch, match="'people' got a key"):
        vault.save("people", named_meanwhile())
    vault.save("people", pd.DataFrame({"id": [1, 2], "age": [3, 4]}))
    vault.upsert("people", {"id": 2, "age": 6})
    assert vault.read("people")["age"].tolist() == [3, 6]
