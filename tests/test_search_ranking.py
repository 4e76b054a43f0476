"""How rows are ranked, weighed, cut and paged, and what happens to names that nothing has."""

from __future__ import annotations

from contextlib import ExitStack
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from stores import BOTH, batches_of, database_of, new_database

import tablevault_pd as tv

FACTS = [
    "Paris is the capital and largest city of France.",
    "The Danube flows through Vienna and Budapest.",
    "Photosynthesis turns light into sugar.",
    "The mitochondrion is the powerhouse of the cell.",
    "Mount Everest is the highest mountain on Earth.",
    "Penicillin was discovered by Alexander Fleming.",
]
QUESTIONS = {
    "What is the capital of France?": 0,
    "Which rivers flow through Vienna?": 1,
    "How do plants turn light into sugar?": 2,
    "What is the powerhouse of a cell?": 3,
    "How high is the highest mountain?": 4,
    "Who discovered penicillin?": 5,
}


@pytest.fixture
def facts(vault):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(FACTS), 4))
    vault.save("facts", pd.DataFrame({"text": FACTS, "n": range(len(FACTS)), "vec": list(vectors)}))
    return vectors


def positions(answer):
    return answer["position"].tolist()


def test_questions_find_the_text_that_has_most_of_their_words(vault, facts):
    for question, answer in QUESTIONS.items():
        found = vault.search(question, match="any")
        assert positions(found)[0] == answer
        assert (np.diff(found["text_score"]) <= 0).all()
        assert positions(vault.search(question, match="any", k=1)) == [answer]
        beside = vault.search(question, near=facts[0])  # any is the default here
        assert beside.set_index("position")["text_score"].notna().sum() == len(found)
        assert positions(vault.search(question, near=facts[0], match="all")) == positions(
            vault.search(near=facts[0])
        )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Vienna cell", {1, 3}),
        ("Vienna cell -powerhouse", {1}),
        ('"largest city" penicillin', {0, 5}),
        ('"city largest" penicillin', {5}),
        ("penicil* Danube", {1, 5}),
        ("penicil* Danube -flem*", {1}),
        ("Vienna Paris -danube OR cell earth -everest", {0, 3}),
        ("-the", {2, 5}),
        ("zzz yyy", set()),
        ("zzz Paris", {0}),
    ],
)
def test_any_word_is_enough_and_the_rest_keeps_its_meaning(vault, facts, text, found):
    assert set(positions(vault.search(text, match="any"))) == found


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "the is of", "match": "any"},
        {"text": "t* -earth", "match": "any"},
        {"near": [1.0, 0.5, -0.5, 0.0]},
        {"near": {"vec": [[1.0, 0.5, -0.5, 0.0], [0.0, 1.0, 0.0, 1.0]]}},
        {"text": "the capital", "near": [1.0, 0.5, -0.5, 0.0]},
        {"filters": [("n", ">=", 1)]},
    ],
    ids=["text", "prefix", "near", "several", "both", "filters"],
)
def test_pages_together_are_the_whole_answer(vault, facts, asked):
    vault.append("facts", pd.DataFrame({"text": ["the capital"], "n": [6], "vec": [[1.0, 1.0, 1.0, 1.0]]}))
    whole = vault.search(**asked)
    assert len(whole) >= 4
    queries = whole["query"].unique() if "query" in whole else [0]
    pages = [vault.search(**asked, k=2, offset=offset) for offset in range(0, 10, 2)]
    for query in queries:
        one, cut = (
            [each[each["query"] == query] if "query" in each else each for each in some]
            for some in ([whole], pages)
        )
        pd.testing.assert_frame_equal(pd.concat(cut), one[0], check_index_type=False)
    pd.testing.assert_frame_equal(vault.search(**asked, offset=100), whole.iloc[:0], check_index_type=False)


