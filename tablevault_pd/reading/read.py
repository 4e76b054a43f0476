"""Read rows of a version as exact frames: some columns, a slice, the rows that pass a filter."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd import frames, validate
from tablevault_pd.errors import (
    InvalidInput,
    ListDeleted,
    ListNotFound,
    ListRenamed,
    VersionNotFound,
    did_you_mean,
    short_repr,
)
from tablevault_pd.names import check_version_name, parse_address
from tablevault_pd.progress import Bar
from tablevault_pd.reading.chunks import aligned, as_array, living
from tablevault_pd.reading.filtering import filter_for, filter_schema, masks_of, pushed_down
from tablevault_pd.reading.origin import tag
from tablevault_pd.refs import RefArray, Source
from tablevault_pd.store import Chunk, ScanRequest, Store, Version, VersionLookup

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    import pandas as pd

    from tablevault_pd.filters import Filter
    from tablevault_pd.filters.predicate import Where


@dataclass(frozen=True, slots=True)
class AddressLookup(VersionLookup):
    """What an address such as ``news@best`` points at: a version by its number, its name, or as of a time."""

    version_name: str | None = None


def resolve(store: Store, address: str, *, version: int | str | None = None, as_of: Any = None) -> Version:
    """Return the version that a name such as ``news``, ``news@3`` or ``news@best`` means, now or at another time."""
    return resolve_all(store, [_lookup(address, version, as_of)])[0]


def resolve_all(store: Store, lookups: Sequence[AddressLookup]) -> list[Version]:
    """Return the versions of several addresses. Raises if one is not there, or its list is deleted."""
    lookups = _numbered(store, lookups)
    versions = []
    for lookup, version in zip(lookups, store.find_versions(lookups), strict=True):
        if version is None:
            newest = store.head(lookup.name)
            if newest is None or lookup.version is not None or lookup.time is not None:
                raise _not_found(store, lookup, newest)
            version = newest  # its list was made since
        if version.deleted:
            raise ListDeleted.named(lookup.name)
        versions.append(version)
    return versions


def versions_numbered(store: Store, name: str, numbers: Iterable[int]) -> list[Version]:
    """Return versions of a list by their numbers. Raises if they are not there: another process may have renamed the list."""
    return resolve_all(store, [AddressLookup(name, int(number)) for number in numbers])


def exists(store: Store, address: object) -> bool:
    """Whether a name means a version that can be read."""
    try:
        resolve(store, address)  # type: ignore[arg-type]  # any object may be asked for
    except (LookupError, ValueError, TypeError):
        return False
    return True


def _numbered(store: Store, lookups: Sequence[AddressLookup]) -> list[AddressLookup]:
    """The same, with the numbers of versions that are named."""
    named = [(lookup.name, lookup.version_name) for lookup in lookups if lookup.version_name is not None]
    if not named:
        return list(lookups)
    numbers = dict(zip(named, store.find_named(named), strict=True))
    numbered = []
    for lookup in lookups:
        if lookup.version_name is not None:
            number = numbers[lookup.name, lookup.version_name]
            if number is None:
                raise _not_named(store, lookup.name, lookup.version_name)
            lookup = replace(lookup, version=number)
        numbered.append(lookup)
    return numbered


def lookup(address: str, *, version: int | str | None = None, as_of: Any = None) -> AddressLookup:
    """Parse an address such as ``news``, ``news@3`` or ``news@best``; `as_of` holds for addresses without a version."""
    return _lookup(address, version, None if parse_address(address).pinned else as_of)


def _lookup(address: str, version: int | str | None, as_of: Any) -> AddressLookup:
    parsed = parse_address(address)
    if isinstance(version, str) and not version.isdigit():
        version_name = check_version_name(version)
        if as_of is not None or parsed.version_name not in (None, version_name) or parsed.version is not None:
            raise InvalidInput(
                f"version={version!r} names a version; a version in the name, or as_of=, does too. Say one of them."
            )
        return AddressLookup(parsed.name, version_name=version_name)
    if parsed.version is not None and version is not None and parsed.version != version:
        raise InvalidInput(
            f"{address!r} names version {parsed.version}, and version={version} another one. Say one of them."
        )
    if parsed.version_name is not None and version is not None:
        raise InvalidInput(f"{address!r} names a version, and version={version} does too. Say one of them.")
    number = version if parsed.version is None else parsed.version
    if (number is not None or parsed.pinned) and as_of is not None:
        raise InvalidInput("version= and as_of= exclude each other.")
    number = None if number is None else validate.whole(number, "version", least=1)
    time = None if as_of is None else validate.time(as_of, "as_of")
    return AddressLookup(parsed.name, number, time, parsed.version_name)


def list_not_found(store: Store, name: str) -> ListNotFound:
    """The error for a list that is not there: with its new name if it was renamed, else with names that come close."""
    now = store.renamed(name)
    if os.path.isfile(os.path.join(name, "catalog.db")):
        return ListNotFound(
            f"No list named {name!r} in this vault. It is a vault itself: tablevault_pd.connect({name!r}) opens it."
        )
    if now is not None:
        return ListRenamed.to(name, now)
    return ListNotFound.named(name, store.names(), store.pinned_to or "this vault")


def _not_named(store: Store, name: str, version_name: str) -> LookupError:
    """The error for a version that is looked up by a name that it does not have."""
    if store.head(name) is None:
        return list_not_found(store, name)
    there = store.version_names(version_name)
    if any(entry.snapshot for entry in there):
        return VersionNotFound(
            f"The snapshot {short_repr(version_name)} has no list {short_repr(name)}: it did not exist then, or was deleted. It has "
            f"{', '.join(short_repr(entry.list) for entry in there[:10])}."
        )
    if version_name in ("latest", "newest", "last"):
        return VersionNotFound(
            f"Without an @ the newest version is read: {short_repr(name)}. None is called {short_repr(version_name)}."
        )
    known_names = sorted({entry.name for entry in store.version_names() if entry.list == name})
    hint = did_you_mean(version_name, known_names) or (
        f"Its names: {', '.join(map(short_repr, known_names[:10]))}."
        if known_names
        else f"vault.tag('{name}@3', …) names a version."
    )
    return VersionNotFound(
        f"No version of the list {short_repr(name)} is called {short_repr(version_name)}. {hint}"
    )


def _not_found(store: Store, lookup: VersionLookup, newest: Version | None) -> LookupError:
    if newest is None:
        return list_not_found(store, lookup.name)
    there = f" in {store.pinned_to}" if store.pinned_to else ""
    version_or_time = f"at {lookup.time}" if lookup.version is None else f"{lookup.version}"
    return VersionNotFound(
        f"The list {lookup.name!r} has no version {version_or_time}; its newest is {newest.version}{there}. "
        f"vault.versions({lookup.name!r}) shows which it has."
    )


def bounds(start: int | None, stop: int | None, total: int) -> tuple[int, int]:
    """Return the positions of a slice of `total` rows; negative ones count from the end."""
    first = None if start is None else validate.whole(start, "start")
    last = None if stop is None else validate.whole(stop, "stop")
    first, last, _ = slice(first, last).indices(total)
    return first, max(first, last)


def positions_shown(store: Store, version: Version) -> np.ndarray:
    """The positions of all rows that a read of a version returns."""
    [erased] = store.erased([version])
    return np.delete(np.arange(version.total), erased)


def read(
    store: Store,
    version: Version,
    *,
    columns: Sequence[Hashable] | None = None,
    filters: Any = None,
    start: int | None = None,
    stop: int | None = None,
    refs: bool | str = False,
    tagged: bool = False,
) -> pd.DataFrame:
    """Read rows of one version; `refs` adds a column of references to them, `tagged` marks the frame with its origin."""
    schema = wanted_schema(store, version, columns)
    condition = filter_for(store, version, filters)
    first, last = bounds(start, stop, version.total)
    if condition is not None:
        frame, rows = _read_filtered(store, version, schema, condition, first, last)
        return finished(frame, store, version, rows, columns, refs, tagged=tagged)
    chunks = list(_scan(store, version, schema, first, last))
    private = len(chunks) == 1 and chunks[0].private
    tables = [aligned(chunk, schema) for chunk in chunks] or _categories_alone(store, version, schema)
    positions = _positions_of(chunks, range(first, last))
    frame = frames.decode(tables, schema, positions=positions, private=private)
    return finished(frame, store, version, positions, columns, refs, tagged=tagged)


def _positions_of(chunks: Sequence[Chunk], every: range) -> range | np.ndarray:
    """The positions of the rows in these chunks: all, unless some were erased."""
    if sum(len(chunk.positions) for chunk in chunks) == len(every):
        return every
    return np.concatenate([np.empty(0, np.int64), *(as_array(chunk.positions) for chunk in chunks)])


def finished(
    frame: pd.DataFrame,
    store: Store,
    version: Version,
    positions: range | np.ndarray,
    columns: Sequence[Hashable] | None,
    refs: bool | str,
    *,
    tagged: bool,
) -> pd.DataFrame:
    """The frame just read, with references if `refs` asks for them, marked with its origin if `tagged`."""
    frame = with_refs(frame, store, version, positions, refs)
    return tag(frame, store.vault_id, version, positions, columns) if tagged else frame


def _categories_alone(store: Store, version: Version, schema: pa.Schema) -> list[pa.Table]:
    """Return no rows with the categories of the first row, for a frame without rows."""
    if not any(pa.types.is_dictionary(field.type) for field in schema):
        return []
    return [aligned(chunk, schema).slice(0, 0) for chunk in _scan(store, version, schema, 0, 1)]


def column_of_refs(refs: bool | str) -> str | None:
    """The name of the column of references; None: there is to be none. Raises InvalidInput."""
    if isinstance(refs, bool):
        return "ref" if refs else None
    if not isinstance(refs, str):
        raise InvalidInput(f"refs= is True, False or the name of the column to add, not {refs!r}.")
    return validate.text(refs, "refs=")


def with_refs(
    frame: pd.DataFrame, store: Store, version: Version, positions: range | np.ndarray, refs: bool | str
) -> pd.DataFrame:
    """The frame just read, with a column of references to its rows if `refs` asks for one. Raises InvalidInput."""
    name = column_of_refs(refs)
    if name is None:
        return frame
    if name in frame.columns:
        raise InvalidInput(
            f"{version.list!r} has a column {name!r}. Call the references otherwise: refs='{name}_of_{version.list}'."
        )
    frame[name] = RefArray.of(
        Source(store.vault_id, version.list_id, version.version, version.list), positions
    )
    return frame


def take(
    store: Store, selections: Sequence[tuple[Version, np.ndarray, Sequence[Hashable] | None]]
) -> list[pd.DataFrame]:
    """Read rows at given positions of each version, in that order, with repetitions.

    Arrow types that pandas cannot take rows of (views, runs) are returned in their stored types. Of rows that were erased all
    cells are missing.
    """
    tables = take_tables(store, selections)
    return [
        frames.decode([table], table.schema, positions=positions, private=True)
        for table, (_, positions, _) in zip(tables, selections, strict=True)
    ]


def take_tables(
    store: Store, selections: Sequence[tuple[Version, np.ndarray, Sequence[Hashable] | None]]
) -> list[pa.Table]:
    """Read what :func:`take` reads, encoded."""
    if not selections:
        return []
    schemas = [frames.as_stored(wanted_schema(store, version, columns)) for version, _, columns in selections]
    if any(version.erased for version, _, _ in selections):
        erased = store.erased([version for version, _, _ in selections])
        schemas = [
            frames.loosened(schema) if len(gone) and np.isin(positions, gone).any() else schema
            for schema, gone, (_, positions, _) in zip(schemas, erased, selections, strict=True)
        ]
    unique = [_each_once(positions) for _, positions, _ in selections]
    tables = rows_at_each(
        store,
        [
            (version, schema, positions)
            for (version, _, _), schema, (positions, _) in zip(selections, schemas, unique, strict=True)
        ],
    )
    return [
        table if back is None else table.take(pa.array(back))
        for table, (_, back) in zip(tables, unique, strict=True)
    ]


def _each_once(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions in order, each once, and where each of those given is among them; None: they are as given."""
    if (positions[1:] > positions[:-1]).all():
        return positions, None
    return np.unique(positions, return_inverse=True)


