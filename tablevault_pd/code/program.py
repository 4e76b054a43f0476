"""What statements bind beside what they say: through functions that change their arguments or global names."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property, partial
from typing import TYPE_CHECKING

from tablevault_pd.code.call_graph import Callee, CallGraph, changed_arguments, parameter_of
from tablevault_pd.code.calls import ANY_PLACE, CHANGING, RANDOM
from tablevault_pd.code.namespaces import Namespace, Piece, absolute, split
from tablevault_pd.code.objects import Objects
from tablevault_pd.code.sharing import HOLDS, ITEM, MADE, STAND_IN, Change
from tablevault_pd.code.statements import Statement, inner_functions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from tablevault_pd.code.call_graph import HandedOn
    from tablevault_pd.code.calls import Call
    from tablevault_pd.code.sharing import Share

PACKAGE = "tablevault_pd"
#: Calls that return a vault, a list or a session; :meth:`read` and others return what is the user's own.
_HANDING = frozenset(["connect", "current_vault", "session", "save", "append", "restore"])
_LONGEST_CHAIN = 16  # of names that stand for each other, which may go in a circle


class Program:
    """What a session executed: its own namespace and those of captured modules, each with which statement binds what."""

    def __init__(self, pieces: Sequence[Piece], modules: Iterable[Piece] = ()) -> None:
        self.main = Namespace(pieces)
        self.modules: dict[str, Piece] = {piece.module: piece for piece in modules if piece.module}
        self._namespaces: dict[
            str, Namespace
        ] = {}  # of the modules that were needed: a project may have a thousand
        self._methods: dict[str, list[tuple[Namespace, Statement]]] = {}
        self._handles: dict[str | None, set[str]] = {}
        self._changing = CallGraph(lambda function: function.statement.changes, self._handing_on)
        self._writing = CallGraph(self._own_writes, self._used_later)

    def index(self, main: Namespace) -> None:
        """Note which statement of the session's own namespace binds what."""
        self.main = main
        self._index(main)

    def _index(self, namespace: Namespace) -> None:
        namespace.effects = namespace.effects or self._effects(namespace)
        namespace.index()

    def _forget(self) -> None:
        self._changing.forget()
        self._writing.forget()

    def inner(self, module: str, brought: str | None, rest: str) -> tuple[str, str]:
        """The module that a dotted name behind an import leads into, and what is left of the name there."""
        rest = ".".join(filter(None, (brought, rest)))
        while rest and f"{module}.{_base(rest)}" in self.modules:
            first, _, rest = rest.partition(".")
            module = f"{module}.{first}"
        return module, rest

    def module(self, name: str) -> Namespace | None:
        """A captured module, with which of its statements bind or change what."""
        namespace = self._bound(name)
        if namespace is not None:
            self._index(namespace)
        return namespace

    def _bound(self, name: str) -> Namespace | None:
        """A captured module, with what binds its names in the end.

        That is all that other modules ask of it, so that none waits for another one to be indexed: they may import each other,
        in circles and in chains of hundreds.
        """
        if name not in self._namespaces and name in self.modules:
            namespace = Namespace([self.modules[name]], name)
            namespace.bind()
            self._namespaces[name] = namespace
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
            modules = [self._bound(module) for module in self._modules_by_method.get(name, ())]
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
        """For each statement the names that it binds or changes; ``module:name`` where that is one of a captured module.

        It can go on when there are more statements.
        """
        current: dict[str, int] = {}
        handles: set[str] = (
            set()
        )  # names of vaults, lists and sessions: what is called of these changes no name
        objects, imported, numpy = Objects(), set[str](), set[str]()
        # name -> what is changed where it is used: ``thread = Thread(target=add, args=(rows,))``
        waiting: dict[str, set[str]] = {}
        for number, statement in enumerate(namespace.statements):
            self._forget()
            apart = imported | handles
            numpy |= {bound for bound, module, _ in statement.imports if _base(module) == "numpy"}
            arrays = {name for name, source in statement.results if _base(source) in numpy}
            returned = self._returned(namespace, statement, current)
            if statement.block == "loop":  # what a turn binds, the next one may change
                for inner in namespace.statements[number : namespace.ends.get(number, number)]:
                    shares = [*inner.shares, *self._returned(namespace, inner, current)]
                    by_origin = self._by_origin(namespace, shares, imported, current)
                    objects.bind(inner._replace(sure=False), by_origin, apart, ())
            if number in namespace.under_way or not namespace.always_runs(number):
                statement = statement._replace(sure=False)
            others_of: list[Share] = []
            if statement.kind == "def":
                others_of += [
                    (name, default, HOLDS)
                    for name in statement.names
                    for _, default in statement.defaults
                    if default
                ]
            names = dict.fromkeys(statement.names)
            for name in statement.touches:
                if name in current and name not in handles and name not in imported:
                    names[name] = None
            for name in [*statement.touches, *statement.alters]:
                owner = _base(self._other_name(namespace, name, current))
                if owner != name and owner in current and owner not in imported:
                    names[owner] = None  # of ``rows = box.rows``
            passed = list(self._changed_by(namespace, statement.calls, current))
            names |= dict.fromkeys(passed)
            others = [self._other_name(namespace, use, current) for use in statement.uses if use in current]
            may_write = dict.fromkeys([*statement.uses, *others])
            written = list(self._writes(namespace, may_write, current))
            names |= dict.fromkeys(written)
            with_state = list(self._with_state(namespace, statement.uses, current))
            for name, chain in statement.attributes:
                if name in statement.uses and chain.rpartition(".")[2] in CHANGING:
                    with_state.append(_base(chain))  # of ``add = rows.append``, which a block binds and calls
            names |= dict.fromkeys(with_state)
            handed = self._handed_on(namespace, statement, current)
            for name in waiting.keys() & map(_base, statement.uses) if waiting else ():
                handed |= waiting[name]
            names |= dict.fromkeys(sorted(handed))
            for function, arguments in statement.calls if with_state else ():
                if (owner := _base(function)) != function and owner in with_state:  # ``box.put(rows)``
                    others_of += [(owner, argument, HOLDS) for _, argument in arguments]
            # ``x = up()``, which returns what it keeps
            others_of += [(maker, name, HOLDS) for name, maker in statement.results if maker in with_state]
            changes = [change for change in statement.changed if change.name not in apart]
            others = [*passed, *written, *(name for name in names if name not in statement.names)]
            changes += map(Change, others)
            changes += [Change(name, ITEM) for name in with_state]
            # ``b = [h(b)]`` changes what the name stood for; a block that is one statement, what it binds in it.
            names |= dict.fromkeys(objects.reached(changes))
            all_shares = [*statement.shares, *returned, *others_of]
            by_origin = self._by_origin(namespace, all_shares, imported, current)
            objects.bind(statement, by_origin, apart, arrays)
            names |= dict.fromkeys(objects.reached(changes))
            inside = [name for name in names if split(name)[1]]
            names |= dict.fromkeys(self._of_modules(namespace, [*statement.paths, *inside], current))
            effect = tuple(
                [
                    name
                    for name in names
                    if (name in statement.names or name not in handles)
                    and not name.startswith(STAND_IN)
                    and name not in inside
                ]
            )
            for name in statement.bound if waiting else ():
                waiting.pop(name, None)
            if handed:
                owners = [_base(function) for function, _ in statement.calls if "." in function]
                for name in [*statement.bound, *owners]:
                    if name not in imported:
                        waiting.setdefault(name, set()).update(handed)
            imported.difference_update(statement.names)
            imported.update([bound for bound, _, _ in statement.imports if bound])
            handles = handles.difference(statement.names) | handles_of(statement, handles)
            if number not in namespace.under_way:
                current.update(dict.fromkeys(statement.bound, number))
            for name in names:
                current.setdefault(name, number)
            yield effect

    def _handed_on(self, namespace: Namespace, statement: Statement, current: Mapping[str, int]) -> set[str]:
        """The names that functions change which a statement hands on: in it, or when what it binds is used."""
        calls = [call for call in statement.calls if call[1][:1] and call[1][0][0] == ANY_PLACE]
        handed = {*statement.handed, *self._changed_by(namespace, calls, current)}
        return handed if statement.kind in ("def", "class") else handed.union(statement.writes)

    def _of_modules(
        self, namespace: Namespace, paths: Iterable[str], current: Mapping[str, int]
    ) -> Iterator[str]:
        """The names of captured modules that stand for what a statement changes: ``conf.RATE = 1`` is ``conf:RATE``."""
        for path in paths:
            origin = self.origin(namespace, path, current)
            if origin is not None and not self._is_handle(*origin[:2]):
                yield f"{origin[0].module}:{origin[1]}"

    def _by_origin(
        self,
        namespace: Namespace,
        shares: Iterable[Share],
        imported: Collection[str],
        current: Mapping[str, int],
    ) -> Iterator[Share]:
        """The same shares; what comes from a captured module by the name that it has there: ``rows = conf.ROWS``."""
        for name, chain, how in shares:
            base, path = split(chain)
            if base not in imported:
                if not path:
                    yield name, chain, how
                continue
            origin = self.origin(namespace, chain, current)
            if origin is not None and not self._is_handle(*origin[:2]):
                target, source, rest = origin
                made = target.bindings.get(source)
                in_module = f"{target.module}:{source}"
                if made is not None and (source, "", MADE) in target.statements[made].shares:
                    yield in_module, "", MADE
                yield name, in_module, f"{ITEM}.{_base(rest)}" if rest else how

    def _is_handle(self, target: Namespace, name: str) -> bool:
        """Whether a name of a module stands for another module, or for a vault, a list or a session."""
        imports = target.statements[target.bindings[name]].imports if name in target.bindings else ()
        return any(bound == name for bound, _, _ in imports) or name in self._handles_of(target)

    def _handles_of(self, module: Namespace) -> set[str]:
        """The names of vaults, lists and sessions of a module."""
        if module.module not in self._handles:
            handles: set[str] = set()
            for statement in module.statements:
                handles = handles.difference(statement.names) | handles_of(statement, handles)
            self._handles[module.module] = handles
        return self._handles[module.module]

    def origin(
        self, namespace: Namespace, path: str, current: Mapping[str, int]
    ) -> tuple[Namespace, str, str] | None:
        """(module, name in it, rest) of a dotted name that leads into a captured module, through whatever imports it again."""
        visited: set[tuple[str | None, str]] = set()
        origin: tuple[Namespace, str, str] | None = None
        while (namespace.module, path) not in visited:
            visited.add((namespace.module, path))
            inner = self._imported_path(namespace, path, current)
            if inner is None:
                break
            namespace, path = inner
            current = namespace.bindings
            name, _, rest = path.partition(".")
            origin = namespace, name, rest
        return origin

    def _imported_path(
        self, namespace: Namespace, path: str, current: Mapping[str, int]
    ) -> tuple[Namespace, str] | None:
        """The captured module that a dotted name is imported from, and what is left of the name there."""
        if ":" in path:
            module, _, rest = path.partition(":")
            target = self._bound(absolute(namespace, module))
            return None if target is None else (target, rest)
        base, _, rest = path.partition(".")
        if base not in current:
            return self._starred(namespace, path)
        for bound, module, brought in namespace.statements[current[base]].imports:
            if bound != base:
                continue
            name, rest = self.inner(absolute(namespace, module), brought, rest)
            target = self._bound(name)
            return (target, rest) if target is not None and rest else None
        return None

    def _starred(self, namespace: Namespace, path: str) -> tuple[Namespace, str] | None:
        """The captured module that brings a name by an import of everything, perhaps through others."""
        modules, waiting = {namespace.module}, [namespace]
        while waiting:
            importing = waiting.pop()
            if importing is not namespace and _base(path) in importing.bindings:
                return importing, path
            for number in importing.stars:
                for _, module, _ in importing.statements[number].imports:
                    target = self._bound(absolute(importing, module))
                    if target is not None and target.module not in modules:
                        modules.add(target.module)
                        waiting.append(target)
        return None

    def changed_by(self, namespace: Namespace, call: Call) -> list[str] | None:
        """The arguments that a call changes; None if no captured text has its function."""
        self._forget()
        current = namespace.bindings
        if not any(True for _ in self._called(namespace, call[0], current)):
            return None
        return list(self._changed_by(namespace, [call], current))

    def _changed_by(
        self, namespace: Namespace, calls: Iterable[Call], current: Mapping[str, int]
    ) -> Iterator[str]:
        """The names that calls change, because their functions do, or functions that these hand them on to."""
        for call in calls:
            for where, defined in self._called(namespace, call[0], current):
                changes: Collection[str] = defined.changes
                if defined.passes:
                    now = current if where is namespace else where.bindings
                    changes = self._changing.names(Callee(where, defined, now))
                yield from changed_arguments(defined, call, changes)

    def _handing_on(self, function: Callee) -> Iterator[tuple[Callee, HandedOn]]:
        """The functions that a function calls, each with which names it changes if that one changes these."""
        for call in function.statement.passes:
            for where, defined in self._called(function.namespace, call[0], function.current):
                now = function.current if where is function.namespace else where.bindings
                yield Callee(where, defined, now), partial(changed_arguments, defined, call)

    def _returned(
        self, namespace: Namespace, statement: Statement, current: Mapping[str, int]
    ) -> Iterator[Share]:
        """What names share with arguments of the functions that returned their values, and with what these return besides."""
        for name, function in statement.results:
            definitions = list(self._called(namespace, function, current))
            for where, defined in definitions:
                for source, how in defined.returns:
                    if source in dict(defined.defaults):
                        source = dict(defined.defaults)[source] or _base(function)
                    elif source in defined.parameters or _base(source) not in map(_base, defined.later):
                        continue
                    yield name, source if where is namespace else f"{where.module}:{source}", how
            keeps = self._is_class(namespace, function, current) or any(
                defined.keeps_state for _, defined in definitions
            )
            for called, arguments in statement.calls:
                if called != function:
                    continue
                if keeps:
                    yield from ((name, argument, HOLDS) for _, argument in arguments)
                for _, defined in definitions:
                    returns = defaultdict(list)
                    for parameter, how in defined.returns:
                        returns[parameter].append(how)
                    for place, argument in arguments:
                        places = returns if place == ANY_PLACE else [parameter_of(defined, place) or ""]
                        for how in [how for one in places for how in returns[one]]:
                            yield name, argument, how

    def _called(
        self, namespace: Namespace, function: str, current: Mapping[str, int]
    ) -> Iterator[tuple[Namespace, Statement]]:
        """The definition of a function of this namespace or of a captured module, and where it stands.

        Of a method all that are called so: which class an object is of is not known.
        """
        function = self._other_name(namespace, function, current)
        base, rest = split(function)
        at = current.get(base)
        statement = None if at is None else namespace.statements[at]
        if statement is not None and statement.kind == "def" and not rest:
            yield namespace, statement
        elif (origin := self.origin(namespace, function, current)) is not None:
            yield from self._functions(*origin)
        elif rest:
            yield from self._methods_called(rest.rpartition(".")[2])

    def _functions(self, target: Namespace, name: str, rest: str) -> Iterator[tuple[Namespace, Statement]]:
        """The functions of that name of a module; of what stands in it the methods."""
        if rest:
            yield from self._methods_called(rest.rpartition(".")[2])
            return
        for statement in target.statements:
            if statement.kind == "def" and statement.names == (name,):
                yield target, statement

    def _other_name(self, namespace: Namespace, name: str, current: Mapping[str, int]) -> str:
        """What a name is another one of: ``obj.fix`` after ``f = obj.fix``, ``g`` after ``f = g``."""
        for _ in range(_LONGEST_CHAIN):
            at = current.get(name)
            statement = None if at is None else namespace.statements[at]
            others = [] if statement is None else [*statement.attributes, *statement.aliases]
            other = next((source for bound, source in others if bound == name), None)
            if other is None:
                break
            name = other
        return name

    def _with_state(
        self, namespace: Namespace, uses: Sequence[str], current: Mapping[str, int]
    ) -> Iterator[str]:
        """What is changed by the functions and methods that a statement may call, because they keep something.

        Such are ``count()`` after ``count = make_counter()``, ``obj.fix(x)`` of a class of one's own, ``add(x)`` after
        ``add = rows.append``.
        """
        for use in uses:
            if ":" in use:
                yield from self._with_state_of_module(namespace, use)
                continue
            chain = self._other_name(namespace, use, current)
            base, _, method = chain.partition(".")
            method = method.rpartition(".")[2]
            if base not in current:
                continue
            if chain != use and method in CHANGING:
                yield base
            made = _base(self._other_name(namespace, base, current))
            makers = [
                maker
                for one in {base, made} & current.keys()
                for bound, maker in namespace.statements[current[one]].results
                if bound == one
            ]
            if namespace.statements[current[base]].kind == "class":
                makers = [base]
            classes = [maker for maker in makers if self._is_class(namespace, maker, current)]
            functions = self._methods_called(method or "__call__") if classes else []
            if not method:
                functions += [made for maker in makers for made in self._called(namespace, maker, current)]
            if any(function.keeps_state for _, function in functions):
                yield base

    def _with_state_of_module(self, namespace: Namespace, use: str) -> Iterator[str]:
        """As :meth:`_with_state`, of a name of a captured module."""
        module, _, path = use.partition(":")
        target = self._bound(absolute(namespace, module))
        for name in () if target is None else self._with_state(target, [path], target.bindings):
            yield f"{module}:{name}"

    def _is_class(self, namespace: Namespace, name: str, current: Mapping[str, int]) -> bool:
        """Whether a dotted name stands for a class of this namespace or of a captured module."""
        if name in current and namespace.statements[current[name]].kind == "class":
            return True
        origin = self.origin(namespace, name, current)
        if origin is None or origin[2] or origin[1] not in origin[0].bindings:
            return False
        return origin[0].statements[origin[0].bindings[origin[1]]].kind == "class"

    def _writes(self, namespace: Namespace, uses: Iterable[str], current: Mapping[str, int]) -> Iterator[str]:
        """The global names that functions change which statements may call; those of other modules as ``module:name``."""
        own = f"{namespace.module}:"
        for use in uses:
            for function in self._used(namespace, use, current):
                for name in self._writing.names(function):
                    yield name.removeprefix(own)

    def _own_writes(self, function: Callee) -> Iterator[str]:
        """The global names that a function or class changes by itself, and by handing them on."""
        namespace, statement, current = function
        handed_on = dict.fromkeys(self._changed_by(namespace, statement.passes, current))
        global_names = {_base(later) for later in statement.later} if handed_on else ()
        defaults = [
            default or name
            for parameter, default in statement.defaults
            for name in statement.names
            if parameter in handed_on or parameter in statement.changes
        ]
        for name in (*statement.writes, *(name for name in handed_on if name in global_names), *defaults):
            is_whole = not function.is_of_module or name == RANDOM or ":" in name
            yield name if is_whole else f"{namespace.module}:{name}"

    def _used_later(self, function: Callee) -> Iterator[tuple[Callee, HandedOn]]:
        """The functions and classes that a function may call, which write for it."""
        for use in function.statement.later:
            for used in self._used(function.namespace, use, function.current):
                yield used, iter

    def _used(self, namespace: Namespace, use: str, current: Mapping[str, int]) -> Iterator[Callee]:
        """The functions and classes that a name leads to; of a method what has made its object."""
        visited: set[tuple[str | None, str]] = set()
        waiting = [(namespace, use, current)]
        while waiting:
            where, path, now = waiting.pop()
            base = _base(path)
            at = now.get(base)
            statement = None if at is None else where.statements[at]
            is_import = statement is not None and bool(statement.imports)
            origin = self.origin(where, path, now) if is_import or ":" in path else None
            if origin is not None and (origin[0].module, origin[1]) not in visited:
                visited.add((origin[0].module, origin[1]))
                waiting.append((origin[0], origin[1], origin[0].bindings))
            if statement is None or is_import:
                continue
            if statement.kind in ("def", "class"):
                yield Callee(where, statement, now)
            elif base != path:
                made = [source for name, source in statement.results if name == base and "." not in source]
                waiting += [(where, maker, now) for maker in made]


def _base(name: str) -> str:
    """The first part of a dotted name."""
    return split(name)[0]


def handles_of(statement: Statement, handles: set[str]) -> set[str]:
    """The names that a statement binds to this library, or to a vault, list or session of it."""
    names = {
        bound
        for bound, module, _ in statement.imports
        if module.partition(".")[0] == PACKAGE and bound != "*"
    }
    for name, source in (*statement.results, *statement.aliases):
        base, rest = split(source)
        if (base in handles or base in names) and (not rest or rest in _HANDING):
            names.add(name)  # ``tv.connect("exp")``, ``vault["runs"]``
    return names
