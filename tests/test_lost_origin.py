"""Frames whose origin pandas dropped: their parents are what the session had read, and one warning names the remedy."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from test_forks import in_child

import tablevault_pd as tv


@contextmanager
def warned(count: int) -> Iterator[list[str]]:
    """So many warnings, and all of them about parents, naming this file."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield texts
    texts += [str(each.message) for each in seen]
    assert len(seen) == count, texts
    assert all(each.category is UserWarning and each.filename == __file__ for each in seen)


def filled(vault: tv.Vault) -> None:
    vault.save("docs", pd.DataFrame({"id": [1, 2, 2], "word": ["sun", "rain", "sun"]}))
    vault.save("users", pd.DataFrame({"id": [1, 2], "name": ["ann", "bob"]}))


def relatives(vault: tv.Vault, name: str, **options: Any) -> set[tuple[str, int, str]]:
    """(list, version, basis) of what the rows came from, each a whole list."""
    lines = vault.lineage(name, **options)
    assert lines["parent_position"].isna().all()
    return set(zip(lines["parent_list"], lines["parent_version"], lines["basis"], strict=True))


def lost(docs: pd.DataFrame, number: int = 0) -> pd.DataFrame:
    """Rows that pandas does not say the origin of."""
    return docs.merge(pd.DataFrame({"id": [1, 2], "w": number}), on="id")


Frames = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame | pd.Series]
LOST: dict[str, Frames] = {
    "merge": lambda docs, users: lost(docs),
    "merge of two": lambda docs, users: docs.merge(users, on="id"),
    "join": lambda docs, users: docs.join(users[["name"]]),
    "concat": lambda docs, users: pd.concat([docs, pd.DataFrame({"id": [9], "word": ["fog"]})]),
    "concat of two": lambda docs, users: pd.concat([docs, users], ignore_index=True),
    "groupby": lambda docs, users: docs.groupby("word", as_index=False).agg(n=("id", "sum")),
    "value_counts": lambda docs, users: docs["word"].value_counts(),
    "value_counts of two": lambda docs, users: docs[["word", "id"]].value_counts().to_frame(),
    "get_dummies": lambda docs, users: pd.get_dummies(docs),
    "get_dummies of one": lambda docs, users: pd.get_dummies(docs["word"]),
    "crosstab": lambda docs, users: pd.crosstab(docs["word"], docs["id"]).rename(columns=str),
    "made anew": lambda docs, users: pd.DataFrame({"word": docs["word"].str.upper().tolist()}),
}


@pytest.mark.parametrize("how", LOST)
def test_what_was_read_stands_in_for_a_lost_origin(vault: tv.Vault, how: str) -> None:
    filled(vault)
    out = LOST[how](vault.read("docs"), vault.read("users"))
    assert not out.attrs  # pandas dropped it
    with warned(1) as texts:
        made = vault.save("out", out)
    assert "'out'" in texts[0]
    assert "'docs', 'users'" in texts[0]
    assert all(remedy in texts[0] for remedy in ("refs=True", "inputs='docs'", "inputs=False"))
    assert vault.lineage("out").empty
    assert made.read().vault.parents().empty
    read = {("docs", 1, "read"), ("users", 1, "read")}
    assert relatives(vault, "out", basis="read") == read
    assert len(made.read().vault.parents(basis="read")) == 2 * len(out)
    down = vault.read("docs").vault.children(basis="read")
    assert set(down["child_list"]) == {"out"}
    assert vault.read("docs").vault.children().empty
    graph = vault.graph()
    assert graph[["parent_list", "child_list", "basis"]].to_numpy().tolist() == [
        ["docs", "out", "read"],
        ["users", "out", "read"],
    ]
    assert graph.to_mermaid().count("-.->") == 2
    assert graph.to_svg().count("dasharray") == 2
    assert vault.stale("out").empty


