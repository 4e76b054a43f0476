"""A process that was taken for dead, and goes on when another one has resumed its session: nothing that it writes counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from stores import act, put
from test_session_exits import environment
from torture.harness import suspend

import tablevault_pd as tv
from tablevault_pd.session.heartbeat import HEARTBEAT, HeartbeatThread
from tablevault_pd.store import Beat, Cell, Description, Measures, ModuleSource, Session, Store, Version
from tablevault_pd.store.session_types import Confirmation, Part, WrittenCode
from tablevault_pd.store.work import Addresses, ClaimRequest, Finish, Holder

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SESSION = Session("train", "u", "h", 1, NOW)
MADE = Version(1, "a", 1, "save", 1, 0, 2, 2, 1, None, None, NOW)
ROWS = Addresses.of([(1, 0), (1, 1)])  # in the generation of `MADE`
RESUMED = r"train#1 was resumed meanwhile by process 7 on there"


def resumed(store: Store, session_id: int) -> Session:
    """Resume a session as another process would, which found it lost."""
    [seen] = store.sessions([session_id], info=True)
    other = replace(seen, pid=7, host="there", params={"lr": 1}, tags=("mine",), info={"argv": ["mine"]})
    return store.reopen_session(other, last_beat=seen.heartbeat)


def everything(store: Store) -> tuple[Any, ...]:
    """All that a store knows of sessions, and all versions."""
    ids = store.session_ids()
    lists = [state.head.list for state in store.lists()]
    return (
        store.sessions(info=True), store.cells(), store.sources(ids), store.measures().to_pylist(), store.timelines(),
        store.overview().latest.to_pylist(), store.requests(range(1, 5)), lists, [store.versions(name) for name in lists],
        store.descriptions(), store.confirmations(), store.reads(), store.version_names(), store.renames(),
        [store.claim_records(list_id).lines() for list_id in store.worked_lists()],
    )  # fmt: skip


def measured(session_id: int, value: float) -> Measures:
    one = np.array([1])
    return Measures(session_id, "loss", one, one, np.array([value]))


def beats(session_id: int, request: int) -> dict[str, dict[str, Any]]:
    """What a process can tell."""
    part = Part(None, session_id, 0, 1, 1, "assign", ("x",), "x = 1", "0" * 64)
    return {
        "that it lives": {"alive": True},
        "a cell": {"cells": (Cell(session_id, 0, "x = 2", NOW),)},
        "values": {"measures": (measured(session_id, 3.0),)},
        "a module": {"sources": (ModuleSource(session_id, "m.py", "0" * 64, "y = 1"),)},
        "code": {"code": (WrittenCode(session_id, 0, 1, (part,), ()),)},
        "params": {"changes": {"params": {"lr": 2}}},
        "tags, with info": {"changes": {"tags": ("theirs",), "info": {"argv": ["theirs"]}}},
        "a pause": {"paused": True, "timeline": {"pauses": [[1, 2]]}},
        "an answer": {"answered": (request,)},
        "its end": {"outcome": "failed", "error": "ValueError"},
    }


@pytest.mark.parametrize("what", beats(0, 0))
def test_a_beat_of_an_attempt_that_is_over_is_refused(store: Store, what: str) -> None:
    opened = store.open_session(Session("train", "u", "h", 1, NOW))
    other = store.open_session(Session("other", "u", "h", 2, NOW))
    first = store.beat([Beat(opened.id, 1, True, cells=(Cell(opened.id, 0, "x = 1", NOW),), attempt=0)])
    assert first.requests == ()
    resumed(store, opened.id)
    [request] = store.ask([opened.id], "stop")
    store.beat(
        [Beat(opened.id, 1, True, measures=(replace(measured(opened.id, 5.0), attempt=1),), attempt=1)]
    )
    before = everything(store)
    late = Beat(opened.id, 2, attempt=0, **beats(opened.id, request.id)[what])
    for told in ([late], [Beat(other.id, 1, alive=True, attempt=0), late]):
        with pytest.raises(tv.SessionContinued, match=RESUMED):
            store.beat(told)
        assert everything(store) == before
    store.beat(
        [Beat(opened.id, 3, attempt=0, changes={"info": {"argv": ["late"]}})]
    )  # it may come after the end
    store.beat([Beat(opened.id, attempt=0)])  # asks only
    assert everything(store) == before
    store.beat([replace(late, attempt=1, number=2)])
    store.beat([replace(late, attempt=None, number=3)])
    with pytest.raises(tv.SessionNotFound):
        store.beat([replace(late, session_id=77)])


def commits(store: Store, session: Session, attempt: int) -> dict[str, Callable[[], object]]:
    """Every way to make a version."""
    by: dict[str, Any] = {"session_id": session.id, "attempt": attempt}
    table = pa.table({"n": [1, 2]})
    again = Confirmation(0, 0, session.id, None, None, None, ((0, 1),), ())
    return {
        "save": lambda: put(store, "a", table, **by),
        "first save": lambda: put(store, f"new {attempt}", table, **by),
        "large save": lambda: put(store, "a", pa.table({"n": np.random.default_rng(1).normal(size=4_000)}), **by),
        "append": lambda: put(store, "a", table, operation="append", **by),
        "with a confirmation": lambda: put(store, "a", table, operation="append", confirms=again, **by),
        "restore": lambda: act(store, "a", "restore", target=1, **by),
        "delete": lambda: act(store, "a", "delete", **by),
    }  # fmt: skip


@pytest.mark.parametrize("what", commits(None, Session("s", "u", "h", 1, NOW), 0))
def test_a_commit_of_an_attempt_that_is_over_is_refused(store: Store, what: str) -> None:
    opened = store.open_session(Session("train", "u", "h", 1, NOW))
    for number in range(2):
        put(store, "a", pa.table({"n": [number]}), session_id=opened.id, attempt=0)
    resumed(store, opened.id)
    before = everything(store)
    with pytest.raises(tv.SessionContinued, match=RESUMED):
        commits(store, opened, 0)[what]()
    assert everything(store) == before
    commits(store, opened, 1)[what]()
    assert everything(store) != before


def notes(
    store: Any, session: Session, made: Version, attempt: int | None
) -> dict[str, Callable[[], object]]:
    """Every way to have something recorded as made by a session without a version, of a list that it has claimed a row of."""
    key, by = (made.list_id, made.version), {"session_id": session.id, "attempt": attempt}
    again = Confirmation(*key, session.id, None, None)
    name = f"named {attempt}"
    finish = Finish(made.list_id, ROWS[:1], Holder(session.id, 0), made.list, np.array([0]))
    return {
        "reads": lambda: store.note_reads(session.id, [key], attempt=attempt),
        "a confirmation": lambda: store.confirm(again, attempt=attempt),
        "a confirmation of rows": lambda: store.confirm(replace(again, rows=((0, 1),)), attempt=attempt),
        "a rename": lambda: store.rename_list(store.lists()[0].head.list, name, **by),
        "a snapshot": lambda: store.snapshot(name, **by),
        "a name of a version": lambda: store.tag_versions([key], add=[name], **by),
        "a description": lambda: store.describe(
            Description("main", name, session_of=session.id, session_id=session.id), attempt=attempt
        ),
        "a request": lambda: store.ask(
            [session.id], "pause" if attempt else "stop", asked_by=session.id, attempt=attempt
        ),
        "a finished row": lambda: store.finish([finish], **by),
    }


@pytest.mark.parametrize("what", notes(None, SESSION, MADE, 0))
def test_what_an_attempt_that_is_over_notes_without_a_version_is_refused(store: Store, what: str) -> None:
    opened = store.open_session(SESSION)
    made = put(store, "a", pa.table({"n": [1, 2]}), session_id=opened.id, attempt=0)
    assert store.align_work(made.list_id, after=None, generation=made.generation, same={})
    assert store.claim(claim_of(made, Holder(opened.id, 0))).taken == [0]
    resumed(store, opened.id)
    before = everything(store)
    with pytest.raises(tv.SessionContinued, match=RESUMED):
        notes(store, opened, made, 0)[what]()
    assert everything(store) == before
    notes(store, opened, made, 1)[what]()
    noted = everything(store)
    assert noted != before
    notes(store, opened, made, None)[what]()  # as a copy of a vault does


def claim_of(made: Version, holder: Holder) -> ClaimRequest:
    return ClaimRequest(made.list, made.list_id, made.generation, ROWS, 1, holder, token=holder.attempt)


def test_a_claim_of_an_attempt_that_is_over_takes_nothing_and_gives_nothing_back(store: Store) -> None:
    opened = store.open_session(SESSION)
    other = store.open_session(replace(SESSION, name="other"))
    made = put(store, "a", pa.table({"n": [1, 2, 3]}))
    assert store.align_work(made.list_id, after=None, generation=made.generation, same={})
    assert store.claim(claim_of(made, Holder(other.id, 0))).taken == [0]
    resumed(store, opened.id)
    before = everything(store)
    with pytest.raises(tv.SessionContinued, match=RESUMED):
        store.claim(claim_of(made, Holder(opened.id, 0)))
    assert everything(store) == before
    assert store.claim(claim_of(made, Holder(opened.id, 1))).taken == [1]


def test_of_an_attempt_that_begins_during_a_commit_and_the_commit_one_is_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt is looked at where the version is made, and not before."""
    opened = store.open_session(Session("train", "u", "h", 1, NOW))
    put(store, "a", pa.table({"n": [1]}), session_id=opened.id, attempt=0)
    done = []

    def resume_first(*_: Any) -> Any:
        if not done:
            done.append(resumed(store, opened.id))

    _before_the_commit(store, monkeypatch, resume_first)
    with pytest.raises(tv.SessionContinued, match=RESUMED):
        put(store, "a", pa.table({"n": [2]}), session_id=opened.id, attempt=0)
    assert done
    assert [version.version for version in store.versions("a")] == [1]


