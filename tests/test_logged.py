"""What sessions log beside numbers: tables, texts, figures and models, in lists of the session."""

from __future__ import annotations

import io
import pickle
import threading
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.errors import short_repr


def written(vault, name):
    """The commits of a list: (session, step)."""
    versions = vault.versions(name)
    return [
        (session, None if step is pd.NA else step)
        for session, step in zip(versions["session"], versions["step"], strict=True)
    ]


def test_tables_are_versions_and_texts_are_rows_with_session_and_step(vault):
    table = pd.DataFrame({"pred": [1, 0]})
    for _ in range(2):
        with vault.session("train") as s:
            s.log_table("preds", table, step=1, inputs=False)
            s.log_table("preds", table, step=1, inputs=False)  # repeated: no version
            with s.step(2):
                s.log_table("preds", table, inputs=False)
                s.log_text("note", "a storm")
            s.log_text("note", "sun")
    assert written(vault, "train/preds") == [("train#1", 1), ("train#1", 2), ("train#2", 1), ("train#2", 2)]
    pd.testing.assert_frame_equal(
        vault.read("train/preds@2").reset_index(drop=True), table, check_names=False
    )
    notes = vault.read("train/note")
    assert notes["session"].tolist() == ["train#1", "train#1", "train#2", "train#2"]
    assert notes["text"].tolist() == ["a storm", "sun"] * 2
    assert notes["step"].fillna(-1).tolist() == [2, -1] * 2
    assert set(vault.search("storm")["list"]) == {"train/note"}


def test_what_is_logged_belongs_to_its_session_wherever_it_is_called(vault):
    s = vault.session("outer")
    with s, vault.session("inner") as inner:
        s.log_text("note", "from the inner one")
        thread = threading.Thread(target=s.log_text, args=("note", "from a thread"))
        thread.start()
        thread.join()
        vault.save("inner_rows", {"x": 1})
        inner.step(5)
        s.log_text("note", "without a step")
    assert written(vault, "outer/note") == [("outer#1", None)] * 3
    assert written(vault, "inner_rows") == [("inner#1", None)]
    with pytest.raises(tv.VaultClosed, match="outer#1 has ended"):
        s.log_table("late", {"x": 1})
    assert "outer/late" not in vault


def test_tables_know_the_rows_they_were_made_from(folder_vault):
    vault = folder_vault
    vault.save("data", pd.DataFrame({"x": [1, 2, 3]}))
    with vault.session("train") as s:
        data = tv.read("data")
        s.log_table("odd", data[data["x"] != 2])
        s.log_text("note", "two odd numbers", inputs="data")
    odd = vault.read("train/odd").vault.parents()
    assert odd[["parent_list", "parent_position"]].to_numpy().tolist() == [["data", 0], ["data", 2]]
    assert set(vault.read("train/note").vault.parents()["parent_list"]) == {"data"}


def test_a_list_of_other_rows_is_not_appended_to(folder_vault):
    with folder_vault.session("train") as s:
        s.log_table("x", {"loss": 1})
        with pytest.raises(tv.SchemaMismatch):
            s.log_text("x", "words")
        with pytest.raises(tv.InvalidName):
            s.log_table("a@b", {"loss": 1})
    assert folder_vault["train/x"].version == 1


def test_a_model_comes_back_as_the_folder_it_was(vault, tmp_path):
    model = tmp_path / "model"
    (model / "only" / "deep").mkdir(parents=True)
    contents = {"only/config.json": b"{}", "only/deep/weights.bin": bytes(range(256)), "only/empty": b""}
    for name, content in contents.items():
        (model / name).write_bytes(content)
    with vault.session("train") as s:
        s.log_model("model", model, step=3, inputs=False)
        (model / "only" / "config.json").write_bytes(b'{"later": 1}')
        s.log_model("model", str(model), inputs=False)
        s.log_model("single", model / "only" / "empty", inputs=False)
    restored = vault.download("train/model@1", tmp_path / "restored")
    found = {path.relative_to(restored).as_posix(): path.read_bytes() for path in restored.rglob("*.*")}
    assert found | {"only/empty": (restored / "only/empty").read_bytes()} == contents
    assert (
        vault.download("train/model", tmp_path / "new") / "only/config.json"
    ).read_bytes() == b'{"later": 1}'
    assert [path.name for path in vault.download("train/single", tmp_path / "one").iterdir()] == ["empty"]
    assert written(vault, "train/model") == [("train#1", 3), ("train#1", None)]
    with pytest.raises(tv.InvalidInput, match="not an empty folder"):
        vault.download("train/model", restored)


