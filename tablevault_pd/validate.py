"""Check the arguments of public calls, one function for each kind of argument.

Each function returns its argument in the form that the library works with, or raises InvalidInput, which names the
argument, shows what was given and says what is taken instead. `what` is the argument's name as the caller knows it.
"""

from __future__ import annotations

import math
import operator
import os
import threading
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import InvalidInput, InvalidType, shown


def flag(value: Any, what: str) -> bool:
    """Return a truth value. A text such as "no" is refused: it would count as true."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise InvalidType(f"{what}= is True or False, not {shown(value)}.")


def choice(value: Any, what: str, allowed: Sequence[str]) -> str:
    """Return one of the texts `allowed`."""
    if isinstance(value, str) and value in allowed:
        return value
    raise InvalidInput(f"{what}= is {_either(allowed)}, not {shown(value)}.")


def choices(value: Any, what: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Return several of the texts `allowed`, given as one text or as a collection."""
    found = items(value)
    if found and all(isinstance(each, str) and each in allowed for each in found):
        return found
    raise InvalidInput(f"{what}= is {_either(allowed)}, or a list of these, not {shown(value)}.")


def whole(value: Any, what: str, *, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number between `least` and `most`. Booleans, floats and texts are refused."""
    bounds = _bounds(least, most)
    if isinstance(value, (bool, np.bool_)):
        raise InvalidType(f"{what}= is a whole number{bounds}, not {shown(value)}.")
    try:
        found = operator.index(value)
    except TypeError:
        raise InvalidType(f"{what}= is a whole number{bounds}, not {shown(value)}.") from None
    if (least is not None and found < least) or (most is not None and found > most):
        raise InvalidInput(f"{what}= is a whole number{bounds}, not {found}.")
    return found


def seconds(value: Any, what: str) -> float:
    """Return a finite number of seconds, 0 or more."""
    found = number(value, what)
    if found < 0:
        raise InvalidInput(f"{what}= is a number of seconds, 0 or more, not {shown(value)}.")
    return min(found, threading.TIMEOUT_MAX)  # some 292 years: no lock of the system can wait longer


def number(value: Any, what: str) -> float:
    """Return a finite float. Booleans and texts are refused."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if math.isfinite(found):
            return found
        raise InvalidInput(f"{what}= is a finite number, not {shown(value)}.")
    raise InvalidType(f"{what}= is a number, not {shown(value)}.")


def expected(value: Any) -> int | None:
    """Return the version that the list must be at, given as ``expect=``: 0 or more; None where none was given."""
    return None if value is None else whole(value, "expect", least=0)


def text(value: Any, what: str) -> str:
    """Return a text that is not blank and that UTF-8 can hold."""
    if not isinstance(value, str):
        raise InvalidType(f"{what} is a text, not {shown(value)}.")
    if not value.strip():
        raise InvalidInput(f"{what} is a text, and this one is blank: {shown(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{what} has half of a surrogate pair at character {error.start}, which no UTF-8 text can hold; "
            "decode it with errors='replace'."
        ) from None
    return value


def optional_text(value: Any, what: str) -> str | None:
    """Return a text as :func:`text` does, or None where none was given."""
    return None if value is None else text(value, what)


def tags(value: Any) -> tuple[str, ...] | None:
    """Return tags as a tuple of texts; None where none were given."""
    if value is None:
        return None
    found = items(value)
    if not all(isinstance(tag, str) for tag in found):
        raise InvalidType(f"tags= is a text or a list of texts, not {shown(value)}.")
    return tuple(text(tag, "A tag") for tag in found)


def labels(value: Any, what: str = "columns") -> list[Hashable] | None:
    """Return a list of column names; None where none was given."""
    if value is None:
        return None
    if isinstance(value, (str, bytes, Mapping, pd.DataFrame)) or not isinstance(value, Iterable):
        raise InvalidType(f"{what}= is a list of column names, not {shown(value)}: [{shown(value)}] for one.")
    if isinstance(value, np.ndarray) and value.ndim != 1:
        raise InvalidType(f"{what}= is a list of column names, not an array of {value.ndim} dimensions.")
    return [label(each, what) for each in value]


def label(value: Any, what: str = "columns") -> Hashable:
    """Return one column name: anything hashable but pandas.NA, which equals nothing."""
    if value is not pd.NA and is_hashable(value):
        found: Hashable = value
        return found
    raise InvalidType(f"{what}= names a column, and {shown(value)} cannot be the name of one.")


def time(value: Any, what: str) -> datetime:
    """Return a moment in UTC. A time without a zone counts as UTC; numbers are refused, since their unit is unknown."""
    if isinstance(value, (str, date, np.datetime64)):  # datetime and Timestamp are dates
        try:
            found: Any = pd.Timestamp(value)
            if not pd.isna(found):
                utc = found.tz_localize("UTC") if found.tz is None else found.tz_convert("UTC")
                moment: datetime = utc.to_pydatetime(warn=False)
                return moment
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidInput(
                f"{what}={shown(value)} is not a time that pandas.Timestamp understands, such as '2026-05-31 14:00'."
            ) from error
    if is_missing(value):
        raise InvalidInput(f"{what}= is missing ({value!r}). Leave it out, or give a time.")
    raise InvalidType(
        f"{what}={shown(value)} is not a time. Give a text such as '2026-05-31 14:00', a datetime or a pandas.Timestamp."
    )


def optional_time(value: Any, what: str) -> datetime | None:
    """Return a moment in UTC, or None where none was given."""
    return None if value is None else time(value, what)


def path(value: Any, what: str) -> str:
    """Return the path of a file or folder as text."""
    try:
        found: str | bytes = os.fspath(value)
    except TypeError:
        raise InvalidType(f"{what} is a path, not {shown(value)}.") from None
    if isinstance(found, bytes):
        found = os.fsdecode(found)
    if not found or "\0" in found:
        raise InvalidInput(f"{what} is a path, not {shown(value)}.")
    return found


def vector(value: Any, what: str) -> tuple[float, ...]:
    """Return one vector of finite numbers as a tuple."""
    try:
        found = np.asarray(value, dtype=np.float64) if not isinstance(value, (str, bytes)) else None
    except (TypeError, ValueError):
        found = None
    if found is None or found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise InvalidInput(
            f"{what}= is one vector of finite numbers, such as [0.1, 0.9], not {shown(value)}."
        )
    return tuple(found.tolist())


def is_hashable(value: Any) -> bool:
    """Tell whether `value`, with all that it contains, can name a column."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def is_missing(value: Any) -> bool:
    """Tell whether a cell holds nothing: None, pandas.NA, NaT or NaN. Never raises, whatever it holds."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def items(value: Any) -> tuple[Any, ...]:
    """Return the members of a collection; any other object, a text included, is the one member."""
    if isinstance(value, (str, bytes, Mapping, pd.DataFrame)) or not isinstance(value, Collection):
        return (value,)
    return (value,) if isinstance(value, np.ndarray) and value.ndim != 1 else tuple(value)


def _either(allowed: Sequence[str]) -> str:
    *most, last = map(repr, allowed)
    return f"{', '.join(most)} or {last}" if most else last


def _bounds(least: int | None, most: int | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    return f", at least {least}" if least is not None else f", at most {most}" if most is not None else ""
