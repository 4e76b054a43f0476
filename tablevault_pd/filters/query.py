"""Parse query strings, as for ``DataFrame.query``, to the tree. A text can do nothing but filter.

Python's parser reads it (see :mod:`source`); whatever the tree has no node for is refused by name.
"""

from __future__ import annotations

import ast
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import InvalidFilter, did_you_mean, short_repr
from tablevault_pd.filters.caller import caller_value, is_variable
from tablevault_pd.filters.methods import (
    ACCESSORS,
    ALIASES,
    ATTRIBUTES,
    CONSTANTS,
    DTYPES,
    FUNCTIONS,
    METHODS,
    TIMES,
)
from tablevault_pd.filters.source import FilterText
from tablevault_pd.filters.tree import (
    And,
    Arithmetic,
    Compare,
    Constant,
    Function,
    Inside,
    Member,
    Method,
    Node,
    Not,
    Or,
    Sign,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tablevault_pd.filters.names import Names

DEEPEST = 100  #: Python's stack is some thousand calls deep, and evaluation takes a few for each level
_PLAIN_LISTS = (list, tuple, set, frozenset, range)
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
#: Operators between constants. Powers are not among them: a short text could take hours.
_FOLD: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_REFUSED: dict[type[ast.AST], str] = {
    ast.Lambda: "a lambda",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.NamedExpr: "an assignment (:=)",
    ast.JoinedStr: "an f-string",
    ast.IfExp: "an if-else",
    ast.Dict: "a dict",
    ast.Set: "a set (write a list)",
    ast.Starred: "a starred value",
    ast.Await: "an await",
    ast.Yield: "a yield",
    ast.YieldFrom: "a yield",
    ast.Slice: "a slice",
    ast.Subscript: "an index in brackets (but for .str[0] and .str[1:3])",
    ast.Is: "'is' (write == or .isna())",
    ast.IsNot: "'is not' (write != or .notna())",
    ast.Constant: "an ellipsis",
    ast.BitXor: "the operator ^",
    ast.LShift: "the operator <<",
    ast.RShift: "the operator >>",
    ast.MatMult: "the operator @",
}


def parse_query(text: str, names: Names) -> Node:
    """Return the tree of a query string. Raises InvalidFilter and UnknownColumn.

    Examples
    --------
    >>> from tablevault_pd.filters.names import Names
    >>> parse_query("n > 2", Names(["n"]))
    Compare(left=ColumnRef(label='n'), operator='>', right=Constant(value=2))
    """
    if not text.strip():
        raise InvalidFilter("The filter is an empty string. Leave it out to keep every row.")
    source = FilterText(text)
    return _QueryReader(source, names).read(source.parse())


@dataclass
class _QueryReader:
    """Converts Python's syntax tree to that of a filter."""

    source: FilterText
    names: Names
    depth: int = 0

    def error(self, why: str, node: ast.AST, hint: str = "") -> InvalidFilter:
        """Return an error with the position in the text."""
        return self.source.error(why, self.source.origin_of(node), hint)

    def read(self, node: ast.expr) -> Node:
        """Convert any expression. Raises InvalidFilter."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.error(f"is nested more than {DEEPEST} levels deep", node)
        tree = self._read(node)
        self.depth -= 1
        return tree

    def _read(self, node: ast.expr) -> Node:
        match node:
            case ast.Name() | ast.Attribute():
                return self._path(node)
            case ast.Constant(value=value) if value is None or isinstance(
                value, (bool, int, float, complex, str, bytes)
            ):
                return Constant(value)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return Constant([self._constant(item) for item in items])
            case ast.BoolOp(op=op, values=values):
                parts = tuple(self.read(item) for item in values)
                return And(parts) if isinstance(op, ast.And) else Or(parts)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare():
                return self._comparisons(node)
            case ast.Call():
                return self._call(node)
            case ast.Subscript():
                return self._subscript(node)
        raise self._node_error(node)

    def _node_error(self, node: ast.AST, blamed: ast.AST | None = None) -> InvalidFilter:
        what = _REFUSED.get(type(node), f"a {type(node).__name__}")
        return self.error(f"holds {what}, which no filter may", blamed or node)

    def _constant(self, node: ast.expr) -> Any:
        constant = self.read(node)
        if not isinstance(constant, Constant):
            raise self.error("has a list with something else than constants", node)
        return constant.value

    # -- operators

    def _unary(self, node: ast.UnaryOp) -> Node:
        of = self.read(node.operand)
        if isinstance(node.op, (ast.Not, ast.Invert)):
            return Not(of)
        sign = "-" if isinstance(node.op, ast.USub) else "+"
        if not isinstance(of, Constant):
            return Sign(sign, of)
        try:
            return Constant(-of.value if sign == "-" else +of.value)
        except TypeError as error:
            raise self.error(f"has a {sign} in front of something else than a number", node) from error

    def _binary(self, node: ast.BinOp) -> Node:
        sign = _ARITHMETIC.get(type(node.op))
        if sign is None:
            raise self._node_error(node.op, node)
        left, right = self.read(node.left), self.read(node.right)
        if not (isinstance(left, Constant) and isinstance(right, Constant)):
            if any(
                isinstance(side, Constant) and isinstance(side.value, _PLAIN_LISTS) for side in (left, right)
            ):
                raise self.error(f"joins a column by {sign} with a list", node)
            return Arithmetic(left, sign, right)
        if sign == "**":
            raise self.error("holds a power of constants. Write the number", node)
        return self._folded(left.value, sign, right.value, node)

    def _folded(self, left: Any, sign: str, right: Any, node: ast.AST) -> Constant:
        if any(isinstance(side, (str, bytes)) or not pd.api.types.is_scalar(side) for side in (left, right)):
            raise self.error(f"joins constants by {sign} that are no numbers", node)
        try:
            return Constant(_FOLD[sign](left, right))
        except Exception as error:  # raised by an operator of the values
            raise self.error(f"cannot be worked out ({type(error).__name__}: {error})", node) from error

    def _comparisons(self, node: ast.Compare) -> Node:
        sides = [self._side(side) for side in (node.left, *node.comparators)]
        pairs = zip(sides, node.ops, sides[1:], strict=False)
        parts = tuple(self._comparison(left, op, right, node) for left, op, right in pairs)
        return parts[0] if len(parts) == 1 else And(parts)

    def _side(self, node: ast.expr) -> Node | list[Node]:
        """Convert one side of a comparison; a list with columns or variables to a list of nodes."""
        if isinstance(node, (ast.List, ast.Tuple)) and any(
            isinstance(element, ast.Name) for element in node.elts
        ):
            return [self.read(element) for element in node.elts]
        return self.read(node)

    def _comparison(
        self, left: Node | list[Node], op: ast.cmpop, right: Node | list[Node], node: ast.AST
    ) -> Node:
        sign = _COMPARE.get(type(op))
        if sign is None and not isinstance(op, (ast.In, ast.NotIn)):
            raise self._node_error(op, node)
        if isinstance(left, list):
            raise self.error("has a list with columns or variables on the left", node)
        # A variable may be True or False, which stand for all rows.
        variable = any(isinstance(part, ast.Name) for part in ast.walk(node))
        constants = isinstance(left, Constant) and isinstance(right, Constant) and not variable
        if constants and isinstance(left, Constant) and isinstance(left.value, str):
            raise self._constant_error(left.value, node)
        if isinstance(right, list):  # as in pandas: compared with each item
            if sign not in (None, "==", "!="):
                raise self.error(f"compares by {sign} with a list", node)
            negated = isinstance(op, (ast.NotIn, ast.NotEq))
            parts = tuple(self._compared(left, "!=" if negated else "==", item, node) for item in right)
            return And(parts) if negated else Or(parts)
        if sign is not None:
            return self._compared(left, sign, right, node)
        return self._member(left, right, node, negated=isinstance(op, ast.NotIn))

    def _compared(self, left: Node, sign: str, right: Node, node: ast.AST) -> Node:
        for side in (left, right):
            if isinstance(side, Constant) and isinstance(side.value, _PLAIN_LISTS[1:]):
                raise self.error(f"compares by {sign} with a {type(side.value).__name__}: write in", node)
        if not any(isinstance(side, Constant) and isinstance(side.value, list) for side in (left, right)):
            return Compare(left, sign, right)
        if sign not in ("==", "!="):
            raise self.error(f"compares by {sign} with a list", node)
        return self._member(left, right, node, negated=sign == "!=")

    def _member(self, left: Node, right: Node, node: ast.AST, *, negated: bool) -> Node:
        if isinstance(right, Constant) and isinstance(right.value, (bool, int, float, complex, np.number)):
            raise self.error("looks for values in a number: write == or a list, [1, 2]", node)
        if isinstance(left, Constant) and not isinstance(right, Constant):
            left, right = right, left  # 'x' in column, as in pandas: which rows hold it
        member = Member(left, _values(right))
        return Not(member) if negated else member

    def _constant_error(self, left: str, node: ast.AST) -> InvalidFilter:
        """Return the error for a comparison without a column: backticks name one, not double quotes as in SQL."""
        is_column = self.names.find(left) is not None
        name = left if left.isidentifier() else f"`{left}`"
        hint = (
            f"For the column write {name}, without quotes."
            if is_column
            else "Columns are written without quotes."
        )
        return self.error("compares constants, which fit every row or none", node, hint)

    # -- names

    def _path(self, node: ast.expr) -> Node:
        """Convert a name, with or without attributes."""
        parts: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
            if len(parts) > DEEPEST:
                raise self.error(f"is nested more than {DEEPEST} levels deep", node)
        parts.reverse()
        private = next((part for part in parts if part.startswith("__")), None)
        if private is not None:
            raise self.error(f"holds the attribute {short_repr(private)}, which no filter may", node)
        if not isinstance(inner, ast.Name):
            return self._attributes(self.read(inner), parts, node)
        return self._named(inner, parts, node)

    def _named(self, name: ast.Name, parts: list[str], node: ast.expr) -> Node:
        if name.id in self.source.variables:
            variable = self.source.variables[name.id]
            if parts:
                raise self.error(
                    f"asks for @{variable[:80]}.{parts[0][:80]}: give that value a name of its own", node
                )
            return Constant(caller_value(variable))
        first = self.source.quoted.get(name.id, name.id)
        whole = ".".join([first, *parts])
        column = self.names.find(first)
        if parts and column is not None and _is_attribute(parts):
            return self._attributes(column, parts, node)
        if parts and (inside := self.names.find(whole)) is not None:
            return inside
        if column is None and not parts and first in CONSTANTS:
            return Constant(CONSTANTS[first])
        if column is not None and (not parts or parts[0] in ACCESSORS or parts[-1] in METHODS[""]):
            return self._attributes(column, parts, node)
        for count in range(len(parts) - 1, 0, -1):  # a column with dots in its name, then attributes
            dotted = self.names.find(".".join([first, *parts[:count]]))
            if dotted is not None and not isinstance(dotted, Inside):
                return self._attributes(dotted, parts[count:], node)
            if dotted is not None and _is_attribute(parts[count:]):
                return self._attributes(dotted, parts[count:], node)
        hint = ""
        if column is not None:
            hint = did_you_mean(parts[0], [*METHODS[""], *ACCESSORS])
        elif len(first) < 80 and not parts and is_variable(first):
            hint = f"For the variable write @{first}."
        raise self.names.unknown(whole, hint)

    def _attributes(self, of: Node, parts: Sequence[str], node: ast.AST) -> Node:
        """Convert attributes that are not called: accessors, the parts of times."""
        if not parts:
            return of
        if parts[0] in ACCESSORS and len(parts) == 1:
            raise self.error(f"has .{parts[0]} without a method", node)
        if not _is_attribute(parts):
            raise self._attribute_error(parts, node)
        for part in parts:
            of = Method(of, ALIASES.get(part, part), called=False)
        return of

    def _attribute_error(self, parts: Sequence[str], node: ast.AST) -> InvalidFilter:
        accessor = parts[0] if parts[0] in ACCESSORS else ""
        name = parts[-1]
        if name in METHODS[accessor] and len(parts) == (2 if accessor else 1):
            return self.error(f"has .{name} without a call: write .{name}()", node)
        names = {*METHODS[accessor], *ATTRIBUTES[accessor], *(() if accessor else ACCESSORS)}
        of = f"a column's .{accessor}" if accessor else "a column"
        return self.error(
            f"asks {of} for {short_repr(name)}, which filters do not know", node, did_you_mean(name, names)
        )

    # -- calls

    def _call(self, node: ast.Call) -> Node:
        if isinstance(node.func, ast.Name):
            return self._function(node, node.func.id)
        if not isinstance(node.func, ast.Attribute):
            raise self.error("calls something else than a method of a column", node)
        name, of = node.func.attr, node.func.value
        if name.startswith("__"):
            raise self.error(f"holds the attribute {short_repr(name)}, which no filter may", node)
        accessor = ""
        if isinstance(of, ast.Attribute) and of.attr in ACCESSORS:
            accessor, of = of.attr, of.value
        value = self.read(of)
        if name not in METHODS[accessor]:
            raise self._attribute_error([accessor, name] if accessor else [name], node)
        if isinstance(value, Constant):
            raise self.error(f"calls .{name}() of a constant", node)
        if accessor:
            value = Method(value, accessor, called=False)
        return self._method(value, name, METHODS[accessor][name], node)

    def _method(self, of: Node, name: str, allowed: Sequence[str], node: ast.Call) -> Node:
        arguments, options = self._arguments(node)
        wrong = next((key for key, _ in options if key not in allowed), None)
        if wrong is not None or len(arguments) > len(allowed):
            what = f"the option {short_repr(wrong)}" if wrong is not None else "so many arguments"
            raise self.error(f"gives .{name}() {what}; it takes {', '.join(allowed) or 'none'}", node)
        values = [*arguments, *(value for _, value in options)]
        if name == "isin" and len(values) == 1:
            return Member(of, _values(values[0]))
        if name == "astype" and not all(
            isinstance(argument, Constant) and argument.value in DTYPES for argument in values
        ):
            raise self.error(f"has .astype() of something else than {', '.join(DTYPES)}", node)
        return Method(of, name, tuple(arguments), tuple(options))

    def _function(self, node: ast.Call, name: str) -> Node:
        arguments, options = self._arguments(node)
        constant = all(
            isinstance(argument, Constant) for argument in [*arguments, *(value for _, value in options)]
        )
        if name in TIMES and constant:
            allowed = TIMES[name][1]
            wrong = next((key for key, _ in options if key not in allowed), None)
            if wrong is not None:
                raise self.error(
                    f"gives {name}() the option {short_repr(wrong)}; it takes {', '.join(allowed)} by name",
                    node,
                )
            try:
                values = [argument.value for argument in arguments if isinstance(argument, Constant)]
                named = {key: argument.value for key, argument in options if isinstance(argument, Constant)}
                return Constant(TIMES[name][0](*values, **named))
            except (TypeError, ValueError, OverflowError, LookupError) as error:
                raise self.error(f"has no time in {name}() ({error})", node) from error
        if (
            name in FUNCTIONS
            and not options
            and len(arguments) == (2 if name == "arctan2" else 1)
            and not constant
        ):
            return Function(name, tuple(arguments))
        names = [*FUNCTIONS, *TIMES]
        if name in names:
            takes = "literals" if name in TIMES else "two columns" if name == "arctan2" else "one column"
            raise self.error(f"calls {name}() otherwise than with {takes}", node)
        hint = did_you_mean(name, names)
        raise self.error(
            f"calls {short_repr(self.source.written(name))}, which filters do not know", node, hint
        )

    def _arguments(self, node: ast.Call) -> tuple[list[Node], list[tuple[str, Node]]]:
        options = [
            (keyword.arg, self.read(keyword.value)) for keyword in node.keywords if keyword.arg is not None
        ]
        if len(options) < len(node.keywords):
            raise self.error("holds a starred value, which no filter may", node)
        return [self.read(keyword) for keyword in node.args], options

    def _subscript(self, node: ast.Subscript) -> Node:
        """Convert ``column.str[0]`` and ``column.str[1:3]``."""
        of, part = node.value, node.slice
        if not (isinstance(of, ast.Attribute) and of.attr == "str"):
            raise self._node_error(node)
        value = Method(self.read(of.value), "str", called=False)
        if isinstance(part, ast.Slice):
            bounds = [
                Constant(None) if bound is None else self.read(bound)
                for bound in (part.lower, part.upper, part.step)
            ]
            if all(
                isinstance(bound, Constant) and isinstance(bound.value, (int, type(None))) for bound in bounds
            ):
                return Method(value, "slice", tuple(bounds))
        elif isinstance(index := self.read(part), Constant) and type(index.value) is int:
            return Method(value, "get", (index,))
        raise self.error("has .str[…] with something else than whole numbers", node)


def _values(node: Node) -> Node:
    """Return the values of a membership test. A text is one value, as in pandas; a Series stands for its values."""
    if not isinstance(node, Constant):
        return node
    value = node.value
    if isinstance(value, (pd.Series, pd.Index)):
        return Constant(value.array)
    return Constant([value]) if pd.api.types.is_scalar(value) else node


def _is_attribute(parts: Sequence[str]) -> bool:
    """Return whether these are attributes that columns have, and not keys of a dict."""
    accessor = parts[0] if len(parts) == 2 and parts[0] in ACCESSORS else ""
    return parts[-1] in ATTRIBUTES[accessor] and len(parts) == (2 if accessor else 1)
