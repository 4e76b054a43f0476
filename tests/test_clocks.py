"""Clocks that are set: order, cleaning and what counts as running follow numbers and processes, not the time of day."""

from __future__ import annotations

import datetime as dates
import json
import sys
import time
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from test_forks import in_child
from torture.harness import PROCESSES

from tablevault_pd.reading import liveness
from tablevault_pd.store import Session
from tablevault_pd.store.embedded.connection import Proof

if TYPE_CHECKING:
    from collections.abc import Callable

    import tablevault_pd as tv

LARGE = 40_000  # rows that make a file of their own in a folder


class Clock:
    """The time of day, as this process sees it."""

    def __init__(self) -> None:
        self.offset = timedelta()
        self.stopped: float | None = None

    def time(self, real: Callable[[], float] = time.time) -> float:
        return self.stopped if self.stopped is not None else real() + self.offset.total_seconds()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set for all modules of the package, which ask ``time.time()`` and ``datetime.now()``."""
    found = Clock()

    class IsMoment(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, dates.datetime)

    class Moment(dates.datetime, metaclass=IsMoment):
        @classmethod
        def now(cls, tz: dates.tzinfo | None = None) -> dates.datetime:  # type: ignore[override]  # a plain one
            return dates.datetime.fromtimestamp(found.time(), tz)

    for name, module in list(sys.modules.items()):
        if name.startswith("tablevault_pd") and getattr(module, "datetime", None) is dates.datetime:
            monkeypatch.setattr(module, "datetime", Moment)
    monkeypatch.setattr(time, "time", found.time)
    return found


def test_order_and_cleaning_follow_the_versions(vault: tv.Vault, clock: Clock) -> None:
    """A day back, ten years ahead, a clock that stands still: the newest version is the one that was committed last."""
    settings = [
        timedelta(), timedelta(days=-1), timedelta(days=3650), timedelta(days=-2), timedelta(hours=1), timedelta(hours=-1),
    ]  # fmt: skip
    rows = 1_000 if vault.place.startswith("arangodb:") else LARGE
    for number, clock.offset in enumerate(settings):
        vault.append("log", {"n": number})
        vault.save("state", pd.DataFrame({"n": [number] * rows}))
        assert vault.read("log")["n"].tolist() == list(range(number + 1))
        assert vault.read("state", stop=1)["n"].tolist() == [number]
    clock.stopped = clock.time()
    for number in range(6, 9):
        vault.append("log", {"n": number})
        vault.save("state", pd.DataFrame({"n": [number] * rows}))
    for name in ("state", "log"):
        versions = vault.versions(name)
        assert versions["version"].tolist() == list(range(1, 10))
        assert versions["time"].is_monotonic_increasing
        assert versions["time"].is_unique
    vault.compact()
    vault.vacuum(keep=2, dry_run=False)
    versions = vault.versions("state")
    assert versions["version"][~versions["gone"]].tolist() == [8, 9]
    assert vault.read("state", version=8, stop=1)["n"].tolist() == [7]
    assert vault.read("log")["n"].tolist() == list(range(9))
    assert vault.check(fix=True).empty


def _wait(end: object) -> None:
    end.wait()


@pytest.mark.skipif(not liveness.start_of_process(), reason="the system does not tell when a process began")
def test_a_forked_process_has_a_start_of_its_own() -> None:
    assert liveness.start_of_process() == {liveness.START: _ticks()}
    start, ticks = json.loads(in_child(lambda: json.dumps([liveness.start_of_process(), _ticks()])))
    assert start == {liveness.START: ticks}


def _ticks() -> int:
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


@pytest.mark.skipif(not liveness.start_of_process(), reason="the system does not tell when a process began")
@pytest.mark.parametrize("offset", [timedelta(days=-1), timedelta(hours=1), timedelta(days=3650)])
def test_a_process_that_runs_is_not_gone_by_another_time_of_day(clock: Clock, offset: timedelta) -> None:
    end = PROCESSES.Event()
    process = PROCESSES.Process(target=_wait, args=(end,))
    process.start()
    try:
        assert process.pid is not None
        start = liveness._process(process.pid)[1]
        info = {"machine": liveness.machine(), liveness.START: start}
        session = Session("x", "u", "h", process.pid, dates.datetime.now(UTC), info=info)
        clock.offset = offset
        assert not liveness.surely_dead(session)
        info[liveness.START] = start - 1  # another process had this number then
        assert liveness.surely_dead(session)
    finally:
        end.set()
        process.join()


def test_a_session_says_when_its_process_began(folder_vault: tv.Vault) -> None:
    with folder_vault.session("here"):
        (session,) = folder_vault.store.sessions(name="here", info=True)
    assert session.info.get(liveness.START) == liveness.start_of_process().get(liveness.START)


@pytest.mark.parametrize("offset", [timedelta(days=-1), timedelta(days=3650)])
def test_no_read_waits_for_a_time_to_come(clock: Clock, offset: timedelta) -> None:
    """Who may only read waits until a change of this very moment could be told from the next one, and no longer."""
    now = time.time_ns()
    proof = Proof((1, 1, now, now), (1, 1, now, now))
    clock.offset = offset
    assert not proof.is_young()


def test_the_hour_that_comes_twice(
    folder_vault: tv.Vault, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """Times are of UTC: in the night in which clocks go back, 02:30 comes before 02:30."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        for number, hour in enumerate((0, 1)):  # 02:30 twice
            clock.stopped = dates.datetime(2026, 10, 25, hour, 30, tzinfo=UTC).timestamp()
            folder_vault.append("log", {"n": number})
        times = folder_vault.versions("log")["time"]
        assert times.tolist() == [pd.Timestamp(f"2026-10-25 0{hour}:30", tz="UTC") for hour in (0, 1)]
        assert folder_vault.read("log", as_of="2026-10-25T00:45Z")["n"].tolist() == [0]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert np.array_equal(folder_vault.read("log")["n"], [0, 1])
