"""Fit the chunks of a save to each other, and to the list that they join."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tablevault_pd import frames
from tablevault_pd.errors import SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Collection

    import pyarrow as pa

    from tablevault_pd.saving.ingest import IngestedChunk


class Fitter:
    """The schema that the chunks so far have together, each of them checked against the list it is to join.

    Parameters
    ----------
    name : str
        The list.
    schema_mode : {"evolve", "strict"}
        Whether new columns and wider types are taken.
    present : Schema, optional
        The list's, if the rows must fit it.
    total : int, optional
        How many rows the list has, if the chunks are added to them.
    by_key : bool
        Whether columns name the rows: what filtering leaves of a default index says nothing then, and is dropped.
    """

    def __init__(
        self,
        name: str,
        schema_mode: str,
        present: pa.Schema | None = None,
        total: int | None = None,
        *,
        by_key: bool = False,
    ) -> None:
        self._name = name
        self._schema_mode = schema_mode
        self._present = present
        self._total = total
        self._drops_numbers = by_key and (present is None or not frames.index_fields(present))
        self._passed: set[str] = set()  # checks that passed for the stored values
        self._rows = 0
        self._valued: set[str] = set()  # columns of the chunks so far that are not NaN alone
        # the first chunk, whose columns are looked at once there is a second
        self._first: pa.Table | None = None
        self.schema: pa.Schema = None

    def fit(self, chunk: IngestedChunk) -> IngestedChunk:
        """Return the chunk with its index and documents as the list has them. Raises SchemaMismatch if a column or a value does not fit."""
        if self._is_as_present(chunk.table):  # so it is for most appends
            self.schema, self._first = self._present, chunk.table
            self._rows = chunk.table.num_rows
            return chunk
        table = self._with_fitting_index(chunk.table)
        if self._present is not None:
            table = frames.with_documents(table, self._present)
            self._check(self._merged(self._present, table), table)
        if self.schema is None:
            self.schema, self._first = table.schema, table
        else:
            self._join(table)
        self._rows += table.num_rows
        return chunk if table is chunk.table else replace(chunk, table=table)

    def _is_as_present(self, table: pa.Table) -> bool:
        """Whether a first chunk has all that the list says of its columns, index and documents."""
        first = self.schema is None and self._present is not None
        return first and bool(table.schema.equals(self._present, check_metadata=True))

    def _join(self, table: pa.Table) -> None:
        """Widen the schema for a further chunk. Chunks before are not looked at again."""
        if self._first is not None:
            self._valued, self._first = frames.fields_with_values(self._first), None
        columns = frames.contents(self.schema)
        missing = [field for column, field in columns.items() if column not in self._valued]
        merged = self._merged(self.schema, table, fill=missing)
        self._check(merged, table)
        self.schema = merged.schema
        self._valued |= frames.fields_with_values(table)

    def _with_fitting_index(self, table: pa.Table) -> pa.Table:
        if self._drops_numbers:
            return frames.without_numbers(table)
        if self.schema is not None:
            return frames.fit_index(table, self.schema, self._rows)
        if self._present is not None and self._total is not None:
            return frames.fit_index(table, self._present, self._total)
        return table

    def _merged(
        self, schema: pa.Schema, table: pa.Table, fill: Collection[str] | None = None
    ) -> frames.Merge:
        return frames.merge(schema, table.schema, mode=self._schema_mode, rows=table, fill=fill)

    def _check(self, merged: frames.Merge, table: pa.Table) -> None:
        for check in merged.checks:
            if check.side == "new":
                frames.run_check(check, table.column(check.field))
                self._passed.add(_key(check))

    def merge_into(self, present: pa.Schema) -> frames.Merge:
        """Return the new schema of the list. Raises SchemaMismatch if the list changed so that values need another check."""
        if self.schema is present:
            return frames.Merge(present, ())
        merged = frames.merge(present, self.schema, mode=self._schema_mode)
        if any(check.side == "new" and _key(check) not in self._passed for check in merged.checks):
            raise SchemaMismatch(
                f"The columns of {self._name!r} changed while rows were being added. Add them again."
            )
        return merged


def _key(check: frames.ValueCheck) -> str:
    """Return a key of a check: Arrow fields with different metadata compare equal."""
    return f"{check.source!r} {check.source.metadata} {check.target!r} {check.target.metadata}"
