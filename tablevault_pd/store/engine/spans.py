"""Who wrote the rows of versions, from what each commit wrote, for every store. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store import Spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tablevault_pd.store.pieces import Pieces


def spans_of(written: Iterable[tuple[Pieces, np.ndarray]]) -> Spans:
    """For each version what it shows, and by row: generation, first row, end, session, cell, time and line of commits."""
    parts: list[Sequence[np.ndarray]] = [[np.empty(0, np.int64)] * 7]
    for number, (pieces, (generation, first, end, *writer)) in enumerate(written):
        commit, start, stop = pieces.runs(generation, first, end)
        scope = np.full(len(commit), number)
        parts.append([scope, start, stop, *(column[commit] for column in writer)])
    columns = parts[1] if len(parts) == 2 else map(np.concatenate, zip(*parts, strict=True))
    scope, start, stop, session_id, cell, time_us, line = columns
    return Spans(scope, start, stop, session_id, cell, time_us.view("datetime64[us]"), line)
