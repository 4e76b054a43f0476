"""Select rows by who wrote them: code, session, time of the commit, and descriptions of lists and sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.search.code import CodeWriters
from tablevault_pd.session.lookup import resolve_sessions
from tablevault_pd.store import Spans, Store, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from tablevault_pd.search.request import Request
    from tablevault_pd.store.text_query import Node


class WriterSpans:
    """Which commit wrote which rows of the versions of one search. The store is asked about each version once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spans: dict[tuple[int, int], Spans] = {}

    def load(self, versions: Iterable[Version]) -> None:
        """Ask the store about those of the versions that it was not asked about, with one request."""
        new = {_key(version): version for version in versions if _key(version) not in self._spans}
        if not new:
            return
        spans = self._store.spans_written(list(new.values()))
        if len(new) == 1:
            self._spans[next(iter(new))] = spans
            return
        bounds = np.searchsorted(spans.scope, np.arange(len(new) + 1)).tolist()
        for key, first, end in zip(new, bounds, bounds[1:], strict=False):
            self._spans[key] = Spans(*(getattr(spans, name)[first:end] for name in Spans.__slots__))

    def of(self, version: Version) -> Spans:
        """The spans of a version that was loaded, in order of position."""
        return self._spans[_key(version)]


def _key(version: Version) -> tuple[int, int]:
    return version.list_id, version.version


def mask_of_spans(spans: Spans, good: np.ndarray, total: int) -> np.ndarray:
    """Which of `total` rows lie in one of the `good` spans."""
    steps = np.zeros(total + 1, np.int64)
    np.add.at(steps, spans.start[good], 1)
    np.add.at(steps, spans.stop[good], -1)
    return np.asarray(np.cumsum(steps)[:-1] > 0)


@dataclass(frozen=True, slots=True)
class _Described:
    """The lists and the sessions with a description that matches."""

    lists: frozenset[int]
    sessions: np.ndarray

    @classmethod
    def find(cls, store: Store, query: Node) -> _Described:
        descriptions = store.search_descriptions(query)
        lists = frozenset(match.list_id for match in descriptions if match.list_id is not None)
        sessions = sorted({match.session_of for match in descriptions if match.session_of is not None})
        return cls(lists, np.array(sessions, np.int64))


@dataclass(frozen=True, slots=True)
class WriterFilter:
    """What a search demands of the commits that wrote its rows; None demands nothing."""

    code: CodeWriters | None = None
    sessions: np.ndarray | None = None
    since: np.datetime64 | None = None
    until: np.datetime64 | None = None
    described: _Described | None = None

    @classmethod
    def of(cls, store: Store, request: Request) -> WriterFilter:
        """The filter of a request: code, sessions and descriptions are looked up in the store."""
        sessions = None if request.session is None else resolve_sessions(store, request.session)
        return cls(
            None if request.code is None else CodeWriters.find(store, request.code, request.code_in),
            None if sessions is None else np.array([session.id for session in sessions], np.int64),
            _utc64(request.since),
            _utc64(request.until),
            None if request.description is None else _Described.find(store, request.description),
        )

    @property
    def _needs_spans(self) -> bool:
        if self.described is not None and len(self.described.sessions):
            return True
        return any(value is not None for value in (self.code, self.sessions, self.since, self.until))

    def masks(self, versions: Sequence[Version], spans: WriterSpans) -> list[np.ndarray | None] | None:
        """Which rows of each version fit (None: all of them); None where nothing is demanded."""
        if self._needs_spans:
            spans.load(versions)
            return [self._mask(version, spans.of(version)) for version in versions]
        if self.described is None:
            return None
        return [
            None if version.list_id in self.described.lists else np.zeros(version.total, bool)
            for version in versions
        ]

    def _mask(self, version: Version, spans: Spans) -> np.ndarray:
        good = np.ones(len(spans.start), bool)
        if self.code is not None:
            good &= self.code.wrote(spans)
        if self.sessions is not None:
            good &= np.isin(spans.session_id, self.sessions)
        if self.since is not None:
            good &= spans.time >= self.since
        if self.until is not None:
            good &= spans.time < self.until
        if self.described is not None and version.list_id not in self.described.lists:
            good &= np.isin(spans.session_id, self.described.sessions)
        return mask_of_spans(spans, good, version.total)


def _utc64(time: datetime | None) -> np.datetime64 | None:
    if time is None:
        return None
    stamp: Any = pd.Timestamp(time).tz_convert("UTC").tz_localize(None)
    return np.datetime64(stamp, "us")
