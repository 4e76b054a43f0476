"""The nearest vectors: the same rows in the same order in both stores, whatever the vectors, versions and filters are."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import BOTH, Place, act, database_of, new_place, put
from torture.harness import times

from tablevault_pd import frames
from tablevault_pd.store import Hits, Metric, Scope, Store, VectorQuery, Version
from tablevault_pd.store.engine import ranking, vector_block, vector_scan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

arango = pytest.mark.arango
DIM = 3
METRICS: list[Metric] = ["cosine", "dot", "l2"]
NUMBER = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 2.0]),
    st.floats(-4, 4, width=16),
    st.sampled_from([1e-4, 6e4, 5.96e-8]),
)
WIDE = st.one_of(NUMBER, st.sampled_from([1e200, -1e200, 1e-200, 1e308, 5e-324, 1e20, 1e-20, 1e-38]))
ODD = st.sampled_from([math.nan, math.inf, -math.inf])
WIDTHS = ["float16", "float32", "float64"]


def cells(width: str) -> Any:
    numbers = NUMBER if width == "float16" else WIDE
    vector = st.lists(numbers, min_size=DIM, max_size=DIM)
    with_odd = st.lists(st.one_of(numbers, ODD), min_size=DIM, max_size=DIM)
    same = st.sampled_from([[1.0, 2.0, 0.5], [2.0, 4.0, 1.0], [0.0, 0.0, 0.0]])  # ties
    return st.lists(st.one_of(st.none(), vector, with_odd, same, same), min_size=1, max_size=6)


STEP = st.tuples(
    st.sampled_from(["one", "two"]), st.sampled_from(["save", "append", "append", "delete", "restore"])
)
QUERY = st.lists(
    st.one_of(
        st.lists(NUMBER, min_size=DIM, max_size=DIM),
        st.lists(WIDE, min_size=DIM, max_size=DIM),
        st.just([1.0, 2.0, 0.5]),
    ).filter(any),
    min_size=1,
    max_size=3,
)


def table(width: str, a: list[Any], b: list[Any]) -> Any:
    with np.errstate(over="ignore"):
        made = {
            name: [None if cell is None else np.array(cell, width) for cell in column]
            for name, column in (("a", a), ("b", b))
        }
    made["a"].append(np.ones(DIM, width))  # else a column may hold no vector, and be none of vectors
    made["b"].append(np.full(DIM, 0.5, width))
    return frames.encode(pd.DataFrame(made), embeddings=["a", "b"])


@st.composite
def histories(draw: Any) -> list[Any]:
    """What is done to the lists: (list, operation, table or None)."""
    done: list[Any] = []
    shown: dict[str, bool] = {}
    first: dict[str, int] = {}
    widest: dict[str, int] = {}  # an append may be narrower than its list, not wider
    for name, operation in draw(st.lists(STEP, min_size=1, max_size=5)):
        if name not in shown or (operation == "append" and not shown[name]):
            operation = "save"
        written = None
        if operation in ("save", "append"):
            width = draw(st.integers(0, widest[name] if operation == "append" else 2))
            vectors = draw(cells(WIDTHS[width]))
            written = table(WIDTHS[width], vectors, draw(st.permutations(vectors)))
            if operation == "save":
                widest[name] = width
                first.setdefault(name, width)
        if operation == "restore":
            widest[name] = first[name]
        if operation != "delete" or shown[name]:
            done.append((name, operation, written))
        shown[name] = operation != "delete"
    return done


def do(store: Store, history: list[Any]) -> None:
    for name, operation, written in history:
        head = store.head(name)
        if operation == "append":
            assert head is not None
            wider = frames.merge(store.schema(head.schema_id), written.schema).schema
            put(store, name, written, operation=operation, schema=wider)
        elif operation == "save":
            put(store, name, written)
        elif operation == "restore":
            act(store, name, operation, target=1)
        else:
            act(store, name, operation)


def told(hits: Hits) -> list[tuple[int, int, int]]:
    return list(zip(hits.scope.tolist(), hits.position.tolist(), hits.item.tolist(), strict=True))


def vectors_of(store: Store, version: Version, field: str) -> list[list[float] | None]:
    found: list[Any] = []
    schema = store.schema(version.schema_id)
    only = pa.schema([schema.field(field)], metadata=schema.metadata)
    for chunk in store.scan(version, columns=[field]):
        found += frames.align(chunk.table, only).column(0).to_pylist()
    return found


def exactly(vector: list[float] | None, query: list[float], metric: str) -> tuple[float, float] | None:
    """The score in rational numbers and how much a sum may be off; None for what is never found."""
    if vector is None or not all(map(math.isfinite, vector)) or (metric == "cosine" and not any(vector)):
        return None
    a, b = [list(map(Fraction, each)) for each in (vector, query)]
    if metric == "l2":
        return -root(sum((x - y) ** 2 for x, y in zip(a, b, strict=True))), 1e-320
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    if metric == "dot":
        off = clipped(sum(abs(x * y) for x, y in zip(a, b, strict=True)) / 10**12)
        return clipped(dot), off + 1e-320  # the smallest numbers of all have few digits
    share = root(dot * dot / (sum(x * x for x in a) * sum(x * x for x in b)))
    return (share if dot >= 0 else -share), 1e-12


def root(square: Fraction | int) -> float:
    digits = 10**350  # the smallest distance has some left
    return clipped(Fraction(math.isqrt(int(square * digits * digits)), digits))


def clipped(number: Fraction | int) -> float:
    return float(min(max(number, Fraction(-1.7976931348623157e308)), Fraction(1.7976931348623157e308)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("near")


@pytest.mark.parametrize("kinds", [["embedded"], pytest.param(["embedded", "arango"], marks=arango)])
def test_all_stores_find_the_nearest_in_the_same_order(kinds: list[str], folder: Path) -> None:
    @given(histories(), QUERY, st.sampled_from(METRICS), st.integers(0, 2**32), st.booleans())
    @settings(
        max_examples=times(12, ordinary=6),
        suppress_health_check=list(HealthCheck),
    )
    def find(history: Any, queries: list[list[float]], metric: Any, seed: int, masked: bool) -> None:
        answers = []
        with ExitStack() as stack:
            for kind in kinds:
                place = stack.enter_context(new_place(kind, folder))
                store = place.open()
                stack.callback(store.close)
                do(store, history)
                answers.append(found_in(store, queries, metric, seed, masked))
        assert all(answer == answers[0] for answer in answers)

    find()


def found_in(store: Store, queries: list[list[float]], metric: Any, seed: int, masked: bool) -> list[Any]:
    """The answers for several k, each compared with the scores in rational numbers."""
    rng = np.random.default_rng(seed)
    versions = [version for version in store.versions() if not version.deleted]
    scopes = [
        Scope(version, keep=rng.random(version.total) < 0.6 if masked else None) for version in versions
    ]
    asked = np.array(queries)
    near = [VectorQuery(number, field, asked) for number in range(len(scopes)) for field in "ab"]
    columns = [vectors_of(store, versions[each.scope], each.field) for each in near]
    answers = []
    for k in (1, 3, 1000, None):
        hits = store.search_vectors(near, scopes, metric=metric, k=k)
        for query, answer in zip(queries, hits, strict=True):
            truth: dict[tuple[int, int], tuple[float, float]] = {}
            for each, column in zip(near, columns, strict=True):
                keep = scopes[each.scope].keep
                for position, vector in enumerate(column):
                    score = exactly(vector, query, metric)
                    if score is not None and (keep is None or keep[position]):
                        row = (each.scope, position)
                        truth[row] = max(score, truth.get(row, score))
            rows = told(answer)
            count = len(truth) if k is None else min(k, len(truth))
            assert len(rows) >= count
            assert len({row[:2] for row in rows}) == len(rows)
            best = sorted(truth.values(), reverse=True)[:count]
            for (row, score), (other, off) in zip(
                zip(rows, answer.score.tolist(), strict=True), best, strict=False
            ):
                own, doubt = truth[row[:2]]
                assert score == pytest.approx(own, rel=1e-12, abs=doubt)
                assert score == pytest.approx(other, rel=1e-12, abs=max(off, doubt))
            answers.append(
                [(row, score) for row, score in zip(rows[:count], answer.score.tolist(), strict=False)]
            )
    for number in range(len(queries)):
        everything = answers[-len(queries) + number]
        for at in range(number, len(answers), len(queries)):
            assert answers[at] == everything[: len(answers[at])]
    return answers


# -- how the server is asked


def many(rows: np.ndarray) -> Any:
    return frames.encode(pd.DataFrame({"vec": list(rows)}), embeddings=["vec"])


def brute(rows: np.ndarray, query: np.ndarray, keep: np.ndarray | None = None) -> list[int]:
    wide = rows.astype(np.float64)
    scores = (wide * query).sum(axis=1) / np.sqrt((wide**2).sum(axis=1))
    order = np.lexsort((np.arange(len(rows)), -scores.round(12)))
    return [int(at) for at in order if keep is None or keep[at]]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with new_place("arango", tmp_path) as found:
        yield found


def nearest(
    store: Store, query: np.ndarray, k: int, approx: bool = False, keep: np.ndarray | None = None
) -> list[int]:
    head = store.head("v")
    assert head is not None
    near = [VectorQuery(0, "vec", query[None])]
    [hits] = store.search_vectors(near, [Scope(head, keep=keep)], metric="cosine", k=k, approx=approx)
    return hits.position.tolist()[:k]


@arango
@pytest.mark.parametrize("limits", [{}, {"RANGES": 5}, {"MARGIN": 0, "GROWTH": 2}, {"MOST_NUMBERS": 200}])
def test_limits_change_no_answer(
    store: Store, limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tablevault_pd.store.arango import nearest as searching_vectors

    for name, value in limits.items():
        monkeypatch.setattr(searching_vectors, name, value)
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((200, 4)).astype(np.float32)
    rows[50:120] = rows[7]  # more of one score than are asked for at first
    put(store, "v", many(rows[:90]))
    put(store, "v", many(rows[90:]), operation="append")
    for query in (rows[7].astype(np.float64), rng.standard_normal(4)):
        for keep in (
            None,
            rng.random(200) < 0.3,
            np.arange(200) % 2 == 0,
            np.arange(200) == 60,
            np.zeros(200, bool),
        ):
            for k in (1, 30, 500):
                assert nearest(store, query, k, keep=keep) == brute(rows, query, keep)[:k]


@arango
def test_only_the_best_come_from_the_server(
    store: Store, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tablevault_pd.store.arango import nearest as searching_vectors

    rows = np.random.default_rng(2).standard_normal((500, 8))
    put(store, "v", many(rows))
    store.schema(store.head("v").schema_id)
    came: list[int] = []
    real = searching_vectors._hits
    monkeypatch.setattr(searching_vectors, "_hits", lambda *args: came.append(len(args[2])) or real(*args))
    sent.clear()
    assert nearest(store, rows[3], 5) == brute(rows, rows[3])[:5]
    assert len(sent) <= 4
    assert came == [5 + searching_vectors.MARGIN]
    put(store, "v", many(np.tile(rows[:1], (900, 1))))
    store.schema(store.head("v").schema_id)
    sent.clear()
    assert nearest(store, rows[3], 5) == [0, 1, 2, 3, 4]  # of 900 that are alike
    assert len(sent) <= 4 + 1  # the head of the list is looked up here


@arango
def test_lists_of_every_arrow_type_are_compared_alike(tmp_path: Path) -> None:
    vectors = [[1.0, -0.0, 2.0], None, [0.5, 0.5, 0.5], [-0.0, 0.0, 0.0], [math.nan, 1, 1], [0.0, 1.0, -3.0]]
    kinds = {
        "list": pa.list_(pa.float64()),
        "large": pa.large_list(pa.float32()),
        "fixed": pa.list_(pa.float32(), 3),
    }
    frame = pd.DataFrame(
        {name: pd.array(pa.array(vectors, kind), dtype=pd.ArrowDtype(kind)) for name, kind in kinds.items()}
    )
    rows = frames.encode(frame.assign(two=[np.array([i, 1.0]) for i in range(6)]), embeddings=[*kinds, "two"])
    answers: list[Any] = []
    for kind in ("embedded", "arango"):
        with new_place(kind, tmp_path) as place:
            store = place.open()
            version = put(store, "v", rows)
            scopes = [Scope(version), Scope(version, keep=np.arange(6) != 2)]
            asked, narrow = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]), np.array([[1.0, 2.0], [0.0, 1.0]])
            near = [VectorQuery(number, name, asked) for number in (0, 1) for name in kinds] + [
                VectorQuery(0, "two", narrow)
            ]
            answers.append([])
            for metric in METRICS:
                for some in (*([each] for each in near), near):
                    found = store.search_vectors(some, scopes, metric=metric, k=20)
                    answers[-1] += [(told(hits), hits.score.tolist()) for hits in found]
            store.close()
    assert answers[0] == answers[1]
    assert {len(rows) for rows, _ in answers[0]} == {2, 3, 4, 6, 8, 9}  # by hand


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("one_pass", [0, 1 << 30])  # by BLAS, and row by row
def test_rows_that_hardly_differ_are_ranked_as_without_k(
    kind: str, width: str, one_pass: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_block, "ONE_PASS_BYTES", one_pass)
    monkeypatch.setattr(ranking, "GROUPS", 4)
    monkeypatch.setattr(ranking, "GROUP_SCORES", 2)
    rng = np.random.default_rng(5)
    with np.errstate(over="ignore"):
        rows = (
            np.ones(64) + 1e-7 * rng.standard_normal((400, 64)) * 10 ** rng.integers(0, 4, (400, 1))
        ).astype(width)
    rows[200:300] = rows[100:200]
    asked = rng.standard_normal((2, 64))
    with new_place(kind, tmp_path) as place:
        store = place.open()
        scopes = [Scope(put(store, "v", many(rows)))]
        for metric, queries in product(METRICS, (asked, asked[:1])):
            near = [VectorQuery(0, "vec", queries)]
            whole = store.search_vectors(near, scopes, metric=metric)
            for k in (1, 10, 150):
                cut = store.search_vectors(near, scopes, metric=metric, k=k)
                for some, everything in zip(cut, whole, strict=True):
                    assert told(some)[:k] == told(everything)[:k]
                    assert some.score[:k].tolist() == everything.score[:k].tolist()
        store.close()


@given(
    st.lists(st.sampled_from([-math.inf, -1.5, 0.0, 0.25, 1.0, 2.0, 3.0]), min_size=1, max_size=60), st.data()
)
@settings(max_examples=times(300, ordinary=60))
def test_the_kth_best_of_scores_is_that_of_all_sorted(scores: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(scores)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "GROUPS", data.draw(st.integers(1, 8)))
        patch.setattr(ranking, "GROUP_SCORES", data.draw(st.integers(1, 4)))
        assert ranking.kth_best(np.array(scores, np.float32), k) == sorted(scores, reverse=True)[k - 1]


@pytest.fixture
def small_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are worth an index, and what a search has not found the next one looks for again."""
    from tablevault_pd.store.arango import nearest as searching_vectors
    from tablevault_pd.store.arango import vectorindex

    monkeypatch.setattr(searching_vectors, "SMALLEST", 20)
    monkeypatch.setattr(vectorindex, "PER_CELL", 4)
    monkeypatch.setattr(vectorindex, "LOOK_AGAIN_S", 0.0)


