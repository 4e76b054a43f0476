"""Names of versions, states of the whole vault with a name, and lists that are renamed: on both stores."""

from __future__ import annotations

import pickle
import threading
import warnings
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pytest
from stores import new_place, put, rows
from torture.harness import PROCESSES

import tablevault_pd as tv
from tablevault_pd.store.embedded import fsio

if TYPE_CHECKING:
    from collections.abc import Callable


def _xs(frame: pd.DataFrame) -> list[int]:
    return frame["x"].tolist()


def _save(vault: tv.Vault, name: str, *values: int) -> None:
    for value in values:
        vault.save(name, {"x": value})


# -- names of versions


def test_a_tag_names_one_version_wherever_a_version_can_be_named(vault):
    _save(vault, "preds", 1, 2, 3)
    assert vault.tag("preds@2", "best").to_numpy().tolist() == [["preds@2", ["best"]]]
    assert _xs(tv.read("preds@best")) == _xs(vault["preds@best"].read()) == [2]
    assert "preds@best" in vault
    assert "preds@worst" not in vault
    assert vault["preds@best"].version == 2
    assert vault.search(lists="preds@best")["version"].tolist() == [2]
    assert vault.search(lists=["pr*@best"])["version"].tolist() == [2]
    assert vault.sql('SELECT x FROM "preds@best"')["x"].tolist() == [2]
    assert vault.compare("preds@best", "preds@3", on="position")["x_a"].tolist() == [2]
    assert vault.trend("preds@best", "x")["version"].tolist() == [1, 2]
    vault.save("derived", {"y": 1}, inputs="preds@best")
    assert vault.lineage("derived")["parent_version"].tolist() == [2]
    assert vault.lineage("preds@best", direction="down")["child_list"].tolist() == ["derived"]
    assert vault.code_diff("preds@1", "preds@best") is not None
    assert vault.versions("preds")["tags"].tolist() == [[], ["best"], []]


def test_a_name_moves_only_when_told(vault):
    _save(vault, "preds", 1, 2)
    vault.tag("preds@1", "best")
    vault.tag("preds@1", "best")
    with pytest.raises(
        tv.NameTaken, match=r"'preds@best' is version 1 already, and not 2\. Say replace=True"
    ):
        vault.tag("preds@2", "good", "best")
    assert vault.versions("preds")["tags"].tolist() == [["best"], []]  # all or nothing
    vault.tag("preds@2", "best", replace=True)
    vault.tag("preds@best", "final")
    assert vault.versions("preds")["tags"].tolist() == [[], ["best", "final"]]
    vault.untag("preds@best")
    assert vault.tag("preds@2", remove=["final", "never there"])["tags"].tolist() == [[]]
    with pytest.raises(tv.VersionNotFound, match="called 'best'"):
        vault.read("preds@best")


def test_labels_of_a_save_are_no_names_and_are_removed_as_before(vault):
    vault.save("preds", {"x": 1}, tags=["draft", "v1"])
    assert vault.tag("preds@1", "best", remove="draft")["tags"].tolist() == [["v1", "best"]]
    assert vault.append("preds", {"x": 2}).version == 2
    assert vault.versions("preds")["tags"].tolist() == [["v1", "best"], ["v1"]]  # labels go on, names stay
    with pytest.raises(tv.VersionNotFound, match="called 'v1'"):
        vault.read("preds@v1")


def test_tags_of_sessions_and_names_of_versions_in_one_call(vault):
    with vault.session("train"):
        _save(vault, "preds", 1)
    shown = vault.tag(["preds@1", "train"], "best")
    assert shown.to_numpy().tolist() == [["train#1", ["best"]], ["preds@1", ["best"]]]
    with pytest.raises(tv.SessionNotFound, match="'preds' is a list: say which version"):
        vault.tag("preds", "best")
    _save(vault, "preds", 2)
    with pytest.raises(tv.InvalidInput, match="cannot be two versions of 'preds'"):
        vault.tag(["preds@1", "preds@2"], "both")


HOSTILE = ["b/c", "über", "a b", "'; DROP TABLE lists; --", "x[0]", "*", "v1.0", "~", "5a", "-", "🌍"]


def test_hostile_names_are_names(vault):
    _save(vault, "preds", 1, 2)
    for name in HOSTILE:
        vault.tag("preds@1", name)
        assert _xs(vault.read(f"preds@{name}")) == [1]
    assert vault.versions("preds")["tags"].map(set).tolist() == [set(HOSTILE), set()]


