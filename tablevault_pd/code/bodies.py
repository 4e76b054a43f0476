"""The functions of a text as statements, and the calls in it: for slices along the functions that were under way."""

from __future__ import annotations

import ast
import symtable
from functools import lru_cache
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

from tablevault_pd.capture.entry import FILE, hides_names
from tablevault_pd.capture.position import COLUMN, is_between, line_of
from tablevault_pd.code.calls import dotted
from tablevault_pd.code.statements import cut_function, lines_of, ran
from tablevault_pd.code.syntax import COMPREHENSIONS, FUNCTIONS, LOOPS, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.code.statements import Statement

_YIELDS = (ast.Yield, ast.YieldFrom, ast.Await)
#: What runs the code in it more than once, or at another time.
_AGAIN = (*FUNCTIONS, ast.Lambda, ast.ClassDef, *COMPREHENSIONS, *LOOPS)


class Body(NamedTuple):
    """A function of the top level: its header, and the statements of its body."""

    arguments: ast.arguments
    statements: tuple[Statement, ...]  #: the header first, by whose number the others name it
    local: frozenset[str]  #: the names that are its own
    returns: frozenset[int]  #: those of `statements` that are a ``return``
    decisive: frozenset[int]  #: those that may end it, or say what a name stands for: ``global``

    def ran(self, place: int | None) -> tuple[Statement, ...]:
        """Its statements that have begun when it was at a place; all of them without one."""
        return self.statements if place is None else tuple(ran(self.statements, place))


class Call(NamedTuple):
    """A call in a statement that mentions its function once."""

    node: ast.Call
    function: str  #: dotted
    is_kept: bool  #: whether something is done with what it returns


@lru_cache(maxsize=256)
def body_of(text: str, name: str, first: int) -> Body | None:
    """The function that begins on a line, if its statements can be looked at one by one."""
    node = next((node for node in _tree(text) if _is_function(node, name, first)), None)
    if node is None or not _can_be_cut(node):
        return None
    local = _local_names(text, name, first)
    if local is None:
        return None
    header, *others = cut_function(text, node)
    own = [header._replace(names=(f"{name}()", *header.names[1:])), *others]
    if any(not one.sure and one.uses == one.names for one in own):
        return None  # nested too deeply to look into
    own = [statement._replace(tree=f"{name}:{statement.tree}") for statement in own]
    ends = [
        inner for one in node.body for inner in _own_nodes(one) if isinstance(inner, (ast.Return, ast.Global))
    ]
    places = [(inner, inner.lineno + COLUMN * inner.col_offset) for inner in ends]
    decisive = {
        number: isinstance(inner, ast.Return) and inner.col_offset == _column(text, one)
        for inner, place in places
        for number, one in enumerate(own)
        if not one.block and is_between(place, one.line, one.end)
    }
    returns = frozenset(number for number, is_return in decisive.items() if is_return)
    return Body(node.args, tuple(own), local, returns, frozenset(decisive))


def _column(text: str, statement: Statement) -> int:
    """Where on its line a statement begins."""
    line = lines_of(text)[line_of(statement.line) - 1]
    return statement.line // COLUMN or len(line) - len(line.lstrip())


@lru_cache(maxsize=256)
def body_named(text: str, name: str) -> Body | None:
    """The function of that name of a text, if it has one, and its statements can be looked at one by one."""
    lines = [node.lineno for node in _tree(text) if isinstance(node, ast.FunctionDef) and node.name == name]
    return body_of(text, name, lines[0]) if len(lines) == 1 else None


def call_at(text: str, end: tuple[int, int], statement: Statement) -> Call | None:
    """The call of a statement that ends there, if the statement runs it once, and mentions its function nowhere else."""
    above = _calls(text).get(end)
    if above is None:
        return None
    *outer, node = above
    first, last = line_of(statement.line), line_of(statement.end)
    inside = [inner for inner in outer if first <= getattr(inner, "lineno", 0) and _last(inner) <= last]
    if any(isinstance(inner, _AGAIN) for inner in inside):
        return None
    statements = [inner for inner in inside if isinstance(inner, ast.stmt)]
    whole = (
        statements[0]
        if statements
        else next(inner for inner in reversed(outer) if isinstance(inner, ast.stmt))
    )
    function = dotted(node.func)
    if function is None or [dotted(inner) for inner in ast.walk(whole)].count(function) != 1:
        return None
    return Call(node, function, not (isinstance(whole, ast.Expr) and whole.value is node))


def is_code_of(code: CodeType | None, text: str, first: int) -> bool:
    """Whether a text of a module has, on that line, the function that was compiled to `code`; None counts as any."""
    return code is None or code in [inner for inner in _codes(text) if inner.co_firstlineno == first]


@lru_cache(maxsize=16)
def _codes(text: str) -> tuple[CodeType, ...]:
    """What the functions of a text are compiled to."""
    try:
        whole = compile(text, FILE, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple([constant for constant in whole.co_consts if isinstance(constant, CodeType)])


@lru_cache(maxsize=16)
def _tree(text: str) -> tuple[Any, ...]:
    try:
        return tuple(parsed(text).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()


@lru_cache(maxsize=16)
def _calls(text: str) -> dict[tuple[int, int], tuple[Any, ...]]:
    """The calls of a text by where they end, each below the nodes around it."""
    calls: dict[tuple[int, int], tuple[Any, ...]] = {}

    def walk(node: ast.AST, above: tuple[Any, ...]) -> None:
        here = (*above, node)
        if isinstance(node, ast.Call):
            calls[node.end_lineno or 0, node.end_col_offset or 0] = here
        for child in ast.iter_child_nodes(node):
            walk(child, here)

    for statement in _tree(text):
        walk(statement, ())
    return calls


def _is_function(node: Any, name: str, first: int) -> bool:
    return isinstance(node, ast.FunctionDef) and (node.name, node.lineno) == (name, first)


def _can_be_cut(node: ast.FunctionDef) -> bool:
    if node.decorator_list or _first(node.body[0]) == node.lineno:
        return False
    return not any(isinstance(inner, _YIELDS) or hides_names(inner) for inner in ast.walk(node))


@lru_cache(maxsize=16)
def _table(text: str) -> symtable.SymbolTable:
    return symtable.symtable(text, FILE, "exec")


def _local_names(text: str, name: str, first: int) -> frozenset[str] | None:
    for table in _table(text).get_children():
        if table.get_type() == "function" and (table.get_name(), table.get_lineno()) == (name, first):
            return frozenset(symbol.get_name() for symbol in table.get_symbols() if symbol.is_local())
    return None


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A node and those in it, without what functions in it do."""
    yield node
    if not isinstance(node, (*FUNCTIONS, ast.Lambda, ast.ClassDef)):
        for child in ast.iter_child_nodes(node):
            yield from _own_nodes(child)


def _first(node: Any) -> int:
    decorators = getattr(node, "decorator_list", ())
    line: int = decorators[0].lineno if decorators else node.lineno
    return line


def _last(node: Any) -> int:
    return getattr(node, "end_lineno", 0) or 0
