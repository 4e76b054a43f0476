"""Runs that made equal rows in other versions of a list: they show what is no cause as those do that confirmed a version.

A run counts if it had of everything what one of the two sides had, inputs included. Else the rows may have come out equal for
reasons that are no matter here, as after two changes of which the second took back what the first had done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.analysis.facts import inputs_of
from tablevault_pd.lineage.makers import equal_rows, others_around
from tablevault_pd.lineage.same import unchanged_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tablevault_pd.analysis.contents import Contents
    from tablevault_pd.analysis.evidence import Evidence
    from tablevault_pd.analysis.facts import Inputs
    from tablevault_pd.code.reading import Place
    from tablevault_pd.lineage.makers import OtherVersion, RowsMade
    from tablevault_pd.store import Store, Version


@dataclass(eq=False)
class Elsewhere:
    """Who made rows of other versions that are equal to those of one of two sides. Rows are read only of versions that may count."""

    store: Store
    contents: Contents
    sides: tuple[Version, Version]
    by_row: bool = False  #: whether columns that are compared tell the rows apart
    _equal: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    _has_inputs: dict[tuple[int, int], bool] = field(default_factory=dict)

    def by_rows(
        self, evidence: Evidence, positions: Sequence[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, Evidence]]:
        """The rows of two sides that belong together, one by one, by who made rows that are equal to them."""
        makers = [
            (side, place, self._made(side, place, versions, positions[side]))
            for side in (0, 1)
            for place, versions in self._candidates(evidence, side).items()
        ]
        if not makers:
            yield np.arange(len(positions[0])), evidence
            return
        flags, of_row = np.unique(
            np.stack([made for *_, made in makers], axis=1), axis=0, return_inverse=True
        )
        for number, is_maker in enumerate(flags):
            more = [
                [
                    [
                        place
                        for (of, place, _), there in zip(makers, is_maker, strict=True)
                        if there and of == side
                    ]
                ]
                for side in (0, 1)
            ]
            yield np.flatnonzero(of_row.ravel() == number), evidence.with_makers(*more)

    def by_runs(self, evidence: Evidence, runs: Sequence[Sequence[RowsMade]]) -> Evidence:
        """The evidence about runs of rows, with those who made all rows of one of them that are not equal on the other side."""
        more = []
        for side, of_side in enumerate(runs):
            made = {
                place: self._made(side, place, versions, self._different[side])
                for place, versions in self._candidates(evidence, side).items()
            }
            more.append(
                [[place for place in made if made[place][self._within(side, run)].all()] for run in of_side]
            )
        return evidence.with_makers(*more)

    @cached_property
    def _others(self) -> list[OtherVersion]:
        return others_around(self.store, *self.sides)

    @cached_property
    def _different(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of each side that are not equal to one of the other."""
        a, b = self.sides
        if a.list_id != b.list_id:
            return np.arange(a.total), np.arange(b.total)
        there = unchanged_rows(self.store, a, b, np.arange(a.total))
        return np.flatnonzero(there < 0), np.setdiff1d(np.arange(b.total), there)

    def _within(self, side: int, run: RowsMade) -> slice:
        """Which of the rows that differ are in a run."""
        return slice(*np.searchsorted(self._different[side], [run.start, run.stop]).tolist())

    def _candidates(self, evidence: Evidence, side: int) -> dict[Place, list[OtherVersion]]:
        """Those who may count, with the versions of which they made rows."""
        versions: dict[Place, list[OtherVersion]] = {}
        own = {place for makers in (evidence.a, evidence.b)[side] for place in makers}
        for other in self._others:
            if other.version.list_id == self.sides[side].list_id:
                for place in sorted(other.places - own):
                    versions.setdefault(place, []).append(other)
        evidence.records.look(versions)
        candidates = {
            place: [other for other in others if self._has_same_inputs(other.version)]
            for place, others in versions.items()
            if evidence.counts(place, evidence.a[0][0], evidence.b[0][0])
        }
        return {place: others for place, others in candidates.items() if others}

    def _made(
        self, side: int, place: Place, versions: Sequence[OtherVersion], positions: np.ndarray
    ) -> np.ndarray:
        """Which of these rows of a side are equal to rows that `place` made."""
        made = np.zeros(len(positions), bool)
        for other in versions:
            key = (side, other.version.version)
            if key not in self._equal:
                self._equal[key] = equal_rows(self.store, self.sides[side], other.version, by_row=self.by_row)
            made |= other.made_by(place, self._equal[key][positions])
        return made

    @cached_property
    def _inputs(self) -> list[Inputs]:
        return [inputs_of(self.store, self.contents, version) for version in self.sides]

    def _has_same_inputs(self, version: Version) -> bool:
        """Whether a version was made from what one of the sides was made from."""
        key = (version.list_id, version.version)
        if key not in self._has_inputs:
            inputs = inputs_of(self.store, self.contents, version)
            names = {name for of_version in (inputs, *self._inputs) for name in of_version}
            self._has_inputs[key] = all(
                inputs.get(name) in [of_side.get(name) for of_side in self._inputs] for name in names
            )
        return self._has_inputs[key]
