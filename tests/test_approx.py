"""Approximate search: an index answers only for the rows that are in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.store.engine import ann_index as ann
from tablevault_pd.store.engine import cells
from tablevault_pd.store.engine.vector_block import Block
from tablevault_pd.store.pieces import Pieces

DIM = 8
rng = np.random.default_rng(0)


@pytest.fixture
def vault(tmp_path, monkeypatch):
    monkeypatch.setattr(ann, "SMALLEST", 400)
    monkeypatch.setattr(cells, "CELL_BYTES", 0)  # however few cells are spared
    with tv.connect(tmp_path / "v", capture="none") as vault:
        yield vault


def vectors(rows: int, usable: int, instead: Any) -> pd.DataFrame:
    """`rows` rows, the first `usable` of which can be found."""
    cells: list[Any] = list(rng.standard_normal((rows, DIM)))
    cells[usable:] = [instead] * (rows - usable)
    return pd.DataFrame({"vec": pd.Series(cells, dtype=object)})


def nearest_to_itself(vault, frame, at, *, metric, first=0, **options) -> int:
    """The position that is found for the vector of one row of a frame saved from position `first` on."""
    found = vault.search(near=frame["vec"][at], k=1, approx=True, metric=metric, **options)
    return int(found["position"][0]) - first


def settle(vault) -> None:
    for column in vault.store.vectors.columns.values():
        for index in column.ann.values():
            index.wait()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("instead", [None, [0.0] * DIM, [np.nan] * DIM], ids=["missing", "zeros", "nan"])
def test_rows_seen_before_there_was_an_index_are_found_by_it(vault, instead, metric):
    if metric == "l2" and instead == [0.0] * DIM:
        pytest.skip("zeros are a place like any other")
    first, more, last = (vectors(*size, instead) for size in ((600, 200), (900, 900), (300, 100)))
    vault.save("x", first)
    assert nearest_to_itself(vault, first, 7, metric=metric) == 7
    settle(vault)
    at = 0
    for frame in (more, last):  # the index is made, then extended
        at += 600 if frame is more else 900
        vault.append("x", frame)
        for _ in range(2):  # before the index follows, and after
            for row in (0, 7, 199):
                assert nearest_to_itself(vault, first, row, metric=metric) == row
            for row in (0, 99):
                assert nearest_to_itself(vault, frame, row, metric=metric, first=at) == row
            settle(vault)
    built = [index.built for column in vault.store.vectors.columns.values() for index in column.ann.values()]
    assert all(each is not None and each.upto >= 1500 for each in built)


def test_an_older_version_is_not_answered_with_later_rows(vault):
    first = vectors(600, 600, None)
    vault.save("x", first)
    nearest_to_itself(vault, first, 0, metric="cosine")
    settle(vault)
    vault.append("x", pd.concat([first, first], ignore_index=True))
    for _ in range(2):
        found = vault.search(near=first["vec"][3], lists="x@1", k=5, approx=True)
        assert found["position"].max() < 600
        assert nearest_to_itself(vault, first, 3, metric="cosine") == 3
        settle(vault)


def test_an_index_that_could_not_be_extended_goes_on(vault, monkeypatch):
    first, more = vectors(600, 600, None), vectors(600, 600, None)
    vault.save("x", first)
    nearest_to_itself(vault, first, 0, metric="cosine")
    settle(vault)
    (index,) = [index for column in vault.store.vectors.columns.values() for index in column.ann.values()]

    def fails(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(cells.VectorCells, "extended", fails)
        patched.setattr("threading.excepthook", lambda _: None)
        vault.append("x", more)
        assert nearest_to_itself(vault, more, 550, metric="cosine", first=600) == 550
        settle(vault)
    for _ in range(3):
        assert nearest_to_itself(vault, more, 550, metric="cosine", first=600) == 550
        assert len(set(vault.search(near=more["vec"][5], k=20, approx=True)["position"])) == 20
        settle(vault)
    assert index.built.size == 1200


def test_one_query_is_answered_exactly_where_that_is_as_fast(vault, monkeypatch):
    frame = vectors(600, 600, None)
    vault.save("x", frame)
    nearest_to_itself(vault, frame, 0, metric="cosine")
    settle(vault)
    visits: list[int] = []
    real = cells.VectorCells.nearest
    monkeypatch.setattr(
        cells.VectorCells, "nearest", lambda *args: visits.append(len(args[1])) or real(*args)
    )
    one, two = frame["vec"][5], np.array(frame["vec"][:2].to_list())
    for cell_bytes, visited in ((0, [1, 2]), (1 << 40, [2])):
        monkeypatch.setattr(cells, "CELL_BYTES", cell_bytes)
        visits.clear()
        found = vault.search(near=one, k=10, approx=True)
        vault.search(near=two, k=10, approx=True)
        assert visits == visited
    pd.testing.assert_frame_equal(found, vault.search(near=one, k=10))


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_one_query_finds_what_it_finds_among_several_and_reads_its_cells_alone(vault, monkeypatch, metric):
    frame = vectors(900, 900, None)
    vault.save("x", frame)
    nearest_to_itself(vault, frame, 0, metric=metric)
    settle(vault)
    (index,) = [index for column in vault.store.vectors.columns.values() for index in column.ann.values()]
    built = index.built
    queries = np.array(frame["vec"][:20].to_list())
    among = vault.search(near=queries, k=10, approx=True, metric=metric)
    compared: list[int] = []
    real = cells._similarity_to_one

    def counted(rows: np.ndarray, query: np.ndarray, *args: Any) -> np.ndarray:
        compared.append(len(rows))
        return real(rows, query, *args)

    monkeypatch.setattr(cells, "_similarity_to_one", counted)
    monkeypatch.setattr(cells, "_half_squares", None)  # of the centres: known since they were found
    for number, query in enumerate(queries):
        compared.clear()
        alone = vault.search(near=query, k=10, approx=True, metric=metric)
        assert alone["position"].tolist() == among["position"][among["query"] == number].tolist()
        assert len(compared) == built.probes < len(built.centers)
        assert sum(compared) < len(frame)


def test_products_beyond_float32_are_no_reason_to_find_nothing():
    scores = np.array([np.nan, 3.0, np.nan, 1.0, 2.0] * 600, np.float32)
    for count in (1, 5, 600, 1200, 1801):
        best = scores[cells._best(scores, count)]
        held = np.sort(scores[~np.isnan(scores)])[::-1][:count]
        assert len(best) >= count
        assert np.sort(best[~np.isnan(best)])[::-1][: len(held)].tolist() == held.tolist()


def test_of_many_cells_a_vector_is_compared_with_some_and_searches_find_as_much(monkeypatch):
    middles = rng.standard_normal((300, 16)).astype(np.float32)
    rows = middles[rng.integers(0, 300, 12_000)] + 0.4 * rng.standard_normal((12_000, 16)).astype(np.float32)
    block = Block(Pieces.of([(1, 0, len(rows))]), rows, np.ones(len(rows), bool))
    given = cells.Vectors([block], "l2")
    compared: list[int] = []
    real = cells._closeness

    def counted(centers: np.ndarray, some: np.ndarray, *args: Any) -> np.ndarray:
        compared.append(len(centers) * len(some))
        return real(centers, some, *args)

    def recall(built: cells.VectorCells) -> float:
        queries = rows[:100]
        near = built.nearest(queries, "l2", 10, lambda low, high: rows[built.addresses[low:high]], None)
        assert near is not None
        best = [set(np.argsort(np.square(rows - query).sum(axis=1))[:10].tolist()) for query in queries]
        return sum(len(one & set(found.tolist())) for one, found in zip(best, near, strict=True)) / 1000

    exact = cells.build(given, len(rows), "l2", lambda: None)
    monkeypatch.setattr(cells, "MANY_CELLS", 100)
    monkeypatch.setattr(cells, "GROUPS", 32)
    built = cells.build(given, len(rows), "l2", lambda: None)
    assert built.holds(np.arange(len(rows)))
    assert built.fits(given)
    assert recall(built) >= min(recall(exact), cells.RECALL) - 0.02
    with monkeypatch.context() as patched:
        patched.setattr(cells, "_closeness", counted)
        again = cells._cells_of(exact.centers, given, np.arange(len(rows)), lambda: None)
    assert sum(compared) < 0.45 * len(rows) * len(exact.centers)
    nearest = real(exact.centers, rows).argmax(axis=1)
    assert (again == nearest).mean() > 0.85
