"""Backward slices: of all that was executed, the statements that one of them needs.

A *space* is a namespace and the statements that ran in it, in order: a session's cells, or a module. A name that a
statement uses leads to the statement that bound it last before; where that is an import of a captured module, on into the
module's space.
"""

from __future__ import annotations

import builtins
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING

from tablevault_pd.code.calls import RANDOM
from tablevault_pd.code.statements import Statement, cut, inner_functions, text_of, trees
from tablevault_pd.store.session_types import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tablevault_pd.code.calls import Call

PACKAGE = "tablevault_pd"
#: Calls that return a vault, a list or a session; :meth:`read` and others return what is the user's own.
_HANDING = frozenset(["connect", "current_vault", "session", "save", "append", "restore"])
#: Names that Python and IPython define by themselves; without those of results (``_``, ``Out``), which no code in sight made.
GIVEN = frozenset(dir(builtins)) | frozenset(
    [
        "__file__",
        "__annotations__",
        "__builtins__",
        "__path__",
        "__cached__",
        "get_ipython",
        "In",
        "display",
        "exit",
        "quit",
        "_i",
        "_ii",
        "_iii",
        "_ih",
        "_dh",
        "_exit_code",
        "__class__",
        "__conditional_annotations__",
        RANDOM,
    ]
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A text that was executed: a cell, a script, or a module."""

    text: str
    path: str | None = None  #: of the script or module; None: a cell of a notebook
    session_id: int | None = None
    cell: int | None = None
    notebook: str | None = None  #: the cell's own id, where the front end sent one
    until: int | None = None  #: the last line that was begun; None: all were
    module: str | None = None  #: what it was imported as


@dataclass(frozen=True, slots=True)
class Slice:
    """The statements that made something, in order of execution; equal to another if the syntax trees are."""

    parts: tuple[Part, ...] = ()
    unresolved: tuple[str, ...] = ()  #: names that are used, and that no captured code defines

    @property
    def digest(self) -> str:
        """Equal for equal slices."""
        return blake2b("\n".join(part.tree for part in self.parts).encode(), digest_size=16).hexdigest()

    @property
    def text(self) -> str:
        """The code, each module's part below a comment with its path."""
        pieces: list[str] = []
        place: object = ()
        for part in self.parts:
            if (part.path, part.session_id, part.cell) != place:
                place = (part.path, part.session_id, part.cell)
                head = part.path if part.path is not None else f"cell {part.cell}"
                pieces.append(
                    f"# {head}" if part.cell is not None or part.path is not None else "# an earlier cell"
                )
            pieces.append(part.text)
        return "\n".join(pieces) + "\n" * bool(pieces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slice) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(slots=True)
class Space:
    """The statements that ran in one namespace."""

    pieces: Sequence[Piece]
    module: str | None = None
    statements: list[Statement] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)  #: the piece of each statement
    trees: list[str] = field(default_factory=list)  #: its digest
    names: dict[str, list[int]] = field(
        default_factory=dict
    )  #: name -> the statements that bind or change it
    stars: list[int] = field(default_factory=list)  #: imports of everything

    def __post_init__(self) -> None:
        for number, piece in enumerate(self.pieces):
            for statement, tree in zip(cut(piece.text), trees(piece.text), strict=True):
                if piece.until is None or statement.line <= piece.until:
                    self.statements.append(statement)
                    self.owners.append(number)
                    self.trees.append(tree)

    def __len__(self) -> int:
        return len(self.statements)

    def index(self, effects: Iterable[tuple[str, ...]]) -> None:
        """Note which statement binds what; `effects` are all names that each one binds or changes."""
        for number, (statement, names) in enumerate(zip(self.statements, effects, strict=True)):
            for name in names:
                self.names.setdefault(name, []).append(number)
            if any(bound == "*" for bound, _, _ in statement.imports):
                self.stars.append(number)

    def definitions(self, name: str, before: int) -> Iterator[int]:
        """The statements that may have bound `name` when statement `before` began, the latest first."""
        numbers = self.names.get(name, ())
        for at in range(bisect_left(numbers, before) - 1, -1, -1):
            yield numbers[at]
            statement = self.statements[numbers[at]]
            if statement.sure and name in statement.names:
                return

    def statement_at(self, piece: int, line: int | None) -> int | None:
        """The number of the statement of a piece that line `line` is in."""
        for number, (statement, owner) in enumerate(zip(self.statements, self.owners, strict=True)):
            if owner == piece and line is not None and statement.line <= line <= statement.end:
                return number
        return None

    def part(self, number: int) -> Part:
        """A statement as part of a slice."""
        piece, statement = self.pieces[self.owners[number]], self.statements[number]
        return Part(
            piece.path, piece.session_id, piece.cell, statement.line, statement.end, statement.kind, statement.names,
            text_of(piece.text, statement), self.trees[number], piece.notebook,
        )  # fmt: skip


