"""``vault.differences``: everything recorded upstream of two versions or sessions that is not the same."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.analysis.code_changes import code_changes
from tablevault_pd.analysis.evidence import CODE, Records
from tablevault_pd.analysis.facts import READ, Inputs, addresses, different, facts_of, inputs_of, read_by
from tablevault_pd.analysis.makings import Making
from tablevault_pd.analysis.rows_changed import row_changes
from tablevault_pd.analysis.ruled_out import RuledOut
from tablevault_pd.code import slice_of_session
from tablevault_pd.reading.reports import typed
from tablevault_pd.store import Session

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np

    from tablevault_pd.analysis.code_changes import CodeChange
    from tablevault_pd.analysis.evidence import Key
    from tablevault_pd.analysis.targets import Target
    from tablevault_pd.code import Slice
    from tablevault_pd.store import Store, Version

COLUMNS = ("what", "name", "a", "b", "depth", "list", "ruled_out")
_DTYPES: dict[str, Any] = {"a": object, "b": object, "depth": "Int64", "ruled_out": bool}
ORDER = (
    "parameter", "code", "input", READ, "rows changed", "rows added", "rows removed", "package", "python", "git", "argv", "host",
)  # fmt: skip
SHOWN_ROWS = 10


@dataclass(slots=True)
class _Walk:
    """A walk up from two versions or sessions at once; what differs is noted on the way."""

    store: Store
    lines: list[tuple[Any, ...]] = field(default_factory=list)
    walked: set[tuple[Any, Any]] = field(default_factory=set)
    reported: dict[tuple[tuple[int, ...], tuple[int, ...]], set[Key]] = field(default_factory=dict)
    waiting: deque[tuple[Making, Making, int]] = field(default_factory=deque)
    linked: set[str] = field(default_factory=set)  #: lists that rows of one step are linked to
    #: by the sessions of each step
    reads: list[tuple[Inputs, Inputs, int, RuledOut]] = field(default_factory=list)
    records: Records = field(init=False)

    def __post_init__(self) -> None:
        self.records = Records(self.store)

    def sessions(self, a: Session, b: Session) -> None:
        ruled_out = RuledOut(self.store, self.records, a, b)
        code = slice_of_session(self.store, a.id), slice_of_session(self.store, b.id)
        one, two = read_by(self.store, [a.id]), read_by(self.store, [b.id])
        self._made_by(((a.id,), (b.id,)), code, 0, None, ruled_out, explained=_other_inputs(one, two))
        self._inputs(one, two, 0)

    def versions(self, a: Making, b: Making, depth: int) -> None:
        one, two = a.version, b.version
        key = ((one.list_id, one.version, a.place), (two.list_id, two.version, b.place))
        if key[0] == key[1] or key in self.walked:
            return
        self.walked.add(key)
        name = one.list if one.list_id == two.list_id else f"{one.list}, {two.list}"
        inputs_a, inputs_b = (
            _without(inputs_of(self.store, version), (one.list, two.list)) for version in (one, two)
        )
        ruled_out = RuledOut(self.store, self.records, a, b)
        sessions = a.sessions(self.store), b.sessions(self.store)
        code = a.code(self.store), b.code(self.store)
        self._made_by(sessions, code, depth, name, ruled_out, explained=_other_inputs(inputs_a, inputs_b))
        self._inputs(inputs_a, inputs_b, depth)
        self.linked |= {one.list, two.list, *inputs_a, *inputs_b}
        if set(sessions[0]) != set(sessions[1]):
            reads_a, reads_b = (read_by(self.store, of_side) for of_side in sessions)
            self.reads.append((reads_a, reads_b, depth, ruled_out))

    def only_read(self) -> None:
        """Note the lists that the sessions read, and that nothing which was walked over is linked to."""
        for a, b, depth, ruled_out in self.reads:
            self._inputs(_without(a, self.linked), _without(b, self.linked), depth, READ, ruled_out)
            self.linked |= {*a, *b}  # told once, where it is nearest

    def _made_by(
        self,
        sessions: tuple[tuple[int, ...], tuple[int, ...]],
        code: tuple[Slice, Slice],
        depth: int,
        name: str | None,
        ruled_out: RuledOut,
        *,
        explained: bool,
    ) -> None:
        """Note the parameters, environment and code that differ, and which of them are no cause."""
        changes = code_changes(*code)
        one, two = (facts_of(self.store, of_side) for of_side in sessions)
        facts = different([one, two]) if set(sessions[0]) != set(sessions[1]) else []
        keys: list[tuple[Key, CodeChange | None]] = [(fact, None) for fact in facts]
        keys += [((CODE, change.bound), change) for change in changes]
        flags = ruled_out(keys, explained=explained)
        # A session that wrote several lists is told of once, where it is nearest, unless it may be a cause only further up.
        before = self.reported.get(sessions)
        counts = self.reported.setdefault(sessions, set())
        for fact, flag in zip(facts, flags, strict=False):
            if before is None or not (flag or fact in before):
                self.lines.append((*fact, one.get(fact), two.get(fact), depth, name, flag))
            if not flag:
                counts.add(fact)
        for change, flag in zip(changes, flags[len(facts) :], strict=True):
            self.lines.append((CODE, *change.line, depth, name, flag))

    def _inputs(
        self, a: Inputs, b: Inputs, depth: int, what: str = "input", ruled_out: RuledOut | None = None
    ) -> None:
        """Note lists that stand above in other versions. Beyond one that was only read, nothing is known to lead."""
        for name in sorted(a.keys() | b.keys()):
            one, two = a.get(name, []), b.get(name, [])
            if not _other_inputs({name: one}, {name: two}):
                continue
            flag = ruled_out is not None and ruled_out([((what, name), None)], explained=True)[0]
            self.lines.append((what, name, addresses(one), addresses(two), depth + 1, name, flag))
            if one and two:
                self._rows(one[-1], two[-1], depth + 1, flag=flag)
                if what != READ:
                    self.waiting.append((Making(one[-1]), Making(two[-1]), depth + 1))

    def _rows(self, a: Version, b: Version, depth: int, *, flag: bool) -> None:
        if a.gone or b.gone:
            return
        rows = row_changes(self.store, a, b)
        for what, one, two in (
            ("rows changed", rows.changed_a, rows.changed_b),
            ("rows added", None, rows.added),
            ("rows removed", rows.removed, None),
        ):
            if any(positions is not None and len(positions) for positions in (one, two)):
                self.lines.append((what, a.list, _positions(one), _positions(two), depth, a.list, flag))


def _positions(rows: np.ndarray | None) -> str | None:
    if rows is None:
        return None
    listed = ", ".join(map(str, rows[:SHOWN_ROWS])) + (", …" if len(rows) > SHOWN_ROWS else "")
    return f"{len(rows)}: {listed}"


def _other_inputs(a: Inputs, b: Inputs) -> bool:
    """Whether some list stands above in other versions."""
    return any(
        {version.version for version in a.get(name, ())} != {version.version for version in b.get(name, ())}
        for name in a.keys() | b.keys()
    )


def _without(inputs: Inputs, lists: Collection[str]) -> Inputs:
    """Leave out lists that are compared already."""
    return {name: versions for name, versions in inputs.items() if name not in lists}


def differences(store: Store, a: Target, b: Target) -> pd.DataFrame:
    """Walk up from both, and list what differs, the nearest first."""
    walk = _Walk(store)
    if isinstance(a, Session) and isinstance(b, Session):
        walk.sessions(a, b)
    else:
        assert isinstance(a, Making)
        assert isinstance(b, Making)
        walk.versions(a, b, 0)
    while walk.waiting:
        walk.versions(*walk.waiting.popleft())
    walk.only_read()
    order: Mapping[str, int] = {what: number for number, what in enumerate(ORDER)}
    return _frame(sorted(walk.lines, key=lambda line: (line[4], order[line[0]])))


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
