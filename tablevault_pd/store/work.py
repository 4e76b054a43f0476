"""Claims as they cross the store's boundary: which rows of a list are held by which session. No I/O.

A row is named by its address (generation, row in it). A row that is the same row in several generations is named by its
oldest address: see :attr:`Work.same`. Work that is no row is named by two numbers made from its key, the first below 0; nothing
is kept of it that nobody holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.errors import ClaimLost

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime


class ClaimState(IntEnum):
    """How far the work on a row has come. The numbers are those in the vault."""

    OPEN = 0
    HELD = 1
    DONE = 2


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds rows: one process of a session, since a resumed session knows nothing of its last process's claims."""

    session_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class HolderState:
    """A holder, as the store knows it."""

    holder: Holder
    host: str
    pid: int
    started: datetime
    lost: bool  #: its session has ended, is held by a later process, or has not beaten for too long


@dataclass(frozen=True, slots=True, eq=False)
class Addresses:
    """Rows of a list, named by their oldest addresses."""

    generation: np.ndarray  #: int64
    row: np.ndarray  #: int64: row in the generation

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, which: np.ndarray | slice) -> Addresses:
        return Addresses(self.generation[which], self.row[which])

    @classmethod
    def of(cls, pairs: Collection[tuple[int, int]]) -> Addresses:
        """From (generation, row) of each."""
        generation, row = np.array(list(pairs), np.int64).reshape(-1, 2).T
        return cls(generation, row)

    def pairs(self) -> list[tuple[int, int]]:
        """(generation, row) of each, as Python numbers."""
        return list(zip(self.generation.tolist(), self.row.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Work:
    """What is kept of the work on one list."""

    list_id: int
    generation: int  #: the last one that was compared with the version before it; claims are taken of its versions alone
    frontier: int  #: no row before this position of it is still as it was at first: each is held, done or given back
    #: For each generation that was compared: int64, shape (n, 4), the runs (first row, end, generation, first row there) of
    #: those of its rows that are the same rows as older ones, in order.
    same: Mapping[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """Some rows are wanted, no matter which."""

    list: str
    list_id: int  #: the one that has that name, as far as the caller knows
    #: of the list's newest version, as far as the caller knows; None: `rows` are numbers of keys
    generation: int | None
    rows: Addresses  #: that may be taken, the first ones first
    count: int  #: how many of them
    holder: Holder
    token: int  #: made by the client: tells the rows of one call from those of others
    version: int | None = None  #: the newest one, if the rows may be taken as long as it is that alone
    frontier: int = 0  #: a later one than the store may know: see :attr:`Work.frontier`
    gone: frozenset[int] = frozenset()  #: sessions whose process is known to be gone
    #: Rows that were given back and that the caller has looked at: those that it wants are among `rows`.
    considered: Addresses = field(default_factory=lambda: Addresses.of(()))
    most_given_back: int = 1000  #: how many of them an answer names

    @property
    def blocking(self) -> ClaimState:
        """The last state in which a row is not open. A key that was done may be to be done again."""
        return ClaimState.HELD if self.generation is None else ClaimState.DONE


@dataclass(frozen=True, slots=True)
class ClaimAnswer:
    """What came of a :class:`ClaimRequest`."""

    version: int  #: the number of the newest version
    current: bool  #: whether the caller knows the list: it is not deleted, and its version or generation is the one that was named
    frontier: int
    taken: list[int]  #: numbers of the rows that are the caller's now, in order
    holders: tuple[HolderState, ...]  #: of rows of this list, the caller perhaps among them
    given_back: Addresses  #: some of the rows that were given back and are open again, in order of address

    def may_take(self, request: ClaimRequest) -> bool:
        """Whether rows are taken: not before the caller has looked at all that is open again."""
        considered = set(request.considered.pairs())
        return self.current and not self.lost(request) and considered.issuperset(self.given_back.pairs())

    def lost(self, request: ClaimRequest) -> list[Holder]:
        """Holders whose rows are to be given back first."""
        return [
            state.holder
            for state in self.holders
            if state.holder != request.holder and (state.lost or state.holder.session_id in request.gone)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Finish:
    """Rows that a commit finishes."""

    list_id: int
    rows: Addresses
    holder: Holder
    list: str  #: for messages
    positions: np.ndarray  #: of the rows, for messages

    def where(self, mask: Sequence[bool]) -> Finish:
        """Only some of the rows."""
        keep = np.array(mask, bool)
        return replace(self, rows=self.rows[keep], positions=self.positions[keep])

    def lost(self, numbers: Collection[int]) -> ClaimLost:
        """The error for those of the rows that the holder does not hold."""
        return ClaimLost.at(self.list, self.positions[sorted(numbers)].tolist())


@dataclass(frozen=True, slots=True, eq=False)
class ClaimRecords:
    """Rows of one list that are not as they were at first, in order of address."""

    rows: Addresses
    state: np.ndarray  #: int8
    session_id: np.ndarray  #: int64; -1: none
    attempt: np.ndarray  #: int64
    since: np.ndarray  #: datetime64[us], UTC

    def __getitem__(self, which: np.ndarray | slice) -> ClaimRecords:
        columns = (self.state, self.session_id, self.attempt, self.since)
        return ClaimRecords(self.rows[which], *(column[which] for column in columns))

    def lines(self) -> list[tuple[int, int, int | None, int, int]]:
        """(generation, row, session or None, attempt, microseconds since 1970) of each, as Python numbers."""
        sessions = [None if session < 0 else session for session in self.session_id.tolist()]
        since = self.since.astype("datetime64[us]").view(np.int64)
        columns = (
            self.rows.generation.tolist(),
            self.rows.row.tolist(),
            sessions,
            self.attempt.tolist(),
            since.tolist(),
        )
        return list(zip(*columns, strict=True))
