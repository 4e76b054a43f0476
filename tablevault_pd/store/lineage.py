"""The part of a store that keeps lineage: edges between rows, and what a walk along them asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tablevault_pd.store.edges import (
        EdgeQuery,
        EdgeSummary,
        EdgeTable,
        GenerationKey,
        Writers,
    )
    from tablevault_pd.store.types import ListInfo, Version


class LineageStore(Protocol):
    """Keeps edges: they come with the commit of their children (:attr:`Batch.edges`) and never change, nor go.

    A store finds edges by the runs of addresses at either end, and need not know what is in them: which row comes from which
    is worked out above, by :mod:`tablevault_pd.lineage`. Raises VaultCorrupt for edges that cannot be decoded.
    """

    def edges(self, queries: Sequence[EdgeQuery], *, side: Literal["child", "parent"]) -> EdgeTable:
        """Return every edge whose children (or parents) touch what is asked for. One request.

        No row is asked for twice. More edges than those may come, each once, and the caller looks closer.
        """

    def edges_of_batch(self, version: Version) -> EdgeTable:
        """Return the edges that one commit brought, in order of position."""

    def edge_summaries(self) -> list[EdgeSummary]:
        """Return which batch has something from which version, over the whole vault.

        In order of time, then of list, version, parent list and parent version.
        """

    def writers(self, places: Sequence[tuple[int, int, int, int]]) -> list[Writers]:
        """Return for each (list id, generation, first, end) the commits that wrote those rows. One request."""

    def describe_lists(self, lists: Sequence[int] = (), versions: Sequence[tuple[int, int]] = ()) -> ListInfo:
        """Return what lineage needs to know of lists, by id, and versions by (list id, number). One request.

        What does not exist is left out.
        """

    def parent_generations(self, lists: Sequence[int]) -> tuple[Mapping[int, Sequence[int]], bool]:
        """Return the generations of these lists that edges name as parents, by list, and whether that is all there are.

        Lists without any are left out. A store to which a request is dear may return those of all lists, with True.
        """

    def newest_of_generations(self, generations: Sequence[GenerationKey]) -> list[Version]:
        """Return the newest version of each generation: it shows all of its rows. One request."""

    def note_reads(
        self, session_id: int, reads: Sequence[tuple[int, int]], *, attempt: int | None = None
    ) -> None:
        """Keep that a session read these (list id, version). What is known already stays as it is.

        Raises SessionContinued if another attempt of the session than this one, if one is given, is the newest.
        """

    def reads(self, session_ids: Sequence[int] | None = None) -> list[tuple[int, str, int]]:
        """Return (session id, list, version) that these sessions read, or all did: by session, in order of first reading."""
