"""Which stored rows of a list are the same row in other versions: what `lineage.same.same_rows` says, of all versions at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.errors import SchemaMismatch
from tablevault_pd.frames import contents
from tablevault_pd.lineage.same import Identity, identity
from tablevault_pd.saving.stored_rows import NO_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tablevault_pd.saving.stored_rows import Place, StoredRows


def same_stored_rows(history: StoredRows, rows: np.ndarray, key: Sequence[str]) -> np.ndarray:
    """The numbers of rows that are the same as one of these in some version; where that is by `key`, they are among `rows`."""
    schemas = np.array([version.schema_id for version in history.versions])
    schema_of = {schema_id: history.store.schema(schema_id) for schema_id in schemas.tolist()}
    by_key = {name for name, field in contents(schema_of[int(schemas[-1])]).items() if field in key}
    places = list(history.places(rows))
    same = [NO_ROWS]
    for own in {int(schemas[place.which]) for place in places}:
        of_schema = [place for place in places if schemas[place.which] == own]
        for other in schema_of:
            for age in (0,) if other == own else (-1, 1):  # the other versions are older, or newer
                older, newer = (other, own) if age < 0 else (own, other)
                fields = identity(schema_of[older], schema_of[newer])
                if fields is not None and not (by_key and set(fields.names) == by_key):
                    same += _same(history, rows, of_schema, (schemas == own, schemas == other), age, fields)
    return np.concatenate(same)


def _same(
    history: StoredRows,
    rows: np.ndarray,
    places: Sequence[Place],
    versions: tuple[np.ndarray, np.ndarray],
    age: int,
    fields: Identity,
) -> list[np.ndarray]:
    try:
        return list(_Matching(history, places, versions, age, fields).matches(rows))
    except SchemaMismatch:  # a value that the common dtype of a key does not hold
        return list(_Matching(history, places, versions, age, Identity(fields.names)).matches(rows))


class _Matching:
    """Rows of versions with one schema, and of others with one schema: which are the same."""

    def __init__(
        self,
        history: StoredRows,
        places: Sequence[Place],
        versions: tuple[np.ndarray, np.ndarray],
        age: int,
        fields: Identity,
    ) -> None:
        self._history, self._places, self._age = history, places, age
        self._others = versions[1]
        self._ours = _Digests(history, versions[0], fields)
        self._theirs = self._ours if age == 0 else _Digests(history, versions[1], fields)

    def matches(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the numbers of rows of the other versions that are the same as one at the places, without `rows`."""
        history = self._history
        shared = np.ones(history.total, bool)
        for place in self._places:
            shared &= history.shown(place.which)
        candidates = np.flatnonzero(
            (self._theirs.newest >= 0) & ~shared & ~history.erased & ~history.marked(rows)
        )
        if not len(candidates):
            return
        digests = self._theirs.of(candidates)
        equal = np.isin(digests, np.concatenate([self._ours.of(place.numbers) for place in self._places]))
        candidates, digests = candidates[equal], digests[equal]
        for place in self._places if len(candidates) else ():
            here = np.isin(digests, self._ours.of(place.numbers)) & ~history.shown(place.which)[candidates]
            showing = history.showing(history.marked(candidates[here])) & self._others
            for which in np.flatnonzero(showing).tolist():
                if which != place.which and (which - place.which) * self._age >= 0:
                    yield self._matched(place, which)

    def _matched(self, place: Place, which: int) -> np.ndarray:
        """The same rows in one other version: of rows that are equal the first is the first, the second the second."""
        ours, theirs = self._alone(place.which, which), self._alone(which, place.which)
        there = dict(zip(_occurrences(self._theirs.of(theirs)), theirs.tolist(), strict=True))
        own = dict(zip(ours.tolist(), _occurrences(self._ours.of(ours)), strict=True))
        same = (there.get(own[number]) for number in place.numbers.tolist() if number in own)
        return np.array([number for number in same if number is not None], np.int64)

    def _alone(self, which: int, other: int) -> np.ndarray:
        """The rows of one version that another does not show, in order."""
        history = self._history
        numbers = history.numbers_at(which, np.arange(history.versions[which].total))
        return np.asarray(numbers[~history.shown(other)[numbers] & ~history.erased[numbers]])


class _Digests:
    """Digests of stored rows, as versions of one schema have them. Each is read once."""

    def __init__(self, history: StoredRows, versions: np.ndarray, fields: Identity) -> None:
        self._history, self._fields = history, fields
        self.newest = history.newest(versions)
        self._digests = np.zeros(history.total, np.uint64)
        self._lacking = np.full(history.total, bool(fields.names))

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """The digests of these rows."""
        store, lacking = self._history.store, numbers[self._lacking[numbers]]
        if len(lacking):
            places = list(self._history.places(lacking, self.newest))
            parts = [self._fields.part_of(store.schema(place.version.schema_id)) for place in places]
            for rows, table in self._history.tables(places, parts):
                self._digests[rows] = self._fields.digests(table)
            self._lacking[lacking] = False
        return np.asarray(self._digests[numbers])


def _occurrences(digests: np.ndarray) -> list[tuple[int, int]]:
    """(digest, how many of the same came before) of each row."""
    counts: dict[int, int] = {}
    occurrences = []
    for digest in digests.tolist():
        counts[digest] = counts.get(digest, -1) + 1
        occurrences.append((digest, counts[digest]))
    return occurrences
