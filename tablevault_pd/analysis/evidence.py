"""Which recorded differences can be a cause: the one rule of ``why``, ``differences`` and the tables of a comparison.

A parameter, input, package or piece of code that differs between those who wrote two versions is ruled out as a cause where one
value of it was there on both sides: the vault knows that rows came out as they did with the value of the other side, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from tablevault_pd.analysis.arguments import ARGUMENT, Arguments
from tablevault_pd.analysis.code_changes import ALL, UNNAMED, CodeChange, code_changes, trees_by_bound
from tablevault_pd.analysis.contents import Contents, ReadVersions
from tablevault_pd.analysis.facts import (
    ABSENT,
    NOTHING_RECORDED,
    PARAMETER,
    READ,
    alike,
    different,
    facts_by_session,
    is_unknown,
)
from tablevault_pd.analysis.mixes import is_mix, located_tree, parsed
from tablevault_pd.analysis.written_out import parameters_written
from tablevault_pd.capture.position import is_between
from tablevault_pd.code import Slice, program_trees, slices_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from tablevault_pd.analysis.arguments import Argument
    from tablevault_pd.analysis.facts import Fact, Facts
    from tablevault_pd.code.reading import Place
    from tablevault_pd.store import Part, Store, Version

CODE = "code"
#: What may make a row come out otherwise. The commit, command line and host are told by ``vault.differences``.
CAUSES = (PARAMETER, ARGUMENT, READ, "package", "python")
#: Makers of a side that are compared one with the other, where no difference alone can be the cause.
MOST_COMPARED = 50
SHOWN_NAMES = 2
_UNKNOWN = object()

Key = tuple[str, Any]  #: (what, name); of code the name is what a statement binds
Makers = tuple["Place", ...]  #: who made the same rows


class Records:
    """What is recorded of those who made rows, read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.contents = Contents(store)
        self.arguments = Arguments(store)
        self._facts: dict[int, dict[Fact, Any]] = {}
        self._labels: dict[int, str] = {}
        self._slices: dict[Place, Slice | None] = {}
        self._trees: dict[Place, Mapping[Any, Any]] = {}
        self._programs: dict[int, set[tuple[str | None, str]]] = {}

    def look(self, places: Iterable[Place]) -> None:
        """Read what is recorded of all of these at once."""
        unread = dict.fromkeys(places)
        sessions = {place[0] for place in unread if place[0] >= 0} - self._facts.keys()
        if sessions:
            with_info = self._store.sessions(sorted(sessions), info=True)
            self._facts |= facts_by_session(self._store, self.contents, with_info)
            self._labels |= {session.id: session.label for session in with_info}
        cells = [place for place in unread if place[1] >= 0 and place not in self._slices]
        if cells:
            slices = slices_of(self._store, cells)
            self._slices |= {place: slices.get(place) for place in cells}

    def facts(self, place: Place) -> Facts:
        """What is recorded of the session, and what it read."""
        return self._facts.get(place[0], NOTHING_RECORDED)

    def label(self, place: Place) -> str:
        """The session, as ``fit#3``."""
        return self._labels.get(place[0], "a run")

    def code(self, place: Place) -> Slice:
        """The slice; an empty one if none is known."""
        return self._slices.get(place) or Slice()

    def is_unused(self, place: Place, part: Part) -> bool:
        """Whether the program of that session has the definition, too, and only its slice lacks it, for nothing there uses it.

        Not where the slice binds or changes the name otherwise: then the order of the statements may count.
        """
        if not part.names or place[0] < 0 or not self.code(place).parts:
            return False
        if any(set(part.names) & set(other.names) for other in self.code(place).parts):
            return False
        # The cells of a notebook are those of the session that the kernel opened, and not of each run in it.
        sessions = {
            place[0],
            *(other.session_id for other in self.code(place).parts if other.session_id is not None),
        }
        if not sessions <= self._programs.keys():
            unread = (self._facts.keys() | sessions) - self._programs.keys()
            self._programs |= program_trees(self._store, sorted(unread))
        return any((part.path, part.tree) in self._programs[session] for session in sessions)

    def value(self, place: Place, key: Key) -> Any:
        """What was there of a fact or a piece of code, or that it is not known."""
        if key[0] != CODE:
            facts = self._facts.get(place[0])
            return _UNKNOWN if facts is None or is_unknown(facts, key) else facts.get(key, ABSENT)
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
    evidence: str = ""  #: why it is left


class Verdict(NamedTuple):
    """Whether a difference is no cause, and what says so."""

    ruled_out: bool
    evidence: str = ""


