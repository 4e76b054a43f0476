"""One number for each curve: the aggregates that ``metrics(agg=)`` and ``sessions(show=)`` take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis.groups import Groups
from tablevault_pd.errors import InvalidInput, InvalidType, short_repr

if TYPE_CHECKING:
    from tablevault_pd.analysis.curves import Curves

CHOSEN = ("last", "first", "min", "max")  #: each is one of the values
NAMES = (*CHOSEN, "mean", "median", "std", "count")
Function = Callable[["pd.Series[Any]"], float]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate and the end of the name of its column; empty where it is the only one of its metric."""

    function: str | Function
    suffix: str = ""

    def is_integer(self, of_integers: bool) -> bool:
        """Whether it is an integer, of values that are, or are not."""
        return self.function == "count" or (of_integers and self.function in CHOSEN)


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Which aggregates are asked of which metric."""

    of_each: tuple[Aggregate, ...]
    of_metric: Mapping[str, tuple[Aggregate, ...]] | None = None

    def of(self, metric: str) -> tuple[Aggregate, ...]:
        """Those of one metric."""
        return self.of_each if self.of_metric is None else self.of_metric.get(metric, ())

    def of_integers(self, metrics: Sequence[str], integers: Collection[str]) -> list[str]:
        """The columns of the long form that hold nothing but integers: `integers` are the metrics that do."""
        aggregates = [(aggregate, metric in integers) for metric in metrics for aggregate in self.of(metric)]
        aggregates = aggregates or [(aggregate, False) for aggregate in self.of_each]
        others = {aggregate.suffix for aggregate, are in aggregates if not aggregate.is_integer(are)}
        return [
            f"value{suffix}"
            for suffix in dict.fromkeys(aggregate.suffix for aggregate, _ in aggregates)
            if suffix not in others
        ]


def aggregates(given: Any, names: Sequence[str] | None) -> Aggregates:
    """Check ``agg=``: a name, a function, a list of these, or a dict of these by metric; `names` are the metrics asked for."""
    if not isinstance(given, Mapping):
        return Aggregates(_several(given))
    if not given or not all(isinstance(name, str) for name in given):
        raise InvalidInput(f"agg= is a dict of aggregates by metric, not {short_repr(given)}.")
    lacking = [name for name in names or () if name not in given]
    if lacking:
        raise InvalidInput(
            f"agg= says nothing about {', '.join(map(short_repr, lacking))}: add it, or leave it out of names."
        )
    return Aggregates((), {name: _several(function) for name, function in given.items()})


def _several(given: Any) -> tuple[Aggregate, ...]:
    if isinstance(given, (list, tuple)) and given:
        aggregates = tuple(Aggregate(_one(function), f"_{_name(function)}") for function in given)
        if len({aggregate.suffix for aggregate in aggregates}) == len(aggregates):
            return aggregates
        raise InvalidInput(f"agg= has two aggregates of one name: {short_repr(given)}.")
    return (Aggregate(_one(given)),)


def _one(given: Any) -> str | Function:
    if isinstance(given, str) and given in NAMES:
        return given
    if callable(given) and not isinstance(given, type):
        function: Function = given
        return function
    raise InvalidType(
        f"agg= is one of {', '.join(NAMES)}, a function of a Series, a list of these, or a dict of these by metric, "
        f"not {short_repr(given)}."
    )


def _name(given: Any) -> str:
    return given if isinstance(given, str) else str(getattr(given, "__name__", type(given).__name__))


class PerCurve:
    """The aggregates of the curves that have values.

    Attributes
    ----------
    session, metric : ndarray of int
        Of each curve.
    n, n_nan : ndarray of int
        How many values it has that are no NaN, and that are.
    """

    def __init__(self, curves: Curves) -> None:
        points = curves.points
        numbers = points.curve
        starts = (
            np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1])) if len(points) else np.zeros(0, int)
        )
        self._curves = curves
        self._bounds = np.append(starts, len(points))
        self.session, self.metric = points.session[starts], points.metric[starts]
        sizes = np.diff(self._bounds)
        self._groups = Groups(np.repeat(np.arange(len(starts)), sizes), points.value, len(starts))
        self.n, self.n_nan = self._groups.n, self._groups.n_nan

    def of(self, function: str | Function, which: np.ndarray) -> np.ndarray:
        """One number for each of the curves that the mask `which` says."""
        values = self._curves.points.value
        if not isinstance(function, str):
            places = np.flatnonzero(which).tolist()
            return np.array([self._called(function, place) for place in places], dtype=np.float64)
        if function in ("first", "last"):
            ends = self._bounds[:-1] if function == "first" else self._bounds[1:] - 1
            return np.asarray(values[ends[which]])
        if function == "count":
            return np.asarray(self.n[which], dtype=np.float64)
        of_curves: np.ndarray = getattr(self._groups, function)[which]
        return of_curves

    def _called(self, function: Function, curve: int) -> float:
        window = slice(self._bounds[curve], self._bounds[curve + 1])
        x = pd.Index(self._curves.axis.x[window], name="x")
        aggregate = function(pd.Series(self._curves.points.value[window], index=x))
        try:
            return float(aggregate)
        except (TypeError, ValueError):
            metric = self._curves.points.metrics[self.metric[curve]]
            raise InvalidInput(
                f"agg= took the function {_name(function)} of {metric!r}, and it returned {short_repr(aggregate)}: one number is wanted."
            ) from None
