"""What a vault is made of on a server, and on which releases: missing parts are added, old releases are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from stores import database_of, new_database, put, rows, system

from tablevault_pd.errors import InvalidInput, StoreError

pytest.importorskip("arango")

import tablevault_pd as tv
from tablevault_pd.store.arango import ArangoStore, layout
from tablevault_pd.store.arango.users import grant

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: Any = SimpleNamespace(address="arangodb://here/db")


@pytest.fixture
def url() -> Iterator[str]:
    with new_database() as address:
        ArangoStore(address, create=True).close()
        yield address


@pytest.mark.parametrize("release", ["3.11.14", "3.12.0-2", "3.12.3"])
def test_a_release_that_may_become_read_only_is_refused(release: str) -> None:
    with pytest.raises(StoreError, match=rf"{re.escape(release)}\. A vault needs 3\.12\.4 or later"):
        layout.check_release(HERE, release)


def test_known_defects_are_told_once(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(layout, "_told", set())
    for release in ("3.12.4", "3.12.4", "3.12.8", "3.12.9", "3.12.10-1", "4.0.0"):
        layout.check_release(HERE, release)
    releases = [re.search(r"ArangoDB ([\d.]+\d)", str(warning.message)) for warning in recwarn]
    assert [release and release[1] for release in releases] == ["3.12.4", "3.12.8"]
    assert "vector index" in str(recwarn[0].message)
    assert "vector index" not in str(recwarn[1].message)


@pytest.mark.arango
def test_what_another_release_did_not_make_is_added(url: str) -> None:
    store = ArangoStore(url)
    put(store, "a", pa.table({"x": [1]}))
    store.close()
    database = database_of(url)
    database.delete_collection("tv_confirmations")
    database.delete_view("tv_search")
    [index] = [one for one in database.collection("tv_cells").indexes() if one["name"] == "tv_session_cell"]
    database.collection("tv_cells").delete_index(index["id"])
    database.collection("tv_meta").update({"_key": "vault", "layouts": {"another": True}}, merge=False)
    ArangoStore(url, read_only=True).close()
    assert not database.has_collection("tv_confirmations")
    again = ArangoStore(url)
    assert database.has_collection("tv_confirmations")
    assert {view["name"] for view in database.views()} >= {"tv_search"}
    assert "tv_session_cell" in {one["name"] for one in database.collection("tv_cells").indexes()}
    assert set(database.collection("tv_meta").get("vault")["layouts"]) == {"another", layout.LAYOUT}
    assert rows(again, again.head("a")) == [{"x": 1}]
    again.close()


@pytest.mark.arango
def test_a_layout_that_is_there_is_left_alone(url: str, sent: list[str]) -> None:
    ArangoStore(url).close()
    assert len(sent) == 1


@pytest.mark.arango
def test_a_writer_who_may_not_add_what_is_missing_is_told(url: str) -> None:
    name = url.rpartition("/")[2]
    try:
        grant(url, name, "writer", user_password="x")
        database_of(url).collection("tv_meta").update(
            {"_key": "vault", "layouts": {"another": True}}, merge=False
        )
        theirs = re.sub(r"//.*@", f"//{name}@", url)
        with pytest.warns(UserWarning, match="admin"):
            store = ArangoStore(theirs, password="x")
        put(store, "a", pa.table({"x": [1]}))
        store.close()
    finally:
        system().delete_user(name, ignore_missing=True)


@pytest.mark.arango
def test_the_analyzer_can_rank_and_find_phrases(url: str) -> None:
    [found] = [one for one in database_of(url).analyzers() if one["name"].endswith("::tv_words")]
    assert sorted(found["features"]) == ["frequency", "norm", "position"]


@pytest.mark.arango
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"create": True}, ("single", None, None)),
        ({"create": "oneshard", "replication_factor": 2, "write_concern": 2}, ("single", 2, 2)),
        ({"create": "sharded", "replication_factor": 3}, (None, 3, None)),
    ],
)
def test_a_database_lies_on_one_shard_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    from arango.database import StandardDatabase

    made = []
    real = StandardDatabase.create_database

    def create(self: Any, name: str, **more: Any) -> Any:
        made.append((more["sharding"], more["replication_factor"], more["write_concern"]))
        return real(self, name)

    monkeypatch.setattr(StandardDatabase, "create_database", create)
    with new_database() as url, tv.connect(url, session=False, **options):
        assert made == [expected]


@pytest.mark.parametrize(
    "options",
    [{"replication_factor": 0}, {"write_concern": 1.5}, {"create": "both"}, {"replication_factor": True}],
    ids=str,
)
def test_wrong_copies_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        tv.connect(tmp_path / "v", **options)


def test_the_compose_file_refuses_a_stale_search_index() -> None:

    yaml = pytest.importorskip("yaml", reason="needs PyYAML, which Panel brings")
    [server] = yaml.safe_load((Path(__file__).parents[1] / "docker-compose.yml").read_text())[
        "services"
    ].values()
    assert re.search(r":3\.12\.", server["image"])
    assert "--arangosearch.fail-queries-on-out-of-sync=true" in server["command"]
    assert "--vector-index=true" in server["command"]


def test_a_batch_document_stays_small_whatever_it_stands_for(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a stream, of many edges, of many reads and of erased rows all over it."""
    monkeypatch.setattr("tablevault_pd.store.arango.stage.PENDING_BYTES", 1)
    monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
    with tv.connect(url, create=True, capture="none") as vault:
        frame = pd.DataFrame({"n": range(120), "kind": pd.Categorical(["x"] * 120)})
        chunks = [frame[at : at + 2].reset_index(drop=True) for at in range(0, 120, 2)]
        vault.save("stream", iter(chunks), inputs=False)
        read = vault.read("stream")
        pd.testing.assert_frame_equal(read.reset_index(drop=True), frame)
        for number in range(20):
            vault.save(f"read {number}", pd.DataFrame({"n": [number]}), inputs=False)
            vault.read(f"read {number}")
        vault.save("made", read.sample(frac=0.5, random_state=0))
        assert len(vault.read("made", start=7, stop=8).vault.parents()) == 1
        vault.save("erased", pd.DataFrame({"n": np.random.default_rng(0).random(300)}), inputs=False)
        vault.erase("erased", filters="n < 0.3")
        assert vault.read("erased")["n"].min() >= 0.3
        assert vault.check().empty
    batches = list(database_of(url).collection("tv_batches"))
    assert not any("erased_rows" in batch for batch in batches)
    sizes = [len(json.dumps(batch)) for batch in batches]
    assert max(sizes) < 2_400  # with blanks that JSON need not have
    details = list(database_of(url).collection("tv_details"))
    assert max(len(one.get("parts", ())) for one in details) == 60
    assert (
        sum("erased_rows" in one for one in details) == 1
    )  # they lie beside the batch, however many they are


