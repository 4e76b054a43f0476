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