def test_a_lowest_score_is_one_of_the_answer(vault, facts):
    for asked in (
        {"text": "the is of", "match": "any"},
        {"near": facts[2]},
        {"text": "the cell", "near": facts[2]},
    ):
        whole = vault.search(**asked)
        least = whole["score"][2]
        expected = whole[whole["score"] >= least]
        pd.testing.assert_frame_equal(vault.search(**asked, min_score=least), expected)
        pd.testing.assert_frame_equal(vault.search(**asked, min_score=least, k=2), expected[:2])
        assert positions(vault.search(**asked, min_score=least, offset=1)) == positions(expected)[1:]
        assert list(vault.search(**asked, min_score=1e9).columns) == list(whole.columns)


def test_weights_decide_between_words_and_vectors(vault, facts):
    words, vectors = vault.search("danube cell", match="any"), vault.search(near=facts[4])
    ranks = [
        {position: rank for rank, position in enumerate(positions(each), 1)} for each in (words, vectors)
    ]
    for weights in ({"text": 3.0}, {"near": 2.5}, {"text": 0.5, "near": 4}):
        both = vault.search("danube cell", near=facts[4], weights=weights)
        for position, score in zip(both["position"], both["score"], strict=True):
            expected = sum(
                weights.get(name, 1.0) / (60 + rank[position])
                for name, rank in zip(("text", "near"), ranks, strict=True)
                if position in rank
            )
            assert score == pytest.approx(expected)
        assert (np.diff(both["score"]) <= 0).all()
    assert positions(vault.search("danube", near=facts[4], weights={"text": 100.0}))[0] == 1
    assert positions(vault.search("danube", near=facts[4], weights={"near": 100.0}))[0] == 4


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"match": "some"}, "match="),
        ({"match": "any", "text": None, "near": [1.0, 0, 0, 0]}, "match="),
        ({"offset": -1}, "offset="),
        ({"offset": 1.5}, "offset="),
        ({"min_score": "high"}, "min_score="),
        ({"min_score": float("nan")}, "min_score="),
        ({"min_score": 1.0, "text": None, "filters": "n > 1"}, "min_score="),
        ({"weights": {"text": 1.0}}, "weights="),
        ({"near": [1.0, 0, 0, 0], "weights": {"txt": 1.0}}, "weights="),
        ({"near": [1.0, 0, 0, 0], "weights": {"text": 0}}, "weights"),
        ({"near": [1.0, 0, 0, 0], "weights": {"near": -1}}, "weights"),
        ({"near": [1.0, 0, 0, 0], "weights": [1.0, 2.0]}, "weights="),
        ({"near": [1.0, 0, 0, 0], "weights": {}}, "weights="),
    ],
)
def test_senseless_arguments_are_refused(vault, facts, arguments, word):
    with pytest.raises((tv.InvalidInput, TypeError), match=word):
        vault.search(**{"text": "the"} | arguments)


# -- names


def test_a_name_that_nothing_has_is_an_error_with_what_comes_close(vault, facts):
    vault.save("other", pd.DataFrame({"body": ["the other"]}))
    vault.save("objects", pd.DataFrame({"tags": [["a"]], "text": ["the text"], "mixed": [{"a": [1]}]}))
    for arguments, error, words in (
        ({"text": "the", "columns": ["n", "txet"]}, tv.InvalidInput, "'txet'.*'text'"),
        ({"text": "nowhere", "columns": ["nm"]}, tv.InvalidInput, "'nm'"),
        ({"text": "the", "lists": "fact"}, tv.ListNotFound, "'facts'"),
        ({"text": "the", "lists": ["facts", "othr"]}, tv.ListNotFound, "'other'"),
        ({"text": "the", "kind": "documents"}, tv.InvalidInput, "'document'"),
        ({"near": {"vce": [1.0, 0, 0, 0]}}, tv.DimensionMismatch, "'vec'"),
        ({"text": {"zz": "the"}, "lists": "objects"}, tv.InvalidInput, r"'zz'\. There are: 'text'\.$"),
        ({"filters": "nn > 1", "lists": "facts"}, tv.InvalidFilter, "'nn'"),
        ({"text": "the", "filters": [("nn", ">", 1)], "lists": ["facts", "other"]}, tv.InvalidFilter, "'nn'"),
    ):
        with pytest.raises(error, match=words):
            vault.search(**arguments)
    for filters in ("nn > 1", [("nn", ">", 1)]):
        with pytest.warns(UserWarning, match="'nn'"):
            assert vault.search(filters=filters).empty
    with pytest.warns(UserWarning, match="'nn'"):
        assert vault.search("nowhere", filters="nn > 1").empty


