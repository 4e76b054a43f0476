"""Lineage on a server alone: what a crash leaves, lost answers, damage, the graph that others see, requests."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from stores import Faults, act, database_of, edges_at, faults, new_database, put, rows

import tablevault_pd as tv
from tablevault_pd.errors import SessionNotFound, StoreUnavailable, VaultCorrupt, VaultReadOnly
from tablevault_pd.store.edges import STATED, Edge, EdgeForm, EdgeQuery

pytest.importorskip("arango")

from tablevault_pd.store.arango import ArangoStore

if TYPE_CHECKING:
    from tablevault_pd.store import Version

__all__ = ["faults"]  # a fixture, used by its name
pytestmark = pytest.mark.arango
DOCS = Path(__file__).resolve().parents[1] / "docs"
COMMIT = r"POST .*/_api/document/tv_batches"


@pytest.fixture
def url() -> Iterator[str]:
    with new_database(faulty=True) as address:
        ArangoStore(address, create=True).close()
        yield address


@pytest.fixture
def store(url: str) -> Iterator[ArangoStore]:
    opened = ArangoStore(url, timeout_s=10, stray_age_s=0)
    yield opened
    opened.close()


@pytest.fixture
def vault(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tv.Vault]:
    monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
    with tv.connect(url) as opened:
        yield opened


def numbers(count: int) -> pa.Table:
    return pa.table({"x": pa.array(range(count), pa.int64())})


def one_to_one(source: Version, rows: int) -> Edge:
    return Edge(
        source.list_id, source.version, source.generation, STATED, EdgeForm.AFFINE, 0, rows, 0, rows, step=1
    )


def permuted(source: Version, rows: int) -> Edge:
    order = np.random.default_rng(1).permutation(rows)
    return Edge(
        source.list_id,
        source.version,
        source.generation,
        STATED,
        EdgeForm.PAIRS,
        0,
        rows,
        0,
        rows,
        parents=order,
    )


def children_of(store: ArangoStore, source: Version) -> list[tuple[int, int]]:
    table = edges_at(store, source.list_id, source.generation, [(0, source.total)], side="parent")
    return sorted(zip(table.list.tolist(), table.version.tolist(), strict=True))


# ---------------------------------------------------------------- crashes


def test_edges_whose_batch_never_came_are_found_by_nobody_and_swept(url: str, faults: Faults) -> None:
    with pytest.raises(StoreUnavailable), pytest.MonkeyPatch.context() as patch:
        dying = ArangoStore(url, timeout_s=0.3)
        source = put(dying, "source", numbers(3))
        # The writer is gone before it can take anything back.
        patch.setattr("tablevault_pd.store.arango.stage.Stage.__exit__", lambda *_: None)
        faults.add(COMMIT, "drop-before", count=100)
        put(dying, "made", numbers(3), edges=(one_to_one(source, 3),))
    faults.clear()
    store = ArangoStore(url, stray_age_s=0)
    assert database_of(url).collection("tv_edges").count() == 1
    assert children_of(store, source) == []
    assert store.edge_summaries() == []
    made = put(store, "made", numbers(3), edges=(one_to_one(source, 3),))
    assert children_of(store, source) == [(made.list_id, 1)]
    assert {problem.severity for problem in store.check()} == {"stray"}
    store.vacuum(dry_run=False)
    assert store.check() == []
    assert database_of(url).collection("tv_edges").count() == 1
    assert children_of(store, source) == [(made.list_id, 1)]


@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "status:503"])
@pytest.mark.parametrize("match", [COMMIT, r"POST .*/_api/cursor"])
def test_a_commit_with_edges_survives_lost_answers(
    store: ArangoStore, faults: Faults, match: str, kind: str
) -> None:
    source = put(store, "source", numbers(3))
    for skip in range(3):
        faults.add(match, kind, skip=skip)
        put(store, "made", numbers(3), edges=(one_to_one(source, 3),))
        faults.clear()
    (made,) = {version.list_id for version in store.versions("made")}
    assert children_of(store, source) == [(made, 1), (made, 2), (made, 3)]
    assert store.check() == []


def test_reads_noted_twice_keep_their_place(store: ArangoStore, faults: Faults) -> None:
    from tablevault_pd.store import Session

    source = put(store, "source", numbers(1))
    act(store, "source", "restore", target=1)
    opened = store.open_session(Session("s", "u", "h", 1, source.time))
    faults.add(r"POST .*/_api/cursor", "drop-after")
    store.note_reads(opened.id, [(source.list_id, 2)])
    assert faults.left() == 0
    store.note_reads(opened.id, [(source.list_id, 1), (source.list_id, 2)])
    assert store.reads([opened.id]) == [(opened.id, "source", 2), (opened.id, "source", 1)]
    with pytest.raises(SessionNotFound):
        store.note_reads(99, [(source.list_id, 1)])


def test_a_reader_notes_nothing(url: str, store: ArangoStore) -> None:
    put(store, "source", numbers(1))
    with pytest.raises(VaultReadOnly):
        ArangoStore(url, read_only=True).note_reads(1, [(1, 1)])


# ---------------------------------------------------------------- damage


def test_edges_that_are_lost_are_told_by_whoever_needs_them(
    url: str, store: ArangoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tablevault_pd.store.arango.edges.INCOMPLETE_PAUSES_S", (0.0,))
    source = put(store, "source", numbers(5))
    made = put(store, "made", numbers(5), edges=(one_to_one(source, 5), permuted(source, 5)))
    edges = database_of(url).collection("tv_edges")
    edges.delete(next(iter(edges.keys())))
    [problem] = store.check(fix=True)
    assert (problem.what, problem.list, problem.fixed) == ("missing edges", "made", False)
    assert problem.detail == "1 of 2 edges are in tv_edges"
    one = EdgeQuery(made.list_id, 1, [(4, 5)])
    for ask in (
        lambda: store.edges_of_batch(made),
        lambda: store.edges([one], side="child"),
        lambda: store.edges([EdgeQuery(made.list_id, None)], side="child"),
        store.edge_summaries,
    ):
        with pytest.raises(VaultCorrupt, match="1 edges of version 1 of the list 2 are lost"):
            ask()
    for query in (EdgeQuery(source.list_id, 1, [(0, 5)]), EdgeQuery(source.list_id, None)):
        with pytest.warns(UserWarning, match="1 edges are lost from tv_edges"):
            assert len(store.edges([query], side="parent")) == 1
    put(store, "other", numbers(5), edges=(one_to_one(source, 5),))
    with pytest.warns(UserWarning, match="1 edges are lost from tv_edges"):
        assert len(store.edges([EdgeQuery(source.list_id, 1, [(0, 5)])], side="parent")) == 2
    other = store.head("other")
    assert other is not None
    assert len(store.edges_of_batch(other)) == 1


def cut(edge: list[Any]) -> None:
    edge[11] = base64.b64encode(base64.b64decode(edge[11])[:-1]).decode()


def no_base64(edge: list[Any]) -> None:
    edge[11] = "?"


def lost(edge: list[Any]) -> None:
    edge[11] = None


def too_far(edge: list[Any]) -> None:
    edge[8] = 99


@pytest.mark.parametrize("harm", [cut, no_base64, lost, too_far])
def test_check_names_damaged_edges(url: str, store: ArangoStore, harm: Callable[[list[Any]], None]) -> None:
    source = put(store, "source", numbers(40))
    made = put(store, "made", numbers(40), edges=(permuted(source, 40),))
    edges = database_of(url).collection("tv_edges")
    [document] = list(edges)
    harm(document["edge"])
    edges.update({"_key": document["_key"], "edge": document["edge"]})
    assert [(p.severity, p.what, p.list, p.version) for p in store.check()] == [
        ("damage", "damaged edge", "made", 1)
    ]
    if harm in (cut, no_base64):
        with pytest.raises(VaultCorrupt, match="lineage"):
            store.edges_of_batch(made)


# ---------------------------------------------------------------- what others see


def test_the_graph_leads_from_a_batch_to_those_it_came_from(url: str, store: ArangoStore) -> None:
    versions = [put(store, "a", numbers(4))]
    for name in "bcd":
        versions.append(put(store, name, numbers(4), edges=(one_to_one(versions[-1], 4),)))
    database = database_of(url)
    (start,) = [d["_id"] for d in database.collection("tv_batches").find({"list": store.head("d").list_id})]
    walk = "FOR v, e IN 1..5 OUTBOUND @start GRAPH 'tv_lineage' RETURN [v.list, e.parent_version, e.basis, e.rows]"
    found = list(database.aql.execute(walk, bind_vars={"start": start}))
    assert found == [[store.head(name).list_id, 1, "stated", 4] for name in "cba"]
    documented = re.findall(r"```aql\n(.*?)```", (DOCS / "server.md").read_text(encoding="utf-8"), re.DOTALL)
    (walk,) = [each.replace("answers", "d") for each in documented if "GRAPH" in each]
    assert [(each["list"], each["steps"]) for each in database.aql.execute(walk)] == [
        ("c", 1), ("b", 2), ("a", 3)
    ]  # fmt: skip
    (end,) = [d["_id"] for d in database.collection("tv_batches").find({"list": store.head("a").list_id})]
    back = "FOR v IN 1..5 INBOUND @start GRAPH 'tv_lineage' RETURN v.list"
    assert list(database.aql.execute(back, bind_vars={"start": end})) == [
        store.head(name).list_id for name in "bcd"
    ]


# ---------------------------------------------------------------- requests


def counted(sent: list[str], do: Callable[[], Any]) -> int:
    sent.clear()
    do()
    return len(sent)


def test_every_question_is_one_request(store: ArangoStore, sent: list[str]) -> None:
    source = put(store, "source", numbers(3000))
    each = [
        Edge(source.list_id, 1, 1, STATED, EdgeForm.EACH, i, 1, i, 3, parents=np.array([0, 2]))
        for i in range(200)
    ]
    made = put(store, "made", numbers(200), edges=tuple(each))
    for _ in range(30):
        put(store, "made", numbers(1), operation="append", edges=(one_to_one(source, 1),))
    spans = [(at, at + 1) for at in range(0, 200, 3)]
    both = [
        EdgeQuery(made.list_id, 1, spans),
        EdgeQuery(source.list_id, 1, [(0, 9)]),
        EdgeQuery(source.list_id, 7, [(3, 4)]),
    ]
    questions: list[Callable[[], Any]] = [
        lambda: edges_at(store, made.list_id, 1, spans, side="child"),
        lambda: edges_at(store, source.list_id, 1, spans, side="parent"),
        lambda: edges_at(store, source.list_id, 1, [(0, 1 << 40)], side="parent"),
        lambda: store.edges_of_batch(made),
        store.edge_summaries,
        lambda: store.edges(both, side="child"),
        lambda: store.edges(both, side="parent"),
        lambda: store.edges([EdgeQuery(made.list_id, None), EdgeQuery(source.list_id, None)], side="child"),
        lambda: store.edges([EdgeQuery(source.list_id, None)], side="parent"),
        lambda: store.writers([(made.list_id, 1, 0, 230), (source.list_id, 1, 7, 9)]),
        lambda: store.describe_lists([1, 2], [(made.list_id, number) for number in range(1, 31)]),
        lambda: store.reads(),
        lambda: store.reads([1]),
    ]
    assert [counted(sent, ask) for ask in questions] == [1] * len(questions)
    plain = counted(sent, lambda: put(store, "made", numbers(1), operation="append"))
    stated = counted(
        sent, lambda: put(store, "made", numbers(1), operation="append", edges=(one_to_one(source, 1),))
    )
    assert stated == plain + 1


Made = Callable[[tv.Vault, str, list[str], np.random.Generator], None]
ROWS = 240


def backwards(vault: tv.Vault, name: str, parents: list[str], rng: np.random.Generator) -> None:
    vault.save(
        name, pd.DataFrame({"x": range(ROWS)}), inputs={each: np.arange(ROWS)[::-1] for each in parents}
    )


def by_halves(vault: tv.Vault, name: str, parents: list[str], rng: np.random.Generator) -> None:
    order = np.r_[0:ROWS:2, 1:ROWS:2]  # a step of two, and of one parent for each
    for part in np.array_split(order, 2):
        vault.append(name, pd.DataFrame({"x": part}), inputs=dict.fromkeys(parents, part))


def shuffled(vault: tv.Vault, name: str, parents: list[str], rng: np.random.Generator) -> None:
    vault.save(name, pd.DataFrame({"x": range(ROWS)}), inputs=dict.fromkeys(parents, rng.permutation(ROWS)))


def in_four(vault: tv.Vault, name: str, parents: list[str], rng: np.random.Generator) -> None:
    for part in np.array_split(rng.permutation(ROWS), 4):
        vault.append(name, pd.DataFrame({"x": part}), inputs=dict.fromkeys(parents, part))


def as_wholes(vault: tv.Vault, name: str, parents: list[str], rng: np.random.Generator) -> None:
    vault.save(name, pd.DataFrame({"x": range(ROWS)}), inputs=parents)


def in_wholes(vault: tv.Vault, name: str, parents: list[str], rng: np.random.Generator) -> None:
    for part in np.array_split(np.arange(ROWS), 3):
        vault.append(name, pd.DataFrame({"x": part}), inputs=parents)


@pytest.mark.parametrize(
    ("make", "hops", "each_step"),
    [(each, 5, 1) for each in (backwards, by_halves, shuffled, in_four)]
    + [(each, 5, 3) for each in (as_wholes, in_wholes)]
    + [(shuffled, 12, 1)],
)
def test_a_step_of_a_walk_takes_as_many_requests_whatever_the_rows(
    vault: tv.Vault, sent: list[str], make: Made, hops: int, each_step: int
) -> None:
    most = 8 + each_step * hops
    rng = np.random.default_rng(3)
    vault.save("l0", pd.DataFrame({"x": range(ROWS)}))
    for hop in range(hops):
        make(vault, f"l{hop + 1}", [f"l{hop}"], rng)
    every_row = make is not in_wholes  # down, every batch is a relative of its own there
    for some, count in ((None, ROWS), ([7], 1)):
        assert counted(sent, lambda some=some: vault.lineage(f"l{hops}", rows=some)) <= most
        assert counted(sent, lambda some=some: vault.lineage("l0", rows=some, direction="down")) <= most
        down = vault.lineage("l0", rows=some, direction="down")
        assert len(vault.lineage(f"l{hops}", rows=some)) == count * hops
        assert len(down) == (count * hops if every_row else count * hops * 3)
    one_step = counted(sent, lambda: vault.lineage(f"l{hops}", depth=1))
    assert one_step <= 6
    assert len(vault.lineage(f"l{hops}", depth=1)) == ROWS


@pytest.mark.parametrize(("make", "each_step"), [(shuffled, 1), (as_wholes, 3)])
def test_several_lists_at_every_step_take_no_more_requests(
    vault: tv.Vault, sent: list[str], make: Made, each_step: int
) -> None:
    for side in "xyz":
        vault.save(f"{side}0", pd.DataFrame({"n": range(ROWS)}))
    for hop in range(5):
        for side in "xyz":
            rng = np.random.default_rng(hop)  # the same rows of each: so each step has one row of each list
            make(vault, f"{side}{hop + 1}", [f"{each}{hop}" for each in "xyz"], rng)
    for some, count in ((None, ROWS), ([7], 1)):
        assert counted(sent, lambda some=some: vault.lineage("x5", rows=some)) <= 8 + 5 * each_step
        assert (
            counted(sent, lambda some=some: vault.lineage("x0", rows=some, direction="down"))
            <= 8 + 5 * each_step
        )
        assert len(vault.lineage("x5", rows=some)) == count * 5 * 3
        assert len(vault.lineage("x0", rows=some, direction="down")) == count * 5 * 3


def test_rows_that_came_one_by_one_take_no_more_requests(vault: tv.Vault, sent: list[str]) -> None:
    rng, rows = np.random.default_rng(3), 40
    vault.save("l0", pd.DataFrame({"x": range(rows)}))
    for hop in range(5):
        for parent in rng.permutation(rows).tolist():
            vault.append(f"l{hop + 1}", {"x": parent}, inputs={f"l{hop}": parent})
    for some, count in ((None, rows), ([7], 1)):
        assert counted(sent, lambda some=some: vault.lineage("l5", rows=some)) <= 13
        assert counted(sent, lambda some=some: vault.lineage("l0", rows=some, direction="down")) <= 13
        assert len(vault.lineage("l5", rows=some)) == count * 5
        assert len(vault.lineage("l0", rows=some, direction="down")) == count * 5


# ---------------------------------------------------------------- many writers


def test_edges_follow_their_batch_to_the_place_it_gets(store: ArangoStore) -> None:
    source = put(store, "source", numbers(40))
    put(store, "made", numbers(0))

    def write(writer: int) -> None:
        for row in range(writer, 40, 4):
            edge = Edge(source.list_id, 1, 1, STATED, EdgeForm.AFFINE, 0, 1, row, 1)
            put(store, "made", pa.table({"x": [row]}), operation="append", edges=(edge,))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    head = store.head("made")
    wrote = [row["x"] for row in rows(store, head)]
    assert head is not None
    assert sorted(wrote) == list(range(40))
    found = edges_at(store, head.list_id, 1, [(0, 40)], side="child")
    assert dict(zip(found.start.tolist(), found.parent.tolist(), strict=True)) == dict(enumerate(wrote))
    for row in (0, 17, 39):
        down = edges_at(store, source.list_id, 1, [(row, row + 1)], side="parent")
        assert wrote.index(row) in down.start.tolist()
    assert store.check() == []
