"""Versions of a list that show the same rows: what was made from one of them would have come out of the other, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd import frames
from tablevault_pd.lineage.same import stored_rows, unchanged_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tablevault_pd.store import Store, Version


class Contents:
    """Which versions of a list show the same rows. Two of them are compared once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._same: dict[tuple[int, int, int], bool] = {}

    def is_same(self, one: Version, other: Version) -> bool:
        """Whether two versions of a list show the same rows in the same order, with the same columns and dtypes."""
        if one.list_id != other.list_id or one.version == other.version:
            return one.list_id == other.list_id
        older, newer = sorted((one, other), key=lambda version: version.version)
        key = (one.list_id, older.version, newer.version)
        if key not in self._same:
            self._same[key] = _is_same(self._store, older, newer)
        return self._same[key]


def _is_same(store: Store, one: Version, other: Version) -> bool:
    """Rows are read only where both versions show as many, and do not share them."""
    if (one.total, one.erased) != (other.total, other.erased):
        return False
    if not frames.same_but_reach(*(store.schema(version.schema_id) for version in (one, other))):
        return False
    at = np.arange(one.total)
    if bool((stored_rows(store, one, other, at) == at).all()):
        return True
    return not one.erased and bool((unchanged_rows(store, one, other, at) == at).all())


@dataclass(frozen=True, eq=False)
class ReadVersions:
    """Versions of one list that rows were made from, or that sessions read. They equal others of the same content.

    What sessions wrote themselves counts only where others read the same: it came out of what made the rows.
    """

    contents: Contents
    versions: Sequence[Version] = ()
    writers: Collection[int] = ()  #: the sessions, of what they read

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReadVersions):
            return not self.given
        return self._has_same(other, self.contents.is_same)

    __hash__ = None  # type: ignore[assignment]  # what is equal is known only when two are compared

    def is_identical(self, other: ReadVersions) -> bool:
        """Whether the versions are the very same ones."""
        return self._has_same(other, lambda one, two: one.version == two.version)

    @property
    def given(self) -> list[Version]:
        """Those that the sessions did not write themselves."""
        return [version for version in self.versions if version.session_id not in self.writers]

    def own_of_both(self, other: ReadVersions) -> tuple[Version, Version] | None:
        """The last version of each where both were written by those who read them, and show other rows."""
        if self.given or other.given or not self.versions or not other.versions:
            return None
        one, two = self.versions[-1], other.versions[-1]
        return None if self.contents.is_same(one, two) else (one, two)

    @property
    def newest(self) -> Version | None:
        """The last of them; None if there are none."""
        versions = self.given or self.versions
        return versions[-1] if versions else None

    @property
    def text(self) -> str | None:
        """``news@1, news@2``; None if there are none."""
        versions = self.given or self.versions
        return ", ".join(version.label for version in versions) or None

    def _has_same(self, other: ReadVersions, is_same: Callable[[Version, Version], bool]) -> bool:
        return all(
            any(is_same(version, candidate) for candidate in theirs.versions)
            for one, theirs in ((self, other), (other, self))
            for version in one.given
        )
