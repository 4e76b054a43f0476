"""How a session ends, beyond what its ``with`` or the process says: stops, cancelled tasks, and what becomes of its cells."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tablevault_pd.capture.exits import UNKNOWN_CODE, ExitStatus, ending_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tablevault_pd.session.control import ControlState


def ending_by(error: BaseException | None, controls: Iterable[ControlState]) -> ExitStatus:
    """Return how a session ends whose ``with`` is left by `error`; `controls` are its own and those around it."""
    cancelled = getattr(sys.modules.get("asyncio"), "CancelledError", ())
    # asyncio cancels the tasks beside the one whose checkpoint raised the stop.
    if isinstance(error, cancelled) and any(control.asked_to_stop for control in controls):
        return ExitStatus("stopped")
    return ending_of(error)


def ending_after_stop(ending: ExitStatus) -> ExitStatus:
    """Return how a session ends that obeyed a stop: stopped, unless an error of its own came after that."""
    return ExitStatus("stopped") if ending.outcome == "finished" or ending.error == UNKNOWN_CODE else ending


def cell_outcome(ending: ExitStatus) -> str:
    """Return the outcome of a cell that still runs while its session ends."""
    if ending.outcome == "finished":
        return "ok"
    stopped = ending.outcome == "stopped" or (ending.error or "").startswith("KeyboardInterrupt")
    return "interrupted" if stopped else "error"
