"""Whether a function or a script has another form in what a slice has of it: only some of its statements are in one."""

from __future__ import annotations

import builtins
from functools import cached_property
from typing import TYPE_CHECKING

from tablevault_pd.code.bodies import body_named
from tablevault_pd.code.namespaces import Piece
from tablevault_pd.code.program import Program, handles_of
from tablevault_pd.code.sharing import HOLDS, PUT, SAME, SAME_NEW
from tablevault_pd.code.statements import cut

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tablevault_pd.code.calls import Call
    from tablevault_pd.code.namespaces import Namespace
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


def is_edited(
    function: str, trees: Collection[str], old: str, new: str, modules: Sequence[Piece] = ()
) -> bool:
    """Whether the statements of a function with these digests, in the text `old`, are others in `new`, or need others there.

    `modules` are those that the text may import from.
    """
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
    form = _NewForm(new, after.statements, modules, after.decisive)
    return form.added(needed, {statement.tree for statement in before.statements}) is not None


def added(
    places: Collection[int], old: str, new: str, executed: Collection[int], modules: Sequence[Piece] = ()
) -> Statement | None:
    """The first statement that a newer text of a script has, where it was executed, and that changes what a slice uses.

    Parameters
    ----------
    places
        Where the statements of the slice begin in the text `old`.
    executed
        Where those begin that were executed of the text `new`.
    modules
        Those that it may import from.
    """
    before = cut(old, script=True)
    needed = [statement for statement in before if statement.line in places]
    trees_before = {statement.tree for statement in before}
    after = cut(new, script=True)
    if all(statement.tree in trees_before for statement in after if statement.line in executed):
        return None
    return _NewForm(new, after, modules).added(needed, trees_before, executed)


class _NewForm:
    """A function or a script in a newer text: which of its statements change what others use."""

    def __init__(
        self,
        text: str,
        statements: Sequence[Statement],
        modules: Sequence[Piece],
        decisive: Collection[int] = frozenset(),
    ) -> None:
        self._text, self._modules = text, modules
        self._statements, self._decisive = statements, decisive
        top = cut(text)
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
        """The names of what a statement changes, as far as the texts tell, and of what this is a part of."""
        writing = {use.partition(".")[0] for use in statement.uses if use.rpartition(".")[2] in _WRITING}
        changed = {
            (change.name, bool(change.path) or change.through)
            for change in statement.changed
            if change.name not in writing & self._handles
        }
        is_dropped = statement.kind == "other" and not statement.names
        for call in statement.calls:
            changed.update((name, True) for name in self._changed_by(call, is_dropped=is_dropped))
        return self._with_owners(changed.union((name, False) for name in statement.alters))

    def _with_owners(self, changes: set[tuple[str, bool]]) -> set[str]:
        """Names, and those whose values have a part in theirs: in ``for row in rows:``, what changes a row changes the rows.

        With each name whether something in its value may be changed, too: ``log.append(1)`` changes nothing that is in `log`.
        """
        shares = [share for statement in self._statements for share in statement.shares]
        reached, waiting = set(changes), list(changes)
        while waiting:
            name, is_inside = waiting.pop()
            for bound, source, how in shares:
                owner = (source.partition(".")[0], is_inside or how not in (SAME, SAME_NEW))
                if (
                    bound == name
                    and source
                    and (is_inside or how[:1] not in (HOLDS, PUT))
                    and owner not in reached
                ):
                    reached.add(owner)
                    waiting.append(owner)
        return {name for name, _ in reached}

    def _changed_by(self, call: Call, *, is_dropped: bool) -> Collection[str]:
        """The arguments that a call changes. One that no captured text has may change all if its value is dropped."""
        function, arguments = call
        program, home = self._home
        changed = program.changed_by(home, call)
        if changed is None:
            may = is_dropped and "." not in function and not hasattr(builtins, function)
            return [name for _, name in arguments] if may else []
        return changed

    @cached_property
    def _home(self) -> tuple[Program, Namespace]:
        """The text, and the captured modules that it may import from."""
        program = Program([Piece(self._text)], self._modules)
        program.index(program.main)
        module = next((piece.module for piece in self._modules if piece.text == self._text), None)
        home = None if module is None else program.module(module)
        return program, program.main if home is None else home


def _roots(names: Collection[str]) -> set[str]:
    """The names that dotted ones begin with."""
    return {name.partition(".")[0] for name in names}
