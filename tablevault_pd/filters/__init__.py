"""Filters: DNF tuples, query strings and ``pd.col`` expressions, parsed to one expression tree and evaluated as pandas does.

DNF tuples follow ``pandas.read_parquet``: a missing value fits no comparison, but is "not in" a list without None. Query
strings and expressions follow pandas itself, where ``!=`` is true of a missing value in a NumPy column. A name such as
``params.lr``, where ``params`` is a column of dicts and no column has the whole name, is the value inside the dicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import InvalidFilter, short_repr
from tablevault_pd.filters.evaluate import as_mask, inside, mask_of
from tablevault_pd.filters.expressions import evaluate_expression, is_expression, trace
from tablevault_pd.filters.names import Names, UnknownColumn
from tablevault_pd.filters.query import parse_query
from tablevault_pd.filters.tree import Inside, Node, is_rowwise, labels, walk
from tablevault_pd.filters.tuples import parse_tuples

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np
    import pandas as pd

__all__ = ["Filter", "Names", "UnknownColumn", "is_no_filter", "parse_filter"]


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on rows."""

    given: Any  #: as the caller wrote it
    tree: Node | None  #: None: an expression that only pandas can evaluate
    expression: Any = None  #: of ``pd.col``: pandas evaluates it, the tree names its columns

    @property
    def columns(self) -> frozenset[Hashable] | None:
        """The columns that it uses; None if they are not known before it is evaluated."""
        return None if self.tree is None else labels(self.tree)

    @property
    def rowwise(self) -> bool:
        """Whether each row can be tested by itself; else all rows are needed at once."""
        return self.tree is not None and is_rowwise(self.tree)

    def mask(self, frame: pd.DataFrame) -> np.ndarray:
        """Return which rows of `frame` pass: bool, shape (rows,). Raises InvalidFilter."""
        try:
            return self._mask(frame)
        except InvalidFilter:
            raise
        except Exception as error:  # pandas raises whatever its operators and the user's own functions raise
            raise InvalidFilter(
                f"The filter {short_repr(self.given)} cannot be evaluated: {type(error).__name__}: {error}"
            ) from error

    def _mask(self, frame: pd.DataFrame) -> np.ndarray:
        if self.expression is None:
            assert self.tree is not None
            return mask_of(self.tree, frame)
        rows = len(frame)
        return as_mask(evaluate_expression(self.expression, _opened(frame, self.tree)), rows)


def _opened(frame: pd.DataFrame, tree: Node | None) -> pd.DataFrame:
    """Return the frame with the values inside of dicts that an expression names as columns."""
    nested = [part for part in walk(tree) if isinstance(part, Inside)] if tree is not None else []
    if not nested:
        return frame
    frame = frame.copy(deep=False)
    for part in nested:
        frame[".".join([str(part.column), *part.keys])] = inside(frame[part.column], part.keys)
    return frame


def is_no_filter(filters: Any) -> bool:
    """Return whether `filters` keeps every row: None, or no tuples, as conditions gathered in a loop may be."""
    return filters is None or (isinstance(filters, (list, tuple)) and not filters)


def parse_filter(filters: Any, names: Names) -> Filter | None:
    """Parse `filters`, of any of the three forms, for a frame or list with these `names`. Raises InvalidFilter and UnknownColumn.

    ``@name`` in a text is a variable of the code that called the library.

    Examples
    --------
    >>> frame = pd.DataFrame({"a": [1, 2, 3]})
    >>> parse_filter("a > 1", Names.of(frame)).mask(frame).tolist()
    [False, True, True]
    """
    if is_no_filter(filters):
        return None
    if isinstance(filters, str):
        return Filter(filters, parse_query(filters, names))
    if is_expression(filters):
        return Filter(filters, trace(filters, names), filters)
    return Filter(filters, parse_tuples(filters, names))
