"""A session of this process, for users: parameters, metrics, steps, and checkpoints for stop and pause."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any, Self

from tablevault_pd.errors import InvalidType, short_repr
from tablevault_pd.session import active

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from tablevault_pd.session.params import Params
    from tablevault_pd.session.recorder import Recorder
    from tablevault_pd.session.steps import Step


class Run:
    """A running session of this process. Made by :meth:`Vault.session`; ``connect`` opens one quietly.

    It begins when its ``with`` is entered, or when it is first used. Parameters and tags that are set before are those
    it begins with; once it has ended, they are settled.

    Attributes
    ----------
    params : dict-like
        Its parameters; what is set here is a column ``params.name`` of ``vault.sessions()``.
    tags : tuple of str
        Assign other tags to change them.

    Examples
    --------
    >>> with vault.session("train", params={"lr": 0.1}) as s:
    ...     s.params["epochs"] = 3
    ...     s.tags = ["demo"]
    ...     s.log(loss=0.5)
    >>> vault.run("train").params, vault.run("train").tags
    ({'lr': 0.1, 'epochs': 3}, ('demo',))
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        _runs[recorder.key] = self

    @property
    def name(self) -> str:
        """Its name."""
        return self._recorder.name

    @property
    def run(self) -> int:
        """Which run of its name it is, counted from 1."""
        self._recorder.id  # noqa: B018  # begins it
        return self._recorder.row.run

    @property
    def id(self) -> int:
        """Its number in its vault."""
        return self._recorder.id

    @property
    def state(self) -> str:
        """running, paused, ended, or why it is not recorded, by what this process knows. :meth:`Vault.sessions` asks the store."""
        return self._recorder.state

    @property
    def params(self) -> Params:
        """Its parameters, a dict; what is set here is a column ``params.name`` of ``vault.sessions()``."""
        return self._recorder.params

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags; assign others to change them."""
        return self._recorder.tags

    @tags.setter
    def tags(self, tags: str | Sequence[str] | None) -> None:
        self._recorder.tags = tags

    def log(
        self, metrics: Mapping[str, Any] | None = None, /, *, step: int | None = None, **values: Any
    ) -> None:
        """Record the values of some metrics. Costs about a microsecond: they are written in the background.

        Parameters
        ----------
        metrics : mapping, optional
            Values by metric, whose name is any text, such as ``"val/acc"``. Nested mappings are joined by dots:
            ``{"val": {"acc": 0.9}}`` is the metric ``val.acc``.
        step : int, optional
            Where in the run they were measured. Default: that of :meth:`step`, if it was called.
        **values : number
            By metric. Arrays and tensors of one number are numbers.

        Raises
        ------
        InvalidInput
            If a value is no number, the name of a metric no text, or a metric is given twice.
        VaultClosed
            If the session has ended.

        Examples
        --------
        >>> with vault.session("train") as s:
        ...     s.log({"val/acc": 0.9}, step=3)
        ...     s.log(step=4, loss=0.5)
        >>> vault.run("train").metrics
        {'loss': 0.5, 'val/acc': 0.9}
        """
        self._recorder.log(metrics, step, values)

    def step(self, step: int) -> Step:
        """Set the step of the session, for what is logged without ``step=`` and for all that is saved.

        It holds until the next call, or inside of the ``with``, in this thread or asyncio task. ``vault.versions()``
        shows the step of a commit.

        Parameters
        ----------
        step : int
            Where in the run the session is.

        Returns
        -------
        context manager
            Leaving its ``with`` brings back the step before.

        Raises
        ------
        InvalidInput
            If `step` is no whole number.
        VaultClosed
            If the session has ended.

        Examples
        --------
        >>> with vault.session("train") as s:
        ...     for epoch in range(2):
        ...         with s.step(epoch):
        ...             s.log(loss=0.5)
        ...             saved = vault.save("preds", {"epoch": epoch})
        >>> vault.versions("preds")[["version", "step"]]
           version  step
        0        1     0
        1        2     1
        """
        return self._recorder.step(step)

    def checkpoint(self) -> None:
        """Pause or stop here, if that was requested. Costs far less than a microsecond otherwise.

        A pause blocks until the session is resumed or stopped. A stop raises :class:`SessionStopped`, once in each
        thread that comes by, so that code which runs while the program ends may pass.

        Raises
        ------
        SessionStopped
            If the session, or one around it, was asked to stop.

        Examples
        --------
        >>> with vault.session("train") as s:
        ...     for step in range(3):
        ...         s.checkpoint()
        """
        if self._recorder.has_request:
            self._recorder.obey()

    def on_stop(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Call `function` once when the session, or one around it, is stopped. Use it as a decorator.

        It is called just before the checkpoint raises; where a stop arrives without one, as from a pool, when the
        session ends. Functions of inner sessions are called first.

        Parameters
        ----------
        function : callable
            Called without arguments.

        Returns
        -------
        callable
            The same function.

        Raises
        ------
        InvalidInput
            If `function` cannot be called.

        Examples
        --------
        >>> with vault.session("train") as s:
        ...     @s.on_stop
        ...     def save_what_there_is() -> None:
        ...         vault.save("partial", {"step": 3})
        ...     s.checkpoint()
        """
        if not callable(function):
            raise InvalidType(f"on_stop() takes a function to call, not {short_repr(function)}.")
        self._recorder.on_stop(function)
        return function

    def __enter__(self) -> Self:
        self._recorder.enter(sys._getframe(1))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            active.leave(self._recorder)
        finally:
            self._recorder.end_with(error)

    def __repr__(self) -> str:
        name, state = self._told()
        return f"<Session {name!r}: {state}>"

    def _repr_html_(self) -> str:
        from tablevault_pd.display import session_html

        rows = [("tags", ", ".join(self.tags))] if self.tags else []
        return session_html(*self._told(), rows, self.params)

    def _told(self) -> tuple[str, str]:
        """Return the name, with the number of the run once there is one, and the state."""
        recorder = self._recorder
        if not recorder.is_begun:
            return recorder.name, recorder.state
        unwritten = ", nothing could be written for now" if recorder.failing and not recorder.ended else ""
        return recorder.row.label, f"{recorder.state}{unwritten}"


_runs: weakref.WeakValueDictionary[int, Run] = weakref.WeakValueDictionary()  # by key of the recorder


def run_of(recorder: Recorder) -> Run:
    """Return the Run of a recorder."""
    return _runs.get(recorder.key) or Run(recorder)
