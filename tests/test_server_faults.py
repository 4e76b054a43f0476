"""Errors of a server: each number in each kind of call ends right or as an error of its own, and nothing told is lost.

A proxy injects the errors, so this runs before a server of any make. The oracle is a vault in a folder, which does the same
without faults: answers and contents must agree after every call.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from fault_proxy import storm
from stores import Faults, act, database_of, edges_at, faults, index_texts, new_database, put, rows, system

import tablevault_pd as tv
from tablevault_pd import frames
from tablevault_pd.errors import (
    InvalidInput,
    QueryTimeout,
    StorageFull,
    StoreError,
    StoreUnavailable,
    VaultBusy,
    VaultCorrupt,
    VaultError,
    VaultReadOnly,
)
from tablevault_pd.search.query import parse_text
from tablevault_pd.store import (
    Beat,
    Cell,
    Description,
    Measures,
    Scope,
    Session,
    Store,
    VectorQuery,
    VersionLookup,
)
from tablevault_pd.store.edges import STATED, Edge, EdgeForm
from tablevault_pd.store.embedded import EmbeddedStore

pytest.importorskip("arango")

from tablevault_pd.store.arango import ArangoStore
from tablevault_pd.store.arango import address as addresses
from tablevault_pd.store.arango import client as clients
from tablevault_pd.store.arango.client import Client
from tablevault_pd.store.arango.server_errors import Failure
from tablevault_pd.store.arango.users import grant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["faults"]  # a fixture, used by its name

BUSY = [18, 28, 29, 1200]
NOT_READY = [
    30, 38, 503, 1236, 1302, 1303, 1457, 1464, 1465, 1474, 1478, *range(1489, 1497), 1600, 1601, 1654, 1655, 21003, 21004,
]  # fmt: skip
NO_COPIES = [1004, 1429]
PASSING = [*BUSY, *NOT_READY, *NO_COPIES]
FINAL = [
    (32, StoreError, "memory.*columns=.*filters="),
    (1500, QueryTimeout, "too long.*timeout_s="),
    (9005, VaultReadOnly, "licence"),
    (1104, StorageFull, "full"),
    (1481, StoreError, "out of sync"),
    (4711, StoreError, "injected 4711"),
]
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("numbers", "error"), [(BUSY, VaultBusy), (NOT_READY, StoreUnavailable), (NO_COPIES, VaultReadOnly)]
)
def test_what_passes_is_tried_again(numbers: list[int], error: type[VaultError]) -> None:
    for number in numbers:
        failure = Failure("the words", number, 500)
        assert failure.transient
        told = failure.error("there", 3, "a list")
        assert type(told) is error
        assert "there" in str(told)
        assert "the words" in str(told)


def test_no_error_of_the_server_is_told_as_damage() -> None:
    for number, status in product(range(10_000), (400, 401, 403, 404, 409, 500, 503)):
        told = Failure("the words", number, status).error("there", 3, "a list")
        assert not isinstance(told, VaultCorrupt)
        if type(told) is StoreError:
            assert str(number) in str(told)


# ---------------------------------------------------------------- every kind of call


@dataclass
class World:
    """One store, and what calls need of it."""

    store: Store
    folder: Path
    session: int
    asked: int = 0

    @classmethod
    def of(cls, store: Store, folder: Path) -> World:
        """A store with two versions of a list, a description, and a session."""
        session = store.open_session(Session("s", "u", "h", 1, NOW)).id
        first = put(store, "a", table("apple", "pear", "plum"), session_id=session, cell=1)
        edge = Edge(
            first.list_id, first.version, first.generation, STATED, EdgeForm.AFFINE, 0, 3, 0, 3, step=1
        )
        put(store, "made", table("one", "two", "three"), edges=(edge,), session_id=session)
        store.describe(Description("BASE", "about fruit", first.list_id))
        folder.mkdir(exist_ok=True)
        return cls(store, folder, session)

    @property
    def head(self) -> Any:
        """The newest version of the list."""
        return self.store.head("a")

    def keep_file(self, text: str) -> str:
        """Keep a file with the row of a list of its own."""
        path = self.folder / "file"
        path.write_text(text)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        with self.store.keeping() as keeping:
            keeping(path, sha256)
            put(self.store, "files", pa_table(sha256), files=keeping.files, token=f"file {text}")
        return sha256


def table(*texts: str) -> Any:
    vectors = [[float(number), 1.0] for number in range(len(texts))]
    frame = pd.DataFrame({"n": range(len(texts)), "text": pd.array(texts, dtype="string"), "vec": vectors})
    return frames.encode(frame, embeddings=["vec"])


def pa_table(text: str) -> Any:
    return frames.encode(pd.DataFrame({"sha256": [text]}))


def hits_of(hits: Any) -> list[Any]:
    return [hits.scope.tolist(), hits.position.tolist(), hits.item.tolist(), hits.score.round(6).tolist()]


def texts_of(world: World) -> list[Any]:
    """What a search of texts finds; a folder weighs words by what is indexed while lists wait that are not searched."""
    if isinstance(world.store, EmbeddedStore):
        index_texts(world.store)
    return hits_of(world.store.search_text(parse_text("apple"), [Scope(world.head)], k=2))


def told_of(world: World, number: int) -> Any:
    """Send a beat that tells something of everything; what it is answered."""
    cell = Cell(world.session, number, f"code_{number}()", NOW)
    values = Measures(world.session, "m", *(np.array([number]),) * 2, np.array([number / 2]))
    beat = Beat(
        world.session, number, True, cells=(cell,), measures=(values,), changes={"tags": (str(number),)}
    )
    return [request.request for request in world.store.beat([beat]).requests]


TICKS = count(10)
CALLS: dict[str, Callable[[World, int], Any]] = {
    "save": lambda w, n: put(w.store, "a", table("apple", "pear", f"plum {n}"), token=f"save {n}").version,
    "append": lambda w, n: put(w.store, "a", table(f"fig {n}"), operation="append", token=f"append {n}").total,
    "delete": lambda w, n: [
        put(w.store, "gone", table("x"), token=f"to delete {n}").version,
        act(w.store, "gone", "delete", token=f"delete {n}").version,
    ],
    "restore": lambda w, n: act(w.store, "a", "restore", target=1, token=f"restore {n}").total,
    "new list": lambda w, n: put(w.store, f"list {n}", table("apple"), token=f"new {n}").version,
    "with edges": lambda w, n: put(
        w.store, "made", table("x"), token=f"edges {n}", edges=(Edge(
            w.head.list_id, 1, 1, STATED, EdgeForm.AFFINE, 0, 1, 0, 1, step=1
        ),),
    ).version,
    "keep a file": lambda w, n: w.keep_file(f"content {n}"),
    "open_file": lambda w, n: w.store.open_file(w.keep_file("same")).read(),
    "head": lambda w, n: w.head.version,
    "version": lambda w, n: w.store.version("a", 1).total,
    "find_versions": lambda w, n: [
        found and found.version
        for found in w.store.find_versions([VersionLookup("a", 1), VersionLookup("made"), VersionLookup("no")])
    ],
    "versions": lambda w, n: [(v.list, v.version, v.operation, v.total) for v in w.store.versions("a")],
    "lists": lambda w, n: [(each.head.list, each.head.version) for each in w.store.lists()],
    "names": lambda w, n: w.store.names("list"),
    "scan": lambda w, n: rows(w.store, w.head),
    "one row": lambda w, n: rows(w.store, w.store.version("a", 1), start=1, stop=2),
    "schema": lambda w, n: w.store.schema(w.head.schema_id).names,
    "spans_written": lambda w, n: len(w.store.spans_written([w.head]).scope),
    "open_session": lambda w, n: w.store.open_session(Session("t", "u", "h", 1, NOW)).run,
    "update_session": lambda w, n: w.store.update_session(w.session, params={"n": n}),
    "put_cell": lambda w, n: w.store.put_cell(Cell(w.session, 1, f"put_{n}()", NOW)),
    "cells": lambda w, n: sorted((cell.cell, cell.text) for cell in w.store.cells()),
    "beat": told_of,
    "empty beat": lambda w, n: [r.request for r in w.store.beat([Beat(w.session)]).requests],
    "ask": lambda w, n: [asked.request for asked in w.store.ask([w.session], "pause")],
    "requests": lambda w, n: [asked.request for asked in w.store.requests([1])],
    "overview": lambda w, n: [s.label for s in w.store.overview().sessions],
    "sessions": lambda w, n: [(s.label, s.params) for s in w.store.sessions(info=True)],
    "measures": lambda w, n: w.store.measures()["value"].to_pylist(),
    "change_tags": lambda w, n: w.store.change_tags(
        sessions=[w.session], versions=[(w.head.list_id, 1)], add=(f"t{n}",), remove=(f"t{n - 1}",)
    ),
    "describe": lambda w, n: w.store.describe(Description(f"L{n}", f"words {n}", w.head.list_id)),
    "descriptions": lambda w, n: sorted(d.text for d in w.store.descriptions()),
    "search_text": lambda w, n: texts_of(w),
    "search_descriptions": lambda w, n: [d.text for d in w.store.search_descriptions(parse_text("fruit"))],
    "search_code": lambda w, n: len(w.store.search_code(parse_text("code_10"))),
    "search_vectors": lambda w, n: [
        hits_of(hits)
        for hits in w.store.search_vectors(
            [VectorQuery(0, "vec", np.array([[1.0, 0.5]]))], [Scope(w.head)], k=2, metric="cosine"
        )
    ],
    "edges": lambda w, n: len(edges_at(w.store, 1, 1, [(0, 3)], side="parent")),
    "note_reads": lambda w, n: w.store.note_reads(w.session, [(w.head.list_id, 1)]),
    "check": lambda w, n: w.store.check(),
    "vacuum": lambda w, n: [freed.what for freed in w.store.vacuum(keep=1000, dry_run=False)],
}  # fmt: skip


def state(world: World) -> list[Any]:
    """What was acknowledged, as far as both stores tell it alike."""
    store = world.store
    lists = [
        [(v.list, v.version, v.operation, v.total, v.tags) for v in store.versions()],
        [rows(store, head.head) for head in store.lists() if head.head.operation != "delete"],
        sorted(d.text for d in store.descriptions(history=True)),
        [(s.label, s.tags, s.params) for s in store.sessions()],
        sorted((cell.cell, cell.text) for cell in store.cells()),
        store.measures()["value"].to_pylist(),
        [(request.request, request.acknowledged is None) for request in store.requests(range(100))],
        store.reads(),
    ]
    return [sorted(part) if number == 0 else part for number, part in enumerate(lists)]


@pytest.fixture
def worlds(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[World, World, Faults]]:
    """The same in a folder, and behind a proxy on a server."""
    monkeypatch.setattr(clients, "FIRST_PAUSE_S", 0.0005)
    monkeypatch.setattr(clients, "LONGEST_PAUSE_S", 0.001)
    with new_database(faulty=True) as url:
        here, there = EmbeddedStore(tmp_path / "v.vault"), ArangoStore(url, create=True, timeout_s=120)
        yield World.of(here, tmp_path / "one"), World.of(there, tmp_path / "two"), faults
        faults.clear()
        assert there.check() == []
        here.close()
        there.close()


def requests_of(call: Callable[[World, int], Any], world: World, faults: Faults, number: int) -> int:
    faults.reset()
    call(world, number)
    return faults.requests()


@pytest.mark.arango
def test_every_call_outlasts_every_error_that_passes(worlds: tuple[World, World, Faults]) -> None:
    """All errors one after another at the first request of each call, and some at each later one."""
    here, there, faults = worlds
    for turn, (name, call) in enumerate(CALLS.items()):
        some = list(storm(PASSING, turn))
        number = next(TICKS)
        sent = requests_of(call, there, faults, number)
        call(here, number)
        for at in range(min(sent, 9)):  # a check asks for each list anew
            number = next(TICKS)
            for kind in some if at == 0 else some[at % 7 :: 9]:
                faults.add("/tv_test_", kind, skip=at)
            assert call(there, number) == call(here, number), (name, at)
            faults.clear()
    assert state(there) == state(here)


@pytest.mark.arango
def test_every_call_tells_an_error_that_stays_and_loses_nothing(worlds: tuple[World, World, Faults]) -> None:
    here, there, faults = worlds
    for name, call in CALLS.items():
        number = next(TICKS)
        for error_number, error, words in FINAL:
            # Whether the user may write is asked before a vacuum; no answer to that counts as one.
            faults.add(r"/tv_test_\w+/_api/(?!user)", f"error:{error_number}")
            with pytest.raises(error, match=words):
                call(there, number)
            faults.clear()
        assert call(there, number) == call(here, number), name
    assert state(there) == state(here)


@pytest.mark.arango
def test_every_call_outlasts_lost_requests_and_answers(worlds: tuple[World, World, Faults]) -> None:
    here, there, faults = worlds
    for name, call in CALLS.items():
        number = next(TICKS)
        for kind in ("drop-before", "drop-after", "status:503", "drop-after"):
            faults.add("/tv_test_", kind)
        assert call(there, number) == call(here, number), name
        assert faults.left() == 0
    assert state(there) == state(here)


# ---------------------------------------------------------------- who may write, and whom to ask


@pytest.mark.arango
def test_a_user_without_rights_is_told_at_once(faults: Faults) -> None:
    """The number also means that copies are missing, which passes: only here there is nothing to wait for."""
    with new_database(faulty=True) as url:
        ArangoStore(url, create=True).close()
        name = url.rpartition("/")[2]
        try:
            grant(url, name, "reader", user_password="x")
            address = replace(addresses.parse(url)[0], user=name)
            store = ArangoStore(str(address), password="x", timeout_s=600)
            faults.add("cursor", "error:1004")
            with pytest.raises(VaultReadOnly):
                store.open_session(Session("s", "u", "h", 1, NOW))
            store.close()
        finally:
            system().delete_user(name, ignore_missing=True)


@pytest.mark.arango
def test_the_next_coordinator_is_asked_when_one_is_gone(faults: Faults) -> None:
    """The first address refuses connections; the second is the proxy, which is asked from then on."""
    with new_database(faulty=True) as url:
        login, _, rest = url.partition("@")
        several = f"{login}@127.0.0.1:1,{rest}"
        with_gap = ArangoStore(several, create=True, timeout_s=60)
        put(with_gap, "a", pa_table("x"), token="t")
        faults.add(r"POST .*/_api/document/tv_batches", "error-after:1491")
        assert put(with_gap, "a", pa_table("y"), token="u").version == 2
        faults.reset()
        assert with_gap.head("a").version == 2
        assert faults.requests() == 1
        assert with_gap.place == several.replace(f":{login.rpartition(':')[2]}@", "@")
        assert [batch["version"] for batch in database_of(url).collection("tv_batches").all()] == [1, 2]
        with_gap.close()


def test_addresses_of_several_coordinators() -> None:
    address, secret = addresses.parse("arangodbs://me:p%2C@one:8530,[::1],two/db")
    assert address.hosts == (("one", 8530), ("::1", 8529), ("two", 8529))
    assert address.bases == ["https://one:8530", "https://[::1]:8529", "https://two:8529"]
    assert secret is not None
    assert secret.reveal() == "p,"
    assert addresses.parse(str(address))[0] == address
    assert not address.local
    for wrong in ("arangodb://one,/db", "arangodb://,/db", "arangodb://one:x,two/db"):
        with pytest.raises(InvalidInput, match="host1:8529,host2:8529"):
            addresses.parse(wrong)


def test_every_coordinator_is_tried_before_a_vault_is_called_unreachable() -> None:
    address, _ = addresses.parse("arangodb://root@127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/x")
    client = Client(
        address, addresses.Secret("x"), None, read_only=True, timeout_s=30, sync=True, verify_tls=True
    )
    asked = []

    def operation(database: Any) -> None:
        asked.append(client._here.coordinator.number)
        database.aql.execute("RETURN 1")

    with pytest.raises(StoreUnavailable, match="no answer"):
        client.run(operation, unreachable_s=0)
    assert asked == [0, 1, 2]
    client.close()


@pytest.mark.arango
def test_every_statement_ends_before_its_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Looked at where it leaves: whatever sends a statement, the server is told when to stop."""
    from tablevault_pd.store.arango import transport

    limits: list[tuple[float, float]] = []
    real = transport.Transport.send_request

    def send(self: Any, session: Any, method: str, url: str, *rest: Any, **more: Any) -> Any:
        if method == "post" and url.endswith("/_api/cursor"):
            options = json.loads(more["data"]).get("options", {})
            limits.append((options.get("maxRuntime", 0), self.wait_s))
        return real(self, session, method, url, *rest, **more)

    with new_database() as url:
        monkeypatch.setattr(transport.Transport, "send_request", send)
        store = ArangoStore(url, create=True, timeout_s=7)
        world = World.of(store, tmp_path)
        for number, call in enumerate(CALLS.values()):
            call(world, 1000 + number)
        store.close()
    assert len(limits) > 100
    assert [pair for pair in limits if not 0 < pair[0] < pair[1]] == []


