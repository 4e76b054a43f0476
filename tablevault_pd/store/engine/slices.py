"""Slices as every store keeps them: of each part the key of its statement, and where it stands. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.store.session_types import Part, WrittenCode

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

#: path, kind, names, text and tree of a statement
Statement = tuple[str | None, str, "Sequence[str]", str, str]


def stored_part(code: WrittenCode, part: Part, key: Hashable) -> list[Any]:
    """A part of a slice as it is stored, given the key of its statement; None stands for the session of the slice itself."""
    session_id = None if part.session_id == code.session_id else part.session_id
    return [key, session_id, part.cell, part.line, part.end, part.notebook]


def cells_of(own: int, parts: Sequence[Sequence[Any]]) -> set[tuple[int, int]]:
    """The (session, cell) that stored parts of a slice of session `own` stand in."""
    return {(_session(own, part), part[2]) for part in parts if part[2] is not None}


def code_of(
    place: tuple[int, int, int],
    parts: Sequence[Sequence[Any]],
    unresolved: Sequence[str],
    statements: Mapping[Any, Statement],
    counts: Mapping[tuple[int, int], int | None],
) -> WrittenCode:
    """The slice of a (session, cell, line) from what is stored of it, its statements by key and the execution counts of its cells."""
    return WrittenCode(
        *place, tuple(_part(place[0], part, statements[part[0]], counts) for part in parts), tuple(unresolved)
    )


def _session(own: int, part: Sequence[Any]) -> int:
    session_id: int | None = part[1]
    return own if session_id is None else session_id


def _part(
    own: int, part: Sequence[Any], statement: Statement, counts: Mapping[tuple[int, int], int | None]
) -> Part:
    _, session_id, cell, line, end, notebook = part
    path, kind, names, text, tree = statement
    if cell is not None:
        session_id = _session(own, part)
    count = counts.get((session_id, cell))
    return Part(path, session_id, cell, line, end, kind, tuple(names), text, tree, notebook, count)
