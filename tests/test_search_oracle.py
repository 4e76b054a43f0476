"""Search against brute force: random vaults, random combinations of every filter, nothing of the code under test shared."""

from __future__ import annotations

import itertools
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import new_database
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.store import Cell
from tablevault_pd.store.engine import cells as vector_cells

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime.now(UTC)
# What stands in a text, and what is in it; no stem of one is another. Which queries mean what is said below, by hand.
WRITTEN = {
    "lamp": {"lamp"}, "Lamps": {"lamp"}, "fox": {"fox"}, "foxes": {"fox"}, "zinc": {"zinc"}, "Zin\u0327c\u0301": {"zinc"},
    "moon": {"moon"}, "ｍｏｏｎ": {"moon"}, "oﬃces": {"office"}, "soft\u00adware": {"software"}, "ข้าว": {"rice"},
    "กินข้าวเย็น": {"rice", "dinner"}, "首都": {"capital"}, "北京是首都": {"capital", "beijing"},
}  # fmt: skip
MEANT = {
    "lamp": "lamp", "LAMPS": "lamp", "foxes": "fox", "fox": "fox", "zinc": "zinc", "ZIŃC": "zinc", "moon": "moon",
    "office": "office", "oﬃce": "office", "software": "software", "ข้าว": "rice", "ข้าวเย็น": "dinner",
    "la*": "lamp", "mo*": "moon", "f*": "fox", "ofﬁ*": "office", "softw*": "software", "ข้*": "rice",
    "首都": "capital", "北京是": "beijing", "北京的首都": "nothing",
}  # fmt: skip
# Without blanks between words, and where any word is enough, what shares a pair of characters with one of these.
MEANT_ANY = MEANT | {"ข้าวเย็น": "rice", "北京的首都": "capital"}
FIRST_CELL = 100  # the session itself keeps this very file as one of its first cells
CODES = ["model.fit(x)", "few_shot(x)", "plot(x)"]
TEXT = st.one_of(st.none(), st.lists(st.sampled_from(list(WRITTEN)), max_size=4).map(" ".join))
VECTOR = st.one_of(st.none(), st.tuples(*[st.sampled_from([-1.0, 0.0, 0.5, 2.0])] * 2).map(list))
ROW = st.fixed_dictionaries({"a": TEXT, "b": TEXT, "doc": TEXT, "n": st.integers(0, 3), "vec": VECTOR})
ROWS = st.lists(ROW, min_size=1, max_size=4)
NAMES = ["red", "blue"]
STEP = st.tuples(
    st.sampled_from(["save", "append", "append", "delete", "restore"]),
    st.sampled_from(NAMES),
    ROWS,
    st.integers(0, 2),
)


@dataclass
class Row:
    """A row as it was given, with who wrote it and when, by the store's clock."""

    cells: dict[str, Any]
    cell: int
    time: datetime = datetime.min


class Oracle:
    """Lists as lists of rows; every version is a copy."""

    def __init__(self) -> None:
        self.versions: dict[str, list[list[Row] | None]] = {}
        self.times: list[datetime] = []

    def visible(self) -> dict[str, list[Row]]:
        return {name: versions[-1] for name, versions in self.versions.items() if versions[-1] is not None}


def has(text, words, match):
    """Whether the words of one alternative are there, all or one, and no excluded one."""
    present = set().union(*(WRITTEN[word] for word in (text or "").split()))
    meant = MEANT_ANY if match == "any" else MEANT
    wanted = [meant[word] in present for word in words if not word.startswith("-")]
    unwanted = [MEANT[word[1:]] in present for word in words if word.startswith("-")]
    enough = any(wanted) if match == "any" and wanted else all(wanted)
    return bool(present) and enough and not any(unwanted)


def matches_text(row, asked, kinds):
    items = []
    match = asked.get("match") or ("any" if "near" in asked else "all")
    if "record" in kinds:
        items.append(" ".join(row.cells[name] or "" for name in ("a", "b")))
    if "document" in kinds:
        items.append(row.cells["doc"])
    return any(
        has(item, alternative.split(), match) for item in items for alternative in asked["text"].split(" OR ")
    )


def cosine(a, b):
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.dot(a, b) / length) if length else None


