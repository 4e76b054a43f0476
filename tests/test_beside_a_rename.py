"""Another client renames a list in the middle of a call: the call is done, or says what the list is called now. On both stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.errors import ListRenamed
from tablevault_pd.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from stores import Place

METHODS = {name for name in dir(Store) if not name.startswith("_") and callable(getattr(Store, name))}
ROWS = pd.DataFrame({"id": [1, 2], "text": ["lamp", "tide"]})
CALLS: dict[str, Callable[[tv.Vault], Any]] = {
    "restore": lambda vault: vault.restore("old", 1),
    "restore what is named": lambda vault: vault.restore("old@good"),
    "delete": lambda vault: vault.delete("old"),
    "save": lambda vault: vault.save("old", ROWS.assign(id=[1, 9])),
    "append": lambda vault: vault.append("old", ROWS.assign(id=[7, 8])),
    "upsert": lambda vault: vault.upsert("old", {"id": 2, "text": "ebb"}, key="id"),
    "delete_rows": lambda vault: vault.delete_rows("old", filters="id == 2"),
    "erase": lambda vault: vault.erase("old", filters="id == 2"),
    "rename": lambda vault: vault.rename("old", "other"),
    "tag": lambda vault: vault.tag("old@2", "best"),
    "untag": lambda vault: vault.untag("old@good"),
    "describe": lambda vault: vault.describe("old", "what it is"),
    "read": lambda vault: vault.read("old"),
    "read a version": lambda vault: vault.read("old@1"),
    "read what is named": lambda vault: vault.read("old@good"),
    "search": lambda vault: vault.search("lamp", lists="old"),
    "history": lambda vault: vault.history("old", key=1),
    "versions": lambda vault: vault.versions("old"),
    "stale": lambda vault: vault.stale("old"),
    "compare": lambda vault: vault.compare("old@1", "old@2", on="id"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_list_that_is_renamed_beside_a_call(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each step of it, that is, whatever it asks the store."""
    if place.address.startswith("arangodb"):
        monkeypatch.setenv("TABLEVAULT_PASSWORD", place.address.partition("//root:")[2].partition("@")[0])
    at, renamed = 0, True
    with tv.connect(place.address, create=True, capture="none", session=False) as vault:
        while renamed:
            at += 1
            vault.upsert("old", ROWS, key="id", expect=0)
            vault.upsert("old", {"id": 1, "text": f"lamps {at}"}, key="id")
            vault.tag("old@1", "good")
            renamed = beside(vault, CALLS[name], at, monkeypatch)
            there = [known for known in vault if known in ("old", "new", "other")]
            if there:
                vault.rename(there[0], f"gone {at}")
        assert at > 1
        assert not (vault.check()["severity"] == "damage").any()


def beside(
    vault: tv.Vault, call: Callable[[tv.Vault], Any], at: int, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Make the call, with a rename before it asks the store for the time number `at`; whether it asks so often."""
    kind, count = type(vault.store), 0

    def counting(store: Store, name: str) -> Any:
        nonlocal count
        count += name in METHODS
        if name in METHODS and count == at:
            object.__getattribute__(store, "rename_list")("old", "new")
        return object.__getattribute__(store, name)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "__getattribute__", counting)
        try:
            call(vault)
        except ListRenamed as error:
            assert "'new'" in str(error)
    return count >= at


def test_a_list_that_is_made_beside_a_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not there when it was looked up, and is when the error would say what is: it is read."""
    if place.address.startswith("arangodb"):
        monkeypatch.setenv("TABLEVAULT_PASSWORD", place.address.partition("//root:")[2].partition("@")[0])
    with tv.connect(place.address, create=True, capture="none", session=False) as vault:
        find_versions = vault.store.find_versions

        def and_makes(*lookups: Any) -> Any:
            versions = find_versions(*lookups)
            if "new" not in vault.store.names():
                vault.save("new", ROWS)
            return versions

        monkeypatch.setattr(vault.store, "find_versions", and_makes)
        assert vault.read("new")["id"].tolist() == [1, 2]
        with pytest.raises(tv.VersionNotFound, match="has no version 2; its newest is 1"):
            vault.read("new@2")