def rows_at(store: Store, version: Version, schema: pa.Schema, positions: np.ndarray) -> pa.Table:
    """The rows at these ascending positions, each there once, as the schema or a part of it has them."""
    return rows_at_each(store, [(version, schema, positions)])[0]


def rows_at_each(store: Store, selections: Sequence[tuple[Version, pa.Schema, np.ndarray]]) -> list[pa.Table]:
    """The same of several versions, read together."""
    requests = [
        ScanRequest(version, tuple(schema.names), positions) for version, schema, positions in selections
    ]
    tables = {
        number: _gathered((chunk for _, chunk in chunks), *selections[number][1:])
        for number, chunks in groupby(store.scan_many(requests), key=itemgetter(0))
    }
    return [
        tables[number] if number in tables else schema.empty_table()
        for number, (_, schema, _) in enumerate(selections)
    ]


def _gathered(chunks: Iterable[Chunk], schema: pa.Schema, positions: np.ndarray) -> pa.Table:
    """The rows at these ascending positions, out of chunks in any order that may have others as well."""
    tables, numbers = [], []
    for chunk in chunks:
        in_chunk = as_array(chunk.positions)
        if np.array_equal(in_chunk, positions):
            return aligned(chunk, schema)
        number = np.searchsorted(positions, in_chunk)
        rows = np.flatnonzero(positions[np.minimum(number, len(positions) - 1)] == in_chunk)
        table = aligned(chunk, schema)
        tables.append(table if len(rows) == len(in_chunk) else table.take(pa.array(rows)))
        numbers.append(number[rows])
    order = np.concatenate(numbers)
    table = pa.concat_tables(tables)
    return table if (np.diff(order) > 0).all() else table.take(pa.array(np.argsort(order)))


