"""The index of texts knows what it has, whoever empties it, and whenever: nothing committed is ever missed."""

from __future__ import annotations

import pytest
from stores import new_place, put
from test_store_search import found, scope, texts

ROWS = 300


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
    assert len(found(writer, "apple", scope(writer.head("a")))) == ROWS  # indexed
    writer.close()
    fill(place, first=ROWS, last=ROWS + 200, operation="append")
    reader = place.open(read_only=True)
    everything = scope(reader.head("a"))
    assert len(found(reader, "apple", everything)) == ROWS + 200  # the new rows in the reader's memory
    writer = place.open()
    writer.text.rebuild()  # as a vacuum does
    writer.close()
    assert len(found(reader, "apple", everything)) == ROWS + 200
    assert found(reader, "n7", everything) == [(0, 7)]
    assert found(reader, "n399", everything) == [(0, 399)]
    reader.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_an_index_that_is_emptied_while_it_is_completed_is_completed_again(place, monkeypatch, read_only):
    fill(place, first=0, last=ROWS, operation="save")
    searcher, other = place.open(read_only=read_only), place.open()
    complete, emptied = searcher.text._complete, []

    def and_then_emptied(wanted, stop=None):
        memory = complete(wanted, stop)
        if not emptied:
            emptied.append(True)
            other.text.rebuild()
        return memory

    assert len(found(other, "apple", scope(other.head("a")))) == ROWS
    monkeypatch.setattr(searcher.text, "_complete", and_then_emptied)
    assert len(found(searcher, "apple", scope(searcher.head("a")))) == ROWS
    assert emptied
    searcher.close()
    other.close()
