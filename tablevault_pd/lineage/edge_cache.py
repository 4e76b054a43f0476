"""What a walk asks of a store, each thing once and for all lists together.

A server may answer ahead (see :meth:`Store.edges <tablevault_pd.store.Store.edges>`): what came early waits here until the
walk gets there, and only what is lacking is asked for.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tablevault_pd.lineage.edges import groups
from tablevault_pd.lineage.same import same_rows
from tablevault_pd.store.edges import EdgeForm, EdgeQuery, EdgeTable, GenerationKey, Span
from tablevault_pd.store.runs import Run, runs_of
from tablevault_pd.store.types import ListInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tablevault_pd.store import Store, Version

Direction = Literal["up", "down"]
VersionKey = tuple[int, int]  #: (list id, number)


@dataclass(frozen=True, slots=True, eq=False)
class RowsOfGeneration:
    """Rows of one generation whose edges a walk needs, as runs; `position` are the very rows, or None where the runs are."""

    place: GenerationKey
    spans: Sequence[Span]
    position: np.ndarray | None
    whole: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """All edges of the rows in these runs."""

    starts: np.ndarray
    ends: np.ndarray
    table: EdgeTable
    whole: bool

    def covers(self, rows: RowsOfGeneration) -> bool:
        if rows.position is None:
            return all(self._covers(np.array([low]), high) for low, high in rows.spans)
        return self._covers(rows.position, None)

    def _covers(self, positions: np.ndarray, end: int | None) -> bool:
        number = np.searchsorted(self.starts, positions, side="right") - 1
        reach = self.ends[number]
        return bool((number >= 0).all() and ((positions < reach) if end is None else (reach >= end)).all())


class EdgeCache:
    """The edges, lists and versions that one walk has asked for."""

    def __init__(self, store: Store, direction: Direction) -> None:
        self._store = store
        self._up = direction == "up"
        self._facts = ListInfo({}, {})
        self._ahead: dict[GenerationKey, list[_Answer]] = defaultdict(list)
        self._generations: dict[
            GenerationKey, Version | None
        ] = {}  # as the newest version that added rows to it
        self._parents: dict[int, Sequence[int]] = {}  # generations with children, by list
        self._all_parents = False  # whether those of all lists are known

    # -- edges

    def edges(self, asked: Sequence[RowsOfGeneration], *, ahead: int) -> list[EdgeTable]:
        """For each that is asked the edges that touch it, and perhaps others of that generation. Places differ."""
        tables = {each.place: table for each in asked if (table := self._known(each)) is not None}
        lacking = [each for each in asked if each.place not in tables]
        if lacking:
            wanted = [EdgeQuery(*each.place, each.spans, each.whole) for each in lacking]
            found = self._store.edges(wanted, side="child" if self._up else "parent", ahead=ahead)
            if len(lacking) == 1 and not found.prefetched:
                tables[lacking[0].place] = found.table
            else:
                split = self._split(found.table)
                none = found.table.take(np.empty(0, np.intp))
                self._keep(found.prefetched, split, none)
                tables |= {each.place: split.get(each.place, none) for each in lacking}
        return [tables[each.place] for each in asked]

    def _known(self, rows: RowsOfGeneration) -> EdgeTable | None:
        for answer in self._ahead.get(rows.place, ()):
            if answer.covers(rows):
                return answer.table
        return None

    def _split(self, table: EdgeTable) -> dict[GenerationKey, EdgeTable]:
        ends = (table.list, table.generation) if self._up else (table.parent_list, table.parent_generation)
        return {
            (place[0], place[1]): table if len(rows) == len(table) else table.take(rows)
            for place, rows in groups(np.stack(ends, axis=1))
        }

    def _keep(
        self, ahead: Sequence[EdgeQuery], split: dict[GenerationKey, EdgeTable], none: EdgeTable
    ) -> None:
        by_place: dict[GenerationKey, list[EdgeQuery]] = defaultdict(list)
        for each in ahead:
            by_place[each.list, each.generation].append(each)
        for place, answered in by_place.items():
            runs = _joined([span for each in answered for span in each.spans])
            whole = any(each.whole for each in answered)
            self._ahead[place].append(_Answer(*runs, split.get(place, none), whole))

    # -- the same rows

    def same_rows(self, place: GenerationKey, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(generation, positions there, -1 where there is none): these rows of a place in other generations with children."""
        list_id, generation = place
        others = [each for each in self._parents_of(list_id) if each != generation]
        if not others:
            return
        own, *versions = self._newest([place, *((list_id, each) for each in others)])
        self.learn([list_id])
        bases = self._facts.lists[list_id].bases
        for other in versions:
            if own is not None and other is not None:
                found = same_rows(self._store, own, other, positions, bases)
                low = bases.get(other.generation, (0, 0))[1]  # the rows before are of another generation
                yield other.generation, np.where(found >= low, found, -1)

    def _parents_of(self, list_id: int) -> Sequence[int]:
        if list_id not in self._parents and not self._all_parents:
            generations, self._all_parents = self._store.parent_generations([list_id])
            self._parents |= {list_id: (), **generations}
        return self._parents.get(list_id, ())

    def _newest(self, places: Sequence[GenerationKey]) -> list[Version | None]:
        new = [place for place in places if place not in self._generations]
        if new:
            newest = {
                (version.list_id, version.generation): version
                for version in self._store.newest_of_generations(new)
            }
            self._generations |= {**dict.fromkeys(new), **newest}
        return [self._generations[place] for place in places]

    # -- lists and versions

    def know(self, versions: Iterable[Version]) -> None:
        """Versions that were looked up before."""
        known = {(version.list_id, version.version): version for version in versions}
        self._facts = ListInfo(self._facts.lists, {**self._facts.versions, **known})

    def learn(self, lists: Iterable[int] = (), versions: Iterable[VersionKey] = ()) -> None:
        """Look up these versions, their lists and these lists, as far as they are not known yet, with one request."""
        more_lists = set(lists) - self._facts.lists.keys()
        more = set(versions) - self._facts.versions.keys()
        if not more_lists and not more:
            return
        more |= self._coming() - self._facts.versions.keys()
        more_lists |= {list_id for list_id, _ in more} - self._facts.lists.keys()
        facts = self._store.describe_lists(sorted(more_lists), sorted(more))
        self._facts = ListInfo(
            {**self._facts.lists, **facts.lists}, {**self._facts.versions, **facts.versions}
        )

    def _coming(self) -> set[VersionKey]:
        """The versions that edges which came ahead name where a walk goes from list to list."""
        versions: set[VersionKey] = set()
        for answer in (each for answers in self._ahead.values() for each in answers):
            table = answer.table
            if not answer.whole:
                rows = np.flatnonzero(table.form == EdgeForm.WHOLE)
                if not len(rows):
                    continue
                table = table.take(rows)
            versions |= set(zip(table.parent_list.tolist(), table.parent_version.tolist(), strict=True))
            if not self._up:
                versions |= set(zip(table.list.tolist(), table.version.tolist(), strict=True))
        return versions

    @property
    def facts(self) -> ListInfo:
        """What was learned."""
        return self._facts

    def version(self, list_id: int, number: int) -> Version:
        """A version that was learned."""
        return self._facts.versions[list_id, number]

    def runs(self, version: Version) -> list[Run]:
        """Which positions of a version lie in which generation; its list was learned."""
        return runs_of(version.generation, version.total, self._facts.lists[version.list_id].bases)


def _joined(spans: list[Span]) -> tuple[np.ndarray, np.ndarray]:
    """Runs in order, those that touch made one: their starts and ends. There is at least one."""
    ordered = np.array(sorted(spans), np.int64)
    reach = np.maximum.accumulate(ordered[:, 1])
    fresh = np.flatnonzero(np.r_[True, ordered[1:, 0] > reach[:-1]])
    return ordered[fresh, 0], np.maximum.reduceat(ordered[:, 1], fresh)
