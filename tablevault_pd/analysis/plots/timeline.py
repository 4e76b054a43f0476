"""When sessions ran: a bar for each, lighter where it was paused, broken where it was resumed later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from tablevault_pd.analysis.plots.draw import days, need, new_axes, plain, time_axis
from tablevault_pd.session.lookup import resolve_sessions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from matplotlib.axes import Axes

    from tablevault_pd.store import Attempt, Pause, Store

    Bar = tuple[int, datetime, datetime]
    Part = TypeVar("Part", Attempt, Pause)

COLORS = {
    "running": "tab:blue", "paused": "tab:cyan", "finished": "tab:green", "failed": "tab:red", "stopped": "tab:orange",
    "lost": "0.5",
}  # fmt: skip
NAMED_ROWS = 40  #: so many sessions have their name beside their bar
TALLEST = 12.0  # inches


def draw_timeline(store: Store, frame: pd.DataFrame, ax: Axes | None) -> Axes:
    """Draw the sessions of a frame, the first at the top."""
    need(frame, ["session", "state", "started", "ended", "heartbeat"], "timeline")
    ids = {row_session.label: row_session.id for row_session in resolve_sessions(store, frame[["session"]])}
    timelines = store.timelines(list(ids.values()))
    attempts, pauses = _by_session(timelines.attempts), _by_session(timelines.pauses)
    rows = len(frame)
    drawn: Axes = new_axes(height=min(1.2 + 0.28 * rows, TALLEST)) if ax is None else ax
    time_axis(drawn)
    ran: dict[str, list[Bar]] = {}
    waited: list[Bar] = []
    columns = (frame["session"], frame["state"], frame["started"], frame["ended"].fillna(frame["heartbeat"]))
    for row, (session, state, started, ended) in enumerate(zip(*columns, strict=True)):
        end = started if pd.isna(ended) else ended
        key = ids[session]
        spans = [(attempt.began, attempt.ended or end) for attempt in attempts.get(key, ())] or [
            (started, end)
        ]
        ran.setdefault(state, []).extend((row, *span) for span in spans)
        waited += [(row, pause.began, pause.ended or end) for pause in pauses.get(key, ())]
    for state, bars in ran.items():
        _draw(drawn, bars, color=COLORS.get(state, "0.5"), label=state)
    _draw(drawn, waited, color="white", alpha=0.65, hatch="////", edgecolor="0.4", label="pause")
    every = max(-(-rows // NAMED_ROWS), 1)
    drawn.set_yticks(range(0, rows, every), [plain(name) for name in frame["session"].iloc[::every]])
    drawn.set_ylim(rows - 0.4, -0.6)
    drawn.set_xlabel("time (UTC)")
    drawn.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawn


def _by_session(parts: Sequence[Part]) -> dict[int, list[Part]]:
    colors: dict[int, list[Part]] = {}
    for part in parts:
        colors.setdefault(part.session_id, []).append(part)
    return colors


def _draw(ax: Axes, bars: Sequence[Bar], **look: Any) -> None:
    """Draw one bar for each row, start and end."""
    if bars:
        rows, starts, ends = zip(*bars, strict=True)
        left, right = (
            days([moment.replace(tzinfo=None) for moment in moments]) for moments in (starts, ends)
        )
        ax.barh(rows, right - left, left=left, height=0.7, **look)
