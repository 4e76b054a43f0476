"""The digests of the keys of stored rows, kept in memory and beside the list: what was read of it once is not read again.

Stored rows never change, so a digest belongs to an address for ever, whichever versions show it. An index is a copy of what
the store has: it grows by what a version shows beyond it, and one that is lost is made again.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from tablevault_pd import frames
from tablevault_pd.keys.digests import NO_DIGESTS, key_digests, matches
from tablevault_pd.reading.read import rows_at
from tablevault_pd.store.engine.key_files import pack_index, unpack_index
from tablevault_pd.store.pieces import EMPTY, Pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from tablevault_pd.store import Store, Version

    #: The list, and the fields with what decides how each is stored.
    _Key = tuple[int, tuple[tuple[str, str, str], ...]]

KEPT_ROWS = 16_000_000  # of all lists of a vault that is open: 256 MB
_LACKING_ROWS = 20_000  # a copy in the store may lack so many rows, or a fourth of those that it has
# rows that no version in use shows are dropped once there are more, and more than of the others
_DEAD_ROWS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class KeyIndex:
    """Digests of the keys of stored rows of a list."""

    content: Pieces
    digests: np.ndarray  #: shape (2, content.total), in the order of `content`
    #: (number, time) of the newest version that any of these rows were read from
    newest: tuple[int, str] | None = None
    stored: int = 0  #: of how many rows the store has a copy

    def _with(self, content: Pieces, digests: np.ndarray, version: Version) -> KeyIndex:
        newest = max(self.newest or (0, ""), (version.version, version.time.isoformat()))
        both = np.concatenate([self.digests, digests], axis=1)
        return KeyIndex(self.content + content, both, newest, self.stored)

    def holds(self, store: Store, version: Version) -> bool:
        """Return whether these rows are in the vault still: commits may be lost with a disk or a server."""
        if self.newest is None:
            return True
        number, time = self.newest
        now = version if version.version == number else store.version(version.list, number)
        return now is not None and now.time.isoformat() == time

    def find(self, shown: Pieces, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(number, position): every pair of a wanted key and a row that has it and is shown, in order of position."""
        rows, number = matches(self.digests, keys)
        position = shown.positions(*self.content.addresses(rows))
        order = np.argsort(position, kind="stable")
        order = order[np.searchsorted(position[order], 0) :]  # without those that are not shown
        return number[order], position[order]

    def of(self, shown: Pieces) -> np.ndarray:
        """The digests of all rows that are shown, in order of position."""
        rows = self.content.positions(*shown.addresses(np.arange(shown.total)))
        return self.digests[:, rows]

    def extended(
        self, store: Store, version: Version, shown: Pieces, schema: pa.Schema, fields: Sequence[str]
    ) -> KeyIndex:
        """The index with the rows of a version, which are read as `schema` has them."""
        starts, stops = shown.lacking(self.content)
        if not len(starts):
            return self
        positions = np.concatenate([np.arange(*run) for run in zip(starts, stops, strict=True)])
        if version.erased:  # nothing is left of their keys
            positions = np.setdiff1d(positions, store.erased([version])[0])
        table = rows_at(store, version, frames.part_of(schema, fields), positions)
        digests = key_digests(frames.key_columns(table, fields))
        return self._with(shown.at(positions), digests, version)

    def noted(self, version: Version, digests: np.ndarray) -> KeyIndex:
        """The index with the rows that `version` brought, whose digests these are."""
        brought = Pieces.of([(version.generation, version.start, version.start + version.rows)])
        if brought.total != digests.shape[1] or len(brought.overlaps(self.content)[0]):
            return self
        return self._with(brought, digests, version)


NO_KEYS = KeyIndex(EMPTY, NO_DIGESTS)


class _Indexes:
    """The indexes of one store, the last used last. Threads may lose each other's, and need no lock."""

    def __init__(self) -> None:
        self._indexes: dict[_Key, KeyIndex] = {}

    def get(self, store: Store, version: Version, key: _Key) -> KeyIndex:
        """Return what is known of the stored rows of a list: from memory, else from the copy that the store has."""
        index = self._indexes.get(key)
        if index is None:
            index = _loaded(store, key)
        return index if index.holds(store, version) else NO_KEYS

    def put(self, store: Store, key: _Key, index: KeyIndex) -> None:
        """Keep an index; a copy goes to the store where the last one lacks many rows."""
        lacking = index.content.total - index.stored
        if index.newest is not None and lacking > max(_LACKING_ROWS, index.stored // 4):
            store.keep_key_index(key[0], _name(key), pack_index(index.content, index.digests, *index.newest))
            index = replace(index, stored=index.content.total)
        indexes = {name: other for name, other in self._indexes.items() if name != key} | {key: index}
        while len(indexes) > 1 and sum(index.content.total for index in indexes.values()) > KEPT_ROWS:
            del indexes[next(iter(indexes))]
        self._indexes = indexes


_of_stores: weakref.WeakKeyDictionary[Store, _Indexes] = weakref.WeakKeyDictionary()


def _loaded(store: Store, key: _Key) -> KeyIndex:
    data = store.load_key_index(key[0], _name(key))
    copy = None if data is None else unpack_index(data)
    if copy is None:
        return NO_KEYS
    content, digests, number, time = copy
    return KeyIndex(content, digests, (number, time), content.total)


def _name(key: _Key) -> str:
    return xxhash.xxh3_64_hexdigest(repr(key[1]).encode())


def key_index(
    store: Store, version: Version, shown: Pieces, schema: pa.Schema, fields: Sequence[str]
) -> KeyIndex:
    """The digests of these fields, as `schema` has them, for at least the rows that `version` shows."""
    indexes, key = _indexes_of(store, version, schema, fields)
    index = indexes.get(store, version, key)
    if index.content.total > shown.total * 2 + _DEAD_ROWS:
        index = NO_KEYS
    grown = index.extended(store, version, shown, schema, fields)
    if grown is not index:
        indexes.put(store, key, grown)
    return grown


def note_rows(
    store: Store, version: Version, schema: pa.Schema, fields: Sequence[str], digests: np.ndarray
) -> None:
    """Add the rows that `version` brought, whose digests are known, so that they need not be read."""
    indexes, key = _indexes_of(store, version, schema, fields)
    indexes.put(store, key, indexes.get(store, version, key).noted(version, digests))


def _indexes_of(
    store: Store, version: Version, schema: pa.Schema, fields: Sequence[str]
) -> tuple[_Indexes, _Key]:
    stored_as = tuple((field, *_stored_as(schema.field(field))) for field in fields)
    return _of_stores.setdefault(store, _Indexes()), (version.list_id, stored_as)


def _stored_as(field: pa.Field) -> tuple[str, str]:
    """What decides which digest a key has."""
    return str(field.type), "key cells" if frames.spec_of(field)["codec"] == "json" else ""
