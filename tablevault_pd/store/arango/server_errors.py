"""Errors of the server: what each number means, whether it passes, and which error of ours it becomes.

The numbers are those of "Error codes and meanings" in ArangoDB's documentation. A number that is not in the table is
told with the server's own words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tablevault_pd.errors import (
    Conflict,
    QueryTimeout,
    StorageFull,
    StoreError,
    StoreUnavailable,
    VaultBusy,
    VaultError,
    VaultNotFound,
    VaultReadOnly,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVER_READ_ONLY, DISK_FULL = 1004, 1104
NOT_FOUND, NO_COLLECTION, DUPLICATE_NAME, UNIQUE, NO_DATABASE = 1202, 1203, 1207, 1210, 1228
GRAPH_EXISTS = 1925
INDEX_NOT_USABLE, INDEX_NOT_READY = 1554, 1555


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a failure means to the caller. Placeholders: the address, what was to be written, the server's words and number, the limit."""

    error: type[VaultError]
    text: str
    transient: bool = False  #: the same request may succeed a moment later


_BUSY = Meaning(
    VaultBusy,
    "Others had locked {what} in {where} for {limit_s:g} s: {detail} (error {number}). Nothing was written. Try again, or wait "
    "longer with timeout_s=. This library locks nothing between two requests: a lock that stays is that of a transaction of "
    "another program, which GET /_api/transaction lists.",
    transient=True,
)
_NOT_READY = Meaning(
    StoreUnavailable,
    "The server of {where} was starting, stopping, failing over or overloaded for {limit_s:g} s: {detail} (error "
    "{number}). Try again later, or wait longer with timeout_s=.",
    transient=True,
)
_READ_ONLY = Meaning(
    VaultReadOnly, "{where} may not be written to: {detail}. Connect with mode='r', or ask for more rights."
)
_NO_COPIES = Meaning(
    VaultReadOnly,
    "{where} could not be written to for {limit_s:g} s: {detail} (error {number}). Either too few copies of its data are "
    "there for the write concern, or the server is read-only.",
    transient=True,
)
_LICENCE = Meaning(
    VaultReadOnly,
    "The licence of the server of {where} does not allow this: {detail} (error {number}). The Community Edition is "
    "limited to 100 GiB.",
)
_UNKNOWN = Meaning(StoreError, "The server of {where} says: {detail} (error {number}).")

#: The one table of what server errors mean.
MEANINGS: Mapping[int, Meaning] = {
    # Locks, deadlocks and conflicts between writers.
    **dict.fromkeys((18, 28, 29, 1200), _BUSY),
    # Shutdown, start, no service; throttled writes, try again, busy engine.
    **dict.fromkeys((30, 38, 502, 503, 504, 1236, 1302, 1303), _NOT_READY),
    # Fail-over in a cluster: timeouts, lost shards, connections and backends, changing leaders, the agency.
    **dict.fromkeys((1457, 1464, 1465, 1474, 1478, *range(1489, 1497)), _NOT_READY),
    # Cursors and transactions that a coordinator or leader took along, or still works on.
    **dict.fromkeys((1600, 1601, 1654, 1655), _NOT_READY),
    # Full queues.
    **dict.fromkeys((21003, 21004), _NOT_READY),
    # Too few copies in sync for the write concern. Both also tell that the server is read-only.
    **dict.fromkeys((SERVER_READ_ONLY, 1429), _NO_COPIES),
    32: Meaning(
        StoreError,
        "The server of {where} ran out of the memory that one query may use: {detail} (error 32). Narrow what is read "
        "with columns=, filters=, start= and stop= or lists=, or raise --query.memory-limit on the server.",
    ),
    1500: Meaning(
        QueryTimeout,
        "The server of {where} stopped a query that took too long: {detail} (error 1500). Narrow it, or wait longer with "
        "timeout_s= (now {limit_s:g}).",
    ),
    1481: Meaning(
        StoreError,
        "The search index of {where} is out of sync with its data (error 1481). No data is lost: drop the view tv_search and "
        "run vault.check(fix=True) as an admin, which makes it anew.",
    ),
    1203: Meaning(
        StoreError,
        "A part of the vault in {where} was dropped: {detail} (error 1203). vault.check() tells what is missing, and "
        "check(fix=True) of an admin makes the search index anew.",
    ),
    DISK_FULL: Meaning(
        StorageFull, "The disk of the server of {where} is full; nothing of this call was kept."
    ),
    UNIQUE: Meaning(Conflict, "Another writer of {where} was faster. Try again."),
    NO_DATABASE: Meaning(
        VaultNotFound, "There is no database for {where}. Connect once with create=True to make it."
    ),
    **dict.fromkeys(range(9001, 9008), _LICENCE),
}
_BY_STATUS = {
    401: Meaning(
        StoreUnavailable,
        "The server refused the user of {where}: wrong password, or no access to this database. "
        "Give the password in TABLEVAULT_PASSWORD or with password=; instead of a token that has expired give token= a function, which is "
        "asked at every request.",
    ),
    403: _READ_ONLY,
}
_LOST = Meaning(
    StoreUnavailable, "The server of {where} gave no answer ({detail}). Is it running?", transient=True
)
_FOREIGN = Meaning(
    StoreUnavailable,
    "There is no ArangoDB at {where}: {detail}. Is the port right (8529 unless it was set), and "
    "TLS (arangodbs:// with it, arangodb:// without)?",
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed. The driver's own errors hold the request and its documents, and are dropped."""

    detail: str
    number: int = 0
    status: int = 0
    lost: bool = False  #: no answer came: whether the server acted is not known
    foreign: bool = False  #: what answered is no ArangoDB

    @property
    def meaning(self) -> Meaning:
        """What it means."""
        if self.lost:
            return _LOST
        if self.foreign:
            return _FOREIGN
        return MEANINGS.get(self.number) or _BY_STATUS.get(self.status) or _UNKNOWN

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.meaning.transient

    def error(self, where: str, limit_s: float, what: str) -> VaultError:
        """The error of ours; `what` could not be written at `where` within the time limit."""
        meaning = self.meaning
        detail, number = self.detail, self.number
        return meaning.error(
            meaning.text.format(where=where, what=what, detail=detail, number=number, limit_s=limit_s)
        )


class ExpectedError(Exception):
    """A failure that the caller has announced to expect."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.number = failure.number
