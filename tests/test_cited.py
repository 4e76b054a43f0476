"""Parents that are spans of characters: which rows have them, what walks tell of them, and where they are kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_documents import NOVEL, chunked

import tablevault_pd as tv
from tablevault_pd.store.edges import EdgeForm

SPANS = [(25, 31), [(0, 1), (95, 100)], None, (29, 30), [(41, 45), (42, 48)]]
COLUMNS = ["position", "parent_position", "parent_start", "parent_stop"]


def lines(frame: pd.DataFrame) -> list[tuple[int | None, ...]]:
    return [
        tuple(None if pd.isna(cell) else int(cell) for cell in line)
        for line in frame[COLUMNS].itertuples(index=False)
    ]


def cited(chunks: pd.DataFrame, spans: list) -> list[tuple[int, ...]]:
    """The oracle: (row, row of the document, first character, end) for each span and each chunk that has some of it."""
    found = set()
    for row, cell in enumerate(spans):
        for first, stop in [] if cell is None else cell if isinstance(cell, list) else [cell]:
            for number, (text, start) in enumerate(zip(chunks["chunk"], chunks["start"], strict=True)):
                if any(first <= start + at < stop for at in range(len(text))):
                    found.add((row, number, first, stop))
    return sorted(found)


@pytest.fixture
def novel(vault):
    chunks = chunked(NOVEL, 30, 20).iloc[[3, 0, 5, 1, 2, 4]].reset_index(drop=True)
    vault.save("novel", chunks, documents={"chunk": "start"}, key="start")
    return chunks


def test_rows_that_have_characters_of_a_span_are_parents_and_walks_tell_which_characters(vault, novel):
    answers = pd.DataFrame({"answer": list("abcde")})
    vault.save("answers", answers, inputs={"novel": tv.chars(SPANS)})
    expected = cited(novel, SPANS)
    found = vault.lineage("answers")
    assert lines(found) == expected
    assert set(found["basis"]) == {"stated"}
    assert lines(vault.read("answers").iloc[[1]].vault.parents(read=True)) == [
        line for line in expected if line[0] == 1
    ]
    down = vault.lineage("novel", rows=1, direction="down")
    assert sorted(
        zip(down["child_position"], down["parent_start"], down["parent_stop"], strict=True)
    ) == sorted((row, first, stop) for row, number, first, stop in expected if number == 1)
    assert vault.check().empty
    assert vault.search(parents_of="answers", lists="novel")["position"].nunique() == len(
        {line[1] for line in expected}
    )


def test_every_form_says_the_same(vault, novel):
    rows = [{"n": 0}, {"n": 1}]
    spans = {"novel": tv.chars([(5, 9), (60, 70)])}
    expected = cited(novel, [(5, 9), (60, 70)])
    forms = [
        spans,
        {vault["novel"]: tv.chars([5, 60], [9, 70])},
        {"novel@1": tv.chars(pd.Series([5, 60]), np.array([9, 70]), column="chunk")},
        {"novel": tv.chars(np.array([[5, 9], [60, 70]]), filters="start >= 0")},
        {"novel": tv.chars(pd.array([5, 60], dtype="Int64"), [9, 70])},
    ]
    for inputs in forms:
        vault.save("answers", rows, inputs=inputs)
        assert lines(vault.lineage("answers")) == expected
    assert vault["answers"].version == 1  # the same rows with the same parents, however these are said
    vault.save(
        "answers", rows, inputs=[{"novel": tv.chars([(5, 9), None])}, {"novel": tv.chars([None, (60, 70)])}]
    )
    assert lines(vault.lineage("answers")) == expected
    vault.save("answers", rows, inputs={"novel": tv.chars(5, 9)})
    assert lines(vault.lineage("answers")) == cited(novel, [(5, 9), (5, 9)])
    vault.save("answers", rows, inputs={"novel": tv.chars(5, 10)})
    assert vault["answers"].version == 4


def test_a_span_stays_that_of_the_version_read_whatever_becomes_of_the_document(vault, novel):
    vault.save("answers", [{"a": 1}], inputs={"novel": tv.chars(25, 31)})
    expected = cited(novel, [(25, 31)])
    vault.append("novel", {"chunk": "More of it.", "start": len(NOVEL)})
    vault.upsert("novel", {"chunk": "Late!", "start": 0})
    vault.append("answers", [{"a": 2}], inputs={"novel": tv.chars(len(NOVEL), len(NOVEL) + 4)})
    found = vault.lineage("answers")
    assert lines(found) == [*expected, (1, 6, len(NOVEL), len(NOVEL) + 4)]
    assert found["parent_version"].tolist() == [1] * len(expected) + [3]
    assert vault.stale("answers").empty  # the next chunk has all of the words
    vault.upsert("novel", {"chunk": "Late!", "start": 20})
    assert vault.stale("answers")["position"].unique().tolist() == [0]
    with pytest.raises(tv.InvalidInput, match=f"novel@1 has {len(NOVEL)} characters"):
        vault.save("answers", [{"a": 1}], inputs={"novel@1": tv.chars(25, 500)})


def test_spans_go_on_through_further_lists_and_end_at_the_step_that_names_them(vault, novel):
    vault.save("quotes", [{"q": 1}, {"q": 2}], inputs={"novel": tv.chars([[(0, 5), (10, 12)], (50, 55)])})
    vault.save("answers", [{"a": 1}], inputs={"quotes": [[0, 1]]})
    found = vault.lineage("answers")
    assert lines(found[found["depth"] == 1]) == [(0, 0, None, None), (0, 1, None, None)]
    both = {line[1:] for line in cited(novel, [[(0, 5), (10, 12)], (50, 55)])}
    assert sorted(line[1:] for line in lines(found[found["depth"] == 2])) == sorted(both)


def test_rows_that_differ_where_they_overlap_are_of_several_documents(vault, novel):
    other = chunked("Quite another text, with characters at the same places as the novel.", 30, 20)
    both = pd.concat([novel.assign(doc="a"), other.assign(doc="b")], ignore_index=True)
    vault.save("shelf", both, documents={"chunk": "start"})
    with pytest.raises(
        tv.InvalidInput,
        match="different texts for the characters 0 to 30, as those of different documents do",
    ):
        vault.save("answers", [{"a": 1}], inputs={"shelf": tv.chars(25, 31)})
    assert "answers" not in vault
    vault.save("answers", [{"a": 1}, {"a": 2}], inputs=[
        {"shelf": tv.chars([(25, 31), None], filters="doc == 'a'")},
        {"shelf": tv.chars([None, (25, 31)], filters="doc == 'b'")},
    ])  # fmt: skip
    here = lines(vault.lineage("answers"))
    assert here == cited(novel, [(25, 31)]) + [
        (1, number + len(novel), *span) for _, number, *span in cited(other, [(25, 31)])
    ]


# -- citations with their words


def quoted(frame: pd.DataFrame) -> list[tuple]:
    return list(frame[["position", "parent_start", "parent_stop", "text"]].itertuples(index=False, name=None))


def test_each_cited_span_is_one_line_with_its_words_over_chunks_that_overlap(vault, novel):
    vault.save("answers", pd.DataFrame({"answer": list("abcde")}), inputs={"novel": tv.chars(SPANS)})
    spans = [
        (row, span)
        for row, cell in enumerate(SPANS)
        for span in (cell if isinstance(cell, list) else [cell])
        if span
    ]
    found = vault.citations("answers", columns=["start"])
    assert quoted(found) == [(row, *span, NOVEL[slice(*span)]) for row, span in spans]
    assert set(found["parent_list"]) == {"novel"}
    assert (
        found["start"].tolist() == novel["start"].to_numpy()[found["parent_position"].to_numpy(int)].tolist()
    )
    vault.upsert("novel", {"chunk": "Late!", "start": 20})  # the words are those that were read
    assert quoted(vault.citations("answers", rows=[1])) == [
        (1, *span, NOVEL[slice(*span)]) for span in SPANS[1]
    ]
    assert vault.citations("novel").empty
    assert list(vault.citations("novel")) == list(found)[:-1]


def test_words_that_no_row_has_are_left_out_and_spans_of_two_documents_are_two_lines(vault):
    lines_of = {"a": ["It was late.", "She left."], "b": ["It was noon!", "He stayed"]}
    chunks = pd.DataFrame(
        [
            {"doc": doc, "start": at, "chunk": text}
            for doc, texts in lines_of.items()
            for at, text in zip((0, 13), texts, strict=True)
        ]
    )
    vault.save("shelf", chunks, documents={"chunk": "start"})
    span = tv.chars([(7, 17)], filters="doc == 'a'"), tv.chars([(7, 17)], filters="doc == 'b'")
    vault.save("answers", [{"a": 1}], inputs=[{"shelf": one} for one in span])
    found = vault.citations("answers", columns=["doc"])
    assert found[["doc", "text"]].to_numpy().tolist() == [["a", "late.…She "], ["b", "noon!…He s"]]
    vault.erase("shelf", filters="chunk == 'She left.'")
    vault.erase("shelf", filters="doc == 'b'")
    found = vault.citations("answers")
    assert found["text"].dropna().tolist() == ["late.…"]
    assert vault.check().empty


def test_citations_of_texts_that_follow_one_another_and_of_one_column_among_several(vault):
    poem = pd.DataFrame({"line": ["one", "two", "three"], "translation": ["eins", "zwei", "drei"]})
    vault.save("poem", poem, documents=["line", "translation"])
    vault.save("answers", [{"a": 1}], inputs={"poem": tv.chars([(2, 7)], column="line")})
    assert quoted(vault.citations("answers", column="line")) == [(0, 2, 7, "etwot")]
    with pytest.raises(tv.InvalidInput, match="2 columns of documents"):
        vault.citations("answers")
    with pytest.raises(tv.InvalidInput, match=r"column='lines' is no column of documents .* They have"):
        vault.citations("answers", column="lines")
    vault.erase("poem", rows=[1])
    assert vault.citations("answers", column="line")["text"].tolist() == ["e…"]


WRONG = [
    (lambda: tv.chars([(1, 2), (3, 4)]), "2 cells for 1 saved rows"),
    (lambda: tv.chars([(5, 5)]), r"row 0: \(5, 5\) is no span"),
    (lambda: tv.chars(-1, 5), "is no span"),
    (lambda: tv.chars(1, 10**20), "is no span"),
    (lambda: tv.chars([(1.5, 2)]), "is no span"),
    (lambda: tv.chars([5]), "is no span"),
    (lambda: tv.chars((3, 9)), r"One span is \[\(3, 9\)\] for one row, or tv.chars\(3, 9\) for every row"),
    (lambda: tv.chars([True], [5]), "is no span"),
    (lambda: tv.chars([1, 2], [5]), "2 starts and 1 stops"),
    (lambda: tv.chars("start", "stop"), "give start and stop"),
    (lambda: tv.chars(5), "give start and stop"),
    (lambda: tv.chars(0, 10_000), "beyond the end: the document in novel@1 has"),
    (lambda: tv.chars(0, 5, column="start"), "holds no documents"),
]


@pytest.mark.parametrize(("chars", "told"), WRONG, ids=range(len(WRONG)))
def test_spans_that_do_not_fit_are_refused_before_anything_is_written(folder_vault, chars, told):
    folder_vault.save("novel", chunked(NOVEL, 30, 20), documents={"chunk": "start"})
    with pytest.raises(tv.InvalidInput, match=told):
        folder_vault.save("answers", [{"a": 1}], inputs={"novel": chars()})
    assert "answers" not in folder_vault


def test_characters_that_no_row_has_are_refused(folder_vault):
    folder_vault.save("novel", pd.DataFrame({"t": ["abc", "def"], "at": [0, 10]}), documents={"t": "at"})
    with pytest.raises(tv.InvalidInput, match="no row of novel@1 has a character from 4 to 6"):
        folder_vault.save("answers", [{"a": 1}], inputs={"novel": tv.chars(4, 6)})
    folder_vault.save("answers", [{"a": 1}], inputs={"novel": tv.chars(2, 6)})
    assert lines(folder_vault.lineage("answers")) == [(0, 0, 2, 6)]


def test_spans_are_copied_merged_and_backed_up_and_outlive_erased_rows(vault, novel, tmp_path):
    vault.save("answers", pd.DataFrame({"a": list("abcde")}), inputs={"novel": tv.chars(SPANS)})
    expected = cited(novel, SPANS)
    tv.copy(vault.place if "://" not in vault.place else vault, tmp_path / "copied")
    with tv.connect(tmp_path / "copied", mode="r") as copied:
        assert lines(copied.lineage("answers")) == expected
    tv.merge([tmp_path / "copied"], tmp_path / "merged")
    with tv.connect(tmp_path / "merged", mode="r") as merged:
        assert lines(merged.lineage("answers")) == expected
        assert merged.check().empty
    vault.erase("novel", filters="start == 0")
    found = vault.lineage("answers")
    assert lines(found) == expected
    assert found["gone"].tolist() == [line[1] == 1 for line in expected]


def test_an_append_with_a_key_keeps_the_spans_of_the_rows_that_are_new(vault, novel):
    vault.save("answers", {"id": 0}, key="id", inputs=False)
    vault.append(
        "answers", pd.DataFrame({"id": [2, 0, 1]}), inputs={"novel": tv.chars([(5, 9), (0, 4), (60, 70)])}
    )
    assert lines(vault.lineage("answers")) == sorted(
        (row, *line) for row, span in [(1, (5, 9)), (2, (60, 70))] for _, *line in cited(novel, [span])
    )


def test_damage_to_spans_is_found(folder_vault):
    folder_vault.save("novel", chunked(NOVEL, 30, 20), documents={"chunk": "start"})
    folder_vault.save("answers", [{"a": 1}], inputs={"novel": tv.chars(25, 31)})
    with closing(sqlite3.connect(Path(folder_vault.place) / "catalog.db")) as db, db:
        db.execute("UPDATE edges SET step = 0 WHERE form = ?", (EdgeForm.PAIRS,))
    assert folder_vault.check()["detail"].tolist() == ["it has lost positions"]
    with closing(sqlite3.connect(Path(folder_vault.place) / "catalog.db")) as db, db:
        db.execute("UPDATE edges SET step = 2 WHERE form = ?", (EdgeForm.PAIRS,))
