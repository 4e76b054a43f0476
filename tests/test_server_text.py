"""Texts on a server, whatever its search index has got to: the hits are those of a folder, and nobody waits for the index."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stores import database_of, new_database
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.search.query import parse_text
from tablevault_pd.store import Beat, Cell, Scope, Store
from tablevault_pd.store.embedded import EmbeddedStore
from tablevault_pd.store.text_query import AllOf, AnyOf, Word

pytest.importorskip("arango")

from tablevault_pd.store.arango import ArangoStore, code_search, layout, text, text_index
from tablevault_pd.store.arango.layout import VIEW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.arango
WORDS = ["lamp", "lamps", "fox", "naïve", "zinc", "tide"]
ROWS = st.lists(st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join), min_size=1, max_size=4)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["save", "append", "upsert", "delete_rows", "restore", "erase", "vacuum", "describe", "index"]),
        st.sampled_from(["one", "two"]),
        ROWS,
    ),
    min_size=2,
    max_size=8,
)  # fmt: skip
QUERIES = [
    "lamp",
    "fox zinc",
    "fox OR tide",
    '"lamp fox"',
    "la*",
    "lamp -zinc",
    "-fox",
    '"fox fox"',
    "tide OR (fox lamp)",
]
CATCH_UP = (
    "FOR d IN tv_search SEARCH d.text_of > '' OPTIONS {waitForSync: true} COLLECT WITH COUNT INTO n RETURN n"
)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a few hits, so that a search of a few rows takes several."""
    monkeypatch.setattr(text, "MARGIN", 1)
    monkeypatch.setattr(text, "GROWTH", 2)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        yield url


def stop_index(url: str) -> None:
    """Have the view commit only when a statement asks it to."""
    database_of(url).update_arangosearch_view(VIEW, {"commitIntervalMsec": 3_600_000})


def catch_up(url: str) -> None:
    """Let the view commit."""
    list(database_of(url).aql.execute(CATCH_UP))


def take(vault: tv.Vault, step: tuple[str, str, list[str]], number: int) -> None:
    """One step, if the list is in a state for it."""
    operation, name, words = step
    frame = pd.DataFrame({"id": range(len(words)), "text": pd.array(words, dtype="string")})
    if operation == "vacuum":
        vault.vacuum(keep=1, dry_run=False)
    elif operation == "describe":
        vault.save("said", frame, description=words[0] or "fox", message=str(number))
    elif operation == "save" or name not in vault:
        vault.save(name, frame, key="id")
    elif operation == "append":
        vault.append(name, frame.assign(id=frame["id"] + 100 * (number + 1)))
    elif operation == "upsert":
        vault.upsert(name, frame)
    elif operation in ("delete_rows", "erase") and len(vault[name]):
        (vault.delete_rows if operation == "delete_rows" else vault.erase)(name, filters="id % 2 == 0")
    elif operation == "restore":
        first = vault.versions(name)["version"].min()
        try:
            vault.restore(name, int(first))
        except tv.errors.VersionNotFound:  # a vacuum took it
            return


def hits_of(store: Store, query: str, k: int | None) -> list[tuple[int, int, float]]:
    scopes = [Scope(head) for name in sorted(store.names()) if (head := store.head(name)) is not None]
    # A folder may leave rows that nobody has searched yet to a thread, and until then they do not count for the scores.
    store.search_text(parse_text("fox"), [Scope(version) for version in store.versions() if not version.gone])
    hits = store.search_text(parse_text(query), scopes, k=k)
    return list(zip(hits.scope.tolist(), hits.position.tolist(), hits.score.tolist(), strict=True))[:k]


def assert_same_best(server: Sequence[Any], folder: Sequence[Any], everything: dict[Any, float]) -> None:
    """The same scores in order, and under each row that is there its own score: ties may be told otherwise."""
    assert [score for *_, score in server] == [pytest.approx(score, abs=1e-6) for *_, score in folder]
    assert [everything[row[:2]] for row in server] == [pytest.approx(row[2], abs=1e-6) for row in server]
    assert len({row[:2] for row in server}) == len(server)


