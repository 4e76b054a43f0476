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

from tablevault_pd.errors import InvalidInput, InvalidType, short_repr


def flag(value: Any, what: str) -> bool:
    """Return a truth value. A text such as "no" is refused: it would count as true."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise InvalidType(f"{what}= is True or False, not {short_repr(value)}.")


def choice(value: Any, what: str, allowed: Sequence[str]) -> str:
    """Return one of the texts `allowed`."""
    if isinstance(value, str) and value in allowed:
        return value
    raise InvalidInput(f"{what}= is {_either(allowed)}, not {short_repr(value)}.")


def choices(value: Any, what: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Return several of the texts `allowed`, given as one text or as a collection."""
    chosen = items(value)
    if chosen and all(isinstance(choice, str) and choice in allowed for choice in chosen):
        return chosen
    raise InvalidInput(f"{what}= is {_either(allowed)}, or a list of these, not {short_repr(value)}.")


def whole(value: Any, what: str, *, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number between `least` and `most`. Booleans, floats and texts are refused."""
    bounds = _bounds(least, most)
    if isinstance(value, (bool, np.bool_)):
        raise InvalidType(f"{what}= is a whole number{bounds}, not {short_repr(value)}.")
    try:
        result = operator.index(value)
    except TypeError:
        raise InvalidType(f"{what}= is a whole number{bounds}, not {short_repr(value)}.") from None
    if (least is not None and result < least) or (most is not None and result > most):
        raise InvalidInput(f"{what}= is a whole number{bounds}, not {result}.")
    return result


def seconds(value: Any, what: str) -> float:
    """Return a finite number of seconds, 0 or more."""
    result = number(value, what)
    if result < 0:
        raise InvalidInput(f"{what}= is a number of seconds, 0 or more, not {short_repr(value)}.")
    return min(result, threading.TIMEOUT_MAX)  # the longest wait of a lock, some 292 years


def number(value: Any, what: str) -> float:
    """Return a finite float. Booleans and texts are refused."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
        if math.isfinite(result):
            return result
        raise InvalidInput(f"{what}= is a finite number, not {short_repr(value)}.")
    raise InvalidType(f"{what}= is a number, not {short_repr(value)}.")


def expected(value: Any) -> int | None:
    """Return the version that the list must be at, given as ``expect=``: 0 or more; None where none was given."""
    return None if value is None else whole(value, "expect", least=0)


def text(value: Any, what: str) -> str:
    """Return a text that is not blank and that UTF-8 can hold."""
    if not isinstance(value, str):
        raise InvalidType(f"{what} is a text, not {short_repr(value)}.")
    if not value.strip():
        raise InvalidInput(f"{what} is a text, and this one is blank: {short_repr(value)}.")
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
    texts = items(value)
    if not all(isinstance(tag, str) for tag in texts):
        raise InvalidType(f"tags= is a text or a list of texts, not {short_repr(value)}.")
    return tuple(text(tag, "A tag") for tag in texts)


def labels(value: Any, what: str = "columns") -> list[Hashable] | None:
    """Return a list of column names; None where none was given."""
    if value is None:
        return None
    if isinstance(value, (str, bytes, Mapping, pd.DataFrame)) or not isinstance(value, Iterable):
        raise InvalidType(
            f"{what}= is a list of column names, not {short_repr(value)}: [{short_repr(value)}] for one."
        )
    if isinstance(value, np.ndarray) and value.ndim != 1:
        raise InvalidType(f"{what}= is a list of column names, not an array of {value.ndim} dimensions.")
    return [label(item, what) for item in value]


def label(value: Any, what: str = "columns") -> Hashable:
    """Return one column name: any hashable object but pandas.NA, which equals nothing."""
    if value is not pd.NA and is_hashable(value):
        result: Hashable = value
        return result
    raise InvalidType(f"{what}= names a column, and {short_repr(value)} cannot be the name of one.")


def time(value: Any, what: str) -> datetime:
    """Return a moment in UTC. A time without a zone counts as UTC; numbers are refused, since their unit is unknown."""
    if isinstance(value, (str, date, np.datetime64)):  # datetime and Timestamp are dates
        try:
            timestamp: Any = pd.Timestamp(value)
            if not pd.isna(timestamp):
                utc = timestamp.tz_localize("UTC") if timestamp.tz is None else timestamp.tz_convert("UTC")
                moment: datetime = utc.to_pydatetime(warn=False)
                return moment
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidInput(
                f"{what}={short_repr(value)} is not a time that pandas.Timestamp understands, such as '2026-05-31 14:00'."
            ) from error
    if is_missing(value):
        raise InvalidInput(f"{what}= is missing ({value!r}). Leave it out, or give a time.")
    raise InvalidType(
        f"{what}={short_repr(value)} is not a time. Give a text such as '2026-05-31 14:00', a datetime or a pandas.Timestamp."
    )


def optional_time(value: Any, what: str) -> datetime | None:
    """Return a moment in UTC, or None where none was given."""
    return None if value is None else time(value, what)


def path(value: Any, what: str) -> str:
    """Return the path of a file or folder as text."""
    try:
        text: str | bytes = os.fspath(value)
    except TypeError:
        raise InvalidType(f"{what} is a path, not {short_repr(value)}.") from None
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if not text or "\0" in text:
        raise InvalidInput(f"{what} is a path, not {short_repr(value)}.")
    return text


def vector(value: Any) -> tuple[float, ...]:
    """Return one vector of finite numbers as a tuple."""
    try:
        array = floats(value) if not isinstance(value, (str, bytes)) else None
    except (TypeError, ValueError):
        array = None
    if array is None or array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise InvalidInput(
            f"vector= is one vector of finite numbers, such as [0.1, 0.9], not {short_repr(value)}."
        )
    return tuple(array.tolist())


def floats(value: Any) -> np.ndarray:
    """Return an array of float64, in which masked values are NaN. Raises TypeError and ValueError as NumPy does."""
    parts = value if isinstance(value, (list, tuple)) else (value,)
    if any(isinstance(part, np.ma.MaskedArray) for part in parts):
        return np.ma.array(value, dtype=np.float64).filled(np.nan)
    return np.asarray(value, dtype=np.float64)


def is_hashable(value: Any) -> bool:
    """Return whether `value` and all its items can be hashed."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def is_missing(value: Any) -> bool:
    """Return whether a cell is None, pandas.NA, NaT or NaN. Never raises."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def items(value: Any) -> tuple[Any, ...]:
    """Return the items of a collection; any other object, a text included, is one item."""
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
