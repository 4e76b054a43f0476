"""What calls make a server read: as much in a list of many versions as in one of few."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd
import pytest
from stores import new_database, put

pytest.importorskip("arango")

from first_contact import Watched

import tablevault_pd as tv
from tablevault_pd import frames
from tablevault_pd.search.query import parse_text
from tablevault_pd.store import Scope, VersionLookup
from tablevault_pd.store.arango import ArangoStore
from tablevault_pd.store.edges import STATED, Edge, EdgeForm, EdgeQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tablevault_pd.store import Store

pytestmark = pytest.mark.arango
COUNTERS = ("scanned_index", "scanned_full", "filtered")
#: Versions of the lists that are compared; in a long run as many as a list may well get.
VERSIONS = (100, 2_000) if os.environ.get("TABLEVAULT_TORTURE") else (20, 90)


def table(*values: int) -> Any:
    return frames.encode(pd.DataFrame({"n": values}))


@pytest.fixture(scope="module")
def filled() -> Iterator[Store]:
    """A list for each number of versions, whose rows come from a list of as many rows."""
    with new_database() as url:
        store = ArangoStore(url, create=True)
        for versions in VERSIONS:
            source = put(store, f"source of {versions}", table(*range(versions)))
            first = put(store, f"of {versions}", table(0, 1))
            list(store.scan(first))  # its schema is known
            for row in range(versions - 1):
                edge = Edge(source.list_id, 1, 1, STATED, EdgeForm.AFFINE, 0, 1, row, 1)
                options = {"operation": "append", "base": first.schema_id, "edges": [edge]}
                put(store, f"of {versions}", table(row), **options)
        store.edges([EdgeQuery(1, None)], side="parent")  # no edge is lost: looked up once for as many
        yield store
        store.close()


def append(store: Store, name: str, head: Any) -> None:
    put(store, name, table(7), operation="append", base=head.schema_id)


def rename(store: Store, name: str, head: Any) -> None:
    store.rename_list(name, "another")
    store.rename_list("another", name)


def parents(store: Store, name: str, head: Any) -> None:
    last = EdgeQuery(head.list_id, head.generation, [(head.total - 1, head.total)])
    assert len(store.edges([last], side="child")) == 1


def children(store: Store, name: str, head: Any) -> None:
    source = store.version(f"source {name}", 1)
    assert source is not None
    assert len(store.edges([EdgeQuery(source.list_id, 1, [(9, 10)])], side="parent")) == 1


CALLS: dict[str, Callable[[Store, str, Any], Any]] = {
    "head": lambda store, name, head: store.head(name),
    "heads of two": lambda store, name, head: store.find_versions([VersionLookup(name), VersionLookup("no list")]),
    "a version": lambda store, name, head: store.version(name, 3),
    "the first row": lambda store, name, head: list(store.scan(head, start=0, stop=1)),
    "the last row": lambda store, name, head: list(store.scan(head, start=head.total - 1)),
    "a row in the middle": lambda store, name, head: list(store.scan(head, start=9, stop=10)),
    "children": children,
    "parents": parents,
    "writers": lambda store, name, head: store.writers([(head.list_id, head.generation, head.total - 1, head.total)]),
    "newest of a generation": lambda store, name, head: store.newest_of_generations([(head.list_id, head.generation)]),
    "facts": lambda store, name, head: store.describe_lists([head.list_id], [(head.list_id, head.version)]),
    "lists": lambda store, name, head: store.lists(),
    "names": lambda store, name, head: store.names(),
    "append": append,
    "rename": rename,
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_what_is_read_does_not_grow_with_versions(filled: Store, name: str) -> None:
    reads = []
    for versions in VERSIONS:
        head = filled.head(f"of {versions}")
        watched = Watched()
        with watched.watching():
            CALLS[name](filled, f"of {versions}", head)
        statements = {
            statement: {key: sum(one.get(key) or 0 for one in counters) for key in COUNTERS}
            for statement, (_, counters) in watched.statements.items()
        }
        reads.append((watched.requests, statements))
    assert reads[0] == reads[1]
    most = {"lists": 3 * 4, "rename": 2 * 10}.get(
        name, 10
    )  # of each list its name, its newest version and its first
    assert sum(counters["scanned_index"] for counters in reads[1][1].values()) <= most


def test_what_a_list_has_is_what_its_batches_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums that the newest version and the document of the list hold, after all that changes them."""
    from stores import database_of

    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        with tv.connect(url, create=True, capture="none", session=False) as vault:
            frame = pd.DataFrame({"id": range(6), "text": ["lamp", "oil lamp", "", None, "fox", "tide"]})
            vault.save("kept", frame, key="id")
            vault.upsert("kept", pd.DataFrame({"id": [5, 6], "text": ["ebb", "flow"]}))
            vault.erase("kept", filters="id in [1, 6]")
            for n in range(3):
                vault.save("vacuumed", frame.assign(id=n))
            vault.append("vacuumed", frame)
            vault.vacuum(keep=1, dry_run=False)
            vault.save("plain", {"n": 1}, inputs=vault["kept"])
            lists = vault.lists()
            sizes = dict(zip(lists["name"], lists["bytes"], strict=True))
            assert len(vault.search("lamp")) == 5
        database = database_of(url)
        for one in database.collection("tv_lists"):
            batches = [batch for batch in database.collection("tv_batches") if batch["list"] == one["id"]]
            texts = [batch for batch in batches if batch.get("text_items")]
            sums = [
                sum(batch["bytes"] for batch in batches if not batch["emptied"]),
                len(texts),
                sum(batch["text_items"] for batch in texts),
                sum(batch["text_words"] for batch in texts),
                sum(batch["edges"] for batch in batches),
            ]
            newest = max(batches, key=lambda batch: batch["version"])["so_far"]
            lost = [*one.get("lost", [0] * 4), 0]
            assert [had - gone for had, gone in zip(newest, lost, strict=True)] == sums
            assert sizes[one["name"]] == sums[0]


