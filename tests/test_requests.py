"""How many requests public calls send to a server: as many over forty lists as over five."""

from __future__ import annotations

from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from stores import database_of, new_database

import tablevault_pd as tv
from tablevault_pd.errors import VaultCorrupt

pytestmark = pytest.mark.arango
pytest.importorskip("arango")
CALLS = {
    "lists": lambda vault: vault.lists(),
    "files": lambda vault: vault.files(),
    "versions": lambda vault: vault.versions(),
    "sessions": lambda vault: vault.sessions(),
    "text": lambda vault: vault.search("apple"),
    "some of the text": lambda vault: vault.search("apple pear", match="any", k=10),
    "columns and snippets": lambda vault: vault.search("apple", k=10, columns=["vec", "doc"], snippet=True),
    "near": lambda vault: vault.search(near=[1.0, 0.5], k=10),
    "both": lambda vault: vault.search("apple", near=[1.0, 0.5], k=10, columns=["vec", "doc"]),
    "filters": lambda vault: vault.search(filters="doc == 'a pear'"),
    "as of": lambda vault: vault.search("apple", as_of=pd.Timestamp.now("UTC"), k=5),
    "pattern": lambda vault: vault.search("apple", lists="list *", k=5),
    "names": lambda vault: vault.search("apple", lists=list(vault), k=5),
    "session": lambda vault: vault.search(session="writer"),
    "children": lambda vault: vault.search(children_of="list 0"),
    "vacuum": lambda vault: vault.vacuum(),
}

FEW = ("lists", "files", "versions", "sessions", "text", "near")  #: at most eight requests each


def filled(url: str, lists: int) -> None:
    """Lists of two rows in one commit, and of four in two, each with columns of its own."""
    with tv.connect(url, create=True, capture="none", session="writer") as vault:
        for number in range(lists):
            frame = pd.DataFrame(
                {
                    "doc": [f"an apple {number}", "a pear"],
                    f"column {number}": ["x", "y"],
                    "vec": [[1.0, float(number)], [0.0, 1.0]],
                    f"vec {number}": [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]],
                    "path": [__file__, None],
                }
            )
            vault.save(f"list {number}", frame, files="path", documents="doc")
            if number % 5 == 0:
                vault.append(f"list {number}", frame, files="path", documents="doc")


@pytest.fixture
def password(monkeypatch):
    def given(url: str) -> str:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        return url

    return given


def index_lags(monkeypatch, url: str, *, lags: bool) -> None:
    """Have the search index lag behind all that was written, or not at all."""
    from tablevault_pd.store.arango import code_search, text_index

    for module in (text_index, code_search):
        monkeypatch.setattr(module, "LAG_MS", 3_600_000 if lags else 0)
    catch_up = "FOR d IN tv_search SEARCH d.text_of > '' OPTIONS {waitForSync: true} LIMIT 1 RETURN 1"
    list(database_of(url).aql.execute(catch_up))


@pytest.mark.parametrize("lags", [True, False])
def test_requests_do_not_grow_with_lists(password, sent, monkeypatch, lags):
    counts = []
    for lists in (5, 40):
        with new_database() as url:
            filled(password(url), lists)
            index_lags(monkeypatch, url, lags=lags)
            count = {}
            for name, call in CALLS.items():
                with tv.connect(url, capture="none", mode="r") as vault:  # nothing is known yet
                    sent.clear()
                    assert len(call(vault)) or name in ("children", "vacuum")
                    count[name] = len(sent)
            counts.append(count)
    assert counts[0] == counts[1]
    assert counts[1].pop("vacuum") <= 20  # it looks for strays in eight collections
    assert max(counts[1].values()) <= 12
    assert {name: counts[1][name] for name in FEW if counts[1][name] > 8} == {}


def test_requests_do_not_grow_with_rows_versions_sessions_or_hits(password, sent, monkeypatch):
    counts = []
    for versions in (2, 30):
        with new_database() as url:
            for number in range(versions // 2):
                with tv.connect(password(url), create=True, capture="none", session="writer") as vault:
                    frame = pd.DataFrame(
                        {
                            "doc": [f"an apple {row}" for row in range(10 * versions)],
                            "vec": [[1.0, float(row)] for row in range(10 * versions)],
                            "path": [__file__] * 10 * versions,
                        }
                    )
                    options = {"files": "path", "documents": "doc"}
                    (vault.append if number else vault.save)("a", frame, **options)
                    vault.append("a", frame.head(1), **options)
            index_lags(monkeypatch, url, lags=False)
            count = {}
            for name in FEW:
                with tv.connect(url, capture="none", mode="r") as vault:
                    sent.clear()
                    assert len(CALLS[name](vault))
                    count[name] = len(sent)
            counts.append(count)
    assert counts[0] == counts[1]
    assert {name: number for name, number in counts[1].items() if number > 8} == {}


def test_what_is_read_together_is_what_is_read_alone(vault):
    """Rows of many lists, scattered and repeated, with columns that others lack."""
    rng = np.random.default_rng(0)
    frames = {}
    for number in range(4):
        frame = pd.DataFrame(
            {
                "text": [f"apple {row}" for row in range(60)],
                f"n{number % 2}": range(60),
                "vec": list(rng.normal(size=(60, 3))),
            }
        )
        vault.save(f"l{number}", frame)
        vault.append(f"l{number}", frame[:7])
        vault.restore(f"l{number}", 1)
        vault.append(f"l{number}", frame[50:].reset_index(drop=True))
        frames[f"l{number}"] = pd.concat([frame, frame[50:]], ignore_index=True)
    answer = vault.search("apple", columns=["n0", "n1", "vec"])
    assert len(answer) == 4 * 70
    some = vault.search('"apple 3" OR "apple 55" OR "apple 59"', columns=["n0", "n1", "vec"])
    assert len(some) == 4 * 5
    for found in (answer, some):
        for line in found.to_dict("records"):
            row = frames[line["list"]].iloc[line["position"]]
            assert line["value"] == row["text"]
            assert line["vec"].tolist() == row["vec"].tolist()
            for name in ("n0", "n1"):
                assert line[name] == row[name] if name in row else pd.isna(line[name])


def test_the_list_that_lacks_rows_is_named(password):
    from stores import batches_of, database_of

    with new_database() as url:
        filled(password(url), 5)
        with tv.connect(url, capture="none") as vault:
            key = batches_of(database_of(url), "list 3")[0]
            database_of(url).aql.execute(
                "FOR i IN tv_payloads FILTER i.batch == @key REMOVE i IN tv_payloads",
                bind_vars={"key": key},
            )
            with pytest.raises(VaultCorrupt, match="list 3"):
                vault.search(near=[1.0, 0.5], lists=["list 1", "list 3", "list 4"], columns=["doc"])
