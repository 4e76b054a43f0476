"""One session of this process, and what the background thread sends of it.

:class:`~tablevault_pd.session.recorder.Recorder` begins, fills and ends it.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from tablevault_pd import validate
from tablevault_pd.errors import VaultBusy, VaultClosed, VaultError
from tablevault_pd.session.control import ControlState
from tablevault_pd.session.heartbeat import warn
from tablevault_pd.session.outbox import Outbox
from tablevault_pd.session.params import Params
from tablevault_pd.session.read_log import Reads
from tablevault_pd.session.requests import describe_request
from tablevault_pd.store.engine.threads import Bell, Flag

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
    """One session of this process: its row, parameters and tags, its state, and what is to be sent of it.

    Attributes
    ----------
    asked
        Whether a checkpoint has to look twice.
    failing
        Whether the last attempt to write failed, and not because the store was busy.
    flushed
        Set when the end is written, or never will be.
    attempted
        Rung when a beat was sent, or was not.
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
        """Set all that a session begins with. A forked child begins again."""
        self.asked = False
        self._unusual = False  # whether log() has to look twice: one of the next three, or a stopped worker
        self.is_orphan = False
        self._given_up: str | None = None  # why nothing is recorded any more
        self._ended = False
        self.failing = False
        self.outbox = Outbox(self.settings, self.store.scratch)
        self.control = ControlState(self._callbacks, self.outbox.now)
        self._rows = self.outbox.backlog.rows
        self._warned_of_waiting = False
        self.flushed: Flag = self.outbox.flushed
        self.attempted = Bell()

    @property
    def vault_id(self) -> str:
        """The id of the vault it belongs to."""
        return self.store.vault_id

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    @property
    def tags(self) -> tuple[str, ...]:
        """Its labels; assign others to change them."""
        return self._tags

    @tags.setter
    def tags(self, tags: str | Sequence[str] | None) -> None:
        self._check_open()
        self._tags = validate.tags(tags) or ()
        self.outbox.change(tags=self._tags)

    def tags_changed(self, tags: tuple[str, ...]) -> None:
        """The store has these tags now."""
        self._tags = tags

    @property
    def stopped(self) -> SessionStopped | None:
        """The stop that it obeyed."""
        return self.control.stop

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._ended

    @property
    def is_begun(self) -> bool:
        """Whether the store knows it."""
        return self._unbegun is None

    @property
    def state(self) -> str:
        """Its state as this process knows it."""
        if self._given_up is not None:
            return "not recorded any more"
        if self._ended:
            return "ended" if self.is_begun else "ended before it began"
        if not self.is_begun:
            return "not begun"
        return "paused" if self.control.paused else "running"

    def keep_reads(self) -> None:
        """Store which lists it has read so far; if that fails, they are stored with the next commit."""
        if self.is_orphan or self._ended or self._given_up is not None:
            return
        try:
            self.reads.flush()
        except VaultError as error:
            warn(f"tablevault_pd cannot record now what {self.row.label} read: {error}")

    def _check_open(self) -> None:
        """Refuse a change of parameters and tags that would be lost."""
        if self._ended:
            label = repr(self.row.label if self.is_begun else self._name)
            raise VaultClosed(
                f"The session {label} has ended, and its parameters are settled. vault.tag({label}, …) still adds tags; "
                f"vault.session(resume={label}) lets it go on."
            )

    def chain(self) -> list[Self]:
        """Return this session and those around it in this process: a stop or pause of one of them is one of this."""
        chain: list[Self] = []
        recorder: Self | None = self
        while recorder is not None and not recorder.is_orphan and not recorder._ended:
            chain.append(recorder)
            recorder = recorder.around
        return chain

    # -- called by the background thread

    def next_beat(self) -> Beat:
        """Return all there is to send; the same again until it was sent."""
        ending = (
            self.outbox.ending
        )  # before anything is taken: what was logged before the end is sent with it, or before
        if ending is not None:
            self.reads.flush()
        return self.outbox.next_beat(self.row, self.params, self.control, ending)

    def waits_for(self, *, info: bool = False) -> int:
        """Return the number of the beat that will have sent what there is to send now; 0 if all was sent."""
        return 0 if self.is_orphan else self.outbox.waits_for(self.params, info=info)

    def has_sent(self, number: int) -> bool:
        """Return whether the beat of that number was sent, or never will be."""
        return self.outbox.has_sent(number)

    def on_sent(self, now: datetime, requests: Sequence[ControlRequest]) -> bool:
        """The store took the last beat, at `now` by its clock, and returned `requests`.

        Return whether there is more to send at once.
        """
        self.outbox.on_sent(now)
        self.failing = False
        if not self.flushed.is_set():
            self.control.take(requests, lambda request: describe_request(self.store, self.row, request))
        self.attempted.ring()
        more = self.outbox.ending is not None or self.control.has_news or self.outbox.backlog.waits
        return more and not self.flushed.is_set()

    def on_failed(self, error: Exception) -> None:
        """The store did not take the last beat. It is kept."""
        self.failing = not isinstance(error, VaultBusy)  # or waiting for it is of use
        self.attempted.ring()

    def update_flag(self) -> None:
        """Tell checkpoint() whether there is something to obey, here or in a session around."""
        self.asked = any(each.control.want != "run" or each.control.stopping for each in self.chain())
        self.control.notify()

    def abandon(self, error: Exception) -> str:
        """Discard buffered data, record nothing any more, and release paused threads. Return what is lost."""
        lost_values = len(self.outbox.backlog)
        lost = (
            f"{lost_values:,} logged values of {self.row.label}"
            if lost_values
            else f"the end of {self.row.label}"
        )
        self._given_up, self._unusual, self.asked = str(error), True, False
        self.outbox.clear()
        self.control.release()
        self.attempted.ring()
        return lost
