"""Frames whose origin pandas dropped: ``merge``, ``concat`` with another frame, ``value_counts``, ``get_dummies``, and others.

Their parents are the lists that the code which made them had read, in this session, one around it, or this process before it
was forked (basis ``read``); where the code cannot be told, all that were read. A frame made from scratch looks the same, so a
warning needs a sign that the frame came from one of those lists: a mark on its index, or a label of theirs. Labels of the list
that is saved to are none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.frames import columns as columns_of
from tablevault_pd.frames import index_fields
from tablevault_pd.progress import calling_line, warn
from tablevault_pd.reading.origin import OriginLabel

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    import pandas as pd

    from tablevault_pd.session.read_log import Lines, Reads
    from tablevault_pd.store import Store, Version


class StandInParents:
    """Stands in for the parents of frames whose origin was dropped, in one save.

    Parameters
    ----------
    store : Store
        The vault's.
    reads : Reads
        Those of the session that saves.
    name : str
        The list that the frames are saved to.
    cell : int or None
        The code that runs.
    code : callable returning list of (cell, first line, last line) or None
        The statements whose reads count: those of the slice of what is saved. None: all.
    append : bool
        Whether the frames are added to that list. New rows of a list that was looked at did not come from its old ones.
    """

    def __init__(
        self,
        store: Store,
        reads: Reads,
        name: str,
        cell: int | None,
        *,
        append: bool,
        code: Callable[[], Sequence[Lines] | None],
    ) -> None:
        self._store = store
        self._reads = reads
        self._name = name
        self._cell = cell
        self._append = append
        self._code = code

    def of_frame(self, frame: pd.DataFrame) -> tuple[tuple[Version, ...], bool]:
        """The versions that stand in for the parents of `frame`, and whether it looks as if made of them."""
        versions = tuple(
            version
            for version in self._reads.last(self._code())
            if not (self._append and version.list == self._name)
        )
        if not versions or self._reads.warned & self._places():
            return versions, False
        return versions, self._looks_derived(frame, versions)

    def _looks_derived(self, frame: pd.DataFrame, versions: tuple[Version, ...]) -> bool:
        labels = [*frame.index.names, *frame.columns.names, *frame.columns]
        if any(type(label) is OriginLabel for label in labels):
            return True
        # New content of a list has the labels of its old content.
        others = [version for version in versions if version.list != self._name]
        theirs = {label for version in others for label in _labels(self._store, version) if label is not None}
        # get_dummies names its columns so.
        prefixes = tuple(f"{label}_" for label in theirs if isinstance(label, str))
        return any(
            label in theirs or (isinstance(label, str) and label.startswith(prefixes)) for label in labels
        )

    def warn(self, versions: tuple[Version, ...]) -> None:
        """Warn, once for each cell and list, and once for a line that saves many.

        That is before the rows are committed, so that a refusal for another reason stands alone.
        """
        names = [version.list for version in versions]
        shown = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        warn(
            f"The rows saved to {self._name!r} have no known parents. If they came from {shown}, which this session had read, "
            "pandas did not keep that (merge, concat of several frames, value_counts and get_dummies do not): read with refs=True, "
            f"keep the column 'ref' of a search, or save with inputs={names[0]!r}, or whichever it was. If they came from nothing in "
            "this vault, save with inputs=False.",
        )
        # Not reached where the warning is an error, which refuses the save.
        self._reads.warned |= self._places()

    def _places(self) -> set[tuple[int | None, str] | tuple[str, int]]:
        """What a warning is given once for."""
        line = calling_line()
        return {(self._cell, self._name), *(() if line is None else (line,))}


def _labels(store: Store, version: Version) -> Iterator[Hashable]:
    schema = store.schema(version.schema_id)
    yield from (column.label for column in columns_of(schema))
    yield from index_fields(schema)
