"""Lineage: what is stored about where rows came from, against a hidden column that says it in plain text."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.errors import InvalidInput, ListDeleted, ListNotFound, VaultCorrupt
from tablevault_pd.refs import Ref, RefDtype
from tablevault_pd.store.edges import few_spans
from tablevault_pd.store.engine.int_codec import pack, unpack

PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3


def source(name: str, rows: int, **columns: Any) -> pd.DataFrame:
    """Rows that know who they are."""
    return pd.DataFrame(
        {
            "id": [f"{name}:{row}" for row in range(rows)],
            "key": [row % 3 for row in range(rows)],
            "x": [float((row * 7) % rows) for row in range(rows)],
            "tags": [["u", "v"][: row % 3] for row in range(rows)],
            **columns,
        }
    )


def parents(vault: tv.Vault, name: str) -> list[set[str]]:
    """``list:position`` of the parents of each row; ``list:*`` for a whole list."""
    lines = vault.lineage(name, depth=1)
    found: list[set[str]] = [set() for _ in range(len(vault[name]))]
    for row, parent, at in zip(
        lines["position"], lines["parent_list"], lines["parent_position"], strict=True
    ):
        found[row].add(f"{parent}:{'*' if pd.isna(at) else at}")
    return found


# -- inferred, on chains of operations


def concat_same(df, vault, draw):
    return pd.concat([df, df.iloc[: len(df) // 2]])


def melt(df, vault, draw):
    rest = [column for column in df.columns if column != "x"]
    return df.melt(id_vars=rest, value_vars=["x"], value_name="w", ignore_index=False).rename(
        columns={"w": "x"}
    )[[*rest, "x"]]


def set_in_place(change):
    """The operation as a statement: ``df["x"] = …``."""

    def changed(df, vault, draw):
        df = df if PANDAS_3 else df.copy()  # pandas 2 warns where it may be a view
        change(df)
        return df

    return changed


IN_PLACE = {
    "set_column": set_in_place(lambda df: df.__setitem__("x", df["x"] + 1)),
    "set_new": set_in_place(lambda df: df.__setitem__("new", range(len(df)))),
    "set_loc": set_in_place(lambda df: df.loc.__setitem__((df["x"] > 3, "key"), 0)),
    "set_all": set_in_place(lambda df: df.loc.__setitem__((slice(None), "x"), 5.0)),
    "insert": set_in_place(lambda df: None if "first" in df else df.insert(0, "first", 1)),
    "pop": set_in_place(lambda df: df.pop("new") if "new" in df else None),
}
KEEP = {
    **IN_PLACE,
    "mask": lambda df, vault, draw: df[df["x"] > 2],
    "query": lambda df, vault, draw: df.query("x != 3"),
    "sort": lambda df, vault, draw: df.sort_values("x", ascending=False),
    "sort_index": lambda df, vault, draw: df.sort_index(ascending=False),
    "assign": lambda df, vault, draw: df.assign(y=df["x"] * 2),
    "sample": lambda df, vault, draw: df.sample(frac=0.7, random_state=draw(st.integers(0, 9))),
    "explode": lambda df, vault, draw: df.explode("tags"),
    "concat": concat_same,
    "drop_duplicates": lambda df, vault, draw: df.drop_duplicates("x"),
    "head": lambda df, vault, draw: df.head(4),
    # A copy, since pandas 2 cannot group the view.
    "iloc": lambda df, vault, draw: df.iloc[::-1] if PANDAS_3 else df.iloc[::-1].copy(),
    "take": lambda df, vault, draw: df.take(
        draw(st.lists(st.integers(0, max(len(df) - 1, 0)), max_size=6)) if len(df) else []
    ),
    "nlargest": lambda df, vault, draw: df.nlargest(3, "x"),
    "drop": lambda df, vault, draw: df.drop(columns=[each for each in df.columns if each == "tags2"]),
    "where": lambda df, vault, draw: df.assign(x=df["x"].where(df["x"] > 3, -1)),
    "fillna": lambda df, vault, draw: df.assign(x=df["x"].fillna(0)),
    "transform": lambda df, vault, draw: df.assign(m=df.groupby("id")["x"].transform("mean")),
    "level_first": lambda df, vault, draw: df.groupby(level=0).first(),
    "melt": melt,
    "pickle": lambda df, vault, draw: pickle.loads(pickle.dumps(df)),
    "rename": lambda df, vault, draw: df.rename(columns={"tags": "tags"}),
    "apply": lambda df, vault, draw: df.assign(z=df["id"].map(len)),
    "loc": lambda df, vault, draw: df.loc[df.index.unique()[:3]],
    "repeat": lambda df, vault, draw: df.loc[df.index.unique().repeat(2)] if df.index.is_unique else df,
}


def user_position(df, vault, draw):
    """A column that only happens to be called like the index."""
    return df.assign(position=df["key"].astype(int)).set_index("position")


def numbered(df, number):
    """Groups by the number of a row: their index is called like the one that the numbers were made from."""
    if df.index.dtype.kind != "i":
        return df
    groups = df.groupby(number(df.index))
    columns = [column for column in ("key", "x") if column in df]
    return groups[columns].max().assign(ids=groups["id"].agg("|".join))


def other_list(df, vault, draw):
    return vault.read("other").rename(columns=lambda label: f"{label}_o")


LOSE = {
    "reset_index": lambda df, vault, draw: df.reset_index(drop=True),
    "set_again": lambda df, vault, draw: df.sort_values("x").reset_index(drop=True).rename_axis("position"),
    "user_position": user_position,
    "group_position": lambda df, vault, draw: (
        df.assign(position=df["key"]).rename_axis("p").groupby("position").max(numeric_only=True)
    ),
    "groupby": lambda df, vault, draw: df.groupby("key", as_index=True)[["x"]].sum(),
    "group_numbers": lambda df, vault, draw: numbered(df, lambda index: index // 2),
    "group_rest": lambda df, vault, draw: numbered(df, lambda index: index % 4),
    "value_counts": lambda df, vault, draw: df["key"].rename("position").value_counts().to_frame(),
    "merge": lambda df, vault, draw: df.drop(columns="tags", errors="ignore").merge(
        other_list(df, vault, draw), left_on="key", right_on="key_o"
    ),
    "merge_right": lambda df, vault, draw: df[["x"]].merge(
        other_list(df, vault, draw), left_index=True, right_index=True, how="right"
    ),
    "concat_other": lambda df, vault, draw: pd.concat([df, vault.read("other")]),
    "join_outer": lambda df, vault, draw: df.iloc[:2].join(other_list(df, vault, draw), how="outer"),
    "arithmetic": lambda df, vault, draw: (
        df[["x"]].groupby(level=0).first().iloc[:3] + vault.read("other")[["x"]]
    ),
    "reindex": lambda df, vault, draw: df[~df.index.duplicated()].iloc[:2].reindex(range(5)),
    "reindex_like": lambda df, vault, draw: df[~df.index.duplicated()].reindex(vault.read("other").index),
    "ignore_index": lambda df, vault, draw: pd.concat([df.iloc[::-1], df], ignore_index=True),
    "crossed": lambda df, vault, draw: df[["id", "x"]].merge(vault.read("other")[["key"]], how="cross"),
    "describe": lambda df, vault, draw: df[["x"]].describe(),
    "transpose": lambda df, vault, draw: df[["x"]].T.rename(columns=str),
    "shifted": lambda df, vault, draw: df.set_index(np.arange(len(df))),
}


#: Names of indexes that the list has: texts; numbers that those of groups are among, too; times.
LABELS: dict[str, Any] = {
    "doc": lambda number: f"doc{number}",
    "number": lambda number: number,
    "day": lambda number: pd.Timestamp(f"2026-01-0{number + 1}"),
    "serial": lambda number: number * 2 % 9 + 1,  # in order: set_index makes a range of such numbers
}


def fresh_vault(folder: str, index: str | None) -> tv.Vault:
    vault = tv.connect(Path(folder) / "v", durability="fast")
    articles = source("articles", 9)
    if index is not None:
        articles = articles.set_axis(pd.Index([LABELS[index](row * 5 % 9) for row in range(9)], name=index))
    vault.save("articles", articles)
    vault.save("other", source("other", 7))
    return vault


def storable(df: pd.DataFrame) -> pd.DataFrame:
    """Without what a random chain may leave that no list can hold."""
    return df.loc[:, ~df.columns.duplicated()]


@settings(max_examples=times(25, ordinary=12), suppress_health_check=list(HealthCheck))
@given(st.data(), st.lists(st.sampled_from(sorted(KEEP)), max_size=5), st.sampled_from([None, *LABELS]))
def test_chains_that_keep_rows_keep_lineage(data, names, index):
    """After any chain of these, the parents are exactly the rows that the hidden ids name."""
    with tempfile.TemporaryDirectory() as folder, fresh_vault(folder, index) as vault:
        df = vault.read("articles")
        for name in names:
            df = KEEP[name](df, vault, data.draw)
        df.vault.save("answers")
        assert parents(vault, "answers") == [{each} for each in df["id"]]
        lines = vault.lineage("answers")
        assert (lines["basis"] == "inferred").all()
        assert (lines["parent_version"] == 1).all()
        back = vault.read("answers")
        assert back["id"].tolist() == df["id"].tolist()


@pytest.mark.filterwarnings("ignore:.*no known parents:UserWarning")
@settings(max_examples=times(30, ordinary=15), suppress_health_check=list(HealthCheck))
@given(
    st.data(),
    st.lists(st.sampled_from(sorted(KEEP)), max_size=3),
    st.sampled_from(sorted(LOSE)),
    st.sampled_from([None, *LABELS]),
)
def test_chains_that_lose_rows_never_name_a_wrong_one(data, before, lose, index):
    """Where the index no longer names rows there is the whole list or nothing, and never a row it did not come from."""
    with tempfile.TemporaryDirectory() as folder, fresh_vault(folder, index) as vault:
        df = vault.read("articles")
        for name in before:
            df = KEEP[name](df, vault, data.draw)
        df = storable(LOSE[lose](df, vault, data.draw))
        df.vault.save("answers")
        ids = next((df[column].tolist() for column in ("ids", "id") if column in df), [None] * len(df))
        for row, found in enumerate(parents(vault, "answers")):
            allowed = {"articles:*", "other:*"}
            known = ids[row] if isinstance(ids[row], str) else None
            if known is None and lose in (
                "arithmetic",
                "reindex",
                "join_outer",
                "merge_right",
                "reindex_like",
            ):
                # labels say which row, even where its id was not carried along: only rows that were there count
                allowed |= (
                    {f"articles:{each}" for each in range(9)} if not pd.isna(df.iloc[row]).all() else set()
                )
            assert found <= allowed | set((known or "").split("|"))


SLICES = {
    "head": lambda df: df.head(4),
    "tail": lambda df: df.tail(5),
    "iloc": lambda df: df.iloc[1:6],
    "loc": lambda df: df.loc[df.index[0] : df.index[-1]] if len(df) else df,
    "step": lambda df: df.iloc[::2],
    "turned": lambda df: df.iloc[::-1],
    "copy": lambda df: df.copy(),
    "columns": lambda df: df[["id", "x"]],
    "set": lambda df: IN_PLACE["set_column"](df, None, None),
}


@settings(max_examples=times(20, ordinary=10), suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(sorted(SLICES)), max_size=4),
    st.sampled_from(["read", "filtered", *LABELS]),
    st.sampled_from(["assign", "set"]),
)
def test_slices_keep_their_rows_whatever_is_overwritten(names, index, how):
    """``df.iloc[:1].assign(n=6)`` of a list with the column n alone: the labels are those that were read."""
    with (
        tempfile.TemporaryDirectory() as folder,
        fresh_vault(folder, index if index in LABELS else None) as vault,
    ):
        df = vault.read("articles", filters="x != 3" if index == "filtered" else None)
        for name in names:
            df = SLICES[name](df)
        ids = df["id"].tolist()
        other = dict.fromkeys(df.columns, 0)
        df = df.assign(**other) if how == "assign" or not PANDAS_3 else df
        for label in other:
            df[label] = 0
        df.vault.save("answers")
        found = parents(vault, "answers")
        if isinstance(df.index, pd.RangeIndex) and len(df) < 9:  # the numbers of a range prove nothing
            assert all(each <= {row, "articles:*"} for each, row in zip(found, ids, strict=True))
        else:
            assert found == [{row} for row in ids]


def test_numbers_of_groups_are_no_labels_of_a_list_that_has_such(vault):
    numbers = pd.Index([1, 0, 2, 3, 5, 4, 6, 7, 8], name="number")
    vault.save("articles", source("articles", 9).set_axis(numbers))
    df = vault.read("articles")
    for part in (df, df.head(6), df.iloc[::2]):
        for number in (part.index // 2, part.index % 3, abs(part.index - 4)):
            part[["x"]].groupby(number).sum().vault.save("sums")
            assert set.union(*parents(vault, "sums")) == {"articles:*"}
    alone = df[["x"]].iloc[[0]].assign(x=6.0)
    for mapped in (
        df[["x"]].iloc[:1].assign(x=6.0),
        vault.read("articles", refs=True)[["x", "ref"]].iloc[:1].assign(x=5.0),
    ):
        vault.map("mapped", lambda row: {"m": row.x}, mapped, version="1")
        assert parents(vault, "mapped")[-1] == {"articles:0"}
    with pytest.raises(
        InvalidInput, match="refs=True"
    ):  # labels in memory of their own may be numbers of groups
        vault.map("mapped", lambda row: {"m": row.x}, alone, version="1")


REFS = {
    **{
        name: KEEP[name]
        for name in ("mask", "sort", "assign", "sample", "explode", "concat", "head", "iloc", "pickle")
    },
    "reset_index": lambda df, vault, draw: df.reset_index(drop=True),
    "merge": lambda df, vault, draw: (
        df.merge(other_refs(vault), on="key", how=draw(st.sampled_from(["inner", "left", "right", "outer"])))
        if "ref_o" not in df
        else df
    ),
    "merge_other_side": lambda df, vault, draw: (
        other_refs(vault).merge(df, on="key", how="left") if "ref_o" not in df else df
    ),
    "concat_other": lambda df, vault, draw: pd.concat(
        [df, vault.read("other", refs=True)], ignore_index=True
    ),
    "melt": lambda df, vault, draw: (
        df.melt(id_vars=[c for c in df.columns if c != "y"], value_vars=["y"]).drop(
            columns=["variable", "value"]
        )
        if "y" in df
        else df
    ),
    "drop_duplicates": lambda df, vault, draw: df.drop_duplicates("ref"),
    "first": lambda df, vault, draw: df.groupby("key", as_index=False).first(),
    "by_ref": lambda df, vault, draw: df.groupby("ref", as_index=False).first(),
}


def other_refs(vault: tv.Vault) -> pd.DataFrame:
    return vault.read("other", columns=["id", "key"], refs="ref_o").rename(columns={"id": "id_o"})


@settings(max_examples=times(30, ordinary=15), suppress_health_check=list(HealthCheck))
@given(st.data(), st.lists(st.sampled_from(sorted(REFS)), max_size=5))
def test_references_survive_what_pandas_does(data, names):
    with tempfile.TemporaryDirectory() as folder, fresh_vault(folder, None) as vault:
        df = vault.read("articles", refs=True)
        for name in names:
            df = REFS[name](df, vault, data.draw)
        expected = [
            {each for each in cells if isinstance(each, str)}
            for cells in zip(*(df[c] for c in ("id", "id_o") if c in df), strict=True)
        ]
        seen = [
            {f"{each.list}:{each.position}" for each in cells if isinstance(each, Ref)}
            for cells in zip(*(df[c] for c in ("ref", "ref_o") if c in df), strict=True)
        ]
        assert seen == expected
        assert isinstance(df["ref"].dtype, RefDtype)
        df.vault.save("answers")
        assert parents(vault, "answers") == expected
        assert (vault.lineage("answers")["basis"] == "stated").all()
        assert not {"ref", "ref_o"} & set(vault["answers"].columns)


def test_numbers_of_groups_name_no_rows(vault):
    """``df.index // 2`` is called like the index it was made from, and counts from 0 as positions do."""
    vault.save("articles", source("articles", 9))
    df = vault.read("articles")
    df[["x"]].groupby(df.index // 2).sum().vault.save("sums")
    assert parents(vault, "sums") == [{"articles:*"}] * 5
    df.groupby(df.index % 3).last().vault.save("last")
    assert parents(vault, "last") == [{"articles:*"}] * 3
    df.assign(x=-df["x"])[["x"]].vault.save("all")  # every row is there: nothing to doubt
    assert parents(vault, "all") == [{f"articles:{row}"} for row in range(9)]
    df.head(3).assign(x=-1.0).vault.save("head")  # other columns are as they were
    assert parents(vault, "head") == [{f"articles:{row}"} for row in range(3)]


def test_references_through_parquet(vault, tmp_path):
    vault.save("articles", source("articles", 5))
    df = vault.read("articles", refs=True)[["id", "ref"]].iloc[[3, 1]]
    df.to_parquet(tmp_path / "x.parquet")
    back = pd.read_parquet(tmp_path / "x.parquet")
    assert isinstance(back["ref"].dtype, RefDtype)
    assert (back["ref"] == df["ref"]).all()
    assert back["ref"].astype(str).tolist() == ["articles[3]", "articles[1]"]
    vault.save("answers", back)
    assert parents(vault, "answers") == [{"articles:3"}, {"articles:1"}]


def test_lists_of_references_mean_several_parents(vault):
    vault.save("articles", source("articles", 6))
    hits = vault.read("articles", refs=True)
    hits.groupby("key", as_index=False).agg(n=("x", "size"), ref=("ref", list)).vault.save("answers")
    assert parents(vault, "answers") == [
        {"articles:0", "articles:3"},
        {"articles:1", "articles:4"},
        {"articles:2", "articles:5"},
    ]
    assert vault["answers"].columns == ["key", "n"]


def test_references_in_the_index(vault):
    vault.save("articles", source("articles", 4))
    vault.read("articles", refs=True).iloc[[2, 0]].groupby("ref")[["x"]].sum().vault.save("answers")
    assert sorted(parents(vault, "answers"), key=str) == [{"articles:0"}, {"articles:2"}]


# -- stated


def five(vault):
    vault.save("articles", source("articles", 5))
    return pd.DataFrame({"n": [1, 2, 3]})


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("articles", [{"articles:*"}] * 3),
        ({"articles": [4, 0, 2]}, [{"articles:4"}, {"articles:0"}, {"articles:2"}]),
        ({"articles": np.array([1, 1, 1])}, [{"articles:1"}] * 3),
        (
            {"articles": pd.Series([4, 0, 2], index=[2, 1, 0])},
            [{"articles:4"}, {"articles:0"}, {"articles:2"}],
        ),
        ({"articles": pd.array([4, None, 2], dtype="Int64")}, [{"articles:4"}, set(), {"articles:2"}]),
        ({"articles": [[0, 1], [], [3]]}, [{"articles:0", "articles:1"}, set(), {"articles:3"}]),
        ({"articles": slice(1, 3)}, [{"articles:1", "articles:2"}] * 3),
        ({"articles": slice(3, None)}, [{"articles:3", "articles:4"}] * 3),
        ({"articles@1": 3}, [{"articles:3"}] * 3),
        (
            [{"articles": [0, 1, 2]}, {"articles": [1, 1, 1]}],
            [{"articles:0", "articles:1"}, {"articles:1"}, {"articles:2", "articles:1"}],
        ),
        (False, [set()] * 3),
    ],
)
def test_stated_forms(vault, inputs, expected):
    five(vault).vault.save("answers", inputs=inputs)
    assert parents(vault, "answers") == expected
    assert (vault.lineage("answers")["basis"] == "stated").all()


