"""Which statements of a slice exist in a newer form that was executed or captured since.

What was executed is known a statement at a time: a cell that failed counts up to its last line, a script up to the last
statement that is known to have begun. A run that has not come to a place yet says nothing about it.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture.position import WAY
from tablevault_pd.code.calls import RANDOM
from tablevault_pd.code.edited import added, function_of, is_edited
from tablevault_pd.code.history import Executed, History, RunCell, statements_of
from tablevault_pd.code.statements import begun, cut, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tablevault_pd.code.statements import Statement
    from tablevault_pd.store import (
        Cell,
        Confirmation,
        Part,
        Session,
        Store,
        Version,
        WrittenCode,
    )

Place = tuple[int, int, int]  #: (session id, cell, place in it)
_DEFINITIONS = ("def", "class")


class Newer:
    """Compares slices with what was executed since. Everything is read once, however many slices are asked about."""

    def __init__(self, store: Store, versions: Sequence[Version]) -> None:
        self._store = store
        self._versions = versions
        self._histories: dict[str, History] = {}
        self._sessions: dict[int, Session] = {}

    def changed(self, code: WrittenCode, others: Sequence[WrittenCode]) -> list[str]:
        """What exists in a newer form of all that a slice is made of, named for people; `others` are slices of other lists."""
        names = dict.fromkeys(name_of(part) for part in code.parts if self._is_changed(part, code, others))
        return list(names or dict.fromkeys(self._added(code)))

    def doubtful(self, code: WrittenCode, others: Sequence[WrittenCode]) -> list[str]:
        """What may exist in a newer form: of cells without ids those that bind no name, such as ``rows.append(1)``.

        A later ``rows.append(2)`` is another form of it, or the next step. It is the next step if some slice has both, and of no
        concern if it serves another list.
        """
        slices = [code, *others]
        names = dict.fromkeys(name_of(part) for part in code.parts if self._is_doubtful(part, code, slices))
        return list(names)

    def _is_doubtful(self, part: Part, code: WrittenCode, slices: Sequence[WrittenCode]) -> bool:
        here = (part.session_id or 0, -1 if part.cell is None else part.cell)
        if part.path is not None or part.notebook is not None or part.names or part.cell is None:
            return False
        subjects = _subjects(_cut_part(part))
        if here == (code.session_id, code.cell) or not subjects:
            return False
        used = {(code_part.session_id, code_part.cell) for other in slices for code_part in other.parts}
        newest = False
        for cell in self._history(here[0]).cells:
            if cell.order <= here or cell.cell.notebook is not None:
                continue
            if part.tree in cell.trees:
                newest = False
            elif cell.order not in used and not cell.names:
                ran = {statement.line for statement in cell.statements}
                newest = newest or not subjects.isdisjoint(
                    _subjects(
                        [
                            line_statement
                            for line_statement in cut(cell.cell.text)
                            if line_statement.line in ran
                        ]
                    )
                )
        return newest

    def is_same_place(self, one: WrittenCode, other: WrittenCode) -> bool:
        """Whether two slices begin at the same statement, or cell, of two runs of one session name.

        Where the statement calls functions that lead to the commit, they lead there by the same statements.
        """
        names = {self._session(code.session_id).name for code in (one, other)}
        if len(names) > 1 or not (one.parts and other.parts):
            return False
        ways = [
            {part.tree for part in code.parts if function_of(part.tree) is not None} for code in (one, other)
        ]
        writers = [[(part.tree, part.path) for part in _writers(code)] for code in (one, other)]
        return writers[0] == writers[1] and ways[0] <= ways[1]

    def had_run(self, part: Part, code: WrittenCode) -> bool:
        """Whether a notebook had run a statement before the one that a slice begins at: its cells run in any order."""
        written = (code.session_id, code.cell)
        return part.path is None and any(
            part.tree in cell.trees
            for cell in self._history(code.session_id).cells
            if cell.cell.session_id == code.session_id and cell.order < written
        )

    # -- what is known

    @cached_property
    def _wrote(self) -> dict[tuple[int, int], set[tuple[int, int]]]:
        """Which (list, line) each (session, cell) wrote."""
        wrote: dict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
        written: list[Version | Confirmation] = [*self._versions, *self._store.confirmations()]
        for commit in written:
            if commit.session_id is not None and commit.cell is not None:
                wrote[commit.session_id, commit.cell].add((commit.list_id, (commit.line or 0) % WAY))
        return wrote

    def _session(self, session_id: int) -> Session:
        if session_id not in self._sessions:
            self._sessions.update({session.id: session for session in self._store.sessions([session_id])})
        return self._sessions[session_id]

    def _history(self, session_id: int) -> History:
        name = self._session(session_id).name
        if name not in self._histories:
            runs = self._store.sessions(name=name)
            self._sessions.update({run.id: run for run in runs})
            ids = [run.id for run in runs]
            cells = [self._run_cell(cell) for cell in self._store.cells(ids)]
            cells.sort(key=lambda cell: cell.order)
            self._histories[name] = History(cells, self._store.sources(ids))
        return self._histories[name]

    def _run_cell(self, cell: Cell) -> RunCell:
        until = self._until(cell)
        statements = list(statements_of(cell.text, cell.names))
        places = [(line, end) for line, end, *_ in statements]
        count = max((begun(places, place) for place in until), default=len(places))
        executed = [
            Executed(cell.session_id, cell.cell, line, kind, names, uses, tree)
            for line, _, kind, names, uses, tree in statements[:count]
        ]
        return RunCell(cell, executed, not until)

    def _until(self, cell: Cell) -> list[int]:
        """The places that it is known to have come to; none: all of it ran."""
        finished = self._session(cell.session_id).outcome == "finished" if cell.path else cell.outcome == "ok"
        if cell.until is None and finished:
            return []
        written = [place for _, place in self._wrote.get((cell.session_id, cell.cell), ())]
        return [*written, 0 if cell.until is None else cell.until]

    # -- one statement

    def _is_changed(self, part: Part, code: WrittenCode, others: Sequence[WrittenCode]) -> bool:
        if (function := function_of(part.tree)) is not None:
            return self._is_edited(function, part, code)
        if part.cell is None and part.path is not None:
            return self._module_changed(part, code)
        if part.session_id is None or part.cell is None:
            return (
                self._redefined(part, code, self._history(code.session_id))
                if part.kind in _DEFINITIONS
                else False
            )
        history = self._history(part.session_id)
        if part.path is not None:
            return self._script_changed(part, code, history)
        if part.kind in _DEFINITIONS and self._redefined(part, code, history):
            return True
        return self._cell_changed(part, code, others, history)

    def _is_edited(self, function: str, part: Part, code: WrittenCode) -> bool:
        """Whether the function that a statement stands in is another one now, in what the slice needs of it."""
        trees = {code_part.tree for code_part in code.parts if code_part.path == part.path}
        if part.session_id is None or part.cell is None:
            history = self._history(code.session_id)
            old, new = (history.module(part.path or "", until) for until in (code.session_id, None))
            before = "" if old is None else old.text
            return new is not None and is_edited(function, trees, before, new.text, history.modules)
        history, here = self._history(part.session_id), (part.session_id, part.cell)
        text = next((cell.cell.text for cell in history.cells if cell.order == here), "")
        for cell in reversed(history.cells):
            if cell.order <= here:
                return False
            if (
                cell.cell.path == part.path
                and cell.defines(function)
                and not self._was_beside(cell, part, code)
            ):
                return is_edited(function, trees, text, cell.cell.text, history.modules)
        return False

    def _was_beside(self, later: RunCell, part: Part, code: WrittenCode) -> bool:
        """Whether another cell of a notebook had the same text already when the rows were written."""
        if not _are_different(part.notebook, later.cell.notebook):
            return False
        written = (code.session_id, code.cell)
        cells = self._history(code.session_id).cells
        return any(cell.trees == later.trees for cell in cells if cell.order < written)

    def _module_changed(self, part: Part, code: WrittenCode) -> bool:
        assert part.path is not None
        newest = self._history(code.session_id).newest_module(part.path)
        if newest is None or part.tree in newest[1]:
            return False
        if part.names:
            return any(executed.names.intersection(part.names) for executed in newest[0])
        return _is_replaced(part, code, newest[0])

    def _script_changed(self, part: Part, code: WrittenCode, history: History) -> bool:
        """Whether the latest later run that came to the place executed another form of it."""
        assert part.session_id is not None
        assert part.cell is not None
        here = (part.session_id, part.cell)
        old = {tree for cell in history.cells if cell.order == here for tree in cell.trees}
        lists = {list_id for list_id, _ in self._wrote.get((code.session_id, code.cell), ())}
        for cell in reversed(history.cells):
            if cell.order <= here:
                return False
            if cell.cell.path != part.path or not cell.statements:
                continue
            if part.tree in cell.trees:
                return False
            if self._does_the_same(cell, part, old, lists):
                return True
            is_writer = (*here, part.line) == (code.session_id, code.cell, code.line)
            if not part.names and not is_writer and _is_replaced(part, code, cell.statements, old):
                return True
            if cell.complete:
                return False  # the place is there no more
        return False

    def _added(self, code: WrittenCode) -> Iterator[str]:
        """What later runs of the scripts of a slice have executed besides, and what changes what the slice uses, named for people."""
        places: dict[tuple[int, int, str], set[int]] = defaultdict(set)
        for part in code.parts:
            if part.path and part.session_id and part.cell is not None and function_of(part.tree) is None:
                places[part.session_id, part.cell, part.path].add(part.line)
        trees = {part.tree for part in code.parts}
        for (session_id, cell, path), lines in places.items():
            reached: set[str] = set()  # of the slice, by newer runs: of what comes before only these tell
            for later, old in self._later_runs((session_id, cell), path):
                needed = trees.intersection(later.trees)
                if needed <= reached:
                    continue
                ends = [number for number, one in enumerate(later.statements, 1) if one.tree in reached]
                executed = {one.line for one in later.statements[max(ends, default=0) :]}
                modules = self._history(session_id).modules
                statement = added(lines, old, later.cell.text, executed, modules)
                if statement is not None:
                    yield f"{path}: {_first_of(text_of(later.cell.text, statement))}"
                if statement is not None or later.complete:
                    break
                reached |= needed

    def _later_runs(self, here: tuple[int, int], path: str) -> Iterator[tuple[RunCell, str]]:
        """Later runs of a script, the newest first, with its text as it was before."""
        cells = self._history(here[0]).cells
        old = next((cell.cell.text for cell in cells if cell.order == here), "")
        for cell in reversed(cells):
            if cell.order <= here:
                return
            if cell.cell.path == path and cell.statements:
                yield cell, old

    def _does_the_same(self, later: RunCell, part: Part, old: set[str], lists: set[int]) -> bool:
        """Whether a later run has, in another form, what defines the same names, or writes the same list."""
        lines = {line for list_id, line in self._wrote.get(later.order, ()) if list_id in lists}
        for statement in later.statements:
            same = statement.names.intersection(part.names) if part.names else statement.line in lines
            if same and statement.tree not in old:
                return True
        return False

    def _redefined(self, part: Part, code: WrittenCode, history: History) -> bool:
        """Whether a function or class was defined otherwise since, in whatever cell."""
        here = (part.session_id or 0, -1 if part.cell is None else part.cell)
        written = (code.session_id, code.cell)
        ours = {(other_part.session_id, other_part.cell, other_part.line) for other_part in code.parts}
        trees_of_others = {other_part.tree for other_part in code.parts if other_part is not part}
        earlier: set[str] = set()
        latest: Executed | None = None
        for cell in history.cells:
            for statement in cell.statements:
                if statement.kind not in _DEFINITIONS or not statement.names.intersection(part.names):
                    continue
                if cell.order < written:
                    earlier.add(statement.tree)
                if cell.order <= here:
                    continue
                if (
                    statement.session_id,
                    statement.cell,
                    statement.line,
                ) in ours or statement.tree in trees_of_others:
                    continue
                if _are_different(part.notebook, cell.cell.notebook) and statement.tree in earlier:
                    continue  # a definition that was there beside this one already
                latest = statement
        return latest is not None and latest.tree != part.tree

    def _cell_changed(
        self, part: Part, code: WrittenCode, others: Sequence[WrittenCode], history: History
    ) -> bool:
        assert part.session_id is not None
        assert part.cell is not None
        here = (part.session_id, part.cell)
        later = [other for other in history.cells if other.order > here and other.statements]
        mine = next((other for other in history.cells if other.order == here), None)
        if part.notebook is not None:
            same = [cell for cell in later if cell.cell.notebook == part.notebook]
        elif mine is None:
            return False
        else:
            same = [cell for cell in later if self._is_same_cell(cell, mine, part, code, others)]
        if not same or part.tree in same[-1].trees:
            return False
        newest = same[-1]
        forms = [one for one in newest.statements if one.names.intersection(part.names)]
        may_bind = part.kind == "other" or part.text[:1].isspace()  # it stands in a block, such as an ``if``
        used = {(other.session_id, other.cell, other.line) for other in code.parts}
        if may_bind and any((one.session_id, one.cell, one.line) in used for one in forms):
            return False  # so does the newer form, which the rows are made of
        if forms:
            return True
        if part.names:
            return False
        if here != (code.session_id, code.cell):
            return _is_replaced(part, code, newest.statements)
        return newest.complete or newest.order in self._wrote

    def _is_same_cell(
        self, later: RunCell, mine: RunCell, part: Part, code: WrittenCode, others: Sequence[WrittenCode]
    ) -> bool:
        """Whether a later cell without an id is the same one, by what it does: it defines the same names or writes the same list."""
        if later.cell.notebook is not None:
            return False
        if later.order in _cells_of(code) or any(
            later.trees == trees_of for trees_of in _trees_by_cell(code.parts, (part.session_id, part.cell))
        ):
            return False  # another place of the same slice
        if later.trees == mine.trees:
            return True
        if any(
            later.order == (other_part.session_id, other_part.cell)
            for other in others
            for other_part in other.parts
        ):
            return False  # it serves another list
        if mine.names:
            return later.names == mine.names and not _continues(later, mine.names)
        lists = {list_id for list_id, _ in self._wrote.get(mine.order, ())}
        same_lists = lists & {list_id for list_id, _ in self._wrote.get(later.order, ())}
        return bool(same_lists) and later.cell.session_id != mine.cell.session_id


def _writers(code: WrittenCode) -> list[Part]:
    """The statement that wrote; of a whole cell its last one; of functions the one that called them and their last one."""
    here = (code.session_id, code.cell, code.line % WAY)
    called = [part for part in code.parts if (part.session_id, part.cell, part.line) == here]
    return [*called[:1], *(code.parts[-1:] if code.line >= WAY or not called else ())]


def _cut_part(part: Part) -> tuple[Statement, ...]:
    """A part as a statement: one of a block is indented, and a header has no body."""
    text = dedent(part.text)
    return cut(text) or cut(f"{text} pass")


def _cells_of(code: WrittenCode) -> set[tuple[int | None, int | None]]:
    """The cells, as (session, cell), that have a part of a slice."""
    return {(part.session_id, part.cell) for part in code.parts}


def _is_replaced(part: Part, code: WrittenCode, newest: Sequence[Executed], old: Iterable[str] = ()) -> bool:
    """Whether a statement without names, such as ``settings.update(…)``, has another form that begins from the same ones."""
    uses = {
        use for statement in _cut_part(part) for use in (*statement.uses, *statement.later) if use != RANDOM
    }
    trees_of_code = {code_part.tree for code_part in code.parts}.union(old)
    return any(
        not statement.names and statement.uses & uses and statement.tree not in trees_of_code
        for statement in newest
    )


def _subjects(statements: Sequence[Statement]) -> set[tuple[str, str]]:
    """What statements that bind no name may change: (object, "") by its methods, (object, function) by a call."""
    subjects = {(name, "") for statement in statements if not statement.names for name in statement.touches}
    for statement in statements:
        for function, arguments in () if statement.names else statement.calls:
            subjects.update((name, function) for _, name in arguments)
    return subjects


def _continues(cell: RunCell, names: frozenset[str]) -> bool:
    """Whether a cell looks one of these names up before it defines it: it goes on from there, and is no other form of it."""
    defined: set[str] = set()
    for statement in cell.statements:
        if any(use.partition(".")[0] in names - defined for use in statement.uses):
            return True
        defined |= statement.names
    return False


def _are_different(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def _trees_by_cell(parts: Iterable[Part], but: tuple[Any, Any]) -> Iterator[tuple[str, ...]]:
    """The trees of each other cell of a slice."""
    cells: dict[tuple[Any, Any], list[str]] = defaultdict(list)
    for part in parts:
        if part.cell is not None and (part.session_id, part.cell) != but:
            cells[part.session_id, part.cell].append(part.tree)
    for cell_trees in cells.values():
        yield tuple(cell_trees)


def name_of(part: Part) -> str:
    """``helper.py: clean``, ``In[3]: f``; of a statement without names its first line."""
    what = function_of(part.tree) or ", ".join(part.names) or _first_of(part.text)
    return f"{part.place or 'a cell'}: {what}"


def _first_of(text: str) -> str:
    """The first line of a statement that is no comment."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return lines[0].strip()[:60] if lines else ""
