"""The ArangoDB store alone: lost answers, dead clients, many writers, damage, secrets, requests, rights."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import logging
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import Faults, act, database_of, faults, keep, new_database, put, rows, system, table_of
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.errors import (
    Conflict,
    InvalidInput,
    StoreUnavailable,
    VaultCorrupt,
    VaultFormatError,
    VaultNotFound,
    VaultReadOnly,
    VersionNotFound,
)
from tablevault_pd.store import Batch, Beat, Cell, Description, Measures, ModuleSource, Session

pytest.importorskip("arango")

from tablevault_pd.filters.predicate import Condition
from tablevault_pd.store.arango import ArangoStore, commit, layout, mirror, payloads
from tablevault_pd.store.arango import address as addresses
from tablevault_pd.store.arango.client import Client
from tablevault_pd.store.arango.columns import base36
from tablevault_pd.store.arango.transport import to_json
from tablevault_pd.store.arango.users import grant
from tablevault_pd.store.engine.payloads import seed_of
from tablevault_pd.store.text_query import Word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["faults"]  # a fixture, used by its name
pytestmark = pytest.mark.arango
ITEMS = r"POST .*/_api/document/tv_payloads"
COMMIT = r"POST .*/_api/document/tv_batches"
COMMIT_OF_SESSION = r"LET resumed = \("
ANYTHING = r"/tv_test_"


@pytest.fixture
def url() -> Iterator[str]:
    with new_database(faulty=True) as address:
        ArangoStore(address, create=True).close()
        yield address


@pytest.fixture
def store(url: str) -> Iterator[ArangoStore]:
    opened = ArangoStore(url, timeout_s=60)
    yield opened
    opened.close()


def numbers(*values: int) -> pa.Table:
    return pa.table({"x": pa.array(values, pa.int64())})


def values_of(store: ArangoStore, name: str) -> list[int]:
    return [row["x"] for row in rows(store, store.head(name))]


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "status:503"])
@pytest.mark.parametrize(
    "match", [ITEMS, COMMIT, r"POST .*/_api/document/tv_schemas", r"POST .*/_api/cursor", "LET payloads"]
)
def test_a_save_survives_lost_requests_and_answers(
    store: ArangoStore, faults: Faults, match: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if match == ITEMS:  # as many rows are sent; few rows take a statement
        monkeypatch.setattr("tablevault_pd.store.arango.stage.SMALL_BYTES", 0)
    put(store, "a", numbers(1))
    faults.add(match, kind, count=2)
    version = put(store, "a", pa.table({"x": [2], "y": ["new"]}), operation="append")
    assert faults.left() == 0
    assert rows(store, version) == [{"x": 1}, {"x": 2, "y": "new"}]
    assert [v.version for v in store.versions("a")] == [1, 2]
    assert store.check() == []


@pytest.mark.parametrize("resumed", [False, True])
def test_a_commit_of_a_session_whose_answer_is_lost_is_there_once(
    store: ArangoStore, faults: Faults, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    """Also where another process resumed the session before the commit is tried again: then it stands."""
    opened = store.open_session(Session("train", "u", "h", 1, datetime.now(UTC)))
    put(store, "a", numbers(1), session_id=opened.id, attempt=0)
    real = store.client.query

    def query(aql: str, /, **values: Any) -> list[Any]:
        answer = real(aql, **values)
        if aql is commit.INSERT_OF_SESSION and resumed:
            monkeypatch.undo()
            [seen] = store.sessions()
            store.reopen_session(seen, last_beat=seen.heartbeat)
            return real(aql, **values)  # as if the first answer had been lost
        return answer

    monkeypatch.setattr(store.client, "query", query)
    if not resumed:
        faults.add(COMMIT_OF_SESSION, "drop-after", count=2)
    assert put(store, "a", numbers(2), operation="append", session_id=opened.id, attempt=0).version == 2
    assert faults.left() == 0
    assert values_of(store, "a") == [1, 2]
    assert store.check() == []


def test_a_commit_whose_answer_is_lost_is_there_once(store: ArangoStore, faults: Faults) -> None:
    for operation in ("save", "append", "append"):
        faults.add(COMMIT, "drop-after", count=3)
        put(store, "a", numbers(7), operation=operation)
    faults.add(COMMIT, "drop-after")
    act(store, "a", "delete")
    assert [v.operation for v in store.versions("a")] == ["save", "append", "append", "delete"]
    assert store.check() == []


@pytest.mark.parametrize("skip", [0, 1], ids=["look", "insert"])
@pytest.mark.parametrize("kind", ["drop-before", "drop-after"])
def test_a_restore_and_a_rename_survive_lost_answers(
    store: ArangoStore, faults: Faults, kind: str, skip: int
) -> None:
    put(store, "a", numbers(1))
    put(store, "a", numbers(2))
    faults.add(r"POST .*/_api/cursor", kind, skip=skip)
    act(store, "a", "restore", target=1)
    assert faults.left() == 0
    assert values_of(store, "a") == [1]
    assert len(store.versions("a")) == 3
    faults.add(r"POST .*/_api/cursor", kind, skip=skip)
    assert store.rename_list("a", "b").version == 3
    assert faults.left() == 0
    assert [rename.old for rename in store.renames()] == ["a"]
    assert values_of(store, "b") == [1]
    assert store.check() == []


def test_a_restore_whose_answer_is_lost_leaves_a_new_list_of_that_name_alone(
    url: str, store: ArangoStore, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done, in the list that another client has renamed before it is tried again."""
    for number in (1, 2):
        put(store, "a", numbers(number))

    def rename(_: float) -> None:
        monkeypatch.undo()
        with closing(ArangoStore(url)) as other:
            other.rename_list("a", "b")
            for number in (3, 4):
                put(other, "a", numbers(number), expect=number - 3)

    monkeypatch.setattr(time, "sleep", rename)
    faults.add(r"POST .*/_api/cursor", "drop-after", skip=1)
    assert act(store, "a", "restore", target=1).version == 3
    assert (values_of(store, "a"), values_of(store, "b")) == ([4], [1])
    assert len(store.versions()) == 5