class Slicer:
    """Takes slices of what a session executed, in its own namespace and in the modules that it had imported."""

    def __init__(self, pieces: Sequence[Piece], modules: Iterable[Piece] = ()) -> None:
        self.main = Space(pieces)
        self.modules: dict[str, Piece] = {piece.module: piece for piece in modules if piece.module}
        self._spaces: dict[str, Space] = {}  # of the modules that were needed: a project may have a thousand
        self._methods: dict[str, list[tuple[Space, Statement]]] = {}
        self.main.index(self._effects(self.main))

    def module(self, name: str) -> Space | None:
        """A captured module, with which of its statements bind what."""
        if name not in self._spaces and name in self.modules:
            self._spaces[name] = space = Space([self.modules[name]], name)
            space.index(self._effects(space))  # noted before: modules may import each other
        return self._spaces.get(name)

    @cached_property
    def _modules_by_method(self) -> dict[str, list[str]]:
        """The captured modules whose texts have functions inside of classes, or of functions, by the names of these."""
        modules: dict[str, list[str]] = {}
        for module, piece in self.modules.items():
            for name in inner_functions(piece.text):
                modules.setdefault(name, []).append(module)
        return modules

    def _methods_called(self, name: str) -> list[tuple[Space, Statement]]:
        """The methods of that name of all captured classes."""
        if name not in self._methods:
            modules = [self.module(module) for module in self._modules_by_method.get(name, ())]
            self._methods[name] = [
                (space, method)
                for space in [self.main, *modules]
                if space is not None
                for statement in space.statements
                for method in statement.methods
                if method.names == (name,)
            ]
        return self._methods[name]

    def of_line(self, line: int | None) -> Slice:
        """What the statement of the last piece needs that `line` is in; without one, the whole piece and what it needs."""
        last = len(self.main.pieces) - 1
        at = self.main.statement_at(last, line)
        if at is not None:
            return self._slice([at])
        return self._slice([number for number, owner in enumerate(self.main.owners) if owner == last])

    def of_everything(self) -> Slice:
        """All that was executed, and the parts of modules that it needs."""
        return self._slice(range(len(self.main)))

    def since(self, cell: int | None) -> Slice:
        """What the pieces from that cell on need, themselves included; without one, everything."""
        first = next((number for number, piece in enumerate(self.main.pieces) if piece.cell == cell), 0)
        return self._slice([number for number, owner in enumerate(self.main.owners) if owner >= first])

    def _slice(self, roots: Sequence[int]) -> Slice:
        walk = _Walk(self)
        walk.add_roots(roots)
        walk.run()
        return walk.slice()

    # -- what statements bind beside what they say: through functions that change their arguments or global names

    def _effects(self, space: Space) -> Iterator[tuple[str, ...]]:
        current: dict[str, int] = {}
        handles: set[str] = (
            set()
        )  # names of vaults, lists and sessions: what is called of these changes no name
        aliases, imported = _Aliases(), set[str]()
        for number, statement in enumerate(space.statements):
            aliases.bind(statement, imported)
            names = dict.fromkeys(statement.names)
            for name in statement.touches:
                if name in current and name not in handles and name not in imported:
                    names[name] = None
            names |= dict.fromkeys(self._changed_by(space, statement.calls, current, {}))
            for name in self._writes(space, statement.uses, current, set()):
                names[name] = None
            names |= dict.fromkeys(self._with_state(space, statement.uses, current))
            names |= dict.fromkeys(aliases.of([*statement.alters, *(set(names) - set(statement.names))]))
            yield tuple(names)
            imported = imported.difference(statement.names).union(bound for bound, _, _ in statement.imports)
            handles = handles.difference(statement.names) | _handles(statement, handles)
            current.update(dict.fromkeys(names, number))
            current.update(dict.fromkeys(statement.names, number))

    def _changed_by(
        self,
        space: Space,
        calls: Sequence[Call],
        current: Mapping[str, int],
        by_function: dict[int, set[str]],
    ) -> Iterator[str]:
        """The names that calls change, because their functions do, or functions that these hand them on to."""
        for function, arguments in calls:
            for where, defined in self._called(space, function, current):
                now = (
                    current
                    if where is space
                    else {name: numbers[-1] for name, numbers in where.names.items()}
                )
                changes = self._changes(where, defined, now, by_function)
                yield from (name for place, name in arguments if _parameter(defined, place) in changes)

    def _changes(
        self, space: Space, defined: Statement, current: Mapping[str, int], by_function: dict[int, set[str]]
    ) -> set[str]:
        """The parameters that a function changes; `known` are those of others, or of itself while it is looked at."""
        if id(defined) not in by_function:
            by_function[id(defined)] = set(defined.changes)
            by_function[id(defined)] |= set(self._changed_by(space, defined.passes, current, by_function))
        return by_function[id(defined)]

    def _called(
        self, space: Space, function: str, current: Mapping[str, int]
    ) -> Iterator[tuple[Space, Statement]]:
        """The definition of a function of this namespace or of a captured module, and where it stands.

        Of a method all that are called so: which class an object is of is not known.
        """
        base, _, rest = function.partition(".")
        at = current.get(base)
        statement = None if at is None else space.statements[at]
        if statement is not None and statement.kind == "def" and not rest:
            yield space, statement
        elif statement is not None and any(bound == base for bound, _, _ in statement.imports):
            yield from self._imported(space, statement, base, rest)
        elif rest:
            yield from self._methods_called(rest.rpartition(".")[2])

    def _imported(
        self, space: Space, statement: Statement, base: str, rest: str
    ) -> Iterator[tuple[Space, Statement]]:
        for bound, module, brought in statement.imports:
            if bound != base or (brought is not None and rest):
                continue
            name = rest if brought is None else brought
            target = self.module(absolute(space, module))
            for other in () if target is None else target.statements:
                if other.kind == "def" and other.names == (name,):
                    yield target, other  # type: ignore[misc]  # there is no other without a target

    def _with_state(self, space: Space, uses: Sequence[str], current: Mapping[str, int]) -> Iterator[str]:
        """The functions with variables of their own that a statement may call, as ``count = make_counter()``."""
        for name in uses:
            made = space.statements[current[name]].results if name in current else ()
            for bound, maker in made:
                if bound == name and any(
                    maker_statement.keeps_state for _, maker_statement in self._called(space, maker, current)
                ):
                    yield name

    def _writes(
        self, space: Space, uses: Sequence[str], current: Mapping[str, int], visited: set[int]
    ) -> Iterator[str]:
        for use in uses:
            base = use.partition(".")[0]
            at = current.get(base)
            if at is None or at in visited:
                continue
            statement = space.statements[at]
            if statement.imports:
                yield from self._seeds(space, statement, use)
            elif statement.kind in ("def", "class"):
                visited.add(at)
                yield from statement.writes
                yield from self._writes(space, statement.later, current, visited)
            elif base != use:  # a method of what a class has made
                made = [source for name, source in statement.results if name == base and "." not in source]
                yield from self._writes(space, made, current, visited)

    def _seeds(self, space: Space, statement: Statement, use: str) -> Iterator[str]:
        """The random state, if a function of another module sets it: its global names are its own."""
        base, _, rest = use.partition(".")
        for target, defined in self._imported(space, statement, base, rest):
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


