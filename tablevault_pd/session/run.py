"""A session of this process: what it logs, what code it runs, and the checkpoints where stop and pause take effect."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import uuid4

from tablevault_pd import validate
from tablevault_pd.capture import environment, script
from tablevault_pd.capture.exits import UNKNOWN_CODE, Ending, ending_of, quiet_loop
from tablevault_pd.capture.position import line_of_main
from tablevault_pd.capture.redact import Keep, Redactor
from tablevault_pd.code import statement_line
from tablevault_pd.errors import (
    Conflict,
    InvalidInput,
    InvalidName,
    InvalidType,
    NotRecorded,
    SessionStopped,
    VaultBusy,
    VaultClosed,
    VaultError,
    WorkerStopped,
    shown,
)
from tablevault_pd.names import check_name, encodable
from tablevault_pd.reading import liveness
from tablevault_pd.session import current, process
from tablevault_pd.session import inheritance as family
from tablevault_pd.session.cells import Cells
from tablevault_pd.session.control import Obedience
from tablevault_pd.session.environment import Surroundings
from tablevault_pd.session.executed import CodeRecorder, folder_of_main
from tablevault_pd.session.heartbeat import EXIT_S, HEART, LONGEST_RETRY_S, warn
from tablevault_pd.session.lookup import resolve_session
from tablevault_pd.session.metrics_buffer import MAX_ROWS, Backlog, number, values_of, whole
from tablevault_pd.session.params import Params
from tablevault_pd.session.read_log import Reads
from tablevault_pd.session.steps import Step, current_step, forget_step
from tablevault_pd.store import (
    BEAT_S,
    NO_STEP,
    Beat,
    ControlRequest,
    ModuleSource,
    Session,
    Store,
    WrittenCode,
)
from tablevault_pd.store.engine.threads import Bell, Flag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

CaptureMode = Literal["main", "all", "none"]
BEAT_VARIABLE = "TABLEVAULT_BEAT_S"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is captured of the code, and whether secrets in it are masked."""

    capture: CaptureMode = "main"
    redact: bool = True
    redactor: Redactor | Keep = field(default_factory=Keep)

    @classmethod
    def of(cls, capture: CaptureMode, redact: bool) -> Settings:
        """Settings as :func:`connect` takes them."""
        return cls(capture, redact, Redactor() if redact else Keep())

    def text(self, text: str) -> str:
        """A captured text as it may be stored: secrets masked, and UTF-8."""
        return str(encodable(self.redactor.text(text)))


