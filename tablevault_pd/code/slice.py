"""Backward slices: of all that was executed, the statements that one of them needs.

A name that a statement uses leads to the statement that bound it last before; where that is an import of a captured
module, on into the module's namespace.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from tablevault_pd.code.calls import RANDOM, RUNNING_TEXT
from tablevault_pd.code.levels import StackLevels
from tablevault_pd.code.namespaces import Namespace, Piece, absolute
from tablevault_pd.code.order import are_free
from tablevault_pd.code.program import Program
from tablevault_pd.code.statements import begun

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tablevault_pd.capture.position import StackLevel
    from tablevault_pd.store.session_types import Part

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

_TEXTS = {shown: function for function, shown in RUNNING_TEXT.items()}


@dataclass(frozen=True, slots=True)
class Slice:
    """The statements that made something, in order of execution; equal to another if the syntax trees are, as far as order counts."""

    parts: tuple[Part, ...] = ()
    unresolved: tuple[str, ...] = ()  #: names that are used, and that no captured code defines

    @property
    def digest(self) -> str:
        """Equal for equal slices."""
        free = are_free(self.parts)
        anywhere = sorted(part.tree for part, is_free in zip(self.parts, free, strict=True) if is_free)
        in_order = [part.tree for part, is_free in zip(self.parts, free, strict=True) if not is_free]
        return blake2b("\n".join([*anywhere, "", *in_order]).encode(), digest_size=16).hexdigest()

    @property
    def text(self) -> str:
        """The code, each module's part below a comment with its path."""
        pieces: list[str] = []
        place: object = ()
        for part in self.parts:
            if (part.path, part.session_id, part.cell) != place:
                place = (part.path, part.session_id, part.cell)
                pieces.append(f"# {part.place or 'an earlier cell'}")
            pieces.append(part.text)
        return "\n".join(pieces) + "\n" * bool(pieces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slice) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


class Slicer:
    """Takes slices of what a session executed, in its own namespace and in the modules that it had imported."""

    def __init__(self, pieces: Sequence[Piece], modules: Iterable[Piece] = ()) -> None:
        self._program = Program(pieces, modules)
        self._main = self._program.main

    def continued(self, pieces: Sequence[Piece], modules: Iterable[Piece]) -> bool:
        """Take these in place of what it has, as far as they only go on from there; False, and nothing changed, where they do not."""
        return [*self._program.modules.values()] == [
            piece for piece in modules if piece.module
        ] and self._main.continued(pieces)

    def of_place(self, place: int | None, levels: Sequence[StackLevel] = ()) -> Slice:
        """What the statement of the last piece needs that `place` is in; without one, the whole piece and what it needs.

        Of `levels`, the functions that were under way below it, the statement under way and what it needs.
        """
        main = self._main
        last = len(main.pieces) - 1
        at = main.statements_at(last, place)
        roots = at or [number for number, owner in enumerate(main.owners) if owner == last]
        callers = at or (main.statements_at(last, levels[0].caller) if levels else [])
        if len(callers) == 1 and levels:
            way = StackLevels(self._program, main, callers[0], roots)
            way.follow(levels)
            return self._slice(way.roots, way)
        return self._slice(roots)

    def of_everything(self, first: tuple[int, int] | None = None, begin: int | None = None) -> Slice:
        """All that was executed from a (session, cell) on, and what it needs; of the last piece what did not end before `begin`."""
        main = self._main
        start = next(
            (number for number, piece in enumerate(main.pieces) if (piece.session_id, piece.cell) == first), 0
        )
        numbers = [number for number, owner in enumerate(main.owners) if owner >= start]
        of_last = [number for number in numbers if main.owners[number] == len(main.pieces) - 1]
        if begin is not None and of_last:
            places = [(main.statements[number].line, main.statements[number].end) for number in of_last]
            skipped = max(begun(places, main.pieces[-1].place(begin)) - 1, 0)
            numbers = [*numbers[: len(numbers) - len(of_last)], *of_last[skipped:]]
        return self._slice(numbers)

    def _slice(self, roots: Sequence[int], way: StackLevels | None = None) -> Slice:
        self._program.index(self._main if way is None else way.namespace)
        walk = _Walk(self._program, way)
        walk.add_roots(roots)
        walk.run()
        return walk.slice()


