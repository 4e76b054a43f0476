"""connect(at=): every call shows the lists as they were, those of the snapshot or of the time, and nothing is written."""

from __future__ import annotations

import copyreg
import pickle

import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.store import Store
from tablevault_pd.store.pinned import PinnedStore


def _texts(vault: tv.Vault, *texts: str) -> pd.DataFrame:
    return pd.DataFrame({"id": range(len(texts)), "text": texts})


@pytest.fixture
def changed(vault):
    """A vault with a snapshot "paper", after which everything was changed."""
    vault.save("articles", _texts(vault, "storm", "sun"), description="the first ones", documents="text")
    vault.save("gone", {"x": 1})
    vault.delete("gone")
    vault.save("preds", vault.read("articles").assign(pred=[0, 1])[["id", "pred"]])
    vault.save("preds", vault.read("articles").assign(pred=[1, 1])[["id", "pred"]])
    vault.tag("preds@1", "first")
    vault.snapshot("paper")
    vault.save("articles", _texts(vault, "rain", "hail", "storm", "fog"), documents="text")
    vault.append("preds", {"id": 2, "pred": 0})
    vault.tag("preds@3", "late")
    vault.describe("articles", "all of them")
    vault.save("later", vault.read("preds@paper"))
    vault.restore("gone", 1)
    vault.delete("preds")
    return vault


@pytest.fixture
def then(changed):
    with tv.connect(changed.place, at="paper") as view:
        yield view


def test_errors_name_the_snapshot(then):
    with pytest.raises(tv.ListNotFound, match="No list named 'later' in the snapshot 'paper'"):
        then.read("later")
    with pytest.raises(tv.VersionNotFound, match="no version 3; its newest is 2 in the snapshot 'paper'"):
        then.read("preds@3")


def test_every_call_that_reads_shows_the_lists_as_they_were(then):
    assert list(then) == ["articles", "preds"]
    assert then.lists()[["name", "version", "rows"]].to_numpy().tolist() == [
        ["articles", 1, 2],
        ["preds", 2, 2],
    ]
    assert then.lists()["description"].tolist()[0] == "the first ones"
    assert then.read("preds")["pred"].tolist() == tv.read("preds")["pred"].tolist() == [1, 1]
    assert then.read("preds@1")["pred"].tolist() == then.read("preds@first")["pred"].tolist() == [0, 1]
    assert len(then["articles"]) == 2
    assert then.versions()[["list", "version"]].to_numpy().tolist() == [
        ["articles", 1],
        ["preds", 1],
        ["preds", 2],
    ]
    assert then.versions("preds")["snapshots"].tolist() == [[], ["paper"]]
    assert then.search("storm")[["list", "position", "version"]].to_numpy().tolist() == [["articles", 0, 1]]
    assert then.search("rain").empty
    assert then.search(lists="*@paper")["list"].nunique() == 2
    assert then.sql("SELECT count(*) AS n FROM articles")["n"].tolist() == [2]
    assert then.sql("SELECT name FROM lists ORDER BY name")["name"].tolist() == ["articles", "preds"]
    assert then.trend("preds", "pred")["version"].tolist() == [1, 2]
    assert then.lineage("preds")["parent_list"].unique().tolist() == ["articles"]
    down = then.lineage("articles", direction="down")
    assert set(down["child_list"]) == {"preds"}
    assert "later" not in down["child_list"].tolist()
    assert then.graph()[["parent_list", "child_list"]].drop_duplicates().to_numpy().tolist() == [
        ["articles", "preds"]
    ]
    assert then.stale().empty
    assert then.descriptions()["text"].tolist() == ["the first ones"]
    assert then.snapshots()["list"].tolist() == ["articles", "preds"]
    assert then.compare("preds@1", "preds")["pred_a"].tolist()
    assert then.read("preds", versions="all")["version"].tolist() == [1, 1, 2, 2]
    assert then.read("preds", as_of="2100-01-01")["pred"].tolist() == [1, 1]


def test_what_was_not_there_does_not_exist(then):
    for name in ("later", "gone"):
        assert name not in then
        with pytest.raises(tv.ListNotFound):
            then.read(name)
        with pytest.raises(tv.ListNotFound):
            then.versions(name)
    for address in ("preds@3", "preds@late", "articles@2"):
        with pytest.raises(tv.VersionNotFound):
            then.read(address)


def test_writing_is_refused_with_the_way_out(then):
    for call in (
        lambda: then.save("preds", {"pred": 1}),
        lambda: then.append("articles", {"id": 9}),
        lambda: then.delete("preds"),
        lambda: then.restore("preds", 1),
        lambda: then.describe("preds", "text"),
        lambda: then.tag("preds@1", "x"),
        lambda: then.snapshot("x"),
        lambda: then.untag("paper"),
        lambda: then.rename("preds", "x"),
        lambda: then.compact(),
        lambda: then.vacuum(dry_run=False),
        lambda: then.session("s"),
        lambda: then.read("preds").vault.save("preds"),
    ):
        with pytest.raises(tv.VaultReadOnly, match=r"shows the snapshot 'paper'.* Connect without at="):
            call()
    with pytest.raises(tv.VaultReadOnly):
        tv.log(loss=1)


