"""Which rows of two versions of a list are the same: the one definition that walks, searches and staleness share.

In a list with a key, a row is the same row through versions where it has the same key, that of the newer version; if the older
one has its columns. Else it is where its content is unchanged: the stored rows that versions share are, and of the others those
that are equal in every column of the older version, index labels among them, the first to the first, the second to the second.
A column that was added since changes nothing, one that was removed changes every row.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import SchemaMismatch
from tablevault_pd.frames import contents, key_fields
from tablevault_pd.lineage.digests import mixed, row_digests
from tablevault_pd.reading.chunks import aligned
from tablevault_pd.store import ScanRequest
from tablevault_pd.store.pieces import expanded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tablevault_pd.store import Store, Version

    _Rows = tuple[Version, np.ndarray, np.ndarray]  # runs of rows of a version: where they start and stop

KEPT_BYTES = 128 << 20  # of keys, for each vault that is open


@dataclass(frozen=True, slots=True, eq=False)
class _Keys:
    """A number for each of some rows of a version, that no other of these has."""

    keys: np.ndarray
    ordered: np.ndarray  #: the same, sorted
    rows: np.ndarray  #: which row each of `ordered` is of

    @classmethod
    def of(cls, digests: np.ndarray) -> _Keys:
        """Equal rows are told apart by how many came before."""
        order = np.argsort(digests, kind="stable")
        ordered = digests[order]
        first = np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)]
        starts = np.flatnonzero(first)
        number = np.arange(len(ordered)) - starts[np.cumsum(first) - 1] if len(ordered) else order
        if number.any():
            keys = np.empty_like(digests)
            keys[order] = np.where(number > 0, mixed(ordered ^ mixed(number.astype(np.uint64))), ordered)
            order = np.argsort(keys, kind="stable")
            return cls(keys, keys[order], order)
        return cls(digests, ordered, order)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The rows that have these keys, -1 where none has."""
        if not len(self.ordered):
            return np.full(len(keys), -1, np.int64)
        numbers = np.minimum(np.searchsorted(self.ordered, keys), len(self.ordered) - 1)
        return np.where(self.ordered[numbers] == keys, self.rows[numbers], -1)


