"""What a scan of texts counts is what SQLite's FTS5 counts in an index of the same texts."""

from __future__ import annotations

import random
import sqlite3

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd import frames
from tablevault_pd.store.engine import fts
from tablevault_pd.store.engine.text_scan import Sought, _Term
from tablevault_pd.store.text_query import AnyOf, Phrase, Prefix, Word

#: Words of one stem that begin differently, and what is split into several words, or joined to one.
ENDINGS = [
    "",
    "s",
    "ed",
    "ing",
    "y",
    "ies",
    "ate",
    "ating",
    "ation",
    "ational",
    "able",
    "bly",
    "ble",
    "bility",
    "ency",
    "izer",
    "ful",
]
WORDS = [base + ending for base in ["a", "hop", "sens", "relat", "possi"] for ending in ENDINGS]
ODD = [
    "Énergie",
    "e\u0301nergie",
    "中国電力",
    "ﬁn",
    "straße",
    "STRASSE",
    "it's",
    "\ue000",
    "Ⅷ",
    "=\u0338x",
    "x\u3000y",
    "\u0301",
    "0",
    "a_b",
    "ı",
]
TEXT = st.lists(st.sampled_from([*WORDS, *ODD]) | st.text(max_size=3), max_size=7).flatmap(
    lambda words: st.sampled_from([" ", "-", ", "]).map(lambda between: between.join(words))
)
LEAF = st.one_of(
    st.sampled_from([*WORDS, "中国", "fin", "ß", "énergie", "it's"]).map(Word),
    st.lists(st.sampled_from([*WORDS[:20], "國", "電力", "a"]), min_size=1, max_size=3)
    .map(" ".join)
    .map(Phrase),
    st.sampled_from(["r", "relat", "sensi", "straß", "中", "a-h", "é", "x"]).map(Prefix),
)


def instances(leaf: Word | Phrase | Prefix, text: str, language: str | None) -> tuple[int, int]:
    """How long a text is, and how often a leaf is in it, by FTS5."""
    db = sqlite3.connect(":memory:")
    tokenizer = fts.PLAIN if isinstance(leaf, Prefix) else fts.STEMMED
    db.execute(f"CREATE VIRTUAL TABLE t USING fts5(x, tokenize='{tokenizer}')")
    db.execute("CREATE VIRTUAL TABLE v USING fts5vocab('t', 'instance')")
    indexed = fts.indexed(text, language)
    db.execute("INSERT INTO t VALUES (?)", (indexed.words if isinstance(leaf, Prefix) else indexed.stems,))
    terms = [term for (term,) in db.execute("SELECT term FROM v ORDER BY offset")]
    db.execute("INSERT INTO t VALUES (?)", (fts.sought(leaf),))
    sought = [term for (term,) in db.execute("SELECT term FROM v WHERE doc = 2 ORDER BY offset")]
    windows = [terms[at : at + len(sought)] for at in range(len(terms) - len(sought) + 1)] if sought else []
    if isinstance(leaf, Prefix):
        return len(terms), sum(
            window[:-1] == sought[:-1] and window[-1].startswith(sought[-1]) for window in windows
        )
    return len(terms), windows.count(sought)


@pytest.mark.parametrize("language", [None, "german"])
@given(data=st.data())
@settings(max_examples=times(200, ordinary=40))
def test_counts_are_those_of_fts5(language: str | None, data: st.DataObject) -> None:
    rows = data.draw(
        st.lists(st.tuples(st.none() | TEXT, st.none() | TEXT, st.none() | TEXT), min_size=1, max_size=5)
    )
    leaves = data.draw(st.lists(LEAF, min_size=1, max_size=3))
    if language is not None:
        leaves += [type(leaf)(leaf.text, language) for leaf in leaves if not isinstance(leaf, Prefix)]
    frame = pd.DataFrame(rows, columns=["one", "two", "alone"], dtype="string")
    table = frames.encode(frame, documents=["alone"])
    table = table.replace_schema_metadata(frames.with_language(table.schema, language).metadata)
    by_item = list(Sought(AnyOf(tuple(leaves))).count(table))
    texts = [
        [fts.record([one, two]) for one, two, _ in rows],
        [fts.prose(alone) if alone else None for *_, alone in rows],
    ]
    for item, expected in zip(by_item, texts, strict=True):
        assert item.is_there.tolist() == [text is not None for text in expected]
        for leaf in leaves:
            counted = list(zip(item.lengths.tolist(), item.counts[leaf].tolist(), strict=True))
            assert counted == [instances(leaf, text or "", language) for text in expected]


