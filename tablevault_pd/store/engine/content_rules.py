"""What must be true of a version and its content, and who wrote its rows, in every store alike. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store import Spans
from tablevault_pd.store.pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tablevault_pd.store import Version


def wrong_total(version: Version, rows: int) -> str | None:
    """What is wrong with the total of a version whose content has so many rows."""
    if rows == version.total or version.deleted:
        return None
    return f"it is said to have {version.total} rows, and its content has {rows}"


def wrong_erased(version: Version, content: Pieces, erased: Pieces) -> str | None:
    """What is wrong with how many of a version's rows are said to be `erased`, which are all that were of its list."""
    rows = int(content.overlaps(erased)[2].sum())
    if rows == version.erased:
        return None
    return f"{version.erased} of its rows are said to be erased, and {rows} are"


def wrong_numbers(run: tuple[int, int, int], numbers: np.ndarray | None, erased: Pieces) -> str | None:
    """What is wrong with the `numbers` of erased rows in a run of stored ones (generation, first, stop)."""
    expected = Pieces.of([run]).positions_of(erased)
    if np.array_equal(expected, np.empty(0, np.int64) if numbers is None else numbers):
        return None
    held = 0 if numbers is None else len(numbers)
    return f"of the rows that it wrote {held} are marked as erased, and {len(expected)} were"


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