def test_stated_frames(vault):
    rows = five(vault)
    articles = vault.read("articles")
    rows.vault.save("same", inputs=tv.rows(articles.iloc[[4, 1, 3]]))
    assert parents(vault, "same") == [{"articles:4"}, {"articles:1"}, {"articles:3"}]
    rows.vault.save("every", inputs=articles.iloc[[4, 1, 3]])  # as long by accident
    assert parents(vault, "every") == [{"articles:4", "articles:1", "articles:3"}] * 3
    rows.vault.save("all", inputs=articles.iloc[[4, 1]])
    assert parents(vault, "all") == [{"articles:4", "articles:1"}] * 3
    rows.vault.save("grouped", inputs=articles.groupby("key").sum(numeric_only=True))
    assert parents(vault, "grouped") == [{"articles:*"}] * 3
    rows.vault.save("list", inputs=vault["articles"])
    assert parents(vault, "list") == [{"articles:*"}] * 3
    with pytest.raises(InvalidInput, match="not read from this vault"):
        rows.vault.save("none", inputs=rows)
    assert "none" not in vault


def test_a_frame_states_rows_only_where_it_says_so(vault):
    """Predictions for a test set as long as the training set: none is paired with a row it was not made from."""
    vault.save("data", source("data", 6))
    data = vault.read("data")
    train, test = data.iloc[[0, 2, 4]], data.iloc[[5, 3, 1]]
    everything = {"data:0", "data:2", "data:4"}
    test.assign(p=0.5).vault.save("marked", inputs=[test, train])
    assert parents(vault, "marked") == [{f"data:{row}"} | everything for row in (5, 3, 1)]
    made = pd.DataFrame({"p": [0.1, 0.2, 0.3]})
    made.vault.save("bare", inputs=[test, train])
    assert parents(vault, "bare") == [{f"data:{row}" for row in range(6)}] * 3
    made.vault.save("said", inputs=[tv.rows(test), train])
    assert parents(vault, "said") == [{f"data:{row}"} | everything for row in (5, 3, 1)]
    assert (vault.lineage("said")["basis"] == "stated").all()
    vault.append("said", made["p"].rename("p"), inputs=tv.rows(test["x"]))
    assert parents(vault, "said")[3:] == [{"data:5"}, {"data:3"}, {"data:1"}]


