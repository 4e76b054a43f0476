"""Namespaces: the statements that ran in each, in order, and which of them bind what.

A name that a statement uses leads to the statement that bound it last before.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tablevault_pd.capture.position import in_order, is_between
from tablevault_pd.code.statements import Statement, cut, text_of
from tablevault_pd.store.session_types import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Piece:
    """A text that was executed: a cell, a script, or a module."""

    text: str
    path: str | None = None  #: of the script or module; None: a cell of a notebook
    session_id: int | None = None
    cell: int | None = None
    notebook: str | None = None  #: the cell's own id, where the front end sent one
    until: int | None = None  #: the place that it came to; None: all of it ran
    module: str | None = None  #: what it was imported as


@dataclass(slots=True)
class Namespace:
    """The statements that ran in one namespace."""

    pieces: Sequence[Piece]
    module: str | None = None
    statements: list[Statement] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)  #: the piece of each statement
    names: dict[str, list[int]] = field(
        default_factory=dict
    )  #: name -> the statements that bind or change it
    bindings: dict[str, int] = field(default_factory=dict)  #: name -> the last statement that binds it
    imports: dict[str, list[int]] = field(default_factory=dict)  #: name -> the statements that import it

    def __post_init__(self) -> None:
        for number, piece in enumerate(self.pieces):
            for statement in cut(piece.text):
                if piece.until is None or in_order(statement.line) <= in_order(piece.until):
                    self.statements.append(statement)
                    self.owners.append(number)

    def __len__(self) -> int:
        return len(self.statements)

    def index(self, effects: Iterable[tuple[str, ...]]) -> None:
        """Note which statement binds what; `effects` are all names that each one binds or changes."""
        for number, (statement, names) in enumerate(zip(self.statements, effects, strict=True)):
            for name in names:
                self.names.setdefault(name, []).append(number)
            self.bindings.update(dict.fromkeys(statement.bound, number))
            for bound, _, _ in statement.imports:
                self.imports.setdefault(bound, []).append(number)

    @property
    def stars(self) -> list[int]:
        """The imports of everything."""
        return self.imports.get("*", [])

    def definitions(self, name: str, before: int) -> Iterator[int]:
        """The statements that may have bound `name` when statement `before` began, the latest first."""
        numbers = self.names.get(name, ())
        for at in range(bisect_left(numbers, before) - 1, -1, -1):
            yield numbers[at]
            statement = self.statements[numbers[at]]
            if statement.sure and name in statement.names:
                return

    def import_behind(self, name: str, numbers: Sequence[int]) -> list[int]:
        """The import of a name that statements `numbers`, the latest first, only change: ``conf.RATE = 1``."""
        if not numbers or name in self.statements[numbers[-1]].bound:
            return []
        earlier = self.imports.get(name, [])
        at = bisect_left(earlier, numbers[-1])
        return earlier[at - 1 : at]

    def statements_at(self, piece: int, place: int | None) -> list[int]:
        """The numbers of the statements of a piece that `place` may be in: one, unless it has no column."""
        return [
            number
            for number, (statement, owner) in enumerate(zip(self.statements, self.owners, strict=True))
            if owner == piece and place is not None and is_between(place, statement.line, statement.end)
        ]

    def part(self, number: int) -> Part:
        """A statement as part of a slice."""
        piece, statement = self.pieces[self.owners[number]], self.statements[number]
        return Part(
            piece.path, piece.session_id, piece.cell, statement.line, statement.end, statement.kind, statement.names,
            text_of(piece.text, statement), statement.tree, piece.notebook,
        )  # fmt: skip


def absolute(namespace: Namespace, module: str) -> str:
    """The full name of a module that is imported in `namespace`, perhaps relative to it."""
    if not module.startswith("."):
        return module
    name = module.lstrip(".")
    levels = len(module) - len(name)
    parts = (namespace.module or "").split(".")
    is_package = bool(namespace.pieces) and (namespace.pieces[0].path or "").endswith("__init__.py")
    parent = parts[: len(parts) - levels + is_package]
    return ".".join([*parent, *([name] if name else [])])