#: What says that a difference is no cause, where no other run does.
BOTH_HAVE_IT = "both had it; what uses it changed"
NEEDED_ALIKE = "the rows of both needed the same of it"
MADE_ALIKE = "those who made the rows had the same"
SAME_ROWS = "both versions show the same rows"
UNRECORDED = "not recorded for both: it may differ or not"  #: what is said of a difference that is none


@dataclass(frozen=True, eq=False)
class Evidence:
    """Who made the rows of two sides: for each side the makers of some rows, the makers of others, and so on.

    The first maker of some rows is the one that is asked about. Another one counts where he had of everything what the first
    makers of both sides had. Of one who had a third value of something it is not known what his rows would have been without it.
    """

    records: Records
    a: Sequence[Makers]
    b: Sequence[Makers]
    linked: Collection[str] = ()  #: lists that count as inputs, and not because they were read
    arguments: Sequence[Argument] = ()  #: what map called its function with, where that differs
    is_same: bool = False  #: whether both sides show the same rows

    def __post_init__(self) -> None:
        self.records.look(place for makers in (*self.a, *self.b) for place in makers)

    def causes(self, *, explained: bool) -> list[MakersDiffer]:
        """What may have made the rows come out otherwise.

        Where no difference alone can have, and nothing else has `explained` it, several did together: then it is what differs
        between those makers of both sides that differ least.
        """
        first = self._between(self.a[0][0], self.b[0][0])
        first += [MakersDiffer(one.key, *one) for one in self.arguments]
        left = [
            difference for difference in first if not self._ruled_out_by(difference.key, difference.change)
        ]
        if left or explained or not first:
            same = self._same_as_parameters([(one.key, one.change) for one in left])
            said = _left(len(left) - len(same), len(first) - len(same), explained=explained)
            return [replace(one, evidence=same.get(one.change, said)) for one in left]
        together = self._together
        return [replace(one, evidence=_with_others(one, together.values())) for one in together.values()]

    def own_lists(self) -> Iterator[tuple[Version, Version]]:
        """Of lists that both first makers wrote and read again the versions, where these show other rows."""
        one, two = self._causes_of(self.a[0][0]), self._causes_of(self.b[0][0])
        for fact in one.keys() & two.keys():
            if fact[0] == READ and (versions := one[fact].own_of_both(two[fact])) is not None:
                yield versions

    def verdicts(
        self, differences: Sequence[tuple[Key, CodeChange | None]], *, explained: bool = False
    ) -> list[Verdict]:
        """Which of these differences are no cause, and why."""
        said = [self._ruled_out_by(*difference) for difference in differences]
        may_be = [key[0] == CODE or (key[0] in CAUSES and self._is_known(key)) for key, _ in differences]
        causes = [text for text, is_cause in zip(said, may_be, strict=True) if is_cause]
        left = causes.count("")
        same = self._same_as_parameters(
            [difference for difference, text in zip(differences, said, strict=True) if not text]
        )
        why_left = _left(left - len(same), len(causes) - len(same), explained=explained)
        is_together = bool(causes) and not left and not explained
        verdicts = []
        for text, is_cause, (key, change) in zip(said, may_be, differences, strict=True):
            if is_together and (one := self._together.get(key)) is not None:
                verdicts.append(Verdict(False, _with_others(one, self._together.values())))
            elif text or not is_cause:
                verdicts.append(Verdict(bool(text), text or ("" if self._is_known(key) else UNRECORDED)))
            else:
                verdicts.append(Verdict(False, same.get(change, why_left)))
        return verdicts

    def _same_as_parameters(
        self, differences: Sequence[tuple[Key, CodeChange | None]]
    ) -> dict[CodeChange | None, str]:
        """Of code that differs only in values which some of the parameters among these differences have, say which."""
        if not self.a or not self.b:
            return {}
        parameters = {
            key[1]: (self.records.value(self.a[0][0], key), self.records.value(self.b[0][0], key))
            for key, _ in differences
            if key[0] == PARAMETER
        }
        same: dict[CodeChange | None, str] = {}
        for _, change in differences:
            if parameters and change is not None and change.a is not None and change.b is not None:
                written = parameters_written(parsed(change.a.text), parsed(change.b.text), parameters)
                if written:
                    same[change] = f"the same change as {PARAMETER} {', '.join(sorted(written))}"
        return same

    @cached_property
    def _together(self) -> dict[Key, MakersDiffer]:
        """What differs between those makers of both sides that differ least."""
        together = (difference for pair in self._closest() for difference in self._between(*pair))
        return {difference.key: difference for difference in together}

    @cached_property
    def _counted(self) -> tuple[list[Makers], list[Makers]]:
        """The makers of each side that count."""
        a, b = ([makers[0] for makers in dict.fromkeys(side)] for side in (self.a, self.b))
        return [self._that_count(makers, b) for makers in self.a], [
            self._that_count(makers, a) for makers in self.b
        ]

    def _that_count(self, makers: Makers, others: Collection[Place]) -> Makers:
        first, *more = makers
        return (
            first,
            *(place for place in more if all(self.counts(place, first, other) for other in others)),
        )

    def counts(self, place: Place, a: Place, b: Place) -> bool:
        """Whether a maker had of everything what one of two others had."""
        if place in (a, b):
            return True
        own, one, two = (self._causes_of(maker) for maker in (place, a, b))
        return all(
            _is_one_of(fact, own, one, two) for fact in own.keys() | one.keys() | two.keys()
        ) and is_mix(*(self.records.code(maker) for maker in (place, a, b)))

    def with_makers(self, *more: Sequence[Sequence[Place]]) -> Evidence:
        """The same with more makers, for each of the two sides and each of its groups of rows."""
        a, b = (
            [(*makers, *others) for makers, others in zip(of_side, of_others, strict=True)]
            for of_side, of_others in zip((self.a, self.b), more, strict=True)
        )
        return replace(self, a=a, b=b)

    def _ruled_out_by(self, key: Key, change: CodeChange | None) -> str:
        """What says that a difference is no cause; an empty text where nothing does."""
        if not self.a or not self.b:
            return ""
        if key[0] == ARGUMENT:
            return SAME_ROWS if self.is_same else ""
        if change is not None and self._lies_deeper(key):
            said = [self._ruled_out_by(inner.key, inner.change) for inner in self._inside(change)]
            return "" if "" in said else next(iter(said), NEEDED_ALIKE)
        common: list[Any] | None = None
        for makers in (*self._counted[0], *self._counted[1]):
            values = [value for place in makers if (value := self.records.value(place, key)) is not _UNKNOWN]
            there = values if common is None else common
            common = _distinct(value for value in there if any(alike(value, other) for other in values))
            if not common:
                break
        if common:
            return self._witness(key, common[0])
        if change is None:
            return ""
        is_of_both = self._is_of_both(change, self.a[0][0], self.b[0][0])
        return self._who_had_statement(change) or (BOTH_HAVE_IT if is_of_both else "")

    def _witness(self, key: Key, value: Any) -> str:
        """Say who made rows of one side with what the other side had."""
        for side, name, other in ((0, "a", "b"), (1, "b", "a")):
            for first, *more in self._counted[side]:
                if not alike(self.records.value(first, key), value):
                    place = next(one for one in more if alike(self.records.value(one, key), value))
                    return self._had(place, other, name)
        return MADE_ALIKE

    def _had(self, place: Place, value: str, rows: str) -> str:
        return f"{self.records.label(place)} had {value} and made the rows of {rows}"

    def _lies_deeper(self, key: Key) -> bool:
        """Whether the rows of both sides have the same of a definition that differs: their slices have a part of it, or none."""
        if key[1] in (UNNAMED, ALL):
            return False
        first, *others = (self.records.value(makers[0], key) for makers in (*self.a, *self.b))
        return first is not _UNKNOWN and all(value == first for value in others)

    def _inside(self, change: CodeChange) -> Iterator[MakersDiffer]:
        """What the first makers of both sides differ in that stands in a function that changed."""
        ones, twos = (dict.fromkeys(makers[0] for makers in side) for side in (self.a, self.b))
        for one in ones:
            for two in twos:
                for inner in self._between(one, two):
                    if inner.change is not None and _is_inside(inner.change, change):
                        yield inner

    def _is_of_both(self, change: CodeChange, a: Place, b: Place) -> bool:
        """Whether both programs have a definition that one slice lacks: what changed is the code that used it."""
        if change.a is None and change.b is not None:
            return self.records.is_unused(a, change.b)
        return change.b is None and change.a is not None and self.records.is_unused(b, change.a)

    def _who_had_statement(self, change: CodeChange) -> str:
        """Say which maker of one side had the statement without a name as the other side has it."""
        if change.bound != UNNAMED or len(self.a) > 1 or len(self.b) > 1:
            return ""
        (a, *more_a), (b, *more_b) = self._counted[0][0], self._counted[1][0]
        if change.b is not None and (place := self._as_in(change, b, more_a)) is not None:
            return self._had(place, "b", "a")
        if change.a is not None and (place := self._as_in(change, a, more_b)) is not None:
            return self._had(place, "a", "b")
        return ""

    def _as_in(self, change: CodeChange, place: Place, others: Iterable[Place]) -> Place | None:
        here = self._times(change, place)
        return next((other for other in others if self._times(change, other) == here), None)

    def _times(self, change: CodeChange, place: Place) -> list[int]:
        trees = self.records.value(place, (CODE, UNNAMED))
        statements = trees if trees is not _UNKNOWN else ()
        return [statements.count(located_tree(part)) for part in (change.a, change.b) if part is not None]

    def _between(self, a: Place, b: Place) -> list[MakersDiffer]:
        """What may be a cause of what one maker differs in from another."""
        changes = code_changes(self.records.code(a), self.records.code(b))
        changes = [change for change in changes if not self._is_of_both(change, a, b)] or changes
        one, two = self._causes_of(a), self._causes_of(b)
        return [MakersDiffer((CODE, change.bound), *change.line, change) for change in changes] + [
            MakersDiffer(fact, fact[1], _shown(one.get(fact)), _shown(two.get(fact)))
            for fact in different([one, two])
            if not (is_unknown(one, fact) or is_unknown(two, fact))
        ]

    def _is_known(self, key: Key) -> bool:
        """Whether something is recorded of it, or of all like it, on both sides."""
        facts = [self.records.facts(makers[0]) for makers in (*self.a, *self.b)]
        return not any(is_unknown(of_maker, key) for of_maker in facts)

    def _causes_of(self, place: Place) -> Facts:
        """What is recorded of a maker that may be a cause."""
        return {fact: value for fact, value in self.records.facts(place).items() if self._may_be_cause(fact)}

    def _may_be_cause(self, fact: Fact) -> bool:
        return fact[0] in CAUSES and not (fact[0] == READ and fact[1] in self.linked)

    def _closest(self) -> Iterator[tuple[Place, Place]]:
        """The makers of both sides between which nothing differs that others do not differ in, too."""
        ones, twos = (
            list(dict.fromkeys(place for makers in side for place in makers))[-MOST_COMPARED:]
            for side in self._counted
        )
        keys = {
            (one, two): {difference.key for difference in self._between(one, two)}
            for one in ones
            for two in twos
        }
        for pair, differing in keys.items():
            if not any(other < differing for other in keys.values()):
                yield pair


