"""Watch the cells of a notebook or an IPython prompt. IPython is never imported here: where it runs, it is imported.

The hooks are IPython's own events. They are silent and let no error into the user's cell.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture.cell_place import place_of_error
from tablevault_pd.capture.exits import Wrapped, one_line
from tablevault_pd.errors import SessionStopped

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTS = (KeyboardInterrupt, SessionStopped)  # the user ended the cell
MAX_ERROR = 1000  # characters
EXIT_HINT = "To exit: use 'exit'"  # what IPython warns of when a cell raised a SystemExit


@dataclass(slots=True)
class CellOutcome:
    """How the execution of a cell ended."""

    outcome: str
    error: str | None = None
    traceback: str | None = None
    until: int | None = None  #: the place that it came to, if the cell was cut off


@dataclass(slots=True)
class Typed:
    """A cell that begins to run."""

    text: str
    execution_count: int | None
    id: str | None = None  #: of the cell in its notebook, where the front end sends one


class NotebookHooks:
    """Registers functions for IPython's events before and after each cell."""

    def __init__(
        self,
        started: Callable[[Typed], None],
        ended: Callable[[CellOutcome], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._started = started
        self._ended = ended
        self._failed = failed
        self._shell: Any = None

    @property
    def installed(self) -> bool:
        """Whether the functions are registered."""
        return self._shell is not None

    def install(self) -> None:
        """Register once. The running cell counts as started."""
        shell = _shell()
        if shell is None:
            return
        # Each time, in case an interrupt left it out: IPython keeps one registration.
        shell.events.register("pre_run_cell", self._before)
        shell.events.register("post_run_cell", self._after)
        if self._shell is not None:
            return
        self._shell = shell
        text = _running(shell)
        if text is not None:
            self._started(Typed(text, len(_typed(shell)) - 1, _id_of_running(shell)))

    def remove(self) -> None:
        """Unregister."""
        shell = self._shell
        if shell is None:
            return
        for event, hook in (("pre_run_cell", self._before), ("post_run_cell", self._after)):
            try:
                shell.events.unregister(event, hook)
            except ValueError:
                continue  # all hooks were cleared
        self._shell = None

    def _before(self, info: Any) -> None:
        try:
            stored = getattr(info, "store_history", True)
            # In some releases the counter of the shell is ahead of the cell; the history is not.
            count = len(_typed(self._shell)) if stored else None
            self._started(Typed(str(info.raw_cell), count, getattr(info, "cell_id", None)))
        except Exception as error:  # noqa: BLE001  # no error of ours may reach the cell
            self._failed(error)

    def _after(self, result: Any) -> None:
        try:
            text = getattr(getattr(result, "info", None), "raw_cell", None)
            self._ended(executed(result.error_before_exec or result.error_in_exec, text or ""))
        except Exception as error:  # noqa: BLE001
            self._failed(error)


class QuietStop:
    """Has IPython show a stop in one line, without its hint how to exit."""

    def __init__(self) -> None:
        self._wrapped: Wrapped | None = None

    def install(self) -> None:
        """Begin; once is enough."""
        shell = _shell()
        if shell is None:
            return
        if self._wrapped is None:
            self._wrapped = Wrapped(shell, "showtraceback", _quietly)
        self._wrapped.put()

    def remove(self) -> None:
        """Let IPython show all exceptions again."""
        if self._wrapped is not None:
            self._wrapped.put_back()
            self._wrapped = None


def _quietly(before: Callable[..., Any]) -> Callable[..., Any]:
    def showtraceback(*arguments: Any, **options: Any) -> Any:
        error = sys.exc_info()[1]
        if not isinstance(error, SessionStopped):
            return before(*arguments, **options)
        print(error)
        # IPython warns next; equal filters do no harm.
        warnings.filterwarnings("ignore", EXIT_HINT, UserWarning)
        return None

    return showtraceback


def executed(error: object, text: str = "") -> CellOutcome:
    """Return the outcome of a cell of that text that raised `error`, or nothing (None); marimo has errors that are no exceptions."""
    if error is None:
        return CellOutcome("ok")
    if not isinstance(error, BaseException):
        return CellOutcome("error", f"{type(error).__name__}: {error}"[:MAX_ERROR], None, 0)
    trace = error.__traceback__
    while trace is not None and _is_of_kernel(str(trace.tb_frame.f_globals.get("__name__", ""))):
        trace = trace.tb_next  # skip the frames of IPython, or of marimo
    shown = "".join(format_exception(type(error), error, trace))
    until = 0 if trace is None else place_of_error(text, trace)
    return CellOutcome(
        "interrupted" if isinstance(error, INTERRUPTS) else "error", one_line(error), shown, until
    )


def _is_of_kernel(module: str) -> bool:
    return "IPython" in module or module.partition(".")[0] == "marimo"


def typed_before() -> list[Typed]:
    """Return the cells that this kernel ran before the current one."""
    shell = _shell()
    texts = [] if shell is None else _typed(shell)[:-1]
    return [Typed(str(text), count) for count, text in enumerate(texts) if count and text]


def _shell() -> Any:
    module = sys.modules.get("IPython")
    get = getattr(module, "get_ipython", None)
    return None if get is None else get()


def _running(shell: Any) -> str | None:
    """Return the text of the running cell, as typed."""
    typed = _typed(shell)
    return str(typed[-1]) if typed and typed[-1] else None


def _id_of_running(shell: Any) -> str | None:
    """Return the id of the running cell, from the execute request."""
    header = getattr(shell, "parent_header", None) or {}
    metadata = header.get("metadata") or {} if isinstance(header, dict) else {}
    cell_id = metadata.get("cellId")
    return cell_id if isinstance(cell_id, str) else None


def _typed(shell: Any) -> list[str]:
    """Return the cells of this kernel by execution count, from 1 on; the running one is the last."""
    return getattr(getattr(shell, "history_manager", None), "input_hist_raw", None) or []
