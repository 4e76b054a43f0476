"""The part of a store that keeps sessions: what they ran and logged, and what is asked of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa

    from tablevault_pd.store.session_types import (
        Beat,
        BeatResponse,
        Cell,
        ControlKind,
        ControlRequest,
        ModuleSource,
        Overview,
        Session,
        SessionLabel,
        Timelines,
    )


class SessionStore(Protocol):
    """Keeps sessions, their cells, their metrics, and requests to them.

    A session has an id that is never used again, and a run: 1, 2, 3 … of its name. Ids rise in the order of opening.
    Ids that do not exist are left out of answers; a write for one raises SessionNotFound. Times that the store gives
    (start, heartbeat, end, request, acknowledgement) are of its own clock, so that they compare across machines.
    """

    @property
    def watch_s(self) -> float:
        """How many seconds to leave between two looks for requests, where there is nothing else to tell."""

    def open_session(self, session: Session) -> Session:
        """Keep a new session. Return it with its id, its run, and the time it started by the store's clock."""

    def reopen_session(self, session: Session, *, last_beat: datetime | None) -> Session:
        """Let the run of `session` go on in another process, and return it as it is now.

        Its next attempt begins. Its pid, host, parent, params, tags and info are replaced; its end, and requests
        it has not acknowledged, are forgotten.

        Raises Conflict if its heartbeat is no longer `last_beat`: it lives, or another process took it. Of several
        processes that try at once, one succeeds.
        """

    def put_session(self, session: Session, timeline: Mapping[str, Any]) -> Session:
        """Keep a session of another vault as it was there, and return it with its id and run here.

        It is there already if one of its name, start, host and pid is, or the only one of its name and start, and is then brought
        up to date; tags that it got here stay. Its run is kept if that is free. `timeline` is what :meth:`Timelines.stored` returns.
        """

    def update_session(self, session_id: int, /, **changes: Any) -> None:
        """Set fields of a session: started, ended, heartbeat, beat_s, paused, outcome, error, tags, params, info."""

    def sessions(
        self, ids: Sequence[int] | None = None, *, name: str | None = None, info: bool = False
    ) -> list[Session]:
        """Return sessions by id, by name, or all, in order of id. Their `info` is empty unless asked for."""

    def session_ids(self) -> list[int]:
        """Return the ids of all sessions, in order."""

    def session_labels(self, ids: Sequence[int] | None = None) -> list[SessionLabel]:
        """Names and times of sessions by id, or of all, oldest first. One request."""

    def session_values(self, column: str) -> dict[int, Any]:
        """Return the values of ``params.name``, or the last ones of ``metrics.name``, by session.

        Sessions without it are left out. A nested value (or one that is no JSON number, text or truth value) is some
        object that is no str or number; the caller reads the session for it. A metric that is NaN is NaN or None.
        """

    def change_tags(
        self,
        *,
        sessions: Sequence[int] = (),
        versions: Sequence[tuple[int, int]] = (),
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
    ) -> None:
        """Add tags, at the end and each once, and remove some, of sessions and of versions by (list id, number).

        Atomic for each target: what others add or remove at the same moment is not lost. One request.
        """

    def put_cell(self, cell: Cell) -> None:
        """Keep a cell, replacing the one of the same session and number."""

    def cells(self, session_ids: Sequence[int] | None = None) -> list[Cell]:
        """Return the cells of these sessions, or of all, in order of session and number."""

    def sources(self, session_ids: Sequence[int]) -> list[ModuleSource]:
        """Return the project modules that these sessions had imported, in order of session and path."""

    def beat(self, beats: Sequence[Beat]) -> BeatResponse:
        """Write what these sessions have to tell, all or nothing, and return what is asked of them. One request.

        Where every beat is empty nothing is written, and a read-only store answers too. A beat that is sent again, with its
        number, because it seemed to fail, adds nothing twice. Raises SessionNotFound; SessionContinued if another attempt
        than that of a beat is the newest one, unless the beat tells only info; and what a write raises.
        """

    def ask(
        self,
        session_ids: Sequence[int],
        request: ControlKind,
        *,
        exit_code: int = 0,
        asked_by: int | None = None,
        attempt: int | None = None,
    ) -> list[ControlRequest]:
        """Ask something of sessions, and return the requests in order of session; those that ended are passed over.

        If the same thing was the last one asked of a session and is not acknowledged yet, that request comes back. Raises
        SessionContinued if another attempt of the session that asks than this one, if one is given, is the newest.
        """

    def requests(self, ids: Sequence[int]) -> list[ControlRequest]:
        """Return requests by id, in order."""

    def overview(
        self,
        ids: Sequence[int] | None = None,
        *,
        name: str | None = None,
        metrics: Sequence[str] | None = None,
    ) -> Overview:
        """Return sessions by id, by name, or all, with their last metrics, or those of `metrics`, as of one moment.

        In as few requests as rows allow.
        """

    def metric_names(self, session_ids: Sequence[int] | None = None) -> list[str]:
        """Return the names of all metrics that these sessions, or all, have logged, sorted."""

    def timelines(self, session_ids: Sequence[int] | None = None) -> Timelines:
        """Return attempts and pauses of these sessions, or of all. One request."""

    def measures(
        self, session_ids: Sequence[int] | None = None, *, metrics: Sequence[str] | None = None
    ) -> pa.Table:
        """Return every logged value of these sessions, or of all, and of these metrics, or of all.

        Columns: session (int64), metric (dictionary of string), step (int64, null without one), time (timestamp[us, UTC]),
        value (float64, exact, NaN and infinities included), attempt (int64). In order of session, metric and attempt, then
        as logged. Of other metrics nothing is read.
        """
