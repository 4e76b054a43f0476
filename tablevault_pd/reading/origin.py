"""Mark frames that were read from a vault: by one short string in ``attrs``, and by the name of the index.

The string says which version of which list was read. pandas keeps it through most operations, and keeps the index
too, but neither alone shows that the index still names rows of that list: ``groupby("position")``, ``set_index`` and
``rename_axis`` make an index of the same name out of anything, and arithmetic between two frames takes ``attrs`` from
one and labels from both. So the name that :func:`tag` gives the index *is* the text ``position`` (equal, same hash,
same everywhere) but remembers its origin: an index made by other means has a plain name, and names no rows.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

import pandas as pd

from tablevault_pd.store.times import from_time

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy as np

    from tablevault_pd.store import Version

ATTR = "tablevault"
POSITION = "position"
_NUMBER = re.compile("[0-9]{1,18}")  # every store holds it


@dataclass(frozen=True, slots=True)
class Origin:
    """One version of one list of one vault."""

    vault_id: str
    list_id: int
    version: int
    #: time of the commit in microseconds; it differs in a copy of the vault that was changed since
    stamp: int

    @classmethod
    def of(cls, vault_id: str, version: Version) -> Origin:
        """Return the origin for `version`."""
        return cls(vault_id, version.list_id, version.version, from_time(version.time))

    def __str__(self) -> str:
        return f"{self.vault_id}:{self.list_id}:{self.version}:{self.stamp}"

    @classmethod
    def parse(cls, text: Any) -> Origin | None:
        """Parse a string in ``attrs``; None if it names no origin."""
        if not isinstance(text, str):
            return None
        parts = text.split(":")
        if len(parts) != 4 or not all(_NUMBER.fullmatch(part) for part in parts[1:]):
            return None
        return cls(parts[0], int(parts[1]), int(parts[2]), int(parts[3]))


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """What one read has returned."""

    origin: str
    rows: int
    columns: frozenset[Hashable] | None = None  #: the columns that were read; None: all
    positions: range | np.ndarray | None = None  #: of its rows; unknown in another process
    index: object = None  #: the identity that its index shares with all views of it
    holder: tuple[int, int] | None = None  #: of rows that were claimed: session id and attempt
    labels: _Memory | None = None  #: where the labels of its index are

    def untouched(self, index: pd.Index) -> bool:
        """Return whether `index` is the one that was read, so that its rows are unmoved.

        pandas makes a new index whenever it moves, drops or repeats rows.
        """
        return self.positions is not None and self.index is not None and _identity(index) is self.index

    def is_slice(self, index: pd.Index) -> bool:
        """Return whether the labels of `index` are some of those that were read: the same memory, and not equal values.

        So it is for a slice of rows (``head``, ``iloc[a:b]``, ``loc[a:b]``). Numbers that were computed are in memory of their own.
        """
        labels = _Memory.of(index)
        return labels is not None and self.labels is not None and self.labels.includes(labels)


@dataclass(frozen=True, slots=True)
class _Memory:
    """Where an array is. It keeps no array alive, and ends with the one that owns the memory."""

    owner: ref[np.ndarray]
    start: int
    stop: int

    @classmethod
    def of(cls, index: pd.Index) -> _Memory | None:
        """The memory of integers that NumPy holds; None for other labels, and for the numbers of a range."""
        import numpy as np
        import pandas as pd

        if isinstance(index, (pd.RangeIndex, pd.MultiIndex)) or not isinstance(index.dtype, np.dtype):
            return None
        if index.dtype.kind not in "iu" or not len(index):
            return None
        values = index.to_numpy()
        first = values.__array_interface__["data"][0]
        last = first + (len(values) - 1) * values.strides[0]
        owner = values
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        return cls(ref(owner), min(first, last), max(first, last) + values.itemsize)

    def includes(self, other: _Memory) -> bool:
        """Return whether all of `other` is here."""
        owner = self.owner()
        return (
            owner is not None
            and owner is other.owner()
            and self.start <= other.start <= other.stop <= self.stop
        )


def _identity(index: pd.Index) -> object:
    # Index.is_ compares it. Keeping the index itself would keep all its labels in memory.
    return getattr(index, "_id", None)


#: The latest reads whose index has no name that could be marked.
_unnamed: deque[Read] = deque(maxlen=256)


class OriginLabel(str):
    """The name of an index that was read from a vault: a str with the read that it came from."""

    __slots__ = ("read",)
    read: Read

    def __new__(cls, text: str, read: Read) -> OriginLabel:
        """Make a text with the read that it came from."""
        mark = super().__new__(cls, text)
        mark.read = read
        return mark

    def __copy__(self) -> OriginLabel:
        return self

    def __deepcopy__(self, memo: Any) -> OriginLabel:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        read = Read(self.read.origin, self.read.rows, self.read.columns, holder=self.read.holder)
        return OriginLabel, (str.__str__(self), read)


def tag(
    frame: pd.DataFrame,
    vault_id: str,
    version: Version,
    positions: range | np.ndarray | None = None,
    columns: Sequence[Hashable] | None = None,
    holder: tuple[int, int] | None = None,
) -> pd.DataFrame:
    """Mark a frame just read, in place, as these rows and columns of `version`."""
    text = str(Origin.of(vault_id, version))
    frame.attrs[ATTR] = text
    names = None if columns is None else frozenset(columns)
    read = Read(text, len(frame), names, positions, _identity(frame.index), holder, _Memory.of(frame.index))
    if not all(isinstance(name, str) for name in frame.index.names):
        _unnamed.append(read)
    frame.index.names = [
        OriginLabel(name, read) if isinstance(name, str) else name for name in frame.index.names
    ]
    return frame


def read_of(index: pd.Index, origin: Origin) -> Read | None:
    """Return the read of `origin` that this index descends from; None if it does not, or from several."""
    if not marked(index, origin):
        text = str(origin)
        unnamed = (read for read in tuple(_unnamed) if read.origin == text and read.untouched(index))
        return next(unnamed, None)
    reads = {id(name.read): name.read for name in index.names if type(name) is OriginLabel}
    return next(iter(reads.values())) if len(reads) == 1 else None


def origin_of(obj: pd.DataFrame | pd.Series) -> Origin | None:
    """Return the origin in the ``attrs`` of a frame."""
    return Origin.parse(obj.attrs.get(ATTR))


def without_other_attrs(obj: pd.DataFrame | pd.Series) -> Any:
    """Return `obj` with the ``attrs`` of a read alone: pandas copies them with each step, and cannot copy a connection, say."""
    ours: dict[Hashable | None, Any] = {ATTR: obj.attrs[ATTR]} if isinstance(obj.attrs.get(ATTR), str) else {}
    if len(obj.attrs) == len(ours):
        return obj
    bare = pd.DataFrame(obj) if isinstance(obj, pd.DataFrame) else pd.Series(obj)
    bare.attrs = ours
    return bare


def marked(index: pd.Index, origin: Origin) -> bool:
    """Return whether this index descends from that of a frame read from `origin`."""
    text = str(origin)
    named = [name for name in index.names if isinstance(name, str)]
    return bool(named) and all(type(name) is OriginLabel and name.read.origin == text for name in named)


def plain_label(label: Hashable) -> Hashable:
    """Return a label without its mark."""
    return str.__str__(label) if type(label) is OriginLabel else label


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` without marks on its labels, to be stored; the frame itself is not changed."""
    names = [plain_label(name) for name in frame.index.names]
    if any(type(name) is OriginLabel for name in frame.index.names):
        frame = frame.set_axis(frame.index.set_names(names), axis=0)
    if any(type(label) is OriginLabel for label in (*frame.columns, *frame.columns.names)):
        columns = frame.columns.map(plain_label) if frame.columns.nlevels == 1 else frame.columns
        frame = frame.set_axis(columns.set_names([plain_label(name) for name in frame.columns.names]), axis=1)
    return frame
