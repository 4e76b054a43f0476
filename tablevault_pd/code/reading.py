"""The slices that a store keeps: of versions, of rows, of sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tablevault_pd.capture import script
from tablevault_pd.capture.position import line_of
from tablevault_pd.code.namespaces import Piece
from tablevault_pd.code.slice import Slice, Slicer
from tablevault_pd.code.statements import cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tablevault_pd.store import Cell, Part, Store, Version

Place = tuple[int, int, int]  #: (session id, cell, place in it)


def slices_of(store: Store, places: Iterable[Place]) -> dict[Place, Slice]:
    """The slice of each place that has one."""
    codes = store.written_code(sorted(set(places)))
    return {(code.session_id, code.cell, code.line): Slice(code.parts, code.unresolved) for code in codes}


def slices_of_rows(
    store: Store, version: Version, positions: Sequence[int] | np.ndarray | None = None
) -> list[tuple[np.ndarray, int, int, Slice]]:
    """(positions, session id, cell, slice) of the rows of a version, or of some of them, by who wrote them."""
    at = np.arange(version.total) if positions is None else np.asarray(positions, np.int64)
    spans = store.spans_written([version])
    spans_of = np.searchsorted(spans.start, at, side="right") - 1
    places = list(zip(spans.session_id.tolist(), spans.cell.tolist(), spans.line.tolist(), strict=True))
    rows: dict[Place, list[np.ndarray]] = {}
    for number in np.unique(spans_of).tolist():
        rows.setdefault(places[number], []).append(at[spans_of == number])
    slices = slices_of(store, [place for place in rows if place[1] >= 0])
    return [
        (np.concatenate(parts), place[0], place[1], slices.get(place, Slice()))
        for place, parts in rows.items()
    ]


def slice_of_rows(
    store: Store, version: Version, positions: Sequence[int] | np.ndarray | None = None
) -> Slice:
    """All that made these rows, together."""
    return joined([slices_of_row for *_, slices_of_row in slices_of_rows(store, version, positions)])


def slice_of_version(store: Store, version: Version) -> Slice:
    """The slice of the commit that made a version; an empty one if no session's code did."""
    if version.session_id is None or version.cell is None:
        return Slice()
    place = (version.session_id, version.cell, version.line or 0)
    return slices_of(store, [place]).get(place, Slice())


def slice_of_session(store: Store, session_id: int) -> Slice:
    """All that a session executed, with what it needs of modules; of one that was resumed, what its newest attempt did."""
    place = (session_id, -1, 0)
    stored = slices_of(store, [place]).get(place)
    if stored is not None:
        return stored
    pieces = [
        Piece(
            cell.text,
            cell.path,
            session_id,
            cell.cell,
            cell.notebook,
            cell.until,
            whole=cell.path is not None,  # as at the end of a session
            count=cell.execution_count,
        )
        for cell in _of_newest_attempt(store.cells([session_id]))
    ]
    sources = {source.path: source for source in store.sources([session_id])}  # the latest of each
    modules = [Piece(source.text, source.path, module=source.module) for source in sources.values()]
    return Slicer(pieces, modules).of_everything()


def _of_newest_attempt(cells: Sequence[Cell]) -> Sequence[Cell]:
    """The cells of one session from where a script began last: each attempt of a script begins with all that it defines."""
    starts = [
        number for number, cell in enumerate(cells) if cell.path is not None and cell.path != script.PROMPT
    ]
    return cells[starts[-1] :] if starts else cells


def program_trees(store: Store, session_ids: Sequence[int]) -> dict[int, set[tuple[str | None, str]]]:
    """Of each session (path, digest of the syntax tree) of every top-level statement of its script or cells, and modules."""
    programs: dict[int, set[tuple[str | None, str]]] = {session_id: set() for session_id in session_ids}
    for cell in store.cells(session_ids):
        statements = cut(cell.text, script=cell.path is not None)
        programs[cell.session_id] |= {(cell.path, one.tree) for one in statements}
    for source in store.sources(session_ids):
        programs[source.session_id] |= {(source.path, one.tree) for one in cut(source.text)}
    return programs


def joined(slices: Sequence[Slice]) -> Slice:
    """Several slices as one: each part once, also one that a script executed in several attempts of one session."""
    if len(slices) == 1:
        return slices[0]
    cells: dict[tuple[int | None, str | None, str], int | None] = {}
    parts = dict.fromkeys(
        part
        for code_slice in slices
        for part in code_slice.parts
        if part.path is None
        or cells.setdefault((part.session_id, part.path, part.tree), part.cell) == part.cell
    )
    unresolved = sorted({name for code_slice in slices for name in code_slice.unresolved})
    return Slice(tuple(parts), tuple(unresolved))


def frame_of(parts: Sequence[Part], labels: dict[int | None, str], unresolved: Sequence[str]) -> pd.DataFrame:
    """A slice as a frame: one line for each statement, in order of execution."""
    frame = pd.DataFrame(
        {
            "session": pd.array([labels.get(part.session_id) for part in parts], dtype="str"),
            "cell": pd.array([part.cell for part in parts], dtype="Int64"),
            "path": pd.array([part.path for part in parts], dtype="str"),
            "line": pd.array([line_of(part.line) for part in parts], dtype="Int64"),
            "names": pd.Series([list(part.names) for part in parts], dtype=object),
            "text": pd.array([part.text for part in parts], dtype="str"),
        }
    )
    if unresolved:
        missing = pd.DataFrame({"names": [list(unresolved)]})
        frame = pd.concat([frame, missing.reindex(columns=frame.columns)], ignore_index=True).astype(
            {"session": "str", "cell": "Int64", "path": "str", "line": "Int64", "text": "str"}
        )
    return frame
