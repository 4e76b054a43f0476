"""Two clients of one server: what one does in the middle of a call of the other."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd
import pytest
from stores import new_database

pytest.importorskip("arango")

import tablevault_pd as tv
from tablevault_pd.errors import ListDeleted, ListRenamed, VaultBusy
from tablevault_pd.store.arango import commit, names, vacuum
from tablevault_pd.store.arango.client import Client
from tablevault_pd.store.arango.erase import Eraser
from tablevault_pd.store.arango.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.arango


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[tv.Vault, tv.Vault]]:
    """Two vaults on one place that share nothing."""
    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        options = {"capture": "none", "durability": "fast", "session": False}
        with (
            tv.connect(url, create=True, **options) as one,
            tv.connect(url.replace("127.0.0.1", "localhost"), **options) as other,
        ):
            assert one.store is not other.store
            yield one, other


def test_rows_erased_in_the_middle_of_a_read_are_left_out(clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once their cells are overwritten: an integer would be 0."""
    one, other = clients
    one.save("rows", pd.DataFrame({"id": range(4), "text": list("abcd")}))
    fetch = Reader._fetch

    def between(this: Any, *arguments: Any) -> Any:
        monkeypatch.setattr(Reader, "_fetch", fetch)
        other.erase("rows", filters="id == 1")
        other.erase("rows", filters="id == 3")
        return fetch(this, *arguments)

    monkeypatch.setattr(Reader, "_fetch", between)
    assert one.read("rows")["id"].tolist() == [0, 2]


@pytest.mark.parametrize(("moment", "dies"), [("before", False), ("after", False), ("after", True)])
def test_a_vacuum_in_the_middle_of_an_erase(
    clients, monkeypatch: pytest.MonkeyPatch, moment: str, dies: bool
) -> None:
    """It removes what the erase, once it has committed, is about to read and to overwrite, or is killed before it does."""
    one, other = clients
    one.save("rows", pd.DataFrame({"id": range(4), "text": list("abcd")}))
    one.save("rows", pd.DataFrame({"id": range(1, 4), "text": list("bxd")}))
    payloads, remove_items = Eraser._payloads, vacuum.remove_items

    def between(this: Any, *arguments: Any) -> Any:
        monkeypatch.setattr(Eraser, "_payloads", payloads)
        made = payloads(this, *arguments) if moment == "after" else None
        with pytest.raises(KeyboardInterrupt) if dies else nullcontext():
            other.vacuum(keep=1, dry_run=False)
        return made or payloads(this, *arguments)

    monkeypatch.setattr(Eraser, "_payloads", between)
    if dies:
        monkeypatch.setattr(vacuum, "remove_items", killed)
    one.erase("rows", filters="id == 1")
    assert one.read("rows")["id"].tolist() == [2, 3]
    assert set(one.check()["severity"]) == (
        {"stray"} if dies else set()
    )  # what the vacuum was about to remove
    monkeypatch.setattr(vacuum, "remove_items", remove_items)
    other.vacuum(keep=1, dry_run=False)
    assert one.check().empty
    assert other.search("x", lists="rows")["position"].tolist() == [0]


