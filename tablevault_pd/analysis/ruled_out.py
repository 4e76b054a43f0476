"""Which differences between two versions or sessions are no cause, and the tables of facts that say so."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.analysis.arguments import ARGUMENT, Arguments
from tablevault_pd.analysis.elsewhere import Elsewhere
from tablevault_pd.analysis.evidence import Evidence, Records, Verdict
from tablevault_pd.analysis.facts import different, facts_of
from tablevault_pd.analysis.makings import Making
from tablevault_pd.analysis.targets import made_in_common
from tablevault_pd.lineage.makers import runs_apart
from tablevault_pd.reading.reports import typed
from tablevault_pd.store import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tablevault_pd.analysis.code_changes import CodeChange
    from tablevault_pd.analysis.evidence import Key, Makers
    from tablevault_pd.analysis.facts import Fact
    from tablevault_pd.analysis.targets import Target
    from tablevault_pd.code.reading import Place
    from tablevault_pd.lineage.makers import RowsMade
    from tablevault_pd.store import Store


class RuledOut:
    """Which differences between two sides are no cause: of versions, or of all lists that two sessions both made."""

    def __init__(self, store: Store, records: Records, a: Target, b: Target) -> None:
        self._store, self._records = store, records
        self._pairs = _pairs(store, a, b)

    @cached_property
    def _evidence(self) -> list[Evidence]:
        return [_evidence(self._store, self._records, one, two) for one, two in self._pairs]

    def __call__(
        self, differences: Sequence[tuple[Key, CodeChange | None]], *, explained: bool = False
    ) -> list[Verdict]:
        """Whether each is none, and why. What rows were made from may have `explained` them."""
        if not self._evidence:
            return [Verdict(False)] * len(differences)
        every = [evidence.verdicts(differences, explained=explained) for evidence in self._evidence]
        return [min(verdicts, key=lambda verdict: verdict.ruled_out) for verdicts in zip(*every, strict=True)]


def _pairs(store: Store, a: Target, b: Target) -> list[tuple[Making, Making]]:
    if isinstance(a, Making) and isinstance(b, Making):
        return [(a, b)]
    assert isinstance(a, Session)
    assert isinstance(b, Session)
    return made_in_common(store, a, b)


def _evidence(store: Store, records: Records, a: Making, b: Making) -> Evidence:
    runs = runs_apart(store, a.version, b.version)
    one, two = (
        [first_of(run, making.place) for run in of_side] for of_side, making in zip(runs, (a, b), strict=True)
    )
    is_same = records.contents.is_same(a.version, b.version)
    if len(one) == len(two) == 1 and is_same:
        return Evidence(
            records, [(*one[0], *two[0])], [(*two[0], *one[0])], is_same=True
        )  # each made the rows of the other
    # What a run read of the list itself is what it made the rows of, or found there.
    evidence = Evidence(records, one, two, {a.version.list, b.version.list}, is_same=is_same)
    return (
        Elsewhere(store, records.contents, (a.version, b.version)).by_runs(evidence, runs)
        if one and two
        else evidence
    )


def first_of(run: RowsMade, place: Place | None) -> Makers:
    """The makers of some rows, the one that a side stands for before all others."""
    return run.places if place not in run.places or place is None else (place, *run.places)


def fact_table(
    store: Store, targets: Sequence[Target | None], is_shown: Callable[[Fact], bool], *, what: bool
) -> pd.DataFrame:
    """The facts that differ, one a line, with a column for each side: a, b, c …; None where a side lacks it.

    The column ``ruled_out`` says which are no cause of a difference between the first side and another.
    """
    every = [{} if target is None else facts_of(store, target_sessions(store, target)) for target in targets]
    _add_arguments(store, targets, every)
    facts = [fact for fact in different(every) if is_shown(fact)]
    columns: dict[str, Any] = {"what": typed("what", [fact[0] for fact in facts])} if what else {}
    columns["name"] = typed("name", [fact[1] for fact in facts])
    for number, of_side in enumerate(every):
        columns[chr(ord("a") + number)] = pd.Series([of_side.get(fact) for fact in facts], dtype=object)
    columns["ruled_out"] = pd.array(_no_causes(store, targets, facts), dtype=bool)
    return pd.DataFrame(columns)


def _add_arguments(store: Store, targets: Sequence[Target | None], every: Sequence[dict[Fact, Any]]) -> None:
    """Add what map called its function with, where the rows of another side were not made as those of the first."""
    first, *others = targets
    arguments = Arguments(store)
    for other, facts in zip(others, every[1:], strict=True):
        if isinstance(first, Making) and isinstance(other, Making):
            for one in arguments.between(first.version, other.version):
                every[0][one.key], facts[one.key] = one.a, one.b
    for fact in [fact for fact in every[0] if fact[0] == ARGUMENT] if every else []:
        for facts in every[1:]:
            facts.setdefault(fact, every[0][fact])


def _no_causes(store: Store, targets: Sequence[Target | None], facts: Sequence[Fact]) -> list[bool]:
    first, *others = targets
    if not facts or first is None or any(other is None for other in others):
        return [False] * len(facts)
    records, differences = Records(store), [(fact, None) for fact in facts]
    every = [
        RuledOut(store, records, first, other)(differences, explained=True)
        for other in others
        if other is not None
    ]
    return [all(verdict.ruled_out for verdict in verdicts) for verdicts in zip(*every, strict=True)]


def target_sessions(store: Store, target: Target) -> Sequence[int]:
    """The sessions that a side stands for."""
    return target.sessions(store) if isinstance(target, Making) else [target.id]
