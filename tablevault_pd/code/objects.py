"""Which names stand for one object, or for one inside of another, while a program runs from statement to statement."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from tablevault_pd.code.sharing import HOLDS, ITEM, MADE, PUT, SAME, SAME_NEW, SLICE, STAND_IN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from tablevault_pd.code.sharing import Change, Share
    from tablevault_pd.code.statements import Statement


class _Edge(NamedTuple):
    """One object is in another."""

    outer: int
    inner: int
    key: str
    taken: bool  #: whether it was taken out of the other; else it was put in

    @property
    def is_inside(self) -> bool:
        """Whether it is no copy: items of frames are, and attributes of objects are not."""
        return not self.taken or self.key.startswith(".")


class Objects:
    """The objects that names stand for, as far as statements tell."""

    def __init__(self) -> None:
        self._of: dict[str, set[int]] = {}
        self._names: dict[int, set[str]] = defaultdict(set)
        self._number = 0
        self._outwards: dict[int, dict[_Edge, None]] = defaultdict(dict)
        self._inwards: dict[int, dict[_Edge, None]] = defaultdict(dict)
        self._containers: set[int] = set()  # lists, dicts, sets: their items are no copies
        self._arrays: set[int] = set()  # nor are slices of these

    def bind(
        self, statement: Statement, shares: Iterable[Share], apart: Collection[str], arrays: Collection[str]
    ) -> None:
        """Take note of what a statement binds, and what that shares with others.

        `apart` are names of modules and handles, `arrays` those that it binds to arrays.
        """
        shares = [share for share in shares if share[1] not in apart]
        for _, source, _ in shares:
            if ":" in source and source not in self._of:
                self._name(source, {self._new()})  # of a module, which is there already
        for name in {share[0] for share in shares if share[0].startswith(STAND_IN)}:
            self._name(name, {self._new()})
        before = {source: set(self._of.get(source, ())) for _, source, _ in shares}
        for name in statement.bound:
            if not any(change.adds and change.name == name for change in statement.changed):
                # Where it may stand for what it stood for, a new object would be one more to go through, and tell nothing more.
                self._name(name, (not statement.sure and self._of.get(name)) or {self._new()})
                self._arrays.update(self._of[name] if name in arrays else ())
        for share in shares:
            self._share(share, before)
        bound = set(statement.bound)
        for share in shares:
            name, source, _ = share
            if not statement.sure or (source in bound and source != name):
                # what a block binds, a later line in it may go on with, and so may what stands behind ``(a := [1])``
                self._share(share, {source: set(self._of.get(source, ()))})

    def _new(self) -> int:
        self._number += 1
        return self._number

    def _name(self, name: str, numbers: set[int]) -> None:
        for number in self._of.get(name, ()):
            self._names[number].discard(name)
        for number in numbers:
            self._names[number].add(name)
        self._of[name] = numbers

    def _share(self, share: Share, before: dict[str, set[int]]) -> None:
        name, source, how = share
        own, earlier = self._of.setdefault(name, set()), before[source]
        kind, key = how[:1], how[1:]
        if how == MADE:
            self._containers |= own
        elif how == SAME:
            self._name(name, own | earlier)
        elif how == SAME_NEW:
            self._name(name, own | self._of.get(source, set()))
        elif kind == HOLDS or (kind == PUT and not own.isdisjoint(self._containers)):
            self._join(own, earlier | self._of.get(source, set()), key, taken=False)
        elif kind == ITEM and (how != SLICE or not earlier.isdisjoint(self._arrays)):
            key = "" if how == SLICE else key
            put = {
                edge.inner
                for outer in earlier
                for edge in self._inwards[outer]
                if key and edge.key == key and not edge.taken
            }
            self._name(name, own | put)
            self._join(earlier, own, key, taken=True)

    def _join(self, outers: Iterable[int], inners: Iterable[int], key: str, *, taken: bool) -> None:
        for outer in outers:
            for inner in inners:
                if outer != inner:
                    edge = _Edge(outer, inner, key, taken)
                    self._inwards[outer][edge] = None
                    self._outwards[inner][edge] = None

    def reached(self, changes: Iterable[Change]) -> Iterator[str]:
        """All names of what is changed: of the same objects, of those around them, of those in them that may be meant."""
        objects: set[int] = set()
        for change in changes:
            for number in self._of.get(change.name, ()):
                if self._counts(change, number):
                    self._spread(number, change.path, change.grows, objects)
        for number in sorted(objects):
            yield from sorted(self._names[number])

    def _counts(self, change: Change, number: int) -> bool:
        return not (change.adds or change.through) or change.grows or self._has_items(number)

    def _has_items(self, number: int) -> bool:
        return number in self._containers or number in self._arrays

    def _spread(self, number: int, path: str, grows: bool, objects: set[int]) -> None:
        """Add to `objects` what is changed when that path of an object is."""
        waiting = [(number, path)]
        visited = set(waiting)
        while waiting:
            number, path = waiting.pop()
            objects.add(number)
            key = path.removeprefix(ITEM)
            for edge in self._inwards[number] if path != SAME else ():
                inside = (edge.inner, SAME)
                if (not key or not edge.key or key == edge.key) and inside not in visited:
                    visited.add(inside)
                    waiting.append(inside)
            for edge in self._outwards[number]:
                around = (edge.outer, ITEM + edge.key)
                if around not in visited and (edge.is_inside or grows or self._has_items(edge.outer)):
                    visited.add(around)
                    waiting.append(around)
