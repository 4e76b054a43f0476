"""The plain data of sessions and the code they ran that crosses the Store protocol. No I/O, and nothing of pandas."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    import numpy as np
    import pyarrow as pa


ControlKind = Literal["stop", "pause", "resume"]

BEAT_S = 5.0  #: seconds between two heartbeats of a session
LOST_AFTER_BEATS = 6  #: so many missed, and a session is lost
NO_STEP = -(2**63)  #: stands for the step of a value logged without one


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a script, a notebook kernel or a worker."""

    name: str
    user: str
    host: str
    pid: int
    started: datetime
    id: int = 0  #: given by the store
    run: int = 0  #: given by the store: 1, 2, 3 … of that name
    parent: int | None = None
    ended: datetime | None = None  #: with no outcome: when a worker of a pool was done with its last task
    heartbeat: datetime | None = None
    outcome: str | None = None  #: finished, failed or stopped, once it ended
    error: str | None = None
    tags: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    #: argv, versions, git commit … plain JSON; only if asked for
    info: Mapping[str, Any] = field(default_factory=dict)
    beat_s: float = BEAT_S  #: how often it promises to beat, in seconds
    paused: bool = False
    gone: bool = False  #: its process is known to be gone; found out when sessions are read, and not stored
    attempt: int = 0  #: number of its newest attempt; resuming begins the next

    @property
    def label(self) -> str:
        """``name#run``, as every answer shows it."""
        return f"{self.name}#{self.run}"

    def state(self, time: datetime) -> str:
        """running, paused, finished, failed, stopped or lost, as seen at `time` by the store's clock."""
        if self.outcome is not None:
            return self.outcome
        last_sign = self.heartbeat or self.started
        if self.gone or (time - last_sign).total_seconds() > LOST_AFTER_BEATS * self.beat_s:
            return "lost"
        return "paused" if self.paused else "running"


@dataclass(frozen=True, slots=True)
class SessionLabel:
    """What tells a session from others: thousands of these are read where their parameters are not needed."""

    id: int
    name: str
    run: int
    started: int  #: microseconds since 1970, UTC
    attempt: int  #: number of its newest attempt

    @property
    def label(self) -> str:
        """``name#run``, as every answer shows it."""
        return f"{self.name}#{self.run}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One piece of executed code of a session."""

    session_id: int
    cell: int
    text: str
    started: datetime
    duration_s: float | None = None
    outcome: str = "running"  #: ok, error, interrupted or running
    error: str | None = None
    traceback: str | None = None
    execution_count: int | None = None  #: the number a notebook shows beside it
    notebook: str | None = None  #: the id that the front end knows the cell by
    path: str | None = None  #: of a script; a cell of a notebook has none
    #: the place that it came to, where an error ended it early (see capture/position.py)
    until: int | None = None
    names: str | None = None  #: its statements with the names they define and use, as JSON


@dataclass(frozen=True, slots=True)
class Part:
    """One statement of a slice."""

    path: str | None  #: of the script or module; None: a cell of a notebook
    session_id: int | None  #: whose cell it is of; None: no session has it
    cell: int | None
    line: int  #: the place where it begins: its line, and a column (see capture/position.py)
    end: int  #: the place where it ends
    kind: str  #: def, class, import, assign, run, magic or other
    names: tuple[str, ...]  #: it defines or changes
    text: str
    tree: str  #: digest: equal where the syntax trees are
    notebook: str | None = None
    #: the execution count of its cell, where there is one
    count: int | None = field(default=None, compare=False)

    @property
    def place(self) -> str | None:
        """Where it stands, for people: ``helper.py``, ``In[7]``, ``cell 0`` where no count is known; None if no session has it."""
        if self.path is not None or self.cell is None:
            return self.path
        return f"cell {self.cell}" if self.count is None else f"In[{self.count}]"


