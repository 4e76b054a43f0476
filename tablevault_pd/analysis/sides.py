"""What is compared: rows of a version, or of a frame whose origin is known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.analysis.makings import Making
from tablevault_pd.keys.key import key_labels
from tablevault_pd.lineage.resolve_rows import origin_version, resolve_rows
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.origin import ATTR, plain

if TYPE_CHECKING:
    from collections.abc import Hashable

    from tablevault_pd.store import Store, Version


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two or more that are compared."""

    name: str  #: ``preds@3``, as it stands in answers
    version: Version | None  #: None: a frame that was not read from this vault
    positions: np.ndarray | None  #: of its rows in `version`; None where pandas lost track of them
    frame: pd.DataFrame = field(repr=False)
    making: Making | None = None  #: who made `version`, where that was said

    @classmethod
    def of_making(cls, store: Store, making: Making) -> Side:
        """All rows of a version, as made by one session."""
        return replace(cls.of_version(store, making.version), making=making)

    @classmethod
    def of_version(cls, store: Store, version: Version, columns: list[Hashable] | None = None) -> Side:
        """All rows of a version, and these of its columns; default: all."""
        frame = reading.read(store, version, columns=columns, tagged=True)
        positions = reading.positions_shown(store, version)
        return cls(version.label, version, positions, frame)

    @classmethod
    def of_frame(cls, store: Store, frame: pd.DataFrame, name: str) -> Side:
        """The rows of a frame. What they are in the vault is known if it was read from there."""
        origin = origin_version(store, frame)
        if origin is None:
            return cls(name, None, None, frame)
        version = origin[1]
        rows = [
            selection
            for selection in resolve_rows(store, frame)
            if selection.version == version and selection.rows is None
        ]
        positions = rows[0].positions if len(rows) == 1 else None
        return cls(version.label, version, positions, frame)

    @property
    def made(self) -> Making | None:
        """The version and who made it; None of a frame that was not read from this vault."""
        return self.making or (None if self.version is None else Making(self.version))

    @cached_property
    def index_names(self) -> tuple[Hashable, ...]:
        """The names of an index that says which rows these are; empty where it only counts them."""
        index = self.frame.index
        if ATTR in self.frame.attrs and index.names == ["position"]:
            return ()
        return () if None in index.names else tuple(plain(self.frame[[]]).index.names)

    @cached_property
    def dtypes(self) -> dict[Hashable, str]:
        """The dtype of each column, as pandas shows it."""
        return {label: str(dtype) for label, dtype in zip(self.frame.columns, self.frame.dtypes, strict=True)}

    def vectors(self, store: Store) -> frozenset[Hashable]:
        """The columns that hold vectors."""
        if self.version is None:
            return frozenset(label for label in self.frame.columns if _holds_vectors(self.frame[label]))
        kinds = frames.columns(store.schema(self.version.schema_id))
        there = set(self.frame.columns)
        return frozenset(kind.label for kind in kinds if kind.kind == "embedding" and kind.label in there)

    def key_labels(self, store: Store) -> list[Hashable]:
        """The key of the list, by which ``vault.upsert`` tells its rows apart; empty if it has none."""
        return [] if self.version is None else key_labels(store.schema(self.version.schema_id))

    def key(self, labels: list[Hashable]) -> pd.Index:
        """The values of some columns or levels of the index as an index."""
        levels = [self._values(label) for label in labels]
        if len(levels) == 1:
            return levels[0]
        return pd.MultiIndex.from_arrays(levels, names=[values.name for values in levels])

    def has(self, label: Hashable) -> bool:
        """Whether a column or a level of the index is called so."""
        return label in self.frame.columns or label in self.frame.index.names

    def _values(self, label: Hashable) -> pd.Index:
        if label in self.frame.columns:
            column: pd.Index = pd.Index(self.frame[label], name=label)
            return column
        level: pd.Index = self.frame.index.get_level_values(self.frame.index.names.index(label))
        return level.rename(label)


def _holds_vectors(column: pd.Series[Any]) -> bool:
    """Whether all cells that are there are arrays of numbers, of one length that is not 0."""
    if column.dtype != object:
        return False
    cells = [cell for cell in column.array if cell is not None]
    if not cells or not all(isinstance(cell, np.ndarray) and cell.ndim == 1 for cell in cells):
        return False
    numbers = all(cell.dtype.kind in "fiu" and cell.size for cell in cells)
    return numbers and len({cell.size for cell in cells}) == 1
