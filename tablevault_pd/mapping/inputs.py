"""The rows that a function is mapped over: what they are, what they hold, and which row of a list each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.keys.digests import key_digests
from tablevault_pd.lineage.digests import mixed, row_digests
from tablevault_pd.lineage.record import LineageRecorder
from tablevault_pd.lineage.resolve_rows import resolve_rows
from tablevault_pd.reading import read as reading

if TYPE_CHECKING:
    from collections.abc import Hashable

    from tablevault_pd.store import Store, Version


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Rows of one version of a list, as a function gets them."""

    version: Version
    positions: np.ndarray  #: int64
    frame: pd.DataFrame  #: the columns that the function gets
    identity: np.ndarray  #: int64, shape (n, 2): names a row through versions, as its key or its content does
    content: np.ndarray  #: int64: of what the function gets
    whole: bool  #: whether these are all rows of the version

    @property
    def labels(self) -> pd.Index | None:
        """The index of the list, if it has one with names: what results have, too."""
        index = self.frame.index
        return index if self._own and None not in index.names else None

    @property
    def _own(self) -> bool:
        return list(self.frame.index.names) != ["position"]


def inputs_of(store: Store, rows: Any, columns: list[Hashable] | None) -> Inputs:
    """Read the rows of a list, or take those of a frame that was read from one."""
    if isinstance(rows, pd.DataFrame):
        return _of_frame(store, rows, columns)
    if not isinstance(rows, str):
        raise InvalidInput(
            f"map takes the name of a list, or a frame that was read from one, not {short_repr(rows)}."
        )
    version = reading.resolve(store, rows)
    frame = reading.read(store, version, columns=columns)
    return _inputs(store, version, np.arange(version.total), frame, whole=True)


def _of_frame(store: Store, frame: pd.DataFrame, columns: list[Hashable] | None) -> Inputs:
    selections = resolve_rows(store, frame)
    if len(selections) != 1 or selections[0].positions is None or selections[0].rows is not None:
        raise InvalidInput(
            "It cannot be told which rows of one list those of the frame are. Give a frame that was read from the list and "
            "still has its index, such as tv.read('articles').query('year > 2020'). Where rows were left out and all columns "
            "overwritten, read it with refs=True and keep the column ref."
        )
    version, positions = selections[0].version, selections[0].positions
    if version.erased:
        raise InvalidInput(
            f"Rows of {version.label} were erased since the frame was read. Read the newest version and map that."
        )
    if len(np.unique(positions)) < len(positions) or (positions < 0).any():
        raise InvalidInput(
            "The frame has rows more than once, or rows that are of no list. Map each row once."
        )
    frame, _ = LineageRecorder(store, False).of_frame(frame)
    if columns is not None:
        missing = [label for label in columns if label not in frame.columns]
        if missing:
            raise InvalidInput(f"The frame has no columns {missing}. It has {list(frame.columns)}.")
        frame = frame[columns]
    return _inputs(store, version, positions.astype(np.int64), frame, whole=False)


def _inputs(
    store: Store, version: Version, positions: np.ndarray, frame: pd.DataFrame, *, whole: bool
) -> Inputs:
    if not frames.index_fields(store.schema(version.schema_id)):
        frame = frame.set_axis(pd.Index(positions, name="position"), axis=0)
    identity = identities(store, version)[positions]
    return Inputs(version, positions, frame, identity, contents(frame), whole)


def contents(frame: pd.DataFrame) -> np.ndarray:
    """A number for each row of a frame, equal for equal rows."""
    if list(frame.index.names) == ["position"]:
        frame = frame.reset_index(drop=True)
    table = frames.encode(frame)
    return row_digests(table, frames.contents(table.schema)).view(np.int64)


def identities(store: Store, version: Version) -> np.ndarray:
    """What names each row of a version through all versions: its key, else its content, the first of equal rows and so on."""
    schema = store.schema(version.schema_id)
    fields = frames.key_fields(schema)
    part = frames.part_of(schema, fields or list(frames.contents(schema).values()))
    table = reading.rows_at(store, version, part, np.arange(version.total))
    if fields:
        halves = key_digests(frames.key_columns(table, fields))
    else:
        digests = row_digests(table, frames.contents(schema)) if len(part) else np.zeros(version.total, "u8")
        number = pd.Series(digests).groupby(digests).cumcount().to_numpy(np.uint64)
        halves = np.stack([digests, mixed(digests ^ mixed(number))])
    return np.ascontiguousarray(halves.T).view(np.int64)
