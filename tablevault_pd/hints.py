"""What a filter tells a store: which rows it surely does not keep, so that they need not travel.

A filter in any of its forms is run on stand-ins for columns, which note what is asked of them. Everything that is not
known to judge each row by itself, and to fail for no row, gives no hint: then leaving out rows could change the verdict on
the others (``x > x.mean()``), or hide an error that pandas would raise.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import filters, frames
from tablevault_pd.errors import InvalidFilter
from tablevault_pd.frames import schemas
from tablevault_pd.standins import Column, Texts, Unclear, Verdict, verdict
from tablevault_pd.store.where import Where

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


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
    words = [
        (tokenize.NAME, _WORDS[word]) if kind == tokenize.OP and word in _WORDS else (kind, word)
        for kind, word, *_ in tokens
    ]
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
                return column.computed(other)
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