def vector_indexes(place: Place) -> list[Any]:
    return [
        one
        for one in database_of(place.address).collection("tv_embeddings").indexes()
        if one["type"] == "vector"
    ]


def until_indexed(place: Place) -> None:
    for _ in range(200):
        if vector_indexes(place):
            return
        time.sleep(0.05)
    raise AssertionError("the server made no vector index")


@arango
def test_an_index_answers_with_enough_rows_however_filtered_and_new(
    place: Place, store: Store, small_index: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tablevault_pd.store.arango import nearest as searching_vectors

    rng = np.random.default_rng(3)
    rows = rng.standard_normal((300, 4)).astype(np.float32)
    put(store, "other", many(rows[:100]))
    put(store, "v", many(rows))
    query = rng.standard_normal(4)
    assert nearest(store, query, 5, approx=True) == brute(rows, query)[:5]
    until_indexed(place)
    exact = searching_vectors.Nearest._exactly
    monkeypatch.setattr(
        searching_vectors.Nearest, "_exactly", lambda *_: pytest.fail("the index was not used")
    )
    assert len(nearest(store, query, 5, approx=True)) == 5
    new = np.concatenate([rows, query[None].astype(np.float32), np.full((1, 4), np.nan, np.float32)])
    put(store, "v", many(new[300:]), operation="append")
    assert nearest(store, query, 3, approx=True)[0] == 300
    put(store, "wide", many(rng.standard_normal((3, 5))))  # of a width the index does not have
    half = rng.random(302) < 0.5
    found = nearest(store, query, 10, approx=True, keep=half)
    assert len(found) == 10
    assert half[found].all()
    monkeypatch.setattr(searching_vectors.Nearest, "_exactly", exact)
    for keep in (np.arange(302) == 17, np.arange(302) < 2, np.arange(302) % 10 == 0):
        assert (
            nearest(store, query, 10, approx=True, keep=keep)
            == brute(new, query, keep & (np.arange(302) < 301))[:10]
        )
    assert nearest(store, query, 400, approx=True) == brute(new[:301], query)
    [index] = vector_indexes(place)
    database_of(place.address).collection("tv_embeddings").delete_index(index["id"])
    assert nearest(store, query, 10, approx=True) == brute(new[:301], query)[:10]


@arango
@pytest.mark.parametrize("why", ["too old", "refused", "read only"])
def test_without_vector_indexes_approximate_search_is_exact(
    place: Place, store: Store, small_index: None, why: str, monkeypatch: pytest.MonkeyPatch, sent: list[str]
) -> None:
    from arango.exceptions import IndexCreateError
    from arango.request import Request
    from arango.response import Response

    from tablevault_pd.store.arango import vectorindex

    def refuse(database: Any, definition: Any) -> None:
        asked.append(definition)
        answer = Response("post", "", {}, 400, "Bad Request", "")
        answer.error_code, answer.error_message = 9, "vector index feature is not enabled"
        raise IndexCreateError(answer, Request("post", "/_api/index"))

    asked: list[Any] = []
    rows = np.random.default_rng(4).standard_normal((100, 4))
    put(store, "v", many(rows))
    if why == "too old":
        monkeypatch.setattr(vectorindex, "SERVER_VERSION", "RETURN '3.12.5-2'")
    if why == "refused":
        monkeypatch.setattr(vectorindex, "_make", refuse)
    searching = place.open(read_only=why == "read only")
    sent.clear()
    for _ in range(3):
        assert nearest(searching, rows[5], 7, approx=True) == brute(rows, rows[5])[:7]
    searching.close()
    assert len(asked) == (why == "refused")
    assert not any(one.startswith("post") and "/_api/index" in one for one in map(str.lower, sent))
    assert vector_indexes(place) == []


def test_streamed_vectors_stay_in_their_file(folder_vault):
    """A file of several batches is searched where it is mapped: together they would be a copy in memory."""
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((22_000, 128)).astype(np.float32) for _ in range(3)]
    cells = (pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), 128) for part in parts)
    folder_vault.save("x", (pa.table({"vec": each, "n": range(len(each))}) for each in cells))
    allocated = pa.total_allocated_bytes()
    found = folder_vault.search(near=np.stack([part[7] for part in parts]), k=1, columns=["n"])
    assert found["position"].tolist() == [7, 22_007, 44_007]
    assert found["n"].tolist() == [7, 7, 7]
    assert pa.total_allocated_bytes() - allocated < parts[0].nbytes
    [column] = folder_vault.store.vectors.columns.values()
    assert [len(block) for block in column.blocks] == [22_000] * 3
    assert (column.size_bytes, column.maps) == (0, 1)


def test_a_column_in_more_files_than_are_kept_mapped_is_read_once(folder_vault, monkeypatch):
    """The column that was searched last stays, or each search would read all of it again; others make room."""
    monkeypatch.setattr(vector_scan, "KEPT_MAPS", 1)
    for module in (vector_scan, vector_block):
        monkeypatch.setattr(module, "MAPPED_BYTES", 1 << 20)
    part = np.random.default_rng(0).standard_normal((5000, 64)).astype(np.float32)
    table = pa.table({"vec": pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), 64)})
    for name in ("x", "x", "y", "y"):
        folder_vault.append(name, table)
    columns = folder_vault.store.vectors.columns
    for name in ("x", "y"):
        folder_vault.search(near=part[7], lists=name, k=1)
        [column] = columns.values()
        assert column.maps == 2
        assert folder_vault.search(near=part[7], lists=name, k=2)["position"].tolist() == [7, 5007]
        assert list(columns.values()) == [column]
