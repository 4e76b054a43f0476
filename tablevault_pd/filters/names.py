"""Resolve names in a filter: columns, index levels, values inside of dicts."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tablevault_pd.errors import InvalidFilter, did_you_mean, short_repr
from tablevault_pd.filters.tree import ColumnRef, Inside, Level, Node

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Sequence

    import pandas as pd

_LEVEL = re.compile(r"ilevel_(\d{1,3})")
DEEPEST = 100  #: levels of nested keys


class UnknownColumn(InvalidFilter):
    """A filter names an unknown column. A search skips such a list."""


@dataclass(frozen=True)
class Names:
    """The names that a filter may use."""

    columns: Sequence[Hashable]
    levels: tuple[Hashable, ...] = (None,)  #: names of the index
    nested: Collection[Hashable] | None = None  #: columns that may hold dicts; None: all

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Names:
        """Return the names of a frame."""
        kinds = zip(frame.columns, frame.dtypes, strict=True)
        nested = [
            label for label, dtype in kinds if str(dtype) == "object" or str(dtype).startswith("struct")
        ]
        return cls(list(frame.columns), tuple(frame.index.names), nested)

    def find(self, name: Hashable, *, index: bool = True) -> Node | None:
        """Return the node of `name`: a column, else an index level, else a value inside of dicts. Raises InvalidFilter."""
        if name in self._counts:
            if self._counts[name] > 1:
                raise InvalidFilter(
                    f"The filter names {short_repr(name)}, which is the name of several columns."
                )
            return ColumnRef(name)
        return (self._level(name) if index else None) or self._inside(name)

    @cached_property
    def _counts(self) -> Counter[Hashable]:
        return Counter(self.columns)

    def _level(self, name: Hashable) -> Level | None:
        if name is not None and name in self.levels:
            return Level(self.levels.index(name))
        if not isinstance(name, str):
            return None
        if name == "index" and len(self.levels) == 1:
            return Level(0)
        numbered = _LEVEL.fullmatch(name)
        if numbered and int(numbered[1]) < len(self.levels):
            return Level(int(numbered[1]))
        return None

    def _inside(self, name: Hashable) -> Inside | None:
        """Return the node of ``params.lr`` where ``params`` is a column that may hold dicts; the longest such column."""
        if not isinstance(name, str) or name.count(".") > DEEPEST:
            return None
        parts = name.split(".")
        for count in range(len(parts) - 1, 0, -1):
            column = ".".join(parts[:count])
            if column in self._counts and (self.nested is None or column in self.nested):
                return Inside(column, tuple(parts[count:]))
        return None

    def unknown(self, name: Hashable, hint: str = "") -> UnknownColumn:
        """Return the error for an unknown name, with similar names."""
        there = [*self.columns, *(level for level in self.levels if level is not None)]
        alike = [label for label in there if not isinstance(label, str) and str(label) == name]
        if alike:
            return UnknownColumn(
                f"The filter names the column {short_repr(name)}, a text, and the list has {alike[0]!r}, of type "
                f"{type(alike[0]).__name__}. A filter text cannot name it: write it as a tuple, ({alike[0]!r}, '==', value)."
            )
        more = f", … ({len(there)} names)" if len(there) > 20 else ""
        close = did_you_mean(str(name), [str(label) for label in there]) or (
            f"There are {', '.join(map(short_repr, there[:20]))}{more}."
            if there
            else "The list has no columns."
        )
        return UnknownColumn(
            f"The filter names the column {short_repr(name)}, which the list does not have. {hint or close}"
        )
