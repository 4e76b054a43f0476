"""``vault.differences``: everything recorded upstream of two versions or sessions that is not the same."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from tablevault_pd.analysis.code_changes import code_changes
from tablevault_pd.analysis.contents import ReadVersions
from tablevault_pd.analysis.evidence import CODE, SAME_ROWS, Records, Verdict
from tablevault_pd.analysis.facts import PARAMETER, READ, Inputs, different, facts_of, inputs_of, read_by
from tablevault_pd.analysis.makings import Making
from tablevault_pd.analysis.rows_changed import named_rows, row_changes
from tablevault_pd.analysis.ruled_out import RuledOut
from tablevault_pd.analysis.targets import made_in_common
from tablevault_pd.code import slice_of_session
from tablevault_pd.lineage.makers import runs_apart
from tablevault_pd.reading.reports import typed
from tablevault_pd.store import Session

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tablevault_pd.analysis.arguments import Argument
    from tablevault_pd.analysis.code_changes import CodeChange
    from tablevault_pd.analysis.evidence import Key
    from tablevault_pd.analysis.targets import Target
    from tablevault_pd.code import Slice
    from tablevault_pd.store import Store, Version

COLUMNS = ("what", "name", "a", "b", "depth", "list", "ruled_out", "evidence")
_DTYPES: dict[str, Any] = {"a": object, "b": object, "depth": "Int64", "ruled_out": bool}
ORDER = (
    "parameter", "code", "input", READ, "rows changed", "rows added", "rows removed", "package", "python", "git", "argv", "host",
)  # fmt: skip
_SAME_ROWS, _OTHER_ROWS = (
    Verdict(True, SAME_ROWS),
    Verdict(False, "it shows other rows"),
)


class _RulesOut(Protocol):
    """Says of each difference between two sides whether it is no cause, and why."""

    def __call__(
        self, differences: Sequence[tuple[Key, CodeChange | None]], *, explained: bool = ...
    ) -> list[Verdict]: ...


@dataclass(slots=True)
class _Walk:
    """A walk up from two versions or sessions at once; what differs is noted on the way."""

    store: Store
    lines: list[tuple[Any, ...]] = field(default_factory=list)
    walked: set[tuple[Any, Any]] = field(default_factory=set)
    reported: dict[tuple[tuple[int, ...], tuple[int, ...]], set[Key]] = field(default_factory=dict)
    waiting: deque[tuple[Making, Making, int]] = field(default_factory=deque)
    #: inputs of equal content: nothing above them is a cause, unless it is above others, too
    equal: deque[tuple[Making, Making, int]] = field(default_factory=deque)
    arguments_told: set[tuple[int, ...]] = field(default_factory=set)
    linked: set[str] = field(default_factory=set)  #: lists that rows of one step are linked to
    #: by the sessions of each step
    reads: list[tuple[Inputs, Inputs, int, _RulesOut]] = field(default_factory=list)
    records: Records = field(init=False)

    def __post_init__(self) -> None:
        self.records = Records(self.store)

    def sessions(self, a: Session, b: Session) -> None:
        ruled_out = RuledOut(self.store, self.records, a, b)
        code = slice_of_session(self.store, a.id), slice_of_session(self.store, b.id)
        one, two = self._read_by([a.id]), self._read_by([b.id])
        explained = self._have_other_content(one, two)
        pairs = [(one.version, two.version) for one, two in made_in_common(self.store, a, b)]
        self._made_by(((a.id,), (b.id,)), code, 0, None, ruled_out, pairs, explained=explained)
        self._inputs(one, two, 0)

    def everything(self) -> None:
        """Walk up to the end: what may be a cause first, then what is above inputs of equal content alone."""
        while self.waiting or self.equal or self.reads:
            if self.waiting:
                self.versions(*self.waiting.popleft())
            elif self.reads:
                self._only_read()
            else:
                self.versions(*self.equal.popleft(), is_cause=False)

    def versions(self, a: Making, b: Making, depth: int, *, is_cause: bool = True) -> None:
        """Note what differs in what made two versions."""
        one, two = a.version, b.version
        key = ((one.list_id, one.version, a.place), (two.list_id, two.version, b.place))
        if key[0] == key[1] or key in self.walked:
            return
        self.walked.add(key)
        name = one.list if one.list_id == two.list_id else f"{one.list}, {two.list}"
        inputs_a, inputs_b = (
            _without(inputs_of(self.store, self.records.contents, version), (one.list, two.list))
            for version in (one, two)
        )
        ruled_out = RuledOut(self.store, self.records, a, b) if is_cause else _no_causes
        # Of a list that several runs wrote, as upserts do, those count who wrote rows that are not on both sides.
        apart = [np.array([run.start for run in runs], np.int64) for runs in runs_apart(self.store, one, two)]
        sessions = a.sessions(self.store, apart[0]), b.sessions(self.store, apart[1])
        code = a.code(self.store, apart[0]), b.code(self.store, apart[1])
        explained = self._have_other_content(inputs_a, inputs_b)
        self._made_by(sessions, code, depth, name, ruled_out, [(one, two)], explained=explained)
        self._inputs(inputs_a, inputs_b, depth, ruled_out=None if is_cause else ruled_out)
        self.linked |= {one.list, two.list, *inputs_a, *inputs_b}
        if set(sessions[0]) != set(sessions[1]):
            reads_a, reads_b = (self._read_by(of_side) for of_side in sessions)
            self.reads.append((reads_a, reads_b, depth, ruled_out))

    def _only_read(self) -> None:
        """Note the lists that the sessions read, and that nothing which was walked over is linked to."""
        reads, self.reads = self.reads, []
        for a, b, depth, ruled_out in reads:
            self._inputs(_without(a, self.linked), _without(b, self.linked), depth, READ, ruled_out)
            self.linked |= {*a, *b}  # told once, where it is nearest

    def _made_by(
        self,
        sessions: tuple[tuple[int, ...], tuple[int, ...]],
        code: tuple[Slice, Slice],
        depth: int,
        name: str | None,
        ruled_out: _RulesOut,
        versions: Sequence[tuple[Version, Version]],
        *,
        explained: bool,
    ) -> None:
        """Note the parameters, environment and code that differ, and which of them are no cause."""
        arguments = list(self._arguments(versions))
        changes = code_changes(*code)
        one, two = (facts_of(self.store, of_side) for of_side in sessions)
        facts = different([one, two]) if set(sessions[0]) != set(sessions[1]) else []
        keys: list[tuple[Key, CodeChange | None]] = [(fact, None) for fact in facts]
        keys += [((CODE, change.bound), change) for change in changes]
        keys += [(argument.key, None) for _, argument in arguments]
        verdicts = ruled_out(keys, explained=explained)
        # A session that wrote several lists is told of once, where it is nearest, unless it may be a cause only further up.
        before = self.reported.get(sessions)
        counts = self.reported.setdefault(sessions, set())
        for fact, verdict in zip(facts, verdicts, strict=False):
            if before is None or not (verdict.ruled_out or fact in before):
                self.lines.append((*fact, one.get(fact), two.get(fact), depth, name, *verdict))
            if not verdict.ruled_out:
                counts.add(fact)
        for change, verdict in zip(changes, verdicts[len(facts) :], strict=False):
            self.lines.append((CODE, *change.line, depth, name, *verdict))
        for (pair, argument), left in zip(arguments, verdicts[len(facts) + len(changes) :], strict=True):
            verdict = _SAME_ROWS if self.records.contents.is_same(*pair) else left
            self.lines.append((PARAMETER, *argument, depth, pair[1].list, *verdict))

    def _arguments(
        self, versions: Sequence[tuple[Version, Version]]
    ) -> Iterator[tuple[tuple[Version, Version], Argument]]:
        """What map called its function with, where that differs: once for each pair of versions."""
        for a, b in versions:
            if (a.list_id, a.version, b.list_id, b.version) not in self.arguments_told:
                self.arguments_told.add((a.list_id, a.version, b.list_id, b.version))
                for argument in self.records.arguments.between(a, b):
                    yield (a, b), argument

    def _inputs(
        self, a: Inputs, b: Inputs, depth: int, what: str = "input", ruled_out: _RulesOut | None = None
    ) -> None:
        """Note lists that stand above in other versions, which are no cause where they show the same rows."""
        for name in sorted(a.keys() | b.keys()):
            one, two = self._versions_of(name, a, b)
            if (versions := one.own_of_both(two)) is not None:
                queue = self.equal if ruled_out is _no_causes else self.waiting
                queue.append((Making(versions[0]), Making(versions[1]), depth + 1))
            if one.is_identical(two):
                continue
            verdict = _OTHER_ROWS
            if one == two:
                verdict = _SAME_ROWS
            elif ruled_out is not None:
                [verdict] = ruled_out([((what, name), None)], explained=True)
            self.lines.append((what, name, one.text, two.text, depth + 1, name, *verdict))
            if one.newest is not None and two.newest is not None:
                if one != two:
                    self._rows(one.newest, two.newest, depth + 1, verdict)
                queue = self.equal if verdict.ruled_out else self.waiting
                queue.append((Making(one.newest), Making(two.newest), depth + 1))

    def _read_by(self, session_ids: Sequence[int]) -> Inputs:
        return read_by(self.store, self.records.contents, session_ids)

    def _have_other_content(self, a: Inputs, b: Inputs) -> bool:
        """Whether some list stands above in versions of other content."""
        pairs = (self._versions_of(name, a, b) for name in a.keys() | b.keys())
        return any(one != two for one, two in pairs)

    def _versions_of(self, name: str, a: Inputs, b: Inputs) -> tuple[ReadVersions, ReadVersions]:
        nothing = ReadVersions(self.records.contents)
        return a.get(name, nothing), b.get(name, nothing)

    def _rows(self, a: Version, b: Version, depth: int, verdict: Verdict) -> None:
        if a.gone or b.gone:
            return
        rows = row_changes(self.store, a, b)
        for what, one, two in (
            ("rows changed", rows.changed_a, rows.changed_b),
            ("rows added", None, rows.added),
            ("rows removed", rows.removed, None),
        ):
            if any(positions is not None and len(positions) for positions in (one, two)):
                shown = named_rows(self.store, a, one), named_rows(self.store, b, two)
                self.lines.append((what, a.list, *shown, depth, a.list, *verdict))


def _no_causes(
    differences: Sequence[tuple[Key, CodeChange | None]], *, explained: bool = False
) -> list[Verdict]:
    """Rule out all of it: it made rows that are the same on both sides."""
    return [Verdict(True, "what was made of it is the same") for _ in differences]


def _without(inputs: Inputs, lists: Collection[str]) -> Inputs:
    """Leave out lists that are compared already."""
    return {name: versions for name, versions in inputs.items() if name not in lists}


def differences(store: Store, a: Target, b: Target) -> pd.DataFrame:
    """Walk up from both, and list what differs: what may be a cause, the nearest first, then what is ruled out."""
    walk = _Walk(store)
    if isinstance(a, Session) and isinstance(b, Session):
        walk.sessions(a, b)
    else:
        assert isinstance(a, Making)
        assert isinstance(b, Making)
        walk.versions(a, b, 0)
    walk.everything()
    order: Mapping[str, int] = {what: number for number, what in enumerate(ORDER)}
    return _frame(sorted(walk.lines, key=lambda line: (line[6], line[4], order[line[0]])))


def _frame(lines: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    columns = list(zip(*lines, strict=True)) or [()] * len(COLUMNS)
    named = dict(zip(COLUMNS, columns, strict=True))
    return pd.DataFrame(
        {
            name: pd.Series(list(values), dtype=_DTYPES[name])
            if name in _DTYPES
            else typed(name, list(values))
            for name, values in named.items()
        }
    )
