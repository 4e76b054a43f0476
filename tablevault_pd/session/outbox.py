"""What one session has to send to the store, one beat at a time. The background thread takes from it, user threads add."""

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
    from collections.abc import Mapping
    from pathlib import Path

    from tablevault_pd.capture.exits import Ending
    from tablevault_pd.session.control import ControlState
    from tablevault_pd.session.params import Params
    from tablevault_pd.session.settings import Settings
    from tablevault_pd.store import ModuleSource, Session, WrittenCode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Outbox:
    """The unsent news of one session, and the beat that is on its way.

    Attributes
    ----------
    offset
        From our clock to the store's.
    info
        What the session's row says of its environment.
    ending
        How the session ends, from then on.
    idle
        Whether a worker of a pool waits for its next task.
    """

    def __init__(self, settings: Settings, scratch: Path | None) -> None:
        self.offset = timedelta()
        self.cells = Cells(self.now, settings.text)
        self.backlog = Backlog(0, lambda: self.offset.total_seconds(), scratch)
        self.ending: Ending | None = None
        self.idle = self.sent_idle = False
        self.unsent: Beat | None = None
        self.flushed = Flag()
        self.code = CodeRecorder(capture=settings.capture, mask=settings.text)
        self.slices: list[WrittenCode] = []  # of all that the session executed, at its end
        self._environment = EnvironmentCapture()
        self.info: Mapping[str, Any] = {}
        self._sources: list[ModuleSource] = []
        self._changes: dict[str, Any] = {}
        self._number = 0  # of the last beat that was begun
        self._sent = 0  # of the last beat that the store took
        self._beaten_at = float("-inf")
        self._sent_stop = self._sent_first_step = False

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

    def next_beat(self, row: Session, params: Params, control: ControlState, ending: Ending | None) -> Beat:
        """Return all there is to send; the same again until it was sent. The last one says how the session ends."""
        if self.unsent is not None:
            return self.unsent
        self._number += 1  # before anything is taken: see waits_for()
        self._read_environment(row)
        if self.sent_idle and self.backlog.rows:
            self.idle = False  # the next task has begun
        measures = self.backlog.next_batch()
        if self.backlog.waits:
            ending = None  # there is more to send before it
        now = time.monotonic()
        alive = now - self._beaten_at >= row.beat_s
        if alive:
            self._beaten_at = now
        changes, self._changes = self._changes, {}
        if params.changed:
            changes["params"] = params.take()
        changes |= self._idleness(stopped=isinstance(control.stop, WorkerStopped))
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
            self._timeline(control),
            slices,
        )
        return self.unsent

    def on_sent(self, now: datetime) -> None:
        """The store took the last beat, at `now` by its clock."""
        sent, self.unsent, self.backlog.batch = self.unsent, None, None
        if abs(now - self.now()) > timedelta(seconds=1):
            self.offset = now - datetime.now(UTC)  # the clock here was set, or goes wrong
        self._sent = self._number
        self.code.tell(() if sent is None else sent.sources)
        if sent is not None and sent.outcome is not None:
            self.flushed.set()

    def clear(self) -> None:
        """Drop everything: the store is gone."""
        self.unsent = None
        self.backlog.clear()
        self.cells.clear()
        self.flushed.set()

    def waits_for(self, params: Params, *, info: bool) -> int:
        """Return the number of the beat that will have sent all there is to send now; 0 if the store has it.

        With `info`, the environment is among it: the first beat only says that the session lives.
        """
        if self.flushed.is_set():
            return 0
        news = self._changes or self._sources or self.cells.has_news or params.changed
        later = self.backlog.later_batches or int(bool(news))
        if info and not self._environment.was_read:
            later = max(later, 2 if self._beaten_at == float("-inf") else 1)
        return self._number + later if later or self._sent < self._number else 0

    def has_sent(self, number: int) -> bool:
        """Return whether the beat of that number was sent, or never will be."""
        return self._sent >= number or self.flushed.is_set()

    def _timeline(self, control: ControlState) -> dict[str, Any]:
        """Return what is new of this attempt; see :attr:`Beat.timeline`."""
        new: dict[str, Any] = {}
        if self.backlog.first_step is not None and not self._sent_first_step:
            new["first_step"], self._sent_first_step = self.backlog.first_step, True
        pauses = control.pauses()
        if pauses is not None:
            new["pauses"] = [
                [_microseconds(began), ended and _microseconds(ended)] for began, ended in pauses
            ]
        return new

    def _idleness(self, *, stopped: bool) -> dict[str, Any]:
        """Return what says that a worker of a pool waits for a task, or was stopped: it is not lost if its process is gone."""
        if self.ending is not None:
            return {}
        if stopped:
            sent, self._sent_stop = self._sent_stop, True
            return {} if sent else {"outcome": "stopped", "ended": self.now()}
        if self.idle == self.sent_idle:
            return {}
        self.sent_idle = self.idle
        return {"ended": self.now() if self.idle else None}

    def _read_environment(self, row: Session) -> None:
        """Read the environment, but not before the first heartbeat says that the session lives."""
        if not self._environment.was_read and self._beaten_at == float("-inf") and self.ending is None:
            return
        try:
            self._sources = self.code.sources(row.id, self.cells.current_cell)
            found = self._environment.read()
        except Exception as error:  # noqa: BLE001  # whatever it is, the session goes on beating without it
            warn(f"tablevault_pd cannot record the environment of {row.label}: {error}")
            return
        if found is not None:
            self.info = {**self.info, **found}
            self.change(info=self.info)


def _microseconds(time: datetime) -> int:
    """Return a time as the stores keep it: since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)