@pytest.mark.parametrize("index", [None, "doc"])
def test_indexes_that_prove_nothing(vault, index):
    frame = source("data", 4)
    vault.save("data", frame if index is None else frame.set_axis(pd.Index(list("pqrs"), name=index)))
    data = vault.read("data")
    every = [{f"data:{row}" for row in range(4)}] * 4
    proved = [{f"data:{row}"} for row in range(4)]
    names = {
        "same": (data.assign(y=1), proved),
        "plain": (frame, every),
        "renamed": (frame.set_axis(pd.Index(data.index.tolist(), name=index or "position")), every),
        "turned": (data.iloc[::-1], every),
        "twice": (data.iloc[[0, 0, 1, 1]], every),
        "unmarked": (pd.DataFrame({"y": range(4)}, index=data.index), every),  # any values under that index
    }
    for name, (saved, expected) in names.items():
        vault.save(name, saved, inputs=data)
        assert parents(vault, name) == expected, name
    repeated = data.iloc[[0, 0, 1, 1]]
    vault.save("both twice", repeated, inputs=repeated)
    assert parents(vault, "both twice") == [{"data:0", "data:1"}] * 4
    vault.save("stream", iter([data.iloc[:2], data.iloc[2:]]), inputs=data)
    assert parents(vault, "stream") == every
    vault.save("said", iter([data.iloc[:2], data.iloc[2:]]), inputs=tv.rows(data))
    assert parents(vault, "said") == proved