LEAF = st.one_of(st.sampled_from(list(MEANT)), st.sampled_from(list(MEANT)).map(lambda word: "-" + word))
QUERY = st.lists(st.lists(LEAF, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=2).map(
    " OR ".join
)
SEARCH = st.fixed_dictionaries(
    {},
    optional={
        "text": QUERY,
        "near": st.sampled_from([[1.0, 0.0], [0.5, -2.0]]),
        "filters": st.sampled_from(["dnf", "query", "col"]),
        "kind": st.sampled_from(["record", ["document", "embedding"]]),
        "lists": st.sampled_from(["blue*", ["red", "blue"], "red*"]),
        "code": st.sampled_from(["fit", "few_shot", '"_sho"', "fit OR plot", "-fit"]),
        "since": st.integers(0, 9),
        "until": st.integers(0, 9),
        "match": st.sampled_from(["all", "any"]),
        "k": st.integers(1, 4),
        "offset": st.integers(0, 3),
    },
)
CODE_CELLS = {"fit": {0}, "few_shot": {1}, '"_sho"': {1}, "fit OR plot": {0, 2}, "-fit": {1, 2}}
FILTERS = {
    "dnf": [("n", ">=", 1), ("a", "is not null", None)],
    "query": "n >= 1 and a.notna()",
    "col": (pd.col("n") >= 1) & pd.col("a").notna()
    if hasattr(pd, "col")
    else [("n", ">=", 1), ("a", "is not null", None)],
}


def build(vault, steps):
    """The vault and the oracle after the same steps."""
    oracle = Oracle()
    session = vault._run
    for number, code in enumerate(CODES, FIRST_CELL):
        vault.store.put_cell(Cell(session.id, number, code, datetime.now(UTC)))
    for operation, name, rows, cell in steps:
        cell += FIRST_CELL
        session.outbox.cells.current_cell = cell
        versions = oracle.versions.get(name, [])
        shown = versions[-1] if versions else None
        added = [Row(row, cell) for row in rows]
        frame = pd.DataFrame(rows).astype({"a": "string", "b": "string", "doc": "string"})
        options: dict[str, Any] = {
            "documents": "doc",
            "embeddings": ["vec"] if frame["vec"].notna().any() else False,
        }
        if operation == "append" and versions and shown is None:
            operation = "save"
        if operation in ("save", "append") and frame["vec"].isna().all():
            frame = frame.drop(columns="vec")
            options["embeddings"] = None
        if operation == "save":
            before = vault[name].version if name in vault else None
            if vault.save(name, frame, **options).version != before:
                oracle.versions.setdefault(name, []).append(added)
        elif operation == "append":
            vault.append(name, frame, **options)
            oracle.versions.setdefault(name, []).append([*(shown or []), *added])
        elif operation == "delete" and shown is not None:
            vault.delete(name)
            versions.append(None)
        elif operation == "restore" and versions and versions[0] is not None:
            count = len(vault.versions(name))
            vault.restore(name, 1)
            if len(vault.versions(name)) > count:
                versions.append(versions[0])
        newest = vault.store.head(name)
        oracle.times.append(NOW if newest is None else newest.time)
        for row in added:
            row.time = oracle.times[-1]
    return oracle


def expected(oracle, asked):
    """(list, position) -> (matches the text, cosine) of every row that passes."""
    kinds = asked.get("kind") or ["record", "document", "embedding", "file"]
    kinds = [kinds] if isinstance(kinds, str) else kinds
    patterns = [asked["lists"]] if isinstance(asked.get("lists"), str) else asked.get("lists")
    found = {}
    for name, rows in oracle.visible().items():
        if patterns is not None and not any(fnmatchcase(name, pattern) for pattern in patterns):
            continue
        for position, row in enumerate(rows):
            if "filters" in asked and not (row.cells["n"] >= 1 and row.cells["a"] is not None):
                continue
            if "code" in asked and row.cell - FIRST_CELL not in CODE_CELLS[asked["code"]]:
                continue
            if "since" in asked and row.time < oracle.times[asked["since"]]:
                continue
            if "until" in asked and row.time >= oracle.times[asked["until"]]:
                continue
            text = "text" in asked and matches_text(row, asked, kinds)
            vector = row.cells["vec"]
            near = (
                cosine(vector, asked["near"]) if "near" in asked and vector and "embedding" in kinds else None
            )
            if ("text" in asked or "near" in asked) and not text and near is None:
                continue
            found[name, position] = (text, near)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "examples"),
    [
        ("embedded", times(40, ordinary=25)),
        pytest.param("arango", times(12, ordinary=7), marks=pytest.mark.arango),
    ],
)
def test_search_finds_what_brute_force_finds(kind: str, examples: int) -> None:
    @given(
        st.lists(STEP, min_size=1, max_size=8),
        st.lists(SEARCH.filter(lambda asked: set(asked) - {"k", "offset", "match"}), min_size=1, max_size=6),
    )
    @settings(max_examples=examples)
    def finds(steps, searches):
        with new_vault(kind) as vault:
            oracle = build(vault, steps)
            for asked in searches:
                compare(vault, oracle, asked)

    finds()


