"""The index of texts knows what it has, whoever empties it, and whenever: nothing committed is ever missed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import index_texts, new_place, put
from test_store_search import found, scope, texts
from torture.harness import times

from tablevault_pd import frames
from tablevault_pd.search.query import parse_text
from tablevault_pd.store import Scope
from tablevault_pd.store.embedded import text as text_module

ROWS = 300


@pytest.fixture(autouse=True)
def _everything_waits(monkeypatch):
    monkeypatch.setattr(text_module, "IDLE_S", 600.0)  # to be indexed
    monkeypatch.setattr(text_module, "PATIENCE_S", 0.0)


@pytest.fixture
def place(tmp_path):
    with new_place("embedded", tmp_path) as place:
        yield place


def fill(place, *, first, last, operation):
    """Rows that are found by their number; the thread that would index them ends with the store."""
    store = place.open()
    put(
        store,
        "a",
        texts(*(f"apple n{number} " + "x" * 300 for number in range(first, last))),
        operation=operation,
    )
    store.close()


def test_a_reader_finds_everything_after_the_index_was_emptied(place):
    fill(place, first=0, last=ROWS, operation="save")
    writer = place.open()
    index_texts(writer)
    writer.close()
    fill(place, first=ROWS, last=ROWS + 200, operation="append")
    reader = place.open(read_only=True)
    everything = scope(reader.head("a"))
    assert len(found(reader, "apple", everything)) == ROWS + 200  # the new ones are scanned
    writer = place.open()
    writer.text.forget()  # as a vacuum does
    writer.close()
    assert len(found(reader, "apple", everything)) == ROWS + 200
    assert found(reader, "n7", everything) == [(0, 7)]
    assert found(reader, "n399", everything) == [(0, 399)]
    reader.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_an_index_that_is_emptied_during_a_search_is_not_relied_on(place, monkeypatch, read_only):
    fill(place, first=0, last=ROWS, operation="save")
    searcher, other = place.open(read_only=read_only), place.open()
    index_texts(other)
    fill(place, first=ROWS, last=ROWS + 200, operation="append")
    rows_of, emptied = searcher.text._rows_of, []

    def emptied_before(gap):
        if not emptied:
            emptied.append(True)
            other.text.forget()
        return rows_of(gap)

    monkeypatch.setattr(searcher.text, "_rows_of", emptied_before)
    assert len(found(searcher, "apple", scope(searcher.head("a")))) == ROWS + 200
    assert emptied
    searcher.close()
    other.close()


WORDS = ["sun", "suns", "wind", "winds", "Énergie", "a", "solar power", "power", "in", "中国電力"]
ROW = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
QUESTIONS = [
    "sun",
    "sun wind",
    "sun OR power -wind",
    '"solar power"',
    "wi*",
    "po* -sun",
    "-wind",
    "énergie OR a",
    "電力 OR in",
]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.lists(st.tuples(ROW, ROW), min_size=1, max_size=6)), min_size=2, max_size=5),
    st.integers(0, 5),
)  # fmt: skip
@settings(max_examples=times(60, ordinary=12))
def test_hits_and_scores_are_the_same_before_and_after_indexing(commits, indexed):
    with tempfile.TemporaryDirectory() as folder, new_place("embedded", Path(folder)) as place:
        store = place.open()
        for number, (name, rows) in enumerate(commits):
            table = frames.encode(
                pd.DataFrame(rows, columns=["text", "alone"], dtype="string"), documents=["alone"]
            )
            put(store, name, table, operation="append" if store.head(name) else "save")
            if number < indexed:
                index_texts(store)
        scopes = [Scope(state.head, ("alone",)) for state in store.lists()]
        before = [store.search_text(parse_text(question), scopes, k=None) for question in QUESTIONS]
        first = [store.search_text(parse_text(question), scopes, k=2) for question in QUESTIONS]
        index_texts(store)
        for question, scanned, best in zip(QUESTIONS, before, first, strict=True):
            by_index = store.search_text(parse_text(question), scopes, k=None)
            for column in ("scope", "position", "item", "score"):
                expected = getattr(by_index, column).tolist()
                assert getattr(scanned, column).tolist() == expected
                assert getattr(best, column).tolist()[:2] == expected[:2]
        store.close()