@pytest.mark.parametrize(
    "name", ["", " a", "3", "007", "-1", "٣", "a@b", "a\nb", "x" * 201, "a\u200bb", "\ud800"]
)
def test_what_names_no_version_is_refused(folder_vault, name):
    _save(folder_vault, "preds", 1)
    with pytest.raises((tv.InvalidName, tv.InvalidInput)):
        folder_vault.tag("preds@1", name)
    with pytest.raises(tv.InvalidName):
        folder_vault.snapshot(name)
    assert folder_vault.versions()["tags"].tolist() == [[]]


def test_names_are_kept_in_one_form_of_unicode(vault):
    _save(vault, "preds", 1)
    vault.tag("preds@1", "e\u0301te")
    assert _xs(vault.read("preds@\u00e9te")) == [1]
    vault.untag("preds@e\u0301te")
    assert "preds@\u00e9te" not in vault


def test_errors_of_names_say_what_to_do(vault):
    _save(vault, "preds", 1)
    vault.tag("preds@1", "best")
    for address, error, text in [
        ("preds@bset", tv.VersionNotFound, "Did you mean 'best'"),
        ("perds@best", tv.ListNotFound, "Did you mean 'preds'"),
        ("preds@0", tv.InvalidName, "numbers are those of versions"),
    ]:
        with pytest.raises(error, match=text):
            vault.read(address)
    with pytest.raises(tv.InvalidInput, match="Say one of them"):
        vault.read("preds@best", version=1)
    with pytest.raises(tv.InvalidInput, match="exclude each other"):
        vault.read("preds@best", as_of="2026-01-01")
    with pytest.raises(tv.VersionNotFound, match="There is no snapshot 'best'"):
        vault.untag("best")
    with pytest.raises(tv.InvalidInput, match="number of a version"):
        vault.untag("preds@1")
    with pytest.raises(tv.VersionNotFound, match="No list that fits 'z"):
        vault.search(lists="z*@best")


# -- snapshots


def test_a_snapshot_names_the_present_version_of_every_list(vault):
    _save(vault, "b", 5)
    _save(vault, "a", 1, 2)  # later, and named first
    _save(vault, "gone", 7)
    vault.delete("gone")
    taken = vault.snapshot("paper")
    assert taken[["name", "list", "version"]].to_numpy().tolist() == [["paper", "a", 2], ["paper", "b", 1]]
    assert taken["session"].nunique() == 1
    _save(vault, "a", 3)
    _save(vault, "later", 9)
    assert _xs(vault.read("a@paper")) == [2]
    pd.testing.assert_frame_equal(vault.snapshots(), taken)
    for missing in ("later", "gone"):
        with pytest.raises(tv.VersionNotFound, match=f"The snapshot 'paper' has no list '{missing}'"):
            vault.read(f"{missing}@paper")
    with pytest.raises(tv.NameTaken, match="There is a snapshot 'paper'"):
        vault.snapshot("paper")
    vault.snapshot("paper", replace=True)
    assert vault.snapshots()["list"].tolist() == ["a", "b", "later"]
    assert _xs(vault.read("a@paper")) == [3]
    vault.untag("paper")
    assert vault.snapshots().empty
    assert vault.snapshots().dtypes.equals(taken.dtypes)
    with pytest.raises(tv.VersionNotFound, match="There is no snapshot 'paper'"):
        vault.untag("paper")


def test_a_name_is_a_snapshot_or_a_tag_and_never_both(vault):
    _save(vault, "a", 1)
    _save(vault, "b", 1)
    vault.snapshot("paper")
    vault.tag("a@1", "best")
    for replace in (False, True):
        with pytest.raises(tv.NameTaken, match="a snapshot of the whole vault"):
            vault.tag("a@1", "paper", replace=replace)
        with pytest.raises(tv.NameTaken, match="'best' is a tag: a@1 has it"):
            vault.snapshot("best", replace=replace)
    with pytest.raises(tv.NameTaken, match=r"vault.untag\('paper'\) removes it"):
        vault.untag("a@paper")
    assert vault.versions("a")[["tags", "snapshots"]].to_numpy().tolist() == [[["best"], ["paper"]]]


