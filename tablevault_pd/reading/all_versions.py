"""All versions of a list in one frame, one below the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput, SchemaMismatch, VersionNotFound, short_repr
from tablevault_pd.filters import Names, parse_filter
from tablevault_pd.progress import warn
from tablevault_pd.reading.chunks import aligned, as_array, living
from tablevault_pd.reading.filtering import filter_schema, masks_of
from tablevault_pd.reading.read import bounds, column_of_refs
from tablevault_pd.refs import RefArray, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    import pandas as pd
    import pyarrow as pa

    from tablevault_pd.filters import Filter
    from tablevault_pd.store import Store, Version


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one version that are kept."""

    version: Version
    positions: np.ndarray
    numbers: np.ndarray
    tables: Sequence[pa.Table]


def read_all_versions(
    store: Store,
    name: str,
    numbers_of: Callable[[Version], np.ndarray],
    *,
    columns: Sequence[Hashable] | None,
    filters: Any,
    start: int | None,
    stop: int | None,
    refs: bool | str,
) -> tuple[pd.DataFrame, list[Version]]:
    """The rows of every version of a list that can be read, and which versions those are.

    `numbers_of` gives the rows of a version their numbers, and is called for each version in order.
    """
    versions = _readable(store, name)
    schemas = store.schemas(dict.fromkeys(version.schema_id for version in reversed(versions)))
    newest = schemas[versions[-1].schema_id]
    labels = list(dict.fromkeys(label for schema in [newest, *schemas.values()] for label in _labels(schema)))
    if columns is not None and not set(columns) <= set(labels):
        frames.select(newest, [label for label in columns if label not in labels])  # raises
    nested = {label for schema in schemas.values() for label in frames.nested_columns(schema)}
    condition = parse_filter(filters, Names(labels, frames.index_names(newest), nested))
    read = _joined(versions[-1], schemas, _read_labels(labels, columns, condition))
    schema_read = frames.select(read, labels if columns is None else columns)
    parts = [
        _part(store, version, numbers_of(version), read, condition, *bounds(start, stop, version.total))
        for version in versions
    ]
    tables = [table for part in parts for table in part.tables]
    positions = np.concatenate([part.positions for part in parts])
    frame = frames.decode(
        tables or [schema_read.empty_table()], schema_read, positions=positions, private=True
    )
    return _with_identity(frame, store, parts, refs), versions


def _readable(store: Store, name: str) -> list[Version]:
    versions = [version for version in store.versions(name) if not version.deleted]
    gone = [version.version for version in versions if version.gone]
    left = [version for version in versions if not version.gone]
    if not left:
        raise VersionNotFound.vacuumed(name, gone[-1])
    if gone:
        warn(
            f"The rows of the versions {', '.join(map(str, gone))} of {short_repr(name)} were removed by vacuum, and are left out.",
            RuntimeWarning,
        )
    return left


def _labels(schema: pa.Schema) -> list[Hashable]:
    return [column.label for column in frames.columns(schema)]


def _read_labels(
    labels: list[Hashable], columns: Sequence[Hashable] | None, condition: Filter | None
) -> list[Hashable]:
    """The columns of the answer, and those that the filter looks at."""
    if columns is None or (condition is not None and condition.columns is None):
        return labels
    judged = () if condition is None else condition.columns or ()
    return [label for label in labels if label in {*columns, *judged}]


def _joined(newest: Version, schemas: dict[int, pa.Schema], labels: Sequence[Hashable]) -> pa.Schema:
    """These columns in types that hold the cells of all versions, those of the newest one where it can be."""
    parts = {
        key: frames.select(schema, [label for label in labels if label in _labels(schema)])
        for key, schema in schemas.items()
    }
    joined = parts[newest.schema_id]
    try:
        for part in parts.values():
            joined = frames.merge(joined, part).schema
    except SchemaMismatch as error:
        raise SchemaMismatch(
            f"The versions of {short_repr(newest.list)} do not fit into one frame: {error} Leave such columns out with columns=, "
            "or read the versions one by one."
        ) from error
    return joined


def _part(
    store: Store,
    version: Version,
    numbers: np.ndarray,
    schema: pa.Schema,
    condition: Filter | None,
    first: int,
    last: int,
) -> _Part:
    own = store.schema(version.schema_id)
    labels = set(_labels(schema))
    fields = frames.select(own, [label for label in _labels(own) if label in labels])
    tables: list[pa.Table] = []
    positions: list[np.ndarray] = []
    for chunk in map(living, store.scan(version, start=first, stop=last, columns=fields.names)):
        tables.append(frames.align(aligned(chunk, fields), schema))
        positions.append(as_array(chunk.positions))
    if condition is not None:
        pairs = list(zip(tables, positions, strict=True))
        for number, mask in enumerate(masks_of(condition, pairs, filter_schema(schema, condition))):
            rows = np.flatnonzero(mask)
            tables[number], positions[number] = tables[number].take(rows), positions[number][rows]
    positions_read = np.concatenate(positions) if positions else np.empty(0, np.int64)
    return _Part(version, positions_read, numbers[positions_read], tables)


def _with_identity(
    frame: pd.DataFrame, store: Store, parts: Sequence[_Part], refs: bool | str
) -> pd.DataFrame:
    """The frame with the columns ``version`` and ``row`` before the others, and references after them if asked for."""
    counts = [len(part.positions) for part in parts]
    name = column_of_refs(refs)
    taken = [column for column in ("version", "row", name) if column is not None and column in frame.columns]
    if taken:
        raise InvalidInput(
            f"The list {short_repr(parts[-1].version.list)} has a column {short_repr(taken[0])}, which versions='all' adds: "
            "name the columns to read, without it, with columns=."
        )
    frame.insert(0, "version", np.repeat([part.version.version for part in parts], counts))
    frame.insert(1, "row", np.concatenate([part.numbers for part in parts]))
    if name is not None:
        frame[name] = RefArray._concat_same_type([_references(store, part) for part in parts])
    return frame


def _references(store: Store, part: _Part) -> RefArray:
    source = Source(store.vault_id, part.version.list_id, part.version.version, part.version.list)
    return RefArray.of(source, part.positions)
