"""Which answer of a vault a frame is: one short string in its ``attrs``, which pandas keeps through most operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tablevault_pd.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

ATTR = "tablevault_answer"

#: The columns by which an answer is known where pandas dropped its mark. The first kind that fits counts.
COLUMNS = {
    "bands": {"x", "n", "mid", "lo", "hi", "band"},
    "best": {"session", "metric", "best_step", "best_value"},
    "metrics": {"session", "metric", "value"},
    "curve": {"step", "time", "value"},
    "sessions": {"session", "state", "started", "ended"},
    "trend": {"list", "version", "measure", "slice", "value"},
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a frame is: the call that made it, and what that call was about, such as the name of a metric."""

    kind: str
    about: str = ""


def mark(frame: pd.DataFrame, kind: str, about: str = "") -> pd.DataFrame:
    """Return `frame`, which from now on knows what it is."""
    frame.attrs[ATTR] = f"{kind}:{about}" if about else kind
    return frame


def answer_of(frame: pd.DataFrame) -> Answer:
    """Return what `frame` is. Raises InvalidInput where it is no answer that can be drawn."""
    marked = frame.attrs.get(ATTR)
    if isinstance(marked, str):
        kind, _, about = marked.partition(":")
        return Answer(kind, about)
    for kind, columns in COLUMNS.items():
        if columns <= set(frame.columns):
            return Answer(kind)
    raise InvalidInput(
        "df.vault.plot draws answers of a vault: vault.metrics(…), best(…), bands(…), sessions(…), trend(…) and compare(…), and "
        "run.curve(…). This frame is none of them; draw it with df.plot. vault.graph(…) draws lineage."
    )
