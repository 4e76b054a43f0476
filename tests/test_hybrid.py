"""Words and vectors together: the best few are those of the whole ranking, and on a server no vectors are read for them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

DIM = 4
rng = np.random.default_rng(0)
ROWS = {"one": 220, "two": 90}
# Rare words in rows that are anywhere among the vectors; some vectors twice, some missing, some that no search finds.
TEXTS = {
    name: [
        " ".join(["apple"] * (n % 5 == 0) + ["zinc"] * (n % 31 == 3) + ["moon"] * (n % 2) + [f"n{n}"])
        for n in range(rows)
    ]
    for name, rows in ROWS.items()
}


def vectors(rows):
    drawn = rng.standard_normal((rows, DIM)).astype(np.float32)
    drawn[1::7] = drawn[0]
    cells = list(drawn)
    cells[5::40] = [None] * len(cells[5::40])
    cells[6::50] = [np.zeros(DIM, np.float32)] * len(cells[6::50])
    cells[8::60] = [np.full(DIM, np.nan, np.float32)] * len(cells[8::60])
    return cells


CELLS = {name: vectors(rows) for name, rows in ROWS.items()}


@pytest.fixture
def filled(vault, monkeypatch):
    monkeypatch.setattr("tablevault_pd.search.fusion.FIRST", 5)
    for name, rows in ROWS.items():
        frame = pd.DataFrame(
            {"text": TEXTS[name], "n": range(rows), "vec": pd.Series(CELLS[name], dtype=object)}
        )
        vault.save(name, frame[: rows // 2])
        vault.append(name, frame[rows // 2 :].reset_index(drop=True))
    return vault


def score(vector, query, metric):
    if vector is None or not np.isfinite(vector).all():
        return None
    vector = vector.astype(np.float64)
    if metric == "l2":
        return -float(np.linalg.norm(vector - query))
    if metric == "dot":
        return float(vector @ query)
    length = np.linalg.norm(vector) * np.linalg.norm(query)
    return float(vector @ query / length) if length else None


def ranks(scores):
    """From 1; equal ones share the first."""
    ordered = sorted(scores.values(), reverse=True)
    return {key: 1 + sum(other > value + 1e-12 for other in ordered) for key, value in scores.items()}


def whole(vault, text, query, metric, weights, kept, match):
    """The whole ranking: words as a search for words alone ranks them, vectors by NumPy."""
    words = vault.search(text, match=match, filters=f"n >= {kept}")
    by_words = dict(zip(zip(words["list"], words["position"], strict=True), words["score"], strict=True))
    near = {
        (name, at): score(cell, query, metric)
        for name, cells in CELLS.items()
        for at, cell in enumerate(cells)
        if at >= kept
    }
    total = {}
    for name, found in (
        ("text", by_words),
        ("near", {key: value for key, value in near.items() if value is not None}),
    ):
        for key, rank in ranks(found).items():
            total[key] = total.get(key, 0.0) + weights.get(name, 1.0) / (60 + rank)
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_the_best_are_those_of_the_whole_ranking(filled, metric):
    query = np.array([0.3, -1.0, 0.5, 0.25])
    for text, weights, kept, match, k, offset in (
        ("zinc", {}, 0, "any", 3, 0),
        ("zinc moon", {"text": 5.0}, 0, "any", 10, 2),
        ("apple zinc", {"near": 3.0}, 40, "all", 5, 0),
        ("n3 n80 n7", {"text": 2.0, "near": 0.5}, 0, "any", 8, 0),
        ("nowhere", {}, 0, "any", 4, 0),
        ("zinc", {"text": 9.0}, 200, "any", 6, 0),
    ):
        expected = whole(filled, text, query, metric, weights, kept, match)[offset : offset + k]
        found = filled.search(
            text,
            near=query,
            metric=metric,
            weights=weights or None,
            filters=f"n >= {kept}",
            match=match,
            k=k,
            offset=offset,
        )
        assert found["score"].to_list() == pytest.approx([value for _, value in expected], abs=1e-13)
        assert list(zip(found["list"], found["position"], strict=True)) == [key for key, _ in expected]


def test_no_column_of_vectors_is_read(filled):
    filled.store.vectors.columns.clear()
    queries = rng.standard_normal((2, DIM))
    answer = filled.search("zinc n80", near=queries, k=5)
    assert len(answer) == 10
    assert bool(filled.store.vectors.columns) != filled.store.supports_pushdown