@given(STEPS, st.sampled_from([0, 3_600_000]))
@example(
    [
        ("save", "one", ["lamp", "lamp fox", "fox"]),
        ("append", "two", ["tide"]),
        ("index", "", [""]),
        ("erase", "one", [""]),
    ],
    0,
)
@example(
    [
        ("save", "one", ["lamp", "fox"]),
        ("index", "", [""]),
        ("append", "one", ["lamp"]),
        ("vacuum", "", [""]),
        ("index", "", [""]),
    ],
    0,
)
@example(
    [
        ("save", "one", ["lamp", "fox"]),
        ("save", "one", ["fox", "zinc lamp"]),
        ("index", "", [""]),
        ("restore", "one", [""]),
    ],
    3_600_000,
)
@settings(max_examples=times(40, ordinary=1))
def test_a_server_finds_what_a_folder_finds_however_far_its_index_is(
    tmp_path_factory: pytest.TempPathFactory, steps: Any, lag_ms: int
) -> None:
    folder = tmp_path_factory.mktemp("vault") / f"{uuid.uuid4().hex}.vault"
    with pytest.MonkeyPatch.context() as patch, new_database() as url:
        patch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        patch.setattr(text_index, "LAG_MS", lag_ms)
        with (
            tv.connect(folder, capture="none") as there,
            tv.connect(url, create=True, capture="none") as here,
        ):
            stop_index(url)
            server, other = ArangoStore(url), EmbeddedStore(str(folder))
            for number, step in enumerate(steps):
                for vault in (there, here):
                    if step[0] != "index":
                        take(vault, step, number)
                if step[0] == "index":
                    catch_up(url)
                for query in QUERIES if number == len(steps) - 1 else QUERIES[:1]:
                    whole = hits_of(other, query, None)
                    scores = {row[:2]: row[2] for row in whole}
                    answer = hits_of(server, query, None)
                    assert {row[:2] for row in answer} == scores.keys()
                    assert_same_best(answer, whole, scores)
                    assert_same_best(hits_of(server, query, 2), whole[:2], scores)
            server.close()
            other.close()


def test_the_best_of_many_are_found_without_fetching_all(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_index, "LAG_MS", 0)
    rows = [f"lamp {'zinc ' * (row % 7)}{'lamp ' * (row % 3)}" for row in range(300)]
    with tv.connect(url, create=True, capture="none") as vault:
        vault.save("a", pd.DataFrame({"text": rows}))
        vault.save("b", pd.DataFrame({"text": rows[::-1]}))
    catch_up(url)
    store = ArangoStore(url)
    fetched = count_fetched(monkeypatch)
    every = hits_of(store, "lamp zinc", None)
    assert len(every) == 2 * sum("zinc" in row for row in rows)
    assert fetched[-1] == len(every)
    for k in (1, 5, 40):
        assert [score for *_, score in hits_of(store, "lamp zinc", k)] == [score for *_, score in every[:k]]
        assert fetched[-1] < 4 * k + 20
    store.close()


