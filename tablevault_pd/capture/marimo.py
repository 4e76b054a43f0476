"""Cells that marimo's own kernel runs (``marimo edit``, ``marimo export``). marimo is never imported: if it runs, it is there.

marimo has no public events. Its kernel keeps lists of hooks that are called before and after each cell, and each run of several
cells copies them: so ours are added to the kernel's list and to that of the run that is going on. Where a release of marimo
has them no more, nothing is recorded of its cells, and nobody is disturbed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture.notebook import Typed, executed
from tablevault_pd.capture.script import marimo_kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tablevault_pd.capture.notebook import CellOutcome


class MarimoHooks:
    """marimo's hooks before and after each cell, while somebody listens."""

    def __init__(
        self,
        started: Callable[[Typed], None],
        ended: Callable[[CellOutcome], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._started, self._ended, self._failed = started, ended, failed
        self._hooked: list[Any] = []  # lists of hooks that ours are in: they cannot be taken out again
        self.installed = False  #: whether it listens

    def install(self) -> None:
        """Listen, once. The cell that runs now is taken as started."""
        kernel = marimo_kernel()
        if kernel is None:
            return
        for hooks in (kernel._hooks, _hooks_of_this_run()):
            if hooks is not None and all(hooks is not other for other in self._hooked):
                hooks.add_pre_execution(self._before)
                hooks.add_post_execution(self._after)
                self._hooked.append(hooks)
        if not self.installed:
            self.installed = True
            running = _running(kernel)
            if running is not None:
                self._started(_typed(running))

    def remove(self) -> None:
        """Listen no more."""
        self.installed = False

    def _before(self, cell: Any, _: Any) -> None:
        if self.installed:
            try:
                self._started(_typed(cell))
            except Exception as error:  # noqa: BLE001  # nothing of ours may reach the user's cell
                self._failed(error)

    def _after(self, _: Any, __: Any, result: Any) -> None:
        if self.installed:
            try:
                self._ended(executed(result.exception))
            except Exception as error:  # noqa: BLE001
                self._failed(error)


def typed_before() -> list[Typed]:
    """The cells of this kernel that came before the one that runs now."""
    kernel = marimo_kernel()
    if kernel is None:
        return []
    running = _running(kernel)
    cells = [cell for cell in kernel.graph.cells.values() if cell is not running]
    return [_typed(cell) for cell in cells if getattr(cell, "run_result_status", None) == "success"]


def _typed(cell: Any) -> Typed:
    return Typed(str(cell.code), None, str(cell.cell_id))


def _running(kernel: Any) -> Any:
    """The cell that runs now."""
    context = sys.modules["marimo._runtime.context.types"].safe_get_context()
    execution = getattr(context, "execution_context", None)
    return None if execution is None else kernel.graph.cells.get(execution.cell_id)


def _hooks_of_this_run() -> Any:
    """The copy of the hooks that the run has which this code is in: its runner is on the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        runner = frame.f_locals.get("self") if "marimo" in str(frame.f_globals.get("__name__")) else None
        hooks = getattr(runner, "_hooks", None)
        if hasattr(hooks, "add_pre_execution"):
            return hooks
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return None
