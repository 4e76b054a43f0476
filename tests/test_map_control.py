"""A map under control: its rate, stop and pause, and claims that were taken away while it worked; on both stores."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any

import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.mapping import calls, job
from tablevault_pd.store.work import ClaimState, Holder


class Clock:
    """Stands for the time of a job: it goes on when the job waits, and ends calls that have lasted long enough."""

    def __init__(self, lasts_s: float) -> None:
        self.now = 1000.0
        self.starts: list[float] = []
        self._lasts_s = lasts_s
        self._running: list[tuple[float, Future[Any], Any]] = []
        self._function: Any = None

    def runner_for(self, function: Any, kwargs: Any, **options: Any) -> Clock:
        self._function = function
        return self

    def submit(self, payload: Any) -> Future[Any]:
        self.starts.append(self.now)
        self._running.append((self.now + self._lasts_s, Future(), payload))
        return self._running[-1][1]

    def close(self) -> None: ...

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        ended = [call for call in self._running if call[0] <= self.now]
        self._running = [call for call in self._running if call[0] > self.now]
        for _, future, row in ended:
            future.set_result([[self._function(row)]])

    def wait(self, futures: Any, timeout: float | None, return_when: str) -> Any:
        done = wait_for(futures, 0, return_when)
        if not done.done:
            self.sleep(0.05 if timeout is None else timeout)
            done = wait_for(futures, 0, return_when)
        return done


@pytest.mark.parametrize(
    ("workers", "lasts_s", "rate", "ends_s"),
    [(1, 0.0, 20, 59 / 20), (8, 0.2, 20, 59 / 20), (8, 1.0, 20, 59 / 8), (4, 0.01, 1000, 1.0)],
)
def test_calls_keep_their_rate_whatever_the_workers(
    folder_vault, monkeypatch, workers, lasts_s, rate, ends_s
):
    clock = Clock(lasts_s)
    monkeypatch.setattr(job, "time", clock)
    monkeypatch.setattr(job, "wait", clock.wait)
    monkeypatch.setattr(calls, "runner_for", clock.runner_for)
    folder_vault.save("numbers", pd.DataFrame({"n": range(60)}))
    options: Any = {"version": "1", "workers": workers, "rate_per_s": rate}
    made = folder_vault.map("lines", lambda row: {"line": row.n}, "numbers", **options)
    assert sorted(made.read()["line"]) == list(range(60))
    gaps = [after - before for before, after in zip(clock.starts, clock.starts[1:], strict=False)]
    assert min(gaps) >= 1 / rate - 1e-6
    assert clock.starts[-1] - clock.starts[0] <= 1.1 * ends_s


# ---------------------------------------------------------------- stop and pause


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def held(vault: tv.Vault) -> int:
    records = vault.store.claim_records(vault.store.head("lines/map").list_id)
    return int((records.state == ClaimState.HELD).sum())


def test_a_paused_map_has_committed_what_it_did_and_holds_nothing(vault):
    vault.save("numbers", pd.DataFrame({"n": range(6)}))
    done: list[int] = []
    during: list[Any] = []

    def pausing(row: Any) -> dict[str, int]:
        done.append(row.n)
        if row.n == 2:
            vault.pause("worker")
            wait_until(lambda: run._recorder.has_request)
            looker.start()
        return {"line": row.n}

    def look_and_resume() -> None:
        wait_until(lambda: set(vault.sessions("worker")["state"]) == {"paused"})
        during.append((sorted(vault.read("lines")["line"]), list(done), held(vault)))
        vault.resume("worker")

    looker = threading.Thread(target=look_and_resume)
    with vault.session("worker") as run:
        made = vault.map("lines", pausing, "numbers", version="1")
    looker.join()
    assert during == [([0, 1, 2], [0, 1, 2], 0)]
    assert sorted(made.read()["line"]) == done == list(range(6))


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_a_stopped_map_commits_every_call_that_it_began(vault, kind):
    vault.save("numbers", pd.DataFrame({"n": range(40)}))
    begun: list[int] = []

    def stop_at_five(n: int) -> bool:
        begun.append(n)
        if n == 5:
            vault.stop("worker")
        return n >= 2  # these end after the request has come

    def in_thread(row: Any) -> dict[str, int]:
        if stop_at_five(row.n):
            wait_until(lambda: run._recorder.has_request)
        return {"line": row.n}

    async def as_task(row: Any) -> dict[str, int]:
        if stop_at_five(row.n):
            while not run._recorder.has_request:
                await asyncio.sleep(0.01)
        return {"line": row.n}

    function = in_thread if kind == "threads" else as_task
    with pytest.raises(tv.SessionStopped), vault.session("worker") as run:
        vault.map("lines", function, "numbers", version="1", workers=6)
    assert sorted(vault.read("lines")["line"]) == sorted(begun)
    assert 5 < len(begun) < 40
    assert held(vault) == 0


# ---------------------------------------------------------------- claims that were taken away


@pytest.mark.parametrize("kind", ["rows", "batches", "tasks"])
def test_results_whose_claim_was_lost_are_those_of_who_took_it(vault, kind, monkeypatch):
    """As when a process was suspended for so long that others took it for dead."""
    claim, claiming = vault.store.claim, threading.RLock()

    def claim_in_turn(request: Any) -> Any:
        with claiming:
            return claim(request)

    monkeypatch.setattr(vault.store, "claim", claim_in_turn)
    vault.save("numbers", pd.DataFrame({"n": range(8)}))
    options: Any = {"version": "1", "commit_every": 2} | ({"batch": 2} if kind == "batches" else {})

    def made_by(who: str, numbers: Any) -> Any:
        if who == "suspended" and 3 in list(numbers) and not taken:
            taken.append(True)
            lists = vault.store.head("lines/map").list_id
            if kind == "tasks":  # beside this call more is claimed, until nothing is left
                wait_until(lambda: held(vault) + ("lines" in vault and len(vault["lines"])) == 8)
            with claiming:  # what was given back is not claimed again by the call that lost it
                vault.store.give_back(lists, [Holder(run._recorder.id, 0)])
                other_did.append(held(vault))
                with vault.session("other"):
                    function = (
                        (lambda row: {"by": "other", "n": row.n}) if kind != "batches" else by_batch("other")
                    )
                    vault.map("lines", function, "numbers", **options)
        return who

    def by_batch(who: str) -> Any:
        def function(frame: pd.DataFrame) -> pd.DataFrame:
            return frame.assign(by=made_by(who, frame["n"]))

        return function

    def by_row(row: Any) -> dict[str, Any]:
        return {"by": made_by("suspended", [row.n]), "n": row.n}

    async def by_task(row: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"by": await asyncio.to_thread(made_by, "suspended", [row.n]), "n": row.n}

    taken: list[bool] = []
    other_did: list[int] = []
    functions = {"rows": by_row, "batches": by_batch("suspended"), "tasks": by_task}
    with vault.session("suspended") as run:
        made = vault.map("lines", functions[kind], "numbers", **options).read()
    assert other_did == [0]
    assert sorted(made["n"]) == list(range(8))
    last = 3 if kind == "tasks" else 7  # tasks run beside each other: some have ended before
    assert set(made.loc[made["n"].between(3, last), "by"]) == {"other"}
    assert held(vault) == 0