def test_an_empty_answer_has_the_columns_of_a_full_one(vault, facts):
    asked = {"columns": ["n", "vec"], "snippet": True}
    full = vault.search("the", **asked)
    for empty in (
        vault.search("nowhere", **asked),
        vault.search("the", filters="n > 100", **asked),
        vault.search("the", since=pd.Timestamp.now("UTC") + pd.Timedelta("1D"), **asked),
        vault.search("the", lists="nothing*", **asked),
    ):
        assert empty.empty
        assert list(empty.columns) == list(full.columns)


def test_without_a_ranking_there_are_no_scores(vault, facts):
    scores = ["score", "text_score", "near_score"]
    for text in ("the", "nowhere"):
        assert set(scores) <= set(vault.search(text))
    for filters in ("n > 1", "n > 100"):
        answer = vault.search(filters=filters)
        assert list(answer.columns) == [
            "ref",
            "list",
            "position",
            "version",
            "kind",
            "column",
            "value",
            "session",
            "cell",
        ]


# -- damage


@pytest.fixture(params=BOTH)
def damaged(request, tmp_path, monkeypatch):
    """A vault of two sound lists and one whose rows are damaged, and what its search may then say."""
    monkeypatch.setattr("tablevault_pd.store.embedded.segments.INLINE_BYTES", 0)
    rows = 5
    frames = {
        name: pd.DataFrame(
            {"text": [f"apple {name} {n}" for n in range(rows)], "vec": [[1.0, n] for n in range(rows)]}
        )
        for name in ("bad", "good", "other")
    }
    with ExitStack() as stack:
        place = tmp_path / "v"
        if request.param == "arango":
            place = stack.enter_context(new_database())
            monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(place).password or "")
            monkeypatch.setattr("tablevault_pd.store.arango.reader.INCOMPLETE_PAUSES_S", ())
        with tv.connect(place, create=True, capture="none") as vault:
            for name, frame in frames.items():
                before = set((tmp_path / "v" / "segments").glob("*"))
                vault.save(name, frame)
                if name == "bad":
                    new = set((tmp_path / "v" / "segments").glob("*")) - before
            vault.search("apple", k=1)  # everything is indexed
        if request.param == "arango":
            database = database_of(place)
            [key] = batches_of(database, "bad")
            for collection, row in (("tv_payloads", 0), ("tv_embeddings", 1)):
                database.aql.execute(
                    "FOR i IN @@items FILTER i.batch == @key && i.row == @row REMOVE i IN @@items",
                    bind_vars={"@items": collection, "key": key, "row": row},
                )
        else:
            assert new
            for path in new:
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
        with tv.connect(place, capture="none") as vault:
            yield vault


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "apple"},
        {"near": [1.0, 2.0]},
        {"text": "apple", "near": [1.0, 2.0]},
        {"filters": "text.str.contains('apple')"},
    ],
    ids=["text", "near", "both", "filters"],
)
def test_a_damaged_list_is_named_and_the_rest_is_found(damaged, asked):
    with pytest.warns(UserWarning, match="damaged.*bad"):
        answer = damaged.search(**asked)
    sound = damaged.search(**asked, lists=["good", "other"])
    assert len(sound) == damaged["good"].read().shape[0] * 2
    pd.testing.assert_frame_equal(answer, sound)
    with pytest.raises(tv.VaultCorrupt, match="bad"):
        damaged.search(**asked, lists=["bad", "good"])
    with pytest.raises(tv.VaultCorrupt, match="bad"):
        damaged["bad"].search(**asked)