def test_rows_refuses_what_it_cannot_align(vault):
    rows = five(vault)
    articles = vault.read("articles")
    refused = {
        "5 rows, and 3 rows are saved": tv.rows(articles),
        "no longer says which rows": tv.rows(articles.head(3).reset_index(drop=True)),
        "not read from this vault": tv.rows(rows),
    }
    for match, inputs in refused.items():
        for given_inputs in (inputs, ["articles", inputs]):
            with pytest.raises(InvalidInput, match=match):
                rows.vault.save("answers", inputs=given_inputs)
    for wrong in ("articles", {"articles": [1]}, None):
        with pytest.raises(InvalidInput, match="DataFrame or a Series"):
            tv.rows(wrong)
    assert "answers" not in vault
    merged = vault.read("articles", refs=True).merge(pd.DataFrame({"key": [2, 1]}), on="key", how="right")
    merged[["x"]].vault.save("answers", inputs=tv.rows(merged))
    assert parents(vault, "answers") == [{"articles:2"}, {"articles:1"}, {"articles:4"}]


REPEATED = {
    "texts": pd.Index(["p", "p", "q", "q", "q"], name="doc"),
    "numbers": pd.Index([1, 1, 2, 2, 2], name="doc"),
    "times": pd.DatetimeIndex(["2026-01-01", "2026-01-01", "2026-01-02", None, None], name="day"),
    "categories": pd.CategoricalIndex(["p", "p", "q", "q", "q"], name="doc"),
    "no name": pd.Index([0, 1, 0, 1, 2]),
    "levels": pd.MultiIndex.from_arrays([list("ppqqq"), [1, 1, 1, 2, 2]], names=["doc", "part"]),
}
UNTOUCHED = {
    "read": lambda df: df,
    "assign": lambda df: df.assign(y=range(len(df))),
    "overwritten": lambda df: df.assign(**dict.fromkeys(df.columns, 0)),
    "columns": lambda df: df[["x"]],
    "series": lambda df: df["x"],
    "copy": lambda df: df.copy().rename(columns={"x": "z"}),
    "transform": lambda df: df.assign(m=df.groupby(level=0)["x"].transform("mean")),
}
TOUCHED = {
    "turned": lambda df: df.iloc[::-1],
    "sorted": lambda df: df.sort_values("x", ascending=False),
    "shuffled": lambda df: df.iloc[[1, 0, 3, 2, 4]],  # the labels are as they were
    "filtered": lambda df: df[df["x"] > 1],
    "pickled": lambda df: pickle.loads(pickle.dumps(df)),
}


