"""Sessions against plain records: begun, nested, logged to, paused, stopped, ended, killed, resumed here and elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import uuid
import warnings
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stores import BOTH, new_place
from test_forks import wait_until
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.reading.liveness import machine
from tablevault_pd.session.heartbeat import HEARTBEAT
from tablevault_pd.store import Beat, Session
from tablevault_pd.vault.context import VaultContext

NAMES = st.sampled_from(["a", "b"])
WHICH = st.integers(0, 9)


@dataclass
class Record:
    """What is expected of one run."""

    name: str
    run: int
    parent: str | None = None
    state: str = "running"
    attempts: int = 1
    error: str | None = None
    params: dict[str, int] = field(default_factory=dict)
    loss: float | None = None

    @property
    def label(self) -> str:
        return f"{self.name}#{self.run}"


@dataclass
class Open:
    """A ``with`` of this process that was entered and not left."""

    session: tv.Run
    record: Record
    elsewhere: bool = False  #: another process has resumed it
    stop: bool = False  #: it is asked to stop, and the main thread did not obey yet
    stopped: bool = False  #: some thread obeyed


class Sessions(RuleBasedStateMachine):
    """One process with sessions inside of each other, asked from another handle."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.place = self.stack.enter_context(new_place(kind, folder))
        options: dict[str, Any] = {"session": False, "capture": "none", "durability": "fast"}
        self.vault = self.stack.enter_context(tv.connect(self.place.address, **options))
        # As another process has it: a store of its own.
        store = self.stack.enter_context(closing(self.place.open(durability="fast")))
        self.other = tv.Vault(VaultContext((self.place.address, uuid.uuid4().hex), store, {}), None)
        self.records: list[Record] = []
        self.open: list[Open] = []  # the outermost first
        self.rows: list[str | None] = []
        self.numbers = iter(range(1, 1000))

    def teardown(self) -> None:
        with self.stack:
            for opened in reversed(self.open):
                opened.session.__exit__(None, None, None)
            assert self.other.check().empty

    # -- beginning

    def runs(self, name: str) -> list[Record]:
        return [record for record in self.records if record.name == name]

    def enter(self, session: tv.Run, record: Record) -> None:
        session.__enter__()
        assert (session.name, session.run) == (record.name, record.run)
        if record not in self.records:
            self.records.append(record)
        self.open.append(Open(session, record))

    @rule(name=NAMES, resume=st.booleans())
    def begin(self, name: str, resume: bool) -> None:
        number, runs = next(self.numbers), self.runs(name)
        parent = self.open[-1].record.label if self.open else None
        last = runs[-1] if runs and resume and runs[-1].state != "finished" else None
        if last is not None and last.state == "running":
            with pytest.raises(tv.Conflict, match="is still running"):
                self.vault.session(name, resume=True)
            return
        params = {"n": number} if last is None or number % 2 else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # resume=True with other parameters
            session = self.vault.session(name, params=params, resume=resume)
        record = last or Record(name, len(runs) + 1)
        record.state, record.error = "running", None
        record.attempts += last is not None
        record.parent = parent or record.parent
        record.params |= params
        self.enter(session, record)

    @precondition(lambda self: any(record.state != "running" for record in self.records))
    @rule(which=WHICH)
    def resume(self, which: int) -> None:
        over = [record for record in self.records if record.state != "running"]
        record = over[which % len(over)]
        session = self.vault.session(resume=record.label)
        if self.open:
            record.parent = self.open[-1].record.label
        record.state, record.error = "running", None
        record.attempts += 1
        self.enter(session, record)

    @rule(name=NAMES)
    def killed(self, name: str) -> None:
        """Another process of this machine began a session, and was killed."""
        row = Session(name, "u", os.uname().nodename, dead_process(), datetime.now(UTC), params={"n": 0})
        opened = self.other.store.open_session(replace(row, info={"machine": machine()}))
        record = Record(name, opened.run, state="lost", params={"n": 0})
        self.records.append(record)

    # -- what a session does

    @rule(value=st.integers(0, 5))
    def log(self, value: int) -> None:
        if self.open:
            opened = self.open[-1]
            opened.session.log(loss=value + 0.5)
            if not opened.elsewhere:
                opened.record.loss = value + 0.5

    @rule()
    def save(self) -> None:
        number = len(self.rows)
        if self.open and self.open[-1].elsewhere:
            writes = [lambda: self.vault.append("rows", {"n": number})]
            if self.rows:
                writes.append(lambda: self.vault.snapshot(f"at {number}"))
            if self.rows and not any(opened.stop for opened in self.chain()):
                writes.append(lambda: self.vault.claim("rows"))  # a checkpoint, too
            for write in writes:
                with pytest.raises(tv.SessionContinued):
                    write()
            return
        self.vault.append("rows", {"n": number})
        self.rows.append(self.open[-1].record.label if self.open else None)

    @precondition(lambda self: self.open)
    @rule(which=WHICH, error=st.booleans())
    def end(self, which: int, error: bool) -> None:
        """Sessions are left in any order, as generators leave them."""
        self.leave(self.open[which % len(self.open)], ValueError("no") if error else None)

    def leave(self, opened: Open, error: BaseException | None) -> None:
        self.open.remove(opened)
        opened.session.__exit__(None if error is None else type(error), error, None)
        if opened.elsewhere:
            return
        if isinstance(error, ValueError):
            opened.record.state, opened.record.error = "failed", "ValueError: no"
        else:
            opened.record.state = "stopped" if opened.stopped or error is not None else "finished"

    # -- requests

    @precondition(lambda self: any(not opened.elsewhere for opened in self.open))
    @rule(which=WHICH)
    def ask_to_stop(self, which: int) -> None:
        mine = [opened for opened in self.open if not opened.elsewhere and not opened.stopped]
        if mine:
            opened = mine[which % len(mine)]
            self.other.stop(opened.record.label)
            opened.stop = True
            self.hear(lambda: opened.session._recorder.control.asked_to_stop)

    def hear(self, heard: Any) -> None:
        def asked() -> bool:
            HEARTBEAT.wake()
            return bool(heard())

        wait_until(asked)

    def chain(self) -> list[Open]:
        """The innermost session and those around it, as far as they are open."""
        of = {opened.session._recorder: opened for opened in self.open}
        return [of[recorder] for recorder in self.open[-1].session._recorder.chain()]

    @precondition(lambda self: self.open)
    @rule(caught=st.booleans())
    def checkpoint(self, caught: bool) -> None:
        chain = self.chain()
        due = next((opened for opened in chain if opened.stop), None)
        if due is None:
            self.open[-1].session.checkpoint()
            return
        with pytest.raises(tv.SessionStopped, match=f"{due.record.label} was asked to stop") as told:
            self.open[-1].session.checkpoint()
        due.stop, due.stopped = False, True
        for opened in chain[:1] if caught else chain[: chain.index(due) + 1]:
            self.leave(opened, told.value)

    @precondition(
        lambda self: self.open and not any(opened.stop or opened.elsewhere for opened in self.chain())
    )
    @rule(stop=st.booleans())
    def pause(self, stop: bool) -> None:
        opened = self.open[-1]
        if opened.stopped:
            return
        label, outcome = opened.record.label, []

        def work() -> None:
            try:
                opened.session.checkpoint()
                outcome.append("went on")
            except tv.SessionStopped:
                outcome.append("stopped")

        self.other.pause(label)
        self.hear(lambda: opened.session._recorder.has_request)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.hear(lambda: self.other.run(label).state == "paused")
        (self.other.stop if stop else self.other.resume)(label)
        self.hear(lambda: not thread.is_alive())
        assert outcome == ["stopped" if stop else "went on"]
        opened.stop = opened.stopped = stop  # the main thread obeys by itself
        self.hear(lambda: self.other.run(label).state == "running")

    # -- a process that was taken for dead

    @precondition(lambda self: any(not opened.elsewhere for opened in self.open))
    @rule(which=WHICH)
    def resumed_elsewhere(self, which: int) -> None:
        mine = [opened for opened in self.open if not opened.elsewhere]
        opened = mine[which % len(mine)]
        HEARTBEAT.flush(self.vault.store)
        with HEARTBEAT._rounds:  # it is suspended
            [seen] = self.other.store.sessions([opened.session.id], info=True)
            # It sends nothing in this test, and is not lost for that.
            there = replace(seen, pid=7, host="there", params={"n": -1}, beat_s=3600.0)
            self.other.store.reopen_session(there, last_beat=seen.heartbeat)
        self.hear(lambda: opened.session.state == "not recorded any more")
        opened.elsewhere, opened.stop = True, False
        opened.record.attempts += 1
        opened.record.params = {"n": -1}

    @precondition(lambda self: any(opened.elsewhere for opened in self.open))
    @rule(which=WHICH)
    def ends_elsewhere(self, which: int) -> None:
        theirs = [opened for opened in self.open if opened.elsewhere and opened.record.state == "running"]
        if theirs:
            opened = theirs[which % len(theirs)]
            attempt = opened.record.attempts - 1
            self.other.store.beat([Beat(opened.session.id, 1, outcome="finished", attempt=attempt)])
            opened.record.state = "finished"

    # -- what is in the vault

    @invariant()
    def sessions_are_as_expected(self) -> None:
        if not self.records:
            return
        HEARTBEAT.flush(self.vault.store)
        frame = self.other.sessions()
        found = [
            Record(
                row["name"], row["run"], none(row["parent"]), row["state"], row["attempts"], none(row["error"]),
                {"n": none(row["params.n"])} if none(row["params.n"]) is not None else {}, none(row.get("metrics.loss")),
            )
            for row in frame.to_dict("records")
        ]  # fmt: skip
        assert found == self.records

    @invariant()
    def rows_name_their_session(self) -> None:
        if self.rows:
            assert [none(label) for label in self.other.versions("rows")["session"]] == self.rows


def none(value: Any) -> Any:
    return None if pd.isna(value) else value


def dead_process() -> int:
    """The number of a process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-E", "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.ci
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tablevault_pd.NotRecorded")
@pytest.mark.parametrize("kind", BOTH)
def test_sessions_against_an_oracle(kind: str) -> None:
    run_state_machine_as_test(
        lambda: Sessions(kind),
        settings=settings(
            max_examples=times(15, ordinary=8) if kind == "embedded" else times(6, ordinary=3),
            stateful_step_count=20,
        ),
    )