def test_a_snapshot_of_nothing_is_refused(vault):
    with pytest.raises(tv.ListNotFound, match="no list that a snapshot could name"):
        vault.snapshot("empty")
    _save(vault, "a", 1)
    vault.delete("a")
    with pytest.raises(tv.ListNotFound):
        vault.snapshot("empty")


def _write_on(place: str, ready: Any) -> None:
    vault = tv.connect(place, session=False, durability="fast")
    for n in range(1, 100_000):
        vault.save("first", {"x": n})
        vault.save("second", {"x": n})
        ready.set()


def test_a_snapshot_is_one_moment_beside_another_process_that_commits(folder_vault):
    """That process writes first, then second: at no moment is second ahead, or more than one behind."""
    ready = PROCESSES.Event()
    writer = PROCESSES.Process(target=_write_on, args=(folder_vault.place, ready))
    writer.start()
    assert ready.wait(60)
    for number in range(20):
        taken = folder_vault.snapshot(f"s{number}").set_index("list")["version"]
        assert taken["first"] - 1 <= taken["second"] <= taken["first"]
        seen = [_xs(folder_vault.read(f"{name}@s{number}"))[0] for name in ("first", "second")]
        assert seen == taken.tolist()
    writer.kill()
    writer.join()


def test_a_vacuum_keeps_what_has_a_name_and_says_so(vault):
    _save(vault, "preds", 1, 2, 3, 4)
    _save(vault, "old", 1)
    vault.tag("preds@1", "best")
    vault.snapshot("paper")
    vault.delete("old")
    _save(vault, "preds", 5)
    planned = vault.vacuum(deleted=True)
    rows = planned[planned["what"].isin(["rows", "kept by name", "deleted list"])]
    assert rows[["what", "list", "versions", "removed"]].to_numpy().tolist() == [
        ["kept by name", "old", [1], False],
        ["rows", "preds", [2, 3], False],
        ["kept by name", "preds", [1, 4], False],
    ]
    done = vault.vacuum(deleted=True, dry_run=False)
    assert done.loc[done["what"] == "rows", "removed"].all()
    assert not done.loc[done["what"] == "kept by name", "removed"].any()
    assert vault.versions("preds")["gone"].tolist() == [False, True, True, False, False]
    assert _xs(vault.read("preds@best")) == [1]
    assert _xs(vault.read("preds@paper")) == [4]
    assert _xs(vault.read("old@paper")) == [1]
    with pytest.raises(tv.VersionNotFound, match="removed by vacuum"):
        vault.tag("preds@2", "too late")
    vault.untag("paper")
    vault.vacuum(deleted=True, dry_run=False)
    assert vault.versions("old")["gone"].tolist() == [True, True]


# -- rename


def test_references_have_the_name_that_a_list_has_now(vault):
    vault.save("old", pd.DataFrame({"x": [1]}))
    before = vault.read("old", refs=True)["ref"]
    pickled = pickle.dumps(before)
    vault.rename("old", "new")
    vault.save("old", pd.DataFrame({"x": [2]}), expect=0)
    assert str(vault.read("new", refs=True)["ref"][0]) == "new[0]"
    assert str(pickle.loads(pickled)[0]) == str(before[0]) == "new[0]"
    assert str(vault.read("old", refs=True)["ref"][0]) == "old[0]"


def test_a_rename_keeps_everything(vault):
    vault.save(
        "preds", pd.DataFrame({"x": [1, 2], "t": ["storm", "sun"]}), description="first model", message="m"
    )
    vault.append("preds", {"x": 3, "t": "rain"})
    vault.tag("preds@1", "best")
    vault.snapshot("paper")
    frame = vault.read("preds")
    handle = vault["preds@1"]
    renamed = vault.rename("preds", "predictions")
    assert (renamed.name, renamed.version, _xs(renamed.read())) == ("predictions", 2, [1, 2, 3])
    assert list(vault) == ["predictions"]
    assert vault.versions()[["list", "version", "message"]].fillna("").to_numpy().tolist() == [
        ["predictions", 1, "m"],
        ["predictions", 2, ""],
    ]
    assert vault.lists()["description"].tolist() == ["first model"]
    assert vault.search("storm")[["list", "position"]].to_numpy().tolist() == [["predictions", 0]]
    assert _xs(vault.read("predictions@best")) == [1, 2]
    assert vault.snapshots()["list"].tolist() == ["predictions"]
    frame.query("x > 1").vault.save("derived")  # read before, under the old name
    assert vault.lineage("derived")[["parent_list", "parent_position"]].to_numpy().tolist() == [
        ["predictions", 1],
        ["predictions", 2],
    ]
    assert vault.append("predictions", {"x": 4}).version == 3
    assert set(vault.sessions()["reads"][0]) == {"predictions@1", "predictions@2"}
    with pytest.raises(tv.ListRenamed):
        handle.read()


