"""A piece of code as its statements, each with the names it defines and uses. Nothing is executed.

Blocks of the top level that make no scope (``with``, ``if``, ``for``, ``while``) are cut, too: into a header (``with open(path)
as file:``) and the statements of the body. A block whose statements decide whether others run (``try``, ``match``, loops with
``break`` or ``continue``) is one statement.

What runs when is kept apart: the names that a statement looks up while it runs (``uses``), and those that the functions
it makes look up when they are called (``later``).
"""

from __future__ import annotations

import ast
import copy
import json
import re
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from tablevault_pd.capture.entry import entry_of
from tablevault_pd.capture.position import COLUMN, in_order, is_between, line_of
from tablevault_pd.code.arguments import given_by
from tablevault_pd.code.calls import dotted, goes_on
from tablevault_pd.code.describe import describe
from tablevault_pd.code.syntax import (
    BLOCKS,
    FUNCTIONS,
    LOOPS,
    WITH_DOCSTRING,
    digest,
    digest_of_tree,
    parsed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tablevault_pd.capture.entry import EntryFunction
    from tablevault_pd.code.calls import Call
    from tablevault_pd.code.sharing import Change, Share, Source

_PYTHON_MAGICS = {"time", "timeit", "capture", "prun", "python", "python3", "debug"}
_INNER_FUNCTION = re.compile(r"(?m)^[ \t]+(?:async[ \t]+)?def[ \t]+(\w+)")
_NEWLINE = re.compile(r"\r\n|\r|\n")  # other characters that str.splitlines() knows end no line of Python
_WORD = re.compile(r"[^\W\d]\w*")
_CELL_MAGIC = re.compile(r"\s*%%(\w+)[^\n]*")
_TIMED = re.compile(r"(?P<indent>\s*)%time\s+(?P<code>\S.*)")  # it runs a statement, which may bind names
_ELIF = re.compile(r"\s*elif\b")
_ELSE = re.compile(r"\s*else\s*:")
_RUN = re.compile(r"%run\s+(?:-\w+\s+)*([\"']?)(?P<file>.+?\.py)\1(?:\s.*)?$")
_ASSIGNED = re.compile(r"(?P<left>\s*[\w.,\s\[\]\"']+=\s*)(?P<magic>[%!](?!=).*)")


class Statement(NamedTuple):
    """One statement of the top level, or of a block there; or the header of such a block."""

    first: int  #: the line where its text begins, the comments above included; from 1
    line: int  #: the place where it begins, decorators included: see :mod:`~tablevault_pd.capture.position`
    end: int  #: the place where it ends
    tree: str  #: digest of what it means: equal where only comments, layout or docstrings differ
    kind: str  #: "def" (a lambda with a name, too), "class", "import", "assign", "run" (of a file), "magic" or "other"
    names: tuple[str, ...] = ()  #: it binds these, or changes what they stand for
    sure: bool = True  #: whether it binds them whenever it runs, so that nothing older is in force after it
    uses: tuple[str, ...] = ()  #: dotted names that it looks up while it runs
    later: tuple[str, ...] = ()  #: those that its functions look up when they are called
    imports: tuple[tuple[str, str, str | None], ...] = ()  #: (bound name, module, attribute)
    touches: tuple[str, ...] = ()  #: methods of these are called for their effect, unless they are modules
    paths: tuple[str, ...] = ()  #: dotted names of what it changes or calls methods of: ``conf.RATE``
    calls: tuple[Call, ...] = ()  #: functions called with names as arguments
    passes: tuple[Call, ...] = ()  #: those that the functions it defines call
    parameters: tuple[str, ...] = ()  #: of the function that it defines
    changes: tuple[
        str, ...
    ] = ()  #: names whose objects this function changes: parameters, or names of its own
    returns: tuple[Source, ...] = ()  #: names whose objects this function may return
    writes: tuple[str, ...] = ()  #: global names that the functions it defines change
    results: tuple[
        tuple[str, str], ...
    ] = ()  #: (name, dotted name of what was called, or taken an item of, for its value)
    alters: tuple[str, ...] = ()  #: those of its names whose values it changes, and does not bind
    changed: tuple[Change, ...] = ()  #: what it changes in place, or calls methods of
    shares: tuple[Share, ...] = ()  #: what its names may share with others
    aliases: tuple[tuple[str, str], ...] = ()  #: (name, the name that it is another one of)
    attributes: tuple[
        tuple[str, str], ...
    ] = ()  #: (name, the attribute that it stands for): ``add = rows.append``
    hands: tuple[
        str, ...
    ] = ()  #: those of `uses` that it does not call: functions among them may be called later
    handed: tuple[str, ...] = ()  #: changed by methods of them that it hands on: ``partial(rows.append, 1)``
    defaults: tuple[
        tuple[str, str], ...
    ] = ()  #: (parameter, name that is its default) of the function that it defines
    methods: tuple[Statement, ...] = ()  #: of the class that it defines, as functions without ``self``
    #: whether functions made by the one that it defines change variables of that one; whether a method changes its object
    keeps_state: bool = False
    header: int | None = None  #: the number of the header of the block that it stands in
    #: of a header: "with", "if", "else" (``elif``, too, in the block of the test before) or "loop"
    block: str = ""
    loop: int | None = None  #: the place of the outermost loop that it is in
    declares: tuple[str, ...] = ()  #: names that are global from there on

    @property
    def bound(self) -> list[str]:
        """Those of its names that it binds."""
        return [name for name in self.names if name not in self.alters]


@lru_cache(maxsize=1024)
def cut(text: str, *, script: bool = False) -> tuple[Statement, ...]:
    """The statements of a piece of code, in order of execution; none if it is no Python.

    Of a `script` the body of the function that it runs comes where it is called: see :mod:`~tablevault_pd.capture.entry`.
    """
    lines = lines_of(text)
    magic = _CELL_MAGIC.match(text)
    if magic is not None and magic[1] not in _PYTHON_MAGICS:
        return (Statement(1, 1, len(lines), digest("\n".join(lines).strip()), "magic"),)
    magics: dict[int, str] = {}
    try:
        tree = _tree(text) or _tree("\n".join(_without_magics(lines, magics)))
    except (RecursionError, MemoryError):
        return (_too_deep(1, 1, len(lines), "\n".join(lines)),)
    return (
        ()
        if tree is None
        else tuple(_Cutter(lines, magics, entry_of(text) if script else None).cut(tree.body))
    )


def python_of(text: str) -> str:
    """The Python of a cell, line by line: without magics, which only IPython understands."""
    return text if _tree(text) is not None else "\n".join(_without_magics(lines_of(text), {}))


def cut_function(text: str, node: ast.FunctionDef) -> list[Statement]:
    """The header of a function, and the statements of its body as those of a block below it."""
    return _Cutter(lines_of(text), {}).cut_function(node)


def ran(statements: Sequence[Statement], at: int | None) -> Sequence[Statement]:
    """The statements that have begun when a program was there; of a loop, those of its turns before, too."""
    count = begun([(statement.line, statement.end) for statement in statements], at)
    loop = statements[count - 1].loop if count else None
    while loop is not None and count < len(statements) and statements[count].loop == loop:
        count += 1
    return statements[:count]


@lru_cache(maxsize=4096)
def inner_functions(text: str) -> frozenset[str]:
    """The names of the functions that do not stand on the top level, such as methods, by a look at the lines."""
    return frozenset(_INNER_FUNCTION.findall(text))


def text_of(text: str, statement: Statement) -> str:
    """The lines of a statement, with the comments above it; its part of them where others stand on the same lines."""
    lines = lines_of(text)[statement.first - 1 : line_of(statement.end)]
    start, end = statement.line // COLUMN, statement.end // COLUMN
    if end:
        lines[-1] = lines[-1].encode()[:end].decode()
    if start:
        lines[0] = lines[0].encode()[start:].decode()
    return "\n".join(lines)


@lru_cache(maxsize=16)
def lines_of(text: str) -> list[str]:
    """The lines of a text, as Python counts them."""
    return _NEWLINE.split(text)  # a script is split once, not again for each of its statements


@lru_cache(maxsize=1024)  # a statement in a loop commits again and again
def statement_place(text: str, place: int | None, *, script: bool = False) -> int | None:
    """Where the statement of a cell or script begins that `place` is in; `place` itself if it may be in several."""
    if place is None:
        return None
    inside = [
        statement.line
        for statement in cut(text, script=script)
        if is_between(place, statement.line, statement.end)
    ]
    return place if len(inside) > 1 else inside[0] if inside else None


def begun(places: Sequence[tuple[int, int]], at: int | None) -> int:
    """How many statements, of which these are where they begin and end, had begun when a program was there; None: at its end."""
    if at is None:
        return len(places)
    inside = [number for number, (line, end) in enumerate(places) if is_between(at, line, end)]
    if inside:
        return 1 + inside[-1]
    here = in_order(at)
    return 1 + max((number for number, (line, _) in enumerate(places) if in_order(line) <= here), default=-1)


def end_of_with(text: str, place: int) -> int:
    """Where a program has come to that leaves a ``with``, which Python calls the place of its header; else the place itself."""
    ends = [end for first, last, end in _withs(text) if first <= line_of(place) <= last]
    return max(ends, default=place)


@lru_cache(maxsize=4)
def _withs(text: str) -> tuple[tuple[int, int, int], ...]:
    """Of each ``with``: the lines of its header, and the last line of its block."""
    try:
        tree = _tree(text)
    except (RecursionError, MemoryError):
        return ()
    return tuple(
        (node.lineno, max(item.context_expr.end_lineno or 0 for item in node.items), node.end_lineno or 0)
        for node in (() if tree is None else ast.walk(tree))
        if isinstance(node, (ast.With, ast.AsyncWith))
    )


def names_of(text: str, *, script: bool = False) -> str:
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
                statement.tree,
            ]
            for statement in cut(text, script=script)
        ]
    )


