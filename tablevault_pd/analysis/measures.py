"""Measures: texts such as ``"gold == pred"``, expressions of ``pd.col``, functions of a frame, or a dict of these.

A text is read by the parser of filters: it is never evaluated as code. A measure gives a value for each row, whose mean
counts, or one number for a whole frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api import types

from tablevault_pd import validate
from tablevault_pd.errors import InvalidFilter, InvalidInput, InvalidType, short_repr
from tablevault_pd.filters import Names, UnknownColumn
from tablevault_pd.filters.evaluate import evaluate
from tablevault_pd.filters.expressions import evaluate_expression, is_expression
from tablevault_pd.filters.query import parse_query
from tablevault_pd.filters.source import FilterText
from tablevault_pd.filters.tree import ColumnRef, is_rowwise, labels

if TYPE_CHECKING:
    from collections.abc import Hashable


class MissingColumn(InvalidInput):
    """A measure that looks at a column which a version does not have."""


class UnreadableMeasure(InvalidInput):
    """A text that is no measure of any version."""


@dataclass(frozen=True)
class Measure:
    """What is measured, under the name that answers show it by."""

    name: str
    given: Any
    named: bool = False  #: whether the caller gave the name, in a dict

    @property
    def is_text(self) -> bool:
        """Whether it is read by the parser, so that its columns are known before anything is read."""
        return isinstance(self.given, str)

    def check(self) -> None:
        """Parse a text, before anything is read. Raises UnreadableMeasure."""
        try:
            FilterText(self.given).parse()
        except InvalidFilter as error:
            raise UnreadableMeasure(f"measure={short_repr(self.given)}: {self._said(error)}") from error

    def tree(self, names: Names) -> Any:
        """The tree of a text. Raises MissingColumn and InvalidInput."""
        try:
            return parse_query(self.given, names)
        except UnknownColumn as error:
            raise MissingColumn(f"measure={short_repr(self.given)}: {self._said(error)}") from error
        except InvalidFilter as error:
            raise UnreadableMeasure(f"measure={short_repr(self.given)}: {self._said(error)}") from error

    def columns(self, names: Names) -> frozenset[Hashable] | None:
        """The columns that a text looks at; None where only running the measure can tell."""
        return labels(self.tree(names)) if self.is_text else None

    def is_rowwise(self, names: Names) -> bool:
        """Whether the value of a row depends on that row alone."""
        return self.is_text and is_rowwise(self.tree(names))

    def column(self, frame: pd.DataFrame) -> Hashable | None:
        """The column of a frame that it is, and nothing more."""
        if not self.is_text:
            return None
        node = self.tree(Names.of(frame))
        return node.label if isinstance(node, ColumnRef) else None

    @cached_property
    def prefix(self) -> str:
        """What the columns of its values are called, before ``_a`` and ``_b``."""
        return self.name if self.named or (callable(self.given) and self.name.isidentifier()) else "measure"

    def values(self, frame: pd.DataFrame) -> pd.Series[Any] | float:
        """Its value for each row of a frame, truth values or numbers, or one number for all of it.

        Raises MissingColumn where the frame lacks a column that a text names; InvalidInput where the values are neither; and
        whatever a function raises.
        """
        measured = self._evaluated(frame)
        if types.is_scalar(measured) or (isinstance(measured, np.ndarray) and not measured.ndim):
            return self._number(measured)
        return self._series(measured, frame)

    def _evaluated(self, frame: pd.DataFrame) -> Any:
        if not self.is_text:
            return evaluate_expression(self.given, frame) if is_expression(self.given) else self.given(frame)
        tree = self.tree(Names.of(frame))
        try:
            return evaluate(tree, frame)
        except Exception as error:  # of pandas' operators: what a text means for these dtypes
            raise InvalidInput(
                f"measure={short_repr(self.given)} cannot be evaluated: {type(error).__name__}: {self._said(error)}"
            ) from error

    def _said(self, error: Exception) -> str:
        """The words of an error about a filter, for a measure."""
        text = str(error)
        for start in (f"The filter {short_repr(self.given)} ", "The filter "):
            if text.startswith(start):
                return f"it {text.removeprefix(start)}"
        return text

    def _number(self, value: Any) -> float:
        if value is pd.NA:
            return float("nan")
        if isinstance(value, (bool, np.bool_, int, float, np.number)) and not isinstance(value, complex):
            return float(value)
        raise InvalidInput(
            f"The measure {short_repr(self.name)} gives {short_repr(value)}, which is no number."
        )

    def _series(self, values: Any, frame: pd.DataFrame) -> pd.Series[Any]:
        if isinstance(values, pd.DataFrame) or not types.is_list_like(values) or len(values) != len(frame):
            raise InvalidInput(
                f"The measure {short_repr(self.name)} gives neither one number nor one value for each of the {len(frame)} rows."
            )
        series = pd.Series(values)
        if isinstance(values, pd.Series) and not values.index.equals(frame.index):
            raise InvalidInput(
                f"The measure {short_repr(self.name)} gives a Series with another index than the frame's. Keep the rows in order."
            )
        series = unboxed(series)
        if series.isna().all() and not types.is_numeric_dtype(series.dtype):
            return pd.Series(np.full(len(series), np.nan), series.index)
        if not types.is_numeric_dtype(series.dtype) or types.is_complex_dtype(series.dtype):
            raise InvalidInput(
                f"The measure {short_repr(self.name)} gives values of dtype {series.dtype}; it must give numbers or truth values."
            )
        return series


def measures_of(given: Any) -> tuple[Measure, ...]:
    """Read the argument ``measure=``. Raises InvalidInput."""
    if given is None:
        return ()
    if isinstance(given, Mapping):
        wrong = next((name for name in given if not isinstance(name, str) or not name.strip()), None)
        if wrong is not None or not given:
            raise InvalidInput(
                f"measure= is a dict of names and measures, such as {{'accuracy': 'gold == pred'}}, not {short_repr(given)}."
            )
        return tuple(
            _measure(validate.text(name, "A name in measure="), measure, named=True)
            for name, measure in given.items()
        )
    return (_measure(None, given, named=False),)


def _measure(name: str | None, given: Any, *, named: bool) -> Measure:
    if isinstance(given, str):
        if not given.strip():
            raise InvalidInput("measure= is blank. Write what is measured, such as 'gold == pred'.")
        measure = Measure(name or given, validate.text(given, "measure="), named)
        measure.check()
        return measure
    if is_expression(given):
        return Measure(name or str(given), given, named)
    if isinstance(given, Callable) and not isinstance(given, type):  # type: ignore[arg-type]  # mypy knows no isinstance of it
        return Measure(name or str(getattr(given, "__name__", type(given).__name__)), given, named)
    raise InvalidType(
        "measure= is a text such as 'gold == pred' or 'score', an expression of pd.col, a function of a frame, or a dict of "
        f"these, not {short_repr(given)}."
    )


def unboxed(values: pd.Series[Any]) -> pd.Series[Any]:
    """The same values; truth values and numbers among Python objects get a dtype of their own."""
    if values.dtype != object:
        return values
    is_boolean = types.infer_dtype(values, skipna=True) == "boolean"
    return values.astype("boolean") if is_boolean else values.infer_objects()


def is_truth(values: pd.Series[Any]) -> bool:
    """Whether values are truth values."""
    return types.is_bool_dtype(values.dtype)


def as_floats(values: pd.Series[Any]) -> np.ndarray:
    """Values as float64; NaN where they are missing."""
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))


def differences(a: pd.Series[Any], b: pd.Series[Any]) -> np.ndarray:
    """``b - a`` of values that are not missing, as float64: of whole numbers and decimals rounded once, after they are subtracted."""
    if any(types.is_bool_dtype(values.dtype) or types.is_float_dtype(values.dtype) for values in (a, b)):
        with np.errstate(invalid="ignore"):
            return np.asarray(np.subtract(as_floats(b), as_floats(a)))
    if all(types.is_signed_integer_dtype(values.dtype) for values in (a, b)):
        x, y = (values.to_numpy(dtype=np.int64) for values in (a, b))
        moved = y - x
        if not (((x ^ y) & (y ^ moved)) < 0).any():  # nothing has overflowed
            return np.asarray(moved, np.float64)
    return np.asarray(b.to_numpy(dtype=object) - a.to_numpy(dtype=object), np.float64)
