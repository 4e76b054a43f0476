"""What map called its function with for rows of one side, and otherwise for those of another: a cause of their differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tablevault_pd.analysis.facts import ABSENT, alike, together
from tablevault_pd.keys.mapped import calls_of, functions_at, positions_lacking
from tablevault_pd.reading.nested import flat

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tablevault_pd.keys.mapped import NotedCall
    from tablevault_pd.store import Store, Version

ARGUMENT = "argument"  #: of map's function; it is shown as a parameter


class Argument(NamedTuple):
    """An argument that rows of two sides were not made with alike."""

    name: str  #: ``ask(prompt)``
    a: Any
    b: Any

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by among other differences."""
        return ARGUMENT, self.name


class Arguments:
    """The noted calls of mapped lists, read once, and only where rows of two sides were made by other ones."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._calls: dict[str, dict[int, NotedCall]] = {}

    def between(self, a: Version, b: Version) -> list[Argument]:
        """What differs of the rows that only one of two versions shows."""
        everything = np.arange(a.total), np.arange(b.total)
        if a.gone or b.gone:
            return []
        if a.list_id == b.list_id:
            one, two = self._store.pieces([a, b])
            everything = positions_lacking(one, two), positions_lacking(two, one)
        numbers = [
            functions_at(self._store, version, at) for version, at in zip((a, b), everything, strict=True)
        ]
        return self.of_functions(a, _distinct(numbers[0]), b, _distinct(numbers[1]))

    def of_functions(
        self, a: Version, in_a: Collection[int], b: Version, in_b: Collection[int]
    ) -> list[Argument]:
        """What differs between calls of both, by the numbers of their functions. Nothing where a call was not noted."""
        if not in_a or not in_b or set(in_a) == set(in_b):
            return []
        one, two = self._noted(a, in_a), self._noted(b, in_b)
        if one is None or two is None:
            return []
        function = two[0].function
        values = [[flat(call.kwargs) for call in calls] for calls in (one, two)]
        names = dict.fromkeys(name for of_side in values for kwargs in of_side for name in kwargs)
        arguments = []
        for name in names:
            in_one, in_two = (
                together([kwargs[name] for kwargs in of_side if name in kwargs])
                if any(name in kwargs for kwargs in of_side)
                else ABSENT
                for of_side in values
            )
            if not alike(in_one, in_two):
                shown = (None if value is ABSENT else value for value in (in_one, in_two))
                arguments.append(Argument(f"{function}({name})", *shown))
        return arguments

    def _noted(self, version: Version, numbers: Collection[int]) -> Sequence[NotedCall] | None:
        if version.list not in self._calls:
            self._calls[version.list] = calls_of(self._store, version.list)
        calls = self._calls[version.list]
        return [calls[number] for number in sorted(numbers)] if set(numbers) <= calls.keys() else None


def _distinct(numbers: np.ndarray | None) -> list[int]:
    return [] if numbers is None else np.unique(numbers[numbers != 0]).tolist()  # 0: of rows that were erased
