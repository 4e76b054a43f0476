"""Which recorded differences can be a cause: the one rule of ``why``, ``differences`` and the tables of a comparison.

A parameter, input, package or piece of code that differs between those who wrote two versions is ruled out as a cause where one
value of it was there on both sides: the vault knows that rows came out as they did with the value of the other side, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tablevault_pd.analysis.code_changes import UNNAMED, CodeChange, code_changes, trees_by_bound
from tablevault_pd.analysis.facts import ABSENT, PARAMETER, READ, alike, different, facts_by_session
from tablevault_pd.code import Slice, program_trees, slices_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from tablevault_pd.analysis.facts import Fact, Facts
    from tablevault_pd.code.reading import Place
    from tablevault_pd.store import Part, Store

CODE = "code"
#: What may make a row come out otherwise. The commit, command line and host are told by ``vault.differences``.
CAUSES = (PARAMETER, READ, "package", "python")
#: Makers of a side that are compared one with the other, where no difference alone can be the cause.
MOST_COMPARED = 50
_UNKNOWN = object()

Key = tuple[str, Any]  #: (what, name); of code the name is what a statement binds
Makers = tuple["Place", ...]  #: who made the same rows


class Records:
    """What is recorded of those who made rows, read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._facts: dict[int, dict[Fact, Any]] = {}
        self._slices: dict[Place, Slice | None] = {}
        self._trees: dict[Place, Mapping[Any, Any]] = {}
        self._programs: dict[int, set[tuple[str, str]]] = {}

    def look(self, places: Iterable[Place]) -> None:
        """Read what is recorded of all of these at once."""
        unread = dict.fromkeys(places)
        sessions = {place[0] for place in unread if place[0] >= 0} - self._facts.keys()
        if sessions:
            self._facts |= facts_by_session(self._store, sorted(sessions))
        cells = [place for place in unread if place[1] >= 0 and place not in self._slices]
        if cells:
            slices = slices_of(self._store, cells)
            self._slices |= {place: slices.get(place) for place in cells}

    def facts(self, place: Place) -> Facts:
        """What is recorded of the session, and what it read."""
        return self._facts.get(place[0], {})

    def code(self, place: Place) -> Slice:
        """The slice; an empty one if none is known."""
        return self._slices.get(place) or Slice()

    def is_unused(self, place: Place, part: Part) -> bool:
        """Whether the program of that session has the definition, too, and only its slice lacks it, for nothing there uses it.

        Not where the slice binds or changes the name otherwise: then the order of the statements may count.
        """
        if part.path is None or not part.names or place[0] < 0 or not self.code(place).parts:
            return False
        if any(set(part.names) & set(other.names) for other in self.code(place).parts):
            return False
        if place[0] not in self._programs:
            self._programs |= program_trees(self._store, sorted(self._facts.keys() - self._programs.keys()))
        return (part.path, part.tree) in self._programs.get(place[0], ())

    def value(self, place: Place, key: Key) -> Any:
        """What was there of a fact or a piece of code, or that it is not known."""
        if key[0] != CODE:
            return self._facts[place[0]].get(key, ABSENT) if place[0] in self._facts else _UNKNOWN
        if not self.code(place).parts:
            return _UNKNOWN
        if place not in self._trees:
            self._trees[place] = trees_by_bound(self.code(place).parts)
        return self._trees[place].get(key[1], ())


