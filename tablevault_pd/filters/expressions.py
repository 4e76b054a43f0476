"""Convert expressions of ``pd.col`` to the tree, by evaluating them on columns that record each operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.filters.tree import (
    And,
    Arithmetic,
    Compare,
    Constant,
    Function,
    Member,
    Method,
    Node,
    Not,
    Or,
    Sign,
)

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np

    from tablevault_pd.filters.names import Names


class Untraceable(Exception):
    """The tree has no node for an operation of the expression."""


def is_expression(filters: Any) -> bool:
    """Return whether it is an expression of ``pd.col``."""
    expression = getattr(getattr(pd.api, "typing", None), "Expression", None)
    return expression is not None and isinstance(filters, expression)


def evaluate_expression(expression: Any, frame: Any) -> Any:
    """Return the expression's value on a frame or a :class:`_Frame`."""
    return expression._eval_expression(frame)  # assign() and loc[] call this, too; a test checks that


def trace(expression: Any, names: Names) -> Node | None:
    """Return the tree of an expression; None if it has none. Raises UnknownColumn for a column that is not there."""
    frame = _Frame(names)
    try:
        tree = _node(evaluate_expression(expression, frame))
    except Exception:  # noqa: BLE001  # a recorded column lacks what the expression needs
        tree = None
    if frame.unknown is not None:
        raise frame.unknown
    return tree


class _Frame:
    """A frame whose columns are :class:`Traced`."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.columns = _Everything()
        self.unknown: Exception | None = None

    def __getitem__(self, label: Hashable) -> Traced:
        name = self._names.find(label, index=False)
        if name is None:
            self.unknown = self._names.unknown(label)
            raise self.unknown
        return Traced(name)


class _Everything:
    """Contains every name: `_Frame.__getitem__` reports unknown columns."""

    def __contains__(self, name: object) -> bool:
        return True


def _node(value: Any) -> Node:
    return value._node if isinstance(value, Traced) else Constant(value)


def _binary(kind: Any, sign: str, *, mirrored: bool = False) -> Any:
    def method(self: Traced, other: Any) -> Traced:
        left, right = (_node(other), self._node) if mirrored else (self._node, _node(other))
        return Traced(kind(left, sign, right))

    return method


class Traced:
    """A column, or a value made of columns, that records the operations on it as a node."""

    __slots__ = ("_node",)
    __hash__ = None  # type: ignore[assignment]  # as Series

    def __init__(self, node: Node) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Traced:
        if name.startswith("__"):
            raise Untraceable(name)
        return Traced(Method(self._node, name, called=False))

    def __call__(self, *args: Any, **options: Any) -> Traced:  # noqa: D102
        node = self._node
        if not isinstance(node, Method) or node.called:
            raise Untraceable
        if node.name == "isin" and len(args) + len(options) == 1:
            return Traced(Member(node.of, _node([*args, *options.values()][0])))
        named = tuple((key, _node(value)) for key, value in options.items())
        return Traced(Method(node.of, node.name, tuple(map(_node, args)), named))

    def __array_ufunc__(self, function: np.ufunc, method: str, *inputs: Any, **options: Any) -> Traced:
        if method != "__call__" or options:
            raise Untraceable
        return Traced(Function(function.__name__, tuple(map(_node, inputs))))

    def __bool__(self) -> bool:
        raise Untraceable

    def __iter__(self) -> Any:
        raise Untraceable

    def __len__(self) -> int:
        raise Untraceable

    def __abs__(self) -> Traced:
        return Traced(Method(self._node, "abs"))

    def __invert__(self) -> Traced:
        return Traced(Not(self._node))

    def __neg__(self) -> Traced:
        return Traced(Sign("-", self._node))

    def __pos__(self) -> Traced:
        return Traced(Sign("+", self._node))

    def __and__(self, other: Any) -> Traced:
        return Traced(And((self._node, _node(other))))

    def __or__(self, other: Any) -> Traced:
        return Traced(Or((self._node, _node(other))))

    __rand__, __ror__ = __and__, __or__
    __eq__ = _binary(Compare, "==")
    __ne__ = _binary(Compare, "!=")
    __lt__ = _binary(Compare, "<")
    __le__ = _binary(Compare, "<=")
    __gt__ = _binary(Compare, ">")
    __ge__ = _binary(Compare, ">=")
    __add__, __radd__ = _binary(Arithmetic, "+"), _binary(Arithmetic, "+", mirrored=True)
    __sub__, __rsub__ = _binary(Arithmetic, "-"), _binary(Arithmetic, "-", mirrored=True)
    __mul__, __rmul__ = _binary(Arithmetic, "*"), _binary(Arithmetic, "*", mirrored=True)
    __truediv__, __rtruediv__ = _binary(Arithmetic, "/"), _binary(Arithmetic, "/", mirrored=True)
    __floordiv__, __rfloordiv__ = _binary(Arithmetic, "//"), _binary(Arithmetic, "//", mirrored=True)
    __mod__, __rmod__ = _binary(Arithmetic, "%"), _binary(Arithmetic, "%", mirrored=True)
    __pow__, __rpow__ = _binary(Arithmetic, "**"), _binary(Arithmetic, "**", mirrored=True)
