"""What sessions log while the store is slow, away, or does not take some of it: nothing is lost without a word."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pytest
from test_forks import wait_until
from torture.harness import LONG

import tablevault_pd as tv
from tablevault_pd.reading import liveness
from tablevault_pd.session import heartbeat as heart
from tablevault_pd.session import metrics_buffer as buffers
from tablevault_pd.session import recorder
from tablevault_pd.session.metrics_buffer import Backlog, apart
from tablevault_pd.store import Beat, BeatResponse, Measures, Session, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

HALF = "half \ud83d"
ESCAPED = "half \\ud83d"


class Brake:
    """Stands before a store's ``beat`` and does what a test says: waits, fails, or lets the beats through."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real = store.beat
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()  # a beat with values stands before the brake
        self.errors: list[Exception] = []  # for the next beats, one each
        self.refuse: Any = lambda beat: None
        self.sizes: list[int] = []
        monkeypatch.setattr(store, "beat", self.beat)

    def beat(self, beats: Sequence[Beat]) -> BeatResponse:
        values = sum(len(each.values) for beat in beats for each in beat.measures)
        if values:
            self.sizes.append(values)
            self.reached.set()
            assert self.open.wait(60)
        if self.errors:
            raise self.errors.pop(0)
        for beat in beats:
            self.refuse(beat)
        return self._real(beats)


@pytest.fixture
def brake(vault: tv.Vault, monkeypatch: pytest.MonkeyPatch) -> Iterator[Brake]:
    """A brake before the store of `vault`, which is open when the test is done."""
    found = Brake(vault.store, monkeypatch)
    yield found
    found.open.set()