@dataclass(frozen=True, slots=True)
class WrittenCode:
    """The slice of what one cell, or one statement of a script, commits; of cell -1: of all that a session executed."""

    session_id: int
    cell: int
    line: int  #: of a script: the place where the statement begins; else 0
    parts: tuple[Part, ...]
    unresolved: tuple[str, ...] = ()  #: names that no captured code defines


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Rows that were made again and came out equal to a version that was there."""

    list_id: int
    version: int
    session_id: int | None
    cell: int | None
    line: int | None
    time: datetime | None = None  #: given by the store, except for a copy of one from another vault
    rows: tuple[tuple[int, int], ...] | None = None  #: positions, as (start, stop); None: all of the version
    made_from: tuple[
        tuple[int, int], ...
    ] = ()  #: (list, version) that they were made from, where that was said


def runs_together(*runs: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    """Runs of positions, as (start, stop), as one: in order, and apart."""
    together: list[tuple[int, int]] = []
    for start, stop in sorted((start, stop) for some in runs for start, stop in some):
        if together and start <= together[-1][1]:
            together[-1] = (together[-1][0], max(stop, together[-1][1]))
        else:
            together.append((start, stop))
    return tuple(together)


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """The text of a project module that a session had imported."""

    session_id: int
    path: str  #: relative to the project's folder
    sha256: str
    text: str
    module: str = ""  #: what it was imported as
    cell: int = 0  #: of the session: from which on it is this text


@dataclass(frozen=True, slots=True)
class Measures:
    """Values of one metric that one session logged, in order: at most one such object for a metric in a beat.

    Values are stored in blocks of one metric. The client numbers the blocks: these values are added at the end of
    `block`, which is made if it is not there.
    """

    session_id: int
    metric: str
    steps: np.ndarray  #: int64; NO_STEP where none was given
    times: np.ndarray  #: int64: microseconds since 1970, UTC
    values: np.ndarray  #: float64
    attempt: int = 0
    block: int = 0
    integers: bool = False  #: whether all of them were logged as integers: what the attempt says, see :attr:`Beat.timeline`


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one process did of a session. Resuming the session begins the next attempt."""

    session_id: int
    attempt: int  #: 0, 1, …
    began: datetime
    ended: datetime | None = None  #: if another one followed: when this one ended, or was last heard of
    first_step: int | None = None  #: the first step that it logged, of whatever metric
    #: metrics of which it, and the attempts before it, logged nothing but integers; None: as the attempt before said
    integers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """A time at which a session waited in a checkpoint."""

    session_id: int
    began: datetime
    ended: datetime | None = None  #: None: it waits now, or ended while it waited


