"""How often a process asks its stores, and how little a beat without news writes."""

from __future__ import annotations

import itertools
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from stores import Faults, database_of, faults, new_database
from test_forks import wait_until

from tablevault_pd.capture import environment, script
from tablevault_pd.errors import StoreUnavailable
from tablevault_pd.session import heartbeat
from tablevault_pd.session.heartbeat import HEARTBEAT, HeartbeatThread
from tablevault_pd.store import Beat, Session
from tablevault_pd.store.engine.threads import Wakeup

if TYPE_CHECKING:
    from pathlib import Path

    import tablevault_pd as tv

__all__ = ["faults"]  # a fixture, used by its name


class FakeStore:
    """A store that can be a key of a weak dictionary."""

    def __init__(self, watch_s: float) -> None:
        self.watch_s = watch_s


def looks(monkeypatch: pytest.MonkeyPatch, watch_s: float, seconds: float, news_until: float) -> list[float]:
    """At which seconds a thread that wakes twice a second would ask a store."""
    now = 1000.0
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=lambda: now))
    thread, found = HeartbeatThread(), []
    session: Any = SimpleNamespace(
        store=FakeStore(watch_s), waits_for=lambda info: int(now - 1000 < news_until)
    )
    while now < 1000 + seconds:
        if thread._is_due([session], woken=False):
            thread._looked_at[session.store] = now
            found.append(now - 1000)
        now += heartbeat.WATCH_S
    return found


def test_a_server_is_asked_once_a_second_and_every_five_when_it_is_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert looks(monkeypatch, 1.0, 10, news_until=0) == list(range(10))
    assert looks(monkeypatch, 0.0, 3, news_until=0) == [0, 0.5, 1, 1.5, 2, 2.5]
    assert looks(monkeypatch, 1.0, 3, news_until=2) == [0, 0.5, 1, 1.5, 2.5]
    late = [at for at in looks(monkeypatch, 1.0, 180, news_until=0) if at >= heartbeat.QUIET_AFTER_S]
    assert {after - before for before, after in itertools.pairwise(late)} == {5.0}
    assert len(late) == 12


def test_news_and_requests_end_the_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=lambda: now))
    thread = HeartbeatThread()
    session: Any = SimpleNamespace(store=FakeStore(1.0), waits_for=lambda info: 0)
    assert thread._is_due([session], woken=False)
    now += heartbeat.QUIET_AFTER_S + 1
    thread._looked_at[session.store] = now - 1.5
    assert not thread._is_due([session], woken=False)
    assert thread._is_due([session], woken=True)
    assert thread._is_due([session], woken=False)


@pytest.mark.arango
def test_a_beat_without_news_is_one_small_update(faults: Faults) -> None:
    from arango.aql import AQL

    from tablevault_pd.store.arango import ArangoStore
    from tablevault_pd.store.arango.control import ALIVE, PULSE

    with new_database(faulty=True) as url:
        store = ArangoStore(url, create=True)
        opened = store.open_session(Session("s", "u", "h", 1, datetime.now(UTC)))
        before = store.sessions([opened.id])[0].heartbeat
        statements: list[str] = []
        real = AQL.execute
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                AQL,
                "execute",
                lambda self, query, **more: statements.append(query) or real(self, query, **more),
            )
            faults.reset()
            store.beat([Beat(opened.id)])
            store.beat([Beat(opened.id, 1, alive=True)])
            assert faults.requests() == 2
        assert statements == [PULSE, ALIVE]
        others = [store.open_session(Session(f"other {n}", "u", "h", 1, datetime.now(UTC))) for n in range(3)]
        faults.reset()
        store.beat([Beat(row.id, 1, alive=True) for row in others])
        assert faults.requests() == 1  # a process asks as often whatever it has open
        assert "waitForSync" not in ALIVE
        [found] = store.sessions([opened.id])
        assert before is not None
        assert found.heartbeat is not None
        assert found.heartbeat >= before
        assert database_of(url).collection("tv_measures").count() == 0
        store.close()


def test_heartbeats_go_on_while_the_environment_is_read(
    folder_vault: tv.Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(script, "main_file", lambda: tmp_path / "train.py")
    go_on, store = threading.Event(), folder_vault.store

    def slow_git(folder: Path, no_fork: object) -> dict[str, Any]:
        assert go_on.wait(60)
        return {"commit": "abc", "branch": "main", "dirty": False}

    monkeypatch.setattr(environment, "git_state", slow_git)
    monkeypatch.setattr(heartbeat, "FLUSH_S", 0.05)
    with folder_vault.session("slow") as s:
        for step in range(3):
            s.log(step=step, loss=1.0)
            wait_until(lambda step=step: store.measures([s.id]).num_rows == step + 1)
        with pytest.warns(RuntimeWarning, match="did not take within .* what .*slow#1 told it last"):
            assert "git_commit" not in folder_vault.run("slow").environment
        monkeypatch.setattr(heartbeat, "FLUSH_S", 60.0)
        go_on.set()
        assert folder_vault.run("slow").environment["git_commit"] == "abc"


def test_an_end_waits_for_a_slow_attempt_also_where_the_one_before_it_failed(
    folder_vault: tv.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = folder_vault.store
    real, down, begun, go_on = store.beat, threading.Event(), threading.Event(), threading.Event()

    def beat(beats: Any) -> Any:
        if down.is_set():
            raise StoreUnavailable("down")
        begun.set()
        assert go_on.wait(60)
        return real(beats)

    class Slow(Wakeup):
        """The attempt goes on once the end has waited for it several times."""

        waits = 0

        def wait(self, timeout_s: float) -> bool:
            self.waits += begun.is_set()
            if self.waits > 3:
                go_on.set()
            return super().wait(timeout_s)

    monkeypatch.setattr(heartbeat, "WATCH_S", 0.01)
    with folder_vault.session("train") as s:
        s.log(loss=0.5)
        HEARTBEAT.flush(store)
        recorder = s._recorder
        down.set()
        monkeypatch.setattr(store, "beat", beat)
        with pytest.warns(RuntimeWarning, match="cannot record this session now"):
            s.log(loss=0.25)
            HEARTBEAT.wake()
            wait_until(lambda: recorder.failing)
        monkeypatch.setattr(recorder, "attempted", Slow())
        down.clear()
    try:
        assert store.sessions([s.id])[0].outcome == "finished"
        assert store.measures([s.id])["value"].to_pylist() == [0.5, 0.25]
    finally:
        go_on.set()
