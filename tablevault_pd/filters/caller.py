"""The variables that ``@name`` in a filter text means: those of the code that called the library."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray

from tablevault_pd.errors import InvalidFilter, did_you_mean, short_repr

if TYPE_CHECKING:
    from types import CodeType, FrameType

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_SCALARS = (
    str,
    bytes,
    bool,
    int,
    float,
    complex,
    Decimal,
    np.generic,
    dt.date,
    dt.time,
    dt.timedelta,
    pd.Period,
    pd.Interval,
)
_COLLECTIONS = (list, tuple, set, frozenset, range, np.ndarray, pd.Series, pd.Index, ExtensionArray)


def caller_value(name: str) -> Any:
    """Return the value of a variable where the library was called from: a local one, else a global one. Raises InvalidFilter."""
    names: list[str] = []
    for scope in _scopes():
        if name in scope:
            return _checked(name, scope[name])
        names += scope
    hint = did_you_mean(name, dict.fromkeys(names))
    raise InvalidFilter(
        f"The filter names the variable @{name[:80]}, which is not defined where it was called from. {hint}".rstrip()
    )


def is_variable(name: str) -> bool:
    """Return whether the caller has a variable of that name."""
    return any(name in scope for scope in _scopes())


def _scopes() -> Iterator[dict[str, Any]]:
    """Yield the caller's locals, those of the function around a comprehension or lambda, then its globals."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return
    around: FrameType | None = frame
    while around is not None:
        yield around.f_locals
        around = around.f_back if _is_around(around.f_back, around.f_code) else None
    yield frame.f_globals


def _is_around(frame: FrameType | None, code: CodeType) -> bool:
    """Return whether `code` is a comprehension or lambda written in the function that runs in `frame`."""
    return (
        frame is not None
        and code.co_name.startswith("<")
        and any(code is constant for constant in frame.f_code.co_consts)
    )


def _checked(name: str, value: Any) -> Any:
    """Return the value if rows can be compared with it. Raises InvalidFilter."""
    if value is None or value is pd.NA or value is pd.NaT or isinstance(value, (*_SCALARS, *_COLLECTIONS)):
        return value
    if isinstance(value, Iterable) and isinstance(value, (type({}.keys()), type({}.values()), dict)):
        return list(value)
    raise InvalidFilter(
        f"@{name} is a {type(value).__name__} ({short_repr(value, 40)}). After @ stands the name of a number, text, time, list, "
        "array or Series."
    )
