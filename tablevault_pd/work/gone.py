"""Which holders of rows are known to be gone because their processes are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tablevault_pd.capture.environment import host_name
from tablevault_pd.reading import liveness

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tablevault_pd.store import Session, Store
    from tablevault_pd.store.work import Holder, HolderState

LOOK_EVERY_S = 0.05  # a look at a process takes some 50 µs


class GoneHolders:
    """Looks at the processes of holders on this machine, now and then or when asked to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sessions: dict[Holder, Session | None] = {}  # those of this machine; None: of another one
        self._holders: tuple[HolderState, ...] = ()
        self._next = 0.0
        self.sessions: frozenset[int] = frozenset()  #: as of the last look

    def note(self, holders: tuple[HolderState, ...]) -> None:
        """These hold rows now."""
        self._holders = holders

    def look(self, *, now: bool = False) -> frozenset[int]:
        """The sessions whose process is gone; `now`: of all, and not those of a moment ago."""
        if now or time.monotonic() >= self._next:
            self._next = time.monotonic() + LOOK_EVERY_S
            self.sessions = gone_sessions(self._store, self._holders, self._sessions)
        return self.sessions


def gone_sessions(
    store: Store, holders: Iterable[HolderState], cache: dict[Holder, Session | None]
) -> frozenset[int]:
    """The sessions of those holders whose process is known to be gone. `cache` remembers what was asked about them."""
    here = host_name()
    local = [state.holder for state in holders if state.host == here]
    new = [holder for holder in local if holder not in cache]
    if new:
        sessions_of_holders = {
            session.id: session
            for session in store.sessions([holder.session_id for holder in new], info=True)
        }
        for holder in new:
            session = sessions_of_holders.get(holder.session_id)
            ours = session is not None and session.info.get("machine") == liveness.machine() != ""
            cache[holder] = session if ours else None
    sessions = (cache[holder] for holder in local)
    return frozenset(
        session.id for session in sessions if session is not None and liveness.looks_dead(session)
    )
