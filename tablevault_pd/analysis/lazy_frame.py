"""A DataFrame whose columns are read when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from pandas.core.flags import Flags  # type: ignore[import-not-found]  # pd.Flags, which the stubs lack

from tablevault_pd.validate import is_hashable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator


class LazyFrame(pd.DataFrame):
    """Looks like the frame that was saved, and reads a column at ``frame["x"]``, ``frame.x`` or ``frame[["x", "y"]]``.

    Whatever else is done with it reads all columns, and goes on as with any DataFrame: pandas finds the cells under ``_mgr``.
    """

    _internal_names: ClassVar[list[str]] = [
        *pd.DataFrame._internal_names,  # type: ignore[attr-defined]  # the stubs lack it
        "_load",
        "_labels",
        "_rows",
        "_whole",
        "touched",
    ]
    _internal_names_set: ClassVar[set[str]] = set(_internal_names)
    _load: Callable[[list[Hashable]], pd.DataFrame]
    _labels: list[Hashable]
    _rows: int
    _whole: Any
    touched: set[Hashable] | None  #: the columns that were read; None: all

    @classmethod
    def of(
        cls, load: Callable[[list[Hashable]], pd.DataFrame], labels: list[Hashable], rows: int
    ) -> LazyFrame:
        """A frame of these columns and so many rows; `load` reads some columns of it, and its index."""
        self = cls.__new__(cls)
        for name, value in {
            "_load": load, "_labels": labels, "_rows": rows, "_whole": None, "touched": set(), "_attrs": {}, "_item_cache": {},
        }.items():  # fmt: skip
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_flags", Flags(self, allows_duplicate_labels=True))
        return self

    @property
    def _mgr(self) -> Any:
        if self._whole is None:
            whole = self._load(list(self._labels))
            object.__setattr__(self, "_whole", whole._mgr)
            object.__setattr__(self, "touched", None)
        return self._whole

    @_mgr.setter
    def _mgr(self, value: Any) -> None:
        object.__setattr__(self, "_whole", value)
        object.__setattr__(self, "touched", None)

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    def _some(self, labels: list[Hashable]) -> pd.DataFrame:
        if self.touched is not None:
            self.touched.update(labels)
        return self._load(labels)

    def __getitem__(self, key: Any) -> Any:
        if self._whole is None:
            if is_hashable(key) and key in self._labels:
                return self._some([key])[key]
            if isinstance(key, list) and all(is_hashable(label) and label in self._labels for label in key):
                return self._some(key)[key]
            if isinstance(key, str):
                raise KeyError(key)
        return super().__getitem__(key)

    def __getattr__(self, name: str) -> Any:  # type: ignore[misc]  # final for the stubs, not for pandas
        if name.startswith("_") or self._whole is not None:
            return super().__getattr__(name)
        if name in self._labels:
            return self[name]
        raise AttributeError(
            f"The list has no column {name!r}, and a DataFrame nothing of that name.", name=name
        )

    def __len__(self) -> int:
        return self._rows if self._whole is None else super().__len__()

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._labels) if self._whole is None else super().__iter__()

    def __contains__(self, key: Any) -> bool:  # type: ignore[misc]  # likewise
        return key in self._labels if self._whole is None else bool(super().__contains__(key))
