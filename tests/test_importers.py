"""Runs that other trackers wrote themselves are imported once, with what is left out named. They are not among the test tools:
MLflow and TensorBoard bring a hundred packages; where they are installed these tests run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.importers import runs
from tablevault_pd.importers.runs import value_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.1", 0.1), ("3", 3), ("True", True), ("None", None), ("[1, 'a']", [1, "a"]), ("{'a': 1}", {"a": 1}), ("adam", "adam"),
     ("'adam'", "'adam'"), ("(1, 2)", "(1, 2)"), ("{1: 2}", "{1: 2}"), ("__import__('os')", "__import__('os')"), ("", "")],
)  # fmt: skip
def test_parameters_that_were_texts_become_values(text, expected):
    value = value_of(text)
    assert (value, type(value)) == (expected, type(expected))


def goes_on_after_interrupts(monkeypatch, here, bring_in):
    """Interrupt an import at its first writes, one after the other, and then let it end: it has all, and nothing twice."""

    def content(place):
        with tv.connect(place, mode="r") as vault:
            frames = {name: vault.read(name).drop(columns="file", errors="ignore") for name in vault}
            curves = {label: vault.run(label).curve() for label in vault.sessions()["session"]}
            return frames | curves

    bring_in(here / "whole")
    left = [0]

    def interrupting(function):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patches:
        for owner, name in ((tv.Vault, "save"), (tv.Vault, "append"), (runs, "add_metric")):
            patches.setattr(owner, name, interrupting(getattr(owner, name)))
        for allowed in (0, 1, 2):
            left[0] = allowed
            with pytest.raises(KeyboardInterrupt):
                bring_in(here / "interrupted")
    bring_in(here / "interrupted")
    ours, theirs = content(here / "interrupted"), content(here / "whole")
    assert ours.keys() == theirs.keys()
    for name, frame in theirs.items():
        pd.testing.assert_frame_equal(ours[name], frame, obj=name)


def test_event_files_of_tensorboard_are_imported(here, monkeypatch):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    writers = pytest.importorskip(
        "tensorboardX", reason="tensorboardX, which writes event files, is not installed"
    )
    for run, scale in (("a", 1.0), ("b/c", 2.0)):
        with writers.SummaryWriter(str(here / "logs" / run)) as writer:
            for step in range(3):
                writer.add_scalar("loss/train", scale / 2**step, step, walltime=1_700_000_000 + step)
            writer.add_text("note", f"hello {run}", 1)
            writer.add_histogram("weights", pd.Series(range(10)).to_numpy(), 0)
    with writers.SummaryWriter(str(here / "logs")) as writer:
        writer.add_hparams({"lr": 0.5, "opt": "adam", "flag": True}, {"acc": 0.75}, name="tuned")
    report = tv.import_tensorboard(here / "logs", here / "v")
    assert report["session"].tolist() == ["logs/a#1", "logs/b/c#1", "logs/tuned#1"]
    assert report["values"].tolist() == [3, 3, 1]
    assert report["left_out"].tolist() == ["1 histograms", "1 histograms", ""]
    with tv.connect(here / "v", mode="r") as vault:
        curve = vault.run("logs/b/c").curve("loss/train")
        assert curve["value"].tolist() == [2.0, 1.0, 0.5]
        assert curve["step"].tolist() == [0, 1, 2]
        assert curve["time"].dt.second.tolist() == [20, 21, 22]
        assert vault.run("logs/tuned").params == {"lr": 0.5, "opt": "adam", "flag": True}
        assert vault.read("logs/texts")["text"].tolist() == ["hello a", "hello b/c"]
        before = vault.versions(), vault.sessions()
    with writers.SummaryWriter(
        str(here / "logs" / "a"), filename_suffix=".later"
    ) as writer:  # may be in the same second
        writer.add_scalar("loss/train", 0.125, 3, walltime=1_700_000_003)
    assert tv.import_tensorboard(here / "logs", here / "v")["values"].tolist() == [1, 0, 0]
    with tv.connect(here / "v", mode="r") as vault:
        assert vault.versions()["list"].tolist() == before[0]["list"].tolist()
        assert len(vault.sessions()) == len(before[1])
        assert vault.run("logs/a").curve("loss/train")["value"].tolist() == [1.0, 0.5, 0.25, 0.125]
    goes_on_after_interrupts(monkeypatch, here, lambda target: tv.import_tensorboard(here / "logs", target))
    (here / "empty").mkdir()
    with pytest.raises(tv.InvalidInput, match="no event files"):
        tv.import_tensorboard(here / "empty", here / "v")


def test_runs_of_mlflow_are_imported(here, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    uri = f"sqlite:///{here / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("digits", artifact_location=(here / "artifacts").as_uri())
    mlflow.set_experiment("digits")
    with mlflow.start_run(run_name="outer") as outer:
        mlflow.log_params({"lr": 0.1, "opt": "adam", "layers": [1, 2]})
        mlflow.set_tag("team", "vision")
        for step in range(3):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_text("hi", "notes/a.txt")
        mlflow.log_table(pd.DataFrame({"text": ["x", "y"], "n": [1, 2]}), "preds.json")
        with mlflow.start_run(run_name="inner", nested=True):
            mlflow.log_metric("loss", 5.0)
    with pytest.raises(RuntimeError), mlflow.start_run(run_name="outer"):
        mlflow.log_table(pd.DataFrame({"text": ["z"], "n": [3]}), "preds.json")
        raise RuntimeError
    report = tv.import_mlflow(uri, here / "v")
    assert report["session"].tolist() == ["digits/outer#1", "digits/inner#1", "digits/outer#2"]
    assert report["values"].tolist() == [3, 1, 0]
    assert not report["left_out"].any()
    with tv.connect(here / "v", mode="r") as vault:
        sessions = vault.sessions()
        assert sessions["state"].tolist() == ["finished", "finished", "failed"]
        run = vault.run("digits/outer#1")
        assert run.params == {"lr": 0.1, "opt": "adam", "layers": [1, 2]}
        assert run.tags == ("team=vision",)
        assert run.curve("loss")["value"].tolist() == [1.0, 0.5, 1 / 3]
        assert run.environment["mlflow_run_id"] == outer.info.run_id
        assert vault.run("digits/inner").parent == "digits/outer#1"
        assert vault.read("digits/outer/preds.json").to_dict("list") == {"text": ["x", "y"], "n": [1, 2]}
        assert vault.read("digits/outer#2/preds.json").to_dict("list") == {"text": ["z"], "n": [3]}
        kept = vault.read("mlflow/artifacts")
        assert kept["artifact"].tolist() == ["notes/a.txt"]
        assert vault.open_file(vault.files("mlflow/artifacts")["sha256"][0]).read() == b"hi"
        versions = vault.versions()
    assert tv.import_mlflow(uri, here / "v")["values"].tolist() == [0, 0, 0]
    with tv.connect(here / "v", mode="r") as vault:
        assert vault.versions()["list"].tolist() == versions["list"].tolist()
        assert vault.check().loc[lambda found: found["severity"] == "damage"].empty
    goes_on_after_interrupts(monkeypatch, here, lambda target: tv.import_mlflow(uri, target))


TRACKIO = """
import sys, numpy, pandas, trackio
for number in range(int(sys.argv[1]), int(sys.argv[2])):
    trackio.init(project="digits", name=f"run{number}", config={"lr": 0.5 * number, "opt": {"name": "adam"}})
    for step in range(3):
        trackio.log({"loss": 1 / (step + 1), "val": {"acc": step / 4}, "note": "x"})
    image = trackio.Image(numpy.zeros((2, 2, 3), dtype=numpy.uint8), caption="black")
    table = pandas.DataFrame({"a": [1, 2], "seen": [trackio.Image(numpy.ones((2, 2, 3), dtype=numpy.uint8))] * 2})
    trackio.log({"loss": float("inf"), "preds": trackio.Table(dataframe=table), "image": image}, step=10)
    trackio.log({"spread": trackio.Histogram([1.0, 2.0])}, step=11)
    trackio.finish()