@pytest.mark.parametrize("labels", REPEATED)
def test_an_untouched_read_names_rows_whatever_its_index(vault, labels):
    vault.save("chunks", pd.DataFrame({"x": [0, 1, 2, 3, 4], "w": list("abcab")}, index=REPEATED[labels]))
    reads = {
        "all": (vault.read("chunks"), range(5)),
        "some": (vault.read("chunks", start=1, stop=4, columns=["x"]), range(1, 4)),
        "filtered": (vault.read("chunks", filters=[("w", "==", "b")]), (1, 4)),
    }
    for read, (frame, rows) in reads.items():
        for name, change in UNTOUCHED.items():
            change(frame).vault.save("out")
            assert parents(vault, "out") == [{f"chunks:{row}"} for row in rows], (read, name)
    frame = vault.read("chunks")
    for name, change in TOUCHED.items():
        changed = change(frame)
        changed.vault.save("out")
        assert parents(vault, "out") == [{"chunks:*"}] * len(changed), name
    chunks = (part.assign(y=1) for part in vault["chunks"].batches(2))
    vault.save("out", chunks)
    assert parents(vault, "out") == [{f"chunks:{row}"} for row in range(5)]


def test_columns_that_were_not_read_were_not_overwritten(vault):
    """Texts that repeat, read alone, filtered and given a new column of an old name: the rows are still known."""
    chunks = pd.DataFrame(
        {"chunk": list("aabbcc"), "vec": [[float(row), 0.0] for row in range(6)], "n": range(6)}
    )
    vault.save("chunks", chunks)
    some = vault.read("chunks", columns=["chunk"]).iloc[[0, 3, 4]]
    some.assign(vec=[[1.0, 1.0]] * 3).vault.save("vectors")
    assert parents(vault, "vectors") == [{"chunks:0"}, {"chunks:3"}, {"chunks:4"}]
    some.assign(n=0, chunk="?").vault.save("overwritten")
    assert parents(vault, "overwritten") == [{"chunks:*"}] * 3
    both = vault.read("chunks", columns=["chunk", "n"]).iloc[[0, 3, 4]]
    both.assign(n=0, vec=1.0).vault.save("numbers")  # what was read was overwritten, and the rest repeats
    assert parents(vault, "numbers") == [{"chunks:*"}] * 3


def test_a_column_of_the_saved_frame_holds_positions(vault):
    five(vault)
    pd.DataFrame({"n": [1, 2], "src": [4, 0]}).vault.save("one", inputs={"articles": "src"})
    assert parents(vault, "one") == [{"articles:4"}, {"articles:0"}]
    assert "src" in vault["one"].columns
    pd.DataFrame({"src": [[4, 0], None]}).vault.save("several", inputs={"articles": "src"})
    assert parents(vault, "several") == [{"articles:4", "articles:0"}, set()]
    frame = pd.DataFrame({"src": [3.0, np.nan]}).vault.save("floats", inputs={"articles": "src"})
    assert len(frame) == 2
    assert parents(vault, "floats") == [{"articles:3"}, set()]
    vault.save("rows", [{"src": 1}, {"src": 2}], inputs={"articles": "src"})
    assert parents(vault, "rows") == [{"articles:1"}, {"articles:2"}]


