"""Text, code and descriptions: both stores find the same in the same order, and nothing that is not committed."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stores import BOTH, act, database_of, new_database, new_place, put
from test_store_search import NOW, a_session, describe, found, scope, texts, where
from torture.harness import times

from tablevault_pd import frames
from tablevault_pd.search.query import parse_text
from tablevault_pd.store import Cell, Scope, Store, VectorQuery

pytest.importorskip("arango")

from tablevault_pd.store.arango.layout import ANALYZER, VIEW

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WORDS = [
    "lamp", "lamps", "Lamp", "fox", "foxes", "running", "Zinç", "zinc", "東京都", "京", "日本 x", "naïve", "few_shot", "!",
    "กินข้าว", "ข้าว", "oﬃce", "ﾃｷｽﾄ", "soft\u00adware", "كِتاب",
]  # fmt: skip
TEXT = st.one_of(st.none(), st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join))
ROW = st.fixed_dictionaries({"text": TEXT, "title": TEXT, "body": TEXT})
STEP = st.tuples(
    st.sampled_from(["save", "append", "append", "delete", "restore", "describe"]),
    st.sampled_from(["one", "two"]),
    st.lists(ROW, min_size=1, max_size=4),
    st.integers(0, 3),
)
TERM = st.one_of(
    st.sampled_from(
        [*WORDS, "fo*", "lam*", "r*", "nai*", "few_s*", "ข้*", "of*", "-fox", "-zinc", "-la*", "OR", "OR"]
    ),
    st.lists(st.sampled_from(["lamp", "fox", "東", "京", "zinc"]), min_size=2, max_size=3).map(
        lambda some: f'"{" ".join(some)}"'
    ),
)
QUERY = st.lists(TERM, min_size=1, max_size=7).map(" ".join)
CODE = st.sampled_from(
    [
        "model.fitAll(few_shot)",
        "x = zeroShot(lr=0.1)",
        "class FewShot: pass",
        "fewshot",
        "naïveBayes(ÉTÉ)",
        "HTTPServer2",
    ]
)
CODE_QUERY = st.lists(
    st.sampled_from(
        ["shot", "few_shot", "few*", "model.fit", "-shot", '"lr=0"', '"ot("', '"fit all"', "OR", "http", "server2", "naïve", '"été"']
    ),
    min_size=1,
    max_size=4,
).map(" ".join)  # fmt: skip


def take(store: Store, step: tuple[str, str, list[dict[str, Any]], int], number: int) -> None:
    """One step, if the list is in a state for it."""
    operation, name, rows, target = step
    head = store.head(name)
    if operation == "describe":
        if head is not None:
            describe(store, name, f"label {target}", rows[0]["text"] or "fox")
    elif operation in ("save", "append"):
        table = frames.encode(pd.DataFrame(rows, dtype="string"), documents=["body"])
        gone = head is None or head.operation == "delete"
        put(store, name, table, operation="save" if gone else operation)
    elif head is not None and operation == "delete" and head.operation != "delete":
        act(store, name, "delete")
    elif head is not None and operation == "restore":
        act(store, name, "restore", target=1 + number % head.version)


def scopes_of(store: Store) -> list[Scope]:
    """Every list as it is, and as it was first."""
    heads = [store.head(name) for name in sorted(store.names())]
    firsts = [store.version(name, 1) for name in sorted(store.names())]
    return [scope(each, documents=("body",)) for each in [*heads, *firsts]]


def answers(store: Store, queries: Sequence[str], codes: Sequence[str]) -> list[Any]:
    said: list[Any] = []
    # A folder may leave rows that nobody has searched yet to a thread, and until then they do not count for the scores.
    store.search_text(parse_text("fox"), [scope(each, documents=("body",)) for each in store.versions()])
    for query in queries:
        for match in ("all", "any"):
            hits = store.search_text(parse_text(query, match=match), scopes_of(store))
            said.append((query, match, where(hits), hits.item.tolist(), hits.score.round(9).tolist()))
        said.append([(each.label, each.text) for each in store.search_descriptions(parse_text(query))])
    return said + [(code, store.search_code(parse_text(code, code=True)).tolist()) for code in codes]


@pytest.mark.arango
@given(
    st.lists(STEP, min_size=1, max_size=7),
    st.lists(QUERY, min_size=1, max_size=5),
    st.lists(CODE, max_size=4),
    st.lists(CODE_QUERY, max_size=3),
)
# FTS5 would rank by the word of a part that does not match.
@example(
    [("save", "one", [{"text": None, "title": None, "body": None}, {"text": "lamp lamp foxes", "title": None, "body": None}], 0)],
    ["-fox naïve lamp OR lamp"], [], [],
)  # fmt: skip
@settings(
    max_examples=times(10)
)  # fmt: skip
def test_both_stores_find_the_same(
    tmp_path: Path, steps: Any, queries: list[str], cells: list[str], codes: list[str]
) -> None:
    said = []
    for kind in ("embedded", "arango"):
        with new_place(kind, tmp_path / uuid.uuid4().hex) as place:
            store = place.open()
            session = a_session(store)
            for number, step in enumerate(steps):
                take(store, step, number)
            for number, text in enumerate(cells):
                store.put_cell(Cell(session, number, text, NOW))
            said.append(answers(store, queries, codes))
            assert store.check() == []
            store.close()
    assert said[0] == said[1]


@pytest.fixture(params=BOTH)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with new_place(request.param, tmp_path) as place:
        store = place.open()
        yield place, store
        store.close()


def test_more_phrases_than_a_statement_has_places_for(opened: Any) -> None:
    _, store = opened
    words = [f"a{number} b{number}" for number in range(9)]
    version = put(store, "many", texts(*words, "a1 b0", "lamp lamp lamp"))
    query = " OR ".join(f'"{each}"' for each in words)
    assert sorted(found(store, query, scope(version))) == [(0, number) for number in range(9)]
    assert found(store, '"lamp lamp lam*"', scope(version)) == []
    assert found(store, "lamp_lamp_la*", scope(version)) == [(0, 10)]


APPEND = """
import sys
import pandas as pd
from stores import put
from torture.harness import times
from tablevault_pd import frames
kind, address = sys.argv[1:]
if kind == "EmbeddedStore":
    from tablevault_pd.store.embedded import EmbeddedStore as Opened
