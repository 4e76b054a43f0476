"""Documents that another program wrote, or damaged: each is left out or named, whatever reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd
import pytest
from stores import database_of, new_database
from torture.harness import times

pytest.importorskip("arango")

import tablevault_pd as tv
from tablevault_pd.errors import VaultError
from tablevault_pd.store.arango.layout import COLLECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.arango
VALUES: list[Any] = [None, "text", [9], {"a": {}}, -3, 1.5, True]

READS: dict[str, Callable[[tv.Vault], Any]] = {
    "lists": lambda vault: vault.lists(),
    "versions": lambda vault: vault.versions(),
    "read": lambda vault: vault.read("rows"),
    "search": lambda vault: vault.search("lamp"),
    "near": lambda vault: vault.search(near=[1.0, 0.0], k=2),
    "code": lambda vault: vault.search(code="claim"),
    "sessions": lambda vault: vault.sessions(info=True),
    "metrics": lambda vault: vault.metrics(),
    "cells": lambda vault: vault.cells(),
    "descriptions": lambda vault: vault.descriptions(),
    "snapshots": lambda vault: vault.snapshots(),
    "a snapshot": lambda vault: vault.read("rows@paper"),
    "lineage": lambda vault: vault.lineage("made"),
    "children": lambda vault: vault.lineage("rows", direction="down"),
    "stale": lambda vault: vault.stale(),
    "history": lambda vault: vault.history("rows", key=1),
    "claims": lambda vault: vault.claims("rows"),
    "files": lambda vault: vault.files(),
    "run": lambda vault: vault.run("maker").environment,
    "sources": lambda vault: vault.sources("maker"),
}
WRITES: dict[str, Callable[[tv.Vault], Any]] = {
    "append": lambda vault: vault.append("rows", {"id": 9, "text": "ebb", "vec": [0.5, 0.5]}),
    "pause": lambda vault: vault.pause("maker"),
    "tag": lambda vault: vault.tag("rows@1", "best", replace=True),
    "rename": lambda vault: vault.rename("renamed", "again"),
    "vacuum": lambda vault: vault.vacuum(dry_run=False),
    "erase": lambda vault: vault.erase("rows", filters="id == 2"),
    "check": lambda vault: vault.check(),
}


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        with connected(url) as vault:
            fill(vault)
        yield url


def connected(url: str) -> tv.Vault:
    return tv.connect(url, create=True, capture="none", session=False, durability="fast", timeout_s=20)


def fill(vault: tv.Vault) -> None:
    """One of everything."""
    with vault.session("maker", params={"lr": 0.1}) as run:
        rows = pd.DataFrame({"id": [0, 1], "text": ["lamp", "oil lamp"], "vec": [[1.0, 0.0], [0.0, 1.0]]})
        vault.upsert("rows", rows, key="id")
        vault.upsert("rows", rows.assign(id=[1, 2]), key="id")
        vault.save("made", vault.read("rows")[["id"]])
        vault.describe("rows", "what lamps there are")
        run.log({"loss": 0.5}, step=1)
        vault.claim("rows", 1)
        vault.save("old", {"n": 1})
        vault.upsert("keyed", {"n": 1}, key="n")
        vault.upsert("keyed", {"n": 1}, key="n")
    vault.rename("old", "renamed")
    vault.snapshot("paper")
    vault.tag("rows@1", "best")
    vault.pause("maker")


def shown(vault: tv.Vault) -> dict[str, Any]:
    return {name: str(call(vault)) for name, call in READS.items()}


def test_documents_of_others_in_any_collection_change_nothing(url: str) -> None:
    with connected(url) as vault:
        before = shown(vault)
        for collection in COLLECTIONS:
            edge = {"_from": "x/1", "_to": "x/2"} if collection == "tv_edges" else {}
            database_of(url).collection(collection).insert({"hello": 1, **edge})
    with connected(url) as vault:
        assert shown(vault) == before
        for call in WRITES.values():
            call(vault)
        assert not (vault.check(fix=True)["severity"] == "damage").any()


def damages(url: str) -> list[tuple[str, str, str]]:
    """(collection, key, attribute) of a document of each collection."""
    places = []
    for collection in COLLECTIONS:
        seen: set[str] = set()
        for document in database_of(url).collection(collection).all():
            for attribute in document.keys() - {"_key", "_id", "_rev", "_from", "_to"} - seen:
                places.append((collection, document["_key"], attribute))
                seen.add(attribute)
    return sorted(places)


def test_a_lost_schema_is_told_and_edges_of_others_are_left_out(url: str) -> None:
    """Whatever an edge of another program says that its parent is."""
    edges = database_of(url).collection("tv_edges")
    for list_id, generation in ((1, "x" * 100), ([1], 1), ("1", None)):
        edges.insert({"_from": "x/1", "_to": "x/2", "parent_list": list_id, "parent_generation": generation})
    with connected(url) as vault:
        assert set(vault.lineage("rows", direction="down")["child_list"]) == {"made"}
    schemas = database_of(url).collection("tv_schemas")
    schemas.replace(
        {name: value for name, value in next(schemas.all()).items() if name not in ("arrow", "_rev")}
    )
    with connected(url) as vault:
        with pytest.raises(tv.VaultCorrupt, match=r"The schema .* in tv_schemas is damaged"):
            for name in vault:
                vault.read(name)
        assert vault.check()["detail"].str.contains("tv_schemas").any()


@pytest.mark.slow
@pytest.mark.ci
def test_a_damaged_attribute_is_told_or_harmless(url: str) -> None:
    """No call ends with an error that is none of ours."""
    places = damages(url)
    assert len(places) > 150
    wrong = []
    for number, (collection, key, attribute) in enumerate(places):
        if number % max(1, 12 // times(1)) != 0 and times(1) == 1:
            continue
        documents = database_of(url).collection(collection)
        kept = documents.get(key)
        for at in range(len(VALUES)) if times(1) > 1 else [number % len(VALUES)]:
            documents.update({"_key": key, attribute: VALUES[at]}, keep_none=True, merge=False)
            try:
                with connected(url) as vault:
                    for name, call in (READS | {"check": WRITES["check"]}).items():
                        try:
                            call(vault)
                        except VaultError:
                            pass
                        except Exception as error:  # noqa: BLE001  # any other one is what is looked for
                            wrong.append((collection, attribute, VALUES[at], name, repr(error)[:150]))
            except VaultError:
                pass
            documents.replace(kept, check_rev=False)
    assert "\n".join(map(str, wrong)) == ""  # a line for each


DAMAGED_VALUES: list[tuple[str, Any]] = [
    ("values", ["x"]), ("values", [0.5, 1.5]), ("values", None), ("steps", ["a"]), ("steps", []), ("times", [1, 2]),
    ("metric", 3), ("metric", None), ("attempt", "x"), ("block", {}), ("session", 1.5), ("session", 77),
]  # fmt: skip


def test_damaged_logged_values_are_told_with_their_session_and_metric(url: str) -> None:
    """By the call that reads them, and by check."""
    documents = database_of(url).collection("tv_measures")
    [kept] = documents.all()
    with connected(url) as vault:
        for attribute, value in DAMAGED_VALUES:
            documents.update({"_key": kept["_key"], attribute: value}, keep_none=True, merge=False)
            with pytest.raises(tv.VaultCorrupt, match=f"tv_measures/{kept['_key']}"):
                vault.metrics()
            damage = vault.check().query("path == @kept['_id']")
            assert damage["severity"].tolist() == ["damage"]
            if attribute not in ("session", "metric"):
                assert damage["detail"].str.startswith("values of 'loss' of maker#1: ").all()
            documents.replace(kept, check_rev=False)
        assert len(vault.metrics()) == 1
        assert vault.check().empty