def test_what_the_server_ranks_too_high_keeps_nothing_better_out(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word counts only beside another that must be there with it: the server adds it in any case."""
    monkeypatch.setattr(text_index, "LAG_MS", 0)
    rows = pd.DataFrame(
        {"text": ["tide tide tide lamp"] * 20 + ["lamp lamp", "zinc", "tide fox"] + ["zinc"] * 80}
    )
    query = AnyOf((AllOf((Word("tide"), Word("fox"))), Word("lamp")))
    best = []
    for place in (url, tmp_path / "a.vault"):
        with tv.connect(place, create=True, capture="none") as vault:
            vault.save("a", rows)
        if place == url:
            catch_up(url)
        store = ArangoStore(url) if place == url else EmbeddedStore(str(place))
        head = store.head("a")
        assert head is not None
        hits = store.search_text(query, [Scope(head)], k=2)
        best.append([*hits.position[:2].tolist(), *hits.score[:2].round(6).tolist()])
        store.close()
    assert best[0] == best[1]
    assert best[0][:2] == [22, 20]


def count_fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many hits of the view came in each answer."""
    fetched: list[int] = []
    query = text._Search._ranked

    def ranked(self: Any, count: int) -> Any:
        rows = query(self, count)
        fetched.append(len(rows))
        return rows

    monkeypatch.setattr(text._Search, "_ranked", ranked)
    return fetched


@pytest.mark.parametrize("most", [0, 2_000], ids=["range", "names"])
def test_other_lists_and_rows_that_filters_refuse_do_not_count_for_the_best(
    url: str, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(text_index, "LAG_MS", 0)
    monkeypatch.setattr(text, "MOST_BATCHES", most)
    with tv.connect(url, create=True, capture="none") as vault:
        vault.save("large", pd.DataFrame({"text": ["lamp lamp"] * 50}))
        vault.save("small", pd.DataFrame({"text": ["lamp", "lamp zinc", "fox", "lamp zinc fox tide"]}))
        vault.append("small", pd.DataFrame({"text": ["fox lamp"]}))
    catch_up(url)
    store = ArangoStore(url)
    with store.stage() as stage:  # rows that are never committed
        stage.write(pd_table(["lamp lamp lamp"] * 60))
        stage.finish()
        catch_up(url)
        head = store.head("small")
        assert head is not None
        hits = store.search_text(parse_text("lamp"), [Scope(head)], k=2)
        assert hits.position.tolist()[:1] == [0]
        keep = pd.Series([False, False, True, True, False]).to_numpy()
        hits = store.search_text(parse_text("lamp"), [Scope(head, keep=keep)], k=2)
        assert hits.position.tolist() == [3]
        assert sorted(store.search_text(parse_text("lamp"), [Scope(head)]).position.tolist()) == [0, 1, 3, 4]
    store.close()


def pd_table(words: list[str]) -> Any:
    from tablevault_pd import frames

    return frames.encode(pd.DataFrame({"text": pd.array(words, dtype="string")}))


def test_an_index_that_fails_to_commit_hides_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part of a batch is in the index, and it never gets further."""
    monkeypatch.setattr(text_index, "LAG_MS", 0)
    with tv.connect(url, create=True, capture="none") as vault:
        vault.save("a", pd.DataFrame({"text": ["lamp", "fox"]}))
        catch_up(url)
        stop_index(url)
        vault.append("a", pd.DataFrame({"text": ["lamp fox", "lamp"]}))
        for _ in range(2):
            hits = vault.search("lamp", k=5)
            assert sorted(hits["position"]) == [0, 2, 3]
    with tv.connect(url, capture="none", mode="r") as vault:  # another process knows nothing of the index
        assert sorted(vault.search("lamp", k=5)["position"]) == [0, 2, 3]


def test_a_rolled_back_look_is_forgotten(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Totals that differ from what a process knows make it look anew."""
    with tv.connect(url, create=True, capture="none") as vault:
        vault.save("a", pd.DataFrame({"text": ["lamp", "fox"]}))
        store = ArangoStore(url)
        assert len(hits_of(store, "lamp", None)) == 1
        monkeypatch.setattr(text_index, "OVERLAP_MS", -(10**12))  # nothing counts as changed any more
        vault.append("a", pd.DataFrame({"text": ["lamp fox"]}))
        monkeypatch.setattr(text_index, "OVERLAP_MS", 0)
        assert len(hits_of(store, "lamp", None)) == 2
        store.close()


def test_no_statement_waits_for_the_index() -> None:
    from tablevault_pd.store.arango import claims, code, commit, control, edges, names, sessions, vacuum

    modules = [claims, code, code_search, commit, control, edges, names, sessions, text, text_index, vacuum]
    statements = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, str) and "tv_search" in value and "SEARCH" in value and "FOR" in value
    ]
    assert len(statements) >= 3
    assert not any("waitForSync" in statement for statement in statements)