class Run:
    """A running session of this process. Made by :meth:`Vault.session`; ``connect`` opens one quietly.

    It begins when its ``with`` is entered, or when it is first used. Parameters and tags that are set before are those
    it begins with; once it has ended, they are settled.

    Attributes
    ----------
    params : dict-like
        Its parameters; what is set here is a column ``params.name`` of ``vault.sessions()``.
    tags : tuple of str
        Assign other tags to change them.

    Examples
    --------
    >>> with vault.session("train", params={"lr": 0.1}) as s:
    ...     s.params["epochs"] = 3
    ...     s.tags = ["demo"]
    ...     s.log(loss=0.5)
    >>> vault.run("train").params, vault.run("train").tags
    ({'lr': 0.1, 'epochs': 3}, ('demo',))
    """

    def __init__(
        self,
        store: Store,
        name: str | None = None,
        *,
        params: Any = None,
        tags: str | Sequence[str] | None = None,
        parent: int | None = None,
        around: Run | None = None,
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
        self._key = next(_keys)
        self._token = ""  # of the attempt to begin: tells its row in the store from those of others
        self._has_steps = False  # whether log() has to look for one
        self._beginning, self._process = threading.RLock(), os.getpid()
        self._begin()
        self._name, inherited = _named(store, name if resume is None else resume.name)
        self.row = Session(
            self._name, "", "", os.getpid(), datetime.now(UTC)
        )  # its id and run are 0 until it begins
        above = parent if parent is not None or around is not None else inherited
        self._unbegun: _Opening | None = _Opening(above, resume)
        self._orphan = self._asked = self._unusual = True  # whatever is done with it begins it first
        if begin:
            try:
                self._adopt()
            except BaseException as error:
                self._end_what_began(error)
                raise

    def _begin(self) -> None:
        """Everything that a session begins with; a forked child begins again."""
        self._asked = False  # the one attribute that checkpoint() reads
        self._unusual = False  # whether log() has to look twice: one of the next three, or a stopped worker
        self._orphan = False  # this process was forked from the one whose session it was
        self._given_up: str | None = None  # why nothing is recorded any more
        self._ended = False
        self.failing = False  #: the last attempt to write failed, and not because the store was busy
        self._control = Obedience(self._callbacks, self._now)
        self._cells = Cells(self._now, self.settings.text)
        self._surroundings = Surroundings()
        self._code = CodeRecorder(capture=self.settings.capture, mask=self.settings.text)
        self._backlog = Backlog(0, lambda: self._offset.total_seconds(), self.store.scratch)
        self._rows = self._backlog.rows
        self._told_first_step = False
        self._sources: list[ModuleSource] = []
        self._slices: list[WrittenCode] = []
        self._changes: dict[str, Any] = {}
        self._ending: Ending | None = None
        self._unsent: Beat | None = None
        self._number = 0  # of the last beat that was begun
        self._delivered = 0  # of the last beat that the store took
        self._beaten_at = float("-inf")
        self._idle = self._told_idle = False  # a worker of a pool, between two tasks
        self._told_stop = False
        self._offset = timedelta()  # of the store's clock to ours
        self._waited = False  # log() had to wait for the store, and said so
        self.told = Flag()  #: its end is written, or never will be
        self.attempted = Bell()  #: a beat was delivered, or was not

    # -- opening

    def _open(self, *, parent: int | None, last: Session | None) -> None:
        if parent is None and self.around is not None:
            parent = self.around.id
        info = environment.process_info() | {"machine": liveness.machine(), "opening": self._token}
        info["argv"] = self.settings.redactor.arguments(info["argv"])
        here = Session(
            self._name, environment.user_name(), environment.host_name(), os.getpid(), datetime.now(UTC), parent=parent,
            beat_s=beat_s(), tags=encodable(self._tags), params=encodable(self.params.take()), info=encodable(info),
        )  # fmt: skip
        before = datetime.now(UTC)
        self.row = self.store.open_session(here) if last is None else self._go_on(last, here)
        self.reads.session_id = self.row.id
        self._backlog.session_id, self._backlog.attempt = self.row.id, self.row.attempt
        self._heed_the_parent()
        began = self.row.heartbeat or self.row.started
        self._offset = began - (before + (datetime.now(UTC) - before) / 2)
        self._info = info
        text = script.main_source()
        if self.settings.capture != "none" and (text is not None or self._cells.prompt is not None):
            self.begin_cell(text or "", None, path=script.main_path(folder_of_main()))

    def _heed_the_parent(self) -> None:
        """A process that starts while its parent is asked to stop is asked, too."""
        if self.around is not None or self.row.parent is None:
            return
        asked = self.store.beat([Beat(self.row.parent)]).requests
        for stop in [request for request in asked if request.request == "stop"]:
            self.store.ask([self.row.id], "stop", exit_code=stop.exit_code, asked_by=stop.asked_by)

    def _go_on(self, last: Session, here: Session) -> Session:
        for name, value in last.params.items():
            self.params.setdefault(name, value)
        tags = here.tags or last.tags
        parent = here.parent if here.parent is not None else last.parent
        same = replace(here, id=last.id, run=last.run, params=self.params.take(), tags=tags, parent=parent)
        row = self.store.reopen_session(same, seen=last.heartbeat)
        self._tags = tags
        earlier = self.store.cells([last.id])
        self._cells.next = max((cell.cell for cell in earlier), default=-1) + 1
        self._code.scripts = [cell for cell in earlier if cell.path is not None]
        return row

    # -- what it is

    @property
    def id(self) -> int:
        """The session's number in its vault."""
        if self._orphan:
            self._adopt()
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
        if self._orphan:
            self._adopt()
        return self.row.label

    @property
    def tags(self) -> tuple[str, ...]:
        """Its labels; assign others to change them."""
        return self._tags

    @tags.setter
    def tags(self, tags: str | Sequence[str] | None) -> None:
        self._check_open()
        self._tags = validate.tags(tags) or ()
        self._changes = {**self._changes, "tags": self._tags}

    def tags_changed(self, tags: tuple[str, ...]) -> None:
        """The store has these tags now."""
        self._tags = tags

    def keep_reads(self) -> None:
        """Keep which lists it has read so far; with the next commit if that fails."""
        if self._orphan or self._ended or self._given_up is not None:
            return
        try:
            self.reads.flush()
        except VaultError as error:
            warn(f"tablevault_pd cannot record now what {self.row.label} read: {error}")

    def _check_open(self) -> None:
        """Refuse a change of parameters and tags that would be lost."""
        if self._ended:
            label = repr(self._name if self._unbegun else self.row.label)
            raise VaultClosed(
                f"The session {label} has ended, and its parameters are settled. vault.tag({label}, …) still adds tags; "
                f"vault.session(resume={label}) lets it go on."
            )

    @property
    def stopped(self) -> SessionStopped | None:
        """The stop that it obeyed."""
        return self._control.stop

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._ended

    def __repr__(self) -> str:
        if self._unbegun:
            return f"<Session {self._name!r}: {'ended before it began' if self._ended else 'not begun'}>"
        return f"<Session {self.row.label!r}: {self._state()}>"

    def _state(self) -> str:
        if self._given_up is not None:
            return "not recorded any more"
        if self._ended:
            return "ended"
        state = "paused" if self._control.paused else "running"
        return f"{state}, nothing could be written for now" if self.failing else state

    def _repr_html_(self) -> str:
        from tablevault_pd.display import session_html

        rows = [("tags", ", ".join(self.tags))] if self.tags else []
        return session_html(repr(self).strip("<>"), rows, self.params)

    # -- measuring

    def log(
        self, metrics: Mapping[str, Any] | None = None, /, *, step: int | None = None, **values: Any
    ) -> None:
        """Keep the values of some metrics. Costs about a microsecond: they are written in the background.

        Parameters
        ----------
        metrics : mapping, optional
            Values by metric, whose name is any text, such as ``"val/acc"``. Nested mappings are joined by dots:
            ``{"val": {"acc": 0.9}}`` is the metric ``val.acc``.
        step : int, optional
            Where in the run they were measured. Default: that of :meth:`step`, if it was called.
        **values : number
            By metric. Arrays and tensors of one number are numbers.

        Raises
        ------
        InvalidInput
            If a value is no number, the name of a metric no text, or a metric is given twice.
        VaultClosed
            If the session has ended.

        Examples
        --------
        >>> with vault.session("train") as s:
        ...     s.log({"val/acc": 0.9}, step=3)
        ...     s.log(step=4, loss=0.5)
        >>> vault.run("train").metrics
        {'loss': 0.5, 'val/acc': 0.9}
        """
        if step is None:
            if self._has_steps:
                step = self.current_step
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

    def step(self, step: int) -> Step:
        """Say at which step the session is: for what is logged without ``step=``, and for all that is saved.

        It holds until the next call, or inside of the ``with``, in this thread or asyncio task. ``vault.versions()``
        shows the step of a commit.

        Parameters
        ----------
        step : int
            Where in the run the session is.

        Returns
        -------
        context manager
            Leaving its ``with`` brings back the step before.

        Raises
        ------
        InvalidInput
            If `step` is no whole number.
        VaultClosed
            If the session has ended.

        Examples
        --------
        >>> with vault.session("train") as s:
        ...     for epoch in range(2):
        ...         with s.step(epoch):
        ...             s.log(loss=0.5)
        ...             saved = vault.save("preds", {"epoch": epoch})
        >>> vault.versions("preds")[["version", "step"]]
           version  step
        0        1     0
        1        2     1
        """
        step = whole(step)
        if self._ended:
            raise self._is_over()
        self._has_steps = True
        return Step(self._key, step)

    @property
    def current_step(self) -> int | None:
        """What :meth:`step` said last in this context."""
        return current_step(self._key) if self._has_steps else None

    def _is_over(self) -> VaultClosed:
        return VaultClosed(
            f"The session {self.row.label} has ended. vault.session({self._name!r}) begins another run."
        )

    def _may_log(self) -> bool:
        self.raise_if_stopped()
        if self._ended:
            raise self._is_over()
        if self._orphan:
            self._adopt()
        while self._given_up is None and len(self._rows) >= MAX_ROWS and not self._backlog.spill():
            self._wait_for_room()
        if self._given_up is not None:
            warn(f"log() of {self.row.label} keeps nothing any more: {self._given_up}", NotRecorded)
        return self._given_up is None

    def _wait_for_room(self) -> None:
        if not self._waited:
            self._waited = True
            warn(
                f"log() of {self.row.label} waits: the store takes less than is logged, and the buffer is full"
            )
        HEART.wait_for(self, lambda: len(self._rows) < MAX_ROWS, LONGEST_RETRY_S)

    # -- control

    def checkpoint(self) -> None:
        """Here pause and stop take effect. Costs far less than a microsecond while nothing is asked.

        A pause blocks until somebody resumes or stops the session. A stop raises :class:`SessionStopped`, once in each
        thread that comes by, so that what runs while the program ends may pass here too.

        Raises
        ------
        SessionStopped
            If somebody asked the session, or one around it, to stop.

        Examples
        --------
        >>> with vault.session("train") as s:
        ...     for step in range(3):
        ...         s.checkpoint()
        """
        if self._asked:
            self._obey()

    def on_stop(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Call `function` once when the session, or one around it, is stopped. Use it as a decorator.

        It is called just before the checkpoint raises; where a stop arrives without one, as from a pool, when the
        session ends. Functions of inner sessions are called first.

        Parameters
        ----------
        function : callable
            Called without arguments.

        Returns
        -------
        callable
            The same function.

        Raises
        ------
        InvalidInput
            If `function` cannot be called.

        Examples
        --------
        >>> with vault.session("train") as s:
        ...     @s.on_stop
        ...     def save_what_there_is() -> None:
        ...         vault.save("partial", {"step": 3})
        ...     s.checkpoint()
        """
        if not callable(function):
            raise InvalidType(f"on_stop() takes a function to call, not {shown(function)}.")
        self._callbacks.append(function)
        return function

    def _obey(self) -> None:
        if self._orphan:
            self._adopt()
        self.raise_if_stopped()
        chain = self.chain()
        controls = [run._control for run in chain]
        _stop_if_asked(chain)
        for control in controls:
            control.pause_if_asked(controls)
        _stop_if_asked(chain)  # while it was paused

    def raise_if_stopped(self) -> None:
        """Raises WorkerStopped again in a worker of a pool where this session, or one around it, was stopped."""
        run: Run | None = self
        while run is not None:
            try:
                run._control.raise_again(over=run._ended)
            except WorkerStopped:
                run.end(Ending("stopped"))
                raise
            run = run.around

    def chain(self) -> list[Run]:
        """This session and those around it in this process: to stop or pause one of them is to stop or pause what it does."""
        chain: list[Run] = []
        run: Run | None = self
        while run is not None and not run._orphan and not run._ended:
            chain.append(run)
            run = run.around
        return chain

    def go_on_after_stop(self) -> None:
        """The next cell of a notebook begins: the session can be stopped again."""
        self._control.go_on_after_stop()

    # -- code

    @property
    def cell(self) -> int | None:
        """The number of the piece of code that runs now, or ran last."""
        return self._cells.current

    def begin_cell(
        self, text: str, execution_count: int | None, *, notebook: str | None = None, path: str | None = None
    ) -> int:
        """A piece of code begins to run; the number it gets."""
        return self._cells.begin(self.row.id, text, execution_count, notebook=notebook, path=path)

    def told_place(self) -> tuple[int | None, int | None]:
        """The number of the cell that runs now and, in a script, the line where its statement begins, else 0.

        From here on the store knows the cell and the code that it needs; the line is None if it does not know the code.
        """
        self._idle = False
        cell = self.cell
        if cell is None or self._given_up is not None:
            return cell, None
        text = self._script_text(cell)
        line = None if text is None else statement_line(text, line_of_main())
        code = self._new_code(cell, line)
        beat = Beat(self.row.id, cells=self._cells.unknown(), **(code or {}))
        if not beat.is_empty:
            self.store.beat([beat])
            self._code.tell(beat.sources, beat.code)
        self._cells.tell(cell)
        return cell, None if code is None else line or 0

    def note_line(self) -> None:
        """Note how far the code that runs now has come: what it has not come to yet was not executed."""
        if not (self._orphan or self._ended) and self.cell is not None:
            self._cells.reach(self.cell, line_of_main())

    def _script_text(self, cell: int) -> str | None:
        """The text of a script or prompt; None of a notebook's cell."""
        running = self._cells.running(cell)
        if running is None or running.path is None:
            return None
        self._code.scripts = [*(each for each in self._code.scripts if each.cell != cell), running]
        return running.text

    def _new_code(self, cell: int, line: int | None) -> dict[str, Any] | None:
        """The modules and slices that the store does not know yet, as fields of a :class:`Beat`."""
        try:
            return {
                "sources": tuple(self._code.sources(self.row.id, cell)),
                "code": tuple(self._code.code(self.vault_id, self.row.id, cell, line)),
            }
        except Exception as error:  # noqa: BLE001  # whatever it is, the rows are written
            warn(f"tablevault_pd cannot record the code of {self.row.label}: {error}")
            return None

    def end_cell(
        self,
        key: int,
        outcome: str,
        error: str | None = None,
        traceback: str | None = None,
        *,
        until: int | None = None,
    ) -> None:
        """A piece of code is done."""
        self._cells.end(key, outcome, error, traceback, until=until)

    def _now(self) -> datetime:
        """The time by the store's clock."""
        return datetime.now(UTC) + self._offset

    # -- beating (called by the background thread)

    def collect(self) -> Beat:
        """All there is to tell; the same again until it was delivered."""
        if self._unsent is not None:
            return self._unsent
        self._number += 1  # before anything is taken: see waits_for()
        self._look_around()
        ending = self._ending  # first: what was logged before the end is told with it, or before
        if ending is not None:
            self.reads.flush()
        if self._told_idle and self._rows:
            self._idle = False  # the next task has begun
        measures = self._backlog.next_batch()
        if self._backlog.waits:
            ending = None  # there is more to tell before it
        now = time.monotonic()
        alive = now - self._beaten_at >= self.row.beat_s
        if alive:
            self._beaten_at = now
        changes, self._changes = self._changes, {}
        if self.params.changed:
            changes["params"] = self.params.take()
        changes |= self._idleness()
        sources, self._sources = tuple(self._sources), []
        code, self._slices = tuple(self._slices), []
        answered, paused = self._control.report()
        cells = self._cells.collect()
        timeline = self._timeline()
        outcome, error = (None, None) if ending is None else (ending.outcome, ending.error)
        self._unsent = Beat(
            self.row.id, self._number, alive, paused, answered, cells, measures, sources, encodable(changes), outcome, error,
            self.row.attempt, timeline, code,
        )  # fmt: skip
        return self._unsent

    def _timeline(self) -> dict[str, Any]:
        """What is new of this attempt; see :attr:`Beat.timeline`."""
        new: dict[str, Any] = {}
        if self._backlog.first_step is not None and not self._told_first_step:
            new["first_step"], self._told_first_step = self._backlog.first_step, True
        pauses = self._control.pauses()
        if pauses is not None:
            new["pauses"] = [
                [_microseconds(began), ended and _microseconds(ended)] for began, ended in pauses
            ]
        return new

    def waits_for(self, *, info: bool = False) -> int:
        """The number of the beat that will have told all that there is to tell now; 0 if the store knows it.

        With `info`, what it runs in is among it: the first beat only says that it lives.
        """
        if self._orphan or self.told.is_set():
            return 0
        news = self._changes or self._sources or self._cells.has_news or self.params.changed
        later = self._backlog.later_batches or int(bool(news))
        if info and not self._surroundings.seen:
            later = max(later, 2 if self._beaten_at == float("-inf") else 1)
        return self._number + later if later or self._delivered < self._number else 0

    def has_told(self, number: int) -> bool:
        """Whether the store took the beat of that number, or never will."""
        return self._delivered >= number or self.told.is_set()

    def _idleness(self) -> dict[str, Any]:
        """What says that a worker of a pool waits for its next task, or was stopped, and is not lost if its process is gone."""
        if self._ending is not None:
            return {}
        if isinstance(self.stopped, WorkerStopped):
            told, self._told_stop = self._told_stop, True
            return {} if told else {"outcome": "stopped", "ended": self._now()}
        if self._idle == self._told_idle:
            return {}
        self._told_idle = self._idle
        return {"ended": self._now() if self._idle else None}

    def delivered(self, now: datetime, requests: Sequence[ControlRequest]) -> bool:
        """The store took the last beat, at `now` by its clock, and returned `requests`. Whether there is more to tell at once."""
        sent, self._unsent, self._backlog.batch = self._unsent, None, None
        self.failing = False
        if abs(now - self._now()) > timedelta(seconds=1):
            self._offset = now - datetime.now(UTC)  # the clock here was set, or goes wrong
        self._delivered = self._number
        self._code.tell(() if sent is None else sent.sources)
        if sent is not None and sent.outcome is not None:
            self.told.set()
        else:
            self._control.take(requests, self._message)
        self.attempted.ring()
        return not self.told.is_set() and (
            self._ending is not None or self._control.has_news or self._backlog.waits
        )

    def undelivered(self, error: Exception) -> None:
        """The store did not take the last beat: it is kept."""
        self.failing = not isinstance(error, VaultBusy)  # or waiting for it is of use
        self.attempted.ring()

    def _message(self, request: ControlRequest) -> str:
        """Who made a request, and when."""
        asker, time = self._asker(request.asked_by), f"{request.requested:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.row.label} was asked to {request.request} by {asker} at {time}."

    def _asker(self, session_id: int | None) -> str:
        try:
            found = [] if session_id is None else self.store.sessions([session_id])
        except Exception:  # noqa: BLE001  # the stop is worth more than who asked for it
            found = []
        if found:
            return f"{found[0].label} ({found[0].user} on {found[0].host})"
        return "a process without a session" if session_id is None else f"the session {session_id}"

    def refresh(self) -> None:
        """Tell checkpoint() whether there is something to obey, here or in a session around."""
        self._asked = any(run._control.want != "run" or run._control.stopping for run in self.chain())
        self._control.notify()

    def give_up(self, error: Exception) -> str:
        """Record nothing any more, and let everybody go on; what is lost by that."""
        count = len(self._backlog)
        lost = f"{count:,} logged values of {self.row.label}" if count else f"the end of {self.row.label}"
        self._given_up, self._unusual, self._asked = str(error), True, False
        self._unsent = None
        self._backlog.clear()
        self._cells.forget()
        self._control.release()
        self.told.set()
        self.attempted.ring()
        return lost

    def _look_around(self) -> None:
        """What is found out beside: not before everybody knows that the session lives."""
        if not self._surroundings.seen and self._beaten_at == float("-inf") and self._ending is None:
            return
        try:
            self._sources = self._code.sources(self.row.id, self.cell)
            found = self._surroundings.look()
        except Exception as error:  # noqa: BLE001  # whatever it is, the session goes on beating without it
            warn(f"tablevault_pd cannot record what {self.row.label} runs in: {error}")
            return
        if found is not None:
            self._info = {**self._info, **found}
            self._changes = {**self._changes, "info": self._info}

    # -- ending

    def end(
        self, ending: Ending | None = None, *, timeout_s: float | None = None, quietly: bool = False
    ) -> None:
        """End the session, and wait up to `timeout_s` seconds, by default the vault's, until all it logged is written.

        What is not written then is written later, in the background, or told as lost when the vault is closed.
        """
        ending = ending or Ending()
        try:
            if self._ending is None and not (self._orphan or self._given_up):
                self._begin_to_end(ending)
        finally:
            if self._ending is None and not (
                self._orphan or self._given_up
            ):  # an interrupt: it ends all the same
                self._ending = Ending(ending.outcome, ending.error and ending.error.partition(":")[0])
            self._ended = self._unusual = True
            forget_step(self._key)
        try:
            if self._ending is not None:
                self._wait_until_told(self.store.timeout_s if timeout_s is None else timeout_s, quietly)
        finally:
            if (
                self._ending is None or self.told.is_set()
            ):  # otherwise the end of the interpreter waits for it
                process.closed(self)

    def _begin_to_end(self, ending: Ending) -> None:
        if self._control.stopping and (ending.outcome == "finished" or ending.error == UNKNOWN_CODE):
            ending = Ending("stopped")
        if ending.outcome == "stopped":
            self._control.call_back(self.row.label)
        if self.cell is not None:
            self._script_text(self.cell)
        self._cells.end_all(_cell_outcome(ending), ending.error, ending.traceback)
        try:
            self._slices = self._code.everything(self.vault_id, self.row.id)
        except Exception as error:  # noqa: BLE001  # the end is worth more
            warn(f"tablevault_pd cannot record the code of {self.row.label}: {error}")
        self._ending = replace(
            ending, error=None if ending.error is None else self.settings.text(ending.error)
        )

    def _wait_until_told(self, timeout_s: float, quietly: bool) -> None:
        if not (HEART.wait_for(self, self.told.is_set, timeout_s) or self.failing or quietly):
            warn(
                f"{self.row.label} could not be closed within {timeout_s:g} s; this goes on in the background"
            )

    def hand_over(self) -> None:
        """A worker of a pool is about to give a result back: write what it logged, as the pool may kill it from then on."""
        if self._orphan or self._ended or self._given_up or self.failing:
            return
        if self._control.stopping:
            self.end(Ending("stopped"))
            return
        self._idle, self._told_idle = True, False
        HEART.wait_for(self, lambda: self._told_idle and self._unsent is None and not self._backlog, EXIT_S)

    def __enter__(self) -> Self:
        try:
            if self._orphan:
                self._adopt()
            current.enter(self)
        except BaseException as error:
            current.leave(self)
            self._end_what_began(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            current.leave(self)
        finally:
            self.end(Ending("stopped") if self._was_cancelled_by_a_stop(error) else ending_of(error))

    def _was_cancelled_by_a_stop(self, error: BaseException | None) -> bool:
        """Tell whether `error` is how asyncio ends the tasks beside the one whose checkpoint raised the stop."""
        cancelled = getattr(sys.modules.get("asyncio"), "CancelledError", ())
        return isinstance(error, cancelled) and any(run._control.asked_to_stop for run in self.chain())

    def _begin_now(self, opening: _Opening) -> None:
        if (
            self._process != os.getpid()
        ):  # a thread of the process that forked this one may have held the lock
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
            self._unbegun, self._orphan, self._asked, self._unusual = None, False, False, False
        except BaseException as error:
            row = self.row if self.row is not before else self._row_not_returned(error)
            cut_off = object.__new__(Run)
            vars(cut_off).update(vars(self))
            self._begin()
            self.row = before
            self._orphan = self._asked = self._unusual = True
            if row is not None:
                cut_off._end_start(row, error)
            raise
        else:
            try:
                self._watch()
            except BaseException:  # an interrupt: it has begun all the same
                self._watch()
                raise

    def _watch(self) -> None:
        HEART.add(self)
        process.opened(self)

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
        self.row, self._unbegun, self._orphan = row, None, False
        self.reads = Reads(self.store)
        self.reads.session_id = self._backlog.session_id = row.id
        self._backlog.attempt = row.attempt
        self._watch()
        self.end(ending_of(error), timeout_s=EXIT_S, quietly=True)

    def _end_what_began(self, error: BaseException) -> None:
        """Nobody gets to use this session: `error` came when it had begun."""
        if not self._orphan:
            self.end(ending_of(error), timeout_s=EXIT_S, quietly=True)

    # -- forks

    def orphan(self) -> None:
        """This process was forked: the session is the parent's. Whoever uses it here begins one of this process."""
        self._begin()
        self._orphan = self._asked = self._unusual = True
        process.forked()

    def _adopt(self) -> None:
        """Begin: for the first time, or as a session of this process, the child of one of the process that forked it."""
        process.raise_if_stopped(self.store)
        if self._unbegun is not None:
            self._begin_now(self._unbegun)
            return
        parent = self.row
        try:
            self._begin()
            self.params = Params(redact=self.settings.redact, check=self._check_open)
            self._tags = ()
            self.around, self.reads = None, Reads(self.store, self.reads)
            self._name = family.worker_name(parent.name)
        finally:
            self._orphan = self._asked = self._unusual = True
        try:
            self._start(parent.id, None)
        except VaultError as error:
            warn(f"tablevault_pd cannot record this process: {error}")
            self._orphan = False
            self.give_up(error)
            return
        process.watch_worker()


_keys = count()


@dataclass(frozen=True, slots=True)
class _Opening:
    """What a session that has not begun needs to begin."""

    parent: int | None
    resume: Session | None  #: the run to continue, as it was seen


def run_to_resume(store: Store, name: str | None, resume: Any) -> Session | None:
    """Return the run that ``resume=`` means, or None if a new one is to begin. Raises Conflict if it is still running."""
    if resume is False:
        return None
    if resume is True:
        runs = store.sessions(name=_named(store, name)[0])
        if not runs or runs[-1].outcome == "finished":
            return None
        key = runs[-1].id
    else:
        session = resolve_session(store, resume)
        if name is not None and name != session.name:
            raise InvalidInput(
                f"resume= means a run of {session.name!r}, and the session is to be called {name!r}."
            )
        key = session.id
    seen = liveness.overview(store, [key])
    (last,) = store.sessions([key], info=True)
    if seen.sessions[0].state(seen.time) in ("running", "paused"):
        raise Conflict(
            f"The session {last.label} is still running: process {last.pid} on {last.host}, last heard of at "
            f"{last.heartbeat:%H:%M:%S} UTC. Stop it, or try again when it is lost; without resume= a new run begins."
        )
    return last


def _stop_if_asked(chain: Sequence[Run]) -> None:
    """Raises SessionStopped if a session of `chain` was asked to stop; it and those inside of it call their on_stop functions."""
    for depth, run in enumerate(chain, 1):
        stop = run._control.stop_due()
        if stop is not None:
            quiet_loop()
            for inner in chain[:depth]:
                inner._control.call_back(inner.label)
            raise stop


def beat_s() -> float:
    """How often sessions of this process beat, in seconds."""
    try:
        return min(max(float(os.environ.get(BEAT_VARIABLE, BEAT_S)), 0.1), 3600.0)
    except ValueError:
        return BEAT_S


def _named(store: Store, name: str | None) -> tuple[str, int | None]:
    """What the session is called, and its parent if this process was started from a session of the same vault."""
    parent = process.parent()
    if parent is not None and parent.vault != store.vault_id:
        parent = None
    inherited = None if parent is None else parent.session
    if name is None:
        if parent is not None and family.is_worker():
            return family.worker_name(parent.name), inherited
        name = script.default_name().replace("@", "_").strip() or "python"
        name = name.rstrip("0123456789").rstrip("#") if _hides_a_run(name) else name
    name = check_name(name, "session")
    if _hides_a_run(name):
        raise InvalidName(
            f"{shown(name)} cannot name a session: name#2 is how the second run of one is called."
        )
    return name, inherited


def _hides_a_run(name: str) -> bool:
    before, hash_sign, run = name.rpartition("#")
    return bool(before and hash_sign and run.isdecimal())


def _microseconds(time: datetime) -> int:
    """A time as the stores keep it: since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def _cell_outcome(ending: Ending) -> str:
    if ending.outcome == "finished":
        return "ok"
    stopped = ending.outcome == "stopped" or (ending.error or "").startswith("KeyboardInterrupt")
    return "interrupted" if stopped else "error"


__all__ = ["EXIT_S", "CaptureMode", "Run", "Settings"]
