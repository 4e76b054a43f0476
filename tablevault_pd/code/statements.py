"""A piece of code as its top-level statements, each with the names it defines and uses. Nothing is executed.

What runs when is kept apart: the names that a statement looks up while it runs (``uses``), and those that the functions
it makes look up when they are called (``later``).
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture.position import COLUMN, is_between, line_of
from tablevault_pd.code.symbols import Finder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.code.calls import Call

_PYTHON_MAGICS = {"time", "timeit", "capture", "prun", "python", "python3", "debug"}
_INNER_FUNCTION = re.compile(r"(?m)^[ \t]+(?:async[ \t]+)?def[ \t]+(\w+)")
_NEWLINE = re.compile(r"\r\n|\r|\n")  # other characters that str.splitlines() knows end no line of Python
_CELL_MAGIC = re.compile(r"\s*%%(\w+)[^\n]*")
_TIMED = re.compile(r"(?P<indent>\s*)%time\s+(?P<code>\S.*)")  # it runs a statement, which may bind names
_RUN = re.compile(r"%run\s+(?:-\w+\s+)*([\"']?)(?P<file>.+?\.py)\1(?:\s.*)?$")
_ASSIGNED = re.compile(r"(?P<left>\s*[\w.,\s\[\]\"']+=\s*)(?P<magic>[%!](?!=).*)")


@dataclass(frozen=True, slots=True)
class Statement:
    """One top-level statement."""

    first: int  #: the line where its text begins, the comments above included; from 1
    line: int  #: the place where it begins, decorators included: see :mod:`~tablevault_pd.capture.position`
    end: int  #: the place where it ends
    kind: str  #: "def" (a lambda with a name, too), "class", "import", "assign", "run" (of a file), "magic" or "other"
    names: tuple[str, ...] = ()  #: it binds these, or changes what they stand for
    sure: bool = True  #: whether it binds them whenever it runs, so that nothing older is in force after it
    uses: tuple[str, ...] = ()  #: dotted names that it looks up while it runs
    later: tuple[str, ...] = ()  #: those that its functions look up when they are called
    imports: tuple[tuple[str, str, str | None], ...] = ()  #: (bound name, module, attribute)
    touches: tuple[str, ...] = ()  #: methods of these are called for their effect, unless they are modules
    calls: tuple[Call, ...] = ()  #: functions called with names as arguments
    passes: tuple[Call, ...] = ()  #: those that the functions it defines call
    parameters: tuple[str, ...] = ()  #: of the function that it defines
    changes: tuple[str, ...] = ()  #: those of them that this function changes
    writes: tuple[str, ...] = ()  #: global names that the functions it defines change
    results: tuple[
        tuple[str, str], ...
    ] = ()  #: (name, dotted name of what was called, or taken an item of, for its value)
    alters: tuple[str, ...] = ()  #: those of its names whose values it changes, and does not bind
    aliases: tuple[tuple[str, str], ...] = ()  #: (name, the name that it is another one of)
    hands: tuple[
        str, ...
    ] = ()  #: those of `uses` that it does not call: functions among them may be called later
    methods: tuple[Statement, ...] = ()  #: of the class that it defines, as functions without ``self``
    keeps_state: bool = (
        False  #: whether functions made by the one that it defines change variables of that one
    )


def cut(text: str) -> tuple[Statement, ...]:
    """The top-level statements of a piece of code; none if it is no Python."""
    return _parsed(text)[0]


def trees(text: str) -> tuple[str, ...]:
    """For each statement of :func:`cut` a digest of what it means: equal where only comments, layout or docstrings differ."""
    return _trees(text)


@lru_cache(maxsize=4096)
def inner_functions(text: str) -> frozenset[str]:
    """The names of the functions that do not stand on the top level, such as methods, by a look at the lines."""
    return frozenset(_INNER_FUNCTION.findall(text))


def text_of(text: str, statement: Statement) -> str:
    """The lines of a statement, with the comments above it; its part of them where others stand on the same lines."""
    lines = _lines(text)[statement.first - 1 : line_of(statement.end)]
    start, end = statement.line // COLUMN, statement.end // COLUMN
    if end:
        lines[-1] = lines[-1].encode()[:end].decode()
    if start:
        lines[0] = lines[0].encode()[start:].decode()
    return "\n".join(lines)


@lru_cache(maxsize=16)
def _lines(text: str) -> list[str]:
    return _NEWLINE.split(text)  # a script is split once, not again for each of its statements


def statement_place(text: str, place: int | None) -> int | None:
    """Where the top-level statement begins that `place` is in; `place` itself if it may be in several."""
    if place is None:
        return None
    inside = [statement.line for statement in cut(text) if is_between(place, statement.line, statement.end)]
    return place if len(inside) > 1 else inside[0] if inside else None


def names_of(text: str) -> str:
    """The statements of a piece of code with the names they define and use, as JSON: kept with each cell."""
    return json.dumps(
        [
            [
                statement.line,
                statement.end,
                statement.kind,
                statement.names,
                statement.uses,
                statement.later,
                tree,
            ]
            for statement, tree in zip(cut(text), trees(text), strict=True)
        ]
    )


@lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[tuple[Statement, ...], tuple[ast.stmt | None, ...]]:
    magic = _CELL_MAGIC.match(text)
    if magic is not None and magic[1] not in _PYTHON_MAGICS:
        return (Statement(1, 1, text.count("\n") + 1, "magic"),), (None,)
    lines = _lines(text)
    magics: dict[int, str] = {}
    tree = _tree(text)
    if tree is None:
        tree = _tree("\n".join(_without_magics(lines, magics)))
    if tree is None:
        return (), ()
    return _statements(tree, lines, magics)


def _tree(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _without_magics(lines: list[str], magics: dict[int, str]) -> Iterator[str]:
    """The lines of a cell with ``pass`` for what only IPython understands, which is noted in `magics` by line."""
    for number, line in enumerate(lines, 1):
        plain = line.strip()
        timed = _TIMED.match(line)
        if timed is not None and _tree(timed["code"]) is not None:
            yield timed["indent"] + timed["code"]
        elif plain.startswith(("%", "!", "?")) or plain.endswith("?"):
            magics[number] = plain
            yield line[: len(line) - len(line.lstrip())] + "pass" if not plain.startswith("%%") else ""
        elif (assigned := _ASSIGNED.match(line)) is not None:
            yield assigned["left"] + repr(assigned["magic"])
        else:
            yield line


def _statements(
    tree: ast.Module, lines: list[str], magics: dict[int, str]
) -> tuple[tuple[Statement, ...], tuple[ast.stmt | None, ...]]:
    statements, nodes = [], []
    above = 0  # the last line of the statement before
    for node, following in zip_longest(tree.body, tree.body[1:]):
        line, last = _first_line(node), node.end_lineno or node.lineno
        begin, end = line, last
        if line == above:
            begin += COLUMN * node.col_offset
        if following is not None and _first_line(following) == last:
            end += COLUMN * (node.end_col_offset or 0)
        first = _with_comments(lines, line, above)
        above = last
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring, or a value that nobody keeps
        run = _RUN.match(magics.get(line, ""))
        if run is not None:
            statements.append(
                Statement(first, begin, end, "run", imports=(("*", f"%run {run['file']}", "*"),))
            )
        elif line in magics:
            statements.append(Statement(first, begin, end, "magic"))
        else:
            fields, methods = Finder.describe(node)
            made = tuple(Statement(first, begin, end, **method) for method in methods)
            statements.append(Statement(first, begin, end, **fields, methods=made))
        nodes.append(node if line not in magics else None)
    return tuple(statements), tuple(nodes)


def _first_line(node: ast.stmt) -> int:
    """The first line of a statement, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _with_comments(lines: list[str], line: int, end: int) -> int:
    """The first of the comment lines right above `line`, below line `end`."""
    while line - 1 > end and lines[line - 2].lstrip().startswith("#"):
        line -= 1
    return line


