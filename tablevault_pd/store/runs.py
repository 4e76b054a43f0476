"""Which positions of a version lie in which generation. No I/O.

A restored list begins with rows of an older generation and goes on in its own, so a version is a series of runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Run = tuple[int, int, int]  #: (generation, first position, end)


def runs_of(generation: int, total: int, bases: Mapping[int, tuple[int, int]]) -> list[Run]:
    """The runs of a version of `generation` with `total` rows, in order of position.

    `bases` holds the restored generations of the list: which generation each begins with, and how many rows of it.

    Examples
    --------
    >>> runs_of(7, 120, {7: (3, 100)})
    [(3, 0, 100), (7, 100, 120)]
    """
    runs = []
    while generation in bases:
        base, rows = bases[generation]
        if rows < total:
            runs.append((generation, rows, total))
        generation, total = base, min(rows, total)
    return [*([(generation, 0, total)] if total else []), *reversed(runs)]
