"""The function that a script runs: the ``main`` of ``if __name__ == "__main__": main()``.

Its body is as good as code of the top level: it runs once, where the script calls it. So its statements are looked at one by
one, if its names stand for nothing else in the script.
"""

from __future__ import annotations

import ast
import symtable
from functools import lru_cache
from typing import Any, NamedTuple

from tablevault_pd.capture.parsing import parse

FILE = "<captured code>"  # what Python warns of there, it has told already: code/syntax.py filters it
#: What may reach the variables of a function in a way that no name in the text stands for.
_OUT_OF_REACH = frozenset(["locals", "vars", "dir", "eval", "exec", "globals"])
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class EntryFunction(NamedTuple):
    """A function of a script, and the line of its call."""

    name: str
    line: int  #: where the statement begins that calls it
    first: int  #: where the function begins


@lru_cache(maxsize=64)
def entry_of(text: str) -> EntryFunction | None:
    """Return the function whose only mention is one call by a statement of the top level, if its body can stand there."""
    try:
        tree = tree_of(text)
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        called = [(name, node) for node in _top_level(tree.body) if (name := _called(node)) in functions]
        table = symtable.symtable(text, FILE, "exec") if called else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    entries = [
        EntryFunction(name, statement.lineno, functions[name].lineno)
        for name, statement in called
        if table is not None and _can_stand_there(functions[name], tree, table)
    ]
    return entries[0] if len(entries) == 1 else None


@lru_cache(maxsize=2)
def tree_of(text: str) -> ast.Module:
    """Return the tree of a piece of code, which nobody changes. Raises SyntaxError, ValueError, RecursionError, MemoryError."""
    tree: ast.Module = parse(text, FILE)
    return tree


def _top_level(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements that only run something: on the top level, or below ``if __name__ == "__main__":``."""
    guarded = [inner for node in body if isinstance(node, ast.If) and not node.orelse for inner in node.body]
    return [node for node in [*body, *guarded] if isinstance(node, (ast.Expr, ast.Raise))]


def _called(statement: ast.stmt) -> str | None:
    """The name of the function that a statement runs and does nothing else with: ``main()``, ``sys.exit(main())``."""
    value: Any = getattr(statement, "value", None) or getattr(statement, "exc", None)
    if isinstance(value, ast.Call) and _is_exit(value.func) and len(value.args) == 1:
        value = value.args[0]
    called = value.func if isinstance(value, ast.Call) else None
    return called.id if isinstance(called, ast.Name) else None


def _is_exit(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    return name in ("exit", "SystemExit")


def _can_stand_there(function: ast.FunctionDef, tree: ast.Module, table: symtable.SymbolTable) -> bool:
    mentions = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == function.name]
    if len(mentions) != 1 or function.decorator_list or function.body[0].lineno == function.lineno:
        return False
    if any(map(hides_names, ast.walk(function))):
        return False
    last = function.body[-1]
    if any(map(_returns, function.body[:-1])) or (_returns(last) and not isinstance(last, ast.Return)):
        return False
    places = [(child.get_name(), child.get_lineno()) for child in table.get_children()]
    if (function.name, function.lineno) not in places:
        return False
    scope = table.get_children()[places.index((function.name, function.lineno))]
    own = {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_local()}
    others = {
        symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()
    }
    return own.isdisjoint(others)


def hides_names(node: ast.AST) -> bool:
    """Whether a part of a function may read or bind its variables unseen by who looks at its statements one by one."""
    return isinstance(node, ast.Nonlocal) or (isinstance(node, ast.Name) and node.id in _OUT_OF_REACH)


def _returns(node: ast.AST) -> bool:
    """Whether a statement may end its function, or make a generator of it."""
    if isinstance(node, (ast.Return, ast.Yield, ast.YieldFrom)):
        return True
    return not isinstance(node, (*FUNCTIONS, ast.ClassDef)) and any(map(_returns, ast.iter_child_nodes(node)))
