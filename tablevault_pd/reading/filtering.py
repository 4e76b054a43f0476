"""Which rows of versions pass a filter. Rows of versions with one schema are judged together."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import InvalidFilter
from tablevault_pd.filters import Filter, Names, UnknownColumn, parse_filter
from tablevault_pd.reading.chunks import aligned, as_array, living
from tablevault_pd.store import Chunk, ScanRequest, Store, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tablevault_pd.filters.predicate import Where

FEW_ROWS = 65_536  # a list of no more rows in a folder has no ranges to leave out
NAMED = 10  # lists that an error names at most
JUDGED_ROWS = 65_536  # a filter looks at so many rows at once, unless a part of a list has more


def filter_for(store: Store, version: Version, filters: Any) -> Filter | None:
    """Parse `filters` with the names of this version. Raises InvalidFilter and UnknownColumn."""
    if filters is None:
        return None
    schema = store.schema(version.schema_id)
    labels = [column.label for column in frames.columns(schema)]
    names = Names(labels, frames.index_names(schema), frames.nested_columns(schema))
    try:
        return parse_filter(filters, names)
    except UnknownColumn as error:
        raise UnknownColumn(f"In the list {version.list!r}: {error}") from None


def _may_skip(store: Store, version: Version) -> bool:
    return store.supports_pushdown or version.total > FEW_ROWS


def pushed_down(store: Store, version: Version, condition: Filter) -> Where | None:
    """Return the condition by which the store may leave rows out; None if it leaves none out."""
    if condition.tree is None or not _may_skip(store, version):
        return None
    from tablevault_pd.filters.pushdown import pushdown  # imported where rows may be left out only

    return pushdown(condition.tree, store.schema(version.schema_id))


def filter_schema(schema: pa.Schema, condition: Filter) -> pa.Schema:
    """Return the part of a schema that a filter uses."""
    return schema if condition.columns is None else frames.select(schema, list(condition.columns))


def masks_of(
    condition: Filter, tables: Iterable[tuple[pa.Table, np.ndarray]], schema: pa.Schema
) -> Iterator[np.ndarray]:
    """Yield which rows of each table pass. A filter that needs all rows at once gets the tables together.

    It is judged even where no table comes, since what is wrong with it is told whatever rows there are.
    """
    if condition.rowwise:
        judged = False
        for table, positions in tables:
            yield condition.mask(frames.decode([table], schema, positions=positions))
            judged = True
        if not judged:
            _judge_nothing(condition, schema)
        return
    parts = list(tables)
    if parts:
        whole = frames.decode(
            [table for table, _ in parts],
            schema,
            positions=np.concatenate([positions for _, positions in parts]),
        )
        ends = np.cumsum([len(positions) for _, positions in parts])
        yield from np.split(condition.mask(whole), ends[:-1])
    else:
        _judge_nothing(condition, schema)


def _judge_nothing(condition: Filter, schema: pa.Schema) -> None:
    """Raise InvalidFilter for a filter that does not fit the columns: a store may have no rows to send, or leave all out."""
    condition.mask(frames.decode([], schema, positions=np.empty(0, np.int64)))


def masks_of_versions(store: Store, filtered: Sequence[tuple[Version, Filter]]) -> list[np.ndarray]:
    """Return which rows of each version pass its filter: bool, shape (version.total,)."""
    masks = [np.zeros(version.total, bool) for version, _ in filtered]
    for number, positions, passed in _judged(store, filtered):
        masks[number][positions] = passed
    return masks


def rows_passing(
    store: Store, filtered: Sequence[tuple[Version, Filter]], rows: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Return which of these rows of each version pass its filter: ascending positions. Others are read only if the filter needs them."""
    passing = [np.empty(0, np.int64)] * len(rows)
    for number, positions, passed in _judged(store, filtered, rows):
        passing[number] = np.union1d(passing[number], positions[passed])
    return [np.intersect1d(both, there) for both, there in zip(passing, rows, strict=True)]


