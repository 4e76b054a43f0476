"""Mistakes that users of pandas make: each error says what is wrong, where, and what to do next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv

ROWS = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.4], "name": ["a", "b"]})


def began(vault):
    """Name a session that was."""
    with vault.session("train") as session:
        session.log(loss=0.5)
    return "train"


MISTAKES = {
    "a column of a list": (
        lambda vault: vault["losses"]["loss"],
        tv.InvalidType,
        "A List holds no rows: .read()['loss'] asks a frame of them, .read(columns=['loss']) that column alone.",
    ),
    "a row of a list": (
        lambda vault: vault["losses"][:1],
        TypeError,
        ".read()[slice(None, 1, None)] asks a frame",
    ),
    "a frame of a list": (
        lambda vault: pd.DataFrame(vault["losses"]),
        TypeError,
        ".read() is a frame of them",
    ),
    "a loop over a list": (
        lambda vault: list(vault["losses"]),
        TypeError,
        ".batches(10_000) yields one frame",
    ),
    "a list as an attribute": (lambda vault: vault.losses, AttributeError, "The list is vault['losses']."),
    "a call by another name": (lambda vault: vault.load, AttributeError, "Write vault.read(name)."),
    "a misspelt call": (lambda vault: vault.serch, AttributeError, "Did you mean 'search'"),
    "a call of the vault at a list": (
        lambda vault: vault["losses"].trend("loss"),
        AttributeError,
        "A List has no attribute 'trend'. It is a call of the vault: vault.trend(…).",
    ),
    "a call of the vault, or of a frame, at a list": (
        lambda vault: vault["losses"].compare("losses@1"),
        AttributeError,
        "It is a call of the vault: vault.compare(…). It holds no rows: .read().compare asks a frame of them.",
    ),
    "a table logged at a vault": (
        lambda vault: vault.log_table,
        AttributeError,
        "Write s.log_table(…), where s is a session",
    ),
    "the code of a run": (
        lambda vault: vault.run(began(vault)).code,
        AttributeError,
        "A RunInfo has no attribute 'code'. The code that it ran: .cells(), and vault.sources(run) for modules",
    ),
    "a log of a run that is read": (
        lambda vault: vault.run(began(vault)).log(loss=1),
        AttributeError,
        "It is read only. What is written to is what vault.session(…) returns",
    ),
    "a stop of a run": (lambda vault: vault.run(began(vault)).stop(), AttributeError, "vault.stop(run)"),
    "a misspelt part of a run": (
        lambda vault: vault.run(began(vault)).metric,
        AttributeError,
        "Did you mean 'metrics'",
    ),
    "parameters of a connection": (
        lambda vault: tv.connect("other.vault", session="train", params={"lr": 0.1}),  # type: ignore[call-arg]
        tv.InvalidType,
        "connect() has no option 'params'. It is an option of a session inside: with vault.session(name, params=…).",
    ),
    "the best of neither end": (
        lambda vault: vault.best("loss"),
        tv.InvalidType,
        "Vault.best() needs 'mode' ('min' or 'max') as well.",
    ),
    "a picture of lineage": (
        lambda vault: vault.lineage("losses").vault.plot(),
        tv.InvalidInput,
        "vault.graph(…) draws lineage.",
    ),
    "a gate without a measure": (
        lambda vault: vault.compare("losses@1", "losses@1", on="epoch").gate("delta", min=0, raises=True),
        tv.GateFailed,
        "nothing was measured: give a measure, such as 'gold == pred'",
    ),
    "a call of a vault": (
        lambda vault: tv.save,
        AttributeError,
        "it is a call of a vault, tv.connect(…).save(…)",
    ),
    "a call of MLflow": (lambda vault: tv.log_metric, AttributeError, 'write tv.log({"acc": 0.9}, step=1)'),
    "a frame before the name": (
        lambda vault: vault.save(ROWS, "losses"),
        tv.InvalidType,
        "The name of a list is a str, not DataFrame. The name stands first: save(name, rows).",
    ),
    "a dict of columns": (
        lambda vault: vault.save("new", {"a": [1, 2], "b": [3, 4]}),
        tv.InvalidInput,
        "A dict is one row, and the values of this one are sequences of one length. Write pd.DataFrame({…}) for",
    ),
    "a step behind the metrics": (
        lambda vault: tv.log({"acc": 0.9}, 3),
        tv.InvalidType,
        "A step is given by its name: step=3.",
    ),
    "a metric without a value": (
        lambda vault: tv.log("acc"),
        tv.InvalidInput,
        "or a name and a value, not 'acc'",
    ),
    "a save without a name": (lambda vault: ROWS.vault.save(), tv.InvalidType, "needs 'name' as well"),
    "a list by another name": (
        lambda vault: vault.read("losess"),
        tv.ListNotFound,
        "No list named 'losess' in this vault. Did you mean 'losses'?",
    ),
    "a vault as a list": (
        lambda vault: vault.read(vault.place),
        tv.ListNotFound,
        "It is a vault itself: tablevault_pd.connect(",
    ),
    "a column by another name": (
        lambda vault: vault.read("losses", columns=["los"]),
        tv.InvalidInput,
        "losses@1: No column 'los'. Did you mean 'loss'?",
    ),
    "a column as a text": (
        lambda vault: vault.read("losses", columns="loss"),
        TypeError,
        "columns= is a list of column names, not 'loss': ['loss'] for one.",
    ),
    "a version that is not there": (
        lambda vault: vault.read("losses@9"),
        tv.VersionNotFound,
        "The list 'losses' has no version 9; its newest is 1. vault.versions('losses') shows which it has.",
    ),
    "a column of a filter": (
        lambda vault: vault.read("losses", filters="los < 1"),
        tv.InvalidFilter,
        "In the list 'losses': The filter names the column 'los', which the list does not have. Did you mean 'loss'?",
    ),
    "a single =": (
        lambda vault: vault.read("losses", filters="loss = 1"),
        tv.InvalidFilter,
        "has a single =: write == to compare",
    ),
    "a mask as a filter": (
        lambda vault: vault.read("losses", filters=ROWS["loss"] < 0.5),
        tv.InvalidFilter,
        "filters= is a condition on the rows that are stored, not a mask. Select rows of a frame after reading it: df[mask].",
    ),
    "an append of another dtype": (
        lambda vault: vault.append("losses", {"epoch": "three", "loss": 0.1, "name": "c"}),
        tv.SchemaMismatch,
        "column 'epoch': the list has int64, the frame ",
    ),
    "an upsert without a key": (
        lambda vault: vault.upsert("losses", ROWS),
        tv.InvalidInput,
        "The list 'losses' has no key yet, and the rows have no named index. Say which columns name a row: key='id'",
    ),
    "characters of no document": (
        lambda vault: vault.read("losses", chars=(0, 3)),
        tv.InvalidInput,
        "The list 'losses' has no column of documents, in which characters count. save(…, documents='text') makes one.",
    ),
    "a save to a version": (
        lambda vault: vault.save("losses@1", ROWS),
        tv.InvalidName,
        "'losses@1' cannot name a list: '@' separates a list from its version",
    ),
    "an option without its name": (
        lambda vault: vault.session("train", {"lr": 0.1}),
        tv.InvalidType,
        "Vault.session() takes only 'name' by place. Options are named: params=, parent=, ",
    ),
    "a value too few": (
        lambda vault: vault.compare("losses@1"),
        tv.InvalidType,
        "Vault.compare() needs 'b' as well.",
    ),
    "a value too many": (
        lambda vault: vault["losses"].read("loss"),
        TypeError,
        "List.read() takes nothing by place. Options are named: as_of=, chars=, columns=, ",
    ),
    "a handle as a frame": (
        lambda vault: vault["losses"].head(),
        AttributeError,
        "A List has no attribute 'head'. It holds no rows: .read().head asks a frame of them.",
    ),
    "handles as frames": (
        lambda vault: pd.concat([vault["losses"], ROWS]),
        tv.InvalidType,
        "pd.concat and merge take frames, and a List holds no rows: .read() is a frame of them",
    ),
    "handles as a dict of frames": (
        lambda vault: pd.concat({"a": vault["losses"]}),
        tv.InvalidType,
        "as in pd.concat([vault['a'].read(), vault['b'].read()])",
    ),
    "a handle as a frame to merge": (
        lambda vault: ROWS.merge(vault["losses"]),
        tv.InvalidType,
        "pd.concat and merge take frames, and a List holds no rows: .read() is a frame of them",
    ),
    "a group to save": (
        lambda vault: vault.save("new", ROWS.groupby("epoch")),
        tv.InvalidInput,
        "It holds no rows before they are aggregated: .mean(), .size() and the like",
    ),
    "windows to save": (
        lambda vault: vault.save("new", ROWS[["epoch"]].rolling(2)),
        tv.InvalidInput,
        "It holds no rows before they are aggregated: .mean(), .size() and the like",
    ),
    "an option that is needed": (
        lambda vault: vault.history("losses"),
        tv.InvalidType,
        "Vault.history() needs 'key' as well.",
    ),
    "a run as of MLflow": (
        lambda vault: vault.start_run,
        AttributeError,
        "Write with vault.session(name, params={…}) as s.",
    ),
    "a metric as of MLflow": (
        lambda vault: vault.session("train").log_metric,
        AttributeError,
        "A Run has no attribute 'log_metric'. Write s.log({'acc': 0.9}, step=1).",
    ),
    "a misspelt part of a session": (
        lambda vault: vault.session("train").parms,
        AttributeError,
        "A Run has no attribute 'parms'. Did you mean 'params'?",
    ),
    "the configuration of a run": (
        lambda vault: vault.run(began(vault)).config,
        AttributeError,
        "A RunInfo has no attribute 'config'. Its parameters: .params.",
    ),
    "what a call with inplace=True returns": (
        lambda vault: vault.save("new", None),
        tv.InvalidInput,
        "A call of pandas with inplace=True returns None.",
    ),
    "a path to save": (
        lambda vault: vault.save("new", Path("rows.csv")),
        tv.InvalidInput,
        "The rows of a file are read first, as in pd.read_csv(path).",
    ),
    "a column of paths": (
        lambda vault: vault.save("new", ROWS.assign(file=Path("a.png"))),
        tv.UnsupportedColumn,
        "In column 'file', row 0: a value of type pathlib.PosixPath cannot be stored exactly; a column of paths is named by "
        "files=['its name'], else convert it to text",
    ),
    "a dict as a filter": (
        lambda vault: vault.read("losses", filters={"epoch": 1, "name": "a"}),
        tv.InvalidFilter,
        "filters= is no dict. Rows with these values: [('epoch', '==', 1), ('name', '==', 'a')].",
    ),
    "the newest version by a word": (
        lambda vault: vault.read("losses@latest"),
        tv.VersionNotFound,
        "Without an @ the newest version is read: 'losses'.",
    ),
    "a styled frame": (
        lambda vault: vault.save("new", ROWS.style),
        tv.InvalidInput,
        "Its frame is .data.",
    ),
    "an index to save": (
        lambda vault: vault.save("new", pd.Index([1, 2])),
        tv.InvalidInput,
        "Values without names are a column: pd.Series(values, name='x').",
    ),
    "masked values in vectors": (
        lambda vault: vault.save("new", np.ma.array(np.eye(2), mask=[[True, False], [False, False]])),
        tv.InvalidInput,
        "Fill them, matrix.filled(0.0), or make a DataFrame of it",
    ),
    "a masked value as a vector to look for": (
        lambda vault: vault.search(near=np.ma.array([1.0, 2.0], mask=[False, True])),
        tv.InvalidInput,
        "The vector near= holds NaN or infinity.",
    ),
    "masked values in one of several vectors": (
        lambda vault: vault.search(near=[np.ma.array([1.0, 2.0]), np.ma.array([1.0, 2.0], mask=[0, 1])]),
        tv.InvalidInput,
        "Vector 1 of near= holds NaN or infinity.",
    ),
    "a masked value in the vector of a description": (
        lambda vault: vault.describe("losses", "x", np.ma.array([1.0, 2.0], mask=[False, True])),
        tv.InvalidInput,
        "vector= is one vector of finite numbers",
    ),
    "a class in place of a frame": (
        lambda vault: vault.save("new", pd.DataFrame),
        tv.InvalidInput,
        "Cannot save <class 'pandas",
    ),
    "classes in place of rows": (
        lambda vault: vault.save("new", [ROWS, pd.DataFrame]),
        tv.InvalidInput,
        "Cannot save <class 'pandas",
    ),
    "a row of a frame as a Series": (
        lambda vault: vault.append("losses", ROWS.iloc[0]),
        tv.InvalidInput,
        "A row of a frame is df.iloc[[0]], with two brackets, or row.to_dict().",
    ),
    "a row with the key of a new list": (
        lambda vault: vault.upsert("new", ROWS.iloc[0], key="epoch"),
        tv.InvalidInput,
        "A row of a frame is df.iloc[[0]], with two brackets, or row.to_dict().",
    ),
    "a mask as positions": (
        lambda vault: vault.delete_rows("losses", vault.read("losses")["epoch"] > 1),
        tv.InvalidInput,
        "rows= names positions, and a mask is none: np.flatnonzero(mask)",
    ),
    "a nullable mask as positions": (
        lambda vault: vault.delete_rows("losses", vault.read("losses")["epoch"].astype("Int64") > 1),
        tv.InvalidInput,
        "rows= names positions, and a mask is none: np.flatnonzero(mask)",
    ),
    "a condition as positions": (
        lambda vault: vault.delete_rows("losses", "epoch == 1"),
        tv.InvalidInput,
        "rows= names positions; which rows fit a condition says filters='epoch == 1'.",
    ),
    "a word of pandas for how many rows": (
        lambda vault: vault.read("losses", nrows=1),
        tv.InvalidType,
        "Vault.read() has no option 'nrows'. Write stop=.",
    ),
    "a word of pandas for columns": (
        lambda vault: vault.read("losses", usecols=["loss"]),
        tv.InvalidType,
        "Vault.read() has no option 'usecols'. Write columns=.",
    ),
    "an index to be left out": (
        lambda vault: vault.save("losses", ROWS, index=False),
        tv.InvalidType,
        "An index is kept with the rows: save df.reset_index(drop=True) without it.",
    ),
    "a mode of saving": (
        lambda vault: ROWS.vault.save("losses", if_exists="append"),
        tv.InvalidType,
        "save() starts new content under a name, append() adds rows, upsert() changes rows by their key.",
    ),
    "the keys of a dict": (
        lambda vault: vault.keys(),
        AttributeError,
        "Write list(vault), or vault.lists() for a frame.",
    ),
    "SQL in a filter": (
        lambda vault: vault.read("losses", filters="epoch > 1 AND loss < 1"),
        tv.InvalidFilter,
        "Write and in small letters.",
    ),
    "LIKE in a filter": (
        lambda vault: vault.read("losses", filters="name like 'a%'"),
        tv.InvalidFilter,
        "In place of LIKE: name.str.contains('part')",
    ),
    "a name of two words in a filter": (
        lambda vault: vault.read("losses", filters="val loss < 1"),
        tv.InvalidFilter,
        "A name that is no word stands in backticks: `my column` > 1.",
    ),
    "a version that is not there yet": (
        lambda vault: vault.save("losses", ROWS, expect=7),
        tv.Conflict,
        "The newest version of 'losses' is 1, and version 7 was expected: that one is not there yet.",
    ),
    "a call of Arrow": (
        lambda vault: vault["losses"].to_pandas(),
        AttributeError,
        "It holds no rows: .read() is a frame of them.",
    ),
    "a call that a vault has": (lambda vault: tv.stale, AttributeError, "tv.connect(…).stale(…)"),
    "a run that is not there": (
        lambda vault: vault.compare("losses@1", "fit#7"),
        tv.SessionNotFound,
        "No session 'fit#7' in this vault. vault.sessions() shows what is there.",
    ),
    "a name for a package": (lambda vault: tv.session("x"), tv.InvalidType, "tv.connect(…).session(…)"),
    "a vault by its class": (lambda vault: tv.Vault("x"), tv.InvalidType, "opened by tv.connect('x')"),
    "a call of a vault on a frame": (
        lambda vault: ROWS.vault.read("losses"),
        AttributeError,
        "A FrameAccessor has no attribute 'read'. It is a call of a vault: tv.current_vault().read(…).",
    ),
    "a misspelt call on a column": (lambda vault: ROWS["loss"].vault.nears, AttributeError, "'near'?"),
    "an assignment": (
        lambda vault: vault.__setitem__("new", ROWS),
        TypeError,
        "vault.save('new', rows)",
    ),
    "a removal": (lambda vault: vault.__delitem__("losses"), TypeError, "vault.delete('losses')"),
    "an address without a version": (
        lambda vault: vault.read("losses@"),
        tv.InvalidName,
        "'losses@' names no version: a number or a name follows the @, as in losses@3. losses alone is the newest one.",
    ),
    "the history of rows without a key": (
        lambda vault: vault.history("losses", key=1),
        tv.InvalidInput,
        "has no key, by which a row is followed: vault.upsert('losses', rows, key='id') gives it one.",
    ),
    "a mode of open()": (
        lambda vault: tv.connect(vault.place, mode="w"),
        tv.InvalidInput,
        "mode= is 'rw' or 'r', not 'w'.",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_error_says_what_is_wrong_where_and_what_to_do(folder_vault, mistake):
    folder_vault.save("losses", ROWS)
    call, kind, said = MISTAKES[mistake]
    with pytest.raises(kind) as raised:
        call(folder_vault)
    assert said in str(raised.value)
    assert folder_vault.versions()["version"].tolist() == [1]


def test_what_a_vault_that_is_closed_or_only_read_says(tmp_path):
    with tv.connect(tmp_path / "v", session=False) as vault:
        vault.save("losses", ROWS)
        losses = vault["losses"]
        with pytest.raises(
            tv.InvalidInput, match=r"opened with session=False.* Log inside of `with vault\.session"
        ):
            tv.log({"loss": 0.1})
    for call in (lambda: vault.read("losses"), losses.read, lambda: repr(losses)):
        with pytest.raises(
            tv.VaultClosed,
            match=r"The vault .*v was closed\. Connect to it again with tablevault_pd\.connect",
        ):
            call()
    with (
        tv.connect(tmp_path / "v", mode="r") as vault,
        pytest.raises(tv.VaultReadOnly, match=r"The vault .*v is open for reading\. Connect with mode='rw'"),
    ):
        vault.save("losses", ROWS)
    with pytest.raises(tv.VaultNotFound, match=r"There is no vault at .*w\. mode='rw' makes one"):
        tv.connect(tmp_path / "w", mode="r")


def test_a_dict_of_sequences_of_several_lengths_is_one_row(folder_vault):
    folder_vault.save("ragged", {"words": ["a", "b"], "counts": [1]})
    folder_vault.save("one", [{"a": [1, 2], "b": [3, 4]}])
    folder_vault.save("mixed", {"id": 1, "vec": [0.5, 0.5]})
    assert [len(folder_vault[name]) for name in ("ragged", "one", "mixed")] == [1, 1, 1]


def test_a_series_among_parameters_is_a_list_of_its_values(folder_vault):
    with folder_vault.session("train", params={"layers": pd.Series([64, 32]), "names": pd.Index(["a", "b"])}):
        pass
    assert folder_vault.run("train").params == {"layers": [64, 32], "names": ["a", "b"]}


@pytest.mark.parametrize(
    "value", [np.ma.masked, np.ma.array(3, mask=True), np.ma.array([3.0], mask=[True])], ids=str
)
def test_what_a_mask_hides_is_neither_logged_nor_kept_as_a_parameter(folder_vault, value):
    with folder_vault.session("train", params={"lr": value, "rates": np.ma.array([1, 2], mask=[0, 1])}) as s:
        with pytest.raises(tv.InvalidInput, match=r"(?s)log\(\) keeps numbers, and acc=.* is none"):
            s.log(acc=value)
        s.log(loss=np.ma.array(3, mask=False))
    run = folder_vault.run("train")
    assert run.params == {"lr": [None] if np.ndim(value) else None, "rates": [1, None]}
    assert run.metrics == {"loss": 3}


@pytest.mark.parametrize("value", ["3", b"3", bytearray(b"3"), np.array(["3"]), np.array("3")], ids=repr)
def test_a_text_that_looks_like_a_number_is_no_metric(folder_vault, value):
    with (
        folder_vault.session("train") as s,
        pytest.raises(tv.InvalidInput, match=r"is none\. Texts and settings"),
    ):
        s.log(acc=value)


def test_a_column_with_a_line_end_has_one_line_where_a_vault_and_a_list_are_shown(folder_vault):
    handle = folder_vault.save("odd", pd.DataFrame({"a\nb": [1], "c": [2]}))
    assert repr(handle).splitlines() == ["<List 'odd', version 1: 1 row>", r"  a\nb  int64", "  c     int64"]
    assert repr(folder_vault).splitlines()[1:] == [r"  odd  version 1, 1 row, a\nb, c"]


def test_a_level_of_the_index_is_no_column_to_choose(folder_vault):
    indexed = folder_vault.save("indexed", ROWS.set_index(["epoch", "name"]))
    with pytest.raises(tv.InvalidInput) as raised:
        indexed.read(columns=["name", "loss"])
    assert (
        "No column 'name'. There are: 'loss'. 'name' belongs to the index, which is read with any columns."
        in str(raised.value)
    )


def test_arrays_that_could_have_a_mask_and_matrices_are_vectors(folder_vault):
    rows = [[1.0, 2.0], [3.0, 4.0]]
    for kind in (np.ma.array, np.matrix):
        folder_vault.save("vectors", kind(rows))
        assert [cell.tolist() for cell in folder_vault.read("vectors")["embedding"]] == rows
    assert folder_vault.search(near=np.ma.array([3.0, 4.0], mask=False), k=1)["position"].tolist() == [1]


def test_the_accessor_at_the_prompt_names_its_calls():
    assert repr(ROWS.vault).startswith("<FrameAccessor of 2 rows: append, ")
    assert "save" in repr(ROWS["epoch"].vault)


def test_a_metric_is_logged_by_its_name_and_value(folder_vault):
    with folder_vault.session("train") as s:
        tv.log("acc", 0.9, step=3)
        s.log("val/acc", 0.8)
    assert folder_vault.run("train").metrics == {"acc": 0.9, "val/acc": 0.8}


def test_a_row_of_sequences_of_one_length_is_added_to_a_list_that_is_there(tmp_path):
    """What fits once must fit always: rows of tokens and labels happen to be equally long."""
    with tv.connect(tmp_path / "v", session=False) as vault:
        with pytest.raises(tv.InvalidInput, match="A dict is one row"):
            vault.append("tagged", {"tokens": ["a", "b"], "labels": [0, 1]})
        vault.append("tagged", [{"tokens": ["a", "b"], "labels": [0, 1]}])
        vault.append("tagged", {"tokens": ["c", "d"], "labels": [1, 0]})
        assert vault.read("tagged")["labels"].map(list).tolist() == [[0, 1], [1, 0]]
