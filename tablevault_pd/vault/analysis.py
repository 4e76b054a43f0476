"""The part of a :class:`Vault` about metrics: curves, best steps, bands over runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, InvalidType, short_repr
from tablevault_pd.session.lookup import SessionFilter
from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from tablevault_pd.store import SessionLabel


class Analysis(VaultPart):
    """The part of a :class:`Vault` that compares steps, sessions and versions."""

    def metrics(
        self,
        names: str | Sequence[str] | None = None,
        *,
        sessions: Any = None,
        filters: Any = None,
        code: str | None = None,
        description: str | None = None,
        tags: str | Sequence[str] | None = None,
        since: Any = None,
        until: Any = None,
        x: str = "step",
        form: Literal["long", "wide"] = "long",
        agg: str | Callable[[pd.Series[Any]], float] | Sequence[Any] | Mapping[str, Any] | None = None,
        repeats: Literal["all", "last"] | None = None,
        missing: bool = False,
        params: bool = False,
    ) -> pd.DataFrame:
        """Return logged values of many sessions as one frame: every value, or one aggregate of each curve.

        Nothing is sampled, and only the metrics asked for are read.

        Parameters
        ----------
        names : str or list of str, optional
            Metrics, or patterns such as ``"val_*"``. Default: all.
        sessions : name, pattern, id, session, frame of :meth:`sessions`, or list of these, optional
            Only these, as :meth:`sessions` takes them: a bare name means all its runs. Default: all.
        filters : optional
            Only sessions that fit, as for :meth:`sessions`: ``"params.lr < 0.1 and metrics.acc > 0.9"``.
        code : str, optional
            Only sessions with code that mentions it.
        description : str, optional
            Only sessions so described.
        tags : str or list of str, optional
            Only sessions with all of these.
        since, until : time, optional
            Only sessions that started at or after `since`, and before `until` (UTC unless it says otherwise).
        x : str
            What values are sorted by and plotted against: ``"step"``; ``"time"`` in UTC; ``"elapsed"``, seconds since the
            session began; ``"active"``, the same without pauses and without the time between two attempts; or the name of a
            metric, such as ``"epoch"``, whose value at the same step, else at the last step before it, is taken.
        form : {"long", "wide"}
            One row for each value, or one for each step with a column for each metric.
        agg : str, function, list or dict, optional
            One number for each curve: last, first, min, max, mean, median, std, count, or a function of a Series (of values,
            its index x). A list gives several, ``{"loss": "min", "acc": ["max", "last"]}`` says it for each metric.
        repeats : {"all", "last"}, optional
            Whether a step that was logged several times, as by a run that was resumed, counts each time or once. ``"last"``:
            the highest attempt wins, and what an earlier attempt logged beyond the step where the next one began is left
            out. Default: ``"all"`` in the long form without `agg`, else ``"last"``.
        missing : bool
            In the wide form, add a column ``<metric>_missing`` that tells what was not logged from a logged NaN.
        params : bool
            Add the parameters of the sessions as columns ``params.…``.

        Returns
        -------
        DataFrame
            Long: session, name, run, started, attempt, step (missing where none was given), metric, value. Wide: a column for
            each metric in place of the last two. With another `x` the columns ``x`` and, beside a metric, ``x_lag`` (steps
            back) follow ``step``. With `agg`: session, name, run, started, metric, value (or value_min …), n and n_nan, the
            numbers of values that are no NaN, and that are; wide, <metric> (or <metric>_min …), <metric>_n and
            <metric>_n_nan. Sorted by session, metric and x. Values are float64, and Int64 where the metrics of that column
            were logged as nothing but integers.

        Raises
        ------
        InvalidInput
            If no session of the vault has logged a metric that is named.
        SessionNotFound
            If a session that is named is not there.
        InvalidFilter
            If the filter cannot be parsed, or names a parameter or metric that no session has.

        Examples
        --------
        >>> for lr in (0.1, 0.2):
        ...     with vault.session("sweep", params={"lr": lr}) as s:
        ...         for step in range(3):
        ...             s.log(step=step, loss=lr / (step + 1))
        >>> vault.metrics("loss", sessions="sweep#2")[["session", "step", "metric", "value"]].round(3)
           session  step metric  value
        0  sweep#2     0   loss  0.200
        1  sweep#2     1   loss  0.100
        2  sweep#2     2   loss  0.067
        >>> vault.metrics("loss", agg=["min", "last"], params=True)[["session", "value_min", "value_last", "n", "params.lr"]].round(3)
           session  value_min  value_last  n  params.lr
        0  sweep#1      0.033       0.033  3        0.1
        1  sweep#2      0.067       0.067  3        0.2
        """
        from tablevault_pd.analysis.aggregates import aggregates
        from tablevault_pd.analysis.curves import metric_names
        from tablevault_pd.analysis.metrics import metrics

        wide = validate.choice(form, "form", ("long", "wide")) == "wide"
        if repeats is not None:
            validate.choice(repeats, "repeats", ("all", "last"))
        if validate.flag(missing, "missing") and not (wide and agg is None):
            raise InvalidInput(
                "missing=True marks what was not logged in the wide form without agg=: form='wide'."
            )
        params = validate.flag(params, "params")
        x = validate.text(x, "x=")
        chosen = _names(names)
        if agg is not None:
            aggregation = aggregates(agg, chosen)
            chosen = (
                list(aggregation.of_metric)
                if chosen is None and aggregation.of_metric is not None
                else chosen
            )
        last = repeats == "last" or (repeats is None and (wide or agg is not None))
        which = self._sessions_that(sessions, filters, code, description, tags, since, until)
        return metrics(
            self.store,
            which,
            metric_names(self.store, chosen),
            x=x,
            wide=wide,
            aggregates=None if agg is None else aggregation,
            last=last,
            missing=missing,
            params=params,
        )

    def best(
        self,
        metric: str,
        mode: Literal["min", "max"],
        *,
        sessions: Any = None,
        filters: Any = None,
        code: str | None = None,
        description: str | None = None,
        tags: str | Sequence[str] | None = None,
        since: Any = None,
        until: Any = None,
        at: str | Sequence[str] | None = None,
        after: int | None = None,
        smooth: int | None = None,
        rows: str | None = None,
    ) -> pd.DataFrame:
        """Return the step of each session at which a metric was best, with what else was logged at that step.

        Steps that were logged several times count once, as with ``metrics(repeats="last")``. NaN is never best.

        Parameters
        ----------
        metric : str
            What is compared.
        mode : {"min", "max"}
            Whether small or large values are good.
        sessions, filters, code, description, tags, since, until : optional
            Which sessions, as for :meth:`metrics`. Those that have not logged the metric have no row.
        at : str or list of str, optional
            Other metrics: their value at the best step, else at the last step before it, which is ``<name>_lag`` steps back.
            Of a value without a step, what the same call of ``log`` had.
        after : int, optional
            Only steps greater than this: it skips a warm-up.
        smooth : int, optional
            Choose on the centred rolling mean of so many points (fewer at the ends). The values in the answer are raw.
        rows : str, optional
            A list: the version of it that the session committed at the best step, else last before it, is in the column
            ``rows``, as ``"preds@7"``. Commits outside of ``with s.step(…)`` are placed by their time: before the best value was
            logged. Where there is none, and the best value is the last one, it is the first version after it.

        Returns
        -------
        DataFrame
            One row for each session that logged the metric, the best session first: session, name, run, metric, best_step (the
            earliest of equal ones), best_value, the columns of `at`, last_value, steps_since_best, n, n_nan, attempt, ``rows`` if
            asked for, then ``params.*``. Where all values are NaN, or none comes after `after`, the best is missing, and the
            session comes last.

        Raises
        ------
        InvalidInput
            If no session of the vault has logged a metric that is named.
        SessionNotFound, ListNotFound, ListDeleted, InvalidName
            If a session, or the list in `rows`, is not there.
        InvalidFilter
            If the filter cannot be parsed, or names a parameter or metric that no session has.

        Examples
        --------
        >>> with vault.session("train", params={"lr": 0.1}) as s:
        ...     for step, loss in enumerate([0.9, 0.4, 0.6]):
        ...         s.log(step=step, loss=loss, acc=1 - loss)
        >>> vault.best("loss", "min", at="acc")[["session", "best_step", "best_value", "acc", "last_value", "steps_since_best"]]
           session  best_step  best_value  acc  last_value  steps_since_best
        0  train#1          1         0.4  0.6         0.6                 1
        """
        from tablevault_pd.analysis.best import best
        from tablevault_pd.reading.read import resolve

        metric = validate.text(metric, "The name of a metric")
        validate.choice(mode, "mode", ("min", "max"))
        others = [] if at is None else _names(at, "at=") or []
        if metric in others:
            raise InvalidInput(f"at= names other metrics: best_value is the value of {short_repr(metric)}.")
        if after is not None:
            after = validate.whole(after, "after")
        if smooth is not None:
            smooth = validate.whole(smooth, "smooth", least=1)
        name = None if rows is None else resolve(self.store, rows).list
        which = self._sessions_that(sessions, filters, code, description, tags, since, until)
        return best(self.store, which, metric, mode, at=others, after=after, smooth=smooth, rows=name)

    def bands(
        self,
        metric: str,
        *,
        over: str | Sequence[str] = "params.seed",
        by: str | Sequence[str] | None = None,
        x: str = "step",
        center: Literal["mean", "median"] = "mean",
        band: Literal["ci", "bootstrap", "sem", "std", "minmax", "iqr"] = "ci",
        level: float = 0.95,
        grid: Any = None,
        ragged: Literal["shrink", "common", "hold"] = "shrink",
        sessions: Any = None,
        filters: Any = None,
        code: str | None = None,
        description: str | None = None,
        tags: str | Sequence[str] | None = None,
        since: Any = None,
        until: Any = None,
    ) -> pd.DataFrame:
        """Return the mean or median of several runs at each x, with a band around it.

        Runs are grouped by everything but the seed. Values are put together only where they share x, and ``n`` says how many
        there are. What a group shows depends on nothing but its own runs.

        Parameters
        ----------
        metric : str
            What was logged.
        over : str or list of str
            Parameters that differ inside of a group: groups are made by all others that vary. A session that lacks a
            parameter is in a group of those that lack it.
        by : str or list of str, optional
            Make groups by these parameters alone; ``[]`` makes one group of all runs.
        x : str
            As for :meth:`metrics`. Of several values that a run has at one x, the last counts.
        center : {"mean", "median"}
        band : {"ci", "bootstrap", "sem", "std", "minmax", "iqr"}
            ``ci`` is the t interval of the mean (the extra ``stats``), ``bootstrap`` the percentile interval of 2000 seeded
            resamples, both at `level`; ``sem`` and ``std`` (ddof 1) lie as far below as above; ``minmax``; ``iqr`` from the first
            to the third quartile.
        level : float
            Of ``ci`` and ``bootstrap``.
        grid : list of numbers or "union", optional
            Interpolate each run at these x, or at all x of its group, inside of the run's own range. Rows with interpolated
            values are marked.
        ragged : {"shrink", "common", "hold"}
            What happens where runs have stopped: ``n`` gets smaller; or the band ends with the shortest run of its group; or the
            last value is carried on, for so many runs as ``held`` says.
        sessions, filters, code, description, tags, since, until : optional
            Which sessions, as for :meth:`metrics`.

        Returns
        -------
        DataFrame
            The parameters grouped by, x, n, mid, lo, hi, band, n_nan, with `grid` ``interpolated``, with ``ragged="hold"`` ``held``.
            Where ``n`` is 1, lo and hi are missing. NaN are left out of a group, and counted in n_nan.

        Raises
        ------
        InvalidInput
            If no session of the vault has the metric or a parameter that is named, and for a ``ci`` or ``sem`` around a median.
        MissingDependency
            If ``band="ci"`` is asked for and SciPy is not there.
        SessionNotFound
            If a session that is named is not there.
        InvalidFilter
            If the filter cannot be parsed, or names a parameter or metric that no session has.

        Examples
        --------
        >>> for seed in range(3):
        ...     with vault.session("train", params={"lr": 0.1, "seed": seed}) as s:
        ...         for step in range(2):
        ...             s.log(step=step, acc=0.5 + 0.1 * seed + 0.1 * step)
        >>> vault.bands("acc", band="minmax")[["x", "n", "mid", "lo", "hi", "band"]].round(2)
           x  n  mid   lo   hi    band
        0  0  3  0.6  0.5  0.7  minmax
        1  1  3  0.7  0.6  0.8  minmax
        """
        from tablevault_pd.analysis.bands import bands
        from tablevault_pd.analysis.by_params import param_names
        from tablevault_pd.analysis.intervals import KINDS, OF_MEANS

        metric = validate.text(metric, "The name of a metric")
        validate.choice(center, "center", ("mean", "median"))
        validate.choice(band, "band", KINDS)
        validate.choice(ragged, "ragged", ("shrink", "common", "hold"))
        if center == "median" and band in OF_MEANS:
            raise InvalidInput(
                f"band={band!r} is about a mean. Around a median take 'bootstrap', 'iqr', 'minmax' or 'std'."
            )
        level = validate.number(level, "level")
        if not 0 < level < 1:
            raise InvalidInput(f"level= is a number between 0 and 1, such as 0.95, not {level}.")
        which = self._sessions_that(sessions, filters, code, description, tags, since, until)
        return bands(
            self.store,
            which,
            metric,
            over=param_names(over, "over"),
            by=None if by is None else param_names(by, "by"),
            x=validate.text(x, "x="),
            center=center,
            band=band,
            level=level,
            grid=_grid(grid),
            ragged=ragged,
        )

    def _sessions_that(
        self, sessions: Any, filters: Any, code: Any, description: Any, tags: Any, since: Any, until: Any
    ) -> list[SessionLabel] | None:
        """Return the sessions that the arguments select, oldest first; None: all."""
        from tablevault_pd.search.sessions import choose

        session_filter = SessionFilter.of(
            self.store, state=None, params=None, tags=tags, parent=None, since=since, until=until
        )
        self._flush()
        ids = choose(
            self.store, sessions, session_filter, filters=filters, code=code, description=description
        )
        return None if ids is None else self.store.session_labels(ids)


def _names(names: Any, what: str = "names=") -> list[str] | None:
    """Check the names of metrics, one or several."""
    if names is None:
        return None
    metrics = [names] if isinstance(names, str) else names
    if not isinstance(metrics, (list, tuple)) or not all(isinstance(name, str) for name in metrics):
        raise InvalidType(f"{what} is the name of a metric or a list of names, not {short_repr(names)}.")
    return [validate.text(name, "The name of a metric") for name in metrics]


def _grid(grid: Any) -> np.ndarray | str | None:
    """Check ``grid=``: "union", or numbers, which are returned once each, ascending."""
    if grid is None or (isinstance(grid, str) and grid == "union"):
        return grid
    try:
        values = None if isinstance(grid, (str, bytes)) else np.asarray(grid, dtype=np.float64)
    except (TypeError, ValueError):
        values = None
    if values is None or values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise InvalidInput(f"grid= is 'union' or a list of one or more numbers, not {short_repr(grid)}.")
    whole = values.astype(np.int64) if (np.abs(values) < 2**53).all() else values
    return np.unique(whole if (whole == values).all() else values)
