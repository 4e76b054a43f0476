"""Sessions as people ask for them: names, patterns, frames, filters; one run to read; tags; what this process just did."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.store import Session

BIG = 2**53 + 1


@pytest.fixture
def runs(vault):
    """Three runs of train, of which the last lives, one of tune, and sweep-1 and sweep-2; each wrote a row of a list."""
    for lr in (0.1, 0.2):
        with vault.session("train", params={"lr": lr}) as s:
            s.log(step=1, loss=lr)
            vault.append("rows", {"by": s._recorder.label})
    for name in ("tune", "sweep-1", "sweep-2"):
        with vault.session(name, parent="train#1") as s:
            vault.append("rows", {"by": s._recorder.label})
    with vault.session("train", params={"lr": 0.3}) as s:
        vault.append("rows", {"by": s._recorder.label})
        yield vault


def labels(frame: pd.DataFrame) -> list[str]:
    return frame["session"].tolist()


# -- one rule for who is meant


WHICH = [
    ("train", ["train#1", "train#2", "train#3"]),
    ("train#2", ["train#2"]),
    ("sweep-*", ["sweep-1#1", "sweep-2#1"]),
    ("*#2", ["train#2"]),
    ("t[ru]*#1", ["train#1", "tune#1"]),
    (["tune", "train#2", "sweep-?"], ["train#2", "tune#1", "sweep-1#1", "sweep-2#1"]),
    (("train#1", "train"), ["train#1", "train#2", "train#3"]),
    (["train#1", "train#2", "tune", "sweep-1", "tune"], ["train#1", "train#2", "tune#1", "sweep-1#1"]),
    ("nobody-*", []),
    ([], []),
]


def test_whatever_reads_sessions_means_the_same(runs):
    for which, expected in WHICH:
        assert labels(runs.sessions(which)) == expected
        assert runs.cells(which).session.unique().tolist() == expected
        assert sorted(runs.search(session=which, lists="rows", columns=["by"]).by) == sorted(expected)
        children = runs.sessions(parent=which).name.tolist()
        assert children == (["tune", "sweep-1", "sweep-2"] if "train#1" in expected else [])


def test_frames_rows_columns_ids_and_sessions_mean_sessions(runs):
    frame = runs.sessions("train")
    key = runs.run("train#2").id
    for which in (
        frame.iloc[[1]],
        frame.iloc[1],
        frame.set_index("session").iloc[[1]],
        frame.session.iloc[[1]],
        frame.session.to_numpy()[[1]],
        runs.versions("rows").query("session == 'train#2'"),
        key,
        np.int64(key),
        [key],
        runs.run("train#2"),
        [runs.run("train#2"), "train#2"],
    ):
        assert labels(runs.sessions(which)) == ["train#2"]
        assert runs.search(session=which, lists="rows", columns=["by"]).by.tolist() == ["train#2"]
        assert runs.run(which).label == "train#2"
    assert labels(runs.sessions(frame)) == labels(frame)
    missing = pd.DataFrame({"session": ["train#1", None, np.nan]})
    assert labels(runs.sessions(missing)) == ["train#1"]


NOBODY = [
    ("trian", "Did you mean 'train'"),
    ("trian#2", "Did you mean 'train'"),
    ("train#9", "its runs are 1 to 3"),
    ("\ud800", "No session"),
    ("x" * 5000, "No session"),
    (987654, "id 987654"),
    (["train", "tunee"], "Did you mean 'tune'"),
    (pd.DataFrame({"session": ["train#1", "gone#1"]}), "gone#1"),
]


def test_who_is_not_there_is_an_error_everywhere(runs):
    calls = (
        runs.sessions,
        runs.cells,
        runs.sources,
        runs.run,
        runs.stop,
        lambda which: runs.sessions(parent=which),
        lambda which: runs.search(session=which),
        lambda which: runs.tag(which, "x"),
        lambda which: runs.session("new", parent=which),
        lambda which: runs.session(resume=which),
    )
    for which, said in NOBODY:
        for call in calls:
            with pytest.raises(tv.SessionNotFound, match=said):
                call(which)


def test_what_means_no_session_is_refused(runs):
    for which in (True, 1.5, b"train", {"train": 1}, object(), pd.DataFrame({"x": [1]}), [None]):
        for call in (runs.sessions, runs.cells, runs.run, runs.stop):
            with pytest.raises(tv.InvalidInput, match="session"):
                call(which)


def test_a_session_of_another_vault_is_refused(runs):
    with tv.connect("other.vault") as other, other.session("train") as theirs:
        theirs.log(loss=1)
        for which in (theirs, other.run("train")):
            with pytest.raises(tv.InvalidInput, match="another vault"):
                runs.sessions(which)


def test_a_request_means_those_that_live_and_a_run_and_a_tag_the_latest(runs):
    far = runs.store.open_session(Session("train", "u", "elsewhere", 1, datetime.now(UTC)))
    assert labels(runs.pause("train")) == ["train#3", "train#4"]
    runs.store.update_session(far.id, heartbeat=datetime(2020, 1, 1, tzinfo=UTC))
    assert labels(runs.pause("tr*")) == ["train#3"]  # the fourth is lost
    assert labels(runs.pause("train#1")) == ["train#1"]
    assert labels(runs.pause(["tune", "tr*"])) == ["tune#1", "train#3"]
    assert runs.pause("tune").state.tolist() == ["finished"]
    runs.resume("train")
    assert runs.run("train").label == "train#4"
    assert runs.run("train").state == "lost"
    assert runs.tag("train", "best").name.tolist() == ["train#4"]
    assert runs.tag(["sweep-*", "train#1"], "kept").name.tolist() == ["train#1", "sweep-1#1", "sweep-2#1"]
    with pytest.raises(tv.InvalidInput, match="means 2: sweep-1#1, sweep-2#1"):
        runs.run("sweep-*")
    with pytest.raises(tv.SessionNotFound):
        runs.run("nobody-*")


def test_times_include_the_first_and_exclude_the_last(runs):
    started = runs.sessions("train").started
    assert labels(runs.sessions("train", since=started[1], until=started[2])) == ["train#2"]
    committed = runs.versions("rows").time
    found = runs.search(session="*", since=committed[1], until=committed[2], columns=["by"])
    assert found.by.tolist() == ["train#2"]
    for call in (runs.sessions, lambda **options: runs.search("x", **options)):
        for wrong in (pd.NaT, np.datetime64("NaT", "ns"), "soon", float("nan")):
            with pytest.raises(tv.InvalidInput):
                call(since=wrong)
            with pytest.raises(tv.InvalidInput):
                call(until=wrong)


# -- columns


def test_parameters_keep_their_type_whoever_lacks_them(vault):
    for name, params in {
        "a": {
            "seed": BIG,
            "on": True,
            "text": "x",
            "lr": 1,
            "mixed": 1,
            "opt": {"name": "sgd", "n": BIG},
            "l": [1],
        },
        "b": {"seed": -1, "lr": 0.5, "mixed": "x", "unsigned": 2**63, "huge": 2**70, "opt": {"name": "adam"}},
        "c": {"opt": {}, "seed": None},
    }.items():
        with vault.session(name, params=params):
            pass
    found = vault.sessions(["a", "b", "c"])
    kinds = {name[7:]: str(kind) for name, kind in found.dtypes.items() if name.startswith("params.")}
    text = "str" if pd.__version__ >= "3" else "object"
    assert kinds == {
        "seed": "Int64", "on": "boolean", "text": text, "lr": "float64", "mixed": "object", "opt.name": text, "opt.n": "Int64",
        "l": "object", "unsigned": "UInt64", "huge": "object", "opt": "object",
    }  # fmt: skip
    assert found["params.seed"].tolist() == [BIG, -1, pd.NA]
    assert found["params.opt.n"][0] == BIG
    assert found["params.unsigned"][1] == 2**63
    assert found["params.huge"][1] == 2**70
    assert found["params.mixed"].tolist()[:2] == [1, "x"]
    assert found["params.lr"].tolist()[:2] == [1.0, 0.5]
    for filters, expected in {
        f"params.seed == {BIG}": ["a#1"],
        f"params.seed == {BIG - 1}": [],
        "params.opt.name == 'adam' and params.lr < 1": ["b#1"],
    }.items():
        assert labels(vault.sessions(filters=filters)) == expected
    for term, expected in {
        ("params.seed", "==", BIG): ["a#1"],
        ("params.seed", "==", BIG - 1): [],
        ("params.opt.n", "==", BIG): ["a#1"],
        ("params.opt.name", "in", ("adam", "x")): ["b#1"],
        ("params.on", "==", True): ["a#1"],
        ("params.unsigned", "==", 2**63): ["b#1"],
        ("session", "==", "b#1"): ["b#1"],
    }.items():
        assert labels(vault.sessions(filters=[term])) == expected
    assert labels(vault.sessions(params={"seed": np.int64(BIG)})) == ["a#1"]
    assert labels(vault.sessions(params={"opt": {"name": "adam"}})) == ["b#1"]
    assert labels(vault.sessions(params={"opt.name": "adam"})) == ["b#1"]


def test_a_key_with_a_dot_and_a_nested_one_of_the_same_name_are_both_kept(vault):
    with vault.session("a", params={"opt.lr": 1, "opt": {"lr": 2}}):
        pass
    found = vault.sessions("a").iloc[0]
    assert found["params.opt.lr"] == 1
    assert found["params.opt"] == {"lr": 2}


def test_a_misspelt_column_is_an_error_and_an_empty_answer_has_its_columns(runs):
    for filters, near in {
        "metrics.los > 0": "metrics.loss",
        "params.lrr > 0": "params.lr",
        "stat == 'running'": "state",
    }.items():
        with pytest.raises(tv.InvalidFilter, match=near):
            runs.sessions(filters=filters)
        name, operator, _ = filters.split()
        with pytest.raises(tv.InvalidFilter, match=near):
            runs.sessions(filters=[(name, operator, 1)])
    with pytest.raises(tv.InvalidFilter, match="Did you mean 'lr'"):
        runs.sessions(params={"lrr": 0.1})
    full = runs.sessions()
    with pytest.warns(UserWarning, match="None of the sessions of this vault has the tag 'no such tag'"):
        untagged = runs.sessions(tags="no such tag")
    for empty in (
        runs.sessions("nobody-*"),
        runs.sessions([]),
        untagged,
        runs.sessions("train", state="failed"),
        runs.sessions(params={"lr": 9}),
        runs.sessions(filters="metrics.loss > 9"),
        runs.sessions(filters=[("params.lr", ">", 9)]),
        runs.sessions("tune", filters="metrics.loss > 0"),  # others have it
        runs.sessions(code="no such code"),
    ):
        assert empty.empty
        assert set(empty.columns) == set(full.columns)
        assert empty["metrics.loss"].dtype == "float64"
        assert empty["run"].dtype == "Int64"


def test_an_unknown_tag_is_told_and_lists_in_columns_are_not_compared(vault):
    with vault.session("a", tags=["best", "seed"]):
        vault.save("rows", {"n": 1}, tags=["gold"])
    with (
        vault.session("b", tags=["seed"]),
        pytest.warns(UserWarning, match="'bets'. Did you mean 'best'") as told,
    ):
        assert vault.sessions(tags=["seed", "bets"]).empty
        assert vault.metrics(tags="bets").empty
    assert {Path(warning.filename) for warning in told} == {Path(__file__)}
    with pytest.warns(
        UserWarning, match="None of the lists of this vault has the tag 'godl'. Did you mean 'gold'"
    ):
        assert vault.lists(tags="godl").empty
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert vault.sessions(tags=["best", "seed"])["session"].tolist() == ["a#1"]
        assert vault.sessions("b", tags="best").empty  # another one has it
        assert vault.lists(tags="gold")["name"].tolist() == ["rows"]
    for filters in (
        "tags == 'best'",
        "'best' in tags",
        "tags != 'best' and run == 1",
        [("tags", "in", ["best"])],
    ):
        with pytest.raises(tv.InvalidFilter, match=r"several values in each row.*vault.sessions\(tags='x'\)"):
            vault.sessions(filters=filters)
    with pytest.raises(tv.InvalidFilter, match=r"found\['reads'\].map"):
        vault.sessions(filters="reads == 'rows@1'")
    with pytest.raises(tv.InvalidFilter, match=r"vault.lists\(kind='x'\)"):
        vault.lists(filters="kinds == 'record'")
    assert vault.sessions(filters="tags.str.len() > 1")["session"].tolist() == ["a#1"]


def test_what_a_session_ran_in_are_columns(vault):
    with vault.session("a"):
        pass
    found = vault.sessions("a", info=True).iloc[0]
    assert found.cwd == os.getcwd()
    assert found.python == platform.python_version()
    assert isinstance(found.argv, list)
    assert found.packages["pandas"] == pd.__version__
    assert vault.sessions("nobody-*", info=True).columns[16:24].tolist() == [
        "argv", "cwd", "python", "packages", "git_commit", "git_branch", "git_dirty", "git_recorded",
    ]  # fmt: skip


def test_the_git_state_is_read_from_a_session_that_has_just_begun(here):
    script = here / "train.py"
    script.write_text(
        "import sys, tablevault_pd as tv\n"
        "with tv.connect('v') as vault:\n"
        "    row = vault.sessions('train', info=True).iloc[0]\n"
        "    print(row.git_commit, row.git_branch, row.git_dirty, row.argv[1:], vault.run('train').environment['git_commit'])\n"
    )
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q", "-b", "work"], ["add", "train.py"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    script.write_text(script.read_text() + "# changed\n")
    done = subprocess.run([sys.executable, "train.py", "--fast"], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [commit, "work", "True", "['--fast']", commit]
    assert not done.stderr


# -- parameters and tags


@dataclass
class Optimizer:
    name: str = "sgd"
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass
class Config:
    lr: float = 0.1
    optimizer: Optimizer = field(default_factory=Optimizer)


def test_params_of_numpy_are_plain_and_what_never_ends_is_refused(vault):
    given = {
        "long": np.longdouble("0.5"), "time": np.datetime64("2020-01-02", "ns"), "span": np.timedelta64(5, "ns"), "text": np.str_("a"),
        "times": np.array(["2020-01-02"], dtype="M8[ns]"), "one": np.array(7), "many": np.array([[1, 2]]), "complex": np.clongdouble(1),
    }  # fmt: skip
    with vault.session("numpy", params=given) as s:
        assert dict(s.params) == {
            "long": 0.5, "time": "2020-01-02T00:00:00.000000000", "span": "5 nanoseconds", "text": "a",
            "times": ["2020-01-02T00:00:00.000000000"], "one": 7, "many": [[1, 2]], "complex": str(np.clongdouble(1)),
        }  # fmt: skip
    endless: dict[str, object] = {}
    endless["itself"] = [endless]
    deep: list[object] = []
    for _ in range(3000):
        deep = [deep]
    for value in (endless, deep):
        with pytest.raises(tv.InvalidInput, match="nested more than"):
            vault.session("endless", params={"p": value})
    shared = {"a": 1}
    with vault.session("shared", params={"x": shared, "y": shared}) as s:
        assert dict(s.params) == {"x": shared, "y": shared}


def test_params_are_a_dict_a_dataclass_or_a_namespace(vault):
    expected = {"lr": 0.1, "optimizer": {"name": "sgd", "betas": [0.9, 0.99]}}
    nested = SimpleNamespace(name="sgd", betas=(0.9, 0.99))
    for params in (
        expected,
        Config(),
        argparse.Namespace(lr=0.1, optimizer=nested),
        {"lr": 0.1, "optimizer": Optimizer()},
    ):
        with vault.session("a", params=params):
            pass
        assert vault.run("a").params == expected
        assert len(vault.sessions("a#1", params=params)) == 1
    for wrong in (5, "lr=0.1", [("lr", 0.1)], Config):
        with pytest.raises(tv.InvalidInput, match="params="):
            vault.session("a", params=wrong)
        with pytest.raises(tv.InvalidInput, match="params="):
            vault.sessions(params=wrong)
    with pytest.raises(tv.InvalidInput, match="same text"):
        vault.session("a", params={"map": {1: "a", "1": "b"}})


def test_what_is_set_is_kept_or_refused_but_never_lost(vault):
    s = vault.session("a", params={"deep": {"x": 1}})
    s.params["before"] = 1
    s.tags = "before"
    with s:
        s.params["deep"]["x"] = 2  # inside of a value
        s.params["deep"]["list"] = [1]
    assert vault.run("a").params == {"deep": {"x": 2, "list": [1]}, "before": 1}
    assert vault.run("a").tags == ("before",)
    for change in (
        lambda: setattr(s, "tags", "late"),
        lambda: s.params.update(late=1),
        lambda: s.params.pop("before"),
        lambda: s.log(late=1),
    ):
        with pytest.raises(tv.VaultClosed, match="ended"):
            change()
    assert vault.run("a").tags == ("before",)
    assert "late" not in vault.run("a").params


def test_tags_of_sessions_and_versions_change_whenever(vault):
    with vault.session("a", tags=["draft", "x"]) as s:
        shown = vault.tag("a", "best", "x", remove="draft")
        assert s.tags == ("x", "best")
        for number in range(3):
            vault.append("preds", {"n": number})
    assert shown.to_dict("list") == {"name": ["a#1"], "tags": [["x", "best"]]}
    assert vault.tag("a#1", "late", remove=["x", "never there"]).tags.item() == ["best", "late"]
    assert vault.sessions(tags=["best", "late"]).session.tolist() == ["a#1"]
    assert vault.tag("preds@2", "gold").name.item() == "preds@2"
    assert vault.tag([vault["preds"], "a"], "new").name.tolist() == ["a#1", "preds@3"]
    assert vault.versions("preds").tags.tolist() == [[], ["gold"], ["new"]]
    assert vault.lists().tags.item() == ["new"]
    with vault.session(resume="a"):
        pass
    assert vault.run("a").tags == ("best", "late", "new")
    with pytest.raises(tv.VersionNotFound):
        vault.tag("preds@9", "x")
    with pytest.raises(tv.ListNotFound):
        vault.tag("perds@1", "x")
    for wrong in ((), (5,), ("",)):
        with pytest.raises(tv.InvalidInput):
            vault.tag("a", *wrong)
    with pytest.raises(tv.InvalidInput, match="'x'"):
        vault.tag("a", "x", remove="x")


def test_tags_that_several_add_at_once_are_all_there(vault):
    with vault.session("a"):
        pass
    threads = [threading.Thread(target=vault.tag, args=("a", f"t{number}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(vault.run("a").tags) == [f"t{number}" for number in range(8)]


# -- a session that has not begun


def test_a_session_that_is_not_used_leaves_no_trace(vault):
    before = labels(vault.sessions())
    s = vault.session("train", params={"lr": 0.1})
    assert repr(s) == "<Session 'train': not begun>"
    assert s.name == "train"
    assert not s._recorder.ended
    s.params["more"] = 1
    s._repr_html_()
    s._recorder.end()
    assert labels(vault.sessions()) == before
    for use in (lambda: s.id, lambda: s.log(loss=1), s.__enter__, s.checkpoint):
        with pytest.raises(tv.VaultClosed, match="ended"):
            use()
    with pytest.raises(tv.SessionNotFound):
        vault.run("train")


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s.log(loss=1),
        lambda s: s.checkpoint(),
        lambda s: s.id,
        lambda s: s._recorder.label,
        lambda s: s.__enter__(),
    ],
)
def test_its_first_use_begins_it(vault, use):
    s = vault.session("train", params={"lr": 0.1}, tags="t")
    use(s)
    use(s)
    found = vault.sessions("train")
    assert found.state.tolist() == ["running"]
    assert found["params.lr"].item() == 0.1
    assert found.tags.item() == ["t"]
    s.__exit__(None, None, None)
    assert vault.sessions("train").state.tolist() == ["finished"]


def test_threads_that_use_it_first_begin_one(vault):
    s = vault.session("train")
    threads = [threading.Thread(target=s.log, kwargs={"loss": number}) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    s._recorder.end()
    assert labels(vault.sessions("train*")) == ["train#1"]
    assert sorted(vault.run("train").curve("loss").value) == list(range(8))


def test_one_run_is_resumed_however_it_ended(vault):
    for number in range(2):
        with vault.session("train", params={"n": number}) as s:
            s.log(step=0, loss=number)
    with vault.session(resume="train#1", params={"more": 1}) as s:
        assert s._recorder.label == "train#1"
        s.log(step=1, loss=9)
    first = vault.run("train#1")
    assert first.state == "finished"
    assert first.params == {"n": 0, "more": 1}
    assert first.curve("loss").value.tolist() == [0, 9]
    assert labels(vault.sessions("train")) == ["train#1", "train#2"]
    with vault.session("train", resume=vault.sessions("train").iloc[1]) as s:
        assert s._recorder.label == "train#2"
        with pytest.raises(tv.Conflict, match="still running"):
            vault.session(resume="train#2")
    with pytest.raises(tv.InvalidInput, match="called 'other'"):
        vault.session("other", resume="train#1")


def test_a_vault_without_a_session_of_its_own(here):
    with tv.connect("v", session=False) as vault:
        vault.save("a", {"x": 1})
        tv.checkpoint()
        with pytest.raises(tv.InvalidInput, match="session=False"):
            tv.log(loss=1)
        assert vault.stop("*").empty
        assert vault.sessions().empty
        with vault.session("mine", params={"api_key": "topsecret"}) as s:
            tv.log(loss=1)
            vault.append("a", {"x": 2})
        assert vault.versions("a").session.fillna("").tolist() == ["", s._recorder.label]
        assert vault.run("mine").metrics == {"loss": 1.0}
        assert vault.run("mine").params == {"api_key": "[masked]"}


# -- one run, to read


def test_a_run_is_read_as_it_was(vault):
    news = vault.save("news", ["Storm", "Sun"])
    with (
        vault.session("outer"),
        suppress(ValueError),
        vault.session("train", params={"opt": {"lr": 0.1}}, tags=["a"]) as s,
    ):
        s.log(step=0, loss=2.0, acc=0.5)
        s.log(step=1, loss=1.0)
        s.log(loss=0.5)
        vault.read("news")
        vault.save("short", {"n": 1})
        raise ValueError("too short")
    run = vault.run("train")
    assert (run.label, run.name, run.run, run.state, run.parent) == (
        "train#1",
        "train",
        1,
        "failed",
        "outer#1",
    )
    assert run.error == "ValueError: too short"
    assert run.params == {"opt": {"lr": 0.1}}
    assert run.tags == ("a",)
    assert run.metrics == {"acc": 0.5, "loss": 0.5}
    assert run.started <= run.ended <= pd.Timestamp.now("UTC") + pd.Timedelta("1min")
    loss = run.curve("loss")
    assert loss.columns.tolist() == ["step", "time", "value"]
    assert str(loss.step.dtype) == "Int64"
    assert loss.value.tolist() == [2.0, 1.0, 0.5]
    assert loss.step.isna().tolist() == [False, False, True]
    assert run.curve().groupby("metric").size().to_dict() == {"acc": 1, "loss": 3}
    with pytest.raises(tv.InvalidInput, match="'los'"):
        run.curve("los")
    assert run.written()[["list", "version"]].to_dict("list") == {"list": ["short"], "version": [1]}
    assert run.read().to_dict("list") == {"list": ["news"], "version": [news.version]}
    assert run.cells().columns.tolist() == vault.cells().columns.tolist()
    environment = run.environment
    assert environment["cwd"] == os.getcwd()
    assert environment["pid"] == os.getpid()
    assert environment["packages"]
    assert repr(run).splitlines() == [
        "<Session 'train#1': failed, ValueError: too short>",
        "  params: opt={'lr': 0.1}",
        "  metrics: acc=0.5, loss=0.5",
        "  tags: a",
    ]
    html = run._repr_html_()
    assert "train#1" in html
    assert "metrics.loss" in html
    assert "params.opt" in html
    empty = vault.run("outer")
    assert empty.metrics == {}
    assert empty.curve().empty
    assert empty.written().empty
    assert empty.read().empty


# -- what this process has just done


def test_the_next_call_sees_what_was_done(vault):
    for number in range(5):
        with vault.session("train") as s:
            s.log(step=number, loss=number)
            s.params["n"] = number
            s.tags = str(number)
            vault.read(vault.save("news", [f"text {number}"]).name)
            row = vault.sessions("train").iloc[-1]
            assert (row["metrics.loss"], row["params.n"], row.tags) == (number, number, [str(number)])
            assert row.reads == [f"news@{number + 1}"]
            s.log(step=number, loss=number + 0.5)
            assert vault.run(s).curve("loss").value.tolist() == [number, number + 0.5]
            s._recorder.cells.begin(f"answer = {number}", number)
            assert vault.cells(s).text.iloc[-1] == f"answer = {number}"
            saved = vault.read("news")
            assert saved.vault.sessions()["metrics.loss"].tolist() == [number + 0.5]
            assert labels(vault.sessions(code=f"answer {number}")) == [s._recorder.label]


def test_a_slow_store_keeps_nobody_from_reading(vault, monkeypatch):
    held, real = threading.Event(), vault.store.beat
    with vault.session("train") as s:
        vault._flush()  # no beat is under way that would take the value by the store's own method
        monkeypatch.setattr("tablevault_pd.session.heartbeat.FLUSH_S", 0.05)
        monkeypatch.setattr(vault.store, "beat", lambda beats: (held.wait(60), real(beats))[1])
        s.log(loss=1)
        with pytest.warns(RuntimeWarning, match=r"0\.05 s what .*train#1"):
            assert labels(vault.sessions("train")) == ["train#1"]
        held.set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            monkeypatch.setattr("tablevault_pd.session.heartbeat.FLUSH_S", 30.0)
            assert vault.run("train").metrics == {"loss": 1.0}


def test_a_session_that_only_stands_around_runs_of_its_name_is_none_of_them(vault):
    for lr in (0.1, 0.2):
        with vault.session("fit"), vault.session("fit", params={"lr": lr}) as run:
            run.log(loss=lr)
    assert vault.sessions("fit")["session"].tolist() == ["fit#2", "fit#4"]
    assert vault.sessions("fi*", only_changed=True)["params.lr"].tolist() == [0.1, 0.2]
    assert vault.sessions("fit#1")["session"].tolist() == ["fit#1"]
    assert len(vault.sessions(["fit"])) == len(vault.sessions(filters="name == 'fit'")) == 4


def test_a_session_around_runs_of_its_name_that_has_something_of_its_own_is_shown(vault):
    def around(inside=lambda: None, **options):
        with vault.session("fit", **options) as outer:
            with vault.session("fit"):
                pass
            inside()
        return outer

    shown = [
        around(params={"lr": 1}),
        around(tags="mine"),
        around(lambda: tv.log(loss=1.0)),
        around(lambda: vault.save("rows", {"x": 1})),
        around(lambda: vault.save("rows", {"x": 1})),  # confirms
    ]
    with pytest.raises(ZeroDivisionError):
        around(lambda: 1 / 0)
    left = vault.sessions("fit")["session"].tolist()
    assert {f"{run.name}#{run.run}" for run in shown} <= set(left)
    assert left[-2:] == ["fit#11", "fit#12"], "the one that failed, and the run in it"
    with vault.session("fit"):
        with vault.session("fit"):
            assert len(vault.sessions("fit", state="running")) == 1
        assert vault.sessions("fit", state="running")["session"].tolist() == ["fit#13"]
