"""Claiming rows of a list: what this process knows of the work on it, and the conversation with the store.

A claim costs one request however long the list is: the store is offered the first rows that may be open, and takes those
that are. Where these begin is known from the last time, and by the vault for a process that asks for the first time.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.reading import read as reading
from tablevault_pd.store.work import Addresses, ClaimRequest
from tablevault_pd.work.candidates import Candidates
from tablevault_pd.work.gone import GoneHolders
from tablevault_pd.work.order import aligned, order_of
from tablevault_pd.work.row_cache import RowCache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from tablevault_pd.store import Store, Version
    from tablevault_pd.store.work import ClaimAnswer, Holder, Work
    from tablevault_pd.work.order import Order

SPARE = 16  # rows offered beyond those wanted, since others take some meanwhile
MOST_OFFERED = 1 << 17
KEPT_FILTERS = 32
ALL = 1 << 40
_NONE = np.empty(0, np.int64)
_PLAIN = (str, int, float, bool, type(None))


@dataclass(slots=True)
class ClaimCall:
    """One call, as long as it is under way: what is taken back if it does not come to its end."""

    holder: Holder
    token: int
    list_id: int = 0  #: once anything may have been taken


class Board:
    """The work on one list. Threads may lose each other's knowledge of where to begin, and need no lock."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._gone = GoneHolders(store)
        self._order: Order | None = None
        self._work: Work | None = None
        self._candidates: dict[Hashable, Candidates] = {}
        self.rows = RowCache(store)

    def claim(
        self, call: ClaimCall, count: int, filters: Any, check: Callable[[Version], object]
    ) -> tuple[Version, np.ndarray]:
        """Take up to `count` rows that are open: their positions, ascending, in a version that has them.

        `check` may refuse the version before anything is taken. Raises ListNotFound, ListDeleted.
        """
        offer = self._offer(filters, count, check)
        while len(offer.taken) < count:
            request = offer.request(self._name, call, count - len(offer.taken), self._gone.look())
            call.list_id = request.list_id
            answer = self._store.claim(request)
            self._gone.note(answer.holders)
            lost = answer.lost(request)
            if lost:
                self._store.give_back(request.list_id, lost)
            elif not answer.current:
                if len(offer.taken):
                    break  # the list was saved anew: the rows are those of the version before
                self._order = None
                offer = self._offer(filters, count, check)
            elif not answer.may_take(request):
                offer.consider(answer)
            else:
                offer.take(answer, request.count)
                if len(offer.taken) < count and not self._goes_on(offer, answer, call):
                    break
        return offer.order.version, np.sort(offer.taken)

    def _offer(self, filters: Any, count: int, check: Callable[[Version], object]) -> Offer:
        order = self._order or self._look()
        check(order.version)
        return Offer(order, self._candidates_for(filters), 2 * count + SPARE)

    def _look(self) -> Order:
        """Look at the newest version of the list. Raises ListNotFound, ListDeleted."""
        while True:
            head = reading.resolve(self._store, self._name)
            order, work = self._order, self._work
            if order is not None and work is not None and _is_appended(order.version, head):
                self._order = order_of(self._store, head, work)
                return self._order
            order_and_work = aligned(self._store, head)
            if order_and_work is not None:
                self._candidates = {}
                self._order, self._work = order_and_work
                return order_and_work[0]

    def _goes_on(self, offer: Offer, answer: ClaimAnswer, call: ClaimCall) -> bool:
        """Whether there may be more rows, after some were taken and not enough."""
        if answer.version != offer.order.version.version:
            before, order = offer.order.version, self._look()
            offer.order = order
            return _is_appended(before, order.version)
        if offer.widen(answer):
            return True
        gone = self._gone.look(now=True)
        return any(
            state.holder != call.holder and state.holder.session_id in gone for state in answer.holders
        )

    def _candidates_for(self, filters: Any) -> Candidates:
        key = _key(filters)
        candidates = self._candidates.get(key) if key is not None else None
        if candidates is None:
            frontier = 0 if self._work is None else self._work.frontier
            candidates = Candidates(self._store, filters, frontier)
        if key is not None:
            cache = {**self._candidates, key: candidates}
            while len(cache) > KEPT_FILTERS:
                del cache[next(iter(cache))]
            self._candidates = cache
        return candidates


class Offer:
    """The rows that one call offers to the store, the first ones first."""

    def __init__(self, order: Order, candidates: Candidates, size: int) -> None:
        self.order = order
        self.taken = _NONE  #: positions of the rows that are the caller's now
        self._candidates, self._size = candidates, size
        self._considered, self._given_back = Addresses.of(()), _NONE
        self._most_given_back = 1000
        self._fresh = self._offered = _NONE
        self._rowwise = candidates.is_rowwise(order.version)

    def request(self, name: str, call: ClaimCall, count: int, gone: frozenset[int]) -> ClaimRequest:
        """Ask for `count` rows more. A store that is asked again for rows of the same call would give them again."""
        version = self.order.version
        self._fresh = self._candidates.next(version, self._size)
        offered = np.union1d(self._given_back, self._fresh) if len(self._given_back) else self._fresh
        self._offered = np.setdiff1d(offered, self.taken) if len(self.taken) else offered
        return ClaimRequest(
            name,
            version.list_id,
            version.generation,
            self.order.addresses(self._offered),
            count,
            call.holder,
            call.token,
            None if self._rowwise else version.version,
            self._candidates.frontier,
            gone,
            self._considered,
            self._most_given_back,
        )

    def consider(self, answer: ClaimAnswer) -> None:
        """Offer those of the rows that were given back that fit, too."""
        positions = self.order.positions(answer.given_back)
        self._considered = answer.given_back
        self._given_back = self._candidates.of(self.order.version, np.sort(positions[positions >= 0]))

    def take(self, answer: ClaimAnswer, count: int) -> None:
        """Note the rows that were taken. No row that comes before the last one is offered again."""
        taken = self._offered[answer.taken]
        if len(self._fresh):
            through = (
                int(self._fresh[-1]) if len(taken) < count else min(int(taken[-1]), int(self._fresh[-1]))
            )
            self._candidates.advance(through + 1)
        self._candidates.advance(answer.frontier)
        self.taken = np.append(self.taken, taken)

    def widen(self, answer: ClaimAnswer) -> bool:
        """Offer more the next time; False if there is no more."""
        more = len(self._fresh) == self._size
        if more:
            self._size = min(4 * self._size, MOST_OFFERED)
        elif len(answer.given_back) == self._most_given_back:
            self._most_given_back, more = ALL, True
        return more


def _is_appended(before: Version, after: Version) -> bool:
    """Whether `after` shows all that `before` does, and perhaps more rows behind it."""
    return (after.list_id, after.generation) == (before.list_id, before.generation)


def _key(filters: Any) -> Hashable | None:
    """What tells a filter from others; None if two that look alike may differ, as with ``@name``."""
    if filters is None:
        return ()
    if isinstance(filters, str):
        return None if "@" in filters else filters
    return repr(filters) if _is_plain(filters) else None


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return type(value) in _PLAIN


_boards: weakref.WeakKeyDictionary[Store, dict[str, Board]] = weakref.WeakKeyDictionary()


def board_of(store: Store, name: str) -> Board:
    """The work on the list of that name, as this process knows it."""
    return _boards.setdefault(store, {}).setdefault(name, Board(store, name))