def _before_the_commit(store: Any, monkeypatch: pytest.MonkeyPatch, call: Callable[[], None]) -> None:
    """Have `call` made after all that a commit does before the one transaction that makes the version."""
    if hasattr(store, "catalog"):
        real = store.catalog.write_then

        def write_then(*arguments: Any) -> Any:
            monkeypatch.setattr(store.catalog, "write_then", real)
            call()
            return real(*arguments)

        monkeypatch.setattr(store.catalog, "write_then", write_then)
        return
    from tablevault_pd.store.arango import commit

    look = commit.Committer._look

    def then_call(*arguments: Any) -> Any:
        state = look(*arguments)
        call()
        return state

    monkeypatch.setattr(commit.Committer, "_look", then_call)


def test_a_session_that_was_resumed_elsewhere_is_not_written_any_more(
    vault: tv.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspended = threading.Event()
    beat = HeartbeatThread._beat
    monkeypatch.setattr(
        HeartbeatThread, "_beat", lambda *arguments: None if suspended.is_set() else beat(*arguments)
    )
    vault.save("a", {"n": 1})
    vault.save("jobs", [{"n": 1}, {"n": 2}])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with vault.session("train", params={"lr": 0.1}) as s:
            s.log(loss=0.5, step=1)
            vault.save("a", {"n": 2})
            mine = vault.claim("jobs")
            HEARTBEAT.flush(vault.store)
            suspended.set()
            with _another(vault) as other:
                resumed(other, s.id)
                before = everything(other)
                assert len(vault.read("a")) == 1  # which would be noted at the end
                s.params["lr"] = 0.2
                s.tags = ["theirs"]
                s.log(loss=0.25, step=2)
                for write in (
                    lambda: vault.save("a", {"n": 2}, description="the same"),  # a confirmation
                    lambda: vault.save("a", {"n": 3}),
                    lambda: vault.append("a", {"n": 3}),
                    lambda: s.log_table("table", {"n": 3}),
                    lambda: vault.claim("jobs"),
                    lambda: vault.finish(mine),
                    lambda: vault.rename("a", "b"),
                    lambda: vault.snapshot("paper"),
                    lambda: vault.tag("a@1", "best"),
                    lambda: vault.describe("a", "theirs"),
                    lambda: vault.stop("train"),
                ):
                    with pytest.raises(tv.SessionContinued, match=RESUMED):
                        write()
                suspended.clear()
                _until(lambda: s.state == "not recorded any more")
                s.params["lr"] = 0.3
                s.log(loss=0.1, step=3)
                s.checkpoint()
                with pytest.raises(tv.SessionContinued, match=RESUMED):
                    vault.save("a", {"n": 4})
    texts = [str(each.message) for each in told if each.category is tv.NotRecorded]
    [lost] = [text for text in texts if "cannot record any more" in text]
    assert "1 logged values of train#1" in lost
    assert any(text.startswith("Changes of train#1 are not recorded") for text in texts)
    assert any(text.startswith("log() of train#1 keeps nothing any more") for text in texts)
    with _another(vault) as other:
        assert everything(other)[1:] == before[1:]
        [(old, now)] = [
            pair for pair in zip(before[0], everything(other)[0], strict=True) if pair[0].name == "train"
        ]
        assert now == old
    assert vault.release(mine) == 1  # of which no session is said to have made it
    assert vault.read("a")["n"].tolist() == [2]
    vault.append("a", {"n": 5})  # by the session around it
    with vault.session("train") as s:  # and another run begins
        assert s.run == 2


def _another(vault: tv.Vault) -> Any:
    """The store as another process opens it."""
    from contextlib import closing

    if "://" not in vault.place:
        return closing(type(vault.store)(vault.place))  # type: ignore[call-arg]
    return closing(type(vault.store)(vault.place, password=os.environ["TABLEVAULT_PASSWORD"]))  # type: ignore[call-arg]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.01)


SUSPENDED = """
import sys, time, warnings
import tablevault_pd as tv
warnings.simplefilter("always")
vault = tv.connect(sys.argv[1], session=False)
with vault.session("train", params={"lr": 1}) as s:
    s.log(loss=1.0, step=1)
    vault.append("a", {"n": 1})
    s.params["before"] = True
    from tablevault_pd.session.heartbeat import HEARTBEAT
    HEARTBEAT.flush(vault.store)
    print("up", flush=True)
    sys.stdin.readline()  # suspended here, and resumed by another meanwhile
    s.params["after"] = True
    s.tags = ["after"]
    s.log(loss=2.0, step=2)
    try:
        vault.append("a", {"n": 2})
    except tv.SessionContinued as error:
        print("refused", error, flush=True)
    if sys.argv[2] == "fails":
        raise ValueError("late")
"""


@pytest.mark.ci
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="a system without SIGSTOP")
@pytest.mark.parametrize("end", ["passes", "fails"])
def test_a_process_that_was_suspended_changes_nothing_of_the_attempt_after_it(
    vault: tv.Vault, end: str
) -> None:
    vault.append("a", {"n": 0})
    command = [sys.executable, "-c", SUSPENDED, vault.place, end]
    process = subprocess.Popen(
        command, env=environment(TABLEVAULT_BEAT_S="0.1", TABLEVAULT_PASSWORD=os.environ.get("TABLEVAULT_PASSWORD", "")),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        suspend(vault, process.pid)
        _until(lambda: vault.run("train").state == "lost")
        with vault.session("train", resume=True, params={"mine": 1}) as s:
            s.log(loss=3.0, step=2)
            vault.append("a", {"n": 3})
            HEARTBEAT.flush(vault.store)
            process.send_signal(signal.SIGCONT)
            printed, errors = process.communicate("\n", timeout=120)
            assert vault.run("train").state == "running"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    assert printed.startswith("refused The session train#1 was resumed meanwhile by process")
    assert "cannot record any more. The session train#1 was resumed meanwhile" in errors
    assert process.returncode == (end == "fails")
    run = vault.run("train")
    assert (run.state, run.error, run.tags, run.attempts) == ("finished", None, (), 2)
    assert run.params == {"lr": 1, "before": True, "mine": 1}
    assert vault.metrics("loss")["value"].tolist() == [1.0, 3.0]
    assert run.metrics == {"loss": 3.0}
    assert vault.read("a")["n"].tolist() == [0, 1, 3]
