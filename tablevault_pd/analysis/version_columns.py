"""Columns of many versions of a list, each read once: versions that only appended share what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.analysis.lazy_frame import LazyFrame
from tablevault_pd.filters import Names
from tablevault_pd.reading import read as reading

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from tablevault_pd.store import Store, Version

PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3


class VersionColumns:
    """Reads columns of versions that show the first rows of the same content under the same schema.

    The longest of the versions is read, one column after the other, as they are asked for.
    """

    def __init__(self, store: Store, longest: Version) -> None:
        self._store = store
        self.longest = longest
        self._schema = store.schema(longest.schema_id)
        self._columns: dict[Hashable, pd.Series[Any]] = {}
        self._index: pd.Index | None = None
        self._kept: dict[Any, Any] = {}
        self.labels: list[Hashable] = [column.label for column in frames.columns(self._schema)]

    @property
    def names(self) -> Names:
        """The names that a text may use."""
        return Names(self.labels, frames.index_names(self._schema), frames.nested_columns(self._schema))

    def frame(self, rows: int) -> LazyFrame:
        """The frame of a version of so many rows; it reads what is asked of it."""
        return LazyFrame.of(lambda labels: self.read(labels, rows), list(self.labels), rows)

    def read(self, labels: Sequence[Hashable], rows: int) -> pd.DataFrame:
        """Some columns of the first rows. What is done to them stays there."""
        lacking = [label for label in dict.fromkeys(labels) if label not in self._columns]
        if lacking or self._index is None:
            read_columns = reading.read(self._store, self.longest, columns=lacking)
            self._index = read_columns.index
            self._columns |= {label: read_columns.iloc[:, at] for at, label in enumerate(lacking)}
        parts = [self._columns[label].iloc[:rows] for label in labels]
        frame = pd.DataFrame(index=self._index[:rows]) if not parts else pd.concat(parts, axis=1)
        return frame if PANDAS_3 else frame.copy()  # there a write would go through to the other versions

    def kept(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gave the first time for this key."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def columns_by_version(store: Store, versions: Sequence[Version]) -> dict[tuple[int, int], VersionColumns]:
    """For each (list id, version) the columns that it shows the first rows of."""
    longest: dict[tuple[int, ...], Version] = {}
    keys: dict[tuple[int, int], tuple[int, ...]] = {}
    schemas = store.schemas({version.schema_id for version in versions})
    for version in versions:
        key: tuple[int, ...] = (version.list_id, version.generation, version.schema_id)
        if any(pa.types.is_dictionary(field.type) for field in schemas[version.schema_id]):
            key = (*key, version.version)  # an append may bring categories, which the version before had not
        keys[version.list_id, version.version] = key
        if key not in longest or longest[key].total < version.total:
            longest[key] = version
    shared = {key: VersionColumns(store, version) for key, version in longest.items()}
    return {place: shared[key] for place, key in keys.items()}
