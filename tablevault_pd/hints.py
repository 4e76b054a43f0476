"""What a filter tells a store: which rows it surely does not keep, so that they need not travel.

A filter in any of its forms is run on stand-ins for columns, which note what is asked of them. Everything that is not
known to judge each row by itself, and to fail for no row, gives no hint: then leaving out rows could change the verdict on
the others (``x > x.mean()``), or hide an error that pandas would raise.
"""

from __future__ import annotations

import ast
import datetime as dt
import io
import re
import tokenize
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import filters, frames
from tablevault_pd.errors import InvalidFilter
from tablevault_pd.frames import schemas
from tablevault_pd.store.where import ALL, EXACT, Condition, Kind, Test, Where, both, either

_OPPOSITE: dict[str, str] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
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

    def _is(self, test: Test, value: Any = None, *, missing: bool = False, kind: Kind | None = None) -> Where:
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
            exactly = self._is("in", (low,), kind="number")
            near = both(self._is(">=", low, kind="number"), self._is("<=", high, kind="number"))
            return Verdict(exactly if low == high else near)
        return Verdict(
            self._bound(operator, low, high), self._bound(_OPPOSITE[operator], low, high, missing=True)
        )

    def _bound(self, operator: str, low: float, high: float, *, missing: bool = False) -> Where:
        if low != high:
            operator = operator[0] + "="
        test: Any = operator
        return self._is(test, high if operator[0] == "<" else low, missing=missing, kind="number")

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
        return Verdict(self._is("in", (str(value),), kind="text")) if operator == "==" else Verdict()

    def _bool(self, operator: str, value: Any) -> Verdict:
        if not isinstance(value, (bool, np.bool_)):
            raise Unclear
        other = ALL if self.inside else self._is("in", (not value,), missing=True, kind="bool")
        return Verdict(self._is("in", (bool(value),), kind="bool"), other)

    def _time(self, operator: str, value: Any) -> Verdict:
        second = self._second(value)
        early, late = self._is("<=", second), self._is(">=", second)
        if operator == "==":
            return Verdict(both(late, early))
        opposite = self._is(">=" if operator[0] == "<" else "<=", second, missing=True)
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
            if all(low == high for low, high in bounds):
                return Verdict(self._is("in", tuple(low for low, _ in bounds), missing=missing, kind=kind))
            least, most = min(low for low, _ in bounds), max(high for _, high in bounds)
            return Verdict(
                both(
                    self._is(">=", least, missing=missing, kind=kind),
                    self._is("<=", most, missing=missing, kind=kind),
                )
            )
        if kind == "time":
            seconds = [self._second(each) for each in known if not isinstance(each, str)]
            if len(seconds) < len(known):
                raise Unclear
            return Verdict(
                both(
                    self._is(">=", min(seconds), missing=missing),
                    self._is("<=", max(seconds), missing=missing),
                )
            )
        wanted: Any = str if kind == "text" else (bool, np.bool_)
        if not all(isinstance(each, wanted) for each in known):
            raise Unclear
        plain = tuple(str(each) if kind == "text" else bool(each) for each in known)
        return Verdict(self._is("in", plain, missing=missing, kind=kind))

    def isna(self) -> Verdict:
        """Where values are missing. Raises Unclear."""
        if self.derived:
            raise Unclear
        there = self._is("not null")
        return Verdict(ALL if self.kind is None else self._is("null", missing=True), there)

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

    def _computed(self, other: Any) -> Column:
        plain = isinstance(other, Column) and other.kind == "number" and not other.objects
        if self.kind != "number" or self.objects or not (plain or type(other) in (int, float)):
            raise Unclear
        return replace(self, derived=True)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _computed


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
        return Verdict(self.column._is("contains", str(pattern), kind="text"))

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


# -- columns of a list


def hint(asked: Any, schema: pa.Schema) -> Where | None:
    """What `asked`, a filter that was found to be readable, tells about rows it does not keep; None if nothing."""
    try:
        if isinstance(asked, str):
            found = _of_query(asked, _Columns(schema))
        elif filters.is_expression(asked):
            found = verdict(filters.evaluate(asked, _Columns(schema)))
        else:
            found = _of_tuples(filters.groups_of(asked), _Columns(schema, tuples=True))
    except Exception:  # noqa: BLE001  # a stand-in lacks most of what a column has: then there is no hint, and no harm
        return None
    return None if () in found.yes else found.yes


class _Columns:
    """Stands in for the frame of a list."""

    def __init__(self, schema: pa.Schema, *, tuples: bool = False) -> None:
        self._schema = schema
        self._tuples = tuples
        self.labels = [column.label for column in frames.columns(schema)]
        index = schemas.meta_of(schema).get("index") or {"names": []}
        self._alike = [str(label) for label in [*self.labels, *index["names"]]]
        self.columns = filters.Everything()

    def __getitem__(self, label: Hashable) -> Column:
        keys: list[str] = []
        inside = filters.inside_of(label, self.labels)
        if inside is not None:
            label, keys = inside
        # A field of the same name may hold another column in rows that were written before this one was there.
        if not isinstance(label, str) or self._alike.count(label) != 1 or label not in self._schema.names:
            raise Unclear
        field = self._schema.field(label)
        spec = schemas.spec_of(field)
        if "label" in spec or "index" in spec:
            raise Unclear
        if inside is not None:
            if spec["codec"] != "json":
                raise Unclear
            return Column((field.name, *keys), None, self._tuples)
        return _column(field, spec, self._tuples)

    def empty(self) -> pd.DataFrame:
        """The frame without rows."""
        return frames.decode([self._schema.empty_table()], self._schema, positions=range(0))


