"""Reports of check, compact, vacuum and the indexes of a vault as frames, with fixed columns and dtypes."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from tablevault_pd.reading.reports import answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from tablevault_pd.store import Compacted, Freed, IndexInfo, Problem

CHECK = ("severity", "what", "list", "version", "path", "detail", "fixed")
COMPACT = ("list", "parts_before", "parts_after", "bytes", "damaged")
INDEXES = ("kind", "list", "column", "metric", "rows", "total", "bytes", "state", "where")
VACUUM = ("what", "list", "versions", "rows", "bytes", "path", "removed")
KEPT_BY_NAME = "kept by name"

_OF_COMPACTED = attrgetter("list", "parts_before", "parts_after", "size_bytes", "damaged")
_OF_INDEX = attrgetter("kind", "list", "column", "metric", "covered", "total", "size_bytes", "state", "where")


def checked(problems: Sequence[Problem]) -> pd.DataFrame:
    """Return the problems that a check found."""
    return answer(CHECK, map(attrgetter(*CHECK), problems))


def indexed(indexes: Sequence[IndexInfo]) -> pd.DataFrame:
    """Return the indexes of a vault, with how many rows they cover."""
    return answer(INDEXES, map(_OF_INDEX, indexes))


def compacted(results: Sequence[Compacted]) -> pd.DataFrame:
    """Return the lists that were compacted, with their parts before and after."""
    return answer(COMPACT, map(_OF_COMPACTED, results))


def vacuumed(freed: Sequence[Freed], *, removed: bool) -> pd.DataFrame:
    """Return what a vacuum removed, or would remove."""
    return answer(
        VACUUM,
        [
            (
                entry.what,
                entry.list,
                list(entry.versions),
                entry.rows,
                entry.size_bytes,
                entry.path,
                removed and entry.what != KEPT_BY_NAME,
            )
            for entry in freed
        ],
    )
