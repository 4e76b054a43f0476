"""``vault.differences``: everything recorded upstream of two versions or sessions that is not the same."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis.facts import (
    READ,
    Inputs,
    addresses,
    by_list,
    changed_parts,
    different,
    facts_of,
    read_by,
    writers,
)
from tablevault_pd.analysis.rows_changed import row_changes
from tablevault_pd.code import Slice, slice_of_rows, slice_of_session
from tablevault_pd.reading.reports import typed
from tablevault_pd.store import Session, Version
from tablevault_pd.store.edges import EdgeQuery

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tablevault_pd.analysis.targets import Target
    from tablevault_pd.store import Store

COLUMNS = ("what", "name", "a", "b", "depth", "list")
_DTYPES: dict[str, Any] = {"a": object, "b": object, "depth": "Int64"}
ORDER = (
    "parameter", "code", "input", READ, "rows changed", "rows added", "rows removed", "package", "python", "git", "argv", "host",
)  # fmt: skip
SHOWN_ROWS = 10


@dataclass(slots=True)
class _Walk:
    """A walk up from two versions or sessions at once; what differs is noted on the way."""

    store: Store
    lines: list[tuple[Any, ...]] = field(default_factory=list)
    walked: set[tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=set)
    told_sessions: set[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=set)
    waiting: deque[tuple[Version, Version, int]] = field(default_factory=deque)
    linked: set[str] = field(default_factory=set)  #: lists that rows of one step are linked to
    reads: list[tuple[Inputs, Inputs, int]] = field(default_factory=list)  #: by the sessions of each step

    def sessions(self, a: Session, b: Session) -> None:
        self._facts([a.id], [b.id], 0, None)
        self._code(slice_of_session(self.store, a.id), slice_of_session(self.store, b.id), 0, None)
        self._inputs(read_by(self.store, [a.id]), read_by(self.store, [b.id]), 0)

    def versions(self, a: Version, b: Version, depth: int) -> None:
        key = ((a.list_id, a.version), (b.list_id, b.version))
        if key[0] == key[1] or key in self.walked:
            return
        self.walked.add(key)
        name = a.list if a.list_id == b.list_id else f"{a.list}, {b.list}"
        self._facts(writers(self.store, a), writers(self.store, b), depth, name)
        self._code(slice_of_rows(self.store, a), slice_of_rows(self.store, b), depth, name)
        one, two = (_without(inputs_of(self.store, version), (a.list, b.list)) for version in (a, b))
        self._inputs(one, two, depth)
        self.linked |= {a.list, b.list, *one, *two}
        sessions = writers(self.store, a), writers(self.store, b)
        if set(sessions[0]) != set(sessions[1]):
            self.reads.append((read_by(self.store, sessions[0]), read_by(self.store, sessions[1]), depth))

    def only_read(self) -> None:
        """Note the lists that the sessions read, and that nothing which was walked over is linked to."""
        for a, b, depth in self.reads:
            self._inputs(_without(a, self.linked), _without(b, self.linked), depth, READ)
            self.linked |= {*a, *b}  # told once, where it is nearest

    def _facts(self, a: Sequence[int], b: Sequence[int], depth: int, name: str | None) -> None:
        if set(a) == set(b) or (tuple(a), tuple(b)) in self.told_sessions:
            return
        self.told_sessions.add(
            (tuple(a), tuple(b))
        )  # a session that wrote several lists is told of once, where it is nearest
        one, two = facts_of(self.store, a), facts_of(self.store, b)
        for fact in different([one, two]):
            values = (facts.get(fact) for facts in (one, two))
            self.lines.append((*fact, *values, depth, name))

    def _code(self, a: Slice, b: Slice, depth: int, name: str | None) -> None:
        self.lines += [("code", *part, depth, name) for part in changed_parts(a, b)]

    def _inputs(self, a: Inputs, b: Inputs, depth: int, what: str = "input") -> None:
        """Note lists that stand above in other versions. Beyond one that was only read, nothing is known to lead."""
        for name in sorted(a.keys() | b.keys()):
            one, two = a.get(name, []), b.get(name, [])
            if {version.version for version in one} == {version.version for version in two}:
                continue
            self.lines.append((what, name, addresses(one), addresses(two), depth + 1, name))
            if one and two:
                self._rows(one[-1], two[-1], depth + 1)
                if what != READ:
                    self.waiting.append((one[-1], two[-1], depth + 1))

    def _rows(self, a: Version, b: Version, depth: int) -> None:
        if a.gone or b.gone:
            return
        rows = row_changes(self.store, a, b)
        for what, one, two in (
            ("rows changed", rows.changed_a, rows.changed_b),
            ("rows added", None, rows.added),
            ("rows removed", rows.removed, None),
        ):
            if any(positions is not None and len(positions) for positions in (one, two)):
                self.lines.append((what, a.list, _positions(one), _positions(two), depth, a.list))


def _positions(rows: np.ndarray | None) -> str | None:
    if rows is None:
        return None
    listed = ", ".join(map(str, rows[:SHOWN_ROWS])) + (", …" if len(rows) > SHOWN_ROWS else "")
    return f"{len(rows)}: {listed}"


def inputs_of(store: Store, version: Version) -> Inputs:
    """The versions that the rows of a version were made from, one step up, oldest first, by list."""
    [pieces] = store.pieces([version])
    queries = [
        EdgeQuery(
            version.list_id,
            generation,
            list(zip(*(part.tolist() for part in pieces.intervals(generation)), strict=True)),
        )
        for generation in np.unique(pieces.generation).tolist()
    ]
    if not queries:
        return {}
    table = store.edges(queries, side="child")
    shown = pieces.shows_any(table.generation, table.start, table.start + table.rows)
    keep = shown & (table.rows > 0) & (table.list == version.list_id)
    keys = set(zip(table.parent_list[keep].tolist(), table.parent_version[keep].tolist(), strict=True))
    return by_list(store.describe_lists(versions=sorted(keys)).versions.values())


def _without(inputs: Inputs, lists: Collection[str]) -> Inputs:
    """Leave out lists that are compared already."""
    return {name: versions for name, versions in inputs.items() if name not in lists}


def differences(store: Store, a: Target, b: Target) -> pd.DataFrame:
    """Walk up from both, and list what differs, the nearest first."""
    walk = _Walk(store)
    if isinstance(a, Session) and isinstance(b, Session):
        walk.sessions(a, b)
    else:
        assert isinstance(a, Version)
        assert isinstance(b, Version)
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
