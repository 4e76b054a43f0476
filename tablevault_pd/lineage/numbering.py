"""A number for each row of a list, the same in all versions that have the row.

The rows of versions with the same columns are identified by their content, and equal rows of one version by their order;
where the list has a key, by the key; without one, by a named index that tells the rows of a version apart.
Across a change of columns :func:`~tablevault_pd.lineage.same.same_rows` says which is which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.lineage.digests import mixed, row_digests
from tablevault_pd.lineage.same import same_rows
from tablevault_pd.reading.chunks import aligned

if TYPE_CHECKING:
    import pyarrow as pa

    from tablevault_pd.store import Store, Version

_Fields = tuple[str, ...]  #: what names the fields of a row, whatever the schema


@dataclass(slots=True)
class _Known:
    """The rows with one set of columns that were met so far."""

    keys: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    numbers: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The numbers of the rows with these keys, -1 for new ones."""
        places = pd.Index(self.keys).get_indexer(pd.Index(keys))
        return np.where(places < 0, -1, self.numbers[places]) if len(self.numbers) else np.full(len(keys), -1)

    def add(self, keys: np.ndarray, numbers: np.ndarray) -> None:
        self.keys, self.numbers = np.r_[self.keys, keys], np.r_[self.numbers, numbers]


class RowNumbers:
    """Numbers the rows of the versions of one list, from 0 on in order of first appearance."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[_Fields, _Known] = {}
        self._count = 0
        # the version before, with the fields that tell its rows apart, their digests and numbers
        self._last: tuple[Version, _Fields, np.ndarray, np.ndarray] | None = None

    def of(self, version: Version) -> np.ndarray:
        """int64, shape (version.total,). Versions come in order."""
        fields, digests = self._digests(version)
        keys = _told_apart(digests)
        earlier = self._known.setdefault(fields, _Known())
        numbers = earlier.find(keys)
        met = numbers >= 0
        if self._last is not None and not met.all():
            self._carry_over(version, fields, numbers)
        new = np.flatnonzero(numbers < 0)
        numbers[new] = np.arange(self._count, self._count + len(new))
        self._count += len(new)
        earlier.add(keys[~met], numbers[~met])
        self._last = (version, fields, digests, numbers)
        return numbers

    def _carry_over(self, version: Version, fields: _Fields, numbers: np.ndarray) -> None:
        """Give rows that are new among those with these columns the numbers that they had in the version before."""
        assert self._last is not None
        before, earlier, _, had = self._last
        if earlier == fields:
            return
        there = same_rows(self._store, before, version, np.arange(before.total))
        rows = np.flatnonzero(there >= 0)
        rows = rows[(numbers[there[rows]] < 0) & ~np.isin(had[rows], numbers)]
        numbers[there[rows]] = had[rows]

    def _digests(self, version: Version) -> tuple[_Fields, np.ndarray]:
        """The fields that tell the rows of a version apart, and digests of these."""
        schema = self._store.schema(version.schema_id)
        index = _index_fields(schema)
        if index and pd.Series(digests := self._digests_of(version, index)).is_unique:
            return index, digests
        fields = _fields(schema)
        return fields, self._digests_of(version, fields)

    def _digests_of(self, version: Version, fields: _Fields) -> np.ndarray:
        """A digest of these fields of each row; an append leaves those of the rows before as they were."""
        start, before = 0, np.empty(0, np.uint64)
        if self._last is not None and version.operation == "append":
            last, earlier, digests, _ = self._last
            if (last.version, last.schema_id, earlier) == (version.version - 1, version.schema_id, fields):
                start, before = last.total, digests
        schema = self._store.schema(version.schema_id)
        names = {name: frames.contents(schema)[name] for name in fields}
        if not names:
            return np.zeros(version.total, np.uint64)
        part = frames.part_of(schema, list(names.values()))
        chunks = self._store.scan(version, start=start, columns=part.names)
        return np.concatenate([before, *(row_digests(aligned(chunk, part), names) for chunk in chunks)])


def _index_fields(schema: pa.Schema) -> _Fields:
    """The levels of a named index, which tell rows apart as for ``vault.compare``; none where the list has a key."""
    if frames.key_fields(schema) or None in frames.index_names(schema):
        return ()
    return tuple(sorted(name for name in frames.contents(schema) if name.startswith("level ")))


def _fields(schema: pa.Schema) -> _Fields:
    """The fields that tell a row: those of the key, if the list has one, else all."""
    contents = frames.contents(schema)
    key = set(frames.key_fields(schema))
    return tuple(sorted(name for name, field_name in contents.items() if not key or field_name in key))


def _told_apart(digests: np.ndarray) -> np.ndarray:
    """Keys of which no two are equal: the second of equal rows has another than the first."""
    number = pd.Series(digests).groupby(digests).cumcount().to_numpy().astype(np.uint64)
    return np.where(number > 0, mixed(digests ^ mixed(number)), digests)
