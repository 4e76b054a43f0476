"""The recording of one session: when it begins and ends, what it logs, which code it runs, and what stops it.

:class:`~tablevault_pd.session.run.Run` is what users hold. The background thread sends what the outbox has.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tablevault_pd import validate
from tablevault_pd.capture import environment, script
from tablevault_pd.capture.exits import UNKNOWN_CODE, Ending, ending_of, quiet_loop
from tablevault_pd.capture.position import line_of_main
from tablevault_pd.code import statement_line
from tablevault_pd.errors import (
    NotRecorded,
    SessionStopped,
    VaultBusy,
    VaultClosed,
    VaultError,
    WorkerStopped,
)
from tablevault_pd.names import encodable
from tablevault_pd.reading import liveness
from tablevault_pd.session import active, inheritance
from tablevault_pd.session.control import ControlState
from tablevault_pd.session.executed import CELLS, folder_of_main
from tablevault_pd.session.heartbeat import EXIT_S, HEARTBEAT, LONGEST_RETRY_S, warn
from tablevault_pd.session.metrics_buffer import MAX_ROWS, number, values_of, whole
from tablevault_pd.session.opening import Opening, beat_s, session_name
from tablevault_pd.session.outbox import Outbox
from tablevault_pd.session.params import Params
from tablevault_pd.session.read_log import Reads
from tablevault_pd.session.settings import Settings
from tablevault_pd.session.steps import Step, current_step, forget_step
from tablevault_pd.store import NO_STEP, Beat, ControlRequest, Session, Store
from tablevault_pd.store.engine.threads import Bell, Flag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

_keys = count()


class Recorder:
    """Records one session of this process. It begins when its ``with`` is entered, or when it is first used.

    Attributes
    ----------
    asked
        Whether a checkpoint has to look twice.
    failing
        Whether the last attempt to write failed, and not because the store was busy.
    flushed
        Set when the end is written, or never will be.
    attempted
        Rung when a beat was sent, or was not.
    """

    def __init__(
        self,
        store: Store,
        name: str | None = None,
        *,
        params: Any = None,
        tags: str | Sequence[str] | None = None,
        parent: int | None = None,
        around: Recorder | None = None,
        resume: Session | None = None,
        settings: Settings | None = None,
        begin: bool = True,
    ) -> None:
        self.store = store
        self.settings = settings or Settings()
        self.around = around
        self.reads: Reads = Reads(store, None if around is None else around.reads)
        self.params = Params(params, redact=self.settings.redact, check=self._check_open)
        self._tags = validate.tags(tags) or ()
        self._callbacks: list[Callable[[], Any]] = []
        self.key = next(_keys)
        self._token = ""  # of the attempt to begin: tells its row in the store from those of others
        self._has_steps = False  # whether log() has to look for one
        self._beginning, self._process = threading.RLock(), os.getpid()
        self._reset()
        self._name, inherited = session_name(store, name if resume is None else resume.name)
        # The store gives it an id and a run when it begins.
        self.row = Session(self._name, "", "", os.getpid(), datetime.now(UTC))
        above = parent if parent is not None or around is not None else inherited
        self._unbegun: Opening | None = Opening(above, resume)
        self.is_orphan = self.asked = self._unusual = True  # whatever is done with it begins it first
        if begin:
            try:
                self._begin()
            except BaseException as error:
                self._end_begun(error)
                raise

    def _reset(self) -> None:
        """Set all that a session begins with. A forked child begins again."""
        self.asked = False
        self._unusual = False  # whether log() has to look twice: one of the next three, or a stopped worker
        self.is_orphan = False
        self._given_up: str | None = None  # why nothing is recorded any more
        self._ended = False
        self.failing = False
        self.outbox = Outbox(self.settings, self.store.scratch)
        self.control = ControlState(self._callbacks, self.outbox.now)
        self._rows = self.outbox.backlog.rows
        self._warned_of_waiting = False
        self.flushed: Flag = self.outbox.flushed
        self.attempted = Bell()

    # -- what it is

    @property
    def id(self) -> int:
        """The session's number in its vault."""
        if self.is_orphan:
            self._begin()
        return self.row.id

    @property
    def vault_id(self) -> str:
        """The id of the vault it belongs to."""
        return self.store.vault_id

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    @property
    def label(self) -> str:
        """``name#run``, as it is shown everywhere."""
        if self.is_orphan:
            self._begin()
        return self.row.label

    @property
    def tags(self) -> tuple[str, ...]:
        """Its labels; assign others to change them."""
        return self._tags

    @tags.setter
    def tags(self, tags: str | Sequence[str] | None) -> None:
        self._check_open()
        self._tags = validate.tags(tags) or ()
        self.outbox.change(tags=self._tags)

    def tags_changed(self, tags: tuple[str, ...]) -> None:
        """The store has these tags now."""
        self._tags = tags

    @property
    def stopped(self) -> SessionStopped | None:
        """The stop that it obeyed."""
        return self.control.stop

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._ended

    @property
    def is_begun(self) -> bool:
        """Whether the store knows it."""
        return self._unbegun is None

    @property
    def state(self) -> str:
        """Its state as this process knows it."""
        if self._given_up is not None:
            return "not recorded any more"
        if self._ended:
            return "ended" if self.is_begun else "ended before it began"
        if not self.is_begun:
            return "not begun"
        return "paused" if self.control.paused else "running"

    def keep_reads(self) -> None:
        """Store which lists it has read so far; if that fails, they are stored with the next commit."""
        if self.is_orphan or self._ended or self._given_up is not None:
            return
        try:
            self.reads.flush()
        except VaultError as error:
            warn(f"tablevault_pd cannot record now what {self.row.label} read: {error}")

    def _check_open(self) -> None:
        """Refuse a change of parameters and tags that would be lost."""
        if self._ended:
            label = repr(self.row.label if self.is_begun else self._name)
            raise VaultClosed(
                f"The session {label} has ended, and its parameters are settled. vault.tag({label}, …) still adds tags; "
                f"vault.session(resume={label}) lets it go on."
            )

    # -- measuring

    def log(self, metrics: Any, step: Any, values: dict[str, Any]) -> None:
        """See :meth:`Run.log`. The row keeps `values`."""
        if step is None:
            if self._has_steps:
                step = current_step(self.key)
        elif type(step) is not int or not NO_STEP < step < -NO_STEP:
            step = whole(step)
        if metrics is not None:
            values = values_of(metrics, values)
        else:
            for metric, value in values.items():
                if type(value) is not float:
                    values[metric] = number(metric, value)
        if (self._unusual or len(self._rows) >= MAX_ROWS) and not self._may_log():
            return
        self._rows.append((step, time.time(), values))

    def step(self, step: Any) -> Step:
        """See :meth:`Run.step`."""
        step = whole(step)
        if self._ended:
            raise self._is_over()
        self._has_steps = True
        return Step(self.key, step)

    @property
    def current_step(self) -> int | None:
        """What :meth:`step` said last in this context."""
        return current_step(self.key) if self._has_steps else None

    def _is_over(self) -> VaultClosed:
        return VaultClosed(
            f"The session {self.row.label} has ended. vault.session({self._name!r}) begins another run."
        )

    def _may_log(self) -> bool:
        self.raise_if_stopped()
        if self._ended:
            raise self._is_over()
        if self.is_orphan:
            self._begin()
        while self._given_up is None and len(self._rows) >= MAX_ROWS and not self.outbox.backlog.spill():
            self._wait_for_room()
        if self._given_up is not None:
            warn(
                f"log() of {self.row.label} keeps nothing any more: {self._given_up}",
                NotRecorded,
            )
        return self._given_up is None

    def _wait_for_room(self) -> None:
        if not self._warned_of_waiting:
            self._warned_of_waiting = True
            warn(
                f"log() of {self.row.label} waits: the store takes less than is logged, and the buffer is full"
            )
        HEARTBEAT.wait_for(self, lambda: len(self._rows) < MAX_ROWS, LONGEST_RETRY_S)

    # -- control

    def on_stop(self, function: Callable[[], Any]) -> None:
        """See :meth:`Run.on_stop`."""
        self._callbacks.append(function)

    def checkpoint(self) -> None:
        """See :meth:`Run.checkpoint`."""
        if self.asked:
            self.obey()

    def obey(self) -> None:
        """Pause or stop, if that was asked of the session or of one around it."""
        if self.is_orphan:
            self._begin()
        self.raise_if_stopped()
        chain = self.chain()
        controls = [recorder.control for recorder in chain]
        _stop_if_asked(chain)
        for control in controls:
            control.pause_if_asked(controls)
        _stop_if_asked(chain)  # while it was paused

    def raise_if_stopped(self) -> None:
        """Raise WorkerStopped again in a worker of a pool where this session, or one around it, was stopped."""
        recorder: Recorder | None = self
        while recorder is not None:
            try:
                recorder.control.raise_again(over=recorder._ended)
            except WorkerStopped:
                recorder.end(Ending("stopped"))
                raise
            recorder = recorder.around

    def chain(self) -> list[Recorder]:
        """Return this session and those around it in this process: a stop or pause of one of them is one of this."""
        chain: list[Recorder] = []
        recorder: Recorder | None = self
        while recorder is not None and not recorder.is_orphan and not recorder._ended:
            chain.append(recorder)
            recorder = recorder.around
        return chain

    def go_on_after_stop(self) -> None:
        """Let the session be stopped again: the next cell of a notebook begins."""
        self.control.go_on_after_stop()

    # -- code

    @property
    def cell(self) -> int | None:
        """The number of the piece of code that runs now, or ran last."""
        return self.outbox.cells.current_cell

    def stored_place(self) -> tuple[int | None, int | None]:
        """Return the number of the current cell and, in a script, the line where its statement begins, else 0.

        From here on the store has the cell and the code that it needs; the line is None if it does not have the code.
        """
        outbox = self.outbox
        outbox.idle = False
        cell = self.cell
        if cell is None or self._given_up is not None:
            return cell, None
        text = self._script_text(cell)
        line = None if text is None else statement_line(text, line_of_main())
        code = self._new_code(cell, line)
        beat = Beat(self.row.id, cells=outbox.cells.unstored(), **(code or {}))
        if not beat.is_empty:
            self.store.beat([beat])
            outbox.code.tell(beat.sources, beat.code)
        outbox.cells.mark_stored(cell)
        return cell, None if code is None else line or 0

    def note_line(self) -> None:
        """Note how far the code that runs now has come: what it has not come to yet was not executed."""
        if not (self.is_orphan or self._ended) and self.cell is not None:
            self.outbox.cells.reach(self.cell, line_of_main())

    def _script_text(self, cell: int) -> str | None:
        """Return the text of a script or prompt; None of a notebook's cell."""
        running = self.outbox.cells.running(cell)
        if running is None or (running.path is None and CELLS):
            return None
        code = self.outbox.code
        code.scripts = [*(script for script in code.scripts if script.cell != cell), running]
        return None if running.path is None else running.text

    def _new_code(self, cell: int, line: int | None) -> dict[str, Any] | None:
        """Return the modules and slices that the store does not have yet, as fields of a :class:`Beat`."""
        try:
            return {
                "sources": tuple(self.outbox.code.sources(self.row.id, cell)),
                "code": tuple(self.outbox.code.code(self.vault_id, self.row.id, cell, line)),
            }
        except Exception as error:  # noqa: BLE001  # whatever it is, the rows are written
            warn(f"tablevault_pd cannot record the code of {self.row.label}: {error}")
            return None

    def begin_cell(
        self, text: str, execution_count: int | None, *, notebook: str | None = None, path: str | None = None
    ) -> int:
        """Record that a piece of code begins to run. Return its number."""
        return self.outbox.cells.begin(self.row.id, text, execution_count, notebook=notebook, path=path)

    def end_cell(
        self,
        key: int,
        outcome: str,
        error: str | None = None,
        traceback: str | None = None,
        *,
        until: int | None = None,
    ) -> None:
        """Record that a piece of code is done."""
        self.outbox.cells.end(key, outcome, error, traceback, until=until)

    # -- beating: called by the background thread

    def next_beat(self) -> Beat:
        """Return all there is to send; the same again until it was sent."""
        ending = (
            self.outbox.ending
        )  # before anything is taken: what was logged before the end is sent with it, or before
        if ending is not None:
            self.reads.flush()
        return self.outbox.next_beat(self.row, self.params, self.control, ending)

    def waits_for(self, *, info: bool = False) -> int:
        """Return the number of the beat that will have sent what there is to send now; 0 if all was sent."""
        return 0 if self.is_orphan else self.outbox.waits_for(self.params, info=info)

    def has_sent(self, number: int) -> bool:
        """Return whether the beat of that number was sent, or never will be."""
        return self.outbox.has_sent(number)

    def on_sent(self, now: datetime, requests: Sequence[ControlRequest]) -> bool:
        """The store took the last beat, at `now` by its clock, and returned `requests`.

        Return whether there is more to send at once.
        """
        self.outbox.on_sent(now)
        self.failing = False
        if not self.flushed.is_set():
            self.control.take(requests, self._message)
        self.attempted.ring()
        more = self.outbox.ending is not None or self.control.has_news or self.outbox.backlog.waits
        return more and not self.flushed.is_set()

    def on_failed(self, error: Exception) -> None:
        """The store did not take the last beat. It is kept."""
        self.failing = not isinstance(error, VaultBusy)  # or waiting for it is of use
        self.attempted.ring()

    def update_flag(self) -> None:
        """Tell checkpoint() whether there is something to obey, here or in a session around."""
        self.asked = any(each.control.want != "run" or each.control.stopping for each in self.chain())
        self.control.notify()

    def abandon(self, error: Exception) -> str:
        """Discard buffered data, record nothing any more, and release paused threads. Return what is lost."""
        lost_values = len(self.outbox.backlog)
        lost = (
            f"{lost_values:,} logged values of {self.row.label}"
            if lost_values
            else f"the end of {self.row.label}"
        )
        self._given_up, self._unusual, self.asked = str(error), True, False
        self.outbox.clear()
        self.control.release()
        self.attempted.ring()
        return lost

    def _message(self, request: ControlRequest) -> str:
        """Return who made a request, and when."""
        asker, when = self._asker(request.asked_by), f"{request.requested:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.row.label} was asked to {request.request} by {asker} at {when}."

    def _asker(self, session_id: int | None) -> str:
        try:
            found = [] if session_id is None else self.store.sessions([session_id])
        except Exception:  # noqa: BLE001  # the stop is worth more than who asked for it
            found = []
        if found:
            return f"{found[0].label} ({found[0].user} on {found[0].host})"
        return "a process without a session" if session_id is None else f"the session {session_id}"

    # -- beginning

    def enter(self, frame: FrameType | None) -> None:
        """Begin, and become the current session. `frame` has the ``with``."""
        try:
            if self.is_orphan:
                self._begin()
            active.enter(self, frame)
        except BaseException as error:
            active.leave(self)
            self._end_begun(error)
            raise

    def _begin(self) -> None:
        """Begin, for the first time, or in a forked process as the child of the session that was forked."""
        active.raise_if_stopped(self.store)
        if self._unbegun is not None:
            self._begin_first(self._unbegun)
            return
        parent = self.row
        try:
            self._reset()
            self.params = Params(redact=self.settings.redact, check=self._check_open)
            self._tags = ()
            self.around, self.reads = None, Reads(self.store, self.reads)
            self._name = inheritance.worker_name(parent.name)
        finally:
            self.is_orphan = self.asked = self._unusual = True
        try:
            self._start(parent.id, None)
        except VaultError as error:
            warn(f"tablevault_pd cannot record this process: {error}")
            self.is_orphan = False
            self.abandon(error)
            return
        active.watch_worker()

    def _begin_first(self, opening: Opening) -> None:
        # A thread of the process that forked this one may have held the lock.
        if self._process != os.getpid():
            self._beginning, self._process = threading.RLock(), os.getpid()
        with self._beginning:
            if self._unbegun is None:
                return  # another thread was faster
            if self._ended:
                raise VaultClosed(f"The session {self._name!r} ended before it began. Begin another one.")
            self._start(opening.parent, opening.resume)

    def _start(self, parent: int | None, last: Session | None) -> None:
        """Begin in the store. What an error or an interrupt cuts off ends there, and can be begun once more."""
        before, self._token = self.row, uuid4().hex
        try:
            self._open(parent=parent, last=last)
            self._unbegun, self.is_orphan, self.asked, self._unusual = None, False, False, False
        except BaseException as error:
            row = self.row if self.row is not before else self._row_not_returned(error)
            cut_off = object.__new__(Recorder)
            vars(cut_off).update(vars(self))
            self._reset()
            self.row = before
            self.is_orphan = self.asked = self._unusual = True
            if row is not None:
                cut_off._end_start(row, error)
            raise
        else:
            try:
                self._watch()
            except BaseException:  # an interrupt: it has begun all the same
                self._watch()
                raise

    def _open(self, *, parent: int | None, last: Session | None) -> None:
        if parent is None and self.around is not None:
            parent = self.around.id
        info = environment.process_info() | {"machine": liveness.machine(), "opening": self._token}
        info["argv"] = self.settings.redactor.arguments(info["argv"])
        here = Session(
            self._name,
            environment.user_name(),
            environment.host_name(),
            os.getpid(),
            datetime.now(UTC),
            parent=parent,
            beat_s=beat_s(),
            tags=encodable(self._tags),
            params=encodable(self.params.take()),
            info=encodable(info),
        )
        self.outbox.info = info
        before = datetime.now(UTC)
        self.row = self.store.open_session(here) if last is None else self._reopen(last, here)
        self.reads.session_id = self.row.id
        self._ask_what_the_parent_is_asked()
        began = self.row.heartbeat or self.row.started
        self.outbox.begin(self.row, began - (before + (datetime.now(UTC) - before) / 2))
        text = script.main_source()
        if self.settings.capture != "none" and (text is not None or self.outbox.cells.prompt is not None):
            self.begin_cell(text or "", None, path=script.main_path(folder_of_main()))

    def _ask_what_the_parent_is_asked(self) -> None:
        """Ask this session to stop if its parent in another process is asked to."""
        if self.around is not None or self.row.parent is None:
            return
        requests = self.store.beat([Beat(self.row.parent)]).requests
        for stop in [request for request in requests if request.request == "stop"]:
            self.store.ask([self.row.id], "stop", exit_code=stop.exit_code, asked_by=stop.asked_by)

    def _reopen(self, last: Session, here: Session) -> Session:
        """Continue the run `last`, with its parameters, tags and cells."""
        for name, value in last.params.items():
            self.params.setdefault(name, value)
        tags = here.tags or last.tags
        parent = here.parent if here.parent is not None else last.parent
        same = replace(here, id=last.id, run=last.run, params=self.params.take(), tags=tags, parent=parent)
        row = self.store.reopen_session(same, seen=last.heartbeat)
        self._tags = tags
        earlier = self.store.cells([last.id])
        self.outbox.cells.next = max((cell.cell for cell in earlier), default=-1) + 1
        self.outbox.code.scripts = [cell for cell in earlier if cell.path is not None]
        return row

    def _watch(self) -> None:
        HEARTBEAT.add(self)
        active.opened(self)

    def _row_not_returned(self, error: BaseException) -> Session | None:
        """Return what the store opened although the call was interrupted: its info has the token of this start."""
        if isinstance(error, Exception):
            return None
        with suppress(VaultError):
            rows = self.store.sessions(name=self._name)
            mine = [row.id for row in rows if row.outcome is None and row.pid == os.getpid()]
            for row in self.store.sessions(mine, info=True) if mine else ():
                if row.info.get("opening") == self._token:
                    return row
        return None

    def _end_start(self, row: Session, error: BaseException) -> None:
        """End in the store what an interrupt has cut off."""
        self.row, self._unbegun, self.is_orphan = row, None, False
        self.reads = Reads(self.store)
        self.reads.session_id = row.id
        self.outbox.begin(row, self.outbox.offset)
        self._watch()
        self.end(ending_of(error), timeout_s=EXIT_S, quietly=True)

    def _end_begun(self, error: BaseException) -> None:
        """End the session, which nobody gets to use: `error` came after it had begun."""
        if not self.is_orphan:
            self.end(ending_of(error), timeout_s=EXIT_S, quietly=True)

    # -- ending

    def end(
        self, ending: Ending | None = None, *, timeout_s: float | None = None, quietly: bool = False
    ) -> None:
        """End the session, and wait up to `timeout_s` seconds, by default the vault's, until all it logged is written.

        What is not written then is written later, in the background, or reported as lost when the vault is closed.
        """
        ending = ending or Ending()
        try:
            if self._may_end():
                self._begin_to_end(ending)
        finally:
            if self._may_end():  # an interrupt: it ends all the same
                self.outbox.ending = Ending(ending.outcome, ending.error and ending.error.partition(":")[0])
            self._ended = self._unusual = True
            forget_step(self.key)
        try:
            if self.outbox.ending is not None:
                self._wait_until_flushed(self.store.timeout_s if timeout_s is None else timeout_s, quietly)
        finally:
            # Otherwise the end of the interpreter waits for it.
            if self.outbox.ending is None or self.flushed.is_set():
                active.closed(self)

    def _may_end(self) -> bool:
        return self.outbox.ending is None and not (self.is_orphan or self._given_up)

    def _begin_to_end(self, ending: Ending) -> None:
        if self.control.stopping and (ending.outcome == "finished" or ending.error == UNKNOWN_CODE):
            ending = Ending("stopped")
        if ending.outcome == "stopped":
            self.control.call_back(self.row.label)
        if self.cell is not None:
            self._script_text(self.cell)
        self.outbox.cells.end_all(_cell_outcome(ending), ending.error, ending.traceback)
        try:
            self.outbox.slices = self.outbox.code.everything(self.vault_id, self.row.id)
        except Exception as error:  # noqa: BLE001  # the end is worth more
            warn(f"tablevault_pd cannot record the code of {self.row.label}: {error}")
        text = None if ending.error is None else self.settings.text(ending.error)
        self.outbox.ending = replace(ending, error=text)

    def _wait_until_flushed(self, timeout_s: float, quietly: bool) -> None:
        if not (HEARTBEAT.wait_for(self, self.flushed.is_set, timeout_s) or self.failing or quietly):
            warn(
                f"{self.row.label} could not be closed within {timeout_s:g} s; this goes on in the background"
            )

    def end_with(self, error: BaseException | None) -> None:
        """End the session as its ``with`` is left: by `error`, or by none."""
        self.end(Ending("stopped") if self._was_cancelled_by_a_stop(error) else ending_of(error))

    def _was_cancelled_by_a_stop(self, error: BaseException | None) -> bool:
        """Tell whether `error` is how asyncio ends the tasks beside the one whose checkpoint raised the stop."""
        cancelled = getattr(sys.modules.get("asyncio"), "CancelledError", ())
        return isinstance(error, cancelled) and any(each.control.asked_to_stop for each in self.chain())

    def hand_over(self) -> None:
        """Write what was logged: a worker of a pool is about to return a result, and the pool may kill it from then on."""
        if self.is_orphan or self._ended or self._given_up or self.failing:
            return
        if self.control.stopping:
            self.end(Ending("stopped"))
            return
        outbox = self.outbox
        outbox.idle, outbox.sent_idle = True, False
        HEARTBEAT.wait_for(
            self, lambda: outbox.sent_idle and outbox.unsent is None and not outbox.backlog, EXIT_S
        )

    def reset_after_fork(self) -> None:
        """This process was forked: the session is the parent's. Whoever uses it here begins one of this process."""
        self._reset()
        self.is_orphan = self.asked = self._unusual = True
        active.forked()


def current_recorder(store: Store | None = None) -> Recorder | None:
    """Return the session that is current in this context, of any vault or of that of `store`."""
    session = active.innermost(store)
    return session if isinstance(session, Recorder) else None


def _stop_if_asked(chain: Sequence[Recorder]) -> None:
    """Raise SessionStopped if a session of `chain` was asked to stop; it and those inside of it call their on_stop functions."""
    for depth, recorder in enumerate(chain, 1):
        stop = recorder.control.stop_due()
        if stop is not None:
            quiet_loop()
            for inner in chain[:depth]:
                inner.control.call_back(inner.label)
            raise stop


def _cell_outcome(ending: Ending) -> str:
    if ending.outcome == "finished":
        return "ok"
    stopped = ending.outcome == "stopped" or (ending.error or "").startswith("KeyboardInterrupt")
    return "interrupted" if stopped else "error"