@contextmanager
def new_vault(kind: str) -> Iterator[tv.Vault]:
    with ExitStack() as stack:
        if kind == "embedded":
            address = f"{stack.enter_context(tempfile.TemporaryDirectory())}/v"
            options: dict[str, Any] = {}
        else:
            address = stack.enter_context(new_database())
            options = {"create": True, "password": urlsplit(address).password}
        yield stack.enter_context(
            tv.connect(address, durability="fast", session="oracle", capture="none", **options)
        )


def compare(vault, oracle, asked):
    if "text" not in asked:
        asked = {name: value for name, value in asked.items() if name != "match"}
    arguments = dict(asked)
    if "filters" in asked:
        arguments["filters"] = FILTERS[asked["filters"]]
    for name in ("since", "until"):
        if name in asked:
            arguments[name] = oracle.times[min(asked[name], len(oracle.times) - 1)]
            asked = asked | {name: min(asked[name], len(oracle.times) - 1)}
    names = asked.get("lists")
    if isinstance(names, list):
        arguments["lists"] = [name for name in names if name in oracle.visible()] or "none*"
    truth = expected(oracle, asked)
    k, offset = arguments.pop("k", None), arguments.pop("offset", 0)
    text, near = "text" in asked, "near" in asked
    where: dict[str, Any] = {"code_in": "cell"} if "code" in asked else {}
    try:
        whole = vault.search(**arguments, **where)
    except tv.DimensionMismatch:  # no list that is searched has a column of vectors, so nothing is near
        assert near
        assert all(score is None for _, score in truth.values())
        return
    keys = list(zip(whole["list"], whole["position"].tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    assert set(keys) == set(truth), asked
    for key, line in zip(keys, whole.itertuples(), strict=True):
        if text or near:
            assert (not np.isnan(line.text_score)) == truth[key][0]
        if truth[key][1] is not None:
            assert line.near_score == pytest.approx(truth[key][1])
        elif text or near:
            assert np.isnan(line.near_score)
        shown = oracle.visible()[key[0]][key[1]]
        assert line.cell == shown.cell
        if line.column is not None:
            value = shown.cells[line.column]
            assert (line.value.tolist() if line.column == "vec" else line.value) == value
    if text or near:
        assert (np.diff(whole["score"]) <= 1e-12).all()
        assert all(
            (a[0] == b[0] and a <= b) or a[0] < b[0] for a, b, tie in pairs(keys, whole["score"]) if tie
        )
    else:
        assert keys == sorted(keys)
    if k is not None or offset:
        cut = vault.search(**arguments, **where, k=k, offset=offset)
        assert list(zip(cut["list"], cut["position"].tolist(), strict=True)) == keys[offset:][:k]
        assert cut.index.tolist() == list(range(len(keys)))[offset:][:k]


def pairs(keys, scores):
    """Neighbours, and whether they have exactly the same score."""
    return [(a, b, x == y) for (a, x), (b, y) in itertools.pairwise(zip(keys, scores, strict=True))]


# -- many rows, real vectors

MANY, DIM = 12_000, 32


@pytest.fixture(scope="module")
def large():
    """A vault of more than ten thousand rows, written in one save and some appends, and what is in it."""
    rng = np.random.default_rng(11)
    words = rng.choice(list(WRITTEN), (MANY, 3))
    texts = [" ".join(row) for row in words]
    topics = rng.standard_normal((40, DIM))
    vectors = (topics[rng.integers(0, 40, MANY)] + rng.standard_normal((MANY, DIM))).astype(np.float32)
    frame = pd.DataFrame({"text": texts, "n": rng.integers(0, 1000, MANY), "vec": list(vectors)})
    with new_vault("embedded") as vault:
        vault.save("large", frame[:11_000], documents="text")
        for first in range(11_000, MANY, 250):
            vault.append("large", frame[first : first + 250].reset_index(drop=True), documents="text")
        yield vault, frame, vectors.astype(np.float64)


def nearest(vectors, query, allowed):
    """Positions by cosine, nearest first."""
    scores = vectors @ query / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))
    rows = np.flatnonzero(allowed)
    return rows[np.argsort(-scores[rows], kind="stable")], scores