def test_a_client_that_dies_once_its_upsert_is_there_has_confirmed(
    clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A confirmation is in the transaction of its commit."""
    one, other = clients
    run = Client.run

    def and_dies(this: Client, *arguments: Any, **options: Any) -> Any:
        answer = run(this, *arguments, **options)
        if this is one.store.client and other.store.head("rows").version == 2:
            raise KeyboardInterrupt
        return answer

    with one.session("maker"):
        one.upsert("rows", pd.DataFrame({"id": [1, 2]}), key="id", inputs=False)
        monkeypatch.setattr(Client, "run", and_dies)
        with pytest.raises(KeyboardInterrupt):
            one.upsert("rows", pd.DataFrame({"id": [1, 3]}), key="id", inputs=False)
        monkeypatch.setattr(Client, "run", run)
    confirmed = [(entry.version, entry.rows) for entry in other.store.confirmations()]
    assert confirmed == [(2, ((0, 1),))]


@pytest.mark.parametrize("first", ["delete", "rename"])
def test_a_rename_or_delete_in_the_middle_of_the_other_is_what_counts(
    clients, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """The later one looks again, and is refused as it would be after the other one."""
    one, other = clients
    one.save("rows", pd.DataFrame({"id": [1]}))
    query = Client.query

    def between(this: Client, aql: str, /, **options: Any) -> Any:
        if aql in (commit.INSERT_ALONE, names.RENAME):
            monkeypatch.setattr(Client, "query", query)
            other.delete("rows") if first == "delete" else other.rename("rows", "new")
        return query(this, aql, **options)

    monkeypatch.setattr(Client, "query", between)
    with pytest.raises(ListDeleted if first == "delete" else ListRenamed):
        one.rename("rows", "new") if first == "delete" else one.delete("rows")


#: What changes more than one document, and would be undone halfway by a lock that stays.
CHANGES = {
    "tag": lambda vault: vault.tag("rows@1", "best"),
    "untag": lambda vault: vault.untag("rows@good"),
    "snapshot": lambda vault: vault.snapshot("paper", replace=True),
    "restore": lambda vault: vault.restore("rows", 1),
    "delete": lambda vault: vault.delete("rows"),
    "erase": lambda vault: vault.erase("rows", filters="id == 1"),
    "vacuum": lambda vault: vault.vacuum(dry_run=False),
    "rename": lambda vault: vault.rename("rows", "new"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_client_that_dies_anywhere_holds_no_lock(
    clients, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any of its requests: others change the same list at once, and find it sound."""
    one, other = clients
    monkeypatch.setattr(other.store.client, "timeout_s", 0.1)
    run, number = Client.run, 0
    one.save("rows", pd.DataFrame({"id": range(3), "text": list("abc")}))
    one.save("rows", pd.DataFrame({"id": range(1, 3), "text": list("bd")}))
    one.tag("rows@2", "good")
    while True:
        left = number = number + 1 + number // 3  # the more requests, the fewer of them

        def dying(this: Client, *arguments: Any, **options: Any) -> Any:
            nonlocal left
            answer = run(this, *arguments, **options)
            left -= this is one.store.client
            if left == 0 and this is one.store.client:
                raise KeyboardInterrupt
            return answer

        monkeypatch.setattr(Client, "run", dying)
        try:
            CHANGES[name](one)
        except KeyboardInterrupt:
            pass
        except tv.VaultError:  # done by the call that died before
            break
        else:
            break
        finally:
            monkeypatch.setattr(Client, "run", run)
        at = "new" if "new" in other else "rows"
        other.save(at, pd.DataFrame({"id": range(3), "text": [f"a {number}", "b", "c"]}))
        other.tag(f"{at}@{other[at].version}", "good", replace=True)
    assert number > 2
    assert one.store.client.database().list_transactions() == []
    problems = one.check()
    assert problems[problems["severity"] == "damage"].values.tolist() == []


def test_what_is_locked_and_for_how_long_is_told(clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program may hold locks for long."""
    one, other = clients
    one.save("rows", pd.DataFrame({"id": [1]}))
    monkeypatch.setattr(one.store.client, "timeout_s", 1.2)  # a lock is waited for a second
    dead = other.store.client.database().begin_transaction(write=["tv_lists", "tv_meta"])
    dead.aql.execute("FOR l IN tv_lists UPDATE l WITH {touched: 'x'} IN tv_lists")
    dead.aql.execute("FOR m IN tv_meta FILTER m._key == 'lists' UPDATE m WITH {touched: 'x'} IN tv_meta")
    for call in (lambda: one.delete("rows"), lambda: one.rename("rows", "new")):
        with pytest.raises(
            VaultBusy, match=r"Others had locked the list 'rows' in .* for 1\.2 s: .*another program"
        ):
            call()
    with pytest.raises(VaultBusy, match="Others had locked the number of the new list 'more' in"):
        one.save("more", pd.DataFrame({"id": [1]}))
    dead.abort_transaction()
    one.delete("rows")


def killed(*_: Any) -> None:
    raise KeyboardInterrupt