class _Walk:
    """One walk backwards."""

    def __init__(self, slicer: Slicer) -> None:
        self._slicer = slicer
        self._main = slicer.main
        self._waiting: list[
            tuple[Space, int, int, int]
        ] = []  # space, statement, when it is called, main statement
        self._seen: set[tuple[str | None, int, int]] = set()
        self._chosen: dict[
            tuple[str | None, int], int
        ] = {}  # -> the first statement of the main space that led there
        self._unresolved: dict[str, None] = {}
        self._end = 0  # the last root

    def add_roots(self, numbers: Sequence[int]) -> None:
        """Want statements of the main space.

        What does nothing but import executes the modules, and wants them whole; so does ``%run``.
        """
        statements = [self._main.statements[number] for number in numbers]
        imports = all(statement.kind == "import" for statement in statements)
        self._end = max(numbers, default=-1) + 1
        for number, statement in zip(numbers, statements, strict=True):
            self._add(self._main, number, number, number)
            for _, module, _ in statement.imports if imports or statement.kind == "run" else ():
                self._whole(absolute(self._main, module), number)

    def run(self) -> None:
        """Follow every name."""
        while self._waiting:
            space, number, called, source = self._waiting.pop()
            statement = space.statements[number]
            for use in statement.uses:
                self._need(space, use, number, source)
                if called > number and (use in statement.hands or statement.kind == "def"):
                    self._need(space, use, number, source, called)
                if called > number and statement.kind == "class":
                    self._patches(space, use, number, called, source)
            for use in statement.later:
                self._need(space, use, called, source)

    def slice(self) -> Slice:
        """What was found, in order of execution: a module before the statement that first needed it."""
        order = {name: number for number, name in enumerate([None, *self._slicer.modules])}
        first: dict[str | None, int] = {}
        for (name, _), source in self._chosen.items():
            first[name] = min(first.get(name, source), source)

        def place(chosen: tuple[str | None, int]) -> tuple[int, int, int]:
            name, number = chosen
            return (number, len(order), 0) if name is None else (first[name], order[name], number)

        def part(chosen: tuple[str | None, int]) -> Part:
            name, number = chosen
            space = self._main if name is None else self._slicer.module(name)
            assert space is not None
            return space.part(number)

        parts = tuple(map(part, sorted(self._chosen, key=place)))
        return Slice(parts, tuple(sorted(self._unresolved)))

    def _add(self, space: Space, number: int, called: int, source: int) -> None:
        source = min(source, number) if space is self._main else source
        key = (space.module, number)
        self._chosen[key] = min(self._chosen.get(key, source), source)
        if (*key, called if space.statements[number].later else -1) in self._seen:
            return
        self._seen.add((*key, called if space.statements[number].later else -1))
        self._waiting.append((space, number, called, source))

    def _patches(self, space: Space, use: str, number: int, called: int, source: int) -> None:
        """Want what changed a base class in place after the class was made of it."""
        name = use.partition(".")[0]
        for later in space.names.get(name, ()):
            statement = space.statements[later]
            if number < later < called:
                if name in statement.names and name not in statement.alters:
                    return  # another class of that name
                self._add(space, later, later, source)

    def _need(self, space: Space, use: str, before: int, source: int, called: int | None = None) -> None:
        """Want what a dotted name stood for when statement `before` began; in a function also later ones.

        `called` is when functions among it are called, if not then.
        """
        if use == RANDOM and space is not self._main:
            self._need(self._main, use, self._end, source)
        if ":" in use:
            module, _, attribute = use.partition(":")
            self._module(absolute(space, module), attribute, source)
            return
        base, _, rest = use.partition(".")
        numbers = list(space.definitions(base, before))
        if not numbers:  # of a function that is called later than this statement runs
            end = self._end if space is self._main else len(space)
            numbers = list(space.definitions(base, end))
        for number in numbers:
            self._add(space, number, before if called is None else called, source)
            for bound, module, brought in space.statements[number].imports:
                if bound == base:
                    self._follow(
                        space, module, brought, rest, min(source, number) if space is self._main else source
                    )
        if not numbers and not self._from_star(space, use, before, source) and base not in GIVEN:
            self._unresolved[base] = None

    def _follow(self, space: Space, module: str, attribute: str | None, rest: str, source: int) -> None:
        name = absolute(space, module)
        if attribute is not None:
            rest = f"{attribute}.{rest}" if rest else attribute
        self._module(name, rest, source)

    def _module(self, name: str, rest: str, source: int) -> None:
        """Want ``rest`` of a module, or of one inside of it."""
        modules = self._slicer.modules
        while rest and f"{name}.{rest.partition('.')[0]}" in modules:
            inner, _, rest = rest.partition(".")
            name = f"{name}.{inner}"
        if name not in modules:
            return
        space = self._slicer.module(name)
        assert space is not None
        if (
            rest
            and rest.partition(".")[0] not in space.names
            and not space.stars
            and "__getattr__" in space.names
        ):
            rest = "__getattr__"  # the module makes such names itself
        if rest:
            self._need(space, rest, len(space), source)
        else:
            self._whole(name, source)

    def _whole(self, name: str, source: int) -> None:
        space = self._slicer.module(name)
        for number in range(0 if space is None else len(space)):
            assert space is not None
            self._add(space, number, len(space), source)

    def _from_star(self, space: Space, use: str, before: int, source: int) -> bool:
        """Whether an import of everything brings a name: surely from a captured module, perhaps from another one."""
        base = use.partition(".")[0]
        perhaps = []
        for number in reversed(space.stars):
            for bound, module, _ in space.statements[number].imports:
                target = self._slicer.module(absolute(space, module))
                if bound != "*" or number >= max(before, self._end if space is self._main else before):
                    continue
                if target is None:
                    perhaps.append(number)
                elif base in target.names or target.stars:
                    self._add(space, number, before, source)
                    self._need(target, use, len(target), source)
                    return True
        for number in perhaps:
            self._add(space, number, before, source)
        return bool(perhaps)


def absolute(space: Space, module: str) -> str:
    """The full name of a module that is imported in `space`, perhaps relative to it."""
    if not module.startswith("."):
        return module
    name = module.lstrip(".")
    levels = len(module) - len(name)
    parts = (space.module or "").split(".")
    is_package = bool(space.pieces) and (space.pieces[0].path or "").endswith("__init__.py")
    parent = parts[: len(parts) - levels + is_package]
    return ".".join([*parent, *([name] if name else [])])
