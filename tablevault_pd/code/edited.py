"""Whether a function has another form in what a slice has of it: of functions that were under way only some statements are in one."""

from __future__ import annotations

import builtins
from itertools import takewhile
from typing import TYPE_CHECKING

from tablevault_pd.code.bodies import body_named
from tablevault_pd.code.program import handles_of
from tablevault_pd.code.statements import cut

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tablevault_pd.code.bodies import Body
    from tablevault_pd.code.statements import Statement

#: Methods of a vault or a list, which leave it as it is for what else is done with it.
_WRITING = frozenset(
    ["append", "upsert", "save", "log", "delete_rows", "restore", "tag", "map", "checkpoint"]
)
#: Those of them that nothing else has: what they are called of is a vault or a list.
_OF_HANDLES = _WRITING - {"append", "log", "map"}


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
    return _NewForm(new, after).needs_more(needed, {statement.tree for statement in before.statements})


class _NewForm:
    """A function in a newer text: which of its statements change what others use."""

    def __init__(self, text: str, body: Body) -> None:
        self._body = body
        top = cut(text)
        self._functions = {name: one for one in top if one.kind == "def" for name in one.names}
        self._handles: set[str] = set()
        for statement in (*top, *body.statements):
            self._handles |= handles_of(statement, self._handles)
        self._handles |= {
            use.partition(".")[0]
            for statement in body.statements
            for use in statement.uses
            if use.rpartition(".")[2] in _OF_HANDLES
        }

    def needs_more(self, needed: Sequence[Statement], trees_before: set[str]) -> bool:
        """Whether a statement that is new decides about those that a slice needs, or changes what these use."""
        trees = {statement.tree for statement in needed}
        statements = self._body.statements
        numbers = [number for number, statement in enumerate(statements) if statement.tree in trees]
        names = {name.partition(".")[0] for one in needed for name in (*one.names, *one.uses, *one.later)}
        for number, statement in enumerate(statements):
            if statement.tree in trees_before:
                continue
            if any(number in _headers(self._body, other) for other in numbers):
                return True
            if (statement.loop is not None or number < numbers[-1]) and (
                number in self._body.decisive or not names.isdisjoint(self._changed(statement))
            ):
                return True
        return False

    def _changed(self, statement: Statement) -> set[str]:
        """The names that a statement binds or changes, as far as the text tells, and those that have a part in what it changes."""
        writing = {use.partition(".")[0] for use in statement.uses if use.rpartition(".")[2] in _WRITING}
        changed = {change.name for change in statement.changed} - (writing & self._handles)
        is_dropped = statement.kind == "other" and not statement.names
        for function, arguments in statement.calls:
            changed |= {name for place, name in arguments if self._changes(function, place, is_dropped)}
        return {*statement.names, *self._with_owners(changed)}

    def _with_owners(self, names: set[str]) -> set[str]:
        """Names, and those whose values have a part in theirs: in ``for row in rows:``, what changes a row changes the rows."""
        shares = [share for statement in self._body.statements for share in statement.shares]
        size = 0
        while size < len(names):
            size = len(names)
            names |= {source.partition(".")[0] for name, source, _ in shares if source and name in names}
        return names

    def _changes(
        self, function: str, place: int | str, is_dropped: bool, above: tuple[str, ...] = ()
    ) -> bool:
        """Whether a call changes an argument: one of another module may if nothing is done with what it returns."""
        own = self._functions.get(function)
        if own is None:
            return is_dropped and "." not in function and not hasattr(builtins, function)
        if function in above:
            return False
        if isinstance(place, int):
            if place >= len(own.parameters):
                return bool(own.changes)
            place = own.parameters[place]
        return place in own.changes or any(
            name == place and self._changes(inner, at, is_dropped, (*above, function))
            for inner, arguments in own.passes
            for at, name in arguments
        )


def _headers(body: Body, number: int) -> list[int]:
    """The headers of the blocks that a statement is in."""
    headers = [number]
    while (header := body.statements[headers[-1]].header) is not None:
        headers.append(header)
    return list(takewhile(bool, headers[1:]))
