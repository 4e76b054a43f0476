"""The code that wrote rows: the cells of the commits that made them."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tablevault_pd.store import Cell, Store, Version


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of code."""

    path: str | None
    cell: int | None
    names: tuple[str, ...]
    text: str

    @property
    def tree(self) -> str:
        """What two equal pieces have in common."""
        return self.text.strip()


@dataclass(frozen=True, slots=True)
class Slice:
    """Several pieces of code, in the order in which they ran."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(part.text for part in self.parts)


def slice_of_rows(store: Store, version: Version, positions: np.ndarray | None = None) -> Slice:
    """The cells whose commits wrote these rows of a version; default: all rows."""
    spans = store.spans_written([version])
    touched = (
        np.ones(len(spans.start), bool)
        if positions is None
        else np.array(
            [
                ((positions >= low) & (positions < high)).any()
                for low, high in zip(spans.start, spans.stop, strict=True)
            ],
            bool,
        )
    )
    wanted = dict.fromkeys(zip(spans.session_id[touched].tolist(), spans.cell[touched].tolist(), strict=True))
    return _slice(store, [(session, cell) for session, cell in wanted if session >= 0 and cell >= 0])


def slice_of_session(store: Store, session_id: int) -> Slice:
    """All cells of a session."""
    return Slice(tuple(_part(each) for each in store.cells([session_id])))


def _slice(store: Store, wanted: list[tuple[int, int]]) -> Slice:
    cells = store.cells(sorted({session for session, _ in wanted})) if wanted else []
    return Slice(tuple(_part(each) for each in cells if (each.session_id, each.cell) in wanted))


def _part(cell: Cell) -> Part:
    return Part(None, cell.cell, (), cell.text)


def code_diff(a: Slice, b: Slice, name_a: str, name_b: str) -> str:
    """A unified diff; empty where both are equal."""
    lines = unified_diff(a.text.splitlines(), b.text.splitlines(), name_a, name_b, lineterm="")
    return "\n".join(lines)
