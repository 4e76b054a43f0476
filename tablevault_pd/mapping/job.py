"""One call of map: inputs without a result are claimed, worked on, and committed, until every one is settled by somebody."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import ClaimLost, SessionStopped, VaultClosed
from tablevault_pd.keys.mapped import CONTENT, ERROR, FUNCTION, INPUT, NOTHING, PART, Settled, result_rows
from tablevault_pd.lineage.digests import mixed
from tablevault_pd.mapping.calls import payloads, traceback_of
from tablevault_pd.progress import Bar
from tablevault_pd.store.work import Addresses, ClaimRequest, Finish
from tablevault_pd.work.gone import GoneHolders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.mapping.calls import Rows, Runner
    from tablevault_pd.mapping.commit import ResultWriter
    from tablevault_pd.mapping.inputs import Inputs
    from tablevault_pd.session import Recorder
    from tablevault_pd.store import Store, Version
    from tablevault_pd.store.work import Holder

COMMIT_EVERY_S = 5.0
#: What ends a call of map whatever it keeps: it is no error of the function.
NO_ERRORS = (SessionStopped, VaultClosed, BrokenExecutor)
LOOK_EVERY_S = 0.05  # at requests to the session, while calls run
OFFERED = 64  # contents offered beyond those wanted, since others hold some
LONGEST_PAUSE_S = 1.0  # between two looks at what others hold


@dataclass(frozen=True, slots=True)
class Options:
    """How the function is called."""

    batch: int | None
    as_dict: bool
    workers: int
    rate_per_s: float | None
    keeps_errors: bool
    commit_every: int


@dataclass(slots=True)
class Counts:
    """What one call of map did."""

    done: int = 0
    errors: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def metrics(self) -> dict[str, float]:
        """As metrics of the session."""
        taken_s = max(time.monotonic() - self.started, 1e-9)
        return {
            "map_inputs": self.done,
            "map_errors": self.errors,
            "map_inputs_per_s": (self.done + self.errors) / taken_s,
        }


class Claims:
    """The contents that this call holds, of one mapped list. They are filed under the list of its notes."""

    def __init__(self, store: Store, notes: Version, holder: Holder, token: int, function: int) -> None:
        self._store, self._notes, self._holder, self._token = store, notes, holder, token
        self._mask = mixed(np.array([function], np.int64).view(np.uint64))
        self._gone = GoneHolders(store)

    def take(self, contents: Sequence[int], count: int) -> list[int]:
        """The first of the contents that nobody holds, so many of them: they are the caller's now."""
        while True:
            request = ClaimRequest(
                self._notes.list, self._notes.list_id, None, self._addresses(contents), count, self._holder, self._token,
                 gone=self._gone.look(now=True), most_given_back=0,
            )  # fmt: skip
            answer = self._store.claim(request)
            self._gone.note(answer.holders)
            lost = answer.lost(request)
            if not lost:
                return [contents[number] for number in answer.taken]
            self._store.give_back(self._notes.list_id, lost)

    def give_back(self, contents: Sequence[int]) -> None:
        """Others may have these."""
        if contents:
            self._store.release(self._notes.list_id, self._addresses(contents), self._holder)

    def give_back_all(self) -> None:
        """Give back what this call took and still holds."""
        self._store.undo_claim(self._notes.list_id, self._holder, self._token)

    def finish(self, contents: Sequence[int], name: str, positions: np.ndarray) -> tuple[Finish, ...]:
        """What a commit finishes with the results of these."""
        return (Finish(self._notes.list_id, self._addresses(contents), self._holder, name, positions),)

    def _addresses(self, contents: Sequence[int]) -> Addresses:
        numbers = np.array(contents, np.int64).view(np.uint64)
        halves = numbers >> np.uint64(2), mixed(numbers ^ self._mask) >> np.uint64(2)
        first, second = (half.astype(np.int64) for half in halves)
        return Addresses(-1 - first, second)