KNOWN: dict[str, tuple[Callable[[pd.DataFrame], object], dict[str, Any]]] = {
    "rows": (lambda docs: docs.assign(n=1), {}),
    "whole list": (lambda docs: docs.groupby("word").sum(), {}),
    "empty": (lambda docs: lost(docs).iloc[:0], {}),
    "inputs": (lambda docs: lost(docs), {"inputs": "docs"}),
    "no inputs": (lambda docs: lost(docs), {"inputs": False}),
    "dict": (lambda docs: {"id": 1, "word": "sun"}, {}),
    "dicts": (lambda docs: docs.to_dict("records"), {}),
    "nested dict": (lambda docs: {"id": 1, "word": {"of": [1, 2]}}, {}),
    "texts": (lambda docs: docs["word"].tolist(), {}),
    "matrix": (lambda docs: np.eye(2), {}),
    "arrow": (lambda docs: pa.table({"word": ["sun"]}), {}),
}


@pytest.mark.parametrize("how", KNOWN)
def test_no_warning_and_no_guess_where_parents_are_known_or_rows_were_typed(
    vault: tv.Vault, how: str
) -> None:
    filled(vault)
    docs = vault.read("docs")
    make, options = KNOWN[how]
    with warned(0):
        vault.save("out", make(docs), **options)
        lost(vault.read("docs", refs=True)).vault.save("refs")
    graph = vault.graph()
    assert "read" not in set(graph["basis"])
    assert len(vault.lineage("out", basis="read")) == len(vault.lineage("out"))


def test_who_read_nothing_is_left_alone(vault: tv.Vault) -> None:
    with warned(0):
        vault.save("a", pd.DataFrame({"x": [1, 2]}))
        vault.save("b", pd.DataFrame({"x": [1, 2]}))
        vault.append("b", pd.DataFrame({"x": [1, 2]}))
        with tv.connect(vault.place, mode="r") as reader:  # it is a session that reads, not the process
            reader.read("a")
        vault.save("c", pd.DataFrame({"x": [1, 2]}))
    assert vault.graph().empty


def test_a_frame_without_a_label_of_what_was_read_is_no_cause_to_warn(vault: tv.Vault) -> None:
    """It cannot be told from one made of what was read, so the reads are kept; nothing says that it was, so nobody is told."""
    filled(vault)
    vault.read("docs")
    with warned(0):
        vault.save("scores", pd.DataFrame({"loss": [0.5], "epoch": [1]}))
    assert relatives(vault, "scores", basis="read") == {("docs", 1, "read")}
    with warned(0):  # new content of the list that was read
        vault.save("docs", pd.DataFrame({"id": [3], "word": ["fog"]}))
    assert relatives(vault, "docs", basis="read") == {("docs", 1, "read")}


def test_a_frame_of_another_vault_has_its_origin_there(vault: tv.Vault, tmp_path) -> None:
    filled(vault)
    with tv.connect(tmp_path / "second") as second:
        filled(second)
        second.read("docs")
        with warned(0):
            second.save("out", vault.read("users"))
        assert second.lineage("out", basis="read").empty


def test_one_warning_for_each_cell_and_list(vault: tv.Vault) -> None:
    filled(vault)
    run = vault._run
    assert run is not None
    run.cells.begin("one", 1)
    docs = vault.read("docs")
    with warned(2):
        for number in range(3):
            vault.append("out", lost(docs, number))
            vault.save("more", lost(docs, number))
    run.cells.begin("two", 2)
    with warned(1):
        for number in range(3):
            vault.append("out", lost(docs, number))
    with vault.session("sweep"):
        vault.read("docs")
        with warned(1):
            vault.append("out", lost(docs))


def test_a_list_read_often_is_one_parent(vault: tv.Vault) -> None:
    """The version read last: edges do not grow with the reads of a long session."""
    for number in range(3):
        with warned(0):  # new rows, though the list was looked at
            vault.append("docs", pd.DataFrame({"id": [number]}))
        docs = vault.read("docs")
    assert vault.graph().empty
    vault.read("docs", version=2)
    with warned(1):
        vault.save("out", iter([lost(docs), lost(docs)]))
    assert relatives(vault, "out", basis="read") == {("docs", 2, "read")}
    assert len(vault.store.edges_of_batch(vault.store.head("out"))) == 1


def test_unchanged_rows_are_no_version_for_what_was_read_besides(vault: tv.Vault) -> None:
    filled(vault)
    docs = vault.read("docs")
    with warned(1):
        assert vault.save("out", lost(docs)).version == 1
    vault.read("users")
    assert vault.save("out", lost(docs)).version == 1
    assert vault.save("out", lost(docs), inputs=False).version == 2
    assert vault.lineage("out", basis="read").empty


