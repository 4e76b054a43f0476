"""Commits of a mapped list: results with what is kept beside them, and notes on inputs without one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.errors import Conflict, InvalidInput
from tablevault_pd.keys.mapped import (
    CONTENT,
    FUNCTION,
    INPUT,
    KEY,
    NOTE_KEY,
    NOTES,
    PART,
    notes_name,
)
from tablevault_pd.lineage.record import LineageRecorder
from tablevault_pd.mapping.calls import FrameRows
from tablevault_pd.reading import read as reading
from tablevault_pd.saving.delete_rows import delete_rows
from tablevault_pd.saving.ingest import ColumnOptions, ingest
from tablevault_pd.saving.ingest_rows import frame_of_mappings
from tablevault_pd.saving.write import write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tablevault_pd.mapping.calls import Rows
    from tablevault_pd.mapping.inputs import Inputs
    from tablevault_pd.saving.commit import WriteRequest
    from tablevault_pd.store import Store, Version
    from tablevault_pd.store.work import Finish


@dataclass(frozen=True, slots=True)
class ResultWriter:
    """Commits to one mapped list and its notes. `request` makes the arguments of a write by the current session."""

    store: Store
    name: str
    function: int
    request: Callable[[str], WriteRequest]

    def results(
        self, inputs: Inputs, number: np.ndarray, rows: Sequence[Rows], finishes: tuple[Finish, ...]
    ) -> None:
        """Commit the rows of some inputs, whose numbers these are, in place of those that they have."""
        order = np.argsort(number, kind="stable")
        frame, sizes = _one_frame([rows[place] for place in order.tolist()])
        for label in frame.columns.intersection([*KEY, CONTENT, FUNCTION]):
            raise InvalidInput(
                f"The function returned a column {label!r}, which map keeps for itself. Give it another name."
            )
        number = np.repeat(number[order], sizes)
        if inputs.labels is not None:
            frame = frame.set_axis(inputs.labels[number], axis=0)
        self._commit(inputs, number, _parts(sizes), frame, finishes)

    def copies(
        self, inputs: Inputs, number: np.ndarray, version: Version, positions: np.ndarray, part: np.ndarray
    ) -> None:
        """Commit rows that other inputs of the same content have: for each its input, and its position and number there."""
        [frame] = reading.take(self.store, [(version, positions, None)])
        frame = frame.reset_index(drop=True)
        if inputs.labels is not None:
            frame = frame.set_axis(inputs.labels[number], axis=0)
        self._commit(inputs, number, part, frame, ())

    def _commit(
        self,
        inputs: Inputs,
        number: np.ndarray,
        part: np.ndarray,
        frame: pd.DataFrame,
        finishes: tuple[Finish, ...],
    ) -> None:
        numbers = {
            INPUT[0]: inputs.identity[number, 0],
            INPUT[1]: inputs.identity[number, 1],
            PART: part,
            CONTENT: inputs.content[number],
            FUNCTION: np.full(len(number), self.function),
        }
        parents = {inputs.version.label: inputs.positions[number]}
        self._upsert(self.name, frame, numbers, parents, KEY, INPUT, finishes)

    def notes(
        self,
        notes: pd.DataFrame,
        content: np.ndarray,
        function: int | None,
        finishes: tuple[Finish, ...] = (),
    ) -> None:
        """Commit notes on inputs of these contents, in place of those that there are."""
        function = self.function if function is None else function
        numbers = {CONTENT: content, FUNCTION: np.full(len(content), function)}
        typed = notes.reindex(columns=NOTES).astype(
            {"position": "Int64", "attempts": "Int64"}
            | dict.fromkeys(("outcome", "error", "traceback", "call"), "string")
        )
        self._upsert(notes_name(self.name), typed, numbers, False, NOTE_KEY, (), finishes)

    def _upsert(
        self,
        name: str,
        frame: pd.DataFrame,
        numbers: dict[str, np.ndarray],
        inputs: Any,
        key: tuple[str, ...],
        scope: tuple[str, ...],
        finishes: tuple[Finish, ...],
    ) -> None:
        lineage = LineageRecorder(self.store, inputs)
        [chunk] = ingest(frame, ColumnOptions(), lineage)
        chunk = replace(chunk, table=frames.beside(chunk.table, numbers))
        request = replace(self.request(name), key=key, drop_missing=scope or False, finishes=finishes)
        write(self.store, request, lineage, [chunk])

    def remove(self, is_gone: Callable[[Version], np.ndarray]) -> None:
        """Leave rows out of the list: those that `is_gone` names, as positions of its newest version."""
        while True:
            head = self.store.head(self.name)
            positions = np.empty(0) if head is None or head.deleted else is_gone(head)
            if head is None or not len(positions):
                return
            request = replace(self.request(self.name), operation="delete_rows", expect=head.version)
            try:
                delete_rows(self.store, request, rows=positions.tolist(), filters=None)
            except Conflict:
                continue
            return


def _one_frame(rows: Sequence[Rows]) -> tuple[pd.DataFrame, np.ndarray]:
    """All rows as one frame, and how many each input has."""
    sizes = np.array([len(result) for result in rows], np.int64)
    if not any(isinstance(result, FrameRows) for result in rows):
        return frame_of_mappings(
            [row for result in rows if isinstance(result, list) for row in result]
        ), sizes
    parts = [_frame_of(result) for result in _joined(rows)]
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True), sizes


def _joined(rows: Sequence[Rows]) -> list[Rows]:
    """The rows, with those of one frame that follow each other together."""
    joined: list[Rows] = []
    for result in filter(len, rows):
        last = joined[-1] if joined else []
        if isinstance(result, FrameRows) and isinstance(last, FrameRows) and result.continues(last):
            joined[-1] = replace(last, stop=result.stop)
        else:
            joined.append(result)
    return joined


def _frame_of(rows: Rows) -> pd.DataFrame:
    if isinstance(rows, FrameRows):
        return rows.frame.iloc[rows.start : rows.stop].reset_index(drop=True)
    return frame_of_mappings(rows)


def _parts(sizes: np.ndarray) -> np.ndarray:
    """0, 1, 2 … for the rows of each input."""
    starts = np.cumsum(sizes) - sizes
    return np.asarray(np.arange(int(sizes.sum())) - np.repeat(starts, sizes))
