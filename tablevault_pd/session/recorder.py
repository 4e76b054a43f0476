"""Records one session: begins and ends it, takes what it logs, stores the code that it runs, and obeys stop and pause.

Users hold a :class:`~tablevault_pd.session.run.Run`.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tablevault_pd.capture import script
from tablevault_pd.capture.exits import ExitStatus, ending_of
from tablevault_pd.capture.position import place_of_main
from tablevault_pd.errors import NotRecorded, VaultClosed, VaultError, WorkerStopped
from tablevault_pd.reading.integers import integer_metrics
from tablevault_pd.session import active, inheritance, opening
from tablevault_pd.session.control import obey
from tablevault_pd.session.ending import cell_outcome, ending_after_stop, ending_by
from tablevault_pd.session.executed import TYPED, folder_of_project, place_in_code
from tablevault_pd.session.heartbeat import EXIT_S, HEARTBEAT, LONGEST_RETRY_S, warn
from tablevault_pd.session.metrics_buffer import MAX_ROWS, number, values_of, whole
from tablevault_pd.session.params import Params
from tablevault_pd.session.read_log import Reads
from tablevault_pd.session.running_code import slices_of_all, store_code, text_of_script
from tablevault_pd.session.settings import Settings
from tablevault_pd.session.state import SessionState
from tablevault_pd.session.steps import Step, current_step, forget_step
from tablevault_pd.store import NO_STEP, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from tablevault_pd.code import Slice
    from tablevault_pd.session.cells import Cells
    from tablevault_pd.session.read_log import Lines
    from tablevault_pd.store import Store


class Recorder(SessionState):
    """Records one session of this process. It begins when its ``with`` is entered, or when it is first used."""

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
        super().__init__(store, settings or Settings(), around, params, tags)
        self._token = ""  # identifies the row of the last attempt to begin
        self._has_steps = False  # whether log() looks for the current step
        self._beginning, self._process = threading.RLock(), os.getpid()
        self._name, inherited = opening.session_name(store, name if resume is None else resume.name)
        # The store sets its id and run when it begins.
        self.row = Session(self._name, "", "", os.getpid(), datetime.now(UTC))
        above = parent if parent is not None or around is not None else inherited
        self._unbegun = opening.Opening(above, resume)
        self.is_orphan = self.has_request = self._check_log = True  # its first use begins it
        if begin:
            try:
                self._begin()
            except BaseException as error:
                self._end_begun(error)
                raise

    @property
    def id(self) -> int:
        """The session's number in its vault."""
        if self.is_orphan:
            self._begin()
        return self.row.id

    @property
    def label(self) -> str:
        """``name#run``, as it is shown everywhere."""
        if self.is_orphan:
            self._begin()
        return self.row.label

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
        if (self._check_log or len(self._rows) >= MAX_ROWS) and not self._may_log():
            return
        self._rows.append((step, time.time(), values))

    def step(self, step: Any) -> Step:
        """See :meth:`Run.step`."""
        step = whole(step)
        if self._ended:
            raise self._is_over()
        self._has_steps = True
        return Step(self.key, step)

    def write(self, function: Callable[[], None], step: Any) -> None:
        """Call `function`, which writes lists, with this session current and at `step`; None: at the current step."""
        step = None if step is None else whole(step)
        if self._ended:
            raise self._is_over()

        def at_step() -> None:
            if step is not None:
                self.step(step)
            function()

        self.id  # noqa: B018  # begins it
        active.call_inside(self, at_step)

    @property
    def current_step(self) -> int | None:
        """The step that :meth:`step` set last in this context."""
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
        while self._abandoned is None and len(self._rows) >= MAX_ROWS and not self.outbox.backlog.spill():
            self._wait_for_room()
        if self._abandoned is not None:
            warn(
                f"log() of {self.row.label} keeps nothing any more: {self._abandoned}",
                NotRecorded,
            )
        return self._abandoned is None

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

    def obey(self) -> None:
        """Pause or stop, if that was requested of the session or of one around it."""
        if self.is_orphan:
            self._begin()
        self.raise_if_stopped()
        obey([(recorder.row.label, recorder.control) for recorder in self.chain()])

    def raise_if_stopped(self) -> None:
        """Raise WorkerStopped again in a worker of a pool if this session, or one around it, was stopped."""
        recorder: Recorder | None = self
        while recorder is not None:
            try:
                recorder.control.raise_again(over=recorder._ended)
            except WorkerStopped:
                recorder.end(ExitStatus("stopped"))
                raise
            recorder = recorder.around

    def go_on_after_stop(self) -> None:
        """Let the session be stopped again, when the next cell of a notebook begins."""
        self.control.go_on_after_stop()

    # -- code

    @property
    def cells(self) -> Cells:
        """The pieces of code that it runs."""
        return self.outbox.cells

    @property
    def cell(self) -> int | None:
        """The number of the cell that runs now, or ran last."""
        return self.cells.current_cell

    def stored_place(self) -> tuple[int | None, int | None]:
        """Store the current cell with the code that it needs. Return its number and a place in it.

        In a script, it is the place where the running statement begins, else 0; None if the code cannot be recorded.
        """
        self.outbox.task_begun = True
        cell = self.cell
        if cell is None or self._abandoned is not None:
            return cell, None
        return cell, store_code(self.store, self.row, self.outbox, cell)

    def lines_of_slice(self, cell: int | None, line: int | None) -> list[Lines] | None:
        """Return the statements that what is committed there follows from; None if they are not known."""
        return None if cell is None or line is None else self.outbox.code.lines(self.vault_id, cell, line)

    def slice_of_function(self, module: str, name: str) -> Slice | None:
        """Return the slice of a function that this process has; None if its code is not known whole."""
        cell = self.cell
        if cell is not None:
            text_of_script(self.outbox, cell)
        in_main = module == "__main__"
        line = place_of_main() if in_main and script.main_source() is not None else None
        return self.outbox.code.of_function(self.vault_id, self.id, None if in_main else module, name, line)

    def note_place(self) -> None:
        """Record the place that the running cell has come to: what follows was not executed."""
        if not (self.is_orphan or self._ended) and self.cell is not None:
            self.cells.reach(self.cell, place_in_code()[1])

    # -- beginning

    def enter(self, frame: FrameType | None) -> None:
        """Begin, and become the current session. The ``with`` is in `frame`."""
        try:
            if self.is_orphan:
                self._begin()
            active.enter(self, frame)
        except BaseException as error:
            active.leave(self)
            self._end_begun(error)
            raise

    def _begin(self) -> None:
        """Begin for the first time, or in a forked process as a child of the session of the parent process."""
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
            self.is_orphan = self.has_request = self._check_log = True
        try:
            self._start(parent.id, None)
        except VaultError as error:
            warn(f"tablevault_pd cannot record this process: {error}")
            self.is_orphan = False
            self.stop_recording(error)
            self.abandon()
            return
        active.watch_worker()

    def _begin_first(self, unbegun: opening.Opening) -> None:
        # A thread of the process that forked this one may have held the lock.
        if self._process != os.getpid():
            self._beginning, self._process = threading.RLock(), os.getpid()
        with self._beginning:
            if self._unbegun is None:
                return  # another thread was faster
            if self._ended:
                raise VaultClosed(f"The session {self._name!r} ended before it began. Begin another one.")
            self._start(unbegun.parent, unbegun.resume)

    def _start(self, parent: int | None, last: Session | None) -> None:
        """Begin in the store. After an error or an interrupt the session has ended there, and can begin once more."""
        before, self._token = self.row, uuid4().hex
        try:
            self._open(parent=parent, last=last)
            self._unbegun, self.is_orphan, self.has_request, self._check_log = None, False, False, False
        except BaseException as error:
            row = self.row if self.row is not before else self._row_not_returned(error)
            cut_off = object.__new__(Recorder)
            vars(cut_off).update(vars(self))
            self._reset()
            self.row = before
            self.is_orphan = self.has_request = self._check_log = True
            if row is not None:
                cut_off._end_start(row, error)
            raise
        else:
            try:
                self._watch()
            except BaseException:  # interrupted, but the session has begun
                self._watch()
                raise

    def _open(self, *, parent: int | None, last: Session | None) -> None:
        if parent is None and self.around is not None:
            parent = self.around.id
        unread = self.outbox.begin_environment()
        self.outbox.info = opening.process_info(self.settings.redactor, self._token) | unread
        new = opening.new_row(
            self._name, parent, self._tags, self.params.take(), self.outbox.info, self.settings.user
        )
        before = datetime.now(UTC)
        self.row = self.store.open_session(new) if last is None else self._reopen(last, new)
        self.reads.begin(self.row.id, self.row.attempt)
        if self.around is None:
            opening.pass_on_stop(self.store, self.row)
        began = self.row.heartbeat or self.row.started
        self.outbox.begin(self.row, began - (before + (datetime.now(UTC) - before) / 2))
        text = script.main_source()
        if self.settings.capture != "none" and (text is not None or self.cells.prompt is not None):
            cell = self.cells.begin(text or "", path=script.main_path(folder_of_project()))
            if self.cells.prompt is not None:
                TYPED.add((self.vault_id, self.row.id, cell))
            self.outbox.code.begun = place_of_main()

    def _reopen(self, last: Session, new: Session) -> Session:
        """Continue the run `last`, with its parameters, tags and cells."""
        row = self.store.reopen_session(opening.continued(last, new, self.params), last_beat=last.heartbeat)
        self._tags = new.tags or last.tags
        logged = self.store.metric_names([last.id])
        integers = integer_metrics(self.store, {metric: [last.id] for metric in logged})
        self.outbox.integers = {metric: metric in integers for metric in logged}
        earlier = self.store.cells([last.id])
        self.cells.next = max((cell.cell for cell in earlier), default=-1) + 1
        self.outbox.code.scripts = self.outbox.code.typed_before(self.vault_id, last.id, earlier)
        return row

    def _watch(self) -> None:
        HEARTBEAT.add(self)
        active.opened(self)

    def _row_not_returned(self, error: BaseException) -> Session | None:
        """Return the row that the store opened, if the call was interrupted."""
        return (
            None if isinstance(error, Exception) else opening.find_opened(self.store, self._name, self._token)
        )

    def _end_start(self, row: Session, error: BaseException) -> None:
        """End a session in the store whose beginning was interrupted."""
        self.row, self._unbegun, self.is_orphan = row, None, False
        self.reads = Reads(self.store)
        self.reads.begin(row.id, row.attempt)
        self.outbox.begin(row, self.outbox.offset)
        self._watch()
        self.end(ending_of(error), timeout_s=EXIT_S)

    def _end_begun(self, error: BaseException) -> None:
        """End a session that has begun, but whose caller gets `error` instead of it."""
        if not self.is_orphan:
            self.end(ending_of(error), timeout_s=EXIT_S)

    # -- ending

    def end(self, ending: ExitStatus | None = None, *, timeout_s: float | None = None) -> None:
        """End the session, and wait up to `timeout_s` seconds, by default the vault's, until its data is written.

        Data that is left is written in the background, or reported as lost when the vault is closed. That it is left is told
        where the vault's own time was not enough; who gives another time tells it, or has nothing to tell.
        """
        ending = ending or ExitStatus()
        try:
            if self._may_end():
                self._begin_to_end(ending)
        finally:
            if self._may_end():  # interrupted, but the session ends
                self.outbox.ending = ExitStatus(
                    ending.outcome, ending.error and ending.error.partition(":")[0]
                )
            self._ended = self._check_log = True
            forget_step(self.key)
        try:
            if self.outbox.ending is not None:
                self._wait_until_flushed(timeout_s)
        finally:
            # Otherwise the end of the interpreter waits for it.
            if self.outbox.ending is None or self.flushed.is_set():
                active.closed(self)

    def _may_end(self) -> bool:
        return self.outbox.ending is None and not (self.is_orphan or self._abandoned)

    def _begin_to_end(self, ending: ExitStatus) -> None:
        if self.control.stopping:
            ending = ending_after_stop(ending)
        if ending.outcome == "stopped":
            self.control.call_back(self.row.label)
        if self.cell is not None:
            text_of_script(self.outbox, self.cell)
        self.cells.end_all(cell_outcome(ending), ending.error, ending.traceback, ending.place)
        self.outbox.slices = slices_of_all(self.store, self.row, self.outbox)
        text = None if ending.error is None else self.settings.text(ending.error)
        self.outbox.ending = replace(ending, error=text)

    def _wait_until_flushed(self, timeout_s: float | None) -> None:
        wait_s = self.store.timeout_s if timeout_s is None else timeout_s
        is_flushed = HEARTBEAT.wait_for(self, self.flushed.is_set, wait_s)
        if not (is_flushed or self.failing) and timeout_s is None:
            warn(f"{self.row.label} could not be closed within {wait_s:g} s; this goes on in the background")

    def exit(self, error: BaseException | None, *, wait: bool = True) -> None:
        """Be current no longer, and end: the ``with`` is left by `error`, or by none. May be called again."""
        active.leave(self)
        ending = ending_by(error, [recorder.control for recorder in self.chain()])
        self.end(ending, timeout_s=None if wait else 0.0)

    def hand_over(self) -> None:
        """Send buffered data, in a worker of a pool that has done a task: the pool may kill it from then on."""
        if self.is_orphan or self._ended or self._abandoned or self.failing:
            return
        if self.control.stopping:
            self.end(ExitStatus("stopped"))
            return
        outbox = self.outbox
        outbox.tasks_done += 1
        task = outbox.tasks_done
        HEARTBEAT.wait_for(self, lambda: outbox.tasks_stored >= task or outbox.flushed.is_set(), EXIT_S)

    def reset_after_fork(self) -> None:
        """Reset in a forked child, where the session belongs to the parent process. Its first use begins a child session."""
        if self._ended:  # the parent writes what is left
            self.flushed = self.outbox.forget()
            return
        self._reset()
        self.is_orphan = self.has_request = self._check_log = True
        active.forked()


def current_recorder(store: Store | None = None) -> Recorder | None:
    """Return the current session of this context, of any vault or of that of `store`."""
    session = active.innermost(store)
    return session if isinstance(session, Recorder) else None