@pytest.mark.arango
def test_a_large_file_is_read_in_pages_that_are_tried_again_by_themselves(
    monkeypatch: pytest.MonkeyPatch, faults: Faults, tmp_path: Path
) -> None:
    from tablevault_pd.store.arango import blobs

    monkeypatch.setattr(blobs, "CHUNK_BYTES", 10)
    with new_database(faulty=True) as url:
        store = ArangoStore(url, create=True)
        world = World(store, tmp_path, 0)
        content = "0123456789" * 21 + "end"
        sha256 = world.keep_file(content)
        faults.reset()
        assert store.open_file(sha256).read() == content.encode()
        assert faults.requests() == 1 + 6
        faults.add("cursor", "drop-after", skip=4, count=2)
        faults.reset()
        assert store.open_file(sha256).read() == content.encode()
        assert faults.requests() == 1 + 6 + 2
        world.keep_file(content)  # found whole, and not kept again
        assert len([one for one in database_of(url).collection("tv_blobs").all() if one["n"] >= 0]) == 22
        store.close()


@pytest.mark.arango
def test_an_erase_that_runs_out_of_time_once_it_is_done_says_so(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_database(faulty=True) as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", url.partition("//root:")[2].partition("@")[0])
        options: dict[str, Any] = {"capture": "none", "session": False, "timeout_s": 0.2}
        with tv.connect(url, create=True, **options) as vault:
            vault.save("people", pd.DataFrame({"name": ["Anna Angstrom", "Bo Berg", "Cy Curtis"]}))
            faults.add("erased_rows == @numbers", "error:503", count=1000)  # what overwrites them
            gone = vault.erase("people", filters="name == 'Bo Berg'")
            faults.clear()
            assert gone["detail"].iloc[0] == "people@2 was made without them"
            told = gone.set_index("what").loc["stored bytes"]
            assert told["remains"]
            assert "503" in told["detail"]
            assert "next connect()" in told["detail"]
            assert vault.read("people")["name"].tolist() == ["Anna Angstrom", "Cy Curtis"]
        with tv.connect(url, **options) as vault:
            [vault_document] = database_of(url).aql.execute("RETURN DOCUMENT('tv_meta/vault')")
            assert vault_document["erasing"] == []
            assert "Berg" not in json.dumps(list(database_of(url).collection("tv_records").all()))
            faults.add("FOR d IN tv_descriptions", "error:503", count=1000)  # the look for what quotes them
            with pytest.raises(StoreUnavailable, match="rows are erased, people@3 was made without them"):
                vault.erase("people", filters="name == 'Cy Curtis'")
            faults.clear()
            assert vault.read("people")["name"].tolist() == ["Anna Angstrom"]
            assert vault.check().empty
