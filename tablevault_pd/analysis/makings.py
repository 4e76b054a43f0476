"""What sessions did to versions: they wrote them, or made the same rows again, which makes no version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tablevault_pd.analysis.facts import writers
from tablevault_pd.code import Slice, slice_of_rows, slices_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import numpy as np

    from tablevault_pd.code.reading import Place
    from tablevault_pd.store import Confirmation, Store, Version

WRITTEN, CONFIRMED = "written", "confirmed"


@dataclass(frozen=True, slots=True, eq=False)
class Making:
    """A version, and a session that made its rows."""

    version: Version
    confirmation: Confirmation | None = None  #: None: the session wrote the version

    @property
    def session_id(self) -> int | None:
        """The session; None if none is known."""
        return self.version.session_id if self.confirmation is None else self.confirmation.session_id

    @property
    def place(self) -> Place | None:
        """The code that confirmed it; None if the session wrote it."""
        if self.confirmation is None or self.confirmation.session_id is None:
            return None
        cell = self.confirmation.cell
        return self.confirmation.session_id, -1 if cell is None else cell, self.confirmation.line or 0

    def sessions(self, store: Store, rows: np.ndarray | None = None) -> tuple[int, ...]:
        """Whose parameters and environment count: of a confirmed version those of the one that confirmed it.

        Else those of all rows, or of the `rows` at some positions.
        """
        return writers(store, self.version, rows) if self.place is None else (self.place[0],)

    def code(self, store: Store, rows: np.ndarray | None = None) -> Slice:
        """The code that counts, as of :meth:`sessions`."""
        if self.place is None:
            return slice_of_rows(store, self.version, rows)
        return slices_of(store, [self.place]).get(self.place, Slice())

    @property
    def made(self) -> str:
        """Whether the session wrote the version, or confirmed it."""
        return WRITTEN if self.confirmation is None else CONFIRMED

    @property
    def time(self) -> datetime:
        """When."""
        given = None if self.confirmation is None else self.confirmation.time
        return given or self.version.time


def makings_of(store: Store, versions: Sequence[Version]) -> list[Making]:
    """Who made each of these versions: first the session that wrote it, then those that confirmed it, once each.

    The answer is in order of list and version.
    """
    confirmations: dict[tuple[int, int], dict[int, Confirmation]] = {}
    for confirmation in store.confirmations(sorted({version.list_id for version in versions})):
        if confirmation.session_id is not None:
            of_version = confirmations.setdefault((confirmation.list_id, confirmation.version), {})
            of_version.pop(confirmation.session_id, None)
            of_version[confirmation.session_id] = confirmation
    makings = []
    for version in sorted(versions, key=lambda version: (version.list, version.version)):
        makings.append(Making(version))
        others = confirmations.get((version.list_id, version.version), {})
        makings += [
            Making(version, other) for session, other in others.items() if session != version.session_id
        ]
    return makings


def last_of_each_session(makings: Sequence[Making]) -> list[Making]:
    """Of each list what each session made last. What no session made stands for itself."""
    last: dict[tuple[int, int], Making] = {}
    for making in makings:
        session = -making.version.version if making.session_id is None else making.session_id
        last.pop((making.version.list_id, session), None)
        last[making.version.list_id, session] = making
    return list(last.values())
