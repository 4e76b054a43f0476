"""What a walk over one statement notes of it, and how it notes that something is looked up or changed."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from tablevault_pd.code.calls import dotted, dotted_part, root
from tablevault_pd.code.scopes import NameScope
from tablevault_pd.code.sharing import STAND_IN, Change, path_of, shares_of_elements, shares_of_targets

if TYPE_CHECKING:
    from tablevault_pd.code.calls import Call


class StatementNotes(ABC):
    """The names that a statement binds, looks up and changes, and what it calls."""

    def __init__(self) -> None:
        self.module = NameScope("module", None)
        self.imports: list[tuple[str, str, str | None]] = []
        self.touches: dict[Change, None] = {}
        self.calls: dict[Call, None] = {}
        self.passes: dict[Call, None] = {}
        self.writes: dict[str, None] = {}
        self.results: list[tuple[str, str]] = []
        self.aliases: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str]] = []
        self.paths: dict[str, None] = {}
        self.function: NameScope | None = None  # that of the statement, if it is a function
        self.hands: dict[str, None] = {}
        self.defaults: list[tuple[str, str]] = []  # (parameter, name that is its default)
        self.methods: list[
            tuple[str, NameScope, bool, tuple[Call, ...]]
        ] = []  # name, scope, with self, calls
        self.keeps_state = False
        self.handed: dict[
            str, None
        ] = {}  # changed by methods that it hands on: ``stack.callback(rows.append, 1)``
        #: by id of each lambda its parameters, those that it changes, and the calls in it
        self.lambdas: dict[int, tuple[list[str], bool, dict[Call, None]]] = {}

    @abstractmethod
    def walk(self, node: Any, scope: NameScope) -> None:
        """Take note of what a node does in a scope."""

    def look_up(self, chain: str, scope: NameScope) -> None:
        """Note that a dotted name is looked up in a scope."""
        if not scope.certain or chain.partition(".")[0] not in scope.certain:
            scope.loads[chain] = None

    def note_result(self, target: Any, value: Any) -> None:
        """Note the name that stands for what a call returned, or for an item of something."""
        if target.__class__ is ast.Name and value.__class__ in (ast.Call, ast.Subscript):
            source = dotted(getattr(value, "func" if value.__class__ is ast.Call else "value"))
            if source is not None:
                self.results.append((target.id, source))

    def change(
        self, node: Any, scope: NameScope, *, grows: bool = False, adds: bool = False, binds: bool = False
    ) -> str:
        """Note that something is changed in place; where an attribute is bound, not what it was. Return the name that it begins with."""
        base = self.base_of(node, scope)
        path = path_of(node.value if binds else node)
        scope.changes[Change(scope.current(base), path, grows, adds=adds)] = None
        self.note_path(node, base, scope)
        return scope.current(base)

    def base_of(self, node: Any, scope: NameScope, *, elements: bool | None = None) -> str:
        """Return the name that an expression begins with. One that begins with none, such as ``(x or y).rows``, gets one.

        So does, with `elements`, what is in the expression, and the expression itself without.
        """
        if elements is None:
            base = root(node)
            if base is not None:
                return base
            while node.__class__ in (ast.Attribute, ast.Subscript, ast.Starred):
                node = node.value
        name = f"{STAND_IN}{node.lineno},{node.col_offset})"
        stand_in = ast.Name(name)
        scope.shares.extend(
            shares_of_elements(stand_in, node) if elements else shares_of_targets([stand_in], node)
        )
        if scope is self.module and not elements:
            self.note_result(ast.Name(name), node)
        return name

    def note_path(self, node: Any, base: str, scope: NameScope) -> None:
        """Note which part is changed of what a name of the module stands for."""
        if scope is self.module and not base.startswith(STAND_IN):
            self.paths[dotted_part(node) or base] = None
