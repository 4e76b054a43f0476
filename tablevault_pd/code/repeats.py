"""Statements of a slice that were run again with the same text, as cells are: the first run of those that overwrite tells nothing.

A slice keeps both: it is never too small. Where two slices are compared, a cell that ran twice is no edit.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import lru_cache
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from tablevault_pd.code.calls import RUNNING_TEXT, dotted
from tablevault_pd.code.statements import cut
from tablevault_pd.code.syntax import FUNCTIONS, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tablevault_pd.store import Part

_WORD = re.compile(r"\w+")
_LATER = re.compile(r"\b(?:def|class|lambda|for)\b")  #: of what may look up its names later
_TYPES = frozenset(["bool", "float", "int", "str"])
_IN_PLACE = frozenset(["inplace", "out"])
#: What may look up a name later than it runs, or takes away what it has.
_WAITING = (*FUNCTIONS, ast.ClassDef, ast.Lambda, ast.GeneratorExp, ast.Delete)
#: Methods of columns that change nothing and call nothing that they are given.
_COMPUTING = frozenset(
    [
        "abs", "add", "all", "any", "astype", "between", "ceil", "clip", "contains", "count", "cumsum", "diff", "div", "endswith",
        "eq", "fillna", "floor", "ge", "gt", "isin", "isna", "isnull", "le", "len", "lower", "lt", "max", "mean", "median", "min",
        "mod", "mul", "ne", "notna", "notnull", "pow", "quantile", "rank", "replace", "round", "shift", "split", "startswith",
        "std", "strip", "sub", "sum", "title", "upper", "var",
    ]
)  # fmt: skip


def without_repeats(parts: Sequence[Part]) -> list[Part]:
    """The statements, without each ``df["pred"] = df["x"] > LIMIT`` that runs again before anything reads what it stored."""
    parts = list(parts)
    while (number := next(_repeated(parts), None)) is not None:
        del parts[number]
    return parts


def without_unread(parts: Sequence[Part]) -> list[Part]:
    """The statements, without each ``LIMIT = 2`` whose name gets another such value before anything mentions it."""
    remaining: list[Part] = []
    waits = {word for part in parts if _LATER.search(part.text) for word in _WORD.findall(part.text)}
    bound_next: set[tuple[str | None, str]] = set()  # what is bound again before it is mentioned
    for part in reversed(parts):
        name = _constant_name(part)
        if name is not None and name not in waits and (part.path, name) in bound_next:
            continue
        words = {*_WORD.findall(part.text)}
        bound_next = {bound for bound in bound_next if bound[1] not in words}
        if name is not None:
            bound_next.add((part.path, name))
        remaining.append(part)
    return remaining[::-1]


def _repeated(parts: Sequence[Part]) -> Iterator[int]:
    """The statements that run again, and overwrite what they stored, before anything may have read it."""
    times = Counter((part.path, part.tree) for part in parts if part.kind == "assign")
    for number, part in enumerate(parts):
        if times[part.path, part.tree] < 2 or (stored := _stored(part.text)) is None:
            continue
        later = range(number + 1, len(parts))
        again = next((at for at in later if _is_same(parts[at], part)), None)
        if again is None or _stored(parts[again].text) is None:
            continue
        name, key, value = stored
        ours = [(at, other) for at, other in enumerate(parts[:again]) if other.path == part.path]
        constants = {bound for _, other in ours if (bound := _constant_name(other))}
        constants -= {bound for _, other in ours if _constant_name(other) is None for bound in other.names}
        if _is_plain(value, constants) and all(
            at == number or _leaves(other.text, name, key if at > number else None, at < number)
            for at, other in ours
        ):
            yield number


def _is_same(one: Part, other: Part) -> bool:
    return (one.path, one.tree) == (other.path, other.tree)


@lru_cache(maxsize=4096)
def _stored(text: str) -> tuple[str, str, ast.expr] | None:
    """(name, key, value) of ``name["key"] = value``, whose value is made of other items of the name."""
    node = None if text[:1].isspace() else _only(text)
    if not isinstance(node, ast.Assign) or len(node.targets) > 1:
        return None
    item = _item(node.targets[0])
    if item is None:
        return None
    name, key = item
    items = [other for inner in ast.walk(node.value) if (other := _item(inner)) and other[0] == name]
    return (name, key, node.value) if items and _leaves(text, name, key, False, 1) else None


@lru_cache(maxsize=4096)
def _leaves(text: str, name: str, key: str | None, may_bind: bool, stores: int = 0) -> bool:
    """Whether a statement has of a name, if anything, only items of constant keys, that of `key` just `stores` times.

    One that `may_bind` it may also give it what a call has made: ``df = df.dropna()``.
    """
    text = dedent(text)
    statements = cut(text)
    looked_up = {
        name_used.partition(".")[0]
        for one in statements
        for name_used in (*one.names, *one.uses, *one.later, *one.writes)
    }
    if any(one.kind == "run" for one in statements) or not looked_up.isdisjoint(RUNNING_TEXT.values()):
        return False
    if name not in looked_up if statements else name not in _WORD.findall(text):
        return True
    node = _only(text)
    if node is None or any(isinstance(inner, _WAITING) for inner in ast.walk(node)):
        return False
    if may_bind and isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        [target, *others] = node.targets
        if isinstance(target, ast.Name) and target.id == name and not others:
            return True
    items = [item for inner in ast.walk(node) if (item := _item(inner)) is not None and item[0] == name]
    with_key = sum(item[1] == key for item in items)
    return with_key == stores and len(items) == _WORD.findall(ast.unparse(node)).count(name)


def _is_plain(value: ast.expr, constants: set[str]) -> bool:
    """Whether an expression only computes: it calls methods of columns alone, with what is written out or in `constants`."""
    for node in ast.walk(value):
        if isinstance(node, ast.Call):
            function: Any = node.func
            if not isinstance(function, ast.Attribute) or dotted(function) is not None:
                return False
            given = [inner for one in (*node.args, *node.keywords) for inner in ast.walk(one)]
            names = {inner.id for inner in given if isinstance(inner, ast.Name)}
            if function.attr not in _COMPUTING or not names <= constants | _TYPES:
                return False
            if any(getattr(inner, "arg", None) in _IN_PLACE for inner in given):
                return False
        elif isinstance(
            node, (ast.Lambda, ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom, ast.comprehension)
        ):
            return False
    return True


def _item(node: ast.AST) -> tuple[str, str] | None:
    """(name, text of the key) of ``name["key"]``."""
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    ):
        return node.value.id, node.slice.value
    return None


@lru_cache(maxsize=4096)
def _constant(text: str) -> str | None:
    node = None if text[:1].isspace() else _only(text)
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        inner = ast.walk(node.value)
        plain = (ast.Constant, ast.UnaryOp, ast.unaryop, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Load)
        return node.targets[0].id if all(isinstance(one, plain) for one in inner) else None
    return None


def _constant_name(part: Part) -> str | None:
    """The name that a statement gives a value that is written out."""
    return _constant(part.text) if part.kind == "assign" else None


def _only(text: str) -> ast.stmt | None:
    try:
        body: list[ast.stmt] = parsed(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return body[0] if len(body) == 1 else None