def _left(left: int, of: int, *, explained: bool) -> str:
    """Say why a difference is left as a cause."""
    if explained:
        return "no run rules it out"
    if left > 1:
        return f"one of {left} that no run tells apart"
    return "the only difference" if of == 1 else "the only one that is not ruled out"


def _with_others(one: MakersDiffer, together: Iterable[MakersDiffer]) -> str:
    """Say with which others a difference is a cause, that alone is none."""
    names = list(dict.fromkeys(other.name for other in together if other.key != one.key))
    more = ", …" if len(names) > SHOWN_NAMES else ""
    return f"only together with {', '.join(names[:SHOWN_NAMES])}{more}" if names else "the only difference"


def _is_inside(inner: CodeChange, outer: CodeChange) -> bool:
    """Whether a statement, as it is on one of two sides, stands in a definition as that is there."""
    pairs = ((inner.a, outer.a), (inner.b, outer.b))
    return any(
        one is not None
        and whole is not None
        and one.path == whole.path
        and (one.path is not None or one.cell == whole.cell)
        and is_between(one.line, whole.line, whole.end)
        for one, whole in pairs
    )


def _is_one_of(fact: Fact, own: Facts, a: Facts, b: Facts) -> bool:
    """Whether a maker had of a fact what one of two others had.

    What is not recorded of one of them says nothing, nor does a package that one did not import.
    """
    if any(is_unknown(facts, fact) for facts in (own, a, b)):
        return True
    value, *others = (facts.get(fact, ABSENT) for facts in (own, a, b))
    if fact[0] == "package":
        others = [other for other in others if other is not ABSENT] or [value]
    return (fact[0] == "package" and value is ABSENT) or any(alike(value, other) for other in others)


def _shown(value: Any) -> Any:
    return value.text if isinstance(value, ReadVersions) else value


def _distinct(values: Iterable[Any]) -> list[Any]:
    distinct: list[Any] = []
    for value in values:
        if not any(alike(value, other) for other in distinct):
            distinct.append(value)
    return distinct