"""


def test_projects_of_trackio_are_imported(here, monkeypatch):
    pytest.importorskip("trackio", reason="Trackio is not installed")

    def write(*numbers):
        environment = {**os.environ, "TRACKIO_DIR": str(here / "trackio")}
        subprocess.run([sys.executable, "-c", TRACKIO, *map(str, numbers)], env=environment, check=True)

    write(1, 2)
    assert tv.import_trackio(here / "trackio", here / "v")["values"].tolist() == [7]
    write(2, 3)
    report = tv.import_trackio(here / "trackio", here / "v")
    assert report["session"].tolist() == ["digits/run1#1", "digits/run2#1"]
    assert report["values"].tolist() == [0, 7]
    assert report["rows"].tolist() == [2, 2]
    assert report["left_out"].tolist() == ["", ""]
    with tv.connect(here / "v", mode="r") as vault:
        run = vault.run("digits/run2")
        assert run.params == {"lr": 1.0, "opt": {"name": "adam"}}
        assert run.state == "finished"
        curve = run.curve("loss")
        assert curve["step"].tolist() == [0, 1, 2, 10]
        assert curve["value"].tolist() == [1.0, 0.5, 1 / 3, float("inf")]
        assert run.curve("val.acc")["value"].tolist() == [0.0, 0.25, 0.5]
        assert vault.read("digits/run2/preds")[["a", "step"]].to_dict("list") == {
            "a": [1, 2],
            "step": [10, 10],
        }
        others = vault.read("digits/values")
        assert others["session"].tolist() == ["digits/run1#1"] * 4 + ["digits/run2#1"] * 4
        assert others["type"].tolist() == ["text", "text", "text", "histogram"] * 2
        assert others["value"][0] == "x"
        media = vault.read("digits/media")
        assert media.loc[media["name"] == "image", "caption"].tolist() == ["black", "black"]
        assert set(media["name"]) == {"image", "preds"}
        for name, digest in vault.files("digits/media")[["path", "sha256"]].to_numpy():
            assert vault.open_file(digest).read() == Path(name).read_bytes()
        before = vault.versions().drop(columns="confirmed")
    goes_on_after_interrupts(monkeypatch, here, lambda target: tv.import_trackio(here / "trackio", target))
    shutil.rmtree(here / "trackio" / "media")
    report = tv.import_trackio(here / "trackio", here / "v")
    assert report["values"].tolist() == [0, 0]
    assert not report["left_out"].any()  # what is kept already is not missed
    with tv.connect(here / "v", mode="r") as vault:
        pd.testing.assert_frame_equal(vault.versions().drop(columns="confirmed"), before)
    assert (
        tv.import_trackio(here / "trackio", here / "w")["left_out"]
        .str.contains("files that are not there")
        .all()
    )


def test_what_is_no_project_of_trackio_is_refused(here):
    (here / "none").mkdir()
    with pytest.raises(tv.InvalidInput, match="no projects"):
        tv.import_trackio(here / "none", here / "v")
    (here / "none" / "x.db").write_bytes(b"no database" * 100)
    with pytest.raises(tv.InvalidInput, match=r"x\.db cannot be read"):
        tv.import_trackio(here / "none", here / "v")


def test_a_tool_that_is_not_there_is_named(here, monkeypatch):
    (here / "logs").mkdir()
    for name in ("mlflow", "mlflow.exceptions", "tensorboard", "tensorboard.backend.event_processing"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(tv.MissingDependency, match="pip install mlflow"):
        tv.import_mlflow("sqlite:///none.db", here / "v")
    with pytest.raises(tv.MissingDependency, match="pip install tensorboard"):
        tv.import_tensorboard(here / "logs", here / "v")
    assert not (here / "v").exists()
