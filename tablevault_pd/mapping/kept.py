"""What a mapped list keeps beside its rows, and the notes on inputs that have no result.

Beside each result: the input that it belongs to, which of its results it is, the content of the input, and the function, as
numbers. So every version says by itself of which inputs it has the results, and a commit of results is their whole record.
Notes are a list of their own, ``answers/map``: errors, inputs without a result, and the call that made the list.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput, ListDeleted
from tablevault_pd.keys.key import key_labels
from tablevault_pd.reading import read as reading
from tablevault_pd.store import VersionLookup
from tablevault_pd.store.pieces import EMPTY

if TYPE_CHECKING:
    from tablevault_pd.store import Store, Version
    from tablevault_pd.store.pieces import Pieces

INPUT = ("map_input", "map_input_2")
PART, CONTENT, FUNCTION = "map_part", "map_content", "map_function"
KEY = (*INPUT, PART)
NOTE_KEY = (CONTENT, FUNCTION)
ERROR, NOTHING, CALL = "error", "nothing", "call"
NOTES = ["outcome", "position", "error", "traceback", "attempts", "call"]


def notes_name(name: str) -> str:
    """The list of notes on a mapped list."""
    return f"{name}/map"


def is_mapped(store: Store, version: Version) -> bool:
    """Whether map made a list."""
    return key_labels(store.schema(version.schema_id)) == list(KEY)


def is_notes(store: Store, version: Version) -> bool:
    """Whether this is a version of a list of notes."""
    return key_labels(store.schema(version.schema_id)) == list(NOTE_KEY)


def check_mapped(store: Store, name: str) -> Version | None:
    """The newest version of a mapped list; None if there is none yet. Raises InvalidInput for a list that was made otherwise."""
    head = store.head(name)
    if head is not None and head.deleted:
        raise ListDeleted.named(name)
    if head is not None and not is_mapped(store, head):
        raise InvalidInput(
            f"The list {name!r} was not made by map: its rows do not say which inputs they belong to. Give the results another name."
        )
    return head


def beside(
    store: Store, version: Version, names: tuple[str, ...], positions: np.ndarray
) -> dict[str, np.ndarray]:
    """Numbers that are kept beside rows of a version."""
    part = frames.part_of(store.schema(version.schema_id), names)
    table = reading.rows_at(store, version, part, positions)
    return {name: table.column(name).to_numpy().astype(np.int64, copy=False) for name in names}


def result_rows(store: Store, version: Version | None) -> pd.DataFrame:
    """All that is kept beside the rows of a mapped list, one line for each of them."""
    names = (*KEY, CONTENT, FUNCTION)
    if version is None:
        return pd.DataFrame({name: np.empty(0, np.int64) for name in names})
    return pd.DataFrame(beside(store, version, names, np.arange(version.total)))


def notes(store: Store, name: str) -> pd.DataFrame:
    """The notes on a mapped list, with the numbers beside them. Empty if it has none."""
    version = store.head(notes_name(name))
    if version is None or version.deleted or key_labels(store.schema(version.schema_id)) != list(NOTE_KEY):
        return pd.DataFrame({label: [] for label in (*NOTES, *NOTE_KEY)}, dtype=object)
    frame = reading.read(store, version)
    return frame.reset_index(drop=True).assign(**beside(store, version, NOTE_KEY, np.arange(version.total)))


def call_of(store: Store, name: str) -> dict[str, Any] | None:
    """How a mapped list was made last; None if it is no mapped list."""
    there = notes(store, name)
    calls = there.loc[there["outcome"] == CALL, "call"].tolist()
    if not calls:
        return None
    call: dict[str, Any] = json.loads(calls[0])
    if store.head(call["list"]) is None:
        call["list"] = store.renamed(call["list"]) or call["list"]
    return call


@dataclass(slots=True)
class _Seen:
    """How much of a list was looked at."""

    version: int = 0
    pieces: Pieces = EMPTY


@dataclass(slots=True)
class Settled:
    """Which contents have a result or a note, by whatever process. A look reads what was added since the last one."""

    store: Store
    name: str
    function: int
    #: errors that do not count: content -> attempts so far
    retry: dict[int, int] = field(default_factory=dict)
    contents: set[int] = field(default_factory=set)
    attempts: dict[int, int] = field(default_factory=dict)  #: of those with an error
    results: set[int] = field(default_factory=set)
    _results: _Seen = field(default_factory=_Seen)
    _notes: _Seen = field(default_factory=_Seen)

    def look(self) -> None:
        """Look at what is new."""
        results, notes = self.store.find_versions(
            [VersionLookup(self.name), VersionLookup(notes_name(self.name))]
        )
        version, new = self._new(results, self._results)
        if version is not None and len(new):
            numbers = beside(self.store, version, (CONTENT, FUNCTION), new)
            mine = numbers[FUNCTION] == self.function
            contents = numbers[CONTENT][mine].tolist()
            self.results.update(contents)
            self.contents.update(contents)
        version, new = self._new(notes, self._notes)
        if version is not None and len(new):
            self._note(version, new)

    def failed(self, contents: np.ndarray) -> int:
        """How many of some inputs have an error instead of a result."""
        return int(np.isin(contents, list(self.attempts.keys() - self.results)).sum())

    def _note(self, version: Version, new: np.ndarray) -> None:
        names = (*NOTE_KEY, "outcome", "attempts")
        part = frames.part_of(self.store.schema(version.schema_id), names)
        table = reading.rows_at(self.store, version, part, new)
        rows = zip(*(table.column(name).to_pylist() for name in names), strict=True)
        for content, function, outcome, attempts in rows:
            if function == self.function and outcome != CALL:
                if outcome == ERROR:
                    self.attempts[content] = attempts
                if outcome == NOTHING or attempts > self.retry.get(content, 0):
                    self.contents.add(content)

    def _new(self, head: Version | None, mark: _Seen) -> tuple[Version | None, np.ndarray]:
        if head is None or head.deleted or head.version == mark.version:
            return None, np.empty(0, np.int64)
        pieces = self.store.pieces([head])[0]
        starts, stops = pieces.lacking(mark.pieces)
        mark.version, mark.pieces = head.version, pieces
        parts = [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
        return head, np.concatenate([np.empty(0, np.int64), *parts])
