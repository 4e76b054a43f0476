"""Words and ranks made outside of SQLite's FTS5 are those that FTS5 itself makes."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd.store.engine import fts
from tablevault_pd.store.engine.bm25 import Texts
from tablevault_pd.store.engine.tokenizer import LONGEST, PROSE, SOURCE, Tokenizer, beginning
from tablevault_pd.store.text_query import AllOf, AnyOf, Leaf, Negated, Node, Phrase, Prefix, Word

ODD = "İıſßΣςÅé́東京ﬁǅ²Ⅷ٣\u200d\u00ad\ue000\U0001d400_-'’\x1f\x7f\xa0\u3000"
TEXT = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), st.sampled_from(ODD + "abes ")),
    max_size=40,
)  # fmt: skip


def by_fts5(tokenizer: str, text: str) -> list[str]:
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE VIRTUAL TABLE t USING fts5(x, tokenize='{tokenizer}')")
    db.execute("CREATE VIRTUAL TABLE v USING fts5vocab('t', 'instance')")
    db.execute("INSERT INTO t VALUES (?)", (text,))
    return [term for (term,) in db.execute("SELECT term FROM v ORDER BY offset")]


@given(st.lists(TEXT, max_size=4))
@settings(max_examples=times(150, ordinary=80))
def test_terms_are_those_of_fts5(texts: list[str]) -> None:
    stems, plain = PROSE.tokenize(texts)
    [source] = SOURCE.tokenize(texts)
    for number, text in enumerate(texts):
        assert stems[number].split(" ") == (by_fts5(fts.STEMMED, text) or [""])
        assert plain[number].split(" ") == (by_fts5(fts.PLAIN, text) or [""])
        assert source[number].split(" ") == (by_fts5(fts.CODE, text) or [""])


def test_long_words_stay_apart_and_keep_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tablevault_pd.store.engine.tokenizer.REMEMBERED", 1
    )  # what is forgotten is learnt again
    vocabulary = Tokenizer(fts.PLAIN)
    long = "x" * 5000
    for _ in range(2):
        [[one, other, short]] = vocabulary.tokenize([long, long + "y", "Short"])
    assert one != other
    assert max(map(len, (one, other))) <= LONGEST
    assert one.startswith(beginning(long))
    assert short == "short"


# -- ranks

WORDS = ["ab", "abc", "ba", "b", "running"]
LEAVES = st.one_of(
    st.sampled_from(WORDS).map(Word),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join).map(Phrase),
    st.sampled_from(["", "-", "a b", "a b a b"]).map(Phrase),
    st.sampled_from(["a", "ab", "b a", "b"]).map(Prefix),
)
QUERIES = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        st.lists(parts, min_size=1, max_size=3).map(tuple).map(AllOf),
        st.lists(parts, min_size=1, max_size=3).map(tuple).map(AnyOf),
        parts.map(Negated),
    ),
    max_leaves=7,
)


def leaves(node: Node) -> list[Leaf]:
    if isinstance(node, Leaf):
        return [node]
    return (
        leaves(node.part)
        if isinstance(node, Negated)
        else [leaf for part in node.parts for leaf in leaves(part)]
    )


def ranks(table: str, query: str | None, texts: list[str]) -> dict[int, float]:
    if query is None:
        return {}
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE VIRTUAL TABLE t USING fts5(x, tokenize='{table}')")
    db.executemany("INSERT INTO t (rowid, x) VALUES (?, ?)", enumerate(texts))
    return {row: -rank for row, rank in db.execute("SELECT rowid, rank FROM t WHERE t MATCH ?", (query,))}


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), min_size=1, max_size=12), QUERIES)
@settings(max_examples=times(300, ordinary=120))
def test_scores_are_those_of_fts5(texts: list[str], query: Node) -> None:
    counts = {}
    for leaf in leaves(query):
        tokenizer = fts.PLAIN if isinstance(leaf, Prefix) else fts.STEMMED
        terms = by_fts5(tokenizer, leaf.text)
        held = [by_fts5(tokenizer, text) for text in texts]
        counts[leaf] = np.array([_count(terms, each, isinstance(leaf, Prefix)) for each in held])
    lengths = np.array([len(text.split()) for text in texts])
    holding = {leaf: int(np.count_nonzero(held)) for leaf, held in counts.items()}
    found = Texts(lengths, counts, holding, len(texts), int(lengths.sum()))
    scores = found.scores(query)
    whole = fts.match(query)
    if whole is not None:
        expected = ranks(fts.STEMMED, whole, texts)
        assert found.matching(query).tolist() == sorted(expected)
    else:
        stemmed = ranks(fts.STEMMED, fts.any_leaf(query, prefixes=False), texts)
        plain = ranks(fts.PLAIN, fts.any_leaf(query, prefixes=True), texts)
        expected = {row: stemmed.get(row, 0.0) + plain.get(row, 0.0) for row in range(len(texts))}
    order = sorted(expected, key=lambda row: (-expected[row], row))
    assert sorted(expected, key=lambda row: (-scores[row], row)) == order
    assert [scores[row] for row in order] == [pytest.approx(expected[row], rel=1e-12) for row in order]


def _count(terms: list[str], held: list[str], prefix: bool) -> int:
    size = len(terms)
    return sum(
        held[at : at + size - 1] == terms[:-1]
        and (held[at + size - 1].startswith(terms[-1]) if prefix else held[at + size - 1] == terms[-1])
        for at in range(len(held) - size + 1)
        if size
    )


def test_a_mark_without_a_letter_is_no_word() -> None:
    assert PROSE.tokenize(["\u0327 storm", "\u0327\u0301"]) == (["storm", ""], ["storm", ""])
