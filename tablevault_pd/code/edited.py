"""Whether a function has another form in what a slice has of it: of functions that were under way only some statements are in one."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from tablevault_pd.code.bodies import body_named
from tablevault_pd.code.statements import cut

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tablevault_pd.code.bodies import Body
    from tablevault_pd.code.statements import Statement

#: Methods of a vault or a list, which leave it as it is for what else is done with it.
_WRITING = frozenset(
    ["append", "upsert", "save", "log", "delete_rows", "restore", "tag", "map", "checkpoint"]
)


def function_of(tree: str) -> str | None:
    """The function that a statement of a slice stands in, by its digest; None on the top level."""
    function, colon, _ = tree.partition(":")
    return function if colon else None


def is_edited(function: str, trees: Collection[str], old: str, new: str) -> bool:
    """Whether the statements of a function with these digests, in the text `old`, are others in `new`, or need others there."""
    before, after = body_named(old, function), body_named(new, function)
    if after is None:
        return any(statement.kind == "def" and function in statement.names for statement in cut(new))
    if before is None:
        return not {statement.tree for statement in after.statements}.issuperset(
            tree for tree in trees if function_of(tree) == function
        )
    needed = [statement for statement in before.statements if statement.tree in trees]
    rest = iter([statement.tree for statement in after.statements])
    if not all(statement.tree in rest for statement in needed):
        return True
    return _needs_more(needed, {statement.tree for statement in before.statements}, after)


def _needs_more(needed: Sequence[Statement], trees_before: set[str], after: Body) -> bool:
    """Whether a statement that is new decides about those that a slice needs, or changes what these use."""
    trees = {statement.tree for statement in needed}
    numbers = [number for number, statement in enumerate(after.statements) if statement.tree in trees]
    names = {name.partition(".")[0] for one in needed for name in (*one.names, *one.uses, *one.later)}
    for number, statement in enumerate(after.statements):
        if statement.tree in trees_before:
            continue
        if any(number in _headers(after, other) for other in numbers):
            return True
        if (statement.loop is not None or number < numbers[-1]) and (
            number in after.decisive or not names.isdisjoint(_changed(statement))
        ):
            return True
    return False


def _changed(statement: Statement) -> set[str]:
    """The names that a statement binds or changes, as far as its text tells."""
    methods = [use for use in statement.uses if use.rpartition(".")[2] not in _WRITING]
    called = {use.partition(".")[0] for use in methods if "." in use}
    return {*statement.names, *called.intersection(statement.touches)}


def _headers(body: Body, number: int) -> list[int]:
    """The headers of the blocks that a statement is in."""
    headers = [number]
    while (header := body.statements[headers[-1]].header) is not None:
        headers.append(header)
    return list(takewhile(bool, headers[1:]))