@dataclass(slots=True)
class Outcome:
    """What became of one content: its rows, or the error."""

    content: int
    rows: Rows | None
    error: BaseException | None = None


class Job:
    """One call of map."""

    def __init__(
        self, inputs: Inputs, options: Options, writer: ResultWriter, claims: Claims, settled: Settled, runner: Runner,
        run: Recorder,
    ) -> None:  # fmt: skip
        self._inputs, self._options, self._writer = inputs, options, writer
        self._claims, self._settled, self._runner, self._run = claims, settled, runner, run
        self._store = writer.store
        self.counts = Counts()
        self._rows_of: dict[int, np.ndarray] = {}  # content -> which inputs have it
        self._pending: deque[int] = deque()  # contents that nobody here holds, in order of position
        self._queue: deque[tuple[int, Any]] = deque()  # contents that are held, and what the function gets
        self._running: dict[Future[Any], list[int]] = {}
        self._finished: list[Outcome] = []
        self._first_finished = self._next_call = 0.0
        self._window = self._unit * options.workers
        self._waits = False  # whether others hold all that is left
        # how many inputs were done since rows were claimed last
        self._ended, self._last_claim = 0, time.monotonic()
        self._bar: Bar | None = None

    @property
    def _unit(self) -> int:
        return self._options.batch or 1

    def work(self) -> None:
        """Have every input settled. Raises what the function raised, unless errors are kept."""
        try:
            while True:
                self._settled.look()
                todo = self._todo()
                if todo is None:
                    return
                if len(todo):
                    self._do(todo)
        finally:
            self._runner.close()
            self._claims.give_back_all()

    # -- what is to be done

    def _todo(self) -> list[int] | None:
        """Contents without a result or note, in order of position; after copies of results, none; None if all is done."""
        content = self._inputs.content
        first = pd.Series(content).drop_duplicates()
        todo = [content for content in first.tolist() if content not in self._settled.contents]
        if todo:
            groups = pd.Series(content).groupby(content).indices
            self._rows_of = {content: np.asarray(groups[content]) for content in todo}
            return todo
        return [] if self._copy() else None

    def _copy(self) -> bool:
        """Give inputs of a content that others have results of the same results. Return whether there were any."""
        head = self._store.head(self._writer.name)
        if head is None or head.deleted:
            return False
        results = result_rows(self._store, head)
        results = results[results[FUNCTION] == self._writer.function].reset_index(names="position")
        mine = pd.DataFrame({INPUT[0]: self._inputs.identity[:, 0], INPUT[1]: self._inputs.identity[:, 1]})
        mine = mine.assign(**{CONTENT: self._inputs.content, "number": np.arange(len(mine))})
        has = mine.merge(
            results[[*INPUT, CONTENT]].drop_duplicates(), how="left", on=[*INPUT, CONTENT], indicator=True
        )
        lacking = mine[(has["_merge"] == "left_only").to_numpy()]
        owner = results.drop_duplicates([CONTENT])[[*INPUT, CONTENT]]
        rows = lacking[["number", CONTENT]].merge(results.merge(owner, on=[*INPUT, CONTENT]), on=CONTENT)
        if not len(rows):
            return False
        rows = rows.sort_values(["number", PART])
        arrays = (rows[label].to_numpy(np.int64) for label in ("number", "position", PART))
        number, position, part = arrays
        self._writer.copies(self._inputs, number, head, position, part)
        return True

    # -- doing it

    def _do(self, todo: list[int]) -> None:
        self._pending = deque(todo)
        pause = LOOK_EVERY_S
        with Bar(f"mapping {self._writer.name}", total=len(todo), unit="inputs") as self._bar:
            while self._pending or self._queue or self._running or self._finished:
                self._obey()
                if self._pending and len(self._queue) < self._unit * self._options.workers:
                    self._claim()
                self._start()
                self._collect()
                if self._is_time_to_commit():
                    self._commit()
                if self._queue or self._running or self._finished or not (self._pending and self._waits):
                    pause = LOOK_EVERY_S
                    continue
                time.sleep(pause)  # others hold what is left
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def _claim(self) -> None:
        self._pace()
        some = [self._pending.popleft() for _ in range(min(4 * self._window + OFFERED, len(self._pending)))]
        taken = self._claims.take(some, self._window)
        self._settled.look()  # what was settled before it was free to take is there now
        mine = [content for content in taken if content not in self._settled.contents]
        self._claims.give_back([content for content in taken if content in self._settled.contents])
        held = set(taken)
        self._waits = not taken
        rest = [content for content in some if content not in held and content not in self._settled.contents]
        if not taken:
            self._pending.extend(rest)
        else:
            self._pending.extendleft(reversed(rest))
        if mine:
            first = [int(self._rows_of[content][0]) for content in mine]
            frame = self._inputs.frame.iloc[first]
            ready = first if self._options.batch else payloads(frame, as_dict=self._options.as_dict)
            self._queue.extend(zip(mine, ready, strict=True))

    @property
    def _may_start(self) -> bool:
        """Whether a call may begin, as soon as `rate_per_s` lets it."""
        return bool(self._queue) and len(self._running) < self._options.workers

    @property
    def _patience_s(self) -> float:
        """How long to wait for calls that run: until the next one may begin, or a look at requests is due."""
        return (
            max(min(LOOK_EVERY_S, self._next_call - time.monotonic()), 0) if self._may_start else LOOK_EVERY_S
        )

    def _start(self) -> None:
        """Begin as many calls as may run."""
        while self._may_start:
            wait_s = self._next_call - time.monotonic()
            if wait_s > 0:
                if not self._running:
                    time.sleep(min(LOOK_EVERY_S, wait_s))
                return
            unit = [self._queue.popleft() for _ in range(min(self._unit, len(self._queue)))]
            payload = self._inputs.frame.iloc[[row for _, row in unit]] if self._options.batch else unit[0][1]
            if self._options.rate_per_s is not None:
                self._next_call = max(self._next_call, time.monotonic()) + 1 / self._options.rate_per_s
            self._running[self._runner.submit(payload)] = [content for content, _ in unit]

    def _collect(self, *, everything: bool = False) -> None:
        """Take the answers of calls that have ended, or wait for all that run."""
        if self._running:
            ended = ALL_COMPLETED if everything else FIRST_COMPLETED
            for future in wait(self._running, None if everything else self._patience_s, ended).done:
                self._take(self._running.pop(future), future)

    def _take(self, contents: list[int], future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            self._end([Outcome(*answer) for answer in zip(contents, future.result(), strict=True)])
        elif self._options.keeps_errors and isinstance(error, Exception) and not isinstance(error, NO_ERRORS):
            self._end([Outcome(content, None, error) for content in contents])
        else:
            self._commit()
            raise error

    def _end(self, outcomes: list[Outcome]) -> None:
        if not self._finished:
            self._first_finished = time.monotonic()
        self._finished += outcomes
        self._ended += len(outcomes)

    def _is_time_to_commit(self) -> bool:
        if not self._finished:
            return False
        idle = not self._running and not self._queue and (self._waits or not self._pending)
        late = time.monotonic() - self._first_finished >= COMMIT_EVERY_S
        return (
            idle
            or late
            or self._options.batch is not None
            or len(self._finished) >= self._options.commit_every
        )

    # -- committing

    def _commit(self) -> None:
        outcomes, self._finished = self._finished, []
        with_rows = [outcome for outcome in outcomes if outcome.rows is not None and len(outcome.rows)]
        without = [outcome for outcome in outcomes if outcome.rows is None or not len(outcome.rows)]
        for some, commit in ((with_rows, self._commit_results), (without, self._commit_notes)):
            if not some:
                continue
            contents = [outcome.content for outcome in some]
            try:
                commit(some, self._finishes(contents))
            except ClaimLost:  # this process was taken for dead: whoever holds them now does them
                self._claims.give_back(contents)
                self._pending.extend(contents)
                continue
            self._settled.contents.update(contents)
            self._note(some)

    def _finishes(self, contents: list[int]) -> tuple[Finish, ...]:
        positions = self._inputs.positions[[int(self._rows_of[content][0]) for content in contents]]
        return self._claims.finish(contents, self._inputs.version.list, positions)

    def _commit_results(self, outcomes: list[Outcome], finishes: tuple[Finish, ...]) -> None:
        numbers = [self._rows_of[outcome.content] for outcome in outcomes]
        rows = [outcome.rows for outcome, of in zip(outcomes, numbers, strict=True) for _ in of]
        self._writer.results(self._inputs, np.concatenate(numbers), rows, finishes)  # type: ignore[arg-type]

    def _commit_notes(self, outcomes: list[Outcome], finishes: tuple[Finish, ...]) -> None:
        content = np.array([outcome.content for outcome in outcomes], np.int64)
        attempts = self._settled.attempts
        notes = pd.DataFrame(
            {
                "outcome": [NOTHING if outcome.error is None else ERROR for outcome in outcomes],
                "position": self._inputs.positions[
                    [int(self._rows_of[outcome.content][0]) for outcome in outcomes]
                ],
                "error": [None if outcome.error is None else _told(outcome.error) for outcome in outcomes],
                "traceback": [
                    None if outcome.error is None else _storable(traceback_of(outcome.error))
                    for outcome in outcomes
                ],
                "attempts": [attempts.get(outcome.content, 0) + 1 for outcome in outcomes],
            }
        )
        self._writer.notes(notes, content, None, finishes)

    def _note(self, outcomes: list[Outcome]) -> None:
        errors = sum(outcome.error is not None for outcome in outcomes)
        self.counts.errors += errors
        self.counts.done += len(outcomes) - errors
        self._run.log(None, None, dict(self.counts.metrics))
        if self._bar is not None:
            self._bar(len(outcomes))

    def _pace(self) -> None:
        """Claim more at a time where calls are short, so that others are left their share where they are long."""
        now = time.monotonic()
        per_second = int(self._ended / max(now - self._last_claim, 1e-3))
        least = self._unit * self._options.workers
        self._window = max(
            least, min(per_second, 2 * self._window, max(self._options.commit_every, 2 * least))
        )
        self._ended, self._last_claim = 0, now

    # -- requests

    def _obey(self) -> None:
        """Stop or pause, if that was asked: what runs is finished and committed first, and what waits is given back."""
        if self._run.has_request:
            self._collect(everything=True)
            if self._finished:
                self._commit()
            self._claims.give_back([content for content, _ in self._queue])
            self._pending.extendleft([content for content, _ in reversed(self._queue)])
            self._queue.clear()
            self._run.obey()
        else:
            self._run.raise_if_stopped()


def tidy(writer: ResultWriter, inputs: Inputs, settled: Settled, *, drop_missing: bool) -> None:
    """Leave out results of inputs that are gone, and those that inputs without a result had before they changed."""
    mine = pd.MultiIndex.from_arrays(list(inputs.identity.T))

    def is_gone(head: Version) -> np.ndarray:
        results = result_rows(writer.store, head)
        number = mine.get_indexer(pd.MultiIndex.from_frame(results[list(INPUT)]))
        now = inputs.content[number] if len(mine) else np.zeros(len(results), np.int64)
        other = (results[CONTENT] != now) | (results[FUNCTION] != writer.function)
        replaced = (number >= 0) & other & pd.Series(now).isin(settled.contents)
        return np.flatnonzero(replaced | ((number < 0) & drop_missing))

    writer.remove(is_gone)


def _told(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:  # noqa: BLE001  # an error that cannot say what it is
        text = type(error).__name__
    return _storable(text)


def _storable(text: str) -> str:
    """A text that UTF-8 can hold: halves of surrogate pairs as escapes."""
    return text.encode(errors="backslashreplace").decode()
