"""The way of a save: nothing is written before the rows are known to fit, and nothing is decoded that was just encoded."""

from __future__ import annotations

import hashlib

import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.store.embedded import segments

WRITING = ("stage", "commit", "keeping", "describe", "note_reads")


@pytest.fixture
def writes(vault, monkeypatch):
    """The calls that write, by name, in order."""
    calls: list[str] = []
    for name in WRITING:
        method = getattr(vault.store, name)

        def call(*arguments, name=name, method=method, **options):
            calls.append(name)
            return method(*arguments, **options)

        monkeypatch.setattr(vault.store, name, call)
    return calls


@pytest.fixture
def note(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("the seed was 7\n", encoding="utf-8")
    return path


def frame_of(note, **columns):
    return pd.DataFrame({"file": [str(note)], **columns})


REFUSED = {
    "a column that the list lacks": (lambda note: frame_of(note, n=[1], m=[1]), {"schema": "strict"}, tv.SchemaMismatch),
    "another type": (lambda note: frame_of(note, n=["x"]), {"schema": "strict"}, tv.SchemaMismatch),
    "a cell that cannot be kept": (lambda note: frame_of(note, n=[object()]), {}, tv.UnsupportedColumn),
    "another version than expected": (lambda note: frame_of(note, n=[1]), {"expect": 5}, tv.Conflict),
    "parents that do not fit": (lambda note: frame_of(note, n=[1]), {"inputs": {"list": [0, 0]}}, tv.InvalidInput),
    "the first chunk of a stream": (
        lambda note: iter([frame_of(note, n=["x"]), frame_of(note, n=[1])]), {"schema": "strict"}, tv.SchemaMismatch,
    ),
    "the second chunk of a stream": (
        lambda note: iter([frame_of(note, n=[1]), frame_of(note, n=["x"])]), {"schema": "strict"}, tv.SchemaMismatch,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "options", "error"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_writes_nothing(vault, note, writes, make, options, error):
    vault.save("list", frame_of(note, n=[1]), files="file")
    writes.clear()
    with pytest.raises(error):
        vault.append("list", make(note), files="file", copy=True, **options)
    assert writes == []
    assert vault["list"].version == 1


def test_a_stream_that_ends_in_an_error_leaves_neither_rows_nor_files(vault, note, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("the seed was 8\n", encoding="utf-8")
    vault.save("kept", frame_of(other), files="file", copy=True)
    vault.save("list", frame_of(note, n=[1]), files="file")
    chunks = (frame_of(path, n=[n]) for path, n in ((other, 1), (note, 2), (note, "x")))
    with pytest.raises(tv.SchemaMismatch):
        vault.append("list", chunks, files="file", copy=True, schema="strict")
    assert vault["list"].version == 1
    with pytest.raises(tv.FileMissing):
        vault.open_file(hashlib.sha256(note.read_bytes()).hexdigest())
    with vault.open_file(hashlib.sha256(other.read_bytes()).hexdigest()) as file:  # another list's, too
        assert file.read() == other.read_bytes()
    assert vault.check().empty


def test_contents_are_kept_between_the_fit_and_the_rows(vault, note, writes):
    vault.save("list", frame_of(note, n=[1]), files="file", copy=True)
    assert writes == ["keeping", "stage", "commit"]
    writes.clear()
    assert vault.save("list", frame_of(note, n=[1]), files="file", copy=True).version == 1
    assert writes == ["keeping"]  # anew, should the content have been lost
    writes.clear()
    vault.save("list", frame_of(note, n=[1]), files="file")
    assert writes == ["stage", "commit"]


def test_the_text_of_a_small_save_is_indexed_from_the_rows_at_hand(folder_vault, monkeypatch):
    def refused(*_arguments, **_options):
        raise AssertionError("rows that were just encoded were decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(segments, "unpack", refused)
        patch.setattr(segments.pa.ipc, "read_record_batch", refused)
        patch.setattr(segments.pa.ipc, "open_stream", refused)
        folder_vault.save("texts", pd.DataFrame({"text": ["a storm", "a calm"], "n": [1, 2]}))
        folder_vault.append("texts", {"text": "another storm", "n": 3})
    assert folder_vault.search("storm")["position"].tolist() == [0, 2]


def test_a_column_of_inputs_that_is_not_saved_is_an_error(vault):
    """Matrices and lists of vectors have one column alone."""
    vault.save("list", {"n": 1})
    with pytest.raises(tv.InvalidInput, match="names the column 'parent'"):
        vault.save("vectors", [[0.5, 1.0]], inputs={"list": "parent"})
