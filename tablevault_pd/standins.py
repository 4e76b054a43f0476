"""Stand-ins for columns, which note what a filter asks of them as a hint for the store.

What they do not know raises :class:`Unclear`. They know only what judges each row by itself and fails for no row.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from tablevault_pd import filters
from tablevault_pd.store.where import ALL, EXACT, Condition, Kind, Test, Where, both, either

_OPPOSITE: dict[str, str] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
MOST_VALUES = 500  # a server compares each row with each of them
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ][\d:.]+)?")
_NO_REGEX = re.compile(r"[^.^$*+?{}\[\]\\|()]+")


class Unclear(Exception):
    """Something that only running the filter can judge."""


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """Which rows a condition may be true of, and which it may be false of."""

    yes: Where = ALL
    no: Where = ALL

    def __and__(self, other: Any) -> Verdict:
        them = verdict(other)
        return Verdict(both(self.yes, them.yes), either(self.no, them.no))

    def __or__(self, other: Any) -> Verdict:
        them = verdict(other)
        return Verdict(either(self.yes, them.yes), both(self.no, them.no))

    def __invert__(self) -> Verdict:
        return Verdict(self.no, self.yes)

    def __bool__(self) -> bool:
        raise Unclear


def verdict(found: Any) -> Verdict:
    """A condition: a verdict, or a column of truth values by itself. Raises Unclear."""
    if isinstance(found, Verdict):
        return found
    if isinstance(found, Column) and found.kind == "bool" and not (found.objects or found.inside):
        return found.compare("==", True)
    raise Unclear


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Stands in for a column, or for what is inside of the dicts of one."""

    path: tuple[str, ...]
    kind: Kind | None  #: None: whatever it is compared with
    tuples: bool = False  #: whether missing values fit nothing, as in tuples, rather than as in pandas
    narrow: type[np.floating] | None = None  #: floats of so few digits that constants are rounded to them
    objects: str | None = None  #: cells are Python objects, with this marker for missing ones
    category: bool = False
    zoned: bool = False
    derived: bool = False  #: computed from the column: its values are not those that are stored

    @property
    def inside(self) -> bool:
        """Whether it is a value inside of dicts."""
        return len(self.path) > 1

    def passing(
        self, test: Test, value: Any = None, *, missing: bool = False, kind: Kind | None = None
    ) -> Where:
        """Rows that pass one test of this column."""
        return ((Condition(self.path, kind or self.kind or "text", test, value, missing),),)

    def compare(self, operator: str, value: Any) -> Verdict:
        """The column against a constant or another column. Raises Unclear."""
        if isinstance(value, Column):
            return self._beside(value)
        operator = "==" if operator == "=" else operator
        if operator == "!=":
            return ~self.compare("==", value)
        if self.objects == "NA" and not self.tuples:
            raise Unclear  # pandas refuses to judge NA in an object column
        kind = self.kind or _kind_of(value)
        if operator != "==" and ((self.objects and not self.tuples) or self.category or kind == "bool"):
            raise Unclear
        found = {"number": self._number, "text": self._text, "bool": self._bool, "time": self._time}[kind]
        made = found(operator, value)
        return Verdict() if self.derived else made

    def _beside(self, other: Column) -> Verdict:
        if self.kind is None or self.kind != other.kind or self.tuples:
            raise Unclear
        if self.objects or other.objects or self.category or other.category or self.zoned != other.zoned:
            raise Unclear
        return Verdict()

    def _number(self, operator: str, value: Any) -> Verdict:
        low, high = self._around(value)
        if operator == "==":
            exactly = self.passing("in", (low,), kind="number")
            near = both(self.passing(">=", low, kind="number"), self.passing("<=", high, kind="number"))
            return Verdict(exactly if low == high else near)
        return Verdict(
            self._bound(operator, low, high), self._bound(_OPPOSITE[operator], low, high, missing=True)
        )

    def _bound(self, operator: str, low: float, high: float, *, missing: bool = False) -> Where:
        if low != high:
            operator = operator[0] + "="
        test: Any = operator
        return self.passing(test, high if operator[0] == "<" else low, missing=missing, kind="number")

    def _around(self, value: Any) -> tuple[float, float]:
        """Bounds of what the constant may be taken for."""
        value = value.item() if isinstance(value, np.generic) else value
        if type(value) not in (int, float) or not abs(value) < 2.0**63:
            raise Unclear
        if self.narrow is None and abs(value) < EXACT:
            return value + 0, value + 0  # -0.0 is 0.0
        kind = self.narrow or np.float64
        with np.errstate(over="ignore"):
            near = kind(value)
            low, high = np.nextafter(near, kind(-np.inf)), np.nextafter(near, kind(np.inf))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise Unclear
        return min(float(low), value), max(float(high), value)

    def _text(self, operator: str, value: Any) -> Verdict:
        if not isinstance(value, str) or (operator != "==" and self.inside):
            raise Unclear
        # A server orders texts as a language does, and may think two equal that are not.
        return Verdict(self.passing("in", (str(value),), kind="text")) if operator == "==" else Verdict()

    def _bool(self, operator: str, value: Any) -> Verdict:
        if not isinstance(value, (bool, np.bool_)):
            raise Unclear
        other = ALL if self.inside else self.passing("in", (not value,), missing=True, kind="bool")
        return Verdict(self.passing("in", (bool(value),), kind="bool"), other)

    def _time(self, operator: str, value: Any) -> Verdict:
        second = self._second(value)
        early, late = self.passing("<=", second), self.passing(">=", second)
        if operator == "==":
            return Verdict(both(late, early))
        opposite = self.passing(">=" if operator[0] == "<" else "<=", second, missing=True)
        return Verdict(early if operator[0] == "<" else late, opposite)

    def _second(self, value: Any) -> int:
        if isinstance(value, str) and not self.zoned and _DATE.fullmatch(value):
            pass  # pandas reads it; what else it reads may depend on today
        elif not isinstance(value, (dt.datetime, np.datetime64)):
            raise Unclear
        try:
            moment: Any = pd.Timestamp(value)
        except (ValueError, OverflowError) as error:
            raise Unclear from error
        if moment is pd.NaT or (moment.tz is not None) != self.zoned or not 1 <= moment.year <= 9999:
            raise Unclear
        moment = moment if moment.tz is None else moment.tz_convert("UTC").tz_localize(None)
        return int(moment.replace(microsecond=0, nanosecond=0).as_unit("s").asm8.view("i8"))

    # -- what pandas' own columns can do

    def isin(self, values: Any) -> Verdict:
        """Membership in some constants. Raises Unclear."""
        if not isinstance(values, (list, tuple, set, frozenset, np.ndarray, pd.Index)):
            raise Unclear
        known = [each for each in values if not filters.is_missing(each)]
        missing = len(known) < len(values)
        if self.objects == "NA" or self.derived or not known or (missing and self.inside):
            raise Unclear
        kind = self.kind or _kind_of(known[0])
        if kind == "number":
            bounds = [self._around(each) for each in known]
            if self.inside and not all(isinstance(low, int) for low, _ in bounds):
                raise Unclear  # in tuples it would depend on the other rows whether this can be compared
            if len(known) <= MOST_VALUES and all(low == high for low, high in bounds):
                return Verdict(
                    self.passing("in", tuple(low for low, _ in bounds), missing=missing, kind=kind)
                )
            least, most = min(low for low, _ in bounds), max(high for _, high in bounds)
            return Verdict(
                both(
                    self.passing(">=", least, missing=missing, kind=kind),
                    self.passing("<=", most, missing=missing, kind=kind),
                )
            )
        if kind == "time":
            seconds = [self._second(each) for each in known if not isinstance(each, str)]
            if len(seconds) < len(known):
                raise Unclear
            return Verdict(
                both(
                    self.passing(">=", min(seconds), missing=missing),
                    self.passing("<=", max(seconds), missing=missing),
                )
            )
        wanted: Any = str if kind == "text" else (bool, np.bool_)
        if not all(isinstance(each, wanted) for each in known):
            raise Unclear
        if len(known) > MOST_VALUES:
            return Verdict()
        plain = tuple(str(each) if kind == "text" else bool(each) for each in known)
        return Verdict(self.passing("in", plain, missing=missing, kind=kind))

    def isna(self) -> Verdict:
        """Where values are missing. Raises Unclear."""
        if self.derived:
            raise Unclear
        there = self.passing("not null")
        return Verdict(ALL if self.kind is None else self.passing("null", missing=True), there)

    def notna(self) -> Verdict:
        """Where values are not missing. Raises Unclear."""
        return ~self.isna()

    isnull, notnull = isna, notna

    def between(self, left: Any, right: Any) -> Verdict:
        """From one constant to another, both included. Raises Unclear."""
        return self.compare(">=", left) & self.compare("<=", right)

    def __getattr__(self, name: str) -> Any:
        if name == "str":
            return Texts(self)
        raise Unclear

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> Verdict:  # type: ignore[override]  # as pandas' columns do
        return self.compare("==", other)

    def __ne__(self, other: object) -> Verdict:  # type: ignore[override]
        return self.compare("!=", other)

    def __lt__(self, other: Any) -> Verdict:
        return self.compare("<", other)

    def __le__(self, other: Any) -> Verdict:
        return self.compare("<=", other)

    def __gt__(self, other: Any) -> Verdict:
        return self.compare(">", other)

    def __ge__(self, other: Any) -> Verdict:
        return self.compare(">=", other)

    def __and__(self, other: Any) -> Verdict:
        return verdict(self).__and__(other)

    def __or__(self, other: Any) -> Verdict:
        return verdict(self).__or__(other)

    def __invert__(self) -> Verdict:
        return ~verdict(self)

    def computed(self, other: Any) -> Column:
        """A sum or product with another number. Raises Unclear."""
        plain = isinstance(other, Column) and other.kind == "number" and not other.objects
        if self.kind != "number" or self.objects or not (plain or type(other) in (int, float)):
            raise Unclear
        return replace(self, derived=True)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = computed


@dataclass(frozen=True, slots=True)
class Texts:
    """Stands in for ``column.str``."""

    column: Column

    def contains(self, pattern: Any, *, regex: bool = True) -> Verdict:
        """Where a text is part of the value. Raises Unclear."""
        kind = self.column.kind
        if not isinstance(pattern, str) or not pattern or kind not in ("text", None) or self.column.category:
            raise Unclear
        if regex and not _NO_REGEX.fullmatch(pattern):
            return Verdict() if kind else _unclear()
        if kind is None and not self.column.tuples:
            raise Unclear  # pandas refuses .str where no value is a text
        return Verdict(self.column.passing("contains", str(pattern), kind="text"))

    def __getattr__(self, name: Any) -> Any:
        raise Unclear


def _unclear() -> Any:
    raise Unclear


def _kind_of(value: Any) -> Kind:
    """How a value inside of dicts is stored if it equals a constant."""
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if isinstance(value, str):
        return "text"
    if isinstance(value, (int, float, np.integer, np.floating)):
        return "number"
    raise Unclear
