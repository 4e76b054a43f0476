"""Documents whose offsets are those of a column: kept, validated, read by characters, cited as parents."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tablevault_pd as tv

NOVEL = (
    "It was late. She left the häuser, and 日本 slept. Then it rained, and nobody came back to the old house."
)


def chunked(text: str, size: int, step: int) -> pd.DataFrame:
    starts = np.arange(0, len(text), step)
    return pd.DataFrame({"chunk": [text[start : start + size] for start in starts], "start": starts})


def test_overlapping_chunks_and_their_offsets_come_back_as_they_were_saved(vault):
    frame = chunked(NOVEL, 30, 20)
    saved = vault.save("novel", frame, documents={"chunk": "start"})
    pd.testing.assert_frame_equal(vault.read("novel"), frame, check_names=False)
    found = saved.offsets()
    assert found["start"].tolist() == frame["start"].tolist()
    assert found["stop"].tolist() == [
        start + len(text) for text, start in zip(frame["chunk"], frame["start"], strict=True)
    ]
    assert saved.kinds == {"chunk": "document", "start": "record"}
    assert vault.search("rained", lists="novel")["position"].tolist() == [2]


def test_the_same_rows_saved_again_make_no_version_and_other_places_do(vault):
    frame = chunked(NOVEL, 30, 20)
    vault.save("novel", frame, documents={"chunk": "start"})
    assert vault.save("novel", frame, documents={"chunk": "start"}).version == 1
    followed = vault.save("novel", frame, documents="chunk")
    assert (followed.version, followed.offsets()["start"].tolist()[:2]) == (2, [0, 30])


def test_a_list_that_had_longer_texts_still_takes_equal_rows_for_equal(vault):
    vault.save(
        "novel",
        pd.DataFrame({"chunk": ["x" * 900, "yy"], "start": [0, 900]}),
        documents={"chunk": "start"},
        key="start",
    )
    vault.upsert("novel", pd.DataFrame({"chunk": ["x"], "start": [0]}))
    now = vault.read("novel")
    version = vault["novel"].version
    assert vault.save("novel", now, documents={"chunk": "start"}).version == version


def test_appends_and_upserts_go_on_with_the_column_of_offsets(vault):
    frame = chunked(NOVEL, 30, 20)
    vault.save("novel", frame.head(2), documents={"chunk": "start"}, key="start")
    vault.append("novel", frame.iloc[2:3])
    vault.append("novel", {"chunk": frame["chunk"][3], "start": 60})
    vault.append("novel", pa.table({"chunk": [frame["chunk"][4]], "start": [80]}))
    vault.upsert(
        "novel",
        pd.DataFrame({"chunk": ["a much longer text than any before, to be sure " * 3], "start": [20]}),
    )
    assert vault["novel"].offsets()["start"].tolist() == [0, 20, 40, 60, 80]
    assert vault["novel"].offsets()["stop"][1] == 20 + 141
    assert vault["novel"].kinds["chunk"] == "document"


WRONG = [
    ({"chunk": ["a", "b"], "start": [0, -1]}, "row 1: -1 is no offset"),
    ({"chunk": ["a", "b"], "start": [0.0, 1.0]}, "holds double values"),
    ({"chunk": ["a", "b"], "start": [True, False]}, "holds bool values"),
    (
        {"chunk": ["a", "b"], "start": pd.array([0, None], dtype="Int64")},
        "row 1: the offset of the document is missing",
    ),
    (
        {"chunk": ["a", "b"], "start": np.array([0, 2**63], dtype="uint64")},
        "row 1: 9223372036854775808 is no offset",
    ),
    ({"chunk": ["a", "b"], "at": [0, 1]}, "no such column"),
]


@pytest.mark.parametrize(("columns", "told"), WRONG, ids=range(len(WRONG)))
def test_offsets_that_are_none_are_refused_by_row_before_anything_is_written(folder_vault, columns, told):
    with pytest.raises(tv.InvalidInput, match=told):
        folder_vault.save("novel", pd.DataFrame(columns), documents={"chunk": "start"})
    assert "novel" not in folder_vault


def test_a_missing_text_needs_no_offset(folder_vault):
    frame = pd.DataFrame({"chunk": ["a", None], "start": pd.array([5, None], dtype="Int64")})
    saved = folder_vault.save("novel", frame, documents={"chunk": "start"})
    pd.testing.assert_frame_equal(saved.read(), frame, check_names=False)


def test_rows_that_would_not_have_a_place_are_refused(folder_vault):
    folder_vault.save("novel", chunked(NOVEL, 30, 30), documents={"chunk": "start"})
    with pytest.raises(
        tv.SchemaMismatch, match="offsets of its documents in 'chunk' in another column, 'start'"
    ):
        folder_vault.append("novel", pd.DataFrame({"chunk": ["more"]}))
    with pytest.raises(tv.SchemaMismatch, match="offsets of its documents are in another column"):
        folder_vault.append(
            "novel", pd.DataFrame({"chunk": ["more"], "start": [1], "at": [1]}), documents={"chunk": "at"}
        )
    folder_vault.save("poem", ["a", "b"])
    with pytest.raises(tv.SchemaMismatch, match="or in none"):
        folder_vault.append(
            "poem", pd.DataFrame({"document": ["c"], "at": [1]}), documents={"document": "at"}
        )
    with pytest.raises(tv.InvalidInput, match="name of the column of offsets"):
        folder_vault.save("novel", pd.DataFrame({"chunk": ["a"]}), documents={"chunk": ["start"]})
    assert folder_vault["novel"].version == folder_vault["poem"].version == 1


def test_offsets_of_any_label_and_of_a_stream(folder_vault):
    parts = (pd.DataFrame({0: [text], 1: [at]}) for text, at in [("ab", 10), ("cde", 11)])
    saved = folder_vault.save("novel", parts, documents={0: 1})
    assert saved.offsets().to_numpy().tolist() == [[10, 12], [11, 14]]


# -- reading characters


def texts_of(
    frame: pd.DataFrame, starts: list[int], first: int, stop: int
) -> list[tuple[int, int, int, str]]:
    """The oracle: (row, start, stop, text) of what each chunk has of the characters from `first` to `stop`."""
    found = []
    for row, (text, start) in enumerate(zip(frame["chunk"], starts, strict=True)):
        inside = [at for at in range(len(text)) if first <= start + at < stop]
        if inside:
            found.append((row, start + inside[0], start + inside[-1] + 1, "".join(text[at] for at in inside)))
    return found


def shown(frame: pd.DataFrame) -> list[tuple[int, int, int, str]]:
    return list(frame[["char_start", "char_stop", "char_text"]].itertuples(name=None))


@pytest.mark.parametrize("documents", ["chunk", {"chunk": "start"}], ids=["followed", "placed"])
def test_the_rows_that_overlap_a_span_come_with_the_text_that_lies_in_it(vault, documents):
    frame = chunked(NOVEL, 30, 20 if documents != "chunk" else 30)
    if documents != "chunk":
        frame = frame.iloc[[3, 0, 4, 1, 2]].reset_index(drop=True)  # as after an upsert: in no order
    saved = vault.save("novel", frame, documents=documents)
    starts = frame["start"].tolist()
    for first, stop in [(0, 1), (25, 31), (29, 30), (30, 31), (0, len(NOVEL)), (95, len(NOVEL)), (47, 66)]:
        expected = texts_of(frame, starts, first, stop)
        assert shown(vault.read("novel", chars=(first, stop))) == expected
        assert {NOVEL[start:end] == text for _, start, end, text in expected} == {True}
    assert shown(saved.read(chars=(90, None), columns=["start"])) == texts_of(frame, starts, 90, 10**6)
    assert shown(saved.read(chars={"chunk": (None, 5)})) == texts_of(frame, starts, 0, 5)
    assert saved.read(chars=(0, 50), start=1, stop=3).index.tolist() == [
        row for row, *_ in texts_of(frame, starts, 0, 50) if 1 <= row < 3
    ]
    assert saved.read(chars=(30, 40)).vault.origin == "novel@1"


def test_a_span_beyond_the_end_is_refused_with_the_length_of_the_document(vault):
    vault.save("novel", chunked(NOVEL, 30, 20), documents={"chunk": "start"})
    vault.save("poem", ["one", "two"])
    for name, length in [("novel", len(NOVEL)), ("poem", 6)]:
        with pytest.raises(tv.InvalidInput, match=f"{name}@1 has {length} characters"):
            vault.read(name, chars=(2, length + 1))
        with pytest.raises(tv.InvalidInput, match=f"{name}@1 has {length} characters"):
            vault.read(name, chars=(length + 5, None))
        assert vault.read(name, chars=(length, None)).empty


def test_a_filter_says_which_of_several_documents_is_meant(vault):
    frame = pd.concat([chunked(NOVEL, 30, 20).assign(doc="a"), chunked("Another one.", 5, 5).assign(doc="b")])
    vault.save("novel", frame.reset_index(drop=True), documents={"chunk": "start"})
    assert vault.read("novel", chars=(3, 9), filters="doc == 'b'")["char_text"].tolist() == ["th", "er o"]
    for filters in (None, "start == start.min()"):
        with pytest.raises(
            tv.InvalidInput,
            match=r"chars=\(0, 5\): the rows 0 and \d+ of novel@1 have different texts for the characters 0 to 5, "
            r"as those of different documents do. Say which is meant: filters=",
        ):
            vault.read("novel", chars=(0, 5), filters=filters)
    assert vault.read("novel", chars=(0, 5), start=0, stop=3)["doc"].tolist() == ["a"]
    with pytest.raises(tv.InvalidInput, match="has 12 characters"):
        vault.read("novel", chars=(0, 13), filters="doc == 'b'")


def test_places_of_texts_that_follow_one_another_are_those_of_each_version(vault):
    vault.save("poem", pd.DataFrame({"n": [0, 1], "line": ["one", "two"]}), documents="line", key="n")
    assert vault.read("poem", chars=(3, 6))["line"].tolist() == ["two"]
    vault.append("poem", {"n": 2, "line": "three"})
    assert vault.read("poem", chars=(6, 11))["char_text"].tolist() == ["three"]
    vault.upsert("poem", {"n": 0, "line": "nought"})
    assert vault.read("poem", chars=(6, 9))["line"].tolist() == ["two"]
    assert vault.read("poem@1", chars=(3, 6))["line"].tolist() == ["two"]
    vault.erase("poem", filters="n == 1")
    assert vault.read("poem", chars=(6, 11))["line"].tolist() == ["three"]
    assert vault.read("poem@2", chars=(3, 8))["line"].tolist() == ["three"]


def test_no_text_is_read_of_rows_that_begin_elsewhere(folder_vault, monkeypatch):
    rows = 140_000
    frame = pd.DataFrame({"start": np.arange(rows) * 8, "chunk": "ten charte"})
    folder_vault.save("long", frame, documents={"chunk": "start"})
    read = []

    def spy(original):
        def spied(*arguments, **options):
            for found in original(*arguments, **options):
                chunk = found[1] if isinstance(found, tuple) else found
                read.append((chunk.table.column_names, len(chunk.positions)))
                yield found

        return spied

    for name in ("scan", "scan_many"):
        monkeypatch.setattr(folder_vault.store, name, spy(getattr(folder_vault.store, name)))
    found = folder_vault.read("long", chars=(8 * 100_000, 8 * 100_000 + 9))
    assert found.index.tolist() == [99_999, 100_000, 100_001]
    assert 0 < sum(count for names, count in read if names == ["start"]) <= 65_536
    assert (
        0 < sum(count for names, count in read if names == ["chunk"]) <= 2 * 18
    )  # to find them, and for the part of each


@pytest.mark.parametrize(
    ("chars", "told"),
    [
        ((5, 5), "has no character"),
        ((-1, 5), "is a whole number"),
        (5, "chars= is"),
        ("ab", "chars= is"),
        ({"start": (0, 1)}, "holds no documents"),
        ({"other": (0, 1)}, "holds no documents"),
    ],
)
def test_spans_that_are_none_are_refused(folder_vault, chars, told):
    folder_vault.save("novel", chunked(NOVEL, 30, 20), documents={"chunk": "start"})
    with pytest.raises(tv.InvalidInput, match=told):
        folder_vault.read("novel", chars=chars)


def test_what_cannot_be_read_by_characters_says_why(folder_vault):
    folder_vault.save("novel", chunked(NOVEL, 30, 20), documents={"chunk": "start"})
    with pytest.raises(tv.InvalidInput, match="excludes versions='all'"):
        folder_vault.read("novel", chars=(0, 1), versions="all")
    folder_vault.save("novel", folder_vault.read("novel", chars=(0, 100)), documents={"chunk": "start"})
    with pytest.raises(tv.InvalidInput, match="which chars= adds"):
        folder_vault.read("novel", chars=(0, 1))
    folder_vault.save("numbers", pd.DataFrame({"n": [1]}))
    with pytest.raises(tv.InvalidInput, match="has no column of documents, in which characters count"):
        folder_vault.read("numbers", chars=(0, 1))