@pytest.mark.parametrize(
    ("inputs", "error", "match"),
    [
        ("artcles", ListNotFound, "articles"),
        ({"artcles": [0, 1, 2]}, ListNotFound, "articles"),
        ({"articles": [0, 1, 5]}, InvalidInput, "position 5"),
        ({"articles": [0, 1, -1]}, InvalidInput, "position -1"),
        ({"articles": [0, 1]}, InvalidInput, "2 positions for 3 saved rows"),
        ({"articles": [0.5, 1, 2]}, InvalidInput, "whole numbers"),
        ({"articles": ["a", "b", "c"]}, InvalidInput, "whole numbers"),
        ({"articles": [True, False, True]}, InvalidInput, "whole numbers"),
        ({"articles": "source"}, InvalidInput, "does not have"),
        ({"articles": slice(2, 9)}, InvalidInput, "does not lie within"),
        ({"articles": slice(0, 4, 2)}, InvalidInput, "no step"),
        ({"articles": None}, InvalidInput, "whole list"),
        ([3], InvalidInput, "names no parents"),
        (3, InvalidInput, "names no parents"),
        ("gone", ListDeleted, "gone"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(vault, inputs, error, match):
    rows = five(vault)
    vault.save("gone", [{"a": 1}])
    vault.delete("gone")
    with pytest.raises(error, match=match):
        rows.vault.save("answers", inputs=inputs)
    assert "answers" not in vault
    assert vault.check().empty


def test_streams_infer_chunk_by_chunk(vault):
    vault.save("articles", source("articles", 10))
    chunks = (part.assign(y=1) for part in vault["articles"].batches(3))
    vault.save("copy", chunks)
    assert parents(vault, "copy") == [{f"articles:{row}"} for row in range(10)]
    assert len(vault.store.edges_of_batch(vault.store.head("copy"))) == 1
    vault.save("again", vault["articles"])
    assert parents(vault, "again") == [{f"articles:{row}"} for row in range(10)]
    vault.save("mixed", iter([vault.read("articles", start=8), pd.DataFrame({"id": ["?"]})]))
    assert parents(vault, "mixed") == [{"articles:8"}, {"articles:9"}, set()]
    with pytest.raises(InvalidInput, match="2 positions for 3"):
        vault.save(
            "wrong",
            iter([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2, 3]})]),
            inputs={"articles": [0, 1]},
        )
    assert "wrong" not in vault


# -- versions


def test_edges_point_at_what_was_read(vault):
    vault.save("articles", source("articles", 4))
    old = vault.read("articles")
    vault.save("articles", source("articles", 4).iloc[::-1])
    old.iloc[[1]].vault.save("answers")
    line = vault.lineage("answers", read=True).iloc[0]
    assert (line["parent_version"], line["parent_position"], line["id"]) == (1, 1, "articles:1")
    vault.delete("articles")
    assert parents(vault, "answers") == [{"articles:1"}]
    vault.restore("articles", 1)
    down = vault.lineage("articles", rows=1, direction="down")
    assert down[["child_list", "child_position"]].to_numpy().tolist() == [["answers", 0]]


def test_restored_rows_keep_their_parents(vault):
    vault.save("articles", source("articles", 4))
    vault.read("articles").iloc[[3]].vault.save("answers")
    vault.save("answers", [{"a": 1}])
    vault.restore("answers", 1)
    vault.append("answers", vault.read("articles").iloc[[0]])
    assert parents(vault, "answers") == [{"articles:3"}, {"articles:0"}]


def test_vacuum_keeps_edges_and_walks_say_what_is_gone(vault):
    vault.save("articles", source("articles", 4))
    vault.read("articles").iloc[[2]].vault.save("answers")
    vault.save("articles", source("articles", 2, z=1))
    assert not vault.lineage("answers")["gone"].any()
    vault.vacuum(dry_run=False)
    line = vault.lineage("answers", read=True).iloc[0]
    assert line["gone"]
    assert line["parent_position"] == 2
    assert "id" not in line
    assert vault.check().empty


def test_saving_the_same_rows_again(vault):
    """Rows with other parents are a new version; rows with the same ones, or a mere round trip, are not."""
    vault.save("articles", source("articles", 4))
    assert vault.save("articles", vault.read("articles")).version == 1
    vault.read("articles")[["x"]].vault.save("answers")
    assert vault.read("articles")[["x"]].vault.save("answers").version == 1
    assert vault.save("answers", vault.read("answers")).version == 1
    vault.save("articles", source("articles", 5))
    vault.read("articles", stop=4)[["x"]].assign(x=vault.read("answers")["x"]).vault.save(
        "answers", inputs={"articles": range(4)}
    )
    assert vault["answers"].version == 2


def test_origins_of_another_vault_are_none_of_ours(vault, tmp_path):
    vault.save("articles", source("articles", 4))
    frame = vault.read("articles", refs=True)
    with tv.connect(tmp_path / "second") as second:
        second.save("articles", source("articles", 4))
        second.save("answers", frame.drop(columns="ref"))
        assert parents(second, "answers") == [set()] * 4
        with pytest.raises(InvalidInput, match="another vault"):
            second.save("more", frame)
        second.save("more", frame, inputs=False)
        with pytest.raises(InvalidInput, match="not read from the vault"):
            frame.drop(columns="ref").vault.parents()


def test_attrs_are_one_short_string_and_parquet_takes_them(vault, tmp_path):
    vault.save("articles", source("articles", 4))
    frame = vault.read("articles")
    (text,) = frame.attrs.values()
    assert type(text) is str
    assert len(text) < 100
    frame.to_parquet(tmp_path / "x.parquet")
    assert json.loads(json.dumps(frame.attrs)) == frame.attrs
    assert frame.index.name == "position"
    assert frame.reset_index().columns[0] == "position"
    frame.reset_index().vault.save("flat")
    assert vault["flat"].columns[0] == "position"
    assert type(vault.read("flat").columns[0]) is str


# -- asking