def test_rows_by_key_begin_another_list_under_an_old_name_where_they_say_so(vault):
    _save(vault, "preds", 1)
    vault.rename("preds", "c")
    vault.upsert("preds", {"x": 2}, key="x", expect=0)
    vault.upsert("preds", {"x": 3}, key="x")
    assert (_xs(vault.read("preds")), _xs(vault.read("c"))) == ([2, 3], [1])


def test_the_old_name_names_the_new_one(vault):
    _save(vault, "preds", 1)
    vault.rename("preds", "b")
    vault.rename("b", "c")
    before = vault.versions()
    for old in ("preds", "b"):
        for call in (
            lambda old=old: vault.read(old),
            lambda old=old: vault.read(f"{old}@1"),
            lambda old=old: vault[old],
            lambda old=old: vault.save(old, {"x": 2}),
            lambda old=old: vault.append(old, {"x": 2}),
            lambda old=old: vault.append(old, {"x": 2}, key="x"),
            lambda old=old: vault.upsert(old, {"x": 2}, key="x"),
            lambda old=old: vault.delete_rows(old, [0]),
            lambda old=old: vault.save(old, {"x": 2}, expect=1),
            lambda old=old: vault.delete(old),
            lambda old=old: vault.restore(old, 1),
            lambda old=old: vault.versions(old),
            lambda old=old: vault.rename(old, "z"),
            lambda old=old: vault.lineage(old),
            lambda old=old: vault.search(lists=old),
            lambda old=old: vault.sql(f'SELECT * FROM "{old}"'),
            lambda old=old: vault.compare(f"{old}@1", "c"),
            lambda old=old: vault.trend(old, "x"),
            lambda old=old: vault.describe(old, "text"),
        ):
            with pytest.raises(
                tv.VaultError, match=f"The list '{old}' was renamed: it is called 'c' now"
            ) as raised:
                call()
            assert isinstance(raised.value, (tv.ListNotFound, tv.Conflict))
        assert old not in vault
    pd.testing.assert_frame_equal(vault.versions(), before)


def test_the_old_name_is_free_for_who_says_so(vault):
    _save(vault, "preds", 1)
    vault.rename("preds", "preds-old")
    assert vault.save("preds", {"x": 7}, expect=0).version == 1
    assert vault.append("preds", {"x": 8}).version == 2
    assert _xs(vault.read("preds")) == [7, 8]
    assert _xs(vault.read("preds-old")) == [1]
    with pytest.raises(tv.NameTaken, match="There is a list 'preds'"):
        vault.rename("preds-old", "preds")
    vault.rename("preds", "preds-new")
    vault.rename("preds-old", "preds")
    assert _xs(vault.read("preds")) == [1]
    with pytest.raises(tv.ListRenamed, match="called 'preds' now"):
        vault.read("preds-old")


def test_a_rename_back_and_what_is_refused(vault):
    _save(vault, "a", 1)
    _save(vault, "b", 2)
    _save(vault, "gone", 3)
    vault.delete("gone")
    vault.rename("a", "c")
    vault.rename("c", "a")
    assert _xs(vault.read("a")) == [1]
    assert vault.rename("a", "a").name == "a"
    for new, text in (("b", "There is a list 'b'"), ("gone", "deleted and still restorable")):
        with pytest.raises(tv.NameTaken, match=text):
            vault.rename("a", new)
    with pytest.raises(tv.ListNotFound, match="Did you mean 'gone'"):
        vault.rename("gonne", "z")
    with pytest.raises(tv.ListDeleted):
        vault.rename("gone", "z")
    with pytest.raises(tv.InvalidName, match="the address of the column"):
        vault.rename("b", "a.x")
    for wrong in ("", "a@1", 5):
        with pytest.raises(tv.VaultError):
            vault.rename("a", wrong)
    with pytest.raises(tv.Conflict, match="version 3 was expected"):
        vault.rename("a", "z", expect=3)
    assert vault.rename("a", "z", expect=1).name == "z"
    assert sorted(vault) == ["b", "z"]


