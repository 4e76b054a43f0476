"""One list, or some of its rows and columns, as a file for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.display import counted
from tablevault_pd.errors import InvalidInput
from tablevault_pd.new_files import new_file
from tablevault_pd.progress import Bar
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.chunks import aligned, as_array, living
from tablevault_pd.reading.filtering import filter_for, masks_of_versions
from tablevault_pd.transfer.formats import row_writer, written

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence
    from pathlib import Path

    from tablevault_pd.store import Store, Version

ROW_GROUP = 100_000  # rows that are written at a time


def export_list(
    store: Store,
    version: Version,
    path: Path,
    kind: str,
    *,
    columns: Sequence[Hashable] | None = None,
    filters: Any = None,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Write rows of one version to a file. Return what was made of each column."""
    schema = reading.wanted_schema(store, version, columns)
    if version.shown and not (frames.columns(schema) or frames.index_fields(schema)):
        raise InvalidInput(
            f"Version {version.version} of {version.list!r} has {counted(version.shown, 'row')} and no columns, which no "
            "file of these formats can hold. Give the rows an index with a name, or a column."
        )
    condition = filter_for(store, version, filters)
    keep = None if condition is None else masks_of_versions(store, [(version, condition)])[0]
    with (
        new_file(path, overwrite=overwrite) as file,
        row_writer(file, kind, schema) as write,
        Bar(f"exporting {version.list}", total=version.total, unit="rows") as bar,
    ):
        for table, positions in _rows(store, version, schema, keep):
            write(table, positions)
            bar(table.num_rows)
    return pd.DataFrame(written(schema, kind), columns=["column", "dtype", "written", "exact"]).astype(
        {"column": object, "exact": bool}
    )


def _rows(
    store: Store, version: Version, schema: pa.Schema, keep: np.ndarray | None
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Yield the rows to be written, some at a time."""
    for chunk in map(living, store.scan(version, columns=schema.names)):
        table, positions = aligned(chunk, schema), as_array(chunk.positions)
        if keep is not None:
            chosen = np.flatnonzero(keep[positions])
            table, positions = table.take(pa.array(chosen)), positions[chosen]
        for first in range(0, table.num_rows, ROW_GROUP):
            yield table.slice(first, ROW_GROUP), positions[first : first + ROW_GROUP]