def test_asking_a_frame(vault):
    vault.save("articles", source("articles", 5))
    some = vault.read("articles").iloc[[4, 2]]
    some.assign(score=1.0).vault.save("answers")
    answers = vault.read("answers")
    up = answers.vault.parents()
    assert list(up.columns) == [
        "list", "position", "depth", "parent_list", "parent_position", "parent_version", "parent_start", "parent_stop", "basis", "session",
        "cell", "ref", "gone",
    ]  # fmt: skip
    assert up["ref"].astype(str).tolist() == ["articles[4]", "articles[2]"]
    assert some.vault.children(columns=["score", "id"])[
        ["child_list", "child_position", "score", "id"]
    ].values.tolist() == [
        ["answers", 0, 1.0, "articles:4"],
        ["answers", 1, 1.0, "articles:2"],
    ]
    assert answers.vault.origin == "answers@1"
    assert some.vault.refs.astype(str).tolist() == [
        "articles[4]",
        "articles[2]",
    ]
    assert answers["score"].vault.parents().equals(up)
    assert answers.vault.sessions()["session"].tolist() == [vault.sessions()["session"].iloc[-1]]
    assert len(answers.groupby("key").sum(numeric_only=True).vault.parents()) == 1
    assert pd.DataFrame({"a": [1]}).vault.origin is None
    with pytest.raises(InvalidInput):
        vault.lineage("answers", rows=[7])
    with pytest.raises(InvalidInput):
        vault.lineage("answers", depth=0)
    assert vault.lineage("articles").empty
    assert list(vault.lineage("articles").columns) == list(up.columns)
    assert vault.lineage("articles").dtypes.astype(str).to_dict() == up.dtypes.astype(str).to_dict()


def test_five_hops_and_to(vault):
    frame = source("a", 6)
    vault.save("a", frame)
    for before, after in zip("abcde", "bcdef", strict=True):
        vault.read(before).iloc[::-1].vault.save(after)
    lines = vault.lineage("f", rows=[0], to="a")
    assert lines[["depth", "parent_position"]].to_numpy().tolist() == [[5, 5]]
    assert vault.lineage("f")["depth"].tolist() == [1, 2, 3, 4, 5] * 6
    assert len(vault.lineage("a", direction="down", depth=2)) == 12


def test_row_by_row_appends_are_not_lost(vault):
    vault.save("articles", source("articles", 50))
    articles = vault.read("articles")
    for row in range(40):
        vault.append("answers", articles.iloc[[row * 7 % 50]])
    assert parents(vault, "answers") == [{f"articles:{row * 7 % 50}"} for row in range(40)]
    down = vault.lineage("articles", rows=7, direction="down")
    assert down["child_position"].tolist() == [1]


def test_graph(vault):
    pytest.importorskip("networkx")
    vault.save('articles <"1">', source("a", 3))
    vault.read('articles <"1">').vault.save("answers")
    vault.save("report", [{"a": 1}], inputs="answers")
    vault.save("lonely", [{"a": 1}])
    graph = vault.graph()
    assert list(graph.columns) == [
        "parent_list", "parent_version", "child_list", "child_version", "rows", "basis", "session", "cell",
    ]  # fmt: skip
    assert len(graph) == 2
    assert len(vault.graph("lonely")) == 0
    assert len(vault.graph("report")) == 2
    assert list(graph.to_networkx().edges()) == [('articles <"1">@1', "answers@1"), ("answers@1", "report@1")]
    assert "articles &lt;" in graph._repr_svg_()
    assert '<"1">' not in graph.to_svg()
    assert graph.to_mermaid().count("-->") == 2
    assert '"1"' not in graph.to_mermaid()
    events = json.loads(graph.to_openlineage())
    assert [event["outputs"][0]["name"] for event in events] == ["answers", "report"]
    assert type(graph[graph["rows"] > 1]) is pd.DataFrame


def test_stale(vault):
    vault.save("articles", source("articles", 4))
    vault.read("articles").vault.save("answers")
    assert vault.stale("answers").empty
    vault.append("articles", source("more", 1))
    assert vault.stale("answers").empty  # the rows themselves are as they were
    changed = source("articles", 4).assign(x=[0.0, 9.0, 8.0, 1.0]).iloc[:3]
    vault.save("articles", changed)
    found = vault.stale("answers")
    assert found[["position", "reason"]].to_numpy().tolist() == [
        [1, "parent"],
        [2, "parent"],
        [3, "parent"],
    ]
    assert found["of"].tolist() == ["articles@1[1]", "articles@1[2]", "articles@1[3]"]
    vault.delete("articles")
    assert set(vault.stale("answers")["reason"]) == {"parent"}


def test_stale_by_label(vault):
    keyed = pd.DataFrame({"x": [1, 2, 3]}, index=pd.Index(["p", "q", "r"], name="doc"))
    vault.save("articles", keyed)
    vault.read("articles").vault.save("answers")
    vault.save("articles", pd.DataFrame({"x": [5, 1]}, index=pd.Index(["q", "p"], name="doc")))
    found = vault.stale("answers")
    assert found[["position", "reason"]].to_numpy().tolist() == [[1, "parent"], [2, "parent"]]


def test_sessions_say_what_they_read(here):
    with tv.connect(here / "v", session="first") as vault:
        vault.save("articles", source("articles", 3))
    with tv.connect(here / "v", session="second") as vault:
        vault.read("articles")
        vault.read("articles")
        vault.save("answers", [{"a": 1}])
        assert vault.sessions()["reads"].tolist() == [[], ["articles@1"]]
        vault.read("answers")
    with tv.connect(here / "v", mode="r") as vault:
        vault.read("articles")
        assert vault.sessions()["reads"].tolist() == [[], ["articles@1", "answers@1"]]