@pytest.mark.parametrize("skip", [0, 1], ids=["look", "put"])
@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "error:1200"])
def test_names_survive_lost_answers(
    url: str, store: ArangoStore, faults: Faults, kind: str, skip: int
) -> None:
    """What is tried again finds that it was done, and neither does it twice nor takes it for another one's."""
    first = put(store, "a", numbers(1))
    put(store, "a", numbers(2))
    key = first.list_id, 1

    def named(change: Callable[[], Any]) -> list[Any]:
        faults.add(r"POST .*/_api/cursor", kind, skip=skip)
        told = change()
        assert faults.left() == 0
        return [told, [(name.name, name.version, name.snapshot) for name in store.version_names()]]

    assert named(lambda: store.tag_versions([key], add=["best", "good"])) == [
        None,
        [("best", 1, False), ("good", 1, False)],
    ]
    assert named(lambda: store.tag_versions([(first.list_id, 2)], add=["best"], replace=True))[1] == [
        ("good", 1, False),
        ("best", 2, False),
    ]
    assert named(lambda: store.tag_versions([key], add=["new"], remove=["good"]))[1] == [
        ("best", 2, False),
        ("new", 1, False),
    ]
    [told], present = named(lambda: store.snapshot("paper"))
    assert told == store.version_names("paper")[0]
    assert present[-1] == ("paper", 2, True)
    dropped, present = named(lambda: store.drop_snapshot("paper"))
    assert dropped == [told]
    assert len(present) == 2
    store.vacuum(dry_run=False)
    documents = database_of(url).collection("tv_version_names").all()
    assert sorted(document["name"] for document in documents) == ["best", "new"]


@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "status:503"])
def test_a_read_survives_lost_answers(
    store: ArangoStore, faults: Faults, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tablevault_pd.store.arango.reader.ANSWER_BYTES", 1 << 18)
    rng = np.random.default_rng(0)
    saved = pa.table({"x": [rng.bytes(500).hex() for _ in range(1500)]})  # several answers of one cursor
    version = put(store, "a", saved)
    faults.add(r"POST .*/_api/cursor", kind, skip=1, count=2)
    assert table_of(store, version).equals(saved)
    faults.add(r"/_api/cursor/", kind, count=2)  # in the middle of a cursor
    assert table_of(store, version).equals(saved)
    assert faults.left() == 0


def told(session_id: int, number: int, answered: tuple[int, ...] = ()) -> Beat:
    """A beat that tells something of everything."""
    arrays = np.array([number]), np.array([number]), np.array([number / 2])
    return Beat(
        session_id, number, True, False, answered, (Cell(session_id, number, "code", datetime.now(UTC)),),
        (Measures(session_id, "m", *arrays), Measures(session_id, "n", *arrays)),
        (ModuleSource(session_id, "a.py", "a" * 64, "text"),), {"tags": (str(number),), "info": {"n": number}},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "status:503"])
def test_a_beat_whose_answer_is_lost_counts_once(store: ArangoStore, faults: Faults, kind: str) -> None:
    key = store.open_session(Session("s", "u", "h", 1, datetime.now(UTC))).id
    for number in range(1, 4):
        [asked] = store.ask([key], "pause")
        faults.add(ANYTHING, kind, count=2)
        assert store.beat([told(key, number, (asked.id,))]).requests == ()
    faults.clear()
    assert store.measures()["value"].to_pylist() == [0.5, 1.0, 1.5] * 2
    assert [cell.cell for cell in store.cells()] == [1, 2, 3]
    assert len(store.sources([key])) == 1
    assert store.overview().latest.num_rows == 2
    [found] = store.sessions(info=True)
    assert (found.tags, found.info) == (("3",), {"n": 3})


@pytest.mark.parametrize("kind", ["drop-before", "drop-after"])
def test_asking_and_reopening_survive_a_lost_answer(store: ArangoStore, faults: Faults, kind: str) -> None:
    row = store.open_session(Session("s", "u", "h", 1, datetime.now(UTC)))
    faults.add(ANYTHING, kind, count=2)
    asked = store.ask([row.id], "pause")
    assert store.beat([Beat(row.id)]).requests == tuple(asked)
    assert len(asked) == 1
    faults.add(ANYTHING, kind, count=2)
    opened = store.reopen_session(replace(row, pid=2, info={"a": 1}), last_beat=row.heartbeat)
    assert store.sessions() == [opened]
    assert opened.pid == 2
    assert store.sessions(info=True)[0].info == {"a": 1}
    assert faults.left() == 0


def test_of_two_that_reopen_a_run_one_does(url: str, store: ArangoStore) -> None:
    row = store.open_session(Session("s", "u", "h", 1, datetime.now(UTC)))
    time.sleep(0.002)  # the server's clock counts milliseconds

    def reopen(pid: int) -> bool:
        try:
            store.reopen_session(replace(row, pid=pid), last_beat=row.heartbeat)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(reopen, range(8))) == 1


