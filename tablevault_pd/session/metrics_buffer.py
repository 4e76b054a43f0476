"""Buffer of logged values: in memory, and beyond a limit in an unnamed temporary file.

User threads append rows to a deque. The background thread takes them in batches of bounded size.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.errors import InvalidInput, InvalidType, short_repr
from tablevault_pd.names import encodable
from tablevault_pd.store import NO_STEP, Measures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

MAX_ROWS = 500_000  # rows kept in memory; some 150 MB
BATCH_VALUES = 250_000  # values in one beat; 6 MB as arrays
BLOCK_VALUES = 128  # values in a block of one metric; 3 kB, which fit into a page of the catalogue
MAX_FILE_BYTES = 4 << 30  # log() waits while the file is as large as this
DEEPEST = 100  # levels of nested metrics
ONE_CALL_S = (
    2e-6  # so far apart at the least are the times of two calls of log(), which are kept in microseconds
)
STEP_ROWS = 1000  # rows moved between two looks at the number of their values

#: (step, seconds since 1970, values by metric)
Row = tuple[int | None, float, dict[str, float]]  # an int where one was logged


def number(metric: str, value: Any) -> float:
    """Convert a logged number, or an array or tensor of one, to an int if it is one, else to a float.

    Raises InvalidInput naming the metric.
    """
    if type(value) is int and -(2**53) <= value <= 2**53:
        return value
    try:
        if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
            raise TypeError  # item() returns what the mask hides
        plain = value.item() if hasattr(value, "item") else value
        if not isinstance(plain, (str, bytes, bytearray)):
            result = float(plain)
            if not isinstance(plain, int):
                return result
            if getattr(getattr(value, "dtype", None), "kind", None) in ("m", "M"):
                raise TypeError  # NumPy makes integers of times
            if int(result) == plain:
                return int(plain)
            raise InvalidInput(
                f"log() keeps float64 numbers, and {metric}={short_repr(value)} would be rounded. Save it in a list, or as a param."
            )
    except InvalidInput:
        raise
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidInput(
        f"log() keeps numbers, and {metric}={short_repr(value)} is none. Texts and settings belong in params or tags."
    )


def named(metrics: Any, value: Any) -> Any:
    """Return the metrics that a name and its value, or metrics alone, stand for. Raises InvalidType."""
    if value is None:
        return metrics
    if not isinstance(metrics, str):
        raise InvalidType(
            f"log() takes a value after the name of a metric, log('acc', 0.9), and not after {short_repr(metrics)}. "
            f"A step is given by its name: step={short_repr(value)}."
        )
    return {metrics: value}


def values_of(metrics: Any, more: Mapping[str, Any]) -> dict[str, float]:
    """Return the arguments of :meth:`Run.log` as numbers by metric, nested names joined by dots. Raises InvalidInput."""
    if not isinstance(metrics, Mapping):
        raise InvalidInput(
            f"log() takes a dict of metrics, such as {{'val/acc': 0.9}}, keywords, or a name and a value, not {short_repr(metrics)}."
        )
    by_metric: dict[str, float] = {}
    for metric, value in [*_flat(metrics), *more.items()]:
        if metric in by_metric:
            raise InvalidInput(
                f"log() was given two values of the metric {short_repr(metric)}. Nothing was kept."
            )
        by_metric[metric] = value if type(value) is float else number(metric, value)
    return by_metric


def _flat(metrics: Mapping[Any, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if len(path) > DEEPEST:
        raise InvalidInput(
            f"The metrics given to log() are nested more than {DEEPEST} levels deep, or contain themselves."
        )
    for key, value in metrics.items():
        if not isinstance(key, str):
            raise InvalidInput(f"The name of a metric is a text, not {short_repr(key)}.")
        if not key.strip():
            raise InvalidInput("The name of a metric is blank. Nothing was kept.")
        if isinstance(value, Mapping):
            yield from _flat(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


def whole(step: Any) -> int:
    """Convert a step to an int. Raises InvalidInput."""
    try:
        number = int(step)
        if number == step and NO_STEP < number < -NO_STEP:
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidInput(f"step= is a whole number, not {short_repr(step)}.")


class Backlog:
    """The unsent rows of one session, oldest first: those in the file, then `_taken`, then `rows`.

    Parameters
    ----------
    offset_s
        Time of the store minus time of this machine, in seconds.
    folder
        Folder of the temporary file; None: that of the system.

    Attributes
    ----------
    first_step : int, optional
        The first step of the rows that were packed so far.
    """

    def __init__(self, offset_s: Callable[[], float], folder: Path | None) -> None:
        self.rows: deque[Row] = deque()  #: user threads append here
        self.batch: tuple[Measures, ...] | None = None  #: the batch that is being sent
        self.session_id = self.attempt = 0  #: set when the session begins
        self.first_step: int | None = None
        self._offset_s, self._folder = offset_s, folder
        self._taken: list[Row] = []
        self._logged_at = self._packed_until = (
            0.0  # times of the last row before `_taken`, and of its last one
        )
        # By metric: its newest block, and how many values that has.
        self._sizes: dict[str, tuple[int, int]] = {}
        # The parts of the file: offset, and (metric, size, block, integers) of each array there.
        self._blocks: tuple[tuple[int, tuple[tuple[str, int, int, bool], ...]], ...] = ()
        self._file: IO[bytes] | None = None
        self._file_end = 0
        self._lock = threading.RLock()
        self._spilling = False  # set while a batch is written: a signal handler may log meanwhile

    def __len__(self) -> int:
        """Return the number of unsent values."""
        batch = sum(len(measures.values) for measures in self.batch or ())
        filed = sum(size for _, sizes in self._blocks for _, size, *_ in sizes)
        return batch + filed + sum(len(row[2]) for rows in (self._taken, self.rows.copy()) for row in rows)

    @property
    def later_batches(self) -> int:
        """The number of batches beside the one that is being sent."""
        values = sum(len(row[2]) for rows in (self._taken, self.rows.copy()) for row in rows)
        return len(self._blocks) + -(-values // BATCH_VALUES)

    def __bool__(self) -> bool:
        return self.waits or bool(self.batch)

    @property
    def waits(self) -> bool:
        """Whether there are rows beside the batch that is being sent."""
        return bool(self.rows or self._taken or self._blocks)

    def next_batch(self) -> tuple[Measures, ...]:
        """Return the oldest values, about BATCH_VALUES; the same ones until `batch` is set to None."""
        with self._lock:
            if self.batch is not None or self._spilling:
                return self.batch or ()
            # Assigned in one statement without calls: after an interrupt every row is in exactly one place.
            if self._blocks:
                batch = self._read(*self._blocks[0])
                rest = self._blocks[1:]
                self.batch, self._blocks = batch, rest
                if not rest:
                    self._drop_file()
            else:
                self._take()
                batch = self._packed()
                self.batch, self._taken, self._logged_at = batch, [], self._packed_until
            return batch

    def spill(self) -> bool:
        """Move most rows to the file. Return False if that, or the disk, is full."""
        while len(self.rows) > MAX_ROWS // 2:
            with self._lock:
                if self._spilling:
                    return True
                self._spilling = True
                try:
                    self._take()
                    if not self._write(self._packed()):
                        return False
                finally:
                    self._spilling = False
        return True

    def clear(self) -> None:
        """Drop all rows."""
        self.rows.clear()
        self.batch, self._taken, self._blocks = None, [], ()
        self._drop_file()

    def _take(self) -> None:
        """Move rows from the deque to `_taken` until that has BATCH_VALUES values."""
        values = sum(len(row[2]) for row in self._taken)
        while values < BATCH_VALUES and self.rows:
            before = len(self._taken)
            with suppress(IndexError):  # the deque is empty
                # Runs in C: neither a thread nor an interrupt comes between taking a row and adding it.
                self._taken.extend(islice(iter(self.rows.popleft, None), STEP_ROWS))
            values += sum(len(row[2]) for row in self._taken[before:])

    def _packed(self) -> tuple[Measures, ...]:
        """Return `_taken` as one array per metric, in their blocks, with times by the clock of the store."""
        if self.first_step is None:
            self.first_step = next((step for step, _, _ in self._taken if step is not None), None)
        rows = apart(self._taken, self._logged_at)
        self._packed_until = rows[-1][1] if rows else self._logged_at
        batch = packed(self.session_id, rows, self._offset_s())
        return tuple(
            replace(column, attempt=self.attempt, block=self._next_block(column.metric, len(column.values)))
            for column in batch
        )

    def _next_block(self, metric: str, size: int) -> int:
        block, filled = self._sizes.get(metric, (0, 0))
        if filled >= BLOCK_VALUES:
            block, filled = block + 1, 0
        self._sizes[metric] = (block, filled + size)
        return block

    def _write(self, batch: tuple[Measures, ...]) -> bool:
        arrays = [part for column in batch for part in (column.steps, column.times, column.values)]
        data = b"".join(array.tobytes() for array in arrays)
        if self._file_end + len(data) > MAX_FILE_BYTES:
            return False
        try:
            if self._file is None:
                self._file = TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115  # for this user alone
            self._file.seek(self._file_end)
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            return False
        sizes = ((column.metric, len(column.values), column.block, column.integers) for column in batch)
        block = (self._file_end, tuple(sizes))
        blocks, end = (*self._blocks, block), self._file_end + len(data)
        self._blocks, self._file_end, self._taken, self._logged_at = blocks, end, [], self._packed_until
        return True

    def _read(self, offset: int, sizes: tuple[tuple[str, int, int, bool], ...]) -> tuple[Measures, ...]:
        assert self._file is not None
        self._file.seek(offset)
        batch = []
        for metric, size, block, integers in sizes:
            steps, times, values = (self._array(kind, size) for kind in ("i8", "i8", "f8"))
            batch.append(
                Measures(self.session_id, metric, steps, times, values, self.attempt, block, integers)
            )
        return tuple(batch)

    def _array(self, kind: str, size: int) -> np.ndarray:
        assert self._file is not None
        array = np.empty(size, dtype=kind)
        left = memoryview(array.data).cast("B")
        while left:
            count = self._file.readinto(left)  # type: ignore[attr-defined]  # a FileIO, where buffering is 0
            if not count:
                raise OSError("the temporary file of logged values is shorter than it was")
            left = left[count:]
        return array

    def _drop_file(self) -> None:
        file, self._file, self._file_end = self._file, None, 0
        if file is not None:
            file.close()


def apart(rows: list[Row], last: float) -> list[Row]:
    """Return rows with a time of its own for each call of log(), whichever threads made them: the times say what one call logged.

    `last` is the time of the row before. A clock that was set back by a second or more is believed.
    """
    times = []
    for _, now, _ in rows:
        last = last + ONE_CALL_S if -1 < now - last < ONE_CALL_S else now
        times.append(last)
    return [(step, time, values) for (step, _, values), time in zip(rows, times, strict=True)]


def packed(session_id: int, rows: list[Row], offset_s: float) -> tuple[Measures, ...]:
    """Return rows as one array per metric; `offset_s` is added to the times."""
    columns: dict[str, tuple[list[int], list[float], list[float]]] = {}  # by the name that is stored
    by_metric: dict[str, tuple[list[int], list[float], list[float]]] = {}
    for step, time, values in rows:
        for metric, value in values.items():
            column = by_metric.get(metric)
            if column is None:
                column = by_metric[metric] = columns.setdefault(encodable(metric), ([], [], []))
            column[0].append(NO_STEP if step is None else step)
            column[1].append(time)
            column[2].append(value)
    return tuple(
        Measures(
            session_id,
            metric,
            np.array(steps, dtype=np.int64),
            ((np.array(times) + offset_s) * 1e6).astype(np.int64),
            np.array(values, dtype=np.float64),
            integers=are_integers(values),
        )
        for metric, (steps, times, values) in columns.items()
    )


def are_integers(values: Sequence[float]) -> bool:
    """Whether all values were logged as integers, and fit into 64 bits."""
    return set(map(type, values)) == {int} and min(values) >= -(2**63) and max(values) < 2**63
