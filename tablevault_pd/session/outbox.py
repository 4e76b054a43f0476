"""The unsent data of one session. User threads add to it, the background thread sends it beat by beat."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import WorkerStopped
from tablevault_pd.names import encodable
from tablevault_pd.session.cells import Cells
from tablevault_pd.session.environment import EnvironmentCapture
from tablevault_pd.session.executed import CodeRecorder
from tablevault_pd.session.heartbeat import warn
from tablevault_pd.session.metrics_buffer import Backlog
from tablevault_pd.store import Beat
from tablevault_pd.store.engine.threads import Flag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tablevault_pd.capture.exits import ExitStatus
    from tablevault_pd.session.control import ControlState
    from tablevault_pd.session.params import Params
    from tablevault_pd.session.settings import Settings
    from tablevault_pd.store import Measures, ModuleSource, Session, WrittenCode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Outbox:
    """The unsent data of one session, and the beat that is being sent.

    Attributes
    ----------
    offset
        Time of the store minus time of this machine.
    info
        The environment in the row of the session.
    ending
        How the session ends; None while it goes on.
    tasks_done, tasks_stored
        How many tasks a worker of a pool has finished, and of how many of them the store has everything.
    integers
        By metric: whether it was logged as integers alone, also by earlier attempts.
    task_begun
        Whether the next task has begun although it has logged nothing yet.
    """

    def __init__(self, settings: Settings, scratch: Path | None) -> None:
        self.offset = timedelta()
        self.cells = Cells(self.now, settings.text)
        self.backlog = Backlog(lambda: self.offset.total_seconds(), scratch)
        self.ending: ExitStatus | None = None
        self.tasks_done = self.tasks_stored = self._tasks_sent = 0
        self.task_begun = self._idle = False
        self.unsent: Beat | None = None
        self.flushed = Flag()
        self.code = CodeRecorder(capture=settings.capture, mask=settings.text)
        self.slices: list[WrittenCode] = []  # of all code of the session, at its end
        self._environment = EnvironmentCapture()
        self.info: Mapping[str, Any] = {}
        self._sources: list[ModuleSource] = []
        self._changes: dict[str, Any] = {}
        self._number = 0  # of the last beat that was begun
        self._sent = 0  # of the last beat that the store took
        self._beaten_at = float("-inf")
        self._sent_stop = self._sent_first_step = False
        self.integers: dict[str, bool] = {}

    def begin_environment(self) -> dict[str, Any]:
        """Begin to read the environment: what may change from now on. Return what the info says until it is read."""
        return self._environment.begin()

    def begin(self, row: Session, offset: timedelta) -> None:
        """Begin to send for a session that the store has opened."""
        self.backlog.session_id, self.backlog.attempt = row.id, row.attempt
        self.cells.session_id = row.id
        self.offset = offset

    def now(self) -> datetime:
        """Return the time by the store's clock."""
        return datetime.now(UTC) + self.offset

    def change(self, **changes: Any) -> None:
        """Send a change of the session's row with the next beat."""
        self._changes = {**self._changes, **changes}

    def next_beat(
        self, row: Session, params: Params, control: ControlState, ending: ExitStatus | None
    ) -> Beat:
        """Return all unsent data; the same beat again until it was sent. The last beat says how the session ends."""
        if self.unsent is not None:
            return self.unsent
        self._number += 1  # counted before anything is taken: see waits_for()
        self._read_environment(row)
        # before anything is taken, too: all that these tasks logged is taken then
        tasks_done = self.tasks_done
        begun = self._next_task_begun()
        measures = self.backlog.next_batch()
        if self.backlog.waits:
            ending = None  # there is more to send before it
        now = time.monotonic()
        alive = not self.flushed.is_set() and now - self._beaten_at >= row.beat_s
        if alive:
            self._beaten_at = now
        changes, self._changes = self._changes, {}
        if params.changed:
            changes["params"] = params.take()
        changes |= self._idleness(tasks_done, begun, stopped=isinstance(control.stop, WorkerStopped))
        sources, self._sources = tuple(self._sources), []
        slices, self.slices = tuple(self.slices), []
        answered, paused = control.report()
        self.unsent = Beat(
            row.id,
            self._number,
            alive,
            paused,
            answered,
            self.cells.collect(),
            measures,
            sources,
            encodable(changes),
            None if ending is None else ending.outcome,
            None if ending is None else ending.error,
            row.attempt,
            self._timeline(control) | self._new_integers(measures),
            slices,
        )
        return self.unsent

    def on_sent(self, now: datetime) -> None:
        """Note that the store took the last beat, at `now` by its clock."""
        sent, self.unsent, self.backlog.batch = self.unsent, None, None
        if abs(now - self.now()) > timedelta(seconds=1):
            self.offset = now - datetime.now(UTC)  # the clock of this machine was set, or is inexact
        self._sent = self._number
        self.tasks_stored = self._tasks_sent
        self.code.mark_stored(() if sent is None else sent.sources)
        if sent is not None and sent.outcome is not None:
            self.flushed.set()

    def clear(self) -> None:
        """Drop all unsent data."""
        self._environment.drop()
        self.unsent, self._sent = None, self._number
        self.backlog.clear()
        self.cells.clear()
        self.flushed.set()

    def forget(self) -> Flag:
        """Drop all unsent data in a forked child, whose parent sends it. Return a new flag that says so."""
        self._environment.drop()
        self.unsent, self._sent, self.flushed = None, self._number, Flag()
        self.flushed.set()
        return self.flushed

    def waits_for(self, params: Params, *, info: bool) -> int:
        """Return the number of the beat after which all present data is sent; 0 if it is.

        With `info`, that includes the environment, which the first beat does not have, and which may come after the end.
        """
        if self.flushed.is_set() and not info:
            return 0
        news = self._changes or self._sources or self.cells.has_news or params.changed
        later = self.backlog.later_batches or int(bool(news))
        if info and not self._environment.was_taken:
            later = max(later, 2 if self._beaten_at == float("-inf") and self.ending is None else 1)
        return self._number + later if later or self._sent < self._number else 0

    def wait_for_environment(self, timeout_s: float) -> bool:
        """Wait until the environment is read, and can be sent. Return whether it is."""
        return self._environment.was_taken or self._environment.wait(timeout_s)

    def has_sent(self, number: int) -> bool:
        """Return whether that beat was sent, or never will be."""
        return self._sent >= number or self.is_done

    @property
    def is_done(self) -> bool:
        """Whether the end is written, and the environment, or never will be."""
        # In this order: a beat is counted before it takes the environment.
        return self.flushed.is_set() and self._environment.was_taken and self._sent == self._number

    @property
    def awaits_environment(self) -> bool:
        """Whether the end is written, and nothing is to be sent before more of the environment is read."""
        return self.flushed.is_set() and self._sent == self._number and not self._environment.has_news

    @property
    def lacking(self) -> str:
        """What of the environment was not sent, in words; all of it where a beat with the rest is under way."""
        return self._environment.lacking or "the environment"

    def _timeline(self, control: ControlState) -> dict[str, Any]:
        """Return what is new in the timeline of this attempt; see :attr:`Beat.timeline`."""
        new: dict[str, Any] = {}
        if self.backlog.first_step is not None and not self._sent_first_step:
            new["first_step"], self._sent_first_step = self.backlog.first_step, True
        pauses = control.pauses()
        if pauses is not None:
            new["pauses"] = [
                [_microseconds(began), ended and _microseconds(ended)] for began, ended in pauses
            ]
        return new

    def _new_integers(self, measures: Sequence[Measures]) -> dict[str, list[str]]:
        """Return all metrics that were logged as integers alone, if others are since the last beat."""
        before = [metric for metric, are in self.integers.items() if are]
        for one in measures:
            self.integers[one.metric] = one.integers and self.integers.get(one.metric, True)
        now = [metric for metric, are in self.integers.items() if are]
        return {} if now == before else {"integers": now}

    def _next_task_begun(self) -> bool:
        """Return whether a worker whose row says that it is idle has its next task."""
        begun = self.task_begun
        if begun:
            self.task_begun = False
        return self._idle and (begun or bool(self.backlog.rows))

    def _idleness(self, tasks_done: int, begun: bool, *, stopped: bool) -> dict[str, Any]:
        """Return changes of a row that say that a worker of a pool is idle or stopped: its session is not lost if its process ends."""
        if self.ending is not None:
            return {}
        if stopped:
            sent, self._sent_stop = self._sent_stop, True
            return {} if sent else {"outcome": "stopped", "ended": self.now()}
        if tasks_done > self._tasks_sent and not self.backlog.waits:
            self._tasks_sent, self._idle = tasks_done, True
            return {"ended": self.now()}
        if begun:
            self._idle = False
            return {"ended": None}
        return {}

    def _read_environment(self, row: Session) -> None:
        """Take the environment, which is read after the first heartbeat; with the last one what there is, then the rest."""
        if not self._environment.was_taken and self._beaten_at == float("-inf") and self.ending is None:
            return
        try:
            if not self.flushed.is_set():
                self._sources = self.code.sources(row.id, self.cells.current_cell)
            environment = self._environment.take(ending=self.ending is not None)
        except Exception as error:  # noqa: BLE001  # the session goes on without it
            warn(f"tablevault_pd cannot record the environment of {row.label}: {error}")
            return
        if environment:
            self.info = {**self.info, **environment}
            self.change(info=self.info)


def _microseconds(time: datetime) -> int:
    """Return a time in microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)
