"""What a mapped list keeps beside its rows, and the notes on inputs that have no result.

Beside each result: the input that it belongs to, which of its results it is, the content of the input, and the function, as
numbers. So every version says by itself of which inputs it has the results, and a commit of results is their whole record.
Notes are a list of their own, ``answers/map``: errors, inputs without a result, and the call that made the list.
"""

from __future__ import annotations

import json
import re
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
    from collections.abc import Mapping

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


@dataclass(frozen=True, slots=True)
class NotedCall:
    """What map called."""

    function: str  #: its name without that of its module
    kwargs: Mapping[str, Any]


def calls_of(store: Store, name: str) -> dict[int, NotedCall]:
    """Each call of map that ever was noted of a list, by the number of its function."""
    versions = [
        version
        for version in store.versions(notes_name(name))
        if not version.deleted and not version.gone and is_notes(store, version)
    ]
    selections, before = [], EMPTY
    for version, shown in zip(versions, store.pieces(versions), strict=True):
        if len(new := positions_lacking(shown, before)):
            selections.append(
                (version, frames.part_of(store.schema(version.schema_id), ("outcome", "call")), new)
            )
        before = shown
    calls: dict[int, NotedCall] = {}
    for table in reading.rows_at_each(store, selections):
        for outcome, text in zip(
            *(table.column(label).to_pylist() for label in ("outcome", "call")), strict=True
        ):
            call = json.loads(text) if outcome == CALL else {}
            if "kwargs" in call:
                match = re.fullmatch(r"\S+:(?:\S*\.)?([\w<>]+)", call["function"])
                calls[call["number"]] = NotedCall(match[1] if match else "map", untold(call["kwargs"]))
    return calls


def functions_at(store: Store, version: Version, positions: np.ndarray) -> np.ndarray | None:
    """The numbers of the functions that map made these rows with, 0 for rows that were erased.

    None of a list that it did not make, or of rows that are gone.
    """
    if version.gone or version.deleted or not is_mapped(store, version):
        return None
    at, back = np.unique(positions, return_inverse=True)
    table = reading.rows_at(store, version, frames.part_of(store.schema(version.schema_id), (FUNCTION,)), at)
    return np.asarray(table.column(FUNCTION).fill_null(0).to_numpy()[back])


def positions_lacking(pieces: Pieces, other: Pieces) -> np.ndarray:
    """The positions of the rows that `other` does not show."""
    runs = zip(*pieces.lacking(other), strict=True)
    return np.concatenate([np.empty(0, np.int64), *(np.arange(start, stop) for start, stop in runs)])


def told(value: Any) -> Any:
    """JSON of a value of numbers, texts, lists, tuples and dicts, another one for each: JSON has no tuples, and no keys but texts.

    Raises TypeError for other values.
    """
    if isinstance(value, dict):
        return ["dict", *sorted(([told(key), told(item)] for key, item in value.items()), key=json.dumps)]
    if isinstance(value, (list, tuple)):
        return ["tuple" if isinstance(value, tuple) else "list", *map(told, value)]
    json.dumps(value)
    return value


def untold(value: Any) -> Any:
    """The value that :func:`told` told."""
    if not isinstance(value, list):
        return value
    kind, *items = value
    if kind == "dict":
        return {untold(key): untold(item) for key, item in items}
    return tuple(map(untold, items)) if kind == "tuple" else list(map(untold, items))


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
        new = positions_lacking(pieces, mark.pieces)
        mark.version, mark.pieces = head.version, pieces
        return head, new