else:
    from tablevault_pd.store.arango import ArangoStore as Opened
store = Opened(address)
put(store, "a", frames.encode(pd.DataFrame({"text": pd.array(["apple pie"], dtype="string")})), operation="append")
store.close()
"""


@pytest.mark.ci
def test_what_another_process_has_just_committed_is_found(opened: Any) -> None:
    place, store = opened
    put(store, "a", texts("apple"))
    assert found(store, "apple", scope(store.head("a"))) == [(0, 0)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [type(store).__name__, place.address]
    subprocess.run([sys.executable, "-c", APPEND, *arguments], check=True, env=environment)
    assert sorted(found(store, "apple", scope(store.head("a")))) == [(0, 0), (0, 1)]


def test_descriptions_and_items_of_a_save_that_never_came_are_not_found(opened: Any) -> None:
    _, store = opened
    first = put(store, "a", texts("apple", "pear", "plum"))
    before = store.search_text(parse_text("apple OR pear"), [scope(first)])
    stage = store.stage()
    stage.write(texts("apple", "apple", "apple"))
    stage.finish()  # its rows are on the server, or in a file
    for query in ("apple OR pear", "-plum"):
        assert sorted(found(store, query, scope(first))) == [(0, 0), (0, 1)]
    after = store.search_text(parse_text("apple OR pear"), [scope(first)])
    assert after.score.tolist() == before.score.tolist()
    assert store.search_descriptions(parse_text("apple")) == []
    stage.__exit__(None, None, None)


def test_rows_that_were_vacuumed_do_not_count(opened: Any) -> None:
    _, store = opened
    for number in range(4):
        last = put(store, "a", texts("apple", f"pear {number}", "plum"))
    other = opened[0].opener(opened[0].address)
    store.vacuum(keep=1, dry_run=False)
    hits = store.search_text(parse_text("apple OR -plum"), [scope(last)])
    assert sorted(where(hits)) == [(0, 0), (0, 1)]
    assert where(other.search_text(parse_text("apple"), [scope(last)])) == [(0, 0)]
    other.close()


# -- on a server


@pytest.fixture
def url() -> Any:
    with new_database() as found:
        yield found


def arango(url: str, **options: Any) -> Any:
    from tablevault_pd.store.arango import ArangoStore

    return ArangoStore(url, **options)


AS_DOCUMENTED = """
FOR d IN tv_search
  SEARCH ANALYZER(PHRASE(d.words, ["apple", "pie"]) OR STARTS_WITH(d.words, "photo"), "tv_words")
    OPTIONS {waitForSync: true}
  FOR b IN tv_batches
    FILTER b._key == d.batch AND b.list > 0
    RETURN {list: DOCUMENT("tv_lists", TO_STRING(b.list)).name, version: b.version, row: b.start + d.row, column: d.column,
      values: d.values, text: d.text}