def test_walks_take_the_weakest_basis_they_are_told(vault: tv.Vault) -> None:
    filled(vault)
    docs = vault.read("docs")
    docs.assign(n=1).vault.save("more")
    vault.save("said", {"a": 1}, inputs="more")
    with warned(1):
        vault.save("out", vault.read("said").merge(docs, left_on="a", right_on="id"))
    bases = {
        weakest: sorted(set(vault.lineage("out", basis=weakest)["basis"]))
        for weakest in ("stated", "inferred", "read")
    }
    assert bases == {"stated": [], "inferred": [], "read": ["read"]}
    assert set(vault.lineage("said", basis="stated")["parent_list"]) == {"more"}
    assert set(vault.lineage("said")["parent_list"]) == {"more", "docs"}
    with pytest.raises(tv.InvalidInput, match="basis="):
        vault.lineage("out", basis="guessed")


def test_a_warning_made_an_error_writes_nothing(vault: tv.Vault) -> None:
    filled(vault)
    docs = vault.read("docs")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with pytest.raises(UserWarning, match="no known parents"):
            vault.save("out", lost(docs))
        with pytest.raises(UserWarning, match="no known parents"):
            vault.save("out", lost(docs))
    assert "out" not in vault
    with warned(1):
        vault.save("out", lost(docs))


def test_the_warning_says_if_and_comes_once_and_never_for_a_save_that_is_refused(vault: tv.Vault) -> None:
    filled(vault)
    vault.save("kinds", [{"of": 1}])
    docs, _ = vault.read("docs"), vault.read("users")
    made = pd.DataFrame({"word": ["a", "b"], "n": [object(), 1]})  # from scratch, with a column called alike
    with warned(0):
        with pytest.raises(tv.UnsupportedColumn):
            vault.save("kinds", made)
        with pytest.raises(tv.Conflict):
            vault.save("kinds", lost(docs), expect=7)
        with pytest.raises(tv.SchemaMismatch):
            vault.save("kinds", lost(docs), schema="strict")
    with warned(1) as texts:
        for number in range(3):
            vault.save("kinds", made.assign(n=number))
    with warned(1):  # one line that saves many lists
        for number in range(3):
            vault.save(f"part-{number}", lost(docs))
    with warned(1):
        vault.save("part-9", lost(docs))
    for number in range(2):  # at a prompt every statement is line 1
        statement = compile(f"vault.save('typed-{number}', lost(docs))", "<stdin>", "single")
        with pytest.warns(UserWarning, match="no known parents"):
            exec(statement, {"vault": vault, "lost": lost, "docs": docs})
    assert "If they came from 'docs', 'users', which this session had read" in texts[0]
    assert "dropped" not in texts[0]


# -- sessions


def test_what_the_sessions_around_had_read_counts(vault: tv.Vault) -> None:
    filled(vault)
    docs = vault.read("docs")
    with vault.session("sweep"):
        vault.read("users")
        with vault.session("train"):
            with warned(1) as texts:
                vault.save("out", lost(docs))
            assert "'docs', 'users'" in texts[0]
            vault.append("users", {"id": 3, "name": "cid"})
            vault.read("users")
            with warned(1):
                vault.save("again", lost(docs))
    assert relatives(vault, "out", basis="read") == {("docs", 1, "read"), ("users", 1, "read")}
    assert relatives(vault, "again", basis="read") == {("docs", 1, "read"), ("users", 2, "read")}
    with vault.session("beside"):
        pass
    assert vault.sessions("beside")["reads"].tolist() == [[]]
    assert vault.sessions("train")["reads"].tolist() == [["users@2"]]  # each names its own


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_the_parent_had_read_before_a_fork_counts(folder_vault: tv.Vault) -> None:
    filled(folder_vault)
    docs = folder_vault.read("docs")

    def child() -> str:
        with warned(1) as texts:
            folder_vault.save("out", lost(docs))
        return texts[0]

    assert "'docs'" in in_child(child)
    folder_vault.read("users")  # after the fork
    assert relatives(folder_vault, "out", basis="read") == {("docs", 1, "read")}