def _judged(
    store: Store, filtered: Sequence[tuple[Version, Filter]], rows: Sequence[np.ndarray] | None = None
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (number, positions, which pass) of all rows of each version, or at least of `rows`."""
    if not filtered:
        return
    plans = _plans(store, filtered)
    requests = []
    for number, ((version, _), plan) in enumerate(zip(filtered, plans, strict=True)):
        some = None if rows is None or plan.at_once else rows[number]
        where = plan.where if some is None and _may_skip(store, version) else None
        requests.append(ScanRequest(version, tuple(plan.schema.names), some, where))
    unjudged = {id(plan): number for number, plan in enumerate(plans)} if rows is None else {}
    scanned = ((number, living(chunk)) for number, chunk in store.scan_many(requests))
    for chunks in _judged_together(scanned, plans):
        plan = plans[chunks[0][0]]
        unjudged.pop(id(plan), None)
        tables = [aligned(chunk, plan.schema) for _, chunk in chunks]
        positions = [as_array(chunk.positions) for _, chunk in chunks]
        frame = frames.decode(tables, plan.schema, positions=np.concatenate(positions))
        ends = np.cumsum([len(part) for part in positions])
        with _naming({filtered[number][0].list for number, _ in chunks}):
            passed = plan.condition.mask(frame)
        parts = np.split(passed, ends[:-1])
        for (number, _), part, mask in zip(chunks, positions, parts, strict=True):
            yield number, part, mask
    for number in unjudged.values():
        with _naming({filtered[number][0].list}):
            _judge_nothing(plans[number].condition, plans[number].schema)


@contextmanager
def _naming(lists: set[str]) -> Iterator[None]:
    """Name the lists in what is wrong with a filter."""
    try:
        yield
    except InvalidFilter as error:
        names = sorted(lists)
        text = f"list {names[0]!r}" if len(names) == 1 else f"lists {', '.join(map(repr, names[:NAMED]))}"
        raise InvalidFilter(f"In the {text}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a filter is judged in versions of one schema."""

    condition: Filter
    schema: pa.Schema  #: what it needs
    where: Where | None  #: what the store may leave out
    at_once: bool  #: it needs all rows of a version
    alone: bool  #: it may not look at rows of two versions at once


def _plans(store: Store, filtered: Sequence[tuple[Version, Filter]]) -> list[_Plan]:
    """The plan for each version; one for all of the same schema."""
    plans: dict[tuple[int, int], _Plan] = {}
    # The largest version first, which says whether the store may leave rows out.
    for version, condition in sorted(filtered, key=lambda pair: -pair[0].total):
        if (version.schema_id, id(condition)) not in plans:
            schema = filter_schema(store.schema(version.schema_id), condition)
            where = pushed_down(store, version, condition)
            at_once = not condition.rowwise
            # Categories are those of a version: a comparison may tell them apart.
            alone = at_once or any(pa.types.is_dictionary(field.type) for field in schema)
            plans[version.schema_id, id(condition)] = _Plan(condition, schema, where, at_once, alone)
    return [plans[version.schema_id, id(condition)] for version, condition in filtered]


def _judged_together(
    chunks: Iterable[tuple[int, Chunk]], plans: Sequence[_Plan]
) -> Iterator[list[tuple[int, Chunk]]]:
    """Yield chunks that are judged at once, up to JUDGED_ROWS of several versions: a frame for each costs too much."""

    def group(entry: tuple[int, Chunk]) -> tuple[bool, int]:
        plan = plans[entry[0]]
        return (True, entry[0]) if plan.alone else (False, id(plan))

    for _, same in groupby(chunks, key=group):
        batch: list[tuple[int, Chunk]] = []
        rows = 0
        for number, chunk in same:
            rows += len(chunk.positions)
            if batch and rows > JUDGED_ROWS and not plans[number].at_once:
                yield batch
                batch, rows = [], len(chunk.positions)
            batch.append((number, chunk))
        yield batch
