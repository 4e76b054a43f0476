"""Rows that are given against those that a list has: by their keys, which are new, changed, equal or missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.keys.digests import distinct, key_digests
from tablevault_pd.keys.key import check_present, check_unique, shown_key
from tablevault_pd.keys.key_index import key_index
from tablevault_pd.reading.read import rows_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Store, Version
    from tablevault_pd.store.pieces import Pieces


def _none() -> np.ndarray:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """What a list has to become. Rows are numbers of given ones, positions are those of the version compared with."""

    changed: np.ndarray = field(default_factory=_none)  #: rows that replace another one, in order of `at`
    at: np.ndarray = field(default_factory=_none)  #: the positions of those
    added: np.ndarray = field(default_factory=_none)  #: rows whose keys are new
    removed: np.ndarray = field(default_factory=_none)  #: positions of rows that go
    #: rows that are there as they are given, in order of `equal_at`
    equal: np.ndarray = field(default_factory=_none)
    equal_at: np.ndarray = field(default_factory=_none)  #: the positions of those

    @property
    def rows(self) -> np.ndarray:
        """The given rows that are to be written, in the order of a batch: those that replace others come first."""
        return np.concatenate([self.changed, self.added])

    @property
    def is_empty(self) -> bool:
        """Whether the list stays as it is."""
        return not (len(self.changed) or len(self.added) or len(self.removed))


@dataclass(frozen=True, slots=True)
class Present:
    """A version of a list, as a schema that rows are fitted to has it, and its key."""

    store: Store
    version: Version
    pieces: Pieces
    schema: pa.Schema
    fields: Sequence[str]

    def find(self, digests: np.ndarray, fields: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(number, position): pairs of digests of these fields and rows that have them, in order of position."""
        return key_index(self.store, self.version, self.pieces, self.schema, fields).find(
            self.pieces, digests
        )

    def check_key(self) -> None:
        """Raise InvalidInput or DuplicateKey if these fields, which become the key, do not tell all rows apart."""
        name = self.version.list
        part = frames.part_of(self.schema, self.fields)
        table = rows_at(self.store, self.version, part, np.arange(self.version.total))
        check_present(table, self.fields, name)
        index = key_index(self.store, self.version, self.pieces, self.schema, self.fields)
        check_unique(
            index.of(self.pieces), name, "Rows", lambda row: shown_key(table, self.fields, row), "positions"
        )


def difference(
    present: Present, table: pa.Table, digests: np.ndarray, scope: bool | Sequence[str] = False
) -> Difference:
    """Compare the rows of `table`, which is in the schema of `present`, with what is there.

    `digests` are those of their keys. Rows that are there and not given go if `scope` is true, or names fields and one of the
    given rows has the same cells in them.
    """
    number, position = present.find(digests, present.fields)
    there = rows_at(present.store, present.version, table.schema, position)
    differ = ~frames.equal_rows(taken(table, number), there)
    new = np.ones(table.num_rows, bool)
    new[number] = False
    return Difference(
        number[differ],
        position[differ],
        np.flatnonzero(new),
        _removed(present, table, position, scope),
        number[~differ],
        position[~differ],
    )


def taken(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Some rows of a table, in their order; nothing is copied if they are all of them."""
    as_it_is = len(rows) == table.num_rows and bool((np.diff(rows) == 1).all())
    return table if as_it_is else table.take(pa.array(rows))


def _removed(
    present: Present, table: pa.Table, matched: np.ndarray, scope: bool | Sequence[str]
) -> np.ndarray:
    if isinstance(scope, bool):
        return np.setdiff1d(np.arange(present.version.total), matched) if scope else _none()
    if not table.num_rows:
        return _none()
    check_present(table, scope, present.version.list, what="drop_missing= names the column")
    _, in_scope = present.find(distinct(key_digests(frames.key_columns(table, scope))), scope)
    return np.setdiff1d(in_scope, matched)