def wanted_schema(store: Store, version: Version, columns: Sequence[Hashable] | None) -> pa.Schema:
    """Return the schema of some columns of a version. Raises InvalidInput for an unknown one."""
    schema = store.schema(version.schema_id)
    try:
        return schema if columns is None else frames.select(schema, columns)
    except InvalidInput as error:
        raise InvalidInput(f"{version.label}: {error}") from None


def _scan(
    store: Store, version: Version, schema: pa.Schema, first: int, last: int, where: Where | None = None
) -> Iterator[Chunk]:
    whole = store.schema(version.schema_id)
    columns = None if schema.names == whole.names else schema.names
    total = last - first if where is None else None
    with Bar(f"reading {version.list}", total=total, unit="rows") as bar:
        for chunk in store.scan(version, start=first, stop=last, columns=columns, where=where):
            yield living(chunk)
            bar(len(chunk.positions))


def _read_filtered(
    store: Store,
    version: Version,
    schema: pa.Schema,
    condition: Filter,
    first: int,
    last: int,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Read the rows that pass a filter; only columns that it uses are decoded for all rows."""
    whole = store.schema(version.schema_id)
    judged = filter_schema(whole, condition)
    later = _read_later(store, schema, judged)
    names = [name for name in dict.fromkeys([*schema.names, *judged.names]) if name in whole.names]
    names = [name for name in names if name not in later.names]
    # If neither the answer nor the filter has a column, the rows are only counted.
    both = pa.schema([whole.field(name) for name in names], metadata=whole.metadata) if names else judged
    tables: list[pa.Table] = []
    positions: list[np.ndarray] = []

    def scanned() -> Iterator[tuple[pa.Table, np.ndarray]]:
        for chunk in _scan(store, version, both, first, last, pushed_down(store, version, condition)):
            tables.append(aligned(chunk, both))
            positions.append(as_array(chunk.positions))
            yield tables[-1], positions[-1]

    for number, mask in enumerate(masks_of(condition, scanned(), judged)):
        rows = np.flatnonzero(mask)
        tables[number] = tables[number].select([n for n in schema.names if n in names]).take(rows)
        positions[number] = positions[number][rows]
    frame_read = np.concatenate(positions) if positions else np.empty(0, np.int64)
    if later.names and tables:
        tables = _with_columns(tables, positions, rows_at(store, version, later, frame_read), schema)
    frame = frames.decode(tables, schema, positions=frame_read, private=True)
    return frame, frame_read


def _read_later(store: Store, schema: pa.Schema, judged: pa.Schema) -> pa.Schema:
    """The columns with large cells, which a store that sends rows is asked for once the filter has chosen among them."""
    kinds = [frames.spec_of(field).get("kind") for field in schema] if store.supports_pushdown else []
    fields = [
        field
        for field, kind in zip(schema, kinds, strict=False)
        if kind in ("embedding", "document", "file") and field.name not in judged.names
    ]
    fields = [field for field in fields if not pa.types.is_dictionary(field.type)]
    # At least one column stays, which tells how many rows there are.
    return pa.schema(fields if len(fields) < len(schema) or judged.names else [], metadata=schema.metadata)


def _with_columns(
    tables: Sequence[pa.Table], positions: Sequence[np.ndarray], columns: pa.Table, schema: pa.Schema
) -> list[pa.Table]:
    """The tables with their rows of further columns, in the order of a schema."""
    joined, start = [], 0
    for table, rows in zip(tables, positions, strict=True):
        parts = [table, columns.slice(start, len(rows))]
        cells = {field.name: (field, part.column(field.name)) for part in parts for field in part.schema}
        fields, arrays = zip(*(cells[name] for name in schema.names if name in cells), strict=True)
        joined.append(pa.Table.from_arrays(list(arrays), schema=pa.schema(fields, metadata=schema.metadata)))
        start += len(rows)
    return joined


def batches(
    store: Store, version: Version, size: int, *, columns: Sequence[Hashable] | None = None
) -> Iterator[pd.DataFrame]:
    """Yield a version in frames of `size` rows, marked with their origin."""
    for first in range(0, version.total, size):
        yield read(store, version, columns=columns, start=first, stop=first + size, tagged=True)


def arrow_batches(
    store: Store, version: Version, *, columns: Sequence[Hashable] | None = None
) -> pa.RecordBatchReader:
    """Return the version, or some of its columns, as a stream of Arrow record batches, for polars, DuckDB and others."""
    schema = wanted_schema(store, version, columns)
    plain = frames.to_arrow(schema.empty_table()).schema

    def stream() -> Iterator[pa.RecordBatch]:
        for chunk in _scan(store, version, schema, 0, version.total):
            table = frames.to_arrow(aligned(chunk, schema))
            yield from (table if table.schema.equals(plain) else table.cast(plain)).to_batches()

    return pa.RecordBatchReader.from_batches(plain, stream())
