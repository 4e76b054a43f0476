"""Calling a function of rows: what it gets, what it may return, and in which threads, processes or tasks it runs."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import re
import threading
import traceback
from collections import namedtuple
from collections.abc import Mapping
from concurrent import futures
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from tablevault_pd.errors import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Where the files are of what calls a function.
_OURS = tuple(
    os.path.dirname(file) + os.sep for file in (os.path.dirname(__file__), asyncio.__file__, futures.__file__)
)
_CALLERS = re.compile(
    r"(Traceback \(most recent call last\):\n)"
    rf'(?:  File "(?:{"|".join(map(re.escape, _OURS))})[^"\n]*", line .*\n(?:    .*\n)*)+'
)


@dataclass(frozen=True, slots=True)
class FrameRows:
    """Some rows of a frame, which follow each other."""

    frame: pd.DataFrame
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def continues(self, other: Rows) -> bool:
        """Whether these rows come next after those."""
        return isinstance(other, FrameRows) and other.frame is self.frame and other.stop == self.start


#: What became of one input: its rows, in a frame or as dicts; empty for none.
Rows = FrameRows | list[dict[Any, Any]]


class Runner(Protocol):
    """Where calls run."""

    def submit(self, payload: Any) -> Future[Any]:
        """Begin a call."""

    def close(self) -> None:
        """Begin no more calls; wait for none."""


class Inline:
    """Each call at once, in the thread that asks."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def submit(self, payload: Any) -> Future[Any]:
        """Call the function."""
        future: Future[Any] = Future()
        try:
            future.set_result(self._function(payload))
        except Exception as error:  # noqa: BLE001  # whoever takes the result gets it
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing is left."""


class Pool:
    """Calls in the threads or processes of a pool."""

    def __init__(self, function: Callable[[Any], Any], *, workers: int, processes: bool) -> None:
        self._function, self._processes = function, processes
        self._pool: ProcessPoolExecutor | ThreadPoolExecutor
        if processes:
            self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        else:
            self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tablevault-map")

    def submit(self, payload: Any) -> Future[Any]:
        """Begin a call, in the context of whoever asks."""
        if self._processes:
            if isinstance(payload, tuple):  # its class exists here alone
                payload = _Row(payload._fields, tuple(payload))  # type: ignore[attr-defined]
            return self._pool.submit(self._function, payload)
        return self._pool.submit(contextvars.copy_context().run, self._function, payload)

    def close(self) -> None:
        """Begin no more calls."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Tasks:
    """Calls of a coroutine function, as tasks of an event loop of their own."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tablevault-map", daemon=True)
        self._thread.start()

    def submit(self, payload: Any) -> Future[Any]:
        """Begin a call."""
        return asyncio.run_coroutine_threadsafe(self._function(payload), self._loop)

    def close(self) -> None:
        """Cancel what runs, and end the loop."""
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop)

    async def _cancel(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop.stop()


@dataclass(frozen=True, slots=True)
class _Row:
    """A named tuple on its way to another process."""

    names: tuple[str, ...]
    values: tuple[Any, ...]


def _unpacked(call: Callable[[Any], Any], payload: Any) -> Any:
    if isinstance(payload, _Row):
        payload = namedtuple("Row", payload.names, rename=True)(*payload.values)  # as pandas makes them
    return call(payload)


def is_async(function: Any) -> bool:
    """Whether calls of the function are awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # an object with such a method
    )


def runner_for(
    function: Any, kwargs: Mapping[str, Any], *, batch: bool, workers: int, processes: bool
) -> Runner:
    """What calls a function, of one row or of a frame."""
    take = _of_batch if batch else _of_row
    if is_async(function):
        return Tasks(partial(_awaited, function, dict(kwargs), take))
    call = partial(_called, function, dict(kwargs), take)
    if processes:
        return Pool(partial(_unpacked, call), workers=workers, processes=True)
    return Inline(call) if workers == 1 else Pool(call, workers=workers, processes=False)


def _called(function: Any, kwargs: dict[str, Any], take: Callable[[Any, Any], Any], payload: Any) -> Any:
    return take(payload, function(payload, **kwargs))


async def _awaited(
    function: Any, kwargs: dict[str, Any], take: Callable[[Any, Any], Any], payload: Any
) -> Any:
    return take(payload, await function(payload, **kwargs))


def _of_row(_: Any, answer: Any) -> list[Rows]:
    """The rows that one input gets."""
    if answer is None:
        return [[]]
    if isinstance(answer, pd.DataFrame):
        return [FrameRows(answer, 0, len(answer))]
    if isinstance(answer, Mapping):
        return [[dict(answer)]]
    if isinstance(answer, (list, tuple)) and all(isinstance(row, Mapping) for row in answer):
        return [[dict(row) for row in answer]]
    raise TypeError(
        f"The function returned {short_repr(answer)} of type {type(answer).__name__}. A function of a row returns a dict, a list of "
        "dicts, a DataFrame, or None for no result."
    )


def _of_batch(frame: pd.DataFrame, answer: Any) -> list[Rows]:
    """The rows that each input of a batch gets: those with its label."""
    if answer is None:
        return [[] for _ in range(len(frame))]
    if isinstance(answer, pd.Series):
        answer = answer.to_frame("value" if answer.name is None else answer.name)
    if not isinstance(answer, pd.DataFrame):
        raise TypeError(
            f"The function returned {short_repr(answer)} of type {type(answer).__name__}. A function of a batch returns a "
            "DataFrame with the index of the one that it got, or None."
        )
    number = frame.index.get_indexer(answer.index)
    if (number < 0).any():
        label = short_repr(answer.index[number < 0].tolist()[0])
        raise ValueError(
            f"The function returned a frame with the label {label}, which the batch does not have. Its index "
            "says which input each row belongs to: keep that of the batch."
        )
    order = np.argsort(number, kind="stable")
    ordered = answer.iloc[order]
    bounds = np.searchsorted(number[order], np.arange(len(frame) + 1)).tolist()
    return [FrameRows(ordered, start, stop) for start, stop in pairwise(bounds)]


def payloads(frame: pd.DataFrame, *, as_dict: bool) -> Sequence[Any]:
    """The rows of a frame as a function of one row gets them."""
    if as_dict:
        return frame.to_dict("records")
    return list(frame.itertuples(index=False, name="Row"))


def traceback_of(error: BaseException) -> str:
    """The traceback of a call from the function on, also of one in another process."""
    return _CALLERS.sub(r"\1", "".join(traceback.format_exception(error)))
