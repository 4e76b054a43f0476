"""A store as it was at a time: newer versions of a list, and lists made later, do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tablevault_pd.errors import VersionNotFound, did_you_mean, short_repr
from tablevault_pd.store.types import ListState, ListSummary, VersionLookup, version_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from tablevault_pd.store import Store
    from tablevault_pd.store.edges import EdgeQuery, EdgeSummary, EdgeTable
    from tablevault_pd.store.names import VersionName
    from tablevault_pd.store.session_types import Confirmation
    from tablevault_pd.store.text_query import Node
    from tablevault_pd.store.types import Description, Version


def pinned(store: Store, at: str | datetime) -> PinnedStore:
    """The store as a snapshot names it, or as it was at a time. Raises VersionNotFound where there is no such snapshot."""
    if not isinstance(at, str):
        names = store.names()
        versions = store.find_versions([VersionLookup(name, None, at) for name in names])
        heads = [version for version in versions if version is not None and not version.deleted]
        return PinnedStore(store, heads, at, at)
    named = [tag for tag in store.version_names(at) if tag.snapshot]
    if not named:
        raise _no_snapshot(store, at)
    versions = store.find_versions([VersionLookup(tag.list, tag.version) for tag in named])
    heads = [version for version in versions if version is not None]
    return PinnedStore(store, heads, named[0].time, at)


def _no_snapshot(store: Store, at: str) -> VersionNotFound:
    names = store.version_names()
    tagged = [f"{tag.list}@{tag.name}" for tag in names if tag.name == at]
    if tagged:
        return VersionNotFound(
            f"{short_repr(at)} is a tag of {', '.join(tagged[:5])}, not a snapshot of all lists."
        )
    hint = did_you_mean(at, {tag.name for tag in names if tag.snapshot})
    return VersionNotFound(
        f"There is no snapshot {short_repr(at)}. {hint or 'vault.snapshots() shows what is there.'} A time is given as a datetime "
        "or pd.Timestamp."
    )


class PinnedStore:
    """A store that shows, of the lists it had at one moment, the versions up to those of that moment. It is read-only.

    Sessions with what they logged, and their code, are those of the store below, as they are now.
    """

    read_only = True

    def __init__(self, store: Store, heads: Sequence[Version], time: datetime, at: str | datetime) -> None:
        self._store = store
        self._heads = {head.list: head for head in heads}
        self._newest = {head.list_id: head.version for head in heads}
        self._time = time
        self.at = at

    @property
    def pinned_to(self) -> str:
        """What it shows, for people."""
        return (
            f"the snapshot {short_repr(self.at)}" if isinstance(self.at, str) else f"the state at {self.at}"
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _shows(self, list_id: int, version: int) -> bool:
        return version <= self._newest.get(list_id, 0)

    def _shown(self, versions: Iterable[Version | None]) -> list[Version | None]:
        return [
            version if version is not None and self._shows(version.list_id, version.version) else None
            for version in versions
        ]

    # -- lists and versions

    def head(self, name: str) -> Version | None:
        """The version that was the newest then."""
        return self._heads.get(name)

    def version(self, name: str, version: int) -> Version | None:
        """One version of that time."""
        return self.find_versions([VersionLookup(name, version)])[0]

    def version_at(self, name: str, time: datetime) -> Version | None:
        """The newest of these versions that was there at `time`."""
        return self.find_versions([VersionLookup(name, None, time)])[0]

    def find_versions(self, lookups: Sequence[VersionLookup]) -> list[Version | None]:
        """Versions of that time."""
        heads = [self._heads.get(lookup.name) for lookup in lookups]
        below = [
            lookup
            for lookup, head in zip(lookups, heads, strict=True)
            if head is not None and not _is_newest(lookup, head)
        ]
        versions = iter(self._shown(self._store.find_versions(below)) if below else ())
        return [
            head if head is None or _is_newest(lookup, head) else next(versions)
            for lookup, head in zip(lookups, heads, strict=True)
        ]

    def versions(self, name: str | None = None) -> list[Version]:
        """The versions up to that time, of the lists that were there."""
        if name is not None and name not in self._heads:
            return []
        return [version for version in self._shown(self._store.versions(name)) if version is not None]

    def version_columns(self, name: str | None = None) -> dict[str, Sequence[Any]]:
        """The same, by column."""
        return version_columns(self.versions(name))

    def lists(self) -> list[ListState]:
        """The lists that were there."""
        states = {state.head.list_id: state for state in self._store.lists()}
        return [
            ListState(head, states[head.list_id].created, states[head.list_id].size_bytes)
            for _, head in sorted(self._heads.items())
        ]

    def list_summary(self, shown: int) -> ListSummary:
        """The summary of the lists that were there."""
        return ListSummary.of([head for _, head in sorted(self._heads.items())], shown)

    def names(self, prefix: str = "") -> list[str]:
        """Their names."""
        return sorted(name for name in self._heads if name.startswith(prefix))

    def version_names(self, name: str | None = None) -> list[VersionName]:
        """The names of these versions."""
        return [tag for tag in self._store.version_names(name) if self._shows(tag.list_id, tag.version)]

    def find_named(self, names: Sequence[tuple[str, str]]) -> list[int | None]:
        """The versions of that time with these names."""
        versions = self._store.find_named(names)
        limits = [self._heads[name].version if name in self._heads else 0 for name, _ in names]
        return [
            version if version is not None and version <= limit else None
            for version, limit in zip(versions, limits, strict=True)
        ]

    # -- what is told of lists

    def descriptions(self, *, history: bool = False) -> list[Description]:
        """What was said by then about the lists that were there, and about sessions."""
        descriptions = self._said(self._store.descriptions(history=True))
        if history:
            return descriptions
        newest = {
            (description.list_id, description.session_of, description.label): description
            for description in descriptions
        }
        return [
            description
            for description in descriptions
            if newest[description.list_id, description.session_of, description.label] is description
        ]

    def search_descriptions(self, query: Node) -> list[Description]:
        """Those that match and were there then; one that was replaced since is not found."""
        return self._said(self._store.search_descriptions(query))

    def _said(self, descriptions: Iterable[Description]) -> list[Description]:
        return [
            description
            for description in descriptions
            if description.list_id is None
            or (
                description.list_id in self._newest
                and (description.time is None or description.time <= self._time)
            )
        ]

    def confirmations(self, lists: Sequence[int] | None = None) -> list[Confirmation]:
        """Confirmations of the versions of that time."""
        return [
            confirmation
            for confirmation in self._store.confirmations(lists)
            if self._shows(confirmation.list_id, confirmation.version)
        ]

    def reads(self, session_ids: Sequence[int] | None = None) -> list[tuple[int, str, int]]:
        """What sessions read of these versions."""
        limits = {name: head.version for name, head in self._heads.items()}
        return [entry for entry in self._store.reads(session_ids) if entry[2] <= limits.get(entry[1], 0)]

    # -- lineage

    def edges(self, queries: Sequence[EdgeQuery], *, side: Literal["child", "parent"]) -> EdgeTable:
        """Edges of the versions of that time."""
        table = self._store.edges(queries, side=side)
        numbers, inverse = np.unique(table.list, return_inverse=True)
        limits = np.array([self._newest.get(number, 0) for number in numbers.tolist()], np.int64)
        rows = np.flatnonzero(table.version <= limits[inverse]) if len(table) else np.empty(0, np.intp)
        return table if len(rows) == len(table) else table.take(rows)

    def edge_summaries(self) -> list[EdgeSummary]:
        """Which batch of that time has something from which version."""
        return [
            summary for summary in self._store.edge_summaries() if self._shows(summary.list, summary.version)
        ]


def _is_newest(lookup: VersionLookup, head: Version) -> bool:
    """Whether the newest version is the one that is looked up."""
    if lookup.version is not None:
        return lookup.version == head.version
    return lookup.time is None or lookup.time >= head.time
