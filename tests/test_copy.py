"""A vault is copied from a folder to a server and back with everything in it, and vaults are folded into one."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import new_database, put
from torture.harness import PROCESSES, times

import tablevault_pd as tv
from tablevault_pd import frames
from tablevault_pd.store import Beat, Cell, Confirmation, ModuleSource, Part, Session, WrittenCode
from tablevault_pd.store.embedded import EmbeddedStore
from tablevault_pd.transfer.copy import copy_vault
from tablevault_pd.transfer.list_copy import ListCopier

if TYPE_CHECKING:
    from pathlib import Path


def everything(place: str | Path) -> dict[str, Any]:
    """All that a user can ask about a vault, but for ids and places. It must be sound, too."""
    with tv.connect(place, mode="r") as vault:
        assert vault.check().empty
        return answers(vault)


def answers(vault: tv.Vault) -> dict[str, Any]:
    lists = vault.lists(deleted=True)
    versions = vault.versions()
    found: dict[str, Any] = {
        "lists": lists.drop(columns=["bytes"], errors="ignore"),
        "versions": versions.drop(columns=["bytes"], errors="ignore"),
        "sessions": vault.sessions(),
        "cells": vault.cells(),
        "sources": vault.sources("*"),
        "descriptions": vault.descriptions(),
        "snapshots": vault.snapshots(),
        "files": vault.files(),
        "graph": vault.graph(),
        "storm": vault.search("storm", columns=["text"])[["list", "position", "session", "text"]]
        if "words" in vault
        else None,
    }
    for name, number, gone in versions[["list", "version", "gone"]].itertuples(index=False):
        if (
            not gone
            and versions.loc[(versions["list"] == name) & (versions["version"] == number), "operation"].item()
            != "delete"
        ):
            address = f"{name}@{number}"
            found[address] = vault.read(address)
            found[f"lineage of {address}"] = vault.lineage(address)
    for label in found["sessions"]["session"]:
        run = vault.run(label)
        found[f"curve of {label}"] = run.curve()
        found[f"reads of {label}"] = run.read()
        found[f"environment of {label}"] = run.environment
    return found


def without_vault(frame: pd.DataFrame) -> pd.DataFrame:
    """References as texts: they name their vault, which a copy is not."""
    refs = {name: str for name, dtype in frame.dtypes.items() if str(dtype) == "vault_ref"}
    return pd.DataFrame(frame).astype(refs)


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for what, frame in ours.items():
        if isinstance(frame, pd.DataFrame):
            pd.testing.assert_frame_equal(without_vault(frame), without_vault(theirs[what]), obj=what)
        else:
            assert str(frame) == str(theirs[what]), what


@pytest.fixture
def store_of():
    """Open stores that are closed at the end."""
    with ExitStack() as stack:

        def opened(place: Path) -> EmbeddedStore:
            store = EmbeddedStore(place)
            stack.callback(store.close)
            return store

        yield opened


@pytest.fixture
def full(here: Path) -> Path:
    """A vault with something of everything."""
    (here / "notes.txt").write_text("hello")
    with tv.connect(here / "full.vault", session="main") as vault:
        with vault.session("train", params={"lr": 0.1}, tags="demo") as run:
            for step in range(3):
                run.log(step=step, loss=1 / (step + 1), acc=float("nan") if step == 1 else step)
            run.log(done=1)
            vault.save("words", pd.DataFrame({"text": ["storm", "sun", None], "vec": [[1.0, 0.5], [0.0, 1.0], None]}),
                       documents=["text"], description="weather", tags="raw", message="first")  # fmt: skip
            vault.append("words", pd.DataFrame({"text": ["storms"], "extra": [5]}), documents=["text"])
        with vault.session("train", params={"lr": 2**60, "names": ["a"]}):
            rows = pd.DataFrame(
                {"k": [1, 2, 3], "x": [1.5, np.nan, 2.0], "kind": pd.Categorical(["a", "b", "a"])}
            )
            vault.save("keyed", rows, key="k")
            vault.upsert(
                "keyed",
                pd.DataFrame({"k": [3, 1, 9], "x": [0.0, 0.5, 9.0], "kind": pd.Categorical(["b", "b", "a"])}),
            )
            vault.delete_rows("keyed", filters="k == 2")
            vault.restore("keyed", 1)
            vault.read("words").query("extra != 5").assign(n=1).vault.save("counts")
            tv.read("counts").vault.append("counts")
        vault.save("kept", pd.DataFrame({"path": ["notes.txt"]}), files="path")
        vault.save("kept", pd.DataFrame({"path": ["notes.txt", None]}), files="path", copy=True)
        vault.save("empty", pd.DataFrame({"a": pd.Series([], dtype="Int64")}))
        vault.tag("counts@1", "best")
        vault.snapshot("paper")
        vault.delete("counts", message="away")
        vault.rename("kept", "held")
        vault.describe("words", "again", [1.0, 2.0], label="note")
        vault.vacuum(keep=1, dry_run=False)
        big = pd.DataFrame({"k": range(3), "v": [0.0, 1.0, 2.0]})
        vault.save("worn", big, key="k")
        vault.append("worn", pd.DataFrame({"k": range(3, 5), "v": [3.0, 4.0]}))
        vault.delete_rows("worn", filters="k < 3")
        vault.append("worn", pd.DataFrame({"k": [7], "v": [7.0]}))
        vault.vacuum(keep=1, dry_run=False)
    return here / "full.vault"


def test_a_copy_has_everything(full, here):
    before = everything(full)
    report = tv.copy(full, here / "copy.vault")
    assert report["rows"].sum() > 0
    assert not report["parents_left_out"].any()
    assert_same(everything(here / "copy.vault"), before)
    assert tv.copy(full, here / "copy.vault")["versions"].tolist() == [0] * len(report)
    assert_same(everything(here / "copy.vault"), before)
    with tv.connect(here / "copy.vault") as copy:
        assert copy.open_file(copy.files()["sha256"].dropna().iloc[0]).read() == b"hello"


@pytest.mark.arango
def test_a_copy_to_a_server_and_back_has_everything(full, here):
    before = everything(full)
    with new_database() as url:
        with tv.connect(url, create=True, session=False) as server:
            tv.copy(full, server)
        assert_same(everything(url), before)
        tv.copy(url, here / "back.vault")
    assert_same(everything(here / "back.vault"), before)


def test_a_copy_that_was_interrupted_goes_on(full, here, monkeypatch):
    commit, left = ListCopier._commit, [0]

    def commit_or_stop(self, batch, version):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return commit(self, batch, version)

    monkeypatch.setattr(ListCopier, "_commit", commit_or_stop)
    for allowed in (0, 1, 6):
        left[0] = allowed
        with pytest.raises(KeyboardInterrupt):
            tv.copy(full, here / "copy.vault")
    left[0] = 1000
    tv.copy(full, here / "copy.vault")
    assert_same(everything(here / "copy.vault"), everything(full))


def test_a_copy_is_brought_up_to_date(here):
    with tv.connect(here / "a.vault", session=False) as vault:
        with vault.session("train", params={"lr": 1}) as run:
            run.log(step=1, loss=0.5)
            vault.save("x", {"n": 1})
            tv.copy(vault, here / "b.vault")
            run.log(step=2, loss=0.25)
            run.log(step=2, acc=1.0)
            vault.append("x", {"n": 2})
        vault.tag("train", "done")
        vault.rename("x", "y")
        vault.tag("y@2", "best")
        with tv.connect(here / "b.vault", session=False) as copy:
            copy.tag("train", "mine")
        assert tv.copy(vault, here / "b.vault")[["list", "copied_to", "versions"]].to_numpy().tolist() == [
            ["y", "y", 1]
        ]
    ours, theirs = everything(here / "b.vault"), everything(here / "a.vault")
    assert ours["sessions"]["tags"].tolist() == [["done", "mine"]]
    ours["sessions"] = ours["sessions"].assign(tags=theirs["sessions"]["tags"])
    assert_same(ours, theirs)
    with tv.connect(here / "b.vault", mode="r") as copy, pytest.raises(tv.ListRenamed):
        copy.read("x")


def test_a_mapped_list_takes_along_what_map_notes_on_it(here):
    calls: list[int] = []

    def half(row):
        calls.append(row.n)
        if row.n == 3:
            raise ValueError("odd")
        return {"half": row.n // 2} if row.n else None

    options = {"version": "1", "on_error": "keep"}
    with tv.connect(here / "a.vault") as vault:
        vault.save("numbers", pd.DataFrame({"n": [0, 2, 3, 4]}))
        vault.map("halves", half, "numbers", **options)
        copied = tv.copy(vault, here / "b.vault", lists=["numbers", "halves"])
        assert set(copied["list"]) == {"numbers", "halves", "halves/map"}
    with tv.connect(here / "b.vault") as copy:
        assert len(copy["halves"].errors()) == 1
        copy.map("halves", half, "numbers", **options)
    assert sorted(calls) == [0, 2, 3, 4]


@pytest.mark.parametrize(
    ("wrong", "move"),
    [
        (tv.ListNotFound, lambda target: tv.copy("a/own.vault", target, lists=["yy"])),
        (tv.VaultNotFound, lambda target: tv.copy("none.vault", target)),
        (tv.InvalidInput, lambda target: tv.merge(["a/own.vault", "b/own.vault"], target)),
        (tv.InvalidInput, lambda target: tv.import_trackio("none", target)),
        (tv.InvalidInput, lambda target: tv.import_trackio("c", target)),  # its first project is none
    ],
)  # fmt: skip
def test_a_wrong_source_leaves_no_empty_vault_behind(here, monkeypatch, wrong, move):
    monkeypatch.chdir(here)
    for folder in ("a", "b"):
        with tv.connect(f"{folder}/own.vault", session=False) as vault:
            vault.save("y", {"n": 1})
    (here / "c").mkdir()
    (here / "c" / "project.db").write_text("this is no database")
    with pytest.raises(wrong):
        move("target.vault")
    assert not (here / "target.vault").exists()


def test_some_lists_are_copied_with_the_sessions_that_wrote_them(here):
    with tv.connect(here / "a.vault", session=False) as vault:
        with vault.session("one"):
            vault.save("x", [{"n": 1}, {"n": 2}])
        with vault.session("two"):
            vault.read("x").vault.save("y")
        with vault.session("three"):
            vault.save("z", {"n": 1})
        report = tv.copy(vault, here / "b.vault", lists="y")
        assert report["parents_left_out"].tolist() == [1]
        with pytest.raises(tv.ListNotFound, match="Did you mean"):
            tv.copy(vault, here / "c.vault", lists=["yy"])
    with tv.connect(here / "b.vault", mode="r") as copy:
        assert copy.lists()["name"].tolist() == ["y"]
        assert copy.sessions()["name"].tolist() == ["two"]
        assert copy.lineage("y").empty
    tv.copy(here / "a.vault", here / "b.vault")
    with tv.connect(here / "b.vault", mode="r") as copy:
        assert copy.lists()["name"].tolist() == ["x", "y", "z"]


def test_a_list_that_is_another_one_is_never_overwritten(here):
    for name, n in (("a", 1), ("b", 2)):
        with tv.connect(here / f"{name}.vault", session=False) as vault:
            vault.save("x", {"n": n})
            vault.save(f"own of {name}", {"n": n})
    before = everything(here / "b.vault")
    with pytest.raises(tv.NameTaken, match=r"'x'.*tv\.merge"):
        tv.copy(here / "a.vault", here / "b.vault")
    with pytest.raises(tv.InvalidInput, match="into itself"):
        tv.copy(here / "b.vault", here / "b.vault")
    assert_same(everything(here / "b.vault"), before)
    tv.copy(here / "a.vault", here / "c.vault")
    with tv.connect(here / "c.vault", session=False) as vault:
        vault.append("x", {"n": 3})
    with tv.connect(here / "a.vault", session=False) as vault:
        vault.append("x", {"n": 4})
    with pytest.raises(tv.NameTaken, match="changed them"):
        tv.copy(here / "a.vault", here / "c.vault")


def test_vaults_of_several_nodes_are_folded_into_one(here):
    for node in ("node1", "node2"):
        with tv.connect(here / f"{node}.vault", session="train", capture="none") as vault:
            tv.log(step=1, loss=0.5)
            vault.save("losses", {"node": node})
            vault.save(node, {"n": 1}, tags="mine")
            vault.read("losses").assign(more=1).vault.save("more")
    nodes = [here / "node1.vault", here / "node2.vault"]
    first = tv.merge(nodes, here / "all.vault")
    assert dict(zip(first["copied_to"], first["versions"], strict=True)) == {
        "losses": 1, "more": 1, "node1": 1, "node2/losses": 1, "node2/more": 1, "node2": 1,
    }  # fmt: skip
    before = everything(here / "all.vault")
    assert before["sessions"]["session"].tolist() == ["train#1", "train#2"]
    assert tv.merge(nodes, here / "all.vault")["versions"].sum() == 0
    assert_same(everything(here / "all.vault"), before)
    with tv.connect(here / "node2.vault", session="train", capture="none") as vault:
        vault.append("losses", {"node": "again"})
    tv.merge(reversed(nodes), here / "all.vault")
    with tv.connect(here / "all.vault", mode="r") as merged:
        assert merged.read("node2/losses")["node"].tolist() == ["node2", "again"]
        assert merged.read("losses")["node"].tolist() == ["node1"]
        assert set(merged.lineage("node2/more")["parent_list"]) == {"node2/losses"}
        assert merged.sessions()["session"].tolist() == ["train#1", "train#2", "train#3"]
        assert merged.check().empty
    tv.copy(here / "node1.vault", here / "other" / "node1.vault")
    with pytest.raises(tv.InvalidInput, match="node1"):
        tv.merge([here / "node1.vault", here / "other" / "node1.vault"], here / "all.vault")


def test_code_and_what_confirms_it_are_copied(here, store_of):
    source, target = store_of(here / "a.vault"), store_of(here / "b.vault")
    session = source.open_session(Session("train", "u", "h", 1, datetime.now(UTC)))
    part = Part("train.py", session.id, 0, 3, 5, "def", ("f",), "def f(): ...", "tree")
    version = put(source, "x", frames.encode(pd.DataFrame({"n": [1]})), session_id=session.id, cell=0, line=7)
    source.put_code(
        [WrittenCode(session.id, cell, line, (part,), ("g",)) for cell, line in ((0, 7), (-1, 0))]
    )
    source.beat(
        [
            Beat(
                session.id,
                sources=(ModuleSource(session.id, "m.py", "0" * 64, "x = 1", "m"),),
                outcome="failed",
                error="E",
            )
        ]
    )
    source.put_cell(Cell(session.id, 0, "f()", datetime.now(UTC), 0.5, "error", "E", "trace"))
    source.confirm(Confirmation(version.list_id, 1, session.id, 0, 7))
    target.open_session(Session("another", "u", "h", 1, datetime.now(UTC)))  # so that ids differ
    for _ in range(2):
        copy_vault(source, target, None)
        [moved] = target.sessions(name="train", info=True)
        assert moved == replace(source.sessions(info=True)[0], id=moved.id)
        code = target.written_code([(moved.id, 0, 7), (moved.id, -1, 0)])
        assert {(each.cell, each.line, each.parts, each.unresolved) for each in code} == {
            (0, 7, (replace(part, session_id=moved.id),), ("g",)), (-1, 0, (replace(part, session_id=moved.id),), ("g",)),
        }  # fmt: skip
        assert [replace(cell, session_id=session.id) for cell in target.cells()] == source.cells()
        assert [module.text for module in target.sources([moved.id])] == ["x = 1"]
        [confirmed] = target.confirmations()
        assert confirmed.time == source.confirmations()[0].time
        assert (confirmed.session_id, confirmed.cell, confirmed.line) == (moved.id, 0, 7)


OPERATIONS = [
    "save", "append", "upsert", "delete_rows", "restore", "delete", "derive", "vacuum", "erase", "tag", "snapshot", "describe", "rename",
    "log", "keep", "map",
]  # fmt: skip
STEPS = st.lists(
    st.tuples(
        st.sampled_from(OPERATIONS),
        st.sampled_from(["a", "b"]),
        st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=times(40, ordinary=5))
@given(steps=STEPS)
def test_any_history_is_copied(tmp_path_factory, steps):
    here = tmp_path_factory.mktemp("history")
    go_through(here, steps)
    tv.copy(here / "a.vault", here / "b.vault")
    assert_copied(here / "a.vault", here / "b.vault")


@pytest.mark.arango
@settings(max_examples=times(10, ordinary=2))
@given(steps=STEPS)
def test_any_history_is_copied_to_a_server_and_back(tmp_path_factory, steps):
    here = tmp_path_factory.mktemp("history")
    go_through(here, steps)
    with new_database() as url:
        with tv.connect(url, create=True, session=False) as server:
            tv.copy(here / "a.vault", server)
        assert_copied(here / "a.vault", url)
        tv.copy(url, here / "b.vault")
    assert_copied(here / "a.vault", here / "b.vault")


def assert_copied(source, copy):
    """Everything is the same, but for versions that showed rows which were erased: these cannot be read in a copy."""
    ours, theirs = everything(source), everything(copy)
    gone = theirs["versions"].loc[theirs["versions"]["gone"]]
    for name, number in gone[["list", "version"]].itertuples(index=False):
        for what in (f"{name}@{number}", f"lineage of {name}@{number}"):
            ours.pop(what, None)
    for content in (ours, theirs):
        content["versions"] = content["versions"].drop(columns="gone")
        content["versions"].loc[gone.index, "total"] = 0  # of what they had, or of what is left of it
    assert_same(theirs, ours)


def go_through(here, steps):
    (here / "notes.txt").write_text("hello")
    with tv.connect(here / "a.vault", session="main", capture="none") as vault:
        for number, (operation, name, keys) in enumerate(steps):
            rows = pd.DataFrame({"k": keys, "v": np.arange(len(keys)) / 3})
            try:
                act(vault, operation, name, rows, number)
            except tv.VaultError:  # not possible in this state
                continue


def half(row):
    if row.k % 2:
        raise ValueError(f"{row.k} is odd")
    return {"half": row.k // 2}


def act(vault: tv.Vault, operation: str, name: str, rows: pd.DataFrame, number: int) -> None:
    other = {"a": "b", "b": "a"}[name]
    if operation in ("save", "append", "upsert"):
        getattr(vault, operation)(name, rows, key="k", inputs=False, message=f"step {number}")
    elif operation == "delete_rows":
        vault.delete_rows(name, filters=[("k", "in", rows["k"].tolist())])
    elif operation == "restore":
        vault.restore(name, int(rows["k"][0]) + 1)
    elif operation == "delete":
        vault.delete(name)
    elif operation == "derive":
        vault.read(other).query("v > 0.3").vault.upsert(name)
    elif operation == "erase":
        vault.erase(name, filters=[("k", "==", int(rows["k"][0]))])
    elif operation == "tag":
        vault.tag(f"{name}@1", f"first {number}")
    elif operation == "snapshot":
        vault.snapshot(f"state {number}")
    elif operation == "describe":
        vault.describe(name, f"text {number}", rows["v"].tolist(), label="note")
    elif operation == "rename":
        vault.rename(name, f"{name}{number}")
    elif operation == "log":
        with vault.session("train", params={"keys": rows["k"].tolist()}, tags=name) as run:
            run.log(step=number, loss=float(rows["v"].mean()))
            vault.append(f"of {name}", rows, inputs=False)
    elif operation == "keep":
        vault.append("kept", pd.DataFrame({"path": ["notes.txt"]}), files="path", copy=True, inputs=False)
    elif operation == "map":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            vault.map(f"halves of {name}", half, name, on_error="keep")
    else:
        vault.vacuum(keep=1, dry_run=False)


def test_what_was_erased_is_in_no_copy(here):
    with tv.connect(here / "a.vault", session=False) as vault:
        vault.save("x", pd.DataFrame({"k": [1, 2, 3], "text": ["secret", "b", "c"]}), key="k")
        vault.append("x", pd.DataFrame({"k": [4], "text": ["d"]}))
        vault.erase("x", filters="k == 1")
    tv.copy(here / "a.vault", here / "b.vault")
    with tv.connect(here / "b.vault", mode="r") as copy:
        assert copy.read("x")["k"].tolist() == [2, 3, 4]
        with pytest.raises(tv.VersionNotFound):
            copy.read("x@1")
        assert copy.check().empty
    assert not any(b"secret" in path.read_bytes() for path in (here / "b.vault").rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["folder", pytest.param("server", marks=pytest.mark.arango)])
def test_rows_that_are_done_are_done_in_a_copy_and_held_ones_are_open(here, kind):
    def claims(place, state):
        with tv.connect(place, mode="r") as vault:
            report = vault.claims("jobs", state=state)
            return dict(zip(report["position"], report["session"], strict=True))

    with ExitStack() as stack:
        target = stack.enter_context(new_database()) if kind == "server" else here / "b.vault"
        if kind == "server":
            tv.connect(target, create=True, session=False).close()
        with tv.connect(here / "a.vault", session="boss", capture="none") as vault:
            vault.save("jobs", pd.DataFrame({"n": range(6)}))
            vault.append("jobs", {"n": 6})
            with vault.session("worker"):
                vault.finish(vault.claim("jobs", 2))
            held = vault.claim("jobs", 2)
            tv.copy(vault, target, lists="jobs")
            assert claims(target, "done") == {0: "worker#1", 1: "worker#1"}
            assert claims(target, "held") == {}
            vault.finish(held)
            vault.upsert(
                "jobs", {"n": 99}, key="n"
            )  # a new generation, in which the old rows are the same ones
            vault.finish(vault.claim("jobs", 1))
        for _ in range(2):
            tv.copy(here / "a.vault", target)
            assert claims(target, "done") == claims(here / "a.vault", "done")
        with tv.connect(target, session="worker", capture="none") as copy:
            assert copy.claim("jobs", 2)["n"].tolist() == [5, 6]
            tv.copy(here / "a.vault", copy)
            assert sorted(claims(target, "held")) == [5, 6]
            assert copy.check().empty
        tv.copy(target, here / "back.vault")
        assert claims(here / "back.vault", "done") == claims(here / "a.vault", "done")


def test_what_is_done_in_a_copy_stays_done_and_what_is_held_there_stays_held(here):
    with tv.connect(here / "a.vault", session="a", capture="none") as vault:
        vault.save("jobs", pd.DataFrame({"n": range(4)}))
        with tv.connect(here / "b.vault", session="b", capture="none") as copy:
            tv.copy(vault, copy)
            copy.finish(copy.claim("jobs", 1))
            mine = copy.claim("jobs", 1)
            vault.finish(vault.claim("jobs", 3))
            tv.copy(vault, copy)
            report = copy.claims("jobs")
            assert report["state"].tolist() == ["done", "held", "done", "open"]
            assert report["session"].tolist()[:3] == ["b#1", "b#1", "a#1"]
            copy.finish(mine)
            assert copy.claim("jobs")["n"].tolist() == [3]


def write_on_a_node(place: Path, node: str) -> None:
    with tv.connect(place, session="train", capture="none") as vault:
        for number in range(12):
            tv.log(step=number, loss=float(number))
            vault.append("losses", {"node": node, "n": number}, inputs=False)


def test_nodes_are_folded_into_one_while_they_write(here):
    nodes = [here / "node1.vault", here / "node2.vault"]
    for place in nodes:
        tv.connect(place, session=False).close()
    writers = [PROCESSES.Process(target=write_on_a_node, args=(place, place.stem)) for place in nodes]
    for writer in writers:
        writer.start()
    merges = 0
    while any(writer.is_alive() for writer in writers):
        tv.merge(nodes, here / "all.vault")
        merges += 1
    assert [writer.exitcode for writer in writers] == [0, 0]
    tv.merge(nodes, here / "all.vault")
    assert tv.merge(nodes, here / "all.vault")["versions"].sum() == 0
    with tv.connect(here / "all.vault", mode="r") as merged:
        assert merged.check().empty
        lists = {name: merged.read(name) for name in merged}
        assert {rows["node"].unique().item() for rows in lists.values()} == {"node1", "node2"}
        for rows in lists.values():
            assert rows["n"].tolist() == list(range(12))
        assert merged.sessions()["session"].tolist() == ["train#1", "train#2"]
        for label in ("train#1", "train#2"):
            assert merged.run(label).curve("loss")["step"].tolist() == list(range(12))
    assert merges
