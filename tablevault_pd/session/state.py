"""One session of this process, and the data that the background thread sends for it.

:class:`~tablevault_pd.session.recorder.Recorder` begins, fills and ends it.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from tablevault_pd import validate
from tablevault_pd.errors import NotRecorded, VaultBusy, VaultClosed, VaultError
from tablevault_pd.session.control import ControlState
from tablevault_pd.session.heartbeat import warn
from tablevault_pd.session.outbox import Outbox
from tablevault_pd.session.params import Params
from tablevault_pd.session.read_log import Reads
from tablevault_pd.session.requests import describe_request, stop_with_workers
from tablevault_pd.store.engine.threads import Flag, Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import Self

    from tablevault_pd.errors import SessionStopped
    from tablevault_pd.session.opening import Opening
    from tablevault_pd.session.settings import Settings
    from tablevault_pd.store import Beat, ControlRequest, Session, Store

_keys = count()


class SessionState:
    """One session of this process: its row, parameters, tags and state, and the data to send for it.

    Attributes
    ----------
    has_request
        Whether checkpoint() has something to do: a stop or pause, or a session to begin.
    failing
        Whether the last attempt to write failed, and not because the store was busy.
    failures
        How many attempts did.
    flushed
        Set when the end is written, or never will be.
    attempted
        Wakes those who wait until a beat was sent, or failed.
    """

    row: Session
    _name: str
    _unbegun: Opening | None  #: how it is to begin; None once the store knows it

    def __init__(
        self,
        store: Store,
        settings: Settings,
        around: Self | None,
        params: Any,
        tags: str | Sequence[str] | None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.around = around
        self.reads: Reads = Reads(store, None if around is None else around.reads)
        self.params = Params(params, redact=settings.redact, check=self._check_open)
        self._tags = validate.tags(tags) or ()
        self._callbacks: list[Callable[[], Any]] = []
        self.key = next(_keys)
        self._reset()

    def _reset(self) -> None:
        """Set the state of a session that has not begun, also in a forked child."""
        self.has_request = False
        self._check_log = False  # whether log() first calls _may_log(): after a fork, an end or an error, or in a stopped worker
        self.is_orphan = False
        self._abandoned: str | None = None  # the error after which nothing is recorded
        self._ended = False
        self.failing = False
        self.failures = 0
        self.outbox = Outbox(self.settings, self.store.scratch)
        self.control = ControlState(self._callbacks, self.outbox.now)
        self._rows = self.outbox.backlog.rows
        self._warned_of_waiting = False
        self.flushed: Flag = self.outbox.flushed
        self.attempted = Wakeup()

    @property
    def vault_id(self) -> str:
        """The id of the vault it belongs to."""
        return self.store.vault_id

    @property
    def name(self) -> str:
        """The name of the session."""
        return self._name

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags; assign others to change them."""
        return self._tags

    @tags.setter
    def tags(self, tags: str | Sequence[str] | None) -> None:
        self._check_open()
        self._tags = validate.tags(tags) or ()
        self.outbox.change(tags=self._tags)

    def tags_changed(self, tags: tuple[str, ...]) -> None:
        """Take the tags that the store has now."""
        self._tags = tags

    @property
    def stopped(self) -> SessionStopped | None:
        """The stop that it obeyed, if any."""
        return self.control.stop

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._ended

    @property
    def is_begun(self) -> bool:
        """Whether the store has a row of it."""
        return self._unbegun is None

    @property
    def state(self) -> str:
        """Its state, by what this process knows."""
        if self._abandoned is not None:
            return "not recorded any more"
        if self._ended:
            return "ended" if self.is_begun else "ended before it began"
        if not self.is_begun:
            return "not begun"
        return "paused" if self.control.paused else "running"

    def keep_reads(self) -> None:
        """Store which lists the session has read so far. After a failure the next commit stores them."""
        if self.is_orphan or self._ended or self._abandoned is not None:
            return
        try:
            self.reads.flush()
        except VaultError as error:
            warn(f"tablevault_pd cannot record now what {self.row.label} read: {error}")

    def _check_open(self) -> None:
        """Refuse a change of parameters and tags that would be lost after the end; warn of one that nobody records."""
        if self._ended:
            label = repr(self.row.label if self.is_begun else self._name)
            raise VaultClosed(
                f"The session {label} has ended, and its parameters are settled. vault.tag({label}, …) still adds tags; "
                f"vault.session(resume={label}) lets it go on."
            )
        if self._abandoned is not None:
            warn(f"Changes of {self.row.label} are not recorded any more: {self._abandoned}", NotRecorded)

    def chain(self) -> list[Self]:
        """Return this session and those around it in this process. A request to one of them holds for this session, too."""
        chain: list[Self] = []
        recorder: Self | None = self
        while recorder is not None and not recorder.is_orphan and not recorder._ended:
            chain.append(recorder)
            recorder = recorder.around
        return chain

    # -- called by the background thread

    def next_beat(self) -> Beat:
        """Return all unsent data; the same beat again until it was sent."""
        # Read before anything is taken, so that this beat has all that was logged before the end.
        ending = None if self.flushed.is_set() else self.outbox.ending
        if ending is not None:
            self.reads.flush()
        return self.outbox.next_beat(self.row, self.params, self.control, ending)

    def waits_for(self, *, info: bool = False) -> int:
        """Return the number of the beat after which all present data is sent; 0 if it is."""
        return 0 if self.is_orphan else self.outbox.waits_for(self.params, info=info)

    @property
    def is_done(self) -> bool:
        """Whether all of it is written, what comes after its end included, or never will be."""
        return self.outbox.is_done

    @property
    def awaits_environment(self) -> bool:
        """Whether nothing is to be sent before its environment is read: it has ended."""
        return self.outbox.awaits_environment

    def wait_for_environment(self, timeout_s: float) -> bool:
        """Wait until the environment is read, and can be sent. Return whether it is."""
        return self.is_orphan or self.outbox.wait_for_environment(timeout_s)

    def has_sent(self, number: int) -> bool:
        """Return whether that beat was sent, or never will be."""
        return self.outbox.has_sent(number)

    def on_sent(self, now: datetime, requests: Sequence[ControlRequest]) -> bool:
        """Take the store's answer to the last beat: its time `now` and `requests`.

        Return whether there is more to send at once.
        """
        self.failing = False  # before a thread that waits for this beat goes on
        sent = self.outbox.unsent
        stop = next((request for request in requests if request.request == "stop"), None)
        if sent is not None and sent.outcome == "finished" and stop is not None:
            stop_with_workers(self.store, self.row, stop)
        self.outbox.on_sent(now)
        if not self.flushed.is_set():
            self.control.take(requests, lambda request: describe_request(self.store, self.row, request))
        self.attempted.wake()
        more = self.outbox.ending is not None or self.control.has_news or self.outbox.backlog.waits
        return more and not self.flushed.is_set()

    def on_failed(self, error: Exception) -> None:
        """Keep the last beat, which the store did not take."""
        self.failing = not isinstance(error, VaultBusy)  # a busy store is worth waiting for
        self.failures += self.failing
        self.attempted.wake()

    def update_flag(self) -> None:
        """Set whether checkpoint() has a request to obey, of this session or one around it."""
        self.has_request = any(
            session.control.want != "run" or session.control.stopping for session in self.chain()
        )
        self.control.notify()

    def stop_recording(self, error: Exception) -> str:
        """Keep nothing any more, unless the end is written. Return a text that says what is lost."""
        if self.flushed.is_set():
            return f"{self.outbox.lacking} of {self.row.label}"
        self._abandoned, self._check_log, self.has_request = str(error), True, False
        lost_values = len(self.outbox.backlog)
        if lost_values:
            return f"{lost_values:,} logged values of {self.row.label}"
        return f"the end of {self.row.label}"

    def abandon(self) -> None:
        """Discard unsent data, and release threads that are paused or wait for it to be sent."""
        self.outbox.clear()
        self.control.release()
        self.attempted.wake()
