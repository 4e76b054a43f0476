"""Pictures of a vault's answers: ``df.vault.plot()`` draws the natural one, ``df.vault.plot.curves()`` and others by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.analysis.answers import answer_of
from tablevault_pd.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.axes import Axes

    from tablevault_pd.store import Store

#: The picture that an answer draws of itself, and the pictures that may be drawn of it.
PICTURES = {
    "metrics": ("curves",),
    "curve": ("curves",),
    "aggregates": ("scatter", "parallel"),
    "bands": ("bands",),
    "best": ("scatter", "parallel"),
    "sessions": ("timeline", "scatter", "parallel"),
    "trend": ("trend",),
    "compare": ("flips",),
}


class FramePlots:
    """Pictures of one answer of a vault. Each returns the Axes it drew on.

    Examples
    --------
    >>> with vault.session("train") as s:
    ...     for step in range(3):
    ...         s.log(step=step, loss=1 / (step + 1))
    >>> ax = vault.metrics("loss").vault.plot()
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('step', 'loss')
    """

    def __init__(self, frame: pd.DataFrame, store: Callable[[], Store]) -> None:
        self._frame = frame
        self._store = store

    def __call__(self, *, ax: Axes | None = None) -> Any:
        """Draw the natural picture: curves, bands, the best against the parameter that varies, a timeline.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        Axes, or an array of Axes where several metrics are drawn

        Raises
        ------
        InvalidInput
            If the frame is no answer of a vault, or lacks columns that the picture needs.
        MissingDependency
            If Matplotlib is not there.
        """
        kind = answer_of(self._frame).kind
        natural = PICTURES[kind][0]
        if natural == "scatter":
            from tablevault_pd.analysis.plots.scatter import varying_params

            natural = "parallel" if len(varying_params(self._frame)) > 1 else "scatter"
        return getattr(self, natural)(ax=ax)

    def curves(self, metric: str | None = None, *, ax: Axes | None = None) -> Any:
        """Draw every run of ``vault.metrics(…)`` faintly, their median and quartiles on top; or one run's ``curve(…)``. Mark every NaN.

        Parameters
        ----------
        metric : str, optional
            Draw this one. Default: all that the frame has, one below the other.
        ax : matplotlib Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        Axes, or an array of Axes where several metrics are drawn

        Raises
        ------
        InvalidInput
            If the frame is no answer that this picture draws or lacks the metric.
        MissingDependency
            If Matplotlib is not there.

        Examples
        --------
        >>> for seed in range(2):
        ...     with vault.session(f"run-{seed}", params={"seed": seed, "lr": 0.1 + seed}) as s:
        ...         s.log(step=1, loss=1 / (seed + 1))
        >>> vault.metrics("loss").vault.plot.curves("loss").get_ylabel()
        'loss'
        """
        from tablevault_pd.analysis.plots.curves import draw_curves

        return draw_curves(self._frame, self._about("curves"), metric, ax)

    def bands(self, *, ax: Axes | None = None) -> Axes:
        """Draw each group of ``vault.bands(…)``: its middle as a line, its interval as an area, held values dashed.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        Axes

        Raises
        ------
        InvalidInput
            If the frame is no answer that this picture draws.
        MissingDependency
            If Matplotlib is not there.

        Examples
        --------
        >>> for seed in range(2):
        ...     with vault.session(f"run-{seed}", params={"seed": seed, "lr": 0.1 + seed}) as s:
        ...         s.log(step=1, loss=1 / (seed + 1))
        >>> vault.bands("loss", over="params.seed").vault.plot.bands().get_ylabel()
        'loss'
        """
        from tablevault_pd.analysis.plots.bands import draw_bands

        return draw_bands(self._frame, self._about("bands"), ax)

    def scatter(self, x: str | None = None, y: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw a value of each session, such as the best, against a parameter; sessions that lack it have a lane of their own.

        Parameters
        ----------
        x : str, optional
            A column, such as ``"params.lr"``. Default: the parameter that varies, the first of several.
        y : str, optional
            A column. Default: ``best_value``, or the only metric of the frame.
        ax : matplotlib Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        Axes

        Raises
        ------
        InvalidInput
            If the frame is no answer that this picture draws, or lacks a column.
        MissingDependency
            If Matplotlib is not there.

        Examples
        --------
        >>> for seed in range(2):
        ...     with vault.session(f"run-{seed}", params={"seed": seed, "lr": 0.1 + seed}) as s:
        ...         s.log(step=1, loss=1 / (seed + 1))
        >>> vault.best("loss", mode="min").vault.plot.scatter("params.lr").get_xlabel()
        'lr'
        """
        from tablevault_pd.analysis.plots.scatter import draw_scatter

        return draw_scatter(self._frame, self._about("scatter"), x, y, ax)

    def parallel(self, y: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw a line for each session through all parameters that vary to its value, with a lane for "not given".

        Parameters
        ----------
        y : str, optional
            A column. Default: ``best_value``, or the only metric of the frame.
        ax : matplotlib Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        Axes

        Raises
        ------
        InvalidInput
            If the frame is no answer that this picture draws, or lacks a column.
        MissingDependency
            If Matplotlib is not there.

        Examples
        --------
        >>> for seed in range(2):
        ...     with vault.session(f"run-{seed}", params={"seed": seed, "lr": 0.1 + seed}) as s:
        ...         s.log(step=1, loss=1 / (seed + 1))
        >>> ax = vault.best("loss", mode="min").vault.plot.parallel()
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['seed', 'lr', 'lowest loss']
        """
        from tablevault_pd.analysis.plots.parallel import draw_parallel

        return draw_parallel(self._frame, self._about("parallel"), y, ax)

    def timeline(self, *, ax: Axes | None = None) -> Axes:
        """Draw when each session of ``vault.sessions(…)`` ran, was paused and was resumed, and how it ended.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        Axes

        Raises
        ------
        InvalidInput
            If the frame is no answer that this picture draws.
        MissingDependency
            If Matplotlib is not there.

        Examples
        --------
        >>> for seed in range(2):
        ...     with vault.session(f"run-{seed}", params={"seed": seed, "lr": 0.1 + seed}) as s:
        ...         s.log(step=1, loss=1 / (seed + 1))
        >>> ax = vault.sessions("run-*").vault.plot.timeline()
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['run-0#1', 'run-1#1']
        """
        from tablevault_pd.analysis.plots.timeline import draw_timeline

        self._about("timeline")
        return draw_timeline(self._store(), self._frame, ax)

    def trend(self, *, ax: Axes | None = None) -> Axes:
        """Draw a measure over the versions of ``vault.trend(…)``, its interval as an area, and ring those that left the noise.

        With ``per="session"`` or ``"day"`` the sessions or days stand on the axis of x, in order of time. A version where the
        measure failed is a cross at the bottom.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        Axes

        Raises
        ------
        InvalidInput
            If the frame is no answer that this picture draws.
        MissingDependency
            If Matplotlib is not there.

        Examples
        --------
        >>> for hits in ([1, 0], [1, 1]):
        ...     marks = vault.save("marks", pd.DataFrame({"right": hits}))
        >>> vault.trend("marks", "right.mean()").vault.plot.trend().get_xlabel()
        'version'
        """
        from tablevault_pd.analysis.plots.trend import draw_trend

        return draw_trend(self._frame, self._about("trend"), ax)

    def flips(self, *, ax: Axes | None = None) -> Any:
        """Draw the flips of ``vault.compare(…)`` as a matrix: right and wrong before, right and wrong now; or up, down, same.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        Axes, or an array of Axes where several measures or versions are drawn

        Raises
        ------
        InvalidInput
            If the frame is no answer that this picture draws.
        MissingDependency
            If Matplotlib is not there.

        Examples
        --------
        >>> for hits in ([True, False], [True, True]):
        ...     marks = vault.save("marks", pd.DataFrame({"id": [1, 2], "right": hits}))
        >>> vault.compare("marks@1", "marks@2", on="id", measure="right").vault.plot.flips().get_xlabel()
        'marks@2'
        """
        from tablevault_pd.analysis.plots.flips import draw_flips

        self._about("flips")
        return draw_flips(self._frame, ax)

    def _about(self, picture: str) -> str:
        """What the answer is about. Raises InvalidInput if there is no such picture of it."""
        answer = answer_of(self._frame)
        if picture in PICTURES.get(answer.kind, ()):
            return answer.about
        drawn = [kind for kind, pictures in PICTURES.items() if picture in pictures]
        own = ", ".join(f".plot.{name}()" for name in PICTURES.get(answer.kind, ()))
        raise InvalidInput(
            f".plot.{picture} draws {' and '.join(drawn)}, and this frame is an answer of {answer.kind}: take {own}."
        )