class _Walk:
    """One walk backwards."""

    def __init__(self, program: Program, way: StackLevels | None = None) -> None:
        self._program = program
        self._main = program.main
        self._replaced = {} if way is None else way.replaced
        self._bodies = [] if way is None else way.bodies
        # what the name that is followed does not lead to
        self._left_out: tuple[str | None, int] | None = None
        self._waiting: list[
            tuple[Namespace, int, int, int]
        ] = []  # namespace, statement, when it is called, main statement
        self._seen: set[tuple[str | None, int, int]] = set()
        self._chosen: dict[
            tuple[str | None, int], int
        ] = {}  # -> the first statement of the main namespace that led there
        self._unresolved: dict[str, None] = {}
        self._end = 0  # the last root

    def add_roots(self, numbers: Sequence[int]) -> None:
        """Want statements of the main namespace.

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
            namespace, number, called, source = self._waiting.pop()
            statement = namespace.statements[number]
            for use in statement.uses:
                self._left_out = self._replaced.get((number, use)) if namespace is self._main else None
                self._need(namespace, use, number, source)
                if called > number and (use in statement.hands or statement.kind == "def"):
                    self._need(namespace, use, number, source, called)
                if called > number and statement.kind == "class":
                    self._patches(namespace, use, number, called, source)
            self._left_out = None
            for use in statement.later:
                self._need(namespace, use, called, source)

    def slice(self) -> Slice:
        """What was found, in order of execution: a module before the statement that first needed it."""
        order = {name: number for number, name in enumerate([None, *self._program.modules])}
        first: dict[str | None, int] = {}
        for (name, _), source in self._chosen.items():
            first[name] = min(first.get(name, source), source)

        def place(chosen: tuple[str | None, int]) -> tuple[int, int, int]:
            name, number = chosen
            return (number, len(order), 0) if name is None else (first[name], order[name], number)

        def part(chosen: tuple[str | None, int]) -> Part:
            name, number = chosen
            namespace = self._main if name is None else self._program.module(name)
            assert namespace is not None
            return namespace.part(number)

        of_whole = {
            (None, number) for whole, numbers in self._bodies if whole in self._chosen for number in numbers
        }
        parts = tuple(dict.fromkeys(map(part, sorted(self._chosen.keys() - of_whole, key=place))))
        return Slice(parts, tuple(sorted(self._unresolved)))

    def _add(self, namespace: Namespace, number: int, called: int, source: int) -> None:
        source = min(source, number) if namespace is self._main else source
        key = (namespace.module, number)
        if key == self._left_out:
            return
        self._chosen[key] = min(self._chosen.get(key, source), source)
        if (*key, called if namespace.statements[number].later else -1) in self._seen:
            return
        self._seen.add((*key, called if namespace.statements[number].later else -1))
        self._waiting.append((namespace, number, called, source))
        if (header := namespace.headers[number]) is not None:
            for above in (header, *namespace.settings(header, number), *namespace.declarations(number)):
                self._add(namespace, above, above, min(source, above) if namespace is self._main else source)

    def _patches(self, namespace: Namespace, use: str, number: int, called: int, source: int) -> None:
        """Want what changed a base class in place after the class was made of it."""
        name = use.partition(".")[0]
        for later in namespace.names.get(name, ()):
            statement = namespace.statements[later]
            if number < later < called:
                if name in statement.names and name not in statement.alters:
                    return  # another class of that name
                self._add(namespace, later, later, source)

    def _need(
        self, namespace: Namespace, use: str, before: int, source: int, called: int | None = None
    ) -> None:
        """Want what a dotted name stood for when statement `before` began; in a function also later ones.

        `called` is when functions among it are called, if not then.
        """
        if use == RANDOM and namespace is not self._main:
            self._need(self._main, use, self._end, source)
        if ":" in use:
            module, _, attribute = use.partition(":")
            self._module(absolute(namespace, module), attribute, source)
            return
        base, _, rest = use.partition(".")
        if base in _TEXTS and _TEXTS[base] in namespace.names:
            return  # a function of one's own that is called ``eval``
        changed_from_outside = namespace is not self._main and self._changes_from_main(namespace, base)
        numbers = self._definitions(namespace, base, before)
        if not numbers:  # of a function that is called later than this statement runs
            end = self._end if namespace is self._main else len(namespace)
            numbers = self._definitions(namespace, base, end)
        for number in numbers:
            self._add(namespace, number, before if called is None else called, source)
            for inner in namespace.filled_by(number, base, before):
                self._add(namespace, inner, inner, source)
        for number in [*numbers, *namespace.import_behind(base, numbers)]:
            for bound, module, brought in namespace.statements[number].imports:
                if bound == base:
                    self._follow(
                        namespace,
                        module,
                        brought,
                        rest,
                        min(source, number) if namespace is self._main else source,
                    )
        if numbers or changed_from_outside or self._from_star(namespace, use, before, source):
            return
        if (namespace.module or "").startswith("%run "):
            self._need(self._main, use, source, source)  # a script that runs in the notebook's own namespace
        else:
            self._unresolved.update({} if base in GIVEN else {base: None})

    def _definitions(self, namespace: Namespace, name: str, before: int) -> list[int]:
        """As :meth:`Namespace.definitions`; at the end by the last root, and not by what stands behind it and has not run."""
        at_end = namespace is self._main and before == self._end
        return list(namespace.definitions(name, before, before - 1 if at_end else None))

    def _changes_from_main(self, namespace: Namespace, name: str) -> bool:
        """Want the statements of the main namespace that change a name of a module, as ``conf.RATE = 1`` does."""
        numbers = self._definitions(self._main, f"{namespace.module}:{name}", self._end)
        for number in numbers:
            self._add(self._main, number, number, number)
        return bool(numbers)

    def _follow(
        self, namespace: Namespace, module: str, attribute: str | None, rest: str, source: int
    ) -> None:
        name = absolute(namespace, module)
        if attribute is not None:
            rest = f"{attribute}.{rest}" if rest else attribute
        self._module(name, rest, source)

    def _module(self, name: str, rest: str, source: int) -> None:
        """Want ``rest`` of a module, or of one inside of it."""
        modules = self._program.modules
        while rest and f"{name}.{rest.partition('.')[0]}" in modules:
            inner, _, rest = rest.partition(".")
            name = f"{name}.{inner}"
        if name not in modules:
            return
        namespace = self._program.module(name)
        assert namespace is not None
        if (
            rest
            and rest.partition(".")[0] not in namespace.names
            and not namespace.stars
            and "__getattr__" in namespace.names
        ):
            rest = "__getattr__"  # the module makes such names itself
        if rest:
            self._need(namespace, rest, len(namespace), source)
        else:
            self._whole(name, source)

    def _whole(self, name: str, source: int) -> None:
        namespace = self._program.module(name)
        for number in range(0 if namespace is None else len(namespace)):
            assert namespace is not None
            self._add(namespace, number, len(namespace), source)

    def _from_star(self, namespace: Namespace, use: str, before: int, source: int) -> bool:
        """Whether an import of everything brings a name: surely from a captured module, perhaps from another one."""
        base = use.partition(".")[0]
        perhaps = []
        for number in reversed(namespace.stars):
            for bound, module, _ in namespace.statements[number].imports:
                target = self._program.module(absolute(namespace, module))
                if bound != "*" or number >= max(before, self._end if namespace is self._main else before):
                    continue
                if target is None:
                    perhaps.append(number)
                elif base in target.names or target.stars:
                    self._add(namespace, number, before, source)
                    self._need(target, use, len(target), source)
                    return True
        for number in perhaps:
            self._add(namespace, number, before, source)
        return bool(perhaps)
