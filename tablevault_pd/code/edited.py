"""Whether a function or a script has another form in what a slice has of it: only some of its statements are in one."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

from tablevault_pd.code.bodies import body_named
from tablevault_pd.code.program import handles_of
from tablevault_pd.code.statements import cut

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

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
    form = _NewForm(new, after.statements, after.decisive)
    return form.added(needed, {statement.tree for statement in before.statements}) is not None


def added(places: Collection[int], old: str, new: str, executed: Collection[int]) -> Statement | None:
    """The first statement that a newer text of a script has, where it was executed, and that changes what a slice uses.

    Parameters
    ----------
    places
        Where the statements of the slice begin in the text `old`.
    executed
        Where those begin that were executed of the text `new`.
    """
    before = cut(old, script=True)
    needed = [statement for statement in before if statement.line in places]
    trees_before = {statement.tree for statement in before}
    after = cut(new, script=True)
    if all(statement.tree in trees_before for statement in after if statement.line in executed):
        return None
    return _NewForm(new, after).added(needed, trees_before, executed)


class _NewForm:
    """A function or a script in a newer text: which of its statements change what others use."""

    def __init__(
        self, text: str, statements: Sequence[Statement], decisive: Collection[int] = frozenset()
    ) -> None:
        self._statements, self._decisive = statements, decisive
        top = cut(text)
        self._functions = {name: one for one in top if one.kind == "def" for name in one.names}
        self._handles: set[str] = set()
        for statement in (*top, *statements):
            self._handles |= handles_of(statement, self._handles)
        self._handles |= {
            use.partition(".")[0]
            for statement in statements
            for use in statement.uses
            if use.rpartition(".")[2] in _OF_HANDLES
        }

    def added(
        self,
        needed: Sequence[Statement],
        trees_before: Collection[str],
        executed: Collection[int] | None = None,
    ) -> Statement | None:
        """The first new statement that decides about those that a slice needs, or changes what these use."""
        trees = {statement.tree for statement in needed}
        numbers = [number for number, one in enumerate(self._statements) if one.tree in trees]
        headers = {header for number in numbers for header in self._headers(number)}
        for number, statement in enumerate(self._statements):
            if statement.tree in trees_before or (executed is not None and statement.line not in executed):
                continue
            if number in headers or self._counts(number, numbers):
                return statement
        return None

    def _headers(self, number: int) -> Iterator[int]:
        """The headers of the blocks that a statement is in, which decide whether it runs."""
        header = self._statements[number].header
        while header is not None:
            if self._statements[header].block != "with":
                yield header
            header = self._statements[header].header

    def _counts(self, number: int, needed: Sequence[int]) -> bool:
        """Whether a new statement ends the function before one that is needed, or changes what that uses."""
        statement = self._statements[number]
        if not needed or (statement.loop is None and number > needed[-1]):
            return False
        if number in self._decisive:
            return True
        bound = set(statement.names).difference(statement.alters)
        return any(self._is_used(name, number, needed) for name in bound) or any(
            self._is_used(name, number, needed, is_changed=True) for name in self._changed(statement)
        )

    def _is_used(self, name: str, number: int, needed: Sequence[int], *, is_changed: bool = False) -> bool:
        """Whether what a statement binds to a name, or changes there, is used by those that are needed."""
        anywhere = is_changed or self._statements[number].loop is not None
        for other in needed:
            one = self._statements[other]
            if name in _roots(one.later):
                return True  # by a function, whenever it is called
            if (anywhere or other > number) and name in _roots(one.uses):
                return True
            if other > number and one.sure and name in one.names:
                return False
        return False

    def _changed(self, statement: Statement) -> set[str]:
        """The names of what a statement changes, as far as the text tells, and of what this is a part of."""
        writing = {use.partition(".")[0] for use in statement.uses if use.rpartition(".")[2] in _WRITING}
        changed = {change.name for change in statement.changed} - (writing & self._handles)
        is_dropped = statement.kind == "other" and not statement.names
        for function, arguments in statement.calls:
            changed |= {name for place, name in arguments if self._changes(function, place, is_dropped)}
        return self._with_owners(changed.union(statement.alters))

    def _with_owners(self, names: set[str]) -> set[str]:
        """Names, and those whose values have a part in theirs: in ``for row in rows:``, what changes a row changes the rows."""
        shares = [share for statement in self._statements for share in statement.shares]
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


def _roots(names: Collection[str]) -> set[str]:
    """The names that dotted ones begin with."""
    return {name.partition(".")[0] for name in names}