def notice(owner: Any, method: str, look: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of what `look` answers after each call of a method, before anything else of its thread."""
    real, noticed = getattr(owner, method), []

    def call(*args: Any) -> Any:
        result = real(*args)
        noticed.append(look())
        return result

    monkeypatch.setattr(owner, method, call)
    return noticed


def values(vault: tv.Vault, name: str) -> np.ndarray:
    return vault.store.measures([vault.store.sessions(name=name)[-1].id])["value"].to_numpy()


def shrink(monkeypatch: pytest.MonkeyPatch, count: int) -> int:
    """Make all limits a fifth of what they are. Return a fifth of `count`."""
    for name in ("MAX_ROWS", "BATCH_VALUES"):
        monkeypatch.setattr(buffers, name, getattr(buffers, name) // 5)
    monkeypatch.setattr("tablevault_pd.session.recorder.MAX_ROWS", buffers.MAX_ROWS)
    return count // 5


def test_millions_of_values_logged_while_one_beat_is_under_way_are_all_kept(folder_vault, monkeypatch):
    vault, brake = folder_vault, Brake(folder_vault.store, monkeypatch)
    count = 625_000  # rows of four values
    if not LONG:
        count = shrink(monkeypatch, count)
    with warnings.catch_warnings(), vault.session("slow") as s:
        warnings.simplefilter("error")
        brake.open.clear()
        s.log(loss=-1.0)
        assert brake.reached.wait(60)
        for step in range(count):
            s.log(step=step, a=0.5, b=0.5, c=0.5, d=float(step))
        assert len(s._recorder._rows) <= buffers.MAX_ROWS, "memory is bounded"
        brake.open.set()
    assert max(brake.sizes) <= buffers.BATCH_VALUES + 4 * buffers.STEP_ROWS, "so is a beat"
    found = vault.store.measures([s.id])
    assert found.num_rows == 4 * count + 1
    steps = found.filter(pc.equal(found["metric"], "d"))
    assert np.array_equal(steps["step"].to_numpy(), np.arange(count))
    assert np.array_equal(steps["value"].to_numpy(), np.arange(count))
    assert vault.sessions("slow").state.tolist() == ["finished"]
    assert s._recorder.outbox.backlog._file is None, "the file is gone once it is told"


def test_values_come_back_in_order_through_memory_and_file(vault, brake, monkeypatch):
    monkeypatch.setattr(buffers, "BATCH_VALUES", 700)
    monkeypatch.setattr("tablevault_pd.session.recorder.MAX_ROWS", 2000)
    monkeypatch.setattr(buffers, "MAX_ROWS", 2000)
    with vault.session("train") as s:
        brake.open.clear()
        for step in range(10_000):
            s.log(step=step, loss=float(step), **({HALF: 1.0} if step % 2 else {}))
        mode = os.fstat(s._recorder.outbox.backlog._file.fileno()).st_mode
        assert mode & 0o077 == 0, "nobody else reads the file"
        brake.open.set()
    found = vault.store.measures([s.id]).to_pandas()
    loss = found[found.metric == "loss"]
    assert loss.value.tolist() == loss.step.tolist() == list(range(10_000))
    assert (found.metric == ESCAPED).sum() == 5000


def test_log_waits_when_the_file_is_full_and_says_so(vault, brake, monkeypatch):
    monkeypatch.setattr("tablevault_pd.session.recorder.MAX_ROWS", 100)
    monkeypatch.setattr(buffers, "MAX_ROWS", 100)
    monkeypatch.setattr(buffers, "MAX_FILE_BYTES", 3000)
    monkeypatch.setattr(buffers, "BATCH_VALUES", 50)
    monkeypatch.setattr(buffers, "STEP_ROWS", 10)
    told = threading.Event()
    real = heart.warn

    def warn(text: str, *rest: Any, **more: Any) -> None:
        if "waits" in text:
            told.set()
        real(text, *rest, **more)

    monkeypatch.setattr("tablevault_pd.session.recorder.warn", warn)
    brake.open.clear()
    with pytest.warns(RuntimeWarning, match="waits"), vault.session("train") as s:

        def work() -> None:
            for step in range(1000):
                s.log(step=step, loss=1.0)

        thread = threading.Thread(target=work)
        thread.start()
        assert told.wait(60)
        assert thread.is_alive(), "it waits"
        brake.open.set()
        thread.join(30)
        assert not thread.is_alive()
    assert len(values(vault, "train")) == 1000


@pytest.mark.parametrize(
    "error", [OSError(5, "EIO"), tv.VaultCorrupt("fsync"), tv.StorageFull("full"), RuntimeError("?")]
)
def test_a_failure_that_passes_loses_nothing_and_is_told_once(folder_vault, monkeypatch, error):
    monkeypatch.setattr(heart, "RETRY_S", 0.02)
    brake = Brake(folder_vault.store, monkeypatch)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with folder_vault.session("train") as s:
            s.log(loss=1.0)
            brake.errors = [error, error, error]
            folder_vault._flush()
            s.log(loss=2.0)
    assert values(folder_vault, "train").tolist() == [1.0, 2.0]
    assert folder_vault.sessions("train").state.tolist() == ["finished"]
    assert len([each for each in told if "goes on trying" in str(each.message)]) == 1


def test_a_call_that_reads_sessions_tries_at_once_what_failed_before(folder_vault, monkeypatch):
    monkeypatch.setattr(heart, "RETRY_S", 600.0)
    monkeypatch.setattr(heart, "LONGEST_RETRY_S", 600.0)
    brake = Brake(folder_vault.store, monkeypatch)
    with folder_vault.session("train") as s:
        with pytest.warns(RuntimeWarning, match="goes on trying"):
            brake.errors = [tv.StorageFull("full")]
            s.log(loss=1.0)
            heart.HEARTBEAT.wake()
            wait_until(lambda: s._recorder.failing)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert folder_vault.metrics("loss")["value"].tolist() == [1.0]


def test_a_session_tells_that_it_cannot_be_written(folder_vault, monkeypatch):
    monkeypatch.setattr(heart, "RETRY_S", 0.02)
    brake = Brake(folder_vault.store, monkeypatch)
    failed = threading.Event()

    def fail(beat: Beat) -> None:
        failed.set()
        raise OSError(28, "no space")

    with folder_vault.session("train") as s:
        with pytest.warns(RuntimeWarning, match="goes on trying"):
            brake.refuse = fail
            s.log(loss=1.0)
            heart.HEARTBEAT.wake()
            assert failed.wait(60)
            wait_until(lambda: s._recorder.failing)
            assert "nothing could be written" in repr(s)
            told = notice(s._recorder.outbox, "on_sent", lambda: repr(s), monkeypatch)
            brake.refuse = lambda beat: None
            heart.HEARTBEAT._retry_at.clear()
            folder_vault._flush()
        # Also for a thread that goes on as soon as the beat counts as sent.
        assert {*told, repr(s)} == {"<Session 'train#1': running>"}
    assert values(folder_vault, "train").tolist() == [1.0]


def test_a_removed_vault_ends_the_recording_and_every_log_says_so(folder_vault, monkeypatch):
    brake = Brake(folder_vault.store, monkeypatch)
    with folder_vault.session("train") as s:
        brake.errors = [tv.VaultNotFound("It was removed.")]
        with pytest.warns(RuntimeWarning, match="It was removed. Lost: .*1 logged values of train#1") as told:
            # Before a thread goes on that waits for the session.
            early = notice(s._recorder.outbox, "clear", lambda: str(len(told)), monkeypatch)
            s.log(loss=1.0)
            heart.HEARTBEAT.wake()
            assert s._recorder.flushed.wait(60)
            wait_until(lambda: early)
            assert early[0] == "1"
        assert repr(s) == "<Session 'train#1': not recorded any more>"
        for _ in range(2):
            with pytest.warns(tv.NotRecorded, match="keeps nothing any more: It was removed"):
                s.log(loss=2.0)
        s.checkpoint()
    assert folder_vault.sessions("train").state.tolist() == ["running"]
    with folder_vault.session("again") as other:  # the vault itself is sound
        other.log(loss=3.0)
    assert values(folder_vault, "again").tolist() == [3.0]
    folder_vault._run._abandoned = None


def test_what_is_not_written_when_the_vault_is_closed_is_told(tmp_path, monkeypatch):
    vault = tv.connect(tmp_path / "v", timeout_s=0.2)
    brake = Brake(vault.store, monkeypatch)
    s = vault.session("train")
    s.log(loss=1.0)

    def busy(beat: Beat) -> None:
        raise tv.VaultBusy("locked")

    brake.refuse = busy
    s.log(loss=2.0, acc=3.0)
    with pytest.warns(tv.NotRecorded, match="3 logged values of train#1"):
        vault.close()


@pytest.mark.parametrize(
    "step", [2**63, -(2**63), 2**70, -(10**30), np.uint64(2**63), 1.5, float("nan"), "1"]
)
def test_a_step_that_no_store_keeps_is_refused_and_the_rest_is_recorded(vault, step):
    with vault.session("steps") as s:
        s.log(step=2**63 - 1, a=1.0)
        with pytest.raises(tv.InvalidInput, match="step="):
            s.log(step=step, a=2.0)
        s.log(step=-(2**63) + 1, b=3.0)
    assert values(vault, "steps").tolist() == [1.0, 3.0]


# -- what one session tells is the trouble


def test_text_that_is_no_utf8_is_escaped_wherever_it_comes_from(vault):
    with (
        pytest.raises(ValueError, match="half"),
        vault.session("poisoned", params={"p": HALF, HALF: [1]}) as s,
        vault.session("healthy") as healthy,
    ):
        s.log(**{HALF: 1.0})
        healthy.log(loss=2.0)
        s.params["late"] = {"deep": HALF}
        s._recorder.cells.begin(f"print({HALF!r} + '{HALF}')", None)
        raise ValueError(HALF)
    frame = vault.sessions().set_index("session")
    assert frame.loc["poisoned#1", f"metrics.{ESCAPED}"] == 1.0
    assert frame.loc["poisoned#1", "params.p"] == ESCAPED
    assert frame.loc["poisoned#1", "error"] == f"ValueError: {ESCAPED}"
    assert frame.loc["healthy#1", "metrics.loss"] == 2.0
    assert frame.state.tolist()[1:] == ["failed", "failed"]
    cell = vault.cells("poisoned").iloc[-1]
    assert cell.text.endswith(f"'{ESCAPED}')")
    assert cell.outcome == "error"
    assert ESCAPED in cell.traceback
    for frame in (vault.sessions(), vault.cells()):
        frame.to_csv().encode()


@pytest.mark.parametrize("what", ["cells", "measures", "changes"])
def test_what_the_store_does_not_take_is_left_out_and_named_and_the_rest_is_recorded(
    folder_vault, monkeypatch, what
):
    brake = Brake(folder_vault.store, monkeypatch)
    sick = folder_vault.session("sick")
    key = sick.id

    def refuse(beat: Beat) -> None:
        if beat.session_id == key and getattr(beat, what):
            raise ValueError("it does not like that")

    brake.refuse = refuse
    names = {
        "cells": "The code of cell 0",
        "measures": "The metric 'loss'",
        "changes": "A change of its params",
    }
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with folder_vault.session("healthy") as healthy, sick:
            healthy.log(loss=1.0)
            sick._recorder.cells.begin("code", None)
            sick.log(loss=2.0)
            sick.params["p"] = 1
    assert values(folder_vault, "healthy").tolist() == [1.0]
    row = folder_vault.sessions("sick").iloc[0]
    assert row.state == "finished"
    assert len(values(folder_vault, "sick")) == (what != "measures")
    assert (folder_vault.cells("sick").text == "code").sum() == (what != "cells")
    assert any(names[what] in str(each.message) for each in told if each.category is tv.NotRecorded)


def test_a_session_that_is_not_in_the_vault_stops_no_other(folder_vault, monkeypatch):
    with folder_vault.session("healthy") as healthy, folder_vault.session("gone") as gone:

        def remove(db):
            db.execute("DELETE FROM cells WHERE session = ?", (gone.id,))
            db.execute("DELETE FROM sessions WHERE id = ?", (gone.id,))

        folder_vault.store.catalog.write(remove)
        with pytest.warns(RuntimeWarning, match="gone#1"):
            gone.log(loss=1.0)
            gone.tags = "t"
            healthy.log(loss=2.0)
            assert gone._recorder.flushed.wait(60)
    assert values(folder_vault, "healthy").tolist() == [2.0]
    assert folder_vault.sessions("healthy").state.tolist() == ["finished"]


# -- the buffer itself


def test_an_interrupt_anywhere_in_the_buffer_loses_and_doubles_no_row(tmp_path, monkeypatch):
    """A trace function raises at each line in turn."""
    import sys

    monkeypatch.setattr(buffers, "BATCH_VALUES", 7)
    monkeypatch.setattr(buffers, "MAX_ROWS", 20)
    monkeypatch.setattr(buffers, "STEP_ROWS", 3)

    def told(interrupt_at: int) -> tuple[list[float], bool]:
        backlog = Backlog(lambda: 0.0, tmp_path)
        backlog.rows.extend((step, 0.0, {"m": float(step)}) for step in range(40))
        lines, raised = 0, False

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal lines, raised
            if frame.f_code.co_filename != buffers.__file__:
                return None
            if event == "line":
                lines += 1
                if lines == interrupt_at:
                    raised = True
                    raise KeyboardInterrupt
            return trace

        found: list[float] = []

        def take() -> None:
            batch = backlog.next_batch()
            found.extend(value for each in batch for value in each.values.tolist())
            backlog.batch = None

        sys.settrace(trace)
        try:
            backlog.spill()
            backlog.next_batch()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        backlog._spilling = False
        while backlog:
            take()
        return found, raised

    raised, at = True, 0
    while raised:
        at += 1
        found, raised = told(at)
        assert found == [float(step) for step in range(40)], at
    assert at > 50


def test_a_signal_handler_may_log_while_the_buffer_is_emptied(tmp_path, monkeypatch):
    backlog = Backlog(lambda: 0.0, tmp_path)
    monkeypatch.setattr(buffers, "MAX_ROWS", 10)
    backlog.rows.extend((step, 0.0, {"m": 1.0}) for step in range(100))
    real = backlog._write

    def write(batch: tuple[Measures, ...]) -> bool:
        backlog.rows.append((None, 0.0, {"m": 1.0}))
        assert backlog.spill()
        assert backlog.next_batch() == ()
        return real(batch)

    monkeypatch.setattr(backlog, "_write", write)
    assert backlog.spill()
    count = 0
    while backlog:
        count += sum(len(each.values) for each in backlog.next_batch())
        backlog.batch = None
    assert count == 101


def test_the_file_of_a_backlog_has_no_name(tmp_path: Path):
    backlog = Backlog(lambda: 0.0, tmp_path)
    backlog.rows.extend((1, 0.0, {"m": 1.0}) for _ in range(10))
    backlog._take()
    assert backlog._write(buffers.packed(1, backlog._taken, 0.0))
    assert list(tmp_path.iterdir()) == [], "kill -9 leaves nothing behind"
    assert len(backlog) == 10


def test_a_session_of_another_process_is_not_found_gone_by_mistake():

    here = Session("x", "u", "h", os.getppid(), datetime.now(UTC), info={"machine": liveness.machine()})
    assert not liveness.surely_dead(here)


def test_calls_of_two_threads_have_times_of_their_own(
    folder_vault: tv.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clock says, and however the calls interleave: the times say what one call logged."""
    begun = time.time()
    monkeypatch.setattr(recorder, "time", SimpleNamespace(time=lambda: begun))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with folder_vault.session("train") as s:

            def log(first: int) -> None:
                for number in range(first, first + 3000):
                    s.log(a=number, b=-number)

            with ThreadPoolExecutor(4) as pool:
                list(pool.map(log, range(0, 12_000, 3000)))
    finally:
        sys.setswitchinterval(before)
    found = folder_vault.store.measures([s.id]).to_pandas()
    a, b = (found[found["metric"] == name].set_index("time")["value"] for name in "ab")
    assert a.index.is_unique
    assert a.index.is_monotonic_increasing
    assert (a + b.reindex(a.index) == 0).all()  # one call
    assert sorted(a) == list(range(12_000))


def test_times_of_calls_follow_the_clock() -> None:
    """Calls within two microseconds are put apart; a clock that was set back by a second is believed."""
    times = [100.0, 100.0, 99.9999995, 100.5, 100.5000005, 99.0, 99.0]
    found = [at for _, at, _ in apart([(None, at, {}) for at in times], 100.0)]
    assert found == pytest.approx(
        [100.000002, 100.000004, 100.000006, 100.5, 100.500002, 99.0, 99.000002], abs=1e-9
    )
