"""The tables of a statement as Arrow: lists with the columns it reads, reports, and frames that were handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import InvalidName, InvalidQuery, ListNotFound, short_repr
from tablevault_pd.lineage.of_rows import rows_to_trace
from tablevault_pd.lineage.report import lines
from tablevault_pd.reading import read as reading
from tablevault_pd.reading import reports
from tablevault_pd.reading.origin import plain, without_other_attrs
from tablevault_pd.reading.reference import ListReference
from tablevault_pd.refs import RefArray, Source, is_refs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from tablevault_pd.sql.statement import SelectStatement
    from tablevault_pd.store import Store, Version

REFERENCE = pa.struct([("source", pa.string()), ("position", pa.int64())])


def _edges(store: Store) -> pd.DataFrame:
    """Return the direct parents of every row of the newest versions."""
    heads = [state.head for state in store.lists() if not state.head.deleted]
    parts = [
        lines(
            store, rows_to_trace(head, reading.positions_shown(store, head)), direction="up", depth=1
        ).assign(version=head.version)
        for head in heads
    ]
    columns = ["list", "version", "position", "parent_list", "parent_version", "parent_position", "basis"]
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype="Int64" if "o" in name else "str") for name in columns})
    return pd.concat(parts, ignore_index=True)[columns]


REPORTS: dict[str, Callable[[Store], pd.DataFrame]] = {
    "lists": lambda store: reports.lists(store, deleted=False),
    "versions": lambda store: reports.versions(store, None),
    "sessions": lambda store: reports.sessions(store),
    "cells": lambda store: reports.cells(store, None),
    "metrics": lambda store: reports.curves(store, store.sessions()),
    "descriptions": lambda store: reports.descriptions(store),
    "edges": _edges,
}


class Tables:
    """Finds what the names in one statement mean, and notes which versions of lists are read."""

    def __init__(self, store: Store, statement: SelectStatement, given: Mapping[str, Any]) -> None:
        self._store = store
        self._statement = statement
        self._given = given
        self._columns_of: dict[str, list[Any]] = {}
        self.versions: list[Version] = []

    def all(self) -> dict[str, pa.Table]:
        """Return the table of each name that the statement reads, names given by WITH excepted.

        Raises
        ------
        ListNotFound
            If no list, report or frame has a name.
        InvalidQuery
            If a name means two things.
        """
        _check_case(self._statement.tables)
        tables = {name: self._table(name) for name in sorted(self._statement.tables)}
        return {name: table for name, table in tables.items() if table is not None}

    def columns_text(self) -> str:
        """Return which columns the tables have, for an error: DuckDB knows only those that the statement mentions."""
        return " ".join(
            f"Columns of {name}: {', '.join(map(short_repr, names))}."
            for name, names in self._columns_of.items()
        )

    def _table(self, name: str) -> pa.Table | None:
        if name in self._given:
            given = self._given[name]
            return (
                self._list(given._version()) if isinstance(given, ListReference) else self._frame(name, given)
            )
        report = REPORTS.get(name)
        try:
            version = reading.resolve(self._store, name)
        except (ListNotFound, InvalidName):
            if report is not None:
                return self._frame(name, report(self._store))
            if name.casefold() in self._statement.derived:
                return None
            raise
        if report is not None:
            raise InvalidQuery(
                f"{name!r} is a list of this vault, and a report. Hand in the one you mean: "
                f"vault.sql('… FROM it', it=vault[{name!r}]), or it=vault.{name}()."
            )
        return self._list(version)

    def _frame(self, name: str, value: Any) -> pa.Table:
        table = _arrow(name, value)
        self._columns_of[name] = table.column_names
        return _for_duckdb(table, self._statement.reads)

    def _list(self, version: Version) -> pa.Table:
        """Return the columns of a list that the statement reads; ``position`` and ``ref`` where it mentions them."""
        self.versions.append(version)
        table = reading.arrow_batches(self._store, version, columns=self._columns(version)).read_all()
        table = _for_duckdb(table, self._statement.reads)
        taken = {name.casefold() for name in table.column_names}
        if "position" not in taken and (self._statement.mentions("position") or not table.num_columns):
            positions = reading.positions_shown(self._store, version)
            table = _with_column(table, "position", pa.array(positions), len(positions))
        if "ref" not in taken and self._statement.mentions("ref"):
            table = _with_column(table, "ref", _references(self._store, version), version.shown)
        return table

    def _columns(self, version: Version) -> list[Any] | None:
        """Return the labels of the columns that are read; None: all of them."""
        schema = self._store.schema(version.schema_id)
        columns = frames.columns(schema)
        self._columns_of[version.list] = [column.label for column in columns]
        names = frames.to_arrow(schema.empty_table()).column_names[-len(columns) :] if columns else []
        read = [
            column.label for column, name in zip(columns, names, strict=True) if self._statement.reads(name)
        ]
        # A label is written otherwise where its text is taken: then the others must be there too.
        texts = [str(column.label) for column in columns]
        return None if len(read) == len(columns) or texts != names else read


def _check_case(names: Collection[str]) -> None:
    """SQL takes ``News`` and ``news`` for the same name."""
    spelt: dict[str, str] = {}
    for name in sorted(names):
        other = spelt.setdefault(name.casefold(), name)
        if other != name:
            raise InvalidQuery(
                f"SQL does not tell {other!r} and {name!r} apart. Hand one of them in under another name: "
                f"vault.sql('… FROM it', it=vault[{name!r}])."
            )


def _with_column(table: pa.Table, name: str, values: pa.Array, length: int) -> pa.Table:
    return (
        table.append_column(name, values) if table.num_columns else pa.table({name: values.slice(0, length)})
    )


def _references(store: Store, version: Version) -> pa.Array:
    source = Source(store.vault_id, version.list_id, version.version, version.list)
    return pa.array(RefArray.of(source, reading.positions_shown(store, version)))


def _arrow(name: str, value: Any) -> pa.Table:
    """Return a frame, a series or anything with an Arrow stream as a table; index levels with a name are columns."""
    if isinstance(value, pd.Series):
        value = value.to_frame()
    if not isinstance(value, pd.DataFrame):
        return pa.table(value)
    value = plain(without_other_attrs(value))
    references = {label: value[label] for label in value.columns if is_refs(value.dtypes[label])}
    table = frames.to_arrow(frames.encode(value.drop(columns=list(references))))
    for label, series in references.items():
        table = _with_column(table, str(label), pa.array(series.array), len(value))
    if not table.num_columns:
        raise InvalidQuery(f"{name!r} has no columns.")
    return table


def _for_duckdb(table: pa.Table, reads: Callable[[str], bool]) -> pa.Table:
    """Return the table with types that DuckDB lacks as the next ones. Raises InvalidQuery where that would cut nanoseconds."""
    for number, field in enumerate(table.schema):
        kind = _next_type(field.type)
        if kind != field.type:
            try:
                table = table.set_column(number, field.name, table.column(number).cast(kind))
            except pa.ArrowInvalid as error:
                if reads(field.name):
                    raise InvalidQuery(
                        f"The column {field.name!r} has durations with nanoseconds, and DuckDB's intervals hold microseconds. "
                        "Round them, or hand them in as numbers."
                    ) from error
                table = table.drop_columns(field.name)  # the statement does not use it
    return table


def _next_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_float16(kind):
        return pa.float32()
    if kind == pa.duration("ns"):
        return pa.duration("us")
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_next_type(kind.value_type), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(_next_type(kind.value_type))
    if pa.types.is_list(kind):
        return pa.list_(_next_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_next_type(field.type)) for field in kind])
    return kind