def _tree(text: str) -> ast.Module | None:
    try:
        tree: ast.Module = parsed(text)
    except (SyntaxError, ValueError):
        return None
    return tree


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


class _Cutter:
    """Cuts the body of a module into statements, in the order of the text."""

    def __init__(self, lines: list[str], magics: dict[int, str], entry: EntryFunction | None = None) -> None:
        self._lines = lines
        self._entry = entry
        self._function: ast.stmt | None = None  # that of the entry
        self._magics = magics
        self._statements: list[Statement] = []

    def cut(self, body: list[ast.stmt]) -> list[Statement]:
        """All statements of the top level."""
        self._block(body, 0, None, None)
        return self._statements

    def cut_function(self, function: ast.FunctionDef) -> list[Statement]:
        """A function of the top level: its header, and all statements of its body."""
        header = self._header_of(function)
        self._block(function.body, line_of(header.end), self._add(header, None, None, "with"), None)
        return self._statements

    def _block(self, body: list[ast.stmt], above: int, header: int | None, loop: int | None) -> None:
        """Cut the statements of a block; `above` is the last line before it."""
        starts = [_first_line(node) for node in body]
        for node, line, following in zip_longest(body, starts, starts[1:]):
            last = node.end_lineno or node.lineno
            begin, end = line, last
            if line == above:
                begin += COLUMN * node.col_offset
            if following == last:
                end += COLUMN * (node.end_col_offset or 0)
            first = _with_comments(self._lines, line, above)
            above = last
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring, or a value that nobody keeps
            if self._entry is not None and line == self._entry.first:
                self._function = node
                continue
            if begin == line and end == last and self._is_cut(node):
                self._compound(node, first, begin, header, loop)
            else:
                number = self._add(self._described(node, first, begin, end), header, loop)
                if self._entry is not None and line == self._entry.line and self._function is not None:
                    self._called(self._function, node, number, loop)

    def _called(self, function: Any, caller: ast.stmt, call: int, loop: int | None) -> None:
        """Cut the function that the script runs, whose parameters are names like others from here on."""
        header, name = self._header_of(function), function.name
        calls = [
            node for node in ast.walk(caller) if isinstance(node, ast.Call) and dotted(node.func) == name
        ]
        header = header._replace(**given_by(calls[0], function.args)._asdict())
        self._block(function.body, line_of(header.end), self._add(header, call, loop, "with"), loop)

    def _header_of(self, function: Any) -> Statement:
        """The header of a function, which binds its parameters."""
        own = copy.copy(function)
        own.body = []
        first = _with_comments(self._lines, function.lineno, 0)
        described = self._described(own, first, function.lineno, self._end_of_header(function))
        names = (function.name, *(parameter.lstrip("*") for parameter in described.parameters))
        return described._replace(kind="other", names=names, parameters=())

    def _end_of_header(self, node: Any) -> int:
        """The last line of the header of a block."""
        end = _with_comments(self._lines, _first_line(node.body[0]), node.lineno) - 1
        while not self._lines[end - 1].strip():
            end -= 1
        return end

    def _compound(
        self,
        node: Any,
        first: int,
        begin: int,
        header: int | None,
        loop: int | None,
        block: str | None = None,
    ) -> None:
        """Cut a block into its header and its body, and the other branches of an ``if``."""
        own = copy.copy(node)
        own.body = []
        kind = "with"
        if isinstance(node, ast.If):
            own.orelse, kind = [], "if"
        elif isinstance(node, LOOPS):
            loop, kind = begin if loop is None else loop, "loop"
        end = self._end_of_header(node)
        number = self._add(self._described(own, first, begin, end), header, loop, block or kind)
        self._block(node.body, end, number, loop)
        if isinstance(node, ast.If) and node.orelse:
            self._other_branch(node, number, loop)

    def _other_branch(self, node: ast.If, number: int, loop: int | None) -> None:
        """Cut ``elif`` and ``else``: they stand in the block of the ``if``, whose test decides about them."""
        last = node.body[-1].end_lineno or node.lineno
        other = node.orelse[0]
        line = self._line_of_other(node)
        assert line is not None  # see _is_cut()
        first = _with_comments(self._lines, line, last)
        if line == other.lineno:
            self._compound(other, first, line, number, loop, "else")
            return
        tree = digest(f"else {self._statements[number].tree}")
        header = self._add(Statement(first, line, line, tree, "other"), number, loop, "else")
        self._block(node.orelse, line, header, loop)

    def _line_of_other(self, node: ast.If) -> int | None:
        """The line of ``elif`` or ``else``; None: what follows stands on it."""
        start = _first_line(node.orelse[0])
        if len(node.orelse) == 1 and _ELIF.match(self._lines[start - 1]):
            return start
        lines = range(start - 1, node.body[-1].end_lineno or 0, -1)
        return next((line for line in lines if _ELSE.match(self._lines[line - 1])), None)

    def _is_cut(self, node: Any) -> bool:
        """Whether the statements of a block are looked at one by one."""
        if not isinstance(node, BLOCKS) or _first_line(node.body[0]) == node.lineno:
            return False
        if goes_on(node):
            return False
        if isinstance(node, LOOPS):
            return not node.orelse and not any(map(_leaves_loop, node.body))
        if not isinstance(node, ast.If) or not node.orelse:
            return True
        line = self._line_of_other(node)
        return line is not None and (line < _first_line(node.orelse[0]) or self._is_cut(node.orelse[0]))

    def _described(self, node: ast.stmt, first: int, begin: int, end: int) -> Statement:
        line, last = line_of(begin), line_of(end)
        if line in self._magics:
            text = "\n".join(self._lines[first - 1 : last]).strip()
            return _magic(first, begin, end, text, self._magics[line])
        try:
            return _statement(first, begin, end, node)
        except RecursionError:
            return _too_deep(first, begin, end, "\n".join(self._lines[first - 1 : last]))

    def _add(self, statement: Statement, header: int | None, loop: int | None, block: str = "") -> int:
        if header is not None or block:
            statement = statement._replace(header=header, block=block, loop=loop)
        self._statements.append(statement)
        return len(self._statements) - 1


