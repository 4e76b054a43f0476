"""The functions that were under way, each cut into its statements behind the one that called it.

Their names are told apart from others: ``x@1`` is a name of the function that the script called, ``pkg.mod:x`` one of the
module that a function stands in.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture.cell_place import lines_before
from tablevault_pd.capture.position import is_between
from tablevault_pd.code.arguments import given_by
from tablevault_pd.code.bodies import body_of, call_at, is_code_of
from tablevault_pd.code.calls import dotted
from tablevault_pd.code.namespaces import LOCAL, absolute, split
from tablevault_pd.code.sharing import RETURNED
from tablevault_pd.code.statements import python_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tablevault_pd.capture.position import StackLevel
    from tablevault_pd.code.bodies import Body, Call
    from tablevault_pd.code.namespaces import Namespace
    from tablevault_pd.code.program import Program
    from tablevault_pd.code.sharing import Share
    from tablevault_pd.code.statements import Statement


@dataclass(frozen=True)
class _Names:
    """What the names of a function are called: its own, and those of the module that it stands in."""

    namespace: Namespace
    depth: int = 0
    local: frozenset[str] = frozenset()

    def __call__(self, name: str) -> str:
        if ":" in name:
            module, _, path = name.partition(":")
            return f"{absolute(self.namespace, module)}:{path}"
        base, dot, rest = name.partition(".")
        if base in self.local:
            return f"{base}{LOCAL}{self.depth}{dot}{rest}"
        return (
            name
            if self.namespace.module is None or not base.isidentifier()
            else f"{self.namespace.module}:{name}"
        )

    def all(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple([self(name) for name in names])

    def pairs(self, names: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple([(self(one), self(other)) for one, other in names])

    def shares(self, shares: Iterable[Share], sources: _Names) -> tuple[Share, ...]:
        return tuple(
            [
                (self(name), source and sources(source), how)
                for name, source, how in shares
                if name != RETURNED
            ]
        )

    def calls(self, calls: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(
            [
                (self(function), tuple([(place, self(name)) for place, name in given]))
                for function, given in calls
            ]
        )

    def statement(self, statement: Statement) -> Statement:
        """A statement of the function, by these names."""
        return statement._replace(
            names=self.all(statement.names),
            uses=self.all(statement.uses),
            later=self.all(statement.later),
            imports=tuple(
                [
                    (bound and self(bound), absolute(self.namespace, module), attribute)
                    for bound, module, attribute in statement.imports
                ]
            ),
            touches=self.all(statement.touches),
            paths=self.all(statement.paths),
            calls=self.calls(statement.calls),
            passes=self.calls(statement.passes),
            writes=self.all(statement.writes),
            results=self.pairs(statement.results),
            alters=self.all(statement.alters),
            changed=tuple([change._replace(name=self(change.name)) for change in statement.changed]),
            shares=self.shares(statement.shares, self),
            aliases=self.pairs(statement.aliases),
            attributes=self.pairs(statement.attributes),
            hands=self.all(statement.hands),
            handed=self.all(statement.handed),
            methods=tuple(
                [method._replace(passes=self.calls(method.passes)) for method in statement.methods]
            ),
        )


class StackLevels:
    """The way from a statement of the main namespace to the one that was under way, as far as it can be followed."""

    def __init__(self, program: Program, main: Namespace, number: int, roots: Sequence[int]) -> None:
        self._program = program
        self._top, self._at, self._depth = number, number, 0
        self._shift = 0  # lines of the cell that the function under way stands in, before what ran of it
        self._names = _Names(main)
        self.namespace = main
        self.roots = list(roots)
        #: (statement, name) -> the function that the name does not lead to, since its statements stand behind
        self.replaced: dict[tuple[int, str], tuple[str | None, int]] = {}
        self.bodies: list[tuple[tuple[str | None, int], range]] = []

    def follow(self, levels: Sequence[StackLevel]) -> None:
        """Go along the functions until one that stays whole."""
        for level in levels:
            try:
                if not self._enter(level):
                    return
            except (RecursionError, MemoryError):  # nested too deeply to look into
                return

    def _enter(self, level: StackLevel) -> bool:
        caller = self.namespace.statements[self._at]
        text = python_of(self.namespace.pieces[self.namespace.owners[self._at]].text)
        line, column = level.call
        call = call_at(text, (line + self._shift, column), caller)
        use = None if call is None else self._names(call.function)
        definition = None if use is None or use not in caller.uses else self._definition(use)
        if call is None or use is None or definition is None:
            return False
        home, number = definition
        piece = home.pieces[home.owners[number]]
        shift = 0 if level.text is None else lines_before(piece.text, level.text)
        if shift is None or home.module != level.module:
            return False
        line, place = level.first + shift, level.place + shift
        if home.statements[number].line != line or not is_code_of(level.code, piece.text, line):
            return False
        body = body_of(python_of(piece.text), level.name, line)
        if body is None or not self._has_lasting_defaults(body, home, number):
            return False
        ran = body.ran(place if caller.loop is None else None)
        under_way = [at for at, one in enumerate(ran) if is_between(place, one.line, one.end)]
        if len(under_way) != 1:
            return False
        self._depth += 1
        names = _Names(home, self._depth, body.local)
        called = self._called(ran, body, names, call, caller, under_way[0])
        first = self._at + 1
        self._move(self._at, len(called))
        self.namespace = self.namespace.with_called(self._at, piece, called)
        self.replaced[self._at, use] = home.module, number
        self.bodies.append(((home.module, number), range(first, first + len(called))))
        decisive = [at for at in sorted(body.decisive) if at < len(called)]
        self.roots += [first, first + under_way[0], *(first + at for at in decisive)]
        self._at, self._names, self._shift = first + under_way[0], names, shift
        return True

    def _move(self, behind: int, count: int) -> None:
        """Count statements anew of which so many come behind one."""
        self.roots = [root if root <= behind else root + count for root in self.roots]
        self.bodies = [(whole, range(numbers.start, numbers.stop + count)) for whole, numbers in self.bodies]

    def _called(
        self,
        ran: Sequence[Statement],
        body: Body,
        names: _Names,
        call: Call,
        caller: Statement,
        under_way: int,
    ) -> list[Statement]:
        """The statements of a function, by their names here; what an early ``return`` gives was not returned."""
        header, *others = [names.statement(statement) for statement in ran]
        called = [self._with_arguments(header, names, body.arguments, call.node, caller), *others]
        for at in body.returns if caller.loop is None or not call.is_kept else ():
            if at < len(called) and at != under_way:
                called[at] = called[at]._replace(uses=(), later=(), hands=(), calls=(), shares=())
        loop = caller.loop
        return called if loop is None else [statement._replace(loop=loop) for statement in called]

    def _with_arguments(
        self, header: Statement, names: _Names, arguments: ast.arguments, call: ast.Call, caller: Statement
    ) -> Statement:
        """The header of a function with what its parameters share with the arguments of the call."""
        given = given_by(call, arguments)
        pairs = [
            tuple([(names(name), self._names(chain)) for name, chain in some])
            for some in (given.aliases, given.attributes, given.results)
        ]
        return header._replace(
            imports=tuple(self._imports(names)),
            shares=names.shares(given.shares, self._names),
            aliases=pairs[0],
            attributes=pairs[1],
            results=pairs[2],
            calls=tuple([one for one in caller.calls if one[0] in dict(pairs[2]).values()]),
        )

    @staticmethod
    def _imports(names: _Names) -> Iterator[tuple[str, str, str | None]]:
        """What the module of the function imports, by its names here."""
        home = names.namespace
        for statement in home.statements if home.module is not None else ():
            for bound, module, attribute in statement.imports:
                if bound and bound != "*":
                    yield f"{home.module}:{bound}", absolute(home, module), attribute

    def _definition(self, use: str) -> tuple[Namespace, int] | None:
        """The ``def`` that a dotted name leads to, if nothing else binds or changes a name on the way."""
        module, _, path = use.rpartition(":")
        visited: set[tuple[str, str]] = set()
        while (module, path) not in visited:
            visited.add((module, path))
            namespace = self._program.module(module) if module else self.namespace
            if namespace is None:
                return None
            base, rest = split(path)
            numbers = [number for number, one in enumerate(namespace.statements) if base in one.names]
            if not module and all(namespace.is_definition(number) for number in numbers):
                numbers = [number for number in numbers if number < self._top][-1:]  # of cells that ran again
            if len(numbers) != 1 or (not module and numbers[0] >= self._top):
                return None
            statement = namespace.statements[numbers[0]]
            if statement.kind == "def":
                return None if rest else (namespace, numbers[0])
            imported = [one for one in statement.imports if one[0] == base]
            if len(imported) != 1:
                return None
            module, path = self._program.inner(absolute(namespace, imported[0][1]), imported[0][2], rest)
        return None

    def _has_lasting_defaults(self, body: Body, home: Namespace, number: int) -> bool:
        """Whether the defaults of a function are the same at each call: plain values, and names that nothing binds later."""
        changed = {name for statement in home.statements[number + 1 :] for name in statement.names}
        for default in [*body.arguments.defaults, *body.arguments.kw_defaults]:
            value: Any = default.operand if isinstance(default, ast.UnaryOp) else default
            if value is None or isinstance(value, ast.Constant):
                continue
            if (dotted(value) or "").partition(".")[0] in {"", *changed}:
                return False
        return True
