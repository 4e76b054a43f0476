"""A condition for a scan, by which a store leaves rows out; it uses only what zone maps tell.

It is a hint, in disjunctive normal form. A store reads no range of rows for all of which it is surely false; the caller
applies the exact filter to what comes. So a condition is only ever *surely false*, or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["number", "text", "bool", "time"]
Test = Literal["in", "<", "<=", ">", ">=", "contains", "null", "not null"]

#: Beyond it, stores and pandas may read a float differently.
EXACT = 2**53
MOST_GROUPS = 16


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of one value of a row.

    It is surely false if the value

    - is missing (null, or the column or a key is not there), unless `missing`,
    - is of the plain type `kind`, no number beyond ±2**53, and fails the test. A time counts in whole seconds, rounded down,
    - is NaN, which no comparison matches, unless `missing`, or the test is "null" or "not null".

    A value of any other type passes, and so do all values of columns that a store cannot test.
    """

    path: tuple[str, ...]  #: the Arrow field; then keys of the object whose JSON text the cell is
    kind: Kind
    test: Test
    value: Any = None  #: number or text; "in": a tuple of them; a time is seconds since 1970 in UTC
    missing: bool = False  #: whether a missing value passes


#: Groups of conditions. A row may be left out if every group has a condition that is false for it.
Where = tuple[tuple[Condition, ...], ...]

ALL: Where = ((),)  #: leaves nothing out


def both(one: Where, other: Where) -> Where:
    """Return a condition for rows that pass both, or a weaker one where that would take too many groups."""
    if len(one) * len(other) > MOST_GROUPS:
        return one if len(one) <= len(other) else other
    return tuple(dict.fromkeys(tuple(dict.fromkeys((*a, *b))) for a in one for b in other))


def either(one: Where, other: Where) -> Where:
    """Return a condition for rows that pass one of them."""
    joined = tuple(dict.fromkeys((*one, *other)))
    return ALL if () in joined or len(joined) > MOST_GROUPS else joined
