"""A check of a vault on a server recomputes what its documents count, and tells which list and version is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pandas as pd
import pytest
from stores import database_of, new_database

pytest.importorskip("arango")

import tablevault_pd as tv
from tablevault_pd.store.arango import strays, text_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.arango


LIST = "FIRST(FOR l IN tv_lists FILTER l.name == @list RETURN l.id)"


def of_batches(version: int, change: str) -> str:
    return f"FOR b IN tv_batches FILTER b.list == {LIST} AND b.version == {version} UPDATE b WITH {change} IN tv_batches"


def of_lists(change: str) -> str:
    return f"FOR l IN tv_lists FILTER l.name == @list UPDATE l WITH {change} IN tv_lists"


def of_batch(collection: str, version: int, change: str) -> str:
    return f"""FOR b IN tv_batches FILTER b.list == {LIST} AND b.version == {version}
      FOR i IN {collection} FILTER i.batch == b._key LIMIT 1 UPDATE i WITH {change} IN {collection}"""


#: How each list is damaged, and all that is told of it.
DAMAGES: dict[str, tuple[str, set[tuple[str, int | None]]]] = {
    "sum of bytes": (of_batches(2, "{so_far: [b.so_far[0] + 1, 0, 0, 0, 0]}"), {("damaged totals", 2)}),
    "no sums": (of_batches(2, "{so_far: null}"), {("damaged totals", 2)}),
    "bytes": (of_batches(2, "{bytes: b.bytes + 1}"), {("damaged totals", 2)}),
    "words": (
        of_batches(2, "{text_words: b.text_words + 1}"),
        {("missing words", 2), ("damaged totals", 2)},
    ),
    "length": (of_batch("tv_records", 2, "{length: i.length + 1}"), {("missing words", 2)}),
    "edges": (of_batches(2, "{edges: 2}"), {("missing edges", 2), ("damaged totals", 2)}),
    "filed edge": (of_batch("tv_edges", 2, "{parent_bin: 7}"), {("damaged edge", 2)}),
    "basis": (of_batch("tv_edges", 2, '{basis: "read"}'), {("damaged edge", 2)}),
    "end": (of_batches(2, "{end: b.end - 1}"), {("missing rows", 2)}),
    "total": (of_batches(2, "{total: 2}"), {("damaged version", 2)}),
    "lost": (of_lists("{lost: [l.lost[0], l.lost[1], l.lost[2] + 1, l.lost[3]]}"), {("damaged totals", None)}),
    "erased": (of_batches(1, "{erased: 3}"), {("damaged version", 1)}),
    "not erased": (of_lists("{erased: null}"), {("damaged version", 1)}),
    "marked": (of_batches(1, "{holds_erased: false}"), {("damaged version", 1)}),
    "layout": (of_batches(2, '{pieces: "AAAA"}'), {("damaged version", 2)}),
}  # fmt: skip
ERASED = ("lost", "erased", "not erased", "marked", "layout")


#: What another program may put into a database that it shares with a vault.
FOREIGN = {
    "tv_batches": [{"hello": 1}, {"list": "abc", "version": 1, "token": "x", "name": "abc"}],
    "tv_lists": [{"hello": 1}],
    "tv_sessions": [{"hello": 1}],
    "tv_descriptions": [{"text": "lamp"}],
}


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        yield url


def connected(url: str) -> tv.Vault:
    return tv.connect(url, create=True, capture="none", session=False, durability="fast")


@pytest.fixture
def vault(url: str) -> Iterator[tuple[tv.Vault, Callable[..., object]]]:
    """A vault with a list for each kind of damage, and a way to run a statement."""
    with connected(url) as vault:
        vault.save("source", pd.DataFrame({"n": range(4)}))
        for name in DAMAGES:
            vault.save(name, pd.DataFrame({"id": range(3), "text": ["lamp", "oil lamp", "tide"]}))
            if name in ERASED:
                vault.erase(name, filters="id == 1")
            else:
                more = pd.DataFrame({"id": [3], "text": ["ebb and flow"]})
                vault.append(name, more, inputs={"source": [2]})
        yield vault, lambda statement, **values: database_of(url).aql.execute(statement, bind_vars=values)


def test_what_documents_count_is_counted_again(vault, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, execute = vault
    assert opened.check().empty
    for name, (statement, _) in DAMAGES.items():
        assert execute(statement, list=name).statistics()["modified"] == 1, name
    for page in (1000, 1):
        monkeypatch.setattr(strays, "PAGE", page)
        problems = opened.check()
        assert set(problems["severity"]) == {"damage"}
        versions = problems["version"].astype(object).where(problems["version"].notna(), None)
        # Of a total that is wrong the next version is told, too.
        told = set(zip(problems["list"], problems["what"], versions, strict=True))
        assert told >= {(name, *one) for name, (_, problem) in DAMAGES.items() for one in problem}
        assert {name for name, _, _ in told} == set(DAMAGES)


#: How the document of a list is damaged, and what is told of it.
LIST_DOCUMENTS = {
    "no name": ("{name: null}", "The name of a list is None"),
    "a number": ("{name: 7}", "The name of a list is 7"),
    "another name": ('{name: "source"}', "its digest is not that of its name 'source'"),
    "another digest": ('{digest: "x"}', "its digest is not that of its name 'another digest'"),
    "no totals": ('{lost: ["x"]}', "what it lost is ['x']"),
    "what is erased": ('{erased: "!"}', "What was erased of the list is damaged"),
}


def test_what_is_damaged_of_the_document_of_a_list_is_told_by_it(url: str) -> None:
    """It alone has the name: of what cannot be read without it no commit is blamed."""
    with connected(url) as vault:
        database = database_of(url)
        names = [*LIST_DOCUMENTS, "gone", "renamed"]
        for name in names:
            vault.save(name, pd.DataFrame({"n": [1]}))
        vault.rename("renamed", "now")
        assert vault.check().empty
        for name, (change, _) in LIST_DOCUMENTS.items():
            database.aql.execute(of_lists(change), bind_vars={"list": name})
        database.collection("tv_lists").delete_match({"name": "gone"})
        database.aql.execute("FOR r IN tv_renames UPDATE r WITH {list: 99} IN tv_renames")
        problems = vault.check()
        assert set(problems["severity"]) == {"damage"}
        rows = problems[["what", "path", "detail"]].values.tolist()
        told = {path: (what, detail) for what, path, detail in rows if what != "damaged version"}
        assert len(rows) == len(told) + 1  # what is erased of a version cannot be compared
        for number, (_, detail) in enumerate(LIST_DOCUMENTS.values(), 1):
            what, said = told.pop(f"tv_lists/{number}")
            assert what == "unreadable document"
            assert detail in said
        assert told.pop(f"tv_lists/{names.index('gone') + 1}")[0] == "missing list"
        [(path, (what, detail))] = told.items()
        assert (path.partition("/")[0], what) == ("tv_renames", "missing list")
        assert detail == "'renamed' was renamed, and tv_lists/99 is not there"
        for call in (vault.versions, vault.lists, lambda: vault.read("renamed")):
            with pytest.raises(tv.VaultCorrupt, match=r"The name of a list is .*: its document, tv_lists/\d"):
                call()
        assert vault.store.renamed("renamed") is None


#: What is kept beside what it follows from, how it is damaged, and where that is told.
COUNTS = {
    **{
        f"counter of {name}": (
            f"FOR m IN tv_meta FILTER m._key == '{name}' UPDATE m WITH {{value: 0}} IN tv_meta",
            ("damaged counter", f"tv_meta/{name}"),
        )
        for name in ("lists", "sessions", "descriptions", "requests", "confirmations")
    },
    "last value": (
        "FOR l IN tv_latest FILTER l.metric == 'loss' UPDATE l WITH {value: 9} IN tv_latest",
        ("damaged last value", None),
    ),
    "last value elsewhere": (
        "FOR l IN tv_latest FILTER l.metric == 'lr' UPDATE l WITH {session: 99} IN tv_latest",
        ("damaged last value", None),
    ),
    "no last value": (
        "FOR l IN tv_latest FILTER l.metric == 'acc' REMOVE l IN tv_latest",
        ("damaged last value", None),
    ),
}


def test_what_follows_from_the_rest_is_counted_again(url: str) -> None:
    with connected(url) as vault:
        vault.save("jobs", pd.DataFrame({"n": range(4)}))
        vault.describe("jobs", "what is to be done")
        with vault.session("maker") as run:
            for step in range(3):
                run.log({"loss": 1 / (1 + step), "acc": step, "lr": 0.5}, step=step)
            assert len(vault.claim("jobs", 2)) == 2
            vault.upsert("keyed", {"n": 1}, key="n")
            vault.upsert("keyed", {"n": 1}, key="n")
            vault.pause("maker")
        assert vault.check().empty
        told = set()
        for statement, (what, path) in COUNTS.values():
            execute = database_of(url).aql.execute
            assert execute(statement).statistics()["modified"] == 1, statement
            told.add((what, path))
        problems = vault.check()
        paths = [path if path.startswith("tv_meta") else None for path in problems["path"].fillna("")]
        assert set(zip(problems["what"], paths, strict=True)) == told
        assert len(problems) == len(COUNTS)
        assert vault.check(fix=True)["fixed"].all()
        assert vault.check().empty
        last = vault.sessions("maker")[["metrics.loss", "metrics.acc", "metrics.lr"]]
        assert last.to_numpy().tolist() == [[1 / 3, 2.0, 0.5]]
        with vault.session("other"):
            assert sorted(vault.claim("jobs", 9)["n"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("value", ["text", [9], 1.5, None, -1])
def test_a_counter_that_is_no_whole_number_is_counted_again(url: str, value: object) -> None:
    with connected(url) as vault:
        vault.save("rows", pd.DataFrame({"n": [1]}))
        database_of(url).collection("tv_meta").update({"_key": "lists", "value": value}, keep_none=True)
        assert vault.check(fix=True)[["what", "path", "fixed"]].values.tolist() == [
            ["damaged counter", "tv_meta/lists", True]
        ]
        assert vault.check().empty
        vault.save("others", pd.DataFrame({"n": [1]}))
        assert vault.lists()["name"].tolist() == ["others", "rows"]


def test_numbers_of_others_are_not_counted(url: str) -> None:
    """A repair by them would give numbers that are none."""
    with connected(url) as vault, vault.session("run") as run:
        for collection, document in [
            ("tv_requests", {"id": 1e300}),
            ("tv_lists", {"id": 1e300}),
            ("tv_measures", {"session": run.id, "values": [1], "digest": "x"}),
        ]:
            database_of(url).collection(collection).insert(document)
        [told] = vault.check(fix=True).query("severity == 'damage'")["path"]
        assert told.startswith("tv_measures/")  # which no call can read
        assert vault.pause("run")["request"].tolist() == ["pause"]


def test_documents_of_others_are_told_and_change_nothing(url: str) -> None:
    with connected(url) as vault:
        vault.save("rows", pd.DataFrame({"text": ["lamp", "tide"]}))
        for collection, documents in FOREIGN.items():
            database_of(url).collection(collection).insert_many(documents)
        assert vault.lists()["name"].tolist() == ["rows"]
        assert vault.search("lamp")["position"].tolist() == [0]
        assert vault.sessions().empty
        assert len(vault.versions()) == 1
        assert vault.save("new", pd.DataFrame({"n": [1]})).version == 1
        vault.vacuum(dry_run=False)
        problems = vault.check(fix=True)
        assert set(problems["severity"]) == {"stray"}
        assert problems["path"].str.partition("/")[0].value_counts().to_dict() == {
            collection: len(documents) for collection, documents in FOREIGN.items()
        }


def test_a_collection_that_was_dropped_is_told(url: str) -> None:
    with connected(url) as vault:
        vault.save("rows", pd.DataFrame({"n": [1]}))
        database_of(url).delete_collection("tv_payloads")
        told = [["missing collection", "tv_payloads"]]
        assert vault.check()[["what", "path"]].values.tolist() == told
        problems = vault.check(fix=True)
        assert problems["what"].tolist() == ["missing collection", "missing rows"]
        assert not problems["fixed"].any()


def test_a_search_index_that_was_dropped_is_made_anew(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody takes the new one for the former, whose texts it may not hold yet."""
    monkeypatch.setattr(text_index, "LAG_MS", 0)
    with connected(url) as vault, connected(url.replace("127.0.0.1", "localhost")) as other:
        vault.save("rows", pd.DataFrame({"text": ["lamp", "tide"]}))
        list(database_of(url).aql.execute(CATCH_UP))
        assert other.search("lamp")["position"].tolist() == [0]  # seen in the view, and not looked for again
        database_of(url).delete_view("tv_search")
        with pytest.raises(tv.StoreError, match=r"check\(fix=True\)"):
            vault.search("lamp")
        assert vault.check()[["what", "path", "fixed"]].values.tolist() == [
            ["search index", "tv_search", False]
        ]
        assert vault.check(fix=True)["fixed"].tolist() == [True]
        assert vault.check().empty
        database_of(url).delete_view("tv_search")
        database_of(url).create_arangosearch_view("tv_search")  # it holds nothing yet
        assert other.search("lamp")["position"].tolist() == [0]


CATCH_UP = "FOR d IN tv_search SEARCH d.text_of > '' OPTIONS {waitForSync: true} LIMIT 1 RETURN 1"
