"""Rows named by one row, by references, and relatives and staleness however many steps away."""

from __future__ import annotations

import pandas as pd
import pytest

import tablevault_pd as tv

LABELS = pd.Index(["doc0", "doc1", "doc2"], name="doc")


@pytest.fixture
def chain(vault: tv.Vault) -> tv.Vault:
    """docs -> chunks -> emb, row by row."""
    vault.save("docs", pd.DataFrame({"text": ["sun", "rain", "fog"], "n": [1, 2, 3]}, index=LABELS))
    vault.save("chunks", vault.read("docs").assign(chunk=lambda df: df["text"] + "!")[["chunk"]])
    vault.save("emb", vault.read("chunks").assign(size=lambda df: df["chunk"].str.len())[["size"]])
    return vault


def found(vault: tv.Vault, **options: object) -> list[tuple[str, int]]:
    answer = vault.search(**options)
    return sorted(zip(answer["list"], answer["position"], strict=True))


def test_children_and_parents_are_found_all_the_way(chain):
    docs = chain.read("docs")
    assert found(chain, children_of=docs.loc[["doc1"]]) == [("chunks", 1), ("emb", 1)]
    assert found(chain, parents_of=chain.read("emb").iloc[[2]]) == [("chunks", 2), ("docs", 2)]
    assert found(chain, children_of="docs", lists="emb") == [("emb", 0), ("emb", 1), ("emb", 2)]
    chain.save("mean", chain.read("emb").mean().to_frame().T, inputs="emb")  # a whole list on the way
    assert found(chain, parents_of="mean", lists="docs") == [("docs", 0), ("docs", 1), ("docs", 2)]
    assert found(chain, children_of=docs.loc[["doc1"]], lists="mean") == [("mean", 0)]


def test_references_name_rows(chain):
    refs = chain.read("docs", refs=True)["ref"]
    expected = [("chunks", 1), ("emb", 1)]
    for of in (refs.iloc[1], [refs.iloc[1]], refs.iloc[[1]], refs.array[[1]], pd.Index(refs.array[[1]])):
        assert found(chain, children_of=of) == expected, of
    assert found(chain, children_of=pd.Series([refs.iloc[1]], dtype=object)) == expected
    assert found(chain, children_of=[refs.iloc[1], "emb", chain.read("docs").iloc[[0]]]) == [
        ("chunks", 0), ("chunks", 1), ("emb", 0), ("emb", 1)
    ]  # fmt: skip


@pytest.mark.parametrize("option", ["children_of", "parents_of"])
def test_what_names_no_rows_is_told_by_its_own_argument(chain, option):
    for wrong in (1, 1.5, [1], {"docs": [0]}):
        with pytest.raises(tv.InvalidInput, match=f"{option}= is a frame that was read, a reference"):
            chain.search(**{option: wrong})
    with pytest.raises(
        tv.InvalidInput, match=rf"{option}='docs\[0\]' is how a reference prints.*iloc\[\[0\]\]"
    ):
        chain.search(**{option: "docs[0]"})
    with pytest.raises(tv.InvalidInput, match=f"{option}= has a frame that was not read"):
        chain.search(**{option: pd.DataFrame({"a": [1]})})
    with pytest.raises(tv.ListNotFound):
        chain.search(**{option: "dosc"})


def rows_as_series(vault: tv.Vault):
    docs = vault.read("docs")
    yield docs.loc["doc1"]
    yield docs.iloc[1]
    yield docs[["n"]].loc["doc1"]
    yield docs.assign(more=1).loc["doc1"]
    yield docs.reset_index(drop=True).loc[1]
    yield next(docs.iterrows())[1]
    yield vault.read("docs", refs=True).loc["doc1"]
    vault.save("matrix", pd.DataFrame([[1.0, 2.0], [3.0, 4.0]]))
    yield vault.read("matrix").loc[1]


def test_one_row_as_a_series_stands_for_no_list(chain):
    for row in rows_as_series(chain):
        calls = (
            lambda row=row: chain.search(children_of=row),
            lambda row=row: chain.search(parents_of=row),
            lambda row=row: row.vault.children(),
            lambda row=row: row.vault.refs,
            lambda row=row: chain.save("out", {"a": 1}, inputs=row),
            lambda row=row: chain.save("out", {"a": 1}, inputs=tv.rows(row)),
        )
        for call in calls:
            with pytest.raises(tv.InvalidInput, match=r"one row of a frame.*df\.loc\[\["):
                call()
    assert "out" not in chain


def test_columns_and_aggregates_still_name_rows_and_lists(chain):
    docs = chain.read("docs")
    assert found(chain, children_of=docs["text"].iloc[[1]]) == [("chunks", 1), ("emb", 1)]
    assert len(found(chain, children_of=docs["text"].reset_index(drop=True))) == 6
    chain.save("mean", {"n": 2.0}, inputs=docs[["n"]].mean())
    assert chain.lineage("mean", depth=1)["parent_list"].tolist() == ["docs"]


# -- staleness


def stale(vault: tv.Vault, name: str) -> list[tuple[object, ...]]:
    frame = vault.stale(name)
    frame = frame.assign(of=frame["of"].str.split("@").str[0])
    return list(frame[["position", "reason", "of", "depth"]].itertuples(index=False, name=None))


def test_rows_whose_grandparents_changed_are_stale(chain):
    docs = chain.read("docs")
    chain.save("docs", docs.assign(text=["sun", "snow", "fog"]), inputs=False)
    assert stale(chain, "chunks") == [(1, "parent", "docs", 1)]
    assert stale(chain, "emb") == [(1, "parent", "docs", 2)]
    chain.delete("docs")
    assert stale(chain, "emb") == [(row, "parent", "docs", 2) for row in range(3)]


def test_what_was_made_anew_and_came_out_the_same_makes_nothing_stale(chain):
    chain.save("docs", chain.read("docs").assign(n=[7, 2, 3]), inputs=False)  # chunks do not use n
    assert stale(chain, "emb") == [(0, "parent", "docs", 2)]
    anew = chain.read("docs").assign(chunk=lambda df: df["text"] + "!")[["chunk"]]
    chain.save("chunks", anew)
    assert stale(chain, "chunks") == [] == stale(chain, "emb")


def test_a_list_is_not_stale_because_of_its_own_earlier_rows(chain):
    chain.save("docs", chain.read("docs").assign(n=lambda df: df["n"] * 10))
    assert stale(chain, "docs") == []
    chain.save(
        "chunks", chain.read("chunks").assign(more=1)
    )  # its parents are found through its first version
    assert [row[0] for row in stale(chain, "chunks")] == [0, 1, 2]
    assert {row[2:] for row in stale(chain, "chunks")} == {("docs", 2)}


def test_whole_lists_on_the_way_are_followed(chain):
    chain.save("mean", chain.read("emb").mean().to_frame().T, inputs="emb")
    chain.save("report", {"mean": 1.0}, inputs="mean")
    assert stale(chain, "report") == []
    chain.save("docs", chain.read("docs").assign(text=["sun", "snow", "fog"]), inputs=False)
    assert set(stale(chain, "report")) == {(0, "parent", "docs", 4)}
