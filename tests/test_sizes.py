"""The bytes that ``lists()`` says are those of all stored rows, whoever wrote or removed some since they were added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from stores import put

import tablevault_pd as tv
from tablevault_pd.errors import Conflict
from tablevault_pd.store.embedded import EmbeddedStore, sizes

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

ADDED_UP = "SELECT l.name, coalesce(sum(s.size), 0) FROM lists l LEFT JOIN segments s ON s.list = l.id GROUP BY l.name"


def shown(store: EmbeddedStore) -> dict[str, int]:
    """What a store says, once that is checked."""
    with store.catalog.reading() as db:
        added_up = dict(db.execute(ADDED_UP).fetchall())
    by_list = {state.head.list: state.size_bytes for state in store.lists()}
    assert by_list == added_up
    return by_list


def test_sizes_follow_every_change(tmp_path: Path) -> None:
    with tv.connect(tmp_path / "v", session=False, durability="fast") as vault:
        here, other = vault.store, EmbeddedStore(tmp_path / "v")
        assert shown(here) == {}
        seen: list[dict[str, int]] = []

        def both() -> None:
            assert shown(here) == shown(other)
            seen.append(shown(here))

        for number in range(3):
            vault.append("a", {"n": number})
            both()
        put(other, "b", pa.table({"x": [1, 2]}))
        both()
        vault.save("a", pd.DataFrame({"n": np.arange(50_000), "x": 0.5}))  # a file
        for number in range(3):
            vault.append("a", {"n": number, "x": 1.0})
        both()
        with pytest.raises(Conflict):
            vault.append("a", {"n": 1, "x": 0.5}, expect=1)
        assert shown(here) == seen[-1]
        assert len(vault.compact())
        both()
        vault.erase("a", rows=[3])
        both()
        assert len(vault.vacuum(keep=1, dry_run=False))
        both()
        assert seen[-1]["a"] < seen[-2]["a"]
        vault.rename("a", "c")
        vault.save("a", {"n": 7}, expect=0)
        both()
        other.close()


def test_a_removal_that_is_rolled_back_leaves_the_sizes(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "v")
    put(store, "a", pa.table({"x": [1]}))
    before = shown(store)

    def fail(db: sqlite3.Connection) -> None:
        assert sizes.remove_parts(db, [1, 2]) == 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.catalog.write(fail)
    assert shown(store) == before
    put(store, "a", pa.table({"x": [2]}), operation="append")
    assert shown(store)["a"] > before["a"]
    store.close()


def test_sizes_are_added_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many parts there are, later calls look at those that came since."""
    store = EmbeddedStore(tmp_path / "v")
    for number in range(5):
        put(store, "a", pa.table({"x": [number]}), operation="append")
    shown(store)
    with store.catalog.reading() as db:
        plan = str(db.execute(f"EXPLAIN QUERY PLAN {sizes.SIZES_SINCE}", (5,)).fetchall())
    assert "SEARCH segments USING INTEGER PRIMARY KEY (rowid>?)" in plan
    assert store._versions._sizes._known[1] == 5
    store.close()