def test_names_of_sessions_get_one_run_each(store: ArangoStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        rows_ = list(
            pool.map(
                lambda pid: store.open_session(Session("s", "u", "h", pid, datetime.now(UTC))), range(24)
            )
        )
    assert sorted(row.run for row in rows_) == list(range(1, 25))
    assert len({row.id for row in rows_}) == 24


def test_requests_of_sessions(url: str, store: ArangoStore, sent: list[str]) -> None:
    """How many requests to the server the methods cost, however much there is."""
    now = datetime.now(UTC)
    keys = [store.open_session(Session("s", "u", "h", 1, now)).id for _ in range(3)]
    [row] = store.sessions(keys[:1])
    costs: list[tuple[int, Callable[[], Any]]] = [
        (1, lambda: store.open_session(Session("s", "u", "h", 1, now, info={"a": 1}))),
        (1, lambda: store.reopen_session(row, last_beat=row.heartbeat)),
        (1, lambda: store.update_session(keys[0], info={"a": 1}, tags=("t",))),
        (1, lambda: store.beat([Beat(key) for key in keys])),
        (1, lambda: store.beat([told(key, 1) for key in keys])),
        (1, lambda: store.ask(keys, "pause")),
        (1, lambda: store.requests(range(1000))),
        (1, lambda: store.overview()),
        (1, lambda: store.overview(keys)),
        (1, lambda: store.overview(name="s")),
        (1, lambda: store.measures()),
        (1, lambda: store.sources(keys)),
        (1, lambda: store.sessions()),
        (2, lambda: store.sessions(info=True)),
        (1, lambda: store.session_values("params.x")),
        (1, lambda: store.session_values("metrics.m")),
    ]
    for cost, call in costs:
        sent.clear()
        call()
        assert len(sent) == cost, sent


def test_an_overview_of_ten_thousand_sessions_is_one_request(
    url: str, store: ArangoStore, sent: list[str]
) -> None:
    key = store.open_session(Session("s", "u", "h", 1, datetime.now(UTC))).id
    store.beat([Beat(key, 1, measures=(Measures(key, "acc", *(np.array([1]),) * 2, np.array([0.5])),))])
    database = database_of(url)
    for name in ("tv_sessions", "tv_latest"):
        [one] = database.collection(name).all()
        plain = {field: value for field, value in one.items() if not field.startswith("_")}
        changes = [
            {
                "_key": str(n),
                "id": n,
                "digest": str(n),
                "opening": str(n),
                "exact_params": json.dumps({"lr": n}),
            }
            if name == "tv_sessions"
            else {"_key": str(n), "session": n, "value": n / 2}
            for n in range(2, 10_001)
        ]
        for part in (changes[start : start + 250] for start in range(0, len(changes), 250)):
            database.collection(name).insert_many([plain | change for change in part], silent=True)
    sent.clear()
    seen = store.overview()
    assert len(sent) == 1
    assert [session.id for session in seen.sessions] == list(range(1, 10_001))
    assert seen.sessions[-1].params == {"lr": 10_000}
    assert dict(zip(seen.latest["session"].to_pylist(), seen.latest["value"].to_pylist(), strict=True)) == {
        n: n / 2 for n in range(1, 10_001)
    }


@pytest.mark.parametrize("kind", ["drop-before", "drop-after"])
def test_everything_else_survives_a_lost_answer(
    store: ArangoStore, faults: Faults, kind: str, tmp_path: Path
) -> None:
    from hashlib import sha256

    now = datetime.now(UTC)
    (tmp_path / "f").write_bytes(b"content")
    version = put(store, "a", numbers(1))
    faults.add(ANYTHING, kind)
    session = store.open_session(Session("s", "u", "h", 1, now))
    faults.add(ANYTHING, kind)
    second = store.open_session(Session("s", "u", "h", 1, now))
    faults.add(ANYTHING, kind)
    store.update_session(session.id, outcome="finished")
    faults.add(ANYTHING, kind)
    store.put_cell(Cell(session.id, 1, "t", now))
    faults.add(ANYTHING, kind)
    store.describe(Description("BASE", "t", list_id=version.list_id))
    faults.add(r"document/tv_blobs", kind)
    keep(store, tmp_path / "f", sha256(b"content").hexdigest())
    assert faults.left() == 0
    assert [s.label for s in store.sessions()] == ["s#1", "s#2"]
    assert second.run == 2
    assert len(store.cells()) == len(store.descriptions()) == 1
    assert store.check() == []


def test_a_commit_that_cannot_be_confirmed_keeps_its_rows(url: str, faults: Faults) -> None:
    store = ArangoStore(url, timeout_s=0.3)
    faults.add(COMMIT, "drop-after")
    faults.add(ANYTHING, "drop-before", skip=0, count=100_000)
    with pytest.raises(StoreUnavailable):
        store.head("a")
    faults.clear()
    with store.stage() as stage:
        stage.write(numbers(1, 2))
        faults.add(COMMIT, "drop-after", count=100_000)
        with pytest.raises(StoreUnavailable):
            store.commit(Batch("t", "a", "save", numbers().schema), stage)
    faults.clear()
    assert values_of(store, "a") == [1, 2]  # it was committed after all, and nothing tidied its rows away
    again = put(store, "a", numbers(1, 2), token="t")
    assert again.version == 1
    assert store.check() == []


def test_a_server_that_goes_away_during_a_save_is_waited_for(store: ArangoStore, faults: Faults) -> None:
    put(store, "a", numbers(1))
    back = threading.Timer(0.5, faults.clear)
    with store.stage() as stage:
        stage.write(numbers(2, 3))
        faults.add(ANYTHING, "drop-before", count=1_000_000)
        back.start()
        store.commit(Batch("t", "a", "save", numbers().schema), stage)
    back.join()
    assert values_of(store, "a") == [2, 3]
    assert len(store.versions("a")) == 2
    assert store.check() == []


def test_a_server_that_is_not_there_is_reported_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(StoreUnavailable, match="no answer"):
        ArangoStore("arangodb://root:secret@127.0.0.1:1/x", timeout_s=60)
    assert time.monotonic() - start < 30  # and not after the minute that other calls would try for


# ---------------------------------------------------------------- many writers, dead writers


def together(work: Callable[[int], Any], count: int) -> list[Any]:
    """The results of `work`, called with 0, 1, 2 … by as many threads that begin at once."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def test_eight_writers_lose_and_double_nothing(url: str) -> None:
    put(ArangoStore(url), "a", numbers())

    def work(number: int) -> None:
        store = ArangoStore(url)
        for i in range(10):
            put(store, "a", numbers(number * 100 + i), operation="append")
        store.close()

    together(work, 8)
    store = ArangoStore(url)
    found = values_of(store, "a")
    assert sorted(found) == sorted(number * 100 + i for number in range(8) for i in range(10))
    assert [v.version for v in store.versions("a")] == list(range(1, 82))
    assert [v.start for v in store.versions("a")[1:]] == list(range(80))
    assert store.check() == []


def test_a_version_is_later_than_the_one_before_it_whatever_the_clock_of_the_server_says(
    url: str, store: ArangoStore
) -> None:
    put(store, "a", numbers(1))
    database_of(url).aql.execute(
        "FOR b IN tv_batches UPDATE b WITH {time: b.time + 86400000000} IN tv_batches"
    )
    head = store.head("a")
    assert head is not None
    assert put(store, "a", numbers(2), operation="append").time > head.time
    assert [version.version for version in store.versions("a")] == [1, 2]


def test_writers_that_make_a_list_at_once_make_one(url: str) -> None:
    stores = [ArangoStore(url) for _ in range(4)]
    results = together(lambda number: put(stores[number], "new", numbers(number)), 4)
    assert sorted(v.version for v in results) == [1, 2, 3, 4]
    assert len({v.list_id for v in results}) == 1
    assert stores[0].names() == ["new"]
    assert stores[0].check() == []


WRITER = """
import sys, uuid
import pyarrow as pa
from tablevault_pd.store import Batch
from tablevault_pd.store.arango import ArangoStore
store = ArangoStore(sys.argv[1])
table = pa.table({"x": range(2000), "t": ["text %d" % i for i in range(2000)]})
with open(sys.argv[2], "a") as acks:
    while True:
        token = uuid.uuid4().hex
        head = store.head("a")
        with store.stage() as stage:
            stage.write(table)
            version = store.commit(Batch(token, "a", "append", table.schema, base=head.schema_id if head else None), stage)
        acks.write("%d\\n" % version.version)
        acks.flush()
"""


def test_a_client_killed_while_saving_leaves_no_half_batch(url: str, tmp_path: Path) -> None:
    acks = tmp_path / "acks"
    acks.touch()
    for kill in range(3):
        before = acks.stat().st_size
        process = subprocess.Popen([sys.executable, "-c", WRITER, url, str(acks)])
        while acks.stat().st_size == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.007 * kill)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    store = ArangoStore(url, stray_age_s=0)
    acknowledged = [int(line) for line in acks.read_text().split()]
    versions = store.versions("a")
    assert set(acknowledged) <= {v.version for v in versions}
    assert len(versions) <= len(acknowledged) + 3
    assert values_of(store, "a") == list(range(2000)) * len(versions)
    problems = store.check()
    assert {p.severity for p in problems} <= {"stray"}
    assert all(p.path is not None for p in problems)
    assert len(store.vacuum(dry_run=False)) == len(problems)
    assert store.check() == []
    assert values_of(store, "a") == list(range(2000)) * len(versions)


def test_rows_of_a_running_save_are_not_swept(store: ArangoStore) -> None:
    with store.stage() as stage:
        stage.write(numbers(*range(300)))
        stage.finish()
        [problem] = store.check(fix=True)
        assert (problem.severity, problem.fixed) == ("stray", False)
        assert store.vacuum(dry_run=False) == []
        store.commit(Batch("t", "a", "save", numbers().schema), stage)
    assert values_of(store, "a") == list(range(300))
    assert store.check() == []


def test_a_save_that_was_swept_fails_and_loses_nothing_silently(url: str, store: ArangoStore) -> None:
    sweeper = ArangoStore(url, stray_age_s=0)
    with store.stage() as stage:
        stage.write(numbers(*range(300)))
        stage.finish()
        [problem] = sweeper.check(fix=True)
        assert (problem.severity, problem.fixed) == ("stray", True)
        with pytest.raises(Conflict, match="swept"):
            store.commit(Batch("t", "a", "save", numbers().schema), stage)
    assert store.names() == []
    assert store.versions() == []
    assert put(store, "a", numbers(1)).version == 1
    assert store.check() == []


def test_descriptions_of_a_save_that_never_came_are_swept(
    url: str, store: ArangoStore, faults: Faults
) -> None:
    quick = ArangoStore(url, timeout_s=0.2, stray_age_s=0)
    faults.add(COMMIT, "drop-before", count=100_000)
    with pytest.raises(StoreUnavailable):
        put(quick, "a", numbers(1), descriptions=(Description("BASE", "never"),))
    faults.clear()
    assert store.descriptions() == []
    assert [p.severity for p in quick.check(fix=True)] == ["stray"]
    assert quick.check() == []


def test_vacuum_and_restore_exclude_each_other(url: str) -> None:
    store = ArangoStore(url)
    for attempt in range(6):
        name = f"list {attempt}"
        put(store, name, numbers(1))
        put(store, name, numbers(2))
        others = [ArangoStore(url), ArangoStore(url)]

        def work(number: int, name: str = name, others: list[ArangoStore] = others) -> bool:
            if number:
                others[1].vacuum(keep=1, dry_run=False)
                return True
            try:
                act(others[0], name, "restore", target=1)
            except VersionNotFound:
                return False
            return True

        restored = together(work, 2)[0]
        assert values_of(store, name) == ([1] if restored else [2])
    assert store.check() == []


# ---------------------------------------------------------------- damage


def test_damage_is_found_and_never_returned(url: str, store: ArangoStore) -> None:
    put(store, "short", numbers(1, 2))
    put(store, "short", numbers(3), operation="append")
    put(store, "wrong", pa.table({"x": [1], "t": ["a"]}))
    put(store, "unworded", pa.table({"c": pa.array(["a"]).dictionary_encode()}))
    put(store, "gapped", numbers(1))
    put(store, "gapped", numbers(2), operation="append")
    put(store, "gapped", numbers(3), operation="append")
    put(store, "fine", numbers(1))
    put(store, "taken", numbers(5))
    db = database_of(url)
    names = {one["id"]: one["name"] for one in db.collection("tv_lists")}
    key_of = {
        names[batch["list"]]: batch["_key"] for batch in db.collection("tv_batches") if batch["version"] == 1
    }
    db.collection("tv_payloads").delete(key_of["short"] + "0000000")
    payloads = db.collection("tv_payloads")
    data = payloads.get(key_of["fine"] + "0000000")["data"]
    for name in ("wrong", "taken"):  # bytes of other columns, and of the same ones
        payloads.update({"_key": key_of[name] + "0000000", "data": data})
    db.collection("tv_dictionaries").truncate()
    gapped = next(number for number, name in names.items() if name == "gapped")
    db.collection("tv_batches").delete_match({"list": gapped, "version": 2})
    found = {(p.severity, p.list, p.what) for p in store.check()}
    assert ("damage", "short", "missing rows") in found
    assert ("damage", "wrong", "damaged rows") in found
    assert ("damage", "taken", "damaged rows") in found
    assert ("damage", "unworded", "missing categories") in found
    assert ("damage", "gapped", "missing version") in found
    assert not any(name == "fine" for _, name, _ in found)
    for name in ("short", "wrong", "taken", "unworded", "gapped"):
        with pytest.raises(VaultCorrupt, match=f"{name}|categories"):
            rows(store, store.head(name))
    with pytest.raises(VaultCorrupt, match="Incomplete batch"):
        rows(store, store.head("short"), start=1)
    assert rows(store, store.head("short"), start=2) == [{"x": 3}]  # what is whole stays readable
    assert rows(store, store.head("fine")) == [{"x": 1}]


def test_items_that_appear_late_are_waited_for(url: str, store: ArangoStore) -> None:
    version = put(store, "a", numbers(1, 2))
    db = database_of(url)
    [document] = list(db.aql.execute("FOR p IN tv_payloads REMOVE p IN tv_payloads RETURN OLD"))
    timer = threading.Timer(0.2, lambda: db.collection("tv_payloads").insert(document))
    timer.start()
    assert rows(store, version) == [{"x": 1}, {"x": 2}]
    timer.join()


def test_a_damaged_file_is_not_handed_out(url: str, store: ArangoStore, tmp_path: Path) -> None:
    from hashlib import sha256

    (tmp_path / "f").write_bytes(b"content")
    digest = sha256(b"content").hexdigest()
    keep(store, tmp_path / "f", digest)
    database_of(url).aql.execute('FOR b IN tv_blobs FILTER b.n == 0 UPDATE b WITH {data: "AAAA"} IN tv_blobs')
    with pytest.raises(VaultCorrupt, match="damaged"):
        store.open_file(digest)
    assert [p.what for p in store.check()] == ["damaged kept file"]


def test_check_names_kept_content_that_is_missing(url: str, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"content")
    with tv.connect(url, capture="none") as vault:
        vault.save("a", pd.DataFrame({"p": [str(path)]}), files="p", copy=True)
        assert vault.check().empty
        database_of(url).aql.execute("FOR b IN tv_blobs REMOVE b IN tv_blobs")
        assert vault.check()[["severity", "what"]].to_numpy().tolist() == [["damage", "missing kept file"]]
        vault.save("a", pd.DataFrame({"p": [str(path)]}), files="p", copy=True)
        assert vault.check().empty


def test_kept_content_is_kept_again_and_freed(url: str, tmp_path: Path) -> None:
    """Damaged or lost chunks are sent again; what no row names goes, but not what somebody touched lately."""
    from hashlib import sha256

    path = tmp_path / "f"
    path.write_bytes(b"content")
    digest = sha256(b"content").hexdigest()
    blobs = "FOR b IN tv_blobs FILTER b.n >= 0 "
    with tv.connect(url, capture="none") as vault:
        for damage in ('UPDATE b WITH {data: "AAAA"} IN tv_blobs', "REMOVE b IN tv_blobs"):
            vault.save("a", pd.DataFrame({"p": [str(path)]}), files="p", copy=True)
            database_of(url).aql.execute(blobs + damage)
            with pytest.raises(VaultCorrupt, match=r"a\[0\] .*f"):
                vault.open_file(digest)
        vault.save("a", pd.DataFrame({"p": [str(path)]}), files="p", copy=True)
        with vault.open_file(digest) as file:
            assert file.read() == b"content"
        vault.delete("a")
    for age, left in ((3600.0, 1), (-1.0, 0)):  # a second from now, everything is old
        store = ArangoStore(url, stray_age_s=age)
        store.vacuum(dry_run=False, deleted=True)
        assert len(store.client.query("FOR b IN tv_blobs FILTER b.n == -1 RETURN 1")) == left
        assert [problem for problem in store.check() if problem.severity == "damage"] == []
        store.close()


def test_a_newer_format_is_refused_and_left_alone(url: str) -> None:
    db = database_of(url)
    db.collection("tv_meta").update({"_key": "vault", "format": 99})
    with pytest.raises(VaultFormatError, match="99"):
        ArangoStore(url)
    assert db.collection("tv_meta").get("vault")["format"] == 99


# ---------------------------------------------------------------- what is stored


def test_documents_are_plain_and_readable(url: str, store: ArangoStore) -> None:
    table = pa.table(
        {
            "n": [1],
            "when": pa.array([0]).view(pa.timestamp("ms", "UTC")),
            "word": pa.array(["a"]).dictionary_encode(),
            "vec": pa.array([[0.1, 2.0]], pa.list_(pa.float32(), 2)),
        }
    )
    put(store, "papers", table, tags=("t",))
    db = database_of(url)
    [batch] = list(db.collection("tv_batches"))
    [record] = list(db.collection("tv_records"))
    [vector] = list(db.collection("tv_embeddings"))
    assert record["values"] == {"n": 1, "when": "1970-01-01T00:00:00.000Z", "word": "a"}
    assert (vector["column"], vector["vector_2"]) == ("vec", [0.1, 2])
    assert "vector" not in vector
    assert vector["norm"] == pytest.approx(4.01**0.5)
    assert record["_key"] == batch["_key"] + "0000000"
    assert (batch["version"], batch["operation"], batch["tags"]) == (
        1,
        "save",
        ["t"],
    )
    assert db.has_graph("tv_lineage")
    assert {view["name"] for view in db.views()} == {"tv_search"}


def test_no_row_is_read_from_the_mirror(url: str, store: ArangoStore) -> None:
    """Whatever becomes of the plain documents: rows, and what a filter keeps of them, come from the payloads."""
    table = pa.table({"x": [1, 2], "vec": pa.array([[0.1, 2.0]] * 2, pa.list_(pa.float32(), 2))})
    version = put(store, "a", table)
    for name in layout.MIRROR:
        database_of(url).aql.execute(
            "FOR i IN @@items REPLACE i WITH {batch: i.batch, row: i.row} IN @@items",
            bind_vars={"@items": name},
        )
    assert table_of(store, version).equals(table)
    where = ((Condition(("x",), "number", "in", (2,)),),)
    assert sum(len(chunk.positions) for chunk in store.scan(version, where=where)) >= 1


def test_only_one_batch_can_be_a_version(url: str, store: ArangoStore) -> None:
    from arango.exceptions import DocumentInsertError

    put(store, "a", numbers(1))
    batches = database_of(url).collection("tv_batches")
    [batch] = list(batches)
    for changed in ({"token": "other"}, {"version": 2}):
        copied = {k: v for k, v in batch.items() if not k.startswith("_")} | changed | {"_key": "other"}
        with pytest.raises(DocumentInsertError, match="unique"):
            batches.insert(copied)


LEAVES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.bool_(), st.booleans()),
    (pa.float64(), st.floats()),
    (pa.float32(), st.floats(width=32)),
    (pa.string(), st.text()),
    (pa.large_binary(), st.binary()),
    (pa.decimal128(20, 3), st.decimals(-(10**16), 10**16, places=3)),
    (pa.timestamp("us", "Asia/Kathmandu"), st.integers(-(2**63), 2**63 - 1)),
    (pa.timestamp("ns"), st.integers(-(2**63), 2**63 - 1)),
    (pa.date32(), st.integers(-(2**31), 2**31 - 1)),
    (pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
    (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["", "a", "NaN"])),
]


@st.composite
def arrays(draw: st.DrawFn, size: int | None = None, depth: int = 2) -> pa.Array:
    """An array of any of these types, nested up to `depth` times, with nulls."""
    size = draw(st.integers(0, 5)) if size is None else size
    shape = draw(st.sampled_from(["leaf", "list", "struct", "fixed"])) if depth else "leaf"
    holes = pa.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), pa.bool_())
    if shape == "list":
        lengths = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
        starts = [0, *itertools.accumulate(lengths)]
        return pa.ListArray.from_arrays(starts, draw(arrays(starts[-1], depth - 1)), mask=holes)
    if shape == "fixed":
        return pa.FixedSizeListArray.from_arrays(draw(arrays(2 * size, depth - 1)), 2, mask=holes)
    if shape == "struct":
        children = [draw(arrays(size, depth - 1)) for _ in range(2)]
        return pa.StructArray.from_arrays(children, ["_id", ""], mask=holes)
    kind, cells = draw(st.sampled_from(LEAVES))
    values = draw(st.lists(st.none() | cells, min_size=size, max_size=size))
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    if pa.types.is_temporal(kind):
        return pa.array(values, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)
    return pa.array(values, kind)


def texts_of(array: pa.Array) -> str:
    """All that an array holds, the sign of zero included, in a form that can be compared."""
    if pa.types.is_temporal(array.type):
        array = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())
    if pa.types.is_struct(array.type):
        return repr([array.is_null().to_pylist(), *map(texts_of, array.flatten())])
    if pa.types.is_nested(array.type):
        return repr([pc.list_value_length(array).to_pylist(), texts_of(array.flatten())])
    return repr(array.to_pylist())


@given(array=arrays())
@settings(max_examples=times(100, ordinary=50))
def test_any_array_survives_the_wire(array: pa.Array) -> None:
    table = pa.table({"x": array})
    groups = payloads.groups_of(table)
    schema, seed = payloads.coded_schema(table.schema), seed_of(table.schema.serialize())
    [place] = groups
    sent = [document for _, document in payloads.documents(table, groups, "b", 0)]
    parts = [
        payloads.decoded(json.loads(to_json(one)) | {"key": one["_key"]}, schema, seed, place) for one in sent
    ]
    assert sum(one["rows"] for one in sent) == len(array)
    found = pa.concat_tables([schema.empty_table(), *parts]).column(0).combine_chunks()
    found.validate(full=True)
    assert texts_of(found) == texts_of(array.indices if payloads.is_shared(array.type) else array)
    assert len(json.loads(to_json(mirror.shown(array)))) == len(array)  # the mirror can show anything


def test_keys_sort_as_numbers_do() -> None:
    values = np.array([0, 35, 36, 1295, 1296, 36**7 - 1])
    keys = base36(values, 7)
    assert [int(key, 36) for key in keys] == values.tolist()
    assert keys == sorted(keys)
    assert {len(key) for key in keys} == {7}


# ---------------------------------------------------------------- requests


def test_few_requests(store: ArangoStore, sent: list[str]) -> None:
    rng = np.random.default_rng(0)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=10_000 * 384).astype("f4")), 384)
    table = pa.table({"id": range(10_000), "text": [f"text {i}" for i in range(10_000)], "vec": vectors})
    sent.clear()
    version = put(store, "papers", table)
    assert len(sent) <= 12
    sent.clear()
    assert table_of(store, version).equals(table)
    assert len(sent) <= 8
    for number in range(50):
        put(store, "log", numbers(number), operation="append")
    sent.clear()
    assert values_of(store, "log") == list(range(50))
    assert len(sent) <= 5  # the head, the batches, their rows: not one for each of 50 commits
    sent.clear()
    put(store, "log", numbers(50), operation="append")
    assert len(sent) <= 4


# ---------------------------------------------------------------- secrets and rights

PASSWORD = "s3cret/pass:word@%"  # of a user made for this test


@pytest.fixture
def user(url: str) -> Iterator[str]:
    name = f"u{uuid.uuid4().hex[:8]}"
    system().create_user(name, PASSWORD)
    yield name
    system().delete_user(name, ignore_missing=True)


def test_the_password_is_shown_nowhere(
    url: str, user: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant(url, user, "writer")
    parts = urlsplit(url)
    plain = f"arangodb://{user}@{parts.hostname}:{parts.port}{parts.path}"
    monkeypatch.setenv("TABLEVAULT_PASSWORD", "wrong")
    told: list[str] = []
    with caplog.at_level(logging.DEBUG):
        store = ArangoStore(plain, password=lambda: PASSWORD)
        put(store, "a", numbers(1))
        told += [
            repr(store),
            str(store),
            store.place,
            repr(store.client),
            repr(vars(store)),
            repr(vars(store.client)),
        ]
        told += [repr(store.client.database()), repr(vars(store.client.database().conn))]
        told += [repr(pickle.dumps(store)), repr(addresses.password_of(PASSWORD, None))]
        for attempt in (
            lambda: ArangoStore(plain),
            lambda: ArangoStore(f"arangodb://{user}:{'x' + PASSWORD[:6]}@127.0.0.1:1/x", timeout_s=0.1),
            lambda: ArangoStore(f"http://{user}:{PASSWORD[:6]}@host/x"),
            lambda: ArangoStore(f"arangodb://{user}:{PASSWORD[:6]}@host:port/x"),
            lambda: put(store, "a", numbers(1), expect=9),
            lambda: store.client.query("SYNTAX ERROR"),
            lambda: copy.deepcopy(addresses.Secret(PASSWORD)),
        ):
            try:
                attempt()
            except Exception as error:  # noqa: BLE001  # whatever it is, it must not tell
                chain: BaseException | None = error
                while chain is not None:
                    told += [repr(chain), repr(vars(chain)), *traceback.format_exception(chain)]
                    chain = chain.__cause__ or chain.__context__
            else:
                pytest.fail("this should have failed")
    told += [f"{record.getMessage()} {record.args}" for record in caplog.records]
    db = database_of(url)
    for collection in db.collections():
        if collection["name"].startswith("tv_"):
            told += [json.dumps(document) for document in db.collection(collection["name"])]
    everything = "\n".join(told)
    basic = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
    for secret in (PASSWORD, PASSWORD[:6], basic, basic[-20:]):
        # Tracebacks quote the lines of this test, which name the parameter and not its value.
        assert secret not in everything


def test_a_pickled_store_needs_the_password_again(
    url: str, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant(url, user, "writer")
    parts = urlsplit(url)
    store = ArangoStore(f"arangodb://{user}@{parts.hostname}:{parts.port}{parts.path}", password=PASSWORD)
    put(store, "a", numbers(1))
    monkeypatch.setenv("TABLEVAULT_PASSWORD", PASSWORD)
    again = pickle.loads(pickle.dumps(store))
    assert values_of(again, "a") == [1]
    monkeypatch.setenv("TABLEVAULT_PASSWORD", "wrong")
    with pytest.raises(StoreUnavailable, match="TABLEVAULT_PASSWORD"):
        pickle.loads(pickle.dumps(store))


def test_a_token_opens_the_vault(url: str) -> None:
    parts = urlsplit(url)
    handle = database_of(url)
    login = {"username": parts.username, "password": parts.password}
    answer = handle.conn._http.create_session("").post(
        f"http://{parts.hostname}:{parts.port}/_open/auth", json=login, timeout=10
    )
    plain = f"arangodb://{parts.hostname}:{parts.port}{parts.path}"
    store = ArangoStore(plain, token=answer.json()["jwt"], password="not used")
    put(store, "a", numbers(1))
    assert values_of(store, "a") == [1]
    with pytest.raises(StoreUnavailable):
        ArangoStore(plain, token="no.such.token")


def test_readers_and_writers_need_no_more_than_their_rights(url: str, user: str) -> None:
    put(ArangoStore(url), "a", numbers(1))
    parts = urlsplit(url)
    plain = f"arangodb://{user}@{parts.hostname}:{parts.port}{parts.path}"
    with pytest.raises(StoreUnavailable):
        ArangoStore(plain, password=PASSWORD)
    grant(url, user, "reader")
    reader = ArangoStore(plain, password=PASSWORD, read_only=True)
    assert values_of(reader, "a") == [1]
    assert reader.check() == []
    assert reader.search_descriptions(Word("apple")) == []
    assert len(reader.search_code(Word("apple"))) == 0
    overreaching = ArangoStore(plain, password=PASSWORD)
    with pytest.raises(VaultReadOnly):
        put(overreaching, "a", numbers(2))
    for care in (
        lambda: overreaching.vacuum(dry_run=False),
        overreaching.compact,
        lambda: overreaching.check(fix=True),
    ):
        with pytest.raises(VaultReadOnly, match="ask for more rights"):  # although there is nothing to do
            care()
    assert overreaching.vacuum() == []
    grant(url, user, "writer")
    writer = ArangoStore(plain, password=PASSWORD)
    assert writer.compact() == writer.vacuum(dry_run=False) == writer.check(fix=True) == []
    put(writer, "a", numbers(2), operation="append")
    act(writer, "a", "restore", target=1)
    writer.vacuum(dry_run=False)
    assert values_of(writer, "a") == [1]
    with pytest.raises(InvalidInput, match="role"):
        grant(url, user, "king")
    with pytest.raises(InvalidInput, match="user_password"):
        grant(url, "nobody" + user, "reader")


def test_a_database_is_made_only_when_told_to() -> None:
    with new_database() as url:
        with pytest.raises(VaultNotFound, match="create=True"):
            ArangoStore(url)
        with pytest.raises(VaultNotFound):
            ArangoStore(url, create=True, read_only=True)
        first = ArangoStore(url, create="oneshard")
        again = ArangoStore(url, create=True)
        assert first.vault_id == again.vault_id


def test_two_that_make_a_vault_at_once_make_one() -> None:
    with new_database() as url:
        name = urlsplit(url).path.strip("/")
        system().create_database(name)
        ids = together(lambda _: ArangoStore(url).vault_id, 3)
        assert len(set(ids)) == 1


def test_other_collections_are_left_alone() -> None:
    with new_database() as url:
        system().create_database(urlsplit(url).path.strip("/"))
        db = database_of(url)
        db.create_collection("mine").insert({"_key": "a"})
        store = ArangoStore(url)
        put(store, "a", numbers(1))
        store.vacuum(dry_run=False)
        assert db.collection("mine").count() == 1


@pytest.mark.parametrize(
    "address",
    [
        "arangodb://",
        "arangodb://host",
        "arangodb://host/a/b",
        "http://host/db",
        "arangodb://h:x/db",
        "arangodb://h/d?x=1",
    ],
)
def test_addresses_that_cannot_be_read(address: str) -> None:
    with pytest.raises(InvalidInput, match="arangodb://user@host"):
        addresses.parse(address)


def test_addresses() -> None:
    address, secret = addresses.parse("arangodb://me:p%40ss@[::1]/data%20base?tls=true")
    assert (address.hosts, address.database, address.user) == ((("::1", 8529),), "data base", "me")
    assert address.bases == ["https://[::1]:8529"]
    assert str(address) == "arangodbs://me@[::1]:8529/data%20base"
    assert addresses.parse(str(address))[0] == address
    assert secret is not None
    assert secret.reveal() == "p@ss"
    assert "p@ss" not in repr(secret)


def test_a_password_over_an_open_line_is_warned_of(recwarn: pytest.WarningsRecorder) -> None:
    def client_of(url: str) -> Client:
        options: dict[str, Any] = {"read_only": True, "timeout_s": 1.0, "sync": True, "verify_tls": True}
        return Client(addresses.parse(url)[0], addresses.Secret("x"), None, **options)

    client_of("arangodbs://root@far.example/db")
    client_of("arangodb://root@localhost/db")
    assert not recwarn.list
    with pytest.warns(UserWarning, match="unencrypted"):
        client_of("arangodb://root@far.example/db")
