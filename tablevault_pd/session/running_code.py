"""Store the code that runs while rows are committed, and slice all code of a session at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.capture.cell_place import way_of_cell
from tablevault_pd.capture.position import way_of_main
from tablevault_pd.code import statement_place
from tablevault_pd.session.executed import CELLS
from tablevault_pd.session.heartbeat import warn
from tablevault_pd.store import Beat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.capture.position import StackLevel
    from tablevault_pd.session.outbox import Outbox
    from tablevault_pd.store import Session, Store, WrittenCode


def store_code(store: Store, row: Session, outbox: Outbox, cell: int) -> int | None:
    """Store a running cell and the code that it needs, unless the store has them.

    Return the place where the running statement begins, with the number of the way from there to the commit; 0 if it is not
    known; None if the code cannot be recorded.
    """
    text, running = text_of_script(outbox, cell), outbox.cells.running(cell)
    line: int | None = None
    levels: tuple[StackLevel, ...] = ()
    if text is not None:
        place, levels = way_of_main()
        line = statement_place(text, place, script=True)
    elif running is not None:
        place, levels = way_of_cell(running.text)
        line = statement_place(running.text, place)
    line, levels = (None, ()) if line is None else outbox.code.numbered(cell, line, levels)
    if outbox.cells.is_stored(cell) and outbox.code.is_stored(cell, line):
        return line or 0
    code = _new_code(store, row, outbox, cell, line, levels)
    beat = Beat(row.id, cells=outbox.cells.unstored(), attempt=row.attempt, **(code or {}))
    if not beat.is_empty:
        store.beat([beat])
        outbox.code.mark_stored(beat.sources, beat.code)
    outbox.cells.mark_stored(cell)
    return None if code is None else line or 0


def text_of_script(outbox: Outbox, cell: int) -> str | None:
    """Return the text of a running script, and note the cell of a script or prompt for slices. None in a notebook."""
    outbox.cells.read_prompt()
    running = outbox.cells.running(cell)
    if running is None or (running.path is None and CELLS):
        return None
    code = outbox.code
    code.scripts = [*(script for script in code.scripts if script.cell != cell), running]
    return None if running.path is None else running.text


def slices_of_all(store: Store, row: Session, outbox: Outbox) -> list[WrittenCode]:
    """Return the slice of all that the session executed."""
    try:
        return outbox.code.everything(store.vault_id, row.id)
    except Exception as error:  # noqa: BLE001  # the end is worth more
        _warn_of(row, error)
        return []


def _new_code(
    store: Store, row: Session, outbox: Outbox, cell: int, line: int | None, levels: Sequence[StackLevel]
) -> dict[str, Any] | None:
    """Return the modules and slices that the store does not have yet, as fields of a :class:`Beat`."""
    try:
        return {
            "sources": tuple(outbox.code.sources(row.id, cell)),
            "code": tuple(outbox.code.code(store.vault_id, row.id, cell, line, levels)),
        }
    except Exception as error:  # noqa: BLE001  # whatever it is, the rows are written
        _warn_of(row, error)
        return None


def _warn_of(row: Session, error: Exception) -> None:
    warn(f"tablevault_pd cannot record the code of {row.label}: {error}")
