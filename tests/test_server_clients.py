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
from tablevault_pd.store.arango import vacuum
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


def killed(*_: Any) -> None:
    raise KeyboardInterrupt