"""


@pytest.mark.arango
def test_a_view_that_is_there_keeps_its_links(url: str) -> None:
    from stores import system

    system().create_database(url.rsplit("/", 1)[1])
    db = database_of(url)
    db.create_collection("mine")
    db.create_arangosearch_view(VIEW, properties={"links": {"mine": {"includeAllFields": True}}})
    store = arango(url)
    version = put(store, "a", texts("apple pie"))
    assert found(store, '"apples pie"', scope(version)) == [(0, 0)]
    assert set(db.view(VIEW)["links"]) == {
        "mine", "tv_records", "tv_documents", "tv_files", "tv_cells", "tv_sources", "tv_statements",
    }  # fmt: skip
    [said] = list(db.aql.execute(AS_DOCUMENTED))
    assert said == {
        "list": "a",
        "version": 1,
        "row": 0,
        "column": None,
        "values": {"text": "apple pie"},
        "text": None,
    }
    [record] = list(db.collection("tv_records"))
    assert (record["stems"], record["words"]) == ("appl pie", "apple pie")
    assert any(each["name"].endswith(f"::{ANALYZER}") for each in db.analyzers())
    store.close()
    reader = arango(url, read_only=True)
    assert found(reader, "apple", scope(version)) == [(0, 0)]
    reader.close()


@pytest.mark.arango
def test_rows_without_text_have_no_words(url: str) -> None:
    store = arango(url, create=True)
    put(
        store,
        "n",
        frames.encode(pd.DataFrame({"n": np.arange(3), "vec": [[1.0, 2.0]] * 3}), embeddings=["vec"]),
    )
    put(store, "t", texts(None, ""))
    db = database_of(url)
    for name in ("tv_records", "tv_embeddings"):
        assert not any("stems" in each or "words" in each for each in db.collection(name))
    assert all(each.get("text_items") is None for each in db.collection("tv_batches"))
    store.close()


@pytest.mark.arango
def test_a_mirror_for_searches_holds_what_they_need_and_no_more(url: str) -> None:
    made = pd.DataFrame({"text": ["apple pie", None], "n": [1, 2], "vec": [[1.0, 2.0], [2.0, 1.0]]})
    frame = frames.encode(made, embeddings=["vec"])
    store = arango(url, create=True, mirror="search")
    version = put(store, "a", frame)
    db = database_of(url)
    [record] = list(db.collection("tv_records"))
    assert (record["row"], record["values"], record["words"]) == (0, {"text": "apple pie"}, "apple pie")
    assert [each["vector_2"] for each in db.collection("tv_embeddings")] == [[1, 2], [2, 1]]
    assert found(store, "apples", scope(version)) == [(0, 0)]
    [hits] = store.search_vectors(
        [VectorQuery(0, "vec", np.array([[1.0, 0.0]]))], [scope(version)], metric="cosine", k=1
    )
    assert hits.position.tolist() == [1]
    assert pa.concat_tables(chunk.table for chunk in store.scan(version)).equals(frame)
    assert store.check() == []
    store.close()


@pytest.mark.arango
def test_check_tells_of_texts_that_no_search_finds(url: str) -> None:
    store = arango(url, create=True)
    put(store, "a", texts("apple", "pear", None))
    assert store.check() == []
    db = database_of(url)
    for each in list(db.collection("tv_records")):
        if each.get("stems") == "appl":
            db.collection("tv_records").update({"_key": each["_key"], "stems": None}, keep_none=False)
    [problem] = store.check()
    assert (problem.severity, problem.what, problem.list) == ("damage", "missing words", "a")
    assert problem.detail == "1 of 2 texts can be found by their words"
    store.close()
