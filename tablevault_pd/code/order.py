"""The order of the statements of a slice, as far as it counts: cells are run again, in whatever order comes to mind.

A definition whose value is written out (``PROMPT = "Be brief."``, a function, an import) may stand anywhere before its first use,
if nothing else in the slice binds its name. All other statements count in the order in which they ran.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from tablevault_pd.code.syntax import FUNCTIONS, parsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tablevault_pd.store import Part

_WORD = re.compile(r"\w+")
Bound = tuple[str | None, tuple[str, ...]]  #: (path, names that a statement binds)


def are_free(parts: Sequence[Part]) -> list[bool]:
    """Which statements may stand anywhere before their first use."""
    bound = Counter((part.path, name) for part in parts for name in part.names)
    mentioned = Counter(
        word for part in parts if not part.text.startswith("from ") for word in set(_WORD.findall(part.text))
    )

    def is_free(part: Part) -> bool:
        if not part.names or any(bound[part.path, name] > 1 for name in part.names):
            return False
        module = _needs_nothing(part.text)
        # What is imported from a module may be another thing once something else has changed the module.
        return module is not None and not any(mentioned[word] for word in module)

    return [is_free(part) for part in parts]


def in_order_of(parts: Sequence[Part], others: Sequence[Part]) -> Iterator[Part]:
    """The statements, those that may stand anywhere in the places that they have among `others`."""
    theirs = [
        (part.path, part.names) for part, is_free in zip(others, are_free(others), strict=True) if is_free
    ]
    free = {
        (part.path, part.names): part
        for part, is_free in zip(parts, are_free(parts), strict=True)
        if is_free and (part.path, part.names) in theirs
    }
    waiting = dict(free)
    fixed = [part for part in parts if waiting.get((part.path, part.names)) is not part]
    for other in others:
        bound = (other.path, other.names)
        if bound in waiting:
            yield waiting.pop(bound)  # needs nothing when it runs
        elif bound not in theirs and (at := _place_in(fixed, other)) is not None:
            for part in fixed[: at + 1]:
                yield from _with_needed(part, free, waiting)
            del fixed[: at + 1]
    for part in fixed:
        yield from _with_needed(part, free, waiting)
    yield from waiting.values()


def _place_in(parts: Sequence[Part], other: Part) -> int | None:
    """Where the statement is, or else another one that binds its names."""
    trees = [
        number for number, part in enumerate(parts) if (part.path, part.tree) == (other.path, other.tree)
    ]
    names = [
        number
        for number, part in enumerate(parts)
        if other.names and (part.path, part.names) == (other.path, other.names)
    ]
    return next(iter([*trees, *names]), None)


def _with_needed(part: Part, free: dict[Bound, Part], waiting: dict[Bound, Part]) -> Iterator[Part]:
    """The statement, after those that wait and that it needs: that it mentions, or a function that it mentions does."""
    words = set(_WORD.findall(part.text))
    others = {bound: one for bound, one in free.items() if bound[0] == part.path}
    while mentioned := [bound for bound in others if words.intersection(bound[1])]:
        for bound in mentioned:
            words.update(_WORD.findall(others.pop(bound).text))
    for bound in [bound for bound in waiting if bound[0] == part.path and bound not in others]:
        yield waiting.pop(bound)
    yield part


@lru_cache(maxsize=4096)
def _needs_nothing(text: str) -> tuple[str, ...] | None:
    """Of a definition that needs nothing when it runs the names of the module that it imports from; None of other statements."""
    if text[:1].isspace():  # inside of a block
        return None
    try:
        body = parsed(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # the head of a block, or a magic
    if len(body) != 1:
        return None
    [node] = body
    if isinstance(node, ast.ImportFrom):
        is_plain = node.level == 0 and all(name.name != "*" for name in node.names)
        return tuple((node.module or "").split(".")) if is_plain else None
    return () if isinstance(node, ast.Import) or _is_written_out(node) else None


def _is_written_out(node: ast.AST) -> bool:
    """Whether a definition looks up no name when it runs."""
    if isinstance(node, FUNCTIONS):
        return not node.decorator_list and _are_values(_defaults(node.args))
    if isinstance(node, ast.ClassDef):
        has_head = node.decorator_list or node.bases or node.keywords
        return not has_head and all(map(_is_written_out, node.body))
    if isinstance(node, ast.Pass):
        return True
    if isinstance(node, ast.Expr):
        return _is_value(node.value)
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) for target in node.targets) and _are_values([node.value])
    return (
        isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.value is not None
        and _are_values([node.value])
    )


def _defaults(arguments: ast.arguments) -> list[ast.expr | None]:
    return [*arguments.defaults, *arguments.kw_defaults]


def _are_values(nodes: Iterable[ast.expr | None]) -> bool:
    return all(node is None or _is_value(node) for node in nodes)


def _is_value(node: ast.AST) -> bool:
    """Whether an expression looks up no name and calls nothing."""
    if isinstance(node, ast.Lambda):
        return _are_values(_defaults(node.args))
    if isinstance(node, (ast.Name, ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)):
        return False
    return all(map(_is_value, ast.iter_child_nodes(node)))
