"""What every store holds to when it is searched: the same rows in the same order, and all that is committed."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import Place, act, new_place, put
from torture.harness import times

from tablevault_pd import frames
from tablevault_pd.search.query import parse_text
from tablevault_pd.store import Cell, Description, Hits, Scope, Session, Store, VectorQuery, Version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)


def texts(*values: Any, **more: Any) -> Any:
    frame = pd.DataFrame({"text": pd.array(values, dtype="string"), **more})
    return frames.encode(
        frame, embeddings=["vec"] if "vec" in more else None, documents=more.get("documents")
    )


def scope(version: Version | None, **options: Any) -> Scope:
    assert version is not None
    return Scope(version, **options)


def where(hits: Hits) -> list[tuple[int, int]]:
    return list(zip(hits.scope.tolist(), hits.position.tolist(), strict=True))


def found(store: Store, text: str, *scopes: Scope, k: int | None = None) -> list[tuple[int, int]]:
    return where(store.search_text(parse_text(text), scopes, k=k))


def describe(store: Store, name: str, label: str, text: str) -> None:
    head = store.head(name)
    assert head is not None
    store.describe(Description(label, text, head.list_id))


# -- text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("solar", {0, 3}),
        ("SOLAR stored", {3}),
        ("cafes", {2}),
        ("solar -desert", {0}),
        ("-solar", {1, 2}),
        ("wind OR -plants", {0, 1, 2}),
        ('"wind power"', {1}),
        ('"power wind"', set()),
        ("sto*", {0, 3}),
        ("sto* -dese*", {0}),
        ("京", {5}),
        ("\" ' \\ ) : - *", set()),
    ],
)
def test_text_is_found_as_words(store: Store, text: str, expected: set[int]) -> None:
    rows = (
        "Solar storage",
        "Wind power",
        "Café politics",
        "storing solar in the desert; plants",
        None,
        "東京都",
    )
    version = put(store, "news", texts(*rows))
    if text in ("-solar", "wind OR -plants"):
        expected = expected | {5}
    assert {position for _, position in found(store, text, scope(version))} == expected


def test_committed_rows_are_found_at_once_by_every_store(place: Place) -> None:
    with_index, other = place.open(), place.open()
    put(with_index, "a", texts("apple one", "pear"))
    assert found(with_index, "apple", scope(with_index.head("a"))) == [(0, 0)]
    for number in range(3):
        put(other, "a", texts(f"apple {number}"), operation="append")
        for each in (with_index, other):
            hits = found(each, "apple", scope(each.head("a")))
            assert sorted(position for _, position in hits) == [0, *range(2, 3 + number)]
    with_index.close()
    other.close()


def test_versions_and_restores_show_their_own_rows(store: Store) -> None:
    first = put(store, "a", texts("apple one", "pear"))
    second = put(store, "a", texts("apple two"), operation="append")
    third = put(store, "a", texts("plum"))
    restored = act(store, "a", "restore", target=1)
    last = put(store, "a", texts("apple three"), operation="append")
    shown = {
        version.version: sorted(position for _, position in found(store, "apple", scope(version)))
        for version in (first, second, third, restored, last)
    }
    assert shown == {1: [0], 2: [0, 2], 3: [], 4: [0], 5: [0, 2]}
    both = found(store, "apple", scope(second), scope(last))
    assert sorted(both) == [(0, 0), (0, 2), (1, 0), (1, 2)]


def test_only_kept_rows_and_wanted_items_are_found(store: Store) -> None:
    frame = pd.DataFrame({"title": ["apple", "pear"], "body": ["pear", "apple"]})
    version = put(store, "d", frames.encode(frame, documents=["body"]))
    assert sorted(found(store, "apple", scope(version, documents=("body",)))) == [(0, 0), (0, 1)]
    assert found(store, "apple", scope(version)) == [(0, 0)]
    assert found(store, "apple", scope(version, documents=("body",), record=False)) == [(0, 1)]
    hits = store.search_text(parse_text("apple"), [scope(version, documents=("body",), record=False)])
    assert hits.item.tolist() == [0]
    keep = np.array([False, True])
    assert found(store, "apple", scope(version, documents=("body",), keep=keep), k=1) == [(0, 1)]


def test_lists_that_are_not_searched_stay_out(store: Store) -> None:
    put(store, "blue", texts("pear"))
    put(store, "red", texts("x", "x", "x", "apple", "apple"))
    version = put(store, "blue", texts("pear", "pear", "pear", "pear", "pear"), operation="append")
    assert len(found(store, "apple", scope(store.head("red")))) == 2
    assert found(store, "apple", scope(version)) == []
    assert len(found(store, "-plum", scope(version))) == version.total


def test_columns_that_come_later_are_searched(store: Store) -> None:
    put(store, "a", texts("apple"))
    wider = frames.encode(pd.DataFrame({"text": ["pear"], "more": ["apple"]}))
    version = put(store, "a", wider, operation="append")
    assert sorted(found(store, "apple", scope(version))) == [(0, 0), (0, 1)]


# -- vectors


def test_the_nearest_come_first(store: Store) -> None:
    rows = frames.encode(
        pd.DataFrame({"vec": [[1.0, 0.0], None, [float("nan"), 1.0], [0.0, 0.0], [0.6, 0.8]]}),
        embeddings=["vec"],
    )
    version = put(store, "v", rows)
    near = [VectorQuery(0, "vec", np.array([[1.0, 0.0], [0.0, 1.0]]))]
    first, second = store.search_vectors(near, [scope(version)], metric="cosine")
    assert (where(first), first.score.tolist()) == ([(0, 0), (0, 4)], pytest.approx([1.0, 0.6]))
    assert (where(second), second.score.tolist()) == ([(0, 4), (0, 0)], pytest.approx([0.8, 0.0]))
    [nearest, _] = store.search_vectors(near, [scope(version)], metric="l2", k=1)
    assert where(nearest)[0] == (0, 0)
    keep = np.array([False, False, False, True, True])
    [kept, _] = store.search_vectors(near, [scope(version, keep=keep)], metric="dot", k=1)
    assert where(kept)[0] == (0, 4)


def test_vectors_of_several_lists_and_of_later_rows(store: Store) -> None:
    def rows(*vectors: list[float]) -> Any:
        frame = pd.DataFrame({"a": list(vectors), "b": [vector[::-1] for vector in vectors]})
        return frames.encode(frame, embeddings=["a", "b"])

    def asked() -> list[tuple[int, int]]:
        scopes = [scope(store.head("one")), scope(store.head("two"))]
        near = [VectorQuery(number, field, np.array([[1.0, 0.0]])) for number in (0, 1) for field in "ab"]
        [hits] = store.search_vectors(near, scopes, metric="cosine")
        return where(hits)

    put(store, "one", rows([1.0, 0.0], [1.0, 1.0]))
    put(store, "two", rows([0.0, 1.0]))
    assert asked() == [(0, 0), (1, 0), (0, 1)]
    put(store, "two", rows([0.9, 0.1]), operation="append")
    act(store, "one", "restore", target=1)
    put(store, "one", rows([1.0, 0.0]), operation="append")
    assert asked() == [(0, 0), (0, 2), (1, 0), (1, 1), (0, 1)]


# -- code, descriptions, who wrote what


def a_session(store: Store, name: str = "run") -> int:
    return store.open_session(Session(name, "me", "here", os.getpid(), NOW)).id


def test_code_is_found_by_identifier_and_part(store: Store) -> None:
    first, second = a_session(store), a_session(store)
    for session, number, text in (
        (first, 1, "model.fit(few_shot)"),
        (first, 2, "x = zeroShot(lr=0.1)"),
        (second, 1, "model.fit(few_shot)"),
    ):
        store.put_cell(Cell(session, number, text, NOW))

    def cells(code: str) -> list[list[int]]:
        return store.search_code(parse_text(code, code=True)).tolist()

    assert cells("few_shot") == cells("fewshot") == cells("model.fit") == [[first, 1], [second, 1]]
    assert cells("shot") == [[first, 1], [first, 2], [second, 1]]
    assert cells("shot -few") == cells("lr=0.1") == cells('"eroSh"') == [[first, 2]]
    assert cells("ero") == []
    store.put_cell(Cell(second, 1, "pass", NOW))
    assert cells("few_shot") == [[first, 1]]
    assert cells("pass") == [[second, 1]]
    assert cells("-pass") == [[first, 1], [first, 2]]


def test_only_the_newest_descriptions_are_found(store: Store) -> None:
    put(store, "a", texts("x"))
    describe(store, "a", "main", "Solar storages")
    describe(store, "a", "other", "wind")
    assert [each.label for each in store.search_descriptions(parse_text("storage"))] == ["main"]
    describe(store, "a", "main", "wind too")
    assert store.search_descriptions(parse_text("storage")) == []
    told = store.search_descriptions(parse_text("wind"))
    assert told == [each for each in store.descriptions() if "wind" in each.text]
    assert {each.label for each in told} == {"main", "other"}


def test_who_wrote_which_rows(store: Store) -> None:
    session = a_session(store)
    first = put(store, "a", texts("1", "2"), session_id=session, cell=3)
    second = put(store, "a", texts("3"), operation="append")
    restored = act(store, "a", "restore", target=1)
    last = put(store, "a", texts("4"), operation="append", session_id=session)
    spans = store.spans_written([last, second, first])
    lines = list(
        zip(*(getattr(spans, name).tolist() for name in ("scope", "start", "stop", "session_id", "cell")), strict=True)
    )  # fmt: skip
    assert lines == [
        (0, 0, 2, session, 3), (0, 2, 3, session, -1), (1, 0, 2, session, 3), (1, 2, 3, -1, -1), (2, 0, 2, session, 3),
    ]  # fmt: skip
    times = [
        np.datetime64(each.time.replace(tzinfo=None), "us") for each in (first, last, first, second, first)
    ]
    assert spans.time.tolist() == [each.astype(object) for each in times]
    assert restored.total == 2
    assert len(store.spans_written([]).scope) == 0
    later = put(
        store, "a", texts("5", "6"), operation="append", cell=4
    )  # who comes after a look at the list is seen, too
    spans = store.spans_written([later])
    written = zip(
        *(getattr(spans, name).tolist() for name in ("start", "stop", "session_id", "cell")), strict=True
    )
    assert list(written) == [(0, 2, session, 3), (2, 3, session, -1), (3, 5, -1, 4)]


# -- the same in both

WORDS = st.sampled_from(["lamp", "lamps", "fox", "foxes", "zinc", "Zinç", "moon"])
ROWS = st.lists(st.one_of(st.none(), st.lists(WORDS, max_size=5).map(" ".join)), min_size=1, max_size=5)
QUERIES = st.sampled_from(
    ["lamp", "fox moon", "fox OR zinc", '"lamp fox"', "la* -moon", "mo* OR fox", "zinc -lamp", "-fox"]
)


@pytest.mark.arango
@given(
    st.lists(st.tuples(st.sampled_from(["one", "two"]), ROWS), min_size=1, max_size=5),
    st.lists(QUERIES, max_size=4),
)
@settings(
    max_examples=times(6)
)  # fmt: skip
def test_both_stores_find_the_same_in_the_same_order(
    tmp_path: Path, steps: Any, queries: Sequence[str]
) -> None:
    with (
        new_place("embedded", tmp_path / uuid.uuid4().hex) as here,
        new_place("arango", tmp_path) as there,
    ):
        stores = here.open(), there.open()
        for name, rows in steps:
            for each in stores:
                put(each, name, texts(*rows), operation="append" if each.head(name) else "save")
                describe(each, name, "main", "a moon lamp")
        for query in queries:
            answers = []
            for each in stores:
                scopes = [scope(each.head(name)) for name in each.names()]
                hits = each.search_text(parse_text(query), scopes)
                answers.append((where(hits), hits.score.round(9).tolist()))
            assert answers[0] == answers[1]
        for each in stores:
            each.close()


# -- how many requests


@pytest.mark.arango
def test_few_requests(tmp_path: Path, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from tablevault_pd.store.arango import text_index

    monkeypatch.setattr(
        text_index, "LAG_MS", 3_600_000
    )  # on a slow machine some texts were expected in the view, and not all
    with new_place("arango", tmp_path) as place:
        writer = place.open()
        session = a_session(writer)
        for number in range(30):
            rows = texts(f"apple {number}", f"pear {number}", vec=[[1.0, float(number)], [0.0, 1.0]])
            put(writer, f"list {number}", rows, session_id=session)
            put(writer, f"list {number}", rows, operation="append")
            writer.put_cell(Cell(session, number, f"fit({number})", NOW))
        writer.close()
        store = place.open()
        scopes = [Scope(state.head) for state in store.lists()]
        store.schema(scopes[0].version.schema_id)
        near = [VectorQuery(number, "vec", np.array([[1.0, 0.0]])) for number in range(30)]

        def counted(work: Any) -> int:
            sent.clear()
            work()
            return len(sent)

        def text() -> None:
            assert len(store.search_text(parse_text("apple"), scopes)) == 60

        def negated() -> None:
            assert len(store.search_text(parse_text("-apple"), scopes)) == 60

        def vectors() -> None:
            assert len(store.search_vectors(near, scopes, metric="cosine")[0]) == 120

        def nearest() -> None:
            asked = [
                VectorQuery(each.scope, each.field, np.array([[1.0, 0.0], [0.5, 1.0], [0.0, 1.0]]))
                for each in near
            ]
            assert [len(hits) for hits in store.search_vectors(asked, scopes, metric="cosine", k=7)] == [
                7,
                7,
                7,
            ]

        def code() -> None:
            assert len(store.search_code(parse_text("fit", code=True))) == 30

        assert counted(text) == 3  # what the index is to hold, what it holds, and hits
        assert counted(text) == 2  # what it held stays there
        assert counted(negated) <= 3
        assert counted(nearest) <= 4  # batches, parts, the best, and more of them, as many are alike
        assert counted(vectors) <= 3
        assert counted(vectors) <= 1
        assert counted(code) == 1
        assert counted(lambda: store.spans_written([each.version for each in scopes])) == 1
        assert counted(lambda: store.search_descriptions(parse_text("x"))) == 1
        store.close()
