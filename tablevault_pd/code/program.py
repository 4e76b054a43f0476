"""What statements bind beside what they say: through functions that change their arguments or global names."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from tablevault_pd.code.calls import RANDOM
from tablevault_pd.code.namespaces import Namespace, Piece, absolute
from tablevault_pd.code.statements import Statement, inner_functions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tablevault_pd.code.calls import Call

PACKAGE = "tablevault_pd"
#: Calls that return a vault, a list or a session; :meth:`read` and others return what is the user's own.
_HANDING = frozenset(["connect", "current_vault", "session", "save", "append", "restore"])


class Program:
    """What a session executed: its own namespace and those of captured modules, each with which statement binds what."""

    def __init__(self, pieces: Sequence[Piece], modules: Iterable[Piece] = ()) -> None:
        self.main = Namespace(pieces)
        self.modules: dict[str, Piece] = {piece.module: piece for piece in modules if piece.module}
        self._namespaces: dict[
            str, Namespace
        ] = {}  # of the modules that were needed: a project may have a thousand
        self._methods: dict[str, list[tuple[Namespace, Statement]]] = {}
        self.main.index(self._effects(self.main))

    def module(self, name: str) -> Namespace | None:
        """A captured module, with which of its statements bind what."""
        if name not in self._namespaces and name in self.modules:
            self._namespaces[name] = namespace = Namespace([self.modules[name]], name)
            namespace.index(self._effects(namespace))  # noted before: modules may import each other
        return self._namespaces.get(name)

    @cached_property
    def _modules_by_method(self) -> dict[str, list[str]]:
        """The captured modules whose texts have functions inside of classes, or of functions, by the names of these."""
        modules: dict[str, list[str]] = {}
        for module, piece in self.modules.items():
            for name in inner_functions(piece.text):
                modules.setdefault(name, []).append(module)
        return modules

    def _methods_called(self, name: str) -> list[tuple[Namespace, Statement]]:
        """The methods of that name of all captured classes."""
        if name not in self._methods:
            modules = [self.module(module) for module in self._modules_by_method.get(name, ())]
            self._methods[name] = [
                (namespace, method)
                for namespace in [self.main, *modules]
                if namespace is not None
                for statement in namespace.statements
                for method in statement.methods
                if method.names == (name,)
            ]
        return self._methods[name]

    def _effects(self, namespace: Namespace) -> Iterator[tuple[str, ...]]:
        current: dict[str, int] = {}
        handles: set[str] = (
            set()
        )  # names of vaults, lists and sessions: what is called of these changes no name
        aliases, imported = _Aliases(), set[str]()
        for number, statement in enumerate(namespace.statements):
            aliases.bind(statement, imported)
            names = dict.fromkeys(statement.names)
            for name in statement.touches:
                if name in current and name not in handles and name not in imported:
                    names[name] = None
            names |= dict.fromkeys(self._changed_by(namespace, statement.calls, current, {}))
            for name in self._writes(namespace, statement.uses, current, set()):
                names[name] = None
            names |= dict.fromkeys(self._with_state(namespace, statement.uses, current))
            names |= dict.fromkeys(aliases.of([*statement.alters, *(set(names) - set(statement.names))]))
            yield tuple(names)
            imported = imported.difference(statement.names).union(bound for bound, _, _ in statement.imports)
            handles = handles.difference(statement.names) | _handles(statement, handles)
            current.update(dict.fromkeys(names, number))
            current.update(dict.fromkeys(statement.names, number))

    def _changed_by(
        self,
        namespace: Namespace,
        calls: Sequence[Call],
        current: Mapping[str, int],
        by_function: dict[int, set[str]],
    ) -> Iterator[str]:
        """The names that calls change, because their functions do, or functions that these hand them on to."""
        for function, arguments in calls:
            for where, defined in self._called(namespace, function, current):
                now = (
                    current
                    if where is namespace
                    else {name: numbers[-1] for name, numbers in where.names.items()}
                )
                changes = self._changes(where, defined, now, by_function)
                yield from (name for place, name in arguments if _parameter(defined, place) in changes)

    def _changes(
        self,
        namespace: Namespace,
        defined: Statement,
        current: Mapping[str, int],
        by_function: dict[int, set[str]],
    ) -> set[str]:
        """The parameters that a function changes; `known` are those of others, or of itself while it is looked at."""
        if id(defined) not in by_function:
            by_function[id(defined)] = set(defined.changes)
            by_function[id(defined)] |= set(self._changed_by(namespace, defined.passes, current, by_function))
        return by_function[id(defined)]

    def _called(
        self, namespace: Namespace, function: str, current: Mapping[str, int]
    ) -> Iterator[tuple[Namespace, Statement]]:
        """The definition of a function of this namespace or of a captured module, and where it stands.

        Of a method all that are called so: which class an object is of is not known.
        """
        base, _, rest = function.partition(".")
        at = current.get(base)
        statement = None if at is None else namespace.statements[at]
        if statement is not None and statement.kind == "def" and not rest:
            yield namespace, statement
        elif statement is not None and any(bound == base for bound, _, _ in statement.imports):
            yield from self._imported(namespace, statement, base, rest)
        elif rest:
            yield from self._methods_called(rest.rpartition(".")[2])

    def _imported(
        self, namespace: Namespace, statement: Statement, base: str, rest: str
    ) -> Iterator[tuple[Namespace, Statement]]:
        for bound, module, brought in statement.imports:
            if bound != base or (brought is not None and rest):
                continue
            name = rest if brought is None else brought
            target = self.module(absolute(namespace, module))
            for other in () if target is None else target.statements:
                if other.kind == "def" and other.names == (name,):
                    yield target, other  # type: ignore[misc]  # there is no other without a target

    def _with_state(
        self, namespace: Namespace, uses: Sequence[str], current: Mapping[str, int]
    ) -> Iterator[str]:
        """The functions with variables of their own that a statement may call, as ``count = make_counter()``."""
        for name in uses:
            made = namespace.statements[current[name]].results if name in current else ()
            for bound, maker in made:
                if bound == name and any(
                    maker_statement.keeps_state
                    for _, maker_statement in self._called(namespace, maker, current)
                ):
                    yield name

    def _writes(
        self, namespace: Namespace, uses: Sequence[str], current: Mapping[str, int], visited: set[int]
    ) -> Iterator[str]:
        for use in uses:
            base = use.partition(".")[0]
            at = current.get(base)
            if at is None or at in visited:
                continue
            statement = namespace.statements[at]
            if statement.imports:
                yield from self._seeds(namespace, statement, use)
            elif statement.kind in ("def", "class"):
                visited.add(at)
                yield from statement.writes
                yield from self._writes(namespace, statement.later, current, visited)
            elif base != use:  # a method of what a class has made
                made = [source for name, source in statement.results if name == base and "." not in source]
                yield from self._writes(namespace, made, current, visited)

    def _seeds(self, namespace: Namespace, statement: Statement, use: str) -> Iterator[str]:
        """The random state, if a function of another module sets it: its global names are its own."""
        base, _, rest = use.partition(".")
        for target, defined in self._imported(namespace, statement, base, rest):
            names = {name: numbers[-1] for name, numbers in target.names.items()}
            if RANDOM in defined.writes or RANDOM in self._writes(target, defined.later, names, set()):
                yield RANDOM


def _parameter(function: Statement, place: int | str) -> str | None:
    """The parameter of a function that a position or keyword means."""
    if isinstance(place, str):
        return place
    return function.parameters[place] if place < len(function.parameters) else None


class _Aliases:
    """Which names stand for one object: after ``clean = df`` both, until one of them is bound anew."""

    def __init__(self) -> None:
        self._groups: dict[str, set[str]] = {}

    def bind(self, statement: Statement, imported: set[str]) -> None:
        """Take note of what a statement binds."""
        groups = {
            name: self._groups.setdefault(source, {source})
            for name, source in statement.aliases
            if source not in imported
        }
        for name in set(statement.names) - set(statement.alters):
            self._groups.pop(name, set()).discard(name)
            if name in groups:
                groups[name].add(name)
                self._groups[name] = groups[name]

    def of(self, names: Iterable[str]) -> Iterator[str]:
        """All names of the objects that have these names."""
        for name in names:
            yield from sorted(self._groups.get(name, ()))


def _handles(statement: Statement, handles: set[str]) -> set[str]:
    """The names that a statement binds to this library, or to a vault, list or session of it."""
    names = {
        bound
        for bound, module, _ in statement.imports
        if module.partition(".")[0] == PACKAGE and bound != "*"
    }
    for name, source in (*statement.results, *statement.aliases):
        base, _, rest = source.partition(".")
        if base in handles | names and (not rest or rest in _HANDING):
            names.add(name)  # ``tv.connect("exp")``, ``vault["runs"]``
    return names