@pytest.mark.slow
@pytest.mark.parametrize("word", MEANT)
def test_words_in_many_rows(large, word):
    """Accents, stems, prefixes, scripts without blanks; alone, with a filter, and a page of it."""
    vault, frame, _ = large
    expected = {row for row, text in enumerate(frame["text"]) if has(text, [word], "all")}
    whole = vault.search(word)
    assert set(whole["position"]) == expected
    assert whole["score"].is_monotonic_decreasing
    some = vault.search(word, filters="n < 100")
    assert set(some["position"]) == expected & set(np.flatnonzero(frame["n"] < 100))
    page = vault.search(word, filters="n < 100", k=7, offset=3)
    assert page["position"].tolist() == some["position"].tolist()[3:10]


@pytest.mark.slow
def test_vectors_of_many_rows(large):
    vault, frame, vectors = large
    rng = np.random.default_rng(12)
    for query in rng.standard_normal((10, DIM)):
        for filters, allowed in ((None, np.ones(MANY, bool)), ("n < 50", frame["n"].to_numpy() < 50)):
            order, scores = nearest(vectors, query, allowed)
            answer = vault.search(near=query, filters=filters, k=25)
            assert answer["position"].tolist() == order[:25].tolist()
            assert answer["score"].to_numpy() == pytest.approx(scores[order[:25]])


@pytest.mark.slow
def test_words_and_vectors_of_many_rows(large):
    """The sum of 1 / (60 + rank), ranks by ourselves: equal scores of the text share one."""
    vault, _, vectors = large
    query = np.random.default_rng(13).standard_normal(DIM)
    text = vault.search("zinc")
    text_rank = text["score"].rank(method="min", ascending=False)
    order, _ = nearest(vectors, query, np.ones(MANY, bool))
    fused = np.zeros(MANY)
    fused[order] += 1 / (60 + np.arange(1, MANY + 1))
    fused[text["position"].astype(int)] += 1 / (60 + text_rank.to_numpy())
    answer = vault.search("zinc", near=query, k=50)
    assert answer["score"].to_numpy() == pytest.approx(np.sort(fused)[::-1][:50])
    assert fused[answer["position"].astype(int)] == pytest.approx(answer["score"].to_numpy())


@pytest.mark.slow
def test_approximate_vectors_of_many_rows(large, monkeypatch):
    """Near rows may be missed, but what is found is scored rightly, and no row is missed for being new or filtered."""
    monkeypatch.setattr(vector_cells, "CELL_BYTES", 0)
    vault, frame, vectors = large
    rng = np.random.default_rng(14)
    hits = 0
    queries = vectors[rng.integers(0, MANY, 20)] + 0.1 * rng.standard_normal((20, DIM))
    for query in queries:
        order, scores = nearest(vectors, query, np.ones(MANY, bool))
        answer = vault.search(near=query, k=10, approx=True)
        assert answer["score"].to_numpy() == pytest.approx(scores[answer["position"].astype(int)])
        hits += len(set(order[:10]) & set(answer["position"]))
    assert hits >= 0.7 * 200
    few = frame["n"].to_numpy() < 3
    answer = vault.search(near=queries[0], filters="n < 3", k=int(few.sum()), approx=True)
    assert set(answer["position"]) == set(np.flatnonzero(few))
    version, new = vault["large"].version, np.full(DIM, 50.0)
    vault.append(
        "large", pd.DataFrame({"text": ["zinc"], "n": [1], "vec": [new.astype(np.float32)]}), documents="text"
    )
    answer = vault.search(near=new, k=1, approx=True)
    assert answer["position"].tolist() == [MANY]
    vault.restore("large", version)  # others search it, too