def test_what_grows_may_lie_beside_the_batch(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tablevault_pd.store.arango.commit.LARGE_BYTES", 0)
    monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
    with tv.connect(url, create=True, capture="none") as vault:
        frame = pd.DataFrame({"id": range(9), "text": ["lamp"] * 9, "kind": pd.Categorical(["x"] * 9)})
        vault.save("a", frame, key="id", inputs=False)
        vault.delete_rows("a", filters="id % 2 == 0")
        vault.append("a", frame.tail(1).assign(id=99))
        left = vault.read("a")
        assert left["id"].tolist() == [1, 3, 5, 7, 99]
        assert len(vault.search("lamp", lists="a")) == 5
        vault.restore("a", 1)
        vault.erase("a", filters="id < 3")
        assert vault.read("a")["id"].tolist() == [3, 4, 5, 6, 7, 8]
        assert vault.read("a", version=3)["id"].dropna().tolist() == [3, 5, 7, 99]
        vault.save("empty", frame[:0], inputs=False)
        assert vault.read("empty")["kind"].cat.categories.tolist() == ["x"]
        vault.delete("empty")
        vault.vacuum(deleted=True, dry_run=False)
        assert vault.check().empty
    with tv.connect(url, capture="none", mode="r") as vault:
        assert vault.read("a")["id"].tolist() == [3, 4, 5, 6, 7, 8]
    details = list(database_of(url).collection("tv_details"))
    assert {name for one in details for name in ("parts", "pieces") if one[name]} == {"parts", "pieces"}