def test_appends_under_the_old_name_beside_a_rename_are_kept_or_refused(vault):
    """Three threads append; each row that was acknowledged is in the list, each that was not is nowhere."""
    _save(vault, "log", -1)
    acknowledged: list[int] = []
    errors: list[BaseException] = []
    go = threading.Barrier(4)

    def append(first: int) -> None:
        go.wait()
        for number in range(first, first + 1000):
            try:
                vault.append("log", {"x": number})
            except tv.ListRenamed as error:
                errors.append(error)
                return
            acknowledged.append(number)

    threads = [threading.Thread(target=append, args=(1000 * n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    go.wait()
    while len(acknowledged) < 5:
        pass
    vault.rename("log", "journal")
    for thread in threads:
        thread.join()
    assert len(errors) == 3
    assert list(vault) == ["journal"]
    assert sorted(_xs(vault.read("journal"))) == sorted([-1, *acknowledged])
    assert set(vault.versions()["list"]) == {"journal"}


@pytest.mark.arango
def test_a_commit_that_a_rename_overtakes_belongs_to_the_renamed_list(tmp_path, monkeypatch):
    """It looked the list up before the rename, and comes after it."""
    with new_place("arango", tmp_path) as place:
        one, other = place.open(), place.open()
        put(one, "a", pa.table({"x": [1]}))
        insert = one.client.insert

        def overtaken(collection: str, document: dict[str, Any], **options: Any) -> None:
            if collection == "tv_batches":
                other.rename_list("a", "b")
            insert(collection, document, **options)

        monkeypatch.setattr(one.client, "insert", overtaken)
        put(one, "a", pa.table({"x": [2]}), operation="append")
        monkeypatch.undo()
        for store in (one, other):
            assert [(version.list, version.version) for version in store.versions()] == [("b", 1), ("b", 2)]
            assert [state.head.list for state in store.lists()] == ["b"]
            assert [row["x"] for row in rows(store, store.head("b"))] == [1, 2]
            assert store.head("a") is None
        put(other, "b", pa.table({"x": [3]}), operation="append")
        assert other.check() == []
        one.close()
        other.close()


def test_of_two_that_want_one_name_at_once_one_gets_it(vault):
    """Renames to one name, snapshots of one name, and a tag of one name on two versions."""
    _save(vault, "a", 1, 2)
    _save(vault, "b", 3)

    def race(*calls: Callable[[], object]) -> list[str]:
        outcomes: list[str] = []
        barrier = threading.Barrier(len(calls))

        def one(call: Callable[[], object]) -> None:
            barrier.wait()
            try:
                call()
                outcomes.append("done")
            except tv.NameTaken:
                outcomes.append("taken")

        threads = [threading.Thread(target=one, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(outcomes)

    for number in range(3):
        tag, paper, both, new = (f"{letter}{number}" for letter in "tsxr")
        for one, other in (
            (partial(vault.tag, "a@1", tag), partial(vault.tag, "a@2", tag)),
            (partial(vault.snapshot, paper), partial(vault.snapshot, paper)),
            (partial(vault.snapshot, both), partial(vault.tag, "a@1", both)),
            (partial(vault.rename, "a", new), partial(vault.rename, "b", new)),
        ):
            assert race(one, other) == ["done", "taken"]
        left = next(name for name in vault if name in ("a", "b"))
        vault.rename(new, "a" if left == "b" else "b")
    assert sorted(vault.versions()["list"]) in (["a", "a", "b"], ["a", "b", "b"])


def test_marks_of_a_list_that_was_renamed_are_no_lost_commits(here):
    with tv.connect(here / "v") as vault:
        _save(vault, "a", 1, 2)
        vault.rename("a", "b")
        _save(vault, "b", 3)
        vault.save("a", {"x": 9}, expect=0)
        vault.rename("b", "c")
    with warnings.catch_warnings(), tv.connect(here / "v") as again:
        warnings.simplefilter("error")
        assert again.check().empty
        assert again.versions("c")["version"].tolist() == [1, 2, 3]


def _die_at(place: str, moment: str, what: str) -> None:
    vault = tv.connect(place, session=False)
    fsio._fault_name, fsio._fault_action = moment, "exit"
    if what == "rename":
        vault.rename("a", "z")
    else:
        vault.snapshot("paper")


@pytest.mark.parametrize("what", ["rename", "snapshot"])
@pytest.mark.parametrize(
    ("moment", "done"),
    [("lock-taken", False), ("names-in", False), ("before-commit", False), ("after-commit", True)],
)
def test_a_process_killed_in_the_middle_has_done_all_or_nothing(folder_vault, what, moment, done):
    _save(folder_vault, "a", 1)
    _save(folder_vault, "b", 2)
    killed = PROCESSES.Process(target=_die_at, args=(folder_vault.place, moment, what))
    killed.start()
    killed.join()
    assert killed.exitcode == 137
    assert sorted(folder_vault) == (["b", "z"] if done and what == "rename" else ["a", "b"])
    assert folder_vault.snapshots()["list"].tolist() == (["a", "b"] if done and what == "snapshot" else [])
    if not done:
        folder_vault.rename("a", "z")
        folder_vault.snapshot("paper")


def test_a_read_only_vault_refuses_to_name(folder_vault):
    _save(folder_vault, "a", 1)
    with tv.connect(folder_vault.place, mode="r") as reader:
        for call in (
            lambda: reader.snapshot("x"),
            lambda: reader.tag("a@1", "x"),
            lambda: reader.untag("x"),
            lambda: reader.untag("a@x"),
            lambda: reader.rename("a", "b"),
        ):
            with pytest.raises(tv.VaultReadOnly):
                call()


# -- who was faster


def test_nothing_is_fixed_in_a_vault_that_is_open_for_reading(folder_vault):
    _save(folder_vault, "preds", 1)
    folder_vault.snapshot("paper")
    for options in ({"at": "paper"}, {"mode": "r"}):
        with tv.connect(folder_vault.place, session=False, **options) as reader:
            assert reader.check().empty
            with pytest.raises(tv.VaultReadOnly):
                reader.check(fix=True)


def test_a_conflict_names_who_was_faster(vault):
    _save(vault, "preds", 1)
    with vault.session("other"):
        vault.append("preds", {"x": 2})
    for call in (
        lambda: vault.save("preds", {"x": 9}, expect=1),
        lambda: vault.append("preds", {"x": 9}, expect=1),
        lambda: vault.delete("preds", expect=1),
        lambda: vault.restore("preds", 1, expect=1),
        lambda: vault.rename("preds", "z", expect=1),
    ):
        with pytest.raises(tv.Conflict, match=r"Since then: version 2 \(append\) by 'other#1' \(\w+@"):
            call()
    times = vault.versions("preds")["time"].tolist()
    assert all(one < other for one, other in pairwise(times))


def test_a_version_is_read_and_restored_by_its_name(vault):
    for loss in (0.5, 0.4, 0.3):
        vault.save("preds", {"loss": loss})
    vault.tag("preds@2", "best")
    vault.snapshot("paper")
    assert vault.read("preds", version="best")["loss"].item() == 0.4
    assert vault["preds"].read(version="paper")["loss"].item() == 0.3
    assert vault.restore("preds", "best").version == 4
    assert vault.restore("preds@1").read()["loss"].item() == 0.5
    assert vault.restore("preds@paper").read()["loss"].item() == 0.3
    assert vault.read("preds@best", version="best")["loss"].item() == 0.4
    for name, version in (
        ("preds", None),
        ("preds@1", 2),
        ("preds@1", "best"),
        ("preds@best", 2),
        ("preds", "2"),
    ):
        with pytest.raises(tv.InvalidInput):
            vault.restore(name, version)
    with pytest.raises(tv.VersionNotFound, match="worst"):
        vault.restore("preds", "worst")
    with pytest.raises(tv.InvalidInput):
        vault.read("preds", version="best", as_of="2030-01-01")
    assert vault["preds"].version == 6


def test_what_a_write_returned_is_read_after_a_rename(vault):
    first = vault.save("preds", {"loss": 0.5})
    second = vault.append("preds", {"loss": 0.4})
    vault.rename("preds", "predictions")
    assert first.read()["loss"].tolist() == [0.5]
    assert (first.version, len(first), first.columns) == (1, 1, ["loss"])
    vault.save("preds", {"other": 1}, expect=0)  # another list, under the old name
    assert second.read(filters="loss < 0.5")["loss"].tolist() == [0.4]
    assert vault.lineage(second).empty
    assert vault.search(lists=[second], k=9)["list"].tolist() == ["predictions"] * 2
    with pytest.raises(tv.ListDeleted):
        vault.delete("predictions")
        vault["predictions"].read()
    assert first.read()["loss"].tolist() == [0.5]