def test_a_search_looks_once_for_texts(filled: Store) -> None:
    """What the lists say of their texts is what their batches say, so that nothing is looked for again."""
    put(filled, "texts", words("apple", "pear"))
    watched = Watched()
    with watched.watching():
        filled.search_text(parse_text("apple"), [Scope(filled.head("texts"), (), record=True)])
    looks = [len(counters) for text, (_, counters) in watched.statements.items() if "text_changed" in text]
    assert looks == [1]


def test_ranking_loads_as_few_documents_of_many_texts_as_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """What matches is counted and ranked by what the view holds itself."""
    from stores import database_of

    monkeypatch.setattr("tablevault_pd.store.arango.text_index.LAG_MS", 0)
    catch_up = "FOR d IN tv_search SEARCH d.text_of > '' OPTIONS {waitForSync: true} LIMIT 1 RETURN 1"
    with new_database() as url:
        store = ArangoStore(url, create=True)
        loaded = []
        for texts in (20, 200):
            head = put(store, f"of {texts}", words(*["apple pear"] * texts))
            list(database_of(url).aql.execute(catch_up))
            watched = Watched()
            with watched.watching():
                assert len(store.search_text(parse_text("apple"), [Scope(head)], k=3).score) >= 3
            counters = [
                one for text, (_, some) in watched.statements.items() if "tv_search" in text for one in some
            ]
            loaded.append([one.get("lookups") for one in counters])
        assert loaded == [[1, 0], [2, 0]]  # the batches, while it is counted what they hold
        store.close()


def test_a_check_in_small_pages_tells_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches, their items and what was never committed, of which no page holds all."""
    from stores import database_of

    from tablevault_pd.store.arango import check, strays

    with new_database() as url:
        store = ArangoStore(url, create=True, stray_age_s=0)
        for name in ("a", "b", "c"):
            first = put(store, name, words("apple", "pear"))
            for _ in range(3):
                put(store, name, words("plum"), operation="append", base=first.schema_id)
        for _ in range(5):
            stage = store.stage()
            stage.write(words("fig"))
            stage.finish()  # a save that never comes
            stage.settled = True
        database = database_of(url)
        for statement, place in (
            (REMOVED, {"list": "a", "version": 3}),
            (WORDLESS, {"list": "b", "version": 2}),
        ):
            assert len(list(database.aql.execute(statement, bind_vars=place))) == 1
        told = []
        for page, items in ((1000, 500_000), (1, 1), (2, 3), (3, 1)):
            monkeypatch.setattr(strays, "PAGE", page)
            monkeypatch.setattr(check, "MOST_ITEMS", items)
            told.append(sorted(map(repr, store.check())))
        assert told[0] == told[1] == told[2] == told[3]
        assert sum("items of no commit" in one for one in told[0]) == 5
        assert sum("missing rows" in one for one in told[0]) == 1
        assert sum("missing words" in one for one in told[0]) == 1
        monkeypatch.setattr("tablevault_pd.store.arango.stage.MOST_REMOVED", 1)
        assert sum(freed.what == "stray" for freed in store.vacuum(dry_run=False)) == 5
        assert not [one for one in store.check() if one.severity == "stray"]
        store.close()


REMOVED = """
FOR b IN tv_batches FILTER b.list == FIRST(FOR l IN tv_lists FILTER l.name == @list RETURN l.id) AND b.version == @version
  FOR p IN tv_payloads FILTER p.batch == b._key REMOVE p IN tv_payloads RETURN OLD._key
"""
WORDLESS = """
FOR b IN tv_batches FILTER b.list == FIRST(FOR l IN tv_lists FILTER l.name == @list RETURN l.id) AND b.version == @version
  FOR r IN tv_records FILTER r.batch == b._key UPDATE r WITH {stems: null} IN tv_records RETURN NEW._key
"""


def words(*values: str) -> Any:
    return frames.encode(pd.DataFrame({"text": pd.array(values, dtype="string")}))


def test_the_history_of_a_row_takes_no_more_requests_for_more_versions(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = []
    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        with tv.connect(url, create=True, capture="none", session=False, durability="fast") as vault:
            for versions in (4, 24):
                name = f"of {versions}"
                for value in range(versions):
                    vault.upsert(name, {"id": value % 3, "value": value}, key="id")
                vault.history(name, key=1)
                sent.clear()
                assert vault.history(name, key=1)["value"].tolist() == [*range(1, versions, 3)]
                requests.append(len(sent))
    assert requests[0] == requests[1] < 10