def test_a_view_stays_as_it_is_whatever_comes(changed, then):
    changed.restore("preds", 2)
    changed.append("preds", {"id": 7, "pred": 7})
    changed.untag("paper")
    assert then.read("preds")["pred"].tolist() == [1, 1]
    with pytest.raises(tv.VersionNotFound, match="There is no snapshot 'paper'"):
        tv.connect(changed.place, at="paper")


def test_frames_of_a_view_are_rows_of_the_vault(changed, then):
    frame = then.read("articles").query("id == 1")
    changed.save("derived", frame)
    assert changed.lineage("derived")[
        ["parent_list", "parent_version", "parent_position"]
    ].to_numpy().tolist() == [["articles", 1, 1]]


def test_a_time_shows_the_lists_of_that_time(changed):
    versions = changed.versions()
    moment = versions.query("list == 'preds' and version == 1")["time"].item()
    with tv.connect(changed.place, at=moment) as view:
        assert list(view) == ["articles", "preds"]
        assert view.read("preds")["pred"].tolist() == [0, 1]
        assert view.versions("preds")["version"].tolist() == [1]
        with pytest.raises(tv.VaultReadOnly, match="shows the state at 20"):
            view.save("x", {"y": 1})
    first = versions["time"].min()
    with tv.connect(changed.place, at=first - pd.Timedelta("1s")) as view:
        assert list(view) == []
        assert view.lists().empty
        assert view.search("storm").empty
        assert view.versions().empty
        assert view.graph().empty


def test_a_vacuum_leaves_a_snapshot_readable_and_not_a_time(changed):
    moment = changed.versions().query("list == 'preds' and version == 1")["time"].item()
    changed.untag("preds@first")
    changed.vacuum(dry_run=False)
    with tv.connect(changed.place, at="paper") as view:
        assert view.read("preds")["pred"].tolist() == [1, 1]
        assert view.read("articles")["text"].tolist() == ["storm", "sun"]
    with tv.connect(changed.place, at=moment) as view, pytest.raises(tv.VersionNotFound, match="vacuum"):
        view.read("preds")


@pytest.mark.parametrize(
    ("at", "error", "text"),
    [
        ("papre", tv.VersionNotFound, "Did you mean 'paper'"),
        ("first", tv.VersionNotFound, "'first' is a tag of preds@first, not a snapshot"),
        ("2026-01-01", tv.VersionNotFound, "A time is given as a datetime"),
        ("3", tv.InvalidName, "numbers are those of versions"),
        ("", tv.InvalidName, "empty"),
        (5, tv.InvalidInput, "at="),
        (pd.NaT, tv.InvalidInput, "at="),
    ],
)
def test_what_is_no_moment_is_refused_and_opens_nothing(changed, at, error, text):
    with pytest.raises(error, match=text):
        tv.connect(changed.place, at=at)
    with pytest.raises(tv.InvalidInput, match="opens no session"):
        tv.connect(changed.place, at="paper", session="train")
    assert tv.current_vault() is changed


def test_a_view_goes_through_pickle_and_beside_the_vault_itself(changed, then):
    again = pickle.loads(pickle.dumps(then))
    assert tv.Vault in copyreg.dispatch_table
    assert list(again) == ["articles", "preds"]
    assert again.store.read_only
    again.close()
    assert then.read("preds")["pred"].tolist() == [1, 1]
    with tv.connect(changed.place, mode="r") as reader:
        assert "later" in reader
    assert list(then) == ["articles", "preds"]


def test_a_view_of_a_place_without_a_vault_makes_none(here):
    with pytest.raises(tv.VaultNotFound):
        tv.connect(here / "none", at="paper")
    assert not (here / "none").exists()


#: What a pinned store leaves to the store below, and why that shows nothing of later versions.
LEFT_BELOW = {
    "asked about versions, generations or batches that a pinned call returned": (
        "count_nearer describe_lists edges_of_batch erased is_current load_key_index newest_of_generations open_file "
        "parent_generations pieces place renamed scan scan_many schema schemas search_text search_vectors spans_written writers"
    ),
    "sessions, what they logged, and code, which are as they are now": (
        "cells measures metric_names overview records_unread requests search_code search_code_of_sessions search_slices "
        "session_ids session_labels session_values sessions sources timelines watch_s written_code"
    ),
    "who holds which rows, as it is now": "claim_records holders work worked_lists",
    "of the vault as a whole": (
        "back_up check close data_version indexes renames scratch supports_pushdown timeout_s vault_id"
    ),
    "refused before they get here, for it is read-only": (
        "align_work ask beat change_tags claim commit compact confirm describe drop_snapshot erase finish give_back "
        "keep_key_index keeping note_reads open_session put_cell put_code put_done put_names put_session release rename_list "
        "reopen_session snapshot stage tag_versions undo_claim update_session vacuum"
    ),
}


def test_each_call_of_a_store_is_pinned_or_left_below_on_purpose() -> None:
    """A call that a store gets later must not show the present without anybody's decision."""
    calls = {name for name in dir(Store) if not name.startswith("_")}
    left = {name for names in LEFT_BELOW.values() for name in names.split()}
    assert calls - set(vars(PinnedStore)) == left