@lru_cache(maxsize=1024)
def _trees(text: str) -> tuple[str, ...]:
    statements, nodes = _parsed(text)
    return tuple(
        digest_of_tree(node) if node is not None else _digest(text_of(text, statement).strip())
        for statement, node in zip(statements, nodes, strict=True)
    )


def digest_of_tree(node: ast.AST) -> str:
    """What a node means, as a digest: without places, comments and docstrings."""
    pieces: list[str] = []
    _flatten(node, pieces)
    return _digest("\0".join(pieces))


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


_IGNORED = {"ctx", "type_comment", "kind", "type_ignores"}
_WITH_DOCSTRING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _flatten(node: Any, pieces: list[str]) -> None:
    """Write a tree down. Fields without a value are left out, as which of them there are differs between Pythons."""
    pieces.append(type(node).__name__)
    for name in node._fields:
        if name in _IGNORED:
            continue
        value = getattr(node, name, None)
        if value is None and not (name == "value" and isinstance(node, ast.Constant)):
            continue
        if isinstance(value, ast.AST):
            pieces.append(name)
            _flatten(value, pieces)
        elif isinstance(value, list):
            if name == "body" and isinstance(node, _WITH_DOCSTRING):
                value = _without_docstring(value)
            if value:
                pieces.append(f"{name}[")
                for element in value:
                    if isinstance(element, ast.AST):
                        _flatten(element, pieces)
                    else:
                        pieces.append(repr(element))
                pieces.append("]")
        else:
            pieces.append(f"{name}={value!r}")


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_text and isinstance(first.value.value, str) else body  # type: ignore[union-attr]
