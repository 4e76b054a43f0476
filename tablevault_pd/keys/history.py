"""Every state of one row of a list with a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput, SchemaMismatch, UnsupportedColumn, short_repr
from tablevault_pd.keys.digests import NO_DIGESTS, key_digests, matches
from tablevault_pd.keys.key import key_labels
from tablevault_pd.reading import reports
from tablevault_pd.reading.chunks import aligned, as_array
from tablevault_pd.reading.read import list_not_found, rows_at_each
from tablevault_pd.store import ScanRequest
from tablevault_pd.store.pieces import EMPTY, Pieces

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from tablevault_pd.store import Store, Version

_NO_ROWS = np.empty(0, np.int64)
COMMIT = ("version", "time", "session", "cell", "operation")


@dataclass(frozen=True, slots=True)
class _State:
    """What a version made of the row."""

    version: Version
    position: int  #: -1: the row is not there any more


def history(store: Store, name: str, key: Any) -> pd.DataFrame:
    """A line for each version that changed the row with this key, oldest first."""
    versions = store.versions(name)
    if not versions:
        raise list_not_found(store, name)
    schema = store.schema(versions[-1].schema_id)
    fields = frames.key_fields(schema)
    if not fields:
        raise InvalidInput(
            f"The list {name!r} has no key, by which a row is followed: vault.upsert({name!r}, rows, key='id') gives it one."
        )
    labels = key_labels(schema)
    cells = _cells(name, labels, key)
    encoded = [_encoded(name, cell, schema.field(field)) for cell, field in zip(cells, fields, strict=True)]
    key_types = dict(zip(labels, (field for field, _ in encoded), strict=True))
    contents = _contents(store, versions)
    content, digests = _keys(store, versions, contents, key_types)
    rows, _ = matches(digests, key_digests([frames.key_column(column, field) for field, column in encoded]))
    states = list(_states(versions, contents, *content.addresses(np.sort(rows))))
    if not states:
        raise InvalidInput(
            f"No row of the list {name!r} ever had the key {short_repr(key)}, or all that had it were erased."
        )
    return _frame(store, name, states)


def _cells(name: str, labels: Sequence[Hashable], key: Any) -> list[Any]:
    """The cells of the key, in the order of its columns."""
    if isinstance(key, Mapping):
        if set(key) == set(labels):
            return [key[label] for label in labels]
    elif isinstance(key, (tuple, list)):
        if len(key) == len(labels):
            return list(key)
    elif len(labels) == 1:
        return [key]
    raise InvalidInput(
        f"The key of the list {name!r} is {', '.join(map(short_repr, labels))}, and key={short_repr(key)} does not fit it. Give "
        f"{'a value' if len(labels) == 1 else 'a tuple of values'}, or a dict by these names."
    )


def _encoded(name: str, cell: Any, field: pa.Field) -> tuple[pa.Field, pa.ChunkedArray]:
    try:
        return frames.encode_cell(cell, field)
    except (SchemaMismatch, UnsupportedColumn) as error:
        raise InvalidInput(
            f"The key of the list {name!r}, column {short_repr(field.name)}: {error}"
        ) from None


def _contents(store: Store, versions: Sequence[Version]) -> dict[int, Pieces]:
    """What each version shows, by its number; nothing of those whose rows were vacuumed."""
    readable = [version for version in versions if not version.gone]
    pieces = zip(readable, store.pieces(readable), strict=True)
    return {version.version: EMPTY if version.deleted else content for version, content in pieces}


def _keys(
    store: Store,
    versions: Sequence[Version],
    contents: Mapping[int, Pieces],
    key_types: Mapping[Hashable, pa.Field],
) -> tuple[Pieces, np.ndarray]:
    """All rows that ever were in the list and can have such a key, read together, and the digests of their keys."""
    readable = [version for version in versions if version.version in contents]
    erased = {
        version.version: rows for version, rows in zip(readable, store.erased(readable), strict=True)
    }  # nothing is left of their keys
    planned = EMPTY
    selections: list[tuple[Version, pa.Schema, np.ndarray]] = []
    for version in reversed(readable):
        shown = contents[version.version]
        schema = _key_part(store.schema(version.schema_id), key_types) if shown.total else None
        if schema is None:
            continue  # a column of the key was not there yet
        runs = [np.arange(*run) for run in zip(*shown.lacking(planned), strict=True)]
        positions = np.setdiff1d(np.concatenate([_NO_ROWS, *runs]), erased[version.version])
        if len(positions):
            planned = planned + shown.at(positions)
            selections.append((version, schema, positions))
    content, digests = [EMPTY], [NO_DIGESTS]
    requests = [
        ScanRequest(version, tuple(schema.names), positions) for version, schema, positions in selections
    ]
    for number, chunk in store.scan_many(requests):
        version, schema, positions = selections[number]
        in_chunk = as_array(chunk.positions)
        rows = np.flatnonzero(np.isin(in_chunk, positions))
        rows = rows[np.argsort(in_chunk[rows])]
        try:
            table = aligned(chunk, schema).take(pa.array(rows))
        except SchemaMismatch:
            continue  # columns of other types: no row of these has such a key
        content.append(contents[version.version].at(in_chunk[rows]))
        digests.append(key_digests(frames.key_columns(table, schema.names)))
    return reduce(add, content), np.concatenate(digests, axis=1)


def _key_part(schema: pa.Schema, key_types: Mapping[Hashable, pa.Field]) -> pa.Schema | None:
    """The columns, or levels of the index, that a version has the key in, with the types that are looked for."""
    fields: dict[Hashable, str] = {}
    for field, label in frames.field_labels(schema).items():
        fields.setdefault(label, field)
    if not key_types.keys() <= fields.keys():
        return None
    places = [frames.placed(field, schema.field(fields[label])) for label, field in key_types.items()]
    return pa.schema(places, schema.metadata)


def _states(
    versions: Sequence[Version], contents: Mapping[int, Pieces], generation: np.ndarray, address: np.ndarray
) -> Iterator[_State]:
    before: set[int] = set()  # which of the stored rows were shown
    for version in versions:
        content = contents.get(version.version)
        if content is None:
            continue
        positions = content.positions(generation, address)
        now = set(np.flatnonzero(positions >= 0).tolist())
        for number in sorted(now - before, key=lambda row: int(positions[row])):
            yield _State(version, int(positions[number]))
        if before and not now:
            yield _State(version, -1)
        before = now


# -- the answer


def _frame(store: Store, name: str, states: Sequence[_State]) -> pd.DataFrame:
    schema, tables = _rows(store, name, states)
    new = np.array([True, *(not _same(a, b) for a, b in pairwise(tables))])
    states = [state for state, keep in zip(states, new, strict=True) if keep]
    table = pa.concat_tables([table for table, keep in zip(tables, new, strict=True) if keep])
    rows = frames.decode([table], schema, positions=range(len(states)))
    commits = _commits(store, [state.version for state in states])
    return pd.concat([commits, rows.set_axis(commits.index)], axis=1)


def _rows(store: Store, name: str, states: Sequence[_State]) -> tuple[pa.Schema, list[pa.Table]]:
    """A table of one row for each state, in the schema of all of them: levels of an index are columns."""
    selections = [
        (state.version, store.schema(state.version.schema_id), np.array([state.position]))
        for state in states
        if state.position >= 0
    ]
    shown = iter(map(frames.reset_index, rows_at_each(store, selections)))
    absent = frames.encode(pd.DataFrame(index=range(1)))
    tables = [absent if state.position < 0 else next(shown) for state in states]
    schemas = [table.schema for table in tables if table is not absent]
    try:
        schema = reduce(lambda one, other: frames.merge(one, other).schema, schemas)
        if len(schemas) < len(states):
            schema = frames.loosened(schema)
        return schema, [frames.align(table, schema) for table in tables]
    except SchemaMismatch as error:
        raise SchemaMismatch(
            f"The states of this row of {short_repr(name)} do not fit into one frame: {error} Read its versions one by one."
        ) from error


def _same(one: pa.Table, other: pa.Table) -> bool:
    return bool(frames.equal_rows(one, other).all())


def _commits(store: Store, versions: Sequence[Version]) -> pd.DataFrame:
    sessions = reports.labels_of(store, [version.session_id for version in versions])
    frame = reports.answer(
        COMMIT,
        [
            (version.version, version.time, sessions.get(version.session_id), version.cell, version.operation)
            for version in versions
        ],
    )
    return frame.astype({"version": "int64"})
