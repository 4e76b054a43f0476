"""The nearest vectors: the same rows in the same order in both stores, whatever the vectors, versions and filters are."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import Place, act, database_of, new_place, put

from tablevault_pd import frames
from tablevault_pd.store import Hits, Near, Scope, Store, Version

arango = pytest.mark.arango
DIM = 3
NUMBER = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 2.0]),
    st.floats(-4, 4, width=16),
    st.sampled_from([1e-4, 6e4, 5.96e-8]),
)
WIDE = st.one_of(NUMBER, st.sampled_from([1e200, -1e200, 1e-200, 1e308, 5e-324, 1e20, 1e-20, 1e-38]))
ODD = st.sampled_from([math.nan, math.inf, -math.inf])
from hypothesis import Phase
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
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
    for chunk in store.scan(version, columns=[field]):
        wanted = frames.align(chunk.table, schema.__class__.field and _only(schema, field))
        found += wanted.column(0).to_pylist()
    return found


def _only(schema: Any, field: str) -> Any:
    import pyarrow as pa

    return pa.schema([schema.field(field)], metadata=schema.metadata)


def exactly(vector: list[float] | None, query: list[float], metric: str) -> tuple[float, float] | None:
    """The score in rational numbers and how much a sum may be off; None for what is never found."""
    if vector is None or not all(map(math.isfinite, vector)) or (metric == "cosine" and not any(vector)):
        return None
    a, b = [list(map(Fraction, each)) for each in (vector, query)]
    if metric == "l2":
        return -root(sum((x - y) ** 2 for x, y in zip(a, b, strict=True))), 0.0
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    if metric == "dot":
        return clipped(dot), clipped(sum(abs(x * y) for x, y in zip(a, b, strict=True)) / 10**12)
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
    @given(histories(), QUERY, st.sampled_from(["cosine", "dot", "l2"]), st.integers(0, 2**32), st.booleans())
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
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
    near = [Near(number, field, asked) for number in range(len(scopes)) for field in "ab"]
    columns = [vectors_of(store, versions[each.scope], each.field) for each in near]
    answers = []
    for k in (1, 3, 1000, None):
        hits = store.find_near(near, scopes, metric=metric, k=k)
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