def _leaves_loop(node: ast.AST) -> bool:
    """Whether a statement of a loop may end it, or the turn that it is in."""
    if isinstance(node, (ast.Break, ast.Continue)):
        return True
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return False
    inner = node.orelse if isinstance(node, LOOPS) else ast.iter_child_nodes(node)
    return any(_leaves_loop(child) for child in inner if not isinstance(child, ast.expr))


def _statement(first: int, begin: int, end: int, node: ast.stmt) -> Statement:
    fields, methods = describe(node)
    fields["methods"] = tuple([Statement(first, begin, end, "", **method) for method in methods])
    return Statement(first, begin, end, digest_of_tree(node), **fields)


def _too_deep(first: int, begin: int, end: int, text: str) -> Statement:
    """A statement that is nested too deeply to look into: it may bind and use every word in it."""
    words = tuple(dict.fromkeys(_WORD.findall(text)))
    return Statement(first, begin, end, digest(text), "other", words, sure=False, uses=words)


def _magic(first: int, begin: int, end: int, text: str, magic: str) -> Statement:
    run = _RUN.match(magic)
    if run is None:
        return Statement(first, begin, end, digest(text), "magic")
    return Statement(first, begin, end, digest(text), "run", imports=(("*", f"%run {run['file']}", "*"),))


def _first_line(node: Any) -> int:
    """The first line of a statement, decorators included."""
    decorators = node.decorator_list if node.__class__ in WITH_DOCSTRING else ()
    line: int = decorators[0].lineno if decorators else node.lineno
    return line


def _with_comments(lines: list[str], line: int, end: int) -> int:
    """The first of the comment lines right above `line`, below line `end`."""
    while line - 1 > end and lines[line - 2].lstrip().startswith("#"):
        line -= 1
    return line