class _Cache:
    """Keys that were computed: what they are of never changes. Threads may lose each other's, and need no lock."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], _Keys] = {}

    def get(self, key: tuple[object, ...]) -> _Keys | None:
        return self._found.get(key)

    def put(self, key: tuple[object, ...], keys: _Keys) -> None:
        all_keys = {**self._found, key: keys}
        while len(all_keys) > 1 and sum(24 * len(cached.keys) for cached in all_keys.values()) > KEPT_BYTES:
            del all_keys[next(iter(all_keys))]
        self._found = all_keys


_caches: weakref.WeakKeyDictionary[Store, _Cache] = weakref.WeakKeyDictionary()


def same_rows(store: Store, one: Version, other: Version, positions: np.ndarray) -> np.ndarray:
    """For these rows of `one` the positions of the same rows in `other`, another version of the list; -1 where there is none.

    Nothing is read of rows that both versions show. Rows that were erased are in no version.
    """
    return _matched(store, one, other, positions, identity)


def unchanged_rows(store: Store, one: Version, other: Version, positions: np.ndarray) -> np.ndarray:
    """As :func:`same_rows`, only of rows whose content is unchanged, whatever the key is."""
    return _matched(store, one, other, positions, _content)


def stored_rows(store: Store, one: Version, other: Version, positions: np.ndarray) -> np.ndarray:
    """Where `other` shows the very rows of `one` that are stored once for both, erased ones too; -1 elsewhere."""
    shown, theirs = store.pieces([one, other])
    return theirs.positions(*shown.addresses(positions))


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """The fields in which rows are the same, by what names them in every version."""

    names: tuple[str, ...]
    key: pa.Schema | None = None  #: of a key: how both versions are read, if their dtypes have one in common

    def part_of(self, schema: pa.Schema) -> tuple[list[str], pa.Schema]:
        """The fields that are read of a version, and the schema that its rows get."""
        own = _part(schema, self.names)
        return own.names, own if self.key is None else self.key

    def digests(self, table: pa.Table) -> np.ndarray:
        """A number for each of these rows; the same ones have the same."""
        names = {name: contents(table.schema)[name] for name in self.names}
        if self.key is not None:
            table = pa.table(frames.key_columns(table, table.schema.names), table.schema.names)
        return row_digests(table, names)


def identity(older: pa.Schema, newer: pa.Schema) -> Identity | None:
    """In what rows of two versions of a list are the same: the key of the newer one, else all of their content; None: in nothing."""
    return _key(older, newer) or _content(older, newer)


def _key(older: pa.Schema, newer: pa.Schema) -> Identity | None:
    """The key of the newer version, if the older one has its fields."""
    key = set(key_fields(newer))
    names = tuple(name for name, field in contents(newer).items() if field in key)
    if not names or not set(names) <= contents(older).keys():
        return None
    try:
        return Identity(names, frames.merge(_part(older, names), _part(newer, names)).schema)
    except SchemaMismatch:
        return Identity(names)


def _content(older: pa.Schema, newer: pa.Schema) -> Identity | None:
    """The fields of the older version, if the newer one has them all."""
    names = contents(older)
    return Identity(tuple(names)) if names.keys() <= contents(newer).keys() else None


def _part(schema: pa.Schema, names: tuple[str, ...]) -> pa.Schema:
    fields = contents(schema)
    part = frames.part_of(schema, [fields[name] for name in names])
    return frames.with_key(part, ())  # the key that this version had may be of fields that are no part


def _matched(
    store: Store,
    one: Version,
    other: Version,
    positions: np.ndarray,
    fields_of: Callable[[pa.Schema, pa.Schema], Identity | None],
) -> np.ndarray:
    """Rows that both versions show, and of the others those that are equal in some fields, which the older and the newer schema say."""
    shown, theirs = store.pieces([one, other])
    there = theirs.positions(*shown.addresses(positions))
    moved = np.flatnonzero(there < 0)
    rest = theirs.lacking(shown)
    if not len(moved) or not len(rest[0]) or one.gone or other.gone:
        return _without_erased(store, one, other, positions, there)
    by_age = sorted((one, other), key=lambda version: version.version)
    fields = fields_of(*(store.schema(version.schema_id) for version in by_age))
    if fields is not None:
        own_rest = shown.lacking(theirs)
        own_keys, their_keys = _keys_of_both(store, (one, *own_rest), (other, *rest), fields)
        at = np.searchsorted(_positions(*own_rest), positions[moved])
        numbers = their_keys.find(own_keys.keys[at])
        there[moved] = np.where(numbers < 0, -1, _positions(*rest)[numbers])
    return _without_erased(store, one, other, positions, there)


def _without_erased(
    store: Store, one: Version, other: Version, positions: np.ndarray, there: np.ndarray
) -> np.ndarray:
    """The positions `there` of rows at `positions`, without rows that were erased."""
    if not one.erased and not other.erased:
        return there
    here, gone = store.erased([one, other])
    return np.where(np.isin(positions, here) | np.isin(there, gone), -1, there)


def _positions(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    return expanded(starts, stops - starts)[1]


def _keys_of_both(store: Store, one: _Rows, other: _Rows, fields: Identity) -> tuple[_Keys, _Keys]:
    try:
        return _keys(store, *one, fields), _keys(store, *other, fields)
    except SchemaMismatch:  # a value that the common dtype does not hold
        fields = Identity(fields.names)
        return _keys(store, *one, fields), _keys(store, *other, fields)


def _keys(store: Store, version: Version, starts: np.ndarray, stops: np.ndarray, fields: Identity) -> _Keys:
    cache = _caches.setdefault(store, _Cache())
    key = (
        version.list_id,
        version.generation,
        version.total,
        version.erased,
        starts.tobytes(),
        stops.tobytes(),
        fields.names,
        None if fields.key is None else fields.key.serialize().to_pybytes(),
    )
    keys = cache.get(key)
    if keys is None:
        keys = _Keys.of(_digests(store, version, _positions(starts, stops), fields))
        cache.put(key, keys)
    return keys


def _digests(store: Store, version: Version, positions: np.ndarray, fields: Identity) -> np.ndarray:
    """A digest of each of these rows; rows between them may be read along."""
    digests = np.zeros(len(positions), np.uint64)
    if not fields.names:
        return digests
    own, part = fields.part_of(store.schema(version.schema_id))
    for _, chunk in store.scan_many([ScanRequest(version, tuple(own), positions)]):
        at = np.searchsorted(positions, chunk.positions)
        hits = np.flatnonzero(positions[np.minimum(at, len(positions) - 1)] == chunk.positions)
        if len(hits):
            digests[at[hits]] = fields.digests(aligned(chunk, part))[hits]
    return digests
