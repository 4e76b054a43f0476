"""What the requests that wait for a session add up to. Pure: no clock, no thread, no store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import ControlRequest

Want = Literal["run", "pause", "stop"]


@dataclass(frozen=True, slots=True)
class Orders:
    """What a session is to do at its next checkpoint, and which requests are settled when."""

    want: Want = "run"
    settled: tuple[
        int, ...
    ] = ()  #: acknowledged at once: they change nothing, or are overtaken by a later one
    waiting: tuple[int, ...] = ()  #: acknowledged when the session does what it is to do
    exit_code: int = 0


def orders(requests: Sequence[ControlRequest], *, paused: bool, stopping: bool) -> Orders:
    """What `requests` (not acknowledged, oldest first) mean for a session that is paused, or on its way out.

    A stop outweighs everything before and after it; of the others the last one counts.
    """
    ids = tuple(request.id for request in requests)
    stop = next((request for request in requests if request.request == "stop"), None)
    if stopping:
        return Orders("run", settled=ids)
    if stop is not None:
        return Orders("stop", waiting=ids, exit_code=stop.exit_code)
    if not requests:
        return Orders("pause" if paused else "run")
    want: Want = "run" if requests[-1].request == "resume" else "pause"
    if paused == (want == "pause"):
        return Orders(want, settled=ids)
    return Orders(want, settled=ids[:-1], waiting=ids[-1:])
