"""Search: what each argument finds, what the answer says, and that nothing committed is ever missed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.search.query import parse_text
from tablevault_pd.store.engine import cells as vector_cells

SETTLED = [
    "ref", "list", "position", "version", "kind", "column", "score", "text_score", "near_score", "value", "session", "cell",
]  # fmt: skip


@pytest.fixture
def news(vault):
    frame = pd.DataFrame(
        {
            "title": ["Solar storage", "Wind power", "Café politics", "solar plants"],
            "body": ["batteries", "turbines on a hill", "the election", "storing in the desert"],
            "acc": [0.1, 0.95, None, 0.99],
            "vec": [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], None],
            "params": [{"lr": 0.1}, {"lr": 0.2, "opt": {"name": "adam"}}, {}, None],
        }
    )
    return vault.save("news", frame, description="energy and politics")


def found(answer):
    return list(zip(answer["list"], answer["position"].tolist(), strict=True))


def positions(answer):
    return answer["position"].tolist()


# -- text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("solar", {0, 3}),
        ("SOLAR store", {3}),
        ("stored", {3}),
        ("cafe", {2}),
        ("café", {2}),
        ("solar -desert", {0}),
        ("-solar", {1, 2}),
        ("solar OR wind", {0, 1, 3}),
        ("solar OR -power", {0, 2, 3}),
        ('"solar plants"', {3}),
        ('"plants solar"', set()),
        ('"storage batteries"', set()),  # no phrase reaches from one field into the next
        ("storage batteries", {0}),
        ("batt*", {0}),
        ("hil*", {1}),
        ("turbin* -hill", set()),
        ("so* desert", {3}),
        ("!!! ???", set()),
        ("OR", set()),
    ],
)
def test_text_finds(vault, news, text, expected):
    assert set(positions(vault.search(text))) == expected


def test_a_text_that_is_blank_is_an_error_and_no_other_is(vault, news):
    for blank in ("", "  ", "\n\t", "\0"):
        with pytest.raises(ValueError, match="blank"):
            vault.search(blank)
    with pytest.raises(TypeError):
        vault.search(3)


SYNTAX = st.text(st.sampled_from("ab \"'*-+^:(){}[],.\\/~&|<>=\0é\ud800東ORANDT\n"), min_size=1, max_size=30)


@given(st.one_of(SYNTAX, st.text(min_size=1, max_size=20)))
@settings(max_examples=times(60))
def test_no_text_breaks_the_syntax(searched, text):
    if text.replace("\0", " ").strip():
        searched.search(text)
        searched.search(code=text)
        searched.search(description=text)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    with tv.connect(tmp_path_factory.mktemp("syntax") / "v") as opened:
        opened.save("a", pd.DataFrame({"text": ["a b", "b", "or and not"]}), description="ab")
        yield opened


@pytest.mark.parametrize(
    "text", ['"abc', "a AND", "foo-bar", "col:x", "*", "NEAR(", "(" * 5000, "a " * 50_000, "ab" * 50_000]
)
def test_hostile_texts(vault, news, text):
    vault.search(text)
    vault.search(" ".join(f"w{number}" for number in range(3000)))


def test_chinese_is_found_without_blanks(vault):
    vault.save("cities", ["東京都庁は新宿にある", "大阪城"])
    assert positions(vault.search("新宿")) == [0]
    assert positions(vault.search("大阪")) == [1]
    assert positions(vault.search("京大")) == []


def test_documents_are_items_of_their_own_and_name_their_column(vault):
    frame = pd.DataFrame({"title": ["one"], "body": ["the quick fox"], "notes": ["quick quick quick"]})
    vault.save("docs", frame, documents=["body", "notes"])
    line = vault.search("quick", snippet=True).loc[0]
    assert (line["kind"], line["column"], line["value"]) == ("document", "notes", "quick quick quick")
    assert "[quick]" in line["snippet"]
    assert len(vault.search("one quick")) == 0  # no single item has both words
    assert len(vault.search("one", kind="document")) == 0


def test_rows_appended_without_documents_are_documents_where_the_list_has_them(vault):
    vault.save("words", [{"text": "storm warning"}, {"text": "sun"}], documents=["text"])
    vault.append("words", [{"text": "storm again", "extra": 1}])
    answer = vault.search("storm", kind="document")
    assert answer["value"].tolist() == ["storm warning", "storm again"]
    assert (answer["kind"] == "document").all()
    assert vault.read("words", columns=["text"])["text"].tolist() == ["storm warning", "sun", "storm again"]


def test_texts_that_become_documents_later_are_found(vault):
    vault.save("words", [{"text": "storm warning"}, {"text": "sun"}])
    vault.append("words", [{"text": "storm again"}], documents=["text"])
    answer = vault.search("storm")
    assert answer[["column", "value"]].to_numpy().tolist() == [
        ["text", "storm warning"],
        ["text", "storm again"],
    ]


def test_the_field_that_matched_best_is_named(vault, news):
    line = vault.search("desert").loc[0]
    assert (line["kind"], line["column"], line["value"]) == ("record", "body", "storing in the desert")


def test_the_columns_and_dtypes_are_settled_also_without_hits(vault, news):
    for answer in (vault.search("solar"), vault.search("nothing of the kind"), vault.search(near=[1.0, 0.0])):
        assert list(answer.columns) == SETTLED
        assert (
            str(answer["position"].dtype)
            == str(answer["version"].dtype)
            == str(answer["cell"].dtype)
            == "Int64"
        )
        assert list(answer.index) == list(range(len(answer)))


def test_scores_are_bm25(vault):
    texts = ["sun", "sun sun moon", "moon", "stars", "rain snow", "fog"]
    vault.save("sky", texts)
    mean = sum(len(text.split()) for text in texts) / len(texts)

    def bm25(text):
        count, having = text.split().count("sun"), 2
        idf = np.log((len(texts) - having + 0.5) / (having + 0.5))
        return idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(text.split()) / mean))

    answer = vault.search("sun")
    assert dict(zip(positions(answer), answer["text_score"], strict=True)) == pytest.approx(
        {row: bm25(texts[row]) for row in (0, 1)}
    )


# -- what is committed is found


def test_another_process_finds_at_once_what_was_committed(here):
    with tv.connect("shared.vault") as vault:
        vault.save("small", ["needle in small"])
        vault.save(
            "large",
            pd.DataFrame({"text": [f"straw number {n}" for n in range(40_000)] + ["needle in large"]}),
        )
        script = (
            "import tablevault_pd as tv; v = tv.connect('shared.vault', mode='r'); "
            "print(sorted(v.search('needle')['list']), len(v.search('straw', k=7)))"
        )
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert run.stdout.split("\n")[0] == "['large', 'small'] 7"


def test_a_large_commit_is_complete_for_the_next_search(vault):
    size = 6_000  # more than is indexed together with its commit
    vault.save("many", pd.DataFrame({"text": [f"word{n % 100} row" for n in range(size)]}))
    assert len(vault.search("word7")) == size // 100
    vault.append("many", pd.DataFrame({"text": [f"word{n % 100} more" for n in range(size)]}))
    vault.append("many", {"text": "word7 last"})
    answer = vault.search("word7")
    assert sorted(positions(answer)) == [*range(7, 2 * size, 100), 2 * size]


def test_versions_deletes_and_restores(vault):
    vault.save("a", ["apple one", "banana two"])
    vault.append("a", ["apple three"])
    vault.save("a", ["cherry"])
    assert found(vault.search("apple")) == []
    assert sorted(positions(vault.search("apple", lists="a@2"))) == [0, 2]
    assert positions(vault.search("apple", lists="a@1")) == [0]
    vault.restore("a", 1)
    vault.append("a", ["apple four"])
    assert sorted(positions(vault.search("apple"))) == [0, 2]
    vault.delete("a")
    assert found(vault.search("apple")) == []
    with pytest.raises(tv.ListDeleted):
        vault.search("apple", lists="a")


def test_as_of_and_since(vault):
    vault.save("a", ["apple one"])
    between = datetime.now(UTC)
    vault.append("a", ["apple two"])
    vault.save("b", ["apple three"])
    assert found(vault.search("apple", as_of=between)) == [("a", 0)]
    assert set(found(vault.search("apple", since=between))) == {("a", 1), ("b", 0)}
    assert found(vault.search("apple", until=between)) == [("a", 0)]


def test_vacuum_and_compact_keep_search_right(vault):
    for number in range(12):
        vault.append("a", {"text": f"apple {number}"})
    vault.save("b", ["apple old"])
    vault.save("b", ["pear"])
    vault.compact()
    assert len(vault.search("apple")) == 12
    vault.vacuum(keep=1, dry_run=False)
    assert len(vault.search("apple")) == 12
    assert found(vault.search("pear")) == [("b", 0)]


def test_check_finds_a_broken_index_and_makes_it_anew(here):
    with tv.connect("v") as vault:
        vault.save("a", ["apple", "pear"])
        vault.describe("a", "fruit")
        place = vault.place
    with sqlite3.connect(f"{place}/catalog.db") as db:
        db.execute("UPDATE prose_data SET block = zeroblob(40) WHERE id > 10")
    with tv.connect("v") as vault:
        assert "text index" in vault.check()["what"].tolist()
        vault.check(fix=True)
        assert vault.check().empty
        assert found(vault.search("apple")) == [("a", 0)]
        assert len(vault.search(description="fruit")) == 2


def test_a_forked_child_searches(vault):
    vault.save("a", ["apple"])
    vault.search("apple")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if len(vault.search("apple")) == 1 else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


# -- vectors


def test_near_with_missing_and_senseless_vectors(vault):
    cells = [[1.0, 0.0], None, [float("nan"), 1.0], [float("inf"), 0.0], [0.0, 0.0], [0.6, 0.8]]
    vault.save("v", pd.DataFrame({"vec": cells}))
    answer = vault.search(near=[1.0, 0.0])
    assert positions(answer) == [0, 5]
    assert answer["near_score"].tolist() == pytest.approx([1.0, 0.6])
    assert answer.loc[1, "value"].tolist() == [0.6, 0.8]
    assert positions(vault.search(near=[1.0, 0.0], metric="l2")) == [0, 5, 4]
    assert vault.search(near=[0.6, 0.0], metric="l2")["score"].tolist() == pytest.approx([-0.4, -0.6, -0.8])


def test_vectors_whose_squares_leave_their_type(vault):
    vault.save("v", np.array([[1e30, 0.0], [1e-30, 1e-30], [0.0, 3e38]], np.float32))
    assert vault.search(near=[1.0, 1.0])["near_score"].tolist() == pytest.approx([1.0, 0.5**0.5, 0.5**0.5])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_near_is_what_numpy_says(vault, dtype, metric):
    rng = np.random.default_rng(1)
    rows, query = rng.standard_normal((500, 8)).astype(dtype), rng.standard_normal(8)
    for part in np.array_split(rows, 5):
        vault.append("v", part)
    wide = rows.astype(float)
    scores = {
        "cosine": wide @ query / np.linalg.norm(wide, axis=1) / np.linalg.norm(query),
        "dot": wide @ query,
        "l2": -np.linalg.norm(wide - query, axis=1),
    }[metric]
    answer = vault.search(near=query, metric=metric, k=20)
    tolerance = 1e-2 if dtype == "float16" else 1e-5
    assert answer["near_score"].to_numpy() == pytest.approx(np.sort(scores)[::-1][:20], abs=tolerance)
    assert answer["near_score"].to_numpy() == pytest.approx(scores[positions(answer)], abs=tolerance)


def test_widths_and_columns(vault):
    vault.save("two", pd.DataFrame({"a": [[1.0, 0.0]], "b": [[0.0, 1.0]]}))
    vault.save("three", pd.DataFrame({"a": [[1.0, 0.0, 0.0]]}))
    assert found(vault.search(near=[1.0, 0.1])) == [("two", 0)]
    assert vault.search(near=[0.1, 1.0]).loc[0, "column"] == "b"
    assert vault.search(near={"a": [0.1, 1.0]}).loc[0, "column"] == "a"
    for text in (None, "storm"):  # also beside words, which are searched as well
        with pytest.raises(tv.DimensionMismatch, match=r"7 numbers.* there: 2, 3"):
            vault.search(text, near=[1.0] * 7)
    with pytest.raises(tv.DimensionMismatch, match=r"7 numbers.* there: 2"):
        vault.search(near=[1.0] * 7, lists="two")
    vault.save("notes", pd.DataFrame({"text": ["storm"]}))
    with pytest.raises(tv.DimensionMismatch, match="none at all"):
        vault.search("storm", near=[1.0, 0.0], lists="notes")
    # A list without vectors is searched beside others.
    assert set(found(vault.search("storm", near=[0.0, 1.0]))) == {("two", 0), ("notes", 0)}
    with pytest.raises(tv.DimensionMismatch, match=r"2 in 'two'; 3 in 'three'|3 in 'three'"):
        vault.search(near={"a": [1.0] * 7})
    for senseless in ([], [float("nan"), 1.0], [0.0, 0.0], "text", [[[1.0]]]):
        with pytest.raises(ValueError, match="near="):
            vault.search(near=senseless)


def test_several_queries_have_an_answer_each(vault):
    vault.save("v", np.eye(3))
    answer = vault.search(near=np.eye(3)[[2, 0]], k=2)
    assert answer["query"].tolist() == [0, 0, 1, 1]
    assert answer.index.tolist() == [0, 1, 0, 1]
    assert answer.loc[0, "position"].tolist() == [2, 0]


def test_text_and_near_are_fused_by_rank(vault, news):
    answer = vault.search("solar", near=[0.0, 1.0])
    by = answer.set_index("position")
    assert set(by.index) == {0, 1, 2, 3}
    text_rank = vault.search("solar").reset_index().set_index("position")["index"] + 1
    near_rank = vault.search(near=[0.0, 1.0]).reset_index().set_index("position")["index"] + 1
    for row in by.index:
        expected = sum(1 / (60 + rank[row]) for rank in (text_rank, near_rank) if row in rank.index)
        assert by.loc[row, "score"] == pytest.approx(expected)
    assert np.isnan(by.loc[1, "text_score"])
    assert np.isnan(by.loc[3, "near_score"])


def test_answers_do_not_share_the_names_or_values_of_their_columns(vault):
    vault.save("v", pd.DataFrame({"vec": [[1.0, 0.0], [0.0, 1.0]]}))
    first = vault.search(near=[1.0, 0.0])
    first.columns.name = "mine"
    first.loc[0, "score"] = -5.0
    assert first.loc[0, "near_score"] == 1.0
    again = vault.search(near=[1.0, 0.0])
    assert again.columns.name is None
    assert again["score"].to_list() == [1.0, 0.0]
    assert again.columns.equals(pd.Index(list(again.columns)))


def test_approximate_search_never_hides_new_or_filtered_rows(vault, monkeypatch):
    monkeypatch.setattr(vector_cells, "CELL_BYTES", 0)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((12_000, 8)).astype(np.float32)
    vault.save("v", pd.DataFrame({"vec": list(rows), "n": range(len(rows))}))
    exact = vault.search(near=rows[5], k=10)
    assert positions(vault.search(near=rows[5], k=10, approx=True)) == positions(exact)
    for column in vault.store.vectors.columns.values():
        column.ann["cosine"].wait()
    assert len(set(positions(vault.search(near=rows[5], k=10, approx=True))) & set(positions(exact))) >= 8
    vault.append("v", pd.DataFrame({"vec": list(rows[5:6]), "n": [-1]}))
    assert set(positions(vault.search(near=rows[5], k=2, approx=True))) == {5, 12_000}
    few = [("n", "in", [3, 77, 11_999])]
    assert set(positions(vault.search(near=rows[5], k=3, approx=True, filters=few))) == {3, 77, 11_999}


def test_near_of_a_series():
    series = pd.Series([[1.0, 0.0], None, [0.6, 0.8]], index=["x", "y", "z"])
    assert series.vault.near([0.0, 1.0], k=1).to_dict() == pytest.approx({"z": 0.8})
    with pytest.raises(tv.DimensionMismatch):
        series.vault.near([1.0, 2.0, 3.0])


# -- filters


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([("acc", ">", 0.9)], [1, 3]),
        ([("acc", "is null", None)], [2]),
        ([("acc", "is not null", None)], [0, 1, 3]),
        ([("acc", "between", (0.1, 0.95))], [0, 1]),
        ([("title", "contains", "olar")], [0, 3]),
        ([("params.lr", ">", 0.15)], [1]),
        ([("params.opt.name", "==", "adam")], [1]),
        ("params.lr > 0.15", [1]),
        ("`params.lr` < 0.15 or title == 'solar plants'", [0, 3]),
        ("acc > 0.9 and title.str.startswith('s')", [3]),
        ([("acc", "not in", [0.1])], [1, 2, 3]),
    ],
)
def test_filters_find(vault, news, filters, expected):
    vault.save("other", pd.DataFrame({"x": [1]}))
    assert positions(vault.search(filters=filters)) == expected


@pytest.mark.skipif(not hasattr(pd, "col"), reason="pd.col came with pandas 3")
def test_expressions_are_recorded_not_guessed(vault, news):
    assert positions(vault.search(filters=pd.col("acc") > 0.9)) == [1, 3]
    assert positions(vault.search(filters=pd.col("params.lr") > 0.15)) == [1]
    with pytest.warns(UserWarning, match="nothing"):
        assert positions(vault.search(filters=pd.col("nothing") > 0.9)) == []
    from tablevault_pd.filters import Names, parse_filter

    frame = pd.DataFrame({"a": [1], "b": [2], "c": [3]})
    expression = (pd.col("a") > 0) & pd.col("c").isin([3])
    assert parse_filter(expression, Names.of(frame)).columns == {"a", "c"}


@pytest.mark.parametrize(
    "filters",
    [
        "a > 3",
        "a > a.mean()",
        "level >= 'mid'",
        "level == 'low' and a < 4",
        [("a", "in", [2, 5])],
        "position == 1",
    ],
)
def test_filters_over_many_lists_are_those_of_each_list(vault, filters):
    """Lists of one schema are judged together: not where a filter needs a whole list, or categories differ."""
    orders = (["low", "mid", "high"], ["high", "mid", "low"])
    for number in range(6):
        levels = pd.Categorical(["low", "mid", "high", "mid"], orders[number % 2], ordered=True)
        rows = pd.DataFrame({"a": np.arange(4) + number, "level": levels})
        vault.save(f"list-{number}", rows, embeddings=False)
        vault.append(f"list-{number}", rows.iloc[:2], embeddings=False)
    vault.save("bare", pd.DataFrame({"a": np.arange(70_000) % 7}), embeddings=False)
    vault.save("other", pd.DataFrame({"b": [1, 2]}), embeddings=False)
    expected = []
    for name in vault:
        try:
            rows = vault.read(name, filters=filters)
        except tv.InvalidFilter:
            continue
        expected += [(name, position) for position in rows.index.tolist()]
    assert found(vault.search(filters=filters, k=None)) == expected
    assert expected


def test_a_filter_that_fails_over_many_lists_names_them(folder_vault):
    for name, rows in {"a": ["1"], "b": ["2"], "c": [1]}.items():
        folder_vault.save(name, pd.DataFrame({"n": rows}))
    with pytest.raises(tv.InvalidFilter, match="In the lists 'a', 'b': The filter 'n > 1'"):
        folder_vault.search(filters="n > 1")


def test_filters_apply_before_the_cut(vault):
    vault.save(
        "v",
        pd.DataFrame({"text": ["apple"] * 300, "n": range(300), "vec": [[1.0, n / 300] for n in range(300)]}),
    )
    keep = [("n", ">=", 295)]
    assert sorted(positions(vault.search("apple", filters=keep, k=5))) == [295, 296, 297, 298, 299]
    assert positions(vault.search(near=[1.0, 0.0], filters=keep, k=2)) == [295, 296]


@pytest.mark.parametrize("documents", [(), ("text",), ("doc", "text")])
def test_words_of_one_column(vault, documents):
    words = np.array(["tea", "jam", "milk"])
    masks = np.random.default_rng(len(documents)).integers(0, 8, (60, 2))
    cells = [[" ".join(words[[mask >> bit & 1 == 1 for bit in range(3)]]) for mask in row] for row in masks]
    rows = pd.DataFrame(cells, columns=["doc", "text"])
    vault.save("chunks", rows.iloc[:40], documents=list(documents))
    vault.append("chunks", rows.iloc[40:])
    has = rows["text"].str.contains
    expected = {
        "tea": has("tea"),
        "tea jam": has("tea") & has("jam"),
        "tea -jam": has("tea") & ~has("jam"),
        "tea OR jam": has("tea") | has("jam"),
        "-tea": (rows["text"] != "") & ~has("tea"),
        "milk OR -tea": (rows["text"] != "") & (has("milk") | ~has("tea")),
        '"tea jam" mil*': has("tea jam milk"),
    }
    for text, mask in expected.items():
        answer = vault.search({"text": text}, snippet=True)
        assert sorted(answer["position"]) == np.flatnonzero(mask).tolist()
        assert (answer["column"] == "text").all()
        assert answer["value"].tolist() == rows["text"].iloc[answer["position"].tolist()].tolist()
        best = vault.search({"text": text}, k=5)
        assert best.equals(answer.drop(columns="snippet").head(5))
    either = vault.search({"text": "tea -jam", "doc": "milk"})
    assert (
        sorted(either["position"])
        == np.flatnonzero(expected["tea -jam"] | rows["doc"].str.contains("milk")).tolist()
    )
    assert {"text": "tea", "doc": "milk"}[either["column"].iloc[0]] in either["value"].iloc[0]


def test_words_of_texts_that_became_documents_later(vault):
    vault.save("words", [{"text": "storm", "title": "sun"}, {"text": "sun", "title": "storm"}])
    vault.append("words", [{"text": "a storm", "title": "storm"}], documents=["text"])
    assert sorted(vault.search({"text": "storm"})["position"]) == [0, 2]
    assert sorted(vault.search({"title": "storm"})["position"]) == [1, 2]
    assert vault.search({"text": "storm"}, kind="document")["position"].tolist() == [2]


def test_words_of_one_column_beside_a_vector(vault):
    rows = pd.DataFrame(
        {"doc": ["tea"] * 3, "text": ["hot", "cold", "tea"], "vec": [[1.0, 0], [0, 1.0], [0.6, 0.8]]}
    )
    vault.save("chunks", rows, documents=["text"])
    answer = vault.search({"text": "tea"}, near=[1.0, 0.0])
    assert answer["text_score"].notna().tolist() == [True, False, False]
    assert answer["position"].tolist()[:2] == [2, 0]
    with pytest.raises(tv.InvalidInput, match=r"column of texts 'txt'\. Did you mean 'text'\?"):
        vault.search({"txt": "tea"})
    with pytest.raises(tv.InvalidInput, match="column of texts 'vec'"):
        vault.search({"vec": "tea"})
    with pytest.raises(tv.InvalidInput, match=r"text\['text'\]= is blank"):
        vault.search({"text": " "})
    with pytest.raises(tv.InvalidInput, match="empty dict"):
        vault.search({})


def test_columns_that_are_asked_for(vault, news):
    vault.save("other", ["solar other"])
    answer = vault.search("solar", columns=["acc", "title", "list"]).set_index("position")
    assert list(answer.columns[-3:]) == ["acc", "title", "row.list"]
    assert answer[answer["list"] == "news"].loc[3, "acc"] == 0.99
    assert answer[answer["list"] == "other"]["title"].isna().all()


# -- who wrote it


def test_code_at_the_precision_of_the_cell(vault):
    session = vault._run
    for number, text in enumerate(("model.fit(few_shot)", "x = zeroShot(lr=0.1)", "pass")):
        session.cells.begin(text, None)
        vault.append("a", {"n": number})
    for code, expected in {
        "few_shot": [0],
        "fewshot": [0],
        "shot": [0, 1],
        "fit": [0],
        "model.fit": [0],
        "zeroShot": [1],
        "zero_shot": [1],
        "lr=0.1": [1],
        "ew_sho": [0],
        '"eroSh"': [1],
        "ero": [],
        "few*": [0],
        "shot -zero": [0],
        "fit OR zero": [0, 1],
        "pass": [2],
    }.items():
        assert positions(vault.search(code=code, code_in="cell")) == expected, code
    assert vault.search(code="fit", code_in="cell").loc[0, ["session", "cell"]].tolist() == [
        session.row.label,
        1,
    ]


def test_session_and_description(here):
    with tv.connect("v", session="one") as first:
        first.append("a", {"n": 1})
        first.save("told", ["x"], description="Solar storages of Spain")
    with tv.connect("v", session="two") as second:
        second.append("a", {"n": 2})
        second.describe("two#1", "a calm session", vector=[1.0, 0.0])
        assert positions(second.search(session="one", lists="a")) == [0]
        assert positions(second.search(session=["one", "two#1"], lists="a")) == [0, 1]
        assert positions(second.search(session=second.sessions().iloc[1:], lists="a")) == [1]
        assert found(second.search(description="storage solar")) == [("told", 0)]
        assert found(second.search(description="calm")) == [("a", 1)]
        assert found(second.search(near={"description": [1.0, 0.0]})) == [("a", 1)]
        with pytest.raises(tv.SessionNotFound):
            second.search(session="three")
        assert second.sessions(code="no such thing").empty


def test_relatives_and_references(vault):
    vault.save(
        "papers",
        pd.DataFrame({"text": ["solar cell", "wind mill", "solar park"], "year": [2019, 2020, 2021]}),
    )
    read = vault.read("papers")
    vault.save("chunks", read.iloc[[0, 2]].assign(text=["solar a", "solar b"]))
    chunks = vault.read("chunks")
    assert positions(vault.search(lists="papers", parents_of=chunks)) == [0, 2]
    assert positions(vault.search("solar", lists="papers", parents_of=chunks.iloc[1:])) == [2]
    assert found(vault.search(children_of=read.iloc[:1])) == [("chunks", 0)]
    assert found(vault.search(children_of="papers")) == [("chunks", 0), ("chunks", 1)]
    vault.append("papers", {"text": "solar more"})
    assert positions(vault.search("solar", lists="papers", parents_of="chunks")) == [0, 2]
    answer = vault.search("solar", lists="chunks")
    assert str(answer["ref"].dtype) == "vault_ref"
    assert sorted(answer.vault.parents()["parent_position"]) == [0, 2]
    assert positions(read.iloc[1:].vault.search("solar")) == [2]
    for option in ({"lists": "news"}, {"as_of": "2026-01-01"}):
        with pytest.raises(
            tv.InvalidInput, match=rf"df\.vault\.search\(\) has no option '{next(iter(option))}'"
        ):
            read.vault.search("solar", **option)
    vault.save("picked", answer[["ref", "value"]])
    assert found(vault.search(parents_of="picked", lists="chunks")) == [("chunks", 0), ("chunks", 1)]
    assert found(vault.search(parents_of="picked", lists="papers")) == [("papers", 0), ("papers", 2)]


def test_lists_by_name_and_pattern(vault):
    for name in ("run-1", "run-2", "odd [1]"):
        vault.save(name, ["apple"])
    assert {name for name, _ in found(vault.search("apple", lists="run-*"))} == {"run-1", "run-2"}
    assert found(vault.search("apple", lists=["odd [1]"])) == [("odd [1]", 0)]
    assert found(vault["run-2"].search("apple")) == [("run-2", 0)]
    assert found(vault.search("apple", lists="none-*")) == []
    with pytest.raises(tv.ListNotFound):
        vault.search("apple", lists="run")


def test_senseless_arguments_are_named(vault):
    for arguments, word in (
        ({}, "what to search"),
        ({"text": "a", "k": 0}, "k="),
        ({"text": "a", "kind": "video"}, "kind="),
        ({"text": "a", "metric": "hamming"}, "metric="),
        ({"text": "a", "since": "yesterdayish"}, "since="),
        ({"text": "a", "lists": []}, "lists="),
    ):
        with pytest.raises(ValueError, match=word):
            vault.search(**arguments)


def test_a_query_is_read_as_it_is_meant():
    query = parse_text('solar "power plant" -wind OR sun*')
    assert repr(query) == (
        "AnyOf(parts=(AllOf(parts=(Word(text='solar'), Phrase(text='power plant'), Negated(part=Word(text='wind')))), Prefix(text='sun')))"
    )