def zipped(**members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def npy(array):
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


PICKLED = {
    "m.pkl": b"text", "M.JOBLIB": b"", "m.pt": b"", "m.ckpt": b"",
    "m.bin": pickle.dumps({"w": 1}, protocol=2), "m.dat": pickle.dumps([1]), "m.model": zipped(data=pickle.dumps(1)),
    "m.npy": npy(np.array([None, 1])), "m.npz": zipped(a=npy(np.array([{}]))),
}  # fmt: skip
HARMLESS = {
    "m.safetensors": (640).to_bytes(8, "little") + b'{"__metadata__"' + b" " * 640, "m.onnx": b"\x08\x07", "m.npy": npy(np.arange(3)),
    "m.keras": zipped(config=b"{}"), "m.txt": b"tree", "m.zip": b"PK\x03\x04 no zip", "m": b"\x80", "e": b"",
}  # fmt: skip


def test_pickles_are_refused_by_name_or_content_and_nothing_else_is(folder_vault, tmp_path):
    with folder_vault.session("train") as s:
        for name, content in PICKLED.items():
            (tmp_path / "bad").mkdir(exist_ok=True)
            file = tmp_path / "bad" / name
            file.write_bytes(content)
            with pytest.raises(tv.InvalidInput, match="is a pickle") as refused:
                s.log_model("bad", file.parent)
            assert short_repr(str(file)) in str(refused.value)
            assert "safetensors" in str(refused.value)
            file.unlink()
        with pytest.raises(tv.InvalidInput, match="no files"):
            s.log_model("bad", tmp_path / "bad")
        with pytest.raises(tv.FileMissing):
            s.log_model("bad", tmp_path / "gone")
        assert "train/bad" not in folder_vault
        (tmp_path / "good").mkdir()
        for name, content in HARMLESS.items():
            (tmp_path / "good" / name).write_bytes(content)
        s.log_model("good", tmp_path / "good", inputs=False)
    assert sorted(folder_vault.read("train/good")["path"]) == sorted(HARMLESS)


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out", "", "c:\\out", "a\\..\\out"])
def test_no_file_is_written_outside_of_the_folder(folder_vault, tmp_path, path):
    Path(tmp_path, "content").write_text("x")
    rows = pd.DataFrame({"path": [path], "file": [str(tmp_path / "content")]})
    folder_vault.save("model", rows, files="file", copy=True)
    with pytest.raises(tv.InvalidInput, match="leads out"):
        folder_vault.download("model", tmp_path / "a" / "b")
    assert not (tmp_path / "a" / "b").exists()


def test_files_that_a_list_keeps_are_written_into_a_folder(vault, tmp_path, monkeypatch):
    names = ["one.txt", "sub/one.txt", "sub/two.txt"]
    for name in names:
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    whole = [str(tmp_path / "here" / name) for name in names]
    vault.save(
        "absolute",
        pd.DataFrame({"path": whole, "mask": [whole[2], None, whole[2]]}),
        files=["path", "mask"],
        copy=True,
    )
    monkeypatch.chdir(tmp_path / "here")
    vault.save("relative", pd.DataFrame({"image": names[1:]}), files="image", copy=True)
    for name, expected in [("absolute", names), ("relative", names[1:])]:
        folder = vault.download(name, tmp_path / name)
        written = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.txt")}
        assert written == {path: f"content of {path}" for path in expected}
    vault.append("relative", pd.DataFrame({"image": [names[0]]}), files="image")
    with pytest.raises(
        tv.InvalidInput, match=r"relative@2 has 1 of 3 files without their content. .*copy=True"
    ):
        vault.download("relative", tmp_path / "c")
    vault.save("up", pd.DataFrame({"image": ["../here/one.txt"]}), files="image", copy=True)
    with pytest.raises(tv.InvalidInput, match="leads out"):
        vault.download("up", tmp_path / "c")
    vault.save("plain", {"path": "x"})
    with pytest.raises(tv.InvalidInput, match="plain@1 has no files"):
        vault.download("plain", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_figures_of_matplotlib_are_kept_as_pictures(folder_vault, tmp_path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1))
    axes = figure.subplots()
    with folder_vault.session("train") as s:
        for step in range(2):
            axes.plot([0, step])
            s.log_figure("curve", axes if step else figure, step=step, inputs=False)
        for wrong in (None, pd.DataFrame(), Figure, "x"):
            with pytest.raises(tv.InvalidInput, match="figure of Matplotlib"):
                s.log_figure("curve", wrong)
    logged = folder_vault.read("train/curve")
    assert logged["step"].tolist() == [0, 1]
    folder = folder_vault.download("train/curve", tmp_path / "figures")
    pictures = [(folder / path).read_bytes() for path in logged["path"]]
    assert len(set(pictures)) == 2
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


def test_figures_of_plotly_are_kept_as_pages(folder_vault, tmp_path):
    plotly = pytest.importorskip("plotly.graph_objects", reason="Plotly is not installed")
    with folder_vault.session("train") as s:
        s.log_figure("curve", plotly.Figure(plotly.Scatter(y=[17, 4711])), inputs=False)
    (page,) = folder_vault.download("train/curve", tmp_path / "figures").iterdir()
    assert page.suffix == ".html"
    assert "4711" in page.read_text()
