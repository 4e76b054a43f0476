"""Statements that differ only in values which are written out, as a parameter is in ``train(lr=0.1)`` or in a table of settings."""

from __future__ import annotations

import ast
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from tablevault_pd.analysis.facts import alike

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Values = tuple[Any, Any]  #: of the two sides
_NO_LITERAL = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)


def parameters_written(
    a: ast.AST | None, b: ast.AST | None, parameters: Mapping[str, Values]
) -> frozenset[str]:
    """The parameters with whose values two pieces of code are written; empty where these differ in anything else."""
    names: set[str] = set()
    for one, two in _different(a, b, [*parameters.values()]):
        matching = {name for name, values in parameters.items() if _are(values, one, two)}
        if not matching:
            return frozenset()
        names |= matching
    return frozenset(names)


def _different(a: Any, b: Any, values: list[Values]) -> Iterator[tuple[Any, Any]]:
    """The outermost nodes that differ and are such values, or that have no nodes in them which could be."""
    if type(a) is not type(b) or any(_are(pair, a, b) for pair in values):
        yield a, b
    elif isinstance(a, list):
        for one, two in zip_longest(a, b):
            yield from _different(one, two, values)
    elif not isinstance(a, ast.AST):
        if a != b:
            yield a, b
    else:
        if isinstance(a, ast.Constant):
            if not alike(a.value, b.value):
                yield a, b
            return
        for name in a._fields:
            yield from _different(getattr(a, name, None), getattr(b, name, None), values)


def _are(values: Values, a: Any, b: Any) -> bool:
    """Whether two nodes are written with a value each."""
    if not (isinstance(a, ast.expr) and isinstance(b, ast.expr)):
        return False
    try:
        written = ast.literal_eval(a), ast.literal_eval(b)
    except _NO_LITERAL:
        return False
    return all(alike(one, two) for one, two in zip(values, written, strict=True))
