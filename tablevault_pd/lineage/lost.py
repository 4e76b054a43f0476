"""Frames whose origin pandas dropped: ``merge``, ``concat`` with another frame, ``value_counts``, ``get_dummies``, and others.

Their parents are the lists that the session had read, or one around it, or this process before it was forked (basis
``read``). A frame made from scratch looks the same, so a warning needs a sign that the frame came from one of those lists: a
mark on its index, or a label of theirs. Labels of the list that is saved to are none.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tablevault_pd.frames import columns as columns_of
from tablevault_pd.frames import index_fields
from tablevault_pd.reading.origin import Mark

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    import pandas as pd

    from tablevault_pd.session.read_log import Reads
    from tablevault_pd.store import Store, Version

PACKAGE = str(Path(__file__).resolve().parents[1])


class Lost:
    """What to do about frames of one save whose origin was dropped.

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
    append : bool
        Whether the frames are added to that list. New rows of a list that was looked at did not come from its old ones.
    """

    def __init__(self, store: Store, reads: Reads, name: str, cell: int | None, *, append: bool) -> None:
        self._store = store
        self._reads = reads
        self._key = (cell, name)
        self._append = append
        self._told: tuple[Version, ...] = ()  #: what a warning names

    def parents(self, frame: pd.DataFrame) -> tuple[Version, ...]:
        """The versions that stand in for the parents of `frame`. :meth:`warn` tells if it looks as if made of them."""
        name = self._key[1] if self._append else None
        read = tuple(version for version in self._reads.last() if version.list != name)
        if read and not self._told and self._key not in self._reads.warned and self._derived(frame, read):
            self._told = read
        return read

    def _derived(self, frame: pd.DataFrame, read: tuple[Version, ...]) -> bool:
        labels = [*frame.index.names, *frame.columns.names, *frame.columns]
        if any(type(label) is Mark for label in labels):
            return True
        others = (
            version for version in read if version.list != self._key[1]
        )  # new content has the labels of the old
        known = {label for version in others for label in _labels(self._store, version) if label is not None}
        texts = tuple(
            f"{label}_" for label in known if isinstance(label, str)
        )  # as get_dummies names columns
        return any(label in known or (isinstance(label, str) and label.startswith(texts)) for label in labels)

    def warn(self) -> None:
        """Warn, once for each cell and list, before the rows are committed: what is refused for another reason says that alone."""
        if not self._told:
            return
        names = [version.list for version in self._told]
        shown = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        warnings.warn(
            f"The rows saved to {self._key[1]!r} have no known parents. If they came from {shown}, which this session had read, "
            "pandas did not keep that (merge, concat of several frames, value_counts and get_dummies do not): read with refs=True, "
            f"or save with inputs={names[0]!r}, or whichever it was. If they came from nothing in this vault, save with "
            "inputs=False.",
            UserWarning,
            stacklevel=_level(),
        )
        self._reads.warned.add(self._key)  # not where the warning is an error, which refuses the save


def _labels(store: Store, version: Version) -> Iterator[Hashable]:
    schema = store.schema(version.schema_id)
    yield from (column.label for column in columns_of(schema))
    yield from index_fields(schema)


def _level() -> int:
    """How many calls up the code is that called the library."""
    level, frame = 1, sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    return level + 1
