"""A session of this process, for users: parameters, metrics, steps, and checkpoints for stop and pause."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self

from tablevault_pd.errors import InvalidType, did_you_mean, short_repr
from tablevault_pd.session.metrics_buffer import named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    from tablevault_pd.session.params import Params
    from tablevault_pd.session.recorder import Recorder
    from tablevault_pd.session.steps import Step


class Logged(Protocol):
    """Writes the lists of a session. Given by the vault, which stands above this room."""

    def table(self, recorder: Recorder, name: str, frame: Any, step: int | None, inputs: Any) -> None:
        """See :meth:`Run.log_table`."""

    def text(self, recorder: Recorder, name: str, text: str, step: int | None, inputs: Any) -> None:
        """See :meth:`Run.log_text`."""

    def figure(self, recorder: Recorder, name: str, figure: Any, step: int | None, inputs: Any) -> None:
        """See :meth:`Run.log_figure`."""

    def model(
        self, recorder: Recorder, name: str, path: str | PathLike[str], step: int | None, inputs: Any
    ) -> None:
        """See :meth:`Run.log_model`."""


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

    def __init__(self, recorder: Recorder, logged: Logged) -> None:
        self._recorder, self._logged = recorder, logged
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
        self,
        metrics: Mapping[str, Any] | str | None = None,
        value: Any = None,
        /,
        *,
        step: int | None = None,
        **values: Any,
    ) -> None:
        """Record the values of some metrics. Costs about a microsecond: they are written in the background.

        Parameters
        ----------
        metrics : mapping or str, optional
            Values by metric, whose name is any text, such as ``"val/acc"``. Nested mappings are joined by dots:
            ``{"val": {"acc": 0.9}}`` is the metric ``val.acc``. Or the name of one metric.
        value : number, optional
            Of the metric that is named.
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
        self._recorder.log(metrics if value is None else named(metrics, value), step, values)

    def log_table(self, name: str, frame: Any, *, step: int | None = None, inputs: Any = None) -> None:
        """Save a frame as a version of the list ``<session>/<name>``, with this session and step.

        Each call makes a version, by all runs of the session's name. A call that repeats the one before, with the same rows,
        run and step, makes none.

        Parameters
        ----------
        name : str
            What to call it in the session.
        frame : object
            A DataFrame, or whatever else :meth:`Vault.save` takes.
        step : int, optional
            Where in the run it was made, shown by :meth:`Vault.versions`. Default: that of :meth:`step`.
        inputs : optional
            Which rows it was made from, as for :meth:`Vault.save`.

        Raises
        ------
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput, UnsupportedColumn, SchemaMismatch, DimensionMismatch, DuplicateKey, FileMissing
            As for :meth:`Vault.save`.
        ListNotFound, ListDeleted, VersionNotFound
            If `inputs` names what is not there.
        VaultClosed
            If the session has ended.

        Examples
        --------
        >>> with vault.session("train") as s:
        ...     for epoch in range(2):
        ...         s.log_table("preds", pd.DataFrame({"pred": [epoch, 1]}), step=epoch)
        >>> vault.read("train/preds")["pred"].tolist()
        [1, 1]
        >>> vault.versions("train/preds")[["version", "session", "step"]]
           version  session  step
        0        1  train#1     0
        1        2  train#1     1
        """
        self._logged.table(self._recorder, name, frame, step, inputs)

    def log_text(self, name: str, text: str, *, step: int | None = None, inputs: Any = None) -> None:
        """Append a text to the list ``<session>/<name>``, where search finds it.

        Parameters
        ----------
        name : str
            What to call it in the session.
        text : str
            A row of the list: session (str), step (Int64), text (document).
        step : int, optional
            Where in the run it was made. Default: that of :meth:`step`.
        inputs : optional
            Which rows it was made from, as for :meth:`Vault.save`.

        Raises
        ------
        InvalidName, InvalidType
            If no list can have that name, or `name` or `text` is no text.
        InvalidInput, SchemaMismatch, ListNotFound, ListDeleted, VersionNotFound
            As for :meth:`Vault.append`.
        VaultClosed
            If the session has ended.

        Examples
        --------
        >>> with vault.session("train") as s:
        ...     s.log_text("samples", "The cat sat.", step=10)
        ...     s.log_text("samples", "The cat sat on the mat.", step=20)
        >>> vault.read("train/samples")
           session  step                     text
        position
        0         train#1    10             The cat sat.
        1         train#1    20  The cat sat on the mat.
        """
        self._logged.text(self._recorder, name, text, step, inputs)

    def log_figure(self, name: str, figure: Any, *, step: int | None = None, inputs: Any = None) -> None:
        """Append a picture of Matplotlib or Plotly to the list ``<session>/<name>``, its content kept in the vault.

        Parameters
        ----------
        name : str
            What to call it in the session.
        figure : matplotlib Figure, Axes, or plotly Figure
            A row of the list: session (str), step (Int64), path (str, what :meth:`Vault.download` calls the file), file (PNG, or
            HTML that loads plotly.js from its CDN).
        step : int, optional
            Where in the run it was made. Default: that of :meth:`step`.
        inputs : optional
            Which rows it was drawn from, as for :meth:`Vault.save`.

        Raises
        ------
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput, SchemaMismatch, ListNotFound, ListDeleted, VersionNotFound
            If `figure` is none; otherwise as for :meth:`Vault.append`.
        VaultClosed
            If the session has ended.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> figure, axes = plt.subplots()
        >>> with vault.session("train") as s:
        ...     s.log_figure("roc", figure, step=3)
        >>> [path.suffix for path in vault.download("train/roc", "figures").iterdir()]
        ['.png']
        """
        self._logged.figure(self._recorder, name, figure, step, inputs)

    def log_model(
        self, name: str, path: str | PathLike[str], *, step: int | None = None, inputs: Any = None
    ) -> None:
        """Keep the files of a model as a version of the list ``<session>/<name>``, each content once.

        Pickles are refused, by their names and their first bytes: to load one runs whatever code is in it.

        Parameters
        ----------
        name : str
            What to call it in the session.
        path : path
            The file, or the folder with all below it, in a format that holds no code: ``safetensors``, ONNX, ``skops``,
            ``.keras``, ``.ubj`` or ``.json`` of XGBoost, ``.txt`` of LightGBM.
        step : int, optional
            Where in the run it was made. Default: that of :meth:`step`.
        inputs : optional
            Which rows it was trained on, as for :meth:`Vault.save`.

        Raises
        ------
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput, SchemaMismatch, ListNotFound, ListDeleted, VersionNotFound
            If `path` is no path, an empty folder, or has a pickle; otherwise as for :meth:`Vault.save`.
        FileMissing
            If there is nothing at `path`, or a file there cannot be read.
        VaultClosed
            If the session has ended.

        Examples
        --------
        >>> from pathlib import Path
        >>> Path("model").mkdir()
        >>> size = Path("model/weights.json").write_text("[0.5, 1.5]")
        >>> with vault.session("train") as s:
        ...     s.log_model("model", "model", step=3)
        >>> (vault.download("train/model", "restored") / "weights.json").read_text()
        '[0.5, 1.5]'
        """
        self._logged.model(self._recorder, name, path, step, inputs)

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
            self._recorder.exit(error)
        except BaseException:  # interrupted, but the session ends
            self._recorder.exit(error, wait=False)
            raise

    def __getattr__(self, name: str) -> NoReturn:
        """Say what is meant, in the words of other libraries."""
        parts = [part for part in dir(self) if not part.startswith("_")]
        hint = "" if name.startswith("_") else _ELSEWHERE.get(name) or did_you_mean(name, parts)
        raise AttributeError(f"A Run has no attribute {name!r}. {hint}".rstrip(), name=name, obj=self)

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


#: What other libraries call what a session has.
_ELSEWHERE = dict.fromkeys(("finish", "end", "close", "end_run"), "It ends where its with is left.")
_ELSEWHERE |= dict.fromkeys(("log_metric", "log_metrics"), "Write s.log({'acc': 0.9}, step=1).")
_ELSEWHERE |= dict.fromkeys(("log_param", "log_params", "config"), "Write s.params['lr'] = 0.1.")
_ELSEWHERE |= dict.fromkeys(
    ("log_artifact", "log_artifacts", "log_dataset"),
    "Write rows.vault.save(name), or s.log_table, log_text, log_figure or log_model.",
)
_ELSEWHERE |= dict.fromkeys(("set_tag", "set_tags"), "Write s.tags = ['baseline'].")
_ELSEWHERE |= dict.fromkeys(
    ("metrics", "summary", "history", "curve"),
    "vault.run(name) reads what was logged: .metrics, .curve('loss').",
)


_runs: weakref.WeakValueDictionary[int, Run] = weakref.WeakValueDictionary()  # by key of the recorder


def run_of(recorder: Recorder, logged: Logged) -> Run:
    """Return the Run of a recorder; a new one writes its lists by `logged`."""
    return _runs.get(recorder.key) or Run(recorder, logged)