@dataclass(frozen=True, slots=True)
class Timelines:
    """Attempts and pauses of sessions, in order of session and time."""

    attempts: list[Attempt]
    pauses: list[Pause]

    def stored(self) -> dict[int, dict[str, dict[str, Any]]]:
        """Return by session what both stores keep of each, by number of the attempt: what :meth:`of` takes."""
        entries: dict[int, dict[str, dict[str, Any]]] = {}
        for attempt in self.attempts:
            values: dict[str, Any] = {"began": from_time(attempt.began)}
            if attempt.first_step is not None:
                values["first_step"] = attempt.first_step
            if attempt.integers is not None:
                values["integers"] = list(attempt.integers)
            entries.setdefault(attempt.session_id, {}).setdefault(str(attempt.attempt), {}).update(values)
            if attempt.ended is not None:
                following = entries[attempt.session_id].setdefault(str(attempt.attempt + 1), {})
                following["previous_ended"] = from_time(attempt.ended)
        for pause in self.pauses:
            began = from_time(pause.began)
            own = entries[pause.session_id]
            number = max((n for n, entry in own.items() if entry["began"] <= began), key=int)
            ended = None if pause.ended is None else from_time(pause.ended)
            own[number].setdefault("pauses", []).append([began, ended])
        return entries

    @classmethod
    def of(cls, rows: Iterable[tuple[int, Mapping[str, Mapping[str, Any]]]]) -> Timelines:
        """Timelines from what both stores keep of a session, by number of the attempt; see :attr:`Beat.timeline`."""

        def time_of(value: int | None) -> datetime | None:
            return None if value is None else to_time(value)

        attempts, pauses = [], []
        for session_id, timeline in rows:
            numbers = sorted(int(number) for number in timeline)
            for number in numbers:
                entry = timeline[str(number)]
                following = timeline.get(str(number + 1), {})
                ended = time_of(following.get("previous_ended"))
                began = to_time(entry["began"])
                integers = None if "integers" not in entry else tuple(entry["integers"])
                attempts.append(Attempt(session_id, number, began, ended, entry.get("first_step"), integers))
                pauses += [
                    Pause(session_id, to_time(start), time_of(end) or ended)
                    for start, end in entry.get("pauses", ())
                ]
        return cls(attempts, pauses)


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A request to a session: stop, pause or resume."""

    id: int  #: rises with time
    session_id: int
    request: ControlKind
    requested: datetime
    acknowledged: datetime | None = None
    exit_code: int = 0
    asked_by: int | None = None  #: the session that asked


@dataclass(frozen=True, slots=True)
class Beat:
    """All that a session has to tell the store at one moment. One without anything to tell only asks for requests."""

    session_id: int
    #: rises with every beat of a process; one that is sent again, for want of an answer, keeps it
    number: int = 0
    alive: bool = False  #: note the time as its heartbeat
    paused: bool | None = None
    answered: tuple[int, ...] = ()  #: requests it acknowledges
    cells: tuple[Cell, ...] = ()
    measures: tuple[Measures, ...] = ()
    sources: tuple[ModuleSource, ...] = ()
    #: tags, params, info; the last is left out where `attempt` is not the newest one: it may come after the end
    changes: Mapping[str, Any] = field(default_factory=dict)
    outcome: str | None = None  #: it ends now, so
    error: str | None = None
    #: of the session, that this process makes; where it is not the newest one, a beat with more than info is refused
    attempt: int | None = None
    #: What is new of the attempt, for the store to merge: ``first_step``, ``pauses``, all of them as [began, ended] in
    #: microseconds since 1970, and all metrics that are ``integers`` by now.
    timeline: Mapping[str, Any] = field(default_factory=dict)
    code: tuple[WrittenCode, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.alive or self.has_news)

    @property
    def has_news(self) -> bool:
        """Whether there is more to write than that the session lives."""
        news = (
            self.answered,
            self.cells,
            self.measures,
            self.sources,
            self.code,
            self.changes,
            self.outcome,
            self.timeline,
        )
        return self.paused is not None or any(news)

    @property
    def tells_only_info(self) -> bool:
        """Whether there is no more to write than the info of the session."""
        others = {name: value for name, value in self.changes.items() if name != "info"}
        return replace(self, changes=others).is_empty

    def pieces(self) -> Iterator[tuple[str, Beat]]:
        """The same in beats that each tell one thing, with its name; the end comes last."""
        bare = Beat(self.session_id, self.number, attempt=self.attempt)
        for cell in self.cells:
            yield f"The code of cell {cell.cell}", replace(bare, cells=(cell,))
        for measure in self.measures:
            yield f"The metric {measure.metric!r}", replace(bare, measures=(measure,))
        for source in self.sources:
            yield f"The module {source.path!r}", replace(bare, sources=(source,))
        for code in self.code:
            yield f"The slice of cell {code.cell}", replace(bare, code=(code,))
        for name, value in self.changes.items():
            yield f"A change of its {name}", replace(bare, changes={name: value})
        yield "The rest", replace(self, cells=(), measures=(), sources=(), code=(), changes={})


@dataclass(frozen=True, slots=True)
class BeatResponse:
    """The store's answer to beats."""

    time: datetime  #: by the store's clock
    requests: tuple[ControlRequest, ...]  #: not acknowledged yet, oldest first


@dataclass(frozen=True, slots=True)
class Overview:
    """Sessions as they stood at one moment."""

    time: datetime  #: by the store's clock
    sessions: list[Session]  #: oldest first, without their info
    latest: pa.Table  #: session (int64), metric (string), value (float64): the last value of each metric


def same_session(session: Session, named: Sequence[Session]) -> Session | None:
    """Return which of these sessions of its name a session of another vault is; None if none is.

    A session that was resumed has another host and pid than before, but began when it did.
    """
    same_start = [other for other in named if other.started == session.started]
    same_process = [other for other in same_start if (other.host, other.pid) == (session.host, session.pid)]
    return next(iter(same_process or (same_start if len(same_start) == 1 else ())), None)


def free_run(session: Session, named: Sequence[Session]) -> int:
    """Return the run of a session of another vault: its own, or the next one if it has none, or another session has it here."""
    taken = {other.run for other in named}
    return session.run if session.run and session.run not in taken else max(taken, default=0) + 1
