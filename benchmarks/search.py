"""Search: exact and approximate vectors, texts, and sessions, beside NumPy, Faiss, FTS5 and LanceDB on the same data.

NumPy has the matrix in memory and knows the lengths of its rows. FTS5 and Faiss are asked bare, for row numbers alone; ours
are asked through the store for the same, and through ``vault.search`` for the whole answer with values and who wrote them.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from timing import OURS, Contender, Line, race, wait_until_indexed

import tablevault_pd as tv
from tablevault_pd.search.query import parse_text
from tablevault_pd.store import Cell, Scope, Session, VectorQuery

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = 384
INNER_WIDTH = 32
K = 10
ANSWER = f"{OURS}, whole answer"


def measure(folder: Path, scale: float) -> list[Line]:
    with tv.connect(folder / "search.vault", durability="fast") as vault:
        return [
            *vectors(vault, folder, int(100_000 * scale)),
            *texts(vault, folder, int(200_000 * scale)),
            *sessions(vault, int(10_000 * scale)),
        ]


# -- vectors


def sentence_vectors(rows: int, seed: int = 0) -> np.ndarray:
    """Vectors that vary in few directions, around topics, as those of sentences do; of one space whatever the seed."""
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((500, INNER_WIDTH))
    directions = rng.standard_normal((INNER_WIDTH, WIDTH)).astype(np.float32)
    rng = np.random.default_rng(seed)
    inner = topics[rng.integers(0, len(topics), rows)] + rng.standard_normal((rows, INNER_WIDTH))
    return inner.astype(np.float32) @ directions + rng.standard_normal((rows, WIDTH), dtype=np.float32)


def index_of(vault: tv.Vault) -> Any:
    """The approximate index of the vectors that were searched, once it is built; None if there are too few of them."""
    indexes = [
        column.ann["cosine"] for column in vault.store.vectors.columns.values() if "cosine" in column.ann
    ]
    for index in indexes:
        index.wait()
    return indexes[0].built if indexes else None


def vectors(vault: tv.Vault, folder: Path, rows: int) -> list[Line]:
    """Vectors of sentences; the queries are other such vectors."""
    drawn = sentence_vectors(rows + 200)
    matrix, queries = drawn[:rows], drawn[rows:]
    vault.save("vectors", pd.DataFrame({"vec": list(matrix)}))
    head = vault.store.head("vectors")
    scopes = [Scope(head)]

    def ours(query: np.ndarray, *, approx: bool = False) -> Any:
        return vault.store.search_vectors(
            [VectorQuery(0, "vec", query)], scopes, metric="cosine", k=K, approx=approx
        )

    lengths = np.linalg.norm(matrix, axis=1)

    def bare(number: int) -> np.ndarray:
        scores = (matrix @ queries[number]) / lengths
        best = np.argpartition(-scores, K)[:K]
        return best[np.argsort(-scores[best])]

    ours(queries[:1])  # the first search of a process reads the file and the lengths
    contenders = [
        Contender(OURS, lambda n: ours(queries[n : n + 1])),
        Contender(ANSWER, lambda n: vault.search(near=queries[n], k=K)),
        Contender("NumPy", bare),
        *lance_vectors(folder, matrix, queries),
    ]
    found = race(f"exact, {rows:,} x {WIDTH}", contenders, rounds=21, targets={"NumPy": 1.3})
    return found + approximate(vault, matrix, queries, ours, bare)


def approximate(vault: tv.Vault, matrix: np.ndarray, queries: np.ndarray, ours: Any, bare: Any) -> list[Line]:
    """Ours beside an index of the same cells, of which as many are visited; a hundred queries at once."""
    try:
        import faiss
    except ImportError:
        return []
    ours(queries[:1], approx=True)
    built = index_of(vault)
    if built is None:
        return []
    hits = ours(queries[:100], approx=True)
    shared = sum(len(np.intersect1d(hits[n].position[:K], bare(n))) for n in range(100))
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    cells = len(built.centers)
    peer = faiss.index_factory(WIDTH, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    peer.train(unit[: 40 * cells])
    peer.add(unit)
    peer.nprobe = built.probes
    contenders = [
        Contender(
            OURS, lambda n: ours(queries[:100], approx=True), note=f"recall@{K} {shared / (100 * K):.3f}"
        ),
        Contender("Faiss", lambda n: peer.search(queries[:100], K)),
    ]
    found = race(f"approximate, 100 queries, {len(matrix):,} x {WIDTH}", contenders, targets={"Faiss": 1.5})
    queries_of = [
        Contender(OURS, lambda n: ours(queries[n : n + 1], approx=True)),
        Contender(ANSWER, lambda n: vault.search(near=queries[n], lists="vectors", k=K, approx=True)),
        Contender("Faiss", lambda n: peer.search(queries[n : n + 1], K)),
    ]
    return found + race(f"approximate, one query, {len(matrix):,} x {WIDTH}", queries_of, rounds=21)


def lance_vectors(folder: Path, matrix: np.ndarray, queries: np.ndarray) -> list[Contender]:
    try:
        import lancedb
        import pyarrow as pa
    except ImportError:
        return []
    cells = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), WIDTH)
    table = lancedb.connect(folder / "lance").create_table("vectors", pa.table({"vec": cells}))
    return [
        Contender(
            "LanceDB",
            lambda n: table.search(queries[n]).distance_type("cosine").limit(K).to_pandas(),
            note="whole answer",
        )
    ]


# -- texts


def texts(vault: tv.Vault, folder: Path, rows: int) -> list[Line]:
    """Texts of forty words, as common as words are; words of several frequencies."""
    rng = np.random.default_rng(1)
    vocabulary = np.array([f"w{number}" for number in range(20_000)])
    chance = 1 / np.arange(1, len(vocabulary) + 1)
    words = rng.choice(vocabulary, (rows, 40), p=chance / chance.sum())
    lines = [" ".join(line) for line in words]
    vault.save("texts", pd.DataFrame({"text": lines}))
    scopes = [Scope(vault.store.head("texts"))]
    db = sqlite3.connect(folder / "bare.db")
    db.execute(
        "CREATE VIRTUAL TABLE t USING fts5(text, content='', tokenize='porter unicode61 remove_diacritics 2')"
    )
    with db:
        db.executemany("INSERT INTO t (rowid, text) VALUES (?, ?)", enumerate(lines))

    def bare(query: str) -> list[Any]:
        return db.execute(
            "SELECT rowid, rank FROM t WHERE t MATCH ? ORDER BY rank LIMIT ?", (query, K)
        ).fetchall()

    wait_until_indexed(vault)
    found = []
    for query in ("w50", "w5 w7", "w1"):
        asked = parse_text(query)
        contenders = [
            Contender(OURS, lambda _, asked=asked: vault.store.search_text(asked, scopes, k=K)),
            Contender(ANSWER, lambda _, query=query: vault.search(query, lists="texts", k=K)),
            Contender("FTS5", lambda _, query=query: bare(query)),
        ]
        found += race(f"text {query!r}, {rows:,} texts", contenders, rounds=11, targets={"FTS5": 1.5})
    db.close()
    return found


# -- sessions


def sessions(vault: tv.Vault, count: int) -> list[Line]:
    """Sessions with a high accuracy whose code mentions something: one in a hundred."""
    now = datetime.now(UTC)
    for number in range(count):
        told = Session(f"run-{number}", "user", "host", 1, now, params={"accuracy": number / count})
        code = f"model.fit(x, {'few_shot' if number % 10 == 0 else 'zero_shot'}, seed={number})\n"
        vault.store.put_cell(Cell(vault.store.open_session(told).id, 0, code, now))
    high = [("params.accuracy", ">", 0.9)]
    contenders = [
        Contender(OURS, lambda _: vault.sessions(filters=high, code="few_shot"), note="target: 50 ms")
    ]
    return race(f"sessions by value and code, of {count:,}", contenders)
