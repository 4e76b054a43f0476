"""Files by address: what is kept of them, their content where it is asked for, and what becomes of them later."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest

import tablevault_pd as tv

fsspec = pytest.importorskip("fsspec", reason="the extra fsspec is not installed")


@pytest.fixture
def storage():
    """The storage of memory://, which is one for the whole process. Vaults look at it once more when a test is done."""
    found = fsspec.filesystem("memory")
    found.store.clear()
    found.pipe("/data/a.txt", b"the first")
    found.pipe("/data/b.txt", b"the second one")
    return found


FRAME = pd.DataFrame({"file": ["memory://data/a.txt", None, "memory://data/b.txt"], "n": [1, 2, 3]})


def test_size_time_and_tag_are_kept_and_no_content(vault, storage, monkeypatch):
    monkeypatch.setattr(type(storage), "open", lambda *_, **__: pytest.fail("the content was read"))
    vault.save("inputs", FRAME, files="file")
    pd.testing.assert_frame_equal(vault.read("inputs"), FRAME, check_names=False)
    files = vault.files("inputs")
    assert files["position"].tolist() == [0, 2]
    assert files["size_bytes"].tolist() == [9, 14]
    assert files["modified"].tolist() == [
        pd.Timestamp(storage.modified(f"/data/{name}.txt")) for name in "ab"
    ]
    assert files[["sha256", "folder", "tag"]].isna().all(axis=None)
    assert not files["stored"].any()
    assert vault.save("inputs", FRAME, files="file").version == 1
    assert vault.check().empty


def test_the_content_is_kept_where_it_is_asked_for(vault, storage):
    before = set(Path(tempfile.gettempdir()).glob("tablevault-*"))
    vault.save("inputs", FRAME, files="file", copy=True)
    files = vault.files("inputs")
    assert files["sha256"].tolist() == [
        hashlib.sha256(text).hexdigest() for text in (b"the first", b"the second one")
    ]
    with vault.open_file(files["sha256"][1]) as file:
        assert file.read() == b"the second one"
    assert set(Path(tempfile.gettempdir()).glob("tablevault-*")) <= before
    storage.rm("/data", recursive=True)
    assert vault.check().empty  # what is kept needs no original


def test_a_check_tells_what_has_changed_since(vault, storage):
    vault.save("inputs", FRAME, files="file")
    storage.pipe("/data/a.txt", b"the first, longer")
    storage.rm("/data/b.txt")
    found = vault.check()
    assert found["detail"].tolist() == ["has 17 bytes, had 9", "is not there"]
    assert found["severity"].tolist() == ["damage", "damage"]
    storage.pipe("/data/a.txt", b"another")
    storage.pipe("/data/b.txt", b"the second two")  # the same size, another time
    assert vault.check()["detail"].str.contains("the same size|7 bytes").all()
    storage.pipe("/data/a.txt", b"the first")
    vault.save("inputs", FRAME, files="file")


def test_a_tag_of_the_storage_decides(folder_vault, storage, monkeypatch):
    tags = {"/data/a.txt": '"one"', "/data/b.txt": '"two"'}
    plain = type(storage).info
    monkeypatch.setattr(
        type(storage),
        "info",
        lambda self, path, **options: plain(self, path, **options) | {"ETag": tags[path]},
    )
    folder_vault.save("inputs", FRAME, files="file")
    assert folder_vault.files("inputs")["tag"].tolist() == ["one", "two"]
    storage.pipe("/data/a.txt", b"the first")  # written again, but the same
    assert folder_vault.check().empty
    tags["/data/b.txt"] = '"three"'
    assert folder_vault.check()["detail"].tolist() == ["has the tag three, had two"]
    monkeypatch.undo()
    folder_vault.save("inputs", FRAME, files="file")


def test_addresses_and_paths_stand_in_one_column(folder_vault, storage, here):
    (here / "local.txt").write_text("here")
    frame = pd.DataFrame({"file": ["local.txt", "memory://data/a.txt", f"file://{here}/local.txt"]})
    folder_vault.save("inputs", frame, files="file", copy=True)
    assert folder_vault.files("inputs")["size_bytes"].tolist() == [4, 9, 4]
    assert folder_vault.files("inputs")["folder"].notna().tolist() == [True, False, False]
    assert folder_vault.read("inputs")["file"].tolist() == frame["file"].tolist()
    folder_vault.append("inputs", pd.DataFrame({"file": ["memory://data/b.txt"]}), files="file")
    assert folder_vault.files("inputs")["stored"].tolist() == [True, True, True, False]


def test_passwords_in_addresses_are_masked(folder_vault, storage, monkeypatch):
    from fsspec import core

    monkeypatch.setattr(core, "url_to_fs", lambda address: (storage, "/data/a.txt"))
    addresses = ["sftp://ann:hunter2@host/a.txt", "https://host/a.txt?sig=topsecret&v=1"]
    folder_vault.save("inputs", pd.DataFrame({"file": addresses}), files="file")
    assert folder_vault.read("inputs")["file"].tolist() == [
        "sftp://ann:[masked]@host/a.txt",
        "https://host/a.txt?sig=[masked]&v=1",
    ]
    monkeypatch.setattr(core, "url_to_fs", lambda address: (storage, "/data/gone.txt"))
    with pytest.raises(tv.FileMissing, match="is not there") as error:
        folder_vault.save("inputs", pd.DataFrame({"file": addresses}), files="file")
    assert "hunter2" not in str(error.value)
    folder_vault.delete("inputs")


@pytest.mark.parametrize(
    ("address", "error", "told"),
    [
        ("memory://data/none.txt", tv.FileMissing, "is not there"),
        ("memory://data", tv.FileMissing, "is a folder"),
        ("nosuch://data/a.txt", tv.UnsupportedColumn, "no address that fsspec knows"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_written(folder_vault, storage, address, error, told):
    with pytest.raises(error, match=told):
        folder_vault.save("inputs", pd.DataFrame({"file": ["memory://data/a.txt", address]}), files="file")
    assert "inputs" not in folder_vault


def test_without_fsspec_the_extra_is_named(folder_vault, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(tv.MissingDependency, match=r"tablevault-pd\[fsspec\]"):
        folder_vault.save("inputs", pd.DataFrame({"file": ["s3://bucket/key"]}), files="file")
