"""Namespaces: the statements that ran in each, in order, and which of them bind what.

A name that a statement uses leads to the statement that bound it last before.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from tablevault_pd.capture.entry import entry_of
from tablevault_pd.capture.position import is_between
from tablevault_pd.code.statements import Statement, cut, ran, text_of
from tablevault_pd.store.session_types import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


LOCAL = "@"  #: behind the names of a function that was under way, before its level


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
    whole: bool = False  #: whether the function that a script runs is one statement
    count: int | None = None  #: the execution count of the cell, where there is one

    def executed(self) -> Sequence[Statement]:
        """The statements that have begun; of a loop, those of its turns before, too."""
        return ran(cut(self.text, script=self._is_script and not self.whole), self.place(self.until))

    def place(self, at: int | None) -> int | None:
        """A place as it counts here: in the function that a script runs, where that is one statement, that of its call."""
        entry = entry_of(self.text) if self.whole and self._is_script and at is not None else None
        if entry is None or at is None:
            return at
        function = next(statement for statement in cut(self.text) if statement.line == entry.first)
        return entry.line if is_between(at, function.line, function.end) else at

    @property
    def _is_script(self) -> bool:
        return self.path is not None and self.module is None


@dataclass(slots=True)
class Namespace:
    """The statements that ran in one namespace."""

    pieces: Sequence[Piece]
    module: str | None = None
    statements: list[Statement] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)  #: the piece of each statement
    headers: list[int | None] = field(default_factory=list)  #: the header of the block that each is in
    ends: dict[int, int] = field(default_factory=dict)  #: header -> the first statement behind its block
    #: name -> the statements that bind or change it
    names: dict[str, list[int]] = field(default_factory=dict)
    bindings: dict[str, int] = field(default_factory=dict)  #: name -> the last statement that binds it
    imports: dict[str, list[int]] = field(default_factory=dict)  #: name -> the statements that import it
    #: name -> the statements that make it global
    declared: dict[str, list[int]] = field(default_factory=dict)
    effects: Iterator[tuple[str, ...]] | None = None  #: for each statement all names that it binds or changes
    indexed: int = 0  #: how many statements are in `names`
    noted: int = 0  #: how many are in `bindings` and `imports`
    #: what has bound nothing yet when the function that it calls runs, and what failed before it could
    under_way: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        for statement in _executed(self.pieces):
            self._append(*statement)
        self.under_way |= _cut_off(self.pieces, self.owners)

    def _append(self, statement: Statement, owner: int, header: int | None) -> None:
        self.statements.append(statement)
        self.owners.append(owner)
        self.headers.append(header)
        self.ends.update(dict.fromkeys(self._headers_of(len(self) - 1), len(self)))
        for name in statement.declares:
            self.declared.setdefault(name, []).append(len(self) - 1)

    def with_called(self, caller: int, piece: Piece, called: Sequence[Statement]) -> Namespace:
        """This namespace, with the statements of a function behind the one that calls it. The first is their header."""
        namespace = Namespace((), self.module)
        namespace.pieces = [*self.pieces, piece]
        namespace.under_way = {*self.under_way, caller}
        for number in range(caller + 1):
            namespace._append(self.statements[number], self.owners[number], self.headers[number])
        for statement in called:
            header = self.headers[caller] if statement.header is None else caller + 1 + statement.header
            namespace._append(statement, len(self.pieces), header)
        for number in range(caller + 1, len(self)):
            behind = self.headers[number]
            header = behind if behind is None or behind <= caller else behind + len(called)
            namespace._append(self.statements[number], self.owners[number], header)
        return namespace

    def __len__(self) -> int:
        return len(self.statements)

    def continued(self, pieces: Sequence[Piece]) -> bool:
        """Take these pieces in place of those that there are, if their statements are the same ones, and perhaps more.

        What was noted of statements stays true: it is about those before each, all of a loop, which is there once it has
        begun, and methods.
        """
        statements, size = list(_executed(pieces)), len(self)
        same = statements[:size] == list(zip(self.statements, self.owners, self.headers, strict=True))
        cut_off = _cut_off(pieces, [owner for _, owner, _ in statements])
        same = same and self.under_way == {number for number in cut_off if number < size}
        if not same or any(statement.methods for statement, _, _ in statements[size:]):
            return False
        self.pieces = pieces
        for more in statements[size:]:
            self._append(*more)
        self.under_way = cut_off
        return True

    def bind(self, end: int | None = None) -> None:
        """Note which statements before `end` bind and import what by themselves."""
        end = len(self) if end is None else end
        for number in range(self.noted, end):
            statement = self.statements[number]
            self.bindings.update(dict.fromkeys(statement.bound, number))
            for bound, _, _ in statement.imports:
                self.imports.setdefault(bound, []).append(number)
        self.noted = end

    def index(self) -> None:
        """Note which statement binds what, by `effects`, of those of which it was not noted yet."""
        assert self.effects is not None
        for number, names in zip(range(self.indexed, len(self)), self.effects, strict=False):
            self.indexed = number + 1
            for name in names:
                self.names.setdefault(name, []).append(number)
            if number >= self.noted:
                self.bind(number + 1)

    @property
    def stars(self) -> list[int]:
        """The imports of everything."""
        return self.imports.get("*", [])

    def definitions(self, name: str, before: int, at: int | None = None) -> Iterator[int]:
        """The statements that may have bound `name` when statement `before` began, the latest first; in loops also later ones.

        `at` is the statement that looks it up, if that is not `before`.
        """
        numbers = self.names.get(name, ())
        if not numbers:
            return
        at = before if at is None else at
        above = self._headers_of(at)
        block = self.statements[at].block if at < len(self) else ""
        if block == "loop":
            above.insert(0, at)  # its test runs again in each turn
        elif block == "else":
            del above[0]  # it runs where the branch before it did not
        end, later = bisect_left(numbers, before), before
        for loop in (header for header in above if self.statements[header].block == "loop"):
            start = bisect_left(numbers, loop)
            for number in reversed(numbers[start:end]):
                yield number
                if self._is_sure(name, number, above):
                    return
            stop = self.ends.get(loop, loop + 1)
            # in the turn before
            yield from reversed(numbers[bisect_left(numbers, later) : bisect_left(numbers, stop)])
            end, later = start, stop
        for number in reversed(numbers[:end]):
            yield number
            if self._is_sure(name, number, above):
                return

    def _headers_of(self, number: int) -> list[int]:
        """The headers of the blocks that a statement is in, the innermost first; of an ``if`` that of its own branch."""
        headers: list[int] = []
        header = self.headers[number] if number < len(self.headers) else None
        while header is not None:
            headers.append(header)
            while self.statements[header].block == "else":
                header = self.headers[header] or 0  # the branch before
            header = self.headers[header]
        return headers

    def filled_by(self, number: int, name: str, before: int) -> range:
        """The body of a block whose header changes an object, as ``with redirect_stdout(log):`` does: by what its body does."""
        if not self.statements[number].block or name in self.statements[number].bound:
            return range(0)
        return range(number + 1, min(self.ends.get(number, 0), before))

    def settings(self, header: int, before: int) -> list[int]:
        """The statements of a block that set something for those behind them: ``context.prec = 3`` in ``with … as context:``."""
        statement = self.statements[header]
        names = {f"{name}." for name in statement.bound} if statement.block == "with" else set()
        return [
            number
            for number in range(header + 1, before if names else 0)
            if self.statements[number].kind == "assign"
            and any(path.startswith(name) for path in self.statements[number].paths for name in names)
        ]

    def declarations(self, number: int) -> list[int]:
        """What makes names global that a statement of the same function binds: ``global G``."""
        declared = [other for name in self.statements[number].names for other in self.declared.get(name, ())]
        return [other for other in declared if self._headers_of(other)[-1:] == self._headers_of(number)[-1:]]

    def is_definition(self, number: int) -> bool:
        """Whether a statement defines a function, whatever happens."""
        return self.statements[number].kind == "def" and self.always_runs(number)

    def always_runs(self, number: int) -> bool:
        """Whether no test and no loop decides if a statement runs."""
        return all(self.statements[header].block == "with" for header in self._headers_of(number))

    def _is_sure(self, name: str, number: int, above: Sequence[int]) -> bool:
        """Whether a statement has bound a name when a later one in the blocks `above` runs, so that nothing older is in force."""
        statement = self.statements[number]
        if number in self.under_way or ":" in name:
            return False  # a name of a module may be looked up by whatever was called in between
        if name not in statement.names or not (statement.sure or statement.block):
            return False
        decide = [*self._headers_of(number), *([number] if statement.block == "loop" else [])]
        return all(header in above or self.statements[header].block == "with" for header in decide)

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
            piece.path, piece.session_id, piece.cell, statement.line, statement.end, statement.kind, shown(statement.names),
            text_of(piece.text, statement), statement.tree, piece.notebook, piece.count,
        )  # fmt: skip


def _executed(pieces: Sequence[Piece]) -> Iterator[tuple[Statement, int, int | None]]:
    """The statements of pieces, the number of the piece of each, and the header of the block that it is in."""
    start = 0
    for number, piece in enumerate(pieces):
        statements = piece.executed()
        for statement in statements:
            yield statement, number, None if statement.header is None else start + statement.header
        start += len(statements)


def _cut_off(pieces: Sequence[Piece], owners: Sequence[int]) -> set[int]:
    """The statements in which cells ended: they failed, and may have bound nothing."""
    last = dict(zip(owners, range(len(owners)), strict=True))
    return {
        number
        for owner, number in last.items()
        if pieces[owner].until is not None and pieces[owner].path is None
    }


@lru_cache(maxsize=4096)
def split(name: str) -> tuple[str, str]:
    """The first part of a dotted name, and the rest: of ``a.b:c.d``, which stands for ``c.d`` of a module, ``a.b:c``."""
    module, colon, path = name.rpartition(":")
    base, _, rest = path.partition(".")
    return module + colon + base, rest


def shown(names: Iterable[str]) -> tuple[str, ...]:
    """Names as they are written: without what tells those of a function from others."""
    return tuple([name.rpartition(":")[2].partition(LOCAL)[0].removesuffix("()") for name in names])


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
