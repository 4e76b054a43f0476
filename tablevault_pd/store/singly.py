"""Plural calls of stores to which a request costs nothing: one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    import pyarrow as pa

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store import Chunk, Lookup, Metric, Near, Rows, Scope, Version

NEAR_ROWS = 4096  # a scan goes on over so many rows that nobody wants; beyond, a new one begins


class Singly:
    """What the Store protocol has for many, made of what it has for one."""

    def head(self, name: str) -> Version | None:
        """The newest version of a list."""
        raise NotImplementedError

    def version(self, name: str, version: int) -> Version | None:
        """One version of a list."""
        raise NotImplementedError

    def version_at(self, name: str, time: datetime) -> Version | None:
        """The newest version at a time."""
        raise NotImplementedError

    def schema(self, schema_id: int) -> pa.Schema:
        """A schema as committed."""
        raise NotImplementedError

    def scan(
        self,
        version: Version,
        *,
        start: int = 0,
        stop: int | None = None,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
    ) -> Iterator[Chunk]:
        """Rows of a version."""
        raise NotImplementedError

    def find_versions(self, wanted: Sequence[Lookup]) -> list[Version | None]:
        """Versions by number or time, or the newest ones."""
        return [self._find_version(each) for each in wanted]

    def _find_version(self, lookup: Lookup) -> Version | None:
        if lookup.version is not None:
            return self.version(lookup.name, lookup.version)
        return self.head(lookup.name) if lookup.time is None else self.version_at(lookup.name, lookup.time)

    def schemas(self, ids: Iterable[int]) -> dict[int, pa.Schema]:
        """Schemas by id."""
        return {key: self.schema(key) for key in ids}

    def count_nearer(
        self, near: Sequence[Near], scopes: Sequence[Scope], scores: np.ndarray, *, metric: Metric
    ) -> np.ndarray | None:
        """Nothing: all vectors are at hand."""
        return None

    def scan_many(self, wanted: Sequence[Rows]) -> Iterator[tuple[int, Chunk]]:
        """Rows of several versions."""
        for number, rows in enumerate(wanted):
            chunks = (
                self.scan(rows.version, columns=rows.columns, where=rows.where)
                if rows.positions is None
                else self._scan_at(rows, rows.positions)
            )
            for chunk in chunks:
                yield number, chunk

    def _scan_at(self, rows: Rows, positions: np.ndarray) -> Iterator[Chunk]:
        done = 0
        while done < len(positions):
            first, stop = int(positions[done]), int(positions[-1]) + 1
            for chunk in self.scan(rows.version, start=first, stop=stop, columns=rows.columns):
                yield chunk
                last = int(chunk.positions[-1])
                done = int(np.searchsorted(positions, last, side="right"))
                if done == len(positions) or positions[done] - last > NEAR_ROWS:
                    break
