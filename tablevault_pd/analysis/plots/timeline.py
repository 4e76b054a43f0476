"""When sessions ran: a bar for each, lighter where it was paused, broken where it was resumed later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis.plots.draw import days, need, new_axes, time_axis
from tablevault_pd.session.lookup import resolve_sessions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from matplotlib.axes import Axes

    from tablevault_pd.store import Attempt, Session, Store, Timelines

COLORS = {
    "running": "tab:blue", "paused": "tab:cyan", "finished": "tab:green", "failed": "tab:red", "stopped": "tab:orange",
    "lost": "0.5",
}  # fmt: skip
NAMED_ROWS = 40  #: so many sessions have their name beside their bar
TALLEST = 12.0  # inches


def draw_timeline(store: Store, frame: pd.DataFrame, ax: Axes | None) -> Axes:
    """Draw the sessions of a frame, the first at the top."""
    need(frame, ["session", "state", "started", "ended", "heartbeat"], "timeline")
    sessions = {each.label: each for each in resolve_sessions(store, frame[["session"]])}
    timelines = store.timelines([each.id for each in sessions.values()])
    rows = len(frame)
    drawn: Axes = new_axes(height=min(1.2 + 0.28 * rows, TALLEST)) if ax is None else ax
    time_axis(drawn)
    for state in dict.fromkeys(frame["state"]):
        mine = np.flatnonzero(frame["state"] == state)
        spans = [
            (row, span) for row in mine.tolist() for span in _spans(frame.iloc[row], sessions, timelines)
        ]
        _bars(drawn, spans, color=COLORS.get(state, "0.5"), label=state)
    pauses = [(row, span) for row in range(rows) for span in _pauses(frame.iloc[row], sessions, timelines)]
    if pauses:
        _bars(drawn, pauses, color="white", alpha=0.65, hatch="////", edgecolor="0.4", label="pause")
    every = max(-(-rows // NAMED_ROWS), 1)
    drawn.set_yticks(range(0, rows, every), [str(name) for name in frame["session"].iloc[::every]])
    drawn.set_ylim(rows - 0.4, -0.6)
    drawn.set_xlabel("time (UTC)")
    drawn.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawn


def _bars(ax: Axes, spans: Sequence[tuple[int, tuple[datetime, datetime]]], **look: Any) -> None:
    """Draw one bar for each (row, (start, end))."""
    if spans:
        left = days([start.replace(tzinfo=None) for _, (start, _) in spans])
        right = days([end.replace(tzinfo=None) for _, (_, end) in spans])
        ax.barh([row for row, _ in spans], right - left, left=left, height=0.7, **look)


def _spans(
    row: pd.Series, sessions: dict[str, Session], timelines: Timelines
) -> list[tuple[datetime, datetime]]:
    """From when to when each attempt of a session ran."""
    end = _end(row)
    attempts = _attempts(row, sessions, timelines)
    if not attempts:
        return [(row["started"].to_pydatetime(), end)]
    return [(attempt.began, attempt.ended or end) for attempt in attempts]


def _attempts(row: pd.Series, sessions: dict[str, Session], timelines: Timelines) -> list[Attempt]:
    key = sessions[row["session"]].id
    return [attempt for attempt in timelines.attempts if attempt.session_id == key]


def _pauses(
    row: pd.Series, sessions: dict[str, Session], timelines: Timelines
) -> list[tuple[datetime, datetime]]:
    key, end = sessions[row["session"]].id, _end(row)
    return [(pause.began, pause.ended or end) for pause in timelines.pauses if pause.session_id == key]


def _end(row: pd.Series) -> datetime:
    """When a session ended, or was last heard of."""
    last = row["ended"] if pd.notna(row["ended"]) else row["heartbeat"]
    found: datetime = (last if pd.notna(last) else row["started"]).to_pydatetime()
    return found
