"""Predicate pushdown: a projection of a filter to a condition that stores can test, so that they send fewer rows.

Everything that is not known to judge each row by itself, and to fail for no row, tells nothing: then leaving out rows could
change the verdict on the others (``x > x.mean()``), or hide an error that pandas would raise.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.filters.predicate import ALL, EXACT, Condition, Kind, Test, Where, both, either
from tablevault_pd.filters.tree import (
    And,
    Arithmetic,
    ColumnRef,
    Compare,
    Constant,
    Inside,
    Member,
    Method,
    Node,
    Not,
    Or,
    Term,
    is_rowwise,
)
from tablevault_pd.filters.tuples import evaluate_term
from tablevault_pd.frames import schemas
from tablevault_pd.validate import is_missing

if TYPE_CHECKING:
    from collections.abc import Hashable

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_OPPOSITE: dict[str, str] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
MOST_VALUES = 500  # more values would slow a server down
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ][\d:.]+)?")
_NO_REGEX = re.compile(r"[^.^$*+?{}\[\]\\|()]+")


class NotPushable(Exception):
    """Only evaluating the filter can decide."""


@dataclass(frozen=True, slots=True, eq=False)
class Pushdown:
    """Two conditions: for rows that might match, and for rows that might not match."""

    might_match: Where = ALL
    might_not_match: Where = ALL

    def __and__(self, other: Any) -> Pushdown:
        them = condition(other)
        return Pushdown(
            both(self.might_match, them.might_match), either(self.might_not_match, them.might_not_match)
        )

    def __or__(self, other: Any) -> Pushdown:
        them = condition(other)
        return Pushdown(
            either(self.might_match, them.might_match), both(self.might_not_match, them.might_not_match)
        )

    def __invert__(self) -> Pushdown:
        return Pushdown(self.might_not_match, self.might_match)


def condition(node: Any) -> Pushdown:
    """Convert a column of truth values to a condition. Raises NotPushable."""
    if isinstance(node, Pushdown):
        return node
    if isinstance(node, Operand) and node.kind == "bool" and not (node.objects or node.inside):
        return node.compare("==", True)
    raise NotPushable


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """A column, or a value inside of the dicts of a column."""

    path: tuple[str, ...]
    kind: Kind | None  #: None: that of the value it is compared with
    #: whether missing values match nothing, as in tuples; else they compare as in pandas
    tuples: bool = False
    narrow: type[np.floating] | None = None  #: a float type to which pandas rounds constants
    objects: str | None = None  #: the marker of missing cells, if cells are Python objects
    category: bool = False
    zoned: bool = False
    derived: bool = False  #: whether it is computed from the column

    @property
    def inside(self) -> bool:
        """Whether it is a value inside of dicts."""
        return len(self.path) > 1

    def predicate(
        self, test: Test, value: Any = None, *, missing: bool = False, kind: Kind | None = None
    ) -> Where:
        """Return the condition of one test of this column."""
        return ((Condition(self.path, kind or self.kind or "text", test, value, missing),),)

    def compare(self, operator: str, value: Any) -> Pushdown:
        """Compare the column with a constant or another column. Raises NotPushable."""
        if isinstance(value, Operand):
            return self._beside(value)
        if operator == "!=":
            return ~self.compare("==", value)
        if self.objects == "NA" and not self.tuples:
            raise NotPushable  # pandas raises for NA in an object column
        kind = self.kind or _kind_of(value)
        if operator != "==" and ((self.objects and not self.tuples) or self.category or kind == "bool"):
            raise NotPushable
        compare = {"number": self._number, "text": self._text, "bool": self._bool, "time": self._time}[kind]
        made = compare(operator, value)
        return Pushdown() if self.derived else made

    def _beside(self, other: Operand) -> Pushdown:
        if self.kind is None or self.kind != other.kind or self.tuples:
            raise NotPushable
        if self.objects or other.objects or self.category or other.category or self.zoned != other.zoned:
            raise NotPushable
        return Pushdown()

    def _number(self, operator: str, value: Any) -> Pushdown:
        low, high = self._around(value)
        if operator == "==":
            exactly = self.predicate("in", (low,), kind="number")
            near = both(self.predicate(">=", low, kind="number"), self.predicate("<=", high, kind="number"))
            return Pushdown(exactly if low == high else near)
        return Pushdown(
            self._bound(operator, low, high), self._bound(_OPPOSITE[operator], low, high, missing=True)
        )

    def _bound(self, operator: str, low: float, high: float, *, missing: bool = False) -> Where:
        if low != high:
            operator = operator[0] + "="
        test: Any = operator
        return self.predicate(test, high if operator[0] == "<" else low, missing=missing, kind="number")

    def _around(self, value: Any) -> tuple[float, float]:
        """Return bounds of the numbers that a store may take the constant for."""
        value = value.item() if isinstance(value, np.generic) else value
        if type(value) not in (int, float) or not abs(value) < 2.0**63:
            raise NotPushable
        if self.narrow is None and abs(value) < EXACT:
            return value + 0, value + 0  # -0.0 is 0.0
        kind = self.narrow or np.float64
        with np.errstate(over="ignore"):
            near = kind(value)
            low, high = np.nextafter(near, kind(-np.inf)), np.nextafter(near, kind(np.inf))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise NotPushable
        return min(float(low), value), max(float(high), value)

    def _text(self, operator: str, value: Any) -> Pushdown:
        if not isinstance(value, str) or (operator != "==" and self.inside):
            raise NotPushable
        # A server compares texts by a collation, which may hold different texts equal.
        return Pushdown(self.predicate("in", (str(value),), kind="text")) if operator == "==" else Pushdown()

    def _bool(self, operator: str, value: Any) -> Pushdown:
        if not isinstance(value, (bool, np.bool_)):
            raise NotPushable
        other = ALL if self.inside else self.predicate("in", (not value,), missing=True, kind="bool")
        return Pushdown(self.predicate("in", (bool(value),), kind="bool"), other)

    def _time(self, operator: str, value: Any) -> Pushdown:
        second = self._second(value)
        early, late = self.predicate("<=", second), self.predicate(">=", second)
        if operator == "==":
            return Pushdown(both(late, early))
        opposite = self.predicate(">=" if operator[0] == "<" else "<=", second, missing=True)
        return Pushdown(early if operator[0] == "<" else late, opposite)

    def _second(self, value: Any) -> int:
        if isinstance(value, str) and not self.zoned and _DATE.fullmatch(value):
            pass  # only pandas parses it; the result may depend on the current date
        elif not isinstance(value, (dt.datetime, np.datetime64)):
            raise NotPushable
        try:
            moment: Any = pd.Timestamp(value)
        except (ValueError, OverflowError) as error:
            raise NotPushable from error
        if moment is pd.NaT or (moment.tz is not None) != self.zoned or not 1 <= moment.year <= 9999:
            raise NotPushable
        moment = moment if moment.tz is None else moment.tz_convert("UTC").tz_localize(None)
        return int(moment.replace(microsecond=0, nanosecond=0).as_unit("s").asm8.view("i8"))

    # -- methods of Series

    def isin(self, values: list[Any]) -> Pushdown:
        """Test membership in constants. Raises NotPushable."""
        present = [value for value in values if not is_missing(value)]
        missing = len(present) < len(values)
        if self.objects == "NA" or self.derived or not present or (missing and self.inside):
            raise NotPushable
        kind = self.kind or _kind_of(present[0])
        if kind == "number":
            bounds = [self._around(value) for value in present]
            if self.inside and not all(isinstance(low, int) for low, _ in bounds):
                raise NotPushable  # for tuples, other rows decide whether these can be compared
            if len(present) <= MOST_VALUES and all(low == high for low, high in bounds):
                return Pushdown(
                    self.predicate("in", tuple(low for low, _ in bounds), missing=missing, kind=kind)
                )
            least, most = min(low for low, _ in bounds), max(high for _, high in bounds)
            return Pushdown(
                both(
                    self.predicate(">=", least, missing=missing, kind=kind),
                    self.predicate("<=", most, missing=missing, kind=kind),
                )
            )
        if kind == "time":
            seconds = [self._second(value) for value in present if not isinstance(value, str)]
            if len(seconds) < len(present):
                raise NotPushable
            return Pushdown(
                both(
                    self.predicate(">=", min(seconds), missing=missing),
                    self.predicate("<=", max(seconds), missing=missing),
                )
            )
        types: Any = str if kind == "text" else (bool, np.bool_)
        if not all(isinstance(value, types) for value in present):
            raise NotPushable
        if len(present) > MOST_VALUES:
            return Pushdown()
        plain = tuple(str(value) if kind == "text" else bool(value) for value in present)
        return Pushdown(self.predicate("in", plain, missing=missing, kind=kind))

    def isna(self) -> Pushdown:
        """Test for missing values. Raises NotPushable."""
        if self.derived:
            raise NotPushable
        there = self.predicate("not null")
        return Pushdown(ALL if self.kind is None else self.predicate("null", missing=True), there)

    def between(self, left: Any, right: Any) -> Pushdown:
        """Test for values from one constant to another, both included. Raises NotPushable."""
        return self.compare(">=", left) & self.compare("<=", right)

    def computed(self, other: Any) -> Operand:
        """Return a sum or product with another number. Raises NotPushable."""
        plain = isinstance(other, Operand) and other.kind == "number" and not other.objects
        if self.kind != "number" or self.objects or not (plain or type(other) in (int, float)):
            raise NotPushable
        return replace(self, derived=True)

    def contains(self, pattern: Any, *, regex: bool = True) -> Pushdown:
        """Test for a text in the value. Raises NotPushable."""
        if not isinstance(pattern, str) or not pattern or self.kind not in ("text", None) or self.category:
            raise NotPushable
        plain = not regex or _NO_REGEX.fullmatch(pattern)
        if self.kind is None and not (self.tuples and plain):
            raise NotPushable  # pandas refuses .str where no value is a text
        return Pushdown(self.predicate("contains", str(pattern), kind="text")) if plain else Pushdown()


def _kind_of(value: Any) -> Kind:
    """Return the JSON text of a value inside of dicts that equals a constant."""
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if isinstance(value, str):
        return "text"
    if isinstance(value, (int, float, np.integer, np.floating)):
        return "number"
    raise NotPushable


# -- the visitor


def pushdown(node: Node, schema: pa.Schema) -> Where | None:
    """Return a condition that all rows which pass the filter fulfil; None if there is none."""
    if not is_rowwise(node):
        return None
    try:
        might_match = condition(_PushdownReader(schema).read(node)).might_match
    except Exception:  # noqa: BLE001  # constants may be anything: then nothing is left out
        return None
    return None if () in might_match else might_match


class _PushdownReader:
    """Reads the parts of the tree that test rows one by one."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._labels = [column.label for column in frames.columns(schema)]
        index = schemas.meta_of(schema).get("index") or {"names": []}
        self._alike = [str(label) for label in [*self._labels, *index["names"]]]

    def read(self, node: Node) -> Any:
        """Return an operand, a condition or a constant. Raises NotPushable."""
        match node:
            case ColumnRef(label):
                return self._column(label)
            case Inside(label, keys):
                return self._inside(label, keys)
            case Constant(value):
                return value
            case Term():
                return self._term(node)
            case Compare(left, sign, right):
                return self._compared(self.read(left), sign, self.read(right))
            case Member(of, Constant(values)):
                return self._operand(of).isin(list(values))
            case And(parts):
                return reduce(and_, [condition(self.read(part)) for part in parts])
            case Or(parts):
                return reduce(or_, [condition(self.read(part)) for part in parts])
            case Not(of):
                return ~condition(self.read(of))
            case Arithmetic(left, "+" | "-" | "*", right):
                return self._computed(self.read(left), self.read(right))
            case Method():
                return self._method(node)
        raise NotPushable

    def _operand(self, node: Node) -> Operand:
        operand = self.read(node)
        if isinstance(operand, Operand):
            return operand
        raise NotPushable

    def _column(self, label: Hashable, *, tuples: bool = False) -> Operand:
        field, spec = self._field(label)
        return _operand_of(field, spec, tuples)

    def _inside(self, label: Hashable, keys: tuple[str, ...], *, tuples: bool = False) -> Operand:
        field, spec = self._field(label)
        if spec["codec"] != "json":
            raise NotPushable
        return Operand((field.name, *keys), None, tuples)

    def _field(self, label: Hashable) -> tuple[pa.Field, dict[str, Any]]:
        # A field of the same name may hold another column in rows that were written before this column was added.
        if not isinstance(label, str) or self._alike.count(label) != 1 or label not in self._schema.names:
            raise NotPushable
        field = self._schema.field(label)
        spec = schemas.spec_of(field)
        if "label" in spec or "index" in spec:
            raise NotPushable
        return field, spec

    def _compared(self, left: Any, sign: str, right: Any) -> Pushdown:
        if isinstance(left, Operand):
            return left.compare(sign, right)
        if isinstance(right, Operand):
            return right.compare(_MIRRORED[sign], left)
        raise NotPushable

    def _computed(self, left: Any, right: Any) -> Operand:
        column, other = (left, right) if isinstance(left, Operand) else (right, left)
        if isinstance(column, Operand):
            return column.computed(other)
        raise NotPushable

    def _method(self, node: Method) -> Pushdown:
        arguments = [self.read(argument) for argument in node.arguments]
        options = {key: self.read(value) for key, value in node.options}
        match node:
            case Method(Method(of, "str", called=False), "contains", called=True):
                return self._operand(of).contains(*arguments, **options)
            case Method(of, "isna" | "isnull", called=True):
                return self._operand(of).isna(*arguments, **options)
            case Method(of, "notna" | "notnull", called=True):
                return ~self._operand(of).isna(*arguments, **options)
            case Method(of, "between", called=True):
                return self._operand(of).between(*arguments, **options)
        raise NotPushable

    def _term(self, term: Term) -> Pushdown:
        match term.of:
            case Inside(label, keys):
                operand = self._inside(label, keys, tuples=True)
            case ColumnRef(label):
                operand = self._column(label, tuples=True)
                alone = frames.select(self._schema, [label])
                empty = frames.empty(alone)
                # Raises the errors that do not depend on rows.
                evaluate_term(empty[label], label, term.operator, term.value)
            case _:
                raise NotPushable
        match term.operator:
            case "is null":
                return operand.isna()
            case "is not null":
                return ~operand.isna()
            case "in":
                return operand.isin(term.value)
            case "not in":
                return ~operand.isin(term.value)
            case "between":
                return operand.between(*term.value)
            case "contains":
                return operand.contains(term.value, regex=False)
        return operand.compare("==" if term.operator == "=" else term.operator, term.value)


_NARROW: dict[int, type[np.floating]] = {16: np.float16, 32: np.float32}


def _operand_of(field: pa.Field, spec: dict[str, Any], tuples: bool) -> Operand:
    codec, kind = spec["codec"], field.type
    made = Operand((field.name,), None, tuples)
    if codec == "category":
        words = spec["values"]
        if words["codec"] == "string" or (words["codec"] == "objects" and words["of"] == "str"):
            return replace(made, kind="text", category=True)
    elif codec == "datetime":
        return replace(made, kind="time", zoned="tz" in spec)
    elif codec in ("numpy", "masked", "arrow", "string", "objects"):
        narrow = _NARROW.get(kind.bit_width) if pa.types.is_floating(kind) else None
        made = replace(made, narrow=narrow, objects=spec["missing"] if codec == "objects" else None)
        if pa.types.is_boolean(kind):
            return replace(made, kind="bool")
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return replace(made, kind="number")
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return replace(made, kind="text")
    raise NotPushable
