"""Which names one statement binds, changes and looks up, by Python's rules of scope."""

from __future__ import annotations

import ast
from typing import Any

from tablevault_pd.code.call_notes import note_call, note_lambdas
from tablevault_pd.code.calls import IMPORTING, dotted, is_of_display, root, without_labels
from tablevault_pd.code.notes import StatementNotes
from tablevault_pd.code.scopes import NameScope
from tablevault_pd.code.sharing import (
    HOLDS,
    ITEM,
    RETURNED,
    SAME,
    STAND_IN,
    Change,
    held_by,
    held_in,
    shares_of_elements,
    shares_of_pattern,
    shares_of_targets,
    sources_of,
)
from tablevault_pd.code.syntax import CHILDREN, COMPREHENSIONS, FUNCTIONS, kept_defaults, named_defaults


class Finder(StatementNotes):
    """Walks over one top-level statement."""

    # -- walking

    def walk(self, node: Any, scope: NameScope) -> None:
        """Take note of what a node does in a scope."""
        _HANDLERS[node.__class__](self, node, scope)

    def _children(self, node: Any, scope: NameScope) -> None:
        for name in CHILDREN[node.__class__]:
            value = getattr(node, name, None)
            if value.__class__ is list:
                self._each(value, scope)
            elif value is not None and value.__class__ is not ast.Constant:
                _HANDLERS[value.__class__](self, value, scope)

    def _each(self, nodes: Any, scope: NameScope) -> None:
        for node in nodes:
            if node is not None and node.__class__ is not ast.Constant:
                _HANDLERS[node.__class__](self, node, scope)

    def _name(self, node: ast.Name, scope: NameScope) -> None:
        if node.ctx.__class__ is ast.Load:
            self.look_up(node.id, scope)
            if scope is self.module:
                self.hands[node.id] = None
        elif node.ctx.__class__ is ast.Store:
            self._bind(node.id, scope)

    def _attribute(self, node: ast.Attribute, scope: NameScope) -> None:
        chain = dotted(node)
        if node.ctx.__class__ is not ast.Load and is_of_display(node):
            self.walk(node.value, scope)
        elif node.ctx.__class__ is not ast.Load:
            self.change(node, scope, binds=True)
            if scope is self.module and isinstance(node.value, ast.Name):
                self.look_up(f"{node.value.id}.{node.attr}", scope)
            else:
                self.walk(node.value, scope)
        elif chain is None:
            self.walk(node.value, scope)
        else:
            self.look_up(chain, scope)
            if scope is self.module:
                self.hands[chain] = None

    def _assign(self, node: Any, scope: NameScope) -> None:
        targets = getattr(node, "targets", None) or [node.target]
        scope.shares.extend(shares_of_targets(targets, node.value))
        for target in targets:
            self.note_result(target, node.value)
            if scope is self.module and target.__class__ is ast.Name:
                self._note_alias(target.id, node.value)
        self._children(node, scope)

    def _note_alias(self, name: str, value: Any) -> None:
        """Note a second name of the same object, and one of a module: ``m = importlib.import_module("m")``."""
        kind = value.__class__
        if kind is ast.Name:
            self.aliases.append((name, value.id))
        elif kind is ast.Attribute:
            if (chain := dotted(value)) is not None:
                self.attributes.append((name, chain))
        elif kind is ast.Call and value.args and dotted(value.func) in IMPORTING:
            module = getattr(value.args[0], "value", None)
            if isinstance(module, str):
                self.imports.append((name, module, None))

    def _with(self, node: Any, scope: NameScope) -> None:
        for item in node.items:
            self.note_result(item.optional_vars, item.context_expr)
            if item.optional_vars is not None:
                scope.shares.extend(shares_of_targets([item.optional_vars], item.context_expr))
            if (chain := dotted(item.context_expr)) is not None:
                self.look_up(f"{chain}.__enter__", scope)
                self.look_up(f"{chain}.__exit__", scope)
        self._each(node.items, scope)
        self._be_certain([with_item.optional_vars for with_item in node.items], scope)
        self._each(node.body, scope)

    def _for(self, node: Any, scope: NameScope) -> None:
        scope.shares.extend(shares_of_elements(node.target, node.iter))
        self._each([node.iter, node.target], scope)
        self._be_certain([node.target], scope)
        self._each([*node.body, *node.orelse], scope)

    def _be_certain(self, targets: Any, scope: NameScope) -> None:
        for target in targets:
            if target.__class__ is ast.Name:
                scope.certain.add(target.id)
            elif target is not None:
                scope.certain.update(
                    name_node.id for name_node in ast.walk(target) if isinstance(name_node, ast.Name)
                )

    def _subscript(self, node: ast.Subscript, scope: NameScope) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.change(node.value, scope)
        self.walk(node.value, scope)
        self.walk(node.slice, scope)

    def _augmented(self, node: ast.AugAssign, scope: NameScope) -> None:
        if isinstance(node.target, ast.Name):
            scope.loads[node.target.id] = None
            grows = node.value.__class__ in (ast.List, ast.ListComp)  # which is added to no number
            self.change(node.target, scope, grows=grows, adds=True)
            scope.shares += [(node.target.id, *held) for held in held_by(node.value)]
        self.walk(node.target, scope)
        self.walk(node.value, scope)

    def _bind(self, name: str, scope: NameScope) -> None:
        if name in scope.nonlocals:
            self.keeps_state = True
        elif name in scope.declared:
            self.writes[name] = None
        else:
            scope.bound[name] = None

    def _call(self, node: ast.Call, scope: NameScope, *, is_kept: bool = True) -> None:
        note_call(self, node, scope, is_kept=is_kept)
        if (chain := dotted(node.func)) is None:
            self.walk(node.func, scope)
        else:
            self.look_up(chain, scope)
        self._each(node.args, scope)
        self._each(without_labels(node) if node.keywords else (), scope)
        if self.lambdas:
            note_lambdas(self, node, scope)

    def _expression(self, node: ast.Expr, scope: NameScope) -> None:
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(value, ast.Call):
            self._call(value, scope, is_kept=False)
        else:
            self.walk(node.value, scope)

    def _return(self, node: ast.Return, scope: NameScope) -> None:
        sources = [*scope.current_sources(node.value), *held_in(node.value)]
        scope.shares.extend((RETURNED, scope.current(name), how) for name, how in sources)
        self._children(node, scope)

    def _delete(self, node: ast.Delete, scope: NameScope) -> None:
        for target in node.targets:
            if not isinstance(target, ast.Name):
                self.walk(target, scope)

    def _global(self, node: ast.Global, scope: NameScope) -> None:
        scope.declared.update(node.names)

    def _nonlocal(self, node: ast.Nonlocal, scope: NameScope) -> None:
        scope.nonlocals.update(node.names)

    # -- modules

    def _import(self, node: ast.Import, scope: NameScope) -> None:
        for alias in node.names:
            bound = alias.asname or alias.name.partition(".")[0]
            module = alias.name if alias.asname else bound
            self._imported(bound, module, None, scope)
            if not alias.asname and "." in alias.name and scope is self.module:
                self.imports.append(("", alias.name, None))  # it is executed, and found through the first

    def _import_from(self, node: ast.ImportFrom, scope: NameScope) -> None:
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            self._imported(alias.asname or alias.name, module, alias.name, scope)

    def _imported(self, bound: str, module: str, attribute: str | None, scope: NameScope) -> None:
        if scope is self.module:
            self.imports.append((bound, module, attribute))
        else:
            scope.modules[bound] = (module, attribute)
            if attribute is not None:
                scope.loads[f"{module}:{attribute}"] = None
        if bound != "*":
            self._bind(bound, scope)

    # -- scopes

    def _function(self, node: Any, scope: NameScope) -> None:
        self._bind(node.name, scope)
        self._each(node.decorator_list, scope)
        if scope is self.module:
            self._register(node.decorator_list)
        inner = self._parameters(node.args, scope)
        self._each([node.returns], scope)
        for parameter in getattr(node, "type_params", ()):
            inner.bound[parameter.name] = None
        if scope is self.module:
            self.function = inner
            self.defaults += named_defaults(node.args)
        others, self.passes = self.passes, {}
        for statement in node.body:
            self.walk(statement, inner)
            self._rebind(statement, inner)
        if any((dotted(decorator) or "").endswith("contextmanager") for decorator in node.decorator_list):
            given = [inner_node.value for inner_node in ast.walk(node) if isinstance(inner_node, ast.Yield)]
            inner.shares += [
                (RETURNED, *source) for value in given for source in inner.current_sources(value)
            ]
        defaults = list(kept_defaults(node.args)) if scope is self.module else []
        if defaults and not inner.changed().keys().isdisjoint(defaults):
            self.writes[node.name] = None  # each call finds what the one before has left
        if scope.kind == "class" and scope.outer is self.module:
            bound = not any(dotted(decorator) == "staticmethod" for decorator in node.decorator_list)
            self.methods.append((node.name, inner, bound, tuple(self.passes)))
        self.passes = others | self.passes
        self._close(inner, later=True)

    @staticmethod
    def _rebind(statement: ast.stmt, scope: NameScope) -> None:
        """Give a parameter another name from where it stands for another object: ``df = df.copy()``."""
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if (
            not isinstance(target, ast.Name)
            or target.id not in scope.parameters
            or target.id in scope.rebound
        ):
            return
        sources = sources_of(statement.value)  # type: ignore[attr-defined]
        if (target.id, SAME) not in sources:
            scope.shares = [share for share in scope.shares if share[:2] != (target.id, target.id)]
            scope.rebound.add(target.id)
            scope.shares += [(scope.current(target.id), *source) for source in sources]

    def _register(self, decorators: list[ast.expr]) -> None:
        """Note the objects that a decorator such as ``@app.cell`` or ``@app.route("/")`` adds the function to."""
        for decorator in decorators:
            target = decorator.func if isinstance(decorator, ast.Call) else decorator
            if isinstance(target, ast.Attribute) and (base := root(target)) is not None:
                self.touches[Change(base)] = None
                self.note_path(target.value, base, self.module)

    def _lambda(self, node: ast.Lambda, scope: NameScope) -> None:
        inner = self._parameters(node.args, scope)
        if scope is self.module and self.function is None:
            self.function = inner
            self.defaults += named_defaults(node.args)
        inner.shares.extend((RETURNED, name, how) for name, how in sources_of(node.body))
        others, self.passes = self.passes, {}
        self.walk(node.body, inner)
        changes = not inner.changed().keys().isdisjoint(inner.bound)
        self.lambdas[id(node)] = [*inner.bound], changes, self.passes
        self.passes = others | self.passes
        self._close(inner, later=True)

    def _parameters(self, arguments: ast.arguments, scope: NameScope) -> NameScope:
        inner = NameScope("function", scope)
        self._each([*arguments.defaults, *arguments.kw_defaults], scope)
        several = [*arguments.posonlyargs, *arguments.args]
        inner.parameters = [argument.arg for argument in several]
        inner.parameters += [f"*{arguments.vararg.arg}"] if arguments.vararg else []
        inner.parameters += [argument.arg for argument in arguments.kwonlyargs]
        inner.parameters += [f"**{arguments.kwarg.arg}"] if arguments.kwarg else []
        for argument in [*several, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
            if argument is not None:
                inner.bound[argument.arg] = None
                self._each([argument.annotation], scope)
        return inner

    def _class(self, node: ast.ClassDef, scope: NameScope) -> None:
        self._each([*node.decorator_list, *node.bases, *node.keywords], scope)
        inner = NameScope("class", scope)
        for parameter in getattr(node, "type_params", ()):
            inner.bound[parameter.name] = None
        self._each(node.body, inner)
        self._close(inner, later=False)
        attributes = {f"{ITEM}.{name}" for name in inner.bound}
        changes = [change.path for _, method, _, _ in self.methods for change in method.changes]
        if scope is self.module and not attributes.isdisjoint(changes):
            self.writes[node.name] = None  # ``self.rows.append(1)`` of what all objects of the class have
        scope.shares.extend(
            (node.name, source, f"{HOLDS}.{name}") for name, source, how in inner.shares if how == SAME
        )
        self._bind(node.name, scope)

    def _comprehension(self, node: Any, scope: NameScope) -> None:
        inner = NameScope("comprehension", scope)
        self.walk(node.generators[0].iter, scope)
        for number, generator in enumerate(node.generators):
            inner.shares.extend(shares_of_elements(generator.target, generator.iter))
            self.walk(generator.target, inner)
            self._each(generator.ifs if number == 0 else [generator.iter, *generator.ifs], inner)
        self._each([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt], inner)
        self._close(inner, later=False)

    def _walrus(self, node: ast.NamedExpr, scope: NameScope) -> None:
        self.walk(node.value, scope)
        shares = shares_of_targets([node.target], node.value)
        while scope.kind == "comprehension" and scope.outer is not None:
            shares += [
                (name, outer, ITEM) for name, source, _ in shares for outer in scope.outside(source)[1:]
            ]
            scope = scope.outer
        scope.shares.extend(shares)
        self._bind(node.target.id, scope)

    def _match(self, node: ast.Match, scope: NameScope) -> None:
        for case in node.cases:
            scope.shares.extend(shares_of_pattern(case.pattern, node.subject))
        self._children(node, scope)

    def _handler(self, node: ast.ExceptHandler, scope: NameScope) -> None:
        if node.name is not None:
            self._bind(node.name, scope)
            scope.certain.add(node.name)
        self._children(node, scope)

    def _capture(self, node: Any, scope: NameScope) -> None:
        name = node.rest if isinstance(node, ast.MatchMapping) else node.name
        if name is not None:
            self._bind(name, scope)
        self._children(node, scope)

    def _close(self, inner: NameScope, *, later: bool) -> None:
        """End a scope. What a function changes that it does not bind is global, or a variable of a function around it."""
        inner.close(later=later)
        for name in inner.changed() if later else ():
            if name in inner.bound or name.startswith(STAND_IN):
                continue
            if inner.is_of_outer_function(name):
                self.keeps_state = True
            else:
                self.writes[name] = None


def _leaf(finder: Finder, node: Any, scope: NameScope) -> None:
    """Nothing in there is a name."""


class _Handlers(dict[type, Any]):
    """What is done with each kind of node."""

    def __missing__(self, kind: type) -> Any:
        self[kind] = Finder._children if CHILDREN[kind] else _leaf
        return self[kind]


_SPECIAL: dict[type, Any] = {
    ast.Name: Finder._name,
    ast.Attribute: Finder._attribute,
    ast.Subscript: Finder._subscript,
    ast.AugAssign: Finder._augmented,
    ast.Assign: Finder._assign,
    ast.AnnAssign: Finder._assign,
    ast.Call: Finder._call,
    ast.Expr: Finder._expression,
    ast.Delete: Finder._delete,
    ast.Return: Finder._return,
    ast.Global: Finder._global,
    ast.Nonlocal: Finder._nonlocal,
    ast.Import: Finder._import,
    ast.ImportFrom: Finder._import_from,
    ast.Lambda: Finder._lambda,
    ast.ClassDef: Finder._class,
    ast.NamedExpr: Finder._walrus,
    ast.ExceptHandler: Finder._handler,
    ast.With: Finder._with,
    ast.AsyncWith: Finder._with,
    ast.For: Finder._for,
    ast.AsyncFor: Finder._for,
    ast.Match: Finder._match,
    ast.MatchAs: Finder._capture,
    ast.MatchStar: Finder._capture,
    ast.MatchMapping: Finder._capture,
    ast.Constant: _leaf,
    **dict.fromkeys(FUNCTIONS, Finder._function),
    **dict.fromkeys(COMPREHENSIONS, Finder._comprehension),
}
_HANDLERS = _Handlers(_SPECIAL)

__all__ = ["Finder"]
