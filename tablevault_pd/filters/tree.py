"""The expression tree of a filter, whatever its form.

Two visitors walk it: :mod:`evaluate` says which rows a filter keeps, :mod:`pushdown` which rows it surely does not keep.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from pandas.api.types import is_list_like

from tablevault_pd.filters.methods import ROWWISE

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator


class Node:
    """A part of a filter."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ColumnRef(Node):
    """A column of the list."""

    label: Hashable


@dataclass(frozen=True, slots=True)
class Level(Node):
    """A level of the index, counted from 0."""

    number: int


@dataclass(frozen=True, slots=True)
class Inside(Node):
    """A value inside of the dicts of a column, as ``params.lr``."""

    column: Hashable
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Constant(Node):
    """A literal, or the value of a variable."""

    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class Term(Node):
    """A DNF tuple: missing values fit no comparison, as in ``pandas.read_parquet``."""

    of: Node
    operator: str
    value: Any
    label: Hashable  #: as the tuple names it


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """A comparison by one of ``== != < <= > >=``."""

    left: Node
    operator: str
    right: Node


@dataclass(frozen=True, slots=True)
class Member(Node):
    """A test whether values are among others."""

    of: Node
    values: Node


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """A sum, product and so on by one of ``+ - * / // % **``."""

    left: Node
    operator: str
    right: Node


@dataclass(frozen=True, slots=True)
class Sign(Node):
    """``-`` or ``+`` in front of a value."""

    operator: str
    of: Node


@dataclass(frozen=True, slots=True)
class Method(Node):
    """An attribute, accessor (``str``, ``dt``) or method call of a value."""

    of: Node
    name: str
    arguments: tuple[Node, ...] = ()
    options: tuple[tuple[str, Node], ...] = ()
    called: bool = True


@dataclass(frozen=True, slots=True)
class Function(Node):
    """A NumPy function of values, such as ``sqrt(x)``."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class And(Node):
    """All of several conditions."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    """Any of several conditions."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """The negation of a condition."""

    of: Node


def walk(node: Node) -> Iterator[Node]:
    """Yield every node of a filter."""
    rest = [node]
    while rest:
        one = rest.pop()
        yield one
        rest += children(one)


def children(node: Node) -> list[Node]:
    """Return the nodes inside of a node. The constants of :class:`Member` are none."""
    if isinstance(node, Constant):
        return []
    if isinstance(node, Member) and isinstance(node.values, Constant):
        return [node.of]
    nodes: list[Node] = []
    for field in fields(node):  # type: ignore[arg-type]  # every node is a dataclass
        value = getattr(node, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            part = part[1] if isinstance(part, tuple) and len(part) == 2 else part
            if isinstance(part, Node):
                nodes.append(part)
    return nodes


def labels(node: Node) -> frozenset[Hashable]:
    """Return the columns that a filter uses."""
    columns = [part.label for part in walk(node) if isinstance(part, ColumnRef)]
    return frozenset([*columns, *(part.column for part in walk(node) if isinstance(part, Inside))])


def is_rowwise(node: Node) -> bool:
    """Return whether each row is tested by itself; ``x > x.mean()`` needs all rows at once."""
    return all(map(_is_rowwise, walk(node)))


def _is_rowwise(part: Node) -> bool:
    if isinstance(part, Constant):
        return not is_list_like(part.value)
    if isinstance(part, Member):
        return isinstance(part.values, Constant)
    return not isinstance(part, Method) or part.name in ROWWISE
