"""How often one search asks the store: once for the text, once for the vectors, once for who wrote the rows."""

from __future__ import annotations

import threading
from collections import Counter
from functools import wraps

import numpy as np
import pandas as pd
import pytest

from tablevault_pd.store import Store

NAMES = [name for name in dir(Store) if not name.startswith("_") and callable(getattr(Store, name))]


@pytest.fixture
def store_calls(vault, monkeypatch):
    """Counts the calls of the store's methods by this thread that do not come from the store itself."""
    calls: Counter[str] = Counter()
    inside: list[str] = []
    here = threading.get_ident()

    def counted(name, method):
        @wraps(method)
        def call(*arguments, **options):
            if inside or threading.get_ident() != here:
                return method(*arguments, **options)
            calls[name] += 1
            inside.append(name)
            try:
                return method(*arguments, **options)
            finally:
                inside.pop()

        return call

    for name in NAMES:
        monkeypatch.setattr(vault.store, name, counted(name, getattr(vault.store, name)), raising=False)
    return calls


@pytest.fixture
def world(vault):
    """Twelve lists of three rows; every other one has rows with an apple."""
    for number in range(12):
        fruit = "apple" if number % 2 else "pear"
        frame = pd.DataFrame(
            {
                "doc": [f"an {fruit} {number}", f"a second {fruit}", "a plum"],
                "n": [0, 1, 2],
                "vec": list(np.eye(3) + number),
            }
        )
        vault.save(f"list {number}", frame, documents="doc")
    run = vault.sessions()["session"].iloc[0]
    vault.describe("list 0", "about pears", vector=[1.0, 0.0])
    vault.describe(run, "a run about fruit", vector=[0.0, 1.0])
    vault.save("derived", vault.read("list 1"))
    return run


SEARCHES = {
    "text": {"text": "apple"},
    "text and filters": {"text": "apple", "filters": "n > 0", "k": 5},
    "text of a session, filtered": {"text": "apple", "filters": "n > 0", "session": "*", "k": 5},
    "near": {"near": [1.0, 0.0, 0.0], "k": 5},
    "near, filtered": {"near": [1.0, 0.0, 0.0], "filters": "n > 0", "since": "2020-01-01"},
    "text and near": {"text": "apple", "near": [1.0, 0.0, 0.0], "filters": "n > 0", "session": "*"},
    "descriptions' vectors": {"near": {"description": [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]}, "session": "*"},
    "relatives": {"text": "apple", "parents_of": "derived", "session": "*"},
    "filters alone": {"filters": "n > 0", "session": "*"},
}
ONCE = ("search_text", "spans_written", "search_descriptions", "search_code", "schemas", "lists")


@pytest.mark.parametrize("arguments", SEARCHES.values(), ids=SEARCHES)
def test_a_search_asks_the_store_once(vault, world, store_calls, arguments):
    store_calls.clear()
    answer = vault.search(**arguments)
    assert len(answer)
    assert {name: store_calls[name] for name in ONCE if store_calls[name] > 1} == {}
    assert store_calls["search_text"] == ("text" in arguments)
    assert store_calls["spans_written"] == 1
    # Filters, and then the rows of the answer; and what comes up for descriptions, per call and not per query.
    assert store_calls["scan_many"] <= 1 + ("filters" in arguments)
    assert store_calls["descriptions"] <= 2
    if store_calls["search_vectors"] > 1:  # a store that counts may look again before it fuses
        assert "text" in arguments
        assert vault.store.supports_pushdown


def test_filters_after_the_text_keep_the_scores(vault, world):
    """The text is searched before the filters: what they leave has the scores and the order it would have had alone."""
    whole = vault.search("apple OR pear")
    rows = pd.concat([vault.read(name).assign(list=name) for name in vault if name.startswith("list")])
    fits = {(name, position) for position, name in rows.query("n == 1")["list"].items()}
    kept = [
        line for line in whole.itertuples() if (line.list, line.position) in fits and line.list != "derived"
    ]
    part = vault.search("apple OR pear", filters="n == 1", lists="list *")
    assert list(zip(part["list"], part["position"], strict=True)) == [(r.list, r.position) for r in kept]
    assert part["score"].tolist() == [line.score for line in kept]
    page = vault.search("apple OR pear", filters="n == 1", lists="list *", k=3, offset=2)
    assert page[["list", "position", "score"]].equals(part[["list", "position", "score"]].iloc[2:5])


def test_a_text_without_a_hit_reads_no_row(vault, world, store_calls):
    store_calls.clear()
    assert vault.search("quince", filters="n > 0").empty
    assert store_calls["scan_many"] + store_calls["scan"] == 0


def test_columns_of_several_lists_keep_their_values(vault):
    """pandas would make floats of integers beside floats, and of integers that some lists do not have."""
    vault.append("halves", pd.DataFrame({"a": [5.5]}))
    vault.append("wholes", pd.DataFrame({"a": [2**53 + 1], "n": [2**60 + 1], "done": [True]}))
    answer = vault.search(filters="a > 3", columns=["a", "n", "done"]).set_index("list")
    assert answer["a"].to_dict() == {"halves": 5.5, "wholes": 2**53 + 1}
    assert (answer["n"].dtype, answer["done"].dtype) == ("Int64", "boolean")
    assert answer["n"].dropna().to_dict() == {"wholes": 2**60 + 1}
    assert answer["done"].dropna().to_dict() == {"wholes": True}