def test_each_word_begins_as_its_stem_is_looked_for() -> None:
    """Or else the scan would not see it."""
    bases = [
        "hop",
        "sens",
        "possi",
        "a",
        "at",
        "be",
        "con",
        "relat",
        "fil",
        "log",
        "fall",
        "commun",
        "tabl",
        "y",
        "oo",
        "biz",
    ]
    bases = bases[: times(16, ordinary=3)]
    more = [*ENDINGS, "iviti", "logi", "enci", "alize", "ness"]
    words = sorted({base + first + second for base in bases for first in ENDINGS for second in more})
    table = frames.encode(pd.DataFrame({"text": pd.array([" ".join(words)], dtype="string")}))
    leaves = tuple(map(Word, words))
    [counted] = Sought(AnyOf(leaves)).count(table)
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE VIRTUAL TABLE t USING fts5(x, tokenize='{fts.STEMMED}')")
    db.execute("CREATE VIRTUAL TABLE v USING fts5vocab('t', 'instance')")
    db.executemany("INSERT INTO t (rowid, x) VALUES (?, ?)", enumerate(words))
    stems = [stem for (stem,) in db.execute("SELECT term FROM v ORDER BY doc")]
    assert [int(counted.counts[leaf][0]) for leaf in leaves] == [stems.count(stem) for stem in stems]


@settings(max_examples=times(50, ordinary=3))
@given(seed=st.integers(0, 2**32 - 1))
def test_a_word_that_does_not_end_so_is_its_own_stem(seed: int) -> None:
    """Or else the scan would leave it out: words of letters by chance, with Porter's suffixes and without."""
    draw = random.Random(seed)
    suffixes = [
        *ENDINGS,
        "sses",
        "eed",
        "logi",
        "alism",
        "ator",
        "ement",
        "ou",
        "ion",
        "ive",
        "ll",
        "1",
        "ü",
        "ж",
        "त",
    ]
    words = sorted(
        {
            "".join(draw.choices("abcdefghijklmnopqrstuvwxyz0", k=draw.randint(1, 6)))
            + draw.choice(suffixes)
            + draw.choice(["", draw.choice(suffixes), draw.choice("abcdefghijklmnopqrstuvwxyz")])
            for _ in range(1000)
        }
    )
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE VIRTUAL TABLE t USING fts5(x, tokenize='{fts.STEMMED}')")
    db.execute("CREATE VIRTUAL TABLE v USING fts5vocab('t', 'instance')")
    db.text_factory = lambda term: term.decode(errors="replace")  # Porter may cut through one
    db.executemany("INSERT INTO t VALUES (?)", [(word,) for word in words])
    stems = [stem for (stem,) in db.execute("SELECT term FROM v ORDER BY doc, offset")]
    for word, stem in zip([word.replace("ü", "u") for word in words], stems, strict=True):
        if stem != word:
            last_two = np.array(list(map(ord, word[-2:])))[:, None]
            assert _Term(stem, is_stem=True).may_end(last_two).all(), (word, stem)


def test_a_stem_that_ends_within_a_character_is_counted() -> None:
    """Porter takes the last two bytes of ``त``, which are equal, for a double consonant."""
    table = frames.encode(pd.DataFrame({"text": pd.array(["aतing", "aतed", "aत"], dtype="string")}))
    [counted] = Sought(leaf := Word("aतing")).count(table)
    assert counted.counts[leaf].tolist() == [1, 1, 0]
