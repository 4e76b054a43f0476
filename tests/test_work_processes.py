"""Claims among real processes: killed, suspended, forked, interrupted."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from stores import remove_strays
from torture.harness import PROCESSES, suspend, times

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.ci,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks of a POSIX system"),
]


def options() -> dict[str, Any]:
    """What a process needs to connect to a server as this one does."""
    password = os.environ.get("TABLEVAULT_PASSWORD")
    return {} if password is None else {"password": password}


def until(condition: Callable[[], Any], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.01)


def work_off(place: str, name: str, options: dict[str, Any]) -> None:
    """Do jobs until all are done."""
    with tv.connect(place, session=name, durability="fast", capture="none", **options) as vault:
        while True:
            mine = vault.claim("jobs", k=3)
            if len(mine):
                vault.append("results", mine.assign(by=os.getpid()), inputs=tv.rows(mine), finish=True)
            elif (vault.claims("jobs")["state"] == "done").all():
                return
            else:
                time.sleep(0.01)


@pytest.mark.filterwarnings("ignore:The rows saved")
def test_six_processes_do_each_job_once_though_some_are_killed(vault):
    jobs = times(90)
    vault.save("jobs", pd.DataFrame({"n": range(jobs)}))
    vault.save(
        "results", pd.DataFrame({"n": pd.Series([], dtype="int64"), "by": pd.Series([], dtype="int64")})
    )

    def started(number: int) -> Any:
        process = PROCESSES.Process(target=work_off, args=(vault.place, f"w{number}", options()), daemon=True)
        process.start()
        return process

    workers = [started(number) for number in range(6)]
    for number, victim in enumerate(workers[:3]):
        until(lambda some=10 * (number + 1): len(vault["results"]) >= some)
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
    workers[0] = started(6)
    for worker in (workers[0], *workers[3:]):
        worker.join(120)
        assert worker.exitcode == 0
    results = vault.read("results")
    assert sorted(results["n"]) == list(range(jobs))
    parents = vault.lineage("results")
    assert parents["parent_position"].tolist() == results["n"].tolist()
    claims = vault.claims("jobs")
    assert set(claims["state"]) == {"done"}
    by = dict(zip(results["n"], results["by"], strict=True))
    assert (
        claims.groupby("session", sort=False)["position"]
        .apply(lambda rows: len({by[row] for row in rows}))
        .eq(1)
        .all()
    )
    remove_strays(vault)  # rows that the killed had not committed


def suspended(place: str, options: dict[str, Any], pipe: Any) -> None:
    """Claim, be suspended, and finish too late."""
    os.environ["TABLEVAULT_BEAT_S"] = "0.05"
    with tv.connect(place, session="sleeper", capture="none", **options) as vault:
        mine = vault.claim("jobs", k=3)
        pipe.send(mine["n"].tolist())
        pipe.recv()  # after the sleep
        try:
            vault.append("results", {"by": "sleeper"}, inputs=mine, finish=True)
        except tv.ClaimLost as error:
            pipe.send(str(error))
        else:
            pipe.send("written")


def test_a_worker_that_was_suspended_has_lost_what_another_one_claimed(vault):
    vault.save("jobs", pd.DataFrame({"n": range(4)}))
    mine, theirs = PROCESSES.Pipe()
    sleeper = PROCESSES.Process(target=suspended, args=(vault.place, options(), theirs), daemon=True)
    sleeper.start()
    assert mine.recv() == [0, 1, 2]
    assert vault.claim("jobs", k=4)["n"].tolist() == [3]
    suspend(vault, sleeper.pid)
    try:
        taken: list[int] = []
        until(lambda: taken.extend(vault.claim("jobs", k=2)["n"]) or taken)
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    assert taken == [0, 1]
    mine.send("go on")
    assert mine.recv().startswith("Rows 0, 1, 2 of 'jobs' are not held")
    sleeper.join()
    assert "results" not in vault
    assert vault.claims("jobs")["state"].tolist() == ["held", "held", "open", "held"]


def take_some(number: int) -> list[int]:
    """In a forked worker, with the vault of the parent."""
    vault = tv.current_vault()
    mine = vault.claim("jobs", k=2)
    vault.finish(mine.iloc[:1])
    return mine["n"].tolist()


def finish_sent(mine: pd.DataFrame) -> int:
    tv.current_vault().append("results", {"n": mine["n"].tolist()[0]}, inputs=mine, finish=True)
    return os.getpid()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_pool_claims_and_finishes(folder_vault):
    folder_vault.save("jobs", pd.DataFrame({"n": range(40)}))
    own = [folder_vault.claim("jobs") for _ in range(4)]
    with multiprocessing.get_context("fork").Pool(3) as pool:
        taken = pool.map(take_some, range(10), chunksize=1)
        assert os.getpid() not in pool.map(finish_sent, own)
    assert sorted(number for each in taken for number in each) == list(range(4, 24))
    claims = folder_vault.claims("jobs")
    assert claims["state"][:4].tolist() == ["done"] * 4
    assert sorted(folder_vault.read("results")["n"]) == [0, 1, 2, 3]
    done = {each[0] for each in taken}
    assert set(claims["position"][claims["state"] == "done"]) - {0, 1, 2, 3} == done
    # What the workers held has fallen back with them.
    left = folder_vault.claim("jobs", k=99)["n"].tolist()
    assert left == [number for number in range(4, 40) if number not in done]


class InterruptAt:
    """Raise KeyboardInterrupt at the n-th point in this package where Python looks for signals; see test_locks.py."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.raised = False

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        while frame is not None and frame.f_globals.get("__name__") == "contextlib":
            frame = frame.f_back
        if event not in ("call", "c_return") or frame is None:
            return
        if self.raised or not frame.f_globals.get("__name__", "").startswith("tablevault_pd."):
            return
        self.left -= 1
        if self.left < 0:
            self.raised = True
            raise KeyboardInterrupt

    def __enter__(self) -> InterruptAt:
        gc.disable()  # Python swallows what is raised in a finalizer
        sys.setprofile(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()


def test_an_interrupt_of_claim_leaves_no_row_held_by_nobody(folder_vault):
    folder_vault.save("jobs", pd.DataFrame({"n": range(4)}))
    kept = folder_vault.claim("jobs")
    step, interrupted = max(1, round(3 / times(1))), 0
    for at in range(0, 5000, step):
        mine = None
        try:
            with InterruptAt(at) as interrupt:
                mine = folder_vault.claim("jobs", k=2)
        except KeyboardInterrupt:
            interrupted += 1
        held = folder_vault.claims("jobs", state="held")["position"].tolist()
        assert held == [0] if mine is None else [0, 1, 2], at
        if mine is not None:
            folder_vault.release(mine)
        if not interrupt.raised:
            break
    assert not interrupt.raised
    assert interrupted > 20
    folder_vault.finish(kept)


def produce(place: str, count: int) -> None:
    with tv.connect(place, session="producer", durability="fast", capture="none") as vault:
        for number in range(1, count):
            vault.append("events", {"n": number})


def test_a_list_is_followed_while_another_process_appends(folder_vault):
    count = times(60)
    folder_vault.save("events", pd.DataFrame({"n": [0]}))
    follower = folder_vault.follow("events", since="start")
    producer = PROCESSES.Process(target=produce, args=(folder_vault.place, count), daemon=True)
    producer.start()
    found: list[int] = []
    for frame in follower:
        assert frame.index.tolist() == frame["n"].tolist()
        found += frame["n"].tolist()
        if len(found) == count:
            follower.close()
    assert found == list(range(count))
    producer.join()
