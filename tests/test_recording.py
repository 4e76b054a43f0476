"""What a session records while it runs: metrics by any name, steps, attempts, pauses, nested parameters."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from test_forks import wait_until
from test_session_exits import environment

import tablevault_pd as tv
from tablevault_pd.store.embedded import control


def values(vault: tv.Vault, which: str = "train") -> dict[str, float]:
    return vault.run(which).metrics


# -- log() of dicts


def test_log_takes_a_dict_of_metrics(vault):
    with vault.session("train") as s:
        given = {
            "val/acc": 0.9,
            "lr.0": np.float32(0.5),
            "größe m²": True,
            "step": 4,
            "values": np.array([2]),
        }
        s.log(given, step=3)
        tv.log({"val": {"acc": 1, "by class": {"cat/dog": 2}}, "empty": {}}, loss=3)
        s.log({})
    assert values(vault) == {
        "val/acc": 0.9, "lr.0": 0.5, "größe m²": 1.0, "step": 4.0, "values": 2.0,
        "val.acc": 1.0, "val.by class.cat/dog": 2.0, "loss": 3.0,
    }  # fmt: skip
    curve = vault.run("train").curve("val/acc", "loss")
    assert curve["step"].tolist() == [pd.NA, 3] or curve["step"].tolist() == [3, pd.NA]
    assert given["val/acc"] == 0.9
    assert vault.sessions(filters="`metrics.val/acc` > 0.8 and metrics.loss == 3")["session"].tolist() == [
        "train#1"
    ]


def test_what_is_logged_is_kept_as_it_was_then(folder_vault):
    given = {"loss": 1.0}
    with folder_vault.session("train") as s:
        s.log(given)
        given["loss"] = 2.0
    assert values(folder_vault) == {"loss": 1.0}


CONTAINS_ITSELF: dict[str, object] = {}
CONTAINS_ITSELF["a"] = CONTAINS_ITSELF


@pytest.mark.parametrize(
    ("metrics", "more", "says"),
    [
        ([("loss", 1)], {}, "takes a dict"),
        (0.5, {}, "takes a dict"),
        ("loss", {}, "takes a dict"),
        (pd.Series({"loss": 1.0}), {}, "takes a dict"),
        ({1: 0.5}, {}, "a text, not 1"),
        ({"val": {None: 0.5}}, {}, "a text, not None"),
        ({"val": {"acc": "high"}}, {}, r"val\.acc"),
        ({"val/acc": [0.5, 0.6]}, {}, "val/acc"),
        ({"val/acc": None}, {}, "val/acc"),
        ({"a": {"b": 1}, "a.b": 2}, {}, "two values"),
        ({"loss": 1}, {"loss": 1}, "two values"),
        (CONTAINS_ITSELF, {}, "100 levels"),
        ({"good": 1.0}, {"step": "three"}, "step="),
        ({"good": 1.0, "tokens": 2**53 + 1}, {}, "rounded"),
        ({"tokens": np.int64(2**53 + 1)}, {}, "rounded"),
        ({"": 1.0}, {}, "blank"),
    ],
    ids=str,
)
def test_what_log_does_not_take_is_refused_as_a_whole(folder_vault, metrics, more, says):
    with folder_vault.session("train") as s:
        for log in (s.log, tv.log):
            with pytest.raises(tv.InvalidInput, match=says):
                log(metrics, **more)
    assert values(folder_vault) == {}


def test_names_that_become_the_same_text_are_one_metric(folder_vault):
    with folder_vault.session("train") as s:
        s.log({"half \ud83d": 1.0, "half \\ud83d": 2.0})
    assert folder_vault.run("train").curve("half \\ud83d")["value"].tolist() == [1.0, 2.0]


# -- steps


def steps(vault: tv.Vault, which: str = "train") -> list[object]:
    found = vault.run(which).curve("x")["step"]
    assert found.dtype == "Int64"
    return [None if step is pd.NA else step for step in found]


def test_a_step_holds_until_the_next(vault):
    with vault.session("train") as s:
        s.log(x=0)
        s.step(7)
        s.log(x=1)
        s.log(x=2, step=5)
        s.log({"x": 3})
        s.step(np.int64(8))
        tv.log(x=4)
        tv.step(-1)
        s.log(x=5)
    assert steps(vault) == [None, 7, 5, 7, 8, -1]


def test_a_step_ends_with_its_with(folder_vault):
    with folder_vault.session("train") as s:
        s.step(1)
        for error in (ValueError, KeyboardInterrupt, GeneratorExit):
            with suppress(error), s.step(2):
                s.log(x=0)
                s.step(3)
                with s.step(4):
                    s.log(x=0)
                s.log(x=0)
                raise error
            s.log(x=0)
    assert steps(folder_vault) == [2, 4, 3, 1] * 3


def test_each_context_has_its_own_step(folder_vault):
    async def epoch(s: tv.Run, step: int, turn: asyncio.Event, other: asyncio.Event) -> None:
        with s.step(step):
            turn.set()
            await other.wait()
            s.log({f"task/{step}": 0})

    async def both(s: tv.Run) -> None:
        turns = asyncio.Event(), asyncio.Event()
        await asyncio.gather(epoch(s, 1, *turns), epoch(s, 2, *reversed(turns)))
        await asyncio.to_thread(s.log, inherited=0)

    with folder_vault.session("train") as s:
        s.step(7)
        thread = threading.Thread(target=lambda: s.log(thread=0))
        thread.start()
        thread.join()
        asyncio.run(both(s))
        with folder_vault.session("inner") as inner:
            inner.log(x=0)
            inner.step(9)
            s.log(main=0)
    found = folder_vault.run("train").curve().set_index("metric")["step"]
    assert found.to_dict() == {"inherited": 7, "main": 7, "task/1": 1, "task/2": 2, "thread": None}
    assert steps(folder_vault, "inner") == [None]


def test_versions_show_the_step_of_their_commit(vault):
    vault.save("rows", {"a": 0})
    with vault.session("train") as s:
        s.step(3)
        vault.append("rows", {"a": 1})
        with s.step(2**60 + 1):
            vault.save("rows", pd.DataFrame({"a": [5]}))
            vault["rows"].delete()
        tv.connect(vault.place).restore("rows", 1)
        with vault.session("inner"):
            vault.append("rows", {"a": 2})
    vault.append("rows", {"a": 3})
    found = vault.versions("rows")
    assert found["step"].dtype == "Int64"
    assert found["step"].tolist() == [pd.NA, 3, 2**60 + 1, 2**60 + 1, 3, pd.NA, pd.NA]
    assert found.columns.tolist()[8:11] == ["session", "cell", "step"]
    assert vault.versions().equals(found)
    assert vault.versions("rows")[:0]["step"].dtype == "Int64"


@pytest.mark.parametrize("wrong", [None, 1.5, "7", 2**63, float("nan"), [7]], ids=repr)
def test_a_step_is_a_whole_number(folder_vault, wrong):
    with folder_vault.session("train") as s:
        s.step(1)
        for step in (s.step, tv.step):
            with pytest.raises(tv.InvalidInput, match="step="):
                step(wrong)
        s.log(x=0)
    assert steps(folder_vault) == [1]


def test_a_session_that_ended_has_no_step(folder_vault):
    with folder_vault.session("train") as s:
        s.step(1)
    assert s._recorder.current_step is None
    with pytest.raises(tv.VaultClosed):
        s.step(2)


# -- attempts


def test_each_logged_value_knows_its_attempt(vault):
    for attempt, first in enumerate((0, 2, 1)):
        with suppress(ValueError), vault.session("train", resume=bool(attempt)) as s:
            assert s._recorder.label == "train#1"
            s.log(before=0)
            for step in range(first, first + 3):
                s.log({"val/acc": attempt}, step=step)
            raise ValueError
    with vault.session("never"):
        pass
    found = vault.store.measures([s.id], metrics=["val/acc"])
    assert found["attempt"].to_pylist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] == found["value"].to_pylist()
    assert found["step"].to_pylist() == [0, 1, 2, 2, 3, 4, 1, 2, 3]
    everyone = {session.name: session for session in vault.store.sessions()}
    train, never = everyone["train"], everyone["never"]
    assert (train.attempt, never.attempt) == (2, 0)
    assert vault.sessions().set_index("name")["attempts"][["train", "never"]].tolist() == [3, 1]
    assert [vault.run(each.id).attempts for each in (train, never)] == [3, 1]
    attempts = vault.store.timelines([train.id, never.id]).attempts
    assert [(each.session_id, each.attempt, each.first_step) for each in attempts] == [
        (train.id, 0, 0), (train.id, 1, 2), (train.id, 2, 1), (never.id, 0, None),
    ]  # fmt: skip
    assert attempts[0].began == train.started
    assert (
        attempts[0].began <= attempts[0].ended <= attempts[1].began <= attempts[1].ended <= attempts[2].began
    )
    assert attempts[2].ended is None


KILLED = """
import os, signal, sys, tablevault_pd as tv
from tablevault_pd.session.heartbeat import HEARTBEAT
vault = tv.connect(sys.argv[1], session=False)
with vault.session("train", resume=True) as s:
    for step in range(int(sys.argv[2]), int(sys.argv[3])):
        s.log(loss=step, step=step)
    HEARTBEAT.flush(vault.store)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_was_killed_made_an_attempt(folder_vault):
    for first, end in (("0", "200"), ("150", "160")):
        command = [sys.executable, "-c", KILLED, folder_vault.place, first, end]
        done = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    with folder_vault.session("train", resume=True) as s:
        s.log(loss=155, step=155)
    found = folder_vault.store.measures([s.id], metrics=["loss"]).to_pandas()
    assert found.groupby("attempt")["step"].apply(list).tolist() == [
        list(range(200)), list(range(150, 160)), [155],
    ]  # fmt: skip
    assert [each.first_step for each in folder_vault.store.timelines([s.id]).attempts] == [0, 150, 155]


