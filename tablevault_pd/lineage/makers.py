"""Who made the rows of a version: the commits that wrote them, those that have made equal rows since, and other versions' makers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.frames import index_fields, index_names, key_fields
from tablevault_pd.lineage.same import unchanged_rows
from tablevault_pd.store import VersionLookup
from tablevault_pd.store.pieces import expanded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from tablevault_pd.code.reading import Place
    from tablevault_pd.store import Confirmation, Spans, Store, Version
    from tablevault_pd.store.pieces import Pieces

NOBODY: Place = (-1, -1, 0)
#: Of so many versions before a version, and as many behind it, the rows are compared with its own.
AROUND = 25


@dataclass(frozen=True, slots=True)
class RowsMade:
    """Rows of a version that the same places made."""

    start: int
    stop: int
    writer: Place
    confirmations: tuple[Confirmation, ...] = ()  #: by those that made them again, the latest last

    @property
    def places(self) -> tuple[Place, ...]:
        """The commit that wrote them, then those that made them again."""
        return (self.writer, *map(_place, self.confirmations))

    @property
    def made_from(self) -> dict[int, int]:
        """The newest version of each list that they were made from again, by list."""
        return dict(sorted(pair for confirmation in self.confirmations for pair in confirmation.made_from))

    @property
    def last(self) -> Place:
        """Whose code is in force: that of the last which is known."""
        return next((place for place in self.places[:0:-1] if place[1] >= 0), self.places[0])


def runs_of(store: Store, versions: Sequence[Version]) -> list[list[RowsMade]]:
    """The rows of each of these versions by who made them, in order of position."""
    spans = store.spans_written(versions)
    confirmations = store.confirmations(sorted({version.list_id for version in versions}))
    confirmations = [confirmation for confirmation in confirmations if confirmation.session_id is not None]
    there = _pieces_confirmed(store, versions, confirmations)
    return [
        _runs(*_written(spans, number), _confirmed(version, shown, there, confirmations))
        for number, (version, shown) in enumerate(zip(versions, store.pieces(versions), strict=True))
    ]


def numbers_at(runs: Sequence[RowsMade], positions: np.ndarray) -> np.ndarray:
    """The number of the run that each of these positions is in."""
    starts = np.array([run.start for run in runs], np.int64)
    return np.asarray(np.searchsorted(starts, positions, side="right") - 1)


def runs_apart(store: Store, a: Version, b: Version) -> tuple[list[RowsMade], list[RowsMade]]:
    """The runs of two versions that have rows which the other does not show.

    Of a version that has no such rows the runs of the commit that made it; all of them where it wrote none.
    """
    runs = runs_of(store, [a, b])
    pieces = store.pieces([a, b])
    here, there, rows = (
        pieces[0].overlaps(pieces[1]) if a.list_id == b.list_id else np.empty((3, 0), np.int64)
    )
    order = np.argsort(there, kind="stable")
    shared = ((here, rows), (there[order], rows[order]))
    one, two = (
        [run for run in of_version if _covered(*of_both, run) < run.stop - run.start]
        or [run for run in of_version if run.writer[:2] == (version.session_id, version.cell)]
        or of_version
        for version, of_version, of_both in zip((a, b), runs, shared, strict=True)
    )
    return one, two


@dataclass(frozen=True, slots=True, eq=False)
class OtherVersion:
    """Another version of a list, and who made its rows."""

    version: Version
    runs: list[RowsMade]

    @property
    def places(self) -> frozenset[Place]:
        """All who made some of them."""
        return frozenset(place for run in self.runs for place in run.places)

    def made_by(self, place: Place, positions: np.ndarray) -> np.ndarray:
        """Of these positions, -1 for none, those whose rows `place` made."""
        is_of_place = np.array([place in run.places for run in self.runs])
        return np.asarray((positions >= 0) & is_of_place[numbers_at(self.runs, np.maximum(positions, 0))])


def others_around(store: Store, a: Version, b: Version) -> list[OtherVersion]:
    """The other versions of their lists that are at most :data:`AROUND` away from one of two, and still have rows."""
    numbers = {
        (version.list, number)
        for version in (a, b)
        for number in range(max(version.version - AROUND, 1), version.version + AROUND + 1)
    } - {(version.list, version.version) for version in (a, b)}
    lookups = [VersionLookup(name, number) for name, number in sorted(numbers)]
    versions = [
        version
        for version in store.find_versions(lookups)
        if version is not None and version.shown and not version.gone
    ]
    runs = runs_of(store, versions) if versions else []
    return [OtherVersion(version, of_version) for version, of_version in zip(versions, runs, strict=True)]


def equal_rows(store: Store, version: Version, other: Version, *, by_row: bool = False) -> np.ndarray:
    """For each row of a version the position of the row in another one that is the same row, and equal; -1 where none is.

    A key or a named index says which row is the same, or else the columns (`by_row`); without these the other version counts
    only if all of its rows are equal.
    """
    at = np.arange(version.total)
    there = unchanged_rows(store, version, other, at)
    if by_row or all(tells_rows_apart(store.schema(one.schema_id)) for one in (version, other)):
        return there
    is_whole = version.total == other.total and bool((there == at).all())
    return at if is_whole else np.full(version.total, -1)


def tells_rows_apart(schema: pa.Schema) -> bool:
    """Whether a key or a named index says which row is which."""
    return bool(key_fields(schema) or (index_fields(schema) and None not in index_names(schema)))


def _covered(start: np.ndarray, rows: np.ndarray, run: RowsMade) -> int:
    """How many rows of a run lie in intervals, which are in order and apart."""
    overlap = np.minimum(start + rows, run.stop) - np.maximum(start, run.start)
    return int(overlap[overlap > 0].sum())


def _pieces_confirmed(
    store: Store, versions: Sequence[Version], confirmations: Sequence[Confirmation]
) -> dict[tuple[int, int], Pieces]:
    """The content of each version that was confirmed, of those that are still there."""
    names = {version.list_id: version.list for version in versions}
    places = sorted({(confirmation.list_id, confirmation.version) for confirmation in confirmations})
    lookups = [VersionLookup(names[list_id], number) for list_id, number in places]
    confirmed = [version for version in store.find_versions(lookups) if version is not None]
    return {
        (version.list_id, version.version): pieces
        for version, pieces in zip(confirmed, store.pieces(confirmed), strict=True)
    }


def _place(confirmation: Confirmation) -> Place:
    assert confirmation.session_id is not None
    cell = -1 if confirmation.cell is None else confirmation.cell
    return confirmation.session_id, cell, confirmation.line or 0


def _confirmed(
    version: Version,
    shown: Pieces,
    there: Mapping[tuple[int, int], Pieces],
    confirmations: Sequence[Confirmation],
) -> list[tuple[np.ndarray, np.ndarray, Confirmation]]:
    """(start, stop, confirmation) of the positions of a version whose rows were made again, the latest last."""
    overlaps: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    confirmed = []
    for confirmation in confirmations:
        pieces = there.get((confirmation.list_id, confirmation.version))
        if confirmation.list_id == version.list_id and pieces is not None:
            if confirmation.version not in overlaps:
                overlaps[confirmation.version] = shown.overlaps(pieces)
            confirmed.append((*_clipped(*overlaps[confirmation.version], confirmation.rows), confirmation))
    return confirmed


def _clipped(
    here: np.ndarray, there: np.ndarray, rows: np.ndarray, runs: Sequence[tuple[int, int]] | None
) -> tuple[np.ndarray, np.ndarray]:
    """(start, stop) here of those of the shared rows that lie in these runs there, or of all."""
    if runs is None:
        return here, here + rows
    first, stop = np.array(runs, np.int64).reshape(-1, 2).T
    order = np.argsort(there, kind="stable")
    here, there, rows = here[order], there[order], rows[order]
    low = np.searchsorted(stop, there, side="right")
    piece, run = expanded(low, np.maximum(np.searchsorted(first, there + rows, side="left") - low, 0))
    start = np.maximum(first[run], there[piece])
    end = np.minimum(stop[run], (there + rows)[piece])
    offset = (here - there)[piece]
    return start + offset, end + offset


def _written(spans: Spans, scope: int) -> tuple[np.ndarray, np.ndarray, list[Place]]:
    here = spans.scope == scope
    columns = (spans.session_id[here], spans.cell[here], spans.line[here])
    places = list(zip(*(column.tolist() for column in columns), strict=True))
    return spans.start[here], spans.stop[here], places or [NOBODY]


def _runs(
    starts: np.ndarray,
    stops: np.ndarray,
    writers: Sequence[Place],
    confirmed: Sequence[tuple[np.ndarray, np.ndarray, Confirmation]],
) -> list[RowsMade]:
    bounds = np.unique(np.concatenate([starts, stops, *(ends for *both, _ in confirmed for ends in both)]))
    wrote = (np.searchsorted(starts, bounds[:-1], side="right") - 1).tolist()
    again: list[list[Confirmation]] = [[] for _ in wrote]
    for first, end, confirmation in confirmed:
        for low, high in zip(*np.searchsorted(bounds, [first, end]).tolist(), strict=True):
            for of_run in again[low:high]:
                of_run.append(confirmation)
    return [
        RowsMade(start, stop, writers[number], tuple(of_run))
        for (start, stop), number, of_run in zip(
            pairwise(bounds.astype(np.int64).tolist()), wrote, again, strict=True
        )
    ]
