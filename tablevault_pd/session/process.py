"""The sessions that are open in this process, and what concerns all of them: code, exit, and the children of the process."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tablevault_pd.capture.exits import Ending, Watch
from tablevault_pd.capture.notebook import Executed, Hooks, QuietStop, Typed, typed_before
from tablevault_pd.errors import WorkerStopped
from tablevault_pd.session import inheritance as family
from tablevault_pd.session.executed import CELLS, Ran, files_run_by
from tablevault_pd.session.heartbeat import EXIT_S, HEART, warn

if TYPE_CHECKING:
    from tablevault_pd.session.run import Run
    from tablevault_pd.store import Store

_open: list[Run] = []
_running: list[tuple[Ran, dict[Run, int]]] = []  # cells that run now; %run of a notebook nests them


def opened(run: Run) -> None:
    """A session began: watch what happens to the process, and tell the processes it starts."""
    if run not in _open:  # a forked child adopts one
        _open.append(run)
    WATCH.install(signals=not family.is_worker())
    _quiet_stop.install()
    if run.settings.capture != "none":
        for ran, numbers in _running:  # opened inside of a cell: that cell is its code
            numbers[run] = _begin(ran, run)
        if not _hooks.installed:
            _note_earlier_cells()
        _hooks.install()
    if family.is_worker():
        watch_worker()
    announce()


def closed(run: Run) -> None:
    """A session is over; with the last one the process is watched no longer."""
    if run in _open:
        _open.remove(run)
    if run.around is None and isinstance(run.stopped, WorkerStopped):
        _stopped[run.store.vault_id] = run
    if not _open:
        WATCH.remove()
        _quiet_stop.remove()
    if not any(each.settings.capture != "none" for each in _open):
        _hooks.remove()
        _running.clear()
    announce()


def raise_if_stopped(store: Store) -> None:
    """Raises WorkerStopped where the session of this worker was stopped: it begins no other one."""
    run = _stopped.get(store.vault_id)
    if run is not None:
        run.raise_if_stopped()


def forked() -> None:
    """This process is a child now: what was announced is its parent."""
    _announced.clear()
    _before.clear()
    _running.clear()
    _stopped.clear()


def parent() -> family.Parent | None:
    """The session that this process was started from."""
    if _announced:
        return _before[0] if _before else None
    return family.inherited()


def announce() -> None:
    """Make the innermost session of the main thread the parent of processes started from now on."""
    from tablevault_pd.session import current

    run = current.of_the_process() or (_quiet()[-1] if _quiet() else None)
    if run is None or not run.row.id:
        mine = family.inherited()
        if mine is not None and _announced and mine.session == _announced[-1]:
            family.announce(_before[0] if _before else None)
            _announced.clear()
        return
    if not _announced:
        found = family.inherited()
        _before[:] = [] if found is None else [found]
    _announced[:] = [run.row.id]
    family.announce(family.Parent(run.store.vault_id, run.store.place, run.row.id, run.row.name))


_stopped: dict[str, Run] = {}  # in a worker of a pool: its session that was stopped, by vault
_announced: list[int] = []
_before: list[family.Parent] = []


def _quiet() -> list[Run]:
    return [run for run in _open if run.around is None and not (run._orphan or run.ended)]


def watch_worker() -> None:
    """Learn how a worker of multiprocessing ends, and when one of a pool is done with a task."""
    WATCH.watch_worker(_hand_over)


def _hand_over() -> None:
    for run in _open:
        run.hand_over()


def _end_all(ending: Ending) -> None:
    deadline = time.monotonic() + EXIT_S  # for all of them together
    for run in reversed(list(_open)):  # the inner ones first
        run.end(ending, timeout_s=max(deadline - time.monotonic(), 0.1), quietly=True)
    HEART.abandon()


def _note_earlier_cells() -> None:
    """Cells that ran while no session was open define what later ones use."""
    known = {ran.typed.execution_count for ran in CELLS}
    CELLS.extend(Ran(typed) for typed in typed_before() if typed.execution_count not in known)


def _begin(ran: Ran, run: Run) -> int:
    number = run.begin_cell(ran.typed.text, ran.typed.execution_count, notebook=ran.typed.id)
    ran.numbers[run.vault_id, run.row.id] = number
    return number


def _cell_started(typed: Typed) -> None:
    recording = [run for run in _open if run.settings.capture != "none" and not (run._orphan or run.ended)]
    for run in recording:
        if not _running:
            run.go_on_after_stop()
    ran = Ran(typed, files=files_run_by(typed.text))
    CELLS.append(ran)
    _running.append((ran, {run: _begin(ran, run) for run in recording}))


def _cell_ended(how: Executed) -> None:
    if not _running:
        return
    ran, numbers = _running.pop()
    ran.until = how.until
    for run, key in numbers.items():
        run.end_cell(key, how.outcome, how.error, how.traceback, until=how.until)


WATCH = Watch(_end_all)
_hooks = Hooks(
    _cell_started, _cell_ended, lambda error: warn(f"tablevault_pd cannot record this cell: {error}")
)
_quiet_stop = QuietStop()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WATCH.forked)