# -- pauses


def test_pauses_are_kept(vault):
    gone_on = threading.Event()
    before = datetime.now(UTC)

    def work(s: tv.Run) -> None:
        with suppress(tv.SessionStopped):
            while not gone_on.is_set():
                s.checkpoint()

    with vault.session("train") as s:
        workers = [threading.Thread(target=work, args=(s,)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for count in (1, 2):
            vault.pause(s, wait_s=60)
            wait_until(lambda: len(s._recorder.control._pausing) == 2)
            found = wait_for_pauses(vault, s, count)
            assert [each.ended is None for each in found] == [False] * (count - 1) + [True]
            vault.resume(s, wait_s=60)
            found = wait_for_pauses(vault, s, count, ended=True)
        gone_on.set()
        for worker in workers:
            worker.join()
    found = vault.store.timelines([s.id]).pauses
    times = [time for each in found for time in (each.began, each.ended)]
    assert len(times) == 4
    assert times == sorted(times)
    slack = (datetime.now(UTC) - before) / 2  # a server's clock
    assert before - slack <= times[0] <= times[-1] <= datetime.now(UTC) + slack


def wait_for_pauses(vault: tv.Vault, s: tv.Run, count: int, *, ended: bool = False) -> list[tv.store.Pause]:
    def there() -> bool:
        found = vault.store.timelines([s.id]).pauses
        return len(found) == count and (not ended or found[-1].ended is not None)

    wait_until(there)
    return vault.store.timelines([s.id]).pauses


# -- one metric is read alone


def test_only_the_blocks_of_a_metric_are_read(folder_vault):
    """Those of the others are made unreadable."""
    for _ in range(3):
        with folder_vault.session("train") as s:
            for step in range(300):
                s.log({f"m{number}": step for number in range(5)}, step=step)
            s.log(rare=1.0)
    catalog = folder_vault.store.catalog
    catalog.write(lambda db: db.execute("UPDATE measures SET points = x'00' WHERE metric <> 'rare'"))
    for ids in (None, [session.id for session in folder_vault.store.sessions()]):
        assert folder_vault.store.measures(ids, metrics=["rare"]).num_rows == 3
    with pytest.raises(ValueError, match="size"):
        folder_vault.store.measures()
    given = {"metrics": '["rare"]', "sessions": "[1, 2, 3]"}
    statements = {control.MEASURES_NAMED: "metric=?", control.MEASURES_OF_NAMED: "metric=? AND session=?"}
    statements[control.MEASURES_OF] = "metric=? AND session=?"
    for statement, by in statements.items():
        with catalog.reading() as db:
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", given).fetchall()]
        assert any("SEARCH m USING INDEX" in step and f"({by})" in step for step in plan), plan
        assert not any("SCAN m" in step for step in plan), plan
    assert "unreadable record" in set(folder_vault.check()["what"])
    catalog.write(lambda db: db.execute("DELETE FROM measures WHERE metric <> 'rare'"))


def test_values_logged_one_at_a_time_share_blocks(folder_vault):
    """A slow loop makes one value a beat."""
    store = folder_vault.store
    with folder_vault.session("train") as s:
        for step in range(300):
            s.log(loss=step, step=step)
            with s._recorder.control._lock:  # no other beat in between
                store.beat([s._recorder.next_beat()])
            s._recorder.on_sent(datetime.now(UTC), [])
    with store.catalog.reading() as db:
        [(blocks,)] = db.execute("SELECT count(*) FROM measures").fetchall()
    assert blocks == 3
    assert store.measures([s.id])["step"].to_pylist() == list(range(300))


@pytest.mark.arango
def test_metrics_of_many_sessions_take_one_request(vault, sent):
    if vault.place.startswith("arangodb"):
        for _ in range(12):
            with vault.session("train") as s:
                for step in range(50):
                    s.log(loss=step, step=step)
        ids = [session.id for session in vault.store.sessions(name="train")]
        sent.clear()
        assert vault.store.measures(ids, metrics=["loss"]).num_rows == 600
        vault.store.timelines(ids)
        assert len(sent) == 2


# -- nested parameters


def test_nested_parameters_are_columns_and_filters(vault):
    with vault.session("nested", params={"opt": {"lr": 1, "name": "adam"}, "big": 2**53 + 1}):
        pass
    with vault.session("flat", params={"opt.lr": 2, "opt.name": "sgd"}):
        pass
    with vault.session("none"):
        pass
    found = vault.sessions(["nested", "flat", "none"])
    assert found["params.opt.lr"].dtype == found["params.big"].dtype == "Int64"
    assert found["params.opt.lr"].tolist() == [1, 2, pd.NA]
    assert found["params.big"].tolist() == [2**53 + 1, pd.NA, pd.NA]
    for least, expected in ((1, ["nested", "flat"]), (2, ["flat"])):
        for filters in (
            f"`params.opt.lr` >= {least}",
            f"params.opt.lr >= {least}",
            [("params.opt.lr", ">=", least)],
        ):
            assert vault.sessions(filters=filters)["name"].tolist() == expected, filters
    assert vault.sessions(params={"opt.lr": 1})["name"].tolist() == ["nested"]
    assert vault.sessions(params={"opt.lr": 2})["name"].tolist() == ["flat"]
    assert vault.sessions(params={"opt": {"lr": 1, "name": "adam"}})["name"].tolist() == ["nested"]