def test_an_answer_of_search_without_its_references_comes_from_the_lists_found(vault):
    vault.save("articles", pd.DataFrame({"text": ["a storm", "the sun"]}))
    vault.save("others", pd.DataFrame({"note": ["rain"]}))
    with vault.session("answering"):
        hits = vault.search("storm", columns=["text"])
        with pytest.warns(UserWarning, match="keep the column 'ref' of a search"):
            vault.save("bare", hits[["text"]])
        vault.save("whole", hits[["ref", "text"]])
        vault.save("said", hits[["text"]], inputs=tv.rows(hits))
    for name, basis, expected in [
        ("bare", "read", [["articles", None, "read"]]),
        ("whole", "stated", [["articles", 0, "stated"]]),
        ("said", "stated", [["articles", 0, "stated"]]),
    ]:
        parents = vault.lineage(name, basis=basis)[["parent_list", "parent_position", "basis"]].astype(object)
        assert parents.where(parents.notna(), None).to_numpy().tolist() == expected
    assert vault.run("answering").read()["list"].tolist() == ["articles"]


# -- packing


@given(st.lists(st.integers(-(2**61), 2**61), max_size=50) | st.lists(st.integers(0, 300), max_size=300))
def test_packed_numbers_come_back(values):
    assert unpack(pack(np.array(values, np.int64)), "a list").tolist() == values


def test_damage_to_packed_numbers_is_seen():
    data = bytearray(pack(np.arange(100) ** 2))
    data[-1] ^= 1
    with pytest.raises(VaultCorrupt, match="articles"):
        unpack(bytes(data), "articles")


def test_check_finds_damaged_edges(here):
    with tv.connect(here / "v") as vault:
        vault.save("articles", source("articles", 40))
        vault.save(
            "answers", source("answers", 40), inputs={"articles": np.random.default_rng(0).permutation(40)}
        )
        vault.save("others", [{"a": 1}], inputs={"articles": 3})
        assert vault.check().empty

        def damage(db):
            db.execute(
                "UPDATE edges SET parents = substr(parents, 1, length(parents) - 1) WHERE parents IS NOT NULL"
            )
            db.execute("UPDATE edges SET parent = 99 WHERE parents IS NULL")

        vault.store.catalog.write(damage)
        found = vault.check()
        assert found[["what", "list"]].to_numpy().tolist() == [
            ["damaged edge", "answers"],
            ["damaged edge", "others"],
        ]
        with pytest.raises(VaultCorrupt, match="lineage"):
            vault.lineage("answers")


def test_rows_of_code_that_has_changed_are_stale(tmp_path):
    """The same script, run, run again as it was, and run again after an edit."""
    script = tmp_path / "train.py"
    source = "import pandas as pd, tablevault_pd as tv\nvault = tv.connect('v')\nrate = {rate}\nvault.save({name!r}, {{'rate': rate}})\n"

    def run(name: str, rate: float) -> None:
        script.write_text(
            source.format(name=name, rate=rate).replace(repr(name), "__import__('sys').argv[1]")
        )
        subprocess.run([sys.executable, script, name], cwd=tmp_path, check=True, timeout=60)

    run("first", 0.1)
    run("again", 0.1)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert vault.stale("first").empty
    run("edited", 0.2)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert vault.stale("first")[["list", "position", "reason"]].to_numpy().tolist() == [
            ["first", 0, "code"]
        ]
        assert vault.stale("again")["reason"].tolist() == ["code"]
        assert vault.stale("edited").empty


# ---------------------------------------------------------------- rows far apart


@settings(max_examples=times(30, ordinary=15))
@given(st.lists(st.integers(1, 50), min_size=2, max_size=60), st.integers(1, 20))
def test_few_runs_take_in_as_little_more_as_possible(ends: list[int], most: int) -> None:
    edges = np.cumsum(ends)[: len(ends) // 2 * 2].tolist()
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    found = few_spans(spans, most)
    assert len(found) == min(most, len(spans))
    covered = {position for low, high in found for position in range(low, high)}
    asked = {position for low, high in spans for position in range(low, high)}
    assert asked <= covered
    assert sum(high - low for low, high in found) == len(covered)
    gaps = sorted(after[0] - before[1] for before, after in pairwise(spans))
    assert len(covered - asked) == sum(gaps[: len(spans) - len(found)])


def test_rows_far_apart_are_read_and_recognised(folder_vault: tv.Vault) -> None:
    folder_vault.save("long", pd.DataFrame({"n": np.arange(120_000), "half": np.arange(120_000) // 2}))
    far = folder_vault.read("long").iloc[
        ::5000
    ]  # in order, and fewer than were read: they could be numbers of groups
    assert [ref.position for ref in far.vault.refs] == list(range(0, 120_000, 5000))
    folder_vault.save("few", far.assign(half=0)[::-1])
    lines = folder_vault.lineage("few", read=True)
    assert lines["n"].tolist() == lines["parent_position"].tolist() == list(range(115_000, -1, -5000))
    assert far.assign(n=0).vault.refs.isna().all()  # two rows have each `half`: it does not tell which it was
    assert [ref.position for ref in far.assign(half=0).vault.refs] == list(range(0, 120_000, 5000))


def test_children_of_a_few_rows_among_many(folder_vault: tv.Vault) -> None:
    rng = np.random.default_rng(0)
    order, some = rng.integers(0, 3000, 3000), np.unique(rng.integers(0, 3000, 900))
    folder_vault.save("a", pd.DataFrame({"n": range(3000)}))
    folder_vault.save("b", pd.DataFrame({"n": range(3000)}), inputs={"a": order})
    folder_vault.save("c", pd.DataFrame({"n": range(3)}), inputs=folder_vault.read("a").iloc[some])
    for rows in ([0], [1, 2, 2999], [int(some[0]), int(order[7])], list(range(100, 160))):
        for name, size in (("b", 3000), ("c", 3)):
            lines = folder_vault.lineage("a", rows=rows, direction="down", to=name)
            got = sorted(zip(lines["position"].tolist(), lines["child_position"].tolist(), strict=True))
            parents = [[parent] for parent in order] if name == "b" else [some.tolist()] * 3
            assert got == sorted((row, at) for at in range(size) for row in rows if row in parents[at])
