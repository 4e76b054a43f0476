"""What a vacuum takes from one list, for every store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tablevault_pd.store import Freed
from tablevault_pd.store.engine.name_rules import kept_by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tablevault_pd.store import Version
    from tablevault_pd.store.pieces import Pieces


class StoredParts(NamedTuple):
    """The rows of a list as they are stored, by generation and start: int64 arrays."""

    generation: np.ndarray
    start: np.ndarray
    rows: np.ndarray
    size_bytes: np.ndarray

    def shown(self, contents: Sequence[Pieces]) -> list[np.ndarray]:
        """For each content the numbers of the parts that hold rows of it."""
        stop = self.start + self.rows
        return [np.unique(pieces.runs(self.generation, self.start, stop)[0]) for pieces in contents]


class VacuumPlan(NamedTuple):
    """What a vacuum takes from one list."""

    freed: list[Freed]
    gone: list[Version]  #: versions that lose rows
    doomed: np.ndarray  #: numbers of the parts that nobody shows


def vacuum_plan(
    versions: Sequence[Version],
    named: Collection[int],
    parts: StoredParts,
    contents: Callable[[Sequence[Version]], Sequence[Pieces]],
    *,
    keep: int,
    deleted: bool,
) -> VacuumPlan:
    """What is freed where the newest `keep` of all versions of a list stay, and those that are `named`."""
    name, whole = versions[-1].list, deleted and versions[-1].deleted
    newest = [] if whole else [version for version in versions if not version.deleted][-keep:]
    by_name = kept_by_name(name, named, [version.version for version in newest])
    remaining = newest + [version for version in versions if version.version in named]
    shown = parts.shown(contents([version for version in remaining if not version.gone]))
    everything = np.arange(len(parts.rows))
    doomed = np.setdiff1d(everything, np.concatenate([everything[:0], *shown]))
    if not len(doomed):
        return VacuumPlan(by_name, [], doomed)
    present = [version for version in versions if not version.gone]
    losing = StoredParts(*(column[doomed] for column in parts)).shown(contents(present))
    gone = [version for version, lost in zip(present, losing, strict=True) if len(lost)]
    freed = Freed(
        "deleted list" if whole and not named else "rows",
        name,
        tuple(version.version for version in gone),
        int(parts.rows[doomed].sum()),
        int(parts.size_bytes[doomed].sum()),
    )
    return VacuumPlan([freed, *by_name], gone, doomed)