@dataclass(frozen=True, slots=True)
class MakersDiffer:
    """Something recorded that two makers of rows do not have in common."""

    key: Key
    name: str
    a: Any
    b: Any
    change: CodeChange | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Who made the rows of two sides: for each side the makers of some rows, the makers of others, and so on."""

    records: Records
    a: Sequence[Makers]
    b: Sequence[Makers]
    linked: Collection[str] = ()  #: lists that count as inputs, and not because they were read

    def __post_init__(self) -> None:
        self.records.look(place for makers in (*self.a, *self.b) for place in makers)

    def causes(self, *, explained: bool) -> list[MakersDiffer]:
        """What may have made the rows come out otherwise.

        Where no difference alone can have, and nothing else has `explained` it, several did together: then it is what differs
        between those makers of both sides that differ least.
        """
        first = self._between(self.a[0][0], self.b[0][0])
        causes = [
            difference for difference in first if not self._rules_out(difference.key, difference.change)
        ]
        if causes or explained or not first:
            return causes
        together = (difference for pair in self._closest() for difference in self._between(*pair))
        return list({difference.key: difference for difference in together}.values())

    def ruled_out(
        self, differences: Sequence[tuple[Key, CodeChange | None]], *, explained: bool = False
    ) -> list[bool]:
        """Which of these differences are no cause."""
        flags = [self._rules_out(*difference) for difference in differences]
        causes = [
            flag for flag, (key, _) in zip(flags, differences, strict=True) if key[0] in (*CAUSES, CODE)
        ]
        if explained or not causes or not all(causes):
            return flags
        together = {difference.key for pair in self._closest() for difference in self._between(*pair)}
        return [flag and key not in together for flag, (key, _) in zip(flags, differences, strict=True)]

    def in_common(self, place: Place, side: int) -> bool:
        """Whether someone who made equal rows of another version had all that the two sides have in common.

        What he had of the other `side` is no cause then. Of anybody else the rows may be equal for other reasons.
        """
        a, b = self.a[0][0], self.b[0][0]
        between = _keys(self._between(a, b))
        return _keys(self._between(place, b) if side == 0 else self._between(a, place)) < between

    def with_makers(self, *more: Sequence[Sequence[Place]]) -> Evidence:
        """The same with more makers, for each of the two sides and each of its groups of rows."""
        a, b = (
            [(*makers, *others) for makers, others in zip(of_side, of_others, strict=True)]
            for of_side, of_others in zip((self.a, self.b), more, strict=True)
        )
        return replace(self, a=a, b=b)

    def _rules_out(self, key: Key, change: CodeChange | None) -> bool:
        if not self.a or not self.b:
            return False
        common: list[Any] | None = None
        for makers in (*self.a, *self.b):
            values = [value for place in makers if (value := self.records.value(place, key)) is not _UNKNOWN]
            there = values if common is None else common
            common = _distinct(value for value in there if any(alike(value, other) for other in values))
            if not common:
                break
        return bool(common) or (
            change is not None
            and (self._has_statement(change) or self._is_of_both(change, self.a[0][0], self.b[0][0]))
        )

    def _is_of_both(self, change: CodeChange, a: Place, b: Place) -> bool:
        """Whether both programs have a definition that one slice lacks: what changed is the code that used it."""
        if change.a is None and change.b is not None:
            return self.records.is_unused(a, change.b)
        return change.b is None and change.a is not None and self.records.is_unused(b, change.a)

    def _has_statement(self, change: CodeChange) -> bool:
        """Whether a maker of one side had the statement without a name as the other side has it."""
        if change.bound != UNNAMED or len(self.a) > 1 or len(self.b) > 1:
            return False
        (a, *more_a), (b, *more_b) = self.a[0], self.b[0]
        return (change.b is not None and self._as_in(change, b, more_a)) or (
            change.a is not None and self._as_in(change, a, more_b)
        )

    def _as_in(self, change: CodeChange, place: Place, others: Iterable[Place]) -> bool:
        here = self._counts(change, place)
        return any(self._counts(change, other) == here for other in others)

    def _counts(self, change: CodeChange, place: Place) -> list[int]:
        trees = self.records.value(place, (CODE, UNNAMED))
        statements = trees if trees is not _UNKNOWN else ()
        return [statements.count(_tree(part)) for part in (change.a, change.b) if part is not None]

    def _between(self, a: Place, b: Place) -> list[MakersDiffer]:
        """What may be a cause of what one maker differs in from another."""
        changes = code_changes(self.records.code(a), self.records.code(b))
        changes = [change for change in changes if not self._is_of_both(change, a, b)] or changes
        one, two = self.records.facts(a), self.records.facts(b)
        facts = [fact for fact in different([one, two]) if self._may_be_cause(fact)]
        return [MakersDiffer((CODE, change.bound), *change.line, change) for change in changes] + [
            MakersDiffer(fact, fact[1], one.get(fact), two.get(fact)) for fact in facts
        ]

    def _may_be_cause(self, fact: Fact) -> bool:
        return fact[0] in CAUSES and not (fact[0] == READ and fact[1] in self.linked)

    def _closest(self) -> Iterator[tuple[Place, Place]]:
        """The makers of both sides between which nothing differs that others do not differ in, too."""
        ones, twos = (
            list(dict.fromkeys(place for makers in side for place in makers))[-MOST_COMPARED:]
            for side in (self.a, self.b)
        )
        keys = {
            (one, two): {difference.key for difference in self._between(one, two)}
            for one in ones
            for two in twos
        }
        for pair, differing in keys.items():
            if not any(other < differing for other in keys.values()):
                yield pair


def _keys(differences: Iterable[MakersDiffer]) -> set[tuple[Any, ...]]:
    """What differs; of statements without a name each by itself, on its side."""
    keys: set[tuple[Any, ...]] = set()
    for difference in differences:
        if difference.change is not None and difference.change.bound == UNNAMED:
            parts = zip("ab", (difference.change.a, difference.change.b), strict=True)
            keys.update((side, *_tree(part)) for side, part in parts if part is not None)
        else:
            keys.add(difference.key)
    return keys


def _tree(part: Part) -> tuple[str | None, str]:
    return part.path, part.tree


def _distinct(values: Iterable[Any]) -> list[Any]:
    distinct: list[Any] = []
    for value in values:
        if not any(alike(value, other) for other in distinct):
            distinct.append(value)
    return distinct