_NARROW: dict[int, type[np.floating]] = {16: np.float16, 32: np.float32}


def _column(field: pa.Field, spec: dict[str, Any], tuples: bool) -> Column:
    codec, kind = spec["codec"], field.type
    made = Column((field.name,), None, tuples)
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
    raise Unclear


# -- the forms


def _of_tuples(groups: Sequence[Sequence[filters.Term]], columns: _Columns) -> Verdict:
    empty = columns.empty()
    found: Verdict | None = None
    for group in groups:
        every: Verdict | None = None
        for term in group:
            one = _of_term(term, columns, empty)
            every = one if every is None else every & one
        if every is not None:
            found = every if found is None else found | every
    return Verdict() if found is None else found


def _of_term(term: filters.Term, columns: _Columns, empty: pd.DataFrame) -> Verdict:
    label, operator, value = term
    column = columns[label]
    if not column.inside:
        try:
            filters.judge(empty, term)
        except InvalidFilter as error:  # it fails whatever the rows
            raise Unclear from error
    if operator in ("is null", "is not null"):
        return column.isna() if operator == "is null" else column.notna()
    if operator in ("in", "not in"):
        return column.isin(value) if operator == "in" else ~column.isin(value)
    if operator == "between":
        return column.between(*value)
    if operator == "contains":
        return Texts(column).contains(value, regex=False)
    return column.compare(operator, value)


_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'|`([^`]*)`")


def _of_query(text: str, columns: _Columns) -> Verdict:
    inside: list[str] = []
    text = filters.with_inside(text, columns.labels, inside)
    names: list[str] = []

    def named(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        names.append(found[1])
        return f"_tv_{len(names) - 1}_"

    tokens = tokenize.generate_tokens(io.StringIO(_QUOTED.sub(named, text).strip()).readline)
    # As in pandas, & and | are other names of "and" and "or".
    words = [(kind, _WORDS.get(word, word) if kind == tokenize.OP else word) for kind, word, *_ in tokens]
    tree = ast.parse(tokenize.untokenize(words).strip(), mode="eval")
    return verdict(_Reader(columns, names).visit(tree.body))


_WORDS = {"&": "and", "|": "or"}
_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


class _Reader(ast.NodeVisitor):
    """Reads a query string as far as it is known to judge row by row."""

    def __init__(self, columns: _Columns, names: Sequence[str]) -> None:
        self._columns = columns
        self._names = {f"_tv_{number}_": name for number, name in enumerate(names)}

    def generic_visit(self, node: ast.AST) -> Any:
        """Everything else."""
        raise Unclear

    def visit_Name(self, node: ast.Name) -> Column:  # names are ast's
        """A column."""
        return self._columns[self._names.get(node.id, node.id)]

    def visit_Constant(self, node: ast.Constant) -> Any:
        """A number, text, truth value."""
        return node.value

    def visit_List(self, node: ast.List | ast.Tuple) -> list[Any]:
        """Constants."""
        found = [self.visit(each) for each in node.elts]
        if any(isinstance(each, (Column, Verdict, list)) for each in found):
            raise Unclear
        return found

    visit_Tuple = visit_List

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        """A negative number, or the opposite of a condition."""
        found = self.visit(node.operand)
        if isinstance(node.op, ast.USub) and type(found) in (int, float):
            return -found
        if isinstance(node.op, (ast.Not, ast.Invert)):
            return ~verdict(found)
        raise Unclear

    def visit_BoolOp(self, node: ast.BoolOp) -> Verdict:
        """And, or."""
        found = [verdict(self.visit(each)) for each in node.values]
        joined = found[0]
        for each in found[1:]:
            joined = joined & each if isinstance(node.op, ast.And) else joined | each
        return joined

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        """Sums and products of numbers."""
        left, right = self.visit(node.left), self.visit(node.right)
        if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
            column, other = (left, right) if isinstance(left, Column) else (right, left)
            if isinstance(column, Column):
                return column._computed(other)
        raise Unclear

    def visit_Compare(self, node: ast.Compare) -> Verdict:
        """A comparison, or a chain of them."""
        sides = [self.visit(each) for each in (node.left, *node.comparators)]
        found: Verdict | None = None
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            one = self._compared(left, operator, right)
            found = one if found is None else found & one
        return verdict(found)

    def _compared(self, left: Any, operator: ast.cmpop, right: Any) -> Verdict:
        if isinstance(left, Column) and isinstance(right, list):
            if isinstance(operator, (ast.In, ast.Eq)):
                return left.isin(right)
            if isinstance(operator, (ast.NotIn, ast.NotEq)):
                return ~left.isin(right)
            raise Unclear
        sign = _SIGNS.get(type(operator))
        if sign is None:
            raise Unclear
        if isinstance(left, Column):
            return left.compare(sign, right)
        if isinstance(right, Column):
            return right.compare(_MIRRORED[sign], left)
        raise Unclear

    def visit_Call(self, node: ast.Call) -> Verdict:
        """The few methods that the stand-ins have."""
        method = node.func
        if not isinstance(method, ast.Attribute):
            raise Unclear
        of: Any = method.value
        texts = isinstance(of, ast.Attribute) and of.attr == "str"
        column = self.visit(of.value if texts else of)
        known = ("contains",) if texts else ("isin", "isna", "isnull", "notna", "notnull", "between")
        if not isinstance(column, Column) or method.attr not in known:
            raise Unclear
        ask: Callable[..., Verdict] = getattr(Texts(column) if texts else column, method.attr)
        options = {each.arg: self.visit(each.value) for each in node.keywords if each.arg}
        return ask(*[self.visit(each) for each in node.args], **options)