@pytest.mark.parametrize("lag_ms", [0, 3_600_000], ids=["counted", "young"])
def test_code_is_found_however_far_the_index_is(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lag_ms: int
) -> None:
    monkeypatch.setattr(code_search, "LAG_MS", lag_ms)
    from test_store_search import NOW, a_session

    ArangoStore(url, create=True).close()
    stop_index(url)
    for store in (ArangoStore(url), EmbeddedStore(str(tmp_path / "a.vault"))):
        session = a_session(store)
        codes = ["few_shot(lamp)", "lamp.fit()", "x = 1", "fewShot = lamp"]
        for number, code in enumerate(codes):
            store.put_cell(Cell(session, number, code, NOW))
            if number == 1 and isinstance(store, ArangoStore):
                catch_up_code(url)
        for query, cells in [("lamp", [0, 1, 3]), ("fewshot", [0, 3]), ("-lamp", [2]), ("lamp -fit", [0, 3])]:
            assert store.search_code(parse_text(query, code=True))[:, 1].tolist() == cells
        store.put_cell(Cell(session, 0, "zinc", NOW))
        assert store.search_code(parse_text("lamp", code=True))[:, 1].tolist() == [1, 3]
        assert store.search_code(parse_text("zinc", code=True))[:, 1].tolist() == [0]
        store.close()


def test_code_that_a_view_made_anew_does_not_show_yet_is_found(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fills in any order: that it shows the last documents says nothing of those before them."""
    monkeypatch.setattr(code_search, "LAG_MS", 0)
    monkeypatch.setattr(code_search, "LAST", 1)
    from test_store_search import NOW, a_session

    def found(store: Store) -> list[int]:
        return store.search_code(parse_text("lamp", code=True))[:, 1].tolist()

    def lose(number: int) -> None:  # as if the view had come to it last
        lost = {"_key": f"{session}-{number}", "session": session, "cell": number, "code": "lamp", "saved": 1}
        copied = (
            "FOR c IN tv_cells FILTER c.cell == 0 INSERT MERGE(UNSET(c, '_id', '_rev'), @lost) INTO tv_cells"
        )
        database_of(url).aql.execute(copied, bind_vars={"lost": lost})

    with closing(ArangoStore(url, create=True)) as store:
        stop_index(url)
        session = a_session(store)
        store.put_cell(Cell(session, 0, "lamp", NOW))
        catch_up_code(url)
        assert found(store) == [0]
        lose(1)
        with closing(ArangoStore(url)) as other:
            assert found(other) == [0, 1]
        catch_up_code(url)
        assert found(store) == [0, 1]
        lose(2)
        database_of(url).aql.execute(layout.NEXT_VIEW)
        assert found(store) == [0, 1, 2]


def test_code_of_one_moment_that_a_view_does_not_show_yet_is_found(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what was stored at once, all is counted: what is later than the last but some may be nothing."""
    monkeypatch.setattr(code_search, "LAG_MS", 0)
    monkeypatch.setattr(code_search, "LAST", 1)
    from test_store_search import NOW, a_session

    with closing(ArangoStore(url, create=True)) as store:
        stop_index(url)
        session = a_session(store)
        for number, cells in enumerate([range(1), range(1, 4)]):
            store.beat(
                [Beat(session, number, cells=tuple(Cell(session, cell, "lamp", NOW) for cell in cells))]
            )
            for _ in range(2):
                assert len(store.search_code(parse_text("lamp", code=True))) == cells.stop
                catch_up_code(url)


def catch_up_code(url: str) -> None:
    list(
        database_of(url).aql.execute(
            "FOR c IN tv_search SEARCH c.saved > 0 OPTIONS {waitForSync: true} RETURN 1"
        )
    )
