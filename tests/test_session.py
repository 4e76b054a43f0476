"""Sessions inside of one process: logging, parameters, who is meant, filters, requests, and how they look."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.session import requests
from tablevault_pd.session.control import reduce_requests
from tablevault_pd.session.params import Params
from tablevault_pd.store import NO_STEP, Beat, Cell, ControlRequest, Measures, Session


def logged(vault: tv.Vault, session: str) -> pd.DataFrame:
    return vault.store.measures([vault.store.sessions(name=session)[-1].id]).to_pandas()


# -- logging


def test_what_is_logged_comes_back_in_order(vault):
    with vault.session("train") as s:
        for step in range(1000):
            s.log(step=step, loss=1 / (step + 1), acc=step)
        s.log(acc=np.float32(0.5), loss=np.array([2.0]))
        s.log(step=np.int64(5), acc=True)
    found = logged(vault, "train")
    loss = found[found.metric == "loss"]
    assert loss.value.tolist() == [1 / (step + 1) for step in range(1000)] + [2.0]
    assert loss.step.iloc[:1000].tolist() == list(range(1000))
    assert pd.isna(loss.step.iloc[1000])
    assert found[found.metric == "acc"].value.tolist()[-2:] == [0.5, 1.0]
    assert (
        found.groupby("metric", observed=True).time.apply(lambda times: times.is_monotonic_increasing).all()
    )
    assert (datetime.now(UTC) - found.time.max()).total_seconds() < 60
    row = vault.sessions("train").iloc[0]
    assert (row["metrics.loss"], row["metrics.acc"]) == (2.0, 1.0)


def test_values_that_are_no_numbers_are_refused_where_they_are_logged(vault):
    with vault.session("train") as s:
        for wrong in ("high", None, [1, 2], object()):
            with pytest.raises(tv.InvalidInput, match="loss="):
                s.log(loss=wrong)
        with pytest.raises(tv.InvalidInput, match="step="):
            s.log(step=1.5, loss=1)
        s.log(loss=float("nan"), gain=float("inf"))
    assert np.isnan(logged(vault, "train").value.iloc[1]) or np.isnan(logged(vault, "train").value.iloc[0])
    row = vault.sessions("train").iloc[0]
    assert pd.isna(row["metrics.loss"])
    assert row["metrics.gain"] == np.inf
    with pytest.raises(tv.VaultClosed, match="has ended"):
        s.log(loss=1)


def test_many_threads_log_and_nothing_is_lost(vault):
    with vault.session("train") as s:

        def work(number: int) -> None:
            for step in range(5000):
                s.log(step=step, value=number)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    assert logged(vault, "train").value.value_counts().to_dict() == dict.fromkeys([0.0, 1.0, 2.0, 3.0], 5000)


def test_others_see_values_while_they_are_logged(vault):
    with vault.session("train") as s:
        s.log(loss=1)
        s.params["lr"] = 0.1
        s.tags = "fast"
        deadline = time.monotonic() + 60
        while "metrics.loss" not in (seen := vault.sessions("train")) and time.monotonic() < deadline:
            time.sleep(0.05)
        row = seen.iloc[0]
        assert (row["metrics.loss"], row["params.lr"], row.tags, row.state) == (1.0, 0.1, ["fast"], "running")


# -- parameters


def given_name():
    """A function that is given as a parameter."""


def test_parameters_are_kept_as_plain_values(vault):
    class Kind(Enum):
        A = 1

    given = {
        "lr": 0.1, "n": np.int64(3), "deep": {"a": (1, 2), 3: None}, "array": np.arange(2), "path": Path("x"), "kind": Kind.A,
        "api_key": "topsecret", "flag": True, "words": {"b", "a", "c", 10, 9}, "object": Path, "call": [given_name],
    }  # fmt: skip
    with vault.session("train", params=given, tags=["a", "b"]) as s:
        s.params["late"] = "x"
        del s.params["n"]
        assert dict(s.params) == {
            "lr": 0.1, "deep": {"a": [1, 2], "3": None}, "array": [0, 1], "path": "x", "kind": "Kind.A", "api_key": "[masked]",
            "flag": True, "late": "x", "words": [9, 10, "a", "b", "c"],
            "object": f"{Path.__module__}.Path", "call": ["test_session.given_name"],
        }  # fmt: skip
        with pytest.raises(KeyError):
            del s.params["n"]
        with pytest.raises(tv.InvalidInput):
            s.params[3] = 1
    assert vault.store.sessions(name="train")[0].params == dict(s.params)
    assert vault.sessions("train").tags.tolist() == [["a", "b"]]


class InOrder(frozenset):
    """A set whose order is chosen, as processes choose others for equal sets."""

    def __new__(cls, *items):
        made = super().__new__(cls, items)
        made.items = items
        return made

    def __iter__(self):
        return iter(self.items)

    def __repr__(self):
        return f"frozenset({list(self.items)})"


@pytest.mark.parametrize(
    "items", [(math.nan, 2.0, 1.0, 3.0), (None, "None", True, "True"), ("b", "a")], ids=str
)
def test_sets_are_alike_in_each_process_also_as_keys(items):
    orders = [InOrder(*order) for order in permutations(items)]
    assert len({json.dumps(dict(Params({"set": order}))) for order in orders}) == 1
    assert len({json.dumps(dict(Params({"of": {order: 1}}))) for order in orders}) == 1


def test_two_objects_of_one_class_may_be_keys():
    with warnings.catch_warnings(action="ignore"):
        kept = Params({"of": {object(): 1, object(): 2}})  # told apart by their addresses alone
    assert len(kept["of"]) == 2


# -- which session is meant


def test_the_innermost_with_is_meant(vault):
    quiet = vault.sessions().session.item()
    vault.save("a", {"x": 1})
    with vault.session("outer") as outer:
        vault.save("b", {"x": 1})
        with vault.session("inner"):
            vault.save("c", {"x": 1})
            tv.log(value=1)
            aside = vault.session("aside")
            aside.checkpoint()  # its first use begins it
        vault.save("d", {"x": 1})
        outer.log(value=2)
        tv.log(value=3)
    aside._recorder.end()
    vault.save("e", {"x": 1})
    wrote = vault.versions().set_index("list").session.to_dict()
    assert wrote == {"a": quiet, "b": "outer#1", "c": "inner#1", "d": "outer#1", "e": quiet}
    found = vault.sessions().set_index("session")
    assert found.parent.dropna().to_dict() == {"outer#1": quiet, "inner#1": "outer#1", "aside#1": "inner#1"}
    assert found["metrics.value"].dropna().to_dict() == {"inner#1": 1.0, "outer#1": 3.0}
    assert vault.sessions(parent="outer").session.tolist() == ["inner#1"]


def test_threads_and_tasks_have_their_own_innermost(vault):
    barrier = threading.Barrier(2)

    def work(name: str) -> None:
        with vault.session(name):
            barrier.wait(60)
            tv.log(value=1)
            barrier.wait(60)

    async def task(name: str) -> None:
        with vault.session(name):
            await asyncio.sleep(0.05)
            tv.log(value=2)

    async def both() -> None:
        await asyncio.gather(task("t1"), task("t2"))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ["a", "b"]))
    asyncio.run(both())
    with vault.session("main"), ThreadPoolExecutor(1) as pool:
        pool.submit(tv.log, value=3).result()  # a thread without a session: what connect() opened
    quiet = vault._run.label
    found = vault.sessions().set_index("session")["metrics.value"].dropna().to_dict()
    assert found == {"a#1": 1.0, "b#1": 1.0, "t1#1": 2.0, "t2#1": 2.0, quiet: 3.0}


def test_how_a_with_is_left_is_its_outcome(vault):
    for error in (ValueError("x"), SystemExit(0), SystemExit(2), tv.SessionStopped(0), KeyboardInterrupt()):
        with pytest.raises(type(error)), vault.session("train"):
            raise error
    found = vault.sessions("train")
    assert found.session.tolist() == [f"train#{run}" for run in range(1, 6)]
    assert found.state.tolist() == ["failed", "finished", "failed", "stopped", "failed"]
    assert found.error.fillna("").tolist() == ["ValueError: x", "", "SystemExit: 2", "", "KeyboardInterrupt"]


def test_a_session_survives_pickling_to_this_process(vault):
    with vault.session("train") as s:
        assert pickle.loads(pickle.dumps(s)) is s
        assert pickle.loads(pickle.dumps(vault)).place == vault.place


def test_names_that_cannot_be_told_from_runs_are_refused(vault):
    for name in ("train#2", "a@b", "", " x", "x\n"):
        with pytest.raises(tv.InvalidName):
            vault.session(name)
    with pytest.raises(tv.InvalidName):
        tv.connect(vault.place, session="train#2")


def test_a_reader_has_no_session(vault):
    with tv.connect(vault.place, mode="r") as reader:
        tv.checkpoint()
        with pytest.raises(tv.VaultReadOnly):
            tv.log(loss=1)
        for call in (reader.stop, reader.pause, reader.resume, reader.session):
            with pytest.raises(tv.VaultReadOnly):
                call("train")


# -- what sessions() shows


def test_filters(vault):
    for number, lr in enumerate([0.1, 0.2, 0.2]):
        with vault.session(f"sweep-{number}", params={"lr": lr}, tags=["t", str(number)]) as s:
            s.log(acc=number)
    with vault.session("sweep-0"):
        pass
    names = lambda **options: vault.sessions(**options).session.tolist()  # noqa: E731
    assert names(name="sweep-*") == ["sweep-0#1", "sweep-1#1", "sweep-2#1", "sweep-0#2"]
    assert names(name="sweep-0") == ["sweep-0#1", "sweep-0#2"]
    assert names(name="sweep-0#1") == ["sweep-0#1"]
    assert names(name="*#2") == ["sweep-0#2"]
    assert names(params={"lr": 0.2}) == ["sweep-1#1", "sweep-2#1"]
    assert names(tags="2") == ["sweep-2#1"]
    assert names(tags=["t", "1"]) == ["sweep-1#1"]
    assert names(state="running") == [vault.sessions().session.iloc[0]]
    assert names(state=["finished", "lost"], name="sweep-0") == ["sweep-0#1", "sweep-0#2"]
    third = vault.sessions().started.iloc[2]
    assert names(since=third, name="s*") == ["sweep-1#1", "sweep-2#1", "sweep-0#2"]
    assert names(until=third, name="s*") == ["sweep-0#1"]
    assert names(name="nob*") == []
    empty = vault.sessions("nob*")
    assert empty.columns.tolist() == vault.sessions().columns.tolist()
    assert empty.dtypes["run"] == "Int64"
    for wrong in ({"state": "gone"}, {"since": "not a time"}, {"name": 3.5}):
        with pytest.raises(tv.InvalidInput):
            vault.sessions(**wrong)
    with pytest.raises(tv.SessionNotFound):
        vault.sessions(parent="nobody")


def test_a_session_is_lost_when_its_heart_stops_by_the_clock_of_the_store(vault):
    now = datetime.now(UTC)
    row = Session("x", "u", "h", 1, now - timedelta(days=1), beat_s=5.0)
    for age, state in ((29, "running"), (31, "lost"), (-3600, "running")):
        assert Session("x", "u", "h", 1, now, heartbeat=now - timedelta(seconds=age)).state(now) == state
    assert row.state(now) == "lost"
    opened = vault.store.open_session(row)
    assert vault.sessions("x").state.tolist() == ["running"]
    vault.store.update_session(opened.id, heartbeat=now - timedelta(hours=1))
    assert vault.sessions("x").state.tolist() == ["lost"]
    assert vault.stop("x").state.tolist() == ["lost"]
    vault.store.beat([Beat(opened.id, alive=True)])  # it was only asleep
    assert vault.sessions("x").state.tolist() == ["running"]


def test_ten_thousand_sessions_take_a_handful_of_statements(folder_vault):
    vault = folder_vault

    def insert(db):
        rows = [
            (f"s{n}", 1, "u", "h", n, 1, n * 1000, n * 1000, '["t"]', f'{{"lr": {n}}}') for n in range(10_000)
        ]
        db.executemany(
            "INSERT INTO sessions (name, run, user, host, pid, parent, started, heartbeat, tags, params)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows,
        )  # fmt: skip
        db.execute("INSERT INTO latest SELECT id, 'acc', 1, 1, id / 10000.0 FROM sessions")

    vault.store.catalog.write(insert)
    statements: list[str] = []
    with vault.store.catalog.reading() as connection:  # the one that this thread uses next
        connection.set_trace_callback(statements.append)
    found = vault.sessions()
    connection.set_trace_callback(None)
    selects = [each for each in statements if each.startswith("SELECT")]
    assert len(found) == 10_001
    assert len(selects) <= 4
    assert found["params.lr"].iloc[-1] == 9999
    assert found["metrics.acc"].iloc[-1] == 1.0001
    assert (found.parent.iloc[1:] == found.session.iloc[0]).all()


# -- control

REQUESTS = st.lists(st.sampled_from(["stop", "pause", "resume"]), max_size=6)


@given(REQUESTS, st.booleans(), st.booleans())
@settings(max_examples=times(100))
def test_what_requests_add_up_to(asked, paused, stopping):
    now = datetime.now(UTC)
    requests = [ControlRequest(number, 1, each, now) for number, each in enumerate(asked)]
    found = reduce_requests(requests, paused=paused, stopping=stopping)
    assert sorted([*found.settled, *found.waiting]) == list(
        range(len(asked))
    )  # each is acknowledged, at one time or another
    if stopping:
        assert found.want == "run"
        assert not found.waiting
    elif "stop" in asked:
        assert found.want == "stop"
        assert not found.settled
    else:
        last = asked[-1] if asked else ("pause" if paused else "resume")
        assert found.want == {"pause": "pause", "resume": "run"}[last]
        changes = found.want != ("pause" if paused else "run")
        assert list(found.waiting) == (
            [len(asked) - 1] if changes else []
        )  # the one that changes it, once it has


def test_pause_resume_and_stop_of_a_thread(vault):
    seen: list[object] = []

    def work() -> None:
        with suppress(SystemExit), vault.session("worker") as s:
            s.on_stop(lambda: seen.append("callback"))
            s.on_stop(lambda: 1 / 0)
            try:
                while True:
                    s.log(beat=1)
                    s.checkpoint()
                    time.sleep(0.005)
            finally:
                s.checkpoint()  # what cleans up may come by again
                seen.append("cleaned")

    thread = threading.Thread(target=work)
    thread.start()
    while vault.sessions("worker*").empty:
        time.sleep(0.01)
    assert vault.resume("worker", wait_s=60).acknowledged.notna().all()  # not paused: harmless
    assert vault.pause("wor*", wait_s=60).state.tolist() == ["paused"]
    assert vault.sessions(state="paused").session.tolist() == ["worker#1"]
    assert vault.resume(vault.sessions("worker"), wait_s=60).state.tolist() == ["running"]
    vault.pause("worker", wait_s=60)
    stopped = vault.stop("worker#1", wait_s=60)
    thread.join(60)
    assert not thread.is_alive()
    assert seen == ["callback", "cleaned"]
    assert stopped.columns.tolist() == ["session", "request", "state", "requested", "acknowledged"]
    assert (stopped.acknowledged >= stopped.requested).all()
    assert vault.sessions("worker").state.tolist() == ["stopped"]
    for call in (vault.stop, vault.pause, vault.resume):
        row = call("worker").iloc[0]
        assert row.state == "stopped"
        assert pd.isna(row.requested)
        assert pd.isna(row.acknowledged)


def test_a_session_that_ends_while_it_is_looked_at_has_acknowledged(vault, monkeypatch):
    """It does both in one beat, between two looks of the one who waits: at the requests, and at the session."""
    far = vault.store.open_session(Session("far", "u", "elsewhere", 1, datetime.now(UTC)))
    overview = requests.liveness.overview

    def look(store, ids=None, **more):
        waiting = store.beat([Beat(far.id)]).requests
        if waiting:
            store.beat([Beat(far.id, 1, answered=tuple(each.id for each in waiting), outcome="stopped")])
        return overview(store, ids, **more)

    monkeypatch.setattr(requests.liveness, "overview", look)
    found = requests.ask(vault.store, [far.id], "stop", wait_s=60)
    assert found.state.tolist() == ["stopped"]
    assert found.acknowledged.notna().all()


def test_stopping_what_is_around_stops_what_is_inside(vault):
    def work() -> None:
        with suppress(SystemExit), vault.session("outer"), vault.session("inner") as s:
            while True:
                s.checkpoint()
                time.sleep(0.005)

    thread = threading.Thread(target=work)
    thread.start()
    while vault.sessions("inner*").empty:
        time.sleep(0.01)
    assert vault.pause("outer", wait_s=60).state.tolist() == ["paused"]
    vault.stop("inner", wait_s=60)  # which waits in a checkpoint, for the outer one to be resumed
    thread.join(60)
    assert not thread.is_alive()
    assert vault.sessions("*er").state.tolist() == ["stopped", "stopped"]


def test_repeated_requests_are_one_and_nobody_is_an_empty_frame(vault):
    target = vault.store.open_session(Session("far", "u", "elsewhere", 1, datetime.now(UTC)))
    first = vault.pause("far")
    assert vault.pause(target.id).requested.tolist() == first.requested.tolist()
    vault.resume("far")
    vault.pause(["far", "far#1"])
    waiting = vault.store.beat([Beat(target.id)]).requests
    assert [each.request for each in waiting] == ["pause", "resume", "pause"]
    for nobody in ("no*", vault.sessions("nobody*"), []):
        found = vault.stop(nobody)
        assert found.empty
        assert found.columns.tolist() == first.columns.tolist()
    for missing in ("nobody", "far#7", 12345):
        with pytest.raises(tv.SessionNotFound):
            vault.stop(missing)
    for wrong in (None, 1.5, True, pd.DataFrame({"x": [1]})):
        with pytest.raises(tv.InvalidInput):
            vault.pause(wrong)
    with pytest.raises(tv.InvalidInput):
        vault.stop("far", exit_code=300)


def test_a_pattern_means_who_is_open_and_the_latest_of_each(vault):
    for _ in range(2):
        with vault.session("a"):
            pass
    with vault.session("b"):
        found = vault.pause("[ab]")
    assert found.session.tolist() == ["a#2", "b#1"]
    assert found.state.tolist() == ["finished", "running"]


def test_continuing_runs(vault):
    with (
        pytest.raises(ValueError, match="x"),
        vault.session("train", params={"lr": 1}, tags="t", resume=True) as s,
    ):
        s.log(step=1, loss=1)
        raise ValueError("x")
    with vault.session("train", params={"more": 2}, resume=True) as s:
        assert s._recorder.label == "train#1"
        assert dict(s.params) == {"lr": 1, "more": 2}
        assert s.tags == ("t",)
        with pytest.raises(tv.Conflict, match="still running"):
            vault.session("train", resume=True)
        s.log(step=2, loss=0.5)
    assert logged(vault, "train").step.tolist() == [1, 2]
    row = vault.sessions("train").iloc[0]
    assert row.state == "finished"
    assert pd.isna(row.error)
    with vault.session("train", resume=True) as s:
        assert s._recorder.label == "train#2"


def test_a_parameter_that_is_no_number_stops_no_table(vault):
    for rate in (0.5, np.nan, np.inf):
        with vault.session("sweep", params={"rate": rate, "size": 2}):
            pass
    with vault.session("sweep", params={"rate": 0.1}):
        pass
    assert vault.sessions("sweep", columns=["params.rate"])["params.rate"].isna().tolist() == [
        False,
        True,
        False,
        False,
    ]
    assert vault.sessions("sweep", columns=["params.size"])["params.size"].tolist()[:3] == [2, 2, 2]
    assert vault.sessions(filters="params.rate > 0.3")["session"].tolist() == ["sweep#1", "sweep#3"]
    assert vault.sessions(filters="params.size == 2")["run"].tolist() == [1, 2, 3]


def test_a_run_of_another_configuration_is_not_continued_in_silence(vault):
    def end(**options):
        with pytest.raises(ValueError, match="x"), vault.session("sweep", **options):
            raise ValueError("x")

    end(params={"seed": 1, "sizes": (8, 8), "rate": np.nan})
    with pytest.warns(UserWarning, match=r"sweep#1 with other parameters: seed was 1 and is 0\.") as caught:
        end(params={"seed": 0, "sizes": (8, 8), "rate": np.nan, "new": 1}, resume=True)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        end(params={"seed": 0, "new": 1}, resume=True)
        end(params={"seed": 2}, resume="sweep#1")  # that run is meant
    assert vault.sessions("sweep", columns=["session", "params.seed"]).to_numpy().tolist() == [["sweep#1", 2]]


def test_two_cannot_continue_the_same_run(vault):
    old = vault.store.open_session(Session("train", "u", "h", 1, datetime.now(UTC)))
    (seen,) = vault.store.sessions([old.id])
    vault.store.reopen_session(seen, last_beat=seen.heartbeat)
    with pytest.raises(tv.Conflict):
        vault.store.reopen_session(seen, last_beat=seen.heartbeat - timedelta(seconds=1))


# -- the store


def test_a_beat_is_all_or_nothing(vault):
    store = vault.store
    row = store.open_session(Session("x", "u", "h", 1, datetime.now(UTC)))
    arrays = (np.array([1, NO_STEP]), np.array([10, 20]), np.array([0.5, np.nan]))
    good = Beat(
        row.id,
        alive=True,
        cells=(Cell(row.id, 0, "code", row.started),),
        measures=(Measures(row.id, "m", *arrays),),
    )
    with pytest.raises(tv.SessionNotFound):
        store.beat([good, Beat(999_999, changes={"tags": ("a",)})])
    assert store.cells([row.id]) == []
    assert store.measures([row.id]).num_rows == 0
    store.beat([good])
    found = store.measures([row.id], metrics=["m"]).to_pydict()
    assert found["step"] == [1, None]
    assert found["value"][0] == 0.5
    assert np.isnan(found["value"][1])
    assert store.measures([row.id], metrics=["other"]).num_rows == 0
    assert store.measures().schema == store.measures([]).schema


def test_an_idle_heart_writes_nothing(folder_vault):
    while folder_vault._run.waits_for(info=True):  # past the first beats
        time.sleep(0.01)
    files = [
        path
        for path in Path(folder_vault.place).iterdir()
        if path.is_file() and not path.name.endswith("-shm")
    ]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}
    time.sleep(1.2)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files} == before


# -- how things look


def test_what_a_notebook_shows_is_escaped(vault):
    evil = "<script>alert('x')</script>"
    vault.save(f"a{evil}", pd.DataFrame({f"c{evil}": [1]}))
    with vault.session(f"s{evil}", params={f"p{evil}": evil}, tags=evil) as s:
        shown = [
            vault._repr_html_(),
            vault[f"a{evil}"]._repr_html_(),
            s._repr_html_(),
            vault.sessions()._repr_html_(),
        ]
    for html in shown:
        assert "<script" not in html
        assert "&lt;script&gt;" in html
    assert repr(s) == f"<Session {s._recorder.label!r}: ended>"
    with tv.connect("other.vault") as other:
        pass
    assert "closed" in other._repr_html_()


def test_what_a_notebook_shows_is_small_and_has_no_colours_of_its_own(vault):
    many = pd.DataFrame({f"column {n}": [n] for n in range(30)} | {"id": [1]})
    for number in range(22):
        vault.save(f"list {number:02}", many.assign(x=number))
        if number < 2:
            vault.save("both", many.assign(x=number))
    with vault.session("train", params={f"p{n}": "long " * 500 for n in range(40)}) as s:
        shown = [vault._repr_html_(), vault["both"]._repr_html_(), s._repr_html_()]
    shown.append(vault.run("train")._repr_html_())
    compared = vault.compare("both@1", "both@2", on="id")
    for html in shown:
        assert html.count("<tr>") <= 21
        assert "more:" in html
        assert len(html) < 12_000
    for html in [*shown, compared._repr_html_()]:
        assert "color" not in html
        assert "background" not in html
    assert "<b>both@2 against both@1</b>" in compared._repr_html_()
    assert "1 changed" in compared._repr_html_()
    assert "1 changed" not in compared[compared["status"] == "same"]._repr_html_()


def test_loop(vault):
    assert list(tv.loop(range(3), name="x")) == [0, 1, 2]
    assert list(tv.loop(iter("ab"), total=2)) == ["a", "b"]
    with vault.session("x") as s:
        passed = []
        with pytest.raises(tv.SessionStopped):
            for item in tv.loop(range(10_000)):
                if not passed:
                    vault.stop("x")
                passed.append(item)
                time.sleep(0.002)
    assert passed
    assert vault.sessions("x").state.tolist() == ["stopped"]
    assert s._recorder.ended


def test_the_commands_of_the_command_line(vault):
    from tablevault_pd.cli.command_list import COMMANDS
    from tablevault_pd.cli.commands import parser

    commands = {command.name: command for command in COMMANDS}

    def run(name: str, *arguments: str) -> pd.DataFrame:
        return commands[name].run(vault, parser().parse_args([name, *arguments])).frame

    quiet = vault.sessions().session.item()
    with vault.session("train", tags="t"):
        assert run("sessions", "tr*", "--state", "running", "--tag", "t").session.tolist() == ["train#1"]
        assert run("sessions", "--parent", quiet).session.tolist() == ["train#1"]
        assert run("pause", "train").request.tolist() == ["pause"]
        assert run("resume", "train", quiet).session.tolist() == [quiet, "train#1"]
        assert run("stop", "train#1", "--exit-code", "3", "--wait", "0.1").state.tolist() == ["running"]
    assert len(run("code", quiet)) == len(vault.cells(quiet))


def test_a_run_shows_the_names_of_a_user(folder_vault):
    """What tab completion offers; recording is another object's."""
    s = folder_vault.session("train", params={"lr": 1}, tags="t")
    shown = {"name", "run", "id", "state", "params", "tags", "log", "step", "checkpoint", "on_stop"}
    shown |= {"log_table", "log_text", "log_figure", "log_model"}
    assert {name for name in dir(s) if not name.startswith("_")} == shown
    assert s.state == "not begun"
    with s:
        [row] = folder_vault.store.sessions(name="train")
        assert (s.name, s.run, s.id, s.state) == ("train", 1, row.id, "running")
        assert (dict(s.params), s.tags) == ({"lr": 1}, ("t",))
        assert pickle.loads(pickle.dumps(s)) is s
    assert s.state == "ended"
    with pytest.raises(AttributeError):
        s.params = {}
