"""Slices that consist of what stands in two others: then their rows tell what a part of the difference of these two does."""

from __future__ import annotations

import ast
from collections import Counter
from functools import lru_cache
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from tablevault_pd.analysis.code_changes import UNNAMED, Bound, statements_of
from tablevault_pd.capture.parsing import parse
from tablevault_pd.code.calls import without_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.code import Slice
    from tablevault_pd.store import Part


def is_mix(code: Slice, a: Slice, b: Slice) -> bool:
    """Whether each statement is as in one of two other slices, or made of pieces of both.

    So ``fit(2, 1)`` is a mix of ``fit(1, 1)`` and ``fit(2, 2)``, and ``fit(3, 1)`` is none.
    """
    own, one, two = (_by_bound(code_slice) for code_slice in (code, a, b))
    return all(
        (_are_mixed_statements if bound == UNNAMED else _is_mixed_definition)(
            own.get(bound, ()), one.get(bound, ()), two.get(bound, ())
        )
        for bound in own.keys() | one.keys() | two.keys()
    )


def _by_bound(code: Slice) -> dict[Bound, list[Part]]:
    statements: dict[Bound, list[Part]] = {}
    for part in statements_of(code.parts):
        statements.setdefault((part.path, part.names) if part.names else UNNAMED, []).append(part)
    return statements


def _is_mixed_definition(own: Sequence[Part], a: Sequence[Part], b: Sequence[Part]) -> bool:
    """Of statements that bind the same names, one after the other."""
    if _trees(own) in (_trees(a), _trees(b)):
        return True
    return len(own) == len(a) == len(b) and all(map(_is_mixed, own, a, b))


def _are_mixed_statements(own: Sequence[Part], a: Sequence[Part], b: Sequence[Part]) -> bool:
    """Of statements that bind nothing, each by itself."""
    counts, one, two = (Counter(_trees(parts)) for parts in (own, a, b))
    if len(own) not in (len(a), len(b)):
        return False
    if any(not min(one[tree], two[tree]) <= counts[tree] <= max(one[tree], two[tree]) for tree in one | two):
        return False
    others = [part for part in own if located_tree(part) not in one | two]
    gone, come = (
        [part for part in a if located_tree(part) not in two],
        [part for part in b if located_tree(part) not in one],
    )
    return all(any(_is_mixed(part, before, now) for before in gone for now in come) for part in others)


def _trees(parts: Sequence[Part]) -> list[tuple[str | None, str]]:
    return [located_tree(part) for part in parts]


def located_tree(part: Part) -> tuple[str | None, str]:
    """What a statement is, in which file: the same wherever it stands there."""
    return part.path, part.tree


def _is_mixed(own: Part, a: Part, b: Part) -> bool:
    if located_tree(own) in (located_tree(a), located_tree(b)):
        return True
    nodes = [parsed(part.text) for part in (own, a, b)]
    return own.path in (a.path, b.path) and None not in nodes and _is_mixed_node(*nodes)


@lru_cache(maxsize=1024)
def parsed(text: str) -> ast.Module | None:
    """The tree of a statement, without what says to people what a write is about; None where it is no Python."""
    try:
        tree: ast.Module = parse(dedent(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            node.keywords = without_labels(node)
    return tree


def _is_mixed_node(own: Any, a: Any, b: Any) -> bool:
    if _dumped(own) in (_dumped(a), _dumped(b)):
        return True
    if not type(own) is type(a) is type(b):
        return False
    if isinstance(own, list):
        return len(own) == len(a) == len(b) and all(map(_is_mixed_node, own, a, b))
    return isinstance(own, ast.AST) and all(
        _is_mixed_node(getattr(own, name, None), getattr(a, name, None), getattr(b, name, None))
        for name in own._fields
    )


def _dumped(node: Any) -> Any:
    """What two nodes are compared by."""
    if isinstance(node, list):
        return [_dumped(one) for one in node]
    return ast.dump(node) if isinstance(node, ast.AST) else (type(node), node)
