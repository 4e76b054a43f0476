"""What the runs of one session name have executed, a statement at a time, and the modules that they had."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tablevault_pd.code.calls import RANDOM
from tablevault_pd.code.namespaces import Piece
from tablevault_pd.code.statements import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store import Cell, ModuleSource


@dataclass(frozen=True, slots=True)
class Executed:
    """One statement that was executed, or captured as part of a module."""

    session_id: int
    cell: int
    line: int
    kind: str
    names: frozenset[str]
    uses: frozenset[str]
    tree: str


def statements_of(
    text: str, names: str | None
) -> Iterator[tuple[int, int, str, frozenset[str], frozenset[str], str]]:
    """(line, end, kind, names, used names, tree) of each statement: as it was captured, whichever Python wrote it."""
    if names is not None:
        for line, end, kind, defined, uses, later, tree in json.loads(names):
            yield line, end, kind, frozenset(defined), frozenset([*uses, *later]) - {RANDOM}, tree
        return
    for statement in cut(text):
        uses = frozenset([*statement.uses, *statement.later]) - {RANDOM}
        yield statement.line, statement.end, statement.kind, frozenset(statement.names), uses, statement.tree


@dataclass(slots=True)
class RunCell:
    """A cell with the statements of it that were executed."""

    cell: Cell
    statements: list[Executed]
    complete: bool  #: whether all were

    @property
    def order(self) -> tuple[int, int]:
        """Cells of one session name, in order of execution."""
        return self.cell.session_id, self.cell.cell

    @property
    def names(self) -> frozenset[str]:
        """All that it defines."""
        return frozenset().union(*(statement.names for statement in self.statements))

    def defines(self, function: str) -> bool:
        """Whether it has defined a function of that name."""
        return any(one.kind == "def" and function in one.names for one in self.statements)

    @property
    def trees(self) -> tuple[str, ...]:
        """What it is."""
        return tuple(statement.tree for statement in self.statements)


@dataclass(slots=True)
class History:
    """All runs of one session name."""

    cells: list[RunCell]
    sources: list[ModuleSource]  #: in order of capture
    _by_source: dict[str, tuple[list[Executed], frozenset[str]]] = field(default_factory=dict)

    def module(self, path: str, until: int | None = None) -> ModuleSource | None:
        """A module as it was captured last, or last until the end of a session."""
        captured = [
            source
            for source in self.sources
            if source.path == path and (until is None or source.session_id <= until)
        ]
        return max(captured, key=lambda source: (source.session_id, source.cell), default=None)

    @property
    def modules(self) -> list[Piece]:
        """All modules as they were captured last."""
        newest = {source.path: source for source in self.sources}
        return [Piece(source.text, source.path, module=source.module) for source in newest.values()]

    def newest_module(self, path: str) -> tuple[list[Executed], frozenset[str]] | None:
        """The statements of a module as it was captured last, and their trees."""
        last = self.module(path)
        if last is None:
            return None
        if last.sha256 not in self._by_source:
            statements = [
                Executed(last.session_id, last.cell, line, kind, names, uses, tree)
                for line, _, kind, names, uses, tree in statements_of(last.text, None)
            ]
            self._by_source[last.sha256] = statements, frozenset(statement.tree for statement in statements)
        return self._by_source[last.sha256]
